use std::collections::BTreeMap;

use refrain_kernels::{Compute, DropoutKey};

use super::buckets::BucketPlan;
use super::buffers::KeptBuffers;
use super::events::{Start, Validation, Watch};
use super::traces::{label_losses, label_traces};
use super::watch::{first_lengths, watch_layers, watched_losses};
use super::{Purpose, Score, StepLoss, Task, keyed_rng};
use crate::data::Encoding;
use crate::data::augmentation::augment_pictures;
use crate::data::examples::{Content, Examples, Labels, Starts, hide_rare_words};
use crate::inspect::gates::GateCounter;
use crate::inspect::watch::{GATE_STEPS, WatchKind};
use crate::metrics::Confusion;
use crate::models::{Body, LabelBatch, Labeller, LabellerSpace, SequenceBatch, rows_of};
use crate::nn::Parameters;

/// Rows over time of a batch that is only scored; of pictures, each of which takes as much as many tokens.
const SCORED_ROWS: usize = 4096;
const SCORED_PICTURES: usize = 512;

/// Labelled sequences for [`LabelTask`].
#[derive(Clone, Debug)]
pub struct LabelData {
    /// What the sequences are made of, and the classes.
    pub encoding: Encoding,
    /// What is learnt from.
    pub train: Examples,
    /// What tells how good the model is while it learns, if anything.
    pub validation: Option<Examples>,
    /// What is scored once at the end, if anything.
    pub test: Option<Examples>,
    /// How much a label of each class counts; empty is 1 for each.
    pub class_weights: Vec<f64>,
    /// How often the training part has each word, where rare ones are hidden, and the token of unknown ones.
    pub words: Option<(Vec<u64>, u32)>,
}

/// Training a labeller: of whole sequences, or of every step. Batches hold sequences of like length.
#[derive(Debug)]
pub struct LabelTask {
    name: &'static str,
    model: Labeller<f32>,
    data: LabelData,
    starts: Starts,
    plan: BucketPlan,
    seed: u64,
    augment: bool,
    space: LabellerSpace<f32>,
    batch: SequenceBatch<f32>,
    labels: LabelBatch,
    /// Before the last step.
    previous: KeptBuffers,
}

/// A score with all that was confused.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelScore {
    /// Mean loss, nats a label.
    pub loss_nats: f64,
    /// Which class was taken for which.
    pub confusion: Confusion,
}

impl LabelScore {
    /// The same as a [`Score`].
    #[must_use]
    pub fn score(&self) -> Score {
        let metrics = BTreeMap::from([
            ("accuracy".to_owned(), self.confusion.accuracy()),
            ("macro_f1".to_owned(), self.confusion.macro_f1()),
        ]);
        Score {
            loss_nats: self.loss_nats,
            metrics,
        }
    }
}

/// How a [`LabelTask`] is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelPlan {
    /// The task's name: `classify` or `tag`.
    pub name: &'static str,
    /// Sequences in a batch.
    pub batch: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// Whether pictures are varied, see [`augment_pictures`].
    pub augment: bool,
}

impl LabelTask {
    /// Joins a model with its data.
    ///
    /// # Panics
    /// If there is nothing to learn from.
    #[must_use]
    pub fn new(model: Labeller<f32>, data: LabelData, plan: LabelPlan) -> Self {
        let buckets = BucketPlan::new(data.train.lengths().to_vec(), plan.batch, plan.seed);
        Self {
            name: plan.name,
            starts: data.train.starts(),
            model,
            data,
            plan: buckets,
            seed: plan.seed,
            augment: plan.augment,
            space: LabellerSpace::default(),
            batch: SequenceBatch::default(),
            labels: LabelBatch::default(),
            previous: KeptBuffers::default(),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Labeller<f32> {
        &self.model
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &LabelData {
        &self.data
    }

    /// The score of the validation part with what was confused, if there is one.
    pub fn score_validation(&mut self, compute: &Compute) -> Option<LabelScore> {
        let examples = self.data.validation.take();
        let score = examples
            .as_ref()
            .and_then(|examples| self.score(compute, examples));
        self.data.validation = examples;
        score
    }

    /// The same of the test part.
    pub fn score_test(&mut self, compute: &Compute) -> Option<LabelScore> {
        let examples = self.data.test.take();
        let score = examples
            .as_ref()
            .and_then(|examples| self.score(compute, examples));
        self.data.test = examples;
        score
    }

    /// The score of any labelled sequences; `None` where no label is known.
    pub fn score(&mut self, compute: &Compute, examples: &Examples) -> Option<LabelScore> {
        score_labels(compute, &self.model, &mut self.space, examples)
    }
}

/// Rows over time of a batch of these examples that is only scored; one sequence may be longer.
#[must_use]
pub fn scored_rows(examples: &Examples) -> usize {
    match examples.content() {
        Content::Numbers(numbers) if numbers.frames => SCORED_PICTURES,
        _ => SCORED_ROWS,
    }
}

/// The sequences by falling length, in batches of [`scored_rows`].
#[must_use]
pub fn scoring_batches(examples: &Examples) -> Vec<Vec<usize>> {
    batches_of_rows(examples.lengths(), scored_rows(examples))
}

/// Sequences of these lengths, by falling length, in batches of so many rows; one sequence may be longer.
pub(super) fn batches_of_rows(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let order = crate::models::falling_order(lengths);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut rows = 0;
    for at in order {
        if batches.is_empty() || rows + lengths[at] > most {
            batches.push(Vec::new());
            rows = 0;
        }
        rows += lengths[at];
        if let Some(batch) = batches.last_mut() {
            batch.push(at);
        }
    }
    batches
}

/// Mean loss and confusion of a labeller on labelled sequences; `None` where no label is known.
pub fn score_labels(
    compute: &Compute,
    model: &Labeller<f32>,
    space: &mut LabellerSpace<f32>,
    examples: &Examples,
) -> Option<LabelScore> {
    let starts = examples.starts();
    let mut confusion = Confusion::new(model.classes());
    let (mut batch, mut labels) = (SequenceBatch::default(), LabelBatch::default());
    // Of each sequence by itself, so that it does not matter in which batch it was.
    let mut losses = vec![0.0; examples.len()];
    compute.run(|| {
        model.pack(space, false);
        for chosen in scoring_batches(examples) {
            examples.fill(&chosen, &starts, &mut batch);
            examples.fill_labels(&chosen, &starts, &batch.steps, &[], &mut labels);
            model.loss(compute, space, &batch, &labels);
            let places: Vec<usize> = match examples.labels() {
                Labels::Steps(_) => rows_of(&batch.steps).map(|(place, _)| place).collect(),
                Labels::None | Labels::Sequences(_) => (0..chosen.len()).collect(),
            };
            let weighted = space.losses().iter().zip(&labels.weights);
            for (place, (loss, &weight)) in places.into_iter().zip(weighted) {
                if weight > 0.0 {
                    losses[chosen[place]] += loss;
                }
            }
            let scores = space.scores();
            for (row, (&label, &weight)) in labels.labels.iter().zip(&labels.weights).enumerate() {
                if weight > 0.0 {
                    confusion.add(
                        label,
                        best_class(scores.columns(), |class| scores.get(row, class)),
                    );
                }
            }
        }
    });
    let known = confusion.total();
    (known > 0).then(|| LabelScore {
        loss_nats: losses.iter().sum::<f64>() / known as f64,
        confusion,
    })
}

/// How the gates of a labeller stand over the first sequences, until they have `most` steps.
pub fn label_gates(
    compute: &Compute,
    model: &Labeller<f32>,
    examples: &Examples,
    most: usize,
) -> GateCounter {
    let mut counter = GateCounter::default();
    let Body::Recurrent(stack) = &model.encoder.body else {
        return counter;
    };
    let starts = examples.starts();
    let (mut space, mut batch) = (LabellerSpace::default(), SequenceBatch::default());
    model.pack(&mut space, false);
    let lengths = first_lengths(examples.lengths(), most);
    for chosen in batches_of_rows(lengths, scored_rows(examples)) {
        examples.fill(&chosen, &starts, &mut batch);
        compute.run(|| model.scores(compute, &mut space, &batch, None));
        counter.add("rnn", stack, space.encoder.stack());
    }
    counter
}

/// The class of the greatest score, the first of several.
pub fn best_class(classes: usize, score: impl Fn(usize) -> f32) -> u32 {
    let mut best = 0;
    for class in 1..classes {
        if score(class) > score(best) {
            best = class;
        }
    }
    best as u32
}

impl Task for LabelTask {
    fn start(&self) -> Start {
        let tokens = |examples: &Option<Examples>| examples.as_ref().map_or(0, Examples::steps);
        Start {
            task: self.name.into(),
            parameters: self.model.parameter_count() as u64,
            train_tokens: self.data.train.steps(),
            validation_tokens: tokens(&self.data.validation),
            vocabulary_size: self.data.encoding.vocabulary_size() as u64,
            steps_per_epoch: self.steps_per_epoch(),
            total_steps: None,
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    fn parameters(&self) -> &(dyn Parameters<f32> + Send) {
        &self.model
    }

    fn parameters_mut(&mut self) -> &mut (dyn Parameters<f32> + Send) {
        &mut self.model
    }

    fn step(&mut self, compute: &Compute, step: u64) -> StepLoss {
        self.previous.keep(&self.model);
        let Self {
            model,
            data,
            starts,
            plan,
            seed,
            augment,
            space,
            batch,
            labels,
            ..
        } = self;
        let chosen = plan.batch(step);
        data.train.fill(chosen, starts, batch);
        data.train
            .fill_labels(chosen, starts, &batch.steps, &data.class_weights, labels);
        if let Some((counts, unknown)) = &data.words {
            let mut rng = keyed_rng(*seed, Purpose::Inputs, step);
            hide_rare_words(batch, counts, *unknown, &mut rng);
        }
        if *augment {
            let mut rng = keyed_rng(*seed, Purpose::Inputs, step);
            augment_pictures(batch, &data.encoding.shape(), &mut rng);
        }
        let mask = DropoutKey {
            seed: *seed,
            step,
            layer: 0,
        };
        let loss_nats =
            compute.run(|| model.loss_and_gradients(compute, space, batch, labels, Some(mask)));
        StepLoss {
            loss_nats,
            tokens: batch.steps.rows() as u64,
        }
    }

    fn undo_step(&mut self) {
        self.previous.put_back(&mut self.model);
    }

    fn validate(&mut self, compute: &Compute) -> Option<Score> {
        self.score_validation(compute).map(|score| score.score())
    }

    fn watch(&mut self, compute: &Compute, what: &[WatchKind]) -> Watch {
        let examples = self.data.validation.as_ref().unwrap_or(&self.data.train);
        let model = (&self.model, &self.data.encoding.shape());
        let losses = || watched_losses(&label_losses(examples));
        let traces = || label_traces(compute, model, examples, &losses());
        let gates = || label_gates(compute, &self.model, examples, GATE_STEPS).finish();
        watch_layers(&self.model, what, traces, gates)
    }

    /// More labels right; of two equally right the surer one.
    fn is_better(&self, new: &Score, best: &Validation) -> bool {
        let accuracy = |metrics: &BTreeMap<String, f64>| metrics.get("accuracy").copied();
        match (accuracy(&new.metrics), accuracy(&best.metrics)) {
            (Some(new_accuracy), Some(best_accuracy)) if new_accuracy != best_accuracy => {
                new_accuracy > best_accuracy
            }
            _ => new.loss_nats < best.loss_nats,
        }
    }
}

/// How much a label of each class must count for all classes to count alike: `labels / (classes · labels of the class)`,
/// 0 where there is none.
#[must_use]
pub fn balanced_weights(examples: &Examples, classes: usize) -> Vec<f64> {
    let mut counts = vec![0_u64; classes];
    for label in examples.all_labels() {
        counts[label as usize] += 1;
    }
    let total: u64 = counts.iter().sum();
    let occurring = counts.iter().filter(|&&count| count > 0).count();
    let weight = |count: u64| match count {
        0 => 0.0,
        count => total as f64 / (occurring as f64 * count as f64),
    };
    counts.into_iter().map(weight).collect()
}
