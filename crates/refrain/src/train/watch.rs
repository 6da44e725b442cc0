//! What tasks other than language models are watched by.

use crate::inspect::gates::GateUse;
use crate::inspect::watch::{Watch, WatchKind, WatchedGate, spectrum_of};
use crate::nn::Parameters;

/// The lengths of the first sequences, until they have `most` steps.
pub(super) fn first_lengths(lengths: &[usize], most: usize) -> &[usize] {
    let mut steps = 0_usize;
    let enough = lengths.iter().position(|length| {
        steps = steps.saturating_add(*length);
        steps >= most
    });
    &lengths[..enough.map_or(lengths.len(), |at| at + 1)]
}

/// The recurrent matrices and the gates, as far as they are watched. (Gradients are those of language models.)
pub(super) fn watch_layers(
    model: &dyn Parameters<f32>,
    what: &[WatchKind],
    gates: impl Fn() -> Vec<GateUse>,
) -> Watch {
    let mut seen = Watch::default();
    for kind in what {
        match kind {
            WatchKind::Gradients => {}
            WatchKind::Spectrum => seen.spectrum = spectrum_of(model),
            WatchKind::Gates => seen.gates = gates().iter().map(WatchedGate::from).collect(),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sequences_have_enough_steps() {
        assert_eq!(first_lengths(&[3, 4, 5, 6], 7), [3, 4]);
        assert_eq!(first_lengths(&[3, 4, 5, 6], 8), [3, 4, 5]);
        assert_eq!(first_lengths(&[3, 4], 100), [3, 4]);
        assert_eq!(first_lengths(&[300, 4], 100), [300]);
        assert!(first_lengths(&[], 100).is_empty());
    }
}
