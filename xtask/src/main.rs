//! The chores of this repository: `cargo xtask` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "chores talk to the person who runs them"
)]

#[cfg(feature = "library")]
mod bench;
#[cfg(feature = "library")]
mod data;
#[cfg(feature = "library")]
mod golden;
mod guide;
#[cfg(not(feature = "library"))]
mod handed;
#[cfg(feature = "library")]
mod python;
mod stages;
#[cfg(feature = "library")]
mod table;
#[cfg(feature = "library")]
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
#[cfg(not(feature = "library"))]
use handed::{bench, data, golden};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The chores of this repository"
)]
struct Arguments {
    #[command(subcommand)]
    chore: Option<Chore>,
}

#[derive(Subcommand)]
enum Chore {
    /// The quick half: formatting, clippy and rustdoc, with every warning an error
    Check,
    /// What CI runs: check, then every test, the examples in the docs, the guide's commands
    Test,
    /// Make the goldens in testdata/ again with PyTorch
    Golden(golden::Arguments),
    /// Turn a shared data set into the formats that Refrain reads
    Data(data::Arguments),
    /// Run the commands of the guide in docs/ and write what they give below them
    Docs(guide::Arguments),
    /// Measure Refrain beside another engine, in turn, on this machine
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.chore {
        None => Ok(Arguments::command().print_help()?),
        Some(Chore::Check) => stages::check(),
        Some(Chore::Test) => stages::test(),
        Some(Chore::Docs(arguments)) => guide::run(&arguments),
        Some(Chore::Golden(arguments)) => golden::run(&arguments),
        Some(Chore::Data(arguments)) => data::run(&arguments),
        Some(Chore::Bench(arguments)) => bench::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_argument_is_the_list_of_chores() {
        assert!(Arguments::parse_from(["xtask"]).chore.is_none());
        let help = Arguments::command().render_help().to_string();
        for chore in ["check", "test", "golden", "data", "docs", "bench"] {
            assert!(help.contains(chore), "{help}");
        }
    }
}
