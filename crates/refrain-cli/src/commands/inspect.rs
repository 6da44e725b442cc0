//! `refrain inspect`: what is inside a model while it works.

mod attention;
mod gates;
mod gradients;
mod material;
mod spectrum;
mod states;

use std::path::{Path, PathBuf};

use refrain::checkpoint::{check_writable, write_atomic};
use refrain::run::plot::png_of;

use crate::args::{Inspect, InspectArgs};
use crate::context::Context;
use crate::errors::{Exit, failure, usage};

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
    let path = match plot {
        None => return Ok(()),
        Some(None) if context.json => {
            return Err(usage(
                "`--plot` without a file draws on the terminal, and `--json` writes an object there",
                "name a file that ends in .svg or .png, or leave one of them out",
            ));
        }
        Some(None) => return Ok(()),
        Some(Some(path)) => path,
    };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg" | "png") => Ok(check_writable(path)?),
        _ => Err(failure(
            format!("`{}` has no ending that tells what to draw", path.display()),
            "name a file that ends in .svg or .png",
        )),
    }
}

/// Writes a drawing as the file's ending says.
fn write_drawing(path: &Path, svg: String) -> anyhow::Result<()> {
    let bytes = if path.extension().is_some_and(|ending| ending == "png") {
        png_of(&svg)?
    } else {
        svg.into_bytes()
    };
    write_atomic(path, &bytes)?;
    Ok(())
}
