//! `refrain evaluate` of a forecaster.

use std::io::Write as _;

use refrain::data::OnBadRow;
use refrain::data::forecast::read_numbers;
use refrain::metrics::{ErrorMeans, ForecastReport};
use refrain::models::ForecasterSpace;
use refrain::run::forecast::LoadedForecaster;
use refrain::run::report::forecast_svg;
use refrain::train::report_forecast;
use serde_json::{Map, Value, json};

use super::{refuse, refuse_pairs};
use crate::args::EvaluateArgs;
use crate::commands::{drawings, stdin_of};
use crate::context::{Context, Talk};
use crate::errors::{Exit, failure, usage};
use crate::escape::one_line;
use crate::machine;
use crate::table::{Align, Table, thousands};

/// Targets in the table unless all are asked for.
const TARGETS: usize = 20;

pub(super) fn run(
    args: &EvaluateArgs,
    loaded: &LoadedForecaster,
    context: &mut Context,
) -> anyhow::Result<Exit> {
    let task = loaded.config.task.name();
    refuse("streams", args.streams.is_some(), task)?;
    refuse("max-tokens", args.max_tokens.is_some(), task)?;
    refuse("text-column", args.text_column.is_some(), task)?;
    refuse("label-column", args.label_column.is_some(), task)?;
    refuse_pairs(args, task)?;
    let [path] = &args.data[..] else {
        return Err(usage(
            format!("{} files were given", args.data.len()),
            "a forecaster is scored on one series or one file of arrays at a time",
        ));
    };
    let max_bytes = machine::available_bytes().map_or(1 << 32, |bytes| bytes / 6);
    let stdin = stdin_of(&args.data, max_bytes)?;
    let on_bad_row = args.on_bad_row.unwrap_or(OnBadRow::Error);
    let raw = read_numbers(path, args.format, on_bad_row, max_bytes, stdin.as_deref())?;
    for note in raw.notes() {
        context.notice(note);
    }
    let examples = loaded.encoding.encode(&raw, true)?;
    let (compute, mut space) = (context.compute(), ForecasterSpace::default());
    let report = report_forecast(
        &compute,
        &loaded.model,
        &mut space,
        &loaded.encoding,
        &examples,
    );
    if !report.loss.is_finite() {
        return Err(failure(
            format!("the loss is {}", report.loss),
            "the model's weights are damaged or its training diverged; take an earlier model",
        ));
    }
    if let Some(path) = &args.plot {
        drawings::write(path, forecast_svg(&report)?)?;
    }
    if context.json {
        let mut object = object(&report);
        object["task"] = json!(task);
        object["examples"] = json!(examples.len());
        object["tokens"] = json!(examples.steps());
        object["unknown"] = json!(0);
        object["skipped"] = json!(raw.skipped());
        context.out.json(&object)?;
        return Ok(Exit::Done);
    }
    let all = context.talk >= Talk::Verbose;
    write!(context.out, "{}", text(&report, all))?;
    Ok(Exit::Done)
}

/// What `--json` writes of the scores.
fn object(report: &ForecastReport) -> Value {
    let (scaled, original) = (report.scaled(), report.original());
    let mut baselines = Map::new();
    for own in &report.baselines {
        let mut means = json!(own.errors.means());
        if let Some(loss) = own.loss_nats {
            means["loss_nats"] = json!(loss);
        }
        baselines.insert(own.name.into(), means);
    }
    let targets: Vec<Value> = (report.targets.iter().enumerate())
        .map(|(at, target)| {
            let (scaled, original) = (
                report.errors.of(at, 1.0),
                report.errors.of(at, target.deviation),
            );
            json!({
                "name": target.name, "mse": scaled.mse, "mae": scaled.mae,
                "original": {"mse": original.mse, "rmse": original.mse.sqrt(), "mae": original.mae},
            })
        })
        .collect();
    json!({
        "loss": report.loss_name,
        "loss_nats": report.loss,
        "mse": scaled.mse,
        "mae": scaled.mae,
        "original": {"mse": original.mse, "rmse": original.mse.sqrt(), "mae": original.mae},
        "season": report.season,
        // The plainest one.
        "baseline": report.baselines.first().map(|own| baselines[own.name].clone()),
        "baselines": baselines,
        "targets": targets,
    })
}

fn text(report: &ForecastReport, all: bool) -> String {
    let is_roll = report.roll.is_some();
    let mut table = Table::new([Align::Left, Align::Right, Align::Right, Align::Right]);
    let head = ["", "MSE", "MAE", if is_roll { "nats a step" } else { "" }];
    table.row(head.map(str::to_owned));
    let mut row = |name: String, ErrorMeans { mse, mae }: ErrorMeans, loss: Option<f64>| {
        let loss = loss.filter(|_| is_roll).map(|loss| format!("{loss:.4}"));
        table.row([
            name,
            format!("{mse:.4}"),
            format!("{mae:.4}"),
            loss.unwrap_or_default(),
        ]);
    };
    row("model".into(), report.scaled(), Some(report.loss));
    for own in &report.baselines {
        let name = match (own.name, report.season) {
            ("seasonal", Some(season)) => format!("seasonal ({} steps)", thousands(season as u64)),
            (name, _) => name.to_owned(),
        };
        row(name, own.errors.means(), own.loss_nats);
    }
    let mut text = table.to_string();
    if report.loss_name == "gaussian" {
        text += &format!("loss   {:.4} nats a step\n", report.loss);
    }
    if is_roll {
        return text;
    }
    let mut table =
        Table::new(std::iter::once(Align::Left).chain(std::iter::repeat_n(Align::Right, 4)));
    let head = [
        "target",
        "MSE",
        "MAE",
        "RMSE in its unit",
        "MAE in its unit",
    ];
    table.row(head.map(str::to_owned));
    let most = if all { usize::MAX } else { TARGETS };
    for (at, target) in report.targets.iter().enumerate().take(most) {
        let (scaled, own) = (
            report.errors.of(at, 1.0),
            report.errors.of(at, target.deviation),
        );
        let values = [scaled.mse, scaled.mae, own.mse.sqrt(), own.mae];
        let values = values.map(|value| format!("{value:.4}"));
        table.row(std::iter::once(one_line(&target.name)).chain(values));
    }
    text += &format!("\n{table}");
    if report.targets.len() > most {
        text += &format!("and {} more, with -v\n", report.targets.len() - most);
    }
    text
}
