//! `refrain inspect`: what is inside a model while it works.

mod attention;
mod gates;
mod gradients;
mod material;
mod spectrum;
mod states;

use std::path::PathBuf;

use crate::args::{Inspect, InspectArgs};
use crate::commands::drawings;
use crate::context::Context;
use crate::errors::{Exit, usage};

/// Columns of a chart that is drawn on the terminal.
const TERMINAL: usize = 80;

pub(crate) fn run(args: &InspectArgs, context: &mut Context) -> anyhow::Result<Exit> {
    match &args.what {
        Inspect::Gradients(args) => gradients::run(args, context),
        Inspect::Spectrum(args) => spectrum::run(args, context),
        Inspect::Gates(args) => gates::run(args, context),
        Inspect::Attention(args) => attention::run(args, context),
        Inspect::States(args) => states::run(args, context),
    }
}

/// Where a drawing goes and what it is to be, before anything is computed for it.
fn check_drawing(plot: Option<&Option<PathBuf>>, context: &Context) -> anyhow::Result<()> {
    match plot {
        None => Ok(()),
        Some(None) if context.json => Err(usage(
            "`--plot` without a file draws on the terminal, and `--json` writes an object there",
            "name a file that ends in .svg or .png, or leave one of them out",
        )),
        Some(None) => Ok(()),
        Some(Some(path)) => drawings::check(path),
    }
}
