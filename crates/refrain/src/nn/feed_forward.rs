use rand::Rng;
use refrain_kernels::{
    Compute, DropoutKey, GROUP, Panels, RnnCell, Scalar, activate, activate_backward, dropout,
};

use super::init;
use super::{Init, Linear, Nonlinearity, PackedLinear, Parameter, Parameters, Steps};

/// A feed-forward body.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedForwardConfig {
    /// Features of each input.
    pub input_size: usize,
    /// Units of each layer.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// The activation of every layer.
    pub nonlinearity: Nonlinearity,
    /// Probability that an output of one layer is dropped on its way to the next, `0 ≤ p < 1`.
    pub dropout: f64,
    /// How the weights begin: `uniform` as PyTorch's linear layers do, all else Xavier with biases 0 (there is no recurrent
    /// matrix to be orthogonal or the identity).
    pub init: Init,
}

/// Linear layers with an activation one above the other: each position by itself, no recurrence.
///
/// ```text
/// h_0 = x
/// h_(k+1) = f(W_k h_k + b_k)                f = tanh or max(0, ·)
/// ```
///
/// In training, elements of a layer's output are dropped on their way to the next, by the same keyed masks as in a
/// [`Stack`](super::Stack). Backward: `d_k = f'(h_(k+1)) d_h_(k+1)`, then as [`Linear`].
///
/// # Shapes
/// Inputs rows × input_size, outputs rows × hidden_size; `{owner}.{k}.weight`: `(hidden_size, input_size or hidden_size)`,
/// `{owner}.{k}.bias`: `(hidden_size)`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedForward<T> {
    /// The layers, lowest first.
    pub layers: Vec<Linear<T>>,
    activation: RnnCell,
    dropout: f64,
}

/// Everything that passes over a feed-forward body reuse: packed weights, saved activations, scratch.
#[derive(Clone, Debug, Default)]
pub struct FeedForwardSpace<T> {
    packed: Vec<PackedLinear<T>>,
    hidden: Vec<Panels<T>>,
    /// Outputs after dropout, for each layer that has any.
    dropped: Vec<Panels<T>>,
    d_hidden: [Panels<T>; 2],
}

impl<T: Scalar> FeedForwardSpace<T> {
    /// The outputs of layer `layer` from the last forward pass, before dropout.
    #[must_use]
    pub fn hidden(&self, layer: usize) -> &Panels<T> {
        &self.hidden[layer]
    }
}

impl<T: Scalar> FeedForward<T> {
    /// Layers of zeros.
    ///
    /// # Panics
    /// If there is no layer.
    #[must_use]
    pub fn zeros(config: &FeedForwardConfig, owner: &str) -> Self {
        assert!(config.num_layers > 0, "no layer");
        let layer = |at| {
            let input = if at == 0 {
                config.input_size
            } else {
                config.hidden_size
            };
            Linear::zeros(&format!("{owner}.{at}"), input, config.hidden_size)
        };
        Self {
            layers: (0..config.num_layers).map(layer).collect(),
            activation: match config.nonlinearity {
                Nonlinearity::Tanh => RnnCell::Tanh,
                Nonlinearity::Relu => RnnCell::Relu,
            },
            dropout: config.dropout,
        }
    }

    /// Draws new weights, layer by layer.
    pub fn initialise(&mut self, config: &FeedForwardConfig, rng: &mut impl Rng) {
        for layer in &mut self.layers {
            match config.init {
                Init::Uniform => layer.initialise(rng),
                Init::Xavier | Init::Orthogonal | Init::Identity => {
                    let (rows, columns) = (layer.output_size(), layer.input_size());
                    init::xavier(&mut layer.weight.value, rows, columns, rng);
                    layer.bias.value.fill(T::ZERO);
                }
            }
        }
    }

    /// Units of each layer.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.layers[0].output_size()
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut FeedForwardSpace<T>, with_backward: bool) {
        space
            .packed
            .resize_with(self.layers.len(), PackedLinear::default);
        for (layer, packed) in self.layers.iter().zip(&mut space.packed) {
            layer.pack(packed, with_backward);
        }
    }

    /// Forward through all layers; the outputs are left in [`FeedForwardSpace::hidden`]. With `mask`, dropout between the
    /// layers.
    ///
    /// # Shapes
    /// `x`: rows over time × input_size, the rows of `steps`.
    ///
    /// # Panics
    /// If shapes do not fit or the weights were not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut FeedForwardSpace<T>,
        steps: &Steps,
        x: &Panels<T>,
        mask: Option<DropoutKey>,
    ) {
        assert_eq!(x.rows(), steps.rows(), "rows");
        let count = self.layers.len();
        space.hidden.resize_with(count, Panels::default);
        space.dropped.resize_with(count - 1, Panels::default);
        let mask = mask.filter(|_| self.dropout > 0.0);
        for (at, layer) in self.layers.iter().enumerate() {
            let (below, rest) = space.hidden.split_at_mut(at);
            let input = match (at, mask) {
                (0, _) => x,
                (_, None) => &below[at - 1],
                (_, Some(key)) => {
                    let dropped = &mut space.dropped[at - 1];
                    dropped.clone_from(&below[at - 1]);
                    self.drop(compute, key, at, steps, dropped);
                    dropped
                }
            };
            layer.forward(compute, &space.packed[at], input, &mut rest[0]);
            activate(compute, self.activation, &mut rest[0]);
        }
    }

    /// Backward through all layers: gradients into the parameters and `d_x`. `x` and `mask` are those of the forward pass.
    ///
    /// # Panics
    /// If shapes do not fit.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over the layers reads and writes this much"
    )]
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut FeedForwardSpace<T>,
        steps: &Steps,
        x: &Panels<T>,
        mask: Option<DropoutKey>,
        d_output: &Panels<T>,
        d_x: &mut Panels<T>,
    ) {
        let mask = mask.filter(|_| self.dropout > 0.0);
        let [d_hidden, d_below] = &mut space.d_hidden;
        d_hidden.clone_from(d_output);
        for at in (0..self.layers.len()).rev() {
            activate_backward(compute, self.activation, &space.hidden[at], d_hidden);
            let layer = &mut self.layers[at];
            let packed = &mut space.packed[at];
            if at == 0 {
                return layer.backward(compute, packed, steps, x, d_hidden, d_x);
            }
            let input = match mask {
                None => &space.hidden[at - 1],
                Some(_) => &space.dropped[at - 1],
            };
            layer.backward(compute, packed, steps, input, d_hidden, d_below);
            if let Some(key) = mask {
                self.drop(compute, key, at, steps, d_below);
            }
            std::mem::swap(d_hidden, d_below);
        }
    }

    /// The mask on the way to layer `at`.
    fn drop(
        &self,
        compute: &Compute,
        key: DropoutKey,
        at: usize,
        steps: &Steps,
        values: &mut Panels<T>,
    ) {
        let key = DropoutKey {
            layer: key.layer.wrapping_add(at as u64),
            ..key
        };
        dropout(compute, key, self.dropout, steps.offsets(), values);
    }
}

impl<T: Scalar> Parameters<T> for FeedForward<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        for layer in &self.layers {
            layer.visit(visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        for layer in &mut self.layers {
            layer.visit_mut(visit);
        }
    }
}

/// A window over neighbouring steps: each step's vector becomes those of the steps around it, side by side.
///
/// ```text
/// y_t = (x_(t - before), …, x_t, …, x_(t + after))          zeros outside the sequence
/// ```
///
/// Backward: `d_x_t` is the sum of its parts in `d_y_(t + before), …, d_y_(t - after)`, one chain from 0 in this order (its
/// place in the window upwards).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Steps before.
    pub before: usize,
    /// Steps after.
    pub after: usize,
}

impl Window {
    /// Steps in the window.
    #[must_use]
    pub fn len(self) -> usize {
        self.before + 1 + self.after
    }

    /// Never: the step itself is always there.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }

    /// The windows of all steps. A sequence alone gives the same bits as in a batch.
    ///
    /// # Shapes
    /// `x`: rows over time × features, `y` becomes rows over time × `len · features`.
    ///
    /// # Panics
    /// If the rows are not those of `steps`.
    pub fn forward<T: Scalar>(self, steps: &Steps, x: &Panels<T>, y: &mut Panels<T>) {
        assert_eq!(x.rows(), steps.rows(), "rows");
        let features = x.columns();
        y.resize(x.rows(), self.len() * features);
        let mut window = vec![T::ZERO; y.columns()];
        if window.is_empty() {
            return;
        }
        for (t, row, at) in positions(steps) {
            for (place, part) in window.chunks_exact_mut(features).enumerate() {
                match row_at(steps, (t + place).checked_sub(self.before), row) {
                    Some(from) => x.copy_to_rows(from, part),
                    None => part.fill(T::ZERO),
                }
            }
            y.copy_from_rows(at, &window);
        }
    }

    /// The gradient of the steps' vectors from that of the windows.
    ///
    /// # Shapes
    /// `d_y`: rows over time × `len · features`, `d_x` becomes rows over time × features.
    ///
    /// # Panics
    /// If the rows are not those of `steps` or the columns no multiple of `len`.
    pub fn backward<T: Scalar>(self, steps: &Steps, d_y: &Panels<T>, d_x: &mut Panels<T>) {
        assert_eq!(d_y.rows(), steps.rows(), "rows");
        assert!(
            d_y.columns().is_multiple_of(self.len()),
            "{} columns in {self:?}",
            d_y.columns()
        );
        let features = d_y.columns() / self.len();
        d_x.resize(d_y.rows(), features);
        let mut sum = vec![T::ZERO; features];
        for (t, row, at) in positions(steps) {
            sum.fill(T::ZERO);
            for place in 0..self.len() {
                // Step t stands at `place` in the window of step `t + before - place`.
                if let Some(from) = row_at(steps, (t + self.before).checked_sub(place), row) {
                    add_columns(d_y, from, place * features, &mut sum);
                }
            }
            d_x.copy_from_rows(at, &sum);
        }
    }
}

/// Every step of every sequence, and its row.
fn positions(steps: &Steps) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    let spans = steps.offsets().windows(2).enumerate();
    spans.flat_map(|(t, span)| {
        (span[0]..span[1])
            .enumerate()
            .map(move |(row, at)| (t, row, at))
    })
}

/// The row of sequence `row` at step `t`, if it has that step.
fn row_at(steps: &Steps, t: Option<usize>, row: usize) -> Option<usize> {
    let t = t?;
    let end = *steps.offsets().get(t.checked_add(1)?)?;
    let at = steps.offsets()[t] + row;
    (at < end).then_some(at)
}

/// `sum += values[row][column..]`.
fn add_columns<T: Scalar>(values: &Panels<T>, row: usize, column: usize, sum: &mut [T]) {
    let mut done = 0;
    while done < sum.len() {
        let (group, lane) = ((column + done) / GROUP, (column + done) % GROUP);
        let block = &values.blocks()[group * values.rows() + row];
        let count = (GROUP - lane).min(sum.len() - done);
        for (sum, &value) in sum[done..][..count].iter_mut().zip(&block.0[lane..]) {
            *sum += value;
        }
        done += count;
    }
}
