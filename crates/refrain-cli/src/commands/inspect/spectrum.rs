//! `refrain inspect spectrum`: what recurrent matrices do to a state.

use std::io::Write as _;

use refrain::inspect::gates::middle;
use refrain::inspect::spectrum::GateSpectrum;
use refrain::run::look::spectra;
use refrain::run::model::AnyModel;
use refrain::run::plot::{Axis, Chart, Scale, spectrum_svg};
use serde_json::json;

use super::{TERMINAL, check_drawing};
use crate::args::SpectrumArgs;
use crate::commands::drawings;
use crate::commands::letters::{self, Ends};
use crate::context::Context;
use crate::errors::Exit;
use crate::table::{Align, Table};

pub(super) fn run(args: &SpectrumArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let plot = args.plot.plot.as_ref();
    check_drawing(plot, context)?;
    let model = AnyModel::open(&args.model)?;
    let found = spectra(&model)?;
    if let Some(Some(path)) = plot {
        drawings::write(path, spectrum_svg(&found)?)?;
    }
    if context.json {
        let task = model.config().task.name();
        context.out.json(&json!({"task": task, "layers": found}))?;
        return Ok(Exit::Done);
    }
    write!(context.out, "{}", table(&found))?;
    match plot {
        Some(None) => {
            for chart in charts(&found) {
                let drawn = letters::drawn(&chart, Ends::Values, TERMINAL);
                write!(context.out, "\n{drawn}")?;
            }
        }
        Some(Some(path)) => writeln!(context.out, "\ndrawing  {}", path.display())?,
        None => {}
    }
    Ok(Exit::Done)
}

fn table(found: &[GateSpectrum]) -> Table {
    let numbers = std::iter::repeat_n(Align::Right, 5);
    let mut table = Table::new([Align::Left, Align::Left].into_iter().chain(numbers));
    let head = [
        "layer",
        "gate",
        "greatest",
        "median",
        "least",
        "radius",
        "condition",
    ];
    table.row(head.map(str::to_owned));
    for gate in found {
        let number = |value: Option<f64>| match value {
            None => "-".into(),
            Some(small) if small != 0.0 && small < 0.001 => format!("{small:.1e}"),
            Some(value) => format!("{value:.3}"),
        };
        let values = &gate.singular_values;
        table.row([
            gate.name.clone(),
            gate.gate.clone(),
            number(values.first().copied()),
            number(middle(values)),
            number(values.last().copied()),
            number(Some(gate.spectral_radius)),
            gate.condition
                .map_or_else(|| "-".into(), |condition| format!("{condition:.1}")),
        ]);
    }
    table
}

fn charts(found: &[GateSpectrum]) -> Vec<Chart> {
    let same_layer = found.chunk_by(|a, b| a.name == b.name);
    let chart = |gates: &[GateSpectrum]| {
        let series = gates.iter().map(|gate| {
            let ranks = (1..).map(f64::from);
            let points = ranks.zip(gate.singular_values.iter().copied());
            (gate.gate.clone(), points.collect())
        });
        let x = Axis {
            label: "rank".into(),
            whole: true,
            ..Axis::default()
        };
        let y = Axis {
            label: "singular value, log scale".into(),
            scale: Scale::Log,
            ..Axis::default()
        };
        letters::chart(gates[0].name.clone(), (x, y), series)
    };
    same_layer.map(chart).collect()
}
