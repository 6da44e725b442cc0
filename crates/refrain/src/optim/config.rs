use serde::{Deserialize, Serialize};

use crate::names::named;

/// The rule that turns a gradient into a change of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam (Kingma and Ba, 2015); weight decay is added to the gradient.
    Adam,
    /// AdamW (Loshchilov and Hutter, 2019); weight decay is apart from the gradient.
    AdamW,
}

named!(OptimizerKind, "optimizer", { Sgd => "sgd", Adam => "adam", AdamW => "adamw" });

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not, after the warm-up.
    Constant,
    /// Half a cosine from the learning rate to a tenth of it over the steps planned.
    Cosine,
}

named!(Schedule, "schedule", { Constant => "constant", Cosine => "cosine" });

/// Settings of an optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// The rule.
    pub kind: OptimizerKind,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Momentum of SGD, `0 ≤ m < 1`.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// The L2 norm over all parameters above which the gradient is scaled down; `None` never does.
    pub clip_norm: Option<f64>,
    /// The schedule.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
}
