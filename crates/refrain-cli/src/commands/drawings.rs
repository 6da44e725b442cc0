//! Files with drawings: SVG or PNG, as their ending says.

use std::path::Path;

use refrain::checkpoint::{check_writable, write_atomic};
use refrain::run::plot::png_of;

use crate::errors::failure;

/// Where a drawing goes and what it is to be, before anything is computed for it.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg" | "png") => Ok(check_writable(path)?),
        _ => Err(failure(
            format!("`{}` has no ending that tells what to draw", path.display()),
            "name a file that ends in .svg or .png",
        )),
    }
}

/// Writes a drawing as the file's ending says.
pub(crate) fn write(path: &Path, svg: String) -> anyhow::Result<()> {
    let bytes = if path.extension().is_some_and(|ending| ending == "png") {
        png_of(&svg)?
    } else {
        svg.into_bytes()
    };
    write_atomic(path, &bytes)?;
    Ok(())
}
