//! The real binary at translators and captioners: trained, killed, resumed, asked, scored, and given what it cannot use.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad;
#[path = "../support/damage.rs"]
mod damage;
mod hostile;
mod runs;
mod scores;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use refrain::data::NpzWriter;
use tempfile::TempDir;

use support::{refrain, succeed};

/// A task with its data, and the flags of a small run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    task: &'static str,
    data: &'static str,
    flags: &'static [&'static str],
}

pub(crate) const PAIRS: Kind = Kind {
    task: "translate",
    data: "pairs.tsv",
    flags: &["--tokens=word"],
};

pub(crate) const PICTURES: Kind = Kind {
    task: "caption",
    data: "captions.tsv",
    flags: &["--layer-norm"],
};

const SMALL: &[&str] = &[
    "--hidden-size=12",
    "--embedding-size=12",
    "--dropout=0.1",
    "--learning-rate=0.02",
    "--batch=8",
    "--steps=60",
    "--schedule=constant",
    "--save-every=7",
    "--eval-every=15",
    "--seed=5",
    "--json",
];

const WORDS: [(&str, &str); 5] = [
    ("eins", "one"),
    ("zwei", "two"),
    ("drei", "three"),
    ("vier", "four"),
    ("acht", "eight"),
];
const COLOURS: [&str; 3] = ["red", "green", "blue"];

/// Numbers in two languages, one to four a line, all lines different.
pub(crate) fn pairs() -> Vec<(String, String)> {
    let rows = (1..120_usize).map(|row| {
        let mut digits = Vec::new();
        let mut rest = row;
        while rest > 0 {
            digits.push(WORDS[rest % 5]);
            rest /= 5;
        }
        let join = |side: fn(&(&'static str, &'static str)) -> &'static str| {
            digits.iter().map(side).collect::<Vec<_>>().join(" ")
        };
        (join(|pair| pair.0), join(|pair| pair.1))
    });
    rows.collect()
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
        let rows: String = pairs().iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
        place.write("pairs.tsv", format!("source\ttarget\n{rows}").as_bytes());
        let mut pixels = Vec::new();
        let mut captions = "picture\tsentence\n".to_owned();
        for picture in 0..90_usize {
            let colour = picture % 3;
            for pixel in 0..48 {
                let bright = if pixel % 3 == colour { 200 } else { 20 };
                pixels.push((bright + picture / 3 % 17) as u8);
            }
            captions += &format!("{picture}\ta {} picture\n", COLOURS[colour]);
            captions += &format!("{picture}\tit is {}\n", COLOURS[colour]);
        }
        place.write("captions.tsv", captions.as_bytes());
        let mut npz = NpzWriter::new();
        npz.add_u8("inputs", &[90, 4, 4, 3], &pixels).unwrap();
        place.write("pictures.npz", &npz.finish().unwrap());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.name(name)
    }

    /// A run with the small flags, less those that `more` gives anew.
    pub(crate) fn train(&self, kind: Kind, run: &str, more: &[&str]) -> Command {
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let flags = SMALL.iter().chain(kind.flags).copied();
        let flags = flags.filter(|flag| !more.iter().any(|given| name(given) == name(flag)));
        let mut command = refrain(&["train", kind.task, &self.name(kind.data)]);
        if kind.task == "caption" {
            command.arg(format!("--images={}", self.name("pictures.npz")));
        }
        command.args(["-o", &self.name(run)]).args(flags).args(more);
        command
    }

    pub(crate) fn resume(&self, run: &str) -> Command {
        refrain(&["train", "--resume", &self.name(run), "--json"])
    }

    /// The folder of a run that has learnt something.
    pub(crate) fn trained(&self, kind: Kind, run: &str) -> String {
        succeed(&mut self.train(kind, run, &["--steps=250"]));
        self.name(run)
    }
}
