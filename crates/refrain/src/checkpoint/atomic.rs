use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes a file so that at every moment, a crash or a power cut included, there is the old file or
/// the whole new one: to a temporary name in the same folder, synced, renamed, the folder synced.
///
/// A link is followed, and what is no regular file (a device, a pipe) is written to directly.
///
/// # Errors
///
/// [`Error::Io`]; the old file is then as it was, and the temporary one is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes).map_err(|source| Error::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// Sees whether [`write_atomic`] could write a file, before the work that it is to hold: what is there stays as it is.
///
/// # Errors
///
/// [`Error::Io`] as of [`write_atomic`].
pub fn check_writable(path: &Path) -> Result<()> {
    let check = || match target(path)? {
        Target::Regular(target) => create_temporary(folder_of(&target)).map(drop),
        Target::Other => OpenOptions::new().write(true).open(path).map(drop),
    };
    check().map_err(|source| Error::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

enum Target {
    /// A file that is there, links followed, or is to be.
    Regular(PathBuf),
    /// A device, a pipe.
    Other,
}

fn target(path: &Path) -> io::Result<Target> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::canonicalize(path).map(Target::Regular),
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(Target::Other),
        Err(_) => Ok(Target::Regular(path.to_owned())),
    }
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = match target(path)? {
        Target::Regular(target) => target,
        Target::Other => return OpenOptions::new().write(true).open(path)?.write_all(bytes),
    };
    let folder = folder_of(&target);
    let (mut file, temporary) = create_temporary(folder)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary.0, &target)?;
    std::mem::forget(temporary);
    sync_folder(folder)
}

/// Removes the file when dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // An error is on its way already, and it says more than this one would.
        let _ = fs::remove_file(&self.0);
    }
}

/// A new file under a name that no other process or thread has.
fn create_temporary(folder: &Path) -> io::Result<(File, Temporary)> {
    let process = std::process::id();
    let mut attempt = 0u32;
    loop {
        let path = folder.join(format!(".refrain-{process}-{attempt}.tmp"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, Temporary(path))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 1000 => {
                attempt += 1
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems cannot sync a folder; then there is nothing more to do.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Folders cannot be opened as files there.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_can_be_written_is_known_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        check_writable(&path).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        fs::write(&path, "old").unwrap();
        check_writable(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(check_writable(dir.path()).is_err());
        let error = check_writable(&dir.path().join("none/a")).unwrap_err();
        assert!(error.to_string().contains("none/a"), "{error}");
    }

    #[test]
    fn files_are_written_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for content in [&b"one"[..], b"", b"three"] {
            write_atomic(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let error = write_atomic(&dir.path().join("folder"), b"x").unwrap_err();
        assert!(matches!(
            error,
            Error::Io {
                action: "write",
                ..
            }
        ));
        assert!(write_atomic(&dir.path().join("none/a"), b"x").is_err());
        // The name is too long for a file, which only the rename finds out.
        assert!(write_atomic(&dir.path().join("x".repeat(300)), b"x").is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }

    #[test]
    fn a_leftover_of_a_crash_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = format!(".refrain-{}-0.tmp", std::process::id());
        fs::write(dir.path().join(&leftover), "torn").unwrap();
        write_atomic(&dir.path().join("a"), b"whole").unwrap();
        assert_eq!(names(dir.path()), [leftover, "a".into()]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        // Through a link, so that a mistake would replace the link and not the device.
        let null = dir.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_atomic(&null, b"x").unwrap();
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
    }

    #[test]
    fn threads_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for i in 0..8u8 {
                let path = dir.path().join("a");
                scope.spawn(move || write_atomic(&path, &[i; 100]).unwrap());
            }
        });
        let content = fs::read(dir.path().join("a")).unwrap();
        assert_eq!(content, [content[0]; 100]);
        assert_eq!(names(dir.path()), ["a"]);
    }
}
