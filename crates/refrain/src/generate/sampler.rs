use std::cmp::Ordering;

use rand::Rng;

use crate::{Error, Result};

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token.
    pub id: u32,
    /// The natural logarithm of its probability under the model itself: temperature 1, nothing cut off.
    /// It says what the model thinks of the token, not how the token was chosen.
    pub log_probability: f64,
}

/// Draws tokens from a model's scores.
///
/// In this order: `p = softmax(logits / temperature)` over the `top_k` highest scores; of these the
/// fewest, most probable first, whose sum reaches `top_p`; of these one, in proportion to `p`. Of equal
/// scores the lower id comes first. Each draw takes one number from the generator, a greedy one none.
///
/// All sums are in f64 and in a fixed order, so that a seed gives the same tokens everywhere.
///
/// # Examples
///
/// ```
/// use rand::SeedableRng;
/// use refrain::generate::Sampler;
///
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
/// let mut sampler = Sampler::new().temperature(0.8).top_k(2);
/// let draw = sampler.draw(&[0.0, 2.0, 1.0], &mut rng)?;
/// assert!(draw.id == 1 || draw.id == 2);
/// # Ok::<(), refrain::Error>(())
/// ```
///
/// # References
///
/// Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation", 2018 (top-k); Holtzman et al., "The
/// Curious Case of Neural Text Degeneration", 2019 (top-p).
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f64,
    top_k: Option<usize>,
    top_p: Option<f64>,
    greedy: bool,
    /// Tokens that may be drawn and their weights; kept for its memory.
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    score: f32,
    /// Not normalised.
    weight: f64,
}

impl Candidate {
    /// The higher score first, of equal ones the lower id.
    fn order(&self, other: &Self) -> Ordering {
        // Scores are not NaN; `total_cmp` would tell 0 from -0.
        let by_score = other
            .score
            .partial_cmp(&self.score)
            .unwrap_or(Ordering::Equal);
        by_score.then(self.id.cmp(&other.id))
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// The model's own distribution: temperature 1, nothing cut off.
    #[must_use]
    pub fn new() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            greedy: false,
            candidates: Vec::new(),
        }
    }

    /// Below 1 likely tokens become likelier, above 1 all become more alike; 0 is greedy.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Keeps the `top_k` highest scores; `None` keeps all.
    #[must_use]
    pub fn top_k(mut self, top_k: impl Into<Option<usize>>) -> Self {
        self.top_k = top_k.into();
        self
    }

    /// Keeps the most probable tokens whose probabilities first sum to `top_p`; `None` or 1 keeps all.
    #[must_use]
    pub fn top_p(mut self, top_p: impl Into<Option<f64>>) -> Self {
        self.top_p = top_p.into();
        self
    }

    /// Whether the highest score is always taken.
    #[must_use]
    pub fn greedy(mut self, greedy: bool) -> Self {
        self.greedy = greedy;
        self
    }

    /// Whether draws are without chance: greedy, or of temperature 0.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.greedy || self.temperature == 0.0
    }

    /// Checks the settings; [`draw`](Self::draw) does so too.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the temperature is negative or not finite, `top_k` is 0, or `top_p` is
    /// not above 0 and at most 1.
    pub fn validate(&self) -> Result<()> {
        let wrong = |name: &str, found: String, expected: &str, hint: &str| {
            Err(Error::Setting {
                name: name.into(),
                found,
                expected: expected.into(),
                hint: hint.into(),
            })
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let hint = "1 is the model's own distribution, 0 always takes the likeliest token";
            return wrong(
                "temperature",
                self.temperature.to_string(),
                "a number from 0",
                hint,
            );
        }
        if self.top_k == Some(0) {
            let hint = "leave it out to keep all tokens";
            return wrong("top-k", "0".into(), "a whole number from 1", hint);
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                let hint = "leave it out to keep all tokens";
                wrong("top-p", p.to_string(), "a number above 0, at most 1", hint)
            }
            _ => Ok(()),
        }
    }

    /// Draws one token.
    ///
    /// # Shapes
    ///
    /// `logits`: `(vocab_size)`, not normalised; `-inf` means never.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] as [`validate`](Self::validate), [`Error::Unusable`] where there is no score,
    /// one is NaN or `+inf`, or all are `-inf`.
    pub fn draw(&mut self, logits: &[f32], rng: &mut impl Rng) -> Result<Draw> {
        self.validate()?;
        let best = highest(logits)?;
        let max = f64::from(logits[best as usize]);
        let id = if self.is_greedy() {
            best
        } else {
            self.weigh(logits, max);
            self.keep_top_p();
            pick(&self.candidates, unit_interval(rng))
        };
        Ok(Draw {
            id,
            log_probability: f64::from(logits[id as usize]) - max - libm::log(sum_exp(logits, max)),
        })
    }

    /// The `n` most probable tokens and their probabilities under the model itself (temperature 1,
    /// nothing cut off), the most probable first.
    ///
    /// # Shapes
    ///
    /// `logits`: `(vocab_size)`.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] as [`draw`](Self::draw).
    pub fn best(logits: &[f32], n: usize) -> Result<Vec<(u32, f64)>> {
        let max = f64::from(logits[highest(logits)? as usize]);
        let sum = sum_exp(logits, max);
        let mut candidates = all(logits).collect();
        keep_top_k(&mut candidates, n);
        candidates.sort_unstable_by(Candidate::order);
        let probability = |c: &Candidate| libm::exp(f64::from(c.score) - max) / sum;
        Ok(candidates.iter().map(|c| (c.id, probability(c))).collect())
    }

    /// Fills `candidates` with the `top_k` tokens, in the order of their ids, and their weights.
    fn weigh(&mut self, logits: &[f32], max: f64) {
        self.candidates.clear();
        self.candidates.extend(all(logits));
        if let Some(top_k) = self.top_k
            && top_k < self.candidates.len()
        {
            keep_top_k(&mut self.candidates, top_k);
            self.candidates.sort_unstable_by_key(|c| c.id);
        }
        for candidate in &mut self.candidates {
            // The difference first: a tiny temperature gives -inf then, and never NaN.
            let exponent = (f64::from(candidate.score) - max) / self.temperature;
            candidate.weight = libm::exp(exponent);
        }
    }

    /// Cuts `candidates` to the fewest whose weights reach `top_p` of all, in the order of their ids.
    fn keep_top_p(&mut self) {
        let Some(top_p) = self.top_p.filter(|&p| p < 1.0) else {
            return;
        };
        let candidates = &mut self.candidates;
        let total: f64 = candidates.iter().map(|c| c.weight).sum();
        // All below this sum to less than 1 - top_p, so that the rest reaches top_p without them; most of
        // a large vocabulary is spared the sort.
        let negligible = total * (1.0 - top_p) / (candidates.len() + 1) as f64;
        candidates.retain(|c| c.weight >= negligible);
        candidates.sort_unstable_by(Candidate::order);
        let mut sum = 0.0;
        let reached = candidates.iter().position(|c| {
            sum += c.weight;
            sum >= top_p * total
        });
        if let Some(last) = reached {
            candidates.truncate(last + 1);
        }
        candidates.sort_unstable_by_key(|c| c.id);
    }
}

fn all(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    (0u32..).zip(logits).map(|(id, &score)| Candidate {
        id,
        score,
        weight: 0.0,
    })
}

/// Moves the `top_k` first of [`Candidate::order`] to the front, in no order, and cuts off the others.
fn keep_top_k(candidates: &mut Vec<Candidate>, top_k: usize) {
    if top_k < candidates.len() {
        if let Some(last) = top_k.checked_sub(1) {
            candidates.select_nth_unstable_by(last, Candidate::order);
        }
        candidates.truncate(top_k);
    }
}

/// The token of the highest score, of equal ones the lowest; checks all scores on the way.
fn highest(logits: &[f32]) -> Result<u32> {
    let unusable = |what: String| Error::Unusable {
        problem: format!("the model's scores cannot be drawn from: {what}"),
        hint: "its weights are damaged or its training diverged; take an earlier model".into(),
    };
    let mut best: Option<(u32, f32)> = None;
    for (id, &score) in (0u32..).zip(logits) {
        if score.is_nan() || score == f32::INFINITY {
            return Err(unusable(format!("that of token {id} is {score}")));
        }
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((id, score));
        }
    }
    match best {
        Some((id, score)) if score > f32::NEG_INFINITY => Ok(id),
        Some(_) => Err(unusable("all are -inf".into())),
        None => Err(unusable("there are none".into())),
    }
}

/// `Σ exp(logit - max)`, in the order of the ids.
fn sum_exp(logits: &[f32], max: f64) -> f64 {
    logits
        .iter()
        .map(|&logit| libm::exp(f64::from(logit) - max))
        .sum()
}

/// A number in `[0, 1)` out of the 53 upper bits of one draw.
fn unit_interval(rng: &mut impl Rng) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (rng.next_u64() >> 11) as f64 * STEP
}

/// The candidate at which the running sum of weights passes `uniform` of the total.
fn pick(candidates: &[Candidate], uniform: f64) -> u32 {
    let total: f64 = candidates.iter().map(|c| c.weight).sum();
    let target = uniform * total;
    let mut sum = 0.0;
    let mut last = 0;
    for candidate in candidates.iter().filter(|c| c.weight > 0.0) {
        sum += candidate.weight;
        last = candidate.id;
        if target < sum {
            break;
        }
    }
    // Where rounding kept the sum from passing the target it is the last one of any weight.
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Standard deviations by which a count may be off; beyond 5 is one draw in a million.
    const SIGMAS: f64 = 5.0;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
        let weights: Vec<f64> = logits
            .iter()
            .map(|&l| libm::exp(f64::from(l) / temperature))
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect()
    }

    /// What the sampler is to equal, by full sorts.
    fn distribution(logits: &[f32], temperature: f64, top_k: usize, top_p: f64) -> Vec<f64> {
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        ids.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
        ids.truncate(top_k);
        let kept: Vec<f32> = ids.iter().map(|&id| logits[id]).collect();
        let probabilities = softmax(&kept, temperature);
        let mut out = vec![0.0; logits.len()];
        let mut sum = 0.0;
        for (&id, &p) in ids.iter().zip(&probabilities) {
            if sum < top_p {
                out[id] = p;
                sum += p;
            }
        }
        out.iter().map(|p| p / sum).collect()
    }

    fn assert_draws_follow(expected: &[f64], sampler: &mut Sampler, logits: &[f32]) {
        const DRAWS: usize = 20_000;
        let mut rng = rng(7);
        let mut counts = vec![0usize; logits.len()];
        for _ in 0..DRAWS {
            counts[sampler.draw(logits, &mut rng).unwrap().id as usize] += 1;
        }
        for (id, (&count, &p)) in counts.iter().zip(expected).enumerate() {
            let sigma = (p * (1.0 - p) / DRAWS as f64).sqrt();
            let share = count as f64 / DRAWS as f64;
            assert!(
                (share - p).abs() <= SIGMAS * sigma,
                "token {id}: {share}, expected {p}"
            );
        }
    }

    const LOGITS: [f32; 7] = [0.3, 2.0, -1.0, 2.0, 0.0, f32::NEG_INFINITY, 1.5];

    #[test]
    fn frequencies_follow_the_distribution() {
        for (temperature, top_k, top_p) in [
            (1.0, 7, 1.0),
            (0.5, 7, 1.0),
            (3.0, 7, 1.0),
            (1.0, 3, 1.0),
            (1.0, 1, 1.0),
            (1.0, 7, 0.6),
            (0.7, 5, 0.9),
            (2.0, 7, 0.01),
        ] {
            let mut sampler = Sampler::new()
                .temperature(temperature)
                .top_k(top_k)
                .top_p(top_p);
            let expected = distribution(&LOGITS, temperature, top_k, top_p);
            assert_draws_follow(&expected, &mut sampler, &LOGITS);
        }
    }

    #[test]
    fn ties_go_to_the_lower_id() {
        let logits = [1.0, 2.0, 2.0, 2.0, -0.0, 0.0];
        for mut sampler in [
            Sampler::new().greedy(true),
            Sampler::new().temperature(0.0),
            Sampler::new().top_k(1),
            Sampler::new().top_p(1e-9),
            Sampler::new().temperature(f64::MIN_POSITIVE).top_k(1),
        ] {
            assert_eq!(sampler.draw(&logits, &mut rng(1)).unwrap().id, 1);
        }
        let mut sampler = Sampler::new().top_k(2);
        assert_draws_follow(&[0.0, 0.5, 0.5, 0.0, 0.0, 0.0], &mut sampler, &logits);
        let ids: Vec<u32> = Sampler::best(&logits, 9)
            .unwrap()
            .iter()
            .map(|b| b.0)
            .collect();
        assert_eq!(ids, [1, 2, 3, 0, 4, 5]);
    }

    #[test]
    fn log_probabilities_are_those_of_the_model() {
        let probabilities = softmax(&LOGITS, 1.0);
        let mut rng = rng(3);
        for mut sampler in [
            Sampler::new(),
            Sampler::new().greedy(true),
            Sampler::new().temperature(0.3).top_k(2).top_p(0.5),
        ] {
            let draw = sampler.draw(&LOGITS, &mut rng).unwrap();
            let expected = libm::log(probabilities[draw.id as usize]);
            assert!((draw.log_probability - expected).abs() < 1e-12);
        }
        let best = Sampler::best(&LOGITS, 3).unwrap();
        assert_eq!(best.iter().map(|b| b.0).collect::<Vec<_>>(), [1, 3, 6]);
        assert!(
            best.iter()
                .all(|&(id, p)| (p - probabilities[id as usize]).abs() < 1e-12)
        );
        assert!(Sampler::best(&LOGITS, 0).unwrap().is_empty());
    }

    #[test]
    fn one_number_is_taken_a_draw_and_none_by_a_greedy_one() {
        let (mut a, mut b) = (rng(5), rng(5));
        Sampler::new().top_k(3).draw(&LOGITS, &mut a).unwrap();
        Sampler::new().greedy(true).draw(&LOGITS, &mut a).unwrap();
        b.next_u64();
        assert_eq!(a.next_u64(), b.next_u64());
    }

    #[test]
    fn a_uniform_number_at_an_end_draws_a_possible_token() {
        let candidates: Vec<Candidate> = [0.0, 0.3, 0.0, 0.1, 0.7, 0.0]
            .iter()
            .zip(0..)
            .map(|(&weight, id)| Candidate {
                id,
                score: 0.0,
                weight,
            })
            .collect();
        assert_eq!(pick(&candidates, 0.0), 1);
        assert_eq!(pick(&candidates, 1.0 - f64::EPSILON), 4);
        assert_eq!(pick(&candidates, 1.0), 4);
    }

    #[test]
    fn scores_that_are_no_scores_are_errors() {
        for logits in [
            &[][..],
            &[f32::NAN],
            &[1.0, f32::NAN, 2.0],
            &[f32::INFINITY, 0.0],
            &[f32::NEG_INFINITY; 3],
        ] {
            for mut sampler in [
                Sampler::new(),
                Sampler::new().greedy(true).top_k(1).top_p(0.5),
            ] {
                let error = sampler.draw(logits, &mut rng(1)).unwrap_err();
                assert!(matches!(error, Error::Unusable { .. }));
                assert!(Sampler::best(logits, 1).is_err());
            }
        }
    }

    #[test]
    fn settings_are_checked() {
        for (sampler, name) in [
            (Sampler::new().temperature(-0.1), "temperature"),
            (Sampler::new().temperature(f64::NAN), "temperature"),
            (Sampler::new().temperature(f64::INFINITY), "temperature"),
            (Sampler::new().top_k(0), "top-k"),
            (Sampler::new().top_p(0.0), "top-p"),
            (Sampler::new().top_p(1.1), "top-p"),
            (Sampler::new().top_p(f64::NAN), "top-p"),
        ] {
            let error = sampler
                .clone()
                .draw(&LOGITS, &mut rng(1))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("`{name}` is ")), "{error}");
        }
        assert!(
            Sampler::default()
                .top_k(None)
                .top_p(None)
                .validate()
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn top_k_of_one_is_greedy(logits in prop::collection::vec(-9.0f32..9.0, 1..80), seed: u64, t in 0.01..5.0f64) {
            let greedy = Sampler::new().greedy(true).draw(&logits, &mut rng(seed)).unwrap();
            let first = Sampler::new().temperature(t).top_k(1).draw(&logits, &mut rng(seed)).unwrap();
            prop_assert_eq!(greedy, first);
            prop_assert_eq!(greedy.id, Sampler::best(&logits, 1).unwrap()[0].0);
        }

        #[test]
        fn to_keep_all_is_to_keep_all(logits in prop::collection::vec(-9.0f32..9.0, 1..80), seed: u64) {
            let plain = Sampler::new().draw(&logits, &mut rng(seed)).unwrap();
            let all = Sampler::new().top_p(1.0).top_k(logits.len()).draw(&logits, &mut rng(seed)).unwrap();
            prop_assert_eq!(plain, all);
        }

        #[test]
        fn what_is_kept_is_what_full_sorts_keep(
            logits in prop::collection::vec((-9i8..9).prop_map(f32::from), 1..80),
            top_k in 1usize..90,
            top_p in 0.01..1.0f64,
            temperature in 0.2..5.0f64,
        ) {
            let mut sampler = Sampler::new().temperature(temperature).top_k(top_k).top_p(top_p);
            let max = f64::from(logits[highest(&logits).unwrap() as usize]);
            sampler.weigh(&logits, max);
            sampler.keep_top_p();
            let sum: f64 = sampler.candidates.iter().map(|c| c.weight).sum();
            let mut found = vec![0.0; logits.len()];
            for candidate in &sampler.candidates {
                found[candidate.id as usize] = candidate.weight / sum;
            }
            let expected = distribution(&logits, temperature, top_k, top_p);
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 1e-9, "{} {}", found, expected);
            }
        }

        #[test]
        fn any_scores_draw_or_are_refused(bits in prop::collection::vec(any::<u32>(), 0..40), seed: u64, t in 0.0..1e300f64) {
            let logits: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            let mut sampler = Sampler::new().temperature(t).top_k(20).top_p(0.9);
            if let Ok(draw) = sampler.draw(&logits, &mut rng(seed)) {
                prop_assert!(logits[draw.id as usize] > f32::NEG_INFINITY);
                prop_assert!(draw.log_probability <= 0.0);
            }
        }
    }
}
