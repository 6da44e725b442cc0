//! The pictures of a report, each with a sentence computed from its figures.

use std::borrow::Cow;
use std::f64::consts::LOG2_E;

use minijinja::{Value, context};

use super::figures::{Figures, mean, median, smooth};
use super::watched;
use super::words::{about, figure, percent, rate, share, thousands};
use crate::Result;
use crate::run::plot::{Axis, Chart, Color, Mark, RightAxis, Scale, Series, downsample};
use crate::train::events::Step;

/// Points of a curve: more are not seen, and the file stays small.
const MOST_POINTS: usize = 1500;
const MOST_POINTS_NARROW: usize = 600;
/// Sizes in pixels. The first picture is wide where the page is; all others fit a telephone.
const WIDE: (u32, u32) = (960, 340);
pub(super) const WIDE_LOW: (u32, u32) = (960, 260);
pub(super) const NARROW: (u32, u32) = (360, 300);
const SMALL: (u32, u32) = (360, 260);
/// Where the largest loss is so many times the smallest, equal distances are equal ratios.
const LOG_FROM_RATIO: f64 = 50.0;

/// A picture and what it says.
pub(super) struct Picture {
    pub(super) id: Cow<'static, str>,
    pub(super) heading: Cow<'static, str>,
    pub(super) said: String,
    /// The picture for narrow pages and, if it differs, the one for wide pages.
    pub(super) narrow: String,
    pub(super) wide: Option<String>,
}

impl From<Picture> for Value {
    fn from(picture: Picture) -> Self {
        context! {
            id => picture.id.as_ref(),
            heading => picture.heading.as_ref(),
            said => picture.said,
            narrow => picture.narrow,
            wide => picture.wide,
        }
    }
}

pub(super) fn all(figures: &Figures<'_>) -> Result<Vec<Value>> {
    if figures.steps.is_empty() && figures.validations.is_empty() {
        return Ok(Vec::new());
    }
    let mut pictures = vec![loss(figures)?];
    pictures.extend(accuracy(figures)?);
    if !figures.steps.is_empty() {
        pictures.push(gradient(figures)?);
        pictures.push(learning_rate(figures)?);
        pictures.push(speed(figures)?);
    }
    pictures.extend(watched::all(figures)?);
    Ok(pictures.into_iter().map(Value::from).collect())
}

fn loss(figures: &Figures<'_>) -> Result<Picture> {
    let said = say_loss(figures);
    let raw = &figures.losses;
    let scored: Vec<_> = figures
        .validations
        .iter()
        .map(|validation| (validation.step as f64, validation.loss_nats))
        .collect();
    let shown = || {
        raw.iter()
            .chain(&scored)
            .map(|point| point.1)
            .filter(|y| y.is_finite())
    };
    let (low, high) = (
        shown().fold(f64::INFINITY, f64::min),
        shown().fold(f64::NEG_INFINITY, f64::max),
    );
    let log = low > 0.0 && high / low >= LOG_FROM_RATIO;
    let mut label = figures.unit.label();
    if log {
        label += ", log scale";
    }
    let draw = |size, most| {
        let mut series = Vec::new();
        let mut add = |label: String, color, mark, points: &[(f64, f64)]| {
            if points.iter().any(|point| point.1.is_finite()) {
                let points = downsample(points, most);
                series.push(Series {
                    label,
                    color,
                    mark,
                    points,
                });
            }
        };
        if figures.half_window > 0 {
            let smoothed = smooth(raw, figures.half_window, most, mean);
            add(String::new(), Color::Blue, Mark::Faint, raw);
            add("training".into(), Color::Blue, Mark::Line, &smoothed);
        } else {
            add("training".into(), Color::Blue, Mark::Line, raw);
        }
        add("validation".into(), Color::Vermillion, Mark::Dots, &scored);
        if let Some(best) = figures.best {
            let point = (best.step as f64, best.loss_nats);
            let label = format!("best: {}", figure(best.loss_nats));
            add(label, Color::Green, Mark::Rings, &[point]);
        }
        let scale = if log { Scale::Log } else { Scale::Linear };
        Chart {
            title: "Loss against training steps".into(),
            description: said.clone(),
            size,
            x: steps_axis(),
            y: Axis {
                label: label.clone(),
                scale,
                ..Axis::default()
            },
            right: (figures.unit.nats && !log).then(|| RightAxis {
                label: "bits".into(),
                factor: LOG2_E,
            }),
            series,
        }
        .to_svg()
    };
    Ok(Picture {
        id: "loss".into(),
        heading: "Loss".into(),
        narrow: draw(NARROW, MOST_POINTS_NARROW)?,
        wide: Some(draw(WIDE, MOST_POINTS)?),
        said,
    })
}

fn say_loss(figures: &Figures<'_>) -> String {
    let unit = &figures.unit;
    let mut said = Vec::new();
    let mut losses = figures.losses.iter().map(|point| point.1);
    let first = losses.find(|loss| loss.is_finite());
    match (first, figures.train_loss()) {
        (Some(first), Some(last)) if figures.steps.len() > 1 => {
            let moved = if last < first { "fell" } else { "went" };
            let (first, last) = (figure(first), unit.say(last));
            said.push(format!("The training loss {moved} from {first} to {last}."));
        }
        (Some(only), _) => said.push(format!(
            "The training loss of the one step is {}.",
            unit.say(only)
        )),
        _ if figures.steps.is_empty() => {}
        _ => said.push("The training loss was never finite.".into()),
    }
    if figures.task == "lm"
        && let Some(size) = figures
            .start
            .map(|start| start.vocabulary_size)
            .filter(|&size| size > 1)
    {
        said.push(format!(
            "Guessing evenly among the {} symbols would cost {}.",
            thousands(size),
            unit.say(libm::log(size as f64)),
        ));
    }
    if let Some(classes) = figures.classes {
        said.push(format!(
            "Guessing evenly among the {} classes would cost {}.",
            thousands(classes),
            unit.say(libm::log(classes as f64)),
        ));
    }
    match (figures.best, figures.validations.last()) {
        (Some(best), Some(last)) => {
            let bits = unit
                .say_bits(best.loss_nats)
                .map_or_else(String::new, |bits| format!(" ({bits})"));
            let (loss, step) = (unit.say(best.loss_nats), thousands(best.step));
            said.push(format!(
                "The best validation, at step {step}, has a loss of {loss}{bits}."
            ));
            let above = last.loss_nats - best.loss_nats;
            if last.step != best.step && above.is_finite() {
                let side = if above < 0.0 { "below" } else { "above" };
                let (step, above) = (thousands(last.step), figure(above.abs()));
                said.push(format!(
                    "The last one, at step {step}, is {above} {side} it."
                ));
            }
            if let Some(train) = figures.train_loss()
                && let gap = last.loss_nats - train
                && gap.is_finite()
                && figures.steps.len() > 1
            {
                let side = if gap < 0.0 { "below" } else { "above" };
                let gap = figure(gap.abs());
                said.push(format!("At the end validation is {gap} {side} training."));
            }
        }
        (None, Some(_)) => said.push("The validation loss was never finite.".into()),
        _ => said.push("Nothing was validated.".into()),
    }
    said.extend(say_smoothing(figures, "mean"));
    said.join(" ")
}

/// The scores of a classifier on the validation part, where there are any.
fn accuracy(figures: &Figures<'_>) -> Result<Option<Picture>> {
    let mut series = Vec::new();
    let mut said = Vec::new();
    for (metric, name, color, say) in [
        (
            "accuracy",
            "accuracy",
            Color::Blue,
            percent as fn(f64) -> String,
        ),
        ("macro_f1", "macro F1", Color::Orange, figure),
    ] {
        let points: Vec<_> = figures
            .validations
            .iter()
            .filter_map(|of| Some((of.step as f64, *of.metrics.get(metric)?)))
            .collect();
        let highest = points
            .iter()
            .filter(|point| point.1.is_finite())
            // The first of several.
            .rev()
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some(highest) = highest else { continue };
        said.push(format!(
            "The highest {name} is {}, at step {}.",
            say(highest.1),
            thousands(highest.0 as u64)
        ));
        series.push(Series {
            label: name.into(),
            color,
            mark: Mark::Dots,
            points: downsample(&points, MOST_POINTS_NARROW),
        });
    }
    if series.is_empty() {
        return Ok(None);
    }
    let said = said.join(" ");
    let draw = |size| {
        Chart {
            title: "Accuracy on the validation part against training steps".into(),
            description: said.clone(),
            size,
            x: steps_axis(),
            y: Axis {
                label: "on the validation part".into(),
                ..Axis::default()
            },
            right: None,
            series: series.clone(),
        }
        .to_svg()
    };
    Ok(Some(Picture {
        id: "accuracy".into(),
        heading: "Accuracy".into(),
        narrow: draw(SMALL)?,
        wide: Some(draw(WIDE_LOW)?),
        said,
    }))
}

fn gradient(figures: &Figures<'_>) -> Result<Picture> {
    let steps = &figures.steps;
    let clipped: Vec<&&Step> = steps.iter().filter(|step| step.clipped).collect();
    let mut said = Vec::new();
    let norms = sorted(steps, |step| step.grad_norm);
    if let Some(&median) = middle(&norms) {
        let mut text = format!("The median gradient norm is {}", figure(median));
        let largest = steps
            .iter()
            .filter(|step| step.grad_norm.is_finite())
            .max_by(|a, b| a.grad_norm.total_cmp(&b.grad_norm));
        if let Some(largest) = largest {
            text += &format!(
                ", the largest {}, at step {}",
                figure(largest.grad_norm),
                thousands(largest.step)
            );
        }
        said.push(text + ".");
    } else {
        said.push("The gradient's norm was never finite.".into());
    }
    said.push(if clipped.is_empty() {
        "No step was clipped.".into()
    } else {
        let norm = clipped
            .iter()
            .map(|step| step.clipped_norm)
            .fold(f64::NAN, f64::max);
        format!(
            "{} of the steps ({} of {}) were clipped, to a norm of {}.",
            share(clipped.len(), steps.len()),
            thousands(clipped.len() as u64),
            thousands(steps.len() as u64),
            figure(norm),
        )
    });
    said.extend(say_smoothing(figures, "median"));
    let before = curve(steps, |step| step.grad_norm);
    let label = if clipped.is_empty() {
        ""
    } else {
        "before clipping"
    };
    let mut series = smoothed(figures, label, Color::Blue, &before);
    if !clipped.is_empty() {
        let after = curve(steps, |step| step.clipped_norm);
        let after = smoothed(figures, "after", Color::Vermillion, &after);
        // The pale curve of the norm after clipping is that before, cut off.
        series.extend(
            after
                .into_iter()
                .filter(|series| series.mark != Mark::Faint),
        );
    }
    small(
        "gradient",
        "Gradient norm",
        "L2 norm, log scale",
        Scale::Log,
        said.join(" "),
        series,
    )
}

fn learning_rate(figures: &Figures<'_>) -> Result<Picture> {
    let steps = &figures.steps;
    let points = curve(steps, |step| step.learning_rate);
    let said = match (
        points.first(),
        points.iter().max_by(|a, b| a.1.total_cmp(&b.1)),
        points.last(),
    ) {
        (Some(first), Some(peak), Some(last)) if first.1 == peak.1 && last.1 == peak.1 => {
            format!("The learning rate is {} throughout.", rate(peak.1))
        }
        (Some(first), Some(peak), Some(last)) => {
            let mut text = String::from("The learning rate ");
            if first.1 < peak.1 {
                let step = thousands(peak.0 as u64);
                text += &format!(
                    "rises from {} to {} at step {step}",
                    rate(first.1),
                    rate(peak.1)
                );
            } else {
                text += &format!("begins at {}", rate(peak.1));
            }
            if last.1 < peak.1 {
                text += &format!(" and ends at {}", rate(last.1));
            }
            text + "."
        }
        _ => String::new(),
    };
    let series = vec![Series {
        label: String::new(),
        color: Color::Blue,
        mark: Mark::Line,
        points: downsample(&points, MOST_POINTS),
    }];
    small(
        "learning-rate",
        "Learning rate",
        "learning rate",
        Scale::Linear,
        said,
        series,
    )
}

fn speed(figures: &Figures<'_>) -> Result<Picture> {
    let speeds = sorted(&figures.steps, |step| step.tokens_per_s);
    let said = match middle(&speeds) {
        Some(&median) if speeds.len() >= 10 => {
            let (slow, fast) = (
                speeds[speeds.len() / 10],
                speeds[speeds.len() - 1 - speeds.len() / 10],
            );
            format!(
                "Training runs at a median of {} tokens a second; eight steps in ten lie between {} and {}.",
                about(median),
                about(slow),
                about(fast),
            )
        }
        Some(&median) => format!("Training runs at {} tokens a second.", about(median)),
        None => "The speed was not measured.".into(),
    };
    let said: Vec<String> = [said]
        .into_iter()
        .chain(say_smoothing(figures, "median"))
        .collect();
    let speeds = curve(&figures.steps, |step| step.tokens_per_s);
    let series = smoothed(figures, "", Color::Blue, &speeds);
    small(
        "speed",
        "Speed",
        "tokens a second",
        Scale::Linear,
        said.join(" "),
        series,
    )
}

/// A noisy curve: pale behind the median of its neighbourhood, or as it is where it is short.
fn smoothed(figures: &Figures<'_>, label: &str, color: Color, raw: &[(f64, f64)]) -> Vec<Series> {
    let series = |label: &str, mark, points| Series {
        label: label.into(),
        color,
        mark,
        points,
    };
    let few = downsample(raw, MOST_POINTS_NARROW);
    if figures.half_window == 0 {
        return vec![series(label, Mark::Line, few)];
    }
    let medians = smooth(raw, figures.half_window, MOST_POINTS_NARROW, median);
    vec![
        series("", Mark::Faint, few),
        series(label, Mark::Line, medians),
    ]
}

/// How to read a pale curve and a full one, where there are both.
fn say_smoothing(figures: &Figures<'_>, how: &str) -> Option<String> {
    let window = 2 * figures.half_window + 1;
    (window > 1)
        .then(|| format!("The pale line is every step, the full one the {how} of {window}."))
}

fn small(
    id: &'static str,
    heading: &'static str,
    label: &str,
    scale: Scale,
    said: String,
    series: Vec<Series>,
) -> Result<Picture> {
    let narrow = Chart {
        title: format!("{heading} against training steps"),
        description: said.clone(),
        size: SMALL,
        x: steps_axis(),
        y: Axis {
            label: label.into(),
            scale,
            from_zero: scale == Scale::Linear,
            ..Axis::default()
        },
        right: None,
        series,
    }
    .to_svg()?;
    Ok(Picture {
        id: id.into(),
        heading: heading.into(),
        said,
        narrow,
        wide: None,
    })
}

pub(super) fn steps_axis() -> Axis {
    Axis {
        label: "training step".into(),
        from_zero: true,
        whole: true,
        ..Axis::default()
    }
}

fn curve(steps: &[&Step], value: impl Fn(&Step) -> f64) -> Vec<(f64, f64)> {
    steps
        .iter()
        .map(|step| (step.step as f64, value(step)))
        .collect()
}

/// The finite values by size.
fn sorted(steps: &[&Step], value: impl Fn(&Step) -> f64) -> Vec<f64> {
    let values = steps.iter().map(|step| value(step));
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> Option<&f64> {
    sorted.get(sorted.len() / 2)
}
