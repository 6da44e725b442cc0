//! `refrain inspect states`: hidden states, cell states and gates as arrays.

use std::io::Write as _;

use refrain::checkpoint::{check_writable, write_atomic};
use refrain::run::model::AnyModel;
use refrain::run::states::states;
use serde_json::json;

use super::material::{self, Source};
use crate::args::StatesArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};
use crate::machine;

pub(super) fn run(args: &StatesArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if args.output.extension().is_none_or(|ending| ending != "npz") {
        return Err(failure(
            format!("`{}` does not end in .npz", args.output.display()),
            "states are written as arrays: name a file that ends in .npz",
        ));
    }
    check_writable(&args.output)?;
    let most = usize::try_from(args.max).unwrap_or(usize::MAX);
    let mut model = AnyModel::open(&args.model)?;
    let source = Source::new(&args.material, false);
    let reading = material::read(&model, &source, most, context)?;
    let compute = context.compute();
    let bytes = states(
        &mut model,
        &compute,
        &reading,
        most,
        machine::available_bytes(),
    )?;
    write_atomic(&args.output, &bytes)?;
    if context.json {
        let output = args.output.display().to_string();
        let size = bytes.len();
        context
            .out
            .json(&json!({"output": output, "bytes": size, "unknown": reading.unknown}))?;
    } else {
        writeln!(context.out, "states  {}", args.output.display())?;
    }
    Ok(Exit::Done)
}
