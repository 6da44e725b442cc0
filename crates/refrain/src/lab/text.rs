//! Language models of the built-in Latin text, as several experiments train them.

use crate::data::{Vocabulary, demo};
use crate::error::Result;
use crate::models::{LanguageModel, ModelConfig};
use crate::nn::CellKind;
use crate::train::{ChunkPlan, LanguageModelData, LanguageModelTask, Purpose, keyed_rng};

/// The share of the text that is learnt from.
const TRAIN_SHARE: f64 = 0.9;

/// The text as tokens: what is learnt from, what is scored.
pub(super) fn latin() -> Result<LanguageModelData> {
    let vocabulary = Vocabulary::from_text(demo::latin())?;
    let ids = vocabulary.try_encode(demo::latin())?;
    let train = (ids.len() as f64 * TRAIN_SHARE) as usize;
    Ok(LanguageModelData {
        vocabulary,
        validation: ids[train..].to_vec(),
        train: ids[..train].to_vec(),
        test: Vec::new(),
    })
}

/// A small model of one layer.
pub(super) fn small(cell: CellKind, hidden_size: usize) -> ModelConfig {
    ModelConfig {
        cell,
        hidden_size,
        embedding_size: 16,
        ..ModelConfig::default()
    }
}

/// How the text is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) batch: usize,
    /// Steps of a chunk; `None` is all.
    pub(super) bptt: Option<usize>,
}

/// A model with drawn weights, ready to be trained on the data.
pub(super) fn task(
    config: &ModelConfig,
    data: &LanguageModelData,
    cut: Cut,
    seed: u64,
) -> Result<LanguageModelTask> {
    let mut rng = keyed_rng(seed, Purpose::Weights, 0);
    let model = LanguageModel::new(config, data.vocabulary.len(), &mut rng);
    let (plan, _) = ChunkPlan::new(data.train.len(), cut.batch, cut.bptt, true, seed)?;
    Ok(LanguageModelTask::new(model, data.clone(), plan, seed))
}
