//! The flags of `train`: each is a setting.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use refrain::data::forecast::Anchor;
use refrain::data::{OnBadRow, Portion, TokenKind};
use refrain::inspect::watch::WatchKind;
use refrain::nn::{AttentionKind, CellKind, ForecastLoss, Init, Nonlinearity, Pooling};
use refrain::optim::{OptimizerKind, Schedule};
use refrain::run::settings::{Chunk, ClassWeights, DEFAULTS, Format, Limit, Settings, Task, When};

use super::one_of;

/// What may stand beside `--resume`.
const BESIDE_RESUME: &[&str] = &[
    "resume", "threads", "isa", "steps", "epochs", "minutes", "json", "quiet", "verbose", "color",
    "help",
];

/// Train a model; without DATA on the task's built-in text, by its built-in recipe.
///
/// The run folder gets the settings, the measurements of every step, the last and the best model,
/// and a report. Ctrl-C saves and stops; `--resume` goes on as if nothing had happened.
#[derive(Args, Debug)]
#[command(
    override_usage = "refrain train [OPTIONS] <TASK> [DATA]... -o <RUN>\n       refrain train [OPTIONS] --resume <RUN>",
    after_help = "\
Examples:
  refrain train lm -o runs/latin
  refrain train lm input.txt -o runs/mine --hidden-size 512 --minutes 30
  refrain train lm part1.txt.gz part2.txt.zst -o runs/big --recipe big.toml
  zcat corpus.gz | refrain train lm - -o runs/stdin --tokens byte
  refrain train classify reviews.tsv -o runs/reviews
  refrain train tag train.conllu --validation dev.conllu -o runs/tagger
  refrain train forecast load.csv --context 96 --horizon 24 -o runs/load
  refrain train --resume runs/mine --epochs 40"
)]
pub(crate) struct TrainArgs {
    /// What to learn.
    #[arg(required_unless_present = "resume", value_parser = one_of::<Task>(Task::NAMES))]
    pub(crate) task: Option<Task>,

    /// Files of the task's kind (also .gz, .zst) or folders; `-` is standard input.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) data: Vec<PathBuf>,

    /// The run folder to make.
    #[arg(short, long, value_name = "RUN", required_unless_present = "resume", value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,

    /// Go on with this run; only its budget, threads and instruction set can change.
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) resume: Option<PathBuf>,

    /// Settings from a file; flags win over it.
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub(crate) recipe: Option<PathBuf>,

    /// Replace the run folder if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    data_flags: DataFlags,

    #[command(flatten)]
    training: TrainingFlags,
}

/// The architecture.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
struct ModelFlags {
    /// The recurrent cell, or mlp: the plain network without recurrence.
    #[arg(long, value_parser = one_of::<CellKind>(CellKind::NAMES))]
    cell: Option<CellKind>,

    /// The activation of the cells rnn and mlp.
    #[arg(long, value_name = "F", value_parser = one_of::<Nonlinearity>(Nonlinearity::NAMES))]
    nonlinearity: Option<Nonlinearity>,

    /// Units of each layer.
    #[arg(long, value_name = "N")]
    hidden_size: Option<u64>,

    /// Layers.
    #[arg(long, value_name = "N")]
    num_layers: Option<u64>,

    /// Features of a token's vector, or of what is seen of a video's frame.
    #[arg(long, value_name = "N")]
    embedding_size: Option<u64>,

    /// Read the sequence both ways (classify, tag, translate, forecast from windows).
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    bidirectional: Option<bool>,

    /// Normalise the sums inside the cell over the units.
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    layer_norm: Option<bool>,

    /// Normalise what goes from layer to layer over the batch.
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    batch_norm: Option<bool>,

    /// How the states of a sequence become one (classify, translate).
    #[arg(long, value_parser = one_of::<Pooling>(Pooling::NAMES))]
    pooling: Option<Pooling>,

    /// How the decoder looks at the encoder's states (translate).
    #[arg(long, value_parser = one_of::<AttentionKind>(AttentionKind::NAMES))]
    attention: Option<AttentionKind>,

    /// Read each word's spelling too (tag).
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    characters: Option<bool>,

    /// Steps that the cell mlp sees at once (all but classify).
    #[arg(long, value_name = "N")]
    window: Option<u64>,

    /// Dropout between layers, before the linear layer, and (classify, tag) of what the first layer reads.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    dropout: Option<f64>,

    /// Dropout of the state on its way into the next step, one mask for the whole sequence.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    recurrent_dropout: Option<f64>,

    /// Add a linear model of each target's own past to the answer (forecast from windows) [default: true].
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    shortcut: Option<bool>,

    /// Use the embedding's weights in the linear layer too.
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    tie_weights: Option<bool>,

    /// How the weights begin.
    #[arg(long, value_name = "HOW", value_parser = one_of::<Init>(Init::NAMES))]
    init: Option<Init>,

    /// Where the forget bias of the cell lstm begins; `none` leaves it to --init.
    #[arg(long, value_name = "X|none", allow_negative_numbers = true)]
    forget_bias: Option<Limit<f64>>,

    /// Begin with these word vectors (GloVe or fastText text), for the words of the training part.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    embeddings: Option<PathBuf>,

    /// Begin with the weights of this model.
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    from: Option<PathBuf>,
}

/// The data.
#[derive(Args, Debug)]
#[command(next_help_heading = "Data")]
struct DataFlags {
    /// What a text is cut into: char, byte, word, or bpe:N, at most N pieces of words (lm; classify, by itself word or char).
    #[arg(long, value_name = "char|byte|word|bpe:N", value_parser = token_kind)]
    tokens: Option<TokenKind>,

    /// One vocabulary for source and target (translate).
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    shared_vocabulary: Option<bool>,

    /// Words that stand fewer times than N in the training part are `<unk>`.
    #[arg(long, value_name = "N")]
    min_count: Option<u64>,

    /// Make all words lower case.
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    lowercase: Option<bool>,

    /// How the data is written, where the ending does not tell (not lm).
    #[arg(long, value_parser = one_of::<Format>(Format::NAMES))]
    format: Option<Format>,

    /// The column, by name or number, of the text or token (classify, tag).
    #[arg(long, value_name = "COLUMN")]
    text_column: Option<String>,

    /// The column, by name or number, of the label (classify, tag).
    #[arg(long, value_name = "COLUMN")]
    label_column: Option<String>,

    /// The column, by name or number, of the source or the picture (translate, caption).
    #[arg(long, value_name = "COLUMN")]
    source_column: Option<String>,

    /// The column, by name or number, of the target or the sentence (translate, caption), or the columns to
    /// predict, between commas (forecast) [default: all].
    #[arg(long, value_name = "COLUMN")]
    target_column: Option<String>,

    /// The pictures: a folder that their paths start from, or an .npz whose rows they number from 0 (caption).
    #[arg(long, value_name = "FOLDER|FILE.npz", value_hint = ValueHint::AnyPath)]
    images: Option<PathBuf>,

    /// Steps that are seen of a series (forecast) [default: 96; of .npz all steps before].
    #[arg(long, value_name = "N")]
    context: Option<u64>,

    /// Steps that are predicted (forecast) [default: 24; of .npz 1].
    #[arg(long, value_name = "N")]
    horizon: Option<u64>,

    /// What is minimised (forecast) [default: mse; bernoulli where all numbers of an .npz are 0 or 1].
    #[arg(long, value_parser = one_of::<ForecastLoss>(ForecastLoss::NAMES))]
    loss: Option<ForecastLoss>,

    /// What the numbers of a window are counted from (forecast) [default: last].
    #[arg(long, value_parser = one_of::<Anchor>(Anchor::NAMES))]
    anchor: Option<Anchor>,

    /// What to do with a row that cannot be used (not lm).
    #[arg(long, value_parser = one_of::<OnBadRow>(OnBadRow::NAMES))]
    on_bad_row: Option<OnBadRow>,

    /// Cut sequences after so many tokens or steps (classify, tag); leave longer pairs out (translate, caption).
    #[arg(long, value_name = "N|none")]
    max_length: Option<Limit<u64>>,

    /// Take each clip's mean frame away (tag, video).
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    center_clips: Option<bool>,

    /// Move and zoom pictures a little, anew each time they are learnt from (video, caption).
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    augment: Option<bool>,

    /// How much the labels of each class count (classify, tag).
    #[arg(long, value_parser = one_of::<ClassWeights>(ClassWeights::NAMES))]
    class_weights: Option<ClassWeights>,

    /// Scored while it learns: a fraction of the data, a file, or none.
    #[arg(long, value_name = "PATH|FRACTION", allow_negative_numbers = true, value_hint = ValueHint::FilePath)]
    validation: Option<Portion>,

    /// Scored once at the end: a fraction of the data, a file, or none.
    #[arg(long, value_name = "PATH|FRACTION", allow_negative_numbers = true, value_hint = ValueHint::FilePath)]
    test: Option<Portion>,
}

/// Clap shows only the error itself: the hint goes with it.
fn token_kind(text: &str) -> Result<TokenKind, String> {
    text.parse::<TokenKind>()
        .map_err(|error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
}

/// The training loop.
#[derive(Args, Debug)]
#[command(next_help_heading = "Training")]
struct TrainingFlags {
    /// The optimiser.
    #[arg(long, value_parser = one_of::<OptimizerKind>(OptimizerKind::NAMES))]
    optimizer: Option<OptimizerKind>,

    /// Momentum of the optimiser sgd.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<f64>,

    /// The highest learning rate.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    learning_rate: Option<f64>,

    /// How the learning rate changes over the run.
    #[arg(long, value_parser = one_of::<Schedule>(Schedule::NAMES))]
    schedule: Option<Schedule>,

    /// Steps over which the learning rate rises from 0.
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u64>,

    /// Weight decay: apart from the gradient with adamw, added to it with the others.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<f64>,

    /// Scale the gradient down where the norm over all parameters is above this.
    #[arg(long, value_name = "X|none", allow_negative_numbers = true)]
    clip_norm: Option<Limit<f64>>,

    /// Streams of text, or sequences, learnt side by side.
    #[arg(long, value_name = "N")]
    batch: Option<u64>,

    /// Steps that a gradient goes back through time (lm).
    #[arg(long, value_name = "N|full")]
    bptt: Option<Chunk>,

    /// Carry the hidden state from one chunk into the next (lm).
    #[arg(long, value_name = "true|false")]
    carry_state: Option<bool>,

    /// End after N optimiser steps.
    #[arg(long, value_name = "N", group = "budget")]
    steps: Option<u64>,

    /// End after X passes over the training part.
    #[arg(
        long,
        value_name = "X",
        group = "budget",
        allow_negative_numbers = true
    )]
    epochs: Option<f64>,

    /// End after X minutes of training (such a run is not repeatable to the bit).
    #[arg(
        long,
        value_name = "X",
        group = "budget",
        allow_negative_numbers = true
    )]
    minutes: Option<f64>,

    /// Steps between two scores of the validation part [default: two scores a pass].
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,

    /// Steps between two saved states [default: about one a pass].
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,

    /// Look inside the model every so many steps: gradients, spectrum, gates, between commas.
    #[arg(long, value_name = "WHAT,WHAT", value_delimiter = ',', hide_possible_values = true, value_parser = one_of::<WatchKind>(WatchKind::NAMES))]
    watch: Option<Vec<WatchKind>>,

    /// Steps between two looks [default: so many that they take some 3 % of the time].
    #[arg(long, value_name = "N")]
    watch_every: Option<u64>,

    /// End after N scores without a new best.
    #[arg(long, value_name = "N|none")]
    patience: Option<Limit<u64>>,
}

/// Where the settings beneath the flags come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// The built-in recipe, since no data was named.
    Demo,
    /// This file.
    File(PathBuf),
    /// There is none.
    None,
}

impl TrainArgs {
    /// Which recipe applies.
    pub(crate) fn recipe(&self) -> Recipe {
        match &self.recipe {
            Some(path) => Recipe::File(path.clone()),
            None if self.data.is_empty() => Recipe::Demo,
            None => Recipe::None,
        }
    }

    /// The settings of a new run: flags over recipe. `seed` is the flag that every command has.
    pub(crate) fn settings(&self, seed: Option<u64>) -> refrain::Result<Settings> {
        let recipe = match self.recipe() {
            Recipe::Demo => Settings::demo(self.task.unwrap_or(Task::Lm))?,
            Recipe::File(path) => Settings::read(&path)?,
            Recipe::None => Settings::default(),
        };
        Ok(self.flags(seed).or(recipe))
    }

    /// What was given as flags. (With `--resume` this is the budget at most.)
    pub(crate) fn flags(&self, seed: Option<u64>) -> Settings {
        let Self {
            model,
            data_flags,
            training,
            ..
        } = self;
        Settings {
            task: self.task,
            data: (!self.data.is_empty()).then(|| self.data.clone()),
            format: data_flags.format,
            text_column: data_flags.text_column.clone(),
            label_column: data_flags.label_column.clone(),
            source_column: data_flags.source_column.clone(),
            target_column: data_flags.target_column.clone(),
            images: data_flags.images.clone(),
            shared_vocabulary: data_flags.shared_vocabulary,
            attention: model.attention,
            context: data_flags.context,
            horizon: data_flags.horizon,
            loss: data_flags.loss,
            anchor: data_flags.anchor,
            shortcut: model.shortcut,
            on_bad_row: data_flags.on_bad_row,
            max_length: data_flags.max_length,
            center_clips: data_flags.center_clips,
            augment: data_flags.augment,
            class_weights: data_flags.class_weights,
            embeddings: model.embeddings.clone(),
            from: model.from.clone(),
            bidirectional: model.bidirectional,
            layer_norm: model.layer_norm,
            batch_norm: model.batch_norm,
            pooling: model.pooling,
            characters: model.characters,
            window: model.window,
            recurrent_dropout: model.recurrent_dropout,
            validation: data_flags.validation.clone(),
            test: data_flags.test.clone(),
            tokens: data_flags.tokens,
            min_count: data_flags.min_count,
            lowercase: data_flags.lowercase,
            cell: model.cell,
            nonlinearity: model.nonlinearity,
            hidden_size: model.hidden_size,
            num_layers: model.num_layers,
            embedding_size: model.embedding_size,
            dropout: model.dropout,
            tie_weights: model.tie_weights,
            init: model.init,
            forget_bias: model.forget_bias,
            optimizer: training.optimizer,
            momentum: training.momentum,
            learning_rate: training.learning_rate,
            schedule: training.schedule,
            warmup_steps: training.warmup_steps,
            weight_decay: training.weight_decay,
            clip_norm: training.clip_norm,
            batch: training.batch,
            bptt: training.bptt,
            carry_state: training.carry_state,
            steps: training.steps,
            epochs: training.epochs,
            minutes: training.minutes,
            eval_every: training.eval_every,
            save_every: training.save_every,
            watch: training.watch.clone(),
            watch_every: training.watch_every,
            patience: training.patience,
            seed,
        }
    }
}

/// Adds the defaults to the help, and to `--resume` what cannot stand beside it.
pub(super) fn finish(train: clap::Command) -> clap::Command {
    let ids: Vec<_> = train
        .get_arguments()
        .map(|arg| arg.get_id().clone())
        .collect();
    let barred = ids
        .iter()
        .filter(|id| !BESIDE_RESUME.contains(&id.as_str()))
        .cloned();
    // The flags that every command takes are not in the list yet; of them only the seed belongs to
    // the run.
    let barred: Vec<_> = barred.chain(["seed".into()]).collect();
    let train = train.mut_arg("resume", |resume| resume.conflicts_with_all(barred));
    // Every argument is touched, in order: a touched one moves to the end.
    ids.iter().fold(train, |train, id| {
        train.mut_arg(id, |arg| match (default_of(id.as_str()), arg.get_help()) {
            (Some(default), Some(help)) => {
                let help = format!("{help} [default: {default}]");
                arg.help(help)
            }
            _ => arg,
        })
    })
}

/// The default of a setting, in a few words.
fn default_of(key: &str) -> Option<String> {
    if key == "data" {
        return None;
    }
    let rows = DEFAULTS.iter().filter(|row| row.key == key);
    let values: Vec<_> = rows
        .clone()
        .map(|row| {
            let value = row.value.trim_matches('"').trim_end_matches(".0");
            let value = if value.is_empty() { row.value } else { value };
            // Where all of a setting's defaults are for one task, the setting itself is.
            let same = rows.clone().all(|other| other.tasks == row.tasks);
            let tasks: Vec<_> = row.tasks.iter().map(|task| task.name()).collect();
            let with = match row.when {
                When::Cell(cell) if rows.clone().count() > 1 => format!(" with {cell}"),
                When::Words => " with word".to_owned(),
                When::Optimizer(kind) if rows.clone().count() > 1 && row.tasks.is_empty() => {
                    format!(" with {kind}")
                }
                _ if same => String::new(),
                _ => format!(" for {}", tasks.join(" and ")),
            };
            format!("{value}{with}")
        })
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::args::Cli;
    use crate::args::Command;

    fn train(args: &[&str]) -> Result<(TrainArgs, Option<u64>), clap::Error> {
        let args = ["refrain", "train"].iter().chain(args);
        let matches = crate::args::command().try_get_matches_from(args)?;
        let cli = Cli::from_arg_matches(&matches)?;
        match cli.command {
            Some(Command::Train(args)) => Ok((*args, cli.global.seed)),
            other => panic!("not train: {other:?}"),
        }
    }

    /// Every setting has its flag, and every flag reaches its setting.
    #[test]
    fn flags_and_settings_are_the_same() {
        let command = crate::args::command();
        let train_command = command.find_subcommand("train").unwrap();
        for key in Settings::KEYS
            .iter()
            .filter(|key| !["task", "data", "seed"].contains(key))
        {
            let arg = train_command
                .get_arguments()
                .find(|arg| arg.get_id() == *key)
                .unwrap();
            assert_eq!(arg.get_long(), Some(key.replace('_', "-").as_str()));
        }
        let settings = |flags: &[&str]| {
            let given = ["lm", "a.txt", "-o", "r"]
                .iter()
                .chain(flags)
                .copied()
                .collect::<Vec<_>>();
            let (args, seed) = train(&given).unwrap();
            serde_json::to_value(args.flags(seed)).unwrap()
        };
        for (key, value) in [
            ("validation", "0.2"),
            ("test", "b.txt"),
            ("tokens", "bpe:300"),
            ("min_count", "2"),
            ("lowercase", "false"),
            ("cell", "gru"),
            ("nonlinearity", "relu"),
            ("hidden_size", "3"),
            ("num_layers", "4"),
            ("embedding_size", "5"),
            ("dropout", "0.5"),
            ("init", "xavier"),
            ("forget_bias", "-1.5"),
            ("optimizer", "sgd"),
            ("momentum", "0.5"),
            ("learning_rate", "0.25"),
            ("schedule", "constant"),
            ("warmup_steps", "6"),
            ("weight_decay", "0.75"),
            ("clip_norm", "none"),
            ("batch", "7"),
            ("bptt", "full"),
            ("carry_state", "false"),
            ("steps", "8"),
            ("epochs", "9.5"),
            ("minutes", "0.5"),
            ("eval_every", "10"),
            ("save_every", "11"),
            ("patience", "12"),
            ("seed", "13"),
            ("tie_weights", "true"),
        ] {
            let flag = format!("--{}={value}", key.replace('_', "-"));
            let found = settings(&[&flag]);
            let text = found[key]
                .as_str()
                .map_or_else(|| found[key].to_string(), Into::into);
            assert_eq!(text, value, "{key}");
            assert_eq!(
                found.as_object().unwrap().len(),
                3,
                "{key} sets more than itself: {found}"
            );
        }
    }

    #[test]
    fn tied_weights_do_not_swallow_the_data() {
        let (args, _) = train(&["lm", "--tie-weights", "a.txt", "-o", "r"]).unwrap();
        assert_eq!(args.flags(None).tie_weights, Some(true));
        assert_eq!(args.data, [PathBuf::from("a.txt")]);
    }

    #[test]
    fn without_data_the_demo_recipe_applies_and_flags_win() {
        let (args, _) = train(&["lm", "-o", "r", "--cell", "gru", "--steps", "3"]).unwrap();
        assert_eq!(args.recipe(), Recipe::Demo);
        let settings = args.settings(None).unwrap();
        assert_eq!(
            (settings.cell, settings.steps, settings.epochs),
            (Some(CellKind::Gru), Some(3), None)
        );
        assert_eq!(
            settings.patience,
            Settings::demo(Task::Lm).unwrap().patience
        );
        settings.resolve().unwrap();
        let (args, _) = train(&["lm", "a.txt", "-o", "r"]).unwrap();
        assert_eq!(args.recipe(), Recipe::None);
    }

    #[test]
    fn beside_resume_only_the_budget_and_the_machine_may_change() {
        for allowed in [
            &["--steps", "3"][..],
            &["--epochs", "2"],
            &["--minutes", "1"],
            &["--threads", "2"],
            &["--isa", "scalar"],
            &["--json"],
            &["-q"],
            &["-v"],
            &["--color", "never"],
            &[],
        ] {
            let args: Vec<_> = ["--resume", "r"].iter().chain(allowed).copied().collect();
            train(&args).unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        }
        for barred in [
            &["lm"][..],
            &["-o", "x"],
            &["--hidden-size", "3"],
            &["--seed", "3"],
            &["--recipe", "r"],
            &["--overwrite"],
            &["--batch", "3"],
            &["--tie-weights"],
            &["--validation", "0.2"],
            &["--patience", "2"],
        ] {
            let args: Vec<_> = ["--resume", "r"].iter().chain(barred).copied().collect();
            let error = train(&args)
                .err()
                .unwrap_or_else(|| panic!("{barred:?} was let through"));
            assert_eq!(
                error.kind(),
                clap::error::ErrorKind::ArgumentConflict,
                "{barred:?}: {error}"
            );
        }
        assert!(train(&["lm", "-o", "r", "--steps", "3", "--epochs", "2"]).is_err());
    }
}
