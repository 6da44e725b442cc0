//! Finite differences in f64 for whole encoder-decoders: every attention, every cell, from sentences, pictures and vectors.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::models::{
    BatchInputs, EncoderDecoder, EncoderDecoderSpace, InputShape, ModelConfig, Output,
    SequenceBatch, TargetBatch,
};
use refrain::nn::{AttentionKind, CellKind, Parameter, Parameters, Pooling, Steps};
use refrain_kernels::{Compute, DropoutKey, Isa, Panels};
use refrain_testing::gradient_check;

const TOLERANCE: f64 = 1e-6;
const VOCABULARY: usize = 6;

/// Values that gradient checks of large parameters look at.
const CHECKED: usize = 40;

struct Case {
    name: String,
    shape: InputShape,
    output: Output,
    lengths: Vec<usize>,
    config: ModelConfig,
    training: bool,
}

fn small() -> ModelConfig {
    ModelConfig {
        hidden_size: 5,
        embedding_size: 4,
        ..ModelConfig::default()
    }
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: String::new(),
            shape: InputShape::Tokens(7),
            output: Output::Steps,
            lengths: vec![4, 3, 1],
            config: small(),
            training: false,
        }
    }
}

fn random(count: usize, rng: &mut ChaCha12Rng) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn source(case: &Case, rng: &mut ChaCha12Rng) -> SequenceBatch<f64> {
    let steps = Steps::of_lengths(&case.lengths);
    let rows = steps.rows();
    let inputs = match case.shape {
        InputShape::Tokens(size) => BatchInputs::Tokens(
            (0..rows)
                .map(|_| rng.random_range(0..size as u32))
                .collect(),
        ),
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
        InputShape::Words { .. } => panic!("no task reads spellings and writes"),
    };
    SequenceBatch { steps, inputs }
}

/// Targets of 3, 2 and 0 tokens, of the sources 1, 2 and 0.
fn target(rng: &mut ChaCha12Rng) -> TargetBatch {
    let steps = Steps::of_lengths(&[4, 3, 1]);
    let boundary = VOCABULARY as u32;
    let words: Vec<u32> = (0..5)
        .map(|_| rng.random_range(0..VOCABULARY as u32))
        .collect();
    let [a, b, c, d, e] = words[..] else {
        unreachable!("five words")
    };
    TargetBatch {
        steps,
        inputs: vec![boundary, boundary, boundary, a, d, b, e, c],
        targets: vec![a, d, boundary, b, e, c, boundary, boundary],
        source_of: vec![1, 2, 0],
    }
}

fn check(case: &Case) {
    let rng = &mut ChaCha12Rng::seed_from_u64(5);
    let compute = Compute::single(Isa::detect());
    let mut model =
        EncoderDecoder::<f64>::new(&case.config, &case.shape, case.output, VOCABULARY, rng);
    let (source, target) = (source(case, rng), target(rng));
    let mask = case.training.then_some(DropoutKey {
        seed: 1,
        step: 2,
        layer: 0,
    });
    let mut space = EncoderDecoderSpace::default();
    let loss = model.loss_and_gradients(&compute, &mut space, &source, &target, mask);
    assert!(loss > 0.1, "{}: loss {loss}", case.name);
    let mut parameters: Vec<Parameter<f64>> = Vec::new();
    model.visit(&mut |parameter| parameters.push(parameter.clone()));
    for parameter in parameters {
        let stride = parameter.len().div_ceil(CHECKED);
        let places: Vec<usize> = (0..parameter.len()).step_by(stride).collect();
        let mut values: Vec<f64> = places.iter().map(|&at| parameter.value[at]).collect();
        let grad: Vec<f64> = places.iter().map(|&at| parameter.grad[at]).collect();
        let is_looked_at = grad.iter().any(|&x| x != 0.0);
        assert!(
            is_looked_at,
            "{} {}: no gradient",
            case.name, parameter.name
        );
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
            let mut space = EncoderDecoderSpace::default();
            model.loss_and_gradients(&compute, &mut space, &source, &target, mask)
        })
        .assert_below(TOLERANCE);
    }
}

#[test]
fn every_attention_passes() {
    for &attention in AttentionKind::ALL {
        for bidirectional in [false, true] {
            check(&Case {
                name: format!("{attention}, both ways: {bidirectional}"),
                config: ModelConfig {
                    attention,
                    bidirectional,
                    ..small()
                },
                ..Case::default()
            });
        }
    }
}

#[test]
fn every_cell_and_pooling_passes() {
    let cells = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm, CellKind::Mlp];
    for (cell, pooling) in
        cells
            .into_iter()
            .zip([Pooling::Mean, Pooling::Max, Pooling::Last, Pooling::Last])
    {
        for num_layers in [1, 2] {
            check(&Case {
                name: format!("{cell}, {num_layers} layers"),
                config: ModelConfig {
                    cell,
                    num_layers,
                    pooling,
                    window: 2,
                    bidirectional: cell != CellKind::Mlp,
                    attention: match cell {
                        CellKind::Mlp => AttentionKind::None,
                        _ => AttentionKind::General,
                    },
                    ..small()
                },
                ..Case::default()
            });
        }
    }
}

#[test]
fn dropout_norms_and_tied_weights_pass() {
    let tied = ModelConfig {
        tie_weights: true,
        embedding_size: 5,
        ..small()
    };
    let training = ModelConfig {
        num_layers: 2,
        dropout: 0.4,
        recurrent_dropout: 0.3,
        layer_norm: true,
        attention: AttentionKind::Additive,
        bidirectional: true,
        ..small()
    };
    for (name, config) in [("tied", tied), ("in training", training)] {
        check(&Case {
            name: name.into(),
            config,
            training: true,
            ..Case::default()
        });
    }
}

#[test]
fn pictures_and_vectors_pass() {
    let shapes = [
        InputShape::Frames {
            height: 8,
            width: 8,
            channels: 2,
        },
        InputShape::Vectors {
            features: 3,
            seq_len: Some(1),
        },
    ];
    for shape in shapes {
        for cell in [CellKind::Lstm, CellKind::Gru, CellKind::Mlp] {
            check(&Case {
                name: format!("{shape:?}, {cell}"),
                shape: shape.clone(),
                output: Output::Features,
                lengths: vec![1, 1, 1],
                config: ModelConfig {
                    cell,
                    window: 2,
                    ..small()
                },
                ..Case::default()
            });
        }
    }
}
