//! `refrain completions`.

use std::io::Write as _;

use crate::args::{CompletionsArgs, command};
use crate::context::Context;
use crate::errors::Exit;

pub(crate) fn run(args: &CompletionsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics at a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "refrain", &mut script);
    context.out.write_all(&script)?;
    Ok(Exit::Done)
}
