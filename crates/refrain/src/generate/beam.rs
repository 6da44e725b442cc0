use std::cmp::Ordering;

use refrain_kernels::{Compute, Panels, Scalar, gather_rows};

use crate::models::{EncoderDecoder, EncoderDecoderSpace, SequenceBatch};
use crate::nn::{SoftmaxCrossEntropy, StackState, State};

/// Beam search: of all targets of a source the likeliest that is found by keeping the best few beginnings.
///
/// ```text
/// score = Σ_t log p(y_t | y_1, …, y_(t-1), x) / length^penalty          the end counts as a token
/// ```
///
/// At each step the best `2 · width` continuations of the kept beginnings are looked at; those of the first `width` that end
/// are done, the best `width` that go on are kept. The search of a source ends when `width` targets are done or no
/// beginning can become better than what is done. The greedy target (always the likeliest token) is kept to its end beside
/// the others, so the result never scores lower; with `width` 1 it is the result.
///
/// # References
/// Length penalty: Wu et al., "Google's neural machine translation system", 2016, there `((5 + length) / 6)^penalty`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// Beginnings that are kept.
    pub width: usize,
    /// 0 compares sums of logarithms, 1 means; greater is for longer targets.
    pub length_penalty: f64,
    /// Whether the alignment is kept, where there is attention.
    pub with_alignment: bool,
}

/// A target that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the end.
    pub tokens: Vec<u32>,
    /// Whether it ended by itself and not by the limit.
    pub ended: bool,
    /// The logarithm of its probability.
    pub log_probability: f64,
    /// What it was compared by.
    pub score: f64,
    /// For each token, and the end, the weights of the steps of the source; empty where they were not kept.
    pub alignment: Vec<Vec<f32>>,
}

/// A beginning that may go on.
#[derive(Clone, Debug)]
struct Beginning {
    tokens: Vec<u32>,
    log_probability: f64,
    is_greedy: bool,
    alignment: Vec<Vec<f32>>,
    /// Its row in the last step.
    row: usize,
}

/// A source and what was found for it.
#[derive(Debug)]
struct Search {
    beginnings: Vec<Beginning>,
    best: Option<Hypothesis>,
    done: usize,
    limit: usize,
    source_steps: usize,
}

#[derive(Clone, Copy, Debug)]
struct Continuation {
    total: f64,
    token_score: f64,
    beginning: usize,
    token: u32,
}

impl Continuation {
    /// Best first; of equal ones that of the better beginning, then that of the lower token.
    fn order(&self, other: &Self) -> Ordering {
        other
            .total
            .total_cmp(&self.total)
            .then_with(|| other.token_score.total_cmp(&self.token_score))
            .then_with(|| self.beginning.cmp(&other.beginning))
            .then_with(|| self.token.cmp(&other.token))
    }
}

/// The greatest `count` numbers of a row, greatest first, the lowest column first of equal ones.
fn greatest<T: Scalar>(scores: &Panels<T>, row: usize, count: usize) -> Vec<(u32, f64)> {
    let mut found: Vec<(u32, f64)> = Vec::with_capacity(count + 1);
    for column in 0..scores.columns() {
        let score = scores.get(row, column).to_f64();
        if found.len() == count && found.last().is_some_and(|last| score <= last.1) {
            continue;
        }
        let at = found.partition_point(|other| other.1 >= score);
        found.insert(at, (column as u32, score));
        found.truncate(count);
    }
    found
}

impl Beam {
    /// The best target of each source of a batch, in the order of the batch. It does not depend on what else is in the batch.
    ///
    /// `limits` is the greatest number of tokens for each source. The weights must have been packed since they last changed.
    ///
    /// # Panics
    /// If the width is 0, or the batch is not what the model was made for.
    pub fn search<T: Scalar>(
        &self,
        compute: &Compute,
        model: &EncoderDecoder<T>,
        space: &mut EncoderDecoderSpace<T>,
        source: &SequenceBatch<T>,
        limits: &[usize],
    ) -> Vec<Hypothesis> {
        assert!(self.width > 0, "a beam of width 0");
        assert_eq!(limits.len(), source.steps.batch(), "limits");
        model.encode(compute, space, source, None);
        let boundary = model.decoder.boundary();
        let mut searches: Vec<Search> = self.begin(space, limits);
        let mut source_of: Vec<u32> = (0..limits.len() as u32).collect();
        let mut tokens = vec![boundary; limits.len()];
        let mut state = model.begin(compute, space, &source_of);
        let mut loss = SoftmaxCrossEntropy::default();
        while !tokens.is_empty() {
            model.step(compute, space, &tokens, &source_of, &mut state);
            let scores = space.decoder.scores();
            // The loss of a token is the logarithm of the sum of all exponentials less the token's score.
            let ends = vec![boundary; scores.rows()];
            loss.forward(compute, &mut scores.clone(), &ends);
            let normalisers: Vec<f64> = (0..scores.rows())
                .map(|row| loss.losses()[row] + scores.get(row, boundary as usize).to_f64())
                .collect();
            let alignment = space.decoder.alignment();
            for search in &mut searches {
                self.advance(search, scores, &normalisers, alignment, boundary);
            }
            let rows: Vec<u32> = searches
                .iter()
                .flat_map(|search| {
                    search
                        .beginnings
                        .iter()
                        .map(|beginning| beginning.row as u32)
                })
                .collect();
            (tokens, source_of) = searches
                .iter_mut()
                .enumerate()
                .flat_map(|(at, search)| {
                    search.beginnings.iter().map(move |beginning| {
                        (
                            beginning.tokens.last().copied().unwrap_or(boundary),
                            at as u32,
                        )
                    })
                })
                .unzip();
            for (row, beginning) in searches
                .iter_mut()
                .flat_map(|search| &mut search.beginnings)
                .enumerate()
            {
                beginning.row = row;
            }
            state = chosen_rows(compute, &state, &rows);
        }
        let found = searches.into_iter().map(|search| search.best);
        found.map(Option::unwrap_or_default).collect()
    }

    /// One empty beginning for each source.
    fn begin<T: Scalar>(&self, space: &EncoderDecoderSpace<T>, limits: &[usize]) -> Vec<Search> {
        let offsets = space.encoded().steps.offsets();
        let lengths = |place: usize| {
            let rows = offsets.windows(2).map(|step| step[1] - step[0]);
            rows.take_while(|&rows| rows > place).count()
        };
        let search = |(row, &limit): (usize, &usize)| Search {
            beginnings: vec![Beginning {
                tokens: Vec::new(),
                log_probability: 0.0,
                is_greedy: true,
                alignment: Vec::new(),
                row,
            }],
            best: None,
            done: 0,
            limit: limit.max(1),
            source_steps: lengths(row),
        };
        limits.iter().enumerate().map(search).collect()
    }

    /// One more token for each beginning of a source.
    fn advance<T: Scalar>(
        &self,
        search: &mut Search,
        scores: &Panels<T>,
        normalisers: &[f64],
        alignment: &Panels<T>,
        boundary: u32,
    ) {
        if search.beginnings.is_empty() {
            return;
        }
        let old = std::mem::take(&mut search.beginnings);
        let mut all = Vec::new();
        let mut greedy = None;
        for (at, beginning) in old.iter().enumerate() {
            let row = beginning.row;
            let continuation = |(token, score): (u32, f64)| Continuation {
                total: beginning.log_probability + (score - normalisers[row]),
                token_score: score,
                beginning: at,
                token,
            };
            let first = all.len();
            all.extend(
                greatest(scores, row, 2 * self.width)
                    .into_iter()
                    .map(continuation),
            );
            if beginning.is_greedy {
                greedy = Some(all[first]);
            }
        }
        let is_greedy = |next: &Continuation| {
            greedy.is_some_and(|it| (it.beginning, it.token) == (next.beginning, next.token))
        };
        all.sort_by(Continuation::order);
        let grown = |next: &Continuation| {
            let from = &old[next.beginning];
            let mut beginning = Beginning {
                log_probability: next.total,
                is_greedy: is_greedy(next),
                ..from.clone()
            };
            if self.with_alignment && alignment.columns() > 0 {
                let weights = (0..search.source_steps)
                    .map(|step| alignment.get(from.row, step).to_f64() as f32);
                beginning.alignment.push(weights.collect());
            }
            if next.token != boundary {
                beginning.tokens.push(next.token);
            }
            beginning
        };
        let mut kept = Vec::new();
        let mut ended = Vec::new();
        for (rank, next) in all.iter().take(2 * self.width).enumerate() {
            if next.token == boundary {
                if rank < self.width || is_greedy(next) {
                    ended.push(grown(next));
                }
            } else if kept.len() < self.width {
                kept.push(grown(next));
            }
        }
        if let Some(greedy) = &greedy {
            let found = |beginnings: &[Beginning]| beginnings.iter().any(|it| it.is_greedy);
            match greedy.token == boundary {
                true if !found(&ended) => ended.push(grown(greedy)),
                false if !found(&kept) => kept.push(grown(greedy)),
                _ => {}
            }
        }
        for beginning in ended {
            self.finish(search, beginning, true);
        }
        for beginning in kept {
            if beginning.tokens.len() >= search.limit {
                self.finish(search, beginning, false);
            } else {
                search.beginnings.push(beginning);
            }
        }
        self.stop(search);
    }

    fn score(&self, log_probability: f64, length: usize) -> f64 {
        log_probability / libm::pow(length as f64, self.length_penalty)
    }

    fn finish(&self, search: &mut Search, beginning: Beginning, ended: bool) {
        let length = beginning.tokens.len() + usize::from(ended);
        let score = self.score(beginning.log_probability, length);
        search.done += 1;
        if search.best.as_ref().is_none_or(|best| score > best.score) {
            search.best = Some(Hypothesis {
                tokens: beginning.tokens,
                ended,
                log_probability: beginning.log_probability,
                score,
                alignment: beginning.alignment,
            });
        }
    }

    /// Gives up beginnings that cannot win any more; the greedy one goes on as long as it can.
    fn stop(&self, search: &mut Search) {
        let Some(best) = &search.best else { return };
        let enough = search.done >= self.width;
        // What follows can only lower the sum, and the length is at most this.
        let longest = search.limit + 1;
        search.beginnings.retain(|beginning| {
            (!enough || beginning.is_greedy)
                && self.score(beginning.log_probability, longest) > best.score
        });
    }
}

impl Default for Hypothesis {
    /// Nothing.
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            ended: false,
            log_probability: f64::NEG_INFINITY,
            score: f64::NEG_INFINITY,
            alignment: Vec::new(),
        }
    }
}

/// The states of some rows.
fn chosen_rows<T: Scalar>(compute: &Compute, state: &StackState<T>, rows: &[u32]) -> StackState<T> {
    let chosen = |from: &Panels<T>| {
        if from.rows() == 0 {
            return Panels::default();
        }
        let mut to = Panels::new(rows.len(), from.columns());
        gather_rows(compute, from, rows, &mut to);
        to
    };
    state
        .iter()
        .map(|state| State {
            h: chosen(&state.h),
            c: chosen(&state.c),
        })
        .collect()
}
