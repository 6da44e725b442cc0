//! What a recurrent matrix does to a state, step after step: its singular values and its spectral radius.
//!
//! The gradient of `h_(t-k)` has passed through `W_hh` k times. A singular value is by how much the matrix stretches or
//! shrinks some direction; the spectral radius, the greatest absolute eigenvalue, is the growth by step in the long run.

use faer::Mat;
use refrain_kernels::Scalar;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{GRU_GATES, LSTM_GATES, Parameter, Parameters};

/// The recurrent matrix of one gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateSpectrum {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// The gate in PyTorch's order: `i f g o`, `r z n`; of the vanilla cell, which has none, `h`.
    pub gate: String,
    /// The singular values, greatest first.
    pub singular_values: Vec<f64>,
    /// The greatest absolute value of an eigenvalue.
    pub spectral_radius: f64,
    /// The greatest singular value divided by the least; none where that is 0.
    pub condition: Option<f64>,
}

/// The spectrum of every recurrent matrix of a model, gate by gate; nothing of a plain network.
///
/// # Errors
/// [`Error::Unusable`] where the search for the values does not end: a weight is not finite.
///
/// # Examples
///
/// ```
/// use refrain::inspect::spectrum::spectrum;
/// use refrain::nn::Rnn;
/// use refrain_kernels::RnnCell;
///
/// // A quarter turn, half as long: no direction grows, and the eigenvalues are ±i/2.
/// let mut layer = Rnn::<f64>::zeros(RnnCell::Tanh, "rnn", 0, 3, 2);
/// layer.weight_hh.value = vec![0.0, -0.5, 0.5, 0.0];
/// let found = spectrum(&layer)?;
/// assert_eq!((found[0].name.as_str(), found[0].gate.as_str()), ("rnn_l0", "h"));
/// assert!((found[0].spectral_radius - 0.5).abs() < 1e-12);
/// assert!((found[0].singular_values[1] - 0.5).abs() < 1e-12);
/// # Ok::<(), refrain::Error>(())
/// ```
pub fn spectrum<T: Scalar>(model: &dyn Parameters<T>) -> Result<Vec<GateSpectrum>> {
    let mut matrices = Vec::new();
    model.visit(&mut |parameter| {
        if let Some(name) = layer_of(&parameter.name) {
            matrices.push((name, parameter));
        }
    });
    let mut found = Vec::new();
    for (name, parameter) in matrices {
        let gates = gates_of(parameter);
        let size = parameter.shape[1];
        let values = parameter.value.chunks_exact((size * size).max(1));
        for (gate, values) in gates.iter().zip(values) {
            found.push(of_matrix(&name, gate, values, size)?);
        }
    }
    Ok(found)
}

/// The layer that a recurrent matrix belongs to: of `encoder.rnn.weight_hh_l0` it is `encoder.rnn_l0`.
fn layer_of(parameter: &str) -> Option<String> {
    let (owner, own) = parameter.rsplit_once('.').unwrap_or(("", parameter));
    let layer = own.strip_prefix("weight_hh")?;
    Some(format!("{owner}{layer}"))
}

fn gates_of<T>(parameter: &Parameter<T>) -> &'static [&'static str] {
    match parameter.shape[0] / parameter.shape[1].max(1) {
        4 => &LSTM_GATES,
        3 => &GRU_GATES,
        _ => &["h"],
    }
}

fn of_matrix<T: Scalar>(name: &str, gate: &str, values: &[T], size: usize) -> Result<GateSpectrum> {
    let failed = || Error::Unusable {
        problem: format!("the singular values of gate `{gate}` of `{name}` cannot be found"),
        hint: "a weight of the model is not finite".into(),
    };
    if !values.iter().all(|value| value.is_finite()) {
        return Err(failed());
    }
    let matrix = Mat::from_fn(size, size, |row, column| {
        values[row * size + column].to_f64()
    });
    let singular_values = matrix.singular_values().map_err(|_| failed())?;
    let eigenvalues = matrix.eigenvalues().map_err(|_| failed())?;
    let radius = eigenvalues
        .iter()
        .map(|value| libm::hypot(value.re, value.im));
    let least = singular_values.last().copied().unwrap_or(0.0);
    let greatest = singular_values.first().copied().unwrap_or(0.0);
    Ok(GateSpectrum {
        name: name.into(),
        gate: gate.into(),
        spectral_radius: radius.fold(0.0, f64::max),
        condition: (least > 0.0).then_some(greatest / least),
        singular_values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_after_their_matrices() {
        assert_eq!(layer_of("rnn.weight_hh_l0").unwrap(), "rnn_l0");
        let reverse = "encoder.rnn.weight_hh_l1_reverse";
        assert_eq!(layer_of(reverse).unwrap(), "encoder.rnn_l1_reverse");
        assert_eq!(layer_of("rnn.layer_norm_hh_l0.weight"), None);
        assert_eq!(layer_of("rnn.weight_ih_l0"), None);
    }

    #[test]
    fn a_weight_that_is_not_finite_is_refused() {
        let error = of_matrix("rnn_l0", "f", &[f64::NAN], 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the singular values of gate `f` of `rnn_l0` cannot be found"
        );
    }

    #[test]
    fn a_matrix_of_zeros_has_no_condition() {
        let found = of_matrix("rnn_l0", "f", &[0.0_f64; 9], 3).unwrap();
        assert_eq!(found.singular_values, [0.0; 3]);
        assert_eq!((found.spectral_radius, found.condition), (0.0, None));
    }
}
