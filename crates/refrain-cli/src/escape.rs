//! Text from files, made safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every character that would steer a terminal written out; line breaks stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// The same, line breaks written out too: what must stay on one line.
pub(crate) fn one_line(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

/// Control characters, and those that turn the direction of writing.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{one_line, visible};

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        assert_eq!(visible("plain é\nline"), "plain é\nline");
        assert_eq!(
            visible("\u{1b}[2Ja\r\tb\u{9b}"),
            "\\u{1b}[2Ja\\r\\tb\\u{9b}"
        );
        assert_eq!(visible("\u{202e}abc"), "\\u{202e}abc");
        assert_eq!(one_line("two\n\tlines"), "two\\n\\tlines");
    }
}
