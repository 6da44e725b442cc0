//! How weights begin. All draws are uniform (or normal by way of them) from a generator that the caller seeds, in the
//! order of the parameters, so that a seed gives the same weights everywhere.

use rand::{Rng, RngExt};
use refrain_kernels::Scalar;

/// Fills with uniform numbers in `-bound..bound`.
pub(crate) fn uniform<T: Scalar>(values: &mut [T], bound: f64, rng: &mut impl Rng) {
    for value in values {
        *value = T::from_f64((rng.random::<f64>() * 2.0 - 1.0) * bound);
    }
}

/// Fills with normal numbers of standard deviation `deviation` (Box and Muller, 1958).
pub(crate) fn normal<T: Scalar>(values: &mut [T], deviation: f64, rng: &mut impl Rng) {
    for value in values {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.random::<f64>()));
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        *value = T::from_f64(deviation * radius * libm::cos(angle));
    }
}

/// Uniform with the bound of Glorot and Bengio (2010), `sqrt(6 / (rows + columns))`.
pub(crate) fn xavier<T: Scalar>(values: &mut [T], rows: usize, columns: usize, rng: &mut impl Rng) {
    uniform(values, libm::sqrt(6.0 / (rows + columns) as f64), rng);
}

/// A random orthogonal `size × size` matrix (Saxe, McClelland and Ganguli, 2014): Gram and Schmidt, twice, on rows of
/// normal numbers.
pub(crate) fn orthogonal<T: Scalar>(values: &mut [T], size: usize, rng: &mut impl Rng) {
    let mut rows = vec![0.0f64; size * size];
    normal(&mut rows, 1.0, rng);
    for at in 0..size {
        let (done, rest) = rows.split_at_mut(at * size);
        let row = &mut rest[..size];
        for _ in 0..2 {
            for other in done.chunks_exact(size) {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                for (a, b) in row.iter_mut().zip(other) {
                    *a -= along * b;
                }
            }
            let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
            for a in row.iter_mut() {
                *a /= norm;
            }
        }
    }
    for (value, x) in values.iter_mut().zip(rows) {
        *value = T::from_f64(x);
    }
}

/// The identity.
pub(crate) fn identity<T: Scalar>(values: &mut [T], size: usize) {
    values.fill(T::ZERO);
    for at in 0..size {
        values[at * size + at] = T::ONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    #[test]
    fn orthogonal_rows_have_length_one_and_right_angles() {
        let mut matrix = vec![0.0f64; 23 * 23];
        orthogonal(&mut matrix, 23, &mut ChaCha12Rng::seed_from_u64(1));
        for a in 0..23 {
            for b in 0..23 {
                let dot: f64 = (0..23)
                    .map(|k| matrix[a * 23 + k] * matrix[b * 23 + k])
                    .sum();
                assert!(
                    (dot - f64::from(u8::from(a == b))).abs() < 1e-12,
                    "{a} {b} {dot}"
                );
            }
        }
    }
}
