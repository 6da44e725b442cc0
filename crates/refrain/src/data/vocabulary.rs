//! Vocabularies: which symbols there are, and the number of each.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::names::named;
use crate::{Error, Result};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A Unicode scalar value.
    Char,
    /// A byte.
    Byte,
}

named!(TokenKind, "tokens", { Char => "char", Byte => "byte" });

/// A text turned into ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The id of each known symbol, in order.
    pub ids: Vec<u32>,
    /// How many symbols are outside the vocabulary; they are left out of `ids`.
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

/// Code points in a page of [`CharTable`].
const PAGE: usize = 256;
/// Pages that cover all code points.
const PAGES: usize = (char::MAX as usize + 1) / PAGE;
const ABSENT: u32 = u32::MAX;

/// Ids by code point in two steps: the page, then the place in the page. Page 0 is the empty one.
#[derive(PartialEq, Eq)]
struct CharTable {
    chars: Vec<char>,
    utf8: Vec<[u8; 4]>,
    page_of: Vec<u16>,
    pages: Vec<[u32; PAGE]>,
}

impl CharTable {
    fn new() -> Self {
        Self {
            chars: Vec::new(),
            utf8: Vec::new(),
            page_of: vec![0; PAGES],
            pages: vec![[ABSENT; PAGE]],
        }
    }

    /// Adds a symbol; `false` where it was there before.
    fn insert(&mut self, symbol: char) -> bool {
        let code = symbol as usize;
        let page = &mut self.page_of[code / PAGE];
        if *page == 0 {
            *page = self.pages.len() as u16; // at most PAGES = 4352
            self.pages.push([ABSENT; PAGE]);
        }
        let slot = &mut self.pages[usize::from(*page)][code % PAGE];
        if *slot != ABSENT {
            return false;
        }
        *slot = self.chars.len() as u32; // at most 1,112,064 scalar values
        self.chars.push(symbol);
        let mut bytes = [0; 4];
        symbol.encode_utf8(&mut bytes);
        self.utf8.push(bytes);
        true
    }

    #[inline]
    fn id(&self, symbol: char) -> Option<u32> {
        let code = symbol as usize;
        let page = usize::from(self.page_of[code / PAGE]);
        let id = self.pages[page][code % PAGE];
        (id != ABSENT).then_some(id)
    }
}

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

    /// What its tokens are.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        match self.table {
            Table::Char(_) => TokenKind::Char,
            Table::Byte => TokenKind::Byte,
        }
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.table {
            Table::Char(table) => table.chars.len(),
            Table::Byte => 256,
        }
    }

    /// Always `false`: a vocabulary has at least one token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a character. In a byte vocabulary only an ASCII character is one token.
    #[must_use]
    pub fn id(&self, symbol: char) -> Option<u32> {
        match &self.table {
            Table::Char(table) => table.id(symbol),
            Table::Byte => symbol.is_ascii().then_some(symbol as u32),
        }
    }

    /// The ids of a text; symbols outside the vocabulary are left out and counted.
    #[must_use]
    pub fn encode(&self, text: &str) -> Encoded {
        let mut encoded = Encoded::default();
        encoded.unknown = self.encode_into(text, &mut encoded.ids);
        encoded
    }

    /// Appends the ids of a text and returns how many symbols were unknown and left out.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> u64 {
        let Table::Char(table) = &self.table else {
            self.encode_bytes_into(text.as_bytes(), ids);
            return 0;
        };
        let mut unknown = 0;
        for symbol in text.chars() {
            match table.id(symbol) {
                Some(id) => ids.push(id),
                None => unknown += 1,
            }
        }
        unknown
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
    /// [`Error::UnknownSymbol`] at the first symbol outside the vocabulary.
    pub fn try_encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len());
        let Table::Char(table) = &self.table else {
            self.encode_bytes_into(text.as_bytes(), &mut ids);
            return Ok(ids);
        };
        for symbol in text.chars() {
            let Some(id) = table.id(symbol) else {
                return Err(unknown_symbol(table, symbol));
            };
            ids.push(id);
        }
        Ok(ids)
    }

    /// A token in a form for the eye: `␣` for the space, `\n` and the like for what cannot be seen,
    /// `\xE9` for bytes beyond ASCII.
    ///
    /// # Panics
    ///
    /// Where `id` is not below [`len`](Self::len).
    #[must_use]
    pub fn token_text(&self, id: u32) -> String {
        match &self.table {
            Table::Char(table) => visible(table.chars[id as usize]),
            Table::Byte => {
                let byte = BYTES[id as usize];
                if byte.is_ascii_graphic() || b" \n\r\t\0".contains(&byte) {
                    visible(char::from(byte))
                } else {
                    format!("\\x{byte:02X}")
                }
            }
        }
    }

    /// The bytes of a token: a character's UTF-8, or the one byte.
    ///
    /// # Panics
    ///
    /// Where `id` is not below [`len`](Self::len).
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match &self.table {
            Table::Char(table) => &table.utf8[id][..table.chars[id].len_utf8()],
            Table::Byte => std::slice::from_ref(&BYTES[id]),
        }
    }

    /// The text of ids; bytes that are not UTF-8 become U+FFFD.
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
        Decoder {
            vocabulary: self.clone(),
            pending: Vec::new(),
        }
    }

    /// How many characters the ids stand for; of bytes, those that begin a UTF-8 character count.
    #[must_use]
    pub fn characters(&self, ids: &[u32]) -> u64 {
        let is_continuation = |id: &&u32| **id & 0xC0 == 0x80;
        match self.table {
            Table::Char(_) => ids.len() as u64,
            Table::Byte => (ids.len() - ids.iter().filter(is_continuation).count()) as u64,
        }
    }

    /// The form in which files keep it: `{"kind": "char", "tokens": [in the order of ids]}` or
    /// `{"kind": "byte"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.table {
            Table::Char(table) => {
                let tokens: Vec<String> = table.chars.iter().map(char::to_string).collect();
                json!({"kind": "char", "tokens": tokens})
            }
            Table::Byte => json!({"kind": "byte"}),
        }
    }

    /// Reads the form of [`to_json`](Self::to_json).
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where the kind is not known, or the tokens are none, not strings of one
    /// character, or not all different.
    pub fn from_json(value: &Value) -> Result<Self> {
        let object = value
            .as_object()
            .ok_or_else(|| damaged("it is not an object".into()))?;
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .ok_or_else(|| damaged("it has no `kind`".into()))?;
        if let Some(key) = object
            .keys()
            .find(|key| !["kind", "tokens"].contains(&key.as_str()))
        {
            return Err(damaged(format!("unknown key `{}`", key.escape_debug())));
        }
        match kind {
            "char" => {
                let tokens = object
                    .get("tokens")
                    .and_then(Value::as_array)
                    .ok_or_else(|| damaged("it has no list `tokens`".into()))?;
                Self::from_json_tokens(tokens)
            }
            "byte" if object.contains_key("tokens") => {
                Err(damaged("kind `byte` has no `tokens`".into()))
            }
            "byte" => Ok(Self::bytes()),
            other => {
                let other: String = other.chars().take(40).collect();
                Err(Error::Unusable {
                    problem: format!(
                        "the vocabulary's kind `{}` is not known",
                        other.escape_debug()
                    ),
                    hint: "this version knows `char` and `byte`; a newer one may know more".into(),
                })
            }
        }
    }

    fn from_json_tokens(tokens: &[Value]) -> Result<Self> {
        if tokens.is_empty() {
            return Err(damaged("it has no tokens".into()));
        }
        let mut table = CharTable::new();
        for (id, token) in tokens.iter().enumerate() {
            let token = token
                .as_str()
                .ok_or_else(|| damaged(format!("token {id} is not a string")))?;
            let mut chars = token.chars();
            let (Some(symbol), None) = (chars.next(), chars.next()) else {
                let count = token.chars().count();
                return Err(damaged(format!(
                    "token {id} has {count} characters, expected 1"
                )));
            };
            // Being all different also bounds their number by that of the code points.
            if !table.insert(symbol) {
                return Err(damaged(format!(
                    "token {id}, `{}`, stands there twice",
                    visible(symbol)
                )));
            }
        }
        Ok(Self {
            table: Table::Char(Arc::new(table)),
        })
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Table::Char(table) => f.debug_tuple("Char").field(&table.chars).finish(),
            Table::Byte => f.write_str("Byte"),
        }
    }
}

/// Turns ids into text as they come, holding back what is not yet a whole UTF-8 character.
///
/// # Examples
///
/// ```
/// use refrain::data::Vocabulary;
///
/// let mut decoder = Vocabulary::bytes().decoder();
/// let mut text = String::new();
/// decoder.push(0xC3, &mut text);
/// assert_eq!(text, "");
/// decoder.push(0xA9, &mut text);
/// assert_eq!(text, "é");
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    vocabulary: Vocabulary,
    /// The beginning of a character, at most three bytes.
    pending: Vec<u8>,
}

impl Decoder {
    /// Takes one id and appends to `text` what is now whole.
    ///
    /// # Panics
    ///
    /// Where `id` is not in the vocabulary.
    pub fn push(&mut self, id: u32, text: &mut String) {
        match &self.vocabulary.table {
            Table::Char(table) => text.push(table.chars[id as usize]),
            Table::Byte => {
                self.pending.push(BYTES[id as usize]);
                self.drain(text);
            }
        }
    }

    /// Ends the text: the beginning of a character that never came becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }

    /// Moves whole characters out of `pending`, and each wrong sequence as one U+FFFD (as
    /// [`String::from_utf8_lossy`] does).
    fn drain(&mut self, text: &mut String) {
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return;
                }
                Err(error) => {
                    let Some(wrong) = error.error_len() else {
                        return;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending.drain(..error.valid_up_to() + wrong);
                }
            }
        }
    }
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

fn damaged(problem: String) -> Error {
    Error::Unusable {
        problem: format!("the vocabulary cannot be used: {problem}"),
        hint: "the file is damaged or was not written by Refrain".into(),
    }
}

fn unknown_symbol(table: &CharTable, symbol: char) -> Error {
    let near = near_symbols(table, symbol);
    let near: Vec<String> = near.iter().map(|&c| format!("`{}`", visible(c))).collect();
    let of = match table.chars.len() {
        1 => "of its one symbol".to_owned(),
        n => format!("of its {n} symbols"),
    };
    Error::UnknownSymbol {
        symbol: format!("`{}` (U+{:04X})", visible(symbol), symbol as u32),
        hint: format!(
            "the nearest {of}: {}; `--on-unknown skip` leaves unknown symbols out",
            near.join(" ")
        ),
    }
}

/// What a user may have meant: other case, plain form of a typographic sign; else the nearest code points.
fn near_symbols(table: &CharTable, symbol: char) -> Vec<char> {
    let plain: &[char] = match symbol {
        '\u{2018}' | '\u{2019}' | '\u{201A}' | '\u{2032}' | '`' => &['\''],
        '\u{201C}' | '\u{201D}' | '\u{201E}' | '\u{2033}' | '\u{AB}' | '\u{BB}' => &['"', '\''],
        '\u{2010}'..='\u{2015}' | '\u{2212}' => &['-'],
        '\u{2026}' => &['.'],
        '\t' | '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{3000}' => &[' '],
        '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => &['\n'],
        '\'' => &['\u{2019}'],
        '"' => &['\u{201D}', '\u{201C}'],
        '-' => &['\u{2013}', '\u{2014}'],
        _ => &[],
    };
    let mut near: Vec<char> = symbol
        .to_lowercase()
        .chain(symbol.to_uppercase())
        .chain(plain.iter().copied())
        .filter(|&c| table.id(c).is_some())
        .collect();
    if near.is_empty() {
        near.clone_from(&table.chars);
        near.sort_unstable_by_key(|&c| ((c as u32).abs_diff(symbol as u32), c));
        near.truncate(3);
    }
    near.dedup();
    near
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn from_text_sorts_and_from_chars_keeps_the_order() {
        let sorted = Vocabulary::from_text("hello 한é").unwrap();
        assert_eq!(sorted.decode(&[0, 1, 2, 3, 4, 5, 6]), " ehloé한");
        let given = Vocabulary::from_chars("helo".chars()).unwrap();
        assert_eq!(given.decode(&[0, 1, 2, 3]), "helo");
        assert_eq!(given.id('l'), Some(2));
        assert_eq!(given.id('x'), None);
        assert_ne!(sorted, given);
        assert_eq!(given, given.clone());
    }

    #[test]
    fn an_empty_vocabulary_is_refused_and_one_symbol_is_enough() {
        assert!(Vocabulary::from_text("").is_err());
        let one = Vocabulary::from_text("aaaa").unwrap();
        assert_eq!(one.len(), 1);
        assert!(!one.is_empty());
        assert_eq!(one.try_encode("aa").unwrap(), [0, 0]);
    }

    #[test]
    fn kinds_have_names() {
        for kind in [TokenKind::Char, TokenKind::Byte] {
            assert_eq!(kind.to_string().parse::<TokenKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
        assert!("word\n".parse::<TokenKind>().is_err());
    }

    #[test]
    fn an_unknown_symbol_is_named_with_what_is_near() {
        let vocabulary = Vocabulary::from_text("abc '\n").unwrap();
        let text = |s: &str| {
            let error = vocabulary.try_encode(s).unwrap_err();
            format!("{error}; {}", error.hint().unwrap())
        };
        assert!(text("aB").starts_with(
            "`B` (U+0042) is not in the model's vocabulary; the nearest of its 6 symbols: `b`;"
        ));
        assert!(text("\u{2019}").contains("symbols: `'`;"));
        assert!(text("\t").starts_with("`\\t` (U+0009)"));
        assert!(text("\t").contains("symbols: `␣`;"));
        assert!(text("z").contains("symbols: `c` `b` `a`;"));
    }

    #[test]
    fn tokens_have_a_visible_form() {
        let text = |c: char| Vocabulary::from_chars([c]).unwrap().token_text(0);
        assert_eq!(text(' '), "␣");
        assert_eq!(text('\n'), "\\n");
        assert_eq!(text('\\'), "\\\\");
        assert_eq!(text('"'), "\"");
        assert_eq!(text('\u{2423}'), "\\u{2423}");
        assert_eq!(text('\u{301}'), "\\u{301}");
        assert_eq!(text('é'), "é");
        let bytes = Vocabulary::bytes();
        assert_eq!(bytes.token_text(b'a'.into()), "a");
        assert_eq!(bytes.token_text(b'\n'.into()), "\\n");
        assert_eq!(bytes.token_text(0xE9), "\\xE9");
        assert_eq!(bytes.token_text(0x1B), "\\x1B");
        assert_eq!(bytes.token_bytes(0xE9), [0xE9]);
        assert_eq!(
            Vocabulary::from_text("é").unwrap().token_bytes(0),
            "é".as_bytes()
        );
    }

    #[test]
    fn characters_of_bytes_are_counted_at_their_first_byte() {
        let bytes = Vocabulary::bytes();
        assert_eq!(bytes.characters(&bytes.encode("aé한").ids), 3);
        let chars = Vocabulary::from_text("aé한").unwrap();
        assert_eq!(chars.characters(&[0, 1, 2]), 3);
    }

    #[test]
    fn json_is_the_agreed_form() {
        let vocabulary = Vocabulary::from_chars("h\"\n".chars()).unwrap();
        let json = vocabulary.to_json().to_string();
        assert_eq!(json, r#"{"kind":"char","tokens":["h","\"","\n"]}"#);
        assert_eq!(
            Vocabulary::bytes().to_json().to_string(),
            r#"{"kind":"byte"}"#
        );
        for vocabulary in [vocabulary, Vocabulary::bytes()] {
            assert_eq!(
                Vocabulary::from_json(&vocabulary.to_json()).unwrap(),
                vocabulary
            );
        }
    }

    #[test]
    fn hostile_json_is_refused() {
        for text in [
            "null",
            "[]",
            "{}",
            r#"{"kind":3}"#,
            r#"{"kind":"bpe"}"#,
            r#"{"kind":"char"}"#,
            r#"{"kind":"char","tokens":[]}"#,
            r#"{"kind":"char","tokens":"abc"}"#,
            r#"{"kind":"char","tokens":["a","b","a"]}"#,
            r#"{"kind":"char","tokens":["a","bc"]}"#,
            r#"{"kind":"char","tokens":["a",""]}"#,
            r#"{"kind":"char","tokens":["a",1]}"#,
            r#"{"kind":"byte","tokens":["a"]}"#,
            r#"{"kind":"char","tokens":["a"],"more":1}"#,
        ] {
            let value = serde_json::from_str(text).unwrap();
            assert!(Vocabulary::from_json(&value).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(text in "\\PC{1,40}") {
            for vocabulary in [Vocabulary::from_text(&text).unwrap(), Vocabulary::bytes()] {
                let encoded = vocabulary.encode(&text);
                prop_assert_eq!(encoded.unknown, 0);
                prop_assert_eq!(vocabulary.decode(&encoded.ids), text.as_str());
                prop_assert_eq!(vocabulary.try_encode(&text).unwrap(), encoded.ids);
                let again = Vocabulary::from_json(&vocabulary.to_json()).unwrap();
                prop_assert_eq!(again, vocabulary);
            }
        }

        #[test]
        fn streaming_bytes_equals_lossy_decoding(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let ids: Vec<u32> = bytes.iter().map(|&b| b.into()).collect();
            prop_assert_eq!(Vocabulary::bytes().decode(&ids), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn unknown_symbols_are_left_out_and_counted(known in "[a-f가-나]{1,20}", text in "\\PC{0,40}") {
            let vocabulary = Vocabulary::from_text(&known).unwrap();
            let encoded = vocabulary.encode(&text);
            let kept: String = text.chars().filter(|&c| known.contains(c)).collect();
            prop_assert_eq!(vocabulary.decode(&encoded.ids), kept);
            prop_assert_eq!(encoded.unknown as usize + encoded.ids.len(), text.chars().count());
            prop_assert_eq!(vocabulary.try_encode(&text).is_ok(), encoded.unknown == 0);
        }
    }
}
