//! How far a gradient flows through the three cells, and what that is good for.

mod paths;
mod solved;

use self::paths::{Along, CellFlow, Way, along, forget_biases, kept_equal, through_h, ways};
use self::solved::{Solved, solve};
use super::chart::{chart, curve, linear, log, over_index, thinned, whole};
use super::figures::shown;
use super::flow::half_life;
use super::problems::Problem;
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::nn::CellKind;
use crate::run::plot::{Mark, Series};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "gradient-flow",
    claim: "Along the cell state the gradient is only multiplied by the forget gate, dL/dc_(t-1) = dL/dc_t * f: it flows on where that of a \
            vanilla network vanishes, and what lies far back can be learnt.",
    measures: "both sides of the equation, element by element; the gradient against distance of RNN, GRU and LSTM, at start and after training, \
               with W_hh scaled below and above 1; f fixed and f varying; the path through h; the forget bias; tasks at growing distance",
    cause: "the forget gate is open; in its place it is held shut, f = 0",
    work,
};

/// The cells that are compared.
const CELLS: [CellKind; 3] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm];
/// One product of f64.
const SAME: f64 = 1e-12;
/// How much more of a gradient reaches the far end along c than through the vanilla network's h.
const FURTHER: f64 = 10.0;
/// A gradient through h that grew so much has exploded, though f is at most 1.
const GREW: f64 = 10.0;
/// Solved; and not, which is nearer to guessing (a quarter) than to knowing.
const SOLVED: f64 = 0.9;
const UNSOLVED: f64 = 0.6;

fn name(cell: CellKind) -> &'static str {
    match cell {
        CellKind::Rnn => "RNN",
        CellKind::Gru => "GRU",
        _ => "LSTM",
    }
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::new(&EXPERIMENT);
    let solved = solve(conditions)?;
    conditions.say("gradients");
    let flows = along(conditions, &solved)?;
    equation(conditions, &mut outcome, &solved)?;
    distance(&mut outcome, &flows);
    fixed(&mut outcome, &flows);
    explode(conditions, &mut outcome)?;
    biases(conditions, &mut outcome)?;
    tasks(&mut outcome, &solved);
    explain(&mut outcome, &flows);
    Ok(outcome)
}

/// The equation, on the LSTM that learnt the task.
fn equation(conditions: &Conditions<'_>, outcome: &mut Outcome, solved: &Solved) -> Result<()> {
    let sides = kept_equal(conditions, solved)?;
    let mut table = Table::new(
        "equation",
        [
            "unit",
            "dL/dc_t",
            "f",
            "dL/dc_t * f",
            "dL/dc_(t-1) by the layer",
        ],
    );
    for (unit, side) in sides.shown.iter().enumerate() {
        let [d_c, f, product, by_layer] = *side;
        table.row([
            (unit + 1).into(),
            d_c.into(),
            f.into(),
            product.into(),
            by_layer.into(),
        ]);
    }
    outcome.table(table);
    outcome.figure("equation off", sides.off);
    outcome.figure("steps of the equation", sides.steps);
    outcome.check(
        sides.off <= SAME && sides.largest > 0.0,
        format!(
            "the layer's dL/dc_(t-1) is dL/dc_t * f for every unit of {} steps, but for {} (at most {SAME:e}), and is not 0 throughout",
            sides.steps,
            shown(sides.off)
        ),
    );
    Ok(())
}

/// Two settings on one axis, the first drawn with thin lines: of each cell what is followed in it.
fn of_settings(flows: &Along, [thin, thick]: [&str; 2]) -> Vec<Series> {
    let mut series = Vec::new();
    let followed = CELLS
        .into_iter()
        .flat_map(|cell| ways(cell).iter().map(move |&way| (cell, way)));
    for (case, (cell, way)) in followed.enumerate() {
        for when in [thin, thick] {
            let is_meant = |flow: &&CellFlow| (flow.cell, flow.way, flow.when) == (cell, way, when);
            let Some(flow) = flows.cells.iter().find(is_meant) else {
                continue;
            };
            let label = match way {
                Way::Hidden => format!("{} {when}", name(cell)),
                _ => format!("{}, {}, {when}", name(cell), said(way)),
            };
            let points = over_index(&flow.norms);
            let line = if when == thin { Mark::Thin } else { Mark::Line };
            // The gated cells' curves lie close together: of two of them some points are marked beside the line.
            let marked = match (way, when == thin) {
                (Way::Hidden, true) if cell == CellKind::Gru => Some((Mark::Points, 4)),
                (Way::Hidden, false) if cell == CellKind::Gru => Some((Mark::Rings, 4)),
                (Way::All, true) => Some((Mark::Points, 3)),
                (Way::All, false) => Some((Mark::Rings, 3)),
                _ => None,
            };
            match marked {
                Some((mark, every)) => {
                    let few = thinned(&points, every);
                    series.push(curve("", case, line, points));
                    series.push(curve(label, case, mark, few));
                }
                None => series.push(curve(label, case, line, points)),
            }
        }
    }
    series
}

fn said(way: Way) -> &'static str {
    match way {
        Way::Hidden => "through h",
        Way::AlongC => "along c",
        Way::All => "all paths",
    }
}

/// The three cells on one axis.
fn distance(outcome: &mut Outcome, flows: &Along) {
    let mut table = Table::new(
        "half lives",
        [
            "cell",
            "path",
            "when",
            "half life steps",
            "gradient at the far end",
        ],
    );
    for flow in &flows.cells {
        let half = half_life(&flow.norms);
        let half = half.map_or_else(|| "beyond".into(), super::Figure::from);
        let last = flow.norms.last().copied().unwrap_or(f64::NAN);
        table.row([
            name(flow.cell).into(),
            said(flow.way).into(),
            flow.when.into(),
            half,
            last.into(),
        ]);
    }
    outcome.table(table);
    let far = |cell, way| {
        let mut flows = flows.cells.iter();
        let flow = flows.find(|flow| (flow.cell, flow.way, flow.when) == (cell, way, "trained"));
        flow.and_then(|flow| flow.norms.last())
            .copied()
            .unwrap_or(0.0)
    };
    let (rnn, lstm) = (
        far(CellKind::Rnn, Way::Hidden),
        far(CellKind::Lstm, Way::AlongC),
    );
    outcome.check(
        lstm >= FURTHER * rnn && lstm > 0.0,
        format!(
            "after training {} of the LSTM's gradient along c reaches the first step, {} of the vanilla network's (at least {FURTHER} times as much)",
            shown(lstm),
            shown(rnn)
        ),
    );
    let axes = || {
        (
            whole("distance k from the last step"),
            log("norm of the gradient of the state k steps before"),
        )
    };
    outcome.picture(
        chart(
            "Gradient flow of three cells, at start and after training",
            "After training the LSTM's and the GRU's lines stay up, the vanilla network's falls.",
            axes(),
            of_settings(flows, ["at start", "trained"]),
        ),
        "A gradient of norm 1 in a random direction is put on the last state and followed back: on h of RNN and GRU, on c of the LSTM, along c alone (what comes through h is cut off) and \
         through all paths. Thin at the start, thick after training on a task whose answer stands at the first step.",
    );
    outcome.picture(
        chart(
            "The same with recurrent weights scaled",
            "Scaled down all fall; scaled up the vanilla network's rises, and the LSTM's through all paths; along c it cannot.",
            axes(),
            of_settings(flows, ["W_hh small", "W_hh large"]),
        ),
        "Untrained cells with orthogonal recurrent matrices times 0.5 (thin) and times 2 (thick), inputs near 0. Along c the scale makes hardly a difference: no matrix is on the way.",
    );
}

/// The forget gate as it is, at its mean, and at fixed values.
fn fixed(outcome: &mut Outcome, flows: &Along) {
    let mut table = Table::new(
        "forget gate",
        [
            "forget gate",
            "mean",
            "lowest",
            "highest",
            "gradient at the far end",
        ],
    );
    for gate in &flows.gates {
        let last = gate.norms.last().copied().unwrap_or(f64::NAN);
        table.row([
            gate.said.clone().into(),
            gate.mean.into(),
            gate.lowest.into(),
            gate.highest.into(),
            last.into(),
        ]);
    }
    outcome.table(table);
    let series = flows.gates.iter().enumerate();
    let series = series
        .map(|(case, gate)| {
            let mark = if case == 0 { Mark::Dots } else { Mark::Line };
            curve(gate.said.clone(), case, mark, over_index(&gate.norms))
        })
        .collect();
    outcome.picture(
        chart(
            "Along the cell state: f varying and f fixed",
            "The line of the trained gates lies above that of their mean.",
            (whole("distance k from the last step"), log("norm of dL/dc_(T-k)")),
            series,
        ),
        "The gradient along c of the trained LSTM, with its own forget gates, with all of them at their mean, and at fixed values. Its own let more through than their mean does: some units keep nearly all, others little.",
    );
}

/// f bounds only c's path.
fn explode(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<()> {
    let (all, along_c) = through_h(conditions)?;
    let most = |norms: &[f64]| norms.iter().fold(0.0, |most: f64, &norm| most.max(norm));
    let grown = most(&all);
    let bounded = along_c
        .windows(2)
        .all(|pair| pair[1] <= pair[0] * (1.0 + SAME));
    outcome.figure("largest gradient through all paths", grown);
    outcome.figure("largest gradient along c", most(&along_c));
    outcome.check(
        grown >= GREW && bounded,
        format!(
            "f <= 1 bounds the path along c alone: with large weights the gradient through all paths grows to {} (at least {GREW}), along c it never grows",
            shown(grown)
        ),
    );
    outcome.picture(
        chart(
            "An LSTM with large recurrent weights",
            "Through all paths the gradient rises, along c it cannot.",
            (whole("distance k from the last step"), log("norm of the gradient of c_(T-k)")),
            vec![
                curve("all paths", 1, Mark::Line, over_index(&all)),
                curve("along c alone", 0, Mark::Line, over_index(&along_c)),
            ],
        ),
        "The forget gate holds only the path along c: the one through h and the gates' weights explodes as in any network. LSTMs are clipped too.",
    );
    Ok(())
}

fn biases(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<()> {
    let mut table = Table::new(
        "forget bias",
        ["forget bias", "mean forget gate", "half life along c steps"],
    );
    for (bias, mean, norms) in forget_biases(conditions)? {
        let half = half_life(&norms);
        let half = half.map_or_else(|| "beyond".into(), super::Figure::from);
        table.row([bias.into(), mean.into(), half]);
    }
    outcome.table(table);
    Ok(())
}

fn tasks(outcome: &mut Outcome, solved: &Solved) {
    let mut table = Table::new(
        "tasks",
        ["task", "distance steps", "cell", "share right", "guessing"],
    );
    for result in &solved.results {
        table.row([
            result.problem.name().into(),
            result.length.into(),
            name(result.cell).into(),
            result.accuracy.into(),
            result.problem.chance().into(),
        ]);
    }
    outcome.table(table);
    let longest = |cell| {
        let of_cell = solved.results.iter().filter(|result| {
            result.cell == cell
                && result.problem == Problem::Copy
                && result.length == solved.longest
        });
        of_cell
            .map(|result| result.accuracy)
            .fold(f64::NAN, f64::max)
    };
    let [rnn, gru, lstm] = CELLS.map(longest);
    outcome.check(
        lstm >= SOLVED && gru >= SOLVED && rnn <= UNSOLVED,
        format!(
            "what stood {} steps before is told by the LSTM in {:.0} %, by the GRU in {:.0} % (each at least {:.0} %), by the vanilla network in \
             {:.0} % of cases (at most {:.0} %; guessing gives 25 %)",
            solved.longest,
            100.0 * lstm,
            100.0 * gru,
            100.0 * SOLVED,
            100.0 * rnn,
            100.0 * UNSOLVED
        ),
    );
    for (problem, title, told) in [
        (
            Problem::Copy,
            "Telling the first of so many symbols",
            "whose first symbol is told rightly at their end",
        ),
        (
            Problem::Order,
            "Telling the order of two symbols among so many",
            "of which is told rightly in which order two symbols came",
        ),
        (
            Problem::Adding,
            "Adding two of so many numbers",
            "whose two marked numbers are added with an error below 0.1",
        ),
    ] {
        let of_problem = || {
            let results = solved.results.iter();
            results.filter(move |result| result.problem == problem)
        };
        let marks = [Mark::Dots, Mark::Rings, Mark::Dots];
        let mut series: Vec<Series> = Vec::new();
        for (case, (cell, mark)) in CELLS.into_iter().zip(marks).enumerate() {
            let points = of_problem().filter(|result| result.cell == cell);
            let points = points.map(|result| (result.length as f64, result.accuracy));
            series.push(curve(name(cell), case, mark, points));
        }
        let guessing = of_problem().map(|result| (result.length as f64, problem.chance()));
        series.push(curve("guessing", 3, Mark::Thin, guessing));
        let mut y = linear("share right");
        y.from_zero = true;
        outcome.picture(
            chart(
                title,
                "The share right of three cells against the distance, beside guessing.",
                (whole("distance, steps"), y),
                series,
            ),
            &format!("The share of sequences {told}, after the same number of training steps."),
        );
    }
}

fn explain(outcome: &mut Outcome, flows: &Along) {
    let gate = flows.gates.first();
    let (mean, low, high) = gate.map_or((0.0, 0.0, 0.0), |gate| {
        (gate.mean, gate.lowest, gate.highest)
    });
    outcome.seen = format!(
        "Backward through one step of the LSTM, dL/dc_(t-1) is dL/dc_t times f, unit by unit: no matrix on the way. The network learns for which units \
         f is near 1, and their gradient passes whole; f of the trained cell goes from {} to {} with a mean of {}. A vanilla network's gradient \
         passes W_hh and tanh's derivative every time.",
        shown(low),
        shown(high),
        shown(mean)
    );
    outcome.beyond = "That f varies is not what helps: the product of varying numbers is at most that of their mean, unit by unit. What helps is that f is \
        learnt, for each unit and by what is read, and can be near 1; that is why the forget bias begins at 1 or more. Uninterrupted is the flow along c alone. \
        And f <= 1 bounds that path only: the one through h can explode."
        .into();
}
