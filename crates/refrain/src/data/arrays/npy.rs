//! One array of an `.npz` file: NumPy's `.npy` format.
//!
//! Read here and not by a crate: those there are trust the header (they multiply its shape unchecked, or allocate what
//! it says), and its text is a Python literal that they parse recursively. Of that literal, three keys are needed.

use std::io::Read;

const MAGIC: &[u8] = b"\x93NUMPY";
/// A header takes about a hundred bytes; NumPy itself refuses more than 10,000.
const MAX_HEADER_BYTES: usize = 1 << 14;
/// NumPy's limit.
const MAX_AXES: usize = 64;
/// Elements that are read or written in one go.
const CHUNK: usize = 1 << 12;

/// What is wrong with an array: a phrase that goes on after its name, and what to try.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    fn damaged(what: impl Into<String>) -> Self {
        Self::new(
            what,
            "the file is damaged or was cut short; take another copy of it",
        )
    }

    fn reading(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::damaged("ends early"),
            _ => Self::damaged(format!("cannot be unpacked: {error}")),
        }
    }
}

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    /// So many characters of four bytes.
    Text(usize),
}

impl Element {
    fn bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text(characters) => characters.checked_mul(4),
        }
    }
}

/// The header of an array.
#[derive(Debug)]
pub(super) struct Header {
    element: Element,
    big_endian: bool,
    fortran: bool,
    /// The length of every axis.
    pub(super) shape: Vec<usize>,
    /// The product of the shape.
    pub(super) elements: usize,
    /// What the elements take in the file.
    pub(super) data_bytes: u64,
    /// What the header itself takes.
    pub(super) header_bytes: u64,
}

impl Header {
    pub(super) fn parse(reader: &mut dyn Read) -> Result<Self, Wrong> {
        let not_npy = || Wrong::damaged("is no NumPy array");
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| not_npy())?;
        if !start.starts_with(MAGIC) {
            return Err(not_npy());
        }
        let (length, before) = match start[6] {
            1 => (u64::from(u16::from_le_bytes(exactly(reader)?)), 10),
            2 | 3 => (u64::from(u32::from_le_bytes(exactly(reader)?)), 12),
            version => {
                let problem = format!("has version {version} of the .npy format, expected 1 to 3");
                return Err(Wrong::damaged(problem));
            }
        };
        if length > MAX_HEADER_BYTES as u64 {
            let problem = format!("has a header of {length} bytes, at most {MAX_HEADER_BYTES}");
            return Err(Wrong::damaged(problem));
        }
        let mut text = vec![0; length as usize];
        reader
            .read_exact(&mut text)
            .map_err(|e| Wrong::reading(&e))?;
        let text =
            str::from_utf8(&text).map_err(|_| Wrong::damaged("has a header that is not UTF-8"))?;
        let fields = Fields::parse(text).ok_or_else(|| {
            let shown: String = text.trim().chars().take(80).collect();
            Wrong::damaged(format!("has a header that cannot be read: {shown:?}"))
        })?;
        fields.check(before + length)
    }

    /// Numbers for a network: what fits a byte stays so, all else becomes 32-bit floats.
    pub(super) fn read_numbers(
        &self,
        reader: &mut dyn Read,
    ) -> Result<Result<Vec<u8>, Vec<f32>>, Wrong> {
        let exact = |value: i128| {
            let float = value as f32;
            if float as i128 == value {
                Ok(float)
            } else {
                Err(Wrong::new(
                    format!("is {value}, which a 32-bit float cannot hold"),
                    "scale the numbers down, or round them by `.astype(\"float32\")`",
                ))
            }
        };
        let floats = match self.element {
            Element::U8 => return self.read(reader, |[b]| Ok(b)).map(Ok),
            Element::Bool => return self.read(reader, |[b]| Ok(u8::from(b != 0))).map(Ok),
            Element::F32 => self.read(reader, |b| Ok(f32::from_le_bytes(b))),
            Element::F64 => self.read(reader, |b| Ok(f64::from_le_bytes(b) as f32)),
            Element::I8 => self.read(reader, |b| Ok(f32::from(i8::from_le_bytes(b)))),
            Element::I16 => self.read(reader, |b| Ok(f32::from(i16::from_le_bytes(b)))),
            Element::U16 => self.read(reader, |b| Ok(f32::from(u16::from_le_bytes(b)))),
            Element::I32 => self.read(reader, |b| exact(i32::from_le_bytes(b).into())),
            Element::U32 => self.read(reader, |b| exact(u32::from_le_bytes(b).into())),
            Element::I64 => self.read(reader, |b| exact(i64::from_le_bytes(b).into())),
            Element::U64 => self.read(reader, |b| exact(u64::from_le_bytes(b).into())),
            Element::Text(_) => Err(self.text_where("numbers")),
        };
        floats.map(Err)
    }

    /// Whole numbers, of whatever type they are.
    pub(super) fn read_integers(&self, reader: &mut dyn Read) -> Result<Vec<i64>, Wrong> {
        let whole = |value: f64| {
            if value.is_finite() && value as i64 as f64 == value {
                Ok(value as i64)
            } else {
                Err(Wrong::new(
                    format!("is {value}, expected a whole number"),
                    "give integers, for example by `.astype(\"int64\")`",
                ))
            }
        };
        let small = |value: u64| {
            i64::try_from(value)
                .map_err(|_| Wrong::new(format!("is {value}, far too large"), "check the numbers"))
        };
        match self.element {
            Element::Bool => self.read(reader, |[b]| Ok(i64::from(b != 0))),
            Element::U8 => self.read(reader, |[b]| Ok(b.into())),
            Element::I8 => self.read(reader, |b| Ok(i8::from_le_bytes(b).into())),
            Element::U16 => self.read(reader, |b| Ok(u16::from_le_bytes(b).into())),
            Element::I16 => self.read(reader, |b| Ok(i16::from_le_bytes(b).into())),
            Element::U32 => self.read(reader, |b| Ok(u32::from_le_bytes(b).into())),
            Element::I32 => self.read(reader, |b| Ok(i32::from_le_bytes(b).into())),
            Element::U64 => self.read(reader, |b| small(u64::from_le_bytes(b))),
            Element::I64 => self.read(reader, |b| Ok(i64::from_le_bytes(b))),
            Element::F32 => self.read(reader, |b| whole(f32::from_le_bytes(b).into())),
            Element::F64 => self.read(reader, |b| whole(f64::from_le_bytes(b))),
            Element::Text(_) => Err(self.text_where("integers")),
        }
    }

    /// Texts, zeros at their ends cut off.
    pub(super) fn read_texts(&self, reader: &mut dyn Read) -> Result<Vec<String>, Wrong> {
        let Element::Text(characters) = self.element else {
            return Err(Wrong::new(
                "does not hold texts",
                "give names as `np.array([\"cat\", \"dog\"])`",
            ));
        };
        // Each character is an element of its own here; `check` saw that the product fits.
        let points = Self {
            element: Element::U32,
            big_endian: self.big_endian,
            fortran: false,
            shape: vec![self.elements, characters],
            elements: self.elements * characters,
            data_bytes: self.data_bytes,
            header_bytes: self.header_bytes,
        };
        let points = points.read(reader, |b| {
            char::from_u32(u32::from_le_bytes(b)).ok_or_else(|| {
                Wrong::damaged(format!("is no character: {:#x}", u32::from_le_bytes(b)))
            })
        })?;
        let texts = (0..self.elements).map(|i| {
            let text = points[i * characters..(i + 1) * characters].iter();
            text.collect::<String>().trim_end_matches('\0').to_owned()
        });
        Ok(texts.collect())
    }

    fn text_where(&self, expected: &str) -> Wrong {
        Wrong::new(
            format!("holds texts, expected {expected}"),
            "number the classes from 0, and give their names as `label_names`",
        )
    }

    /// All elements in the order of rows (the last axis moves fastest), little-endian bytes given to `convert`.
    fn read<const N: usize, T: Copy>(
        &self,
        reader: &mut dyn Read,
        convert: impl Fn([u8; N]) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Wrong> {
        let mut values = Vec::with_capacity(self.elements);
        let mut bytes = vec![0; N * self.elements.min(CHUNK)];
        while values.len() < self.elements {
            let now = (self.elements - values.len()).min(CHUNK);
            let bytes = &mut bytes[..N * now];
            reader.read_exact(bytes).map_err(|e| Wrong::reading(&e))?;
            for element in bytes.as_chunks_mut::<N>().0 {
                if self.big_endian {
                    element.reverse();
                }
                values.push(convert(*element).map_err(|wrong| self.at(values.len(), wrong))?);
            }
        }
        match reader.read(&mut [0]) {
            Ok(0) if self.fortran => Ok(from_fortran(&values, &self.shape)),
            Ok(0) => Ok(values),
            Ok(_) => Err(Wrong::damaged("has more bytes than its shape says")),
            Err(error) => Err(Wrong::reading(&error)),
        }
    }

    /// Names the element in front of what is wrong with it.
    fn at(&self, stored: usize, wrong: Wrong) -> Wrong {
        let index = if self.fortran {
            let mut rest = stored;
            let place = |&length: &usize| {
                let at = rest % length;
                rest /= length;
                at
            };
            self.shape.iter().map(place).collect()
        } else {
            index_of(stored, &self.shape)
        };
        Wrong::new(format!("{index:?} {}", wrong.problem), wrong.hint)
    }
}

/// The place of an element that stands at `at` in the order of rows.
pub(super) fn index_of(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let at = rest % length;
            rest /= length;
            at
        })
        .collect();
    index.reverse();
    index
}

/// A shape as NumPy shows it.
pub(super) fn shown(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => {
            let axes: Vec<_> = shape.iter().map(ToString::to_string).collect();
            format!("({})", axes.join(", "))
        }
    }
}

fn exactly<const N: usize>(reader: &mut dyn Read) -> Result<[u8; N], Wrong> {
    let mut bytes = [0; N];
    reader
        .read_exact(&mut bytes)
        .map_err(|e| Wrong::reading(&e))?;
    Ok(bytes)
}

/// From the order of columns (the first axis moves fastest) to that of rows.
fn from_fortran<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for length in shape {
        strides.push(stride);
        stride *= length;
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    let mut rows = Vec::with_capacity(values.len());
    while rows.len() < values.len() {
        rows.push(values[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    rows
}

/// The three keys of a header, as they stand there.
struct Fields<'a> {
    /// `None` where it is no text: a structured type.
    descr: Option<&'a str>,
    fortran: bool,
    shape: Vec<u64>,
}

impl<'a> Fields<'a> {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`; the keys in any order.
    fn parse(text: &'a str) -> Option<Self> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = Literal(text);
        rest.eat("{").then_some(())?;
        while !rest.eat("}") {
            let key = rest.string()?;
            rest.eat(":").then_some(())?;
            match key {
                "descr" if rest.peek("[") => {
                    return Some(Self {
                        descr: None,
                        fortran: false,
                        shape: Vec::new(),
                    });
                }
                "descr" => descr = Some(rest.string()?),
                "fortran_order" if rest.eat("True") => fortran = Some(true),
                "fortran_order" if rest.eat("False") => fortran = Some(false),
                "shape" => shape = Some(rest.tuple()?),
                _ => return None,
            }
            if !rest.eat(",") && !rest.peek("}") {
                return None;
            }
        }
        rest.0.trim().is_empty().then_some(())?;
        Some(Self {
            descr: Some(descr?),
            fortran: fortran?,
            shape: shape?,
        })
    }

    fn check(self, header_bytes: u64) -> Result<Header, Wrong> {
        let Some((element, big_endian)) = self.descr.and_then(element) else {
            return Err(wrong_type(self.descr));
        };
        let too_large = || Wrong::damaged("has a shape of more elements than any file can hold");
        let shape: Option<Vec<usize>> = self.shape.iter().map(|&n| n.try_into().ok()).collect();
        let shape = shape.ok_or_else(too_large)?;
        // An axis of no elements must not hide that the others overflow.
        let product = |shape: &[usize]| {
            let axes = shape.iter().map(|&n| n.max(1));
            axes.fold(element.bytes(), |bytes, n| bytes?.checked_mul(n))
        };
        product(&shape)
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(too_large)?;
        let elements: usize = shape.iter().product();
        let data_bytes = (elements * element.bytes().unwrap_or(0)) as u64;
        Ok(Header {
            element,
            big_endian,
            fortran: self.fortran && shape.len() > 1,
            elements,
            shape,
            data_bytes,
            header_bytes,
        })
    }
}

fn element(descr: &str) -> Option<(Element, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    if !["<", ">", "|", "="].contains(&order) {
        return None;
    }
    let element = match kind {
        "b1" => Element::Bool,
        "u1" => Element::U8,
        "u2" => Element::U16,
        "u4" => Element::U32,
        "u8" => Element::U64,
        "i1" => Element::I8,
        "i2" => Element::I16,
        "i4" => Element::I32,
        "i8" => Element::I64,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => Element::Text(kind.strip_prefix('U')?.parse().ok().filter(|&n| n > 0)?),
    };
    Some((element, order == ">"))
}

fn wrong_type(descr: Option<&str>) -> Wrong {
    match descr {
        Some("|O" | "O") => Wrong::new(
            "is an object array (pickled Python objects), which is never opened",
            "give numbers in one array: pad sequences to one length, and give `lengths`",
        ),
        Some(descr) => {
            let shown: String = descr.chars().take(20).collect();
            Wrong::new(
                format!("is of type {shown:?}, expected floats, integers or bools"),
                "convert it, for example by `.astype(\"float32\")`",
            )
        }
        None => Wrong::new(
            "is of a structured type, expected floats, integers or bools",
            "give one array of numbers",
        ),
    }
}

/// The rest of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn peek(&self, token: &str) -> bool {
        self.0.trim_start().starts_with(token)
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.0.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn string(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
        let (string, rest) = text[1..].split_once(quote)?;
        self.0 = rest;
        (!string.contains('\\')).then_some(string)
    }

    /// Integers in parentheses, each perhaps with the `L` of Python 2.
    fn tuple(&mut self) -> Option<Vec<u64>> {
        self.eat("(").then_some(())?;
        let mut numbers = Vec::new();
        while !self.eat(")") {
            let text = self.0.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit())?;
            numbers.push(text[..end].parse().ok()?);
            self.0 = &text[end..];
            self.eat("L");
            if numbers.len() > MAX_AXES || !self.eat(",") && !self.peek(")") {
                return None;
            }
        }
        Some(numbers)
    }
}

/// The header of an array in the order of rows, padded as NumPy pads it.
pub(super) fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let shape = shown(shape);
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let before = MAGIC.len() + 4;
    let whole = (before + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', whole - before - text.len() - 1));
    text.push('\n');
    let length = u16::try_from(text.len()).unwrap_or_else(|_| panic!("a shape of {shape}"));
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn array(text: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn parse(text: &str) -> Result<Header, Wrong> {
        Header::parse(&mut &array(text, &[])[..])
    }

    #[test]
    fn headers_are_read_however_they_are_written() {
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }    \n",
            "{\"shape\": (3L,4L,), \"descr\":\"<f4\",\"fortran_order\":False}",
        ] {
            let header = parse(text).unwrap();
            assert_eq!(header.shape, [3, 4]);
            assert_eq!((header.elements, header.data_bytes), (12, 48));
        }
        assert_eq!(
            parse("{'descr': '|b1', 'fortran_order': True, 'shape': ()}")
                .unwrap()
                .elements,
            1
        );
    }

    #[test]
    fn wrong_headers_are_refused() {
        for (text, expected) in [
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
                "is an object array",
            ),
            (
                "{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}",
                "is of type \"<c8\"",
            ),
            (
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
                "structured",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999, 0)}",
                "more elements than any file",
            ),
            (
                "{'descr': '<U9999999999999999999', 'fortran_order': False, 'shape': (1,)}",
                "more elements than any file",
            ),
            (
                "{'descr': '<U4611686018427387904', 'fortran_order': False, 'shape': (1,)}",
                "more elements than any file",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
                "cannot be read",
            ),
            (
                "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
                "cannot be read",
            ),
            ("{'descr': '<f4', 'shape': (3,)}", "cannot be read"),
            ("((((((((((", "cannot be read"),
            ("", "cannot be read"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(
                wrong.problem.contains(expected),
                "{text}: {}",
                wrong.problem
            );
        }
        let mut long = array("", &[]);
        long[6] = 2;
        long.splice(8..10, u32::MAX.to_le_bytes());
        let wrong = Header::parse(&mut &long[..]).unwrap_err();
        assert!(
            wrong.problem.contains("header of 4294967295"),
            "{}",
            wrong.problem
        );
    }

    #[test]
    fn fortran_order_becomes_the_order_of_rows() {
        let stored: Vec<u8> = vec![0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11];
        let text = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 2)}";
        let bytes = array(text, &stored);
        let reader = &mut &bytes[..];
        let rows = Header::parse(reader).unwrap().read_numbers(reader).unwrap();
        assert_eq!(rows, Ok((0..12).collect()));
    }

    #[test]
    fn every_type_is_read_in_both_orders_of_bytes() {
        let two: [(&str, &[u8]); 9] = [
            ("<i2", &[254, 255]),
            (">i2", &[255, 254]),
            ("|i1", &[254]),
            ("<i4", &[254, 255, 255, 255]),
            (">i8", &[255, 255, 255, 255, 255, 255, 255, 254]),
            ("<f4", &[0, 0, 0, 192]),
            (">f4", &[192, 0, 0, 0]),
            ("<f8", &[0, 0, 0, 0, 0, 0, 0, 192]),
            (">f8", &[192, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (descr, data) in two {
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,)}}");
            let bytes = array(&text, data);
            let reader = &mut &bytes[..];
            let header = Header::parse(reader).unwrap();
            let mut again = *reader;
            assert_eq!(
                header.read_numbers(reader).unwrap(),
                Err(vec![-2.0]),
                "{descr}"
            );
            assert_eq!(header.read_integers(&mut again).unwrap(), [-2], "{descr}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_named() {
        let text = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 2)}";
        let data: Vec<u8> = [1, 2, 16_777_217, 4]
            .into_iter()
            .flat_map(i32::to_le_bytes)
            .collect();
        let bytes = array(text, &data);
        let reader = &mut &bytes[..];
        let wrong = Header::parse(reader)
            .unwrap()
            .read_numbers(reader)
            .unwrap_err();
        assert_eq!(
            wrong.problem,
            "[0, 1] is 16777217, which a 32-bit float cannot hold"
        );
        let bytes = array(&text.replace("i4", "f4"), &data);
        let reader = &mut &bytes[..];
        let wrong = Header::parse(reader)
            .unwrap()
            .read_integers(reader)
            .unwrap_err();
        assert!(
            wrong.problem.contains("expected a whole number"),
            "{}",
            wrong.problem
        );
    }

    #[test]
    fn headers_are_padded_to_64_bytes() {
        for shape in [&[][..], &[3], &[3, 4], &[1234, 5678, 9, 10, 11]] {
            let bytes = header("<f4", shape);
            assert_eq!(bytes.len() % 64, 0);
            assert_eq!(bytes.last(), Some(&b'\n'));
            assert_eq!(Header::parse(&mut &bytes[..]).unwrap().shape, shape);
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[{}()\\[\\]'\":,<>|a-z0-9 L]{0,80}", data in any::<Vec<u8>>()) {
            let _ = parse(&text);
            let _ = Header::parse(&mut &data[..]);
            let _ = Header::parse(&mut &array(&text, &data)[..]);
        }
    }
}
