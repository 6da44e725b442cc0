//! The gradient of an early state has passed through the recurrent matrix once for every step.

use ndarray::Array3;
use refrain_kernels::RnnCell;

use super::chart::{chart, curve, log, over_index, whole};
use super::figures::shown;
use super::flow::{Begin, Path, directions, flow, forward, inputs, largest_singular_value, slope};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::nn::{Init, Recurrent};
use crate::run::plot::{Mark, Series};
use crate::train::{Purpose, keyed_rng};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "vanishing",
    claim: "The gradient of an early hidden state has passed through W_hh at every step: with singular values below 1 it vanishes; \
            with all of them above 1, and where tanh does not bend, it explodes.",
    measures: "the norm of the gradient of h_(T-k) against the distance k, of vanilla networks whose largest singular value is 0.5 to 2, \
               beside the bound; with tanh's derivative 1 and with tanh at work",
    cause: "the singular values differ from 1; in their place all of them are 1",
    work,
};

/// The largest singular values.
const VALUES: [f64; 5] = [0.5, 0.8, 1.0, 1.25, 2.0];
/// Below this a gradient has vanished, of which 1 began; its inverse is a gradient that exploded. 0.8^40 is a tenth of it.
const VANISHED: f64 = 1e-3;
/// The values to which that applies over 40 steps.
const FAR_BELOW: f64 = 0.8;
const FAR_ABOVE: f64 = 1.25;
/// f64 over a hundred products.
const SAME: f64 = 1e-9;

/// One network's gradients.
struct Case {
    value: f64,
    /// With all hidden states 0, where tanh's derivative is 1.
    linear: Vec<f64>,
    /// With inputs, by which tanh bends.
    driven: Vec<f64>,
    /// The mean of tanh's derivative there.
    derivative: f64,
    /// The same of a random matrix with this largest singular value, with all hidden states 0.
    random: Vec<f64>,
}

struct Sizes {
    hidden: usize,
    steps: usize,
    batch: usize,
}

fn case(conditions: &Conditions<'_>, value: f64, sizes: &Sizes) -> Result<Case> {
    let Sizes {
        hidden,
        steps,
        batch,
    } = *sizes;
    let compute = conditions.compute;
    // The same draws for every value: the cases differ by the factor alone.
    let mut rng = keyed_rng(conditions.seed, Purpose::Weights, 0);
    let mut layer = Recurrent::<f64, RnnCell>::zeros(RnnCell::Tanh, "", 0, hidden, hidden);
    layer.initialise(Init::Orthogonal, &mut rng);
    let mut random = layer.clone();
    random.initialise(Init::Xavier, &mut rng);
    let largest = largest_singular_value(&random.weight_hh.value, hidden);
    for weight in &mut random.weight_hh.value {
        *weight *= value / largest;
    }
    for weight in &mut layer.weight_hh.value {
        *weight *= value;
    }
    let d_last = directions(batch, hidden, &mut rng);
    let silence = Array3::zeros((steps, batch, hidden));
    let noise = inputs((steps, batch, hidden), &mut rng);
    let from = (Begin::Hidden, &d_last);
    let mut derivatives = 0.0;
    let passes = forward(compute, &layer, noise.view())?;
    for (_, state) in &passes {
        let h = state.h_array();
        derivatives += h.iter().map(|h| 1.0 - h * h).sum::<f64>() / h.len() as f64;
    }
    Ok(Case {
        value,
        linear: flow(compute, &layer, silence.view(), from, Path::All)?.h,
        driven: flow(compute, &layer, noise.view(), from, Path::All)?.h,
        derivative: derivatives / passes.len() as f64,
        random: flow(compute, &random, silence.view(), from, Path::All)?.h,
    })
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let sizes = conditions.choose(
        Sizes {
            hidden: 48,
            steps: 40,
            batch: 4,
        },
        Sizes {
            hidden: 128,
            steps: 100,
            batch: 8,
        },
    );
    let mut cases = Vec::new();
    for value in VALUES {
        conditions.say(format!("largest singular value {value}"));
        let value = if conditions.without_cause { 1.0 } else { value };
        cases.push(case(conditions, value, &sizes)?);
    }
    let mut outcome = Outcome::new(&EXPERIMENT);
    tabulate(&mut outcome, &cases);
    decide(&mut outcome, &cases, sizes.steps);
    draw(&mut outcome, &cases);
    explain(&mut outcome, &cases, sizes.steps);
    Ok(outcome)
}

fn last(norms: &[f64]) -> f64 {
    norms.last().copied().unwrap_or(f64::NAN)
}

fn tabulate(outcome: &mut Outcome, cases: &[Case]) {
    let mut table = Table::new(
        "by singular value",
        [
            "largest singular value",
            "bound log10 a step",
            "slope log10 a step",
            "slope with tanh at work",
            "mean derivative of tanh",
            "slope of a random matrix",
            "norm at the first state",
        ],
    );
    for case in cases {
        table.row([
            case.value.into(),
            libm::log10(case.value).into(),
            slope(&case.linear).into(),
            slope(&case.driven).into(),
            case.derivative.into(),
            slope(&case.random).into(),
            last(&case.linear).into(),
        ]);
    }
    outcome.table(table);
}

/// The cases of some values; without the cause the same cases, whose values are 1.
fn of_values(cases: &[Case], keep: impl Fn(f64) -> bool) -> impl Iterator<Item = &Case> {
    let cases = cases.iter().zip(VALUES);
    cases
        .filter(move |&(_, value)| keep(value))
        .map(|(case, _)| case)
}

fn decide(outcome: &mut Outcome, cases: &[Case], steps: usize) {
    outcome.figure("steps", steps);
    let most = of_values(cases, |value| value <= FAR_BELOW)
        .flat_map(|case| [&case.linear, &case.driven, &case.random])
        .fold(0.0, |most: f64, norms| most.max(last(norms)));
    outcome.check(
        most <= VANISHED,
        format!(
            "with values up to {FAR_BELOW} the gradient vanishes: after {steps} steps at most {} of 1 is left (at most {VANISHED:e})",
            shown(most)
        ),
    );
    let least = of_values(cases, |value| value >= FAR_ABOVE)
        .fold(f64::INFINITY, |least, case| least.min(last(&case.linear)));
    let lasts = |of: &dyn Fn(&Case) -> &Vec<f64>| -> String {
        let above = of_values(cases, |value| value >= FAR_ABOVE);
        let lasts: Vec<_> = above.map(|case| shown(last(of(case)))).collect();
        lasts.join(" and ")
    };
    let values = VALUES.into_iter().filter(|&value| value >= FAR_ABOVE);
    let values: Vec<_> = values.map(|value| format!("{value}")).collect();
    outcome.check(
        least >= 1.0 / VANISHED,
        format!(
            "with all values {FAR_ABOVE} or more, and where tanh does not bend, it explodes: after {steps} steps 1 has become {} or more (at least {:e}). Of the other settings that is not \
             said: at {}, with tanh at work 1 has become {}, with a random matrix {}",
            shown(least),
            1.0 / VANISHED,
            values.join(" and "),
            lasts(&|case| &case.driven),
            lasts(&|case| &case.random),
        ),
    );
    let off = cases.iter().fold(0.0, |most: f64, case| {
        most.max((slope(&case.linear) - libm::log10(case.value)).abs())
    });
    outcome.figure("slope off the bound", off);
    outcome.check(
        off <= SAME,
        format!(
            "the slope is the logarithm of the singular value where all are alike and tanh does not bend, but for {} (at most {SAME:e})",
            shown(off)
        ),
    );
    let above_bound = cases.iter().any(|case| {
        [&case.linear, &case.driven, &case.random]
            .iter()
            .any(|norms| {
                let bound = |k: usize| libm::pow(case.value, k as f64) * (1.0 + SAME);
                norms.iter().enumerate().any(|(k, &norm)| norm > bound(k))
            })
    });
    outcome.check(
        !above_bound,
        "no gradient, of whichever matrix and input, is above the largest singular value to the power of the distance",
    );
}

fn draw(outcome: &mut Outcome, cases: &[Case]) {
    let curves = |of: &dyn Fn(&Case) -> &Vec<f64>| -> Vec<Series> {
        let cases = cases.iter().enumerate();
        cases
            .map(|(at, case)| {
                let label = format!("singular value {}", case.value);
                curve(label, at, Mark::Line, over_index(of(case)))
            })
            .collect()
    };
    // Behind the curves; the first stands for all of them in the legend.
    let with_bounds = |curves: Vec<Series>| -> Vec<Series> {
        let bounds = cases.iter().enumerate().map(|(at, case)| {
            let label = if at == 0 { "bound, value^k" } else { "" };
            let points =
                (0..case.linear.len()).map(|k| (k as f64, libm::pow(case.value, k as f64)));
            curve(label, at, Mark::Faint, points)
        });
        bounds.chain(curves).collect()
    };
    let axes = || {
        (
            whole("distance k from the last step"),
            log("norm of the gradient of h_(T-k)"),
        )
    };
    outcome.picture(
        chart(
            "Gradient against distance, tanh not bending",
            "Straight lines on a logarithmic axis: below 1 they fall, above 1 they rise.",
            axes(),
            curves(&|case| &case.linear),
        ),
        "The largest singular value (all are alike) decides: each step multiplies the gradient by it. The hidden states are 0 here, so \
         that tanh's derivative is 1.",
    );
    outcome.picture(
        chart(
            "Gradient against distance, tanh at work",
            "The same matrices with random inputs: every line lies below its bound.",
            axes(),
            with_bounds(curves(&|case| &case.driven)),
        ),
        "The same matrices while the network reads random inputs: tanh's derivative, below 1, takes its share at each step. Pale: the singular value to the power of the distance.",
    );
    outcome.picture(
        chart(
            "Gradient against distance, random matrices",
            "Random matrices with the same largest singular value: most lines fall.",
            axes(),
            with_bounds(curves(&|case| &case.random)),
        ),
        "Random matrices whose largest singular value is the same: the other values are smaller, and the gradient does not stay in the \
         direction of the largest. Above 1 it may explode, but need not. Pale: the largest singular value to the power of the distance.",
    );
}

fn explain(outcome: &mut Outcome, cases: &[Case], steps: usize) {
    let [.., above, far_above] = cases else {
        return;
    };
    outcome.seen = format!(
        "A gradient of norm 1 was put on the last hidden state and followed back over {steps} steps. Where all singular values of W_hh are \
         the same and tanh does not bend, its norm is that value to the power of the distance: {} at 0.5, {} at 2. With inputs, tanh's \
         derivative is {} on average at 2 and takes that much more off at every step.",
        shown(last(&cases[0].linear)),
        shown(last(&far_above.linear)),
        shown(far_above.derivative),
    );
    outcome.beyond = format!(
        "Below 1 is enough to vanish; above 1 is not enough to explode. With tanh at work the slope at {} is {} a step instead of {} \
         (powers of ten). And a random matrix whose largest singular value is {} has slope {}: what counts over many steps is its spectral radius, \
         about half of that.",
        above.value,
        shown(slope(&above.driven)),
        shown(libm::log10(above.value)),
        above.value,
        shown(slope(&above.random)),
    );
}
