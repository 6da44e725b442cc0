//! Measurements by the wall clock.

use std::time::{Duration, Instant};

use refrain::generate::Sampler;
use refrain::models::{LanguageModel, LanguageModelSpace, ModelConfig, Stream, TokenBatch};
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain::train::{Purpose, keyed_rng};
use refrain::{Compute, Isa};
use refrain_kernels::{GateOrder, Packed, Panels, groups, product};

/// Steps before anything is measured: memory is taken, threads and caches are warm.
const WARM_UP: usize = 3;
/// A workload is measured so often at least, however long that takes.
const LEAST: usize = 5;
/// Characters in one measurement of sampling; one alone is too short for the clock.
const CHARACTERS: usize = 100;
/// The product whose speed is called the peak: `SIDE` inputs and outputs, so that a thread's rows and the weights lie in
/// the second-level cache.
const SIDE: usize = 256;
/// Rows of it for each thread, a multiple of every tile.
const ROWS: usize = 192;
/// How long the peak is sought.
const PEAK_FOR: Duration = Duration::from_millis(250);

/// Durations in seconds.
pub(super) struct Series(Vec<f64>);

impl Series {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            count => f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]),
        }
    }
}

/// What was found of a workload.
pub(super) struct Measured {
    /// All of it.
    pub(super) whole: Series,
    /// Its parts.
    pub(super) phases: Vec<(&'static str, Series)>,
}

impl Measured {
    fn new(phases: &[&'static str]) -> Self {
        Self {
            whole: Series(Vec::new()),
            phases: phases
                .iter()
                .map(|&name| (name, Series(Vec::new())))
                .collect(),
        }
    }

    fn push<const N: usize>(&mut self, parts: [f64; N]) {
        self.whole.0.push(parts.iter().sum());
        for ((_, series), part) in self.phases.iter_mut().zip(parts) {
            series.0.push(part);
        }
    }
}

/// Measures `step`, which gives the seconds of its parts, for `seconds` after a warm-up.
fn repeat<const N: usize>(
    phases: [&'static str; N],
    seconds: Duration,
    mut step: impl FnMut() -> [f64; N],
) -> Measured {
    for _ in 0..WARM_UP {
        step();
    }
    let mut measured = Measured::new(&phases);
    let start = Instant::now();
    while measured.whole.len() < LEAST || start.elapsed() < seconds {
        measured.push(step());
    }
    measured
}

/// Sizes of a training step beside the model's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) vocab_size: usize,
    pub(super) batch: usize,
    pub(super) seq_len: usize,
}

/// A whole training step on random tokens, the state carried from one to the next: loss and gradients, their norm,
/// clipping and Adam.
pub(super) fn training_step(
    config: &ModelConfig,
    sizes: Sizes,
    compute: &Compute,
    seconds: Duration,
) -> Measured {
    let mut rng = keyed_rng(0, Purpose::Weights, 0);
    let mut model = LanguageModel::<f32>::new(config, sizes.vocab_size, &mut rng);
    let optimizer = OptimizerConfig {
        kind: OptimizerKind::Adam,
        learning_rate: 1e-3,
        momentum: 0.0,
        weight_decay: 0.0,
        clip_norm: Some(1.0),
        schedule: Schedule::Constant,
        warmup_steps: 0,
    };
    let mut optimizer = Optimizer::new(&optimizer, &model);
    let mut space = LanguageModelSpace::default();
    let mut state = model.zero_state(sizes.batch);
    let mut random = Random(1);
    let mut draw = |tokens: &mut Vec<u32>| {
        tokens.clear();
        let count = sizes.batch * sizes.seq_len;
        tokens.extend((0..count).map(|_| random.below(sizes.vocab_size)));
    };
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    let mut number = 0;
    repeat(["forward_backward", "norm", "update"], seconds, || {
        draw(&mut inputs);
        draw(&mut targets);
        number += 1;
        let tokens = TokenBatch {
            inputs: &inputs,
            targets: &targets,
            batch: sizes.batch,
        };
        let start = Instant::now();
        compute.run(|| model.loss_and_gradients(compute, &mut space, tokens, &mut state, None));
        let after_backward = Instant::now();
        let update = optimizer.clip(gradient_norm(compute, &model));
        let after_norm = Instant::now();
        let learning_rate = optimizer.learning_rate(number, 0.0);
        compute.run(|| optimizer.update(compute, &mut model, number, learning_rate, update));
        [
            (after_backward - start).as_secs_f64(),
            (after_norm - after_backward).as_secs_f64(),
            after_norm.elapsed().as_secs_f64(),
        ]
    })
}

/// Drawing one stream, as `refrain sample` does; seconds a character.
pub(super) fn sampling(
    config: &ModelConfig,
    vocab_size: usize,
    isa: Isa,
    seconds: Duration,
) -> Measured {
    let mut rng = keyed_rng(0, Purpose::Weights, 0);
    let mut model = LanguageModel::<f32>::new(config, vocab_size, &mut rng);
    let mut stream = Stream::new(&mut model, isa);
    let mut scores = stream.step(0).to_vec();
    let mut sampler = Sampler::new();
    let mut rng = keyed_rng(0, Purpose::Sample, 0);
    repeat(["draw", "model"], seconds, || {
        let (mut draw_s, mut model_s) = (0.0, 0.0);
        for _ in 0..CHARACTERS {
            let start = Instant::now();
            // A model of small random weights has finite scores.
            let token = sampler.draw(&scores, &mut rng).map_or(0, |draw| draw.id);
            let after_draw = Instant::now();
            scores.copy_from_slice(stream.step(token));
            draw_s += (after_draw - start).as_secs_f64();
            model_s += after_draw.elapsed().as_secs_f64();
        }
        [draw_s, model_s].map(|seconds| seconds / CHARACTERS as f64)
    })
}

/// The speed of a matrix product whose numbers stay in the cache, on the threads of `compute`: the best that these kernels
/// reach on this machine, and so what they are measured against.
pub(super) fn peak_gflops(compute: &Compute) -> f64 {
    let rows = ROWS * compute.threads();
    let mut random = Random(2);
    let mut numbers = |count: usize| -> Vec<f32> {
        let number = |_| random.below(1000) as f32 / 1000.0 - 0.5;
        (0..count).map(number).collect()
    };
    let mut left = Panels::new(rows, SIDE);
    left.copy_from_rows(0, &numbers(rows * SIDE));
    let mut weight = Packed::default();
    weight.pack(&numbers(SIDE * SIDE), GateOrder::plain(SIDE), SIDE);
    let mut result = Panels::new(rows, groups(SIDE) * 16);
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < PEAK_FOR {
        let start = Instant::now();
        compute.run(|| product(compute, &left, &weight, None, &mut result));
        best = best.min(start.elapsed().as_secs_f64());
    }
    2.0 * (rows * SIDE * SIDE) as f64 / best / 1e9
}

/// Numbers for which nothing but their spread matters (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % most as u64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Series(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Series(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Series(vec![4.0, 1.0]).best(), 1.0);
    }

    #[test]
    fn the_parts_of_a_measurement_are_its_sum() {
        let measured = repeat(["a", "b"], Duration::ZERO, || [1.0, 2.0]);
        assert_eq!(
            (measured.whole.len(), measured.whole.median()),
            (LEAST, 3.0)
        );
        assert_eq!(measured.phases[1].1.median(), 2.0);
    }
}
