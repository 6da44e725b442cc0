//! The `refrain` command.

mod args;
mod commands;
mod context;
mod errors;
mod escape;
mod isa;
mod machine;
mod output;
mod progress;
mod signals;
mod style;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use args::{Cli, Command, Early};
use context::Context;
use errors::Exit;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let early = Early::scan(&args);
    let cli = match args::parse(args, &early) {
        Ok(cli) => cli,
        Err(error) => return errors::report_usage(&error, early.json).into(),
    };
    let (json, paint) = (cli.global.json, style::Paint::for_stderr(cli.global.color));
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => errors::report(&error, json, paint).into(),
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    signals::install()?;
    let mut context = Context::new(&cli.global);
    let exit = match cli.command {
        _ if cli.version => commands::version::run(&mut context),
        Some(Command::Train(args)) => commands::train::run(&args, &mut context),
        Some(Command::Sample(args)) => commands::sample::run(&args, &mut context),
        Some(Command::Predict(args)) => commands::predict::run(&args, &mut context),
        Some(Command::Inspect(args)) => commands::inspect::run(&args, &mut context),
        Some(Command::Evaluate(args)) => commands::evaluate::run(&args, &mut context),
        Some(Command::Info(args)) => commands::info::run(&args, &mut context),
        Some(Command::Lab(args)) => commands::lab::run(&args, &mut context),
        Some(Command::Hello(args)) => commands::hello::run(&args, &mut context),
        Some(Command::Bench(args)) => commands::bench::run(&args, &mut context),
        Some(Command::Completions(args)) => commands::completions::run(&args, &mut context),
        None => Err(errors::usage(
            "no command was given",
            "see `refrain --help`",
        )),
    }?;
    context.out.finish()?;
    Ok(exit)
}
