//! Generated reviews.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::{below, pick};

/// The name under which the generated reviews are reported.
pub const REVIEWS_NAME: &str = "built-in: generated reviews, positive or negative";

/// The classes of [`reviews`].
pub const REVIEW_CLASSES: [&str; 2] = ["negative", "positive"];

const COUNT: usize = 4000;
const SEED: u64 = 0x7265_7669_6577_7331;

const ASPECTS: [&str; 12] = [
    "plot", "acting", "story", "music", "ending", "cast", "script", "pacing", "camera", "dialogue",
    "humour", "finale",
];
/// Negative, then positive.
const ADJECTIVES: [[&str; 10]; 2] = [
    [
        "dull", "clumsy", "tedious", "shallow", "stale", "boring", "awful", "cold", "flat", "messy",
    ],
    [
        "superb",
        "moving",
        "clever",
        "charming",
        "gripping",
        "fresh",
        "funny",
        "brilliant",
        "warm",
        "rich",
    ],
];
const OPENINGS: [&str; 6] = [
    "honestly ,",
    "for me ,",
    "i think",
    "this time",
    "to be fair ,",
    "once again",
];
const ADVERBS: [&str; 5] = ["really", "quite", "rather", "truly", "mostly"];
const NEGATIONS: [&str; 3] = ["not", "never", "hardly"];
const ENDS: [&str; 3] = [".", "!", "..."];

/// Four thousand short reviews, all different, each with its class; half of them are positive.
///
/// They are **generated** from a small grammar with a fixed seed; nobody wrote them. A quarter say one thing ("the plot
/// is dull ."), a quarter deny one ("the plot is not dull ."), half weigh two that disagree: what follows `but` decides
/// ("the plot is dull but the cast is superb ."), and what follows `although` does not. In that half the same words stand
/// in reviews of both classes, so that no count of words tells them apart: their order must be read.
///
/// # Examples
///
/// ```
/// let reviews = refrain::data::demo::reviews();
/// assert_eq!(reviews.len(), 4000);
/// assert_eq!(reviews.iter().filter(|(_, class)| *class == "positive").count(), 2000);
/// ```
#[must_use]
pub fn reviews() -> Vec<(String, &'static str)> {
    let mut rng = ChaCha12Rng::seed_from_u64(SEED);
    let mut seen = BTreeSet::new();
    let mut reviews = Vec::with_capacity(COUNT);
    while reviews.len() < COUNT {
        // By turns, so that the classes are balanced; no index or order tells, since data are shuffled.
        let class = reviews.len() % 2;
        let text = review(&mut rng, class == 1);
        if seen.insert(text.clone()) {
            reviews.push((text, REVIEW_CLASSES[class]));
        }
    }
    reviews
}

fn review(rng: &mut ChaCha12Rng, positive: bool) -> String {
    let mut words = Vec::new();
    if below(rng, 2) == 0 {
        words.push(pick(rng, &OPENINGS));
    }
    let first = below(rng, ASPECTS.len());
    let second = (first + 1 + below(rng, ASPECTS.len() - 1)) % ASPECTS.len();
    let (first, second) = (ASPECTS[first], ASPECTS[second]);
    match below(rng, 8) {
        0 | 1 => clause(rng, first, positive, false, &mut words),
        2 | 3 => clause(rng, first, positive, true, &mut words),
        form => {
            let denied = [below(rng, 3) == 0, below(rng, 3) == 0];
            let (joint, verdict_is_last) = match form {
                4 | 5 => ("but", true),
                6 => ("although", false),
                _ => {
                    words.push("although");
                    (",", true)
                }
            };
            clause(
                rng,
                first,
                positive != verdict_is_last,
                denied[0],
                &mut words,
            );
            words.push(joint);
            clause(
                rng,
                second,
                positive == verdict_is_last,
                denied[1],
                &mut words,
            );
        }
    }
    words.push(pick(rng, &ENDS));
    words.join(" ")
}

/// "the plot is really not dull": good, said by denying the bad.
fn clause(
    rng: &mut ChaCha12Rng,
    aspect: &'static str,
    good: bool,
    denied: bool,
    words: &mut Vec<&'static str>,
) {
    words.extend(["the", aspect, pick(rng, &["is", "was"])]);
    if below(rng, 3) == 0 {
        words.push(pick(rng, &ADVERBS));
    }
    if denied {
        words.push(pick(rng, &NEGATIONS));
    }
    words.push(pick(rng, &ADJECTIVES[usize::from(good != denied)]));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Reads a review as its grammar means it.
    fn verdict(text: &str) -> bool {
        let good = |clause: &str| {
            let denied = NEGATIONS
                .iter()
                .any(|word| clause.split(' ').any(|w| w == *word));
            let praised = ADJECTIVES[1]
                .iter()
                .any(|word| clause.split(' ').any(|w| w == *word));
            praised != denied
        };
        if let Some((_, verdict)) = text.split_once(" but ") {
            return good(verdict);
        }
        match text.split_once("although ") {
            Some((verdict, _)) if verdict.contains(" the ") || verdict.starts_with("the ") => {
                good(verdict)
            }
            Some((_, both)) => good(both.split_once(" , ").unwrap().1),
            None => good(text),
        }
    }

    #[test]
    fn classes_are_what_the_words_mean() {
        let reviews = reviews();
        assert_eq!(reviews, super::reviews());
        for (text, class) in &reviews {
            assert_eq!(verdict(text), *class == "positive", "{text}");
        }
        let longest = reviews
            .iter()
            .map(|(text, _)| text.split(' ').count())
            .max();
        assert_eq!(longest, Some(18));
        let words: BTreeSet<_> = reviews
            .iter()
            .flat_map(|(text, _)| text.split(' '))
            .collect();
        assert!((50..80).contains(&words.len()), "{} words", words.len());
    }

    #[test]
    fn the_reviews_never_change() {
        use sha2::{Digest, Sha256};
        let lines = reviews()
            .into_iter()
            .map(|(text, class)| format!("{class}\t{text}\n"));
        let hash = Sha256::digest(lines.collect::<String>());
        assert_eq!(
            crate::data::source::hex(&hash[..8]),
            "1D 21 93 03 85 2C 4C 76"
        );
    }

    #[test]
    fn word_counts_do_not_tell_the_class() {
        let reviews = reviews();
        let (train, test) = reviews.split_at(3600);
        // Logistic regression on the presence of words, by stochastic gradient descent.
        let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
        let score = |weights: &BTreeMap<&str, f64>, text: &str| {
            text.split(' ')
                .map(|word| weights.get(word).unwrap_or(&0.0))
                .sum::<f64>()
        };
        for _ in 0..20 {
            for (text, class) in train {
                let target = f64::from(u8::from(*class == "positive"));
                let error = target - 1.0 / (1.0 + libm::exp(-score(&weights, text)));
                for word in text.split(' ') {
                    *weights.entry(word).or_default() += 0.02 * error;
                }
            }
        }
        let right = test
            .iter()
            .filter(|(text, class)| (score(&weights, text) > 0.0) == (*class == "positive"));
        let accuracy = right.count() as f64 / test.len() as f64;
        assert!(accuracy < 0.75, "{accuracy}");
    }
}
