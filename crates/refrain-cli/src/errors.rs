//! What a user reads when something fails, and the exit code.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;

use crate::escape::visible;
use crate::output::is_closed_pipe;
use crate::style::Paint;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed, with an error and a hint.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Interrupted, and saved before.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error of the command itself.
#[derive(Debug)]
struct Failure {
    message: String,
    hint: String,
    exit: Exit,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with a hint, exit code 1.
pub(crate) fn failure(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure {
        message: message.into(),
        hint: hint.into(),
        exit: Exit::Failed,
    }
    .into()
}

/// A wrong usage that the parser of arguments cannot see, exit code 2.
pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure {
        message: message.into(),
        hint: hint.into(),
        exit: Exit::Usage,
    }
    .into()
}

/// The parts of a message.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Report {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Report {
    fn new(error: &anyhow::Error) -> Self {
        let mut chain = error.chain().map(ToString::to_string);
        let hint = error.chain().find_map(|cause| {
            let library = cause
                .downcast_ref::<refrain::Error>()
                .and_then(refrain::Error::hint);
            let own = || {
                cause
                    .downcast_ref()
                    .map(|failure: &Failure| failure.hint.as_str())
            };
            library
                .or_else(own)
                .or_else(|| cause.downcast_ref().and_then(hint_of_system))
        });
        Self {
            message: chain.next().unwrap_or_default(),
            causes: chain.collect(),
            hint: hint.map(Into::into),
        }
    }

    /// Clap's message: what is wrong before the first blank line, then tips, then usage.
    fn of_usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim().trim_start_matches("error: ");
        let lines = rest.lines().map(str::trim);
        let tips: Vec<_> = lines
            .filter_map(|line| line.strip_prefix("tip: "))
            .collect();
        let hint = if tips.is_empty() {
            "see `--help`".into()
        } else {
            tips.join("; ")
        };
        let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Self {
            message,
            causes: Vec::new(),
            hint: Some(hint),
        }
    }

    fn for_people(&self, paint: Paint) -> String {
        let mut text = format!("{} {}\n", paint.error("error:"), visible(&self.message));
        for cause in &self.causes {
            text += &format!("  {} {}\n", paint.dim("caused by:"), visible(cause));
        }
        if let Some(hint) = &self.hint {
            text += &format!("\n{} {}\n", paint.hint("hint:"), visible(hint));
        }
        text
    }

    fn for_programs(&self) -> String {
        format!("{}\n", serde_json::json!({ "error": self }))
    }
}

/// Tells of an error on stderr, and with which code to exit.
pub(crate) fn report(error: &anyhow::Error, json: bool, paint: Paint) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Done;
    }
    let report = Report::new(error);
    say(&if json {
        report.for_programs()
    } else {
        report.for_people(paint)
    });
    exit_of(error)
}

/// Tells of a wrong command line; help that was asked for is no error.
pub(crate) fn report_usage(error: &clap::Error, json: bool) -> Exit {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if json && !is_help {
        say(&Report::of_usage(error).for_programs());
    } else {
        // That nobody reads it is no error.
        let _ = error.print();
    }
    if is_help { Exit::Done } else { Exit::Usage }
}

/// What to try about an error of the operating system.
fn hint_of_system(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path; a relative one starts at the current folder",
        io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
        io::ErrorKind::IsADirectory => "this is a folder; name a file in it",
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            "the file is cut short or damaged; copy it again, and unpack it by hand to see where it ends"
        }
        io::ErrorKind::StorageFull => "make room on the disk; what was saved before is still whole",
        _ => return None,
    })
}

/// A setting that cannot be is wrong usage, wherever it was noticed.
fn exit_of(error: &anyhow::Error) -> Exit {
    let codes = error.chain().filter_map(|cause| {
        let failure = cause.downcast_ref().map(|failure: &Failure| failure.exit);
        failure.or_else(|| match cause.downcast_ref()? {
            refrain::Error::Setting { .. } => Some(Exit::Usage),
            _ => None,
        })
    });
    codes.last().unwrap_or(Exit::Failed)
}

fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::Context as _;

    use super::*;
    use crate::style::Color;

    fn model_error() -> anyhow::Error {
        let error = refrain::Error::Model {
            path: PathBuf::from("run7/best.safetensors"),
            problem: "`rnn.weight_ih_l0` has shape [512, 65], expected [512, 96]".into(),
            hint: "see `refrain info run7`".into(),
        };
        Err::<(), _>(error)
            .context("cannot sample from `run7`")
            .unwrap_err()
    }

    #[test]
    fn people_read_the_error_its_causes_and_a_hint() {
        let report = Report::new(&model_error());
        let expected = "error: cannot sample from `run7`\n  caused by: `run7/best.safetensors` is not a usable model \
                        file: `rnn.weight_ih_l0` has shape [512, 65], expected [512, 96]\n\nhint: see `refrain info run7`\n";
        assert_eq!(report.for_people(Paint::for_stderr(Color::Never)), expected);
        let painted = report.for_people(Paint::for_stderr(Color::Always));
        assert!(
            painted.starts_with("\u{1b}[1;31merror:\u{1b}[0m cannot"),
            "{painted}"
        );
    }

    #[test]
    fn programs_read_an_object() {
        let json = Report::new(&model_error()).for_programs();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["error"]["message"], "cannot sample from `run7`");
        assert_eq!(value["error"]["causes"].as_array().unwrap().len(), 1);
        assert_eq!(value["error"]["hint"], "see `refrain info run7`");
    }

    #[test]
    fn messages_cannot_steer_the_terminal() {
        let report = Report::new(&failure("cannot read `\u{1b}[2J`", "rename it"));
        assert!(
            !report
                .for_people(Paint::for_stderr(Color::Never))
                .contains('\u{1b}')
        );
    }

    #[test]
    fn a_wrong_setting_is_wrong_usage() {
        let settings = refrain::run::settings::Settings {
            batch: Some(0),
            ..Default::default()
        };
        let error = anyhow::Error::from(settings.resolve().unwrap_err());
        assert_eq!(exit_of(&error), Exit::Usage);
        assert_eq!(exit_of(&model_error()), Exit::Failed);
        assert_eq!(exit_of(&usage("a", "b").context("c")), Exit::Usage);
    }
}
