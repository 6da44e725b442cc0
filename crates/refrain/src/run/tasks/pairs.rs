use refrain_kernels::Compute;
use serde_json::{Map, Value};

use super::{
    PROCESS_BYTES, Prepared, RunTask, Weights, checked_memory, read_stdin, settle_augment,
};
use crate::checkpoint::ModelFile;
use crate::data::captions::{CaptionOptions, read_caption_parts};
use crate::data::pair_examples::{PairEncodingOptions, check_fixed, choose_kind};
use crate::data::pairs::{PairOptions, Referenced, TextPair, read_pair_parts};
use crate::data::parts::{PartSources, Parts};
use crate::data::{PairEncoding, PairExamples, RawPairs, TokenKind, demo};
use crate::error::{Error, Result};
use crate::models::EncoderDecoder;
use crate::run::Given;
use crate::run::graph::Graph;
use crate::run::settings::{Resolved, Task as TaskName};
use crate::run::writers::{DEFAULT_BEAM, longest_target, output_of, writer_file};
use crate::train::{PairData, PairPlan, PairTask, Purpose, Score, Wording, keyed_rng};

/// Rows over time of a batch that is only scored.
const SCORED_ROWS: usize = 4096;

impl RunTask for PairTask {
    fn model_file(&self, config: &Resolved, trained: Map<String, Value>) -> ModelFile {
        writer_file(self.model(), &self.data().encoding, config, trained)
    }

    fn graph(&self) -> Graph {
        Graph::of_writer(self.model())
    }

    fn has_test(&self) -> bool {
        self.data().test.is_some()
    }

    fn test(&mut self, compute: &Compute) -> Option<Score> {
        self.score_test(compute).map(|score| score.score())
    }
}

fn read(config: &Resolved, max_bytes: u64, stdin: Option<&[u8]>) -> Result<Parts<RawPairs>> {
    let sources = PartSources {
        paths: &config.data,
        validation: &config.validation,
        test: &config.test,
        seed: config.seed,
    };
    if config.task == TaskName::Caption {
        let options = CaptionOptions {
            images: config.images.clone(),
            format: config.format,
            source_column: config.source_column.clone(),
            target_column: config.target_column.clone(),
            on_bad_row: config.on_bad_row,
            max_bytes,
            shape: None,
        };
        if config.data.is_empty() && config.images.is_some() {
            return Err(Error::Setting {
                name: "images".into(),
                found: "images without captions".into(),
                expected: "a table of pictures and sentences beside it".into(),
                hint: "name the table: `refrain train caption captions.tsv --images FOLDER`".into(),
            });
        }
        let parts = read_caption_parts(sources, &options, stdin)?;
        return Ok(map_parts(parts, RawPairs::Pictures));
    }
    let options = PairOptions {
        format: config.format,
        source_column: config.source_column.clone(),
        target_column: config.target_column.clone(),
        on_bad_row: config.on_bad_row,
        max_bytes,
    };
    let demo = || {
        let pair = |((source, target), line)| TextPair {
            source,
            target,
            line,
        };
        demo::dates().into_iter().zip(1..).map(pair).collect()
    };
    let parts = read_pair_parts(sources, &options, demo, stdin)?;
    let referenced = |pairs: Vec<TextPair>| {
        let row = |pair: TextPair| Referenced {
            source: pair.source,
            references: vec![pair.target],
            line: pair.line,
        };
        RawPairs::Texts(pairs.into_iter().map(row).collect())
    };
    Ok(map_parts(parts, referenced))
}

fn map_parts<T, U>(parts: Parts<T>, make: impl Fn(T) -> U) -> Parts<U> {
    let named = |(part, name)| (make(part), name);
    Parts {
        train: make(parts.train),
        validation: parts.validation.map(named),
        test: parts.test.map(named),
        sha256: parts.sha256,
        notes: parts.notes,
    }
}

/// Encodes a part; notes say what was not known and what was cut.
fn encode(
    encoding: &PairEncoding,
    (raw, name): (&RawPairs, &str),
    what: &str,
    notes: &mut Vec<String>,
) -> Result<PairExamples> {
    let encoded = encoding.encode(raw, name)?;
    for (unknown, side) in [
        (encoded.unknown_sources, "sources"),
        (encoded.unknown_targets, "targets"),
    ] {
        if unknown > 0 {
            notes.push(format!(
                "{unknown} tokens of the {side} of the {what} part do not occur in the training part"
            ));
        }
    }
    if encoded.cut > 0 {
        notes.push(format!(
            "{} sources of the {what} part were cut to `max-length`",
            encoded.cut
        ));
    }
    Ok(encoded.examples)
}

/// Leaves out the pairs of the training part that are too long: cut, they would be learnt as if they were whole.
fn leave_out_longer(
    train: &mut PairExamples,
    name: &str,
    max_length: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let most = max_length.unwrap_or(usize::MAX);
    let left_out = train.leave_out_longer(most);
    if left_out > 0 {
        notes.push(format!(
            "{left_out} pairs of the training part are longer than `max-length`, {most} tokens, and are left out"
        ));
    }
    if train.is_empty() {
        return Err(Error::Unusable {
            problem: format!("no pair of the training part of `{name}` can be used"),
            hint: "give shorter sentences, or a greater `--max-length`".into(),
        });
    }
    Ok(())
}

/// Reads the data, makes the encoding of the training part, estimates the memory.
pub(super) fn prepare(
    config: &mut Resolved,
    given: &mut Given<'_>,
    _weights: Weights,
) -> Result<Prepared> {
    let max_bytes = given
        .available_bytes
        .map_or(crate::data::text::DEFAULT_MAX_BYTES, |bytes| bytes / 4);
    let stdin = read_stdin(config, given, max_bytes)?;
    let parts = read(config, max_bytes, stdin.as_deref())?;
    let name = match &config.data[..] {
        [] => "the built-in data".to_owned(),
        [path, ..] => path.display().to_string(),
    };
    if let RawPairs::Pictures(captions) = &parts.train {
        check_fixed(&captions.pictures, &name)?;
    }
    let mut notes = parts.notes.clone();
    let kind = config.tokens.unwrap_or_else(|| {
        let kind = choose_kind(&parts.train);
        if kind != TokenKind::Word {
            notes.push(format!(
                "`tokens` is `{kind}`, chosen by the texts of the training part"
            ));
        }
        kind
    });
    // Kept, so that a resume learns the same vocabulary.
    config.tokens = Some(kind);
    let options = PairEncodingOptions {
        tokens: kind,
        words: config.words,
        shared: config.shared_vocabulary,
        max_length: None,
    };
    let (mut encoding, counts) = PairEncoding::fit(&parts.train, options)?;
    settle_augment(config, &encoding.shape(), true)?;
    let max_length = config.max_length;
    let train = (&parts.train, name.as_str());
    let mut train = encode(&encoding, train, "training", &mut notes)?;
    leave_out_longer(&mut train, &name, max_length, &mut notes)?;
    // What is scored is read as `predict` and `evaluate` will read.
    encoding.source.max_length = max_length;
    let mut scored = |part: &Option<(RawPairs, String)>, what: &str| {
        let part = part.as_ref();
        part.map(|(raw, name)| encode(&encoding, (raw, name), what, &mut notes))
            .transpose()
    };
    let validation = scored(&parts.validation, "validation")?;
    let test = scored(&parts.test, "test")?;
    encoding.longest_target = train.longest_target();
    let unknown = encoding.source.words().and_then(|words| words.unknown_id());
    let data = PairData {
        encoding,
        train,
        validation,
        test,
        words: counts.zip(unknown),
    };
    let memory_bytes = memory(config, &data, &parts.train, given)?;
    let steps_per_epoch = data.train.len().div_ceil(config.batch) as u64;
    Ok(Prepared {
        steps_per_epoch,
        sha256: parts.sha256,
        notes,
        memory_bytes,
        stdin,
        build: Box::new(move |config, weights| {
            let (shape, output) = (data.encoding.shape(), output_of(config.task));
            let size = data.encoding.target.len();
            let model = match weights {
                Weights::Drawn => {
                    let mut rng = keyed_rng(config.seed, Purpose::Weights, 0);
                    EncoderDecoder::new(&config.model, &shape, output, size, &mut rng)
                }
                Weights::Zero => EncoderDecoder::zeros(&config.model, &shape, output, size),
            };
            let plan = PairPlan {
                name: config.task.name(),
                batch: config.batch,
                seed: config.seed,
                wording: Wording {
                    beam: DEFAULT_BEAM,
                    longest: longest_target(&data.encoding),
                },
                augment: config.augment == Some(true),
            };
            Box::new(PairTask::new(model, data, plan))
        }),
    })
}

/// What a run takes: the process, the data, the model with the largest batch that there may be.
fn memory(config: &Resolved, data: &PairData, raw: &RawPairs, given: &Given<'_>) -> Result<u64> {
    let lengths = |side: fn((usize, usize)) -> usize| -> Vec<usize> {
        (0..data.train.len())
            .map(|pair| side(data.train.lengths(pair)))
            .collect()
    };
    let largest = |mut lengths: Vec<usize>| -> usize {
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.iter().take(config.batch).sum()
    };
    // One target by itself may be longer than a batch that is scored.
    let scored = [&data.validation, &data.test].into_iter().flatten();
    let longest_scored = scored.map(PairExamples::longest_target).max().unwrap_or(0);
    let rows = (
        largest(lengths(|pair| pair.0)).max(SCORED_ROWS),
        largest(lengths(|pair| pair.1))
            .max(SCORED_ROWS)
            .max(longest_scored),
    );
    let model = config.model.encoder_decoder_memory(
        &data.encoding.shape(),
        data.encoding.target.len(),
        rows,
    );
    let parts = [
        Some(&data.train),
        data.validation.as_ref(),
        data.test.as_ref(),
    ];
    let examples: u64 = parts.into_iter().flatten().map(|part| part.bytes()).sum();
    let pictures = match raw {
        RawPairs::Pictures(_) => data.train.sources().shared_bytes(),
        RawPairs::Texts(_) => 0,
    };
    checked_memory(
        PROCESS_BYTES + 2.0 * examples as f64 + pictures as f64 + 1.1 * model,
        given,
        "give a smaller `--hidden-size`, `--num-layers` or `--batch`, or `--max-length` for long sentences",
    )
}
