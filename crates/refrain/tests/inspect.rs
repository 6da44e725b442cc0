//! What `inspect` measures: equal to PyTorch's autograd and to NumPy, to finite differences, to plain counting.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use refrain::inspect::gates::{GateCounter, GateUse};
use refrain::inspect::gradients::{
    LayerTrace, Reach, StateKind, Trace, half_life, of_labels, of_text, summarise,
};
use refrain::inspect::spectrum::spectrum;
use refrain::inspect::wide;
use refrain::models::{
    BatchInputs, InputShape, LabelBatch, Labeller, LabellerSpace, LanguageModel,
    LanguageModelSpace, ModelConfig, Output, SequenceBatch, TokenBatch,
};
use refrain::nn::{CellKind, Direction, Nonlinearity, Parameters, Recurrent, Stack, Steps};
use refrain_kernels::{Compute, Isa, NORM_EPSILON, Panels, RnnCell};
use refrain_testing::{Golden, assert_close, testdata};

/// Both sides compute in f64, in another order of summation; gradients at a distance have passed through many steps.
const RELATIVE: f64 = 1e-9;
/// Of central differences in f64.
const DIFFERENCES: f64 = 1e-6;

/// All of a text.
const EVERYTHING: Reach = Reach {
    max_distance: usize::MAX,
    warm_up: 0,
};

fn golden(name: &str) -> Golden {
    Golden::load(testdata(format!("inspect/{name}.safetensors")))
}

fn fill(model: &mut dyn Parameters<f64>, golden: &Golden) {
    model.visit_mut(&mut |parameter| parameter.value = golden.f64(&parameter.name).1);
}

/// Relative to each number: a gradient that has vanished counts as much as one that has not.
#[track_caller]
fn assert_layer(layers: &[LayerTrace], golden: &Golden, prefix: &str) {
    for layer in layers {
        let name = format!("{prefix}{}.{}", layer.name, layer.state.letter());
        assert_close(&name, &layer.norms, &golden.f64(&name).1, 0.0, RELATIVE);
    }
    let of = |name: &&str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with("rnn_"))
    };
    assert_eq!(
        golden.names().filter(of).count(),
        layers.len(),
        "states of `{prefix}`"
    );
}

#[test]
fn gradients_of_a_language_model_equal_autograd() {
    for name in ["rnn", "gru", "lstm"] {
        let golden = golden(&format!("gradients_{name}"));
        let config = ModelConfig {
            cell: name.parse().expect("a cell"),
            hidden_size: 19,
            num_layers: 2,
            embedding_size: 6,
            ..ModelConfig::default()
        };
        let mut model = LanguageModel::<f64>::zeros(&config, 11);
        fill(&mut model, &golden);
        let ids: Vec<u32> = golden.i64("tokens").iter().map(|&id| id as u32).collect();
        for compute in [Compute::single(Isa::SCALAR), Compute::new(Isa::detect(), 2)] {
            let traces = of_text(&compute, &mut model, &ids, &[3, 17, 39], EVERYTHING);
            for trace in traces {
                let at = trace.position;
                assert_eq!(trace.inputs.len(), at);
                let [loss, inputs] = ["loss", "inputs"].map(|what| format!("{at}.{what}"));
                let relative = RELATIVE;
                assert_close(
                    &loss,
                    &[trace.loss_nats],
                    &golden.f64(&loss).1,
                    0.0,
                    relative,
                );
                assert_close(
                    &inputs,
                    &trace.inputs,
                    &golden.f64(&inputs).1,
                    0.0,
                    relative,
                );
                assert_layer(&trace.layers, &golden, &format!("{at}."));
            }
        }
    }
}

#[test]
fn gradients_of_both_directions_equal_autograd() {
    for name in ["gru", "lstm"] {
        let golden = golden(&format!("gradients_tagger_{name}"));
        let config = ModelConfig {
            cell: name.parse().expect("a cell"),
            hidden_size: 19,
            num_layers: 2,
            bidirectional: true,
            ..ModelConfig::default()
        };
        let shape = InputShape::Vectors {
            features: 5,
            seq_len: None,
        };
        let mut model = Labeller::<f64>::zeros(&config, &shape, Output::Steps, 4);
        fill(&mut model, &golden);
        let mut x = Panels::new(9, 5);
        x.copy_from_rows(0, &golden.f64("x").1);
        let batch = SequenceBatch {
            steps: Steps::uniform(9, 1),
            inputs: BatchInputs::Vectors(x),
        };
        // The labels of other steps are not looked at.
        let mut labels = LabelBatch {
            labels: vec![1; 9],
            weights: vec![0.5; 9],
        };
        labels.labels[3] = 2;
        let compute = Compute::single(Isa::detect());
        let space = &mut LabellerSpace::default();
        let trace = of_labels(&compute, &mut model, space, &batch, &labels, Some(3));
        assert_layer(&trace.layers, &golden, "");
        assert_close(
            "loss",
            &[trace.loss_nats],
            &golden.f64("loss").1,
            0.0,
            RELATIVE,
        );
    }
}

/// The layers of a model one by one, so that a state can be moved on its way.
struct Unrolled<'m> {
    model: &'m LanguageModel<f64>,
    layers: Vec<Stack<f64>>,
    compute: Compute,
}

/// One number that is moved: layer, step, state, unit, by how much.
type Move = (usize, usize, StateKind, usize, f64);

impl<'m> Unrolled<'m> {
    fn new(model: &'m LanguageModel<f64>) -> Self {
        let one = |at: usize| {
            let inputs = if at == 0 {
                model.config.embedding_size
            } else {
                model.config.hidden_size
            };
            let mut config = model.config.stack(inputs);
            config.num_layers = 1;
            let mut stack = Stack::zeros(&config, "rnn");
            let mut values = Vec::new();
            model.stack.layers[at].visit(&mut |parameter| values.push(parameter.value.clone()));
            let mut values = values.into_iter();
            stack.visit_mut(&mut |parameter| parameter.value = values.next().expect("a value"));
            stack
        };
        Self {
            model,
            layers: (0..model.config.num_layers).map(one).collect(),
            compute: Compute::single(Isa::detect()),
        }
    }

    /// What of a cell state the output gate reveals.
    fn revealed(&self, c: &[f64]) -> Vec<f64> {
        let tanh = |x: f64| libm::tanh(x);
        if !self.model.config.layer_norm {
            return c.iter().map(|&c| tanh(c)).collect();
        }
        let count = c.len() as f64;
        let mean = c.iter().sum::<f64>() / count;
        let variance = c.iter().map(|c| (c - mean) * (c - mean)).sum::<f64>() / count;
        let deviation = (variance + NORM_EPSILON).sqrt();
        c.iter().map(|c| tanh((c - mean) / deviation)).collect()
    }

    /// The loss of the last of `ids`, a state moved.
    fn loss(&self, ids: &[u32], (layer, step, kind, unit, by): Move) -> f64 {
        let mut states: Vec<_> = self
            .layers
            .iter()
            .map(|layer| layer.zero_state(1))
            .collect();
        let (embedding, linear) = (&self.model.embedding, &self.model.linear);
        let mut x = Vec::new();
        for (t, &id) in ids[..ids.len() - 1].iter().enumerate() {
            let size = embedding.embedding_size();
            x = embedding.weight.value[id as usize * size..][..size].to_vec();
            for (at, (stack, state)) in self.layers.iter().zip(&mut states).enumerate() {
                let row = ndarray::ArrayView2::from_shape((1, x.len()), &x).expect("a row");
                stack.step(&self.compute, row, state).expect("a step");
                let state = &mut state[0];
                if (at, t) == (layer, step) {
                    match kind {
                        StateKind::Hidden => state.h.set(0, unit, state.h.get(0, unit) + by),
                        StateKind::Cell => {
                            let before = self.revealed(&state.c.to_rows(0, 1));
                            state.c.set(0, unit, state.c.get(0, unit) + by);
                            let after = self.revealed(&state.c.to_rows(0, 1));
                            for (unit, (after, before)) in after.iter().zip(before).enumerate() {
                                let h = state.h.get(0, unit) / before * after;
                                state.h.set(0, unit, h);
                            }
                        }
                    }
                }
                x = state.h.to_rows(0, 1);
            }
        }
        let rows = linear
            .weight
            .value
            .chunks_exact(x.len())
            .zip(&linear.bias.value);
        let scores: Vec<f64> = rows
            .map(|(row, bias)| bias + row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>())
            .collect();
        let sum: f64 = scores.iter().map(|&score| libm::exp(score)).sum();
        libm::log(sum) - scores[ids[ids.len() - 1] as usize]
    }
}

#[test]
fn gradients_equal_finite_differences() {
    const STEP: f64 = 1e-5;
    let rng = &mut ChaCha12Rng::seed_from_u64(5);
    let ids: Vec<u32> = (0..8).map(|_| rng.random_range(0..7)).collect();
    for cell in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm] {
        for layer_norm in [false, true] {
            let config = ModelConfig {
                cell,
                layer_norm,
                hidden_size: 5,
                num_layers: 2,
                embedding_size: 4,
                ..ModelConfig::default()
            };
            let mut model = LanguageModel::<f64>::new(&config, 7, rng);
            let compute = Compute::single(Isa::detect());
            let traces = of_text(&compute, &mut model, &ids, &[7], EVERYTHING);
            let unrolled = Unrolled::new(&model);
            let states = if cell == CellKind::Lstm { 4 } else { 2 };
            assert_eq!(traces[0].layers.len(), states);
            for trace in &traces[0].layers {
                let layer = usize::from(trace.name == "rnn_l1");
                for (distance, &norm) in trace.norms.iter().enumerate() {
                    let slope = |unit: usize| {
                        let loss =
                            |by| unrolled.loss(&ids, (layer, 6 - distance, trace.state, unit, by));
                        (loss(STEP) - loss(-STEP)) / (2.0 * STEP)
                    };
                    let squares: f64 = (0..5).map(|unit| slope(unit) * slope(unit)).sum();
                    let name = format!("{cell:?} norm {layer_norm} {} {distance}", trace.name);
                    assert_close(&name, &[norm], &[squares.sqrt()], 1e-10, DIFFERENCES);
                }
            }
        }
    }
}

fn random_model(cell: CellKind, seed: u64) -> LanguageModel<f64> {
    let config = ModelConfig {
        cell,
        hidden_size: 18,
        num_layers: 2,
        embedding_size: 5,
        ..ModelConfig::default()
    };
    LanguageModel::new(&config, 9, &mut ChaCha12Rng::seed_from_u64(seed))
}

fn random_text(count: usize) -> Vec<u32> {
    let rng = &mut ChaCha12Rng::seed_from_u64(8);
    (0..count).map(|_| rng.random_range(0..9)).collect()
}

#[test]
fn a_probe_among_many_is_that_probe_alone() {
    let mut model = random_model(CellKind::Lstm, 1);
    let ids = random_text(200);
    let compute = Compute::new(Isa::detect(), 2);
    let reach = Reach {
        max_distance: 20,
        warm_up: 100,
    };
    // More than one batch; some that begin where the text does; one twice.
    let positions: Vec<usize> = (1..200).step_by(7).chain([150, 150]).collect();
    let together = of_text(&compute, &mut model, &ids, &positions, reach);
    assert_eq!(together.len(), positions.len());
    for (trace, &position) in together.iter().zip(&positions) {
        let alone = &of_text(&compute, &mut model, &ids, &[position], reach)[0];
        assert_eq!(
            (trace.position, trace.loss_nats),
            (position, alone.loss_nats)
        );
        let reached = position.min(21);
        for (layer, alone) in trace.layers.iter().zip(&alone.layers) {
            assert_eq!(layer.norms.len(), reached);
            assert_close(&layer.name, &layer.norms, &alone.norms, 0.0, 1e-12);
        }
    }
    // What is read before the first state counts.
    let cold = Reach {
        warm_up: 0,
        ..reach
    };
    let cold = of_text(&compute, &mut model, &ids, &[150], cold);
    assert_ne!(cold[0].layers, together[together.len() - 1].layers);
}

#[test]
fn looking_on_changes_no_gradient() {
    for cell in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm] {
        let config = ModelConfig {
            cell,
            bidirectional: true,
            num_layers: 2,
            hidden_size: 18,
            ..ModelConfig::default()
        };
        let shape = InputShape::Tokens(9);
        let rng = &mut ChaCha12Rng::seed_from_u64(2);
        let model = Labeller::<f32>::new(&config, &shape, Output::Steps, 3, rng);
        let steps = Steps::of_lengths(&[6, 4, 1]);
        let batch = SequenceBatch {
            inputs: BatchInputs::Tokens(random_text(steps.rows())),
            steps,
        };
        let labels = LabelBatch {
            labels: (0..11).map(|row| row % 3).collect(),
            weights: vec![1.0; 11],
        };
        let compute = Compute::new(Isa::detect(), 2);
        let gradients = |watched: bool| {
            let (mut model, mut space) = (model.clone(), LabellerSpace::default());
            if watched {
                space.encoder.stack_mut().keep_state_gradients();
            }
            model.loss_and_gradients(&compute, &mut space, &batch, &labels, None);
            model
        };
        assert_eq!(gradients(true), gradients(false), "{cell:?}");
    }
}

#[test]
fn summaries_are_over_all_that_reach_so_far() {
    let trace = |norms: &[f64]| Trace {
        position: 9,
        loss_nats: 1.0,
        layers: vec![LayerTrace {
            name: "rnn_l0".into(),
            state: StateKind::Hidden,
            norms: norms.to_vec(),
        }],
        inputs: Vec::new(),
    };
    let traces = [
        trace(&[4.0, 2.0, 1.0]),
        trace(&[6.0, 2.0]),
        trace(&[8.0, 8.0]),
    ];
    let found = &summarise(&traces, 5)[0];
    assert_eq!(
        (found.distance.as_slice(), found.count.as_slice()),
        (&[0, 1, 2][..], &[3, 3, 1][..])
    );
    assert_eq!(found.mean, [6.0, 4.0, 1.0]);
    assert_eq!(found.median, [6.0, 2.0, 1.0]);
    assert_eq!((found.q25[0], found.q75[0]), (5.0, 7.0));
    assert_eq!(found.half_life, half_life(&[6.0, 2.0, 1.0]));
    assert_eq!(summarise(&traces, 1)[0].distance, [0, 1]);
    assert!(summarise(&[], 5).is_empty());
}

#[test]
fn a_linear_recurrence_decays_at_its_rate() {
    // With a rectifier and positive states W_hh alone carries the gradient: half of it a step.
    let config = ModelConfig {
        cell: CellKind::Rnn,
        nonlinearity: Nonlinearity::Relu,
        hidden_size: 3,
        embedding_size: 3,
        ..ModelConfig::default()
    };
    let mut model = LanguageModel::<f64>::zeros(&config, 2);
    model.visit_mut(&mut |parameter| match parameter.name.as_str() {
        "rnn.weight_hh_l0" => (0..3).for_each(|at| parameter.value[at * 4] = 0.5),
        "rnn.bias_ih_l0" => parameter.value.fill(1.0),
        "linear.weight" => parameter.value = vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        _ => {}
    });
    let compute = Compute::single(Isa::detect());
    let reach = Reach {
        max_distance: 1100,
        warm_up: 3,
    };
    let ids = vec![1; 1500];
    let trace = &of_text(&compute, &mut model, &ids, &[1400], reach)[0].layers[0];
    for pair in trace.norms.windows(2).take(1000) {
        assert_close("half", &[pair[1]], &[pair[0] / 2.0], 0.0, 1e-12);
    }
    assert!(trace.norms[1000] > 0.0, "f64 reaches 2^-1000");
    let found = summarise(&of_text(&compute, &mut model, &ids, &[1400], reach), 20);
    assert_eq!(found[0].half_life, Some(1.0));
}

#[test]
fn spectra_equal_numpy() {
    for (name, gates) in [
        ("rnn", &["h"][..]),
        ("gru", &["r", "z", "n"]),
        ("lstm", &["i", "f", "g", "o"]),
    ] {
        let golden = golden(&format!("spectrum_{name}"));
        let config = ModelConfig {
            cell: name.parse().expect("a cell"),
            hidden_size: 19,
            ..ModelConfig::default()
        };
        let mut model = LanguageModel::<f64>::zeros(&config, 2);
        model.visit_mut(&mut |parameter| {
            if parameter.name == "rnn.weight_hh_l0" {
                parameter.value = golden.f64("weight_hh").1;
            }
        });
        let found = spectrum(&model).expect("finite weights");
        let names: Vec<&str> = found.iter().map(|gate| gate.gate.as_str()).collect();
        assert_eq!(names, gates);
        for gate in found {
            assert_eq!(gate.name, "rnn_l0");
            let values = format!("{}.singular_values", gate.gate);
            let expected = golden.f64(&values).1;
            assert_close(&values, &gate.singular_values, &expected, 1e-10, 1e-10);
            let condition = gate.condition.expect("no value is 0");
            assert_close(
                "condition",
                &[condition],
                &[expected[0] / expected[18]],
                0.0,
                1e-6,
            );
            let radius = format!("{}.spectral_radius", gate.gate);
            assert_close(
                &radius,
                &[gate.spectral_radius],
                &golden.f64(&radius).1,
                1e-10,
                1e-10,
            );
        }
    }
}

/// The gates of a vanilla cell are its states; those of the others come from the pass itself.
#[test]
fn gates_are_counted_as_they_stood() {
    for (cell, nonlinearity) in [
        (CellKind::Lstm, Nonlinearity::Tanh),
        (CellKind::Gru, Nonlinearity::Tanh),
        (CellKind::Rnn, Nonlinearity::Tanh),
        (CellKind::Rnn, Nonlinearity::Relu),
    ] {
        let mut model = random_model(cell, 3);
        model.config.nonlinearity = nonlinearity;
        // Great enough that every gate saturates now and then.
        model.visit_mut(&mut |parameter| parameter.value.iter_mut().for_each(|x| *x *= 4.0));
        if nonlinearity == Nonlinearity::Relu {
            for layer in &mut model.stack.layers {
                if let refrain::nn::Layer::Rnn(Recurrent { cell, .. }) = layer {
                    *cell = RnnCell::Relu;
                }
                layer.visit_mut(&mut |parameter| {
                    parameter.value.iter_mut().for_each(|x| *x /= 16.0)
                });
            }
        }
        let ids = random_text(60);
        let compute = Compute::single(Isa::detect());
        let mut space = LanguageModelSpace::default();
        model.prepare(&mut space);
        let mut state = model.zero_state(1);
        let (mut counter, mut seen) = (GateCounter::default(), BTreeMap::<_, Vec<Vec<f64>>>::new());
        for ids in ids.chunks(17) {
            let tokens = TokenBatch {
                inputs: ids,
                targets: ids,
                batch: 1,
            };
            model.loss(&compute, &mut space, tokens, &mut state);
            counter.add("rnn", &model.stack, space.stack());
            for layer in 0..2 {
                for (gate, values) in model.stack.gates(space.stack(), layer, Direction::Forward) {
                    let rows = values.rows().into_iter().map(|row| row.to_vec());
                    seen.entry((format!("rnn_l{layer}"), gate))
                        .or_default()
                        .extend(rows);
                }
            }
        }
        let found = counter.finish();
        assert_eq!(found.len(), seen.len());
        for gate in &found {
            assert_eq!(gate.steps, 60);
            let rows = &seen[&(gate.name.clone(), gate.gate.as_str())];
            check_gate(gate, rows, nonlinearity == Nonlinearity::Relu);
        }
        let some = |part: fn(&GateUse) -> &Vec<f64>| {
            let all = found.iter().flat_map(|gate| part(gate).iter());
            all.clone().any(|&part| part > 0.0) && all.clone().any(|&part| part < 1.0)
        };
        assert!(some(|gate| &gate.left_saturated));
        assert!(nonlinearity == Nonlinearity::Relu || some(|gate| &gate.right_saturated));
    }
}

fn check_gate(gate: &GateUse, rows: &[Vec<f64>], is_rectifier: bool) {
    let is_tanh = matches!(gate.gate.as_str(), "g" | "n" | "h");
    let (low, high) = if is_tanh { (-0.9, 0.9) } else { (0.1, 0.9) };
    for unit in 0..18 {
        let values: Vec<f64> = rows.iter().map(|row| row[unit]).collect();
        let part = |is: &dyn Fn(f64) -> bool| {
            values.iter().filter(|&&value| is(value)).count() as f64 / values.len() as f64
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert_close("mean", &[gate.unit_mean[unit]], &[mean], 1e-14, 1e-14);
        if is_rectifier {
            assert_eq!(gate.left_saturated[unit], part(&|value| value <= 0.0));
            assert_eq!(gate.right_saturated[unit], 0.0);
        } else {
            assert_eq!(gate.left_saturated[unit], part(&|value| value < low));
            assert_eq!(gate.right_saturated[unit], part(&|value| value > high));
        }
        match &gate.lifetime {
            Some(lifetime) => {
                assert!(["f", "z"].contains(&gate.gate.as_str()));
                assert_close(
                    "lifetime",
                    &[lifetime[unit]],
                    &[1.0 / (1.0 - mean)],
                    0.0,
                    1e-9,
                );
            }
            None => assert!(!["f", "z"].contains(&gate.gate.as_str())),
        }
    }
    let mean = gate.unit_mean.iter().sum::<f64>() / 18.0;
    assert_close("mean", &[gate.mean], &[mean], 1e-14, 1e-14);
}

#[test]
fn a_wide_model_has_the_same_numbers() {
    for tie_weights in [false, true] {
        let config = ModelConfig {
            tie_weights,
            hidden_size: 8,
            embedding_size: 8,
            batch_norm: true,
            num_layers: 2,
            ..ModelConfig::default()
        };
        let rng = &mut ChaCha12Rng::seed_from_u64(4);
        let mut model = LanguageModel::<f32>::new(&config, 9, rng);
        model.prepare(&mut LanguageModelSpace::default());
        let wide = wide::language_model(&model);
        let mut numbers = Vec::new();
        model.visit_all(&mut |parameter| {
            numbers.extend(parameter.value.iter().map(|&value| f64::from(value)));
        });
        let mut found = Vec::new();
        wide.visit_all(&mut |parameter| found.extend_from_slice(&parameter.value));
        assert_eq!(found, numbers);
    }
}
