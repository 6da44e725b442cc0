//! The container: a safetensors file whose metadata has one key, `refrain`, with a JSON object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::tensors::{Tensor, TensorData, Tensors, quoted};
use super::write_atomic;
use crate::{Error, Result};

/// The version that is written, and the newest that is read.
pub const FORMAT_VERSION: u64 = 1;

/// The one key of the metadata.
const KEY: &str = "refrain";
const VERSION_KEY: &str = "format_version";
/// A header of names, shapes and a vocabulary is far smaller: a million symbols take about 10 MB.
/// Parsed, a header may take some sixteen times its size.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The length of the header stands in front.
const LENGTH_BYTES: u64 = 8;
/// Elements that are read in one go.
const READ_ELEMENTS: usize = 1 << 14;

/// What a file holds: the JSON object of the key `refrain`, and tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The JSON object; its `format_version` has been checked.
    pub metadata: Map<String, Value>,
    /// The tensors; half-precision ones were widened to 32 bits.
    pub tensors: Tensors,
}

impl Container {
    /// Reads a file.
    ///
    /// Sizes are checked before anything is allocated, so that memory stays in proportion to the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be read, [`Error::Model`] where it is damaged, no file of
    /// Refrain's, or of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        // Before opening: to open a pipe would wait.
        if !fs::metadata(path).map_err(io)?.is_file() {
            let found = Tensors::new(path);
            return Err(found.error("it is not a regular file", "name a `.safetensors` file"));
        }
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        Self::read_from(path, file, size)
    }

    /// Reads a file that is in memory; messages name it `path`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::read_from(path, bytes, bytes.len() as u64)
    }

    fn read_from(path: &Path, mut reader: impl Read, size: u64) -> Result<Self> {
        let mut tensors = Tensors::new(path);
        let damaged = |problem: Problem| match problem {
            Problem::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => Error::Io {
                action: "read",
                path: path.to_owned(),
                source: error,
            },
            Problem::Io(_) => model_error(path, "it became shorter while it was read", "try again"),
            Problem::File(problem, hint) => model_error(path, problem, hint),
        };
        let header = read_header(&mut reader, size).map_err(damaged)?;
        let metadata = read_metadata(header.metadata()).map_err(damaged)?;
        for name in header.offset_keys() {
            let Some(info) = header.info(&name) else {
                continue;
            };
            let tensor = read_tensor(&mut reader, &name, info).map_err(damaged)?;
            tensors.insert(name, tensor);
        }
        Ok(Self { metadata, tensors })
    }
}

/// What is wrong with a file, before its path is known.
enum Problem {
    Io(io::Error),
    File(String, &'static str),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn model_error(path: &Path, problem: impl Into<String>, hint: &str) -> Error {
    Tensors::new(path).error(problem, hint)
}

const NOT_OURS: &str = "name a model file that Refrain wrote, or its run folder";
const DAMAGED: &str = "the file is damaged or was cut short; take another copy of it";

/// Reads the header and checks that it and the tensors that it names make up the whole file.
fn read_header(reader: &mut impl Read, size: u64) -> Result<Metadata, Problem> {
    let no_safetensors =
        |what: String| Problem::File(format!("it is not a safetensors file: {what}"), NOT_OURS);
    if size < LENGTH_BYTES {
        return Err(no_safetensors(match size {
            0 => "it is empty".into(),
            _ => format!("it has only {size} bytes"),
        }));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    reader.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > size - LENGTH_BYTES {
        let problem = format!("a header of {length} bytes cannot be in a file of {size} bytes");
        return Err(no_safetensors(problem));
    }
    if length > MAX_HEADER_BYTES {
        let problem = format!("its header has {length} bytes, more than {MAX_HEADER_BYTES}");
        return Err(Problem::File(problem, DAMAGED));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header)?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|error| no_safetensors(format!("its header is wrong: {}", shortened(&error))))?;
    let mut infos = header.infos;
    infos.sort_by(|(a, left), (b, right)| (left.data_offsets, a).cmp(&(right.data_offsets, b)));
    let metadata = Metadata::new(header.metadata, infos)
        .map_err(|error| Problem::File(shortened(&error), DAMAGED))?;
    let found = size - LENGTH_BYTES - length;
    let expected = metadata.data_len() as u64;
    if expected != found {
        let problem = format!("its tensors have {found} bytes, its header says {expected}");
        return Err(Problem::File(problem, DAMAGED));
    }
    Ok(metadata)
}

/// A library's message, which may quote the file, fit for ours.
pub(crate) fn shortened(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

/// The header as it stands, with names that occur twice refused.
struct Header {
    metadata: Option<HashMap<String, String>>,
    infos: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header {
                    metadata: None,
                    infos: Vec::new(),
                };
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        header.infos.push((name, map.next_value()?));
                    } else if header.metadata.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("`__metadata__` stands there twice"));
                    }
                }
                header.infos.sort_by(|(a, _), (b, _)| a.cmp(b));
                let twice = header.infos.windows(2).find(|pair| pair[0].0 == pair[1].0);
                match twice {
                    Some(pair) => Err(A::Error::custom(format!(
                        "{} stands there twice",
                        quoted(&pair[0].0)
                    ))),
                    None => Ok(header),
                }
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn read_metadata(
    metadata: &Option<HashMap<String, String>>,
) -> Result<Map<String, Value>, Problem> {
    let Some(text) = metadata.as_ref().and_then(|metadata| metadata.get(KEY)) else {
        return Err(Problem::File(
            "it is a safetensors file, but not a Refrain model: its metadata has no key `refrain`"
                .into(),
            "`refrain import` may be able to take it over",
        ));
    };
    let wrong = |what: String| Problem::File(format!("its metadata `refrain` {what}"), DAMAGED);
    let metadata: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| wrong(format!("is not a JSON object: {}", shortened(&error))))?;
    match metadata.get(VERSION_KEY).and_then(Value::as_u64) {
        Some(1..=FORMAT_VERSION) => Ok(metadata),
        Some(newer) if newer > FORMAT_VERSION => Err(Problem::File(
            format!("its format has version {newer}, this program knows up to {FORMAT_VERSION}"),
            "a newer Refrain wrote it; install that one",
        )),
        _ => Err(wrong(format!("has no usable `{VERSION_KEY}`"))),
    }
}

/// Reads the tensor that comes next; the header has been checked against the size of the file.
fn read_tensor(reader: &mut impl Read, name: &str, info: &TensorInfo) -> Result<Tensor, Problem> {
    let elements = info.shape.iter().product();
    let data = match info.dtype {
        Dtype::F32 => TensorData::F32(read_values(reader, elements, f32::from_le_bytes)?),
        Dtype::F64 => TensorData::F64(read_values(reader, elements, f64::from_le_bytes)?),
        Dtype::I64 => TensorData::I64(read_values(reader, elements, i64::from_le_bytes)?),
        Dtype::U64 => TensorData::U64(read_values(reader, elements, u64::from_le_bytes)?),
        Dtype::U8 => TensorData::U8(read_values(reader, elements, u8::from_le_bytes)?),
        Dtype::F16 => TensorData::F32(read_values(reader, elements, |b| {
            f16_to_f32(u16::from_le_bytes(b))
        })?),
        Dtype::BF16 => TensorData::F32(read_values(reader, elements, |b| {
            bf16_to_f32(u16::from_le_bytes(b))
        })?),
        other => {
            let problem = format!(
                "{} is of type {other}, which a Refrain model does not have",
                quoted(name)
            );
            return Err(Problem::File(problem, NOT_OURS));
        }
    };
    Ok(Tensor::new(&info.shape, data))
}

fn read_values<T, const N: usize>(
    reader: &mut impl Read,
    elements: usize,
    value: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    let mut values = Vec::with_capacity(elements);
    let mut buffer = vec![0; N * elements.min(READ_ELEMENTS)];
    while values.len() < elements {
        let bytes = &mut buffer[..N * (elements - values.len()).min(READ_ELEMENTS)];
        reader.read_exact(bytes)?;
        let (chunks, _) = bytes.as_chunks();
        values.extend(chunks.iter().map(|&chunk| value(chunk)));
    }
    Ok(values)
}

/// IEEE 754 half precision: 1 sign, 5 exponent (bias 15), 10 fraction bits. Exact.
fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let exponent = u32::from(half >> 10) & 0x1F;
    let fraction = u32::from(half) & 0x3FF;
    match exponent {
        0 => {
            // Subnormal: fraction · 2^-24.
            let magnitude = fraction as f32 * (1.0 / 16_777_216.0);
            f32::from_bits(sign | magnitude.to_bits())
        }
        0x1F => f32::from_bits(sign | 0x7F80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The upper half of a single-precision number. Exact.
fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Puts a file together; the same content gives the same bytes, in whatever order it is added.
///
/// # Examples
///
/// ```
/// use refrain::checkpoint::{Container, ContainerBuilder};
/// use serde_json::json;
///
/// let bytes = ContainerBuilder::new(json!({"note": "a state"}))
///     .f32("rnn.weight_ih_l0", &[2, 1], &[0.5, -0.5])
///     .u64("step", &[], &[7])
///     .to_bytes()?;
/// let mut container = Container::from_bytes("a.safetensors".as_ref(), &bytes)?;
/// assert_eq!(container.metadata["note"], "a state");
/// assert_eq!(container.tensors.take("rnn.weight_ih_l0", &[2, 1])?, [0.5, -0.5]);
/// assert_eq!(container.tensors.take_u64("step", &[])?, [7]);
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ContainerBuilder<'a> {
    metadata: Value,
    entries: Vec<(String, Entry<'a>)>,
}

#[derive(Clone, Debug)]
struct Entry<'a> {
    shape: Vec<usize>,
    data: Slice<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Slice<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    U64(&'a [u64]),
    U8(&'a [u8]),
}

impl<'a> ContainerBuilder<'a> {
    /// A file with the given JSON object and no tensors; `format_version` is added to it.
    ///
    /// JSON has no infinities and no NaN; a tensor of [`f64`](Self::f64) has.
    ///
    /// # Panics
    ///
    /// Where `metadata` is not an object.
    #[must_use]
    pub fn new(mut metadata: Value) -> Self {
        let object = metadata.as_object_mut();
        let object = object.expect("the metadata of a file is a JSON object");
        object.insert(VERSION_KEY.into(), FORMAT_VERSION.into());
        // A no-op unless some other crate makes JSON objects keep the order of insertion.
        metadata.sort_all_objects();
        Self {
            metadata,
            entries: Vec::new(),
        }
    }

    /// Adds 32-bit floating point numbers.
    ///
    /// # Panics
    ///
    /// This and the like: where the shape does not fit the values or the name was used before.
    #[must_use]
    pub fn f32(self, name: impl Into<String>, shape: &[usize], values: &'a [f32]) -> Self {
        self.push(name.into(), shape, Slice::F32(values), values.len())
    }

    /// Adds 64-bit floating point numbers.
    #[must_use]
    pub fn f64(self, name: impl Into<String>, shape: &[usize], values: &'a [f64]) -> Self {
        self.push(name.into(), shape, Slice::F64(values), values.len())
    }

    /// Adds signed integers.
    #[must_use]
    pub fn i64(self, name: impl Into<String>, shape: &[usize], values: &'a [i64]) -> Self {
        self.push(name.into(), shape, Slice::I64(values), values.len())
    }

    /// Adds unsigned integers.
    #[must_use]
    pub fn u64(self, name: impl Into<String>, shape: &[usize], values: &'a [u64]) -> Self {
        self.push(name.into(), shape, Slice::U64(values), values.len())
    }

    /// Adds bytes.
    #[must_use]
    pub fn u8(self, name: impl Into<String>, shape: &[usize], values: &'a [u8]) -> Self {
        self.push(name.into(), shape, Slice::U8(values), values.len())
    }

    /// Adds a tensor.
    #[must_use]
    pub fn tensor(self, name: impl Into<String>, tensor: &'a Tensor) -> Self {
        let shape = tensor.shape();
        match tensor.data() {
            TensorData::F32(values) => self.f32(name, shape, values),
            TensorData::F64(values) => self.f64(name, shape, values),
            TensorData::I64(values) => self.i64(name, shape, values),
            TensorData::U64(values) => self.u64(name, shape, values),
            TensorData::U8(values) => self.u8(name, shape, values),
        }
    }

    fn push(mut self, name: String, shape: &[usize], data: Slice<'a>, len: usize) -> Self {
        let elements: usize = shape.iter().product();
        assert_eq!(len, elements, "elements of `{name}` of shape {shape:?}");
        assert!(name != "__metadata__", "this name is the format's own");
        let shape = shape.to_vec();
        self.entries.push((name, Entry { shape, data }));
        self
    }

    /// The bytes of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where the metadata and the names are larger than a reader would take.
    ///
    /// # Panics
    ///
    /// Where two tensors have one name.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut names: Vec<&str> = self.entries.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert!(pair[0] != pair[1], "two tensors are named `{}`", pair[0]);
        }
        let too_large = |problem: String| Error::Unusable {
            problem: format!("a model file cannot be made: {problem}"),
            hint: "take a smaller vocabulary".into(),
        };
        let metadata = HashMap::from([(KEY.to_owned(), self.metadata.to_string())]);
        // Sorted in there by type, then name.
        let entries = self
            .entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry));
        let bytes = safetensors::serialize(entries, Some(metadata))
            .map_err(|error| too_large(error.to_string()))?;
        let length = bytes
            .first_chunk()
            .map_or(0, |length| u64::from_le_bytes(*length));
        if length > MAX_HEADER_BYTES {
            let problem = format!("its header has {length} bytes, more than {MAX_HEADER_BYTES}");
            return Err(too_large(problem));
        }
        Ok(bytes)
    }

    /// Writes the file with [`write_atomic`].
    ///
    /// # Errors
    ///
    /// As [`to_bytes`](Self::to_bytes) and [`write_atomic`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.to_bytes()?)
    }
}

impl View for &Entry<'_> {
    fn dtype(&self) -> Dtype {
        match self.data {
            Slice::F32(_) => Dtype::F32,
            Slice::F64(_) => Dtype::F64,
            Slice::I64(_) => Dtype::I64,
            Slice::U64(_) => Dtype::U64,
            Slice::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.data {
            Slice::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Slice::F64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Slice::I64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Slice::U64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Slice::U8(values) => Cow::Borrowed(values),
        }
    }

    fn data_len(&self) -> usize {
        match self.data {
            Slice::F32(values) => size_of_val(values),
            Slice::F64(values) => size_of_val(values),
            Slice::I64(values) => size_of_val(values),
            Slice::U64(values) => size_of_val(values),
            Slice::U8(values) => size_of_val(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn valid() -> Vec<u8> {
        ContainerBuilder::new(json!({"b": [1, 2.5, "é\""], "a": {"z": null, "y": true}}))
            .u8("bytes", &[3], &[1, 2, 3])
            .f32("rnn.weight", &[2, 2], &[1.0, -2.0, 0.5, f32::MIN_POSITIVE])
            .u64("step", &[], &[u64::MAX])
            .f64("best", &[1], &[f64::INFINITY])
            .i64("left", &[2, 0], &[])
            .to_bytes()
            .unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Container> {
        Container::from_bytes("a.safetensors".as_ref(), bytes)
    }

    /// A file with this header and so many bytes of tensors.
    fn raw(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    const META: &str = r#""__metadata__":{"refrain":"{\"format_version\":1}"}"#;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        fs::write(&path, valid()).unwrap();
        let mut container = Container::read(&path).unwrap();
        assert_eq!(container.tensors.path(), path);
        assert_eq!(container.metadata["format_version"], FORMAT_VERSION);
        assert_eq!(container.metadata["b"], json!([1, 2.5, "é\""]));
        let tensors = &mut container.tensors;
        assert_eq!(
            tensors.take("rnn.weight", &[2, 2]).unwrap()[3],
            f32::MIN_POSITIVE
        );
        assert_eq!(tensors.take_u64("step", &[]).unwrap(), [u64::MAX]);
        assert_eq!(tensors.take_f64("best", &[1]).unwrap(), [f64::INFINITY]);
        assert_eq!(tensors.take_u8("bytes", &[3]).unwrap(), [1, 2, 3]);
        assert!(tensors.take_i64("left", &[2, 0]).unwrap().is_empty());
        container.tensors.finish().unwrap();
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let ab = ContainerBuilder::new(json!({"x": 1, "y": {"b": 1, "a": 2}}))
            .f32("a", &[1], &[1.0])
            .f32("b", &[1], &[2.0]);
        let ba = ContainerBuilder::new(json!({"y": {"a": 2, "b": 1}, "x": 1}))
            .f32("b", &[1], &[2.0])
            .f32("a", &[1], &[1.0]);
        let bytes = ab.to_bytes().unwrap();
        assert_eq!(bytes, ba.to_bytes().unwrap());
        let header = String::from_utf8_lossy(&bytes[8..]).into_owned();
        let expected = r#"{"__metadata__":{"refrain":"{\"format_version\":1,\"x\":1,\"y\":{\"a\":2,\"b\":1}}"},"a":{"dtype":"F32","#;
        assert!(header.starts_with(expected), "{header}");
        assert_eq!(valid(), valid());
    }

    #[test]
    fn the_safetensors_crate_agrees() {
        let bytes = valid();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 5);
        assert_eq!(file.tensor("rnn.weight").unwrap().shape(), [2, 2]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = valid();
        for end in 0..bytes.len() {
            assert!(
                matches!(read(&bytes[..end]), Err(Error::Model { .. })),
                "{end}"
            );
        }
        assert!(read(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn hostile_headers_are_refused() {
        let f32s = |offsets: &str, shape: &str| {
            format!(r#"{{{META},"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let two = format!(
            r#"{{{META},"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},"b":{{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}}}"#
        );
        let twice = format!(
            r#"{{{META},"a":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}}}"#
        );
        let max = u64::MAX;
        for (header, data) in [
            (String::new(), 0),
            ("[]".into(), 0),
            ("{".into(), 0),
            ("\u{FEFF}{}".into(), 0),
            ("[".repeat(10_000), 0),
            (format!("{{{META},{META}}}"), 0),
            (format!(r#"{{{META},"w":{{}}}}"#), 0),
            (f32s("[0,4]", "[2]"), 4),
            (f32s("[0,8]", "[2]"), 7),
            (f32s("[0,8]", "[2]"), 9),
            (f32s("[4,12]", "[2]"), 12),
            (f32s("[8,0]", "[2]"), 8),
            (f32s("[0,8]", "[-2]"), 8),
            (f32s(&format!("[0,{max}]"), "[2]"), 8),
            (f32s("[0,8]", &format!("[{max},{max}]")), 8),
            (f32s("[0,8]", "[4611686018427387905,2]"), 8),
            (f32s("[0,8]", "[2]").replace("F32", "F33"), 8),
            (f32s("[0,8]", "[8]").replace("F32", "BOOL"), 8),
            (f32s("[0,0]", "[0]").replace("F32", "F4"), 0),
            (two, 6),
            (twice, 4),
        ] {
            let error = read(&raw(&header, data)).unwrap_err();
            assert!(matches!(error, Error::Model { .. }), "{header:.200}");
            assert!(error.to_string().len() < 600, "{error}");
        }
        for length in [9, 1 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
            let bytes = [&u64::to_le_bytes(length)[..], b"{}      "].concat();
            assert!(
                read(&bytes)
                    .unwrap_err()
                    .to_string()
                    .contains("cannot be in a file of 16 bytes")
            );
        }
        assert!(
            read(&raw(&" ".repeat((16 << 20) + 1), 0))
                .unwrap_err()
                .to_string()
                .contains("more than")
        );
        assert!(read(&raw(&f32s("[0,8]", "[2]"), 8)).is_ok());
    }

    #[test]
    fn foreign_and_newer_files_are_named() {
        let text = |header: &str| {
            let error = read(&raw(header, 0)).unwrap_err();
            format!("{error}; {}", error.hint().unwrap())
        };
        for foreign in ["{}", r#"{"__metadata__":{"format":"pt"}}"#] {
            let text = text(foreign);
            assert!(
                text.contains("a safetensors file, but not a Refrain model")
                    && text.contains("import")
            );
        }
        assert!(
            text(&meta_of_version("2"))
                .contains("version 2, this program knows up to 1; a newer Refrain")
        );
        for version in ["0", "-1", "1.5", "null"] {
            assert!(text(&meta_of_version(version)).contains("has no usable `format_version`"));
        }
        for wrong in ["", "3", "[1]", "{", "nonsense"] {
            let header = format!(r#"{{"__metadata__":{{"refrain":"{wrong}"}}}}"#);
            assert!(text(&header).contains("is not a JSON object"), "{wrong}");
        }
        // Other keys do no harm: another program may have written the file again.
        let header = format!(
            r#"{{{}}}"#,
            META.replace("{\"refrain", r#"{"format":"pt","refrain"#)
        );
        assert!(read(&raw(&header, 0)).is_ok());
    }

    fn meta_of_version(version: &str) -> String {
        format!("{{{}}}", META.replace('1', version))
    }

    #[test]
    fn files_that_are_no_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Container::read(dir.path()),
            Err(Error::Model { .. })
        ));
        assert!(matches!(
            Container::read(&dir.path().join("none")),
            Err(Error::Io { .. })
        ));
        #[cfg(unix)]
        assert!(matches!(
            Container::read("/dev/zero".as_ref()),
            Err(Error::Model { .. })
        ));
        let path = dir.path().join("empty");
        fs::write(&path, "").unwrap();
        assert!(
            Container::read(&path)
                .unwrap_err()
                .to_string()
                .ends_with("it is empty")
        );
    }

    #[test]
    fn half_precision_is_widened() {
        for (half, single) in [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65504.0),
            (0x0001, 1.0 / 16_777_216.0),
            (0x03FF, 1023.0 / 16_777_216.0),
            (0x0400, 1.0 / 16_384.0),
            (0x3555, 0.333_251_95),
            (0x7C00, f32::INFINITY),
            (0x8000, -0.0),
        ] {
            assert_eq!(
                f16_to_f32(half).to_bits(),
                f32::to_bits(single),
                "{half:04x}"
            );
        }
        assert!(f16_to_f32(0x7E00).is_nan());
        assert_eq!(bf16_to_f32(0x3F80), 1.0);
        assert_eq!(bf16_to_f32(0xC040), -3.0);
        for (dtype, half) in [("F16", 0x3C00u16), ("BF16", 0x3F80)] {
            let header =
                format!(r#"{{{META},"w":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,2]}}}}"#);
            let mut bytes = raw(&header, 0);
            bytes.extend(half.to_le_bytes());
            assert_eq!(
                read(&bytes).unwrap().tensors.take("w", &[1]).unwrap(),
                [1.0]
            );
        }
    }

    #[test]
    #[should_panic(expected = "two tensors are named `a`")]
    fn a_name_is_used_once() {
        let builder = ContainerBuilder::new(json!({}))
            .u8("a", &[], &[1])
            .f32("a", &[], &[1.0]);
        let _ = builder.to_bytes();
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn random_headers_never_panic(header in "[{}\\[\\]\":,a-z_0-9]{0,80}", data in 0usize..20) {
            let _ = read(&raw(&header, data));
        }

        #[test]
        fn flipped_bits_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4)) {
            let mut bytes = valid();
            for (place, bit) in flips {
                let place = place.index(bytes.len());
                bytes[place] ^= 1 << bit;
            }
            if let Ok(mut container) = read(&bytes) {
                let _ = container.tensors.take("rnn.weight", &[2, 2]);
                let _ = container.tensors.finish();
            }
        }

        #[test]
        fn values_come_back_bit_by_bit(values in prop::collection::vec(any::<u64>(), 0..100)) {
            let f64s: Vec<f64> = values.iter().map(|&bits| f64::from_bits(bits)).collect();
            let bytes = ContainerBuilder::new(json!({}))
                .u64("u", &[values.len()], &values)
                .f64("f", &[values.len()], &f64s)
                .to_bytes()
                .unwrap();
            let mut container = read(&bytes).unwrap();
            let bits = container.tensors.take_f64("f", &[values.len()]).unwrap();
            prop_assert_eq!(bits.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.clone());
            prop_assert_eq!(container.tensors.take_u64("u", &[values.len()]).unwrap(), values);
        }
    }
}
