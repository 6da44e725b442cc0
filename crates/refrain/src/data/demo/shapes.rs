//! Generated pictures and their descriptions.

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::{below, pick};
use crate::data::Captioned;
use crate::data::arrays::{Arrays, Parts, Values};

/// The name under which the generated pictures are reported.
pub const SHAPES_NAME: &str = "built-in: generated pictures of shapes and their descriptions";
/// The name under which those of the held-out combinations are.
pub const UNSEEN_SHAPES_NAME: &str =
    "built-in: generated pictures with shapes of a colour that they have nowhere else";

const COUNT: usize = 2400;
const UNSEEN: usize = 240;
const SIDE: usize = 16;
const SEED: u64 = 0x0073_6861_7065_7331;
const NOISE: usize = 24;

const SIZES: [&str; 2] = ["small", "big"];
/// From the middle of a shape to its edge, by size.
const RADII: [usize; 2] = [2, 3];
const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 40, 40]),
    ("green", [40, 200, 60]),
    ("blue", [50, 80, 230]),
    ("yellow", [225, 215, 50]),
];
const FORMS: [&str; 3] = ["circle", "square", "triangle"];
/// Pairs of colour and form that are held out.
const HELD_OUT: [(usize, usize); 2] = [(3, 0), (2, 2)];

/// Pictures with their descriptions, and those of combinations that were held out.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// All pictures, (N, 1, 16, 16, 3), bytes.
    pub pictures: Arrays,
    /// What they show.
    pub captions: Vec<Captioned>,
    /// What those show that have a held-out combination.
    pub unseen: Vec<Captioned>,
}

/// Generated pictures of one or two shapes on a dark ground: 2,400, and 240 with combinations that the others have not.
///
/// They are **generated** with a fixed seed. A shape is small or big, red, green, blue or yellow, a circle, a square or a
/// triangle: "a small red circle". A third of the pictures show one, the others two, of which one is above the other or to its
/// left. Of two there are two descriptions, one from each: "a small red circle above a big blue square" and "a big blue square
/// below a small red circle". Place, brightness and noise differ.
///
/// No yellow circle and no blue triangle is in the first part; each picture of the second has one. To describe them a model
/// must have learnt colour and form apart.
///
/// # Examples
///
/// ```
/// let shapes = refrain::data::demo::shapes();
/// assert_eq!((shapes.captions.len(), shapes.unseen.len()), (2400, 240));
/// assert_eq!((shapes.pictures.count, &shapes.pictures.shape[..]), (2640, &[1, 16, 16, 3][..]));
/// ```
#[must_use]
pub fn shapes() -> Shapes {
    let mut rng = ChaCha12Rng::seed_from_u64(SEED);
    let mut pixels = Vec::with_capacity((COUNT + UNSEEN) * SIDE * SIDE * 3);
    let mut all = Vec::with_capacity(COUNT + UNSEEN);
    while all.len() < COUNT + UNSEEN {
        let scene = Scene::draw(&mut rng);
        if scene.is_unseen() == (all.len() >= COUNT) {
            scene.render(&mut rng, &mut pixels);
            all.push(Captioned {
                picture: all.len(),
                sentences: scene.descriptions(),
                line: all.len() as u64 + 1,
            });
        }
    }
    let unseen = all.split_off(COUNT);
    let parts = Parts {
        shape: vec![COUNT + UNSEEN, 1, SIDE, SIDE, 3],
        values: Values::U8(pixels),
        lengths: None,
        labels: None,
        targets: None,
        label_names: Vec::new(),
        notes: Vec::new(),
    };
    let pictures = parts
        .check(SHAPES_NAME)
        .unwrap_or_else(|error| panic!("generated pictures do not fit: {error}"));
    Shapes {
        pictures,
        captions: all,
        unseen,
    }
}

/// What a shape looks like, by its places in the lists above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    size: usize,
    colour: usize,
    form: usize,
}

impl Shape {
    fn draw(rng: &mut ChaCha12Rng) -> Self {
        Self {
            size: below(rng, SIZES.len()),
            colour: below(rng, COLOURS.len()),
            form: below(rng, FORMS.len()),
        }
    }

    fn name(self) -> String {
        let (size, (colour, _), form) = (SIZES[self.size], COLOURS[self.colour], FORMS[self.form]);
        format!("a {size} {colour} {form}")
    }

    /// Whether it is in the pixel that is so far to the right of and below its middle.
    fn covers(self, dx: isize, dy: isize) -> bool {
        let radius = RADII[self.size] as isize;
        if dx.abs() > radius || dy.abs() > radius {
            return false;
        }
        match self.form {
            0 => dx * dx + dy * dy <= radius * radius,
            1 => true,
            _ => dx.abs() * 2 <= dy + radius,
        }
    }
}

/// One shape, or two of which the first is above or to the left of the second; with the places of their middles.
struct Scene {
    shapes: Vec<(Shape, [usize; 2])>,
    /// Whether the second is below the first, not to its right.
    below: bool,
}

impl Scene {
    fn draw(rng: &mut ChaCha12Rng) -> Self {
        let within = |rng: &mut ChaCha12Rng, from: usize, size: usize, shape: Shape| {
            let radius = RADII[shape.size];
            from + radius + below(rng, size - 2 * radius)
        };
        let first = Shape::draw(rng);
        if below(rng, 3) == 0 {
            let place = [within(rng, 0, SIDE, first), within(rng, 0, SIDE, first)];
            return Self {
                shapes: vec![(first, place)],
                below: false,
            };
        }
        let mut second = Shape::draw(rng);
        while second == first {
            second = Shape::draw(rng);
        }
        let is_below = pick(rng, &[true, false]);
        let mut place = |shape: Shape, from: usize| {
            // Each has a half of the picture along one axis, and along the other the middle of it, so that they stand one
            // above the other or side by side.
            let along = within(rng, from, SIDE / 2, shape);
            let across = within(rng, SIDE / 4, SIDE / 2, shape);
            if is_below {
                [across, along]
            } else {
                [along, across]
            }
        };
        let places = [place(first, 0), place(second, SIDE / 2)];
        Self {
            shapes: vec![(first, places[0]), (second, places[1])],
            below: is_below,
        }
    }

    fn is_unseen(&self) -> bool {
        let held_out = |(shape, _): &(Shape, _)| HELD_OUT.contains(&(shape.colour, shape.form));
        self.shapes.iter().any(held_out)
    }

    fn descriptions(&self) -> Vec<String> {
        let names: Vec<String> = self.shapes.iter().map(|(shape, _)| shape.name()).collect();
        let (to, back) = if self.below {
            ("above", "below")
        } else {
            ("left of", "right of")
        };
        match &names[..] {
            [first, second] => vec![
                format!("{first} {to} {second}"),
                format!("{second} {back} {first}"),
            ],
            _ => names,
        }
    }

    fn render(&self, rng: &mut ChaCha12Rng, pixels: &mut Vec<u8>) {
        // In sixteenths, so that no two pictures are equally bright.
        let brightness = 12 + below(rng, 5);
        let ground = below(rng, 20);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let covering = self.shapes.iter().find(|(shape, [left, top])| {
                    shape.covers(x as isize - *left as isize, y as isize - *top as isize)
                });
                for channel in 0..3 {
                    let value = match covering {
                        Some((shape, _)) => {
                            usize::from(COLOURS[shape.colour].1[channel]) * brightness / 16
                        }
                        None => ground,
                    };
                    pixels.push((value + below(rng, NOISE)) as u8);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a description says of each shape that it names.
    fn said(sentence: &str) -> Vec<(String, String, String)> {
        let words: Vec<&str> = sentence.split(' ').collect();
        let after_a = words.iter().enumerate().filter(|(_, word)| **word == "a");
        after_a
            .map(|(at, _)| {
                let word = |next: usize| words[at + next].to_owned();
                (word(1), word(2), word(3))
            })
            .collect()
    }

    fn frame(shapes: &Shapes, picture: usize) -> &[u8] {
        let Values::U8(pixels) = &shapes.pictures.values else {
            panic!("not bytes");
        };
        &pixels[picture * SIDE * SIDE * 3..][..SIDE * SIDE * 3]
    }

    /// The places of the pixels of a colour.
    fn seen(frame: &[u8], colour: &str) -> Vec<(usize, usize)> {
        let (pixels, _) = frame.as_chunks::<3>();
        let places = pixels.iter().enumerate().filter(|(_, [r, g, b])| {
            let high = [*r > 120, *g > 120, *b > 120];
            let found = match high {
                [true, false, false] => "red",
                [false, true, false] => "green",
                [false, false, true] => "blue",
                [true, true, false] => "yellow",
                _ => "",
            };
            found == colour
        });
        places.map(|(at, _)| (at % SIDE, at / SIDE)).collect()
    }

    #[test]
    fn pictures_show_what_is_said() {
        let shapes = shapes();
        for of in shapes.captions.iter().chain(&shapes.unseen) {
            let frame = frame(&shapes, of.picture);
            for sentence in &of.sentences {
                let named = said(sentence);
                let places: Vec<_> = named.iter().map(|(_, c, _)| seen(frame, c)).collect();
                assert!(places.iter().all(|p| p.len() >= 13), "{sentence}");
                let [a, b] = &places[..] else { continue };
                if named[0].1 == named[1].1 {
                    continue;
                }
                let mean = |places: &[(usize, usize)]| {
                    let sum = places.iter().fold((0, 0), |s, p| (s.0 + p.0, s.1 + p.1));
                    [sum.0, sum.1].map(|sum| sum as f64 / places.len() as f64)
                };
                let ([ax, ay], [bx, by]) = (mean(a), mean(b));
                let relation = match sentence {
                    s if s.contains("above") => by > ay,
                    s if s.contains("below") => by < ay,
                    s if s.contains("left of") => bx > ax,
                    s if s.contains("right of") => bx < ax,
                    other => panic!("{other}"),
                };
                assert!(relation, "{sentence}: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn forms_and_sizes_are_told_by_their_pixels() {
        let count = |size, form| {
            let shape = Shape {
                size,
                colour: 0,
                form,
            };
            let places = (-4..=4).flat_map(|y| (-4..=4).map(move |x| (x, y)));
            places.filter(|&(x, y)| shape.covers(x, y)).count()
        };
        let counts: Vec<_> = (0..6).map(|at| count(at / 3, at % 3)).collect();
        assert_eq!(counts, [13, 25, 13, 29, 49, 25]);
    }

    #[test]
    fn held_out_combinations_are_in_the_second_part_alone() {
        let shapes = shapes();
        let is_held_out = |sentence: &String| {
            sentence.contains("yellow circle") || sentence.contains("blue triangle")
        };
        let sentences = |captions: &[Captioned]| -> Vec<String> {
            captions
                .iter()
                .flat_map(|of| of.sentences.clone())
                .collect()
        };
        assert!(!sentences(&shapes.captions).iter().any(is_held_out));
        assert!(sentences(&shapes.unseen).iter().all(is_held_out));
        let words = |captions: &[Captioned]| -> BTreeSet<String> {
            let all = sentences(captions);
            let words = all.iter().flat_map(|text| text.split(' '));
            words.map(str::to_owned).collect()
        };
        // Every word of the second is known.
        assert_eq!(words(&shapes.captions), words(&shapes.unseen));
        assert_eq!(words(&shapes.captions).len(), 15);
        let two = shapes.captions.iter().filter(|of| of.sentences.len() == 2);
        assert!((1500..1700).contains(&two.count()));
    }

    #[test]
    fn the_shapes_never_change() {
        use sha2::{Digest, Sha256};
        let shapes = shapes();
        let all = shapes.captions.iter().chain(&shapes.unseen);
        let lines: String = all.map(|of| of.sentences.join("\t") + "\n").collect();
        let hash = crate::data::source::hex(&Sha256::digest(lines)[..8]);
        let found = (&shapes.pictures.sha256[..16], hash.as_str());
        assert_eq!(found, ("16bab18eb6750198", "97 8C DB 3B C8 DA D5 FB"));
    }
}
