//! Model files that are damaged, of another make or made to do harm: an error that names what is wrong, never a panic,
//! never memory out of proportion.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use proptest::prelude::*;
use refrain::checkpoint::{Container, TensorData};
use refrain::generate::{Generator, Sampler};
use refrain::run::model::LoadedModel;
use refrain::{Error, Result};
use refrain_kernels::Isa;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::model_files::version_1;
use crate::rng;

/// The parts of a model file, to be put together wrongly.
#[derive(Clone)]
struct Parts {
    metadata: Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Parts {
    fn new() -> Self {
        let container = Container::read(version_1()).unwrap();
        let tensors = container.tensors.iter().map(|(name, tensor)| {
            let TensorData::F32(values) = tensor.data() else {
                panic!("`{name}` is not F32");
            };
            (name.to_owned(), (tensor.shape().to_vec(), values.clone()))
        });
        Self {
            tensors: tensors.collect(),
            metadata: Value::Object(container.metadata.clone()),
        }
    }

    /// With one thing changed.
    fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut parts = Self::new();
        change(&mut parts);
        parts.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let text = self.metadata.to_string();
        self.bytes_with(Some(HashMap::from([("refrain".to_owned(), text)])))
    }

    fn bytes_with(&self, metadata: Option<HashMap<String, String>>) -> Vec<u8> {
        let data: BTreeMap<&str, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, (_, values))| {
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                (name.as_str(), bytes)
            })
            .collect();
        let views = self.tensors.iter().map(|(name, (shape, _))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), &data[name.as_str()]).unwrap();
            (name, view)
        });
        safetensors::serialize(views, metadata).unwrap()
    }
}

fn open(bytes: &[u8]) -> (PathBuf, Result<LoadedModel>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let loaded = LoadedModel::open(&path);
    (path, loaded)
}

/// The error must name the file and all of `parts`, on one line, and say what to do.
#[track_caller]
fn assert_refused(bytes: &[u8], parts: &[&str]) {
    let (path, loaded) = open(bytes);
    let Err(error) = loaded else {
        panic!("loaded, expected an error with {parts:?}");
    };
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    let text = error.to_string();
    let start = format!("`{}` is not a usable model file: ", path.display());
    assert!(text.starts_with(&start), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(
        !text.contains('\n') && text.len() < start.len() + 400,
        "{text}"
    );
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{text}");
}

fn names() -> Vec<String> {
    Parts::new().tensors.into_keys().collect()
}

#[test]
fn the_parts_make_a_model() {
    let parts = Parts::new();
    assert_eq!(parts.tensors.len(), 7);
    open(&parts.bytes()).1.unwrap();
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let bytes = std::fs::read(version_1()).unwrap();
    assert_refused(&[], &["it is empty"]);
    for length in (1..bytes.len())
        .step_by(13)
        .chain([7, 8, 9, bytes.len() - 1])
    {
        assert_refused(&bytes[..length], &[]);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_refused(&longer, &["its tensors have"]);
}

#[test]
fn other_files_are_refused() {
    assert_refused(b"{\"a\": 1}", &["not a safetensors file"]);
    assert_refused(
        "First Citizen: ".repeat(99).as_bytes(),
        &["not a safetensors file"],
    );
    assert_refused(&[0xFF; 64], &["not a safetensors file"]);
    assert_refused(&[0; 64], &["not a safetensors file"]);
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.safetensors");
    let error = LoadedModel::open(&missing).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("missing.safetensors"), "{error}");
    let error = LoadedModel::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Run { .. }), "{error:?}");
    assert!(error.to_string().contains("best.safetensors"), "{error}");
}

#[test]
fn a_missing_tensor_is_named() {
    for name in names() {
        let bytes = Parts::with(|parts| {
            parts.tensors.remove(&name);
        });
        assert_refused(&bytes, &[&format!("it has no tensor `{name}`")]);
    }
    let bytes = Parts::with(|parts| parts.tensors.clear());
    assert_refused(&bytes, &["it has no tensor `embedding.weight`"]);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    for (name, (shape, values)) in Parts::new().tensors {
        let mut longer = shape.clone();
        longer[0] += 1;
        let turned: Vec<usize> = shape.iter().rev().copied().collect();
        let flat = vec![1, 1, values.len()];
        let empty = vec![0; shape.len()];
        for found in [longer, turned, flat, empty] {
            if found == shape {
                continue;
            }
            let bytes = Parts::with(|parts| {
                let mut values = values.clone();
                values.resize(found.iter().product(), 0.0);
                parts.tensors.insert(name.clone(), (found.clone(), values));
            });
            let problem = format!("`{name}` has shape {found:?}, expected {shape:?}");
            assert_refused(&bytes, &[&problem]);
        }
    }
}

#[test]
fn a_tensor_too_many_is_named() {
    let bytes = Parts::with(|parts| {
        let extra = (vec![2], vec![0.0; 2]);
        parts.tensors.insert("rnn.weight_ih_l1".into(), extra);
    });
    assert_refused(
        &bytes,
        &["a tensor that such a model does not have: `rnn.weight_ih_l1`"],
    );
    // A name that would garble a terminal is escaped and cut.
    let bytes = Parts::with(|parts| {
        let name = format!("\u{1b}[2J\n{}", "x".repeat(4000));
        parts.tensors.insert(name, (vec![1], vec![0.0]));
    });
    assert_refused(&bytes, &["\\u{1b}[2J\\n"]);
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    for name in names() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bytes = Parts::with(|parts| {
                let (_, values) = parts.tensors.get_mut(&name).unwrap();
                *values.last_mut().unwrap() = value;
            });
            assert_refused(&bytes, &[&format!("`{name}` holds {value} at element")]);
        }
    }
}

#[test]
fn a_tensor_of_another_type_is_named() {
    let parts = Parts::new();
    let text = parts.metadata.to_string();
    for (dtype, width) in [
        (Dtype::F64, 8),
        (Dtype::I64, 8),
        (Dtype::U8, 1),
        (Dtype::I8, 1),
    ] {
        let zeros = vec![0; 32 * 8 * width];
        let bytes: BTreeMap<&str, Vec<u8>> = parts
            .tensors
            .iter()
            .map(|(name, (_, values))| {
                (
                    name.as_str(),
                    values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = parts.tensors.iter().map(|(name, (shape, _))| {
            let view = if name == "rnn.weight_hh_l0" {
                TensorView::new(dtype, shape.clone(), &zeros)
            } else {
                TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()])
            };
            (name, view.unwrap())
        });
        let metadata = HashMap::from([("refrain".to_owned(), text.clone())]);
        let file = safetensors::serialize(views, Some(metadata)).unwrap();
        assert_refused(
            &file,
            &["`rnn.weight_hh_l0` is of type", &format!("{dtype:?}")],
        );
    }
}

#[test]
fn missing_metadata_is_named() {
    let parts = Parts::new();
    assert_refused(
        &parts.bytes_with(None),
        &["its metadata has no key `refrain`"],
    );
    let other = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    assert_refused(
        &parts.bytes_with(Some(other)),
        &["its metadata has no key `refrain`"],
    );
    for text in ["", "no JSON", "[1]", "{\"a\": ", &"[".repeat(100_000)] {
        let broken = HashMap::from([("refrain".to_owned(), text.to_owned())]);
        assert_refused(&parts.bytes_with(Some(broken)), &["its metadata `refrain`"]);
    }
    for key in ["config", "trained", "vocabulary", "format_version"] {
        let bytes = Parts::with(|parts| {
            parts.metadata.as_object_mut().unwrap().remove(key);
        });
        assert_refused(&bytes, &[key]);
        let bytes = Parts::with(|parts| parts.metadata[key] = json!([1, 2]));
        assert_refused(&bytes, &[key]);
    }
}

#[test]
fn another_format_version_is_named() {
    for version in [json!(2), json!(u64::MAX)] {
        let bytes = Parts::with(|parts| parts.metadata["format_version"] = version.clone());
        let found = format!("its format has version {version}, this program knows up to 1");
        assert_refused(&bytes, &[&found]);
    }
    for version in [json!(0), json!(-1), json!(1.5), json!("1"), json!(null)] {
        let bytes = Parts::with(|parts| parts.metadata["format_version"] = version);
        assert_refused(&bytes, &["format_version"]);
    }
}

#[test]
fn a_config_of_another_model_is_refused() {
    let refused = |key: &str, value: Value, parts: &[&str]| {
        let bytes = Parts::with(|file| file.metadata["config"][key] = value);
        assert_refused(&bytes, parts);
    };
    refused(
        "hidden_sice",
        json!(8),
        &["its `config` cannot be read", "unknown field `hidden_sice`"],
    );
    refused("hidden_size", json!("8"), &["its `config` cannot be read"]);
    refused("hidden_size", json!(-8), &["its `config` cannot be read"]);
    refused(
        "hidden_size",
        json!(0),
        &["its `config` cannot be used", "hidden-size"],
    );
    refused(
        "hidden_size",
        json!(7),
        &["has shape [32, 4], expected [28, 4]"],
    );
    refused(
        "embedding_size",
        json!(5),
        &["`embedding.weight` has shape [9, 4], expected [9, 5]"],
    );
    refused(
        "num_layers",
        json!(2),
        &["it has no tensor `rnn.weight_ih_l1`"],
    );
    refused(
        "cell",
        json!("lstn"),
        &["its `config` cannot be read", "lstn"],
    );
    refused(
        "cell",
        json!("gru"),
        &["its `config` cannot be used", "forget-bias"],
    );
    refused(
        "tie_weights",
        json!(true),
        &["its `config` cannot be used", "embedding-size"],
    );
    refused(
        "dropout",
        json!(1.0),
        &["its `config` cannot be used", "dropout"],
    );
    refused(
        "task",
        json!("sing"),
        &["its `config` cannot be read", "sing"],
    );
    // A key is quoted cut and escaped, whatever it is.
    let key = format!("\u{1b}[2J\n{}", "x".repeat(1 << 20));
    refused(&key, json!(1), &["unknown field `\\u{1b}[2J\\nxxx"]);
    refused("cell", json!(key), &["unknown variant `\\u{1b}[2J\\nxxx"]);
    let bytes = Parts::with(|file| {
        let tokens = file.metadata["vocabulary"]["tokens"]
            .as_array_mut()
            .unwrap();
        tokens.pop();
    });
    assert_refused(
        &bytes,
        &["`embedding.weight` has shape [9, 4], expected [8, 4]"],
    );
    let bytes = Parts::with(|file| file.metadata["vocabulary"] = json!({"kind": "byte"}));
    assert_refused(
        &bytes,
        &["`embedding.weight` has shape [9, 4], expected [256, 4]"],
    );
    let bytes = Parts::with(|file| {
        let one = file.metadata["vocabulary"].clone();
        file.metadata["vocabulary"] = json!({"source": one, "target": one});
    });
    assert_refused(
        &bytes,
        &["its `vocabulary` is not that of a language model"],
    );
}

/// Sizes far beyond the file: the largest would be 140 TB, so that whoever allocated them first would not live to say so.
#[test]
fn a_gigantic_config_is_refused_before_anything_is_allocated() {
    for (hidden_size, num_layers) in [
        (65_536, 1_024),
        (65_536, 1),
        (4_096, 3),
        (64, 1),
        (8, 1_024),
        (1, 1_024),
    ] {
        let bytes = Parts::with(|file| {
            file.metadata["config"]["hidden_size"] = json!(hidden_size);
            file.metadata["config"]["num_layers"] = json!(num_layers);
        });
        assert_refused(&bytes, &["numbers, fewer than its `config` asks for"]);
    }
    for (key, name) in [
        ("hidden_size", "hidden-size"),
        ("num_layers", "num-layers"),
        ("embedding_size", "embedding-size"),
    ] {
        for value in [1u64 << 40, u64::MAX] {
            let bytes = Parts::with(|file| file.metadata["config"][key] = json!(value));
            assert_refused(&bytes, &["its `config` cannot be used", name]);
        }
    }
    // A tensor that claims more elements than there are bytes.
    let mut bytes = Parts::new().bytes();
    let at = bytes
        .windows(8)
        .position(|part| part == b"[32,8],\"")
        .unwrap();
    bytes[at..at + 6].copy_from_slice(b"[9E9] ");
    assert_refused(&bytes, &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Some bytes are changed: an error, or a model that works.
    #[test]
    fn a_damaged_file_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        // The header is the part that is worth attacking.
        only_header in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(version_1())?;
        let header = 8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1]);
        let end = if only_header { header } else { bytes.len() };
        for (index, byte) in changes {
            bytes[index.index(end)] = byte;
        }
        if let (_, Ok(mut loaded)) = open(&bytes) {
            let mut generator = Generator::new(&mut loaded.model, &loaded.vocabulary, Isa::detect());
            generator.start(&generator.default_prompt(None));
            // Huge weights may well give scores that are not numbers, which is an error.
            let _ = generator.next(&mut Sampler::new(), &mut rng(0));
        }
    }
}
