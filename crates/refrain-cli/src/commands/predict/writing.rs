//! `refrain predict` of a translator or captioner.

use std::io::Write as _;

use refrain::data::labelled::Raw;
use refrain::data::pairs::Referenced;
use refrain::data::{Captioned, Captions, RawPairs};
use refrain::run::writers::{LoadedWriter, Writer};
use serde_json::json;

use super::inputs::{Inputs, joined};
use super::refuse;
use crate::args::PredictArgs;
use crate::context::Context;
use crate::errors::Exit;
use crate::escape::one_line;
use crate::machine;

pub(super) fn run(
    args: &PredictArgs,
    loaded: &LoadedWriter,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    let inputs = Inputs::open(args, &loaded.encoding.source, machine::available_bytes())?;
    let beam = args.beam.search();
    let mut writer = Writer::new(loaded, context.compute(), beam, args.beam.copy_unknown)?;
    let mut failed = false;
    inputs.each_batch(|items, name| {
        let (good, raw) = joined(items);
        let written = match raw {
            Some(raw) => writer.write(&sources(raw), name)?,
            None => Vec::new(),
        };
        let mut written = written.into_iter();
        for item in good {
            match item {
                Ok(_) => {
                    let written = written
                        .next()
                        .ok_or_else(|| anyhow::anyhow!("fewer answers than inputs"))?;
                    if context.json {
                        context.out.json(&json!({
                            "text": written.text,
                            "score": written.hypothesis.score,
                            "log_probability": written.hypothesis.log_probability,
                            "ended": written.hypothesis.ended,
                        }))?;
                    } else {
                        writeln!(context.out, "{}", one_line(&written.text))?;
                    }
                }
                Err(error) => {
                    failed = true;
                    refuse(context, &error)?;
                }
            }
        }
        context.out.finish()
    })?;
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Sources of which nothing is known that was written.
pub(crate) fn sources(raw: Raw) -> RawPairs {
    match raw {
        Raw::Arrays(pictures, chosen) => {
            let of = |picture| Captioned {
                picture,
                sentences: Vec::new(),
                line: 0,
            };
            RawPairs::Pictures(Captions {
                pictures,
                captions: chosen.into_iter().map(of).collect(),
            })
        }
        Raw::Texts(texts) => {
            let row = |text: refrain::data::LabelledText| Referenced {
                source: text.text,
                references: Vec::new(),
                line: text.line,
            };
            RawPairs::Texts(texts.into_iter().map(row).collect())
        }
        Raw::Sentences(_) => RawPairs::Texts(Vec::new()),
    }
}
