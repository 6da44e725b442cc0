use std::fs;
use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

const MAX_BYTES: u64 = 1 << 24;

/// An archive of files as they are given.
fn archive(files: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `.npy` file with any header.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

fn read(bytes: &[u8]) -> Result<Arrays> {
    Arrays::read(Cursor::new(bytes), "a.npz", MAX_BYTES)
}

/// Vectors (2, 3, 1) and what else `add` adds.
fn vectors(add: impl FnOnce(&mut NpzWriter)) -> Result<Arrays> {
    let mut npz = NpzWriter::new();
    npz.add_f32("inputs", &[2, 3, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        .unwrap();
    add(&mut npz);
    read(&npz.finish().unwrap())
}

#[track_caller]
fn refused(result: Result<Arrays>, expected: &str) {
    let error = result.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(error.to_string().starts_with("`a.npz`"), "{error}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
}

#[test]
fn what_was_written_is_read() {
    let write = |mut npz: NpzWriter| {
        npz.add_u8(
            "inputs",
            &[2, 2, 1, 3],
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255],
        )
        .unwrap();
        npz.add_i64("labels", &[2], &[1, -1]).unwrap();
        npz.add_u32("lengths", &[2], &[2, 1]).unwrap();
        npz.add_f32("targets", &[2, 2], &[0.5, 1.5, 2.5, -0.0])
            .unwrap();
        npz.add_texts("label_names", &["개", "cat", "dog"]).unwrap();
        npz.add_f32("extra", &[1], &[0.0]).unwrap();
        npz.finish().unwrap()
    };
    let arrays = read(&write(NpzWriter::new())).unwrap();
    assert_eq!((arrays.count, &arrays.shape[..]), (2, &[2, 1, 3][..]));
    assert_eq!(
        (arrays.steps(), arrays.step_size(), arrays.features()),
        (2, 3, 3)
    );
    assert_eq!(
        arrays.values,
        Values::U8(vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0])
    );
    assert_eq!(arrays.lengths, Some(vec![2, 1]));
    assert_eq!(arrays.labels, Some(ArrayLabels::PerExample(vec![1, -1])));
    assert_eq!(arrays.class_names(), ["개", "cat", "dog"]);
    let targets = arrays.targets.as_ref().unwrap();
    assert_eq!((&targets.shape[..], targets.values[2]), (&[2, 2][..], 2.5));
    assert_eq!(arrays.notes, ["`a.npz`: not used: `extra`"]);

    assert_eq!(read(&write(NpzWriter::compressed())).unwrap(), arrays);
    assert_eq!(
        write(NpzWriter::new()),
        write(NpzWriter::new()),
        "the same bytes"
    );
    let mut example = vec![9.0];
    arrays.example(1, &mut example);
    assert_eq!(example, [6.0, 7.0, 8.0]);
}

#[test]
fn every_part_moves_the_hash() {
    let one = |values: [f32; 2], label: i64, names: &[&str]| {
        let mut npz = NpzWriter::new();
        npz.add_f32("inputs", &[1, 2, 1], &values).unwrap();
        npz.add_i64("labels", &[1], &[label]).unwrap();
        npz.add_texts("label_names", names).unwrap();
        read(&npz.finish().unwrap()).unwrap().sha256
    };
    let hashes = [
        one([0.0, 1.0], 0, &["a", "b"]),
        one([1.0, 0.0], 0, &["a", "b"]),
        one([0.0, 1.0], 1, &["a", "b"]),
        one([0.0, 1.0], 0, &["a", "c"]),
    ];
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!((distinct.len(), hashes[0].len()), (4, 64));
}

#[test]
fn files_are_opened_packed_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut npz = NpzWriter::new();
    npz.add_f32("inputs", &[1, 2, 1], &[0.5, 1.5]).unwrap();
    let bytes = npz.finish().unwrap();
    let (plain, packed) = (dir.path().join("a.npz"), dir.path().join("a.npz.zst"));
    fs::write(&plain, &bytes).unwrap();
    fs::write(&packed, zstd::encode_all(&bytes[..], 3).unwrap()).unwrap();
    let arrays = Arrays::open(&plain, 1000).unwrap();
    assert_eq!(arrays.values, Values::F32(vec![0.5, 1.5]));
    assert_eq!(Arrays::open(&packed, 1000).unwrap(), arrays);
    let error = Arrays::open(&packed, 100).unwrap_err().to_string();
    assert!(error.contains("is larger than 100 bytes"), "{error}");
    let error = Arrays::open(dir.path(), 100).unwrap_err().to_string();
    assert!(error.contains("is not a regular file"), "{error}");
    assert!(matches!(
        Arrays::open(&dir.path().join("none"), 1),
        Err(Error::Io { .. })
    ));
}

#[test]
fn inputs_of_a_wrong_shape_are_refused() {
    for (shape, values, expected) in [
        (
            &[4][..],
            4,
            "of shape (4,), expected (N, T, F), (N, H, W, C) or (N, T, H, W, C)",
        ),
        (&[2, 2], 4, "of shape (2, 2), expected"),
        (
            &[1, 1, 1, 2, 1, 2],
            4,
            "of shape (1, 1, 1, 2, 1, 2), expected",
        ),
        (&[2, 0, 3], 0, "of shape (2, 0, 3), which holds nothing"),
        (&[0, 2, 3], 0, "of shape (0, 2, 3), which holds nothing"),
    ] {
        let mut npz = NpzWriter::new();
        npz.add_u8("inputs", shape, &vec![0; values]).unwrap();
        refused(read(&npz.finish().unwrap()), expected);
    }
    let mut npz = NpzWriter::new();
    npz.add_u8("data", &[1], &[0]).unwrap();
    refused(
        read(&npz.finish().unwrap()),
        "has no array `inputs`; it has `data`",
    );
}

#[test]
fn numbers_that_are_none_are_named_but_not_in_padding() {
    let with = |value: f32, length: i64| {
        let mut npz = NpzWriter::new();
        let values = [
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, value, 10.0, 11.0,
        ];
        npz.add_f32("inputs", &[2, 3, 2], &values).unwrap();
        npz.add_i64("lengths", &[2], &[3, length]).unwrap();
        read(&npz.finish().unwrap())
    };
    refused(
        with(f32::NAN, 3),
        "`inputs[1, 1, 1]` is NaN, expected a finite number",
    );
    refused(with(f32::NEG_INFINITY, 2), "`inputs[1, 1, 1]` is -inf");
    let padded = with(f32::NAN, 1).unwrap();
    let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(padded.values, Values::F32(expected.to_vec()));
    let large = npy("<f8", "(1, 1, 1)", &1e300f64.to_le_bytes());
    let bytes = archive(&[("inputs.npy", large)], CompressionMethod::Stored);
    refused(read(&bytes), "`inputs[0, 0, 0]` is inf");
    refused(
        vectors(|npz| npz.add_f32("targets", &[2], &[0.0, f32::NAN]).unwrap()),
        "`targets[1]` is NaN",
    );
}

#[test]
fn wrong_lengths_are_refused() {
    for (lengths, expected) in [
        (&[3, 4][..], "has `lengths[1]` 4, expected 1 to 3"),
        (&[0, 3], "has `lengths[0]` 0, expected 1 to 3"),
        (&[3, -1], "has `lengths[1]` -1, expected 1 to 3"),
        (&[3], "has `lengths` of shape (1,), expected (2,)"),
    ] {
        refused(
            vectors(|npz| npz.add_i64("lengths", &[lengths.len()], lengths).unwrap()),
            expected,
        );
    }
    let half = |npz: &mut NpzWriter| npz.add_f32("lengths", &[2], &[1.0, 1.5]).unwrap();
    refused(
        vectors(half),
        "`lengths`[1] is 1.5, expected a whole number",
    );
}

#[test]
fn wrong_labels_are_refused() {
    let labels = |shape: &[usize], labels: &[i64], names: &[&str]| {
        vectors(|npz| {
            npz.add_i64("labels", shape, labels).unwrap();
            if !names.is_empty() {
                npz.add_texts("label_names", names).unwrap();
            }
        })
    };
    refused(
        labels(&[2], &[0, -2], &[]),
        "has `labels[1]` -2, expected -1 (none) or 0 to",
    );
    refused(
        labels(&[2], &[0, i64::MAX], &[]),
        "has `labels[1]` 9223372036854775807",
    );
    refused(
        labels(&[2], &[0, 2], &["a", "b"]),
        "has `labels[1]` 2, expected -1 (none) or 0 to 1",
    );
    refused(
        labels(&[2, 3], &[0, 0, 0, 0, 0, -7], &[]),
        "has `labels[1, 2]` -7",
    );
    refused(
        labels(&[3], &[0, 0, 0], &[]),
        "has `labels` of shape (3,), expected (2,) or (2, 3)",
    );
    refused(
        labels(&[2, 2], &[0; 4], &[]),
        "has `labels` of shape (2, 2)",
    );
    refused(labels(&[2], &[0, 0], &["a", "a"]), "stand there twice");
    refused(labels(&[2], &[0, 0], &["a", ""]), "that are empty");
    refused(
        vectors(|npz| npz.add_texts("labels", &["cat", "dog"]).unwrap()),
        "`labels` holds texts, expected integers",
    );
    refused(
        vectors(|npz| npz.add_f32("targets", &[3], &[0.0; 3]).unwrap()),
        "has `targets` of shape (3,), expected (2,), (2, K) or (2, 3, K)",
    );
    let mut npz = NpzWriter::new();
    npz.add_u8("inputs", &[1, 2, 2, 2], &[0; 8]).unwrap();
    npz.add_u8("labels", &[1, 2], &[0; 2]).unwrap();
    refused(
        read(&npz.finish().unwrap()),
        "has a label for each row of its pictures",
    );
}

#[test]
fn labels_of_steps_end_with_their_example() {
    let arrays = vectors(|npz| {
        npz.add_i64("labels", &[2, 3], &[0, 1, 2, 4, -99, -99])
            .unwrap();
        npz.add_i64("lengths", &[2], &[3, 1]).unwrap();
    });
    let arrays = arrays.unwrap();
    assert_eq!(
        arrays.labels,
        Some(ArrayLabels::PerStep(vec![0, 1, 2, 4, -1, -1]))
    );
    assert_eq!(arrays.class_names(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn archives_that_lie_are_refused() {
    let stored = CompressionMethod::Stored;
    let inputs = |content: Vec<u8>| archive(&[("inputs.npy", content)], stored);
    let lies = npy("<f4", "(1000000, 1000, 1000)", &[0; 40]);
    refused(
        read(&inputs(lies)),
        "its header of shape (1000000, 1000, 1000) says 4000000000",
    );
    refused(
        read(&inputs(npy("<f4", "(1, 2, 1)", &[0; 7]))),
        "has 80 bytes, its header of shape (1, 2, 1) says 81",
    );
    refused(
        read(&inputs(npy("|O", "(1, 2, 1)", &[0; 16]))),
        "`inputs` is an object array (pickled",
    );
    refused(
        read(&inputs(npy("<M8[ns]", "(1, 2, 1)", &[0; 16]))),
        "`inputs` is of type \"<M8[ns]\"",
    );
    refused(
        read(&inputs(b"no array at all".to_vec())),
        "`inputs` is no NumPy array",
    );
    refused(
        read(&npy("<f4", "(1, 2, 1)", &[0; 8])),
        "is a single array (`.npy`)",
    );
    refused(read(b""), "is empty");
    refused(read(b"hello"), "is no `.npz` file");
    refused(read(b"PK\x03\x04 and no more"), "is no usable `.npz` file");
    let whole = inputs(npy("<f4", "(1, 2, 1)", &[0; 8]));
    refused(read(&whole[..whole.len() - 30]), "is no usable `.npz` file");
}

#[test]
fn a_bomb_is_not_unpacked() {
    // Honest about its size, which is too large.
    let zeros = npy("|u1", "(64, 1024, 1024)", &vec![0; 64 << 20]);
    let bomb = archive(&[("inputs.npy", zeros)], CompressionMethod::Deflated);
    assert!(bomb.len() < 100_000);
    refused(read(&bomb), "needs 268435456 bytes of memory, of 16777216");

    // Small in the directory and the header, more when unpacked; and larger than its packed bytes can be.
    let small = archive(
        &[("inputs.npy", npy("|u1", "(1, 9, 9)", &[1; 81]))],
        CompressionMethod::Deflated,
    );
    let size_at = |bytes: &[u8]| {
        bytes
            .windows(4)
            .rposition(|window| window == b"PK\x01\x02")
            .unwrap()
            + 24
    };
    let at = size_at(&small);
    let size = u32::from_le_bytes(small[at..at + 4].try_into().unwrap());
    for (claimed, expected) in [
        (size - 1, "bytes, its header"),
        (u32::MAX - 1, "cannot be: 4294967294 bytes"),
    ] {
        let mut lying = small.clone();
        lying[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
        refused(read(&lying), expected);
    }
}

#[test]
fn damaged_contents_are_refused() {
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let data: Vec<u8> = (0..200u8).collect();
        let mut bytes = archive(&[("inputs.npy", npy("|u1", "(1, 10, 20)", &data))], method);
        assert!(read(&bytes).is_ok());
        let at = bytes
            .windows(3)
            .position(|window| window == [100, 101, 102])
            .unwrap();
        bytes[at] ^= 0x55;
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains("`inputs` cannot be unpacked"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), descr in "[<>|][a-zA-Z][0-9]{1,3}", shape in "\\([0-9]{1,2}, [0-9]{1,2},( [0-9],)?\\)") {
        let _ = read(&bytes);
        let _ = read(&[b"PK\x03\x04", &bytes[..]].concat());
        let _ = read(&archive(&[("inputs.npy", bytes.clone())], CompressionMethod::Stored));
        let _ = read(&archive(&[("inputs.npy", npy(&descr, &shape, &bytes))], CompressionMethod::Stored));
    }

    #[test]
    fn no_flipped_byte_panics(at in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<prop::sample::Index>()) {
        let mut npz = NpzWriter::compressed();
        npz.add_f32("inputs", &[2, 3, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        npz.add_i64("labels", &[2], &[0, 1]).unwrap();
        npz.add_i64("lengths", &[2], &[3, 2]).unwrap();
        npz.add_texts("label_names", &["a", "b"]).unwrap();
        let mut bytes = npz.finish().unwrap();
        let _ = read(&bytes[..cut.index(bytes.len())]);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = read(&bytes);
    }

    #[test]
    fn floats_come_back_to_the_bit(values in prop::collection::vec(-1e30f32..1e30, 1..40)) {
        let mut npz = NpzWriter::compressed();
        npz.add_f32("inputs", &[1, values.len(), 1], &values).unwrap();
        prop_assert_eq!(read(&npz.finish().unwrap()).unwrap().values, Values::F32(values));
    }
}
