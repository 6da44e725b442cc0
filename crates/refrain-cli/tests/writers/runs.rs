//! Runs that are killed, stopped and resumed; on other threads and instructions; what they answer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{killed_and_resumed, output, refrain, same_run, succeed};
use crate::{Kind, PAIRS, PICTURES, Place};

fn check(kind: Kind) {
    let place = Place::new();
    let whole = place.path("whole");
    succeed(&mut place.train(kind, "whole", &["--threads=1"]));
    for (name, flag) in [("two", "--threads=2"), ("scalar", "--isa=scalar")] {
        succeed(&mut place.train(kind, name, &[flag]));
        same_run(&place.path(name), &whole);
    }
    succeed(&mut place.train(kind, "short", &["--steps=30"]));
    assert_eq!(
        succeed(place.resume("short").arg("--steps=60"))["steps"],
        60
    );
    same_run(&place.path("short"), &whole);
    let (run, begin) = (place.path("killed"), place.train(kind, "killed", &[]));
    let kills = killed_and_resumed(&run, &[1, 9, 20, 31, 48], begin, || place.resume("killed"));
    assert!(kills >= 1, "the run was over too soon: {kills} kills");
    assert_eq!(succeed(&mut place.resume("killed"))["steps"], 60);
    same_run(&run, &whole);
}

#[test]
fn a_translator_is_the_same_however_it_was_run() {
    check(PAIRS);
}

#[test]
fn a_captioner_is_the_same_however_it_was_run() {
    check(PICTURES);
}

#[test]
fn a_translator_answers_line_by_line_and_a_file_alike() {
    let place = Place::new();
    let model = place.trained(PAIRS, "run");
    let asked = [
        "eins zwei",
        "drei",
        "",
        "neverseen acht acht acht acht acht",
    ];
    let mut child = refrain(&["predict", &model, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut alone: Vec<Value> = Vec::new();
    for line in asked {
        // The answer is read before the next line is sent.
        writeln!(input, "{line}").unwrap();
        let answer = answers.next().unwrap().unwrap();
        alone.push(serde_json::from_str(&answer).unwrap());
    }
    drop(input);
    assert!(answers.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(1), "a line was empty");
    for (line, answer) in asked.iter().zip(&alone) {
        if line.is_empty() {
            assert!(answer["error"].as_str().unwrap().contains("line 3"));
        } else {
            assert!(answer["text"].is_string(), "{answer}");
            assert!(answer["score"].as_f64().unwrap() <= 0.0, "{answer}");
        }
    }
    let file = place.write("lines.txt", format!("{}\n", asked.join("\n")).as_bytes());
    let together = output(&mut refrain(&["predict", &model, &file, "--json"]));
    let together = String::from_utf8(together.stdout).unwrap();
    let mut together: Vec<Value> = together
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The one names the file, the other standard input.
    together[2] = alone[2].clone();
    assert_eq!(together, alone);
}

#[test]
fn scores_have_their_fields_and_a_captioner_looks_at_the_picture() {
    let place = Place::new();
    let evaluate = |model: &str, data: &str, more: &[&str]| {
        succeed(refrain(&["evaluate", model, data, "--json"]).args(more))
    };
    let pairs = evaluate(
        &place.trained(PAIRS, "pairs"),
        &place.name("pairs.tsv"),
        &[],
    );
    assert_eq!(
        (&pairs["task"], &pairs["examples"]),
        (&"translate".into(), &119.into())
    );
    for field in [
        "loss_nats",
        "bleu",
        "chrf",
        "exact_match",
        "unknown",
        "tokens",
    ] {
        assert!(pairs[field].is_number(), "{field}: {pairs}");
    }
    let model = place.trained(PICTURES, "pictures");
    let images = format!("--images={}", place.name("pictures.npz"));
    let right = evaluate(&model, &place.name("captions.tsv"), &[&images]);
    assert_eq!(
        (&right["task"], &right["examples"]),
        (&"caption".into(), &90.into())
    );
    // The same sentences with the pictures of others.
    let text = std::fs::read_to_string(place.path("captions.tsv")).unwrap();
    let moved: String = text
        .lines()
        .map(|line| match line.split_once('\t') {
            Some((picture, sentence)) if sentence != "sentence" => {
                let picture: usize = picture.parse().unwrap();
                format!("{}\t{sentence}\n", (picture + 1) % 90)
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let wrong = evaluate(
        &model,
        &place.write("moved.tsv", moved.as_bytes()),
        &[&images],
    );
    let loss = |score: &Value| score["loss_nats"].as_f64().unwrap();
    assert!(loss(&right) + 0.3 < loss(&wrong), "{right} and {wrong}");
    let exact = |score: &Value| score["exact_match"].as_f64().unwrap();
    assert!(exact(&right) > exact(&wrong), "{right} and {wrong}");
}

#[test]
fn an_alignment_is_drawn_in_every_form() {
    let place = Place::new();
    let model = place.trained(PAIRS, "run");
    for (file, begins) in [
        ("a.svg", &b"<svg"[..]),
        ("a.png", b"\x89PNG"),
        ("a.json", b"{"),
    ] {
        let path = place.name(file);
        let args = [
            "inspect",
            "attention",
            &model,
            "eins zwei drei",
            "-o",
            &path,
            "--json",
        ];
        let shown = succeed(&mut refrain(&args));
        assert_eq!(shown["source"], Value::from(vec!["eins", "zwei", "drei"]));
        let rows = shown["weights"].as_array().unwrap();
        assert_eq!(rows.len(), shown["target"].as_array().unwrap().len());
        for row in rows {
            let weights = row.as_array().unwrap().iter();
            let sum: f64 = weights.map(|weight| weight.as_f64().unwrap()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{row}");
        }
        let bytes = std::fs::read(place.path(file)).unwrap();
        assert!(bytes.starts_with(begins), "{file}");
    }
}

/// What the built-in dates must reach, in steps that take seconds.
#[test]
fn the_built_in_dates_are_learnt() {
    let place = Place::new();
    let run = place.name("dates");
    let args = ["train", "translate", "-o", &run, "--steps=420", "--json"];
    let end = succeed(&mut refrain(&args));
    let exact = end["validation"]["exact_match"].as_f64().unwrap();
    assert!(exact >= 0.9, "{exact} in {end}");
}
