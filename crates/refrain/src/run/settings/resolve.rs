//! From raw settings to checked ones, and back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::scopes::Choice;
use super::{
    Chunk, ClassWeights, EVAL_EVERY_RANGE, EVALUATIONS_PER_EPOCH, Format, Limit, SAVE_EVERY_RANGE,
    STDIN, Settings, Task, WATCH_SHARE,
};
use crate::data::forecast::Anchor;
use crate::data::{OnBadRow, Portion, TokenKind, WordOptions};
use crate::inspect::watch::{GATE_STEPS, WatchKind};
use crate::models::ModelConfig;
use crate::nn::{CellKind, ForecastLoss, Init, Nonlinearity, Pooling};
use crate::optim::{OptimizerConfig, Schedule};
use crate::train::{Budget, TrainConfig};
use crate::{Error, Result};

/// TOML's largest whole number.
const MAX_COUNT: u64 = i64::MAX as u64;
/// Beyond these a size is a slip of the keyboard; whether it fits in memory is checked where memory
/// is taken.
const MAX_SIZE: u64 = 65_536;
const MAX_LAYERS: u64 = 1_024;
const MAX_CHUNK: u64 = 1 << 24;
/// Steps of a sequence where only the data knows, for [`Resolved::watch_interval`].
const USUAL_STEPS: usize = 24;
/// The fewest steps between two looks, when not given.
const WATCH_EVERY_LEAST: u64 = 10;

/// Settings of which every one is present and possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What is learnt.
    pub task: Task,
    /// The data files, absolute; none is the built-in text, `-` standard input.
    pub data: Vec<PathBuf>,
    /// What is scored during the run.
    pub validation: Portion,
    /// What is scored at its end.
    pub test: Portion,
    /// How the data is written; `None` is as its ending says.
    pub format: Option<Format>,
    /// The column of the text or token.
    pub text_column: Option<String>,
    /// The column of the label.
    pub label_column: Option<String>,
    /// The column of the source, or the picture.
    pub source_column: Option<String>,
    /// The column of the target or the sentence, or the columns that are predicted.
    pub target_column: Option<String>,
    /// The folder or file with the pictures.
    pub images: Option<PathBuf>,
    /// Steps that a window has; `None` until the data has been read, or where there are no windows.
    pub context: Option<usize>,
    /// Steps that are predicted; `None` until the data has been read.
    pub horizon: Option<usize>,
    /// What a forecaster minimises; `None` until the data has been read.
    pub loss: Option<ForecastLoss>,
    /// What a window's numbers are counted from; `None` as `context`.
    pub anchor: Option<Anchor>,
    /// Whether a window has a linear way to the answer; `None` as `context`.
    pub shortcut: Option<bool>,
    /// Steps that the plain network sees of a sequence where it forecasts every step; `None` until the data has been read, or
    /// where that sees a window whole. Of the other tasks the model says it.
    pub window: Option<usize>,
    /// What happens to a bad row.
    pub on_bad_row: OnBadRow,
    /// What a text is cut into; `None` until the data has been read, or where it is no text.
    pub tokens: Option<TokenKind>,
    /// How words are counted, where they are the tokens.
    pub words: WordOptions,
    /// Whether source and target have one vocabulary.
    pub shared_vocabulary: bool,
    /// Tokens of a sequence beyond which it is cut, or a pair left out.
    pub max_length: Option<usize>,
    /// Whether spellings are read; `None` until the data has been read, or where it has no words.
    pub characters: Option<bool>,
    /// Whether each clip's mean frame is taken away; `None` where the data is no video.
    pub center_clips: Option<bool>,
    /// Whether pictures are varied each time they are learnt from; `None` where there are none.
    pub augment: Option<bool>,
    /// How much the labels of each class count.
    pub class_weights: ClassWeights,
    /// Word vectors to begin with.
    pub embeddings: Option<PathBuf>,
    /// A model to begin with.
    pub from: Option<PathBuf>,
    /// The architecture.
    pub model: ModelConfig,
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
    /// Steps between two scores; `None` until [`Resolved::choose_intervals`] if not given.
    pub eval_every: Option<u64>,
    /// Steps between two saved states; `None` until [`Resolved::choose_intervals`] if not given.
    pub save_every: Option<u64>,
    /// What is watched.
    pub watch: Vec<WatchKind>,
    /// Steps between two looks at it; as `eval_every`, and `None` where nothing is watched.
    pub watch_every: Option<u64>,
    /// Validations without a new best after which the run ends; `None` never does.
    pub patience: Option<u64>,
    /// The seed of everything random.
    pub seed: u64,
}

impl Settings {
    /// Fills in the defaults and checks every value.
    ///
    /// Relative paths are taken from the current folder.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], by the flag's name: a value out of its range, a setting that the cell or
    /// the optimiser does not have, two budgets at once, sizes that tied weights exclude.
    pub fn resolve(self) -> Result<Resolved> {
        self.check_one_budget()?;
        let choice = self.choice();
        self.check_applicable(choice)?;
        let defaults = self.defaults()?;
        let settings = self.or(defaults);
        let model = settings.model()?;
        let optimizer = settings.optimizer()?;
        let validation = portion("validation", settings.validation.as_ref())?;
        let test = portion("test", settings.test.as_ref())?;
        if fraction(&validation) + fraction(&test) >= 1.0 {
            let found = fraction(&validation) + fraction(&test);
            return Err(wrong(
                "validation",
                format!("{found} together with `test`"),
                "less than 1, so that something is left to learn from",
                "give a smaller `--validation` or `--test`",
            ));
        }
        let paths = given("data", settings.data.as_deref()).iter();
        let data = paths
            .map(|path| absolute("data", path))
            .collect::<Result<Vec<_>>>()?;
        check_one_stdin(&data)?;
        let patience = settings.patience()?;
        if let (Some(patience), Portion::None) = (patience, &validation) {
            return Err(wrong(
                "patience",
                patience,
                "`none`, since nothing is held back for validation",
                "give `--validation 0.1`, or leave `--patience` out",
            ));
        }
        if optimizer.schedule == Schedule::Plateau && validation == Portion::None {
            return Err(wrong(
                "schedule",
                "`plateau`",
                "another schedule, since nothing is held back for validation",
                "give `--validation 0.1`, or `--schedule cosine`",
            ));
        }
        Ok(Resolved {
            task: given("task", settings.task),
            data,
            validation,
            test,
            format: settings.format,
            text_column: settings.text_column.clone(),
            label_column: settings.label_column.clone(),
            source_column: settings.source_column.clone(),
            target_column: settings.target_column.clone(),
            images: path_of("images", settings.images.as_deref())?,
            context: optional_size("context", settings.context)?,
            horizon: optional_size("horizon", settings.horizon)?,
            loss: settings.loss,
            anchor: settings.anchor,
            shortcut: settings.shortcut,
            window: optional_size("window", settings.window)?,
            on_bad_row: settings.on_bad_row.unwrap_or(OnBadRow::Error),
            tokens: settings.tokens,
            words: settings.words()?,
            shared_vocabulary: settings.shared_vocabulary.unwrap_or(false),
            max_length: match settings.max_length {
                Some(Limit::At(length)) => Some(size("max-length", Some(length), MAX_CHUNK)?),
                Some(Limit::None) | None => None,
            },
            characters: settings.characters,
            center_clips: settings.center_clips,
            augment: settings.augment,
            class_weights: settings.class_weights.unwrap_or(ClassWeights::None),
            embeddings: path_of("embeddings", settings.embeddings.as_deref())?,
            from: path_of("from", settings.from.as_deref())?,
            model,
            optimizer,
            batch: size("batch", settings.batch, MAX_SIZE)?,
            bptt: match settings.bptt {
                None | Some(Chunk::Full) => None,
                Some(Chunk::Steps(steps)) => Some(size("bptt", Some(steps), MAX_CHUNK)?),
            },
            carry_state: settings.carry_state.unwrap_or(false),
            budget: settings.budget()?,
            eval_every: optional_count("eval-every", settings.eval_every)?,
            save_every: optional_count("save-every", settings.save_every)?,
            watch_every: settings.watch_every()?,
            watch: settings.watch(),
            patience,
            seed: whole("seed", given("seed", settings.seed), 0..=MAX_COUNT)?,
        })
    }

    fn check_one_budget(&self) -> Result<()> {
        let budgets = [
            ("steps", self.steps.map(|n| n.to_string())),
            ("epochs", self.epochs.map(|n| n.to_string())),
            ("minutes", self.minutes.map(|n| n.to_string())),
        ];
        let mut present = budgets
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        if let (Some((first, _)), Some((second, value))) = (present.next(), present.next()) {
            return Err(wrong(
                second,
                value,
                format!("nothing beside `{first}`: a run has one budget"),
                "give one of `--steps`, `--epochs` and `--minutes`",
            ));
        }
        Ok(())
    }

    fn words(&self) -> Result<WordOptions> {
        let default = WordOptions::default();
        let min_count = self.min_count.unwrap_or(default.min_count);
        Ok(WordOptions {
            min_count: whole("min-count", min_count, 1..=MAX_COUNT)?,
            lowercase: self.lowercase.unwrap_or(default.lowercase),
        })
    }

    fn model(&self) -> Result<ModelConfig> {
        let hidden_size = size("hidden-size", self.hidden_size, MAX_SIZE)?;
        let tie_weights = self.tie_weights.unwrap_or(false);
        let num_layers = size("num-layers", self.num_layers, MAX_LAYERS)?;
        let batch_norm = self.batch_norm.unwrap_or(false);
        if batch_norm && num_layers == 1 {
            return Err(wrong(
                "batch-norm",
                true,
                "nothing: it stands between layers, and there is one",
                "give `--num-layers 2`, or `--layer-norm` for inside the cell",
            ));
        }
        let embedding_size = match (self.embedding_size, tie_weights) {
            (None, true) => hidden_size,
            // A task that has no tokens has no such size; it is not looked at.
            (None, false) if self.task == Some(Task::Forecast) => 1,
            (embedding_size, _) => size("embedding-size", embedding_size, MAX_SIZE)?,
        };
        if tie_weights && embedding_size != hidden_size {
            return Err(wrong(
                "embedding-size",
                embedding_size,
                format!("{hidden_size}, the hidden size, since the weights are tied"),
                "leave `--embedding-size` out: with `--tie-weights` it follows `--hidden-size`",
            ));
        }
        let forget_bias = match self.forget_bias.and_then(Limit::value) {
            Some(bias) => Some(number(
                "forget-bias",
                bias,
                f64::is_finite(bias),
                "a finite number",
            )?),
            None => None,
        };
        Ok(ModelConfig {
            cell: given("cell", self.cell),
            nonlinearity: self.nonlinearity.unwrap_or(Nonlinearity::Tanh),
            hidden_size,
            num_layers,
            embedding_size,
            bidirectional: self.bidirectional.unwrap_or(false),
            layer_norm: self.layer_norm.unwrap_or(false),
            batch_norm,
            // The plain network sees a window at each step; the last one is not what stands for all.
            pooling: self.pooling.unwrap_or(match given("cell", self.cell) {
                CellKind::Mlp => Pooling::Mean,
                CellKind::Rnn | CellKind::Gru | CellKind::Lstm => Pooling::Last,
            }),
            attention: self.attention.unwrap_or_default(),
            window: size("window", Some(self.window.unwrap_or(1)), MAX_LAYERS)?,
            dropout: below_one("dropout", given("dropout", self.dropout))?,
            recurrent_dropout: below_one(
                "recurrent-dropout",
                self.recurrent_dropout.unwrap_or(0.0),
            )?,
            tie_weights,
            init: self.init.unwrap_or(Init::Uniform),
            forget_bias,
        })
    }

    fn optimizer(&self) -> Result<OptimizerConfig> {
        let kind = given("optimizer", self.optimizer);
        let weight_decay = given("weight_decay", self.weight_decay);
        let clip_norm = match given("clip_norm", self.clip_norm) {
            Limit::None => None,
            Limit::At(norm) => {
                let expected = "a number above 0 or `none`";
                Some(number(
                    "clip-norm",
                    norm,
                    norm > 0.0 && norm.is_finite(),
                    expected,
                )?)
            }
        };
        Ok(OptimizerConfig {
            kind,
            learning_rate: above_zero("learning-rate", given("learning_rate", self.learning_rate))?,
            momentum: below_one("momentum", self.momentum.unwrap_or(0.0))?,
            weight_decay: number(
                "weight-decay",
                weight_decay,
                weight_decay >= 0.0 && weight_decay.is_finite(),
                "a number of 0 or more",
            )?,
            clip_norm,
            schedule: given("schedule", self.schedule),
            warmup_steps: whole(
                "warmup-steps",
                given("warmup_steps", self.warmup_steps),
                0..=MAX_COUNT,
            )?,
        })
    }

    fn budget(&self) -> Result<Budget> {
        Ok(if let Some(steps) = self.steps {
            Budget::Steps(whole("steps", steps, 1..=MAX_COUNT)?)
        } else if let Some(minutes) = self.minutes {
            Budget::Minutes(above_zero("minutes", minutes)?)
        } else {
            Budget::Epochs(above_zero("epochs", given("epochs", self.epochs))?)
        })
    }

    /// What is watched, each once, in one order.
    fn watch(&self) -> Vec<WatchKind> {
        let asked = self.watch.as_deref().unwrap_or_default();
        let chosen = WatchKind::ALL.iter().filter(|kind| asked.contains(kind));
        chosen.copied().collect()
    }

    fn watch_every(&self) -> Result<Option<u64>> {
        let every = optional_count("watch-every", self.watch_every)?;
        match (every, self.watch.as_deref().unwrap_or_default()) {
            (Some(every), []) => Err(wrong(
                "watch-every",
                every,
                "nothing: nothing is watched",
                "give `--watch gradients,spectrum,gates` too, or some of them",
            )),
            _ => Ok(every),
        }
    }

    fn patience(&self) -> Result<Option<u64>> {
        optional_count("patience", given("patience", self.patience).value())
    }
}

impl Resolved {
    /// Chooses `eval_every` and `save_every` where they were not given, from the optimiser steps in
    /// one pass over the training part.
    pub fn choose_intervals(&mut self, steps_per_epoch: u64) {
        let (fewest, most) = EVAL_EVERY_RANGE;
        let eval_every = (steps_per_epoch / EVALUATIONS_PER_EPOCH).clamp(fewest, most);
        self.eval_every.get_or_insert(eval_every);
        let (fewest, most) = SAVE_EVERY_RANGE;
        self.save_every
            .get_or_insert(steps_per_epoch.clamp(fewest, most));
        if !self.watch.is_empty() {
            let every = self.watch_interval();
            self.watch_every.get_or_insert(every);
        }
    }

    /// Steps after which watching has taken [`WATCH_SHARE`] of the time, by an estimate: everything is counted in passes of
    /// one row through the layers, forward; a training step takes three for each of its rows. What a look takes was measured
    /// with two layers of 256 units on two cores, and rounded up. The sizes and the batch
    /// alone decide, so that a run is the same on every machine.
    fn watch_interval(&self) -> u64 {
        let hidden = self.model.hidden_size as f64;
        let looks = self.watch.iter().map(|kind| match kind {
            // In f64, some hundred rows there and back.
            WatchKind::Gradients => 24_000.0,
            // Cubes of the hidden size, by the squares that a row takes.
            WatchKind::Spectrum => 300.0 * hidden,
            // A row at a time.
            WatchKind::Gates => 16.0 * GATE_STEPS as f64,
        });
        let steps = self.bptt.unwrap_or(USUAL_STEPS) as f64;
        let trained = 3.0 * self.batch as f64 * steps;
        let every = looks.sum::<f64>() / (WATCH_SHARE * trained);
        (every.ceil() as u64).max(WATCH_EVERY_LEAST)
    }

    /// The settings of the training loop; intervals not given are chosen as
    /// [`Resolved::choose_intervals`] does.
    #[must_use]
    pub fn train_config(&self, steps_per_epoch: u64) -> TrainConfig {
        let mut chosen = self.clone();
        chosen.choose_intervals(steps_per_epoch);
        TrainConfig {
            optimizer: chosen.optimizer,
            batch: chosen.batch,
            bptt: chosen.bptt,
            carry_state: chosen.carry_state,
            budget: chosen.budget,
            eval_every: given("eval_every", chosen.eval_every),
            save_every: given("save_every", chosen.save_every),
            watch_every: chosen.watch_every.unwrap_or(u64::MAX),
            watch: chosen.watch,
            patience: chosen.patience,
            seed: chosen.seed,
        }
    }

    /// Every value that applies, as settings that resolve to this again.
    #[must_use]
    pub fn to_settings(&self) -> Settings {
        let Self {
            model,
            optimizer,
            budget,
            ..
        } = self;
        let choice = Choice {
            task: self.task,
            cell: model.cell,
            optimizer: optimizer.kind,
            tokens: match self.task {
                Task::Lm | Task::Classify | Task::Forecast | Task::Translate | Task::Caption => {
                    self.tokens
                }
                Task::Tag => Some(TokenKind::Word),
            },
        };
        // `Some` where the setting exists.
        macro_rules! scoped {
            ($key:ident, $value:expr) => {
                choice.has(stringify!($key)).then(|| $value)
            };
        }
        Settings {
            task: Some(self.task),
            data: Some(self.data.clone()),
            format: self.format,
            text_column: self.text_column.clone(),
            label_column: self.label_column.clone(),
            source_column: self.source_column.clone(),
            target_column: self.target_column.clone(),
            images: self.images.clone(),
            context: self.context.map(|steps| steps as u64),
            horizon: self.horizon.map(|steps| steps as u64),
            loss: self.loss,
            anchor: self.anchor,
            shortcut: self.shortcut,
            on_bad_row: scoped!(on_bad_row, self.on_bad_row),
            validation: Some(self.validation.clone()),
            test: Some(self.test.clone()),
            tokens: self.tokens,
            min_count: scoped!(min_count, self.words.min_count),
            lowercase: scoped!(lowercase, self.words.lowercase),
            shared_vocabulary: scoped!(shared_vocabulary, self.shared_vocabulary),
            max_length: self.max_length.map(|length| Limit::At(length as u64)),
            center_clips: self.center_clips,
            augment: self.augment,
            class_weights: scoped!(class_weights, self.class_weights),
            embeddings: self.embeddings.clone(),
            from: self.from.clone(),
            cell: Some(model.cell),
            nonlinearity: scoped!(nonlinearity, model.nonlinearity),
            hidden_size: Some(model.hidden_size as u64),
            num_layers: Some(model.num_layers as u64),
            embedding_size: scoped!(embedding_size, model.embedding_size as u64),
            bidirectional: scoped!(bidirectional, model.bidirectional),
            layer_norm: scoped!(layer_norm, model.layer_norm),
            batch_norm: scoped!(batch_norm, model.batch_norm),
            pooling: scoped!(pooling, model.pooling),
            attention: scoped!(attention, model.attention),
            characters: self.characters,
            window: match self.task {
                Task::Forecast => self.window.map(|steps| steps as u64),
                _ => scoped!(window, model.window as u64),
            },
            dropout: Some(model.dropout),
            recurrent_dropout: scoped!(recurrent_dropout, model.recurrent_dropout),
            tie_weights: scoped!(tie_weights, model.tie_weights),
            init: scoped!(init, model.init),
            forget_bias: scoped!(forget_bias, model.forget_bias.into()),
            optimizer: Some(optimizer.kind),
            momentum: scoped!(momentum, optimizer.momentum),
            learning_rate: Some(optimizer.learning_rate),
            schedule: Some(optimizer.schedule),
            warmup_steps: Some(optimizer.warmup_steps),
            weight_decay: Some(optimizer.weight_decay),
            clip_norm: Some(optimizer.clip_norm.into()),
            batch: Some(self.batch as u64),
            bptt: scoped!(bptt, self.bptt.map(|steps| steps as u64).into()),
            carry_state: scoped!(carry_state, self.carry_state),
            steps: match budget {
                Budget::Steps(steps) => Some(*steps),
                _ => None,
            },
            epochs: match budget {
                Budget::Epochs(epochs) => Some(*epochs),
                _ => None,
            },
            minutes: match budget {
                Budget::Minutes(minutes) => Some(*minutes),
                _ => None,
            },
            eval_every: self.eval_every,
            save_every: self.save_every,
            watch: (!self.watch.is_empty()).then(|| self.watch.clone()),
            watch_every: self.watch_every,
            patience: Some(self.patience.into()),
            seed: Some(self.seed),
        }
    }

    /// The whole `config.toml`: every value that applies, in the order of [`Settings::KEYS`].
    ///
    /// # Panics
    ///
    /// If a number was set by hand beyond what [`Settings::resolve`] lets through.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let settings = toml::to_string(&self.to_settings());
        settings.unwrap_or_else(|error| panic!("resolved settings are not TOML: {error}"))
    }

    /// What a model file keeps of the settings: all that shaped the model, sorted, without paths
    /// and without what only concerns the run folder.
    ///
    /// # Panics
    ///
    /// If a number was set by hand beyond what [`Settings::resolve`] lets through.
    #[must_use]
    pub fn model_config_json(&self) -> BTreeMap<String, serde_json::Value> {
        let without_file = |portion: &Portion| match portion {
            Portion::File(_) => None,
            portion => Some(portion.clone()),
        };
        let settings = Settings {
            data: None,
            validation: without_file(&self.validation),
            test: without_file(&self.test),
            embeddings: None,
            from: None,
            images: None,
            save_every: None,
            watch: None,
            watch_every: None,
            ..self.to_settings()
        };
        match serde_json::to_value(settings) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().collect(),
            other => panic!("resolved settings are not a JSON object: {other:?}"),
        }
    }
}

/// A value that the defaults have filled in.
fn given<T>(key: &str, value: Option<T>) -> T {
    value.unwrap_or_else(|| panic!("no default for `{key}`"))
}

fn wrong(
    name: &str,
    found: impl Display,
    expected: impl Into<String>,
    hint: impl Into<String>,
) -> Error {
    let found = found.to_string();
    Error::Setting {
        name: name.into(),
        found,
        expected: expected.into(),
        hint: hint.into(),
    }
}

fn number(name: &str, value: f64, possible: bool, expected: &str) -> Result<f64> {
    if possible {
        Ok(value)
    } else {
        Err(wrong(
            name,
            value,
            expected,
            format!("give `--{name}` such a number"),
        ))
    }
}

fn above_zero(name: &str, value: f64) -> Result<f64> {
    number(
        name,
        value,
        value > 0.0 && value.is_finite(),
        "a number above 0",
    )
}

fn below_one(name: &str, value: f64) -> Result<f64> {
    number(
        name,
        value,
        (0.0..1.0).contains(&value),
        "a number from 0 to below 1",
    )
}

fn whole(name: &str, value: u64, range: RangeInclusive<u64>) -> Result<u64> {
    if range.contains(&value) {
        return Ok(value);
    }
    let expected = if *range.end() == MAX_COUNT && value < *range.start() {
        format!("{} or more", range.start())
    } else {
        format!("{} to {}", range.start(), range.end())
    };
    Err(wrong(
        name,
        value,
        expected,
        format!("give `--{name}` a number in this range"),
    ))
}

fn size(name: &str, value: Option<u64>, max: u64) -> Result<usize> {
    let value = whole(name, given(name, value), 1..=max)?;
    usize::try_from(value).map_err(|_| {
        wrong(
            name,
            value,
            "a size that this machine can address",
            "give a smaller one",
        )
    })
}

/// Steps, where they are given.
fn optional_size(name: &str, value: Option<u64>) -> Result<Option<usize>> {
    value
        .map(|steps| size(name, Some(steps), MAX_SIZE))
        .transpose()
}

fn optional_count(name: &str, value: Option<u64>) -> Result<Option<u64>> {
    value
        .map(|value| whole(name, value, 1..=MAX_COUNT))
        .transpose()
}

fn fraction(portion: &Portion) -> f64 {
    match portion {
        Portion::Fraction(fraction) => *fraction,
        Portion::None | Portion::File(_) => 0.0,
    }
}

fn portion(name: &str, value: Option<&Portion>) -> Result<Portion> {
    match given(name, value) {
        Portion::None => Ok(Portion::None),
        Portion::Fraction(fraction) => {
            let expected = "a fraction from 0 to below 1, a path or `none`";
            let possible = (0.0..1.0).contains(fraction);
            number(name, *fraction, possible, expected).map(Portion::from)
        }
        Portion::File(path) if path.as_os_str() == STDIN => Err(wrong(
            name,
            "standard input",
            "a fraction, a path or `none`",
            "standard input can be the data itself; give this part a file or a fraction",
        )),
        Portion::File(path) => absolute(name, path).map(Portion::File),
    }
}

/// An optional path from the root.
fn path_of(name: &str, path: Option<&Path>) -> Result<Option<PathBuf>> {
    match path {
        Some(path) if path.as_os_str() == STDIN => Err(wrong(
            name,
            "standard input",
            "the path of a file",
            "write it to a file first",
        )),
        path => path.map(|path| absolute(name, path)).transpose(),
    }
}

/// The path from the root, in UTF-8 so that `config.toml` can hold it; `-` stays.
fn absolute(name: &str, path: &Path) -> Result<PathBuf> {
    if path.as_os_str() == STDIN {
        return Ok(path.into());
    }
    if path.as_os_str().is_empty() {
        return Err(wrong(
            name,
            "an empty path",
            "the path of a file or folder",
            "name a file",
        ));
    }
    let path = std::path::absolute(path).map_err(|source| Error::Io {
        action: "find the folder of",
        path: path.into(),
        source,
    })?;
    if path.to_str().is_none() {
        let found = format!("`{}`", path.display());
        let hint = "rename the file or its folder; the settings of a run are UTF-8";
        return Err(wrong(name, found, "a path in UTF-8", hint));
    }
    Ok(path)
}

fn check_one_stdin(data: &[PathBuf]) -> Result<()> {
    if data.iter().filter(|path| path.as_os_str() == STDIN).count() > 1 {
        return Err(wrong(
            "data",
            "standard input twice",
            "`-` at most once",
            "join the texts before, or name files",
        ));
    }
    Ok(())
}
