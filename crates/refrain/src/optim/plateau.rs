use serde::{Deserialize, Serialize};

/// Scores without a new best after which the learning rate is halved.
const PATIENCE: u64 = 2;

/// What the schedule [`Plateau`](super::Schedule::Plateau) remembers of the scores of a run.
///
/// `learning_rate = peak / 2^halvings`.
///
/// # Differences
/// PyTorch's `ReduceLROnPlateau` asks for an improvement of 1e-4, relative, and reduces after a number of scores *above* its
/// patience. Here every new best counts, and the second score in a row without one halves.
///
/// # Examples
/// ```
/// use refrain::optim::Plateau;
///
/// let mut plateau = Plateau::default();
/// for best in [true, false, true, false, false] {
///     plateau.observe(best);
/// }
/// assert_eq!(plateau.factor(), 0.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// Scores since the last best or the last halving.
    pub without_best: u64,
    /// How often the learning rate was halved.
    pub halvings: u64,
}

impl Plateau {
    /// Takes note of a score; `best` says whether it was the best so far.
    pub fn observe(&mut self, best: bool) {
        self.without_best = if best { 0 } else { self.without_best + 1 };
        if self.without_best >= PATIENCE {
            (self.without_best, self.halvings) = (0, self.halvings + 1);
        }
    }

    /// The factor on the learning rate: `2^-halvings`.
    #[must_use]
    pub fn factor(&self) -> f64 {
        libm::ldexp(1.0, -i32::try_from(self.halvings).unwrap_or(i32::MAX))
    }
}
