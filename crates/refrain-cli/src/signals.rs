//! Ctrl-C and SIGTERM.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::errors::Exit;

/// Whether the command at work saves before it ends.
static GRACEFUL: AtomicBool = AtomicBool::new(false);
/// Whether it was asked to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// Ends the process with 130 at a signal, until a command asks for [`graceful`].
pub(crate) fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        let asked_before = STOP.swap(true, Ordering::SeqCst);
        if asked_before || !GRACEFUL.load(Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// From here on the first signal only sets the flag, for the command to save and end with
/// [`Exit::Interrupted`]; a second one ends the process at once.
pub(crate) fn graceful() -> &'static AtomicBool {
    GRACEFUL.store(true, Ordering::SeqCst);
    &STOP
}
