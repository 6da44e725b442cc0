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

    /// From the sums in `slots` to the activated gates (in place) and what is carried on: the new `c`, or the new `h` of a
    /// cell without one.
    fn carry<V: Lanes>(self, slots: &mut [V; 4], h_previous: V, c_previous: V) -> V;

    /// The new `h`, from the activated gates and what is carried on.
    fn reveal<V: Lanes>(self, slots: &[V; 4], carried: V) -> V;

    /// The gradient that [`Cell::reveal`] gives what is carried on; the gates that only it reads become the gradients of
    /// their sums.
    fn reveal_backward<V: Lanes>(self, slots: &mut [V; 4], carried: V, d_h: V) -> V;

    /// From the gradient of what is carried on and the activated gates to the gradients of the other sums (in place), and
    /// `(direct part of d_h_previous, d_c_previous)`.
    fn carry_backward<V: Lanes>(
        self,
        slots: &mut [V; 4],
        h_previous: V,
        c_previous: V,
        d_carried: V,
    ) -> (V, V);

    /// From the sums in `slots` to the activated gates (in place) and the new `(h, c)`.
    #[inline(always)]
    fn forward<V: Lanes>(self, slots: &mut [V; 4], h_previous: V, c_previous: V) -> (V, V) {
        let carried = self.carry(slots, h_previous, c_previous);
        (self.reveal(slots, carried), carried)
    }

    /// From the gradients of `h` and `c` to that of what is carried on, on all ways; as [`Cell::reveal_backward`].
    #[inline(always)]
    fn carried_backward<V: Lanes>(self, slots: &mut [V; 4], step: &BackwardStep<V>) -> V {
        let d_carried = self.reveal_backward(slots, step.c, step.d_h);
        if Self::HAS_C {
            d_carried.add(step.d_c)
        } else {
            d_carried
        }
    }

    /// From the gradients of `h` and `c` and the activated gates to the gradients of the sums (in place), and
    /// `(direct part of d_h_previous, d_c_previous)`.
    #[inline(always)]
    fn backward<V: Lanes>(self, slots: &mut [V; 4], step: BackwardStep<V>) -> (V, V) {
        let d_carried = self.carried_backward(slots, &step);
        self.carry_backward(slots, step.h_previous, step.c_previous, d_carried)
    }
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
    fn carry<V: Lanes>(self, slots: &mut [V; 4], _h_previous: V, _c_previous: V) -> V {
        slots[0] = match self {
            Self::Tanh => slots[0].tanh(),
            Self::Relu => V::splat(V::Scalar::ZERO).max(slots[0]),
        };
        slots[0]
    }

    #[inline(always)]
    fn reveal<V: Lanes>(self, _slots: &[V; 4], carried: V) -> V {
        carried
    }

    #[inline(always)]
    fn reveal_backward<V: Lanes>(self, _slots: &mut [V; 4], _carried: V, d_h: V) -> V {
        d_h
    }

    #[inline(always)]
    fn carry_backward<V: Lanes>(
        self,
        slots: &mut [V; 4],
        _h_previous: V,
        _c_previous: V,
        d_carried: V,
    ) -> (V, V) {
        slots[0] = match self {
            Self::Tanh => through_tanh(d_carried, slots[0]),
            Self::Relu => slots[0].where_positive(d_carried),
        };
        let zero = V::splat(V::Scalar::ZERO);
        (zero, zero)
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
    fn carry<V: Lanes>(self, slots: &mut [V; 4], h_previous: V, _c_previous: V) -> V {
        let r = slots[1].sigmoid();
        let z = slots[2].sigmoid();
        let n = r.mul_add(slots[3], slots[0]).tanh();
        *slots = [n, r, z, slots[3]];
        // (1 - z) n + z h
        z.mul_add(h_previous.sub(n), n)
    }

    #[inline(always)]
    fn reveal<V: Lanes>(self, _slots: &[V; 4], carried: V) -> V {
        carried
    }

    #[inline(always)]
    fn reveal_backward<V: Lanes>(self, _slots: &mut [V; 4], _carried: V, d_h: V) -> V {
        d_h
    }

    #[inline(always)]
    fn carry_backward<V: Lanes>(
        self,
        slots: &mut [V; 4],
        h_previous: V,
        _c_previous: V,
        d_carried: V,
    ) -> (V, V) {
        let [n, r, z, hidden_sum] = *slots;
        let d_n = through_tanh(d_carried.mul(one::<V>().sub(z)), n);
        let d_z = through_sigmoid(d_carried.mul(h_previous.sub(n)), z);
        let d_r = through_sigmoid(d_n.mul(hidden_sum), r);
        *slots = [d_n, d_r, d_z, d_n.mul(r)];
        (d_carried.mul(z), V::splat(V::Scalar::ZERO))
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
    fn carry<V: Lanes>(self, slots: &mut [V; 4], _h_previous: V, c_previous: V) -> V {
        let i = slots[0].sigmoid();
        let f = slots[1].sigmoid();
        let g = slots[2].tanh();
        let o = slots[3].sigmoid();
        *slots = [i, f, g, o];
        f.mul_add(c_previous, i.mul(g))
    }

    #[inline(always)]
    fn reveal<V: Lanes>(self, slots: &[V; 4], carried: V) -> V {
        slots[3].mul(carried.tanh())
    }

    #[inline(always)]
    fn reveal_backward<V: Lanes>(self, slots: &mut [V; 4], carried: V, d_h: V) -> V {
        let o = slots[3];
        let tanh_c = carried.tanh();
        slots[3] = through_sigmoid(d_h.mul(tanh_c), o);
        // d_h o (1 - tanh² c)
        through_tanh(d_h.mul(o), tanh_c)
    }

    #[inline(always)]
    fn carry_backward<V: Lanes>(
        self,
        slots: &mut [V; 4],
        _h_previous: V,
        c_previous: V,
        d_carried: V,
    ) -> (V, V) {
        let [i, f, g, d_o] = *slots;
        *slots = [
            through_sigmoid(d_carried.mul(g), i),
            through_sigmoid(d_carried.mul(c_previous), f),
            through_tanh(d_carried.mul(i), g),
            d_o,
        ];
        (V::splat(V::Scalar::ZERO), d_carried.mul(f))
    }
}
