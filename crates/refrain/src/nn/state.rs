use ndarray::{Array2, Array3, ArrayView3};
use refrain_kernels::{Cell, Panels, Scalar};

/// The state of a layer for every row of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State<T> {
    /// Hidden state, batch × hidden_size.
    pub h: Panels<T>,
    /// Cell state, batch × hidden_size; empty for cells that have none.
    pub c: Panels<T>,
}

impl<T: Scalar> State<T> {
    /// All zeros.
    #[must_use]
    pub fn zeros<C: Cell>(batch: usize, hidden_size: usize) -> Self {
        Self {
            h: Panels::new(batch, hidden_size),
            c: if C::HAS_C {
                Panels::new(batch, hidden_size)
            } else {
                Panels::default()
            },
        }
    }

    /// Sets every number to zero.
    pub fn fill_zero(&mut self) {
        self.h.fill_zero();
        self.c.fill_zero();
    }

    /// The hidden state as an array `(batch, hidden_size)`.
    #[must_use]
    pub fn h_array(&self) -> Array2<T> {
        to_array(&self.h)
    }

    /// The cell state as an array `(batch, hidden_size)`; no rows where the cell has none.
    #[must_use]
    pub fn c_array(&self) -> Array2<T> {
        to_array(&self.c)
    }
}

pub(crate) fn to_array<T: Scalar>(panels: &Panels<T>) -> Array2<T> {
    Array2::from_shape_fn((panels.rows(), panels.columns()), |(row, column)| {
        panels.get(row, column)
    })
}

/// Panels of a `(seq_len, batch, feature)` array, steps one after another.
pub(crate) fn panels_of<T: Scalar>(x: &ArrayView3<'_, T>) -> Panels<T> {
    let (steps, batch, features) = x.dim();
    let mut panels = Panels::new(steps * batch, features);
    for ((t, b, k), &value) in x.indexed_iter() {
        panels.set(t * batch + b, k, value);
    }
    panels
}

pub(crate) fn array_of<T: Scalar>(panels: &Panels<T>, batch: usize) -> Array3<T> {
    let steps = panels.rows() / batch.max(1);
    Array3::from_shape_fn((steps, batch, panels.columns()), |(t, b, k)| {
        panels.get(t * batch + b, k)
    })
}
