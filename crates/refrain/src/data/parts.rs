//! Data in parts: training, validation, test. What is held back is drawn by the seed, or stands in a file of its own.

use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha12Rng;
use sha2::{Digest as _, Sha256};

use super::Portion;
use super::source::hex;
use crate::error::{Error, Result};

/// What was read of some files.
#[derive(Clone, Debug)]
pub struct ReadData<T> {
    /// The examples.
    pub raw: T,
    /// A hash of the content.
    pub sha256: String,
    /// Rows that were left out.
    pub skipped: u64,
    /// What a user should know.
    pub notes: Vec<String>,
}

impl<T> ReadData<T> {
    /// What is built in: nothing was read of any file.
    pub(super) fn built_in(raw: T) -> Self {
        Self {
            raw,
            sha256: String::new(),
            skipped: 0,
            notes: Vec::new(),
        }
    }

    /// The same with other examples.
    pub(super) fn map<U>(self, make: impl FnOnce(T) -> U) -> ReadData<U> {
        ReadData {
            raw: make(self.raw),
            sha256: self.sha256,
            skipped: self.skipped,
            notes: self.notes,
        }
    }
}

/// Data in parts.
#[derive(Clone, Debug)]
pub struct Parts<T> {
    /// What is learnt from.
    pub train: T,
    /// What is scored while learning, if anything, and the name of its file.
    pub validation: Option<(T, String)>,
    /// What is scored at the end, if anything, and the name of its file.
    pub test: Option<(T, String)>,
    /// A hash of all.
    pub sha256: String,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Where the parts of data come from.
#[derive(Clone, Copy, Debug)]
pub struct PartSources<'a> {
    /// The data; none is the task's own.
    pub paths: &'a [PathBuf],
    /// What to hold back for validation.
    pub validation: &'a Portion,
    /// What to hold back for the test.
    pub test: &'a Portion,
    /// The seed by which examples are held back.
    pub seed: u64,
}

/// Examples that can be dealt out.
pub(super) trait Divide: Sized {
    /// How many there are.
    fn count(&self) -> usize;

    /// Moves those that are held out to a part of their own.
    fn divide(self, held_out: &[bool]) -> (Self, Self);
}

impl<T> Divide for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn divide(self, held_out: &[bool]) -> (Self, Self) {
        let (mut kept, mut out) = (Self::new(), Self::new());
        for (item, &is_out) in self.into_iter().zip(held_out) {
            if is_out {
                out.push(item)
            } else {
                kept.push(item)
            }
        }
        (kept, out)
    }
}

/// The name of some files for messages.
fn name_of(paths: &[PathBuf]) -> String {
    match paths {
        [] => "the built-in data".into(),
        [path] => path.display().to_string(),
        [path, ..] => format!("{}, …", path.display()),
    }
}

/// A part that is held back: examples of the data itself, or a file of its own.
enum Held<T> {
    Own(Vec<usize>),
    File(ReadData<T>, String),
}

/// Draws which examples are held back.
struct Draw {
    count: usize,
    /// Those that are not held back yet, shuffled.
    left: Vec<usize>,
}

impl Draw {
    fn new(count: usize, seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        // A stream that no shuffle of an epoch reaches.
        rng.set_stream(u64::MAX);
        let mut left: Vec<usize> = (0..count).collect();
        left.shuffle(&mut rng);
        Self { count, left }
    }

    fn part<T>(
        &mut self,
        portion: &Portion,
        open: &mut impl FnMut(&Path) -> Result<ReadData<T>>,
    ) -> Result<Held<T>> {
        Ok(match portion {
            Portion::None => Held::Own(Vec::new()),
            Portion::Fraction(fraction) => {
                let size = (self.count as f64 * fraction).round() as usize;
                Held::Own(self.left.split_off(self.left.len().saturating_sub(size)))
            }
            Portion::File(path) => Held::File(open(path)?, path.display().to_string()),
        })
    }
}

/// Deals out the data, and reads the parts that are files of their own by `open`. Fractions are held back at random (by the
/// seed), since files of examples are often sorted.
pub(super) fn in_parts<T: Divide>(
    sources: PartSources<'_>,
    read: ReadData<T>,
    mut open: impl FnMut(&Path) -> Result<ReadData<T>>,
) -> Result<Parts<T>> {
    let name = name_of(sources.paths);
    let (mut hashes, mut notes) = (vec![read.sha256], read.notes);
    let count = read.raw.count();
    let mut draw = Draw::new(count, sources.seed);
    let test = draw.part(sources.test, &mut open)?;
    let validation = draw.part(sources.validation, &mut open)?;
    let mut place = vec![0_u8; count];
    for (part, held) in [(1, &validation), (2, &test)] {
        if let Held::Own(held) = held {
            held.iter().for_each(|&at| place[at] = part);
        }
    }
    let (train, held) = read
        .raw
        .divide(&place.iter().map(|&part| part > 0).collect::<Vec<_>>());
    let held_places = place.iter().filter(|&&part| part > 0);
    let (own_validation, own_test) =
        held.divide(&held_places.map(|&part| part == 2).collect::<Vec<_>>());
    if train.count() == 0 {
        return Err(Error::Unusable {
            problem: format!("`{name}` has {count} examples, and none is left to learn from"),
            hint: "give more data, or a smaller `--validation` or `--test`".into(),
        });
    }
    let mut settle = |held: Held<T>, own: T, portion: &Portion, what: &str| match held {
        Held::File(read, name) => {
            hashes.push(read.sha256);
            notes.extend(read.notes);
            Some((read.raw, name))
        }
        Held::Own(_) if own.count() == 0 => {
            if matches!(portion, Portion::Fraction(_)) {
                notes.push(format!("there is too little data for a {what} part"));
            }
            None
        }
        Held::Own(_) => Some((own, name.clone())),
    };
    let test = settle(test, own_test, sources.test, "test");
    let validation = settle(validation, own_validation, sources.validation, "validation");
    Ok(Parts {
        train,
        validation,
        test,
        sha256: joined(&hashes),
        notes,
    })
}

/// One hash of several: the only one as it is.
pub(super) fn joined(hashes: &[String]) -> String {
    match hashes {
        [only] => only.clone(),
        _ => hex(&Sha256::digest(hashes.join("\n"))),
    }
}
