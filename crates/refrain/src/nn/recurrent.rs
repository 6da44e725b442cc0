//! What all recurrent layers share: parameters, packing, the passes over a sequence. The cells differ only in
//! [`refrain_kernels::Cell`]; `rnn.rs`, `gru.rs` and `lstm.rs` name them and give their equations.

use rand::Rng;
use refrain_kernels::{
    Block, Cell, Compute, DropoutKey, Forward, GROUP, GateOrder, Input, MaskedState, NormForward,
    NormInput, Packed, Panels, Scalar, dropout, forward, groups, layer_norm, norm_forward, product,
};

use super::init;
use super::norm::CellNorm;
use super::state::State;
use super::steps::Steps;
use super::{Init, Parameter, Parameters};

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
    /// Layer norm inside the cell, where there is any.
    pub norm: Option<CellNorm<T>>,
}

/// The weights of a layer as the kernels read them; made once per update.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedLayer<T> {
    pub(crate) ih: Packed<T>,
    pub(crate) hh: Packed<T>,
    pub(crate) ih_transposed: Packed<T>,
    pub(crate) hh_transposed: Packed<T>,
    /// Where each panel's chain starts.
    bias: Vec<Block<T>>,
    /// The same for the panels of the input side alone.
    bias_x: Vec<Block<T>>,
    /// The gains of layer norm: of the input's sums, of the hidden state's.
    pub(crate) gain_x: Vec<Block<T>>,
    pub(crate) gain_h: Vec<Block<T>>,
    /// Gain and bias of the cell state's norm.
    pub(crate) gain_c: Vec<Block<T>>,
    pub(crate) bias_c: Vec<Block<T>>,
}

/// Rows after layer norm, before gain and bias, and what their distances from the mean were multiplied by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Normalised<T> {
    pub(crate) rows: Panels<T>,
    pub(crate) factors: Vec<T>,
}

impl<T: Scalar> Normalised<T> {
    fn resize(&mut self, rows: usize, columns: usize) {
        self.rows.resize(rows, columns);
        self.factors.resize(rows, T::ZERO);
    }
}

/// Recurrent dropout in a pass: the mask, and the states as `W_hh` read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Masked<T> {
    pub(crate) mask: Panels<T>,
    pub(crate) h_0: Panels<T>,
    pub(crate) h: Panels<T>,
}

/// Recurrent dropout of one layer and direction: what the mask is drawn from, and the probability.
pub(crate) type StateMask = Option<(DropoutKey, f64)>;

impl<T: Scalar> Masked<T> {
    fn draw(
        &mut self,
        compute: &Compute,
        (key, probability): (DropoutKey, f64),
        rows: usize,
        (batch, hidden): (usize, usize),
    ) {
        self.mask.reset(batch, hidden);
        for at in 0..groups(hidden) {
            let units = GROUP.min(hidden - at * GROUP);
            for block in &mut self.mask.blocks_mut()[at * batch..(at + 1) * batch] {
                block.0[..units].fill(T::ONE);
            }
        }
        dropout(compute, key, probability, &[0, batch], &mut self.mask);
        self.h_0.resize(batch, hidden);
        self.h.resize(rows, hidden);
    }
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
    /// With layer norm: `W_ih x`, rows over time or of the table; `W_hh h`, rows over time; the cell state.
    pub(crate) norm_x: Normalised<T>,
    pub(crate) norm_h: Normalised<T>,
    pub(crate) norm_c: Normalised<T>,
    /// Where the pass had recurrent dropout.
    pub(crate) masked: Option<Masked<T>>,
    /// Where somebody looks on: the whole gradients of the states, rows over time, after a backward pass.
    pub(crate) d_states: Option<State<T>>,
}

impl<T: Scalar> Saved<T> {
    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        let norms = [&self.norm_x, &self.norm_h, &self.norm_c];
        let norms =
            norms.map(|norm| size_of_val(norm.rows.blocks()) + size_of_val(&norm.factors[..]));
        let masked = self.masked.as_ref();
        let masked = masked.map_or(0, |masked| size_of_val(masked.h.blocks()));
        let states = [&self.gates, &self.h, &self.c].map(|panels| size_of_val(panels.blocks()));
        norms.iter().sum::<usize>() + masked + states.iter().sum::<usize>()
    }
}

/// Space for a backward pass, reused from step to step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch<T> {
    pub(crate) gradient: Packed<T>,
    pub(crate) bias_sums: Vec<Block<T>>,
    pub(crate) token_sums: Panels<T>,
    table: Panels<T>,
    /// The gradients of `W_ih x` and `W_hh h` before layer norm, and of the cell state after it.
    pub(crate) d_sums_x: Panels<T>,
    pub(crate) d_sums_h: Panels<T>,
    pub(crate) d_norm_c: Panels<T>,
    /// The gradient of the masked hidden state.
    pub(crate) d_fed: Panels<T>,
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

fn masked_state<T>(masked: &mut Option<Masked<T>>) -> Option<MaskedState<'_, T>> {
    masked.as_mut().map(|masked| MaskedState {
        mask: &masked.mask,
        h_0: &mut masked.h_0,
        h: &mut masked.h,
    })
}

/// `{owner}.{kind}_l{layer}`, with `_reverse` at the end for the reverse direction.
pub(crate) fn layer_name(owner: &str, kind: &str, layer: usize, is_reverse: bool) -> String {
    let dot = if owner.is_empty() { "" } else { "." };
    let direction = if is_reverse { "_reverse" } else { "" };
    format!("{owner}{dot}{kind}_l{layer}{direction}")
}

/// Calls `part` for each panel of an order with the panel's number and the range of PyTorch's numbers in it.
fn for_panels(order: GateOrder, mut part: impl FnMut(usize, std::ops::Range<usize>)) {
    for group in 0..groups(order.size) {
        let count = GROUP.min(order.size - group * GROUP);
        for (slot, gate) in order.gates.iter().enumerate() {
            let from = gate * order.size + group * GROUP;
            part(group * order.gates.len() + slot, from..from + count);
        }
    }
}

/// A number for each unit of each gate, as blocks in the order of the panels.
fn pack_gates<T: Scalar>(blocks: &mut Vec<Block<T>>, values: &[T], order: GateOrder) {
    blocks.clear();
    blocks.resize(order.panels(), Block::ZERO);
    for_panels(order, |panel, range| {
        blocks[panel].0[..range.len()].copy_from_slice(&values[range]);
    });
}

/// The inverse of [`pack_gates`].
pub(crate) fn unpack_gates<T: Scalar>(blocks: &[Block<T>], values: &mut [T], order: GateOrder) {
    for_panels(order, |panel, range| {
        let count = range.len();
        values[range].copy_from_slice(&blocks[panel].0[..count]);
    });
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
        Self::new(
            cell,
            |kind| layer_name(owner, kind, layer, false),
            input_size,
            hidden_size,
            false,
        )
    }

    /// A layer of zeros; `name` makes the names of its parameters.
    pub(crate) fn new(
        cell: C,
        name: impl Fn(&str) -> String,
        input_size: usize,
        hidden_size: usize,
        has_norm: bool,
    ) -> Self {
        let rows = C::X.1.len() * hidden_size;
        Self {
            cell,
            weight_ih: Parameter::zeros(name("weight_ih"), &[rows, input_size]),
            weight_hh: Parameter::zeros(name("weight_hh"), &[rows, hidden_size]),
            bias_ih: Parameter::zeros(name("bias_ih"), &[rows]),
            bias_hh: Parameter::zeros(name("bias_hh"), &[rows]),
            norm: has_norm.then(|| CellNorm::new(name, rows, hidden_size, C::HAS_C)),
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

    pub(crate) fn order_x(&self) -> GateOrder {
        GateOrder {
            gates: C::X.1,
            size: self.hidden_size(),
        }
    }

    pub(crate) fn order_h(&self) -> GateOrder {
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
        if let Some(norm) = &self.norm {
            pack_gates(&mut packed.gain_x, &norm.weight_ih.value, self.order_x());
            pack_gates(&mut packed.gain_h, &norm.weight_hh.value, self.order_h());
            if let Some(affine) = &norm.cell_state {
                let order = GateOrder::plain(hidden);
                pack_gates(&mut packed.gain_c, &affine.weight.value, order);
                pack_gates(&mut packed.bias_c, &affine.bias.value, order);
            }
        }
    }

    /// What the steps read of distinct inputs: bias and `W_ih x`, or with layer norm `W_ih x` normalised.
    pub(crate) fn project(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        vectors: &Panels<T>,
        table: &mut Panels<T>,
    ) {
        table.resize(vectors.rows(), packed.ih.panels() * GROUP);
        if self.norm.is_none() {
            return product(compute, vectors, &packed.ih, Some(&packed.bias_x), table);
        }
        product(compute, vectors, &packed.ih, None, table);
        let mut factors = vec![T::ZERO; vectors.rows()];
        layer_norm(compute, self.hidden_size(), table, &mut factors);
    }

    /// Forward through a packed sequence; the output is `saved.h`. With `mask` there is recurrent dropout.
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
        mask: StateMask,
        saved: &mut Saved<T>,
        scratch: &mut Scratch<T>,
    ) {
        self.prepare(compute, steps, state, mask, saved);
        if self.norm.is_some() {
            let (x, index) = match input {
                LayerInput::Features(x) => (x, None),
                LayerInput::Table(vectors, index) => (vectors, Some(index)),
            };
            let mut sums = std::mem::take(&mut saved.norm_x);
            sums.resize(x.rows(), packed.ih.panels() * GROUP);
            product(compute, x, &packed.ih, None, &mut sums.rows);
            layer_norm(
                compute,
                self.hidden_size(),
                &mut sums.rows,
                &mut sums.factors,
            );
            let input = match index {
                None => NormInput::Rows(&sums.rows),
                Some(index) => NormInput::Table(&sums.rows, index),
            };
            self.run_norm_kernel(compute, packed, steps, input, saved);
            saved.norm_x = sums;
            return;
        }
        let input = match input {
            LayerInput::Features(x) => Input::Rows(x, &packed.ih),
            LayerInput::Table(vectors, index) => {
                self.project(compute, packed, vectors, &mut scratch.table);
                Input::Table(&scratch.table, index)
            }
        };
        self.run_kernel(compute, packed, steps, input, saved);
    }

    /// One step of one row.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    pub(crate) fn run_step(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: StepInput<'_, T>,
        state: &State<T>,
        saved: &mut Saved<T>,
        scratch: &mut Scratch<T>,
    ) {
        match input {
            StepInput::Features(x) => self.run_forward(
                compute,
                packed,
                steps,
                LayerInput::Features(x),
                state,
                None,
                saved,
                scratch,
            ),
            StepInput::Table(table) => {
                self.prepare(compute, steps, state, None, saved);
                if self.norm.is_some() {
                    let input = NormInput::Table(table, &[0]);
                    self.run_norm_kernel(compute, packed, steps, input, saved);
                } else {
                    self.run_kernel(compute, packed, steps, Input::Table(table, &[0]), saved);
                }
            }
        }
    }

    /// Gives the saved arrays their sizes, keeps the initial state, draws the mask.
    fn prepare(
        &self,
        compute: &Compute,
        steps: &Steps,
        state: &State<T>,
        mask: StateMask,
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
        match mask {
            Some(mask) => saved.masked.get_or_insert_default().draw(
                compute,
                mask,
                steps.rows(),
                (steps.batch(), hidden),
            ),
            None => saved.masked = None,
        }
    }

    fn run_kernel(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: Input<'_, T>,
        saved: &mut Saved<T>,
    ) {
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
            masked: masked_state(&mut saved.masked),
        };
        forward(compute, self.cell, args);
    }

    fn run_norm_kernel(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        input: NormInput<'_, T>,
        saved: &mut Saved<T>,
    ) {
        saved
            .norm_h
            .resize(steps.rows(), packed.hh.panels() * GROUP);
        if C::HAS_C {
            saved.norm_c.resize(steps.rows(), self.hidden_size());
        }
        let args = NormForward {
            offsets: steps.offsets(),
            input,
            weight_hh: &packed.hh,
            bias: &packed.bias,
            gain_x: &packed.gain_x,
            gain_h: &packed.gain_h,
            cell: (&packed.gain_c, &packed.bias_c),
            gates: &mut saved.gates,
            h_0: &saved.initial.h,
            c_0: &saved.initial.c,
            h: &mut saved.h,
            c: &mut saved.c,
            masked: masked_state(&mut saved.masked),
            norm_h: &mut saved.norm_h.rows,
            factor_h: &mut saved.norm_h.factors,
            norm_c: &mut saved.norm_c.rows,
            factor_c: &mut saved.norm_c.factors,
        };
        norm_forward(compute, self.cell, args);
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
}

impl<T: Scalar, C: Cell> Parameters<T> for Recurrent<T, C> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.weight_ih);
        visit(&self.weight_hh);
        visit(&self.bias_ih);
        visit(&self.bias_hh);
        if let Some(norm) = &self.norm {
            norm.visit(visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.weight_ih);
        visit(&mut self.weight_hh);
        visit(&mut self.bias_ih);
        visit(&mut self.bias_hh);
        if let Some(norm) = &mut self.norm {
            norm.visit_mut(visit);
        }
    }
}
