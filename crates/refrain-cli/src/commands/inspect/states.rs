//! `refrain inspect states`: hidden states, cell states and gates as arrays.

use std::io::Write as _;

use refrain::checkpoint::write_atomic;
use refrain::run::look::Material;
use refrain::run::model::AnyModel;
use refrain::run::states;

use super::material::{self, Source};
use crate::args::StatesArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};
use crate::machine;

pub(super) fn run(args: &StatesArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let compute = context.compute();
    let available_bytes = machine::available_bytes();
    let most = usize::try_from(args.max).unwrap_or(usize::MAX);
    let mut model = AnyModel::open(&args.model)?;
    let source = Source::new(&args.material, false);
    let material = material::read(&model, &source, most)?;
    let bytes = match (&mut model, &material) {
        (AnyModel::LanguageModel(loaded), Material::Tokens(ids)) => {
            states::of_text(loaded, &compute, ids, available_bytes)?
        }
        (AnyModel::Labeller(loaded), Material::Sequences(raw, name)) => {
            states::of_sequences(loaded, &compute, raw, name, available_bytes)?
        }
        (AnyModel::Forecaster(loaded), Material::Numbers(raw)) => {
            states::of_numbers(loaded, &compute, raw, most, available_bytes)?
        }
        (AnyModel::Writer(loaded), Material::Pairs(raw, name)) => {
            states::of_pairs(loaded, &compute, (raw, name), most, available_bytes)?
        }
        _ => {
            return Err(failure(
                "the data is not of the kind that the model reads",
                "`refrain info` tells what it was trained on",
            ));
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
