//! One file a command.

use std::io::Read as _;
use std::path::PathBuf;

use crate::errors::failure;

pub(crate) mod bench;
pub(crate) mod completions;
mod drawings;
pub(crate) mod evaluate;
pub(crate) mod hello;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod lab;
mod letters;
pub(crate) mod predict;
pub(crate) mod sample;
pub(crate) mod train;
pub(crate) mod version;

/// All of standard input, where `-` is among the data.
fn stdin_of(data: &[PathBuf], max_bytes: u64) -> anyhow::Result<Option<Vec<u8>>> {
    if !data.iter().any(|path| path.as_os_str() == "-") {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let limit = max_bytes.saturating_add(1);
    std::io::stdin().take(limit).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(failure(
            format!("standard input has more than {max_bytes} bytes"),
            "give it in parts, or write it to a file and give a part of it",
        ));
    }
    Ok(Some(bytes))
}
