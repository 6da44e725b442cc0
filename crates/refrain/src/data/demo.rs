//! Data that is built in.

use super::{Text, TokenKind};

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
