use refrain_kernels::{Compute, Panels, Scalar, softmax_cross_entropy};

/// Softmax and cross-entropy in one: `L_t = -log softmax(y_t)[target_t]`, in nats.
///
/// Backward, for the mean over all tokens: `d_y_t = (softmax(y_t) - onehot(target_t)) / tokens`.
#[derive(Clone, Debug, Default)]
pub struct SoftmaxCrossEntropy {
    losses: Vec<f64>,
}

impl SoftmaxCrossEntropy {
    /// The sum of the losses. `logits` become unnormalised probabilities.
    ///
    /// # Shapes
    /// `logits`: rows × classes; `targets`: rows.
    ///
    /// # Panics
    /// If the rows differ or a target is no class.
    pub fn forward<T: Scalar>(
        &mut self,
        compute: &Compute,
        logits: &mut Panels<T>,
        targets: &[u32],
    ) -> f64 {
        self.run(compute, logits, targets, None)
    }

    /// The sum of the losses. `logits` become the gradient of their mean.
    ///
    /// # Panics
    /// As [`SoftmaxCrossEntropy::forward`].
    pub fn forward_backward<T: Scalar>(
        &mut self,
        compute: &Compute,
        logits: &mut Panels<T>,
        targets: &[u32],
    ) -> f64 {
        self.run(compute, logits, targets, Some(1.0 / targets.len() as f64))
    }

    /// The sum of the losses, each times its row's weight. `logits` become the gradient of that sum over the sum of the
    /// weights; a row of weight 0 gives none, whatever its target.
    ///
    /// # Panics
    /// As [`SoftmaxCrossEntropy::forward`], or if there are not as many weights as rows.
    pub fn forward_backward_weighted<T: Scalar>(
        &mut self,
        compute: &Compute,
        logits: &mut Panels<T>,
        targets: &[u32],
        weights: &[f64],
    ) -> f64 {
        assert_eq!(weights.len(), targets.len(), "weights");
        let all: f64 = weights.iter().sum();
        let scale = if all > 0.0 { 1.0 / all } else { 0.0 };
        self.run(compute, logits, targets, Some(scale));
        let rows = logits.rows();
        for (at, &weight) in weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight != 1.0)
        {
            for block in logits.blocks_mut().iter_mut().skip(at).step_by(rows) {
                block.0 = block.0.map(|value| value * T::from_f64(weight));
            }
        }
        self.weighted_sum(weights)
    }

    /// The sum of the losses of the last call, each times its row's weight.
    ///
    /// # Panics
    /// If there are not as many weights as rows.
    #[must_use]
    pub fn weighted_sum(&self, weights: &[f64]) -> f64 {
        assert_eq!(weights.len(), self.losses.len(), "weights");
        let known = self.losses.iter().zip(weights);
        known
            .filter(|(_, weight)| **weight != 0.0)
            .map(|(loss, weight)| loss * weight)
            .sum()
    }

    /// The loss of each row of the last call, nats.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    fn run<T: Scalar>(
        &mut self,
        compute: &Compute,
        logits: &mut Panels<T>,
        targets: &[u32],
        weight: Option<f64>,
    ) -> f64 {
        self.losses.clear();
        self.losses.resize(targets.len(), 0.0);
        softmax_cross_entropy(compute, logits, targets, weight, &mut self.losses);
        // One order: from the first row to the last.
        self.losses.iter().sum()
    }
}
