//! The command as a shell sees it: stdout, stderr and exit code.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

use std::fs;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

fn refrain(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
    command.args(args).stdin(Stdio::null());
    // The tester's surroundings must not show.
    for name in [
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "REFRAIN_ISA",
    ] {
        command.env_remove(name);
    }
    command
}

/// All that a command shows, in one text.
fn shown(args: &[&str]) -> String {
    show(refrain(args))
}

fn show(mut command: Command) -> String {
    let output = command.output().unwrap();
    let code = output
        .status
        .code()
        .map_or("none".into(), |code| code.to_string());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    format!("exit: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// The object on stderr of a command that failed with `code`.
fn json_error(args: &[&str], code: i32) -> serde_json::Value {
    let output = refrain(args).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let value: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = value["error"].as_object().unwrap();
    assert_eq!(
        error.keys().collect::<Vec<_>>(),
        ["causes", "hint", "message"]
    );
    value["error"].clone()
}

#[test]
fn help() {
    assert_snapshot!("help", shown(&["--help"]));
    for command in [
        "train",
        "sample",
        "evaluate",
        "info",
        "lab",
        "hello",
        "bench",
        "completions",
    ] {
        assert_snapshot!(format!("help_{command}"), shown(&[command, "--help"]));
        let short = refrain(&[command, "-h"]).output().unwrap();
        assert!(
            String::from_utf8(short.stdout)
                .unwrap()
                .contains("Examples:"),
            "{command}"
        );
    }
}

#[test]
fn version_names_the_instruction_set() {
    let output = refrain(&["--version", "--isa", "scalar"]).output().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("refrain {version} (scalar)\n")
    );
    let mut by_environment = refrain(&["-V", "--json"]);
    let output = by_environment
        .env("REFRAIN_ISA", "scalar")
        .output()
        .unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["isa"], "scalar");
    let output = refrain(&["-V"]).output().unwrap();
    let best = String::from_utf8(output.stdout).unwrap();
    assert!(
        ["(scalar)\n", "(avx2)\n", "(avx512)\n"]
            .iter()
            .any(|isa| best.ends_with(isa)),
        "{best}"
    );
}

#[test]
fn wrong_usage_is_told_and_ends_with_2() {
    for (name, args) in [
        ("nothing", &[][..]),
        ("no_command", &["--json"]),
        ("unknown_command", &["tran"]),
        ("command_of_a_later_version", &["serve"]),
        (
            "unknown_flag",
            &["train", "lm", "-o", "r", "--hiden-size", "3"],
        ),
        (
            "unknown_cell",
            &["train", "lm", "-o", "r", "--cell", "lstn"],
        ),
        ("unknown_task", &["train", "sing", "a.tsv", "-o", "r"]),
        (
            "not_a_number",
            &["train", "lm", "-o", "r", "--clip-norm", "x"],
        ),
        ("no_run", &["train", "lm"]),
        (
            "two_budgets",
            &["train", "lm", "-o", "r", "--steps", "1", "--minutes", "1"],
        ),
        (
            "beside_resume",
            &["train", "--resume", "r", "--hidden-size", "3"],
        ),
        (
            "seed_beside_resume",
            &["train", "--resume", "r", "--seed", "3"],
        ),
        ("unknown_isa", &["info", "m", "--isa", "sse2"]),
        ("no_threads", &["info", "m", "--threads", "0"]),
        (
            "greedy_and_warm",
            &["sample", "m", "--greedy", "--temperature", "2"],
        ),
        ("workload", &["bench", "--workload", "lstm-1-2"]),
    ] {
        let text = shown(args);
        assert!(text.starts_with("exit: 2\n"), "{name}: {text}");
        assert_snapshot!(format!("usage_{name}"), text);
    }
}

#[test]
fn wrong_usage_is_an_object_for_programs() {
    let error = json_error(
        &["train", "lm", "-o", "r", "--hiden-size", "3", "--json"],
        2,
    );
    assert_eq!(error["message"], "unexpected argument '--hiden-size' found");
    assert_eq!(error["hint"], "a similar argument exists: '--hidden-size'");
    let error = json_error(&["--json", "info"], 2);
    assert!(
        error["message"].as_str().unwrap().contains("<MODEL>"),
        "{error}"
    );
    json_error(&["--json", "train", "lm", "-o", "r", "--seed", "-1"], 2);
}

#[test]
fn a_setting_that_cannot_be_is_told_by_its_flag() {
    assert_snapshot!(shown(&["train", "lm", "-o", "r", "--dropout", "1.5"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: `dropout` is 1.5, expected a number from 0 to below 1

    hint: give `--dropout` such a number
    "#);
    assert_snapshot!(shown(&["train", "lm", "-o", "r", "--cell", "gru", "--forget-bias", "-1"]), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: `forget-bias` is -1, expected nothing: `cell gru` has no such setting

    hint: leave it out, or give `--cell lstm`
    "#);
    let error = json_error(
        &["train", "lm", "-o", "r", "--hidden-size", "0", "--json"],
        2,
    );
    assert_eq!(error["message"], "`hidden-size` is 0, expected 1 to 65536");
    assert_eq!(error["hint"], "give `--hidden-size` a number in this range");
}

#[test]
fn a_recipe_is_told_of_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("r.toml"),
        "# mine\nepochs = 3\nhiden_size = 3\n",
    )
    .unwrap();
    let mut command = refrain(&["train", "lm", "-o", "r", "--recipe", "r.toml"]);
    command.current_dir(folder.path());
    assert_snapshot!(show(command), @r#"
    exit: 1
    --- stdout
    --- stderr
    error: `r.toml`, line 3, column 1: found unknown key `hiden_size`, expected a setting

    hint: did you mean `hidden_size`?
    "#);
    let mut command = refrain(&["train", "lm", "-o", "r", "--recipe", "none.toml"]);
    command.current_dir(folder.path());
    assert_snapshot!(show(command), @r#"
    exit: 1
    --- stdout
    --- stderr
    error: cannot read `none.toml`
      caused by: No such file or directory (os error 2)

    hint: check the path; a relative one starts at the current folder
    "#);
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = refrain(&["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("hidden-size") && script.contains("resume"),
            "{shell}: {script}"
        );
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    for args in [&["completions", "bash"][..], &["--version"], &["--help"]] {
        let mut command = refrain(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        // The process may have written all before the pipe was closed; either way it ended well and
        // said nothing.
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn colours_only_where_they_are_allowed() {
    let wrong = ["train", "lm", "-o", "r", "--dropout", "2"];
    assert!(!shown(&wrong).contains('\u{1b}'));
    let always: Vec<_> = wrong
        .iter()
        .chain(&["--color", "always"])
        .copied()
        .collect();
    assert!(shown(&always).contains("\u{1b}[1;31merror:\u{1b}[0m"));
    assert!(shown(&["--color=always", "tran"]).contains('\u{1b}'));
    assert!(!shown(&["--color", "never", "tran"]).contains('\u{1b}'));
}
