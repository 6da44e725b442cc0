//! `train --watch`: what it writes, and that it changes nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::support::{fail, killed_and_resumed, refrain, succeed};
use super::{Place, numbers};

/// The lines of what was watched.
fn watched(run: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let events = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == "watch").collect()
}

const WATCH: [&str; 2] = ["--watch=gates,gradients,spectrum", "--watch-every=7"];

#[test]
fn watching_changes_nothing_and_is_written_down() {
    let place = Place::new();
    for cell in ["--cell=lstm", "--cell=gru", "--cell=rnn"] {
        let (plain, watching) = (format!("plain{cell}"), format!("watched{cell}"));
        place.language_model(&plain, &[cell]);
        place.language_model(&watching, &[&[cell][..], &WATCH].concat());
        for file in ["last.safetensors", "best.safetensors"] {
            let read = |run: &str| fs::read(place.path(run).join(file)).unwrap();
            assert!(read(&plain) == read(&watching), "{file} with {cell}");
        }
        assert!(watched(&place.path(&plain)).is_empty());
        let events = watched(&place.path(&watching));
        let steps: Vec<u64> = events
            .iter()
            .map(|event| event["step"].as_u64().unwrap())
            .collect();
        assert_eq!(
            steps,
            [0, 7, 14, 21, 28, 30],
            "at the start, every seventh step, and the last"
        );
        let gates = match cell {
            "--cell=lstm" => 4,
            "--cell=gru" => 3,
            _ => 1,
        };
        let states = if gates == 4 { 4 } else { 2 };
        for event in &events {
            assert_eq!(event["gates"].as_array().unwrap().len(), 2 * gates);
            assert_eq!(event["spectrum"].as_array().unwrap().len(), 2 * gates);
            let gradients = event["gradients"].as_array().unwrap();
            assert_eq!(gradients.len(), states);
            for layer in gradients {
                assert_eq!(
                    numbers(&layer["distance"]),
                    [0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0]
                );
                assert!(numbers(&layer["median"])[0] > 0.0);
            }
        }
        assert_ne!(events[0]["spectrum"], events[1]["spectrum"]);
        let report = fs::read_to_string(place.path(&watching).join("report.html")).unwrap();
        for panel in ["watch-reach", "watch-gradients"] {
            assert!(report.contains(&format!("id=\"{panel}\"")), "no {panel}");
        }
        for panel in ["watch-spectrum", "watch-gates", "watch-saturation"] {
            for layer in ["rnn_l0", "rnn_l1"] {
                let id = format!("id=\"{panel}-{layer}\"");
                assert!(report.contains(&id), "no {id}");
            }
        }
        let report = fs::read_to_string(place.path(&plain).join("report.html")).unwrap();
        assert!(!report.contains("watch-"));
    }
}

#[test]
fn a_killed_run_that_is_resumed_has_seen_the_same() {
    let place = Place::new();
    let more = [
        "--embedding-size=8",
        "--bptt=10",
        "--steps=80",
        "--save-every=9",
    ];
    let more = [&more[..], &WATCH].concat();
    place.trained("lm", &["text.txt"], "whole", &more);
    let args = place.training("lm", &["text.txt"], "killed", &more);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let killed = place.name("killed");
    let resume = || refrain(&["train", "--resume", &killed, "--json"]);
    killed_and_resumed(
        &place.path("killed"),
        &[4, 17, 30, 44, 61],
        refrain(&args),
        resume,
    );
    succeed(&mut resume());
    let events = watched(&place.path("whole"));
    assert_eq!(events.len(), 13);
    assert_eq!(watched(&place.path("killed")), events);
    let last = |run: &str| fs::read(place.path(run).join("last.safetensors")).unwrap();
    assert!(last("killed") == last("whole"));
}

#[test]
fn other_tasks_are_watched_too() {
    let place = Place::new();
    for (task, data, layer) in [
        ("classify", &["reviews.tsv"][..], "rnn_l0_reverse"),
        ("tag", &["tags.conllu"], "rnn_l0"),
        ("forecast", &["load.csv"], "rnn_l0"),
        ("translate", &["pairs.de", "pairs.en"], "decoder.rnn_l0"),
    ] {
        let watching = format!("{task}-watched");
        place.trained(task, data, task, &["--steps=4"]);
        place.trained(
            task,
            data,
            &watching,
            &[
                "--steps=4",
                "--watch=gradients,spectrum,gates",
                "--watch-every=2",
            ],
        );
        let last = |run: &str| fs::read(place.path(run).join("last.safetensors")).unwrap();
        assert!(last(task) == last(&watching), "{task}");
        let events = watched(&place.path(&watching));
        assert_eq!(events.len(), 3, "{task}");
        for part in ["gates", "spectrum", "gradients"] {
            let found = events[1][part].as_array().unwrap();
            assert!(
                found.iter().any(|gate| gate["name"] == layer),
                "{task}: {found:?}"
            );
        }
    }
}

#[test]
fn what_cannot_be_watched_is_refused_by_name() {
    let place = Place::new();
    for (task, data, more, expected) in [
        (
            "lm",
            "text.txt",
            &["--watch=gates", "--cell=mlp"][..],
            "`watch` is",
        ),
        ("lm", "text.txt", &["--watch-every=5"], "`watch-every` is 5"),
        (
            "lm",
            "text.txt",
            &["--watch=gates", "--watch-every=0"],
            "`watch-every` is 0",
        ),
        ("lm", "text.txt", &["--watch=everything"], "everything"),
    ] {
        let args = place.training(task, &[data], "run", more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, message, _) = fail(&mut refrain(&args));
        assert!(message.contains(expected), "{more:?}: {message}");
        assert_eq!(code, 2, "{more:?}: {message}");
        assert!(!place.path("run").exists());
    }
}
