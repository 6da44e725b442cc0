//! Attention, forward and backward, against plain loops in f64.

use proptest::prelude::*;
use refrain_kernels::{
    Attend, AttendBackward, Block, Compute, GROUP, Pairing, Panels, Scalar, attend,
    attend_backward, groups,
};

use super::{computes, numbers, panels};

/// Sequences of queries and of keys, and who sees whom.
#[derive(Clone, Debug)]
struct Case {
    query_lengths: Vec<usize>,
    key_lengths: Vec<usize>,
    key_of: Vec<u32>,
    columns: usize,
    value_columns: usize,
    additive: bool,
    seed: u32,
}

fn offsets(lengths: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for t in 0..lengths.iter().copied().max().unwrap_or(0) {
        let rows = lengths.iter().filter(|&&length| length > t).count();
        offsets.push(offsets[t] + rows);
    }
    offsets
}

fn cases() -> impl Strategy<Value = Case> {
    let lengths = prop::collection::vec((1usize..5, 1usize..20), 1..6);
    let sizes = (1usize..36, 1usize..36, any::<bool>(), 0u32..1000);
    let orders = prop::collection::vec(any::<u32>(), 6);
    (lengths, sizes, orders).prop_map(
        |(lengths, (columns, value_columns, additive, seed), keys)| {
            let (mut query_lengths, mut key_lengths): (Vec<_>, Vec<_>) =
                lengths.into_iter().unzip();
            query_lengths.sort_by(|a, b| b.cmp(a));
            key_lengths.sort_by(|a, b| b.cmp(a));
            // A permutation: that of random numbers.
            let mut key_of: Vec<u32> = (0..query_lengths.len() as u32).collect();
            key_of.sort_by_key(|&at| keys[at as usize]);
            Case {
                query_lengths,
                key_lengths,
                key_of,
                columns,
                value_columns,
                additive,
                seed,
            }
        },
    )
}

/// What the kernels are given.
struct Inputs<T> {
    query_offsets: Vec<usize>,
    key_offsets: Vec<usize>,
    query: Panels<T>,
    keys: Panels<T>,
    values: Panels<T>,
    v: Vec<T>,
    blocks: Vec<Block<T>>,
    d_context: Panels<T>,
}

/// All that they give.
#[derive(Clone, Debug, PartialEq)]
struct Results<T> {
    weights: Panels<T>,
    context: Panels<T>,
    d_query: Panels<T>,
    d_keys: Panels<T>,
    d_values: Panels<T>,
    d_additive: Panels<T>,
}

fn inputs<T: Scalar>(case: &Case) -> Inputs<T> {
    let (query_offsets, key_offsets) = (offsets(&case.query_lengths), offsets(&case.key_lengths));
    let last = |offsets: &[usize]| offsets[offsets.len() - 1];
    let (queries, keys) = (last(&query_offsets), last(&key_offsets));
    let v = numbers::<T>(case.columns, case.seed + 3);
    let mut blocks = vec![Block::ZERO; groups(case.columns)];
    for (block, part) in blocks.iter_mut().zip(v.chunks(GROUP)) {
        block.0[..part.len()].copy_from_slice(part);
    }
    Inputs {
        query_offsets,
        key_offsets,
        query: panels(queries, case.columns, case.seed),
        keys: panels(keys, case.columns, case.seed + 1),
        values: panels(keys, case.value_columns, case.seed + 2),
        v,
        blocks,
        d_context: panels(queries, case.value_columns, case.seed + 4),
    }
}

fn run<T: Scalar>(compute: &Compute, case: &Case, inputs: &Inputs<T>) -> Results<T> {
    let pairing = Pairing {
        query_offsets: &inputs.query_offsets,
        key_offsets: &inputs.key_offsets,
        key_of: &case.key_of,
    };
    let rows = inputs.query.rows();
    // What was there before must not matter.
    let mut weights = panels(rows, pairing.longest(), 77);
    let mut context = panels(rows, case.value_columns, 78);
    let additive = case.additive.then_some(&inputs.blocks[..]);
    attend(
        compute,
        Attend {
            pairing,
            query: &inputs.query,
            keys: &inputs.keys,
            values: &inputs.values,
            additive,
            weights: &mut weights,
            context: &mut context,
        },
    );
    let (mut d_scores, mut d_query) = (panels(2, 3, 79), panels(rows, case.columns, 80));
    let (mut d_keys, mut d_values) = (panels(1, 40, 81), panels(60, 2, 82));
    let mut d_additive = Panels::default();
    attend_backward(
        compute,
        AttendBackward {
            pairing,
            query: &inputs.query,
            keys: &inputs.keys,
            values: &inputs.values,
            additive,
            weights: &weights,
            d_context: &inputs.d_context,
            d_scores: &mut d_scores,
            d_query: &mut d_query,
            d_keys: &mut d_keys,
            d_values: &mut d_values,
            d_additive: &mut d_additive,
        },
    );
    Results {
        weights,
        context,
        d_query,
        d_keys,
        d_values,
        d_additive,
    }
}

/// A matrix of f64, row by row.
#[derive(Clone)]
struct Plain {
    columns: usize,
    values: Vec<f64>,
}

impl Plain {
    fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            columns,
            values: vec![0.0; rows * columns],
        }
    }

    fn of<T: Scalar>(panels: &Panels<T>) -> Self {
        let values = panels.to_rows(0, panels.rows());
        Self {
            columns: panels.columns(),
            values: values.into_iter().map(Scalar::to_f64).collect(),
        }
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.columns..][..self.columns]
    }

    #[track_caller]
    fn assert_near<T: Scalar>(&self, name: &str, found: &Panels<T>, tolerance: f64) {
        let found = Self::of(found);
        assert_eq!(found.values.len(), self.values.len(), "{name}");
        for (at, (found, wanted)) in found.values.iter().zip(&self.values).enumerate() {
            let allowed = tolerance * (1.0 + wanted.abs());
            assert!(
                (found - wanted).abs() <= allowed,
                "{name} at {at}: {found}, not {wanted}"
            );
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f64], factor: f64, values: &[f64]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += factor * value;
    }
}

/// The definition in plain loops, in f64.
struct Reference {
    weights: Plain,
    context: Plain,
    d_query: Plain,
    d_keys: Plain,
    d_values: Plain,
    d_additive: Plain,
}

fn reference<T: Scalar>(case: &Case, inputs: &Inputs<T>) -> Reference {
    let (query, keys) = (Plain::of(&inputs.query), Plain::of(&inputs.keys));
    let (values, d_context) = (Plain::of(&inputs.values), Plain::of(&inputs.d_context));
    let v: Vec<f64> = inputs.v.iter().map(|x| x.to_f64()).collect();
    let (rows, key_rows) = (inputs.query.rows(), inputs.keys.rows());
    let longest = inputs.key_offsets.len() - 1;
    let mut all = Reference {
        weights: Plain::zeros(rows, longest),
        context: Plain::zeros(rows, case.value_columns),
        d_query: Plain::zeros(rows, case.columns),
        d_keys: Plain::zeros(key_rows, case.columns),
        d_values: Plain::zeros(key_rows, case.value_columns),
        d_additive: Plain::zeros(case.key_of.len(), case.columns),
    };
    for (place, &length) in case.query_lengths.iter().enumerate() {
        let key_place = case.key_of[place] as usize;
        for t in 0..length {
            let row = inputs.query_offsets[t] + place;
            let seen: Vec<usize> = (0..case.key_lengths[key_place])
                .map(|s| inputs.key_offsets[s] + key_place)
                .collect();
            let hidden = |key: usize| -> Vec<f64> {
                let pairs = query.row(row).iter().zip(keys.row(key));
                pairs.map(|(q, k)| libm::tanh(q + k)).collect()
            };
            let exp: Vec<f64> = seen
                .iter()
                .map(|&key| {
                    libm::exp(if case.additive {
                        dot(&v, &hidden(key))
                    } else {
                        dot(query.row(row), keys.row(key))
                    })
                })
                .collect();
            let sum: f64 = exp.iter().sum();
            let weights: Vec<f64> = exp.iter().map(|e| e / sum).collect();
            all.weights.row_mut(row)[..seen.len()].copy_from_slice(&weights);
            let d = d_context.row(row);
            let d_weights: Vec<f64> = seen.iter().map(|&key| dot(d, values.row(key))).collect();
            let mean = dot(&weights, &d_weights);
            for (s, &key) in seen.iter().enumerate() {
                add_scaled(all.context.row_mut(row), weights[s], values.row(key));
                add_scaled(all.d_values.row_mut(key), weights[s], d);
                let d_score = weights[s] * (d_weights[s] - mean);
                if case.additive {
                    let u = hidden(key);
                    add_scaled(all.d_additive.row_mut(place), d_score, &u);
                    let d_sum: Vec<f64> =
                        u.iter().zip(&v).map(|(u, v)| v * (1.0 - u * u)).collect();
                    add_scaled(all.d_query.row_mut(row), d_score, &d_sum);
                    add_scaled(all.d_keys.row_mut(key), d_score, &d_sum);
                } else {
                    add_scaled(all.d_query.row_mut(row), d_score, keys.row(key));
                    add_scaled(all.d_keys.row_mut(key), d_score, query.row(row));
                }
            }
        }
    }
    all
}

/// One row of each of some panels.
fn bits<T: Scalar>(panels: &Panels<T>, row: usize, columns: usize) -> Vec<u64> {
    (0..columns)
        .map(|column| panels.get(row, column).to_f64().to_bits())
        .collect()
}

/// Every pair of sequences alone gives the same bits.
fn check_alone<T: Scalar>(case: &Case, inputs: &Inputs<T>, together: &Results<T>) {
    let compute = computes().remove(1);
    for (place, &length) in case.query_lengths.iter().enumerate() {
        let key_place = case.key_of[place] as usize;
        let keys = case.key_lengths[key_place];
        let rows: Vec<usize> = (0..length)
            .map(|t| inputs.query_offsets[t] + place)
            .collect();
        let seen: Vec<usize> = (0..keys)
            .map(|s| inputs.key_offsets[s] + key_place)
            .collect();
        let part = |panels: &Panels<T>, rows: &[usize]| {
            let mut part = Panels::new(rows.len(), panels.columns());
            for (to, &from) in rows.iter().enumerate() {
                part.copy_rows(to, panels, from, 1);
            }
            part
        };
        let alone = Case {
            query_lengths: vec![length],
            key_lengths: vec![keys],
            key_of: vec![0],
            ..case.clone()
        };
        let alone_inputs = Inputs {
            query_offsets: (0..=length).collect(),
            key_offsets: (0..=keys).collect(),
            query: part(&inputs.query, &rows),
            keys: part(&inputs.keys, &seen),
            values: part(&inputs.values, &seen),
            v: inputs.v.clone(),
            blocks: inputs.blocks.clone(),
            d_context: part(&inputs.d_context, &rows),
        };
        let alone = run(&compute, &alone, &alone_inputs);
        for (to, &from) in rows.iter().enumerate() {
            for (name, alone, together, columns) in [
                ("weights", &alone.weights, &together.weights, keys),
                (
                    "context",
                    &alone.context,
                    &together.context,
                    case.value_columns,
                ),
                ("d_query", &alone.d_query, &together.d_query, case.columns),
            ] {
                assert_eq!(
                    bits(alone, to, columns),
                    bits(together, from, columns),
                    "{name}"
                );
            }
        }
        for (to, &from) in seen.iter().enumerate() {
            for (name, alone, together, columns) in [
                ("d_keys", &alone.d_keys, &together.d_keys, case.columns),
                (
                    "d_values",
                    &alone.d_values,
                    &together.d_values,
                    case.value_columns,
                ),
            ] {
                assert_eq!(
                    bits(alone, to, columns),
                    bits(together, from, columns),
                    "{name}"
                );
            }
        }
    }
}

fn check<T: Scalar>(case: &Case, tolerance: f64) {
    let inputs = inputs::<T>(case);
    let wanted = reference(case, &inputs);
    let mut first: Option<Results<T>> = None;
    for compute in computes() {
        let found = run(&compute, case, &inputs);
        match &first {
            Some(first) => assert_eq!(&found, first, "{compute:?}"),
            None => {
                wanted
                    .weights
                    .assert_near("weights", &found.weights, tolerance);
                wanted
                    .context
                    .assert_near("context", &found.context, tolerance);
                wanted
                    .d_query
                    .assert_near("d_query", &found.d_query, tolerance);
                wanted
                    .d_keys
                    .assert_near("d_keys", &found.d_keys, tolerance);
                wanted
                    .d_values
                    .assert_near("d_values", &found.d_values, tolerance);
                if case.additive {
                    let d_additive = &found.d_additive;
                    wanted
                        .d_additive
                        .assert_near("d_additive", d_additive, tolerance);
                }
                first = Some(found);
            }
        }
    }
    let Some(first) = first else {
        panic!("no machine to compute with");
    };
    check_alone(case, &inputs, &first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Sums of some dozen products of numbers below 1.
    #[test]
    fn attention_is_its_definition_in_f64(case in cases()) {
        check::<f64>(&case, 1e-12);
    }

    /// Scores of up to 36 products in f32, then exponentials of them.
    #[test]
    fn attention_is_its_definition_in_f32(case in cases()) {
        check::<f32>(&case, 5e-5);
    }
}

#[test]
#[should_panic(expected = "keys seen twice")]
fn a_backward_pass_refuses_keys_that_two_sequences_see() {
    let case = Case {
        query_lengths: vec![1, 1],
        key_lengths: vec![2, 1],
        key_of: vec![0, 0],
        columns: 3,
        value_columns: 2,
        additive: false,
        seed: 0,
    };
    run(
        &Compute::single(refrain_kernels::Isa::SCALAR),
        &case,
        &inputs::<f32>(&case),
    );
}
