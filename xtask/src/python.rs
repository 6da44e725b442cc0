use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

use crate::stages::{root, shown, target};

const REQUIREMENTS: &str = "benches/against/requirements.txt";

/// A Python that has PyTorch, NumPy, safetensors, scikit-learn and sacreBLEU: the one that `REFRAIN_PYTHON` names, else an environment
/// under `target/python`, made on first use and made again when the requirements change.
pub(crate) fn interpreter() -> Result<PathBuf> {
    let python = match env::var_os("REFRAIN_PYTHON") {
        Some(named) => PathBuf::from(named),
        None => environment(&target().join("python"), &root().join(REQUIREMENTS))?,
    };
    let mut probe = Command::new(&python);
    probe.args(["-c", "import numpy, sacrebleu, safetensors, sklearn, torch"]);
    let output = probe
        .output()
        .with_context(|| format!("cannot start `{}`", python.display()))?;
    ensure!(
        output.status.success(),
        "`{}` lacks packages of {REQUIREMENTS}:\n{}",
        python.display(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(python)
}

fn environment(folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read `{}`", requirements.display()))?;
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    let stamp = folder.join("requirements.txt");
    if is_current(&python, &stamp, &wanted) {
        return Ok(python);
    }
    eprintln!(
        "making a Python environment in `{}`; this takes minutes and some gigabytes, once",
        folder.display()
    );
    let mut venv = Command::new(if cfg!(windows) { "python" } else { "python3" });
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    succeed(&mut venv)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(requirements);
    succeed(&mut pip)?;
    fs::write(&stamp, &wanted).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    Ok(python)
}

/// The stamp is written last, so that an installation broken off halfway is no environment.
fn is_current(python: &Path, stamp: &Path, wanted: &str) -> bool {
    python.exists() && fs::read_to_string(stamp).is_ok_and(|found| found == wanted)
}

/// Runs a command with its output on standard error: standard output is for results.
fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_current_only_with_the_same_requirements() {
        let folder = tempfile::tempdir().unwrap();
        let (python, stamp) = (folder.path().join("python"), folder.path().join("stamp"));
        assert!(!is_current(&python, &stamp, "torch==1"));
        fs::write(&stamp, "torch==1").unwrap();
        assert!(!is_current(&python, &stamp, "torch==1"), "no interpreter");
        fs::write(&python, "").unwrap();
        assert!(is_current(&python, &stamp, "torch==1"));
        assert!(!is_current(&python, &stamp, "torch==2"));
    }

    #[test]
    fn versions_are_pinned() {
        let text = fs::read_to_string(root().join(REQUIREMENTS)).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for package in ["numpy", "sacrebleu", "safetensors", "scikit-learn", "torch"] {
            let pin = format!("{package}==");
            assert!(lines.iter().any(|line| line.starts_with(&pin)), "{package}");
        }
        assert!(lines.iter().all(|line| line.contains("==")), "{text}");
    }
}
