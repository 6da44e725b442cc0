use std::fs;
use std::io::Cursor;

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use proptest::prelude::*;

use super::*;
use crate::data::NpzWriter;

fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(width, height, Rgb(colour))
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

fn grey_jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_pixel(width, height, Luma([90]))
        .write_to(&mut bytes, ImageFormat::Jpeg)
        .unwrap();
    bytes.into_inner()
}

fn npz(shape: &[usize]) -> Vec<u8> {
    let mut npz = NpzWriter::new();
    let values: Vec<u8> = (0..shape.iter().product::<usize>())
        .map(|n| n as u8)
        .collect();
    npz.add_u8("inputs", shape, &values).unwrap();
    npz.finish().unwrap()
}

/// A folder with `img/a.png` red, `img/b/b.png` blue, `img/c.jpg` larger and grey, `img/no.png` not a picture,
/// `five.npz` (5, 2, 3), and `captions.tsv`.
fn folder(captions: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("img/a.png", png(4, 3, [250, 0, 0])),
        ("img/b/b.png", png(4, 3, [0, 0, 250])),
        ("img/c.jpg", grey_jpeg(8, 8)),
        ("img/no.png", b"hello".to_vec()),
        ("five.npz", npz(&[5, 2, 3])),
        ("captions.tsv", captions.as_bytes().to_vec()),
    ];
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn options(dir: &tempfile::TempDir, images: &str, on_bad_row: OnBadRow) -> CaptionOptions {
    CaptionOptions {
        images: Some(dir.path().join(images)),
        on_bad_row,
        ..CaptionOptions::default()
    }
}

fn read(captions: &str, images: &str, on_bad_row: OnBadRow) -> Result<ReadData<Captions>> {
    let dir = folder(captions);
    let options = options(&dir, images, on_bad_row);
    read_captions(&[dir.path().join("captions.tsv")], &options, None)
}

fn error(captions: &str, images: &str) -> String {
    match read(captions, images, OnBadRow::Error) {
        Ok(found) => panic!("{:?}", found.raw.captions),
        Err(error) => format!("{error} | {}", error.hint().unwrap_or_default()),
    }
}

fn shown(captions: &[Captioned]) -> Vec<(usize, String, u64)> {
    let captions = captions.iter();
    captions
        .map(|of| (of.picture, of.sentences.join("|"), of.line))
        .collect()
}

#[test]
fn sentences_are_grouped_by_picture() {
    let captions = "image,caption\n";
    for (header, lines) in [("", 0), ("picture\tsentence\n", 1), ("Image\tCaption\n", 1)] {
        let text = format!("{header}b/b.png\tblue\na.png\t red \nb/b.png\tvery blue\n");
        let found = read(&text, "img", OnBadRow::Error).unwrap();
        assert_eq!(
            shown(&found.raw.captions),
            [
                (0, "blue|very blue".into(), 1 + lines),
                (1, "red".into(), 2 + lines)
            ]
        );
        let pictures = &found.raw.pictures;
        assert_eq!(
            (pictures.count, &pictures.shape[..]),
            (2, &[1, 3, 4, 3][..])
        );
        let Values::U8(pixels) = &pictures.values else {
            panic!("not bytes");
        };
        assert_eq!(
            (&pixels[..3], &pixels[36..39]),
            (&[0, 0, 250][..], &[250, 0, 0][..])
        );
    }
    assert!(error(captions, "img").contains("one column"));
}

#[test]
fn pictures_get_one_size() {
    let text = "a.png\tred\nc.jpg\tgrey\nb/b.png\tblue\n";
    let found = read(text, "img", OnBadRow::Error).unwrap();
    assert_eq!(found.raw.pictures.shape, [1, 3, 4, 3]);
    let notes = found.notes.join("\n");
    assert!(notes.contains("1 of 3 pictures were resized"), "{notes}");
    let dir = folder("a.png\tred\n");
    let options = CaptionOptions {
        shape: Some([2, 5, 1]),
        ..options(&dir, "img", OnBadRow::Error)
    };
    let found = read_captions(&[dir.path().join("captions.tsv")], &options, None).unwrap();
    assert_eq!(found.raw.pictures.shape, [1, 2, 5, 1]);
}

#[test]
fn rows_of_an_array_are_numbered_from_0() {
    let found = read(
        "4\tlast\n0\tfirst\n04\tagain\n",
        "five.npz",
        OnBadRow::Error,
    )
    .unwrap();
    assert_eq!(
        shown(&found.raw.captions),
        [(4, "last|again".into(), 1), (0, "first".into(), 2)]
    );
    assert_eq!(found.raw.pictures.count, 5);
    assert_eq!(found.raw.pictures.shape, [1, 2, 3, 1]);
    assert_eq!(found.raw.chosen(), [4, 0]);
}

#[test]
fn arrays_become_sequences_of_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    for (shape, expected) in [
        (&[3, 4][..], &[1, 4][..]),
        (&[3, 1, 4], &[1, 4]),
        (&[3, 2, 4], &[1, 2, 4, 1]),
        (&[3, 2, 4, 3], &[1, 2, 4, 3]),
        (&[3, 1, 2, 4, 3], &[1, 2, 4, 3]),
    ] {
        fs::write(&path, npz(shape)).unwrap();
        let arrays = Arrays::open_frames(&path, 1 << 20).unwrap();
        assert_eq!(
            (arrays.count, &arrays.shape[..]),
            (3, expected),
            "{shape:?}"
        );
    }
    for shape in [&[3][..], &[3, 2, 2, 4, 3], &[0, 4], &[1, 1, 1, 1, 1, 1]] {
        fs::write(&path, npz(shape)).unwrap();
        let error = Arrays::open_frames(&path, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("has `inputs` of shape"), "{error}");
    }
    let mut both = NpzWriter::new();
    both.add_f32("inputs", &[2, 2], &[0.0, 1.0, 2.0, f32::NAN])
        .unwrap();
    both.add_i64("labels", &[1], &[7]).unwrap();
    fs::write(&path, both.finish().unwrap()).unwrap();
    let error = Arrays::open_frames(&path, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("expected a finite number"), "{error}");
    let mut both = NpzWriter::new();
    both.add_f32("inputs", &[2, 2], &[0.0, 1.0, 2.0, 3.0])
        .unwrap();
    both.add_i64("labels", &[1], &[7]).unwrap();
    fs::write(&path, both.finish().unwrap()).unwrap();
    let notes = Arrays::open_frames(&path, 1 << 20)
        .unwrap()
        .notes
        .join("\n");
    assert!(notes.contains("not used: `labels`"), "{notes}");
}

#[test]
fn what_is_wrong_is_named() {
    for (captions, images, expected) in [
        (
            "a.png\tred\nx.png\tblue\n",
            "img",
            &[
                "captions.tsv`, line 2, column 1: found `",
                "x.png`, which cannot be read",
                "expected a PNG or JPEG picture",
                "--on-bad-row skip",
            ][..],
        ),
        (
            "no.png\tred\n",
            "img",
            &[
                "line 1, column 1: found `",
                "no.png`, which is no picture, whatever its name",
            ],
        ),
        (
            "../five.npz\tred\n",
            "img",
            &["found `../five.npz`", "a path that stays in `"],
        ),
        (
            "/etc/passwd\tred\n",
            "img",
            &["found `/etc/passwd`", "a path that stays in `"],
        ),
        (
            "0\ta\n5\tb\n",
            "five.npz",
            &[
                "line 2, column 1: found `5`, expected a row of `inputs` in `",
                "a number from 0 to 4",
            ],
        ),
        ("0\ta\n-1\tb\n", "five.npz", &["found `-1`"]),
        ("1.0\ta\n", "five.npz", &["found `1.0`"]),
        ("a.png\ta\n", "five.npz", &["found `a.png`"]),
        (
            "0\t \n",
            "five.npz",
            &[
                "found a sentence of white space only",
                "expected a sentence",
            ],
        ),
        (
            "\tred\n",
            "img",
            &["found an empty picture, expected a picture"],
        ),
        (
            "0\ta\n",
            "captions.tsv",
            &[
                "`images` is `",
                "expected a folder of pictures, or an `.npz`",
            ],
        ),
        ("0\ta\n", "none.npz", &["cannot read `"]),
    ] {
        let message = error(captions, images);
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    let dir = folder("0\ta\n");
    let paths = [dir.path().join("captions.tsv")];
    let message = |options: &CaptionOptions, paths: &[PathBuf]| {
        read_captions(paths, options, None).unwrap_err().to_string()
    };
    let text = message(&CaptionOptions::default(), &paths);
    assert!(text.contains("`images` is not given"), "{text}");
    let given = options(&dir, "five.npz", OnBadRow::Error);
    let text = message(&given, &[dir.path().join("img/a.png")]);
    assert!(
        text.contains("does not tell the format of its captions"),
        "{text}"
    );
    let lines = CaptionOptions {
        format: Some(Format::Lines),
        ..given.clone()
    };
    assert!(message(&lines, &paths).contains("`format` is `lines`"));
    let small = CaptionOptions {
        max_bytes: 20,
        ..given
    };
    assert!(message(&small, &paths).contains("bytes of memory"));
    let small = CaptionOptions {
        max_bytes: 200,
        ..options(&folder("a.png\tred\n"), "img", OnBadRow::Error)
    };
    // The folder is gone with its guard: it is not there.
    assert!(message(&small, &paths).contains("`images` is `"));
}

#[test]
fn bad_rows_are_left_out_and_counted() {
    let text = "x.png\tone\nx.png\ttwo\na.png\tred\nno.png\tthree\n../a.png\tfour\nb/b.png\t\nb/b.png\tblue\n";
    let found = read(text, "img", OnBadRow::Skip).unwrap();
    assert_eq!(
        shown(&found.raw.captions),
        [(0, "red".into(), 3), (1, "blue".into(), 7)]
    );
    assert_eq!(found.skipped, 5);
    let notes = found.notes.join("\n");
    assert!(
        notes.contains("5 bad rows left out; the first: `"),
        "{notes}"
    );
    let error = read("x.png\tone\n", "img", OnBadRow::Skip)
        .unwrap_err()
        .to_string();
    assert!(error.contains("all of the rows (1) are bad"), "{error}");
    let error = read("7\tone\n", "five.npz", OnBadRow::Skip)
        .unwrap_err()
        .to_string();
    assert!(error.contains("all of the rows (1) are bad"), "{error}");
}

/// An error names the file that the row stands in, not the first.
#[test]
fn several_tables_are_one_after_the_other() {
    let dir = folder("0\ta\n1\tb\n");
    let second = dir.path().join("second.tsv");
    fs::write(&second, "1\tc\n2\td\n").unwrap();
    let paths = [dir.path().join("captions.tsv"), second.clone()];
    let options = options(&dir, "five.npz", OnBadRow::Error);
    let found = read_captions(&paths, &options, None).unwrap();
    assert_eq!(
        shown(&found.raw.captions),
        [(0, "a".into(), 1), (1, "b|c".into(), 2), (2, "d".into(), 2)]
    );
    fs::write(&second, "1\tc\n9\td\n").unwrap();
    let error = read_captions(&paths, &options, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("second.tsv`, line 2"), "{error}");
}

#[test]
fn the_hash_is_of_sentences_and_pictures() {
    let hash = |text: &str, images: &str| read(text, images, OnBadRow::Error).unwrap().sha256;
    let there = hash("a.png\tred\n", "img");
    assert_eq!(there, hash("a.png\tred\n", "img"));
    assert_ne!(there, hash("a.png\tReD\n", "img"));
    let dir = folder("a.png\tred\n");
    fs::write(dir.path().join("img/a.png"), png(4, 3, [251, 0, 0])).unwrap();
    let options = options(&dir, "img", OnBadRow::Error);
    let other = read_captions(&[dir.path().join("captions.tsv")], &options, None).unwrap();
    assert_ne!(there, other.sha256);
}

#[test]
fn parts_are_held_back_by_picture() {
    let text: String = (0..10)
        .map(|n| format!("{}\tsentence {n}\n", n % 5))
        .collect();
    let dir = folder(&text);
    let validation = dir.path().join("validation.tsv");
    fs::write(&validation, "3\tthree\n").unwrap();
    let paths = [dir.path().join("captions.tsv")];
    let options = options(&dir, "five.npz", OnBadRow::Error);
    let sources = PartSources {
        paths: &paths,
        validation: &Portion::File(validation),
        test: &Portion::Fraction(0.4),
        seed: 3,
    };
    let parts = read_caption_parts(sources, &options, None).unwrap();
    let (validation, test) = (parts.validation.unwrap().0, parts.test.unwrap().0);
    assert_eq!(shown(&validation.captions), [(3, "three".into(), 1)]);
    assert!(Arc::ptr_eq(&validation.pictures, &parts.train.pictures));
    assert_eq!((parts.train.captions.len(), test.captions.len()), (3, 2));
    assert!(test.captions.iter().all(|of| of.sentences.len() == 2));
    let chosen = parts.train.chosen();
    assert!(test.chosen().iter().all(|at| !chosen.contains(at)));
}

/// The pictures of a part that is a file of its own get the size of the training part's.
#[test]
fn parts_have_pictures_of_one_size() {
    let dir = folder("a.png\tred\nb/b.png\tblue\n");
    let validation = dir.path().join("validation.tsv");
    fs::write(&validation, "c.jpg\tgrey\n").unwrap();
    let paths = [dir.path().join("captions.tsv")];
    let sources = PartSources {
        paths: &paths,
        validation: &Portion::File(validation),
        test: &Portion::None,
        seed: 1,
    };
    let options = options(&dir, "img", OnBadRow::Error);
    let parts = read_caption_parts(sources, &options, None).unwrap();
    let validation = parts.validation.unwrap().0;
    assert_eq!(validation.pictures.shape, parts.train.pictures.shape);
    assert_eq!(validation.pictures.count, 1);
}

#[test]
fn the_demo_has_a_test_of_held_out_combinations() {
    let sources = |test| PartSources {
        paths: &[],
        validation: &Portion::Fraction(0.1),
        test,
        seed: 1,
    };
    let options = CaptionOptions::default();
    let parts = read_caption_parts(sources(&Portion::None), &options, None).unwrap();
    let (test, name) = parts.test.unwrap();
    assert_eq!(
        (test.captions.len(), name.as_str()),
        (240, demo::UNSEEN_SHAPES_NAME)
    );
    assert_eq!(parts.train.captions.len(), 2160);
    let parts = read_caption_parts(sources(&Portion::Fraction(0.1)), &options, None).unwrap();
    assert_eq!(parts.test.unwrap().1, "the built-in data");
}

#[test]
fn pictures_alone_are_read_for_a_model() {
    let dir = folder("");
    let path = |name: &str| dir.path().join("img").join(name);
    let found = read_pictures(&[path("c.jpg"), path("a.png")], &[1, 3, 4, 1], 1 << 20).unwrap();
    assert_eq!((found.count, &found.shape[..]), (2, &[1, 3, 4, 1][..]));
    for (paths, shape, expected) in [
        (vec![path("no.png")], &[1, 3, 4, 3][..], "is no picture"),
        (
            vec![path("a.png")],
            &[1, 8],
            "cannot be brought to the shape [1, 8]",
        ),
        (vec![path("a.png")], &[1, 3, 0, 3], "cannot be brought"),
        (vec![], &[1, 3, 4, 3], "holds nothing"),
        (
            vec![path("a.png")],
            &[1, 900, 900, 3],
            "more than 1048576 in all",
        ),
    ] {
        let error = read_pictures(&paths, shape, 1 << 20)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No table makes the reader panic; what comes out names pictures that are there.
    #[test]
    fn no_rows_make_captions_panic(
        rows in prop::collection::vec(("(a.png|b/b.png|no.png|\\.\\.|[0-9]{1,2}|-1|18446744073709551616|\\PC{0,3})", "\\PC{0,6}"), 0..12),
        folder_of_files in any::<bool>(),
        skip in any::<bool>(),
    ) {
        let text: String = rows.iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
        let images = if folder_of_files { "img" } else { "five.npz" };
        let on_bad_row = if skip { OnBadRow::Skip } else { OnBadRow::Error };
        if let Ok(found) = read(&text, images, on_bad_row) {
            prop_assert!(!found.raw.captions.is_empty());
            for of in &found.raw.captions {
                prop_assert!(of.picture < found.raw.pictures.count);
                prop_assert!(of.sentences.iter().all(|sentence| !sentence.is_empty()));
            }
            let mut chosen = found.raw.chosen();
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), found.raw.captions.len());
        }
    }
}
