//! How a text is cut, for every length of text, batch and chunk.

use proptest::prelude::*;
use refrain::train::ChunkPlan;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every pair is of neighbours in the text, none comes twice in an epoch, streams follow on where they should.
    #[test]
    fn a_plan_stays_within_the_text(
        tokens in 2usize..400,
        batch in prop_oneof![0usize..70, Just(usize::MAX)],
        seq_len in prop_oneof![Just(None), (0usize..500).prop_map(Some), Just(Some(usize::MAX))],
        carry_state in any::<bool>(),
        seed in any::<u64>(),
        first_epoch in prop_oneof![Just(0u64), 0..1_000_000u64],
    ) {
        let (mut plan, shrunk) = ChunkPlan::new(tokens, batch, seq_len, carry_state, seed)?;
        let (rows, steps) = (plan.batch(), plan.seq_len());
        prop_assert!(rows >= 1 && steps >= 1 && plan.steps_per_epoch() >= 1);
        prop_assert!(rows <= batch.max(1));
        prop_assert!(seq_len.is_none_or(|seq_len| steps <= seq_len.max(1)));
        if let Some(shrunk) = shrunk {
            prop_assert_eq!((shrunk.batch.1, shrunk.seq_len.1), (rows, steps));
            prop_assert!(shrunk.batch.0 > rows || shrunk.seq_len.0 != steps);
        }
        // What is left over fills no chunk in each row.
        let used = plan.steps_per_epoch() as usize * rows * steps;
        prop_assert!(used < tokens && tokens - 1 - used < rows * steps + rows);

        let text: Vec<u32> = (0..tokens as u32).collect();
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for epoch in first_epoch..first_epoch + 3 {
            let mut seen = vec![false; tokens];
            let mut ends: Option<Vec<u32>> = None;
            for index in 0..plan.steps_per_epoch() {
                let step = epoch * plan.steps_per_epoch() + index;
                prop_assert_eq!(plan.resets_before(step), !carry_state || index == 0);
                plan.fill(step, &text, &mut inputs, &mut targets);
                prop_assert_eq!((inputs.len(), targets.len()), (rows * steps, rows * steps));
                for (&input, &target) in inputs.iter().zip(&targets) {
                    prop_assert_eq!(input + 1, target);
                    prop_assert!(!std::mem::replace(&mut seen[input as usize], true));
                }
                for (above, below) in inputs.iter().zip(inputs.iter().skip(rows)) {
                    prop_assert_eq!(above + 1, *below);
                }
                if let Some(ends) = ends.filter(|_| carry_state) {
                    prop_assert_eq!(&inputs[..rows], &ends[..]);
                }
                ends = Some(targets[(steps - 1) * rows..].to_vec());
            }
        }
    }

    /// A step depends on its number alone, in whatever order the steps are asked for.
    #[test]
    fn a_step_is_the_same_whenever_it_is_asked_for(
        tokens in 2usize..200,
        batch in 1usize..9,
        seq_len in 1usize..20,
        carry_state in any::<bool>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(0u64..60, 1..8),
    ) {
        let text: Vec<u32> = (0..tokens as u32).collect();
        let plan = ChunkPlan::new(tokens, batch, Some(seq_len), carry_state, seed)?.0;
        let mut used = plan.clone();
        for step in steps {
            let (mut a, mut b) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
            used.fill(step, &text, &mut a.0, &mut a.1);
            plan.clone().fill(step, &text, &mut b.0, &mut b.1);
            prop_assert_eq!(a, b);
        }
    }
}

#[test]
fn a_text_of_one_token_or_none_is_an_error() {
    for tokens in [0, 1] {
        let error = ChunkPlan::new(tokens, 4, Some(8), true, 0).unwrap_err();
        assert!(
            error.to_string().contains(&format!("{tokens} tokens")),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
}
