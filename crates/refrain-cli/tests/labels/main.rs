//! The real binary at classes and labels, and the plain network: trained, killed, resumed, asked, and given what it cannot use.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad;
mod begin;
#[path = "../support/damage.rs"]
mod damage;
mod hostile;
#[path = "../support/npz.rs"]
mod npz;
mod predict;
mod runs;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use refrain::data::NpzWriter;
use tempfile::TempDir;

use damage::Numbers;
use support::{refrain, succeed};

/// A task with data of some kind, and the flags of a small run with much that a resume could lose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    task: &'static str,
    data: &'static str,
    flags: &'static [&'static str],
}

pub(crate) const REVIEWS: Kind = Kind {
    task: "classify",
    data: "reviews.tsv",
    flags: &[
        "--batch=8",
        "--num-layers=2",
        "--batch-norm",
        "--class-weights=balanced",
    ],
};

pub(crate) const TAGS: Kind = Kind {
    task: "tag",
    data: "tags.conllu",
    flags: &["--batch=8", "--layer-norm", "--recurrent-dropout=0.2"],
};

pub(crate) const CLIPS: Kind = Kind {
    task: "tag",
    data: "clips.npz",
    flags: &[
        "--batch=4",
        "--num-layers=2",
        "--batch-norm",
        "--center-clips",
    ],
};

pub(crate) const TEXT: Kind = Kind {
    task: "lm",
    data: "text.txt",
    flags: &[
        "--batch=4",
        "--cell=mlp",
        "--window=4",
        "--bptt=10",
        "--num-layers=2",
    ],
};

const SMALL: &[&str] = &[
    "--hidden-size=12",
    "--embedding-size=6",
    "--dropout=0.2",
    "--learning-rate=0.01",
    "--schedule=constant",
    "--warmup-steps=3",
    "--steps=80",
    "--save-every=7",
    "--eval-every=10",
    "--seed=5",
    "--json",
];

/// One of some words.
fn pick<'a>(numbers: &mut Numbers, all: &[&'a str]) -> &'a str {
    all[numbers.below(all.len())]
}

/// Rows with a good word or a bad one, and which it was.
fn reviews() -> String {
    let mut numbers = Numbers::new();
    let mut rows = "text\tlabel\n".to_owned();
    for _ in 0..160 {
        let (label, word) = match numbers.below(3) {
            0 => ("down", pick(&mut numbers, &["bad", "poor", "dull"])),
            _ => ("up", pick(&mut numbers, &["fine", "good", "lovely"])),
        };
        for _ in 0..numbers.below(6) {
            rows += pick(&mut numbers, &["the ", "film ", "plot ", "was ", "and "]);
        }
        rows += &format!(
            "{word} {}\t{label}\n",
            pick(&mut numbers, &["", "film", "plot"])
        );
    }
    rows
}

/// Sentences whose words end in what they are.
fn tags() -> String {
    let mut numbers = Numbers::new();
    let mut text = String::new();
    for _ in 0..100 {
        for id in 1..numbers.below(7) + 2 {
            let stem = pick(&mut numbers, &["bo", "ka", "mi", "tu", "sel", "dan"]);
            let (ending, tag) =
                [("ing", "VERB"), ("ness", "NOUN"), ("ly", "ADV")][numbers.below(3)];
            text += &format!("{id}\t{stem}{ending}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n");
        }
        text += "\n";
    }
    text
}

/// Clips of one to six frames that are dark, grey or bright.
fn clips() -> Vec<u8> {
    const SHAPE: [usize; 5] = [40, 6, 5, 4, 1];
    let [count, steps, ..] = SHAPE;
    let mut numbers = Numbers::new();
    let (mut inputs, mut lengths, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let length = numbers.below(steps) + 1;
        lengths.push(length as i64);
        for t in 0..steps {
            let class = numbers.below(3);
            labels.push(if t < length { class as i64 } else { -1 });
            inputs.extend((0..20).map(|_| (90 * class + numbers.below(40)) as u8));
        }
    }
    let mut npz = NpzWriter::new();
    npz.add_u8("inputs", &SHAPE, &inputs).unwrap();
    npz.add_i64("lengths", &[count], &lengths).unwrap();
    npz.add_i64("labels", &[count, steps], &labels).unwrap();
    npz.finish().unwrap()
}

/// A folder with data of each kind.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        place.write("reviews.tsv", reviews().as_bytes());
        place.write("tags.conllu", tags().as_bytes());
        place.write("clips.npz", &clips());
        let text = "one two three four.\nfive six ".repeat(40);
        place.write("text.txt", text.as_bytes());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, and the folder that it is in.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.name(name)
    }

    /// A run with the small flags, less those that `more` gives anew.
    pub(crate) fn train(&self, kind: Kind, run: &str, more: &[&str]) -> Command {
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let flags = SMALL.iter().chain(kind.flags).copied();
        let flags = flags.filter(|flag| !more.iter().any(|given| name(given) == name(flag)));
        let mut command = refrain(&["train", kind.task, &self.name(kind.data)]);
        command.args(["-o", &self.name(run)]).args(flags).args(more);
        command
    }

    pub(crate) fn resume(&self, run: &str) -> Command {
        refrain(&["train", "--resume", &self.name(run), "--json"])
    }

    /// The folder of a run that has learnt something.
    pub(crate) fn trained(&self, kind: Kind) -> String {
        succeed(&mut self.train(kind, "trained", &["--steps=160"]));
        self.name("trained")
    }
}
