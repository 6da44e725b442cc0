//! The network of the example: four letters as one-hot inputs, three hidden units, four scores.

use refrain::data::Vocabulary;
use refrain::generate::Sampler;
use refrain::models::{LanguageModel, LanguageModelSpace, ModelConfig, Stream, TokenBatch};
use refrain::nn::{CellKind, Parameter, Parameters};
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain::train::{Purpose, keyed_rng};
use refrain::{Compute, Isa};
use serde::Serialize;

/// What is learnt.
pub(super) const TEXT: &str = "hello";
/// In the order of the notes.
pub(super) const VOCABULARY: [char; 4] = ['h', 'e', 'l', 'o'];
/// Units of the hidden layer, as the notes draw it.
pub(super) const HIDDEN: usize = 3;
/// High, since there are a few dozen weights and four letters.
pub(super) const LEARNING_RATE: f64 = 0.05;

/// Training ends when the sum of the losses is below this, which means that each right letter has nearly all of the
/// probability...
pub(super) const ENOUGH_NATS: f64 = 0.05;
/// ... or after so many steps.
const MOST_STEPS: u64 = 2000;
/// Which stream of the seed's random numbers gives the first weights: the first one where, with the seed 0, every cell
/// errs before training as the notes tell it, `h -> o` and `e -> o`.
const WEIGHTS: u64 = 50;

/// One letter read.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) input: char,
    pub(super) hidden: Vec<f32>,
    pub(super) scores: Vec<f32>,
    /// The letter of the highest score.
    pub(super) output: char,
    pub(super) target: char,
    pub(super) right: bool,
    pub(super) loss_nats: f64,
}

/// The word read.
#[derive(Debug, Serialize)]
pub(super) struct Reading {
    pub(super) steps: Vec<Step>,
    /// The sum over the steps.
    pub(super) loss_nats: f64,
}

/// One letter drawn.
#[derive(Debug, Serialize)]
pub(super) struct Drawn {
    pub(super) input: char,
    pub(super) hidden: Vec<f32>,
    pub(super) scores: Vec<f32>,
    pub(super) probabilities: Vec<f64>,
    pub(super) drawn: char,
}

pub(super) struct Network {
    model: LanguageModel<f32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

/// What is trained: all but the embedding, which is the identity, so that a letter goes in as its one-hot vector.
struct Trained<'a>(&'a mut LanguageModel<f32>);

impl Parameters<f32> for Trained<'_> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<f32>)) {
        self.0.stack.visit(visit);
        self.0.linear.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<f32>)) {
        self.0.stack.visit_mut(visit);
        self.0.linear.visit_mut(visit);
    }
}

impl Network {
    pub(super) fn new(cell: CellKind, seed: u64) -> refrain::Result<Self> {
        Self::with_weights(cell, seed, WEIGHTS)
    }

    fn with_weights(cell: CellKind, seed: u64, weights: u64) -> refrain::Result<Self> {
        let vocabulary = Vocabulary::from_chars(VOCABULARY)?;
        let config = ModelConfig {
            cell,
            hidden_size: HIDDEN,
            num_layers: 1,
            embedding_size: VOCABULARY.len(),
            ..ModelConfig::default()
        };
        let mut rng = keyed_rng(seed, Purpose::Weights, weights);
        let mut model = LanguageModel::new(&config, vocabulary.len(), &mut rng);
        let embedding = &mut model.embedding.weight.value;
        embedding.fill(0.0);
        embedding
            .iter_mut()
            .step_by(VOCABULARY.len() + 1)
            .for_each(|one| *one = 1.0);
        let ids = vocabulary.try_encode(TEXT)?;
        Ok(Self {
            model,
            inputs: ids[..ids.len() - 1].to_vec(),
            targets: ids[1..].to_vec(),
        })
    }

    /// Reads the word letter by letter.
    pub(super) fn read(&mut self, isa: Isa) -> refrain::Result<Reading> {
        let losses = self.losses(isa);
        let mut stream = Stream::new(&mut self.model, isa);
        let mut steps = Vec::new();
        for ((&input, &target), loss_nats) in self.inputs.iter().zip(&self.targets).zip(losses) {
            let scores = stream.step(input).to_vec();
            let best = Sampler::best(&scores, 1)?;
            let output = best.first().map_or(0, |(id, _)| *id);
            steps.push(Step {
                input: letter(input),
                hidden: stream.state()[0].h.to_rows(0, 1),
                scores,
                output: letter(output),
                target: letter(target),
                right: output == target,
                loss_nats,
            });
        }
        let loss_nats = steps.iter().map(|step| step.loss_nats).sum();
        Ok(Reading { steps, loss_nats })
    }

    /// The loss at each step.
    fn losses(&mut self, isa: Isa) -> Vec<f64> {
        let mut space = LanguageModelSpace::default();
        self.model.prepare(&mut space);
        let mut state = self.model.zero_state(1);
        let batch = TokenBatch {
            inputs: &self.inputs,
            targets: &self.targets,
            batch: 1,
        };
        self.model
            .loss(&Compute::single(isa), &mut space, batch, &mut state);
        space.losses().to_vec()
    }

    /// Trains until the word is known; the sum of the losses before each step.
    pub(super) fn train(&mut self, isa: Isa) -> Vec<f64> {
        let config = OptimizerConfig {
            kind: OptimizerKind::Adam,
            learning_rate: LEARNING_RATE,
            momentum: 0.0,
            weight_decay: 0.0,
            clip_norm: None,
            schedule: Schedule::Constant,
            warmup_steps: 0,
        };
        let compute = Compute::single(isa);
        let mut optimizer = Optimizer::new(&config, &Trained(&mut self.model));
        let mut space = LanguageModelSpace::default();
        let mut losses = Vec::new();
        for step in 1..=MOST_STEPS {
            let mut state = self.model.zero_state(1);
            let batch = TokenBatch {
                inputs: &self.inputs,
                targets: &self.targets,
                batch: 1,
            };
            let mean = self
                .model
                .loss_and_gradients(&compute, &mut space, batch, &mut state, None);
            let loss = mean * self.targets.len() as f64;
            if loss < ENOUGH_NATS {
                break;
            }
            losses.push(loss);
            let mut trained = Trained(&mut self.model);
            let update = optimizer.clip(gradient_norm(&compute, &trained));
            optimizer.update(&compute, &mut trained, step, LEARNING_RATE, update);
        }
        losses
    }

    /// Draws as many letters as the word has after its first.
    pub(super) fn sample(&mut self, isa: Isa, seed: u64) -> refrain::Result<Vec<Drawn>> {
        let mut stream = Stream::new(&mut self.model, isa);
        let mut rng = keyed_rng(seed, Purpose::Sample, 0);
        let mut sampler = Sampler::new();
        let mut token = self.inputs[0];
        let mut steps = Vec::new();
        for _ in &self.targets {
            let scores = stream.step(token).to_vec();
            let mut probabilities = vec![0.0; scores.len()];
            for (id, probability) in Sampler::best(&scores, scores.len())? {
                probabilities[id as usize] = probability;
            }
            let draw = sampler.draw(&scores, &mut rng)?;
            steps.push(Drawn {
                input: letter(token),
                hidden: stream.state()[0].h.to_rows(0, 1),
                scores,
                probabilities,
                drawn: letter(draw.id),
            });
            token = draw.id;
        }
        Ok(steps)
    }
}

fn letter(id: u32) -> char {
    VOCABULARY[id as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that the command offers.
    const CELLS: [CellKind; 3] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm];

    #[test]
    fn the_default_seed_errs_before_as_the_notes_do() {
        for cell in CELLS {
            let mut network = Network::new(cell, 0).unwrap();
            let before = network.read(Isa::detect()).unwrap();
            let outputs: Vec<_> = before.steps.iter().map(|step| step.output).collect();
            assert_eq!(outputs[..2], ['o', 'o'], "{cell}");
        }
    }

    #[test]
    fn every_seed_learns_the_word() {
        for cell in CELLS {
            for seed in 0..10 {
                let mut network = Network::new(cell, seed).unwrap();
                let losses = network.train(Isa::detect());
                let after = network.read(Isa::detect()).unwrap();
                let steps = losses.len() as u64;
                assert!(
                    steps > 10 && steps < MOST_STEPS,
                    "{cell}, seed {seed}: {steps} steps"
                );
                assert!(
                    after.steps.iter().all(|step| step.right),
                    "{cell}, seed {seed}"
                );
                assert!(
                    after.loss_nats < ENOUGH_NATS,
                    "{cell}, seed {seed}: {after:?}"
                );
            }
        }
    }

    #[test]
    fn inputs_stay_one_hot() {
        let mut network = Network::new(CellKind::Gru, 1).unwrap();
        network.train(Isa::detect());
        let embedding = &network.model.embedding.weight.value;
        let expected = (0..16).map(|at| if at % 5 == 0 { 1.0 } else { 0.0 });
        assert!(embedding.iter().copied().eq(expected), "{embedding:?}");
    }

    #[test]
    fn the_losses_are_those_of_the_scores() {
        let mut network = Network::new(CellKind::Lstm, 2).unwrap();
        let reading = network.read(Isa::detect()).unwrap();
        for step in &reading.steps {
            let best = Sampler::best(&step.scores, 4).unwrap();
            let target = VOCABULARY
                .iter()
                .position(|letter| *letter == step.target)
                .unwrap();
            let (_, probability) = best.iter().find(|(id, _)| *id as usize == target).unwrap();
            assert!(
                (step.loss_nats + libm::log(*probability)).abs() < 1e-6,
                "{step:?}"
            );
        }
    }

    /// How [`WEIGHTS`] was found.
    #[test]
    fn the_first_weights_that_err_so_are_taken() {
        let errs = |cell, weights| {
            let mut network = Network::with_weights(cell, 0, weights).unwrap();
            let reading = network.read(Isa::detect()).unwrap();
            reading.steps[..2].iter().all(|step| step.output == 'o')
        };
        let found = (0..1000).find(|&n| CELLS.iter().all(|&cell| errs(cell, n)));
        assert_eq!(found, Some(WEIGHTS));
    }
}
