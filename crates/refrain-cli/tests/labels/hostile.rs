//! Model files of labels that are damaged or lie: an error, never a panic, never memory out of proportion.

use refrain::data::labelled::Raw;
use refrain::data::table::LabelledText;
use refrain::data::{Arrays, TaggedSentence};
use refrain::run::labels::LoadedLabeller;
use refrain::run::predict::Predictor;
use refrain::{Compute, Isa};
use serde_json::{Value, json};

use crate::damage::{ModelParts, refusals};
use crate::support::{fail, refrain, succeed};
use crate::{CLIPS, Kind, Place, REVIEWS, TAGS};

/// Something of the kind that the model reads.
fn raw(place: &Place, kind: Kind) -> Raw {
    let text = |text: &str| LabelledText {
        text: text.into(),
        label: None,
        line: 1,
    };
    match kind.data {
        "reviews.tsv" => Raw::Texts(vec![text("the film"), text("zzz")]),
        "tags.conllu" => Raw::Sentences(vec![TaggedSentence {
            tokens: vec!["boing".into(), "\u{fe0f}".into()],
            labels: Vec::new(),
            line: 1,
        }]),
        _ => {
            let arrays = Arrays::open(&place.path("clips.npz"), 1 << 30).unwrap();
            Raw::Arrays(std::sync::Arc::new(arrays), vec![0, 7])
        }
    }
}

/// Opens a file and, where it opens, uses the model; gives the error.
fn tried(place: &Place, kind: Kind, bytes: &[u8]) -> Result<(), String> {
    let path = place.path("tried.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let loaded = LoadedLabeller::open(&path).map_err(|error| error.to_string())?;
    let mut predictor = Predictor::new(&loaded, Compute::single(Isa::detect()));
    let predicted = predictor.predict(&raw(place, kind), "tried");
    predicted.map(|_| ()).map_err(|error| error.to_string())
}

fn model(place: &Place, kind: Kind) -> ModelParts {
    succeed(&mut place.train(kind, "model", &["--steps=2"]));
    let file = ModelParts::read(&place.path("model/last.safetensors"));
    assert_eq!(tried(place, kind, &file.bytes()), Ok(()));
    file
}

#[test]
fn a_file_that_lies_is_refused() {
    let lie: &[(Kind, &str, Value, &str)] = &[
        (REVIEWS, "/labels", json!(["up"]), "`labels`"),
        (REVIEWS, "/labels", json!(["up", "up"]), "`labels`"),
        (
            REVIEWS,
            "/labels",
            json!(["a", "b", "c"]),
            "`linear.weight`",
        ),
        (REVIEWS, "/labels", json!([1, 2]), "`labels`"),
        (REVIEWS, "/labels", json!({"up": 0}), "`labels`"),
        (REVIEWS, "/input", json!({"kind": "words"}), "`input`"),
        (REVIEWS, "/input", json!({"kind": "sounds"}), "`input`"),
        (REVIEWS, "/input", json!(null), "`input`"),
        (
            REVIEWS,
            "/input",
            json!({"kind": "texts", "more": 1}),
            "`input`",
        ),
        (REVIEWS, "/config/task", json!("tag"), ""),
        (
            REVIEWS,
            "/config/hidden_size",
            json!(60_000),
            "fewer than its `config` asks for",
        ),
        (REVIEWS, "/config/bidirectional", json!(false), "rnn."),
        (REVIEWS, "/config/batch_norm", json!(false), "batch_norm"),
        (
            REVIEWS,
            "/vocabulary",
            json!({"kind": "byte"}),
            "`embedding.weight`",
        ),
        (TAGS, "/input", json!({"kind": "texts"}), "`input`"),
        (TAGS, "/vocabulary", json!({"kind": "byte"}), "`vocabulary`"),
        (
            TAGS,
            "/vocabulary",
            json!({"kind": "char", "tokens": ["a", "b"]}),
            "`vocabulary`",
        ),
        (TAGS, "/characters", json!({"kind": "byte"}), "`characters`"),
        (
            TAGS,
            "/characters",
            json!({"kind": "char", "tokens": ["a"]}),
            "characters.embedding",
        ),
        (TAGS, "/characters", json!([]), ""),
        (TAGS, "/config/task", json!("classify"), "`config`"),
        (CLIPS, "/input/shape", json!([6, 5, 4]), "`input`"),
        (CLIPS, "/input/shape", json!([6, 5, 4, 0]), "`input`"),
        (CLIPS, "/input/shape", json!([]), "`input`"),
        (
            CLIPS,
            "/input/shape",
            json!([6, 1_u64 << 40, 1_u64 << 40, 1]),
            "`input`",
        ),
        (
            CLIPS,
            "/input/shape",
            json!([6, 4096, 4096, 1]),
            "fewer than its `config` asks for",
        ),
        (
            CLIPS,
            "/input/shape",
            json!([6, 5, 4, 3]),
            "`standardisation`",
        ),
        (CLIPS, "/input/shape", json!([-1, 5, 4, 1]), "`input`"),
        (CLIPS, "/input/frames", json!(false), "`input`"),
        (CLIPS, "/standardisation", json!(null), "`standardisation`"),
        (
            CLIPS,
            "/standardisation/mean",
            json!([1e60]),
            "`standardisation`",
        ),
        (
            CLIPS,
            "/standardisation/std",
            json!([0.0]),
            "`standardisation`",
        ),
        (
            CLIPS,
            "/standardisation/std",
            json!([-1.0]),
            "`standardisation`",
        ),
        (
            CLIPS,
            "/standardisation/std",
            json!([1.0, 1.0]),
            "`standardisation`",
        ),
        (CLIPS, "/config/embedding_size", json!(7), "frames."),
    ];
    for kind in [REVIEWS, TAGS, CLIPS] {
        let place = Place::new();
        let good = model(&place, kind);
        for (_, pointer, value, part) in lie.iter().filter(|(of, ..)| of.data == kind.data) {
            let file = good.with(pointer, value);
            let Err(error) = tried(&place, kind, &file.bytes()) else {
                panic!("{kind:?} with {value} for {pointer} was taken");
            };
            assert!(
                error.contains("tried.safetensors"),
                "{pointer} {value}: {error}"
            );
            assert!(error.contains(part), "{pointer} {value}: {error}");
        }
    }
}

/// Bytes are changed, or the end is missing: an error, or a model that works.
#[test]
fn a_damaged_file_never_panics() {
    for kind in [REVIEWS, TAGS, CLIPS] {
        let place = Place::new();
        let bytes = model(&place, kind).bytes();
        let errors = refusals(&bytes, |damaged| tried(&place, kind, damaged).is_err());
        assert!(errors > 100, "{kind:?}: only {errors} were noticed");
    }
}

/// A model to begin with is a file as any other.
#[test]
fn a_hostile_model_to_begin_with_is_refused() {
    let place = Place::new();
    let mut file = model(&place, TAGS);
    // A single number where a table should be.
    let offsets = file.header["embedding.weight"]["data_offsets"].clone();
    let start = offsets[0].as_u64().unwrap();
    let end = offsets[1].as_u64().unwrap();
    file.header["embedding.weight"]["shape"] = json!([]);
    file.header["embedding.weight"]["data_offsets"] = json!([start, start + 4]);
    file.data.drain(start as usize + 4..end as usize);
    for (name, tensor) in file.header.as_object_mut().unwrap() {
        let offsets = tensor.get_mut("data_offsets").and_then(Value::as_array_mut);
        for offset in offsets
            .into_iter()
            .flatten()
            .filter(|_| name != "embedding.weight")
        {
            let at = offset.as_u64().unwrap();
            if at >= end {
                *offset = json!(at - (end - start - 4));
            }
        }
    }
    let lying = place.write("lying.safetensors", &file.bytes());
    let text = place.write("text.safetensors", b"this is no model");
    for (from, part) in [
        (lying, "`embedding.weight`"),
        (text, "text.safetensors"),
        (place.name("none.safetensors"), "none.safetensors"),
    ] {
        let flag = format!("--from={from}");
        let (code, message, hint) = fail(&mut place.train(TAGS, "never", &[&flag]));
        assert!(code == 1 && message.contains(part), "{message}");
        assert!(!hint.is_empty(), "{message}");
        assert!(!place.path("never").exists());
    }
    let (code, message, _) = fail(&mut refrain(&[
        "predict",
        &place.name("text.safetensors"),
        "--json",
    ]));
    assert!(
        code == 1 && message.contains("text.safetensors"),
        "{message}"
    );
}
