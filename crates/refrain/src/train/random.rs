use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

/// What random numbers are for. Each use has streams of its own, so that drawing a sample never moves a shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Weights,
    /// The order of an epoch's data.
    Shuffle,
    /// Samples drawn from a model, while it is trained (numbered by step) and after (numbered from 0).
    Sample,
    /// How the inputs of a step are varied: which words are read as unknown, how pictures are moved.
    Inputs,
}

/// A generator keyed by (seed, purpose, number): the same wherever and whenever it is asked for.
///
/// # Examples
///
/// ```
/// use rand::Rng;
/// use refrain::train::{Purpose, keyed_rng};
///
/// let draw = |epoch| keyed_rng(1, Purpose::Shuffle, epoch).next_u64();
/// assert_eq!(draw(3), draw(3));
/// assert_ne!(draw(3), draw(4));
/// ```
#[must_use]
pub fn keyed_rng(seed: u64, purpose: Purpose, number: u64) -> ChaCha12Rng {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    // Four purposes to a number; ChaCha has 2^64 independent streams for each seed.
    rng.set_stream(number.wrapping_mul(4).wrapping_add(purpose as u64));
    rng
}
