//! Data and settings that cannot be used: an error that names what is wrong, and nothing half-written.

use refrain::data::NpzWriter;

use crate::support::{fail, refrain, succeed};
use crate::{PLAIN, Place, ROLLS, SERIES, rows, series};

/// Refused: a message with all `parts`, a hint, no run folder.
#[track_caller]
fn refused_with(exit: i32, place: &Place, data: &str, flags: &[&str], parts: &[&str]) {
    let run = place.name("never");
    let mut command = refrain(&["train", "forecast", data, "-o", &run, "--steps=2", "--json"]);
    let (code, message, hint) = fail(command.args(flags));
    assert_eq!(code, exit, "{data}: {message}");
    for part in parts {
        assert!(
            message.contains(part),
            "{data} {flags:?}: no {part:?} in {message}"
        );
    }
    assert!(!hint.is_empty(), "{data}: {message}");
    assert!(!place.path("never").exists(), "{data} left a folder");
}

/// Data that cannot be used.
#[track_caller]
fn refused(place: &Place, data: &str, flags: &[&str], parts: &[&str]) {
    refused_with(1, place, data, flags, parts);
}

/// A setting that cannot be.
#[track_caller]
fn misused(place: &Place, data: &str, flags: &[&str], parts: &[&str]) {
    refused_with(2, place, data, flags, parts);
}

#[test]
fn rows_that_cannot_be_used_are_named() {
    let place = Place::new();
    let good = series(&rows(100));
    let lines: Vec<&str> = good.lines().collect();
    let with = |at: usize, row: &str| {
        let mut lines = lines.clone();
        lines[at] = row;
        lines.join("\n")
    };
    for (name, text, parts) in [
        (
            "gap.csv",
            with(9, "2021-01-01 08:00:00,,99"),
            ["line 10, column 21", "`warm`"],
        ),
        (
            "text.csv",
            with(9, "2021-01-01 08:00:00,hot,99"),
            ["line 10, column 21", "`hot`"],
        ),
        (
            "field.csv",
            with(9, "2021-01-01 08:00:00,20"),
            ["line 10", "2 columns"],
        ),
        (
            "back.csv",
            with(9, "2020-01-01 08:00:00,20,99"),
            ["line 10", "before that of line 9"],
        ),
        (
            "again.csv",
            with(9, "2021-01-01 07:00:00,20,99"),
            ["line 10", "line 9 again"],
        ),
        (
            "nan.csv",
            with(9, "2021-01-01 08:00:00,nan,99"),
            ["line 10, column 21", "finite"],
        ),
        (
            "head.csv",
            "1,2\n3,4\n".into(),
            ["line 1", "names of the columns"],
        ),
        ("none.csv", "a,b\n".into(), ["none.csv", "no row"]),
        ("empty.csv", String::new(), ["empty.csv", "is empty"]),
    ] {
        let data = place.write(name, text.as_bytes());
        refused(&place, &data, &[], &[&[name], &parts[..]].concat());
    }
    let data = place.write("gap.csv", with(9, "2021-01-01 08:00:00,,99").as_bytes());
    let run = place.name("skipped");
    let flags = [
        "--context=8",
        "--horizon=2",
        "--steps=2",
        "--on-bad-row=skip",
        "--json",
    ];
    let end = succeed(refrain(&["train", "forecast", &data, "-o", &run]).args(flags));
    assert!(
        end["notes"].to_string().contains("1 bad row left out"),
        "{end}"
    );
    let bytes = place.write("latin.csv", b"a,b\n1,2\n3,\xE9\n");
    refused(&place, &bytes, &[], &["line 3, column 3", "the byte E9"]);
    refused(&place, &place.name("missing.csv"), &[], &["missing.csv"]);
    let text = place.write("series.txt", good.as_bytes());
    refused(&place, &text, &[], &["series.txt", "not named as a table"]);
}

#[test]
fn windows_that_have_no_room_say_how_many_steps_there_are() {
    let place = Place::new();
    let data = place.name("series.csv");
    refused(
        &place,
        &data,
        &["--horizon=500"],
        &["360 steps", "500 more (`horizon`)"],
    );
    refused(
        &place,
        &data,
        &["--context=400"],
        &["360 steps", "400 steps (`context`)"],
    );
    refused(
        &place,
        &data,
        &["--horizon=60"],
        &["the validation part", "has 40 steps", "60 more"],
    );
    misused(
        &place,
        &data,
        &["--target-column=cold"],
        &["`target-column` is `cold`"],
    );
    misused(
        &place,
        &data,
        &["--target-column=1"],
        &["`target-column` is `1`"],
    );
    let short = place.write("short.csv", series(&rows(30)).as_bytes());
    let end = succeed(&mut refrain(&[
        "train",
        "forecast",
        &short,
        "-o",
        &place.name("short"),
        "--steps=3",
        "--json",
    ]));
    assert!(
        end["notes"]
            .to_string()
            .contains("`horizon` is 3 instead of 24"),
        "{end}"
    );
    let one = place.write("one.csv", b"a\n1\n");
    refused(
        &place,
        &one,
        &["--validation=none"],
        &["one.csv", "1 steps"],
    );
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let place = Place::new();
    let (series, rolls) = (place.name("series.csv"), place.name("rolls.npz"));
    refused(
        &place,
        &series,
        &["--loss=bernoulli"],
        &["row 1 of warm", "expected 0 or 1"],
    );
    misused(
        &place,
        &rolls,
        &["--horizon=2"],
        &["`horizon` is 2, expected 1"],
    );
    misused(
        &place,
        &rolls,
        &["--bidirectional"],
        &["`bidirectional` is true"],
    );
    misused(&place, &rolls, &["--shortcut"], &["`shortcut` is true"]);
    misused(&place, &rolls, &["--anchor=last"], &["`anchor` is `last`"]);
    misused(
        &place,
        &rolls,
        &["--target-column=89"],
        &["`target-column` is `89`", "1 to 4"],
    );
    misused(
        &place,
        &rolls,
        &["--context=3", "--loss=bernoulli", "--anchor=last"],
        &["`anchor` is `last`"],
    );
    misused(
        &place,
        &series,
        &["--cell=mlp", "--window=4"],
        &["`window` is 4", "all at once"],
    );
    misused(
        &place,
        &series,
        &["--tokens=char"],
        &["`tokens` is `char`", "`task forecast` has no such setting"],
    );
    misused(
        &place,
        &series,
        &["--format=jsonl"],
        &["`format` is `jsonl`"],
    );
    refused(
        &place,
        &rolls,
        &["--validation", &series],
        &["series.csv", "is no `.npz` file"],
    );
    let mut npz = NpzWriter::new();
    npz.add_u8("inputs", &[4, 5, 5, 1], &[0; 100]).unwrap();
    let pictures = place.write("pictures.npz", &npz.finish().unwrap());
    refused(
        &place,
        &pictures,
        &[],
        &["pictures.npz", "[5, 5, 1]", "steps of numbers"],
    );
    let run = place.name("never");
    let args = ["train", "lm", &series, "-o", &run, "--horizon=3", "--json"];
    let (code, message, _) = fail(&mut refrain(&args));
    assert!(
        code == 2 && message.contains("`task lm` has no such setting"),
        "{message}"
    );
}

#[test]
fn data_that_a_model_cannot_read_is_named() {
    let place = Place::new();
    let run = place.trained(SERIES, &["--steps=2"]);
    let short = place.write("short.csv", series(&rows(11)).as_bytes());
    let other = place.write("other.csv", b"a,b\n1,2\n3,4\n");
    for (args, parts) in [
        (["predict", &run, &short], ["has 11 steps", "looks back 12"]),
        (
            ["evaluate", &run, &short],
            ["it has 11 steps", "12 steps (`context`)"],
        ),
        (
            ["predict", &run, &other],
            ["has no column `warm`", "other.csv"],
        ),
        (
            ["evaluate", &run, &place.name("rolls.npz")],
            ["holds arrays", "reads a series"],
        ),
    ] {
        let (code, message, hint) = fail(refrain(&args).arg("--json"));
        assert_eq!(code, 1, "{message}");
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
        assert!(!hint.is_empty());
    }
    let (code, message, _) =
        fail(refrain(&["evaluate", &run, &short, "--json"]).arg("--streams=2"));
    assert!(code == 2 && message.contains("--streams"), "{message}");
    // Of several sequences only those that are too short have no answer.
    let run = place.name("windows");
    succeed(&mut place.train(ROLLS, "windows", &["--steps=2", "--context=5"]));
    let output = refrain(&["predict", &run, &place.name("rolls.npz"), "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = text.lines().filter(|line| line.contains("error")).count();
    assert_eq!((text.lines().count(), errors), (40, 12), "{text}");
    assert!(
        text.lines().next().unwrap().contains("example 0 of"),
        "{text}"
    );
}

/// A model file with one thing changed in what it says of itself: an error, never a panic.
#[test]
fn damaged_models_are_refused() {
    let place = Place::new();
    let run = place.trained(PLAIN, &["--steps=2"]);
    let bytes = std::fs::read(place.path("trained/best.safetensors")).unwrap();
    let change = |old: &str, new: &str| {
        assert_eq!(old.len(), new.len());
        let at = bytes
            .windows(old.len())
            .position(|part| part == old.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no {old}"));
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        bytes
    };
    for (at, (old, new)) in [
        (r#"\"features\":2"#, r#"\"features\":9"#),
        (r#"\"targets\":[0]"#, r#"\"targets\":[7]"#),
        (
            r#"\"context\":9,\"horizon\":1"#,
            r#"\"context\":8,\"horizon\":1"#,
        ),
        (r#"\"kind\":\"forecast\""#, r#"\"kind\":\"backcast\""#),
        (r#"\"mode\":\"windows\""#, r#"\"mode\":\"window_\""#),
        (r#"\"season\":8"#, r#"\"season\":0"#),
        (r#"\"shortcut\":true"#, r#"\"shortcut\":null"#),
    ]
    .into_iter()
    .enumerate()
    {
        let model = place.write(&format!("damaged-{at}.safetensors"), &change(old, new));
        for command in ["info", "predict"] {
            let mut command = refrain(&[command, &model]);
            if command.get_args().next() == Some("predict".as_ref()) {
                command.arg(place.name("series.csv"));
            }
            let (code, message, _) = fail(command.arg("--json"));
            assert_eq!(code, 1, "{new}: {message}");
            assert!(message.contains("damaged-"), "{new}: {message}");
        }
    }
    succeed(&mut refrain(&["info", &run, "--json"]));
}
