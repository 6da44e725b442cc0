use rand::Rng;
use refrain_kernels::{
    Compute, DropoutKey, Pairing, Panels, Scalar, dropout, gather_rows, join_columns, split_columns,
};

use super::ModelConfig;
use super::batch::rows_of;
use super::history::History;
use crate::nn::{
    Attention, AttentionConfig, AttentionKind, AttentionSpace, Bridge, BridgeSpace, CellKind,
    DistinctTokens, Embedding, FeedForward, FeedForwardSpace, InputGradient, LayerInput, Linear,
    PackedLinear, Parameter, Parameters, Stack, StackSpace, StackState, State, Steps, Window,
};

/// Where the numbers of the decoder's masks begin: past any number of layers of an encoder.
const MASKS: u64 = 1 << 20;
/// The mask on the tokens' vectors: a number that no layer has.
const INPUT_MASK: u64 = (1 << 40) + 2;
/// The mask before the linear layer.
const OUTPUT_MASK: u64 = (1 << 40) + 1;

/// What an encoder hands over to a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a, T> {
    /// A vector for each source, sources × encoded_size.
    pub summary: &'a Panels<T>,
    /// The states of the steps of the sources, rows over time × encoded_size.
    pub states: &'a Panels<T>,
    /// Where each step's rows stand.
    pub steps: &'a Steps,
}

/// From hidden states to hidden states.
#[derive(Clone, Debug, PartialEq)]
pub enum DecoderBody<T> {
    /// Recurrent layers, which begin with what the bridge makes of the summary.
    Recurrent(Bridge<T>, Stack<T>),
    /// The plain network, which sees the last tokens and the summary.
    FeedForward(FeedForward<T>),
}

/// A decoder: from a summary to a sequence of tokens, one after the other.
///
/// ```text
/// h_0, c_0 = bridge(summary)
/// e_t = embedding[y_(t-1)]                       y_0 is the boundary
/// h_t = stack(e_t, h_(t-1))
/// scores_t = W attention(h_t, encoder states) + b    |  W h_t + b
/// ```
///
/// The boundary is the last token, one more than the vocabulary has: read, it begins a sequence; written, it ends one.
///
/// The plain network (cell `mlp`) sees `[e_(t - window + 1) ; … ; e_t ; summary]` in the place of a state.
///
/// # Shapes
/// `decoder.embedding.weight`: `(vocab_size + 1, embedding_size)`; `decoder.bridge.*`, see [`Bridge`]; `decoder.rnn.*`;
/// `attention.*`, see [`Attention`]; `linear.weight`: `(vocab_size + 1, hidden_size)`; `linear.bias`: `(vocab_size + 1)`.
///
/// # References
/// Sutskever, Vinyals and Le, "Sequence to sequence learning with neural networks", 2014; Cho et al., "Learning phrase
/// representations using RNN encoder-decoder", 2014; from a picture: Vinyals et al., "Show and tell", 2015.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder<T> {
    /// The tokens' vectors.
    pub embedding: Embedding<T>,
    /// From vectors to hidden states.
    pub body: DecoderBody<T>,
    /// Attention over the encoder's states, if there is any.
    pub attention: Option<Attention<T>>,
    /// From hidden states to scores. With tied weights its weight is a copy of the embedding's.
    pub linear: Linear<T>,
    config: ModelConfig,
}

/// What passes over a [`Decoder`] reuse.
#[derive(Clone, Debug, Default)]
pub struct DecoderSpace<T> {
    distinct: DistinctTokens,
    vectors: Panels<T>,
    d_vectors: Panels<T>,
    /// The summary of each sequence of the decoder.
    summary: Panels<T>,
    d_summary: Panels<T>,
    bridge: BridgeSpace<T>,
    stack: StackSpace<T>,
    feed_forward: FeedForwardSpace<T>,
    features: Panels<T>,
    d_features: Panels<T>,
    windows: Panels<T>,
    d_windows: Panels<T>,
    seen: Panels<T>,
    d_seen: Panels<T>,
    place_of: Vec<u32>,
    row_summaries: Panels<T>,
    attention: AttentionSpace<T>,
    top: Panels<T>,
    d_top: Panels<T>,
    d_hidden: Panels<T>,
    linear: PackedLinear<T>,
    pub(super) scores: Panels<T>,
}

impl<T: Scalar> DecoderSpace<T> {
    /// The scores of the last pass, a row for each token that was read.
    #[must_use]
    pub fn scores(&self) -> &Panels<T> {
        &self.scores
    }

    /// The alignment of the last pass: for each token that was read the weights of the steps of its source, longest source
    /// first; empty without attention.
    #[must_use]
    pub fn alignment(&self) -> &Panels<T> {
        self.attention.weights()
    }

    /// The recurrent layers' part.
    #[must_use]
    pub fn stack(&self) -> &StackSpace<T> {
        &self.stack
    }

    /// The same, to be asked for more.
    pub fn stack_mut(&mut self) -> &mut StackSpace<T> {
        &mut self.stack
    }
}

/// What a decoder's backward pass gives back to the encoder.
#[derive(Clone, Debug, Default)]
pub struct DecoderGradients<T> {
    /// The gradient of the summaries, sources × encoded_size.
    pub summary: Panels<T>,
    /// The gradient of the encoder's states, where there is attention.
    pub states: Option<Panels<T>>,
}

impl<T: Scalar> Decoder<T> {
    /// A decoder of zeros; `vocab_size` is without the boundary.
    #[must_use]
    pub fn zeros(config: &ModelConfig, vocab_size: usize, encoded_size: usize) -> Self {
        let (hidden_size, embedding_size) = (config.hidden_size, config.embedding_size);
        let body = if config.cell == CellKind::Mlp {
            let seen = config.window * embedding_size + encoded_size;
            DecoderBody::FeedForward(FeedForward::zeros(
                &config.feed_forward(seen),
                "decoder.mlp",
            ))
        } else {
            let has_c = config.cell == CellKind::Lstm;
            let layers = config.num_layers;
            DecoderBody::Recurrent(
                Bridge::zeros("decoder.bridge", encoded_size, hidden_size, layers, has_c),
                Stack::zeros(&config.decoder_stack(), "decoder.rnn"),
            )
        };
        let attention = (config.attention != AttentionKind::None).then(|| {
            let config = AttentionConfig {
                kind: config.attention,
                hidden_size,
                encoded_size,
                output_size: hidden_size,
            };
            Attention::zeros(config, "attention")
        });
        Self {
            embedding: Embedding::zeros("decoder.embedding", vocab_size + 1, embedding_size),
            body,
            attention,
            linear: Linear::zeros("linear", hidden_size, vocab_size + 1),
            config: config.clone(),
        }
    }

    /// Draws new weights.
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        // A tied vector also scores, where the deviation of PyTorch's embeddings would be far too great.
        let deviation = if self.config.tie_weights {
            1.0 / (self.config.hidden_size as f64).sqrt()
        } else {
            1.0
        };
        self.embedding.initialise(deviation, rng);
        match &mut self.body {
            DecoderBody::Recurrent(bridge, stack) => {
                bridge.initialise(rng);
                stack.initialise(&self.config.decoder_stack(), rng);
            }
            DecoderBody::FeedForward(net) => net.initialise(&self.config.feed_forward(0), rng),
        }
        if let Some(attention) = &mut self.attention {
            attention.initialise(rng);
        }
        self.linear.initialise(rng);
    }

    /// The token that begins and ends a sequence: the last one.
    #[must_use]
    pub fn boundary(&self) -> u32 {
        self.embedding.vocab_size() as u32 - 1
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut DecoderSpace<T>, with_backward: bool) {
        match &self.body {
            DecoderBody::Recurrent(bridge, stack) => {
                bridge.pack(&mut space.bridge, with_backward);
                stack.pack(&mut space.stack, with_backward);
            }
            DecoderBody::FeedForward(net) => net.pack(&mut space.feed_forward, with_backward),
        }
        if let Some(attention) = &self.attention {
            attention.pack(&mut space.attention, with_backward);
        }
        self.linear.pack(&mut space.linear, with_backward);
    }

    /// Ties the weights that are one.
    pub(super) fn tie(&mut self) {
        if self.config.tie_weights {
            let vectors = &self.embedding.weight.value;
            self.linear.weight.value.copy_from_slice(vectors);
        }
    }

    fn history(&self) -> History {
        History {
            steps: self.config.window,
            features: self.config.embedding_size,
        }
    }

    fn window(&self) -> Window {
        Window {
            before: self.config.window - 1,
            after: 0,
        }
    }

    /// The state before the first token of sequences that have the sources `source_of`.
    ///
    /// # Panics
    /// If there is no such source, or the weights were not packed.
    pub fn begin(
        &self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        encoded: Encoded<'_, T>,
        source_of: &[u32],
    ) -> StackState<T> {
        if let Some(attention) = &self.attention {
            attention.look_at(compute, &mut space.attention, encoded.states);
        }
        let summary = &mut space.summary;
        summary.resize(source_of.len(), encoded.summary.columns());
        gather_rows(compute, encoded.summary, source_of, summary);
        match &self.body {
            DecoderBody::Recurrent(bridge, _) => {
                bridge.forward(compute, &mut space.bridge, summary)
            }
            DecoderBody::FeedForward(_) => vec![State {
                h: Panels::new(source_of.len(), self.history().state_size()),
                c: Panels::default(),
            }],
        }
    }

    /// Looks the tokens up.
    fn read(
        &self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        tokens: &[u32],
        mask: Option<DropoutKey>,
    ) {
        space.distinct.set(tokens, self.embedding.vocab_size());
        self.embedding
            .forward(space.distinct.tokens(), &mut space.vectors);
        self.mask_vectors(compute, &mut space.vectors, mask);
    }

    fn mask_vectors(&self, compute: &Compute, vectors: &mut Panels<T>, mask: Option<DropoutKey>) {
        if let Some(key) = self.mask(mask, INPUT_MASK) {
            let rows = [0, vectors.rows()];
            dropout(compute, key, self.config.dropout, &rows, vectors);
        }
    }

    fn mask(&self, mask: Option<DropoutKey>, layer: u64) -> Option<DropoutKey> {
        mask.filter(|_| self.config.dropout > 0.0)
            .map(|key| DropoutKey { layer, ..key })
    }

    /// Forward through whole sequences, all tokens known (teacher forcing), from the state that [`Decoder::begin`] gave; the
    /// scores are in [`DecoderSpace::scores`]. With `mask` as in training.
    ///
    /// # Shapes
    /// `tokens`: rows over time of `steps`, the boundary first; `source_of`: for each sequence its source.
    ///
    /// # Panics
    /// If shapes do not fit or the weights were not packed.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a decoder reads and writes this much"
    )]
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        steps: &Steps,
        tokens: &[u32],
        encoded: Encoded<'_, T>,
        source_of: &[u32],
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) {
        self.read(compute, space, tokens, mask);
        if let DecoderBody::FeedForward(_) = &self.body {
            let (index, features) = (space.distinct.index(), &mut space.features);
            features.resize(index.len(), space.vectors.columns());
            gather_rows(compute, &space.vectors, index, features);
            self.window().forward(steps, features, &mut space.windows);
        }
        self.run(compute, space, steps, encoded, source_of, state, mask);
    }

    /// Forward through one token of each sequence; the state goes on. Bit for bit the same as [`Decoder::forward`].
    ///
    /// # Panics
    /// As [`Decoder::forward`].
    pub fn step(
        &self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        tokens: &[u32],
        encoded: Encoded<'_, T>,
        source_of: &[u32],
        state: &mut StackState<T>,
    ) {
        self.read(compute, space, tokens, None);
        if let DecoderBody::FeedForward(_) = &self.body {
            let index = space.distinct.index();
            let windows = &mut space.windows;
            self.history()
                .forward(&space.vectors, index, &mut state[0].h, windows);
            let summary = &mut space.summary;
            summary.resize(source_of.len(), encoded.summary.columns());
            gather_rows(compute, encoded.summary, source_of, summary);
        }
        let steps = Steps::uniform(1, tokens.len());
        self.run(compute, space, &steps, encoded, source_of, state, None);
    }

    /// From vectors to scores.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a decoder reads and writes this much"
    )]
    fn run(
        &self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        steps: &Steps,
        encoded: Encoded<'_, T>,
        source_of: &[u32],
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) {
        match &self.body {
            DecoderBody::Recurrent(_, stack) => {
                let input = LayerInput::Table(&space.vectors, space.distinct.index());
                let mask = layers_mask(mask);
                stack.forward(compute, &mut space.stack, steps, input, state, mask);
            }
            DecoderBody::FeedForward(net) => {
                space.place_of.clear();
                let places = rows_of(steps).map(|(place, _)| place as u32);
                space.place_of.extend(places);
                let columns = space.windows.columns() + space.summary.columns();
                space.seen.resize(steps.rows(), columns);
                join_columns(
                    compute,
                    &space.windows,
                    &space.summary,
                    &space.place_of,
                    &mut space.seen,
                );
                let mask = layers_mask(mask);
                net.forward(compute, &mut space.feed_forward, steps, &space.seen, mask);
            }
        }
        let hidden = hidden(&self.body, &space.stack, &space.feed_forward);
        match &self.attention {
            Some(attention) => {
                let pairing = pairing(steps, encoded.steps, source_of);
                let states = encoded.states;
                attention.forward(compute, &mut space.attention, pairing, hidden, states);
                space.top.clone_from(space.attention.output());
            }
            None => space.top.clone_from(hidden),
        }
        if let Some(key) = self.mask(mask, OUTPUT_MASK) {
            dropout(
                compute,
                key,
                self.config.dropout,
                steps.offsets(),
                &mut space.top,
            );
        }
        self.linear
            .forward(compute, &space.linear, &space.top, &mut space.scores);
    }

    /// Backward from the gradient of the scores, which stands in their place: gradients into the parameters, and those of
    /// what the encoder handed over. All arguments are those of [`Decoder::forward`].
    ///
    /// # Panics
    /// As [`Decoder::forward`], or if two sequences have the same source.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a decoder reads and writes this much"
    )]
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        steps: &Steps,
        encoded: Encoded<'_, T>,
        source_of: &[u32],
        mask: Option<DropoutKey>,
        gradients: &mut DecoderGradients<T>,
    ) {
        self.linear.backward(
            compute,
            &mut space.linear,
            steps,
            &space.top,
            &space.scores,
            &mut space.d_top,
        );
        if let Some(key) = self.mask(mask, OUTPUT_MASK) {
            dropout(
                compute,
                key,
                self.config.dropout,
                steps.offsets(),
                &mut space.d_top,
            );
        }
        gradients.states = None;
        if let Some(attention) = &mut self.attention {
            let d_states = gradients.states.get_or_insert_default();
            attention.backward(
                compute,
                &mut space.attention,
                (steps, encoded.steps),
                pairing(steps, encoded.steps, source_of),
                hidden(&self.body, &space.stack, &space.feed_forward),
                encoded.states,
                &space.d_top,
                &mut space.d_hidden,
                d_states,
            );
            std::mem::swap(&mut space.d_top, &mut space.d_hidden);
        }
        self.body_backward(compute, space, steps, mask);
        self.mask_vectors(compute, &mut space.d_vectors, mask);
        self.embedding
            .backward(space.distinct.tokens(), &space.d_vectors);
        if self.config.tie_weights {
            let grad = &self.linear.weight.grad;
            refrain_kernels::add_assign(&mut self.embedding.weight.grad, grad);
        }
        // Each source has one sequence: the index the other way round.
        let mut sequence_of = vec![0; source_of.len()];
        for (place, &source) in source_of.iter().enumerate() {
            sequence_of[source as usize] = place as u32;
        }
        let summary = &mut gradients.summary;
        summary.resize(encoded.summary.rows(), encoded.summary.columns());
        gather_rows(compute, &space.d_summary, &sequence_of, summary);
    }

    /// From the gradient of the hidden states in `space.d_top` to those of the vectors and the summaries.
    fn body_backward(
        &mut self,
        compute: &Compute,
        space: &mut DecoderSpace<T>,
        steps: &Steps,
        mask: Option<DropoutKey>,
    ) {
        let window = self.window();
        match &mut self.body {
            DecoderBody::Recurrent(bridge, stack) => {
                stack.backward(
                    compute,
                    &mut space.stack,
                    steps,
                    LayerInput::Table(&space.vectors, space.distinct.index()),
                    &space.d_top,
                    None,
                    layers_mask(mask),
                    InputGradient::Into(&mut space.d_vectors),
                );
                bridge.backward(
                    compute,
                    &mut space.bridge,
                    &space.summary,
                    space.stack.d_initial(),
                    &mut space.d_summary,
                );
            }
            DecoderBody::FeedForward(net) => {
                net.backward(
                    compute,
                    &mut space.feed_forward,
                    steps,
                    &space.seen,
                    layers_mask(mask),
                    &space.d_top,
                    &mut space.d_seen,
                );
                let rows = steps.rows();
                space.d_windows.resize(rows, space.windows.columns());
                space.row_summaries.resize(rows, space.summary.columns());
                let all: Vec<u32> = (0..rows as u32).collect();
                split_columns(
                    compute,
                    &space.d_seen,
                    &all,
                    &mut space.d_windows,
                    &mut space.row_summaries,
                );
                window.backward(steps, &space.d_windows, &mut space.d_features);
                space
                    .d_vectors
                    .reset(space.vectors.rows(), space.vectors.columns());
                add_rows(
                    &space.d_features,
                    space.distinct.index(),
                    &mut space.d_vectors,
                );
                space
                    .d_summary
                    .reset(space.summary.rows(), space.summary.columns());
                add_rows(&space.row_summaries, &space.place_of, &mut space.d_summary);
            }
        }
    }
}

/// The layers' masks, apart from an encoder's.
fn layers_mask(mask: Option<DropoutKey>) -> Option<DropoutKey> {
    mask.map(|key| DropoutKey {
        layer: key.layer + MASKS,
        ..key
    })
}

fn hidden<'s, T: Scalar>(
    body: &DecoderBody<T>,
    stack: &'s StackSpace<T>,
    feed_forward: &'s FeedForwardSpace<T>,
) -> &'s Panels<T> {
    match body {
        DecoderBody::Recurrent(..) => stack.output(),
        DecoderBody::FeedForward(net) => feed_forward.hidden(net.layers.len() - 1),
    }
}

fn pairing<'a>(steps: &'a Steps, sources: &'a Steps, source_of: &'a [u32]) -> Pairing<'a> {
    Pairing {
        query_offsets: steps.offsets(),
        key_offsets: sources.offsets(),
        key_of: source_of,
    }
}

/// `to[index[row]] += from[row]`: one chain for each, from the first row to the last.
pub(super) fn add_rows<T: Scalar>(from: &Panels<T>, index: &[u32], to: &mut Panels<T>) {
    let (from_rows, to_rows) = (from.rows(), to.rows());
    for group in 0..from.groups() {
        let from = &from.blocks()[group * from_rows..][..from_rows];
        let to = &mut to.blocks_mut()[group * to_rows..][..to_rows];
        for (block, &at) in from.iter().zip(index) {
            for (sum, &value) in to[at as usize].0.iter_mut().zip(&block.0) {
                *sum += value;
            }
        }
    }
}

impl<T: Scalar> Decoder<T> {
    /// Calls `visit` on every parameter that a file holds: also a tied weight.
    pub fn visit_all<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.visit(visit);
        if self.config.tie_weights {
            visit(&self.linear.weight);
        }
    }

    /// The same to change them.
    pub fn visit_all_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.parts_mut(true, visit);
    }

    fn parts_mut<'a>(&'a mut self, all: bool, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.embedding.visit_mut(visit);
        match &mut self.body {
            DecoderBody::Recurrent(bridge, stack) => {
                bridge.visit_mut(visit);
                stack.visit_mut(visit);
            }
            DecoderBody::FeedForward(net) => net.visit_mut(visit),
        }
        if let Some(attention) = &mut self.attention {
            attention.visit_mut(visit);
        }
        if self.config.tie_weights {
            visit(&mut self.linear.bias);
            if all {
                visit(&mut self.linear.weight);
            }
        } else {
            self.linear.visit_mut(visit);
        }
    }
}

impl<T: Scalar> Parameters<T> for Decoder<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.embedding.visit(visit);
        match &self.body {
            DecoderBody::Recurrent(bridge, stack) => {
                bridge.visit(visit);
                stack.visit(visit);
            }
            DecoderBody::FeedForward(net) => net.visit(visit),
        }
        if let Some(attention) = &self.attention {
            attention.visit(visit);
        }
        if self.config.tie_weights {
            visit(&self.linear.bias);
        } else {
            self.linear.visit(visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.parts_mut(false, visit);
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        if let DecoderBody::Recurrent(_, stack) = &self.body {
            stack.visit_buffers(visit);
        }
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        if let DecoderBody::Recurrent(_, stack) = &mut self.body {
            stack.visit_buffers_mut(visit);
        }
    }
}
