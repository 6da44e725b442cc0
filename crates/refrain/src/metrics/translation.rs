//! Scores of generated sentences beside references: corpus BLEU and chrF as sacreBLEU computes them.
//!
//! Both add up counts over all sentences and make one score of the sums, so that the order of the sentences does not matter.

mod tokenizer;

use std::collections::HashMap;

use serde::Serialize;

use tokenizer::{is_space, tokenize, words};

/// The longest n-grams that [`bleu`] counts.
const WORD_ORDER: usize = 4;
/// The longest n-grams that [`chrf`] counts.
const CHAR_ORDER: usize = 6;
/// How many times as much recall weighs as precision in [`chrf`], squared.
const CHRF_BETA_SQUARED: f64 = 4.0;

/// BLEU of a corpus, and what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bleu {
    /// The score, 0 to 100.
    pub score: f64,
    /// The share of n-grams of one to four words that occur in a reference, 0 to 100, smoothed.
    pub precisions: [f64; WORD_ORDER],
    /// What is taken from the score because the hypotheses are too short; 1 is nothing.
    pub brevity_penalty: f64,
    /// The words of the hypotheses.
    pub hypothesis_length: u64,
    /// The words of the references that are closest in length to their hypotheses.
    pub reference_length: u64,
}

/// Corpus BLEU of hypotheses, each with one or more references.
///
/// ```text
/// p_n = 100 * (n-grams of the hypotheses that occur in a reference) / (n-grams of the hypotheses)      n = 1, 2, 3, 4
/// score = brevity_penalty * exp(mean of ln p_n)      brevity_penalty = min(1, exp(1 - reference_length / hypothesis_length))
/// ```
///
/// An n-gram counts as often as it occurs in the reference that has it most often. Where none of an order occurs, its
/// precision is `100 / (2^k n-grams)`, `k` counting such orders. Equal to sacreBLEU with its defaults: `13a` tokens, upper and
/// lower case apart, exponential smoothing, the closest length (of two, the shorter). Without any n-gram of an order, or
/// without any that is right, the score is 0.
///
/// # Panics
/// If there are not as many lists of references as hypotheses.
///
/// # Differences
/// A hypothesis without references counts against one that is empty; sacreBLEU stops there. Empty references are left out, as
/// it does.
///
/// # References
/// Kishore Papineni and others, "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002; Matt Post, "A Call for
/// Clarity in Reporting BLEU Scores", 2018.
///
/// # Examples
///
/// ```
/// use refrain::metrics::bleu;
///
/// let references = vec![vec!["The cat sat on the mat.".to_owned()]];
/// assert!((bleu(&["The cat sat on the mat."], &references).score - 100.0).abs() < 1e-9);
/// // 6 of 7 words, 4 of 6 pairs, 2 of 5 threes, 1 of 4 fours.
/// let found = bleu(&["The cat sat on a mat."], &references);
/// assert_eq!((found.hypothesis_length, found.reference_length), (7, 7));
/// assert!((found.score - 48.892).abs() < 1e-3);
/// ```
#[must_use]
pub fn bleu(hypotheses: &[impl AsRef<str>], references: &[Vec<String>]) -> Bleu {
    check(hypotheses.len(), references.len());
    let mut sum = WordCounts::default();
    for (hypothesis, references) in hypotheses.iter().zip(references) {
        sum.add(&WordCounts::of(hypothesis.as_ref(), references));
    }
    sum.score()
}

/// BLEU of the sentences whose sources have a length within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BleuOfLengths {
    /// The shortest source, in tokens.
    pub from: usize,
    /// The longest; `None` where there is no bound.
    pub to: Option<usize>,
    /// Sentences.
    pub sentences: u64,
    /// Their BLEU.
    pub bleu: Bleu,
}

/// [`bleu`] by the lengths of the sources: up to the first bound, from there up to the second, …, and beyond the last. Where
/// there is no sentence, there is no score.
///
/// # Panics
/// If there are not as many lengths and lists of references as hypotheses, or if the bounds do not rise.
///
/// # Examples
///
/// ```
/// use refrain::metrics::bleu_by_length;
///
/// let references = vec![vec!["one two three four".to_owned()], vec!["five".to_owned()]];
/// let found = bleu_by_length(&[4, 12], &[10, 20], &["one two three four", "six"], &references);
/// assert_eq!((found[0].from, found[0].to, found[1].from, found[1].to), (0, Some(10), 11, Some(20)));
/// assert_eq!((found[0].bleu.score.round(), found[1].bleu.score), (100.0, 0.0));
/// ```
#[must_use]
pub fn bleu_by_length(
    lengths: &[usize],
    bounds: &[usize],
    hypotheses: &[impl AsRef<str>],
    references: &[Vec<String>],
) -> Vec<BleuOfLengths> {
    check(hypotheses.len(), references.len());
    check(hypotheses.len(), lengths.len());
    assert!(
        bounds.is_sorted_by(|a, b| a < b),
        "bounds {bounds:?} do not rise"
    );
    let mut sums = vec![(0, WordCounts::default()); bounds.len() + 1];
    for ((hypothesis, references), length) in hypotheses.iter().zip(references).zip(lengths) {
        let (sentences, sum) = &mut sums[bounds.partition_point(|bound| bound < length)];
        *sentences += 1;
        sum.add(&WordCounts::of(hypothesis.as_ref(), references));
    }
    let from = std::iter::once(0).chain(bounds.iter().map(|bound| bound + 1));
    let to = bounds.iter().copied().map(Some).chain([None]);
    let parts = sums.into_iter().zip(from.zip(to));
    parts
        .filter(|((sentences, _), _)| *sentences > 0)
        .map(|((sentences, sum), (from, to))| BleuOfLengths {
            from,
            to,
            sentences,
            bleu: sum.score(),
        })
        .collect()
}

fn check(hypotheses: usize, others: usize) {
    assert_eq!(hypotheses, others, "one of each for every hypothesis");
}

/// The counts that BLEU is made of, of a sentence or of many.
#[derive(Clone, Copy, Debug, Default)]
struct WordCounts {
    hypothesis_length: u64,
    reference_length: u64,
    correct: [u64; WORD_ORDER],
    total: [u64; WORD_ORDER],
}

impl WordCounts {
    fn of(hypothesis: &str, references: &[String]) -> Self {
        let text = tokenize(hypothesis);
        let hypothesis: Vec<&str> = words(&text).collect();
        let references = references.iter().filter(|text| !text.is_empty());
        let texts: Vec<String> = references.map(|text| tokenize(text)).collect();
        let references: Vec<Vec<&str>> = texts.iter().map(|text| words(text).collect()).collect();
        let mut counts = Self {
            hypothesis_length: hypothesis.len() as u64,
            ..Self::default()
        };
        let lengths = references.iter().map(Vec::len);
        let closest = lengths.min_by_key(|&length| (length.abs_diff(hypothesis.len()), length));
        counts.reference_length = closest.unwrap_or(0) as u64;
        for order in 1..=WORD_ORDER {
            let mut most: HashMap<&[&str], u64> = HashMap::new();
            for reference in &references {
                for (gram, count) in word_grams(reference, order) {
                    let known = most.entry(gram).or_default();
                    *known = count.max(*known);
                }
            }
            for (gram, count) in word_grams(&hypothesis, order) {
                counts.total[order - 1] += count;
                let known = most.get(gram).copied().unwrap_or(0);
                counts.correct[order - 1] += count.min(known);
            }
        }
        counts
    }

    fn add(&mut self, other: &Self) {
        self.hypothesis_length += other.hypothesis_length;
        self.reference_length += other.reference_length;
        for order in 0..WORD_ORDER {
            self.correct[order] += other.correct[order];
            self.total[order] += other.total[order];
        }
    }

    fn score(&self) -> Bleu {
        let (hypothesis, reference) = (self.hypothesis_length, self.reference_length);
        let mut bleu = Bleu {
            brevity_penalty: match hypothesis {
                0 if reference > 0 => 0.0,
                _ if hypothesis < reference => {
                    libm::exp(1.0 - reference as f64 / hypothesis as f64)
                }
                _ => 1.0,
            },
            hypothesis_length: hypothesis,
            reference_length: reference,
            ..Bleu::default()
        };
        if self.correct == [0; WORD_ORDER] {
            return bleu;
        }
        let mut smoothed = 1.0;
        for order in 0..WORD_ORDER {
            let total = self.total[order] as f64;
            bleu.precisions[order] = match (self.correct[order], self.total[order]) {
                (_, 0) => break,
                (0, _) => {
                    smoothed *= 2.0;
                    100.0 / (smoothed * total)
                }
                (correct, _) => 100.0 * correct as f64 / total,
            };
        }
        if bleu.precisions.iter().all(|&precision| precision > 0.0) {
            let logs = bleu
                .precisions
                .iter()
                .map(|&precision| libm::log(precision));
            bleu.score = bleu.brevity_penalty * libm::exp(logs.sum::<f64>() / WORD_ORDER as f64);
        }
        bleu
    }
}

/// How often each n-gram occurs.
fn word_grams<'a>(words: &'a [&'a str], order: usize) -> HashMap<&'a [&'a str], u64> {
    let mut counts = HashMap::new();
    for gram in words.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// Corpus chrF2 of hypotheses, each with one or more references.
///
/// With the shares `p_n` and `r_n` of the character n-grams of the hypotheses that are in the references, and the other way
/// round, for n from 1 to 6:
///
/// ```text
/// p = mean of p_n      r = mean of r_n      chrF = 100 * 5 p r / (4 p + r)
/// ```
///
/// The means are over the n for which both sides have n-grams. White space does not count. Of several references each
/// hypothesis is compared with the one that gives it the best score. Equal to sacreBLEU with its defaults.
///
/// # Panics
/// If there are not as many lists of references as hypotheses.
///
/// # Differences
/// As [`bleu`].
///
/// # References
/// Maja Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015.
///
/// # Examples
///
/// ```
/// use refrain::metrics::chrf;
///
/// let references = vec![vec!["abc".to_owned(), "ab".to_owned()]];
/// assert!((chrf(&["a b"], &references) - 100.0).abs() < 1e-9);
/// assert_eq!(chrf(&["xyz"], &references), 0.0);
/// ```
#[must_use]
pub fn chrf(hypotheses: &[impl AsRef<str>], references: &[Vec<String>]) -> f64 {
    check(hypotheses.len(), references.len());
    let mut sum = CharCounts::default();
    for (hypothesis, references) in hypotheses.iter().zip(references) {
        sum.add(&CharCounts::of(hypothesis.as_ref(), references));
    }
    sum.score()
}

/// The counts that chrF is made of, of a sentence or of many, by order.
#[derive(Clone, Copy, Debug, Default)]
struct CharCounts {
    hypothesis: [u64; CHAR_ORDER],
    reference: [u64; CHAR_ORDER],
    correct: [u64; CHAR_ORDER],
}

impl CharCounts {
    /// Beside the reference that gives the best score, the first of equal ones.
    fn of(hypothesis: &str, references: &[String]) -> Self {
        let chars = |text: &str| -> Vec<char> { text.chars().filter(|&c| !is_space(c)).collect() };
        let hypothesis = Grams::of(&chars(hypothesis));
        let mut best: Option<(f64, Self)> = None;
        for reference in references.iter().filter(|text| !text.is_empty()) {
            let counts = Self::between(&hypothesis, &Grams::of(&chars(reference)));
            let score = counts.score();
            if best.is_none_or(|(known, _)| score > known) {
                best = Some((score, counts));
            }
        }
        match best {
            Some((_, counts)) => counts,
            None => Self::between(&hypothesis, &Grams::of(&[])),
        }
    }

    fn between(hypothesis: &Grams, reference: &Grams) -> Self {
        let mut counts = Self::default();
        for order in 0..CHAR_ORDER {
            let (found, known) = (&hypothesis.0[order], &reference.0[order]);
            counts.reference[order] = known.values().sum();
            // What cannot be found does not count as wrong.
            if !known.is_empty() {
                counts.hypothesis[order] = found.values().sum();
            }
            let correct = found.iter().filter_map(|(gram, &count)| {
                let known = known.get(gram)?;
                Some(count.min(*known))
            });
            counts.correct[order] = correct.sum();
        }
        counts
    }

    fn add(&mut self, other: &Self) {
        for order in 0..CHAR_ORDER {
            self.hypothesis[order] += other.hypothesis[order];
            self.reference[order] += other.reference[order];
            self.correct[order] += other.correct[order];
        }
    }

    fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for order in 0..CHAR_ORDER {
            let (hypothesis, reference) = (self.hypothesis[order], self.reference[order]);
            if hypothesis > 0 && reference > 0 {
                let correct = self.correct[order] as f64;
                precision += correct / hypothesis as f64;
                recall += correct / reference as f64;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        100.0 * (1.0 + CHRF_BETA_SQUARED) * precision * recall
            / (CHRF_BETA_SQUARED * precision + recall)
    }
}

/// How often each n-gram of characters occurs, by order. The n characters are the bits of one number: of 21 each.
struct Grams([HashMap<u128, u64>; CHAR_ORDER]);

impl Grams {
    fn of(chars: &[char]) -> Self {
        Self(std::array::from_fn(|order| {
            let number = |gram: &[char]| {
                gram.iter()
                    .fold(0, |bits, &c| bits << 21 | u128::from(u32::from(c)))
            };
            let mut counts = HashMap::new();
            for gram in chars.windows(order + 1) {
                *counts.entry(number(gram)).or_default() += 1;
            }
            counts
        }))
    }
}

/// The share of hypotheses that equal one of their references, white space at the ends aside; 0 where there is none.
///
/// # Panics
/// If there are not as many lists of references as hypotheses.
///
/// # Examples
///
/// ```
/// use refrain::metrics::exact_match;
///
/// let references = [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]];
/// assert_eq!(exact_match(&["b ", "C"], &references), 0.5);
/// ```
#[must_use]
pub fn exact_match(hypotheses: &[impl AsRef<str>], references: &[Vec<String>]) -> f64 {
    check(hypotheses.len(), references.len());
    let pairs = hypotheses.iter().zip(references);
    let equal = pairs.filter(|(hypothesis, references)| {
        let hypothesis = hypothesis.as_ref().trim();
        references.iter().any(|text| text.trim() == hypothesis)
    });
    equal.count() as f64 / hypotheses.len().max(1) as f64
}

#[cfg(test)]
mod tests;
