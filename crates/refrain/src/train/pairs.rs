use std::collections::BTreeMap;

use refrain_kernels::{Compute, DropoutKey};

use super::buckets::BucketPlan;
use super::buffers::KeptBuffers;
use super::events::{Start, Validation, Watch};
use super::traces::{pair_losses, pair_traces};
use super::watch::{first_lengths, watch_layers, watched_losses};
use super::{Purpose, Score, StepLoss, Task, keyed_rng};
use crate::data::augmentation::augment_pictures;
use crate::data::examples::{Content, Examples, hide_rare_words};
use crate::data::{PairEncoding, PairExamples, Vocabulary};
use crate::generate::{Beam, Hypothesis};
use crate::inspect::gates::GateCounter;
use crate::inspect::watch::{GATE_STEPS, WatchKind};
use crate::metrics::{bleu, chrf, exact_match};
use crate::models::{
    Body, DecoderBody, EncoderDecoder, EncoderDecoderSpace, SequenceBatch, TargetBatch,
    falling_order, rows_of,
};
use crate::nn::Parameters;

/// Rows over time of a batch that is only scored, of sources and of targets; of pictures, each of which takes as much as many
/// tokens.
const SCORED_ROWS: usize = 4096;
const SCORED_PICTURES: usize = 256;
/// Rows of a step of a search: beginnings of all sources of a batch together.
const SEARCHED_ROWS: usize = 512;
/// Sources for which a target is written when the model is only validated: the first ones.
const WRITTEN_IN_VALIDATION: usize = 500;

/// Sources with targets for [`PairTask`].
#[derive(Clone, Debug)]
pub struct PairData {
    /// What sources and targets are made of.
    pub encoding: PairEncoding,
    /// What is learnt from.
    pub train: PairExamples,
    /// What tells how good the model is while it learns, if anything.
    pub validation: Option<PairExamples>,
    /// What is scored once at the end, if anything.
    pub test: Option<PairExamples>,
    /// How often the training part has each word of the sources, where rare ones are hidden, and the token of unknown ones.
    pub words: Option<(Vec<u64>, u32)>,
}

/// How a [`PairTask`] is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairPlan {
    /// The task's name: `translate` or `caption`.
    pub name: &'static str,
    /// Pairs in a batch.
    pub batch: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// How targets of the test part are searched for.
    pub wording: Wording,
    /// Whether pictures are varied, see [`augment_pictures`].
    pub augment: bool,
}

/// How targets are searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wording {
    /// The search.
    pub beam: Beam,
    /// The most tokens of a target.
    pub longest: usize,
}

/// Training a model that writes: translator or captioner. Batches hold pairs of like length.
#[derive(Debug)]
pub struct PairTask {
    plan: PairPlan,
    model: EncoderDecoder<f32>,
    data: PairData,
    buckets: BucketPlan,
    space: EncoderDecoderSpace<f32>,
    source: SequenceBatch<f32>,
    target: TargetBatch,
    /// Before the last step.
    previous: KeptBuffers,
}

/// How well a model writes.
#[derive(Clone, Debug, PartialEq)]
pub struct PairScore {
    /// Mean loss, nats a token of the targets, the ends included.
    pub loss_nats: f64,
    /// Tokens that it is the mean of.
    pub tokens: u64,
    /// BLEU of what was written, 0 to 100.
    pub bleu: f64,
    /// chrF, 0 to 100.
    pub chrf: f64,
    /// The share that is a reference to the letter, 0 to 1.
    pub exact_match: f64,
}

impl PairScore {
    /// The same as a [`Score`].
    #[must_use]
    pub fn score(&self) -> Score {
        let metrics = BTreeMap::from([
            ("bleu".to_owned(), self.bleu),
            ("chrf".to_owned(), self.chrf),
            ("exact_match".to_owned(), self.exact_match),
        ]);
        Score {
            loss_nats: self.loss_nats,
            metrics,
        }
    }
}

impl PairTask {
    /// Joins a model with its data.
    ///
    /// # Panics
    /// If there is nothing to learn from.
    #[must_use]
    pub fn new(model: EncoderDecoder<f32>, data: PairData, plan: PairPlan) -> Self {
        let lengths = (0..data.train.len()).map(|pair| {
            let (source, target) = data.train.lengths(pair);
            source + target
        });
        let buckets = BucketPlan::new(lengths.collect(), plan.batch, plan.seed);
        Self {
            plan,
            model,
            data,
            buckets,
            space: EncoderDecoderSpace::default(),
            source: SequenceBatch::default(),
            target: TargetBatch::default(),
            previous: KeptBuffers::default(),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &EncoderDecoder<f32> {
        &self.model
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &PairData {
        &self.data
    }

    /// The score of the test part, if there is one.
    pub fn score_test(&mut self, compute: &Compute) -> Option<PairScore> {
        let Self {
            model,
            data,
            space,
            plan,
            ..
        } = self;
        let examples = data.test.as_ref()?;
        let data = (examples, &data.encoding.target);
        model.tie();
        model.pack(space, false);
        Some(score_pairs(
            compute,
            model,
            space,
            data,
            plan.wording,
            usize::MAX,
        ))
    }
}

/// What the sources of a model that writes weigh in a batch that is only scored.
fn most_sources(examples: &Examples) -> usize {
    match examples.content() {
        Content::Numbers(numbers) if numbers.frames => SCORED_PICTURES,
        _ => SCORED_ROWS,
    }
}

/// The mean loss of all pairs, nats a token of the targets. The weights must have been packed since they last changed.
pub fn pair_loss(
    compute: &Compute,
    model: &EncoderDecoder<f32>,
    space: &mut EncoderDecoderSpace<f32>,
    examples: &PairExamples,
) -> f64 {
    let most = most_sources(examples.sources());
    let lengths: Vec<usize> = (0..examples.len())
        .map(|pair| {
            let (source, target) = examples.lengths(pair);
            source.max(target)
        })
        .collect();
    // Of each pair by itself, so that it does not matter in which batch it was.
    let mut losses = vec![0.0; examples.len()];
    let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
    compute.run(|| {
        for chosen in batches(&lengths, most) {
            examples.fill(&chosen, &mut source, &mut target);
            model.loss(compute, space, &source, &target);
            let order = examples.target_order(&chosen);
            for ((place, _), loss) in rows_of(&target.steps).zip(space.losses()) {
                losses[order[place]] += loss;
            }
        }
    });
    losses.iter().sum::<f64>() / examples.target_tokens().max(1) as f64
}

/// How the gates of a model that writes stand over the first pairs, until they have `most` steps. The weights must be tied.
pub fn pair_gates(
    compute: &Compute,
    model: &EncoderDecoder<f32>,
    examples: &PairExamples,
    most: usize,
) -> GateCounter {
    let mut counter = GateCounter::default();
    let mut space = EncoderDecoderSpace::default();
    let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
    model.pack(&mut space, false);
    let lengths: Vec<usize> = (0..examples.len())
        .map(|pair| {
            let (source, target) = examples.lengths(pair);
            source + target
        })
        .collect();
    let lengths = first_lengths(&lengths, most);
    for chosen in batches(lengths, most_sources(examples.sources())) {
        examples.fill(&chosen, &mut source, &mut target);
        compute.run(|| model.loss(compute, &mut space, &source, &target));
        if let Body::Recurrent(stack) = &model.encoder.body {
            counter.add("encoder.rnn", stack, space.encoder.stack());
        }
        if let DecoderBody::Recurrent(_, stack) = &model.decoder.body {
            counter.add("decoder.rnn", stack, space.decoder.stack());
        }
    }
    counter
}

/// Mean loss of all pairs, and how good what is written of the first `written` sources is. The weights must have been packed
/// since they last changed.
pub fn score_pairs(
    compute: &Compute,
    model: &EncoderDecoder<f32>,
    space: &mut EncoderDecoderSpace<f32>,
    (examples, vocabulary): (&PairExamples, &Vocabulary),
    wording: Wording,
    written: usize,
) -> PairScore {
    let loss_nats = pair_loss(compute, model, space, examples);
    let sources: Vec<usize> = (0..examples.sources().len().min(written)).collect();
    let hypotheses = write_all(compute, model, space, examples, &sources, wording);
    let texts: Vec<String> = hypotheses
        .iter()
        .map(|hypothesis| vocabulary.decode(&hypothesis.tokens))
        .collect();
    let references: Vec<Vec<String>> = sources
        .iter()
        .map(|&at| examples.references(at).to_vec())
        .collect();
    PairScore {
        loss_nats,
        tokens: examples.target_tokens(),
        bleu: bleu(&texts, &references).score,
        chrf: chrf(&texts, &references),
        exact_match: exact_match(&texts, &references),
    }
}

/// Batches of neighbours by falling length, each of `most` rows over time or of one sequence.
fn batches(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut rows = 0;
    for at in falling_order(lengths) {
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

/// The best target that is found for each of some sources, in their order. It does not depend on what else is asked for. The
/// weights must have been packed since they last changed.
pub fn write_all(
    compute: &Compute,
    model: &EncoderDecoder<f32>,
    space: &mut EncoderDecoderSpace<f32>,
    examples: &PairExamples,
    sources: &[usize],
    wording: Wording,
) -> Vec<Hypothesis> {
    let lengths: Vec<usize> = sources
        .iter()
        .map(|&at| examples.sources().lengths()[at])
        .collect();
    let most = (SEARCHED_ROWS / wording.beam.width).max(1);
    let mut found = vec![Hypothesis::default(); sources.len()];
    let mut batch = SequenceBatch::default();
    compute.run(|| {
        let batches = batches(&lengths, most_sources(examples.sources()));
        for chosen in batches.iter().flat_map(|batch| batch.chunks(most)) {
            let in_batch: Vec<usize> = chosen.iter().map(|&at| sources[at]).collect();
            examples.fill_sources(&in_batch, &mut batch);
            let limits = vec![wording.longest; chosen.len()];
            let hypotheses = wording.beam.search(compute, model, space, &batch, &limits);
            for (&at, hypothesis) in chosen.iter().zip(hypotheses) {
                found[at] = hypothesis;
            }
        }
    });
    found
}

impl Task for PairTask {
    fn start(&self) -> Start {
        let tokens = |examples: &Option<PairExamples>| {
            examples.as_ref().map_or(0, PairExamples::target_tokens)
        };
        Start {
            task: self.plan.name.into(),
            parameters: self.model.parameter_count() as u64,
            train_tokens: self.data.train.target_tokens(),
            validation_tokens: tokens(&self.data.validation),
            vocabulary_size: self.data.encoding.target.len() as u64,
            steps_per_epoch: self.steps_per_epoch(),
            total_steps: None,
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.buckets.steps_per_epoch()
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
            plan,
            model,
            data,
            buckets,
            space,
            source,
            target,
            ..
        } = self;
        data.train.fill(buckets.batch(step), source, target);
        if let Some((counts, unknown)) = &data.words {
            let mut rng = keyed_rng(plan.seed, Purpose::Inputs, step);
            hide_rare_words(source, counts, *unknown, &mut rng);
        }
        if plan.augment {
            let mut rng = keyed_rng(plan.seed, Purpose::Inputs, step);
            augment_pictures(source, &data.encoding.shape(), &mut rng);
        }
        let mask = DropoutKey {
            seed: plan.seed,
            step,
            layer: 0,
        };
        let loss_nats =
            compute.run(|| model.loss_and_gradients(compute, space, source, target, Some(mask)));
        StepLoss {
            loss_nats,
            tokens: target.targets.len() as u64,
        }
    }

    fn undo_step(&mut self) {
        self.previous.put_back(&mut self.model);
    }

    /// The loss of all pairs, and how good the likeliest token after the other is for the first ones.
    fn validate(&mut self, compute: &Compute) -> Option<Score> {
        let Self {
            model,
            data,
            space,
            plan,
            ..
        } = self;
        let examples = data.validation.as_ref()?;
        let wording = Wording {
            beam: Beam {
                width: 1,
                ..plan.wording.beam
            },
            ..plan.wording
        };
        let data = (examples, &data.encoding.target);
        model.tie();
        model.pack(space, false);
        let score = score_pairs(compute, model, space, data, wording, WRITTEN_IN_VALIDATION);
        Some(score.score())
    }

    fn watch(&mut self, compute: &Compute, what: &[WatchKind]) -> Watch {
        self.model.tie();
        let examples = self.data.validation.as_ref().unwrap_or(&self.data.train);
        let model = (&self.model, &self.data.encoding.shape());
        let losses = || watched_losses(&pair_losses(examples));
        let traces = || pair_traces(compute, model, examples, &losses());
        let gates = || pair_gates(compute, &self.model, examples, GATE_STEPS).finish();
        watch_layers(&self.model, what, traces, gates)
    }

    /// What is written is nearer to the references; of two equally near the likelier one.
    fn is_better(&self, new: &Score, best: &Validation) -> bool {
        let chrf = |metrics: &BTreeMap<String, f64>| metrics.get("chrf").copied();
        match (chrf(&new.metrics), chrf(&best.metrics)) {
            (Some(new_chrf), Some(best_chrf)) if new_chrf != best_chrf => new_chrf > best_chrf,
            _ => new.loss_nats < best.loss_nats,
        }
    }

    /// What is written of the first source that is not learnt from.
    fn sample(&mut self, compute: &Compute, _step: u64) -> Option<String> {
        let Self {
            model,
            data,
            space,
            plan,
            ..
        } = self;
        let examples = data.validation.as_ref().unwrap_or(&data.train);
        model.tie();
        model.pack(space, false);
        let first = [0];
        let found = write_all(compute, model, space, examples, &first, plan.wording);
        let text = data.encoding.target.decode(&found.first()?.tokens);
        let reference = examples.references(0).first()?;
        Some(format!("{text}\n({reference})"))
    }
}
