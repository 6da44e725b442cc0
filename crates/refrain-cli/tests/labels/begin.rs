//! How a run of labels begins: vectors of words, other models, weights of classes; what it does not take.

use refrain::nn::Parameters as _;
use refrain::run::labels::LoadedLabeller;

use crate::support::{fail, refrain, succeed};
use crate::{CLIPS, Place, REVIEWS, TAGS, TEXT};

/// A rate at which no weight moves: the model after a step is the one that it began with.
const STILL: &str = "--learning-rate=1e-30";

fn validation_loss(end: &serde_json::Value) -> f64 {
    end["validation"]["loss_nats"].as_f64().unwrap()
}

#[test]
fn vectors_of_words_become_rows_of_the_embedding() {
    let place = Place::new();
    let file = place.write(
        "vectors.txt",
        b"the 0.5 -1 2 0.25\nfilm 1 2 3 4\nneverseen 9 9 9 9\nlovely -1 -2 -3 -4.5\n",
    );
    let flag = format!("--embeddings={file}");
    let flags = [&flag, STILL, "--steps=1", "--embedding-size=4"];
    let end = succeed(&mut place.train(REVIEWS, "run", &flags));
    assert!(end["notes"].to_string().contains("3 of "), "{end}");
    let loaded = LoadedLabeller::open(&place.path("run")).unwrap();
    let words = loaded.encoding.words().unwrap();
    assert_eq!(loaded.config.model.embedding_size, 4);
    let mut found = 0;
    loaded.model.visit(&mut |parameter| {
        if parameter.name == "embedding.weight" {
            let row = |word: &str| &parameter.value[words.word_id(word) as usize * 4..][..4];
            assert_eq!(row("the"), [0.5, -1.0, 2.0, 0.25]);
            assert_eq!(row("film"), [1.0, 2.0, 3.0, 4.0]);
            assert_eq!(row("lovely"), [-1.0, -2.0, -3.0, -4.5]);
            assert_ne!(row("plot"), row("the"));
            found += 1;
        }
    });
    assert_eq!(found, 1);
    // They are only for the beginning: a resume needs no such file.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(succeed(place.resume("run").arg("--steps=3"))["steps"], 3);
}

#[test]
fn a_hostile_file_of_vectors_is_refused() {
    let place = Place::new();
    let many = format!("film{}\n", " 1".repeat(20_000));
    for (name, bytes, expected) in [
        ("short.txt", &b"film 1 2 3\nplot 4 5\n"[..], "line 2"),
        ("lying.txt", b"9999999999 300\nfilm 1\n", "line 2"),
        ("cut.txt", b"3 2\nfilm 1 2\n", "its first line says 3"),
        ("none.txt", b"", "holds no vector"),
        ("word.txt", b"film\n", "line 1"),
        ("binary.bin", b"\x00\x01\x02\xff", "line 1"),
        ("wide.txt", many.as_bytes(), "wide.txt"),
        ("infinite.txt", b"the 1 2\nfilm 1e999 2\n", "line 2"),
    ] {
        let flag = format!("--embeddings={}", place.write(name, bytes));
        let (code, message, hint) = fail(&mut place.train(REVIEWS, "never", &[&flag]));
        assert_eq!(code, 1, "{name}: {message}");
        assert!(
            message.contains(name) && message.contains(expected),
            "{name}: {message}"
        );
        assert!(!hint.is_empty(), "{name}");
        assert!(!place.path("never").exists(), "{name} left a folder");
    }
}

#[test]
fn a_run_begins_with_the_weights_of_another_model() {
    let place = Place::new();
    for kind in [TAGS, CLIPS] {
        let place_of = Place::new();
        let model = place_of.trained(kind);
        let from = format!("--from={model}");
        let loss = |run: &str, flags: &[&str]| {
            validation_loss(&succeed(&mut place.train(kind, run, flags)))
        };
        let name = |what: &str| format!("{what}-{}", kind.data);
        let still = [STILL, "--steps=1", "--seed=9"];
        let scratch = loss(&name("scratch"), &still);
        let begun = loss(&name("begun"), &[&still[..], &[&from]].concat());
        assert!(begun < 0.8 * scratch, "{kind:?}: {begun} against {scratch}");
        // What does not fit is named, and nothing is left of it.
        let (code, message, hint) =
            fail(&mut place.train(kind, "never", &["--hidden-size=13", &from]));
        assert_eq!(code, 1, "{message}");
        assert!(
            message.contains("rnn.") && message.contains("expected ["),
            "{message}"
        );
        assert!(hint.contains("refrain info"), "{hint}");
        assert!(!place.path("never").exists(), "a run folder was left");
    }
}

/// Other words and other classes: rows that both know are taken, the others begin anew.
#[test]
fn rows_of_words_and_classes_that_both_models_know_are_taken() {
    let place = Place::new();
    let model = place.trained(TAGS);
    let other = "boing\tVERB\nkaly\tOTHER\n\nzzzness\tNOUN\nboing\tVERB\n\n".repeat(20);
    let data = place.write("other.conll", other.as_bytes());
    let from = format!("--from={model}");
    let run = place.name("other");
    let end = succeed(&mut refrain(&[
        "train",
        "tag",
        &data,
        "-o",
        &run,
        &from,
        STILL,
        "--hidden-size=12",
        "--embedding-size=6",
        "--layer-norm",
        "--steps=1",
        "--json",
    ]));
    let notes = end["notes"].to_string();
    for part in ["`embedding.weight`: ", "`linear.weight`: 2 of 3 rows"] {
        assert!(notes.contains(part), "{notes}");
    }
    let [old, new] = [&model, &run].map(|path| LoadedLabeller::open(path.as_ref()).unwrap());
    let row = |loaded: &LoadedLabeller, label: &str| {
        let at = loaded
            .encoding
            .labels
            .iter()
            .position(|l| l == label)
            .unwrap();
        let weight = &loaded.model.linear.weight;
        weight.value[at * weight.shape[1]..][..weight.shape[1]].to_vec()
    };
    assert_eq!(row(&old, "VERB"), row(&new, "VERB"));
    assert_eq!(row(&old, "NOUN"), row(&new, "NOUN"));
    assert_ne!(row(&old, "ADV"), row(&new, "OTHER"));
}

#[test]
fn balanced_classes_count_alike() {
    let place = Place::new();
    // The text tells nothing; a tenth of the labels are rare.
    let rows = format!("{}some words\trare\n", "some words\toften\n".repeat(9)).repeat(16);
    let data = place.write("rare.tsv", rows.as_bytes());
    let rare = |run: &str, weights: &str| {
        let run = place.name(run);
        let flags = [
            "--hidden-size=8",
            "--steps=120",
            "--learning-rate=0.01",
            "--json",
        ];
        let mut train = refrain(&["train", "classify", &data, "-o", &run, weights]);
        succeed(train.args(flags));
        let file = place.write("one.txt", b"some words\n");
        let answer = succeed(&mut refrain(&[
            "predict",
            &format!("{run}/last.safetensors"),
            &file,
            "--json",
        ]));
        answer["probabilities"]["rare"].as_f64().unwrap()
    };
    let (as_they_are, balanced) = (
        rare("plain", "--class-weights=none"),
        rare("balanced", "--class-weights=balanced"),
    );
    assert!((0.03..0.25).contains(&as_they_are), "{as_they_are}");
    assert!((0.3..0.7).contains(&balanced), "{balanced}");
}

#[test]
fn what_does_not_apply_is_refused_by_name() {
    let place = Place::new();
    let vectors = format!("--embeddings={}", place.write("vectors.txt", b"the 1 2\n"));
    for (kind, flags, name) in [
        (TEXT, &["--bidirectional"][..], "bidirectional"),
        (TEXT, &["--class-weights=balanced"], "class-weights"),
        (TEXT, &["--max-length=5"], "max-length"),
        (TEXT, &["--format=tsv"], "format"),
        (TEXT, &["--pooling=max"], "pooling"),
        (TEXT, &["--layer-norm"], "layer-norm"),
        (TEXT, &["--recurrent-dropout=0.1"], "recurrent-dropout"),
        (REVIEWS, &["--window=3"], "window"),
        (REVIEWS, &["--num-layers=1"], "batch-norm"),
        (REVIEWS, &["--characters"], "characters"),
        (REVIEWS, &["--bptt=5"], "bptt"),
        (REVIEWS, &["--carry-state=true"], "carry-state"),
        (REVIEWS, &["--tie-weights"], "tie-weights"),
        (REVIEWS, &["--center-clips"], "center-clips"),
        (REVIEWS, &["--augment"], "augment"),
        (REVIEWS, &["--nonlinearity=relu"], "nonlinearity"),
        (REVIEWS, &["--format=conll"], "format"),
        (REVIEWS, &["--tokens=char", &vectors], "embeddings"),
        (REVIEWS, &["--tokens=char", "--min-count=2"], "min-count"),
        (REVIEWS, &["--cell=mlp"], "batch-norm"),
        (TAGS, &["--pooling=max"], "pooling"),
        (TAGS, &["--window=3"], "window"),
        (TAGS, &["--tokens=char"], "tokens"),
        (TAGS, &["--center-clips"], "center-clips"),
        (TAGS, &["--format=idx"], "format"),
        (TAGS, &["--cell=mlp"], "layer-norm"),
        (CLIPS, &["--characters"], "characters"),
        (CLIPS, &["--tokens=word"], "tokens"),
        (CLIPS, &[&vectors], "embeddings"),
    ] {
        let (code, message, hint) = fail(&mut place.train(kind, "never", flags));
        assert_eq!(code, 2, "{flags:?}: {message}");
        assert!(
            message.starts_with(&format!("`{name}` is ")),
            "{flags:?}: {message}"
        );
        assert!(!hint.is_empty(), "{flags:?}");
        assert!(!place.path("never").exists(), "{flags:?} left a folder");
    }
}

#[test]
fn a_switch_whose_value_stands_apart_is_told_how_it_is_written() {
    let place = Place::new();
    let flags = ["--bidirectional", "false"];
    let (code, message, hint) = fail(&mut place.train(REVIEWS, "never", &flags));
    assert!(code == 2 && message.contains("`false`"), "{message}");
    assert!(hint.contains("--bidirectional=false"), "{hint}");
}
