//! A recurrent layer on arrays `(seq_len, batch, feature)`.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};
use refrain_kernels::{Cell, Compute, Panels, Scalar};

use super::recurrent::{InputGradient, LayerInput, PackedLayer, Recurrent, Saved, Scratch};
use super::state::{State, array_of, panels_of};
use super::steps::Steps;
use crate::error::{Error, Result};

impl<T: Scalar, C: Cell> Recurrent<T, C> {
    /// Runs the layer over a batch of sequences of one length.
    ///
    /// # Shapes
    /// `x`: `(seq_len, batch, input_size)`; `state`: batch rows, `None` is zeros; the output:
    /// `(seq_len, batch, hidden_size)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn forward(
        &self,
        compute: &Compute,
        x: ArrayView3<'_, T>,
        state: Option<&State<T>>,
    ) -> Result<(Array3<T>, State<T>, LayerPass<T>)> {
        let (seq_len, batch, features) = x.dim();
        if features != self.input_size() || seq_len == 0 || batch == 0 {
            return Err(Error::Shape {
                name: "x".into(),
                found: vec![seq_len, batch, features],
                expected: vec![seq_len.max(1), batch.max(1), self.input_size()],
            });
        }
        let steps = Steps::uniform(seq_len, batch);
        let mut packed = PackedLayer::default();
        self.pack(&mut packed, true);
        let mut state = match state {
            Some(state) => state.clone(),
            None => State::zeros::<C>(batch, self.hidden_size()),
        };
        self.check_state(&state, batch)?;
        let x = panels_of(&x);
        let (mut saved, mut scratch) = (Saved::default(), Scratch::default());
        self.run_forward(
            compute,
            &packed,
            &steps,
            LayerInput::Features(&x),
            &state,
            None,
            &mut saved,
            &mut scratch,
        );
        self.final_state(&steps, &saved, &mut state);
        let output = array_of(&saved.h, batch);
        Ok((
            output,
            state,
            LayerPass {
                x,
                steps,
                packed,
                saved,
                scratch,
            },
        ))
    }

    fn check_state(&self, state: &State<T>, batch: usize) -> Result<()> {
        let expected = vec![batch, self.hidden_size()];
        for (name, part, wanted) in [("h", &state.h, true), ("c", &state.c, C::HAS_C)] {
            let found = vec![part.rows(), part.columns()];
            if wanted && found != expected {
                return Err(Error::Shape {
                    name: name.into(),
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Carries gradients back through [`Recurrent::forward`]; those of the parameters go into their `grad`.
    ///
    /// # Shapes
    /// `d_output`: as the output; `d_state`: gradient of the final state, as the state; the results: gradients of `x`
    /// and of the initial state.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn backward(
        &mut self,
        compute: &Compute,
        pass: &mut LayerPass<T>,
        d_output: ArrayView3<'_, T>,
        d_state: Option<&State<T>>,
    ) -> Result<(Array3<T>, State<T>)> {
        let batch = pass.steps.batch();
        let expected = (pass.steps.len(), batch, self.hidden_size());
        if d_output.dim() != expected {
            let (a, b, c) = d_output.dim();
            return Err(Error::Shape {
                name: "d_output".into(),
                found: vec![a, b, c],
                expected: vec![expected.0, expected.1, expected.2],
            });
        }
        let mut d_state = match d_state {
            Some(d_state) => d_state.clone(),
            None => State::zeros::<C>(batch, self.hidden_size()),
        };
        self.check_state(&d_state, batch)?;
        let d_output = panels_of(&d_output);
        let mut d_x = Panels::default();
        let LayerPass {
            x,
            steps,
            packed,
            saved,
            scratch,
        } = pass;
        self.run_backward(
            compute,
            packed,
            steps,
            LayerInput::Features(x),
            saved,
            &d_output,
            &mut d_state,
            InputGradient::Into(&mut d_x),
            scratch,
        );
        Ok((array_of(&d_x, batch), d_state))
    }

    /// One step for every row of a batch; the state is read and replaced. The same numbers as one step of
    /// [`Recurrent::forward`], bit for bit.
    ///
    /// # Shapes
    /// `x`: `(batch, input_size)`; the output, the new hidden state: `(batch, hidden_size)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn step(
        &self,
        compute: &Compute,
        x: ArrayView2<'_, T>,
        state: &mut State<T>,
    ) -> Result<Array2<T>> {
        let (_, new, _) = self.forward(compute, x.insert_axis(ndarray::Axis(0)), Some(state))?;
        *state = new;
        Ok(state.h_array())
    }
}

/// What [`Recurrent::forward`] leaves for [`Recurrent::backward`], which uses it up: a second backward pass needs a clone.
#[derive(Clone, Debug)]
pub struct LayerPass<T> {
    x: Panels<T>,
    steps: Steps,
    packed: PackedLayer<T>,
    saved: Saved<T>,
    scratch: Scratch<T>,
}

impl<T: Scalar> LayerPass<T> {
    /// The activated gates, `(seq_len · batch, ·)` in the order of the kernels' slots: sixteen units of one gate, then the
    /// same units of the next.
    #[must_use]
    pub fn gates(&self) -> &Panels<T> {
        &self.saved.gates
    }

    /// The cell states over time, `(seq_len, batch, hidden_size)`.
    #[must_use]
    pub fn cell_states(&self) -> Array3<T> {
        array_of(&self.saved.c, self.steps.batch())
    }
}
