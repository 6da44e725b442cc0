use rand::Rng;
use refrain_kernels::{
    Block, Compute, ConvolutionBackward, ConvolutionForward, ConvolutionScratch, Frames, GROUP,
    GateOrder, Packed, Scalar, Winners, convolution_backward, convolution_forward, groups,
};

use super::init;
use super::{Parameter, Parameters};

/// Places of the kernel: three rows of three.
const TAPS: usize = 9;

/// A convolutional layer: kernel 3×3, stride 1, a border of zeros, a rectifier, and the greatest of each 2×2 window.
///
/// ```text
/// a[y][x][o] = b[o] + Σ_(i, j, c) W[o][c][i][j] x[y + i - 1][x + j - 1][c]        i, j = 0, 1, 2
/// output[y][x][o] = max(0, the greatest of a[2y..2y + 2][2x..2x + 2][o])
/// ```
///
/// A window is cut off at the lower and right edges, so that no pixel is lost. Each sum is one chain: from the bias
/// through kernel rows i, kernel columns j, channels c.
///
/// Backward: the gradient goes to the greatest of each window (ties to the first) where the output is positive; `d_x` is the
/// convolution of that with the kernel turned by 180°, one chain over i, j, o. The gradients of weight and bias go through
/// the frames in ⌈frames / 8⌉ parts, at most 64 (fewer of huge pictures; the sizes alone decide): in a part one chain
/// through frames, rows and columns upwards; then the parts are added upwards.
///
/// # Shapes
/// `weight`: `(out_channels, in_channels, 3, 3)`, `bias`: `(out_channels)`. Inputs are frames of `(height, width,
/// in_channels)`, outputs frames of `(⌈height / 2⌉, ⌈width / 2⌉, out_channels)`.
///
/// # Differences
/// Frames lie channels last; in PyTorch this is `Conv2d(…, 3, padding=1)`, `ReLU`, `MaxPool2d(2, ceil_mode=True)` with
/// channels first.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution<T> {
    /// `(out_channels, in_channels, 3, 3)`.
    pub weight: Parameter<T>,
    /// `(out_channels)`.
    pub bias: Parameter<T>,
}

/// The weights of a convolution as the kernels read them, and space for its passes.
#[derive(Clone, Debug, Default)]
pub struct ConvolutionSpace<T> {
    weight: Packed<T>,
    turned: Packed<T>,
    bias: Vec<Block<T>>,
    d_weight: Packed<T>,
    d_bias: Vec<Block<T>>,
    /// A weight in the order of the kernels, row-major.
    ordered: Vec<T>,
    winners: Vec<Winners>,
    scratch: ConvolutionScratch<T>,
}

impl<T: Scalar> Convolution<T> {
    /// Zeros, named `{owner}.weight` and `{owner}.bias`.
    ///
    /// # Panics
    /// If `out_channels` is no multiple of sixteen.
    #[must_use]
    pub fn zeros(owner: &str, in_channels: usize, out_channels: usize) -> Self {
        assert!(
            out_channels.is_multiple_of(GROUP),
            "{out_channels} output channels"
        );
        let shape = [out_channels, in_channels, 3, 3];
        Self {
            weight: Parameter::zeros(format!("{owner}.weight"), &shape),
            bias: Parameter::zeros(format!("{owner}.bias"), &[out_channels]),
        }
    }

    /// Draws new weights as PyTorch does: weight and bias uniform in ±1/√(9 · in_channels).
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        let bound = 1.0 / ((self.in_channels() * TAPS) as f64).sqrt();
        init::uniform(&mut self.weight.value, bound, rng);
        init::uniform(&mut self.bias.value, bound, rng);
    }

    /// Numbers of an input's pixel.
    #[must_use]
    pub fn in_channels(&self) -> usize {
        self.weight.shape[1]
    }

    /// Numbers of an output's pixel.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        self.weight.shape[0]
    }

    /// Lays the weights out for the kernels; `with_backward` also for the gradient of the input.
    pub fn pack(&self, space: &mut ConvolutionSpace<T>, with_backward: bool) {
        let (inputs, outputs) = (self.in_channels(), self.out_channels());
        let ConvolutionSpace {
            weight,
            turned,
            ordered,
            bias,
            ..
        } = space;
        ordered.clear();
        ordered.resize(self.weight.len(), T::ZERO);
        for (at, &value) in self.weight.value.iter().enumerate() {
            let (out, from, tap) = self.split(at);
            ordered[(out * TAPS + tap) * inputs + from] = value;
        }
        weight.pack(ordered, GateOrder::plain(outputs), TAPS * inputs);
        if with_backward {
            for (at, &value) in self.weight.value.iter().enumerate() {
                let (out, from, tap) = self.split(at);
                ordered[(from * TAPS + (TAPS - 1 - tap)) * outputs + out] = value;
            }
            turned.pack(ordered, GateOrder::plain(inputs), TAPS * outputs);
        }
        bias.clear();
        bias.resize(groups(outputs), Block::ZERO);
        for (block, bias) in bias.iter_mut().zip(self.bias.value.chunks_exact(GROUP)) {
            block.0.copy_from_slice(bias);
        }
    }

    /// Output channel, input channel and place in the kernel of a number of the weight.
    fn split(&self, at: usize) -> (usize, usize, usize) {
        let inputs = self.in_channels();
        (at / TAPS / inputs, at / TAPS % inputs, at % TAPS)
    }

    /// The layer's outputs for all frames. A frame alone gives the same bits as in a batch.
    ///
    /// # Panics
    /// If the frames have not `in_channels` channels or the layer was not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut ConvolutionSpace<T>,
        input: &Frames<T>,
        output: &mut Frames<T>,
    ) {
        convolution_forward(
            compute,
            ConvolutionForward {
                input,
                weight: &space.weight,
                bias: &space.bias,
                output,
                winners: &mut space.winners,
                scratch: &mut space.scratch,
            },
        );
    }

    /// The gradients of the weights into `grad`, that of the input into `d_input`, where it is asked for. `input` is
    /// that of the last forward pass.
    ///
    /// # Panics
    /// If the shapes do not fit, the layer was not packed for it, or a gradient of the input is asked for and its channels
    /// are no multiple of sixteen.
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut ConvolutionSpace<T>,
        input: &Frames<T>,
        d_output: &Frames<T>,
        d_input: Option<&mut Frames<T>>,
    ) {
        let (inputs, panels) = (self.in_channels(), groups(self.out_channels()));
        space.d_weight.reset(panels, TAPS * inputs);
        space.d_bias.resize(panels, Block::ZERO);
        convolution_backward(
            compute,
            ConvolutionBackward {
                input,
                winners: &space.winners,
                d_output,
                d_input: d_input.map(|d_input| (&space.turned, d_input)),
                d_weight: &mut space.d_weight,
                d_bias: &mut space.d_bias,
                scratch: &mut space.scratch,
            },
        );
        space.ordered.resize(self.weight.len(), T::ZERO);
        let order = GateOrder::plain(self.out_channels());
        space.d_weight.unpack(&mut space.ordered, order);
        for at in 0..self.weight.len() {
            let (out, from, tap) = self.split(at);
            self.weight.grad[at] = space.ordered[(out * TAPS + tap) * inputs + from];
        }
        for (grad, block) in self.bias.grad.chunks_exact_mut(GROUP).zip(&space.d_bias) {
            grad.copy_from_slice(&block.0);
        }
    }
}

impl<T: Scalar> Parameters<T> for Convolution<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.weight);
        visit(&self.bias);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.weight);
        visit(&mut self.bias);
    }
}
