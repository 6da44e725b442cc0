//! Models and batches in f64.

use refrain_kernels::Panels;

use crate::models::{
    BatchInputs, Body, EncoderDecoder, Forecaster, InputShape, Labeller, LanguageModel, Output,
    SequenceBatch,
};
use crate::nn::Parameters;

/// Gives `to` the numbers of `from`, which must be a model of the same shape.
///
/// # Panics
/// If they are not.
pub fn copy_numbers(from: &dyn Parameters<f32>, to: &mut dyn Parameters<f64>) {
    let mut numbers = Vec::new();
    from.visit(&mut |parameter| numbers.push(parameter));
    from.visit_buffers(&mut |parameter| numbers.push(parameter));
    let mut numbers = numbers.into_iter();
    let mut copy = |parameter: &mut crate::nn::Parameter<f64>| {
        let from = numbers.next().map(|from| (&from.name, &from.value));
        let name = from.map(|(name, _)| name);
        assert_eq!(name, Some(&parameter.name), "a parameter");
        let values = from.into_iter().flat_map(|(_, values)| values);
        parameter.value = values.map(|&value| f64::from(value)).collect();
    };
    to.visit_mut(&mut |parameter| copy(parameter));
    to.visit_buffers_mut(&mut |parameter| copy(parameter));
    assert!(numbers.next().is_none(), "more parameters");
}

/// A language model in f64.
#[must_use]
pub fn language_model(model: &LanguageModel<f32>) -> LanguageModel<f64> {
    let mut wide = LanguageModel::zeros(&model.config, model.vocab_size());
    copy_numbers(model, &mut wide);
    if wide.config.tie_weights {
        let tied = &wide.embedding.weight.value;
        wide.linear.weight.value.copy_from_slice(tied);
    }
    wide
}

/// A labeller of inputs of some shape in f64.
#[must_use]
pub fn labeller(model: &Labeller<f32>, shape: &InputShape) -> Labeller<f64> {
    let mut wide = Labeller::zeros(&model.config, shape, model.output(), model.classes());
    copy_numbers(model, &mut wide);
    wide
}

/// A forecaster in f64.
#[must_use]
pub fn forecaster(model: &Forecaster<f32>) -> Forecaster<f64> {
    let mut wide = Forecaster::zeros(&model.config, model.shape());
    copy_numbers(model, &mut wide);
    wide
}

/// A model that writes, of inputs of some shape, in f64.
#[must_use]
pub fn encoder_decoder(model: &EncoderDecoder<f32>, shape: &InputShape) -> EncoderDecoder<f64> {
    let output = match model.encoder.body {
        Body::Direct => Output::Features,
        Body::Recurrent(_) | Body::FeedForward(..) => Output::Steps,
    };
    let vocab_size = model.decoder.boundary() as usize;
    let mut wide = EncoderDecoder::zeros(&model.config, shape, output, vocab_size);
    copy_numbers(model, &mut wide);
    wide
}

/// A matrix in f64.
#[must_use]
pub fn panels(from: &Panels<f32>) -> Panels<f64> {
    let mut to = Panels::new(from.rows(), from.columns());
    for (to, from) in to.blocks_mut().iter_mut().zip(from.blocks()) {
        to.0 = from.0.map(f64::from);
    }
    to
}

/// A batch in f64.
#[must_use]
pub fn batch(from: &SequenceBatch<f32>) -> SequenceBatch<f64> {
    SequenceBatch {
        steps: from.steps.clone(),
        inputs: match &from.inputs {
            BatchInputs::Tokens(tokens) => BatchInputs::Tokens(tokens.clone()),
            BatchInputs::Words(words) => BatchInputs::Words(words.clone()),
            BatchInputs::Vectors(vectors) => BatchInputs::Vectors(panels(vectors)),
            BatchInputs::Frames(pictures) => {
                BatchInputs::Frames(pictures.iter().map(|&value| f64::from(value)).collect())
            }
        },
    }
}
