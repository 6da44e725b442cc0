use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{nearest, one_of};
use crate::{Error, Result};

/// What a token is. As text: `char`, `byte`, `word`, `bpe:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenKind {
    /// A Unicode scalar value.
    Char,
    /// A byte.
    Byte,
    /// A word or a punctuation mark, after Unicode's rules for word boundaries (UAX #29).
    Word,
    /// A piece of a word, learnt by byte-pair encoding; so many tokens at most.
    Bpe(u32),
}

impl TokenKind {
    /// The name of every kind, in the order of the documentation.
    pub const NAMES: &'static [&'static str] = &["char", "byte", "word", "bpe:N"];
    /// How many tokens byte-pair encoding may have: the bytes and one more, up to the sizes in use elsewhere.
    pub const BPE_SIZES: RangeInclusive<u32> = 257..=65_536;

    /// Whether its texts must be UTF-8; only those of bytes need not be.
    #[must_use]
    pub const fn is_text(self) -> bool {
        !matches!(self, Self::Byte)
    }

    /// Whether a token may be longer than a symbol of a file, so that a text cannot be cut anywhere.
    #[must_use]
    pub(crate) const fn spans_symbols(self) -> bool {
        matches!(self, Self::Word | Self::Bpe(_))
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Char => f.pad("char"),
            Self::Byte => f.pad("byte"),
            Self::Word => f.pad("word"),
            Self::Bpe(size) => f.pad(&format!("bpe:{size}")),
        }
    }
}

impl FromStr for TokenKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sizes = Self::BPE_SIZES;
        let range = format!("N from {} to {}", sizes.start(), sizes.end());
        let size = text.strip_prefix("bpe:").map(str::parse);
        match (text, size) {
            ("char", _) => Ok(Self::Char),
            ("byte", _) => Ok(Self::Byte),
            ("word", _) => Ok(Self::Word),
            (_, Some(Ok(size))) if sizes.contains(&size) => Ok(Self::Bpe(size)),
            _ => Err(Error::Setting {
                name: "tokens".into(),
                found: format!("`{}`", text.escape_debug()),
                expected: one_of(Self::NAMES),
                hint: match nearest(text, Self::NAMES) {
                    _ if text.starts_with("bpe") => format!("give `bpe:N`, {range}: `bpe:4000`"),
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "give `--tokens` one of these".into(),
                },
            }),
        }
    }
}

impl TryFrom<String> for TokenKind {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TokenKind> for String {
    fn from(kind: TokenKind) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names() {
        for (kind, name) in [
            (TokenKind::Char, "char"),
            (TokenKind::Byte, "byte"),
            (TokenKind::Word, "word"),
            (TokenKind::Bpe(257), "bpe:257"),
            (TokenKind::Bpe(65_536), "bpe:65536"),
        ] {
            assert_eq!(kind.to_string(), name);
            assert_eq!(name.parse::<TokenKind>().unwrap(), kind);
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, name);
            assert_eq!(serde_json::from_value::<TokenKind>(json).unwrap(), kind);
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_is_near() {
        for (text, hint) in [
            ("words", "did you mean `word`?"),
            ("bpe", "give `bpe:N`, N from 257 to 65536: `bpe:4000`"),
            ("bpe:256", "give `bpe:N`, N from 257 to 65536: `bpe:4000`"),
            ("bpe:65537", "give `bpe:N`, N from 257 to 65536: `bpe:4000`"),
            ("bpe:-1", "give `bpe:N`, N from 257 to 65536: `bpe:4000`"),
            ("sentence\n", "give `--tokens` one of these"),
        ] {
            let error = text.parse::<TokenKind>().unwrap_err();
            assert_eq!(error.hint(), Some(hint), "{text}");
            assert!(
                error
                    .to_string()
                    .ends_with("expected `char`, `byte`, `word` or `bpe:N`")
            );
        }
    }
}
