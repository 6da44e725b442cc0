//! Sources with their targets, ready to be put into batches.

use std::sync::Arc;

use super::arrays::Arrays;
use super::captions::Captions;
use super::encoding::{Encoding, EncodingOptions, Fitted, Input, choose_tokens, learn_vocabulary};
use super::examples::{Examples, Starts};
use super::labelled::Raw;
use super::pairs::Referenced;
use super::table::LabelledText;
use super::{TokenKind, Vocabulary, WordOptions};
use crate::error::{Error, Result};
use crate::models::{InputShape, SequenceBatch, TargetBatch, falling_order, rows_of};
use crate::nn::Steps;

/// Characters of the training part for each piece of a vocabulary of pieces, where its size is not given, and the fewest and
/// the most pieces. (Of 29,000 captions 4,000 pieces trained at almost twice the steps a second of 7,000, and wrote about as
/// well after the first 227.)
const CHARACTERS_PER_PIECE: u64 = 450;
const PIECES: (u64, u64) = (500, 8_000);

/// Sources with what may be written of each.
#[derive(Clone, Debug)]
pub enum RawPairs {
    /// Sentences.
    Texts(Vec<Referenced>),
    /// Pictures or vectors.
    Pictures(Captions),
}

impl RawPairs {
    /// Sources.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(rows) => rows.len(),
            Self::Pictures(captions) => captions.captions.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sources alone.
    #[must_use]
    pub fn sources(&self) -> Raw {
        match self {
            Self::Texts(rows) => texts(rows.iter().map(|row| (row.source.as_str(), row.line))),
            Self::Pictures(captions) => {
                Raw::Arrays(Arc::clone(&captions.pictures), captions.chosen())
            }
        }
    }

    /// What may be written of a source.
    #[must_use]
    pub fn references(&self, source: usize) -> &[String] {
        match self {
            Self::Texts(rows) => &rows[source].references,
            Self::Pictures(captions) => &captions.captions[source].sentences,
        }
    }

    fn targets(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).flat_map(|at| self.references(at).iter().map(String::as_str))
    }
}

/// Texts as the labellers' readers give them, without labels.
fn texts<'a>(rows: impl Iterator<Item = (&'a str, u64)>) -> Raw {
    let row = |(text, line): (&str, u64)| LabelledText {
        text: text.to_owned(),
        label: None,
        line,
    };
    Raw::Texts(rows.map(row).collect())
}

/// What a model that writes must know to read data.
#[derive(Clone, Debug, PartialEq)]
pub struct PairEncoding {
    /// What sources are made of; it has no classes.
    pub source: Encoding,
    /// The vocabulary of what is written.
    pub target: Vocabulary,
    /// The most tokens that a target of the training part has.
    pub longest_target: usize,
}

/// How a [`PairEncoding`] is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairEncodingOptions {
    /// What texts are cut into; see [`choose_kind`].
    pub tokens: TokenKind,
    /// How words are counted.
    pub words: WordOptions,
    /// Whether source and target have one vocabulary.
    pub shared: bool,
    /// Tokens of a source or a target beyond which a pair is left out.
    pub max_length: Option<usize>,
}

impl PairEncoding {
    /// Makes an encoding for a training part. The counts of the words of the sources come with it, where they are words.
    ///
    /// # Errors
    /// Whatever is wrong with a vocabulary, or [`Error::Setting`] where a setting is not for this kind of data.
    pub fn fit(raw: &RawPairs, options: PairEncodingOptions) -> Result<(Self, Option<Vec<u64>>)> {
        let sources = raw.sources();
        let kind = options.tokens;
        let encoding_options = EncodingOptions {
            per_step: false,
            tokens: matches!(raw, RawPairs::Texts(_)).then_some(kind),
            words: options.words,
            characters: None,
            center_clips: None,
            max_length: options.max_length,
        };
        let (source, target, counts) = match (raw, options.shared) {
            (RawPairs::Texts(rows), true) => {
                let all = rows.iter().map(|row| row.source.as_str());
                let all = all.chain(raw.targets());
                let (vocabulary, counts) = learn_vocabulary(kind, all, options.words)?;
                let source = Encoding {
                    per_step: false,
                    input: Input::Texts(vocabulary.clone()),
                    labels: Vec::new(),
                    max_length: options.max_length,
                };
                (source, vocabulary, counts)
            }
            _ => {
                let Fitted {
                    encoding,
                    word_counts,
                    ..
                } = Encoding::fit_input(&sources, encoding_options)?;
                let (target, _) = learn_vocabulary(kind, raw.targets(), options.words)?;
                (encoding, target, word_counts)
            }
        };
        let encoding = Self {
            source,
            target,
            longest_target: 1,
        };
        Ok((encoding, counts))
    }

    /// What a model for this data reads.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        self.source.shape()
    }

    /// Encodes sources with their targets for the model.
    ///
    /// # Errors
    /// [`Error::Unusable`] where the sources are of another kind or shape than the model reads.
    pub fn encode(&self, raw: &RawPairs, name: &str) -> Result<EncodedPairs> {
        let encoded = self.source.encode(&raw.sources(), name, false)?;
        let mut targets = Targets::default();
        let mut unknown_targets = 0;
        for source in 0..raw.len() {
            for text in raw.references(source) {
                unknown_targets += self.target.encode_into(text, &mut targets.tokens);
                targets.ends.push(targets.tokens.len());
                targets.source_of.push(source);
            }
        }
        let references = (0..raw.len()).map(|at| raw.references(at).to_vec());
        Ok(EncodedPairs {
            unknown_sources: encoded.unknown,
            unknown_targets,
            cut: encoded.cut,
            examples: PairExamples {
                starts: encoded.examples.starts(),
                sources: encoded.examples,
                targets,
                references: references.collect(),
                boundary: self.target.len() as u32,
            },
        })
    }
}

/// What texts are cut into where nobody says it: pieces of words where the sources are sentences, as many as the texts bear; words, or characters, of captions.
#[must_use]
pub fn choose_kind(raw: &RawPairs) -> TokenKind {
    match raw {
        RawPairs::Texts(rows) => {
            let characters: u64 = rows
                .iter()
                .map(|row| row.source.chars().count() as u64)
                .sum();
            let pieces = (characters / CHARACTERS_PER_PIECE).clamp(PIECES.0, PIECES.1);
            TokenKind::Bpe(pieces as u32)
        }
        RawPairs::Pictures(_) => choose_tokens(raw.targets()),
    }
}

/// Examples, and what of them was not known.
#[derive(Clone, Debug)]
pub struct EncodedPairs {
    /// The examples.
    pub examples: PairExamples,
    /// Symbols or words of sources that the vocabulary has not.
    pub unknown_sources: u64,
    /// The same of targets.
    pub unknown_targets: u64,
    /// Sources that were cut.
    pub cut: u64,
}

/// The tokens of targets, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Targets {
    tokens: Vec<u32>,
    ends: Vec<usize>,
    source_of: Vec<usize>,
}

impl Targets {
    fn get(&self, at: usize) -> &[u32] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.tokens[start..self.ends[at]]
    }
}

/// Sources of any lengths, each with one target or more.
#[derive(Clone, Debug)]
pub struct PairExamples {
    sources: Examples,
    starts: Starts,
    targets: Targets,
    references: Vec<Vec<String>>,
    boundary: u32,
}

impl PairExamples {
    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &Examples {
        &self.sources
    }

    /// Pairs of a source and a target.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The texts that may be written of a source.
    #[must_use]
    pub fn references(&self, source: usize) -> &[String] {
        &self.references[source]
    }

    /// The tokens of a pair's target, without the end.
    #[must_use]
    pub fn target(&self, pair: usize) -> &[u32] {
        self.targets.get(pair)
    }

    /// The source of a pair.
    #[must_use]
    pub fn source_of(&self, pair: usize) -> usize {
        self.targets.source_of[pair]
    }

    /// Steps of the source and the target of a pair together, the end included.
    #[must_use]
    pub fn lengths(&self, pair: usize) -> (usize, usize) {
        let source = self.sources.lengths()[self.source_of(pair)];
        (source, self.target(pair).len() + 1)
    }

    /// Tokens of all targets, the ends included.
    #[must_use]
    pub fn target_tokens(&self) -> u64 {
        (self.targets.tokens.len() + self.len()) as u64
    }

    /// The most tokens of a target.
    #[must_use]
    pub fn longest_target(&self) -> usize {
        let all = (0..self.len()).map(|pair| self.target(pair).len());
        all.max().unwrap_or(0)
    }

    /// Bytes that this takes in memory, arrays that are shared left out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let texts: usize = self.references.iter().flatten().map(String::len).sum();
        let targets = self.targets.tokens.len() * 4 + self.len() * 16;
        self.sources.bytes() + (targets + texts + 48 * self.references.len()) as u64
    }

    /// Leaves out the pairs that are longer than `most` on either side; how many those were.
    pub fn leave_out_longer(&mut self, most: usize) -> u64 {
        let mut kept = Targets::default();
        for pair in 0..self.len() {
            let (source, target) = self.lengths(pair);
            // The end is no part of what was given.
            if source <= most && target - 1 <= most {
                kept.tokens.extend_from_slice(self.target(pair));
                kept.ends.push(kept.tokens.len());
                kept.source_of.push(self.source_of(pair));
            }
        }
        let left_out = self.len() - kept.ends.len();
        self.targets = kept;
        left_out as u64
    }

    /// Makes a batch of some pairs.
    ///
    /// # Panics
    /// If a pair is not there.
    pub fn fill(&self, pairs: &[usize], source: &mut SequenceBatch<f32>, target: &mut TargetBatch) {
        let lengths: Vec<_> = pairs.iter().map(|&pair| self.lengths(pair)).collect();
        let by = |side: fn(&(usize, usize)) -> usize| {
            falling_order(&lengths.iter().map(side).collect::<Vec<_>>())
        };
        let (sources, targets) = (by(|pair| pair.0), by(|pair| pair.1));
        let chosen: Vec<_> = sources
            .iter()
            .map(|&at| self.source_of(pairs[at]))
            .collect();
        self.sources.fill(&chosen, &self.starts, source);
        let mut place_of = vec![0; pairs.len()];
        for (place, &at) in sources.iter().enumerate() {
            place_of[at] = place as u32;
        }
        let steps: Vec<_> = targets.iter().map(|&at| lengths[at].1).collect();
        target.steps = Steps::of_lengths(&steps);
        target.source_of = targets.iter().map(|&at| place_of[at]).collect();
        target.inputs.clear();
        target.targets.clear();
        for (place, t) in rows_of(&target.steps) {
            let tokens = self.target(pairs[targets[place]]);
            let token = |at: usize| tokens.get(at).copied().unwrap_or(self.boundary);
            let before = t.checked_sub(1).map_or(self.boundary, token);
            target.inputs.push(before);
            target.targets.push(token(t));
        }
    }

    /// The same order of pairs as [`PairExamples::fill`] gives to the targets of a batch.
    #[must_use]
    pub fn target_order(&self, pairs: &[usize]) -> Vec<usize> {
        let lengths: Vec<_> = pairs.iter().map(|&pair| self.lengths(pair).1).collect();
        falling_order(&lengths)
            .into_iter()
            .map(|at| pairs[at])
            .collect()
    }

    /// Makes a batch of some sources, which must be given by falling length.
    ///
    /// # Panics
    /// If the lengths rise or a source is not there.
    pub fn fill_sources(&self, sources: &[usize], batch: &mut SequenceBatch<f32>) {
        self.sources.fill(sources, &self.starts, batch);
    }
}

/// Whether arrays are pictures of one step.
///
/// # Errors
/// [`Error::Unusable`] where they are sequences.
pub fn check_fixed(arrays: &Arrays, name: &str) -> Result<()> {
    if arrays.steps() == 1 {
        return Ok(());
    }
    Err(Error::Unusable {
        problem: format!(
            "the inputs of `{name}` are sequences of {} steps",
            arrays.steps()
        ),
        hint: "a caption is written of a picture (N, H, W, C) or of a vector (N, F)".into(),
    })
}
