//! `refrain evaluate` of a classifier or tagger.

use std::io::Write as _;

use refrain::data::OnBadRow;
use refrain::data::labelled::{RawOptions, read_raw};
use refrain::data::table::TableColumns;
use refrain::metrics::ClassReport;
use refrain::models::LabellerSpace;
use refrain::run::labels::LoadedLabeller;
use refrain::run::report::confusion_svg;
use refrain::train::score_labels;
use serde::Serialize;

use super::refuse;
use crate::args::EvaluateArgs;
use crate::commands::{drawings, stdin_of};
use crate::context::{Context, Talk};
use crate::errors::{Exit, failure};
use crate::machine;

/// What `--json` writes.
#[derive(Serialize)]
struct Score<'a> {
    task: &'a str,
    /// Sequences.
    examples: u64,
    /// Tokens or steps.
    tokens: u64,
    /// Tokens that the model does not know.
    unknown: u64,
    /// Rows that were left out.
    skipped: u64,
    loss_nats: f64,
    #[serde(flatten)]
    classes: &'a ClassReport,
}

pub(super) fn run(
    args: &EvaluateArgs,
    loaded: &LoadedLabeller,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    let task = loaded.config.task.name();
    refuse("streams", args.streams.is_some(), task)?;
    refuse("max-tokens", args.max_tokens.is_some(), task)?;
    super::refuse_pairs(args, task)?;
    let max_bytes = machine::available_bytes().map_or(1 << 32, |bytes| bytes / 4);
    let options = RawOptions {
        per_step: loaded.encoding.per_step,
        labelled: true,
        format: args.format,
        columns: TableColumns {
            text: args.text_column.clone(),
            label: args.label_column.clone(),
        },
        on_bad_row: args.on_bad_row.unwrap_or(OnBadRow::Error),
        max_bytes,
    };
    let stdin = stdin_of(&args.data, max_bytes)?;
    let read = read_raw(&args.data, &options, stdin.as_deref())?;
    for note in &read.notes {
        context.notice(note);
    }
    let name = args
        .data
        .first()
        .map_or_else(String::new, |path| path.display().to_string());
    let encoded = loaded.encoding.encode(&read.raw, &name, true)?;
    if encoded.cut > 0 {
        context.notice(&format!(
            "{} sequences were cut to `max-length`",
            encoded.cut
        ));
    }
    let mut space = LabellerSpace::default();
    let compute = context.compute();
    let score = score_labels(&compute, &loaded.model, &mut space, &encoded.examples)
        .ok_or_else(|| failure(format!("`{name}` has no label"), "give data with labels"))?;
    let report = ClassReport::new(loaded.encoding.labels.iter().cloned(), score.confusion);
    if let Some(path) = &args.plot {
        drawings::write(path, confusion_svg(&report)?)?;
    }
    if context.json {
        context.out.json(&Score {
            task,
            examples: encoded.examples.len() as u64,
            tokens: encoded.examples.steps(),
            unknown: encoded.unknown,
            skipped: read.skipped,
            loss_nats: score.loss_nats,
            classes: &report,
        })?;
        return Ok(Exit::Done);
    }
    writeln!(
        context.out,
        "loss       {:.4} nats a label",
        score.loss_nats
    )?;
    write!(
        context.out,
        "{}",
        super::classes::text(&report, context.talk >= Talk::Verbose)
    )?;
    Ok(Exit::Done)
}
