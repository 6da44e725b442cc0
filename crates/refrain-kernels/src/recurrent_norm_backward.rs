use std::ops::Range;

use crate::cells::Cell;
use crate::compute::{Compute, Shared};
use crate::masked::FedGradient;
use crate::norm::NormRow;
use crate::panels::{Block, GROUP, Packed, Panels, groups};
use crate::product::Slots;
use crate::recurrent::{StateGradients, Watched, check_offsets, gates_product, watch};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// The backward pass of one layer with layer norm over a packed sequence.
#[derive(Debug)]
pub struct NormBackward<'a, T> {
    /// As in [`NormForward`](crate::NormForward).
    pub offsets: &'a [usize],
    /// `W_hh` packed transposed.
    pub weight_hh: &'a Packed<T>,
    /// As in the forward pass.
    pub gain_h: &'a [Block<T>],
    /// As in the forward pass.
    pub cell: (&'a [Block<T>], &'a [Block<T>]),
    /// The activated gates of the forward pass; overwritten by the gradients of the sums before activation.
    pub gates: &'a mut Panels<T>,
    /// As in the forward pass.
    pub h_0: &'a Panels<T>,
    /// As in the forward pass.
    pub c_0: &'a Panels<T>,
    /// As the forward pass wrote them.
    pub h: &'a Panels<T>,
    /// As the forward pass wrote them.
    pub c: &'a Panels<T>,
    /// As the forward pass wrote it.
    pub norm_h: &'a Panels<T>,
    /// As the forward pass wrote it.
    pub factor_h: &'a [T],
    /// As the forward pass wrote it.
    pub norm_c: &'a Panels<T>,
    /// As the forward pass wrote it.
    pub factor_c: &'a [T],
    /// Gradient of the outputs, rows over time.
    pub d_output: &'a Panels<T>,
    /// Gradient of each row's last hidden state, batch rows; overwritten by the gradient of h_0.
    pub d_h: &'a mut Panels<T>,
    /// The same for the cell state.
    pub d_c: &'a mut Panels<T>,
    /// With recurrent dropout: the mask, and space of the same size.
    pub masked: Option<(&'a Panels<T>, &'a mut Panels<T>)>,
    /// Written: the gradient of `W_hh h_(t-1)` before its norm, rows over time × panels of the h slots.
    pub d_sums_h: &'a mut Panels<T>,
    /// Written: the gradient of the cell state after its norm's gain and bias, where the cell has one.
    pub d_norm_c: &'a mut Panels<T>,
    /// Where somebody looks on.
    pub watched: Option<StateGradients<'a, T>>,
}

/// What the threads read, each its own rows of.
#[derive(Clone, Copy)]
struct Sources<'a, T> {
    weight_hh: &'a Packed<T>,
    gain_h: &'a [Block<T>],
    gain_c: &'a [Block<T>],
    bias_c: &'a [Block<T>],
    h_0: &'a Panels<T>,
    c_0: &'a Panels<T>,
    h: &'a Panels<T>,
    c: &'a Panels<T>,
    norm_h: &'a Panels<T>,
    factor_h: &'a [T],
    norm_c: &'a Panels<T>,
    factor_c: &'a [T],
    d_output: &'a Panels<T>,
}

/// What they write, each its own rows of.
#[derive(Clone, Copy)]
struct Places<T> {
    gates: Shared<T>,
    d_h: Shared<T>,
    d_c: Shared<T>,
    d_sums_h: Shared<T>,
    d_norm_c: Shared<T>,
    watched: Watched<T>,
}

struct NormBackwardRows<'a, T, C> {
    cell: C,
    offsets: &'a [usize],
    rows: Range<usize>,
    hidden: usize,
    from: Sources<'a, T>,
    to: Places<T>,
    fed: FedGradient<T>,
}

/// A step of some rows.
#[derive(Clone, Copy)]
struct Step {
    t: usize,
    /// The first row in the matrices over time.
    row: usize,
    /// The first row in the batch.
    first: usize,
    rows: usize,
    /// Numbers between panels of the matrices over time.
    panel: usize,
    /// Numbers between panels of the matrices over the batch.
    carry_panel: usize,
}

#[inline(always)]
fn start<T>(blocks: &[Block<T>]) -> *const T {
    blocks.as_ptr().cast::<T>()
}

impl<T: Scalar, C: Cell> NormBackwardRows<'_, T, C> {
    /// The gates of a group in a row.
    #[inline(always)]
    unsafe fn slots<V: Lanes<Scalar = T>>(&self, at: *const T, panel: usize) -> [V; 4] {
        let mut slots = [V::splat(T::ZERO); 4];
        for slot in 0..C::SLOTS {
            // SAFETY: as in `run`.
            slots[slot] = unsafe { V::load(at.add(slot * panel)) };
        }
        slots
    }

    /// From the gradient of `h` to that of the cell state: through what reveals it, then through its norm; added to `d_c`.
    #[inline(always)]
    unsafe fn reveal<V: Lanes<Scalar = T>>(&self, step: Step) {
        let shape = NormRow::<V>::new(self.hidden, 1);
        let (norm_c, factor_c) = (start(self.from.norm_c.blocks()), self.from.factor_c);
        // SAFETY: as in `run`.
        unsafe {
            for group in 0..groups(self.hidden) {
                let gain = V::load(start(self.from.gain_c).add(group * GROUP));
                let bias = V::load(start(self.from.bias_c).add(group * GROUP));
                for b in 0..step.rows {
                    let row = (step.row + b) * GROUP;
                    let gates = self.to.gates.get();
                    let gates = gates.add(group * C::SLOTS * step.panel + row);
                    let mut slots = self.slots::<V>(gates, step.panel);
                    let at = group * step.panel + row;
                    let c = V::load(norm_c.add(at)).mul_add(gain, bias);
                    let carry = group * step.carry_panel + (step.first + b) * GROUP;
                    let d_h = V::load(self.to.d_h.get().add(carry));
                    let d_c = self.cell.reveal_backward(&mut slots, c, d_h);
                    for slot in 0..C::SLOTS {
                        slots[slot].store(gates.add(slot * step.panel));
                    }
                    d_c.store(self.to.d_norm_c.get().add(at));
                }
            }
            // The gradient before the norm stands in the first of the row's places of `d_sums_h`, which are free until
            // the gates' gradients are known.
            for b in 0..step.rows {
                let row = (step.row + b) * GROUP;
                let before = self.to.d_sums_h.get().add(row);
                shape.backward(
                    (
                        self.to.d_norm_c.get().add(row).cast_const(),
                        step.panel,
                        Slots::PLAIN,
                    ),
                    (norm_c.add(row), step.panel),
                    start(self.from.gain_c),
                    factor_c[step.row + b],
                    (before, step.panel),
                );
                for group in 0..groups(self.hidden) {
                    let d_c = self.to.d_c.get();
                    let d_c = d_c.add(group * step.carry_panel + (step.first + b) * GROUP);
                    let before = V::load(before.add(group * step.panel));
                    V::load(d_c).add(before).store(d_c);
                }
            }
        }
    }

    /// The gradients of the sums, and of `h_(t-1)` and `c_(t-1)` beside the matrix.
    #[inline(always)]
    unsafe fn carry<V: Lanes<Scalar = T>>(&self, step: Step) {
        let zero = V::splat(T::ZERO);
        let from = &self.from;
        // SAFETY: as in `run`.
        unsafe {
            let (h, c, previous, previous_panel) = if step.t == 0 {
                let (h, c) = (start(from.h_0.blocks()), start(from.c_0.blocks()));
                (h, c, step.first, step.carry_panel)
            } else {
                let (h, c) = (start(from.h.blocks()), start(from.c.blocks()));
                let row = self.offsets[step.t - 1] + step.first;
                (h, c, row, step.panel)
            };
            for group in 0..groups(self.hidden) {
                let gates = self.to.gates.get().add(group * C::SLOTS * step.panel);
                for b in 0..step.rows {
                    let gates = gates.add((step.row + b) * GROUP);
                    let mut slots = self.slots::<V>(gates, step.panel);
                    let carry = group * step.carry_panel + (step.first + b) * GROUP;
                    let before = group * previous_panel + (previous + b) * GROUP;
                    let (d_h, d_c) = (self.to.d_h.get().add(carry), self.to.d_c.get());
                    let now = group * step.panel + (step.row + b) * GROUP;
                    let h_previous = if C::DIRECT {
                        V::load(h.add(before))
                    } else {
                        zero
                    };
                    let c_previous = if C::HAS_C {
                        V::load(c.add(before))
                    } else {
                        zero
                    };
                    let d_carried = if C::HAS_C {
                        V::load(d_c.add(carry))
                    } else {
                        V::load(d_h)
                    };
                    watch(self.to.watched.d_h, now, V::load(d_h));
                    watch(self.to.watched.d_c, now, d_carried);
                    let (direct, d_c_previous) = self
                        .cell
                        .carry_backward(&mut slots, h_previous, c_previous, d_carried);
                    for slot in 0..C::SLOTS {
                        slots[slot].store(gates.add(slot * step.panel));
                    }
                    if C::HAS_C {
                        d_c_previous.store(d_c.add(carry));
                    }
                    let d_output = if step.t == 0 {
                        zero
                    } else {
                        let at = group * step.panel + (previous + b) * GROUP;
                        V::load(start(from.d_output.blocks()).add(at))
                    };
                    let d = if C::DIRECT {
                        d_output.add(direct)
                    } else {
                        d_output
                    };
                    d.store(d_h);
                }
            }
        }
    }

    /// Through the norm of `W_hh h_(t-1)` and the product into the gradient of `h_(t-1)`.
    #[inline(always)]
    unsafe fn hidden_sums<V: Lanes<Scalar = T>>(&self, step: Step) {
        let hidden_groups = groups(self.hidden);
        let count = C::H.1.len();
        let shape = NormRow::<V>::new(self.hidden, count);
        let own = (step.first, step.rows);
        // SAFETY: as in `run`.
        unsafe {
            for b in 0..step.rows {
                let row = (step.row + b) * GROUP;
                let d = self.to.gates.get().add(row).cast_const();
                shape.backward(
                    (d, step.panel, Slots::h::<C>()),
                    (start(self.from.norm_h.blocks()).add(row), step.panel),
                    start(self.from.gain_h),
                    self.from.factor_h[step.row + b],
                    (self.to.d_sums_h.get().add(row), step.panel),
                );
            }
            let (d_h, carry_panel) = (self.to.d_h.get(), step.carry_panel);
            let d_fed = self.fed.begin::<V>(own, d_h, carry_panel, hidden_groups);
            gates_product::<V>(
                step.rows,
                hidden_groups,
                d_fed,
                carry_panel,
                self.to.d_sums_h.get().add(step.row * GROUP).cast_const(),
                step.panel,
                (count, 0, count),
                hidden_groups,
                start(self.from.weight_hh.blocks()),
            );
            self.fed.end::<V>(own, d_h, carry_panel, hidden_groups);
        }
    }
}

impl<T: Scalar, C: Cell> Kernel<T> for NormBackwardRows<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let steps = self.offsets.len() - 1;
        let panel = self.offsets[steps] * GROUP;
        let carry_panel = self.offsets[1] * GROUP;
        // SAFETY: `norm_backward` has checked the sizes and gives each thread rows of its own.
        unsafe {
            // As in the backward pass without norms.
            let mut reached = self.rows.start;
            for t in (0..steps).rev() {
                let first = self.offsets[t];
                let end = self.rows.end.min(self.offsets[t + 1] - first);
                if self.rows.start >= end {
                    continue;
                }
                for group in 0..groups(self.hidden) {
                    for b in reached..end {
                        let to = self.to.d_h.get().add(group * carry_panel + b * GROUP);
                        let d_output = start(self.from.d_output.blocks());
                        let d_output = d_output.add(group * panel + (first + b) * GROUP);
                        V::load(d_output).add(V::load(to)).store(to);
                    }
                }
                reached = reached.max(end);
                let step = Step {
                    t,
                    row: first + self.rows.start,
                    first: self.rows.start,
                    rows: end - self.rows.start,
                    panel,
                    carry_panel,
                };
                if C::HAS_C {
                    self.reveal::<V>(step);
                }
                self.carry::<V>(step);
                self.hidden_sums::<V>(step);
            }
        }
    }
}

/// Runs a layer with layer norm backward through all steps.
///
/// # Panics
/// If the sizes do not fit together.
pub fn norm_backward<T: Scalar, C: Cell>(compute: &Compute, cell: C, args: NormBackward<'_, T>) {
    T::norm_backward(compute, cell.any(), args);
}

pub(crate) fn norm_backward_of<T: Scalar, C: Cell>(
    compute: &Compute,
    cell: C,
    args: NormBackward<'_, T>,
) {
    let (batch, total) = check_offsets(args.offsets);
    let hidden = args.h.columns();
    let hidden_groups = groups(hidden);
    let h_panels = hidden_groups * C::H.1.len();
    let size = |panels: &Panels<T>| (panels.rows(), panels.columns());
    let panels = |panels: &Panels<T>| (panels.rows(), panels.groups());
    assert!(hidden > 0, "no units");
    let weight = (args.weight_hh.panels(), args.weight_hh.depth());
    assert_eq!(weight, (hidden_groups, h_panels * GROUP), "weight_hh");
    assert_eq!(args.gain_h.len(), h_panels, "gain_h");
    assert_eq!(
        panels(args.gates),
        (total, hidden_groups * C::SLOTS),
        "gates"
    );
    assert_eq!(panels(args.norm_h), (total, h_panels), "norm_h");
    assert_eq!(panels(args.d_sums_h), (total, h_panels), "d_sums_h");
    assert_eq!(args.factor_h.len(), total, "factor_h");
    assert_eq!(size(args.h_0), (batch, hidden), "h_0");
    assert_eq!(args.h.rows(), total, "h");
    assert_eq!(size(args.d_output), (total, hidden), "d_output");
    assert_eq!(size(args.d_h), (batch, hidden), "d_h");
    if C::HAS_C {
        assert_eq!(size(args.c_0), (batch, hidden), "c_0");
        assert_eq!(size(args.c), (total, hidden), "c");
        assert_eq!(size(args.d_c), (batch, hidden), "d_c");
        assert_eq!(size(args.norm_c), (total, hidden), "norm_c");
        assert_eq!(size(args.d_norm_c), (total, hidden), "d_norm_c");
        assert_eq!(args.factor_c.len(), total, "factor_c");
        let cell = (args.cell.0.len(), args.cell.1.len());
        assert_eq!(cell, (hidden_groups, hidden_groups), "norm of c");
    }
    let fed = FedGradient::new(args.masked, args.d_h);
    let to = Places {
        gates: Shared::of_blocks(args.gates.blocks_mut()),
        d_h: Shared::of_blocks(args.d_h.blocks_mut()),
        d_c: Shared::of_blocks(args.d_c.blocks_mut()),
        d_sums_h: Shared::of_blocks(args.d_sums_h.blocks_mut()),
        d_norm_c: Shared::of_blocks(args.d_norm_c.blocks_mut()),
        watched: Watched::new(args.watched, (total, hidden), C::HAS_C),
    };
    let from = Sources {
        weight_hh: args.weight_hh,
        gain_h: args.gain_h,
        gain_c: args.cell.0,
        bias_c: args.cell.1,
        h_0: args.h_0,
        c_0: args.c_0,
        h: args.h,
        c: args.c,
        norm_h: args.norm_h,
        factor_h: args.factor_h,
        norm_c: args.norm_c,
        factor_c: args.factor_c,
        d_output: args.d_output,
    };
    let offsets = args.offsets;
    compute.split(batch, 1, |rows| {
        compute.isa().run(NormBackwardRows {
            cell,
            offsets,
            rows,
            hidden,
            from,
            to,
            fed,
        });
    });
}
