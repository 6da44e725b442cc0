//! Symbols out of files, block by block, in constant memory.

use std::io::{BufRead, ErrorKind};
use std::path::Path;

use super::TokenKind;
use super::source::{Packing, hex, io_error};
use crate::{Error, Result};

/// The most bytes of a block.
const BLOCK_BYTES: usize = 1 << 16;
/// Enough to know a byte order mark or the magic of a packed file.
const START_BYTES: usize = 4;

/// What was changed while a text was read; nothing is ever changed for byte tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextNotes {
    /// Whether a UTF-8 byte order mark was left out at the start of a file.
    pub bom: bool,
    /// How many line ends CR LF were turned into LF.
    pub crlf: u64,
}

impl TextNotes {
    pub(super) fn add(&mut self, other: Self) {
        self.bom |= other.bom;
        self.crlf += other.crlf;
    }
}

/// A piece of a text, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// Whole characters.
    Chars(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> Block<'a> {
    /// Its bytes: of characters, their UTF-8.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Chars(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Reads one file as symbols.
///
/// The file is UTF-8; a byte order mark at its start is left out and CR LF becomes LF. For byte
/// tokens it may be any file, and every byte comes as it is.
///
/// # Examples
///
/// ```
/// use refrain::data::TokenKind;
/// use refrain::data::symbols::{Block, SymbolReader};
///
/// let mut reader = SymbolReader::new(&b"\xEF\xBB\xBFa\r\nb"[..], "a.txt", TokenKind::Char);
/// assert!(reader.advance()?);
/// assert_eq!(reader.block(), Block::Chars("a\nb"));
/// assert!(!reader.advance()?);
/// assert_eq!(reader.notes().crlf, 1);
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Debug)]
pub struct SymbolReader<R> {
    reader: R,
    name: String,
    kind: TokenKind,
    /// Read and not yet given out.
    raw: Vec<u8>,
    bytes: Vec<u8>,
    text: String,
    started: bool,
    ended: bool,
    /// Of the first byte in `raw`, from 1.
    line: u64,
    column: u64,
    bytes_read: u64,
    notes: TextNotes,
}

impl<R: BufRead> SymbolReader<R> {
    /// A reader at the start of a file, which messages call `name`.
    pub fn new(reader: R, name: impl Into<String>, kind: TokenKind) -> Self {
        Self {
            reader,
            name: name.into(),
            kind,
            raw: Vec::new(),
            bytes: Vec::new(),
            text: String::new(),
            started: false,
            ended: false,
            line: 1,
            column: 1,
            bytes_read: 0,
            notes: TextNotes::default(),
        }
    }

    /// Goes on to the next block; `false` at the end of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where reading fails; but for byte tokens [`Error::Data`] with line and column
    /// where the file is not UTF-8 text.
    pub fn advance(&mut self) -> Result<bool> {
        self.bytes.clear();
        self.text.clear();
        while !self.ended {
            self.fill()?;
            if self.raw.len() < START_BYTES && !self.started && !self.ended {
                continue;
            }
            if self.kind.is_text() {
                self.decode()?;
            } else {
                std::mem::swap(&mut self.bytes, &mut self.raw);
            }
            self.started = true;
            if !self.bytes.is_empty() || !self.text.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The block that [`advance`](Self::advance) came to; empty before the first and after the last.
    #[must_use]
    pub fn block(&self) -> Block<'_> {
        if self.kind.is_text() {
            Block::Chars(&self.text)
        } else {
            Block::Bytes(&self.bytes)
        }
    }

    /// What was changed so far.
    #[must_use]
    pub fn notes(&self) -> TextNotes {
        self.notes
    }

    /// Bytes read so far, unpacked.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn fill(&mut self) -> Result<()> {
        let chunk = loop {
            match self.reader.fill_buf() {
                Ok(chunk) => break chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read", Path::new(&self.name), error)),
            }
        };
        let count = chunk.len().min(BLOCK_BYTES);
        self.raw.extend_from_slice(&chunk[..count]);
        self.reader.consume(count);
        self.bytes_read += count as u64;
        self.ended = count == 0;
        Ok(())
    }

    /// Moves what is whole from `raw` to `text`.
    fn decode(&mut self) -> Result<()> {
        if !self.started {
            self.check_start()?;
        }
        let mut text = match std::str::from_utf8(&self.raw) {
            Ok(text) => text,
            Err(error) => {
                let (valid, wrong) = self.raw.split_at(error.valid_up_to());
                let valid = std::str::from_utf8(valid).unwrap_or_default();
                if error.error_len().is_some() || self.ended {
                    return Err(self.not_utf8(valid, wrong, error.error_len()));
                }
                valid
            }
        };
        if !self.ended {
            // A line feed may follow.
            text = text.strip_suffix('\r').unwrap_or(text);
        }
        (self.line, self.column) = position_after(text, self.line, self.column);
        self.notes.crlf += push_folded(text, &mut self.text);
        let count = text.len();
        self.raw.drain(..count);
        Ok(())
    }

    fn check_start(&mut self) -> Result<()> {
        let raw = &self.raw;
        let utf16 = "convert it first: `iconv -f UTF-16 -t UTF-8`; or `--tokens byte`";
        if raw.starts_with(&[0xEF, 0xBB, 0xBF]) {
            self.raw.drain(..3);
            self.notes.bom = true;
        } else if raw.starts_with(&[0xFF, 0xFE]) || raw.starts_with(&[0xFE, 0xFF]) {
            let found = format!("the byte order mark of UTF-16, {}", hex(&raw[..2]));
            return Err(self.not_text(found, utf16));
        } else if let Some(packing) = Packing::from_magic(raw) {
            let found = format!("a file packed by {}", packing.name());
            let hint = format!("unpack it, or let its name end in `{}`", packing.ending());
            return Err(self.not_text(found, &hint));
        } else {
            let zeros = |from| {
                raw.iter()
                    .skip(from)
                    .step_by(2)
                    .filter(|&&b| b == 0)
                    .count()
            };
            let (even, odd) = (zeros(0), zeros(1));
            if even + odd >= 4 && (even + odd) * 10 >= raw.len() {
                let found = format!("{} zeros in the first {} bytes", even + odd, raw.len());
                let is_utf16 = even == 0 || odd == 0;
                let hint = if is_utf16 {
                    utf16
                } else {
                    "`--tokens byte` takes any file"
                };
                return Err(self.not_text(found, hint));
            }
        }
        Ok(())
    }

    fn not_text(&self, found: String, hint: &str) -> Error {
        Error::Data {
            path: self.name.clone(),
            line: self.line,
            column: self.column,
            found,
            expected: "UTF-8 text".into(),
            hint: hint.into(),
        }
    }

    fn not_utf8(&self, valid: &str, wrong: &[u8], wrong_len: Option<usize>) -> Error {
        let (line, column) = position_after(valid, self.line, self.column);
        let wrong = &wrong[..wrong_len.unwrap_or(wrong.len())];
        let noun = if wrong.len() == 1 { "byte" } else { "bytes" };
        let cut = match wrong_len {
            Some(_) => "",
            None => " at the end of the file, where a character is cut off",
        };
        Error::Data {
            path: self.name.clone(),
            line,
            column,
            found: format!("the {noun} {}{cut}", hex(wrong)),
            expected: "UTF-8 text".into(),
            hint: "`--tokens byte` takes any file; or convert it: `iconv -f ISO-8859-1 -t UTF-8`"
                .into(),
        }
    }
}

/// Line and column after `text`, which begins at the given ones.
fn position_after(text: &str, line: u64, column: u64) -> (u64, u64) {
    match text.rfind('\n') {
        None => (line, column + text.chars().count() as u64),
        Some(last) => {
            let lines = text.bytes().filter(|&byte| byte == b'\n').count() as u64;
            (line + lines, 1 + text[last + 1..].chars().count() as u64)
        }
    }
}

/// Appends `text` with LF for CR LF and returns how many there were.
fn push_folded(text: &str, out: &mut String) -> u64 {
    if !text.contains('\r') {
        out.push_str(text);
        return 0;
    }
    let mut pieces = text.split("\r\n");
    out.push_str(pieces.next().unwrap_or_default());
    let mut folded = 0;
    for piece in pieces {
        out.push('\n');
        out.push_str(piece);
        folded += 1;
    }
    folded
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn read_all(content: &[u8], kind: TokenKind, chunk: usize) -> Result<(Vec<u8>, TextNotes)> {
        let reader = BufReader::with_capacity(chunk, content);
        let mut reader = SymbolReader::new(reader, "a.txt", kind);
        let mut out = Vec::new();
        while reader.advance()? {
            assert!(!reader.block().as_bytes().is_empty());
            out.extend_from_slice(reader.block().as_bytes());
        }
        assert!(!reader.advance()?);
        assert!(reader.block().as_bytes().is_empty());
        assert_eq!(reader.bytes_read(), content.len() as u64);
        Ok((out, reader.notes()))
    }

    #[test]
    fn bom_and_line_ends_are_folded_for_chars_only() {
        let content = b"\xEF\xBB\xBFa\r\nb\rc\r\r\n\xEF\xBB\xBF\r";
        let (out, notes) = read_all(content, TokenKind::Char, 2).unwrap();
        assert_eq!(out, "a\nb\rc\r\n\u{FEFF}\r".as_bytes());
        assert_eq!(notes, TextNotes { bom: true, crlf: 2 });
        let (out, notes) = read_all(content, TokenKind::Byte, 2).unwrap();
        assert_eq!(out, content);
        assert_eq!(notes, TextNotes::default());
    }

    #[test]
    fn small_files_are_read() {
        for content in ["", "a", "é", "\r", "\n", "\0", "\r\n\r"] {
            let (out, _) = read_all(content.as_bytes(), TokenKind::Char, 1).unwrap();
            assert_eq!(out, content.replace("\r\n", "\n").as_bytes());
        }
        let (out, notes) = read_all(b"\xEF\xBB\xBF", TokenKind::Char, 1).unwrap();
        assert!(out.is_empty() && notes.bom);
    }

    #[test]
    fn wrong_bytes_are_placed() {
        let place = |content: &[u8], chunk| match read_all(content, TokenKind::Char, chunk) {
            Err(Error::Data {
                line,
                column,
                found,
                hint,
                ..
            }) => {
                assert!(hint.contains("--tokens byte"));
                (line, column, found)
            }
            other => panic!("{other:?}"),
        };
        for chunk in [1, 3, 4, 5, 100] {
            let found = place(b"ab\r\n\xC3\xA9x\xE9\n", chunk);
            assert_eq!(found, (2, 3, "the byte E9".into()));
            let found = place(b"\xEF\xBB\xBFab\xF0\x9F\x98a", chunk);
            assert_eq!(found, (1, 3, "the bytes F0 9F 98".into()));
            let (line, column, found) = place(b"a\nb\n\nabc\xE2\x82", chunk);
            assert_eq!((line, column), (4, 4));
            assert!(found.starts_with("the bytes E2 82 at the end"), "{found}");
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        let error = |content: &[u8]| read_all(content, TokenKind::Char, 100).unwrap_err();
        let utf16: Vec<u8> = "hello".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(error(&utf16).hint().unwrap().contains("UTF-16"));
        assert!(
            error(&[&[0xFF, 0xFE], &utf16[..]].concat())
                .to_string()
                .contains("UTF-16")
        );
        assert!(error(&[0xFE, 0xFF, 0, b'a']).to_string().contains("FE FF"));
        assert!(
            error(&[1, 0, 0, 0, 2, 3, 0])
                .to_string()
                .contains("4 zeros in the first 7")
        );
        assert!(
            error(b"\x1F\x8B\x08\0")
                .to_string()
                .contains("packed by gzip")
        );
        assert!(
            error(b"\x28\xB5\x2F\xFD")
                .to_string()
                .contains("packed by zstd")
        );
        for content in [&utf16[..], b"\x1F\x8B\x08\0"] {
            assert_eq!(read_all(content, TokenKind::Byte, 3).unwrap().0, content);
        }
    }

    #[test]
    fn reading_errors_name_the_file() {
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("broken"))
            }
        }
        let mut reader = SymbolReader::new(BufReader::new(Broken), "a.txt", TokenKind::Byte);
        assert_eq!(
            reader.advance().unwrap_err().to_string(),
            "cannot read `a.txt`"
        );
    }

    proptest! {
        #[test]
        fn blocks_do_not_matter(text in "[a\r\né한😀]{0,60}", chunk in 1usize..20) {
            let (out, notes) = read_all(text.as_bytes(), TokenKind::Char, chunk).unwrap();
            prop_assert_eq!(out, text.replace("\r\n", "\n").into_bytes());
            prop_assert_eq!(notes.crlf as usize, text.matches("\r\n").count());
        }

        #[test]
        fn any_bytes_are_read_or_refused_alike(
            content in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(0xC3)], 0..60),
            chunk in 1usize..20,
        ) {
            let whole = read_all(&content, TokenKind::Char, 1000);
            let parts = read_all(&content, TokenKind::Char, chunk);
            // The count of zeros looks at the first block only.
            prop_assume!(content.iter().filter(|&&b| b == 0).count() < 4);
            prop_assert_eq!(format!("{:?}", whole), format!("{:?}", parts));
            prop_assert_eq!(read_all(&content, TokenKind::Byte, chunk).unwrap().0, content);
        }
    }
}
