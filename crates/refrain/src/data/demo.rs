//! Data that is built in: a Latin text, and what is generated, from a fixed seed, the same on every machine.

mod clips;
mod dates;
mod reviews;
mod seasons;
mod shapes;

use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::{Text, TokenKind};

pub use clips::{ACTIONS, CLIPS_NAME, clips};
pub use dates::{DATES_NAME, dates};
pub use reviews::{REVIEW_CLASSES, REVIEWS_NAME, reviews};
pub use seasons::{SEASONS_NAME, seasons};
pub use shapes::{SHAPES_NAME, Shapes, UNSEEN_SHAPES_NAME, shapes};

/// The name under which the built-in text is reported.
pub const LATIN_NAME: &str = "built-in: Cicero, De finibus bonorum et malorum, book 1";

/// The built-in text: the first book of Cicero's "De finibus bonorum et malorum", in Latin.
#[must_use]
pub fn latin() -> &'static str {
    lipsum::LIBER_PRIMUS
}

/// The built-in text, ready to be split.
#[must_use]
pub fn text(tokens: TokenKind) -> Text {
    Text::from_content(LATIN_NAME, latin(), tokens)
}

/// A number below `count`, one draw each.
fn below(rng: &mut ChaCha12Rng, count: usize) -> usize {
    let count = u32::try_from(count).unwrap_or_else(|_| panic!("a choice among {count}"));
    ((u64::from(rng.next_u32()) * u64::from(count)) >> 32) as usize
}

/// One of the choices, one draw.
fn pick<T: Copy>(rng: &mut ChaCha12Rng, choices: &[T]) -> T {
    choices[below(rng, choices.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Vocabulary;

    #[test]
    fn the_latin_text_is_the_documented_one() {
        assert_eq!(latin().len(), 49_068);
        assert_eq!(Vocabulary::from_text(latin()).unwrap().len(), 57);
        assert_eq!(
            text(TokenKind::Char).symbols(),
            latin().chars().count() as u64
        );
        assert_eq!(text(TokenKind::Byte).symbols(), 49_068);
    }
}
