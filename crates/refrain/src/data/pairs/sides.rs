//! The two sides of a part that is named by one of them.

use std::path::{Path, PathBuf};

use super::PairOptions;
use crate::error::{Error, Result};

/// The files that the path of a part stands for: itself if it is a table, else its two sides.
///
/// - `SOURCE,TARGET` names both.
/// - Where the training data are two parallel files, either side will do, or what both have in common: with the training
///   files `train.en.zst` and `train.de.zst`, each of `val.en.zst`, `val.de.zst` and `val` stands for `val.en.zst` and
///   `val.de.zst`.
///
/// # Errors
/// [`Error::Unusable`] where the other side is not found.
pub fn both_sides(
    path: &Path,
    training: &[PathBuf],
    options: &PairOptions,
) -> Result<Vec<PathBuf>> {
    if let Some(sides) = named_both(path) {
        return Ok(sides.into());
    }
    if options.table(path).is_some() {
        return Ok(vec![path.into()]);
    }
    const BOTH: &str = "name both with a comma between them: `SOURCE,TARGET`";
    let unknown = |problem: String| Error::Unusable {
        problem,
        hint: BOTH.into(),
    };
    let sides = match training {
        [source, target] if options.table(source).is_none() => Some((source, target)),
        _ => None,
    };
    let (source, target) = sides.ok_or_else(|| {
        unknown(format!(
            "`{}` is one file of sentences, and the training data are no two parallel files that would tell the name of the other",
            path.display()
        ))
    })?;
    let changes = changes(source, target).ok_or_else(|| {
        unknown(format!(
            "the names `{}` and `{}` do not tell which file belongs to `{}`",
            source.display(),
            target.display(),
            path.display()
        ))
    })?;
    let mut tried = Vec::new();
    changes.sides_of(path, &mut tried).ok_or_else(|| {
        let tried: Vec<_> = tried
            .iter()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        let tried = match tried.is_empty() {
            true => String::new(),
            false => format!(": there is no {}", tried.join(", no ")),
        };
        unknown(format!(
            "the other side of `{}` was not found{tried}",
            path.display()
        ))
    })
}

/// `SOURCE,TARGET`, if there is no file of that name. A target that is relative to some folder above an absolute source is
/// found there, since a list of two may have been made absolute as if it were one path.
fn named_both(path: &Path) -> Option<[PathBuf; 2]> {
    let (source, target) = path.to_str()?.split_once(',')?;
    if path.exists() || source.is_empty() || target.is_empty() {
        return None;
    }
    let (source, target) = (Path::new(source), Path::new(target));
    let above = source
        .ancestors()
        .skip(1)
        .filter(|_| source.is_absolute() && target.is_relative());
    let found = above
        .map(|folder| folder.join(target))
        .find(|path| path.is_file());
    Some([source.into(), found.unwrap_or_else(|| target.into())])
}

/// Words of letters and digits, and what stands between them, by turns.
fn words(path: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest
            .find(|c: char| c.is_alphanumeric() != is_word)
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}

/// Which words of a source's path are others in its target's.
struct Changes {
    /// From the last to the first.
    words: Vec<(String, String)>,
    /// From before the first of them in the files' names to the end, if something stands before it.
    tails: Option<[String; 2]>,
}

fn changes(source: &Path, target: &Path) -> Option<Changes> {
    let (source, target) = (source.to_str()?, target.to_str()?);
    let (from, to) = (words(source), words(target));
    let is_word = |word: &str| word.chars().all(char::is_alphanumeric);
    let differ = |at: &usize| from[*at] != to[*at];
    let places: Vec<usize> = (0..from.len().min(to.len())).filter(differ).collect();
    let fits = from.len() == to.len()
        && !places.is_empty()
        && places
            .iter()
            .all(|&at| is_word(from[at]) && is_word(to[at]));
    if !fits {
        return None;
    }
    let changed = places.iter().rev();
    let changed = changed.map(|&at| (from[at].to_owned(), to[at].to_owned()));
    let is_folder = |word: &&str| word.contains(std::path::is_separator);
    let name = from.iter().rposition(is_folder).map_or(0, |at| at + 1);
    let first = places.iter().find(|&&at| at > name + 1);
    let tails = first.map(|&at| [from[at - 1..].concat(), to[at - 1..].concat()]);
    Some(Changes {
        words: changed.collect(),
        tails,
    })
}

impl Changes {
    /// Both sides, if the files are there; else which were looked for.
    fn sides_of(&self, path: &Path, tried: &mut Vec<PathBuf>) -> Option<Vec<PathBuf>> {
        let mut is_there = |path: &PathBuf| {
            let found = path.is_file();
            if !found && !tried.contains(path) {
                tried.push(path.clone());
            }
            found
        };
        if path.is_file() {
            if let Some(target) = self.changed(path, false).filter(&mut is_there) {
                return Some(vec![path.into(), target]);
            }
            let source = self.changed(path, true).filter(&mut is_there)?;
            return Some(vec![source, path.into()]);
        }
        let tails = self.tails.as_ref()?;
        let with = |tail: &String| PathBuf::from(format!("{}{tail}", path.display()));
        let sides: Vec<_> = tails.iter().map(with).collect();
        // Both are looked for, so that both can be named.
        let missing = sides.iter().filter(|side| !is_there(side)).count();
        (missing == 0).then_some(sides)
    }

    /// The path with the last of each changed words as it is on the other side.
    fn changed(&self, path: &Path, back: bool) -> Option<PathBuf> {
        let path = path.to_str()?;
        let mut words: Vec<&str> = words(path);
        let mut done = vec![false; words.len()];
        for (source, target) in &self.words {
            let (from, to) = if back {
                (target, source)
            } else {
                (source, target)
            };
            let place = (0..words.len()).rfind(|&at| !done[at] && words[at] == from);
            if let Some(at) = place {
                words[at] = to;
                done[at] = true;
            }
        }
        done.contains(&true).then(|| words.concat().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_is_between_take_turns() {
        assert_eq!(words("/a.b1--ä"), ["/", "a", ".", "b1", "--", "ä"]);
        assert_eq!(words(""), Vec::<&str>::new());
    }
}
