//! Pieces of words, learnt by byte-pair encoding over bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::parallelism::set_parallelism;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    Model as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, Trainer as _,
};

use super::pieces::pieces;
use super::{TokenKind, damaged};
use crate::{Error, Result};

/// Bytes of a text that pairs are counted in: enough to know the frequent ones. (The counts are of 32 bits, too.)
const TRAINING_BYTES: usize = 1 << 26;
/// Bytes of a word in which pairs are counted together: the time of learning grows with the square of it, and a text without
/// white space is one word.
const TRAINING_WORD_BYTES: usize = 64;
/// A pair that occurs once teaches nothing.
const MIN_FREQUENCY: u64 = 2;
/// More merges than this for a token come from no training.
const MERGES_PER_TOKEN: usize = 4;

/// Tokens by id and the merges that make them; the order of the merges is their rank.
pub(super) struct BpeTable {
    model: BPE,
    /// In the alphabet of [`byte_char`].
    tokens: Vec<String>,
    merges: Vec<(String, String)>,
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    characters: Vec<u32>,
}

impl PartialEq for BpeTable {
    fn eq(&self, other: &Self) -> bool {
        (&self.tokens, &self.merges) == (&other.tokens, &other.merges)
    }
}

impl Eq for BpeTable {}

impl BpeTable {
    /// Learns at most `size` tokens from a text.
    ///
    /// The same text gives the same tokens on every machine: pairs are chosen by their count, then by the ids of their
    /// parts, and counting needs no order.
    pub(super) fn train(text: &str, size: u32) -> Result<Self> {
        let fail = |error: tokenizers::Error| Error::Unusable {
            problem: format!("byte-pair encoding cannot be learnt from the training part: {error}"),
            hint: "give `--tokens word` or `--tokens char`".into(),
        };
        // The crate would take every core for itself, whatever `--threads` says.
        set_parallelism(false);
        let text = &text[..text.floor_char_boundary(TRAINING_BYTES)];
        let mut trainer = BpeTrainer::builder()
            .vocab_size(size as usize)
            .min_frequency(MIN_FREQUENCY)
            .show_progress(false)
            .initial_alphabet((0..=u8::MAX).map(byte_char).collect::<HashSet<_>>())
            .build();
        trainer
            .feed(pieces(text), |piece| Ok(short_words(piece)))
            .map_err(fail)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(fail)?;
        let Ok(Value::Object(model)) = serde_json::to_value(&model) else {
            return Err(fail("its model is no JSON object".into()));
        };
        Self::from_model(&model)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        &self.bytes[self.ranges[id as usize].clone()]
    }

    /// How many characters begin in a token.
    pub(super) fn characters(&self, id: u32) -> u32 {
        self.characters[id as usize]
    }

    /// The token that has just these bytes.
    pub(super) fn id(&self, bytes: &[u8]) -> Option<u32> {
        let token: String = bytes.iter().map(|&byte| byte_char(byte)).collect();
        self.model.token_to_id(&token)
    }

    /// Gives the ids of a text one after the other.
    pub(super) fn each(&self, text: &str, mut take: impl FnMut(u32)) {
        for piece in pieces(text) {
            for word in words(piece) {
                match self.model.tokenize(&word) {
                    Ok(tokens) => tokens.iter().for_each(|token| take(token.id)),
                    Err(error) => panic!("a word of {} bytes has no tokens: {error}", word.len()),
                }
            }
        }
    }

    /// The form of a `tokenizer.json` that other tools read.
    pub(super) fn to_json(&self) -> Value {
        let vocab: BTreeMap<&str, usize> = (self.tokens.iter())
            .enumerate()
            .map(|(id, token)| (token.as_str(), id))
            .collect();
        let mut tokenizer = frame();
        tokenizer["model"]["vocab"] = json!(vocab);
        tokenizer["model"]["merges"] = json!(self.merges);
        json!({"kind": "bpe", "tokenizer": tokenizer})
    }

    /// Reads a `tokenizer.json` of the one form that [`to_json`](Self::to_json) writes.
    ///
    /// Nothing else that such a file could hold is run: the model is built anew from the tokens and the merges.
    pub(super) fn from_json(tokenizer: &Value) -> Result<Self> {
        let expected = frame();
        let (Some(found), Some(expected)) = (tokenizer.as_object(), expected.as_object()) else {
            return Err(damaged("its `tokenizer` is not an object".into()));
        };
        check_same(found, expected, "tokenizer", &["model"])?;
        let (Some(model), Some(expected)) = (
            found.get("model").and_then(Value::as_object),
            expected["model"].as_object(),
        ) else {
            return Err(damaged("its `tokenizer` has no `model`".into()));
        };
        check_same(model, expected, "tokenizer.model", &["vocab", "merges"])?;
        Self::from_model(model)
    }

    fn from_model(model: &Map<String, Value>) -> Result<Self> {
        let tokens = read_tokens(model.get("vocab"))?;
        let merges = read_merges(model.get("merges"), tokens.len())?;
        let alphabet: HashMap<char, u8> =
            (0..=u8::MAX).map(|byte| (byte_char(byte), byte)).collect();
        let (mut bytes, mut ranges, mut characters) = (Vec::new(), Vec::new(), Vec::new());
        for (id, token) in tokens.iter().enumerate() {
            let start = bytes.len();
            for symbol in token.chars() {
                let byte = alphabet.get(&symbol).copied();
                bytes
                    .push(byte.ok_or_else(|| damaged(format!("token {id} is not made of bytes")))?);
            }
            let begin = |byte: &&u8| **byte & 0xC0 != 0x80;
            characters.push(bytes[start..].iter().filter(begin).count() as u32);
            ranges.push(start..bytes.len());
        }
        let vocab: HashMap<&String, u32> = tokens.iter().zip(0..).collect();
        for byte in 0..=u8::MAX {
            if !vocab.contains_key(&String::from(byte_char(byte))) {
                return Err(damaged(format!("the byte {byte:02X} is no token")));
            }
        }
        let vocab: Vocab = vocab
            .into_iter()
            .map(|(token, id)| (token.clone(), id))
            .collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges.clone())
            .build()
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            model,
            tokens,
            merges,
            bytes,
            ranges,
            characters,
        })
    }
}

/// The tokens in the order of their ids, which must be 0, 1, 2, …
fn read_tokens(vocab: Option<&Value>) -> Result<Vec<String>> {
    let vocab = vocab
        .and_then(Value::as_object)
        .ok_or_else(|| damaged("its tokenizer has no object `vocab`".into()))?;
    let most = *TokenKind::BPE_SIZES.end() as usize;
    if vocab.len() > most {
        return Err(damaged(format!(
            "it has {} tokens, more than {most}",
            vocab.len()
        )));
    }
    let mut tokens = vec![None; vocab.len()];
    for (token, id) in vocab {
        let slot = id
            .as_u64()
            .and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        match slot {
            Some(slot @ None) => *slot = Some(token.clone()),
            _ => return Err(damaged("its ids are not 0, 1, 2, …, each once".into())),
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// The merges in order; each pair once.
fn read_merges(merges: Option<&Value>, tokens: usize) -> Result<Vec<(String, String)>> {
    let merges = merges
        .and_then(Value::as_array)
        .ok_or_else(|| damaged("its tokenizer has no list `merges`".into()))?;
    let most = tokens.saturating_mul(MERGES_PER_TOKEN);
    if merges.len() > most {
        return Err(damaged(format!(
            "it has {} merges, more than {most}",
            merges.len()
        )));
    }
    let pair = |(rank, merge): (usize, &Value)| match merge.as_array().map(Vec::as_slice) {
        Some([Value::String(left), Value::String(right)]) => Ok((left.clone(), right.clone())),
        _ => Err(damaged(format!("merge {rank} is not two tokens"))),
    };
    let merges: Vec<_> = merges.iter().enumerate().map(pair).collect::<Result<_>>()?;
    let different: HashSet<_> = merges.iter().collect();
    if different.len() < merges.len() {
        return Err(damaged("a merge stands there twice".into()));
    }
    Ok(merges)
}

/// A `tokenizer.json` without tokens: byte-level, the words those of GPT-2, nothing added.
fn frame() -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": {},
            "merges": [],
        },
    })
}

/// Whether two objects have the same keys, and the same values but for the keys that are looked into apart.
fn check_same(
    found: &Map<String, Value>,
    expected: &Map<String, Value>,
    name: &str,
    apart: &[&str],
) -> Result<()> {
    for key in found.keys().chain(expected.keys()) {
        let is_same = match (found.get(key), expected.get(key)) {
            (Some(_), Some(_)) if apart.contains(&key.as_str()) => true,
            (found, expected) => found == expected,
        };
        if !is_same {
            let key: String = key.chars().take(40).collect();
            return Err(damaged(format!(
                "`{name}.{}` is not what Refrain writes",
                key.escape_debug()
            )));
        }
    }
    Ok(())
}

/// The words of a piece in the alphabet of [`byte_char`]: merges do not go beyond them.
fn words(piece: &str) -> Vec<String> {
    let mut split = PreTokenizedString::from(piece);
    match ByteLevel::new(false, true, true).pre_tokenize(&mut split) {
        Ok(()) => split
            .get_splits(OffsetReferential::Normalized, OffsetType::None)
            .into_iter()
            .map(|(word, _, _)| word.to_owned())
            .collect(),
        Err(error) => panic!("a piece of {} bytes has no words: {error}", piece.len()),
    }
}

/// The same, long ones in parts: for learning only.
fn short_words(piece: &str) -> Vec<String> {
    let mut short = Vec::new();
    for word in words(piece) {
        // A character stands for a byte.
        let bytes: Vec<char> = word.chars().collect();
        let parts = bytes.chunks(TRAINING_WORD_BYTES);
        short.extend(parts.map(|part| part.iter().collect::<String>()));
    }
    short
}

/// The character that stands for a byte in a `tokenizer.json`: itself where it can be seen, else one of those from U+0100 on,
/// as GPT-2 chose them.
fn byte_char(byte: u8) -> char {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_seen(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&before| !is_seen(before)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use proptest::prelude::*;
    use tokenizers::Tokenizer;

    use super::*;
    use crate::data::vocabulary::Vocabulary;

    const TEXT: &str =
        "the quick brown fox jumps over the lazy dog\nthe end of the dog, the fox\n\n";

    fn trained(size: u32) -> Vocabulary {
        Vocabulary::from_text_bpe(&TEXT.repeat(3), size).unwrap()
    }

    #[test]
    fn merges_are_learnt_and_bounded() {
        let vocabulary = trained(270);
        assert_eq!(vocabulary.len(), 270);
        let encoded = vocabulary.encode("the dog");
        assert_eq!(encoded.unknown, 0);
        assert!(encoded.ids.len() < 7, "{:?}", encoded.ids);
        assert_eq!(vocabulary.decode(&encoded.ids), "the dog");
        // A short text has no more than so many pairs.
        let all = trained(65_536);
        assert!(all.len() > 280 && all.len() < 400, "{}", all.len());
        assert_eq!(all.kind(), TokenKind::Bpe(all.len() as u32));
        assert_eq!(all.token_text(all.encode(" the").ids[0]), "␣the");
        assert_eq!(all.id('\n').map(|id| all.token_bytes(id)), Some(&b"\n"[..]));
    }

    /// The file that other tools take gives them the same ids.
    #[test]
    fn the_tokenizers_crate_reads_what_is_written() {
        let vocabulary = trained(300);
        let json = &vocabulary.to_json()["tokenizer"];
        let tokenizer = Tokenizer::from_str(&json.to_string()).unwrap();
        let text = "The dog's  lazy\n\n fox: 가나é\t3.5%";
        let encoding = tokenizer.encode(text, false).unwrap();
        assert_eq!(encoding.get_ids(), vocabulary.encode(text).ids);
        assert_eq!(tokenizer.decode(encoding.get_ids(), false).unwrap(), text);
    }

    #[test]
    fn long_texts_and_words_without_a_space_are_encoded() {
        let vocabulary = trained(300);
        for text in [" ".repeat(200_000), "é".repeat(100_000), TEXT.repeat(3000)] {
            let ids = vocabulary.encode(&text).ids;
            assert_eq!(vocabulary.decode(&ids), text);
        }
    }

    /// As one word of its length this would take hours.
    #[test]
    fn a_text_without_white_space_is_learnt_from() {
        let mut state = 1u32;
        let letters = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ['A', 'C', 'G', 'T'][(state >> 24) as usize % 4]
        });
        let text: String = letters.take(200_000).collect();
        let vocabulary = Vocabulary::from_text_bpe(&text, 276).unwrap();
        assert_eq!(vocabulary.len(), 276);
        let ids = vocabulary.encode(&text).ids;
        assert!(ids.len() < 130_000, "{}", ids.len());
        assert_eq!(vocabulary.decode(&ids), text);
    }

    #[test]
    fn hostile_tokenizers_are_refused() {
        let good = trained(260).to_json();
        Vocabulary::from_json(&good).unwrap();
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut json = good.clone();
            change(&mut json["tokenizer"]);
            Vocabulary::from_json(&json).unwrap_err().to_string()
        };
        let named = |message: &str, change: &dyn Fn(&mut Value)| {
            let error = refused(change);
            assert!(error.contains(message), "{error}");
        };
        named("`tokenizer` is not an object", &|json| *json = json!([]));
        named("`tokenizer.normalizer` is not", &|json| {
            json["normalizer"] = json!({"type": "Lowercase"})
        });
        named("`tokenizer.more` is not", &|json| json["more"] = json!(1));
        named("`tokenizer.added_tokens` is not", &|json| {
            json["added_tokens"] = json!([1])
        });
        named("`tokenizer.model.dropout` is not", &|json| {
            json["model"]["dropout"] = json!(0.5)
        });
        named("`tokenizer.model.vocab` is not", &|json| {
            json["model"].as_object_mut().unwrap().remove("vocab");
        });
        named("no object `vocab`", &|json| {
            json["model"]["vocab"] = json!([])
        });
        named("ids are not 0, 1, 2", &|json| {
            json["model"]["vocab"]["A"] = json!(u64::MAX)
        });
        named("ids are not 0, 1, 2", &|json| {
            json["model"]["vocab"]["A"] = json!(1)
        });
        named("ids are not 0, 1, 2", &|json| {
            json["model"]["vocab"]["A"] = json!(-1)
        });
        named("is not made of bytes", &|json| {
            json["model"]["vocab"]["한"] = json!(260)
        });
        named("the byte 41 is no token", &|json| {
            let vocab = json["model"]["vocab"].as_object_mut().unwrap();
            let id = vocab.remove("A").unwrap();
            vocab.insert("AAA".into(), id);
        });
        named("merge 0 is not two tokens", &|json| {
            json["model"]["merges"][0] = json!("t h")
        });
        named("merge stands there twice", &|json| {
            json["model"]["merges"][1] = json["model"]["merges"][0].clone();
        });
        named("out of vocabulary", &|json| {
            json["model"]["merges"][0] = json!(["zz", "a"])
        });
        named("out of vocabulary", &|json| {
            json["model"]["merges"][0] = json!(["z", "q"])
        });
        named("merges, more than", &|json| {
            json["model"]["merges"] = json!(vec!["x"; 5000])
        });
        named("tokens, more than", &|json| {
            let vocab = json["model"]["vocab"].as_object_mut().unwrap();
            vocab.extend((0..70_000).map(|id| (format!("{id}"), json!(id))));
        });
    }

    #[test]
    fn the_alphabet_is_that_of_the_crate() {
        let ours: HashSet<char> = (0..=u8::MAX).map(byte_char).collect();
        assert_eq!(
            ours,
            ByteLevel::alphabet().into_iter().collect::<HashSet<_>>()
        );
        assert_eq!(
            (byte_char(b' '), byte_char(b'\n'), byte_char(b'a')),
            ('Ġ', 'Ċ', 'a')
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn decode_undoes_encode(text in "(\\PC|[a-e \n\r\t]){0,60}", size in 257u32..320) {
            let vocabulary = trained(size);
            let encoded = vocabulary.encode(&text);
            prop_assert_eq!(encoded.unknown, 0);
            prop_assert_eq!(vocabulary.decode(&encoded.ids), text.as_str());
            prop_assert_eq!(vocabulary.characters(&encoded.ids), text.chars().count() as u64);
            let again = Vocabulary::from_json(&vocabulary.to_json()).unwrap();
            prop_assert_eq!(again.encode(&text).ids, encoded.ids);
            prop_assert_eq!(again, vocabulary);
        }
    }
}
