//! What a setting is when nobody gives it.

use super::{Settings, Task};
use crate::Result;
use crate::data::TokenKind;
use crate::nn::CellKind;
use crate::optim::OptimizerKind;

/// Steps between two scores of the validation part, when not given: this many scores in a pass over
/// the training part.
pub const EVALUATIONS_PER_EPOCH: u64 = 2;
/// The fewest and the most steps between two scores when not given: a tiny text is not scored all
/// the time, a huge one is not left unscored for hours.
pub const EVAL_EVERY_RANGE: (u64, u64) = (10, 1000);
/// The same between two saved states, which are one pass over the training part apart when not
/// given.
pub const SAVE_EVERY_RANGE: (u64, u64) = (100, 1000);

/// A row of [`DEFAULTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultSetting {
    /// The setting, as in `config.toml`.
    pub key: &'static str,
    /// Where this default holds.
    pub when: When,
    /// The value, as in `config.toml`.
    pub value: &'static str,
}

/// Where a default holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Everywhere.
    Always,
    /// With this cell; the setting does not exist for a cell that no row names.
    Cell(CellKind),
    /// With tokens `word`; the setting does not exist for others.
    Words,
    /// With this optimiser; the setting does not exist for an optimiser that no row names.
    Optimizer(OptimizerKind),
}

const fn row(key: &'static str, when: When, value: &'static str) -> DefaultSetting {
    DefaultSetting { key, when, value }
}

use CellKind::{Lstm, Rnn};
use OptimizerKind::{Adagrad, Adam, AdamW, RmsProp, Sgd};
use When::{Always, Cell, Optimizer, Words};

/// The defaults of the task `lm`: the one place where they stand.
///
/// Not here: `eval_every` and `save_every` follow the length of the text
/// ([`EVALUATIONS_PER_EPOCH`]),
/// `embedding_size` is `hidden_size` with tied weights.
pub const DEFAULTS: &[DefaultSetting] = &[
    row("data", Always, "[]"),
    row("validation", Always, "0.1"),
    row("test", Always, "\"none\""),
    row("tokens", Always, "\"char\""),
    row("min_count", Words, "1"),
    row("lowercase", Words, "false"),
    row("cell", Always, "\"lstm\""),
    row("nonlinearity", Cell(Rnn), "\"tanh\""),
    row("hidden_size", Always, "256"),
    row("num_layers", Always, "2"),
    row("embedding_size", Always, "64"),
    row("dropout", Always, "0.1"),
    row("tie_weights", Always, "false"),
    row("init", Always, "\"uniform\""),
    row("forget_bias", Cell(Lstm), "1.0"),
    row("optimizer", Always, "\"adam\""),
    row("momentum", Optimizer(Sgd), "0.9"),
    row("learning_rate", Optimizer(Sgd), "0.3"),
    row("learning_rate", Optimizer(Adam), "0.003"),
    row("learning_rate", Optimizer(AdamW), "0.003"),
    row("learning_rate", Optimizer(RmsProp), "0.003"),
    row("learning_rate", Optimizer(Adagrad), "0.05"),
    row("schedule", Always, "\"cosine\""),
    row("warmup_steps", Always, "50"),
    row("weight_decay", Optimizer(Sgd), "0.0"),
    row("weight_decay", Optimizer(Adam), "0.0"),
    row("weight_decay", Optimizer(AdamW), "0.01"),
    row("weight_decay", Optimizer(RmsProp), "0.0"),
    row("weight_decay", Optimizer(Adagrad), "0.0"),
    row("clip_norm", Always, "1.0"),
    row("batch", Always, "32"),
    row("bptt", Always, "64"),
    row("carry_state", Always, "true"),
    row("epochs", Always, "10.0"),
    row("patience", Always, "\"none\""),
    row("seed", Always, "0"),
];

impl Settings {
    /// The defaults for what `self` chooses of cell and optimiser.
    pub(super) fn defaults(&self) -> Result<Self> {
        let always = Self::from_rows(|when| when == Always)?;
        let cell = self.cell.or(always.cell);
        let optimizer = self.optimizer.or(always.optimizer);
        let tokens = self.tokens.or(always.tokens);
        let mut settings = Self::from_rows(|when| match when {
            Always => true,
            Words => tokens == Some(TokenKind::Word),
            Cell(kind) => cell == Some(kind),
            Optimizer(kind) => optimizer == Some(kind),
        })?;
        settings.task = Some(Task::Lm);
        settings.cell = cell;
        settings.optimizer = optimizer;
        Ok(settings)
    }

    fn from_rows(holds: impl Fn(When) -> bool) -> Result<Self> {
        let rows = DEFAULTS.iter().filter(|row| holds(row.when));
        let lines: String = rows
            .map(|row| format!("{} = {}\n", row.key, row.value))
            .collect();
        Self::from_toml(&lines, "defaults")
    }
}
