use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::arrays::Arrays;
use super::super::labelled::{PartSources, Parts, Raw, RawOptions, read_parts, read_raw};
use super::super::rows::{OnBadRow, ending};
use super::super::series::{Series, SeriesOptions, read_series};
use super::super::source::hex;
use super::super::table::TableColumns;
use super::super::{Format, Portion};
use crate::error::{Error, Result};

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForecastFormat {
    /// Columns between this sign, with a line of names, a row a step of time.
    Table(char),
    /// Arrays.
    Npz,
}

impl ForecastFormat {
    /// What a format or else the ending of a name says.
    ///
    /// # Errors
    /// [`Error::Setting`] for a format that is not of numbers, [`Error::Unusable`] for a name that says nothing.
    pub fn of(format: Option<Format>, path: &Path) -> Result<Self> {
        match (format, ending(path).as_deref()) {
            (Some(Format::Csv), _) | (None, Some("csv")) => Ok(Self::Table(',')),
            (Some(Format::Tsv), _) | (None, Some("tsv" | "tab")) => Ok(Self::Table('\t')),
            (Some(Format::Npz), _) | (None, Some("npz")) => Ok(Self::Npz),
            (Some(format), _) => Err(Error::Setting {
                name: "format".into(),
                found: format!("`{format}`"),
                expected: "a format that the task forecast reads".into(),
                hint: "forecast reads csv, tsv and npz".into(),
            }),
            (None, _) if path.as_os_str() == "-" => Ok(Self::Table(',')),
            (None, _) => Err(Error::Unusable {
                problem: format!("`{}` is not named as a table or arrays are", path.display()),
                hint: "forecast reads `.csv`, `.tsv` and `.npz` (also `.gz`, `.zst`); or give `--format`".into(),
            }),
        }
    }
}

/// Numbers as they were read.
#[derive(Clone, Debug)]
pub enum RawForecast {
    /// One series.
    Table(Series),
    /// Some sequences of arrays.
    Arrays {
        /// All.
        arrays: Arc<Arrays>,
        /// Those that are meant.
        chosen: Vec<usize>,
        /// The file, for messages.
        name: String,
    },
}

impl RawForecast {
    /// The file, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Table(series) => &series.name,
            Self::Arrays { name, .. } => name,
        }
    }

    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a series",
            Self::Arrays { .. } => "arrays",
        }
    }

    /// Rows that were left out.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        match self {
            Self::Table(series) => series.skipped,
            Self::Arrays { .. } => 0,
        }
    }

    /// What a user should know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Table(series) => &series.notes,
            Self::Arrays { arrays, .. } => &arrays.notes,
        }
    }

    fn sha256(&self) -> &str {
        match self {
            Self::Table(series) => &series.sha256,
            Self::Arrays { arrays, .. } => &arrays.sha256,
        }
    }
}

/// How numbers are read.
#[derive(Clone, Copy, Debug)]
pub struct ForecastSources<'a> {
    /// The data; none is what is built in.
    pub paths: &'a [PathBuf],
    /// How it is written, where the ending does not tell.
    pub format: Option<Format>,
    /// What to hold back for validation.
    pub validation: &'a Portion,
    /// What to hold back for the test.
    pub test: &'a Portion,
    /// The seed by which sequences are held back.
    pub seed: u64,
    /// What happens to a bad row.
    pub on_bad_row: OnBadRow,
    /// The most memory that the data may take.
    pub max_bytes: u64,
}

/// A part that is not learnt from.
#[derive(Clone, Debug)]
pub enum HeldForecast {
    /// Rows of the series itself.
    Rows(Range<usize>),
    /// Other sequences, or another file.
    Own(RawForecast),
}

/// Numbers in parts.
#[derive(Clone, Debug)]
pub struct ForecastParts {
    /// What is learnt from; of a series all of it.
    pub train: RawForecast,
    /// Rows of the series to learn from.
    pub train_rows: usize,
    /// What is scored while learning, if anything.
    pub validation: Option<HeldForecast>,
    /// What is scored at the end, if anything.
    pub test: Option<HeldForecast>,
    /// A hash of all.
    pub sha256: String,
    /// What a user should know.
    pub notes: Vec<String>,
}

fn raw_options(max_bytes: u64) -> RawOptions {
    RawOptions {
        per_step: false,
        labelled: false,
        format: Some(Format::Npz),
        columns: TableColumns::default(),
        on_bad_row: OnBadRow::Error,
        max_bytes,
    }
}

/// Reads one file of numbers, for what a model is to answer or to be scored on.
///
/// # Errors
/// As [`read_series`] and [`super::super::arrays`].
pub fn read_numbers(
    path: &Path,
    format: Option<Format>,
    on_bad_row: OnBadRow,
    max_bytes: u64,
    stdin: Option<&[u8]>,
) -> Result<RawForecast> {
    match ForecastFormat::of(format, path)? {
        ForecastFormat::Table(delimiter) => {
            let options = SeriesOptions {
                delimiter: Some(delimiter),
                on_bad_row,
                max_bytes,
            };
            read_series(path, &options, stdin).map(RawForecast::Table)
        }
        ForecastFormat::Npz => {
            let read = read_raw(&[path.to_owned()], &raw_options(max_bytes), stdin)?;
            arrays_of(read.raw, path.display().to_string())
        }
    }
}

fn arrays_of(raw: Raw, name: String) -> Result<RawForecast> {
    match raw {
        Raw::Arrays(arrays, chosen) => Ok(RawForecast::Arrays {
            arrays,
            chosen,
            name,
        }),
        raw => Err(Error::Unusable {
            problem: format!("`{name}` holds {}, not numbers", raw.kind()),
            hint: "forecast reads `.csv`, `.tsv` and `.npz`".into(),
        }),
    }
}

/// Reads numbers and their parts. Of a series fractions are cut from its end, in the order training, validation, test; of
/// arrays whole sequences are held back at random, by the seed.
///
/// # Errors
/// As [`read_numbers`]; [`Error::Unusable`] for more files than one, or where nothing would be left to learn from.
pub fn read_forecast_parts(
    sources: ForecastSources<'_>,
    stdin: Option<&[u8]>,
) -> Result<ForecastParts> {
    let [path] = sources.paths else {
        return Err(Error::Unusable {
            problem: format!("{} files were given", sources.paths.len()),
            hint: "forecast reads one series or one file of arrays; further ones can be `--validation` and `--test`".into(),
        });
    };
    match ForecastFormat::of(sources.format, path)? {
        ForecastFormat::Table(_) => {
            let raw = read_numbers(
                path,
                sources.format,
                sources.on_bad_row,
                sources.max_bytes,
                stdin,
            )?;
            let RawForecast::Table(series) = raw else {
                panic!("a table that is none");
            };
            of_series(series, sources)
        }
        ForecastFormat::Npz => of_arrays(path, sources, stdin),
    }
}

/// A built-in series in parts.
///
/// # Errors
/// As [`read_forecast_parts`].
pub fn demo_parts(series: Series, sources: ForecastSources<'_>) -> Result<ForecastParts> {
    of_series(series, sources)
}

fn of_series(series: Series, sources: ForecastSources<'_>) -> Result<ForecastParts> {
    let rows = series.rows();
    let size = |portion: &Portion| match portion {
        Portion::Fraction(fraction) => (rows as f64 * fraction).round() as usize,
        Portion::None | Portion::File(_) => 0,
    };
    let (validation, test) = (size(sources.validation), size(sources.test));
    let train_rows = rows.saturating_sub(validation + test);
    if train_rows == 0 {
        return Err(Error::Unusable {
            problem: format!(
                "`{}` has {rows} steps, and none is left to learn from",
                series.name
            ),
            hint: "give more data, or a smaller `--validation` or `--test`".into(),
        });
    }
    let mut parts = ForecastParts {
        train_rows,
        validation: None,
        test: None,
        sha256: String::new(),
        notes: series.notes.clone(),
        train: RawForecast::Table(series),
    };
    let mut hashes = vec![parts.train.sha256().to_owned()];
    let test_from = train_rows + validation;
    let held = [
        ("validation", sources.validation, train_rows..test_from),
        ("test", sources.test, test_from..rows),
    ];
    for (what, portion, range) in held {
        let part = match portion {
            Portion::None => None,
            Portion::Fraction(fraction) if range.is_empty() => {
                if *fraction > 0.0 {
                    parts.notes.push(format!("too few steps for a {what} part"));
                }
                None
            }
            Portion::Fraction(_) => Some(HeldForecast::Rows(range)),
            Portion::File(path) => Some(file(path, sources, &mut hashes, &mut parts.notes)?),
        };
        match what {
            "test" => parts.test = part,
            _ => parts.validation = part,
        }
    }
    parts.sha256 = joined(&hashes);
    Ok(parts)
}

fn file(
    path: &Path,
    sources: ForecastSources<'_>,
    hashes: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<HeldForecast> {
    let raw = read_numbers(
        path,
        sources.format,
        sources.on_bad_row,
        sources.max_bytes,
        None,
    )?;
    hashes.push(raw.sha256().to_owned());
    notes.extend_from_slice(raw.notes());
    Ok(HeldForecast::Own(raw))
}

fn of_arrays(
    path: &Path,
    sources: ForecastSources<'_>,
    stdin: Option<&[u8]>,
) -> Result<ForecastParts> {
    let all = PartSources {
        paths: sources.paths,
        validation: sources.validation,
        test: sources.test,
        seed: sources.seed,
    };
    let options = raw_options(sources.max_bytes);
    let demo = || panic!("there is a path");
    let Parts {
        train,
        validation,
        test,
        sha256,
        notes,
    } = read_parts(all, &options, demo, stdin)?;
    let name = path.display().to_string();
    let held = |part: Option<(Raw, String)>| {
        let part = part.map(|(raw, name)| arrays_of(raw, name).map(HeldForecast::Own));
        part.transpose()
    };
    Ok(ForecastParts {
        train: arrays_of(train, name)?,
        train_rows: 0,
        validation: held(validation)?,
        test: held(test)?,
        sha256,
        notes,
    })
}

/// One hash of several: the only one as it is.
fn joined(hashes: &[String]) -> String {
    match hashes {
        [only] => only.clone(),
        _ => hex(&Sha256::digest(hashes.join("\n"))),
    }
}
