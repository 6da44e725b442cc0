//! Finite differences in f64 for every layer, parameter, input and initial state, and for whole models.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

#[path = "gradients/stack.rs"]
mod stack;

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::models::{LanguageModel, LanguageModelSpace, ModelConfig, TokenBatch};
use refrain::nn::{
    CellKind, Init, Nonlinearity, Parameter, Parameters, Stack, StackConfig, StackState,
};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels};
use refrain_testing::gradient_check;

const TOLERANCE: f64 = 1e-6;
const SEQ_LEN: usize = 5;
const BATCH: usize = 3;
const INPUT: usize = 4;
/// One group of sixteen units and a part of another.
const HIDDEN: usize = 19;

fn random(count: usize, rng: &mut ChaCha12Rng) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn array(rng: &mut ChaCha12Rng, shape: (usize, usize, usize)) -> Array3<f64> {
    Array3::from_shape_vec(shape, random(shape.0 * shape.1 * shape.2, rng)).unwrap()
}

fn panels(values: &[f64], rows: usize) -> Panels<f64> {
    let mut panels = Panels::new(rows, values.len() / rows);
    panels.copy_from_rows(0, values);
    panels
}

fn cells() -> [(CellKind, Nonlinearity); 4] {
    [
        (CellKind::Rnn, Nonlinearity::Tanh),
        (CellKind::Rnn, Nonlinearity::Relu),
        (CellKind::Gru, Nonlinearity::Tanh),
        (CellKind::Lstm, Nonlinearity::Tanh),
    ]
}

fn values(model: &dyn Parameters<f64>) -> Vec<Parameter<f64>> {
    let mut all = Vec::new();
    model.visit(&mut |parameter| all.push(parameter.clone()));
    all
}

fn set(model: &mut dyn Parameters<f64>, name: &str, values: &[f64]) {
    model.visit_mut(&mut |parameter| {
        if parameter.name == name {
            parameter.value.copy_from_slice(values);
        }
    });
}

struct Problem {
    x: Array3<f64>,
    state: StackState<f64>,
    d_output: Array3<f64>,
    d_state: StackState<f64>,
}

/// Σ output * d_output + Σ final states * their d.
fn loss(
    compute: &Compute,
    stack: &Stack<f64>,
    problem: &Problem,
    x: &Array3<f64>,
    state: &StackState<f64>,
) -> f64 {
    let mut state = state.clone();
    let (output, _) = stack.forward_array(compute, x.view(), &mut state).unwrap();
    let mut total = (&output * &problem.d_output).sum();
    for (state, d) in state.iter().zip(&problem.d_state) {
        total += (&state.h_array() * &d.h_array()).sum() + (&state.c_array() * &d.c_array()).sum();
    }
    total
}

fn random_state(stack: &Stack<f64>, rng: &mut ChaCha12Rng) -> StackState<f64> {
    let mut state = stack.zero_state(BATCH);
    for part in &mut state {
        part.h = panels(&random(BATCH * HIDDEN, rng), BATCH);
        if part.c.rows() > 0 {
            part.c = panels(&random(BATCH * HIDDEN, rng), BATCH);
        }
    }
    state
}

fn check_stack(cell: CellKind, nonlinearity: Nonlinearity, num_layers: usize) {
    let rng = &mut ChaCha12Rng::seed_from_u64(11);
    let compute = Compute::new(Isa::detect(), 2);
    let config = StackConfig {
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
    };
    let mut stack = Stack::zeros(&config, "rnn");
    stack.visit_mut(&mut |parameter| {
        let values = random(parameter.len(), rng);
        parameter.value = values.iter().map(|x| x * 0.5).collect();
    });
    let shape = (SEQ_LEN, BATCH, HIDDEN);
    let problem = Problem {
        x: array(rng, (SEQ_LEN, BATCH, INPUT)),
        state: random_state(&stack, rng),
        d_output: array(rng, shape),
        d_state: random_state(&stack, rng),
    };
    let mut state = problem.state.clone();
    let (_, mut pass) = stack
        .forward_array(&compute, problem.x.view(), &mut state)
        .unwrap();
    let (d_x, d_state) = stack
        .backward_array(
            &compute,
            &mut pass,
            problem.d_output.view(),
            Some(&problem.d_state),
        )
        .unwrap();

    let label = |what: &str| format!("{cell:?} {nonlinearity:?} {num_layers} {what}");
    for parameter in values(&stack) {
        let mut values = parameter.value.clone();
        gradient_check(
            &label(&parameter.name),
            &mut values,
            &parameter.grad,
            |values| {
                let mut stack = stack.clone();
                set(&mut stack, &parameter.name, values);
                loss(&compute, &stack, &problem, &problem.x, &problem.state)
            },
        )
        .assert_below(TOLERANCE);
    }
    let mut x: Vec<f64> = problem.x.iter().copied().collect();
    let d_x: Vec<f64> = d_x.iter().copied().collect();
    gradient_check(&label("x"), &mut x, &d_x, |x| {
        let x = Array3::from_shape_vec(problem.x.dim(), x.to_vec()).unwrap();
        loss(&compute, &stack, &problem, &x, &problem.state)
    })
    .assert_below(TOLERANCE);
    for layer in 0..num_layers {
        let part = &problem.state[layer];
        let mut h = part.h.to_rows(0, BATCH);
        gradient_check(
            &label("h_0"),
            &mut h,
            &d_state[layer].h.to_rows(0, BATCH),
            |h| {
                let mut state = problem.state.clone();
                state[layer].h = panels(h, BATCH);
                loss(&compute, &stack, &problem, &problem.x, &state)
            },
        )
        .assert_below(TOLERANCE);
        if part.c.rows() > 0 {
            let mut c = part.c.to_rows(0, BATCH);
            gradient_check(
                &label("c_0"),
                &mut c,
                &d_state[layer].c.to_rows(0, BATCH),
                |c| {
                    let mut state = problem.state.clone();
                    state[layer].c = panels(c, BATCH);
                    loss(&compute, &stack, &problem, &problem.x, &state)
                },
            )
            .assert_below(TOLERANCE);
        }
    }
}

#[test]
fn layers_of_every_cell_pass_the_gradient_check() {
    for (cell, nonlinearity) in cells() {
        check_stack(cell, nonlinearity, 1);
    }
}

#[test]
fn stacks_of_every_cell_pass_the_gradient_check() {
    for (cell, nonlinearity) in cells() {
        check_stack(cell, nonlinearity, 2);
    }
}

fn check_language_model(cell: CellKind, tie_weights: bool, dropout: f64) {
    let rng = &mut ChaCha12Rng::seed_from_u64(5);
    let compute = Compute::single(Isa::detect());
    let config = ModelConfig {
        cell,
        hidden_size: 6,
        num_layers: 2,
        embedding_size: if tie_weights { 6 } else { 4 },
        dropout,
        tie_weights,
        window: 3,
        ..ModelConfig::default()
    };
    let vocab_size = 21;
    let mut model = LanguageModel::new(&config, vocab_size, rng);
    // Some tokens do not occur: their gradient is zero.
    let tokens: Vec<u32> = (0..5 * 3).map(|_| rng.random_range(0..15)).collect();
    let targets: Vec<u32> = (0..5 * 3).map(|_| rng.random_range(0..21)).collect();
    let batch = TokenBatch {
        inputs: &tokens,
        targets: &targets,
        batch: 3,
    };
    let mask = (dropout > 0.0).then_some(DropoutKey {
        seed: 1,
        step: 2,
        layer: 0,
    });
    let mut space = LanguageModelSpace::default();
    let state = model.zero_state(3);
    model.loss_and_gradients(&compute, &mut space, batch, &mut state.clone(), mask);
    for parameter in values(&model) {
        let mut values = parameter.value.clone();
        let label = format!(
            "{cell:?} tied {tie_weights} dropout {dropout} {}",
            parameter.name
        );
        gradient_check(&label, &mut values, &parameter.grad, |values| {
            let mut model = model.clone();
            set(&mut model, &parameter.name, values);
            let mut space = LanguageModelSpace::default();
            model.loss_and_gradients(&compute, &mut space, batch, &mut state.clone(), mask)
        })
        .assert_below(TOLERANCE);
    }
}

#[test]
fn language_models_pass_the_gradient_check() {
    for cell in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm, CellKind::Mlp] {
        check_language_model(cell, false, 0.0);
    }
    check_language_model(CellKind::Lstm, true, 0.0);
    check_language_model(CellKind::Lstm, false, 0.4);
    check_language_model(CellKind::Gru, true, 0.4);
}
