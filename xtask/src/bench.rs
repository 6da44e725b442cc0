mod tasks;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::python;
use crate::stages::{cargo, root, shown, target};
use crate::table::table;
use crate::workload::{Kind, What, Workload};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The engine to measure beside Refrain
    #[arg(long, value_enum)]
    against: Against,
    /// Workloads by name, CELL-V-E-H-L-B-T or sample-CELL-V-E-H-L; or whole trainings, classify, tag, pictures or video;
    /// without, the usual workloads of --what
    #[arg(value_name = "WORKLOAD|TASK")]
    names: Vec<Name>,
    /// Which of the usual workloads
    #[arg(long, value_enum, default_value = "train", conflicts_with = "names")]
    what: What,
    /// Rounds: each measures every engine once, one after the other
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads of each engine
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Seconds that PyTorch is measured in each round, after its warm-up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Measure PyTorch with OMP_WAIT_POLICY=passive too (its threads wait without spinning)
    #[arg(long)]
    passive: bool,
    /// Seeds of whole trainings, from 1
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Measure whole trainings once more with one busy thread beside them
    #[arg(long)]
    beside_load: bool,
    /// Results as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// What to measure.
#[derive(Clone, Debug)]
enum Name {
    Workload(Workload),
    Task(tasks::Task),
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match <tasks::Task as clap::ValueEnum>::from_str(name, false) {
            Ok(task) => Ok(Self::Task(task)),
            Err(_) => name.parse().map(Self::Workload),
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Against {
    Torch,
}

/// The engines of a round, in the order of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Refrain,
    Torch,
    TorchPassive,
}

impl Engine {
    fn key(self) -> &'static str {
        match self {
            Self::Refrain => "refrain",
            Self::Torch => "torch",
            Self::TorchPassive => "torch_passive",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Refrain => "Refrain",
            Self::Torch => "PyTorch",
            Self::TorchPassive => "PyTorch passive",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Against::Torch = arguments.against;
    let (mut workloads, mut tasks) = (Vec::new(), Vec::new());
    for name in &arguments.names {
        match name {
            Name::Workload(workload) => workloads.push(workload.clone()),
            Name::Task(task) => tasks.push(*task),
        }
    }
    ensure!(
        workloads.is_empty() || tasks.is_empty(),
        "give workloads or whole trainings, not both: they are measured differently"
    );
    ensure!(
        !(tasks.is_empty() && arguments.beside_load),
        "--beside-load is for whole trainings: name some of classify, tag, pictures, video"
    );
    let python = python::interpreter()?;
    build()?;
    if !tasks.is_empty() {
        return tasks::run(&tasks, &python, arguments);
    }
    let mut engines = vec![Engine::Refrain, Engine::Torch];
    if arguments.passive {
        engines.push(Engine::TorchPassive);
    }
    if workloads.is_empty() {
        workloads = arguments.what.workloads();
    }
    let mut results = Vec::new();
    for workload in workloads {
        let mut series: Vec<Series> = engines.iter().map(|&engine| Series::new(engine)).collect();
        for round in 1..=arguments.rounds {
            for series in &mut series {
                progress(&workload, round, arguments.rounds, series.engine);
                let found = measure(series.engine, &workload, &python, arguments)?;
                series.push(&workload, &found)?;
            }
        }
        results.push(Comparison { workload, series });
    }
    clear_progress();
    report(&results, arguments)
}

fn build() -> Result<()> {
    let mut command = cargo(["build", "--release", "--package", "refrain-cli"]);
    // Standard output is for results; cargo talks on standard error anyway.
    let status = command
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(&command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(&command));
    Ok(())
}

/// The command as [`build`] leaves it.
fn refrain_program() -> PathBuf {
    target().join(format!("release/refrain{}", env::consts::EXE_SUFFIX))
}

/// One engine on one workload, once.
fn measure(
    engine: Engine,
    workload: &Workload,
    python: &Path,
    arguments: &Arguments,
) -> Result<Value> {
    let name = workload.to_string();
    let mut command = match engine {
        Engine::Refrain => {
            let mut command = Command::new(refrain_program());
            command.args(["bench", "--workload", &name, "--json"]);
            // Sampling picks its own best number of threads, as PyTorch's script does.
            if workload.kind == Kind::Train {
                command.args(["--threads", &arguments.threads.to_string()]);
            }
            command
        }
        Engine::Torch | Engine::TorchPassive => {
            let script = match workload.kind {
                Kind::Train => "benches/against/lm_step.py",
                Kind::Sample => "benches/against/lm_sample.py",
            };
            let mut command = Command::new(python);
            command
                .arg(root().join(script))
                .args(["--workload", &name, "--json"])
                .args(["--threads", &arguments.threads.to_string()])
                .args(["--seconds", &arguments.seconds.to_string()])
                .env("PYTHONDONTWRITEBYTECODE", "1");
            if engine == Engine::TorchPassive {
                command.env("OMP_WAIT_POLICY", "passive");
            }
            command
        }
    };
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(&command)))?;
    ensure!(
        output.status.success(),
        "`{}` failed ({}):\n{}",
        shown(&command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim())
        .with_context(|| format!("`{}` printed no JSON object: {text:?}", shown(&command)))
}

/// What one engine reached in each round, and all that it said in the last.
struct Series {
    engine: Engine,
    /// Milliseconds a step, or characters a second.
    rounds: Vec<f64>,
    /// The best single step of all rounds, where the engine tells it.
    best: Option<f64>,
    last: Value,
    machine: Value,
}

impl Series {
    fn new(engine: Engine) -> Self {
        Self {
            engine,
            rounds: Vec::new(),
            best: None,
            last: Value::Null,
            machine: Value::Null,
        }
    }

    fn push(&mut self, workload: &Workload, found: &Value) -> Result<()> {
        let entry = entry(found, workload)?;
        let field = match workload.kind {
            Kind::Train => "median_ms",
            Kind::Sample => "chars_per_s",
        };
        let Some(figure) = entry[field].as_f64().filter(|&figure| figure > 0.0) else {
            bail!(
                "{} gave no `{field}` for `{workload}`: {entry}",
                self.engine.label()
            );
        };
        self.rounds.push(figure);
        if let Some(best) = entry["best_ms"].as_f64() {
            self.best = Some(self.best.map_or(best, |before| before.min(best)));
        }
        self.last = entry.clone();
        self.machine = found["machine"].clone();
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = ((sorted.len() - 1) / 2, sorted.len() / 2);
        f64::midpoint(sorted[low], sorted[high])
    }

    fn least(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.rounds.iter().copied().fold(0.0, f64::max)
    }

    fn shown(&self) -> String {
        let [median, least, most] = [self.median(), self.least(), self.most()].map(figure);
        format!("{median} ({least}..{most})")
    }

    fn to_json(&self) -> Value {
        json!({
            "median": self.median(), "min": self.least(), "max": self.most(), "rounds": self.rounds,
            "best_ms": self.best, "last": self.last,
        })
    }
}

/// Refrain lists workloads, a script gives its one workload directly.
fn entry<'a>(found: &'a Value, workload: &Workload) -> Result<&'a Value> {
    let name = workload.to_string();
    let entry = match found["workloads"].as_array() {
        Some(list) => list.iter().find(|entry| entry["name"] == name.as_str()),
        None => Some(found),
    };
    entry.with_context(|| format!("no workload `{name}` in {found}"))
}

struct Comparison {
    workload: Workload,
    /// Refrain first.
    series: Vec<Series>,
}

impl Comparison {
    /// How many times as fast Refrain is, by the medians.
    fn times_as_fast(&self, other: &Series) -> f64 {
        let refrain = self.series[0].median();
        match self.workload.kind {
            Kind::Train => other.median() / refrain,
            Kind::Sample => refrain / other.median(),
        }
    }

    fn row(&self) -> Vec<String> {
        let mut row = vec![self.workload.to_string()];
        row.extend(self.series.iter().map(Series::shown));
        for other in &self.series[1..] {
            row.push(format!("{:.2}", self.times_as_fast(other)));
        }
        row
    }

    fn to_json(&self) -> Value {
        let unit = match self.workload.kind {
            Kind::Train => "ms",
            Kind::Sample => "chars_per_s",
        };
        let mut object = json!({"workload": self.workload.to_string(), "unit": unit});
        for series in &self.series {
            object[series.engine.key()] = series.to_json();
        }
        object["ratio"] = json!(self.times_as_fast(&self.series[1]));
        if let Some(passive) = self.series.get(2) {
            object["ratio_passive"] = json!(self.times_as_fast(passive));
        }
        object
    }
}

fn report(results: &[Comparison], arguments: &Arguments) -> Result<()> {
    let machine = machine(results);
    let text = if arguments.json {
        let results: Vec<_> = results.iter().map(Comparison::to_json).collect();
        let object = json!({
            "machine": machine, "threads": arguments.threads, "rounds": arguments.rounds, "results": results,
        });
        format!("{object:#}\n")
    } else {
        let mut text = format!(
            "{}\nthreads {}, {} rounds, engines in turn: median (least..most) over the rounds\n",
            line(&machine),
            arguments.threads,
            arguments.rounds
        );
        for (kind, unit) in [(Kind::Train, "ms a step"), (Kind::Sample, "chars/s")] {
            let of_kind: Vec<_> = results.iter().filter(|r| r.workload.kind == kind).collect();
            if let Some(first) = of_kind.first() {
                text += "\n";
                text += &table_of(first, &of_kind, unit);
            }
        }
        text + &notes(results)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn table_of(first: &Comparison, results: &[&Comparison], unit: &str) -> String {
    let labels = first.series.iter().map(|series| series.engine.label());
    let mut header = vec!["workload".to_owned()];
    header.extend(labels.clone().map(|label| format!("{label}, {unit}")));
    header.extend(
        labels
            .skip(1)
            .map(|label| format!("times as fast as {label}")),
    );
    let header: Vec<_> = header.iter().map(String::as_str).collect();
    let rows: Vec<_> = results.iter().map(|result| result.row()).collect();
    table(&header, &rows)
}

/// PyTorch's stacked module beside its cells, which are what the table compares with.
fn notes(results: &[Comparison]) -> String {
    let mut text = String::new();
    for Comparison { workload, series } in results {
        let torch = &series[1].last;
        if let Some(rate) = torch["module_chars_per_s"].as_f64() {
            let cells = torch["threads"].as_u64().unwrap_or(0);
            text += &format!(
                "{workload}: PyTorch by its cells (best with {cells} threads); by the stacked module {} chars/s\n",
                figure(rate)
            );
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\n{text}")
    }
}

/// The processor, and what each engine says of the machine.
fn machine(results: &[Comparison]) -> Value {
    let mut machine = json!({"cpu": cpu_model()});
    if let Some(first) = results.first() {
        for series in &first.series[..2] {
            machine[series.engine.key()] = series.machine.clone();
        }
    }
    machine
}

fn line(machine: &Value) -> String {
    let mut text = machine["cpu"]
        .as_str()
        .unwrap_or("unknown processor")
        .to_owned();
    for engine in [Engine::Refrain, Engine::Torch] {
        let fields = machine[engine.key()].as_object().into_iter().flatten();
        let fields: Vec<_> = fields
            .map(|(name, value)| match value.as_str() {
                Some(value) => format!("{name} {value}"),
                None => format!("{name} {value}"),
            })
            .collect();
        text += &format!("; {}: {}", engine.label(), fields.join(", "));
    }
    text
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Three digits, or all before the point.
fn figure(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn progress(workload: &Workload, round: u32, rounds: u32, engine: Engine) {
    if io::stderr().is_terminal() {
        eprint!(
            "\r\x1b[K{workload}: round {round} of {rounds}, {}",
            engine.label()
        );
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(name: &str, refrain: &[Value], torch: &[Value]) -> Comparison {
        let workload: Workload = name.parse().unwrap();
        let mut series = vec![Series::new(Engine::Refrain), Series::new(Engine::Torch)];
        for (series, found) in series.iter_mut().zip([refrain, torch]) {
            for found in found {
                series.push(&workload, found).unwrap();
            }
        }
        Comparison { workload, series }
    }

    fn refrain(name: &str, figures: Value) -> Value {
        let mut entry = figures;
        entry["name"] = json!(name);
        json!({"machine": {"isa": "avx2"}, "workloads": [{"name": "other"}, entry]})
    }

    #[test]
    fn training_is_compared_by_time() {
        let name = "lstm-65-65-128-2-50-50";
        let ours = [20.0, 40.0, 21.0]
            .map(|ms| refrain(name, json!({"median_ms": ms, "best_ms": ms - 1.0})));
        let theirs = [42.0, 41.0]
            .map(|ms| json!({"name": name, "median_ms": ms, "machine": {"torch": "2"}}));
        let found = comparison(name, &ours, &theirs);
        assert_eq!(
            found.row(),
            [name, "21.0 (20.0..40.0)", "41.5 (41.0..42.0)", "1.98"]
        );
        let json = found.to_json();
        assert_eq!(json["refrain"]["best_ms"], 19.0);
        assert_eq!(json["torch"]["rounds"], json!([42.0, 41.0]));
        assert_eq!(json["unit"], "ms");
        let machine = machine(&[found]);
        assert!(line(&machine).ends_with("; Refrain: isa avx2; PyTorch: torch 2"));
    }

    #[test]
    fn sampling_is_compared_by_rate() {
        let name = "sample-lstm-65-65-128-2";
        let ours = [refrain(name, json!({"chars_per_s": 90_000.0}))];
        let theirs = [json!({"chars_per_s": 9_000.0, "module_chars_per_s": 3_000.0, "threads": 1})];
        let found = comparison(name, &ours, &theirs);
        assert_eq!(found.row()[3], "10.00");
        assert!(
            notes(&[found]).contains("best with 1 threads); by the stacked module 3000 chars/s")
        );
    }

    #[test]
    fn a_missing_figure_is_an_error() {
        let workload: Workload = "lstm-65-65-128-2-50-50".parse().unwrap();
        let mut series = Series::new(Engine::Refrain);
        for found in [
            json!({"workloads": []}),
            refrain("lstm-65-65-128-2-50-50", json!({})),
            refrain("lstm-65-65-128-2-50-50", json!({"median_ms": 0.0})),
        ] {
            assert!(series.push(&workload, &found).is_err(), "{found}");
        }
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [1.234_5, 12.34, 123.4, 12_345.6].map(figure),
            ["1.23", "12.3", "123", "12346"]
        );
    }
}
