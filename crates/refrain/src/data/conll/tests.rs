use super::*;

fn options(format: SentenceFormat) -> SentenceOptions {
    SentenceOptions {
        format: Some(format),
        ..SentenceOptions::default()
    }
}

fn with_label(format: SentenceFormat, label: &str) -> SentenceOptions {
    let columns = TableColumns {
        text: None,
        label: Some(label.into()),
    };
    SentenceOptions {
        columns,
        ..options(format)
    }
}

fn read(content: impl AsRef<[u8]>, options: &SentenceOptions) -> Result<TaggedSentences> {
    let content = content.as_ref().to_owned();
    read_conll(
        &["-"],
        options,
        Some(Box::new(std::io::Cursor::new(content))),
    )
}

/// `line token/label token/label` of each sentence.
fn sentences(content: &str, options: &SentenceOptions) -> Vec<String> {
    let found = read(content, options).unwrap_or_else(|error| panic!("{content:?}: {error}"));
    let sentence = |sentence: TaggedSentence| {
        let labels = sentence.labels.iter().map(|label| format!("/{label}"));
        let labels = labels.chain(std::iter::repeat(String::new()));
        let pairs = sentence.tokens.iter().zip(labels);
        let pairs: Vec<_> = pairs
            .map(|(token, label)| format!("{token}{label}"))
            .collect();
        format!("{} {}", sentence.line, pairs.join(" "))
    };
    found.sentences.into_iter().map(sentence).collect()
}

fn error(content: impl AsRef<[u8]>, options: &SentenceOptions) -> String {
    match read(content, options) {
        Ok(found) => panic!("{:?}", found.sentences),
        Err(error) => format!("{error} | {}", error.hint().unwrap_or_default()),
    }
}

#[test]
fn columns_between_tabs_or_spaces_are_read() {
    let conll = options(SentenceFormat::Conll);
    let expected = ["2 From/ADP here/ADV", "5 #/SYM"];
    for content in [
        "\nFrom\tADP\nhere\tADV\n\n#\tSYM\n",
        "\u{FEFF}\r\nFrom ADP\r\nhere  ADV \r\n \r\n# SYM",
        "-DOCSTART-\tX\nFrom\tADP\nhere\tADV\n-DOCSTART- -X- O\n#\tSYM\n\n\n",
    ] {
        assert_eq!(sentences(content, &conll), expected, "{content:?}");
    }
    // A token that holds a blank, where tabs part columns.
    assert_eq!(
        sentences("10 000\tNUM\n\u{a0}\u{2009}x\tX\n", &conll),
        ["1 10 000/NUM \u{a0}\u{2009}x/X"]
    );
    let ner = "EU NNP I-NP B-ORG\nrejects VBZ I-VP O\n";
    assert_eq!(sentences(ner, &conll), ["1 EU/NNP rejects/VBZ"]);
    assert_eq!(
        sentences(ner, &with_label(SentenceFormat::Conll, "4")),
        ["1 EU/B-ORG rejects/O"]
    );
    let notes = read(ner, &conll).unwrap().notes;
    assert_eq!(
        notes.guesses,
        ["`-`: 4 columns, the label is column 2 (as `NNP`)"]
    );
    assert!(
        read(ner, &with_label(SentenceFormat::Conll, "2"))
            .unwrap()
            .notes
            .guesses
            .is_empty()
    );
}

const CONLLU: &str = "# sent_id = 1\n# text = Vámonos al mar\n\
    1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_\n\
    1\tVamos\tir\tVERB\tv\tMood=Imp\t0\troot\t_\t_\n\
    2\tnos\tnosotros\tPRON\tp\t_\t1\tobj\t_\t_\n\
    2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n\
    3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_\n\
    3\ta\ta\tADP\ts\t_\t5\tcase\t_\t_\n\
    4\tel\tel\tDET\td\t_\t5\tdet\t_\t_\n\
    5\tmar\tmar\tNOUN\tn\t_\t1\tobl\t_\tSpaceAfter=No\n\n# newdoc\n1\tSí\tsí\tINTJ\ti\t_\t0\troot\t_\t_\n";

#[test]
fn conllu_is_read() {
    let conllu = options(SentenceFormat::Conllu);
    let expected = ["4 Vamos/VERB nos/PRON a/ADP el/DET mar/NOUN", "13 Sí/INTJ"];
    assert_eq!(sentences(CONLLU, &conllu), expected);
    for column in ["8", "deprel", "DEPREL"] {
        let found = sentences(CONLLU, &with_label(SentenceFormat::Conllu, column));
        assert_eq!(found[1], "13 Sí/root");
    }
    // Of features, `_` is a value: there are none.
    let found = sentences(CONLLU, &with_label(SentenceFormat::Conllu, "feats"));
    assert_eq!(found[0], "4 Vamos/Mood=Imp nos/_ a/_ el/_ mar/_");
    let lemmas = SentenceOptions {
        columns: TableColumns {
            text: Some("lemma".into()),
            label: None,
        },
        ..conllu
    };
    assert_eq!(sentences(CONLLU, &lemmas)[1], "13 sí/INTJ");
}

#[test]
fn sentences_without_labels_are_read() {
    let unlabelled = |format| SentenceOptions {
        format: Some(format),
        ..SentenceOptions::unlabelled()
    };
    assert_eq!(
        sentences("a\nb\n\nc\n", &unlabelled(SentenceFormat::Conll)),
        ["1 a b", "4 c"]
    );
    assert_eq!(
        sentences("a\tX\nb\tY\n", &unlabelled(SentenceFormat::Conll)),
        ["1 a b"]
    );
    let blind = "1\tSí\t_\t_\t_\t_\t_\t_\t_\t_\n";
    assert_eq!(
        sentences(blind, &unlabelled(SentenceFormat::Conllu)),
        ["1 Sí"]
    );
    assert_eq!(
        sentences("a  b\tc \r\nd\n", &unlabelled(SentenceFormat::Lines)),
        ["1 a b c", "2 d"]
    );
}

#[test]
fn bad_lines_are_named() {
    let conll = options(SentenceFormat::Conll);
    for (content, expected) in [
        (
            "a\tX\né b\n",
            "`-`, line 2, column 1: found 1 column, expected 2, as in line 1 | an empty line ends a sentence; or `--on-bad-row",
        ),
        (
            "a X\n\né b c\n",
            "line 3, column 5: found 3 columns, expected 2, as in line 1",
        ),
        (
            "a\tX\n\tY\n",
            "line 2, column 1: found an empty token, expected a token",
        ),
        (
            "é\tX\nb\t\n",
            "line 2, column 3: found an empty label, expected a label",
        ),
        (
            "a\nb\n",
            "line 1, column 1: found 1 column, `a`, expected a label in column 2",
        ),
    ] {
        let message = error(content, &conll);
        assert!(message.contains(expected), "{content:?}: {message}");
    }
    let message = error(b"a\tX\n\xFF\tY\n", &conll);
    assert!(
        message.contains("line 2, column 1: found the byte FF"),
        "{message}"
    );
    let message = error("a\tX\nb\tY\n".replace('b', &"b".repeat(2 << 20)), &conll);
    assert!(
        message.contains("line 2, column 1048577: found a line of more than 1 MiB"),
        "{message}"
    );
    let message = error("a\tX\n".repeat(MAX_TOKENS + 1), &conll);
    assert!(
        message.contains("line 65537, column 1: found a sentence of more than 65536 tokens"),
        "{message}"
    );
    assert_eq!(
        read("a\tX\n".repeat(MAX_TOKENS), &conll).unwrap().sentences[0]
            .tokens
            .len(),
        MAX_TOKENS
    );

    let conllu = options(SentenceFormat::Conllu);
    for (content, expected) in [
        (
            "1 a b c\n",
            "line 1, column 1: found 1 column, expected 10, CoNLL-U's, between tabs",
        ),
        (
            "x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n",
            "line 1, column 1: found `x`, expected a token's number",
        ),
        (
            "1-\ta\t_\tX\t_\t_\t_\t_\t_\t_\n",
            "found `1-`, expected a token's number",
        ),
        (
            "1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n",
            "line 1, column 7: found `_`, which says that there is no upos",
        ),
        (
            "1\ta\t_\tX\t_\t_\t_\t_\t_\t_\t_\n",
            "line 1, column 21: found 11 columns",
        ),
    ] {
        let message = error(content, &conllu);
        assert!(message.contains(expected), "{content:?}: {message}");
    }
    assert!(error("\n\n", &conll).starts_with("`-` holds no sentence"));
    assert!(error("# a\n", &conllu).starts_with("`-` holds no sentence"));
}

#[test]
fn bad_sentences_are_skipped_as_wholes() {
    let content = b"a\tX\n\nb\tX\nc\nd\tX\n\ne\tY\n\n\xFF\tX\ng\tY\n\nh\tX\n";
    let skip = SentenceOptions {
        on_bad_row: OnBadRow::Skip,
        ..options(SentenceFormat::Conll)
    };
    let found = read(content, &skip).unwrap();
    let lines: Vec<_> = found
        .sentences
        .iter()
        .map(|sentence| sentence.line)
        .collect();
    assert_eq!((lines, found.skipped), (vec![1, 7, 12], 2));
    let first = found.notes.first_skipped.unwrap();
    assert_eq!(
        first,
        "`-`, line 4, column 1: found 1 column, expected 2, as in line 1"
    );
    let message = error("a\n\nb\n", &skip);
    assert!(
        message.starts_with("`-`: all of the sentences (2) are bad"),
        "{message}"
    );

    let options = options(SentenceFormat::Conll);
    let reader = SentenceReader::new(&content[..], "-", &options).unwrap();
    let found: Vec<_> = reader.map(|sentence| sentence.is_ok()).collect();
    assert_eq!(found, [true, false, true, false, true]);
}

#[test]
fn conllu_under_another_name_is_not_misread() {
    let dir = tempfile::tempdir().unwrap();
    for (content, what) in [
        (CONLLU, "a comment"),
        (
            "1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n",
            "ten columns that begin with a number",
        ),
    ] {
        let path = dir.path().join("a.conll");
        std::fs::write(&path, content).unwrap();
        let error = read_conll(&[&path], &SentenceOptions::default(), None).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint().unwrap().contains("`--format conllu`"));
    }
}

#[test]
fn columns_and_formats_that_cannot_be_are_refused() {
    let message = error(CONLLU, &with_label(SentenceFormat::Conllu, "uposs"));
    assert!(
        message
            .starts_with("`label-column` is `uposs`, expected a number from 1 to 10 or id, form")
            && message.ends_with("did you mean `upos`?"),
        "{message}"
    );
    for column in ["0", "11", ""] {
        assert!(
            error(CONLLU, &with_label(SentenceFormat::Conllu, column))
                .starts_with("`label-column` is")
        );
    }
    let message = error("a X\n", &with_label(SentenceFormat::Conll, "ner"));
    assert!(
        message.contains("a number from 1, as these columns have no names"),
        "{message}"
    );
    assert!(
        error("a X\n", &with_label(SentenceFormat::Conll, "1"))
            .contains("another column than the token's")
    );
    assert!(
        error("a X\n", &with_label(SentenceFormat::Conll, "3")).contains("a label in column 3")
    );
    assert!(error("a\n", &options(SentenceFormat::Lines)).contains("`conll` or `conllu`"));
    let message = error("a X\n", &SentenceOptions::default());
    assert!(
        message.starts_with("the name `-` does not tell the format of its sentences"),
        "{message}"
    );
}

#[test]
fn memory_is_limited_and_the_hash_is_of_the_bytes() {
    let content = "a\tX\n\n".repeat(100);
    let needed = content.len() + 100 * (SENTENCE_BYTES + 2 * TOKEN_BYTES);
    let limited = |max_bytes| SentenceOptions {
        max_bytes,
        ..options(SentenceFormat::Conll)
    };
    assert_eq!(
        read(&content, &limited(needed as u64))
            .unwrap()
            .sentences
            .len(),
        100
    );
    assert!(error(&content, &limited(needed as u64 - 1)).starts_with("the data take more than"));
    // Of "abc", from the standard's examples, which is a sentence without labels.
    let unlabelled = SentenceOptions {
        format: Some(SentenceFormat::Lines),
        ..SentenceOptions::unlabelled()
    };
    assert_eq!(
        read("abc", &unlabelled).unwrap().sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
