//! Tasks whose answer rests on something that stood a known number of steps before: what a gradient must reach.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use refrain_kernels::{Compute, DropoutKey, Panels};

use crate::models::{
    BatchInputs, Forecaster, ForecasterShape, ForecasterSpace, InputShape, LabelBatch, Labeller,
    LabellerSpace, ModelConfig, Output, SequenceBatch,
};
use crate::nn::{ForecastLoss, Layer, Parameters};
use crate::train::events::Start;
use crate::train::{Purpose, Score, StepLoss, Task, best_class, keyed_rng};

/// A task with a distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The first token is one of four; the others are noise. Which was it?
    Copy,
    /// X or Y stands near the beginning, and X or Y in the middle; the others are noise. Which two, in which order?
    Order,
    /// A number at each step, two of them marked, one in each half. What is their sum?
    Adding,
}

impl Problem {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Order => "temporal order",
            Self::Adding => "adding",
        }
    }

    /// The share that is right by guessing: one of four; of sums between 0 and 2, always saying 1.
    pub(super) fn chance(self) -> f64 {
        match self {
            Self::Copy | Self::Order => 0.25,
            Self::Adding => 2.0 * NEAR - NEAR * NEAR,
        }
    }
}

const CLASSES: usize = 4;
const NOISE: u32 = 4;
const TOKENS: usize = 8;
/// A sum is right that is off by less.
const NEAR: f64 = 0.1;
/// Sequences that are scored.
const SCORED: usize = 256;

/// What answers.
#[derive(Debug)]
enum Net {
    Classes(Box<(Labeller<f32>, LabellerSpace<f32>)>),
    Sum(Box<(Forecaster<f32>, ForecasterSpace<f32>)>),
}

/// A problem with the network that learns it, from sequences that are drawn anew at every step.
#[derive(Debug)]
pub(super) struct ProblemTask {
    problem: Problem,
    length: usize,
    scored_length: usize,
    batch: usize,
    seed: u64,
    net: Net,
}

/// A batch with its answers.
struct Drawn {
    batch: SequenceBatch<f32>,
    labels: LabelBatch,
    sums: Panels<f32>,
}

impl ProblemTask {
    /// Sequences of so many steps.
    pub(super) fn new(
        problem: Problem,
        length: usize,
        config: &ModelConfig,
        batch: usize,
        seed: u64,
    ) -> Self {
        let mut rng = keyed_rng(seed, Purpose::Weights, 0);
        let net = match problem {
            Problem::Copy | Problem::Order => {
                let shape = InputShape::Tokens(TOKENS);
                let model = Labeller::new(config, &shape, Output::Sequence, CLASSES, &mut rng);
                Net::Classes(Box::new((model, LabellerSpace::default())))
            }
            Problem::Adding => {
                let shape = ForecasterShape {
                    input: InputShape::Vectors {
                        features: 2,
                        seq_len: None,
                    },
                    output: Output::Sequence,
                    horizon: 1,
                    targets: 1,
                    loss: ForecastLoss::Mse,
                    shortcut: Vec::new(),
                };
                let model = Forecaster::new(config, &shape, &mut rng);
                Net::Sum(Box::new((model, ForecasterSpace::default())))
            }
        };
        Self {
            problem,
            length,
            scored_length: length,
            batch,
            seed,
            net,
        }
    }

    /// Scores sequences of another length than it learns from.
    pub(super) fn scored_on(&mut self, length: usize) {
        self.scored_length = length;
    }

    /// The lowest recurrent layer.
    pub(super) fn layer(&self) -> Option<&Layer<f32>> {
        use crate::models::Body;
        let encoder = match &self.net {
            Net::Classes(net) => &net.0.encoder,
            Net::Sum(net) => &net.0.encoder,
        };
        match &encoder.body {
            Body::Recurrent(stack) => stack.layers.first(),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn layer_mut(&mut self) -> Option<&mut Layer<f32>> {
        use crate::models::Body;
        let encoder = match &mut self.net {
            Net::Classes(net) => &mut net.0.encoder,
            Net::Sum(net) => &mut net.0.encoder,
        };
        match &mut encoder.body {
            Body::Recurrent(stack) => stack.layers.first_mut(),
            _ => None,
        }
    }

    /// What the lowest layer reads of tokens: a vector for each step, of one drawn sequence.
    pub(super) fn vectors(&self, number: u64) -> Vec<Vec<f64>> {
        use crate::models::Reader;
        let mut rng = keyed_rng(self.seed, Purpose::Sample, number);
        let drawn = draw(self.problem, self.length, 1, &mut rng);
        match (&self.net, &drawn.batch.inputs) {
            (Net::Classes(net), BatchInputs::Tokens(tokens)) => match &net.0.encoder.reader {
                Reader::Tokens(embedding) => {
                    let size = embedding.embedding_size();
                    let vector = |&token: &u32| {
                        let vector = &embedding.weight.value[token as usize * size..][..size];
                        vector.iter().map(|&value| f64::from(value)).collect()
                    };
                    tokens.iter().map(vector).collect()
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// So many sequences of a problem.
fn draw(problem: Problem, length: usize, count: usize, rng: &mut impl Rng) -> Drawn {
    let mut drawn = Drawn {
        batch: SequenceBatch {
            steps: crate::nn::Steps::uniform(length, count),
            inputs: BatchInputs::default(),
        },
        labels: LabelBatch::default(),
        sums: Panels::new(count, 1),
    };
    if problem == Problem::Adding {
        let mut x = Panels::new(length * count, 2);
        for row in 0..count {
            let first = rng.random_range(0..length / 2);
            let second = rng.random_range(length / 2..length);
            let mut sum = 0.0;
            for t in 0..length {
                let value: f32 = rng.random_range(0.0..1.0);
                x.set(t * count + row, 0, value);
                if t == first || t == second {
                    x.set(t * count + row, 1, 1.0);
                    sum += value;
                }
            }
            drawn.sums.set(row, 0, sum);
        }
        drawn.batch.inputs = BatchInputs::Vectors(x);
        return drawn;
    }
    let mut tokens = vec![0; length * count];
    for row in 0..count {
        for t in 0..length {
            tokens[t * count + row] = rng.random_range(NOISE..TOKENS as u32);
        }
        let label = rng.random_range(0..CLASSES as u32);
        match problem {
            Problem::Copy => tokens[row] = label,
            _ => {
                let first = rng.random_range(length / 10..=length / 5);
                let second = rng.random_range(length / 2..=length * 3 / 5);
                tokens[first * count + row] = label / 2;
                tokens[second * count + row] = label % 2;
            }
        }
        drawn.labels.labels.push(label);
        drawn.labels.weights.push(1.0);
    }
    drawn.batch.inputs = BatchInputs::Tokens(tokens);
    drawn
}

impl Task for ProblemTask {
    fn start(&self) -> Start {
        Start {
            task: self.problem.name().into(),
            parameters: self.parameters().parameter_count() as u64,
            train_tokens: 0,
            validation_tokens: (SCORED * self.scored_length) as u64,
            vocabulary_size: TOKENS as u64,
            steps_per_epoch: 1,
            total_steps: None,
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        1
    }

    fn parameters(&self) -> &(dyn Parameters<f32> + Send) {
        match &self.net {
            Net::Classes(net) => &net.0,
            Net::Sum(net) => &net.0,
        }
    }

    fn parameters_mut(&mut self) -> &mut (dyn Parameters<f32> + Send) {
        match &mut self.net {
            Net::Classes(net) => &mut net.0,
            Net::Sum(net) => &mut net.0,
        }
    }

    fn step(&mut self, compute: &Compute, step: u64) -> StepLoss {
        let mut rng = keyed_rng(self.seed, Purpose::Shuffle, step);
        let drawn = draw(self.problem, self.length, self.batch, &mut rng);
        let mask = Some(DropoutKey {
            seed: self.seed,
            step,
            layer: 0,
        });
        let net = &mut self.net;
        let loss_nats = compute.run(|| match net {
            Net::Classes(net) => {
                let (model, space) = net.as_mut();
                model.loss_and_gradients(compute, space, &drawn.batch, &drawn.labels, mask)
            }
            Net::Sum(net) => {
                let (model, space) = net.as_mut();
                model.loss_and_gradients(compute, space, &drawn.batch, &drawn.sums, mask)
            }
        });
        StepLoss {
            loss_nats,
            tokens: (self.batch * self.length) as u64,
        }
    }

    fn undo_step(&mut self) {}

    fn validate(&mut self, compute: &Compute) -> Option<Score> {
        let mut rng = keyed_rng(self.seed, Purpose::Sample, u64::from(u32::MAX));
        let drawn = draw(self.problem, self.scored_length, SCORED, &mut rng);
        let (loss, right) = match &mut self.net {
            Net::Classes(net) => {
                let (model, space) = net.as_mut();
                model.pack(space, false);
                let loss = model.loss(compute, space, &drawn.batch, &drawn.labels);
                // The scores have become probabilities without a common factor: their order is the same.
                let scores = space.scores();
                let labels = drawn.labels.labels.iter().enumerate();
                let right = labels
                    .filter(|&(row, &label)| {
                        best_class(CLASSES, |class| scores.get(row, class)) == label
                    })
                    .count();
                (loss / SCORED as f64, right)
            }
            Net::Sum(net) => {
                let (model, space) = net.as_mut();
                model.pack(space, false);
                let loss = model.loss(compute, space, &drawn.batch, &drawn.sums);
                let answers = space.outputs();
                let off = |row| f64::from(answers.get(row, 0)) - f64::from(drawn.sums.get(row, 0));
                let right = (0..SCORED).filter(|&row| off(row).abs() < NEAR).count();
                (loss, right)
            }
        };
        let accuracy = right as f64 / SCORED as f64;
        Some(Score {
            loss_nats: loss,
            metrics: BTreeMap::from([("accuracy".to_owned(), accuracy)]),
        })
    }
}
