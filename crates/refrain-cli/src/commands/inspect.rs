//! `refrain inspect`: what is inside a model while it works.

mod attention;

use std::io::Write as _;

use refrain::checkpoint::write_atomic;
use refrain::data::forecast::read_numbers;
use refrain::data::labelled::{RawOptions, read_raw};
use refrain::data::table::TableColumns;
use refrain::data::{OnBadRow, TokenReader};
use refrain::run::model::AnyModel;
use refrain::run::states;

use super::stdin_of;
use crate::args::{Inspect, InspectArgs, StatesArgs};
use crate::context::Context;
use crate::errors::{Exit, failure, usage};
use crate::machine;

pub(crate) fn run(args: &InspectArgs, context: &mut Context) -> anyhow::Result<Exit> {
    match &args.what {
        Inspect::Attention(args) => attention::run(args, context),
        Inspect::States(args) => write_states(args, context),
    }
}

fn write_states(args: &StatesArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let compute = context.compute();
    let available_bytes = machine::available_bytes();
    let most = usize::try_from(args.max).unwrap_or(usize::MAX);
    let bytes = match AnyModel::open(&args.model)? {
        AnyModel::LanguageModel(mut loaded) => {
            let stdin: Box<dyn std::io::Read> = Box::new(std::io::stdin());
            let mut reader = TokenReader::open(&args.data, loaded.vocabulary.clone(), Some(stdin))?;
            let mut ids = Vec::new();
            while ids.len() < most
                && let Some(block) = reader.next()
            {
                ids.extend(block?.ids);
            }
            ids.truncate(most);
            states::of_text(&mut loaded, &compute, &ids, available_bytes)?
        }
        AnyModel::Writer(loaded) => {
            return Err(failure(
                format!(
                    "`{}` is a model of the task `{}`: its states depend on what it writes",
                    loaded.path.display(),
                    loaded.config.task
                ),
                "`refrain inspect attention` draws what it looks at while it writes",
            ));
        }
        AnyModel::Forecaster(loaded) => {
            let max_bytes = available_bytes.map_or(1 << 32, |bytes| bytes / 6);
            let stdin = stdin_of(&args.data, max_bytes)?;
            let [path] = &args.data[..] else {
                return Err(usage(
                    "several files were given",
                    "give one series or one `.npz`",
                ));
            };
            let raw = read_numbers(
                path,
                args.format,
                OnBadRow::Error,
                max_bytes,
                stdin.as_deref(),
            )?;
            states::of_numbers(&loaded, &compute, &raw, most, available_bytes)?
        }
        AnyModel::Labeller(loaded) => {
            let max_bytes = available_bytes.map_or(1 << 32, |bytes| bytes / 4);
            let options = RawOptions {
                per_step: loaded.encoding.per_step,
                labelled: false,
                format: args.format,
                columns: TableColumns {
                    text: args.text_column.clone(),
                    label: None,
                },
                on_bad_row: OnBadRow::Error,
                max_bytes,
            };
            let stdin = stdin_of(&args.data, max_bytes)?;
            let mut raw = read_raw(&args.data, &options, stdin.as_deref())?.raw;
            raw.truncate(most);
            let name = args.data[0].display().to_string();
            states::of_sequences(&loaded, &compute, &raw, &name, available_bytes)?
        }
    };
    write_atomic(&args.output, &bytes)?;
    if context.json {
        let output = args.output.display().to_string();
        context
            .out
            .json(&serde_json::json!({"output": output, "bytes": bytes.len()}))?;
    } else {
        writeln!(context.out, "states  {}", args.output.display())?;
    }
    Ok(Exit::Done)
}
