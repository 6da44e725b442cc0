//! What a history comes to: the numbers that the page names.

use minijinja::{Value, context};

use super::Report;
use super::words::{amount, count, figure, percent, span, thousands};
use crate::train::events::{End, Event, Sample, Start, Step, Validation, Watch};

/// A history taken apart.
pub(super) struct Figures<'a> {
    pub(super) task: &'a str,
    pub(super) unit: Unit,
    pub(super) start: Option<&'a Start>,
    pub(super) steps: Vec<&'a Step>,
    pub(super) validations: Vec<&'a Validation>,
    pub(super) samples: Vec<&'a Sample>,
    pub(super) watches: Vec<&'a Watch>,
    pub(super) end: Option<&'a End>,
    /// The validation with the lowest finite loss.
    pub(super) best: Option<&'a Validation>,
    /// Classes of a classifier, where they are known and more than one.
    pub(super) classes: Option<u64>,
    /// The training loss by step.
    pub(super) losses: Vec<(f64, f64)>,
    /// Curves are smoothed over so many steps to either side.
    pub(super) half_window: usize,
    elapsed_s: f64,
}

/// What a loss is counted in.
pub(super) struct Unit {
    /// Whether it is a code length, so that nats and bits mean something.
    pub(super) nats: bool,
    /// What it is the mean over: `a token`, `a label`, …
    of: &'static str,
    /// Whether its exponential is a perplexity.
    perplexity: bool,
}

impl Unit {
    fn new(task: &str, config_toml: &str) -> Self {
        let (nats, of, perplexity) = match task {
            "classify" => (true, "an example", false),
            "tag" => (true, "a label", false),
            "forecast" => {
                let config: toml::Table = config_toml.parse().unwrap_or_default();
                let loss = config.get("loss").and_then(toml::Value::as_str);
                let likelihood = matches!(loss, Some("gaussian" | "bernoulli"));
                (likelihood, "a step", false)
            }
            _ => (true, "a token", true),
        };
        Self {
            nats,
            of,
            perplexity,
        }
    }

    /// `1.423 nats a token`, or the bare figure.
    pub(super) fn say(&self, loss: f64) -> String {
        if self.nats {
            format!("{} nats {}", figure(loss), self.of)
        } else {
            figure(loss)
        }
    }

    /// `2.053 bits a token`, where there are bits.
    pub(super) fn say_bits(&self, loss: f64) -> Option<String> {
        let bits = loss * std::f64::consts::LOG2_E;
        self.nats
            .then(|| format!("{} bits {}", figure(bits), self.of))
    }

    /// The axis of losses.
    pub(super) fn label(&self) -> String {
        if self.nats {
            format!("loss, nats {}", self.of)
        } else {
            "loss".into()
        }
    }
}

/// One figure on top of the page.
struct Headline {
    label: &'static str,
    value: String,
    unit: &'static str,
    more: String,
}

impl From<Headline> for Value {
    fn from(item: Headline) -> Self {
        context! { label => item.label, value => item.value, unit => item.unit, more => item.more }
    }
}

impl<'a> Figures<'a> {
    pub(super) fn new(report: &Report<'a>) -> Self {
        let mut figures = Self {
            task: report.task,
            unit: Unit::new(report.task, report.config_toml),
            start: None,
            steps: Vec::new(),
            validations: Vec::new(),
            samples: Vec::new(),
            watches: Vec::new(),
            end: None,
            best: None,
            classes: report
                .classes
                .map(|report| report.classes.len() as u64)
                .filter(|&classes| classes > 1),
            losses: Vec::new(),
            half_window: 0,
            elapsed_s: 0.0,
        };
        for event in report.events {
            let elapsed_s = match event {
                Event::Start(start) => {
                    figures.start.get_or_insert(start);
                    0.0
                }
                Event::Step(step) => {
                    figures.steps.push(step);
                    step.elapsed_s
                }
                Event::Validation(validation) => {
                    figures.validations.push(validation);
                    validation.elapsed_s
                }
                Event::Sample(sample) => {
                    figures.samples.push(sample);
                    0.0
                }
                Event::Watch(watch) => {
                    figures.watches.push(watch);
                    0.0
                }
                Event::Save(save) => save.elapsed_s,
                Event::End(end) => {
                    figures.end = Some(end);
                    end.elapsed_s
                }
            };
            figures.elapsed_s = figures.elapsed_s.max(elapsed_s);
        }
        // The task has said which is the best: of labels the most that are right, not the lowest loss.
        let marked = figures.validations.iter().rev().copied();
        let lowest = figures.validations.iter().copied();
        figures.best = marked
            .filter(|validation| validation.loss_nats.is_finite())
            .find(|validation| validation.best)
            .or_else(|| {
                lowest
                    .filter(|validation| validation.loss_nats.is_finite())
                    .min_by(|a, b| a.loss_nats.total_cmp(&b.loss_nats))
            });
        let losses = figures.steps.iter();
        figures.losses = losses
            .map(|step| (step.step as f64, step.loss_nats))
            .collect();
        figures.half_window = (figures.steps.len() / 80).min(250);
        figures
    }

    /// The mean training loss of the last steps, as many as [`Figures::last_steps`], where it is finite.
    pub(super) fn train_loss(&self) -> Option<f64> {
        let finite = self.losses.iter().rev().map(|point| point.1);
        let mut last: Vec<f64> = finite
            .filter(|loss| loss.is_finite())
            .take(self.last_steps())
            .collect();
        (!last.is_empty()).then(|| mean(&mut last))
    }

    /// How many steps "the last steps" are: the window of the last point of a smoothed curve.
    fn last_steps(&self) -> usize {
        self.half_window + 1
    }

    fn last_step(&self) -> u64 {
        let stepped = self.steps.last().map_or(0, |step| step.step);
        self.end.map_or(stepped, |end| end.step)
    }

    /// What a reader must know before anything else.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let broken = |value: fn(&Step) -> f64| {
            let bad: Vec<u64> = self
                .steps
                .iter()
                .filter(|step| !value(step).is_finite())
                .map(|step| step.step)
                .collect();
            bad.first().map(|&first| (first, bad.len() as u64))
        };
        for (what, value) in [
            ("loss", (|step| step.loss_nats) as fn(&Step) -> f64),
            ("gradient", |step| step.grad_norm),
        ] {
            if let Some((first, many)) = broken(value) {
                warnings.push(format!(
                    "The {what} was not finite at {}, first at step {}.",
                    count(many, "step", "steps"),
                    thousands(first),
                ));
            }
        }
        if self.steps.is_empty() {
            warnings.push("No step has been taken yet.".into());
        } else if self.end.is_none() {
            warnings.push(
                "No end is recorded: the run is still going on, or it was interrupted and can be resumed.".into(),
            );
        }
        warnings
    }

    pub(super) fn headline(&self) -> Vec<Value> {
        let mut headline = vec![self.headline_steps(), self.headline_time()];
        let nats = if self.unit.nats { "nats" } else { "" };
        let bits = |loss| {
            self.unit
                .say_bits(loss)
                .map_or_else(String::new, |bits| bits + "; ")
        };
        if let Some(loss) = self.train_loss() {
            headline.push(Headline {
                label: "Training loss",
                value: figure(loss),
                unit: nats,
                more: match (self.last_steps(), self.losses.last()) {
                    (many, Some(last)) if !last.1.is_finite() => {
                        let steps = count(many as u64, "step", "steps");
                        format!("{}the last {steps} that had one", bits(loss))
                    }
                    (1, _) => format!("{}the last step", bits(loss)),
                    (many, _) => format!("{}mean of the last {many} steps", bits(loss)),
                },
            });
        }
        if let Some(best) = self.best {
            headline.push(Headline {
                label: "Validation loss",
                value: figure(best.loss_nats),
                unit: nats,
                more: format!(
                    "{}the best, at step {}",
                    bits(best.loss_nats),
                    thousands(best.step)
                ),
            });
        }
        headline.extend(self.headline_accuracy());
        let scored = self
            .best
            .map(|best| (best.loss_nats, "of the best validation"));
        let trained = self.train_loss().map(|loss| (loss, "of the training loss"));
        if let Some((loss, of)) = scored.or(trained).filter(|_| self.unit.perplexity) {
            headline.push(Headline {
                label: "Perplexity",
                value: figure(libm::exp(loss)),
                unit: "",
                more: format!("{of}; 1 would be perfect"),
            });
        }
        if let Some(start) = self.start {
            headline.push(Headline {
                label: "Parameters",
                value: amount(start.parameters),
                unit: "",
                more: match start.vocabulary_size {
                    0 => String::new(),
                    size => count(size, "symbol", "symbols") + " in the vocabulary",
                },
            });
        }
        headline.into_iter().map(Value::from).collect()
    }

    /// The accuracy at the best validation, or at the last where no loss was finite.
    fn headline_accuracy(&self) -> Option<Headline> {
        let validation = self.best.or(self.validations.last().copied())?;
        let accuracy = validation.metrics.get("accuracy")?;
        let macro_f1 = validation.metrics.get("macro_f1");
        let macro_f1 = macro_f1.map(|value| format!("macro F1 {}; ", figure(*value)));
        let step = thousands(validation.step);
        let more = format!("{}at step {step}", macro_f1.unwrap_or_default());
        Some(Headline {
            label: "Validation accuracy",
            value: percent(*accuracy),
            unit: "",
            more,
        })
    }

    fn headline_steps(&self) -> Headline {
        let mut more = Vec::new();
        if let Some(total) = self.start.and_then(|start| start.total_steps) {
            more.push(format!("of {} planned", thousands(total)));
        }
        if let Some(last) = self.steps.last() {
            more.push(format!("{:.1} passes over the data", last.epoch));
            more.push(format!("{} tokens", amount(last.tokens)));
        }
        Headline {
            label: "Steps",
            value: thousands(self.last_step()),
            unit: "",
            more: more.join("; "),
        }
    }

    fn headline_time(&self) -> Headline {
        let more = self.end.map(|end| match end.reason.as_str() {
            "steps" => "until all steps were taken".into(),
            "epochs" => "until all passes were made".into(),
            "minutes" => "until the time was up".into(),
            "patience" => "until validation got no better".into(),
            other => format!("ended by: {other}"),
        });
        Headline {
            label: "Time",
            value: span(self.elapsed_s),
            unit: "",
            more: more.unwrap_or_else(|| "so far".into()),
        }
    }
}

/// The value of a curve around each of its points, at most `most` of them, always with the last.
///
/// `settle` makes one value of the finite ones within `half` points to either side. Near the beginning the window
/// shrinks with the distance from it, so that a curve that falls is not drawn too low; at the end one side is missing.
pub(super) fn smooth(
    points: &[(f64, f64)],
    half: usize,
    most: usize,
    settle: impl Fn(&mut [f64]) -> f64,
) -> Vec<(f64, f64)> {
    let many = points.len().min(most);
    let mut window = Vec::new();
    let smoothed = (1..=many).map(|rank| {
        let index = rank * points.len() / many - 1;
        let (x, y) = points[index];
        let half = half.min(index);
        let to = (index + half + 1).min(points.len());
        window.clear();
        window.extend(points[index - half..to].iter().map(|point| point.1));
        window.retain(|value| value.is_finite());
        // A gap stays one: nothing is known there.
        (
            x,
            if y.is_finite() {
                settle(&mut window)
            } else {
                f64::NAN
            },
        )
    });
    smoothed.collect()
}

pub(super) fn mean(values: &mut [f64]) -> f64 {
    // Divided first: a sum of the largest numbers must not overflow.
    let count = values.len() as f64;
    values.iter().map(|value| value / count).sum()
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
