use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use crate::instances::Instances;
use crate::simd::Lanes;

/// A floating-point type that networks compute in: `f32` for work, `f64` for checks.
pub trait Scalar:
    Instances
    + Copy
    + Debug
    + Default
    + Display
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + Sum
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Sixteen lanes by scalar instructions: the definition.
    type Plain: Lanes<Scalar = Self>;
    /// Sixteen lanes by AVX2 and FMA, where the type has them.
    type Avx2: Lanes<Scalar = Self>;
    /// Sixteen lanes by AVX-512, where the type has them.
    type Avx512: Lanes<Scalar = Self>;

    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// The same value as `f64`.
    fn to_f64(self) -> f64;
    /// `self * a + b`, rounded once.
    #[must_use]
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The square root.
    #[must_use]
    fn sqrt(self) -> Self;
    /// Neither infinite nor not-a-number.
    fn is_finite(self) -> bool;
}

macro_rules! scalar {
    ($type:ty, $avx2:ty, $avx512:ty) => {
        impl Scalar for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            type Plain = [$type; 16];
            type Avx2 = $avx2;
            type Avx512 = $avx512;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                <$type>::mul_add(self, a, b)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$type>::is_finite(self)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
scalar!(f32, crate::simd::Avx2, crate::simd::Avx512);
#[cfg(not(target_arch = "x86_64"))]
scalar!(f32, [f32; 16], [f32; 16]);
scalar!(f64, [f64; 16], [f64; 16]);
