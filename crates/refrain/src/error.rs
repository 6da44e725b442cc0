use std::io;
use std::path::PathBuf;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// All that can go wrong, each with what is needed to mend it.
///
/// The text names the file, line, tensor or setting; [`Error::hint`] says what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: "read", "write", "create", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A data file holds something unexpected at a place that can be named.
    #[error("`{path}`, line {line}, column {column}: found {found}, expected {expected}")]
    Data {
        /// The file as the user named it; `-` is standard input.
        path: String,
        /// Line, from 1.
        line: u64,
        /// Column in characters, from 1.
        column: u64,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
        /// What to try.
        hint: String,
    },
    /// The data as a whole cannot be used (empty, too short, one class only, …).
    #[error("{problem}")]
    Unusable {
        /// What is wrong, naming the file or the part.
        problem: String,
        /// What to try.
        hint: String,
    },
    /// A setting has a value that it cannot have.
    #[error("`{name}` is {found}, expected {expected}")]
    Setting {
        /// The flag without dashes in front, for example `hidden-size`.
        name: String,
        /// The value given.
        found: String,
        /// The values possible.
        expected: String,
        /// What to try.
        hint: String,
    },
    /// A model or state file cannot be used.
    #[error("`{}` is not a usable model file: {problem}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Which tensor or key, what was found, what was expected.
        problem: String,
        /// What to try.
        hint: String,
    },
    /// A run folder cannot be used as asked.
    #[error("run folder `{}`: {problem}", path.display())]
    Run {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to try.
        hint: String,
    },
    /// What was asked would not fit into memory; nothing was allocated.
    #[error("this needs about {} MB of memory, {} MB are available", needed_bytes >> 20, available_bytes >> 20)]
    Memory {
        /// The estimate.
        needed_bytes: u64,
        /// What the machine has to give.
        available_bytes: u64,
        /// What to try.
        hint: String,
    },
    /// A loss, gradient or weight became infinite or not a number.
    #[error("the {what} of step {step} is not finite (first seen in `{layer}`)")]
    NonFinite {
        /// `loss`, `gradient` or `update` (of the weights).
        what: &'static str,
        /// The training step, from 1.
        step: u64,
        /// The parameter or layer where it was first seen.
        layer: String,
        /// What to try.
        hint: String,
    },
    /// Arrays whose shapes do not fit together.
    #[error("`{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The argument or tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: Vec<usize>,
    },
    /// A text holds a symbol that the model does not know.
    #[error("{symbol} is not in the model's vocabulary")]
    UnknownSymbol {
        /// The symbol, quoted.
        symbol: String,
        /// What to try.
        hint: String,
    },
}

impl Error {
    /// What to try, where there is something to say.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = refrain::Error::Unusable {
    ///     problem: "`a.txt` is empty".into(),
    ///     hint: "give a text of two characters or more".into(),
    /// };
    /// assert_eq!(error.hint(), Some("give a text of two characters or more"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Data { hint, .. }
            | Self::Unusable { hint, .. }
            | Self::Setting { hint, .. }
            | Self::Model { hint, .. }
            | Self::Run { hint, .. }
            | Self::Memory { hint, .. }
            | Self::NonFinite { hint, .. }
            | Self::UnknownSymbol { hint, .. } => Some(hint),
            Self::Io { .. } | Self::Shape { .. } => None,
        }
    }
}
