//! From labelled data as it was read to examples for a model: what a model must keep of its training data to read more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::arrays::{ArrayLabels, Arrays};
use super::examples::{Content, Examples, Forms, Labels, NO_LABEL, Numbers};
use super::labelled::Raw;
use super::standardisation::Standardisation;
use super::vocabulary::{WordCounts, WordOptions};
use super::{TokenKind, Vocabulary};
use crate::error::{Error, Result};
use crate::models::InputShape;

/// The character that stands for all that the training part has not.
const UNKNOWN_CHARACTER: u32 = 0;

/// What a model of labels must know to read data.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// Whether each step has a label, or each sequence.
    pub per_step: bool,
    /// What sequences are made of.
    pub input: Input,
    /// The names of the classes.
    pub labels: Vec<String>,
    /// Steps beyond which a sequence is cut.
    pub max_length: Option<usize>,
}

/// What sequences are made of, and how it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Texts, cut into tokens.
    Texts(Vocabulary),
    /// Tokens as they stand, with their spellings where an alphabet is given.
    Words(Vocabulary, Option<Vocabulary>),
    /// Numbers.
    Numbers(NumberInput),
}

/// How numbers are read.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberInput {
    /// The shape of an example, steps first.
    pub shape: Vec<usize>,
    /// Whether all examples have as many steps as the shape says.
    pub whole: bool,
    /// Whether a step is a picture.
    pub frames: bool,
    /// How they are scaled.
    pub standardisation: Arc<Standardisation>,
    /// Whether each clip's mean frame is taken away.
    pub center: bool,
}

/// What follows from the data or was chosen for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncodingOptions {
    /// Whether each step has a label.
    pub per_step: bool,
    /// What texts are cut into; `None` is chosen by the texts.
    pub tokens: Option<TokenKind>,
    /// How words are counted.
    pub words: WordOptions,
    /// Whether spellings are read; `None` is yes.
    pub characters: Option<bool>,
    /// Whether mean frames are taken away; `None` is no.
    pub center_clips: Option<bool>,
    /// Steps beyond which a sequence is cut.
    pub max_length: Option<usize>,
}

/// An encoding made for a training part.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The encoding.
    pub encoding: Encoding,
    /// How often each word occurs, where there are words.
    pub word_counts: Option<Vec<u64>>,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Examples, and what of them was not known.
#[derive(Clone, Debug)]
pub struct EncodedExamples {
    /// The examples.
    pub examples: Examples,
    /// Symbols or words that the vocabulary has not.
    pub unknown: u64,
    /// Sequences that were cut.
    pub cut: u64,
}

fn unusable(problem: String, hint: &str) -> Error {
    Error::Unusable {
        problem,
        hint: hint.into(),
    }
}

impl Encoding {
    /// Makes an encoding for a training part: its vocabulary, classes and scales come from there alone.
    ///
    /// # Errors
    /// [`Error::Unusable`] where there are no labels or only one class; [`Error::Setting`] where a setting is not for this
    /// kind of data; whatever is wrong with a vocabulary.
    pub fn fit(raw: &Raw, name: &str, options: EncodingOptions) -> Result<Fitted> {
        check_kind(raw, &options)?;
        let labels = class_names(raw, options.per_step, name)?;
        if labels.len() < 2 {
            let found = labels.first().map_or_else(
                || "no label".to_owned(),
                |label| format!("one class only, `{}`", label.escape_debug()),
            );
            return Err(unusable(
                format!(
                    "the training part of `{name}` has {found}: there is nothing to tell apart"
                ),
                "give data of two classes or more; is it the right label column?",
            ));
        }
        let mut fitted = Self::fit_input(raw, options)?;
        fitted.encoding.labels = labels;
        Ok(fitted)
    }

    /// The same without classes: for what is read but not labelled.
    ///
    /// # Errors
    /// [`Error::Setting`] where a setting is not for this kind of data; whatever is wrong with a vocabulary.
    pub fn fit_input(raw: &Raw, options: EncodingOptions) -> Result<Fitted> {
        check_kind(raw, &options)?;
        let mut notes = Vec::new();
        let (input, word_counts) = match raw {
            Raw::Texts(texts) => {
                let all = || texts.iter().map(|row| row.text.as_str());
                let kind = options.tokens.unwrap_or_else(|| {
                    let kind = choose_tokens(all());
                    if kind != TokenKind::Word {
                        notes.push(format!(
                            "most letters of these texts are syllables or words: `tokens` is `{kind}` (`--tokens word` for words)"
                        ));
                    }
                    kind
                });
                let (vocabulary, counts) = learn_vocabulary(kind, all(), options.words)?;
                (Input::Texts(vocabulary), counts)
            }
            Raw::Sentences(sentences) => {
                let tokens = || {
                    sentences
                        .iter()
                        .flat_map(|s| s.tokens.iter().map(String::as_str))
                };
                let mut counts = WordCounts::new(options.words);
                tokens().for_each(|token| counts.add_word(token));
                let (words, counts) = counts.finish()?;
                let alphabet = match options.characters {
                    Some(false) => None,
                    Some(true) | None => Some(alphabet(tokens())?),
                };
                (Input::Words(words, alphabet), Some(counts))
            }
            Raw::Arrays(arrays, chosen) => {
                let center = options.center_clips.unwrap_or(false);
                let input = NumberInput {
                    shape: arrays.shape.clone(),
                    whole: chosen.iter().all(|&at| arrays.length(at) == arrays.steps()),
                    frames: arrays.shape.len() == 4,
                    standardisation: Arc::new(Standardisation::measure(arrays, chosen, center)),
                    center,
                };
                (Input::Numbers(input), None)
            }
        };
        Ok(Fitted {
            encoding: Self {
                per_step: options.per_step,
                input,
                labels: Vec::new(),
                max_length: options.max_length,
            },
            word_counts,
            notes,
        })
    }

    /// What a model for this data reads.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        match &self.input {
            Input::Texts(vocabulary) | Input::Words(vocabulary, None) => {
                InputShape::Tokens(vocabulary.len())
            }
            Input::Words(words, Some(alphabet)) => InputShape::Words {
                vocab_size: words.len(),
                characters: alphabet.len() + 1,
            },
            Input::Numbers(numbers) if numbers.frames => InputShape::Frames {
                height: numbers.shape[1],
                width: numbers.shape[2],
                channels: numbers.shape[3],
            },
            Input::Numbers(numbers) => InputShape::Vectors {
                features: numbers.shape[1..].iter().product(),
                seq_len: numbers.whole.then(|| numbers.steps(self.max_length)),
            },
        }
    }

    /// The vocabulary, where sequences are made of tokens.
    #[must_use]
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match &self.input {
            Input::Texts(vocabulary) | Input::Words(vocabulary, _) => Some(vocabulary),
            Input::Numbers(_) => None,
        }
    }

    /// The vocabulary, where its tokens are words.
    #[must_use]
    pub fn words(&self) -> Option<&Vocabulary> {
        self.vocabulary()
            .filter(|vocabulary| vocabulary.kind() == TokenKind::Word)
    }

    /// Tokens in the vocabulary; 0 where there is none.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary().map_or(0, Vocabulary::len)
    }

    /// Encodes data for the model. Labels are read where `labelled` is set.
    ///
    /// # Errors
    /// [`Error::Unusable`] and [`Error::Data`]: data of another kind or shape, a label that the model does not know.
    pub fn encode(&self, raw: &Raw, name: &str, labelled: bool) -> Result<EncodedExamples> {
        match (raw, &self.input) {
            (Raw::Texts(texts), Input::Texts(vocabulary)) => {
                let (mut ids, mut lengths) = (Vec::new(), Vec::with_capacity(texts.len()));
                let (mut unknown, mut cut) = (0, 0);
                for row in texts {
                    let start = ids.len();
                    unknown += vocabulary.encode_into(&row.text, &mut ids);
                    cut += u64::from(self.cut(&mut ids, start));
                    if ids.len() == start {
                        // Nothing of it is known: the first symbol stands for it, since a sequence has a step at least.
                        ids.push(0);
                    }
                    lengths.push(ids.len() - start);
                }
                let labels = if labelled {
                    let classes = self.classes();
                    let known = texts.iter().map(|row| {
                        let label = row.label.as_deref().unwrap_or_default();
                        self.class(&classes, label, name, row.line)
                    });
                    Labels::Sequences(known.collect::<Result<_>>()?)
                } else {
                    Labels::None
                };
                Ok(EncodedExamples {
                    examples: Examples::new(Content::Tokens(ids), lengths, labels),
                    unknown,
                    cut,
                })
            }
            (Raw::Sentences(sentences), Input::Words(words, alphabet)) => {
                self.encode_sentences(sentences, words, alphabet.as_ref(), name, labelled)
            }
            (Raw::Arrays(arrays, chosen), Input::Numbers(numbers)) => {
                self.encode_arrays(arrays, chosen, numbers, name, labelled)
            }
            (raw, _) => Err(unusable(
                format!(
                    "`{name}` holds {}, and the model reads {}",
                    raw.kind(),
                    self.reads()
                ),
                "give data of the kind that the model was trained on; `refrain info MODEL` tells",
            )),
        }
    }

    /// What the model reads, for messages.
    #[must_use]
    pub fn reads(&self) -> &'static str {
        match &self.input {
            Input::Texts(_) => "texts",
            Input::Words(..) => "sentences of tokens",
            Input::Numbers(_) => "arrays",
        }
    }

    /// Cuts what is too long; whether it was.
    fn cut<T>(&self, all: &mut Vec<T>, start: usize) -> bool {
        let most = self.max_length.unwrap_or(usize::MAX);
        let longer = all.len() - start > most;
        if longer {
            all.truncate(start + most);
        }
        longer
    }

    fn classes(&self) -> HashMap<&str, u32> {
        (0..)
            .zip(&self.labels)
            .map(|(id, label)| (label.as_str(), id))
            .collect()
    }

    fn class(
        &self,
        classes: &HashMap<&str, u32>,
        label: &str,
        name: &str,
        line: u64,
    ) -> Result<u32> {
        classes.get(label).copied().ok_or_else(|| Error::Data {
            path: name.into(),
            line,
            column: 1,
            found: format!("the label `{}`", label.escape_debug()),
            expected: format!(
                "one of the {} labels of the training part",
                self.labels.len()
            ),
            hint: format!("it has {}", some_of(&self.labels)),
        })
    }

    fn encode_sentences(
        &self,
        sentences: &[super::conll::TaggedSentence],
        words: &Vocabulary,
        alphabet: Option<&Vocabulary>,
        name: &str,
        labelled: bool,
    ) -> Result<EncodedExamples> {
        let classes = self.classes();
        let (mut lengths, mut labels) = (Vec::with_capacity(sentences.len()), Vec::new());
        let mut ids = Vec::new();
        let mut forms = FormTable::default();
        let (mut unknown, mut cut) = (0, 0);
        for sentence in sentences {
            let start = ids.len();
            for token in &sentence.tokens {
                let word = words.word_id(token);
                unknown += u64::from(Some(word) == words.unknown_id());
                ids.push(match alphabet {
                    None => word,
                    Some(alphabet) => forms.place(token, word, alphabet),
                });
            }
            cut += u64::from(self.cut(&mut ids, start));
            lengths.push(ids.len() - start);
            if labelled {
                for (line, label) in (sentence.line..)
                    .zip(&sentence.labels)
                    .take(ids.len() - start)
                {
                    labels.push(self.class(&classes, label, name, line)?);
                }
            }
        }
        let content = match alphabet {
            None => Content::Tokens(ids),
            Some(_) => Content::Words(ids, Arc::new(forms.forms)),
        };
        let labels = if labelled {
            Labels::Steps(labels)
        } else {
            Labels::None
        };
        Ok(EncodedExamples {
            examples: Examples::new(content, lengths, labels),
            unknown,
            cut,
        })
    }

    fn encode_arrays(
        &self,
        arrays: &Arc<Arrays>,
        chosen: &[usize],
        input: &NumberInput,
        name: &str,
        labelled: bool,
    ) -> Result<EncodedExamples> {
        let fixed = input.whole && !self.per_step && arrays.shape[0] != input.shape[0];
        if arrays.shape.len() != input.shape.len() || arrays.shape[1..] != input.shape[1..] || fixed
        {
            return Err(unusable(
                format!(
                    "the examples of `{name}` have shape {:?}, and the model reads {:?}",
                    arrays.shape, input.shape
                ),
                "give arrays of that shape; the number of steps may differ where `lengths` differed in training",
            ));
        }
        let most = self.max_length.unwrap_or(usize::MAX);
        let lengths: Vec<usize> = chosen
            .iter()
            .map(|&at| arrays.length(at).min(most))
            .collect();
        let cut = chosen
            .iter()
            .filter(|&&at| arrays.length(at) > most)
            .count() as u64;
        let labels = if labelled {
            self.array_labels(arrays, chosen, &lengths, name)?
        } else {
            Labels::None
        };
        let numbers = Numbers {
            arrays: Arc::clone(arrays),
            chosen: chosen.to_vec(),
            standardisation: Arc::clone(&input.standardisation),
            center: input.center,
            frames: input.frames,
        };
        Ok(EncodedExamples {
            examples: Examples::new(Content::Numbers(numbers), lengths, labels),
            unknown: 0,
            cut,
        })
    }

    fn array_labels(
        &self,
        arrays: &Arrays,
        chosen: &[usize],
        lengths: &[usize],
        name: &str,
    ) -> Result<Labels> {
        let names = arrays.class_names();
        let classes = self.classes();
        // The classes of the array in the model's numbering.
        let known: Vec<Option<u32>> = names
            .iter()
            .map(|name| classes.get(name.as_str()).copied())
            .collect();
        let class = |example: usize, label: i64| -> Result<u32> {
            let Ok(label) = usize::try_from(label) else {
                return Ok(NO_LABEL);
            };
            known.get(label).copied().flatten().ok_or_else(|| {
                let label = names.get(label).map_or_else(|| label.to_string(), Clone::clone);
                unusable(
                    format!(
                        "`{name}`, example {example}: the label `{}` is none of the {} labels of the training part",
                        label.escape_debug(),
                        self.labels.len()
                    ),
                    &format!("it has {}", some_of(&self.labels)),
                )
            })
        };
        match (&arrays.labels, self.per_step) {
            (Some(ArrayLabels::PerStep(labels)), true) => {
                let mut all = Vec::new();
                for (&at, &length) in chosen.iter().zip(lengths) {
                    for &label in &labels[at * arrays.steps()..][..length] {
                        all.push(class(at, label)?);
                    }
                }
                Ok(Labels::Steps(all))
            }
            (Some(ArrayLabels::PerExample(labels)), false) => {
                let all = chosen.iter().map(|&at| class(at, labels[at]));
                Ok(Labels::Sequences(all.collect::<Result<_>>()?))
            }
            (None, _) => Err(unusable(
                format!("`{name}` has no `labels`"),
                "add the array `labels`: (N) to classify, (N, T) to tag",
            )),
            (Some(_), true) => Err(unusable(
                format!("`labels` of `{name}` is (N): a label for each example"),
                "to tag, give (N, T); `refrain train classify` takes these",
            )),
            (Some(_), false) => Err(unusable(
                format!("`labels` of `{name}` is (N, T): a label for each step"),
                "to classify, give (N); `refrain train tag` takes these",
            )),
        }
    }
}

impl NumberInput {
    fn steps(&self, max_length: Option<usize>) -> usize {
        self.shape[0].min(max_length.unwrap_or(usize::MAX))
    }
}

/// A few labels, for a message.
fn some_of(labels: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<_> = labels
        .iter()
        .take(MOST)
        .map(|label| {
            format!(
                "`{}`",
                label.chars().take(24).collect::<String>().escape_debug()
            )
        })
        .collect();
    let dots = if labels.len() > MOST { ", …" } else { "" };
    format!("{}{dots}", shown.join(", "))
}

/// Refuses settings that this kind of data does not have.
fn check_kind(raw: &Raw, options: &EncodingOptions) -> Result<()> {
    let (is_text, is_words, is_video) = match raw {
        Raw::Texts(_) => (true, false, false),
        Raw::Sentences(_) => (false, true, false),
        Raw::Arrays(arrays, _) => (false, false, options.per_step && arrays.shape.len() == 4),
    };
    let refuse = |name: &str, found: String, why: &str| {
        Err(Error::Setting {
            name: name.into(),
            found,
            expected: format!("nothing: {why}"),
            hint: "leave it out".into(),
        })
    };
    match options {
        EncodingOptions {
            tokens: Some(kind), ..
        } if !(is_text || is_words && *kind == TokenKind::Word) => {
            let why = if is_words {
                "the tokens are those of the file"
            } else {
                "the data is no text"
            };
            refuse("tokens", format!("`{kind}`"), why)
        }
        EncodingOptions {
            characters: Some(true),
            ..
        } if !is_words => refuse("characters", "true".into(), "the data has no words"),
        EncodingOptions {
            center_clips: Some(true),
            ..
        } if !is_video => refuse("center-clips", "true".into(), "the data is no video"),
        _ => Ok(()),
    }
}

/// The names of the classes of a training part: sorted, or in the order of an array's numbers.
fn class_names(raw: &Raw, per_step: bool, name: &str) -> Result<Vec<String>> {
    let sorted = |labels: BTreeSet<&str>| labels.into_iter().map(str::to_owned).collect();
    Ok(match raw {
        Raw::Texts(texts) => sorted(
            texts
                .iter()
                .filter_map(|row| row.label.as_deref())
                .collect(),
        ),
        Raw::Sentences(sentences) => sorted(
            sentences
                .iter()
                .flat_map(|sentence| sentence.labels.iter().map(String::as_str))
                .collect(),
        ),
        Raw::Arrays(arrays, chosen) => {
            let Some(labels) = &arrays.labels else {
                return Err(unusable(
                    format!("`{name}` has no `labels`"),
                    "add the array `labels`: (N) to classify, (N, T) to tag",
                ));
            };
            let mut found = BTreeMap::new();
            let mut add = |label: i64| {
                if label >= 0 {
                    found.insert(label, ());
                }
            };
            match (labels, per_step) {
                (ArrayLabels::PerStep(labels), true) => {
                    let steps = arrays.steps();
                    chosen
                        .iter()
                        .for_each(|&at| labels[at * steps..][..steps].iter().for_each(|&l| add(l)));
                }
                (ArrayLabels::PerExample(labels), false) => {
                    chosen.iter().for_each(|&at| add(labels[at]));
                }
                (ArrayLabels::PerExample(_), true) => {
                    return Err(unusable(
                        format!("`labels` of `{name}` is (N): a label for each example"),
                        "to tag, give (N, T); `refrain train classify` takes these",
                    ));
                }
                (ArrayLabels::PerStep(_), false) => {
                    return Err(unusable(
                        format!("`labels` of `{name}` is (N, T): a label for each step"),
                        "to classify, give (N); `refrain train tag` takes these",
                    ));
                }
            }
            let names = arrays.class_names();
            found
                .into_keys()
                .map(|label| {
                    let name = usize::try_from(label)
                        .ok()
                        .and_then(|at| names.get(at).cloned());
                    name.unwrap_or_else(|| label.to_string())
                })
                .collect()
        }
    })
}

/// The characters of texts, in the order of their code points.
fn alphabet<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vocabulary> {
    let seen: BTreeSet<char> = texts.flat_map(str::chars).collect();
    Vocabulary::from_chars(seen)
}

/// The vocabulary of some texts, and how often each word occurs, where its tokens are words.
pub(super) fn learn_vocabulary<'a>(
    kind: TokenKind,
    texts: impl Iterator<Item = &'a str>,
    words: WordOptions,
) -> Result<(Vocabulary, Option<Vec<u64>>)> {
    Ok(match kind {
        TokenKind::Char => (alphabet(texts)?, None),
        TokenKind::Byte => (Vocabulary::bytes(), None),
        TokenKind::Word => {
            let mut counts = WordCounts::new(words);
            texts.for_each(|text| counts.add_text(text));
            let (vocabulary, counts) = counts.finish()?;
            (vocabulary, Some(counts))
        }
        TokenKind::Bpe(size) => {
            let all: Vec<&str> = texts.collect();
            (Vocabulary::from_text_bpe(&all.join("\n"), size)?, None)
        }
    })
}

/// Words, or characters where most letters are syllables or words of their own (Hangul, Han, Kana): between two spaces then
/// stands a phrase, which hardly occurs twice.
pub(super) fn choose_tokens<'a>(texts: impl Iterator<Item = &'a str>) -> TokenKind {
    let (mut letters, mut dense) = (0_u64, 0_u64);
    for c in texts.flat_map(str::chars).filter(|c| c.is_alphabetic()) {
        letters += 1;
        let is_dense = matches!(c,
            '\u{3040}'..='\u{30FF}' // Kana
            | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' // Han
            | '\u{20000}'..='\u{323AF}' // Han, rare
            | '\u{AC00}'..='\u{D7A3}'); // Hangul syllables
        dense += u64::from(is_dense);
    }
    if 2 * dense > letters {
        TokenKind::Char
    } else {
        TokenKind::Word
    }
}

/// The distinct forms of a data set while it is read.
#[derive(Default)]
struct FormTable {
    forms: Forms,
    places: HashMap<String, u32>,
}

impl FormTable {
    fn place(&mut self, token: &str, word: u32, alphabet: &Vocabulary) -> u32 {
        if let Some(&place) = self.places.get(token) {
            return place;
        }
        let place = self.forms.words.len() as u32;
        self.forms.words.push(word);
        self.forms.characters.extend(
            token
                .chars()
                .map(|c| alphabet.id(c).map_or(UNKNOWN_CHARACTER, |id| id + 1)),
        );
        self.forms.ends.push(self.forms.characters.len());
        self.places.insert(token.to_owned(), place);
        place
    }
}

impl Encoding {
    /// What a model file says of its input, beside the vocabularies, the labels and the scales.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.input {
            Input::Texts(_) => serde_json::json!({"kind": "texts"}),
            Input::Words(..) => serde_json::json!({"kind": "words"}),
            Input::Numbers(numbers) => serde_json::json!({
                "kind": "numbers",
                "shape": numbers.shape,
                "whole": numbers.whole,
                "frames": numbers.frames,
                "center": numbers.center,
            }),
        }
    }
}

/// What a model file says of its input.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum StoredInput {
    /// Texts.
    Texts {},
    /// Sentences of tokens.
    Words {},
    /// Arrays.
    Numbers {
        /// As in [`NumberInput`].
        shape: Vec<usize>,
        /// As in [`NumberInput`].
        whole: bool,
        /// As in [`NumberInput`].
        frames: bool,
        /// As in [`NumberInput`].
        center: bool,
    },
}
