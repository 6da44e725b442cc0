//! `refrain train`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use refrain::Compute;
use refrain::nn::ForecastLoss;
use refrain::run::settings::Task;
use refrain::run::{Given, Run, Summary};
use refrain::train::{Outcome, Surroundings};
use serde::Serialize;

use crate::args::{Recipe, TrainArgs};
use crate::context::Context;
use crate::errors::{Exit, usage};
use crate::machine;
use crate::progress::Progress;
use crate::signals;

/// The last line of `train --json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    peak_memory_bytes: Option<u64>,
    outcome: &'a str,
    notes: &'a [String],
}

pub(crate) fn run(args: &TrainArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let given = Given {
        stdin: Some(Box::new(std::io::stdin().lock())),
        available_bytes: machine::available_bytes(),
    };
    let mut run = match (&args.resume, &args.output) {
        (Some(path), _) => Run::resume(path, args.flags(None), given)?,
        (None, Some(output)) => {
            check_switches(&args.data)?;
            let settings = args.settings(context.seed)?;
            let run = Run::begin(settings, output, args.overwrite, given)?;
            if args.recipe() == Recipe::Demo {
                context.notice(&format!(
                    "no data was given: learning from {}, by its demo recipe",
                    demo_name(run.config().task)
                ));
            }
            run
        }
        (None, None) => return Err(usage("no run folder was given", "add `-o RUN`")),
    };
    let compute = Compute::new(context.isa, context.threads);
    let mut progress = Progress::new(context);
    progress.in_nats(run.config().loss.is_none_or(ForecastLoss::is_likelihood));
    if args.resume.is_some() {
        progress.plan(run.total_steps(&compute));
        let step = run.progress().step;
        progress.notice(&format!(
            "going on with `{}` after step {step}",
            run.folder().path().display()
        ));
    }
    for note in run.notes() {
        progress.notice(note);
    }
    progress.notice(&format!(
        "about {} MB of memory, {} threads, {}",
        run.memory_bytes().div_ceil(1 << 20),
        compute.threads(),
        compute.isa().name()
    ));
    for line in run.config().to_toml().lines() {
        progress.detail(line);
    }

    // From here on a signal is heeded between two steps, after saving; until here there was nothing to save.
    let stop = signals::graceful();
    let start = Instant::now();
    let surroundings = Surroundings {
        clock: &|| start.elapsed().as_secs_f64(),
        stop: &|| stop.load(Ordering::SeqCst),
    };
    let outcome = run.train(&compute, &surroundings, &mut |event| progress.event(event));
    progress.finish();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            // What was learnt until then is worth a report; the error is what there is to tell.
            if let Ok(summary) = run.summary(&compute) {
                let _ = run.write_report(&compute, &summary);
            }
            return Err(error.into());
        }
    };
    let summary = run.summary(&compute)?;
    run.write_report(&compute, &summary)?;
    let (reason, exit) = match outcome {
        Outcome::Finished(reason) => (reason, Exit::Done),
        Outcome::Interrupted => ("interrupted", Exit::Interrupted),
    };
    if context.json {
        context.out.json(&Line {
            summary: &summary,
            peak_memory_bytes: machine::peak_memory_bytes(),
            outcome: reason,
            notes: run.notes(),
        })?;
    } else {
        tell(context, &run, &summary, exit)?;
    }
    Ok(exit)
}

/// Refuses a switch's value that stands apart from it, where it is taken for data.
fn check_switches(data: &[PathBuf]) -> anyhow::Result<()> {
    let is_value = |path: &&PathBuf| matches!(path.to_str(), Some("true" | "false"));
    match data.iter().find(is_value).filter(|path| !path.exists()) {
        None => Ok(()),
        Some(value) => Err(usage(
            format!("there is no file `{}`", value.display()),
            "a switch takes its value with `=`, as in `--bidirectional=false`",
        )),
    }
}

fn demo_name(task: Task) -> &'static str {
    match task {
        Task::Lm => "the built-in text (Cicero, De finibus)",
        Task::Classify => "built-in reviews (generated)",
        Task::Tag => "built-in clips of moving shapes (generated)",
        Task::Translate => "built-in dates as people write them (generated)",
        Task::Caption => "built-in pictures of shapes (generated)",
        Task::Forecast => "a built-in series of sun, wind and load (generated)",
    }
}

fn tell(context: &mut Context, run: &Run, summary: &Summary, exit: Exit) -> anyhow::Result<()> {
    let folder = run.folder();
    if exit == Exit::Interrupted {
        context.notice(&format!(
            "interrupted and saved; go on with: refrain train --resume {}",
            folder.path().display()
        ));
        return Ok(());
    }
    let out = &mut context.out;
    let nats = |value: &serde_json::Value| value["loss_nats"].as_f64().unwrap_or(f64::NAN);
    let config = run.config();
    let unit = match config.task {
        Task::Lm | Task::Translate | Task::Caption => " nats a token".to_owned(),
        Task::Classify | Task::Tag => " nats a label".to_owned(),
        Task::Forecast => match config.loss {
            Some(loss) if loss.is_likelihood() => " nats a step".to_owned(),
            loss => loss.map_or_else(String::new, |loss| format!(" {loss}")),
        },
    };
    let score = |value: &serde_json::Value| {
        let accuracy = value["accuracy"].as_f64();
        let accuracy = accuracy.map_or_else(String::new, |accuracy| {
            format!("{:.2} % right, ", 100.0 * accuracy)
        });
        let written = |name: &str| value[name].as_f64();
        let bleu = match (written("bleu"), written("chrf"), written("exact_match")) {
            (Some(bleu), Some(chrf), Some(exact)) => {
                let exact = 100.0 * exact;
                format!("BLEU {bleu:.2}, chrF {chrf:.2}, {exact:.1} % exact, ")
            }
            _ => String::new(),
        };
        let simple = |name: &str| {
            let mse = value[format!("{name}_mse")].as_f64()?;
            Some(format!("{name} {mse:.4}"))
        };
        let simple: Vec<_> = ["last", "seasonal", "linear", "mean"]
            .into_iter()
            .filter_map(simple)
            .collect();
        let beside = match &simple[..] {
            [] => String::new(),
            simple => format!(" (mse of simple means: {})", simple.join(", ")),
        };
        format!("{accuracy}{bleu}{:.4}{unit}{beside}", nats(value))
    };
    writeln!(out, "model   {}", summary.model.display())?;
    if let Some(validation) = &summary.validation {
        let step = &validation["step"];
        writeln!(
            out,
            "        validation {}, at step {step}",
            score(validation)
        )?;
    }
    if let Some(test) = &summary.test {
        writeln!(out, "        test {}", score(test))?;
    }
    writeln!(out, "report  {}", folder.report().display())?;
    let next = match run.config().task {
        Task::Lm => "sample",
        Task::Classify | Task::Tag | Task::Forecast | Task::Translate | Task::Caption => "predict",
    };
    context.notice(&format!("next: refrain {next} {}", folder.path().display()));
    Ok(())
}
