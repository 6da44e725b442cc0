//! Vocabularies: which symbols there are, and the number of each.

mod bpe;
mod chars;
mod decoder;
mod kind;
mod pieces;
mod words;

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{Error, Result};

use bpe::BpeTable;
use chars::{CharTable, unknown_symbol};
pub use decoder::Decoder;
pub use kind::TokenKind;
pub(super) use pieces::{cut_before, piece_end};
pub use words::{UNKNOWN, WordCounts, WordOptions};
use words::{UNKNOWN_ID, WordTable};

/// A text turned into ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The id of each token, in order.
    pub ids: Vec<u32>,
    /// How many symbols are outside the vocabulary: words are [`UNKNOWN`] in `ids`, characters are left out.
    pub unknown: u64,
}

/// The symbols of a model, numbered from 0. Cheap to clone.
///
/// # Examples
///
/// ```
/// use refrain::data::Vocabulary;
///
/// let vocabulary = Vocabulary::from_chars("hello".chars())?;
/// assert_eq!(vocabulary.len(), 4);
/// assert_eq!(vocabulary.encode("hole!").ids, [0, 3, 2, 1]);
/// assert_eq!(vocabulary.encode("hole!").unknown, 1);
/// assert_eq!(vocabulary.decode(&[0, 1, 2, 2, 3]), "hello");
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Vocabulary {
    table: Table,
}

#[derive(Clone, PartialEq, Eq)]
enum Table {
    Char(Arc<CharTable>),
    Byte,
    Word(Arc<WordTable>),
    Bpe(Arc<BpeTable>),
}

/// Every byte, so that a token's bytes can be lent as a slice.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut i = 0;
    while i < 256 {
        bytes[i] = i as u8;
        i += 1;
    }
    bytes
};

impl Vocabulary {
    /// The 256 bytes.
    #[must_use]
    pub fn bytes() -> Self {
        Self { table: Table::Byte }
    }

    /// The given characters in the given order; of a repeated one the first counts.
    ///
    /// # Errors
    ///
    /// Where there is no character at all.
    pub fn from_chars(chars: impl IntoIterator<Item = char>) -> Result<Self> {
        let mut table = CharTable::new();
        for symbol in chars {
            table.insert(symbol);
        }
        if table.chars.is_empty() {
            return Err(Error::Unusable {
                problem: "a vocabulary needs at least one symbol, found none".into(),
                hint: "give a text that is not empty".into(),
            });
        }
        Ok(Self {
            table: Table::Char(Arc::new(table)),
        })
    }

    /// The characters of a text, sorted by code point.
    ///
    /// # Errors
    ///
    /// Where the text is empty.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut seen = CharTable::new();
        for symbol in text.chars() {
            seen.insert(symbol);
        }
        let mut chars = seen.chars;
        chars.sort_unstable();
        Self::from_chars(chars)
    }

    /// At most `size` pieces of words, learnt from a text by byte-pair encoding; the 256 bytes are always among them, so that
    /// no text has an unknown symbol.
    ///
    /// Of a text longer than 64 MiB the beginning is learnt from, of a word longer than 64 bytes its parts. The same text gives the same tokens on every machine.
    ///
    /// # Errors
    ///
    /// None that a text could cause.
    ///
    /// # References
    ///
    /// Sennrich, Haddow and Birch, Neural machine translation of rare words with subword units, 2016; over bytes, with the
    /// words of GPT-2: Radford et al., Language models are unsupervised multitask learners, 2019.
    pub fn from_text_bpe(text: &str, size: u32) -> Result<Self> {
        let table = BpeTable::train(text, size)?;
        Ok(Self {
            table: Table::Bpe(Arc::new(table)),
        })
    }

    /// What its tokens are; the number of [`TokenKind::Bpe`] is how many there are.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        match &self.table {
            Table::Char(_) => TokenKind::Char,
            Table::Byte => TokenKind::Byte,
            Table::Word(_) => TokenKind::Word,
            Table::Bpe(table) => TokenKind::Bpe(table.len() as u32), // at most 65,536
        }
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.table {
            Table::Char(table) => table.chars.len(),
            Table::Byte => 256,
            Table::Word(table) => table.len(),
            Table::Bpe(table) => table.len(),
        }
    }

    /// Always `false`: a vocabulary has at least one token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token that is just this character. Of bytes only an ASCII character is one token.
    #[must_use]
    pub fn id(&self, symbol: char) -> Option<u32> {
        let mut buffer = [0; 4];
        match &self.table {
            Table::Char(table) => table.id(symbol),
            Table::Byte => symbol.is_ascii().then_some(symbol as u32),
            Table::Word(table) => table.id(symbol.encode_utf8(&mut buffer)),
            Table::Bpe(table) => table.id(symbol.encode_utf8(&mut buffer).as_bytes()),
        }
    }

    /// The id of a word that is cut out already, as it stands; [`unknown_id`](Self::unknown_id) of one outside the vocabulary.
    ///
    /// # Panics
    ///
    /// Where this is not a vocabulary of words.
    #[must_use]
    pub fn word_id(&self, word: &str) -> u32 {
        match &self.table {
            Table::Word(table) => table.id(word).unwrap_or(UNKNOWN_ID),
            _ => panic!("`word_id` of a vocabulary of `{}`", self.kind()),
        }
    }

    /// The token that stands for every symbol outside the vocabulary; only words have one.
    #[must_use]
    pub fn unknown_id(&self) -> Option<u32> {
        matches!(self.table, Table::Word(_)).then_some(UNKNOWN_ID)
    }

    /// The ids of a text. Symbols outside the vocabulary are counted; words become [`UNKNOWN`], characters are left out.
    #[must_use]
    pub fn encode(&self, text: &str) -> Encoded {
        let mut encoded = Encoded::default();
        encoded.unknown = self.encode_into(text, &mut encoded.ids);
        encoded
    }

    /// Appends the ids of a text and returns how many symbols were unknown.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> u64 {
        self.each_token(text, |id, _| ids.push(id))
    }

    /// Gives the tokens of a text one after the other: the id, and how many characters of the text it stands for (of bytes and
    /// pieces of words: how many begin in it; of words: with the white space before it). Returns how many symbols were unknown.
    pub fn each_token(&self, text: &str, mut take: impl FnMut(u32, u32)) -> u64 {
        match &self.table {
            Table::Char(table) => {
                let mut unknown = 0;
                for symbol in text.chars() {
                    match table.id(symbol) {
                        Some(id) => take(id, 1),
                        None => unknown += 1,
                    }
                }
                return unknown;
            }
            Table::Byte => text
                .bytes()
                .for_each(|byte| take(byte.into(), begins_character(byte).into())),
            Table::Word(table) => return table.each(text, take),
            Table::Bpe(table) => table.each(text, |id| take(id, table.characters(id))),
        }
        0
    }

    /// Appends the ids of raw bytes.
    ///
    /// # Panics
    ///
    /// Where this is not a byte vocabulary.
    pub fn encode_bytes_into(&self, bytes: &[u8], ids: &mut Vec<u32>) {
        assert_eq!(
            self.kind(),
            TokenKind::Byte,
            "raw bytes need a byte vocabulary"
        );
        ids.extend(bytes.iter().map(|&byte| u32::from(byte)));
    }

    /// The ids of a text, all of whose symbols must be known.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSymbol`] at the first character or word outside the vocabulary.
    pub fn try_encode(&self, text: &str) -> Result<Vec<u32>> {
        let error = match &self.table {
            Table::Char(table) => {
                let mut symbols = text.chars();
                let unknown = symbols.find(|&symbol| table.id(symbol).is_none());
                unknown.map(|symbol| unknown_symbol(table, symbol))
            }
            Table::Word(table) => table.first_unknown(text),
            Table::Byte | Table::Bpe(_) => None,
        };
        match error {
            Some(error) => Err(error),
            None => Ok(self.encode(text).ids),
        }
    }

    /// A token in a form for the eye: `␣` for the space, `\n` and the like for what cannot be seen,
    /// `\xE9` for bytes beyond ASCII that are no character of their own.
    ///
    /// # Panics
    ///
    /// Where `id` is not below [`len`](Self::len).
    #[must_use]
    pub fn token_text(&self, id: u32) -> String {
        match &self.table {
            Table::Char(table) => visible(table.char(id)),
            Table::Byte => visible_bytes(&[BYTES[id as usize]]),
            Table::Word(table) => table.word(id).chars().map(visible).collect(),
            Table::Bpe(table) => visible_bytes(table.bytes(id)),
        }
    }

    /// The bytes of a token: a character's or a word's UTF-8, the one byte, or those of a piece of a word.
    ///
    /// # Panics
    ///
    /// Where `id` is not below [`len`](Self::len).
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match &self.table {
            Table::Char(table) => table.bytes(id),
            Table::Byte => std::slice::from_ref(&BYTES[id as usize]),
            Table::Word(table) => table.word(id).as_bytes(),
            Table::Bpe(table) => table.bytes(id),
        }
    }

    /// The text of ids; bytes that are not UTF-8 become U+FFFD.
    ///
    /// Words are joined by one space, with these exceptions: none at the start and on either side of a line break; none before
    /// a mark that closes (`. , ; : ! ? ) ] } %` and their like) and after one that opens (`( [ { $ #` and their like); none on
    /// either side of a hyphen, dash, slash or apostrophe; straight double quotes open and close in turn within a line; none
    /// between characters of scripts that are written without spaces (Chinese, Japanese, Thai and others).
    ///
    /// # Panics
    ///
    /// Where an id is not below [`len`](Self::len).
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text = String::with_capacity(ids.len());
        for &id in ids {
            decoder.push(id, &mut text);
        }
        decoder.finish(&mut text);
        text
    }

    /// A decoder that takes one id after the other.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.clone())
    }

    /// A decoder that goes on after a text that is whole: between words it knows whether a space comes next.
    ///
    /// # Panics
    ///
    /// Where an id is not below [`len`](Self::len).
    #[must_use]
    pub fn decoder_after(&self, ids: &[u32]) -> Decoder {
        let mut decoder = self.decoder();
        if let Table::Word(_) = self.table {
            ids.iter()
                .for_each(|&id| decoder.push(id, &mut String::new()));
        }
        decoder
    }

    /// How many characters the ids stand for; of bytes and pieces of words, how many begin in them.
    ///
    /// Of words it is the length of [`decode`](Self::decode), since the text that they came from may have had other spaces and
    /// other words than [`UNKNOWN`]; [`each_token`](Self::each_token) tells what it had.
    #[must_use]
    pub fn characters(&self, ids: &[u32]) -> u64 {
        match &self.table {
            Table::Char(_) => ids.len() as u64,
            Table::Byte => ids
                .iter()
                .filter(|&&id| begins_character(BYTES[id as usize]))
                .count() as u64,
            Table::Word(_) => self.decode(ids).chars().count() as u64,
            Table::Bpe(table) => ids.iter().map(|&id| u64::from(table.characters(id))).sum(),
        }
    }

    /// The form in which files keep it: `{"kind": "char", "tokens": [in the order of ids]}`, `{"kind": "byte"}`,
    /// `{"kind": "word", "tokens": [...], "lowercase": true|false}` or `{"kind": "bpe", "tokenizer": {...}}`, where `tokenizer`
    /// is what other tools know as `tokenizer.json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.table {
            Table::Char(table) => {
                let tokens: Vec<String> = table.chars.iter().map(char::to_string).collect();
                json!({"kind": "char", "tokens": tokens})
            }
            Table::Byte => json!({"kind": "byte"}),
            Table::Word(table) => table.to_json(),
            Table::Bpe(table) => table.to_json(),
        }
    }

    /// Reads the form of [`to_json`](Self::to_json).
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where the kind is not known or the rest is not what that kind has.
    pub fn from_json(value: &Value) -> Result<Self> {
        let object = value
            .as_object()
            .ok_or_else(|| damaged("it is not an object".into()))?;
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .ok_or_else(|| damaged("it has no `kind`".into()))?;
        let table = match kind {
            "char" => {
                check_keys(object, &["tokens"])?;
                Table::Char(Arc::new(CharTable::from_json(tokens_of(object)?)?))
            }
            "byte" => {
                check_keys(object, &[])?;
                Table::Byte
            }
            "word" => {
                check_keys(object, &["tokens", "lowercase"])?;
                let lowercase = object.get("lowercase").and_then(Value::as_bool);
                let lowercase = lowercase
                    .ok_or_else(|| damaged("its `lowercase` is not a truth value".into()))?;
                Table::Word(Arc::new(WordTable::from_json(
                    tokens_of(object)?,
                    lowercase,
                )?))
            }
            "bpe" => {
                check_keys(object, &["tokenizer"])?;
                let tokenizer = object.get("tokenizer").unwrap_or(&Value::Null);
                Table::Bpe(Arc::new(BpeTable::from_json(tokenizer)?))
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(Error::Unusable {
                    problem: format!(
                        "the vocabulary's kind `{}` is not known",
                        other.escape_debug()
                    ),
                    hint: "this version knows `char`, `byte`, `word` and `bpe`; a newer one may know more"
                        .into(),
                });
            }
        };
        Ok(Self { table })
    }
}

fn check_keys(object: &Map<String, Value>, keys: &[&str]) -> Result<()> {
    match object
        .keys()
        .find(|key| *key != "kind" && !keys.contains(&key.as_str()))
    {
        Some(key) => Err(damaged(format!("unknown key `{}`", key.escape_debug()))),
        None => Ok(()),
    }
}

fn tokens_of(object: &Map<String, Value>) -> Result<&[Value]> {
    let tokens = object.get("tokens").and_then(Value::as_array);
    let tokens = tokens.ok_or_else(|| damaged("it has no list `tokens`".into()))?;
    Ok(tokens)
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Table::Char(table) => f.debug_tuple("Char").field(&table.chars).finish(),
            Table::Byte => f.write_str("Byte"),
            Table::Word(table) => write!(f, "Word({} tokens)", table.len()),
            Table::Bpe(table) => write!(f, "Bpe({} tokens)", table.len()),
        }
    }
}

/// Whether a byte of UTF-8 is the first of its character.
fn begins_character(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

/// A character in a form for the eye.
pub(crate) fn visible(symbol: char) -> String {
    match symbol {
        ' ' => "\u{2423}".into(),
        '\u{2423}' => "\\u{2423}".into(),
        '"' | '\'' => symbol.into(),
        _ => symbol.escape_debug().to_string(),
    }
}

/// Bytes in a form for the eye: characters as they are, others and what cannot be seen of ASCII by their numbers.
fn visible_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for symbol in chunk.valid().chars() {
            if symbol.is_ascii_control() && !"\n\r\t\0".contains(symbol) {
                text += &format!("\\x{:02X}", symbol as u32);
            } else {
                text += &visible(symbol);
            }
        }
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02X}");
        }
    }
    text
}

fn damaged(problem: String) -> Error {
    Error::Unusable {
        problem: format!("the vocabulary cannot be used: {problem}"),
        hint: "the file is damaged or was not written by Refrain".into(),
    }
}

#[cfg(test)]
mod tests;
