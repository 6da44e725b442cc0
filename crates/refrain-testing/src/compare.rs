/// Panics unless every found value is near the expected one.
///
/// Near means `|found - expected| ≤ absolute + relative · |expected|`; equal infinities are near, a NaN never is.
/// The panic names the element that is furthest out of bounds and counts the others.
///
/// # Panics
/// Also where the lengths differ, and where there is nothing to compare.
///
/// ```
/// refrain_testing::assert_close("output", &[1.0, 2.0], &[1.0, 2.0 + 1e-9], 0.0, 1e-8);
/// ```
#[track_caller]
pub fn assert_close<F, E>(name: &str, found: &[F], expected: &[E], absolute: f64, relative: f64)
where
    F: Copy + Into<f64>,
    E: Copy + Into<f64>,
{
    assert_eq!(
        found.len(),
        expected.len(),
        "`{name}` has {} elements, expected {}",
        found.len(),
        expected.len()
    );
    assert!(!found.is_empty(), "`{name}` is empty: nothing to compare");
    let mut worst: Option<(usize, f64)> = None;
    let mut outside = 0;
    for (index, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let excess = excess(f.into(), e.into(), absolute, relative);
        if excess > 1.0 {
            outside += 1;
            if worst.is_none_or(|(_, most)| excess > most) {
                worst = Some((index, excess));
            }
        }
    }
    if let Some((index, _)) = worst {
        let (f, e): (f64, f64) = (found[index].into(), expected[index].into());
        panic!(
            "`{name}`[{index}] is {f:e}, expected {e:e}: off by {:e}, allowed {:e} ({outside} of {} elements are outside)",
            (f - e).abs(),
            absolute + relative * e.abs(),
            found.len(),
        );
    }
}

/// The error as a multiple of what is allowed; infinite for a NaN.
fn excess(found: f64, expected: f64, absolute: f64, relative: f64) -> f64 {
    if found == expected {
        return 0.0;
    }
    let error = (found - expected).abs();
    let allowed = absolute + relative * expected.abs();
    if error <= allowed && error.is_finite() {
        return 0.0;
    }
    // Above the bound, but the quotient may round down to 1, or be 0 / 0 or inf / inf.
    let excess = error / allowed;
    if excess.is_nan() {
        f64::INFINITY
    } else {
        excess.max(1.0 + f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_values_pass() {
        assert_close("x", &[1.0f32, -2.0], &[1.0f64, -2.0], 0.0, 0.0);
        assert_close("x", &[1.0 + 1e-7], &[1.0], 0.0, 1e-6);
        assert_close("x", &[1e-7], &[0.0], 1e-6, 0.0);
        assert_close("x", &[f64::INFINITY, 0.0], &[f64::INFINITY, -0.0], 0.0, 0.0);
    }

    #[test]
    #[should_panic(
        expected = "`output`[2] is 3.5e0, expected 3e0: off by 5e-1, allowed 1e-3 (2 of 3 elements are outside)"
    )]
    fn the_worst_element_is_named() {
        assert_close("output", &[1.0, 2.1, 3.5], &[1.0, 2.0, 3.0], 1e-3, 0.0);
    }

    #[test]
    #[should_panic(expected = "`x`[1] is NaN")]
    fn a_nan_is_never_near() {
        assert_close("x", &[1.0, f64::NAN], &[1.0, 1.0], 1e9, 1e9);
    }

    #[test]
    #[should_panic(expected = "`x`[0] is 1e0, expected NaN")]
    fn an_expected_nan_is_never_met() {
        assert_close("x", &[1.0], &[f64::NAN], 1e9, 1e9);
    }

    #[test]
    #[should_panic(expected = "`x`[0] is 1e0, expected inf")]
    fn an_infinity_is_not_near_a_number() {
        assert_close("x", &[1.0], &[f64::INFINITY], 0.0, 1.0);
    }

    #[test]
    #[should_panic(expected = "`x` has 1 elements, expected 2")]
    fn lengths_must_be_equal() {
        assert_close("x", &[1.0], &[1.0, 2.0], 0.0, 0.0);
    }

    #[test]
    #[should_panic(expected = "nothing to compare")]
    fn nothing_is_not_a_pass() {
        assert_close::<f64, f64>("x", &[], &[], 0.0, 0.0);
    }
}
