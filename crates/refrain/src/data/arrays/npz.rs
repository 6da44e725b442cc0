//! `.npz`: a zip archive of arrays.

use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, Header, Wrong};
use super::{Arrays, Parts, Targets, Values};
use crate::data::source::{self, Packing, io_error};
use crate::{Error, Result};

const DAMAGED: &str = "the file is damaged or was cut short; take another copy of it";
const EXAMPLE: &str = "write it by `np.savez(\"data.npz\", inputs=..., labels=...)`";
/// What deflate can make of a byte at most.
const DEFLATE_RATIO: u64 = 1032;
const BUFFER_BYTES: usize = 1 << 16;
/// Names of arrays that a note lists.
const LISTED: usize = 5;

impl Arrays {
    /// Reads an `.npz` file; `.npz.gz` and `.npz.zst` are unpacked first.
    ///
    /// Its arrays are `inputs` (N, T, F), (N, H, W, C) or (N, T, H, W, C), and perhaps `lengths`, `labels`, `targets`,
    /// `label_names`. Of each, the sizes that its header, the archive and the file tell are compared before anything is
    /// allocated. What lies past an example's length is padding: it is set to zero, whatever stands there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be read; [`Error::Unusable`] where it is damaged, where its arrays would take
    /// more than `max_bytes`, and where one is of a wrong shape or type, does not fit the others, or holds a number that
    /// is none: the array and the place in it are named.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        open_parts(path, max_bytes)?.check(&path.display().to_string())
    }

    /// Reads an `.npz` file of pictures or vectors, each as a sequence of one step: what has no time of its own.
    ///
    /// Its array is `inputs` (N, H, W) or (N, H, W, C) for pictures, (N, F) for vectors; others are not used.
    ///
    /// # Shapes
    ///
    /// An example is (1, H, W, C) or (1, F).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_frames(path: &Path, max_bytes: u64) -> Result<Self> {
        let name = path.display().to_string();
        let parts = open_parts(path, max_bytes)?;
        one_step(parts, &name)?.check(&name)
    }

    /// Reads an `.npz` file that is open already; messages name it `name`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn read(reader: impl Read + Seek, name: &str, max_bytes: u64) -> Result<Self> {
        read_parts(reader, name, max_bytes)?.check(name)
    }
}

fn open_parts(path: &Path, max_bytes: u64) -> Result<Parts> {
    let name = path.display().to_string();
    let io = |source| io_error("read", path, source);
    // Before opening: to open a pipe would wait.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(unusable(
            &name,
            "is not a regular file",
            "name an `.npz` file",
        ));
    }
    if Packing::from_ending(path).is_none() {
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(io)?);
        return read_parts(file, &name, max_bytes);
    }
    let mut content = Vec::new();
    let mut unpacked = source::open(path)?.take(max_bytes.saturating_add(1));
    unpacked.read_to_end(&mut content).map_err(io)?;
    if content.len() as u64 > max_bytes {
        let problem = format!("is larger than {max_bytes} bytes when unpacked");
        return Err(unusable(
            &name,
            problem,
            "the arrays in an `.npz` can be packed themselves: `np.savez_compressed`",
        ));
    }
    read_parts(Cursor::new(content), &name, max_bytes)
}

fn read_parts(reader: impl Read + Seek, name: &str, max_bytes: u64) -> Result<Parts> {
    let mut archive = Archive::open(reader, name, max_bytes)?;
    let Some((shape, values)) = archive.numbers("inputs")? else {
        let found = archive.names().join("`, `");
        let problem = format!("has no array `inputs`; it has `{found}`");
        return Err(unusable(name, problem, EXAMPLE));
    };
    let lengths = archive.integers("lengths")?;
    let labels = archive.integers("labels")?;
    let targets = archive.numbers("targets")?.map(|(shape, values)| Targets {
        shape,
        values: match values {
            Values::U8(bytes) => bytes.into_iter().map(f32::from).collect(),
            Values::F32(floats) => floats,
        },
    });
    let label_names = archive.texts("label_names")?;
    let known = ["inputs", "lengths", "labels", "targets", "label_names"];
    let mut others = archive.names();
    others.retain(|other| !known.contains(&other.as_str()));
    let mut notes = Vec::new();
    if !others.is_empty() {
        let more = match others.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        others.truncate(LISTED);
        notes.push(format!(
            "`{name}`: not used: `{}`{more}",
            others.join("`, `")
        ));
    }
    Ok(Parts {
        shape,
        values,
        lengths,
        labels,
        targets,
        label_names: label_names.unwrap_or_default(),
        notes,
    })
}

/// The inputs alone, each as a sequence of one step.
fn one_step(parts: Parts, name: &str) -> Result<Parts> {
    let shape = match parts.shape[..] {
        [n, f] | [n, 1, f] => vec![n, 1, f],
        [n, h, w] => vec![n, 1, h, w, 1],
        [n, h, w, c] | [n, 1, h, w, c] => vec![n, 1, h, w, c],
        ref other => {
            let problem = format!(
                "has `inputs` of shape {}, expected (N, H, W) or (N, H, W, C) for pictures, (N, F) for vectors",
                npy::shown(other)
            );
            return Err(unusable(name, problem, "give one picture or vector a row"));
        }
    };
    let others = [
        ("lengths", parts.lengths.is_some()),
        ("labels", parts.labels.is_some()),
        ("targets", parts.targets.is_some()),
    ];
    let mut notes = parts.notes;
    for (other, _) in others.iter().filter(|(_, is_there)| *is_there) {
        notes.push(format!("`{name}`: not used: `{other}`"));
    }
    Ok(Parts {
        shape,
        values: parts.values,
        lengths: None,
        labels: None,
        targets: None,
        label_names: Vec::new(),
        notes,
    })
}

/// An array as it came, with its whole shape.
type Array<T> = (Vec<usize>, T);

struct Archive<'a, R> {
    zip: ZipArchive<R>,
    name: &'a str,
    file_bytes: u64,
    max_bytes: u64,
    left_bytes: u64,
}

impl<'a, R: Read + Seek> Archive<'a, R> {
    fn open(mut reader: R, name: &'a str, max_bytes: u64) -> Result<Self> {
        let io = |source| io_error("read", Path::new(name), source);
        let mut start = Vec::new();
        reader
            .by_ref()
            .take(6)
            .read_to_end(&mut start)
            .map_err(io)?;
        if !start.starts_with(b"PK") {
            let (what, hint) = match &start[..] {
                [] => ("is empty", EXAMPLE),
                b"\x93NUMPY" => ("is a single array (`.npy`), expected an `.npz`", EXAMPLE),
                _ => ("is no `.npz` file", EXAMPLE),
            };
            return Err(unusable(name, what, hint));
        }
        let file_bytes = reader.seek(std::io::SeekFrom::End(0)).map_err(io)?;
        let zip = ZipArchive::new(reader).map_err(|error| {
            let problem = format!("is no usable `.npz` file: {error}");
            unusable(name, problem, DAMAGED)
        })?;
        if zip.has_duplicate_names() {
            return Err(unusable(name, "holds two arrays of one name", DAMAGED));
        }
        Ok(Self {
            zip,
            name,
            file_bytes,
            max_bytes,
            left_bytes: max_bytes,
        })
    }

    /// The names of all arrays, fit to be shown.
    fn names(&self) -> Vec<String> {
        let names = self.zip.file_names_raw().map(|name| {
            let name = String::from_utf8_lossy(name);
            let name = name.strip_suffix(".npy").unwrap_or(&name);
            name.chars().take(40).flat_map(char::escape_debug).collect()
        });
        names.collect()
    }

    fn numbers(&mut self, array: &str) -> Result<Option<Array<Values>>> {
        self.array(array, 4, |header, reader| {
            Ok(match header.read_numbers(reader)? {
                Ok(bytes) => Values::U8(bytes),
                Err(floats) => Values::F32(floats),
            })
        })
    }

    fn integers(&mut self, array: &str) -> Result<Option<Array<Vec<i64>>>> {
        self.array(array, 8, |header, reader| header.read_integers(reader))
    }

    fn texts(&mut self, array: &str) -> Result<Option<Vec<String>>> {
        let texts = self.array(array, size_of::<String>(), |header, reader| {
            match header.shape[..] {
                [_] => header.read_texts(reader),
                _ => Err(Wrong::new(
                    format!("has shape {}, expected one axis", npy::shown(&header.shape)),
                    "give one name for each class",
                )),
            }
        })?;
        Ok(texts.map(|(_, texts)| texts))
    }

    /// The array of that name, if there is one; `element_bytes` is what an element takes in memory at most.
    fn array<T>(
        &mut self,
        array: &str,
        element_bytes: usize,
        read: impl FnOnce(&Header, &mut dyn Read) -> Result<T, Wrong>,
    ) -> Result<Option<Array<T>>> {
        let Some(index) = self.zip.index_for_name(&format!("{array}.npy")) else {
            return Ok(None);
        };
        let name = self.name;
        let wrong = |wrong: Wrong| {
            let join = if wrong.problem.starts_with('[') {
                ""
            } else {
                " "
            };
            Error::Unusable {
                problem: format!("`{name}`: `{array}`{join}{}", wrong.problem),
                hint: wrong.hint,
            }
        };
        let mut entry = self.zip.by_index(index).map_err(|error| {
            wrong(Wrong::new(
                format!("cannot be unpacked: {error}"),
                "pack it by `np.savez` or `np.savez_compressed`",
            ))
        })?;
        let (packed, unpacked) = (entry.compressed_size(), entry.size());
        let most = match entry.compression() {
            CompressionMethod::Stored => packed,
            _ => packed.saturating_mul(DEFLATE_RATIO),
        };
        if packed > self.file_bytes || unpacked > most {
            let problem = format!(
                "cannot be: {unpacked} bytes of {packed} packed ones, in a file of {}",
                self.file_bytes
            );
            return Err(wrong(Wrong::new(problem, DAMAGED)));
        }
        let header = Header::parse(&mut entry).map_err(wrong)?;
        let expected = header.header_bytes.saturating_add(header.data_bytes);
        if expected != unpacked {
            let problem = format!(
                "has {unpacked} bytes, its header of shape {} says {expected}",
                npy::shown(&header.shape)
            );
            return Err(wrong(Wrong::new(problem, DAMAGED)));
        }
        let needed = (header.elements as u64).saturating_mul(element_bytes as u64);
        let needed = needed.max(header.data_bytes);
        let Some(left) = self.left_bytes.checked_sub(needed) else {
            let problem = format!(
                "needs {needed} bytes of memory, of {} for all arrays {} are left",
                self.max_bytes, self.left_bytes
            );
            let hint = "split the data, or give small numbers as `.astype(\"uint8\")`";
            return Err(wrong(Wrong::new(problem, hint)));
        };
        self.left_bytes = left;
        let values = read(&header, &mut entry).map_err(wrong)?;
        Ok(Some((header.shape, values)))
    }
}

pub(super) fn unusable(name: &str, problem: impl AsRef<str>, hint: impl Into<String>) -> Error {
    Error::Unusable {
        problem: format!("`{name}` {}", problem.as_ref()),
        hint: hint.into(),
    }
}

/// Writes arrays as an `.npz` file, the same bytes whenever the arrays are the same.
///
/// # Examples
///
/// ```
/// use refrain::data::arrays::{Arrays, NpzWriter};
///
/// let mut npz = NpzWriter::new();
/// npz.add_f32("inputs", &[2, 3, 1], &[0.0, 0.5, 1.0, 2.0, 2.5, 3.0])?;
/// npz.add_i64("labels", &[2], &[0, 1])?;
/// let bytes = npz.finish()?;
/// let arrays = Arrays::read(std::io::Cursor::new(bytes), "a.npz", 1 << 20)?;
/// assert_eq!((arrays.count, &arrays.shape[..]), (2, &[3, 1][..]));
/// # Ok::<(), refrain::Error>(())
/// ```
pub struct NpzWriter {
    zip: ZipWriter<Cursor<Vec<u8>>>,
    method: CompressionMethod,
}

impl Default for NpzWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl NpzWriter {
    /// Arrays as they are, as by `np.savez`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            zip: ZipWriter::new(Cursor::new(Vec::new())),
            method: CompressionMethod::Stored,
        }
    }

    /// Packed arrays, as by `np.savez_compressed`.
    #[must_use]
    pub fn compressed() -> Self {
        Self {
            method: CompressionMethod::Deflated,
            ..Self::new()
        }
    }

    /// Adds an array of 32-bit floats.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where the name stands there already.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit the number of values.
    pub fn add_f32(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        self.add(name, "<f4", shape, values, f32::to_le_bytes)
    }

    /// Adds an array of bytes.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    ///
    /// # Panics
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_u8(&mut self, name: &str, shape: &[usize], values: &[u8]) -> Result<()> {
        self.add(name, "|u1", shape, values, |value| [value])
    }

    /// Adds an array of 32-bit integers without a sign.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    ///
    /// # Panics
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_u32(&mut self, name: &str, shape: &[usize], values: &[u32]) -> Result<()> {
        self.add(name, "<u4", shape, values, u32::to_le_bytes)
    }

    /// Adds an array of 64-bit integers.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    ///
    /// # Panics
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_i64(&mut self, name: &str, shape: &[usize], values: &[i64]) -> Result<()> {
        self.add(name, "<i8", shape, values, i64::to_le_bytes)
    }

    /// Adds an array of texts, one axis.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_texts(&mut self, name: &str, texts: &[impl AsRef<str>]) -> Result<()> {
        let lengths = texts.iter().map(|text| text.as_ref().chars().count());
        let width = lengths.max().unwrap_or(0).max(1);
        let points: Vec<u32> = texts
            .iter()
            .flat_map(|text| {
                let points = text.as_ref().chars().map(u32::from);
                points.chain(std::iter::repeat(0)).take(width)
            })
            .collect();
        let header = npy::header(&format!("<U{width}"), &[texts.len()]);
        self.write(name, &header, &points, u32::to_le_bytes)
    }

    /// The file's bytes, for [`write_atomic`](crate::checkpoint::write_atomic).
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where the archive would break a limit of its format.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.zip.finish() {
            Ok(cursor) => Ok(cursor.into_inner()),
            Err(error) => Err(cannot_pack("arrays", &error)),
        }
    }

    fn add<T: Copy, const N: usize>(
        &mut self,
        name: &str,
        descr: &str,
        shape: &[usize],
        values: &[T],
        to_bytes: impl Fn(T) -> [u8; N],
    ) -> Result<()> {
        let elements: usize = shape.iter().product();
        assert_eq!(
            elements,
            values.len(),
            "`{name}` of shape {shape:?} with {} values",
            values.len()
        );
        self.write(name, &npy::header(descr, shape), values, to_bytes)
    }

    fn write<T: Copy, const N: usize>(
        &mut self,
        name: &str,
        header: &[u8],
        values: &[T],
        to_bytes: impl Fn(T) -> [u8; N],
    ) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(self.method)
            .last_modified_time(zip::DateTime::default())
            .large_file(size_of_val(values) >= u32::MAX as usize / 2);
        let file = format!("{name}.npy");
        self.zip
            .start_file(file, options)
            .map_err(|error| cannot_pack(name, &error))?;
        let mut write = |bytes: &[u8]| {
            let written = self.zip.write_all(bytes);
            written.map_err(|error| cannot_pack(name, &error))
        };
        write(header)?;
        let mut bytes = Vec::with_capacity(BUFFER_BYTES);
        for values in values.chunks(BUFFER_BYTES / N) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|&value| to_bytes(value)));
            write(&bytes)?;
        }
        Ok(())
    }
}

fn cannot_pack(name: &str, error: &dyn std::error::Error) -> Error {
    Error::Unusable {
        problem: format!("`{name}` cannot be packed: {error}"),
        hint: "give each array a name of its own".into(),
    }
}
