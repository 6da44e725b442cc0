//! Sums of rows: gradients of biases, and of rows of a table that were gathered. Every element is one chain of additions.

use crate::compute::{Compute, Shared};
use crate::panels::{Block, GROUP, Panels};
use crate::product::{RowRun, Slots};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

struct ColumnSums<'a, T> {
    runs: &'a [RowRun],
    b: *const T,
    b_rows: usize,
    panels: std::ops::Range<usize>,
    sums: *mut T,
}

impl<T: Scalar> Kernel<T> for ColumnSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // SAFETY: `column_sums` has checked the sizes and gives each thread panels of its own.
        unsafe {
            for panel in self.panels.clone() {
                let to = self.sums.add(panel * GROUP);
                let mut sum = V::load(to);
                for run in self.runs {
                    let from = self.b.add((panel * self.b_rows + run.b) * GROUP);
                    for row in 0..run.rows {
                        sum = sum.add(V::load(from.add(row * GROUP)));
                    }
                }
                sum.store(to);
            }
        }
    }
}

/// The gradient of a bias: `sums[panel] += Σ b[row][panel]`, in the order of `runs` (their `a` is not used).
///
/// # Panics
/// If the shapes do not fit or a run passes the end.
pub fn column_sums<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    b: &Panels<T>,
    sums: &mut [Block<T>],
) {
    T::column_sums(compute, runs, b, sums)
}

pub(crate) fn column_sums_of<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    b: &Panels<T>,
    sums: &mut [Block<T>],
) {
    assert_eq!(sums.len(), b.groups(), "sums");
    for run in runs {
        assert!(run.fits(usize::MAX, b.rows()), "{run:?}");
    }
    let result = Shared::new(sums);
    let right = b.blocks();
    compute.split(b.groups(), 4, |range| {
        compute.isa().run(ColumnSums {
            runs,
            b: right.as_ptr().cast::<T>(),
            b_rows: b.rows(),
            panels: range,
            sums: result.get().cast::<T>(),
        });
    });
}

struct SumByIndex<'a, T> {
    runs: &'a [RowRun],
    index: &'a [u32],
    b: *const T,
    b_rows: usize,
    slots: Slots,
    panels: std::ops::Range<usize>,
    sums: *mut T,
    sum_rows: usize,
}

impl<T: Scalar> Kernel<T> for SumByIndex<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // SAFETY: `sum_rows_by_index` has checked sizes and indices and gives each thread panels of its own.
        unsafe {
            for panel in self.panels.clone() {
                let from = self.b.add(self.slots.panel(panel) * self.b_rows * GROUP);
                let to = self.sums.add(panel * self.sum_rows * GROUP);
                for run in self.runs {
                    for row in run.b..run.b + run.rows {
                        let to = to.add(*self.index.get_unchecked(row) as usize * GROUP);
                        V::load(to).add(V::load(from.add(row * GROUP))).store(to);
                    }
                }
            }
        }
    }
}

/// `sums[index[row]] += b[row]` in the order of `runs` (their `a` is not used): each token's sum is a chain of its own.
///
/// # Panics
/// If the shapes do not fit, or a run or an index passes an end.
pub fn sum_rows_by_index<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    index: &[u32],
    b: &Panels<T>,
    slots: Slots,
    sums: &mut Panels<T>,
) {
    T::sum_rows_by_index(compute, runs, index, b, slots, sums)
}

pub(crate) fn sum_rows_by_index_of<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    index: &[u32],
    b: &Panels<T>,
    slots: Slots,
    sums: &mut Panels<T>,
) {
    let panels = slots.of(b.groups());
    assert_eq!(sums.groups(), panels, "sums");
    assert_eq!(index.len(), b.rows(), "index");
    for run in runs {
        assert!(run.fits(usize::MAX, b.rows()), "{run:?}");
    }
    let sum_rows = sums.rows();
    assert!(
        index.iter().all(|&at| (at as usize) < sum_rows),
        "index past {sum_rows}"
    );
    let result = Shared::new(sums.blocks_mut());
    let right = b.blocks();
    compute.split(panels, 4, |range| {
        compute.isa().run(SumByIndex {
            runs,
            index,
            b: right.as_ptr().cast::<T>(),
            b_rows: b.rows(),
            slots,
            panels: range,
            sums: result.get().cast::<T>(),
            sum_rows,
        });
    });
}
