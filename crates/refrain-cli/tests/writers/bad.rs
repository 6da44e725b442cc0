//! What cannot be used: an error that says what and where, and nothing half-written.

use crate::support::{fail, output, refrain, succeed};
use crate::{PAIRS, PICTURES, Place};

/// Trains on some files; the error names each of `expected`, and no run folder remains.
#[track_caller]
fn refused(place: &Place, task: &str, data: &[&str], more: &[&str], expected: &[&str]) {
    let mut command = refrain(&["train", task]);
    command.args(data.iter().map(|name| place.name(name)));
    command
        .args(["-o", &place.name("run"), "--json"])
        .args(more);
    let (code, message, hint) = fail(&mut command);
    assert_eq!(code, 1, "{message}");
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in {message}");
    }
    assert!(!hint.is_empty(), "{message}");
    assert!(!place.path("run").exists(), "{message}");
}

#[test]
fn pairs_that_do_not_belong_together_are_refused() {
    let place = Place::new();
    place.write("a.de", b"eins\nzwei\ndrei\n");
    place.write("a.en", b"one\ntwo\n");
    refused(
        &place,
        "translate",
        &["a.de", "a.en"],
        &[],
        &["a.de", "a.en"],
    );
    place.write("b.en", b"one\n\nthree\n");
    refused(
        &place,
        "translate",
        &["a.de", "b.en"],
        &[],
        &["b.en", "line 2"],
    );
}

#[test]
fn captions_without_their_picture_are_refused() {
    let place = Place::new();
    let images = format!("--images={}", place.name("pictures.npz"));
    place.write("far.tsv", b"picture\tsentence\n3\ta red one\n90\tnothing\n");
    refused(
        &place,
        "caption",
        &["far.tsv"],
        &[&images],
        &["far.tsv", "line 3"],
    );
    std::fs::create_dir(place.path("folder")).unwrap();
    let folder = format!("--images={}", place.name("folder"));
    place.write("gone.tsv", b"picture\tsentence\ngone.png\ta red one\n");
    refused(&place, "caption", &["gone.tsv"], &[&folder], &["gone.png"]);
    place.write("folder/broken.png", b"\x89PNG\r\n\x1a\nnothing more");
    place.write("broken.tsv", b"picture\tsentence\nbroken.png\ta red one\n");
    refused(
        &place,
        "caption",
        &["broken.tsv"],
        &[&folder],
        &["broken.png"],
    );
    let captions = place.name("captions.tsv");
    let run = place.name("no-images");
    let args = ["train", "caption", &captions, "-o", &run, "--json"];
    let (code, message, _) = fail(&mut refrain(&args));
    assert!(code == 2 && message.contains("images"), "{message}");
}

#[test]
fn a_very_long_line_is_left_out_and_translated_cut() {
    let place = Place::new();
    let long = "eins ".repeat(50_000);
    let text = std::fs::read_to_string(place.path("pairs.tsv")).unwrap();
    place.write("pairs.tsv", format!("{text}{long}\tone\n").as_bytes());
    let end = succeed(&mut place.train(PAIRS, "run", &["--steps=5", "--validation=none"]));
    assert!(end["notes"].to_string().contains("1 pairs"), "{end}");
    let file = place.write("long.txt", format!("{long}\nzwei\n").as_bytes());
    let answers = output(&mut refrain(&[
        "predict",
        &place.name("run"),
        &file,
        "--json",
    ]));
    assert!(answers.status.success());
    assert_eq!(
        String::from_utf8(answers.stdout).unwrap().lines().count(),
        2
    );
}

#[test]
fn what_a_model_has_not_is_not_asked_of_it() {
    let place = Place::new();
    let steps = ["--steps=2", "--attention=none"];
    succeed(&mut place.train(PAIRS, "plain", &steps));
    succeed(&mut place.train(PICTURES, "pictures", &["--steps=2"]));
    let (plain, pictures) = (place.name("plain"), place.name("pictures"));
    for beam in ["0", "10000"] {
        let args = ["predict", &plain, "--beam", beam, "--json"];
        assert_eq!(output(&mut refrain(&args)).status.code(), Some(2));
    }
    let (code, message, _) = fail(&mut refrain(&[
        "predict",
        &plain,
        "--copy-unknown",
        "--json",
    ]));
    assert!(code == 2 && message.contains("copy-unknown"), "{message}");
    for model in [&plain, &pictures] {
        let args = ["inspect", "attention", model, "eins", "--json"];
        let (code, message, _) = fail(&mut refrain(&args));
        assert!(
            code == 1 && message.contains("without attention"),
            "{message}"
        );
    }
}
