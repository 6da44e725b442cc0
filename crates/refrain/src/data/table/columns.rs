//! Which column is the text and which the label (or what else two columns are, see [`Roles`]): as given, by the names of a header, or by what stands in the columns.

use std::collections::BTreeSet;

use super::super::rows::{counted, shown};
use super::fields::Record;
use super::{Roles, TableColumns};
use crate::names::{nearest, one_of};
use crate::{Error, Result};

/// The longest label that is believed when it is guessed, in characters.
const LONGEST_LABEL: usize = 60;
/// The longest name of a column that is believed.
const LONGEST_NAME: usize = 40;
/// Words in the names of columns that are about a text or a label, not it.
const ABOUT: &[&str] = &[
    "id", "ids", "date", "time", "length", "len", "count", "number", "url", "author", "user",
    "language", "name",
];
/// So many numbers below a word show that the word is a name.
const ENOUGH_NUMBERS: usize = 3;
/// So many rows without one label that comes again are not labelled.
const MANY_ROWS: usize = 32;
/// How many times as long as any other column that of the texts is.
const TEXT_IS_LONGER: u64 = 2;

/// Where things stand in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether the first row names the columns.
    pub(super) header: Option<Vec<String>>,
    pub(super) width: usize,
    pub(super) text: usize,
    pub(super) label: Option<usize>,
    /// What was guessed.
    pub(super) guesses: Vec<String>,
}

impl Layout {
    /// The columns as a caller would give them.
    pub(super) fn columns(&self) -> TableColumns {
        TableColumns {
            text: Some(self.name(self.text)),
            label: self.label.map(|column| self.name(column)),
        }
    }

    /// A column's name, or its number from 1 where it has none of its own.
    pub(super) fn name(&self, column: usize) -> String {
        let number = (column + 1).to_string();
        let Some(header) = &self.header else {
            return number;
        };
        let name = &header[column];
        let one = header.iter().filter(|other| *other == name).count() == 1;
        let is_number = name.parse::<usize>().is_ok();
        if name.is_empty() || is_number || !one {
            number
        } else {
            name.clone()
        }
    }
}

/// The first rows of a table and what is asked of them.
pub(super) struct Sample<'a> {
    pub(super) path: &'a str,
    /// Not empty; a header may be the first.
    pub(super) rows: &'a [Record],
    pub(super) columns: &'a TableColumns,
    /// What the columns are.
    pub(super) roles: Roles,
    /// Whether there must be a label.
    pub(super) labelled: bool,
    /// The first row holds the keys of an object, and columns have no numbers.
    pub(super) keys: bool,
}

/// Finds header and columns.
pub(super) fn layout(sample: &Sample<'_>) -> Result<Layout> {
    assert!(!sample.rows.is_empty(), "a sample without rows");
    let finder = Finder::new(sample);
    let header = finder.header()?;
    let mut layout = Layout {
        width: finder.width,
        header: header.then(|| finder.names.clone()),
        text: 0,
        label: None,
        guesses: Vec::new(),
    };
    let given = Pair {
        text: finder.given(TEXT, sample.columns.text.as_ref(), header, true)?,
        label: finder.given(
            LABEL,
            sample.columns.label.as_ref(),
            header,
            sample.labelled,
        )?,
    };
    let mut pair = given;
    if header {
        finder.by_name(&mut pair)?;
    }
    if sample.roles.by_content() {
        let stats = finder.stats(header);
        finder.by_content(&mut pair, &stats, header)?;
    } else {
        finder.by_place(&mut pair);
    }
    let Some(text) = pair.text else {
        return Err(finder.unclear(TEXT, header));
    };
    if pair.label.is_none() && sample.labelled {
        return Err(finder.unclear(LABEL, header));
    }
    layout.text = text;
    layout.label = pair.label;
    if layout.label == Some(text) {
        let [first, second] = sample.roles.nouns();
        return Err(Error::Setting {
            name: sample.roles.settings()[LABEL].into(),
            found: format!("`{}`", layout.name(text)),
            expected: format!("another column of `{}` than the {first}'s", sample.path),
            hint: format!("the {first} and the {second} stand in two columns"),
        });
    }
    layout.guesses = finder.guesses(&layout, given);
    Ok(layout)
}

/// The places of the two columns in [`Roles`].
const TEXT: usize = 0;
const LABEL: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    text: Option<usize>,
    label: Option<usize>,
}

/// What stands in a column below a header.
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    rows: usize,
    distinct: usize,
    chars: u64,
    longest: usize,
    /// Rows with a blank between words.
    spaced: usize,
}

impl Stats {
    /// Few and short values that come again.
    fn is_like_labels(&self) -> bool {
        self.rows >= 2 && self.distinct * 2 <= self.rows && self.longest <= LONGEST_LABEL
    }
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Header,
    Row,
    Unclear,
}

struct Finder<'a> {
    sample: &'a Sample<'a>,
    width: usize,
    /// The fields of the first row.
    names: Vec<String>,
    /// The rows below it that are as wide.
    below: Vec<&'a Record>,
}

impl<'a> Finder<'a> {
    fn new(sample: &'a Sample<'a>) -> Self {
        let first = &sample.rows[0].fields;
        let width = first.len();
        let below = sample.rows[1..].iter();
        Self {
            sample,
            width,
            names: first.iter().map(|f| f.text.trim().to_owned()).collect(),
            below: below.filter(|row| row.fields.len() == width).collect(),
        }
    }

    fn header(&self) -> Result<bool> {
        if self.sample.keys {
            return Ok(true);
        }
        let named = |column: &Option<String>| {
            let name = column.as_ref()?;
            (name.parse::<usize>().is_err()).then(|| self.names.contains(&name.trim().to_owned()))
        };
        let columns = self.sample.columns;
        if let Some(found) = named(&columns.text) {
            return Ok(found);
        }
        match named(&columns.label) {
            Some(true) => return Ok(true),
            Some(false) if self.sample.labelled => return Ok(false),
            _ => {}
        }
        match self.verdict() {
            Verdict::Header => Ok(true),
            Verdict::Row => Ok(false),
            // Numbers say where things stand; a header would most likely have been named.
            Verdict::Unclear if columns.text.is_some() && !self.label_is_open() => Ok(false),
            Verdict::Unclear => Err(Error::Unusable {
                problem: format!(
                    "`{}`: line 1 may name the columns or be the first row: {}",
                    self.sample.path,
                    self.described(false)
                ),
                hint: "say by `--text-column` and `--label-column`: names if it names them, numbers from 1 if not".into(),
            }),
        }
    }

    fn label_is_open(&self) -> bool {
        self.sample.labelled && self.sample.columns.label.is_none()
    }

    /// Whether the first row names the columns.
    fn verdict(&self) -> Verdict {
        let names = &self.names;
        // Tables written with row numbers, or with columns that were left over, have none for some columns.
        let given = || names.iter().filter(|name| !name.is_empty());
        let distinct: BTreeSet<_> = given().collect();
        let name_like = |name: &String| {
            name.chars().count() <= LONGEST_NAME
                && name.split_whitespace().count() <= 4
                && !is_number(name)
        };
        let count = given().count();
        if count == 0 || distinct.len() < count || !names.iter().all(name_like) {
            return Verdict::Row;
        }
        let recurs = |(column, name): (usize, &String)| {
            let mut below = self.below.iter();
            !name.is_empty() && below.any(|row| row.text(column).trim() == name)
        };
        if names.iter().enumerate().any(recurs) {
            return Verdict::Row;
        }
        let known = |role: usize, strict: bool| {
            let sets = self.sample.roles.names()[role];
            let known = |name: &String| {
                let name = name.to_lowercase();
                let is_of = |set: &&[&str]| set.contains(&name.as_str());
                is_of(&sets[0]) || !strict && is_of(&sets[1])
            };
            names.iter().any(known)
        };
        let both = known(TEXT, false) && known(LABEL, false);
        if !self.sample.roles.by_content() {
            // Sentences may be of one word, and a picture's name of any.
            return if both { Verdict::Header } else { Verdict::Row };
        }
        if both || known(TEXT, true) || known(LABEL, true) {
            return Verdict::Header;
        }
        let all_numbers = |column: usize| {
            let mut below = self.below.iter();
            !names[column].is_empty() && below.all(|row| is_number(row.text(column)))
        };
        let numbers = !self.below.is_empty() && (0..self.width).any(all_numbers);
        if numbers && self.below.len() >= ENOUGH_NUMBERS {
            return Verdict::Header;
        }
        let single_words = names.iter().all(|name| !name.contains(char::is_whitespace));
        let labels = self.stats(true).iter().any(Stats::is_like_labels);
        if single_words && (labels || numbers) && self.width > 1 {
            Verdict::Unclear
        } else {
            Verdict::Row
        }
    }

    /// The column that the caller names or numbers.
    fn given(
        &self,
        role: usize,
        column: Option<&String>,
        header: bool,
        needed: bool,
    ) -> Result<Option<usize>> {
        let Some(name) = column else {
            return Ok(None);
        };
        let place = match name.trim().parse::<usize>() {
            _ if self.sample.keys => self.names.iter().position(|other| other == name.trim()),
            Ok(number) => (1..=self.width).contains(&number).then(|| number - 1),
            Err(_) if header => self.names.iter().position(|other| other == name.trim()),
            Err(_) => None,
        };
        if place.is_some() || !needed {
            return Ok(place);
        }
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        Err(Error::Setting {
            name: self.sample.roles.settings()[role].into(),
            found: shown(name),
            expected: match self.sample.keys {
                true => format!("a key of `{}`: {}", self.sample.path, self.described(true)),
                false => format!(
                    "a number from 1 to {}, or a name in line 1 of `{}`: {}",
                    self.width,
                    self.sample.path,
                    self.described(true)
                ),
            },
            hint: match nearest(name, &names) {
                Some(near) => format!("did you mean {}?", shown(near)),
                None if self.sample.keys => "columns of JSON are the keys of its objects".into(),
                None => "columns are counted from 1".into(),
            },
        })
    }

    /// Fills in what the header's names tell.
    fn by_name(&self, pair: &mut Pair) -> Result<()> {
        if pair.text.is_none() {
            pair.text = self.named(TEXT, pair.label)?;
        }
        if pair.label.is_none() {
            pair.label = self.named(LABEL, pair.text)?;
        }
        Ok(())
    }

    fn named(&self, role: usize, taken: Option<usize>) -> Result<Option<usize>> {
        let sets = self.sample.roles.names()[role];
        for set in sets {
            let names = self.names.iter().enumerate();
            let found: Vec<usize> = names
                .filter(|(column, name)| {
                    Some(*column) != taken && set.contains(&name.to_lowercase().as_str())
                })
                .map(|(column, _)| column)
                .collect();
            match found[..] {
                [] => {}
                [column] => return Ok(Some(column)),
                _ if role == LABEL && !self.sample.labelled => return Ok(None),
                _ => return Err(self.unclear(role, true)),
            }
        }
        // `review_text`, `class label`: where there is one such.
        let compound = |(column, name): (usize, &String)| {
            let name = name.to_lowercase();
            let words = || name.split(|c: char| !c.is_alphanumeric());
            let known = words().any(|word| sets[0].contains(&word));
            let about = words().any(|word| ABOUT.contains(&word));
            (known && !about && Some(column) != taken).then_some(column)
        };
        let mut found = self.names.iter().enumerate().filter_map(compound);
        Ok(match (found.next(), found.next()) {
            (Some(column), None) => Some(column),
            _ => None,
        })
    }

    fn stats(&self, header: bool) -> Vec<Stats> {
        let first = (!header).then_some(&self.sample.rows[0]);
        let rows = || first.into_iter().chain(self.below.iter().copied());
        let column = |column: usize| {
            let mut distinct = BTreeSet::new();
            let mut stats = Stats::default();
            for row in rows() {
                let text = row.text(column);
                let chars = text.chars().count();
                distinct.insert(text);
                stats.rows += 1;
                stats.chars += chars as u64;
                stats.longest = stats.longest.max(chars);
                stats.spaced += usize::from(text.trim().contains(char::is_whitespace));
            }
            stats.distinct = distinct.len();
            stats
        };
        (0..self.width).map(column).collect()
    }

    /// Fills in what the columns' content tells.
    fn by_content(&self, pair: &mut Pair, stats: &[Stats], header: bool) -> Result<()> {
        let free = |pair: &Pair| -> Vec<usize> {
            let taken = |column: &usize| pair.text == Some(*column) || pair.label == Some(*column);
            (0..self.width).filter(|column| !taken(column)).collect()
        };
        if pair.text.is_none() {
            pair.text = match free(pair)[..] {
                [only] => Some(only),
                [a, b] if self.width == 2 => text_of_two(a, b, stats),
                ref columns => longest(columns, stats),
            };
        }
        if pair.text.is_none() {
            return Err(self.unclear(TEXT, header));
        }
        if pair.label.is_some() {
            return Ok(());
        }
        let columns = free(pair);
        let mut like_labels = columns.iter().filter(|&&c| stats[c].is_like_labels());
        pair.label = match (like_labels.next(), like_labels.next(), &columns[..]) {
            // The other of two, unless each row has its own.
            (_, _, &[only]) if self.sample.labelled => {
                let stats = &stats[only];
                (stats.rows < MANY_ROWS || stats.distinct < stats.rows).then_some(only)
            }
            // A name that is none of a label's says that the table has none, unless there must be one.
            _ if header && !self.sample.labelled => None,
            (Some(&column), None, _) => Some(column),
            _ => None,
        };
        Ok(())
    }

    /// Takes the first columns, in their order; keys have none.
    fn by_place(&self, pair: &mut Pair) {
        if self.sample.keys {
            return;
        }
        let text = pair
            .text
            .or_else(|| (0..self.width).find(|&column| pair.label != Some(column)));
        pair.label = pair
            .label
            .or_else(|| (0..self.width).find(|&column| text != Some(column)));
        pair.text = text;
    }

    fn unclear(&self, role: usize, header: bool) -> Error {
        let path = self.sample.path;
        let described = self.described(header);
        let roles = self.sample.roles;
        let [first, second] = roles.nouns();
        if self.width == 1 {
            let formats = match roles {
                Roles::Labelled => "tsv, csv, jsonl, fasttext, label-first",
                Roles::Pairs | Roles::Captions => "tsv, csv, jsonl",
            };
            return Error::Unusable {
                problem: format!(
                    "`{path}` has one column, expected a {first} and a {second}: {described}"
                ),
                hint: format!("`--format` names another format, if it is one: {formats}"),
            };
        }
        let what = roles.nouns()[role];
        let which = if self.sample.keys { "key" } else { "column" };
        Error::Unusable {
            problem: format!("`{path}`: it is not clear which {which} is the {what}: {described}"),
            hint: roles.hint(),
        }
    }

    /// The columns with an example each.
    fn described(&self, header: bool) -> String {
        /// Enough to choose from.
        const MOST: usize = 12;
        let column = |column: usize| {
            let number = column + 1;
            let name = shown(&self.names[column]);
            match (header, self.below.first()) {
                (true, Some(row)) => format!("{number} {name} (as {})", shown(row.text(column))),
                _ => format!("{number} {name}"),
            }
        };
        let columns: Vec<_> = (0..self.width.min(MOST)).map(column).collect();
        let dots = if self.width > MOST { ", …" } else { "" };
        format!("{}{dots}", columns.join(", "))
    }

    fn guesses(&self, layout: &Layout, given: Pair) -> Vec<String> {
        let path = self.sample.path;
        let [first, second] = self.sample.roles.nouns();
        let shown_name = |column| shown(&layout.name(column));
        let mut guesses = Vec::new();
        if self.sample.keys {
        } else if layout.header.is_some() {
            let names: Vec<_> = self.names.iter().map(|name| shown(name)).collect();
            let names: Vec<_> = names.iter().map(|name| name.trim_matches('`')).collect();
            guesses.push(format!(
                "`{path}`: line 1 names the columns {}",
                one_of(&names).replace(" or ", " and ")
            ));
        } else if self.width > 1 {
            let columns = counted(self.width, "column");
            guesses.push(format!("`{path}`: {columns}, no line with their names"));
        }
        if given.text.is_none() && self.width > 1 {
            let column = shown_name(layout.text);
            guesses.push(format!("`{path}`: the {first} is column {column}"));
        }
        if let (None, Some(column)) = (given.label, layout.label) {
            let column = shown_name(column);
            guesses.push(format!("`{path}`: the {second} is column {column}"));
        }
        guesses
    }
}

/// Which of two columns is the text: not the one whose values come again, not the one without a blank, or the far longer.
fn text_of_two(a: usize, b: usize, stats: &[Stats]) -> Option<usize> {
    let (x, y) = (&stats[a], &stats[b]);
    match (x.is_like_labels(), y.is_like_labels()) {
        (true, false) => return Some(b),
        (false, true) => return Some(a),
        _ => {}
    }
    if x.spaced == 0 && y.spaced * 2 > y.rows {
        return Some(b);
    }
    if y.spaced == 0 && x.spaced * 2 > x.rows {
        return Some(a);
    }
    longest(&[a, b], stats)
}

/// The column that is far longer than each other.
fn longest(columns: &[usize], stats: &[Stats]) -> Option<usize> {
    let longest = *columns.iter().max_by_key(|&&column| stats[column].chars)?;
    let is_less = |column: &&usize| stats[**column].chars * TEXT_IS_LONGER <= stats[longest].chars;
    let less = columns.iter().filter(is_less).count();
    (less + 1 == columns.len() && stats[longest].chars > 0).then_some(longest)
}

fn is_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests;
