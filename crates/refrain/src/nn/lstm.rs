use refrain_kernels::LstmCell;

use super::Recurrent;

/// Gates of an LSTM, in the order of PyTorch's stacked weights.
pub const LSTM_GATES: [&str; 4] = ["i", "f", "g", "o"];

/// A layer of long short-term memory.
///
/// With `x = x_t`, `h = h_(t-1)`, `c = c_(t-1)`, `σ` the logistic function and `*` element by element:
///
/// ```text
/// i = σ(W_ii x + b_ii + W_hi h + b_hi)      input gate: whether to write
/// f = σ(W_if x + b_if + W_hf h + b_hf)      forget gate: whether to keep
/// g = tanh(W_ig x + b_ig + W_hg h + b_hg)   what to write
/// o = σ(W_io x + b_io + W_ho h + b_ho)      output gate: how much to reveal
/// c_t = f * c + i * g
/// h_t = o * tanh(c_t)
/// ```
///
/// Backward, from `d_h` (of the output and of the later step together) and `d_c` (of the later step):
///
/// ```text
/// d_o = d_h * tanh(c_t)
/// d_c = d_c + d_h * o * (1 - tanh²(c_t))
/// d_i = d_c * g      d_f = d_c * c      d_g = d_c * i      d_c_(t-1) = d_c * f
/// before the activations: d σ = d * y (1 - y), d tanh = d * (1 - y²)
/// d_h_(t-1) = Wᵀ_h d_gates      d_x = Wᵀ_i d_gates
/// d_W_h = Σ_t d_gates h_(t-1)ᵀ  d_W_i = Σ_t d_gates x_tᵀ   d_b = Σ_t d_gates
/// ```
///
/// The element-wise part stands in [`refrain_kernels::LstmCell`], the products in [`Recurrent`].
///
/// # Shapes
/// `weight_ih`: `(4 hidden_size, input_size)`, `weight_hh`: `(4 hidden_size, hidden_size)`, both biases
/// `(4 hidden_size)`; gates stacked as [`LSTM_GATES`]. Inputs `(seq_len, batch, input_size)`.
///
/// # References
/// Hochreiter and Schmidhuber, "Long short-term memory", 1997; Gers, Schmidhuber and Cummins, "Learning to forget", 2000.
///
/// # Examples
///
/// ```
/// use ndarray::Array3;
/// use refrain::nn::Lstm;
/// use refrain_kernels::{Compute, Isa, LstmCell};
///
/// // All weights zero: every gate is one half and g is zero, so the states stay zero.
/// let lstm = Lstm::<f64>::zeros(LstmCell, "rnn", 0, 3, 5);
/// let compute = Compute::single(Isa::detect());
/// let (output, state, _) = lstm.forward(&compute, Array3::ones((7, 2, 3)).view(), None)?;
/// assert_eq!(output.dim(), (7, 2, 5));
/// assert_eq!(state.c_array()[(1, 4)], 0.0);
/// # Ok::<(), refrain::Error>(())
/// ```
pub type Lstm<T> = Recurrent<T, LstmCell>;
