use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};

/// One thing to measure, under the name that `refrain bench --workload` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A training step: `CELL-V-E-H-L-B-T`.
    Train,
    /// Drawing one stream: `sample-CELL-V-E-H-L`.
    Sample,
}

/// Which workloads to measure when none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    Train,
    Sample,
    All,
}

const TRAIN: [&str; 3] = [
    "lstm-65-65-128-2-50-50",
    "lstm-65-64-256-2-64-64",
    "lstm-65-128-512-2-64-64",
];

const SAMPLE: [&str; 3] = [
    "sample-lstm-65-65-128-2",
    "sample-lstm-65-64-256-2",
    "sample-lstm-65-128-512-2",
];

impl What {
    pub(crate) fn workloads(self) -> Vec<Workload> {
        let of = |kind: Kind, names: [&str; 3]| {
            names.map(|name| Workload {
                name: name.to_owned(),
                kind,
            })
        };
        let mut workloads = Vec::new();
        if self != Self::Sample {
            workloads.extend(of(Kind::Train, TRAIN));
        }
        if self != Self::Train {
            workloads.extend(of(Kind::Sample, SAMPLE));
        }
        workloads
    }
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let (kind, rest, sizes) = match name.strip_prefix("sample-") {
            Some(rest) => (Kind::Sample, rest, 4),
            None => (Kind::Train, name, 6),
        };
        let mut words = rest.split('-');
        let cell = words.next().unwrap_or_default();
        let found: Vec<_> = words.map(str::parse::<u32>).collect();
        let right = ["rnn", "gru", "lstm"].contains(&cell)
            && found.len() == sizes
            && found.iter().all(|size| matches!(size, Ok(1..)));
        ensure!(
            right,
            "expected CELL-V-E-H-L-B-T (cell rnn, gru or lstm, vocabulary, embedding, hidden size, layers, \
             batch, steps) or sample-CELL-V-E-H-L"
        );
        let name = name.to_owned();
        Ok(Self { name, kind })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_well_formed() {
        let all = What::All.workloads();
        assert_eq!(all.len(), 6);
        for workload in &all {
            assert_eq!(&workload.name.parse::<Workload>().unwrap(), workload);
        }
        assert_eq!(What::Train.workloads(), all[..3]);
        assert_eq!(What::Sample.workloads(), all[3..]);
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "",
            "lstm",
            "lstm-65-65-128-2-50",
            "lstm-65-65-128-2-50-50-1",
            "lstm-65-65-0-2-50-50",
            "lstm-65-65-x-2-50-50",
            "mlp-65-65-128-2-50-50",
            "sample-lstm-65-65-128-2-50-50",
            "sample-lstm-65-65-128",
        ] {
            assert!(name.parse::<Workload>().is_err(), "{name}");
        }
    }
}
