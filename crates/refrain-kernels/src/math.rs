//! exp, sigmoid and tanh of `f32` as polynomials, so that every machine gives the same bits.
//!
//! With `n = round(x / ln 2)` and `r = x - n ln 2`, `exp(x) = 2^n (1 + p)` where `p = expm1(r)`. The polynomial for
//! `p` was fitted by iteratively reweighted least squares over |r| ≤ 0.347; its relative error is below 1.4e-8.

use crate::simd::Lanes;

/// Multiplication by powers of two through the exponent bits.
pub(crate) trait Pow2: Lanes<Scalar = f32> {
    /// `2^n` for each lane that holds `MAGIC + n`, |n| ≤ 126.
    fn pow2(self) -> Self;
}

// 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the significand.
const MAGIC: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts, the first with trailing zeros, so that n * LN2_HIGH is exact for |n| ≤ 126.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;
const P: [f32; 5] = [
    0.5,
    0.166_665_42,
    0.041_666_28,
    0.008_366_659,
    0.001_394_658_1,
];
/// Beyond this `exp` would leave the normal numbers: exp(±87) = 6.1e±37.
const EXP_LIMIT: f32 = 87.0;
/// From here on tanh rounds to 1 in `f32`.
const TANH_LIMIT: f32 = 9.02;

/// `(2^n, expm1(r))`: the parts of `exp(x)`.
#[inline(always)]
fn parts<V: Pow2>(x: V) -> (V, V) {
    let magic = V::splat(MAGIC);
    let shifted = x.mul_add(V::splat(LOG2_E), magic);
    let n = shifted.sub(magic);
    let r = n.mul_add(V::splat(-LN2_HIGH), x);
    let r = n.mul_add(V::splat(-LN2_LOW), r);
    let q = V::splat(P[4]);
    let q = q.mul_add(r, V::splat(P[3]));
    let q = q.mul_add(r, V::splat(P[2]));
    let q = q.mul_add(r, V::splat(P[1]));
    let q = q.mul_add(r, V::splat(P[0]));
    (shifted.pow2(), r.mul(r).mul_add(q, r))
}

// `limit.min(x)` and `limit.max(x)` give x where x is not a number: it must stay visible.
#[inline(always)]
fn clamp<V: Lanes<Scalar = f32>>(x: V, limit: f32) -> V {
    V::splat(-limit).max(V::splat(limit).min(x))
}

#[inline(always)]
pub(crate) fn exp<V: Pow2>(x: V) -> V {
    let (scale, p) = parts(clamp(x, EXP_LIMIT));
    scale.mul_add(p, scale)
}

#[inline(always)]
pub(crate) fn sigmoid<V: Pow2>(x: V) -> V {
    let one = V::splat(1.0);
    let (scale, p) = parts(clamp(V::splat(0.0).sub(x), EXP_LIMIT));
    one.div(scale.mul_add(p, scale).add(one))
}

/// `tanh(x) = m / (m + 2)` with `m = expm1(2x)`, which keeps small arguments exact.
#[inline(always)]
pub(crate) fn tanh<V: Pow2>(x: V) -> V {
    let one = V::splat(1.0);
    let x = clamp(x, TANH_LIMIT);
    let (scale, p) = parts(x.add(x));
    let m = scale.mul_add(p, scale.sub(one));
    m.div(m.add(V::splat(2.0)))
}

#[cfg(test)]
mod tests {
    use crate::simd::{Isa, Kernel, Lanes};

    /// Largest relative errors seen over the sweep below, rounded up.
    const EXP_BOUND: f64 = 1.2e-7;
    const SIGMOID_BOUND: f64 = 2.5e-7;
    const TANH_BOUND: f64 = 2.5e-7;

    struct All(f32);

    impl Kernel<f32> for All {
        type Output = [f32; 3];

        #[inline(always)]
        fn run<V: Lanes<Scalar = f32>>(self) -> [f32; 3] {
            let mut out = [[0.0; 16]; 3];
            let x = V::splat(self.0);
            // SAFETY: each row holds sixteen numbers.
            unsafe {
                x.exp().store(out[0].as_mut_ptr());
                x.sigmoid().store(out[1].as_mut_ptr());
                x.tanh().store(out[2].as_mut_ptr());
            }
            [out[0][3], out[1][7], out[2][11]]
        }
    }

    fn relative(found: f32, expected: f64) -> f64 {
        (f64::from(found) - expected).abs() / expected.abs().max(f64::from(f32::MIN_POSITIVE))
    }

    fn check(x: f32) {
        let found = Isa::detect().run(All(x));
        let scalar = Isa::SCALAR.run(All(x));
        assert_eq!(found.map(f32::to_bits), scalar.map(f32::to_bits), "at {x}");
        let exact = f64::from(x);
        if exact.abs() <= 87.0 {
            assert!(
                relative(found[0], libm::exp(exact)) < EXP_BOUND,
                "exp({x}) = {}",
                found[0]
            );
            let sigmoid = 1.0 / (1.0 + libm::exp(-exact));
            assert!(
                relative(found[1], sigmoid) < SIGMOID_BOUND,
                "sigmoid({x}) = {}",
                found[1]
            );
        }
        if x == 0.0 || x.abs() >= f32::MIN_POSITIVE {
            assert!(
                relative(found[2], libm::tanh(exact)) < TANH_BOUND,
                "tanh({x}) = {}",
                found[2]
            );
        }
    }

    #[test]
    fn activations_are_within_their_bounds() {
        // Every 4,099th of all positive floats up to 100, and its negative.
        let mut bits = 0;
        while bits < 100f32.to_bits() {
            check(f32::from_bits(bits));
            check(-f32::from_bits(bits));
            bits += 4099;
        }
    }

    #[test]
    fn extremes_stay_in_range_and_nan_stays_nan() {
        let [exp, sigmoid, tanh] = Isa::detect().run(All(f32::INFINITY));
        assert!(
            exp.is_finite() && sigmoid == 1.0 && tanh == 1.0,
            "{exp} {sigmoid} {tanh}"
        );
        let [exp, sigmoid, tanh] = Isa::detect().run(All(f32::NEG_INFINITY));
        assert!(
            exp > 0.0 && sigmoid > 0.0 && sigmoid < 1e-37 && tanh == -1.0,
            "{exp} {sigmoid} {tanh}"
        );
        assert!(Isa::detect().run(All(f32::NAN)).iter().all(|x| x.is_nan()));
        assert!(Isa::SCALAR.run(All(f32::NAN)).iter().all(|x| x.is_nan()));
    }
}
