use refrain_kernels::GruCell;

use super::Recurrent;

/// Gates of a GRU, in the order of PyTorch's stacked weights.
pub const GRU_GATES: [&str; 3] = ["r", "z", "n"];

/// A layer of gated recurrent units.
///
/// With `x = x_t`, `h = h_(t-1)`, `σ` the logistic function and `*` element by element:
///
/// ```text
/// r = σ(W_ir x + b_ir + W_hr h + b_hr)            reset gate
/// z = σ(W_iz x + b_iz + W_hz h + b_hz)            update gate
/// n = tanh(W_in x + b_in + r * (W_hn h + b_hn))   candidate
/// h_t = (1 - z) * n + z * h
/// ```
///
/// Backward, from `d_h`:
///
/// ```text
/// d_n = d_h * (1 - z) * (1 - n²)          of n's sum
/// d_z = d_h * (h - n) * z (1 - z)
/// d_r = d_n * (W_hn h + b_hn) * r (1 - r)
/// d_h_(t-1) = d_h * z + Wᵀ_h (d_r, d_z, d_n * r)
/// d_x = Wᵀ_i (d_r, d_z, d_n)
/// ```
///
/// # Shapes
/// `weight_ih`: `(3 hidden_size, input_size)`, `weight_hh`: `(3 hidden_size, hidden_size)`, both biases
/// `(3 hidden_size)`; gates stacked as [`GRU_GATES`].
///
/// # Differences
/// As in PyTorch, the reset gate acts after the matrix product; in the paper it acts on `h` before it.
///
/// # References
/// Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
pub type Gru<T> = Recurrent<T, GruCell>;
