//! One answer on every machine: threads and instruction sets change no bit of a training run.

use proptest::prelude::*;
use proptest::sample;
use refrain::models::{LanguageModelSpace, ModelConfig, TokenBatch};
use refrain::nn::CellKind;
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain_kernels::{Compute, DropoutKey};

use crate::{CELLS, instruction_sets, new_model, parameter_bits, plain, random_tokens, rng};

#[derive(Clone, Debug)]
struct Recipe {
    config: ModelConfig,
    optimizer: OptimizerKind,
    vocab_size: usize,
    batch: usize,
    seq_len: usize,
    steps: u64,
    seed: u64,
}

/// All that a run leaves, as bits.
#[derive(PartialEq)]
struct Trained {
    losses: Vec<u64>,
    norms: Vec<u64>,
    parameters: Vec<u32>,
    clipped: u64,
}

/// Training steps with dropout, clipping and a carried state.
fn train(compute: &Compute, recipe: &Recipe) -> Trained {
    let rng = &mut rng(recipe.seed);
    let mut model = new_model(&recipe.config, recipe.vocab_size, recipe.seed);
    let settings = OptimizerConfig {
        kind: recipe.optimizer,
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 0.01,
        clip_norm: Some(0.05),
        schedule: Schedule::Cosine,
        warmup_steps: 2,
    };
    let mut optimizer = Optimizer::new(&settings, &model);
    let mut space = LanguageModelSpace::default();
    let mut state = model.zero_state(recipe.batch);
    let mut trained = Trained {
        losses: Vec::new(),
        norms: Vec::new(),
        parameters: Vec::new(),
        clipped: 0,
    };
    for step in 0..recipe.steps {
        let count = recipe.batch * recipe.seq_len;
        let inputs = random_tokens(count, recipe.vocab_size, rng);
        let targets = random_tokens(count, recipe.vocab_size, rng);
        let batch = TokenBatch {
            inputs: &inputs,
            targets: &targets,
            batch: recipe.batch,
        };
        let mask = DropoutKey {
            seed: recipe.seed,
            step,
            layer: 0,
        };
        let loss = model.loss_and_gradients(compute, &mut space, batch, &mut state, Some(mask));
        let norm = gradient_norm(compute, &model);
        let update = optimizer.clip(norm);
        let learning_rate = optimizer.learning_rate(step + 1, step as f64 / recipe.steps as f64);
        optimizer.update(compute, &mut model, step + 1, learning_rate, update);
        trained.losses.push(loss.to_bits());
        trained.norms.push(norm.to_bits());
        trained.clipped += u64::from(update.clipped());
    }
    trained.parameters = parameter_bits(&model);
    trained
}

/// Trains on one thread, two and three, with every instruction set; gives the clipped steps.
fn check(recipe: &Recipe) -> u64 {
    let mut first: Option<Trained> = None;
    for isa in instruction_sets() {
        for threads in 1..=3 {
            let trained = train(&Compute::new(isa, threads), recipe);
            let Some(first) = &first else {
                first = Some(trained);
                continue;
            };
            let label = format!("{} with {threads} threads, {recipe:?}", isa.name());
            assert!(first.losses == trained.losses, "losses: {label}");
            assert!(first.norms == trained.norms, "gradient norms: {label}");
            assert!(
                first.parameters == trained.parameters,
                "parameters: {label}"
            );
        }
    }
    first.map_or(0, |first| first.clipped)
}

/// Large enough that every kernel gives work to each of three threads.
#[test]
fn threads_and_instruction_sets_change_no_bit_of_a_large_model() {
    for (&optimizer, &cell) in OptimizerKind::ALL.iter().zip(CELLS.iter().cycle()) {
        let lstm = cell == CellKind::Lstm;
        let recipe = Recipe {
            config: ModelConfig {
                dropout: 0.3,
                embedding_size: if lstm { 160 } else { 24 },
                tie_weights: lstm,
                // 98,304 elements of a matrix are three threads' worth of updates.
                ..plain(cell, if lstm { 160 } else { 320 }, 2)
            },
            optimizer,
            vocab_size: 70,
            batch: 20,
            seq_len: 11,
            steps: 3,
            seed: 7,
        };
        assert!(check(&recipe) > 0, "{cell}: nothing was clipped");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn nor_of_the_plain_network(
        optimizer in sample::select(OptimizerKind::ALL),
        (hidden_size, num_layers, embedding_size) in (1usize..40, 1usize..4, 1usize..12),
        (window, tie_weights) in (1usize..9, any::<bool>()),
        (vocab_size, batch, seq_len) in (1usize..40, 1usize..14, 1usize..12),
        seed in any::<u64>(),
    ) {
        check(&Recipe {
            config: ModelConfig {
                dropout: 0.3,
                embedding_size: if tie_weights { hidden_size } else { embedding_size },
                tie_weights,
                window,
                ..plain(CellKind::Mlp, hidden_size, num_layers)
            },
            optimizer,
            vocab_size,
            batch,
            seq_len,
            steps: 3,
            seed,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_and_instruction_sets_change_no_bit(
        (cell, optimizer, tie_weights) in (0usize..3, sample::select(OptimizerKind::ALL), any::<bool>()),
        (hidden_size, num_layers, embedding_size) in (1usize..70, 1usize..4, 1usize..20),
        (vocab_size, batch, seq_len) in (1usize..40, 1usize..14, 1usize..12),
        seed in any::<u64>(),
    ) {
        check(&Recipe {
            config: ModelConfig {
                dropout: 0.3,
                embedding_size: if tie_weights { hidden_size } else { embedding_size },
                tie_weights,
                ..plain(CELLS[cell], hidden_size, num_layers)
            },
            optimizer,
            vocab_size,
            batch,
            seq_len,
            steps: 4,
            seed,
        });
    }
}
