//! Looking inside a model: how far its gradients reach, what its recurrent matrices do to a state, how its gates stand.
//!
//! - [`gradients`]: `d loss_t / d h_(t-k)` against `k`, from one step's loss at a time.
//! - [`spectrum`]: the singular values and the spectral radius of every recurrent matrix.
//! - [`gates`]: how open gates are, and how often they are as good as shut.
//! - [`watch`]: all of that in short, while a model is trained.
//!
//! Gradients are computed in f64: [`wide`] makes a model of f64 of one that was trained. In f32 what has vanished would be
//! zero, and how fast it vanishes could not be told.

pub mod gates;
pub mod gradients;
pub mod spectrum;
pub mod watch;
pub mod wide;

use crate::nn::{Direction, Stack};
use refrain_kernels::Scalar;

/// The layers of a stack under their names, each with its place: `{owner}_l{layer}`, `_reverse` at the end for the reverse
/// direction, as in PyTorch's names of parameters.
fn named_layers<T: Scalar>(owner: &str, stack: &Stack<T>) -> Vec<(usize, Direction, String)> {
    let ways: &[(Direction, &str)] = if stack.is_bidirectional() {
        &[(Direction::Forward, ""), (Direction::Reverse, "_reverse")]
    } else {
        &[(Direction::Forward, "")]
    };
    let layers = 0..stack.num_layers();
    let named = layers.flat_map(|layer| {
        ways.iter()
            .map(move |&(way, suffix)| (layer, way, format!("{owner}_l{layer}{suffix}")))
    });
    named.collect()
}
