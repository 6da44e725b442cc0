use std::collections::BTreeMap;

use refrain_kernels::Compute;

use super::events::{Start, Validation};
use crate::error::{Error, Result};
use crate::inspect::watch::{Watch, WatchKind};
use crate::nn::Parameters;

/// The loss of a gradient step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Mean, nats a token.
    pub loss_nats: f64,
    /// Tokens that it is the mean of.
    pub tokens: u64,
}

/// A score on a part of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Mean loss, nats a token. Less is better.
    pub loss_nats: f64,
    /// Further metrics by name.
    pub metrics: BTreeMap<String, f64>,
}

/// An array that a task carries from step to step beside its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Its name in the state file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub values: Vec<f32>,
}

/// A model with its data: all that the trainer needs to know of a task.
pub trait Task: Send {
    /// What a run of it begins with; `total_steps` is filled in by the trainer.
    fn start(&self) -> Start;

    /// Gradient steps in one pass over the training part, one or more.
    fn steps_per_epoch(&self) -> u64;

    /// The parameters.
    fn parameters(&self) -> &(dyn Parameters<f32> + Send);

    /// The parameters, to be changed.
    fn parameters_mut(&mut self) -> &mut (dyn Parameters<f32> + Send);

    /// Loss and gradients of gradient step `step` (from 0). What the step reads depends on the number alone and on the carried
    /// arrays.
    fn step(&mut self, compute: &Compute, step: u64) -> StepLoss;

    /// Takes back what [`Task::step`] changed in the carried arrays.
    fn undo_step(&mut self);

    /// The score of the validation part, if there is one.
    fn validate(&mut self, compute: &Compute) -> Option<Score>;

    /// Whether a score is better than the best so far. A loss that is not a number never is.
    fn is_better(&self, new: &Score, best: &Validation) -> bool {
        new.loss_nats < best.loss_nats
    }

    /// Something drawn from the model after step `step`, to be shown, if the task draws.
    fn sample(&mut self, _compute: &Compute, _step: u64) -> Option<String> {
        None
    }

    /// What is seen inside the model as it stands, on data that is not learnt from where there is any. It changes nothing.
    fn watch(&mut self, _compute: &Compute, _what: &[WatchKind]) -> Watch {
        Watch::default()
    }

    /// What must be saved beside the parameters for the next step.
    fn carried(&self) -> Vec<Carried> {
        Vec::new()
    }

    /// Puts back what [`Task::carried`] gave.
    ///
    /// # Errors
    /// [`Error::Shape`] if the arrays are not those of this task.
    fn restore(&mut self, carried: Vec<Carried>) -> Result<()> {
        match carried.first() {
            None => Ok(()),
            Some(Carried { name, shape, .. }) => Err(Error::Shape {
                name: format!("carried.{name}"),
                found: shape.clone(),
                expected: Vec::new(),
            }),
        }
    }
}
