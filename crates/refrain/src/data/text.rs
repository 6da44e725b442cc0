//! Texts: all of it at once, or token by token in constant memory.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::source::{self, hex, io_error};
use super::symbols::{Block, SymbolReader, TextNotes as Notes};
use super::vocabulary::{cut_before, piece_end};
use super::{TokenKind, Vocabulary};
use crate::{Error, Result};

pub use super::symbols::TextNotes;

/// The most bytes that [`Text::open`] reads, unpacked: 4 GiB.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 32;

/// How texts are opened.
pub struct TextOptions<'a> {
    /// What a token is.
    pub tokens: TokenKind,
    /// The most bytes to read in all, unpacked; more is an error before it is kept.
    pub max_bytes: u64,
    /// What the path `-` stands for; without it `-` is an error.
    pub stdin: Option<Box<dyn Read + 'a>>,
}

impl<'a> TextOptions<'a> {
    /// Up to [`DEFAULT_MAX_BYTES`] and no standard input.
    #[must_use]
    pub fn new(tokens: TokenKind) -> Self {
        Self {
            tokens,
            max_bytes: DEFAULT_MAX_BYTES,
            stdin: None,
        }
    }

    /// Sets the limit on the size.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets what `-` stands for.
    #[must_use]
    pub fn stdin(mut self, reader: impl Read + 'a) -> Self {
        self.stdin = Some(Box::new(reader));
        self
    }
}

/// One file of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSource {
    /// Its absolute path, `-` for standard input, or the name of a built-in text.
    pub path: PathBuf,
    /// Its size in bytes, unpacked.
    pub bytes: u64,
}

/// The files of a text, read one after the other as one.
struct TextStream<'a> {
    tokens: TokenKind,
    paths: std::vec::IntoIter<PathBuf>,
    stdin: Option<Box<dyn Read + 'a>>,
    max_bytes: u64,
    bytes_before: u64,
    current: Option<SymbolReader<Box<dyn BufRead + 'a>>>,
    sources: Vec<TextSource>,
    notes: Notes,
}

impl<'a> TextStream<'a> {
    fn new(paths: Vec<PathBuf>, options: TextOptions<'a>) -> Self {
        Self {
            tokens: options.tokens,
            paths: paths.into_iter(),
            stdin: options.stdin,
            max_bytes: options.max_bytes,
            bytes_before: 0,
            current: None,
            sources: Vec::new(),
            notes: Notes::default(),
        }
    }

    fn advance(&mut self) -> Result<bool> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.paths.next() else {
                    return Ok(false);
                };
                self.current = Some(self.open(&path)?);
            }
            let Some(reader) = &mut self.current else {
                return Ok(false);
            };
            if reader.advance()? {
                if self.bytes_before + reader.bytes_read() > self.max_bytes {
                    return Err(self.too_large());
                }
                return Ok(true);
            }
            let bytes = reader.bytes_read();
            self.notes.add(reader.notes());
            self.bytes_before += bytes;
            if let Some(source) = self.sources.last_mut() {
                source.bytes = bytes;
            }
            self.current = None;
        }
    }

    fn block(&self) -> Block<'_> {
        match &self.current {
            Some(reader) => reader.block(),
            None if self.tokens.is_text() => Block::Chars(""),
            None => Block::Bytes(&[]),
        }
    }

    fn open(&mut self, path: &Path) -> Result<SymbolReader<Box<dyn BufRead + 'a>>> {
        let (reader, absolute): (Box<dyn BufRead + 'a>, _) = if path.as_os_str() == "-" {
            let stdin = self.stdin.take().ok_or_else(|| Error::Unusable {
                problem: "`-` (standard input) cannot be read here, or a second time".into(),
                hint: "name a file".into(),
            })?;
            (Box::new(BufReader::new(stdin)), path.to_owned())
        } else {
            let absolute = std::path::absolute(path).map_err(|e| io_error("find", path, e))?;
            (source::open(path)?, absolute)
        };
        self.sources.push(TextSource {
            path: absolute,
            bytes: 0,
        });
        let name = path.display().to_string();
        Ok(SymbolReader::new(reader, name, self.tokens))
    }

    fn too_large(&self) -> Error {
        let name = match self.sources.last() {
            Some(source) => source.path.display().to_string(),
            None => String::new(),
        };
        let (mb, bytes) = (self.max_bytes >> 20, self.max_bytes);
        let limit = if mb == 0 {
            format!("{bytes} bytes")
        } else {
            format!("{mb} MB")
        };
        Error::Unusable {
            problem: format!("the text is larger than the limit of {limit} (reached in `{name}`)"),
            hint: "give a part of the text, or more memory".into(),
        }
    }
}

#[derive(Clone, Debug)]
enum Content {
    Chars(String),
    Bytes(Vec<u8>),
}

/// A whole text in memory, out of one or several files.
#[derive(Clone, Debug)]
pub struct Text {
    tokens: TokenKind,
    content: Content,
    symbols: u64,
    sha256: String,
    sources: Vec<TextSource>,
    notes: TextNotes,
}

impl Text {
    /// Reads files, and folders file by file, as one text in the order given.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be read, [`Error::Data`] where one is not UTF-8 (but for byte
    /// tokens), [`Error::Unusable`] where a file is empty or all are larger than [`DEFAULT_MAX_BYTES`].
    pub fn open(paths: &[impl AsRef<Path>], tokens: TokenKind) -> Result<Self> {
        Self::open_with(paths, TextOptions::new(tokens))
    }

    /// As [`open`](Self::open), with a limit and a standard input of the caller's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(paths: &[impl AsRef<Path>], options: TextOptions<'_>) -> Result<Self> {
        let tokens = options.tokens;
        let paths = source::expand(paths)?;
        let mut content = Vec::new();
        let mut stream = TextStream::new(paths, options);
        while stream.advance()? {
            content.extend_from_slice(stream.block().as_bytes());
        }
        if let Some(empty) = stream.sources.iter().find(|source| source.bytes == 0) {
            return Err(Error::Unusable {
                problem: format!("`{}` is empty", empty.path.display()),
                hint: "give a text of two symbols or more".into(),
            });
        }
        let content = if tokens.is_text() {
            // Blocks of a text are whole characters, so nothing is lost here.
            Content::Chars(into_text(content))
        } else {
            Content::Bytes(content)
        };
        Ok(Self::new(tokens, content, stream.sources, stream.notes))
    }

    /// A text that is in memory already; `name` stands for its path.
    #[must_use]
    pub fn from_content(name: &str, text: &str, tokens: TokenKind) -> Self {
        let content = if tokens.is_text() {
            Content::Chars(text.to_owned())
        } else {
            Content::Bytes(text.as_bytes().to_owned())
        };
        let source = TextSource {
            path: name.into(),
            bytes: text.len() as u64,
        };
        Self::new(tokens, content, vec![source], TextNotes::default())
    }

    fn new(
        tokens: TokenKind,
        content: Content,
        sources: Vec<TextSource>,
        notes: TextNotes,
    ) -> Self {
        let (bytes, symbols) = match &content {
            Content::Chars(text) => (text.as_bytes(), text.chars().count()),
            Content::Bytes(bytes) => (&bytes[..], bytes.len()),
        };
        Self {
            tokens,
            symbols: symbols as u64,
            sha256: hex(&Sha256::digest(bytes)).replace(' ', "").to_lowercase(),
            content,
            sources,
            notes,
        }
    }

    /// What it is to be cut into.
    #[must_use]
    pub fn tokens(&self) -> TokenKind {
        self.tokens
    }

    /// Its bytes, after a byte order mark and CR LF were dealt with.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.content {
            Content::Chars(text) => text.as_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }

    /// The text; `None` of byte tokens.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Chars(text) => Some(text),
            Content::Bytes(_) => None,
        }
    }

    /// How many characters or, of byte tokens, bytes it has.
    #[must_use]
    pub fn symbols(&self) -> u64 {
        self.symbols
    }

    /// The SHA-256 of [`as_bytes`](Self::as_bytes), in hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The files it came from.
    #[must_use]
    pub fn sources(&self) -> &[TextSource] {
        &self.sources
    }

    /// What was changed while reading.
    #[must_use]
    pub fn notes(&self) -> TextNotes {
        self.notes
    }

    /// The place in bytes where a part may end: after so many symbols, or, where a token may have several, at the last white
    /// space before that.
    pub(super) fn place(&self, symbols: u64) -> usize {
        let Content::Chars(text) = &self.content else {
            return symbols as usize;
        };
        match nth_char(text, symbols) {
            at if self.tokens.spans_symbols() && (1..text.len()).contains(&at) => {
                cut_before(text, at)
            }
            at => at,
        }
    }

    /// The part between two places.
    ///
    /// # Panics
    ///
    /// Where `start` is beyond `end` or `end` beyond the text.
    pub(super) fn part(&self, start: usize, end: usize) -> Block<'_> {
        match &self.content {
            Content::Bytes(bytes) => Block::Bytes(&bytes[start..end]),
            Content::Chars(text) => Block::Chars(&text[start..end]),
        }
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The place in bytes of character `n`, or the length of a text that has just `n`.
fn nth_char(text: &str, n: u64) -> usize {
    /// Bytes that are counted in one go, which is many times faster than one by one.
    const CHUNK: usize = 4096;
    let (mut place, mut left) = (0, n);
    for chunk in text.as_bytes().chunks(CHUNK) {
        // Continuation bytes 0b10xx_xxxx begin no character.
        let begin = chunk.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() as u64;
        if begin > left {
            break;
        }
        left -= begin;
        place += chunk.len();
    }
    let begins = |at: &usize| text.is_char_boundary(*at);
    (place..=text.len())
        .filter(begins)
        .nth(left as usize)
        .unwrap_or(text.len())
}

/// Appends a block's ids and returns how many symbols were unknown.
pub(super) fn encode_block(vocabulary: &Vocabulary, block: Block<'_>, ids: &mut Vec<u32>) -> u64 {
    match block {
        Block::Chars(text) => vocabulary.encode_into(text, ids),
        Block::Bytes(bytes) => {
            vocabulary.encode_bytes_into(bytes, ids);
            0
        }
    }
}

/// A piece of a text as tokens, never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBlock {
    /// The ids.
    pub ids: Vec<u32>,
    /// For each id, how many characters of the text it stands for ([`Vocabulary::each_token`]).
    pub characters: Vec<u32>,
}

/// Reads files as blocks of tokens, in constant memory, whatever their size.
///
/// The tokens are those of the whole text. Symbols outside the vocabulary are counted; words become
/// [`UNKNOWN`](super::vocabulary::UNKNOWN), characters are left out. After an error it ends.
pub struct TokenReader<'a> {
    stream: TextStream<'a>,
    vocabulary: Vocabulary,
    /// Read and not yet cut into tokens, where a token may have several symbols.
    waiting: String,
    unknown: u64,
    ended: bool,
}

impl<'a> TokenReader<'a> {
    /// A reader at the start of the first file; folders and packed files are read as [`Text::open`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a folder cannot be listed; what is wrong with a file comes out of the iterator.
    pub fn open(
        paths: &[impl AsRef<Path>],
        vocabulary: Vocabulary,
        stdin: Option<Box<dyn Read + 'a>>,
    ) -> Result<Self> {
        let options = TextOptions {
            tokens: vocabulary.kind(),
            max_bytes: u64::MAX,
            stdin,
        };
        Ok(Self {
            stream: TextStream::new(source::expand(paths)?, options),
            vocabulary,
            waiting: String::new(),
            unknown: 0,
            ended: false,
        })
    }

    /// How many symbols outside the vocabulary there were so far.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// What was changed in the files that have ended.
    #[must_use]
    pub fn notes(&self) -> TextNotes {
        self.stream.notes
    }

    /// The next block, which may be empty; `None` at the end.
    fn advance(&mut self) -> Result<Option<TokenBlock>> {
        loop {
            if let Some(end) = piece_end(&self.waiting, self.ended).filter(|&end| end > 0) {
                let (block, unknown) = tokens(&self.vocabulary, Block::Chars(&self.waiting[..end]));
                self.waiting.drain(..end);
                self.unknown += unknown;
                return Ok(Some(block));
            }
            if self.ended {
                return Ok(None);
            }
            self.ended = !self.stream.advance()?;
            match self.stream.block() {
                Block::Chars(text) if self.vocabulary.kind().spans_symbols() => {
                    self.waiting.push_str(text);
                }
                block => {
                    let (block, unknown) = tokens(&self.vocabulary, block);
                    self.unknown += unknown;
                    return Ok(Some(block));
                }
            }
        }
    }
}

impl Iterator for TokenReader<'_> {
    type Item = Result<TokenBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(block)) if block.ids.is_empty() => {}
                Ok(block) => return block.map(Ok),
                Err(error) => {
                    self.ended = true;
                    self.waiting.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The tokens of a block, and how many symbols were unknown.
fn tokens(vocabulary: &Vocabulary, block: Block<'_>) -> (TokenBlock, u64) {
    let mut tokens = TokenBlock::default();
    let unknown = match block {
        Block::Chars(text) => vocabulary.each_token(text, |id, characters| {
            tokens.ids.push(id);
            tokens.characters.push(characters);
        }),
        Block::Bytes(bytes) => {
            vocabulary.encode_bytes_into(bytes, &mut tokens.ids);
            let characters = |id: &u32| vocabulary.characters(&[*id]) as u32;
            tokens.characters.extend(tokens.ids.iter().map(characters));
            0
        }
    };
    (tokens, unknown)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::source::tests::gzip;
    use super::super::{WordCounts, WordOptions};
    use super::*;

    /// Of "abc", from the standard's examples.
    const SHA256_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn files_become_one_text() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.gz"));
        fs::write(&a, "\u{FEFF}h\r\n").unwrap();
        fs::write(&b, gzip("\u{FEFF}é\r\n".as_bytes())).unwrap();
        let options = TextOptions::new(TokenKind::Char).stdin(&b"xyz"[..]);
        let text = Text::open_with(&[&a, Path::new("-"), &b], options).unwrap();
        assert_eq!(text.as_str(), Some("h\nxyzé\n"));
        assert_eq!(text.symbols(), 7);
        assert_eq!(text.notes(), TextNotes { bom: true, crlf: 2 });
        let sources: Vec<_> = text
            .sources()
            .iter()
            .map(|s| (s.path.clone(), s.bytes))
            .collect();
        assert_eq!(sources, [(a.clone(), 6), ("-".into(), 3), (b.clone(), 7)]);

        let bytes = Text::open(&[&a], TokenKind::Byte).unwrap();
        assert_eq!(bytes.as_bytes(), "\u{FEFF}h\r\n".as_bytes());
        assert_eq!((bytes.symbols(), bytes.as_str()), (6, None));
    }

    #[test]
    fn the_hash_is_of_the_content() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1"), "\u{FEFF}a").unwrap();
        fs::write(dir.path().join("2"), "bc").unwrap();
        let text = Text::open(&[dir.path()], TokenKind::Char).unwrap();
        assert_eq!(text.sha256(), SHA256_ABC);
        assert_eq!(
            Text::from_content("x", "abc", TokenKind::Byte).sha256(),
            SHA256_ABC
        );
    }

    #[test]
    fn empty_missing_and_repeated_sources_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.txt");
        fs::write(&empty, "").unwrap();
        let error = Text::open(&[&empty], TokenKind::Char)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("empty.txt` is empty"), "{error}");
        let missing = Text::open(&[dir.path().join("none")], TokenKind::Char);
        assert!(matches!(missing, Err(Error::Io { .. })));
        assert!(Text::open(&["-"], TokenKind::Char).is_err());
        let options = TextOptions::new(TokenKind::Char).stdin(&b"ab"[..]);
        assert!(Text::open_with(&["-", "-"], options).is_err());
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![b'a'; 50 << 20];
        let bombs = [
            ("a.gz", gzip(&zeros)),
            ("a.zst", zstd::encode_all(&zeros[..], 3).unwrap()),
        ];
        for (name, packed) in bombs {
            let path = dir.path().join(name);
            fs::write(&path, packed).unwrap();
            let options = TextOptions::new(TokenKind::Byte).max_bytes(1 << 20);
            let error = Text::open_with(&[&path], options).unwrap_err().to_string();
            assert!(error.contains("larger than the limit of 1 MB"), "{error}");
        }
        let options = TextOptions::new(TokenKind::Byte).max_bytes(3);
        assert!(Text::open_with(&["-"], options.stdin(&b"abc"[..])).is_ok());
        let options = TextOptions::new(TokenKind::Byte).max_bytes(3);
        assert!(Text::open_with(&["-"], options.stdin(&b"abcd"[..])).is_err());
    }

    #[test]
    fn parts_are_cut_at_characters() {
        let text = Text::from_content("x", "aé한b", TokenKind::Char);
        let part = |start, end| text.part(text.place(start), text.place(end));
        assert_eq!(part(1, 3), Block::Chars("é한"));
        assert_eq!(part(0, 4), Block::Chars("aé한b"));
        assert_eq!(part(4, 4), Block::Chars(""));
        let text = Text::from_content("x", "abc", TokenKind::Byte);
        assert_eq!(text.part(text.place(1), text.place(3)), Block::Bytes(b"bc"));
        // Words stay whole.
        for tokens in [TokenKind::Word, TokenKind::Bpe(300)] {
            let text = Text::from_content("x", "one two three", tokens);
            let places = [0, 2, 5, 12, 13].map(|symbols| text.place(symbols));
            assert_eq!(places, [0, 2, 3, 7, 13]);
        }
    }

    #[test]
    fn characters_are_found_across_chunks() {
        let text = "añ한😀".repeat(1500);
        for n in 0..=6000 {
            let expected = text
                .char_indices()
                .nth(n)
                .map_or(text.len(), |(place, _)| place);
            assert_eq!(nth_char(&text, n as u64), expected);
        }
        assert_eq!(nth_char("", 0), 0);
    }

    #[test]
    fn tokens_stream_as_the_whole_text_encodes() {
        let dir = tempfile::tempdir().unwrap();
        let content: String = "añb한\r\nc".chars().cycle().take(200_000).collect();
        for name in ["1.txt", "2.txt"] {
            fs::write(dir.path().join(name), &content).unwrap();
        }
        let mut words = WordCounts::new(WordOptions::default()).with_line_breaks();
        words.add_text("añb한\n");
        for vocabulary in [
            Vocabulary::from_text("abcñ\n").unwrap(),
            Vocabulary::bytes(),
            words.finish().unwrap().0,
            Vocabulary::from_text_bpe(&content[..10_000], 300).unwrap(),
        ] {
            let text = Text::open(&[dir.path()], vocabulary.kind()).unwrap();
            let mut expected = Vec::new();
            let whole = text.part(0, text.as_bytes().len());
            let unknown = encode_block(&vocabulary, whole, &mut expected);
            let kind = vocabulary.kind();
            let mut reader = TokenReader::open(&[dir.path()], vocabulary, None).unwrap();
            let (mut ids, mut characters) = (Vec::new(), 0);
            for block in &mut reader {
                let block = block.unwrap();
                assert!(!block.ids.is_empty() && block.ids.len() <= 1 << 17);
                assert_eq!(block.ids.len(), block.characters.len());
                ids.extend(block.ids);
                characters += block.characters.iter().map(|&n| u64::from(n)).sum::<u64>();
            }
            assert!(ids == expected, "{kind}");
            assert_eq!(reader.unknown(), unknown, "{kind}");
            assert_eq!(reader.notes(), text.notes());
            let left_out = if kind == TokenKind::Char { unknown } else { 0 };
            let whole = String::from_utf8_lossy(text.as_bytes()).chars().count() as u64;
            assert_eq!(characters + left_out, whole, "{kind}");
        }
    }

    #[test]
    fn a_token_reader_ends_after_an_error() {
        let vocabulary = Vocabulary::from_text("ab").unwrap();
        let stdin: Box<dyn Read> = Box::new(&b"ab\xFF"[..]);
        let mut reader = TokenReader::open(&["-"], vocabulary, Some(stdin)).unwrap();
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }
}
