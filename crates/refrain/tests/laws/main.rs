//! What holds whatever the sizes, the numbers and the machine: one answer, bit for bit, from every way to it.
//!
//! One binary, since each would compile the kernels again.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

mod chunks;
mod digests;
mod forecast;
mod hostile;
mod labels;
mod machines;
mod model_files;
mod plans;
mod stacks;
mod training;
mod writers;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::models::{LanguageModel, ModelConfig};
use refrain::nn::{CellKind, Init, Nonlinearity, Parameters, StackState};
use refrain_kernels::Isa;

pub(crate) const CELLS: [CellKind; 3] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm];

/// The instruction sets of this machine; the others are named as skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub(crate) fn instruction_sets() -> Vec<Isa> {
    let sets = Isa::available();
    for name in ["scalar", "avx2", "avx512"] {
        if sets.iter().all(|isa| isa.name() != name) {
            eprintln!("skipped: this processor has no `{name}`");
        }
    }
    sets
}

pub(crate) fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

pub(crate) fn random_tokens(count: usize, vocab_size: usize, rng: &mut ChaCha12Rng) -> Vec<u32> {
    (0..count)
        .map(|_| rng.random_range(0..vocab_size as u32))
        .collect()
}

/// An architecture with nothing special about it.
pub(crate) fn plain(cell: CellKind, hidden_size: usize, num_layers: usize) -> ModelConfig {
    ModelConfig {
        cell,
        nonlinearity: Nonlinearity::Tanh,
        hidden_size,
        num_layers,
        embedding_size: 6,
        dropout: 0.0,
        tie_weights: false,
        init: Init::Uniform,
        forget_bias: (cell == CellKind::Lstm).then_some(1.0),
        ..ModelConfig::default()
    }
}

/// Numbers as what must be the same: NaN equals itself, 0 is not -0.
pub(crate) fn bits<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<u32> {
    values.into_iter().map(|x| x.to_bits()).collect()
}

/// The bits of all trainable numbers.
pub(crate) fn parameter_bits(model: &dyn Parameters<f32>) -> Vec<u32> {
    let mut all = Vec::new();
    model.visit(&mut |parameter| all.extend(bits(&parameter.value)));
    all
}

/// The bits of one row of the states of all layers.
pub(crate) fn state_bits(state: &StackState<f32>, row: usize) -> Vec<u32> {
    let mut all = Vec::new();
    for part in state {
        all.extend(bits(&part.h.to_rows(row, 1)));
        if part.c.rows() > 0 {
            all.extend(bits(&part.c.to_rows(row, 1)));
        }
    }
    all
}

pub(crate) fn new_model(config: &ModelConfig, vocab_size: usize, seed: u64) -> LanguageModel<f32> {
    LanguageModel::new(config, vocab_size, &mut rng(seed))
}
