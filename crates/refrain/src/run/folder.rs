use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};

/// The files of a run folder.
const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const STATE: &str = "state.safetensors";
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";
const REPORT: &str = "report.html";
const STDIN: &str = "stdin.txt";
const LOCK: &str = ".lock";

/// A run folder, locked for as long as this lives.
///
/// A run that was killed before its `config.toml` stood has left nothing of value: such a folder counts as new.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The operating system frees the lock when the file is closed, however the process ends.
    _lock: File,
}

impl RunFolder {
    /// Whether a new run may begin at `path`, without changing anything.
    ///
    /// # Errors
    /// [`Error::Run`] if a run is there already and `overwrite` is not set, or if it is a file.
    pub fn check_new(path: &Path, overwrite: bool) -> Result<()> {
        let wrong = |problem: &str, hint: &str| {
            Err(Error::Run {
                path: path.to_owned(),
                problem: problem.into(),
                hint: hint.into(),
            })
        };
        if path.exists() && !path.is_dir() {
            return wrong("it is a file", "name a folder that does not exist yet");
        }
        if path.join(CONFIG).exists() && !overwrite {
            return wrong(
                "it holds a run already",
                "go on with it by `--resume`, name another folder, or give `--overwrite`",
            );
        }
        // Anything but the leavings of a run that never began is not ours to write between.
        if path.is_dir() && !path.join(CONFIG).exists() {
            let entries = fs::read_dir(path).map_err(|source| Error::Io {
                action: "list",
                path: path.to_owned(),
                source,
            })?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name_text = name.to_string_lossy();
                let known = if overwrite { is_ours } else { is_leaving };
                if !known(&name_text) {
                    return wrong(
                        &format!(
                            "it exists and holds `{}`, which is not of a run",
                            name.display()
                        ),
                        "name a folder that does not exist yet",
                    );
                }
            }
        }
        Ok(())
    }

    /// Makes the folder, or empties it of a former run where `overwrite` is set.
    ///
    /// # Errors
    /// As [`RunFolder::check_new`]; [`Error::Run`] if another process works in it; [`Error::Io`].
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        Self::check_new(path, overwrite)?;
        fs::create_dir_all(path).map_err(|source| Error::Io {
            action: "create",
            path: path.to_owned(),
            source,
        })?;
        let folder = Self::lock(path)?;
        // The settings first: without them there is no run, wherever this is cut short.
        for name in [CONFIG, STATE, METRICS, LAST, BEST, REPORT, STDIN] {
            let file = path.join(name);
            match fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Io {
                        action: "remove",
                        path: file,
                        source,
                    });
                }
                _ => {}
            }
        }
        Ok(folder)
    }

    /// Opens the folder of a run that is to go on.
    ///
    /// # Errors
    /// [`Error::Run`] if there is no run or another process works in it; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).is_file() {
            return Err(Error::Run {
                path: path.to_owned(),
                problem: format!("it has no `{CONFIG}`, so no run has begun in it"),
                hint: "begin one with `refrain train TASK DATA -o` and this folder".into(),
            });
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self> {
        let file = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(|source| Error::Io {
                action: "open",
                path: file.clone(),
                source,
            })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Run {
                    path: path.to_owned(),
                    problem: "another process is training in it".into(),
                    hint: "wait until that one has ended, or stop it with Ctrl-C".into(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io {
                    action: "lock",
                    path: file,
                    source,
                });
            }
        }
        let folder = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        folder.sweep();
        Ok(folder)
    }

    /// Removes temporary files that a killed process left. That one stays is no harm.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if is_temporary(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the resolved settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `metrics.jsonl`: what happened.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `state.safetensors`: all that is needed to go on.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// `last.safetensors`: the model as it stands.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.path.join(LAST)
    }

    /// `best.safetensors`: the model with the best validation.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// `report.html`.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// `stdin.txt`: what was read from standard input.
    #[must_use]
    pub fn stdin(&self) -> PathBuf {
        self.path.join(STDIN)
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&self, toml: &str) -> Result<()> {
        write_atomic(&self.config(), toml.as_bytes())
    }
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".refrain-") && name.ends_with(".tmp")
}

/// Whether a file may stand in a folder in which no run has begun: what one that was killed early leaves.
fn is_leaving(name: &str) -> bool {
    is_temporary(name) || [LOCK, STDIN].contains(&name)
}

/// Whether a file is one of a run.
fn is_ours(name: &str) -> bool {
    is_temporary(name) || [LOCK, STATE, METRICS, LAST, BEST, REPORT, STDIN].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_while_it_is_used() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("deep/run");
        let folder = RunFolder::create(&path, false).unwrap();
        folder.write_config("").unwrap();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(folder);
        RunFolder::open(&path).unwrap();
    }

    #[test]
    fn a_run_is_not_overwritten_unasked_and_strangers_never_are() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("run");
        assert!(RunFolder::open(&path).is_err());
        RunFolder::create(&path, false)
            .unwrap()
            .write_config("")
            .unwrap();
        fs::write(path.join(STATE), "old").unwrap();
        fs::write(path.join(".refrain-1-0.tmp"), "torn").unwrap();
        assert!(
            RunFolder::create(&path, false)
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        RunFolder::create(&path, true).unwrap();
        let left: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, [LOCK]);

        let stranger = temporary.path().join("photos");
        fs::create_dir(&stranger).unwrap();
        fs::write(stranger.join("a.png"), "").unwrap();
        for overwrite in [false, true] {
            let error = RunFolder::create(&stranger, overwrite).unwrap_err();
            assert!(error.to_string().contains("a.png"), "{error}");
        }
        // Without `config.toml` a model may be all that is left of a run: it is not thrown away unasked.
        fs::remove_file(stranger.join("a.png")).unwrap();
        fs::write(stranger.join(BEST), "").unwrap();
        let error = RunFolder::create(&stranger, false).unwrap_err();
        assert!(error.to_string().contains(BEST), "{error}");
        RunFolder::create(&stranger, true).unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(RunFolder::create(&file, true).is_err());
    }
}
