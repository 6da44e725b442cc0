//! Layer norm inside the time loop, recurrent dropout, batch norm.

use proptest::prelude::*;
use refrain_kernels::{
    BatchNormBackward, Block, Cell, ColumnScaling, Compute, DropoutKey, GROUP, GateOrder, GruCell,
    Isa, LstmCell, MaskedState, NORM_EPSILON, NormBackward, NormForward, NormInput, Packed, Panels,
    RnnCell, RowRun, Scalar, Slots, StateGradients, batch_norm_backward, column_moments,
    column_products, dropout, groups, layer_norm, layer_norm_backward, norm_backward, norm_forward,
    scale_columns,
};

use super::{computes, numbers, panels, rows_of};

/// `numbers` as blocks with padding: `slots` for each group of `units` units.
fn unit_blocks<T: Scalar>(units: usize, slots: usize, seed: u32) -> Vec<Block<T>> {
    let mut blocks = vec![Block::ZERO; groups(units) * slots];
    for (at, block) in blocks.iter_mut().enumerate() {
        let count = GROUP.min(units - at / slots * GROUP);
        block.0[..count].copy_from_slice(&numbers(count, seed + at as u32));
    }
    blocks
}

/// Rows of slots whose padding is zero.
fn unit_panels<T: Scalar>(rows: usize, units: usize, slots: usize, seed: u32) -> Panels<T> {
    let mut panels = Panels::new(rows, groups(units) * slots * GROUP);
    for row in 0..rows {
        let blocks = unit_blocks::<T>(units, slots, seed + row as u32 * 31);
        for (at, block) in blocks.iter().enumerate() {
            panels.blocks_mut()[at * rows + row] = *block;
        }
    }
    panels
}

/// The sum of sixteen lanes' sums, as the kernels define it.
fn row_sum<T: Scalar>(blocks: impl Iterator<Item = [T; GROUP]>) -> f64 {
    let mut lanes = [T::ZERO; GROUP];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += x;
        }
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane.to_f64())
}

fn check_layer_norm<T: Scalar>(rows: usize, units: usize, slots: usize, seed: u32) {
    let values = unit_panels::<T>(rows, units, slots, seed);
    let count = (units * slots) as f64;
    let (mut expected, mut factors) = (values.clone(), Vec::new());
    for row in 0..rows {
        let blocks = groups(units) * slots;
        let block = |at: usize| values.blocks()[at * rows + row].0;
        let mean = T::from_f64(row_sum((0..blocks).map(block)) / count);
        let is_unit = |at: usize, lane: usize| at / slots * GROUP + lane < units;
        let distance = |at: usize| -> [T; GROUP] {
            std::array::from_fn(|lane| {
                if is_unit(at, lane) {
                    block(at)[lane] - mean
                } else {
                    T::ZERO
                }
            })
        };
        let mut lanes = [T::ZERO; GROUP];
        for at in 0..blocks {
            for (lane, x) in lanes.iter_mut().zip(distance(at)) {
                *lane = x.mul_add(x, *lane);
            }
        }
        let squares = lanes.iter().fold(0.0, |sum, lane| sum + lane.to_f64());
        let factor = T::from_f64(1.0 / (squares / count + NORM_EPSILON).sqrt());
        factors.push(factor);
        for at in 0..blocks {
            expected.blocks_mut()[at * rows + row] = Block(distance(at).map(|x| x * factor));
        }
    }
    let (gain, d) = (
        unit_blocks::<T>(units, slots, seed + 7),
        unit_panels::<T>(rows, units, slots, seed + 9),
    );
    let mut gradient: Option<(Panels<T>, Vec<Block<T>>)> = None;
    for compute in computes() {
        let (mut found, mut found_factors) = (values.clone(), vec![T::ZERO; rows]);
        layer_norm(&compute, units, &mut found, &mut found_factors);
        // Zeros may differ in their sign in the padding only.
        assert_eq!(found, expected, "{compute:?}");
        assert_eq!(found_factors, factors, "{compute:?}");
        let mut d_values = Panels::new(rows, values.columns());
        let all = Slots::all(slots);
        layer_norm_backward(
            &compute,
            units,
            &d,
            all,
            &found,
            &gain,
            &factors,
            &mut d_values,
        );
        let runs = [RowRun { a: 0, b: 0, rows }];
        let mut sums = vec![Block::ZERO; values.groups()];
        column_products(&compute, &runs, &found, &d, all, &mut sums);
        match &gradient {
            None => gradient = Some((d_values, sums)),
            Some(first) => assert_eq!(*first, (d_values, sums), "{compute:?}"),
        }
    }
}

fn check_batch_norm<T: Scalar>(rows: usize, columns: usize, seed: u32) {
    let (x, d) = (
        panels::<T>(rows, columns, seed),
        panels::<T>(rows, columns, seed + 1),
    );
    let (gain, bias) = (
        unit_blocks::<T>(columns, 1, seed + 2),
        unit_blocks::<T>(columns, 1, seed + 3),
    );
    // Parts of 64 rows in the numbers' own type, the parts in f64.
    let mut means = Vec::new();
    for column in 0..columns {
        let mut total = 0.0;
        for first in (0..rows).step_by(64) {
            let mut sum = T::ZERO;
            for row in first..rows.min(first + 64) {
                sum += x.get(row, column);
            }
            total += sum.to_f64();
        }
        means.push(T::from_f64(total / rows as f64));
    }
    let mut expected = None;
    for compute in computes() {
        let zeros = || vec![Block::<T>::ZERO; groups(columns)];
        let (mut mean, mut variance, mut d_gain, mut d_bias) = (zeros(), zeros(), zeros(), zeros());
        column_moments(&compute, &x, &mut mean, &mut variance);
        let found: Vec<T> = mean
            .iter()
            .flat_map(|block| block.0)
            .take(columns)
            .collect();
        assert_eq!(found, means, "{compute:?}");
        let (mut y, mut d_x) = (Panels::new(rows, columns), d.clone());
        let scaling = ColumnScaling {
            mean: &mean,
            factor: &variance,
            gain: &gain,
        };
        scale_columns(&compute, scaling, &bias, &x, &mut y);
        let args = BatchNormBackward {
            scaling,
            of_batch: seed.is_multiple_of(2),
            x: &x,
            d: &mut d_x,
            d_gain: &mut d_gain,
            d_bias: &mut d_bias,
        };
        batch_norm_backward(&compute, args);
        let all = (variance, y, d_x, d_gain, d_bias);
        match &expected {
            None => expected = Some(all),
            Some(expected) => assert_eq!(*expected, all, "{compute:?}"),
        }
    }
}

/// A layer with layer norm, as the kernels read it.
struct Layer<T> {
    hidden: usize,
    hh: Packed<T>,
    hh_t: Packed<T>,
    bias: Vec<Block<T>>,
    gain_x: Vec<Block<T>>,
    gain_h: Vec<Block<T>>,
    cell: (Vec<Block<T>>, Vec<Block<T>>),
}

impl<T: Scalar> Layer<T> {
    fn new<C: Cell>(hidden: usize, seed: u32) -> Self {
        let order = GateOrder {
            gates: C::H.1,
            size: hidden,
        };
        let weight = numbers::<T>(order.rows() * hidden, seed);
        let (mut hh, mut hh_t) = (Packed::default(), Packed::default());
        hh.pack(&weight, order, hidden);
        hh_t.pack_transposed(&weight, order, hidden);
        Self {
            hidden,
            hh,
            hh_t,
            bias: unit_blocks(hidden, C::SLOTS, seed + 1),
            gain_x: unit_blocks(hidden, C::X.1.len(), seed + 2),
            gain_h: unit_blocks(hidden, C::H.1.len(), seed + 3),
            cell: (
                unit_blocks(hidden, 1, seed + 4),
                unit_blocks(hidden, 1, seed + 5),
            ),
        }
    }
}

/// What a pass reads.
#[derive(Clone)]
struct Sources<T> {
    offsets: Vec<usize>,
    x: Panels<T>,
    h_0: Panels<T>,
    c_0: Panels<T>,
    mask: Panels<T>,
    d_output: Panels<T>,
    d_h: Panels<T>,
    d_c: Panels<T>,
}

/// All that it gives.
#[derive(Debug, PartialEq)]
struct Pass<T> {
    over_time: Vec<Panels<T>>,
    over_batch: Vec<Panels<T>>,
    factors: Vec<Vec<T>>,
}

fn pass<T: Scalar, C: Cell>(
    compute: &Compute,
    cell: C,
    layer: &Layer<T>,
    from: &Sources<T>,
    is_masked: bool,
) -> Pass<T> {
    let (rows, batch, hidden) = (from.x.rows(), from.offsets[1], layer.hidden);
    let matrix = |panels: usize| Panels::<T>::new(rows, groups(hidden) * panels * GROUP);
    let units = || Panels::<T>::new(rows, hidden);
    let (mut gates, mut norm_h) = (matrix(C::SLOTS), matrix(C::H.1.len()));
    let (mut h, mut c, mut norm_c, mut masked_h) = (units(), units(), units(), units());
    let mut masked_0 = Panels::new(batch, hidden);
    let (mut factor_h, mut factor_c) = (vec![T::ZERO; rows], vec![T::ZERO; rows]);
    let args = NormForward {
        offsets: &from.offsets,
        input: NormInput::Rows(&from.x),
        weight_hh: &layer.hh,
        bias: &layer.bias,
        gain_x: &layer.gain_x,
        gain_h: &layer.gain_h,
        cell: (&layer.cell.0, &layer.cell.1),
        gates: &mut gates,
        h_0: &from.h_0,
        c_0: &from.c_0,
        h: &mut h,
        c: &mut c,
        masked: is_masked.then_some(MaskedState {
            mask: &from.mask,
            h_0: &mut masked_0,
            h: &mut masked_h,
        }),
        norm_h: &mut norm_h,
        factor_h: &mut factor_h,
        norm_c: &mut norm_c,
        factor_c: &mut factor_c,
    };
    norm_forward(compute, cell, args);
    let activated = gates.clone();
    let (mut d_h, mut d_c) = (from.d_h.clone(), from.d_c.clone());
    let (mut d_sums_h, mut d_norm_c) = (matrix(C::H.1.len()), units());
    let mut space = Panels::new(batch, hidden);
    let (mut watched_h, mut watched_c) = (units(), units());
    let args = NormBackward {
        offsets: &from.offsets,
        weight_hh: &layer.hh_t,
        gain_h: &layer.gain_h,
        cell: (&layer.cell.0, &layer.cell.1),
        gates: &mut gates,
        h_0: &from.h_0,
        c_0: &from.c_0,
        h: &h,
        c: &c,
        norm_h: &norm_h,
        factor_h: &factor_h,
        norm_c: &norm_c,
        factor_c: &factor_c,
        d_output: &from.d_output,
        d_h: &mut d_h,
        d_c: &mut d_c,
        masked: is_masked.then_some((&from.mask, &mut space)),
        d_sums_h: &mut d_sums_h,
        d_norm_c: &mut d_norm_c,
        watched: Some(StateGradients {
            d_h: &mut watched_h,
            d_c: &mut watched_c,
        }),
    };
    norm_backward(compute, cell, args);
    Pass {
        over_time: vec![
            h, c, norm_c, masked_h, activated, gates, norm_h, d_sums_h, d_norm_c, watched_h,
            watched_c,
        ],
        over_batch: vec![masked_0, d_h, d_c],
        factors: vec![factor_h, factor_c],
    }
}

fn check_layer<T: Scalar, C: Cell + std::fmt::Debug>(
    cell: C,
    lengths: &[usize],
    hidden: usize,
    seed: u32,
    is_masked: bool,
) {
    let layer = Layer::<T>::new::<C>(hidden, seed);
    let batch = lengths.len();
    let mut offsets = vec![0];
    for t in 0..lengths[0] {
        offsets.push(offsets[t] + lengths.iter().filter(|&&length| length > t).count());
    }
    let rows = offsets[offsets.len() - 1];
    let state = |seed| panels::<T>(batch, hidden, seed);
    let mut mask = Panels::new(batch, hidden);
    mask.copy_from_rows(0, &vec![T::ONE; batch * hidden]);
    let key = DropoutKey {
        seed: u64::from(seed),
        step: 1,
        layer: 2,
    };
    dropout(
        &Compute::single(Isa::SCALAR),
        key,
        0.3,
        &[0, batch],
        &mut mask,
    );
    let sources = Sources {
        x: unit_panels(rows, hidden, C::X.1.len(), seed + 6),
        h_0: state(seed + 7),
        c_0: state(seed + 8),
        mask,
        d_output: panels(rows, hidden, seed + 9),
        d_h: state(seed + 10),
        d_c: state(seed + 11),
        offsets,
    };
    let scalar = pass(
        &Compute::single(Isa::SCALAR),
        cell,
        &layer,
        &sources,
        is_masked,
    );
    for compute in computes() {
        let found = pass(&compute, cell, &layer, &sources, is_masked);
        assert_eq!(found, scalar, "{cell:?} {compute:?} masked {is_masked}");
    }
    // A row of the batch is that row alone, forward and backward.
    for (row, &length) in lengths.iter().enumerate() {
        let at = || (0..length).map(|t| sources.offsets[t] + row);
        let own = |panels: &Panels<T>| rows_of(panels, row..row + 1);
        let alone = Sources {
            offsets: (0..=length).collect(),
            x: rows_of(&sources.x, at()),
            h_0: own(&sources.h_0),
            c_0: own(&sources.c_0),
            mask: own(&sources.mask),
            d_output: rows_of(&sources.d_output, at()),
            d_h: own(&sources.d_h),
            d_c: own(&sources.d_c),
        };
        let found = pass(
            &Compute::single(Isa::detect()),
            cell,
            &layer,
            &alone,
            is_masked,
        );
        let expected = Pass {
            over_time: scalar
                .over_time
                .iter()
                .map(|panels| rows_of(panels, at()))
                .collect(),
            over_batch: scalar.over_batch.iter().map(own).collect(),
            factors: scalar
                .factors
                .iter()
                .map(|factors| at().map(|at| factors[at]).collect())
                .collect(),
        };
        assert_eq!(found, expected, "{cell:?} row {row} masked {is_masked}");
    }
}

macro_rules! stamped {
    ($module:ident, $type:ty) => {
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(24))]

                #[test]
                fn layer_norm_has_one_order_of_sums(
                    rows in 1usize..70, units in 1usize..50, slots in 1usize..5, seed in 0u32..1000,
                ) {
                    check_layer_norm::<$type>(rows, units, slots, seed);
                }

                #[test]
                fn batch_norm_has_one_order_of_sums(
                    rows in 1usize..200, columns in 1usize..70, seed in 0u32..1000,
                ) {
                    check_batch_norm::<$type>(rows, columns, seed);
                }

                #[test]
                fn layers_with_norms_are_the_same_everywhere(
                    mut lengths in prop::collection::vec(1usize..6, 1..9), hidden in 1usize..36,
                    seed in 0u32..1000, is_masked in any::<bool>(),
                ) {
                    lengths.sort_unstable_by(|a, b| b.cmp(a));
                    check_layer::<$type, _>(RnnCell::Tanh, &lengths, hidden, seed, is_masked);
                    check_layer::<$type, _>(RnnCell::Relu, &lengths, hidden, seed, is_masked);
                    check_layer::<$type, _>(GruCell, &lengths, hidden, seed, is_masked);
                    check_layer::<$type, _>(LstmCell, &lengths, hidden, seed, is_masked);
                }
            }
        }
    };
}

stamped!(single, f32);
stamped!(double, f64);
