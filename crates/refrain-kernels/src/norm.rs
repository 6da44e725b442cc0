//! Layer norm along rows, forward and backward.
//!
//! Sums along a row have sixteen lanes, group after group and in a group slot by slot, then the lanes from 0 to 15 in f64:
//! a row alone gives the same bits as in a batch.

use std::ops::Range;

use crate::compute::{Compute, Shared};
use crate::panels::{Block, GROUP, Panels, groups};
use crate::product::{RowRun, Slots};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// Added to a variance before its root, as PyTorch's norms do.
pub const NORM_EPSILON: f64 = 1e-5;

/// Rows below which a further thread costs more than it saves.
const LEAST: usize = 16;

/// The sum of the lanes, from the lowest to the highest.
#[inline(always)]
pub(crate) fn fold<V: Lanes>(lanes: V) -> f64 {
    let mut values = [V::Scalar::ZERO; GROUP];
    // SAFETY: sixteen numbers are there.
    unsafe { lanes.store(values.as_mut_ptr()) };
    let mut sum = 0.0;
    for value in values {
        sum += value.to_f64();
    }
    sum
}

/// A row that is normalised as a whole: `slots` panels for each group of units, the last group padded.
#[derive(Clone, Copy)]
pub(crate) struct NormRow<V> {
    groups: usize,
    slots: usize,
    /// One in the lanes of the last group that are units, zero in the others.
    mask: V,
    /// Numbers in the row.
    count: f64,
}

impl<V: Lanes> NormRow<V> {
    #[inline(always)]
    pub(crate) fn new(units: usize, slots: usize) -> Self {
        let mut mask = [V::Scalar::ONE; GROUP];
        if !units.is_multiple_of(GROUP) {
            mask[units % GROUP..].fill(V::Scalar::ZERO);
        }
        Self {
            groups: groups(units),
            slots,
            // SAFETY: sixteen numbers are there.
            mask: unsafe { V::load(mask.as_ptr()) },
            count: (units * slots) as f64,
        }
    }

    /// `to = (from - mean) / sqrt(variance + ε)`; gives what was multiplied by. Panels are `stride` numbers apart.
    ///
    /// # Safety
    /// All panels of the row are inside both buffers; `from` may be `to`.
    #[inline(always)]
    pub(crate) unsafe fn normalise(
        self,
        (from, from_stride): (*const V::Scalar, usize),
        (to, to_stride): (*mut V::Scalar, usize),
    ) -> V::Scalar {
        let panels = self.groups * self.slots;
        let whole = (self.groups - 1) * self.slots;
        // SAFETY: as the caller's.
        unsafe {
            let mut sum = V::splat(V::Scalar::ZERO);
            for panel in 0..panels {
                sum = sum.add(V::load(from.add(panel * from_stride)));
            }
            let mean = V::splat(V::Scalar::from_f64(fold(sum) / self.count));
            let mut squares = V::splat(V::Scalar::ZERO);
            for panel in 0..panels {
                let mut distance = V::load(from.add(panel * from_stride)).sub(mean);
                if panel >= whole {
                    distance = distance.mul(self.mask);
                }
                distance.store(to.add(panel * to_stride));
                squares = distance.mul_add(distance, squares);
            }
            let variance = fold(squares) / self.count;
            let factor = V::Scalar::from_f64(1.0 / (variance + NORM_EPSILON).sqrt());
            let all = V::splat(factor);
            for panel in 0..panels {
                let at = to.add(panel * to_stride);
                V::load(at).mul(all).store(at);
            }
            factor
        }
    }

    /// From the gradient `d` of `normalised * gain + bias` to that of what was normalised:
    /// `factor * (d gain - mean(d gain) - normalised * mean(d gain * normalised))`.
    ///
    /// # Safety
    /// All panels of the row are inside the buffers; of `d` those of `slots`.
    #[inline(always)]
    pub(crate) unsafe fn backward(
        self,
        (d, d_stride, slots): (*const V::Scalar, usize, Slots),
        (normalised, stride): (*const V::Scalar, usize),
        gain: *const V::Scalar,
        factor: V::Scalar,
        (to, to_stride): (*mut V::Scalar, usize),
    ) {
        // SAFETY: as the caller's.
        unsafe {
            let (mut sum, mut along) = (V::splat(V::Scalar::ZERO), V::splat(V::Scalar::ZERO));
            for group in 0..self.groups {
                for slot in 0..self.slots {
                    let panel = group * self.slots + slot;
                    let d =
                        V::load(d.add((group * slots.per_group + slots.first + slot) * d_stride));
                    let d = d.mul(V::load(gain.add(panel * GROUP)));
                    sum = sum.add(d);
                    along = d.mul_add(V::load(normalised.add(panel * stride)), along);
                }
            }
            let mean = V::splat(V::Scalar::from_f64(fold(sum) / self.count));
            let along = V::splat(V::Scalar::from_f64(-fold(along) / self.count));
            let factor = V::splat(factor);
            for group in 0..self.groups {
                let factor = if group + 1 == self.groups {
                    factor.mul(self.mask)
                } else {
                    factor
                };
                for slot in 0..self.slots {
                    let panel = group * self.slots + slot;
                    let d =
                        V::load(d.add((group * slots.per_group + slots.first + slot) * d_stride));
                    let d = d.mul(V::load(gain.add(panel * GROUP)));
                    let normalised = V::load(normalised.add(panel * stride));
                    normalised
                        .mul_add(along, d.sub(mean))
                        .mul(factor)
                        .store(to.add(panel * to_stride));
                }
            }
        }
    }
}

struct LayerNorm<T> {
    values: *mut T,
    all_rows: usize,
    rows: Range<usize>,
    units: usize,
    slots: usize,
    factors: *mut T,
}

impl<T: Scalar> Kernel<T> for LayerNorm<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let shape = NormRow::<V>::new(self.units, self.slots);
        let stride = self.all_rows * GROUP;
        for row in self.rows.clone() {
            // SAFETY: `layer_norm` has checked the sizes and gives each thread rows of its own.
            unsafe {
                let at = self.values.add(row * GROUP);
                let factor = shape.normalise((at, stride), (at, stride));
                *self.factors.add(row) = factor;
            }
        }
    }
}

/// Normalises each row, all its slots together, in place: mean 0 and variance 1. `factors` are what the distances from
/// the mean were multiplied by.
///
/// # Shapes
/// `values`: rows × panels of `units` units in as many slots as there are; `factors`: rows.
///
/// # References
/// Ba, Kiros and Hinton, "Layer normalization", 2016.
///
/// # Panics
/// If the shapes do not fit.
pub fn layer_norm<T: Scalar>(
    compute: &Compute,
    units: usize,
    values: &mut Panels<T>,
    factors: &mut [T],
) {
    T::layer_norm(compute, units, values, factors);
}

pub(crate) fn layer_norm_of<T: Scalar>(
    compute: &Compute,
    units: usize,
    values: &mut Panels<T>,
    factors: &mut [T],
) {
    let rows = values.rows();
    let slots = values.groups() / groups(units).max(1);
    assert!(
        units > 0 && slots > 0 && slots * groups(units) == values.groups(),
        "{units} units in {} panels",
        values.groups()
    );
    assert_eq!(factors.len(), rows, "factors");
    let values = Shared::new(values.blocks_mut());
    let factors = Shared::new(factors);
    compute.split(rows, LEAST, |range| {
        compute.isa().run(LayerNorm {
            values: values.get().cast::<T>(),
            all_rows: rows,
            rows: range,
            units,
            slots,
            factors: factors.get(),
        });
    });
}

struct LayerNormBackward<'a, T> {
    d: *const T,
    all_rows: usize,
    rows: Range<usize>,
    units: usize,
    slots: Slots,
    normalised: *const T,
    gain: *const T,
    factors: &'a [T],
    to: *mut T,
}

impl<T: Scalar> Kernel<T> for LayerNormBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let shape = NormRow::<V>::new(self.units, self.slots.count);
        let stride = self.all_rows * GROUP;
        for row in self.rows.clone() {
            // SAFETY: `layer_norm_backward` has checked the sizes and gives each thread rows of its own.
            unsafe {
                shape.backward(
                    (self.d.add(row * GROUP), stride, self.slots),
                    (self.normalised.add(row * GROUP), stride),
                    self.gain,
                    self.factors[row],
                    (self.to.add(row * GROUP), stride),
                );
            }
        }
    }
}

/// The backward pass of [`layer_norm`]: from the gradient `d` of `normalised * gain + bias` to that of what was normalised.
///
/// # Shapes
/// `d`: rows × panels, of which `slots` take part; `normalised`, `to`: rows × those panels; `gain`: a block for each;
/// `factors`: rows, as [`layer_norm`] wrote them.
///
/// # Panics
/// If the shapes do not fit.
#[expect(
    clippy::too_many_arguments,
    reason = "a backward pass reads what the forward pass left"
)]
pub fn layer_norm_backward<T: Scalar>(
    compute: &Compute,
    units: usize,
    d: &Panels<T>,
    slots: Slots,
    normalised: &Panels<T>,
    gain: &[Block<T>],
    factors: &[T],
    to: &mut Panels<T>,
) {
    T::layer_norm_backward(compute, units, d, slots, normalised, gain, factors, to);
}

#[expect(
    clippy::too_many_arguments,
    reason = "a backward pass reads what the forward pass left"
)]
pub(crate) fn layer_norm_backward_of<T: Scalar>(
    compute: &Compute,
    units: usize,
    d: &Panels<T>,
    slots: Slots,
    normalised: &Panels<T>,
    gain: &[Block<T>],
    factors: &[T],
    to: &mut Panels<T>,
) {
    let (rows, panels) = (d.rows(), groups(units) * slots.count);
    assert!(units > 0, "no units");
    assert_eq!(d.groups(), groups(units) * slots.per_group, "d");
    let size = |panels: &Panels<T>| (panels.rows(), panels.groups());
    assert_eq!(size(normalised), (rows, panels), "normalised");
    assert_eq!(size(to), (rows, panels), "to");
    assert_eq!((gain.len(), factors.len()), (panels, rows), "gain, factors");
    let (d, normalised) = (d.blocks(), normalised.blocks());
    let to = Shared::new(to.blocks_mut());
    compute.split(rows, LEAST, |range| {
        compute.isa().run(LayerNormBackward {
            d: d.as_ptr().cast::<T>(),
            all_rows: rows,
            rows: range,
            units,
            slots,
            normalised: normalised.as_ptr().cast::<T>(),
            gain: gain.as_ptr().cast::<T>(),
            factors,
            to: to.get().cast::<T>(),
        });
    });
}

struct ColumnProducts<'a, T> {
    runs: &'a [RowRun],
    a: *const T,
    b: *const T,
    rows: usize,
    slots: Slots,
    panels: Range<usize>,
    sums: *mut T,
}

impl<T: Scalar> Kernel<T> for ColumnProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // SAFETY: `column_products` has checked the sizes and gives each thread panels of its own.
        unsafe {
            for panel in self.panels.clone() {
                let to = self.sums.add(panel * GROUP);
                let mut sum = V::load(to);
                for run in self.runs {
                    let a = self.a.add((panel * self.rows + run.b) * GROUP);
                    let b = self.slots.panel(panel) * self.rows + run.b;
                    let b = self.b.add(b * GROUP);
                    for row in 0..run.rows {
                        let a = V::load(a.add(row * GROUP));
                        sum = a.mul_add(V::load(b.add(row * GROUP)), sum);
                    }
                }
                sum.store(to);
            }
        }
    }
}

/// The gradient of a gain: `sums[panel] += Σ a[row][panel] * b[row][panel]`, in the order of `runs` (their `a` is not
/// used).
///
/// # Shapes
/// `a`: rows × panels; `b`: rows × panels, of which `slots` take part; `sums`: a block for each panel of `a`.
///
/// # Panics
/// If the shapes do not fit or a run passes the end.
pub fn column_products<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    a: &Panels<T>,
    b: &Panels<T>,
    slots: Slots,
    sums: &mut [Block<T>],
) {
    T::column_products(compute, runs, a, b, slots, sums);
}

pub(crate) fn column_products_of<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    a: &Panels<T>,
    b: &Panels<T>,
    slots: Slots,
    sums: &mut [Block<T>],
) {
    let (rows, panels) = (a.rows(), a.groups());
    assert_eq!((b.rows(), slots.of(b.groups())), (rows, panels), "factors");
    assert_eq!(sums.len(), panels, "sums");
    for run in runs {
        let end = run.b.checked_add(run.rows);
        assert!(end.is_some_and(|end| end <= rows), "{run:?}");
    }
    let (a, b) = (a.blocks(), b.blocks());
    let sums = Shared::new(sums);
    compute.split(panels, 4, |range| {
        compute.isa().run(ColumnProducts {
            runs,
            a: a.as_ptr().cast::<T>(),
            b: b.as_ptr().cast::<T>(),
            rows,
            slots,
            panels: range,
            sums: sums.get().cast::<T>(),
        });
    });
}
