//! The updates of the optimisers, number by number.

use crate::compute::{Compute, Shared};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// Numbers below which a further thread costs more than it saves.
const LEAST: usize = 32_768;

/// One step of Adam or AdamW, the bias corrections folded in.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Factor on the gradient: clipping.
    pub gradient_scale: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// `learning_rate / (1 - beta1^t)`.
    pub step_size: f64,
    /// `1 / sqrt(1 - beta2^t)`.
    pub second_scale: f64,
    /// Added to the gradient as `l2 * weight` (Adam's weight decay).
    pub l2: f64,
    /// Factor on the weight before the step (AdamW's weight decay): `1 - learning_rate * weight_decay`.
    pub shrink: f64,
}

struct Adam<T> {
    step: AdamStep,
    weight: *mut T,
    gradient: *const T,
    first: *mut T,
    second: *mut T,
    count: usize,
}

impl<T: Scalar> Kernel<T> for Adam<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let gradient_scale = T::from_f64(self.step.gradient_scale);
        let (beta1, beta2) = (T::from_f64(self.step.beta1), T::from_f64(self.step.beta2));
        let (rest1, rest2) = (
            T::from_f64(1.0 - self.step.beta1),
            T::from_f64(1.0 - self.step.beta2),
        );
        let (epsilon, second_scale) = (
            T::from_f64(self.step.epsilon),
            T::from_f64(self.step.second_scale),
        );
        let (step_size, shrink, l2) = (
            T::from_f64(self.step.step_size),
            T::from_f64(self.step.shrink),
            T::from_f64(self.step.l2),
        );
        // SAFETY: `adam` has checked the lengths and gives each thread numbers of its own.
        unsafe {
            for at in 0..self.count {
                let weight = *self.weight.add(at);
                let gradient = l2.mul_add(weight, *self.gradient.add(at) * gradient_scale);
                let first = beta1.mul_add(*self.first.add(at), rest1 * gradient);
                let second = beta2.mul_add(*self.second.add(at), rest2 * gradient * gradient);
                *self.first.add(at) = first;
                *self.second.add(at) = second;
                let root = second.sqrt() * second_scale + epsilon;
                *self.weight.add(at) = weight * shrink - step_size * first / root;
            }
        }
    }
}

/// One step of Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019).
///
/// # Panics
/// If the lengths differ.
pub fn adam<T: Scalar>(
    compute: &Compute,
    step: AdamStep,
    weight: &mut [T],
    gradient: &[T],
    first: &mut [T],
    second: &mut [T],
) {
    T::adam(compute, step, weight, gradient, first, second)
}

pub(crate) fn adam_of<T: Scalar>(
    compute: &Compute,
    step: AdamStep,
    weight: &mut [T],
    gradient: &[T],
    first: &mut [T],
    second: &mut [T],
) {
    let count = weight.len();
    assert_eq!(
        (gradient.len(), first.len(), second.len()),
        (count, count, count),
        "lengths"
    );
    let (weight, first, second) = (Shared::new(weight), Shared::new(first), Shared::new(second));
    compute.split(count, LEAST, |range| {
        // SAFETY: the range lies inside all four slices.
        unsafe {
            compute.isa().run(Adam {
                step,
                weight: weight.get().add(range.start),
                gradient: gradient.as_ptr().add(range.start),
                first: first.get().add(range.start),
                second: second.get().add(range.start),
                count: range.len(),
            });
        }
    });
}

/// One step of gradient descent with momentum, as PyTorch does it: `v = momentum v + g`, `w = w - learning_rate v`.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Factor on the gradient: clipping.
    pub gradient_scale: f64,
    /// Momentum.
    pub momentum: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Added to the gradient as `l2 * weight`.
    pub l2: f64,
}

struct Sgd<T> {
    step: SgdStep,
    weight: *mut T,
    gradient: *const T,
    velocity: *mut T,
    count: usize,
}

impl<T: Scalar> Kernel<T> for Sgd<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let gradient_scale = T::from_f64(self.step.gradient_scale);
        let momentum = T::from_f64(self.step.momentum);
        let (learning_rate, l2) = (
            T::from_f64(self.step.learning_rate),
            T::from_f64(self.step.l2),
        );
        // SAFETY: `sgd` has checked the lengths and gives each thread numbers of its own.
        unsafe {
            for at in 0..self.count {
                let weight = *self.weight.add(at);
                let gradient = l2.mul_add(weight, *self.gradient.add(at) * gradient_scale);
                let velocity = momentum.mul_add(*self.velocity.add(at), gradient);
                *self.velocity.add(at) = velocity;
                *self.weight.add(at) = (-learning_rate).mul_add(velocity, weight);
            }
        }
    }
}

/// One step of [`SgdStep`].
///
/// # Panics
/// If the lengths differ.
pub fn sgd<T: Scalar>(
    compute: &Compute,
    step: SgdStep,
    weight: &mut [T],
    gradient: &[T],
    velocity: &mut [T],
) {
    T::sgd(compute, step, weight, gradient, velocity)
}

pub(crate) fn sgd_of<T: Scalar>(
    compute: &Compute,
    step: SgdStep,
    weight: &mut [T],
    gradient: &[T],
    velocity: &mut [T],
) {
    let count = weight.len();
    assert_eq!((gradient.len(), velocity.len()), (count, count), "lengths");
    let (weight, velocity) = (Shared::new(weight), Shared::new(velocity));
    compute.split(count, LEAST, |range| {
        // SAFETY: the range lies inside all three slices.
        unsafe {
            compute.isa().run(Sgd {
                step,
                weight: weight.get().add(range.start),
                gradient: gradient.as_ptr().add(range.start),
                velocity: velocity.get().add(range.start),
                count: range.len(),
            });
        }
    });
}

/// One step that divides each gradient by the root of its own past: Adagrad and RMSprop.
///
/// `s = keep s + add g^2`, `w = w - learning_rate g / (sqrt(s) + epsilon)`.
#[derive(Clone, Copy, Debug)]
pub struct RootStep {
    /// Factor on the gradient: clipping.
    pub gradient_scale: f64,
    /// Factor on the squares so far: 1 is Adagrad's sum, below 1 RMSprop's running mean.
    pub keep: f64,
    /// Factor on the new square: 1 in a sum, `1 - keep` in a running mean.
    pub add: f64,
    /// Added to the root of the squares.
    pub epsilon: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Added to the gradient as `l2 * weight`.
    pub l2: f64,
}

struct Root<T> {
    step: RootStep,
    weight: *mut T,
    gradient: *const T,
    squares: *mut T,
    count: usize,
}

impl<T: Scalar> Kernel<T> for Root<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let gradient_scale = T::from_f64(self.step.gradient_scale);
        let (keep, add) = (T::from_f64(self.step.keep), T::from_f64(self.step.add));
        let epsilon = T::from_f64(self.step.epsilon);
        let (learning_rate, l2) = (
            T::from_f64(self.step.learning_rate),
            T::from_f64(self.step.l2),
        );
        // SAFETY: `root` has checked the lengths and gives each thread numbers of its own.
        unsafe {
            for at in 0..self.count {
                let weight = *self.weight.add(at);
                let gradient = l2.mul_add(weight, *self.gradient.add(at) * gradient_scale);
                let squares = keep.mul_add(*self.squares.add(at), add * gradient * gradient);
                *self.squares.add(at) = squares;
                let root = squares.sqrt() + epsilon;
                *self.weight.add(at) = weight - learning_rate * gradient / root;
            }
        }
    }
}

/// One step of [`RootStep`]: Adagrad (Duchi, Hazan and Singer, 2011) or RMSprop (Hinton, lecture 6e, 2012).
///
/// # Panics
/// If the lengths differ.
pub fn root<T: Scalar>(
    compute: &Compute,
    step: RootStep,
    weight: &mut [T],
    gradient: &[T],
    squares: &mut [T],
) {
    T::root(compute, step, weight, gradient, squares)
}

pub(crate) fn root_of<T: Scalar>(
    compute: &Compute,
    step: RootStep,
    weight: &mut [T],
    gradient: &[T],
    squares: &mut [T],
) {
    let count = weight.len();
    assert_eq!((gradient.len(), squares.len()), (count, count), "lengths");
    let (weight, squares) = (Shared::new(weight), Shared::new(squares));
    compute.split(count, LEAST, |range| {
        // SAFETY: the range lies inside all three slices.
        unsafe {
            compute.isa().run(Root {
                step,
                weight: weight.get().add(range.start),
                gradient: gradient.as_ptr().add(range.start),
                squares: squares.get().add(range.start),
                count: range.len(),
            });
        }
    });
}
