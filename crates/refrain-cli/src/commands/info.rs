//! `refrain info`.

use crate::args::InfoArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};

pub(crate) fn run(_args: &InfoArgs, _context: &mut Context) -> anyhow::Result<Exit> {
    Err(failure(
        "`refrain info` is not wired yet",
        "wait for a later version",
    ))
}
