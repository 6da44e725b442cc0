//! What every command is given besides its own arguments.

use std::num::NonZero;

use refrain::{Compute, Isa};

use crate::args::Global;
use crate::output::Output;
use crate::style::Paint;

/// How much a command says on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Talk {
    /// Nothing but errors: `--quiet`, or `--json`, whose reader is a program.
    Silent,
    /// Notices and progress.
    Normal,
    /// Also what is usually of no interest.
    Verbose,
}

/// The surroundings of a command.
pub(crate) struct Context {
    /// Results.
    pub(crate) out: Output,
    /// Whether results are for a program.
    pub(crate) json: bool,
    /// How much is said on stderr.
    pub(crate) talk: Talk,
    /// Colours on stderr.
    pub(crate) paint: Paint,
    /// `--seed`, if given.
    pub(crate) seed: Option<u64>,
    /// Threads to compute with.
    pub(crate) threads: usize,
    /// Instructions to compute with.
    pub(crate) isa: Isa,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            out: Output::stdout(),
            json: global.json,
            talk: match (global.quiet || global.json, global.verbose) {
                (true, _) => Talk::Silent,
                (false, false) => Talk::Normal,
                (false, true) => Talk::Verbose,
            },
            paint: Paint::for_stderr(global.color),
            seed: global.seed,
            threads: global.threads.map_or_else(cores, usize::from),
            isa: global.isa,
        }
    }

    /// What computes, as `--isa` and `--threads` have it.
    pub(crate) fn compute(&self) -> Compute {
        Compute::new(self.isa, self.threads)
    }

    /// Says something on stderr, unless quiet.
    pub(crate) fn notice(&self, text: &str) {
        if self.talk >= Talk::Normal {
            say(text);
        }
    }

    /// Says something on stderr, with `--verbose`.
    pub(crate) fn detail(&self, text: &str) {
        if self.talk >= Talk::Verbose {
            say(text);
        }
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// One line of talk. That nobody listens is no error.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{}", crate::escape::visible(text));
}
