//! Data that cannot be used: an error that names the file and what is wrong with it, and nothing half-written.

use refrain::data::NpzWriter;

use crate::support::{fail, refrain, succeed};
use crate::{Place, REVIEWS, TAGS};

/// Refused: exit code 1, a message with all `parts`, a hint, no run folder.
#[track_caller]
fn refused(place: &Place, task: &str, data: &str, parts: &[&str]) {
    let run = place.path("never");
    let args = [
        "train",
        task,
        data,
        "-o",
        run.to_str().unwrap(),
        "--steps=2",
        "--json",
    ];
    let (code, message, hint) = fail(&mut refrain(&args));
    assert_eq!(code, 1, "{data}: {message}");
    for part in parts {
        assert!(message.contains(part), "{data}: no {part:?} in {message}");
    }
    assert!(!hint.is_empty(), "{data}: {message}");
    assert!(!run.exists(), "{data} left a folder");
}

#[test]
fn rows_that_cannot_be_used_are_named() {
    let place = Place::new();
    let long = ["a b\tx\n".as_bytes(), &[b'q'; 2 << 20], b"\ty\n"].concat();
    let good = "some words\tx\nothers\ty\n".repeat(5);
    let one = "a b\tx\nc d\tx\n".repeat(9);
    let with = |row: &str| format!("{good}{row}\n{good}").into_bytes();
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("columns.tsv", &with("no label"), &["line 11", "1 column"]),
        ("empty.tsv", &with("\tx"), &["line 11", "an empty text"]),
        ("nolabel.tsv", &with("a text\t"), &["line 11", "label"]),
        (
            "key.jsonl",
            b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\"}\n",
            &["line 2", "label"],
        ),
        (
            "broken.jsonl",
            b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\n",
            &["line 2"],
        ),
        ("one.tsv", one.as_bytes(), &["one class only, `x`"]),
        ("long.tsv", &long, &["line 2", "1 MiB"]),
        ("none.tsv", b"", &["holds no row"]),
    ];
    for (name, bytes, parts) in cases {
        let data = place.write(name, bytes);
        refused(&place, "classify", &data, &[&[*name], *parts].concat());
    }
    refused(
        &place,
        "classify",
        &place.name("missing.tsv"),
        &["missing.tsv"],
    );
}

#[test]
fn ragged_sentences_are_named() {
    let place = Place::new();
    for (name, text, line) in [
        (
            "ragged.conll",
            "a\tX\nb\tY\n\nc\tX\textra\nd\tY\n",
            "line 4",
        ),
        ("short.conll", "a\tX\nb\n\nc\tX\n", "line 2"),
        (
            "short.conllu",
            "1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n2\tb\t_\tY\n\n",
            "line 2",
        ),
    ] {
        let data = place.write(name, text.as_bytes());
        refused(&place, "tag", &data, &[name, line]);
    }
    let one = place.write("one.conll", "a\tX\nb\tX\n\n".repeat(9).as_bytes());
    refused(&place, "tag", &one, &["one class only"]);
}

#[test]
fn an_unknown_label_is_named_when_it_is_met() {
    let place = Place::new();
    for (kind, name, text, parts) in [
        (
            REVIEWS,
            "new.tsv",
            "a fine film\tup\nthe plot was bad\tside\\ways\"\n",
            ["line 2", r#"`side\\ways\"`"#],
        ),
        (
            TAGS,
            "new.conll",
            "boing\tVERB\nkaly\tNEW\n\n",
            ["line 2", "`NEW`"],
        ),
    ] {
        let run = format!("model-{}", kind.task);
        succeed(&mut place.train(kind, &run, &["--steps=2"]));
        let data = place.write(name, text.as_bytes());
        let run = place.name(&run);
        let (code, message, hint) = fail(&mut refrain(&["evaluate", &run, &data, "--json"]));
        assert_eq!(code, 1, "{message}");
        for part in parts {
            assert!(message.contains(part), "no {part} in {message}");
        }
        assert!(
            message.contains(name) && hint.starts_with("it has `"),
            "{message} {hint}"
        );
        // And as a part that is held back, before anything is written.
        let flag = format!("--validation={data}");
        let (code, message, _) = fail(&mut place.train(kind, "never", &[&flag]));
        assert!(code == 1 && message.contains(name), "{message}");
        assert!(!place.path("never").exists());
    }
}

/// Labels that would break a line or a terminal: whole in JSON, escaped in a line.
#[test]
fn labels_of_any_kind_are_printed_safely() {
    let place = Place::new();
    let labels = [
        "tab\tin",
        "quote\"d",
        "line\nbreak",
        "\u{1b}[2Jclear",
        "<b>&amp;",
    ];
    let mut rows = String::new();
    for (at, label) in labels.iter().enumerate().cycle().take(60) {
        rows += &serde_json::json!({"text": format!("word{at} other"), "label": label}).to_string();
        rows += "\n";
    }
    let data = place.write("labels.jsonl", rows.as_bytes());
    let run = place.name("run");
    let flags = [
        "--hidden-size=16",
        "--steps=150",
        "--learning-rate=0.02",
        "--json",
    ];
    succeed(refrain(&["train", "classify", &data, "-o", &run]).args(flags));
    let asked: String = (0..labels.len())
        .map(|at| format!("word{at} other\n"))
        .collect();
    let file = place.write("asked.txt", asked.as_bytes());
    let answer = refrain(&["predict", &run, &file, "--json"])
        .output()
        .unwrap();
    let answers: Vec<serde_json::Value> = String::from_utf8(answer.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<&str> = answers
        .iter()
        .map(|a| a["label"].as_str().unwrap())
        .collect();
    assert_eq!(found, labels);
    for command in [["predict", &run, &file], ["evaluate", &run, &data]] {
        let shown = refrain(&command).output().unwrap();
        assert!(shown.status.success());
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(!text.contains('\u{1b}'), "{text:?}");
        if command[0] == "predict" {
            assert_eq!(text.lines().count(), labels.len(), "{text:?}");
            assert!(
                text.lines().all(|line| line.matches('\t').count() == 1),
                "{text:?}"
            );
        }
    }
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(!report.contains("<b>&amp;") && !report.contains('\u{1b}'));
}

/// Four examples of three steps of two features, with one thing done to it.
fn npz(shape: &[usize], values: Option<&[f32]>, more: impl FnOnce(&mut NpzWriter)) -> Vec<u8> {
    let mut writer = NpzWriter::new();
    let count = shape.iter().product();
    let own: Vec<f32> = (0..count).map(|at| (at % 7) as f32).collect();
    writer
        .add_f32("inputs", shape, values.unwrap_or(&own))
        .unwrap();
    more(&mut writer);
    writer.finish().unwrap()
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let at = bytes
        .windows(old.len())
        .position(|part| part == old)
        .unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn arrays_that_cannot_be_used_are_named() {
    const SHAPE: &[usize] = &[4, 3, 2];
    let place = Place::new();
    let labels = |writer: &mut NpzWriter| writer.add_i64("labels", &[4], &[0, 1, 0, 1]).unwrap();
    let lengths = |lengths: [i64; 4]| {
        move |writer: &mut NpzWriter| {
            labels(writer);
            writer.add_i64("lengths", &[4], &lengths).unwrap();
        }
    };
    let mut with_nan = [1.0f32; 24];
    with_nan[13] = f32::NAN;
    let good = npz(SHAPE, None, labels);
    let per_step = |writer: &mut NpzWriter| {
        writer
            .add_i64("labels", &[4, 3], &[0, 1, 1].repeat(4))
            .unwrap()
    };
    for (name, bytes, parts) in [
        (
            "rank2.npz",
            npz(&[4, 3], None, labels),
            ["inputs", "(4, 3)"],
        ),
        (
            "rank6.npz",
            npz(&[4, 3, 1, 1, 1, 1], None, labels),
            ["inputs", "(4, 3, 1, 1, 1, 1)"],
        ),
        (
            "nan.npz",
            npz(SHAPE, Some(&with_nan), labels),
            ["`inputs[2, 0, 1]`", "NaN"],
        ),
        (
            "beyond.npz",
            npz(SHAPE, None, lengths([3, 4, 1, 2])),
            ["`lengths[1]` 4", "1 to 3"],
        ),
        (
            "zero.npz",
            npz(SHAPE, None, lengths([3, 0, 1, 2])),
            ["`lengths[1]` 0", "1 to 3"],
        ),
        (
            "object.npz",
            replaced(&good, b"'<f4'", b"'|O' "),
            ["`inputs`", "object array"],
        ),
        (
            "huge.npz",
            replaced(&good, b"(4, 3, 2), }", b"(4,999999,2)"),
            ["huge.npz", "inputs"],
        ),
        (
            "unlabelled.npz",
            npz(SHAPE, None, |_| ()),
            ["has no `labels`", ""],
        ),
        (
            "steps.npz",
            npz(SHAPE, None, per_step),
            ["(N, T)", "a label for each step"],
        ),
        ("cut.npz", good[..good.len() / 2].to_vec(), ["cut.npz", ""]),
    ] {
        let data = place.write(name, &bytes);
        refused(&place, "classify", &data, &[&[name], &parts[..]].concat());
    }
    let data = place.write("sequences.npz", &good);
    refused(
        &place,
        "tag",
        &data,
        &["sequences.npz", "a label for each example"],
    );
    // And the good one is good.
    let run = place.name("good");
    succeed(&mut refrain(&[
        "train",
        "classify",
        &data,
        "-o",
        &run,
        "--steps=2",
        "--json",
    ]));
}

#[test]
fn idx_files_that_are_cut_short_are_named() {
    let place = Place::new();
    let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
        let numbers = std::iter::once(&magic).chain(sizes);
        numbers.flat_map(|number| number.to_be_bytes()).collect()
    };
    let images = [header(0x803, &[4, 3, 3]), vec![9; 36]].concat();
    let labels = [header(0x801, &[4]), vec![0, 1, 0, 1]].concat();
    let huge = header(0x803, &[u32::MAX, u32::MAX, u32::MAX]);
    for (folder, images, labels, parts) in [
        (
            "cut",
            &images[..40],
            &labels[..],
            ["train-images-idx3-ubyte", "cut short"],
        ),
        (
            "few",
            &images[..],
            &labels[..9],
            ["train-labels-idx1-ubyte", "cut short"],
        ),
        (
            "head",
            &images[..7],
            &labels[..],
            ["train-images-idx3-ubyte", ""],
        ),
        (
            "huge",
            &huge[..],
            &labels[..],
            ["train-images-idx3-ubyte", ""],
        ),
    ] {
        place.write(&format!("{folder}/train-images-idx3-ubyte"), images);
        place.write(&format!("{folder}/train-labels-idx1-ubyte"), labels);
        refused(&place, "classify", &place.name(folder), &parts);
    }
}

/// The checksum of PNG, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0xEDB8_8320);
        }
    }
    !crc
}

/// A PNG file of one grey whose pixels have so many bytes; its pixels are stored, not packed.
fn png(width: u32, height: u32, (kind, channels): (u8, u32), level: u8) -> Vec<u8> {
    let mut pixel = vec![level; channels as usize];
    if channels == 4 {
        pixel[3] = 255;
    }
    let row = [vec![0], pixel.repeat(width as usize)].concat();
    let raw = row.repeat(height as usize);
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in &raw {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let length = raw.len() as u16;
    let packed = [
        &[0x78, 1, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &raw,
        &(b << 16 | a).to_be_bytes(),
    ]
    .concat();
    png_of(width, height, kind, &packed)
}

fn png_of(width: u32, height: u32, kind: u8, packed: &[u8]) -> Vec<u8> {
    let chunk = |name: &[u8], data: &[u8]| {
        let body = [name, data].concat();
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], &body, &crc32(&body).to_be_bytes()].concat()
    };
    let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
    let header = [&width[..], &height, &[8, kind, 0, 0, 0]].concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &header),
        &chunk(b"IDAT", packed),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

const GREY: (u8, u32) = (0, 1);
const COLOURS: (u8, u32) = (2, 3);
const ALPHA: (u8, u32) = (6, 4);

#[test]
fn pictures_of_any_kind_are_read_or_named() {
    let place = Place::new();
    let folder = |name: &str, odd: &[u8]| {
        for at in 0..6 {
            let dark = png(6, 5, COLOURS, 20 + at);
            let bright = png(6, 5, COLOURS, 220 + at);
            place.write(&format!("{name}/dark/{at}.png"), &dark);
            place.write(&format!("{name}/bright/{at}.png"), &bright);
        }
        place.write(&format!("{name}/dark/odd.png"), odd);
        place.name(name)
    };
    for (name, odd) in [
        ("colours", png(6, 5, COLOURS, 30)),
        ("grey", png(6, 5, GREY, 30)),
        ("alpha", png(6, 5, ALPHA, 30)),
        ("other-size", png(7, 9, COLOURS, 30)),
    ] {
        let (data, run) = (folder(name, &odd), place.name(&format!("run-{name}")));
        let args = [
            "train",
            "classify",
            &data,
            "-o",
            &run,
            "--hidden-size=8",
            "--steps=60",
            "--json",
        ];
        let end = succeed(&mut refrain(&args));
        assert_eq!(end["steps"], 60);
        // The paths of pictures, one a line; what is none is told in its place.
        let paths = format!("{data}/dark/odd.png\n{data}/none.png\n{data}/bright/0.png\n");
        let file = place.write("paths.txt", paths.as_bytes());
        let answer = refrain(&["predict", &run, &file, "--json"])
            .output()
            .unwrap();
        assert_eq!(answer.status.code(), Some(1));
        let answers: Vec<serde_json::Value> = String::from_utf8(answer.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), 3, "{answers:?}");
        assert_eq!(answers[0]["label"], "dark", "{name}: {answers:?}");
        assert!(answers[1]["error"].as_str().unwrap().contains("none.png"));
        assert_eq!(answers[2]["label"], "bright", "{name}: {answers:?}");
    }
    let whole = png(6, 5, COLOURS, 30);
    for (name, odd, part) in [
        ("cut", &whole[..60], "odd.png"),
        (
            "huge",
            &png_of(60_000, 60_000, 2, b"")[..],
            "60000 x 60000 pixels",
        ),
        ("text", b"I am a text.\n", "no picture"),
        ("empty", b"", "odd.png"),
    ] {
        let data = folder(name, odd);
        refused(&place, "classify", &data, &["odd.png", part]);
        let run = place.name(&format!("skipped-{name}"));
        let args = ["train", "classify", &data, "-o", &run, "--on-bad-row=skip"];
        let end = succeed(refrain(&args).args(["--steps=2", "--json"]));
        assert!(
            end["notes"].to_string().contains("odd.png"),
            "{name}: {}",
            end["notes"]
        );
    }
}
