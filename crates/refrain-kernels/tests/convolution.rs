//! Convolutions equal their definition bit for bit, written here as plain loops, whatever the sizes, the instruction set
//! and the threads.

use proptest::prelude::*;
use refrain_kernels::{
    Block, Compute, ConvolutionBackward, ConvolutionForward, ConvolutionScratch, FrameShape,
    Frames, GROUP, GateOrder, Isa, Packed, Panels, Scalar, convolution_backward,
    convolution_forward, flatten, unflatten,
};

/// Numbers without pattern, in -1..1, many of them equal, so that windows have ties.
fn numbers<T: Scalar>(count: usize, seed: u32) -> Vec<T> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let coarse = state >> 30 == 0;
            let number = f64::from(state >> 8) / 8_388_608.0 - 1.0;
            T::from_f64(if coarse { 0.5 } else { number })
        })
        .collect()
}

fn computes() -> Vec<Compute> {
    let several = [2, 3].map(|threads| Compute::new(Isa::detect(), threads));
    let alone = Isa::available().into_iter().map(Compute::single);
    alone.chain(several).collect()
}

fn frames<T: Scalar>(count: usize, shape: FrameShape, seed: u32) -> Frames<T> {
    let mut frames = Frames::default();
    frames.resize(count, shape);
    frames.copy_from_rows(&numbers(count * shape.numbers(), seed));
    frames
}

fn all<T: Scalar>(frames: &Frames<T>) -> Vec<T> {
    (0..frames.frames())
        .flat_map(|frame| frames.to_rows(frame))
        .collect()
}

/// A convolution by its definition: frames without borders, kernel `[out][row][column][in]`.
struct Plain<T> {
    count: usize,
    input: FrameShape,
    outputs: usize,
    x: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
}

impl<T: Scalar> Plain<T> {
    fn x(&self, frame: usize, y: usize, x: usize, channel: usize) -> T {
        let FrameShape {
            height,
            width,
            channels,
        } = self.input;
        // `y` and `x` count from the border.
        if y == 0 || x == 0 || y > height || x > width {
            return T::ZERO;
        }
        self.x[((frame * height + y - 1) * width + x - 1) * channels + channel]
    }

    fn tap(&self, out: usize, row: usize, column: usize, channel: usize) -> usize {
        ((out * 3 + row) * 3 + column) * self.input.channels + channel
    }

    /// Before rectifier and max-pool.
    fn full(&self, frame: usize, y: usize, x: usize, out: usize) -> T {
        let mut sum = self.bias[out];
        for row in 0..3 {
            for column in 0..3 {
                for channel in 0..self.input.channels {
                    let weight = self.weight[self.tap(out, row, column, channel)];
                    sum = self
                        .x(frame, y + row, x + column, channel)
                        .mul_add(weight, sum);
                }
            }
        }
        sum
    }

    /// The output, and where each of its numbers stands in the full one.
    fn forward(&self) -> (Vec<T>, Vec<usize>) {
        let FrameShape { height, width, .. } = self.input;
        let (mut output, mut places) = (Vec::new(), Vec::new());
        for frame in 0..self.count {
            for (y, x) in positions(height.div_ceil(2), width.div_ceil(2)) {
                for out in 0..self.outputs {
                    let mut best: Option<(T, usize)> = None;
                    for (row, column) in positions(2, 2) {
                        let (y, x) = (2 * y + row, 2 * x + column);
                        if y < height && x < width {
                            let value = self.full(frame, y, x, out);
                            let place = ((frame * height + y) * width + x) * self.outputs + out;
                            if best.is_none_or(|(best, _)| value > best) {
                                best = Some((value, place));
                            }
                        }
                    }
                    let (value, place) = best.expect("a window has a pixel");
                    output.push(if value < T::ZERO { T::ZERO } else { value });
                    places.push(place);
                }
            }
        }
        (output, places)
    }

    fn d_full(&self, output: &[T], places: &[usize], d_output: &[T]) -> Vec<T> {
        let pixels = self.count * self.input.height * self.input.width;
        let mut d_full = vec![T::ZERO; pixels * self.outputs];
        for ((&value, &place), &d) in output.iter().zip(places).zip(d_output) {
            if value > T::ZERO {
                d_full[place] = d;
            }
        }
        d_full
    }

    /// Gradients of weight and bias: by parts of the frames, then the parts.
    fn d_weight(&self, d_full: &[T]) -> (Vec<T>, Vec<T>) {
        let FrameShape {
            height,
            width,
            channels,
        } = self.input;
        let parts = self.count.div_ceil(8).clamp(1, 64);
        let mut total: Option<(Vec<T>, Vec<T>)> = None;
        for part in 0..parts {
            let mut d_weight = vec![T::ZERO; self.weight.len()];
            let mut d_bias = vec![T::ZERO; self.outputs];
            for frame in part * self.count / parts..(part + 1) * self.count / parts {
                for (y, x) in positions(height, width) {
                    for out in 0..self.outputs {
                        let d = d_full[((frame * height + y) * width + x) * self.outputs + out];
                        d_bias[out] += d;
                        for (row, column) in positions(3, 3) {
                            for channel in 0..channels {
                                let to = self.tap(out, row, column, channel);
                                let input = self.x(frame, y + row, x + column, channel);
                                d_weight[to] = input.mul_add(d, d_weight[to]);
                            }
                        }
                    }
                }
            }
            total = Some(match total {
                None => (d_weight, d_bias),
                Some((weight, bias)) => (add(weight, &d_weight), add(bias, &d_bias)),
            });
        }
        total.expect("there is a part")
    }

    fn d_input(&self, d_full: &[T]) -> Vec<T> {
        let FrameShape {
            height,
            width,
            channels,
        } = self.input;
        let mut d_input = Vec::new();
        for frame in 0..self.count {
            for (y, x) in positions(height, width) {
                for channel in 0..channels {
                    let mut sum = T::ZERO;
                    for (row, column) in positions(3, 3) {
                        // Pixel (y, x) of the input is under place (2 - row, 2 - column) of the kernel at this pixel.
                        let (y, x) = (y + row, x + column);
                        for out in 0..self.outputs {
                            let inside = y > 0 && x > 0 && y <= height && x <= width;
                            let d = if inside {
                                let pixel = (frame * height + y - 1) * width + x - 1;
                                d_full[pixel * self.outputs + out]
                            } else {
                                T::ZERO
                            };
                            let weight = self.weight[self.tap(out, 2 - row, 2 - column, channel)];
                            sum = d.mul_add(weight, sum);
                        }
                    }
                    d_input.push(sum);
                }
            }
        }
        d_input
    }
}

fn add<T: Scalar>(mut a: Vec<T>, b: &[T]) -> Vec<T> {
    for (a, &b) in a.iter_mut().zip(b) {
        *a += b;
    }
    a
}

fn positions(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
}

fn check<T: Scalar>(count: usize, input: FrameShape, panels: usize, seed: u32) {
    let outputs = panels * GROUP;
    let depth = 9 * input.channels;
    let plain = Plain::<T> {
        count,
        input,
        outputs,
        x: numbers(count * input.numbers(), seed),
        weight: numbers(outputs * depth, seed + 1),
        bias: numbers(outputs, seed + 2),
    };
    let (y, places) = plain.forward();
    let d_y = numbers::<T>(y.len(), seed + 3);
    let d_full = plain.d_full(&y, &places, &d_y);
    let (d_weight, d_bias) = plain.d_weight(&d_full);
    let d_input = plain.d_input(&d_full);

    let x = frames::<T>(count, input, seed);
    let (mut weight, mut turned) = (Packed::default(), Packed::default());
    weight.pack(&plain.weight, GateOrder::plain(outputs), depth);
    let mut bias = vec![Block::ZERO; panels];
    for (block, part) in bias.iter_mut().zip(plain.bias.chunks_exact(GROUP)) {
        block.0.copy_from_slice(part);
    }
    let with_input = input.channels.is_multiple_of(GROUP);
    let mut flipped = Vec::new();
    for channel in 0..input.channels {
        for (row, column) in positions(3, 3) {
            let taps = (0..outputs).map(|out| plain.tap(out, 2 - row, 2 - column, channel));
            flipped.extend(taps.map(|at| plain.weight[at]));
        }
    }
    turned.pack(&flipped, GateOrder::plain(input.channels), 9 * outputs);

    for compute in computes() {
        // Twice in the same space, the first time with another size.
        let mut scratch = ConvolutionScratch::default();
        let (mut output, mut winners) = (Frames::default(), Vec::new());
        let mut d_x = frames::<T>(3, input, seed);
        for x in [&frames::<T>(count + 1, input, 9), &x] {
            convolution_forward(
                &compute,
                ConvolutionForward {
                    input: x,
                    weight: &weight,
                    bias: &bias,
                    output: &mut output,
                    winners: &mut winners,
                    scratch: &mut scratch,
                },
            );
        }
        assert_eq!(all(&output), y, "{compute:?}");
        let mut d_output = Frames::default();
        d_output.resize(count, output.shape());
        d_output.copy_from_rows(&d_y);
        let mut d_packed = Packed::default();
        d_packed.reset(panels, depth);
        let mut d_blocks = vec![Block([T::ONE; GROUP]); panels];
        convolution_backward(
            &compute,
            ConvolutionBackward {
                input: &x,
                winners: &winners,
                d_output: &d_output,
                d_input: with_input.then_some((&turned, &mut d_x)),
                d_weight: &mut d_packed,
                d_bias: &mut d_blocks,
                scratch: &mut scratch,
            },
        );
        let mut found = vec![T::ZERO; d_weight.len()];
        d_packed.unpack(&mut found, GateOrder::plain(outputs));
        assert_eq!(found, d_weight, "{compute:?}");
        let found: Vec<T> = d_blocks.iter().flat_map(|block| block.0).collect();
        assert_eq!(found, d_bias, "{compute:?}");
        if with_input {
            assert_eq!(all(&d_x), d_input, "{compute:?}");
        }
    }
}

fn shape(height: usize, width: usize, channels: usize) -> FrameShape {
    FrameShape {
        height,
        width,
        channels,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn convolutions_equal_plain_loops(
        count in 1usize..20,
        height in 1usize..8,
        width in 1usize..9,
        channels in prop::sample::select(vec![1usize, 2, 3, 16, 32]),
        panels in 1usize..3,
        seed in any::<u16>(),
    ) {
        let shape = shape(height, width, channels);
        check::<f32>(count, shape, panels, u32::from(seed));
        check::<f64>(count, shape, panels, u32::from(seed));
    }
}

#[test]
fn deep_and_wide_convolutions_equal_plain_loops() {
    // A chain longer than a block of the depth; more frames than parts have at least; a wide picture.
    check::<f32>(2, shape(4, 5, 64), 4, 1);
    check::<f32>(70, shape(2, 3, 1), 1, 2);
    check::<f32>(1, shape(1, 40, 1), 1, 3);
}

#[test]
fn no_frames_are_no_work() {
    check_empty(&Compute::new(Isa::detect(), 2));
}

fn check_empty(compute: &Compute) {
    let mut weight = Packed::<f32>::default();
    weight.pack(&[1.0; 16 * 9], GateOrder::plain(16), 9);
    let mut scratch = ConvolutionScratch::default();
    let (mut output, mut winners) = (Frames::default(), Vec::new());
    let input = frames(0, shape(4, 4, 1), 1);
    convolution_forward(
        compute,
        ConvolutionForward {
            input: &input,
            weight: &weight,
            bias: &[Block::ZERO],
            output: &mut output,
            winners: &mut winners,
            scratch: &mut scratch,
        },
    );
    assert_eq!((output.frames(), output.shape()), (0, shape(2, 2, 16)));
    let mut d_weight = weight.clone();
    let mut d_bias = [Block([1.0; GROUP])];
    convolution_backward(
        compute,
        ConvolutionBackward {
            input: &input,
            winners: &winners,
            d_output: &output,
            d_input: None,
            d_weight: &mut d_weight,
            d_bias: &mut d_bias,
            scratch: &mut scratch,
        },
    );
    assert!(d_weight.blocks().iter().all(|block| *block == Block::ZERO));
    assert_eq!(d_bias, [Block::ZERO]);
}

#[test]
fn what_is_not_a_number_stays_so() {
    // Each of these pixels is under the kernel at one place of the window in the middle, the first to the last.
    for (y, x) in [(1, 1), (1, 4), (4, 1), (4, 4)] {
        let mut input = Frames::<f32>::default();
        input.resize(1, shape(6, 6, 1));
        let mut values = [1.0; 36];
        values[y * 6 + x] = f32::NAN;
        input.copy_from_rows(&values);
        let mut weight = Packed::default();
        weight.pack(&[1.0; 16 * 9], GateOrder::plain(16), 9);
        let (mut output, mut winners) = (Frames::default(), Vec::new());
        convolution_forward(
            &Compute::single(Isa::detect()),
            ConvolutionForward {
                input: &input,
                weight: &weight,
                bias: &[Block::ZERO],
                output: &mut output,
                winners: &mut winners,
                scratch: &mut ConvolutionScratch::default(),
            },
        );
        let middle = &output.to_rows(0)[4 * GROUP..][..GROUP];
        assert!(middle.iter().all(|x| x.is_nan()), "{y} {x}");
    }
}

#[test]
fn frames_become_rows_and_back() {
    let shape = shape(3, 2, 32);
    let pictures = frames::<f32>(4, shape, 5);
    let mut rows = Panels::default();
    flatten(&pictures, &mut rows);
    assert_eq!((rows.rows(), rows.columns()), (4, 3 * 2 * 32));
    assert_eq!(rows.to_rows(0, 4), all(&pictures));
    let mut back = Frames::default();
    unflatten(&rows, shape, &mut back);
    assert_eq!(back, pictures);
}

#[test]
fn a_reused_buffer_has_a_border_of_zeros() {
    let mut reused = frames::<f32>(5, shape(3, 3, 1), 1);
    for (count, size) in [
        (2, shape(3, 3, 1)),
        (7, shape(3, 3, 1)),
        (3, shape(2, 5, 3)),
    ] {
        reused.resize(count, size);
        reused.copy_from_rows(&numbers(count * size.numbers(), 4));
        assert_eq!(reused, frames(count, size, 4));
    }
}
