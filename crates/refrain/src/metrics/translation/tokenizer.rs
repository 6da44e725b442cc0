//! The tokens of `mteval-v13a.pl`, which BLEU is reported with.

/// What Python takes for white space: Unicode's, and four separators that control printers.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}

/// What stands between white space.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// The text with white space around its tokens.
///
/// Punctuation stands alone, except for apostrophes and hyphens, for a full stop or comma between digits, and for a hyphen that
/// does not follow a digit. Four HTML entities are read.
pub(super) fn tokenize(text: &str) -> String {
    let text = text.trim_end_matches(is_space);
    let mut text = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    // One after the other: `&amp;lt;` becomes `<`.
    for (entity, character) in [
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ] {
        text = text.replace(entity, character);
    }
    let text = apart(&format!(" {text} "));
    let is_point = |c: char| c == '.' || c == ',';
    let is_digit = |c: char| c.is_ascii_digit();
    let text = pairs(
        &text,
        |a, b| !is_digit(a) && is_point(b),
        |a, b| [a, ' ', b, ' '],
    );
    let text = pairs(
        &text,
        |a, b| is_point(a) && !is_digit(b),
        |a, b| [' ', a, ' ', b],
    );
    pairs(
        &text,
        |a, b| is_digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    )
}

/// Puts a blank on both sides of punctuation.
fn apart(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        // All of ASCII's but the apostrophe, the comma, the hyphen and the full stop.
        let alone = c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.');
        if alone {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Replaces pairs of characters from left to right; the second of one that was replaced is not the first of the next.
fn pairs(
    text: &str,
    is_meant: impl Fn(char, char) -> bool,
    replaced: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.peek() {
            Some(&b) if is_meant(a, b) => {
                out.extend(replaced(a, b));
                chars.next();
            }
            _ => out.push(a),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> String {
        words(&tokenize(text)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn punctuation_stands_alone_but_in_numbers_and_names() {
        for (text, expected) in [
            ("Hello, world!", "Hello , world !"),
            ("It's 3.14, or 1,000.", "It's 3.14 , or 1,000 ."),
            ("1990-95 and well-known", "1990 - 95 and well-known"),
            ("wait...", "wait . . ."),
            ("(a/b) [c] {d}~`e`", "( a / b ) [ c ] { d } ~ ` e `"),
            (
                "&quot;A&amp;B&quot; &lt;x&gt; &amp;lt;",
                "\" A & B \" < x > <",
            ),
            ("a-\nb\nc <skipped>d", "ab c d"),
            ("„Grüße“, sagte er.", "„Grüße“ , sagte er ."),
            ("안녕하세요. 3시", "안녕하세요 . 3시"),
            ("a\u{1F}b\u{3000}c", "a b c"),
            ("", ""),
        ] {
            assert_eq!(tokens(text), expected, "{text:?}");
        }
    }
}
