//! Model files of translators and captioners that are damaged or lie: an error, never a panic, never memory out of proportion.

use refrain::data::captions::{CaptionOptions, read_captions};
use refrain::data::{RawPairs, Referenced};
use refrain::generate::Beam;
use refrain::run::writers::{LoadedWriter, Writer};
use refrain::{Compute, Isa};
use serde_json::{Value, json};

use crate::damage::{ModelParts, refusals};
use crate::support::succeed;
use crate::{Kind, PAIRS, PICTURES, Place};

/// Something of the kind that the model reads.
fn raw(place: &Place, kind: Kind) -> RawPairs {
    if kind.task == "translate" {
        let row = |source: &str| Referenced {
            source: source.into(),
            references: vec!["one".into()],
            line: 1,
        };
        return RawPairs::Texts(vec![row("eins zwei"), row("\u{fe0f} drei")]);
    }
    let options = CaptionOptions {
        images: Some(place.path("pictures.npz")),
        ..CaptionOptions::default()
    };
    let captions = read_captions(&[place.path("captions.tsv")], &options, None);
    RawPairs::Pictures(captions.unwrap().raw)
}

/// Opens a file and, where it opens, uses the model; gives the error.
fn tried(place: &Place, kind: Kind, bytes: &[u8]) -> Result<(), String> {
    let path = place.path("tried.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let loaded = LoadedWriter::open(&path).map_err(|error| error.to_string())?;
    let beam = Beam {
        width: 2,
        length_penalty: 1.0,
        with_alignment: true,
    };
    let compute = Compute::single(Isa::detect());
    let writer = Writer::new(&loaded, compute, beam, false);
    let written = writer.and_then(|mut writer| writer.write(&raw(place, kind), "tried"));
    written.map(|_| ()).map_err(|error| error.to_string())
}

fn model(place: &Place, kind: Kind) -> ModelParts {
    succeed(&mut place.train(kind, "model", &["--steps=2"]));
    let parts = ModelParts::read(&place.path("model/last.safetensors"));
    assert_eq!(tried(place, kind, &parts.bytes()), Ok(()));
    parts
}

#[test]
fn a_file_that_lies_is_refused() {
    let lies: &[(Kind, &str, Value, &str)] = &[
        (PAIRS, "/config/task", json!("caption"), ""),
        (PAIRS, "/config/task", json!("classify"), ""),
        (PAIRS, "/config/attention", json!("none"), "attention."),
        (PAIRS, "/config/attention", json!("additive"), "attention."),
        (PAIRS, "/config/attention", json!("all"), "unknown variant"),
        (PAIRS, "/config/bidirectional", json!(false), ""),
        (PAIRS, "/config/cell", json!("gru"), ""),
        (PAIRS, "/config/num_layers", json!(2), ""),
        (
            PAIRS,
            "/config/hidden_size",
            json!(60_000),
            "fewer than its `config` asks for",
        ),
        (PAIRS, "/config/tie_weights", json!(true), "tied"),
        (PAIRS, "/config/pooling", json!("first"), "unknown variant"),
        (PAIRS, "/vocabulary", json!({"kind": "byte"}), ""),
        (
            PAIRS,
            "/vocabulary/target",
            json!({"kind": "byte"}),
            "decoder.embedding.weight",
        ),
        (
            PAIRS,
            "/vocabulary/source",
            json!({"kind": "byte"}),
            "encoder.embedding.weight",
        ),
        (PAIRS, "/vocabulary/source", json!([]), "vocabulary"),
        (PAIRS, "/input", json!({"kind": "texts"}), "longest_target"),
        (PAIRS, "/input/longest_target", json!(-1), "longest_target"),
        (
            PAIRS,
            "/input/longest_target",
            json!(1_u64 << 60),
            "longest_target",
        ),
        (PAIRS, "/input/kind", json!("words"), "`input`"),
        (PICTURES, "/config/task", json!("translate"), ""),
        (PICTURES, "/input/shape", json!([2, 4, 4, 3]), "`input`"),
        (PICTURES, "/input/shape", json!([1, 4, 4, 0]), "`input`"),
        (
            PICTURES,
            "/input/shape",
            json!([1, 1_u64 << 40, 1_u64 << 40, 3]),
            "`input`",
        ),
        (PICTURES, "/input/shape", json!([1, 4, 4, 1]), ""),
        (PICTURES, "/input/frames", json!(false), "`input`"),
        (
            PICTURES,
            "/input/longest_target",
            json!("5"),
            "longest_target",
        ),
        (
            PICTURES,
            "/standardisation/std",
            json!([0.0, 1.0, 1.0]),
            "`standardisation`",
        ),
        (PICTURES, "/config/layer_norm", json!(false), ""),
        (PICTURES, "/config/embedding_size", json!(7), ""),
        (
            PICTURES,
            "/vocabulary",
            json!({"kind": "byte"}),
            "decoder.embedding.weight",
        ),
    ];
    for kind in [PAIRS, PICTURES] {
        let place = Place::new();
        let good = model(&place, kind);
        for (_, pointer, value, part) in lies.iter().filter(|(of, ..)| of.task == kind.task) {
            let parts = good.with(pointer, value);
            let Err(error) = tried(&place, kind, &parts.bytes()) else {
                panic!("{} with {value} for {pointer} was taken", kind.task);
            };
            assert!(
                error.contains("tried.safetensors") && error.contains(part),
                "{pointer} {value}: {error}"
            );
        }
    }
}

/// Bytes are changed, or the end is missing: an error, or a model that works.
#[test]
fn a_damaged_file_never_panics() {
    for kind in [PAIRS, PICTURES] {
        let place = Place::new();
        let bytes = model(&place, kind).bytes();
        let errors = refusals(&bytes, |damaged| tried(&place, kind, damaged).is_err());
        assert!(errors > 100, "{}: only {errors} were noticed", kind.task);
    }
}
