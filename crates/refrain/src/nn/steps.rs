use std::ops::Range;

use refrain_kernels::RowRun;

/// The rows of a packed batch of sequences: at step t the rows `offsets[t]..offsets[t + 1]`, sorted by falling length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    offsets: Vec<usize>,
    /// Rows of each step, last step first.
    runs: Vec<RowRun>,
    /// For each step but the first, last first: the rows of the step before against those of the step.
    shifted: Vec<RowRun>,
}

impl Steps {
    /// `batch` sequences of `seq_len` steps.
    #[must_use]
    pub fn uniform(seq_len: usize, batch: usize) -> Self {
        let mut steps = Self::default();
        steps.set_uniform(seq_len, batch);
        steps
    }

    /// The same, in place.
    pub fn set_uniform(&mut self, seq_len: usize, batch: usize) {
        let is_that = self.rows() == seq_len * batch;
        if is_that && self.len() == seq_len && self.batch() == batch {
            return;
        }
        self.offsets.clear();
        self.offsets.extend((0..=seq_len).map(|t| t * batch));
        self.find_runs();
    }

    /// Sequences of the given lengths, which must not rise.
    ///
    /// # Panics
    /// If a length is 0 or greater than the one before it.
    #[must_use]
    pub fn of_lengths(lengths: &[usize]) -> Self {
        assert!(
            lengths.windows(2).all(|pair| pair[0] >= pair[1]),
            "lengths must not rise"
        );
        assert!(
            lengths.last().is_none_or(|&last| last > 0),
            "no sequence may be empty"
        );
        let mut offsets = vec![0];
        let mut total = 0;
        for t in 0..lengths.first().copied().unwrap_or(0) {
            total += lengths.iter().take_while(|&&length| length > t).count();
            offsets.push(total);
        }
        let mut steps = Self {
            offsets,
            ..Self::default()
        };
        steps.find_runs();
        steps
    }

    fn find_runs(&mut self) {
        self.runs.clear();
        self.shifted.clear();
        for t in (0..self.len()).rev() {
            let (at, rows) = (self.offsets[t], self.offsets[t + 1] - self.offsets[t]);
            self.runs.push(RowRun { a: at, b: at, rows });
            if t > 0 {
                self.shifted.push(RowRun {
                    a: self.offsets[t - 1],
                    b: at,
                    rows,
                });
            }
        }
    }

    /// First row of each step, and the number of all rows.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Steps of the longest sequence.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.offsets.get(1).copied().unwrap_or(0)
    }

    /// Rows of all steps.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// The rows of each step, last step first: the order of a weight gradient's chain.
    pub(crate) fn runs(&self) -> &[RowRun] {
        &self.runs
    }

    /// The rows of each step but the first against those of the step before, last step first; then the first step's
    /// against the initial state.
    pub(crate) fn runs_shifted(&self) -> (&[RowRun], RowRun) {
        (
            &self.shifted,
            RowRun {
                a: 0,
                b: 0,
                rows: self.batch(),
            },
        )
    }

    /// For each row of each step the row of the same sequence that has as many steps after it as this one has before it: the
    /// order in which a reverse layer reads. The same index leads back.
    pub(crate) fn reversed(&self, index: &mut Vec<u32>) {
        assert!(u32::try_from(self.rows()).is_ok(), "{} rows", self.rows());
        index.clear();
        index.resize(self.rows(), 0);
        for (sequences, last) in self.last_rows() {
            for row in sequences.clone() {
                // The last row lies in the step before which there are as many as the sequence is long, less one.
                let last = last + row - sequences.start;
                let length = self.offsets.partition_point(|&at| at <= last);
                for t in 0..length {
                    index[self.offsets[t] + row] = (self.offsets[length - 1 - t] + row) as u32;
                }
            }
        }
    }

    /// For ranges of sequences: where the rows of their last steps begin.
    pub(crate) fn last_rows(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        (0..self.len()).filter_map(|t| {
            let live = self.offsets[t + 1] - self.offsets[t];
            let next = self
                .offsets
                .get(t + 2)
                .map_or(0, |end| end - self.offsets[t + 1]);
            (next < live).then(|| (next..live, self.offsets[t] + next))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_give_offsets_and_last_rows() {
        let steps = Steps::of_lengths(&[3, 3, 1]);
        assert_eq!(steps.offsets(), [0, 3, 5, 7]);
        assert_eq!(
            steps.last_rows().collect::<Vec<_>>(),
            [(2..3, 2), (0..2, 5)]
        );
        assert_eq!(
            steps.runs()[0],
            RowRun {
                a: 5,
                b: 5,
                rows: 2
            }
        );
        assert_eq!(
            steps.runs_shifted().0,
            [
                RowRun {
                    a: 3,
                    b: 5,
                    rows: 2
                },
                RowRun {
                    a: 0,
                    b: 3,
                    rows: 2
                }
            ]
        );
        assert_eq!(Steps::of_lengths(&[2, 2]), Steps::uniform(2, 2));
        let mut index = Vec::new();
        steps.reversed(&mut index);
        assert_eq!(index, [5, 6, 2, 3, 4, 0, 1]);
    }

    #[test]
    fn uniform_steps_replace_ragged_ones_of_the_same_size() {
        let mut steps = Steps::of_lengths(&[3, 1]);
        steps.set_uniform(3, 2);
        assert_eq!(steps, Steps::uniform(3, 2));
        assert_eq!(steps.rows(), 6);
    }
}
