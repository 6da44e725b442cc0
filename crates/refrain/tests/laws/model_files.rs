//! Model files: saving and loading is the identity, and the checked-in file of format version 1 loads forever.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use refrain::checkpoint::ModelFile;
use refrain::data::Vocabulary;
use refrain::generate::{Generator, Sampler};
use refrain::models::{LanguageModel, LanguageModelSpace, TokenBatch};
use refrain::nn::{CellKind, Init, Nonlinearity};
use refrain::optim::{Optimizer, gradient_norm};
use refrain::run::model::{LoadedModel, model_file};
use refrain::run::settings::{Limit, Resolved, Settings, Task};
use refrain_kernels::{Compute, Isa};
use refrain_testing::testdata;
use serde_json::{Map, Value, json};

use crate::{CELLS, bits, instruction_sets, new_model, parameter_bits, rng};

fn map(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// All numbers of a model's file, a tied weight too.
fn all_bits(model: &LanguageModel<f32>) -> Vec<u32> {
    let mut all = Vec::new();
    model.visit_all(&mut |parameter| all.extend(bits(&parameter.value)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_saved_model_is_loaded_bit_for_bit(
        (cell, relu, tie_weights) in (0usize..3, any::<bool>(), any::<bool>()),
        (hidden_size, num_layers, embedding_size) in (1u64..20, 1u64..4, 1u64..12),
        symbols in prop::collection::hash_set(any::<char>(), 1..30),
        (forget_bias, dropout) in (prop::option::of(-3.0..3.0f64), 0.0..0.99f64),
        (seed, steps, loss) in (0..u64::MAX / 2, any::<u64>(), 0.0..9.0f64),
        odd in any::<[u32; 8]>(),
    ) {
        let cell = CELLS[cell];
        let settings = Settings {
            task: Some(Task::Lm),
            cell: Some(cell),
            nonlinearity: (cell == CellKind::Rnn && relu).then_some(Nonlinearity::Relu),
            hidden_size: Some(hidden_size),
            num_layers: Some(num_layers),
            embedding_size: (!tie_weights).then_some(embedding_size),
            dropout: Some(dropout),
            tie_weights: Some(tie_weights),
            init: Some(Init::Orthogonal),
            forget_bias: (cell == CellKind::Lstm).then_some(Limit::from(forget_bias)),
            seed: Some(seed),
            ..Settings::default()
        };
        let config = settings.resolve()?;
        let vocabulary = Vocabulary::from_chars(symbols)?;
        let mut model = new_model(&config.model, vocabulary.len(), seed);
        // Subnormal numbers, -0 and the like come back too.
        for (value, odd) in model.embedding.weight.value.iter_mut().zip(odd) {
            let odd = f32::from_bits(odd);
            if odd.is_finite() {
                *value = odd;
            }
        }
        let trained = map(json!({"steps": steps, "train_loss_nats": loss}));
        let file = model_file(&model, &vocabulary, &config, trained.clone());
        let bytes = file.to_bytes()?;

        let folder = tempfile::tempdir()?;
        let path = folder.path().join("best.safetensors");
        file.save(&path)?;
        prop_assert_eq!(&std::fs::read(&path)?, &bytes);
        // By its own name and by its folder's.
        for path in [path.as_path(), folder.path()] {
            let loaded = LoadedModel::open(path)?;
            prop_assert_eq!(&loaded.vocabulary, &vocabulary);
            prop_assert_eq!(&loaded.config.model, &config.model);
            prop_assert_eq!(&loaded.trained, &trained);
            prop_assert_eq!(parameter_bits(&loaded.model), parameter_bits(&model));
            if tie_weights {
                let linear = bits(&loaded.model.linear.weight.value);
                prop_assert_eq!(linear, bits(&model.embedding.weight.value));
            }
            let again = model_file(&loaded.model, &loaded.vocabulary, &loaded.config, loaded.trained);
            prop_assert_eq!(&again.to_bytes()?, &bytes);
        }
        let from_bytes = ModelFile::from_bytes(&path, &bytes)?;
        prop_assert_eq!(from_bytes.to_bytes()?, bytes);
    }
}

/// What the checked-in model was taught.
const TEXT: &str = "hello world\n";
const PROMPT: &str = "he";
/// What it says after the prompt, always taking the likeliest token.
const GREEDY: &str = "llo world\nhello world\nh";
/// The bits of its scores after the prompt, in the order of the vocabulary.
const SCORES: [u32; 9] = [
    0xc0a5_bcd8,
    0xc053_00d4,
    0xbf2b_a484,
    0x4054_a6bb,
    0xc08f_6919,
    0x410c_bf27,
    0x3efe_6b1c,
    0xbfc6_627c,
    0xbfbc_3158,
];

fn version_1_config() -> Resolved {
    let settings = Settings {
        task: Some(Task::Lm),
        cell: Some(CellKind::Lstm),
        hidden_size: Some(8),
        num_layers: Some(1),
        embedding_size: Some(4),
        dropout: Some(0.0),
        learning_rate: Some(0.02),
        steps: Some(200),
        batch: Some(1),
        seed: Some(1),
        ..Settings::default()
    };
    settings.resolve().unwrap()
}

/// How the checked-in file was made. A later version may well train to other numbers; the file stays what it is.
fn train_version_1(path: &Path) {
    let config = version_1_config();
    let vocabulary = Vocabulary::from_text(TEXT).unwrap();
    let tokens = vocabulary.try_encode(&TEXT.repeat(4)).unwrap();
    let mut model = LanguageModel::new(&config.model, vocabulary.len(), &mut rng(config.seed));
    let mut optimizer = Optimizer::new(&config.optimizer, &model);
    let compute = Compute::single(Isa::detect());
    let mut space = LanguageModelSpace::default();
    let batch = TokenBatch {
        inputs: &tokens[..tokens.len() - 1],
        targets: &tokens[1..],
        batch: 1,
    };
    let (mut loss, steps) = (f64::NAN, 200);
    for step in 1..=steps {
        let mut state = model.zero_state(1);
        loss = model.loss_and_gradients(&compute, &mut space, batch, &mut state, None);
        let update = optimizer.clip(gradient_norm(&compute, &model));
        optimizer.update(&compute, &mut model, step, 0.02, update);
    }
    let trained = map(json!({
        "steps": steps,
        "tokens": steps * batch.inputs.len() as u64,
        "train_loss_nats": loss,
        "first_token": tokens[0],
    }));
    let file = model_file(&model, &vocabulary, &config, trained);
    file.save(path).unwrap();
}

/// The checked-in file of format version 1. With `REFRAIN_BLESS` set in the environment it is made anew first, which is only
/// right before its version was ever released.
pub(crate) fn version_1() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = testdata("models/lm-v1.safetensors");
        if std::env::var_os("REFRAIN_BLESS").is_some() {
            train_version_1(&path);
        }
        path
    })
}

#[test]
fn the_model_of_format_version_1_loads_and_says_what_it_always_said() {
    let loaded = LoadedModel::open(version_1()).unwrap();
    assert_eq!(loaded.vocabulary, Vocabulary::from_text(TEXT).unwrap());
    assert_eq!(
        loaded.vocabulary.decode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        "\n dehlorw"
    );
    assert_eq!(loaded.config.model, version_1_config().model);
    assert_eq!(loaded.trained["steps"], 200);
    assert_eq!(loaded.first_token(), loaded.vocabulary.id('h'));
    for isa in instruction_sets() {
        let mut model = loaded.model.clone();
        let mut generator = Generator::new(&mut model, &loaded.vocabulary, isa);
        generator.start(&loaded.vocabulary.try_encode(PROMPT).unwrap());
        let found = bits(generator.scores());
        let mut sampler = Sampler::new().greedy(true);
        let ids: Vec<u32> = (0..GREEDY.len())
            .map(|_| generator.next(&mut sampler, &mut rng(0)).unwrap().id)
            .collect();
        assert_eq!(
            loaded.vocabulary.decode(&ids),
            GREEDY,
            "with {}",
            isa.name()
        );
        assert_eq!(found, SCORES, "with {}: {found:#010x?}", isa.name());
    }
}

/// Saved again it is a file with the same weights.
#[test]
fn the_model_of_format_version_1_can_be_saved_again() {
    let loaded = LoadedModel::open(version_1()).unwrap();
    let file = model_file(
        &loaded.model,
        &loaded.vocabulary,
        &loaded.config,
        loaded.trained.clone(),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.safetensors");
    file.save(&path).unwrap();
    let again = LoadedModel::open(&path).unwrap();
    assert_eq!(all_bits(&again.model), all_bits(&loaded.model));
    assert_eq!(again.vocabulary, loaded.vocabulary);
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.trained, loaded.trained);
}
