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
        r#"{"kind":"bpe","tokenizer":{}}"#,
        r#"{"kind":"bpe","tokenizer":{"model":3}}"#,
        r#"{"kind":"word"}"#,
        r#"{"kind":"word","tokens":["<unk>"]}"#,
        r#"{"kind":"word","tokens":["<unk>"],"lowercase":1}"#,
        r#"{"kind":"word","tokens":[],"lowercase":false}"#,
        r#"{"kind":"word","tokens":["a"],"lowercase":false}"#,
        r#"{"kind":"word","tokens":["<unk>",""],"lowercase":false}"#,
        r#"{"kind":"word","tokens":["<unk>",1],"lowercase":false}"#,
        r#"{"kind":"word","tokens":["<unk>","a","a"],"lowercase":false}"#,
        r#"{"kind":"word","tokens":["<unk>","<unk>"],"lowercase":false}"#,
        r#"{"kind":"word","tokens":["<unk>","a"],"lowercase":false,"tokenizer":{}}"#,
        r#"{"kind":"sentence","tokens":["a"]}"#,
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
