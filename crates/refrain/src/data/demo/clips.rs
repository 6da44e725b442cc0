//! Generated clips.

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::{below, pick};
use crate::data::arrays::{Arrays, Parts, Values};

/// The name under which the generated clips are reported.
pub const CLIPS_NAME: &str = "built-in: generated clips of moving shapes, an action for each frame";

/// The labels of [`clips`]: what the shape has done since the frame before.
pub const ACTIONS: [&str; 7] = ["still", "left", "right", "up", "down", "grows", "shrinks"];

const COUNT: usize = 600;
const FRAMES: usize = 24;
const SIDE: usize = 16;
const SEED: u64 = 0x636C_6970_7331;
/// An action lasts this many frames, at least and at most.
const LASTS: (usize, usize) = (2, 5);
/// How often each action is chosen where it has room; to grow seldom has.
const WEIGHTS: [usize; ACTIONS.len()] = [2, 3, 3, 3, 3, 12, 6];
/// From the middle of a shape to its edge.
const RADII: (usize, usize) = (1, 5);
const NOISE: usize = 32;

/// Six hundred grey clips of 24 frames of 16 x 16 pixels, in which a square, a disc or a diamond moves or changes.
///
/// They are **generated** with a fixed seed. A frame's label is the action since the frame before, a number in
/// [`ACTIONS`]; the first frame of a clip has none (-1). Where a shape stands and how large it is hardly tells what it
/// does: of one frame alone, little more than the walls can be used. Background, brightness and noise differ.
///
/// # Shapes
///
/// (24, 16, 16, 1), bytes.
///
/// # Examples
///
/// ```
/// let clips = refrain::data::demo::clips();
/// assert_eq!((clips.count, &clips.shape[..]), (600, &[24, 16, 16, 1][..]));
/// assert_eq!(clips.label_names, ["still", "left", "right", "up", "down", "grows", "shrinks"]);
/// ```
#[must_use]
pub fn clips() -> Arrays {
    let mut rng = ChaCha12Rng::seed_from_u64(SEED);
    let mut pixels = Vec::with_capacity(COUNT * FRAMES * SIDE * SIDE);
    let mut labels = Vec::with_capacity(COUNT * FRAMES);
    for _ in 0..COUNT {
        clip(&mut rng, &mut pixels, &mut labels);
    }
    let parts = Parts {
        shape: vec![COUNT, FRAMES, SIDE, SIDE, 1],
        values: Values::U8(pixels),
        lengths: None,
        labels: Some((vec![COUNT, FRAMES], labels)),
        targets: None,
        label_names: ACTIONS.map(Into::into).to_vec(),
        notes: Vec::new(),
    };
    parts
        .check(CLIPS_NAME)
        .unwrap_or_else(|error| panic!("generated clips do not fit: {error}"))
}

#[derive(Clone, Copy)]
enum Form {
    Square,
    Disc,
    Diamond,
}

/// A shape, wholly in view.
#[derive(Clone, Copy)]
struct Shape {
    form: Form,
    x: usize,
    y: usize,
    radius: usize,
}

impl Shape {
    /// For how many frames the shape can go on with an action.
    fn room(&self, action: usize) -> usize {
        let Self { x, y, radius, .. } = *self;
        let (left, up) = (x - radius, y - radius);
        let (right, down) = (SIDE - 1 - x - radius, SIDE - 1 - y - radius);
        match action {
            0 => LASTS.1,
            1 => left,
            2 => right,
            3 => up,
            4 => down,
            5 => (RADII.1 - radius).min(left).min(right).min(up).min(down),
            _ => radius - RADII.0,
        }
    }

    fn act(&mut self, action: usize) {
        match action {
            0 => {}
            1 => self.x -= 1,
            2 => self.x += 1,
            3 => self.y -= 1,
            4 => self.y += 1,
            5 => self.radius += 1,
            _ => self.radius -= 1,
        }
    }

    fn covers(&self, x: usize, y: usize) -> bool {
        let (dx, dy) = (self.x.abs_diff(x), self.y.abs_diff(y));
        match self.form {
            Form::Square => dx.max(dy) <= self.radius,
            Form::Disc => dx * dx + dy * dy <= self.radius * self.radius,
            Form::Diamond => dx + dy <= self.radius,
        }
    }
}

fn clip(rng: &mut ChaCha12Rng, pixels: &mut Vec<u8>, labels: &mut Vec<i64>) {
    let radius = RADII.0 + below(rng, RADII.1 - RADII.0 + 1);
    let mut place = || radius + below(rng, SIDE - 2 * radius);
    let (x, y) = (place(), place());
    let form = pick(rng, &[Form::Square, Form::Disc, Form::Diamond]);
    let mut shape = Shape { form, x, y, radius };
    let (ground, brightness) = (below(rng, 40), 120 + below(rng, 255 - NOISE - 120));
    let (mut action, mut left) = (ACTIONS.len(), 0);
    for frame in 0..FRAMES {
        if frame == 0 {
            labels.push(-1);
        } else {
            if left == 0 {
                action = next_action(rng, &shape, action);
                left = LASTS.0 + below(rng, shape.room(action).min(LASTS.1) - LASTS.0 + 1);
            }
            shape.act(action);
            left -= 1;
            labels.push(action as i64);
        }
        for y in 0..SIDE {
            for x in 0..SIDE {
                let colour = if shape.covers(x, y) {
                    brightness
                } else {
                    ground
                };
                pixels.push((colour + below(rng, NOISE)) as u8);
            }
        }
    }
}

/// Another action than the last, one that has room.
fn next_action(rng: &mut ChaCha12Rng, shape: &Shape, last: usize) -> usize {
    let possible = (0..ACTIONS.len()).filter(|&next| next != last && shape.room(next) >= LASTS.0);
    let chances: Vec<usize> = possible
        .flat_map(|next| std::iter::repeat_n(next, WEIGHTS[next]))
        .collect();
    // To stand still always has room.
    if chances.is_empty() {
        0
    } else {
        pick(rng, &chances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(clips: &Arrays) -> (&[u8], &[i64]) {
        let Values::U8(pixels) = &clips.values else {
            panic!("not bytes");
        };
        (pixels, clips.labels.as_ref().unwrap().all())
    }

    /// Pixels of the shape, and the sums of their places.
    fn seen(frame: &[u8]) -> (i64, i64, i64) {
        let shape = frame.iter().enumerate().filter(|&(_, &pixel)| pixel >= 100);
        shape.fold((0, 0, 0), |(n, x, y), (at, _)| {
            (n + 1, x + (at % SIDE) as i64, y + (at / SIDE) as i64)
        })
    }

    #[test]
    fn two_frames_tell_the_action() {
        let clips = clips();
        let (pixels, labels) = parts(&clips);
        let frames: Vec<_> = pixels.chunks_exact(SIDE * SIDE).map(seen).collect();
        let mut counts = [0usize; ACTIONS.len()];
        for (at, &label) in labels.iter().enumerate() {
            if at % FRAMES == 0 {
                assert_eq!(label, -1);
                continue;
            }
            let ((n, x, y), (m, u, v)) = (frames[at - 1], frames[at]);
            let action = match (m - n, u - x, v - y) {
                (0, 0, 0) => 0,
                (0, dx, 0) => {
                    if dx < 0 {
                        1
                    } else {
                        2
                    }
                }
                (0, 0, dy) => {
                    if dy < 0 {
                        3
                    } else {
                        4
                    }
                }
                (grown, ..) => {
                    if grown > 0 {
                        5
                    } else {
                        6
                    }
                }
            };
            assert_eq!(label, action, "frame {at}");
            counts[action as usize] += 1;
        }
        let all = COUNT * (FRAMES - 1);
        assert_eq!(counts.iter().sum::<usize>(), all);
        for (action, count) in ACTIONS.iter().zip(counts) {
            assert!(
                count * 100 > all * 8 && count * 100 < all * 20,
                "{action}: {count} of {all}"
            );
        }
    }

    #[test]
    fn one_frame_does_not_tell_the_action() {
        let clips = clips();
        let (pixels, labels) = parts(&clips);
        // The most frequent action for what one frame shows: the size of the shape and its place.
        let key = |(n, x, y): (i64, i64, i64)| (n, x / n, y / n);
        let mut counts = std::collections::BTreeMap::new();
        let mut all = 0;
        for (frame, &label) in pixels.chunks_exact(SIDE * SIDE).zip(labels) {
            if label >= 0 {
                counts
                    .entry(key(seen(frame)))
                    .or_insert([0usize; ACTIONS.len()])[label as usize] += 1;
                all += 1;
            }
        }
        // On the very frames that were counted, which flatters it.
        let right: usize = counts
            .values()
            .filter_map(|counts| counts.iter().max())
            .sum();
        assert!(right * 100 < all * 60, "{right} of {all}");
    }

    #[test]
    fn the_clips_never_change() {
        assert_eq!(&clips().sha256[..16], "99d86b2e4fc4fd2d");
    }
}
