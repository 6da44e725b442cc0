//! Words and punctuation marks as tokens.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation as _;

use super::pieces::pieces;
use super::{Table, Vocabulary, damaged, visible};
use crate::{Error, Result};

/// The token that stands for every word outside the vocabulary: id 0.
pub const UNKNOWN: &str = "<unk>";
/// Its id.
pub(super) const UNKNOWN_ID: u32 = 0;

const LINE_BREAK: &str = "\n";

/// Words by id, and ids by word.
#[derive(PartialEq, Eq)]
pub(super) struct WordTable {
    words: Vec<Box<str>>,
    ids: HashMap<Box<str>, u32>,
    lowercase: bool,
}

impl WordTable {
    /// `words` begins with [`UNKNOWN`]; the error is the place of the first word that stands there twice.
    fn new(words: Vec<Box<str>>, lowercase: bool) -> std::result::Result<Self, usize> {
        let mut ids = HashMap::with_capacity(words.len());
        for (id, word) in words.iter().enumerate() {
            if ids.insert(word.clone(), id as u32).is_some() {
                return Err(id);
            }
        }
        Ok(Self {
            words,
            ids,
            lowercase,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    pub(super) fn word(&self, id: u32) -> &str {
        &self.words[id as usize]
    }

    /// The id of a word as it stands in a text.
    pub(super) fn id(&self, word: &str) -> Option<u32> {
        let word = folded(word, self.lowercase);
        let id = self.ids.get(&*word).copied();
        id.filter(|&id| id != UNKNOWN_ID)
    }

    /// Gives the words of a text one after the other, each as its id with the characters of the text that it and the white
    /// space before it have; returns how many are outside the vocabulary.
    pub(super) fn each(&self, text: &str, mut take: impl FnMut(u32, u32)) -> u64 {
        let line_break = self.id(LINE_BREAK);
        let (mut unknown, mut blank) = (0, 0);
        for segment in pieces(text).flat_map(|piece| piece.split_word_bounds()) {
            let characters = segment.chars().count() as u32;
            let id = match line_break.filter(|_| segment == LINE_BREAK) {
                Some(id) => id,
                None if is_blank(segment) => {
                    blank += characters;
                    continue;
                }
                None => self.id(segment).unwrap_or_else(|| {
                    unknown += 1;
                    UNKNOWN_ID
                }),
            };
            take(id, characters + blank);
            blank = 0;
        }
        unknown
    }

    /// The error for the first word of a text that is outside the vocabulary.
    pub(super) fn first_unknown(&self, text: &str) -> Option<Error> {
        let mut words = pieces(text)
            .flat_map(|piece| piece.split_word_bounds())
            .filter(|segment| !is_blank(segment));
        let word = words.find(|word| self.id(word).is_none())?;
        let word: String = word.chars().take(40).map(visible).collect();
        Some(Error::UnknownSymbol {
            symbol: format!("`{word}`"),
            hint: format!("`--on-unknown skip` reads unknown words as `{UNKNOWN}`"),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"kind": "word", "tokens": self.words, "lowercase": self.lowercase})
    }

    pub(super) fn from_json(tokens: &[Value], lowercase: bool) -> Result<Self> {
        let word = |(id, token): (usize, &Value)| match token.as_str() {
            Some("") => Err(damaged(format!("token {id} is empty"))),
            Some(word) => Ok(word.into()),
            None => Err(damaged(format!("token {id} is not a string"))),
        };
        let words: Vec<Box<str>> = tokens.iter().enumerate().map(word).collect::<Result<_>>()?;
        if words.first().map(|word| &**word) != Some(UNKNOWN) {
            return Err(damaged(format!("its first token is not `{UNKNOWN}`")));
        }
        let twice = |id: usize| {
            let token: String = tokens[id]
                .as_str()
                .unwrap_or_default()
                .chars()
                .map(visible)
                .collect();
            damaged(format!("token {id}, `{token}`, stands there twice"))
        };
        Self::new(words, lowercase).map_err(twice)
    }
}

fn is_blank(segment: &str) -> bool {
    segment.chars().all(char::is_whitespace)
}

fn folded(word: &str, lowercase: bool) -> Cow<'_, str> {
    if lowercase && word.chars().any(|symbol| !symbol.is_lowercase()) {
        Cow::Owned(word.to_lowercase())
    } else {
        Cow::Borrowed(word)
    }
}

/// How texts are cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordOptions {
    /// The fewest times a word stands in the training part to be in the vocabulary; 1 or more.
    pub min_count: u64,
    /// Whether `The` and `the` are one word.
    pub lowercase: bool,
}

impl Default for WordOptions {
    fn default() -> Self {
        Self {
            min_count: 1,
            lowercase: false,
        }
    }
}

/// Counts the words of the training part, and makes them a vocabulary.
///
/// # Examples
///
/// ```
/// use refrain::data::vocabulary::{WordCounts, WordOptions};
///
/// let mut counts = WordCounts::new(WordOptions { min_count: 2, lowercase: true });
/// counts.add_text("The cat and the dog.");
/// counts.add_text("The end.");
/// let (vocabulary, counts) = counts.finish()?;
/// assert_eq!(vocabulary.encode("the dog .").ids, [1, 0, 2]); // the, <unk>, the full stop
/// assert_eq!(counts, [4, 3, 2]); // of <unk>: cat, and, dog, end
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WordCounts {
    options: WordOptions,
    line_breaks: bool,
    counts: HashMap<Box<str>, u64>,
}

impl WordCounts {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(options: WordOptions) -> Self {
        Self {
            options,
            line_breaks: false,
            counts: HashMap::new(),
        }
    }

    /// Makes a line break a word of its own, as a language model needs it; else it is white space.
    #[must_use]
    pub fn with_line_breaks(mut self) -> Self {
        self.line_breaks = true;
        self
    }

    /// Counts the words and punctuation marks of a text.
    pub fn add_text(&mut self, text: &str) {
        for segment in pieces(text).flat_map(|piece| piece.split_word_bounds()) {
            if !is_blank(segment) || (self.line_breaks && segment == LINE_BREAK) {
                self.add_word(segment);
            }
        }
    }

    /// Counts a word that is cut out already, as it stands.
    pub fn add_word(&mut self, word: &str) {
        let word = folded(word, self.options.lowercase);
        match self.counts.get_mut(&*word) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(word.into(), 1);
            }
        }
    }

    /// The vocabulary, and how often each of its tokens was counted, by id.
    ///
    /// Id 0 is [`UNKNOWN`], counted for every word that is too rare; the others come by falling count, those of one count by
    /// their bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where no word is left.
    pub fn finish(self) -> Result<(Vocabulary, Vec<u64>)> {
        let WordOptions {
            min_count,
            lowercase,
        } = self.options;
        let found = self.counts.len();
        let is_kept =
            |word: &str, count: u64| count >= min_count && word != UNKNOWN && !word.is_empty();
        let (mut kept, mut rare) = (Vec::new(), 0);
        for (word, count) in self.counts {
            if is_kept(&word, count) {
                kept.push((count, word));
            } else {
                rare += count;
            }
        }
        if kept.is_empty() {
            return Err(Error::Unusable {
                problem: match found {
                    0 => "the training part has no word".into(),
                    _ => format!("no word occurs {min_count} times in the training part"),
                },
                hint: "give more text, or a smaller `--min-count`".into(),
            });
        }
        kept.sort_unstable_by(|(count, word), (other_count, other)| {
            other_count.cmp(count).then_with(|| word.cmp(other))
        });
        let counts = std::iter::once(rare).chain(kept.iter().map(|(count, _)| *count));
        let counts = counts.collect();
        let words = std::iter::once(UNKNOWN.into()).chain(kept.into_iter().map(|(_, word)| word));
        let table = WordTable::new(words.collect(), lowercase)
            .unwrap_or_else(|id| panic!("word {id} was counted under two keys"));
        let table = Table::Word(Arc::new(table));
        Ok((Vocabulary { table }, counts))
    }
}

/// Marks that close: no space stands before them.
const CLOSING: &str = ".,;:!?)]}%…”»›。、，．！？；：）］｝」』】》〉";
/// Marks that open: no space stands after them.
const OPENING: &str = "([{$£€#@“„«‹¿¡（［｛「『【《〈";
/// Marks that join: no space stands on either side.
const JOINING: &str = "-‐‑–—/'’_";
/// Characters of scripts that are written without spaces, and of their punctuation: Thai, Lao, Burmese, Khmer, kana, Han.
const UNSPACED: [(char, char); 8] = [
    ('\u{E00}', '\u{EFF}'),
    ('\u{1000}', '\u{109F}'),
    ('\u{1780}', '\u{17FF}'),
    ('\u{3000}', '\u{30FF}'),
    ('\u{3400}', '\u{9FFF}'),
    ('\u{F900}', '\u{FAFF}'),
    ('\u{FF00}', '\u{FFEF}'),
    ('\u{20000}', '\u{3FFFF}'),
];

/// Where a space stands between words: the rule of [`Vocabulary::decode`].
#[derive(Clone, Debug, Default)]
pub(super) struct Spacing {
    /// The end of the word before; `None` where nothing may stand apart from it: at the start, after a line break, after a
    /// mark that opens or joins.
    last: Option<char>,
    /// Whether a straight double quote is open.
    quoted: bool,
}

impl Spacing {
    /// Goes on to the next word; whether a space stands before it.
    pub(super) fn before(&mut self, word: &str) -> bool {
        let Some(first) = word.chars().next() else {
            return false;
        };
        let last = self.last;
        self.last = word.chars().next_back();
        if word == LINE_BREAK {
            *self = Self::default();
            return false;
        }
        if word == "\"" {
            self.quoted = !self.quoted;
            if self.quoted {
                self.last = None;
            }
            return self.quoted && last.is_some();
        }
        if CLOSING.contains(first) {
            return false;
        }
        if JOINING.contains(first) && word.chars().nth(1).is_none() {
            self.last = None;
            return false;
        }
        if OPENING.contains(first) {
            self.last = None;
        }
        last.is_some_and(|last| !(is_unspaced(last) && is_unspaced(first)))
    }
}

fn is_unspaced(symbol: char) -> bool {
    UNSPACED
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&symbol))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, options: WordOptions) -> Vocabulary {
        let mut counts = WordCounts::new(options).with_line_breaks();
        counts.add_text(text);
        counts.finish().unwrap().0
    }

    fn tokens(vocabulary: &Vocabulary, text: &str) -> Vec<String> {
        let ids = vocabulary.encode(text).ids;
        ids.iter().map(|&id| vocabulary.token_text(id)).collect()
    }

    #[test]
    fn texts_are_cut_at_words_and_marks() {
        let text = "It can't be 3.5%,\n  she\tsaid.";
        let vocabulary = words(text, WordOptions::default());
        assert_eq!(
            tokens(&vocabulary, text),
            [
                "It", "can't", "be", "3.5", "%", ",", "\\n", "she", "said", "."
            ]
        );
        let encoded = vocabulary.encode("It said X\u{A0}Y.");
        assert_eq!(encoded.unknown, 2);
        assert_eq!(vocabulary.decode(&encoded.ids), "It said <unk> <unk>.");
        assert_eq!(
            vocabulary.id('.'),
            vocabulary.encode(".").ids.first().copied()
        );
        assert_eq!(vocabulary.id('x'), None);
        let error = vocabulary.try_encode("It said X Y.").unwrap_err();
        assert_eq!(error.to_string(), "`X` is not in the model's vocabulary");
        assert_eq!(vocabulary.try_encode("It\n\t said.").unwrap().len(), 4);
    }

    #[test]
    fn ids_come_by_count_then_bytes_whatever_the_order() {
        let text = "b a b c a d é";
        let vocabulary = words(text, WordOptions::default());
        let all: Vec<_> = (0..vocabulary.len() as u32)
            .map(|id| vocabulary.token_text(id))
            .collect();
        assert_eq!(all, ["<unk>", "a", "b", "c", "d", "é"]);
        let mut reversed = WordCounts::new(WordOptions::default());
        text.split(' ')
            .rev()
            .for_each(|word| reversed.add_word(word));
        let (again, counts) = reversed.finish().unwrap();
        assert_eq!(again, vocabulary);
        assert_eq!(counts, [0, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn rare_words_are_unknown_and_case_may_be_dropped() {
        let options = WordOptions {
            min_count: 2,
            lowercase: true,
        };
        let vocabulary = words("The the THE cat", options);
        assert_eq!(vocabulary.len(), 2);
        assert_eq!(vocabulary.encode("tHe Cat").ids, [1, 0]);
        assert_eq!(vocabulary.word_id("THE"), 1);
        assert_eq!(vocabulary.word_id("cat"), 0);
        let error = WordCounts::new(options).finish().unwrap_err();
        assert_eq!(error.to_string(), "the training part has no word");
        let mut once = WordCounts::new(options);
        once.add_text("a b c");
        let error = once.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no word occurs 2 times in the training part"
        );
    }

    #[test]
    fn words_that_are_cut_out_already_stay_whole() {
        let mut counts = WordCounts::new(WordOptions::default());
        for word in ["New York", "<unk>", "...", "New York", ""] {
            counts.add_word(word);
        }
        let (vocabulary, counts) = counts.finish().unwrap();
        assert_eq!(counts, [2, 2, 1]);
        assert_eq!(vocabulary.word_id("New York"), 1);
        assert_eq!(vocabulary.word_id("<unk>"), 0);
    }

    #[test]
    fn without_line_breaks_they_are_white_space() {
        let mut counts = WordCounts::new(WordOptions::default());
        counts.add_text("a\nb");
        let (vocabulary, _) = counts.finish().unwrap();
        assert_eq!(vocabulary.len(), 3);
        assert_eq!(vocabulary.encode("a\n\nb").ids, [1, 2]);
        assert_eq!(vocabulary.id('\n'), None);
    }

    #[test]
    fn spaces_come_back_where_a_text_has_them() {
        for text in [
            "It can't be 3.5%, she said.\nWell-known: (a) \"quoted, twice\" [b] and/or $5!",
            "\n\n\"One\" \"two\"\n\"three",
            "¿Qué? «Sí» – 'tis",
            "我们去学校。他说：「好」",
            "",
        ] {
            let text = text.replace(" – ", "–");
            if !text.is_empty() {
                let vocabulary = words(&text, WordOptions::default());
                assert_eq!(
                    vocabulary.decode(&vocabulary.encode(&text).ids),
                    text.replace(" 'tis", "'tis")
                );
            }
        }
        let vocabulary = words("a b", WordOptions::default());
        assert_eq!(vocabulary.decode(&[1, 0, 2]), "a <unk> b");
    }

    #[test]
    fn characters_are_those_of_the_text() {
        let vocabulary = words("one two\n", WordOptions::default());
        let (mut ids, mut characters) = (Vec::new(), Vec::new());
        let unknown = vocabulary.each_token("  one \t zweié\n two ", |id, count| {
            ids.push(id);
            characters.push(count);
        });
        assert_eq!(
            (unknown, vocabulary.decode(&ids)),
            (1, "one <unk>\ntwo".into())
        );
        assert_eq!(characters, [5, 8, 1, 4]);
        assert_eq!(vocabulary.characters(&ids), 13);
    }

    proptest! {
        /// What decoding makes is read as the same words again.
        #[test]
        fn decoding_keeps_the_words(text in "([a-cA-C]{1,4}|[.,!?]|\n| |é|한){1,40}") {
            let mut counts = WordCounts::new(WordOptions::default()).with_line_breaks();
            counts.add_text(&text);
            let Ok((vocabulary, counts)) = counts.finish() else {
                prop_assert!(text.chars().all(|c| c == ' '));
                return Ok(());
            };
            let ids = vocabulary.encode(&text).ids;
            for (id, &count) in counts.iter().enumerate() {
                prop_assert_eq!(ids.iter().filter(|&&other| other as usize == id).count() as u64, count);
            }
            let decoded = vocabulary.decode(&ids);
            prop_assert!(!decoded.contains("  "), "{}", decoded);
            let again = Vocabulary::from_json(&vocabulary.to_json()).unwrap();
            prop_assert_eq!(again, vocabulary);
        }
    }
}
