//! Pictures as they might also have been drawn.

use rand::RngExt;

use crate::models::{BatchInputs, InputShape, SequenceBatch};

/// The farthest that a picture is moved, as a share of its height and width.
const SHIFT: f32 = 0.06;
/// How much larger or smaller it becomes at most.
const ZOOM: f32 = 0.1;

/// Moves and zooms each sequence of pictures of a batch by chance, all pictures of a sequence alike: what is shown stays the
/// same. What comes in from beyond the edge is the nearest pixel. Batches of anything else stay as they are.
///
/// Colours stay: they are often what is to be told.
pub fn augment_pictures(
    batch: &mut SequenceBatch<f32>,
    shape: &InputShape,
    rng: &mut impl rand::Rng,
) {
    let (
        BatchInputs::Frames(frames),
        &InputShape::Frames {
            height,
            width,
            channels,
        },
    ) = (&mut batch.inputs, shape)
    else {
        return;
    };
    let size = height * width * channels;
    let mut varied = vec![0.0; size];
    let offsets = batch.steps.offsets();
    for place in 0..batch.steps.batch() {
        let variation = Variation::draw(rng);
        for (&start, &end) in offsets.iter().zip(&offsets[1..]) {
            if start + place < end {
                let frame = &mut frames[(start + place) * size..][..size];
                variation.apply(frame, (height, width, channels), &mut varied);
                frame.copy_from_slice(&varied);
            }
        }
    }
}

struct Variation {
    /// Where a picture goes, as a share of its height and width.
    shift: [f32; 2],
    zoom: f32,
}

impl Variation {
    fn draw(rng: &mut impl rand::Rng) -> Self {
        let mut around = |most: f32| most * (2.0 * rng.random::<f32>() - 1.0);
        Self {
            shift: [around(SHIFT), around(SHIFT)],
            zoom: 1.0 + around(ZOOM),
        }
    }

    /// Reads each pixel from where it comes from, between the four pixels around that place.
    fn apply(
        &self,
        from: &[f32],
        (height, width, channels): (usize, usize, usize),
        to: &mut [f32],
    ) {
        let [down, right] = self.shift;
        let places = |length: usize, shift: f32| -> Vec<(usize, usize, f32)> {
            let (last, middle) = (length - 1, (length as f32 - 1.0) / 2.0);
            (0..length)
                .map(|at| {
                    let from = (at as f32 - middle) / self.zoom + middle - shift * length as f32;
                    let from = from.clamp(0.0, last as f32);
                    let low = from as usize;
                    (low, (low + 1).min(last), from - low as f32)
                })
                .collect()
        };
        let (rows, columns) = (places(height, down), places(width, right));
        let mut pixels = to.chunks_exact_mut(channels);
        for &(top, bottom, below) in &rows {
            for &(left, right, beside) in &columns {
                let Some(pixel) = pixels.next() else { return };
                let at = |row: usize, column: usize| &from[(row * width + column) * channels..];
                let corners = [
                    at(top, left),
                    at(top, right),
                    at(bottom, left),
                    at(bottom, right),
                ];
                for (channel, to) in pixel.iter_mut().enumerate() {
                    let [a, b, c, d] = corners.map(|corner| corner[channel]);
                    let (above, under) = (a + (b - a) * beside, c + (d - c) * beside);
                    *to = above + (under - above) * below;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use super::*;
    use crate::nn::Steps;

    const SIZE: (usize, usize, usize) = (5, 4, 2);

    fn variation() -> Variation {
        Variation {
            shift: [0.0; 2],
            zoom: 1.0,
        }
    }

    fn applied(variation: &Variation, from: &[f32]) -> Vec<f32> {
        let mut to = vec![f32::NAN; from.len()];
        variation.apply(from, SIZE, &mut to);
        to
    }

    /// The number of a pixel's place, for each channel another hundred.
    fn picture() -> Vec<f32> {
        let (height, width, channels) = SIZE;
        let pixels = (0..height * width).flat_map(|at| (0..channels).map(move |c| (at, c)));
        pixels.map(|(at, c)| (100 * c + at) as f32).collect()
    }

    #[test]
    fn without_any_change_a_picture_stays_as_it_is() {
        assert_eq!(applied(&variation(), &picture()), picture());
    }

    #[test]
    fn a_shift_moves_rows_down_and_columns_right_and_repeats_the_edge() {
        let down = Variation {
            shift: [0.2, 0.0],
            ..variation()
        };
        let (moved, row) = (applied(&down, &picture()), SIZE.1 * SIZE.2);
        assert_eq!(moved[..row], picture()[..row]);
        for (moved, from) in moved[row..].iter().zip(picture()) {
            assert!((moved - from).abs() < 1e-4, "{moved} {from}");
        }
        let right = Variation {
            shift: [0.0, 0.25],
            ..variation()
        };
        let first: Vec<f32> = applied(&right, &picture())[..row].to_vec();
        assert_eq!(first, [0.0, 100.0, 0.0, 100.0, 1.0, 101.0, 2.0, 102.0]);
    }

    #[test]
    fn a_zoom_keeps_the_middle_and_shows_less_around_it() {
        let twice = Variation {
            zoom: 2.0,
            ..variation()
        };
        let zoomed = applied(&twice, &picture());
        // Columns 0 and 3 show what lies 0.75 to the left and right of the middle, 1.5.
        let middle_row = &zoomed[2 * SIZE.1 * SIZE.2..][..SIZE.1 * SIZE.2];
        assert_eq!([middle_row[0], middle_row[6]], [8.75, 10.25]);
    }

    #[test]
    fn the_frames_of_a_clip_are_varied_alike_and_clips_differently() {
        let (height, width, channels) = SIZE;
        let shape = InputShape::Frames {
            height,
            width,
            channels,
        };
        let frames = picture().repeat(5);
        let mut batch = SequenceBatch {
            steps: Steps::of_lengths(&[3, 2]),
            inputs: BatchInputs::Frames(frames.clone()),
        };
        augment_pictures(&mut batch, &shape, &mut ChaCha12Rng::seed_from_u64(1));
        let BatchInputs::Frames(varied) = &batch.inputs else {
            panic!("no frames")
        };
        let frame = |row: usize| &varied[row * picture().len()..][..picture().len()];
        // Rows over time: both clips at two steps, then the longer one alone.
        assert_eq!((frame(0), frame(1)), (frame(2), frame(3)));
        assert_eq!(frame(0), frame(4));
        assert_ne!(frame(0), frame(1));
        assert_ne!(frame(0), &*picture());
    }
}
