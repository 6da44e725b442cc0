use std::io::Cursor;

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, Rgb, RgbImage, RgbaImage};

use super::*;
use crate::data::ArrayLabels;

const MAX_BYTES: u64 = 1 << 24;

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn grey(width: u32, height: u32, colour: u8) -> Vec<u8> {
    encoded(
        GrayImage::from_pixel(width, height, image::Luma([colour])),
        ImageFormat::Png,
    )
}

fn noisy_jpeg() -> Vec<u8> {
    let picture = RgbImage::from_fn(40, 30, |x, y| {
        Rgb([(x * 37 + y * 11) as u8, (x * 5) as u8, (y * 7) as u8])
    });
    encoded(picture, ImageFormat::Jpeg)
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn open(files: &[(&str, Vec<u8>)], skip_bad: bool) -> Result<Arrays> {
    open_folder(folder(files).path(), skip_bad, MAX_BYTES)
}

fn bytes(arrays: &Arrays) -> &[u8] {
    match &arrays.values {
        Values::U8(bytes) => bytes,
        Values::F32(_) => panic!("not bytes"),
    }
}

#[test]
fn subfolders_are_classes_in_order() {
    let arrays = open(
        &[
            ("dog/b.PNG", grey(3, 2, 20)),
            ("dog/deep/a.png", grey(3, 2, 30)),
            ("cat/x.png", grey(3, 2, 10)),
            ("cat/notes.txt", b"hello".to_vec()),
            (".hidden/x.png", b"hello".to_vec()),
            ("empty/readme.md", b"hello".to_vec()),
            ("loose.png", grey(3, 2, 10)),
        ],
        false,
    );
    let arrays = arrays.unwrap();
    assert_eq!(arrays.label_names, ["cat", "dog"]);
    assert_eq!(arrays.labels, Some(ArrayLabels::PerExample(vec![0, 1, 1])));
    assert_eq!(arrays.shape, [2, 3, 1]);
    assert_eq!(bytes(&arrays), [[10; 6], [20; 6], [30; 6]].concat());
    let notes = arrays.notes.join("\n");
    assert!(
        notes.contains("empty` holds no picture and is no class"),
        "{notes}"
    );
    assert!(
        notes.contains("pictures passed over, since they lie in no subfolder: 1"),
        "{notes}"
    );
    assert!(
        notes.contains(
            "files passed over, since they end in neither `.png` nor `.jpg` nor `.jpeg`: 2"
        ),
        "{notes}"
    );
}

#[test]
fn colour_makes_all_coloured_and_alpha_lies_on_white() {
    let half = RgbaImage::from_pixel(2, 1, image::Rgba([255, 0, 100, 128]));
    let unseen = GrayAlphaImage::from_pixel(2, 1, image::LumaA([0, 0]));
    let deep =
        image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(2, 1, image::Luma([0x8080u16]));
    let arrays = open(
        &[
            ("a/1.png", grey(2, 1, 7)),
            ("a/2.png", encoded(half, ImageFormat::Png)),
            ("b/3.png", encoded(unseen.clone(), ImageFormat::Png)),
            ("b/4.png", encoded(deep.clone(), ImageFormat::Png)),
        ],
        false,
    );
    let arrays = arrays.unwrap();
    assert_eq!(arrays.shape, [1, 2, 3]);
    let pixel = [[7, 7, 7], [255, 127, 177], [255, 255, 255], [128, 128, 128]];
    assert_eq!(bytes(&arrays), pixel.map(|p| [p, p].concat()).concat());

    let files = [
        ("a/3.png", encoded(unseen, ImageFormat::Png)),
        ("a/4.png", encoded(deep, ImageFormat::Png)),
    ];
    let arrays = open(&files, false).unwrap();
    assert_eq!(arrays.shape, [1, 2, 1]);
    assert_eq!(bytes(&arrays), [255, 255, 128, 128]);
}

#[test]
fn sizes_are_brought_to_the_most_common_one() {
    let one_size = open(
        &[
            ("a/1.png", grey(100, 128, 5)),
            ("b/1.png", grey(100, 128, 6)),
        ],
        false,
    )
    .unwrap();
    assert_eq!(one_size.shape, [128, 100, 1]);
    assert_eq!(one_size.notes, [""; 0]);

    let mixed = [
        ("a/1.png", grey(20, 10, 5)),
        ("a/2.png", grey(20, 10, 5)),
        ("b/1.png", grey(33, 44, 9)),
    ];
    let mixed = open(&mixed, false).unwrap();
    assert_eq!(mixed.shape, [10, 20, 1]);
    assert_eq!(bytes(&mixed)[400..], [9; 200]);
    let note =
        "1 of 3 pictures were resized to the most common size, 10 x 20 pixels (height x width)";
    assert_eq!(mixed.notes, [note]);

    let large = open(
        &[
            ("a/1.png", grey(200, 100, 5)),
            ("b/1.png", grey(200, 100, 6)),
        ],
        false,
    )
    .unwrap();
    assert_eq!(large.shape, [32, 64, 1]);
    assert!(
        large.notes[0].contains("2 of 2") && large.notes[0].contains("100 x 200"),
        "{:?}",
        large.notes
    );
    let thin = open(&[("a/1.png", grey(1000, 1, 5))], false).unwrap();
    assert_eq!(thin.shape, [1, 64, 1]);
}

/// A PNG head that says 60,000 by 60,000 pixels, with a right checksum.
fn huge() -> Vec<u8> {
    let mut bytes = grey(1, 1, 0);
    bytes[16..24].copy_from_slice(&[60_000u32.to_be_bytes(), 60_000u32.to_be_bytes()].concat());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn bad_pictures_are_named_or_left_out() {
    let (png, jpeg) = (
        encoded(
            RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8, y as u8, 3])),
            ImageFormat::Png,
        ),
        noisy_jpeg(),
    );
    let no_end = [&jpeg[..jpeg.len() - 2], b"\0\0"].concat();
    for (name, content, expected) in [
        (
            "cut.png",
            png[..png.len() / 2].to_vec(),
            "is a damaged picture, or was cut short",
        ),
        (
            "head.png",
            png[..20].to_vec(),
            "is a damaged picture, or was cut short",
        ),
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec(), "cut short"),
        (
            "end.jpg",
            no_end,
            "is a JPEG picture that is cut short: it has no end",
        ),
        (
            "text.png",
            b"hello world".to_vec(),
            "is no picture, whatever its name: it begins with 68 65 6C 6C",
        ),
        (
            "gif.png",
            b"GIF89a\x01\x00\x01\x00".to_vec(),
            "is a Gif picture, expected PNG or JPEG",
        ),
        ("empty.png", Vec::new(), "is empty"),
        ("huge.png", huge(), "has 60000 x 60000 pixels"),
    ] {
        let file = format!("a/{name}");
        let files = [(file.as_str(), content), ("b/good.png", grey(2, 2, 1))];
        let error = open(&files, false).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        let arrays = open(&files, true).unwrap();
        assert_eq!(arrays.labels, Some(ArrayLabels::PerExample(vec![1])));
        assert_eq!(arrays.label_names, ["a", "b"]);
        let note = arrays.notes.join("\n");
        assert!(
            note.contains("files left out, since they hold no usable picture: 1 (")
                && note.contains(name),
            "{note}"
        );
    }
}

#[test]
fn a_whole_jpeg_is_read_whatever_its_name() {
    let dir = folder(&[
        ("a.png", noisy_jpeg()),
        ("b.jpg", [&noisy_jpeg()[..], b"trailing"].concat()),
    ]);
    let picture = read_picture(&dir.path().join("a.png"), 30, 40, 3).unwrap();
    assert_eq!(picture.len(), 3600);
    assert_eq!(
        read_picture(&dir.path().join("b.jpg"), 30, 40, 3).unwrap(),
        picture
    );
    assert_eq!(
        read_picture(&dir.path().join("b.jpg"), 5, 4, 1)
            .unwrap()
            .len(),
        20
    );
    assert!(matches!(
        read_picture(&dir.path().join("none.png"), 1, 1, 1),
        Err(Error::Io { .. })
    ));
    let error = read_picture(dir.path(), 1, 1, 1).unwrap_err().to_string();
    assert!(error.contains("is not a regular file"), "{error}");
}

#[test]
fn folders_without_classes_are_refused() {
    let error = open(&[("a.png", grey(1, 1, 0))], false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("holds 1 pictures, but no subfolder with any"),
        "{error}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("each class into a subfolder")
    );
    let error = open(&[("a/b.txt", Vec::new())], false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("holds no subfolder with pictures"),
        "{error}"
    );
    let error = open(&[("a/b.png", Vec::new())], true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("holds no picture that can be read"),
        "{error}"
    );
    let dir = folder(&[("a/1.png", grey(60, 60, 0)), ("b/2.png", grey(60, 60, 0))]);
    let error = open_folder(dir.path(), false, 7199)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("take 3600 bytes each, more than 7199 in all"),
        "{error}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]
    #[test]
    fn no_damage_panics(at in proptest::prelude::any::<proptest::sample::Index>(), flip in 1..=255u8, jpeg in proptest::prelude::any::<bool>()) {
        let mut content = if jpeg { noisy_jpeg() } else { grey(9, 9, 77) };
        let at = at.index(content.len());
        content[at] ^= flip;
        let dir = folder(&[("a/x.png", content)]);
        let _ = open_folder(dir.path(), false, MAX_BYTES);
        let _ = read_picture(&dir.path().join("a/x.png"), 4, 4, 1);
    }
}
