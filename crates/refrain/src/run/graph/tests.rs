use std::collections::BTreeMap;

use super::*;
use crate::data::forecast::ForecastMode;
use crate::models::{
    EncoderDecoder, Forecaster, ForecasterShape, InputShape, Labeller, LanguageModel, ModelConfig,
    Output,
};
use crate::nn::{AttentionKind, CellKind, ForecastLoss, Parameter, Parameters as _, Pooling};

/// A graph and the shapes of its model's parameters.
struct Case {
    name: String,
    graph: Graph,
    shapes: BTreeMap<String, Vec<usize>>,
}

fn shapes(visit: impl FnOnce(&mut dyn FnMut(&Parameter<f32>))) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    visit(&mut |parameter| {
        shapes.insert(parameter.name.clone(), parameter.shape.clone());
    });
    shapes
}

fn config(cell: CellKind, num_layers: usize) -> ModelConfig {
    ModelConfig {
        cell,
        num_layers,
        hidden_size: 48,
        embedding_size: 20,
        ..ModelConfig::default()
    }
}

fn both_ways(cell: CellKind, num_layers: usize) -> ModelConfig {
    ModelConfig {
        bidirectional: true,
        ..config(cell, num_layers)
    }
}

fn plain(window: usize) -> ModelConfig {
    ModelConfig {
        window,
        ..config(CellKind::Mlp, 2)
    }
}

fn language_model(name: &str, config: &ModelConfig) -> Case {
    let model = LanguageModel::zeros(config, 65);
    Case {
        name: format!("lm_{name}"),
        graph: Graph::of_language_model(&model),
        shapes: shapes(|visit| model.visit_all(&mut |parameter| visit(parameter))),
    }
}

fn labeller(name: &str, config: &ModelConfig, input: &InputShape, per_step: bool) -> Case {
    let output = if per_step {
        Output::Steps
    } else {
        Output::Sequence
    };
    let model = Labeller::zeros(config, input, output, 7);
    let task = if per_step { "tag" } else { "classify" };
    Case {
        name: format!("{task}_{name}"),
        graph: Graph::of_labeller(&model, per_step),
        shapes: shapes(|visit| model.visit(&mut |parameter| visit(parameter))),
    }
}

fn writer(name: &str, config: &ModelConfig, input: &InputShape) -> Case {
    let (task, output) = match input {
        InputShape::Tokens(_) => ("translate", Output::Steps),
        _ => ("caption", Output::Features),
    };
    let model = EncoderDecoder::zeros(config, input, output, 90);
    Case {
        name: format!("{task}_{name}"),
        graph: Graph::of_writer(&model),
        shapes: shapes(|visit| model.visit_all(&mut |parameter| visit(parameter))),
    }
}

fn forecaster(name: &str, config: &ModelConfig, mode: ForecastMode, shortcut: bool) -> Case {
    let shape = ForecasterShape {
        input: InputShape::Vectors {
            features: 7,
            seq_len: match mode {
                ForecastMode::Windows { context, .. } => Some(context),
                _ => None,
            },
        },
        output: mode.output(),
        horizon: mode.horizon(),
        targets: 3,
        loss: ForecastLoss::Gaussian,
        shortcut: if shortcut { vec![0, 1, 2] } else { Vec::new() },
    };
    let model = Forecaster::zeros(config, &shape);
    Case {
        name: format!("forecast_{name}"),
        graph: Graph::of_forecaster(&model, mode, 3),
        shapes: shapes(|visit| model.visit(&mut |parameter| visit(parameter))),
    }
}

const WORDS: InputShape = InputShape::Words {
    vocab_size: 500,
    characters: 40,
};
const FRAMES: InputShape = InputShape::Frames {
    height: 24,
    width: 30,
    channels: 3,
};
const ROWS: InputShape = InputShape::Vectors {
    features: 28,
    seq_len: Some(28),
};
const WINDOWS: ForecastMode = ForecastMode::Windows {
    context: 96,
    horizon: 24,
};

fn cases() -> Vec<Case> {
    let (tokens, vectors) = (
        InputShape::Tokens(120),
        InputShape::Vectors {
            features: 9,
            seq_len: None,
        },
    );
    let attention = |attention, config| ModelConfig {
        attention,
        ..config
    };
    let pooling = |pooling, config| ModelConfig { pooling, ..config };
    let tied = ModelConfig {
        tie_weights: true,
        embedding_size: 48,
        ..config(CellKind::Gru, 1)
    };
    use CellKind::{Gru, Lstm, Rnn};
    vec![
        language_model("lstm", &config(Lstm, 2)),
        language_model("tied", &tied),
        language_model("four_layers", &config(Rnn, 4)),
        language_model("deep", &config(Gru, 9)),
        language_model("mlp", &plain(5)),
        labeller("last", &both_ways(Lstm, 2), &tokens, false),
        labeller(
            "mean",
            &pooling(Pooling::Mean, config(Gru, 1)),
            &tokens,
            false,
        ),
        labeller(
            "max_both_ways",
            &pooling(Pooling::Max, both_ways(Rnn, 1)),
            &ROWS,
            false,
        ),
        labeller("mlp_mean", &plain(1), &tokens, false),
        labeller("mlp_whole", &plain(1), &ROWS, false),
        labeller("spelling", &both_ways(Lstm, 1), &WORDS, true),
        labeller("video", &config(Lstm, 1), &FRAMES, true),
        labeller("vectors", &both_ways(Gru, 4), &vectors, true),
        labeller("mlp", &plain(3), &tokens, true),
        writer(
            "general",
            &attention(AttentionKind::General, both_ways(Lstm, 2)),
            &tokens,
        ),
        writer(
            "additive",
            &attention(AttentionKind::Additive, config(Gru, 1)),
            &tokens,
        ),
        writer(
            "dot_mean",
            &pooling(Pooling::Mean, attention(AttentionKind::Dot, config(Rnn, 1))),
            &tokens,
        ),
        writer("none", &config(Lstm, 6), &tokens),
        writer("mlp", &plain(3), &tokens),
        writer("picture", &config(Lstm, 1), &FRAMES),
        writer("vector", &config(Gru, 2), &ROWS),
        writer("mlp", &plain(2), &FRAMES),
        forecaster("window", &config(Lstm, 1), WINDOWS, true),
        forecaster(
            "next_step",
            &config(Gru, 2),
            ForecastMode::NextStep {},
            false,
        ),
        forecaster(
            "given",
            &both_ways(Lstm, 1),
            ForecastMode::Given { per_step: true },
            false,
        ),
        forecaster("mlp_window", &plain(1), WINDOWS, true),
        forecaster("mlp_next_step", &plain(4), ForecastMode::NextStep {}, false),
    ]
}

#[test]
fn every_weight_stands_on_an_arrow_with_its_real_shape() {
    for Case {
        name,
        graph,
        shapes,
    } in cases()
    {
        let found = graph.weights(|_| true);
        for weight in &found {
            assert_eq!(
                shapes.get(&weight.name),
                Some(&weight.shape),
                "{name}: {weight:?}"
            );
        }
        if name.contains("deep") || name.ends_with("none") {
            // Layers are left out.
            continue;
        }
        for (parameter, shape) in &shapes {
            let is_matrix = shape.len() > 1 || parameter == "attention.score.weight";
            let is_drawn = found.iter().any(|weight| weight.name == *parameter);
            assert_eq!(is_drawn, is_matrix, "{name}: {parameter}");
        }
    }
}

/// What goes into a box through a weight, and what comes out of it, are the columns and rows of the weight.
#[test]
fn sizes_of_boxes_are_those_of_the_weights_between_them() {
    for Case { name, graph, .. } in cases() {
        let mut compared = 0;
        for (at, to) in graph.boxes.iter().enumerate() {
            for weight in graph.weights(|arrow| arrow.to == at) {
                let carries = |arrow: &&Arrow| arrow.to == at && arrow.weights.contains(weight);
                let mut from: Vec<&GraphBox> = Vec::new();
                for arrow in graph.arrows.iter().filter(carries) {
                    from.push(&graph.boxes[arrow.from]);
                }
                let read: usize = from
                    .iter()
                    .map(|of| of.sizes.iter().product::<usize>())
                    .sum();
                let (rows, columns) = (weight.shape[0], weight.shape.last().copied().unwrap());
                let given: usize = to.sizes.iter().product();
                match to.kind {
                    BoxKind::Embedding if name.contains("spelling") && to.part == Part::Main => {
                        assert_eq!((read, given), (rows, columns + 128), "{name}: {weight:?}");
                    }
                    BoxKind::Embedding => assert_eq!((read, given), (rows, columns), "{name}"),
                    BoxKind::Recurrent => {
                        assert_eq!(read, columns, "{name}: {weight:?}");
                        assert!(
                            [1, 3, 4].map(|gates| gates * given).contains(&rows),
                            "{name}"
                        );
                    }
                    BoxKind::Convolution => {
                        assert_eq!(from[0].sizes.last(), Some(&weight.shape[1]), "{name}");
                        assert_eq!(to.sizes.last(), Some(&rows), "{name}");
                    }
                    BoxKind::Linear if to.name.starts_with("mlp 1") || to.name == "shortcut" => {
                        assert_eq!(given, rows, "{name}: {weight:?}");
                    }
                    BoxKind::Linear | BoxKind::Bridge => {
                        assert_eq!((read, given), (columns, rows), "{name}: {weight:?}");
                    }
                    BoxKind::Attention | BoxKind::Dots => continue,
                    kind => panic!("{name}: a weight to {kind:?}"),
                }
                compared += 1;
            }
        }
        assert!(compared > 2, "{name}");
    }
}

#[test]
fn shapes_are_those_of_the_tasks() {
    let expected = |name: &str| match name {
        "lm_mlp" | "tag_mlp" | "classify_mlp_whole" => "one to one",
        "forecast_mlp_window" | "forecast_mlp_next_step" => "one to one",
        "forecast_window" => "many to one",
        _ => match name.split('_').next().unwrap() {
            "lm" | "tag" | "forecast" => "many to many, aligned",
            "classify" => "many to one",
            "translate" => "many to many",
            _ => "one to many",
        },
    };
    for Case { name, graph, .. } in cases() {
        assert_eq!(graph.shape.name(), expected(&name), "{name}");
    }
}

#[test]
fn no_two_boxes_stand_on_one_place_and_arrows_join_boxes() {
    for Case { name, graph, .. } in cases() {
        for (at, of) in graph.boxes.iter().enumerate() {
            let same = |other: &&GraphBox| (other.row, other.column) == (of.row, of.column);
            assert_eq!(graph.boxes.iter().filter(same).count(), 1, "{name}: {of:?}");
            let touches = |arrow: &Arrow| arrow.from == at || arrow.to == at;
            let is_joined = graph.arrows.iter().any(touches);
            assert!(is_joined || of.kind == BoxKind::Dots, "{name}: {of:?}");
        }
        let json = graph.to_json();
        let count = json["boxes"].as_array().unwrap().len() as u64;
        for arrow in json["arrows"].as_array().unwrap() {
            for end in ["from", "to"] {
                assert!(arrow[end].as_u64().unwrap() < count, "{name}: {arrow}");
            }
        }
    }
}

#[test]
fn texts_have_room_on_a_terminal() {
    let huge = ModelConfig {
        hidden_size: 1,
        embedding_size: 1_000_003,
        ..both_ways(CellKind::Lstm, 1)
    };
    let mut all = cases();
    all.push(labeller("huge", &huge, &InputShape::Tokens(3), true));
    let pictures = InputShape::Vectors {
        features: 1_234_567,
        seq_len: None,
    };
    let narrow = ModelConfig {
        hidden_size: 1,
        ..config(CellKind::Rnn, 1)
    };
    all.push(labeller("wide", &narrow, &pictures, true));
    for Case { name, graph, .. } in all {
        let text = graph.to_text();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        let known = ["huge", "wide"].iter().any(|of| name.ends_with(of));
        assert!(known || !text.contains("weight…"), "{name}: {text}");
    }
}

#[test]
fn the_texts_are_these() {
    for Case { name, graph, .. } in cases() {
        insta::assert_snapshot!(name, graph.to_text());
    }
}

#[cfg(feature = "report")]
#[test]
fn drawings_are_well_formed() {
    for Case { name, graph, .. } in cases() {
        let svg = graph.to_svg().unwrap();
        let document = resvg::usvg::roxmltree::Document::parse(&svg);
        let document = document.unwrap_or_else(|error| panic!("{name}: {error}"));
        let count = |tag: &str| {
            let elements = document.descendants();
            elements.filter(|node| node.has_tag_name(tag)).count()
        };
        assert_eq!((count("title"), count("desc")), (1, 1), "{name}");
        assert!(count("polygon") >= 4, "{name}: {svg}");
        // Nothing lies outside.
        let size = |name: &str| -> f64 {
            document
                .root_element()
                .attribute(name)
                .unwrap()
                .parse()
                .unwrap()
        };
        for text in document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
        {
            let place = |name: &str| -> f64 { text.attribute(name).unwrap().parse().unwrap() };
            assert!((0.0..=4.0 * size("width")).contains(&place("x")), "{name}");
            assert!((0.0..=4.0 * size("height")).contains(&place("y")), "{name}");
        }
    }
}
