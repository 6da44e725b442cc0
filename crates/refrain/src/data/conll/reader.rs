//! The sentences of one file, in constant memory.

use std::io::{BufReader, Read};
use std::path::Path;

use super::super::rows::{BadRows, Lines, Problem, RowNotes, Rows, Step, Tally, counted, shown};
use super::super::table::TableColumns;
use super::{MAX_TOKENS, SentenceFormat, SentenceOptions, TaggedSentence};
use crate::names::nearest;
use crate::{Error, Result};

/// CoNLL-U's columns, as the users of its files call them.
const CONLLU_NAMES: [&str; 10] = [
    "id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
];
const FORM: usize = 1;
const UPOS: usize = 3;
/// Columns in which `_` says that nothing was annotated; in the others it is a value.
const CONLLU_ANNOTATED: [&str; 4] = ["upos", "xpos", "head", "deprel"];
/// What parts documents; it stands in the place of a token.
const DOCUMENT_START: &str = "-DOCSTART-";

/// Reads the sentences of one file, in constant memory, whatever its size.
///
/// A sentence with a bad line comes out as an error, or is left out and counted; the next one can be read after it. After any
/// other error it ends.
///
/// # Examples
///
/// ```
/// use refrain::data::conll::{SentenceFormat, SentenceOptions, SentenceReader};
///
/// let options = SentenceOptions { format: Some(SentenceFormat::Conll), ..SentenceOptions::default() };
/// let mut reader = SentenceReader::new(&b"From\tADP\nhere\tADV\n\nYes\tINTJ\n"[..], "-", &options)?;
/// let sentence = reader.next().expect("a sentence")?;
/// assert_eq!((sentence.tokens, sentence.labels), (vec!["From".into(), "here".into()], vec!["ADP".into(), "ADV".into()]));
/// assert_eq!(reader.next().expect("a sentence")?.line, 4);
/// # Ok::<(), refrain::Error>(())
/// ```
pub struct SentenceReader<'a> {
    lines: Lines<'a>,
    columns: Columns,
    bad: BadRows,
    ended: bool,
}

/// How a line becomes a token and its label.
struct Columns {
    format: SentenceFormat,
    /// Whether the format was told by the name alone, and no column was given.
    guessed: bool,
    /// The columns of token and label, from 0.
    token: usize,
    label: Option<usize>,
    label_given: bool,
    table: Option<Table>,
    /// What was guessed by the first row.
    guess: Option<String>,
}

/// What the first row tells about the others.
#[derive(Clone, Copy, Debug)]
struct Table {
    tabs: bool,
    width: usize,
    line: u64,
}

/// What a line is.
enum Row<'a> {
    Token {
        token: &'a str,
        label: Option<&'a str>,
    },
    /// It parts sentences.
    Boundary,
    /// It is passed over.
    Nothing,
}

impl<'a> SentenceReader<'a> {
    /// Opens a file; `.gz` and `.zst` are unpacked on the way.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`Error::Io`] where the file cannot be opened.
    pub fn open(path: &Path, options: &SentenceOptions) -> Result<Self> {
        let lines = Lines::open(path, &mut None, Tally::new(options.max_bytes))?;
        Self::from_lines(lines, path, options)
    }

    /// Reads what a reader gives, for example standard input; messages call it `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] where neither options nor name tell the format, [`Error::Setting`] for a column that cannot be.
    pub fn new(reader: impl Read + 'a, name: &str, options: &SentenceOptions) -> Result<Self> {
        let reader = Box::new(BufReader::new(reader));
        let lines = Lines::new(reader, name, Tally::new(options.max_bytes));
        Self::from_lines(lines, Path::new(name), options)
    }

    pub(super) fn from_lines(
        lines: Lines<'a>,
        path: &Path,
        options: &SentenceOptions,
    ) -> Result<Self> {
        let format = options.format.or_else(|| SentenceFormat::from_ending(path));
        let format = format.ok_or_else(|| Error::Unusable {
            problem: format!(
                "the name `{}` does not tell the format of its sentences",
                lines.name()
            ),
            hint: format!("`--format` does: {}", SentenceFormat::NAMES.join(", ")),
        })?;
        if format == SentenceFormat::Lines && options.labelled {
            return Err(Error::Setting {
                name: "format".into(),
                found: "`lines`".into(),
                expected: "a format with labels: `conll` or `conllu`".into(),
                hint: "lines of tokens alone are for `predict`".into(),
            });
        }
        let (columns, conllu) = (&options.columns, format == SentenceFormat::Conllu);
        let token = match &columns.text {
            Some(column) => number("text-column", column, format)?,
            None if conllu => FORM,
            None => 0,
        };
        let label = match &columns.label {
            Some(column) => number("label-column", column, format)?,
            None if conllu => UPOS,
            None => 1,
        };
        if options.labelled && token == label {
            return Err(Error::Setting {
                name: "label-column".into(),
                found: format!("column {}", label + 1),
                expected: "another column than the token's".into(),
                hint:
                    "the token and its label stand in two columns; `--text-column` is the token's"
                        .into(),
            });
        }
        Ok(Self {
            lines,
            columns: Columns {
                format,
                guessed: options.format.is_none() && *columns == TableColumns::default(),
                token,
                label: options.labelled.then_some(label),
                label_given: columns.label.is_some(),
                table: None,
                guess: None,
            },
            bad: BadRows::new(options.on_bad_row),
            ended: false,
        })
    }

    /// The format that was given, or told by the name.
    #[must_use]
    pub fn format(&self) -> SentenceFormat {
        self.columns.format
    }

    /// How many sentences were left out so far.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.bad.skipped()
    }

    /// What was changed and guessed so far.
    #[must_use]
    pub fn notes(&self) -> RowNotes {
        let guess = self.columns.guess.iter();
        RowNotes {
            text: self.lines.notes(),
            guesses: guess
                .map(|guess| format!("`{}`: {guess}", self.lines.name()))
                .collect(),
            first_skipped: self.bad.first().cloned(),
        }
    }

    /// The next sentence that can be used or is an error.
    fn advance(&mut self) -> Result<Option<TaggedSentence>> {
        loop {
            let problem = match self.sentence()? {
                None => return Ok(None),
                Some(Ok(sentence)) => return Ok(Some(sentence)),
                Some(Err(problem)) => problem,
            };
            self.bad.meet(problem, self.lines.name(), 1)?;
        }
    }

    /// The next sentence, read to its end even where a line is bad.
    fn sentence(&mut self) -> Result<Option<Result<TaggedSentence, Problem>>> {
        let mut sentence = TaggedSentence {
            tokens: Vec::new(),
            labels: Vec::new(),
            line: 0,
        };
        let mut bad: Option<Problem> = None;
        loop {
            let mut boundary = self.columns.format == SentenceFormat::Lines;
            let step = self.lines.advance();
            match step.inspect_err(|_| self.ended = true)? {
                Step::End if bad.is_none() && sentence.tokens.is_empty() => return Ok(None),
                Step::End => boundary = true,
                Step::Bad(problem) => {
                    bad.get_or_insert(problem);
                }
                // What follows in a bad sentence is not looked at, but where it ends.
                Step::Line if bad.is_some() => boundary = is_blank(self.lines.text()),
                Step::Line if boundary => {
                    let line = self.lines.number();
                    bad = tokens_of_line(self.lines.text(), line, &mut sentence).err();
                }
                Step::Line => match self.columns.row(self.lines.text(), self.lines.number()) {
                    Ok(Row::Nothing) => {}
                    Ok(Row::Boundary) => boundary = true,
                    Ok(Row::Token { token, label }) => {
                        if sentence.tokens.len() < MAX_TOKENS {
                            sentence.tokens.push(token.to_owned());
                            sentence.labels.extend(label.map(str::to_owned));
                        } else {
                            bad = Some(too_long(self.lines.number()));
                        }
                        if sentence.line == 0 {
                            sentence.line = self.lines.number();
                        }
                    }
                    Err(problem) => bad = Some(problem),
                },
            }
            if bad.is_some() {
                sentence.tokens = Vec::new();
                sentence.labels = Vec::new();
            }
            if boundary && (bad.is_some() || !sentence.tokens.is_empty()) {
                return Ok(Some(bad.map_or(Ok(sentence), Err)));
            }
        }
    }
}

impl<'a> Rows<'a> for SentenceReader<'a> {
    type Row = TaggedSentence;

    const NOUN: &'static str = "sentence";
    const HINT: &'static str =
        "give a token a line: the token, a tab, its label; an empty line after each sentence";

    fn overhead(sentence: &TaggedSentence) -> usize {
        let texts = sentence.tokens.len() + sentence.labels.len();
        super::SENTENCE_BYTES + texts * super::TOKEN_BYTES
    }

    fn lines(&mut self) -> &mut Lines<'a> {
        &mut self.lines
    }

    fn finish(self) -> (Tally, u64, RowNotes) {
        let (skipped, notes) = (self.skipped(), self.notes());
        (self.lines.into_tally(), skipped, notes)
    }
}

impl Iterator for SentenceReader<'_> {
    type Item = Result<TaggedSentence>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let result = self.advance();
        // A bad sentence is no reason to end.
        self.ended |= !matches!(result, Ok(Some(_)) | Err(Error::Data { .. }));
        result.transpose()
    }
}

impl Columns {
    fn row<'a>(&mut self, text: &'a str, line: u64) -> Result<Row<'a>, Problem> {
        if is_blank(text) {
            return Ok(Row::Boundary);
        }
        if self.format == SentenceFormat::Conllu {
            if text.starts_with('#') {
                return Ok(Row::Nothing);
            }
            let row = self.columns(text, line)?;
            if !is_word(row[0].1, line)? {
                return Ok(Row::Nothing);
            }
            return self.token(&row, line);
        }
        let parts = [' ', '\t'];
        if text.split(parts).next() == Some(DOCUMENT_START) {
            return Ok(Row::Boundary);
        }
        let row = self.columns(text, line)?;
        self.token(&row, line)
    }

    /// The fields of a line with their columns in characters, as many as in the first line.
    fn columns<'a>(&mut self, text: &'a str, line: u64) -> Result<Fields<'a>, Problem> {
        let conllu = self.format == SentenceFormat::Conllu;
        let tabs = match self.table {
            Some(table) => table.tabs,
            None => conllu || text.contains('\t'),
        };
        let fields = fields(text, tabs);
        let expected = match self.table {
            _ if conllu => (CONLLU_NAMES.len(), "CoNLL-U's, between tabs".to_owned()),
            Some(table) => (table.width, format!("as in line {}", table.line)),
            None => {
                self.begin(text, &fields, line, tabs)?;
                return Ok(fields);
            }
        };
        let (width, why) = expected;
        if fields.len() == width {
            return Ok(fields);
        }
        let place = fields.get(width).or(fields.last());
        let problem = Problem::at(line, place.map_or(1, |field| field.0))
            .found(counted(fields.len(), "column"))
            .expected(format!("{width}, {why}"));
        Err(match conllu {
            true => problem.hint("`--format conll` takes any columns"),
            false => problem.hint("an empty line ends a sentence"),
        })
    }

    /// Learns from the first row.
    fn begin(
        &mut self,
        text: &str,
        fields: &Fields<'_>,
        line: u64,
        tabs: bool,
    ) -> Result<(), Problem> {
        let width = fields.len();
        let problem = || Problem::at(line, 1);
        let comment = text.starts_with('#') && text.contains(" = ");
        let conllu = tabs && width == CONLLU_NAMES.len() && fields[0].1 == "1";
        if self.guessed && (comment || conllu) {
            return Err(problem()
                .found(if comment { "a comment" } else { "ten columns that begin with a number" })
                .expected("a token, then its labels")
                .only_hint("this is CoNLL-U by its look: `--format conllu`, or say what it is by `--format conll`"));
        }
        let needed = [(Some(self.token), "token"), (self.label, "label")];
        for (column, what) in needed {
            let Some(column) = column.filter(|&column| column >= width) else {
                continue;
            };
            return Err(problem()
                .found(format!("{}, {}", counted(width, "column"), shown(text)))
                .expected(format!("a {what} in column {}", column + 1))
                .hint("columns are parted by tabs or spaces; `--text-column` and `--label-column` name others"));
        }
        if let (Some(label), false, true) = (self.label, self.label_given, width > 2) {
            let (columns, example) = (counted(width, "column"), shown(fields[label].1));
            self.guess = Some(format!(
                "{columns}, the label is column {} (as {example})",
                label + 1
            ));
        }
        self.table = Some(Table { tabs, width, line });
        Ok(())
    }

    fn token<'a>(&self, row: &Fields<'a>, line: u64) -> Result<Row<'a>, Problem> {
        let take = |column: usize, what: &str| {
            let (place, text) = row[column];
            if !text.trim().is_empty() {
                return Ok(text);
            }
            Err(Problem::at(line, place)
                .found(format!("an empty {what}"))
                .expected(format!("a {what}")))
        };
        let token = take(self.token, "token")?;
        let Some(column) = self.label else {
            return Ok(Row::Token { token, label: None });
        };
        let label = take(column, "label")?;
        let annotated = self.format == SentenceFormat::Conllu
            && CONLLU_ANNOTATED.contains(&CONLLU_NAMES[column]);
        if annotated && label == "_" {
            let name = CONLLU_NAMES[column];
            return Err(Problem::at(line, row[column].0)
                .found(format!("`_`, which says that there is no {name}"))
                .expected("a label")
                .hint("`--label-column` names another column"));
        }
        Ok(Row::Token {
            token,
            label: Some(label),
        })
    }
}

/// The fields of a line, each with its column in characters from 1.
type Fields<'a> = Vec<(u64, &'a str)>;

fn fields(text: &str, tabs: bool) -> Fields<'_> {
    let mut column = 1;
    let mut place = |part: &str| {
        let begin = column;
        column += part.chars().count() as u64 + 1;
        begin
    };
    if tabs {
        return text.split('\t').map(|part| (place(part), part)).collect();
    }
    let parts = text.split([' ', '\t']).map(|part| (place(part), part));
    parts.filter(|(_, part)| !part.is_empty()).collect()
}

/// Whether the number of a line of CoNLL-U is that of a word, not of a range or an empty node.
fn is_word(id: &str, line: u64) -> Result<bool, Problem> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let two = id.split_once(['-', '.']);
    match two {
        None if digits(id) => Ok(true),
        Some((a, b)) if digits(a) && digits(b) => Ok(false),
        _ => Err(Problem::at(line, 1)
            .found(shown(id))
            .expected("a token's number, `1`, a range, `1-2`, or an empty node, `1.1`")),
    }
}

/// The tokens of a line of the format `lines`.
fn tokens_of_line(text: &str, line: u64, sentence: &mut TaggedSentence) -> Result<(), Problem> {
    let tokens: Vec<&str> = text
        .split([' ', '\t'])
        .filter(|token| !token.is_empty())
        .take(MAX_TOKENS + 1)
        .collect();
    if tokens.is_empty() {
        let problem = Problem::at(line, 1).found("an empty line");
        return Err(problem.expected("tokens between spaces"));
    }
    if tokens.len() > MAX_TOKENS {
        return Err(too_long(line));
    }
    sentence.tokens = tokens.into_iter().map(str::to_owned).collect();
    sentence.line = line;
    Ok(())
}

fn too_long(line: u64) -> Problem {
    Problem::at(line, 1)
        .found(format!("a sentence of more than {MAX_TOKENS} tokens"))
        .expected("its end")
        .hint("an empty line ends a sentence")
}

fn is_blank(text: &str) -> bool {
    text.trim_matches([' ', '\t']).is_empty()
}

/// A column, from 0, out of its number or name.
fn number(setting: &str, column: &str, format: SentenceFormat) -> Result<usize> {
    let name = column.trim();
    let names: &[&str] = match format {
        SentenceFormat::Conllu => &CONLLU_NAMES,
        SentenceFormat::Conll | SentenceFormat::Lines => &[],
    };
    let lower = name.to_lowercase();
    let named = names.iter().position(|other| *other == lower);
    let numbered = || {
        let number: usize = name.parse().ok()?;
        let most = if names.is_empty() {
            usize::MAX
        } else {
            names.len()
        };
        (1..=most).contains(&number).then(|| number - 1)
    };
    let place = named
        .or_else(numbered)
        .filter(|_| format != SentenceFormat::Lines);
    place.ok_or_else(|| Error::Setting {
        name: setting.into(),
        found: shown(name),
        expected: match format {
            SentenceFormat::Conll => "a number from 1, as these columns have no names".into(),
            SentenceFormat::Conllu => format!("a number from 1 to 10 or {}", names.join(", ")),
            SentenceFormat::Lines => "nothing for the format `lines`, which has no columns".into(),
        },
        hint: match nearest(&lower, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "columns are counted from 1".into(),
        },
    })
}
