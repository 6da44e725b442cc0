//! Single losses of examples, carried back in f64: what is looked at of a trained model, and watched of one in training.

use refrain_kernels::{Compute, Panels};

use crate::data::PairExamples;
use crate::data::examples::{Examples, Labels, NO_LABEL};
use crate::data::forecast::ForecastExamples;
use crate::inspect::gradients::{Trace, of_labels, of_numbers, of_pair};
use crate::inspect::wide;
use crate::models::{
    EncoderDecoder, EncoderDecoderSpace, Forecaster, ForecasterSpace, InputShape, LabelBatch,
    Labeller, LabellerSpace, Output, SequenceBatch, TargetBatch,
};

/// One loss of some examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleLoss {
    /// Which example.
    pub example: usize,
    /// The step in it, where each step has a loss.
    pub step: Option<usize>,
    /// Steps that must be read for it.
    pub rows: usize,
}

/// Every loss that sequences have by their labels, in their order.
#[must_use]
pub fn label_losses(examples: &Examples) -> Vec<SingleLoss> {
    let starts = examples.starts();
    let of = |example: usize, step: Option<usize>| SingleLoss {
        example,
        step,
        rows: examples.lengths()[example],
    };
    let known = |labels: &[u32]| -> Vec<usize> {
        let known = labels.iter().enumerate();
        let known = known.filter(|(_, label)| **label != NO_LABEL);
        known.map(|(at, _)| at).collect()
    };
    match examples.labels() {
        Labels::None => Vec::new(),
        Labels::Sequences(labels) => known(labels).into_iter().map(|at| of(at, None)).collect(),
        Labels::Steps(labels) => {
            let steps = |at: usize| {
                let steps = known(&labels[examples.range(&starts, at)]);
                steps.into_iter().map(move |step| of(at, Some(step)))
            };
            (0..examples.len()).flat_map(steps).collect()
        }
    }
}

/// Looks back from some losses of a labeller that reads `shape`. The model must be recurrent.
///
/// # Panics
/// If the model was not made for the examples.
#[must_use]
pub fn label_traces(
    compute: &Compute,
    (model, shape): (&Labeller<f32>, &InputShape),
    examples: &Examples,
    losses: &[SingleLoss],
) -> Vec<Trace> {
    let starts = examples.starts();
    let mut model = wide::labeller(model, shape);
    let (mut space, mut batch) = (LabellerSpace::default(), SequenceBatch::default());
    let mut labels = LabelBatch::default();
    let mut trace = |loss: &SingleLoss| {
        let chosen = [loss.example];
        examples.fill(&chosen, &starts, &mut batch);
        examples.fill_labels(&chosen, &starts, &batch.steps, &[], &mut labels);
        let batch = wide::batch(&batch);
        of_labels(compute, &mut model, &mut space, &batch, &labels, loss.step)
    };
    losses.iter().map(&mut trace).collect()
}

/// Every loss of a forecaster, in the order of the examples.
#[must_use]
pub fn number_losses(model: &Forecaster<f32>, examples: &ForecastExamples) -> Vec<SingleLoss> {
    let per_step = model.shape().output != Output::Sequence;
    let of = |(example, &rows): (usize, &usize)| {
        let steps = if per_step { rows } else { 1 };
        (0..steps).map(move |step| SingleLoss {
            example,
            step: per_step.then_some(step),
            rows,
        })
    };
    examples.lengths().iter().enumerate().flat_map(of).collect()
}

/// Looks back from some losses of a forecaster. The model must be recurrent.
///
/// # Panics
/// If the model was not made for the examples.
#[must_use]
pub fn number_traces(
    compute: &Compute,
    model: &Forecaster<f32>,
    examples: &ForecastExamples,
    losses: &[SingleLoss],
) -> Vec<Trace> {
    let mut model = wide::forecaster(model);
    let (mut space, mut batch) = (ForecasterSpace::default(), SequenceBatch::default());
    let mut targets = Panels::default();
    let mut trace = |loss: &SingleLoss| {
        let chosen = [loss.example];
        examples.fill(&chosen, &mut batch);
        examples.fill_targets(&chosen, &batch.steps, &mut targets);
        let (batch, targets) = (wide::batch(&batch), wide::panels(&targets));
        of_numbers(compute, &mut model, &mut space, &batch, &targets, loss.step)
    };
    losses.iter().map(&mut trace).collect()
}

/// Every token of every target, the end included.
#[must_use]
pub fn pair_losses(examples: &PairExamples) -> Vec<SingleLoss> {
    let of = |example: usize| {
        let (source, target) = examples.lengths(example);
        (0..target).map(move |step| SingleLoss {
            example,
            step: Some(step),
            rows: source.max(target),
        })
    };
    (0..examples.len()).flat_map(of).collect()
}

/// Looks back from some tokens of targets, written by a model that reads `shape`. The decoder must be recurrent.
///
/// # Panics
/// If the model was not made for the examples, or a loss is of no step.
#[must_use]
pub fn pair_traces(
    compute: &Compute,
    (model, shape): (&EncoderDecoder<f32>, &InputShape),
    examples: &PairExamples,
    losses: &[SingleLoss],
) -> Vec<Trace> {
    let mut model = wide::encoder_decoder(model, shape);
    let mut space = EncoderDecoderSpace::default();
    let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
    let mut trace = |loss: &SingleLoss| {
        examples.fill(&[loss.example], &mut source, &mut target);
        let source = wide::batch(&source);
        let Some(step) = loss.step else {
            panic!("a token of a target has a step: {loss:?}");
        };
        of_pair(compute, &mut model, &mut space, &source, &target, step)
    };
    losses.iter().map(&mut trace).collect()
}
