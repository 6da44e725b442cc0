use refrain_kernels::Compute;
use serde_json::{Map, Value};

use super::{
    PROCESS_BYTES, Prepared, RunTask, Weights, checked_memory, read_stdin, said_of, settle_augment,
    word_vectors,
};
use crate::checkpoint::ModelFile;
use crate::data::demo;
use crate::data::encoding::{EncodedExamples, Encoding, EncodingOptions, Fitted, Input};
use crate::data::labelled::{PartSources, Parts, Raw, RawOptions, read_parts};
use crate::data::table::{LabelledText, TableColumns};
use crate::error::Result;
use crate::metrics::ClassReport;
use crate::models::{Labeller, falling_order};
use crate::nn::Parameters as _;
use crate::run::Given;
use crate::run::graph::Graph;
use crate::run::labels::{labeller_file, output_of};
use crate::run::settings::{ClassWeights, Resolved, Task as TaskName};
use crate::run::start::from_vectors;
use crate::train::{
    LabelData, LabelPlan, LabelTask, Purpose, Score, balanced_weights, keyed_rng, scored_rows,
};

impl RunTask for LabelTask {
    fn model_file(&self, config: &Resolved, trained: Map<String, Value>) -> ModelFile {
        labeller_file(self.model(), &self.data().encoding, config, trained)
    }

    fn graph(&self) -> Graph {
        Graph::of_labeller(self.model(), self.data().encoding.per_step)
    }

    fn has_test(&self) -> bool {
        self.data().test.is_some()
    }

    fn test(&mut self, compute: &Compute) -> Option<Score> {
        self.score_test(compute).map(|score| score.score())
    }

    fn class_report(&mut self, compute: &Compute) -> Option<ClassReport> {
        let score = if self.has_test() {
            self.score_test(compute)
        } else {
            self.score_validation(compute)
        }?;
        let labels = self.data().encoding.labels.iter().cloned();
        Some(ClassReport::new(labels, score.confusion))
    }
}

fn read(config: &Resolved, per_step: bool, max_bytes: u64, stdin: Option<&[u8]>) -> Result<Parts> {
    let options = RawOptions {
        per_step,
        labelled: true,
        format: config.format,
        columns: TableColumns {
            text: config.text_column.clone(),
            label: config.label_column.clone(),
        },
        on_bad_row: config.on_bad_row,
        max_bytes,
    };
    let sources = PartSources {
        paths: &config.data,
        validation: &config.validation,
        test: &config.test,
        seed: config.seed,
    };
    read_parts(sources, &options, || demo_data(per_step), stdin)
}

/// The built-in data.
fn demo_data(per_step: bool) -> Raw {
    if per_step {
        let clips = demo::clips();
        let all = (0..clips.count).collect();
        Raw::Arrays(std::sync::Arc::new(clips), all)
    } else {
        let rows = demo::reviews().into_iter().zip(1..);
        let row = |((text, label), line): ((String, &str), u64)| LabelledText {
            text,
            label: Some(label.into()),
            line,
        };
        Raw::Texts(rows.map(row).collect())
    }
}

/// Writes what the data decided into the settings, so that a resume reads it alike.
fn settle(config: &mut Resolved, encoding: &Encoding) {
    match &encoding.input {
        Input::Texts(vocabulary) => config.tokens = Some(vocabulary.kind()),
        Input::Words(_, alphabet) => config.characters = Some(alphabet.is_some()),
        Input::Numbers(numbers) if numbers.frames => config.center_clips = Some(numbers.center),
        Input::Numbers(_) => {}
    }
}

/// Reads the data, makes the encoding of the training part, estimates the memory.
pub(super) fn prepare(
    config: &mut Resolved,
    given: &mut Given<'_>,
    weights: Weights,
) -> Result<Prepared> {
    let per_step = config.task == TaskName::Tag;
    let max_bytes = given
        .available_bytes
        .map_or(crate::data::text::DEFAULT_MAX_BYTES, |bytes| bytes / 4);
    let stdin = read_stdin(config, given, max_bytes)?;
    let parts = read(config, per_step, max_bytes, stdin.as_deref())?;
    let name = match &config.data[..] {
        [] => "the built-in data".to_owned(),
        [path, ..] => path.display().to_string(),
    };
    let Fitted {
        encoding,
        word_counts,
        notes: fit_notes,
    } = Encoding::fit(
        &parts.train,
        &name,
        EncodingOptions {
            per_step,
            tokens: config.tokens,
            words: config.words,
            characters: config.characters,
            center_clips: config.center_clips,
            max_length: config.max_length,
        },
    )?;
    settle(config, &encoding);
    settle_augment(config, &encoding.shape(), false)?;
    let vectors = match weights {
        Weights::Drawn => word_vectors(config, encoding.words())?,
        Weights::Zero => None,
    };
    let mut notes = parts.notes;
    notes.extend(fit_notes);
    if let Some(vectors) = &vectors {
        notes.push(said_of(vectors, encoding.vocabulary_size()));
    }
    let mut encode = |part: &Raw, name: &str, what: &str| -> Result<_> {
        let EncodedExamples {
            examples,
            unknown,
            cut,
        } = encoding.encode(part, name, true)?;
        if unknown > 0 {
            notes.push(format!(
                "{unknown} tokens of the {what} part do not occur in the training part"
            ));
        }
        if cut > 0 {
            notes.push(format!(
                "{cut} sequences of the {what} part were cut to `max-length`"
            ));
        }
        Ok(examples)
    };
    let train = encode(&parts.train, &name, "training")?;
    let validation = parts.validation.as_ref();
    let validation = validation
        .map(|(raw, name)| encode(raw, name, "validation"))
        .transpose()?;
    let test = parts.test.as_ref();
    let test = test
        .map(|(raw, name)| encode(raw, name, "test"))
        .transpose()?;
    let class_weights = match config.class_weights {
        ClassWeights::None => Vec::new(),
        ClassWeights::Balanced => balanced_weights(&train, encoding.labels.len()),
    };
    let unknown = match &encoding.input {
        Input::Texts(vocabulary) | Input::Words(vocabulary, _) => vocabulary.unknown_id(),
        Input::Numbers(_) => None,
    };
    let data = LabelData {
        encoding,
        train,
        validation,
        test,
        class_weights,
        words: word_counts.zip(unknown),
    };
    let memory_bytes = memory(config, &data, given)?;
    let steps_per_epoch = data.train.len().div_ceil(config.batch) as u64;
    Ok(Prepared {
        steps_per_epoch,
        sha256: parts.sha256,
        notes,
        memory_bytes,
        stdin,
        build: Box::new(move |config, weights| {
            let (shape, output) = (data.encoding.shape(), output_of(config.task));
            let classes = data.encoding.labels.len();
            let model = match weights {
                Weights::Drawn => {
                    let mut rng = keyed_rng(config.seed, Purpose::Weights, 0);
                    let mut model = Labeller::new(&config.model, &shape, output, classes, &mut rng);
                    if let (Some(vectors), Some(words)) = (&vectors, data.encoding.words()) {
                        model.visit_mut(&mut |parameter| {
                            if parameter.name == "embedding.weight" {
                                from_vectors(vectors, words, parameter);
                            }
                        });
                    }
                    model
                }
                Weights::Zero => Labeller::zeros(&config.model, &shape, output, classes),
            };
            let plan = LabelPlan {
                name: config.task.name(),
                batch: config.batch,
                seed: config.seed,
                augment: config.augment == Some(true),
            };
            Box::new(LabelTask::new(model, data, plan))
        }),
    })
}

/// What a run takes: the process, the data, the model with the largest batch that there may be.
fn memory(config: &Resolved, data: &LabelData, given: &Given<'_>) -> Result<u64> {
    let lengths = data.train.lengths();
    let longest = falling_order(lengths).into_iter().take(config.batch);
    let trained: usize = longest.map(|at| lengths[at]).sum();
    let scored = [&data.validation, &data.test].into_iter().flatten();
    let scored =
        scored.map(|part| scored_rows(part).max(part.lengths().iter().copied().max().unwrap_or(0)));
    // A batch that is scored keeps no gradients, so this is more than it takes.
    let rows = scored.max().unwrap_or(0).max(trained);
    let model = config.model.labeller_memory(
        &data.encoding.shape(),
        output_of(config.task),
        data.encoding.labels.len(),
        rows,
    );
    let parts = [
        Some(&data.train),
        data.validation.as_ref(),
        data.test.as_ref(),
    ];
    let examples: u64 = parts.into_iter().flatten().map(|part| part.bytes()).sum();
    let arrays: u64 = data.train.shared_bytes()
        + [&data.validation, &data.test]
            .into_iter()
            .flatten()
            .filter(|part| !part.shares_with(&data.train))
            .map(|part| part.shared_bytes())
            .sum::<u64>();
    checked_memory(
        PROCESS_BYTES + examples as f64 + arrays as f64 + 1.1 * model,
        given,
        "give a smaller `--hidden-size`, `--num-layers` or `--batch`, or `--max-length` for long sequences",
    )
}
