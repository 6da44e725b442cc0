//! PyTorch's numbers: outputs, states and gradients of every cell, and ten training steps of whole language models.
//! `testdata/README.md` says what is in each file.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

#[path = "goldens/stack.rs"]
mod stack;
#[path = "goldens/writers.rs"]
mod writers;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ndarray::Array3;
use refrain::models::{LanguageModel, LanguageModelSpace, ModelConfig, TokenBatch};
use refrain::nn::{
    CellKind, Init, Linear, Nonlinearity, PackedLinear, Parameter, Parameters, SoftmaxCrossEntropy,
    Stack, StackConfig, StackState, Steps,
};
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain_kernels::{Compute, Isa, Panels, Scalar};
use refrain_testing::{Golden, assert_close, testdata};

/// How far a number may be from PyTorch's float64.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    absolute: f64,
    relative: f64,
}

/// Both sides compute in f64, in another order of summation.
const LAYER_F64: Tolerance = Tolerance {
    absolute: 1e-10,
    relative: 1e-10,
};
/// Sums of some hundred f32 products of numbers near 1, through three layers and five steps; the largest error seen is a
/// fifth of this.
const LAYER_F32: Tolerance = Tolerance {
    absolute: 2e-5,
    relative: 2e-5,
};
/// Ten updates: Adam divides each gradient by its own size, and what differs grows from step to step.
const TRAINING_F64: Tolerance = Tolerance {
    absolute: 1e-9,
    relative: 1e-9,
};
/// As above; a gradient near 0 has few digits in f32, and Adam makes a whole step of its sign. The largest error seen is a
/// quarter of this.
const TRAINING_F32: Tolerance = Tolerance {
    absolute: 2e-4,
    relative: 2e-4,
};

/// The numbers of a golden by name; those of float32 in the file are exact in both types.
type Tensors = BTreeMap<String, Vec<f64>>;

fn golden(name: &str) -> (Golden, Tensors) {
    let golden = Golden::load(testdata(format!("golden/{name}.safetensors")));
    let tensors = golden
        .names()
        .filter(|name| !golden.is_integer(name))
        .map(|name| (name.to_owned(), golden.f64(name).1))
        .collect();
    (golden, tensors)
}

fn cast<T: Scalar>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&x| T::from_f64(x)).collect()
}

#[track_caller]
fn assert_near<T: Scalar + Into<f64>>(
    name: &str,
    found: &[T],
    tensors: &Tensors,
    tolerance: Tolerance,
) {
    let expected = &tensors[name];
    assert_close(
        name,
        found,
        expected,
        tolerance.absolute,
        tolerance.relative,
    );
}

fn fill<T: Scalar>(model: &mut dyn Parameters<T>, tensors: &Tensors) {
    model.visit_mut(&mut |parameter| parameter.value = cast(&tensors[&parameter.name]));
}

/// One of the two instruction sets and some threads.
fn compute<T>() -> Compute {
    if size_of::<T>() == size_of::<f32>() {
        Compute::new(Isa::detect(), 2)
    } else {
        Compute::single(Isa::detect())
    }
}

const SEQ_LEN: usize = 5;
const BATCH: usize = 3;
const INPUT: usize = 4;
const HIDDEN: usize = 19;

#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    cell: CellKind,
    nonlinearity: Nonlinearity,
    gates: usize,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "rnn_tanh",
        cell: CellKind::Rnn,
        nonlinearity: Nonlinearity::Tanh,
        gates: 1,
    },
    Kind {
        name: "rnn_relu",
        cell: CellKind::Rnn,
        nonlinearity: Nonlinearity::Relu,
        gates: 1,
    },
    Kind {
        name: "gru",
        cell: CellKind::Gru,
        nonlinearity: Nonlinearity::Tanh,
        gates: 3,
    },
    Kind {
        name: "lstm",
        cell: CellKind::Lstm,
        nonlinearity: Nonlinearity::Tanh,
        gates: 4,
    },
];

/// Layers after layers, `(layers, batch, hidden_size)`, as states; `c` is left alone where the cell has none.
fn set_states<T: Scalar>(state: &mut StackState<T>, h: &[f64], c: Option<&Vec<f64>>) {
    for (at, part) in state.iter_mut().enumerate() {
        let range = at * BATCH * HIDDEN..(at + 1) * BATCH * HIDDEN;
        part.h.copy_from_rows(0, &cast(&h[range.clone()]));
        if let Some(c) = c {
            part.c.copy_from_rows(0, &cast(&c[range]));
        }
    }
}

#[track_caller]
fn assert_states<T: Scalar + Into<f64>>(
    names: [&str; 2],
    state: &StackState<T>,
    tensors: &Tensors,
    tolerance: Tolerance,
) {
    let all = |part: &dyn Fn(usize) -> Vec<T>| (0..state.len()).flat_map(part).collect::<Vec<_>>();
    let h = all(&|at| state[at].h.to_rows(0, BATCH));
    assert_near(names[0], &h, tensors, tolerance);
    if tensors.contains_key(names[1]) {
        let c = all(&|at| state[at].c.to_rows(0, BATCH));
        assert_near(names[1], &c, tensors, tolerance);
    }
}

/// Forward and backward through a stack, all results compared.
fn check_layers<T: Scalar + Into<f64>>(
    kind: Kind,
    num_layers: usize,
    tensors: &Tensors,
    tolerance: Tolerance,
) {
    let compute = compute::<T>();
    let config = StackConfig {
        cell: kind.cell,
        nonlinearity: kind.nonlinearity,
        input_size: INPUT,
        hidden_size: HIDDEN,
        num_layers,
        dropout: 0.0,
        recurrent_dropout: 0.0,
        bidirectional: false,
        layer_norm: false,
        batch_norm: false,
        init: Init::Uniform,
        forget_bias: None,
    };
    let array = |features: usize, name: &str| {
        Array3::from_shape_vec((SEQ_LEN, BATCH, features), cast::<T>(&tensors[name])).unwrap()
    };
    let mut stack = Stack::zeros(&config, "");
    fill(&mut stack, tensors);

    let mut state = stack.zero_state(BATCH);
    set_states(&mut state, &tensors["h_0"], tensors.get("c_0"));
    let x = array(INPUT, "x");
    let (output, mut pass) = stack.forward_array(&compute, x.view(), &mut state).unwrap();
    let flat = |array: Array3<T>| array.into_raw_vec_and_offset().0;
    assert_near("output", &flat(output), tensors, tolerance);
    assert_states(["h_n", "c_n"], &state, tensors, tolerance);

    let mut d_state = stack.zero_state(BATCH);
    set_states(&mut d_state, &tensors["d_h_n"], tensors.get("d_c_n"));
    let d_output = array(HIDDEN, "d_output");
    let (d_x, d_initial) = stack
        .backward_array(&compute, &mut pass, d_output.view(), Some(&d_state))
        .unwrap();
    assert_near("d_x", &flat(d_x), tensors, tolerance);
    assert_states(["d_h_0", "d_c_0"], &d_initial, tensors, tolerance);
    let mut compared = 0;
    stack.visit(&mut |parameter| {
        let name = format!("d_{}", parameter.name);
        assert_near(&name, &parameter.grad, tensors, tolerance);
        compared += 1;
    });
    assert_eq!(compared, 4 * num_layers);
}

fn check_all_layers<T: Scalar + Into<f64>>(tolerance: Tolerance) {
    for kind in KINDS {
        for num_layers in 1..=3 {
            let (_, tensors) = golden(&format!("layer_{}_{num_layers}", kind.name));
            check_layers::<T>(kind, num_layers, &tensors, tolerance);
        }
    }
}

#[test]
fn layers_equal_pytorch_in_f64() {
    check_all_layers::<f64>(LAYER_F64);
}

#[test]
fn layers_equal_pytorch_in_f32() {
    check_all_layers::<f32>(LAYER_F32);
}

/// Whether the comparison fails after `change` was made to the weights.
fn is_seen(
    kind: Kind,
    num_layers: usize,
    tensors: &Tensors,
    change: impl Fn(&mut Tensors),
) -> bool {
    let mut changed = tensors.clone();
    change(&mut changed);
    assert_ne!(&changed, tensors, "the change changes nothing");
    // The loosest of the tolerances: what it sees, the others see.
    let check = || check_layers::<f64>(kind, num_layers, &changed, LAYER_F32);
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

fn swap_rows(values: &mut [f64], gates: usize, a: usize, b: usize) {
    let gate = values.len() / gates;
    for at in 0..gate {
        values.swap(a * gate + at, b * gate + at);
    }
}

#[test]
fn a_swapped_gate_is_seen_in_every_weight_and_bias() {
    let num_layers = 2;
    for kind in KINDS.into_iter().filter(|kind| kind.gates > 1) {
        let (_, tensors) = golden(&format!("layer_{}_{num_layers}", kind.name));
        assert!(catch_unwind(|| check_layers::<f64>(kind, 2, &tensors, LAYER_F32)).is_ok());
        for layer in 0..num_layers {
            for a in 0..kind.gates {
                for b in a + 1..kind.gates {
                    for parameter in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] {
                        let name = format!("{parameter}_l{layer}");
                        let seen = is_seen(kind, num_layers, &tensors, |tensors| {
                            swap_rows(tensors.get_mut(&name).unwrap(), kind.gates, a, b);
                        });
                        assert!(seen, "{}: gates {a} and {b} of `{name}`", kind.name);
                    }
                    let seen = is_seen(kind, num_layers, &tensors, |tensors| {
                        for parameter in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] {
                            let name = format!("{parameter}_l{layer}");
                            swap_rows(tensors.get_mut(&name).unwrap(), kind.gates, a, b);
                        }
                    });
                    assert!(
                        seen,
                        "{}: gates {a} and {b} throughout layer {layer}",
                        kind.name
                    );
                }
            }
        }
    }
}

/// The candidate's two biases are apart: `r` multiplies only the second.
#[test]
fn swapped_biases_of_a_gru_are_seen() {
    let (_, tensors) = golden("layer_gru_1");
    let seen = is_seen(KINDS[2], 1, &tensors, |tensors| {
        let bias_ih = tensors["bias_ih_l0"].clone();
        let bias_hh = tensors.insert("bias_hh_l0".into(), bias_ih).unwrap();
        tensors.insert("bias_ih_l0".into(), bias_hh);
    });
    assert!(seen);
}

fn check_linear_cross_entropy<T: Scalar + Into<f64>>(steps: &Steps, tolerance: Tolerance) {
    const ROWS: usize = 6;
    const FEATURES: usize = 7;
    const CLASSES: usize = 21;
    let (golden, tensors) = golden("linear_cross_entropy");
    let targets: Vec<u32> = golden
        .i64("targets")
        .iter()
        .map(|&target| target.try_into().unwrap())
        .collect();
    let compute = compute::<T>();
    let mut linear = Linear::<T>::zeros("linear", FEATURES, CLASSES);
    linear.weight.value = cast(&tensors["weight"]);
    linear.bias.value = cast(&tensors["bias"]);
    let mut packed = PackedLinear::default();
    linear.pack(&mut packed, true);
    let mut x = Panels::new(ROWS, FEATURES);
    x.copy_from_rows(0, &cast(&tensors["x"]));

    let mut logits = Panels::default();
    linear.forward(&compute, &packed, &x, &mut logits);
    assert_near("logits", &logits.to_rows(0, ROWS), &tensors, tolerance);
    let mut loss = SoftmaxCrossEntropy::default();
    let scored = loss.forward(&compute, &mut logits.clone(), &targets);
    let total = loss.forward_backward(&compute, &mut logits, &targets);
    assert_eq!(scored.to_bits(), total.to_bits());
    assert_near("loss", &[total / ROWS as f64], &tensors, tolerance);
    assert_near("d_logits", &logits.to_rows(0, ROWS), &tensors, tolerance);
    let mut d_x = Panels::default();
    linear.backward(&compute, &mut packed, steps, &x, &logits, &mut d_x);
    assert_near("d_x", &d_x.to_rows(0, ROWS), &tensors, tolerance);
    assert_near("d_weight", &linear.weight.grad, &tensors, tolerance);
    assert_near("d_bias", &linear.bias.grad, &tensors, tolerance);
}

#[test]
fn linear_and_cross_entropy_equal_pytorch() {
    // Six rows may be six steps of one row, two of three or one of six.
    for (seq_len, batch) in [(6, 1), (2, 3), (1, 6)] {
        let steps = Steps::uniform(seq_len, batch);
        check_linear_cross_entropy::<f64>(&steps, LAYER_F64);
        check_linear_cross_entropy::<f32>(&steps, LAYER_F32);
    }
}

const STREAMS: usize = 4;
const CHUNK: usize = 7;
const STEPS: usize = 10;
const LM_HIDDEN: usize = 20;
const VOCAB: usize = 11;
const LEARNING_RATE: f64 = 0.01;
const CLIP_NORM: f64 = 0.5;

/// The tokens of a chunk, time by time, from a stream of text a row.
fn chunk_of(tokens: &[i64], step: usize, offset: usize) -> Vec<u32> {
    let stream = STEPS * CHUNK + 1;
    (0..CHUNK)
        .flat_map(|t| (0..STREAMS).map(move |row| row * stream + step * CHUNK + t + offset))
        .map(|at| tokens[at].try_into().unwrap())
        .collect()
}

fn check_training<T: Scalar + Into<f64>>(name: &str, tolerance: Tolerance) {
    let (golden, tensors) = golden(&format!("language_model_{name}"));
    let tie_weights = name == "tied";
    let config = ModelConfig {
        cell: name.parse().unwrap_or(CellKind::Lstm),
        nonlinearity: Nonlinearity::Tanh,
        hidden_size: LM_HIDDEN,
        num_layers: 2,
        embedding_size: if tie_weights { LM_HIDDEN } else { 6 },
        dropout: 0.0,
        tie_weights,
        init: Init::Uniform,
        forget_bias: None,
        ..ModelConfig::default()
    };
    let compute = compute::<T>();
    let mut model = LanguageModel::<T>::zeros(&config, VOCAB);
    fill(&mut model, &tensors);
    let settings = OptimizerConfig {
        kind: OptimizerKind::Adam,
        learning_rate: LEARNING_RATE,
        momentum: 0.0,
        weight_decay: 0.0,
        clip_norm: Some(CLIP_NORM),
        schedule: Schedule::Constant,
        warmup_steps: 0,
    };
    let mut optimizer = Optimizer::new(&settings, &model);
    let mut space = LanguageModelSpace::default();
    let mut state = model.zero_state(STREAMS);
    let tokens = golden.i64("tokens");
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        let (inputs, targets) = (chunk_of(&tokens, step, 0), chunk_of(&tokens, step, 1));
        let batch = TokenBatch {
            inputs: &inputs,
            targets: &targets,
            batch: STREAMS,
        };
        losses.push(model.loss_and_gradients(&compute, &mut space, batch, &mut state, None));
        let norm = gradient_norm(&compute, &model);
        norms.push(norm);
        let number = step as u64 + 1;
        let learning_rate = optimizer.learning_rate(number, 0.0);
        let update = optimizer.clip(norm);
        optimizer.update(&compute, &mut model, number, learning_rate, update);
    }
    assert!(
        norms.iter().any(|&norm| norm > CLIP_NORM),
        "nothing was clipped: {norms:?}"
    );
    assert_near("losses", &losses, &tensors, tolerance);
    assert_near("grad_norms", &norms, &tensors, tolerance);
    let mut compared = 0;
    model.visit(&mut |parameter| {
        let name = format!("final.{}", parameter.name);
        assert_near(&name, &parameter.value, &tensors, tolerance);
        compared += parameter.len();
    });
    let finals = tensors
        .iter()
        .filter(|(name, _)| name.starts_with("final."));
    let numbers: usize = finals.map(|(_, values)| values.len()).sum();
    // PyTorch lists the tied weight under both of its names.
    assert_eq!(
        compared + usize::from(tie_weights) * VOCAB * LM_HIDDEN,
        numbers
    );
    if tie_weights {
        assert_eq!(
            tensors["final.linear.weight"],
            tensors["final.embedding.weight"]
        );
    }
}

#[test]
fn ten_training_steps_equal_pytorch_in_f64() {
    for name in ["rnn", "gru", "lstm", "tied"] {
        check_training::<f64>(name, TRAINING_F64);
    }
}

#[test]
fn ten_training_steps_equal_pytorch_in_f32() {
    for name in ["rnn", "gru", "lstm", "tied"] {
        check_training::<f32>(name, TRAINING_F32);
    }
}

struct One<T>(Parameter<T>);

impl<T> Parameters<T> for One<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.0);
    }
    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.0);
    }
}

fn check_optimizer<T: Scalar + Into<f64>>(kind: OptimizerKind, tolerance: Tolerance) {
    const WEIGHTS: usize = 37;
    let (_, tensors) = golden("optimizers");
    let settings = OptimizerConfig {
        kind,
        learning_rate: LEARNING_RATE,
        momentum: 0.5,
        weight_decay: 0.25,
        clip_norm: None,
        schedule: Schedule::Constant,
        warmup_steps: 0,
    };
    let compute = compute::<T>();
    let mut parameters = One(Parameter::<T>::zeros("weight", &[WEIGHTS]));
    parameters.0.value = cast(&tensors["weight"]);
    let mut optimizer = Optimizer::new(&settings, &parameters);
    let mut weights = Vec::new();
    for (step, gradient) in tensors["gradients"].chunks_exact(WEIGHTS).enumerate() {
        parameters.0.grad = cast(gradient);
        let update = optimizer.clip(gradient_norm(&compute, &parameters));
        optimizer.update(
            &compute,
            &mut parameters,
            step as u64 + 1,
            LEARNING_RATE,
            update,
        );
        weights.extend_from_slice(&parameters.0.value);
    }
    assert_eq!(weights.len(), STEPS * WEIGHTS);
    assert_near(kind.name(), &weights, &tensors, tolerance);
}

#[test]
fn ten_steps_of_every_optimizer_equal_pytorch() {
    for &kind in OptimizerKind::ALL {
        check_optimizer::<f64>(kind, LAYER_F64);
        check_optimizer::<f32>(kind, LAYER_F32);
    }
}
