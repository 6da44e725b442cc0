//! The documents say what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use refrain::models::{
    EncoderDecoder, Forecaster, ForecasterShape, InputShape, Labeller, LanguageModel, ModelConfig,
    Output,
};
use refrain::nn::{AttentionKind, CellKind, ForecastLoss, Parameter, Parameters as _};
use refrain::optim::OptimizerKind;
use refrain::run::forecast::{LINEAR_BIAS, LINEAR_WEIGHT};
use refrain::run::settings::{
    DEFAULTS, DefaultSetting, EVAL_EVERY_RANGE, EVALUATIONS_PER_EPOCH, Format, SAVE_EVERY_RANGE,
    SCOPES, Settings, Task, When,
};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the tables whose head begins with `head`, without the head, spaces cut off.
fn tables(text: &str, head: &str, width: usize) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with(head) {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|---") {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            assert_eq!(cells.len(), width + 2, "a `|` too many or too few: {line}");
            rows.push(cells[1..=width].to_vec());
        }
    }
    assert!(!rows.is_empty(), "docs/defaults.md has no table `{head}`");
    rows
}

fn setting(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn listed<T: Copy + std::fmt::Display>(all: &[T]) -> String {
    let all: Vec<_> = all.iter().map(|one| format!("`{one}`")).collect();
    all.join(", ")
}

/// Which tasks, cells, optimisers and tokens have a setting, as the table says it.
struct Only {
    tasks: Vec<Task>,
    cells: Vec<CellKind>,
    optimizers: Vec<OptimizerKind>,
    words: bool,
}

impl Only {
    fn of(key: &str) -> Self {
        let mut only = Self {
            tasks: Task::ALL.to_vec(),
            cells: CellKind::ALL.to_vec(),
            optimizers: OptimizerKind::ALL.to_vec(),
            words: false,
        };
        for scope in SCOPES.iter().filter(|scope| scope.keys.contains(&key)) {
            let holds = |list: &[Task], one: &Task| list.is_empty() || list.contains(one);
            only.tasks.retain(|task| holds(scope.tasks, task));
            let holds = |list: &[CellKind], one: &CellKind| list.is_empty() || list.contains(one);
            only.cells.retain(|cell| holds(scope.cells, cell));
            only.optimizers
                .retain(|kind| scope.optimizers.is_empty() || scope.optimizers.contains(kind));
            only.words |= scope.words;
        }
        only
    }

    fn said(&self) -> String {
        let mut parts = Vec::new();
        if self.tasks.len() < Task::ALL.len() {
            parts.push(listed(&self.tasks));
        }
        for (name, some, list) in [
            (
                "cell",
                self.cells.len() < CellKind::ALL.len(),
                listed(&self.cells),
            ),
            (
                "optimizer",
                self.optimizers.len() < OptimizerKind::ALL.len(),
                listed(&self.optimizers),
            ),
            ("token", self.words, "`word`".to_owned()),
        ] {
            let s = if list.contains(',') || name == "token" {
                "s"
            } else {
                ""
            };
            parts.extend(some.then(|| format!("{name}{s} {list}")));
        }
        parts.join("; ")
    }
}

/// The defaults of a setting, as the table says them: with what they hold for, unless all that have the setting share it.
fn defaults_of(key: &str) -> String {
    let only = Only::of(key);
    let rows = DEFAULTS.iter().filter(|row| row.key == key);
    let one = |row: &DefaultSetting| {
        let mut said = format!("`{}`", row.value);
        match row.when {
            When::Cell(cell) if only.cells != [cell] => said += &format!(" with `{cell}`"),
            When::Optimizer(kind) if only.optimizers != [kind] => {
                said += &format!(" with `{kind}`");
            }
            When::Words if !only.words => said += " with `word`",
            _ => {}
        }
        if !row.tasks.is_empty() && row.tasks != only.tasks {
            said += &format!(" for {}", listed(row.tasks).replace(", ", " and "));
        }
        said
    };
    rows.map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_of_settings_is_true() {
    let text = read("docs/defaults.md");
    let rows = tables(&text, "| setting |", 4);
    let documented: BTreeMap<_, _> = rows.iter().map(|row| (setting(&row[0]), row)).collect();
    assert_eq!(documented.len(), rows.len(), "a setting stands there twice");
    for &key in Settings::KEYS.iter().filter(|&&key| key != "task") {
        let row = documented
            .get(key)
            .unwrap_or_else(|| panic!("docs/defaults.md has no row `{key}`"));
        assert_eq!(row[1], Only::of(key).said(), "who has `{key}`");
        // Beside what the code says, words about what follows from the data.
        let default = row[2].split("; ").next().unwrap_or_default();
        assert_eq!(default, defaults_of(key), "the default of `{key}`");
    }
    for key in documented.keys() {
        assert!(
            Settings::KEYS.contains(&key.as_str()),
            "docs/defaults.md has a row `{key}`, which is no setting"
        );
    }
}

#[test]
fn the_table_of_the_demos_is_true() {
    let text = read("docs/defaults.md");
    let head =
        "| in the demo of | `lm` | `classify` | `tag` | `translate` | `caption` | `forecast` |";
    let mut found = BTreeMap::new();
    for row in tables(&text, head, 1 + Task::ALL.len()) {
        for (task, value) in Task::ALL.iter().zip(&row[1..]) {
            if !value.is_empty() {
                found.insert((task.name(), setting(&row[0])), setting(value));
            }
        }
    }
    let mut expected = BTreeMap::new();
    for &task in Task::ALL {
        let demo = serde_json::to_value(Settings::demo(task).unwrap()).unwrap();
        for (key, value) in demo.as_object().unwrap() {
            if key != "task" {
                expected.insert((task.name(), key.clone()), value.to_string());
            }
        }
    }
    assert_eq!(found, expected);
}

/// Every model that there is: each kind of input, each body, with all that adds tensors.
fn tensor_names() -> BTreeSet<String> {
    let shapes = [
        InputShape::Tokens(5),
        InputShape::Words {
            vocab_size: 5,
            characters: 4,
        },
        InputShape::Vectors {
            features: 3,
            seq_len: None,
        },
        InputShape::Frames {
            height: 16,
            width: 16,
            channels: 1,
        },
    ];
    let mut names = BTreeSet::new();
    let mut add = |parameter: &Parameter<f32>| {
        // A decoder's layers are those of other models with a name before theirs.
        let name = parameter.name.as_str();
        let own = name.strip_prefix("decoder.");
        let own = own.filter(|own| !own.starts_with("bridge."));
        names.insert(general(own.unwrap_or(name)));
    };
    for cell in CellKind::ALL {
        let recurrent = *cell != CellKind::Mlp;
        let config = ModelConfig {
            cell: *cell,
            hidden_size: 2,
            num_layers: 2,
            embedding_size: 2,
            bidirectional: recurrent,
            layer_norm: recurrent,
            batch_norm: recurrent,
            ..ModelConfig::default()
        };
        for shape in &shapes {
            for output in [Output::Steps, Output::Sequence] {
                let model = Labeller::<f32>::zeros(&config, shape, output, 3);
                model.visit(&mut |parameter| add(parameter));
                model.visit_buffers(&mut |buffer| add(buffer));
            }
        }
        let shape = ForecasterShape {
            input: InputShape::Vectors {
                features: 3,
                seq_len: Some(4),
            },
            output: Output::Sequence,
            horizon: 2,
            targets: 1,
            loss: ForecastLoss::Mse,
            shortcut: vec![0],
        };
        Forecaster::<f32>::zeros(&config, &shape).visit(&mut |parameter| add(parameter));
        for &attention in AttentionKind::ALL {
            let config = ModelConfig {
                attention: if recurrent {
                    attention
                } else {
                    AttentionKind::None
                },
                batch_norm: false,
                ..config.clone()
            };
            let reads = [(&shapes[0], Output::Steps), (&shapes[3], Output::Features)];
            for (shape, output) in reads {
                let model = EncoderDecoder::<f32>::zeros(&config, shape, output, 5);
                model.decoder.visit_all(&mut |parameter| add(parameter));
            }
        }
        let config = ModelConfig {
            bidirectional: false,
            ..config
        };
        let model = LanguageModel::<f32>::zeros(&config, 5);
        model.visit_all(&mut |parameter| add(parameter));
    }
    names.extend([LINEAR_WEIGHT, LINEAR_BIAS].map(str::to_owned));
    names
}

/// A tensor's name with `{k}` for the number of its layer and without its direction.
fn general(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name.replace("_reverse", "");
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out += &rest[..at];
        out += "{k}";
        rest = rest[at..]
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .to_owned();
    }
    out + &rest
}

#[test]
fn the_table_of_tensors_is_true() {
    let text = read("docs/defaults.md");
    let rows = tables(&text, "| tensor |", 3);
    let documented: BTreeSet<_> = rows
        .iter()
        .flat_map(|row| row[0].split(", ").map(setting))
        .collect();
    assert_eq!(documented, tensor_names());
}

#[test]
fn every_format_is_described() {
    let text = read("docs/defaults.md");
    let described: BTreeSet<_> = tables(&text, "| format | by the ending |", 3)
        .iter()
        .map(|row| setting(&row[0]))
        .collect();
    let formats: BTreeSet<_> = Format::NAMES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(described, formats);
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
