//! Steps = chunks = the whole sequence; a row of a batch = that row alone.

use proptest::prelude::*;
use refrain::models::{LanguageModel, LanguageModelSpace, ModelConfig, Stream, TokenBatch};
use refrain::nn::{CellKind, Nonlinearity, PackedLinear, StackState};
use refrain_kernels::{Compute, Isa, Panels, softmax_cross_entropy};

use crate::{CELLS, bits, new_model, plain, random_tokens, rng, state_bits};

#[derive(Clone, Debug)]
struct Case {
    config: ModelConfig,
    vocab_size: usize,
    batch: usize,
    seq_len: usize,
    /// Lengths of chunks, used over and over.
    cuts: Vec<usize>,
    isa: Isa,
    threads: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let cells = (0..CELLS.len(), any::<bool>(), any::<bool>(), any::<bool>());
    // Past one and two groups of sixteen units; batches past every tile of rows.
    let sizes = (1usize..40, 1usize..4, 1usize..20, 1usize..40);
    let shapes = (1usize..10, 1usize..14, prop::collection::vec(1usize..8, 3));
    (cells, sizes, shapes, 1usize..3, any::<u64>()).prop_map(
        |((cell, relu, tie_weights, detect), sizes, shapes, threads, seed)| {
            let (hidden_size, num_layers, embedding_size, vocab_size) = sizes;
            let (batch, seq_len, cuts) = shapes;
            let config = ModelConfig {
                nonlinearity: if relu && CELLS[cell] == CellKind::Rnn {
                    Nonlinearity::Relu
                } else {
                    Nonlinearity::Tanh
                },
                embedding_size: if tie_weights {
                    hidden_size
                } else {
                    embedding_size
                },
                tie_weights,
                // Of no effect without a mask.
                dropout: 0.4,
                ..plain(CELLS[cell], hidden_size, num_layers)
            };
            Case {
                config,
                vocab_size,
                batch,
                seq_len,
                cuts,
                isa: if detect { Isa::detect() } else { Isa::SCALAR },
                threads,
                seed,
            }
        },
    )
}

/// What a reading of a text gives, as bits.
#[derive(Debug, PartialEq)]
struct Reading {
    /// The loss of each token, step after step.
    losses: Vec<u64>,
    /// The hidden states of each layer, step after step.
    hidden: Vec<Vec<u32>>,
    /// The last state of each row.
    states: Vec<Vec<u32>>,
}

fn read(
    model: &mut LanguageModel<f32>,
    compute: &Compute,
    text: TokenBatch<'_>,
    cuts: &[usize],
) -> Reading {
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(text.batch);
    let (mut losses, mut hidden) = (Vec::new(), vec![Vec::new(); state.len()]);
    let (mut at, mut cuts) = (0, cuts.iter().cycle());
    while at < text.inputs.len() {
        let steps = cuts.next().copied().unwrap_or(1);
        let end = (at + steps * text.batch).min(text.inputs.len());
        let chunk = TokenBatch {
            inputs: &text.inputs[at..end],
            targets: &text.targets[at..end],
            batch: text.batch,
        };
        model.loss(compute, &mut space, chunk, &mut state);
        collect(&space, &mut losses, &mut hidden);
        at = end;
    }
    Reading {
        losses,
        hidden,
        states: states(&state, text.batch),
    }
}

fn collect(space: &LanguageModelSpace<f32>, losses: &mut Vec<u64>, hidden: &mut [Vec<u32>]) {
    losses.extend(space.losses().iter().map(|loss| loss.to_bits()));
    for (layer, hidden) in hidden.iter_mut().enumerate() {
        let panels = space.hidden(layer);
        hidden.extend(bits(&panels.to_rows(0, panels.rows())));
    }
}

fn states(state: &StackState<f32>, batch: usize) -> Vec<Vec<u32>> {
    (0..batch).map(|row| state_bits(state, row)).collect()
}

/// The same by the forward half of a training step.
fn read_in_training(
    model: &mut LanguageModel<f32>,
    compute: &Compute,
    text: TokenBatch<'_>,
) -> Reading {
    let mut space = LanguageModelSpace::default();
    let mut state = model.zero_state(text.batch);
    model.loss_and_gradients(compute, &mut space, text, &mut state, None);
    let (mut losses, mut hidden) = (Vec::new(), vec![Vec::new(); state.len()]);
    collect(&space, &mut losses, &mut hidden);
    Reading {
        losses,
        hidden,
        states: states(&state, text.batch),
    }
}

/// Every `batch`th token, from `row` on.
fn row_of(tokens: &[u32], row: usize, batch: usize) -> Vec<u32> {
    tokens.iter().skip(row).step_by(batch).copied().collect()
}

/// The scores of a whole sequence, row after row, from the highest hidden states.
fn scores_of_whole(
    model: &LanguageModel<f32>,
    compute: &Compute,
    space: &LanguageModelSpace<f32>,
) -> Vec<Vec<u32>> {
    let mut packed = PackedLinear::default();
    model.linear.pack(&mut packed, false);
    let top = space.hidden(model.config.num_layers - 1);
    let mut scores = Panels::default();
    model.linear.forward(compute, &packed, top, &mut scores);
    (0..top.rows())
        .map(|row| bits(&scores.to_rows(row, 1)))
        .collect()
}

/// A [`Stream`] against the whole sequence: scores, losses and hidden states after every token of every row.
fn check_stream(
    model: &mut LanguageModel<f32>,
    compute: &Compute,
    text: TokenBatch<'_>,
) -> Result<(), TestCaseError> {
    let batch = text.batch;
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(batch);
    model.loss(compute, &mut space, text, &mut state);
    let scores = scores_of_whole(model, compute, &space);
    let layers = model.config.num_layers;
    let mut stream = Stream::new(model, compute.isa());
    for row in 0..batch {
        stream.reset();
        for (at, &token) in text.inputs.iter().enumerate().skip(row).step_by(batch) {
            let found = stream.step(token).to_vec();
            prop_assert_eq!(&bits(&found), &scores[at], "scores of row {}", row);
            let mut logits = Panels::new(1, found.len());
            logits.copy_from_rows(0, &found);
            let mut loss = [0.0];
            let single = Compute::single(compute.isa());
            softmax_cross_entropy(
                &single,
                &mut logits,
                &text.targets[at..=at],
                None,
                &mut loss,
            );
            prop_assert_eq!(loss[0].to_bits(), space.losses()[at].to_bits());
            for layer in 0..layers {
                let h = &stream.state()[layer].h;
                let expected = bits(&space.hidden(layer).to_rows(at, 1));
                prop_assert_eq!(
                    bits(&h.to_rows(0, 1)),
                    expected,
                    "hidden of layer {}",
                    layer
                );
            }
        }
        prop_assert_eq!(state_bits(stream.state(), 0), state_bits(&state, row));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn steps_and_chunks_are_the_whole_sequence(case in cases()) {
        let rng = &mut rng(case.seed);
        let mut model = new_model(&case.config, case.vocab_size, case.seed);
        let count = case.batch * case.seq_len;
        let (inputs, targets) = (
            random_tokens(count, case.vocab_size, rng),
            random_tokens(count, case.vocab_size, rng),
        );
        let text = TokenBatch { inputs: &inputs, targets: &targets, batch: case.batch };
        let compute = Compute::new(case.isa, case.threads);
        let whole = read(&mut model, &compute, text, &[case.seq_len]);
        prop_assert_eq!(whole.losses.len(), count);
        for cuts in [&case.cuts[..], &[1], &[2]] {
            prop_assert_eq!(&read(&mut model, &compute, text, cuts), &whole, "chunks of {:?}", cuts);
        }
        prop_assert_eq!(&read_in_training(&mut model, &compute, text), &whole);
        check_stream(&mut model, &compute, text)?;
    }

    #[test]
    fn a_row_of_a_batch_is_that_row_alone(case in cases()) {
        let rng = &mut rng(case.seed);
        let mut model = new_model(&case.config, case.vocab_size, case.seed);
        let count = case.batch * case.seq_len;
        let (inputs, targets) = (
            random_tokens(count, case.vocab_size, rng),
            random_tokens(count, case.vocab_size, rng),
        );
        let text = TokenBatch { inputs: &inputs, targets: &targets, batch: case.batch };
        let compute = Compute::new(case.isa, case.threads);
        let all = read(&mut model, &compute, text, &case.cuts);
        for row in 0..case.batch {
            let (inputs, targets) = (
                row_of(&inputs, row, case.batch),
                row_of(&targets, row, case.batch),
            );
            let text = TokenBatch { inputs: &inputs, targets: &targets, batch: 1 };
            let alone = read(&mut model, &compute, text, &case.cuts);
            let losses: Vec<u64> =
                all.losses.iter().skip(row).step_by(case.batch).copied().collect();
            prop_assert_eq!(&alone.losses, &losses, "losses of row {}", row);
            for (alone, all) in alone.hidden.iter().zip(&all.hidden) {
                let size = case.config.hidden_size;
                let hidden: Vec<u32> =
                    all.chunks(size).skip(row).step_by(case.batch).flatten().copied().collect();
                prop_assert_eq!(alone, &hidden, "hidden states of row {}", row);
            }
            prop_assert_eq!(&alone.states[0], &all.states[row]);
        }
    }
}
