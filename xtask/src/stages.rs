use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::guide;

/// All chores are checked, those that compute with the library as well.
pub(crate) const LIBRARY: &str = "--features=xtask/library";

pub(crate) fn check() -> Result<()> {
    let mut stages = Stages::default();
    run_check(&mut stages)?;
    stages.summarise();
    Ok(())
}

pub(crate) fn test() -> Result<()> {
    let mut stages = Stages::default();
    run_check(&mut stages)?;
    if has_nextest() {
        stages.run(
            "tests",
            cargo(["nextest", "run", "--workspace", LIBRARY, "--no-fail-fast"]),
        )?;
    } else {
        println!("cargo-nextest is not installed: using cargo test");
        stages.run(
            "tests",
            cargo(["test", "--workspace", LIBRARY, "--all-targets"]),
        )?;
    }
    stages.run("doctests", cargo(["test", "--workspace", LIBRARY, "--doc"]))?;
    // Not by another xtask: this one's file may have been built anew by now.
    stages.call("guide", "cargo xtask docs --check", guide::check)?;
    stages.summarise();
    Ok(())
}

fn run_check(stages: &mut Stages) -> Result<()> {
    stages.run("format", cargo(["fmt", "--all", "--check"]))?;
    stages.run(
        "clippy",
        cargo([
            "clippy",
            "--workspace",
            LIBRARY,
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let mut doc = cargo([
        "doc",
        "--workspace",
        LIBRARY,
        "--no-deps",
        "--document-private-items",
    ]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    stages.run("docs", doc)
}

fn has_nextest() -> bool {
    cargo(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The stages of a chore: each under a heading, each with the time it took; the first that fails ends it.
#[derive(Default)]
struct Stages {
    done: Vec<(&'static str, Duration)>,
}

impl Stages {
    fn run(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let typed = shown(&command);
        self.call(name, &typed, || {
            let status = command.status();
            let status = status.with_context(|| format!("cannot start `{typed}`"))?;
            ensure!(status.success(), "it ended with {status}");
            Ok(())
        })
    }

    fn call(
        &mut self,
        name: &'static str,
        typed: &str,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        println!("== {name}: {typed}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        result.with_context(|| format!("stage `{name}` failed after {}", seconds(took)))?;
        println!("-- {name}: {}", seconds(took));
        self.done.push((name, took));
        Ok(())
    }

    fn summarise(&self) {
        let total = self.done.iter().map(|(_, took)| *took).sum();
        let each: Vec<_> = self
            .done
            .iter()
            .map(|(name, took)| format!("{name} {}", seconds(*took)))
            .collect();
        println!("== all good in {} ({})", seconds(total), each.join(", "));
    }
}

/// A command of the same cargo that runs this, in the root of the repository.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    // A relative folder is relative to where cargo was called, as it is for cargo itself.
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || root().join("target"),
        |folder| std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
    )
}

/// A command as one could type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_stem().unwrap_or_default().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    let settings = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        let quote = if value.contains(' ') { "'" } else { "" };
        Some(format!("{}={quote}{value}{quote} ", name.to_string_lossy()))
    });
    settings.collect::<String>() + &words.join(" ")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
        assert!(root().join("xtask/Cargo.toml").is_file());
    }

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/opt/bin/cargo");
        command.args(["doc", "--no-deps"]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            shown(&command),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
    }

    #[test]
    fn a_failing_stage_is_named_and_ends_the_chore() {
        let mut stages = Stages::default();
        stages.run("version", cargo(["--version"])).unwrap();
        let error = stages
            .run("nonsense", cargo(["no-such-command"]))
            .unwrap_err();
        assert!(error.to_string().starts_with("stage `nonsense` failed"));
        assert_eq!(stages.done.len(), 1);
        let missing = stages.run("missing", Command::new("/no/such/program"));
        let missing = format!("{:#}", missing.unwrap_err());
        assert!(missing.contains("cannot start"), "{missing}");
    }
}
