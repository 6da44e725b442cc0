//! Small training runs whose every bit is known.

use refrain::data::{LmData, Split, TokenKind, demo};
use refrain::models::LanguageModel;
use refrain::models::ModelConfig;
use refrain::nn::{CellKind, Parameters};
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain::train::{ChunkPlan, LanguageModelData, LanguageModelTask, Purpose, Task, keyed_rng};
use refrain_kernels::Compute;
use sha2::{Digest, Sha256};

use crate::{instruction_sets, plain};

/// SHA-256 of all parameters after twenty steps.
///
/// These are promises to users: if one changes, no model of that cell that an older version trained can be trained again to
/// the same bytes. Change one only together with an entry in the CHANGELOG that says so.
const DIGESTS: [(CellKind, &str); 3] = [
    (
        CellKind::Rnn,
        "5510173864efb5298b60abde29c4c0d711c53cedace5c8d841311139ea8b4dfb",
    ),
    (
        CellKind::Gru,
        "9ec87282eebf09460600117dd37ac4dde09f6d0ba776b1b28637b79ead5cc8cc",
    ),
    (
        CellKind::Lstm,
        "4e704287b8c0a43802275e652a4f1c6bcc3d31e8b140ec0eb9c10b07e1ec9290",
    ),
];

const STEPS: u64 = 20;
const SEED: u64 = 42;

/// Twenty steps on the built-in text with all that a run has: dropout, clipping, a schedule, shuffled phases, two layers.
fn digest(compute: &Compute, cell: CellKind) -> String {
    let data = LmData::new(demo::text(TokenKind::Char), &Split::default(), u64::MAX).unwrap();
    let config = ModelConfig {
        dropout: 0.1,
        embedding_size: 12,
        ..plain(cell, 24, 2)
    };
    let settings = OptimizerConfig {
        kind: OptimizerKind::AdamW,
        learning_rate: 0.01,
        momentum: 0.0,
        weight_decay: 0.01,
        clip_norm: Some(0.5),
        schedule: Schedule::Cosine,
        warmup_steps: 5,
    };
    let (plan, _) = ChunkPlan::new(data.train.len(), 8, Some(16), true, SEED).unwrap();
    let mut rng = keyed_rng(SEED, Purpose::Weights, 0);
    let model = LanguageModel::new(&config, data.vocabulary.len(), &mut rng);
    let mut optimizer = Optimizer::new(&settings, &model);
    let data = LanguageModelData {
        vocabulary: data.vocabulary,
        train: data.train,
        validation: data.validation,
        test: Vec::new(),
    };
    let mut task = LanguageModelTask::new(model, data, plan, SEED);
    for step in 0..STEPS {
        task.step(compute, step);
        let update = optimizer.clip(gradient_norm(compute, task.parameters()));
        let learning_rate = optimizer.learning_rate(step + 1, step as f64 / STEPS as f64);
        optimizer.update(
            compute,
            task.parameters_mut(),
            step + 1,
            learning_rate,
            update,
        );
    }
    let mut hash = Sha256::new();
    task.model().visit(&mut |parameter| {
        for value in &parameter.value {
            hash.update(value.to_le_bytes());
        }
    });
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn training_gives_the_bytes_that_it_always_gave() {
    for isa in instruction_sets() {
        let compute = Compute::new(isa, 2);
        let found = DIGESTS.map(|(cell, _)| (cell, digest(&compute, cell)));
        let expected = DIGESTS.map(|(cell, digest)| (cell, digest.to_owned()));
        assert_eq!(found, expected, "with {}", isa.name());
    }
}
