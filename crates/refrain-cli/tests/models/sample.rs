//! `refrain sample`.

use std::path::Path;
use std::process::Stdio;

use insta::assert_snapshot;
use refrain::data::TokenKind;
use refrain::nn::CellKind;
use serde_json::Value;

use crate::support::{json_error, json_lines, refrain, show, stdout, taught};

const TEXT: &str = "hello world, hello\n";

fn model(folder: &Path) -> String {
    let path = taught(folder, TEXT, TokenKind::Char, CellKind::Lstm);
    path.to_str().unwrap().to_owned()
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap();
    list.iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn the_prompt_comes_first_and_the_text_ends_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let of = |args: &[&str]| stdout(&[&["sample", &model, "--seed", "1"], args].concat());
    assert_eq!(of(&["--prompt", "hello w", "--length", "0"]), "hello w\n");
    let greedy = of(&["--prompt", "hello w", "--length", "4", "--greedy"]);
    assert_eq!(greedy, "hello world\n");
    // Without a prompt it begins after a line break, which is not shown.
    assert!(of(&["--length", "5"]).chars().count() >= 5);
    assert!(!of(&["--length", "5", "--greedy"]).starts_with('\n'));
    assert_eq!(of(&[]), of(&["--isa", "scalar", "--threads", "1"]));
    assert_eq!(of(&["--prompt", ""]), of(&[]));
}

#[test]
fn a_sample_is_the_same_whatever_the_count() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let args = [
        "sample",
        &model,
        "--seed",
        "7",
        "--length",
        "30",
        "--temperature",
        "1.5",
        "--json",
    ];
    let three = json_lines(&[&args[..], &["--count", "3"]].concat());
    assert_eq!(three.len(), 3);
    assert_eq!(json_lines(&args)[0], three[0]);
    assert_ne!(three[0]["text"], three[1]["text"]);
    for (number, sample) in three.iter().enumerate() {
        assert_eq!(sample["sample"], number);
        assert_eq!(sample["seed"], 7);
        assert_eq!(sample["prompt"], "\n");
        assert_eq!(sample["finish_reason"], "length");
        assert_eq!(
            strings(&sample["tokens"]).concat(),
            sample["text"].as_str().unwrap()
        );
        let logprobs = sample["logprobs"].as_array().unwrap();
        assert_eq!(logprobs.len(), 30);
        assert!(logprobs.iter().all(|p| p.as_f64().unwrap() <= 0.0));
    }
    let text = stdout(&[
        "sample", &model, "--count", "2", "--length", "0", "--prompt", "he",
    ]);
    assert_eq!(text, "he\n---\nhe\n");
}

#[test]
fn the_stop_text_is_not_part_of_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let args = [
        "sample", &model, "--prompt", "hello", "--greedy", "--length", "13", "--seed", "0",
    ];
    assert_eq!(stdout(&args), "hello world, hello\n");
    let stop = [&args[..], &["--stop", "ld,"]].concat();
    assert_eq!(stdout(&stop), "hello wor\n");
    let sample = &json_lines(&[&stop[..], &["--json"]].concat())[0];
    assert_eq!(sample["text"], " wor");
    assert_eq!(strings(&sample["tokens"]), [" ", "w", "o", "r"]);
    assert_eq!(sample["logprobs"].as_array().unwrap().len(), 4);
    assert_eq!(sample["finish_reason"], "stop");
    // What looked like it but was not is shown in the end.
    let stop = [&args[..], &["--stop", "ld, hex"]].concat();
    assert!(show(refrain(&stop)).contains("it never comes"));
    let stop = [&args[..], &["--stop", "ld, hello w"]].concat();
    assert_eq!(stdout(&stop), "hello world, hello\n");
}

#[test]
fn guesses_are_explained_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let args = [
        "sample",
        &model,
        "--prompt",
        "hello",
        "--length",
        "6",
        "--seed",
        "3",
        "--explain",
    ];
    assert_snapshot!("explain", show(refrain(&args)));
    let sample = &json_lines(&[&args[..], &["--json"]].concat())[0];
    let best = sample["best"].as_array().unwrap();
    assert_eq!(best.len(), 6);
    assert_eq!(best[0].as_array().unwrap().len(), 5);
    assert_eq!(best[0][0]["token"], " ");
}

#[test]
fn unknown_symbols_are_refused_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let args = ["sample", &model, "--prompt", "hexllo", "--length", "0"];
    let error = json_error(
        &[&args[..], &["--json", "--on-unknown", "error"]].concat(),
        1,
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("`x` (U+0078) is not in the model's vocabulary"),
        "{error}"
    );
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("--on-unknown skip"),
        "{error}"
    );
    let skip = [&args[..], &["--seed", "5"]].concat();
    assert_snapshot!(show(refrain(&skip)), @r#"
    exit: 0
    --- stdout
    hello
    --- stderr
    left out 1 symbol of the prompt that the model does not know
    "#);
    assert_eq!(
        json_lines(&[&skip[..], &["--json"]].concat())[0]["unknown"],
        1
    );
    // Nothing is left of the prompt: it begins as without one.
    let none = [
        "sample",
        &model,
        "--prompt",
        "XYZ",
        "--on-unknown",
        "skip",
        "--length",
        "3",
        "--seed",
        "1",
        "-q",
    ];
    assert_eq!(
        stdout(&none),
        stdout(&["sample", &model, "--length", "3", "--seed", "1", "-q"])
    );
}

#[test]
fn a_seed_is_drawn_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let args = ["sample", &model, "--length", "40", "--temperature", "2"];
    let first = refrain(&args).output().unwrap();
    let said = String::from_utf8(first.stderr).unwrap();
    let seed = said
        .strip_prefix("seed ")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let again = refrain(&[&args[..], &["--seed", seed]].concat())
        .output()
        .unwrap();
    assert_eq!(again.stdout, first.stdout);
    assert!(again.stderr.is_empty());
    assert!(
        refrain(&[&args[..], &["-q"]].concat())
            .output()
            .unwrap()
            .stderr
            .is_empty()
    );
}

#[test]
fn bytes_become_whole_characters() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{d55c}\u{ae00} \u{d55c}\u{ae00} \u{d55c}\u{ae00}";
    let path = taught(folder.path(), text, TokenKind::Byte, CellKind::Gru);
    let model = path.to_str().unwrap();
    let args = [
        "sample",
        model,
        "--seed",
        "1",
        "--length",
        "400",
        "--temperature",
        "1.2",
    ];
    let text = stdout(&args);
    let sample = &json_lines(&[&args[..], &["--json"]].concat())[0];
    assert_eq!(
        sample["text"].as_str().unwrap(),
        text.strip_prefix('\n')
            .unwrap_or(&text)
            .trim_end_matches('\n')
    );
    assert_eq!(sample["tokens"].as_array().unwrap().len(), 400);
    let prompt = [
        "sample",
        model,
        "--prompt",
        "\u{d55c}",
        "--greedy",
        "--length",
        "10",
        "--json",
        "--explain",
    ];
    let sample = &json_lines(&prompt)[0];
    assert_eq!(sample["text"], "\u{ae00} \u{d55c}\u{ae00}");
    assert_eq!(
        strings(&sample["tokens"])[..4],
        ["\\xEA", "\\xB8", "\\x80", " "]
    );
}

#[test]
fn whoever_has_read_enough_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let mut child = refrain(&["sample", &model, "--length", "100000000000", "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_model_that_is_none_is_told_of() {
    let error = json_error(&["sample", "none.safetensors", "--json"], 1);
    assert_eq!(error["message"], "cannot read `none.safetensors`");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let error = json_error(&["sample", path, "--json"], 1);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("best.safetensors"),
        "{error}"
    );
}
