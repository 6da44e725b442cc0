//! What tasks other than language models are watched by.

use super::traces::SingleLoss;
use crate::inspect::gates::GateUse;
use crate::inspect::gradients::Trace;
use crate::inspect::watch::{PROBES, Watch, WatchKind, WatchedGate, gradients_of, spectrum_of};
use crate::nn::Parameters;

/// Steps of all sequences together that are carried back.
const MOST_ROWS: usize = 1024;

/// The lengths of the first sequences, until they have `most` steps.
pub(super) fn first_lengths(lengths: &[usize], most: usize) -> &[usize] {
    let mut steps = 0_usize;
    let enough = lengths.iter().position(|length| {
        steps = steps.saturating_add(*length);
        steps >= most
    });
    &lengths[..enough.map_or(lengths.len(), |at| at + 1)]
}

/// Some losses, spread evenly over all, whose sequences have not too many steps in all.
pub(super) fn watched_losses(losses: &[SingleLoss]) -> Vec<SingleLoss> {
    let short: Vec<_> = losses
        .iter()
        .filter(|loss| loss.rows <= MOST_ROWS)
        .collect();
    let count = PROBES.min(short.len());
    let mut rows = 0;
    let spread = (0..count).map(|at| *short[at * short.len() / count]);
    // One in any case.
    let enough = spread.take_while(|loss| {
        let before = rows;
        rows += loss.rows;
        before == 0 || rows <= MOST_ROWS
    });
    enough.collect()
}

/// What is watched of layers: `traces` are those of some losses, `gates` how the gates stand.
pub(super) fn watch_layers(
    model: &dyn Parameters<f32>,
    what: &[WatchKind],
    traces: impl Fn() -> Vec<Trace>,
    gates: impl Fn() -> Vec<GateUse>,
) -> Watch {
    let mut seen = Watch::default();
    for kind in what {
        match kind {
            WatchKind::Gradients => seen.gradients = gradients_of(&traces()),
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

    #[test]
    fn watched_losses_are_spread_and_not_too_many() {
        let losses = |rows: &[usize]| -> Vec<SingleLoss> {
            let of = |(example, &rows): (usize, &usize)| SingleLoss {
                example,
                step: None,
                rows,
            };
            rows.iter().enumerate().map(of).collect()
        };
        let chosen = |rows: &[usize]| -> Vec<usize> {
            let chosen = watched_losses(&losses(rows));
            chosen.iter().map(|loss| loss.example).collect()
        };
        assert_eq!(chosen(&[7; 16]), [0, 2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(chosen(&[7; 3]), [0, 1, 2]);
        assert_eq!(chosen(&[500; 3]), [0, 1], "too many steps in all");
        assert_eq!(chosen(&[5000, 3, 5000]), [1], "too many in one");
        assert!(chosen(&[]).is_empty());
    }
}
