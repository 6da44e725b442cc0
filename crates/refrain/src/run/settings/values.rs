//! Values of settings that are not plain numbers: a number or a word, a fraction or a file.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::names::named;

/// What is learnt, and from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A language model: each token from those before it.
    Lm,
    /// A class for each sequence.
    Classify,
    /// A class for each step of a sequence.
    Tag,
    /// A sequence for each sequence.
    Translate,
    /// A sentence for each picture or vector.
    Caption,
    /// The next numbers of a series or a sequence.
    Forecast,
}

named!(Task, "task", {
    Lm => "lm",
    Classify => "classify",
    Tag => "tag",
    Translate => "translate",
    Caption => "caption",
    Forecast => "forecast",
});

/// How much the labels of each class count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All labels alike.
    None,
    /// All classes alike: the rarer a class, the more each of its labels.
    Balanced,
}

named!(ClassWeights, "class-weights", { None => "none", Balanced => "balanced" });

/// A text that is not the value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ValueError {
    /// The values possible.
    pub expected: String,
}

/// A number that may be absent: written `none` then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// No limit.
    None,
    /// This one.
    At(T),
}

impl<T> Limit<T> {
    /// The number, if there is one.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::At(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for Limit<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Self::At)
    }
}

/// Steps in a chunk of truncated backpropagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The whole stream.
    Full,
    /// So many.
    Steps(u64),
}

impl Chunk {
    /// The number of steps, if there is one.
    #[must_use]
    pub fn steps(self) -> Option<u64> {
        match self {
            Self::Full => None,
            Self::Steps(steps) => Some(steps),
        }
    }
}

impl From<Option<u64>> for Chunk {
    fn from(steps: Option<u64>) -> Self {
        steps.map_or(Self::Full, Self::Steps)
    }
}

/// The word for no limit.
const NONE: &str = "none";
/// The word for a chunk of the whole stream.
const FULL: &str = "full";

/// A number as TOML, JSON and flags give it.
trait Number: Copy + FromStr + Serialize {
    const EXPECTED: &'static str;
    fn from_integer(value: i128) -> Option<Self>;
    fn from_float(value: f64) -> Option<Self>;
}

impl Number for u64 {
    const EXPECTED: &'static str = "a whole number";

    fn from_integer(value: i128) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn from_float(_: f64) -> Option<Self> {
        None
    }
}

impl Number for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_integer(value: i128) -> Option<Self> {
        Some(value as Self)
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value)
    }
}

fn expected<T: Number>(word: &str) -> String {
    format!("{} or `{word}`", T::EXPECTED)
}

fn parse<T: Number>(text: &str, word: &str) -> Result<Option<T>, ValueError> {
    if text == word {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ValueError {
        expected: expected::<T>(word),
    })
}

/// Reads a number, or the word as `None`.
struct NumberOr<T>(&'static str, PhantomData<T>);

impl<T: Number> Visitor<'_> for NumberOr<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&expected::<T>(self.0))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        let number = T::from_integer(value.into()).map(Some);
        number.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        let number = T::from_integer(value.into()).map(Some);
        number.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        let number = T::from_float(value).map(Some);
        number.ok_or_else(|| E::invalid_type(de::Unexpected::Float(value), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == self.0 {
            Ok(None)
        } else {
            Err(E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
}

fn read<'de, T: Number, D: Deserializer<'de>>(
    deserializer: D,
    word: &'static str,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(NumberOr(word, PhantomData))
}

fn write<T: Number, S: Serializer>(
    value: Option<T>,
    word: &str,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(word),
    }
}

macro_rules! number_or_word {
    ($type:ty, $number:ty, $word:ident, $value:ident) => {
        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                parse::<$number>(text, $word).map(Self::from)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read::<$number, D>(deserializer, $word).map(Self::from)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                write::<$number, S>(self.$value(), $word, serializer)
            }
        }
    };
}

number_or_word!(Limit<f64>, f64, NONE, value);
number_or_word!(Limit<u64>, u64, NONE, value);
number_or_word!(Chunk, u64, FULL, steps);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CellKind, Init, Nonlinearity};
    use crate::optim::{OptimizerKind, Schedule};

    /// One name in flags, files and messages.
    #[test]
    fn names_are_what_serde_writes() {
        macro_rules! same {
            ($($type:ident),+) => {$(
                for value in $type::ALL {
                    assert_eq!(serde_json::to_value(value).unwrap(), value.name());
                    assert_eq!(value.name().parse::<$type>().unwrap(), *value);
                }
            )+};
        }
        same!(Task, CellKind, Nonlinearity, Init, OptimizerKind, Schedule);
        let error = "adam w".parse::<OptimizerKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`optimizer` is `adam w`, expected `sgd`, `adam`, `adamw`, `rmsprop` or `adagrad`"
        );
        assert_eq!(error.hint(), Some("did you mean `adamw`?"));
    }

    #[test]
    fn numbers_and_words_are_read_from_flags() {
        assert_eq!("none".parse(), Ok(Limit::<f64>::None));
        assert_eq!("0.5".parse(), Ok(Limit::At(0.5)));
        assert_eq!("3".parse(), Ok(Limit::At(3_u64)));
        assert_eq!("full".parse(), Ok(Chunk::Full));
        assert_eq!("64".parse(), Ok(Chunk::Steps(64)));
        let error = "half".parse::<Chunk>().unwrap_err();
        assert_eq!(error.to_string(), "expected a whole number or `full`");
    }
}
