use std::ops::Range;
use std::sync::Arc;

use super::super::arrays::{Arrays, Values};
use super::super::rows::counted;
use super::super::series::Series;
use super::super::standardisation::Standardisation;
use super::{
    Anchor, Baselines, ForecastEncoding, ForecastExamples, ForecastMode, ForecastParts,
    HeldForecast, RawForecast, Rows, baselines,
};
use crate::error::{Error, Result};
use crate::nn::ForecastLoss;

/// Steps that a window of a series has by itself, and that are predicted of it.
pub const DEFAULT_CONTEXT: usize = 96;
/// The same of what is predicted.
pub const DEFAULT_HORIZON: usize = 24;

/// What was chosen; `None` is left to the data.
#[derive(Clone, Debug, Default)]
pub struct ForecastOptions {
    /// Steps that a window has.
    pub context: Option<usize>,
    /// Steps that are predicted.
    pub horizon: Option<usize>,
    /// The columns that are predicted.
    pub target_column: Option<String>,
    /// What is minimised.
    pub loss: Option<ForecastLoss>,
    /// What a window's numbers are counted from.
    pub anchor: Option<Anchor>,
    /// Whether there is a linear way to the answer.
    pub shortcut: Option<bool>,
    /// Whether the layers read both ways.
    pub bidirectional: bool,
}

/// An encoding made for a training part, and the parts by it.
#[derive(Clone, Debug)]
pub struct FittedForecast {
    /// The encoding.
    pub encoding: ForecastEncoding,
    /// What is learnt from.
    pub train: ForecastExamples,
    /// What is scored while learning, if anything.
    pub validation: Option<ForecastExamples>,
    /// What is scored at the end, if anything.
    pub test: Option<ForecastExamples>,
    /// What a user should know.
    pub notes: Vec<String>,
}

fn unusable(problem: String, hint: &str) -> Error {
    Error::Unusable {
        problem,
        hint: hint.into(),
    }
}

/// The error of a setting that this data has no use for.
fn refused(name: &str, found: String, why: &str) -> Error {
    Error::Setting {
        name: name.into(),
        found,
        expected: format!("nothing: {why}"),
        hint: "leave it out".into(),
    }
}

/// Refuses what is neither 0 nor 1.
pub(super) fn check_binary(value: f64, place: impl Fn() -> String) -> Result<()> {
    if value == 0.0 || value == 1.0 {
        return Ok(());
    }
    Err(unusable(
        format!(
            "{} is {value}, expected 0 or 1 (`loss` is `bernoulli`)",
            place()
        ),
        "give another `--loss`, or numbers that are 0 or 1",
    ))
}

/// Given numbers of arrays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    values: &'a [f32],
    /// Numbers of a sequence or of a step.
    pub(super) numbers: usize,
    pub(super) per_step: bool,
    arrays: &'a Arrays,
}

impl Given<'_> {
    /// The numbers of an example, of its real steps.
    pub(super) fn of(&self, example: usize) -> &[f32] {
        let (all, own) = match self.per_step {
            true => (self.arrays.steps(), self.arrays.length(example)),
            false => (1, 1),
        };
        &self.values[example * all * self.numbers..][..own * self.numbers]
    }
}

pub(super) fn given_of(arrays: &Arrays) -> Option<Given<'_>> {
    let targets = arrays.targets.as_ref()?;
    let (numbers, per_step) = match targets.shape[..] {
        [_, numbers] => (numbers, false),
        [_, _, numbers] => (numbers, true),
        _ => (1, false),
    };
    Some(Given {
        values: &targets.values,
        numbers,
        per_step,
        arrays,
    })
}

/// Makes an encoding for the training part: its scales, its season and its linear model come from there alone.
///
/// # Errors
/// [`Error::Unusable`] where a part has no room for a window or is of another kind; [`Error::Setting`] for a setting that this
/// data does not have.
pub fn fit(parts: &ForecastParts, options: &ForecastOptions) -> Result<FittedForecast> {
    match &parts.train {
        RawForecast::Table(series) => fit_series(series, parts, options),
        RawForecast::Arrays {
            arrays,
            chosen,
            name,
        } => fit_arrays(arrays, chosen, name, parts, options),
    }
}

/// Context and horizon of a series: as given, or as large as its parts have room for.
fn sizes(
    series: &Series,
    parts: &ForecastParts,
    options: &ForecastOptions,
    notes: &mut Vec<String>,
) -> (usize, usize) {
    let held = [&parts.validation, &parts.test].into_iter().flatten();
    let shortest = held.filter_map(|held| match held {
        HeldForecast::Rows(range) => Some(range.len()),
        HeldForecast::Own(_) => None,
    });
    let shortest = shortest.min().unwrap_or(usize::MAX);
    let horizon = options.horizon.unwrap_or_else(|| {
        let room = (parts.train_rows / 8).min(shortest).max(1);
        if room < DEFAULT_HORIZON {
            notes.push(format!(
                "the series is short: `horizon` is {room} instead of {DEFAULT_HORIZON}"
            ));
        }
        room.min(DEFAULT_HORIZON)
    });
    let context = options.context.unwrap_or_else(|| {
        let room = (parts.train_rows.saturating_sub(horizon) / 2).max(1);
        if room < DEFAULT_CONTEXT {
            notes.push(format!(
                "the series is short: `context` is {room} instead of {DEFAULT_CONTEXT}"
            ));
        }
        room.min(DEFAULT_CONTEXT)
    });
    debug_assert!(series.rows() >= parts.train_rows);
    (context, horizon)
}

fn fit_series(
    series: &Series,
    parts: &ForecastParts,
    options: &ForecastOptions,
) -> Result<FittedForecast> {
    let mut notes = Vec::new();
    let targets = series.choose(options.target_column.as_deref())?;
    let (context, horizon) = sizes(series, parts, options, &mut notes);
    let loss = options.loss.unwrap_or(ForecastLoss::Mse);
    let features = series.columns.len();
    let train = &series.values[..parts.train_rows * features];
    let mut scale = Standardisation::measure_rows(train, features);
    note_constant(series, train, &mut notes);
    if loss == ForecastLoss::Bernoulli {
        scale = scale.without(&targets);
    }
    let mut encoding = ForecastEncoding {
        mode: ForecastMode::Windows { context, horizon },
        columns: series.columns.clone(),
        features,
        seq_len: None,
        targets,
        loss,
        anchor: anchor(options, loss)?,
        shortcut: options.shortcut.unwrap_or(true),
        scale: Arc::new(scale),
        target_scale: None,
        baselines: Baselines::default(),
    };
    let rows = Arc::new(encoding.rows(&parts.train, true)?);
    let part = |range: Range<usize>, what: &str| {
        let steps = range.len();
        let items = encoding.windows(&rows, range, true);
        encoding.examples(Arc::clone(&rows), items, &series.name, what, steps)
    };
    let train = part(0..parts.train_rows, "training")?;
    let held = |held: &Option<HeldForecast>, what: &str| match held {
        None => Ok(None),
        Some(HeldForecast::Rows(range)) => part(range.clone(), what).map(Some),
        Some(HeldForecast::Own(raw)) => encoding.encode(raw, true).map(Some),
    };
    let validation = held(&parts.validation, "validation")?;
    let test = held(&parts.test, "test")?;
    let season = baselines::season(&rows, &encoding.targets, 0..parts.train_rows);
    fit_windows(&mut encoding, &rows, &train, season);
    if let Some(season) = season.filter(|_| loss != ForecastLoss::Bernoulli) {
        notes.push(format!("the series repeats itself after {season} steps"));
    }
    Ok(FittedForecast {
        encoding,
        train,
        validation,
        test,
        notes,
    })
}

fn anchor(options: &ForecastOptions, loss: ForecastLoss) -> Result<Anchor> {
    match (options.anchor, loss) {
        (None | Some(Anchor::None), ForecastLoss::Bernoulli) => Ok(Anchor::None),
        (Some(Anchor::Last), ForecastLoss::Bernoulli) => Err(Error::Setting {
            name: "anchor".into(),
            found: "`last`".into(),
            expected: "`none`, since what is predicted is 0 or 1".into(),
            hint: "leave it out".into(),
        }),
        (anchor, _) => Ok(anchor.unwrap_or(Anchor::Last)),
    }
}

fn note_constant(series: &Series, train: &[f64], notes: &mut Vec<String>) {
    let features = series.columns.len();
    let constant = |column: &usize| {
        let mut values = train.iter().skip(*column).step_by(features);
        let first = values.next();
        values.all(|value| Some(value) == first)
    };
    let names: Vec<String> = (0..features)
        .filter(constant)
        .map(|column| series.columns[column].clone())
        .collect();
    if !names.is_empty() {
        let s = if names.len() == 1 { "s" } else { "" };
        notes.push(format!(
            "{} never change{s} in the training part",
            super::super::series::some_of(&names)
        ));
    }
}

/// What simple means need of the training windows.
fn fit_windows(
    encoding: &mut ForecastEncoding,
    rows: &Rows,
    train: &ForecastExamples,
    season: Option<usize>,
) {
    let ForecastMode::Windows { context, horizon } = encoding.mode else {
        return;
    };
    encoding.baselines = if encoding.loss == ForecastLoss::Bernoulli {
        Baselines {
            frequencies: baselines::frequencies(train, encoding),
            ..Baselines::default()
        }
    } else {
        Baselines {
            season,
            linear: baselines::linear(rows, train, context, horizon),
            ..Baselines::default()
        }
    };
}

/// What is forecast of arrays, as they and the settings say.
fn mode_of(arrays: &Arrays, name: &str, options: &ForecastOptions) -> Result<ForecastMode> {
    if arrays.shape.len() != 2 {
        return Err(unusable(
            format!(
                "the examples of `{name}` have shape {:?}, expected steps of numbers",
                arrays.shape
            ),
            "give `inputs` of shape (N, T, F)",
        ));
    }
    let (context, horizon) = (options.context, options.horizon);
    if let Some(given) = given_of(arrays) {
        let why = "the numbers to be predicted stand in `targets`";
        for (name, size) in [
            ("context", context),
            ("horizon", horizon.filter(|&size| size != 1)),
        ] {
            if let Some(size) = size {
                return Err(refused(name, size.to_string(), why));
            }
        }
        if let Some(list) = &options.target_column {
            return Err(refused("target-column", format!("`{list}`"), why));
        }
        return Ok(ForecastMode::Given {
            per_step: given.per_step,
        });
    }
    if let Some(context) = context {
        return Ok(ForecastMode::Windows {
            context,
            horizon: horizon.unwrap_or(1),
        });
    }
    match horizon {
        None | Some(1) => Ok(ForecastMode::NextStep {}),
        Some(horizon) => Err(Error::Setting {
            name: "horizon".into(),
            found: horizon.to_string(),
            expected: "1, since every step of a sequence predicts the next one".into(),
            hint: "give `--context` as well, to predict several steps from so many".into(),
        }),
    }
}

fn fit_arrays(
    arrays: &Arrays,
    chosen: &[usize],
    name: &str,
    parts: &ForecastParts,
    options: &ForecastOptions,
) -> Result<FittedForecast> {
    let mode = mode_of(arrays, name, options)?;
    let is_given = matches!(mode, ForecastMode::Given { .. });
    let windows = matches!(mode, ForecastMode::Windows { .. });
    if mode == (ForecastMode::NextStep {}) && options.bidirectional {
        let why = "each step is predicted from those before it, and the other way would see it";
        return Err(refused("bidirectional", "true".into(), why));
    }
    if !windows {
        let why = "only windows of so many steps have it";
        if let Some(anchor) = options.anchor.filter(|&anchor| anchor != Anchor::None) {
            return Err(refused("anchor", format!("`{anchor}`"), why));
        }
        if options.shortcut == Some(true) {
            return Err(refused("shortcut", "true".into(), why));
        }
    }
    let mut notes = Vec::new();
    let loss = options.loss.unwrap_or_else(|| {
        let binary = is_binary(arrays, chosen);
        if binary {
            notes.push("all numbers to be predicted are 0 or 1: `loss` is `bernoulli`".into());
        }
        if binary {
            ForecastLoss::Bernoulli
        } else {
            ForecastLoss::Mse
        }
    });
    let targets = match given_of(arrays) {
        Some(given) => (0..given.numbers).collect(),
        None => features_named(options.target_column.as_deref(), arrays.features())?,
    };
    let mut scale = Standardisation::measure(arrays, chosen, false);
    if loss == ForecastLoss::Bernoulli && !is_given {
        scale = scale.without(&targets);
    }
    let target_scale = given_of(arrays).map(|given| {
        let own = chosen.iter().flat_map(|&at| given.of(at));
        let own: Vec<f64> = own.map(|&value| value.into()).collect();
        let scale = Standardisation::measure_rows(&own, given.numbers);
        match loss {
            ForecastLoss::Bernoulli => scale.without(&targets),
            _ => scale,
        }
    });
    let seq_len = match mode {
        ForecastMode::Given { per_step: false } => chosen
            .iter()
            .all(|&at| arrays.length(at) == arrays.steps())
            .then_some(arrays.steps()),
        _ => None,
    };
    let mut encoding = ForecastEncoding {
        mode,
        columns: Vec::new(),
        features: arrays.features(),
        seq_len,
        targets,
        loss,
        anchor: if windows {
            anchor(options, loss)?
        } else {
            Anchor::None
        },
        shortcut: windows && options.shortcut.unwrap_or(true),
        scale: Arc::new(scale),
        target_scale,
        baselines: Baselines::default(),
    };
    let rows = Arc::new(encoding.rows(&parts.train, true)?);
    let items = encoding.items(&rows, &mut (0..rows.sequences()), true);
    let train = encoding.examples(Arc::clone(&rows), items, name, "training", rows.longest())?;
    let held = |held: &Option<HeldForecast>| match held {
        Some(HeldForecast::Own(raw)) => encoding.encode(raw, true).map(Some),
        Some(HeldForecast::Rows(_)) | None => Ok(None),
    };
    let (validation, test) = (held(&parts.validation)?, held(&parts.test)?);
    if windows {
        fit_windows(&mut encoding, &rows, &train, None);
    } else if loss == ForecastLoss::Bernoulli {
        encoding.baselines.frequencies = baselines::frequencies(&train, &encoding);
    }
    let count = counted(arrays.count, "sequence");
    notes.push(match mode {
        ForecastMode::Windows { context, horizon } => {
            format!("{count}: windows of {context} steps predict the next {horizon}")
        }
        ForecastMode::NextStep {} => {
            format!("{count}: every step is predicted from those before it, the first from nothing")
        }
        ForecastMode::Given { per_step: true } => format!("{count} with numbers for each step"),
        ForecastMode::Given { per_step: false } => format!("{count} with numbers for each"),
    });
    Ok(FittedForecast {
        encoding,
        train,
        validation,
        test,
        notes,
    })
}

/// Whether all that is to be predicted is 0 or 1.
fn is_binary(arrays: &Arrays, chosen: &[usize]) -> bool {
    if let Some(given) = given_of(arrays) {
        let mut own = chosen.iter().flat_map(|&at| given.of(at));
        return own.all(|&value| value == 0.0 || value == 1.0);
    }
    match &arrays.values {
        Values::U8(values) => values.iter().all(|&value| value <= 1),
        Values::F32(values) => values.iter().all(|&value| value == 0.0 || value == 1.0),
    }
}

/// The features of a list of numbers from 1; `None` is all.
fn features_named(list: Option<&str>, features: usize) -> Result<Vec<usize>> {
    let Some(list) = list else {
        return Ok((0..features).collect());
    };
    let mut chosen = Vec::new();
    for word in list.split(',').map(str::trim) {
        let number = word.parse().ok();
        let number = number
            .filter(|number| (1..=features).contains(number) && !chosen.contains(&(number - 1)));
        chosen.push(
            number
                .map(|number| number - 1)
                .ok_or_else(|| Error::Setting {
                    name: "target-column".into(),
                    found: super::super::rows::shown(word),
                    expected: format!("numbers from 1 to {features}, each once"),
                    hint: "the features of arrays have no names".into(),
                })?,
        );
    }
    Ok(chosen)
}
