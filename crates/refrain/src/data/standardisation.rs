//! Numbers brought to mean 0 and deviation 1, as the training part has them.

use serde::{Deserialize, Serialize};

use super::Arrays;

/// The mean and the deviation of each feature of a vector, or of each channel of a picture or clip.
///
/// `y = (x - mean) / std`, along the last axis.
///
/// # Examples
///
/// ```
/// use refrain::data::Standardisation;
///
/// let json = r#"{"mean": [1.0, 0.0], "std": [2.0, 1.0]}"#;
/// let standardisation: Standardisation = serde_json::from_str(json)?;
/// let mut out = Vec::new();
/// standardisation.apply(&[3.0, 5.0, 1.0, -1.0], &mut out);
/// assert_eq!(out, [1.0, 5.0, 0.0, -1.0]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Standardisation {
    mean: Vec<f32>,
    #[serde(rename = "std")]
    deviation: Vec<f32>,
}

impl Standardisation {
    /// Measures the real steps of the given examples; with `center_clips`, what [`center_clip`] leaves of them.
    ///
    /// The deviation is that of the population: `sqrt(mean((x - mean)^2))`. Sums are f64, each a chain over the examples
    /// in the order given, then steps, then places. A feature that never changes has deviation 1.
    ///
    /// # Panics
    ///
    /// Where no example is given, or one that is not there.
    #[must_use]
    pub fn measure(arrays: &Arrays, examples: &[usize], center_clips: bool) -> Self {
        assert!(!examples.is_empty(), "no examples to measure");
        let features = arrays.features();
        let mut example = Vec::new();
        let mut each = |see: &mut dyn FnMut(usize, f32)| {
            for &i in examples {
                arrays.example(i, &mut example);
                if center_clips {
                    center_clip(&mut example, arrays.step_size());
                }
                for step in example.chunks_exact(features) {
                    step.iter()
                        .enumerate()
                        .for_each(|(feature, &x)| see(feature, x));
                }
            }
        };
        let mut sums = vec![0.0; features];
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); features];
        let mut seen = 0u64;
        each(&mut |feature, x| {
            sums[feature] += f64::from(x);
            let (low, high) = ranges[feature];
            ranges[feature] = (low.min(x), high.max(x));
            seen += 1;
        });
        let count = (seen / features as u64) as f64;
        let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let mut squares = vec![0.0; features];
        each(&mut |feature, x| {
            let distance = f64::from(x) - means[feature];
            squares[feature] += distance * distance;
        });
        let deviation = squares.iter().zip(&ranges).map(|(square, (low, high))| {
            // The square root is correctly rounded everywhere.
            let deviation = (square / count).sqrt() as f32;
            if low < high && deviation >= f32::MIN_POSITIVE {
                deviation
            } else {
                1.0
            }
        });
        Self {
            deviation: deviation.collect(),
            mean: means.iter().map(|&mean| mean as f32).collect(),
        }
    }

    /// Measures rows of numbers, as [`Standardisation::measure`] does: each sum is a chain over the rows.
    ///
    /// # Panics
    ///
    /// Where there is no row, or not a whole number of them.
    #[must_use]
    pub fn measure_rows(values: &[f64], features: usize) -> Self {
        assert!(
            !values.is_empty() && values.len().is_multiple_of(features),
            "{} values in rows of {features}",
            values.len()
        );
        let count = (values.len() / features) as f64;
        let mut scale = Self {
            mean: Vec::with_capacity(features),
            deviation: Vec::with_capacity(features),
        };
        for feature in 0..features {
            let own = || values.iter().skip(feature).step_by(features);
            let mean = own().sum::<f64>() / count;
            let square: f64 = own().map(|x| (x - mean) * (x - mean)).sum();
            let (low, high) = own().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| {
                (low.min(x), high.max(x))
            });
            let deviation = (square / count).sqrt() as f32;
            let is_one = low < high && deviation.is_normal();
            scale.mean.push(mean as f32);
            scale.deviation.push(if is_one { deviation } else { 1.0 });
        }
        scale
    }

    /// The same, with some features left as they are.
    #[must_use]
    pub fn without(mut self, features: &[usize]) -> Self {
        for &feature in features {
            (self.mean[feature], self.deviation[feature]) = (0.0, 1.0);
        }
        self
    }

    /// The mean of each feature.
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The deviation of each feature, above 0.
    #[must_use]
    pub fn deviation(&self) -> &[f32] {
        &self.deviation
    }

    /// The number of features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.mean.len()
    }

    /// Replaces the content of `out` by the values, standardised.
    ///
    /// # Shapes
    ///
    /// `values`: any axes, the last one [`features`](Self::features) long.
    ///
    /// # Panics
    ///
    /// Where the number of values is no multiple of that.
    pub fn apply(&self, values: &[f32], out: &mut Vec<f32>) {
        let features = self.features();
        assert_eq!(
            values.len() % features,
            0,
            "{} values of {features} features",
            values.len()
        );
        out.clear();
        out.reserve(values.len());
        for step in values.chunks_exact(features) {
            let each = step.iter().zip(&self.mean).zip(&self.deviation);
            out.extend(each.map(|((x, mean), deviation)| (x - mean) / deviation));
        }
    }
}

/// A standardisation as a file has it, nothing checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl TryFrom<Stored> for Standardisation {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { mean, std } = stored;
        if mean.is_empty() || mean.len() != std.len() {
            return Err(format!(
                "found {} means and {} deviations, expected as many of both, at least one",
                mean.len(),
                std.len()
            ));
        }
        if let Some(mean) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("a mean is {mean}, expected a finite number"));
        }
        if let Some(std) = std
            .iter()
            .find(|&&std| !(std >= f32::MIN_POSITIVE && std.is_finite()))
        {
            return Err(format!(
                "a deviation is {std}, expected a finite number above 0"
            ));
        }
        Ok(Self {
            mean,
            deviation: std,
        })
    }
}

/// Takes the mean frame of a clip away from each of its frames, so that what stands still is gone.
///
/// The mean of each place is a chain of f64 additions over the frames.
///
/// # Shapes
///
/// `clip`: (frames, `frame_size`), real frames only.
///
/// # Panics
///
/// Where `clip` is not a whole number of frames.
pub fn center_clip(clip: &mut [f32], frame_size: usize) {
    assert!(
        frame_size > 0 && clip.len().is_multiple_of(frame_size),
        "{} values in frames of {frame_size}",
        clip.len()
    );
    let mut means = vec![0.0; frame_size];
    for frame in clip.chunks_exact(frame_size) {
        for (sum, &x) in means.iter_mut().zip(frame) {
            *sum += f64::from(x);
        }
    }
    let frames = (clip.len() / frame_size) as f64;
    for mean in &mut means {
        *mean /= frames;
    }
    for frame in clip.chunks_exact_mut(frame_size) {
        for (x, mean) in frame.iter_mut().zip(&means) {
            *x = (f64::from(*x) - mean) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::data::NpzWriter;

    fn arrays(shape: &[usize], values: &[f32], lengths: Option<&[i64]>) -> Arrays {
        let mut npz = NpzWriter::new();
        npz.add_f32("inputs", shape, values).unwrap();
        if let Some(lengths) = lengths {
            npz.add_i64("lengths", &[lengths.len()], lengths).unwrap();
        }
        Arrays::read(Cursor::new(npz.finish().unwrap()), "a.npz", 1 << 20).unwrap()
    }

    #[test]
    fn only_real_steps_of_the_given_examples_count() {
        let values = [
            1.0, 7.0, 3.0, 7.0, 5.0, 7.0, 999.0, 999.0, -50.0, 8.0, 60.0, 9.0,
        ];
        let arrays = arrays(&[3, 2, 2], &values, Some(&[2, 1, 2]));
        let measured = Standardisation::measure(&arrays, &[0, 1], false);
        assert_eq!(measured.mean(), [3.0, 7.0]);
        assert_eq!(measured.deviation(), [(8.0f32 / 3.0).sqrt(), 1.0]);
        let all = Standardisation::measure(&arrays, &[0, 1, 2], false);
        assert_ne!(all, measured);
    }

    #[test]
    fn a_constant_that_no_float_holds_is_still_constant() {
        let arrays = arrays(&[7, 3, 1], &[0.1; 21], None);
        let measured = Standardisation::measure(&arrays, &[0, 1, 2, 3, 4, 5, 6], false);
        assert_eq!(measured.deviation(), [1.0]);
        let mut out = Vec::new();
        measured.apply(&[0.1], &mut out);
        assert!(out[0].abs() < 1e-7, "{out:?}");
    }

    #[test]
    fn standardised_values_have_mean_zero_and_deviation_one() {
        let values: Vec<f32> = (0..600)
            .map(|i| ((i * 37) % 101) as f32 * 3.0 - 5e4)
            .collect();
        let arrays = arrays(&[10, 20, 3], &values, None);
        let all: Vec<usize> = (0..10).collect();
        let measured = Standardisation::measure(&arrays, &all, false);
        let mut out = Vec::new();
        measured.apply(&values, &mut out);
        for feature in 0..3 {
            let xs: Vec<f64> = out
                .iter()
                .skip(feature)
                .step_by(3)
                .map(|&x| x.into())
                .collect();
            let mean = xs.iter().sum::<f64>() / xs.len() as f64;
            let square = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / xs.len() as f64;
            assert!(
                mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-4,
                "{mean} {square}"
            );
        }
    }

    #[test]
    fn a_centered_clip_is_what_moves() {
        let mut clip = vec![10.0, 1.0, 10.0, 3.0, 10.0, 5.0];
        center_clip(&mut clip, 2);
        assert_eq!(clip, [0.0, -2.0, 0.0, 0.0, 0.0, 2.0]);

        let arrays = arrays(&[2, 2, 1, 1, 1], &[0.0, 2.0, 100.0, 104.0], None);
        let measured = Standardisation::measure(&arrays, &[0, 1], true);
        assert_eq!(measured.mean(), [0.0]);
        assert_eq!(measured.deviation(), [2.5f32.sqrt()]);
    }

    #[test]
    fn json_keeps_every_bit_and_is_checked() {
        let values: Vec<f32> = (0..60).map(|i| (i * i) as f32 * 0.1).collect();
        let measured =
            Standardisation::measure(&arrays(&[4, 5, 3], &values, None), &[0, 2, 3], false);
        let json = serde_json::to_string(&measured).unwrap();
        assert!(
            json.starts_with("{\"mean\":[") && json.contains("\"std\":["),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<Standardisation>(&json).unwrap(),
            measured
        );
        for (json, expected) in [
            (r#"{"mean": [], "std": []}"#, "at least one"),
            (
                r#"{"mean": [0.0], "std": [1.0, 1.0]}"#,
                "1 means and 2 deviations",
            ),
            (r#"{"mean": [0.0], "std": [0.0]}"#, "a deviation is 0"),
            (r#"{"mean": [0.0], "std": [-1.0]}"#, "a deviation is -1"),
            (r#"{"mean": [0.0], "std": [1e39]}"#, "a deviation is inf"),
            (r#"{"mean": [-1e39], "std": [1.0]}"#, "a mean is -inf"),
            (
                r#"{"mean": [0.0], "std": [1e-45]}"#,
                "expected a finite number above 0",
            ),
            (r#"{"mean": [0.0], "std": [1.0], "x": 1}"#, "unknown field"),
            (r#"{"mean": ["a"], "std": [1.0]}"#, "invalid type"),
        ] {
            // As from a model's metadata: there a number is read as f64 first.
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            let error = serde_json::from_value::<Standardisation>(value).unwrap_err();
            assert!(error.to_string().contains(expected), "{json}: {error}");
        }
    }
}
