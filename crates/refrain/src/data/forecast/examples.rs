use std::sync::Arc;

use refrain_kernels::Panels;

use super::{Anchor, ForecastEncoding, ForecastMode};
use crate::models::{BatchInputs, SequenceBatch, rows_of};
use crate::nn::Steps;

/// Scaled numbers of one or more sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Rows × features, one sequence after the other.
    pub values: Vec<f32>,
    /// Numbers of a row.
    pub features: usize,
    /// Where each sequence ends, in rows.
    pub ends: Vec<usize>,
    /// Given numbers, scaled: of each sequence, or of each row.
    pub given: Option<Vec<f32>>,
}

impl Rows {
    /// Sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.ends.len()
    }

    /// The rows of a sequence: first, and one past the last.
    #[must_use]
    pub fn bounds(&self, sequence: usize) -> (usize, usize) {
        let start = if sequence == 0 {
            0
        } else {
            self.ends[sequence - 1]
        };
        (start, self.ends[sequence])
    }

    /// Rows of the longest sequence.
    #[must_use]
    pub fn longest(&self) -> usize {
        let lengths = (0..self.sequences())
            .map(|at| self.bounds(at))
            .map(|(from, to)| to - from);
        lengths.max().unwrap_or(0)
    }

    /// A row.
    #[must_use]
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.features..][..self.features]
    }

    /// Bytes that this takes in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let given = self.given.as_ref().map_or(0, Vec::len);
        (4 * (self.values.len() + given) + 8 * self.ends.len()) as u64
    }
}

/// Windows or sequences to be answered.
#[derive(Clone, Debug)]
pub struct ForecastExamples {
    rows: Arc<Rows>,
    /// Of windows the row that comes after each, else which sequences.
    items: Vec<usize>,
    lengths: Vec<usize>,
    mode: ForecastMode,
    anchor: Anchor,
    targets: Vec<usize>,
    /// Whether one step more is asked for than there is.
    beyond: bool,
}

impl ForecastExamples {
    pub(super) fn new(encoding: &ForecastEncoding, rows: Arc<Rows>, items: Vec<usize>) -> Self {
        let mut examples = Self {
            rows,
            items,
            lengths: Vec::new(),
            mode: encoding.mode,
            anchor: encoding.anchor,
            targets: encoding.targets.clone(),
            beyond: false,
        };
        examples.measure();
        examples
    }

    fn measure(&mut self) {
        let length = |&item: &usize| match self.mode {
            ForecastMode::Windows { context, .. } => context,
            ForecastMode::NextStep {} | ForecastMode::Given { .. } => {
                let (start, end) = self.rows.bounds(item);
                end - start + usize::from(self.beyond)
            }
        };
        self.lengths = self.items.iter().map(length).collect();
    }

    /// The same, where each sequence is asked for the step after its last one too.
    #[must_use]
    pub fn beyond(mut self) -> Self {
        self.beyond = matches!(self.mode, ForecastMode::NextStep {});
        self.measure();
        self
    }

    /// Windows or sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Steps that are read of each.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Steps that are read of all.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lengths.iter().map(|&length| length as u64).sum()
    }

    /// The numbers that they lie in.
    #[must_use]
    pub fn rows(&self) -> &Arc<Rows> {
        &self.rows
    }

    /// Of windows the row after each, else the sequences.
    #[must_use]
    pub fn items(&self) -> &[usize] {
        &self.items
    }

    /// The columns that are predicted.
    #[must_use]
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// Bytes that this takes in memory, the rows left out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        16 * self.items.len() as u64
    }

    /// What the numbers of a column are counted from in a window.
    #[must_use]
    pub fn anchor_of(&self, example: usize, column: usize) -> f32 {
        match (self.mode, self.anchor) {
            (ForecastMode::Windows { .. }, Anchor::Last) => {
                self.rows.row(self.items[example] - 1)[column]
            }
            _ => 0.0,
        }
    }

    /// Makes a batch of some examples, which must be given by falling length.
    ///
    /// # Panics
    /// If the lengths rise or an example is not there.
    pub fn fill(&self, chosen: &[usize], batch: &mut SequenceBatch<f32>) {
        let lengths: Vec<usize> = chosen.iter().map(|&at| self.lengths[at]).collect();
        batch.steps = Steps::of_lengths(&lengths);
        let features = self.rows.features;
        let mut inputs = match std::mem::take(&mut batch.inputs) {
            BatchInputs::Vectors(panels) => panels,
            _ => Panels::new(0, features),
        };
        inputs.resize(batch.steps.rows(), features);
        let mut anchored = vec![0.0; features];
        for (row, (place, t)) in rows_of(&batch.steps).enumerate() {
            let item = self.items[chosen[place]];
            match self.mode {
                ForecastMode::Windows { context, .. } => {
                    let step = self.rows.row(item - context + t);
                    if self.anchor == Anchor::Last {
                        let last = self.rows.row(item - 1);
                        let numbers = anchored.iter_mut().zip(step).zip(last);
                        numbers.for_each(|((to, x), last)| *to = x - last);
                        inputs.copy_from_rows(row, &anchored);
                    } else {
                        inputs.copy_from_rows(row, step);
                    }
                }
                // The first step is predicted from nothing.
                ForecastMode::NextStep {} if t == 0 => {
                    anchored.fill(0.0);
                    inputs.copy_from_rows(row, &anchored);
                }
                ForecastMode::NextStep {} => {
                    let start = self.rows.bounds(item).0;
                    inputs.copy_from_rows(row, self.rows.row(start + t - 1));
                }
                ForecastMode::Given { .. } => {
                    let start = self.rows.bounds(item).0;
                    inputs.copy_from_rows(row, self.rows.row(start + t));
                }
            }
        }
        batch.inputs = BatchInputs::Vectors(inputs);
    }

    /// What is wanted for a batch: a row for each answer × (horizon · targets).
    ///
    /// # Panics
    /// If it is not known.
    pub fn fill_targets(&self, chosen: &[usize], steps: &Steps, targets: &mut Panels<f32>) {
        let wanted = self.targets.len();
        let mut answer = vec![0.0; self.mode.horizon() * wanted];
        match self.mode {
            ForecastMode::Windows { .. } => {
                targets.resize(chosen.len(), answer.len());
                for (place, &at) in chosen.iter().enumerate() {
                    for (index, to) in answer.iter_mut().enumerate() {
                        let (step, column) = (index / wanted, self.targets[index % wanted]);
                        let value = self.rows.row(self.items[at] + step)[column];
                        *to = value - self.anchor_of(at, column);
                    }
                    targets.copy_from_rows(place, &answer);
                }
            }
            ForecastMode::NextStep {} => {
                assert!(!self.beyond, "a step that is not known");
                targets.resize(steps.rows(), wanted);
                for (row, (place, t)) in rows_of(steps).enumerate() {
                    let start = self.rows.bounds(self.items[chosen[place]]).0;
                    let step = self.rows.row(start + t);
                    let numbers = answer.iter_mut().zip(&self.targets);
                    numbers.for_each(|(to, &column)| *to = step[column]);
                    targets.copy_from_rows(row, &answer);
                }
            }
            ForecastMode::Given { per_step } => {
                let given = self.rows.given.as_ref();
                let given = given.unwrap_or_else(|| panic!("no numbers are given"));
                let at_step =
                    |(place, t): (usize, usize)| self.rows.bounds(self.items[chosen[place]]).0 + t;
                let places: Vec<usize> = if per_step {
                    rows_of(steps).map(at_step).collect()
                } else {
                    chosen.iter().map(|&at| self.items[at]).collect()
                };
                targets.resize(places.len(), wanted);
                for (row, at) in places.into_iter().enumerate() {
                    targets.copy_from_rows(row, &given[at * wanted..][..wanted]);
                }
            }
        }
    }
}
