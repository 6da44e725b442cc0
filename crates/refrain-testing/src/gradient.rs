use std::fmt;

/// Steps of the difference quotients, tried in this order until one agrees. Powers of two, so that adding one to a
/// number near 1 rounds nothing off. The first is best for a smooth function: truncation ~ h^4, rounding ~
/// ulp(loss) / h. The smaller ones are for a kink nearby (ReLU), over which no difference quotient is right.
const STEPS: [f64; 3] = [1.0 / 1024.0, 1.0 / 8192.0, 1.0 / 131_072.0];

/// Agreement at which no smaller step is tried.
const AGREED: f64 = 1e-8;

/// Gradients below this part of `max(1, |loss|)` are compared absolutely: the quotients' own rounding
/// error, about 1e-13 to 1e-11 of the loss, would drown a relative comparison.
const FLOOR: f64 = 1e-4;

/// How far an analytic gradient is from the difference quotients, at its worst element.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a report asserts nothing by itself: call `assert_below`"]
pub struct GradientReport {
    /// The parameter's name.
    pub name: String,
    /// How many elements were compared.
    pub elements: usize,
    /// The worst element's place.
    pub index: usize,
    /// What was claimed there.
    pub analytic: f64,
    /// What the difference quotient gives there.
    pub numeric: f64,
    /// `|analytic - numeric| / max(|analytic|, |numeric|, floor)`; infinite where one is not finite.
    pub relative_error: f64,
}

impl GradientReport {
    /// Panics unless the worst relative error is below the tolerance; 1e-6 is usual.
    ///
    /// # Panics
    /// With name, index and both values.
    #[track_caller]
    pub fn assert_below(&self, tolerance: f64) {
        assert!(
            self.relative_error < tolerance,
            "{self}, expected below {tolerance:e}"
        );
    }
}

impl fmt::Display for GradientReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            elements,
            index,
            analytic,
            numeric,
            relative_error,
        } = self;
        write!(
            f,
            "gradient of `{name}`[{index}] (worst of {elements}): analytic {analytic:e}, numeric {numeric:e}, \
             relative error {relative_error:e}"
        )
    }
}

/// Compares a gradient with central differences of the loss, element by element.
///
/// `loss` must be a function of the parameter alone (the same dropout masks at every call) and is called four
/// times an element, or up to twelve near a kink. The parameter holds its own values again afterwards.
///
/// ```text
/// D(h)    = (loss(p + h) - loss(p - h)) / 2h
/// numeric = (4 D(h) - D(2h)) / 3                 (Richardson: the error falls from h² to h⁴)
/// ```
///
/// # Panics
/// Where the lengths differ, and where there is nothing to check.
///
/// # References
/// L. F. Richardson, "The approximate arithmetical solution by finite differences", 1911.
///
/// ```
/// use refrain_testing::gradient_check;
///
/// // loss = w0² w1, so the gradient is (2 w0 w1, w0²)
/// let mut w = [3.0, -2.0];
/// gradient_check("w", &mut w, &[-12.0, 9.0], |w| w[0] * w[0] * w[1]).assert_below(1e-6);
/// ```
#[track_caller]
pub fn gradient_check(
    name: &str,
    parameter: &mut [f64],
    analytic: &[f64],
    mut loss: impl FnMut(&[f64]) -> f64,
) -> GradientReport {
    assert_eq!(
        parameter.len(),
        analytic.len(),
        "`{name}` has {} elements, its gradient {}",
        parameter.len(),
        analytic.len()
    );
    assert!(!parameter.is_empty(), "`{name}` is empty: nothing to check");
    let floor = FLOOR * loss(parameter).abs().max(1.0);
    let mut report = GradientReport {
        name: name.to_owned(),
        elements: parameter.len(),
        index: 0,
        analytic: analytic[0],
        numeric: f64::NAN,
        relative_error: -1.0,
    };
    for (index, &analytic) in analytic.iter().enumerate() {
        let (numeric, error) = nearest(parameter, index, analytic, floor, &mut loss);
        if error > report.relative_error {
            report = GradientReport {
                index,
                analytic,
                numeric,
                relative_error: error,
                ..report
            };
        }
    }
    report
}

/// The difference quotient that is nearest to the analytic value, over the steps, and its relative error.
fn nearest(
    parameter: &mut [f64],
    index: usize,
    analytic: f64,
    floor: f64,
    loss: &mut impl FnMut(&[f64]) -> f64,
) -> (f64, f64) {
    let mut best = (f64::NAN, f64::INFINITY);
    for step in STEPS {
        let numeric = richardson(parameter, index, step, loss);
        let error = relative_error(analytic, numeric, floor);
        if error < best.1 || best.0.is_nan() {
            best = (numeric, error);
        }
        if best.1 < AGREED {
            break;
        }
    }
    best
}

fn richardson(
    parameter: &mut [f64],
    index: usize,
    step: f64,
    loss: &mut impl FnMut(&[f64]) -> f64,
) -> f64 {
    let value = parameter[index];
    let step = step * value.abs().max(1.0);
    let mut central = |h: f64| {
        let (above, below) = (value + h, value - h);
        parameter[index] = above;
        let loss_above = loss(parameter);
        parameter[index] = below;
        let loss_below = loss(parameter);
        (loss_above - loss_below) / (above - below)
    };
    let numeric = (4.0 * central(step) - central(2.0 * step)) / 3.0;
    parameter[index] = value;
    numeric
}

fn relative_error(analytic: f64, numeric: f64, floor: f64) -> f64 {
    let error = (analytic - numeric).abs() / analytic.abs().max(numeric.abs()).max(floor);
    if error.is_finite() {
        error
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Σ tanh(w_i · i / 4)` and its gradient.
    fn loss(w: &[f64]) -> f64 {
        (0..)
            .zip(w)
            .map(|(i, &w)| tanh(w * f64::from(i) / 4.0))
            .sum()
    }

    fn gradient(w: &[f64]) -> Vec<f64> {
        let slope = |(i, &w): (i32, &f64)| {
            let scale = f64::from(i) / 4.0;
            scale * (1.0 - tanh(w * scale) * tanh(w * scale))
        };
        (0..).zip(w).map(slope).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any smooth function will do here"
    )]
    fn tanh(x: f64) -> f64 {
        x.tanh()
    }

    fn weights() -> Vec<f64> {
        (0..19).map(|i| f64::from(i % 5) - 1.9).collect()
    }

    #[test]
    fn a_right_gradient_passes_by_far_and_the_parameter_is_restored() {
        let mut w = weights();
        let report = gradient_check("w", &mut w, &gradient(&weights()), loss);
        report.assert_below(1e-8);
        assert_eq!(report.elements, 19);
        assert_eq!(w, weights());
    }

    #[test]
    #[should_panic(expected = "gradient of `w`[7] (worst of 19)")]
    fn a_gradient_wrong_by_two_millionths_fails() {
        let mut wrong = gradient(&weights());
        wrong[7] *= 1.0 + 2e-6;
        gradient_check("w", &mut weights(), &wrong, loss).assert_below(1e-6);
    }

    #[test]
    #[should_panic(expected = "gradient of `w`[3] (worst of 19): analytic 0e0")]
    fn a_forgotten_gradient_fails() {
        let mut wrong = gradient(&weights());
        wrong[3] = 0.0;
        gradient_check("w", &mut weights(), &wrong, loss).assert_below(1e-6);
    }

    #[test]
    fn a_wrong_sign_two_swapped_elements_and_a_constant_factor_are_seen() {
        let right = gradient(&weights());
        let mut swapped = right.clone();
        swapped.swap(5, 6);
        let negated: Vec<f64> = right.iter().map(|g| -g).collect();
        let doubled: Vec<f64> = right.iter().map(|g| 2.0 * g).collect();
        for wrong in [swapped, negated, doubled] {
            let report = gradient_check("w", &mut weights(), &wrong, loss);
            assert!(report.relative_error > 0.1, "{report}");
        }
    }

    #[test]
    fn a_nan_fails_wherever_it_comes_from() {
        let mut wrong = gradient(&weights());
        wrong[0] = f64::NAN;
        let report = gradient_check("w", &mut weights(), &wrong, loss);
        assert_eq!((report.index, report.relative_error), (0, f64::INFINITY));
        let report = gradient_check("w", &mut [1.0], &[0.0], |_| f64::NAN);
        assert_eq!(report.relative_error, f64::INFINITY);
    }

    #[test]
    fn a_kink_close_by_is_stepped_around() {
        let relu = |w: &[f64]| w[0].max(0.0);
        gradient_check("w", &mut [1e-4], &[1.0], relu).assert_below(1e-6);
        gradient_check("w", &mut [-1e-4], &[0.0], relu).assert_below(1e-6);
        let report = gradient_check("w", &mut [1e-4], &[0.5], relu);
        assert!(report.relative_error > 0.05, "{report}");
    }

    #[test]
    fn large_losses_and_small_gradients_do_not_drown() {
        let loss = |w: &[f64]| 1000.0 + 1e-3 * w[0] * w[0];
        gradient_check("w", &mut [0.5], &[1e-3], loss).assert_below(1e-6);
        let report = gradient_check("w", &mut [0.5], &[1.01e-3], loss);
        assert!(report.relative_error > 1e-5, "{report}");
    }

    #[test]
    #[should_panic(expected = "`w` has 2 elements, its gradient 1")]
    fn lengths_must_be_equal() {
        let _ = gradient_check("w", &mut [1.0, 2.0], &[1.0], |w| w[0]);
    }

    #[test]
    #[should_panic(expected = "`w` is empty: nothing to check")]
    fn nothing_is_not_a_pass() {
        let _ = gradient_check("w", &mut [], &[], |_| 0.0);
    }
}
