//! The chores that compute with the library, where this xtask was built without it: they are handed to one that has it.

use std::ffi::OsString;
use std::process;

use anyhow::{Context as _, Result};

use crate::stages::{LIBRARY, cargo};

/// Whatever the chore is told.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn hand_over(chore: &str, arguments: &Arguments) -> Result<()> {
    let mut run = cargo(["run", "--quiet", "--package", "xtask", LIBRARY, "--", chore]);
    // Paths among the arguments start where the user stands.
    run.args(&arguments.arguments)
        .current_dir(std::env::current_dir()?);
    let status = run.status().context("cannot start cargo")?;
    process::exit(status.code().unwrap_or(1));
}

macro_rules! handed {
    ($($chore:ident)+) => {
        $(pub(crate) mod $chore {
            pub(crate) use super::Arguments;

            pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
                super::hand_over(stringify!($chore), arguments)
            }
        })+
    };
}

handed!(golden data bench);
