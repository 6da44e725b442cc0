//! `report.html`: what happened in a run, on one page that opens offline.
//!
//! The page holds no script and loads nothing; a policy in its head forbids both. Every text of the run is escaped by
//! the template engine, and characters that would not be seen are shown as signs (see [`plot::visible`]).

mod classes;
mod figures;
mod forecast;
mod pictures;
mod watched;
mod words;

use std::path::Path;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, escape_formatter};

use self::figures::Figures;
use self::words::{count, span, thousands};
use crate::metrics::{ClassReport, ForecastReport};
use crate::run::graph::Graph;
use crate::run::plot;
use crate::train::events::{Event, Sample};
use crate::{Error, Result};

/// Samples shown in full, and in all.
const SAMPLES_OPEN: usize = 5;
const SAMPLES_SHOWN: usize = 30;
/// Characters shown of one sample.
const SAMPLE_CHARACTERS: usize = 4000;
/// Rows in the table of validations.
const VALIDATIONS_SHOWN: usize = 60;

/// All that a report is made of.
#[derive(Clone, Debug, Default)]
pub struct Report<'a> {
    /// The heading, for example the name of the run folder.
    pub title: &'a str,
    /// The task, for example `lm`.
    pub task: &'a str,
    /// The resolved configuration, as in `config.toml`.
    pub config_toml: &'a str,
    /// The history of the run, as in `metrics.jsonl`.
    pub events: &'a [Event],
    /// Further figures as label and value.
    pub summary: Vec<(String, String)>,
    /// Further remarks, a paragraph each.
    pub notes: Vec<String>,
    /// The model unrolled over time.
    pub graph: Option<&'a Graph>,
    /// How a classifier scores by class.
    pub classes: Option<&'a ClassReport>,
    /// The part of the data that [`Report::classes`] and [`Report::forecast`] are of, for example `test`.
    pub scored_part: &'a str,
    /// How far off a forecaster is.
    pub forecast: Option<&'a ForecastReport>,
}

/// Makes the page.
///
/// Any history will do: one step, no validation, no sample, losses that are not finite, no end.
///
/// # Errors
///
/// [`Error::Unusable`] if the page cannot be drawn, which would be a mistake in this library.
///
/// # Examples
///
/// ```
/// use refrain::run::report::{Report, render};
///
/// let page = render(&Report { title: "<run>", task: "lm", ..Report::default() })?;
/// assert!(page.contains("<h1>&lt;run&gt;</h1>"));
/// # Ok::<(), refrain::Error>(())
/// ```
pub fn render(report: &Report<'_>) -> Result<String> {
    let figures = Figures::new(report);
    let pictures = pictures::all(&figures)?;
    let classes = classes::section(report)?;
    let forecast = forecast::section(report)?;
    let graph = report.graph.map(graph_section).transpose()?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            escape_formatter(out, state, &Value::from(plot::visible(text).as_ref()))
        }
        _ => escape_formatter(out, state, value),
    });
    let (samples, samples_said) = samples(&figures.samples);
    let (config, config_raw) = config(report.config_toml);
    environment
        .add_template("report.html", include_str!("report/report.html"))
        .and_then(|()| environment.get_template("report.html"))
        .and_then(|template| {
            template.render(context! {
                title => report.title,
                task => report.task,
                plot_style => plot::STYLE,
                warnings => figures.warnings(),
                headline => figures.headline(),
                summary => pairs(&report.summary),
                notes => report.notes.clone(),
                graph,
                pictures,
                classes,
                forecast,
                validations => validations(&figures),
                samples,
                samples_said,
                samples_open => SAMPLES_OPEN,
                config => pairs(&config),
                config_raw,
            })
        })
        .map_err(|error| Error::Unusable {
            problem: format!("the report cannot be made: {error:#}"),
            hint: "this is a mistake in Refrain; please report it".into(),
        })
}

/// The model unrolled, and what its picture shows.
fn graph_section(graph: &Graph) -> Result<Value> {
    let said = format!(
        "Shape: {}. Each box is a layer at a step, with the size of what comes out of it; beside each row stand its weights. \
         Of the steps of a sequence the first, the second and the last are drawn.",
        graph.shape.name()
    );
    Ok(context! { svg => graph.to_svg()?, said })
}

/// The confusion matrix of a classifier as SVG.
///
/// # Errors
/// [`Error::Unusable`] if it cannot be drawn.
pub fn confusion_svg(classes: &ClassReport) -> Result<String> {
    classes::confusion(classes)
}

/// Answers of a forecaster beside the truth as SVG.
///
/// # Errors
/// [`Error::Unusable`] if they cannot be drawn.
pub fn forecast_svg(forecast: &ForecastReport) -> Result<String> {
    forecast::svg(forecast)
}

/// Makes the page and puts it in place whole: it is written beside `path`, synced, and renamed.
///
/// # Errors
///
/// As [`render`], and [`Error::Io`] if the file cannot be written.
pub fn write(path: impl AsRef<Path>, report: &Report<'_>) -> Result<()> {
    let path = path.as_ref();
    let page = render(report)?;
    crate::checkpoint::write_atomic(path, page.as_bytes())
}

/// The newest first; of many, the newest few and a choice of the others that reaches back to the first.
fn samples(all: &[&Sample]) -> (Vec<Value>, String) {
    let newest_first: Vec<&Sample> = all.iter().rev().copied().collect();
    let chosen = choose(newest_first.len(), SAMPLES_SHOWN, SAMPLES_OPEN);
    let mut cut = 0;
    let views: Vec<Value> = chosen
        .iter()
        .map(|&index| {
            let sample = newest_first[index];
            let mut text = sample.text.clone();
            if let Some((end, _)) = text.char_indices().nth(SAMPLE_CHARACTERS) {
                text.truncate(end);
                text.push('…');
                cut += 1;
            }
            let step = thousands(sample.step);
            context! { step, text }
        })
        .collect();
    let mut said = match (all.first(), all.last()) {
        (Some(first), Some(last)) if all.len() > 1 => format!(
            "{} texts drawn from step {} to step {}, the newest first.",
            thousands(all.len() as u64),
            thousands(first.step),
            thousands(last.step),
        ),
        (Some(only), _) => format!("One text, drawn at step {}.", thousands(only.step)),
        _ => String::new(),
    };
    if views.len() < all.len() {
        said += &format!(" {} of them are shown.", views.len());
    }
    if cut > 0 {
        said += &format!(
            " {} cut after {} characters.",
            count(cut, "is", "are"),
            thousands(SAMPLE_CHARACTERS as u64),
        );
    }
    (views, said)
}

/// Rising indices, at most `most` of `len`: the first `first` ones, and the others evenly up to the last.
fn choose(len: usize, most: usize, first: usize) -> Vec<usize> {
    if len <= most {
        return (0..len).collect();
    }
    let others = most - first;
    let spread = (1..=others).map(|i| first - 1 + i * (len - first) / others);
    (0..first).chain(spread).collect()
}

fn validations(figures: &Figures<'_>) -> Value {
    let all = &figures.validations;
    let unit = &figures.unit;
    let mut metrics: Vec<&String> = all.iter().flat_map(|v| v.metrics.keys()).collect();
    metrics.sort();
    metrics.dedup();
    let mut names = vec![if unit.nats { "loss, nats" } else { "loss" }.to_owned()];
    if unit.nats {
        names.push("loss, bits".into());
    }
    names.extend(metrics.iter().map(|name| name.replace('_', " ")));
    let best = figures.best.map(|best| best.step);
    let mut chosen = choose(all.len(), VALIDATIONS_SHOWN, 1);
    chosen.extend(all.iter().position(|v| Some(v.step) == best));
    chosen.sort_unstable();
    chosen.dedup();
    let rows = chosen.iter().map(|&index| {
        let validation = all[index];
        let loss = validation.loss_nats;
        let bits = unit.nats.then_some(loss * std::f64::consts::LOG2_E);
        let of_metrics = metrics
            .iter()
            .map(|&name| validation.metrics.get(name).copied());
        let values = [Some(loss)]
            .into_iter()
            .chain(bits.map(Some))
            .chain(of_metrics)
            .map(|value| value.map_or_else(|| "–".into(), words::figure));
        context! {
            step => thousands(validation.step),
            time => span(validation.elapsed_s),
            scores => values.collect::<Vec<String>>(),
            best => Some(validation.step) == best,
        }
    });
    let rows: Vec<_> = rows.collect();
    let said = if rows.len() < all.len() {
        format!(
            "{} of {} rows, the best among them",
            rows.len(),
            thousands(all.len() as u64)
        )
    } else {
        count(rows.len() as u64, "row", "rows")
    };
    context! { names, rows, said }
}

fn pairs(rows: &[(String, String)]) -> Vec<Value> {
    let pair = |(name, value): &(String, String)| context! { name => name.as_str(), value => value.as_str() };
    rows.iter().map(pair).collect()
}

/// The settings as dotted names and values; or, where the text is not TOML, the text as it is.
fn config(toml: &str) -> (Vec<(String, String)>, &str) {
    match toml.parse::<toml::Table>() {
        Ok(table) => {
            let mut rows = Vec::new();
            flatten("", &table, &mut rows);
            (rows, "")
        }
        Err(_) => (Vec::new(), toml),
    }
}

fn flatten(owner: &str, table: &toml::Table, rows: &mut Vec<(String, String)>) {
    // Plain settings first, as TOML itself must have them.
    for (key, value) in table {
        match value {
            toml::Value::Table(_) => {}
            toml::Value::String(text) => rows.push((format!("{owner}{key}"), text.clone())),
            value => rows.push((format!("{owner}{key}"), value.to_string())),
        }
    }
    for (key, value) in table {
        if let toml::Value::Table(inner) = value {
            flatten(&format!("{owner}{key}."), inner, rows);
        }
    }
}

#[cfg(test)]
mod tests;
