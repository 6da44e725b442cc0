//! PyTorch's bidirectional layers over packed sequences, layer norm inside a cell, batch norm between layers.

use refrain::nn::{
    CellKind, Init, InputGradient, LayerInput, Nonlinearity, Parameters, Stack, StackConfig,
    StackSpace, StackState, Steps,
};
use refrain_kernels::{Compute, DropoutKey, Panels, Scalar};

use super::{
    BATCH, HIDDEN, INPUT, LAYER_F32, LAYER_F64, SEQ_LEN, Tensors, Tolerance, assert_near,
    assert_states, cast, compute, fill, golden, set_states,
};

/// Lengths of the packed sequences.
const LENGTHS: [usize; BATCH] = [5, 3, 2];

fn plain(cell: CellKind, num_layers: usize) -> StackConfig {
    StackConfig {
        cell,
        nonlinearity: Nonlinearity::Tanh,
        input_size: INPUT,
        hidden_size: HIDDEN,
        num_layers,
        dropout: 0.0,
        recurrent_dropout: 0.0,
        bidirectional: false,
        layer_norm: false,
        batch_norm: false,
        init: Init::Uniform,
        forget_bias: None,
    }
}

/// A stack with a golden's weights, and what it reads.
struct Case<'a, T> {
    compute: Compute,
    stack: Stack<T>,
    steps: Steps,
    x: Panels<T>,
    tensors: &'a Tensors,
    tolerance: Tolerance,
}

fn panels<T: Scalar>(values: &[f64], rows: usize) -> Panels<T> {
    let mut panels = Panels::new(rows, values.len() / rows);
    panels.copy_from_rows(0, &cast(values));
    panels
}

fn numbers<T: Scalar>(panels: &Panels<T>) -> Vec<T> {
    panels.to_rows(0, panels.rows())
}

impl<'a, T: Scalar + Into<f64>> Case<'a, T> {
    fn new(
        config: &StackConfig,
        lengths: &[usize],
        tensors: &'a Tensors,
        tolerance: Tolerance,
    ) -> Self {
        let mut stack = Stack::zeros(config, "");
        fill(&mut stack, tensors);
        stack.visit_buffers_mut(&mut |buffer| buffer.value = cast(&tensors[&buffer.name]));
        let steps = Steps::of_lengths(lengths);
        Self {
            compute: compute::<T>(),
            x: panels(&tensors["x"], steps.rows()),
            stack,
            steps,
            tensors,
            tolerance,
        }
    }

    /// States from tensors, zeros where there are none.
    fn states(&self, h: &str, c: &str) -> StackState<T> {
        let mut state = self.stack.zero_state(self.steps.batch());
        if let Some(h) = self.tensors.get(h) {
            set_states(&mut state, h, self.tensors.get(c));
        }
        state
    }

    fn forward(&self, mask: Option<DropoutKey>) -> (StackSpace<T>, StackState<T>) {
        let mut space = StackSpace::default();
        let mut state = self.states("h_0", "c_0");
        self.stack.pack(&mut space, true);
        let input = LayerInput::Features(&self.x);
        self.stack.forward(
            &self.compute,
            &mut space,
            &self.steps,
            input,
            &mut state,
            mask,
        );
        (space, state)
    }

    /// Forward and backward, all results compared; gives how many gradients of parameters.
    fn check(&mut self, mask: Option<DropoutKey>) -> usize {
        let (tensors, tolerance) = (self.tensors, self.tolerance);
        let (mut space, state) = self.forward(mask);
        assert_near("output", &numbers(space.output()), tensors, tolerance);
        let has_state = tensors.contains_key("h_n");
        if has_state {
            assert_states(["h_n", "c_n"], &state, tensors, tolerance);
        }
        let d_output = panels(&tensors["d_output"], self.steps.rows());
        let d_state = self.states("d_h_n", "d_c_n");
        let mut d_x = Panels::default();
        self.stack.backward(
            &self.compute,
            &mut space,
            &self.steps,
            LayerInput::Features(&self.x),
            &d_output,
            Some(&d_state),
            mask,
            InputGradient::Into(&mut d_x),
        );
        assert_near("d_x", &numbers(&d_x), tensors, tolerance);
        if has_state {
            assert_states(["d_h_0", "d_c_0"], space.d_initial(), tensors, tolerance);
        }
        let mut compared = 0;
        self.stack.visit(&mut |parameter| {
            let name = format!("d_{}", parameter.name);
            assert_near(&name, &parameter.grad, tensors, tolerance);
            compared += 1;
        });
        compared
    }
}

fn check_bidirectional<T: Scalar + Into<f64>>(tolerance: Tolerance) {
    for (name, cell) in [("gru", CellKind::Gru), ("lstm", CellKind::Lstm)] {
        let (_, tensors) = golden(&format!("bidirectional_{name}"));
        let config = StackConfig {
            bidirectional: true,
            ..plain(cell, 2)
        };
        let compared = Case::<T>::new(&config, &LENGTHS, &tensors, tolerance).check(None);
        assert_eq!(compared, 16);
    }
}

#[test]
fn both_directions_over_packed_sequences_equal_pytorch() {
    check_bidirectional::<f64>(LAYER_F64);
    check_bidirectional::<f32>(LAYER_F32);
}

fn check_layer_norm<T: Scalar + Into<f64>>(tolerance: Tolerance) {
    let kinds = [
        ("rnn_tanh", CellKind::Rnn, 6),
        ("gru", CellKind::Gru, 6),
        ("lstm", CellKind::Lstm, 8),
    ];
    for (name, cell, parameters) in kinds {
        let (_, tensors) = golden(&format!("layer_norm_{name}"));
        let config = StackConfig {
            layer_norm: true,
            ..plain(cell, 1)
        };
        let lengths = [SEQ_LEN; BATCH];
        let compared = Case::<T>::new(&config, &lengths, &tensors, tolerance).check(None);
        assert_eq!(compared, parameters);
    }
}

#[test]
fn layer_norm_inside_a_cell_equals_pytorch() {
    check_layer_norm::<f64>(LAYER_F64);
    check_layer_norm::<f32>(LAYER_F32);
}

fn check_batch_norm<T: Scalar + Into<f64>>(tolerance: Tolerance) {
    let (_, tensors) = golden("batch_norm");
    let config = StackConfig {
        batch_norm: true,
        ..plain(CellKind::Lstm, 2)
    };
    let mut case = Case::<T>::new(&config, &LENGTHS, &tensors, tolerance);
    let (space, _) = case.forward(None);
    assert_near("evaluated", &numbers(space.output()), &tensors, tolerance);
    // Nothing is dropped: the mask only says that this is training.
    let mask = DropoutKey {
        seed: 0,
        step: 0,
        layer: 0,
    };
    assert_eq!(case.check(Some(mask)), 10);
    let mut compared = 0;
    case.stack.visit_buffers(&mut |buffer| {
        let name = format!("final.{}", buffer.name);
        assert_near(&name, &buffer.value, &tensors, tolerance);
        compared += 1;
    });
    assert_eq!(compared, 2);
}

#[test]
fn batch_norm_between_layers_equals_pytorch_in_training_and_in_evaluation() {
    check_batch_norm::<f64>(LAYER_F64);
    check_batch_norm::<f32>(LAYER_F32);
}
