//! Generated dates.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::{below, pick};

/// The name under which the generated dates are reported.
pub const DATES_NAME: &str = "built-in: generated dates and their ISO form";

const COUNT: usize = 6000;
const SEED: u64 = 0x6461_7465_7331;
/// The years, so that two digits tell the century.
const FIRST_YEAR: usize = 1950;
const YEARS: usize = 100;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const DAYS: [usize; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Six thousand dates as people write them, all different, each with its form by ISO 8601: "the 3rd of March 2019" and
/// "2019-03-03".
///
/// They are **generated** with a fixed seed, in eighteen ways of writing, from the days of 1950 to 2049, all equally likely;
/// so two digits of a year tell the century. Numbers between slashes are month, day, year; between full stops and hyphens day,
/// month, year. Names of months may be short, letters small or capital. A weekday, where there is one, is the right one. The
/// same day may occur twice, written differently.
///
/// # Examples
///
/// ```
/// let dates = refrain::data::demo::dates();
/// assert_eq!(dates.len(), 6000);
/// assert!(dates.iter().all(|(_, iso)| iso.len() == 10));
/// ```
#[must_use]
pub fn dates() -> Vec<(String, String)> {
    let mut rng = ChaCha12Rng::seed_from_u64(SEED);
    let mut seen = BTreeSet::new();
    let mut dates = Vec::with_capacity(COUNT);
    while dates.len() < COUNT {
        let date = Date::draw(&mut rng);
        let text = date.written(&mut rng);
        if seen.insert(text.clone()) {
            dates.push((text, date.iso()));
        }
    }
    dates
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: usize,
    /// From 0.
    month: usize,
    /// From 1.
    day: usize,
}

impl Date {
    /// Each day of the years is as likely.
    fn draw(rng: &mut ChaCha12Rng) -> Self {
        let days: usize = (0..YEARS).map(|year| length(FIRST_YEAR + year)).sum();
        Self::from_days(below(rng, days))
    }

    /// The day that is so many days after the first.
    fn from_days(mut days: usize) -> Self {
        let mut year = FIRST_YEAR;
        while days >= length(year) {
            days -= length(year);
            year += 1;
        }
        let mut month = 0;
        while days >= month_length(year, month) {
            days -= month_length(year, month);
            month += 1;
        }
        let day = days + 1;
        Self { year, month, day }
    }

    /// From Monday.
    fn weekday(self) -> usize {
        let years: usize = (FIRST_YEAR..self.year).map(length).sum();
        let months: usize = (0..self.month)
            .map(|month| month_length(self.year, month))
            .sum();
        // The first day was a Sunday.
        (6 + years + months + self.day - 1) % 7
    }

    fn iso(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month + 1, self.day)
    }

    fn written(self, rng: &mut ChaCha12Rng) -> String {
        let Self { year, month, day } = self;
        let (number, short) = (month + 1, year % 100);
        let long_name = MONTHS[month];
        let name = pick(rng, &[long_name, long_name, &long_name[..3]]);
        let weekday = WEEKDAYS[self.weekday()];
        let th = ordinal(day);
        let text = match below(rng, 18) {
            0 => format!("{name} {day}, {year}"),
            1 => format!("{name} {day}{th}, {year}"),
            2 => format!("{day} {name} {year}"),
            3 => format!("the {day}{th} of {name} {year}"),
            4 => format!("the {day}{th} of {name}, {year}"),
            5 => format!("{day}{th} {name} {year}"),
            6 => format!("{weekday}, {name} {day}, {year}"),
            7 => format!("{weekday}, {day} {name} {year}"),
            8 => format!("{weekday} the {day}{th} of {name} {year}"),
            9 => format!("{number}/{day}/{year}"),
            10 => format!("{number}/{day}/{short:02}"),
            11 => format!("{number:02}/{day:02}/{year}"),
            12 => format!("{day}.{number}.{year}"),
            13 => format!("{day:02}.{number:02}.{short:02}"),
            14 => format!("{day:02}-{}-{short:02}", &long_name[..3]),
            15 => format!("{day}-{number}-{year}"),
            16 => format!("{year}/{number:02}/{day:02}"),
            _ => format!("{year} {name} {day}"),
        };
        match below(rng, 8) {
            0 => text.to_lowercase(),
            1 => text.to_uppercase(),
            _ => text,
        }
    }
}

fn ordinal(day: usize) -> &'static str {
    match (day / 10, day % 10) {
        (1, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

fn is_leap(year: usize) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_length(year: usize, month: usize) -> usize {
    DAYS[month] + usize::from(month == 1 && is_leap(year))
}

fn length(year: usize) -> usize {
    365 + usize::from(is_leap(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekdays_and_lengths_are_those_of_the_calendar() {
        for (year, month, day, weekday) in [
            (1950, 1, 1, "Sunday"),
            (1969, 7, 20, "Sunday"),
            (2000, 2, 29, "Tuesday"),
            (2019, 3, 3, "Sunday"),
            (2049, 12, 31, "Friday"),
        ] {
            let date = Date {
                year,
                month: month - 1,
                day,
            };
            assert_eq!(WEEKDAYS[date.weekday()], weekday, "{date:?}");
        }
        let days: usize = (0..YEARS).map(|year| length(FIRST_YEAR + year)).sum();
        assert_eq!(days, 36_525);
        assert_eq!(Date::from_days(0).iso(), "1950-01-01");
        assert_eq!(Date::from_days(days - 1).iso(), "2049-12-31");
    }

    /// The numbers of a text and the month that it names, read without knowing how it was written.
    #[test]
    fn the_text_tells_the_date() {
        for (text, iso) in dates() {
            let lower = text.to_lowercase();
            let numbers: Vec<usize> = lower
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|digits| digits.parse().ok())
                .collect();
            let named = MONTHS
                .iter()
                .position(|name| lower.contains(&name.to_lowercase()[..3]));
            let century = |year: usize| match year {
                0..50 => 2000 + year,
                50..100 => 1900 + year,
                _ => year,
            };
            let (year, month, day) = match (named, &numbers[..]) {
                (Some(month), &[year, day]) if year > 99 => (year, month + 1, day),
                (Some(month), &[day, year]) => (century(year), month + 1, day),
                (None, &[year, month, day]) if year > 99 => (year, month, day),
                (None, &[month, day, year]) if text.contains('/') => (century(year), month, day),
                (None, &[day, month, year]) => (century(year), month, day),
                _ => panic!("{text}"),
            };
            assert_eq!(format!("{year:04}-{month:02}-{day:02}"), iso, "{text}");
        }
    }

    #[test]
    fn ordinals_are_english() {
        let found: Vec<_> = [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31]
            .map(|day| format!("{day}{}", ordinal(day)))
            .into();
        let expected = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 30th 31st";
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn dates_are_short_and_of_few_characters() {
        let dates = dates();
        let longest = dates.iter().map(|(text, _)| text.len()).max();
        assert!(longest <= Some(36), "{longest:?}");
        let chars: BTreeSet<char> = dates.iter().flat_map(|(text, _)| text.chars()).collect();
        assert!(chars.len() < 70, "{} characters", chars.len());
        let days: BTreeSet<_> = dates.iter().map(|(_, iso)| iso).collect();
        assert!(days.len() > 5000, "{} days", days.len());
    }

    #[test]
    fn the_dates_never_change() {
        use sha2::{Digest, Sha256};
        let lines = dates()
            .into_iter()
            .map(|(text, iso)| format!("{text}\t{iso}\n"));
        let hash = Sha256::digest(lines.collect::<String>());
        assert_eq!(
            crate::data::source::hex(&hash[..8]),
            "7B 65 EB AF 52 5A 0A FE"
        );
    }
}
