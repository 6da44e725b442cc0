//! What a training run tells its caller: each event is one line of `metrics.jsonl`, except notices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::inspect::watch::Watch;

/// Something that happened in a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Event {
    /// The run begins, for the first time.
    Start(Start),
    /// One optimiser step was taken.
    Step(Step),
    /// The validation part was scored.
    Validation(Validation),
    /// A sample was drawn from the model as it stands.
    Sample(Sample),
    /// The inside of the model was looked at.
    Watch(Watch),
    /// The state of the run was written.
    Save(Save),
    /// The run is over.
    End(End),
}

/// The beginning of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The task, for example `lm`.
    pub task: String,
    /// Trainable numbers in the model.
    pub parameters: u64,
    /// Tokens in the training part.
    pub train_tokens: u64,
    /// Tokens in the validation part.
    pub validation_tokens: u64,
    /// Size of the vocabulary.
    pub vocabulary_size: u64,
    /// Optimiser steps in one pass over the training part.
    pub steps_per_epoch: u64,
    /// Optimiser steps planned in all; absent where only the clock decides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total_steps: Option<u64>,
}

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the step, from 1.
    pub step: u64,
    /// Passes over the training part so far, with the fraction.
    pub epoch: f64,
    /// Tokens seen so far.
    pub tokens: u64,
    /// Mean training loss of this step, nats a token.
    pub loss_nats: f64,
    /// L2 norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// Whether the gradient was scaled down.
    pub clipped: bool,
    /// L2 norm after clipping.
    pub clipped_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Tokens a second, measured over this step.
    pub tokens_per_s: f64,
    /// Seconds of training so far, over all resumed parts.
    pub elapsed_s: f64,
}

/// A score on the validation part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The step after which it was taken.
    pub step: u64,
    /// Mean loss, nats a token.
    pub loss_nats: f64,
    /// Further metrics by name (perplexity, bits_per_char, accuracy, …).
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
    /// Whether this is the best so far.
    pub best: bool,
    /// Seconds of training so far.
    pub elapsed_s: f64,
}

/// A text drawn from the model during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The step after which it was drawn.
    pub step: u64,
    /// What was drawn.
    pub text: String,
}

/// The run's state was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Save {
    /// The step that the state holds.
    pub step: u64,
    /// Seconds of training so far.
    pub elapsed_s: f64,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Steps taken in all.
    pub step: u64,
    /// Why it ended: `steps`, `epochs`, `minutes`, `patience`.
    pub reason: String,
    /// Seconds of training, over all resumed parts.
    pub elapsed_s: f64,
}
