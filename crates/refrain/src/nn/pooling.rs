use refrain_kernels::{Block, GROUP, Panels, Scalar};
use serde::{Deserialize, Serialize};

use super::Steps;
use crate::names::named;

/// How the outputs of a sequence become one vector.
///
/// ```text
/// last: y = h_last           of a bidirectional stack: (h of the last step forwards, h of the first step in reverse)
/// mean: y = (h_0 + h_1 + … + h_last) / steps          one chain, then one division
/// max:  y = the greatest of h_0, …, h_last, number by number; ties to the first
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// What each direction gives when it has read all.
    Last,
    /// The mean over the sequence's own steps.
    Mean,
    /// The greatest over the sequence's own steps.
    Max,
}

named!(Pooling, "pooling", { Last => "last", Mean => "mean", Max => "max" });

/// What a backward pass of pooling needs to know of the forward pass.
#[derive(Clone, Debug, Default)]
pub struct PoolingSpace {
    /// For max: the row of each of sixteen numbers, group by group, sequence by sequence.
    winners: Vec<[u32; GROUP]>,
    lengths: Vec<usize>,
}

impl PoolingSpace {
    fn set_lengths(&mut self, steps: &Steps) {
        self.lengths.clear();
        self.lengths.resize(steps.batch(), 0);
        for rows in steps.offsets().windows(2) {
            for length in &mut self.lengths[..rows[1] - rows[0]] {
                *length += 1;
            }
        }
    }
}

/// The lanes of a group that belong to the forward direction.
fn forward_lanes(group: usize, reverse_from: Option<usize>) -> usize {
    let from = reverse_from.unwrap_or(usize::MAX);
    from.saturating_sub(group * GROUP).min(GROUP)
}

/// One vector of each sequence's outputs. A sequence alone gives the same bits as in a batch.
///
/// # Shapes
/// `x`: rows over time × features, `y` becomes batch × features. `reverse_from` is the first feature of the reverse
/// direction, where there is one; only `last` asks.
///
/// # Panics
/// If the rows are not those of `steps`.
pub fn pool_forward<T: Scalar>(
    pooling: Pooling,
    steps: &Steps,
    reverse_from: Option<usize>,
    x: &Panels<T>,
    y: &mut Panels<T>,
    space: &mut PoolingSpace,
) {
    let (rows, batch) = (steps.rows(), steps.batch());
    assert_eq!(x.rows(), rows, "rows");
    assert!(u32::try_from(rows).is_ok(), "{rows} rows");
    y.resize(batch, x.columns());
    if batch == 0 {
        return;
    }
    space.set_lengths(steps);
    space.winners.clear();
    if pooling == Pooling::Max {
        space.winners.resize(y.groups() * batch, [0; GROUP]);
    }
    for group in 0..x.groups() {
        let from = &x.blocks()[group * rows..][..rows];
        let to = &mut y.blocks_mut()[group * batch..][..batch];
        match pooling {
            Pooling::Last => {
                let lanes = forward_lanes(group, reverse_from);
                for (row, to) in to.iter_mut().enumerate() {
                    let last = steps.offsets()[space.lengths[row] - 1] + row;
                    to.0[..lanes].copy_from_slice(&from[last].0[..lanes]);
                    to.0[lanes..].copy_from_slice(&from[row].0[lanes..]);
                }
            }
            Pooling::Mean => mean(steps, &space.lengths, from, to),
            Pooling::Max => max(
                steps,
                from,
                to,
                &mut space.winners[group * batch..][..batch],
            ),
        }
    }
}

fn mean<T: Scalar>(steps: &Steps, lengths: &[usize], from: &[Block<T>], to: &mut [Block<T>]) {
    to.copy_from_slice(&from[..to.len()]);
    for span in steps.offsets().windows(2).skip(1) {
        for (to, from) in to.iter_mut().zip(&from[span[0]..span[1]]) {
            for (to, &from) in to.0.iter_mut().zip(&from.0) {
                *to += from;
            }
        }
    }
    for (to, &length) in to.iter_mut().zip(lengths) {
        let length = T::from_f64(length as f64);
        to.0 = to.0.map(|sum| sum / length);
    }
}

/// What is not a number counts as the greatest, so that it is seen.
fn max<T: Scalar>(
    steps: &Steps,
    from: &[Block<T>],
    to: &mut [Block<T>],
    winners: &mut [[u32; GROUP]],
) {
    for (row, (to, winner)) in to.iter_mut().zip(winners.iter_mut()).enumerate() {
        *to = from[row];
        *winner = [row as u32; GROUP];
    }
    for span in steps.offsets().windows(2).skip(1) {
        for (row, at) in (span[0]..span[1]).enumerate() {
            let best = to[row].0.iter_mut().zip(&mut winners[row]);
            for ((best, winner), &value) in best.zip(&from[at].0) {
                if value > *best || value.partial_cmp(&value).is_none() {
                    *best = value;
                    *winner = at as u32;
                }
            }
        }
    }
}

/// The backward pass of [`pool_forward`]: every row of `d_x` is written.
///
/// # Shapes
/// `d_y`: batch × features, `d_x` becomes rows over time × features.
///
/// # Panics
/// If the shapes or `pooling` are not those of the forward pass.
pub fn pool_backward<T: Scalar>(
    pooling: Pooling,
    steps: &Steps,
    reverse_from: Option<usize>,
    d_y: &Panels<T>,
    d_x: &mut Panels<T>,
    space: &PoolingSpace,
) {
    let (rows, batch) = (steps.rows(), steps.batch());
    assert_eq!(d_y.rows(), batch, "batch");
    d_x.reset(rows, d_y.columns());
    if batch == 0 {
        return;
    }
    assert_eq!(space.lengths.len(), batch, "batch of the forward pass");
    for group in 0..d_y.groups() {
        let from = &d_y.blocks()[group * batch..][..batch];
        let to = &mut d_x.blocks_mut()[group * rows..][..rows];
        match pooling {
            Pooling::Last => {
                let lanes = forward_lanes(group, reverse_from);
                for (row, from) in from.iter().enumerate() {
                    let last = steps.offsets()[space.lengths[row] - 1] + row;
                    to[last].0[..lanes].copy_from_slice(&from.0[..lanes]);
                    to[row].0[lanes..].copy_from_slice(&from.0[lanes..]);
                }
            }
            Pooling::Mean => {
                for (row, from) in from.iter().enumerate() {
                    let length = T::from_f64(space.lengths[row] as f64);
                    let share = from.0.map(|d| d / length);
                    for offset in &steps.offsets()[..space.lengths[row]] {
                        to[offset + row].0 = share;
                    }
                }
            }
            Pooling::Max => {
                let winners = &space.winners[group * batch..][..batch];
                for (from, winner) in from.iter().zip(winners) {
                    for (lane, &winner) in winner.iter().enumerate() {
                        to[winner as usize].0[lane] = from.0[lane];
                    }
                }
            }
        }
    }
}
