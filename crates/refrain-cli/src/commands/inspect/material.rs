//! Reads data as a model of whichever task takes it.

use std::io::Read;
use std::path::PathBuf;

use refrain::data::captions::{CaptionOptions, read_captions};
use refrain::data::encoding::Input;
use refrain::data::forecast::read_numbers;
use refrain::data::labelled::{RawOptions, read_raw};
use refrain::data::pairs::{PairOptions, read_references};
use refrain::data::table::TableColumns;
use refrain::data::{Format, OnBadRow, RawPairs, TokenReader};
use refrain::run::look::{Material, Reading};
use refrain::run::model::{AnyModel, LoadedModel};
use refrain::run::writers::LoadedWriter;

use crate::args::MaterialArgs;
use crate::commands::stdin_of;
use crate::context::Context;
use crate::errors::usage;
use crate::machine;
use crate::table::thousands;

/// Where data comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) data: &'a [PathBuf],
    pub(super) format: Option<Format>,
    pub(super) text_column: Option<&'a str>,
    pub(super) label_column: Option<&'a str>,
    pub(super) source_column: Option<&'a str>,
    pub(super) target_column: Option<&'a str>,
    pub(super) images: Option<&'a PathBuf>,
    pub(super) on_bad_row: OnBadRow,
    /// Whether labels are needed.
    pub(super) labelled: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(args: &'a MaterialArgs, labelled: bool) -> Self {
        Self {
            data: &args.data,
            format: args.format,
            text_column: args.text_column.as_deref(),
            label_column: args.label_column.as_deref(),
            source_column: args.source_column.as_deref(),
            target_column: args.target_column.as_deref(),
            images: args.images.as_ref(),
            on_bad_row: args.on_bad_row,
            labelled,
        }
    }
}

/// Reads what a model is to look at, of a text no more than `most` tokens, else no more than `most` sequences. What the model
/// does not know is said.
pub(super) fn read(
    model: &AnyModel,
    source: &Source<'_>,
    most: usize,
    context: &Context,
) -> anyhow::Result<Reading> {
    let reading = Reading::new(model, material(model, source, most)?, source.labelled)?;
    if reading.unknown > 0 {
        context.notice(&unknown_note(reading.unknown));
    }
    Ok(reading)
}

/// What is said of symbols that a model does not know.
pub(super) fn unknown_note(unknown: u64) -> String {
    let symbols = if unknown == 1 {
        "symbol or word"
    } else {
        "symbols or words"
    };
    format!(
        "{} {symbols} of the data the model does not know",
        thousands(unknown)
    )
}

fn material(model: &AnyModel, source: &Source<'_>, most: usize) -> anyhow::Result<Material> {
    match model {
        AnyModel::LanguageModel(loaded) => tokens(loaded, source, most),
        AnyModel::Labeller(loaded) => {
            let max_bytes = share_of_memory(4);
            let options = RawOptions {
                per_step: loaded.encoding.per_step,
                labelled: source.labelled,
                format: source.format,
                columns: TableColumns {
                    text: source.text_column.map(str::to_owned),
                    label: source.label_column.map(str::to_owned),
                },
                on_bad_row: source.on_bad_row,
                max_bytes,
            };
            let stdin = stdin_of(source.data, max_bytes)?;
            let mut raw = read_raw(source.data, &options, stdin.as_deref())?.raw;
            raw.truncate(most);
            Ok(Material::Sequences(raw, name_of(source)))
        }
        AnyModel::Forecaster(_) => {
            let max_bytes = share_of_memory(6);
            let stdin = stdin_of(source.data, max_bytes)?;
            let [path] = source.data else {
                return Err(usage(
                    "several files were given",
                    "give one series or one `.npz`",
                ));
            };
            let format = source.format;
            let raw = read_numbers(path, format, source.on_bad_row, max_bytes, stdin.as_deref())?;
            Ok(Material::Numbers(raw))
        }
        AnyModel::Writer(loaded) => {
            let raw = pairs(loaded, source)?;
            Ok(Material::Pairs(raw, name_of(source)))
        }
    }
}

fn name_of(source: &Source<'_>) -> String {
    let first = source.data.first();
    first.map_or_else(String::new, |path| path.display().to_string())
}

fn share_of_memory(parts: u64) -> u64 {
    machine::available_bytes().map_or(1 << 32, |bytes| bytes / parts)
}

fn tokens(loaded: &LoadedModel, source: &Source<'_>, most: usize) -> anyhow::Result<Material> {
    let stdin: Box<dyn Read> = Box::new(std::io::stdin());
    let vocabulary = loaded.vocabulary.clone();
    let mut reader = TokenReader::open(source.data, vocabulary, Some(stdin))?;
    let mut ids = Vec::new();
    while ids.len() < most
        && let Some(block) = reader.next()
    {
        ids.extend(block?.ids);
    }
    ids.truncate(most);
    Ok(Material::Tokens(ids, reader.unknown()))
}

fn pairs(loaded: &LoadedWriter, source: &Source<'_>) -> anyhow::Result<RawPairs> {
    let max_bytes = share_of_memory(4);
    let stdin = stdin_of(source.data, max_bytes)?;
    let source_column = source.source_column.map(str::to_owned);
    let target_column = source.target_column.map(str::to_owned);
    if let Input::Numbers(numbers) = &loaded.encoding.source.input {
        let options = CaptionOptions {
            images: source.images.cloned(),
            format: source.format,
            source_column,
            target_column,
            on_bad_row: source.on_bad_row,
            max_bytes,
            shape: match numbers.shape[..] {
                [_, height, width, channels] => Some([height, width, channels]),
                _ => None,
            },
        };
        let read = read_captions(source.data, &options, stdin.as_deref())?;
        return Ok(RawPairs::Pictures(read.raw));
    }
    let options = PairOptions {
        format: source.format,
        source_column,
        target_column,
        on_bad_row: source.on_bad_row,
        max_bytes,
    };
    let read = read_references(source.data, &options, stdin.as_deref())?;
    Ok(RawPairs::Texts(read.raw))
}
