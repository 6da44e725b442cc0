//! Which parts a model has, and how they stand one above the other.

use super::super::{ArrowKind, BoxKind, Graph, Part, SequenceShape};
use super::{Builder, Layers, Like, Row, STEPS, Top, cell_name, no_symbols, symbols};
use crate::data::forecast::ForecastMode;
use crate::models::{
    Body, DecoderBody, Encoder, EncoderDecoder, Forecaster, Labeller, LanguageModel, View,
};
use crate::nn::{Parameters as _, Pooling};

/// The symbols of what comes out: of each step, or of all at once.
fn outputs(top: &Top) -> [String; STEPS] {
    if top.rows[0].len() == 1 {
        ["y"; STEPS].map(String::from)
    } else {
        symbols("y", "T")
    }
}

fn linear_name(tied: bool) -> &'static str {
    if tied { "linear, tied" } else { "linear" }
}

/// How a labeller or forecaster uses its steps.
fn shape_of(encoder: &Encoder<f32>, per_step: bool) -> SequenceShape {
    match &encoder.body {
        Body::FeedForward(_, View::Window(_) | View::Whole(_)) => SequenceShape::OneToOne,
        _ if per_step => SequenceShape::ManyToManyAligned,
        _ => SequenceShape::ManyToOne,
    }
}

impl Graph {
    /// The graph of a language model.
    #[must_use]
    pub fn of_language_model(model: &LanguageModel<f32>) -> Self {
        let config = &model.config;
        let mut builder = Builder::new(|visit| model.visit_all(visit));
        let vocab_size = model.vocab_size();
        let features = config.embedding_size;
        let vectors = builder.tokens("token", vocab_size, "embedding.weight", features);
        let inputs: Row = (0..STEPS).collect();
        let (top, shape) = if model.feed_forward.is_some() {
            let view = View::Window(config.window_before());
            let top = builder.plain("mlp", config, vectors, view).0;
            (top, SequenceShape::OneToOne)
        } else {
            let layers = Layers {
                owner: "rnn",
                cell: cell_name(config.cell),
                count: config.num_layers,
                hidden_size: config.hidden_size,
                bidirectional: false,
                spacing: 1,
            };
            let top = builder.recurrent(&layers, vectors).0;
            (top, SequenceShape::ManyToManyAligned)
        };
        let linear = (linear_name(config.tie_weights), vocab_size);
        let output = Like {
            row: 0,
            name: "next token".into(),
            kind: BoxKind::Output,
            sizes: &[vocab_size],
            symbols: outputs(&top),
        };
        let (_, outputs) = builder.answer(&top, linear, output);
        builder.feed_back(&outputs, &inputs);
        builder.finish(shape)
    }

    /// The graph of a classifier, or of a tagger, which labels each step.
    #[must_use]
    pub fn of_labeller(model: &Labeller<f32>, per_step: bool) -> Self {
        let mut builder = Builder::new(|visit| model.visit(visit));
        let mut top = builder.encoder(&model.encoder, &model.config, "");
        if !per_step && !model.encoder.gives_sequences() {
            top = builder.pooled(&top, model.config.pooling, model.encoder.output_size());
        }
        let output = Like {
            row: 0,
            name: if per_step { "label" } else { "class" }.into(),
            kind: BoxKind::Output,
            sizes: &[model.classes()],
            symbols: outputs(&top),
        };
        builder.answer(&top, ("linear", model.classes()), output);
        builder.finish(shape_of(&model.encoder, per_step))
    }

    /// The graph of a forecaster that predicts so many numbers of a step.
    #[must_use]
    pub fn of_forecaster(model: &Forecaster<f32>, mode: ForecastMode, targets: usize) -> Self {
        let mut builder = Builder::new(|visit| model.visit(visit));
        let mut top = builder.encoder(&model.encoder, &model.config, "");
        let inputs: Row = (0..STEPS).collect();
        let per_step = !matches!(
            mode,
            ForecastMode::Windows { .. } | ForecastMode::Given { per_step: false }
        );
        if !per_step && !model.encoder.gives_sequences() {
            top = builder.pooled(&top, Pooling::Last, model.encoder.output_size());
        }
        let horizon = mode.horizon();
        let sizes = [horizon, targets];
        let name = match mode {
            ForecastMode::Windows { .. } => "next steps",
            ForecastMode::NextStep {} => "next step",
            ForecastMode::Given { .. } => "answer",
        };
        let output = Like {
            row: 0,
            name: name.into(),
            kind: BoxKind::Output,
            sizes: if horizon > 1 { &sizes } else { &sizes[1..] },
            symbols: outputs(&top),
        };
        let linear = ("linear", model.linear.output_size());
        let (linear, answer) = builder.answer(&top, linear, output);
        if let Some(shortcut) = &model.shortcut {
            let (row, column) = (builder.boxes[linear[0]].row, builder.first + STEPS);
            let like = Like {
                row,
                name: "shortcut".into(),
                kind: BoxKind::Linear,
                sizes: &[shortcut.output_size()],
                symbols: no_symbols(),
            };
            let ahead = builder.add(&like, column, BoxKind::Linear, "");
            let weights = builder.weight("shortcut.weight");
            builder.gather(&[inputs], &vec![ahead], &weights);
            builder.arrow(ahead, answer[0], ArrowKind::Forward, &[]);
        }
        builder.finish(shape_of(&model.encoder, per_step))
    }

    /// The graph of a translator, or of a captioner, whose input is fixed.
    #[must_use]
    pub fn of_writer(model: &EncoderDecoder<f32>) -> Self {
        let (config, encoder, decoder) = (&model.config, &model.encoder, &model.decoder);
        let is_fixed = matches!(encoder.body, Body::Direct);
        let mut builder = Builder::new(|visit| model.visit_all(visit));
        builder.part = Part::Encoder;
        builder.is_sequence = !is_fixed;
        let states = builder.encoder(encoder, config, "encoder.");
        let summary = if is_fixed {
            let summary = builder.last(&Like {
                row: states.next,
                name: "normalised".into(),
                kind: BoxKind::Summary,
                sizes: &[encoder.output_size()],
                symbols: no_symbols(),
            });
            builder.up(&states.rows, &summary, &[]);
            Top {
                rows: vec![summary],
                next: states.next + 1,
            }
        } else if encoder.gives_sequences() {
            Top {
                rows: states.rows.clone(),
                next: states.next,
            }
        } else {
            builder.pooled(&states, config.pooling, encoder.output_size())
        };
        builder.part = Part::Decoder;
        builder.first = 1 + if is_fixed { 1 } else { STEPS };
        builder.is_sequence = true;
        let vocab_size = decoder.embedding.vocab_size();
        let inputs: Row = (builder.boxes.len()..).take(STEPS).collect();
        let vectors = builder.tokens(
            "token before",
            vocab_size,
            "decoder.embedding.weight",
            config.embedding_size,
        );
        for (&at, symbol) in inputs.iter().zip(["start", "y1", "", "yT"]) {
            builder.boxes[at].symbol = symbol.into();
        }
        let summary_box = summary.rows[0].clone();
        let mut top = match &decoder.body {
            DecoderBody::Recurrent(..) => {
                let layers = Layers {
                    owner: "decoder.rnn",
                    cell: cell_name(config.cell),
                    count: config.num_layers,
                    hidden_size: config.hidden_size,
                    bidirectional: false,
                    spacing: 1 + usize::from(config.bidirectional),
                };
                let (top, forwards) = builder.recurrent(&layers, vectors);
                for (layer, row) in forwards {
                    builder.bridge(&summary_box, layer, row[0]);
                }
                top
            }
            DecoderBody::FeedForward(_) => {
                let view = View::Window(config.window_before());
                let (top, lowest) = builder.plain("decoder.mlp", config, vectors, view);
                let weights = builder.weight("decoder.mlp.0.weight");
                builder.spread(&summary_box, &lowest, &weights);
                top
            }
        };
        if let Some(attention) = &decoder.attention {
            let row = builder.row(&Like {
                row: top.next.max(summary.next - 1),
                name: format!("attention, {}", attention.kind()),
                kind: BoxKind::Attention,
                sizes: &[attention.combine.output_size()],
                symbols: no_symbols(),
            });
            let named = |name: &str| builder.weight(&format!("attention.{name}.weight"));
            let (key, mut own) = (named("key"), named("query"));
            own.extend(named("score").into_iter().chain(named("combine")));
            builder.up(&top.rows, &row, &own);
            let seen: Vec<usize> = states.rows.iter().flatten().copied().collect();
            builder.spread(&seen, &row, &key);
            top = Top {
                next: builder.boxes[row[0]].row + 1,
                rows: vec![row],
            };
        }
        let [first, second, dots, _] = symbols("y", "");
        let output = Like {
            row: 0,
            name: "token".into(),
            kind: BoxKind::Output,
            sizes: &[vocab_size],
            symbols: [first, second, dots, "end".into()],
        };
        let linear = (linear_name(config.tie_weights), vocab_size);
        let (_, written) = builder.answer(&top, linear, output);
        builder.feed_back(&written, &inputs);
        builder.finish(if is_fixed {
            SequenceShape::OneToMany
        } else {
            SequenceShape::ManyToMany
        })
    }
}

impl Builder<'_> {
    /// From the summary to the state that a decoder's layer begins with, in the column before its first step.
    fn bridge(&mut self, summary: &Row, layer: usize, to: usize) {
        let of = |state: &str| format!("decoder.bridge.{state}_l{layer}.weight");
        let (mut weights, c) = (self.weight(&of("h")), self.weight(&of("c")));
        let name = if c.is_empty() { "h0" } else { "h0, c0" };
        weights.extend(c);
        let like = Like {
            row: self.boxes[to].row,
            name: name.into(),
            kind: BoxKind::Bridge,
            sizes: &self.boxes[to].sizes.clone(),
            symbols: no_symbols(),
        };
        let state = self.add(&like, self.first - 1, BoxKind::Bridge, "");
        self.arrow(summary[0], state, ArrowKind::Forward, &weights);
        self.arrow(state, to, ArrowKind::Recurrent, &[]);
    }
}
