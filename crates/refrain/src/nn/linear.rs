use rand::Rng;
use refrain_kernels::{
    Block, Compute, GROUP, GateOrder, Packed, Panels, Scalar, Slots, column_sums, gradient_product,
    groups, product,
};

use super::init;
use super::steps::Steps;
use super::{Parameter, Parameters};

/// A fully connected layer: `y = W x + b`, or without a bias `y = W x`.
///
/// Backward: `d_x = Wᵀ d_y`, `d_W = Σ d_y xᵀ`, `d_b = Σ d_y`, the sums from the last step to the first.
///
/// # Shapes
/// `weight`: `(output_size, input_size)`, `bias`: `(output_size)`, or empty and no parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear<T> {
    /// `(output_size, input_size)`.
    pub weight: Parameter<T>,
    /// `(output_size)`, or empty.
    pub bias: Parameter<T>,
}

/// The weights of a linear layer as the kernels read them, and space for its backward pass.
#[derive(Clone, Debug, Default)]
pub struct PackedLinear<T> {
    weight: Packed<T>,
    transposed: Packed<T>,
    bias: Vec<Block<T>>,
    gradient: Packed<T>,
    sums: Vec<Block<T>>,
}

impl<T: Scalar> Linear<T> {
    /// Zeros, named `{owner}.weight` and `{owner}.bias`.
    #[must_use]
    pub fn zeros(owner: &str, input_size: usize, output_size: usize) -> Self {
        Self {
            weight: Parameter::zeros(format!("{owner}.weight"), &[output_size, input_size]),
            bias: Parameter::zeros(format!("{owner}.bias"), &[output_size]),
        }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(owner: &str, input_size: usize, output_size: usize) -> Self {
        Self {
            bias: Parameter::zeros(format!("{owner}.bias"), &[0]),
            ..Self::zeros(owner, input_size, output_size)
        }
    }

    /// Draws new weights as PyTorch does: weight and bias uniform in ±1/√input_size.
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        let bound = 1.0 / (self.input_size() as f64).sqrt();
        init::uniform(&mut self.weight.value, bound, rng);
        init::uniform(&mut self.bias.value, bound, rng);
    }

    /// Features of an input.
    #[must_use]
    pub fn input_size(&self) -> usize {
        self.weight.shape[1]
    }

    /// Features of an output.
    #[must_use]
    pub fn output_size(&self) -> usize {
        self.weight.shape[0]
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, packed: &mut PackedLinear<T>, with_backward: bool) {
        let order = GateOrder::plain(self.output_size());
        packed
            .weight
            .pack(&self.weight.value, order, self.input_size());
        if with_backward {
            packed
                .transposed
                .pack_transposed(&self.weight.value, order, self.input_size());
        }
        packed.bias.clear();
        packed.bias.resize(groups(self.output_size()), Block::ZERO);
        for (block, bias) in packed.bias.iter_mut().zip(self.bias.value.chunks(GROUP)) {
            block.0[..bias.len()].copy_from_slice(bias);
        }
    }

    /// `y = W x + b` for every row.
    ///
    /// # Panics
    /// If `x` has not `input_size` columns or the layer was not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        packed: &PackedLinear<T>,
        x: &Panels<T>,
        y: &mut Panels<T>,
    ) {
        y.resize(x.rows(), self.output_size());
        product(compute, x, &packed.weight, Some(&packed.bias), y);
    }

    /// The gradients of the weights into `grad`, that of `x` into `d_x`.
    ///
    /// # Panics
    /// If the shapes do not fit or the layer was not packed for it.
    pub fn backward(
        &mut self,
        compute: &Compute,
        packed: &mut PackedLinear<T>,
        steps: &Steps,
        x: &Panels<T>,
        d_y: &Panels<T>,
        d_x: &mut Panels<T>,
    ) {
        d_x.resize(x.rows(), self.input_size());
        product(compute, d_y, &packed.transposed, None, d_x);
        packed
            .gradient
            .reset(groups(self.output_size()), self.input_size());
        gradient_product(
            compute,
            steps.runs(),
            x,
            d_y,
            Slots::PLAIN,
            &mut packed.gradient,
        );
        packed.gradient.unpack(
            &mut self.weight.grad,
            GateOrder::plain(self.weight.shape[0]),
        );
        if self.bias.is_empty() {
            return;
        }
        packed.sums.clear();
        packed.sums.resize(groups(self.bias.len()), Block::ZERO);
        column_sums(compute, steps.runs(), d_y, &mut packed.sums);
        for (grad, block) in self.bias.grad.chunks_mut(GROUP).zip(&packed.sums) {
            grad.copy_from_slice(&block.0[..grad.len()]);
        }
    }
}

impl<T: Scalar> Parameters<T> for Linear<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.weight);
        if !self.bias.is_empty() {
            visit(&self.bias);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.weight);
        if !self.bias.is_empty() {
            visit(&mut self.bias);
        }
    }
}
