//! Truncated backpropagation through time: how a long sequence of tokens becomes chunks for gradient steps.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Purpose, keyed_rng};
use crate::error::{Error, Result};

/// How a text is cut: `batch` streams side by side, each in chunks of `seq_len` steps.
///
/// With the state carried, a stream's chunks follow each other, and the hidden state at the end of one is the initial state
/// of the next; gradients stop at the border. At the end of an epoch the states return to zero. Without it, chunks come in a
/// shuffled order and start from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlan {
    batch: usize,
    seq_len: usize,
    carry_state: bool,
    /// Tokens of each stream that have a successor.
    stream: usize,
    seed: u64,
    /// The epoch whose order is in `order`, with where its streams start.
    epoch: Option<u64>,
    phase: usize,
    order: Vec<u32>,
}

/// What was made smaller because the text is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The batch that was asked for and the one that is used.
    pub batch: (usize, usize),
    /// The same for the steps of a chunk.
    pub seq_len: (usize, usize),
}

impl ChunkPlan {
    /// A plan for `tokens` tokens; `seq_len` `None` is the whole stream in one chunk.
    ///
    /// A text too short for `batch` streams of a chunk gets fewer streams, then a shorter chunk, and the second result says
    /// so.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there are fewer than two tokens.
    pub fn new(
        tokens: usize,
        batch: usize,
        seq_len: Option<usize>,
        carry_state: bool,
        seed: u64,
    ) -> Result<(Self, Option<Shrunk>)> {
        if tokens < 2 {
            return Err(Error::Unusable {
                problem: format!(
                    "the training part has {tokens} tokens; two are the least that can be learnt from"
                ),
                hint: "give a longer text, or a smaller `--validation` part".into(),
            });
        }
        let pairs = tokens - 1;
        let asked = (
            batch.max(1),
            seq_len.unwrap_or(pairs / batch.clamp(1, pairs)),
        );
        let (batch, seq_len) = match seq_len {
            Some(seq_len) => {
                let seq_len = seq_len.clamp(1, pairs);
                (asked.0.min(pairs / seq_len), seq_len)
            }
            None => {
                let batch = asked.0.min(pairs);
                (batch, pairs / batch)
            }
        };
        let shrunk = ((batch, seq_len) != asked).then_some(Shrunk {
            batch: (asked.0, batch),
            seq_len: (asked.1, seq_len),
        });
        let plan = Self {
            batch,
            seq_len,
            carry_state,
            stream: pairs / batch,
            seed,
            epoch: None,
            phase: 0,
            order: Vec::new(),
        };
        Ok((plan, shrunk))
    }

    /// Rows.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Steps of a chunk.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Gradient steps in one pass over the text.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        (self.stream / self.seq_len) as u64
    }

    /// Whether the state returns to zero before this step (from 0).
    #[must_use]
    pub fn resets_before(&self, step: u64) -> bool {
        !self.carry_state || step.is_multiple_of(self.steps_per_epoch())
    }

    /// The tokens of a step (from 0), time by time, and those that follow them.
    ///
    /// # Panics
    /// If `tokens` is shorter than the text that the plan was made for.
    pub fn fill(
        &mut self,
        step: u64,
        tokens: &[u32],
        inputs: &mut Vec<u32>,
        targets: &mut Vec<u32>,
    ) {
        let (epoch, index) = (
            step / self.steps_per_epoch(),
            (step % self.steps_per_epoch()) as usize,
        );
        if self.epoch != Some(epoch) {
            self.order_epoch(epoch);
        }
        inputs.clear();
        targets.clear();
        for t in 0..self.seq_len {
            for row in 0..self.batch {
                let at = self.start_of(index, row) + t;
                inputs.push(tokens[at]);
                targets.push(tokens[at + 1]);
            }
        }
    }

    /// Where the chunk of a row begins in the text.
    fn start_of(&self, index: usize, row: usize) -> usize {
        if self.carry_state {
            return row * self.stream + self.phase + index * self.seq_len;
        }
        let chunks = self.stream / self.seq_len;
        let chunk = self.order[index * self.batch + row] as usize;
        chunk / chunks * self.stream + self.phase + chunk % chunks * self.seq_len
    }

    /// Draws where an epoch's streams start, so that chunk borders fall elsewhere each time and the rest that fills no chunk
    /// is not always the same; and, without a carried state, the order of the chunks.
    fn order_epoch(&mut self, epoch: u64) {
        let mut rng = keyed_rng(self.seed, Purpose::Shuffle, epoch);
        self.phase = rng.random_range(0..=self.stream % self.seq_len);
        self.order.clear();
        if !self.carry_state {
            self.order
                .extend(0..(self.batch * (self.stream / self.seq_len)) as u32);
            self.order.shuffle(&mut rng);
        }
        self.epoch = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_a_stream_follow_each_other() {
        let text: Vec<u32> = (0..100).collect();
        let (mut plan, shrunk) = ChunkPlan::new(100, 3, Some(10), true, 1).unwrap();
        assert_eq!((plan.steps_per_epoch(), shrunk), (3, None));
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut ends: Option<Vec<u32>> = None;
        for step in 0..6 {
            plan.fill(step, &text, &mut inputs, &mut targets);
            assert!(inputs.iter().zip(&targets).all(|(x, y)| x + 1 == *y));
            if plan.resets_before(step) {
                ends = None;
            }
            if let Some(ends) = &ends {
                assert_eq!(inputs[..3], ends[..]);
            }
            ends = Some(targets[27..].to_vec());
        }
    }

    #[test]
    fn shuffled_chunks_cover_an_epoch_once_and_differ_by_epoch() {
        let text: Vec<u32> = (0..82).collect();
        let (mut plan, _) = ChunkPlan::new(82, 4, Some(5), false, 9).unwrap();
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut epochs = Vec::new();
        for epoch in 0..2 {
            let mut seen = Vec::new();
            for index in 0..plan.steps_per_epoch() {
                plan.fill(
                    epoch * plan.steps_per_epoch() + index,
                    &text,
                    &mut inputs,
                    &mut targets,
                );
                seen.extend_from_slice(&inputs);
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), seen.len());
            epochs.push(seen);
        }
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn short_texts_shrink_the_batch_then_the_chunk() {
        let (plan, shrunk) = ChunkPlan::new(101, 64, Some(20), true, 0).unwrap();
        assert_eq!((plan.batch(), plan.seq_len()), (5, 20));
        assert_eq!(shrunk.unwrap().batch, (64, 5));
        let (plan, shrunk) = ChunkPlan::new(8, 64, Some(20), true, 0).unwrap();
        assert_eq!((plan.batch(), plan.seq_len()), (1, 7));
        assert_eq!(shrunk.unwrap().seq_len, (20, 7));
        let (plan, shrunk) = ChunkPlan::new(101, 4, None, true, 0).unwrap();
        assert_eq!((plan.batch(), plan.seq_len(), shrunk), (4, 25, None));
        let (plan, _) = ChunkPlan::new(2, 64, None, false, 0).unwrap();
        assert_eq!(
            (plan.batch(), plan.seq_len(), plan.steps_per_epoch()),
            (1, 1, 1)
        );
        assert!(ChunkPlan::new(1, 1, None, true, 0).is_err());
    }
}
