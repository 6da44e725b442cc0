//! Settings of a run: recipes, flags and `config.toml` are one thing, read alike.
//!
//! [`Settings`] is raw: every value may be absent. What is given nearer wins (default < recipe <
//! flag, [`Settings::or`]); [`Settings::resolve`] checks once and gives a [`Resolved`], which
//! `config.toml` keeps.

mod defaults;
mod resolve;
mod scopes;
mod values;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::data::Format;
pub use defaults::{
    DEFAULTS, DefaultSetting, EVAL_EVERY_RANGE, EVALUATIONS_PER_EPOCH, SAVE_EVERY_RANGE,
    WATCH_SHARE, When,
};
pub use resolve::Resolved;
pub use scopes::{SCOPES, Scope};
pub use values::{Chunk, ClassWeights, Limit, Task, ValueError};

use crate::data::forecast::Anchor;
use crate::data::{OnBadRow, Portion, TokenKind};
use crate::inspect::watch::WatchKind;
use crate::names::nearest;
use crate::nn::{AttentionKind, CellKind, ForecastLoss, Init, Nonlinearity, Pooling};
use crate::optim::{OptimizerKind, Schedule};
use crate::{Error, Result};

/// The largest recipe that is read; a real one is a hundredth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The path that means standard input.
const STDIN: &str = "-";

/// Defines [`Settings`] with the list of its keys and the choice of the nearer value, field by
/// field.
macro_rules! settings {
    ($($(#[$doc:meta])* $key:ident: $type:ty,)+) => {
        /// Everything that may be set for a run, as given: what is absent is left to a lower level.
        ///
        /// The keys of a TOML file are the fields; the flags are the same with `-` for `_`.
        ///
        /// # Examples
        ///
        /// ```
        /// use refrain::run::settings::Settings;
        ///
        /// let recipe = "task = \"lm\"\nepochs = 20\nhidden_size = 128";
        /// let recipe = Settings::from_toml(recipe, "small.toml")?;
        /// let flags = Settings { steps: Some(300), ..Settings::default() };
        /// let settings = flags.or(recipe);
        /// assert_eq!((settings.steps, settings.epochs), (Some(300), None)); // one budget only
        /// assert_eq!(settings.resolve()?.model.hidden_size, 128);
        /// # Ok::<(), refrain::Error>(())
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)+
        }

        impl Settings {
            /// The keys, in the order of `config.toml`.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// Each value from `self`, or else from `lower`.
            fn merge(self, lower: Self) -> Self {
                Self { $($key: self.$key.or(lower.$key)),+ }
            }
        }
    };
}

settings! {
    /// What is learnt.
    task: Task,
    /// The data files; none is the task's built-in text, `-` is standard input.
    data: Vec<PathBuf>,
    /// How the data is written, where the ending does not tell.
    format: Format,
    /// The column, by name or number, that holds the text or the token.
    text_column: String,
    /// The column, by name or number, that holds the label.
    label_column: String,
    /// The column, by name or number, that holds the source, or the picture.
    source_column: String,
    /// The column, by name or number, that holds the target or the sentence, or the columns that are predicted, between commas.
    target_column: String,
    /// The folder or the `.npz` with the pictures.
    images: PathBuf,
    /// Steps that a window of a series has.
    context: u64,
    /// Steps that are predicted.
    horizon: u64,
    /// What is minimised, and what an answer means.
    loss: ForecastLoss,
    /// What a window's numbers are counted from.
    anchor: Anchor,
    /// Whether there is a linear way from the past of what is predicted to the answer.
    shortcut: bool,
    /// What happens to a row of data that cannot be used.
    on_bad_row: OnBadRow,
    /// The part of the data, or the file, that tells how good the model is while it learns.
    validation: Portion,
    /// The part of the data, or the file, that is scored once at the end.
    test: Portion,
    /// What a text is cut into.
    tokens: TokenKind,
    /// The fewest times that a word stands in the training part to be in the vocabulary (tokens `word`).
    min_count: u64,
    /// Whether `The` and `the` are one word (tokens `word`).
    lowercase: bool,
    /// Whether source and target have one vocabulary.
    shared_vocabulary: bool,
    /// Tokens of a sequence beyond which it is cut, or a pair left out.
    max_length: Limit<u64>,
    /// Whether each clip's mean frame is taken away.
    center_clips: bool,
    /// Whether pictures are moved and zoomed, anew each time they are learnt from.
    augment: bool,
    /// How much the labels of each class count.
    class_weights: ClassWeights,
    /// A file of word vectors to begin with.
    embeddings: PathBuf,
    /// A model whose weights to begin with.
    from: PathBuf,
    /// The recurrent cell, or the plain network.
    cell: CellKind,
    /// The activation of the cells `rnn` and `mlp`.
    nonlinearity: Nonlinearity,
    /// Units of each layer.
    hidden_size: u64,
    /// Recurrent layers.
    num_layers: u64,
    /// Features of a token's vector.
    embedding_size: u64,
    /// Whether the layers read both ways.
    bidirectional: bool,
    /// Whether the sums in the cell are normalised over the units.
    layer_norm: bool,
    /// Whether what goes from layer to layer is normalised over the batch.
    batch_norm: bool,
    /// How the states of a sequence become one.
    pooling: Pooling,
    /// How the decoder looks at the encoder's states.
    attention: AttentionKind,
    /// Whether a word's spelling is read too.
    characters: bool,
    /// Steps that the cell `mlp` sees at once.
    window: u64,
    /// Dropout between layers and before the linear layer.
    dropout: f64,
    /// Dropout of the state on its way into the next step, by one mask for the whole sequence.
    recurrent_dropout: f64,
    /// Whether the linear layer uses the embedding's weights.
    tie_weights: bool,
    /// How the weights begin.
    init: Init,
    /// Where the forget bias of the cell `lstm` begins; `none` leaves it to `init`.
    forget_bias: Limit<f64>,
    /// The optimiser.
    optimizer: OptimizerKind,
    /// Momentum of the optimiser `sgd`.
    momentum: f64,
    /// The highest learning rate.
    learning_rate: f64,
    /// How the learning rate changes over the run.
    schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    warmup_steps: u64,
    /// Weight decay.
    weight_decay: f64,
    /// The norm of the whole gradient above which it is scaled down.
    clip_norm: Limit<f64>,
    /// Streams of text, or sequences, learnt side by side.
    batch: u64,
    /// Steps in a chunk of truncated backpropagation.
    bptt: Chunk,
    /// Whether the hidden state is carried from one chunk into the next.
    carry_state: bool,
    /// The run ends after so many optimiser steps.
    steps: u64,
    /// The run ends after so many passes over the training part.
    epochs: f64,
    /// The run ends after so many minutes of training.
    minutes: f64,
    /// Steps between two scores of the validation part.
    eval_every: u64,
    /// Steps between two saved states.
    save_every: u64,
    /// What is watched inside the model while it is trained.
    watch: Vec<WatchKind>,
    /// Steps between two looks at it.
    watch_every: u64,
    /// Scores without a new best after which the run ends.
    patience: Limit<u64>,
    /// The seed of everything random.
    seed: u64,
}

impl Settings {
    /// These settings, and where they say nothing, `lower`'s.
    ///
    /// What `lower` says of a thing that `self` replaces is dropped with it:
    /// - a budget (`steps`, `epochs`, `minutes`) replaces another budget;
    /// - other `tokens` than `word` drop the settings that only words have;
    /// - another `cell` drops the settings that only the former cell had;
    /// - another `optimizer` drops the former one's momentum and weight decay, and its learning
    ///   rate unless both are `adam` or `adamw`, whose scale is the same;
    /// - no `validation` drops the `patience`, which waits for its scores;
    /// - `tie_weights` and a new `hidden_size` under tied weights drop the `embedding_size`, which
    ///   follows.
    #[must_use]
    pub fn or(self, mut lower: Self) -> Self {
        if self.has_budget() {
            (lower.steps, lower.epochs, lower.minutes) = (None, None, None);
        }
        if self.tokens.is_some_and(|tokens| tokens != TokenKind::Word) {
            (lower.min_count, lower.lowercase) = (None, None);
        }
        if self.cell.is_some() && self.cell != lower.cell {
            lower = lower.of_cell(self.cell);
        }
        if self.optimizer.is_some() && self.optimizer != lower.optimizer {
            let is_adam = |optimizer: Option<OptimizerKind>| {
                // Adam is what no optimiser means.
                optimizer
                    .is_none_or(|kind| matches!(kind, OptimizerKind::Adam | OptimizerKind::AdamW))
            };
            lower.momentum = lower
                .momentum
                .filter(|_| self.optimizer == Some(OptimizerKind::Sgd));
            lower.weight_decay = None;
            if !(is_adam(self.optimizer) && is_adam(lower.optimizer)) {
                lower.learning_rate = None;
            }
        }
        if self.validation == Some(Portion::None) {
            lower.patience = lower.patience.map(|_| Limit::None);
        }
        let tied = self.tie_weights.or(lower.tie_weights) == Some(true);
        if tied && (self.tie_weights.is_some() || self.hidden_size.is_some()) {
            lower.embedding_size = None;
        }
        self.merge(lower)
    }

    /// Whether steps, epochs or minutes are given.
    #[must_use]
    pub fn has_budget(&self) -> bool {
        self.steps.is_some() || self.epochs.is_some() || self.minutes.is_some()
    }

    /// The built-in recipe for the task's built-in data.
    ///
    /// # Errors
    ///
    /// None that a user could cause: the recipe is part of the library and tested.
    pub fn demo(task: Task) -> Result<Self> {
        let (recipe, name) = match task {
            Task::Lm => (
                include_str!("../../../../recipes/latin.toml"),
                "recipes/latin.toml",
            ),
            Task::Classify => (
                include_str!("../../../../recipes/reviews.toml"),
                "recipes/reviews.toml",
            ),
            Task::Tag => (
                include_str!("../../../../recipes/clips.toml"),
                "recipes/clips.toml",
            ),
            Task::Translate => (
                include_str!("../../../../recipes/dates.toml"),
                "recipes/dates.toml",
            ),
            Task::Caption => (
                include_str!("../../../../recipes/shapes.toml"),
                "recipes/shapes.toml",
            ),
            Task::Forecast => (
                include_str!("../../../../recipes/seasons.toml"),
                "recipes/seasons.toml",
            ),
        };
        Self::from_toml(recipe, name)
    }

    /// Reads a recipe or a `config.toml`. Relative paths in it start at its folder.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is too large, or is not what [`Settings::from_toml`] takes.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            action: "read",
            path: path.into(),
            source,
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        let name = path.display().to_string();
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::Unusable {
                problem: format!(
                    "`{name}` is larger than a recipe can be ({MAX_FILE_BYTES} bytes)"
                ),
                hint: "was a data file given for the recipe?".into(),
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let (line, column) = position(&String::from_utf8_lossy(valid), valid.len());
            let found = "a byte that is not UTF-8".into();
            Error::Data {
                path: name.clone(),
                line,
                column,
                found,
                expected: "TOML".into(),
                hint: HELP.into(),
            }
        })?;
        let mut settings = Self::from_toml(&text, &name)?;
        if let Some(folder) = path.parent() {
            settings.rebase(folder);
        }
        Ok(settings)
    }

    /// Makes relative paths start at `folder`.
    fn rebase(&mut self, folder: &Path) {
        let others = [&mut self.embeddings, &mut self.from, &mut self.images];
        let others = others.into_iter().flatten();
        let files = self.data.iter_mut().flatten().chain(others);
        let portions = [&mut self.validation, &mut self.test].into_iter().flatten();
        let portions = portions.filter_map(|portion| match portion {
            Portion::File(path) => Some(path),
            Portion::None | Portion::Fraction(_) => None,
        });
        for path in files.chain(portions) {
            if path.as_os_str() != STDIN {
                *path = folder.join(&path);
            }
        }
    }

    /// Reads settings from TOML; `name` is the file's, for messages.
    ///
    /// # Errors
    ///
    /// Text that is not TOML, unknown keys and values of another type, each with line, column and,
    /// where a known key is near, that key.
    pub fn from_toml(text: &str, name: &str) -> Result<Self> {
        let fail = |offset: usize, found: String, expected: String, hint: String| {
            let (line, column) = position(text, offset);
            Error::Data {
                path: name.into(),
                line,
                column,
                found,
                expected,
                hint,
            }
        };
        let broken = |error: toml::de::Error| {
            let (found, expected) = in_two(error.message());
            fail(
                error.span().map_or(0, |span| span.start),
                found,
                expected,
                HELP.into(),
            )
        };
        let table = toml::de::DeTable::parse(text).map_err(broken)?;
        for key in table.get_ref().keys() {
            let word = key.get_ref().as_ref();
            if !Self::KEYS.contains(&word) {
                let hint = match nearest(word, Self::KEYS) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("the settings are: {}", Self::KEYS.join(", ")),
                };
                let found = format!("unknown key `{}`", word.escape_debug());
                return Err(fail(key.span().start, found, "a setting".into(), hint));
            }
        }
        toml::from_str(text).map_err(broken)
    }

    /// Reads the settings that a model file keeps ([`Resolved::model_config_json`]).
    ///
    /// # Errors
    ///
    /// Text where the JSON does not fit, without a place: the caller knows the file.
    pub fn from_model_config(config: serde_json::Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(config)
    }
}

/// What to do about a recipe that cannot be read.
const HELP: &str =
    "`refrain train --help` lists the settings and their values; in a file, `_` stands for `-`";

/// A parser's message "found, expected this" in its two parts, on one line.
fn in_two(message: &str) -> (String, String) {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .unwrap_or(&message);
    let (found, expected) = message
        .split_once(", expected ")
        .unwrap_or((message, "TOML"));
    (found.into(), expected.into())
}

/// Line and column, from 1, of a byte of the text.
fn position(text: &str, offset: usize) -> (u64, u64) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let before = String::from_utf8_lossy(before);
    let line = before.matches('\n').count() as u64 + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count() as u64
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests;
