//! Models that write, translators and captioners: their files, and what they write of new sources.

use std::path::{Path, PathBuf};

use refrain_kernels::Compute;
use serde_json::{Map, Value};

use super::labels::input_of;
use super::model::{check_size, model_path, settings_of, take, unfit};
use super::settings::{Resolved, Task};
use crate::checkpoint::{ModelFile, Tensor, Vocabularies};
use crate::data::encoding::{Encoding, Input};
use crate::data::vocabulary::UNKNOWN;
use crate::data::{PairEncoding, RawPairs, Vocabulary};
use crate::error::{Error, Result};
use crate::generate::{Beam, Hypothesis};
use crate::models::{EncoderDecoder, EncoderDecoderSpace, Output};
use crate::nn::{Parameter, Parameters as _};
use crate::train::{Wording, pair_loss, write_all};

/// How targets are searched for where nothing else is asked for.
pub const DEFAULT_BEAM: Beam = Beam {
    width: 5,
    length_penalty: 1.0,
    with_alignment: false,
};

/// The key of a model file's `input` that holds the most tokens of a target.
const LONGEST_TARGET: &str = "longest_target";
/// The most that it may be.
const MAX_LONGEST: usize = 1 << 16;

/// The most tokens that are written: some more than any target of the training part has.
#[must_use]
pub fn longest_target(encoding: &PairEncoding) -> usize {
    encoding.longest_target + encoding.longest_target / 2 + 5
}

/// What a task that writes asks of its encoder.
#[must_use]
pub fn output_of(task: Task) -> Output {
    match task {
        Task::Caption => Output::Features,
        _ => Output::Steps,
    }
}

/// A model that writes, read from a file.
#[derive(Clone, Debug)]
pub struct LoadedWriter {
    /// The file.
    pub path: PathBuf,
    /// The model.
    pub model: EncoderDecoder<f32>,
    /// What it reads and writes.
    pub encoding: PairEncoding,
    /// How it was configured.
    pub config: Resolved,
    /// How it was trained: `steps`, `tokens`, losses.
    pub trained: Map<String, Value>,
}

/// The file of a model that writes.
#[must_use]
pub fn writer_file(
    model: &EncoderDecoder<f32>,
    encoding: &PairEncoding,
    config: &Resolved,
    trained: Map<String, Value>,
) -> ModelFile {
    let target = encoding.target.clone();
    let (vocabularies, standardisation) = match &encoding.source.input {
        Input::Texts(source) | Input::Words(source, _) => {
            let source = source.clone();
            (Vocabularies::Two { source, target }, None)
        }
        Input::Numbers(numbers) => (
            Vocabularies::One(target),
            serde_json::to_value(&*numbers.standardisation).ok(),
        ),
    };
    let mut input = encoding.source.to_json();
    if let Some(input) = input.as_object_mut() {
        input.insert(LONGEST_TARGET.into(), encoding.longest_target.into());
    }
    let mut file = ModelFile {
        config: config.model_config_json().into_iter().collect(),
        vocabularies,
        input: Some(input),
        standardisation,
        trained,
        ..ModelFile::default()
    };
    let tied = model.config.tie_weights;
    let mut insert = |parameter: &Parameter<f32>| {
        // A tied weight is the embedding's, also before the next pass copies it.
        let value = if tied && parameter.name == "linear.weight" {
            &model.decoder.embedding.weight.value
        } else {
            &parameter.value
        };
        let tensor = Tensor::f32(&parameter.shape, value.clone());
        file.tensors.insert(parameter.name.clone(), tensor);
    };
    model.visit_all(&mut |parameter| insert(parameter));
    model.visit_buffers(&mut |buffer| insert(buffer));
    file
}

impl LoadedWriter {
    /// Reads a model file, or the best model of a run folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Run`], or [`Error::Model`] naming what does not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let path = model_path(path)?;
        let file = ModelFile::load(&path)?;
        Self::from_file(&path, file)
    }

    /// From a file that was read.
    ///
    /// # Errors
    /// [`Error::Model`] naming what does not fit.
    pub fn from_file(path: &Path, mut file: ModelFile) -> Result<Self> {
        let config = settings_of(path, &file)?;
        let encoding = encoding_of(path, &mut file, &config)?;
        let parameters = config
            .model
            .encoder_decoder_estimate(&encoding.shape(), encoding.target.len());
        check_size(path, &file, parameters)?;
        let mut model = EncoderDecoder::zeros(
            &config.model,
            &encoding.shape(),
            output_of(config.task),
            encoding.target.len(),
        );
        let mut result = Ok(());
        let mut take = |parameter: &mut Parameter<f32>| take(&mut file, parameter, &mut result);
        model.visit_all_mut(&mut |parameter| take(parameter));
        model.visit_buffers_mut(&mut |buffer| take(buffer));
        result?;
        file.tensors.finish()?;
        let decoder = &model.decoder;
        if model.config.tie_weights && decoder.linear.weight.value != decoder.embedding.weight.value
        {
            return Err(unfit(
                path,
                "its weights are tied, but `linear.weight` is not `decoder.embedding.weight`",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            model,
            encoding,
            config,
            trained: file.trained,
        })
    }
}

/// What the file says of the model's input and output; nothing of it is trusted.
fn encoding_of(path: &Path, file: &mut ModelFile, config: &Resolved) -> Result<PairEncoding> {
    let wrong = |problem: &str| unfit(path, problem);
    let mut stored = file
        .input
        .take()
        .ok_or_else(|| wrong("its metadata has no `input`"))?;
    let longest = stored
        .as_object_mut()
        .and_then(|input| input.remove(LONGEST_TARGET))
        .and_then(|longest| usize::try_from(longest.as_u64()?).ok());
    let longest_target = longest
        .filter(|&longest| longest <= MAX_LONGEST)
        .ok_or_else(|| wrong("its `input` has no `longest_target` that could be used"))?;
    let (source, target) = match std::mem::take(&mut file.vocabularies) {
        Vocabularies::Two { source, target } => (Some(source), target),
        Vocabularies::One(target) => (None, target),
        Vocabularies::None => return Err(wrong("its metadata has no `vocabulary`")),
    };
    let input = input_of(path, stored, source, file, false)?;
    let is_picture = matches!(input, Input::Numbers(_));
    if is_picture != (config.task == Task::Caption) {
        return Err(wrong("its `input` is not that of its task"));
    }
    if let Input::Numbers(numbers) = &input
        && numbers.shape[0] != 1
    {
        return Err(wrong(
            "its `input` is a sequence, not one picture or vector",
        ));
    }
    Ok(PairEncoding {
        source: Encoding {
            per_step: false,
            input,
            labels: Vec::new(),
            max_length: config.max_length,
        },
        target,
        longest_target,
    })
}

/// What was written of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The text.
    pub text: String,
    /// What was found, token by token.
    pub hypothesis: Hypothesis,
    /// The text of each token, and at last of the end.
    pub tokens: Vec<String>,
    /// The text of each token of the source; empty where it has none.
    pub source_tokens: Vec<String>,
}

/// How likely references are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// Mean loss, nats a token, the ends included.
    pub nats: f64,
    /// Tokens that it is the mean of.
    pub tokens: u64,
    /// Tokens of the sources that the model does not know.
    pub unknown: u64,
    /// Sources that were cut to `max-length`.
    pub cut: u64,
}

/// A model that writes, at work: its weights are laid out once.
#[derive(Debug)]
pub struct Writer<'m> {
    loaded: &'m LoadedWriter,
    compute: Compute,
    space: EncoderDecoderSpace<f32>,
    beam: Beam,
    copy_unknown: bool,
}

impl<'m> Writer<'m> {
    /// Lays the weights out. With `copy_unknown` the source's word that attention points at stands where the model wrote
    /// `<unk>`.
    ///
    /// # Errors
    /// [`Error::Setting`] where words are to be copied by a model that has no attention or no words.
    pub fn new(
        loaded: &'m LoadedWriter,
        compute: Compute,
        beam: Beam,
        copy_unknown: bool,
    ) -> Result<Self> {
        let has_attention = loaded.model.decoder.attention.is_some();
        let has_words = loaded.encoding.target.unknown_id().is_some();
        if copy_unknown && !(has_attention && has_words) {
            let lacks = if has_attention {
                "its tokens are no words, so it never writes `<unk>`"
            } else {
                "it has no attention to point at a word"
            };
            return Err(Error::Setting {
                name: "copy-unknown".into(),
                found: format!("the model `{}`", loaded.path.display()),
                expected: format!("another model: {lacks}"),
                hint: "leave it out, or train with `--tokens word --attention general`".into(),
            });
        }
        let mut space = EncoderDecoderSpace::default();
        loaded.model.pack(&mut space, false);
        Ok(Self {
            loaded,
            compute,
            space,
            beam: Beam {
                with_alignment: beam.with_alignment || copy_unknown,
                ..beam
            },
            copy_unknown,
        })
    }

    /// How targets are searched for.
    #[must_use]
    pub fn wording(&self) -> Wording {
        Wording {
            beam: self.beam,
            longest: longest_target(&self.loaded.encoding),
        }
    }

    /// How likely the references are under the model.
    ///
    /// # Errors
    /// [`Error::Unusable`] where the sources are of another kind or shape than the model reads; [`Error::Memory`] where a
    /// reference is so long that its scores would take more than `available_bytes`.
    pub fn loss(
        &mut self,
        raw: &RawPairs,
        name: &str,
        available_bytes: Option<u64>,
    ) -> Result<PairLoss> {
        let encoded = self.loaded.encoding.encode(raw, name)?;
        let examples = &encoded.examples;
        let longest = examples.longest_target() + 1;
        // A batch of shorter ones takes no more than one so long.
        let scores = 8.0 * longest as f64 * (self.loaded.encoding.target.len() + 1) as f64;
        if let Some(available_bytes) = available_bytes.filter(|&bytes| scores > bytes as f64) {
            return Err(Error::Memory {
                needed_bytes: scores as u64,
                available_bytes,
                hint: format!("the longest reference has {longest} tokens: leave it out"),
            });
        }
        Ok(PairLoss {
            nats: pair_loss(&self.compute, &self.loaded.model, &mut self.space, examples),
            tokens: examples.target_tokens(),
            unknown: encoded.unknown_sources,
            cut: encoded.cut,
        })
    }

    /// What the model writes of each source, in their order. It does not depend on what stands beside a source.
    ///
    /// # Errors
    /// [`Error::Unusable`] where the sources are of another kind or shape than the model reads.
    pub fn write(&mut self, raw: &RawPairs, name: &str) -> Result<Vec<Written>> {
        let encoding = &self.loaded.encoding;
        let examples = encoding.encode(raw, name)?.examples;
        let sources: Vec<usize> = (0..raw.len()).collect();
        let wording = self.wording();
        let found = write_all(
            &self.compute,
            &self.loaded.model,
            &mut self.space,
            &examples,
            &sources,
            wording,
        );
        let written = found.into_iter().enumerate().map(|(at, hypothesis)| {
            let mut source = match (raw, encoding.source.vocabulary()) {
                (RawPairs::Texts(rows), Some(vocabulary)) => {
                    source_tokens(vocabulary, &rows[at].source)
                }
                _ => Vec::new(),
            };
            // What was cut off was not looked at.
            if let Some(weights) = hypothesis.alignment.first() {
                source.truncate(weights.len());
            }
            let mut tokens: Vec<String> = hypothesis
                .tokens
                .iter()
                .map(|&id| encoding.target.token_text(id))
                .collect();
            let text = if self.copy_unknown {
                self.copied(&hypothesis, &source, &mut tokens)
            } else {
                encoding.target.decode(&hypothesis.tokens)
            };
            tokens.push("</s>".into());
            Written {
                text,
                tokens,
                source_tokens: source.into_iter().map(|token| token.text).collect(),
                hypothesis,
            }
        });
        Ok(written.collect())
    }

    /// The text with the source's words where it is not known what to write.
    fn copied(
        &self,
        hypothesis: &Hypothesis,
        source: &[SourceToken],
        tokens: &mut [String],
    ) -> String {
        let unknown = self.loaded.encoding.target.unknown_id();
        // What the model did not know either is what it most likely means.
        let any_unknown = source.iter().any(|token| token.is_unknown);
        let pointed = |at: usize| {
            let weights = hypothesis.alignment.get(at)?;
            let mut best: Option<usize> = None;
            for (step, token) in source.iter().enumerate().take(weights.len()) {
                let stands = token.is_unknown || !any_unknown;
                if stands && best.is_none_or(|best| weights[step] > weights[best]) {
                    best = Some(step);
                }
            }
            best.map(|step| source[step].text.clone())
        };
        let mut text = self.loaded.encoding.target.decode(&hypothesis.tokens);
        let mut from = 0;
        for (at, token) in tokens.iter_mut().enumerate() {
            if Some(hypothesis.tokens[at]) != unknown {
                continue;
            }
            let Some(place) = text[from..].find(UNKNOWN) else {
                break;
            };
            let place = from + place;
            let word = pointed(at).unwrap_or_else(|| UNKNOWN.into());
            text.replace_range(place..place + UNKNOWN.len(), &word);
            from = place + word.len();
            *token = word;
        }
        text
    }
}

/// A token of a source: the text that it stands for, white space at its ends left out.
struct SourceToken {
    text: String,
    /// Whether the model does not know it.
    is_unknown: bool,
}

fn source_tokens(vocabulary: &Vocabulary, text: &str) -> Vec<SourceToken> {
    let mut tokens = Vec::new();
    let mut rest = text.chars();
    let unknown = vocabulary.unknown_id();
    vocabulary.each_token(text, |id, characters| {
        let text = if unknown.is_none() {
            vocabulary.token_text(id)
        } else {
            let token: String = rest.by_ref().take(characters as usize).collect();
            token.trim().to_owned()
        };
        tokens.push(SourceToken {
            text,
            is_unknown: Some(id) == unknown,
        });
    });
    tokens
}
