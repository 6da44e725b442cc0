//! `refrain evaluate` of a translator or captioner.

use std::io::Write as _;

use refrain::data::captions::{CaptionOptions, read_captions};
use refrain::data::encoding::Input;
use refrain::data::pairs::{PairOptions, read_references};
use refrain::data::{OnBadRow, RawPairs};
use refrain::metrics::{BleuOfLengths, bleu, bleu_by_length, chrf, exact_match};
use refrain::run::writers::{LoadedWriter, Writer};
use serde::Serialize;

use super::refuse;
use crate::args::EvaluateArgs;
use crate::commands::stdin_of;
use crate::context::Context;
use crate::errors::{Exit, failure};
use crate::machine;
use crate::table::{Align, Table, thousands};

/// Words of a source, between spaces, up to which BLEU is told apart.
const LENGTHS: [usize; 4] = [8, 12, 16, 24];

/// What `--json` writes.
#[derive(Serialize)]
struct Score<'a> {
    task: &'a str,
    /// Sources.
    examples: u64,
    /// Tokens of the references, the ends included.
    tokens: u64,
    /// Tokens of the sources that the model does not know.
    unknown: u64,
    /// Rows that were left out.
    skipped: u64,
    loss_nats: f64,
    bleu: f64,
    chrf: f64,
    exact_match: f64,
    precisions: [f64; 4],
    brevity_penalty: f64,
    /// By words of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_length: Vec<OfLength>,
}

/// BLEU of the sources of some lengths.
#[derive(Serialize)]
struct OfLength {
    from: usize,
    to: Option<usize>,
    examples: u64,
    bleu: f64,
}

impl From<BleuOfLengths> for OfLength {
    fn from(of: BleuOfLengths) -> Self {
        Self {
            from: of.from,
            to: of.to,
            examples: of.sentences,
            bleu: of.bleu.score,
        }
    }
}

/// Reads the data as `train` does, with several references.
fn read(
    args: &EvaluateArgs,
    loaded: &LoadedWriter,
    context: &Context,
) -> anyhow::Result<(RawPairs, u64)> {
    let max_bytes = machine::available_bytes().map_or(1 << 32, |bytes| bytes / 4);
    let stdin = stdin_of(&args.data, max_bytes)?;
    let on_bad_row = args.on_bad_row.unwrap_or(OnBadRow::Error);
    let (raw, notes, skipped) = match &loaded.encoding.source.input {
        Input::Numbers(numbers) => {
            let options = CaptionOptions {
                images: args.images.clone(),
                format: args.format,
                source_column: args.source_column.clone(),
                target_column: args.target_column.clone(),
                on_bad_row,
                max_bytes,
                shape: match numbers.shape[..] {
                    [_, height, width, channels] => Some([height, width, channels]),
                    _ => None,
                },
            };
            let read = read_captions(&args.data, &options, stdin.as_deref())?;
            (RawPairs::Pictures(read.raw), read.notes, read.skipped)
        }
        Input::Texts(_) | Input::Words(..) => {
            refuse("images", args.images.is_some(), "translate")?;
            let options = PairOptions {
                format: args.format,
                source_column: args.source_column.clone(),
                target_column: args.target_column.clone(),
                on_bad_row,
                max_bytes,
            };
            let read = read_references(&args.data, &options, stdin.as_deref())?;
            (RawPairs::Texts(read.raw), read.notes, read.skipped)
        }
    };
    for note in &notes {
        context.notice(note);
    }
    Ok((raw, skipped))
}

pub(super) fn run(
    args: &EvaluateArgs,
    loaded: &LoadedWriter,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    let task = loaded.config.task.name();
    refuse("streams", args.streams.is_some(), task)?;
    refuse("max-tokens", args.max_tokens.is_some(), task)?;
    refuse("text-column", args.text_column.is_some(), task)?;
    refuse("label-column", args.label_column.is_some(), task)?;
    refuse("plot", args.plot.is_some(), task)?;
    let (raw, skipped) = read(args, loaded, context)?;
    let name = args.data[0].display().to_string();
    let compute = context.compute();
    let copy_unknown = args.beam.copy_unknown;
    let mut writer = Writer::new(loaded, compute, args.beam.search(), copy_unknown)?;
    let loss = writer.loss(&raw, &name, machine::available_bytes())?;
    if loss.cut > 0 {
        context.notice(&format!("{} sources were cut to `max-length`", loss.cut));
    }
    if !loss.nats.is_finite() {
        return Err(failure(
            format!("the loss is {}", loss.nats),
            "the model's weights are damaged or its training diverged; take an earlier model",
        ));
    }
    let written = writer.write(&raw, &name)?;
    let texts: Vec<_> = written.into_iter().map(|written| written.text).collect();
    let references: Vec<_> = (0..raw.len())
        .map(|at| raw.references(at).to_vec())
        .collect();
    let score = bleu(&texts, &references);
    let by_length = match &raw {
        RawPairs::Texts(rows) => {
            let lengths: Vec<_> = rows
                .iter()
                .map(|row| row.source.split_whitespace().count())
                .collect();
            bleu_by_length(&lengths, &LENGTHS, &texts, &references)
        }
        RawPairs::Pictures(_) => Vec::new(),
    };
    let score = Score {
        task,
        examples: raw.len() as u64,
        tokens: loss.tokens,
        unknown: loss.unknown,
        skipped,
        loss_nats: loss.nats,
        bleu: score.score,
        chrf: chrf(&texts, &references),
        exact_match: exact_match(&texts, &references),
        precisions: score.precisions,
        brevity_penalty: score.brevity_penalty,
        by_length: by_length.into_iter().map(OfLength::from).collect(),
    };
    if context.json {
        context.out.json(&score)?;
    } else {
        write!(context.out, "{}", table(&score))?;
    }
    Ok(Exit::Done)
}

fn table(score: &Score<'_>) -> Table {
    let mut table = Table::new([Align::Left, Align::Left]);
    let mut row = |name: String, value: String| table.row([name, value]);
    row("examples".into(), thousands(score.examples));
    row(
        "loss".into(),
        format!("{:.4} nats a token", score.loss_nats),
    );
    let precisions = score.precisions.map(|precision| format!("{precision:.1}"));
    row(
        "BLEU".into(),
        format!(
            "{:.2}  ({}; brevity penalty {:.3})",
            score.bleu,
            precisions.join("/"),
            score.brevity_penalty
        ),
    );
    row("chrF".into(), format!("{:.2}", score.chrf));
    row(
        "exact matches".into(),
        format!("{:.1}%", 100.0 * score.exact_match),
    );
    for of in &score.by_length {
        let to = of
            .to
            .map_or_else(|| " or more".into(), |to| format!(" to {to}"));
        row(
            format!("BLEU of {}{to} words", of.from),
            format!("{:.2}  ({} sentences)", of.bleu, thousands(of.examples)),
        );
    }
    table
}
