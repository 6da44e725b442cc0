use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

/// How often each class was taken for each: rows are the truth, columns the prediction.
///
/// Only pairs that occur take memory, so that any number of classes will do.
///
/// # Examples
///
/// ```
/// use refrain::metrics::Confusion;
///
/// let mut confusion = Confusion::new(3);
/// confusion.extend([(0, 0), (0, 0), (0, 1), (1, 1)]);
/// assert_eq!(confusion.count(0, 1), 1);
/// assert_eq!(confusion.accuracy(), 0.75);
/// // Class 2 occurs nowhere and does not count: (0.8 + 0.667) / 2.
/// assert!((confusion.macro_f1() - 0.733).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: BTreeMap<(u32, u32), u64>,
}

/// The scores of one class.
///
/// With `right` the examples of the class that were found:
///
/// ```text
/// precision = right / predicted      recall = right / support      f1 = 2 right / (predicted + support)
/// ```
///
/// A fraction over nothing is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ClassScores {
    /// The share of the predictions of this class that are right.
    pub precision: f64,
    /// The share of the examples of this class that were found.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// Examples of this class.
    pub support: u64,
    /// Predictions of this class.
    pub predicted: u64,
}

impl ClassScores {
    fn new(right: u64, support: u64, predicted: u64) -> Self {
        Self {
            precision: share(right, predicted),
            recall: share(right, support),
            f1: share(2 * right, predicted + support),
            support,
            predicted,
        }
    }

    /// Whether the class is in the truth or in the predictions.
    #[must_use]
    pub fn occurs(&self) -> bool {
        self.support > 0 || self.predicted > 0
    }
}

/// A class taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// The class that was right.
    pub truth: u32,
    /// The class that was predicted.
    pub prediction: u32,
    /// How often.
    pub count: u64,
}

impl Confusion {
    /// Nothing counted yet, for classes from 0 to `classes - 1`.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: BTreeMap::new(),
        }
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts one prediction.
    ///
    /// # Panics
    /// If one of the two is no class.
    pub fn add(&mut self, truth: u32, prediction: u32) {
        let most = truth.max(prediction) as usize;
        assert!(most < self.classes, "class {most} of {}", self.classes);
        *self.counts.entry((truth, prediction)).or_default() += 1;
    }

    /// Adds the counts of another part of the data.
    ///
    /// # Panics
    /// If the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "classes");
        for (&pair, &count) in &other.counts {
            *self.counts.entry(pair).or_default() += count;
        }
    }

    /// How often `truth` was taken for `prediction`.
    #[must_use]
    pub fn count(&self, truth: u32, prediction: u32) -> u64 {
        self.counts.get(&(truth, prediction)).copied().unwrap_or(0)
    }

    /// All predictions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The predictions that are right.
    #[must_use]
    pub fn right(&self) -> u64 {
        let right = |(pair, count): (&(u32, u32), &u64)| (pair.0 == pair.1).then_some(*count);
        self.counts.iter().filter_map(right).sum()
    }

    /// The share of the predictions that are right; 0 of none.
    ///
    /// Where every example has one label, the micro averages of precision, recall and F1 are this same number.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share(self.right(), self.total())
    }

    /// The scores of every class, whether it occurs or not.
    #[must_use]
    pub fn scores(&self) -> Vec<ClassScores> {
        let mut sums = vec![(0, 0, 0); self.classes];
        for (&(truth, prediction), &count) in &self.counts {
            sums[truth as usize].1 += count;
            sums[prediction as usize].2 += count;
            if truth == prediction {
                sums[truth as usize].0 += count;
            }
        }
        sums.into_iter()
            .map(|(right, support, predicted)| ClassScores::new(right, support, predicted))
            .collect()
    }

    /// The mean of the F1 of the classes that occur in the truth or in the predictions; 0 where none does.
    ///
    /// The same as scikit-learn's `f1_score(truth, prediction, average="macro", zero_division=0)`.
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        let scores = self.scores();
        mean(scores.iter().filter(|of| of.occurs()).map(|of| of.f1))
    }

    /// The mean of the recall of the classes that occur in the truth; 0 where none does.
    ///
    /// The same as scikit-learn's `balanced_accuracy_score`. Guessing one class always gives one over the number of classes.
    #[must_use]
    pub fn balanced_accuracy(&self) -> f64 {
        let scores = self.scores();
        mean(
            scores
                .iter()
                .filter(|of| of.support > 0)
                .map(|of| of.recall),
        )
    }

    /// The accuracy of a guesser that says `class` to everything.
    #[must_use]
    pub fn accuracy_of_always(&self, class: u32) -> f64 {
        let of_class = self.counts.range((class, 0)..=(class, u32::MAX));
        share(of_class.map(|(_, count)| count).sum(), self.total())
    }

    /// The class that is most often the truth, the first of several; none where nothing was counted.
    #[must_use]
    pub fn most_frequent(&self) -> Option<u32> {
        let mut best: Option<(u32, u64)> = None;
        for (class, scores) in (0..).zip(self.scores()) {
            if scores.support > best.map_or(0, |(_, support)| support) {
                best = Some((class, scores.support));
            }
        }
        best.map(|(class, _)| class)
    }

    /// The pairs of a class and another that it was taken for, the most frequent first, at most `most`.
    #[must_use]
    pub fn confused(&self, most: usize) -> Vec<Confused> {
        let wrong = self.counts.iter().filter(|((t, p), _)| t != p);
        let mut pairs: Vec<Confused> = wrong
            .map(|(&(truth, prediction), &count)| Confused {
                truth,
                prediction,
                count,
            })
            .collect();
        // Stable, so that equal counts stay in the order of classes.
        pairs.sort_by_key(|pair| Reverse(pair.count));
        pairs.truncate(most);
        pairs
    }
}

impl Extend<(u32, u32)> for Confusion {
    /// Counts pairs of truth and prediction.
    ///
    /// # Panics
    /// As [`Confusion::add`].
    fn extend<I: IntoIterator<Item = (u32, u32)>>(&mut self, pairs: I) {
        for (truth, prediction) in pairs {
            self.add(truth, prediction);
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u64);
    for value in values {
        sum += value;
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refrain_testing::{Golden, assert_close, testdata};

    const CLASSES: usize = 7;
    /// Both sides divide whole numbers once and add seven quotients.
    const ROUNDING: f64 = 1e-15;

    #[test]
    fn scores_are_those_of_scikit_learn() {
        let golden = Golden::load(testdata("metrics/classes.safetensors"));
        for case in ["common", "gaps", "one_class", "never_right"] {
            let id = |name: &str| format!("{case}.{name}");
            let ids = |name: &str| golden.i64(&id(name)).into_iter().map(|id| id as u32);
            let mut confusion = Confusion::new(CLASSES);
            confusion.extend(ids("truth").zip(ids("prediction")));
            let every = 0..CLASSES as u32;
            let counts: Vec<i64> = every
                .clone()
                .flat_map(|t| every.clone().map(move |p| (t, p)))
                .map(|(t, p)| confusion.count(t, p) as i64)
                .collect();
            assert_eq!(counts, golden.i64(&id("confusion")), "{case}");
            let scores = confusion.scores();
            let support: Vec<i64> = scores.iter().map(|of| of.support as i64).collect();
            assert_eq!(support, golden.i64(&id("support")), "{case}");
            let near = |name: &str, found: &[f64]| {
                let expected = golden.f64(&id(name)).1;
                assert_close(&id(name), found, &expected, ROUNDING, ROUNDING);
            };
            let all = |of: fn(&ClassScores) -> f64| scores.iter().map(of).collect::<Vec<_>>();
            near("precision", &all(|of| of.precision));
            near("recall", &all(|of| of.recall));
            near("f1", &all(|of| of.f1));
            near("accuracy", &[confusion.accuracy()]);
            near("micro_f1", &[confusion.accuracy()]);
            near("macro_f1", &[confusion.macro_f1()]);
            near("balanced_accuracy", &[confusion.balanced_accuracy()]);
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let pairs = [(0, 0), (1, 2), (2, 2), (1, 1), (0, 2), (0, 0)];
        let mut whole = Confusion::new(3);
        whole.extend(pairs);
        for at in 0..=pairs.len() {
            let (mut first, mut second) = (Confusion::new(3), Confusion::new(3));
            first.extend(pairs[..at].iter().copied());
            second.extend(pairs[at..].iter().copied());
            first.merge(&second);
            assert_eq!(first, whole);
        }
    }

    #[test]
    fn the_baseline_is_the_most_frequent_truth() {
        let mut confusion = Confusion::new(4);
        assert_eq!(confusion.most_frequent(), None);
        confusion.extend([(1, 0), (2, 0), (2, 0), (1, 1), (3, 0)]);
        assert_eq!(confusion.most_frequent(), Some(1), "the first of two");
        assert_eq!(confusion.accuracy_of_always(1), 0.4);
        assert_eq!(confusion.accuracy_of_always(0), 0.0);
    }

    #[test]
    fn the_worst_mistakes_come_first() {
        let mut confusion = Confusion::new(3);
        confusion.extend([(0, 0), (0, 0), (0, 0), (2, 1), (1, 0), (2, 0), (2, 1)]);
        let pairs: Vec<_> = confusion.confused(2);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|p| (p.truth, p.prediction, p.count))
            .collect();
        assert_eq!(pairs, [(2, 1, 2), (1, 0, 1)]);
    }

    #[test]
    fn nothing_counted_scores_nothing() {
        let none = Confusion::new(3);
        assert_eq!([none.accuracy(), none.macro_f1()], [0.0; 2]);
        assert_eq!(none.balanced_accuracy(), 0.0);
        assert!(none.scores().iter().all(|of| !of.occurs()));
    }

    #[test]
    #[should_panic(expected = "class 3 of 3")]
    fn a_class_that_is_none_is_refused() {
        Confusion::new(3).add(0, 3);
    }
}
