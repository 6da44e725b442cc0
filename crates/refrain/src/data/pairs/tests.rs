use std::fs;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::data::Portion;
use crate::data::source::tests::gzip;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(content).unwrap();
    }
    dir
}

fn skip() -> PairOptions {
    PairOptions {
        on_bad_row: OnBadRow::Skip,
        ..PairOptions::default()
    }
}

/// Reads files of these contents, the first two or all in the order given.
fn read(files: &[(&str, &[u8])], options: &PairOptions) -> Result<ReadPairs> {
    let dir = folder(files);
    let paths: Vec<_> = files
        .iter()
        .map(|(name, _)| dir.path().join(name))
        .collect();
    read_pairs(&paths, options, None)
}

fn pairs(found: &[TextPair]) -> Vec<(&str, &str, u64)> {
    let pairs = found.iter();
    pairs
        .map(|pair| (pair.source.as_str(), pair.target.as_str(), pair.line))
        .collect()
}

/// The message and the hint.
fn error(files: &[(&str, &[u8])], options: &PairOptions) -> String {
    match read(files, options) {
        Ok(found) => panic!("{:?}", found.raw),
        Err(error) => format!("{error} | {}", error.hint().unwrap_or_default()),
    }
}

#[test]
fn parallel_files_are_read_line_by_line() {
    let zst = zstd::encode_all(&b"\xEF\xBB\xBF Hallo \r\n\r\nzwei\r\n"[..], 3).unwrap();
    let found = read(
        &[("a.en.gz", &gzip(b"hello\n\ntwo\n\n")), ("a.de.zst", &zst)],
        &skip(),
    )
    .unwrap();
    assert_eq!(
        pairs(&found.raw),
        [("hello", "Hallo", 1), ("two", "zwei", 3)]
    );
    assert_eq!(found.skipped, 1);
    let notes = found.notes.join("\n");
    assert!(notes.contains("byte order mark"), "{notes}");
    assert!(notes.contains("3 line ends of the form CRLF"), "{notes}");
    assert!(
        notes.contains("1 bad line left out; the first: `"),
        "{notes}"
    );
    assert!(
        notes.contains("line 2, column 1: found an empty line"),
        "{notes}"
    );
}

#[test]
fn the_hash_is_of_both_files_in_their_order() {
    let (a, b): (&[u8], &[u8]) = (b"x\n", b"y\n");
    let hash = |files: &[(&str, &[u8])]| read(files, &PairOptions::default()).unwrap().sha256;
    let there = hash(&[("a", a), ("b", b)]);
    assert_eq!(there, hash(&[("c", a), ("d.gz", &gzip(b))]));
    assert_ne!(there, hash(&[("a", b), ("b", a)]));
}

#[test]
fn tables_are_read_by_names_or_by_place() {
    for (name, content) in [
        ("a.tsv", "hello\tHallo\ntwo\tzwei\n"),
        ("a.tsv", "source\ttarget\nhello\tHallo\ntwo\tzwei\n"),
        ("a.tsv", "TGT\tid\tSrc\nHallo\t1\thello\nzwei\t2\ttwo\n"),
        ("a.csv", "hello,Hallo,CC-BY\n\"two\",zwei,CC-BY\n"),
        (
            "a.jsonl",
            "{\"target\": \"Hallo\", \"source\": \" hello \"}\n{\"source\": \"two\", \"target\": \"zwei\"}\n",
        ),
    ] {
        let found = read(&[(name, content.as_bytes())], &PairOptions::default())
            .unwrap_or_else(|error| panic!("{content:?}: {error}"));
        let texts: Vec<_> = pairs(&found.raw).iter().map(|p| (p.0, p.1)).collect();
        assert_eq!(texts, [("hello", "Hallo"), ("two", "zwei")], "{content:?}");
    }
}

#[test]
fn columns_may_be_given() {
    let content: &[u8] = b"en\tfr\tde\nhello\tsalut\tHallo\n";
    let with = |source: Option<&str>, target: Option<&str>| PairOptions {
        source_column: source.map(Into::into),
        target_column: target.map(Into::into),
        ..PairOptions::default()
    };
    let found = read(&[("a.tsv", content)], &with(Some("de"), Some("en"))).unwrap();
    assert_eq!(pairs(&found.raw), [("Hallo", "hello", 2)]);
    let found = read(&[("a.tsv", content)], &with(None, Some("1"))).unwrap();
    assert_eq!(pairs(&found.raw), [("fr", "en", 1), ("salut", "hello", 2)]);
    let message = error(&[("a.tsv", content)], &with(Some("en"), Some("dee")));
    assert!(
        message.contains("`target-column` is `dee`") && message.contains("did you mean `de`?"),
        "{message}"
    );
    let message = error(&[("a.tsv", content)], &with(Some("en"), Some("en")));
    assert!(message.contains("than the source's"), "{message}");
    let json: &[u8] = b"{\"en\": \"hello\", \"de\": \"Hallo\"}\n";
    let message = error(&[("a.jsonl", json)], &PairOptions::default());
    assert!(
        message.contains("not clear which key is the source")
            && message.contains("--source-column"),
        "{message}"
    );
    let found = read(&[("a.jsonl", json)], &with(Some("en"), Some("de"))).unwrap();
    assert_eq!(pairs(&found.raw), [("hello", "Hallo", 1)]);
}

#[test]
fn several_tables_are_one_after_the_other() {
    let found = read(
        &[
            ("a.tsv", b"a\tb\n"),
            ("b.csv", b"c,d\n"),
            ("c.tsv.gz", &gzip(b"e\tf\n")),
        ],
        &PairOptions::default(),
    )
    .unwrap();
    assert_eq!(
        pairs(&found.raw),
        [("a", "b", 1), ("c", "d", 1), ("e", "f", 1)]
    );
}

#[test]
fn standard_input_is_a_table() {
    let options = PairOptions {
        format: Some(Format::Tsv),
        ..PairOptions::default()
    };
    let found = read_pairs(&["-".into()], &options, Some(b"a\tb\n")).unwrap();
    assert_eq!(pairs(&found.raw), [("a", "b", 1)]);
}

#[test]
fn what_is_wrong_is_named() {
    let default = PairOptions::default();
    let lines = |format| PairOptions {
        format: Some(format),
        ..PairOptions::default()
    };
    let columns = PairOptions {
        source_column: Some("1".into()),
        ..PairOptions::default()
    };
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: &[(Files<'_>, &PairOptions, &[&str])] = &[
        (
            &[("a.en", b"x\ny\n"), ("a.de", b"x\n")],
            &default,
            &[
                "a.en` has 2 lines",
                "a.de` has 1 lines",
                "must have as many",
            ],
        ),
        (
            &[("a.en", b"x\ny\n"), ("a.de", b"x\n \n")],
            &default,
            &[
                "a.de`, line 2, column 1: found an empty line",
                "line 2 of `",
                "a.en`",
                "--on-bad-row skip",
            ],
        ),
        (
            &[("a.en", b"x\n\ny\n"), ("a.de", b"x\nz\ny\n")],
            &default,
            &["a.en`, line 2, column 1: found an empty line"],
        ),
        (
            &[("a.en", b"x\n"), ("a.de", b"\xFFx\n")],
            &default,
            &["a.de`, line 1, column 1: found the byte FF", "iconv"],
        ),
        (
            &[("a.en", b"x\n")],
            &default,
            &[
                "is one file of sentences, expected two parallel files, or a table",
                "other language",
            ],
        ),
        (
            &[("a", b"x\n"), ("b", b"x\n"), ("c", b"x\n")],
            &default,
            &["3 files of sentences are given, expected two"],
        ),
        (
            &[("a.tsv", b"x\ty\n"), ("b", b"x\n")],
            &default,
            &["a.tsv` is a table and `", "b` is not"],
        ),
        (
            &[("a.tsv", b"x\n"), ("b.tsv", b"x\n")],
            &default,
            &["has one column, expected a source and a target"],
        ),
        (
            &[("a.tsv", b"x\ty\nz\t\n")],
            &default,
            &["line 2, column 3: found an empty target, expected a target"],
        ),
        (
            &[("a", b"x\n"), ("b", b"x\n")],
            &columns,
            &[
                "`source-column` is `1`",
                "parallel files, which have no columns",
            ],
        ),
        (
            &[("a", b"x\n"), ("b", b"x\n")],
            &lines(Format::Conll),
            &["`format` is `conll`", "`lines` for parallel files"],
        ),
        (
            &[("a", b"\n"), ("b", b"\n\n")],
            &default,
            &["hold no sentence"],
        ),
        (&[], &default, &["no file of sentences is given"]),
    ];
    for (files, options, expected) in cases {
        let message = error(files, options);
        for part in *expected {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    let message = error(&[("a", b"\xFF\n\n"), ("b", b"x\ny\n")], &skip());
    assert!(
        message.contains("all of the lines (2) are bad"),
        "{message}"
    );
    let both = [PathBuf::from("-"), "b".into()];
    let message = read_pairs(&both, &default, Some(b"x\n")).unwrap_err();
    assert!(
        message
            .to_string()
            .contains("cannot be one of two parallel files")
    );
    let dir = folder(&[("a", b"x\n")]);
    let paths = [dir.path().join("a"), dir.path().join("none")];
    assert!(matches!(
        read_pairs(&paths, &default, None),
        Err(Error::Io { .. })
    ));
}

/// Files of lines of their own format may end like tables.
#[test]
fn the_format_goes_before_the_ending() {
    let options = PairOptions {
        format: Some(Format::Lines),
        ..PairOptions::default()
    };
    let found = read(&[("a.tsv", b"a\tb\n"), ("b.tsv", b"c\n")], &options).unwrap();
    assert_eq!(pairs(&found.raw), [("a\tb", "c", 1)]);
}

#[test]
fn the_limit_on_memory_holds() {
    let options = |max_bytes| PairOptions {
        max_bytes,
        ..PairOptions::default()
    };
    let long = "x\n".repeat(1000);
    let files: [(&str, &[u8]); 2] = [("a", long.as_bytes()), ("b", long.as_bytes())];
    let message = error(&files, &options(100_000));
    assert!(message.contains("take more than the limit"), "{message}");
    assert_eq!(read(&files, &options(200_000)).unwrap().raw.len(), 1000);
}

#[test]
fn references_may_be_several_and_some_missing() {
    let dir = folder(&[
        ("src", b"one\ntwo\n"),
        ("r1", b"eins\n\n"),
        ("r2", b"ein\nzwei\n"),
    ]);
    let paths: Vec<_> = ["src", "r1", "r2"].map(|name| dir.path().join(name)).into();
    let found = read_references(&paths, &PairOptions::default(), None)
        .unwrap()
        .raw;
    assert_eq!(found[0].references, ["eins", "ein"]);
    assert_eq!(
        (found[1].source.as_str(), &found[1].references[..]),
        ("two", &["zwei".to_owned()][..])
    );
    let dir = folder(&[("src", b"one\n"), ("r1", b"\n"), ("r2", b" \n")]);
    let paths: Vec<_> = ["src", "r1", "r2"].map(|name| dir.path().join(name)).into();
    let message = read_references(&paths, &PairOptions::default(), None).unwrap_err();
    assert!(
        message
            .to_string()
            .contains("r1`, line 1, column 1: found an empty line"),
        "{message}"
    );
}

mod sides {
    use super::*;

    /// The names of both sides of `part`, where the training files are these and the others are there too.
    fn found(training: [&str; 2], others: &[&str], part: &str) -> Result<Vec<String>> {
        let names = training.iter().chain(others);
        let files: Vec<(&str, &[u8])> = names.map(|&name| (name, &b"x\n"[..])).collect();
        let dir = folder(&files);
        let training = training.map(|name| dir.path().join(name));
        let sides = both_sides(&dir.path().join(part), &training, &PairOptions::default())?;
        let name = |path: &PathBuf| {
            let path = path.strip_prefix(dir.path()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Ok(sides.iter().map(name).collect())
    }

    #[test]
    fn the_other_side_is_found_by_the_training_files() {
        for (training, others, parts, expected) in [
            (
                ["train.en.zst", "train.de.zst"],
                &["val.en.zst", "val.de.zst"][..],
                &["val.en.zst", "val.de.zst", "val"][..],
                ["val.en.zst", "val.de.zst"],
            ),
            (
                ["train.fr", "train.fi"],
                &["val.fr", "val.fi"],
                &["val.fr", "val.fi", "val"],
                ["val.fr", "val.fi"],
            ),
            (
                ["src-train.txt", "tgt-train.txt"],
                &["src-val.txt", "tgt-val.txt"],
                &["src-val.txt", "tgt-val.txt"],
                ["src-val.txt", "tgt-val.txt"],
            ),
            (
                ["en/train.txt", "de/train.txt"],
                &["en/val.txt", "de/val.txt"],
                &["en/val.txt", "de/val.txt"],
                ["en/val.txt", "de/val.txt"],
            ),
            (
                ["en/train.en", "de/train.de"],
                &["en/val.en", "de/val.de"],
                &["en/val.en", "de/val.de"],
                ["en/val.en", "de/val.de"],
            ),
            (
                ["en-de/train.en", "en-de/train.de"],
                &["en-de/val.en", "en-de/val.de"],
                &["en-de/val.en", "en-de/val.de", "en-de/val"],
                ["en-de/val.en", "en-de/val.de"],
            ),
            (
                ["train.en-de.en", "train.en-de.de"],
                &["a b.en-de.en", "a b.en-de.de"],
                &["a b.en-de.en", "a b.en-de"],
                ["a b.en-de.en", "a b.en-de.de"],
            ),
        ] {
            for part in parts {
                let sides = found(training, others, part).unwrap_or_else(|e| panic!("{part}: {e}"));
                assert_eq!(sides, expected, "{part} beside {training:?}");
            }
        }
    }

    #[test]
    fn both_may_be_named() {
        let dir = folder(&[("a.x", b"x\n"), ("sub/b.y", b"x\n"), ("c,d.tsv", b"x\ty\n")]);
        let path = |name: &str| dir.path().join(name);
        let both = |list: PathBuf| both_sides(&list, &[], &PairOptions::default()).unwrap();
        let list = format!("{},{}", path("a.x").display(), path("sub/b.y").display());
        assert_eq!(both(list.into()), [path("a.x"), path("sub/b.y")]);
        // Made absolute as one path.
        assert_eq!(both(path("a.x,sub/b.y")), [path("a.x"), path("sub/b.y")]);
        assert_eq!(both(path("sub/b.y,a.x")), [path("sub/b.y"), path("a.x")]);
        // A comma in a name that is there parts nothing.
        assert_eq!(both(path("c,d.tsv")), [path("c,d.tsv")]);
        assert_eq!(both("x,y".into()), [PathBuf::from("x"), "y".into()]);
    }

    #[test]
    fn what_is_not_found_is_said() {
        let message = |training, others: &[&str], part| {
            let error = found(training, others, part).unwrap_err();
            format!("{error} | {}", error.hint().unwrap())
        };
        let text = message(["train.en", "train.de"], &["val.en"], "val.en");
        assert!(
            text.contains("the other side of `") && text.contains("val.de`"),
            "{text}"
        );
        assert!(text.contains("`SOURCE,TARGET`"), "{text}");
        let text = message(["train.en", "train.de"], &["val.de"], "val");
        assert!(
            text.contains("there is no `") && text.contains("val.en`"),
            "{text}"
        );
        assert!(!text.contains("val.de`"), "{text}");
        let text = message(["english", "german.txt"], &["val"], "val");
        assert!(text.contains("do not tell which file belongs to"), "{text}");
        let text = message(["a.tsv", "b.tsv"], &["val"], "val");
        assert!(text.contains("are no two parallel files"), "{text}");
    }
}

#[test]
fn parts_are_files_or_fractions() {
    let all = (0..20).map(|n| format!("s{n}\n")).collect::<String>();
    let dir = folder(&[
        ("train.en", all.as_bytes()),
        ("train.de", all.as_bytes()),
        ("val.en", b"v\n"),
        ("val.de", b"w\n"),
    ]);
    let path = |name: &str| dir.path().join(name);
    let paths = [path("train.en"), path("train.de")];
    let parts = |validation: Portion, test: Portion, seed| {
        let sources = PartSources {
            paths: &paths,
            validation: &validation,
            test: &test,
            seed,
        };
        read_pair_parts(sources, &PairOptions::default(), Vec::new, None)
    };
    let found = parts(Portion::File(path("val.de")), Portion::Fraction(0.1), 1).unwrap();
    let (validation, name) = found.validation.unwrap();
    assert_eq!(pairs(&validation), [("v", "w", 1)]);
    assert!(name.ends_with("val.de"), "{name}");
    let test = found.test.unwrap().0;
    assert_eq!((found.train.len(), test.len()), (18, 2));
    assert!(test.iter().all(|pair| !found.train.contains(pair)));
    let held = |seed| {
        let found = parts(Portion::Fraction(0.25), Portion::None, seed).unwrap();
        found.validation.unwrap().0
    };
    assert_eq!(held(1), held(1));
    assert_ne!(held(1), held(2));
    assert!(parts(Portion::Fraction(0.99), Portion::None, 1).is_err());
    let message = parts(Portion::File(path("test")), Portion::None, 1).unwrap_err();
    assert!(message.to_string().contains("test.en"), "{message}");
}

/// Pieces of files of sentences.
const PIECES: &[&[u8]] = &[
    b"a",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\xFF",
    b"\0",
    b"\xEF\xBB\xBF",
    b"\xC3\xA9",
    b"\"",
    b",",
];

fn file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(PIECES);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// No bytes make the reader panic; every row has both sides, and its line is there in both files.
    #[test]
    fn no_bytes_make_parallel_files_panic(a in file(), b in file(), skip_bad in any::<bool>()) {
        let options = if skip_bad { skip() } else { PairOptions::default() };
        if let Ok(found) = read(&[("a", &a), ("b", &b)], &options) {
            let lines = |content: &[u8]| content.split(|&byte| byte == b'\n').count() as u64;
            let mut before = 0;
            prop_assert!(!found.raw.is_empty());
            for pair in &found.raw {
                prop_assert!(!pair.source.is_empty() && pair.source.trim() == pair.source);
                prop_assert!(!pair.target.is_empty() && pair.target.trim() == pair.target);
                prop_assert!(before < pair.line && pair.line <= lines(&a).min(lines(&b)));
                before = pair.line;
            }
            prop_assert!(skip_bad || found.skipped == 0);
            prop_assert_eq!(found.raw.len() as u64 + found.skipped >= before, true);
        }
    }

    /// What is written is read, whatever stands in the lines.
    #[test]
    fn written_pairs_are_read(rows in prop::collection::vec(("[a é\"\t,한]{0,8}x", "[a é\"\t,한]{0,8}y"), 1..20)) {
        let side = |of: fn(&(String, String)) -> &String| {
            rows.iter().map(|row| format!("{}\n", of(row))).collect::<String>()
        };
        let (a, b) = (side(|row| &row.0), side(|row| &row.1));
        let found = read(&[("a", a.as_bytes()), ("b", b.as_bytes())], &PairOptions::default()).unwrap();
        let found: Vec<_> = found.raw.into_iter().map(|pair| (pair.source, pair.target)).collect();
        let expected: Vec<_> = rows.iter().map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned())).collect();
        prop_assert_eq!(found, expected);
    }
}
