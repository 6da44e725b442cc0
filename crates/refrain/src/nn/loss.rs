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
