//! Convolutions over small pictures, 3×3, each followed by a rectifier and a 2×2 max-pool.
//!
//! Pictures lie channels last inside a border of zeros, so that the numbers under a row of the kernel are neighbours:
//! the register tiles of the products read them in place, and nothing is gathered.

use std::ops::Range;

use crate::compute::{Compute, Shared};
use crate::panels::{Block, GROUP, Packed, Panels};
use crate::product::{Walk, tiles};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// Weights of an output channel that are worked through before the next positions: 256 blocks of `f32` are 16 KiB.
const DEPTH_BLOCK: usize = 256;
/// Frames of a part, where that makes no more than `PARTS`: fewer would not pay for a gradient of their own.
const PART_FRAMES: usize = 8;
/// Parts at most: enough to share among threads, few enough to keep a weight's gradient for each.
const PARTS: usize = 64;
/// Numbers that the pictures of all parts may hold (64 MiB of `f32`): of larger pictures there are fewer parts, but one.
const SCRATCH: usize = 1 << 24;

/// The size of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl FrameShape {
    /// Numbers of a picture.
    ///
    /// # Panics
    /// If they cannot be counted.
    #[must_use]
    pub fn numbers(self) -> usize {
        self.count(self.height, self.width)
    }

    /// The size after a 2×2 max-pool whose windows are cut off at the edges.
    #[must_use]
    pub const fn pooled(self) -> Self {
        Self {
            height: self.height.div_ceil(2),
            width: self.width.div_ceil(2),
            channels: self.channels,
        }
    }

    fn with_border(self) -> usize {
        self.count(self.height.saturating_add(2), self.width.saturating_add(2))
    }

    fn count(self, height: usize, width: usize) -> usize {
        height
            .checked_mul(width)
            .and_then(|pixels| pixels.checked_mul(self.channels))
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Numbers of a row, border included.
    fn row(self) -> usize {
        (self.width + 2) * self.channels
    }

    /// From the first number of the border to the first of the picture.
    fn inside(self) -> usize {
        self.row() + self.channels
    }
}

/// Pictures of one size, one after another: rows of pixels from the top, channels last, in a border of zeros one pixel
/// wide.
///
/// # Examples
///
/// ```
/// use refrain_kernels::{FrameShape, Frames};
///
/// let shape = FrameShape { height: 1, width: 2, channels: 1 };
/// let mut frames = Frames::<f32>::default();
/// frames.resize(2, shape);
/// frames.copy_from_rows(&[1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(frames.to_rows(1), [3.0, 4.0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frames<T> {
    blocks: Vec<Block<T>>,
    frames: usize,
    shape: FrameShape,
}

impl<T: Scalar> Frames<T> {
    /// Takes another size, contents unspecified, the border zero; allocates only where it grows past its largest size so
    /// far.
    ///
    /// # Panics
    /// If the numbers cannot be counted.
    pub fn resize(&mut self, frames: usize, shape: FrameShape) {
        if shape != self.shape {
            self.blocks.clear();
        }
        let numbers = frames
            .checked_mul(shape.with_border())
            .unwrap_or_else(|| panic!("{frames} frames of {shape:?}"));
        let (before, after) = (self.blocks.len(), numbers.div_ceil(GROUP));
        self.blocks.resize(after, Block::ZERO);
        // Where fewer frames were here, the last block may end with numbers of a frame that is gone.
        if after <= before && !numbers.is_multiple_of(GROUP) {
            self.blocks[after - 1].0[numbers % GROUP..].fill(T::ZERO);
        }
        (self.frames, self.shape) = (frames, shape);
    }

    /// Pictures.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The size of each.
    #[must_use]
    pub fn shape(&self) -> FrameShape {
        self.shape
    }

    /// Copies all pictures from the usual order without borders: frame, row, column, channel.
    ///
    /// # Panics
    /// If the numbers are not as many.
    pub fn copy_from_rows(&mut self, values: &[T]) {
        let shape = self.shape;
        assert_eq!(values.len(), self.frames * shape.numbers(), "{shape:?}");
        let line = shape.width * shape.channels;
        if values.is_empty() {
            return;
        }
        let to = self.values_mut();
        for (row, from) in values.chunks_exact(line).enumerate() {
            let (frame, y) = (row / shape.height, row % shape.height);
            let at = frame * shape.with_border() + shape.inside() + y * shape.row();
            to[at..at + line].copy_from_slice(from);
        }
    }

    /// The numbers of a picture, without the border.
    ///
    /// # Panics
    /// If there is no such picture.
    #[must_use]
    pub fn to_rows(&self, frame: usize) -> Vec<T> {
        assert!(frame < self.frames, "frame {frame} of {}", self.frames);
        let shape = self.shape;
        let line = shape.width * shape.channels;
        (0..shape.height)
            .flat_map(|y| {
                let at = frame * shape.with_border() + shape.inside() + y * shape.row();
                &self.values()[at..at + line]
            })
            .copied()
            .collect()
    }

    fn values(&self) -> &[T] {
        // SAFETY: a block is sixteen numbers without padding (`repr(C)`; its alignment divides its size).
        unsafe {
            std::slice::from_raw_parts(self.blocks.as_ptr().cast::<T>(), self.blocks.len() * GROUP)
        }
    }

    fn values_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `values`.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.blocks.as_mut_ptr().cast::<T>(),
                self.blocks.len() * GROUP,
            )
        }
    }
}

/// What the passes of a convolution take for themselves: a picture and a weight's gradient for each part of the frames.
#[derive(Clone, Debug, Default)]
pub struct ConvolutionScratch<T> {
    pictures: Frames<T>,
    gradients: Vec<Block<T>>,
}

/// For the four pixels of a window, the lanes (the first lowest) in which the pixel was the greatest and positive: those that
/// its gradient reaches.
pub type Winners = [u16; 4];

/// What [`convolution_forward`] is given.
#[derive(Debug)]
pub struct ConvolutionForward<'a, T> {
    /// Frames of `(height, width, channels)`.
    pub input: &'a Frames<T>,
    /// A panel for every sixteen output channels × `9 · channels`: kernel row, kernel column, channel.
    pub weight: &'a Packed<T>,
    /// A block for every panel.
    pub bias: &'a [Block<T>],
    /// Becomes frames of `(⌈height / 2⌉, ⌈width / 2⌉, 16 · panels)`.
    pub output: &'a mut Frames<T>,
    /// Becomes what the backward pass needs to know: for sixteen numbers of the output, which of each window they are.
    pub winners: &'a mut Vec<Winners>,
    /// Reused.
    pub scratch: &'a mut ConvolutionScratch<T>,
}

/// What [`convolution_backward`] is given; `input` and `winners` are those of the forward pass.
#[derive(Debug)]
pub struct ConvolutionBackward<'a, T> {
    /// As in the forward pass.
    pub input: &'a Frames<T>,
    /// As in the forward pass.
    pub winners: &'a [Winners],
    /// The gradient of the output.
    pub d_output: &'a Frames<T>,
    /// Panels for every sixteen input channels × `9 · 16 · panels`, kernel turned by 180°, and what becomes the gradient of
    /// the input; `None` where it is not needed.
    pub d_input: Option<(&'a Packed<T>, &'a mut Frames<T>)>,
    /// Becomes the weight's gradient, laid out as the weight.
    pub d_weight: &'a mut Packed<T>,
    /// Becomes the bias' gradient.
    pub d_bias: &'a mut [Block<T>],
    /// Reused.
    pub scratch: &'a mut ConvolutionScratch<T>,
}

/// The sizes of a convolution, and how its frames are shared out.
#[derive(Clone, Copy)]
struct Geometry {
    input: FrameShape,
    /// Before the max-pool.
    full: FrameShape,
    output: FrameShape,
    panels: usize,
    frames: usize,
    parts: usize,
}

impl Geometry {
    fn new(input: FrameShape, frames: usize, panels: usize) -> Self {
        let full = FrameShape {
            channels: panels * GROUP,
            ..input
        };
        let parts = frames
            .div_ceil(PART_FRAMES)
            .min(PARTS)
            .min(SCRATCH / full.with_border().max(1))
            .max(1);
        Self {
            input,
            full,
            output: full.pooled(),
            panels,
            frames,
            parts,
        }
    }

    /// The frames of a part: by the sizes alone.
    fn part(&self, part: usize) -> Range<usize> {
        part * self.frames / self.parts..(part + 1) * self.frames / self.parts
    }

    fn depth(&self) -> usize {
        9 * self.input.channels
    }

    /// Blocks of a part's gradients: the weight's, then the bias'.
    fn gradient_blocks(&self) -> usize {
        self.panels * (self.depth() + 1)
    }

    /// The place in `winners` for a window and a panel.
    fn window(&self, frame: usize, y: usize, x: usize) -> usize {
        ((frame * self.output.height + y) * self.output.width + x) * self.panels
    }
}

/// `output = bias + input ⋆ weight` for one picture: each number one chain, from the bias through kernel rows, kernel
/// columns and channels.
#[inline(always)]
unsafe fn correlate<V: Lanes>(
    input: *const V::Scalar,
    shape: FrameShape,
    weight: *const V::Scalar,
    bias: Option<*const V::Scalar>,
    output: *mut V::Scalar,
    panels: usize,
) {
    let (channels, depth) = (shape.channels, 9 * shape.channels);
    let pixel = panels * GROUP;
    let row = (shape.width + 2) * pixel;
    // Kernel rows of one walk; narrow pictures: several panels, or the chains would wait for each other.
    let outer = if depth <= DEPTH_BLOCK { 3 } else { 1 };
    let step = if shape.width <= 3 { panels } else { V::TILE.1 };
    let walk = Walk {
        outer,
        a_outer: shape.row().cast_signed(),
        b_outer: (3 * channels * GROUP).cast_signed(),
        inner: 3 * channels,
        a_inner: 1,
        b_inner: GROUP,
    };
    // SAFETY: the caller promises a picture with its border in `input` and in `output`, and `panels` panels of weights.
    unsafe {
        for panel in (0..panels).step_by(step.max(1)) {
            let step = step.min(panels - panel);
            for y in 0..shape.height {
                let c = output.add(row + pixel + y * row + panel * GROUP);
                for p in 0..step {
                    let start = match bias {
                        Some(bias) => V::load(bias.add((panel + p) * GROUP)),
                        None => V::splat(V::Scalar::ZERO),
                    };
                    for x in 0..shape.width {
                        start.store(c.add(x * pixel + p * GROUP));
                    }
                }
                for kernel_row in (0..3).step_by(outer) {
                    let a = input.add((y + kernel_row) * shape.row());
                    let b = weight.add((panel * depth + kernel_row * 3 * channels) * GROUP);
                    let strides = (pixel, GROUP);
                    tiles::<V, _>(
                        shape.width,
                        step,
                        c,
                        strides,
                        a,
                        channels,
                        b,
                        depth * GROUP,
                        walk,
                    );
                }
            }
        }
    }
}

/// The places of the four pixels under the window `(y, x)`. Where the window is cut off, those outside stand for the one
/// beside them: a number does not exceed itself, so that they never win.
#[inline(always)]
fn window(full: FrameShape, y: usize, x: usize) -> [usize; 4] {
    let first = full.inside() + 2 * y * full.row() + 2 * x * full.channels;
    let below = if 2 * y + 1 < full.height {
        full.row()
    } else {
        0
    };
    let beside = if 2 * x + 1 < full.width {
        full.channels
    } else {
        0
    };
    [first, first + beside, first + below, first + below + beside]
}

/// The greatest of each window, ties to the first; below zero, zero. What is not a number stays so.
#[inline(always)]
unsafe fn pool<V: Lanes>(
    geometry: &Geometry,
    frame: usize,
    full: *const V::Scalar,
    output: *mut V::Scalar,
    winners: *mut Winners,
) {
    let (to, zero) = (geometry.output, V::splat(V::Scalar::ZERO));
    // SAFETY: the caller promises a picture in `full`, all pictures in `output`, and as many winners.
    unsafe {
        let output = output.add(frame * to.with_border() + to.inside());
        for y in 0..to.height {
            for x in 0..to.width {
                for panel in 0..geometry.panels {
                    let places = window(geometry.full, y, x);
                    let mut best = V::load(full.add(places[0] + panel * GROUP));
                    let mut more = [0; 4];
                    for number in 1..4 {
                        let value = V::load(full.add(places[number] + panel * GROUP));
                        more[number] = value.exceeds(best);
                        best = value.select(more[number], best);
                    }
                    let positive = best.exceeds(zero);
                    let last = more[3];
                    let third = more[2] & !last;
                    let second = more[1] & !(more[2] | last);
                    let first = !(more[1] | more[2] | last);
                    let winner = [first, second, third, last].map(|lanes| lanes & positive);
                    let at = y * to.row() + x * to.channels + panel * GROUP;
                    zero.max(best).store(output.add(at));
                    winners
                        .add(geometry.window(frame, y, x) + panel)
                        .write(winner);
                }
            }
        }
    }
}

/// The gradient of the picture before the max-pool and the rectifier.
#[inline(always)]
unsafe fn unpool<V: Lanes>(
    geometry: &Geometry,
    frame: usize,
    full: *mut V::Scalar,
    d_output: *const V::Scalar,
    winners: *const Winners,
) {
    let (from, zero) = (geometry.output, V::splat(V::Scalar::ZERO));
    // SAFETY: as in `pool`.
    unsafe {
        let first = frame * from.with_border() + from.inside();
        for y in 0..from.height {
            for x in 0..from.width {
                for panel in 0..geometry.panels {
                    let at = first + y * from.row() + x * from.channels + panel * GROUP;
                    let d = V::load(d_output.add(at));
                    let winner = winners.add(geometry.window(frame, y, x) + panel).read();
                    let places = window(geometry.full, y, x);
                    // The first last: it stands for others where the window is cut off.
                    for number in (0..4).rev() {
                        let share = d.select(winner[number], zero);
                        share.store(full.add(places[number] + panel * GROUP));
                    }
                }
            }
        }
    }
}

/// Adds one picture to the gradients of weight and bias: positions row by row.
#[inline(always)]
unsafe fn correlate_gradient<V: Lanes>(
    geometry: &Geometry,
    input: *const V::Scalar,
    d_full: *const V::Scalar,
    gradients: *mut V::Scalar,
) {
    let (shape, full, depth) = (geometry.input, geometry.full, geometry.depth());
    let walk = Walk {
        outer: shape.height,
        a_outer: shape.row().cast_signed(),
        b_outer: full.row().cast_signed(),
        inner: shape.width,
        a_inner: shape.channels,
        b_inner: full.channels,
    };
    // SAFETY: the caller promises a picture with its border in `input` and `d_full`, and the blocks of both gradients.
    unsafe {
        for panel in (0..geometry.panels).step_by(V::TILE.1) {
            let wide = V::TILE.1.min(geometry.panels - panel);
            let d = d_full.add(full.inside() + panel * GROUP);
            for kernel_row in 0..3 {
                let rows = 3 * shape.channels;
                let c = gradients.add((panel * depth + kernel_row * rows) * GROUP);
                let a = input.add(kernel_row * shape.row());
                tiles::<V, _>(rows, wide, c, (GROUP, depth * GROUP), a, 1, d, GROUP, walk);
            }
        }
        for panel in 0..geometry.panels {
            let d = d_full.add(full.inside() + panel * GROUP);
            let to = gradients.add((geometry.panels * depth + panel) * GROUP);
            let mut sum = V::load(to);
            for y in 0..full.height {
                for x in 0..full.width {
                    sum = sum.add(V::load(d.add(y * full.row() + x * full.channels)));
                }
            }
            sum.store(to);
        }
    }
}

struct ForwardPart<T> {
    geometry: Geometry,
    frames: Range<usize>,
    input: *const T,
    weight: *const T,
    bias: *const T,
    full: *mut T,
    output: *mut T,
    winners: *mut Winners,
}

impl<T: Scalar> Kernel<T> for ForwardPart<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let geometry = &self.geometry;
        for frame in self.frames {
            // SAFETY: `convolution_forward` has checked the sizes and gives each part frames and scratch of its own.
            unsafe {
                let input = self.input.add(frame * geometry.input.with_border());
                let (full, panels) = (self.full, geometry.panels);
                correlate::<V>(
                    input,
                    geometry.input,
                    self.weight,
                    Some(self.bias),
                    full,
                    panels,
                );
                pool::<V>(geometry, frame, full, self.output, self.winners);
            }
        }
    }
}

struct BackwardPart<T> {
    geometry: Geometry,
    frames: Range<usize>,
    input: *const T,
    d_output: *const T,
    winners: *const Winners,
    /// The turned weights and the gradient of the input.
    d_input: Option<(*const T, Shared<T>)>,
    d_full: *mut T,
    gradients: *mut T,
}

impl<T: Scalar> Kernel<T> for BackwardPart<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let geometry = &self.geometry;
        let from = geometry.input.with_border();
        // SAFETY: `convolution_backward` has checked the sizes and gives each part frames, scratch and gradients of its
        // own.
        unsafe {
            for at in 0..geometry.gradient_blocks() {
                V::splat(T::ZERO).store(self.gradients.add(at * GROUP));
            }
            for frame in self.frames {
                unpool::<V>(geometry, frame, self.d_full, self.d_output, self.winners);
                let input = self.input.add(frame * from);
                correlate_gradient::<V>(geometry, input, self.d_full, self.gradients);
                if let Some((turned, d_input)) = self.d_input {
                    let d_input = d_input.get().add(frame * from);
                    let panels = geometry.input.channels / GROUP;
                    correlate::<V>(self.d_full, geometry.full, turned, None, d_input, panels);
                }
            }
        }
    }
}

/// A convolution of kernel 3×3 inside a border of zeros, a rectifier, and the greatest of each 2×2 window:
/// `output = maxpool(max(0, bias + input ⋆ weight))`.
///
/// Windows are cut off at the right and lower edges; ties go to the first. Each number is one chain, from the bias
/// through kernel rows, kernel columns and channels upwards; frames do not meet.
///
/// # Panics
/// If the shapes do not fit.
pub fn convolution_forward<T: Scalar>(compute: &Compute, args: ConvolutionForward<'_, T>) {
    T::convolution_forward(compute, args)
}

pub(crate) fn convolution_forward_of<T: Scalar>(
    compute: &Compute,
    args: ConvolutionForward<'_, T>,
) {
    let ConvolutionForward {
        input,
        weight,
        bias,
        output,
        winners,
        scratch,
    } = args;
    let geometry = Geometry::new(input.shape, input.frames, weight.panels());
    assert_eq!(weight.depth(), geometry.depth(), "depth");
    assert_eq!(bias.len(), geometry.panels, "bias");
    output.resize(geometry.frames, geometry.output);
    winners.resize(geometry.window(geometry.frames, 0, 0), [0; 4]);
    scratch.pictures.resize(geometry.parts, geometry.full);
    if geometry.frames == 0 {
        return;
    }
    let full = Shared::new(scratch.pictures.values_mut());
    let (to, winners) = (Shared::new(output.values_mut()), Shared::new(winners));
    let picture = geometry.full.with_border();
    compute.split(geometry.parts, 1, |parts| {
        for part in parts {
            compute.isa().run(ForwardPart {
                geometry,
                frames: geometry.part(part),
                input: input.values().as_ptr(),
                weight: weight.blocks().as_ptr().cast::<T>(),
                bias: bias.as_ptr().cast::<T>(),
                // SAFETY: there is a picture for every part.
                full: unsafe { full.get().add(part * picture) },
                output: to.get(),
                winners: winners.get(),
            });
        }
    });
}

/// The backward pass of [`convolution_forward`].
///
/// A gradient of the input is one chain from 0 through kernel rows and columns (of the turned kernel) and output channels
/// upwards. Those of weight and bias: the frames go in parts, by their number and the sizes alone; in a part one chain from
/// 0 through frames, rows and columns upwards; then the parts are added upwards.
///
/// # Panics
/// If the shapes do not fit.
pub fn convolution_backward<T: Scalar>(compute: &Compute, args: ConvolutionBackward<'_, T>) {
    T::convolution_backward(compute, args)
}

pub(crate) fn convolution_backward_of<T: Scalar>(
    compute: &Compute,
    args: ConvolutionBackward<'_, T>,
) {
    let ConvolutionBackward {
        input,
        winners,
        d_output,
        d_input,
        d_weight,
        d_bias,
        scratch,
    } = args;
    let geometry = Geometry::new(input.shape, input.frames, d_weight.panels());
    let Geometry { frames, parts, .. } = geometry;
    assert_eq!(d_weight.depth(), geometry.depth(), "depth");
    assert_eq!(d_bias.len(), geometry.panels, "bias");
    let expected = (frames, geometry.output);
    assert_eq!((d_output.frames, d_output.shape), expected, "d_output");
    assert_eq!(winners.len(), geometry.window(frames, 0, 0), "winners");
    let d_input = d_input.map(|(turned, d_input)| {
        let channels = geometry.input.channels;
        assert!(channels.is_multiple_of(GROUP), "{channels} input channels");
        let expected = (channels / GROUP, 9 * geometry.full.channels);
        assert_eq!((turned.panels(), turned.depth()), expected, "turned");
        d_input.resize(frames, geometry.input);
        let d_input = Shared::new(d_input.values_mut());
        (
            Shared::from_const(turned.blocks().as_ptr().cast::<T>()),
            d_input,
        )
    });
    scratch.pictures.resize(parts, geometry.full);
    let blocks = geometry.gradient_blocks();
    scratch.gradients.resize(parts * blocks, Block::ZERO);
    let d_full = Shared::new(scratch.pictures.values_mut());
    let gradients = Shared::new(&mut scratch.gradients);
    let picture = geometry.full.with_border();
    compute.split(parts, 1, |range| {
        for part in range {
            compute.isa().run(BackwardPart {
                geometry,
                frames: geometry.part(part),
                input: input.values().as_ptr(),
                d_output: d_output.values().as_ptr(),
                winners: winners.as_ptr(),
                d_input: d_input.map(|(turned, d_input)| (turned.get().cast_const(), d_input)),
                // SAFETY: there is a picture for every part.
                d_full: unsafe { d_full.get().add(part * picture) },
                // SAFETY: and as many blocks of gradients.
                gradients: unsafe { gradients.get().add(part * blocks).cast::<T>() },
            });
        }
    });
    add_parts(&scratch.gradients, d_weight.blocks_mut(), d_bias);
}

/// The sums over the parts, upwards; a part holds the weight's blocks, then the bias'.
fn add_parts<T: Scalar>(parts: &[Block<T>], d_weight: &mut [Block<T>], d_bias: &mut [Block<T>]) {
    let count = d_weight.len() + d_bias.len();
    for (at, part) in parts.chunks_exact(count.max(1)).enumerate() {
        let to = d_weight.iter_mut().chain(d_bias.iter_mut());
        for (to, from) in to.zip(part) {
            if at == 0 {
                *to = *from;
            } else {
                for lane in 0..GROUP {
                    to.0[lane] += from.0[lane];
                }
            }
        }
    }
}

/// Pictures as rows, a picture a row: pixels from the top left, channels last.
///
/// # Panics
/// If the channels are no multiple of sixteen.
pub fn flatten<T: Scalar>(frames: &Frames<T>, rows: &mut Panels<T>) {
    let shape = frames.shape;
    assert!(shape.channels.is_multiple_of(GROUP), "{shape:?}");
    rows.resize(frames.frames, shape.numbers());
    let count = frames.frames.max(1);
    for (group, column) in rows.blocks_mut().chunks_exact_mut(count).enumerate() {
        let at = place_of_group(shape, group);
        let from = frames.values()[at..].chunks(shape.with_border());
        for (to, from) in column.iter_mut().zip(from) {
            to.0.copy_from_slice(&from[..GROUP]);
        }
    }
}

/// The inverse of [`flatten`]: `frames` becomes pictures of `shape`.
///
/// # Panics
/// If the rows are not of that size, or the channels no multiple of sixteen.
pub fn unflatten<T: Scalar>(rows: &Panels<T>, shape: FrameShape, frames: &mut Frames<T>) {
    assert!(shape.channels.is_multiple_of(GROUP), "{shape:?}");
    assert_eq!(rows.columns(), shape.numbers(), "{shape:?}");
    frames.resize(rows.rows(), shape);
    let count = rows.rows().max(1);
    for (group, column) in rows.blocks().chunks_exact(count).enumerate() {
        let at = place_of_group(shape, group);
        let to = frames.values_mut()[at..].chunks_mut(shape.with_border());
        for (to, from) in to.zip(column) {
            to[..GROUP].copy_from_slice(&from.0);
        }
    }
}

/// Where sixteen numbers of a flat picture lie in one with a border.
fn place_of_group(shape: FrameShape, group: usize) -> usize {
    let line = shape.width * shape.channels;
    let (y, rest) = (group * GROUP / line, group * GROUP % line);
    shape.inside() + y * shape.row() + rest
}
