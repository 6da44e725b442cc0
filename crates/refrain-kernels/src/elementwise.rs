//! Sums, scalings and activations, number by number.

use crate::cells::{BackwardStep, Cell, RnnCell};
use crate::compute::{Compute, Shared};
use crate::panels::{GROUP, Panels};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// Numbers whose partial sum is formed apart; fixed, so that a sum does not depend on the threads.
const PART: usize = 65_536;
const LANES: usize = 16;

struct SumOfSquares<'a, T>(&'a [T]);

impl<T: Scalar> Kernel<T> for SumOfSquares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) -> f64 {
        let mut sums = [0.0f64; LANES];
        let chunks = self.0.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                let x = chunk[lane].to_f64();
                sums[lane] += x * x;
            }
        }
        for (lane, x) in rest.iter().enumerate() {
            sums[lane] += x.to_f64() * x.to_f64();
        }
        let mut total = 0.0;
        for sum in sums {
            total += sum;
        }
        total
    }
}

/// The sum of the squares, in `f64`, in one order: sixteen chains over parts of 65,536 numbers, then the parts.
#[must_use]
pub fn sum_of_squares<T: Scalar>(compute: &Compute, values: &[T]) -> f64 {
    T::sum_of_squares(compute, values)
}

pub(crate) fn sum_of_squares_of<T: Scalar>(compute: &Compute, values: &[T]) -> f64 {
    let mut total = 0.0;
    for part in values.chunks(PART) {
        total += compute.isa().run(SumOfSquares(part));
    }
    total
}

/// Whether no number is infinite or not a number.
#[must_use]
pub fn all_finite<T: Scalar>(values: &[T]) -> bool {
    values.iter().all(|x| x.is_finite())
}

struct Scale<T> {
    values: *mut T,
    count: usize,
    factor: T,
}

impl<T: Scalar> Kernel<T> for Scale<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        for at in 0..self.count {
            // SAFETY: `scale` gives each thread numbers of its own.
            unsafe { *self.values.add(at) *= self.factor };
        }
    }
}

/// Multiplies every number by `factor`.
pub fn scale<T: Scalar>(compute: &Compute, values: &mut [T], factor: T) {
    T::scale(compute, values, factor)
}

pub(crate) fn scale_of<T: Scalar>(compute: &Compute, values: &mut [T], factor: T) {
    let count = values.len();
    let shared = Shared::new(values);
    compute.split(count, PART, |range| {
        // SAFETY: the range lies inside the slice.
        let values = unsafe { shared.get().add(range.start) };
        compute.isa().run(Scale {
            values,
            count: range.len(),
            factor,
        });
    });
}

/// `to += values`, number by number.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign<T: Scalar>(to: &mut [T], values: &[T]) {
    assert_eq!(to.len(), values.len(), "lengths");
    for (to, &value) in to.iter_mut().zip(values) {
        *to += value;
    }
}

/// Blocks that a thread takes at least.
const ACTIVATION_PART: usize = 1024;

struct Activate<T> {
    activation: RnnCell,
    values: *mut T,
    blocks: usize,
}

impl<T: Scalar> Kernel<T> for Activate<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let zero = V::splat(T::ZERO);
        for block in 0..self.blocks {
            // SAFETY: `activate` gives each thread blocks of its own.
            unsafe {
                let at = self.values.add(block * GROUP);
                let mut slots = [V::load(at), zero, zero, zero];
                self.activation.forward(&mut slots, zero, zero).0.store(at);
            }
        }
    }
}

/// The vanilla cell's activation of every number, in place: `tanh(x)` or `max(0, x)`.
pub fn activate<T: Scalar>(compute: &Compute, activation: RnnCell, values: &mut Panels<T>) {
    T::activate(compute, activation, values)
}

pub(crate) fn activate_of<T: Scalar>(
    compute: &Compute,
    activation: RnnCell,
    values: &mut Panels<T>,
) {
    let count = values.blocks().len();
    let shared = Shared::new(values.blocks_mut());
    compute.split(count, ACTIVATION_PART, |range| {
        // SAFETY: the range lies inside the matrix.
        let values = unsafe { shared.get().add(range.start).cast::<T>() };
        compute.isa().run(Activate {
            activation,
            values,
            blocks: range.len(),
        });
    });
}

struct ActivateBackward<T> {
    activation: RnnCell,
    y: *const T,
    d: *mut T,
    blocks: usize,
}

impl<T: Scalar> Kernel<T> for ActivateBackward<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let zero = V::splat(T::ZERO);
        for block in 0..self.blocks {
            // SAFETY: `activate_backward` has checked the sizes and gives each thread blocks of its own.
            unsafe {
                let at = self.d.add(block * GROUP);
                let mut slots = [V::load(self.y.add(block * GROUP)), zero, zero, zero];
                let step = BackwardStep {
                    d_h: V::load(at),
                    d_c: zero,
                    h_previous: zero,
                    c_previous: zero,
                    c: zero,
                };
                self.activation.backward(&mut slots, step);
                slots[0].store(at);
            }
        }
    }
}

/// The backward pass of [`activate`], in place: from the gradient of `y = activate(x)` to that of `x`.
///
/// # Panics
/// If the sizes differ.
pub fn activate_backward<T: Scalar>(
    compute: &Compute,
    activation: RnnCell,
    y: &Panels<T>,
    d: &mut Panels<T>,
) {
    T::activate_backward(compute, activation, y, d)
}

pub(crate) fn activate_backward_of<T: Scalar>(
    compute: &Compute,
    activation: RnnCell,
    y: &Panels<T>,
    d: &mut Panels<T>,
) {
    assert_eq!((d.rows(), d.columns()), (y.rows(), y.columns()), "gradient");
    let count = y.blocks().len();
    let shared = Shared::new(d.blocks_mut());
    compute.split(count, ACTIVATION_PART, |range| {
        // SAFETY: the range lies inside both matrices.
        let (y, d) = unsafe {
            (
                y.blocks().as_ptr().add(range.start).cast::<T>(),
                shared.get().add(range.start).cast::<T>(),
            )
        };
        compute.isa().run(ActivateBackward {
            activation,
            y,
            d,
            blocks: range.len(),
        });
    });
}
