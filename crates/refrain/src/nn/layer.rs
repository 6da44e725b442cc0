use rand::Rng;
use refrain_kernels::{Cell, GruCell, LstmCell, RnnCell, Scalar};

use super::recurrent::{Recurrent, layer_name};
use super::state::State;
use super::{
    CellKind, GRU_GATES, Gru, LSTM_GATES, Lstm, Nonlinearity, Parameter, Parameters, Rnn,
    StackConfig,
};

/// In which order a layer reads a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first position to the last.
    Forward,
    /// From the last position to the first.
    Reverse,
}

/// A layer with any cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer<T> {
    /// The vanilla cell.
    Rnn(Rnn<T>),
    /// Gated recurrent units.
    Gru(Gru<T>),
    /// Long short-term memory.
    Lstm(Lstm<T>),
}

/// The same expression for the layer of whichever cell.
macro_rules! any {
    ($layer:expr, $name:ident => $body:expr) => {
        match $layer {
            Layer::Rnn($name) => $body,
            Layer::Gru($name) => $body,
            Layer::Lstm($name) => $body,
        }
    };
}
pub(crate) use any;

impl<T: Scalar> Layer<T> {
    pub(crate) fn new(config: &StackConfig, owner: &str, at: usize, direction: Direction) -> Self {
        let hidden = config.hidden_size;
        let input = if at == 0 {
            config.input_size
        } else {
            hidden * config.directions()
        };
        let name = |kind: &str| layer_name(owner, kind, at, direction == Direction::Reverse);
        let norm = config.layer_norm;
        match config.cell {
            CellKind::Rnn => {
                let cell = match config.nonlinearity {
                    Nonlinearity::Tanh => RnnCell::Tanh,
                    Nonlinearity::Relu => RnnCell::Relu,
                };
                Self::Rnn(Recurrent::new(cell, name, input, hidden, norm))
            }
            CellKind::Gru => Self::Gru(Recurrent::new(GruCell, name, input, hidden, norm)),
            CellKind::Lstm => Self::Lstm(Recurrent::new(LstmCell, name, input, hidden, norm)),
            CellKind::Mlp => panic!("the plain network has no recurrent layer"),
        }
    }

    /// The gates' names, in PyTorch's order, and in which slot of a group each stands; the slots of a group.
    pub(crate) fn gate_slots(&self) -> (Vec<(&'static str, usize)>, usize) {
        fn of<C: Cell>(names: &[&'static str]) -> (Vec<(&'static str, usize)>, usize) {
            let slot = |gate| C::X.1.iter().position(|&at| at == gate);
            let slots = names.iter().enumerate();
            let slots = slots.filter_map(|(gate, &name)| Some((name, C::X.0 + slot(gate)?)));
            (slots.collect(), C::SLOTS)
        }
        match self {
            Self::Rnn(_) => of::<RnnCell>(&["h"]),
            Self::Gru(_) => of::<GruCell>(&GRU_GATES),
            Self::Lstm(_) => of::<LstmCell>(&LSTM_GATES),
        }
    }

    pub(crate) fn zero_state(&self, batch: usize) -> State<T> {
        match self {
            Self::Rnn(layer) => State::zeros::<RnnCell>(batch, layer.hidden_size()),
            Self::Gru(layer) => State::zeros::<GruCell>(batch, layer.hidden_size()),
            Self::Lstm(layer) => State::zeros::<LstmCell>(batch, layer.hidden_size()),
        }
    }

    pub(crate) fn initialise(&mut self, config: &StackConfig, rng: &mut impl Rng) {
        any!(self, layer => layer.initialise(config.init, rng));
        if let (Self::Lstm(layer), Some(bias)) = (self, config.forget_bias) {
            let hidden = config.hidden_size;
            layer.bias_ih.value[hidden..2 * hidden].fill(T::from_f64(bias));
            layer.bias_hh.value[hidden..2 * hidden].fill(T::ZERO);
        }
    }
}

impl<T: Scalar> Parameters<T> for Layer<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        any!(self, layer => layer.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        any!(self, layer => layer.visit_mut(visit));
    }
}
