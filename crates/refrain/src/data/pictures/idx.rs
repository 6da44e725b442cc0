//! IDX files, as MNIST's: pictures in one file, their labels in another.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::data::arrays::{Arrays, Parts, Values};
use crate::data::source::{self, hex, io_error};
use crate::{Error, Result};

const HINT: &str = "the file is damaged or was cut short; take another copy of it";
/// The type of unsigned bytes, the only one that pictures come in.
const UNSIGNED_BYTES: u8 = 8;
const ENDINGS: [&str; 3] = ["", ".gz", ".zst"];
/// What tells a file of pictures from one of labels by its name, dot or dash (both are about) in front of `idx`.
const KINDS: [(&str, &str); 4] = [
    ("images-idx3", "labels-idx1"),
    ("images.idx3", "labels.idx1"),
    ("images-idx4", "labels-idx1"),
    ("images.idx4", "labels.idx1"),
];

/// Two files that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxPair {
    /// The pictures, `…images-idx3-ubyte`.
    pub images: PathBuf,
    /// Their labels, `…labels-idx1-ubyte`.
    pub labels: PathBuf,
}

impl IdxPair {
    /// Every pair in a folder, in the order of names; a folder of anything else has none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder cannot be listed, [`Error::Unusable`] where pictures lack their labels.
    pub fn in_folder(folder: &Path) -> Result<Vec<Self>> {
        let io = |source| io_error("list", folder, source);
        let mut pairs: Vec<Self> = Vec::new();
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            names.push(entry.map_err(io)?.file_name());
        }
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let is_images = kind_of(&path).is_some_and(|(images, _)| has(&path, images));
            // Where a file lies there packed and unpacked, the first will do.
            if is_images
                && path.is_file()
                && !pairs
                    .iter()
                    .any(|pair| same_but_packed(&pair.images, &path))
            {
                pairs.push(Self::of_file(&path)?);
            }
        }
        Ok(pairs)
    }

    /// Whether a name is one of such a file.
    #[must_use]
    pub fn is_named_so(path: &Path) -> bool {
        kind_of(path).is_some()
    }

    /// The pair that a file is one half of.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where the name is not one of such a file, or the other half is not beside it.
    pub fn of_file(path: &Path) -> Result<Self> {
        let Some((images, labels)) = kind_of(path) else {
            return Err(Error::Unusable {
                problem: format!("`{}` is not named like an IDX file", path.display()),
                hint: "name the files `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `.gz` or `.zst` on top"
                    .into(),
            });
        };
        let (from, to) = if has(path, images) {
            (images, labels)
        } else {
            (labels, images)
        };
        let name = unpacked_name(path).replace(from, to);
        let others = ENDINGS.map(|ending| path.with_file_name(format!("{name}{ending}")));
        let Some(other) = others.into_iter().find(|other| other.is_file()) else {
            return Err(Error::Unusable {
                problem: format!("`{}` has no `{name}` beside it", path.display()),
                hint: format!("put `{name}` (or `{name}.gz`) into the same folder"),
            });
        };
        let path = path.to_owned();
        Ok(if from == images {
            Self {
                images: path,
                labels: other,
            }
        } else {
            Self {
                images: other,
                labels: path,
            }
        })
    }

    /// Whether this pair holds test data: its name begins with `t10k` or `test`.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let name = unpacked_name(&self.images);
        name.starts_with("t10k") || name.starts_with("test")
    }

    /// Reads both files: pictures of shape (H, W, C) and a label for each.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be read; [`Error::Unusable`] where one is no IDX file of bytes, has more or
    /// fewer bytes than its header says or more than `max_bytes`, or where there are not as many labels as pictures.
    pub fn read(&self, max_bytes: u64) -> Result<Arrays> {
        let (mut shape, pixels) = read_idx(&self.images, "pictures", &[3, 4], max_bytes)?;
        let (labels_shape, labels) = read_idx(&self.labels, "labels", &[1], max_bytes)?;
        if labels_shape[0] != shape[0] {
            return Err(Error::Unusable {
                problem: format!(
                    "`{}` holds {} pictures, `{}` {} labels",
                    self.images.display(),
                    shape[0],
                    self.labels.display(),
                    labels_shape[0]
                ),
                hint: "take both files from the same data set".into(),
            });
        }
        if shape.len() == 3 {
            shape.push(1);
        }
        let parts = Parts {
            values: Values::U8(pixels),
            lengths: None,
            labels: Some((labels_shape, labels.into_iter().map(i64::from).collect())),
            targets: None,
            label_names: Vec::new(),
            notes: Vec::new(),
            shape,
        };
        parts.check(&self.images.display().to_string())
    }
}

fn kind_of(path: &Path) -> Option<(&'static str, &'static str)> {
    KINDS
        .into_iter()
        .find(|(images, labels)| has(path, images) || has(path, labels))
}

fn has(path: &Path, part: &str) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().contains(part)
}

fn unpacked_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(&name);
    name.to_owned()
}

fn same_but_packed(a: &Path, b: &Path) -> bool {
    unpacked_name(a) == unpacked_name(b)
}

/// The shape and the bytes of a file; memory grows with what is really there.
fn read_idx(
    path: &Path,
    what: &str,
    axes: &[usize],
    max_bytes: u64,
) -> Result<(Vec<usize>, Vec<u8>)> {
    let io = |source| io_error("read", path, source);
    let unusable = |problem: String, hint: &str| Error::Unusable {
        problem: format!("`{}` {problem}", path.display()),
        hint: hint.into(),
    };
    let mut reader = source::open(path)?;
    let mut magic = Vec::new();
    reader
        .by_ref()
        .take(4)
        .read_to_end(&mut magic)
        .map_err(io)?;
    let count = match magic[..] {
        [0, 0, UNSIGNED_BYTES, count] if axes.contains(&usize::from(count)) => usize::from(count),
        _ => {
            let axes: Vec<_> = axes
                .iter()
                .map(|axes| format!("00 00 08 {axes:02X}"))
                .collect();
            let problem = format!(
                "is no IDX file of {what}: it begins with {}, expected {}",
                hex(&magic),
                axes.join(" or ")
            );
            return Err(unusable(
                problem,
                "check that pictures and labels were not exchanged",
            ));
        }
    };
    let mut sizes = Vec::new();
    reader
        .by_ref()
        .take(4 * count as u64)
        .read_to_end(&mut sizes)
        .map_err(io)?;
    let (sizes, rest) = sizes.as_chunks::<4>();
    if sizes.len() < count || !rest.is_empty() {
        return Err(unusable("ends within its header".into(), HINT));
    }
    let shape: Vec<u64> = sizes
        .iter()
        .map(|&size| u32::from_be_bytes(size).into())
        .collect();
    let shown = shape
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" x ");
    let bytes = shape
        .iter()
        .try_fold(1u64, |bytes, &size| bytes.checked_mul(size));
    let Some(bytes) = bytes.filter(|&bytes| bytes <= max_bytes) else {
        let problem = format!("says that it holds {shown} bytes, at most {max_bytes} fit");
        return Err(unusable(problem, HINT));
    };
    let mut content = Vec::new();
    reader
        .by_ref()
        .take(bytes + 1)
        .read_to_end(&mut content)
        .map_err(io)?;
    let found = content.len() as u64;
    if found < bytes {
        let problem =
            format!("is cut short: its header says {shown} = {bytes} bytes, found {found}");
        return Err(unusable(problem, HINT));
    }
    if found > bytes {
        let problem = format!("goes on after the {shown} = {bytes} bytes that its header says");
        return Err(unusable(problem, HINT));
    }
    Ok((shape.iter().map(|&size| size as usize).collect(), content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use refrain_testing::shared_data;

    use super::*;
    use crate::data::ArrayLabels;

    fn idx(shape: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, shape.len() as u8];
        file.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
        file.extend(bytes);
        file
    }

    fn read(images: &[u8], labels: &[u8]) -> Result<Arrays> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train-images-idx3-ubyte");
        fs::write(&path, images).unwrap();
        fs::write(dir.path().join("train-labels-idx1-ubyte"), labels).unwrap();
        IdxPair::of_file(&path)?.read(1 << 20)
    }

    #[test]
    fn a_pair_is_found_from_the_folder_and_from_either_half() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("train-images-idx3-ubyte");
        let labels = dir.path().join("train-labels-idx1-ubyte.zst");
        let test = dir.path().join("t10k-images.idx3-ubyte");
        fs::write(&images, idx(&[2, 1, 3], &[0, 1, 2, 3, 4, 5])).unwrap();
        fs::write(
            &labels,
            zstd::encode_all(&idx(&[2], &[1, 0])[..], 3).unwrap(),
        )
        .unwrap();
        let pair = IdxPair {
            images: images.clone(),
            labels: labels.clone(),
        };
        assert_eq!(IdxPair::of_file(&images).unwrap(), pair);
        assert_eq!(IdxPair::of_file(&labels).unwrap(), pair);
        assert_eq!(
            IdxPair::in_folder(dir.path()).unwrap(),
            std::slice::from_ref(&pair)
        );

        let arrays = pair.read(100).unwrap();
        assert_eq!((arrays.count, &arrays.shape[..]), (2, &[1, 3, 1][..]));
        assert_eq!(arrays.values, Values::U8(vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(arrays.labels, Some(ArrayLabels::PerExample(vec![1, 0])));
        assert_eq!(arrays.class_names(), ["0", "1"]);

        fs::write(&test, []).unwrap();
        let error = IdxPair::in_folder(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("has no `t10k-labels.idx1-ubyte` beside it"),
            "{error}"
        );
        fs::write(dir.path().join("t10k-labels.idx1-ubyte"), []).unwrap();
        let pairs = IdxPair::in_folder(dir.path()).unwrap();
        assert_eq!(
            pairs.iter().map(IdxPair::is_test).collect::<Vec<_>>(),
            [true, false]
        );
        assert!(IdxPair::of_file(Path::new("pictures.bin")).is_err());
    }

    #[test]
    fn damaged_files_are_named() {
        let good = idx(&[2, 1, 3], &[0; 6]);
        let labels = idx(&[2], &[1, 0]);
        for (images, labels, expected) in [
            (
                &good[..good.len() - 1],
                &labels[..],
                "says 2 x 1 x 3 = 6 bytes, found 5",
            ),
            (
                &[&good[..], &[1]].concat(),
                &labels,
                "goes on after the 2 x 1 x 3 = 6 bytes",
            ),
            (&good[..9], &labels, "ends within its header"),
            (
                &[],
                &labels,
                "it begins with , expected 00 00 08 03 or 00 00 08 04",
            ),
            (
                &labels,
                &labels,
                "it begins with 00 00 08 01, expected 00 00 08 03",
            ),
            (
                &good,
                &good,
                "it begins with 00 00 08 03, expected 00 00 08 01",
            ),
            (&good, &idx(&[3], &[0; 3]), "labels-idx1-ubyte` 3 labels"),
            (&idx(&[u32::MAX; 3], &[]), &labels, "at most 1048576 fit"),
            (&idx(&[0, 1, 3], &[]), &idx(&[0], &[]), "holds nothing"),
            (
                &idx(&[60_000, 28, 28], &[])[..16],
                &labels,
                "at most 1048576 fit",
            ),
        ] {
            let error = read(images, labels).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_cut_packed_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let packed = source::tests::gzip(&idx(&[100, 4, 4], &[7; 1600]));
        let path = dir.path().join("train-images-idx3-ubyte.gz");
        fs::write(&path, &packed[..packed.len() - 4]).unwrap();
        fs::write(
            dir.path().join("train-labels-idx1-ubyte"),
            idx(&[100], &[0; 100]),
        )
        .unwrap();
        let result = IdxPair::of_file(&path).unwrap().read(1 << 20);
        assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
    }

    #[test]
    fn mnist_is_mnist() {
        let Some(folder) = shared_data("mnist") else {
            return;
        };
        let pairs = IdxPair::in_folder(&folder).unwrap();
        assert_eq!(pairs.len(), 2);
        let test = pairs.iter().find(|pair| pair.is_test()).unwrap();
        let arrays = test.read(1 << 30).unwrap();
        assert_eq!(
            (arrays.count, &arrays.shape[..]),
            (10_000, &[28, 28, 1][..])
        );
        assert_eq!(&arrays.labels.as_ref().unwrap().all()[..5], [7, 2, 1, 0, 4]);
        assert_eq!(arrays.class_names().len(), 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>(), sizes in any::<[u32; 3]>()) {
            let _ = read(&bytes, &idx(&[1], &[0]));
            let _ = read(&idx(&sizes, &bytes), &bytes);
        }
    }
}
