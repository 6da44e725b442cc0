//! Tasks at growing distance, learnt by each cell.

use super::super::problems::{Problem, ProblemTask};
use super::super::training::{adam, train};
use super::{CELLS, Conditions};
use crate::error::Result;
use crate::models::ModelConfig;
use crate::nn::{CellKind, Init, Layer};

/// How well a cell learnt a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learnt {
    pub(super) problem: Problem,
    pub(super) length: usize,
    pub(super) cell: CellKind,
    pub(super) accuracy: f64,
}

/// All results, and the networks that told the first symbol over the longest distance, before and after.
#[derive(Debug)]
pub(super) struct Solved {
    pub(super) results: Vec<Learnt>,
    pub(super) longest: usize,
    pub(super) at_start: Vec<ProblemTask>,
    pub(super) trained: Vec<ProblemTask>,
}

/// The biases with which the gates begin that keep a state, by the distance (Tallec and Ollivier, 2018): σ(3) is 0.95, for tens
/// of steps; σ(5) is 0.993, of which half is left after a hundred.
const OPEN: f64 = 3.0;
const OPEN_WIDE: f64 = 5.0;
/// The bias that holds a forget gate shut, from which no gradient leads away: σ(-30) is 1e-13.
const SHUT: f64 = -30.0;

pub(super) fn config(conditions: &Conditions<'_>, cell: CellKind) -> ModelConfig {
    ModelConfig {
        cell,
        hidden_size: 32,
        embedding_size: 8,
        init: Init::Orthogonal,
        forget_bias: Some(if conditions.without_cause {
            SHUT
        } else {
            conditions.choose(OPEN, OPEN_WIDE)
        }),
        ..ModelConfig::default()
    }
}

/// The network of a task. A GRU's update gate begins as open as the LSTM's forget gate; without the cause both are shut.
fn network(
    conditions: &Conditions<'_>,
    problem: Problem,
    length: usize,
    cell: CellKind,
) -> ProblemTask {
    let config = config(conditions, cell);
    let mut task = ProblemTask::new(problem, length, &config, 32, conditions.seed);
    let bias = config.forget_bias.unwrap_or(0.0);
    if let Some(Layer::Gru(layer)) = task.layer_mut() {
        let hidden = layer.hidden_size();
        layer.bias_ih.value[hidden..2 * hidden].fill(bias as f32);
    }
    task
}

pub(super) fn solve(conditions: &Conditions<'_>) -> Result<Solved> {
    let lengths: &[usize] = conditions.choose(&[10, 20, 40], &[10, 30, 60, 100]);
    let steps = conditions.choose(300, 1000);
    let longest = lengths.last().copied().unwrap_or(1);
    let mut solved = Solved {
        results: Vec::new(),
        longest,
        at_start: Vec::new(),
        trained: Vec::new(),
    };
    let more: &[(Problem, usize, u64)] = conditions.choose(
        &[
            (Problem::Order, 20, 400),
            (Problem::Order, 40, 400),
            (Problem::Adding, 20, 400),
            (Problem::Adding, 40, 400),
        ],
        &[
            (Problem::Order, 30, 2000),
            (Problem::Order, 100, 2000),
            (Problem::Adding, 30, 4000),
            (Problem::Adding, 100, 4000),
        ],
    );
    let copies = lengths.iter().map(|&length| (Problem::Copy, length, steps));
    let all: Vec<_> = copies.chain(more.iter().copied()).collect();
    for (problem, length, steps) in all {
        for cell in CELLS {
            conditions.say(format!("{}, distance {length}, {cell}", problem.name()));
            // Numbers want larger steps than symbols.
            let rate = if problem == Problem::Adding {
                0.01
            } else {
                0.003
            };
            let mut task = network(conditions, problem, length, cell);
            let is_longest = problem == Problem::Copy && length == longest;
            if is_longest {
                let start = network(conditions, problem, length, cell);
                solved.at_start.push(start);
            }
            let history = train(conditions, &mut task, &adam(steps, rate, conditions.seed))?;
            solved.results.push(Learnt {
                problem,
                length,
                cell,
                accuracy: history.metric("accuracy"),
            });
            if is_longest {
                solved.trained.push(task);
            }
        }
    }
    Ok(solved)
}
