//! Finite differences in f64 for whole labellers: every kind of input, every body, every pooling.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::models::{
    BatchInputs, InputShape, LabelBatch, Labeller, LabellerSpace, ModelConfig, Output,
    SequenceBatch, SpelledWords,
};
use refrain::nn::{CellKind, Parameter, Parameters, Pooling, Steps};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels};
use refrain_testing::gradient_check;

const TOLERANCE: f64 = 1e-6;
const CLASSES: usize = 3;
const LENGTHS: [usize; 3] = [4, 2, 1];

/// Values that gradient checks of large parameters look at.
const CHECKED: usize = 40;

fn random(count: usize, rng: &mut ChaCha12Rng) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn inputs(shape: &InputShape, steps: &Steps, rng: &mut ChaCha12Rng) -> BatchInputs<f64> {
    let rows = steps.rows();
    match *shape {
        InputShape::Tokens(size) => BatchInputs::Tokens(
            (0..rows)
                .map(|_| rng.random_range(0..size as u32))
                .collect(),
        ),
        InputShape::Words {
            vocab_size,
            characters,
        } => {
            // Two of the distinct words are unknown, and spelt differently.
            let words = vec![0, 2, 0, vocab_size as u32 - 1];
            let ends = vec![3, 4, 6, 9];
            BatchInputs::Words(SpelledWords {
                index: (0..rows).map(|_| rng.random_range(0..4)).collect(),
                words,
                characters: (0..9)
                    .map(|_| rng.random_range(0..characters as u32))
                    .collect(),
                ends,
            })
        }
        InputShape::Vectors { features, .. } => {
            let mut panels = Panels::new(rows, features);
            panels.copy_from_rows(0, &random(rows * features, rng));
            BatchInputs::Vectors(panels)
        }
        InputShape::Frames {
            height,
            width,
            channels,
        } => BatchInputs::Frames(random(rows * height * width * channels, rng)),
    }
}

struct Case {
    name: &'static str,
    shape: InputShape,
    output: Output,
    lengths: Vec<usize>,
    config: ModelConfig,
    training: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: "",
            shape: InputShape::Tokens(9),
            output: Output::Sequence,
            lengths: LENGTHS.to_vec(),
            config: ModelConfig {
                hidden_size: 5,
                embedding_size: 4,
                ..ModelConfig::default()
            },
            training: false,
        }
    }
}

fn check(case: &Case) {
    let rng = &mut ChaCha12Rng::seed_from_u64(3);
    let compute = Compute::single(Isa::detect());
    let mut model = Labeller::<f64>::new(&case.config, &case.shape, case.output, CLASSES, rng);
    let steps = Steps::of_lengths(&case.lengths);
    let batch = SequenceBatch {
        inputs: inputs(&case.shape, &steps, rng),
        steps,
    };
    let rows = match case.output {
        Output::Steps | Output::Past => batch.steps.rows(),
        Output::Sequence | Output::Features => batch.steps.batch(),
    };
    let labels = LabelBatch {
        labels: (0..rows as u32).map(|row| row % CLASSES as u32).collect(),
        // One has no label, the others count differently.
        weights: (0..rows).map(|row| [1.0, 0.0, 2.5][row % 3]).collect(),
    };
    let mask = case.training.then_some(DropoutKey {
        seed: 1,
        step: 2,
        layer: 0,
    });
    let mut space = LabellerSpace::default();
    let loss = model.loss_and_gradients(&compute, &mut space, &batch, &labels, mask);
    assert!(loss > 0.1, "{}: loss {loss}", case.name);
    let mut parameters: Vec<Parameter<f64>> = Vec::new();
    model.visit(&mut |parameter| parameters.push(parameter.clone()));
    for parameter in parameters {
        // Every element of small parameters, some of large ones.
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
            let mut space = LabellerSpace::default();
            model.loss_and_gradients(&compute, &mut space, &batch, &labels, mask)
        })
        .assert_below(TOLERANCE);
    }
}

fn small() -> ModelConfig {
    Case::default().config
}

#[test]
fn classifiers_of_every_pooling_pass() {
    for (name, pooling) in [
        ("last", Pooling::Last),
        ("mean", Pooling::Mean),
        ("max", Pooling::Max),
    ] {
        for bidirectional in [false, true] {
            check(&Case {
                name,
                config: ModelConfig {
                    pooling,
                    bidirectional,
                    num_layers: 2,
                    ..small()
                },
                ..Case::default()
            });
        }
    }
}

#[test]
fn classifiers_of_vectors_pass() {
    for cell in [CellKind::Gru, CellKind::Rnn] {
        check(&Case {
            name: "vectors",
            shape: InputShape::Vectors {
                features: 6,
                seq_len: None,
            },
            config: ModelConfig { cell, ..small() },
            ..Case::default()
        });
    }
}

#[test]
fn taggers_of_words_with_spellings_pass() {
    check(&Case {
        name: "words",
        shape: InputShape::Words {
            vocab_size: 6,
            characters: 7,
        },
        output: Output::Steps,
        config: ModelConfig {
            bidirectional: true,
            ..small()
        },
        ..Case::default()
    });
}

#[test]
fn taggers_of_video_pass() {
    check(&Case {
        name: "frames",
        shape: InputShape::Frames {
            height: 6,
            width: 5,
            channels: 2,
        },
        output: Output::Steps,
        config: ModelConfig {
            bidirectional: true,
            ..small()
        },
        ..Case::default()
    });
}

#[test]
fn all_masks_and_norms_of_training_pass() {
    for (name, shape, output) in [
        ("tokens", InputShape::Tokens(9), Output::Sequence),
        (
            "words",
            InputShape::Words {
                vocab_size: 6,
                characters: 7,
            },
            Output::Steps,
        ),
    ] {
        check(&Case {
            name,
            shape,
            output,
            config: ModelConfig {
                bidirectional: true,
                num_layers: 2,
                dropout: 0.3,
                recurrent_dropout: 0.3,
                layer_norm: true,
                batch_norm: true,
                pooling: Pooling::Mean,
                ..small()
            },
            training: true,
            ..Case::default()
        });
    }
}

#[test]
fn plain_networks_pass() {
    let plain = ModelConfig {
        cell: CellKind::Mlp,
        num_layers: 2,
        window: 3,
        dropout: 0.2,
        ..small()
    };
    for (name, shape, output, lengths) in [
        (
            "window",
            InputShape::Tokens(9),
            Output::Steps,
            LENGTHS.to_vec(),
        ),
        (
            "mean",
            InputShape::Tokens(9),
            Output::Sequence,
            LENGTHS.to_vec(),
        ),
        (
            "spelt",
            InputShape::Words {
                vocab_size: 6,
                characters: 7,
            },
            Output::Steps,
            LENGTHS.to_vec(),
        ),
        (
            "whole",
            InputShape::Vectors {
                features: 4,
                seq_len: Some(3),
            },
            Output::Sequence,
            vec![3, 3],
        ),
        (
            "frames",
            InputShape::Frames {
                height: 5,
                width: 4,
                channels: 1,
            },
            Output::Steps,
            LENGTHS.to_vec(),
        ),
    ] {
        check(&Case {
            name,
            shape,
            output,
            lengths,
            config: plain.clone(),
            training: true,
        });
    }
}
