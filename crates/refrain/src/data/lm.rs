//! Data of a language model: a text split by position and turned into ids.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::source::hex;
use super::symbols::{Block, TextNotes};
use super::text::{Text, TextOptions, TextSource, encode_block};
use super::{TokenKind, Vocabulary, WordCounts, WordOptions};
use crate::{Error, Result};

/// The fewest tokens of a part: one to read and one to predict.
const MIN_TOKENS: u64 = 2;

/// Where a part of the data comes from.
///
/// As text: `none` (or `0`), a fraction such as `0.1`, or a path (a file whose name is a number: `./0.1`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Portion {
    /// There is no such part.
    #[default]
    None,
    /// This fraction of the text, cut off at its end.
    Fraction(f64),
    /// A text of its own.
    File(PathBuf),
}

impl FromStr for Portion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<f64>() {
            Ok(fraction) => Ok(fraction.into()),
            Err(_) if text == "none" => Ok(Self::None),
            Err(_) if text.is_empty() => Err(Error::Setting {
                name: "validation or test".into(),
                found: "empty".into(),
                expected: "a fraction, a path or `none`".into(),
                hint: "`0.1` takes the last tenth of the text".into(),
            }),
            Err(_) => Ok(Self::File(text.into())),
        }
    }
}

impl From<f64> for Portion {
    fn from(fraction: f64) -> Self {
        if fraction == 0.0 {
            Self::None
        } else {
            Self::Fraction(fraction)
        }
    }
}

impl Portion {
    fn check(&self, name: &str) -> Result<()> {
        match *self {
            Self::Fraction(f) if !(f > 0.0 && f < 1.0) => Err(Error::Setting {
                name: name.into(),
                found: f.to_string(),
                expected: "a fraction from 0 to below 1, or a path".into(),
                hint: format!("`--{name} 0.1` takes the last tenth of the text"),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Fraction(fraction) => fraction.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fraction(fraction) => serializer.serialize_f64(*fraction),
            Self::None | Self::File(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortionVisitor)
    }
}

/// Reads a number as a fraction, a text as a path or `none`.
struct PortionVisitor;

impl Visitor<'_> for PortionVisitor {
    type Value = Portion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fraction, a path or `none`")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Portion, E> {
        Ok((value as f64).into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Portion, E> {
        Ok((value as f64).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Portion, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Portion, E> {
        match text {
            "none" => Ok(Portion::None),
            "" => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            // A quoted number is a path: the file says which it is.
            path => Ok(Portion::File(path.into())),
        }
    }
}

/// How a text is split: training first, then validation, test last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// The part that tells when to stop.
    pub validation: Portion,
    /// The part that is scored once, at the end.
    pub test: Portion,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            validation: Portion::Fraction(0.1),
            test: Portion::None,
        }
    }
}

/// What a user should know about how the data was read and split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LmNotes {
    /// What was changed while reading.
    pub text: TextNotes,
    /// A validation part was asked for, but the text is too short for one.
    pub no_validation: bool,
    /// A test part was asked for, but the text is too short for one.
    pub no_test: bool,
}

/// A language model's data as ids.
#[derive(Clone, Debug)]
pub struct LmData {
    /// Ids of the training part, two or more.
    pub train: Vec<u32>,
    /// Ids of the validation part: none, or two or more.
    pub validation: Vec<u32>,
    /// Ids of the test part: none, or two or more.
    pub test: Vec<u32>,
    /// The symbols of the training part alone.
    pub vocabulary: Vocabulary,
    /// Symbols of the validation part that are not in the vocabulary: words are
    /// [`UNKNOWN`](super::vocabulary::UNKNOWN) there, characters are left out.
    pub validation_unknown: u64,
    /// The same of the test part.
    pub test_unknown: u64,
    /// A hash of all content: the text's own SHA-256 where no part is a file.
    pub sha256: String,
    /// The files, the text's first.
    pub sources: Vec<TextSource>,
    /// What a user should know.
    pub notes: LmNotes,
}

impl LmData {
    /// Splits a text; parts that are files are read as [`Text::open`] does, up to `max_bytes` each.
    ///
    /// Of `n` symbols the training part ends at `⌊n (1 - validation - test)⌋` and the validation part at
    /// `⌊n (1 - test)⌋`; where a token may have several symbols, at the last white space before that. A
    /// fraction that would come to fewer than two symbols is none, and the training part gets them; a
    /// note says so. Words are taken as [`WordOptions`] has them by default.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where fractions do not fit, [`Error::Unusable`] where the text or a part that is
    /// a file is too short, and what [`Text::open`] may say of such a file.
    pub fn new(text: Text, split: &Split, max_bytes: u64) -> Result<Self> {
        Self::with_words(text, split, WordOptions::default(), max_bytes)
    }

    /// As [`new`](Self::new), with words counted in another way; other tokens do not mind.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_words(
        text: Text,
        split: &Split,
        words: WordOptions,
        max_bytes: u64,
    ) -> Result<Self> {
        split.validation.check("validation")?;
        split.test.check("test")?;
        if text.symbols() < MIN_TOKENS {
            return Err(Error::Unusable {
                problem: format!("{} has {}", names(text.sources()), count(text.symbols())),
                hint: "give a text of two symbols or more".into(),
            });
        }
        let cuts = Cuts::new(text.symbols(), split)?;
        let vocabulary = vocabulary_of(&text, cuts.train_end, words)?;
        let mut notes = LmNotes {
            text: text.notes(),
            no_validation: cuts.no_validation,
            no_test: cuts.no_test,
        };
        let encode = |start, end| {
            let part = text.part(text.place(start), text.place(end));
            let mut ids = Vec::new();
            if !text.tokens().spans_symbols() {
                ids.reserve_exact((end - start) as usize);
            }
            let unknown = encode_block(&vocabulary, part, &mut ids);
            (ids, unknown)
        };
        let (train, _) = encode(0, cuts.train_end);
        if (train.len() as u64) < MIN_TOKENS {
            return Err(Error::Unusable {
                problem: format!(
                    "the training part has {} only",
                    counted(train.len(), "token")
                ),
                hint: "give a longer text, or `--tokens char`".into(),
            });
        }
        let (mut validation, mut validation_unknown) = encode(cuts.train_end, cuts.validation_end);
        let (mut test, mut test_unknown) = encode(cuts.validation_end, text.symbols());
        notes.no_validation |=
            clear_if_short(&mut validation, cuts.validation_end > cuts.train_end);
        notes.no_test |= clear_if_short(&mut test, text.symbols() > cuts.validation_end);

        let mut hashes = vec![text.sha256().to_owned()];
        let mut sources = text.sources().to_owned();
        drop(text);
        let parts = [
            (
                &split.validation,
                "validation",
                &mut validation,
                &mut validation_unknown,
            ),
            (&split.test, "test", &mut test, &mut test_unknown),
        ];
        for (portion, name, ids, unknown) in parts {
            let Portion::File(path) = portion else {
                continue;
            };
            let options = TextOptions::new(vocabulary.kind()).max_bytes(max_bytes);
            let part = Text::open_with(&[path], options)?;
            *unknown = encode_block(&vocabulary, part.part(0, part.as_bytes().len()), ids);
            if (ids.len() as u64) < MIN_TOKENS {
                return Err(too_few_known(name, &part, ids.len()));
            }
            notes.text.add(part.notes());
            sources.extend_from_slice(part.sources());
            hashes.push(format!("{name} {}", part.sha256()));
        }
        Ok(Self {
            train,
            validation,
            test,
            vocabulary,
            validation_unknown,
            test_unknown,
            sha256: joined_hash(hashes),
            sources,
            notes,
        })
    }
}

/// Where the parts of a text end.
#[derive(Debug)]
struct Cuts {
    train_end: u64,
    validation_end: u64,
    no_validation: bool,
    no_test: bool,
}

impl Cuts {
    fn new(symbols: u64, split: &Split) -> Result<Self> {
        let fraction = |portion: &Portion| match *portion {
            Portion::Fraction(fraction) => fraction,
            Portion::None | Portion::File(_) => 0.0,
        };
        let (mut validation, mut test) = (fraction(&split.validation), fraction(&split.test));
        // The small term makes up for fractions such as 1 - 0.9, which is a little below 0.1.
        let cut = |left: f64| ((symbols as f64 * left + 1e-6) as u64).min(symbols);
        let (mut no_validation, mut no_test) = (false, false);
        loop {
            let validation_end = cut(1.0 - test);
            let train_end = cut(1.0 - validation - test);
            if test > 0.0 && symbols - validation_end < MIN_TOKENS {
                (test, no_test) = (0.0, true);
            } else if validation > 0.0 && validation_end - train_end < MIN_TOKENS {
                (validation, no_validation) = (0.0, true);
            } else if train_end < MIN_TOKENS {
                return Err(no_training_part(symbols, validation, test));
            } else {
                return Ok(Self {
                    train_end,
                    validation_end,
                    no_validation,
                    no_test,
                });
            }
        }
    }
}

fn no_training_part(symbols: u64, validation: f64, test: f64) -> Error {
    Error::Setting {
        name: if validation >= test {
            "validation"
        } else {
            "test"
        }
        .into(),
        found: validation.max(test).to_string(),
        expected: format!(
            "a fraction that leaves {MIN_TOKENS} of the {symbols} symbols for training"
        ),
        hint: "take smaller parts for validation and test, or give a longer text".into(),
    }
}

fn vocabulary_of(text: &Text, train_end: u64, words: WordOptions) -> Result<Vocabulary> {
    let Block::Chars(train) = text.part(0, text.place(train_end)) else {
        return Ok(Vocabulary::bytes());
    };
    match text.tokens() {
        TokenKind::Word => {
            let mut counts = WordCounts::new(words).with_line_breaks();
            counts.add_text(train);
            Ok(counts.finish()?.0)
        }
        TokenKind::Bpe(size) => Vocabulary::from_text_bpe(train, size),
        TokenKind::Char | TokenKind::Byte => Vocabulary::from_text(train),
    }
}

/// Empties a part in which fewer than two symbols are known and says whether there was one.
fn clear_if_short(ids: &mut Vec<u32>, asked_for: bool) -> bool {
    let short = asked_for && (ids.len() as u64) < MIN_TOKENS;
    if short {
        ids.clear();
    }
    short
}

fn too_few_known(name: &str, part: &Text, known: usize) -> Error {
    let symbols = count(part.symbols());
    let files = names(part.sources());
    let problem = if part.tokens().spans_symbols() {
        format!("the {name} part, {files}, has {}", counted(known, "token"))
    } else {
        format!("the {name} part, {files}, has {symbols}, {known} of them in the training part")
    };
    Error::Unusable {
        problem,
        hint: format!("`--{name}` needs a text of the same kind as the training part"),
    }
}

fn count(symbols: u64) -> String {
    counted(symbols as usize, "symbol")
}

/// `1 symbol`, `3 symbols`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn names(sources: &[TextSource]) -> String {
    match sources {
        [] => "the text".into(),
        [one] => format!("`{}`", one.path.display()),
        [first, rest @ ..] => format!("`{}` and {} more", first.path.display(), rest.len()),
    }
}

fn joined_hash(mut hashes: Vec<String>) -> String {
    if hashes.len() == 1 {
        hashes.swap_remove(0)
    } else {
        hex(&Sha256::digest(hashes.join("\n")))
            .replace(' ', "")
            .to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::data::text::DEFAULT_MAX_BYTES;

    fn split(validation: f64, test: f64) -> Split {
        Split {
            validation: validation.into(),
            test: test.into(),
        }
    }

    fn lm(text: &str, split: &Split) -> Result<LmData> {
        let text = Text::from_content("x", text, TokenKind::Char);
        LmData::new(text, split, DEFAULT_MAX_BYTES)
    }

    #[test]
    fn the_last_tenth_is_for_validation() {
        let text: String = "abcdefghij".repeat(10);
        let data = lm(&text, &Split::default()).unwrap();
        assert_eq!(
            (data.train.len(), data.validation.len(), data.test.len()),
            (90, 10, 0)
        );
        assert_eq!(data.vocabulary.decode(&data.validation), "abcdefghij");
        let data = lm(&text, &split(0.1, 0.2)).unwrap();
        assert_eq!(
            (data.train.len(), data.validation.len(), data.test.len()),
            (70, 10, 20)
        );
        assert_eq!(data.notes, LmNotes::default());
        // Sizes as `int(0.9 * n)` has them elsewhere.
        let cuts = Cuts::new(1_115_394, &Split::default()).unwrap();
        assert_eq!(
            (cuts.train_end, cuts.validation_end),
            (1_003_854, 1_115_394)
        );
        assert_eq!(Cuts::new(100, &split(0.9, 0.0)).unwrap().train_end, 10);
    }

    #[test]
    fn the_vocabulary_is_that_of_the_training_part() {
        let data = lm("abababababababaabXYb", &split(0.2, 0.2)).unwrap();
        assert_eq!(data.vocabulary, Vocabulary::from_text("ab").unwrap());
        assert_eq!((data.validation_unknown, data.test_unknown), (0, 2));
        assert_eq!(data.vocabulary.decode(&data.test), "bb");
        // A part of which too little is known is none.
        let data = lm("ababababababababaXYZ", &split(0.2, 0.0)).unwrap();
        assert_eq!((data.validation.len(), data.validation_unknown), (0, 3));
        assert!(data.notes.no_validation);
    }

    #[test]
    fn short_texts_go_to_training() {
        let data = lm("hello", &Split::default()).unwrap();
        assert_eq!((data.train.len(), data.validation.len()), (5, 0));
        assert!(data.notes.no_validation && !data.notes.no_test);
        let data = lm("hello hello hello hello", &split(0.1, 0.02)).unwrap();
        assert_eq!(
            (data.train.len(), data.validation.len(), data.test.len()),
            (20, 3, 0)
        );
        assert!(!data.notes.no_validation && data.notes.no_test);
        let data = lm("aaaa", &Split::default()).unwrap();
        assert_eq!((data.train, data.vocabulary.len()), (vec![0; 4], 1));
    }

    #[test]
    fn what_cannot_be_split_is_an_error() {
        assert_eq!(
            lm("a", &Split::default()).unwrap_err().to_string(),
            "`x` has 1 symbol"
        );
        assert!(lm("", &Split::default()).is_err());
        for wrong in [
            split(1.0, 0.0),
            split(-0.1, 0.0),
            split(0.1, f64::NAN),
            split(0.5, 0.5),
        ] {
            let error = lm("hello hello", &wrong).unwrap_err();
            assert!(matches!(error, Error::Setting { .. }), "{wrong:?}");
        }
        assert!(lm("hello hello", &split(0.9, 0.0)).is_err());
    }

    #[test]
    fn words_and_pieces_of_words_stay_whole_at_the_cuts() {
        let content = "one two three\nfour ".repeat(40);
        for tokens in [TokenKind::Word, TokenKind::Bpe(280)] {
            let text = Text::from_content("x", &content, tokens);
            // Cuts at characters 504 and 648, both inside of words.
            let data = LmData::new(text, &split(0.2, 0.1), DEFAULT_MAX_BYTES).unwrap();
            let parts = [&data.train, &data.validation, &data.test];
            let decoded = parts.map(|ids| data.vocabulary.decode(ids));
            let words: Vec<_> = decoded
                .iter()
                .flat_map(|part| part.split_whitespace())
                .collect();
            assert!(words == content.split_whitespace().collect::<Vec<_>>());
            assert_eq!((data.validation_unknown, data.test_unknown), (0, 0));
            assert!(decoded.iter().all(|part| part.len() > 50), "{decoded:?}");
        }
    }

    #[test]
    fn words_are_counted_in_the_training_part_alone() {
        let text = format!("{}new words", "The the cat.\n".repeat(9));
        let text = Text::from_content("x", &text, TokenKind::Word);
        let words = WordOptions {
            min_count: 10,
            lowercase: true,
        };
        let split = split(0.1, 0.0);
        let data = LmData::with_words(text, &split, words, DEFAULT_MAX_BYTES).unwrap();
        // Only `the` occurs ten times; a part of unknown words is a part.
        assert_eq!(data.vocabulary.len(), 2);
        assert_eq!(data.vocabulary.decode(&data.train[..3]), "the the <unk>");
        assert!(data.validation_unknown >= 2 && data.validation.len() >= 2);
        let text = Text::from_content("x", "    word    ", TokenKind::Word);
        let error = LmData::new(text, &split, DEFAULT_MAX_BYTES).unwrap_err();
        assert_eq!(error.to_string(), "the training part has 1 token only");
    }

    #[test]
    fn parts_may_be_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.txt");
        fs::write(&file, "he\r\nx").unwrap();
        let mut split = split(0.2, 0.0);
        split.test = Portion::File(file.clone());
        let data = lm("hello\nhello\nhello\n", &split).unwrap();
        assert_eq!(data.vocabulary.decode(&data.test), "he\n");
        assert_eq!(
            (data.train.len(), data.validation.len(), data.test_unknown),
            (14, 4, 1)
        );
        assert_eq!(data.notes.text.crlf, 1);
        assert_eq!(data.sources.len(), 2);
        let plain = lm("hello\nhello\nhello\n", &Split::default()).unwrap();
        assert_ne!(data.sha256, plain.sha256);
        assert_eq!(data.sha256.len(), 64);
        fs::write(&file, "xyz").unwrap();
        let error = lm("hello\nhello\nhello\n", &split).unwrap_err().to_string();
        assert!(
            error.contains("has 3 symbols, 0 of them in the training part"),
            "{error}"
        );
    }

    #[test]
    fn bytes_take_any_file() {
        let text = Text::open_with(
            &["-"],
            TextOptions::new(TokenKind::Byte).stdin(&[0xFFu8, 0, 0, 0, 0xC3, 1, 2, 3, 4, 5][..]),
        );
        let data = LmData::new(text.unwrap(), &split(0.2, 0.0), 10).unwrap();
        assert_eq!(data.train, [255, 0, 0, 0, 0xC3, 1, 2, 3]);
        assert_eq!((data.validation, data.vocabulary.len()), (vec![4, 5], 256));
    }

    #[test]
    fn portions_have_a_text_form() {
        for (text, portion) in [
            ("none", Portion::None),
            ("0.25", Portion::Fraction(0.25)),
            ("a/b.txt", Portion::File("a/b.txt".into())),
        ] {
            assert_eq!(text.parse::<Portion>().unwrap(), portion);
            assert_eq!(portion.to_string(), text);
            let json = serde_json::to_string(&portion).unwrap();
            assert_eq!(serde_json::from_str::<Portion>(&json).unwrap(), portion);
        }
        assert_eq!("0".parse::<Portion>().unwrap(), Portion::None);
        let split: Split = toml::from_str("test = 0.1\nvalidation = 'v.txt'").unwrap();
        assert_eq!(split.test, Portion::Fraction(0.1));
        assert_eq!(split.validation, Portion::File("v.txt".into()));
    }

    proptest! {
        #[test]
        fn parts_make_the_whole(text in "[ab é]{2,200}", validation in 0.0..0.5f64, test in 0.0..0.5f64) {
            let data = match lm(&text, &split(validation, test)) {
                Ok(data) => data,
                Err(error) => {
                    let is_setting = matches!(error, Error::Setting { .. });
                    prop_assert!(is_setting);
                    return Ok(());
                }
            };
            prop_assert!(data.train.len() >= 2 && data.validation.len() != 1 && data.test.len() != 1);
            prop_assert!(data.vocabulary.characters(&data.train) as usize == data.train.len());
            let train = data.vocabulary.decode(&data.train);
            prop_assert!(text.starts_with(&train));
            let symbols = text.chars().count();
            let seen = data.train.len() + data.validation.len() + data.test.len();
            let unknown = (data.validation_unknown + data.test_unknown) as usize;
            if !data.notes.no_validation && !data.notes.no_test {
                prop_assert_eq!(seen + unknown, symbols);
            }
        }
    }
}
