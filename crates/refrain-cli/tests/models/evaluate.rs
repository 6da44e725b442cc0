//! `refrain evaluate`.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use insta::assert_snapshot;
use refrain::data::TokenKind;
use refrain::nn::CellKind;
use serde_json::Value;

use crate::support::{json_error, json_lines, refrain, show, taught};

const TEXT: &str = "hello world, hello\n";

struct Fixture {
    folder: tempfile::TempDir,
    model: String,
    text: String,
}

fn fixture(tokens: TokenKind, text: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let model = taught(folder.path(), TEXT, tokens, CellKind::Lstm);
    let path = folder.path().join("text.txt");
    fs::write(&path, text).unwrap();
    let name = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    Fixture {
        model: name(model),
        text: name(path),
        folder,
    }
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap()
}

#[test]
fn a_text_is_scored_with_its_unknown_symbols_counted() {
    let fixture = fixture(TokenKind::Char, &format!("{TEXT}XYZ{}", TEXT.repeat(99)));
    assert_snapshot!(
        "evaluate",
        show(refrain(&["evaluate", &fixture.model, &fixture.text]))
    );
    let args = ["evaluate", &fixture.model, &fixture.text, "--json"];
    let score = &json_lines(&args)[0];
    assert_eq!(score["task"], "lm");
    assert_eq!(
        (&score["tokens"], &score["unknown"]),
        (&1899.into(), &3.into())
    );
    assert_eq!(
        (&score["characters"], &score["examples"]),
        (&1899.into(), &1.into())
    );
    let (nats, bits) = (number(score, "loss_nats"), number(score, "bits_per_token"));
    assert!((nats / std::f64::consts::LN_2 - bits).abs() < 1e-12);
    assert!((number(score, "bits_per_char") - bits).abs() < 1e-12);
    assert!((libm_exp(nats) - number(score, "perplexity")).abs() < 1e-9);
    // The same by scalar instructions, on one thread.
    let scalar = [&args[..], &["--isa", "scalar", "--threads", "1"]].concat();
    assert_eq!(&json_lines(&scalar)[0], score);
    let limited = [&args[..], &["--max-tokens", "300"]].concat();
    assert_eq!(json_lines(&limited)[0]["tokens"], 300);
    let streams = &json_lines(&[&args[..], &["--streams", "7"]].concat())[0];
    assert_eq!(
        (&streams["tokens"], &streams["examples"]),
        (&1899.into(), &7.into())
    );
    assert!(
        (number(streams, "loss_nats") - nats).abs() < 0.2,
        "{streams} {score}"
    );
}

/// Far from the digits that count here.
fn libm_exp(x: f64) -> f64 {
    (0..60)
        .rev()
        .fold(1.0, |sum, n| 1.0 + x / f64::from(n + 1) * sum)
}

#[test]
fn bytes_are_counted_as_characters_too() {
    let fixture = fixture(TokenKind::Byte, "h\u{e9}llo \u{d55c}");
    let score = &json_lines(&["evaluate", &fixture.model, &fixture.text, "--json"])[0];
    // 10 bytes, of which the first is not scored: 9 bytes are 6 characters.
    assert_eq!(
        (&score["tokens"], &score["characters"]),
        (&9.into(), &6.into())
    );
    let ratio = number(score, "bits_per_char") / number(score, "bits_per_token");
    assert!((ratio - 1.5).abs() < 1e-12, "{score}");
}

#[test]
fn standard_input_is_read() {
    let fixture = fixture(TokenKind::Char, "");
    let mut child = refrain(&["evaluate", &fixture.model, "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello\r\nhello").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(score["tokens"], 10);
}

#[test]
fn texts_without_two_known_symbols_are_refused() {
    for (text, problem) in [
        ("", "is empty"),
        ("XYZ", "has no symbol that the model knows"),
        ("XhZ", "has only one symbol that the model knows"),
    ] {
        let fixture = fixture(TokenKind::Char, text);
        for streams in ["1", "4"] {
            let args = [
                "evaluate",
                &fixture.model,
                &fixture.text,
                "--json",
                "--streams",
                streams,
            ];
            let error = json_error(&args, 1);
            assert!(
                error["message"].as_str().unwrap().ends_with(problem),
                "{error}"
            );
        }
    }
    let fixture = fixture(TokenKind::Char, "x");
    let none = fixture.folder.path().join("none.txt");
    let error = json_error(
        &["evaluate", &fixture.model, none.to_str().unwrap(), "--json"],
        1,
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("cannot read"),
        "{error}"
    );
}

#[test]
fn what_was_changed_is_said() {
    let fixture = fixture(TokenKind::Char, "\u{feff}hello\r\nhello\r\n");
    let output = refrain(&["evaluate", &fixture.model, &fixture.text, "--streams", "16"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "left out a byte order mark\nread 2 CR LF as LF\nthe text is short: 11 streams\n"
    );
}
