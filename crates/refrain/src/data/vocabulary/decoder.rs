use super::{BYTES, Table, Vocabulary};
use crate::data::vocabulary::words::Spacing;

/// Turns ids into text as they come, holding back what is not yet a whole UTF-8 character.
///
/// Words are joined by spaces where a text would most likely have them ([`Vocabulary::decode`]).
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
    spacing: Spacing,
}

impl Decoder {
    pub(super) fn new(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            pending: Vec::new(),
            spacing: Spacing::default(),
        }
    }

    /// Takes one id and appends to `text` what is now whole.
    ///
    /// # Panics
    ///
    /// Where `id` is not in the vocabulary.
    pub fn push(&mut self, id: u32, text: &mut String) {
        match &self.vocabulary.table {
            Table::Char(table) => text.push(table.char(id)),
            Table::Byte => {
                self.pending.push(BYTES[id as usize]);
                self.drain(text);
            }
            Table::Word(table) => {
                let word = table.word(id);
                if self.spacing.before(word) {
                    text.push(' ');
                }
                text.push_str(word);
            }
            Table::Bpe(table) => {
                self.pending.extend_from_slice(table.bytes(id));
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
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    let Some(wrong) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[wrong..].to_vec();
                }
            }
        }
    }
}
