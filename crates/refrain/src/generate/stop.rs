/// Ends a text before a given one, while it comes in pieces: what may yet turn out to be the beginning of the given
/// text is held back.
///
/// # Examples
///
/// ```
/// use refrain::generate::StopText;
///
/// let (mut stop, mut text) = (StopText::new("end"), String::new());
/// assert!(!stop.push("one, e", &mut text));
/// assert_eq!(text, "one, "); // the `e` may be the beginning
/// assert!(!stop.push("ne", &mut text));
/// assert_eq!(text, "one, en"); // `en` was not, but the last `e` may be: `ene`
/// assert!(stop.push("nd!", &mut text));
/// assert_eq!(text, "one, en");
/// ```
#[derive(Clone, Debug)]
pub struct StopText {
    stop: String,
    /// The end of the text so far, a beginning of `stop`.
    held: String,
}

impl StopText {
    /// Ends a text before `stop`; an empty one never comes.
    #[must_use]
    pub fn new(stop: impl Into<String>) -> Self {
        Self {
            stop: stop.into(),
            held: String::new(),
        }
    }

    /// Takes a piece and appends to `text` what cannot belong to the stop text; `true` once that has come, and the text
    /// before it is whole.
    pub fn push(&mut self, piece: &str, text: &mut String) -> bool {
        self.held.push_str(piece);
        if self.stop.is_empty() {
            text.push_str(&self.held);
            self.held.clear();
            return false;
        }
        if let Some(at) = self.held.find(&self.stop) {
            text.push_str(&self.held[..at]);
            self.held.clear();
            return true;
        }
        // The longest beginning of the stop text with which the text so far ends.
        let mut beginnings = self.stop.char_indices().rev().map(|(at, _)| at);
        let held = beginnings
            .find(|&at| self.held.ends_with(&self.stop[..at]))
            .unwrap_or(0);
        let free = self.held.len() - held;
        text.push_str(&self.held[..free]);
        self.held.drain(..free);
        false
    }

    /// Ends the text: the stop text did not come, and what was held back is appended.
    pub fn finish(&mut self, text: &mut String) {
        text.push_str(&self.held);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_stop_never_comes() {
        let (mut stop, mut text) = (StopText::new(""), String::new());
        assert!(!stop.push("abc", &mut text));
        assert_eq!(text, "abc");
    }

    proptest! {
        /// However the text is cut, it ends where a search in the whole would end it.
        #[test]
        fn pieces_end_where_the_whole_does(
            pieces in proptest::collection::vec("[abé]{0,4}", 0..12),
            stop in "[abé]{1,4}",
        ) {
            let whole = pieces.concat();
            let (mut filter, mut text, mut stopped) = (StopText::new(&stop), String::new(), false);
            let mut before = String::new();
            for piece in &pieces {
                before.push_str(piece);
                stopped = filter.push(piece, &mut text);
                if stopped {
                    break;
                }
                // No more is held back than could begin the stop text.
                prop_assert!(before.starts_with(&text));
                prop_assert!(stop.starts_with(&before[text.len()..]));
            }
            if !stopped {
                filter.finish(&mut text);
            }
            let expected = whole.split(&stop).next().unwrap_or_default();
            prop_assert_eq!(text, expected);
            prop_assert_eq!(stopped, whole.contains(&stop));
        }
    }
}
