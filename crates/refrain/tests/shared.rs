//! Tests on real data that lies beside the repository (or where `REFRAIN_DATA` says). Where it is absent they say so and pass.

use refrain::data::{LmData, Split, Text, TokenKind};
use refrain::models::{LanguageModel, ModelConfig};
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain::train::{ChunkPlan, LanguageModelData, LanguageModelTask, Purpose, Task, keyed_rng};
use refrain::{Compute, Isa};
use refrain_testing::shared_data;

const BATCH: usize = 32;
const SEQ_LEN: usize = 32;
/// The loss of the frequencies of single characters is about 3.3 nats; context must have been learnt to be below this.
const FLOOR: f64 = 2.6;

#[test]
fn a_small_model_learns_shakespeare() -> refrain::Result<()> {
    let Some(folder) = shared_data("shakespeare") else {
        return Ok(());
    };
    let text = Text::open(&[folder.join("input.txt.zst")], TokenKind::Char)?;
    assert_eq!(text.symbols(), 1_115_394);
    let data = LmData::new(text, &Split::default(), u64::MAX)?;
    assert_eq!(data.vocabulary.len(), 65);
    assert_eq!(data.train.len(), 1_003_854);

    let config = ModelConfig::default();
    let mut rng = keyed_rng(0, Purpose::Weights, 0);
    let model = LanguageModel::new(&config, data.vocabulary.len(), &mut rng);
    let optimizer = OptimizerConfig {
        kind: OptimizerKind::Adam,
        learning_rate: 0.005,
        momentum: 0.0,
        weight_decay: 0.0,
        clip_norm: Some(1.0),
        schedule: Schedule::Constant,
        warmup_steps: 0,
    };
    let mut optimizer = Optimizer::new(&optimizer, &model);
    let (plan, _) = ChunkPlan::new(data.train.len(), BATCH, Some(SEQ_LEN), true, 0)?;
    let data = LanguageModelData {
        vocabulary: data.vocabulary,
        train: data.train,
        validation: data.validation[..20_000].to_vec(),
        test: Vec::new(),
    };
    let mut task = LanguageModelTask::new(model, data, plan, 0);
    let compute = Compute::new(Isa::detect(), 2);
    for step in 0..150 {
        task.step(&compute, step);
        let update = optimizer.clip(gradient_norm(&compute, task.parameters()));
        optimizer.update(&compute, task.parameters_mut(), step + 1, 0.005, update);
    }
    let score = task.validate(&compute).expect("a validation part");
    assert!(score.loss_nats < FLOOR, "{} nats", score.loss_nats);
    Ok(())
}
