//! PyTorch's encoder-decoders: every attention, sources and targets of different lengths in different orders.

use refrain::models::{
    BatchInputs, EncoderDecoder, EncoderDecoderSpace, InputShape, ModelConfig, Output,
    SequenceBatch, TargetBatch,
};
use refrain::nn::{AttentionKind, CellKind, Init, Parameters, Pooling, Steps};
use refrain_kernels::Scalar;
use refrain_testing::Golden;

use super::{HIDDEN, LAYER_F32, LAYER_F64, Tensors, Tolerance, assert_near, compute, fill, golden};

const SOURCE_VOCABULARY: usize = 8;
const TARGET_VOCABULARY: usize = 6;
const SOURCE_LENGTHS: [usize; 3] = [5, 3, 2];
const TARGET_LENGTHS: [usize; 3] = [4, 3, 1];
const SOURCE_OF: [u32; 3] = [1, 2, 0];

fn config(attention: AttentionKind) -> ModelConfig {
    ModelConfig {
        cell: match attention {
            AttentionKind::None | AttentionKind::General => CellKind::Lstm,
            AttentionKind::Dot | AttentionKind::Additive => CellKind::Gru,
        },
        hidden_size: HIDDEN,
        num_layers: 1,
        embedding_size: 6,
        bidirectional: true,
        pooling: Pooling::Last,
        attention,
        dropout: 0.0,
        init: Init::Uniform,
        forget_bias: None,
        ..ModelConfig::default()
    }
}

fn tokens(golden: &Golden, name: &str) -> Vec<u32> {
    let tokens = golden.i64(name);
    tokens.iter().map(|&id| id.try_into().unwrap()).collect()
}

fn check<T: Scalar + Into<f64>>(
    attention: AttentionKind,
    golden: &Golden,
    tensors: &Tensors,
    tolerance: Tolerance,
) {
    let compute = compute::<T>();
    let shape = InputShape::Tokens(SOURCE_VOCABULARY);
    let config = config(attention);
    let mut model = EncoderDecoder::<T>::zeros(&config, &shape, Output::Steps, TARGET_VOCABULARY);
    fill(&mut model, tensors);
    let source = SequenceBatch {
        steps: Steps::of_lengths(&SOURCE_LENGTHS),
        inputs: BatchInputs::Tokens(tokens(golden, "sources")),
    };
    let target = TargetBatch {
        steps: Steps::of_lengths(&TARGET_LENGTHS),
        inputs: tokens(golden, "inputs"),
        targets: tokens(golden, "targets"),
        source_of: SOURCE_OF.to_vec(),
    };
    let rows = target.steps.rows();
    let mut space = EncoderDecoderSpace::default();
    model.pack(&mut space, false);
    model.encode(&compute, &mut space, &source, None);
    let kept = space.clone();
    let (encoded, decoder) = (kept.encoded(), &mut space.decoder);
    let mut state = model
        .decoder
        .begin(&compute, decoder, encoded, &target.source_of);
    model.decoder.forward(
        &compute,
        decoder,
        &target.steps,
        &target.inputs,
        encoded,
        &target.source_of,
        &mut state,
        None,
    );
    let scores = decoder.scores().to_rows(0, rows);
    assert_near("scores", &scores, tensors, tolerance);
    if attention != AttentionKind::None {
        let alignment = decoder.alignment().to_rows(0, rows);
        assert_near("alignment", &alignment, tensors, tolerance);
    }
    let total = model.loss(&compute, &mut space, &source, &target);
    let loss = model.loss_and_gradients(&compute, &mut space, &source, &target, None);
    assert_near("loss", &[total / rows as f64], tensors, tolerance);
    assert_near("loss", &[loss], tensors, tolerance);
    let mut compared = 0;
    model.visit(&mut |parameter| {
        let name = format!("d_{}", parameter.name);
        assert_near(&name, &parameter.grad, tensors, tolerance);
        compared += 1;
    });
    let gradients = tensors.keys().filter(|name| name.starts_with("d_")).count();
    assert_eq!(compared, gradients, "{attention}");
}

fn check_all<T: Scalar + Into<f64>>(tolerance: Tolerance) {
    for &attention in AttentionKind::ALL {
        let (golden, tensors) = golden(&format!("encoder_decoder_{attention}"));
        check::<T>(attention, &golden, &tensors, tolerance);
    }
}

#[test]
fn encoder_decoders_equal_pytorch_in_f64() {
    check_all::<f64>(LAYER_F64);
}

#[test]
fn encoder_decoders_equal_pytorch_in_f32() {
    check_all::<f32>(LAYER_F32);
}
