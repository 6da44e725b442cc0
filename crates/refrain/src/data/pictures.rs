//! Pictures: folders of PNG and JPEG files, one subfolder a class, and IDX files.

mod decode;
mod idx;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use idx::IdxPair;

use super::arrays::{Arrays, Parts, Values};
use super::source::{self, io_error};
use crate::{Error, Result};
use decode::{Head, decode, head};

/// Pictures of one size are left as they are up to this many pixels a side: a recurrent network reads each row.
const MAX_SIDE_KEPT: usize = 128;
/// Others are brought to a size of at most this.
const MAX_SIDE_RESIZED: usize = 64;
/// Bad files that a note lists.
const LISTED: usize = 3;

/// Reads a folder with one subfolder for each class, the names of which are sorted.
///
/// A subfolder is searched to any depth for files that end in `.png`, `.jpg` or `.jpeg`. Grey pictures stay grey; if any
/// is coloured, all become RGB. What is transparent is laid on white, sixteen bits a channel are brought to eight, a
/// photograph is turned as its EXIF data say. Pictures of one size of at most 128 pixels a side keep it; otherwise all
/// are resized to the most common size, the longer side brought down to 64, which a note says.
///
/// With `skip_bad`, files that hold no picture are left out and counted in a note.
///
/// # Errors
///
/// [`Error::Io`] where a folder or file cannot be read; [`Error::Unusable`] where there is no class or no picture, where
/// a file is damaged, no picture, or larger than 33 million pixels, and where the pictures would take more than
/// `max_bytes`.
pub fn open_folder(folder: &Path, skip_bad: bool, max_bytes: u64) -> Result<Arrays> {
    let mut found = find(folder)?;
    let (paths, classes): (Vec<_>, Vec<_>) = found.pictures.into_iter().unzip();
    let mut bad = Vec::new();
    let name = folder.display().to_string();
    let list = read_list(&paths, None, &name, max_bytes, |at, error| match error {
        Error::Unusable { .. } if skip_bad => {
            bad.push(paths[at].clone());
            Ok(())
        }
        error => Err(error),
    })?;
    let count = list.kept.len();
    if count == 0 {
        return Err(Error::Unusable {
            problem: format!("`{name}` holds no picture that can be read"),
            hint: "give PNG or JPEG files".into(),
        });
    }
    found.notes.extend(list.note);
    found.notes.extend(bad_note(bad));
    let [height, width, channels] = list.shape;
    let labels = list.kept.iter().map(|&at| classes[at]).collect();
    let parts = Parts {
        shape: vec![count, height, width, channels],
        values: Values::U8(list.pixels),
        lengths: None,
        labels: Some((vec![count], labels)),
        targets: None,
        label_names: found.classes,
        notes: found.notes,
    };
    parts.check(&name)
}

/// Pictures that were brought to one size.
pub(super) struct List {
    /// Height, width and channels of each.
    pub(super) shape: [usize; 3],
    /// One after the other.
    pub(super) pixels: Vec<u8>,
    /// Which of the files they are, rising.
    pub(super) kept: Vec<usize>,
    /// What was resized.
    pub(super) note: Option<String>,
}

/// Reads pictures and brings them to the given height, width and channels, or to those that suit most of them. `bad` is told
/// which file cannot be used and why, and leaves it out unless it gives an error.
pub(super) fn read_list(
    paths: &[PathBuf],
    shape: Option<[usize; 3]>,
    name: &str,
    max_bytes: u64,
    mut bad: impl FnMut(usize, Error) -> Result<()>,
) -> Result<List> {
    let mut heads = Vec::new();
    let mut good = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        if shape.is_none() {
            match head(path) {
                Ok(head) => heads.push(head),
                Err(error) => {
                    bad(at, error)?;
                    continue;
                }
            }
        }
        good.push(at);
    }
    let size = choose_size(heads.iter());
    let coloured = heads.iter().any(|head| head.coloured);
    let chosen = [size.height, size.width, if coloured { 3 } else { 1 }];
    let [height, width, channels] = shape.unwrap_or(chosen);
    let picture_bytes = height * width * channels;
    if (picture_bytes as u64).saturating_mul(good.len() as u64) > max_bytes {
        return Err(Error::Unusable {
            problem: format!(
                "the {} pictures of `{name}` take {picture_bytes} bytes each, more than {max_bytes} in all",
                good.len(),
            ),
            hint: "use fewer or smaller pictures".into(),
        });
    }
    let mut list = List {
        shape: [height, width, channels],
        pixels: Vec::new(),
        kept: Vec::new(),
        note: None,
    };
    let mut resized = 0;
    for (place, &at) in good.iter().enumerate() {
        match decode(&paths[at], height, width, channels) {
            Ok(picture) => {
                list.pixels.extend(picture);
                list.kept.push(at);
                let other = |head: &Head| (head.height, head.width) != (height, width);
                resized += u64::from(heads.get(place).is_some_and(other));
            }
            Err(error) => bad(at, error)?,
        }
    }
    list.note = size.note(resized, list.kept.len());
    Ok(list)
}

/// Reads one picture and brings it to the given size and to 1 (grey) or 3 channels (RGB), as [`open_folder`] does.
///
/// # Shapes
///
/// The result is (height, width, channels).
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::Unusable`] where it holds no usable picture.
///
/// # Panics
///
/// Where a side is 0 or `channels` is neither 1 nor 3.
pub fn read_picture(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    assert!(
        height > 0 && width > 0 && matches!(channels, 1 | 3),
        "a picture of {height} x {width} pixels in {channels} channels"
    );
    decode(path, height, width, channels)
}

struct Found {
    classes: Vec<String>,
    /// With the number of its class.
    pictures: Vec<(PathBuf, i64)>,
    notes: Vec<String>,
}

/// The classes and their files.
fn find(folder: &Path) -> Result<Found> {
    let io = |source| io_error("list", folder, source);
    let mut folders = Vec::new();
    let mut loose = 0u64;
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.path().is_dir() {
            folders.push(entry.path());
        } else {
            loose += u64::from(is_picture(&entry.path()));
        }
    }
    folders.sort();
    let mut found = Found {
        classes: Vec::new(),
        pictures: Vec::new(),
        notes: Vec::new(),
    };
    let mut others = 0u64;
    for class_folder in folders {
        let name = class_folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let files = files_of(&class_folder)?;
        let (pictures, rest): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|path| is_picture(path));
        others += rest.len() as u64;
        if pictures.is_empty() {
            found.notes.push(format!(
                "`{}` holds no picture and is no class",
                class_folder.display()
            ));
            continue;
        }
        let class = found.classes.len() as i64;
        found
            .pictures
            .extend(pictures.into_iter().map(|path| (path, class)));
        found.classes.push(name);
    }
    if found.classes.is_empty() {
        let problem = match loose {
            0 => format!("`{}` holds no subfolder with pictures", folder.display()),
            _ => format!(
                "`{}` holds {loose} pictures, but no subfolder with any",
                folder.display()
            ),
        };
        return Err(Error::Unusable {
            problem,
            hint: "put the PNG or JPEG files of each class into a subfolder that has its name"
                .into(),
        });
    }
    for (count, what) in [
        (
            loose,
            "pictures passed over, since they lie in no subfolder",
        ),
        (
            others,
            "files passed over, since they end in neither `.png` nor `.jpg` nor `.jpeg`",
        ),
    ] {
        if count > 0 {
            found.notes.push(format!("{what}: {count}"));
        }
    }
    Ok(found)
}

/// Every file below a folder, in order; none where it holds none.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    match source::expand(&[folder]) {
        Err(Error::Unusable { .. }) => Ok(Vec::new()),
        files => files,
    }
}

fn is_picture(path: &Path) -> bool {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    ["png", "jpg", "jpeg"]
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

/// The size that all pictures get.
struct Size {
    height: usize,
    width: usize,
    /// The most common size, where it is not this one.
    from: Option<(usize, usize)>,
}

impl Size {
    fn note(&self, resized: u64, count: usize) -> Option<String> {
        let (height, width) = (self.height, self.width);
        let to = match self.from {
            None => format!("the most common size, {height} x {width} pixels (height x width)"),
            Some((from_height, from_width)) => format!(
                "{height} x {width} pixels (height x width), smaller than the most common size, {from_height} x {from_width}"
            ),
        };
        (resized > 0).then(|| format!("{resized} of {count} pictures were resized to {to}"))
    }
}

fn choose_size<'a>(heads: impl Iterator<Item = &'a Head>) -> Size {
    let mut counts = BTreeMap::new();
    for head in heads {
        *counts.entry((head.height, head.width)).or_insert(0u64) += 1;
    }
    // Of sizes that are equally common, the first in order: the smallest height.
    let common = counts
        .iter()
        .max_by_key(|&(&size, &count)| (count, std::cmp::Reverse(size)));
    let (height, width) = common.map_or((1, 1), |(&size, _)| size);
    let longest = height.max(width);
    let most = if counts.len() == 1 {
        MAX_SIDE_KEPT
    } else {
        MAX_SIDE_RESIZED
    };
    if longest <= most {
        return Size {
            height,
            width,
            from: None,
        };
    }
    // Rounded to the nearest pixel, at least one.
    let scaled = |side: usize| ((side * MAX_SIDE_RESIZED + longest / 2) / longest).max(1);
    Size {
        height: scaled(height),
        width: scaled(width),
        from: Some((height, width)),
    }
}

fn bad_note(mut bad: Vec<PathBuf>) -> Option<String> {
    bad.sort();
    let count = bad.len();
    let names: Vec<_> = bad
        .iter()
        .take(LISTED)
        .map(|path| format!("`{}`", path.display()))
        .collect();
    let more = if count > LISTED { ", …" } else { "" };
    (count > 0).then(|| {
        format!(
            "files left out, since they hold no usable picture: {count} ({}{more})",
            names.join(", ")
        )
    })
}
