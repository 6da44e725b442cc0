//! Finite differences in f64 for whole forecasters: every loss, every shape, every body; PyTorch's losses.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::models::{
    BatchInputs, Forecaster, ForecasterShape, ForecasterSpace, InputShape, ModelConfig, Output,
    SequenceBatch,
};
use refrain::nn::{CellKind, ForecastLoss, ForecastLosses, Parameter, Parameters, Steps};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels};
use refrain_testing::{Golden, assert_close, gradient_check, testdata};

const TOLERANCE: f64 = 1e-6;
const FEATURES: usize = 3;
/// Values that gradient checks of large parameters look at.
const CHECKED: usize = 30;

struct Case {
    name: String,
    output: Output,
    lengths: Vec<usize>,
    loss: ForecastLoss,
    shortcut: bool,
    config: ModelConfig,
    training: bool,
}

fn random(rows: usize, columns: usize, rng: &mut ChaCha12Rng) -> Panels<f64> {
    let mut panels = Panels::new(rows, columns);
    let values: Vec<f64> = (0..rows * columns)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    panels.copy_from_rows(0, &values);
    panels
}

fn check(case: &Case) {
    let rng = &mut ChaCha12Rng::seed_from_u64(5);
    let compute = Compute::single(Isa::detect());
    let steps = Steps::of_lengths(&case.lengths);
    let whole = case.lengths.iter().all(|length| *length == steps.len());
    let windows = case.output == Output::Sequence;
    let shape = ForecasterShape {
        input: InputShape::Vectors {
            features: FEATURES,
            seq_len: (windows && whole).then_some(steps.len()),
        },
        output: case.output,
        horizon: if windows { 2 } else { 1 },
        targets: 2,
        loss: case.loss,
        shortcut: if case.shortcut {
            vec![2, 0]
        } else {
            Vec::new()
        },
    };
    let mut model = Forecaster::<f64>::new(&case.config, &shape, rng);
    let batch = SequenceBatch {
        inputs: BatchInputs::Vectors(random(steps.rows(), FEATURES, rng)),
        steps,
    };
    let rows = if windows {
        batch.steps.batch()
    } else {
        batch.steps.rows()
    };
    let mut targets = random(rows, shape.horizon * shape.targets, rng);
    if case.loss == ForecastLoss::Bernoulli {
        for block in targets.blocks_mut() {
            block.0 = block.0.map(|value| f64::from(u8::from(value > 0.0)));
        }
    }
    let mask = case.training.then_some(DropoutKey {
        seed: 1,
        step: 2,
        layer: 0,
    });
    let mut space = ForecasterSpace::default();
    let loss = model.loss_and_gradients(&compute, &mut space, &batch, &targets, mask);
    assert!(loss > 0.05, "{}: loss {loss}", case.name);
    let mut parameters: Vec<Parameter<f64>> = Vec::new();
    model.visit(&mut |parameter| parameters.push(parameter.clone()));
    assert_eq!(
        case.shortcut,
        parameters.iter().any(|p| p.name == "shortcut.weight")
    );
    for parameter in parameters {
        let stride = parameter.len().div_ceil(CHECKED);
        let places: Vec<usize> = (0..parameter.len()).step_by(stride).collect();
        let mut values: Vec<f64> = places.iter().map(|&at| parameter.value[at]).collect();
        let grad: Vec<f64> = places.iter().map(|&at| parameter.grad[at]).collect();
        let label = format!("{} {}", case.name, parameter.name);
        gradient_check(&label, &mut values, &grad, |values| {
            let mut model = model.clone();
            model.visit_mut(&mut |other| {
                if other.name == parameter.name {
                    for (&at, &value) in places.iter().zip(values) {
                        other.value[at] = value;
                    }
                }
            });
            let mut space = ForecasterSpace::default();
            model.loss_and_gradients(&compute, &mut space, &batch, &targets, mask)
        })
        .assert_below(TOLERANCE);
    }
}

fn small(cell: CellKind) -> ModelConfig {
    ModelConfig {
        cell,
        hidden_size: 5,
        window: 2,
        ..ModelConfig::default()
    }
}

#[test]
fn every_loss_in_every_shape() {
    for &loss in ForecastLoss::ALL {
        for (output, lengths, shortcut) in [
            (Output::Sequence, vec![4, 4, 4], true),
            (Output::Sequence, vec![4, 2, 1], false),
            (Output::Past, vec![4, 2, 1], false),
            (Output::Steps, vec![3, 3], false),
        ] {
            check(&Case {
                name: format!("{loss} {output:?} {lengths:?}"),
                output,
                lengths,
                loss,
                shortcut,
                config: small(CellKind::Lstm),
                training: false,
            });
        }
    }
}

#[test]
fn every_cell_with_all_that_belongs_to_it() {
    for &cell in CellKind::ALL {
        let recurrent = cell != CellKind::Mlp;
        for (output, lengths, shortcut) in [
            (Output::Sequence, vec![4, 4, 4], true),
            (Output::Sequence, vec![4, 2, 1], false),
            (Output::Past, vec![4, 2, 1], false),
        ] {
            check(&Case {
                name: format!("{cell} {output:?}"),
                output,
                lengths,
                loss: ForecastLoss::Gaussian,
                shortcut,
                config: ModelConfig {
                    num_layers: 2,
                    bidirectional: recurrent && output == Output::Sequence,
                    layer_norm: recurrent,
                    dropout: 0.3,
                    recurrent_dropout: if recurrent { 0.2 } else { 0.0 },
                    ..small(cell)
                },
                training: true,
            });
        }
    }
}

/// What must be said of the steps before `at` does not depend on the step `at`, and that at `at` does.
#[test]
fn no_step_sees_those_after_it() {
    let compute = Compute::single(Isa::detect());
    for &cell in CellKind::ALL {
        let rng = &mut ChaCha12Rng::seed_from_u64(2);
        let shape = ForecasterShape {
            input: InputShape::Vectors {
                features: FEATURES,
                seq_len: None,
            },
            output: Output::Past,
            horizon: 1,
            targets: 2,
            loss: ForecastLoss::Mse,
            shortcut: Vec::new(),
        };
        let model = Forecaster::<f64>::new(&small(cell), &shape, rng);
        let mut inputs = random(6, FEATURES, rng);
        let answers = |inputs: &Panels<f64>| {
            let batch = SequenceBatch {
                steps: Steps::uniform(6, 1),
                inputs: BatchInputs::Vectors(inputs.clone()),
            };
            let mut space = ForecasterSpace::default();
            model.pack(&mut space, false);
            model.answer(&compute, &mut space, &batch, None);
            space.outputs().to_rows(0, 6)
        };
        let before = answers(&inputs);
        inputs.set(3, 1, 9.0);
        let after = answers(&inputs);
        assert_eq!(before[..6], after[..6], "{cell}");
        assert_ne!(before[6..8], after[6..8], "{cell}");
    }
}

/// Losses and gradients of PyTorch, in f64.
#[test]
fn losses_equal_pytorch() {
    let golden = Golden::load(testdata("golden/forecast_losses.safetensors"));
    let panels = |name: &str| {
        let (shape, values) = golden.f64(name);
        let mut panels = Panels::new(shape[0], values.len() / shape[0]);
        panels.copy_from_rows(0, &values);
        panels
    };
    for &loss in ForecastLoss::ALL {
        let name = loss.name();
        let mut outputs = panels(&format!("{name}.outputs"));
        let targets = panels(&format!("{name}.targets"));
        let mut losses = ForecastLosses::default();
        let (rows, steps) = (targets.rows(), 3);
        let plain = losses.forward(loss, &outputs, &targets, steps) / rows as f64;
        let found = losses.forward_backward(loss, &mut outputs, &targets, steps);
        assert_eq!(plain.to_bits(), found.to_bits());
        let expected = golden.f64(&format!("{name}.loss")).1[0];
        assert_close(name, &[found], &[expected], 1e-12, 1e-12);
        let expected = golden.f64(&format!("{name}.d_outputs")).1;
        assert_close(name, &outputs.to_rows(0, rows), &expected, 1e-12, 1e-12);
    }
}

/// A whole forecaster of PyTorch, its answers and gradients, in f64.
#[test]
fn a_forecaster_equals_pytorch() {
    let golden = Golden::load(testdata("golden/forecaster.safetensors"));
    let shape = ForecasterShape {
        input: InputShape::Vectors {
            features: 4,
            seq_len: Some(5),
        },
        output: Output::Sequence,
        horizon: 3,
        targets: 2,
        loss: ForecastLoss::Mse,
        shortcut: vec![1, 3],
    };
    let config = ModelConfig {
        hidden_size: 19,
        ..small(CellKind::Lstm)
    };
    let mut model = Forecaster::<f64>::zeros(&config, &shape);
    model.visit_mut(&mut |parameter| parameter.value = golden.f64(&parameter.name).1);
    let panels = |name: &str, rows: usize| {
        let values = golden.f64(name).1;
        let mut panels = Panels::new(rows, values.len() / rows);
        panels.copy_from_rows(0, &values);
        panels
    };
    let batch = SequenceBatch {
        steps: Steps::uniform(5, 3),
        inputs: BatchInputs::Vectors(panels("x", 15)),
    };
    let targets = panels("targets", 3);
    let compute = Compute::single(Isa::detect());
    let mut space = ForecasterSpace::default();
    model.pack(&mut space, false);
    model.answer(&compute, &mut space, &batch, None);
    let answers = golden.f64("answers").1;
    assert_close(
        "answers",
        &space.outputs().to_rows(0, 3),
        &answers,
        1e-10,
        1e-10,
    );
    let loss = model.loss_and_gradients(&compute, &mut space, &batch, &targets, None);
    assert_close("loss", &[loss], &golden.f64("loss").1, 1e-10, 1e-10);
    let mut compared = 0;
    model.visit(&mut |parameter| {
        let expected = golden.f64(&format!("d_{}", parameter.name)).1;
        assert_close(&parameter.name, &parameter.grad, &expected, 1e-10, 1e-10);
        compared += 1;
    });
    assert_eq!(compared, 8);
}
