//! Instruction sets: one trait of sixteen lanes, its implementations, and the choice among them at run time.

use std::fmt;
use std::str::FromStr;

use crate::math;
use crate::scalar::Scalar;

/// Sixteen numbers that move together.
///
/// Every operation acts lane by lane and is correctly rounded, so an expression over `Lanes` has the same bits in
/// every implementation.
///
/// Implementations for wider registers may only be used where the processor has them; [`Isa`] sees to that.
pub trait Lanes: Copy {
    /// The type of one lane.
    type Scalar: Scalar;
    /// Rows and neighbouring panels of a register tile: as many accumulators of sixteen lanes as fit beside their operands.
    const TILE: (usize, usize);
    /// The registers that hold them, if they are those of an instruction set and the scalar is `f32`.
    const REGISTERS: Registers = Registers::None;

    /// All lanes `x`.
    fn splat(x: Self::Scalar) -> Self;
    /// Sixteen consecutive numbers.
    ///
    /// # Safety
    /// `from` is valid for reads of sixteen numbers.
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// Writes sixteen consecutive numbers.
    ///
    /// # Safety
    /// `to` is valid for writes of sixteen numbers.
    unsafe fn store(self, to: *mut Self::Scalar);
    /// `self + other`.
    #[must_use]
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    #[must_use]
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    #[must_use]
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    #[must_use]
    fn div(self, other: Self) -> Self;
    /// `self * a + b`, rounded once.
    #[must_use]
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The greater; where either is not a number, `other`.
    #[must_use]
    fn max(self, other: Self) -> Self;
    /// The lesser; where either is not a number, `other`.
    #[must_use]
    fn min(self, other: Self) -> Self;
    /// `yes` where `self > 0`, else zero.
    #[must_use]
    fn where_positive(self, yes: Self) -> Self;
    /// A bit for each lane, the first lowest: whether `self > other`, or `self` is not a number and `other` is one.
    #[must_use]
    fn exceeds(self, other: Self) -> u16;
    /// `self` where the lane's bit in `mask` is set, else `other`.
    #[must_use]
    fn select(self, mask: u16, other: Self) -> Self;
    /// The exponential function, arguments clamped to where the result is finite and normal.
    #[must_use]
    fn exp(self) -> Self;
    /// `1 / (1 + exp(-self))`.
    #[must_use]
    fn sigmoid(self) -> Self;
    /// The hyperbolic tangent.
    #[must_use]
    fn tanh(self) -> Self;
}

/// The registers of some [`Lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    /// None of their own.
    None,
    /// Two of 256 bits.
    Avx2,
    /// One of 512 bits.
    Avx512,
}

macro_rules! lane_by_lane {
    ($type:ty) => {
        const TILE: (usize, usize) = (1, 1);

        #[inline(always)]
        fn splat(x: $type) -> Self {
            [x; 16]
        }
        #[inline(always)]
        unsafe fn load(from: *const $type) -> Self {
            // SAFETY: the caller promises sixteen readable numbers.
            unsafe { from.cast::<Self>().read_unaligned() }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut $type) {
            // SAFETY: the caller promises sixteen writable numbers.
            unsafe { to.cast::<Self>().write_unaligned(self) }
        }
        #[inline(always)]
        fn add(mut self, other: Self) -> Self {
            for lane in 0..16 {
                self[lane] += other[lane];
            }
            self
        }
        #[inline(always)]
        fn sub(mut self, other: Self) -> Self {
            for lane in 0..16 {
                self[lane] -= other[lane];
            }
            self
        }
        #[inline(always)]
        fn mul(mut self, other: Self) -> Self {
            for lane in 0..16 {
                self[lane] *= other[lane];
            }
            self
        }
        #[inline(always)]
        fn div(mut self, other: Self) -> Self {
            for lane in 0..16 {
                self[lane] /= other[lane];
            }
            self
        }
        #[inline(always)]
        fn mul_add(mut self, a: Self, b: Self) -> Self {
            for lane in 0..16 {
                self[lane] = self[lane].mul_add(a[lane], b[lane]);
            }
            self
        }
        #[inline(always)]
        fn max(mut self, other: Self) -> Self {
            for lane in 0..16 {
                self[lane] = if self[lane] > other[lane] {
                    self[lane]
                } else {
                    other[lane]
                };
            }
            self
        }
        #[inline(always)]
        fn min(mut self, other: Self) -> Self {
            for lane in 0..16 {
                self[lane] = if self[lane] < other[lane] {
                    self[lane]
                } else {
                    other[lane]
                };
            }
            self
        }
        #[inline(always)]
        fn where_positive(mut self, yes: Self) -> Self {
            for lane in 0..16 {
                self[lane] = if self[lane] > 0.0 { yes[lane] } else { 0.0 };
            }
            self
        }
        #[inline(always)]
        fn exceeds(self, other: Self) -> u16 {
            let mut mask = 0;
            for lane in 0..16 {
                let exceeds = self[lane] > other[lane] || self[lane].is_nan();
                mask |= u16::from(exceeds && !other[lane].is_nan()) << lane;
            }
            mask
        }
        #[inline(always)]
        fn select(mut self, mask: u16, other: Self) -> Self {
            for lane in 0..16 {
                if mask >> lane & 1 == 0 {
                    self[lane] = other[lane];
                }
            }
            self
        }
    };
}

impl Lanes for [f32; 16] {
    type Scalar = f32;
    lane_by_lane!(f32);

    #[inline(always)]
    fn exp(self) -> Self {
        math::exp(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        math::sigmoid(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        math::tanh(self)
    }
}

impl math::Pow2 for [f32; 16] {
    #[inline(always)]
    fn pow2(mut self) -> Self {
        for lane in &mut self {
            *lane = f32::from_bits((lane.to_bits() << 23).wrapping_add(0x3f80_0000));
        }
        self
    }
}

// `f64` serves gradient checks and experiments: the pure-Rust `libm` is exact enough and the same everywhere.
impl Lanes for [f64; 16] {
    type Scalar = f64;
    lane_by_lane!(f64);

    #[inline(always)]
    fn exp(mut self) -> Self {
        for lane in &mut self {
            *lane = libm::exp(*lane);
        }
        self
    }
    #[inline(always)]
    fn sigmoid(mut self) -> Self {
        for lane in &mut self {
            *lane = 1.0 / (1.0 + libm::exp(-*lane));
        }
        self
    }
    #[inline(always)]
    fn tanh(mut self) -> Self {
        for lane in &mut self {
            *lane = libm::tanh(*lane);
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unreachable_pub,
    reason = "named by `Scalar`, but not to be made outside this crate"
)]
pub use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Lanes, Registers, math};

    /// Sixteen `f32` in two registers of AVX2.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2(__m256, __m256);

    macro_rules! both {
        ($op:ident, $a:expr $(, $b:expr)*) => {
            // SAFETY: values of this type are only made inside functions that enable avx2 and fma (`Isa::run`).
            unsafe { Avx2($op($a.0 $(, $b.0)*), $op($a.1 $(, $b.1)*)) }
        };
    }

    impl Lanes for Avx2 {
        type Scalar = f32;
        // 6 accumulators of two registers each, 12 of 16: two hold the panel, one the broadcast.
        const TILE: (usize, usize) = (6, 1);
        const REGISTERS: Registers = Registers::Avx2;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: as in `both`.
            let all = unsafe { _mm256_set1_ps(x) };
            Self(all, all)
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises sixteen readable numbers; features as in `both`.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises sixteen writable numbers; features as in `both`.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            both!(_mm256_add_ps, self, other)
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            both!(_mm256_sub_ps, self, other)
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            both!(_mm256_mul_ps, self, other)
        }
        #[inline(always)]
        fn div(self, other: Self) -> Self {
            both!(_mm256_div_ps, self, other)
        }
        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            both!(_mm256_fmadd_ps, self, a, b)
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            both!(_mm256_max_ps, self, other)
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            both!(_mm256_min_ps, self, other)
        }
        #[inline(always)]
        fn where_positive(self, yes: Self) -> Self {
            // SAFETY: as in `both`.
            unsafe {
                let zero = _mm256_setzero_ps();
                Self(
                    _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, zero), yes.0),
                    _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.1, zero), yes.1),
                )
            }
        }
        #[inline(always)]
        fn exceeds(self, other: Self) -> u16 {
            // SAFETY: as in `both`.
            unsafe {
                let half = |a: __m256, b: __m256| {
                    let more = _mm256_cmp_ps::<_CMP_NLE_UQ>(a, b);
                    let number = _mm256_cmp_ps::<_CMP_ORD_Q>(b, b);
                    _mm256_movemask_ps(_mm256_and_ps(more, number)) as u16
                };
                half(self.0, other.0) | half(self.1, other.1) << 8
            }
        }
        #[inline(always)]
        fn select(self, mask: u16, other: Self) -> Self {
            // SAFETY: as in `both`.
            unsafe {
                let half = |mask: u16, yes: __m256, no: __m256| {
                    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                    let mask = _mm256_set1_epi32(i32::from(mask));
                    let mask = _mm256_cmpeq_epi32(_mm256_and_si256(mask, bits), bits);
                    _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(mask))
                };
                Self(
                    half(mask, self.0, other.0),
                    half(mask >> 8, self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn exp(self) -> Self {
            math::exp(self)
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            math::sigmoid(self)
        }
        #[inline(always)]
        fn tanh(self) -> Self {
            math::tanh(self)
        }
    }

    impl math::Pow2 for Avx2 {
        #[inline(always)]
        fn pow2(self) -> Self {
            // SAFETY: as in `both`.
            unsafe {
                let one = _mm256_set1_epi32(0x3f80_0000);
                let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0));
                let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.1));
                Self(
                    _mm256_castsi256_ps(_mm256_add_epi32(low, one)),
                    _mm256_castsi256_ps(_mm256_add_epi32(high, one)),
                )
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unreachable_pub,
    reason = "named by `Scalar`, but not to be made outside this crate"
)]
pub use avx512::Avx512;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Lanes, Registers, math};

    /// Sixteen `f32` in one register of AVX-512.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx512(__m512);

    macro_rules! whole {
        ($op:ident, $a:expr $(, $b:expr)*) => {
            // SAFETY: values of this type are only made inside functions that enable avx512f (`Isa::run`).
            unsafe { Avx512($op($a.0 $(, $b.0)*)) }
        };
    }

    impl Lanes for Avx512 {
        type Scalar = f32;
        // 24 of 32 registers: two hold the panels, one the broadcast.
        const TILE: (usize, usize) = (12, 2);
        const REGISTERS: Registers = Registers::Avx512;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: as in `whole`.
            Self(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises sixteen readable numbers; features as in `whole`.
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises sixteen writable numbers; features as in `whole`.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            whole!(_mm512_add_ps, self, other)
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            whole!(_mm512_sub_ps, self, other)
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            whole!(_mm512_mul_ps, self, other)
        }
        #[inline(always)]
        fn div(self, other: Self) -> Self {
            whole!(_mm512_div_ps, self, other)
        }
        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            whole!(_mm512_fmadd_ps, self, a, b)
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            whole!(_mm512_max_ps, self, other)
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            whole!(_mm512_min_ps, self, other)
        }
        #[inline(always)]
        fn where_positive(self, yes: Self) -> Self {
            // SAFETY: as in `whole`.
            unsafe {
                let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, _mm512_setzero_ps());
                Self(_mm512_maskz_mov_ps(positive, yes.0))
            }
        }
        #[inline(always)]
        fn exceeds(self, other: Self) -> u16 {
            // SAFETY: as in `whole`.
            unsafe {
                let more = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(self.0, other.0);
                more & _mm512_cmp_ps_mask::<_CMP_ORD_Q>(other.0, other.0)
            }
        }
        #[inline(always)]
        fn select(self, mask: u16, other: Self) -> Self {
            // SAFETY: as in `whole`.
            Self(unsafe { _mm512_mask_blend_ps(mask, other.0, self.0) })
        }
        #[inline(always)]
        fn exp(self) -> Self {
            math::exp(self)
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            math::sigmoid(self)
        }
        #[inline(always)]
        fn tanh(self) -> Self {
            math::tanh(self)
        }
    }

    impl math::Pow2 for Avx512 {
        #[inline(always)]
        fn pow2(self) -> Self {
            // SAFETY: as in `whole`.
            unsafe {
                let shifted = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
                let one = _mm512_set1_epi32(0x3f80_0000);
                Self(_mm512_castsi512_ps(_mm512_add_epi32(shifted, one)))
            }
        }
    }
}

/// A computation written once over [`Lanes`].
pub(crate) trait Kernel<T: Scalar> {
    /// What it gives.
    type Output;
    /// Runs it. Implementations are `#[inline(always)]`, so that the caller's instruction set reaches all of it.
    fn run<V: Lanes<Scalar = T>>(self) -> Self::Output;
}

/// The instruction set that the kernels use.
///
/// # Examples
///
/// ```
/// use refrain_kernels::Isa;
///
/// assert_eq!("scalar".parse(), Ok(Isa::SCALAR));
/// assert!(Isa::detect() >= Isa::SCALAR);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Scalar,
    // Held only where `detect` has seen the processor's avx2 and fma.
    Avx2,
    // Likewise, with avx512f besides.
    Avx512,
}

/// An instruction set that cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No such name.
    Unknown(String),
    /// The processor does not have it.
    Unavailable(&'static str),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "`{name}` is not an instruction set, expected auto, scalar, avx2 or avx512"
            ),
            Self::Unavailable(name) => write!(f, "this processor has no `{name}`"),
        }
    }
}

impl std::error::Error for IsaError {}

impl Isa {
    /// One number at a time: the definition of every kernel.
    pub const SCALAR: Self = Self(Level::Scalar);

    /// The fastest instruction set of this processor.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self(match is_x86_feature_detected!("avx512f") {
                true => Level::Avx512,
                false => Level::Avx2,
            });
        }
        Self::SCALAR
    }

    /// The instruction sets that can be used on this processor, from the slowest to the fastest. All give the same bits.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let all = [Level::Scalar, Level::Avx2, Level::Avx512];
        let fastest = Self::detect().0;
        let here = all.into_iter().filter(|&level| level <= fastest);
        here.map(Self).collect()
    }

    /// Its name, as `--isa` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn run<T: Scalar, K: Kernel<T>>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        {
            match self.0 {
                // SAFETY: this level is only made where `detect` has seen avx512f, avx2 and fma.
                Level::Avx512 => return unsafe { run_avx512(kernel) },
                // SAFETY: this level is only made where `detect` has seen avx2 and fma.
                Level::Avx2 => return unsafe { run_avx2(kernel) },
                Level::Scalar if is_x86_feature_detected!("fma") => {
                    // SAFETY: fma is there.
                    return unsafe { run_fma(kernel) };
                }
                Level::Scalar => {}
            }
        }
        kernel.run::<T::Plain>()
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        match name {
            "auto" => Ok(Self::detect()),
            "scalar" => Ok(Self::SCALAR),
            "avx2" if Self::detect().0 >= Level::Avx2 => Ok(Self(Level::Avx2)),
            "avx2" => Err(IsaError::Unavailable("avx2")),
            "avx512" if Self::detect().0 >= Level::Avx512 => Ok(Self(Level::Avx512)),
            "avx512" => Err(IsaError::Unavailable("avx512")),
            _ => Err(IsaError::Unknown(name.to_owned())),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<T: Scalar, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<T::Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<T: Scalar, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<T::Avx2>()
}

// The scalar kernels, with fused multiply-adds by the machine's instruction rather than by software.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "fma")]
fn run_fma<T: Scalar, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<T::Plain>()
}
