//! The names of what `refrain bench` measures.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use refrain::nn::CellKind;

const SAMPLE: &str = "sample-";

/// Something to measure, of known sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) cell: CellKind,
    pub(crate) vocab_size: usize,
    pub(crate) embedding_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) kind: Kind,
}

/// What is done with the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole training step.
    Train { batch: usize, seq_len: usize },
    /// Drawing one stream.
    Sample,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected a cell and six sizes from 1, as `lstm-65-64-256-2-64-64`, or for sampling four, as \
             `sample-lstm-65-64-256-2`"
                .to_owned()
        };
        let (is_sample, rest) = match text.strip_prefix(SAMPLE) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (cell, sizes) = rest.split_once('-').ok_or_else(wrong)?;
        let size = |text: &str| {
            text.parse::<NonZero<u16>>()
                .map(|size| usize::from(size.get()))
        };
        let sizes: Result<Vec<_>, _> = sizes.split('-').map(size).collect();
        let (model, kind) = match (is_sample, &sizes.map_err(|_| wrong())?[..]) {
            (false, &[v, e, h, l, batch, seq_len]) => {
                ([v, e, h, l], Kind::Train { batch, seq_len })
            }
            (true, &[v, e, h, l]) => ([v, e, h, l], Kind::Sample),
            _ => return Err(wrong()),
        };
        let [vocab_size, embedding_size, hidden_size, num_layers] = model;
        Ok(Self {
            cell: match cell.parse() {
                Ok(CellKind::Mlp) | Err(_) => return Err(wrong()),
                Ok(cell) => cell,
            },
            vocab_size,
            embedding_size,
            hidden_size,
            num_layers,
            kind,
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cell,
            vocab_size,
            embedding_size,
            hidden_size,
            num_layers,
            kind,
        } = self;
        if *kind == Kind::Sample {
            f.write_str(SAMPLE)?;
        }
        write!(
            f,
            "{cell}-{vocab_size}-{embedding_size}-{hidden_size}-{num_layers}"
        )?;
        match kind {
            Kind::Train { batch, seq_len } => write!(f, "-{batch}-{seq_len}"),
            Kind::Sample => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_reads_as_it_is_written() {
        let workload: Workload = "gru-65-64-256-2-50-32".parse().unwrap();
        let kind = Kind::Train {
            batch: 50,
            seq_len: 32,
        };
        assert_eq!((workload.cell, workload.kind), (CellKind::Gru, kind));
        assert_eq!(workload.to_string(), "gru-65-64-256-2-50-32");
        let workload: Workload = "sample-rnn-65-64-256-2".parse().unwrap();
        assert_eq!((workload.hidden_size, workload.kind), (256, Kind::Sample));
        assert_eq!(workload.to_string(), "sample-rnn-65-64-256-2");
        for wrong in [
            "",
            "lstm",
            "lstm-1-2-3-4-5",
            "lstm-1-2-3-4-5-0",
            "mlp-1-2-3-4-5-6",
            "lstm-1-2-3-4-5-6-7",
            "lstm-1-2-3-4-5-70000",
            "sample-lstm-1-2-3",
            "sample-lstm-1-2-3-4-5-6",
            "sample-sample-lstm-1-2-3-4",
        ] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
    }
}
