use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use refrain::checkpoint::write_atomic;
use refrain::data::{NpzWriter, source};

const PARTS: [&str; 3] = ["train", "val", "test"];
/// More than any of the files is, unpacked.
const MAX_BYTES: u64 = 1 << 30;

/// Frames, height and width of each clip.
const CLIP: [usize; 3] = [75, 16, 40];
const SLOTS: [&str; 7] = [
    "silence",
    "command",
    "colour",
    "preposition",
    "letter",
    "digit",
    "adverb",
];

/// Clips of frames with a slot, and with a word, for each frame.
pub(super) fn grid_video(from: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let vocabulary = text(&from.join("vocab.txt"))?;
    let words: Vec<&str> = vocabulary.lines().collect();
    let mut written = Vec::new();
    for part in PARTS {
        let count = text(&from.join(format!("clips.{part}.tsv")))?
            .lines()
            .count();
        let mut frames = bytes(&from.join(format!("frames.{part}.u6delta.zst")))?;
        let [length, height, width] = CLIP;
        let clip_bytes = length * height * width;
        ensure!(
            frames.len() == count * clip_bytes,
            "the frames of `{part}` have {} bytes, {count} clips need {}",
            frames.len(),
            count * clip_bytes
        );
        for clip in frames.chunks_exact_mut(clip_bytes) {
            undo_differences(clip, height * width);
        }
        for (kind, names) in [("slots", &SLOTS[..]), ("words", &words)] {
            let labels = bytes(&from.join(format!("{kind}.{part}.u8.zst")))?;
            ensure!(
                labels.len() == count * length,
                "the {kind} of `{part}` are {}, {count} clips need {}",
                labels.len(),
                count * length
            );
            let mut npz = NpzWriter::compressed();
            npz.add_u8("inputs", &[count, length, height, width, 1], &frames)?;
            npz.add_u8("labels", &[count, length], &labels)?;
            npz.add_texts("label_names", names)?;
            written.push(write(
                to.join(format!("{kind}.{part}.npz")),
                &npz.finish()?,
            )?);
        }
    }
    Ok(written)
}

/// Each frame is stored as what changed since the last, modulo 256, of values of 6 bits; they become 8 bits.
fn undo_differences(clip: &mut [u8], frame_bytes: usize) {
    for at in frame_bytes..clip.len() {
        clip[at] = clip[at].wrapping_add(clip[at - frame_bytes]);
    }
    for value in clip {
        *value <<= 2;
    }
}

/// Twelve months to learn from, four to validate with, four to test, of thirty days each: what the literature uses of the series.
const HOURS: usize = 20 * 30 * 24;

/// The first months of each series, whose fractions 0.2 and 0.2 are the parts of the literature.
pub(super) fn ett(from: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for name in ["ETTh1.csv", "ETTh2.csv"] {
        let whole = text(&from.join(format!("{name}.zst")))?;
        let rows = whole.lines().count();
        ensure!(
            rows > HOURS,
            "`{name}` has {rows} lines, expected more than {HOURS}"
        );
        let first: String = whole.split_inclusive('\n').take(HOURS + 1).collect();
        written.push(write(to.join(name), first.as_bytes())?);
    }
    Ok(written)
}

/// The 88 keys of a piano.
const KEYS: usize = 88;

/// Pieces of steps, each step a 1 for every key that sounds.
pub(super) fn polymusic(from: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for name in ["JSB_Chorales", "MuseData", "Nottingham", "Piano_midi"] {
        let path = from.join(format!("{name}.json.zst"));
        let pieces: BTreeMap<String, Vec<Vec<Vec<usize>>>> = serde_json::from_slice(&bytes(&path)?)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        for part in PARTS {
            let key = if part == "val" { "valid" } else { part };
            let pieces = pieces
                .get(key)
                .with_context(|| format!("`{}` has no `{key}`", path.display()))?;
            let steps = pieces.iter().map(Vec::len).max().unwrap_or(0);
            let mut rolls = vec![0; pieces.len() * steps * KEYS];
            let mut lengths = Vec::new();
            for (roll, piece) in rolls.chunks_exact_mut(steps * KEYS).zip(pieces) {
                lengths.push(u32::try_from(piece.len())?);
                for (step, keys) in roll.chunks_exact_mut(KEYS).zip(piece) {
                    for &key in keys {
                        ensure!(
                            key < KEYS,
                            "`{}` has a key {key}, a piano {KEYS}",
                            path.display()
                        );
                        step[key] = 1;
                    }
                }
            }
            let mut npz = NpzWriter::compressed();
            npz.add_u8("inputs", &[pieces.len(), steps, KEYS], &rolls)?;
            npz.add_u32("lengths", &[pieces.len()], &lengths)?;
            written.push(write(
                to.join(format!("{name}.{part}.npz")),
                &npz.finish()?,
            )?);
        }
    }
    Ok(written)
}

/// The side of a drawing.
const SIDE: usize = 32;

/// All pictures of a drawing in one file; captions name the row.
pub(super) fn emoji(from: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let table = text(&from.join("captions.tsv.zst"))?;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let mut written = Vec::new();
    for drawing in ["noto", "twemoji"] {
        let pixels = bytes(&from.join(format!("{drawing}.{SIDE}x{SIDE}x3.u8.zst")))?;
        ensure!(
            pixels.len() == rows.len() * SIDE * SIDE * 3,
            "`{drawing}` has {} bytes for {} captions",
            pixels.len(),
            rows.len()
        );
        let mut npz = NpzWriter::compressed();
        npz.add_u8("inputs", &[rows.len(), SIDE, SIDE, 3], &pixels)?;
        written.push(write(to.join(format!("{drawing}.npz")), &npz.finish()?)?);
    }
    for part in PARTS {
        for (language, column) in [("en", 4), ("ko", 5)] {
            let mut captions = String::new();
            for (number, row) in rows.iter().enumerate() {
                let caption = row
                    .get(column)
                    .with_context(|| format!("row {number} has {} columns", row.len()))?;
                if row[0] == part {
                    captions += &format!("{number}\t{caption}\n");
                }
            }
            written.push(write(
                to.join(format!("captions.{part}.{language}.tsv")),
                captions.as_bytes(),
            )?);
        }
    }
    Ok(written)
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = source::open(path)?;
    reader
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(bytes(path)?).with_context(|| format!("`{}` is not UTF-8", path.display()))
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<PathBuf> {
    write_atomic(&path, bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_add_up() {
        let mut clip = [10, 20, 1, 0xFF, 0xF8, 0];
        undo_differences(&mut clip, 2);
        assert_eq!(clip, [40, 80, 44, 76, 12, 76]);
    }
}
