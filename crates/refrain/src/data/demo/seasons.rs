//! A generated series.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::data::series::Series;

/// The name under which the generated series is reported.
pub const SEASONS_NAME: &str = "built-in: a generated series of two seasons, a drift and noise";

const ROWS: usize = 3000;
const SEED: u64 = 0x7365_6173_6F6E_7331;
/// Steps of the short season and of the long one.
const SHORT: f64 = 24.0;
const LONG: f64 = 168.0;
/// How much of a gust is left a step later.
const LASTING: f64 = 0.85;

/// Three thousand steps of three columns: `sun`, a short season whose height follows a long one; `wind`, gusts that die away and
/// weaken the sun a little later; `load`, which answers both, and drifts.
///
/// They are **generated** with a fixed seed. What comes next follows from the last steps as far as noise allows, and not from
/// the hour alone.
///
/// # Examples
///
/// ```
/// let series = refrain::data::demo::seasons();
/// assert_eq!((series.rows(), &series.columns[..]), (3000, &["sun", "wind", "load"].map(str::to_owned)[..]));
/// ```
#[must_use]
pub fn seasons() -> Series {
    let mut rng = ChaCha12Rng::seed_from_u64(SEED);
    // Nearly normal, of deviation 1.
    let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    let turn = 2.0 * std::f64::consts::PI;
    let (mut wind, mut load, mut drift) = (0.0, 0.0, 0.0);
    let mut values = Vec::with_capacity(3 * ROWS);
    for row in 0..ROWS {
        let at = row as f64;
        let height = 1.0 + 0.4 * libm::sin(turn * at / LONG);
        let day = libm::sin(turn * at / SHORT).max(-0.3);
        let before = wind;
        wind = LASTING * wind + 0.5 * noise();
        let sun = 10.0 + 4.0 * height * day - 0.8 * before + 0.3 * noise();
        drift += 0.03 * noise();
        load = 0.7 * load + 0.3 * (20.0 - 0.8 * sun + 1.5 * before.abs()) + 0.2 * noise();
        values.extend([sun, 12.0 + 3.0 * wind, load + drift]);
    }
    Series {
        name: SEASONS_NAME.into(),
        columns: ["sun", "wind", "load"].map(str::to_owned).to_vec(),
        places: vec![1, 2, 3],
        values,
        time: None,
        skipped: 0,
        sha256: String::new(),
        notes: Vec::new(),
    }
}
