//! Whole trainings beside PyTorch: the same data, settings and seeds, one engine after the other.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Arguments, Engine, cpu_model, figure, refrain_program};
use crate::data;
use crate::stages::{root, shown, target};
use crate::table::table;

/// Pictures to learn from and to validate with, of the 60,000 that there are.
const PICTURES: [usize; 2] = [12_000, 2_000];
/// Bytes in front of the pictures and of the labels.
const IDX_HEADERS: [usize; 2] = [16, 8];
/// Pairs of sentences to learn from, of the 29,000 that there are.
const PAIRS: usize = 10_000;

/// A training to measure. Each run is a matter of seconds or some tens of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Task {
    /// Sentences of films (sst2), positive or negative: words, a bidirectional LSTM
    Classify,
    /// English sentences (ud_ewt), a part of speech for every word: words with their spelling, a bidirectional LSTM
    Tag,
    /// Digits (mnist, a fifth of it) read row by row
    Pictures,
    /// Clips of a mouth (grid_video), a slot for every frame: convolutions, a bidirectional LSTM
    Video,
    /// Load and temperature of a transformer (ett), the next day of four: an LSTM with a linear shortcut
    Forecast,
    /// Sentences of English (multi30k, a third of it) to German: words, a bidirectional LSTM, attention, an LSTM
    Translate,
    /// Names of drawings (emoji): convolutions, an LSTM
    Caption,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of a task.
struct Files {
    train: PathBuf,
    /// The targets of parallel files; those of the other parts lie beside their sources.
    target: Option<PathBuf>,
    /// The pictures that captions are of.
    images: Option<PathBuf>,
    validation: PathBuf,
    test: PathBuf,
}

impl Task {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::Pictures => "pictures",
            Self::Video => "video",
            Self::Forecast => "forecast",
            Self::Translate => "translate",
            Self::Caption => "caption",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Classify => "classify.py",
            Self::Tag | Self::Video => "tag.py",
            Self::Pictures => "pictures.py",
            Self::Forecast => "forecast.py",
            Self::Translate | Self::Caption => "writers.py",
        }
    }

    /// What Refrain is told beside the data; all else is a default.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Classify => &["--format", "label-first", "--epochs", "4"],
            Self::Tag => &["--epochs", "2"],
            Self::Pictures => &["--epochs", "3"],
            Self::Video => &["--epochs", "6", "--batch", "8"],
            Self::Forecast => &["--epochs", "3"],
            Self::Translate => &["--tokens", "word", "--min-count", "2", "--epochs", "3"],
            // What is random is random in another way on the other side: only what both do is compared.
            Self::Caption => &["--epochs", "3", "--augment=false"],
        }
    }

    fn refrain_task(self) -> &'static str {
        match self {
            Self::Classify | Self::Pictures => "classify",
            Self::Tag | Self::Video => "tag",
            Self::Forecast => "forecast",
            Self::Translate => "translate",
            Self::Caption => "caption",
        }
    }

    /// The data as plain files that both sides read.
    fn files(self) -> Result<Files> {
        let folder = target().join("bench").join(self.name());
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let unpack = |set: &str, name: String, to: String| -> Result<PathBuf> {
            let bytes = data::unpacked(set, &name)?;
            save(folder.join(to), &bytes)
        };
        match self {
            Self::Classify => {
                let file = |part: &str| {
                    let name = format!("stsa.binary.{part}.zst");
                    unpack("sst2", name, format!("{part}.txt"))
                };
                Files::of(file, ["train", "dev", "test"])
            }
            Self::Tag => {
                let file = |part: &str| {
                    let name = format!("{part}.tsv.zst");
                    unpack("ud_ewt", name, format!("{part}.tsv"))
                };
                Files::of(file, ["train", "dev", "test"])
            }
            Self::Pictures => pictures(&folder),
            Self::Video => {
                data::converted("grid_video", &folder)?;
                let file = |part: &str| Ok(folder.join(format!("slots.{part}.npz")));
                Files::of(file, ["train", "val", "test"])
            }
            Self::Forecast => {
                data::converted("ett", &folder)?;
                // Parts of the series itself.
                let part = |name: &str| match name {
                    "train" => Ok(folder.join("ETTh1.csv")),
                    fraction => Ok(fraction.into()),
                };
                Files::of(part, ["train", "0.2", "0.2"])
            }
            Self::Translate => {
                let file = |part: &str, language: &str| -> Result<PathBuf> {
                    let bytes = data::unpacked("multi30k", &format!("{part}.{language}.zst"))?;
                    save(
                        folder.join(format!("{part}.{language}")),
                        lines(&bytes, PAIRS),
                    )
                };
                let parts = ["train", "val", "test_2016_flickr"];
                let target = file("train", "de")?;
                for part in &parts[1..] {
                    file(part, "de")?;
                }
                Ok(Files {
                    target: Some(target),
                    ..Files::of(|part| file(part, "en"), parts)?
                })
            }
            Self::Caption => {
                data::converted("emoji", &folder)?;
                let file = |part: &str| Ok(folder.join(format!("captions.{part}.en.tsv")));
                Ok(Files {
                    images: Some(folder.join("noto.npz")),
                    ..Files::of(file, ["train", "val", "test"])?
                })
            }
        }
    }

    /// Where the score that is compared stands: of the test part with the best weights, or of the validation part after the
    /// last step where engines choose the best by different measures.
    fn scored_part(self) -> &'static str {
        match self {
            Self::Translate | Self::Caption => "last",
            _ => "test",
        }
    }

    /// The score that is compared, by its name in a last line.
    fn score_name(self) -> &'static str {
        match self {
            Self::Forecast => "mse",
            Self::Translate | Self::Caption => "loss_nats",
            _ => "accuracy",
        }
    }

    /// A score as it is shown.
    fn shown(self, score: f64) -> String {
        match self {
            Self::Forecast | Self::Translate | Self::Caption => format!("{score:.4}"),
            _ => format!("{:.1}", 100.0 * score),
        }
    }
}

impl Files {
    fn of(file: impl Fn(&str) -> Result<PathBuf>, parts: [&str; 3]) -> Result<Self> {
        Ok(Self {
            train: file(parts[0])?,
            target: None,
            images: None,
            validation: file(parts[1])?,
            test: file(parts[2])?,
        })
    }

    /// The command line from the training part on, alike for both sides.
    fn give(&self, command: &mut Command) {
        command.arg(&self.train).args(&self.target);
        if let Some(images) = &self.images {
            command.arg("--images").arg(images);
        }
        command.arg("--validation").arg(&self.validation);
        command.arg("--test").arg(&self.test);
    }
}

fn save(path: PathBuf, bytes: &[u8]) -> Result<PathBuf> {
    fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

/// The first lines of a text.
fn lines(text: &[u8], count: usize) -> &[u8] {
    let breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let end = breaks.map(|(at, _)| at + 1).nth(count - 1);
    &text[..end.unwrap_or(text.len())]
}

/// The first pictures of MNIST's training part, some to learn from and some to validate with, and its test part.
fn pictures(folder: &Path) -> Result<Files> {
    let mut found = Vec::new();
    for (part, of, from, count) in [
        ("train", "train", 0, Some(PICTURES[0])),
        ("validation", "train", PICTURES[0], Some(PICTURES[1])),
        ("test", "t10k", 0, None),
    ] {
        for (kind, header) in ["images-idx3", "labels-idx1"].into_iter().zip(IDX_HEADERS) {
            let name = format!("{of}-{kind}-ubyte.gz");
            let all = data::unpacked("mnist", &name)?;
            let cut = idx_part(&all, header, from, count)
                .with_context(|| format!("`{name}` is not as MNIST has it"))?;
            let path = save(folder.join(format!("{part}-{kind}-ubyte")), &cut)?;
            if kind == "images-idx3" {
                found.push(path);
            }
        }
    }
    Files::of(
        |part| {
            let starts = |path: &&PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(part)
            };
            found.iter().find(starts).cloned().context("no such part")
        },
        ["train", "validation", "test"],
    )
}

/// Some items of an IDX file of bytes, as an IDX file; without a count all from the first on.
fn idx_part(all: &[u8], header: usize, from: usize, count: Option<usize>) -> Result<Vec<u8>> {
    let size = |at: usize| -> Result<usize> {
        let bytes = all.get(at..at + 4).context("it is cut short")?;
        Ok(bytes
            .iter()
            .fold(0, |size, &byte| size << 8 | usize::from(byte)))
    };
    let held = size(4)?;
    let count = count.unwrap_or(held.saturating_sub(from));
    let mut item = 1;
    for at in (8..header).step_by(4) {
        item *= size(at)?;
    }
    let range = header + from * item..header + (from + count) * item;
    let items = all.get(range).context("it has too few items")?;
    let mut part = all[..header].to_vec();
    part[4..8].copy_from_slice(&(count as u32).to_be_bytes());
    part.extend_from_slice(items);
    Ok(part)
}

/// What one engine reached with one seed.
#[derive(Clone, Debug, PartialEq)]
struct Reached {
    score: f64,
    /// Seconds of training in each whole epoch; scoring is left out.
    epochs: Vec<f64>,
}

/// What one engine reached with all seeds.
struct Series {
    engine: Engine,
    reached: Vec<Reached>,
}

impl Series {
    fn scores(&self) -> Vec<f64> {
        self.reached.iter().map(|one| one.score).collect()
    }

    fn seconds(&self) -> Vec<f64> {
        let epochs = self.reached.iter().flat_map(|one| &one.epochs);
        epochs.copied().collect()
    }

    fn to_json(&self, task: Task) -> Value {
        let seconds = self.seconds();
        let mut object = json!({
            "seconds_per_epoch": median(&seconds),
            "epochs": self.reached.iter().map(|one| &one.epochs).collect::<Vec<_>>(),
        });
        let name = format!("{}_{}", task.scored_part(), task.score_name());
        object[name] = json!(self.scores());
        object
    }
}

/// A task under one load: Refrain first.
struct Comparison {
    task: Task,
    beside_load: bool,
    series: Vec<Series>,
}

pub(super) fn run(tasks: &[Task], python: &Path, arguments: &Arguments) -> Result<()> {
    let mut engines = vec![Engine::Refrain, Engine::Torch];
    if arguments.passive {
        engines.push(Engine::TorchPassive);
    }
    let loads: &[bool] = if arguments.beside_load {
        &[false, true]
    } else {
        &[false]
    };
    let mut results = Vec::new();
    for &task in tasks {
        let files = task.files()?;
        for &beside_load in loads {
            let load = beside_load.then(Load::start);
            let new = |&engine| Series {
                engine,
                reached: Vec::new(),
            };
            let mut series: Vec<Series> = engines.iter().map(new).collect();
            for seed in 1..=arguments.seeds {
                for one in &mut series {
                    eprintln!(
                        "{task}: seed {seed} of {}, {}",
                        arguments.seeds,
                        one.engine.label()
                    );
                    let reached = measure(one.engine, task, &files, seed, python, arguments)?;
                    one.reached.push(reached);
                }
            }
            drop(load);
            results.push(Comparison {
                task,
                beside_load,
                series,
            });
        }
    }
    report(&results, arguments)
}

fn measure(
    engine: Engine,
    task: Task,
    files: &Files,
    seed: u32,
    python: &Path,
    arguments: &Arguments,
) -> Result<Reached> {
    let folder = target().join("bench").join(task.name());
    let run = folder.join("run");
    let settings = folder.join("settings.json");
    let threads = arguments.threads.to_string();
    if engine == Engine::Refrain {
        let mut command = Command::new(refrain_program());
        command.args(["train", task.refrain_task()]);
        files.give(&mut command);
        command.args(task.flags());
        command.args(["--seed", &seed.to_string(), "--threads", &threads, "--json"]);
        command.arg("--overwrite").arg("-o").arg(&run);
        let mut last = last_line(&mut command)?;
        let metrics = read(&run.join("metrics.jsonl"))?;
        last["last"] = last_validation(&metrics)?;
        let config = read(&run.join("config.toml"))?;
        let config: toml::Table = config.parse().context("a run's config.toml")?;
        save(settings, &serde_json::to_vec(&config)?)?;
        return Ok(Reached {
            score: score(task, &last)?,
            epochs: seconds_of_epochs(&metrics)?,
        });
    }
    let mut command = Command::new(python);
    command.arg(root().join("benches/against").join(task.script()));
    files.give(&mut command);
    // Refrain's run with this seed has just left its settings there.
    command.arg("--settings").arg(&settings);
    command.args(["--seed", &seed.to_string(), "--threads", &threads]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    if engine == Engine::TorchPassive {
        command.env("OMP_WAIT_POLICY", "passive");
    }
    let last = last_line(&mut command)?;
    let epochs = last["epochs"].as_array().into_iter().flatten();
    Ok(Reached {
        score: score(task, &last)?,
        epochs: epochs.filter_map(Value::as_f64).collect(),
    })
}

/// The last line that a command prints, an object of JSON.
fn last_line(command: &mut Command) -> Result<Value> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(
        output.status.success(),
        "`{}` failed ({}):\n{}",
        shown(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .with_context(|| format!("`{}` printed no JSON object: {last:?}", shown(command)))
}

fn score(task: Task, last: &Value) -> Result<f64> {
    let (part, name) = (task.scored_part(), task.score_name());
    let score = last[part][name].as_f64();
    score.with_context(|| format!("no `{part}.{name}` in {last}"))
}

/// The last score of the validation part in the lines of `metrics.jsonl`.
fn last_validation(metrics: &str) -> Result<Value> {
    let mut last = Value::Null;
    for line in metrics.lines() {
        let event: Value = serde_json::from_str(line).context("metrics.jsonl")?;
        if event["event"] == "validation" {
            last = event;
        }
    }
    Ok(last)
}

/// Seconds that the steps of each whole epoch took, from the lines of `metrics.jsonl`.
fn seconds_of_epochs(metrics: &str) -> Result<Vec<f64>> {
    let (mut steps_per_epoch, mut tokens_before) = (0, 0.0);
    let (mut seconds, mut steps) = (vec![0.0], 0);
    for line in metrics.lines() {
        let event: Value = serde_json::from_str(line).context("metrics.jsonl")?;
        let number = |name: &str| {
            let number = event[name].as_f64();
            number.with_context(|| format!("no `{name}` in {event}"))
        };
        match event["event"].as_str() {
            Some("start") => steps_per_epoch = number("steps_per_epoch")? as u64,
            Some("step") => {
                let tokens = number("tokens")?;
                if let Some(epoch) = seconds.last_mut() {
                    *epoch += (tokens - tokens_before) / number("tokens_per_s")?;
                }
                tokens_before = tokens;
                steps += 1;
                if steps == steps_per_epoch {
                    (steps, seconds) = (0, [seconds, vec![0.0]].concat());
                }
            }
            _ => {}
        }
    }
    seconds.pop();
    ensure!(
        !seconds.is_empty(),
        "a run of less than an epoch tells no time"
    );
    Ok(seconds)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// A thread that is busy as long as this lives.
struct Load {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&stop);
        let busy = move || {
            let mut count = 0_u64;
            while !seen.load(Ordering::Relaxed) {
                count = black_box(count.wrapping_add(1));
            }
        };
        Self {
            stop,
            thread: Some(thread::spawn(busy)),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked: it only counts.
            let _ = thread.join();
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len => f64::midpoint(sorted[(len - 1) / 2], sorted[len / 2]),
    }
}

/// `81.2 (80.9..81.6)`.
fn spread(middle: f64, values: &[f64], shown: impl Fn(f64) -> String) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}..{})", shown(middle), shown(least), shown(most))
}

impl Comparison {
    fn rows(&self) -> Vec<Vec<String>> {
        let seconds_of_refrain = median(&self.series[0].seconds());
        let row = |series: &Series| {
            let (scores, seconds) = (series.scores(), series.seconds());
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let ratio = median(&seconds) / seconds_of_refrain;
            vec![
                match self.beside_load {
                    true => format!("{}, beside a busy process", self.task),
                    false => self.task.to_string(),
                },
                series.engine.label().to_owned(),
                spread(mean, &scores, |score| self.task.shown(score)),
                spread(median(&seconds), &seconds, figure),
                match series.engine {
                    Engine::Refrain => String::new(),
                    Engine::Torch | Engine::TorchPassive => format!("{ratio:.2}"),
                },
            ]
        };
        self.series.iter().map(row).collect()
    }

    fn to_json(&self) -> Value {
        let mut object = json!({"task": self.task.name(), "beside_load": self.beside_load});
        let seconds_of_refrain = median(&self.series[0].seconds());
        for series in &self.series {
            object[series.engine.key()] = series.to_json(self.task);
            if series.engine != Engine::Refrain {
                let ratio = median(&series.seconds()) / seconds_of_refrain;
                object[series.engine.key()]["ratio"] = json!(ratio);
            }
        }
        object
    }
}

fn report(results: &[Comparison], arguments: &Arguments) -> Result<()> {
    let cpu = cpu_model();
    let text = if arguments.json {
        let results: Vec<_> = results.iter().map(Comparison::to_json).collect();
        let object = json!({
            "machine": {"cpu": cpu}, "threads": arguments.threads, "seeds": arguments.seeds, "results": results,
        });
        format!("{object:#}\n")
    } else {
        let header = [
            "task",
            "engine",
            "test accuracy, % (forecast: mse; translate, caption: validation, nats a token), mean (least..most)",
            "s an epoch, median (least..most)",
            "times as fast is Refrain",
        ];
        let rows: Vec<_> = results.iter().flat_map(Comparison::rows).collect();
        format!(
            "{}\nthreads {}, seeds 1 to {}, engines in turn\n\n{}",
            cpu.as_deref().unwrap_or("unknown processor"),
            arguments.threads,
            arguments.seeds,
            table(&header, &rows)
        )
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_those_of_steps_in_whole_epochs() {
        let step = |step: u64, tokens: u64, rate: f64| {
            json!({"event": "step", "step": step, "tokens": tokens, "tokens_per_s": rate})
                .to_string()
        };
        let lines = [
            json!({"event": "start", "steps_per_epoch": 2}).to_string(),
            step(1, 100, 50.0),
            json!({"event": "validation", "elapsed_s": 1e6}).to_string(),
            step(2, 200, 100.0),
            step(3, 210, 10.0),
            step(4, 220, 5.0),
            step(5, 230, 1.0),
        ];
        let found = seconds_of_epochs(&lines.join("\n")).unwrap();
        assert_eq!(found, [3.0, 3.0]);
        assert!(seconds_of_epochs(&lines[..2].join("\n")).is_err());
        let last = last_validation(&lines.join("\n")).unwrap();
        assert_eq!(last["elapsed_s"], 1e6);
    }

    #[test]
    fn parts_of_pictures_are_files_of_their_own() {
        let mut all = vec![0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2];
        all.extend([10, 11, 20, 21, 30, 31]);
        let part = idx_part(&all, 16, 1, Some(1)).unwrap();
        assert_eq!(part[4..8], [0, 0, 0, 1]);
        assert_eq!(part[16..], [20, 21]);
        assert_eq!(idx_part(&all, 16, 0, None).unwrap(), all);
        assert!(idx_part(&all, 16, 2, Some(2)).is_err());
        assert!(idx_part(&all[..5], 16, 0, None).is_err());
    }

    #[test]
    fn a_text_is_cut_after_some_lines() {
        assert_eq!(lines(b"a\nb\nc\n", 2), b"a\nb\n");
        assert_eq!(lines(b"a\nb", 2), b"a\nb");
        assert_eq!(lines(b"a\nb\n", 3), b"a\nb\n");
    }

    #[test]
    fn engines_are_compared_by_medians() {
        let series = |engine, score: f64, epochs: &[f64]| Series {
            engine,
            reached: vec![
                Reached {
                    score,
                    epochs: epochs.to_vec(),
                },
                Reached {
                    score: score + 0.02,
                    epochs: epochs.to_vec(),
                },
            ],
        };
        let comparison = Comparison {
            task: Task::Classify,
            beside_load: true,
            series: vec![
                series(Engine::Refrain, 0.8, &[2.0, 1.0, 3.0]),
                series(Engine::Torch, 0.79, &[4.0, 6.0, 5.0]),
            ],
        };
        let rows = comparison.rows();
        assert_eq!(rows[0][2..], ["81.0 (80.0..82.0)", "2.00 (1.00..3.00)", ""]);
        assert_eq!(
            rows[1][2..],
            ["80.0 (79.0..81.0)", "5.00 (4.00..6.00)", "2.50"]
        );
        assert_eq!(rows[1][0], "classify, beside a busy process");
        assert_eq!(comparison.to_json()["torch"]["ratio"], 2.5);
    }
}
