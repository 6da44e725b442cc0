use refrain_kernels::Compute;
use serde_json::{Map, Value, json};

use super::{PROCESS_BYTES, Prepared, RunTask, Weights, checked_memory, said_of, word_vectors};
use crate::checkpoint::ModelFile;
use crate::data::{LmData, Split, Text, TextOptions, TokenKind, demo, source};
use crate::error::Result;
use crate::models::LanguageModel;
use crate::run::Given;
use crate::run::graph::Graph;
use crate::run::model::model_file;
use crate::run::settings::Resolved;
use crate::run::start::from_vectors;
use crate::train::{ChunkPlan, LanguageModelData, LanguageModelTask, Purpose, Score, keyed_rng};

/// A token's number, and its text while the data is read.
const BYTES_PER_TOKEN: f64 = 6.0;

impl RunTask for LanguageModelTask {
    fn model_file(&self, config: &Resolved, mut trained: Map<String, Value>) -> ModelFile {
        trained.insert("first_token".into(), json!(self.data().train.first()));
        model_file(self.model(), &self.data().vocabulary, config, trained)
    }

    fn graph(&self) -> Graph {
        Graph::of_language_model(self.model())
    }

    fn has_test(&self) -> bool {
        !self.data().test.is_empty()
    }

    fn test(&mut self, compute: &Compute) -> Option<Score> {
        self.score_test(compute)
    }
}

/// The data as tokens, and a copy of it where it came from standard input.
fn read_data(config: &Resolved, given: &mut Given<'_>) -> Result<(LmData, Option<Vec<u8>>)> {
    // Tokens take four bytes a symbol beside the text itself.
    let max_bytes = given
        .available_bytes
        .map_or(crate::data::text::DEFAULT_MAX_BYTES, |bytes| bytes / 6);
    let tokens = config.tokens.unwrap_or(TokenKind::Char);
    let text = if config.data.is_empty() {
        demo::text(tokens)
    } else {
        let mut options = TextOptions::new(tokens).max_bytes(max_bytes);
        if let Some(stdin) = given.stdin.take() {
            options = options.stdin(stdin);
        }
        Text::open_with(&source::expand(&config.data)?, options)?
    };
    let from_stdin = config.data.iter().any(|path| path.as_os_str() == "-");
    let copy = from_stdin.then(|| text.as_bytes().to_vec());
    let split = Split {
        validation: config.validation.clone(),
        test: config.test.clone(),
    };
    let data = LmData::with_words(text, &split, config.words, max_bytes)?;
    Ok((data, copy))
}

/// Reads the text, plans its chunks, estimates the memory.
pub(super) fn prepare(
    config: &mut Resolved,
    given: &mut Given<'_>,
    weights: Weights,
) -> Result<Prepared> {
    let (data, stdin) = read_data(config, given)?;
    let (plan, shrunk) = ChunkPlan::new(
        data.train.len(),
        config.batch,
        config.bptt,
        config.carry_state,
        config.seed,
    )?;
    let mut notes = data_notes(&data);
    if let Some(shrunk) = shrunk {
        let smaller: Vec<String> = [("batch", shrunk.batch), ("bptt", shrunk.seq_len)]
            .iter()
            .filter(|(_, (asked, used))| asked != used)
            .map(|(name, (asked, used))| format!("`{name}` is {used} instead of {asked}"))
            .collect();
        notes.push(format!(
            "the training part has only {} tokens: {}",
            data.train.len(),
            smaller.join(", ")
        ));
    }
    let vocab_size = data.vocabulary.len();
    let vectors = match weights {
        Weights::Drawn => word_vectors(config, Some(&data.vocabulary))?,
        Weights::Zero => None,
    };
    if let Some(vectors) = &vectors {
        notes.push(said_of(vectors, vocab_size));
    }
    if let Some(TokenKind::Bpe(asked)) = config.tokens
        && vocab_size < asked as usize
    {
        notes.push(format!(
            "the training part has no more pairs that occur twice: {vocab_size} tokens instead of {asked}"
        ));
    }
    let model = config
        .model
        .memory_estimate(vocab_size, plan.batch(), plan.seq_len());
    // Beside it the process itself, the tokens (and the text, while it is read), and what the allocator leaves between.
    let tokens = data.train.len() + data.validation.len() + data.test.len();
    let memory_bytes = checked_memory(
        PROCESS_BYTES + BYTES_PER_TOKEN * tokens as f64 + 1.1 * model,
        given,
        "give a smaller `--hidden-size`, `--num-layers`, `--batch` or `--bptt`",
    )?;
    let sha256 = data.sha256.clone();
    Ok(Prepared {
        steps_per_epoch: plan.steps_per_epoch(),
        sha256,
        notes,
        memory_bytes,
        stdin,
        build: Box::new(move |config, weights| {
            let model = match weights {
                Weights::Drawn => {
                    let mut rng = keyed_rng(config.seed, Purpose::Weights, 0);
                    let mut model = LanguageModel::new(&config.model, vocab_size, &mut rng);
                    if let Some(vectors) = &vectors {
                        from_vectors(vectors, &data.vocabulary, &mut model.embedding.weight);
                    }
                    model
                }
                Weights::Zero => LanguageModel::zeros(&config.model, vocab_size),
            };
            let data = LanguageModelData {
                vocabulary: data.vocabulary,
                train: data.train,
                validation: data.validation,
                test: data.test,
            };
            Box::new(LanguageModelTask::new(model, data, plan, config.seed))
        }),
    })
}

/// What reading and splitting the data did that a user should know.
fn data_notes(data: &LmData) -> Vec<String> {
    let mut notes = Vec::new();
    if data.notes.text.bom {
        notes.push("a byte order mark at the start of the text was left out".into());
    }
    if data.notes.text.crlf > 0 {
        notes.push(format!(
            "{} line ends of the form CRLF were read as LF",
            data.notes.text.crlf
        ));
    }
    if data.notes.no_validation {
        notes.push("the text is too short for a validation part: all of it is learnt from".into());
    }
    if data.notes.no_test {
        notes.push("the text is too short for a test part".into());
    }
    for (part, unknown) in [
        ("validation", data.validation_unknown),
        ("test", data.test_unknown),
    ] {
        if unknown > 0 && data.vocabulary.unknown_id().is_some() {
            notes.push(format!(
                "{unknown} words of the {part} part do not occur in the training part: they are `<unk>`"
            ));
        } else if unknown > 0 {
            notes.push(format!(
                "{unknown} symbols of the {part} part do not occur in the training part and were skipped"
            ));
        }
    }
    if data.vocabulary.len() == 1 {
        notes.push(
            "the training part has one symbol only: there is nothing to predict, and the loss is 0"
                .into(),
        );
    }
    notes
}
