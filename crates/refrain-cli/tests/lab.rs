//! `refrain lab` as a shell sees it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
    command.arg("lab").args(args).stdin(Stdio::null());
    command.env_remove("REFRAIN_ISA");
    command
}

fn output(args: &[&str]) -> Output {
    lab(args).output().unwrap()
}

#[track_caller]
fn text(args: &[&str]) -> String {
    let output = output(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn without_a_name_the_claims_are_listed() {
    let listed = text(&["-q"]);
    for name in refrain::lab::NAMES {
        assert!(listed.lines().any(|line| line == name), "{name}\n{listed}");
    }
    assert!(listed.lines().all(|line| line.chars().count() <= 80));
    let object: Value = serde_json::from_str(&text(&["--json"])).unwrap();
    let experiments = object["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), refrain::lab::NAMES.len());
    assert!(
        experiments
            .iter()
            .all(|experiment| experiment["claim"].is_string())
    );
}

#[test]
fn an_experiment_is_told_in_eighty_columns_and_as_json() {
    let told = text(&["vanishing", "--quick", "--plot", "-q"]);
    assert!(told.starts_with("vanishing: HOLDS"), "{told}");
    assert!(told.contains("yes: ") && told.contains("largest") && told.contains("+---"));
    assert!(
        told.lines().all(|line| line.chars().count() <= 80),
        "{told}"
    );
    let object: Value = serde_json::from_str(&text(&["vanishing", "--quick", "--json"])).unwrap();
    for (field, is_right) in [
        ("claim", object["claim"].is_string()),
        ("holds", object["holds"] == true),
        (
            "evidence",
            object["evidence"]
                .as_array()
                .is_some_and(|all| all.len() > 2),
        ),
        ("figures", object["figures"]["by_singular_value"].is_array()),
        (
            "seconds",
            object["seconds"]
                .as_f64()
                .is_some_and(|seconds| seconds > 0.0),
        ),
    ] {
        assert!(is_right, "{field}: {object}");
    }
}

#[test]
fn a_claim_that_does_not_hold_is_no_failure() {
    let told = text(&["vanishing", "--quick", "--without-cause", "-q"]);
    assert!(told.starts_with("vanishing: DOES NOT HOLD"), "{told}");
    assert!(told.contains("Taken away: ") && told.contains("no: "));
    assert!(
        told.contains("What the claim rests on was taken away"),
        "{told}"
    );
    assert!(!told.contains("Where the notes are too simple"), "{told}");
}

#[test]
fn pages_and_pictures_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, file, begins) in [
        ("claims", "claims/index.html", "<!DOCTYPE html>"),
        ("one.html", "one.html", "<!DOCTYPE html>"),
        ("one.svg", "one.svg", "<svg"),
    ] {
        text(&["shared-weights", "--quick", "-q", "-o", &path(name)]);
        let written = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(written.starts_with(begins), "{name}");
    }
    text(&["shared-weights", "--quick", "-q", "-o", &path("one.png")]);
    assert!(
        fs::read(folder.path().join("one.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
}

#[test]
fn wrong_usage_is_told_before_anything_is_run() {
    for (args, code, said) in [
        (&["vanish"][..], 2, "vanishing"),
        (&["vanishing", "--all"], 2, "cannot be used with"),
        (&["--quick"], 2, "no experiment was named"),
        (&["--all", "-o", "a.svg"], 2, "one picture"),
        (&["vanishing", "-o", "a.txt"], 2, ".txt"),
        (&["--all", "-o", "Cargo.toml/page"], 1, "Cargo.toml"),
        (&["vanishing", "-o", "none/a.svg"], 1, "none"),
    ] {
        let output = output(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(said), "{args:?}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_130() {
    use std::io::{BufRead as _, BufReader};
    let mut child = lab(&["truncation"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // It says what it begins with: from then on it is at work.
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("truncation"), "{line}");
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
