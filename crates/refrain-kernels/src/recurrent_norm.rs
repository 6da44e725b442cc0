//! The time loop of a recurrent layer with layer norm inside the cell, forward and backward.
//!
//! As in `recurrent.rs` each thread takes rows of its own through all steps. The input's side, `W_ih x` normalised, does
//! not depend on the steps and is formed before the loop; its gradient is taken on from there after it.

use std::ops::Range;

use crate::cells::Cell;
use crate::compute::{Compute, Shared};
use crate::masked::{Fed, MaskedState};
use crate::norm::NormRow;
use crate::panels::{Block, GROUP, Packed, Panels, groups};
use crate::product::{Left, panel_product};
use crate::recurrent::{Previous, check_offsets};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// `W_ih x`, each row normalised, in the order of the x slots.
#[derive(Clone, Copy, Debug)]
pub enum NormInput<'a, T> {
    /// A row for each row of each step.
    Rows(&'a Panels<T>),
    /// A row for each distinct input, and for each row of each step which of them it is.
    Table(&'a Panels<T>, &'a [u32]),
}

/// The forward pass of one layer with layer norm over a packed sequence.
///
/// ```text
/// sum = gain_x * norm(W_ih x) + gain_h * norm(W_hh h_(t-1)) + bias
/// c_t carried as it is; h_t from gain_c * norm(c_t) + bias_c
/// ```
#[derive(Debug)]
pub struct NormForward<'a, T> {
    /// First row of each step, and the number of all rows at the end.
    pub offsets: &'a [usize],
    /// What the steps read.
    pub input: NormInput<'a, T>,
    /// `W_hh` packed.
    pub weight_hh: &'a Packed<T>,
    /// For each panel `b_ih + b_hh`, or one of them where only one belongs.
    pub bias: &'a [Block<T>],
    /// For each panel of the x slots.
    pub gain_x: &'a [Block<T>],
    /// For each panel of the h slots.
    pub gain_h: &'a [Block<T>],
    /// Gain and bias of the cell state's norm; not read where the cell has none.
    pub cell: (&'a [Block<T>], &'a [Block<T>]),
    /// Written: the activated gates, rows over time × panels.
    pub gates: &'a mut Panels<T>,
    /// The hidden state before the first step, batch rows.
    pub h_0: &'a Panels<T>,
    /// The cell state before the first step, where the cell has one.
    pub c_0: &'a Panels<T>,
    /// Written: the hidden states, rows over time.
    pub h: &'a mut Panels<T>,
    /// Written: the cell states, rows over time, where the cell has them.
    pub c: &'a mut Panels<T>,
    /// Recurrent dropout, where there is any.
    pub masked: Option<MaskedState<'a, T>>,
    /// Written: `W_hh h_(t-1)` normalised, rows over time × panels of the h slots.
    pub norm_h: &'a mut Panels<T>,
    /// Written: what its rows' distances from their means were multiplied by.
    pub factor_h: &'a mut [T],
    /// Written: the cell states normalised, where the cell has them.
    pub norm_c: &'a mut Panels<T>,
    /// Written: the same for them.
    pub factor_c: &'a mut [T],
}

/// Pointers that the threads share.
#[derive(Clone, Copy)]
struct Places<T> {
    gates: Shared<T>,
    h: Shared<T>,
    c: Shared<T>,
    norm_h: Shared<T>,
    factor_h: Shared<T>,
    norm_c: Shared<T>,
    factor_c: Shared<T>,
}

struct NormForwardRows<'a, T, C> {
    cell: C,
    offsets: &'a [usize],
    rows: Range<usize>,
    hidden: usize,
    input: NormInput<'a, T>,
    weight_hh: *const T,
    bias: *const T,
    gain_x: *const T,
    gain_h: *const T,
    gain_c: *const T,
    bias_c: *const T,
    h_0: *const T,
    c_0: *const T,
    fed: Fed<T>,
    to: Places<T>,
}

/// A step of some rows: the first of them in the matrices over time and in the batch, and how many.
#[derive(Clone, Copy)]
struct Step {
    row: usize,
    first: usize,
    rows: usize,
    /// Numbers between panels of the matrices over time.
    panel: usize,
    batch: usize,
}

impl<T: Scalar, C: Cell> NormForwardRows<'_, T, C> {
    /// `W_hh h_(t-1)`, normalised.
    #[inline(always)]
    unsafe fn hidden_sums<V: Lanes<Scalar = T>>(&self, step: Step, previous: &Previous<T>) {
        let panels = groups(self.hidden) * C::H.1.len();
        let zero = V::splat(T::ZERO);
        let shape = NormRow::<V>::new(self.hidden, C::H.1.len());
        // SAFETY: as in `run`.
        unsafe {
            let sums = self.to.norm_h.get().add(step.row * GROUP);
            for panel in 0..panels {
                for b in 0..step.rows {
                    zero.store(sums.add(panel * step.panel + b * GROUP));
                }
            }
            let left = Left {
                start: previous.fed,
                group_stride: previous.panel,
                depth: self.hidden,
            };
            let depth = self.hidden * GROUP;
            panel_product::<V>(
                step.rows,
                panels,
                sums,
                step.panel,
                left,
                self.weight_hh,
                depth,
            );
            for b in 0..step.rows {
                let at = sums.add(b * GROUP);
                let factor = shape.normalise((at, step.panel), (at, step.panel));
                *self.to.factor_h.get().add(step.row + b) = factor;
            }
        }
    }

    /// From the normalised sums to the activated gates and what is carried on; without a cell state that is `h`.
    #[inline(always)]
    unsafe fn carry<V: Lanes<Scalar = T>>(&self, step: Step, previous: &Previous<T>) {
        let (x_first, x_count) = (C::X.0, C::X.1.len());
        let (h_first, h_count) = (C::H.0, C::H.1.len());
        let (table, index) = match self.input {
            NormInput::Rows(x) => (x, None),
            NormInput::Table(x, index) => (x, Some(index)),
        };
        let x_panel = table.rows() * GROUP;
        // SAFETY: as in `run`.
        unsafe {
            let x = table.blocks().as_ptr().cast::<T>();
            for group in 0..groups(self.hidden) {
                let gates = self.to.gates.get().add(group * C::SLOTS * step.panel);
                for b in 0..step.rows {
                    let row = step.row + b;
                    let x_row = match index {
                        Some(index) => *index.get_unchecked(row) as usize,
                        None => row,
                    };
                    let mut slots = [V::splat(T::ZERO); 4];
                    for slot in 0..C::SLOTS {
                        let panel = group * C::SLOTS + slot;
                        let mut sum = V::load(self.bias.add(panel * GROUP));
                        if slot >= x_first && slot < x_first + x_count {
                            let panel = group * x_count + slot - x_first;
                            let gain = V::load(self.gain_x.add(panel * GROUP));
                            let value = V::load(x.add(panel * x_panel + x_row * GROUP));
                            sum = value.mul_add(gain, sum);
                        }
                        if slot >= h_first && slot < h_first + h_count {
                            let panel = group * h_count + slot - h_first;
                            let gain = V::load(self.gain_h.add(panel * GROUP));
                            let at = panel * step.panel + row * GROUP;
                            let value = V::load(self.to.norm_h.get().add(at));
                            sum = value.mul_add(gain, sum);
                        }
                        slots[slot] = sum;
                    }
                    let from = group * previous.panel + b * GROUP;
                    let to = group * step.panel + row * GROUP;
                    let h_previous = V::load(previous.h.add(from));
                    let c_previous = if C::HAS_C {
                        V::load(previous.c.add(from))
                    } else {
                        V::splat(T::ZERO)
                    };
                    let carried = self.cell.carry(&mut slots, h_previous, c_previous);
                    for slot in 0..C::SLOTS {
                        slots[slot].store(gates.add(slot * step.panel + row * GROUP));
                    }
                    if C::HAS_C {
                        carried.store(self.to.c.get().add(to));
                    } else {
                        carried.store(self.to.h.get().add(to));
                    }
                }
            }
        }
    }

    /// From the cell state, normalised, to `h`.
    #[inline(always)]
    unsafe fn reveal<V: Lanes<Scalar = T>>(&self, step: Step) {
        let shape = NormRow::<V>::new(self.hidden, 1);
        // SAFETY: as in `run`.
        unsafe {
            let start = step.row * GROUP;
            for b in 0..step.rows {
                let c = self.to.c.get().add(start + b * GROUP).cast_const();
                let to = self.to.norm_c.get().add(start + b * GROUP);
                let factor = shape.normalise((c, step.panel), (to, step.panel));
                *self.to.factor_c.get().add(step.row + b) = factor;
            }
            for group in 0..groups(self.hidden) {
                let gates = self
                    .to
                    .gates
                    .get()
                    .add(group * C::SLOTS * step.panel + start);
                let gain = V::load(self.gain_c.add(group * GROUP));
                let bias = V::load(self.bias_c.add(group * GROUP));
                for b in 0..step.rows {
                    let mut slots = [V::splat(T::ZERO); 4];
                    for slot in 0..C::SLOTS {
                        slots[slot] = V::load(gates.add(slot * step.panel + b * GROUP));
                    }
                    let at = group * step.panel + start + b * GROUP;
                    let c = V::load(self.to.norm_c.get().add(at)).mul_add(gain, bias);
                    self.cell.reveal(&slots, c).store(self.to.h.get().add(at));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn mask<V: Lanes<Scalar = T>>(&self, step: Step) {
        // SAFETY: as in `run`.
        unsafe {
            for group in 0..groups(self.hidden) {
                for b in 0..step.rows {
                    let mask = (group * step.batch + step.first + b) * GROUP;
                    let mask = V::load(self.fed.mask.get().add(mask));
                    let at = group * step.panel + (step.row + b) * GROUP;
                    let h = V::load(self.to.h.get().add(at));
                    h.mul(mask).store(self.fed.h.get().add(at));
                }
            }
        }
    }
}

impl<T: Scalar, C: Cell> Kernel<T> for NormForwardRows<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let batch = self.offsets[1] - self.offsets[0];
        let panel = self.offsets[self.offsets.len() - 1] * GROUP;
        // SAFETY: `norm_forward` has checked the sizes and gives each thread rows of its own.
        unsafe {
            self.fed
                .mask_initial::<V>(self.h_0, batch, self.rows.clone(), groups(self.hidden));
            for t in 0..self.offsets.len() - 1 {
                let start = self.offsets[t];
                let end = self.rows.end.min(self.offsets[t + 1] - start);
                if self.rows.start >= end {
                    break;
                }
                let step = Step {
                    row: start + self.rows.start,
                    first: self.rows.start,
                    rows: end - self.rows.start,
                    panel,
                    batch,
                };
                let previous = if t == 0 {
                    let at = self.rows.start * GROUP;
                    Previous {
                        h: self.h_0.add(at),
                        c: self.c_0.wrapping_add(at),
                        fed: self.fed.h_0.get().add(at),
                        panel: batch * GROUP,
                    }
                } else {
                    let at = (self.offsets[t - 1] + self.rows.start) * GROUP;
                    Previous {
                        h: self.to.h.get().add(at),
                        c: self.to.c.get().wrapping_add(at),
                        fed: self.fed.h.get().add(at),
                        panel,
                    }
                };
                self.hidden_sums::<V>(step, &previous);
                self.carry::<V>(step, &previous);
                if C::HAS_C {
                    self.reveal::<V>(step);
                }
                if self.fed.is_masked() {
                    self.mask::<V>(step);
                }
            }
        }
    }
}

/// Runs a layer with layer norm forward through all steps.
///
/// # Panics
/// If the sizes do not fit together.
pub fn norm_forward<T: Scalar, C: Cell>(compute: &Compute, cell: C, args: NormForward<'_, T>) {
    T::norm_forward(compute, cell.any(), args);
}

pub(crate) fn norm_forward_of<T: Scalar, C: Cell>(
    compute: &Compute,
    cell: C,
    args: NormForward<'_, T>,
) {
    let (batch, total) = check_offsets(args.offsets);
    let hidden = args.weight_hh.depth();
    let hidden_groups = groups(hidden);
    let (x_panels, h_panels) = (hidden_groups * C::X.1.len(), hidden_groups * C::H.1.len());
    let size = |panels: &Panels<T>| (panels.rows(), panels.columns());
    let panels = |panels: &Panels<T>| (panels.rows(), panels.groups());
    assert!(hidden > 0, "no units");
    assert_eq!(args.weight_hh.panels(), h_panels, "weight_hh");
    assert_eq!(args.bias.len(), hidden_groups * C::SLOTS, "bias");
    let gains = (args.gain_x.len(), args.gain_h.len());
    assert_eq!(gains, (x_panels, h_panels), "gains");
    assert_eq!(
        panels(args.gates),
        (total, hidden_groups * C::SLOTS),
        "gates"
    );
    assert_eq!(panels(args.norm_h), (total, h_panels), "norm_h");
    assert_eq!(args.factor_h.len(), total, "factor_h");
    assert_eq!(size(args.h_0), (batch, hidden), "h_0");
    assert_eq!(size(args.h), (total, hidden), "h");
    if C::HAS_C {
        assert_eq!(size(args.c_0), (batch, hidden), "c_0");
        assert_eq!(size(args.c), (total, hidden), "c");
        assert_eq!(size(args.norm_c), (total, hidden), "norm_c");
        assert_eq!(args.factor_c.len(), total, "factor_c");
        let cell = (args.cell.0.len(), args.cell.1.len());
        assert_eq!(cell, (hidden_groups, hidden_groups), "norm of c");
    }
    match args.input {
        NormInput::Rows(x) => assert_eq!(panels(x), (total, x_panels), "x"),
        NormInput::Table(x, index) => {
            assert_eq!((x.groups(), index.len()), (x_panels, total), "table");
            let fits = index.iter().all(|&at| (at as usize) < x.rows());
            assert!(fits, "index past {}", x.rows());
        }
    }
    let to = Places {
        gates: Shared::of_blocks(args.gates.blocks_mut()),
        h: Shared::of_blocks(args.h.blocks_mut()),
        c: Shared::of_blocks(args.c.blocks_mut()),
        norm_h: Shared::of_blocks(args.norm_h.blocks_mut()),
        factor_h: Shared::new(args.factor_h),
        norm_c: Shared::of_blocks(args.norm_c.blocks_mut()),
        factor_c: Shared::new(args.factor_c),
    };
    let fed = Fed::new(args.masked, args.h_0, to.h, total);
    let (h_0, c_0) = (args.h_0.blocks(), args.c_0.blocks());
    let (offsets, input, weight_hh) = (args.offsets, args.input, args.weight_hh.blocks());
    let (bias, gain_x, gain_h, of_cell) = (args.bias, args.gain_x, args.gain_h, args.cell);
    compute.split(batch, 1, |rows| {
        compute.isa().run(NormForwardRows {
            cell,
            offsets,
            rows,
            hidden,
            input,
            weight_hh: weight_hh.as_ptr().cast::<T>(),
            bias: bias.as_ptr().cast::<T>(),
            gain_x: gain_x.as_ptr().cast::<T>(),
            gain_h: gain_h.as_ptr().cast::<T>(),
            gain_c: of_cell.0.as_ptr().cast::<T>(),
            bias_c: of_cell.1.as_ptr().cast::<T>(),
            h_0: h_0.as_ptr().cast::<T>(),
            c_0: c_0.as_ptr().cast::<T>(),
            fed,
            to,
        });
    });
}
