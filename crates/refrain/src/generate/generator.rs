use rand::Rng;
use refrain_kernels::Isa;

use super::{Draw, Sampler};
use crate::data::vocabulary::Vocabulary;
use crate::error::Result;
use crate::models::{LanguageModel, Stream};

/// Draws tokens from a language model one at a time: scores, softmax, draw, feed back.
///
/// # Examples
///
/// ```
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha12Rng;
/// use refrain::Isa;
/// use refrain::data::Vocabulary;
/// use refrain::generate::{Generator, Sampler};
/// use refrain::models::{LanguageModel, ModelConfig};
///
/// let vocabulary = Vocabulary::from_chars("helo".chars())?;
/// let mut rng = ChaCha12Rng::seed_from_u64(1);
/// let mut model = LanguageModel::new(&ModelConfig::default(), vocabulary.len(), &mut rng);
/// let mut generator = Generator::new(&mut model, &vocabulary, Isa::detect());
/// generator.start(&vocabulary.try_encode("h")?);
/// let draw = generator.next(&mut Sampler::new(), &mut rng)?;
/// assert!(draw.id < 4);
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Debug)]
pub struct Generator<'m> {
    stream: Stream<'m, f32>,
    vocabulary: Vocabulary,
    scores: Vec<f32>,
}

impl<'m> Generator<'m> {
    /// A generator at state zero.
    #[must_use]
    pub fn new(model: &'m mut LanguageModel<f32>, vocabulary: &Vocabulary, isa: Isa) -> Self {
        Self {
            stream: Stream::new(model, isa),
            vocabulary: vocabulary.clone(),
            scores: Vec::new(),
        }
    }

    /// What to begin with where the user gave nothing: a line break if the model knows one, else `first`, the training
    /// text's first token.
    #[must_use]
    pub fn default_prompt(&self, first: Option<u32>) -> Vec<u32> {
        let line_break = self.vocabulary.id('\n').or(first).unwrap_or(0);
        vec![line_break]
    }

    /// Goes back to state zero and reads a prompt, one token or more.
    ///
    /// # Panics
    /// If the prompt is empty or has a token that is not in the vocabulary.
    pub fn start(&mut self, prompt: &[u32]) {
        assert!(!prompt.is_empty(), "a prompt of one token or more");
        self.stream.reset();
        for &token in prompt {
            self.read(token);
        }
    }

    /// Reads one token.
    pub fn read(&mut self, token: u32) {
        let scores = self.stream.step(token);
        self.scores.clear();
        self.scores.extend_from_slice(scores);
    }

    /// The scores of the next token.
    #[must_use]
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Draws the next token and reads it.
    ///
    /// # Errors
    /// If a score is not a number.
    pub fn next(&mut self, sampler: &mut Sampler, rng: &mut impl Rng) -> Result<Draw> {
        let draw = sampler.draw(&self.scores, rng)?;
        self.read(draw.id);
        Ok(draw)
    }
}
