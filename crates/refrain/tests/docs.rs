//! The documents say what the code does.

use std::collections::BTreeMap;
use std::path::Path;

use refrain::run::settings::{
    DEFAULTS, EVAL_EVERY_RANGE, EVALUATIONS_PER_EPOCH, SAVE_EVERY_RANGE, Settings, Task, When,
};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of the tables of settings: what it holds for, the default, the demo's value.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    when: String,
    default: String,
    demo: String,
}

/// The rows of docs/defaults.md by setting.
fn documented() -> BTreeMap<String, Vec<Row>> {
    let mut settings: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let text = read("docs/defaults.md");
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("| setting |") {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|---") {
            let cells: Vec<_> = line
                .split('|')
                .map(|cell| cell.trim().replace('`', ""))
                .collect();
            assert_eq!(cells.len(), 7, "a `|` too many or too few: {line}");
            settings.entry(cells[1].clone()).or_default().push(Row {
                when: cells[2].clone(),
                default: cells[3].clone(),
                demo: cells[4].clone(),
            });
        }
    }
    settings
}

fn when(when: When) -> String {
    match when {
        When::Always => String::new(),
        When::Words => "tokens word".into(),
        When::Cell(cell) => format!("cell {cell}"),
        When::Optimizer(optimizer) => format!("optimizer {optimizer}"),
    }
}

#[test]
fn the_table_of_defaults_is_true() {
    let documented = documented();
    for &key in Settings::KEYS.iter().filter(|&&key| key != "task") {
        let rows = documented
            .get(key)
            .unwrap_or_else(|| panic!("docs/defaults.md has no row `{key}`"));
        let found: Vec<_> = rows
            .iter()
            .filter(|row| !row.default.is_empty())
            .map(|row| (row.when.clone(), row.default.clone()))
            .collect();
        let expected: Vec<_> = DEFAULTS
            .iter()
            .filter(|row| row.key == key)
            .map(|row| (when(row.when), row.value.to_owned()))
            .collect();
        assert_eq!(found, expected, "`{key}` in docs/defaults.md");
    }
    for key in documented.keys() {
        assert!(
            Settings::KEYS.contains(&key.as_str()),
            "docs/defaults.md has a row `{key}`, which is no setting"
        );
    }
}

#[test]
fn the_column_of_the_demo_is_true() {
    let demo = serde_json::to_value(Settings::demo(Task::Lm).unwrap()).unwrap();
    for (key, rows) in documented() {
        let expected = demo.get(&key).map_or_else(String::new, ToString::to_string);
        for row in rows {
            assert_eq!(
                row.demo, expected,
                "`{key}` of the demo in docs/defaults.md"
            );
        }
    }
}

#[test]
fn the_intervals_are_true() {
    let text = read("docs/defaults.md").replace('\n', " ");
    let (fewest, most) = EVAL_EVERY_RANGE;
    for sentence in [
        format!(
            "{EVALUATIONS_PER_EPOCH} scores a pass, no less than {fewest} and no more than {most} steps apart"
        ),
        format!(
            "one pass apart, no less than {} and no more than {} steps",
            SAVE_EVERY_RANGE.0, SAVE_EVERY_RANGE.1
        ),
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&text).contains(&sentence),
            "docs/defaults.md lacks: {sentence}"
        );
    }
}

/// The README's Rust is the example at the root of the library's documentation, which runs as a doctest.
#[test]
fn the_rust_of_the_readme_runs() {
    let readme = read("README.md");
    let shown = readme
        .split("```rust\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let library = read("crates/refrain/src/lib.rs");
    let docs = library.split("//! ```\n").nth(1).unwrap();
    let lines = docs.lines().map(|line| line.trim_start_matches("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let run: Vec<_> = lines.filter(|line| !line.starts_with("# ")).collect();
    assert_eq!(shown.lines().collect::<Vec<_>>(), run);
}
