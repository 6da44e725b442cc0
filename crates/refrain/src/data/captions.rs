//! Pictures and sentences about them: a table of both, and the pictures in a folder or in an `.npz`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::arrays::{Arrays, Parts as ArrayParts, Values};
use super::labelled::reader;
use super::parts::{self, Divide, PartSources, Parts, ReadData};
use super::pictures::{self, List};
use super::rows::{BadRows, Problem, all_bad, shown};
use super::table::{Roles, TableColumns, TableFormat, TableOptions, read_table};
use super::{Format, OnBadRow, Portion, demo};
use crate::error::{Error, Result};

pub use super::text::DEFAULT_MAX_BYTES;

/// A picture and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captioned {
    /// Which of the pictures it is.
    pub picture: usize,
    /// The sentences, at least one, none of them empty.
    pub sentences: Vec<String>,
    /// The line of the first of them, from 1.
    pub line: u64,
}

/// Pictures and sentences about some of them.
#[derive(Clone, Debug)]
pub struct Captions {
    /// The pictures, (N, 1, H, W, C), or vectors, (N, 1, F): sequences of one step.
    pub pictures: Arc<Arrays>,
    /// The sentences by picture, in the order in which the pictures are first named.
    pub captions: Vec<Captioned>,
}

impl Captions {
    /// The pictures that are named, by their places in [`pictures`](Self::pictures).
    #[must_use]
    pub fn chosen(&self) -> Vec<usize> {
        self.captions.iter().map(|of| of.picture).collect()
    }
}

impl Divide for Captions {
    fn count(&self) -> usize {
        self.captions.len()
    }

    fn divide(self, held_out: &[bool]) -> (Self, Self) {
        let (kept, out) = self.captions.divide(held_out);
        let with = |captions| Self {
            pictures: Arc::clone(&self.pictures),
            captions,
        };
        (with(kept), with(out))
    }
}

/// How captions are read.
#[derive(Clone, Debug)]
pub struct CaptionOptions {
    /// The folder that pictures' paths start from, or an `.npz` whose rows they number from 0.
    pub images: Option<PathBuf>,
    /// The format of the table; `None` is as the ending says.
    pub format: Option<Format>,
    /// The column of the picture: a name or a number from 1. `None` is `picture` or `image`, else the first one.
    pub source_column: Option<String>,
    /// The column of the sentence. `None` is `sentence` or `caption`, else the second one.
    pub target_column: Option<String>,
    /// What happens to a row that cannot be used, or whose picture cannot.
    pub on_bad_row: OnBadRow,
    /// The most memory that the table may take, and the pictures.
    pub max_bytes: u64,
    /// To what (height, width, channels) the pictures of a folder are brought; `None` is what suits most of them, as
    /// [`pictures::open_folder`] does.
    pub shape: Option<[usize; 3]>,
}

impl Default for CaptionOptions {
    /// All by the endings and names, errors for bad rows, [`DEFAULT_MAX_BYTES`].
    fn default() -> Self {
        Self {
            images: None,
            format: None,
            source_column: None,
            target_column: None,
            on_bad_row: OnBadRow::Error,
            max_bytes: DEFAULT_MAX_BYTES,
            shape: None,
        }
    }
}

impl CaptionOptions {
    /// The same for pictures of the size that others have.
    fn shaped_as(&self, pictures: &Arrays) -> Self {
        let mut options = self.clone();
        // Frames are (1, H, W, C); vectors need no size.
        if let [_, height, width, channels] = pictures.shape[..] {
            options.shape = Some([height, width, channels]);
        }
        options
    }
}

/// Where pictures are found.
enum Images {
    Rows(Arc<Arrays>, String),
    Folder(PathBuf),
}

impl Images {
    fn open(options: &CaptionOptions) -> Result<Self> {
        let unset = |found: String| {
            Error::Setting {
            name: "images".into(),
            found,
            expected: "a folder of pictures, or an `.npz`".into(),
            hint: "the captions name pictures by their paths in the folder, or number the rows of `inputs` from 0".into(),
        }
        };
        let path = options
            .images
            .as_ref()
            .ok_or_else(|| unset("not given".into()))?;
        if path.is_dir() {
            return Ok(Self::Folder(path.clone()));
        }
        if super::rows::ending(path).as_deref() != Some("npz") {
            return Err(unset(format!("`{}`", path.display())));
        }
        let arrays = Arrays::open_frames(path, options.max_bytes)?;
        Ok(Self::Rows(Arc::new(arrays), path.display().to_string()))
    }
}

/// Reads tables of pictures and sentences, and the pictures. Several rows of a picture are several sentences about it.
///
/// # Errors
/// [`Error::Io`] where a file cannot be read; [`Error::Data`] with file, line and column for a row that is not text, has an
/// empty side, or names a picture that is not there or cannot be used; [`Error::Setting`] for a column that is not there and
/// for images that are none; [`Error::Unusable`] where nothing is left, or where it takes too much memory.
pub fn read_captions(
    paths: &[PathBuf],
    options: &CaptionOptions,
    stdin: Option<&[u8]>,
) -> Result<ReadData<Captions>> {
    read_with(paths, &Images::open(options)?, options, stdin)
}

/// Reads captions and their parts, over the same images. Fractions are held back at random (by the seed), by picture.
///
/// Without paths it is [`demo::shapes`], of which the test part, where none is asked for, is what was held out of it.
///
/// # Errors
/// As [`read_captions`]; [`Error::Unusable`] where nothing would be left to learn from.
pub fn read_caption_parts(
    sources: PartSources<'_>,
    options: &CaptionOptions,
    stdin: Option<&[u8]>,
) -> Result<Parts<Captions>> {
    if sources.paths.is_empty() {
        return demo_parts(sources, options);
    }
    let images = Images::open(options)?;
    let read = read_with(sources.paths, &images, options, stdin)?;
    let options = options.shaped_as(&read.raw.pictures);
    parts::in_parts(sources, read, |path| {
        read_with(&[path.to_owned()], &images, &options, None)
    })
}

fn demo_parts(sources: PartSources<'_>, options: &CaptionOptions) -> Result<Parts<Captions>> {
    let shapes = demo::shapes();
    let pictures = Arc::new(shapes.pictures);
    let of = |captions| Captions {
        pictures: Arc::clone(&pictures),
        captions,
    };
    let read = ReadData::built_in(of(shapes.captions));
    let options = options.shaped_as(&pictures);
    let open = |path: &Path| read_captions(&[path.to_owned()], &options, None);
    let mut parts = parts::in_parts(sources, read, open)?;
    if matches!(sources.test, Portion::None) {
        parts.test = Some((of(shapes.unseen), demo::UNSEEN_SHAPES_NAME.into()));
    }
    Ok(parts)
}

/// A sentence about a picture, as it stands in a table.
struct Row {
    picture: String,
    sentence: String,
    line: u64,
    /// The file, by its place.
    file: usize,
}

/// Rows whose pictures cannot be used.
struct Bad<'a> {
    paths: &'a [PathBuf],
    rows: BadRows,
}

impl Bad<'_> {
    /// A picture that so many rows name, the first of them in a file.
    fn meet(&mut self, problem: Problem, file: usize, rows: usize) -> Result<()> {
        let name = self.paths[file].display().to_string();
        self.rows.meet(problem, &name, rows as u64)
    }

    fn nothing_left(&self) -> Error {
        let names = self.paths.iter().map(|p| format!("`{}`", p.display()));
        let names: Vec<_> = names.collect();
        all_bad(&names.join(", "), self.rows.skipped(), "row")
    }
}

fn read_with(
    paths: &[PathBuf],
    images: &Images,
    options: &CaptionOptions,
    stdin: Option<&[u8]>,
) -> Result<ReadData<Captions>> {
    let table = TableOptions {
        format: format_of(paths, options.format)?,
        columns: TableColumns {
            text: options.source_column.clone(),
            label: options.target_column.clone(),
        },
        roles: Roles::Captions,
        on_bad_row: options.on_bad_row,
        max_bytes: options.max_bytes,
        ..TableOptions::default()
    };
    let read = read_table(paths, &table, reader(stdin))?;
    let files = read.counts.iter().enumerate();
    let files = files.flat_map(|(file, &count)| std::iter::repeat_n(file, count));
    let row = |(row, file): (super::LabelledText, usize)| Row {
        picture: row.text.trim().to_owned(),
        sentence: row.label.unwrap_or_default().trim().to_owned(),
        line: row.line,
        file,
    };
    let rows: Vec<Row> = read.rows.into_iter().zip(files).map(row).collect();
    let mut bad = Bad {
        paths,
        rows: BadRows::new(options.on_bad_row),
    };
    let (raw, notes) = match images {
        Images::Rows(arrays, name) => {
            let captions = numbered(rows, arrays.count, name, &mut bad)?;
            if captions.is_empty() {
                return Err(bad.nothing_left());
            }
            let pictures = Arc::clone(arrays);
            let notes = arrays.notes.clone();
            (Captions { pictures, captions }, notes)
        }
        Images::Folder(folder) => in_folder(rows, folder, options, &mut bad)?,
    };
    let skipped = read.skipped + bad.rows.skipped();
    let mut said = read.notes;
    if said.first_skipped.is_none() {
        said.first_skipped = bad.rows.first().cloned();
    }
    let mut all = said.sentences(skipped, "row");
    all.extend(notes);
    Ok(ReadData {
        sha256: parts::joined(&[read.sha256, raw.pictures.sha256.clone()]),
        raw,
        skipped,
        notes: all,
    })
}

/// The format of the tables; `None` is as the endings say.
fn format_of(paths: &[PathBuf], format: Option<Format>) -> Result<Option<TableFormat>> {
    let table = |format: Format| format.table().filter(|table| table.has_columns());
    if let Some(format) = format {
        return match table(format) {
            Some(table) => Ok(Some(table)),
            None => Err(Error::Setting {
                name: "format".into(),
                found: format!("`{format}`"),
                expected: "a table of pictures and sentences: `tsv`, `csv` or `jsonl`".into(),
                hint: "leave it out where the ending tells the format".into(),
            }),
        };
    }
    match paths
        .iter()
        .find(|path| TableFormat::from_ending(path).is_none())
    {
        None => Ok(None),
        Some(path) => Err(Error::Unusable {
            problem: format!(
                "the name `{}` does not tell the format of its captions",
                path.display()
            ),
            hint: "`--format` does: tsv, csv, jsonl".into(),
        }),
    }
}

/// Sentences by picture, in the order in which pictures are first named; with the file of the first.
fn grouped(
    rows: Vec<Row>,
    mut picture: impl FnMut(&Row) -> Result<Option<usize>>,
) -> Result<Vec<(Captioned, usize)>> {
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut groups: Vec<(Captioned, usize)> = Vec::new();
    for row in rows {
        let Some(picture) = picture(&row)? else {
            continue;
        };
        let place = *places.entry(picture).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((group, _)) => group.sentences.push(row.sentence),
            None => groups.push((
                Captioned {
                    picture,
                    sentences: vec![row.sentence],
                    line: row.line,
                },
                row.file,
            )),
        }
    }
    Ok(groups)
}

/// Of pictures that are rows of an array.
fn numbered(rows: Vec<Row>, count: usize, name: &str, bad: &mut Bad<'_>) -> Result<Vec<Captioned>> {
    let groups = grouped(rows, |row| {
        let number = row.picture.parse::<usize>().ok();
        if let Some(number) = number.filter(|&number| number < count) {
            return Ok(Some(number));
        }
        let problem = Problem::at(row.line, 1)
            .found(shown(&row.picture))
            .expected(format!(
                "a row of `inputs` in `{name}`, a number from 0 to {}",
                count - 1
            ));
        bad.meet(problem, row.file, 1).map(|()| None)
    })?;
    Ok(groups.into_iter().map(|(group, _)| group).collect())
}

/// Of pictures that are files, which are read; with what was resized.
fn in_folder(
    rows: Vec<Row>,
    folder: &Path,
    options: &CaptionOptions,
    bad: &mut Bad<'_>,
) -> Result<(Captions, Vec<String>)> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let groups = grouped(rows, |row| {
        if let Some(&place) = places.get(&row.picture) {
            return Ok(Some(place));
        }
        let is_inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(&row.picture).components().all(is_inside) {
            let problem = Problem::at(row.line, 1)
                .found(shown(&row.picture))
                .expected(format!("a path that stays in `{}`", folder.display()));
            return bad.meet(problem, row.file, 1).map(|()| None);
        }
        places.insert(row.picture.clone(), files.len());
        files.push(folder.join(&row.picture));
        Ok(Some(files.len() - 1))
    })?;
    let name = folder.display().to_string();
    let shape = options.shape;
    let list = pictures::read_list(&files, shape, &name, options.max_bytes, |at, error| {
        let (group, file) = &groups[at];
        let problem = Problem::at(group.line, 1)
            .found(cause(&files[at], &error))
            .expected("a PNG or JPEG picture");
        bad.meet(problem, *file, group.sentences.len())
    })?;
    // Groups and files are in the same order, since both follow the first naming.
    let mut groups: Vec<_> = groups.into_iter().map(|(group, _)| Some(group)).collect();
    let kept = list.kept.iter().enumerate();
    let captions: Vec<Captioned> = kept
        .filter_map(|(picture, &at)| {
            let group = groups[at].take()?;
            Some(Captioned { picture, ..group })
        })
        .collect();
    if captions.is_empty() {
        return Err(bad.nothing_left());
    }
    let notes = list.note.iter().cloned().collect();
    let pictures = Arc::new(frames(list, &name)?);
    Ok((Captions { pictures, captions }, notes))
}

/// What is wrong with a picture, and its path.
fn cause(path: &Path, error: &Error) -> String {
    match error {
        Error::Io { source, .. } => format!("`{}`, which cannot be read: {source}", path.display()),
        // It begins with the path.
        other => other.to_string().replacen("` ", "`, which ", 1),
    }
}

fn frames(list: List, name: &str) -> Result<Arrays> {
    let [height, width, channels] = list.shape;
    let parts = ArrayParts {
        shape: vec![list.kept.len(), 1, height, width, channels],
        values: Values::U8(list.pixels),
        lengths: None,
        labels: None,
        targets: None,
        label_names: Vec::new(),
        notes: Vec::new(),
    };
    parts.check(name)
}

/// Reads pictures to say something about: all brought to the size that a model reads.
///
/// # Shapes
/// `shape` is (1, height, width, channels), as examples of [`Captions::pictures`] have it; so are those of the result.
///
/// # Errors
/// [`Error::Io`] and [`Error::Unusable`] where a file cannot be read or holds no picture, where none is given, where the shape is
/// not that of a picture in 1 or 3 channels, or where they take more than `max_bytes`.
pub fn read_pictures(paths: &[PathBuf], shape: &[usize], max_bytes: u64) -> Result<Arrays> {
    let size = match *shape {
        [1, height, width, channels @ (1 | 3)] if height > 0 && width > 0 => {
            Some([height, width, channels])
        }
        _ => {
            return Err(Error::Unusable {
                problem: format!("files of pictures cannot be brought to the shape {shape:?}"),
                hint: "this model reads arrays: give an `.npz` with `inputs`".into(),
            });
        }
    };
    let list = pictures::read_list(paths, size, "the list", max_bytes, |_, error| Err(error))?;
    frames(list, "the list of pictures")
}
