//! Norms of a stack: the gains of layer norm inside a cell, and batch norm between layers.

use refrain_kernels::{
    BatchNormBackward, Block, ColumnScaling, Compute, GROUP, NORM_EPSILON, Panels, Scalar,
    batch_norm_backward, column_moments, groups, scale_columns,
};

use super::{Parameter, Parameters};

/// Layer norm inside a recurrent cell.
///
/// With `norm(a) = (a - mean(a)) / √(variance(a) + 1e-5)` over all of a row's sums together, the variance biased, `*`
/// element by element, and `h` the hidden state before:
///
/// ```text
/// a_x = weight_ih * norm(W_ih x) + b_ih       a_h = weight_hh * norm(W_hh h) + b_hh
/// LSTM: i, f, g, o from a_x + a_h             c_t = f * c + i * g
///       h_t = o * tanh(weight_c * norm(c_t) + bias_c)
/// GRU:  r, z from a_x + a_h                   n = tanh(a_x + r * a_h)
///       h_t = (1 - z) * n + z * h
/// RNN:  h_t = tanh(a_x + a_h) or max(0, a_x + a_h)
/// ```
///
/// Backward, for `y = weight * norm(a) + bias` and with `u = weight * d_y`:
///
/// ```text
/// d_a = (u - mean(u) - norm(a) * mean(u * norm(a))) / √(variance(a) + 1e-5)
/// d_weight = Σ d_y * norm(a)      d_bias = Σ d_y
/// ```
///
/// The cell state is carried on as it is; the biases of the layer are those of the norms.
///
/// # Shapes
/// `weight_ih`, `weight_hh`: `(gates · hidden_size)`, in the order of the layer's weights; those of the cell state:
/// `(hidden_size)`.
///
/// # References
/// Ba, Kiros and Hinton, "Layer normalization", 2016.
#[derive(Clone, Debug, PartialEq)]
pub struct CellNorm<T> {
    /// The gain of the input's sums, `{owner}.layer_norm_ih_l{k}.weight`.
    pub weight_ih: Parameter<T>,
    /// The gain of the hidden state's sums, `{owner}.layer_norm_hh_l{k}.weight`.
    pub weight_hh: Parameter<T>,
    /// Gain and bias of the cell state, `{owner}.layer_norm_c_l{k}.weight` and `.bias`, where the cell has one.
    pub cell_state: Option<Affine<T>>,
}

/// A gain and a bias for each of some numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine<T> {
    /// The gain; begins at 1.
    pub weight: Parameter<T>,
    /// The bias; begins at 0.
    pub bias: Parameter<T>,
}

fn ones<T: Scalar>(name: String, size: usize) -> Parameter<T> {
    let mut parameter = Parameter::zeros(name, &[size]);
    parameter.value.fill(T::ONE);
    parameter
}

impl<T: Scalar> Affine<T> {
    fn new(owner: &str, size: usize) -> Self {
        Self {
            weight: ones(format!("{owner}.weight"), size),
            bias: Parameter::zeros(format!("{owner}.bias"), &[size]),
        }
    }
}

impl<T: Scalar> CellNorm<T> {
    /// Gains of 1; `name` makes the names of a layer's parameters.
    pub(crate) fn new(
        name: impl Fn(&str) -> String,
        sums: usize,
        hidden_size: usize,
        has_c: bool,
    ) -> Self {
        let gain = |kind: &str| ones(format!("{}.weight", name(kind)), sums);
        Self {
            weight_ih: gain("layer_norm_ih"),
            weight_hh: gain("layer_norm_hh"),
            cell_state: has_c.then(|| Affine::new(&name("layer_norm_c"), hidden_size)),
        }
    }
}

impl<T: Scalar> Parameters<T> for CellNorm<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.weight_ih);
        visit(&self.weight_hh);
        if let Some(affine) = &self.cell_state {
            visit(&affine.weight);
            visit(&affine.bias);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.weight_ih);
        visit(&mut self.weight_hh);
        if let Some(affine) = &mut self.cell_state {
            visit(&mut affine.weight);
            visit(&mut affine.bias);
        }
    }
}

/// Batch norm of a layer's output on its way to the next layer.
///
/// In training, with mean and (biased) variance of each column over all real rows of a packed batch, all steps together:
///
/// ```text
/// y = weight * (x - mean) / √(variance + 1e-5) + bias
/// running_mean = 0.9 running_mean + 0.1 mean
/// running_var  = 0.9 running_var  + 0.1 variance · rows / (rows - 1)
/// ```
///
/// In evaluation with the running statistics instead. Those are updated by the backward pass.
///
/// # Shapes
/// `x`: rows × size; all parameters and buffers: `(size)`.
///
/// # Differences
/// As PyTorch's `BatchNorm1d` on the packed rows, except that a batch of one row leaves `running_var` as it is, where
/// PyTorch refuses one.
///
/// # References
/// Ioffe and Szegedy, "Batch normalization", 2015; between layers, never along the steps of time: Laurent et al., "Batch
/// normalized recurrent neural networks", 2016.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm<T> {
    /// `{owner}.weight` and `{owner}.bias`.
    pub affine: Affine<T>,
    /// `{owner}.running_mean`, begins at 0.
    pub running_mean: Parameter<T>,
    /// `{owner}.running_var`, begins at 1.
    pub running_var: Parameter<T>,
}

/// What each new mean and variance counts for in the running ones.
const MOMENTUM: f64 = 0.1;

/// What a forward pass leaves for the backward pass: a block for each group of columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct SavedBatchNorm<T> {
    mean: Vec<Block<T>>,
    variance: Vec<Block<T>>,
    factor: Vec<Block<T>>,
    gain: Vec<Block<T>>,
    bias: Vec<Block<T>>,
    d_gain: Vec<Block<T>>,
    d_bias: Vec<Block<T>>,
}

/// Numbers as blocks of sixteen, the last padded with zeros.
fn blocks_of<T: Scalar>(values: &[T], blocks: &mut Vec<Block<T>>) {
    blocks.clear();
    blocks.resize(groups(values.len()), Block::ZERO);
    for (block, part) in blocks.iter_mut().zip(values.chunks(GROUP)) {
        block.0[..part.len()].copy_from_slice(part);
    }
}

/// The inverse of [`blocks_of`].
fn numbers_of<T: Scalar>(blocks: &[Block<T>], values: &mut [T]) {
    for (part, block) in values.chunks_mut(GROUP).zip(blocks) {
        part.copy_from_slice(&block.0[..part.len()]);
    }
}

impl<T: Scalar> BatchNorm<T> {
    /// Gains of 1, biases of 0, statistics of nothing seen.
    #[must_use]
    pub fn new(owner: &str, size: usize) -> Self {
        Self {
            affine: Affine::new(owner, size),
            running_mean: Parameter::buffer(format!("{owner}.running_mean"), vec![T::ZERO; size]),
            running_var: Parameter::buffer(format!("{owner}.running_var"), vec![T::ONE; size]),
        }
    }

    /// `y` from `x`; in training with the statistics of `x`, else with the running ones.
    pub(crate) fn forward(
        &self,
        compute: &Compute,
        saved: &mut SavedBatchNorm<T>,
        x: &Panels<T>,
        y: &mut Panels<T>,
        is_training: bool,
    ) {
        blocks_of(&self.affine.weight.value, &mut saved.gain);
        blocks_of(&self.affine.bias.value, &mut saved.bias);
        blocks_of(&self.running_mean.value, &mut saved.mean);
        blocks_of(&self.running_var.value, &mut saved.variance);
        if is_training {
            column_moments(compute, x, &mut saved.mean, &mut saved.variance);
        }
        saved.factor.clear();
        saved.factor.extend(saved.variance.iter().map(|block| {
            Block(
                block
                    .0
                    .map(|x| T::from_f64(1.0 / (x.to_f64() + NORM_EPSILON).sqrt())),
            )
        }));
        y.resize(x.rows(), x.columns());
        let scaling = ColumnScaling {
            mean: &saved.mean,
            factor: &saved.factor,
            gain: &saved.gain,
        };
        scale_columns(compute, scaling, &saved.bias, x, y);
    }

    /// The gradients of gain and bias into `grad`; `d`, the gradient of `y`, becomes that of `x`. In training the running
    /// statistics take in those of the batch.
    pub(crate) fn backward(
        &mut self,
        compute: &Compute,
        saved: &mut SavedBatchNorm<T>,
        x: &Panels<T>,
        d: &mut Panels<T>,
        is_training: bool,
    ) {
        let count = saved.gain.len();
        saved.d_gain.resize(count, Block::ZERO);
        saved.d_bias.resize(count, Block::ZERO);
        let args = BatchNormBackward {
            scaling: ColumnScaling {
                mean: &saved.mean,
                factor: &saved.factor,
                gain: &saved.gain,
            },
            of_batch: is_training,
            x,
            d,
            d_gain: &mut saved.d_gain,
            d_bias: &mut saved.d_bias,
        };
        batch_norm_backward(compute, args);
        numbers_of(&saved.d_gain, &mut self.affine.weight.grad);
        numbers_of(&saved.d_bias, &mut self.affine.bias.grad);
        if !is_training {
            return;
        }
        let rows = x.rows() as f64;
        let take_in = |running: &mut Parameter<T>, blocks: &[Block<T>], scale: f64| {
            for (part, block) in running.value.chunks_mut(GROUP).zip(blocks) {
                for (running, new) in part.iter_mut().zip(block.0) {
                    let new = new.to_f64() * scale;
                    *running = T::from_f64((1.0 - MOMENTUM) * running.to_f64() + MOMENTUM * new);
                }
            }
        };
        take_in(&mut self.running_mean, &saved.mean, 1.0);
        if rows > 1.0 {
            take_in(&mut self.running_var, &saved.variance, rows / (rows - 1.0));
        }
    }
}

impl<T: Scalar> Parameters<T> for BatchNorm<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.affine.weight);
        visit(&self.affine.bias);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.affine.weight);
        visit(&mut self.affine.bias);
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.running_mean);
        visit(&self.running_var);
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.running_mean);
        visit(&mut self.running_var);
    }
}
