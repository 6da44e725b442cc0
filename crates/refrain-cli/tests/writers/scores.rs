//! What `evaluate` says where a source may be translated in several ways, and what varied pictures do to a captioner.

use std::fs;

use serde_json::Value;

use crate::support::{fail, output, refrain, succeed};
use crate::{PAIRS, PICTURES, Place, pairs};

#[test]
fn of_several_references_the_nearest_counts() {
    let place = Place::new();
    let model = place.trained(PAIRS, "run");
    let lines = |name: &str, line: &dyn Fn(&(String, String)) -> String| {
        let text: String = pairs().iter().map(|pair| line(pair) + "\n").collect();
        place.write(name, text.as_bytes())
    };
    let source = lines("source.txt", &|pair| pair.0.clone());
    let right = lines("right.txt", &|pair| pair.1.clone());
    let wrong = lines("wrong.txt", &|_| "seven".into());
    let evaluate = |references: &[&String]| {
        let mut command = refrain(&["evaluate", &model, &source]);
        succeed(command.args(references).arg("--json"))
    };
    let score = |found: &Value, name: &str| found[name].as_f64().unwrap();
    let (alone, none) = (evaluate(&[&right]), evaluate(&[&wrong]));
    assert!(score(&alone, "exact_match") > 0.5 && score(&none, "exact_match") == 0.0);
    for both in [evaluate(&[&wrong, &right]), evaluate(&[&right, &wrong])] {
        for name in ["exact_match", "chrf"] {
            assert_eq!(score(&both, name), score(&alone, name), "{name}: {both}");
        }
        assert!(score(&both, "bleu") >= score(&alone, "bleu"), "{both}");
        assert_eq!(both["examples"], alone["examples"]);
    }
}

#[test]
fn pictures_are_varied_unless_that_is_refused_and_vectors_never() {
    let place = Place::new();
    let trained = |run: &str, flags: &[&str]| {
        succeed(&mut place.train(PICTURES, run, &[&["--steps=20"], flags].concat()));
        fs::read(place.path(run).join("last.safetensors")).unwrap()
    };
    let config = |run: &str| fs::read_to_string(place.path(run).join("config.toml")).unwrap();
    let (usual, varied) = (trained("usual", &[]), trained("varied", &["--augment"]));
    assert!(usual == varied, "pictures are varied when nothing is said");
    assert!(usual != trained("plain", &["--augment=false"]));
    assert!(config("usual").contains("augment = true"));
    assert!(config("plain").contains("augment = false"));

    let mut npz = refrain::data::NpzWriter::new();
    let numbers: Vec<f32> = (0..90 * 4).map(|at| (at % 7) as f32).collect();
    npz.add_f32("inputs", &[90, 4], &numbers).unwrap();
    place.write("pictures.npz", &npz.finish().unwrap());
    let (code, message, _) = fail(&mut place.train(PICTURES, "never", &["--augment"]));
    assert!(
        code == 2 && message.starts_with("`augment` is "),
        "{message}"
    );
    succeed(&mut place.train(PICTURES, "vectors", &["--steps=20"]));
    assert!(!config("vectors").contains("augment"));
}

/// One number, small or great, and what it is called: its size alone tells.
#[test]
fn how_large_a_number_is_can_be_told() {
    let place = Place::new();
    let names = ["tiny", "small", "great"];
    let mut npz = refrain::data::NpzWriter::new();
    let number = |at: usize| (at % 3) as f32 * 10.0 + (at % 7) as f32 * 0.1;
    let numbers: Vec<f32> = (0..90).map(number).collect();
    npz.add_f32("inputs", &[90, 1], &numbers).unwrap();
    place.write("pictures.npz", &npz.finish().unwrap());
    let rows: String = (0..90)
        .map(|at| format!("{at}\tit is {}\n", names[at % 3]))
        .collect();
    place.write(
        "captions.tsv",
        format!("picture\tsentence\n{rows}").as_bytes(),
    );
    let end = succeed(&mut place.train(PICTURES, "run", &["--steps=200"]));
    assert_eq!(end["validation"]["exact_match"], 1.0, "{end}");
}

#[test]
fn the_plain_network_sees_the_whole_source() {
    let place = Place::new();
    let flags = [
        "--cell=mlp",
        "--window=3",
        "--steps=20",
        "--max-length=none",
    ];
    succeed(&mut place.train(PAIRS, "run", &flags));
    let score = |source: &str| {
        let file = place.write("source.txt", format!("{source}\n").as_bytes());
        let run = place.name("run");
        succeed(&mut refrain(&["predict", &run, &file, "--json"]))["score"].clone()
    };
    let tail = "zwei drei vier acht";
    assert_ne!(
        score(&format!("eins eins eins {tail}")),
        score(&format!("vier vier vier {tail}")),
        "what differs is far before the end"
    );
}

#[test]
fn what_is_cut_is_neither_counted_as_seen_nor_hidden() {
    let place = Place::new();
    let flags = ["--steps=20", "--max-length=6", "--attention=dot"];
    succeed(&mut place.train(PAIRS, "run", &flags));
    let run = place.name("run");
    let long = ["eins"; 9].join(" ");
    let found = succeed(&mut refrain(&[
        "inspect",
        "attention",
        &run,
        &long,
        "--json",
    ]));
    let count = |value: &Value| value.as_array().unwrap().len();
    assert_eq!(count(&found["source"]), count(&found["weights"][0]));
    assert_eq!(count(&found["source"]), 6);
    let data = place.write(
        "long.tsv",
        format!("source\ttarget\n{long}\tone\n").as_bytes(),
    );
    let output = output(&mut refrain(&["evaluate", &run, &data]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 sources were cut"), "{said}");
}
