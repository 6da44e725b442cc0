//! What is to be predicted, read by a thread of its own, so that an answer never waits for the next input.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use refrain::data::conll::{SentenceFormat, SentenceOptions, SentenceReader, TaggedSentence};
use refrain::data::encoding::Input;
use refrain::data::labelled::{Raw, RawOptions, read_raw};
use refrain::data::rows::MAX_LINE_BYTES;
use refrain::data::table::{LabelledText, TableColumns, TableFormat, TableOptions, TableReader};
use refrain::data::{Arrays, Encoding, Format, OnBadRow, Values, pictures, source};

use crate::args::PredictArgs;
use crate::errors::failure;

/// Inputs that are read ahead, and answered together where they are there.
const AHEAD: usize = 64;

/// One input.
#[derive(Debug)]
pub(super) enum Item {
    /// A text.
    Text(LabelledText),
    /// A sentence of tokens.
    Sentence(TaggedSentence),
    /// An example of an array.
    Array(Arc<Arrays>, usize),
    /// A picture of a shape.
    Picture(Vec<usize>, Vec<u8>),
}

impl Item {
    /// Adds it to what is predicted together; gives its tokens.
    fn push(self, raw: &mut Option<Raw>) -> Vec<String> {
        match (self, raw) {
            (Self::Text(text), Some(Raw::Texts(texts))) => texts.push(text),
            (Self::Text(text), raw) => *raw = Some(Raw::Texts(vec![text])),
            (Self::Sentence(sentence), raw) => {
                let tokens = sentence.tokens.clone();
                match raw {
                    Some(Raw::Sentences(sentences)) => sentences.push(sentence),
                    _ => *raw = Some(Raw::Sentences(vec![sentence])),
                }
                return tokens;
            }
            (Self::Array(_, at), Some(Raw::Arrays(_, chosen))) => chosen.push(at),
            (Self::Array(arrays, at), raw) => *raw = Some(Raw::Arrays(arrays, vec![at])),
            (Self::Picture(_, pixels), Some(Raw::Arrays(arrays, chosen))) => {
                // Made below and shared with nobody.
                if let Some(arrays) = Arc::get_mut(arrays)
                    && let Values::U8(values) = &mut arrays.values
                {
                    values.extend(pixels);
                    chosen.push(arrays.count);
                    arrays.count += 1;
                }
            }
            (Self::Picture(shape, pixels), raw) => {
                *raw = Some(Raw::Arrays(Arc::new(one_picture(&shape, pixels)), vec![0]));
            }
        }
        Vec::new()
    }
}

type Given = Result<Item, refrain::Error>;

/// Inputs as they come.
pub(super) struct Inputs {
    name: String,
    receiver: Receiver<Given>,
    /// The reading thread; it ends with its input, or when nobody listens.
    reader: JoinHandle<Result<(), refrain::Error>>,
}

/// Where inputs come from.
struct Source {
    path: Option<PathBuf>,
    name: String,
    format: Option<Format>,
    columns: TableColumns,
    max_bytes: u64,
}

impl Source {
    fn reader(&self) -> Result<Box<dyn Read + Send>, refrain::Error> {
        match &self.path {
            Some(path) => Ok(Box::new(source::open(path)?)),
            None => Ok(Box::new(std::io::stdin())),
        }
    }

    /// The name with the ending that tells the format.
    fn ending(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new("-"))
    }
}

impl Inputs {
    /// Opens what the arguments name, for the model.
    pub(super) fn open(
        args: &PredictArgs,
        encoding: &Encoding,
        available_bytes: Option<u64>,
    ) -> anyhow::Result<Self> {
        let path = args.file.clone().filter(|path| path.as_os_str() != "-");
        let name = path.as_ref().map_or_else(
            || "standard input".into(),
            |path| path.display().to_string(),
        );
        if path.as_ref().is_some_and(|path| !path.exists()) {
            return Err(failure(
                format!("there is no `{name}`"),
                "name a file of inputs, or leave it out for standard input",
            ));
        }
        let source = Source {
            path,
            name: name.clone(),
            format: args.format,
            columns: TableColumns {
                text: args.text_column.clone(),
                label: None,
            },
            max_bytes: available_bytes.map_or(1 << 32, |bytes| bytes / 4),
        };
        let (sender, receiver) = sync_channel(AHEAD);
        let per_step = encoding.per_step;
        let input = encoding.input.clone();
        let reader = std::thread::spawn(move || match input {
            Input::Texts(_) => texts(&source, &sender),
            Input::Words(..) => sentences(&source, &sender),
            Input::Numbers(numbers) => arrays(&source, per_step, &numbers.shape, &sender),
        });
        Ok(Self {
            name,
            receiver,
            reader,
        })
    }

    /// Calls `work` with the inputs that are there, as they come.
    pub(super) fn each_batch(
        self,
        mut work: impl FnMut(Vec<Given>, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let Ok(first) = self.receiver.recv() {
            let mut items = vec![first];
            while items.len() < AHEAD
                && let Ok(item) = self.receiver.try_recv()
            {
                items.push(item);
            }
            work(items, &self.name)?;
        }
        match self.reader.join() {
            Ok(ended) => Ok(ended?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Whether somebody still listens.
fn send(sender: &SyncSender<Given>, item: Given) -> bool {
    sender.send(item).is_ok()
}

/// Rows of a table, or lines of text where neither flag nor ending says more.
fn texts(source: &Source, sender: &SyncSender<Given>) -> Result<(), refrain::Error> {
    let format = match source.format {
        Some(format) => format.table(),
        None => TableFormat::from_ending(source.ending()).or(Some(TableFormat::Lines)),
    };
    let options = TableOptions {
        format,
        columns: source.columns.clone(),
        on_bad_row: OnBadRow::Error,
        max_bytes: u64::MAX,
        sample_rows: if source.path.is_some() { 1000 } else { 1 },
        ..TableOptions::unlabelled()
    };
    let mut reader = TableReader::new(source.reader()?, &source.name, &options)?;
    for row in &mut reader {
        if !send(sender, row.map(Item::Text)) {
            break;
        }
    }
    Ok(())
}

/// Sentences of a file, or lines of tokens where neither flag nor ending says more.
fn sentences(source: &Source, sender: &SyncSender<Given>) -> Result<(), refrain::Error> {
    let by_ending = || match SentenceFormat::from_ending(source.ending()) {
        Some(SentenceFormat::Conll) if source.ending().extension().is_some_and(|e| e == "txt") => {
            None
        }
        format => format,
    };
    let format = match source.format {
        Some(Format::Conll | Format::Tsv) => Some(SentenceFormat::Conll),
        Some(Format::Conllu) => Some(SentenceFormat::Conllu),
        Some(_) => Some(SentenceFormat::Lines),
        None => by_ending().or(Some(SentenceFormat::Lines)),
    };
    let options = SentenceOptions {
        format,
        columns: source.columns.clone(),
        max_bytes: u64::MAX,
        ..SentenceOptions::unlabelled()
    };
    let mut reader = SentenceReader::new(source.reader()?, &source.name, &options)?;
    for sentence in &mut reader {
        if !send(sender, sentence.map(Item::Sentence)) {
            break;
        }
    }
    Ok(())
}

/// Examples of a file of arrays or a folder; else each line is the path of a picture.
fn arrays(
    source: &Source,
    per_step: bool,
    shape: &[usize],
    sender: &SyncSender<Given>,
) -> Result<(), refrain::Error> {
    let is_array = |path: &Path| {
        path.is_dir()
            || matches!(
                source.format,
                Some(Format::Npz | Format::Idx | Format::Pictures)
            )
            || path.extension().is_some_and(|ending| ending == "npz")
            || refrain::data::IdxPair::is_named_so(path)
    };
    let Some(path) = source.path.clone().filter(|path| is_array(path)) else {
        return picture_paths(source, shape, sender);
    };
    if let [1, ..] = shape {
        // A sequence of one step: a picture or a vector as it is.
        let arrays = Arc::new(Arrays::open_frames(&path, source.max_bytes)?);
        for at in 0..arrays.count {
            if !send(sender, Ok(Item::Array(Arc::clone(&arrays), at))) {
                break;
            }
        }
        return Ok(());
    }
    let options = RawOptions {
        per_step,
        labelled: false,
        format: source.format,
        columns: TableColumns::default(),
        on_bad_row: OnBadRow::Error,
        max_bytes: source.max_bytes,
    };
    if let Raw::Arrays(arrays, chosen) = read_raw(&[path], &options, None)?.raw {
        for at in chosen {
            if !send(sender, Ok(Item::Array(Arc::clone(&arrays), at))) {
                break;
            }
        }
    }
    Ok(())
}

/// Pictures by their paths, one a line.
fn picture_paths(
    source: &Source,
    shape: &[usize],
    sender: &SyncSender<Given>,
) -> Result<(), refrain::Error> {
    let (&[height, width, channels @ (1 | 3)] | &[1, height, width, channels @ (1 | 3)]) = shape
    else {
        return Err(refrain::Error::Unusable {
            problem: format!("`{}` is no file of arrays", source.name),
            hint:
                "this model reads arrays: give an `.npz` as `refrain train` takes, without labels"
                    .into(),
        });
    };
    let mut reader = BufReader::new(source.reader()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES as u64)
            .read_until(b'\n', &mut line)
            .map_err(|error| refrain::Error::Io {
                action: "read",
                path: source.ending().into(),
                source: error,
            })?;
        if read == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let path = PathBuf::from(text.trim_end_matches(['\n', '\r']));
        let item = pictures::read_picture(&path, height, width, channels)
            .map(|pixels| Item::Picture(shape.to_vec(), pixels));
        if !send(sender, item) {
            return Ok(());
        }
    }
}

fn one_picture(shape: &[usize], pixels: Vec<u8>) -> Arrays {
    Arrays {
        shape: shape.to_vec(),
        count: 1,
        values: Values::U8(pixels),
        lengths: None,
        labels: None,
        targets: None,
        label_names: Vec::new(),
        sha256: String::new(),
        notes: Vec::new(),
    }
}

/// The good items as one piece of data, and for each item its tokens or what is wrong with it.
pub(super) fn joined(items: Vec<Given>) -> (Vec<Result<Vec<String>, refrain::Error>>, Option<Raw>) {
    let mut raw = None;
    let given = items
        .into_iter()
        .map(|item| item.map(|item| item.push(&mut raw)))
        .collect();
    (given, raw)
}
