//! `refrain bench`.

use crate::args::BenchArgs;
use crate::context::Context;
use crate::errors::{Exit, failure};

pub(crate) fn run(_args: &BenchArgs, _context: &mut Context) -> anyhow::Result<Exit> {
    Err(failure(
        "`refrain bench` is not wired yet",
        "wait for a later version",
    ))
}
