use crate::compute::{Compute, Shared};
use crate::panels::{GROUP, Panels};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// What a dropout mask is drawn from. A mask's element depends on this, the time, the row and the unit: not on what was
/// drawn before, so any thread can draw any part, forward and backward alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's seed.
    pub seed: u64,
    /// The optimiser step.
    pub step: u64,
    /// The place in the model.
    pub layer: u64,
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
#[inline(always)]
fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The finaliser of MurmurHash3 (Appleby, 2011): 32-bit multiplications, which vector units have.
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

impl DropoutKey {
    #[inline(always)]
    fn row(self, time: usize, row: usize) -> u64 {
        let key = mix64(self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let key = mix64(key ^ self.step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key = mix64(key ^ self.layer.wrapping_mul(0xd1b5_4a32_d192_ed03));
        mix64(key ^ ((time as u64) << 32 | row as u64))
    }
}

struct Mask<'a, T> {
    key: DropoutKey,
    probability: f64,
    offsets: &'a [usize],
    steps: std::ops::Range<usize>,
    values: *mut T,
    rows: usize,
    groups: usize,
}

impl<T: Scalar> Kernel<T> for Mask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // A unit is dropped where its 32 random bits are below p * 2^32.
        let below = (self.probability * 4_294_967_296.0) as u32;
        let keep = T::from_f64(1.0 / (1.0 - self.probability));
        // SAFETY: `dropout` has checked the sizes and gives each thread steps of its own.
        unsafe {
            for t in self.steps.clone() {
                for row in self.offsets[t]..self.offsets[t + 1] {
                    let key = self.key.row(t, row - self.offsets[t]);
                    let (low, high) = (key as u32, (key >> 32) as u32);
                    for group in 0..self.groups {
                        let mut factor = [T::ZERO; GROUP];
                        for lane in 0..GROUP {
                            let unit = (group * GROUP + lane) as u32;
                            let bits = mix32(mix32(unit ^ low).wrapping_add(high));
                            factor[lane] = if bits < below { T::ZERO } else { keep };
                        }
                        let at = self.values.add((group * self.rows + row) * GROUP);
                        V::load(at).mul(V::load(factor.as_ptr())).store(at);
                    }
                }
            }
        }
    }
}

/// Drops each element with `probability` and scales the others by `1 / (1 - probability)`, in place.
///
/// The same call on a gradient is its backward pass.
///
/// # Shapes
/// `offsets`: first row of each step, and the number of all rows; `values`: rows over time × units.
///
/// # Panics
/// If `probability` is not in `0.0..1.0` or the rows differ.
pub fn dropout<T: Scalar>(
    compute: &Compute,
    key: DropoutKey,
    probability: f64,
    offsets: &[usize],
    values: &mut Panels<T>,
) {
    T::dropout(compute, key, probability, offsets, values)
}

pub(crate) fn dropout_of<T: Scalar>(
    compute: &Compute,
    key: DropoutKey,
    probability: f64,
    offsets: &[usize],
    values: &mut Panels<T>,
) {
    assert!(
        (0.0..1.0).contains(&probability),
        "probability {probability}"
    );
    assert!(
        offsets.first() == Some(&0) && offsets.is_sorted(),
        "offsets {offsets:?}"
    );
    assert_eq!(offsets.last().copied(), Some(values.rows()), "rows");
    if probability == 0.0 {
        return;
    }
    let (rows, groups) = (values.rows(), values.groups());
    let shared = Shared::new(values.blocks_mut());
    compute.split(offsets.len() - 1, 1, |steps| {
        compute.isa().run(Mask {
            key,
            probability,
            offsets,
            steps,
            values: shared.get().cast::<T>(),
            rows,
            groups,
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    fn mask(compute: &Compute, key: DropoutKey) -> Panels<f32> {
        let mut values = Panels::new(400, 50);
        values.copy_from_rows(0, &vec![1.0; 400 * 50]);
        dropout(compute, key, 0.25, &[0, 100, 200, 300, 400], &mut values);
        values
    }

    #[test]
    fn masks_have_the_right_share_and_differ_by_every_part_of_the_key() {
        let key = DropoutKey {
            seed: 7,
            step: 3,
            layer: 1,
        };
        let single = mask(&Compute::single(Isa::SCALAR), key);
        assert_eq!(mask(&Compute::new(Isa::detect(), 2), key), single);
        let values = single.to_rows(0, 400);
        let dropped = values.iter().filter(|&&x| x == 0.0).count();
        assert!((4700..5300).contains(&dropped), "{dropped} of 20000");
        assert!(values.iter().all(|&x| x == 0.0 || x == 4.0 / 3.0));
        assert_ne!(single.to_rows(0, 100), single.to_rows(100, 100), "time");
        for other in [
            DropoutKey { seed: 8, ..key },
            DropoutKey { step: 4, ..key },
            DropoutKey { layer: 2, ..key },
        ] {
            assert_ne!(mask(&Compute::single(Isa::SCALAR), other), single);
        }
    }
}
