use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};
use refrain_testing::Golden;

use crate::python;
use crate::stages::{root, target};

/// How far a golden made again may be from the checked-in one, absolutely and relatively: another processor rounds
/// differently, by some 1e-16 an operation. Integers must be equal.
const TOLERANCE: f64 = 1e-12;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Make them in a temporary folder and compare with the checked-in ones
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let generators = generators(&root().join("testdata"))?;
    ensure!(!generators.is_empty(), "testdata/ has no generate.py");
    let python = python::interpreter()?;
    let mut differences = Vec::new();
    for folder in generators {
        let name = folder.file_name().unwrap_or_default();
        if !arguments.check {
            generate(&python, &folder, &folder)?;
            println!(
                "made {} goldens in `{}`",
                files(&folder)?.len(),
                folder.display()
            );
            continue;
        }
        let again = target().join("golden-check").join(name);
        remove(&again)?;
        generate(&python, &folder, &again)?;
        let found = compare_folders(&folder, &again)?;
        let count = files(&folder)?.len();
        println!(
            "`{}`: {count} goldens, {} differences",
            folder.display(),
            found.len()
        );
        remove(&again)?;
        differences.extend(found);
    }
    if !differences.is_empty() {
        bail!(
            "the goldens made again differ from those checked in:\n{}",
            differences.join("\n")
        );
    }
    Ok(())
}

/// The folders that hold a generator, sorted.
fn generators(testdata: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in read_dir(testdata)? {
        let folder = entry?.path();
        if folder.join("generate.py").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

fn generate(python: &Path, folder: &Path, out: &Path) -> Result<()> {
    let script = folder.join("generate.py");
    let status = Command::new(python)
        .arg(&script)
        .arg("--out")
        .arg(out)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .with_context(|| format!("cannot start `{}`", python.display()))?;
    ensure!(status.success(), "`{}` failed ({status})", script.display());
    Ok(())
}

/// Every difference between two folders of goldens, a line each.
fn compare_folders(expected: &Path, found: &Path) -> Result<Vec<String>> {
    let (before, after) = (files(expected)?, files(found)?);
    let mut differences = Vec::new();
    for name in before.union(&after) {
        let shown = name.to_string_lossy();
        if !after.contains(name) {
            differences.push(format!("`{shown}` is no longer made"));
        } else if !before.contains(name) {
            differences.push(format!("`{shown}` is new"));
        } else {
            let found = compare(&read(&expected.join(name))?, &read(&found.join(name))?);
            differences.extend(found.into_iter().map(|line| format!("`{shown}`: {line}")));
        }
    }
    Ok(differences)
}

fn compare(expected: &Golden, found: &Golden) -> Vec<String> {
    let names: BTreeSet<&str> = expected.names().chain(found.names()).collect();
    let difference = |name: &str| {
        if !found.contains(name) {
            return Some("is no longer there".to_owned());
        }
        if !expected.contains(name) {
            return Some("is new".to_owned());
        }
        let (was, is) = (expected.shape(name), found.shape(name));
        if was != is {
            return Some(format!("has shape {is:?}, was {was:?}"));
        }
        match (expected.is_integer(name), found.is_integer(name)) {
            (true, true) => {
                (expected.i64(name) != found.i64(name)).then(|| "has other integers".to_owned())
            }
            (false, false) => furthest(&expected.f64(name).1, &found.f64(name).1),
            _ => Some("has another type".to_owned()),
        }
    };
    names
        .into_iter()
        .filter_map(|name| Some(format!("`{name}` {}", difference(name)?)))
        .collect()
}

/// The element that moved furthest beyond the tolerance, if one did.
fn furthest(expected: &[f64], found: &[f64]) -> Option<String> {
    let distance = |e: f64, f: f64| {
        let distance = (e - f).abs() / e.abs().max(1.0);
        if distance.is_nan() {
            f64::INFINITY
        } else {
            distance
        }
    };
    let (index, worst) = expected
        .iter()
        .zip(found)
        .map(|(&e, &f)| distance(e, f))
        .enumerate()
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (worst > TOLERANCE).then(|| {
        format!(
            "[{index}] is {:e}, was {:e} (off by {worst:e}, allowed {TOLERANCE:e})",
            found[index], expected[index]
        )
    })
}

fn read(path: &Path) -> Result<Golden> {
    Golden::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn files(folder: &Path) -> Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|ending| ending == "safetensors")
        {
            names.extend(path.file_name().map(OsString::from));
        }
    }
    Ok(names)
}

fn read_dir(folder: &Path) -> Result<fs::ReadDir> {
    fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_within_the_tolerance_is_none() {
        assert_eq!(furthest(&[1.0, 1e6], &[1.0 + 1e-13, 1e6 + 1e-7]), None);
        assert_eq!(furthest(&[], &[]), None);
    }

    #[test]
    fn a_move_beyond_it_names_the_element() {
        let line = furthest(&[1.0, 2.0, 3.0], &[1.0, 2.0 + 1e-9, 3.0 + 1e-11]).unwrap();
        assert!(line.starts_with("[1] is 2.000000001e0, was 2e0"), "{line}");
        assert!(furthest(&[0.0], &[f64::NAN]).is_some());
    }

    #[test]
    fn a_golden_equals_itself_and_no_other() {
        let folder = root().join("testdata/golden");
        let one = read(&folder.join("layer_gru_1.safetensors")).unwrap();
        let two = read(&folder.join("layer_gru_2.safetensors")).unwrap();
        assert_eq!(compare(&one, &one), Vec::<String>::new());
        let differences = compare(&one, &two).join("\n");
        assert!(
            differences.contains("`h_0` has shape [2, 3, 19], was [1, 3, 19]"),
            "{differences}"
        );
        assert!(differences.contains("`weight_hh_l1` is new"));
        assert!(differences.contains("`output` [") && differences.contains("allowed 1e-12"));
    }

    #[test]
    fn folders_are_compared_file_by_file() {
        let folder = root().join("testdata/golden");
        assert!(
            generators(&root().join("testdata"))
                .unwrap()
                .contains(&folder)
        );
        let again = tempfile::tempdir().unwrap();
        for name in files(&folder).unwrap() {
            fs::copy(folder.join(&name), again.path().join(&name)).unwrap();
        }
        assert_eq!(
            compare_folders(&folder, again.path()).unwrap(),
            Vec::<String>::new()
        );
        let gru = again.path().join("layer_gru_1.safetensors");
        fs::copy(&gru, again.path().join("extra.safetensors")).unwrap();
        fs::copy(folder.join("layer_gru_2.safetensors"), &gru).unwrap();
        fs::remove_file(again.path().join("layer_gru_3.safetensors")).unwrap();
        let lines = compare_folders(&folder, again.path()).unwrap();
        assert_eq!(lines.first().unwrap(), "`extra.safetensors` is new");
        assert_eq!(
            lines.last().unwrap(),
            "`layer_gru_3.safetensors` is no longer made"
        );
        assert!(
            lines[1].starts_with("`layer_gru_1.safetensors`: "),
            "{lines:?}"
        );
    }
}
