//! The real binary at forecasts: trained, killed, resumed, asked, scored, and given what it cannot use.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad;
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

/// Data of some kind, and the flags of a small run with much that a resume could lose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    data: &'static str,
    flags: &'static [&'static str],
}

pub(crate) const SERIES: Kind = Kind {
    data: "series.csv",
    flags: &[
        "--context=12",
        "--horizon=3",
        "--loss=gaussian",
        "--num-layers=2",
        "--batch-norm",
        "--test=0.1",
    ],
};

pub(crate) const ROLLS: Kind = Kind {
    data: "rolls.npz",
    flags: &["--layer-norm", "--recurrent-dropout=0.2"],
};

pub(crate) const PLAIN: Kind = Kind {
    data: "series.csv",
    flags: &[
        "--context=9",
        "--horizon=1",
        "--cell=mlp",
        "--loss=mae",
        "--target-column=warm",
    ],
};

const SMALL: &[&str] = &[
    "--hidden-size=12",
    "--batch=8",
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

/// The rows of a series: a day of eight steps, and what follows it.
pub(crate) fn rows(count: usize) -> Vec<(f64, f64)> {
    let mut last = 0.0;
    let row = |at: usize| {
        let noise = ((at * 7919 + 13) % 101) as f64 / 101.0 - 0.5;
        last = 0.6 * last + noise;
        let day = if at % 8 < 3 { 4.0 } else { 0.0 };
        (20.0 + day + last, 100.0 - 3.0 * day + 0.02 * at as f64)
    };
    (0..count).map(row).collect()
}

pub(crate) fn series(rows: &[(f64, f64)]) -> String {
    let mut text = "hour,warm,\"load, kW\"\n".to_owned();
    for (at, (warm, load)) in rows.iter().enumerate() {
        let (day, hour) = (at / 24, at % 24);
        let (month, day) = (1 + day / 28, 1 + day % 28);
        text += &format!("2021-{month:02}-{day:02} {hour:02}:00:00,{warm:.4},{load:.4}\n");
    }
    text
}

/// Sequences of three to nine steps in which one of four keys follows the other.
pub(crate) fn rolls() -> Vec<u8> {
    const SHAPE: [usize; 3] = [40, 9, 4];
    let [count, steps, keys] = SHAPE;
    let (mut inputs, mut lengths) = (Vec::new(), Vec::new());
    for at in 0..count {
        let length = 3 + at % (steps - 2);
        lengths.push(length as i64);
        for t in 0..steps {
            let sounding = |key: usize| t < length && (at + t) % keys == key;
            inputs.extend((0..keys).map(|key| u8::from(sounding(key))));
        }
    }
    let mut npz = NpzWriter::new();
    npz.add_u8("inputs", &SHAPE, &inputs).unwrap();
    npz.add_i64("lengths", &[count], &lengths).unwrap();
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
        place.write("series.csv", series(&rows(400)).as_bytes());
        place.write("rolls.npz", &rolls());
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
        let mut command = refrain(&["train", "forecast", &self.name(kind.data)]);
        command.args(["-o", &self.name(run)]).args(flags).args(more);
        command
    }

    pub(crate) fn resume(&self, run: &str) -> Command {
        refrain(&["train", "--resume", &self.name(run), "--json"])
    }

    /// The folder of a run that has learnt something.
    pub(crate) fn trained(&self, kind: Kind, more: &[&str]) -> String {
        let steps: &[&str] = match more.iter().any(|flag| flag.starts_with("--steps=")) {
            true => &[],
            false => &["--steps=160"],
        };
        succeed(&mut self.train(kind, "trained", &[steps, more].concat()));
        self.name("trained")
    }
}
