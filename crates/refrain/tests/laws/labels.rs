//! Classifiers and taggers of every kind of input, and the plain network: a sequence of a batch = that sequence alone,
//! padding is inert, the order of the sequences, the threads and the instruction set change no bit.

use std::sync::Arc;

use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha12Rng;
use refrain::data::encoding::{Encoding, Input};
use refrain::data::examples::{Content, Examples, Forms, Labels, NO_LABEL, Numbers};
use refrain::data::{Arrays, Standardisation, Values, Vocabulary};
use refrain::models::{
    InputShape, LabelBatch, Labeller, LabellerSpace, LanguageModel, LanguageModelSpace,
    ModelConfig, Output, SequenceBatch, Stream, TokenBatch, falling_order, rows_of,
};
use refrain::nn::{CellKind, Nonlinearity, Parameters, Pooling};
use refrain::train::{LabelData, LabelPlan, LabelTask, Task, score_labels};
use refrain_kernels::{Compute, Isa, Panels, softmax_cross_entropy};

use crate::{
    bits, instruction_sets, new_model, parameter_bits, plain, random_tokens, rng, state_bits,
};

const CLASSES: usize = 3;
const VOCABULARY: usize = 9;
const CHARACTERS: usize = 7;

/// What the sequences are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tokens,
    Spelt,
    Vectors,
    /// Read row by row, all of one height.
    Pictures,
    Video,
}

const KINDS: [Kind; 5] = [
    Kind::Tokens,
    Kind::Spelt,
    Kind::Vectors,
    Kind::Pictures,
    Kind::Video,
];

#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    output: Output,
    config: ModelConfig,
    lengths: Vec<usize>,
    center: bool,
    isa: Isa,
    threads: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = (0..KINDS.len(), any::<bool>(), 0usize..4, 0usize..3);
    let extras = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let sizes = (1usize..36, 1usize..3, 1usize..12, 1usize..6);
    let lengths = prop::collection::vec(1usize..9, 1..9);
    let machine = (any::<bool>(), 1usize..3, any::<bool>(), any::<u64>());
    (kinds, extras, sizes, lengths, machine).prop_map(
        |((kind, per_step, cell, pooling), extras, sizes, mut lengths, machine)| {
            let kind = KINDS[kind];
            let (bidirectional, layer_norm, batch_norm, relu) = extras;
            let (hidden_size, num_layers, embedding_size, window) = sizes;
            let (detect, threads, center, seed) = machine;
            if kind == Kind::Pictures {
                let height = lengths[0];
                lengths.fill(height);
            }
            let cell = [CellKind::Lstm, CellKind::Gru, CellKind::Rnn, CellKind::Mlp][cell];
            let is_recurrent = cell != CellKind::Mlp;
            let has_nonlinearity = !matches!(cell, CellKind::Lstm | CellKind::Gru);
            Case {
                kind,
                output: match kind {
                    Kind::Pictures => Output::Sequence,
                    Kind::Video => Output::Steps,
                    _ if per_step => Output::Steps,
                    _ => Output::Sequence,
                },
                config: ModelConfig {
                    nonlinearity: if relu && has_nonlinearity {
                        Nonlinearity::Relu
                    } else {
                        Nonlinearity::Tanh
                    },
                    embedding_size,
                    bidirectional: bidirectional && is_recurrent,
                    layer_norm: layer_norm && is_recurrent,
                    batch_norm: batch_norm && is_recurrent && num_layers > 1,
                    pooling: [Pooling::Last, Pooling::Mean, Pooling::Max][pooling],
                    window,
                    // Of no effect in evaluation.
                    dropout: 0.3,
                    recurrent_dropout: if is_recurrent { 0.2 } else { 0.0 },
                    ..plain(cell, hidden_size, num_layers)
                },
                lengths,
                center: center && kind == Kind::Video,
                isa: if detect { Isa::detect() } else { Isa::SCALAR },
                threads,
                seed,
            }
        },
    )
}

/// The shape of a step of numbers.
fn step_shape(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Tokens | Kind::Spelt => &[],
        Kind::Vectors => &[5],
        Kind::Pictures => &[4, 2],
        Kind::Video => &[5, 4, 1],
    }
}

fn shape(case: &Case) -> InputShape {
    match case.kind {
        Kind::Tokens => InputShape::Tokens(VOCABULARY),
        Kind::Spelt => InputShape::Words {
            vocab_size: VOCABULARY,
            characters: CHARACTERS,
        },
        Kind::Vectors => InputShape::Vectors {
            features: 5,
            seq_len: None,
        },
        Kind::Pictures => InputShape::Vectors {
            features: 8,
            seq_len: Some(case.lengths[0]),
        },
        Kind::Video => InputShape::Frames {
            height: 5,
            width: 4,
            channels: 1,
        },
    }
}

/// Words of one to four letters, each twice, the second time as an unknown word.
fn forms(rng: &mut ChaCha12Rng) -> Forms {
    let mut forms = Forms::default();
    for at in 0..2 * VOCABULARY {
        forms
            .words
            .push(if at < VOCABULARY { at as u32 } else { 0 });
        let letters = rng.random_range(1..5);
        forms
            .characters
            .extend(random_tokens(letters, CHARACTERS, rng));
        forms.ends.push(forms.characters.len());
    }
    forms
}

/// An array whose examples are `lengths` steps long, with `padding` in all that lies beyond.
fn arrays(case: &Case, padding: f32, rng: &mut ChaCha12Rng) -> Arrays {
    let longest = case.lengths.iter().copied().max().unwrap();
    // Room beyond the longest, too.
    let steps = longest + usize::from(case.kind != Kind::Pictures);
    let step: usize = step_shape(case.kind).iter().product();
    let mut values = Vec::new();
    for &length in &case.lengths {
        values.extend((0..length * step).map(|_| rng.random_range(-1.0f32..1.0)));
        values.extend(std::iter::repeat_n(padding, (steps - length) * step));
    }
    Arrays {
        shape: [&[steps], step_shape(case.kind)].concat(),
        count: case.lengths.len(),
        values: Values::F32(values),
        lengths: Some(case.lengths.clone()),
        labels: None,
        targets: None,
        label_names: Vec::new(),
        sha256: String::new(),
        notes: Vec::new(),
    }
}

fn content(case: &Case, padding: f32) -> Content {
    let rng = &mut rng(case.seed);
    let total = case.lengths.iter().sum();
    match case.kind {
        Kind::Tokens => Content::Tokens(random_tokens(total, VOCABULARY, rng)),
        Kind::Spelt => {
            let forms = forms(rng);
            let words = random_tokens(total, forms.words.len(), rng);
            Content::Words(words, Arc::new(forms))
        }
        Kind::Vectors | Kind::Pictures | Kind::Video => {
            let arrays = arrays(case, padding, rng);
            let chosen: Vec<usize> = (0..arrays.count).collect();
            Content::Numbers(Numbers {
                standardisation: Arc::new(Standardisation::measure(&arrays, &chosen, case.center)),
                arrays: Arc::new(arrays),
                chosen,
                center: case.center,
                frames: case.kind == Kind::Video,
            })
        }
    }
}

/// Labels of all, a step in five without one.
fn labels(case: &Case) -> Labels {
    let rng = &mut rng(case.seed ^ 1);
    match case.output {
        Output::Sequence | Output::Features => {
            Labels::Sequences(random_tokens(case.lengths.len(), CLASSES, rng))
        }
        Output::Steps | Output::Past => {
            let mut labels = random_tokens(case.lengths.iter().sum(), CLASSES, rng);
            labels
                .iter_mut()
                .skip(1)
                .step_by(5)
                .for_each(|label| *label = NO_LABEL);
            Labels::Steps(labels)
        }
    }
}

fn examples(case: &Case) -> Examples {
    Examples::new(content(case, 0.0), case.lengths.clone(), labels(case))
}

/// Weights, gains, statistics that are all different.
fn labeller(case: &Case) -> Labeller<f32> {
    let rng = &mut rng(case.seed ^ 2);
    let mut model = Labeller::new(&case.config, &shape(case), case.output, CLASSES, rng);
    model.visit_mut(&mut |parameter| {
        for value in &mut parameter.value {
            *value += rng.random_range(-0.2f32..0.2);
        }
    });
    model.visit_buffers_mut(&mut |buffer| {
        for value in &mut buffer.value {
            *value += rng.random_range(0.0f32..0.3);
        }
    });
    model
}

/// The scores of each sequence in the batches that are given, as bits: a row, or a row for each step.
fn scores(
    case: &Case,
    model: &Labeller<f32>,
    examples: &Examples,
    batches: &[Vec<usize>],
) -> Vec<Vec<u32>> {
    let compute = Compute::new(case.isa, case.threads);
    let (mut space, mut batch) = (LabellerSpace::default(), SequenceBatch::default());
    let starts = examples.starts();
    let mut all = vec![Vec::new(); examples.len()];
    model.pack(&mut space, false);
    for chosen in batches {
        examples.fill(chosen, &starts, &mut batch);
        model.scores(&compute, &mut space, &batch, None);
        let rows: Vec<usize> = match case.output {
            Output::Steps | Output::Past => rows_of(&batch.steps).map(|(place, _)| place).collect(),
            Output::Sequence | Output::Features => (0..chosen.len()).collect(),
        };
        assert_eq!(space.scores().rows(), rows.len());
        for (row, place) in rows.into_iter().enumerate() {
            all[chosen[place]].extend(bits(&space.scores().to_rows(row, 1)));
        }
    }
    all
}

/// All sequences in one batch, after the order in which they come.
fn one_batch(order: &[usize], lengths: &[usize]) -> Vec<usize> {
    let in_order: Vec<usize> = order.iter().map(|&at| lengths[at]).collect();
    falling_order(&in_order)
        .into_iter()
        .map(|place| order[place])
        .collect()
}

/// All that gradient steps leave, as bits.
#[derive(PartialEq)]
struct Trained {
    losses: Vec<u64>,
    gradients: Vec<Vec<u32>>,
    parameters: Vec<u32>,
    buffers: Vec<u32>,
    validation: Option<u64>,
}

fn encoding(case: &Case) -> Encoding {
    Encoding {
        per_step: case.output == Output::Steps,
        // The task asks it for nothing but names and sizes.
        input: Input::Texts(Vocabulary::bytes()),
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        max_length: None,
    }
}

/// Gradient steps of the task with dropout, class weights, hidden words; plain descent between them.
fn train(case: &Case, compute: &Compute) -> Trained {
    let data = LabelData {
        encoding: encoding(case),
        train: examples(case),
        validation: Some(examples(case)),
        test: None,
        class_weights: vec![0.5, 1.0, 2.5],
        words: Some(((0..VOCABULARY as u64).collect(), 0)),
    };
    let plan = LabelPlan {
        name: "tag",
        batch: 4,
        seed: case.seed,
        augment: false,
    };
    let mut task = LabelTask::new(labeller(case), data, plan);
    let mut trained = Trained {
        losses: Vec::new(),
        gradients: Vec::new(),
        parameters: Vec::new(),
        buffers: Vec::new(),
        validation: None,
    };
    for step in 0..3 {
        trained
            .losses
            .push(task.step(compute, step).loss_nats.to_bits());
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
    task.model()
        .visit_buffers(&mut |buffer| trained.buffers.extend(bits(&buffer.value)));
    trained.validation = task
        .validate(compute)
        .map(|score| score.loss_nats.to_bits());
    trained
}

fn check_machines(case: &Case) {
    let mut first: Option<Trained> = None;
    for isa in instruction_sets() {
        for threads in 1..=3 {
            let trained = train(case, &Compute::new(isa, threads));
            let Some(first) = &first else {
                // Where much is dropped, all of a tiny model's first layer may be.
                let all_dropped = case.config.dropout > 0.0 || case.config.recurrent_dropout > 0.0;
                let moves = |gradient: &Vec<u32>| gradient.iter().any(|&bits| bits << 1 != 0);
                assert!(all_dropped || moves(&trained.gradients[0]));
                assert!(trained.gradients.iter().any(moves), "no gradient at all");
                first = Some(trained);
                continue;
            };
            let label = format!("{} with {threads} threads, {case:?}", isa.name());
            assert!(first.losses == trained.losses, "losses: {label}");
            assert!(first.gradients == trained.gradients, "gradients: {label}");
            assert!(first.buffers == trained.buffers, "statistics: {label}");
            assert!(*first == trained, "{label}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_sequence_of_a_batch_is_that_sequence_alone(case in cases()) {
        let (model, examples) = (labeller(&case), examples(&case));
        let alone: Vec<Vec<usize>> = (0..examples.len()).map(|at| vec![at]).collect();
        let expected = scores(&case, &model, &examples, &alone);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        for _ in 0..3 {
            let batch = one_batch(&order, &case.lengths);
            prop_assert_eq!(&scores(&case, &model, &examples, &[batch]), &expected);
            // Next to others, in another order.
            order.shuffle(&mut rng(case.seed));
            let (some, others) = order.split_at(order.len() / 2);
            let batches = [one_batch(some, &case.lengths), one_batch(others, &case.lengths)];
            let batches: Vec<_> = batches.into_iter().filter(|batch| !batch.is_empty()).collect();
            prop_assert_eq!(&scores(&case, &model, &examples, &batches), &expected);
        }
    }

    #[test]
    fn what_lies_beyond_a_sequence_is_inert(case in cases()) {
        let model = labeller(&case);
        let all = one_batch(&(0..case.lengths.len()).collect::<Vec<_>>(), &case.lengths);
        let of = |padding| {
            let examples = Examples::new(content(&case, padding), case.lengths.clone(), Labels::None);
            scores(&case, &model, &examples, std::slice::from_ref(&all))
        };
        let expected = of(0.0);
        for padding in [1e30, f32::INFINITY, f32::NAN] {
            prop_assert_eq!(&of(padding), &expected, "padding {}", padding);
        }
    }

    /// A sequence with one known label has its loss alone: scored together they add up, whatever the batches.
    #[test]
    fn a_score_does_not_depend_on_the_cut(case in cases(), copies in 1usize..80) {
        let compute = Compute::new(case.isa, case.threads);
        let model = labeller(&case);
        let mut space = LabellerSpace::default();
        // Enough of them for several batches.
        let lengths = case.lengths.repeat(copies);
        let case = Case { lengths, ..case };
        let mut labels = labels(&case);
        if let Labels::Steps(labels) = &mut labels {
            let mut end = 0;
            for &length in &case.lengths {
                labels[end..end + length].fill(NO_LABEL);
                end += length;
                labels[end - 1] = (end % CLASSES) as u32;
            }
        }
        let all = Examples::new(content(&case, 0.0), case.lengths.clone(), labels);
        let together = score_labels(&compute, &model, &mut space, &all).unwrap();
        let starts = all.starts();
        let (mut batch, mut label_batch) = (SequenceBatch::default(), LabelBatch::default());
        let mut sum = 0.0;
        for at in 0..all.len() {
            all.fill(&[at], &starts, &mut batch);
            all.fill_labels(&[at], &starts, &batch.steps, &[], &mut label_batch);
            sum += model.loss(&compute, &mut space, &batch, &label_batch);
        }
        let expected: f64 = sum / all.len() as f64;
        prop_assert_eq!(together.loss_nats.to_bits(), expected.to_bits());
        prop_assert_eq!(together.confusion.total(), all.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn threads_and_instruction_sets_change_no_bit_of_a_labeller(case in cases()) {
        check_machines(&case);
    }
}

/// Large enough that every kernel gives work to each of three threads.
#[test]
fn nor_of_a_large_labeller() {
    for (kind, output, cell) in [
        (Kind::Spelt, Output::Steps, CellKind::Lstm),
        (Kind::Video, Output::Steps, CellKind::Gru),
        (Kind::Tokens, Output::Sequence, CellKind::Rnn),
        (Kind::Pictures, Output::Sequence, CellKind::Mlp),
    ] {
        let is_recurrent = cell != CellKind::Mlp;
        let lengths = match kind {
            Kind::Pictures => vec![20; 12],
            _ => (1..13).map(|at| 3 * at).collect(),
        };
        check_machines(&Case {
            kind,
            output,
            config: ModelConfig {
                embedding_size: 96,
                bidirectional: is_recurrent,
                layer_norm: is_recurrent,
                batch_norm: is_recurrent,
                dropout: 0.3,
                recurrent_dropout: if is_recurrent { 0.2 } else { 0.0 },
                ..plain(cell, 96, 2)
            },
            lengths,
            center: false,
            isa: Isa::detect(),
            threads: 1,
            seed: 3,
        });
    }
}

/// What reading a text by the plain network gives, as bits: losses, and the last state of each row.
fn read(
    model: &mut LanguageModel<f32>,
    compute: &Compute,
    text: TokenBatch<'_>,
    cuts: &[usize],
) -> (Vec<u64>, Vec<Vec<u32>>) {
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(text.batch);
    let (mut losses, mut at) = (Vec::new(), 0);
    let mut cuts = cuts.iter().cycle();
    while at < text.inputs.len() {
        let steps = cuts.next().copied().unwrap_or(1);
        let end = (at + steps * text.batch).min(text.inputs.len());
        let chunk = TokenBatch {
            inputs: &text.inputs[at..end],
            targets: &text.targets[at..end],
            batch: text.batch,
        };
        model.loss(compute, &mut space, chunk, &mut state);
        losses.extend(space.losses().iter().map(|loss| loss.to_bits()));
        at = end;
    }
    let states = (0..text.batch).map(|row| state_bits(&state, row));
    (losses, states.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_plain_network_reads_steps_and_chunks_as_the_whole(
        (hidden_size, num_layers, embedding_size) in (1usize..40, 1usize..4, 1usize..20),
        (window, tie_weights, detect) in (1usize..9, any::<bool>(), any::<bool>()),
        (vocab_size, batch, seq_len) in (1usize..30, 1usize..8, 1usize..14),
        cuts in prop::collection::vec(1usize..8, 3),
        (threads, seed) in (1usize..3, any::<u64>()),
    ) {
        let config = ModelConfig {
            embedding_size: if tie_weights { hidden_size } else { embedding_size },
            tie_weights,
            window,
            // Of no effect without a mask.
            dropout: 0.4,
            ..plain(CellKind::Mlp, hidden_size, num_layers)
        };
        let isa = if detect { Isa::detect() } else { Isa::SCALAR };
        let compute = Compute::new(isa, threads);
        let mut model = new_model(&config, vocab_size, seed);
        let rng = &mut rng(seed);
        let inputs = random_tokens(batch * seq_len, vocab_size, rng);
        let targets = random_tokens(batch * seq_len, vocab_size, rng);
        let text = TokenBatch { inputs: &inputs, targets: &targets, batch };
        let whole = read(&mut model, &compute, text, &[seq_len]);
        for cuts in [&cuts[..], &[1], &[2]] {
            prop_assert_eq!(&read(&mut model, &compute, text, cuts), &whole, "chunks of {:?}", cuts);
        }
        // The forward half of a training step.
        let (mut space, mut state) = (LanguageModelSpace::default(), model.zero_state(batch));
        model.loss_and_gradients(&compute, &mut space, text, &mut state, None);
        let losses: Vec<u64> = space.losses().iter().map(|loss| loss.to_bits()).collect();
        prop_assert_eq!(&losses, &whole.0);
        // A row alone, token by token.
        let mut stream = Stream::new(&mut model, isa);
        for row in 0..batch {
            stream.reset();
            for at in (row..inputs.len()).step_by(batch) {
                let scores = stream.step(inputs[at]).to_vec();
                let mut logits = Panels::new(1, scores.len());
                logits.copy_from_rows(0, &scores);
                let mut loss = [0.0];
                let single = Compute::single(isa);
                softmax_cross_entropy(&single, &mut logits, &targets[at..=at], None, &mut loss);
                prop_assert_eq!(loss[0].to_bits(), whole.0[at]);
            }
            prop_assert_eq!(&state_bits(stream.state(), 0), &whole.1[row]);
        }
    }
}

/// Zeros would stay zeros under `max(0, x)`: every layer must have been drawn, and every layer must learn.
#[test]
fn the_plain_network_begins_with_weights_that_learn() {
    let config = ModelConfig {
        nonlinearity: Nonlinearity::Relu,
        window: 3,
        ..plain(CellKind::Mlp, 20, 2)
    };
    let mut model = new_model(&config, 8, 1);
    let tokens = random_tokens(60, 8, &mut rng(1));
    let text = TokenBatch {
        inputs: &tokens,
        targets: &tokens,
        batch: 3,
    };
    let mut state = model.zero_state(3);
    let compute = Compute::single(Isa::detect());
    model.loss_and_gradients(
        &compute,
        &mut LanguageModelSpace::default(),
        text,
        &mut state,
        None,
    );
    model.visit(&mut |parameter| {
        assert!(
            parameter.value.iter().any(|&x| x != 0.0),
            "{} is zero",
            parameter.name
        );
        assert!(
            parameter.grad.iter().any(|&x| x != 0.0),
            "{} does not learn",
            parameter.name
        );
    });
}
