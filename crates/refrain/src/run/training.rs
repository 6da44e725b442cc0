use std::io::Read;
use std::path::{Path, PathBuf};

use refrain_kernels::Compute;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::RunFolder;
use super::metrics::MetricsLog;
use super::model::model_path;
use super::settings::{Resolved, Settings};
use super::start::from_model;
use super::tasks::{Prepared, RunTask, Weights, prepare};
use crate::checkpoint::{Container, ContainerBuilder, ModelFile, Tensors, write_atomic};
use crate::error::{Error, Result};
use crate::nn::Parameter;
use crate::optim::Optimizer;
use crate::train::events::{Event, Start, Validation};
use crate::train::{Budget, Carried, Outcome, Progress, Recorder, Score, Surroundings, Trainer};

/// The fewest steps of a run whose budget was not given: ten passes over a short text would teach little.
const LEAST_STEPS: u64 = 1000;

/// What a run is given from outside.
#[derive(Default)]
pub struct Given<'a> {
    /// What the path `-` stands for.
    pub stdin: Option<Box<dyn Read + 'a>>,
    /// Memory that the machine has to give, in bytes; `None` where it is not known.
    pub available_bytes: Option<u64>,
}

impl std::fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given")
            .field("available_bytes", &self.available_bytes)
            .finish_non_exhaustive()
    }
}

/// A model being trained in a run folder: begun, stopped, resumed. It knows no task: settings say which it is.
#[derive(Debug)]
pub struct Run {
    folder: RunFolder,
    config: Resolved,
    task: Box<dyn RunTask>,
    data_sha256: String,
    optimizer: Optimizer<f32>,
    progress: Progress,
    notes: Vec<String>,
    memory_bytes: u64,
}

/// A task with its first weights, and what was found out on the way to it.
struct Built {
    task: Box<dyn RunTask>,
    sha256: String,
    notes: Vec<String>,
    memory_bytes: u64,
}

impl Built {
    fn new(prepared: Prepared, config: &Resolved, weights: Weights) -> Result<Self> {
        let mut task = (prepared.build)(config, weights);
        let mut notes = prepared.notes;
        if let Some(from) = config.from.as_ref().filter(|_| weights == Weights::Drawn) {
            let own = task.model_file(config, Map::new());
            notes.extend(from_model(from, task.as_mut(), &own)?);
        }
        Ok(Self {
            task,
            sha256: prepared.sha256,
            notes,
            memory_bytes: prepared.memory_bytes,
        })
    }
}

/// What came of a run so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The run folder.
    pub run: PathBuf,
    /// The model to use: the best one, or the last where nothing is held back for validation.
    pub model: PathBuf,
    /// The task.
    pub task: &'static str,
    /// Steps taken.
    pub steps: u64,
    /// Passes over the training part.
    pub epochs: f64,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds of training.
    pub elapsed_s: f64,
    /// Tokens a second over all.
    pub tokens_per_s: f64,
    /// Running mean of the training loss, nats a token.
    pub train_loss_nats: Option<f64>,
    /// The best validation.
    pub validation: Option<Value>,
    /// The score of that model on the test part, where there is one.
    pub test: Option<Value>,
}

impl Run {
    /// Begins a run: reads the data, checks that all fits into memory, makes the folder, writes the settings and the state of
    /// step 0. Nothing is written before everything has been checked.
    ///
    /// # Errors
    /// Whatever is wrong with the data ([`Error::Data`], [`Error::Unusable`], …), [`Error::Memory`] before anything large is
    /// allocated, [`Error::Run`] if the folder cannot be used, [`Error::Io`].
    pub fn begin(
        settings: Settings,
        output: &Path,
        overwrite: bool,
        mut given: Given<'_>,
    ) -> Result<Self> {
        let open_budget = !settings.has_budget();
        let mut config = settings.resolve()?;
        RunFolder::check_new(output, overwrite)?;
        check_outside(&config, output)?;
        let mut prepared = prepare(&mut config, &mut given, Weights::Drawn)?;
        config.choose_intervals(prepared.steps_per_epoch);
        if open_budget {
            lengthen_budget(&mut prepared, &mut config);
        }
        shorten_warmup(&mut prepared, &mut config);
        let stdin = prepared.stdin.take();
        if stdin.is_some() {
            // All of the data, whatever other files were named: `-` now stands for the copy in the folder.
            config.data = vec!["-".into()];
        }
        // The last that can go wrong: a model to begin with that does not fit.
        let built = Built::new(prepared, &config, Weights::Drawn)?;
        let folder = RunFolder::create(output, overwrite)?;
        if let Some(bytes) = stdin {
            write_atomic(&folder.stdin(), &bytes)?;
        }
        folder.write_config(&config.to_toml())?;
        let run = Self::new(built, folder, config);
        run.write_beginning()?;
        Ok(run)
    }

    /// Writes an empty log and the state of step 0: from here on a kill at any moment can be resumed.
    fn write_beginning(&self) -> Result<()> {
        MetricsLog::create(self.folder.metrics())?.sync()?;
        self.write_state()
    }

    fn new(built: Built, folder: RunFolder, config: Resolved) -> Self {
        Self {
            folder,
            optimizer: Optimizer::new(&config.optimizer, built.task.parameters()),
            task: built.task,
            config,
            data_sha256: built.sha256,
            progress: Progress::default(),
            notes: built.notes,
            memory_bytes: built.memory_bytes,
        }
    }

    /// Goes on with a run exactly where its state stands. `changes` may hold another budget.
    ///
    /// # Errors
    /// [`Error::Run`] if there is no run, another process works in it, or the data has changed; whatever is wrong with its
    /// files.
    pub fn resume(path: &Path, changes: Settings, mut given: Given<'_>) -> Result<Self> {
        let folder = RunFolder::open(path)?;
        let old = Settings::read(&folder.config())?;
        let mut config = changes.or(old.clone()).resolve()?;
        if config.data.iter().any(|path| path.as_os_str() == "-") {
            let path = folder.stdin();
            let file = std::fs::File::open(&path).map_err(|source| Error::Io {
                action: "read",
                path,
                source,
            })?;
            given.stdin = Some(Box::new(file));
        }
        let weights = if folder.state().exists() {
            Weights::Zero
        } else if folder.last().exists() || folder.best().exists() {
            return Err(Error::Run {
                path: folder.path().to_owned(),
                problem: "its `state.safetensors` is missing, but it holds a model".into(),
                hint: "put the file back; without it the run can only be begun anew, with `--overwrite`".into(),
            });
        } else {
            // Killed between the settings and the first state: nothing has been learnt yet.
            Weights::Drawn
        };
        let prepared = prepare(&mut config, &mut given, weights)?;
        let built = Built::new(prepared, &config, weights)?;
        let mut run = Self::new(built, folder, config);
        match weights {
            Weights::Zero => run.read_state()?,
            Weights::Drawn => run.write_beginning()?,
        }
        run.check_budget()?;
        let toml = run.config.to_toml();
        if old.resolve().ok().as_ref() != Some(&run.config) {
            run.folder.write_config(&toml)?;
        }
        Ok(run)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Resolved {
        &self.config
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// What a user should know: what was skipped, made smaller, or chosen.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// An estimate of the memory that training takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Where the run stands.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Steps planned in all, where the clock does not decide.
    #[must_use]
    pub fn total_steps(&self, compute: &Compute) -> Option<u64> {
        let config = self.config.train_config(self.task.steps_per_epoch());
        Trainer::new(&config, compute).total_steps(self.task.steps_per_epoch())
    }

    /// Trains until the budget is used up, patience ends, or `surroundings.stop` says so; `observe` sees every event.
    ///
    /// # Errors
    /// [`Error::NonFinite`], [`Error::Io`].
    pub fn train(
        &mut self,
        compute: &Compute,
        surroundings: &Surroundings<'_>,
        observe: &mut dyn FnMut(&Event),
    ) -> Result<Outcome> {
        let config = self.config.train_config(self.task.steps_per_epoch());
        let trainer = Trainer::new(&config, compute);
        let start = Start {
            total_steps: trainer.total_steps(self.task.steps_per_epoch()),
            ..self.task.start()
        };
        let log = MetricsLog::open_at(self.folder.metrics(), self.progress.step)?;
        if log.last_step().unwrap_or(0) != self.progress.step {
            self.notes.push(format!(
                "`metrics.jsonl` does not reach step {}: a part of the history is lost",
                self.progress.step
            ));
        }
        let mut recorder = Files {
            folder: &self.folder,
            config: &self.config,
            data_sha256: &self.data_sha256,
            log,
            observe,
        };
        Recorder::event(&mut recorder, &Event::Start(start))?;
        let outcome = trainer.run(
            self.task.as_mut(),
            &mut self.optimizer,
            &mut self.progress,
            &mut recorder,
            surroundings,
        );
        recorder.log.sync()?;
        outcome
    }

    /// What came of it. Where there is a test part, the model to use is scored on it.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Io`] if that model cannot be read back.
    pub fn summary(&mut self, compute: &Compute) -> Result<Summary> {
        let best = self.folder.best();
        let model = if best.is_file() {
            best
        } else {
            self.folder.last()
        };
        let mut test = None;
        if self.task.has_test() && model.is_file() {
            let score = self.with_weights_of(&model, |task| task.test(compute))?;
            test = score.map(|score| score_json(&score));
        }
        let progress = &self.progress;
        Ok(Summary {
            run: self.folder.path().to_owned(),
            model,
            task: self.config.task.name(),
            steps: progress.step,
            epochs: progress.step as f64 / self.task.steps_per_epoch() as f64,
            tokens: progress.tokens,
            elapsed_s: progress.elapsed_s,
            tokens_per_s: progress.tokens as f64 / progress.elapsed_s.max(1e-9),
            train_loss_nats: progress.train_loss_nats,
            validation: progress
                .best
                .as_ref()
                .or(progress.validation.as_ref())
                .map(validation_json),
            test,
        })
    }

    /// Writes `report.html` from the metrics.
    ///
    /// # Errors
    /// [`Error::Data`] if `metrics.jsonl` is damaged, [`Error::Io`].
    #[cfg(feature = "report")]
    pub fn write_report(&mut self, compute: &Compute, summary: &Summary) -> Result<()> {
        let events = super::metrics::read(self.folder.metrics())?;
        let path = self.folder.path();
        let name = path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.display().to_string(),
        );
        let mut figures = Vec::new();
        let of_test = |key: &str| summary.test.as_ref().and_then(|test| test[key].as_f64());
        if let Some(nats) = of_test("loss_nats") {
            let is_nats = self
                .config
                .loss
                .is_none_or(crate::nn::ForecastLoss::is_likelihood);
            let unit = if is_nats { " nats" } else { "" };
            figures.push(("test loss".into(), format!("{nats:.4}{unit}")));
        }
        if let Some(accuracy) = of_test("accuracy") {
            figures.push(("test accuracy".into(), format!("{:.2} %", 100.0 * accuracy)));
        }
        for (key, name) in [("bleu", "BLEU"), ("chrf", "chrF")] {
            if let Some(score) = of_test(key) {
                figures.push((format!("test {name}"), format!("{score:.2}")));
            }
        }
        if let Some(exact) = of_test("exact_match") {
            figures.push(("test exact".into(), format!("{:.1} %", 100.0 * exact)));
        }
        // None where it was interrupted before the first model stood.
        let classes = self
            .with_weights_of(&summary.model, |task| task.class_report(compute))
            .unwrap_or_default();
        let forecast = self
            .with_weights_of(&summary.model, |task| task.forecast_report(compute))
            .unwrap_or_default();
        super::report::write(
            self.folder.report(),
            &super::report::Report {
                title: &name,
                task: self.config.task.name(),
                config_toml: &self.config.to_toml(),
                events: &events,
                summary: figures,
                notes: self.notes.clone(),
                graph: Some(&self.task.graph()),
                classes: classes.as_ref(),
                forecast: forecast.as_ref(),
                scored_part: if self.task.has_test() {
                    "test"
                } else {
                    "validation"
                },
            },
        )
    }

    /// Refuses a budget that is used up already and more.
    fn check_budget(&self) -> Result<()> {
        let config = self.config.train_config(self.task.steps_per_epoch());
        match config.budget.total_steps(self.task.steps_per_epoch()) {
            Some(total) if total < self.progress.step => Err(Error::Run {
                path: self.folder.path().to_owned(),
                problem: format!(
                    "it has taken {} steps, more than a budget of {total}",
                    self.progress.step
                ),
                hint: "give a larger `--steps` or `--epochs`".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Does something with the weights of a model file of this run in place of the present ones.
    fn with_weights_of<R>(
        &mut self,
        path: &Path,
        work: impl FnOnce(&mut dyn RunTask) -> R,
    ) -> Result<R> {
        let path = model_path(path)?;
        let mut tensors = ModelFile::load(&path)?.tensors;
        let mut present = Vec::new();
        let taken = take_weights(self.task.as_mut(), &mut tensors, Some(&mut present));
        let result = taken.map(|()| work(self.task.as_mut()));
        let mut present = present.into_iter();
        visit_weights(self.task.as_mut(), &mut |parameter| {
            if let Some(values) = present.next() {
                parameter.value = values;
            }
        });
        result
    }

    fn write_state(&self) -> Result<()> {
        write_state(
            &self.folder,
            self.task.as_ref(),
            &self.optimizer,
            &self.progress,
            &self.config,
            &self.data_sha256,
        )
    }

    fn read_state(&mut self) -> Result<()> {
        let path = self.folder.state();
        let Container {
            metadata,
            mut tensors,
        } = Container::read(&path)?;
        let hint = "the file is damaged: begin the run again with `--overwrite`";
        let stored = metadata.get("data_sha256").and_then(Value::as_str);
        if stored != Some(&self.data_sha256) {
            return Err(Error::Run {
                path: self.folder.path().to_owned(),
                problem: "the data is not what it was when the run began".into(),
                hint: "put the old files back, or begin a new run".into(),
            });
        }
        if metadata.get("settings") != Some(&lasting_settings(&self.config)) {
            return Err(Error::Run {
                path: self.folder.path().to_owned(),
                problem: "the settings are not what they were when the run began".into(),
                hint: "put the old `config.toml` back; `--steps`, `--epochs` and `--minutes` may change, all else is a new run".into(),
            });
        }
        let progress = metadata.get("progress").cloned().unwrap_or_default();
        self.progress = serde_json::from_value(progress).map_err(|error| {
            tensors.error(format!("its `progress` cannot be read: {error}"), hint)
        })?;
        take_weights(self.task.as_mut(), &mut tensors, None)?;
        let mut shapes = Vec::new();
        self.task
            .parameters()
            .visit(&mut |parameter| shapes.push((parameter.name.clone(), parameter.shape.clone())));
        for (kind, moments) in self.optimizer.moments_mut() {
            for (moment, (name, shape)) in moments.iter_mut().zip(&shapes) {
                *moment = tensors.take(&format!("optimizer.{kind}.{name}"), shape)?;
            }
        }
        let mut carried = Vec::new();
        for Carried { name, shape, .. } in self.task.carried() {
            let values = tensors.take(&format!("carried.{name}"), &shape)?;
            carried.push(Carried {
                name,
                shape,
                values,
            });
        }
        self.task.restore(carried)?;
        tensors.finish()
    }
}

/// Every array of a task that a file holds: parameters, then buffers.
fn visit_weights(task: &mut dyn RunTask, visit: &mut dyn FnMut(&mut Parameter<f32>)) {
    task.parameters_mut()
        .visit_mut(&mut |parameter| visit(parameter));
    task.parameters_mut()
        .visit_buffers_mut(&mut |buffer| visit(buffer));
}

/// Puts the weights of a file into a task; what stood there goes to `present`.
fn take_weights(
    task: &mut dyn RunTask,
    tensors: &mut Tensors,
    mut present: Option<&mut Vec<Vec<f32>>>,
) -> Result<()> {
    let mut result = Ok(());
    visit_weights(task, &mut |parameter| {
        if result.is_ok() {
            match tensors.take(&parameter.name, &parameter.shape) {
                Ok(values) => {
                    let old = std::mem::replace(&mut parameter.value, values);
                    if let Some(present) = present.as_deref_mut() {
                        present.push(old);
                    }
                }
                Err(error) => result = Err(error),
            }
        }
    });
    result
}

/// More passes over a short text, where nobody said how many.
fn lengthen_budget(prepared: &mut Prepared, config: &mut Resolved) {
    let steps_per_epoch = prepared.steps_per_epoch;
    let least = LEAST_STEPS.div_ceil(steps_per_epoch) as f64;
    if let Budget::Epochs(epochs) = config.budget
        && epochs < least
    {
        config.budget = Budget::Epochs(least);
        let steps = if steps_per_epoch == 1 {
            "step"
        } else {
            "steps"
        };
        prepared.notes.push(format!(
            "a pass over the training part is only {steps_per_epoch} {steps}: `epochs` is {least} instead of {epochs}"
        ));
    }
}

/// A warm-up that takes more than a tenth of a short run would leave little to learn in. (A schedule that does not know
/// the length of the run is left alone, so that a run made longer later is one that was long from the start.)
fn shorten_warmup(prepared: &mut Prepared, config: &mut Resolved) {
    if !config.optimizer.schedule.follows_the_budget() {
        return;
    }
    let Some(total) = config.budget.total_steps(prepared.steps_per_epoch) else {
        return;
    };
    let most = total / 10;
    let asked = config.optimizer.warmup_steps;
    if asked > most {
        config.optimizer.warmup_steps = most;
        prepared.notes.push(format!(
            "a run of {total} steps: `warmup-steps` is {most} instead of {asked}"
        ));
    }
}

/// Refuses data in the run folder itself, which beginning a run empties.
fn check_outside(config: &Resolved, output: &Path) -> Result<()> {
    let Ok(folder) = output.canonicalize() else {
        return Ok(());
    };
    let parts = [&config.validation, &config.test]
        .into_iter()
        .filter_map(|part| match part {
            crate::data::Portion::File(path) => Some(path),
            _ => None,
        });
    let others = [&config.embeddings, &config.from].into_iter().flatten();
    for path in config.data.iter().chain(parts).chain(others) {
        if path
            .canonicalize()
            .is_ok_and(|path| path.starts_with(&folder))
        {
            return Err(Error::Run {
                path: output.to_owned(),
                problem: format!("`{}` lies in it, and a new run empties it", path.display()),
                hint: "move the data out of the folder, or name another folder".into(),
            });
        }
    }
    Ok(())
}

/// The settings that a resume may not change; where the data lies is no setting, what it holds is checked by its hash.
fn lasting_settings(config: &Resolved) -> Value {
    let settings = Settings {
        data: None,
        validation: None,
        test: None,
        steps: None,
        epochs: None,
        minutes: None,
        // To watch changes nothing.
        watch: None,
        watch_every: None,
        ..config.to_settings()
    };
    json!(settings)
}

fn validation_json(validation: &Validation) -> Value {
    let mut value = json!(validation.metrics);
    value["loss_nats"] = json!(validation.loss_nats);
    value["step"] = json!(validation.step);
    value
}

fn score_json(score: &Score) -> Value {
    let mut value = json!(score.metrics);
    value["loss_nats"] = json!(score.loss_nats);
    value
}

/// What a model file says of its training: nothing of time, place, threads or instruction set.
fn trained(progress: &Progress) -> Map<String, Value> {
    let mut trained = Map::new();
    trained.insert("steps".into(), json!(progress.step));
    trained.insert("tokens".into(), json!(progress.tokens));
    trained.insert("train_loss_nats".into(), json!(progress.train_loss_nats));
    if let Some(validation) = &progress.validation {
        trained.insert("validation".into(), validation_json(validation));
    }
    trained
}

fn write_state(
    folder: &RunFolder,
    task: &dyn RunTask,
    optimizer: &Optimizer<f32>,
    progress: &Progress,
    config: &Resolved,
    data_sha256: &str,
) -> Result<()> {
    let mut state = ContainerBuilder::new(json!({
        "kind": "state",
        "progress": progress,
        "settings": lasting_settings(config),
        "data_sha256": data_sha256,
    }));
    let mut parameters = Vec::new();
    task.parameters()
        .visit(&mut |parameter| parameters.push(parameter));
    for parameter in &parameters {
        state = state.f32(&parameter.name, &parameter.shape, &parameter.value);
    }
    let mut buffers = Vec::new();
    task.parameters()
        .visit_buffers(&mut |buffer| buffers.push(buffer));
    for buffer in &buffers {
        state = state.f32(&buffer.name, &buffer.shape, &buffer.value);
    }
    for (kind, moments) in optimizer.moments() {
        for (moment, parameter) in moments.iter().zip(&parameters) {
            state = state.f32(
                format!("optimizer.{kind}.{}", parameter.name),
                &parameter.shape,
                moment,
            );
        }
    }
    let carried = task.carried();
    for Carried {
        name,
        shape,
        values,
    } in &carried
    {
        state = state.f32(format!("carried.{name}"), shape, values);
    }
    state.write(&folder.state())
}

/// Keeps what a run produces in its folder.
struct Files<'a> {
    folder: &'a RunFolder,
    config: &'a Resolved,
    data_sha256: &'a str,
    log: MetricsLog,
    observe: &'a mut dyn FnMut(&Event),
}

impl Files<'_> {
    fn write_model(&self, path: &Path, task: &dyn RunTask, progress: &Progress) -> Result<()> {
        task.model_file(self.config, trained(progress)).save(path)
    }
}

impl Recorder<dyn RunTask> for Files<'_> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.log.append(event)?;
        (self.observe)(event);
        Ok(())
    }

    fn save_best(&mut self, task: &dyn RunTask, progress: &Progress) -> Result<()> {
        self.write_model(&self.folder.best(), task, progress)
    }

    fn save(
        &mut self,
        task: &dyn RunTask,
        optimizer: &Optimizer<f32>,
        progress: &Progress,
    ) -> Result<()> {
        // The state last: whatever it says has happened must stand in the other files.
        self.log.sync()?;
        self.write_model(&self.folder.last(), task, progress)?;
        write_state(
            self.folder,
            task,
            optimizer,
            progress,
            self.config,
            self.data_sha256,
        )
    }
}
