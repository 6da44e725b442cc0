//! Gradients step by step: how much of a loss at the last step reaches the states before it, in f64, by the layers' own
//! backward passes of one step each.

use ndarray::{Array2, Array3, ArrayView3, Axis, s};
use rand::{Rng, RngExt};
use refrain_kernels::{Cell, Compute, GROUP, Panels, Scalar};

use crate::error::Result;
use crate::nn::{Layer, LayerPass, Recurrent, State};

/// Which ways a gradient takes from a state to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// All of them.
    All,
    /// Along the cell state alone: what comes back through h is cut off at every step.
    CellOnly,
}

/// Where a gradient begins: at the last hidden state or at the last cell state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Hidden,
    Cell,
}

/// The gradient of the state before each step.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// For each distance from the last state, from 0: the norm of the gradient of the hidden state, mean over the rows.
    pub(super) h: Vec<f64>,
    /// The same of the cell state; zeros where the cell has none.
    pub(super) c: Vec<f64>,
    /// The states' gradients themselves, in the same order.
    pub(super) states: Vec<State<f64>>,
}

/// The pass over each step, first to last, from state zero.
pub(super) fn forward<C: Cell + Copy>(
    compute: &Compute,
    layer: &Recurrent<f64, C>,
    x: ArrayView3<'_, f64>,
) -> Result<Vec<(LayerPass<f64>, State<f64>)>> {
    let mut state = State::zeros::<C>(x.dim().1, layer.hidden_size());
    let mut passes = Vec::new();
    for t in 0..x.dim().0 {
        let (_, new, pass) = layer.forward(compute, x.slice(s![t..=t, .., ..]), Some(&state))?;
        passes.push((pass, new.clone()));
        state = new;
    }
    Ok(passes)
}

/// The gradient of each state, of something whose gradient at the last one is `d_last`, `(batch, hidden_size)`.
pub(super) fn flow<C: Cell + Copy>(
    compute: &Compute,
    layer: &Recurrent<f64, C>,
    x: ArrayView3<'_, f64>,
    (begin, d_last): (Begin, &Array2<f64>),
    path: Path,
) -> Result<Flow> {
    let mut layer = layer.clone();
    let (batch, hidden) = d_last.dim();
    let mut d_state = State::zeros::<C>(batch, hidden);
    match begin {
        Begin::Hidden => d_state.h = panels(d_last),
        Begin::Cell => d_state.c = panels(d_last),
    }
    let nothing = Array3::zeros((1, batch, hidden));
    let mut flow = Flow::default();
    for (mut pass, _) in forward(compute, &layer, x)?.into_iter().rev() {
        flow.push(&d_state);
        let (_, mut before) = layer.backward(compute, &mut pass, nothing.view(), Some(&d_state))?;
        if path == Path::CellOnly {
            before.h.fill_zero();
        }
        d_state = before;
    }
    flow.push(&d_state);
    Ok(flow)
}

impl Flow {
    fn push(&mut self, d_state: &State<f64>) {
        self.h.push(mean_norm(&d_state.h));
        self.c.push(mean_norm(&d_state.c));
        self.states.push(d_state.clone());
    }
}

/// The L2 norm of a row, mean over the rows.
pub(super) fn mean_norm(panels: &Panels<f64>) -> f64 {
    let (rows, columns) = (panels.rows(), panels.columns());
    let norm = |row| {
        let squares = (0..columns).map(|column| panels.get(row, column) * panels.get(row, column));
        squares.sum::<f64>().sqrt()
    };
    (0..rows).map(norm).sum::<f64>() / (rows.max(1) as f64)
}

/// How many powers of ten a curve rises a step, from its first value to its last.
pub(super) fn slope(norms: &[f64]) -> f64 {
    match norms {
        [first, .., last] => libm::log10(last / first) / (norms.len() - 1) as f64,
        _ => f64::NAN,
    }
}

/// The first distance at which a curve is below half of its first value; `None` where it never is.
pub(super) fn half_life(norms: &[f64]) -> Option<usize> {
    let first = *norms.first()?;
    norms.iter().position(|&norm| norm < 0.5 * first)
}

/// Rows of length 1 in random directions.
pub(super) fn directions(batch: usize, hidden: usize, rng: &mut impl Rng) -> Array2<f64> {
    let mut rows = Array2::from_shape_fn((batch, hidden), |_| rng.random_range(-1.0..1.0));
    for mut row in rows.axis_iter_mut(Axis(0)) {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.mapv_inplace(|x| x / norm);
    }
    rows
}

/// Inputs between -1 and 1.
pub(super) fn inputs(shape: (usize, usize, usize), rng: &mut impl Rng) -> Array3<f64> {
    Array3::from_shape_fn(shape, |_| rng.random_range(-1.0..1.0))
}

/// An array as the kernels read it.
pub(super) fn panels<T: Scalar>(array: &Array2<T>) -> Panels<T> {
    let mut panels = Panels::new(array.dim().0, array.dim().1);
    for ((row, column), &value) in array.indexed_iter() {
        panels.set(row, column, value);
    }
    panels
}

/// The same layer in f64.
pub(super) fn widened<C: Cell + Copy>(layer: &Recurrent<f32, C>) -> Recurrent<f64, C> {
    let mut wide = Recurrent::zeros(layer.cell, "", 0, layer.input_size(), layer.hidden_size());
    let of = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    wide.weight_ih.value = of(&layer.weight_ih.value);
    wide.weight_hh.value = of(&layer.weight_hh.value);
    wide.bias_ih.value = of(&layer.bias_ih.value);
    wide.bias_hh.value = of(&layer.bias_hh.value);
    wide
}

/// A gate of an LSTM in the step that a pass was, before the pass goes back, `(batch, hidden_size)`.
pub(super) fn gates(layer: &Layer<f64>, pass: &LayerPass<f64>, name: &str) -> Array2<f64> {
    let (slots, per_group) = layer.gate_slots();
    let slot = slots.iter().find(|(own, _)| *own == name);
    let slot = slot.map_or(0, |&(_, slot)| slot);
    let gates = pass.gates();
    let (batch, hidden) = (gates.rows(), pass.cell_states().dim().2);
    Array2::from_shape_fn((batch, hidden), |(row, unit)| {
        let panel = unit / GROUP * per_group + slot;
        gates.get(row, panel * GROUP + unit % GROUP)
    })
}

/// The largest singular value of a square matrix, by power iteration on `WᵀW`.
pub(super) fn largest_singular_value(weight: &[f64], size: usize) -> f64 {
    const ROUNDS: usize = 300;
    // No direction is favoured, and none is left out but by bad luck.
    let mut v: Vec<f64> = (0..size).map(|at| 1.0 + 0.1 * (at % 7) as f64).collect();
    let mut norm = 0.0;
    for _ in 0..ROUNDS {
        let wv: Vec<f64> = weight
            .chunks_exact(size)
            .map(|row| row.iter().zip(&v).map(|(w, x)| w * x).sum())
            .collect();
        let mut next = vec![0.0; size];
        for (row, x) in weight.chunks_exact(size).zip(&wv) {
            for (sum, w) in next.iter_mut().zip(row) {
                *sum += w * x;
            }
        }
        norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        v = next.into_iter().map(|x| x / norm).collect();
    }
    norm.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_singular_value_of_a_known_matrix() {
        // Singular values 6 and 2.
        let weight = [2.0, 4.0, 4.0, 2.0];
        assert!((largest_singular_value(&weight, 2) - 6.0).abs() < 1e-12);
    }

    #[test]
    fn slope_and_half_life_of_a_geometric_curve() {
        let norms = [1.0, 0.1, 0.01];
        assert!((slope(&norms) + 1.0).abs() < 1e-12);
        assert_eq!(half_life(&norms), Some(1));
        assert_eq!(half_life(&[1.0, 1.0]), None);
    }
}
