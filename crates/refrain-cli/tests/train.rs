//! The real binary, trained, killed, resumed: the bytes are those of a run that was never stopped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use support::{fail, killed_and_resumed, lines, output, refrain, same_run, succeed, wait_until};

const SMALL: &[&str] = &[
    "--hidden-size=24",
    "--embedding-size=8",
    "--batch=4",
    "--bptt=10",
    "--steps=120",
    "--save-every=7",
    "--eval-every=20",
    "--dropout=0.2",
    "--seed=5",
    "--json",
];

/// The small run's flags, less those that `more` gives anew.
fn small_but(more: &[&str]) -> Vec<&'static str> {
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    SMALL
        .iter()
        .copied()
        .filter(|flag| !more.iter().any(|given| name(given) == name(flag)))
        .collect()
}

/// A folder with a text of words that is made here.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut state = 1u32;
        let mut text = String::new();
        for _ in 0..800 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text +=
                ["one ", "two ", "three ", "four.\n", "five ", "six\n"][(state >> 16) as usize % 6];
        }
        fs::write(folder.path().join("text.txt"), text).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).display().to_string()
    }

    fn train(&self, run: &str, more: &[&str]) -> Command {
        let (text, run) = (self.path("text.txt"), self.path(run));
        let mut args = vec![
            "train",
            "lm",
            text.to_str().unwrap(),
            "-o",
            run.to_str().unwrap(),
        ];
        args.extend(small_but(more));
        args.extend(more);
        refrain(&args)
    }

    fn resume(&self, run: &str) -> Command {
        refrain(&[
            "train",
            "--resume",
            self.path(run).to_str().unwrap(),
            "--json",
        ])
    }
}

#[test]
fn a_run_killed_anywhere_and_resumed_is_one_never_stopped() {
    let place = Place::new();
    let whole = place.path("whole");
    succeed(&mut place.train("whole", &[]));
    let (killed, begin) = (place.path("killed"), place.train("killed", &[]));
    let moments = [1, 9, 15, 31, 40, 62, 75, 90, 101];
    let kills = killed_and_resumed(&killed, &moments, begin, || place.resume("killed"));
    assert!(kills >= 3, "the run was over too soon: {kills} kills");
    let end = succeed(&mut place.resume("killed"));
    assert_eq!(end["steps"], 120);
    same_run(&killed, &whole);
}

#[test]
#[cfg(unix)]
fn signals_save_and_end_with_130() {
    let place = Place::new();
    let flags = ["--steps=2000", "--save-every=200"];
    succeed(&mut place.train("whole", &flags));
    for (signal, run) in [("-INT", "int"), ("-TERM", "term")] {
        let path = place.path(run);
        let mut child = place
            .train(run, &flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(&mut child, "some steps", || {
            lines(&path.join("metrics.jsonl")) > 20
        });
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{signal}");
        assert!(path.join("report.html").is_file() && path.join("last.safetensors").is_file());
        succeed(&mut place.resume(run));
        same_run(&path, &place.path("whole"));
    }
}

#[test]
fn neither_threads_nor_instructions_change_a_byte() {
    let place = Place::new();
    for cell in ["rnn", "gru", "lstm"] {
        let cell_flag = format!("--cell={cell}");
        let run = |name: &str, more: &[&str]| {
            let name = format!("{cell}-{name}");
            let mut flags = vec![cell_flag.as_str(), "--steps=40", "--optimizer=adamw"];
            flags.extend(more);
            succeed(&mut place.train(&name, &flags));
            place.path(&name)
        };
        let one = run("one", &["--threads=1"]);
        same_run(&run("two", &["--threads=2"]), &one);
        same_run(&run("three", &["--threads=3"]), &one);
        same_run(&run("scalar", &["--isa=scalar"]), &one);
    }
}

#[test]
fn a_longer_budget_goes_on_from_the_end() {
    let place = Place::new();
    let schedule = "--schedule=constant";
    succeed(&mut place.train("long", &[schedule]));
    // Not at a saved state, but at a score: the end of a run has one.
    succeed(&mut place.train("short", &[schedule, "--steps=60"]));
    let end = succeed(place.resume("short").arg("--steps=120"));
    assert_eq!(end["steps"], 120);
    same_run(&place.path("short"), &place.path("long"));
    // A finished run that is resumed says so and changes nothing.
    let before = fs::read(place.path("short/last.safetensors")).unwrap();
    assert_eq!(succeed(&mut place.resume("short"))["outcome"], "steps");
    assert_eq!(
        fs::read(place.path("short/last.safetensors")).unwrap(),
        before
    );
}

#[test]
fn standard_input_is_kept_for_a_resume() {
    let place = Place::new();
    let run = place.path("piped");
    let mut args = vec!["train", "lm", "-", "-o", run.to_str().unwrap()];
    args.extend(small_but(&["--steps"]));
    let mut child = refrain(&args)
        .arg("--steps=30")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&fs::read(place.path("text.txt")).unwrap())
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        succeed(place.resume("piped").arg("--steps=120"))["steps"],
        120
    );
}

#[test]
fn a_run_can_be_moved_and_what_it_needs_is_not_thrown_away() {
    let place = Place::new();
    let run = place.path("piped");
    let mut args = vec!["train", "lm", "-", "-o", run.to_str().unwrap()];
    args.extend(small_but(&["--steps"]));
    let piped = || {
        let text = fs::File::open(place.path("text.txt")).unwrap();
        let mut command = refrain(&args);
        command.arg("--steps=20").stdin(text);
        command
    };
    succeed(&mut piped());
    let moved = place.path("moved");
    fs::rename(&run, &moved).unwrap();
    assert_eq!(
        succeed(place.resume("moved").arg("--steps=30"))["steps"],
        30
    );
    // Settings that the state was not made with, and a budget that is used up.
    let config = fs::read_to_string(moved.join("config.toml")).unwrap();
    fs::write(
        moved.join("config.toml"),
        config.replace("dropout = 0.2", "dropout = 0.3"),
    )
    .unwrap();
    let (code, message, _) = fail(&mut place.resume("moved"));
    assert!(code == 1 && message.contains("settings"), "{message}");
    fs::write(moved.join("config.toml"), &config).unwrap();
    let (code, message, _) = fail(place.resume("moved").arg("--steps=10"));
    assert!(code == 1 && message.contains("30 steps"), "{message}");
    // A state that is gone does not cost the model.
    fs::remove_file(moved.join("state.safetensors")).unwrap();
    let (code, message, _) = fail(&mut place.resume("moved"));
    assert!(
        code == 1 && message.contains("state.safetensors"),
        "{message}"
    );
    assert!(moved.join("last.safetensors").exists());
    // Data inside the folder that would be emptied.
    let inside = moved.join("stdin.txt");
    let mut args = vec![
        "train",
        "lm",
        inside.to_str().unwrap(),
        "-o",
        moved.to_str().unwrap(),
        "--overwrite",
    ];
    args.extend(SMALL);
    let (code, message, _) = fail(&mut refrain(&args));
    assert!(code == 1 && message.contains("stdin.txt"), "{message}");
    assert!(inside.exists());
}

#[test]
fn the_last_line_holds_what_the_contract_promises() {
    let place = Place::new();
    let packed = place.path("text.txt.zst");
    fs::write(
        &packed,
        zstd::encode_all(&fs::read(place.path("text.txt")).unwrap()[..], 3).unwrap(),
    )
    .unwrap();
    let run = place.path("run");
    let mut args = vec![
        "train",
        "lm",
        packed.to_str().unwrap(),
        "-o",
        run.to_str().unwrap(),
        "--test=0.1",
    ];
    args.extend(SMALL);
    let end = succeed(&mut refrain(&args));
    for field in [
        "run",
        "model",
        "task",
        "steps",
        "epochs",
        "tokens",
        "elapsed_s",
        "tokens_per_s",
        "peak_memory_bytes",
        "train_loss_nats",
        "validation",
        "test",
    ] {
        assert!(!end[field].is_null(), "no `{field}` in {end}");
    }
    assert!(end["test"]["loss_nats"].as_f64().unwrap() < 2.7, "{end}");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("hidden_size"));
}

#[test]
fn what_cannot_be_trained_is_a_clear_error_and_leaves_nothing() {
    let place = Place::new();
    let long = "ab".repeat(50_000);
    let cases: &[(&str, &[u8], &[&str], &str)] = &[
        ("empty.txt", b"", &[], "empty.txt"),
        ("one.txt", b"x", &[], "one.txt"),
        ("latin1.txt", b"caf\xe9 au lait\n", &[], "line 1, column 4"),
        ("lying.gz", b"not packed", &[], "lying.gz"),
        ("cut.zst", &[0x28, 0xb5, 0x2f, 0xfd, 4], &[], "cut.zst"),
        (
            "big.txt",
            long.as_bytes(),
            &["--hidden-size=60000", "--num-layers=20"],
            "memory",
        ),
    ];
    for (name, bytes, flags, expected) in cases {
        let file = place.write(name, bytes);
        let run = place.path("never");
        let mut command = refrain(&["train", "lm", &file, "-o", run.to_str().unwrap(), "--json"]);
        let (code, message, hint) = fail(command.args(*flags));
        assert_eq!(code, 1, "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!hint.is_empty(), "{name}: {message}");
        assert!(!run.exists(), "{name} left a folder");
    }
    let missing = place.path("missing.txt");
    let (code, message, _) = fail(&mut refrain(&[
        "train",
        "lm",
        missing.to_str().unwrap(),
        "-o",
        place.path("never").to_str().unwrap(),
        "--json",
    ]));
    assert!(code == 1 && message.contains("missing.txt"), "{message}");
}

#[test]
fn small_texts_are_learnt_from_with_smaller_choices_said_aloud() {
    let place = Place::new();
    for (name, text, note) in [
        ("short.txt", "hello hello", "`batch` is 1 instead of 32"),
        ("same.txt", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "one symbol"),
        ("two.txt", "ab", "too short for a validation part"),
    ] {
        let file = place.write(name, text.as_bytes());
        let run = place.path(&format!("{name}.run"));
        let end = succeed(&mut refrain(&[
            "train",
            "lm",
            &file,
            "-o",
            run.to_str().unwrap(),
            "--steps=5",
            "--hidden-size=8",
            "--json",
        ]));
        assert!(
            end["notes"].to_string().contains(note),
            "{name}: {}",
            end["notes"]
        );
    }
}

#[test]
fn a_short_text_gets_more_passes_unless_the_budget_is_given() {
    let place = Place::new();
    let file = place.write(
        "poem.txt",
        "so much depends upon a red wheel barrow\n"
            .repeat(10)
            .as_bytes(),
    );
    let run = place.path("poem");
    let small = ["--hidden-size=8", "--num-layers=1", "--json"];
    let args = [
        "train",
        "lm",
        &file,
        "-o",
        run.to_str().unwrap(),
        "--overwrite",
    ];
    let end = succeed(refrain(&args).args(small));
    assert_eq!(end["steps"], 1000);
    assert!(end["notes"].to_string().contains("`epochs` is"), "{end}");
    let end = succeed(refrain(&args).args(small).arg("--epochs=2"));
    assert!(end["steps"].as_u64().unwrap() < 20, "{end}");
}

#[test]
fn a_run_folder_is_guarded() {
    let place = Place::new();
    succeed(&mut place.train("run", &["--steps=10"]));
    let (code, message, hint) = fail(&mut place.train("run", &["--steps=10"]));
    assert!(
        code == 1 && message.contains("already") && hint.contains("--resume"),
        "{message} {hint}"
    );
    succeed(&mut place.train("run", &["--steps=10", "--overwrite"]));
    // Other data than the run began with.
    fs::write(
        place.path("text.txt"),
        "another text altogether, quite another",
    )
    .unwrap();
    let (code, message, _) = fail(&mut place.resume("run"));
    assert!(code == 1 && message.contains("data"), "{message}");
    // A damaged state.
    let place = Place::new();
    succeed(&mut place.train("run", &["--steps=10"]));
    let state = fs::read(place.path("run/state.safetensors")).unwrap();
    fs::write(
        place.path("run/state.safetensors"),
        &state[..state.len() / 2],
    )
    .unwrap();
    let (code, message, _) = fail(&mut place.resume("run"));
    assert!(
        code == 1 && message.contains("state.safetensors"),
        "{message}"
    );
    let (code, message, _) = fail(&mut place.resume("nowhere"));
    assert!(code == 1 && message.contains("nowhere"), "{message}");
}

#[test]
fn a_loss_that_is_not_finite_stops_with_the_last_good_state() {
    let place = Place::new();
    let flags = [
        "--optimizer=sgd",
        "--learning-rate=1e30",
        "--clip-norm=none",
        "--cell=rnn",
        "--nonlinearity=relu",
    ];
    let (code, message, hint) = fail(&mut place.train("bad", &flags));
    assert_eq!(code, 1);
    assert!(
        message.contains("step") && message.contains("not finite"),
        "{message}"
    );
    assert!(
        hint.contains("--learning-rate") && hint.contains("--clip-norm"),
        "{hint}"
    );
    let state = place.path("bad/state.safetensors");
    assert!(state.is_file() && place.path("bad/metrics.jsonl").is_file());
}

/// The ids and the weights, and so the merges that byte-pair encoding learns, are the same in every process.
#[test]
fn words_and_pieces_of_words_are_trained_scored_and_drawn() {
    let place = Place::new();
    let text = fs::read_to_string(place.path("text.txt")).unwrap();
    for (name, flags) in [
        (
            "word",
            &["--tokens=word", "--lowercase", "--min-count=2"][..],
        ),
        ("bpe", &["--tokens=bpe:300"]),
    ] {
        succeed(&mut place.train(name, flags));
        let again = format!("{name}-again");
        let other = [flags, &["--threads=1", "--isa=scalar"]].concat();
        succeed(place.train(&again, &other).env("RAYON_NUM_THREADS", "1"));
        let [run, again] = [place.path(name), place.path(&again)];
        let bytes = |run: &Path| fs::read(run.join("last.safetensors")).unwrap();
        assert!(bytes(&run) == bytes(&again), "{name}");

        let run = run.to_str().unwrap();
        let score = succeed(&mut refrain(&[
            "evaluate",
            run,
            place.path("text.txt").to_str().unwrap(),
            "--json",
        ]));
        let number = |key: &str| score[key].as_f64().unwrap();
        // The first token, of three or four letters and maybe with its space, is not scored.
        let left_out = text.chars().count() as f64 - number("characters");
        assert!((3.0..=6.0).contains(&left_out), "{name}: {score}");
        let bits = number("bits_per_token") * number("tokens");
        let bits_again = number("bits_per_char") * number("characters");
        assert!((bits - bits_again).abs() < 1e-9 * bits, "{name}: {score}");
        assert!(number("bits_per_char") < 1.5, "{name}: {score}");

        let sample = |more: &[&str]| {
            let args = ["sample", run, "--greedy", "--length=12", "--json", "-q"];
            succeed(&mut refrain(&[&args[..], more].concat()))
        };
        let drawn = sample(&["--prompt=one two"]);
        let text = drawn["text"].as_str().unwrap();
        assert!(text.starts_with([' ', '\n', '.']), "{name}: {text:?}");
        assert_eq!(drawn["tokens"].as_array().unwrap().len(), 12);
        let stopped = sample(&["--prompt=one two", "--stop=\n"]);
        let tokens = stopped["tokens"].as_array().unwrap();
        assert_eq!(stopped["finish_reason"], "stop", "{name}: {stopped}");
        assert!(!stopped["text"].as_str().unwrap().contains('\n'));
        assert!(
            tokens.len() < 12 && tokens.last() != Some(&"\n".into()),
            "{name}: {stopped}"
        );

        let unknown = sample(&["--prompt=one zebra"]);
        let expected = match name {
            "word" => ("one <unk>", 1),
            _ => ("one zebra", 0),
        };
        let found = (&unknown["prompt"], &unknown["unknown"]);
        assert_eq!(found, (&expected.0.into(), &expected.1.into()), "{name}");
        // The vocabulary is made again from the data, the same.
        let longer = succeed(place.resume(name).arg("--steps=125"));
        assert_eq!(longer["steps"], 125);
    }
}

#[test]
fn settings_of_words_need_words_and_sizes_have_bounds() {
    let place = Place::new();
    let (code, message, hint) = fail(&mut place.train("run", &["--min-count=2"]));
    assert_eq!(code, 2);
    assert!(message.starts_with("`min-count` is 2"), "{message}");
    assert!(hint.ends_with("`--tokens word`"), "{hint}");
    let (_, message, _) = fail(&mut place.train("run", &["--tokens=word", "--min-count=100000"]));
    assert_eq!(message, "no word occurs 100000 times in the training part");
    let usage = output(&mut place.train("run", &["--tokens=bpe:256"]));
    assert_eq!(usage.status.code(), Some(2));
    let talk = String::from_utf8(usage.stderr).unwrap();
    assert!(talk.contains("N from 257 to 65536"), "{talk}");
    assert!(!place.path("run").exists());
}
