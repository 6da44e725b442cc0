//! Numbers as a reader wants them.

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 step`, `12,000 steps`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { one } else { many }
    )
}

/// A figure with about four digits: `1.423`, `0.0312`, `152,300`, `3.1e-7`.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if value.is_nan() => "not a number".into(),
        _ if value.is_infinite() => "infinite".into(),
        0.0 => "0".into(),
        1e-3..10.0 => format!("{value:.3}"),
        10.0..100.0 => format!("{value:.2}"),
        100.0..1000.0 => format!("{value:.1}"),
        1000.0..1e7 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", thousands(size.round() as u64))
        }
        1e-5..1e-3 => {
            let text = format!("{value:.7}");
            text.trim_end_matches('0').to_owned()
        }
        _ => format!("{value:.2e}"),
    }
}

/// A learning rate in four digits at most, without those that say nothing: `0.002`, `3e-5`.
pub(super) fn rate(value: f64) -> String {
    if !value.is_finite() {
        return figure(value);
    }
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if rounded == 0.0 || (1e-4..1e6).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

/// A large number in three digits: `12.3 million`, `152,000`, `57`.
pub(super) fn about(value: f64) -> String {
    match value {
        _ if !value.is_finite() => figure(value),
        ..10.0 => format!("{value:.1}"),
        10.0..1000.0 => format!("{value:.0}"),
        1000.0..1e6 => {
            let unit = libm::exp10(libm::floor(libm::log10(value)) - 2.0);
            thousands(((value / unit).round() * unit) as u64)
        }
        1e6..1e9 => format!("{:.1} million", value / 1e6),
        _ => format!("{:.1} billion", value / 1e9),
    }
}

/// A number of things: all digits below a million.
pub(super) fn amount(number: u64) -> String {
    if number < 1_000_000 {
        thousands(number)
    } else {
        about(number as f64)
    }
}

/// A part of a whole, never rounded to all or nothing: `35%`, `under 1%`.
pub(super) fn share(part: usize, whole: usize) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    match percent {
        _ if part == 0 => "0%".into(),
        _ if part == whole => "100%".into(),
        ..1.0 => "under 1%".into(),
        99.0.. => "over 99%".into(),
        _ => format!("{percent:.0}%"),
    }
}

/// A share of one in tenths of a percent: `80.8%`.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.1}%", 100.0 * share)
    } else {
        figure(share)
    }
}

/// A time: `0.4 s`, `45 s`, `3 min 20 s`, `2 h 05 min`.
pub(super) fn span(seconds: f64) -> String {
    if !(0.0..1e12).contains(&seconds) {
        return "unknown".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "step", "steps"), "1 step");
        let figures = [
            1.4234,
            0.031_24,
            152_300.4,
            3.1e-7,
            0.0,
            45.678,
            -1234.0,
            f64::NAN,
        ];
        let said = figures.map(figure).join(" ");
        assert_eq!(
            said,
            "1.423 0.031 152,300 3.10e-7 0 45.68 −1,234 not a number"
        );
        assert_eq!(
            [2e-3, 3e-5, 1.0, 0.0, 0.001_998_8].map(rate).join(" "),
            "0.002 3e-5 1 0 0.001999"
        );
        let said = [57.2, 152_345.0, 12.34e6, 2e9].map(about).join(" ");
        assert_eq!(said, "57 152,000 12.3 million 2.0 billion");
        let said = [0.42, 45.0, 200.0, 7500.0, f64::NAN].map(span).join(", ");
        assert_eq!(said, "0.4 s, 45 s, 3 min 20 s, 2 h 05 min, unknown");
        assert_eq!(
            [826_433, 24_576_000].map(amount).join(" "),
            "826,433 24.6 million"
        );
        assert_eq!(share(1, 1000), "under 1%");
        assert_eq!(share(350, 1000), "35%");
        assert_eq!(share(0, 0), "0%");
        assert_eq!(
            [0.808_25, 1.0, f64::NAN].map(percent).join(" "),
            "80.8% 100.0% not a number"
        );
    }
}
