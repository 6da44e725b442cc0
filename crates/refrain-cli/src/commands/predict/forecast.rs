//! `refrain predict` of a forecaster: the steps after the last one.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use refrain::data::OnBadRow;
use refrain::data::forecast::read_numbers;
use refrain::run::forecast::{Forecast, LoadedForecaster, forecast};
use serde_json::json;

use super::refuse;
use crate::args::PredictArgs;
use crate::commands::stdin_of;
use crate::context::Context;
use crate::errors::{Exit, usage};
use crate::escape::one_line;
use crate::machine;

pub(super) fn run(
    args: &PredictArgs,
    loaded: &LoadedForecaster,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    if args.text_column.is_some() {
        return Err(usage(
            "`--text-column` is not for a model of the task `forecast`",
            "leave it out",
        ));
    }
    let path: PathBuf = args.file.clone().unwrap_or_else(|| Path::new("-").into());
    let max_bytes = machine::available_bytes().map_or(1 << 32, |bytes| bytes / 6);
    let stdin = stdin_of(std::slice::from_ref(&path), max_bytes)?;
    let raw = read_numbers(
        &path,
        args.format,
        OnBadRow::Error,
        max_bytes,
        stdin.as_deref(),
    )?;
    for note in raw.notes() {
        context.notice(note);
    }
    let is_series = !loaded.encoding.columns.is_empty();
    let mut failed = false;
    for said in forecast(loaded, &context.compute(), &raw)? {
        match said {
            Ok(said) if context.json => {
                let mut object = json!({"values": said.values});
                if is_series {
                    object["columns"] = json!(names(loaded));
                }
                if !said.deviations.is_empty() {
                    object["deviation"] = json!(said.deviations);
                }
                context.out.json(&object)?;
            }
            Ok(said) if is_series => series(context, loaded, &said)?,
            Ok(said) => {
                // A line a sequence; the steps of it one after the other.
                let numbers: Vec<_> = said
                    .values
                    .concat()
                    .iter()
                    .map(|value| number(*value))
                    .collect();
                writeln!(context.out, "{}", numbers.join(" "))?;
            }
            Err(error) => {
                failed = true;
                refuse(context, &error)?;
            }
        }
    }
    context.out.finish()?;
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn names(loaded: &LoadedForecaster) -> Vec<String> {
    let targets = 0..loaded.encoding.targets.len();
    targets
        .map(|target| loaded.encoding.target_name(target))
        .collect()
}

/// A table as it could stand below the rows that were given.
fn series(context: &mut Context, loaded: &LoadedForecaster, said: &Forecast) -> anyhow::Result<()> {
    let quoted = |name: &str| {
        let name = one_line(name);
        match name.contains([',', '"']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name,
        }
    };
    let names = names(loaded);
    let mut head: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    if !said.deviations.is_empty() {
        head.extend(
            names
                .iter()
                .map(|name| quoted(&format!("{name} deviation"))),
        );
    }
    writeln!(context.out, "{}", head.join(","))?;
    for (step, values) in said.values.iter().enumerate() {
        let deviations = said.deviations.get(step).into_iter().flatten();
        let row: Vec<_> = values
            .iter()
            .chain(deviations)
            .map(|value| number(*value))
            .collect();
        writeln!(context.out, "{}", row.join(","))?;
    }
    Ok(())
}

/// As many digits as a single-precision number has.
fn number(value: f64) -> String {
    format!("{}", value as f32)
}
