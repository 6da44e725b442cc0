use rand::Rng;
use refrain_kernels::{
    Block, Compute, DropoutKey, GROUP, Panels, Scalar, Slots, add_assign, layer_norm,
    layer_norm_backward,
};

use super::ModelConfig;
use super::batch::SequenceBatch;
use super::decoder::{Decoder, DecoderGradients, DecoderSpace, Encoded};
use super::encoder::{Body, Encoder, EncoderSpace, InputShape, Output, Reader};
use crate::nn::{
    Parameter, Parameters, Pooling, PoolingSpace, SoftmaxCrossEntropy, StackState, Steps,
    pool_backward, pool_forward,
};

/// An encoder joined to a decoder: many to one, then one to many.
///
/// The encoder is the one that classifiers stand on: its states, pooled to one vector, sum the source up. Where the source is a
/// fixed input, a picture or a vector, the summary is what the reader makes of it, normalised over its features (mean 0,
/// variance 1; gain and bias are the bridge's): features grow while they are learnt, and the tanh of the bridge would saturate
/// for every picture alike. The decoder writes the target, one token after the other. A translator and a captioner are this one type; they differ in what they read.
///
/// ```text
/// s_1, …, s_S = encoder(x)
/// y_t = decoder(pool(s), s, y_1, …, y_(t-1))            L = mean of -log softmax(y_t)[target_t], the end included
/// ```
///
/// # Shapes
/// `encoder.*`, see [`Encoder`]; the rest see [`Decoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderDecoder<T> {
    /// The architecture.
    pub config: ModelConfig,
    /// From a source to hidden states.
    pub encoder: Encoder<T>,
    /// From those to a target.
    pub decoder: Decoder<T>,
}

/// What passes over an [`EncoderDecoder`] reuse.
#[derive(Clone, Debug, Default)]
pub struct EncoderDecoderSpace<T> {
    /// The encoder's part.
    pub encoder: EncoderSpace<T>,
    /// The decoder's part.
    pub decoder: DecoderSpace<T>,
    pooling: PoolingSpace,
    summary: Panels<T>,
    /// What the features of fixed inputs were multiplied by to be normalised.
    factors: Vec<T>,
    gain: Vec<Block<T>>,
    d_features: Panels<T>,
    /// The encoder's states, and where their rows stand.
    states: Panels<T>,
    steps: Steps,
    gradients: DecoderGradients<T>,
    d_states: Panels<T>,
    loss: SoftmaxCrossEntropy,
}

impl<T: Scalar> EncoderDecoderSpace<T> {
    /// What the encoder made of the last sources.
    #[must_use]
    pub fn encoded(&self) -> Encoded<'_, T> {
        Encoded {
            summary: &self.summary,
            states: &self.states,
            steps: &self.steps,
        }
    }

    /// The loss of each token of the last pass, nats.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        self.loss.losses()
    }
}

/// Targets of a batch: packed, sorted by falling length, the end included.
#[derive(Clone, Debug, Default)]
pub struct TargetBatch {
    /// Where each step's rows stand.
    pub steps: Steps,
    /// What the decoder reads: the boundary, then the target.
    pub inputs: Vec<u32>,
    /// What it is to write: the target, then the boundary.
    pub targets: Vec<u32>,
    /// For each target the place of its source.
    pub source_of: Vec<u32>,
}

impl<T: Scalar> EncoderDecoder<T> {
    /// A model of zeros; `vocab_size` is the targets', without the boundary. `output` is [`Output::Steps`] for sequences,
    /// [`Output::Features`] for a fixed input.
    #[must_use]
    pub fn zeros(
        config: &ModelConfig,
        shape: &InputShape,
        output: Output,
        vocab_size: usize,
    ) -> Self {
        let encoder = Encoder::zeros(config, shape, output, "encoder.");
        Self {
            config: config.clone(),
            decoder: Decoder::zeros(config, vocab_size, encoder.output_size()),
            encoder,
        }
    }

    /// A model with weights drawn from `rng`.
    #[must_use]
    pub fn new(
        config: &ModelConfig,
        shape: &InputShape,
        output: Output,
        vocab_size: usize,
        rng: &mut impl Rng,
    ) -> Self {
        let mut model = Self::zeros(config, shape, output, vocab_size);
        model.encoder.initialise(rng);
        model.decoder.initialise(rng);
        model
    }

    /// How the encoder's states become a summary, where they must.
    fn pooling(&self) -> Option<Pooling> {
        (!self.encoder.gives_sequences()).then_some(self.config.pooling)
    }

    /// Makes tied weights one again, after the embedding has changed.
    pub fn tie(&mut self) {
        self.decoder.tie();
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass. Tied weights must be
    /// [one](EncoderDecoder::tie).
    pub fn pack(&self, space: &mut EncoderDecoderSpace<T>, with_backward: bool) {
        self.encoder.pack(&mut space.encoder, with_backward);
        self.decoder.pack(&mut space.decoder, with_backward);
    }

    /// Reads sources; what comes of them is in [`EncoderDecoderSpace::encoded`].
    ///
    /// # Panics
    /// If the batch is not what the model was made for, or the weights were not packed.
    pub fn encode(
        &self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        mask: Option<DropoutKey>,
    ) {
        self.encoder
            .forward(compute, &mut space.encoder, source, mask);
        space.states.clone_from(self.encoder.output(&space.encoder));
        match self.pooling() {
            Some(pooling) => {
                space.steps.clone_from(&source.steps);
                pool_forward(
                    pooling,
                    &source.steps,
                    self.encoder.reverse_from(),
                    &space.states,
                    &mut space.summary,
                    &mut space.pooling,
                );
            }
            None => {
                space.steps.set_uniform(1, source.steps.batch());
                space.summary.clone_from(&space.states);
                if self.is_of_features() {
                    let (rows, units) = (space.summary.rows(), space.summary.columns());
                    space.factors.resize(rows, T::ZERO);
                    layer_norm(compute, units, &mut space.summary, &mut space.factors);
                }
            }
        }
    }

    /// Whether the summary is a picture's features, which have no bounds and must be brought to a common size. Vectors are
    /// standardised, number by number, and how large they are may matter.
    fn is_of_features(&self) -> bool {
        matches!(self.encoder.body, Body::Direct)
            && matches!(self.encoder.reader, Reader::Frames(_))
    }

    /// The scores of every token of the targets, in [`DecoderSpace::scores`].
    fn scores(
        &self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        target: &TargetBatch,
        mask: Option<DropoutKey>,
    ) {
        self.encode(compute, space, source, mask);
        let encoded = Encoded {
            summary: &space.summary,
            states: &space.states,
            steps: &space.steps,
        };
        let mut state = self
            .decoder
            .begin(compute, &mut space.decoder, encoded, &target.source_of);
        self.decoder.forward(
            compute,
            &mut space.decoder,
            &target.steps,
            &target.inputs,
            encoded,
            &target.source_of,
            &mut state,
            mask,
        );
    }

    /// The state before the first token of targets of the sources that were last read; `source_of` tells for each which.
    ///
    /// # Panics
    /// If there is no such source.
    pub fn begin(
        &self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source_of: &[u32],
    ) -> StackState<T> {
        let encoded = Encoded {
            summary: &space.summary,
            states: &space.states,
            steps: &space.steps,
        };
        self.decoder
            .begin(compute, &mut space.decoder, encoded, source_of)
    }

    /// One token of each target; the scores of the next are in [`DecoderSpace::scores`], the state goes on.
    ///
    /// # Panics
    /// If there are not as many tokens, sources and states.
    pub fn step(
        &self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        tokens: &[u32],
        source_of: &[u32],
        state: &mut StackState<T>,
    ) {
        let encoded = Encoded {
            summary: &space.summary,
            states: &space.states,
            steps: &space.steps,
        };
        let decoder = &mut space.decoder;
        self.decoder
            .step(compute, decoder, tokens, encoded, source_of, state);
    }

    /// One forward and backward pass: the mean loss in nats a token, its gradients in the parameters.
    ///
    /// # Panics
    /// If the batch is not what the model was made for, or two targets have the same source.
    pub fn loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        target: &TargetBatch,
        mask: Option<DropoutKey>,
    ) -> f64 {
        self.prepare_loss(compute, space, source, target, mask);
        let scores = &mut space.decoder.scores;
        let total = space
            .loss
            .forward_backward(compute, scores, &target.targets);
        self.backward(compute, space, source, target, mask);
        total / target.targets.len() as f64
    }

    /// The same of one token of the targets alone, that of row `row` over time, without dropout.
    ///
    /// # Panics
    /// As [`EncoderDecoder::loss_and_gradients`], or if there is no such row.
    pub fn token_loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        target: &TargetBatch,
        row: usize,
    ) -> f64 {
        self.prepare_loss(compute, space, source, target, None);
        let mut weights = vec![0.0; target.targets.len()];
        weights[row] = 1.0;
        let scores = &mut space.decoder.scores;
        let loss = space
            .loss
            .forward_backward_weighted(compute, scores, &target.targets, &weights);
        self.backward(compute, space, source, target, None);
        loss
    }

    /// The scores of every token of the targets, for a pass backward.
    fn prepare_loss(
        &mut self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        target: &TargetBatch,
        mask: Option<DropoutKey>,
    ) {
        self.tie();
        self.pack(space, true);
        self.scores(compute, space, source, target, mask);
    }

    /// Backward from the gradients of the scores, which stand in their place.
    fn backward(
        &mut self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        target: &TargetBatch,
        mask: Option<DropoutKey>,
    ) {
        let encoded = Encoded {
            summary: &space.summary,
            states: &space.states,
            steps: &space.steps,
        };
        self.decoder.backward(
            compute,
            &mut space.decoder,
            &target.steps,
            encoded,
            &target.source_of,
            mask,
            &mut space.gradients,
        );
        let d_summary = &space.gradients.summary;
        let d_output = match self.pooling() {
            Some(pooling) => {
                pool_backward(
                    pooling,
                    &source.steps,
                    self.encoder.reverse_from(),
                    d_summary,
                    &mut space.d_states,
                    &space.pooling,
                );
                if let Some(d_states) = &space.gradients.states {
                    let sums = space.d_states.blocks_mut().iter_mut();
                    for (to, from) in sums.zip(d_states.blocks()) {
                        add_assign(&mut to.0, &from.0);
                    }
                }
                &space.d_states
            }
            None if self.is_of_features() => {
                space.gain.resize(d_summary.groups(), Block::ZERO);
                space.gain.fill(Block([T::ONE; GROUP]));
                let d_features = &mut space.d_features;
                d_features.resize(d_summary.rows(), d_summary.columns());
                layer_norm_backward(
                    compute,
                    d_summary.columns(),
                    d_summary,
                    Slots::PLAIN,
                    &space.summary,
                    &space.gain,
                    &space.factors,
                    d_features,
                );
                d_features
            }
            None => d_summary,
        };
        self.encoder
            .backward(compute, &mut space.encoder, source, d_output, mask);
    }

    /// The sum of the losses in nats, without gradients or dropout; those of each token are in
    /// [`EncoderDecoderSpace::losses`]. The weights must have been packed since they last changed.
    ///
    /// # Panics
    /// If the batch is not what the model was made for.
    pub fn loss(
        &self,
        compute: &Compute,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        target: &TargetBatch,
    ) -> f64 {
        self.scores(compute, space, source, target, None);
        space
            .loss
            .forward(compute, &mut space.decoder.scores, &target.targets)
    }

    /// Calls `visit` on every parameter that a file holds: also a tied weight.
    pub fn visit_all<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit(visit);
        self.decoder.visit_all(visit);
    }

    /// The same to change them.
    pub fn visit_all_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_mut(visit);
        self.decoder.visit_all_mut(visit);
    }
}

impl<T: Scalar> Parameters<T> for EncoderDecoder<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit(visit);
        self.decoder.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_mut(visit);
        self.decoder.visit_mut(visit);
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit_buffers(visit);
        self.decoder.visit_buffers(visit);
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_buffers_mut(visit);
        self.decoder.visit_buffers_mut(visit);
    }
}
