//! `refrain inspect gates`: how gates stand while a model reads.

use std::io::Write as _;

use refrain::inspect::gates::{GateUse, middle};
use refrain::run::look::gates;
use refrain::run::model::AnyModel;
use refrain::run::plot::{Axis, Chart, gates_svg};
use serde_json::json;

use super::material::{self, Source};
use super::{TERMINAL, check_drawing};
use crate::args::GatesArgs;
use crate::commands::drawings;
use crate::commands::letters::{self, Ends};
use crate::context::Context;
use crate::errors::Exit;
use crate::table::{Align, Table, thousands};

pub(super) fn run(args: &GatesArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let plot = args.plot.plot.as_ref();
    check_drawing(plot, context)?;
    let mut model = AnyModel::open(&args.model)?;
    let most = usize::try_from(args.max).unwrap_or(usize::MAX);
    let source = Source::new(&args.material, false);
    let reading = material::read(&model, &source, most, context)?;
    let found = gates(&mut model, &context.compute(), &reading, most)?;
    if let Some(Some(path)) = plot {
        drawings::write(path, gates_svg(&found)?)?;
    }
    if context.json {
        let task = model.config().task.name();
        let found = json!({"task": task, "unknown": reading.unknown, "layers": found});
        context.out.json(&found)?;
        return Ok(Exit::Done);
    }
    write!(context.out, "{}", table(&found))?;
    match plot {
        Some(None) => {
            for chart in charts(&found) {
                let drawn = letters::drawn(&chart, Ends::Unit, TERMINAL);
                write!(context.out, "\n{drawn}")?;
            }
        }
        Some(Some(path)) => writeln!(context.out, "\ndrawing  {}", path.display())?,
        None => {}
    }
    Ok(Exit::Done)
}

/// Saturation in per cent of units and steps together; the lifetime is that of the middle unit.
fn table(found: &[GateUse]) -> Table {
    let numbers = std::iter::repeat_n(Align::Right, 5);
    let mut table = Table::new([Align::Left, Align::Left].into_iter().chain(numbers));
    let head = [
        "layer", "gate", "mean", "left", "right", "lifetime", "steps",
    ];
    table.row(head.map(str::to_owned));
    for gate in found {
        let percent = |parts: &[f64]| {
            let mean = parts.iter().sum::<f64>() / parts.len().max(1) as f64;
            format!("{:.1}%", 100.0 * mean)
        };
        let lifetime = gate.lifetime.as_deref().and_then(middle);
        table.row([
            gate.name.clone(),
            gate.gate.clone(),
            format!("{:.3}", gate.mean),
            percent(&gate.left_saturated),
            percent(&gate.right_saturated),
            lifetime.map_or_else(String::new, |steps| format!("{steps:.1}")),
            thousands(gate.steps),
        ]);
    }
    table
}

/// A chart for each gate, a sign for each layer.
fn charts(found: &[GateUse]) -> Vec<Chart> {
    let mut names: Vec<&str> = Vec::new();
    for gate in found {
        if !names.contains(&gate.gate.as_str()) {
            names.push(&gate.gate);
        }
    }
    let chart = |name: &str| {
        let gates = found.iter().filter(|gate| gate.gate == name);
        let series = gates.map(|gate| {
            let left = gate.left_saturated.iter().copied();
            let points = left.zip(gate.right_saturated.iter().copied());
            (gate.name.clone(), points.collect())
        });
        let axis = |side: &str| Axis {
            label: format!("{side}-saturated, part of the steps"),
            parts: true,
            ..Axis::default()
        };
        let title = format!("gate {name}: a sign for each unit");
        letters::chart(title, (axis("left"), axis("right")), series)
    };
    names.into_iter().map(chart).collect()
}
