use refrain_kernels::{Panels, Scalar};

/// What the plain network of a language model sees at each step: the vectors of the last tokens, the newest one last.
///
/// ```text
/// y_t = (e_(t - steps + 1), …, e_t)          zeros before the beginning of the text
/// ```
///
/// The vectors before a chunk are its state, as a recurrent layer's is its hidden state: gradients stop there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// Tokens that are seen, one or more.
    pub(super) steps: usize,
    /// Features of a vector.
    pub(super) features: usize,
}

impl History {
    /// Features of the state: the vectors of all tokens that are seen but the newest.
    pub(super) fn state_size(self) -> usize {
        (self.steps - 1) * self.features
    }

    /// What each row sees. Row `b` of step `t` is row `t · batch + b`; `index` tells which of the vectors it is.
    ///
    /// # Shapes
    /// `vectors`: distinct × features; `state`: batch × `state_size`, read and replaced; `seen` becomes
    /// rows × (steps · features).
    pub(super) fn forward<T: Scalar>(
        self,
        vectors: &Panels<T>,
        index: &[u32],
        state: &mut Panels<T>,
        seen: &mut Panels<T>,
    ) {
        let (batch, features) = (state.rows(), self.features);
        seen.resize(index.len(), self.steps * features);
        let mut row = vec![T::ZERO; self.steps * features];
        for b in 0..batch {
            // The oldest vector leaves in front, the newest comes in behind.
            row[..features].fill(T::ZERO);
            state.copy_to_rows(b, &mut row[features..]);
            for at in (b..index.len()).step_by(batch) {
                row.copy_within(features.., 0);
                let newest = (self.steps - 1) * features;
                vectors.copy_to_rows(index[at] as usize, &mut row[newest..]);
                seen.copy_from_rows(at, &row);
            }
            state.copy_from_rows(b, &row[features..]);
        }
    }

    /// The gradient of the vectors: for each one chain over the rows that see it, from the first to the last, and in each
    /// from the oldest place to the newest.
    ///
    /// # Shapes
    /// `d_seen`: rows × (steps · features); `d_vectors`: distinct × features, added to.
    pub(super) fn backward<T: Scalar>(
        self,
        d_seen: &Panels<T>,
        index: &[u32],
        batch: usize,
        d_vectors: &mut Panels<T>,
    ) {
        let features = self.features;
        let mut row = vec![T::ZERO; self.steps * features];
        let mut sums = vec![T::ZERO; d_vectors.rows() * features];
        for at in 0..index.len() {
            d_seen.copy_to_rows(at, &mut row);
            for (place, part) in row.chunks_exact(features).enumerate() {
                let Some(source) = at.checked_sub((self.steps - 1 - place) * batch) else {
                    continue;
                };
                let sum = &mut sums[index[source] as usize * features..][..features];
                for (sum, &value) in sum.iter_mut().zip(part) {
                    *sum += value;
                }
            }
        }
        d_vectors.copy_from_rows(0, &sums);
    }
}
