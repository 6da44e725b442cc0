use std::env;
use std::path::{Path, PathBuf};

/// Where a shared data set lies, or `None` (and a line that says `skipped`) where this machine has none.
///
/// Data sets are too large for the repository. They are looked for in the folder that the environment variable
/// `REFRAIN_DATA` names, else in `shared/data` beside the repository. A test that gets `None` returns:
///
/// ```no_run
/// # fn test() {
/// let Some(folder) = refrain_testing::shared_data("shakespeare") else {
///     return;
/// };
/// # let _ = folder;
/// # }
/// ```
///
/// # Panics
/// Where the folder is there but has no such data set, or `REFRAIN_DATA` names no folder: something is
/// broken or misspelt, and a skip would hide it.
#[must_use]
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let named = env::var_os("REFRAIN_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    find(named.as_deref(), &beside, name)
}

#[expect(
    clippy::print_stderr,
    reason = "a skipped test must say so, and has no other way"
)]
fn find(named: Option<&Path>, beside: &Path, name: &str) -> Option<PathBuf> {
    if let Some(folder) = named {
        assert!(
            folder.is_dir(),
            "`REFRAIN_DATA` is `{}`, which is not a folder",
            folder.display()
        );
    }
    let folder = named.unwrap_or(beside);
    if !folder.is_dir() {
        eprintln!(
            "skipped: needs the data set `{name}`; set REFRAIN_DATA to the folder that holds it"
        );
        return None;
    }
    let path = folder.join(name);
    assert!(
        path.exists(),
        "`{}` has no data set `{name}`",
        folder.display()
    );
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn the_named_folder_comes_first() {
        let found = find(Some(Path::new(HERE)), Path::new("/nowhere"), "src");
        assert_eq!(found, Some(Path::new(HERE).join("src")));
    }

    #[test]
    fn without_data_a_test_is_skipped() {
        assert_eq!(find(None, &Path::new(HERE).join("nowhere"), "src"), None);
    }

    #[test]
    #[should_panic(expected = "has no data set `sorce`")]
    fn a_misspelt_name_is_no_skip() {
        let _ = find(None, Path::new(HERE), "sorce");
    }

    #[test]
    #[should_panic(expected = "which is not a folder")]
    fn a_wrong_folder_is_no_skip() {
        let _ = find(Some(Path::new("/nowhere")), Path::new(HERE), "src");
    }
}
