//! `refrain --version`.

use std::io::Write as _;

use crate::context::Context;
use crate::errors::Exit;

pub(crate) fn run(context: &mut Context) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    if context.json {
        let isa = context.isa.name();
        context
            .out
            .json(&serde_json::json!({ "version": version, "isa": isa }))?;
    } else {
        writeln!(context.out, "refrain {version} ({})", context.isa.name())?;
    }
    Ok(Exit::Done)
}
