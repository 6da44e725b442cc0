//! What is measured, and drawn.

use std::fs;

use refrain::data::{NpzWriter, TokenKind};
use refrain::inspect::gradients::{Reach, of_text};
use refrain::inspect::wide;
use refrain::run::model::LoadedModel;
use refrain::{Compute, Isa};
use serde_json::Value;

use super::npz::{array, lengths};
use super::support::{output, refrain, succeed};
use super::{Place, json, names, numbers, printed};

#[test]
fn gradients_say_what_the_contract_promises() {
    let place = Place::new();
    let text = place.name("text.txt");
    for (cell, states) in [
        (
            "lstm",
            &["rnn_l0 h", "rnn_l0 c", "rnn_l1 h", "rnn_l1 c"][..],
        ),
        ("gru", &["rnn_l0 h", "rnn_l1 h"]),
        ("rnn", &["rnn_l0 h", "rnn_l1 h"]),
    ] {
        let model = place.language_model(cell, &[&format!("--cell={cell}")]);
        let args = [
            "inspect",
            "gradients",
            &model,
            &text,
            "--max-distance=12",
            "--probes=9",
        ];
        let found = json(&args);
        assert_eq!(
            (&found["task"], &found["probes"]),
            (&"lm".into(), &9.into())
        );
        assert_eq!(names(&found, &["name", "state"]), states);
        assert!(found.get("positions").is_none());
        for layer in found["layers"].as_array().unwrap() {
            let distance: Vec<f64> = (0..=12).map(f64::from).collect();
            assert_eq!(numbers(&layer["distance"]), distance);
            let [mean, median, low, high] =
                ["mean", "median", "q25", "q75"].map(|key| numbers(&layer[key]));
            for at in 0..=12 {
                assert!(low[at] > 0.0 && low[at] <= median[at] && median[at] <= high[at]);
                assert!(mean[at] > 0.0);
            }
            let half_life = &layer["half_life"];
            assert!(half_life.is_null() || half_life.as_f64().unwrap() > 0.0);
        }
        // The same whatever computes it; other losses with another seed.
        let again = [&args[..], &["--threads=1", "--isa=scalar"]].concat();
        assert_eq!(json(&again), found);
        let other = json(&[&args[..], &["--seed=4"]].concat());
        assert_ne!(other["layers"], found["layers"]);
        let table = printed(&args);
        assert!(
            table.contains("distance") && table.contains("half-life"),
            "{table}"
        );
    }
}

#[test]
fn positions_show_what_stood_before_them() {
    let place = Place::new();
    let (model, text) = (place.language_model("run", &[]), place.name("text.txt"));
    let args = ["inspect", "gradients", &model, &text, "--positions=500,9,1"];
    let found = json(&args);
    let loaded = LoadedModel::open(model.as_ref()).unwrap();
    assert_eq!(loaded.vocabulary.kind(), TokenKind::Char);
    let content = fs::read_to_string(&text).unwrap();
    let ids = loaded.vocabulary.encode(&content).ids;
    let mut wide = wide::language_model(&loaded.model);
    let reach = Reach {
        max_distance: 50,
        warm_up: 100,
    };
    let compute = Compute::single(Isa::detect());
    let traces = of_text(&compute, &mut wide, &ids, &[500, 9, 1], reach);
    for ((at, reached), (found, trace)) in [(500, 51), (9, 9), (1, 1)]
        .into_iter()
        .zip(found["positions"].as_array().unwrap().iter().zip(traces))
    {
        assert_eq!(found["position"], at);
        let text_of = |&id: &u32| loaded.vocabulary.token_text(id);
        assert_eq!(found["token"], text_of(&ids[at]));
        let before = ids[..at].iter().rev().take(reached).map(text_of);
        let tokens = found["tokens"].as_array().unwrap().iter();
        let tokens: Vec<&str> = tokens.map(|token| token.as_str().unwrap()).collect();
        assert_eq!(tokens, before.collect::<Vec<_>>());
        assert_eq!(numbers(&found["inputs"]), trace.inputs);
        assert_eq!(found["loss_nats"].as_f64().unwrap(), trace.loss_nats);
        for (layer, expected) in found["layers"]
            .as_array()
            .unwrap()
            .iter()
            .zip(&trace.layers)
        {
            assert_eq!(layer["name"], expected.name);
            assert_eq!(numbers(&layer["norms"]), expected.norms);
        }
    }
    let shown = printed(&args);
    assert!(
        shown.contains("at 500:") && shown.contains('\u{2588}'),
        "{shown}"
    );
}

#[test]
fn spectra_are_told_gate_by_gate() {
    let place = Place::new();
    let model = place.language_model("run", &["--num-layers=1"]);
    let found = json(&["inspect", "spectrum", &model]);
    let gates = ["rnn_l0 i", "rnn_l0 f", "rnn_l0 g", "rnn_l0 o"];
    assert_eq!(names(&found, &["name", "gate"]), gates);
    for gate in found["layers"].as_array().unwrap() {
        let values = numbers(&gate["singular_values"]);
        assert_eq!(values.len(), 20);
        assert!(values.is_sorted_by(|a, b| a >= b));
        let radius = gate["spectral_radius"].as_f64().unwrap();
        assert!(radius > 0.0 && radius <= values[0] * (1.0 + 1e-12));
        assert!(gate["condition"].as_f64().unwrap() >= 1.0);
    }
    let table = printed(&["inspect", "spectrum", &model]);
    assert!(table.starts_with("layer   gate  greatest"), "{table}");
}

#[test]
fn gates_are_those_that_states_writes() {
    let place = Place::new();
    let (text, out) = (place.name("text.txt"), place.name("states.npz"));
    for (cell, gates) in [
        ("lstm", &["i", "f", "g", "o"][..]),
        ("gru", &["r", "z", "n"]),
        ("rnn", &["h"]),
    ] {
        let model = place.language_model(cell, &[&format!("--cell={cell}")]);
        succeed(&mut refrain(&[
            "inspect",
            "states",
            &model,
            &text,
            "-o",
            &out,
            "--max=700",
            "--json",
        ]));
        let npz = fs::read(&out).unwrap();
        let found = json(&["inspect", "gates", &model, &text, "--max=700"]);
        let layers = found["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2 * gates.len());
        for layer in layers {
            let gate = layer["gate"].as_str().unwrap();
            let at = layer["name"]
                .as_str()
                .unwrap()
                .strip_prefix("rnn_")
                .unwrap();
            let (shape, values) = array(&npz, &format!("{gate}_{at}"));
            assert_eq!((shape[1], &layer["steps"]), (700, &Value::from(700)));
            let (low, high) = match gate {
                "g" | "n" | "h" => (-0.9, 0.9),
                _ => (0.1, 0.9),
            };
            let part = |unit: usize, is: &dyn Fn(f32) -> bool| {
                let column = values.iter().skip(unit).step_by(20);
                column.filter(|&&value| is(value)).count() as f64 / 700.0
            };
            let (left, right) = (
                numbers(&layer["left_saturated"]),
                numbers(&layer["right_saturated"]),
            );
            for unit in 0..20 {
                assert_eq!(left[unit], part(unit, &|value| f64::from(value) < low));
                assert_eq!(right[unit], part(unit, &|value| f64::from(value) > high));
            }
            let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
            let mean = layer["mean"].as_f64().unwrap();
            assert!((mean - sum / values.len() as f64).abs() < 1e-9);
            assert_eq!(layer.get("lifetime").is_some(), ["f", "z"].contains(&gate));
        }
    }
}

#[test]
fn what_a_model_does_not_know_is_counted() {
    let place = Place::new();
    let model = place.language_model("run", &[]);
    place.write(
        "odd.txt",
        &format!("\u{416}\u{416}{}", "one two ".repeat(20)),
    );
    let odd = place.name("odd.txt");
    assert_eq!(json(&["inspect", "gates", &model, &odd])["unknown"], 2);
    let gradients = ["inspect", "gradients", &model, &odd, "--max-distance=5"];
    assert_eq!(json(&gradients)["unknown"], 2);
    let output = output(&mut refrain(&["inspect", "gates", &model, &odd]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("2 symbols or words"), "{said}");
}

#[test]
fn words_stand_in_what_a_prediction_rests_on() {
    let place = Place::new();
    let (text, drawing) = (place.name("text.txt"), place.name("words.svg"));
    let model = place.language_model("run", &["--tokens=word"]);
    let args = [
        "inspect",
        "gradients",
        &model,
        &text,
        "--max-distance=5",
        "--positions=20",
    ];
    let plot = format!("--plot={drawing}");
    let table = printed(&[&args[..], &[&plot]].concat());
    let bars = "\u{2588}".repeat(2);
    assert!(table.contains(&bars), "{table}");
    let words = table.lines().find(|line| line.contains("before"));
    let at = table.find(words.unwrap()).unwrap();
    let line = table[at..].lines().nth(1).unwrap();
    assert!(line.trim().contains(' '), "words stand apart: {line}");
    let svg = fs::read_to_string(drawing).unwrap();
    let words = ["one", "two", "three", "four", "five", "six"];
    let written = words.map(|word| svg.matches(&format!(">\n{word}\n<")).count());
    assert!(written.iter().sum::<usize>() >= 3, "{written:?}");
}

#[test]
fn states_of_a_translator_are_those_of_both_parts() {
    let place = Place::new();
    let out = place.name("states.npz");
    let data = ["pairs.de", "pairs.en"];
    let model = place.trained("translate", &data, "run", &["--steps=3", "--tokens=word"]);
    let data = data.map(|name| place.name(name));
    let states = |more: &[&str]| {
        let args = ["inspect", "states", &model, &data[0], &data[1], "-o", &out];
        succeed(&mut refrain(&[&args[..], more, &["--json"]].concat()));
        fs::read(&out).unwrap()
    };
    let npz = states(&[]);
    // The full stop is a word, and the target's end is written too.
    assert_eq!(lengths(&npz, "encoder.lengths"), [4, 5].repeat(10));
    assert_eq!(lengths(&npz, "decoder.lengths"), [5, 6].repeat(10));
    let found = json(&["inspect", "gates", &model, &data[0], &data[1]]);
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3 * 4);
    for layer in layers {
        let gate = layer["gate"].as_str().unwrap();
        let (owner, at) = layer["name"].as_str().unwrap().split_once(".rnn_").unwrap();
        let (shape, values) = array(&npz, &format!("{owner}.{gate}_{at}"));
        let lengths = lengths(&npz, &format!("{owner}.lengths"));
        assert_eq!(shape, [20, *lengths.iter().max().unwrap(), 20]);
        let (mut sum, mut steps) = (0.0, 0);
        for (sequence, &length) in values.chunks_exact(shape[1] * 20).zip(&lengths) {
            let (read, past) = sequence.split_at(length * 20);
            sum += read.iter().map(|&value| f64::from(value)).sum::<f64>();
            steps += length;
            assert!(past.iter().all(|&value| value == 0.0), "{layer}");
        }
        let mean = layer["mean"].as_f64().unwrap();
        assert_eq!(layer["steps"], steps);
        assert!((mean - sum / (20 * steps) as f64).abs() < 1e-7, "{layer}");
    }
    let first = states(&["--max=3"]);
    assert_eq!(array(&first, "decoder.c_l0").0, [3, 6, 20]);
}

#[test]
fn a_captioner_has_states_where_it_writes() {
    let place = Place::new();
    let (out, vectors) = (place.name("states.npz"), place.name("vectors.npz"));
    let captions: String = (0..12)
        .map(|at| format!("{at}\tthe {}\n", ["first one", "other"][at % 2]))
        .collect();
    place.write("captions.tsv", &format!("picture\tsentence\n{captions}"));
    let mut npz = NpzWriter::new();
    let values: Vec<f32> = (0..24u8).map(f32::from).collect();
    npz.add_f32("inputs", &[12, 2], &values).unwrap();
    fs::write(&vectors, npz.finish().unwrap()).unwrap();
    let images = format!("--images={vectors}");
    let more = ["--steps=3", "--tokens=word", &images];
    let model = place.trained("caption", &["captions.tsv"], "run", &more);
    let data = place.name("captions.tsv");
    succeed(&mut refrain(&[
        "inspect", "states", &model, &data, &images, "-o", &out, "--json",
    ]));
    let npz = fs::read(&out).unwrap();
    assert_eq!(lengths(&npz, "decoder.lengths"), [4, 3].repeat(6));
    assert_eq!(array(&npz, "decoder.h_l0").0, [12, 4, 20]);
    assert!(!npz.windows(8).any(|part| part == b"encoder."));
}

#[test]
fn every_task_can_be_looked_into() {
    let place = Place::new();
    let cases = [
        (
            "classify",
            &["reviews.tsv"][..],
            &["rnn_l0", "rnn_l0_reverse"][..],
        ),
        ("tag", &["tags.conllu"], &["rnn_l0", "rnn_l0_reverse"]),
        ("forecast", &["load.csv"], &["rnn_l0"]),
        (
            "translate",
            &["pairs.de", "pairs.en"],
            &["encoder.rnn_l0", "encoder.rnn_l0_reverse", "decoder.rnn_l0"],
        ),
    ];
    for (task, data, layers) in cases {
        let model = place.trained(task, data, task, &["--steps=3"]);
        let data: Vec<String> = data.iter().map(|name| place.name(name)).collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        let args = [
            &["inspect", "gradients", &model][..],
            &data,
            &["--probes=5"],
        ]
        .concat();
        let found = json(&args);
        assert_eq!(found["probes"], 5, "{task}");
        let states = layers
            .iter()
            .flat_map(|name| ["h", "c"].map(|state| format!("{name} {state}")));
        let expected: Vec<String> = states.collect();
        assert_eq!(names(&found, &["name", "state"]), expected);
        for layer in found["layers"].as_array().unwrap() {
            assert!(numbers(&layer["mean"])[0] > 0.0, "{task}: {layer}");
        }
        let found = json(&[&["inspect", "gates", &model][..], &data].concat());
        let gates = layers
            .iter()
            .flat_map(|name| ["i", "f", "g", "o"].map(|gate| format!("{name} {gate}")));
        assert_eq!(names(&found, &["name", "gate"]), gates.collect::<Vec<_>>());
        if task == "forecast" {
            let steps = found["layers"][0]["steps"].as_u64().unwrap();
            assert!(steps > 1000, "all windows, not one: {steps}");
        }
        let found = json(&["inspect", "spectrum", &model]);
        let found = names(&found, &["name"]);
        assert!(
            layers
                .iter()
                .all(|name| found.iter().any(|found| found == name)),
            "{found:?}"
        );
    }
}

#[test]
fn drawings_are_files_or_letters() {
    let place = Place::new();
    let (model, text) = (place.language_model("run", &[]), place.name("text.txt"));
    let gradients = vec![
        "gradients",
        &model,
        &text,
        "--positions=300",
        "--max-distance=40",
    ];
    for what in [
        gradients,
        vec!["spectrum", &model],
        vec!["gates", &model, &text],
    ] {
        let svg = place.name("drawing.svg");
        let args = [&["inspect"][..], &what].concat();
        let said = printed(&[&args[..], &["--plot", &svg]].concat());
        assert!(said.contains("drawing.svg"), "{said}");
        let drawn = fs::read_to_string(&svg).unwrap();
        assert!(
            drawn.starts_with("<svg role=\"img\"")
                && drawn.contains("log scale") != (what[0] == "gates")
        );
        let png = place.name("drawing.png");
        succeed(refrain(&args).args(["--json", "--plot", &png]));
        assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
        let letters = printed(&[&args[..], &["--plot"]].concat());
        assert!(
            letters.contains("* several") && letters.contains('+'),
            "{letters}"
        );
        let width = |line: &str| line.chars().count();
        assert!(letters.lines().all(|line| width(line) <= 80), "{letters}");
    }
}
