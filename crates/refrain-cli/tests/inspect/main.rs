//! `inspect gradients`, `spectrum` and `gates`, and `train --watch`, as a shell sees them.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

mod bad;
mod measures;
#[path = "../support/npz.rs"]
mod npz;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with tests that kill runs")]
mod support;
mod watch;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::{output, refrain, succeed};

/// A folder with data of every kind, and models of it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let words = ["one ", "two ", "three ", "four.\n", "five ", "six\n"];
        let mut state = 1u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            words[(state >> 16) as usize % 6]
        };
        let text: String = (0..600).map(|_| word()).collect();
        place.write("text.txt", &text);
        place.write("short.txt", "one two three");
        let reviews =
            "a warm film\tgood\na cold film\tbad\na warm , warm plot\tgood\nso cold\tbad\n";
        place.write(
            "reviews.tsv",
            &format!("text\tlabel\n{}", reviews.repeat(8)),
        );
        let sentence = "1\tthe\t_\tDET\t_\t_\t_\t_\t_\t_\n2\tdog\t_\tNOUN\t_\t_\t_\t_\t_\t_\n3\tbarks\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n";
        place.write("tags.conllu", &sentence.repeat(12));
        place.write(
            "pairs.de",
            &"Ein Hund rennt.\nZwei Hunde rennen schnell.\n".repeat(10),
        );
        place.write("pairs.en", &"A dog runs.\nTwo dogs run fast.\n".repeat(10));
        let rows = (0..300).map(|at| format!("{},{}\n", at % 24, (at * 7) % 13));
        place.write(
            "load.csv",
            &format!("load,wind\n{}", rows.collect::<String>()),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The arguments of a training of a moment.
    fn training(&self, task: &str, data: &[&str], run: &str, more: &[&str]) -> Vec<String> {
        let mut args = vec!["train".to_owned(), task.to_owned()];
        args.extend(data.iter().map(|name| self.name(name)));
        args.extend(["-o".to_owned(), self.name(run), "--json".to_owned()]);
        let given = |flag: &str| {
            let name = flag.split('=').next();
            more.iter().any(|more| more.split('=').next() == name)
        };
        let usual = ["--hidden-size=20", "--batch=4", "--steps=30", "--seed=3"];
        args.extend(
            usual
                .iter()
                .filter(|flag| !given(flag))
                .map(|&flag| flag.to_owned()),
        );
        args.extend(more.iter().map(|&flag| flag.to_owned()));
        args
    }

    /// Trains a model; its folder.
    #[track_caller]
    fn trained(&self, task: &str, data: &[&str], run: &str, more: &[&str]) -> String {
        let args = self.training(task, data, run, more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        succeed(&mut refrain(&args));
        self.name(run)
    }

    fn language_model(&self, run: &str, more: &[&str]) -> String {
        let flags = ["--embedding-size=8", "--bptt=10"];
        let more: Vec<&str> = flags.iter().chain(more).copied().collect();
        self.trained("lm", &["text.txt"], run, &more)
    }
}

/// What a command prints for people.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let output = output(&mut refrain(args));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it writes with `--json`.
#[track_caller]
fn json(args: &[&str]) -> Value {
    succeed(refrain(args).arg("--json"))
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

fn names(value: &Value, keys: &[&str]) -> Vec<String> {
    let layers = value["layers"].as_array().unwrap().iter();
    let name = |layer: &Value| {
        let parts = keys.iter().map(|key| layer[key].as_str().unwrap());
        parts.collect::<Vec<_>>().join(" ")
    };
    layers.map(name).collect()
}
