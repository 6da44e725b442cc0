//! Arrays of numbers: vectors, pictures and clips, with their lengths and labels.

mod npy;
mod npz;
#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use npz::NpzWriter;

use super::source::hex;
use crate::{Error, Result};
use npy::{index_of, shown};
use npz::unusable;

/// The most classes that labels may ask for; a label numbers a row of the last layer.
pub const MAX_CLASSES: usize = 1 << 20;

/// Examples of one shape, padded to it where they are shorter.
///
/// The first axis of an example's shape is time: the steps of (T, F), the rows of a picture (H, W, C), the frames of a
/// clip (T, H, W, C). The last one is standardised: F or C.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrays {
    /// The shape of an example, without N: (T, F), (H, W, C) or (T, H, W, C).
    pub shape: Vec<usize>,
    /// The number of examples, N.
    pub count: usize,
    /// All values, one example after the other; zero where an example has ended.
    pub values: Values,
    /// The real steps of each example, 1 to T; without it all have T.
    pub lengths: Option<Vec<usize>>,
    /// The labels, if there are any.
    pub labels: Option<ArrayLabels>,
    /// Numbers to be forecast, if there are any.
    pub targets: Option<Targets>,
    /// The names of the classes, in the order of their numbers; empty where the file has none.
    pub label_names: Vec<String>,
    /// A hash of all of the above.
    pub sha256: String,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
}

/// The values of arrays.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Bytes, as pictures are stored.
    U8(Vec<u8>),
    /// Floats, all finite.
    F32(Vec<f32>),
}

impl Values {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Labels by number; -1 is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArrayLabels {
    /// One for each example.
    PerExample(Vec<i64>),
    /// One for each step, (N, T); -1 past an example's end.
    PerStep(Vec<i64>),
}

impl ArrayLabels {
    /// All labels, one example after the other.
    #[must_use]
    pub fn all(&self) -> &[i64] {
        match self {
            Self::PerExample(labels) | Self::PerStep(labels) => labels,
        }
    }
}

/// Numbers that belong to the examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// (N,), (N, K) or (N, T, K).
    pub shape: Vec<usize>,
    /// The numbers, all finite.
    pub values: Vec<f32>,
}

impl Arrays {
    /// The steps of an example: the first axis of its shape.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.shape[0]
    }

    /// The values of a step: the product of the other axes.
    #[must_use]
    pub fn step_size(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The last axis: the features of a vector, the channels of a picture.
    #[must_use]
    pub fn features(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// The real steps of an example.
    ///
    /// # Panics
    ///
    /// Where there is no such example.
    #[must_use]
    pub fn length(&self, example: usize) -> usize {
        assert!(example < self.count, "example {example} of {}", self.count);
        self.lengths
            .as_ref()
            .map_or(self.steps(), |lengths| lengths[example])
    }

    /// Replaces the content of `out` by the real steps of an example.
    ///
    /// # Panics
    ///
    /// Where there is no such example.
    pub fn example(&self, example: usize, out: &mut Vec<f32>) {
        let real = self.length(example) * self.step_size();
        let start = example * self.steps() * self.step_size();
        out.clear();
        match &self.values {
            Values::U8(values) => {
                out.extend(values[start..start + real].iter().map(|&b| f32::from(b)))
            }
            Values::F32(values) => out.extend(&values[start..start + real]),
        }
    }

    /// The names of the classes; where the file has none, the numbers from 0 to the largest label.
    #[must_use]
    pub fn class_names(&self) -> Vec<String> {
        if !self.label_names.is_empty() {
            return self.label_names.clone();
        }
        let labels = self.labels.as_ref().map_or(&[][..], ArrayLabels::all);
        let largest = labels.iter().copied().max().unwrap_or(-1);
        (0..=largest).map(|label| label.to_string()).collect()
    }
}

/// Arrays whose fit to each other is still to be checked.
pub(super) struct Parts {
    /// With N.
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
    pub(super) lengths: Option<(Vec<usize>, Vec<i64>)>,
    pub(super) labels: Option<(Vec<usize>, Vec<i64>)>,
    pub(super) targets: Option<Targets>,
    pub(super) label_names: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Parts {
    /// Checks each part and how they fit; errors name the file and the array.
    pub(super) fn check(mut self, name: &str) -> Result<Arrays> {
        self.check_inputs(name)?;
        let lengths = self.take_lengths(name)?;
        let steps = self.shape[1];
        let step_size: usize = self.shape[2..].iter().product();
        if let Some(lengths) = &lengths {
            match &mut self.values {
                Values::U8(values) => {
                    clear_padding(values, 0, lengths, steps * step_size, step_size)
                }
                Values::F32(values) => {
                    clear_padding(values, 0.0, lengths, steps * step_size, step_size)
                }
            }
        }
        if let Values::F32(values) = &self.values {
            check_finite(name, "inputs", values, &self.shape)?;
        }
        let labels = self.take_labels(name, lengths.as_deref())?;
        self.check_targets(name)?;
        let mut arrays = Arrays {
            count: self.shape[0],
            shape: self.shape.split_off(1),
            values: self.values,
            lengths,
            labels,
            targets: self.targets,
            label_names: self.label_names,
            sha256: String::new(),
            notes: self.notes,
        };
        arrays.sha256 = digest(&arrays);
        Ok(arrays)
    }

    fn check_inputs(&self, name: &str) -> Result<()> {
        let found = shown(&self.shape);
        if !matches!(self.shape.len(), 3..=5) {
            let hint = match self.shape.len() {
                2 => {
                    "for one vector an example give `inputs[:, None, :]`, for one number a step `inputs[:, :, None]`"
                }
                _ => "the first axis numbers the examples, the second the steps or rows",
            };
            let problem = format!(
                "has `inputs` of shape {found}, expected (N, T, F), (N, H, W, C) or (N, T, H, W, C)"
            );
            return Err(unusable(name, problem, hint));
        }
        if self.shape.contains(&0) {
            let problem = format!("has `inputs` of shape {found}, which holds nothing");
            return Err(unusable(
                name,
                problem,
                "give at least one example of one step",
            ));
        }
        Ok(())
    }

    fn take_lengths(&mut self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some((shape, lengths)) = self.lengths.take() else {
            return Ok(None);
        };
        let (count, steps) = (self.shape[0], self.shape[1]);
        if shape != [count] {
            let problem = format!(
                "has `lengths` of shape {}, expected ({count},)",
                shown(&shape)
            );
            return Err(unusable(name, problem, "give one length for each example"));
        }
        let checked = lengths.into_iter().enumerate().map(|(i, length)| {
            let fits = usize::try_from(length)
                .ok()
                .filter(|n| (1..=steps).contains(n));
            fits.ok_or_else(|| {
                let problem = format!("has `lengths[{i}]` {length}, expected 1 to {steps}");
                unusable(
                    name,
                    problem,
                    "a length counts the real steps of an example",
                )
            })
        });
        checked.collect::<Result<_>>().map(Some)
    }

    fn take_labels(
        &mut self,
        name: &str,
        lengths: Option<&[usize]>,
    ) -> Result<Option<ArrayLabels>> {
        let classes = self.label_names.len();
        if classes > MAX_CLASSES {
            let problem = format!("has {classes} `label_names`, at most {MAX_CLASSES}");
            return Err(unusable(name, problem, "give one name for each class"));
        }
        let names: std::collections::BTreeSet<&String> = self.label_names.iter().collect();
        if names.len() < classes || names.iter().any(|name| name.is_empty()) {
            let problem = "has `label_names` that are empty or stand there twice";
            return Err(unusable(name, problem, "give each class a name of its own"));
        }
        let Some((shape, mut labels)) = self.labels.take() else {
            return Ok(None);
        };
        let (count, steps) = (self.shape[0], self.shape[1]);
        let per_step = shape == [count, steps];
        if !per_step && shape != [count] {
            let problem = format!(
                "has `labels` of shape {}, expected ({count},) or ({count}, {steps})",
                shown(&shape)
            );
            let hint = "give one label for each example or each step; -1 is none";
            return Err(unusable(name, problem, hint));
        }
        if per_step && self.shape.len() == 4 {
            let problem = format!(
                "has a label for each row of its pictures: `inputs` of shape {} are (N, H, W, C)",
                shown(&self.shape)
            );
            let hint = "grey video has five axes as well: `inputs[..., None]`";
            return Err(unusable(name, problem, hint));
        }
        if let (true, Some(lengths)) = (per_step, lengths) {
            clear_padding(&mut labels, -1, lengths, steps, 1);
        }
        let (classes, what) = match classes {
            0 => (MAX_CLASSES, "class numbers are to be small"),
            named => (named, "there is one name for each class"),
        };
        let wrong = |label: &i64| !(-1..classes as i64).contains(label);
        if let Some(at) = labels.iter().position(wrong) {
            let problem = format!(
                "has `labels{:?}` {}, expected -1 (none) or 0 to {}",
                index_of(at, &shape),
                labels[at],
                classes - 1
            );
            return Err(unusable(
                name,
                problem,
                format!("classes are numbered from 0; {what}"),
            ));
        }
        Ok(Some(if per_step {
            ArrayLabels::PerStep(labels)
        } else {
            ArrayLabels::PerExample(labels)
        }))
    }

    fn check_targets(&self, name: &str) -> Result<()> {
        let Some(targets) = &self.targets else {
            return Ok(());
        };
        let (count, steps) = (self.shape[0], self.shape[1]);
        let fits = match targets.shape[..] {
            [n] => n == count,
            [n, k] => n == count && k > 0,
            [n, t, k] => n == count && t == steps && k > 0,
            _ => false,
        };
        if !fits {
            let problem = format!(
                "has `targets` of shape {}, expected ({count},), ({count}, K) or ({count}, {steps}, K)",
                shown(&targets.shape)
            );
            return Err(unusable(
                name,
                problem,
                "give numbers for each example or each step",
            ));
        }
        check_finite(name, "targets", &targets.values, &targets.shape)
    }
}

/// Sets what lies past the end of each example.
fn clear_padding<T: Copy>(
    values: &mut [T],
    padding: T,
    lengths: &[usize],
    example_size: usize,
    step_size: usize,
) {
    for (values, length) in values.chunks_exact_mut(example_size).zip(lengths) {
        values[length * step_size..].fill(padding);
    }
}

fn check_finite(name: &str, array: &str, values: &[f32], shape: &[usize]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Unusable {
            problem: format!(
                "`{name}`: `{array}{:?}` is {}, expected a finite number",
                index_of(at, shape),
                values[at]
            ),
            hint: "fill in what is missing, or shorten the example by `lengths`".into(),
        }),
    }
}

fn digest(arrays: &Arrays) -> String {
    let mut hash = Sha256::new();
    let numbers = |hash: &mut Sha256, numbers: &[usize]| {
        hash.update((numbers.len() as u64).to_le_bytes());
        for &number in numbers {
            hash.update((number as u64).to_le_bytes());
        }
    };
    let floats = |hash: &mut Sha256, values: &[f32]| {
        let mut bytes = Vec::new();
        for values in values.chunks(1 << 12) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            hash.update(&bytes);
        }
    };
    numbers(&mut hash, &[arrays.count]);
    numbers(&mut hash, &arrays.shape);
    match &arrays.values {
        Values::U8(values) => {
            hash.update(b"u8");
            hash.update(values);
        }
        Values::F32(values) => {
            hash.update(b"f4");
            floats(&mut hash, values);
        }
    }
    numbers(&mut hash, arrays.lengths.as_deref().unwrap_or_default());
    hash.update(match arrays.labels {
        None => b"-",
        Some(ArrayLabels::PerExample(_)) => b"e",
        Some(ArrayLabels::PerStep(_)) => b"s",
    });
    for label in arrays.labels.as_ref().map_or(&[][..], ArrayLabels::all) {
        hash.update(label.to_le_bytes());
    }
    if let Some(targets) = &arrays.targets {
        numbers(&mut hash, &targets.shape);
        floats(&mut hash, &targets.values);
    }
    for name in &arrays.label_names {
        numbers(&mut hash, &[name.len()]);
        hash.update(name);
    }
    hex(&hash.finalize()).replace(' ', "").to_ascii_lowercase()
}
