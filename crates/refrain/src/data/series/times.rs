//! Moments of time as tables write them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Names of columns that are the time even where they are numbers.
const NAMES: [&str; 7] = [
    "date",
    "time",
    "datetime",
    "date_time",
    "timestamp",
    "ds",
    "unix",
];

/// Dates that are not as ISO 8601 has them; where the first rows fit several, the first one holds in which they rise.
const DATES: [&str; 4] = ["%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y"];
const HOURS: [&str; 3] = ["", " %H:%M", " %H:%M:%S"];

/// Whether a column is the time by its name.
pub(super) fn is_named(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    NAMES.contains(&name.as_str())
}

/// How a column writes moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// A number that rises.
    Number,
    /// ISO 8601, a date or a date and a time; without an offset.
    Iso,
    /// The same with an offset from UTC.
    IsoWithOffset,
    /// A year and a month.
    Month,
    /// By this pattern.
    Pattern(String),
}

impl Writing {
    fn all() -> impl Iterator<Item = Self> {
        let patterns = DATES.iter().flat_map(|date| {
            HOURS
                .iter()
                .map(move |hours| Self::Pattern(format!("{date}{hours}")))
        });
        // What has an offset would be read without it too.
        [Self::IsoWithOffset, Self::Iso, Self::Month]
            .into_iter()
            .chain(patterns)
    }

    /// The moment as a number of seconds since any.
    pub(super) fn read(&self, text: &str) -> Option<f64> {
        let civil = |moment: DateTime| TimeZone::UTC.to_timestamp(moment).ok();
        let text = text.trim();
        let moment = match self {
            Self::Number => return text.parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Iso => civil(text.parse().ok()?),
            Self::IsoWithOffset => text.parse::<Timestamp>().ok(),
            Self::Month if text.len() == 7 => civil(format!("{text}-01").parse().ok()?),
            Self::Month => None,
            Self::Pattern(pattern) => civil(DateTime::strptime(pattern, text).ok()?),
        }?;
        Some(moment.as_nanosecond() as f64 / 1e9)
    }

    /// How these texts write moments, if they do; most of them must be such, and rise.
    pub(super) fn of(texts: &[&str]) -> Option<Self> {
        let fitting = |writing: &Self| {
            let moments: Vec<f64> = texts.iter().filter_map(|text| writing.read(text)).collect();
            (2 * moments.len() > texts.len()).then(|| moments.is_sorted())
        };
        let fit: Vec<_> = Self::all()
            .filter_map(|w| Some((fitting(&w)?, w)))
            .collect();
        let rising = fit.iter().position(|(rises, _)| *rises).unwrap_or(0);
        fit.into_iter().nth(rising).map(|(_, writing)| writing)
    }

    /// What is expected, for messages.
    pub(super) fn expected(&self) -> &str {
        match self {
            Self::Number => "a number",
            Self::Iso => "a date or a time like `2016-07-01 00:00:00`",
            Self::IsoWithOffset => "a time like `2016-07-01T00:00:00Z`",
            Self::Month => "a month like `2016-07`",
            Self::Pattern(_) => "a date written as in the rows before",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        let seconds = |text: &str| Writing::of(&[text]).and_then(|writing| writing.read(text));
        let midnight = 1_467_331_200.0;
        for (text, expected) in [
            ("2016-07-01 00:00:00", midnight),
            ("2016-07-01", midnight),
            ("2016-07-01T00:30", midnight + 1800.0),
            ("2016-07-01T02:00:00+02:00", midnight),
            ("2016-07-01T00:00:00Z", midnight),
            ("2016-07", midnight),
            ("2016/07/01 01:00", midnight + 3600.0),
            ("01.07.2016", midnight),
            ("07/01/2016 00:00:01", midnight + 1.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "3.5", "Monday", "2016-13-01", "32.01.2016", "12:00"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn day_and_month_are_told_apart_by_what_rises() {
        let days = ["30/01/2020", "31/01/2020", "01/02/2020"];
        assert_eq!(
            Writing::of(&days),
            Some(Writing::Pattern("%d/%m/%Y".into()))
        );
        let few = ["01/02/2020", "02/02/2020"];
        // Both would be possible: the second of January and of February, or two days.
        assert_eq!(Writing::of(&few), Some(Writing::Pattern("%m/%d/%Y".into())));
        assert!(is_named(" Date ") && !is_named("update"));
    }
}
