use rand::Rng;
use refrain_kernels::{Panels, Scalar};

use super::init;
use super::{Parameter, Parameters};

/// A vector for each token of a vocabulary.
///
/// `y_t = weight[x_t]`; backward, `d_weight[v]` is the sum of `d_y_t` over all t where `x_t = v`.
///
/// # Shapes
/// `weight`: `(vocab_size, embedding_size)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding<T> {
    /// One row for each token.
    pub weight: Parameter<T>,
}

/// The distinct tokens of a batch, and for each row over time which of them stands there.
///
/// All work on vectors of tokens (looking up, the first layer's product, the gradient's sum) is done once for each distinct
/// token.
#[derive(Clone, Debug, Default)]
pub struct DistinctTokens {
    /// The tokens that occur, rising.
    tokens: Vec<u32>,
    /// For each row its place in `tokens`.
    index: Vec<u32>,
    /// Scratch: for each token of the vocabulary its place in `tokens`, or `u32::MAX`.
    place: Vec<u32>,
}

impl DistinctTokens {
    /// Finds the distinct ones of `tokens`.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn set(&mut self, tokens: &[u32], vocab_size: usize) {
        self.place.clear();
        self.place.resize(vocab_size, u32::MAX);
        self.tokens.clear();
        for &token in tokens {
            let place = &mut self.place[token as usize];
            if *place == u32::MAX {
                *place = 0;
                self.tokens.push(token);
            }
        }
        self.tokens.sort_unstable();
        for (at, &token) in (0..).zip(&self.tokens) {
            self.place[token as usize] = at;
        }
        self.index.clear();
        self.index
            .extend(tokens.iter().map(|&token| self.place[token as usize]));
    }

    /// The tokens that occur, rising.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// For each row its place among [`DistinctTokens::tokens`].
    #[must_use]
    pub fn index(&self) -> &[u32] {
        &self.index
    }
}

impl<T: Scalar> Embedding<T> {
    /// Zeros, named `{owner}.weight`.
    #[must_use]
    pub fn zeros(owner: &str, vocab_size: usize, embedding_size: usize) -> Self {
        Self {
            weight: Parameter::zeros(format!("{owner}.weight"), &[vocab_size, embedding_size]),
        }
    }

    /// Draws new weights, normal with the given standard deviation.
    pub fn initialise(&mut self, deviation: f64, rng: &mut impl Rng) {
        init::normal(&mut self.weight.value, deviation, rng);
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.weight.shape[0]
    }

    /// Features of a vector.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        self.weight.shape[1]
    }

    /// The vectors of `tokens`, a row each.
    ///
    /// # Panics
    /// If a token is not in the vocabulary.
    pub fn forward(&self, tokens: &[u32], vectors: &mut Panels<T>) {
        let size = self.embedding_size();
        vectors.resize(tokens.len(), size);
        for (row, &token) in tokens.iter().enumerate() {
            vectors.copy_from_rows(row, &self.weight.value[token as usize * size..][..size]);
        }
    }

    /// The gradient from those of distinct tokens' vectors; other tokens' gradients become zero.
    ///
    /// # Panics
    /// If a token is not in the vocabulary or the rows differ.
    pub fn backward(&mut self, tokens: &[u32], d_vectors: &Panels<T>) {
        let size = self.embedding_size();
        self.weight.grad.fill(T::ZERO);
        for (row, &token) in tokens.iter().enumerate() {
            d_vectors.copy_to_rows(row, &mut self.weight.grad[token as usize * size..][..size]);
        }
    }
}

impl<T: Scalar> Parameters<T> for Embedding<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        visit(&self.weight);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        visit(&mut self.weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_tokens_are_sorted_and_indexed() {
        let mut distinct = DistinctTokens::default();
        for _ in 0..2 {
            distinct.set(&[7, 2, 7, 0], 9);
            assert_eq!(
                (distinct.tokens(), distinct.index()),
                (&[0, 2, 7][..], &[2, 1, 2, 0][..])
            );
        }
    }

    #[test]
    fn vectors_are_rows_and_gradients_go_back_to_them() {
        let mut embedding = Embedding::<f64>::zeros("embedding", 3, 2);
        embedding.weight.value = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut vectors = Panels::default();
        embedding.forward(&[0, 2], &mut vectors);
        assert_eq!(vectors.to_rows(0, 2), [1.0, 2.0, 5.0, 6.0]);
        embedding.weight.grad.fill(9.0);
        embedding.backward(&[0, 2], &vectors);
        assert_eq!(embedding.weight.grad, [1.0, 2.0, 0.0, 0.0, 5.0, 6.0]);
    }
}
