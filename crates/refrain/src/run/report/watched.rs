//! What was watched of the inside of a model while it was trained.

use super::figures::Figures;
use super::pictures::{NARROW, Picture, WIDE_LOW, steps_axis};
use super::words::{figure, thousands};
use crate::Result;
use crate::inspect::watch::{Watch, WatchedGate, WatchedGradients, WatchedSpectrum};
use crate::run::plot::{Axis, Chart, Mark, Scale, Series, downsample, look_of};

/// Points of a curve: more are not seen.
const MOST_POINTS: usize = 600;

pub(super) fn all(figures: &Figures<'_>) -> Result<Vec<Picture>> {
    let watches = &figures.watches;
    let found = [gradients(watches)?, spectrum(watches)?, gates(watches)?];
    Ok(found.into_iter().flatten().collect())
}

/// Curves over the steps: one for each name, in the order in which names are first seen.
fn curves<T>(
    watches: &[&Watch],
    parts: impl Fn(&Watch) -> &[T],
    name: impl Fn(&T) -> String,
    value: impl Fn(&T) -> Option<f64>,
) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for watch in watches {
        for part in parts(watch) {
            let label = name(part);
            let at = series.iter().position(|series| series.label == label);
            let at = at.unwrap_or_else(|| {
                let (color, mark) = look_of(series.len(), [Mark::Dots, Mark::Points]);
                series.push(Series {
                    label,
                    color,
                    mark,
                    points: Vec::new(),
                });
                series.len() - 1
            });
            // What is not known is a gap.
            let value = value(part).unwrap_or(f64::NAN);
            series[at].points.push((watch.step as f64, value));
        }
    }
    for series in &mut series {
        series.points = downsample(&series.points, MOST_POINTS);
    }
    series
}

fn picture(
    (id, heading): (&'static str, &'static str),
    (label, scale): (&str, Scale),
    said: String,
    series: Vec<Series>,
) -> Result<Option<Picture>> {
    if series.is_empty() {
        return Ok(None);
    }
    let draw = |size| {
        Chart {
            title: format!("{heading} against training steps"),
            description: said.clone(),
            size,
            x: steps_axis(),
            y: Axis {
                label: label.into(),
                scale,
                ..Axis::default()
            },
            right: None,
            series: series.clone(),
        }
        .to_svg()
    };
    Ok(Some(Picture {
        id,
        heading,
        narrow: draw(NARROW)?,
        wide: Some(draw(WIDE_LOW)?),
        said,
    }))
}

/// The distance that is drawn, and the part of the gradient at distance 0 that is left there.
const DRAWN_DISTANCE: usize = 10;

fn gradients(watches: &[&Watch]) -> Result<Option<Picture>> {
    let name = |of: &WatchedGradients| format!("{} {}", of.name, of.state.letter());
    let left = |of: &WatchedGradients| {
        let norm = |distance: usize| {
            let at = of.distance.iter().position(|&at| at == distance)?;
            of.median[at]
        };
        Some(norm(DRAWN_DISTANCE)? / norm(0)?)
    };
    let series = curves(watches, |watch| &watch.gradients, name, left);
    let mut said = format!(
        "What is left, {DRAWN_DISTANCE} steps back, of the gradient that the loss of one step has for the states of that step (medians)."
    );
    if let Some(last) = watches.iter().rfind(|watch| !watch.gradients.is_empty()) {
        let half_lives = last.gradients.iter().map(|of| match of.half_life {
            Some(steps) => format!("{} {} steps", name(of), figure(steps)),
            None => format!("{} not within what was looked at", name(of)),
        });
        let half_lives: Vec<String> = half_lives.collect();
        said += &format!(
            " Half-lives at step {}: {}.",
            thousands(last.step),
            half_lives.join("; ")
        );
    }
    let axis = ("left of the gradient, log scale", Scale::Log);
    picture(
        ("watch-gradients", "Reach of gradients"),
        axis,
        said,
        series,
    )
}

fn spectrum(watches: &[&Watch]) -> Result<Option<Picture>> {
    let name = |of: &WatchedSpectrum| format!("{} {}", of.name, of.gate);
    let radius = |of: &WatchedSpectrum| Some(of.spectral_radius);
    let series = curves(watches, |watch| &watch.spectrum, name, radius);
    let mut said = "The spectral radius of each gate's recurrent matrix.".to_owned();
    if let Some(last) = watches.iter().rfind(|watch| !watch.spectrum.is_empty()) {
        let greatest = last.spectrum.iter();
        let greatest = greatest.max_by(|a, b| a.spectral_radius.total_cmp(&b.spectral_radius));
        if let Some(greatest) = greatest {
            said += &format!(
                " The greatest at step {} is {}, of {}.",
                thousands(last.step),
                figure(greatest.spectral_radius),
                name(greatest)
            );
        }
    }
    let axis = ("spectral radius", Scale::Linear);
    picture(("watch-spectrum", "Recurrent matrices"), axis, said, series)
}

fn gates(watches: &[&Watch]) -> Result<Option<Picture>> {
    let name = |of: &WatchedGate| format!("{} {}", of.name, of.gate);
    let mean = |of: &WatchedGate| Some(of.mean);
    let series = curves(watches, |watch| &watch.gates, name, mean);
    let mut said = "The mean of each gate over units and steps.".to_owned();
    if let Some(last) = watches.iter().rfind(|watch| !watch.gates.is_empty()) {
        let lifetimes = last.gates.iter().filter_map(|of| {
            let steps = figure(of.lifetime?);
            Some(format!("{} {steps} steps", of.name))
        });
        let lifetimes: Vec<String> = lifetimes.collect();
        if !lifetimes.is_empty() {
            said += &format!(
                " At step {} the middle unit remembers: {}.",
                thousands(last.step),
                lifetimes.join("; ")
            );
        }
    }
    picture(
        ("watch-gates", "Gates"),
        ("mean", Scale::Linear),
        said,
        series,
    )
}
