//! The cells' own arithmetic, sixteen units at a time: what happens between the matrix products.

use crate::scalar::Scalar;
use crate::simd::Lanes;

/// A recurrent cell: the slots of a group of units, and the step from them to the new state and back.
///
/// A group of sixteen units owns `SLOTS` neighbouring panels. Those named by `x_slots` receive `W_ih x`, those named by
/// `h_slots` receive `W_hh h`; a slot in both holds the sum, as one chain (bias, then x, then h).
pub trait Cell: Copy + Send + Sync {
    /// Panels of a group.
    const SLOTS: usize;
    /// First slot that receives the input's product; the gates in it and the following, in PyTorch's numbering.
    const X: (usize, &'static [usize]);
    /// The same for the hidden state's product.
    const H: (usize, &'static [usize]);
    /// Whether there is a cell state beside the hidden state.
    const HAS_C: bool;
    /// Whether `h_(t-1)` reaches `h_t` beside the matrix product too.
    const DIRECT: bool;

    /// This cell among all.
    fn any(self) -> AnyCell;

    /// From the sums in `slots` to the activated gates (in place) and the new `(h, c)`.
    fn forward<V: Lanes>(self, slots: &mut [V; 4], h_previous: V, c_previous: V) -> (V, V);

    /// From the gradients of `h` and `c` and the activated gates to the gradients of the sums (in place), and
    /// `(direct part of d_h_previous, d_c_previous)`.
    fn backward<V: Lanes>(self, slots: &mut [V; 4], step: BackwardStep<V>) -> (V, V);
}

/// A cell of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyCell {
    /// The vanilla cell.
    Rnn(RnnCell),
    /// The gated recurrent unit.
    Gru(GruCell),
    /// Long short-term memory.
    Lstm(LstmCell),
}

/// What a cell's backward step is given.
#[derive(Clone, Copy, Debug)]
pub struct BackwardStep<V> {
    /// Gradient of `h_t`.
    pub d_h: V,
    /// Gradient of `c_t` from the later step.
    pub d_c: V,
    /// `h_(t-1)`.
    pub h_previous: V,
    /// `c_(t-1)`.
    pub c_previous: V,
    /// `c_t`.
    pub c: V,
}

#[inline(always)]
fn one<V: Lanes>() -> V {
    V::splat(V::Scalar::ONE)
}

/// The gradient before a sigmoid whose result is `y`.
#[inline(always)]
fn through_sigmoid<V: Lanes>(d: V, y: V) -> V {
    d.mul(y.mul(one::<V>().sub(y)))
}

/// The gradient before a tanh whose result is `y`.
#[inline(always)]
fn through_tanh<V: Lanes>(d: V, y: V) -> V {
    d.mul(one::<V>().sub(y.mul(y)))
}

/// `h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`, or with `max(0, ·)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RnnCell {
    /// Hyperbolic tangent.
    Tanh,
    /// Rectifier.
    Relu,
}

impl Cell for RnnCell {
    const SLOTS: usize = 1;
    const X: (usize, &'static [usize]) = (0, &[0]);
    const H: (usize, &'static [usize]) = (0, &[0]);
    const HAS_C: bool = false;
    const DIRECT: bool = false;

    fn any(self) -> AnyCell {
        AnyCell::Rnn(self)
    }

    #[inline(always)]
    fn forward<V: Lanes>(self, slots: &mut [V; 4], _h_previous: V, c_previous: V) -> (V, V) {
        let h = match self {
            Self::Tanh => slots[0].tanh(),
            Self::Relu => V::splat(V::Scalar::ZERO).max(slots[0]),
        };
        slots[0] = h;
        (h, c_previous)
    }

    #[inline(always)]
    fn backward<V: Lanes>(self, slots: &mut [V; 4], step: BackwardStep<V>) -> (V, V) {
        slots[0] = match self {
            Self::Tanh => through_tanh(step.d_h, slots[0]),
            Self::Relu => slots[0].where_positive(step.d_h),
        };
        (V::splat(V::Scalar::ZERO), step.d_c)
    }
}

/// PyTorch's gated recurrent unit; PyTorch's gates are r, z, n.
///
/// Slots: n's input sum, r, z, n's hidden sum, so that both sides' slots are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GruCell;

impl Cell for GruCell {
    const SLOTS: usize = 4;
    const X: (usize, &'static [usize]) = (0, &[2, 0, 1]);
    const H: (usize, &'static [usize]) = (1, &[0, 1, 2]);
    const HAS_C: bool = false;
    const DIRECT: bool = true;

    fn any(self) -> AnyCell {
        AnyCell::Gru(self)
    }

    #[inline(always)]
    fn forward<V: Lanes>(self, slots: &mut [V; 4], h_previous: V, c_previous: V) -> (V, V) {
        let r = slots[1].sigmoid();
        let z = slots[2].sigmoid();
        let n = r.mul_add(slots[3], slots[0]).tanh();
        // (1 - z) n + z h
        let h = z.mul_add(h_previous.sub(n), n);
        *slots = [n, r, z, slots[3]];
        (h, c_previous)
    }

    #[inline(always)]
    fn backward<V: Lanes>(self, slots: &mut [V; 4], step: BackwardStep<V>) -> (V, V) {
        let [n, r, z, hidden_sum] = *slots;
        let d_n = through_tanh(step.d_h.mul(one::<V>().sub(z)), n);
        let d_z = through_sigmoid(step.d_h.mul(step.h_previous.sub(n)), z);
        let d_r = through_sigmoid(d_n.mul(hidden_sum), r);
        *slots = [d_n, d_r, d_z, d_n.mul(r)];
        (step.d_h.mul(z), step.d_c)
    }
}

/// PyTorch's long short-term memory; gates i, f, g, o in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmCell;

impl Cell for LstmCell {
    const SLOTS: usize = 4;
    const X: (usize, &'static [usize]) = (0, &[0, 1, 2, 3]);
    const H: (usize, &'static [usize]) = (0, &[0, 1, 2, 3]);
    const HAS_C: bool = true;
    const DIRECT: bool = false;

    fn any(self) -> AnyCell {
        AnyCell::Lstm(self)
    }

    #[inline(always)]
    fn forward<V: Lanes>(self, slots: &mut [V; 4], _h_previous: V, c_previous: V) -> (V, V) {
        let i = slots[0].sigmoid();
        let f = slots[1].sigmoid();
        let g = slots[2].tanh();
        let o = slots[3].sigmoid();
        let c = f.mul_add(c_previous, i.mul(g));
        *slots = [i, f, g, o];
        (o.mul(c.tanh()), c)
    }

    #[inline(always)]
    fn backward<V: Lanes>(self, slots: &mut [V; 4], step: BackwardStep<V>) -> (V, V) {
        let [i, f, g, o] = *slots;
        let tanh_c = step.c.tanh();
        let d_o = step.d_h.mul(tanh_c);
        // d_c_t = d_c from t + 1, and d_h o (1 - tanh² c)
        let d_c = through_tanh(step.d_h.mul(o), tanh_c).add(step.d_c);
        *slots = [
            through_sigmoid(d_c.mul(g), i),
            through_sigmoid(d_c.mul(step.c_previous), f),
            through_tanh(d_c.mul(i), g),
            through_sigmoid(d_o, o),
        ];
        (V::splat(V::Scalar::ZERO), d_c.mul(f))
    }
}
