//! The time loop of a recurrent layer, forward and backward, over packed sequences.
//!
//! Rows of a batch are independent: each thread takes rows of its own through all steps, with no waiting inside a
//! sequence. At step t the first `offsets[t + 1] - offsets[t]` rows are live (rows are sorted by falling length);
//! row b of step t is row `offsets[t] + b` of the matrices over time.

use crate::cells::{BackwardStep, Cell};
use crate::compute::{Compute, Shared};
use crate::masked::{Fed, FedGradient, MaskedState};
use crate::panels::{Block, GROUP, Packed, Panels, groups};
use crate::product::{Left, panel_product};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// What the steps read.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// A row of features for each row of each step, and `W_ih` packed.
    Rows(&'a Panels<T>, &'a Packed<T>),
    /// Bias and `W_ih x` computed beforehand for each distinct input (rows of the table, columns in the order of the
    /// x slots), and for each row of each step the row of the table.
    Table(&'a Panels<T>, &'a [u32]),
}

/// The forward pass of one layer over a packed sequence.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// First row of each step, and the number of all rows at the end.
    pub offsets: &'a [usize],
    /// What the steps read.
    pub input: Input<'a, T>,
    /// `W_hh` packed.
    pub weight_hh: &'a Packed<T>,
    /// For each panel the sum from which its chain starts: `b_ih + b_hh`, or one of them where only one belongs.
    pub bias: &'a [Block<T>],
    /// Written: the activated gates, rows over time × panels.
    pub gates: &'a mut Panels<T>,
    /// The hidden state before the first step, batch rows.
    pub h_0: &'a Panels<T>,
    /// The cell state before the first step, where the cell has one; else not read.
    pub c_0: &'a Panels<T>,
    /// Written: the hidden states, rows over time.
    pub h: &'a mut Panels<T>,
    /// Written: the cell states, rows over time, where the cell has them; else not touched.
    pub c: &'a mut Panels<T>,
    /// Recurrent dropout, where there is any.
    pub masked: Option<MaskedState<'a, T>>,
}

/// Where the states of the step before stand: rows `start..` of panels `panel` numbers apart.
pub(crate) struct Previous<T> {
    pub(crate) h: *const T,
    pub(crate) c: *const T,
    /// What `W_hh` reads.
    pub(crate) fed: *const T,
    pub(crate) panel: usize,
}

struct ForwardRows<'a, T, C> {
    cell: C,
    offsets: &'a [usize],
    rows: std::ops::Range<usize>,
    hidden: usize,
    input: Input<'a, T>,
    weight_hh: *const T,
    bias: *const T,
    gates: *mut T,
    h_0: *const T,
    c_0: *const T,
    h: *mut T,
    c: *mut T,
    fed: Fed<T>,
}

impl<T: Scalar, C: Cell> Kernel<T> for ForwardRows<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let batch = self.offsets[1] - self.offsets[0];
        let total = self.offsets[self.offsets.len() - 1];
        let panel = total * GROUP;
        let (x_first, x_count) = (C::X.0, C::X.1.len());
        let (h_first, h_count) = (C::H.0, C::H.1.len());
        let is_masked = self.fed.is_masked();
        // SAFETY: `forward` has checked the sizes and gives each thread rows of its own.
        unsafe {
            let hidden_groups = groups(self.hidden);
            self.fed
                .mask_initial::<V>(self.h_0, batch, self.rows.clone(), hidden_groups);
            for t in 0..self.offsets.len() - 1 {
                let start = self.offsets[t];
                let live = self.offsets[t + 1] - start;
                let end = self.rows.end.min(live);
                if self.rows.start >= end {
                    break;
                }
                let rows = end - self.rows.start;
                let row = start + self.rows.start;
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
                        h: self.h.add(at),
                        c: self.c.wrapping_add(at),
                        fed: self.fed.h.get().add(at),
                        panel,
                    }
                };
                for group in 0..hidden_groups {
                    let gates = self.gates.add(group * C::SLOTS * panel + row * GROUP);
                    for slot in 0..C::SLOTS {
                        let to = gates.add(slot * panel);
                        let bias = V::load(self.bias.add((group * C::SLOTS + slot) * GROUP));
                        match self.input {
                            Input::Table(table, index)
                                if slot >= x_first && slot < x_first + x_count =>
                            {
                                let at = group * x_count + slot - x_first;
                                let table_rows = table.rows();
                                let from = table.blocks().as_ptr().add(at * table_rows).cast::<T>();
                                for b in 0..rows {
                                    let at = *index.get_unchecked(row + b) as usize;
                                    V::load(from.add(at * GROUP)).store(to.add(b * GROUP));
                                }
                            }
                            _ => {
                                for b in 0..rows {
                                    bias.store(to.add(b * GROUP));
                                }
                            }
                        }
                    }
                    if let Input::Rows(x, weight) = self.input {
                        let depth = weight.depth();
                        panel_product::<V>(
                            rows,
                            x_count,
                            gates.add(x_first * panel),
                            panel,
                            Left {
                                start: x.blocks().as_ptr().add(row).cast::<T>(),
                                group_stride: x.rows() * GROUP,
                                depth,
                            },
                            weight
                                .blocks()
                                .as_ptr()
                                .add(group * x_count * depth)
                                .cast::<T>(),
                            depth * GROUP,
                        );
                    }
                    panel_product::<V>(
                        rows,
                        h_count,
                        gates.add(h_first * panel),
                        panel,
                        Left {
                            start: previous.fed,
                            group_stride: previous.panel,
                            depth: self.hidden,
                        },
                        self.weight_hh.add(group * h_count * self.hidden * GROUP),
                        self.hidden * GROUP,
                    );
                    for b in 0..rows {
                        let mut slots = [V::splat(T::ZERO); 4];
                        for slot in 0..C::SLOTS {
                            slots[slot] = V::load(gates.add(slot * panel + b * GROUP));
                        }
                        let from = group * previous.panel + b * GROUP;
                        let to = group * panel + (row + b) * GROUP;
                        let h_previous = V::load(previous.h.add(from));
                        let c_previous = if C::HAS_C {
                            V::load(previous.c.add(from))
                        } else {
                            V::splat(T::ZERO)
                        };
                        let (h, c) = self.cell.forward(&mut slots, h_previous, c_previous);
                        for slot in 0..C::SLOTS {
                            slots[slot].store(gates.add(slot * panel + b * GROUP));
                        }
                        h.store(self.h.add(to));
                        if is_masked {
                            let at = (group * batch + self.rows.start + b) * GROUP;
                            let mask = V::load(self.fed.mask.get().add(at));
                            h.mul(mask).store(self.fed.h.get().add(to));
                        }
                        if C::HAS_C {
                            c.store(self.c.add(to));
                        }
                    }
                }
            }
        }
    }
}

pub(crate) fn check_offsets(offsets: &[usize]) -> (usize, usize) {
    assert!(offsets.len() >= 2 && offsets[0] == 0, "offsets {offsets:?}");
    let mut live = offsets[1];
    for step in offsets.windows(2) {
        assert!(
            step[1] >= step[0] && step[1] - step[0] <= live,
            "offsets {offsets:?}"
        );
        live = step[1] - step[0];
    }
    (offsets[1], offsets[offsets.len() - 1])
}

/// Runs a layer forward through all steps.
///
/// # Panics
/// If the sizes do not fit together.
pub fn forward<T: Scalar, C: Cell>(compute: &Compute, cell: C, args: Forward<'_, T>) {
    T::forward(compute, cell.any(), args);
}

pub(crate) fn forward_of<T: Scalar, C: Cell>(compute: &Compute, cell: C, args: Forward<'_, T>) {
    let (batch, total) = check_offsets(args.offsets);
    let hidden = args.weight_hh.depth();
    let panels = groups(hidden) * C::SLOTS;
    assert_eq!(
        args.weight_hh.panels(),
        groups(hidden) * C::H.1.len(),
        "weight_hh"
    );
    assert_eq!(
        (args.gates.rows(), args.gates.groups()),
        (total, panels),
        "gates"
    );
    assert_eq!(
        (args.h_0.rows(), args.h_0.columns()),
        (batch, hidden),
        "h_0"
    );
    assert_eq!((args.h.rows(), args.h.columns()), (total, hidden), "h");
    assert_eq!(args.bias.len(), panels, "bias");
    if C::HAS_C {
        assert_eq!(
            (args.c_0.rows(), args.c_0.columns()),
            (batch, hidden),
            "c_0"
        );
        assert_eq!((args.c.rows(), args.c.columns()), (total, hidden), "c");
    }
    let x_panels = groups(hidden) * C::X.1.len();
    match args.input {
        Input::Rows(x, weight) => {
            assert_eq!((x.rows(), x.columns()), (total, weight.depth()), "x");
            assert_eq!(weight.panels(), x_panels, "weight_ih");
        }
        Input::Table(table, index) => {
            assert_eq!((table.groups(), index.len()), (x_panels, total), "table");
            assert!(
                index.iter().all(|&at| (at as usize) < table.rows()),
                "index past {}",
                table.rows()
            );
        }
    }
    let gates = Shared::new(args.gates.blocks_mut());
    let h = Shared::of_blocks(args.h.blocks_mut());
    let fed = Fed::new(args.masked, args.h_0, h, total);
    let c = Shared::new(args.c.blocks_mut());
    let (h_0, c_0) = (args.h_0.blocks(), args.c_0.blocks());
    compute.split(batch, 1, |rows| {
        compute.isa().run(ForwardRows {
            cell,
            offsets: args.offsets,
            rows,
            hidden,
            input: args.input,
            weight_hh: args.weight_hh.blocks().as_ptr().cast::<T>(),
            bias: args.bias.as_ptr().cast::<T>(),
            gates: gates.get().cast::<T>(),
            h_0: h_0.as_ptr().cast::<T>(),
            c_0: c_0.as_ptr().cast::<T>(),
            h: h.get(),
            c: c.get().cast::<T>(),
            fed,
        });
    });
}

/// The backward pass of one layer over a packed sequence.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// As in [`Forward`].
    pub offsets: &'a [usize],
    /// `W_hh` packed transposed.
    pub weight_hh: &'a Packed<T>,
    /// `W_ih` packed transposed, and where the gradient of the features goes (rows over time), where it is wanted.
    pub d_x: Option<(&'a Packed<T>, &'a mut Panels<T>)>,
    /// The activated gates of the forward pass; overwritten by the gradients of the sums before activation.
    pub gates: &'a mut Panels<T>,
    /// As in [`Forward`].
    pub h_0: &'a Panels<T>,
    /// As in [`Forward`].
    pub c_0: &'a Panels<T>,
    /// As written by [`forward`].
    pub h: &'a Panels<T>,
    /// As written by [`forward`].
    pub c: &'a Panels<T>,
    /// Gradient of the outputs, rows over time.
    pub d_output: &'a Panels<T>,
    /// Gradient of each row's last hidden state, batch rows; overwritten by the gradient of h_0.
    pub d_h: &'a mut Panels<T>,
    /// The same for the cell state.
    pub d_c: &'a mut Panels<T>,
    /// With recurrent dropout: the mask as in [`MaskedState`], and space of the same size.
    pub masked: Option<(&'a Panels<T>, &'a mut Panels<T>)>,
    /// Where somebody looks on.
    pub watched: Option<StateGradients<'a, T>>,
}

/// Written by a backward pass for who wants to see what flows back: the whole gradient of each step's states, through
/// everything that reads them.
#[derive(Debug)]
pub struct StateGradients<'a, T> {
    /// Of the hidden states, rows over time.
    pub d_h: &'a mut Panels<T>,
    /// Of the cell states, through the hidden state of the same step too, where the cell has them; else not touched.
    pub d_c: &'a mut Panels<T>,
}

/// Where they go; nowhere, mostly.
#[derive(Clone, Copy)]
pub(crate) struct Watched<T> {
    pub(crate) d_h: Option<Shared<T>>,
    pub(crate) d_c: Option<Shared<T>>,
}

impl<T: Scalar> Watched<T> {
    /// # Panics
    /// If a size is not `(total, hidden)`.
    pub(crate) fn new(
        watched: Option<StateGradients<'_, T>>,
        size: (usize, usize),
        has_c: bool,
    ) -> Self {
        let place = |name: &str, panels: &mut Panels<T>| {
            assert_eq!((panels.rows(), panels.columns()), size, "watched {name}");
            Shared::of_blocks(panels.blocks_mut())
        };
        let Some(StateGradients { d_h, d_c }) = watched else {
            return Self {
                d_h: None,
                d_c: None,
            };
        };
        Self {
            d_h: Some(place("d_h", d_h)),
            d_c: has_c.then(|| place("d_c", d_c)),
        }
    }
}

/// Writes lanes where they are wanted.
#[inline(always)]
pub(crate) unsafe fn watch<V: Lanes>(to: Option<Shared<V::Scalar>>, at: usize, lanes: V) {
    if let Some(to) = to {
        // SAFETY: the caller gives a place of its own rows.
        unsafe { lanes.store(to.get().add(at)) };
    }
}

struct BackwardRows<'a, T, C> {
    cell: C,
    offsets: &'a [usize],
    rows: std::ops::Range<usize>,
    hidden: usize,
    weight_hh: *const T,
    weight_ih: *const T,
    input_groups: usize,
    d_x: *mut T,
    gates: *mut T,
    h_0: *const T,
    c_0: *const T,
    h: *const T,
    c: *const T,
    d_output: *const T,
    d_h: *mut T,
    d_c: *mut T,
    fed: FedGradient<T>,
    watched: Watched<T>,
}

/// `d += d_gates · W` for one side of the cell; the chain goes through the groups upwards, and in each through the side's
/// slots.
#[inline(always)]
pub(crate) unsafe fn gates_product<V: Lanes>(
    rows: usize,
    panels: usize,
    d: *mut V::Scalar,
    d_panel: usize,
    gates: *const V::Scalar,
    gate_panel: usize,
    (slots, first, count): (usize, usize, usize),
    group_count: usize,
    w: *const V::Scalar,
) {
    let depth = group_count * count * GROUP;
    // Where the side has all slots, the groups follow each other without a gap: one long chain.
    let (runs, run_slots) = if count == slots {
        (1, group_count * count)
    } else {
        (group_count, count)
    };
    // SAFETY: as in `panel_product`.
    unsafe {
        for run in 0..runs {
            let left = Left {
                start: gates.add((run * slots + first) * gate_panel),
                group_stride: gate_panel,
                depth: run_slots * GROUP,
            };
            let w = w.add(run * run_slots * GROUP * GROUP);
            panel_product::<V>(rows, panels, d, d_panel, left, w, depth * GROUP);
        }
    }
}

impl<T: Scalar, C: Cell> Kernel<T> for BackwardRows<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let batch = self.offsets[1] - self.offsets[0];
        let steps = self.offsets.len() - 1;
        let total = self.offsets[steps];
        let hidden_groups = groups(self.hidden);
        let panel = total * GROUP;
        let carry_panel = batch * GROUP;
        let zero = V::splat(T::ZERO);
        // SAFETY: `backward` has checked the sizes and gives each thread rows of its own.
        unsafe {
            // Rows that have been reached, going from the last step to the first; the carried gradient of a row not yet
            // reached is that of its last state.
            let mut reached = self.rows.start;
            for t in (0..steps).rev() {
                let start = self.offsets[t];
                let end = self.rows.end.min(self.offsets[t + 1] - start);
                if self.rows.start >= end {
                    continue;
                }
                // A row that ends here: its output's gradient joins that of its last state. For the others the chain
                // of the later step started from it.
                for group in 0..hidden_groups {
                    for b in reached..end {
                        let to = self.d_h.add(group * carry_panel + b * GROUP);
                        let d_output = self.d_output.add(group * panel + (start + b) * GROUP);
                        V::load(d_output).add(V::load(to)).store(to);
                    }
                }
                reached = reached.max(end);
                let rows = end - self.rows.start;
                let row = start + self.rows.start;
                let previous = if t == 0 {
                    let at = self.rows.start * GROUP;
                    Previous {
                        h: self.h_0.add(at),
                        c: self.c_0.wrapping_add(at),
                        fed: std::ptr::null(),
                        panel: carry_panel,
                    }
                } else {
                    let at = (self.offsets[t - 1] + self.rows.start) * GROUP;
                    Previous {
                        h: self.h.add(at),
                        c: self.c.wrapping_add(at),
                        fed: std::ptr::null(),
                        panel,
                    }
                };
                let before = if t == 0 {
                    None
                } else {
                    Some(self.offsets[t - 1] + self.rows.start)
                };
                for group in 0..hidden_groups {
                    let gates = self.gates.add(group * C::SLOTS * panel + row * GROUP);
                    let carried = group * carry_panel + self.rows.start * GROUP;
                    for b in 0..rows {
                        let mut slots = [zero; 4];
                        for slot in 0..C::SLOTS {
                            slots[slot] = V::load(gates.add(slot * panel + b * GROUP));
                        }
                        let at = carried + b * GROUP;
                        let from = group * previous.panel + b * GROUP;
                        let now = group * panel + (row + b) * GROUP;
                        let step = BackwardStep {
                            d_h: V::load(self.d_h.add(at)),
                            d_c: if C::HAS_C {
                                V::load(self.d_c.add(at))
                            } else {
                                zero
                            },
                            h_previous: if C::DIRECT {
                                V::load(previous.h.add(from))
                            } else {
                                zero
                            },
                            c_previous: if C::HAS_C {
                                V::load(previous.c.add(from))
                            } else {
                                zero
                            },
                            c: if C::HAS_C {
                                V::load(self.c.add(now))
                            } else {
                                zero
                            },
                        };
                        watch(self.watched.d_h, now, step.d_h);
                        let d_carried = self.cell.carried_backward(&mut slots, &step);
                        watch(self.watched.d_c, now, d_carried);
                        let (direct, d_c) = self.cell.carry_backward(
                            &mut slots,
                            step.h_previous,
                            step.c_previous,
                            d_carried,
                        );
                        for slot in 0..C::SLOTS {
                            slots[slot].store(gates.add(slot * panel + b * GROUP));
                        }
                        if C::HAS_C {
                            d_c.store(self.d_c.add(at));
                        }
                        // The chain of d_h_(t-1) starts from what reaches it beside the matrix.
                        let d_output = match before {
                            Some(row) => {
                                V::load(self.d_output.add(group * panel + (row + b) * GROUP))
                            }
                            None => zero,
                        };
                        let start = if C::DIRECT {
                            d_output.add(direct)
                        } else {
                            d_output
                        };
                        start.store(self.d_h.add(at));
                    }
                }
                let gates = self.gates.add(row * GROUP).cast_const();
                let own = (self.rows.start, rows);
                let d_fed = self
                    .fed
                    .begin::<V>(own, self.d_h, carry_panel, hidden_groups);
                gates_product::<V>(
                    rows,
                    hidden_groups,
                    d_fed,
                    carry_panel,
                    gates,
                    panel,
                    (C::SLOTS, C::H.0, C::H.1.len()),
                    hidden_groups,
                    self.weight_hh,
                );
                self.fed.end::<V>(own, self.d_h, carry_panel, hidden_groups);
                if self.input_groups > 0 {
                    for group in 0..self.input_groups {
                        for b in 0..rows {
                            zero.store(self.d_x.add(group * panel + (row + b) * GROUP));
                        }
                    }
                    gates_product::<V>(
                        rows,
                        self.input_groups,
                        self.d_x.add(row * GROUP),
                        panel,
                        gates,
                        panel,
                        (C::SLOTS, C::X.0, C::X.1.len()),
                        hidden_groups,
                        self.weight_ih,
                    );
                }
            }
        }
    }
}

/// Runs a layer backward through all steps: backpropagation through time.
///
/// The gradients of the weights are products over the gradients of the sums, which this leaves in `gates`.
///
/// # Panics
/// If the sizes do not fit together.
pub fn backward<T: Scalar, C: Cell>(compute: &Compute, cell: C, args: Backward<'_, T>) {
    T::backward(compute, cell.any(), args);
}

pub(crate) fn backward_of<T: Scalar, C: Cell>(compute: &Compute, cell: C, args: Backward<'_, T>) {
    let (batch, total) = check_offsets(args.offsets);
    let hidden = args.h.columns();
    let hidden_groups = groups(hidden);
    assert_eq!(
        (args.weight_hh.panels(), args.weight_hh.depth()),
        (hidden_groups, hidden_groups * C::H.1.len() * GROUP),
        "weight_hh"
    );
    assert_eq!(
        (args.gates.rows(), args.gates.groups()),
        (total, hidden_groups * C::SLOTS),
        "gates"
    );
    assert_eq!(
        (args.h_0.rows(), args.h_0.columns()),
        (batch, hidden),
        "h_0"
    );
    assert_eq!(args.h.rows(), total, "h");
    assert_eq!(
        (args.d_output.rows(), args.d_output.columns()),
        (total, hidden),
        "d_output"
    );
    assert_eq!(
        (args.d_h.rows(), args.d_h.columns()),
        (batch, hidden),
        "d_h"
    );
    if C::HAS_C {
        assert_eq!(
            (args.c_0.rows(), args.c_0.columns()),
            (batch, hidden),
            "c_0"
        );
        assert_eq!((args.c.rows(), args.c.columns()), (total, hidden), "c");
        assert_eq!(
            (args.d_c.rows(), args.d_c.columns()),
            (batch, hidden),
            "d_c"
        );
    }
    let (weight_ih, d_x, input_groups) = match args.d_x {
        Some((weight, d_x)) => {
            assert_eq!(
                (d_x.rows(), d_x.groups(), weight.depth()),
                (total, weight.panels(), hidden_groups * C::X.1.len() * GROUP),
                "d_x"
            );
            (
                weight.blocks().as_ptr().cast::<T>(),
                Some(Shared::new(d_x.blocks_mut())),
                weight.panels(),
            )
        }
        None => (std::ptr::null(), None, 0),
    };
    let weight_ih = Shared::from_const(weight_ih);
    let gates = Shared::new(args.gates.blocks_mut());
    let fed = FedGradient::new(args.masked, args.d_h);
    let watched = Watched::new(args.watched, (total, hidden), C::HAS_C);
    let d_h = Shared::new(args.d_h.blocks_mut());
    let d_c = Shared::new(args.d_c.blocks_mut());
    let (h, c, h_0, c_0) = (args.h, args.c, args.h_0, args.c_0);
    let (weight_hh, d_output) = (args.weight_hh, args.d_output);
    let offsets = args.offsets;
    compute.split(batch, 1, |rows| {
        compute.isa().run(BackwardRows {
            cell,
            offsets,
            rows,
            hidden,
            weight_hh: weight_hh.blocks().as_ptr().cast::<T>(),
            weight_ih: weight_ih.get().cast_const(),
            input_groups,
            d_x: d_x.map_or(std::ptr::null_mut(), |d_x| d_x.get().cast::<T>()),
            gates: gates.get().cast::<T>(),
            h_0: h_0.blocks().as_ptr().cast::<T>(),
            c_0: c_0.blocks().as_ptr().cast::<T>(),
            h: h.blocks().as_ptr().cast::<T>(),
            c: c.blocks().as_ptr().cast::<T>(),
            d_output: d_output.blocks().as_ptr().cast::<T>(),
            d_h: d_h.get().cast::<T>(),
            d_c: d_c.get().cast::<T>(),
            fed,
            watched,
        });
    });
}
