use crate::compute::{Compute, Shared};
use crate::panels::{GROUP, Panels};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

struct CrossEntropy<'a, T> {
    logits: *mut T,
    all_rows: usize,
    columns: usize,
    rows: std::ops::Range<usize>,
    targets: &'a [u32],
    /// 1 / the number of tokens, or `None` where no gradient is wanted.
    weight: Option<f64>,
    losses: *mut f64,
}

impl<T: Scalar> Kernel<T> for CrossEntropy<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let stride = self.all_rows * GROUP;
        let (whole, rest) = (self.columns / GROUP, self.columns % GROUP);
        let mut mask = [T::ZERO; GROUP];
        mask[..rest].fill(T::ONE);
        // SAFETY: `softmax_cross_entropy` has checked the sizes and gives each thread rows of its own.
        unsafe {
            let mask = V::load(mask.as_ptr());
            for row in self.rows.clone() {
                let logits = self.logits.add(row * GROUP);
                let target = self.targets[row] as usize;
                let at_target = logits.add(target / GROUP * stride + target % GROUP);
                let target_score = (*at_target).to_f64();
                // The greatest score. Padding holds zeros, so the last panel's lanes are taken one by one.
                let mut greatest = V::splat(*logits);
                for panel in 0..whole {
                    greatest = greatest.max(V::load(logits.add(panel * stride)));
                }
                let mut lanes = [T::ZERO; GROUP];
                greatest.store(lanes.as_mut_ptr());
                let mut max = lanes[0];
                for lane in lanes {
                    max = if lane > max { lane } else { max };
                }
                for lane in 0..rest {
                    let score = *logits.add(whole * stride + lane);
                    max = if score > max { score } else { max };
                }
                let max_all = V::splat(max);
                let mut sums = V::splat(T::ZERO);
                for panel in 0..whole {
                    let at = logits.add(panel * stride);
                    let e = V::load(at).sub(max_all).exp();
                    e.store(at);
                    sums = sums.add(e);
                }
                if rest > 0 {
                    let at = logits.add(whole * stride);
                    let e = V::load(at).sub(max_all).exp().mul(mask);
                    e.store(at);
                    sums = sums.add(e);
                }
                sums.store(lanes.as_mut_ptr());
                let mut sum = 0.0;
                for lane in lanes {
                    sum += lane.to_f64();
                }
                *self.losses.add(row) = libm::log(sum) - (target_score - max.to_f64());
                if let Some(weight) = self.weight {
                    let scale = V::splat(T::from_f64(weight / sum));
                    for panel in 0..whole + usize::from(rest > 0) {
                        let at = logits.add(panel * stride);
                        V::load(at).mul(scale).store(at);
                    }
                    *at_target = *at_target - T::from_f64(weight);
                }
            }
        }
    }
}

/// The cross-entropy of each row's target under the softmax of the row's scores, in nats.
///
/// With `weight`, `logits` become the gradient of `weight · Σ losses`: `weight · (softmax - onehot)`; without it they
/// become unnormalised probabilities. A score that is not a number makes the row's loss not a number.
///
/// # Shapes
/// `logits`: rows × classes; `targets`, `losses`: rows.
///
/// # Panics
/// If the shapes do not fit or a target is no class.
pub fn softmax_cross_entropy<T: Scalar>(
    compute: &Compute,
    logits: &mut Panels<T>,
    targets: &[u32],
    weight: Option<f64>,
    losses: &mut [f64],
) {
    T::softmax_cross_entropy(compute, logits, targets, weight, losses)
}

pub(crate) fn softmax_cross_entropy_of<T: Scalar>(
    compute: &Compute,
    logits: &mut Panels<T>,
    targets: &[u32],
    weight: Option<f64>,
    losses: &mut [f64],
) {
    let (rows, columns) = (logits.rows(), logits.columns());
    assert_eq!(
        (targets.len(), losses.len()),
        (rows, rows),
        "targets and losses"
    );
    assert!(
        targets.iter().all(|&target| (target as usize) < columns),
        "target past {columns}"
    );
    let scores = Shared::new(logits.blocks_mut());
    let losses = Shared::new(losses);
    compute.split(rows, 64, |range| {
        compute.isa().run(CrossEntropy {
            logits: scores.get().cast::<T>(),
            all_rows: rows,
            columns,
            rows: range,
            targets,
            weight,
            losses: losses.get(),
        });
    });
}
