use refrain_kernels::Panels;

use crate::nn::Steps;

/// A batch of sequences, packed: sorted by falling length, row b of step t for every sequence that is longer than t.
#[derive(Clone, Debug)]
pub struct SequenceBatch<T> {
    /// Where each step's rows stand.
    pub steps: Steps,
    /// What stands in them.
    pub inputs: BatchInputs<T>,
}

/// What the rows of a batch hold, step after step.
#[derive(Clone, Debug)]
pub enum BatchInputs<T> {
    /// A token each.
    Tokens(Vec<u32>),
    /// A word each, with its spelling.
    Words(SpelledWords),
    /// Features, rows × features.
    Vectors(Panels<T>),
    /// Pictures, rows × (height, width, channels).
    Frames(Vec<T>),
}

impl<T> Default for SequenceBatch<T> {
    fn default() -> Self {
        Self {
            steps: Steps::default(),
            inputs: BatchInputs::default(),
        }
    }
}

impl<T> Default for BatchInputs<T> {
    fn default() -> Self {
        Self::Tokens(Vec::new())
    }
}

/// The distinct words of a batch, and which of them stands in each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpelledWords {
    /// For each row, its place among the distinct words.
    pub index: Vec<u32>,
    /// The token of each distinct word; several unknown ones have the same.
    pub words: Vec<u32>,
    /// The characters of the distinct words, one word after the other; none is empty.
    pub characters: Vec<u32>,
    /// Where each word's characters end.
    pub ends: Vec<usize>,
}

impl SpelledWords {
    /// The characters of a distinct word.
    #[must_use]
    pub fn spelling(&self, word: usize) -> &[u32] {
        let start = if word == 0 { 0 } else { self.ends[word - 1] };
        &self.characters[start..self.ends[word]]
    }
}

/// Sequences in the order of a batch: by falling length, those of one length as they came.
///
/// Gives for each place in the batch the sequence that stands there.
#[must_use]
pub fn falling_order(lengths: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[b].cmp(&lengths[a]));
    order
}

/// For each row of a packed batch: (place in the batch, step).
pub fn rows_of(steps: &Steps) -> impl Iterator<Item = (usize, usize)> + '_ {
    steps
        .offsets()
        .windows(2)
        .enumerate()
        .flat_map(|(t, step)| (0..step[1] - step[0]).map(move |place| (place, t)))
}
