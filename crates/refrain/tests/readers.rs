//! Readers of labelled text and of pairs: what other programs write is read, and nothing that stands in a file makes them panic.

use std::io::Write;

use proptest::prelude::*;
use refrain::data::conll::SentenceFormat;
use refrain::data::pairs::{both_sides, read_pairs, read_references};
use refrain::data::table::{TableColumns, TableFormat};
use refrain::data::{
    Format, OnBadRow, PairOptions, Roles, SentenceOptions, SentenceReader, TableOptions,
    TableReader, read_conll, read_embeddings, read_table,
};
use refrain_testing::shared_data;

/// Pieces that mean something to some reader, so that random files get past the first check.
const PIECES: &[&str] = &[
    "\"",
    "\"\"",
    ",",
    "\t",
    "\n",
    "\r\n",
    " ",
    "text",
    "label",
    "a",
    "é",
    "한국어",
    "1",
    "0.5",
    "-",
    "__label__x",
    "{",
    "}",
    "{\"text\": \"a\", \"label\": 1}",
    ":",
    "[",
    "\\u0000",
    "_",
    "#",
    "# a = b",
    "-DOCSTART-",
    "1-2",
    "1.1",
    "nan",
    "1e99",
    "1\ta\t_\tX\t_\t_\t_\t_\t_\t_",
    "2 2",
    "\u{FEFF}",
    "\u{a0}",
    "\u{2028}",
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_owned()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// A file that does not begin as UTF-16 or a packed one does: of these no line is read, bad rows skipped or not.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let other: [&[u8]; 4] = [b"\xFF\xFE", b"\xFE\xFF", b"\x1F\x8B", b"\x28\xB5\x2F\xFD"];
    prop::collection::vec(piece(), 0..60)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("no text", move |file| {
            !other.iter().any(|start| file.starts_with(start))
        })
}

fn column() -> impl Strategy<Value = Option<String>> {
    const NAMES: &[&str] = &["1", "2", "9", "0", "text", "label", "a", "upos", ""];
    prop::option::of(prop::sample::select(NAMES).prop_map(str::to_owned))
}

fn columns() -> impl Strategy<Value = TableColumns> {
    (column(), column()).prop_map(|(text, label)| TableColumns { text, label })
}

fn on_bad_row() -> impl Strategy<Value = OnBadRow> {
    prop::sample::select(OnBadRow::ALL)
}

/// A text of what is hard for CSV, not of white space alone.
fn field() -> impl Strategy<Value = String> {
    let c = prop::sample::select(&['"', ',', '\n', '\t', ' ', '\'', 'a', 'é', '한', '😀'][..]);
    (
        prop::collection::vec(c, 0..8),
        prop::sample::select(&["x", "\"y\"", "z,"][..]),
    )
        .prop_map(|(chars, end)| chars.into_iter().chain(end.chars()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// No bytes and no options make a table's reader panic; where rows are skipped, only a file as a whole is an error.
    #[test]
    fn no_bytes_make_a_table_panic(
        content in file(),
        format in prop::sample::select(TableFormat::ALL),
        columns in columns(),
        roles in prop::sample::select(&[Roles::Labelled, Roles::Pairs, Roles::Captions][..]),
        labelled in any::<bool>(),
        on_bad_row in on_bad_row(),
        sample_rows in 1usize..4,
    ) {
        let options = TableOptions { format: Some(format), columns, roles, labelled, on_bad_row, sample_rows, ..TableOptions::default() };
        let Ok(reader) = TableReader::new(&content[..], "a", &options) else {
            return Ok(());
        };
        let lines = content.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        let mut before = 0;
        for row in reader {
            match row {
                Ok(row) => {
                    prop_assert!(before < row.line && row.line <= lines);
                    prop_assert!(!row.text.trim().is_empty());
                    prop_assert!(!labelled || row.label.is_some());
                    before = row.line;
                }
                Err(error) => prop_assert!(on_bad_row == OnBadRow::Error, "{error}"),
            }
        }
    }

    /// No bytes and no options make a reader of sentences panic.
    #[test]
    fn no_bytes_make_sentences_panic(
        content in file(),
        format in prop::sample::select(SentenceFormat::ALL),
        columns in columns(),
        labelled in any::<bool>(),
        on_bad_row in on_bad_row(),
    ) {
        let options = SentenceOptions { format: Some(format), columns, labelled, on_bad_row, ..SentenceOptions::default() };
        let Ok(reader) = SentenceReader::new(&content[..], "a", &options) else {
            return Ok(());
        };
        let mut before = 0;
        for sentence in reader {
            match sentence {
                Ok(sentence) => {
                    prop_assert!(before < sentence.line);
                    prop_assert!(!sentence.tokens.is_empty());
                    let labels = if labelled { sentence.tokens.len() } else { 0 };
                    prop_assert_eq!(sentence.labels.len(), labels);
                    before = sentence.line;
                }
                Err(error) => prop_assert!(on_bad_row == OnBadRow::Error, "{error}"),
            }
        }
    }

    /// No bytes and no options make a table of pairs panic, and no pair has an empty side.
    #[test]
    fn no_bytes_make_pairs_panic(
        content in file(),
        format in prop::sample::select(Format::ALL),
        (source_column, target_column) in (column(), column()),
        on_bad_row in on_bad_row(),
    ) {
        let options = PairOptions { format: Some(format), source_column, target_column, on_bad_row, ..PairOptions::default() };
        if let Ok(found) = read_pairs(&["-".into()], &options, Some(&content)) {
            prop_assert!(!found.raw.is_empty());
            prop_assert!(found.raw.iter().all(|pair| !pair.source.is_empty() && !pair.target.is_empty()));
        }
    }

    /// What the `csv` crate writes comes back.
    #[test]
    fn a_written_table_is_read(
        rows in prop::collection::vec((field(), field()), 1..20),
        tabs in any::<bool>(),
        always in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(if tabs { b'\t' } else { b',' })
            .quote_style(if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary })
            .terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        writer.write_record(["text", "label"]).unwrap();
        for (text, label) in &rows {
            writer.write_record([text, label]).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let format = if tabs { TableFormat::Tsv } else { TableFormat::Csv };
        let options = TableOptions { format: Some(format), ..TableOptions::default() };
        let found = read_table(&["-"], &options, Some(Box::new(&content[..]))).unwrap();
        let found: Vec<_> = found.rows.into_iter().map(|row| (row.text, row.label.unwrap())).collect();
        // Between tabs, quotes that only some fields needed for another reason than the reader can see may be text.
        let quoted = !tabs || always || rows.iter().any(|(a, b)| format!("{a}{b}").contains(['"', '\n', '\t']));
        if quoted {
            prop_assert_eq!(found, rows);
        } else {
            prop_assert_eq!(found.len(), rows.len());
        }
    }

    /// The same rows, however many lines are looked at first, where columns are given.
    #[test]
    fn a_sample_changes_nothing_that_is_said(content in file(), sample_rows in 1usize..300) {
        let columns = TableColumns { text: Some("1".into()), label: Some("2".into()) };
        let read = |sample_rows| {
            let format = Some(TableFormat::Csv);
            let options = TableOptions { format, columns: columns.clone(), sample_rows, ..TableOptions::default() };
            let rows = TableReader::new(&content[..], "a", &options)?.map(|row| row.map_err(|error| error.to_string()));
            Ok::<Vec<_>, refrain::Error>(rows.collect())
        };
        if let (Ok(a), Ok(b)) = (read(sample_rows), read(1000)) {
            // Whether the first line is a row is told by those below it.
            let shorter = a.len().min(b.len());
            prop_assert!(a.len().max(b.len()) <= shorter + 1);
            prop_assert_eq!(&a[a.len() - shorter..], &b[b.len() - shorter..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// No bytes make the reader of vectors panic, and vectors are finite and as long as it says.
    #[test]
    fn no_bytes_make_vectors_panic(content in file()) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        if let Ok(found) = read_embeddings(file.path(), &["a", "1", "text", "é", "한국어"]) {
            for (_, vector) in found.vectors {
                prop_assert_eq!(vector.len(), found.dimension);
                prop_assert!(vector.iter().all(|value| value.is_finite()));
            }
        }
    }
}

fn count_labels(rows: &[refrain::data::LabelledText], label: &str) -> usize {
    rows.iter()
        .filter(|row| row.label.as_deref() == Some(label))
        .count()
}

#[test]
fn sst2_is_read() -> refrain::Result<()> {
    let Some(folder) = shared_data("sst2") else {
        return Ok(());
    };
    let options = TableOptions {
        format: Some(TableFormat::LabelFirst),
        ..TableOptions::default()
    };
    let read = |part: &str| {
        read_table(
            &[folder.join(format!("stsa.binary.{part}.zst"))],
            &options,
            None,
        )
    };
    let found = read("train")?;
    assert_eq!((found.rows.len(), found.skipped), (6920, 0));
    assert_eq!(
        count_labels(&found.rows, "0") + count_labels(&found.rows, "1"),
        6920
    );
    assert_eq!(read("dev")?.rows.len(), 872);
    assert_eq!(read("test")?.rows.len(), 1821);
    Ok(())
}

#[test]
fn nsmc_is_read_without_a_word_about_its_columns() -> refrain::Result<()> {
    let Some(folder) = shared_data("nsmc") else {
        return Ok(());
    };
    for (part, rows) in [("train", 50_000), ("val", 4_000), ("test", 10_000)] {
        let path = folder.join(format!("{part}.tsv.zst"));
        let found = read_table(&[path], &TableOptions::default(), None)?;
        assert_eq!((found.rows.len(), found.skipped), (rows, 0), "{part}");
        assert_eq!(count_labels(&found.rows, "1"), rows / 2, "{part}");
        let columns = [found.columns.text, found.columns.label].map(Option::unwrap);
        assert_eq!(columns, ["3", "2"], "{part}");
    }
    Ok(())
}

#[test]
fn ud_ewt_is_read() -> refrain::Result<()> {
    let Some(folder) = shared_data("ud_ewt") else {
        return Ok(());
    };
    for (part, sentences, tokens) in [
        ("dev", 2001, 25_147),
        ("test", 2077, 25_094),
        ("train", 12_544, 204_577),
    ] {
        let path = folder.join(format!("{part}.tsv.zst"));
        let found = read_conll(&[&path], &SentenceOptions::default(), None)?;
        let count: usize = found
            .sentences
            .iter()
            .map(|sentence| sentence.labels.len())
            .sum();
        assert_eq!(
            (found.sentences.len(), count, found.skipped),
            (sentences, tokens, 0),
            "{part}"
        );
        assert_eq!(found.notes.guesses.len(), 1);
    }
    Ok(())
}

#[test]
fn multi30k_is_read() -> refrain::Result<()> {
    let Some(folder) = shared_data("multi30k") else {
        return Ok(());
    };
    let options = PairOptions::default();
    let training = ["train.de.zst", "train.en.zst"].map(|name| folder.join(name));
    let train = read_pairs(&training, &options, None)?;
    assert_eq!((train.raw.len(), train.skipped), (29_000, 0));
    assert_eq!(
        train.raw[0].target,
        "Two young, White males are outside near many bushes."
    );
    for (part, count) in [
        ("val", 1014),
        ("test_2016_flickr.en.zst", 1000),
        ("test_2017_mscoco.de.zst", 461),
    ] {
        let sides = both_sides(&folder.join(part), &training, &options)?;
        assert!(sides[0].display().to_string().ends_with(".de.zst"));
        assert_eq!(read_pairs(&sides, &options, None)?.raw.len(), count);
    }
    let paths = ["en", "de", "fr"].map(|side| folder.join(format!("val.{side}.zst")));
    let found = read_references(&paths, &options, None)?.raw;
    assert!(found.iter().all(|row| row.references.len() == 2));
    Ok(())
}
