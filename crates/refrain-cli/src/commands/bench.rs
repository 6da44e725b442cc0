//! `refrain bench`.

mod measure;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use refrain::models::ModelConfig;
use refrain::nn::CellKind;
use refrain::{Compute, Error};
use serde::Serialize;
use serde_json::json;

use self::measure::{Measured, Series, Sizes};
use crate::args::{BenchArgs, Kind, Workload};
use crate::context::{Context, cores};
use crate::errors::Exit;
use crate::escape::visible;
use crate::machine;

/// What is measured where nothing is named.
const STANDARD: [&str; 6] = [
    "lstm-65-65-128-2-50-50",
    "lstm-65-64-256-2-64-64",
    "lstm-65-128-512-2-64-64",
    "sample-lstm-65-65-128-2",
    "sample-lstm-65-64-256-2",
    "sample-lstm-65-128-512-2",
];

/// What was found of one workload.
#[derive(Serialize)]
struct Found {
    name: String,
    /// Of a training step, or of one character.
    median_ms: f64,
    best_ms: f64,
    gflops: f64,
    share_of_peak: f64,
    peak_gflops: f64,
    threads: usize,
    /// Milliseconds, medians.
    phases: BTreeMap<String, f64>,
    /// How many times it was measured.
    samples: usize,
    #[serde(flatten)]
    sampling: Option<Sampling>,
}

#[derive(Serialize)]
struct Sampling {
    chars_per_s: f64,
    best_chars_per_s: f64,
}

pub(crate) fn run(args: &BenchArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let workloads = match args.workload {
        Some(workload) => vec![workload],
        None => STANDARD
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
    };
    for workload in &workloads {
        check_memory(workload)?;
    }
    let seconds = Duration::try_from_secs_f64(args.seconds).unwrap_or(Duration::MAX);
    let machine = json!({
        "cpu": machine::cpu(),
        "cores": cores(),
        "isa": context.isa.name(),
    });
    if !context.json {
        let cpu = machine::cpu().unwrap_or_else(|| "unknown processor".into());
        let (cores, isa) = (cores(), context.isa.name());
        writeln!(context.out, "{}, {cores} cores, {isa}", visible(&cpu))?;
    }
    let mut found = Vec::new();
    let mut title_before = String::new();
    for workload in &workloads {
        if !context.json {
            let title = title(workload.kind);
            if title_before != title {
                writeln!(context.out, "\n{title}")?;
                title_before = title;
            }
            context.out.flush()?;
        }
        context.detail(&format!("measuring {workload}"));
        let one = measure(workload, context, seconds);
        if !context.json {
            // Each row as soon as it is there.
            write_row(&one, context)?;
        }
        found.push(one);
    }
    if context.json {
        context
            .out
            .json(&json!({ "machine": machine, "workloads": found }))?;
    }
    Ok(Exit::Done)
}

/// The model of a workload.
fn config(workload: &Workload) -> ModelConfig {
    ModelConfig {
        cell: workload.cell,
        hidden_size: workload.hidden_size,
        num_layers: workload.num_layers,
        embedding_size: workload.embedding_size,
        ..ModelConfig::default()
    }
}

/// An error where a workload does not fit into memory.
fn check_memory(workload: &Workload) -> refrain::Result<()> {
    let (batch, seq_len) = match workload.kind {
        Kind::Train { batch, seq_len } => (batch, seq_len),
        Kind::Sample => (1, 1),
    };
    let needed = config(workload).memory_estimate(workload.vocab_size, batch, seq_len);
    match machine::available_bytes() {
        Some(available_bytes) if needed > available_bytes as f64 => Err(Error::Memory {
            needed_bytes: needed as u64,
            available_bytes,
            hint: "take smaller sizes".into(),
        }),
        _ => Ok(()),
    }
}

/// Multiply-adds of a plain forward pass for one token: the first layer's product taken as dense, the matrices of all
/// gates, the scores.
fn multiply_adds(workload: &Workload) -> f64 {
    let gates = match workload.cell {
        CellKind::Rnn | CellKind::Mlp => 1.0,
        CellKind::Gru => 3.0,
        CellKind::Lstm => 4.0,
    };
    let [vocab, embedding, hidden] = [
        workload.vocab_size,
        workload.embedding_size,
        workload.hidden_size,
    ]
    .map(|size| size as f64);
    let further = (workload.num_layers - 1) as f64;
    gates * hidden * (embedding + hidden + further * 2.0 * hidden) + vocab * hidden
}

fn measure(workload: &Workload, context: &Context, seconds: Duration) -> Found {
    let (compute, tokens, passes) = match workload.kind {
        // Backward costs twice as much as forward.
        Kind::Train { batch, seq_len } => (context.compute(), batch * seq_len, 3.0),
        Kind::Sample => (Compute::single(context.isa), 1, 1.0),
    };
    let peak_before = measure::peak_gflops(&compute);
    let config = config(workload);
    let Measured { whole, phases } = match workload.kind {
        Kind::Train { batch, seq_len } => {
            let sizes = Sizes {
                vocab_size: workload.vocab_size,
                batch,
                seq_len,
            };
            measure::training_step(&config, sizes, &compute, seconds)
        }
        Kind::Sample => measure::sampling(&config, workload.vocab_size, context.isa, seconds),
    };
    // On a machine that others use too, the peak comes and goes.
    let peak_gflops = peak_before.max(measure::peak_gflops(&compute));
    let (median_s, best_s) = (whole.median(), whole.best());
    let gflops = 2.0 * passes * multiply_adds(workload) * tokens as f64 / median_s / 1e9;
    let phase = |(name, series): &(&str, Series)| ((*name).to_owned(), 1e3 * series.median());
    Found {
        name: workload.to_string(),
        median_ms: 1e3 * median_s,
        best_ms: 1e3 * best_s,
        gflops,
        share_of_peak: gflops / peak_gflops,
        peak_gflops,
        threads: compute.threads(),
        phases: phases.iter().map(phase).collect(),
        samples: whole.len(),
        sampling: (workload.kind == Kind::Sample).then(|| Sampling {
            chars_per_s: 1.0 / median_s,
            best_chars_per_s: 1.0 / best_s,
        }),
    }
}

/// What stands above the rows of a kind, all columns of 80.
fn title(kind: Kind) -> String {
    let (what, time, parts) = match kind {
        Kind::Train { .. } => (
            "training step, ms",
            ["median", "best"],
            ["fwd+bwd", "norm", "update"],
        ),
        Kind::Sample => ("one stream", ["chars/s", "best"], ["us:", "model", "draw"]),
    };
    let [median, best] = time;
    let [first, second, third] = parts;
    format!(
        "{what:<24}{median:>9}{best:>9}{:>9}{:>5}{first:>8}{second:>9}{third:>7}",
        "GFLOP/s", "peak"
    )
}

fn write_row(found: &Found, context: &mut Context) -> anyhow::Result<()> {
    let phase = |name: &str| found.phases.get(name).copied().unwrap_or(f64::NAN);
    let (name, gflops) = (&found.name, found.gflops);
    let share = format!("{:.0}%", 100.0 * found.share_of_peak);
    let row = match &found.sampling {
        None => format!(
            "{name:<24}{:>9.2}{:>9.2}{gflops:>9.1}{share:>5}{:>8.2}{:>9.2}{:>7.2}",
            found.median_ms,
            found.best_ms,
            phase("forward_backward"),
            phase("norm"),
            phase("update")
        ),
        Some(sampling) => format!(
            "{name:<24}{:>9.0}{:>9.0}{gflops:>9.1}{share:>5}{:>17.2}{:>7.2}",
            sampling.chars_per_s,
            sampling.best_chars_per_s,
            1e3 * phase("model"),
            1e3 * phase("draw")
        ),
    };
    writeln!(context.out, "{row}")?;
    context.out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_workloads_are_well_formed() {
        for name in STANDARD {
            let workload: Workload = name.parse().unwrap();
            assert_eq!(workload.to_string(), name);
        }
    }

    #[test]
    fn work_is_counted_by_hand() {
        let workload = "lstm-65-64-256-2-64-64".parse().unwrap();
        let expected = 4 * 256 * (64 + 256) + 4 * 256 * (256 + 256) + 65 * 256;
        assert_eq!(multiply_adds(&workload), f64::from(expected));
        let workload = "sample-gru-5-3-7-1".parse().unwrap();
        assert_eq!(multiply_adds(&workload), f64::from(3 * 7 * (3 + 7) + 5 * 7));
    }

    #[test]
    fn titles_and_rows_fit_a_narrow_terminal() {
        for kind in [
            Kind::Sample,
            Kind::Train {
                batch: 1,
                seq_len: 1,
            },
        ] {
            assert_eq!(title(kind).len(), 80);
        }
    }
}
