//! The backward pass of a recurrent layer: through the steps, then the gradients of the weights.

use refrain_kernels::{
    Backward, Block, Cell, Compute, GROUP, GateOrder, NormBackward, Panels, RowRun, Scalar, Slots,
    StateGradients, backward, column_products, column_sums, gradient_product, groups,
    layer_norm_backward, norm_backward, product, sum_rows_by_index,
};

use super::recurrent::{
    InputGradient, LayerInput, PackedLayer, Recurrent, Saved, Scratch, unpack_gates,
};
use super::state::State;
use super::steps::Steps;

impl<T: Scalar, C: Cell> Recurrent<T, C> {
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
        let mut d_input = match d_input {
            InputGradient::Into(d_input) => Some(d_input),
            InputGradient::None => None,
        };
        if self.norm.is_some() {
            self.norm_steps(compute, packed, steps, saved, d_output, d_state, scratch);
        } else {
            let d_x = match input {
                LayerInput::Features(_) => d_input.as_deref_mut(),
                LayerInput::Table(..) => None,
            };
            self.steps(
                compute, packed, steps, saved, d_output, d_state, d_x, scratch,
            );
        }
        self.gradient_hh(compute, packed, steps, saved, scratch);
        match input {
            LayerInput::Features(x) => {
                self.gradient_ih(compute, packed, steps, x, saved, d_input, scratch);
            }
            LayerInput::Table(vectors, index) => {
                let table = (vectors, index);
                self.gradient_ih_table(compute, packed, steps, table, saved, d_input, scratch);
            }
        }
        self.gradient_biases(compute, steps, saved, scratch);
        self.gradient_norms(compute, steps, saved, scratch);
    }

    /// Through the steps; `saved.gates` become the gradients of the sums.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    fn steps(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        saved: &mut Saved<T>,
        d_output: &Panels<T>,
        d_state: &mut State<T>,
        d_x: Option<&mut Panels<T>>,
        scratch: &mut Scratch<T>,
    ) {
        let d_x = d_x.map(|d_x| {
            d_x.resize(steps.rows(), self.input_size());
            (&packed.ih_transposed, d_x)
        });
        let d_fed = &mut scratch.d_fed;
        let watched = watched::<T, C>(&mut saved.d_states, steps, self.hidden_size());
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
            masked: saved.masked.as_ref().map(|masked| {
                d_fed.resize(steps.batch(), self.hidden_size());
                (&masked.mask, d_fed)
            }),
            watched,
        };
        backward(compute, self.cell, args);
    }

    /// The same with layer norm, which leaves the gradient of `W_hh h` before its norm in `scratch.d_sums_h`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    fn norm_steps(
        &self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        saved: &mut Saved<T>,
        d_output: &Panels<T>,
        d_state: &mut State<T>,
        scratch: &mut Scratch<T>,
    ) {
        let hidden = self.hidden_size();
        let Scratch {
            d_sums_h,
            d_norm_c,
            d_fed,
            ..
        } = scratch;
        d_sums_h.resize(steps.rows(), packed.hh.panels() * GROUP);
        if C::HAS_C {
            d_norm_c.resize(steps.rows(), hidden);
        }
        let watched = watched::<T, C>(&mut saved.d_states, steps, hidden);
        let args = NormBackward {
            offsets: steps.offsets(),
            weight_hh: &packed.hh_transposed,
            gain_h: &packed.gain_h,
            cell: (&packed.gain_c, &packed.bias_c),
            gates: &mut saved.gates,
            h_0: &saved.initial.h,
            c_0: &saved.initial.c,
            h: &saved.h,
            c: &saved.c,
            norm_h: &saved.norm_h.rows,
            factor_h: &saved.norm_h.factors,
            norm_c: &saved.norm_c.rows,
            factor_c: &saved.norm_c.factors,
            d_output,
            d_h: &mut d_state.h,
            d_c: &mut d_state.c,
            masked: saved.masked.as_ref().map(|masked| {
                d_fed.resize(steps.batch(), hidden);
                (&masked.mask, d_fed)
            }),
            d_sums_h,
            d_norm_c,
            watched,
        };
        norm_backward(compute, self.cell, args);
    }

    /// dW_hh: what it read of `h_(t-1)` against the gradients of step t, from the last step to the first.
    fn gradient_hh(
        &mut self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        saved: &Saved<T>,
        scratch: &mut Scratch<T>,
    ) {
        let (d_sums, slots) = match self.norm {
            Some(_) => (&scratch.d_sums_h, Slots::PLAIN),
            None => (&saved.gates, Slots::h::<C>()),
        };
        let (h_0, h) = match &saved.masked {
            Some(masked) => (&masked.h_0, &masked.h),
            None => (&saved.initial.h, &saved.h),
        };
        let gradient = &mut scratch.gradient;
        gradient.reset(packed.hh.panels(), self.hidden_size());
        let (later, first) = steps.runs_shifted();
        gradient_product(compute, later, h, d_sums, slots, gradient);
        gradient_product(compute, &[first], h_0, d_sums, slots, gradient);
        let order = self.order_h();
        gradient.unpack(&mut self.weight_hh.grad, order);
    }

    /// dW_ih of features, and with layer norm what the steps have not yet formed: the gradient of the features.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    fn gradient_ih(
        &mut self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        x: &Panels<T>,
        saved: &Saved<T>,
        d_x: Option<&mut Panels<T>>,
        scratch: &mut Scratch<T>,
    ) {
        let gradient = &mut scratch.gradient;
        gradient.reset(packed.ih.panels(), self.input_size());
        if let Some(norm) = &mut self.norm {
            let (d_sums, runs) = (&mut scratch.d_sums_x, steps.runs());
            d_sums.resize(steps.rows(), packed.ih.panels() * GROUP);
            layer_norm_backward(
                compute,
                self.weight_hh.shape[1],
                &saved.gates,
                Slots::x::<C>(),
                &saved.norm_x.rows,
                &packed.gain_x,
                &saved.norm_x.factors,
                d_sums,
            );
            let sums = zeroed(&mut scratch.bias_sums, packed.ih.panels());
            let normalised = &saved.norm_x.rows;
            column_products(
                compute,
                runs,
                normalised,
                &saved.gates,
                Slots::x::<C>(),
                sums,
            );
            let order = GateOrder {
                gates: C::X.1,
                size: self.weight_hh.shape[1],
            };
            unpack_gates(sums, &mut norm.weight_ih.grad, order);
            gradient_product(compute, runs, x, d_sums, Slots::PLAIN, gradient);
            if let Some(d_x) = d_x {
                d_x.resize(steps.rows(), x.columns());
                product(compute, d_sums, &packed.ih_transposed, None, d_x);
            }
        } else {
            let slots = Slots::x::<C>();
            gradient_product(compute, steps.runs(), x, &saved.gates, slots, gradient);
        }
        let order = self.order_x();
        gradient.unpack(&mut self.weight_ih.grad, order);
    }

    /// dW_ih of distinct vectors and their gradients. The gradients of the sums are added up by distinct input first: as
    /// many products as there are of those.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    fn gradient_ih_table(
        &mut self,
        compute: &Compute,
        packed: &PackedLayer<T>,
        steps: &Steps,
        (vectors, index): (&Panels<T>, &[u32]),
        saved: &Saved<T>,
        d_vectors: Option<&mut Panels<T>>,
        scratch: &mut Scratch<T>,
    ) {
        let panels = packed.ih.panels();
        let sums = &mut scratch.token_sums;
        sums.reset(vectors.rows(), panels * GROUP);
        let slots = Slots::x::<C>();
        sum_rows_by_index(compute, steps.runs(), index, &saved.gates, slots, sums);
        let all = [RowRun {
            a: 0,
            b: 0,
            rows: vectors.rows(),
        }];
        let mut sums = &*sums;
        let order = self.order_x();
        if let Some(norm) = &mut self.norm {
            let normalised = &saved.norm_x.rows;
            let gains = zeroed(&mut scratch.bias_sums, panels);
            column_products(compute, &all, normalised, sums, Slots::PLAIN, gains);
            unpack_gates(gains, &mut norm.weight_ih.grad, order);
            scratch.d_sums_x.resize(vectors.rows(), panels * GROUP);
            layer_norm_backward(
                compute,
                order.size,
                sums,
                // Each slot of a group is there.
                Slots::all(C::X.1.len()),
                normalised,
                &packed.gain_x,
                &saved.norm_x.factors,
                &mut scratch.d_sums_x,
            );
            sums = &scratch.d_sums_x;
        }
        let gradient = &mut scratch.gradient;
        gradient.reset(panels, vectors.columns());
        gradient_product(compute, &all, vectors, sums, Slots::PLAIN, gradient);
        if let Some(d_vectors) = d_vectors {
            d_vectors.resize(vectors.rows(), vectors.columns());
            product(compute, sums, &packed.ih_transposed, None, d_vectors);
        }
        gradient.unpack(&mut self.weight_ih.grad, order);
    }

    fn gradient_biases(
        &mut self,
        compute: &Compute,
        steps: &Steps,
        saved: &Saved<T>,
        scratch: &mut Scratch<T>,
    ) {
        let sums = zeroed(&mut scratch.bias_sums, saved.gates.groups());
        column_sums(compute, steps.runs(), &saved.gates, sums);
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

    /// The gains of layer norm, that of the input's sums excepted; gain and bias of the cell state's.
    fn gradient_norms(
        &mut self,
        compute: &Compute,
        steps: &Steps,
        saved: &Saved<T>,
        scratch: &mut Scratch<T>,
    ) {
        let order = self.order_h();
        let Some(norm) = &mut self.norm else { return };
        let (sums, runs) = (&mut scratch.bias_sums, steps.runs());
        let sums_h = zeroed(sums, order.panels());
        let normalised = &saved.norm_h.rows;
        column_products(
            compute,
            runs,
            normalised,
            &saved.gates,
            Slots::h::<C>(),
            sums_h,
        );
        unpack_gates(sums_h, &mut norm.weight_hh.grad, order);
        if let Some(affine) = &mut norm.cell_state {
            let order = GateOrder::plain(order.size);
            let (d, normalised) = (&scratch.d_norm_c, &saved.norm_c.rows);
            let sums_c = zeroed(sums, order.panels());
            column_products(compute, runs, normalised, d, Slots::PLAIN, sums_c);
            unpack_gates(sums_c, &mut affine.weight.grad, order);
            let sums_c = zeroed(sums, order.panels());
            column_sums(compute, runs, d, sums_c);
            unpack_gates(sums_c, &mut affine.bias.grad, order);
        }
    }
}

/// Where the gradients of a layer's states go, if they are kept.
fn watched<'s, T: Scalar, C: Cell>(
    d_states: &'s mut Option<State<T>>,
    steps: &Steps,
    hidden: usize,
) -> Option<StateGradients<'s, T>> {
    let State { h, c } = d_states.as_mut()?;
    h.resize(steps.rows(), hidden);
    if C::HAS_C {
        c.resize(steps.rows(), hidden);
    }
    Some(StateGradients { d_h: h, d_c: c })
}

/// So many blocks of zeros.
fn zeroed<T: Scalar>(blocks: &mut Vec<Block<T>>, count: usize) -> &mut [Block<T>] {
    blocks.clear();
    blocks.resize(count, Block::ZERO);
    blocks
}
