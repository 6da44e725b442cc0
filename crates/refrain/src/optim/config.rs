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
    /// RMSprop (Hinton, 2012) without momentum; weight decay is added to the gradient.
    RmsProp,
    /// Adagrad (Duchi, Hazan and Singer, 2011); weight decay is added to the gradient.
    Adagrad,
}

named!(OptimizerKind, "optimizer", {
    Sgd => "sgd", Adam => "adam", AdamW => "adamw", RmsProp => "rmsprop", Adagrad => "adagrad",
});

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not, after the warm-up.
    Constant,
    /// Half a cosine from the learning rate to a tenth of it over the steps planned.
    Cosine,
    /// It falls to 0.3 of itself after 50 %, 75 % and 90 % of the steps planned.
    Step,
    /// It is halved whenever two scores of the validation part in a row bring no new best ([`Plateau`](super::Plateau)).
    Plateau,
}

named!(Schedule, "schedule", {
    Constant => "constant", Cosine => "cosine", Step => "step", Plateau => "plateau",
});

impl Schedule {
    /// Whether the learning rate depends on how long the run is to be.
    #[must_use]
    pub const fn follows_the_budget(self) -> bool {
        match self {
            Self::Cosine | Self::Step => true,
            Self::Constant | Self::Plateau => false,
        }
    }
}

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
