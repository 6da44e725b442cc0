//! Models that write: a source of a batch = that source alone, in loss and in what is written; steps = the whole target; what
//! a search finds; threads, instruction sets and files change no bit.

use std::sync::Arc;

use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom as _;
use refrain::checkpoint::ModelFile;
use refrain::data::{
    Arrays, Captioned, Captions, NpzWriter, PairEncoding, PairEncodingOptions, PairExamples,
    RawPairs, Referenced, TokenKind, WordOptions,
};
use refrain::generate::{Beam, Hypothesis};
use refrain::models::{
    EncoderDecoder, EncoderDecoderSpace, ModelConfig, SequenceBatch, TargetBatch, rows_of,
};
use refrain::nn::{AttentionKind, CellKind, Parameters, Pooling};
use refrain::run::settings::{Settings, Task as SettingsTask};
use refrain::run::writers::{LoadedWriter, output_of, writer_file};
use refrain::train::{PairData, PairPlan, PairTask, Task, Wording, pair_loss, write_all};
use refrain_kernels::{Compute, Isa};
use serde_json::Map;

use crate::{bits, instruction_sets, parameter_bits, plain, rng};

/// What a model reads before it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Letters,
    /// Pieces of words, of one vocabulary with what is written.
    Pieces,
    /// Letters as the pixels of a picture.
    Pictures,
    /// Letters as a vector.
    Vectors,
}

const READS: [Reads; 4] = [
    Reads::Letters,
    Reads::Pieces,
    Reads::Pictures,
    Reads::Vectors,
];
/// Height, width and channels of a picture; a vector has as many numbers.
const PICTURE: [usize; 3] = [5, 4, 2];

impl Reads {
    fn is_text(self) -> bool {
        matches!(self, Self::Letters | Self::Pieces)
    }

    fn task(self) -> SettingsTask {
        if self.is_text() {
            SettingsTask::Translate
        } else {
            SettingsTask::Caption
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    reads: Reads,
    config: ModelConfig,
    /// Sources and what may be written of each.
    pairs: Vec<(String, Vec<String>)>,
    isa: Isa,
    threads: usize,
    seed: u64,
}

const CELLS: [CellKind; 4] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm, CellKind::Mlp];

fn cases() -> impl Strategy<Value = Case> {
    let kinds = (0usize..4, 0usize..4, 0usize..3, any::<bool>(), 0usize..4);
    let extras = (any::<bool>(), any::<bool>());
    let sizes = (1usize..36, 1usize..3, 1usize..12, 1usize..4);
    let pairs = prop::collection::vec(
        ("[a-f]{1,9}", prop::collection::vec("[u-z]{0,6}", 1..3)),
        1..7,
    );
    let machine = (any::<bool>(), 1usize..3, any::<u64>());
    (kinds, extras, sizes, pairs, machine).prop_map(|(kinds, extras, sizes, pairs, machine)| {
        let (cell, attention, pooling, bidirectional, reads) = kinds;
        let reads = READS[reads];
        let (layer_norm, tie_weights) = extras;
        let (hidden_size, num_layers, embedding_size, window) = sizes;
        let (detect, threads, seed) = machine;
        let is_recurrent = CELLS[cell] != CellKind::Mlp;
        Case {
            reads,
            config: ModelConfig {
                embedding_size: if tie_weights {
                    hidden_size
                } else {
                    embedding_size
                },
                bidirectional: bidirectional && is_recurrent && reads.is_text(),
                layer_norm: layer_norm && is_recurrent,
                tie_weights,
                attention: if reads.is_text() {
                    AttentionKind::ALL[attention]
                } else {
                    AttentionKind::None
                },
                pooling: if reads.is_text() {
                    [Pooling::Last, Pooling::Mean, Pooling::Max][pooling]
                } else {
                    Pooling::Last
                },
                window,
                // Of no effect in evaluation.
                dropout: 0.3,
                recurrent_dropout: if is_recurrent { 0.2 } else { 0.0 },
                ..plain(CELLS[cell], hidden_size, num_layers)
            },
            pairs,
            isa: if detect { Isa::detect() } else { Isa::SCALAR },
            threads,
            seed,
        }
    })
}

fn raw(reads: Reads, pairs: &[(String, Vec<String>)]) -> RawPairs {
    if !reads.is_text() {
        return RawPairs::Pictures(pictures(reads, pairs));
    }
    let rows = pairs
        .iter()
        .zip(1..)
        .map(|((source, targets), line)| Referenced {
            source: source.clone(),
            references: targets.clone(),
            line,
        });
    RawPairs::Texts(rows.collect())
}

/// Sources as numbers: the letters again and again.
fn pictures(reads: Reads, pairs: &[(String, Vec<String>)]) -> Captions {
    let size: usize = PICTURE.iter().product();
    let letters = pairs
        .iter()
        .flat_map(|(source, _)| source.bytes().cycle().take(size));
    let values: Vec<f32> = letters.map(|letter| f32::from(letter - b'a')).collect();
    let shape = match reads {
        Reads::Vectors => vec![pairs.len(), 1, size],
        _ => [&[pairs.len(), 1][..], &PICTURE].concat(),
    };
    let mut npz = NpzWriter::new();
    npz.add_f32("inputs", &shape, &values).unwrap();
    let file = std::io::Cursor::new(npz.finish().unwrap());
    let captions = pairs
        .iter()
        .enumerate()
        .map(|(picture, (_, targets))| Captioned {
            picture,
            sentences: targets.clone(),
            line: picture as u64 + 1,
        });
    Captions {
        pictures: Arc::new(Arrays::read(file, "pictures", 1 << 20).unwrap()),
        captions: captions.collect(),
    }
}

/// All letters that may occur, so that the sizes do not depend on the pairs.
fn encoding(reads: Reads) -> PairEncoding {
    let sources = ["abcdef", "fa"];
    let pairs = sources.map(|source| (source.to_owned(), vec!["uvwxyz".to_owned()]));
    let all = raw(reads, &pairs);
    let shared = reads == Reads::Pieces;
    let options = PairEncodingOptions {
        tokens: if shared {
            TokenKind::Bpe(260)
        } else {
            TokenKind::Char
        },
        words: WordOptions::default(),
        shared,
        max_length: None,
    };
    PairEncoding::fit(&all, options).unwrap().0
}

fn examples(case: &Case) -> PairExamples {
    let raw = raw(case.reads, &case.pairs);
    encoding(case.reads).encode(&raw, "pairs").unwrap().examples
}

/// Weights and gains that are all different, and scores that are far apart.
fn model(case: &Case) -> EncoderDecoder<f32> {
    let (encoding, rng) = (encoding(case.reads), &mut rng(case.seed));
    let vocab_size = encoding.target.len();
    let shape = encoding.shape();
    let mut model = EncoderDecoder::new(
        &case.config,
        &shape,
        output_of(case.reads.task()),
        vocab_size,
        rng,
    );
    model.visit_mut(&mut |parameter| {
        for value in &mut parameter.value {
            *value += rng.random_range(-0.5f32..0.5);
        }
    });
    model
}

fn compute(case: &Case) -> Compute {
    Compute::new(case.isa, case.threads)
}

/// The losses of the tokens of each pair, in batches that are given.
fn losses(case: &Case, examples: &PairExamples, batches: &[Vec<usize>]) -> Vec<Vec<u64>> {
    let (model, compute) = (model(case), compute(case));
    let mut space = EncoderDecoderSpace::default();
    let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
    model.pack(&mut space, false);
    let mut all = vec![Vec::new(); examples.len()];
    for chosen in batches {
        examples.fill(chosen, &mut source, &mut target);
        model.loss(&compute, &mut space, &source, &target);
        let order = examples.target_order(chosen);
        for ((place, _), loss) in rows_of(&target.steps).zip(space.losses()) {
            all[order[place]].push(loss.to_bits());
        }
    }
    all
}

fn wording(width: usize, length_penalty: f64, longest: usize) -> Wording {
    Wording {
        beam: Beam {
            width,
            length_penalty,
            with_alignment: true,
        },
        longest,
    }
}

fn write(
    case: &Case,
    examples: &PairExamples,
    sources: &[usize],
    wording: Wording,
) -> Vec<Hypothesis> {
    let (model, mut space) = (model(case), EncoderDecoderSpace::default());
    model.pack(&mut space, false);
    write_all(
        &compute(case),
        &model,
        &mut space,
        examples,
        sources,
        wording,
    )
}

/// A source that was read, of which a test writes step by step.
struct Read {
    compute: Compute,
    model: EncoderDecoder<f32>,
    space: EncoderDecoderSpace<f32>,
}

impl Read {
    fn new(case: &Case, examples: &PairExamples, source: usize) -> Self {
        let (compute, model) = (compute(case), model(case));
        let (mut space, mut batch) = (EncoderDecoderSpace::default(), SequenceBatch::default());
        model.pack(&mut space, false);
        examples.fill_sources(&[source], &mut batch);
        model.encode(&compute, &mut space, &batch, None);
        Self {
            compute,
            model,
            space,
        }
    }

    /// The logarithms of the probabilities of what may follow some tokens, the end last.
    fn after(&mut self, tokens: &[u32]) -> Vec<f64> {
        let mut state = self.model.begin(&self.compute, &mut self.space, &[0]);
        let boundary = self.model.decoder.boundary();
        for &token in std::iter::once(&boundary).chain(tokens) {
            let (compute, space) = (&self.compute, &mut self.space);
            self.model.step(compute, space, &[token], &[0], &mut state);
        }
        let scores = self.space.decoder.scores().to_rows(0, 1);
        let sum: f64 = scores.iter().map(|&s| libm::exp(f64::from(s))).sum();
        let normaliser = libm::log(sum);
        scores.iter().map(|&s| f64::from(s) - normaliser).collect()
    }
}

/// Always the likeliest token.
fn greedy(read: &mut Read, longest: usize) -> (Vec<u32>, bool, f64) {
    let (mut tokens, mut total) = (Vec::new(), 0.0);
    while tokens.len() < longest {
        let next = read.after(&tokens);
        let best =
            (0..next.len()).fold(0, |best, at| if next[at] > next[best] { at } else { best });
        total += next[best];
        if best + 1 == next.len() {
            return (tokens, true, total);
        }
        tokens.push(best as u32);
    }
    (tokens, false, total)
}

fn score(total: f64, length: usize, penalty: f64) -> f64 {
    total / libm::pow(length as f64, penalty)
}

/// The best score of all targets that begin with `tokens`.
fn best_of_all(
    read: &mut Read,
    (tokens, total): (&mut Vec<u32>, f64),
    (longest, penalty): (usize, f64),
) -> f64 {
    if tokens.len() == longest {
        return score(total, longest, penalty);
    }
    let next = read.after(tokens);
    let boundary = next.len() - 1;
    let mut best = score(total + next[boundary], tokens.len() + 1, penalty);
    for (token, log_probability) in next[..boundary].iter().enumerate() {
        tokens.push(token as u32);
        let found = best_of_all(read, (tokens, total + log_probability), (longest, penalty));
        tokens.pop();
        best = best.max(found);
    }
    best
}

/// Sums of logarithms: those of the search are formed of f32 losses.
const CLOSE: f64 = 1e-4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_pair_of_a_batch_is_that_pair_alone(case in cases()) {
        let examples = examples(&case);
        let alone: Vec<Vec<usize>> = (0..examples.len()).map(|at| vec![at]).collect();
        let expected = losses(&case, &examples, &alone);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        for _ in 0..3 {
            prop_assert_eq!(&losses(&case, &examples, std::slice::from_ref(&order)), &expected);
            order.shuffle(&mut rng(case.seed));
            let (some, others) = order.split_at(order.len() / 2);
            let batches = [some.to_vec(), others.to_vec()];
            let batches: Vec<_> = batches.into_iter().filter(|batch| !batch.is_empty()).collect();
            prop_assert_eq!(&losses(&case, &examples, &batches), &expected);
        }
        // And so is the mean of all.
        let sum: f64 = expected
            .iter()
            .map(|pair| pair.iter().fold(0.0, |sum, &loss| sum + f64::from_bits(loss)))
            .sum();
        let (model, mut space) = (model(&case), EncoderDecoderSpace::default());
        model.pack(&mut space, false);
        let mean = pair_loss(&compute(&case), &model, &mut space, &examples);
        prop_assert_eq!(mean.to_bits(), (sum / examples.target_tokens() as f64).to_bits());
    }

    #[test]
    fn what_is_written_of_a_source_does_not_depend_on_the_others(case in cases(), width in 1usize..5) {
        let examples = examples(&case);
        let wording = wording(width, 1.0, 8);
        let mut order: Vec<usize> = (0..case.pairs.len()).collect();
        let all = write(&case, &examples, &order, wording);
        order.shuffle(&mut rng(case.seed));
        let shuffled = write(&case, &examples, &order, wording);
        for (&source, found) in order.iter().zip(&shuffled) {
            prop_assert_eq!(found, &all[source]);
            prop_assert_eq!(found.score.to_bits(), all[source].score.to_bits());
        }
        for (source, found) in all.iter().enumerate() {
            let alone = write(&case, &examples, &[source], wording);
            prop_assert_eq!(&alone[0], found);
            prop_assert!(found.tokens.len() <= 8);
            let shown = found.tokens.len() + usize::from(found.ended);
            let with_attention = case.config.attention != AttentionKind::None;
            prop_assert_eq!(found.alignment.len(), if with_attention { shown } else { 0 });
            for weights in &found.alignment {
                prop_assert_eq!(weights.len(), examples.sources().lengths()[source]);
                let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
                prop_assert!((sum - 1.0).abs() < 1e-5, "{:?}", weights);
            }
        }
    }

    #[test]
    fn a_beam_of_one_is_greedy_and_a_wider_one_never_worse(case in cases(), penalty in 0usize..4) {
        let examples = examples(&case);
        let penalty = [0.0, 0.5, 1.0, 2.0][penalty];
        let sources: Vec<usize> = (0..case.pairs.len()).collect();
        let narrow = write(&case, &examples, &sources, wording(1, penalty, 8));
        for (source, found) in narrow.iter().enumerate() {
            let (tokens, ended, total) = greedy(&mut Read::new(&case, &examples, source), 8);
            prop_assert_eq!((&found.tokens, found.ended), (&tokens, ended));
            prop_assert!((found.log_probability - total).abs() < CLOSE);
            let wanted = score(total, tokens.len() + usize::from(ended), penalty);
            prop_assert!((found.score - wanted).abs() < CLOSE);
        }
        for width in [2, 3, 7] {
            let wide = write(&case, &examples, &sources, wording(width, penalty, 8));
            for (wide, narrow) in wide.iter().zip(&narrow) {
                prop_assert!(wide.score >= narrow.score, "width {}: {:?}, {:?}", width, wide, narrow);
            }
        }
    }

    #[test]
    fn steps_are_the_whole_target(case in cases()) {
        let examples = examples(&case);
        let (compute, model) = (compute(&case), model(&case));
        let mut space = EncoderDecoderSpace::default();
        let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
        let pairs: Vec<usize> = (0..examples.len()).collect();
        examples.fill(&pairs, &mut source, &mut target);
        model.pack(&mut space, false);
        model.encode(&compute, &mut space, &source, None);
        let kept = space.clone();
        let (encoded, decoder) = (kept.encoded(), &mut space.decoder);
        let mut state = model.decoder.begin(&compute, decoder, encoded, &target.source_of);
        model.decoder.forward(
            &compute,
            decoder,
            &target.steps,
            &target.inputs,
            encoded,
            &target.source_of,
            &mut state,
            None,
        );
        let (whole, alignment) = (decoder.scores().clone(), decoder.alignment().clone());
        for (place, &source) in target.source_of.iter().enumerate() {
            let mut state = model.begin(&compute, &mut space, &[source]);
            for (row, (of, _)) in rows_of(&target.steps).enumerate() {
                if of != place {
                    continue;
                }
                let token = [target.inputs[row]];
                model.step(&compute, &mut space, &token, &[source], &mut state);
                let step = &space.decoder;
                prop_assert_eq!(bits(&step.scores().to_rows(0, 1)), bits(&whole.to_rows(row, 1)));
                if case.config.attention != AttentionKind::None {
                    let found = bits(&step.alignment().to_rows(0, 1));
                    prop_assert_eq!(found, bits(&alignment.to_rows(row, 1)));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_beam_that_drops_nothing_finds_the_best_of_all(mut case in cases(), penalty in 0usize..4) {
        let penalty = [0.0, 0.5, 1.0, 2.0][penalty];
        case.pairs.truncate(1);
        // Pieces are too many for all targets.
        if case.reads == Reads::Pieces {
            case.reads = Reads::Letters;
        }
        let examples = examples(&case);
        let mut read = Read::new(&case, &examples, 0);
        let best = best_of_all(&mut read, (&mut Vec::new(), 0.0), (3, penalty));
        // Six letters, at most three of them: fewer than 300 targets.
        let found = &write(&case, &examples, &[0], wording(300, penalty, 3))[0];
        prop_assert!((found.score - best).abs() < CLOSE, "{:?}, but {}", found, best);
    }

    #[test]
    fn training_is_the_same_on_every_machine(case in cases()) {
        check_machines(&case);
    }
}

/// All that gradient steps leave, as bits.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<u64>,
    gradients: Vec<Vec<u32>>,
    parameters: Vec<u32>,
    validation: Vec<u64>,
    written: Vec<Hypothesis>,
}

/// Gradient steps of the task with dropout; plain descent between them.
fn train(case: &Case, compute: &Compute) -> Trained {
    let examples = examples(case);
    let wording = wording(3, 1.0, 6);
    let data = PairData {
        encoding: encoding(case.reads),
        train: examples.clone(),
        validation: Some(examples.clone()),
        test: None,
        words: None,
    };
    let plan = PairPlan {
        name: "translate",
        batch: 3,
        seed: case.seed,
        wording,
        augment: case.reads == Reads::Pictures,
    };
    let mut task = PairTask::new(model(case), data, plan);
    let mut trained = Trained {
        losses: Vec::new(),
        gradients: Vec::new(),
        parameters: Vec::new(),
        validation: Vec::new(),
        written: Vec::new(),
    };
    for step in 0..3 {
        let loss = task.step(compute, step).loss_nats;
        assert!(loss.is_finite());
        trained.losses.push(loss.to_bits());
        let mut gradients = Vec::new();
        task.parameters_mut().visit_mut(&mut |parameter| {
            gradients.extend(bits(&parameter.grad));
            for (value, grad) in parameter.value.iter_mut().zip(&parameter.grad) {
                *value -= 0.1 * grad;
            }
        });
        trained.gradients.push(gradients);
    }
    trained.parameters = parameter_bits(task.model());
    let score = task.validate(compute).unwrap();
    trained.validation.push(score.loss_nats.to_bits());
    let metrics = score.metrics.values();
    trained
        .validation
        .extend(metrics.map(|value| value.to_bits()));
    let (model, mut space) = (task.model().clone(), EncoderDecoderSpace::default());
    model.pack(&mut space, false);
    let sources: Vec<usize> = (0..case.pairs.len()).collect();
    trained.written = write_all(compute, &model, &mut space, &examples, &sources, wording);
    trained
}

fn check_machines(case: &Case) {
    let mut first: Option<Trained> = None;
    for isa in instruction_sets() {
        for threads in 1..=3 {
            let trained = train(case, &Compute::new(isa, threads));
            let Some(first) = &first else {
                let moves = |gradient: &Vec<u32>| gradient.iter().any(|&bits| bits << 1 != 0);
                assert!(trained.gradients.iter().any(moves), "no gradient at all");
                first = Some(trained);
                continue;
            };
            let label = format!("{} with {threads} threads, {case:?}", isa.name());
            assert!(first.losses == trained.losses, "losses: {label}");
            assert!(first.gradients == trained.gradients, "gradients: {label}");
            assert!(*first == trained, "{label}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_saved_writer_is_loaded_bit_for_bit(case in cases(), longest in 1usize..70_000) {
        let config = &case.config;
        let (is_recurrent, is_text) = (config.cell != CellKind::Mlp, case.reads.is_text());
        let settings = Settings {
            task: Some(case.reads.task()),
            cell: Some(config.cell),
            hidden_size: Some(config.hidden_size as u64),
            num_layers: Some(config.num_layers as u64),
            embedding_size: (!config.tie_weights).then_some(config.embedding_size as u64),
            tie_weights: Some(config.tie_weights),
            attention: (is_recurrent && is_text).then_some(config.attention),
            bidirectional: (is_recurrent && is_text).then_some(config.bidirectional),
            ..Settings::default()
        };
        let config = settings.resolve()?;
        let mut encoding = encoding(case.reads);
        encoding.longest_target = longest;
        encoding.source.max_length = config.max_length;
        let case = Case { config: config.model.clone(), ..case };
        let model = model(&case);
        let file = writer_file(&model, &encoding, &config, Map::new());
        let bytes = file.to_bytes()?;
        let path = std::path::Path::new("best.safetensors");
        let loaded = LoadedWriter::from_file(path, ModelFile::from_bytes(path, &bytes)?);
        // What is longer than any target that could be written is refused.
        if longest > 1 << 16 {
            prop_assert!(loaded.unwrap_err().to_string().contains("best.safetensors"));
            return Ok(());
        }
        let loaded = loaded?;
        prop_assert_eq!(&loaded.encoding, &encoding);
        prop_assert_eq!(&loaded.config.model, &config.model);
        prop_assert_eq!(parameter_bits(&loaded.model), parameter_bits(&model));
        let linear = &loaded.model.decoder.linear.weight.value;
        if config.model.tie_weights {
            prop_assert_eq!(bits(linear), bits(&model.decoder.embedding.weight.value));
        }
        let again = writer_file(&loaded.model, &loaded.encoding, &loaded.config, loaded.trained);
        prop_assert_eq!(again.to_bytes()?, bytes);
    }

    #[test]
    fn pairs_that_are_longer_are_left_out(mut case in cases(), most in 1usize..10) {
        // A letter is a step.
        case.reads = Reads::Letters;
        let mut examples = examples(&case);
        let fits = |source: &str, target: &str| source.len() <= most && target.len() <= most;
        let all: Vec<(usize, &str)> = case
            .pairs
            .iter()
            .enumerate()
            .flat_map(|(at, (_, targets))| targets.iter().map(move |target| (at, target.as_str())))
            .collect();
        let kept: Vec<(usize, &str)> = all
            .iter()
            .copied()
            .filter(|&(at, target)| fits(&case.pairs[at].0, target))
            .collect();
        let left_out = examples.leave_out_longer(most);
        prop_assert_eq!(left_out as usize, all.len() - kept.len());
        prop_assert_eq!(examples.len(), kept.len());
        for (pair, (source, target)) in kept.into_iter().enumerate() {
            prop_assert_eq!(examples.source_of(pair), source);
            prop_assert_eq!(encoding(case.reads).target.decode(examples.target(pair)), target);
            let lengths = (case.pairs[source].0.len(), target.len() + 1);
            prop_assert_eq!(examples.lengths(pair), lengths);
        }
    }
}
