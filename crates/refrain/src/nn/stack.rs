use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use rand::Rng;
use refrain_kernels::{Compute, DropoutKey, GruCell, LstmCell, Panels, RnnCell, Scalar, dropout};

use super::recurrent::{
    InputGradient, LayerInput, PackedLayer, Recurrent, Saved, Scratch, State, StepInput, array_of,
    panels_of,
};
use super::steps::Steps;
use super::{CellKind, Gru, Lstm, Nonlinearity, Parameter, Parameters, Rnn, StackConfig};
use crate::error::{Error, Result};

/// A layer with any cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer<T> {
    /// The vanilla cell.
    Rnn(Rnn<T>),
    /// Gated recurrent units.
    Gru(Gru<T>),
    /// Long short-term memory.
    Lstm(Lstm<T>),
}

/// The same expression for the layer of whichever cell.
macro_rules! any {
    ($layer:expr, $name:ident => $body:expr) => {
        match $layer {
            Layer::Rnn($name) => $body,
            Layer::Gru($name) => $body,
            Layer::Lstm($name) => $body,
        }
    };
}

impl<T: Scalar> Layer<T> {
    fn new(config: &StackConfig, owner: &str, at: usize) -> Self {
        let input = if at == 0 {
            config.input_size
        } else {
            config.hidden_size
        };
        let hidden = config.hidden_size;
        match config.cell {
            CellKind::Rnn => {
                let cell = match config.nonlinearity {
                    Nonlinearity::Tanh => RnnCell::Tanh,
                    Nonlinearity::Relu => RnnCell::Relu,
                };
                Self::Rnn(Recurrent::zeros(cell, owner, at, input, hidden))
            }
            CellKind::Gru => Self::Gru(Recurrent::zeros(GruCell, owner, at, input, hidden)),
            CellKind::Lstm => Self::Lstm(Recurrent::zeros(LstmCell, owner, at, input, hidden)),
        }
    }

    fn zero_state(&self, batch: usize) -> State<T> {
        match self {
            Self::Rnn(layer) => State::zeros::<RnnCell>(batch, layer.hidden_size()),
            Self::Gru(layer) => State::zeros::<GruCell>(batch, layer.hidden_size()),
            Self::Lstm(layer) => State::zeros::<LstmCell>(batch, layer.hidden_size()),
        }
    }

    fn initialise(&mut self, config: &StackConfig, rng: &mut impl Rng) {
        any!(self, layer => layer.initialise(config.init, rng));
        if let (Self::Lstm(layer), Some(bias)) = (self, config.forget_bias) {
            let hidden = config.hidden_size;
            layer.bias_ih.value[hidden..2 * hidden].fill(T::from_f64(bias));
            layer.bias_hh.value[hidden..2 * hidden].fill(T::ZERO);
        }
    }
}

impl<T: Scalar> Parameters<T> for Layer<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        any!(self, layer => layer.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        any!(self, layer => layer.visit_mut(visit));
    }
}

/// Recurrent layers one above the other: each layer's hidden states are the next one's inputs.
///
/// In training, elements of a layer's output are dropped on their way to the next with probability
/// `config.dropout`, by a mask that depends on (seed, step, layer, time, row, unit) alone.
///
/// # Shapes
/// Inputs `(seq_len, batch, input_size)`, outputs `(seq_len, batch, hidden_size)`; parameters
/// `{owner}.weight_ih_l{k}` and so on for each layer `k`, as PyTorch's `nn.LSTM` names them.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack<T> {
    /// The layers, lowest first.
    pub layers: Vec<Layer<T>>,
    dropout: f64,
}

/// The states of all layers.
pub type StackState<T> = Vec<State<T>>;

/// Everything that passes over a stack reuse: packed weights, saved activations, scratch.
#[derive(Clone, Debug, Default)]
pub struct StackSpace<T> {
    packed: Vec<PackedLayer<T>>,
    saved: Vec<Saved<T>>,
    /// Outputs after dropout, for each layer that has any.
    dropped: Vec<Panels<T>>,
    scratch: Scratch<T>,
    d_state: StackState<T>,
    d_outputs: [Panels<T>; 2],
}

impl<T: Scalar> StackSpace<T> {
    /// The hidden states of layer `layer` from the last forward pass, rows over time.
    #[must_use]
    pub fn hidden(&self, layer: usize) -> &Panels<T> {
        &self.saved[layer].h
    }

    /// The cell states of layer `layer` from the last forward pass, rows over time; empty where the cell has none.
    #[must_use]
    pub fn cells(&self, layer: usize) -> &Panels<T> {
        &self.saved[layer].c
    }

    /// Gradients of the initial states after a backward pass.
    #[must_use]
    pub fn d_initial(&self) -> &StackState<T> {
        &self.d_state
    }
}

impl<T: Scalar> Stack<T> {
    /// Layers of zeros.
    #[must_use]
    pub fn zeros(config: &StackConfig, owner: &str) -> Self {
        Self {
            layers: (0..config.num_layers)
                .map(|at| Layer::new(config, owner, at))
                .collect(),
            dropout: config.dropout,
        }
    }

    /// Draws new weights, layer by layer.
    pub fn initialise(&mut self, config: &StackConfig, rng: &mut impl Rng) {
        for layer in &mut self.layers {
            layer.initialise(config, rng);
        }
    }

    /// Units of each layer.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.layers
            .first()
            .map_or(0, |layer| any!(layer, layer => layer.hidden_size()))
    }

    /// All states zero.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> StackState<T> {
        self.layers
            .iter()
            .map(|layer| layer.zero_state(batch))
            .collect()
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut StackSpace<T>, with_backward: bool) {
        space
            .packed
            .resize_with(self.layers.len(), PackedLayer::default);
        for (layer, packed) in self.layers.iter().zip(&mut space.packed) {
            any!(layer, layer => layer.pack(packed, with_backward));
        }
    }

    /// Forward through all layers; the states are read and replaced. With `mask`, dropout between the layers.
    ///
    /// # Panics
    /// If shapes do not fit or the weights were not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut StackSpace<T>,
        steps: &Steps,
        input: LayerInput<'_, T>,
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) {
        let count = self.layers.len();
        space.saved.resize_with(count, Saved::default);
        space
            .dropped
            .resize_with(count.saturating_sub(1), Panels::default);
        let mask = mask.filter(|_| self.dropout > 0.0);
        for (at, layer) in self.layers.iter().enumerate() {
            let (below, rest) = space.saved.split_at_mut(at);
            let saved = &mut rest[0];
            let input = match (at, mask) {
                (0, _) => input,
                (_, None) => LayerInput::Features(&below[at - 1].h),
                (_, Some(key)) => {
                    let dropped = &mut space.dropped[at - 1];
                    dropped.clone_from(&below[at - 1].h);
                    dropout(
                        compute,
                        DropoutKey {
                            layer: at as u64,
                            ..key
                        },
                        self.dropout,
                        steps.offsets(),
                        dropped,
                    );
                    LayerInput::Features(dropped)
                }
            };
            any!(layer, layer => {
                layer.run_forward(
                    compute, &space.packed[at], steps, input, &state[at], saved, &mut space.scratch,
                );
                layer.final_state(steps, saved, &mut state[at]);
            });
        }
    }

    /// The start of the first layer's chains for some inputs, for [`Stack::step_table`].
    pub(crate) fn project_first(
        &self,
        compute: &Compute,
        space: &StackSpace<T>,
        vectors: &Panels<T>,
    ) -> Panels<T> {
        let mut table = Panels::default();
        any!(&self.layers[0], layer => layer.project(compute, &space.packed[0], vectors, &mut table));
        table
    }

    /// One step of one row, the first layer's product of the input given.
    pub(crate) fn step_table(
        &self,
        compute: &Compute,
        space: &mut StackSpace<T>,
        steps: &Steps,
        table: &Panels<T>,
        state: &mut StackState<T>,
    ) {
        space.saved.resize_with(self.layers.len(), Saved::default);
        for (at, layer) in self.layers.iter().enumerate() {
            let (below, rest) = space.saved.split_at_mut(at);
            let input = match at {
                0 => StepInput::Table(table),
                _ => StepInput::Features(&below[at - 1].h),
            };
            any!(layer, layer => {
                layer.run_step(compute, &space.packed[at], steps, input, &state[at], &mut rest[0]);
                layer.final_state(steps, &rest[0], &mut state[at]);
            });
        }
    }

    /// Backward through all layers: gradients into the parameters and `d_input`; those of the initial states are left in
    /// [`StackSpace::d_initial`]. `mask` and `input` as in the forward pass; `d_state` is the gradient of the final states,
    /// where there is one.
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
        space: &mut StackSpace<T>,
        steps: &Steps,
        input: LayerInput<'_, T>,
        d_output: &Panels<T>,
        d_state: Option<&StackState<T>>,
        mask: Option<DropoutKey>,
        d_input: InputGradient<'_, T>,
    ) {
        let mask = mask.filter(|_| self.dropout > 0.0);
        match d_state {
            Some(d_state) => space.d_state.clone_from(d_state),
            None => {
                let fits = space.d_state.len() == self.layers.len()
                    && space.d_state.iter().all(|state| {
                        (state.h.rows(), state.h.columns()) == (steps.batch(), self.hidden_size())
                    });
                if fits {
                    space.d_state.iter_mut().for_each(State::fill_zero);
                } else {
                    space.d_state = self.zero_state(steps.batch());
                }
            }
        }
        let mut d_input = Some(d_input);
        for (at, layer) in self.layers.iter_mut().enumerate().rev() {
            let (below, rest) = space.saved.split_at_mut(at);
            let [first, second] = &mut space.d_outputs;
            let (d_above, d_below) = if at % 2 == 0 {
                (first, second)
            } else {
                (second, first)
            };
            let last = at + 1 == space.packed.len();
            let d_output = if last { d_output } else { &*d_above };
            let (input, d_x) = match at {
                0 => (input, d_input.take().unwrap_or(InputGradient::None)),
                _ if mask.is_some() => (
                    LayerInput::Features(&space.dropped[at - 1]),
                    InputGradient::Into(&mut *d_below),
                ),
                _ => (
                    LayerInput::Features(&below[at - 1].h),
                    InputGradient::Into(&mut *d_below),
                ),
            };
            any!(layer, layer => layer.run_backward(
                compute, &space.packed[at], steps, input, &mut rest[0], d_output, &mut space.d_state[at], d_x,
                &mut space.scratch,
            ));
            if let (Some(key), 1..) = (mask, at) {
                dropout(
                    compute,
                    DropoutKey {
                        layer: at as u64,
                        ..key
                    },
                    self.dropout,
                    steps.offsets(),
                    d_below,
                );
            }
        }
    }

    /// Runs the stack over a batch of sequences of one length, without dropout.
    ///
    /// # Shapes
    /// `x`: `(seq_len, batch, input_size)`; the output: `(seq_len, batch, hidden_size)`; `state` is read and replaced.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn forward_array(
        &self,
        compute: &Compute,
        x: ArrayView3<'_, T>,
        state: &mut StackState<T>,
    ) -> Result<(Array3<T>, StackPass<T>)> {
        let (seq_len, batch, features) = x.dim();
        let input_size = self
            .layers
            .first()
            .map_or(0, |layer| any!(layer, layer => layer.input_size()));
        if features != input_size || seq_len == 0 || batch == 0 {
            return Err(Error::Shape {
                name: "x".into(),
                found: vec![seq_len, batch, features],
                expected: vec![seq_len.max(1), batch.max(1), input_size],
            });
        }
        for (at, part) in state.iter().enumerate() {
            let (found, expected) = (
                [part.h.rows(), part.h.columns()],
                [batch, self.hidden_size()],
            );
            if found != expected {
                return Err(Error::Shape {
                    name: format!("state of layer {at}"),
                    found: found.to_vec(),
                    expected: expected.to_vec(),
                });
            }
        }
        if state.len() != self.layers.len() {
            return Err(Error::Shape {
                name: "state".into(),
                found: vec![state.len()],
                expected: vec![self.layers.len()],
            });
        }
        let mut pass = StackPass {
            x: panels_of(&x),
            steps: Steps::uniform(seq_len, batch),
            space: StackSpace::default(),
        };
        self.pack(&mut pass.space, true);
        self.forward(
            compute,
            &mut pass.space,
            &pass.steps,
            LayerInput::Features(&pass.x),
            state,
            None,
        );
        let output = array_of(pass.space.hidden(self.layers.len() - 1), batch);
        Ok((output, pass))
    }

    /// One step for every row of a batch; the states are read and replaced. The same numbers as that step of
    /// [`Stack::forward_array`] over a whole sequence, bit for bit.
    ///
    /// # Shapes
    /// `x`: `(batch, input_size)`; the output, the highest layer's new hidden state: `(batch, hidden_size)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Array3, s};
    /// use rand::SeedableRng;
    /// use rand_chacha::ChaCha12Rng;
    /// use refrain::nn::{CellKind, Init, Nonlinearity, Stack, StackConfig};
    /// use refrain::{Compute, Isa};
    ///
    /// let config = StackConfig {
    ///     cell: CellKind::Gru,
    ///     nonlinearity: Nonlinearity::Tanh,
    ///     input_size: 3,
    ///     hidden_size: 20,
    ///     num_layers: 2,
    ///     dropout: 0.0,
    ///     init: Init::Orthogonal,
    ///     forget_bias: None,
    /// };
    /// let mut stack = Stack::<f32>::zeros(&config, "rnn");
    /// stack.initialise(&config, &mut ChaCha12Rng::seed_from_u64(1));
    /// let compute = Compute::single(Isa::detect());
    /// let x = Array3::from_shape_fn((4, 2, 3), |(t, b, k)| (t + 2 * b) as f32 - k as f32);
    /// let (whole, _) = stack.forward_array(&compute, x.view(), &mut stack.zero_state(2))?;
    /// let mut state = stack.zero_state(2);
    /// for t in 0..4 {
    ///     let h = stack.step(&compute, x.slice(s![t, .., ..]), &mut state)?;
    ///     assert_eq!(h, whole.slice(s![t, .., ..]));
    /// }
    /// # Ok::<(), refrain::Error>(())
    /// ```
    pub fn step(
        &self,
        compute: &Compute,
        x: ArrayView2<'_, T>,
        state: &mut StackState<T>,
    ) -> Result<Array2<T>> {
        let (output, _) = self.forward_array(compute, x.insert_axis(Axis(0)), state)?;
        Ok(output.index_axis_move(Axis(0), 0))
    }

    /// Carries gradients back through [`Stack::forward_array`]; those of the parameters go into their `grad`.
    ///
    /// # Shapes
    /// As there; the results are the gradients of `x` and of the initial states.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn backward_array(
        &mut self,
        compute: &Compute,
        pass: &mut StackPass<T>,
        d_output: ArrayView3<'_, T>,
        d_state: Option<&StackState<T>>,
    ) -> Result<(Array3<T>, StackState<T>)> {
        let expected = (pass.steps.len(), pass.steps.batch(), self.hidden_size());
        if d_output.dim() != expected {
            let (a, b, c) = d_output.dim();
            return Err(Error::Shape {
                name: "d_output".into(),
                found: vec![a, b, c],
                expected: vec![expected.0, expected.1, expected.2],
            });
        }
        let mut d_x = Panels::default();
        let StackPass { x, steps, space } = pass;
        let input = LayerInput::Features(x);
        let d_output = panels_of(&d_output);
        self.backward(
            compute,
            space,
            steps,
            input,
            &d_output,
            d_state,
            None,
            InputGradient::Into(&mut d_x),
        );
        Ok((array_of(&d_x, steps.batch()), space.d_initial().clone()))
    }
}

/// What [`Stack::forward_array`] leaves for [`Stack::backward_array`], which uses it up.
#[derive(Clone, Debug)]
pub struct StackPass<T> {
    x: Panels<T>,
    steps: Steps,
    space: StackSpace<T>,
}

impl<T: Scalar> StackPass<T> {
    /// The hidden states of a layer over time, `(seq_len, batch, hidden_size)`.
    #[must_use]
    pub fn hidden(&self, layer: usize) -> Array3<T> {
        array_of(self.space.hidden(layer), self.steps.batch())
    }
}

impl<T: Scalar> Parameters<T> for Stack<T> {
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
