//! `refrain evaluate`.

mod classes;
mod forecast;
mod labels;
mod score;
mod writing;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use refrain::data::TokenReader;
use refrain::run::model::{AnyModel, LoadedModel};
use serde::Serialize;

use self::score::{Scorer, Total};
use crate::args::EvaluateArgs;
use crate::commands::drawings;
use crate::context::{Context, Talk};
use crate::errors::{Exit, failure, usage};
use crate::machine;
use crate::table::{Align, Table, thousands};

/// Work that takes longer than this shows how far it is.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// What `--json` writes.
#[derive(Serialize)]
struct Score {
    task: &'static str,
    /// Streams, each of which began without memory.
    examples: u64,
    /// Tokens that were scored.
    tokens: u64,
    /// Characters that they are.
    characters: u64,
    /// Symbols that the model does not know: words read as `<unk>`, characters left out.
    unknown: u64,
    loss_nats: f64,
    bits_per_token: f64,
    bits_per_char: f64,
    perplexity: f64,
}

pub(crate) fn run(args: &EvaluateArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if let Some(path) = &args.plot {
        drawings::check(path)?;
    }
    match AnyModel::open(&args.model)? {
        AnyModel::LanguageModel(loaded) => text(args, *loaded, context),
        AnyModel::Labeller(loaded) => labels::run(args, &loaded, context),
        AnyModel::Writer(loaded) => writing::run(args, &loaded, context),
        AnyModel::Forecaster(loaded) => forecast::run(args, &loaded, context),
    }
}

/// Refuses a flag that the model's task has no use for.
fn refuse(flag: &str, given: bool, task: &str) -> anyhow::Result<()> {
    if given {
        return Err(usage(
            format!("`--{flag}` is not for a model of the task `{task}`"),
            "leave it out",
        ));
    }
    Ok(())
}

/// Refuses what only models that write have.
fn refuse_pairs(args: &EvaluateArgs, task: &str) -> anyhow::Result<()> {
    refuse("source-column", args.source_column.is_some(), task)?;
    refuse("target-column", args.target_column.is_some(), task)?;
    refuse("images", args.images.is_some(), task)?;
    refuse("beam", args.beam.beam.is_some(), task)?;
    refuse("length-penalty", args.beam.length_penalty.is_some(), task)?;
    refuse("copy-unknown", args.beam.copy_unknown, task)
}

fn text(
    args: &EvaluateArgs,
    mut loaded: LoadedModel,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    refuse("format", args.format.is_some(), "lm")?;
    refuse("text-column", args.text_column.is_some(), "lm")?;
    refuse("label-column", args.label_column.is_some(), "lm")?;
    refuse("on-bad-row", args.on_bad_row.is_some(), "lm")?;
    refuse("plot", args.plot.is_some(), "lm")?;
    refuse_pairs(args, "lm")?;
    let streams = args.streams.unwrap_or(1);
    let mut reader = TokenReader::open(
        &args.data,
        loaded.vocabulary.clone(),
        Some(Box::new(std::io::stdin())),
    )?;
    let compute = context.compute();
    let mut progress = Progress::new(context);
    let mut scorer = Scorer::new(&mut loaded.model, &compute);
    let most = args.max_tokens.unwrap_or(u64::MAX);
    let total = match streams {
        1 => scorer.one_stream(&mut reader, most, &mut |total| progress.show(total))?,
        streams => {
            let streams = usize::from(streams);
            let memory = machine::available_bytes();
            scorer.side_by_side(&mut reader, most, streams, memory, &mut |total| {
                progress.show(total);
            })?
        }
    };
    progress.finish();
    let replaced = loaded.vocabulary.unknown_id().is_some();
    tell_of_reading(&reader, replaced, context);
    if let Some(streams) = total.fewer_streams(u64::from(streams)) {
        context.notice(&format!("the text is short: {streams} streams"));
    }
    let score = score(args, &total, reader.unknown())?;
    if context.json {
        context.out.json(&score)?;
    } else {
        write!(context.out, "{}", table(&score, replaced))?;
    }
    Ok(Exit::Done)
}

fn score(args: &EvaluateArgs, total: &Total, unknown: u64) -> anyhow::Result<Score> {
    if total.tokens == 0 {
        let names: Vec<_> = args
            .data
            .iter()
            .map(|path| match path.to_str() {
                Some("-") => "standard input".to_owned(),
                _ => format!("`{}`", path.display()),
            })
            .collect();
        let found = match (total.read, unknown) {
            (0, 0) => "is empty".to_owned(),
            (0, _) => "has no symbol that the model knows".to_owned(),
            _ => "has only one symbol that the model knows".to_owned(),
        };
        return Err(failure(
            format!("{} {found}", names.join(", ")),
            "give a text of two symbols or more: the first is read, the others are scored",
        ));
    }
    let loss_nats = total.nats / total.tokens as f64;
    if !loss_nats.is_finite() {
        return Err(failure(
            format!("the loss is {loss_nats}"),
            "the model's weights are damaged or its training diverged; take an earlier model",
        ));
    }
    let bits = total.nats / std::f64::consts::LN_2;
    Ok(Score {
        task: "lm",
        examples: total.streams,
        tokens: total.tokens,
        characters: total.characters,
        unknown,
        loss_nats,
        bits_per_token: bits / total.tokens as f64,
        // A few bytes may be the inside of one character.
        bits_per_char: bits / total.characters.max(1) as f64,
        perplexity: libm::exp(loss_nats),
    })
}

/// `replaced`: unknown symbols were not left out.
fn table(score: &Score, replaced: bool) -> Table {
    let mut table = Table::new([Align::Left, Align::Left]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    let unknown = match score.unknown {
        0 => String::new(),
        unknown if replaced => format!("  ({} of them `<unk>`)", thousands(unknown)),
        unknown => format!("  ({} left out: not in the vocabulary)", thousands(unknown)),
    };
    row("tokens", format!("{}{unknown}", thousands(score.tokens)));
    row("characters", thousands(score.characters));
    row("loss", format!("{:.4} nats a token", score.loss_nats));
    row("bits per token", format!("{:.4}", score.bits_per_token));
    row("bits per character", format!("{:.4}", score.bits_per_char));
    row("perplexity", format!("{:.4}", score.perplexity));
    table
}

fn tell_of_reading(reader: &TokenReader<'_>, replaced: bool, context: &Context) {
    let (notes, unknown) = (reader.notes(), reader.unknown());
    if notes.bom {
        context.notice("left out a byte order mark");
    }
    if notes.crlf > 0 {
        context.notice(&format!("read {} CR LF as LF", thousands(notes.crlf)));
    }
    if unknown > 0 && replaced {
        context.notice(&format!(
            "words that the model does not know, read as `<unk>`: {}",
            thousands(unknown)
        ));
    } else if unknown > 0 {
        context.notice(&format!(
            "left out symbols that the model does not know: {}",
            thousands(unknown)
        ));
    }
}

fn message_only() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How far a long text is, on a terminal.
struct Progress {
    bar: Option<ProgressBar>,
    start: Instant,
    shown: bool,
}

impl Progress {
    fn new(context: &Context) -> Self {
        let shows = context.talk >= Talk::Normal && std::io::stderr().is_terminal();
        Self {
            bar: shows.then(|| ProgressBar::no_length().with_style(message_only())),
            start: Instant::now(),
            shown: false,
        }
    }

    fn show(&mut self, total: &Total) {
        let elapsed = self.start.elapsed();
        let Some(bar) = self.bar.as_ref().filter(|_| elapsed > PROGRESS_AFTER) else {
            return;
        };
        self.shown = true;
        let rate = total.tokens as f64 / elapsed.as_secs_f64();
        bar.set_message(format!(
            "{} tokens, {:.4} nats a token, {} tokens/s",
            thousands(total.tokens),
            total.nats / total.tokens.max(1) as f64,
            thousands(rate as u64)
        ));
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.as_ref().filter(|_| self.shown) {
            bar.finish_and_clear();
        }
    }
}
