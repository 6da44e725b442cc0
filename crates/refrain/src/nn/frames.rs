use rand::Rng;
use refrain_kernels::{
    Compute, FrameShape, Frames, Panels, RnnCell, Scalar, activate, activate_backward, flatten,
    unflatten,
};

use super::convolution::{Convolution, ConvolutionSpace};
use super::{Linear, PackedLinear, Parameter, Parameters, Steps};

/// Output channels of the convolutions, the first one's first.
const CHANNELS: [usize; 4] = [16, 32, 64, 64];
/// Convolutions go on until the smaller side is no larger, or there are four.
const SMALLEST_SIDE: usize = 4;

/// The sizes of a frame encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameConfig {
    /// Rows of a frame's pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel: 1 for grey, 3 for colours.
    pub channels: usize,
    /// Features that a frame becomes.
    pub features: usize,
}

impl FrameConfig {
    /// The input of each convolution, and what the last gives.
    fn shapes(&self) -> Vec<FrameShape> {
        let mut shapes = vec![FrameShape {
            height: self.height,
            width: self.width,
            channels: self.channels,
        }];
        for channels in CHANNELS {
            let last = shapes[shapes.len() - 1];
            if shapes.len() > 1 && last.height.min(last.width) <= SMALLEST_SIDE {
                break;
            }
            shapes.push(FrameShape {
                channels,
                ..last.pooled()
            });
        }
        shapes
    }

    /// The number of trainable numbers, in floating point so that no size overflows.
    #[must_use]
    pub fn parameter_estimate(&self) -> f64 {
        let shapes = self.shapes();
        let convolutions = shapes.windows(2).map(|pair| {
            let (inputs, outputs) = (pair[0].channels as f64, pair[1].channels as f64);
            (9.0 * inputs + 1.0) * outputs
        });
        let flat = numbers(shapes[shapes.len() - 1], 0.0);
        convolutions.sum::<f64>() + (flat + 1.0) * self.features as f64
    }

    /// An estimate of the bytes that a training step over `rows` frames takes beside weights and moments: activations, their
    /// gradients, the scratch of the convolutions.
    #[must_use]
    pub fn memory_estimate(&self, rows: usize) -> f64 {
        let shapes = self.shapes();
        let mut floats = numbers(shapes[0], 2.0);
        // Activations and gradients, and a byte of each number's winner.
        for shape in &shapes[1..] {
            floats += 2.25 * numbers(*shape, 2.0);
        }
        floats += 2.0 * numbers(shapes[shapes.len() - 1], 0.0) + 3.0 * self.features as f64;
        let mut scratch = 0.0;
        for pair in shapes.windows(2) {
            let full = FrameShape {
                channels: pair[1].channels,
                ..pair[0]
            };
            let gradient = 9.0 * pair[0].channels as f64 * pair[1].channels as f64;
            scratch += (numbers(full, 2.0) + gradient) * (rows as f64 / 8.0).clamp(1.0, 64.0);
        }
        4.0 * (rows as f64 * floats + scratch)
    }
}

/// The numbers of a picture, with `border` more pixels in each direction.
fn numbers(shape: FrameShape, border: f64) -> f64 {
    (shape.height as f64 + border) * (shape.width as f64 + border) * shape.channels as f64
}

/// A small convolutional network that makes a vector of each frame of a video (or of a picture).
///
/// ```text
/// a_0 = frame
/// a_(k+1) = convolution_k(a_k)              3×3, rectifier, 2×2 max-pool: half the height and width, rounded up
/// output = max(0, W flatten(a_n) + b)
/// ```
///
/// The convolutions have 16, 32, 64 and 64 channels; there are as many as it takes until the smaller side of a picture is
/// at most 4, at least one, at most four. A frame does not see the others: a frame alone gives the same bits as in a batch.
///
/// Backward: the chains of the convolutions as [`Convolution`] says; those of the linear layer's gradients go over the
/// frames upwards. The gradient of the frames themselves is not formed.
///
/// # Shapes
/// `{owner}.conv{k}.weight`: `(out_channels, in_channels, 3, 3)`, `{owner}.conv{k}.bias`: `(out_channels)`;
/// `{owner}.linear.weight`: `(features, height_n · width_n · channels_n)`, `{owner}.linear.bias`: `(features)`.
///
/// # Differences
/// `flatten` goes pixel by pixel, channels last; PyTorch's, of channels-first pictures, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameEncoder<T> {
    /// The sizes.
    pub config: FrameConfig,
    /// The convolutions, the first one first.
    pub convolutions: Vec<Convolution<T>>,
    /// From the last picture to the features.
    pub linear: Linear<T>,
}

/// Everything that passes over a frame encoder reuse: packed weights, saved activations, scratch.
#[derive(Clone, Debug, Default)]
pub struct FrameSpace<T> {
    convolutions: Vec<ConvolutionSpace<T>>,
    linear: PackedLinear<T>,
    /// The input of each convolution, and what the last gives.
    pictures: Vec<Frames<T>>,
    /// Their gradients; the first stays empty.
    d_pictures: Vec<Frames<T>>,
    flat: Panels<T>,
    d_flat: Panels<T>,
    output: Panels<T>,
    d_output: Panels<T>,
    steps: Steps,
}

impl<T: Scalar> FrameEncoder<T> {
    /// Zeros, named as the type says.
    #[must_use]
    pub fn zeros(config: FrameConfig, owner: &str) -> Self {
        let shapes = config.shapes();
        let convolutions = shapes.windows(2).enumerate().map(|(at, pair)| {
            let owner = format!("{owner}.conv{at}");
            Convolution::zeros(&owner, pair[0].channels, pair[1].channels)
        });
        let flat = shapes[shapes.len() - 1].numbers();
        Self {
            config,
            convolutions: convolutions.collect(),
            linear: Linear::zeros(&format!("{owner}.linear"), flat, config.features),
        }
    }

    /// Draws new weights as PyTorch does, layer by layer: uniform in ±1/√(inputs of a sum).
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        for convolution in &mut self.convolutions {
            convolution.initialise(rng);
        }
        self.linear.initialise(rng);
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut FrameSpace<T>, with_backward: bool) {
        let count = self.convolutions.len();
        space
            .convolutions
            .resize_with(count, ConvolutionSpace::default);
        for (at, convolution) in self.convolutions.iter().enumerate() {
            // No gradient of the frames themselves.
            convolution.pack(&mut space.convolutions[at], with_backward && at > 0);
        }
        self.linear.pack(&mut space.linear, with_backward);
    }

    /// The features of each frame.
    ///
    /// # Shapes
    /// `frames`: `(rows, height, width, channels)`, row-major; `output` becomes `(rows, features)`.
    ///
    /// # Panics
    /// If the frames are not so many numbers or the encoder was not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut FrameSpace<T>,
        frames: &[T],
        rows: usize,
        output: &mut Panels<T>,
    ) {
        let count = self.convolutions.len();
        space.pictures.resize_with(count + 1, Frames::default);
        space.pictures[0].resize(rows, self.config.shapes()[0]);
        space.pictures[0].copy_from_rows(frames);
        for (at, convolution) in self.convolutions.iter().enumerate() {
            let (below, above) = space.pictures.split_at_mut(at + 1);
            let part = &mut space.convolutions[at];
            convolution.forward(compute, part, &below[at], &mut above[0]);
        }
        flatten(&space.pictures[count], &mut space.flat);
        self.linear
            .forward(compute, &space.linear, &space.flat, output);
        activate(compute, RnnCell::Relu, output);
        space.output.clone_from(output);
    }

    /// The gradients of all weights into `grad`, after the forward pass over the same frames.
    ///
    /// # Shapes
    /// `d_output`: `(rows, features)`.
    ///
    /// # Panics
    /// If the rows are not those of the last forward pass or the encoder was not packed for it.
    pub fn backward(&mut self, compute: &Compute, space: &mut FrameSpace<T>, d_output: &Panels<T>) {
        let count = self.convolutions.len();
        space.d_output.clone_from(d_output);
        activate_backward(compute, RnnCell::Relu, &space.output, &mut space.d_output);
        space.steps.set_uniform(1, d_output.rows());
        self.linear.backward(
            compute,
            &mut space.linear,
            &space.steps,
            &space.flat,
            &space.d_output,
            &mut space.d_flat,
        );
        space.d_pictures.resize_with(count + 1, Frames::default);
        let last = space.pictures[count].shape();
        unflatten(&space.d_flat, last, &mut space.d_pictures[count]);
        for (at, convolution) in self.convolutions.iter_mut().enumerate().rev() {
            let (below, above) = space.d_pictures.split_at_mut(at + 1);
            convolution.backward(
                compute,
                &mut space.convolutions[at],
                &space.pictures[at],
                &above[0],
                (at > 0).then_some(&mut below[at]),
            );
        }
    }
}

impl<T: Scalar> Parameters<T> for FrameEncoder<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        for convolution in &self.convolutions {
            convolution.visit(visit);
        }
        self.linear.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        for convolution in &mut self.convolutions {
            convolution.visit_mut(visit);
        }
        self.linear.visit_mut(visit);
    }
}
