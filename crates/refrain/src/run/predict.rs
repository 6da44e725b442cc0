//! What a labeller says of new sequences.

use refrain_kernels::{Compute, Panels};

use super::labels::LoadedLabeller;
use crate::data::labelled::Raw;
use crate::error::Result;
use crate::models::{Labeller, LabellerSpace, SequenceBatch, rows_of};
use crate::train::{best_class, scoring_batches};

/// What is said of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// Its class, and the probability of each.
    Class(u32, Vec<f64>),
    /// The class of each of its steps.
    Steps(Vec<u32>),
}

/// A labeller at work: its weights are laid out once.
#[derive(Debug)]
pub struct Predictor<'m> {
    loaded: &'m LoadedLabeller,
    compute: Compute,
    space: LabellerSpace<f32>,
}

impl<'m> Predictor<'m> {
    /// Lays the weights out.
    #[must_use]
    pub fn new(loaded: &'m LoadedLabeller, compute: Compute) -> Self {
        let mut space = LabellerSpace::default();
        loaded.model.pack(&mut space, false);
        Self {
            loaded,
            compute,
            space,
        }
    }

    /// What the model says of each example, in their order. It does not depend on what stands beside an example.
    ///
    /// # Errors
    /// [`Error::Unusable`](crate::Error::Unusable) where the data is of another kind or shape than the model reads.
    pub fn predict(&mut self, raw: &Raw, name: &str) -> Result<Vec<Prediction>> {
        let examples = self.loaded.encoding.encode(raw, name, false)?.examples;
        let starts = examples.starts();
        let per_step = self.loaded.encoding.per_step;
        let mut batch = SequenceBatch::default();
        let mut predictions = vec![None; examples.len()];
        let model: &Labeller<f32> = &self.loaded.model;
        for chosen in scoring_batches(&examples) {
            examples.fill(&chosen, &starts, &mut batch);
            let (compute, space) = (&self.compute, &mut self.space);
            compute.run(|| model.scores(compute, space, &batch, None));
            let scores = self.space.scores();
            if per_step {
                let mut steps: Vec<Vec<u32>> = vec![Vec::new(); chosen.len()];
                for (row, (place, _)) in rows_of(&batch.steps).enumerate() {
                    steps[place].push(best_class(scores.columns(), |class| scores.get(row, class)));
                }
                for (at, steps) in chosen.into_iter().zip(steps) {
                    predictions[at] = Some(Prediction::Steps(steps));
                }
            } else {
                for (place, at) in chosen.into_iter().enumerate() {
                    let best = best_class(scores.columns(), |class| scores.get(place, class));
                    let prediction = Prediction::Class(best, probabilities(scores, place));
                    predictions[at] = Some(prediction);
                }
            }
        }
        Ok(predictions.into_iter().flatten().collect())
    }
}

/// The softmax of a row of scores, in f64.
fn probabilities(scores: &Panels<f32>, row: usize) -> Vec<f64> {
    let score = |class| f64::from(scores.get(row, class));
    let classes = scores.columns();
    let greatest = (0..classes).map(score).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = (0..classes)
        .map(|class| libm::exp(score(class) - greatest))
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
