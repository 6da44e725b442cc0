//! `refrain info`.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use refrain::Error;
use refrain::data::encoding::Input;
use refrain::data::forecast::{ForecastEncoding, ForecastMode};
use refrain::data::{Encoding, TokenKind, Vocabulary};
use refrain::nn::{Parameter, Parameters as _};
use refrain::run::forecast::input_json;
use refrain::run::model::AnyModel;
use refrain::run::settings::Resolved;
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

use crate::args::InfoArgs;
use crate::commands::drawings;
use crate::context::{Context as Surroundings, Talk};
use crate::errors::Exit;
use crate::escape::visible;
use crate::output::Output;
use crate::table::{Align, Table, thousands};

/// Columns of a line.
const WIDTH: usize = 80;
/// Lines of the vocabulary without `--verbose`.
const VOCABULARY_LINES: usize = 3;
/// Settings that stand in a row beside each other.
const INDENT: &str = "  ";

/// One array of the model.
struct Row {
    name: String,
    shape: Vec<usize>,
    count: u64,
    /// It is the embedding's weight again.
    tied: bool,
}

/// What is told of a model of any task.
struct Told<'a> {
    path: &'a Path,
    config: &'a Resolved,
    trained: &'a Map<String, Value>,
    rows: Vec<Row>,
    /// Trainable numbers.
    total: u64,
    vocabulary: Option<&'a Vocabulary>,
    /// What it writes, where that is another.
    target: Option<&'a Vocabulary>,
    /// What a labeller reads and tells apart.
    encoding: Option<&'a Encoding>,
    /// What a forecaster reads.
    forecast: Option<&'a ForecastEncoding>,
}

impl<'a> Told<'a> {
    fn new(model: &'a AnyModel) -> Self {
        let mut rows = Vec::new();
        let mut row = |parameter: &Parameter<f32>, tied: bool| {
            rows.push(Row {
                name: parameter.name.clone(),
                shape: parameter.shape.clone(),
                count: parameter.len() as u64,
                tied,
            });
        };
        match model {
            AnyModel::LanguageModel(loaded) => {
                let tied = loaded.model.config.tie_weights;
                loaded.model.visit_all(&mut |parameter| {
                    row(parameter, tied && parameter.name == "linear.weight");
                });
                Self {
                    path: &loaded.path,
                    config: &loaded.config,
                    trained: &loaded.trained,
                    rows,
                    total: loaded.model.parameter_count() as u64,
                    vocabulary: Some(&loaded.vocabulary),
                    target: None,
                    encoding: None,
                    forecast: None,
                }
            }
            AnyModel::Forecaster(loaded) => {
                loaded.model.visit(&mut |parameter| row(parameter, false));
                loaded.model.visit_buffers(&mut |buffer| row(buffer, false));
                Self {
                    path: &loaded.path,
                    config: &loaded.config,
                    trained: &loaded.trained,
                    rows,
                    total: loaded.model.parameter_count() as u64,
                    vocabulary: None,
                    target: None,
                    encoding: None,
                    forecast: Some(&loaded.encoding),
                }
            }
            AnyModel::Labeller(loaded) => {
                loaded.model.visit(&mut |parameter| row(parameter, false));
                loaded.model.visit_buffers(&mut |buffer| row(buffer, false));
                Self {
                    path: &loaded.path,
                    config: &loaded.config,
                    trained: &loaded.trained,
                    rows,
                    total: loaded.model.parameter_count() as u64,
                    vocabulary: loaded.encoding.vocabulary(),
                    target: None,
                    encoding: Some(&loaded.encoding),
                    forecast: None,
                }
            }
            AnyModel::Writer(loaded) => {
                let tied = loaded.model.config.tie_weights;
                loaded.model.visit_all(&mut |parameter| {
                    row(parameter, tied && parameter.name == "linear.weight");
                });
                loaded.model.visit_buffers(&mut |buffer| row(buffer, false));
                Self {
                    path: &loaded.path,
                    config: &loaded.config,
                    trained: &loaded.trained,
                    rows,
                    total: loaded.model.parameter_count() as u64,
                    vocabulary: loaded.encoding.source.vocabulary(),
                    target: Some(&loaded.encoding.target),
                    encoding: Some(&loaded.encoding.source),
                    forecast: None,
                }
            }
        }
    }

    /// The settings as the model file keeps them.
    fn settings(&self) -> anyhow::Result<Map<String, Value>> {
        let config = serde_json::to_value(self.config.model_config_json())?;
        let Value::Object(config) = config else {
            anyhow::bail!("the settings are not an object");
        };
        Ok(config)
    }

    fn object(&self, file_bytes: u64) -> anyhow::Result<Value> {
        let own = self.rows.iter().filter(|row| !row.tied);
        let mut parameters: Map<String, Value> = own
            .map(|row| (row.name.clone(), row.count.into()))
            .collect();
        parameters.insert("total".into(), self.total.into());
        let shapes: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| (row.name.clone(), json!(row.shape)))
            .collect();
        let path = self.path.to_str().context("the path is not UTF-8")?;
        let mut object = json!({
            "path": path,
            "file_bytes": file_bytes,
            "task": self.config.task,
            "cell": self.config.model.cell,
            "parameters": parameters,
            "shapes": shapes,
            "config": self.settings()?,
            "vocabulary_size": self.target.or(self.vocabulary).map_or(0, Vocabulary::len),
            "trained": self.trained,
        });
        match (self.vocabulary, self.target) {
            (Some(source), Some(target)) => {
                object["vocabulary"] =
                    json!({"source": source.to_json(), "target": target.to_json()});
            }
            (Some(vocabulary), None) | (None, Some(vocabulary)) => {
                object["vocabulary"] = vocabulary.to_json();
            }
            (None, None) => {}
        }
        if let Some(encoding) = self.encoding {
            object["labels"] = json!(encoding.labels);
            object["input"] = encoding.to_json();
        }
        if let Some(encoding) = self.forecast {
            object["input"] = input_json(encoding);
            object["standardisation"] = serde_json::to_value(&*encoding.scale)?;
        }
        Ok(object)
    }
}

pub(crate) fn run(args: &InfoArgs, context: &mut Surroundings) -> anyhow::Result<Exit> {
    let model = AnyModel::open(&args.model)?;
    let graph = model.graph();
    if let Some(path) = &args.plot {
        drawings::check(path)?;
        drawings::write(path, graph.to_svg()?)?;
    }
    let told = Told::new(&model);
    let file_bytes = std::fs::metadata(told.path)
        .map_err(|source| Error::Io {
            action: "read",
            path: told.path.to_owned(),
            source,
        })?
        .len();
    if context.json {
        let mut object = told.object(file_bytes)?;
        object["graph"] = graph.to_json();
        context.out.json(&object)?;
        return Ok(Exit::Done);
    }
    let out = &mut context.out;
    let path = told.path.display().to_string();
    writeln!(out, "{}  ({})\n", visible(&path), bytes(file_bytes))?;
    writeln!(out, "{}", graph.to_text())?;
    write!(out, "{}", layers(&told.rows, told.total))?;
    let most = match context.talk {
        Talk::Verbose => usize::MAX,
        Talk::Silent | Talk::Normal => VOCABULARY_LINES,
    };
    let source = if told.target.is_some() {
        "vocabulary of the sources"
    } else {
        "vocabulary"
    };
    let vocabularies = [
        (source, told.vocabulary),
        ("vocabulary of what is written", told.target),
    ];
    for (name, vocabulary) in vocabularies {
        let Some(vocabulary) = vocabulary else {
            continue;
        };
        writeln!(out, "\n{name}: {}", vocabulary_title(vocabulary))?;
        for line in vocabulary_lines(vocabulary, most) {
            writeln!(out, "{INDENT}{line}")?;
        }
    }
    if let Some(encoding) = told.encoding {
        writeln!(out, "\ninput: {}", input_title(encoding))?;
    }
    if let Some(encoding) = told.encoding.filter(|_| told.target.is_none()) {
        writeln!(out, "\nlabels: {}", thousands(encoding.labels.len() as u64))?;
        let labels = encoding
            .labels
            .iter()
            .map(|label| visible(label).replace('\n', "\\n"));
        for line in folded(labels, most) {
            writeln!(out, "{INDENT}{line}")?;
        }
    }
    if let Some(encoding) = told.forecast {
        write_forecast(out, encoding, most)?;
    }
    writeln!(out, "\nconfig")?;
    write_settings(out, &told.settings()?)?;
    writeln!(out, "\ntrained")?;
    if told.trained.is_empty() {
        writeln!(out, "{INDENT}nothing is known of it")?;
    }
    write_settings(out, told.trained)?;
    Ok(Exit::Done)
}

/// What a labeller reads.
fn input_title(encoding: &Encoding) -> String {
    let sizes = |shape: &[usize]| {
        let sizes: Vec<_> = shape.iter().map(ToString::to_string).collect();
        sizes.join(" x ")
    };
    match &encoding.input {
        Input::Texts(_) => "texts".into(),
        Input::Words(_, None) => "sentences of tokens".into(),
        Input::Words(_, Some(alphabet)) => {
            format!(
                "sentences of tokens, spelt with {} characters",
                thousands(alphabet.len() as u64)
            )
        }
        Input::Numbers(numbers) if numbers.frames && numbers.shape[0] == 1 => {
            format!(
                "pictures of {} (height, width, channels)",
                sizes(&numbers.shape[1..])
            )
        }
        Input::Numbers(numbers) if numbers.frames => {
            format!(
                "video, frames of {} (height, width, channels)",
                sizes(&numbers.shape[1..])
            )
        }
        Input::Numbers(numbers) if numbers.shape.len() == 3 => {
            format!(
                "pictures of {} (height, width, channels), row by row",
                sizes(&numbers.shape)
            )
        }
        Input::Numbers(numbers) => format!("vectors of {} numbers a step", numbers.shape[1]),
    }
}

/// What a forecaster reads and predicts.
fn write_forecast(
    out: &mut Output,
    encoding: &ForecastEncoding,
    most: usize,
) -> anyhow::Result<()> {
    let features = encoding.features;
    let (input, answer) = match encoding.mode {
        ForecastMode::Windows { context, horizon } => (
            format!("the last {context} steps of {features} numbers"),
            format!("the next {horizon} steps"),
        ),
        ForecastMode::NextStep {} => (
            format!("sequences of steps of {features} numbers"),
            "each step from those before it".into(),
        ),
        ForecastMode::Given { per_step } => (
            format!("sequences of steps of {features} numbers"),
            format!(
                "numbers of each {}",
                if per_step { "step" } else { "sequence" }
            ),
        ),
    };
    writeln!(out, "\ninput: {input}")?;
    writeln!(
        out,
        "\npredicted: {answer}, {} numbers each",
        encoding.targets.len()
    )?;
    let names = (0..encoding.targets.len()).map(|target| encoding.target_name(target));
    for line in folded(names.map(|name| visible(&name).replace('\n', "\\n")), most) {
        writeln!(out, "{INDENT}{line}")?;
    }
    if let Some(season) = encoding.baselines.season {
        writeln!(out, "\nseason: {season} steps")?;
    }
    Ok(())
}

fn layers(rows: &[Row], total: u64) -> Table {
    let mut table = Table::new([Align::Left, Align::Left, Align::Right]);
    table.row(["layer", "shape", "parameters"].map(Into::into));
    for row in rows {
        let shape: Vec<_> = row.shape.iter().map(ToString::to_string).collect();
        let count = match row.tied {
            true => "tied".into(),
            false => thousands(row.count),
        };
        table.row([row.name.clone(), shape.join(" x "), count]);
    }
    table.row(["total".into(), String::new(), thousands(total)]);
    table
}

fn vocabulary_title(vocabulary: &Vocabulary) -> String {
    match (vocabulary.kind(), vocabulary.len()) {
        (TokenKind::Char, 1) => "1 character".into(),
        (TokenKind::Char, count) => format!("{} characters", thousands(count as u64)),
        (TokenKind::Byte, count) => format!("the {count} bytes"),
        (TokenKind::Word, count) => format!("{} words", thousands(count as u64)),
        (TokenKind::Bpe(_), count) => format!("{} pieces of words", thousands(count as u64)),
    }
}

/// The tokens but bytes, those that cannot be seen written out, in at most `most` lines.
fn vocabulary_lines(vocabulary: &Vocabulary, most: usize) -> Vec<String> {
    if vocabulary.kind() == TokenKind::Byte {
        return Vec::new();
    }
    let tokens = (0..vocabulary.len() as u32).map(|id| vocabulary.token_text(id));
    folded(tokens, most)
}

/// Words side by side in at most `most` lines.
fn folded(words: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        // Room for ` ...` in the last line.
        let room = WIDTH - INDENT.len() - 4;
        let at = lines.len() - 1;
        if lines[at].width() + 1 + word.width() <= room {
            if !lines[at].is_empty() {
                lines[at].push(' ');
            }
            lines[at] += &word;
        } else if lines.len() == most {
            lines[at] += " ...";
            break;
        } else {
            lines.push(word);
        }
    }
    lines
}

fn write_settings(out: &mut Output, settings: &Map<String, Value>) -> anyhow::Result<()> {
    let mut table = Table::new([Align::Left, Align::Left]);
    for (key, value) in settings {
        let line = |text: &str| visible(text).replace('\n', "\\n");
        let mut row = |key: &str, value: &Value| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number_text(number),
                other => other.to_string(),
            };
            table.row([format!("{INDENT}{}", line(key)), line(&value)]);
        };
        match value {
            // A score has numbers of its own.
            Value::Object(parts) => {
                for (part, value) in parts {
                    row(&format!("{key} {part}"), value);
                }
            }
            value => row(key, value),
        }
    }
    write!(out, "{table}")?;
    Ok(())
}

/// Whole numbers whole, others with as many figures as they need, up to six.
fn number_text(number: &serde_json::Number) -> String {
    match (number.as_u64(), number.as_f64()) {
        (None, Some(float)) => {
            let rounded = format!("{float:.6}");
            let short = rounded.trim_end_matches('0').trim_end_matches('.');
            // Nothing of a tiny number would be left.
            let gone = short.trim_start_matches('-') == "0" && float != 0.0;
            if gone {
                number.to_string()
            } else {
                short.into()
            }
        }
        _ => number.to_string(),
    }
}

/// `512 bytes`, `12.3 kB`, `4.5 MB`.
fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_vocabulary_is_cut_short() {
        let many = ('a'..='z').chain('가'..='걿').chain(['\n', '\u{1b}', ' ']);
        let vocabulary = Vocabulary::from_chars(many).unwrap();
        let lines = vocabulary_lines(&vocabulary, 2);
        assert_eq!(lines.len(), 2);
        assert!(
            lines.iter().all(|line| line.width() <= WIDTH - 2),
            "{lines:?}"
        );
        assert!(lines[1].ends_with(" ..."), "{lines:?}");
        let all = vocabulary_lines(&vocabulary, usize::MAX);
        assert!(all.concat().ends_with("\\n \\u{1b} \u{2423}"), "{all:?}");
        assert!(vocabulary_lines(&Vocabulary::bytes(), 3).is_empty());
    }

    #[test]
    fn numbers_are_short_but_never_nothing() {
        let text = |value: Value| match value {
            Value::Number(number) => number_text(&number),
            _ => String::new(),
        };
        let shown = [
            json!(3),
            json!(-2),
            json!(1.0),
            json!(0.25),
            json!(1.234_567_89),
            json!(1e-9),
            json!(0.0),
        ]
        .map(text);
        assert_eq!(shown, ["3", "-2", "1", "0.25", "1.234568", "1e-9", "0"]);
        assert_eq!(
            [12, 1_234, 5_678_901].map(bytes),
            ["12 bytes", "1.2 kB", "5.7 MB"]
        );
    }
}
