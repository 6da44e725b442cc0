use rand::Rng;
use refrain_kernels::{
    Attend, AttendBackward, Block, Compute, GROUP, Pairing, Panels, RnnCell, RowRun, Scalar,
    activate, activate_backward, add_assign, attend, attend_backward, column_sums, groups,
    join_columns, split_columns,
};
use serde::{Deserialize, Serialize};

use super::init;
use super::{Linear, PackedLinear, Parameter, Parameters, Steps};
use crate::names::named;

/// How a state of the decoder is compared with those of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKind {
    /// Not at all: the decoder has the encoder's summary alone.
    #[default]
    None,
    /// `h · s`; where the encoder reads both ways, `h · (s forward + s reverse)`.
    Dot,
    /// `hᵀ W s`.
    General,
    /// `v · tanh(W h + U s)`.
    Additive,
}

named!(AttentionKind, "attention", {
    None => "none",
    Dot => "dot",
    General => "general",
    Additive => "additive",
});

/// The sizes of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionConfig {
    /// How states are compared.
    pub kind: AttentionKind,
    /// Features of the decoder's states.
    pub hidden_size: usize,
    /// Features of the encoder's states.
    pub encoded_size: usize,
    /// Features of what comes out.
    pub output_size: usize,
}

/// Attention over the encoder's states, after the decoder's last layer.
///
/// ```text
/// score_ts = h_t · s_s  |  h_tᵀ W s_s  |  v · tanh(W h_t + U s_s)
/// a_t = softmax(score_t1, …, score_tS)                   the alignment
/// c_t = Σ_s a_ts s_s                                     the context
/// y_t = tanh(C [c_t ; h_t])
/// ```
///
/// # Shapes
/// `h`: rows over time × hidden_size; `s`: rows over time of the sources × encoded_size; `y`: rows × output_size.
/// `attention.query.weight`: `W`, `(encoded_size, hidden_size)` (`general`) or `(hidden_size, hidden_size)` (`additive`);
/// `attention.key.weight`: `U`, `(hidden_size, encoded_size)`; `attention.score.weight`: `v`, `(hidden_size)`;
/// `attention.combine.weight`: `C`, `(output_size, encoded_size + hidden_size)`. None has a bias.
///
/// # Differences
/// From Luong et al.: `y_t` is not fed into the next step, so that all steps of a sequence are computed at once.
///
/// # References
/// Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation", 2015; the additive score:
/// Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and translate", 2015.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention<T> {
    kind: AttentionKind,
    /// `W`, where the kind has one.
    pub query: Option<Linear<T>>,
    /// `U`, where the kind has one.
    pub key: Option<Linear<T>>,
    /// `v`, where the kind has one.
    pub score: Option<Parameter<T>>,
    /// `C`.
    pub combine: Linear<T>,
}

/// What passes over an [`Attention`] reuse.
#[derive(Clone, Debug, Default)]
pub struct AttentionSpace<T> {
    query: PackedLinear<T>,
    key: PackedLinear<T>,
    combine: PackedLinear<T>,
    score: Vec<Block<T>>,
    queries: Panels<T>,
    /// The encoder's states as they are compared, where they are not themselves.
    keys: Panels<T>,
    weights: Panels<T>,
    context: Panels<T>,
    joined: Panels<T>,
    output: Panels<T>,
    /// Row n is row n.
    rows: Vec<u32>,
    d_output: Panels<T>,
    d_joined: Panels<T>,
    d_context: Panels<T>,
    d_scores: Panels<T>,
    d_queries: Panels<T>,
    d_query_h: Panels<T>,
    d_keys: Panels<T>,
    d_score: Panels<T>,
    d_encoded: Panels<T>,
    sums: Vec<Block<T>>,
}

impl<T: Scalar> AttentionSpace<T> {
    /// What came out of the last forward pass, rows × output_size.
    #[must_use]
    pub fn output(&self) -> &Panels<T> {
        &self.output
    }

    /// The alignment of the last forward pass: rows × the steps of the longest source; zero past a row's own source.
    #[must_use]
    pub fn weights(&self) -> &Panels<T> {
        &self.weights
    }

    fn count_rows(&mut self, rows: usize) {
        let known = self.rows.len() as u32;
        self.rows.extend(known..rows as u32);
    }
}

impl<T: Scalar> Attention<T> {
    /// An attention layer of zeros.
    ///
    /// # Panics
    /// If the kind is `none`, or `dot` and the encoder's states are neither as large as the decoder's nor twice as large.
    #[must_use]
    pub fn zeros(config: AttentionConfig, owner: &str) -> Self {
        let AttentionConfig {
            kind,
            hidden_size,
            encoded_size,
            output_size,
        } = config;
        let linear = |name: &str, input, output| {
            Linear::without_bias(&format!("{owner}.{name}"), input, output)
        };
        assert!(
            kind != AttentionKind::None,
            "an attention layer without attention"
        );
        assert!(
            kind != AttentionKind::Dot || [hidden_size, 2 * hidden_size].contains(&encoded_size),
            "states of {hidden_size} and {encoded_size} units"
        );
        let is_additive = kind == AttentionKind::Additive;
        Self {
            kind,
            query: match kind {
                AttentionKind::None | AttentionKind::Dot => None,
                AttentionKind::General => Some(linear("query", hidden_size, encoded_size)),
                AttentionKind::Additive => Some(linear("query", hidden_size, hidden_size)),
            },
            key: is_additive.then(|| linear("key", encoded_size, hidden_size)),
            score: is_additive
                .then(|| Parameter::zeros(format!("{owner}.score.weight"), &[hidden_size])),
            combine: linear("combine", encoded_size + hidden_size, output_size),
        }
    }

    /// Draws new weights as PyTorch's linear layers do.
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        for layer in [&mut self.query, &mut self.key].into_iter().flatten() {
            layer.initialise(rng);
        }
        if let Some(score) = &mut self.score {
            let bound = 1.0 / (score.len() as f64).sqrt();
            init::uniform(&mut score.value, bound, rng);
        }
        self.combine.initialise(rng);
    }

    /// How states are compared.
    #[must_use]
    pub fn kind(&self) -> AttentionKind {
        self.kind
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut AttentionSpace<T>, with_backward: bool) {
        if let Some(query) = &self.query {
            query.pack(&mut space.query, with_backward);
        }
        if let Some(key) = &self.key {
            key.pack(&mut space.key, with_backward);
        }
        self.combine.pack(&mut space.combine, with_backward);
        space.score.clear();
        if let Some(score) = &self.score {
            space.score.resize(groups(score.len()), Block::ZERO);
            for (block, values) in space.score.iter_mut().zip(score.value.chunks(GROUP)) {
                block.0[..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Makes of the encoder's states what is compared: once for all steps of a decoder.
    ///
    /// # Panics
    /// If shapes do not fit or the weights were not packed.
    pub fn look_at(&self, compute: &Compute, space: &mut AttentionSpace<T>, encoded: &Panels<T>) {
        if let Some(key) = &self.key {
            key.forward(compute, &space.key, encoded, &mut space.keys);
        }
    }

    /// Forward; `encoded` is what [`Attention::look_at`] was given. What comes out is in [`AttentionSpace::output`].
    ///
    /// # Panics
    /// If shapes do not fit or the weights were not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut AttentionSpace<T>,
        pairing: Pairing<'_>,
        h: &Panels<T>,
        encoded: &Panels<T>,
    ) {
        let rows = h.rows();
        space.count_rows(rows.max(encoded.rows()));
        let both_ways = encoded.columns() != h.columns();
        let query = match (&self.query, self.kind) {
            (Some(query), _) => {
                query.forward(compute, &space.query, h, &mut space.queries);
                &space.queries
            }
            (None, AttentionKind::Dot) if both_ways => {
                // h · (a + b) = [h ; h] · [a ; b].
                space.queries.resize(rows, 2 * h.columns());
                join_columns(compute, h, h, &space.rows[..rows], &mut space.queries);
                &space.queries
            }
            (None, _) => h,
        };
        space.weights.resize(rows, pairing.longest());
        space.context.resize(rows, encoded.columns());
        attend(
            compute,
            Attend {
                pairing,
                query,
                keys: if self.key.is_some() {
                    &space.keys
                } else {
                    encoded
                },
                values: encoded,
                additive: self.score.is_some().then_some(&space.score[..]),
                weights: &mut space.weights,
                context: &mut space.context,
            },
        );
        let columns = encoded.columns() + h.columns();
        space.joined.resize(rows, columns);
        let index = &space.rows[..rows];
        join_columns(compute, &space.context, h, index, &mut space.joined);
        self.combine
            .forward(compute, &space.combine, &space.joined, &mut space.output);
        activate(compute, RnnCell::Tanh, &mut space.output);
    }

    /// Backward from `d_output`: gradients into the parameters, `d_h` and `d_encoded`.
    ///
    /// # Panics
    /// As [`Attention::forward`], or if two sequences look at the same source.
    #[expect(
        clippy::too_many_arguments,
        reason = "a pass over a layer reads and writes this much"
    )]
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut AttentionSpace<T>,
        (steps, encoded_steps): (&Steps, &Steps),
        pairing: Pairing<'_>,
        h: &Panels<T>,
        encoded: &Panels<T>,
        d_output: &Panels<T>,
        d_h: &mut Panels<T>,
        d_encoded: &mut Panels<T>,
    ) {
        let rows = h.rows();
        let index = &space.rows[..rows];
        space.d_output.clone_from(d_output);
        activate_backward(compute, RnnCell::Tanh, &space.output, &mut space.d_output);
        self.combine.backward(
            compute,
            &mut space.combine,
            steps,
            &space.joined,
            &space.d_output,
            &mut space.d_joined,
        );
        space.d_context.resize(rows, encoded.columns());
        d_h.resize(rows, h.columns());
        split_columns(compute, &space.d_joined, index, &mut space.d_context, d_h);
        let queries_are_h = self.query.is_none() && encoded.columns() == h.columns();
        attend_backward(
            compute,
            AttendBackward {
                pairing,
                query: if queries_are_h { h } else { &space.queries },
                keys: if self.key.is_some() {
                    &space.keys
                } else {
                    encoded
                },
                values: encoded,
                additive: self.score.is_some().then_some(&space.score[..]),
                weights: &space.weights,
                d_context: &space.d_context,
                d_scores: &mut space.d_scores,
                d_query: &mut space.d_queries,
                d_keys: &mut space.d_keys,
                d_values: d_encoded,
                d_additive: &mut space.d_score,
            },
        );
        self.queries_backward(compute, space, steps, h, d_h);
        match &mut self.key {
            Some(key) => {
                let to = &mut space.d_encoded;
                key.backward(
                    compute,
                    &mut space.key,
                    encoded_steps,
                    encoded,
                    &space.d_keys,
                    to,
                );
                add(d_encoded, to);
            }
            None => add(d_encoded, &space.d_keys),
        }
        if let Some(score) = &mut self.score {
            space.sums.clear();
            space.sums.resize(groups(score.len()), Block::ZERO);
            let all = [RowRun {
                a: 0,
                b: 0,
                rows: space.d_score.rows(),
            }];
            column_sums(compute, &all, &space.d_score, &mut space.sums);
            for (grad, block) in score.grad.chunks_mut(GROUP).zip(&space.sums) {
                grad.copy_from_slice(&block.0[..grad.len()]);
            }
        }
    }

    /// From the gradient of the queries to that of the decoder's states, which is added to `d_h`.
    fn queries_backward(
        &mut self,
        compute: &Compute,
        space: &mut AttentionSpace<T>,
        steps: &Steps,
        h: &Panels<T>,
        d_h: &mut Panels<T>,
    ) {
        match &mut self.query {
            Some(query) => {
                let to = &mut space.d_query_h;
                query.backward(compute, &mut space.query, steps, h, &space.d_queries, to);
                add(d_h, to);
            }
            None if space.d_queries.columns() == h.columns() => add(d_h, &space.d_queries),
            None => {
                let [first, second] = [&mut space.d_query_h, &mut space.d_output];
                first.resize(h.rows(), h.columns());
                second.resize(h.rows(), h.columns());
                let index = &space.rows[..h.rows()];
                split_columns(compute, &space.d_queries, index, first, second);
                add(d_h, first);
                add(d_h, second);
            }
        }
    }
}

/// `to += values`.
fn add<T: Scalar>(to: &mut Panels<T>, values: &Panels<T>) {
    for (to, values) in to.blocks_mut().iter_mut().zip(values.blocks()) {
        add_assign(&mut to.0, &values.0);
    }
}

impl<T: Scalar> Parameters<T> for Attention<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        for layer in [&self.query, &self.key].into_iter().flatten() {
            layer.visit(visit);
        }
        if let Some(score) = &self.score {
            visit(score);
        }
        self.combine.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        for layer in [&mut self.query, &mut self.key].into_iter().flatten() {
            layer.visit_mut(visit);
        }
        if let Some(score) = &mut self.score {
            visit(score);
        }
        self.combine.visit_mut(visit);
    }
}
