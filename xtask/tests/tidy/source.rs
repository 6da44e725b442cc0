//! Just enough of a Rust reader to tell code from comments and strings, and to find paths.

/// The source with comments and the insides of strings and characters blanked out, line by line as before.
pub(crate) fn code_of(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        match end {
            Some(end) => {
                code.push(' ');
                code.extend(chars[at..end].iter().filter(|&&c| c == '\n'));
                at = end;
            }
            None => {
                code.push(chars[at]);
                at += 1;
            }
        }
    }
    code
}

/// Where the comment, string or character that begins here ends; `None` where code goes on.
fn token_end(chars: &[char], at: usize) -> Option<usize> {
    let next = chars.get(at + 1).copied();
    let after_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next == Some('/') => Some(find(chars, at, |c| c == '\n')),
        '/' if next == Some('*') => Some(block_comment_end(chars, at)),
        '"' => Some(string_end(chars, at, '"')),
        'r' if !after_word || chars[at - 1] == 'b' || chars[at - 1] == 'c' => {
            raw_string_end(chars, at)
        }
        // 'a' is a character, 'a alone is a lifetime.
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => {
            Some(string_end(chars, at, '\''))
        }
        _ => None,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let found = chars[from..].iter().position(|&c| wanted(c));
    found.map_or(chars.len(), |offset| from + offset)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let open = find(chars, start + 1, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let hashes = open - start - 1;
    let closes = |at: usize| {
        chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    let close = (open + 1..chars.len()).find(|&at| closes(at));
    Some(close.map_or(chars.len(), |at| at + 1 + hashes))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code before its test module, which by custom is the last in a file and may import anything.
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = code;
    let mut from = 0;
    while let Some(offset) = code[from..].find("#[cfg(test)]") {
        let start = from + offset;
        let rest = code[start + "#[cfg(test)]".len()..].trim_start();
        if rest.starts_with("mod tests") {
            kept = &code[..start];
            break;
        }
        from = start + 1;
    }
    kept.to_owned()
}

/// Whether a word stands in the code by itself.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.split(|c| !is_word(c)).any(|found| found == word)
}

/// Every path that begins with `crate::`, in imports and elsewhere, without that beginning and with braces
/// resolved: `crate::{nn::Lstm, data::{open, batch::Batch}}` is three paths. Macros are free.
pub(crate) fn crate_paths(code: &str) -> Vec<Vec<String>> {
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = code.replace(" ::", "::").replace(":: ", "::");
    let mut paths = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_word) {
            expand(&code[at + start.len()..], &[], &mut paths);
        }
    }
    paths
}

/// Adds the paths of the tree at the beginning of `text` and returns how much of it they took.
fn expand(text: &str, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            return at + group(rest, &path, paths);
        }
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if word == 0 {
            // `*`, or the end of a turbofish: the path so far is all there is to name.
            paths.push(path);
            return at;
        }
        path.push(rest[..word].to_owned());
        at += word;
        if text[at..].starts_with("::") {
            at += 2;
            continue;
        }
        if !text[at..].starts_with('!') {
            paths.push(path);
        }
        return at;
    }
}

fn group(text: &str, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut at = 1;
    while let Some(c) = text[at..].chars().next() {
        if is_word(c) {
            at += expand(&text[at..], before, paths).max(1);
            // `as` and the new name are no path of their own.
            if let Some(renamed) = text[at..].strip_prefix(" as ") {
                at += " as ".len() + renamed.find(|c| !is_word(c)).unwrap_or(renamed.len());
            }
        } else {
            at += c.len_utf8();
            if c == '}' {
                break;
            }
        }
    }
    at
}
