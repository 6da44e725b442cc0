use ndarray::{Array2, Array3};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use refrain_kernels::Isa;

use super::*;
use crate::nn::{CellKind, Init, Nonlinearity};

const KEY: DropoutKey = DropoutKey {
    seed: 7,
    step: 1,
    layer: 0,
};

fn config(cell: CellKind) -> StackConfig {
    StackConfig {
        cell,
        nonlinearity: Nonlinearity::Tanh,
        input_size: 3,
        hidden_size: 20,
        num_layers: 2,
        dropout: 0.0,
        recurrent_dropout: 0.0,
        bidirectional: false,
        layer_norm: false,
        batch_norm: false,
        init: Init::Orthogonal,
        forget_bias: None,
    }
}

fn new_stack(config: &StackConfig) -> Stack<f64> {
    let mut stack = Stack::zeros(config, "rnn");
    stack.initialise(config, &mut ChaCha12Rng::seed_from_u64(2));
    stack
}

fn ramp(rows: usize, columns: usize) -> Panels<f64> {
    let mut panels = Panels::new(rows, columns);
    let numbers: Vec<f64> = (0..rows * columns)
        .map(|x| (x * 7 % 11) as f64 / 5.0 - 1.0)
        .collect();
    panels.copy_from_rows(0, &numbers);
    panels
}

/// A pass over `x`.
fn run(
    stack: &Stack<f64>,
    steps: &Steps,
    x: &Panels<f64>,
    state: &mut StackState<f64>,
    mask: Option<DropoutKey>,
) -> StackSpace<f64> {
    let mut space = StackSpace::default();
    stack.pack(&mut space, true);
    let compute = Compute::single(Isa::detect());
    stack.forward(
        &compute,
        &mut space,
        steps,
        LayerInput::Features(x),
        state,
        mask,
    );
    space
}

/// Layers that hand on `h` as it is read: a rectifier, the identity, no inputs. What is left of ones shows the masks.
#[test]
fn recurrent_dropout_is_one_mask_for_a_sequence_and_differs_between_rows_layers_and_directions() {
    for layer_norm in [false, true] {
        let config = StackConfig {
            nonlinearity: Nonlinearity::Relu,
            hidden_size: 200,
            num_layers: 1,
            recurrent_dropout: 0.5,
            bidirectional: true,
            layer_norm,
            ..config(CellKind::Rnn)
        };
        let mut stack = Stack::<f64>::zeros(&config, "rnn");
        stack.visit_mut(&mut |parameter| {
            if parameter.name.contains("weight_hh") {
                (0..200).for_each(|at| parameter.value[at * 200 + at] = 1.0);
            }
        });
        let (steps, x) = (Steps::uniform(3, 2), Panels::new(6, 3));
        let mut state = stack.zero_state(2);
        for part in &mut state {
            part.h.copy_from_rows(0, &[1.0; 400]);
        }
        let space = run(&stack, &steps, &x, &mut state, Some(KEY));
        let is_kept = |unit: usize, row: usize| -> Vec<bool> {
            let h = space.saved[unit].h.to_rows(row, 1);
            h.iter().map(|&x| x > 0.0).collect()
        };
        for unit in 0..2 {
            for row in 0..2 {
                let kept = is_kept(unit, row);
                let count = kept.iter().filter(|&&kept| kept).count();
                assert!((70..130).contains(&count), "{count} of 200");
                // A mask anew at each step would drop half of them again.
                assert_eq!(kept, is_kept(unit, 2 + row));
                assert_eq!(kept, is_kept(unit, 4 + row));
            }
            assert_ne!(is_kept(unit, 0), is_kept(unit, 1), "rows");
        }
        assert_ne!(is_kept(0, 0), is_kept(1, 0), "directions");
        if !layer_norm {
            let h = space.saved[0].h.to_rows(4, 1);
            assert!(
                h.iter().all(|&x| x == 0.0 || x == 8.0),
                "scaled by 1 / (1 - p)"
            );
        }
        // In evaluation nothing is dropped.
        let mut state = stack.zero_state(2);
        state[0].h.copy_from_rows(0, &[1.0; 400]);
        let space = run(&stack, &steps, &x, &mut state, None);
        if !layer_norm {
            assert_eq!(space.saved[0].h.to_rows(4, 1), [1.0; 200]);
        }
    }
}

#[test]
fn the_state_that_a_gru_keeps_is_not_dropped() {
    for layer_norm in [false, true] {
        let config = StackConfig {
            num_layers: 1,
            recurrent_dropout: 0.5,
            layer_norm,
            ..config(CellKind::Gru)
        };
        let mut stack = Stack::<f64>::zeros(&config, "rnn");
        // z = 1: h_t = h_(t-1).
        stack.visit_mut(&mut |parameter| {
            if parameter.name == "rnn.bias_ih_l0" {
                parameter.value[20..40].fill(100.0);
            }
        });
        let mut state = stack.zero_state(1);
        state[0].h = ramp(1, 20);
        run(
            &stack,
            &Steps::uniform(4, 1),
            &Panels::new(4, 3),
            &mut state,
            Some(KEY),
        );
        assert_eq!(state[0].h, ramp(1, 20));
    }
}

/// The arrays of a layer's gates by name.
fn gates_of(
    stack: &Stack<f64>,
    space: &StackSpace<f64>,
    layer: usize,
    direction: Direction,
) -> Vec<Array2<f64>> {
    let gates = stack.gates(space, layer, direction);
    gates.into_iter().map(|(_, array)| array).collect()
}

#[test]
fn gates_have_their_names_and_stand_at_the_position_that_was_read() {
    let steps = Steps::of_lengths(&[4, 2, 1]);
    for cell in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm] {
        let config = StackConfig {
            bidirectional: true,
            ..config(cell)
        };
        let stack = new_stack(&config);
        let space = run(&stack, &steps, &ramp(7, 3), &mut stack.zero_state(3), None);
        for layer in 0..2 {
            for direction in [Direction::Forward, Direction::Reverse] {
                let names: Vec<_> = stack.gates(&space, layer, direction);
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                let gates = gates_of(&stack, &space, layer, direction);
                let h = space.hidden(layer, direction);
                let h = Array2::from_shape_fn((7, 20), |(row, unit)| h.get(row, unit));
                // The output of the highest layer has the two directions side by side, at the same positions.
                if layer == 1 {
                    let first = if direction == Direction::Forward {
                        0
                    } else {
                        20
                    };
                    let output = |(row, unit)| space.output().get(row, first + unit);
                    assert_eq!(h, Array2::from_shape_fn((7, 20), output));
                }
                // Where each sequence is read first: its state before is zero.
                let first = match direction {
                    Direction::Forward => [0, 1, 2],
                    Direction::Reverse => [6, 4, 2],
                };
                match cell {
                    CellKind::Mlp => unreachable!("no recurrent layer"),
                    CellKind::Rnn => {
                        assert_eq!(names, ["h"]);
                        assert_eq!(gates[0], h);
                    }
                    CellKind::Gru => {
                        assert_eq!(names, ["r", "z", "n"]);
                        for at in first {
                            for unit in 0..20 {
                                let expected = (1.0 - gates[1][(at, unit)]) * gates[2][(at, unit)];
                                assert!((h[(at, unit)] - expected).abs() < 1e-14);
                            }
                        }
                    }
                    CellKind::Lstm => {
                        assert_eq!(names, ["i", "f", "g", "o"]);
                        let c = space.cells(layer, direction);
                        for at in 0..7 {
                            for unit in 0..20 {
                                let at = (at, unit);
                                let c = c.get(at.0, at.1);
                                assert!((h[at] - gates[3][at] * libm::tanh(c)).abs() < 1e-14);
                                if first.contains(&at.0) {
                                    assert!((c - gates[0][at] * gates[2][at]).abs() < 1e-14);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_step_with_the_product_given_is_that_step_of_the_sequence() {
    for cell in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm] {
        let config = StackConfig {
            layer_norm: true,
            batch_norm: true,
            ..config(cell)
        };
        let mut stack = new_stack(&config);
        stack.batch_norms[0].running_mean.value.fill(0.1);
        stack.batch_norms[0].running_var.value.fill(0.5);
        let compute = Compute::single(Isa::detect());
        let (vectors, index) = (ramp(3, 3), [2, 0, 1, 1]);
        let mut space = StackSpace::default();
        stack.pack(&mut space, false);
        let mut state = stack.zero_state(1);
        let input = LayerInput::Table(&vectors, &index);
        stack.forward(
            &compute,
            &mut space,
            &Steps::uniform(4, 1),
            input,
            &mut state,
            None,
        );
        let whole = space.output().clone();
        let table = stack.project_first(&compute, &space, &vectors);
        let mut streamed = stack.zero_state(1);
        for (t, &token) in index.iter().enumerate() {
            let mut row = Panels::new(1, table.columns());
            row.copy_rows(0, &table, token as usize, 1);
            stack.step_table(
                &compute,
                &mut space,
                &Steps::uniform(1, 1),
                &row,
                &mut streamed,
            );
            assert_eq!(space.output().to_rows(0, 1), whole.to_rows(t, 1));
        }
        assert_eq!(streamed, state);
    }
}

#[test]
fn parameters_and_buffers_have_their_names_in_pytorch_s_order() {
    let config = StackConfig {
        bidirectional: true,
        layer_norm: true,
        batch_norm: true,
        ..config(CellKind::Lstm)
    };
    let mut stack = Stack::<f32>::zeros(&config, "encoder");
    let (mut names, mut buffers) = (Vec::new(), Vec::new());
    stack.visit(&mut |parameter| names.push(parameter.name.clone()));
    stack.visit_buffers(&mut |buffer| {
        assert!(buffer.grad.is_empty());
        buffers.push(buffer.name.clone());
    });
    assert_eq!(
        names[..8],
        [
            "encoder.weight_ih_l0",
            "encoder.weight_hh_l0",
            "encoder.bias_ih_l0",
            "encoder.bias_hh_l0",
            "encoder.layer_norm_ih_l0.weight",
            "encoder.layer_norm_hh_l0.weight",
            "encoder.layer_norm_c_l0.weight",
            "encoder.layer_norm_c_l0.bias",
        ]
    );
    assert_eq!(names[8], "encoder.weight_ih_l0_reverse");
    assert_eq!(names[12], "encoder.layer_norm_ih_l0_reverse.weight");
    assert_eq!(
        names[16..19],
        [
            "encoder.batch_norm_l0.weight",
            "encoder.batch_norm_l0.bias",
            "encoder.weight_ih_l1",
        ]
    );
    assert_eq!(names.len(), 34);
    assert_eq!(
        buffers,
        [
            "encoder.batch_norm_l0.running_mean",
            "encoder.batch_norm_l0.running_var"
        ]
    );
    let mut mutable = Vec::new();
    stack.visit_mut(&mut |parameter| mutable.push(parameter.name.clone()));
    assert_eq!(mutable, names);
    assert_eq!((stack.output_size(), stack.num_layers()), (40, 2));
}

#[test]
#[should_panic(expected = "a bidirectional stack cannot go step by step")]
fn a_bidirectional_stack_has_no_steps() {
    let config = StackConfig {
        bidirectional: true,
        ..config(CellKind::Gru)
    };
    let stack = new_stack(&config);
    let x = Array3::zeros((1, 1, 3));
    let compute = Compute::single(Isa::detect());
    let x = x.index_axis_move(ndarray::Axis(0), 0);
    let _ = stack.step(&compute, x.view(), &mut stack.zero_state(1));
}

#[test]
#[should_panic(expected = "batch norm between the layers of 1")]
fn batch_norm_wants_two_layers() {
    let config = StackConfig {
        num_layers: 1,
        batch_norm: true,
        ..config(CellKind::Gru)
    };
    let _ = Stack::<f32>::zeros(&config, "rnn");
}
