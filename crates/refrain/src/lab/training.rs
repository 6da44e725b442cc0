//! Training runs without a folder: the library's trainer, and a recorder that keeps the history in memory.

use super::Conditions;
use crate::error::{Error, Result};
use crate::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule};
use crate::train::events::{Event, Step, Validation};
use crate::train::{Budget, Progress, Recorder, Surroundings, Task, TrainConfig, Trainer};

/// What a training run of an experiment was.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) steps: Vec<Step>,
    pub(super) validations: Vec<Validation>,
    /// Why it ended before its time: a loss, gradient or weight that is not finite.
    pub(super) broke: Option<String>,
}

impl History {
    /// The training losses.
    pub(super) fn losses(&self) -> Vec<f64> {
        self.steps.iter().map(|step| step.loss_nats).collect()
    }

    /// The loss of the first step, before anything was learnt.
    pub(super) fn first_loss(&self) -> f64 {
        self.steps.first().map_or(f64::NAN, |step| step.loss_nats)
    }

    /// The mean training loss of the last steps, infinite where the run broke.
    pub(super) fn last_loss(&self, steps: usize) -> f64 {
        if self.broke.is_some() || self.steps.is_empty() {
            return f64::INFINITY;
        }
        let last = &self.steps[self.steps.len().saturating_sub(steps)..];
        last.iter().map(|step| step.loss_nats).sum::<f64>() / last.len() as f64
    }

    /// The last score, if there was one.
    pub(super) fn score(&self) -> Option<&Validation> {
        self.validations.last()
    }

    /// A metric of the last score; not a number without.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let metric = self.score().and_then(|score| score.metrics.get(name));
        metric.copied().unwrap_or(f64::NAN)
    }

    /// The loss of the last score; infinite where the run broke.
    pub(super) fn score_loss(&self) -> f64 {
        match (&self.broke, self.score()) {
            (None, Some(score)) => score.loss_nats,
            _ => f64::INFINITY,
        }
    }
}

impl<K: Task + ?Sized> Recorder<K> for History {
    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step(step) => self.steps.push(step.clone()),
            Event::Validation(validation) => self.validations.push(validation.clone()),
            _ => {}
        }
        Ok(())
    }

    fn save_best(&mut self, _: &K, _: &Progress) -> Result<()> {
        Ok(())
    }

    fn save(&mut self, _: &K, _: &Optimizer<f32>, _: &Progress) -> Result<()> {
        Ok(())
    }
}

/// So many steps of Adam with the learning rate and one clipping norm of 1, scored at the end.
pub(super) fn adam(steps: u64, learning_rate: f64, seed: u64) -> TrainConfig {
    TrainConfig {
        optimizer: OptimizerConfig {
            kind: OptimizerKind::Adam,
            learning_rate,
            momentum: 0.0,
            weight_decay: 0.0,
            clip_norm: Some(1.0),
            schedule: Schedule::Constant,
            warmup_steps: 0,
        },
        batch: 1,
        bptt: None,
        carry_state: true,
        budget: Budget::Steps(steps),
        eval_every: steps.max(1),
        watch: Vec::new(),
        watch_every: steps.max(1),
        save_every: u64::MAX,
        patience: None,
        seed,
    }
}

/// The same with stochastic gradient descent.
pub(super) fn sgd(
    steps: u64,
    learning_rate: f64,
    clip_norm: Option<f64>,
    seed: u64,
) -> TrainConfig {
    let config = adam(steps, learning_rate, seed);
    TrainConfig {
        optimizer: OptimizerConfig {
            kind: OptimizerKind::Sgd,
            clip_norm,
            ..config.optimizer
        },
        ..config
    }
}

/// Trains to the end of the budget, or until a number is not finite.
pub(super) fn train<K: Task + ?Sized>(
    conditions: &Conditions<'_>,
    task: &mut K,
    config: &TrainConfig,
) -> Result<History> {
    let mut history = History::default();
    let mut optimizer = Optimizer::new(&config.optimizer, task.parameters());
    let surroundings = Surroundings {
        clock: conditions.clock,
        stop: &|| false,
    };
    let run = Trainer::new(config, conditions.compute).run(
        task,
        &mut optimizer,
        &mut Progress::default(),
        &mut history,
        &surroundings,
    );
    match run {
        Ok(_) => {}
        Err(error @ Error::NonFinite { .. }) => history.broke = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(history)
}
