use rand::Rng;
use refrain_kernels::{Compute, Panels, RnnCell, Scalar, activate, activate_backward, add_assign};

use super::{Linear, PackedLinear, Parameter, Parameters, StackState, State, Steps};

/// From the encoder's summary to the states that the decoder's layers begin with.
///
/// ```text
/// h_0 = tanh(W_h s + b_h)
/// c_0 = W_c s + b_c                  for each layer by itself
/// ```
///
/// `c_0` has no tanh: a cell state has no bounds, and what a saturated tanh would hide gets through here.
///
/// # Shapes
/// `s`: batch × encoded_size; `{owner}.h_l{k}.weight`, `{owner}.c_l{k}.weight`: `(hidden_size, encoded_size)`;
/// `{owner}.h_l{k}.bias`, `{owner}.c_l{k}.bias`: `(hidden_size)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bridge<T> {
    /// For each layer that of `h_0`, and of `c_0` where the cell has one.
    pub layers: Vec<(Linear<T>, Option<Linear<T>>)>,
}

/// What passes over a [`Bridge`] reuse.
#[derive(Clone, Debug, Default)]
pub struct BridgeSpace<T> {
    packed: Vec<[PackedLinear<T>; 2]>,
    /// `h_0` of each layer.
    hidden: Vec<Panels<T>>,
    d_hidden: Panels<T>,
    d_part: Panels<T>,
}

impl<T: Scalar> Bridge<T> {
    /// A bridge of zeros.
    #[must_use]
    pub fn zeros(
        owner: &str,
        encoded_size: usize,
        hidden_size: usize,
        num_layers: usize,
        has_c: bool,
    ) -> Self {
        let layer = |name: &str, at: usize| {
            Linear::zeros(&format!("{owner}.{name}_l{at}"), encoded_size, hidden_size)
        };
        Self {
            layers: (0..num_layers)
                .map(|at| (layer("h", at), has_c.then(|| layer("c", at))))
                .collect(),
        }
    }

    /// Draws new weights.
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        for (h, c) in &mut self.layers {
            h.initialise(rng);
            if let Some(c) = c {
                c.initialise(rng);
            }
        }
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut BridgeSpace<T>, with_backward: bool) {
        space
            .packed
            .resize_with(self.layers.len(), Default::default);
        for ((h, c), packed) in self.layers.iter().zip(&mut space.packed) {
            h.pack(&mut packed[0], with_backward);
            if let Some(c) = c {
                c.pack(&mut packed[1], with_backward);
            }
        }
    }

    /// The states to begin with.
    ///
    /// # Panics
    /// If shapes do not fit or the weights were not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut BridgeSpace<T>,
        summary: &Panels<T>,
    ) -> StackState<T> {
        space.hidden.resize_with(self.layers.len(), Panels::default);
        let mut states = Vec::with_capacity(self.layers.len());
        for (at, (h, c)) in self.layers.iter().enumerate() {
            let (packed, hidden) = (&space.packed[at], &mut space.hidden[at]);
            h.forward(compute, &packed[0], summary, hidden);
            activate(compute, RnnCell::Tanh, hidden);
            let mut state = State {
                h: hidden.clone(),
                c: Panels::default(),
            };
            if let Some(c) = c {
                c.forward(compute, &packed[1], summary, &mut state.c);
            }
            states.push(state);
        }
        states
    }

    /// Backward from the gradients of those states: gradients into the parameters and `d_summary`.
    ///
    /// # Panics
    /// As [`Bridge::forward`].
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut BridgeSpace<T>,
        summary: &Panels<T>,
        d_state: &StackState<T>,
        d_summary: &mut Panels<T>,
    ) {
        let steps = Steps::uniform(1, summary.rows());
        d_summary.reset(summary.rows(), summary.columns());
        let mut add = |part: &Panels<T>| {
            for (to, from) in d_summary.blocks_mut().iter_mut().zip(part.blocks()) {
                add_assign(&mut to.0, &from.0);
            }
        };
        for (at, (h, c)) in self.layers.iter_mut().enumerate() {
            let (packed, d_part) = (&mut space.packed[at], &mut space.d_part);
            space.d_hidden.clone_from(&d_state[at].h);
            activate_backward(
                compute,
                RnnCell::Tanh,
                &space.hidden[at],
                &mut space.d_hidden,
            );
            h.backward(
                compute,
                &mut packed[0],
                &steps,
                summary,
                &space.d_hidden,
                d_part,
            );
            add(d_part);
            if let Some(c) = c {
                let d_c = &d_state[at].c;
                c.backward(compute, &mut packed[1], &steps, summary, d_c, d_part);
                add(d_part);
            }
        }
    }
}

impl<T: Scalar> Parameters<T> for Bridge<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        for (h, c) in &self.layers {
            h.visit(visit);
            if let Some(c) = c {
                c.visit(visit);
            }
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        for (h, c) in &mut self.layers {
            h.visit_mut(visit);
            if let Some(c) = c {
                c.visit_mut(visit);
            }
        }
    }
}
