//! `refrain evaluate`.

use crate::args::EvaluateArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};

pub(crate) fn run(_args: &EvaluateArgs, _context: &mut Context) -> anyhow::Result<Exit> {
    Err(failure(
        "`refrain evaluate` is not wired yet",
        "wait for a later version",
    ))
}
