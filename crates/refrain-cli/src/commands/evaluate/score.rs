//! The loss of a language model on a text: one stream in constant memory, or several side by side.

use refrain::data::{TokenBlock, TokenReader};
use refrain::models::{LanguageModel, LanguageModelSpace, TokenBatch};
use refrain::nn::StackState;
use refrain::{Compute, Error, Result};

/// Tokens scored in one pass of one stream.
const CHUNK: usize = 256;
/// Rows of one pass of several streams, about: memory for their activations is bounded by it.
const ROWS: usize = 8192;
/// The part of the free memory that the tokens of a text may take.
const MEMORY_PART: u64 = 2;

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Total {
    /// The sum of the losses.
    pub(super) nats: f64,
    /// Tokens scored.
    pub(super) tokens: u64,
    /// Characters that they are.
    pub(super) characters: u64,
    /// Tokens read.
    pub(super) read: u64,
    /// Streams, each of which began without memory.
    pub(super) streams: u64,
}

impl Total {
    /// The number of streams, where it is below the one asked for.
    pub(super) fn fewer_streams(&self, asked: u64) -> Option<u64> {
        (self.streams < asked && self.tokens > 0).then_some(self.streams)
    }
}

/// A model at work.
pub(super) struct Scorer<'a> {
    model: &'a LanguageModel<f32>,
    compute: &'a Compute,
    space: LanguageModelSpace<f32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(model: &'a mut LanguageModel<f32>, compute: &'a Compute) -> Self {
        let mut space = LanguageModelSpace::default();
        model.prepare(&mut space);
        Self {
            model,
            compute,
            space,
            inputs: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// Scores up to `most` tokens of one stream, its state carried from the first to the last.
    pub(super) fn one_stream(
        &mut self,
        reader: &mut TokenReader<'_>,
        most: u64,
        progress: &mut dyn FnMut(&Total),
    ) -> Result<Total> {
        let mut total = Total::default();
        let mut state = self.model.zero_state(1);
        // Tokens read and not yet scored, after the last one that was.
        let mut waiting = TokenBlock::default();
        for block in reader {
            let block = block?;
            waiting.ids.extend(block.ids);
            waiting.characters.extend(block.characters);
            let mut at = 0;
            while waiting.ids.len() - at > CHUNK && total.tokens + CHUNK as u64 <= most {
                self.score(&waiting, at, at + CHUNK, &mut state, &mut total);
                at += CHUNK;
                progress(&total);
            }
            waiting.ids.drain(..at);
            waiting.characters.drain(..at);
            if total.tokens + waiting.ids.len() as u64 > most {
                break;
            }
        }
        let left = most - total.tokens;
        let left = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        waiting.ids.truncate(left);
        total.read = total.tokens + waiting.ids.len() as u64;
        // Less than a chunk, or what a limit leaves of one.
        let mut at = 0;
        while waiting.ids.len() - at > 1 {
            let end = (at + CHUNK).min(waiting.ids.len() - 1);
            self.score(&waiting, at, end, &mut state, &mut total);
            at = end;
        }
        total.streams = u64::from(total.tokens > 0);
        Ok(total)
    }

    /// Scores the tokens after `start` up to `end`, one stream's.
    fn score(
        &mut self,
        tokens: &TokenBlock,
        start: usize,
        end: usize,
        state: &mut StackState<f32>,
        total: &mut Total,
    ) {
        let (inputs, targets) = (&tokens.ids[start..end], &tokens.ids[start + 1..=end]);
        let batch = TokenBatch {
            inputs,
            targets,
            batch: 1,
        };
        let Self {
            model,
            compute,
            space,
            ..
        } = self;
        total.nats += compute.run(|| model.loss(compute, space, batch, state));
        total.tokens += targets.len() as u64;
        total.characters += sum(&tokens.characters[start + 1..=end]);
    }

    /// Scores up to `most` tokens, cut into `streams` pieces of lengths that differ by one at most; each piece begins
    /// without memory. All tokens are held in memory.
    pub(super) fn side_by_side(
        &mut self,
        reader: &mut TokenReader<'_>,
        most: u64,
        streams: usize,
        available_bytes: Option<u64>,
        progress: &mut dyn FnMut(&Total),
    ) -> Result<Total> {
        let (tokens, characters) = read_all(reader, most, available_bytes)?;
        let mut total = Total {
            read: tokens.len() as u64,
            ..Total::default()
        };
        let pairs = tokens.len().saturating_sub(1);
        if pairs == 0 {
            return Ok(total);
        }
        let streams = streams.min(pairs);
        total.streams = streams as u64;
        total.characters = characters;
        // The first `longer` pieces have one step more.
        let (steps, longer) = (pairs / streams, pairs % streams);
        let begins = |row: usize| row * steps + row.min(longer);
        let mut state = self.model.zero_state(streams);
        let chunk = (ROWS / streams).clamp(1, CHUNK);
        let mut at = 0;
        while at < steps {
            let count = chunk.min(steps - at);
            let rows = |step: usize| (0..streams).map(move |row| begins(row) + step);
            let places = (at..at + count).flat_map(rows);
            self.score_places(&tokens, places, streams, &mut state, &mut total);
            at += count;
            progress(&total);
        }
        if longer > 0 {
            let mut first = self.model.zero_state(longer);
            for (first, state) in first.iter_mut().zip(&state) {
                first.h.copy_rows(0, &state.h, 0, longer);
                if state.c.rows() > 0 {
                    first.c.copy_rows(0, &state.c, 0, longer);
                }
            }
            let places = (0..longer).map(|row| begins(row) + steps);
            self.score_places(&tokens, places, longer, &mut first, &mut total);
        }
        Ok(total)
    }

    /// Scores the tokens after the ones at `places`, step after step, `batch` of them each.
    fn score_places(
        &mut self,
        tokens: &[u32],
        places: impl Iterator<Item = usize>,
        batch: usize,
        state: &mut StackState<f32>,
        total: &mut Total,
    ) {
        let Self {
            model,
            compute,
            space,
            inputs,
            targets,
            ..
        } = self;
        inputs.clear();
        targets.clear();
        for place in places {
            inputs.push(tokens[place]);
            targets.push(tokens[place + 1]);
        }
        let count = targets.len() as u64;
        let batch = TokenBatch {
            inputs,
            targets,
            batch,
        };
        total.nats += compute.run(|| model.loss(compute, space, batch, state));
        total.tokens += count;
    }
}

fn sum(characters: &[u32]) -> u64 {
    characters.iter().map(|&count| u64::from(count)).sum()
}

/// All tokens of a text, or the first `most` and one, and the characters that all but the first stand for; an error before
/// they take more memory than there is.
fn read_all(
    reader: &mut TokenReader<'_>,
    most: u64,
    available_bytes: Option<u64>,
) -> Result<(Vec<u32>, u64)> {
    let most = usize::try_from(most.saturating_add(1)).unwrap_or(usize::MAX);
    let mut tokens: Vec<u32> = Vec::new();
    let mut characters = 0;
    for block in reader {
        let mut block = block?;
        // A vector that grows holds its old and its new numbers for a moment.
        let needed_bytes = 3 * 4 * (tokens.len() + block.ids.len()) as u64;
        if let Some(available_bytes) = available_bytes
            && needed_bytes > available_bytes / MEMORY_PART
        {
            return Err(Error::Memory {
                needed_bytes,
                available_bytes,
                hint: "leave `--streams` out, which takes constant memory, or give `--max-tokens`"
                    .into(),
            });
        }
        block.ids.truncate(most - tokens.len());
        let unscored = usize::from(tokens.is_empty());
        characters += sum(&block.characters[unscored..block.ids.len()]);
        tokens.extend(block.ids);
        if tokens.len() == most {
            break;
        }
    }
    Ok((tokens, characters))
}

#[cfg(test)]
mod tests {
    use refrain::Isa;
    use refrain::data::Vocabulary;
    use refrain::models::ModelConfig;
    use refrain::train::{Purpose, keyed_rng};

    use super::*;

    const TEXT: &str = "the quick brown fox jumps over the lazy dog; ";

    struct Fixture {
        model: LanguageModel<f32>,
        vocabulary: Vocabulary,
        text: String,
    }

    fn fixture() -> Fixture {
        let config = ModelConfig {
            hidden_size: 20,
            num_layers: 2,
            embedding_size: 7,
            ..ModelConfig::default()
        };
        let vocabulary = Vocabulary::from_text(TEXT).unwrap();
        let mut rng = keyed_rng(5, Purpose::Weights, 0);
        Fixture {
            model: LanguageModel::new(&config, vocabulary.len(), &mut rng),
            vocabulary,
            text: TEXT.repeat(31) + "?end", // 1399 characters; `?` is unknown
        }
    }

    impl Fixture {
        fn total(&mut self, streams: usize, most: u64) -> Total {
            let compute = Compute::new(Isa::detect(), 2);
            let stdin: Box<dyn std::io::Read> = Box::new(self.text.as_bytes());
            let mut reader =
                TokenReader::open(&["-"], self.vocabulary.clone(), Some(stdin)).unwrap();
            let mut scorer = Scorer::new(&mut self.model, &compute);
            match streams {
                1 => scorer.one_stream(&mut reader, most, &mut |_| {}),
                _ => scorer.side_by_side(&mut reader, most, streams, None, &mut |_| {}),
            }
            .unwrap()
        }

        /// The same by one pass over each piece alone, from cut to cut.
        fn expected(&mut self, cuts: &[usize]) -> f64 {
            let compute = Compute::single(Isa::SCALAR);
            let ids = self.vocabulary.encode(&self.text).ids;
            let mut space = LanguageModelSpace::default();
            self.model.prepare(&mut space);
            let losses = cuts.windows(2).map(|cut| {
                let batch = TokenBatch {
                    inputs: &ids[cut[0]..cut[1]],
                    targets: &ids[cut[0] + 1..=cut[1]],
                    batch: 1,
                };
                let mut state = self.model.zero_state(1);
                self.model.loss(&compute, &mut space, batch, &mut state)
            });
            losses.sum()
        }
    }

    #[test]
    fn chunks_of_one_stream_are_the_whole() {
        let mut fixture = fixture();
        let total = fixture.total(1, u64::MAX);
        assert_eq!((total.tokens, total.read, total.streams), (1397, 1398, 1));
        assert_eq!(total.characters, 1397);
        let expected = fixture.expected(&[0, 1397]);
        assert!(
            (total.nats - expected).abs() < 1e-9 * expected,
            "{total:?} {expected}"
        );
    }

    #[test]
    fn a_limit_ends_after_as_many_tokens() {
        let mut fixture = fixture();
        for most in [1, 2, 255, 256, 257, 700, 1396, 1397, 2000] {
            let tokens = most.min(1397);
            let expected = fixture.expected(&[0, tokens as usize]);
            for total in [fixture.total(1, most), fixture.total(2, most)] {
                assert_eq!((total.tokens, total.read), (tokens, tokens + 1), "{most}");
            }
            let total = fixture.total(1, most);
            assert!((total.nats - expected).abs() <= 1e-9 * expected, "{most}");
        }
    }

    #[test]
    fn pieces_side_by_side_cover_every_token_once() {
        let mut fixture = fixture();
        // 1397 = 3 * 466 - 1: two pieces of 466, one of 465.
        let total = fixture.total(3, u64::MAX);
        assert_eq!(
            (total.tokens, total.characters, total.streams),
            (1397, 1397, 3)
        );
        let expected = fixture.expected(&[0, 466, 932, 1397]);
        assert!(
            (total.nats - expected).abs() < 1e-9 * expected,
            "{total:?} {expected}"
        );
        let total = fixture.total(4096, u64::MAX);
        assert_eq!((total.tokens, total.streams), (1397, 1397));
        assert_eq!(total.fewer_streams(4096), Some(1397));
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let mut fixture = fixture();
        let compute = Compute::single(Isa::SCALAR);
        let stdin: Box<dyn std::io::Read> = Box::new(fixture.text.as_bytes());
        let mut reader =
            TokenReader::open(&["-"], fixture.vocabulary.clone(), Some(stdin)).unwrap();
        let mut scorer = Scorer::new(&mut fixture.model, &compute);
        let error = scorer.side_by_side(&mut reader, 9, 2, Some(1000), &mut |_| {});
        assert!(matches!(error, Err(Error::Memory { .. })));
    }
}
