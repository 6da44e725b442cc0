//! The three ways in which samples are shown: as text, as a table of guesses and then text, as JSON.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use refrain::data::Vocabulary;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::{End, Prompt, Step};
use crate::escape::visible;
use crate::output::Output;

/// Drawn text reaches the reader this soon; a write for every token would cost as much as a small model's step.
const FLUSH_EVERY: Duration = Duration::from_millis(10);

/// Shows samples as they are drawn.
pub(super) trait Show {
    fn begin(&mut self, number: u64, out: &mut Output) -> anyhow::Result<()>;
    fn step(&mut self, step: Step<'_>, out: &mut Output) -> anyhow::Result<()>;
    fn end(&mut self, end: End, out: &mut Output) -> anyhow::Result<()>;
}

/// The prompt and what follows it, as it comes.
pub(super) struct Text<'a> {
    prompt: &'a Prompt,
    /// A model's text must not steer the terminal; a file gets it as it is.
    escape: bool,
    flushed: Instant,
    in_line: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(prompt: &'a Prompt) -> Self {
        Self {
            prompt,
            escape: std::io::stdout().is_terminal(),
            flushed: Instant::now(),
            in_line: false,
        }
    }

    fn write(&mut self, text: &str, out: &mut Output) -> anyhow::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let shown = match self.escape {
            true => but_tabs(text),
            false => Cow::Borrowed(text),
        };
        out.write_all(shown.as_bytes())?;
        self.in_line = !text.ends_with('\n');
        if self.flushed.elapsed() >= FLUSH_EVERY {
            out.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }

    fn line(&mut self, out: &mut Output) -> anyhow::Result<()> {
        if self.in_line {
            out.write_all(b"\n")?;
            self.in_line = false;
        }
        out.flush()?;
        Ok(())
    }
}

impl Show for Text<'_> {
    fn begin(&mut self, number: u64, out: &mut Output) -> anyhow::Result<()> {
        if number > 0 {
            out.write_all(b"---\n")?;
        }
        match self.prompt.hidden {
            true => Ok(()),
            false => self.write(&self.prompt.text, out),
        }
    }

    fn step(&mut self, step: Step<'_>, out: &mut Output) -> anyhow::Result<()> {
        self.write(step.text, out)
    }

    fn end(&mut self, end: End, out: &mut Output) -> anyhow::Result<()> {
        self.write(&end.text, out)?;
        self.line(out)
    }
}

/// [`visible`], but tabs stay: they do no harm within text.
fn but_tabs(text: &str) -> Cow<'_, str> {
    if text.contains('\t') {
        let parts: Vec<_> = text.split('\t').map(visible).collect();
        return parts.join("\t").into();
    }
    visible(text)
}

/// A row of guesses for every step, then the text.
pub(super) struct WithBest<'a> {
    vocabulary: &'a Vocabulary,
    /// Columns of a token.
    width: usize,
    guesses: usize,
    shown: Text<'a>,
    text: String,
}

impl<'a> WithBest<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, prompt: &'a Prompt) -> Self {
        let widths = (0..vocabulary.len() as u32).map(|id| vocabulary.token_text(id).width());
        Self {
            vocabulary,
            width: widths.max().unwrap_or(1),
            guesses: vocabulary.len().min(super::BEST),
            shown: Text::new(prompt),
            text: String::new(),
        }
    }

    /// `e   61.2%`, always of one width.
    fn cell(&self, id: u32, probability: f64) -> String {
        let token = self.vocabulary.token_text(id);
        let pad = self.width - token.width().min(self.width);
        format!("{token}{:pad$} {:6.2}%", "", 100.0 * probability)
    }
}

impl Show for WithBest<'_> {
    fn begin(&mut self, number: u64, out: &mut Output) -> anyhow::Result<()> {
        if number > 0 {
            out.write_all(b"---\n")?;
        }
        self.text.clear();
        let (cell, best) = (self.width + 8, "best guesses, by the model itself");
        let best = if self.guesses == 1 {
            "only guess"
        } else {
            best
        };
        writeln!(out, "{:>6}  {:cell$}  {best}", "step", "drawn")?;
        Ok(())
    }

    fn step(&mut self, step: Step<'_>, out: &mut Output) -> anyhow::Result<()> {
        let probability = libm::exp(step.draw.log_probability);
        write!(
            out,
            "{:6}  {}",
            step.number,
            self.cell(step.draw.id, probability)
        )?;
        for &(id, probability) in &step.best {
            write!(out, "  {}", self.cell(id, probability))?;
        }
        writeln!(out)?;
        self.text += step.text;
        if self.shown.flushed.elapsed() >= FLUSH_EVERY {
            out.flush()?;
            self.shown.flushed = Instant::now();
        }
        Ok(())
    }

    fn end(&mut self, end: End, out: &mut Output) -> anyhow::Result<()> {
        writeln!(out)?;
        let text = std::mem::take(&mut self.text);
        self.shown.begin(0, out)?;
        self.shown.write(&text, out)?;
        self.shown.end(end, out)
    }
}

/// An object for each sample.
pub(super) struct WithJson<'a> {
    vocabulary: &'a Vocabulary,
    explain: bool,
    seed: u64,
    prompt: &'a Prompt,
    number: u64,
    text: String,
    ids: Vec<u32>,
    logprobs: Vec<f64>,
    best: Vec<Value>,
}

impl<'a> WithJson<'a> {
    pub(super) fn new(
        vocabulary: &'a Vocabulary,
        explain: bool,
        seed: u64,
        prompt: &'a Prompt,
    ) -> Self {
        Self {
            vocabulary,
            explain,
            seed,
            prompt,
            number: 0,
            text: String::new(),
            ids: Vec::new(),
            logprobs: Vec::new(),
            best: Vec::new(),
        }
    }

    /// The token's text as it is; bytes that are no character of their own as `\xE9`.
    fn token(&self, id: u32) -> String {
        let bytes = self.vocabulary.token_bytes(id);
        match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => self.vocabulary.token_text(id),
        }
    }
}

impl Show for WithJson<'_> {
    fn begin(&mut self, number: u64, _: &mut Output) -> anyhow::Result<()> {
        self.number = number;
        self.text.clear();
        self.ids.clear();
        self.logprobs.clear();
        self.best.clear();
        Ok(())
    }

    fn step(&mut self, step: Step<'_>, _: &mut Output) -> anyhow::Result<()> {
        self.text += step.text;
        self.ids.push(step.draw.id);
        self.logprobs.push(step.draw.log_probability);
        if self.explain {
            let guess = |&(id, probability): &(u32, f64)| json!({ "token": self.token(id), "id": id, "probability": probability });
            self.best.push(step.best.iter().map(guess).collect());
        }
        Ok(())
    }

    fn end(&mut self, end: End, out: &mut Output) -> anyhow::Result<()> {
        self.text += &end.text;
        let kept = self.ids.len().saturating_sub(end.cut);
        let tokens: Vec<_> = self.ids[..kept].iter().map(|&id| self.token(id)).collect();
        let mut object = json!({
            "sample": self.number,
            "seed": self.seed,
            "prompt": self.prompt.text,
            "unknown": self.prompt.unknown,
            "text": self.text,
            "tokens": tokens,
            "ids": self.ids[..kept],
            "logprobs": self.logprobs[..kept],
            "finish_reason": if end.stopped { "stop" } else { "length" },
        });
        if self.explain {
            object["best"] = self.best[..kept].into();
        }
        out.json(&object)
    }
}
