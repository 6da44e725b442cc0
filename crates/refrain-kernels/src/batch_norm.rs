//! Batch norm along columns, forward and backward. Sums go over parts of 64 rows; the parts are added in f64.

use std::ops::Range;

use crate::compute::{Compute, Shared};
use crate::panels::{Block, GROUP, Panels};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// Rows whose column sums are formed in the type of the numbers before they go into an f64.
const PART: usize = 64;

/// Adds sixteen lanes to sixteen sums.
#[inline(always)]
fn add_lanes<V: Lanes>(sums: &mut [f64; GROUP], lanes: V) {
    let mut values = [V::Scalar::ZERO; GROUP];
    // SAFETY: sixteen numbers are there.
    unsafe { lanes.store(values.as_mut_ptr()) };
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value.to_f64();
    }
}

/// The sums over so many, in the type of the numbers.
#[inline(always)]
fn divided<T: Scalar>(sums: [f64; GROUP], count: f64) -> Block<T> {
    Block(sums.map(|sum| T::from_f64(sum / count)))
}

struct Moments<T> {
    x: *const T,
    rows: usize,
    groups: Range<usize>,
    mean: *mut Block<T>,
    variance: *mut Block<T>,
}

impl<T: Scalar> Kernel<T> for Moments<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let count = self.rows as f64;
        // SAFETY: `column_moments` has checked the sizes and gives each thread groups of its own.
        unsafe {
            for group in self.groups.clone() {
                let x = self.x.add(group * self.rows * GROUP);
                let mut sums = [0.0; GROUP];
                for first in (0..self.rows).step_by(PART) {
                    let mut sum = V::splat(T::ZERO);
                    for row in first..self.rows.min(first + PART) {
                        sum = sum.add(V::load(x.add(row * GROUP)));
                    }
                    add_lanes(&mut sums, sum);
                }
                let mean: Block<T> = divided(sums, count);
                let mean_lanes = V::load(mean.0.as_ptr());
                let mut squares = [0.0; GROUP];
                for first in (0..self.rows).step_by(PART) {
                    let mut sum = V::splat(T::ZERO);
                    for row in first..self.rows.min(first + PART) {
                        let distance = V::load(x.add(row * GROUP)).sub(mean_lanes);
                        sum = distance.mul_add(distance, sum);
                    }
                    add_lanes(&mut squares, sum);
                }
                *self.mean.add(group) = mean;
                *self.variance.add(group) = divided(squares, count);
            }
        }
    }
}

/// The mean and the (biased) variance of each column.
///
/// # Shapes
/// `x`: rows × columns; `mean`, `variance`: a block for each group of columns.
///
/// # Panics
/// If the shapes do not fit or there are no rows.
pub fn column_moments<T: Scalar>(
    compute: &Compute,
    x: &Panels<T>,
    mean: &mut [Block<T>],
    variance: &mut [Block<T>],
) {
    T::column_moments(compute, x, mean, variance);
}

pub(crate) fn column_moments_of<T: Scalar>(
    compute: &Compute,
    x: &Panels<T>,
    mean: &mut [Block<T>],
    variance: &mut [Block<T>],
) {
    let (rows, groups) = (x.rows(), x.groups());
    assert!(rows > 0, "no rows");
    assert_eq!((mean.len(), variance.len()), (groups, groups), "moments");
    let x = x.blocks();
    let (mean, variance) = (Shared::new(mean), Shared::new(variance));
    compute.split(groups, 1, |range| {
        compute.isa().run(Moments {
            x: x.as_ptr().cast::<T>(),
            rows,
            groups: range,
            mean: mean.get(),
            variance: variance.get(),
        });
    });
}

/// What batch norm does to each column: a block for each group of columns.
#[derive(Clone, Copy, Debug)]
pub struct ColumnScaling<'a, T> {
    /// Taken away first.
    pub mean: &'a [Block<T>],
    /// Then multiplied by: `1 / sqrt(variance + ε)`.
    pub factor: &'a [Block<T>],
    /// Then multiplied by this too.
    pub gain: &'a [Block<T>],
}

impl<T> ColumnScaling<'_, T> {
    fn check(&self, groups: usize) {
        assert_eq!(
            (self.mean.len(), self.factor.len(), self.gain.len()),
            (groups, groups, groups),
            "scaling"
        );
    }
}

struct ScaleColumns<'a, T> {
    scaling: ColumnScaling<'a, T>,
    bias: &'a [Block<T>],
    x: *const T,
    y: *mut T,
    rows: usize,
    groups: Range<usize>,
}

impl<T: Scalar> Kernel<T> for ScaleColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // SAFETY: `scale_columns` has checked the sizes and gives each thread groups of its own.
        unsafe {
            for group in self.groups.clone() {
                let mean = V::load(self.scaling.mean[group].0.as_ptr());
                let factor = V::load(self.scaling.factor[group].0.as_ptr());
                let gain = V::load(self.scaling.gain[group].0.as_ptr());
                let bias = V::load(self.bias[group].0.as_ptr());
                for row in 0..self.rows {
                    let at = (group * self.rows + row) * GROUP;
                    let normalised = V::load(self.x.add(at)).sub(mean).mul(factor);
                    normalised.mul_add(gain, bias).store(self.y.add(at));
                }
            }
        }
    }
}

/// `y = (x - mean) * factor * gain + bias`, column by column.
///
/// # Shapes
/// `x`, `y`: rows × columns; `bias` as the parts of `scaling`.
///
/// # Panics
/// If the shapes do not fit.
pub fn scale_columns<T: Scalar>(
    compute: &Compute,
    scaling: ColumnScaling<'_, T>,
    bias: &[Block<T>],
    x: &Panels<T>,
    y: &mut Panels<T>,
) {
    T::scale_columns(compute, scaling, bias, x, y);
}

pub(crate) fn scale_columns_of<T: Scalar>(
    compute: &Compute,
    scaling: ColumnScaling<'_, T>,
    bias: &[Block<T>],
    x: &Panels<T>,
    y: &mut Panels<T>,
) {
    let (rows, groups) = (x.rows(), x.groups());
    scaling.check(groups);
    assert_eq!(bias.len(), groups, "bias");
    assert_eq!((y.rows(), y.columns()), (rows, x.columns()), "y");
    let x = x.blocks();
    let y = Shared::new(y.blocks_mut());
    compute.split(groups, 1, |range| {
        compute.isa().run(ScaleColumns {
            scaling,
            bias,
            x: x.as_ptr().cast::<T>(),
            y: y.get().cast::<T>(),
            rows,
            groups: range,
        });
    });
}

/// The backward pass of batch norm.
#[derive(Debug)]
pub struct BatchNormBackward<'a, T> {
    /// As in [`scale_columns`].
    pub scaling: ColumnScaling<'a, T>,
    /// Whether mean and variance are those of `x`, so that the gradient goes through them too.
    pub of_batch: bool,
    /// As in [`scale_columns`].
    pub x: &'a Panels<T>,
    /// The gradient of `y`; overwritten by that of `x`.
    pub d: &'a mut Panels<T>,
    /// Written: the gradient of the gain.
    pub d_gain: &'a mut [Block<T>],
    /// Written: the gradient of the bias.
    pub d_bias: &'a mut [Block<T>],
}

struct BatchNormColumns<'a, T> {
    scaling: ColumnScaling<'a, T>,
    of_batch: bool,
    x: *const T,
    d: *mut T,
    rows: usize,
    groups: Range<usize>,
    d_gain: *mut Block<T>,
    d_bias: *mut Block<T>,
}

impl<T: Scalar> Kernel<T> for BatchNormColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // SAFETY: `batch_norm_backward` has checked the sizes and gives each thread groups of its own.
        unsafe {
            for group in self.groups.clone() {
                let mean = V::load(self.scaling.mean[group].0.as_ptr());
                let factor = V::load(self.scaling.factor[group].0.as_ptr());
                let gain = V::load(self.scaling.gain[group].0.as_ptr());
                let x = self.x.add(group * self.rows * GROUP);
                let d = self.d.add(group * self.rows * GROUP);
                let (mut sums, mut along) = ([0.0; GROUP], [0.0; GROUP]);
                for first in (0..self.rows).step_by(PART) {
                    let (mut sum, mut product) = (V::splat(T::ZERO), V::splat(T::ZERO));
                    for row in first..self.rows.min(first + PART) {
                        let normalised = V::load(x.add(row * GROUP)).sub(mean).mul(factor);
                        let d = V::load(d.add(row * GROUP));
                        sum = sum.add(d);
                        product = d.mul_add(normalised, product);
                    }
                    add_lanes(&mut sums, sum);
                    add_lanes(&mut along, product);
                }
                *self.d_bias.add(group) = divided(sums, 1.0);
                *self.d_gain.add(group) = divided(along, 1.0);
                let count = if self.of_batch {
                    self.rows as f64
                } else {
                    f64::INFINITY
                };
                let (sums, along) = (divided::<T>(sums, count), divided::<T>(along, -count));
                let (sums, along) = (V::load(sums.0.as_ptr()), V::load(along.0.as_ptr()));
                let scale = factor.mul(gain);
                for row in 0..self.rows {
                    let at = d.add(row * GROUP);
                    let normalised = V::load(x.add(row * GROUP)).sub(mean).mul(factor);
                    normalised
                        .mul_add(along, V::load(at).sub(sums))
                        .mul(scale)
                        .store(at);
                }
            }
        }
    }
}

/// From the gradient of [`scale_columns`]' result to those of its input, gain and bias.
///
/// With `n` the normalised numbers and means over the rows: `d_x = factor * gain * (d - mean(d) - n * mean(d n))`, or
/// `factor * gain * d` where the statistics are not the batch's.
///
/// # References
/// Ioffe and Szegedy, "Batch normalization", 2015.
///
/// # Panics
/// If the shapes do not fit.
pub fn batch_norm_backward<T: Scalar>(compute: &Compute, args: BatchNormBackward<'_, T>) {
    T::batch_norm_backward(compute, args);
}

pub(crate) fn batch_norm_backward_of<T: Scalar>(compute: &Compute, args: BatchNormBackward<'_, T>) {
    let (rows, groups) = (args.x.rows(), args.x.groups());
    args.scaling.check(groups);
    let size = (args.d.rows(), args.d.columns());
    assert_eq!(size, (rows, args.x.columns()), "d");
    let lengths = (args.d_gain.len(), args.d_bias.len());
    assert_eq!(lengths, (groups, groups), "gradients");
    let (scaling, of_batch, x) = (args.scaling, args.of_batch, args.x.blocks());
    let d = Shared::new(args.d.blocks_mut());
    let (d_gain, d_bias) = (Shared::new(args.d_gain), Shared::new(args.d_bias));
    compute.split(groups, 1, |range| {
        compute.isa().run(BatchNormColumns {
            scaling,
            of_batch,
            x: x.as_ptr().cast::<T>(),
            d: d.get().cast::<T>(),
            rows,
            groups: range,
            d_gain: d_gain.get(),
            d_bias: d_bias.get(),
        });
    });
}
