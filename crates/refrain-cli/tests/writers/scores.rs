//! What `evaluate` says where a source may be translated in several ways, and what varied pictures do to a captioner.

use std::fs;

use serde_json::Value;

use crate::support::{fail, refrain, succeed};
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
