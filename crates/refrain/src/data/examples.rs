//! Labelled sequences, ready to be put into batches.

use std::ops::Range;
use std::sync::Arc;

use refrain_kernels::Panels;

use super::arrays::{Arrays, Values};
use super::standardisation::{Standardisation, center_clip};
use crate::models::{BatchInputs, LabelBatch, SequenceBatch, SpelledWords, rows_of};
use crate::nn::Steps;

/// The label of a step that has none.
pub const NO_LABEL: u32 = u32::MAX;

/// Sequences of any lengths, each with a label, or with a label for each step, or without.
#[derive(Clone, Debug)]
pub struct Examples {
    content: Content,
    labels: Labels,
    lengths: Vec<usize>,
}

/// What the sequences are made of.
#[derive(Clone, Debug)]
pub enum Content {
    /// Tokens, one sequence after the other.
    Tokens(Vec<u32>),
    /// Words with their spelling: which of the distinct forms each is, one sequence after the other.
    Words(Vec<u32>, Arc<Forms>),
    /// Examples of an array.
    Numbers(Numbers),
}

/// The distinct forms of words that data holds.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    /// The token of each form.
    pub words: Vec<u32>,
    /// The characters of all forms, one after the other; none is empty.
    pub characters: Vec<u32>,
    /// Where each form's characters end.
    pub ends: Vec<usize>,
}

impl Forms {
    fn spelling(&self, form: usize) -> &[u32] {
        let start = if form == 0 { 0 } else { self.ends[form - 1] };
        &self.characters[start..self.ends[form]]
    }
}

/// Some examples of an array, and how their numbers are scaled.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// All examples.
    pub arrays: Arc<Arrays>,
    /// Those that are meant.
    pub chosen: Vec<usize>,
    /// How they are scaled.
    pub standardisation: Arc<Standardisation>,
    /// Whether each clip's mean frame is taken away first.
    pub center: bool,
    /// Whether a step is a picture.
    pub frames: bool,
}

/// What is to be learnt of the sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Nothing is known.
    None,
    /// A class for each sequence.
    Sequences(Vec<u32>),
    /// A class for each step, one sequence after the other; [`NO_LABEL`] where there is none.
    Steps(Vec<u32>),
}

impl Examples {
    /// Joins content with labels.
    ///
    /// # Panics
    /// If a length is 0, or lengths, content and labels do not fit together.
    #[must_use]
    pub fn new(content: Content, lengths: Vec<usize>, labels: Labels) -> Self {
        let total: usize = lengths.iter().sum();
        assert!(
            lengths.iter().all(|&length| length > 0),
            "an empty sequence"
        );
        match &content {
            Content::Tokens(tokens) => assert_eq!(tokens.len(), total, "tokens"),
            Content::Words(forms, _) => assert_eq!(forms.len(), total, "words"),
            Content::Numbers(numbers) => {
                assert_eq!(numbers.chosen.len(), lengths.len(), "examples");
            }
        }
        match &labels {
            Labels::None => {}
            Labels::Sequences(labels) => assert_eq!(labels.len(), lengths.len(), "labels"),
            Labels::Steps(labels) => assert_eq!(labels.len(), total, "labels"),
        }
        Self {
            content,
            labels,
            lengths,
        }
    }

    /// Sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Steps of each sequence.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Steps of all sequences.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lengths.iter().map(|&length| length as u64).sum()
    }

    /// All labels that there are.
    pub fn all_labels(&self) -> impl Iterator<Item = u32> + '_ {
        let labels: &[u32] = match &self.labels {
            Labels::None => &[],
            Labels::Sequences(labels) | Labels::Steps(labels) => labels,
        };
        labels.iter().copied().filter(|&label| label != NO_LABEL)
    }

    /// Bytes that this takes in memory, arrays that are shared left out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let content = match &self.content {
            Content::Tokens(tokens) => tokens.len() * 4,
            Content::Words(forms, _) => forms.len() * 4,
            Content::Numbers(numbers) => numbers.chosen.len() * 8,
        };
        let labels = match &self.labels {
            Labels::None => 0,
            Labels::Sequences(labels) | Labels::Steps(labels) => labels.len() * 4,
        };
        (content + labels + self.lengths.len() * 8) as u64
    }

    /// Bytes of the arrays that other examples may share.
    #[must_use]
    pub fn shared_bytes(&self) -> u64 {
        match &self.content {
            Content::Numbers(numbers) => match &numbers.arrays.values {
                Values::U8(values) => values.len() as u64,
                Values::F32(values) => 4 * values.len() as u64,
            },
            Content::Tokens(_) => 0,
            Content::Words(_, forms) => 4 * (forms.characters.len() + 3 * forms.words.len()) as u64,
        }
    }

    /// Whether both are examples of the same arrays.
    #[must_use]
    pub fn shares_with(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::Numbers(a), Content::Numbers(b)) => Arc::ptr_eq(&a.arrays, &b.arrays),
            _ => false,
        }
    }

    /// Makes a batch of some sequences, which must be given by falling length.
    ///
    /// # Panics
    /// If the lengths rise or a sequence is not there.
    pub fn fill(&self, chosen: &[usize], starts: &Starts, batch: &mut SequenceBatch<f32>) {
        let lengths: Vec<usize> = chosen.iter().map(|&at| self.lengths[at]).collect();
        batch.steps = Steps::of_lengths(&lengths);
        match &self.content {
            Content::Tokens(tokens) => {
                let rows =
                    rows_of(&batch.steps).map(|(place, t)| tokens[starts.0[chosen[place]] + t]);
                batch.inputs = BatchInputs::Tokens(rows.collect());
            }
            Content::Words(forms, table) => {
                let rows =
                    rows_of(&batch.steps).map(|(place, t)| forms[starts.0[chosen[place]] + t]);
                batch.inputs = BatchInputs::Words(spelled(rows, table));
            }
            Content::Numbers(numbers) => numbers.fill(chosen, &lengths, batch),
        }
    }

    /// The labels of a batch in the order of its rows; `class_weights` may be empty, which is 1 for each.
    pub fn fill_labels(
        &self,
        chosen: &[usize],
        starts: &Starts,
        steps: &Steps,
        class_weights: &[f64],
        batch: &mut LabelBatch,
    ) {
        batch.labels.clear();
        batch.weights.clear();
        let mut push = |label: u32| {
            let known = label != NO_LABEL;
            batch.labels.push(if known { label } else { 0 });
            let weight = class_weights.get(label as usize).copied().unwrap_or(1.0);
            batch.weights.push(if known { weight } else { 0.0 });
        };
        match &self.labels {
            Labels::None => {}
            Labels::Sequences(labels) => chosen.iter().for_each(|&at| push(labels[at])),
            Labels::Steps(labels) => {
                rows_of(steps).for_each(|(place, t)| push(labels[starts.0[chosen[place]] + t]));
            }
        }
    }

    /// Where each sequence begins.
    #[must_use]
    pub fn starts(&self) -> Starts {
        let mut end = 0;
        let start_of = |length: &usize| {
            end += length;
            end - length
        };
        Starts(self.lengths.iter().map(start_of).collect())
    }

    /// The steps of a sequence among all steps.
    #[must_use]
    pub fn range(&self, starts: &Starts, sequence: usize) -> Range<usize> {
        starts.0[sequence]..starts.0[sequence] + self.lengths[sequence]
    }
}

/// Where each sequence of [`Examples`] begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starts(Vec<usize>);

/// The distinct forms among the rows, in the order of their first row.
fn spelled(rows: impl Iterator<Item = u32>, table: &Forms) -> SpelledWords {
    let mut words = SpelledWords::default();
    let mut places = std::collections::HashMap::new();
    for form in rows {
        let place = *places.entry(form).or_insert_with(|| {
            words.words.push(table.words[form as usize]);
            words
                .characters
                .extend_from_slice(table.spelling(form as usize));
            words.ends.push(words.characters.len());
            words.words.len() as u32 - 1
        });
        words.index.push(place);
    }
    words
}

impl Numbers {
    /// The first steps of a sequence, scaled.
    pub fn sequence(&self, at: usize, steps: usize, values: &mut Vec<f32>) {
        let mut raw = Vec::new();
        self.arrays.example(self.chosen[at], &mut raw);
        if self.center {
            center_clip(&mut raw, self.arrays.step_size());
        }
        raw.truncate(steps * self.arrays.step_size());
        self.standardisation.apply(&raw, values);
    }

    fn fill(&self, chosen: &[usize], lengths: &[usize], batch: &mut SequenceBatch<f32>) {
        let size = self.arrays.step_size();
        let offsets = batch.steps.offsets();
        let mut values = Vec::new();
        if self.frames {
            let mut frames = vec![0.0; batch.steps.rows() * size];
            for (place, &at) in chosen.iter().enumerate() {
                self.sequence(at, lengths[place], &mut values);
                for (t, frame) in values.chunks_exact(size).enumerate() {
                    frames[(offsets[t] + place) * size..][..size].copy_from_slice(frame);
                }
            }
            batch.inputs = BatchInputs::Frames(frames);
        } else {
            let mut rows = Panels::new(batch.steps.rows(), size);
            for (place, &at) in chosen.iter().enumerate() {
                self.sequence(at, lengths[place], &mut values);
                for (t, row) in values.chunks_exact(size).enumerate() {
                    rows.copy_from_rows(offsets[t] + place, row);
                }
            }
            batch.inputs = BatchInputs::Vectors(rows);
        }
    }
}

/// What numbers an epoch's rare words are hidden by: a word seen `n` times is read as unknown with probability
/// `HIDE / (HIDE + n)`, so that the unknown word's vector is learnt (Kiperwasser and Goldberg, 2016).
const HIDE: f64 = 0.25;

/// Reads rare words of a batch as unknown, by chance.
///
/// `counts` tells how often the training part has each token; `unknown` is the token of unknown words.
pub fn hide_rare_words(
    batch: &mut SequenceBatch<f32>,
    counts: &[u64],
    unknown: u32,
    rng: &mut impl rand::RngExt,
) {
    let words = match &mut batch.inputs {
        BatchInputs::Tokens(tokens) => tokens,
        BatchInputs::Words(words) => &mut words.words,
        BatchInputs::Vectors(_) | BatchInputs::Frames(_) => return,
    };
    for word in words {
        let count = counts.get(*word as usize).copied().unwrap_or(0) as f64;
        if rng.random::<f64>() < HIDE / (HIDE + count) {
            *word = unknown;
        }
    }
}
