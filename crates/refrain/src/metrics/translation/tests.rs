use proptest::prelude::*;
use refrain_testing::{Golden, assert_close, testdata};
use serde::Deserialize;

use super::*;

/// Of scores up to 100: sums of a few logarithms and one exponential.
const TOLERANCE: f64 = 1e-11;

#[derive(Deserialize)]
struct Corpus {
    hypotheses: Vec<String>,
    references: Vec<Vec<String>>,
}

#[test]
fn scores_are_those_of_sacrebleu() {
    let text = std::fs::read_to_string(testdata("metrics/sentences.json")).unwrap();
    let corpora: std::collections::BTreeMap<String, Corpus> = serde_json::from_str(&text).unwrap();
    let golden = Golden::load(testdata("metrics/sentences.safetensors"));
    assert_eq!(golden.names().count(), corpora.len() * 3);
    assert!(corpora.len() >= 18, "{} corpora", corpora.len());
    for (name, corpus) in &corpora {
        let found = bleu(&corpus.hypotheses, &corpus.references);
        let [a, b, c, d] = found.precisions;
        let lengths = [found.hypothesis_length, found.reference_length].map(|length| length as f64);
        let [hypothesis, reference] = lengths;
        let penalty = found.brevity_penalty;
        let found = [found.score, a, b, c, d, penalty, hypothesis, reference];
        let (_, expected) = golden.f64(&format!("{name}.bleu"));
        assert_close(name, &found, &expected, TOLERANCE, TOLERANCE);
        let found = chrf(&corpus.hypotheses, &corpus.references);
        let (_, expected) = golden.f64(&format!("{name}.chrf"));
        assert_close(name, &[found], &expected, TOLERANCE, TOLERANCE);
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.into()).collect()
}

#[test]
fn a_sentence_without_references_scores_nothing() {
    for references in [vec![], texts(&[""])] {
        let found = bleu(&["a b c d"], std::slice::from_ref(&references));
        assert_eq!((found.score, found.reference_length), (0.0, 0));
        assert_eq!(chrf(&["a b c d"], &[references]), 0.0);
    }
    let none: [&str; 0] = [];
    assert_eq!((bleu(&none, &[]).score, chrf(&none, &[])), (0.0, 0.0));
    assert_eq!(exact_match(&none, &[]), 0.0);
}

#[test]
fn every_length_has_one_place() {
    let hypotheses = texts(&["a b c d", "a b c e", "a b c d", "x"]);
    let references = vec![texts(&["a b c d"]); 4];
    let found = bleu_by_length(&[10, 11, 1, 31], &[10, 20, 30], &hypotheses, &references);
    let places: Vec<_> = found.iter().map(|f| (f.from, f.to, f.sentences)).collect();
    assert_eq!(places, [(0, Some(10), 2), (11, Some(20), 1), (31, None, 1)]);
    let whole = bleu(&[&hypotheses[0], &hypotheses[2]], &references[..2]);
    assert_eq!(found[0].bleu, whole);
}

#[test]
#[should_panic(expected = "do not rise")]
fn bounds_that_do_not_rise_are_refused() {
    let _ = bleu_by_length(&[1], &[20, 10], &["a"], &[vec![]]);
}

#[test]
#[should_panic(expected = "one of each for every hypothesis")]
fn each_hypothesis_has_its_references() {
    let _ = bleu(&["a"], &[]);
}

fn sentence() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(
        &[
            "a", "b", " ", "Ä", "한", ".", ",", "-", "1", "2", "&quot;", "\"", "\n", "\u{1F}", "😀",
        ][..],
    );
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Hypotheses, each with references.
fn corpus() -> impl Strategy<Value = (Vec<String>, Vec<Vec<String>>)> {
    let references = prop::collection::vec(sentence(), 0..3);
    prop::collection::vec((sentence(), references), 1..12).prop_map(|rows| rows.into_iter().unzip())
}

proptest! {
    #[test]
    fn scores_have_bounds((hypotheses, references) in corpus()) {
        let found = bleu(&hypotheses, &references);
        let bounded = |score: f64, most: f64| (0.0..=most + 1e-9).contains(&score);
        prop_assert!(bounded(found.score, 100.0) && bounded(found.brevity_penalty, 1.0), "{found:?}");
        prop_assert!(found.precisions.iter().all(|&p| bounded(p, 100.0)), "{found:?}");
        prop_assert!(bounded(chrf(&hypotheses, &references), 100.0));
        prop_assert!(bounded(exact_match(&hypotheses, &references), 1.0));
    }

    #[test]
    fn the_order_of_sentences_does_not_matter((hypotheses, references) in corpus(), turn in 0usize..12) {
        let turn = turn % hypotheses.len();
        let (mut others, mut their) = (hypotheses.clone(), references.clone());
        others.rotate_left(turn);
        their.rotate_left(turn);
        prop_assert_eq!(bleu(&others, &their), bleu(&hypotheses, &references));
        prop_assert_eq!(chrf(&others, &their), chrf(&hypotheses, &references));
        prop_assert_eq!(exact_match(&others, &their), exact_match(&hypotheses, &references));
    }

    /// What equals a reference is perfect, if there are four tokens somewhere.
    #[test]
    fn a_reference_itself_is_perfect((mut hypotheses, mut references) in corpus(), at in 0usize..3) {
        hypotheses.push("one two three four".into());
        references.push(vec!["one two three four".into()]);
        for (hypothesis, references) in hypotheses.iter_mut().zip(&mut references) {
            references.retain(|text| !text.is_empty());
            references.insert(at.min(references.len()), format!("x{hypothesis}"));
            *hypothesis = format!("x{hypothesis}");
        }
        let found = bleu(&hypotheses, &references);
        prop_assert!((found.score - 100.0).abs() < 1e-9, "{found:?}");
        prop_assert!((chrf(&hypotheses, &references) - 100.0).abs() < 1e-9);
        prop_assert_eq!(exact_match(&hypotheses, &references), 1.0);
    }

    /// Bins are parts of the whole.
    #[test]
    fn bins_hold_every_sentence((hypotheses, references) in corpus(), bounds in prop::collection::btree_set(0usize..30, 0..4)) {
        let lengths: Vec<usize> = hypotheses.iter().map(String::len).collect();
        let bounds: Vec<usize> = bounds.into_iter().collect();
        let found = bleu_by_length(&lengths, &bounds, &hypotheses, &references);
        prop_assert_eq!(found.iter().map(|f| f.sentences).sum::<u64>(), hypotheses.len() as u64);
        let words: u64 = found.iter().map(|f| f.bleu.hypothesis_length).sum();
        prop_assert_eq!(words, bleu(&hypotheses, &references).hypothesis_length);
    }
}
