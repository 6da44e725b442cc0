//! The five shapes of sequences, a small model of each.

use super::chart::{chart, curve, linear, whole};
use super::figures::shown;
use super::training::{History, train};
use super::{Conditions, Drawing, Experiment, Outcome, Picture, Table};
use crate::error::Result;
use crate::nn::CellKind;
use crate::run::Given;
use crate::run::graph::Graph;
use crate::run::plot::Mark;
use crate::run::settings::{Settings, Task as TaskName};
use crate::run::tasks::{Weights, prepare};
use crate::train::Score;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "five-shapes",
    claim: "One engine learns every shape of sequence: one to one, one to many, many to one, many to many by a summary, many to many step by step.",
    measures: "the validation loss of a small model of each shape on its built-in data, before and after some training; the sizes of its tensors",
    cause: "the gradient steps; in their place steps of length 0",
    work,
};

/// A shape has been learnt if its loss fell to this share.
const LEARNT: f64 = 0.6;
/// Steps of length 0, where there is no cause: more would change nothing.
const STEPS_WITHOUT: u64 = 10;

/// One shape.
struct Shape {
    name: &'static str,
    example: &'static str,
    task: TaskName,
    /// Whether it is the plain network.
    is_plain: bool,
    /// Steps where it is to be quick, and in full.
    steps: (u64, u64),
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "one to one",
        example: "a few frames of a clip at once to what is done in them, by the plain network",
        task: TaskName::Tag,
        is_plain: true,
        steps: (120, 500),
    },
    Shape {
        name: "one to many",
        example: "a picture to a sentence",
        task: TaskName::Caption,
        is_plain: false,
        steps: (60, 600),
    },
    Shape {
        name: "many to one",
        example: "a review to its class",
        task: TaskName::Classify,
        is_plain: false,
        steps: (900, 900),
    },
    Shape {
        name: "many to one, then one to many",
        example: "a date as people write it to an ISO date",
        task: TaskName::Translate,
        is_plain: false,
        steps: (120, 600),
    },
    Shape {
        name: "many to many, step by step",
        example: "the frames of a clip to what is done in each",
        task: TaskName::Tag,
        is_plain: false,
        steps: (240, 800),
    },
];

/// What a shape's model came to.
struct Learnt {
    before: Option<Score>,
    history: History,
    tensors: Vec<(String, Vec<usize>)>,
    graph: Graph,
}

fn learn(conditions: &Conditions<'_>, shape: &Shape) -> Result<Learnt> {
    let steps = if conditions.without_cause {
        STEPS_WITHOUT
    } else {
        conditions.choose(shape.steps.0, shape.steps.1)
    };
    let settings = Settings {
        task: Some(shape.task),
        seed: Some(conditions.seed),
        steps: Some(steps),
        cell: shape.is_plain.then_some(CellKind::Mlp),
        ..Settings::default()
    };
    let mut config = settings.or(Settings::demo(shape.task)?).resolve()?;
    let prepared = prepare(&mut config, &mut Given::default(), Weights::Drawn)?;
    let mut task = (prepared.build)(&config, Weights::Drawn);
    let before = task.validate(conditions.compute);
    let mut tensors = Vec::new();
    task.parameters().visit(&mut |parameter| {
        tensors.push((parameter.name.clone(), parameter.shape.clone()));
    });
    let mut settings = config.train_config(task.steps_per_epoch());
    settings.eval_every = steps;
    settings.patience = None;
    settings.optimizer.warmup_steps = settings.optimizer.warmup_steps.min(steps / 10);
    if conditions.without_cause {
        settings.optimizer.learning_rate = 0.0;
    }
    let history = train(conditions, task.as_mut(), &settings)?;
    Ok(Learnt {
        before,
        history,
        tensors,
        graph: task.graph(),
    })
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::new(&EXPERIMENT);
    let mut table = Table::new(
        "shapes",
        [
            "shape",
            "from what to what",
            "task",
            "steps",
            "loss before nats",
            "loss after nats",
            "share right",
        ],
    );
    let mut tensors = Vec::new();
    let (mut series, mut graphs) = (Vec::new(), Vec::new());
    for (case, shape) in SHAPES.iter().enumerate() {
        conditions.say(format!("{}: {}", shape.name, shape.example));
        let learnt = learn(conditions, shape)?;
        let before = learnt
            .before
            .as_ref()
            .map_or(f64::NAN, |score| score.loss_nats);
        let after = learnt.history.score_loss();
        table.row([
            shape.name.into(),
            shape.example.into(),
            shape.task.name().into(),
            learnt.history.steps.len().into(),
            before.into(),
            after.into(),
            learnt.history.metric("accuracy").into(),
        ]);
        let mut sizes = Table::new(&format!("tensors, {}", shape.name), ["tensor", "size"]);
        for (name, size) in &learnt.tensors {
            let size: Vec<_> = size.iter().map(ToString::to_string).collect();
            sizes.row([name.clone().into(), size.join(" × ").into()]);
        }
        tensors.push(sizes);
        outcome.check(
            after <= LEARNT * before,
            format!(
                "{}, {}: validation loss from {} to {} nats (at most {})",
                shape.name,
                shape.example,
                shown(before),
                shown(after),
                shown(LEARNT * before)
            ),
        );
        graphs.push(Picture {
            drawing: Drawing::Svg(learnt.graph.to_svg()?),
            caption: format!(
                "{}, unrolled: which box feeds which, with the sizes of the tensors.",
                shape.name
            ),
        });
        let first = learnt.history.first_loss();
        let losses = super::chart::smoothed(&learnt.history.losses(), 10);
        let count = losses.len().max(1) as f64;
        let losses = losses.into_iter().enumerate();
        let points = losses.map(|(at, loss)| (100.0 * (at + 1) as f64 / count, loss / first));
        series.push(curve(shape.name, case, Mark::Line, points));
    }
    outcome.table(table);
    for sizes in tensors {
        outcome.table(sizes);
    }
    let mut y = linear("training loss, of that of the first step (mean of 10 steps)");
    y.from_zero = true;
    outcome.picture(
        chart(
            "Five shapes learn",
            "Each shape's training loss falls.",
            (whole("training, %"), y),
            series,
        ),
        "The training loss of each shape's model as a share of that at its first step.",
    );
    outcome.pictures.extend(graphs);
    outcome.seen = "The same recurrent layers stand behind every shape: what differs is what is read at each step, and at which steps something is asked for. Each model learnt its built-in data for some steps; \
        the tables have the sizes of all of its tensors."
        .into();
    outcome.beyond = "One to one is no sequence at all and needs no recurrence; but the plain network stays at guessing on the reviews of many to one, whose order it does not see. A fixed input can also be read in pieces, step by step, which makes many to one of it; and a language model is a sixth way to use \
        the last shape: its outputs are its own inputs, one step ahead."
        .into();
    Ok(outcome)
}
