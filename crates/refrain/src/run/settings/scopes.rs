//! Where a setting exists at all: the tasks, cells and optimisers that have it.

use super::{Settings, Task};
use crate::data::TokenKind;
use crate::nn::CellKind;
use crate::optim::OptimizerKind;
use crate::{Error, Result};

/// Settings that not everything has. An empty list is no restriction.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The settings, as in `config.toml`.
    pub keys: &'static [&'static str],
    /// The tasks that have them.
    pub tasks: &'static [Task],
    /// The cells that have them.
    pub cells: &'static [CellKind],
    /// The optimisers that have them.
    pub optimizers: &'static [OptimizerKind],
    /// Whether only tokens that are words have them.
    pub words: bool,
}

const EVERYWHERE: Scope = Scope {
    keys: &[],
    tasks: &[],
    cells: &[],
    optimizers: &[],
    words: false,
};

use CellKind::{Gru, Lstm, Mlp, Rnn};
use Task::{Caption, Classify, Forecast, Lm, Tag, Translate};

/// Every restriction; a setting in several rows is under all of them.
pub const SCOPES: &[Scope] = &[
    Scope {
        keys: &["bptt", "carry_state"],
        tasks: &[Lm],
        ..EVERYWHERE
    },
    Scope {
        keys: &["tie_weights"],
        tasks: &[Lm, Translate, Caption],
        ..EVERYWHERE
    },
    Scope {
        keys: &["format", "on_bad_row"],
        tasks: &[Classify, Tag, Translate, Caption, Forecast],
        ..EVERYWHERE
    },
    Scope {
        keys: &["max_length"],
        tasks: &[Classify, Tag, Translate, Caption],
        ..EVERYWHERE
    },
    Scope {
        keys: &["text_column", "label_column", "class_weights"],
        tasks: &[Classify, Tag],
        ..EVERYWHERE
    },
    Scope {
        keys: &["bidirectional"],
        tasks: &[Classify, Tag, Translate, Forecast],
        ..EVERYWHERE
    },
    Scope {
        keys: &["source_column"],
        tasks: &[Translate, Caption],
        ..EVERYWHERE
    },
    Scope {
        keys: &["target_column"],
        tasks: &[Translate, Caption, Forecast],
        ..EVERYWHERE
    },
    Scope {
        keys: &["images"],
        tasks: &[Caption],
        ..EVERYWHERE
    },
    Scope {
        keys: &["shared_vocabulary"],
        tasks: &[Translate],
        ..EVERYWHERE
    },
    Scope {
        keys: &["attention"],
        tasks: &[Translate],
        cells: &[Rnn, Gru, Lstm],
        ..EVERYWHERE
    },
    Scope {
        keys: &["context", "horizon", "loss", "anchor", "shortcut"],
        tasks: &[Forecast],
        ..EVERYWHERE
    },
    Scope {
        keys: &["tokens", "min_count", "lowercase", "embedding_size"],
        tasks: &[Lm, Classify, Tag, Translate, Caption],
        ..EVERYWHERE
    },
    Scope {
        keys: &["embeddings"],
        tasks: &[Lm, Classify, Tag],
        ..EVERYWHERE
    },
    Scope {
        keys: &["pooling"],
        tasks: &[Classify, Translate],
        ..EVERYWHERE
    },
    Scope {
        keys: &["augment"],
        tasks: &[Classify, Tag, Caption],
        ..EVERYWHERE
    },
    Scope {
        keys: &["characters", "center_clips"],
        tasks: &[Tag],
        ..EVERYWHERE
    },
    Scope {
        keys: &[
            "bidirectional",
            "layer_norm",
            "batch_norm",
            "recurrent_dropout",
            "pooling",
            "watch",
            "watch_every",
        ],
        cells: &[Rnn, Gru, Lstm],
        ..EVERYWHERE
    },
    Scope {
        keys: &["nonlinearity"],
        cells: &[Rnn, Mlp],
        ..EVERYWHERE
    },
    Scope {
        keys: &["forget_bias"],
        cells: &[Lstm],
        ..EVERYWHERE
    },
    Scope {
        keys: &["window"],
        tasks: &[Lm, Tag, Translate, Caption, Forecast],
        cells: &[Mlp],
        ..EVERYWHERE
    },
    Scope {
        keys: &["min_count", "lowercase"],
        words: true,
        ..EVERYWHERE
    },
    Scope {
        keys: &["momentum"],
        optimizers: &[OptimizerKind::Sgd],
        ..EVERYWHERE
    },
];

/// What decides which settings there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) task: Task,
    pub(super) cell: CellKind,
    pub(super) optimizer: OptimizerKind,
    /// `None` where the data decides.
    pub(super) tokens: Option<TokenKind>,
}

fn holds<T: PartialEq>(allowed: &[T], chosen: &T) -> bool {
    allowed.is_empty() || allowed.contains(chosen)
}

impl Choice {
    /// Whether a setting exists.
    pub(super) fn has(self, key: &str) -> bool {
        SCOPES
            .iter()
            .filter(|scope| scope.keys.contains(&key))
            .all(|scope| self.is_in(scope))
    }

    fn is_in(self, scope: &Scope) -> bool {
        holds(scope.tasks, &self.task)
            && holds(scope.cells, &self.cell)
            && holds(scope.optimizers, &self.optimizer)
            && (!scope.words || self.tokens.is_none_or(|tokens| tokens == TokenKind::Word))
    }

    /// What has no such setting, and what has it.
    fn refusal(self, scope: &Scope) -> (String, String) {
        let names = |kind: &str, names: Vec<&str>| {
            let flags: Vec<_> = names.iter().map(|name| format!("`{kind}{name}`")).collect();
            flags.join(" or ")
        };
        if !holds(scope.tasks, &self.task) {
            let tasks = scope.tasks.iter().map(|task| task.name()).collect();
            (format!("task {}", self.task), names("train ", tasks))
        } else if !holds(scope.cells, &self.cell) {
            let cells = scope.cells.iter().map(|cell| cell.name()).collect();
            (format!("cell {}", self.cell), names("--cell ", cells))
        } else if let Some(tokens) = self.tokens.filter(|_| scope.words) {
            (format!("tokens {tokens}"), "`--tokens word`".into())
        } else {
            let kinds = scope.optimizers.iter().map(|kind| kind.name()).collect();
            (
                format!("optimizer {}", self.optimizer),
                names("--optimizer ", kinds),
            )
        }
    }
}

/// Why a setting is refused where the reason is not plain.
fn reason(key: &str, choice: Choice) -> Option<&'static str> {
    match key {
        "bidirectional" if choice.task == Lm => {
            Some("leave it out: reading backwards it would see what it has to predict")
        }
        "bidirectional" if choice.task == Caption => {
            Some("leave it out: a picture is read at once, and what is written goes forwards")
        }
        "attention" if choice.task == Caption => {
            Some("leave it out: a picture is one vector, there is nothing to choose from")
        }
        _ => None,
    }
}

impl Settings {
    /// These settings without those that a cell does not have.
    pub(super) fn of_cell(self, cell: Option<CellKind>) -> Self {
        let has = |key: &str| {
            SCOPES
                .iter()
                .filter(|scope| scope.keys.contains(&key))
                .all(|scope| cell.is_none_or(|cell| holds(scope.cells, &cell)))
        };
        let mut value = serde_json::to_value(&self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| has(key));
        }
        // What was settings is settings without some keys.
        serde_json::from_value(value).unwrap_or(self)
    }

    /// Refuses by name what the task, the cell or the optimiser does not have. What is switched off is no matter.
    pub(super) fn check_applicable(&self, choice: Choice) -> Result<()> {
        let given = serde_json::to_value(self).unwrap_or_default();
        for (key, value) in given.as_object().into_iter().flatten() {
            let outside = SCOPES
                .iter()
                .find(|scope| scope.keys.contains(&key.as_str()) && !choice.is_in(scope));
            if let Some(scope) = outside
                && *value != serde_json::Value::Bool(false)
            {
                let (chosen, wanted) = choice.refusal(scope);
                let hint = reason(key, choice).map_or_else(
                    || match holds(scope.tasks, &choice.task) {
                        true => format!("leave it out, or give {wanted}"),
                        false => format!("leave it out: it is for {wanted}"),
                    },
                    Into::into,
                );
                return Err(Error::Setting {
                    name: key.replace('_', "-"),
                    found: match value {
                        serde_json::Value::String(text) => format!("`{text}`"),
                        serde_json::Value::Number(number) if number.is_f64() => {
                            number.as_f64().unwrap_or(f64::NAN).to_string()
                        }
                        value => value.to_string(),
                    },
                    expected: format!("nothing: `{chosen}` has no such setting"),
                    hint,
                });
            }
        }
        Ok(())
    }
}
