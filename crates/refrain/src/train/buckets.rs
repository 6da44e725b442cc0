//! Batches of examples of any lengths: neighbours in a batch are of like length, so that little is padded or waits.

use rand::seq::SliceRandom;

use super::{Purpose, keyed_rng};

/// Batches whose examples are sorted by length together.
const POOL: usize = 50;

/// How the examples of an epoch become batches: shuffled by (seed, epoch), cut into pools of fifty batches, each pool sorted
/// by length and cut into batches, and all batches shuffled.
///
/// Every example is in one batch of an epoch; the last one may be smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlan {
    lengths: Vec<usize>,
    batch: usize,
    seed: u64,
    epoch: Option<u64>,
    batches: Vec<Vec<usize>>,
}

impl BucketPlan {
    /// A plan for examples of these lengths.
    ///
    /// # Panics
    /// If there is no example or `batch` is 0.
    #[must_use]
    pub fn new(lengths: Vec<usize>, batch: usize, seed: u64) -> Self {
        assert!(
            !lengths.is_empty() && batch > 0,
            "{} examples in batches of {batch}",
            lengths.len()
        );
        Self {
            lengths,
            batch,
            seed,
            epoch: None,
            batches: Vec::new(),
        }
    }

    /// Gradient steps in one pass over the examples.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.batch) as u64
    }

    /// The examples of a step (from 0), by falling length.
    pub fn batch(&mut self, step: u64) -> &[usize] {
        let epoch = step / self.steps_per_epoch();
        if self.epoch != Some(epoch) {
            self.order_epoch(epoch);
        }
        &self.batches[(step % self.steps_per_epoch()) as usize]
    }

    fn order_epoch(&mut self, epoch: u64) {
        let mut rng = keyed_rng(self.seed, Purpose::Shuffle, epoch);
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        order.shuffle(&mut rng);
        self.batches.clear();
        for pool in order.chunks_mut(POOL * self.batch) {
            // Stable: examples of one length stay in their drawn order.
            pool.sort_by(|&a, &b| self.lengths[b].cmp(&self.lengths[a]));
            self.batches
                .extend(pool.chunks(self.batch).map(<[usize]>::to_vec));
        }
        self.batches.shuffle(&mut rng);
        self.epoch = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_example_once_in_batches_of_like_length() {
        let lengths: Vec<usize> = (0..1003).map(|at| 1 + at * 7 % 90).collect();
        let mut plan = BucketPlan::new(lengths.clone(), 8, 3);
        assert_eq!(plan.steps_per_epoch(), 126);
        let mut epochs = Vec::new();
        for epoch in 0..2 {
            let (mut seen, mut spread) = (Vec::new(), 0);
            for step in 0..126 {
                let batch = plan.batch(126 * epoch + step);
                assert!(
                    batch
                        .windows(2)
                        .all(|pair| lengths[pair[0]] >= lengths[pair[1]])
                );
                spread += lengths[batch[0]] - lengths[batch[batch.len() - 1]];
                seen.extend_from_slice(batch);
            }
            assert!(spread < 126 * 4, "lengths differ by {spread} over an epoch");
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..1003).collect::<Vec<_>>());
            epochs.push(seen);
        }
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn a_step_depends_on_its_number_alone() {
        let lengths: Vec<usize> = (1..50).collect();
        let mut plan = BucketPlan::new(lengths.clone(), 4, 1);
        let later = plan.batch(40).to_vec();
        plan.batch(0);
        assert_eq!(plan.batch(40), later);
        assert_eq!(BucketPlan::new(lengths, 4, 1).batch(40), later);
    }
}
