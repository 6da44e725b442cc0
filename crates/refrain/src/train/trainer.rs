use refrain_kernels::{Compute, all_finite};
use serde::{Deserialize, Serialize};

use super::events::{End, Event, Sample, Save, Step, Validation, Watch};
use super::{Budget, Score, Task, TrainConfig};
use crate::error::{Error, Result};
use crate::optim::{Optimizer, Plateau, Schedule, gradient_norm};

/// The weight of the newest loss in the running mean that a run reports as its training loss.
const SMOOTHING: f64 = 0.02;

/// Where a run stands, beside its weights and moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds of training, over all parts of the run.
    pub elapsed_s: f64,
    /// Running mean of the training loss, nats a token.
    pub train_loss_nats: Option<f64>,
    /// The best validation so far.
    pub best: Option<Validation>,
    /// The last validation.
    pub validation: Option<Validation>,
    /// Validations since the best.
    pub without_best: u64,
    /// What the schedule `plateau` remembers; untouched by the others. States from before it was there have none.
    #[serde(default)]
    pub plateau: Plateau,
}

/// Why [`Trainer::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The run is over: its steps, epochs or minutes are used up, or validation stopped improving.
    Finished(&'static str),
    /// The caller asked it to stop; the state was saved.
    Interrupted,
}

/// Who keeps what a run produces. Everything is called in the order in which it happens.
pub trait Recorder<K: Task + ?Sized> {
    /// Something happened.
    ///
    /// # Errors
    /// If it cannot be recorded.
    fn event(&mut self, event: &Event) -> Result<()>;

    /// The validation is the best so far: keep the model.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save_best(&mut self, task: &K, progress: &Progress) -> Result<()>;

    /// Keep everything that is needed to go on from here.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save(&mut self, task: &K, optimizer: &Optimizer<f32>, progress: &Progress) -> Result<()>;
}

/// What the trainer is given from outside, since the library reads no clock and handles no signals.
pub struct Surroundings<'a> {
    /// Seconds since any fixed moment.
    pub clock: &'a dyn Fn() -> f64,
    /// Whether to stop after the present step.
    pub stop: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// The training loop. It knows no task: a [`Task`] gives losses, gradients and scores.
#[derive(Debug)]
pub struct Trainer<'a> {
    config: &'a TrainConfig,
    compute: &'a Compute,
}

impl<'a> Trainer<'a> {
    /// A trainer with these settings.
    #[must_use]
    pub fn new(config: &'a TrainConfig, compute: &'a Compute) -> Self {
        Self { config, compute }
    }

    /// Steps planned in all, where the clock does not decide.
    #[must_use]
    pub fn total_steps(&self, steps_per_epoch: u64) -> Option<u64> {
        self.config.budget.total_steps(steps_per_epoch)
    }

    /// Trains until the budget is used up, validation has not improved for `patience` scores, or `surroundings.stop` says so;
    /// goes on from `progress`.
    ///
    /// The order of what is recorded at a step: the step, a validation, a sample, what is watched, the state. Before the first
    /// step there is a look at what is watched too.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a loss or gradient is not finite: the state before that step is saved first, unless its own
    /// update made a weight infinite; such a state is never saved. Whatever the recorder returns.
    pub fn run<K: Task + ?Sized>(
        &self,
        task: &mut K,
        optimizer: &mut Optimizer<f32>,
        progress: &mut Progress,
        recorder: &mut dyn Recorder<K>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Outcome> {
        let steps_per_epoch = task.steps_per_epoch();
        let total_steps = self.total_steps(steps_per_epoch);
        let before = progress.elapsed_s;
        let began = (surroundings.clock)();
        let elapsed = || before + (surroundings.clock)() - began;
        let mut saved = Some(progress.step);
        if progress.step == 0 {
            self.watch(task, 0, recorder)?;
            progress.elapsed_s = elapsed();
        }
        loop {
            if let Some(reason) = self.finished(progress, total_steps) {
                if saved != Some(progress.step) {
                    self.save(task, optimizer, progress, recorder)?;
                }
                let end = End {
                    step: progress.step,
                    reason: reason.into(),
                    elapsed_s: progress.elapsed_s,
                };
                recorder.event(&Event::End(end))?;
                return Ok(Outcome::Finished(reason));
            }
            if (surroundings.stop)() {
                if saved != Some(progress.step) {
                    self.save(task, optimizer, progress, recorder)?;
                }
                return Ok(Outcome::Interrupted);
            }

            let share = match (self.config.budget, total_steps) {
                (Budget::Minutes(minutes), _) => progress.elapsed_s / (60.0 * minutes),
                (_, Some(total)) => progress.step as f64 / total as f64,
                (_, None) => 0.0,
            };
            let learning_rate =
                optimizer.learning_rate(progress.step + 1, share) * progress.plateau.factor();
            let loss = task.step(self.compute, progress.step);
            let grad_norm = gradient_norm(self.compute, task.parameters());
            if !loss.loss_nats.is_finite() || !grad_norm.is_finite() {
                // A loss that is not finite makes all gradients so: it comes from a weight or from the scores.
                let (what, layer) = if loss.loss_nats.is_finite() {
                    ("gradient", non_finite_gradient(task))
                } else {
                    ("loss", None)
                };
                let layer = non_finite_weight(task)
                    .or(layer)
                    .unwrap_or_else(|| "the scores".into());
                let error = self.non_finite(what, progress.step + 1, layer);
                task.undo_step();
                if saved != Some(progress.step) {
                    self.save(task, optimizer, progress, recorder)?;
                }
                return Err(error);
            }
            let update = optimizer.clip(grad_norm);
            let parameters = task.parameters_mut();
            let step = progress.step + 1;
            self.compute
                .run(|| optimizer.update(self.compute, parameters, step, learning_rate, update));

            let now = elapsed();
            let tokens_per_s = loss.tokens as f64 / (now - progress.elapsed_s).max(1e-9);
            progress.step = step;
            progress.tokens += loss.tokens;
            progress.elapsed_s = now;
            progress.train_loss_nats = Some(match progress.train_loss_nats {
                Some(mean) => mean + SMOOTHING * (loss.loss_nats - mean),
                None => loss.loss_nats,
            });
            recorder.event(&Event::Step(Step {
                step,
                epoch: step as f64 / steps_per_epoch as f64,
                tokens: progress.tokens,
                loss_nats: loss.loss_nats,
                grad_norm,
                clipped: update.clipped(),
                clipped_norm: update.clipped_norm,
                learning_rate,
                tokens_per_s,
                elapsed_s: now,
            }))?;

            let last = self.finished(progress, total_steps).is_some();
            let mut best = false;
            if last || step.is_multiple_of(self.config.eval_every) {
                best = self.score(task, progress, recorder)?;
                progress.elapsed_s = elapsed();
            }
            if last || step.is_multiple_of(self.config.watch_every) {
                self.watch(task, step, recorder)?;
                progress.elapsed_s = elapsed();
            }
            saved = None;
            // A new best is followed by its state, so that the two tell of the same run.
            if best || step.is_multiple_of(self.config.save_every) {
                self.save(task, optimizer, progress, recorder)?;
                saved = Some(step);
                progress.elapsed_s = elapsed();
            }
        }
    }

    /// Looks inside, if that is asked for.
    fn watch<K: Task + ?Sized>(
        &self,
        task: &mut K,
        step: u64,
        recorder: &mut dyn Recorder<K>,
    ) -> Result<()> {
        if self.config.watch.is_empty() {
            return Ok(());
        }
        let seen = task.watch(self.compute, &self.config.watch);
        recorder.event(&Event::Watch(Watch { step, ..seen }))
    }

    fn finished(&self, progress: &Progress, total_steps: Option<u64>) -> Option<&'static str> {
        if self
            .config
            .patience
            .is_some_and(|patience| progress.without_best >= patience)
        {
            return Some("patience");
        }
        match self.config.budget {
            Budget::Steps(_) | Budget::Epochs(_)
                if total_steps.is_some_and(|total| progress.step >= total) =>
            {
                Some(if matches!(self.config.budget, Budget::Steps(_)) {
                    "steps"
                } else {
                    "epochs"
                })
            }
            Budget::Minutes(minutes) if progress.elapsed_s >= 60.0 * minutes => Some("minutes"),
            _ => None,
        }
    }

    /// Scores the validation part and draws a sample; whether the score is the best so far.
    fn score<K: Task + ?Sized>(
        &self,
        task: &mut K,
        progress: &mut Progress,
        recorder: &mut dyn Recorder<K>,
    ) -> Result<bool> {
        let mut is_best = false;
        if let Some(score) = task.validate(self.compute) {
            // A loss that is not a number is never the best.
            let best = score.loss_nats.is_finite()
                && progress
                    .best
                    .as_ref()
                    .is_none_or(|best| task.is_better(&score, best));
            let Score { loss_nats, metrics } = score;
            let (step, elapsed_s) = (progress.step, progress.elapsed_s);
            let validation = Validation {
                step,
                loss_nats,
                metrics,
                best,
                elapsed_s,
            };
            progress.validation = Some(validation.clone());
            is_best = best;
            if self.config.optimizer.schedule == Schedule::Plateau {
                progress.plateau.observe(best);
            }
            if best {
                if let Some(layer) = non_finite_weight(task) {
                    return Err(self.non_finite("update", progress.step, layer));
                }
                progress.without_best = 0;
                progress.best = Some(validation.clone());
                recorder.save_best(task, progress)?;
            } else {
                progress.without_best += 1;
            }
            recorder.event(&Event::Validation(validation))?;
        }
        if let Some(text) = task.sample(self.compute, progress.step) {
            recorder.event(&Event::Sample(Sample {
                step: progress.step,
                text,
            }))?;
        }
        Ok(is_best)
    }

    /// Saves the state, unless the last update took a weight out of the numbers: the save before it is worth more.
    fn save<K: Task + ?Sized>(
        &self,
        task: &K,
        optimizer: &Optimizer<f32>,
        progress: &Progress,
        recorder: &mut dyn Recorder<K>,
    ) -> Result<()> {
        if let Some(layer) = non_finite_weight(task) {
            return Err(self.non_finite("update", progress.step, layer));
        }
        recorder.save(task, optimizer, progress)?;
        recorder.event(&Event::Save(Save {
            step: progress.step,
            elapsed_s: progress.elapsed_s,
        }))
    }

    fn non_finite(&self, what: &'static str, step: u64, layer: String) -> Error {
        Error::NonFinite {
            what,
            step,
            layer,
            hint: format!(
                "what was learnt before this step is kept; begin a new run with a lower `--learning-rate` (it was {}) or a lower `--clip-norm` (it was {}); `--recipe RUN/config.toml` takes over the other settings",
                self.config.optimizer.learning_rate,
                self.config
                    .optimizer
                    .clip_norm
                    .map_or_else(|| "none".into(), |norm| norm.to_string()),
            ),
        }
    }
}

/// The first parameter with a weight that is not finite.
fn non_finite_weight<K: Task + ?Sized>(task: &K) -> Option<String> {
    let mut name = None;
    task.parameters().visit(&mut |parameter| {
        if name.is_none() && !all_finite(&parameter.value) {
            name = Some(parameter.name.clone());
        }
    });
    name
}

/// The first parameter on the way of the backward pass, from the last visited to the first, whose gradient is not finite.
fn non_finite_gradient<K: Task + ?Sized>(task: &K) -> Option<String> {
    let mut name = None;
    task.parameters().visit(&mut |parameter| {
        if !all_finite(&parameter.grad) {
            name = Some(parameter.name.clone());
        }
    });
    name
}
