//! `refrain hello`.

use crate::args::HelloArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};

pub(crate) fn run(_args: &HelloArgs, _context: &mut Context) -> anyhow::Result<Exit> {
    Err(failure(
        "`refrain hello` is not wired yet",
        "wait for a later version",
    ))
}
