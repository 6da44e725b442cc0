//! What each gate of an LSTM does: a trained cell, one gate at a time held shut or open.

use ndarray::{Array3, s};
use refrain_kernels::LstmCell;

use super::chart::{chart, curve, linear, whole};
use super::figures::shown;
use super::flow::{gates, widened};
use super::text::{Cut, latin, small, task};
use super::training::{adam, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::{Error, Result};
use crate::nn::{CellKind, LSTM_GATES, Layer, Lstm, State};
use crate::run::plot::Mark;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "lstm-gates",
    claim: "f decides what the cell keeps, i whether it writes, g what it writes, o how much of it is seen: f = 0 forgets the old cell state, \
            f = 1 keeps it whole; i = 0 writes nothing; o = 0 shows nothing while c lives on.",
    measures: "c and h of a trained cell after one step with one gate held at 0 or 1, beside what the equations leave of them",
    cause: "the gates are held; in their place they do as they were trained",
    work,
};

/// One step of f64.
const SAME: f64 = 1e-12;
/// The bias that holds a gate: σ(±1000) is 0 or 1, tanh(±1000) is ±1, in f64 exactly.
const HELD: f64 = 1000.0;
/// Letters that are read, and the one before which a gate is held.
const LETTERS: usize = 16;
const AT: usize = 8;
/// Units that are printed.
const UNITS: usize = 3;

/// A state as plain numbers, with the gates that led to it.
#[derive(Clone)]
struct Step {
    i: Vec<f64>,
    f: Vec<f64>,
    g: Vec<f64>,
    o: Vec<f64>,
    c: Vec<f64>,
    h: Vec<f64>,
    state: State<f64>,
}

struct Trained {
    layer: Lstm<f64>,
    /// The letters' vectors.
    x: Array3<f64>,
    text: String,
}

/// A cell that has learnt Latin for a while, and some letters it has not seen.
fn trained(conditions: &Conditions<'_>) -> Result<Trained> {
    let data = latin()?;
    let config = small(CellKind::Lstm, conditions.choose(16, 64));
    let cut = Cut {
        batch: 16,
        bptt: Some(50),
    };
    let mut task = task(&config, &data, cut, conditions.seed)?;
    let steps = conditions.choose(100, 1000);
    train(conditions, &mut task, &adam(steps, 0.01, conditions.seed))?;
    let model = task.model();
    let Some(Layer::Lstm(layer)) = model.stack.layers.first() else {
        return Err(no_lstm());
    };
    let ids = &data.validation[..LETTERS];
    let size = model.embedding.embedding_size();
    let x = Array3::from_shape_fn((LETTERS, 1, size), |(t, _, k)| {
        f64::from(model.embedding.weight.value[ids[t] as usize * size + k])
    });
    Ok(Trained {
        layer: widened(layer),
        x,
        text: data.vocabulary.decode(ids),
    })
}

fn no_lstm() -> Error {
    Error::Unusable {
        problem: "the model has no LSTM".into(),
        hint: "this is a mistake in Refrain; please report it".into(),
    }
}

/// The layer with a gate that no longer listens.
fn held(conditions: &Conditions<'_>, layer: &Lstm<f64>, gate: &str, value: f64) -> Lstm<f64> {
    let mut layer = layer.clone();
    let at = LSTM_GATES
        .iter()
        .position(|&name| name == gate)
        .unwrap_or(0);
    if conditions.without_cause {
        return layer;
    }
    let (hidden, input) = (layer.hidden_size(), layer.input_size());
    layer.weight_ih.value[at * hidden * input..][..hidden * input].fill(0.0);
    layer.weight_hh.value[at * hidden * hidden..][..hidden * hidden].fill(0.0);
    layer.bias_ih.value[at * hidden..][..hidden].fill(value);
    layer.bias_hh.value[at * hidden..][..hidden].fill(0.0);
    layer
}

fn step(
    conditions: &Conditions<'_>,
    layer: &Lstm<f64>,
    x: &Array3<f64>,
    t: usize,
    state: &State<f64>,
) -> Result<Step> {
    let (_, state, pass) =
        layer.forward(conditions.compute, x.slice(s![t..=t, .., ..]), Some(state))?;
    let names = Layer::Lstm(layer.clone());
    let gate = |name| gates(&names, &pass, name).row(0).to_vec();
    Ok(Step {
        i: gate("i"),
        f: gate("f"),
        g: gate("g"),
        o: gate("o"),
        c: state.c_array().row(0).to_vec(),
        h: state.h_array().row(0).to_vec(),
        state,
    })
}

/// A gate, the value at which it is held, and what then is to be seen.
struct Hold {
    gates: &'static [(&'static str, f64)],
    said: &'static str,
    /// What c or h must be, from the free step and the state before it.
    expected: fn(&Step, &Step) -> Vec<f64>,
    /// Whether that is of h.
    of_h: bool,
}

fn zip(a: &[f64], b: &[f64], by: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| by(a, b)).collect()
}

/// The gates of one step depend on h_(t-1) and x_t alone: holding one leaves the others as they were.
const HOLDS: [Hold; 9] = [
    Hold {
        gates: &[("f", -HELD)],
        said: "f = 0: the old cell state is gone, c_t = i * g",
        expected: |free, _| zip(&free.i, &free.g, |i, g| i * g),
        of_h: false,
    },
    Hold {
        gates: &[("f", HELD)],
        said: "f = 1: the old cell state is there whole, c_t = c_(t-1) + i * g",
        expected: |free, before| {
            let written = zip(&free.i, &free.g, |i, g| i * g);
            zip(&before.c, &written, |c, written| c + written)
        },
        of_h: false,
    },
    Hold {
        gates: &[("f", HELD), ("i", -HELD)],
        said: "f = 1 and i = 0: nothing changes, c_t = c_(t-1)",
        expected: |_, before| before.c.clone(),
        of_h: false,
    },
    Hold {
        gates: &[("i", -HELD)],
        said: "i = 0: nothing is written, c_t = f * c_(t-1)",
        expected: |free, before| zip(&free.f, &before.c, |f, c| f * c),
        of_h: false,
    },
    Hold {
        gates: &[("i", HELD)],
        said: "i = 1: all of g is written, c_t = f * c_(t-1) + g",
        expected: |free, before| {
            let kept = zip(&free.f, &before.c, |f, c| f * c);
            zip(&kept, &free.g, |kept, g| kept + g)
        },
        of_h: false,
    },
    Hold {
        gates: &[("g", -HELD)],
        said: "g = -1: i alone is taken away, c_t = f * c_(t-1) - i",
        expected: |free, before| {
            let kept = zip(&free.f, &before.c, |f, c| f * c);
            zip(&kept, &free.i, |kept, i| kept - i)
        },
        of_h: false,
    },
    Hold {
        gates: &[("o", -HELD)],
        said: "o = 0: nothing is seen, h_t = 0",
        expected: |free, _| vec![0.0; free.h.len()],
        of_h: true,
    },
    Hold {
        gates: &[("o", -HELD)],
        said: "o = 0: the cell state lives on, c_t as without",
        expected: |free, _| free.c.clone(),
        of_h: false,
    },
    Hold {
        gates: &[("o", HELD)],
        said: "o = 1: all of it is seen, h_t = tanh(c_t)",
        expected: |free, _| free.c.iter().map(|&c| libm::tanh(c)).collect(),
        of_h: true,
    },
];

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    conditions.say("training a cell on Latin");
    let trained = trained(conditions)?;
    conditions.say("holding its gates");
    let Trained { layer, x, text } = &trained;
    let mut state = State::zeros::<LstmCell>(1, layer.hidden_size());
    let mut free = Vec::new();
    for t in 0..LETTERS {
        let step = step(conditions, layer, x, t, &state)?;
        state = step.state.clone();
        free.push(step);
    }
    let (before, at) = (&free[AT - 1], &free[AT]);
    let mut outcome = Outcome::new(&EXPERIMENT);
    let mut table = Table::new(
        "units",
        [
            "case",
            "c of unit 1",
            "c of unit 2",
            "c of unit 3",
            "h of unit 1",
            "h of unit 2",
            "h of unit 3",
        ],
    );
    let mut row = |case: &str, c: &[f64], h: &[f64]| {
        let mut row: Vec<super::Figure> = vec![case.into()];
        row.extend(
            c[..UNITS]
                .iter()
                .chain(&h[..UNITS])
                .map(|&value| value.into()),
        );
        table.rows.push(row);
    };
    row("the step before", &before.c, &before.h);
    row("this step, free", &at.c, &at.h);
    let mut last_case = "";
    for hold in &HOLDS {
        let mut layer = layer.clone();
        for (gate, value) in hold.gates {
            layer = held(conditions, &layer, gate, *value);
        }
        let found = step(conditions, &layer, x, AT, &before.state)?;
        let expected = (hold.expected)(at, before);
        let own = if hold.of_h { &found.h } else { &found.c };
        let off = zip(own, &expected, |a, b| (a - b).abs());
        let off = off.into_iter().fold(0.0, f64::max);
        let (case, _) = hold.said.split_once(':').unwrap_or((hold.said, ""));
        // Two things may be said of one case.
        if case != last_case {
            row(case, &found.c, &found.h);
        }
        last_case = case;
        outcome.check(
            off <= SAME,
            format!("{}, but for {} (at most {SAME:e})", hold.said, shown(off)),
        );
    }
    outcome.table(table);
    gates_table(&mut outcome, at);
    product(&mut outcome);
    draw(conditions, &mut outcome, &trained, &free)?;
    outcome.seen = format!(
        "A cell of {} units that learnt Latin reads `{}`. Before one letter a gate is held, all else is left alone, and c and h of that step are put beside \
         what c_t = f * c_(t-1) + i * g and h_t = o * tanh(c_t) leave when f, i, g or o is 0 or 1. The products are element by element: each unit \
         has gates of its own.",
        layer.hidden_size(),
        crate::run::plot::visible(text).replace('\n', " "),
    );
    outcome.beyond = "The notes write that f = 0 forgets c_t; it forgets c_(t-1). Their equation has c and h with index t-1 on the left, which should be \
        the gates (i, f, o, g) there, and lacks a sigma: three sigmoids and a tanh. A sigmoid never is 0 or 1: a trained gate only comes near. And f and i \
        are two gates: a cell may keep and write at once, or neither."
        .into();
    Ok(outcome)
}

fn gates_table(outcome: &mut Outcome, at: &Step) {
    let mut table = Table::new(
        "gates of the free step",
        ["gate", "unit 1", "unit 2", "unit 3"],
    );
    for (name, gate) in [("i", &at.i), ("f", &at.f), ("g", &at.g), ("o", &at.o)] {
        table.row([name.into(), gate[0].into(), gate[1].into(), gate[2].into()]);
    }
    outcome.table(table);
}

/// The notes' example of a product element by element.
fn product(outcome: &mut Outcome) {
    const A: [[f64; 3]; 2] = [[3.0, 5.0, 7.0], [4.0, 9.0, 8.0]];
    const B: [[f64; 3]; 2] = [[1.0, 6.0, 3.0], [0.0, 2.0, 9.0]];
    let mut table = Table::new(
        "element by element",
        ["row", "column 1", "column 2", "column 3"],
    );
    let mut found = Vec::new();
    for (at, (a, b)) in A.iter().zip(&B).enumerate() {
        let product = zip(a, b, |a, b| a * b);
        table.row([
            (at + 1).into(),
            product[0].into(),
            product[1].into(),
            product[2].into(),
        ]);
        found.extend(product);
    }
    outcome.check(
        found == [3.0, 30.0, 21.0, 0.0, 18.0, 72.0],
        "element by element, (3 5 7; 4 9 8) times (1 6 3; 0 2 9) is (3 30 21; 0 18 72)",
    );
    outcome.table(table);
}

fn draw(
    conditions: &Conditions<'_>,
    outcome: &mut Outcome,
    trained: &Trained,
    free: &[Step],
) -> Result<()> {
    let Trained { layer, x, .. } = trained;
    // The unit with most to lose.
    let unit = (0..layer.hidden_size())
        .max_by(|&a, &b| free[AT - 1].c[a].abs().total_cmp(&free[AT - 1].c[b].abs()))
        .unwrap_or(0);
    let cases: [(&str, &[(&str, f64)]); 4] = [
        ("free", &[]),
        ("f = 0", &[("f", -HELD)]),
        ("f = 1, i = 0", &[("f", HELD), ("i", -HELD)]),
        ("o = 0", &[("o", -HELD)]),
    ];
    let (mut of_c, mut of_h) = (Vec::new(), Vec::new());
    for (case, (name, holds)) in cases.into_iter().enumerate() {
        let mut layer = layer.clone();
        for (gate, value) in holds {
            layer = held(conditions, &layer, gate, *value);
        }
        let mut states: Vec<Step> = free[..AT].to_vec();
        for t in AT..LETTERS {
            let last = &states[t - 1].state;
            states.push(step(conditions, &layer, x, t, last)?);
        }
        let points = |of: &dyn Fn(&Step) -> f64| -> Vec<(f64, f64)> {
            let steps = states.iter().enumerate();
            steps.map(|(t, step)| ((t + 1) as f64, of(step))).collect()
        };
        let mark = if case == 0 { Mark::Line } else { Mark::Dots };
        of_c.push(curve(name, case, mark, points(&|step| step.c[unit])));
        of_h.push(curve(name, case, mark, points(&|step| step.h[unit])));
    }
    let said = format!("gates held from letter {} on", AT + 1);
    outcome.picture(
        chart(
            &format!("Cell state of one unit, {said}"),
            "With f = 1 and i = 0 the cell state stays as it was; with f = 0 it is only what was just written.",
            (whole("letter"), linear("c of the unit")),
            of_c,
        ),
        &format!("The cell state of the unit that had most to lose, {said}: kept whole by f = 1 and i = 0, forgotten by f = 0."),
    );
    outcome.picture(
        chart(
            &format!("Hidden state of the same unit, {said}"),
            "With o = 0 the hidden state is 0 from there on.",
            (whole("letter"), linear("h of the unit")),
            of_h,
        ),
        "What the same unit shows of it: nothing with o = 0, although its cell state lives on above.",
    );
    Ok(())
}
