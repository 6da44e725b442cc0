//! Stacks with all that a layer can have: both directions over sequences of different lengths, layer norm, recurrent
//! dropout, batch norm between the layers.

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use refrain::nn::{
    CellKind, Init, InputGradient, LayerInput, Nonlinearity, Parameters, Stack, StackConfig,
    StackSpace, StackState, Steps,
};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels};
use refrain_testing::gradient_check;

use super::{INPUT, TOLERANCE, cells, panels, random, set, values};

/// One group of sixteen units and a part of another; two directions have more than two groups.
const HIDDEN: usize = 17;

/// One with which no sum of a rectifier comes so near to 0 that a finite difference passes it.
const SEED: u64 = 18;

const KEY: DropoutKey = DropoutKey {
    seed: 3,
    step: 5,
    layer: 0,
};

/// A stack, what it reads and the gradients that come from above.
struct Case {
    stack: Stack<f64>,
    steps: Steps,
    /// Features of each row, or distinct vectors and which of them each row is.
    x: Vec<f64>,
    index: Option<Vec<u32>>,
    state: StackState<f64>,
    d_output: Panels<f64>,
    d_state: StackState<f64>,
    mask: Option<DropoutKey>,
}

impl Case {
    fn new(config: &StackConfig, lengths: &[usize], is_training: bool, is_table: bool) -> Self {
        let rng = &mut ChaCha12Rng::seed_from_u64(SEED);
        let mut stack = Stack::zeros(config, "rnn");
        // Gains of norms about 1, the others about 0.
        stack.visit_mut(&mut |parameter| {
            let values = random(parameter.len(), rng);
            for (value, x) in parameter.value.iter_mut().zip(values) {
                *value += 0.5 * x;
            }
        });
        stack.visit_buffers_mut(&mut |buffer| {
            let values = random(buffer.len(), rng);
            for (value, x) in buffer.value.iter_mut().zip(values) {
                *value += 0.3 * x;
            }
        });
        let steps = Steps::of_lengths(lengths);
        let vectors = if is_table { 4 } else { steps.rows() };
        let state = random_state(&stack, lengths.len(), rng);
        Self {
            x: random(vectors * INPUT, rng),
            // One of the vectors does not occur.
            index: is_table.then(|| (0..steps.rows()).map(|row| row as u32 * 5 % 3).collect()),
            d_output: panels(
                &random(steps.rows() * stack.output_size(), rng),
                steps.rows(),
            ),
            d_state: random_state(&stack, lengths.len(), rng),
            state,
            stack,
            steps,
            mask: is_training.then_some(KEY),
        }
    }

    fn input<'a>(&'a self, x: &'a Panels<f64>) -> LayerInput<'a, f64> {
        match &self.index {
            Some(index) => LayerInput::Table(x, index),
            None => LayerInput::Features(x),
        }
    }

    fn forward(
        &self,
        compute: &Compute,
        stack: &Stack<f64>,
        x: &[f64],
        state: &StackState<f64>,
    ) -> (StackSpace<f64>, f64) {
        let mut space = StackSpace::default();
        let mut state = state.clone();
        let x = panels(x, x.len() / INPUT);
        stack.pack(&mut space, true);
        let input = self.input(&x);
        stack.forward(
            compute,
            &mut space,
            &self.steps,
            input,
            &mut state,
            self.mask,
        );
        let mut loss = dot(space.output(), &self.d_output);
        for (state, d) in state.iter().zip(&self.d_state) {
            loss += dot(&state.h, &d.h) + dot(&state.c, &d.c);
        }
        (space, loss)
    }

    /// All gradients against finite differences.
    fn check(mut self, label: &str) {
        let compute = Compute::new(Isa::detect(), 2);
        let (mut space, _) = self.forward(&compute, &self.stack, &self.x, &self.state);
        let x = panels(&self.x, self.x.len() / INPUT);
        let mut d_x = Panels::default();
        let mut stack = self.stack.clone();
        stack.backward(
            &compute,
            &mut space,
            &self.steps,
            self.input(&x),
            &self.d_output,
            Some(&self.d_state),
            self.mask,
            InputGradient::Into(&mut d_x),
        );
        for parameter in values(&stack) {
            let mut numbers = parameter.value.clone();
            let label = format!("{label} {}", parameter.name);
            gradient_check(&label, &mut numbers, &parameter.grad, |numbers| {
                let mut stack = self.stack.clone();
                set(&mut stack, &parameter.name, numbers);
                self.forward(&compute, &stack, &self.x, &self.state).1
            })
            .assert_below(TOLERANCE);
        }
        let mut x = std::mem::take(&mut self.x);
        gradient_check(
            &format!("{label} x"),
            &mut x,
            &d_x.to_rows(0, d_x.rows()),
            |x| self.forward(&compute, &self.stack, x, &self.state).1,
        )
        .assert_below(TOLERANCE);
        let batch = self.steps.batch();
        for (at, d) in space.d_initial().iter().enumerate() {
            let has_c = self.state[at].c.rows() > 0;
            for (is_c, d) in [(false, &d.h), (true, &d.c)]
                .into_iter()
                .take(1 + usize::from(has_c))
            {
                let part = |state: &StackState<f64>| match is_c {
                    true => state[at].c.to_rows(0, batch),
                    false => state[at].h.to_rows(0, batch),
                };
                let label = format!("{label} {}_0 of {at}", if is_c { "c" } else { "h" });
                gradient_check(
                    &label,
                    &mut part(&self.state),
                    &d.to_rows(0, batch),
                    |numbers| {
                        let mut state = self.state.clone();
                        match is_c {
                            true => state[at].c = panels(numbers, batch),
                            false => state[at].h = panels(numbers, batch),
                        }
                        self.forward(&compute, &self.stack, &x, &state).1
                    },
                )
                .assert_below(TOLERANCE);
            }
        }
    }
}

fn dot(a: &Panels<f64>, b: &Panels<f64>) -> f64 {
    let (a, b) = (a.to_rows(0, a.rows()), b.to_rows(0, b.rows()));
    a.iter().zip(&b).map(|(a, b)| a * b).sum()
}

fn random_state(stack: &Stack<f64>, batch: usize, rng: &mut ChaCha12Rng) -> StackState<f64> {
    let mut state = stack.zero_state(batch);
    for part in &mut state {
        part.h = panels(&random(batch * HIDDEN, rng), batch);
        if part.c.rows() > 0 {
            part.c = panels(&random(batch * HIDDEN, rng), batch);
        }
    }
    state
}

fn plain(cell: CellKind, nonlinearity: Nonlinearity, num_layers: usize) -> StackConfig {
    StackConfig {
        cell,
        nonlinearity,
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

#[test]
fn both_directions_over_different_lengths_pass_the_gradient_check() {
    for (cell, nonlinearity) in cells() {
        for num_layers in [1, 2] {
            let config = StackConfig {
                bidirectional: true,
                ..plain(cell, nonlinearity, num_layers)
            };
            let case = Case::new(&config, &[4, 2, 1], false, num_layers == 1);
            case.check(&format!(
                "bidirectional {cell:?} {nonlinearity:?} {num_layers}"
            ));
        }
    }
}

#[test]
fn layer_norm_passes_the_gradient_check() {
    for (cell, nonlinearity) in cells() {
        for is_table in [false, true] {
            let config = StackConfig {
                layer_norm: true,
                ..plain(cell, nonlinearity, 1)
            };
            let case = Case::new(&config, &[4, 3, 1], false, is_table);
            case.check(&format!(
                "layer norm {cell:?} {nonlinearity:?} table {is_table}"
            ));
        }
    }
}

#[test]
fn recurrent_dropout_passes_the_gradient_check() {
    for (cell, nonlinearity) in cells() {
        let config = StackConfig {
            recurrent_dropout: 0.4,
            ..plain(cell, nonlinearity, 1)
        };
        let case = Case::new(&config, &[4, 3, 1], true, false);
        case.check(&format!("recurrent dropout {cell:?} {nonlinearity:?}"));
    }
}

#[test]
fn batch_norm_passes_the_gradient_check_in_training_and_in_evaluation() {
    for is_training in [true, false] {
        let config = StackConfig {
            batch_norm: true,
            ..plain(CellKind::Lstm, Nonlinearity::Tanh, 2)
        };
        let case = Case::new(&config, &[3, 2, 2], is_training, false);
        case.check(&format!("batch norm, training {is_training}"));
    }
}

#[test]
fn all_of_them_together_pass_the_gradient_check() {
    for (cell, nonlinearity) in cells() {
        let config = StackConfig {
            dropout: 0.2,
            recurrent_dropout: 0.3,
            bidirectional: true,
            layer_norm: true,
            batch_norm: true,
            ..plain(cell, nonlinearity, 2)
        };
        let case = Case::new(&config, &[3, 2, 1], true, cell == CellKind::Gru);
        case.check(&format!("all {cell:?} {nonlinearity:?}"));
    }
}
