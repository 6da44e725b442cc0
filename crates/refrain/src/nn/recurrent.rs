//! What all recurrent layers share: parameters, packing, the passes over a sequence. The cells differ only in
//! [`refrain_kernels::Cell`]; `rnn.rs`, `gru.rs` and `lstm.rs` name them and give their equations.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};
use rand::Rng;
use refrain_kernels::{
    Backward, Block, Cell, Compute, Forward, GROUP, GateOrder, Input, Packed, Panels, RowRun,
    Scalar, Slots, backward, column_sums, forward, gradient_product, groups, product,
    sum_rows_by_index,
};

use super::init;
use super::steps::Steps;
use super::{Init, Parameter, Parameters};
use crate::error::{Error, Result};

/// One recurrent layer with cell `C`; see [`Lstm`](super::Lstm), [`Gru`](super::Gru) and [`Rnn`](super::Rnn).
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent<T, C> {
    /// The cell.
    pub cell: C,
    /// `[gates · hidden_size, input_size]`.
    pub weight_ih: Parameter<T>,
    /// `[gates · hidden_size, hidden_size]`.
    pub weight_hh: Parameter<T>,
    /// `[gates · hidden_size]`.
    pub bias_ih: Parameter<T>,
    /// `[gates · hidden_size]`.
    pub bias_hh: Parameter<T>,
}

/// The state of a layer for every row of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State<T> {
    /// Hidden state, batch × hidden_size.
    pub h: Panels<T>,
    /// Cell state, batch × hidden_size; empty for cells that have none.
    pub c: Panels<T>,
}

impl<T: Scalar> State<T> {
    /// All zeros.
    #[must_use]
    pub fn zeros<C: Cell>(batch: usize, hidden_size: usize) -> Self {
        Self {
            h: Panels::new(batch, hidden_size),
            c: if C::HAS_C {
                Panels::new(batch, hidden_size)
            } else {
                Panels::default()
            },
        }
    }

    /// Sets every number to zero.
    pub fn fill_zero(&mut self) {
        self.h.fill_zero();
        self.c.fill_zero();
    }

    /// The hidden state as an array `(batch, hidden_size)`.
    #[must_use]
    pub fn h_array(&self) -> Array2<T> {
        to_array(&self.h)
    }

    /// The cell state as an array `(batch, hidden_size)`; no rows where the cell has none.
    #[must_use]
    pub fn c_array(&self) -> Array2<T> {
        to_array(&self.c)
    }
}

pub(crate) fn to_array<T: Scalar>(panels: &Panels<T>) -> Array2<T> {
    Array2::from_shape_fn((panels.rows(), panels.columns()), |(row, column)| {
        panels.get(row, column)
    })
}

/// Panels of a `(seq_len, batch, feature)` array, steps one after another.
pub(crate) fn panels_of<T: Scalar>(x: &ArrayView3<'_, T>) -> Panels<T> {
    let (steps, batch, features) = x.dim();
    let mut panels = Panels::new(steps * batch, features);
    for ((t, b, k), &value) in x.indexed_iter() {
        panels.set(t * batch + b, k, value);
    }
    panels
}

pub(crate) fn array_of<T: Scalar>(panels: &Panels<T>, batch: usize) -> Array3<T> {
    let steps = panels.rows() / batch.max(1);
    Array3::from_shape_fn((steps, batch, panels.columns()), |(t, b, k)| {
        panels.get(t * batch + b, k)
    })
}

/// The weights of a layer as the kernels read them; made once per update.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedLayer<T> {
    ih: Packed<T>,
    hh: Packed<T>,
    ih_transposed: Packed<T>,
    hh_transposed: Packed<T>,
    /// Where each panel's chain starts.
    bias: Vec<Block<T>>,
    /// The same for the panels of the input side alone.
    bias_x: Vec<Block<T>>,
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saved<T> {
    /// The activated gates; their gradients after a backward pass.
    pub(crate) gates: Panels<T>,
    /// Hidden states, rows over time: the layer's output.
    pub(crate) h: Panels<T>,
    /// Cell states, rows over time.
    pub(crate) c: Panels<T>,
    /// The state before the first step.
    pub(crate) initial: State<T>,
}

/// Space for a backward pass, reused from step to step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch<T> {
    gradient: Packed<T>,
    bias_sums: Vec<Block<T>>,
    token_sums: Panels<T>,
    table: Panels<T>,
}

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub enum LayerInput<'a, T> {
    /// Features, rows over time.
    Features(&'a Panels<T>),
    /// Distinct vectors, and for each row over time which of them it is: the layer's product is formed once for each.
    Table(&'a Panels<T>, &'a [u32]),
}

/// What one step of one row reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StepInput<'a, T> {
    /// A row of features.
    Features(&'a Panels<T>),
    /// The start of each input-side chain, from [`Recurrent::project`].
    Table(&'a Panels<T>),
}

/// Where the gradient of the input goes.
#[derive(Debug)]
pub enum InputGradient<'a, T> {
    /// It is not wanted.
    None,
    /// Of features: rows over time. Of a table: one row for each distinct vector.
    Into(&'a mut Panels<T>),
}

impl<T: Scalar, C: Cell> Recurrent<T, C> {
    /// A layer of zeros. Parameters are named `{owner}.weight_ih_l{layer}` and so on, as PyTorch does.
    #[must_use]
    pub fn zeros(
        cell: C,
        owner: &str,
        layer: usize,
        input_size: usize,
        hidden_size: usize,
    ) -> Self {
        let rows = C::X.1.len() * hidden_size;
        let dot = if owner.is_empty() { "" } else { "." };
        let name = |kind: &str| format!("{owner}{dot}{kind}_l{layer}");
        Self {
            cell,
            weight_ih: Parameter::zeros(name("weight_ih"), &[rows, input_size]),
            weight_hh: Parameter::zeros(name("weight_hh"), &[rows, hidden_size]),
            bias_ih: Parameter::zeros(name("bias_ih"), &[rows]),
            bias_hh: Parameter::zeros(name("bias_hh"), &[rows]),
        }
    }

    /// Features of an input.
    #[must_use]
    pub fn input_size(&self) -> usize {
        self.weight_ih.shape[1]
    }

    /// Units.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.weight_hh.shape[1]
    }

    /// Draws new weights.
    pub fn initialise(&mut self, init: Init, rng: &mut impl Rng) {
        let (input, hidden) = (self.input_size(), self.hidden_size());
        if init == Init::Uniform {
            let bound = 1.0 / (hidden as f64).sqrt();
            for parameter in [
                &mut self.weight_ih,
                &mut self.weight_hh,
                &mut self.bias_ih,
                &mut self.bias_hh,
            ] {
                init::uniform(&mut parameter.value, bound, rng);
            }
            return;
        }
        for gate in self
            .weight_ih
            .value
            .chunks_exact_mut((hidden * input).max(1))
        {
            init::xavier(gate, hidden, input, rng);
        }
        for gate in self.weight_hh.value.chunks_exact_mut(hidden * hidden) {
            match init {
                Init::Uniform | Init::Xavier => init::xavier(gate, hidden, hidden, rng),
                Init::Orthogonal => init::orthogonal(gate, hidden, rng),
                Init::Identity => init::identity(gate, hidden),
            }
        }
        self.bias_ih.value.fill(T::ZERO);
        self.bias_hh.value.fill(T::ZERO);
    }

    fn order_x(&self) -> GateOrder {
        GateOrder {
            gates: C::X.1,
            size: self.hidden_size(),
        }
    }

    fn order_h(&self) -> GateOrder {
        GateOrder {
            gates: C::H.1,
            size: self.hidden_size(),
        }
    }

    /// Lays the weights out for the kernels; `backward` also for the backward pass.
    pub(crate) fn pack(&self, packed: &mut PackedLayer<T>, with_backward: bool) {
        let (input, hidden) = (self.input_size(), self.hidden_size());
        packed.ih.pack(&self.weight_ih.value, self.order_x(), input);
        packed
            .hh
            .pack(&self.weight_hh.value, self.order_h(), hidden);
        if with_backward {
            packed
                .ih_transposed
                .pack_transposed(&self.weight_ih.value, self.order_x(), input);
            packed
                .hh_transposed
                .pack_transposed(&self.weight_hh.value, self.order_h(), hidden);
        }
        let hidden_groups = groups(hidden);
        packed.bias.clear();
        packed.bias.resize(hidden_groups * C::SLOTS, Block::ZERO);
        packed.bias_x.clear();
        for group in 0..hidden_groups {
            let count = GROUP.min(hidden - group * GROUP);
            for slot in 0..C::SLOTS {
                let block = &mut packed.bias[group * C::SLOTS + slot].0[..count];
                let mut add = |(first, gates): (usize, &[usize]), bias: &[T]| {
                    if (first..first + gates.len()).contains(&slot) {
                        let from = gates[slot - first] * hidden + group * GROUP;
                        for (sum, &x) in block.iter_mut().zip(&bias[from..from + count]) {
                            *sum += x;
                        }
                    }
                };
                add(C::X, &self.bias_ih.value);
                add(C::H, &self.bias_hh.value);
            }
            let first = group * C::SLOTS + C::X.0;
            packed
                .bias_x
                .extend_from_slice(&packed.bias[first..first + C::X.1.len()]);
        }
    }

    /// The start of each input-side chain for one distinct input: bias and `W_ih x`.
    pub(crate) fn project(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        vectors: &Panels<T>,
        table: &mut Panels<T>,
    ) {
        table.resize(vectors.rows(), packed.ih.panels() * GROUP);
        product(compute, vectors, &packed.ih, Some(&packed.bias_x), table);
    }

    /// Forward through a packed sequence; the output is `saved.h`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    pub(crate) fn run_forward(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: LayerInput<'_, T>,
        state: &State<T>,
        saved: &mut Saved<T>,
        scratch: &mut Scratch<T>,
    ) {
        let input = match input {
            LayerInput::Features(x) => Input::Rows(x, &packed.ih),
            LayerInput::Table(vectors, index) => {
                self.project(compute, packed, vectors, &mut scratch.table);
                Input::Table(&scratch.table, index)
            }
        };
        self.run_kernel(compute, packed, steps, input, state, saved);
    }

    /// One step of one row.
    pub(crate) fn run_step(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: StepInput<'_, T>,
        state: &State<T>,
        saved: &mut Saved<T>,
    ) {
        let input = match input {
            StepInput::Features(x) => Input::Rows(x, &packed.ih),
            StepInput::Table(table) => Input::Table(table, &[0]),
        };
        self.run_kernel(compute, packed, steps, input, state, saved);
    }

    fn run_kernel(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: Input<'_, T>,
        state: &State<T>,
        saved: &mut Saved<T>,
    ) {
        let hidden = self.hidden_size();
        saved.initial.h.clone_from(&state.h);
        saved.initial.c.clone_from(&state.c);
        saved
            .gates
            .resize(steps.rows(), groups(hidden) * C::SLOTS * GROUP);
        saved.h.resize(steps.rows(), hidden);
        if C::HAS_C {
            saved.c.resize(steps.rows(), hidden);
        }
        let args = Forward {
            offsets: steps.offsets(),
            input,
            weight_hh: &packed.hh,
            bias: &packed.bias,
            gates: &mut saved.gates,
            h_0: &saved.initial.h,
            c_0: &saved.initial.c,
            h: &mut saved.h,
            c: &mut saved.c,
        };
        forward(compute, self.cell, args);
    }

    /// The state after each row's last step.
    pub(crate) fn final_state(&self, steps: &Steps, saved: &Saved<T>, state: &mut State<T>) {
        for (range, from) in steps.last_rows() {
            state.h.copy_rows(range.start, &saved.h, from, range.len());
            if C::HAS_C {
                state.c.copy_rows(range.start, &saved.c, from, range.len());
            }
        }
    }

    /// Backward through a packed sequence: gradients into the parameters and `d_input`; `d_state` holds the gradient of
    /// the final state and receives that of the initial one.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    pub(crate) fn run_backward(
        &mut self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: LayerInput<'_, T>,
        saved: &mut Saved<T>,
        d_output: &Panels<T>,
        d_state: &mut State<T>,
        d_input: InputGradient<'_, T>,
        scratch: &mut Scratch<T>,
    ) {
        let mut table_gradient = None;
        let d_x = match (input, d_input) {
            (LayerInput::Features(_), InputGradient::Into(d_x)) => {
                d_x.resize(steps.rows(), self.input_size());
                Some((&packed.ih_transposed, d_x))
            }
            (LayerInput::Table(..), InputGradient::Into(d_vectors)) => {
                table_gradient = Some(d_vectors);
                None
            }
            (_, InputGradient::None) => None,
        };
        let args = Backward {
            offsets: steps.offsets(),
            weight_hh: &packed.hh_transposed,
            d_x,
            gates: &mut saved.gates,
            h_0: &saved.initial.h,
            c_0: &saved.initial.c,
            h: &saved.h,
            c: &saved.c,
            d_output,
            d_h: &mut d_state.h,
            d_c: &mut d_state.c,
        };
        backward(compute, self.cell, args);

        // dW_hh: h_(t-1) against the gradients of step t, from the last step to the first.
        let d_gates = &saved.gates;
        let gradient = &mut scratch.gradient;
        gradient.reset(packed.hh.panels(), self.hidden_size());
        let (later, first) = steps.runs_shifted();
        gradient_product(compute, later, &saved.h, d_gates, Slots::h::<C>(), gradient);
        gradient_product(
            compute,
            &[first],
            &saved.initial.h,
            d_gates,
            Slots::h::<C>(),
            gradient,
        );
        gradient.unpack(
            &mut self.weight_hh.grad,
            GateOrder {
                gates: C::H.1,
                size: self.weight_hh.shape[1],
            },
        );

        // dW_ih.
        gradient.reset(packed.ih.panels(), self.input_size());
        match input {
            LayerInput::Features(x) => {
                gradient_product(compute, steps.runs(), x, d_gates, Slots::x::<C>(), gradient);
            }
            LayerInput::Table(vectors, index) => {
                // The gradients of the sums, added up by distinct input first: as many products as there are of those.
                let sums = &mut scratch.token_sums;
                sums.reset(vectors.rows(), packed.ih.panels() * GROUP);
                sum_rows_by_index(compute, steps.runs(), index, d_gates, Slots::x::<C>(), sums);
                let all = [RowRun {
                    a: 0,
                    b: 0,
                    rows: vectors.rows(),
                }];
                gradient_product(compute, &all, vectors, sums, Slots::PLAIN, gradient);
                if let Some(d_vectors) = table_gradient {
                    d_vectors.resize(vectors.rows(), vectors.columns());
                    product(compute, sums, &packed.ih_transposed, None, d_vectors);
                }
            }
        }
        gradient.unpack(
            &mut self.weight_ih.grad,
            GateOrder {
                gates: C::X.1,
                size: self.weight_hh.shape[1],
            },
        );

        // The biases.
        let sums = &mut scratch.bias_sums;
        sums.clear();
        sums.resize(d_gates.groups(), Block::ZERO);
        column_sums(compute, steps.runs(), d_gates, sums);
        let hidden = self.weight_hh.shape[1];
        for group in 0..groups(hidden) {
            let count = GROUP.min(hidden - group * GROUP);
            for ((first, gates), grad) in [
                (C::X, &mut self.bias_ih.grad),
                (C::H, &mut self.bias_hh.grad),
            ] {
                for (slot, gate) in gates.iter().enumerate() {
                    let to = gate * hidden + group * GROUP;
                    let from = &sums[group * C::SLOTS + first + slot].0[..count];
                    grad[to..to + count].copy_from_slice(from);
                }
            }
        }
    }

    /// Runs the layer over a batch of sequences of one length.
    ///
    /// # Shapes
    /// `x`: `(seq_len, batch, input_size)`; `state`: batch rows, `None` is zeros; the output:
    /// `(seq_len, batch, hidden_size)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn forward(
        &self,
        compute: &Compute,
        x: ArrayView3<'_, T>,
        state: Option<&State<T>>,
    ) -> Result<(Array3<T>, State<T>, LayerPass<T>)> {
        let (seq_len, batch, features) = x.dim();
        if features != self.input_size() || seq_len == 0 || batch == 0 {
            return Err(Error::Shape {
                name: "x".into(),
                found: vec![seq_len, batch, features],
                expected: vec![seq_len.max(1), batch.max(1), self.input_size()],
            });
        }
        let steps = Steps::uniform(seq_len, batch);
        let mut packed = PackedLayer::default();
        self.pack(&mut packed, true);
        let mut state = match state {
            Some(state) => state.clone(),
            None => State::zeros::<C>(batch, self.hidden_size()),
        };
        self.check_state(&state, batch)?;
        let x = panels_of(&x);
        let (mut saved, mut scratch) = (Saved::default(), Scratch::default());
        self.run_forward(
            compute,
            &packed,
            &steps,
            LayerInput::Features(&x),
            &state,
            &mut saved,
            &mut scratch,
        );
        self.final_state(&steps, &saved, &mut state);
        let output = array_of(&saved.h, batch);
        Ok((
            output,
            state,
            LayerPass {
                x,
                steps,
                packed,
                saved,
                scratch,
            },
        ))
    }

    fn check_state(&self, state: &State<T>, batch: usize) -> Result<()> {
        let expected = vec![batch, self.hidden_size()];
        for (name, part, wanted) in [("h", &state.h, true), ("c", &state.c, C::HAS_C)] {
            let found = vec![part.rows(), part.columns()];
            if wanted && found != expected {
                return Err(Error::Shape {
                    name: name.into(),
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Carries gradients back through [`Recurrent::forward`]; those of the parameters go into their `grad`.
    ///
    /// # Shapes
    /// `d_output`: as the output; `d_state`: gradient of the final state, as the state; the results: gradients of `x`
    /// and of the initial state.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn backward(
        &mut self,
        compute: &Compute,
        pass: &mut LayerPass<T>,
        d_output: ArrayView3<'_, T>,
        d_state: Option<&State<T>>,
    ) -> Result<(Array3<T>, State<T>)> {
        let batch = pass.steps.batch();
        let expected = (pass.steps.len(), batch, self.hidden_size());
        if d_output.dim() != expected {
            let (a, b, c) = d_output.dim();
            return Err(Error::Shape {
                name: "d_output".into(),
                found: vec![a, b, c],
                expected: vec![expected.0, expected.1, expected.2],
            });
        }
        let mut d_state = match d_state {
            Some(d_state) => d_state.clone(),
            None => State::zeros::<C>(batch, self.hidden_size()),
        };
        self.check_state(&d_state, batch)?;
        let d_output = panels_of(&d_output);
        let mut d_x = Panels::default();
        let LayerPass {
            x,
            steps,
            packed,
            saved,
            scratch,
        } = pass;
        self.run_backward(
            compute,
            packed,
            steps,
            LayerInput::Features(x),
            saved,
            &d_output,
            &mut d_state,
            InputGradient::Into(&mut d_x),
            scratch,
        );
        Ok((array_of(&d_x, batch), d_state))
    }

    /// One step for every row of a batch; the state is read and replaced. The same numbers as one step of
    /// [`Recurrent::forward`], bit for bit.
    ///
    /// # Shapes
    /// `x`: `(batch, input_size)`; the output, the new hidden state: `(batch, hidden_size)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn step(
        &self,
        compute: &Compute,
        x: ArrayView2<'_, T>,
        state: &mut State<T>,
    ) -> Result<Array2<T>> {
        let (_, new, _) = self.forward(compute, x.insert_axis(ndarray::Axis(0)), Some(state))?;
        *state = new;
        Ok(state.h_array())
    }
}

/// What [`Recurrent::forward`] leaves for [`Recurrent::backward`], which uses it up: a second backward pass needs a clone.
#[derive(Clone, Debug)]
pub struct LayerPass<T> {
    x: Panels<T>,
    steps: Steps,
    packed: PackedLayer<T>,
    saved: Saved<T>,
    scratch: Scratch<T>,
}

impl<T: Scalar> LayerPass<T> {
    /// The activated gates, `(seq_len · batch, ·)` in the order of the kernels' slots: sixteen units of one gate, then the
    /// same units of the next.
    #[must_use]
    pub fn gates(&self) -> &Panels<T> {
        &self.saved.gates
    }

    /// The cell states over time, `(seq_len, batch, hidden_size)`.
    #[must_use]
    pub fn cell_states(&self) -> Array3<T> {
        array_of(&self.saved.c, self.steps.batch())
    }
}

impl<T: Scalar, C: Cell> Parameters<T> for Recurrent<T, C> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.weight_ih);
        visit(&self.weight_hh);
        visit(&self.bias_ih);
        visit(&self.bias_hh);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.weight_ih);
        visit(&mut self.weight_hh);
        visit(&mut self.bias_ih);
        visit(&mut self.bias_hh);
    }
}
