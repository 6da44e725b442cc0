//! Standard output: results, and nothing else.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use anyhow::Context as _;
use serde::Serialize;

/// Whoever read the output has closed the pipe: there is nobody left to write for, which is no
/// error.
#[derive(Debug)]
pub(crate) struct ClosedPipe;

impl fmt::Display for ClosedPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output has closed the pipe")
    }
}

impl std::error::Error for ClosedPipe {}

/// A writer of results. A closed pipe comes back as [`ClosedPipe`], so that it is not taken for a
/// failure.
pub(crate) struct Output<W: Write = Stdout> {
    inner: BufWriter<W>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self::new(io::stdout())
    }
}

impl<W: Write> Output<W> {
    fn new(inner: W) -> Self {
        Self {
            inner: BufWriter::new(inner),
        }
    }

    /// One object on a line of its own, there at once for a reading program.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.write_all(&line)?;
        self.finish()
    }

    /// Writes out what is held back. To be called at the end, where an error can still be told.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        self.flush().context("cannot write to standard output")
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(name_closed_pipe)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(name_closed_pipe)
    }
}

fn name_closed_pipe(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        io::Error::new(io::ErrorKind::BrokenPipe, ClosedPipe)
    } else {
        error
    }
}

/// Whether an error came from writing results that nobody reads any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause.is::<ClosedPipe>() || inner.is_some_and(|inner| inner.is::<ClosedPipe>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_failure() {
        let error = Output::new(Broken).json(&1).unwrap_err();
        assert!(is_closed_pipe(&error));
        assert!(is_closed_pipe(&error.context("could not sample")));
        let elsewhere = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(!is_closed_pipe(&elsewhere.into()));
    }

    #[test]
    fn json_is_one_line() {
        let mut output = Output::new(Vec::new());
        output.json(&serde_json::json!({"text": "a\nb"})).unwrap();
        assert_eq!(output.inner.buffer(), b"");
        assert_eq!(output.inner.get_ref(), b"{\"text\":\"a\\nb\"}\n");
    }
}
