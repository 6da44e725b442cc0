use std::borrow::Cow;

use ndarray::Array2;
use rand::Rng;
use refrain_kernels::{
    Compute, DropoutKey, GROUP, Panels, Scalar, add_assign, add_gathered, dropout, gather_rows,
    join_columns, split_columns,
};

use super::layer::{Direction, Layer, any};
use super::norm::{BatchNorm, SavedBatchNorm};
use super::recurrent::{
    InputGradient, LayerInput, PackedLayer, Saved, Scratch, StepInput, layer_name,
};
use super::state::State;
use super::steps::Steps;
use super::{Parameter, Parameters, StackConfig};

/// Recurrent layers one above the other: each layer's hidden states are the next one's inputs.
///
/// A bidirectional stack has two layers at each depth. The reverse one reads a row of length n from position n - 1 to 0;
/// what both found at a position, `[h ; h_reverse]`, is the output there.
///
/// A pass with a mask is training. Then elements of a layer's output are dropped on their way to the next with
/// probability `config.dropout`, by a mask that depends on (seed, step, layer, time, row, unit) alone, and units of what
/// the recurrent matrices read of `h_(t-1)` with probability `config.recurrent_dropout`, by a mask that depends on (seed,
/// step, layer and direction, row, unit) and is one for the whole sequence (Gal and Ghahramani, "A theoretically grounded
/// application of dropout in recurrent neural networks", 2016); the GRU's `z * h` keeps the undropped state. What is kept
/// is multiplied by `1 / (1 - p)`. Batch norm, which comes before dropout, uses the statistics of the batch. A pass without
/// a mask is evaluation: nothing is dropped, and batch norm uses the running statistics.
///
/// A mask's key counts its layers from the caller's `layer` on: those of a stack with n layers are `layer + 1` to
/// `layer + n - 1` between the layers, and `layer + 2³²` to `layer + 2³² + 2n - 1` inside them.
///
/// # Shapes
/// Inputs `(seq_len, batch, input_size)`, outputs `(seq_len, batch, hidden_size)`, twice as wide where bidirectional;
/// parameters `{owner}.weight_ih_l{k}` and so on for each layer `k`, with `_reverse` at the end for the reverse direction,
/// as PyTorch's `nn.LSTM` names them. Those that PyTorch lacks: [`CellNorm`](super::CellNorm)'s, and
/// `{owner}.batch_norm_l{k}.weight` and so on for the [`BatchNorm`] after layer `k`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack<T> {
    /// The layers, lowest first; in a bidirectional stack each is followed by its reverse.
    pub layers: Vec<Layer<T>>,
    /// Batch norm after each layer but the highest, where there is any.
    pub batch_norms: Vec<BatchNorm<T>>,
    directions: usize,
    dropout: f64,
    recurrent_dropout: f64,
}

/// The states of all layers, in the order of [`Stack::layers`], which is that of PyTorch's `h_n`.
pub type StackState<T> = Vec<State<T>>;

/// The first of the keys for masks inside the layers: past any number of layers.
const RECURRENT_KEYS: u64 = 1 << 32;

/// Everything that passes over a stack reuse: packed weights, saved activations, scratch.
#[derive(Clone, Debug, Default)]
pub struct StackSpace<T> {
    packed: Vec<PackedLayer<T>>,
    saved: Vec<Saved<T>>,
    /// `[h ; h_reverse]` of each depth of a bidirectional stack.
    joined: Vec<Panels<T>>,
    norms: Vec<SavedBatchNorm<T>>,
    /// What the next layer reads, for each layer whose output meets batch norm or dropout on its way.
    between: Vec<Panels<T>>,
    /// Where each row stands for the reverse direction; empty where there is none.
    reversed: Vec<u32>,
    reversed_index: Vec<u32>,
    reversed_x: Panels<T>,
    scratch: Scratch<T>,
    d_state: StackState<T>,
    d_outputs: [Panels<T>; 2],
    d_halves: [Panels<T>; 2],
    d_reversed: Panels<T>,
    keeps_state_gradients: bool,
}

impl<T: Scalar> StackSpace<T> {
    fn directions(&self) -> usize {
        1 + usize::from(!self.reversed.is_empty())
    }

    /// The output of the last forward pass, that of the highest layer: rows over time × output_size.
    ///
    /// # Panics
    /// If there was no forward pass.
    #[must_use]
    pub fn output(&self) -> &Panels<T> {
        assert!(!self.saved.is_empty(), "no forward pass yet");
        output_of(
            &self.saved,
            &self.joined,
            self.directions(),
            self.saved.len() / self.directions() - 1,
        )
    }

    /// The hidden states of layer `layer` in one direction from the last forward pass, rows over time, a row at the position
    /// that was read.
    ///
    /// # Panics
    /// If there is no such layer or direction.
    #[must_use]
    pub fn hidden(&self, layer: usize, direction: Direction) -> Cow<'_, Panels<T>> {
        self.by_position(&self.saved[self.unit(layer, direction)].h, direction)
    }

    /// The cell states, as [`StackSpace::hidden`]; empty where the cell has none.
    ///
    /// # Panics
    /// If there is no such layer or direction.
    #[must_use]
    pub fn cells(&self, layer: usize, direction: Direction) -> Cow<'_, Panels<T>> {
        self.by_position(&self.saved[self.unit(layer, direction)].c, direction)
    }

    /// The hidden states of a layer's forward direction.
    pub(crate) fn forward_hidden(&self, layer: usize) -> &Panels<T> {
        &self.saved[self.unit(layer, Direction::Forward)].h
    }

    fn unit(&self, layer: usize, direction: Direction) -> usize {
        let directions = self.directions();
        assert!(
            direction == Direction::Forward || directions == 2,
            "a stack of one direction"
        );
        layer * directions + usize::from(direction == Direction::Reverse)
    }

    fn by_position<'a>(&self, panels: &'a Panels<T>, direction: Direction) -> Cow<'a, Panels<T>> {
        if direction == Direction::Forward || panels.rows() == 0 {
            return Cow::Borrowed(panels);
        }
        let mut rows = Panels::new(panels.rows(), panels.columns());
        for (row, &from) in self.reversed.iter().enumerate() {
            rows.copy_rows(row, panels, from as usize, 1);
        }
        Cow::Owned(rows)
    }

    /// Bytes that the last forward pass keeps for the backward pass: gates, states, and what goes between the layers.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let layers = self.saved.iter().map(Saved::bytes).sum::<usize>();
        let others = self.joined.iter().chain(&self.between);
        layers
            + others
                .map(|panels| size_of_val(panels.blocks()))
                .sum::<usize>()
    }

    /// Gradients of the initial states after a backward pass.
    #[must_use]
    pub fn d_initial(&self) -> &StackState<T> {
        &self.d_state
    }

    /// Has the backward passes that follow keep the gradient of every state: [`StackSpace::state_gradients`].
    pub fn keep_state_gradients(&mut self) {
        self.keeps_state_gradients = true;
    }

    /// The gradients of the states of layer `layer` in one direction after a backward pass, rows over time, a row at the
    /// position that was read: the whole derivative of the loss, through the layer's later steps, through the layers above,
    /// and that of a cell state through the hidden state of its own step too.
    ///
    /// # Panics
    /// If there is no such layer or direction, or no backward pass since they were [asked
    /// for](StackSpace::keep_state_gradients).
    #[must_use]
    pub fn state_gradients(&self, layer: usize, direction: Direction) -> State<T> {
        let d_states = &self.saved[self.unit(layer, direction)].d_states;
        let State { h, c } = d_states.as_ref().expect("gradients of states were kept");
        State {
            h: self.by_position(h, direction).into_owned(),
            c: self.by_position(c, direction).into_owned(),
        }
    }
}

/// The output of a layer.
fn output_of<'a, T>(
    saved: &'a [Saved<T>],
    joined: &'a [Panels<T>],
    directions: usize,
    layer: usize,
) -> &'a Panels<T> {
    match directions {
        1 => &saved[layer].h,
        _ => &joined[layer],
    }
}

impl<T: Scalar> Stack<T> {
    /// Layers of zeros, the gains of norms 1.
    ///
    /// # Panics
    /// If there is to be batch norm between the layers and there is but one.
    #[must_use]
    pub fn zeros(config: &StackConfig, owner: &str) -> Self {
        let num_layers = config.num_layers;
        assert!(
            !config.batch_norm || num_layers > 1,
            "batch norm between the layers of {num_layers}"
        );
        let directions = config.directions();
        let mut layers = Vec::new();
        for at in 0..num_layers {
            layers.push(Layer::new(config, owner, at, Direction::Forward));
            if config.bidirectional {
                layers.push(Layer::new(config, owner, at, Direction::Reverse));
            }
        }
        let norms = if config.batch_norm { num_layers - 1 } else { 0 };
        let batch_norm = |at| {
            let name = layer_name(owner, "batch_norm", at, false);
            BatchNorm::new(&name, config.hidden_size * directions)
        };
        Self {
            layers,
            batch_norms: (0..norms).map(batch_norm).collect(),
            directions,
            dropout: config.dropout,
            recurrent_dropout: config.recurrent_dropout,
        }
    }

    /// Draws new weights, layer by layer.
    pub fn initialise(&mut self, config: &StackConfig, rng: &mut impl Rng) {
        for layer in &mut self.layers {
            layer.initialise(config, rng);
        }
    }

    /// Layers, both directions of one depth together.
    #[must_use]
    pub fn num_layers(&self) -> usize {
        self.layers.len() / self.directions
    }

    /// Whether each layer reads in both directions.
    #[must_use]
    pub fn is_bidirectional(&self) -> bool {
        self.directions == 2
    }

    /// Features of each input.
    #[must_use]
    pub fn input_size(&self) -> usize {
        self.layers
            .first()
            .map_or(0, |layer| any!(layer, layer => layer.input_size()))
    }

    /// Units of each layer in each direction.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.layers
            .first()
            .map_or(0, |layer| any!(layer, layer => layer.hidden_size()))
    }

    /// Features of each output: the units of all directions.
    #[must_use]
    pub fn output_size(&self) -> usize {
        self.hidden_size() * self.directions
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

    /// The activated gates of a layer in one direction from the last forward pass, under PyTorch's names (`i f g o`; `r z n`;
    /// `h`), rows over time × hidden_size, a row at the position that was read. A backward pass overwrites them.
    ///
    /// # Panics
    /// If there is no such layer or direction, or no forward pass went before.
    #[must_use]
    pub fn gates(
        &self,
        space: &StackSpace<T>,
        layer: usize,
        direction: Direction,
    ) -> Vec<(&'static str, Array2<T>)> {
        let unit = space.unit(layer, direction);
        let (slots, per_group) = self.layers[unit].gate_slots();
        let gates = space.by_position(&space.saved[unit].gates, direction);
        let array = |slot: usize| {
            Array2::from_shape_fn((gates.rows(), self.hidden_size()), |(row, unit)| {
                let panel = unit / GROUP * per_group + slot;
                gates.get(row, panel * GROUP + unit % GROUP)
            })
        };
        let arrays = slots.into_iter().map(|(name, slot)| (name, array(slot)));
        arrays.collect()
    }

    /// The key of the mask on the way from layer `layer` to the next, where something is dropped.
    fn dropout_key(&self, mask: Option<DropoutKey>, layer: usize) -> Option<DropoutKey> {
        mask.filter(|_| self.dropout > 0.0).map(|key| DropoutKey {
            layer: key.layer.wrapping_add(layer as u64 + 1),
            ..key
        })
    }

    /// The same inside a layer.
    fn recurrent_key(&self, mask: Option<DropoutKey>, unit: usize) -> Option<(DropoutKey, f64)> {
        let mask = mask.filter(|_| self.recurrent_dropout > 0.0);
        mask.map(|key| {
            let layer = key.layer.wrapping_add(RECURRENT_KEYS + unit as u64);
            (DropoutKey { layer, ..key }, self.recurrent_dropout)
        })
    }

    /// Whether an output meets something on its way to the next layer.
    fn has_between(&self, mask: Option<DropoutKey>) -> bool {
        !self.batch_norms.is_empty() || self.dropout_key(mask, 0).is_some()
    }

    /// Gives the arrays of a forward pass their places.
    fn prepare(&self, space: &mut StackSpace<T>, steps: &Steps) {
        let count = self.num_layers();
        space.saved.resize_with(self.layers.len(), Saved::default);
        space.between.resize_with(count, Panels::default);
        space
            .norms
            .resize_with(self.batch_norms.len(), SavedBatchNorm::default);
        if self.is_bidirectional() {
            space.joined.resize_with(count, Panels::default);
            steps.reversed(&mut space.reversed);
        } else {
            space.reversed.clear();
        }
    }

    /// Forward through all layers; the states are read and replaced, the output is [`StackSpace::output`]. With `mask` it is
    /// training, see [`Stack`].
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
        self.prepare(space, steps);
        for at in 0..self.num_layers() {
            let (below, rest) = space.saved.split_at_mut(at * self.directions);
            let input = match at {
                0 => input,
                _ if self.has_between(mask) => LayerInput::Features(&space.between[at - 1]),
                _ => LayerInput::Features(output_of(below, &space.joined, self.directions, at - 1)),
            };
            for (direction, saved) in rest.iter_mut().take(self.directions).enumerate() {
                let unit = at * self.directions + direction;
                let state = &mut state[unit];
                let (x, index) = (&mut space.reversed_x, &mut space.reversed_index);
                let input = match direction {
                    0 => input,
                    _ => reverse_input(compute, input, &space.reversed, x, index),
                };
                let mask = self.recurrent_key(mask, unit);
                any!(&self.layers[unit], layer => {
                    layer.run_forward(
                        compute, &space.packed[unit], steps, input, state, mask, saved,
                        &mut space.scratch,
                    );
                    layer.final_state(steps, saved, state);
                });
            }
            if self.is_bidirectional() {
                let joined = &mut space.joined[at];
                joined.resize(steps.rows(), self.output_size());
                join_columns(compute, &rest[0].h, &rest[1].h, &space.reversed, joined);
            }
            self.pass_on(compute, space, steps, at, mask);
        }
    }

    /// A layer's output on its way to the next: batch norm, then dropout.
    fn pass_on(
        &self,
        compute: &Compute,
        space: &mut StackSpace<T>,
        steps: &Steps,
        at: usize,
        mask: Option<DropoutKey>,
    ) {
        if at + 1 == self.num_layers() || !self.has_between(mask) {
            return;
        }
        let output = output_of(&space.saved, &space.joined, self.directions, at);
        let between = &mut space.between[at];
        match self.batch_norms.get(at) {
            Some(norm) => {
                norm.forward(
                    compute,
                    &mut space.norms[at],
                    output,
                    between,
                    mask.is_some(),
                );
            }
            None => between.clone_from(output),
        }
        if let Some(key) = self.dropout_key(mask, at) {
            dropout(compute, key, self.dropout, steps.offsets(), between);
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

    /// One step of one row in evaluation, the first layer's product of the input given.
    ///
    /// # Panics
    /// If the stack is bidirectional: it would have to know what comes.
    pub(crate) fn step_table(
        &self,
        compute: &Compute,
        space: &mut StackSpace<T>,
        steps: &Steps,
        table: &Panels<T>,
        state: &mut StackState<T>,
    ) {
        self.assert_streams();
        self.prepare(space, steps);
        for (at, layer) in self.layers.iter().enumerate() {
            let (below, rest) = space.saved.split_at_mut(at);
            let input = match at {
                0 => StepInput::Table(table),
                _ if self.has_between(None) => StepInput::Features(&space.between[at - 1]),
                _ => StepInput::Features(&below[at - 1].h),
            };
            any!(layer, layer => {
                layer.run_step(
                    compute, &space.packed[at], steps, input, &state[at], &mut rest[0],
                    &mut space.scratch,
                );
                layer.final_state(steps, &rest[0], &mut state[at]);
            });
            self.pass_on(compute, space, steps, at, None);
        }
    }

    pub(crate) fn assert_streams(&self) {
        assert!(
            !self.is_bidirectional(),
            "a bidirectional stack cannot go step by step: it reads what comes"
        );
    }

    /// Backward through all layers: gradients into the parameters and `d_input`; those of the initial states are left in
    /// [`StackSpace::d_initial`]. `mask` and `input` as in the forward pass; `d_state` is the gradient of the final states,
    /// where there is one. In training the running statistics of batch norm take in those of the batch.
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
        self.set_d_state(space, steps, d_state);
        let mut d_input = match d_input {
            InputGradient::Into(d_input) => Some(d_input),
            InputGradient::None => None,
        };
        let mut d_outputs = std::mem::take(&mut space.d_outputs);
        for at in (0..self.num_layers()).rev() {
            let [first, second] = &mut d_outputs;
            let (d_above, d_below) = match at % 2 {
                0 => (first, second),
                _ => (second, first),
            };
            let is_last = at + 1 == self.num_layers();
            let d_output = if is_last { d_output } else { &*d_above };
            let d_x = match at {
                0 => d_input.take(),
                _ => Some(&mut *d_below),
            };
            self.layer_backward(compute, space, steps, at, input, d_output, mask, d_x);
            if at > 0 {
                self.pass_back(compute, space, steps, at - 1, mask, d_below);
            }
        }
        space.d_outputs = d_outputs;
    }

    /// Backward through one layer, both of its directions.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over the layers reads and writes this much"
    )]
    fn layer_backward(
        &mut self,
        compute: &Compute,
        space: &mut StackSpace<T>,
        steps: &Steps,
        at: usize,
        input: LayerInput<'_, T>,
        d_output: &Panels<T>,
        mask: Option<DropoutKey>,
        mut d_x: Option<&mut Panels<T>>,
    ) {
        let has_between = self.has_between(mask);
        let (directions, hidden) = (self.directions, self.hidden_size());
        let (below, rest) = space.saved.split_at_mut(at * directions);
        for saved in rest.iter_mut().take(directions) {
            saved.d_states = match saved.d_states.take() {
                _ if !space.keeps_state_gradients => None,
                kept => Some(kept.unwrap_or_default()),
            };
        }
        let input = match at {
            0 => input,
            _ if has_between => LayerInput::Features(&space.between[at - 1]),
            _ => LayerInput::Features(output_of(below, &space.joined, directions, at - 1)),
        };
        let [d_forward, d_reverse] = &mut space.d_halves;
        let d_output = if directions == 2 {
            d_forward.resize(steps.rows(), hidden);
            d_reverse.resize(steps.rows(), hidden);
            split_columns(compute, d_output, &space.reversed, d_forward, d_reverse);
            &*d_forward
        } else {
            d_output
        };
        let unit = at * directions;
        let d_features = match d_x.as_deref_mut() {
            Some(d_x) => InputGradient::Into(d_x),
            None => InputGradient::None,
        };
        any!(&mut self.layers[unit], layer => layer.run_backward(
            compute, &space.packed[unit], steps, input, &mut rest[0], d_output,
            &mut space.d_state[unit], d_features, &mut space.scratch,
        ));
        if directions == 1 {
            return;
        }
        let unit = unit + 1;
        let (x, index) = (&mut space.reversed_x, &mut space.reversed_index);
        let reversed = reverse_input(compute, input, &space.reversed, x, index);
        let d_features = match d_x {
            Some(_) => InputGradient::Into(&mut space.d_reversed),
            None => InputGradient::None,
        };
        any!(&mut self.layers[unit], layer => layer.run_backward(
            compute, &space.packed[unit], steps, reversed, &mut rest[1], d_reverse,
            &mut space.d_state[unit], d_features, &mut space.scratch,
        ));
        match (d_x, input) {
            (Some(d_x), LayerInput::Features(_)) => {
                add_gathered(compute, &space.d_reversed, &space.reversed, d_x);
            }
            (Some(d_x), LayerInput::Table(..)) => {
                let to = d_x.blocks_mut().iter_mut();
                for (to, from) in to.zip(space.d_reversed.blocks()) {
                    add_assign(&mut to.0, &from.0);
                }
            }
            (None, _) => {}
        }
    }

    /// The gradient of what the next layer read becomes that of layer `at`'s output.
    fn pass_back(
        &mut self,
        compute: &Compute,
        space: &mut StackSpace<T>,
        steps: &Steps,
        at: usize,
        mask: Option<DropoutKey>,
        d: &mut Panels<T>,
    ) {
        if let Some(key) = self.dropout_key(mask, at) {
            dropout(compute, key, self.dropout, steps.offsets(), d);
        }
        let output = output_of(&space.saved, &space.joined, self.directions, at);
        if let Some(norm) = self.batch_norms.get_mut(at) {
            norm.backward(compute, &mut space.norms[at], output, d, mask.is_some());
        }
    }

    /// The gradients of the final states: those given, or zeros.
    fn set_d_state(
        &self,
        space: &mut StackSpace<T>,
        steps: &Steps,
        d_state: Option<&StackState<T>>,
    ) {
        let Some(d_state) = d_state else {
            let fits = space.d_state.len() == self.layers.len()
                && space.d_state.iter().all(|state| {
                    (state.h.rows(), state.h.columns()) == (steps.batch(), self.hidden_size())
                });
            if fits {
                space.d_state.iter_mut().for_each(State::fill_zero);
            } else {
                space.d_state = self.zero_state(steps.batch());
            }
            return;
        };
        space.d_state.clone_from(d_state);
    }
}

/// What a layer's reverse direction reads: the same rows, in its order.
fn reverse_input<'a, T: Scalar>(
    compute: &Compute,
    input: LayerInput<'a, T>,
    reversed: &[u32],
    x: &'a mut Panels<T>,
    index: &'a mut Vec<u32>,
) -> LayerInput<'a, T> {
    match input {
        LayerInput::Features(from) => {
            x.resize(from.rows(), from.columns());
            gather_rows(compute, from, reversed, x);
            LayerInput::Features(x)
        }
        LayerInput::Table(vectors, of_rows) => {
            assert_eq!(of_rows.len(), reversed.len(), "index");
            index.clear();
            index.extend(reversed.iter().map(|&row| of_rows[row as usize]));
            LayerInput::Table(vectors, index)
        }
    }
}

impl<T: Scalar> Parameters<T> for Stack<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        for (at, layers) in self.layers.chunks(self.directions).enumerate() {
            layers.iter().for_each(|layer| layer.visit(visit));
            if let Some(norm) = self.batch_norms.get(at) {
                norm.visit(visit);
            }
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        let mut norms = self.batch_norms.iter_mut();
        for layers in self.layers.chunks_mut(self.directions) {
            layers.iter_mut().for_each(|layer| layer.visit_mut(visit));
            if let Some(norm) = norms.next() {
                norm.visit_mut(visit);
            }
        }
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        for norm in &self.batch_norms {
            norm.visit_buffers(visit);
        }
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        for norm in &mut self.batch_norms {
            norm.visit_buffers_mut(visit);
        }
    }
}

#[cfg(test)]
mod tests;
