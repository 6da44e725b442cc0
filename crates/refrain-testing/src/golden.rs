use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// The path of a file under `testdata/`.
///
/// ```
/// assert!(refrain_testing::testdata("golden/generate.py").is_file());
/// ```
#[must_use]
pub fn testdata(relative: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(relative)
}

/// Tensors that another program computed, by name; `testdata/README.md` says what is in which file.
///
/// ```
/// use refrain_testing::{Golden, testdata};
///
/// let golden = Golden::load(testdata("golden/layer_lstm_1.safetensors"));
/// let (shape, output) = golden.f64("output");
/// assert_eq!(shape, [5, 3, 19]);
/// assert_eq!(output.len(), 5 * 3 * 19);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    F64(Vec<f64>),
    I64(Vec<i64>),
}

impl Golden {
    /// Reads a `.safetensors` file of f32, f64 and i64 tensors.
    ///
    /// # Panics
    /// Where that fails, with the path and the reason.
    #[must_use]
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        match Self::read(path) {
            Ok(golden) => golden,
            Err(error) => panic!("cannot load the golden `{}`: {error}", path.display()),
        }
    }

    /// Reads a `.safetensors` file of f32, f64 and i64 tensors.
    ///
    /// # Errors
    /// What the system said, or `InvalidData` for another format or another type of number.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path)?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let tensors = file
            .iter()
            .map(|(name, view)| Ok((name.to_owned(), decode(name, &view)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            path: path.to_owned(),
            tensors,
        })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape and values of a tensor of f32 or f64, row by row (a scalar has the shape `[]`).
    ///
    /// # Panics
    /// Where there is no such tensor (with the names that there are) or it holds integers.
    #[must_use]
    #[track_caller]
    pub fn f64(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let tensor = self.get(name);
        match &tensor.values {
            Values::F64(values) => (tensor.shape.clone(), values.clone()),
            Values::I64(_) => panic!("`{name}` in `{}` holds integers", self.path.display()),
        }
    }

    /// The values of a tensor of i64, row by row.
    ///
    /// # Panics
    /// Where there is no such tensor (with the names that there are) or it holds floating-point numbers.
    #[must_use]
    #[track_caller]
    pub fn i64(&self, name: &str) -> Vec<i64> {
        match &self.get(name).values {
            Values::I64(values) => values.clone(),
            Values::F64(_) => panic!("`{name}` in `{}` holds no integers", self.path.display()),
        }
    }

    /// The shape of a tensor.
    ///
    /// # Panics
    /// Where there is no such tensor (with the names that there are).
    #[must_use]
    #[track_caller]
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.get(name).shape
    }

    /// Whether a tensor holds integers.
    ///
    /// # Panics
    /// Where there is no such tensor (with the names that there are).
    #[must_use]
    #[track_caller]
    pub fn is_integer(&self, name: &str) -> bool {
        matches!(self.get(name).values, Values::I64(_))
    }

    #[track_caller]
    fn get(&self, name: &str) -> &Tensor {
        match self.tensors.get(name) {
            Some(tensor) => tensor,
            None => panic!(
                "`{}` has no tensor `{name}`, only {}",
                self.path.display(),
                self.names().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

fn decode(name: &str, view: &TensorView<'_>) -> io::Result<Tensor> {
    let values = match view.dtype() {
        Dtype::F64 => Values::F64(numbers(view.data(), f64::from_le_bytes)),
        Dtype::F32 => Values::F64(numbers(view.data(), |bytes| {
            f32::from_le_bytes(bytes).into()
        })),
        Dtype::I64 => Values::I64(numbers(view.data(), i64::from_le_bytes)),
        other => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{name}` is of type {other:?}, expected F32, F64 or I64"),
            ));
        }
    };
    let shape = view.shape().to_vec();
    Ok(Tensor { shape, values })
}

/// `safetensors` has checked that the length fits the shape.
fn numbers<const WIDTH: usize, T>(bytes: &[u8], number: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<WIDTH>();
    words.iter().map(|&word| number(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cross_entropy() -> Golden {
        Golden::load(testdata("golden/linear_cross_entropy.safetensors"))
    }

    #[test]
    fn tensors_have_their_shapes_and_values() {
        let golden = cross_entropy();
        let (shape, weight) = golden.f64("weight");
        assert_eq!((shape, weight.len()), (vec![21, 7], 21 * 7));
        assert_eq!(golden.f64("loss").0, Vec::<usize>::new());
        assert_eq!(golden.i64("targets").len(), 6);
        assert!(golden.is_integer("targets") && !golden.is_integer("loss"));
        assert_eq!(golden.shape("d_logits"), [6, 21]);
        assert!(golden.contains("d_bias") && !golden.contains("d_targets"));
        assert!(golden.names().any(|name| name == "logits"));
    }

    /// Reads the numbers as a whole: a wrong byte order, a wrong width or a transposed weight would show.
    #[test]
    fn logits_follow_from_the_inputs() {
        let golden = cross_entropy();
        let (_, x) = golden.f64("x");
        let (_, weight) = golden.f64("weight");
        let (_, bias) = golden.f64("bias");
        let mut logits = Vec::new();
        for row in x.chunks_exact(7) {
            for (w, b) in weight.chunks_exact(7).zip(&bias) {
                logits.push(row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b);
            }
        }
        crate::assert_close("logits", &logits, &golden.f64("logits").1, 1e-13, 1e-13);
    }

    #[test]
    #[should_panic(expected = "has no tensor `wieght`, only bias, d_bias, d_logits")]
    fn a_missing_tensor_is_named() {
        let _ = cross_entropy().f64("wieght");
    }

    #[test]
    #[should_panic(expected = "`targets` in")]
    fn integers_are_not_numbers() {
        let _ = cross_entropy().f64("targets");
    }

    #[test]
    #[should_panic(expected = "cannot load the golden")]
    fn a_missing_file_is_named() {
        let _ = Golden::load(testdata("golden/nothing.safetensors"));
    }

    #[test]
    fn another_format_is_an_error() {
        let error = Golden::read(testdata("README.md")).expect_err("a text is no tensor file");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
