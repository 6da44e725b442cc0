use crate::inspect::watch::WatchKind;
use crate::optim::OptimizerConfig;

/// Where a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// After so many optimiser steps.
    Steps(u64),
    /// After so many passes over the training part.
    Epochs(f64),
    /// After so many minutes of training (the schedule then follows the clock; not reproducible to the bit).
    Minutes(f64),
}

impl Budget {
    /// Steps in all, where the clock does not decide.
    #[must_use]
    pub fn total_steps(self, steps_per_epoch: u64) -> Option<u64> {
        match self {
            Self::Steps(steps) => Some(steps),
            Self::Epochs(epochs) => Some(((epochs * steps_per_epoch as f64).ceil() as u64).max(1)),
            Self::Minutes(_) => None,
        }
    }
}

/// Settings of the training loop.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Rows (streams of text) in a batch.
    pub batch: usize,
    /// Steps in a chunk of truncated backpropagation; `None` is the whole stream.
    pub bptt: Option<usize>,
    /// Whether the hidden state is carried from one chunk into the next.
    pub carry_state: bool,
    /// Where the run ends.
    pub budget: Budget,
    /// Steps between two scores of the validation part.
    pub eval_every: u64,
    /// Steps between two saved states.
    pub save_every: u64,
    /// What is watched.
    pub watch: Vec<WatchKind>,
    /// Steps between two looks at it.
    pub watch_every: u64,
    /// Validations without a new best after which the run ends; `None` never does.
    pub patience: Option<u64>,
    /// The seed of everything random.
    pub seed: u64,
}
