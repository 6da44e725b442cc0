//! Numbers to be forecast: what a model must keep of its training data to read more, and windows or sequences ready for batches.

mod baselines;
mod examples;
mod fit;
mod parts;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arrays::Arrays;
use super::series::Series;
use super::standardisation::Standardisation;
use crate::error::{Error, Result};
use crate::models::{ForecasterShape, InputShape, Output};
use crate::names::named;
use crate::nn::ForecastLoss;

pub use baselines::{Baselines, LinearBaseline};
pub use examples::{ForecastExamples, Rows};
pub use fit::{DEFAULT_CONTEXT, DEFAULT_HORIZON, FittedForecast, ForecastOptions, fit};
pub use parts::{
    ForecastFormat, ForecastParts, ForecastSources, HeldForecast, RawForecast, demo_parts,
    read_forecast_parts, read_numbers,
};

/// What a window's numbers are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    /// From the last step that is seen, column by column, which is added to the answer again: a drift of the level then does no
    /// harm.
    Last,
    /// From the mean of the training part, as all numbers are.
    None,
}

named!(Anchor, "anchor", { Last => "last", None => "none" });

/// What is forecast from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ForecastMode {
    /// The next `horizon` steps from the last `context` ones: many to one.
    Windows {
        /// Steps that are seen.
        context: usize,
        /// Steps that are predicted.
        horizon: usize,
    },
    /// Each step of a sequence from those before it, the first one from nothing: many to many.
    NextStep {},
    /// Numbers that are given for a sequence, or for each of its steps.
    Given {
        /// Whether they are for each step.
        per_step: bool,
    },
}

impl ForecastMode {
    /// Steps that an answer is of.
    #[must_use]
    pub fn horizon(self) -> usize {
        match self {
            Self::Windows { horizon, .. } => horizon,
            Self::NextStep {} | Self::Given { .. } => 1,
        }
    }

    /// What it asks of an encoder.
    #[must_use]
    pub fn output(self) -> Output {
        match self {
            Self::Windows { .. } | Self::Given { per_step: false } => Output::Sequence,
            Self::NextStep {} => Output::Past,
            Self::Given { per_step: true } => Output::Steps,
        }
    }
}

/// What a forecaster must know to read data.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastEncoding {
    /// What is forecast from what.
    pub mode: ForecastMode,
    /// The names of the columns of a series; none of arrays.
    pub columns: Vec<String>,
    /// Numbers of a step that are read.
    pub features: usize,
    /// Steps of every sequence, where numbers are given for whole sequences of one length.
    pub seq_len: Option<usize>,
    /// The columns that are predicted; of given numbers their own.
    pub targets: Vec<usize>,
    /// What is minimised.
    pub loss: ForecastLoss,
    /// What a window's numbers are counted from.
    pub anchor: Anchor,
    /// Whether there is a linear way from the targets' past to the answer.
    pub shortcut: bool,
    /// How what is read is scaled.
    pub scale: Arc<Standardisation>,
    /// How given numbers are scaled.
    pub target_scale: Option<Standardisation>,
    /// What simple means would say.
    pub baselines: Baselines,
}

impl ForecastEncoding {
    /// The model for this data.
    #[must_use]
    pub fn shape(&self) -> ForecasterShape {
        let seq_len = match self.mode {
            ForecastMode::Windows { context, .. } => Some(context),
            ForecastMode::Given { per_step: false } => self.seq_len,
            _ => None,
        };
        ForecasterShape {
            input: InputShape::Vectors {
                features: self.features,
                seq_len,
            },
            output: self.mode.output(),
            horizon: self.mode.horizon(),
            targets: self.targets.len(),
            loss: self.loss,
            shortcut: if self.shortcut {
                self.targets.clone()
            } else {
                Vec::new()
            },
        }
    }

    /// The name of a target: that of its column, or its number from 1.
    #[must_use]
    pub fn target_name(&self, target: usize) -> String {
        let column = self.targets[target];
        let name = match self.mode {
            ForecastMode::Given { .. } => None,
            _ => self.columns.get(column),
        };
        name.map_or_else(|| (column + 1).to_string(), Clone::clone)
    }

    /// The mean and the deviation by which a target was scaled.
    #[must_use]
    pub fn scale_of(&self, target: usize) -> (f64, f64) {
        let scale = self.target_scale.as_ref().unwrap_or(&self.scale);
        let column = self.targets[target];
        (
            scale.mean()[column].into(),
            scale.deviation()[column].into(),
        )
    }

    /// What the model reads, for messages.
    #[must_use]
    pub fn reads(&self) -> &'static str {
        if self.columns.is_empty() {
            "arrays"
        } else {
            "a series"
        }
    }

    /// Data of this kind, scaled, and all its windows or sequences, answered where `labelled` is set.
    ///
    /// # Errors
    /// [`Error::Unusable`] where it is of another kind or shape, or too short.
    pub fn encode(&self, raw: &RawForecast, labelled: bool) -> Result<ForecastExamples> {
        let rows = Arc::new(self.rows(raw, labelled)?);
        let items = match raw {
            RawForecast::Table(series) => self.windows(&rows, 0..series.rows(), labelled),
            RawForecast::Arrays { .. } => self.items(&rows, &mut (0..rows.sequences()), labelled),
        };
        let steps = rows.longest();
        self.examples(rows, items, raw.name(), "data", steps)
    }

    fn other_kind(&self, raw: &RawForecast) -> Error {
        Error::Unusable {
            problem: format!(
                "`{}` holds {}, and the model reads {}",
                raw.name(),
                raw.kind(),
                self.reads()
            ),
            hint: "give data of the kind that the model was trained on; `refrain info MODEL` tells"
                .into(),
        }
    }

    /// All rows, scaled.
    pub(super) fn rows(&self, raw: &RawForecast, labelled: bool) -> Result<Rows> {
        match raw {
            RawForecast::Table(series) if !self.columns.is_empty() => self.rows_of_table(series),
            RawForecast::Arrays {
                arrays,
                chosen,
                name,
            } if self.columns.is_empty() => self.rows_of_arrays(arrays, chosen, name, labelled),
            raw => Err(self.other_kind(raw)),
        }
    }

    fn rows_of_table(&self, series: &Series) -> Result<Rows> {
        let series = series.clone().with_columns(&self.columns)?;
        if self.loss == ForecastLoss::Bernoulli {
            for (row, values) in series.values.chunks_exact(self.features).enumerate() {
                for &column in &self.targets {
                    fit::check_binary(values[column], || {
                        format!(
                            "`{}`: row {} of {}",
                            series.name,
                            row + 1,
                            self.columns[column]
                        )
                    })?;
                }
            }
        }
        let (mean, deviation) = (self.scale.mean(), self.scale.deviation());
        let scaled = |(at, &value): (usize, &f64)| {
            let column = at % self.features;
            ((value - f64::from(mean[column])) / f64::from(deviation[column])) as f32
        };
        Ok(Rows {
            values: series.values.iter().enumerate().map(scaled).collect(),
            features: self.features,
            ends: vec![series.rows()],
            given: None,
        })
    }

    fn rows_of_arrays(
        &self,
        arrays: &Arrays,
        chosen: &[usize],
        name: &str,
        labelled: bool,
    ) -> Result<Rows> {
        let wrong_shape = arrays.shape.len() != 2 || arrays.features() != self.features;
        let wrong_length = self
            .seq_len
            .is_some_and(|seq_len| chosen.iter().any(|&at| arrays.length(at) != seq_len));
        if wrong_shape || wrong_length {
            return Err(Error::Unusable {
                problem: format!(
                    "the examples of `{name}` have shape {:?}, and the model reads vectors of {} numbers a step{}",
                    arrays.shape,
                    self.features,
                    self.seq_len
                        .map_or_else(String::new, |steps| format!(", {steps} steps each")),
                ),
                hint: "give `inputs` of shape (N, T, F) with that F".into(),
            });
        }
        let mut rows = Rows {
            features: self.features,
            ..Rows::default()
        };
        let (mut example, mut scaled) = (Vec::new(), Vec::new());
        for &at in chosen {
            arrays.example(at, &mut example);
            if self.loss == ForecastLoss::Bernoulli && self.target_scale.is_none() {
                for (place, &value) in example.iter().enumerate() {
                    fit::check_binary(value.into(), || {
                        let (step, feature) = (place / self.features, place % self.features);
                        format!("`{name}`: `inputs[{at}, {step}, {feature}]`")
                    })?;
                }
            }
            self.scale.apply(&example, &mut scaled);
            rows.values.extend_from_slice(&scaled);
            rows.ends.push(rows.values.len() / self.features);
        }
        if let (true, ForecastMode::Given { per_step }) = (labelled, self.mode) {
            rows.given = Some(self.given(arrays, chosen, per_step, name)?);
        }
        Ok(rows)
    }

    /// The given numbers of some examples, scaled.
    fn given(
        &self,
        arrays: &Arrays,
        chosen: &[usize],
        per_step: bool,
        name: &str,
    ) -> Result<Vec<f32>> {
        let given = fit::given_of(arrays)
            .filter(|given| given.per_step == per_step && given.numbers == self.targets.len());
        let Some(given) = given else {
            return Err(Error::Unusable {
                problem: format!(
                    "`{name}` has no `targets` of {} numbers for each {}",
                    self.targets.len(),
                    if per_step { "step" } else { "example" }
                ),
                hint: "give `targets` as the training data has them".into(),
            });
        };
        let mut all = Vec::new();
        let mut scaled = Vec::new();
        for &at in chosen {
            let own = given.of(at);
            match &self.target_scale {
                Some(scale) => scale.apply(own, &mut scaled),
                None => scaled = own.to_vec(),
            }
            if self.loss == ForecastLoss::Bernoulli {
                for &value in own {
                    fit::check_binary(value.into(), || format!("`{name}`: `targets[{at}]`"))?;
                }
            }
            all.extend_from_slice(&scaled);
        }
        Ok(all)
    }

    /// The windows whose predicted steps lie in a range of rows; they may look back before it, into their own sequence.
    pub(super) fn windows(
        &self,
        rows: &Rows,
        range: std::ops::Range<usize>,
        labelled: bool,
    ) -> Vec<usize> {
        let ForecastMode::Windows { context, horizon } = self.mode else {
            return Vec::new();
        };
        let sequence = rows
            .ends
            .iter()
            .position(|&end| range.start < end)
            .unwrap_or(0);
        let (start, end) = rows.bounds(sequence);
        if labelled {
            let first = range.start.max(start + context);
            (first..(range.end.min(end) + 1).saturating_sub(horizon)).collect()
        } else if end - start >= context {
            // The one that ends with the last step.
            vec![end]
        } else {
            Vec::new()
        }
    }

    /// What there is to be answered in some sequences.
    pub(super) fn items(
        &self,
        rows: &Rows,
        sequences: &mut dyn Iterator<Item = usize>,
        labelled: bool,
    ) -> Vec<usize> {
        match self.mode {
            ForecastMode::Windows { .. } => sequences
                .flat_map(|sequence| {
                    let (start, end) = rows.bounds(sequence);
                    self.windows(rows, start..end, labelled)
                })
                .collect(),
            ForecastMode::NextStep {} | ForecastMode::Given { .. } => sequences.collect(),
        }
    }

    /// Joins rows with what is to be answered; there must be something in its `steps` steps.
    pub(super) fn examples(
        &self,
        rows: Arc<Rows>,
        items: Vec<usize>,
        name: &str,
        part: &str,
        steps: usize,
    ) -> Result<ForecastExamples> {
        if items.is_empty()
            && let ForecastMode::Windows { context, horizon } = self.mode
        {
            let of = if part == "data" {
                format!("`{name}`")
            } else {
                format!("the {part} part of `{name}`")
            };
            return Err(Error::Unusable {
                problem: format!(
                    "{of} has no room for a window of {context} steps (`context`) and {horizon} more (`horizon`): it has {} steps",
                    steps
                ),
                hint: "give more rows, or a smaller `--context` or `--horizon`".into(),
            });
        }
        Ok(ForecastExamples::new(self, rows, items))
    }
}
