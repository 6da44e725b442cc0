//! `refrain sample`.

use crate::args::SampleArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};

pub(crate) fn run(_args: &SampleArgs, _context: &mut Context) -> anyhow::Result<Exit> {
    Err(failure(
        "`refrain sample` is not wired yet",
        "wait for a later version",
    ))
}
