//! Keeps the repository in the order that it set itself: who may import whom, where `unsafe` may stand, how long a file
//! may be, which crate may depend on which, and that every dependency is accounted for.

mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{code_of, crate_paths, has_word, without_tests};

/// The modules of the library: each imports only those to its left. `error` is free for all.
const ORDER: [&str; 13] = [
    "data::vocabulary",
    "data::batch",
    "nn",
    "models",
    "optim",
    "metrics",
    "checkpoint",
    "generate",
    "inspect",
    "data",
    "train",
    "run",
    "lab",
];

/// What any module may name: the errors, which `crates/refrain/src/lib.rs` also offers at the root, and the names of enums.
const FREE: [&str; 4] = ["error", "Error", "Result", "names"];

/// The crates where `unsafe` may stand.
const UNSAFE: [&str; 2] = ["refrain-kernels", "refrain-python"];

const MAX_LINES: usize = 800;

/// Which crates of this workspace a crate may depend on.
const DEPENDENCIES: [(&str, &[&str]); 7] = [
    ("refrain-kernels", &[]),
    ("refrain", &["refrain-kernels"]),
    ("refrain-server", &["refrain", "refrain-kernels"]),
    ("refrain-python", &["refrain", "refrain-kernels"]),
    (
        "refrain-cli",
        &["refrain", "refrain-kernels", "refrain-server"],
    ),
    ("refrain-testing", &[]),
    ("xtask", &["refrain", "refrain-testing"]),
];

/// A dev-dependency of any crate, and no more than that outside xtask.
const TESTING: &str = "refrain-testing";

#[test]
fn a_module_imports_only_those_to_its_left() {
    let src = root().join("crates/refrain/src");
    let files = files_under(&src, &["rs"]);
    assert!(!files.is_empty(), "no source in {}", src.display());
    assert_none(files.iter().flat_map(|path| {
        let module = module_of(path.strip_prefix(&src).expect("it lies under src"));
        let found = wrong_imports(&module, &read(path));
        found
            .into_iter()
            .map(|line| format!("{}: {line}", shown(path)))
    }));
}

#[test]
fn unsafe_stays_in_its_crates() {
    let fenced = |path: &PathBuf| {
        let inside = |name: &str| path.starts_with(root().join("crates").join(name));
        !UNSAFE.iter().any(|name| inside(name))
    };
    let files = files_under(&root(), &["rs"]).into_iter().filter(fenced);
    assert_none(
        files
            .filter(|path| has_word(&code_of(&read(path)), "unsafe"))
            .map(|path| format!("{}: `unsafe` outside {}", shown(&path), UNSAFE.join(", "))),
    );
}

#[test]
fn files_are_short() {
    let files = files_under(&root(), &["rs", "py", "js", "css", "html", "sh"]);
    assert_none(files.iter().filter_map(|path| {
        let lines = read(path).lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines, at most {MAX_LINES}", shown(path)))
    }));
}

#[test]
fn crates_depend_in_one_direction() {
    let manifests = files_under(&root(), &["toml"]);
    let manifests = manifests.iter().filter(|path| path.ends_with("Cargo.toml"));
    let crates: Vec<_> = manifests
        .filter(|path| path.parent() != Some(&root()))
        .collect();
    assert!(crates.len() >= 5, "only {} manifests found", crates.len());
    assert_none(
        crates
            .iter()
            .flat_map(|path| wrong_dependencies(&read(path))),
    );
}

#[test]
fn every_dependency_is_in_the_architecture() {
    let path = root().join("ARCHITECTURE.md");
    if !path.exists() {
        eprintln!("skipped: there is no ARCHITECTURE.md yet");
        return;
    }
    let text = read(&path);
    assert_none(unnamed(&read(&root().join("Cargo.toml")), &text));
}

/// The place in `ORDER` of a path's first segments; `None` where the list does not have it.
fn rank(path: &[String]) -> Option<usize> {
    let place = |name: &str| ORDER.iter().position(|&module| module == name);
    let leaf = path.get(..2).and_then(|leaf| place(&leaf.join("::")));
    leaf.or_else(|| place(path.first()?))
}

/// `nn/lstm.rs` is the module `nn::lstm`, `data/mod.rs` is `data`.
fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    module.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
    module
}

/// What a file of the library imports from a module that is not to the left of its own.
fn wrong_imports(module: &[String], source: &str) -> Vec<String> {
    // The root only gathers the modules; what is free for all imports nothing but itself.
    if module.is_empty() || ["error", "names"].contains(&module[0].as_str()) {
        return Vec::new();
    }
    let own = module.join("::");
    let Some(own_rank) = rank(module) else {
        return vec![format!(
            "module `{own}` is not in the order of modules: add it there"
        )];
    };
    let wrong = |path: &Vec<String>| {
        let first = path.first()?;
        if FREE.contains(&first.as_str()) {
            return None;
        }
        match rank(path) {
            Some(rank) if rank <= own_rank => None,
            Some(rank) => Some(format!(
                "`{own}` imports `{}` of `{}`",
                path.join("::"),
                ORDER[rank]
            )),
            None => Some(format!(
                "`{own}` imports `{}`: name it by its module",
                path.join("::")
            )),
        }
    };
    let code = without_tests(&code_of(source));
    crate_paths(&code).iter().filter_map(wrong).collect()
}

/// What a manifest of a crate depends on and should not.
fn wrong_dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let name = manifest["package"]["name"]
        .as_str()
        .expect("a crate has a name");
    let Some((_, allowed)) = DEPENDENCIES.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "crate `{name}` has no place in the direction of dependencies"
        )];
    };
    let mut tables = vec![&manifest];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    tables.extend(
        targets
            .into_iter()
            .flatten()
            .filter_map(|(_, table)| table.as_table()),
    );
    let mut wrong = Vec::new();
    for table in tables {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(dependencies) = table.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            let ours = dependencies.iter().map(|(key, value)| package(key, value));
            let ours = ours.filter(|dep| DEPENDENCIES.iter().any(|(known, _)| known == dep));
            let dev = kind == "dev-dependencies";
            wrong.extend(
                ours.filter(|dep| !(allowed.contains(dep) || dev && *dep == TESTING))
                    .map(|dep| format!("`{name}` has `{dep}` among its {kind}")),
            );
        }
    }
    wrong
}

/// The name of the package, which is not the key's where a dependency is renamed.
fn package<'a>(key: &'a str, value: &'a toml::Value) -> &'a str {
    value
        .get("package")
        .and_then(toml::Value::as_str)
        .unwrap_or(key)
}

/// The workspace's dependencies that a text does not name in backticks.
fn unnamed(manifest: &str, text: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let dependencies = manifest["workspace"]["dependencies"]
        .as_table()
        .expect("a table");
    dependencies
        .keys()
        .filter(|name| !text.contains(&format!("`{name}`")))
        .map(|name| format!("ARCHITECTURE.md does not name `{name}`"))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the root")
        .to_owned()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files with one of the endings, less what is built, written by runs, or hidden.
fn files_under(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.expect("a folder's entry");
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().expect("a file has a type");
            let skipped = ["target", "runs", "node_modules"]
                .iter()
                .any(|&skip| name == skip);
            if kind.is_dir() && !skipped && !name.to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if kind.is_file()
                && endings
                    .iter()
                    .any(|&ending| path.extension().is_some_and(|e| e == ending))
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[track_caller]
fn assert_none(found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The checks check: each sees what it forbids.
mod checks {
    use super::*;

    fn wrong(module: &str, source: &str) -> Vec<String> {
        wrong_imports(&module_of(Path::new(module)), source)
    }

    #[test]
    fn imports_to_the_left_are_fine() {
        let source = "use crate::nn::{Lstm, Gru};\nuse crate::data::batch::Batch;\nuse crate::{Error, Result};";
        assert_none(wrong("models/language_model.rs", source));
        assert_none(wrong(
            "nn/lstm.rs",
            "use crate::nn::Linear; use crate::data::batch::Batch;",
        ));
        assert_none(wrong(
            "data/text.rs",
            "use crate::data::vocabulary::Vocabulary; use crate::data::open;",
        ));
        assert_none(wrong(
            "lab/mod.rs",
            "use crate::{run, train::{Trainer}, models::LanguageModel};",
        ));
        assert_none(wrong("lib.rs", "pub use crate::lab::Lab;"));
    }

    #[test]
    fn imports_to_the_right_are_seen_however_written() {
        for source in [
            "use crate::train::Trainer;",
            "use crate::{\n    nn::Lstm,\n    train::Trainer,\n};",
            "pub(crate) use crate::train;",
            "fn f(t: &crate::train::Trainer) {}",
            "use crate::nn; // fine\nuse crate::run::{self, Run};",
        ] {
            assert!(
                !wrong("models/classifier.rs", source).is_empty(),
                "{source}"
            );
        }
        assert_eq!(wrong("data/vocabulary.rs", "use crate::nn::Lstm;").len(), 1);
        assert_eq!(wrong("data/batch.rs", "use crate::data::Text;").len(), 1);
        assert_eq!(wrong("nn/lstm.rs", "use crate::data::Vocabulary;").len(), 1);
        assert_eq!(wrong("nn/lstm.rs", "use crate::LanguageModel;").len(), 1);
        assert_eq!(wrong("novel/mod.rs", "").len(), 1);
    }

    #[test]
    fn comments_strings_and_tests_import_nothing() {
        let source = r##"
            //! See [`crate::train::Trainer`].
            /* use crate::train; /* nested */ use crate::run; */
            const A: &str = "use crate::train;"; const B: &str = r#"crate::train "quoted""#;
            const C: char = '"'; const D: char = '\''; fn f<'a>(x: &'a str) {}
            #[cfg(test)]
            mod tests { use crate::train::Trainer; }
        "##;
        assert_none(wrong("nn/lstm.rs", source));
    }

    #[test]
    fn unsafe_is_a_word_of_code() {
        assert!(has_word(&code_of("fn f() { unsafe { g() } }"), "unsafe"));
        assert!(!has_word(
            &code_of("#![deny(unsafe_code)] // unsafe\nlet s = \"unsafe\";"),
            "unsafe"
        ));
    }

    #[test]
    fn a_turned_dependency_is_seen() {
        let manifest = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
        let library = manifest(
            "refrain",
            "[dependencies]\nrefrain-kernels.workspace = true\nserde = \"1\"\n\
             [dev-dependencies]\nrefrain-testing.workspace = true\n",
        );
        assert_none(wrong_dependencies(&library));
        for wrong in [
            manifest("refrain", "[dependencies]\nrefrain-cli.workspace = true\n"),
            manifest(
                "refrain",
                "[dependencies]\nrefrain-testing.workspace = true\n",
            ),
            manifest(
                "refrain-kernels",
                "[dev-dependencies]\nrefrain.workspace = true\n",
            ),
            manifest(
                "refrain-server",
                "[dependencies]\nx = { package = \"refrain-cli\", path = \".\" }\n",
            ),
            manifest(
                "refrain",
                "[target.'cfg(unix)'.dependencies]\nrefrain-cli.workspace = true\n",
            ),
            manifest("refrain-novel", ""),
        ] {
            assert_eq!(wrong_dependencies(&wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn an_unnamed_dependency_is_seen() {
        let manifest = "[workspace.dependencies]\nserde = \"1\"\nserde_json = \"1\"\n";
        assert_none(unnamed(manifest, "`serde` and `serde_json`"));
        assert_eq!(unnamed(manifest, "`serde_json`, serde").len(), 1);
    }
}
