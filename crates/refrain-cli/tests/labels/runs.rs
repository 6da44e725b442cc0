//! Runs that are killed, stopped and resumed; on other threads and instructions; the built-in data.

use refrain::checkpoint::{Container, TensorData};

use crate::support::{killed_and_resumed, refrain, same_run, succeed};
use crate::{CLIPS, Kind, Place, REVIEWS, TAGS, TEXT};

fn check(kind: Kind) {
    let place = Place::new();
    let whole = place.path("whole");
    succeed(&mut place.train(kind, "whole", &["--threads=1"]));
    for (name, flag) in [("two", "--threads=2"), ("scalar", "--isa=scalar")] {
        succeed(&mut place.train(kind, name, &[flag]));
        same_run(&place.path(name), &whole);
    }
    // Not at a saved state, but at a score: the end of a run has one.
    succeed(&mut place.train(kind, "short", &["--steps=30"]));
    let end = succeed(place.resume("short").arg("--steps=80"));
    assert_eq!(end["steps"], 80);
    same_run(&place.path("short"), &whole);
    let (run, begin) = (place.path("killed"), place.train(kind, "killed", &[]));
    let kills = killed_and_resumed(&run, &[1, 8, 19, 33, 50, 71], begin, || {
        place.resume("killed")
    });
    assert_eq!(succeed(&mut place.resume("killed"))["steps"], 80);
    assert!(kills >= 2, "the run was over too soon: {kills} kills");
    same_run(&place.path("killed"), &whole);
}

#[test]
fn a_classifier_of_texts_is_the_same_however_it_was_run() {
    check(REVIEWS);
}

#[test]
fn a_tagger_of_spelt_words_is_the_same_however_it_was_run() {
    check(TAGS);
}

#[test]
fn a_tagger_of_video_is_the_same_however_it_was_run() {
    check(CLIPS);
}

#[test]
fn a_plain_language_model_is_the_same_however_it_was_run() {
    check(TEXT);
}

/// The runs above would be the same without statistics too: they are there, and they move.
#[test]
fn running_statistics_are_kept() {
    let place = Place::new();
    let statistics = |run: &str| {
        let path = place.path(run).join("state.safetensors");
        let container = Container::read(&path).unwrap();
        let found = container.tensors.iter().filter_map(|(name, tensor)| {
            let TensorData::F32(values) = tensor.data() else {
                return None;
            };
            name.contains("running_")
                .then(|| (name.to_owned(), values.clone()))
        });
        found.collect::<Vec<_>>()
    };
    succeed(&mut place.train(REVIEWS, "run", &["--steps=10"]));
    let before = statistics("run");
    assert_eq!(before.len(), 2, "{before:?}");
    succeed(place.resume("run").arg("--steps=11"));
    for ((name, before), (_, after)) in before.iter().zip(&statistics("run")) {
        assert!(before != after, "{name} stands still");
        assert!(before.iter().any(|&x| x != 0.0 && x != 1.0), "{name}");
    }
}

/// What the built-in data must reach, in steps that take seconds.
#[test]
fn the_built_in_data_is_learnt() {
    let place = Place::new();
    for (task, steps, floor) in [
        ("classify", "--steps=900", 0.97),
        ("tag", "--steps=450", 0.8),
    ] {
        let run = place.name(task);
        let end = succeed(&mut refrain(&["train", task, "-o", &run, steps, "--json"]));
        let accuracy = end["validation"]["accuracy"].as_f64().unwrap();
        assert!(accuracy >= floor, "{task}: {accuracy} in {end}");
        assert!(place.path(task).join("report.html").is_file());
    }
}

#[test]
fn a_plain_language_model_learns() {
    let place = Place::new();
    let loss = |run: &str, steps: &str| {
        let end = succeed(&mut place.train(TEXT, run, &[steps, "--dropout=0"]));
        end["validation"]["loss_nats"].as_f64().unwrap()
    };
    let (early, late) = (loss("early", "--steps=1"), loss("late", "--steps=150"));
    assert!(late < 0.7 * early, "{early} then {late}");
}

#[test]
fn standard_input_is_kept_for_a_resume() {
    let place = Place::new();
    let args = ["train", "classify", "-", "--format=tsv", "-o"];
    let rest = ["--hidden-size=8", "--num-layers=1", "--steps=5", "--json"];
    let mut command = refrain(&args);
    command.arg(place.path("piped")).args(rest);
    command.stdin(std::fs::File::open(place.path("reviews.tsv")).unwrap());
    succeed(&mut command);
    let end = succeed(place.resume("piped").arg("--steps=12"));
    assert_eq!(end["steps"], 12);
}
