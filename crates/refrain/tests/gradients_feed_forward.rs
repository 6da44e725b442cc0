//! The feed-forward body and its window: finite differences in f64, PyTorch's numbers, one answer on every machine.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::nn::{
    FeedForward, FeedForwardConfig, FeedForwardSpace, Init, Nonlinearity, Parameter, Parameters,
    Steps, Window,
};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels, Scalar};
use refrain_testing::{Golden, assert_close, gradient_check, testdata};

const TOLERANCE: f64 = 1e-6;
/// PyTorch's numbers; both sides compute in f64, in another order of summation.
const GOLDEN_F64: f64 = 1e-10;
/// The same in f32: sums of some hundred products of numbers near 1; the largest error seen is under a fifth of this.
const GOLDEN_F32: f64 = 2e-5;
const LENGTHS: [usize; 4] = [5, 4, 4, 1];
const INPUT: usize = 7;
/// One group of sixteen units and a part of another.
const HIDDEN: usize = 19;
const MASK: DropoutKey = DropoutKey {
    seed: 1,
    step: 2,
    layer: 0,
};

fn random<T: Scalar>(count: usize, rng: &mut ChaCha12Rng) -> Vec<T> {
    (0..count)
        .map(|_| T::from_f64(rng.random_range(-1.0..1.0)))
        .collect()
}

fn panels<T: Scalar>(values: &[T], columns: usize) -> Panels<T> {
    let mut panels = Panels::new(values.len() / columns, columns);
    panels.copy_from_rows(0, values);
    panels
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn config(nonlinearity: Nonlinearity, num_layers: usize, dropout: f64) -> FeedForwardConfig {
    FeedForwardConfig {
        input_size: INPUT,
        hidden_size: HIDDEN,
        num_layers,
        nonlinearity,
        dropout,
        init: Init::Uniform,
    }
}

fn body<T: Scalar>(config: &FeedForwardConfig, rng: &mut ChaCha12Rng) -> FeedForward<T> {
    let mut body = FeedForward::zeros(config, "body");
    body.initialise(config, rng);
    body
}

fn parameters<T: Scalar>(body: &FeedForward<T>) -> Vec<Parameter<T>> {
    let mut all = Vec::new();
    body.visit(&mut |parameter| all.push(parameter.clone()));
    all
}

fn outputs<T: Scalar>(
    compute: &Compute,
    body: &FeedForward<T>,
    space: &mut FeedForwardSpace<T>,
    steps: &Steps,
    x: &[T],
) -> Vec<T> {
    body.pack(space, true);
    body.forward(compute, space, steps, &panels(x, INPUT), Some(MASK));
    space.hidden(body.layers.len() - 1).to_rows(0, steps.rows())
}

/// Outputs, the gradient of the input, the gradients of the parameters.
fn run<T: Scalar>(
    compute: &Compute,
    body: &mut FeedForward<T>,
    steps: &Steps,
    x: &[T],
    d_output: &[T],
) -> (Vec<T>, Vec<T>, Vec<Vec<T>>) {
    let mut space = FeedForwardSpace::default();
    let output = outputs(compute, body, &mut space, steps, x);
    let (x, d_output) = (panels(x, INPUT), panels(d_output, HIDDEN));
    let mut d_x = Panels::default();
    body.backward(
        compute,
        &mut space,
        steps,
        &x,
        Some(MASK),
        &d_output,
        &mut d_x,
    );
    let gradients = parameters(body).into_iter().map(|p| p.grad).collect();
    (output, d_x.to_rows(0, steps.rows()), gradients)
}

fn check(nonlinearity: Nonlinearity, num_layers: usize, dropout: f64) {
    let rng = &mut ChaCha12Rng::seed_from_u64(3);
    let compute = Compute::new(Isa::detect(), 2);
    let mut body = body::<f64>(&config(nonlinearity, num_layers, dropout), rng);
    let steps = Steps::of_lengths(&LENGTHS);
    let mut x = random(steps.rows() * INPUT, rng);
    let d_output = random(steps.rows() * HIDDEN, rng);
    let (_, d_x, _) = run(&compute, &mut body, &steps, &x, &d_output);
    let mut space = FeedForwardSpace::default();
    let label = format!("{nonlinearity} {num_layers} {dropout}");
    for parameter in parameters(&body) {
        let mut values = parameter.value.clone();
        let label = format!("{label} {}", parameter.name);
        gradient_check(&label, &mut values, &parameter.grad, |values| {
            let mut changed = body.clone();
            changed.visit_mut(&mut |other| {
                if other.name == parameter.name {
                    other.value.copy_from_slice(values);
                }
            });
            dot(
                &outputs(&compute, &changed, &mut space, &steps, &x),
                &d_output,
            )
        })
        .assert_below(TOLERANCE);
    }
    gradient_check(&format!("{label} x"), &mut x, &d_x, |x| {
        dot(&outputs(&compute, &body, &mut space, &steps, x), &d_output)
    })
    .assert_below(TOLERANCE);
}

#[test]
fn feed_forward_bodies_pass_the_gradient_check() {
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
        for num_layers in 1..=3 {
            check(nonlinearity, num_layers, 0.0);
        }
        check(nonlinearity, 3, 0.4);
    }
}

#[test]
fn dropout_drops_on_the_way_between_layers_only() {
    let rng = &mut ChaCha12Rng::seed_from_u64(8);
    let compute = Compute::single(Isa::detect());
    let steps = Steps::uniform(3, 2);
    let x: Vec<f64> = random(6 * INPUT, rng);
    for (num_layers, dropped) in [(1, false), (2, true)] {
        let with = config(Nonlinearity::Tanh, num_layers, 0.5);
        let body = body::<f64>(&with, rng);
        let mut space = FeedForwardSpace::default();
        let masked = outputs(&compute, &body, &mut space, &steps, &x);
        body.forward(&compute, &mut space, &steps, &panels(&x, INPUT), None);
        let plain = space.hidden(num_layers - 1).to_rows(0, 6);
        assert_eq!(masked != plain, dropped, "{num_layers} layers");
    }
}

#[test]
fn threads_and_instruction_sets_change_no_bit() {
    let rng = &mut ChaCha12Rng::seed_from_u64(5);
    let steps = Steps::of_lengths(&[40; 60]);
    let x: Vec<f32> = random(steps.rows() * INPUT, rng);
    let d_output = random(steps.rows() * HIDDEN, rng);
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
        let mut body = body(&config(nonlinearity, 2, 0.3), rng);
        let single = Compute::single(Isa::SCALAR);
        let expected = run(&single, &mut body, &steps, &x, &d_output);
        for (isa, threads) in [(Isa::SCALAR, 3), (Isa::detect(), 1), (Isa::detect(), 2)] {
            let compute = Compute::new(isa, threads);
            let found = run(&compute, &mut body, &steps, &x, &d_output);
            assert!(
                found == expected,
                "{nonlinearity}, {isa:?}, {threads} threads"
            );
        }
    }
}

#[test]
fn other_initialisations_are_xavier_with_biases_zero() {
    let rng = &mut ChaCha12Rng::seed_from_u64(6);
    for init in [Init::Xavier, Init::Orthogonal, Init::Identity] {
        let config = FeedForwardConfig {
            init,
            ..config(Nonlinearity::Tanh, 2, 0.0)
        };
        let body = body::<f64>(&config, rng);
        let bound = (6.0 / (INPUT + HIDDEN) as f64).sqrt();
        let weight = &body.layers[0].weight.value;
        assert!(weight.iter().all(|w| w.abs() <= bound), "{init}");
        assert!(weight.iter().any(|w| w.abs() > 0.9 * bound), "{init}");
        assert!(body.layers[0].bias.value.iter().all(|&b| b == 0.0));
    }
}

const WINDOWS: [Window; 4] = [
    Window {
        before: 0,
        after: 0,
    },
    Window {
        before: 2,
        after: 0,
    },
    Window {
        before: 1,
        after: 2,
    },
    Window {
        before: 7,
        after: 1,
    },
];

fn windows<T: Scalar>(window: Window, steps: &Steps, x: &[T], features: usize) -> Vec<T> {
    let mut y = Panels::default();
    window.forward(steps, &panels(x, features), &mut y);
    y.to_rows(0, steps.rows())
}

fn windows_backward<T: Scalar>(
    window: Window,
    steps: &Steps,
    d_y: &[T],
    features: usize,
) -> Vec<T> {
    let mut d_x = Panels::default();
    let d_y = panels(d_y, window.len() * features);
    window.backward(steps, &d_y, &mut d_x);
    d_x.to_rows(0, steps.rows())
}

#[test]
fn windows_are_right_by_hand() {
    // Two sequences: 1, 2, 3 and 10.
    let steps = Steps::of_lengths(&[3, 1]);
    let window = Window {
        before: 1,
        after: 1,
    };
    let y = windows(window, &steps, &[1.0, 10.0, 2.0, 3.0], 1);
    let expected = [
        [0.0, 1.0, 2.0],
        [0.0, 10.0, 0.0],
        [1.0, 2.0, 3.0],
        [2.0, 3.0, 0.0],
    ];
    assert_eq!(y, expected.as_flattened());
    let d_y: Vec<f64> = (1..=12).map(f64::from).collect();
    // 2 + 7; 5; 3 + 8 + 10; 9 + 11.
    let d_x = windows_backward(window, &steps, &d_y, 1);
    assert_eq!(d_x, [9.0, 5.0, 21.0, 20.0]);
}

#[test]
fn windows_pass_the_gradient_check() {
    let rng = &mut ChaCha12Rng::seed_from_u64(12);
    let steps = Steps::of_lengths(&LENGTHS);
    for window in WINDOWS {
        for features in [INPUT, 16, 33] {
            let mut x = random(steps.rows() * features, rng);
            let d_y = random(steps.rows() * window.len() * features, rng);
            let d_x = windows_backward(window, &steps, &d_y, features);
            gradient_check(&format!("{window:?} {features}"), &mut x, &d_x, |x| {
                dot(&windows(window, &steps, x, features), &d_y)
            })
            .assert_below(TOLERANCE);
        }
    }
}

#[test]
fn the_windows_of_a_sequence_alone_equal_those_in_a_batch() {
    let rng = &mut ChaCha12Rng::seed_from_u64(13);
    let steps = Steps::of_lengths(&LENGTHS);
    let x: Vec<f32> = random(steps.rows() * INPUT, rng);
    for window in WINDOWS {
        let width = window.len() * INPUT;
        let y = windows(window, &steps, &x, INPUT);
        let d_y: Vec<f32> = random(y.len(), rng);
        let d_x = windows_backward(window, &steps, &d_y, INPUT);
        for (row, &length) in LENGTHS.iter().enumerate() {
            let own = |values: &[f32], columns: usize| -> Vec<f32> {
                let rows = steps.offsets()[..length].iter().map(|first| first + row);
                rows.flat_map(|at| values[at * columns..][..columns].to_vec())
                    .collect()
            };
            let alone = Steps::uniform(length, 1);
            let y_alone = windows(window, &alone, &own(&x, INPUT), INPUT);
            assert_eq!(y_alone, own(&y, width), "{window:?}, row {row}");
            let d_x_alone = windows_backward(window, &alone, &own(&d_y, width), INPUT);
            assert_eq!(d_x_alone, own(&d_x, INPUT), "{window:?}, row {row}");
        }
    }
}

fn check_golden<T: Scalar + Into<f64>>(nonlinearity: Nonlinearity, tolerance: f64) {
    let file = format!("golden/feed_forward_{nonlinearity}.safetensors");
    let golden = Golden::load(testdata(file));
    let numbers = |name: &str| golden.f64(name).1;
    let cast = |name: &str| -> Vec<T> { numbers(name).into_iter().map(T::from_f64).collect() };
    let config = FeedForwardConfig {
        input_size: 4,
        ..config(nonlinearity, 3, 0.0)
    };
    let mut body = FeedForward::<T>::zeros(&config, "body");
    body.visit_mut(&mut |parameter| {
        parameter.value = cast(parameter.name.trim_start_matches("body."));
    });
    let compute = Compute::new(Isa::detect(), 2);
    let steps = Steps::uniform(5, 3);
    let mut space = FeedForwardSpace::default();
    let (x, d_output) = (panels(&cast("x"), 4), panels(&cast("d_output"), HIDDEN));
    body.pack(&mut space, true);
    body.forward(&compute, &mut space, &steps, &x, None);
    let output = space.hidden(2).to_rows(0, 15);
    assert_close("output", &output, &numbers("output"), tolerance, tolerance);
    let mut d_x = Panels::default();
    body.backward(&compute, &mut space, &steps, &x, None, &d_output, &mut d_x);
    let d_x = d_x.to_rows(0, 15);
    assert_close("d_x", &d_x, &numbers("d_x"), tolerance, tolerance);
    for parameter in parameters(&body) {
        let name = parameter.name.replace("body.", "d_");
        let expected = numbers(&name);
        assert_close(&name, &parameter.grad, &expected, tolerance, tolerance);
    }
}

#[test]
fn feed_forward_bodies_equal_pytorch() {
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
        check_golden::<f64>(nonlinearity, GOLDEN_F64);
        check_golden::<f32>(nonlinearity, GOLDEN_F32);
    }
}
