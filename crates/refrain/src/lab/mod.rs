//! The claims that are made of recurrent networks, each as an experiment that says whether it holds.
//!
//! An experiment trains or takes apart the layers of this library and computes its verdict from what it measured, by
//! thresholds that stand in its file with their reasons. Run [without its cause](Conditions::without_cause) it must come
//! to the opposite verdict: a test sees to that. The same seed gives the same figures; times come from the caller's clock.

mod activations;
mod chart;
mod clipping;
mod depth;
mod figures;
mod five_shapes;
mod flow;
mod full_cost;
mod gradient_flow;
mod lstm_gates;
mod normalization;
mod outcome;
mod page;
mod problems;
mod shared_weights;
mod text;
mod training;
mod truncation;
mod vanishing;
mod variety;

use std::fmt;

use refrain_kernels::Compute;

use crate::error::{Error, Result};

pub use figures::{Figure, Figures, Table};
pub use outcome::{Drawing, Outcome, Picture};
pub use page::page;

/// What an experiment is given from outside.
#[derive(Clone, Copy)]
pub struct Conditions<'a> {
    /// Whether it is to be quick: smaller models, fewer steps, fewer seeds.
    pub quick: bool,
    /// The seed of everything random.
    pub seed: u64,
    /// Whether what the claim rests on is taken away ([`Experiment::cause`]): then it must not hold.
    pub without_cause: bool,
    /// What computes.
    pub compute: &'a Compute,
    /// Seconds since any fixed moment.
    pub clock: &'a dyn Fn() -> f64,
    /// The most memory that the process has held so far, in bytes, where that is known.
    pub peak_memory: &'a dyn Fn() -> Option<u64>,
    /// Is told what is being done.
    pub progress: &'a dyn Fn(&str),
}

impl fmt::Debug for Conditions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions")
            .field("quick", &self.quick)
            .field("seed", &self.seed)
            .field("without_cause", &self.without_cause)
            .finish_non_exhaustive()
    }
}

impl Conditions<'_> {
    /// The first where it is to be quick, else the second.
    fn choose<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    fn say(&self, what: impl AsRef<str>) {
        (self.progress)(what.as_ref());
    }
}

/// A claim with the experiment that decides it.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// The claim, in a sentence.
    pub claim: &'static str,
    /// What is measured.
    pub measures: &'static str,
    /// What the claim rests on, and what stands in its place where it is taken away.
    pub cause: &'static str,
    work: fn(&Conditions<'_>) -> Result<Outcome>,
}

impl Experiment {
    /// Runs it.
    ///
    /// # Errors
    /// Whatever the library refuses, which would be a mistake in the experiment. That a training run explodes is none: it
    /// is a finding.
    pub fn run(&self, conditions: &Conditions<'_>) -> Result<Outcome> {
        let mut outcome = (self.work)(conditions)?;
        if conditions.without_cause {
            // What experiments say was seen is said of the claim with its cause.
            outcome.seen = format!(
                "What the claim rests on was taken away: {}. What does not hold without it is marked `no` above.",
                self.cause
            );
            outcome.beyond.clear();
        }
        Ok(outcome)
    }
}

/// All experiments, in the order of the study notes.
pub const EXPERIMENTS: [Experiment; 12] = [
    five_shapes::EXPERIMENT,
    shared_weights::EXPERIMENT,
    variety::EXPERIMENT,
    full_cost::EXPERIMENT,
    truncation::EXPERIMENT,
    depth::EXPERIMENT,
    vanishing::EXPERIMENT,
    clipping::EXPERIMENT,
    lstm_gates::EXPERIMENT,
    gradient_flow::EXPERIMENT,
    activations::EXPERIMENT,
    normalization::EXPERIMENT,
];

/// The names of all experiments, in their order.
pub const NAMES: [&str; EXPERIMENTS.len()] = {
    let mut names = [""; EXPERIMENTS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = EXPERIMENTS[at].name;
        at += 1;
    }
    names
};

/// The experiment of a name.
///
/// # Errors
/// [`Error::Setting`] if there is none.
///
/// # Examples
///
/// ```
/// let experiment = refrain::lab::find("vanishing")?;
/// assert!(experiment.claim.contains("gradient"));
/// assert!(refrain::lab::find("vanish").is_err());
/// # Ok::<(), refrain::Error>(())
/// ```
pub fn find(name: &str) -> Result<&'static Experiment> {
    let found = EXPERIMENTS
        .iter()
        .find(|experiment| experiment.name == name);
    found.ok_or_else(|| Error::Setting {
        name: "experiment".into(),
        found: format!("`{name}`"),
        expected: format!("one of {}", NAMES.join(", ")),
        hint: "`refrain lab` lists the experiments with their claims".into(),
    })
}
