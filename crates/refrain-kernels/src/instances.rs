//! The kernels compiled once, here, for `f32` and for `f64`.
//!
//! A generic function is compiled anew in every crate that calls it, and these are the largest of the project: the
//! public ones only pass on to the methods of this trait.

use crate::attention::{Attend, AttendBackward};
use crate::batch_norm::{BatchNormBackward, ColumnScaling};
use crate::cells::{AnyCell, RnnCell};
use crate::compute::Compute;
use crate::convolution::{ConvolutionBackward, ConvolutionForward};
use crate::dropout::DropoutKey;
use crate::panels::{Block, Packed, Panels};
use crate::product::{RowRun, Slots};
use crate::recurrent::{Backward, Forward};
use crate::recurrent_norm::NormForward;
use crate::recurrent_norm_backward::NormBackward;
use crate::update::{AdamStep, RootStep, SgdStep};
use crate::{
    attention, batch_norm, convolution, dropout, elementwise, norm, product, recurrent,
    recurrent_norm, recurrent_norm_backward, softmax, sums, update,
};

/// Each method is documented as the public function of its name.
pub trait Instances: Sized {
    fn product(
        compute: &Compute,
        a: &Panels<Self>,
        w: &Packed<Self>,
        bias: Option<&[Block<Self>]>,
        c: &mut Panels<Self>,
    );
    fn gradient_product(
        compute: &Compute,
        runs: &[RowRun],
        a: &Panels<Self>,
        b: &Panels<Self>,
        slots: Slots,
        c: &mut Packed<Self>,
    );
    fn column_sums(compute: &Compute, runs: &[RowRun], b: &Panels<Self>, sums: &mut [Block<Self>]);
    fn sum_rows_by_index(
        compute: &Compute,
        runs: &[RowRun],
        index: &[u32],
        b: &Panels<Self>,
        slots: Slots,
        sums: &mut Panels<Self>,
    );
    fn softmax_cross_entropy(
        compute: &Compute,
        logits: &mut Panels<Self>,
        targets: &[u32],
        weight: Option<f64>,
        losses: &mut [f64],
    );
    fn dropout(
        compute: &Compute,
        key: DropoutKey,
        probability: f64,
        offsets: &[usize],
        values: &mut Panels<Self>,
    );
    fn adam(
        compute: &Compute,
        step: AdamStep,
        weight: &mut [Self],
        gradient: &[Self],
        first: &mut [Self],
        second: &mut [Self],
    );
    fn sgd(
        compute: &Compute,
        step: SgdStep,
        weight: &mut [Self],
        gradient: &[Self],
        velocity: &mut [Self],
    );
    fn root(
        compute: &Compute,
        step: RootStep,
        weight: &mut [Self],
        gradient: &[Self],
        squares: &mut [Self],
    );
    fn sum_of_squares(compute: &Compute, values: &[Self]) -> f64;
    fn scale(compute: &Compute, values: &mut [Self], factor: Self);
    fn activate(compute: &Compute, activation: RnnCell, values: &mut Panels<Self>);
    fn activate_backward(
        compute: &Compute,
        activation: RnnCell,
        y: &Panels<Self>,
        d: &mut Panels<Self>,
    );
    fn convolution_forward(compute: &Compute, args: ConvolutionForward<'_, Self>);
    fn convolution_backward(compute: &Compute, args: ConvolutionBackward<'_, Self>);
    fn forward(compute: &Compute, cell: AnyCell, args: Forward<'_, Self>);
    fn backward(compute: &Compute, cell: AnyCell, args: Backward<'_, Self>);
    fn norm_forward(compute: &Compute, cell: AnyCell, args: NormForward<'_, Self>);
    fn norm_backward(compute: &Compute, cell: AnyCell, args: NormBackward<'_, Self>);
    fn layer_norm(compute: &Compute, units: usize, values: &mut Panels<Self>, factors: &mut [Self]);
    #[expect(
        clippy::too_many_arguments,
        reason = "a backward pass reads what the forward pass left"
    )]
    fn layer_norm_backward(
        compute: &Compute,
        units: usize,
        d: &Panels<Self>,
        slots: Slots,
        normalised: &Panels<Self>,
        gain: &[Block<Self>],
        factors: &[Self],
        to: &mut Panels<Self>,
    );
    fn column_products(
        compute: &Compute,
        runs: &[RowRun],
        a: &Panels<Self>,
        b: &Panels<Self>,
        slots: Slots,
        sums: &mut [Block<Self>],
    );
    fn column_moments(
        compute: &Compute,
        x: &Panels<Self>,
        mean: &mut [Block<Self>],
        variance: &mut [Block<Self>],
    );
    fn scale_columns(
        compute: &Compute,
        scaling: ColumnScaling<'_, Self>,
        bias: &[Block<Self>],
        x: &Panels<Self>,
        y: &mut Panels<Self>,
    );
    fn batch_norm_backward(compute: &Compute, args: BatchNormBackward<'_, Self>);
    fn attend(compute: &Compute, args: Attend<'_, Self>);
    fn attend_backward(compute: &Compute, args: AttendBackward<'_, Self>);
}

macro_rules! instances {
    ($($type:ty),*) => {$(
        impl Instances for $type {
            fn product(compute: &Compute, a: &Panels<$type>, w: &Packed<$type>, bias: Option<&[Block<$type>]>, c: &mut Panels<$type>) {
                product::product_of(compute, a, w, bias, c)
            }

            fn gradient_product(compute: &Compute, runs: &[RowRun], a: &Panels<$type>, b: &Panels<$type>, slots: Slots, c: &mut Packed<$type>) {
                product::gradient_product_of(compute, runs, a, b, slots, c)
            }

            fn column_sums(compute: &Compute, runs: &[RowRun], b: &Panels<$type>, sums: &mut [Block<$type>]) {
                sums::column_sums_of(compute, runs, b, sums)
            }

            fn sum_rows_by_index(compute: &Compute, runs: &[RowRun], index: &[u32], b: &Panels<$type>, slots: Slots, sums: &mut Panels<$type>) {
                sums::sum_rows_by_index_of(compute, runs, index, b, slots, sums)
            }

            fn softmax_cross_entropy(compute: &Compute, logits: &mut Panels<$type>, targets: &[u32], weight: Option<f64>, losses: &mut [f64]) {
                softmax::softmax_cross_entropy_of(compute, logits, targets, weight, losses)
            }

            fn dropout(compute: &Compute, key: DropoutKey, probability: f64, offsets: &[usize], values: &mut Panels<$type>) {
                dropout::dropout_of(compute, key, probability, offsets, values)
            }

            fn adam(compute: &Compute, step: AdamStep, weight: &mut [$type], gradient: &[$type], first: &mut [$type], second: &mut [$type]) {
                update::adam_of(compute, step, weight, gradient, first, second)
            }

            fn sgd(compute: &Compute, step: SgdStep, weight: &mut [$type], gradient: &[$type], velocity: &mut [$type]) {
                update::sgd_of(compute, step, weight, gradient, velocity)
            }

            fn root(compute: &Compute, step: RootStep, weight: &mut [$type], gradient: &[$type], squares: &mut [$type]) {
                update::root_of(compute, step, weight, gradient, squares)
            }

            fn sum_of_squares(compute: &Compute, values: &[$type]) -> f64 {
                elementwise::sum_of_squares_of(compute, values)
            }

            fn scale(compute: &Compute, values: &mut [$type], factor: $type) {
                elementwise::scale_of(compute, values, factor)
            }

            fn activate(compute: &Compute, activation: RnnCell, values: &mut Panels<$type>) {
                elementwise::activate_of(compute, activation, values)
            }

            fn activate_backward(compute: &Compute, activation: RnnCell, y: &Panels<$type>, d: &mut Panels<$type>) {
                elementwise::activate_backward_of(compute, activation, y, d)
            }

            fn convolution_forward(compute: &Compute, args: ConvolutionForward<'_, $type>) {
                convolution::convolution_forward_of(compute, args)
            }

            fn convolution_backward(compute: &Compute, args: ConvolutionBackward<'_, $type>) {
                convolution::convolution_backward_of(compute, args)
            }

            fn forward(compute: &Compute, cell: AnyCell, args: Forward<'_, $type>) {
                match cell {
                    AnyCell::Rnn(cell) => recurrent::forward_of(compute, cell, args),
                    AnyCell::Gru(cell) => recurrent::forward_of(compute, cell, args),
                    AnyCell::Lstm(cell) => recurrent::forward_of(compute, cell, args),
                }
            }

            fn backward(compute: &Compute, cell: AnyCell, args: Backward<'_, $type>) {
                match cell {
                    AnyCell::Rnn(cell) => recurrent::backward_of(compute, cell, args),
                    AnyCell::Gru(cell) => recurrent::backward_of(compute, cell, args),
                    AnyCell::Lstm(cell) => recurrent::backward_of(compute, cell, args),
                }
            }

            fn norm_forward(compute: &Compute, cell: AnyCell, args: NormForward<'_, $type>) {
                match cell {
                    AnyCell::Rnn(cell) => recurrent_norm::norm_forward_of(compute, cell, args),
                    AnyCell::Gru(cell) => recurrent_norm::norm_forward_of(compute, cell, args),
                    AnyCell::Lstm(cell) => recurrent_norm::norm_forward_of(compute, cell, args),
                }
            }

            fn norm_backward(compute: &Compute, cell: AnyCell, args: NormBackward<'_, $type>) {
                match cell {
                    AnyCell::Rnn(cell) => recurrent_norm_backward::norm_backward_of(compute, cell, args),
                    AnyCell::Gru(cell) => recurrent_norm_backward::norm_backward_of(compute, cell, args),
                    AnyCell::Lstm(cell) => recurrent_norm_backward::norm_backward_of(compute, cell, args),
                }
            }

            fn layer_norm(compute: &Compute, units: usize, values: &mut Panels<$type>, factors: &mut [$type]) {
                norm::layer_norm_of(compute, units, values, factors)
            }

            fn layer_norm_backward(compute: &Compute, units: usize, d: &Panels<$type>, slots: Slots, normalised: &Panels<$type>, gain: &[Block<$type>], factors: &[$type], to: &mut Panels<$type>) {
                norm::layer_norm_backward_of(compute, units, d, slots, normalised, gain, factors, to)
            }

            fn column_products(compute: &Compute, runs: &[RowRun], a: &Panels<$type>, b: &Panels<$type>, slots: Slots, sums: &mut [Block<$type>]) {
                norm::column_products_of(compute, runs, a, b, slots, sums)
            }

            fn column_moments(compute: &Compute, x: &Panels<$type>, mean: &mut [Block<$type>], variance: &mut [Block<$type>]) {
                batch_norm::column_moments_of(compute, x, mean, variance)
            }

            fn scale_columns(compute: &Compute, scaling: ColumnScaling<'_, $type>, bias: &[Block<$type>], x: &Panels<$type>, y: &mut Panels<$type>) {
                batch_norm::scale_columns_of(compute, scaling, bias, x, y)
            }

            fn batch_norm_backward(compute: &Compute, args: BatchNormBackward<'_, $type>) {
                batch_norm::batch_norm_backward_of(compute, args)
            }

            fn attend(compute: &Compute, args: Attend<'_, $type>) {
                attention::attend_of(compute, args)
            }

            fn attend_backward(compute: &Compute, args: AttendBackward<'_, $type>) {
                attention::attend_backward_of(compute, args)
            }
        }
    )*};
}

instances!(f32, f64);
