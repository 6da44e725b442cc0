use refrain_kernels::RnnCell;

use super::Recurrent;

/// A layer of the vanilla recurrent network.
///
/// ```text
/// h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)
/// ```
///
/// which is one product on the stacked vector: `tanh((W_hh W_ih) (h_(t-1); x_t) + b)`; each element is one chain that goes
/// from the bias through `x` and on through `h`. With [`RnnCell::Relu`] the activation is `max(0, ·)`.
///
/// Backward: `d = d_h * (1 - h_t²)`, `d_h_(t-1) = Wᵀ_hh d`, `d_x = Wᵀ_ih d`, `d_W_hh = Σ_t d h_(t-1)ᵀ`. The gradient of
/// h_0 has passed through `W_hh` once for every step: below singular value 1 it vanishes, above it may explode.
///
/// # Shapes
/// `weight_ih`: `(hidden_size, input_size)`, `weight_hh`: `(hidden_size, hidden_size)`, both biases `(hidden_size)`.
///
/// # References
/// Elman, "Finding structure in time", 1990.
pub type Rnn<T> = Recurrent<T, RnnCell>;
