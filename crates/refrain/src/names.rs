//! Names of enums: one spelling in flags, files, errors and pages.

/// Gives an enum without data its names: `ALL`, `NAMES`, `name()`, `Display` and `FromStr`.
macro_rules! named {
    ($type:ident, $setting:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name of every value, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name in flags and files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::names::unknown($setting, text, Self::NAMES)),
                }
            }
        }
    };
}
pub(crate) use named;

/// The error for a value that is none of `names`.
pub(crate) fn unknown(setting: &str, found: &str, names: &[&str]) -> crate::Error {
    crate::Error::Setting {
        name: setting.into(),
        found: format!("`{found}`"),
        expected: one_of(names),
        hint: match nearest(found, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("give `--{setting}` one of these"),
        },
    }
}

/// "`a`, `b` or `c`".
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

/// The name that a mistyped word most likely stood for, if any is near: at most a third of its letters differ.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let near = (word.chars().count() / 3).max(1);
    names
        .iter()
        .map(|name| (edits(word, name), *name))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The fewest letters to insert, delete or replace to get from `a` to `b` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_levenshteins() {
        assert_eq!(edits("", ""), 0);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("hidden-size", "hidden_size"), 1);
    }

    #[test]
    fn the_nearest_is_near_or_none() {
        let names = ["hidden_size", "num_layers", "epochs"];
        assert_eq!(nearest("hiden_sise", &names), Some("hidden_size"));
        assert_eq!(nearest("epoch", &names), Some("epochs"));
        assert_eq!(nearest("colour", &names), None);
        assert_eq!(nearest(&"x".repeat(10_000), &names), None);
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
