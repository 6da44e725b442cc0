//! A stack on arrays `(seq_len, batch, feature)`.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use refrain_kernels::{Compute, Panels, Scalar};

use super::layer::Direction;
use super::recurrent::{InputGradient, LayerInput};
use super::stack::{Stack, StackSpace, StackState};
use super::state::{array_of, panels_of};
use super::steps::Steps;
use crate::error::{Error, Result};

impl<T: Scalar> Stack<T> {
    /// Runs the stack over a batch of sequences of one length, in evaluation.
    ///
    /// # Shapes
    /// `x`: `(seq_len, batch, input_size)`; the output: `(seq_len, batch, output_size)`; `state` is read and replaced.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn forward_array(
        &self,
        compute: &Compute,
        x: ArrayView3<'_, T>,
        state: &mut StackState<T>,
    ) -> Result<(Array3<T>, StackPass<T>)> {
        let (seq_len, batch, features) = x.dim();
        let input_size = self.input_size();
        if features != input_size || seq_len == 0 || batch == 0 {
            return Err(Error::Shape {
                name: "x".into(),
                found: vec![seq_len, batch, features],
                expected: vec![seq_len.max(1), batch.max(1), input_size],
            });
        }
        for (at, part) in state.iter().enumerate() {
            let (found, expected) = (
                [part.h.rows(), part.h.columns()],
                [batch, self.hidden_size()],
            );
            if found != expected {
                return Err(Error::Shape {
                    name: format!("state of layer {at}"),
                    found: found.to_vec(),
                    expected: expected.to_vec(),
                });
            }
        }
        if state.len() != self.layers.len() {
            return Err(Error::Shape {
                name: "state".into(),
                found: vec![state.len()],
                expected: vec![self.layers.len()],
            });
        }
        let mut pass = StackPass {
            x: panels_of(&x),
            steps: Steps::uniform(seq_len, batch),
            space: StackSpace::default(),
        };
        self.pack(&mut pass.space, true);
        self.forward(
            compute,
            &mut pass.space,
            &pass.steps,
            LayerInput::Features(&pass.x),
            state,
            None,
        );
        let output = array_of(pass.space.output(), batch);
        Ok((output, pass))
    }

    /// One step for every row of a batch; the states are read and replaced. The same numbers as that step of
    /// [`Stack::forward_array`] over a whole sequence, bit for bit.
    ///
    /// # Shapes
    /// `x`: `(batch, input_size)`; the output, the highest layer's new hidden state: `(batch, hidden_size)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    ///
    /// # Panics
    /// If the stack is bidirectional.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::{Array3, s};
    /// use rand::SeedableRng;
    /// use rand_chacha::ChaCha12Rng;
    /// use refrain::nn::{CellKind, Init, Nonlinearity, Stack, StackConfig};
    /// use refrain::{Compute, Isa};
    ///
    /// let config = StackConfig {
    ///     cell: CellKind::Gru,
    ///     nonlinearity: Nonlinearity::Tanh,
    ///     input_size: 3,
    ///     hidden_size: 20,
    ///     num_layers: 2,
    ///     dropout: 0.0,
    ///     recurrent_dropout: 0.0,
    ///     bidirectional: false,
    ///     layer_norm: false,
    ///     batch_norm: false,
    ///     init: Init::Orthogonal,
    ///     forget_bias: None,
    /// };
    /// let mut stack = Stack::<f32>::zeros(&config, "rnn");
    /// stack.initialise(&config, &mut ChaCha12Rng::seed_from_u64(1));
    /// let compute = Compute::single(Isa::detect());
    /// let x = Array3::from_shape_fn((4, 2, 3), |(t, b, k)| (t + 2 * b) as f32 - k as f32);
    /// let (whole, _) = stack.forward_array(&compute, x.view(), &mut stack.zero_state(2))?;
    /// let mut state = stack.zero_state(2);
    /// for t in 0..4 {
    ///     let h = stack.step(&compute, x.slice(s![t, .., ..]), &mut state)?;
    ///     assert_eq!(h, whole.slice(s![t, .., ..]));
    /// }
    /// # Ok::<(), refrain::Error>(())
    /// ```
    pub fn step(
        &self,
        compute: &Compute,
        x: ArrayView2<'_, T>,
        state: &mut StackState<T>,
    ) -> Result<Array2<T>> {
        self.assert_streams();
        let (output, _) = self.forward_array(compute, x.insert_axis(Axis(0)), state)?;
        Ok(output.index_axis_move(Axis(0), 0))
    }

    /// Carries gradients back through [`Stack::forward_array`]; those of the parameters go into their `grad`.
    ///
    /// # Shapes
    /// As there; the results are the gradients of `x` and of the initial states.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit.
    pub fn backward_array(
        &mut self,
        compute: &Compute,
        pass: &mut StackPass<T>,
        d_output: ArrayView3<'_, T>,
        d_state: Option<&StackState<T>>,
    ) -> Result<(Array3<T>, StackState<T>)> {
        let expected = (pass.steps.len(), pass.steps.batch(), self.output_size());
        if d_output.dim() != expected {
            let (a, b, c) = d_output.dim();
            return Err(Error::Shape {
                name: "d_output".into(),
                found: vec![a, b, c],
                expected: vec![expected.0, expected.1, expected.2],
            });
        }
        let mut d_x = Panels::default();
        let StackPass { x, steps, space } = pass;
        let input = LayerInput::Features(x);
        let d_output = panels_of(&d_output);
        self.backward(
            compute,
            space,
            steps,
            input,
            &d_output,
            d_state,
            None,
            InputGradient::Into(&mut d_x),
        );
        Ok((array_of(&d_x, steps.batch()), space.d_initial().clone()))
    }
}

/// What [`Stack::forward_array`] leaves for [`Stack::backward_array`], which uses it up.
#[derive(Clone, Debug)]
pub struct StackPass<T> {
    x: Panels<T>,
    steps: Steps,
    space: StackSpace<T>,
}

impl<T: Scalar> StackPass<T> {
    /// The hidden states of a layer in one direction over time, `(seq_len, batch, hidden_size)`.
    #[must_use]
    pub fn hidden(&self, layer: usize, direction: Direction) -> Array3<T> {
        array_of(&self.space.hidden(layer, direction), self.steps.batch())
    }
}
