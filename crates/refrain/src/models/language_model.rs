use rand::Rng;
use refrain_kernels::{Compute, DropoutKey, Panels, Scalar, dropout};

use super::ModelConfig;
use super::history::History;
use crate::nn::{
    CellKind, DistinctTokens, Embedding, FeedForward, FeedForwardSpace, InputGradient, LayerInput,
    Linear, PackedLinear, Parameter, Parameters, SoftmaxCrossEntropy, Stack, StackSpace,
    StackState, State, Steps,
};

/// A recurrent language model: from each token and the state to scores for the next token.
///
/// ```text
/// e_t = embedding[x_t]
/// h_t = stack(e_t, state)
/// y_t = W h_t + b                 scores; softmax(y_t) is the distribution of x_(t+1)
/// L_t = -log softmax(y_t)[x_(t+1)]
/// ```
///
/// # Shapes
/// `embedding.weight`: `(vocab_size, embedding_size)`; `rnn.*` as PyTorch's `nn.LSTM` names them; `linear.weight`:
/// `(vocab_size, hidden_size)`; `linear.bias`: `(vocab_size)`.
///
/// # References
/// Mikolov et al., "Recurrent neural network based language model", 2010; weight tying: Press and Wolf, 2017.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageModel<T> {
    /// The architecture.
    pub config: ModelConfig,
    /// The tokens' vectors.
    pub embedding: Embedding<T>,
    /// The recurrent layers; none with the cell `mlp`.
    pub stack: Stack<T>,
    /// The plain network in their place, with the cell `mlp`.
    pub feed_forward: Option<FeedForward<T>>,
    /// From the highest hidden state to the scores. With tied weights its weight is a copy of the embedding's.
    pub linear: Linear<T>,
}

/// Everything that passes over a language model reuse, so that a training step allocates nothing after the first.
#[derive(Clone, Debug, Default)]
pub struct LanguageModelSpace<T> {
    steps: Steps,
    distinct: DistinctTokens,
    vectors: Panels<T>,
    d_vectors: Panels<T>,
    stack: StackSpace<T>,
    feed_forward: FeedForwardSpace<T>,
    seen: Panels<T>,
    d_seen: Panels<T>,
    linear: PackedLinear<T>,
    dropped: Panels<T>,
    logits: Panels<T>,
    d_top: Panels<T>,
    loss: SoftmaxCrossEntropy,
}

impl<T: Scalar> LanguageModelSpace<T> {
    /// The hidden states of a layer from the last pass, rows over time.
    #[must_use]
    pub fn hidden(&self, layer: usize) -> &Panels<T> {
        self.stack.forward_hidden(layer)
    }

    /// The recurrent layers' part.
    #[must_use]
    pub fn stack(&self) -> &StackSpace<T> {
        &self.stack
    }

    /// The loss of each token of the last pass, nats, step after step.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        self.loss.losses()
    }

    /// Bytes that a forward pass keeps for the backward pass: of the recurrent layers, and the scores.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.stack.kept_bytes() + size_of_val(self.logits.blocks())
    }

    /// Gradients of the initial states after a backward pass.
    #[must_use]
    pub fn d_initial(&self) -> &StackState<T> {
        self.stack.d_initial()
    }
}

/// Tokens of a batch and the tokens that follow them.
#[derive(Clone, Copy, Debug)]
pub struct TokenBatch<'a> {
    /// Step after step, `batch` tokens each.
    pub inputs: &'a [u32],
    /// The token after each of them.
    pub targets: &'a [u32],
    /// Rows.
    pub batch: usize,
}

impl<T: Scalar> LanguageModel<T> {
    /// A model of zeros.
    #[must_use]
    pub fn zeros(config: &ModelConfig, vocab_size: usize) -> Self {
        let is_plain = config.cell == CellKind::Mlp;
        let mut stack = config.stack(config.embedding_size);
        if is_plain {
            stack.num_layers = 0;
        }
        let plain = config.feed_forward(config.window * config.embedding_size);
        Self {
            config: config.clone(),
            embedding: Embedding::zeros("embedding", vocab_size, config.embedding_size),
            stack: Stack::zeros(&stack, "rnn"),
            feed_forward: is_plain.then(|| FeedForward::zeros(&plain, "mlp")),
            linear: Linear::zeros("linear", config.hidden_size, vocab_size),
        }
    }

    /// A model with weights drawn from `rng`.
    #[must_use]
    pub fn new(config: &ModelConfig, vocab_size: usize, rng: &mut impl Rng) -> Self {
        let mut model = Self::zeros(config, vocab_size);
        // Vectors of tokens are normal as in PyTorch; a tied one also scores, where that deviation would be far too great.
        let deviation = if config.tie_weights {
            1.0 / (config.hidden_size as f64).sqrt()
        } else {
            1.0
        };
        model.embedding.initialise(deviation, rng);
        match &mut model.feed_forward {
            None => model
                .stack
                .initialise(&config.stack(config.embedding_size), rng),
            Some(net) => net.initialise(&config.feed_forward(0), rng),
        }
        model.linear.initialise(rng);
        model
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.embedding.vocab_size()
    }

    /// All states zero.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> StackState<T> {
        match &self.feed_forward {
            None => self.stack.zero_state(batch),
            Some(_) => vec![State {
                h: Panels::new(batch, self.history().state_size()),
                c: Panels::default(),
            }],
        }
    }

    fn history(&self) -> History {
        History {
            steps: self.config.window,
            features: self.config.embedding_size,
        }
    }

    /// What the layers gave in the last pass.
    fn top<'s>(&self, space: &'s LanguageModelSpace<T>) -> &'s Panels<T> {
        match &self.feed_forward {
            None => space.stack.output(),
            Some(_) => space.feed_forward.hidden(self.config.num_layers - 1),
        }
    }

    fn pack(&mut self, space: &mut LanguageModelSpace<T>, with_backward: bool) {
        if self.config.tie_weights {
            self.linear
                .weight
                .value
                .copy_from_slice(&self.embedding.weight.value);
        }
        self.stack.pack(&mut space.stack, with_backward);
        if let Some(net) = &self.feed_forward {
            net.pack(&mut space.feed_forward, with_backward);
        }
        self.linear.pack(&mut space.linear, with_backward);
    }

    /// From tokens to scores, in `space.logits`.
    fn scores(
        &self,
        compute: &Compute,
        space: &mut LanguageModelSpace<T>,
        inputs: &[u32],
        batch: usize,
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) {
        space.steps.set_uniform(inputs.len() / batch, batch);
        space.distinct.set(inputs, self.vocab_size());
        self.embedding
            .forward(space.distinct.tokens(), &mut space.vectors);
        match &self.feed_forward {
            None => {
                let input = LayerInput::Table(&space.vectors, space.distinct.index());
                self.stack
                    .forward(compute, &mut space.stack, &space.steps, input, state, mask);
            }
            Some(net) => {
                let index = space.distinct.index();
                let seen = &mut space.seen;
                self.history()
                    .forward(&space.vectors, index, &mut state[0].h, seen);
                net.forward(compute, &mut space.feed_forward, &space.steps, seen, mask);
            }
        }
        let mut logits = std::mem::take(&mut space.logits);
        match self.output_mask(mask) {
            None => {
                let top = self.top(space);
                self.linear
                    .forward(compute, &space.linear, top, &mut logits);
            }
            Some(key) => {
                let mut dropped = std::mem::take(&mut space.dropped);
                dropped.clone_from(self.top(space));
                let offsets = space.steps.offsets();
                dropout(compute, key, self.config.dropout, offsets, &mut dropped);
                self.linear
                    .forward(compute, &space.linear, &dropped, &mut logits);
                space.dropped = dropped;
            }
        }
        space.logits = logits;
    }

    /// The mask before the linear layer.
    fn output_mask(&self, mask: Option<DropoutKey>) -> Option<DropoutKey> {
        let layer = self.config.num_layers as u64;
        mask.filter(|_| self.config.dropout > 0.0)
            .map(|key| DropoutKey { layer, ..key })
    }

    /// One forward and backward pass of truncated backpropagation through time: the mean loss in nats a token, its
    /// gradients in the parameters, the state carried on in `state`.
    ///
    /// The gradient stops at the initial state: what earlier chunks contributed to it is left out.
    ///
    /// # Panics
    /// If the tokens are not whole steps or not in the vocabulary, or the state has another batch.
    pub fn loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut LanguageModelSpace<T>,
        tokens: TokenBatch<'_>,
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) -> f64 {
        self.pack(space, true);
        self.scores(compute, space, tokens.inputs, tokens.batch, state, mask);
        let total = space
            .loss
            .forward_backward(compute, &mut space.logits, tokens.targets);
        let mut linear = std::mem::take(&mut space.linear);
        let mut d_top = std::mem::take(&mut space.d_top);
        let top = match self.output_mask(mask) {
            Some(_) => &space.dropped,
            // `Self::top`, whose borrow of all of `self` would be in the way.
            None => match &self.feed_forward {
                None => space.stack.output(),
                Some(_) => space.feed_forward.hidden(self.config.num_layers - 1),
            },
        };
        self.linear.backward(
            compute,
            &mut linear,
            &space.steps,
            top,
            &space.logits,
            &mut d_top,
        );
        (space.linear, space.d_top) = (linear, d_top);
        if let Some(key) = self.output_mask(mask) {
            dropout(
                compute,
                key,
                self.config.dropout,
                space.steps.offsets(),
                &mut space.d_top,
            );
        }
        let history = self.history();
        match &mut self.feed_forward {
            None => self.stack.backward(
                compute,
                &mut space.stack,
                &space.steps,
                LayerInput::Table(&space.vectors, space.distinct.index()),
                &space.d_top,
                None,
                mask,
                InputGradient::Into(&mut space.d_vectors),
            ),
            Some(net) => {
                net.backward(
                    compute,
                    &mut space.feed_forward,
                    &space.steps,
                    &space.seen,
                    mask,
                    &space.d_top,
                    &mut space.d_seen,
                );
                let index = space.distinct.index();
                space
                    .d_vectors
                    .reset(space.vectors.rows(), space.vectors.columns());
                history.backward(&space.d_seen, index, tokens.batch, &mut space.d_vectors);
            }
        }
        self.embedding
            .backward(space.distinct.tokens(), &space.d_vectors);
        if self.config.tie_weights {
            refrain_kernels::add_assign(&mut self.embedding.weight.grad, &self.linear.weight.grad);
        }
        total / tokens.targets.len() as f64
    }

    /// Makes `space` ready for [`LanguageModel::loss`].
    pub fn prepare(&mut self, space: &mut LanguageModelSpace<T>) {
        self.pack(space, false);
    }

    /// The sum of the losses in nats, without gradients or dropout; the state is carried on. `space` must have been
    /// prepared since the weights last changed.
    ///
    /// # Panics
    /// As [`LanguageModel::loss_and_gradients`].
    pub fn loss(
        &self,
        compute: &Compute,
        space: &mut LanguageModelSpace<T>,
        tokens: TokenBatch<'_>,
        state: &mut StackState<T>,
    ) -> f64 {
        self.scores(compute, space, tokens.inputs, tokens.batch, state, None);
        space
            .loss
            .forward(compute, &mut space.logits, tokens.targets)
    }

    /// The parameters and buffers that files hold: the tied weight too.
    pub fn visit_all<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.embedding.visit(visit);
        self.stack.visit(visit);
        if let Some(net) = &self.feed_forward {
            net.visit(visit);
        }
        self.linear.visit(visit);
        self.stack.visit_buffers(visit);
    }

    /// The same, to be changed.
    pub fn visit_all_mut(&mut self, visit: &mut dyn FnMut(&mut Parameter<T>)) {
        let mut each = |parameter: &mut Parameter<T>| visit(parameter);
        self.embedding.visit_mut(&mut each);
        self.stack.visit_mut(&mut each);
        if let Some(net) = &mut self.feed_forward {
            net.visit_mut(&mut each);
        }
        self.linear.visit_mut(&mut each);
        self.stack.visit_buffers_mut(&mut each);
    }
}

impl<T: Scalar> Parameters<T> for LanguageModel<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.embedding.visit(visit);
        self.stack.visit(visit);
        if let Some(net) = &self.feed_forward {
            net.visit(visit);
        }
        if self.config.tie_weights {
            visit(&self.linear.bias);
        } else {
            self.linear.visit(visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.embedding.visit_mut(visit);
        self.stack.visit_mut(visit);
        if let Some(net) = &mut self.feed_forward {
            net.visit_mut(visit);
        }
        if self.config.tie_weights {
            visit(&mut self.linear.bias);
        } else {
            self.linear.visit_mut(visit);
        }
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.stack.visit_buffers(visit);
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.stack.visit_buffers_mut(visit);
    }
}

/// One stream through a language model, token by token: the weights are packed once, and the first layer's product is formed
/// once for each token.
///
/// Its scores are those of a pass over the whole sequence, bit for bit.
#[derive(Debug)]
pub struct Stream<'m, T> {
    model: &'m LanguageModel<T>,
    compute: Compute,
    space: LanguageModelSpace<T>,
    state: StackState<T>,
    tables: Vec<Option<Panels<T>>>,
    scores: Vec<T>,
}

impl<'m, T: Scalar> Stream<'m, T> {
    /// A stream at state zero.
    #[must_use]
    pub fn new(model: &'m mut LanguageModel<T>, isa: refrain_kernels::Isa) -> Self {
        let mut space = LanguageModelSpace::default();
        model.prepare(&mut space);
        let model = &*model;
        space.steps.set_uniform(1, 1);
        Self {
            model,
            compute: Compute::single(isa),
            space,
            state: model.zero_state(1),
            tables: vec![None; model.vocab_size()],
            scores: vec![T::ZERO; model.vocab_size()],
        }
    }

    /// Back to state zero.
    pub fn reset(&mut self) {
        self.state.iter_mut().for_each(crate::nn::State::fill_zero);
    }

    /// The states of all layers.
    #[must_use]
    pub fn state(&self) -> &StackState<T> {
        &self.state
    }

    /// Reads a token and gives the scores of the next one.
    ///
    /// # Panics
    /// If the token is not in the vocabulary.
    pub fn step(&mut self, token: u32) -> &[T] {
        let Self {
            model,
            compute,
            space,
            state,
            tables,
            scores,
        } = self;
        if model.feed_forward.is_some() {
            model.scores(compute, space, &[token], 1, state, None);
            space.logits.copy_to_rows(0, scores);
            return scores;
        }
        let table = tables[token as usize].get_or_insert_with(|| {
            model.embedding.forward(&[token], &mut space.vectors);
            model
                .stack
                .project_first(compute, &space.stack, &space.vectors)
        });
        model
            .stack
            .step_table(compute, &mut space.stack, &space.steps, table, state);
        model.linear.forward(
            compute,
            &space.linear,
            space.stack.output(),
            &mut space.logits,
        );
        space.logits.copy_to_rows(0, scores);
        scores
    }
}
