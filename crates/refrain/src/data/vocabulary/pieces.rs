//! Where a text may be cut without changing its words.

/// The most bytes of a piece: what a stream holds in memory.
pub(crate) const PIECE_BYTES: usize = 1 << 16;

/// The length in bytes of the first piece of a text, or `None` where more of the text must be seen.
///
/// A piece is as long as [`PIECE_BYTES`] lets it be and ends before a space, tab or line break that follows something other
/// than white space. There no word, in Unicode's sense, and no piece of byte-pair encoding goes on, so that the pieces give
/// the tokens that the whole would give. Where no such place is near, which is not so in any language's running text that
/// has spaces or lines, the piece is cut between two characters.
///
/// The rule knows nothing of blocks of a file: it is one for training and scoring.
pub(crate) fn piece_end(text: &str, ended: bool) -> Option<usize> {
    if text.len() > PIECE_BYTES {
        Some(cut_before(text, PIECE_BYTES))
    } else {
        ended.then_some(text.len())
    }
}

/// The pieces of a whole text.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = piece_end(rest, true).filter(|&end| end > 0)?;
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// The last place at or before `most`, and not at the start, where a text may be cut; else the character boundary there, or
/// the first one after it.
pub(crate) fn cut_before(text: &str, most: usize) -> usize {
    let nearest = most.saturating_sub(PIECE_BYTES);
    let bytes = text.as_bytes();
    let is_cut = |&at: &usize| {
        matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n'))
            && text[..at]
                .chars()
                .next_back()
                .is_some_and(|before| !before.is_whitespace())
    };
    (nearest + 1..=most.min(text.len()))
        .rev()
        .find(is_cut)
        .unwrap_or_else(|| match text.floor_char_boundary(most) {
            0 => text.ceil_char_boundary(1),
            boundary => boundary,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_lies_before_white_space() {
        assert_eq!(cut_before("one two  three", 14), 7);
        assert_eq!(cut_before("one two  three", 8), 7);
        assert_eq!(cut_before("one two  three", 7), 7);
        assert_eq!(cut_before("one two  three", 6), 3);
        assert_eq!(cut_before("one\ntwo", 6), 3);
        // A space after a no-break space goes on with it.
        assert_eq!(cut_before("one\u{A0} two", 8), 8);
        assert_eq!(cut_before("  one", 2), 2);
        assert_eq!(cut_before("한국어", 4), 3);
        assert_eq!(cut_before("한국어", 2), 3);
    }

    #[test]
    fn pieces_make_the_whole() {
        let words = "añb한, c\n\n ".repeat(40_000);
        let solid = "é".repeat(100_000);
        for text in [&words[..], &solid, "", "a"] {
            let pieces: Vec<_> = pieces(text).collect();
            assert_eq!(pieces.concat(), text);
            assert!(
                pieces
                    .iter()
                    .all(|piece| !piece.is_empty() && piece.len() <= PIECE_BYTES)
            );
        }
        assert!(
            pieces(&words)
                .skip(1)
                .all(|piece| piece.starts_with([' ', '\n']))
        );
        assert_eq!(piece_end("abc", false), None);
        assert_eq!(piece_end("abc", true), Some(3));
    }
}
