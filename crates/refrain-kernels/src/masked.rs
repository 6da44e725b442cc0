//! Recurrent dropout: what the time loops add for it.

use crate::compute::Shared;
use crate::panels::{GROUP, Panels};
use crate::scalar::Scalar;
use crate::simd::Lanes;

/// Recurrent dropout (Gal and Ghahramani, 2016): one mask a row for the whole sequence, on what `W_hh` reads.
#[derive(Debug)]
pub struct MaskedState<'a, T> {
    /// Batch × hidden: 0 where a unit is dropped, else `1 / (1 - p)`.
    pub mask: &'a Panels<T>,
    /// Written: `mask * h_0`.
    pub h_0: &'a mut Panels<T>,
    /// Written: `mask * h`, rows over time.
    pub h: &'a mut Panels<T>,
}

/// [`MaskedState`] as pointers; where nothing is dropped `mask` is null and the others are the states themselves.
#[derive(Clone, Copy)]
pub(crate) struct Fed<T> {
    pub(crate) mask: Shared<T>,
    pub(crate) h_0: Shared<T>,
    pub(crate) h: Shared<T>,
}

impl<T: Scalar> Fed<T> {
    /// Checks the sizes; `h` is where the hidden states go, rows over time.
    pub(crate) fn new(
        masked: Option<MaskedState<'_, T>>,
        h_0: &Panels<T>,
        h: Shared<T>,
        rows: usize,
    ) -> Self {
        let size = |panels: &Panels<T>| (panels.rows(), panels.columns());
        match masked {
            Some(masked) => {
                assert_eq!(size(masked.mask), size(h_0), "mask");
                assert_eq!(size(masked.h_0), size(h_0), "masked h_0");
                assert_eq!(size(masked.h), (rows, h_0.columns()), "masked h");
                Self {
                    mask: Shared::from_const(masked.mask.blocks().as_ptr().cast::<T>()),
                    h_0: Shared::of_blocks(masked.h_0.blocks_mut()),
                    h: Shared::of_blocks(masked.h.blocks_mut()),
                }
            }
            None => Self {
                mask: Shared::from_const(std::ptr::null()),
                h_0: Shared::from_const(h_0.blocks().as_ptr().cast::<T>()),
                h,
            },
        }
    }

    pub(crate) fn is_masked(self) -> bool {
        !self.mask.get().is_null()
    }

    /// Masks the initial state of some rows.
    #[inline(always)]
    pub(crate) unsafe fn mask_initial<V: Lanes<Scalar = T>>(
        self,
        h_0: *const T,
        batch: usize,
        rows: std::ops::Range<usize>,
        groups: usize,
    ) {
        if !self.is_masked() {
            return;
        }
        // SAFETY: the caller promises rows of its own within `batch`.
        unsafe {
            for group in 0..groups {
                for row in rows.clone() {
                    let at = (group * batch + row) * GROUP;
                    let mask = V::load(self.mask.get().add(at));
                    V::load(h_0.add(at)).mul(mask).store(self.h_0.get().add(at));
                }
            }
        }
    }
}

/// The mask of recurrent dropout, and where the gradient of what `W_hh` reads is formed; null where nothing is dropped.
#[derive(Clone, Copy)]
pub(crate) struct FedGradient<T> {
    mask: Shared<T>,
    d_fed: Shared<T>,
}

impl<T: Scalar> FedGradient<T> {
    /// Checks the sizes.
    pub(crate) fn new(masked: Option<(&Panels<T>, &mut Panels<T>)>, d_h: &Panels<T>) -> Self {
        let null = Shared::from_const(std::ptr::null());
        let Some((mask, d_fed)) = masked else {
            return Self {
                mask: null,
                d_fed: null,
            };
        };
        let size = |panels: &Panels<T>| (panels.rows(), panels.columns());
        assert_eq!(size(mask), size(d_h), "mask");
        assert_eq!(size(d_fed), size(d_h), "gradient of the masked state");
        Self {
            mask: Shared::from_const(mask.blocks().as_ptr().cast::<T>()),
            d_fed: Shared::of_blocks(d_fed.blocks_mut()),
        }
    }

    /// Where `d_gates · W_hh` of `rows` rows from row `first` on is to be added.
    #[inline(always)]
    pub(crate) unsafe fn begin<V: Lanes<Scalar = T>>(
        self,
        (first, rows): (usize, usize),
        d_h: *mut T,
        carry_panel: usize,
        hidden_groups: usize,
    ) -> *mut T {
        // SAFETY: the caller promises rows of its own within the batch.
        unsafe {
            if self.mask.get().is_null() {
                return d_h.add(first * GROUP);
            }
            let d_fed = self.d_fed.get().add(first * GROUP);
            let zero = V::splat(T::ZERO);
            for group in 0..hidden_groups {
                for b in 0..rows {
                    zero.store(d_fed.add(group * carry_panel + b * GROUP));
                }
            }
            d_fed
        }
    }

    /// After the product: through the mask into `d_h`, where there is one.
    #[inline(always)]
    pub(crate) unsafe fn end<V: Lanes<Scalar = T>>(
        self,
        (first, rows): (usize, usize),
        d_h: *mut T,
        carry_panel: usize,
        hidden_groups: usize,
    ) {
        // SAFETY: as in `begin`.
        unsafe {
            if self.mask.get().is_null() {
                return;
            }
            for group in 0..hidden_groups {
                for b in 0..rows {
                    let at = group * carry_panel + (first + b) * GROUP;
                    let mask = V::load(self.mask.get().add(at));
                    let d_fed = V::load(self.d_fed.get().add(at));
                    d_fed.mul_add(mask, V::load(d_h.add(at))).store(d_h.add(at));
                }
            }
        }
    }
}
