use serde_json::{Map, Value, json};

use super::figures::{Figure, Figures, Table};
use super::{Experiment, find};
use crate::error::Result;
use crate::run::plot::Chart;

/// What a picture is made of.
#[derive(Clone, Debug)]
pub enum Drawing {
    /// Curves, which a terminal can show too.
    Chart(Box<Chart>),
    /// One `<svg>` element that shows itself.
    Svg(String),
}

/// A picture of what was found.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What is drawn.
    pub drawing: Drawing,
    /// What there is to see.
    pub caption: String,
}

/// What came of an experiment.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The experiment's name.
    pub name: &'static str,
    /// The claim.
    pub claim: &'static str,
    /// Whether it holds: whether all that it says was found.
    pub holds: bool,
    /// What the verdict rests on, a sentence each, with the threshold; it begins with `yes` or `no`.
    pub evidence: Vec<String>,
    /// The figures.
    pub figures: Figures,
    /// Pictures, the most telling first.
    pub pictures: Vec<Picture>,
    /// What was seen, in a paragraph.
    pub seen: String,
    /// Where the notes are too simple; empty where they are not.
    pub beyond: String,
}

impl Outcome {
    /// Nothing found yet: what nothing speaks against holds.
    pub(super) fn new(experiment: &Experiment) -> Self {
        Self {
            name: experiment.name,
            claim: experiment.claim,
            holds: true,
            evidence: Vec::new(),
            figures: Figures::default(),
            pictures: Vec::new(),
            seen: String::new(),
            beyond: String::new(),
        }
    }

    /// A piece of evidence; the claim holds only if all of them speak for it.
    pub(super) fn check(&mut self, holds: bool, said: impl AsRef<str>) {
        self.holds &= holds;
        let verdict = if holds { "yes" } else { "no" };
        self.evidence.push(format!("{verdict}: {}", said.as_ref()));
    }

    pub(super) fn figure(&mut self, name: &str, figure: impl Into<Figure>) {
        self.figures.single.push((name.into(), figure.into()));
    }

    pub(super) fn table(&mut self, table: Table) {
        self.figures.tables.push(table);
    }

    /// A figure for each step of a run, for a program to read: a table of them would be too long to print.
    pub(super) fn series(&mut self, name: &str, values: impl IntoIterator<Item = f64>) {
        let values = values.into_iter().collect();
        self.figures.series.push((name.into(), values));
    }

    pub(super) fn picture(&mut self, chart: Chart, caption: &str) {
        self.pictures.push(Picture {
            drawing: Drawing::Chart(Box::new(chart)),
            caption: caption.into(),
        });
    }

    /// The pictures as SVG, each one `<svg>` element.
    ///
    /// # Errors
    /// [`Error::Unusable`](crate::Error::Unusable) if one cannot be drawn.
    pub fn drawn(&self) -> Result<Vec<String>> {
        let pictures = self.pictures.iter();
        pictures
            .map(|picture| match &picture.drawing {
                Drawing::Chart(chart) => chart.to_svg(),
                Drawing::Svg(svg) => Ok(svg.clone()),
            })
            .collect()
    }

    /// What a program reads: `name claim holds evidence[] figures{} seen beyond` and `cause`, which says what was taken away
    /// where something was.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let cause = find(self.name).map_or("", |experiment| experiment.cause);
        let Value::Object(object) = json!({
            "name": self.name,
            "claim": self.claim,
            "cause": cause,
            "holds": self.holds,
            "evidence": self.evidence,
            "figures": self.figures.to_json(),
            "seen": self.seen,
            "beyond": self.beyond,
        }) else {
            return Map::new();
        };
        object
    }
}
