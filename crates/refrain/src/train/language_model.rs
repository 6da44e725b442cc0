use std::collections::BTreeMap;

use refrain_kernels::{Compute, DropoutKey, Panels};

use super::bptt::ChunkPlan;
use super::events::Start;
use super::{Carried, Purpose, Score, StepLoss, Task, keyed_rng};
use crate::data::Vocabulary;
use crate::error::{Error, Result};
use crate::generate::{Generator, Sampler};
use crate::inspect::gates::{GateCounter, GateUse};
use crate::inspect::watch::{
    GATE_STEPS, Watch, WatchKind, WatchedGate, gradients_of_text, spectrum_of,
};
use crate::models::{LanguageModel, LanguageModelSpace, TokenBatch};
use crate::nn::{Parameters, StackState};

/// Steps of each of the streams whose gates are watched.
const WATCHED_STEPS: usize = 64;
/// Tokens of a sample drawn while training.
const SAMPLE_TOKENS: usize = 200;

/// The data of a [`LanguageModelTask`].
#[derive(Clone, Debug)]
pub struct LanguageModelData {
    /// The symbols.
    pub vocabulary: Vocabulary,
    /// Tokens of the training part.
    pub train: Vec<u32>,
    /// Tokens of the validation part; empty if there is none.
    pub validation: Vec<u32>,
    /// Tokens of the test part; empty if there is none.
    pub test: Vec<u32>,
}

/// Training a language model by truncated backpropagation through time.
#[derive(Debug)]
pub struct LanguageModelTask {
    model: LanguageModel<f32>,
    data: LanguageModelData,
    plan: ChunkPlan,
    seed: u64,
    space: LanguageModelSpace<f32>,
    state: StackState<f32>,
    /// The state before the last step.
    previous: StackState<f32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

impl LanguageModelTask {
    /// Joins a model with its data.
    #[must_use]
    pub fn new(
        model: LanguageModel<f32>,
        data: LanguageModelData,
        plan: ChunkPlan,
        seed: u64,
    ) -> Self {
        let state = model.zero_state(plan.batch());
        Self {
            previous: state.clone(),
            state,
            model,
            data,
            plan,
            seed,
            space: LanguageModelSpace::default(),
            inputs: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &LanguageModel<f32> {
        &self.model
    }

    /// The model, to be changed.
    pub fn model_mut(&mut self) -> &mut LanguageModel<f32> {
        &mut self.model
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &LanguageModelData {
        &self.data
    }

    /// The score of the test part, if there is one.
    pub fn score_test(&mut self, compute: &Compute) -> Option<Score> {
        let tokens = std::mem::take(&mut self.data.test);
        let score = self.score(compute, &tokens);
        self.data.test = tokens;
        score
    }

    /// The score of any tokens: as many streams side by side as the training batch has (fewer for a short text), each with
    /// its state carried from chunk to chunk. A rest of fewer tokens than streams is left out.
    pub fn score(&mut self, compute: &Compute, tokens: &[u32]) -> Option<Score> {
        let pairs = tokens.len().checked_sub(1).filter(|&pairs| pairs > 0)?;
        let seq_len = self.plan.seq_len().min(pairs);
        let batch = self.plan.batch().min(pairs / seq_len).max(1);
        let stream = pairs / batch;
        let Self {
            model,
            space,
            inputs,
            targets,
            ..
        } = self;
        let total = compute.run(|| {
            model.prepare(space);
            let mut state = model.zero_state(batch);
            let mut total = 0.0;
            let mut at = 0;
            while at < stream {
                let steps = seq_len.min(stream - at);
                inputs.clear();
                targets.clear();
                for t in at..at + steps {
                    for row in 0..batch {
                        inputs.push(tokens[row * stream + t]);
                        targets.push(tokens[row * stream + t + 1]);
                    }
                }
                let chunk = TokenBatch {
                    inputs,
                    targets,
                    batch,
                };
                total += model.loss(compute, space, chunk, &mut state);
                at += steps;
            }
            total
        });
        let loss_nats = total / (batch * stream) as f64;
        let metrics = BTreeMap::from([
            (
                "bits_per_token".to_owned(),
                loss_nats / std::f64::consts::LN_2,
            ),
            ("perplexity".to_owned(), libm::exp(loss_nats)),
        ]);
        Some(Score { loss_nats, metrics })
    }
}

/// How the gates stand over the beginnings of streams of a text, read side by side.
fn text_gates(compute: &Compute, model: &mut LanguageModel<f32>, ids: &[u32]) -> Vec<GateUse> {
    let count = ids.len().min(GATE_STEPS);
    let steps = WATCHED_STEPS.min(count);
    let batch = count / steps.max(1);
    if batch == 0 {
        return Vec::new();
    }
    let stream = ids.len() / batch;
    let rows = (0..steps).flat_map(|t| (0..batch).map(move |row| row * stream + t));
    let inputs: Vec<u32> = rows.map(|at| ids[at]).collect();
    let tokens = TokenBatch {
        inputs: &inputs,
        targets: &inputs,
        batch,
    };
    // A space of its own: that of the steps keeps what it holds.
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(batch);
    compute.run(|| model.loss(compute, &mut space, tokens, &mut state));
    let mut counter = GateCounter::default();
    counter.add("rnn", &model.stack, space.stack());
    counter.finish()
}

impl Task for LanguageModelTask {
    fn start(&self) -> Start {
        Start {
            task: "lm".into(),
            parameters: self.model.parameter_count() as u64,
            train_tokens: self.data.train.len() as u64,
            validation_tokens: self.data.validation.len() as u64,
            vocabulary_size: self.data.vocabulary.len() as u64,
            steps_per_epoch: self.steps_per_epoch(),
            total_steps: None,
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    fn parameters(&self) -> &(dyn Parameters<f32> + Send) {
        &self.model
    }

    fn parameters_mut(&mut self) -> &mut (dyn Parameters<f32> + Send) {
        &mut self.model
    }

    fn step(&mut self, compute: &Compute, step: u64) -> StepLoss {
        let Self {
            model,
            data,
            plan,
            seed,
            space,
            state,
            previous,
            inputs,
            targets,
            ..
        } = self;
        for (previous, state) in previous.iter_mut().zip(&*state) {
            previous.h.clone_from(&state.h);
            previous.c.clone_from(&state.c);
        }
        if plan.resets_before(step) {
            state.iter_mut().for_each(crate::nn::State::fill_zero);
        }
        plan.fill(step, &data.train, inputs, targets);
        let batch = TokenBatch {
            inputs,
            targets,
            batch: plan.batch(),
        };
        let mask = DropoutKey {
            seed: *seed,
            step,
            layer: 0,
        };
        let loss_nats =
            compute.run(|| model.loss_and_gradients(compute, space, batch, state, Some(mask)));
        StepLoss {
            loss_nats,
            tokens: targets.len() as u64,
        }
    }

    fn undo_step(&mut self) {
        std::mem::swap(&mut self.state, &mut self.previous);
    }

    fn validate(&mut self, compute: &Compute) -> Option<Score> {
        let tokens = std::mem::take(&mut self.data.validation);
        let score = self.score(compute, &tokens);
        self.data.validation = tokens;
        score
    }

    fn watch(&mut self, compute: &Compute, what: &[WatchKind]) -> Watch {
        let ids = match self.data.validation.len() {
            0..2 => &self.data.train,
            _ => &self.data.validation,
        };
        let mut seen = Watch::default();
        for kind in what {
            match kind {
                WatchKind::Gradients => {
                    seen.gradients = gradients_of_text(compute, &self.model, ids);
                }
                WatchKind::Spectrum => seen.spectrum = spectrum_of(&self.model),
                WatchKind::Gates => {
                    let gates = text_gates(compute, &mut self.model, ids);
                    seen.gates = gates.iter().map(WatchedGate::from).collect();
                }
            }
        }
        seen
    }

    fn sample(&mut self, compute: &Compute, step: u64) -> Option<String> {
        let mut rng = keyed_rng(self.seed, Purpose::Sample, step);
        let vocabulary = self.data.vocabulary.clone();
        let first = self.data.train.first().copied();
        let mut generator = Generator::new(&mut self.model, &vocabulary, compute.isa());
        generator.start(&generator.default_prompt(first));
        let mut ids = Vec::with_capacity(SAMPLE_TOKENS);
        let mut sampler = Sampler::new();
        for _ in 0..SAMPLE_TOKENS {
            ids.push(generator.next(&mut sampler, &mut rng).ok()?.id);
        }
        Some(vocabulary.decode(&ids))
    }

    fn carried(&self) -> Vec<Carried> {
        let part = |kind: &str, layer: usize, panels: &Panels<f32>| Carried {
            name: format!("{kind}_l{layer}"),
            shape: vec![panels.rows(), panels.columns()],
            values: panels.to_rows(0, panels.rows()),
        };
        let mut carried = Vec::new();
        for (layer, state) in self.state.iter().enumerate() {
            carried.push(part("h", layer, &state.h));
            if state.c.rows() > 0 {
                carried.push(part("c", layer, &state.c));
            }
        }
        carried
    }

    fn restore(&mut self, carried: Vec<Carried>) -> Result<()> {
        for expected in self.carried() {
            let found = carried.iter().find(|part| part.name == expected.name);
            if found.is_none_or(|part| part.shape != expected.shape) {
                return Err(Error::Shape {
                    name: format!("carried.{}", expected.name),
                    found: found.map_or_else(Vec::new, |part| part.shape.clone()),
                    expected: expected.shape,
                });
            }
        }
        for (layer, state) in self.state.iter_mut().enumerate() {
            for (kind, panels) in [("h", &mut state.h), ("c", &mut state.c)] {
                let name = format!("{kind}_l{layer}");
                if let Some(part) = carried.iter().find(|part| part.name == name) {
                    panels.copy_from_rows(0, &part.values);
                }
            }
        }
        Ok(())
    }
}
