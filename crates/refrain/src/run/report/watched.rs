//! What was watched of the inside of a model while it was trained.

use super::figures::Figures;
use super::pictures::{NARROW, Picture, WIDE_LOW, steps_axis};
use super::words::{figure, thousands};
use crate::Result;
use crate::inspect::watch::{Watch, WatchedGate, WatchedGradients, WatchedSpectrum};
use crate::run::plot::{Axis, Chart, Mark, Scale, Series, color_of, downsample};

/// Points of a curve: more are not seen.
const MOST_POINTS: usize = 600;

pub(super) fn all(figures: &Figures<'_>) -> Result<Vec<Picture>> {
    let watches = &figures.watches;
    let mut found = Vec::new();
    found.extend(reach(watches)?);
    found.extend(left(watches)?);
    for layer in layers(watches, |watch| &watch.spectrum, |of| &of.name) {
        found.push(spectrum(watches, layer)?);
    }
    for layer in layers(watches, |watch| &watch.gates, |of| &of.name) {
        found.push(gates(watches, layer)?);
        found.push(saturation(watches, layer)?);
    }
    Ok(found)
}

/// The names of the layers, in the order in which they are first seen.
fn layers<'a, T: 'a>(
    watches: &[&'a Watch],
    parts: impl Fn(&'a Watch) -> &'a Vec<T>,
    name: impl Fn(&'a T) -> &'a String,
) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for part in watches.iter().flat_map(|&watch| parts(watch)) {
        if !names.contains(&name(part).as_str()) {
            names.push(name(part));
        }
    }
    names
}

/// One of the curves that a thing has: how it is drawn, what is behind the thing's name, its value.
type Line<T> = (Mark, &'static str, fn(&T) -> Option<f64>);

/// Curves over the steps: for each name, in the order in which names are first seen, in a colour of its own the `lines`.
fn curves<'a, T: 'a>(
    watches: &[&'a Watch],
    parts: impl Fn(&'a Watch) -> Vec<&'a T>,
    name: impl Fn(&T) -> String,
    lines: &[Line<T>],
) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for &watch in watches {
        for part in parts(watch) {
            let name = name(part);
            let first = format!("{name}{}", lines[0].1);
            let at = series.iter().position(|series| series.label == first);
            let at = at.unwrap_or_else(|| {
                let color = color_of(series.len() / lines.len());
                series.extend(lines.iter().map(|&(mark, what, _)| Series {
                    label: format!("{name}{what}"),
                    color,
                    mark,
                    points: Vec::new(),
                }));
                series.len() - lines.len()
            });
            for (series, (.., value)) in series[at..].iter_mut().zip(lines) {
                // What is not known is a gap.
                let value = value(part).unwrap_or(f64::NAN);
                series.points.push((watch.step as f64, value));
            }
        }
    }
    for series in &mut series {
        series.points = downsample(&series.points, MOST_POINTS);
    }
    series
}

fn picture(
    (id, heading): (String, String),
    (x, y): (Axis, Axis),
    said: String,
    series: Vec<Series>,
) -> Result<Picture> {
    let draw = |size| {
        Chart {
            title: heading.clone(),
            description: said.clone(),
            size,
            x: x.clone(),
            y: y.clone(),
            right: None,
            series: series.clone(),
        }
        .to_svg()
    };
    Ok(Picture {
        narrow: draw(NARROW)?,
        wide: Some(draw(WIDE_LOW)?),
        id: id.into(),
        heading: heading.into(),
        said,
    })
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis {
        label: label.into(),
        scale,
        ..Axis::default()
    }
}

fn parts_axis(label: &str) -> Axis {
    Axis {
        label: label.into(),
        parts: true,
        ..Axis::default()
    }
}

fn name_of_state(of: &WatchedGradients) -> String {
    format!("{} {}", of.name, of.state.letter())
}

/// The norms by distance, at the first look and at the last.
fn reach(watches: &[&Watch]) -> Result<Option<Picture>> {
    let mut looks = watches.iter().filter(|watch| !watch.gradients.is_empty());
    let (Some(first), last) = (looks.next(), looks.next_back()) else {
        return Ok(None);
    };
    let of = |watch: &Watch, mark: Mark| {
        let curve = |(at, of): (usize, &WatchedGradients)| Series {
            label: format!("{}, step {}", name_of_state(of), thousands(watch.step)),
            color: color_of(at),
            mark,
            points: of
                .distance
                .iter()
                .zip(&of.median)
                .map(|(&distance, norm)| (distance as f64, norm.unwrap_or(f64::NAN)))
                .collect(),
        };
        watch.gradients.iter().enumerate().map(curve).collect()
    };
    let mut series: Vec<Series> = of(first, Mark::Thin);
    let last = last.unwrap_or(first);
    if last.step != first.step {
        series.extend(of(last, Mark::Dots));
    }
    let half_lives = last.gradients.iter().map(|of| match of.half_life {
        Some(steps) => format!("{} {} steps", name_of_state(of), figure(steps)),
        None => format!("{} not within what was looked at", name_of_state(of)),
    });
    let half_lives: Vec<String> = half_lives.collect();
    let said = format!(
        "The norm of the gradient that the loss of one step has for the states so many steps before it: medians, at the first look \
         and at the last. Half-lives at step {}: {}.",
        thousands(last.step),
        half_lives.join("; ")
    );
    let x = Axis {
        label: "distance, steps".into(),
        from_zero: true,
        whole: true,
        ..Axis::default()
    };
    let heading = "Gradients by distance";
    let names = ("watch-reach".into(), heading.into());
    let y = axis("gradient norm, log scale", Scale::Log);
    picture(names, (x, y), said, series).map(Some)
}

/// The distance at which what is left is drawn.
const DRAWN_DISTANCE: usize = 10;

/// The part of the gradient at distance 0 that is left at [`DRAWN_DISTANCE`].
fn left_of(of: &WatchedGradients) -> Option<f64> {
    let norm = |distance: usize| {
        let at = of.distance.iter().position(|&at| at == distance)?;
        of.median[at]
    };
    Some(norm(DRAWN_DISTANCE)? / norm(0)?)
}

fn left(watches: &[&Watch]) -> Result<Option<Picture>> {
    let lines: [Line<WatchedGradients>; 1] = [(Mark::Dots, "", left_of)];
    let parts = |watch| -> Vec<&WatchedGradients> {
        let watch: &Watch = watch;
        watch.gradients.iter().collect()
    };
    let series = curves(watches, parts, name_of_state, &lines);
    let seen = |series: &Series| series.points.iter().any(|point| point.1.is_finite());
    if !series.iter().any(seen) {
        return Ok(None);
    }
    let said = format!(
        "What is left, {DRAWN_DISTANCE} steps back, of the gradient that the loss of one step has for the states of that step (medians)."
    );
    let y = axis("left of the gradient, log scale", Scale::Log);
    let heading = "Reach of gradients against training steps";
    let names = ("watch-gradients".into(), heading.into());
    picture(names, (steps_axis(), y), said, series).map(Some)
}

fn spectrum(watches: &[&Watch], layer: &str) -> Result<Picture> {
    let parts = |watch| -> Vec<&WatchedSpectrum> {
        let watch: &Watch = watch;
        watch
            .spectrum
            .iter()
            .filter(|of| of.name == layer)
            .collect()
    };
    let lines: [Line<WatchedSpectrum>; 2] = [
        (Mark::Dots, " radius", |of| Some(of.spectral_radius)),
        (Mark::Thin, " greatest", |of| Some(of.greatest)),
    ];
    let series = curves(watches, parts, |of| of.gate.clone(), &lines);
    let mut said = format!(
        "The spectral radius and the greatest singular value of the recurrent matrix of each gate of {layer}."
    );
    let last = watches.iter().rfind(|watch| !watch.spectrum.is_empty());
    if let Some((last, of)) = last.map(|watch| (watch.step, parts(watch)))
        && let Some(greatest) = of
            .into_iter()
            .max_by(|a, b| a.spectral_radius.total_cmp(&b.spectral_radius))
    {
        said += &format!(
            " The greatest radius at step {} is {}, of {}.",
            thousands(last),
            figure(greatest.spectral_radius),
            greatest.gate
        );
    }
    let heading = format!("Recurrent matrices of {layer}");
    let y = axis("radius, singular value", Scale::Linear);
    picture(
        (format!("watch-spectrum-{layer}"), heading),
        (steps_axis(), y),
        said,
        series,
    )
}

fn gates_of<'a>(watch: &'a Watch, layer: &str) -> Vec<&'a WatchedGate> {
    watch.gates.iter().filter(|of| of.name == layer).collect()
}

fn gates(watches: &[&Watch], layer: &str) -> Result<Picture> {
    let lines: [Line<WatchedGate>; 1] = [(Mark::Dots, "", |of| Some(of.mean))];
    let parts = |watch| gates_of(watch, layer);
    let series = curves(watches, parts, |of| of.gate.clone(), &lines);
    let mut said = format!("The mean of each gate of {layer} over units and steps.");
    if let Some(last) = watches.iter().rfind(|watch| !watch.gates.is_empty())
        && let Some(steps) = gates_of(last, layer).iter().find_map(|of| of.lifetime)
    {
        said += &format!(
            " At step {} the middle unit remembers {} steps.",
            thousands(last.step),
            figure(steps)
        );
    }
    let names = (format!("watch-gates-{layer}"), format!("Gates of {layer}"));
    let y = axis("mean", Scale::Linear);
    picture(names, (steps_axis(), y), said, series)
}

fn saturation(watches: &[&Watch], layer: &str) -> Result<Picture> {
    let lines: [Line<WatchedGate>; 2] = [
        (Mark::Dots, " right", |of| Some(of.right_saturated)),
        (Mark::Thin, " left", |of| Some(of.left_saturated)),
    ];
    let parts = |watch| gates_of(watch, layer);
    let series = curves(watches, parts, |of| of.gate.clone(), &lines);
    let said = format!(
        "How often the units of {layer} are saturated: right, as good as open; left, as good as shut."
    );
    let names = (
        format!("watch-saturation-{layer}"),
        format!("Saturation of the gates of {layer}"),
    );
    let y = parts_axis("part of the steps");
    picture(names, (steps_axis(), y), said, series)
}
