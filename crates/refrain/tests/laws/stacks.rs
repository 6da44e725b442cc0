//! Stacks with all that a layer can have: a row of a batch = that row alone, threads and instruction sets change no bit,
//! steps = the whole sequence.

use ndarray::{Array3, s};
use proptest::prelude::*;
use rand::RngExt;
use refrain::nn::{
    CellKind, Init, InputGradient, LayerInput, Nonlinearity, Parameters, Stack, StackConfig,
    StackSpace, StackState, Steps,
};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels};

use crate::{CELLS, bits, instruction_sets, rng};

const INPUT: usize = 5;

#[derive(Clone, Debug)]
struct Case {
    config: StackConfig,
    /// Falling.
    lengths: Vec<usize>,
    is_table: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let cells = (0..CELLS.len(), any::<bool>(), any::<bool>());
    let extras = (any::<bool>(), any::<bool>(), any::<bool>());
    let sizes = (1usize..40, 1usize..4);
    let lengths = prop::collection::vec(1usize..8, 1..9);
    (cells, extras, sizes, lengths, any::<u64>()).prop_map(
        |((cell, relu, is_table), extras, (hidden_size, num_layers), mut lengths, seed)| {
            let (bidirectional, layer_norm, batch_norm) = extras;
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            let config = StackConfig {
                cell: CELLS[cell],
                nonlinearity: if relu && CELLS[cell] == CellKind::Rnn {
                    Nonlinearity::Relu
                } else {
                    Nonlinearity::Tanh
                },
                input_size: INPUT,
                hidden_size,
                num_layers,
                // Of no effect in evaluation.
                dropout: 0.3,
                recurrent_dropout: 0.2,
                bidirectional,
                layer_norm,
                batch_norm: batch_norm && num_layers > 1,
                init: Init::Uniform,
                forget_bias: None,
            };
            Case {
                config,
                lengths,
                is_table,
                seed,
            }
        },
    )
}

fn numbers(count: usize, rng: &mut impl RngExt) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

fn panels(rows: usize, columns: usize, rng: &mut impl RngExt) -> Panels<f32> {
    let mut panels = Panels::new(rows, columns);
    panels.copy_from_rows(0, &numbers(rows * columns, rng));
    panels
}

/// Weights, gains, statistics that are all different.
fn new_stack(case: &Case) -> Stack<f32> {
    let rng = &mut rng(case.seed);
    let mut stack = Stack::zeros(&case.config, "rnn");
    stack.initialise(&case.config, rng);
    let shake = |values: &mut [f32], rng: &mut _| {
        for (value, x) in values.iter_mut().zip(numbers(1000, rng).iter().cycle()) {
            *value += 0.3 * x;
        }
    };
    stack.visit_mut(&mut |parameter| shake(&mut parameter.value, rng));
    stack.visit_buffers_mut(&mut |buffer| shake(&mut buffer.value, rng));
    stack
}

/// What a pass reads.
struct Sources {
    steps: Steps,
    x: Panels<f32>,
    index: Vec<u32>,
    state: StackState<f32>,
    d_output: Panels<f32>,
    d_state: StackState<f32>,
}

impl Sources {
    fn new(case: &Case, stack: &Stack<f32>) -> Self {
        let rng = &mut rng(case.seed ^ 1);
        let steps = Steps::of_lengths(&case.lengths);
        let (batch, hidden) = (steps.batch(), case.config.hidden_size);
        let state = |rng: &mut _| {
            let mut state = stack.zero_state(batch);
            for part in &mut state {
                part.h = panels(batch, hidden, rng);
                if part.c.rows() > 0 {
                    part.c = panels(batch, hidden, rng);
                }
            }
            state
        };
        let vectors = if case.is_table { 3 } else { steps.rows() };
        Self {
            x: panels(vectors, INPUT, rng),
            index: (0..steps.rows()).map(|row| row as u32 * 7 % 3).collect(),
            state: state(rng),
            d_output: panels(steps.rows(), stack.output_size(), rng),
            d_state: state(rng),
            steps,
        }
    }

    /// Those of one sequence.
    fn row(&self, case: &Case, row: usize) -> Self {
        let at: Vec<usize> = positions(&self.steps, row).collect();
        let own = |state: &StackState<f32>| {
            let mut own = state.clone();
            for part in &mut own {
                part.h = rows_of(&part.h, &[row]);
                if part.c.rows() > 0 {
                    part.c = rows_of(&part.c, &[row]);
                }
            }
            own
        };
        Self {
            steps: Steps::uniform(at.len(), 1),
            x: if case.is_table {
                self.x.clone()
            } else {
                rows_of(&self.x, &at)
            },
            index: at.iter().map(|&at| self.index[at]).collect(),
            state: own(&self.state),
            d_output: rows_of(&self.d_output, &at),
            d_state: own(&self.d_state),
        }
    }
}

/// The rows over time of one sequence.
fn positions(steps: &Steps, row: usize) -> impl Iterator<Item = usize> {
    let live = steps.offsets().windows(2);
    live.filter(move |step| step[0] + row < step[1])
        .map(move |step| step[0] + row)
}

fn rows_of(from: &Panels<f32>, rows: &[usize]) -> Panels<f32> {
    let mut to = Panels::new(rows.len(), from.columns());
    for (at, &row) in rows.iter().enumerate() {
        to.copy_rows(at, from, row, 1);
    }
    to
}

/// All that a pass gives.
struct Pass {
    output: Panels<f32>,
    state: StackState<f32>,
    d_x: Panels<f32>,
    d_state: StackState<f32>,
    gradients: Vec<u32>,
    buffers: Vec<u32>,
}

fn pass(
    compute: &Compute,
    stack: &Stack<f32>,
    case: &Case,
    from: &Sources,
    mask: Option<DropoutKey>,
) -> Pass {
    let mut stack = stack.clone();
    let mut space = StackSpace::default();
    let mut state = from.state.clone();
    stack.pack(&mut space, true);
    let input = if case.is_table {
        LayerInput::Table(&from.x, &from.index)
    } else {
        LayerInput::Features(&from.x)
    };
    stack.forward(compute, &mut space, &from.steps, input, &mut state, mask);
    let output = space.output().clone();
    let mut d_x = Panels::default();
    let into = InputGradient::Into(&mut d_x);
    let d_state = Some(&from.d_state);
    stack.backward(
        compute,
        &mut space,
        &from.steps,
        input,
        &from.d_output,
        d_state,
        mask,
        into,
    );
    let (mut gradients, mut buffers) = (Vec::new(), Vec::new());
    stack.visit(&mut |parameter| gradients.extend(bits(&parameter.grad)));
    stack.visit_buffers(&mut |buffer| buffers.extend(bits(&buffer.value)));
    Pass {
        output,
        state,
        d_x,
        d_state: space.d_initial().clone(),
        gradients,
        buffers,
    }
}

fn all_bits(panels: &Panels<f32>) -> Vec<u32> {
    bits(&panels.to_rows(0, panels.rows()))
}

fn states_bits(state: &StackState<f32>) -> Vec<Vec<u32>> {
    state
        .iter()
        .flat_map(|part| [all_bits(&part.h), all_bits(&part.c)])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_sequence_of_a_batch_is_that_sequence_alone(case in cases(), threads in 1usize..3) {
        let compute = Compute::new(Isa::detect(), threads);
        let stack = new_stack(&case);
        let sources = Sources::new(&case, &stack);
        let together = pass(&compute, &stack, &case, &sources, None);
        for row in 0..case.lengths.len() {
            let at: Vec<usize> = positions(&sources.steps, row).collect();
            let own = sources.row(&case, row);
            let alone = pass(&Compute::single(Isa::SCALAR), &stack, &case, &own, None);
            prop_assert_eq!(all_bits(&alone.output), all_bits(&rows_of(&together.output, &at)));
            // The gradients of distinct vectors are sums over the whole batch.
            if !case.is_table {
                prop_assert_eq!(all_bits(&alone.d_x), all_bits(&rows_of(&together.d_x, &at)));
            }
            for (alone, together) in [(&alone.state, &together.state), (&alone.d_state, &together.d_state)] {
                for (alone, together) in alone.iter().zip(together) {
                    prop_assert_eq!(all_bits(&alone.h), all_bits(&rows_of(&together.h, &[row])));
                    if together.c.rows() > 0 {
                        prop_assert_eq!(all_bits(&alone.c), all_bits(&rows_of(&together.c, &[row])));
                    }
                }
            }
        }
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit_of_a_training_pass(case in cases()) {
        let stack = new_stack(&case);
        let sources = Sources::new(&case, &stack);
        let mask = Some(DropoutKey { seed: case.seed, step: 3, layer: 0 });
        let mut first: Option<Pass> = None;
        for isa in instruction_sets() {
            for threads in 1..=3 {
                let found = pass(&Compute::new(isa, threads), &stack, &case, &sources, mask);
                let Some(first) = &first else {
                    first = Some(found);
                    continue;
                };
                prop_assert_eq!(all_bits(&found.output), all_bits(&first.output));
                prop_assert_eq!(states_bits(&found.state), states_bits(&first.state));
                prop_assert_eq!(all_bits(&found.d_x), all_bits(&first.d_x));
                prop_assert_eq!(states_bits(&found.d_state), states_bits(&first.d_state));
                prop_assert_eq!(&found.gradients, &first.gradients);
                prop_assert_eq!(&found.buffers, &first.buffers);
            }
        }
    }

    #[test]
    fn steps_of_a_stack_with_norms_are_the_whole_sequence(mut case in cases(), batch in 1usize..5) {
        case.config.bidirectional = false;
        let stack = new_stack(&case);
        let compute = Compute::single(Isa::detect());
        let seq_len = case.lengths[0];
        let x = numbers(seq_len * batch * INPUT, &mut rng(case.seed));
        let x = Array3::from_shape_vec((seq_len, batch, INPUT), x).unwrap();
        let mut state = stack.zero_state(batch);
        let (whole, _) = stack.forward_array(&compute, x.view(), &mut state).unwrap();
        let mut by_steps = stack.zero_state(batch);
        for t in 0..seq_len {
            let h = stack.step(&compute, x.slice(s![t, .., ..]), &mut by_steps).unwrap();
            prop_assert_eq!(bits(&h), bits(whole.slice(s![t, .., ..])));
        }
        prop_assert_eq!(states_bits(&by_steps), states_bits(&state));
    }
}
