//! The frame encoder: finite differences in f64, a reference of plain loops, and one answer on every machine.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::nn::{FrameConfig, FrameEncoder, FrameSpace, Parameter, Parameters};
use refrain_kernels::{Compute, Isa, Panels, Scalar};
use refrain_testing::{assert_close, gradient_check};

const TOLERANCE: f64 = 1e-6;
/// Both sides in f64, in another order of summation.
const REFERENCE: f64 = 1e-12;

fn config(height: usize, width: usize, channels: usize, features: usize) -> FrameConfig {
    FrameConfig {
        height,
        width,
        channels,
        features,
    }
}

fn random<T: Scalar>(count: usize, rng: &mut ChaCha12Rng) -> Vec<T> {
    (0..count)
        .map(|_| T::from_f64(rng.random_range(-1.0..1.0)))
        .collect()
}

/// Weights that PyTorch's defaults would give, biases of another size, so that some units are dead and some are not.
fn encoder<T: Scalar>(config: FrameConfig, rng: &mut ChaCha12Rng) -> FrameEncoder<T> {
    let mut encoder = FrameEncoder::zeros(config, "encoder");
    encoder.initialise(rng);
    encoder
}

/// A problem: frames and the gradient of their features.
struct Problem<T> {
    rows: usize,
    frames: Vec<T>,
    d_output: Panels<T>,
}

impl<T: Scalar> Problem<T> {
    fn new(config: FrameConfig, rows: usize, rng: &mut ChaCha12Rng) -> Self {
        let numbers = rows * config.height * config.width * config.channels;
        let frames = random(numbers, rng);
        let mut d_output = Panels::new(rows, config.features);
        d_output.copy_from_rows(0, &random(rows * config.features, rng));
        Self {
            rows,
            frames,
            d_output,
        }
    }
}

fn forward<T: Scalar>(
    compute: &Compute,
    encoder: &FrameEncoder<T>,
    space: &mut FrameSpace<T>,
    problem: &Problem<T>,
) -> Vec<T> {
    let mut output = Panels::default();
    encoder.pack(space, true);
    encoder.forward(compute, space, &problem.frames, problem.rows, &mut output);
    output.to_rows(0, problem.rows)
}

fn parameters<T: Scalar>(encoder: &FrameEncoder<T>) -> Vec<Parameter<T>> {
    let mut all = Vec::new();
    encoder.visit(&mut |parameter| all.push(parameter.clone()));
    all
}

/// Features and all gradients.
fn run<T: Scalar>(
    compute: &Compute,
    encoder: &mut FrameEncoder<T>,
    space: &mut FrameSpace<T>,
    problem: &Problem<T>,
) -> (Vec<T>, Vec<Vec<T>>) {
    let output = forward(compute, encoder, space, problem);
    encoder.backward(compute, space, &problem.d_output);
    let gradients = parameters(encoder).into_iter().map(|p| p.grad).collect();
    (output, gradients)
}

fn check(config: FrameConfig, rows: usize) {
    let rng = &mut ChaCha12Rng::seed_from_u64(3);
    let compute = Compute::single(Isa::detect());
    let mut encoder = encoder::<f64>(config, rng);
    let problem = Problem::new(config, rows, rng);
    let mut space = FrameSpace::default();
    run(&compute, &mut encoder, &mut space, &problem);
    let d_output = problem.d_output.to_rows(0, rows);
    for parameter in parameters(&encoder) {
        // Every number of a small parameter; of a large one, numbers all over it.
        let step = (parameter.len() / 60).max(1) | 1;
        let places: Vec<usize> = (0..parameter.len()).step_by(step).collect();
        let mut values: Vec<f64> = places.iter().map(|&at| parameter.value[at]).collect();
        let grad: Vec<f64> = places.iter().map(|&at| parameter.grad[at]).collect();
        assert!(grad.iter().any(|&d| d != 0.0), "{}", parameter.name);
        let label = format!("{config:?} {}", parameter.name);
        gradient_check(&label, &mut values, &grad, |values| {
            let mut changed = encoder.clone();
            changed.visit_mut(&mut |other| {
                if other.name == parameter.name {
                    for (&at, &value) in places.iter().zip(values) {
                        other.value[at] = value;
                    }
                }
            });
            let output = forward(&compute, &changed, &mut space, &problem);
            output.iter().zip(&d_output).map(|(y, d)| y * d).sum()
        })
        .assert_below(TOLERANCE);
    }
}

#[test]
fn frame_encoders_pass_the_gradient_check() {
    check(config(9, 11, 1, 5), 3);
    check(config(6, 10, 3, 17), 2);
    check(config(1, 1, 1, 4), 2);
    check(config(2, 7, 2, 3), 2);
}

#[test]
fn deep_frame_encoders_pass_the_gradient_check() {
    let deep = config(34, 36, 1, 4);
    assert_eq!(FrameEncoder::<f32>::zeros(deep, "").convolutions.len(), 4);
    check(deep, 1);
}
