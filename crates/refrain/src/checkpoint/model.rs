use std::path::Path;

use serde_json::{Map, Value, json};

use super::container::{Container, ContainerBuilder};
use super::tensors::{TensorData, Tensors, quoted};
use super::write_atomic;
use crate::data::vocabulary::Vocabulary;
use crate::{Error, Result};

/// The vocabularies of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vocabularies {
    /// A model of numbers or pictures has none.
    #[default]
    None,
    /// One for all that it reads and writes.
    One(Vocabulary),
    /// A translator has two.
    Two {
        /// What it reads.
        source: Vocabulary,
        /// What it writes.
        target: Vocabulary,
    },
}

impl Vocabularies {
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::One(vocabulary) => Some(vocabulary.to_json()),
            Self::Two { source, target } => {
                Some(json!({"source": source.to_json(), "target": target.to_json()}))
            }
        }
    }

    fn from_json(value: Option<&Value>) -> Result<Self> {
        let Some(value) = value else {
            return Ok(Self::None);
        };
        match (value.get("source"), value.get("target")) {
            (Some(source), Some(target)) => Ok(Self::Two {
                source: Vocabulary::from_json(source)?,
                target: Vocabulary::from_json(target)?,
            }),
            _ => Ok(Self::One(Vocabulary::from_json(value)?)),
        }
    }
}

/// A model as a file: the settings it was made with, its vocabulary, how far it was trained, its weights.
///
/// The same content gives the same bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelFile {
    /// The settings, named as the flags are, with `_`.
    pub config: Map<String, Value>,
    /// The symbols.
    pub vocabularies: Vocabularies,
    /// The characters of spellings, where words are spelt.
    pub characters: Option<Vocabulary>,
    /// What the model reads, where it is not a text alone.
    pub input: Option<Value>,
    /// The classes, in the order of their ids; empty where there are none.
    pub labels: Vec<String>,
    /// How numbers were scaled, where they were.
    pub standardisation: Option<Value>,
    /// Steps, tokens, losses.
    pub trained: Map<String, Value>,
    /// The weights, under PyTorch's names.
    pub tensors: Tensors,
}

impl ModelFile {
    /// Reads a model file.
    ///
    /// Whether the weights are those that `config` needs is for the taker to see
    /// ([`Tensors::take`], [`Tensors::finish`]).
    ///
    /// # Errors
    ///
    /// As [`Container::read`], and [`Error::Model`] where a part of the metadata is missing or wrong or
    /// a weight is not finite.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_container(Container::read(path)?)
    }

    /// Reads a model file that is in memory; messages name it `path`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::from_container(Container::from_bytes(path, bytes)?)
    }

    fn from_container(container: Container) -> Result<Self> {
        let Container {
            mut metadata,
            tensors,
        } = container;
        let hint = "the file is damaged, or it is a training state and not a model";
        let mut object = |key: &str| match metadata.remove(key) {
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(tensors.error(format!("its `{key}` is not an object"), hint)),
            None => Err(tensors.error(format!("its metadata has no `{key}`"), hint)),
        };
        let (config, trained) = (object("config")?, object("trained")?);
        let vocabularies = Vocabularies::from_json(metadata.get("vocabulary"))
            .map_err(|error| tensors.error(error.to_string(), error.hint().unwrap_or(hint)))?;
        let characters = metadata.get("characters").map(Vocabulary::from_json);
        let characters = characters
            .transpose()
            .map_err(|error| tensors.error(error.to_string(), error.hint().unwrap_or(hint)))?;
        let labels = match metadata.remove("labels") {
            None => Vec::new(),
            Some(labels) => serde_json::from_value(labels)
                .map_err(|_| tensors.error("its `labels` are not a list of texts", hint))?,
        };
        let model = Self {
            config,
            vocabularies,
            characters,
            input: metadata.remove("input"),
            labels,
            standardisation: metadata.remove("standardisation"),
            trained,
            tensors,
        };
        match model.not_finite() {
            Some((name, place, value)) => Err(model.tensors.not_finite(name, place, value)),
            None => Ok(model),
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where a weight is not finite or the vocabulary is too large for a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if let Some((name, place, value)) = self.not_finite() {
            return Err(Error::Unusable {
                problem: format!("{} holds {value} at element {place}", quoted(name)),
                hint: "the training diverged; try a smaller learning rate".into(),
            });
        }
        let mut metadata = json!({"config": self.config, "trained": self.trained});
        if let Some(vocabulary) = self.vocabularies.to_json() {
            metadata["vocabulary"] = vocabulary;
        }
        if let Some(characters) = &self.characters {
            metadata["characters"] = characters.to_json();
        }
        if let Some(input) = &self.input {
            metadata["input"] = input.clone();
        }
        if !self.labels.is_empty() {
            metadata["labels"] = json!(self.labels);
        }
        if let Some(standardisation) = &self.standardisation {
            metadata["standardisation"] = standardisation.clone();
        }
        let mut builder = ContainerBuilder::new(metadata);
        for (name, tensor) in self.tensors.iter() {
            builder = builder.tensor(name, tensor);
        }
        builder.to_bytes()
    }

    /// Writes the file with [`write_atomic`].
    ///
    /// # Errors
    ///
    /// As [`to_bytes`](Self::to_bytes) and [`write_atomic`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.to_bytes()?)
    }

    fn not_finite(&self) -> Option<(&str, usize, f64)> {
        self.tensors.iter().find_map(|(name, tensor)| {
            let place = match tensor.data() {
                TensorData::F32(values) => values.iter().position(|v| !v.is_finite()),
                TensorData::F64(values) => values.iter().position(|v| !v.is_finite()),
                _ => None,
            }?;
            let value = match tensor.data() {
                TensorData::F32(values) => values[place].into(),
                TensorData::F64(values) => values[place],
                _ => return None,
            };
            Some((name, place, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tensor;
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn model() -> ModelFile {
        let mut tensors = Tensors::new("a.safetensors");
        tensors.insert("linear.weight", Tensor::f32(&[2, 1], vec![0.1, -0.2]));
        tensors.insert("linear.bias", Tensor::f32(&[2], vec![0.0, 1e-30]));
        ModelFile {
            config: map(json!({"task": "lm", "hidden_size": 1})),
            vocabularies: Vocabularies::One(Vocabulary::from_text("ab").unwrap()),
            trained: map(json!({"steps": 3, "train_loss_nats": 0.5})),
            tensors,
            ..ModelFile::default()
        }
    }

    fn load(bytes: &[u8]) -> Result<ModelFile> {
        ModelFile::from_bytes("a.safetensors".as_ref(), bytes)
    }

    fn with_metadata(metadata: Value) -> String {
        let bytes = ContainerBuilder::new(metadata).to_bytes().unwrap();
        load(&bytes).unwrap_err().to_string()
    }

    #[test]
    fn save_and_load_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let two = Vocabularies::Two {
            source: Vocabulary::bytes(),
            target: Vocabulary::from_text("xyz").unwrap(),
        };
        for vocabularies in [model().vocabularies, Vocabularies::None, two] {
            let mut model = model();
            model.vocabularies = vocabularies;
            model.labels = vec!["yes".into(), "no\n".into()];
            model.standardisation = Some(json!({"mean": [1.0]}));
            model.save(&path).unwrap();
            let mut again = ModelFile::load(&path).unwrap();
            assert_eq!(again.to_bytes().unwrap(), model.to_bytes().unwrap());
            assert_eq!(
                again.tensors.take("linear.bias", &[2]).unwrap(),
                [0.0, 1e-30]
            );
            again.tensors = model.tensors.clone();
            assert_eq!(again, model);
        }
    }

    #[test]
    fn the_metadata_is_as_agreed() {
        let bytes = model().to_bytes().unwrap();
        let container = Container::from_bytes("a".as_ref(), &bytes).unwrap();
        assert_eq!(
            serde_json::to_string(&container.metadata).unwrap(),
            r#"{"config":{"hidden_size":1,"task":"lm"},"format_version":1,"trained":{"steps":3,"train_loss_nats":0.5},"vocabulary":{"kind":"char","tokens":["a","b"]}}"#
        );
    }

    #[test]
    fn missing_and_wrong_parts_are_named() {
        assert!(with_metadata(json!({"trained": {}})).ends_with("its metadata has no `config`"));
        assert!(
            with_metadata(json!({"config": 1, "trained": {}}))
                .ends_with("its `config` is not an object")
        );
        let error = with_metadata(json!({"config": {}, "trained": {}, "labels": [1]}));
        assert!(
            error.ends_with("its `labels` are not a list of texts"),
            "{error}"
        );
        for vocabulary in [
            json!(null),
            json!({"kind": "char"}),
            json!({"source": {"kind": "byte"}}),
        ] {
            let error =
                with_metadata(json!({"config": {}, "trained": {}, "vocabulary": vocabulary}));
            assert!(error.contains("the vocabulary cannot be used"), "{error}");
        }
    }

    #[test]
    fn weights_that_are_not_finite_are_neither_written_nor_read() {
        let mut model = model();
        model
            .tensors
            .insert("nan", Tensor::f32(&[2], vec![1.0, f32::NAN]));
        let error = model.to_bytes().unwrap_err().to_string();
        assert_eq!(error, "`nan` holds NaN at element 1");
        let bytes = ContainerBuilder::new(json!({"config": {}, "trained": {}}))
            .f32("inf", &[1], &[f32::INFINITY])
            .to_bytes()
            .unwrap();
        let error = load(&bytes).unwrap_err();
        assert!(matches!(error, Error::Model { .. }));
        assert!(error.to_string().ends_with("`inf` holds inf at element 0"));
    }
}
