//! Every implementation equals the definition bit for bit: one chain of fused multiply-adds an element, written here as
//! plain loops, whatever the shapes, the instruction set and the threads.

#[path = "chains/attention.rs"]
mod attention;
#[path = "chains/norms.rs"]
mod norms;

use proptest::prelude::*;
use refrain_kernels::{
    Backward, Block, Cell, Compute, Forward, GROUP, GateOrder, GruCell, Input, Isa, LstmCell,
    Packed, Panels, RnnCell, RowRun, Scalar, Slots, StateGradients, backward, column_sums, forward,
    gradient_product, groups, product, softmax_cross_entropy, sum_rows_by_index,
};

/// Numbers without pattern, in -1..1.
fn numbers<T: Scalar>(count: usize, seed: u32) -> Vec<T> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::from_f64(f64::from(state >> 8) / 8_388_608.0 - 1.0)
        })
        .collect()
}

fn panels<T: Scalar>(rows: usize, columns: usize, seed: u32) -> Panels<T> {
    let mut panels = Panels::new(rows, columns);
    panels.copy_from_rows(0, &numbers::<T>(rows * columns, seed));
    panels
}

fn computes() -> Vec<Compute> {
    let several = [2, 3].map(|threads| Compute::new(Isa::detect(), threads));
    let alone = Isa::available().into_iter().map(Compute::single);
    alone.chain(several).collect()
}

fn check_product<T: Scalar>(rows: usize, depth: usize, columns: usize, seed: u32) {
    let a = panels::<T>(rows, depth, seed);
    let weight = numbers::<T>(columns * depth, seed + 1);
    let bias = numbers::<T>(columns, seed + 2);
    let mut expected = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let mut sum = bias[column];
            for k in 0..depth {
                sum = a.get(row, k).mul_add(weight[column * depth + k], sum);
            }
            expected.push(sum);
        }
    }
    let mut packed = Packed::default();
    packed.pack(&weight, GateOrder::plain(columns), depth);
    let mut blocks = vec![Block::ZERO; groups(columns)];
    for (block, part) in blocks.iter_mut().zip(bias.chunks(GROUP)) {
        block.0[..part.len()].copy_from_slice(part);
    }
    for compute in computes() {
        let mut c = Panels::new(rows, columns);
        product(&compute, &a, &packed, Some(&blocks), &mut c);
        assert_eq!(c.to_rows(0, rows), expected, "{compute:?}");
    }
}

/// The gradient of a weight over steps with so many rows each, from the last step to the first.
fn check_gradient<T: Scalar>(batches: &[usize], depth: usize, columns: usize, seed: u32) {
    let rows = batches.iter().sum();
    let a = panels::<T>(rows, depth, seed);
    let b = panels::<T>(rows, columns, seed + 1);
    let mut at = rows;
    let run = |&batch: &usize| {
        at -= batch;
        RowRun {
            a: at,
            b: at,
            rows: batch,
        }
    };
    let runs: Vec<RowRun> = batches.iter().rev().map(run).collect();
    let index: Vec<u32> = (0..rows as u32).map(|row| row * 7 % 5).collect();
    let mut expected = vec![T::ZERO; columns * depth];
    let mut sums = vec![T::ZERO; columns];
    let mut by_index = vec![T::ZERO; 5 * columns];
    for run in &runs {
        for row in run.b..run.b + run.rows {
            for column in 0..columns {
                let d = b.get(row, column);
                sums[column] += d;
                by_index[index[row] as usize * columns + column] += d;
                for k in 0..depth {
                    let sum = &mut expected[column * depth + k];
                    *sum = a.get(row, k).mul_add(d, *sum);
                }
            }
        }
    }
    for compute in computes() {
        let mut c = Packed::default();
        c.reset(groups(columns), depth);
        gradient_product(&compute, &runs, &a, &b, Slots::PLAIN, &mut c);
        let mut found = vec![T::ZERO; columns * depth];
        c.unpack(&mut found, GateOrder::plain(columns));
        assert_eq!(found, expected, "{compute:?}");
        let mut blocks = vec![Block::ZERO; groups(columns)];
        column_sums(&compute, &runs, &b, &mut blocks);
        let found: Vec<T> = blocks
            .iter()
            .flat_map(|block| block.0)
            .take(columns)
            .collect();
        assert_eq!(found, sums, "{compute:?}");
        let mut found = Panels::new(5, columns);
        sum_rows_by_index(&compute, &runs, &index, &b, Slots::PLAIN, &mut found);
        assert_eq!(found.to_rows(0, 5), by_index, "{compute:?}");
    }
}

/// All that a pass over a layer gives.
#[derive(Debug, PartialEq)]
struct Pass<T> {
    h: Panels<T>,
    c: Panels<T>,
    gates: Panels<T>,
    d_gates: Panels<T>,
    d_x: Panels<T>,
    d_h: Panels<T>,
    d_c: Panels<T>,
    watched: [Panels<T>; 2],
}

struct Layer<T> {
    hidden: usize,
    input: usize,
    ih: Packed<T>,
    hh: Packed<T>,
    ih_t: Packed<T>,
    hh_t: Packed<T>,
    bias: Vec<Block<T>>,
}

fn layer<T: Scalar, C: Cell>(input: usize, hidden: usize, seed: u32) -> Layer<T> {
    let x_order = GateOrder {
        gates: C::X.1,
        size: hidden,
    };
    let h_order = GateOrder {
        gates: C::H.1,
        size: hidden,
    };
    let (mut ih, mut hh, mut ih_t, mut hh_t) = (
        Packed::default(),
        Packed::default(),
        Packed::default(),
        Packed::default(),
    );
    let weight_ih = numbers::<T>(x_order.rows() * input, seed);
    let weight_hh = numbers::<T>(h_order.rows() * hidden, seed + 1);
    ih.pack(&weight_ih, x_order, input);
    hh.pack(&weight_hh, h_order, hidden);
    ih_t.pack_transposed(&weight_ih, x_order, input);
    hh_t.pack_transposed(&weight_hh, h_order, hidden);
    let mut bias = vec![Block::ZERO; groups(hidden) * C::SLOTS];
    for group in 0..groups(hidden) {
        for slot in 0..C::SLOTS {
            let count = GROUP.min(hidden - group * GROUP);
            bias[group * C::SLOTS + slot].0[..count]
                .copy_from_slice(&numbers::<T>(count, seed + 2 + (group * 4 + slot) as u32));
        }
    }
    Layer {
        hidden,
        input,
        ih,
        hh,
        ih_t,
        hh_t,
        bias,
    }
}

fn rows_of<T: Scalar>(from: &Panels<T>, rows: impl Iterator<Item = usize>) -> Panels<T> {
    let rows: Vec<usize> = rows.collect();
    let mut to = Panels::new(rows.len(), from.columns());
    for (at, &row) in rows.iter().enumerate() {
        to.copy_rows(at, from, row, 1);
    }
    to
}

fn pass<T: Scalar, C: Cell>(
    compute: &Compute,
    cell: C,
    layer: &Layer<T>,
    offsets: &[usize],
    x: &Panels<T>,
    state: (&Panels<T>, &Panels<T>),
    d_output: &Panels<T>,
) -> Pass<T> {
    let rows = x.rows();
    let batch = offsets[1];
    let mut gates = Panels::new(rows, groups(layer.hidden) * C::SLOTS * GROUP);
    let (mut h, mut c) = (
        Panels::new(rows, layer.hidden),
        Panels::new(rows, layer.hidden),
    );
    let args = Forward {
        offsets,
        input: Input::Rows(x, &layer.ih),
        weight_hh: &layer.hh,
        bias: &layer.bias,
        gates: &mut gates,
        h_0: state.0,
        c_0: state.1,
        h: &mut h,
        c: &mut c,
        masked: None,
    };
    forward(compute, cell, args);
    let activated = gates.clone();
    let mut d_x = Panels::new(rows, layer.input);
    let mut d_h = panels(batch, layer.hidden, 77);
    let mut d_c = panels(batch, layer.hidden, 78);
    let mut watched = [(); 2].map(|()| Panels::new(rows, layer.hidden));
    let [watched_h, watched_c] = &mut watched;
    let args = Backward {
        offsets,
        weight_hh: &layer.hh_t,
        d_x: Some((&layer.ih_t, &mut d_x)),
        gates: &mut gates,
        h_0: state.0,
        c_0: state.1,
        h: &h,
        c: &c,
        d_output,
        d_h: &mut d_h,
        d_c: &mut d_c,
        masked: None,
        watched: Some(StateGradients {
            d_h: watched_h,
            d_c: watched_c,
        }),
    };
    backward(compute, cell, args);
    Pass {
        h,
        c,
        gates: activated,
        d_gates: gates,
        d_x,
        d_h,
        d_c,
        watched,
    }
}

fn check_layer<T: Scalar, C: Cell + std::fmt::Debug>(
    cell: C,
    lengths: &[usize],
    input: usize,
    hidden: usize,
    seed: u32,
) {
    let layer = layer::<T, C>(input, hidden, seed);
    let batch = lengths.len();
    let mut offsets = vec![0];
    for t in 0..lengths[0] {
        offsets.push(offsets[t] + lengths.iter().filter(|&&length| length > t).count());
    }
    let rows = offsets[offsets.len() - 1];
    let x = panels::<T>(rows, input, seed + 3);
    let h_0 = panels::<T>(batch, hidden, seed + 4);
    let c_0 = panels::<T>(batch, hidden, seed + 5);
    let d_output = panels::<T>(rows, hidden, seed + 6);
    let scalar = pass(
        &Compute::single(Isa::SCALAR),
        cell,
        &layer,
        &offsets,
        &x,
        (&h_0, &c_0),
        &d_output,
    );
    for compute in computes() {
        let found = pass(
            &compute,
            cell,
            &layer,
            &offsets,
            &x,
            (&h_0, &c_0),
            &d_output,
        );
        assert_eq!(found, scalar, "{cell:?} {compute:?}");
    }
    // A row of the batch is that row alone: padding and neighbours are inert.
    for (row, &length) in lengths.iter().enumerate() {
        let at = || (0..length).map(|t| offsets[t] + row);
        let alone_offsets: Vec<usize> = (0..=length).collect();
        let compute = Compute::single(Isa::detect());
        let (h, c) = (rows_of(&h_0, row..row + 1), rows_of(&c_0, row..row + 1));
        let (x, d_output) = (rows_of(&x, at()), rows_of(&d_output, at()));
        let alone = pass(
            &compute,
            cell,
            &layer,
            &alone_offsets,
            &x,
            (&h, &c),
            &d_output,
        );
        assert_eq!(alone.h, rows_of(&scalar.h, at()), "{cell:?} h of row {row}");
        if C::HAS_C {
            assert_eq!(alone.c, rows_of(&scalar.c, at()), "{cell:?} c of row {row}");
        }
        // The gradients of the last states differ by construction (each row has its own), so only for row 0.
        if row == 0 {
            assert_eq!(
                alone.d_x,
                rows_of(&scalar.d_x, at()),
                "{cell:?} d_x of row {row}"
            );
            assert_eq!(
                alone.d_h,
                rows_of(&scalar.d_h, 0..1),
                "{cell:?} d_h of row {row}"
            );
        }
    }
    // Two chunks with the state carried are the whole.
    if lengths.iter().all(|&length| length == lengths[0]) && lengths[0] > 1 {
        let half = lengths[0] / 2;
        let compute = Compute::single(Isa::detect());
        let first = pass(
            &compute,
            cell,
            &layer,
            &offsets[..=half],
            &rows_of(&x, 0..half * batch),
            (&h_0, &c_0),
            &rows_of(&d_output, 0..half * batch),
        );
        let last = (half - 1) * batch..half * batch;
        let rest: Vec<usize> = offsets[half..].iter().map(|at| at - half * batch).collect();
        let second = pass(
            &compute,
            cell,
            &layer,
            &rest,
            &rows_of(&x, half * batch..rows),
            (&rows_of(&first.h, last.clone()), &rows_of(&first.c, last)),
            &rows_of(&d_output, half * batch..rows),
        );
        assert_eq!(
            first.h,
            rows_of(&scalar.h, 0..half * batch),
            "{cell:?} first chunk"
        );
        assert_eq!(
            second.h,
            rows_of(&scalar.h, half * batch..rows),
            "{cell:?} second chunk"
        );
        assert_eq!(
            second.d_x,
            rows_of(&scalar.d_x, half * batch..rows),
            "{cell:?} d_x of the second chunk"
        );
    }
}

fn check_softmax<T: Scalar>(rows: usize, classes: usize, seed: u32, tolerance: f64) {
    let scores = panels::<T>(rows, classes, seed);
    let targets: Vec<u32> = (0..rows)
        .map(|row| ((row * 5 + seed as usize) % classes) as u32)
        .collect();
    let mut expected: Option<(Panels<T>, Vec<f64>)> = None;
    for compute in computes() {
        let mut logits = scores.clone();
        let mut losses = vec![0.0; rows];
        softmax_cross_entropy(&compute, &mut logits, &targets, Some(0.5), &mut losses);
        for row in 0..rows {
            let exp: Vec<f64> = (0..classes)
                .map(|k| libm::exp(scores.get(row, k).to_f64()))
                .collect();
            let sum: f64 = exp.iter().sum();
            let target = targets[row] as usize;
            assert!(
                (losses[row] + libm::log(exp[target] / sum)).abs() < tolerance,
                "{classes} classes"
            );
            for k in 0..classes {
                let wanted = 0.5 * (exp[k] / sum - f64::from(u8::from(k == target)));
                assert!((logits.get(row, k).to_f64() - wanted).abs() < tolerance);
            }
        }
        match &expected {
            None => expected = Some((logits, losses)),
            Some(expected) => assert_eq!(*expected, (logits, losses), "{compute:?}"),
        }
    }
}

macro_rules! stamped {
    ($module:ident, $type:ty, $tolerance:expr) => {
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(24))]

                #[test]
                fn products_are_chains(
                    rows in 1usize..70, depth in 1usize..70, columns in 1usize..70, seed in 0u32..1000,
                ) {
                    check_product::<$type>(rows, depth, columns, seed);
                }

                #[test]
                fn gradients_are_chains_from_the_last_step_to_the_first(
                    steps in 1usize..9, batch in 1usize..20, depth in 1usize..40, columns in 1usize..70,
                    seed in 0u32..1000,
                ) {
                    check_gradient::<$type>(&vec![batch; steps], depth, columns, seed);
                }

                #[test]
                fn layers_are_the_same_everywhere(
                    mut lengths in prop::collection::vec(1usize..6, 1..9), equal in any::<bool>(),
                    input in 1usize..20, hidden in 1usize..36, seed in 0u32..1000,
                ) {
                    lengths.sort_unstable_by(|a, b| b.cmp(a));
                    if equal {
                        let longest = lengths[0];
                        lengths.fill(longest);
                    }
                    check_layer::<$type, _>(RnnCell::Tanh, &lengths, input, hidden, seed);
                    check_layer::<$type, _>(RnnCell::Relu, &lengths, input, hidden, seed);
                    check_layer::<$type, _>(GruCell, &lengths, input, hidden, seed);
                    check_layer::<$type, _>(LstmCell, &lengths, input, hidden, seed);
                }

                #[test]
                fn softmax_is_right_and_the_same_everywhere(
                    rows in 1usize..200, classes in 1usize..70, seed in 0u32..1000,
                ) {
                    check_softmax::<$type>(rows, classes, seed, $tolerance);
                }
            }

            #[test]
            fn long_chains_continue_across_blocks() {
                check_product::<$type>(130, 700, 40, 3);
                check_gradient::<$type>(&[33; 40], 600, 33, 4);
                check_gradient::<$type>(&[700], 20, 33, 5);
                // Sequences that end: no two steps alike, some longer than any block.
                let ending = [1500, 700, 300, 130, 64, 64, 63, 31, 30, 12, 3, 1, 1];
                check_gradient::<$type>(&ending, 40, 50, 6);
            }
        }
    };
}

stamped!(single, f32, 1e-5);
stamped!(double, f64, 1e-12);
