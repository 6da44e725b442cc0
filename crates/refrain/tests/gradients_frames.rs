//! The frame encoder: finite differences in f64, PyTorch's numbers, and one answer on every machine.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::nn::{FrameConfig, FrameEncoder, FrameSpace, Parameter, Parameters};
use refrain_kernels::{Compute, Isa, Panels, Scalar};
use refrain_testing::{Golden, assert_close, gradient_check, testdata};

const TOLERANCE: f64 = 1e-6;
/// Weights are this many times PyTorch's: the steps of the difference quotients are then small beside them, and few cross a
/// kink of a rectifier or a max-pool.
const SCALE: f64 = 8.0;

/// PyTorch's numbers; both sides compute in f64, in another order of summation.
const GOLDEN_F64: f64 = 1e-10;
/// The same in f32: sums of some hundred products of numbers near 1; the largest error seen is a third of this.
const GOLDEN_F32: f64 = 2e-5;

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

fn encoder<T: Scalar>(config: FrameConfig, rng: &mut ChaCha12Rng) -> FrameEncoder<T> {
    let mut encoder = FrameEncoder::zeros(config, "encoder");
    encoder.initialise(rng);
    encoder.visit_mut(&mut |parameter| {
        for value in &mut parameter.value {
            *value *= T::from_f64(SCALE);
        }
    });
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
        // Every number of a small parameter; of a large one, numbers at all nine places of the kernel.
        let step = match parameter.len() {
            0..=150 => 1,
            count => count / 270 * 9 + 7,
        };
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
    check(config(1, 1, 1, 4), 9);
    check(config(2, 7, 2, 3), 2);
}

#[test]
fn deep_frame_encoders_pass_the_gradient_check() {
    let deep = config(34, 36, 1, 4);
    assert_eq!(FrameEncoder::<f32>::zeros(deep, "").convolutions.len(), 4);
    check(deep, 1);
}

fn check_machines<T: Scalar>(config: FrameConfig, rows: usize) {
    let rng = &mut ChaCha12Rng::seed_from_u64(7);
    let mut encoder = encoder::<T>(config, rng);
    let problem = Problem::new(config, rows, rng);
    let single = Compute::single(Isa::SCALAR);
    let expected = run(&single, &mut encoder, &mut FrameSpace::default(), &problem);
    // One space for all: what a pass leaves in it changes nothing.
    let mut space = FrameSpace::default();
    let other = Problem::new(config, rows + 5, rng);
    for (isa, threads) in [
        (Isa::SCALAR, 2),
        (Isa::detect(), 1),
        (Isa::detect(), 2),
        (Isa::detect(), 3),
    ] {
        let compute = Compute::new(isa, threads);
        run(&compute, &mut encoder, &mut space, &other);
        let found = run(&compute, &mut encoder, &mut space, &problem);
        assert!(found == expected, "{isa:?}, {threads} threads");
    }
}

#[test]
fn threads_and_instruction_sets_change_no_bit() {
    check_machines::<f32>(config(16, 40, 1, 20), 37);
    check_machines::<f32>(config(5, 6, 3, 7), 90);
    check_machines::<f64>(config(9, 7, 2, 16), 11);
}

#[test]
fn a_frame_alone_equals_the_frame_in_a_batch() {
    let rng = &mut ChaCha12Rng::seed_from_u64(9);
    let compute = Compute::new(Isa::detect(), 2);
    let config = config(10, 13, 2, 18);
    let encoder = encoder::<f32>(config, rng);
    let problem = Problem::new(config, 21, rng);
    let together = forward(&compute, &encoder, &mut FrameSpace::default(), &problem);
    let mut space = FrameSpace::default();
    let frames = problem.frames.chunks_exact(10 * 13 * 2);
    for (frame, expected) in frames.zip(together.chunks_exact(config.features)) {
        let alone = Problem {
            rows: 1,
            frames: frame.to_vec(),
            d_output: Panels::new(1, config.features),
        };
        assert_eq!(forward(&compute, &encoder, &mut space, &alone), expected);
    }
}

#[test]
fn names_sizes_and_estimates_fit_each_other() {
    for (height, width, channels, convolutions, flat) in [
        (16, 40, 1, 2, 4 * 10 * 32),
        (1, 1, 3, 1, 16),
        (4, 100, 1, 1, 2 * 50 * 16),
        (28, 28, 1, 3, 4 * 4 * 64),
        (64, 80, 3, 4, 4 * 5 * 64),
        (224, 224, 3, 4, 14 * 14 * 64),
    ] {
        let config = config(height, width, channels, 10);
        let encoder = FrameEncoder::<f32>::zeros(config, "encoder");
        assert_eq!(encoder.convolutions.len(), convolutions, "{config:?}");
        assert_eq!(encoder.linear.weight.shape, [10, flat], "{config:?}");
        let count = encoder.parameter_count() as f64;
        assert_eq!(config.parameter_estimate(), count, "{config:?}");
        assert!(config.memory_estimate(1000) > config.memory_estimate(10));
    }
    let encoder = FrameEncoder::<f32>::zeros(config(16, 40, 1, 8), "encoder");
    let names: Vec<_> = parameters(&encoder).into_iter().map(|p| p.name).collect();
    assert_eq!(
        names,
        [
            "encoder.conv0.weight",
            "encoder.conv0.bias",
            "encoder.conv1.weight",
            "encoder.conv1.bias",
            "encoder.linear.weight",
            "encoder.linear.bias",
        ]
    );
}

fn check_golden<T: Scalar + Into<f64>>(tolerance: f64) {
    let golden = Golden::load(testdata("golden/frame_encoder.safetensors"));
    let numbers = |name: &str| golden.f64(name).1;
    let cast = |name: &str| -> Vec<T> { numbers(name).into_iter().map(T::from_f64).collect() };
    let config = config(9, 11, 2, 19);
    let mut encoder = FrameEncoder::<T>::zeros(config, "encoder");
    encoder.visit_mut(&mut |parameter| {
        parameter.value = cast(parameter.name.trim_start_matches("encoder."));
    });
    let mut problem = Problem {
        rows: 3,
        frames: cast("frames"),
        d_output: Panels::new(3, config.features),
    };
    problem.d_output.copy_from_rows(0, &cast("d_output"));
    let compute = Compute::new(Isa::detect(), 2);
    let mut space = FrameSpace::default();
    let (output, _) = run(&compute, &mut encoder, &mut space, &problem);
    assert_close("output", &output, &numbers("output"), tolerance, tolerance);
    for parameter in parameters(&encoder) {
        let name = parameter.name.replace("encoder.", "d_");
        let expected = numbers(&name);
        assert_close(&name, &parameter.grad, &expected, tolerance, tolerance);
    }
}

#[test]
fn a_frame_encoder_equals_pytorch() {
    check_golden::<f64>(GOLDEN_F64);
    check_golden::<f32>(GOLDEN_F32);
}
