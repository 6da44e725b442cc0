use std::fs;

use super::*;
use crate::Error;

fn options(format: TableFormat) -> TableOptions {
    TableOptions {
        format: Some(format),
        ..TableOptions::default()
    }
}

fn read(content: &[u8], options: &TableOptions) -> Result<LabelledTexts> {
    read_table(&["-"], options, Some(Box::new(content)))
}

/// Label, text and line of each row.
fn rows(format: TableFormat, content: &str) -> Vec<(String, String, u64)> {
    let found = read(content.as_bytes(), &options(format))
        .unwrap_or_else(|error| panic!("{content:?}: {error}"));
    let rows = found.rows.into_iter();
    rows.map(|row| (row.label.unwrap_or_default(), row.text, row.line))
        .collect()
}

/// The message and the hint.
fn error(content: impl AsRef<[u8]>, options: &TableOptions) -> String {
    match read(content.as_ref(), options) {
        Ok(found) => panic!("{:?}", found.rows),
        Err(error) => format!("{error} | {}", error.hint().unwrap_or_default()),
    }
}

fn row(label: &str, text: &str, line: u64) -> (String, String, u64) {
    (label.into(), text.into(), line)
}

#[test]
fn every_format_is_read() {
    let expected = |line| {
        [
            row("pos", "a gripping film", line),
            row("neg", "dull it is", line + 1),
        ]
    };
    for (format, content, line) in [
        (
            TableFormat::Tsv,
            "a gripping film\tpos\ndull it is\tneg\n",
            1,
        ),
        (
            TableFormat::Tsv,
            "\u{FEFF}text\tlabel\r\na gripping film\tpos\r\ndull it is\tneg\r\n\r\n",
            2,
        ),
        (TableFormat::Csv, "pos,a gripping film\nneg,dull it is", 1),
        (
            TableFormat::Csv,
            "class,review\npos,\"a gripping film\"\n\"neg\",dull it is\n\n\n",
            2,
        ),
        (
            TableFormat::Jsonl,
            "{\"text\": \"a gripping film\", \"label\": \"pos\"}\n{\"label\": \"neg\", \"text\": \"dull it is\", \"more\": []}\n",
            1,
        ),
        (
            TableFormat::FastText,
            "__label__pos a gripping film\n__label__neg\tdull it is\n",
            1,
        ),
        (
            TableFormat::LabelFirst,
            "pos a gripping film\nneg\tdull it is\n",
            1,
        ),
    ] {
        assert_eq!(rows(format, content), expected(line), "{content:?}");
    }
    let options = TableOptions {
        format: Some(TableFormat::Lines),
        ..TableOptions::unlabelled()
    };
    let found = read("a film\n\u{a0}x \r\n".as_bytes(), &options).unwrap();
    let texts: Vec<_> = found
        .rows
        .iter()
        .map(|row| (row.text.as_str(), row.line))
        .collect();
    assert_eq!(texts, [("a film", 1), ("\u{a0}x ", 2)]);
}

#[test]
fn labels_and_texts_are_kept_exactly() {
    let content = "text,label\n\" a \"\"b\"\"\n\tc \",\" the \"\"l\tx \"\nd,1\n";
    assert_eq!(
        rows(TableFormat::Csv, content),
        [row(" the \"l\tx ", " a \"b\"\n\tc ", 2), row("1", "d", 4)]
    );
    let content = "{\"text\": \" a\\tb\\n\\u00e9\", \"label\": \"\\t\\\"\"}\n{\"text\": \"x\", \"label\": 1}\n\
                   {\"text\": \"y\", \"label\": true}\n{\"text\": \"z\", \"label\": -1.50}\n";
    assert_eq!(
        rows(TableFormat::Jsonl, content),
        [
            row("\t\"", " a\tb\né", 1),
            row("1", "x", 2),
            row("true", "y", 3),
            row("-1.5", "z", 4)
        ]
    );
    // Quotes of a corpus are text.
    let content = "sentence\tlabel\n\"good\" they say\t1\nno \" end\t0\n\"open\t1\n";
    let expected = [
        row("1", "\"good\" they say", 2),
        row("0", "no \" end", 3),
        row("1", "\"open", 4),
    ];
    assert_eq!(rows(TableFormat::Tsv, content), expected);
    // Quotes of a writer are not.
    let content = "sentence\tlabel\n\"a \"\"b\"\"\tc\"\t1\nd\t0\n";
    assert_eq!(
        rows(TableFormat::Tsv, content),
        [row("1", "a \"b\"\tc", 2), row("0", "d", 3)]
    );
}

#[test]
fn bad_rows_are_named() {
    for (format, content, expected) in [
        (
            TableFormat::Tsv,
            "text\tlabel\nab\t1\nc\n",
            "`-`, line 3, column 1: found 1 column, expected 2, as in line 1 | `--on-bad-row skip` leaves",
        ),
        (
            TableFormat::Tsv,
            "text\tlabel\nab\t1\nc\td\te\n",
            "line 3, column 5: found 3 columns, expected 2, as in line 1",
        ),
        (
            TableFormat::Csv,
            "text,label\né,1\n,0\n",
            "line 3, column 1: found an empty text, expected a text",
        ),
        (
            TableFormat::Csv,
            "text,label\né,\n",
            "line 2, column 3: found an empty label, expected a label",
        ),
        (
            TableFormat::Csv,
            "text,label\né,\" \"\n",
            "found a label of white space only, ` `",
        ),
        (
            TableFormat::Csv,
            "text,label\na,1\n\nb,0\n",
            "line 3, column 1: found an empty line, expected a row",
        ),
        (
            TableFormat::Csv,
            "text,label\na,1\n\"b\" c,0\n",
            "line 3, column 4: found ` ` after a closing quote",
        ),
        (
            TableFormat::Csv,
            "text,label\na,1\n\"b c,0\n",
            "line 3, column 1: found a quote that is not closed",
        ),
        (
            TableFormat::Jsonl,
            "{\"text\": \"a\", \"label\": 1}\n{\"text\": é}\n",
            "line 2, column 10: found something that is not JSON",
        ),
        (
            TableFormat::Jsonl,
            "[{\"text\": \"a\", \"label\": 1}]\n",
            "line 1, column 1: found an array",
        ),
        (
            TableFormat::Jsonl,
            "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"tag\": 0}\n",
            "line 2, column 1: found an object with the keys `tag`, `text`, expected a text under the key `label`",
        ),
        (
            TableFormat::Jsonl,
            "{\"text\": \"a\", \"label\": 1}\n{\"text\": [\"b\"], \"label\": 0}\n",
            "line 2, column 1: found an array there, expected a text under the key `text`",
        ),
        (
            TableFormat::Jsonl,
            "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": null}\n",
            "found null there",
        ),
        (
            TableFormat::Jsonl,
            "{\"text\": \"a\\u0000\", \"label\": 1}\n",
            "found the character U+0000",
        ),
        (
            TableFormat::FastText,
            "__label__a b\nc d\n",
            "line 2, column 1: found `c d`, expected `__label__` and a label",
        ),
        (
            TableFormat::FastText,
            "__label__a __label__b c\n",
            "line 1, column 12: found a second label",
        ),
        (
            TableFormat::FastText,
            "__label__a\n",
            "line 1, column 11: found an empty text",
        ),
        (
            TableFormat::FastText,
            "__label__ b\n",
            "line 1, column 10: found an empty label",
        ),
        (
            TableFormat::LabelFirst,
            "a b\nc\n",
            "line 2, column 2: found an empty text",
        ),
    ] {
        let message = error(content, &options(format));
        assert!(message.contains(expected), "{content:?}: {message}");
    }
    let options = options(TableFormat::Tsv);
    let message = error(b"text\tlabel\nab\t1\nc\xFF\t0\n", &options);
    assert!(
        message.contains("line 3, column 2: found the byte FF, expected UTF-8 text"),
        "{message}"
    );
    let message = error(b"text\tlabel\nab\t1\nc\0\t0\n", &options);
    assert!(
        message.contains("line 3, column 2: found the byte 00"),
        "{message}"
    );
    let long = format!("text\tlabel\nab\t1\n{}\t1\n", "x".repeat(2 << 20));
    assert!(
        error(long, &options).contains("line 3, column 1048577: found a line of more than 1 MiB")
    );
}

#[test]
fn bad_rows_are_skipped_and_counted() {
    let content = b"text\tlabel\nab\t1\nc\n\nd\t\n\xFF\t1\ne\t0\nf\tg\th\n\t1\n\n";
    let options = TableOptions {
        on_bad_row: OnBadRow::Skip,
        ..options(TableFormat::Tsv)
    };
    let found = read(content, &options).unwrap();
    let lines: Vec<_> = found.rows.iter().map(|row| row.line).collect();
    assert_eq!((lines, found.skipped), (vec![2, 7], 6));
    assert_eq!(
        found.notes.first_skipped.as_deref(),
        Some("`-`, line 3, column 1: found 1 column, expected 2, as in line 1")
    );
    let message = error("text\tlabel\na\nb\n", &options);
    assert!(
        message.starts_with("`-`: all of the rows (2) are bad and were left out"),
        "{message}"
    );

    // Every line that a stray quote takes is counted.
    let options = TableOptions {
        format: Some(TableFormat::Csv),
        ..options
    };
    let found = read(
        b"text,label\na,1\n\"b,0\nc,1\nd\xFF,1\ne,0\n\"f,1\ng,0\n",
        &options,
    )
    .unwrap();
    let lines: Vec<_> = found.rows.iter().map(|row| row.line).collect();
    assert_eq!((lines, found.skipped), (vec![2, 6], 5));
}

#[test]
fn a_reader_goes_on_after_a_bad_row() {
    let content = &b"a\n\n\xFF\nb\n\n"[..];
    let options = TableOptions {
        format: Some(TableFormat::Lines),
        ..TableOptions::unlabelled()
    };
    let reader = TableReader::new(content, "-", &options).unwrap();
    let found: Vec<_> = reader
        .map(|row| row.map(|row| row.line).map_err(|_| ()))
        .collect();
    assert_eq!(found, [Ok(1), Err(()), Err(()), Ok(4), Err(())]);
}

#[test]
fn a_reader_ends_with_a_file_that_is_no_text() {
    let options = TableOptions {
        format: Some(TableFormat::Lines),
        on_bad_row: OnBadRow::Skip,
        ..TableOptions::unlabelled()
    };
    let mut reader = TableReader::new(&b"\xFF\xFEa\0\n\0b\0\n"[..], "-", &options).unwrap();
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("the byte order mark of UTF-16"), "{error}");
    assert!(reader.next().is_none());
}

#[test]
fn keys_that_are_not_there_are_named() {
    let options = TableOptions {
        columns: TableColumns {
            text: None,
            label: Some("labell".into()),
        },
        ..options(TableFormat::Jsonl)
    };
    let message = error("{\"text\": \"a\", \"label\": 1}\n", &options);
    assert_eq!(
        message,
        "`label-column` is `labell`, expected a key of `-`: 1 `label` (as `1`), 2 `text` (as `a`) | did you mean `label`?"
    );
}

#[test]
fn what_is_not_labelled_is_read_where_that_is_asked() {
    let texts = |format, content: &str| {
        let options = TableOptions {
            format: Some(format),
            ..TableOptions::unlabelled()
        };
        let found = read(content.as_bytes(), &options).unwrap();
        let rows = found.rows.into_iter().map(|row| (row.text, row.label));
        rows.collect::<Vec<_>>()
    };
    let bare = |text: &str| (text.to_owned(), None);
    let labelled = |text: &str, label: &str| (text.to_owned(), Some(label.to_owned()));
    assert_eq!(
        texts(TableFormat::Csv, "text\na b\nc\n"),
        [bare("a b"), bare("c")]
    );
    assert_eq!(
        texts(TableFormat::Tsv, "a b\nc\n"),
        [bare("a b"), bare("c")]
    );
    assert_eq!(
        texts(TableFormat::Tsv, "text\tlabel\na b\t\nc\t1\n"),
        [bare("a b"), labelled("c", "1")]
    );
    assert_eq!(
        texts(
            TableFormat::Jsonl,
            "{\"text\": \"a\", \"id\": 7}\n{\"text\": \"b\"}\n"
        ),
        [bare("a"), bare("b")]
    );
    assert_eq!(
        texts(
            TableFormat::Jsonl,
            "{\"text\": \"a\", \"label\": null}\n{\"text\": \"b\", \"label\": \"x\"}\n"
        ),
        [bare("a"), labelled("b", "x")]
    );
    assert_eq!(
        texts(TableFormat::FastText, "a b\n__label__x c\n"),
        [bare("a b"), labelled("c", "x")]
    );

    let nothing = TableReader::new(&b""[..], "a.csv", &TableOptions::unlabelled()).unwrap();
    assert_eq!(nothing.count(), 0);
}

#[test]
fn rows_are_answered_one_by_one() {
    /// A pipe that another row comes through only once the one before is answered.
    struct Pipe(Vec<&'static [u8]>, std::rc::Rc<std::cell::Cell<usize>>);
    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let row = self.0.remove(0);
            buffer[..row.len()].copy_from_slice(row);
            self.1.set(self.1.get() + 1);
            Ok(row.len())
        }
    }
    for (format, head) in [
        (TableFormat::Tsv, None),
        (TableFormat::Csv, Some(&b"text\n"[..])),
        (TableFormat::Lines, None),
        (TableFormat::LabelFirst, None),
    ] {
        let before = usize::from(head.is_some());
        let rows = head
            .into_iter()
            .chain([&b"a x\n"[..], b"b y\n", b"c z\n"])
            .collect();
        let read = std::rc::Rc::default();
        let options = TableOptions {
            format: Some(format),
            sample_rows: 1,
            ..TableOptions::unlabelled()
        };
        let pipe = Pipe(rows, std::rc::Rc::clone(&read));
        let mut reader = TableReader::new(pipe, "-", &options).unwrap();
        for answered in 1..=3 {
            reader.next().unwrap().unwrap();
            assert_eq!(read.get(), before + answered, "{format}");
        }
        assert!(reader.next().is_none());
    }
}

#[test]
fn the_format_is_told_by_the_name_or_the_first_line() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        read_table(&[path], &TableOptions::default(), None)
    };
    let table = b"text\tlabel\na\t1\nb\t0\n";
    assert_eq!(read("a.TSV", table).unwrap().rows.len(), 2);
    let packed = zstd::encode_all(&table[..], 3).unwrap();
    let found = read("a.tsv.zst", &packed).unwrap();
    assert_eq!(found.rows.len(), 2);
    assert_eq!(found.sha256, read("b.tsv", table).unwrap().sha256);
    assert_eq!(read("a.txt", b"__label__a b\n").unwrap().rows.len(), 1);
    for name in ["a.txt", "a", "a.json", "a.zst.txt"] {
        let error = read(name, table).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("does not tell the format of its lines"),
            "{message}"
        );
        assert!(
            error
                .hint()
                .unwrap()
                .contains("`--format` does: tsv, csv, jsonl")
        );
    }
    assert!(
        read("none.tsv", b"")
            .unwrap_err()
            .to_string()
            .ends_with("none.tsv` holds no row")
    );
    assert!(
        read("none.tsv", b"\n\n")
            .unwrap_err()
            .to_string()
            .ends_with("holds no row")
    );
    assert!(
        read("head.tsv", b"text\tlabel\n")
            .unwrap_err()
            .to_string()
            .ends_with("holds no row")
    );
    assert!(matches!(
        read_table(
            &[dir.path().join("gone.tsv")],
            &TableOptions::default(),
            None
        ),
        Err(Error::Io { .. })
    ));
}

#[test]
fn options_that_do_not_fit_a_format_are_refused() {
    let with_column = TableOptions {
        columns: TableColumns {
            text: None,
            label: Some("label".into()),
        },
        ..options(TableFormat::FastText)
    };
    let message = error("__label__a b\n", &with_column);
    assert!(
        message.contains("`label-column` is `label`, expected nothing for the format `fasttext`"),
        "{message}"
    );
    let message = error("a\n", &options(TableFormat::Lines));
    assert!(
        message.starts_with("`format` is `lines`, expected a format with labels"),
        "{message}"
    );
}

#[test]
fn several_files_are_read_as_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let first = path(
        "1.tsv",
        "9\t0\tnot a good film at all\n8\t1\tthis is a good film\n7\t0\tbad it is really\n6\t1\twell and good\n",
    );
    // Alone it would not be clear.
    let second = path("2.tsv", "5\t1\tx\n4\t1\ty\n");
    let json = path("3.jsonl", "{\"text\": \"z\", \"label\": \"1\"}\n");
    let found = read_table(&[&first, &second, &json], &TableOptions::default(), None).unwrap();
    let texts: Vec<_> = found.rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts[3..], ["well and good", "x", "y", "z"]);
    assert_eq!(found.columns.text.as_deref(), Some("3"));
    assert!(read_table(&[&second], &TableOptions::default(), None).is_err());

    let named = path("4.tsv", "text\tlabel\na\t1\nb\t0\n");
    let error = read_table(&[&named, &second], &TableOptions::default(), None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`text-column` is `text`, expected"),
        "{error}"
    );
    assert!(
        read_table(
            &["-", "-"],
            &options(TableFormat::Lines),
            Some(Box::new(&b"a"[..]))
        )
        .is_err()
    );
}

#[test]
fn memory_is_limited() {
    let rows = "a\tb\n".repeat(1000);
    let limited = |max_bytes| TableOptions {
        max_bytes,
        columns: TableColumns {
            text: Some("1".into()),
            label: Some("2".into()),
        },
        ..options(TableFormat::Tsv)
    };
    let needed = (rows.len() + 1000 * ROW_BYTES) as u64;
    assert_eq!(
        read(rows.as_bytes(), &limited(needed)).unwrap().rows.len(),
        1000
    );
    let message = error(&rows, &limited(needed - 1));
    let expected = format!("the data take more than the limit of {} bytes", needed - 1);
    assert!(message.starts_with(&expected), "{message}");
    let message = error(&rows, &limited(3999));
    assert!(message.contains("3999 bytes (reached in `-`)"), "{message}");
}

#[test]
fn a_first_row_may_be_longer_than_the_sample() {
    let content = format!("text,label\n\"{}\",1\nb,0\n", "a\n".repeat(1000));
    let options = TableOptions {
        sample_rows: 1,
        columns: TableColumns {
            text: Some("1".into()),
            label: Some("2".into()),
        },
        ..options(TableFormat::Csv)
    };
    assert_eq!(read(content.as_bytes(), &options).unwrap().rows.len(), 2);
    let content = content.replace("text,label\n", "");
    let found = read(content.as_bytes(), &options).unwrap();
    assert_eq!(found.rows[1].line, 1002);
}

#[test]
fn notes_tell_what_was_guessed() {
    let content = "\u{FEFF}\"sentence\"\t\"label\"\r\n\"a b\"\t\"1\"\r\n\"c d\"\t\"0\"\r\n";
    let found = read(content.as_bytes(), &options(TableFormat::Tsv)).unwrap();
    assert_eq!((found.notes.text.bom, found.notes.text.crlf), (true, 3));
    assert_eq!(found.notes.guesses.len(), 4);
    assert_eq!(
        found.notes.guesses[3],
        "`-`: the quotes around fields are not part of them"
    );
    assert_eq!(found.rows[0].text, "a b");
}
