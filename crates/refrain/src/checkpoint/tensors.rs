use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The numbers of a tensor, rows after rows.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// Signed integers.
    I64(Vec<i64>),
    /// Unsigned integers.
    U64(Vec<u64>),
    /// Bytes.
    U8(Vec<u8>),
}

impl TensorData {
    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type's name in a safetensors file.
    #[must_use]
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::F64(_) => "F64",
            Self::I64(_) => "I64",
            Self::U64(_) => "U64",
            Self::U8(_) => "U8",
        }
    }
}

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of the given shape; `[]` is a single number.
    ///
    /// # Panics
    ///
    /// Where `data` has another number of elements than `shape` says.
    #[must_use]
    pub fn new(shape: &[usize], data: TensorData) -> Self {
        let elements: usize = shape.iter().product();
        assert_eq!(
            data.len(),
            elements,
            "elements of a tensor of shape {shape:?}"
        );
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// A tensor of 32-bit floating point numbers.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Self {
        Self::new(shape, TensorData::F32(values))
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its numbers.
    #[must_use]
    pub fn data(&self) -> &TensorData {
        &self.data
    }
}

/// The tensors of a file by name, to be taken out one by one.
///
/// # Examples
///
/// ```
/// use refrain::checkpoint::{Tensor, Tensors};
///
/// let mut tensors = Tensors::new("a.safetensors");
/// tensors.insert("linear.bias", Tensor::f32(&[2], vec![0.5, 1.0]));
/// assert_eq!(tensors.take("linear.bias", &[2])?, [0.5, 1.0]);
/// tensors.finish()?;
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    path: PathBuf,
    map: BTreeMap<String, Tensor>,
}

impl Tensors {
    /// No tensors yet; messages name the file `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            map: BTreeMap::new(),
        }
    }

    /// Adds a tensor.
    ///
    /// # Panics
    ///
    /// Where there is one of that name already.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        let before = self.map.insert(name.clone(), tensor);
        assert!(before.is_none(), "two tensors are named `{name}`");
    }

    /// The file they are from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors that have not been taken, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.map
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The shape of a tensor, where there is one of that name.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.map.get(name).map(Tensor::shape)
    }

    /// Takes weights out: 32-bit numbers, all of them finite.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where there is no such tensor, its type or shape is another, or a value is not
    /// finite.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.take_as(name, shape, "F32", |data| match data {
            TensorData::F32(values) => Ok(values),
            other => Err(other),
        })?;
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(self.not_finite(name, place, values[place].into()));
        }
        Ok(values)
    }

    /// Takes 64-bit numbers out, of any value: infinities and NaN too.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where there is no such tensor, or its type or shape is another.
    pub fn take_f64(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        self.take_as(name, shape, "F64", |data| match data {
            TensorData::F64(values) => Ok(values),
            other => Err(other),
        })
    }

    /// Takes unsigned integers out.
    ///
    /// # Errors
    ///
    /// As [`take_f64`](Self::take_f64).
    pub fn take_u64(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u64>> {
        self.take_as(name, shape, "U64", |data| match data {
            TensorData::U64(values) => Ok(values),
            other => Err(other),
        })
    }

    /// Takes signed integers out.
    ///
    /// # Errors
    ///
    /// As [`take_f64`](Self::take_f64).
    pub fn take_i64(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i64>> {
        self.take_as(name, shape, "I64", |data| match data {
            TensorData::I64(values) => Ok(values),
            other => Err(other),
        })
    }

    /// Takes bytes out.
    ///
    /// # Errors
    ///
    /// As [`take_f64`](Self::take_f64).
    pub fn take_u8(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        self.take_as(name, shape, "U8", |data| match data {
            TensorData::U8(values) => Ok(values),
            other => Err(other),
        })
    }

    /// Ends the taking.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where tensors are left that nobody asked for.
    pub fn finish(self) -> Result<()> {
        if self.map.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = self.map.keys().take(3).map(|name| quoted(name)).collect();
        let more = self.map.len() - names.len();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        let noun = if self.map.len() == 1 {
            "a tensor"
        } else {
            "tensors"
        };
        Err(self.error(
            format!(
                "it has {noun} that such a model does not have: {}",
                names.join(", ")
            ),
            "its `config` is that of another model, or it is of another version",
        ))
    }

    /// An error about the file.
    #[must_use]
    pub fn error(&self, problem: impl Into<String>, hint: &str) -> Error {
        Error::Model {
            path: self.path.clone(),
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    fn take_as<T>(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: &str,
        values: impl FnOnce(TensorData) -> Result<T, TensorData>,
    ) -> Result<T> {
        let hint = "it belongs to another model, another version, or is damaged";
        let Some(tensor) = self.map.get(name) else {
            return Err(self.error(format!("it has no tensor {}", quoted(name)), hint));
        };
        if tensor.shape != shape {
            let found = &tensor.shape;
            let problem = format!("{} has shape {found:?}, expected {shape:?}", quoted(name));
            return Err(self.error(problem, hint));
        }
        let data = self.map.remove(name).map(|tensor| tensor.data);
        // Present, as was seen above.
        values(data.unwrap_or(TensorData::U8(Vec::new()))).map_err(|other| {
            let problem = format!(
                "{} is of type {}, expected {dtype}",
                quoted(name),
                other.dtype()
            );
            self.error(problem, hint)
        })
    }

    pub(super) fn not_finite(&self, name: &str, place: usize, value: f64) -> Error {
        self.error(
            format!("{} holds {value} at element {place}", quoted(name)),
            "the training diverged or the file is damaged; take an earlier model",
        )
    }
}

/// A name out of a file, fit for a message: escaped and cut to a bearable length.
pub(super) fn quoted(name: &str) -> String {
    const LONGEST: usize = 80;
    let cut: String = name.chars().take(LONGEST).collect();
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("`{}{dots}`", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Tensors {
        let mut tensors = Tensors::new("a.safetensors");
        tensors.insert("w", Tensor::f32(&[2, 3], vec![1.0; 6]));
        tensors.insert("inf", Tensor::f32(&[2], vec![1.0, f32::NEG_INFINITY]));
        tensors.insert(
            "best",
            Tensor::new(&[], TensorData::F64(vec![f64::INFINITY])),
        );
        tensors.insert("step", Tensor::new(&[1], TensorData::U64(vec![7])));
        tensors.insert("i", Tensor::new(&[1], TensorData::I64(vec![-7])));
        tensors.insert("b", Tensor::new(&[0], TensorData::U8(vec![])));
        tensors
    }

    #[test]
    fn each_type_is_taken_once() {
        let mut tensors = tensors();
        assert_eq!(tensors.shape("w"), Some(&[2, 3][..]));
        assert_eq!(tensors.take("w", &[2, 3]).unwrap(), [1.0; 6]);
        assert_eq!(tensors.take_f64("best", &[]).unwrap(), [f64::INFINITY]);
        assert_eq!(tensors.take_u64("step", &[1]).unwrap(), [7]);
        assert_eq!(tensors.take_i64("i", &[1]).unwrap(), [-7]);
        assert_eq!(tensors.take_u8("b", &[0]).unwrap(), [0u8; 0]);
        let text = |error: Error| error.to_string();
        assert!(text(tensors.take("w", &[2, 3]).unwrap_err()).ends_with("it has no tensor `w`"));
        assert!(
            text(tensors.take("inf", &[2]).unwrap_err()).ends_with("`inf` holds -inf at element 1")
        );
        tensors.finish().unwrap();
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut tensors = tensors();
        let error = tensors.take("w", &[2, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`a.safetensors` is not a usable model file: `w` has shape [2, 3], expected [2, 4]"
        );
        let error = tensors.take("step", &[1]).unwrap_err().to_string();
        assert!(
            error.ends_with("`step` is of type U64, expected F32"),
            "{error}"
        );
        let error = tensors.finish().unwrap_err().to_string();
        assert!(
            error.ends_with("does not have: `b`, `best`, `i`, 2 more"),
            "{error}"
        );
    }
}
