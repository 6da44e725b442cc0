//! What a setting is when nobody gives it.

use std::collections::BTreeMap;

use super::scopes::Choice;
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

/// The part of the time that watching may take when `watch_every` is not given.
pub const WATCH_SHARE: f64 = 0.03;

/// A row of [`DEFAULTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultSetting {
    /// The setting, as in `config.toml`.
    pub key: &'static str,
    /// The tasks for which this default holds; none is all that have the setting.
    pub tasks: &'static [Task],
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
    /// With this cell.
    Cell(CellKind),
    /// With tokens that are words.
    Words,
    /// With this optimiser.
    Optimizer(OptimizerKind),
}

const fn row(key: &'static str, when: When, value: &'static str) -> DefaultSetting {
    DefaultSetting {
        key,
        tasks: &[],
        when,
        value,
    }
}

const fn of(tasks: &'static [Task], key: &'static str, value: &'static str) -> DefaultSetting {
    DefaultSetting {
        key,
        tasks,
        when: Always,
        value,
    }
}

const LM: &[Task] = &[Task::Lm];
const CLASSIFY: &[Task] = &[Task::Classify];
const TAG: &[Task] = &[Task::Tag];
const FORECAST: &[Task] = &[Task::Forecast];
/// All that read sequences of their own.
const SEQUENCES: &[Task] = &[Task::Classify, Task::Tag, Task::Forecast];
const LABELS: &[Task] = &[Task::Classify, Task::Tag];
const TRANSLATE: &[Task] = &[Task::Translate];
const CAPTION: &[Task] = &[Task::Caption];
const WRITERS: &[Task] = &[Task::Translate, Task::Caption];
const ROWS: &[Task] = &[Task::Classify, Task::Tag, Task::Translate, Task::Caption];

use CellKind::{Lstm, Mlp, Rnn};
use OptimizerKind::{Adagrad, Adam, AdamW, RmsProp, Sgd};
use When::{Always, Cell, Optimizer, Words};

/// The defaults: the one place where they stand. Of several rows of a setting that hold the last one counts. A setting that a task, cell or optimiser does not have
/// ([`SCOPES`](super::SCOPES)) has no default there.
///
/// Not here: `eval_every` and `save_every` follow the length of the data
/// ([`EVALUATIONS_PER_EPOCH`]),
/// `embedding_size` is `hidden_size` with tied weights, and what only some data has (`tokens`, `characters`, …) follows
/// the data.
pub const DEFAULTS: &[DefaultSetting] = &[
    row("data", Always, "[]"),
    of(ROWS, "on_bad_row", "\"error\""),
    row("validation", Always, "0.1"),
    row("test", Always, "\"none\""),
    of(LM, "tokens", "\"char\""),
    row("min_count", Words, "1"),
    row("lowercase", Words, "false"),
    of(TRANSLATE, "shared_vocabulary", "false"),
    of(WRITERS, "max_length", "128"),
    of(LABELS, "class_weights", "\"none\""),
    row("cell", Always, "\"lstm\""),
    row("nonlinearity", Cell(Rnn), "\"tanh\""),
    row("nonlinearity", Cell(Mlp), "\"relu\""),
    of(LM, "hidden_size", "256"),
    of(SEQUENCES, "hidden_size", "128"),
    of(WRITERS, "hidden_size", "256"),
    of(LM, "num_layers", "2"),
    of(SEQUENCES, "num_layers", "1"),
    of(WRITERS, "num_layers", "1"),
    of(LM, "embedding_size", "64"),
    of(LABELS, "embedding_size", "128"),
    of(WRITERS, "embedding_size", "256"),
    of(LABELS, "bidirectional", "true"),
    of(TRANSLATE, "bidirectional", "true"),
    of(FORECAST, "bidirectional", "false"),
    row("layer_norm", Always, "false"),
    row("batch_norm", Always, "false"),
    of(CLASSIFY, "pooling", "\"max\""),
    of(TRANSLATE, "pooling", "\"last\""),
    of(TRANSLATE, "attention", "\"general\""),
    of(LM, "window", "16"),
    of(TAG, "window", "5"),
    of(WRITERS, "window", "5"),
    of(LM, "dropout", "0.1"),
    of(LABELS, "dropout", "0.4"),
    of(FORECAST, "dropout", "0.3"),
    of(WRITERS, "dropout", "0.3"),
    row("recurrent_dropout", Always, "0.0"),
    of(LM, "tie_weights", "false"),
    of(WRITERS, "tie_weights", "false"),
    row("init", Always, "\"uniform\""),
    row("forget_bias", Cell(Lstm), "1.0"),
    row("optimizer", Always, "\"adam\""),
    row("momentum", Optimizer(Sgd), "0.9"),
    row("learning_rate", Optimizer(Sgd), "0.3"),
    row("learning_rate", Optimizer(Adam), "0.003"),
    row("learning_rate", Optimizer(AdamW), "0.003"),
    row("learning_rate", Optimizer(RmsProp), "0.003"),
    row("learning_rate", Optimizer(Adagrad), "0.05"),
    DefaultSetting {
        tasks: CAPTION,
        ..row("learning_rate", Optimizer(Adam), "0.001")
    },
    row("schedule", Always, "\"cosine\""),
    row("warmup_steps", Always, "50"),
    row("weight_decay", Optimizer(Sgd), "0.0"),
    row("weight_decay", Optimizer(Adam), "0.0"),
    row("weight_decay", Optimizer(AdamW), "0.01"),
    row("weight_decay", Optimizer(RmsProp), "0.0"),
    row("weight_decay", Optimizer(Adagrad), "0.0"),
    row("clip_norm", Always, "1.0"),
    row("batch", Always, "32"),
    of(LM, "bptt", "64"),
    of(LM, "carry_state", "true"),
    row("epochs", Always, "10.0"),
    row("patience", Always, "\"none\""),
    row("seed", Always, "0"),
];

impl Settings {
    /// What decides which settings there are: as given, or else the defaults.
    pub(super) fn choice(&self) -> Choice {
        Choice {
            task: self.task.unwrap_or(Task::Lm),
            cell: self.cell.unwrap_or(Lstm),
            optimizer: self.optimizer.unwrap_or(Adam),
            tokens: match self.task {
                None | Some(Task::Lm) => Some(self.tokens.unwrap_or(TokenKind::Char)),
                Some(Task::Classify | Task::Forecast | Task::Translate | Task::Caption) => {
                    self.tokens
                }
                Some(Task::Tag) => Some(TokenKind::Word),
            },
        }
    }

    /// The defaults for what `self` chooses of task, cell and optimiser.
    pub(super) fn defaults(&self) -> Result<Self> {
        let choice = self.choice();
        let rows = DEFAULTS.iter().filter(|row| row.holds(choice));
        let values: BTreeMap<_, _> = rows.map(|row| (row.key, row.value)).collect();
        let lines: String = values
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let mut settings = Self::from_toml(&lines, "defaults")?;
        settings.task = Some(choice.task);
        settings.cell = Some(choice.cell);
        settings.optimizer = Some(choice.optimizer);
        Ok(settings)
    }
}

impl DefaultSetting {
    pub(super) fn holds(&self, choice: Choice) -> bool {
        let when = match self.when {
            Always => true,
            Cell(kind) => choice.cell == kind,
            Optimizer(kind) => choice.optimizer == kind,
            Words => choice.tokens == Some(TokenKind::Word),
        };
        when && choice.has(self.key) && (self.tasks.is_empty() || self.tasks.contains(&choice.task))
    }
}
