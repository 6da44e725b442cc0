//! Pooling over packed sequences: values by hand, finite differences in f64, a sequence alone equals it in a batch.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::nn::{Pooling, PoolingSpace, Steps, pool_backward, pool_forward};
use refrain_kernels::{Panels, Scalar};
use refrain_testing::gradient_check;

const TOLERANCE: f64 = 1e-6;
const LENGTHS: [usize; 5] = [6, 6, 3, 2, 1];
/// A whole group of sixteen and a part of another; the reverse direction begins inside a group.
const FEATURES: usize = 23;
const REVERSE_FROM: usize = 11;

fn random<T: Scalar>(count: usize, rng: &mut ChaCha12Rng) -> Vec<T> {
    (0..count)
        .map(|_| T::from_f64(rng.random_range(-1.0..1.0)))
        .collect()
}

fn panels<T: Scalar>(values: &[T], columns: usize) -> Panels<T> {
    let mut panels = Panels::new(values.len() / columns, columns);
    panels.copy_from_rows(0, values);
    panels
}

fn pooled<T: Scalar>(
    pooling: Pooling,
    steps: &Steps,
    reverse_from: Option<usize>,
    x: &Panels<T>,
    space: &mut PoolingSpace,
) -> Vec<T> {
    let mut y = Panels::default();
    pool_forward(pooling, steps, reverse_from, x, &mut y, space);
    y.to_rows(0, steps.batch())
}

fn gradient<T: Scalar>(
    pooling: Pooling,
    steps: &Steps,
    reverse_from: Option<usize>,
    d_y: &Panels<T>,
    space: &PoolingSpace,
) -> Vec<T> {
    // What stood there before does not matter.
    let mut d_x = panels(&vec![T::ONE; steps.rows() * d_y.columns()], d_y.columns());
    pool_backward(pooling, steps, reverse_from, d_y, &mut d_x, space);
    d_x.to_rows(0, steps.rows())
}

#[test]
fn poolings_are_right_by_hand() {
    // Two sequences: (1, -1), (4, -1), (4, -3) and (7, 5). The second feature is of the reverse direction.
    let steps = Steps::of_lengths(&[3, 1]);
    let x = panels(&[1.0, -1.0, 7.0, 5.0, 4.0, -1.0, 4.0, -3.0], 2);
    let d_y = panels(&[3.0, 6.0, 2.0, 1.0], 2);
    let third = -5.0 / 3.0;
    for (pooling, reverse_from, y, d_x) in [
        (
            Pooling::Last,
            None,
            [4.0, -3.0, 7.0, 5.0],
            [0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 3.0, 6.0],
        ),
        (
            Pooling::Last,
            Some(1),
            [4.0, -1.0, 7.0, 5.0],
            [0.0, 6.0, 2.0, 1.0, 0.0, 0.0, 3.0, 0.0],
        ),
        (
            Pooling::Mean,
            Some(1),
            [3.0, third, 7.0, 5.0],
            [1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 1.0, 2.0],
        ),
        (
            Pooling::Max,
            Some(1),
            [4.0, -1.0, 7.0, 5.0],
            [0.0, 6.0, 2.0, 1.0, 3.0, 0.0, 0.0, 0.0],
        ),
    ] {
        let mut space = PoolingSpace::default();
        let found = pooled::<f64>(pooling, &steps, reverse_from, &x, &mut space);
        assert_eq!(found, y, "{pooling}");
        let found = gradient(pooling, &steps, reverse_from, &d_y, &space);
        assert_eq!(found, d_x, "{pooling}");
    }
}

#[test]
fn poolings_pass_the_gradient_check() {
    let rng = &mut ChaCha12Rng::seed_from_u64(2);
    let steps = Steps::of_lengths(&LENGTHS);
    let mut x = random(steps.rows() * FEATURES, rng);
    let d_y = random(LENGTHS.len() * FEATURES, rng);
    for &pooling in Pooling::ALL {
        for reverse_from in [None, Some(REVERSE_FROM), Some(0), Some(16)] {
            let mut space = PoolingSpace::default();
            pooled(
                pooling,
                &steps,
                reverse_from,
                &panels(&x, FEATURES),
                &mut space,
            );
            let d_y_panels = panels(&d_y, FEATURES);
            let d_x = gradient(pooling, &steps, reverse_from, &d_y_panels, &space);
            let label = format!("{pooling} {reverse_from:?}");
            gradient_check(&label, &mut x, &d_x, |x| {
                let x = panels(x, FEATURES);
                let y = pooled(pooling, &steps, reverse_from, &x, &mut space);
                y.iter().zip(&d_y).map(|(y, d)| y * d).sum()
            })
            .assert_below(TOLERANCE);
        }
    }
}

#[test]
fn a_sequence_alone_equals_the_sequence_in_a_batch() {
    let rng = &mut ChaCha12Rng::seed_from_u64(4);
    let steps = Steps::of_lengths(&LENGTHS);
    let x: Vec<f32> = random(steps.rows() * FEATURES, rng);
    let d_y: Vec<f32> = random(LENGTHS.len() * FEATURES, rng);
    for &pooling in Pooling::ALL {
        let reverse_from = Some(REVERSE_FROM);
        let mut space = PoolingSpace::default();
        let x_panels = panels(&x, FEATURES);
        let y = pooled(pooling, &steps, reverse_from, &x_panels, &mut space);
        let d_x = gradient(
            pooling,
            &steps,
            reverse_from,
            &panels(&d_y, FEATURES),
            &space,
        );
        for (row, &length) in LENGTHS.iter().enumerate() {
            let own = |values: &[f32]| -> Vec<f32> {
                let rows = steps.offsets()[..length].iter().map(|first| first + row);
                rows.flat_map(|at| values[at * FEATURES..][..FEATURES].to_vec())
                    .collect()
            };
            let of_row = |values: &[f32]| values[row * FEATURES..][..FEATURES].to_vec();
            let alone = Steps::uniform(length, 1);
            let x_alone = panels(&own(&x), FEATURES);
            let y_alone = pooled(pooling, &alone, reverse_from, &x_alone, &mut space);
            assert_eq!(y_alone, of_row(&y), "{pooling}, row {row}");
            let d_alone = panels(&of_row(&d_y), FEATURES);
            let d_x_alone = gradient(pooling, &alone, reverse_from, &d_alone, &space);
            assert_eq!(d_x_alone, own(&d_x), "{pooling}, row {row}");
        }
    }
}

#[test]
fn what_is_not_a_number_is_the_greatest() {
    let steps = Steps::uniform(3, 1);
    for place in 0..3 {
        let mut x = [1.0f32, 2.0, 3.0];
        x[place] = f32::NAN;
        let mut space = PoolingSpace::default();
        let y = pooled(Pooling::Max, &steps, None, &panels(&x, 1), &mut space);
        assert!(y[0].is_nan(), "{place}");
    }
}

#[test]
fn a_mistyped_pooling_is_an_error_with_a_hint() {
    let error = "maks".parse::<Pooling>().expect_err("no pooling");
    assert_eq!(
        error.to_string(),
        "`pooling` is `maks`, expected `last`, `mean` or `max`"
    );
}
