//! `refrain inspect attention`: which words of a sentence a translator looked at while it wrote.

use std::io::{BufRead as _, Read as _, Write as _};

use refrain::checkpoint::{check_writable, write_atomic};
use refrain::data::RawPairs;
use refrain::data::pairs::Referenced;
use refrain::generate::Beam;
use refrain::run::model::AnyModel;
use refrain::run::plot::{Alignment, png_of};
use refrain::run::writers::{LoadedWriter, Writer, Written};
use serde_json::json;

use super::TERMINAL;
use super::material::unknown_note;
use crate::args::AttentionArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};
use crate::escape::visible;
use crate::table::{Align, Table};

/// The longest sentence that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Marks of a weight on a terminal, from nothing to all.
const SHADES: [&str; 5] = [
    "",
    "\u{2591}\u{2591}",
    "\u{2592}\u{2592}",
    "\u{2593}\u{2593}",
    "\u{2588}\u{2588}",
];

pub(super) fn run(args: &AttentionArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let loaded = match AnyModel::open(&args.model)? {
        AnyModel::Writer(loaded) if loaded.model.decoder.attention.is_some() => loaded,
        other => {
            return Err(failure(
                format!(
                    "`{}` is a model of the task `{}` without attention",
                    args.model.display(),
                    other.config().task
                ),
                "train a translator: `refrain train translate`, whose `--attention` is `general` unless it is told otherwise",
            ));
        }
    };
    if let Some(path) = &args.output {
        check_writable(path)?;
    }
    let sentence = match &args.sentence {
        Some(sentence) => sentence.clone(),
        None => first_line()?,
    };
    if sentence.trim().is_empty() {
        return Err(failure(
            "the sentence is empty",
            "give one, as in: refrain inspect attention MODEL 'Ein Hund rennt.'",
        ));
    }
    let (written, unknown) = translate(&loaded, &sentence, args, context)?;
    if written.source_tokens.is_empty() {
        return Err(failure(
            "the model knows no symbol of the sentence",
            "give one of the language that it was trained on",
        ));
    }
    if unknown > 0 {
        context.notice(&unknown_note(unknown));
    }
    let alignment = alignment(&written);
    let object = || {
        json!({
            "source": written.source_tokens,
            "target": written.tokens,
            "weights": written.hypothesis.alignment,
            "text": written.text,
            "score": written.hypothesis.score,
            "unknown": unknown,
        })
    };
    if let Some(path) = &args.output {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let bytes = match ending {
            Some("svg") => alignment.to_svg()?.into_bytes(),
            Some("png") => png_of(&alignment.to_svg()?)?,
            Some("json") => serde_json::to_vec(&object())?,
            _ => {
                return Err(failure(
                    format!(
                        "`{}` has no ending that tells what to write",
                        path.display()
                    ),
                    "name a file that ends in .svg, .png or .json",
                ));
            }
        };
        write_atomic(path, &bytes)?;
    }
    if context.json {
        context.out.json(&object())?;
    } else {
        for (at, part) in drawn(&written).parts(TERMINAL, &[0]).iter().enumerate() {
            let gap = if at > 0 { "\n" } else { "" };
            write!(context.out, "{gap}{part}")?;
        }
        writeln!(context.out, "\n{}", visible(&written.text))?;
        if let Some(path) = &args.output {
            writeln!(context.out, "alignment  {}", path.display())?;
        }
    }
    Ok(Exit::Done)
}

fn first_line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_BYTES)
        .read_line(&mut line)?;
    Ok(line)
}

/// What the model writes, and how many symbols of the sentence it does not know.
fn translate(
    loaded: &LoadedWriter,
    sentence: &str,
    args: &AttentionArgs,
    context: &Context,
) -> anyhow::Result<(Written, u64)> {
    let beam = Beam {
        with_alignment: true,
        ..args.beam.search()
    };
    let mut writer = Writer::new(loaded, context.compute(), beam, args.beam.copy_unknown)?;
    let row = Referenced {
        source: sentence.trim().to_owned(),
        references: Vec::new(),
        line: 1,
    };
    let (raw, name) = (RawPairs::Texts(vec![row]), "the sentence");
    let encoded = loaded.encoding.encode(&raw, name)?;
    if encoded.cut > 0 {
        context.notice("the sentence was cut to `max-length`");
    }
    let first = writer.write(&raw, name)?.into_iter().next();
    let written = first.ok_or_else(|| failure("nothing was written", "give another sentence"))?;
    Ok((written, encoded.unknown_sources))
}

/// The names of the tokens for the eye: white space at the ends is no part of a word.
fn names(tokens: &[String]) -> Vec<String> {
    let name = |token: &String| {
        let shown = visible(token).replace('\n', "\\n");
        match shown.trim() {
            "" => "\u{2423}".to_owned(),
            shown => shown.to_owned(),
        }
    };
    tokens.iter().map(name).collect()
}

fn alignment(written: &Written) -> Alignment {
    Alignment {
        source: names(&written.source_tokens),
        target: names(&written.tokens),
        weights: written.hypothesis.alignment.clone(),
    }
}

/// The alignment in shades: a row for each token that was written, a column for each of the sentence.
fn drawn(written: &Written) -> Table {
    let (source, target) = (names(&written.source_tokens), names(&written.tokens));
    let columns = std::iter::repeat_n(Align::Left, source.len());
    let mut table = Table::new(std::iter::once(Align::Right).chain(columns));
    table.row(std::iter::once(String::new()).chain(source));
    for (name, weights) in target.into_iter().zip(&written.hypothesis.alignment) {
        let shades = weights.iter().map(|&weight| {
            let at = (f64::from(weight) * SHADES.len() as f64) as usize;
            SHADES[at.min(SHADES.len() - 1)].to_owned()
        });
        table.row(std::iter::once(name).chain(shades));
    }
    table
}
