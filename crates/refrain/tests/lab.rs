//! The experiments: in their quick form each claim holds, and without what it rests on it does not.
#![cfg(feature = "report")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::Cell;

use refrain::lab::{Conditions, EXPERIMENTS, NAMES, Outcome, find, page};
use refrain::{Compute, Isa};
use serde_json::Value;

fn run_with(name: &str, seed: u64, without_cause: bool, compute: &Compute) -> Outcome {
    // A clock of its own: figures of time are the same in every run too.
    let ticks = Cell::new(0.0);
    let conditions = Conditions {
        quick: true,
        seed,
        without_cause,
        compute,
        clock: &|| {
            ticks.set(ticks.get() + 0.25);
            ticks.get()
        },
        peak_memory: &|| Some(1 << 20),
        progress: &|_| {},
    };
    find(name).unwrap().run(&conditions).unwrap()
}

/// What every outcome has: evidence, figures, pictures that say what they show.
#[track_caller]
fn is_whole(outcome: &Outcome) {
    let object = Value::Object(outcome.to_json());
    assert_eq!(object["name"], outcome.name);
    assert_eq!(object["holds"], outcome.holds);
    let evidence = object["evidence"].as_array().unwrap();
    assert!(evidence.len() >= 2, "{evidence:?}");
    let starts = |said: &Value| {
        let said = said.as_str().unwrap();
        said.starts_with("yes: ") || said.starts_with("no: ")
    };
    assert!(evidence.iter().all(starts), "{evidence:?}");
    let all_yes = evidence
        .iter()
        .all(|said| said.as_str().unwrap().starts_with("yes: "));
    assert_eq!(all_yes, outcome.holds);
    assert!(!object["figures"].as_object().unwrap().is_empty());
    for table in &outcome.figures.tables {
        assert!(!table.rows.is_empty(), "{}", table.name);
        assert!(
            table
                .rows
                .iter()
                .all(|row| row.len() == table.columns.len())
        );
    }
    assert!(outcome.seen.len() > 100, "{}", outcome.seen);
    for (svg, picture) in outcome.drawn().unwrap().iter().zip(&outcome.pictures) {
        assert!(
            svg.starts_with("<svg") && !svg.contains("nothing to draw"),
            "{picture:?}"
        );
        assert!(picture.caption.ends_with('.'));
    }
    assert!(!outcome.pictures.is_empty());
    is_well_formed(&page(std::slice::from_ref(outcome), "One experiment.").unwrap());
}

/// Every element is closed, in the right order; nothing is loaded and nothing is run.
#[track_caller]
fn is_well_formed(page: &str) {
    const EMPTY: [&str; 2] = ["meta", "br"];
    for forbidden in [
        "<script",
        "<link",
        "<img",
        "src=",
        "url(",
        "@import",
        "href=\"http",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.starts_with("<!DOCTYPE html>"));
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = |tag: &str| tag.split([' ', '\n', '/']).next().unwrap().to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "{tag}");
        } else if !tag.ends_with('/') && !EMPTY.contains(&name(tag).as_str()) {
            open.push(name(tag));
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The claim holds, twice with the same figures; without its cause it does not hold.
#[track_caller]
fn holds_by_its_cause(name: &str) {
    let compute = Compute::new(Isa::detect(), 2);
    let outcome = run_with(name, 0, false, &compute);
    assert!(outcome.holds, "{:#?}", outcome.evidence);
    is_whole(&outcome);
    assert!(outcome.beyond.len() > 100, "{}", outcome.beyond);
    let again = run_with(name, 0, false, &Compute::single(Isa::detect()));
    assert_eq!(again.to_json(), outcome.to_json());
    let without = run_with(name, 0, true, &compute);
    assert!(!without.holds, "{:#?}", without.evidence);
    is_whole(&without);
}

macro_rules! experiments {
    ($($test:ident $name:literal)+) => {
        const TESTED: &[&str] = &[$($name),+];
        $(#[test]
        fn $test() {
            holds_by_its_cause($name);
        })+
    };
}

experiments! {
    five_shapes "five-shapes"
    shared_weights "shared-weights"
    variety "variety"
    full_cost "full-cost"
    truncation "truncation"
    depth "depth"
    vanishing "vanishing"
    clipping "clipping"
    lstm_gates "lstm-gates"
    gradient_flow "gradient-flow"
    activations "activations"
    normalization "normalization"
}

#[test]
fn every_experiment_is_tested() {
    assert_eq!(TESTED, NAMES);
    for experiment in &EXPERIMENTS {
        assert!(experiment.claim.ends_with('.') && !experiment.claim.contains("  "));
        assert!(experiment.cause.contains("; in "), "{}", experiment.cause);
        assert!(!experiment.measures.ends_with('.'));
    }
    assert!(
        find("no such")
            .unwrap_err()
            .to_string()
            .contains("vanishing")
    );
}

#[test]
fn another_seed_gives_other_figures() {
    let compute = Compute::single(Isa::detect());
    let [one, two] = [0, 1].map(|seed| run_with("shared-weights", seed, false, &compute));
    assert!(one.holds && two.holds);
    assert_ne!(one.figures.to_json(), two.figures.to_json());
}

#[test]
fn texts_are_escaped_on_the_page() {
    let compute = Compute::single(Isa::detect());
    let mut outcome = run_with("shared-weights", 0, false, &compute);
    outcome.seen = "<script>alert(1)</script> & \u{202e}".into();
    let page = page(&[outcome], "<b>").unwrap();
    is_well_formed(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt; &amp; ⟨U+202E⟩"));
    assert!(page.contains("<p>&lt;b&gt;</p>"));
}
