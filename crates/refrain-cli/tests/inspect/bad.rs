//! What cannot be looked at.

use super::support::{fail, refrain, succeed};
use super::{Place, json};

#[track_caller]
fn refused(args: &[&str], code: i32, expected: &str) {
    let (found, message, hint) = fail(refrain(args).arg("--json"));
    assert!(message.contains(expected), "{args:?}: {message}");
    assert_eq!(found, code, "{args:?}: {message}");
    assert!(!hint.is_empty(), "{args:?}: {message}");
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    let text = place.name("text.txt");
    let (model, plain) = (
        place.language_model("run", &["--steps=2"]),
        place.language_model("plain", &["--steps=2", "--cell=mlp"]),
    );
    for what in ["gradients", "gates"] {
        refused(&["inspect", what, &plain, &text], 1, "plain network");
    }
    refused(&["inspect", "spectrum", &plain], 1, "plain network");
    let short = place.name("short.txt");
    let gradients = ["inspect", "gradients", &model];
    let of = |more: &[&'static str]| -> Vec<String> {
        let all = gradients
            .iter()
            .copied()
            .chain([text.as_str()])
            .chain(more.iter().copied());
        all.map(str::to_owned).collect()
    };
    refused(
        &[&gradients[..], &[&short]].concat(),
        1,
        "13 tokens, too few to look back 50 steps",
    );
    for (flag, expected) in [
        ("--positions=0", "`positions` is 0"),
        ("--positions=5,99999", "`positions` is 99999"),
        ("--max-distance=99999999999", "too few to look back"),
        ("--max=30", "30 tokens, too few"),
    ] {
        let args = of(&[flag]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let code = if flag.starts_with("--positions") {
            2
        } else {
            1
        };
        refused(&args, code, expected);
    }
    for flag in ["--positions=x", "--probes=0", "--positions=-1"] {
        refused(
            &[&gradients[..], &[&text, flag]].concat(),
            2,
            "invalid value",
        );
    }
    for what in [
        vec!["gradients", &model, &text],
        vec!["spectrum", &model],
        vec!["gates", &model, &text],
    ] {
        let args = [&["inspect"][..], &what, &["--plot", "drawing.jpeg"]].concat();
        refused(&args, 1, "`drawing.jpeg` has no ending");
    }
    refused(
        &["inspect", "spectrum", &text],
        1,
        "not a usable model file",
    );
    refused(
        &[&gradients[..], &[&place.name("none.txt")]].concat(),
        1,
        "none.txt",
    );
    // As short as it may be, and all that there is.
    let least = [
        &gradients[..],
        &[&short, "--max-distance=11", "--probes=9", "--warm-up=0"],
    ]
    .concat();
    assert_eq!(json(&least)["probes"], 1);
}

#[test]
fn what_a_task_does_not_have_is_refused_by_name() {
    let place = Place::new();
    let model = place.trained("classify", &["reviews.tsv"], "run", &["--steps=2"]);
    let (reviews, tags) = (place.name("reviews.tsv"), place.name("tags.conllu"));
    let positions = ["inspect", "gradients", &model, &reviews, "--positions=3"];
    refused(&positions, 2, "task classify");
    refused(&["inspect", "gates", &model, &tags], 1, "tags.conllu");
    place.write("bare.tsv", "text\na warm film\na cold one\n");
    refused(
        &["inspect", "gradients", &model, &place.name("bare.tsv")],
        1,
        "label",
    );
    refused(
        &["inspect", "spectrum", &model, "--plot"],
        2,
        "`--plot` without a file",
    );
    for (output, expected) in [("states.txt", ".npz"), ("none/states.npz", "none")] {
        let output = place.name(output);
        let args = ["inspect", "states", &model, &reviews, "-o", &output];
        refused(&args, 1, expected);
    }
    let lost = place.name("none/drawing.svg");
    refused(&["inspect", "spectrum", &model, "--plot", &lost], 1, "none");
    assert!(!place.path("none").exists());
    // Gates need no labels.
    succeed(&mut refrain(&[
        "inspect", "gates", &model, &reviews, "--json",
    ]));
}
