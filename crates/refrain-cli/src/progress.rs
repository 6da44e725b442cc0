//! A training run as it is seen on stderr. Every figure, the time included, comes from the events.

use std::io::{IsTerminal as _, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use refrain::train::events::{End, Event, Sample, Start, Step, Validation};

use crate::context::{Context, Talk};
use crate::escape::visible;
use crate::style::Paint;

/// Seconds of training between two plain lines where no bar can be drawn and nothing else is said.
const LINE_EVERY_S: f64 = 10.0;

/// Seconds of training between two samples shown; the last one of a run is always shown.
const SAMPLE_EVERY_S: f64 = 2.0;

/// Seconds of training after which the rest is estimated, once, for those who see no bar.
const ESTIMATE_AFTER_S: f64 = 2.0;

/// Draws events.
pub(crate) struct Progress {
    screen: Screen,
    paint: Paint,
    verbose: bool,
    total_steps: Option<u64>,
    validation_nats: Option<f64>,
    /// Whether losses are code lengths.
    in_nats: bool,
    last_line_s: f64,
    now_s: f64,
    /// The first step seen and its time, until the rest has been estimated.
    began: Option<(u64, f64)>,
    estimated: bool,
    last_sample_s: Option<f64>,
    /// A sample not shown yet.
    held: Option<String>,
}

enum Screen {
    /// A terminal.
    Bar(ProgressBar),
    /// A file or a pipe.
    Lines(Box<dyn Write + Send>),
    /// Nobody.
    Silent,
}

impl Progress {
    /// A bar on a terminal, lines elsewhere, nothing with `--quiet` and `--json`.
    pub(crate) fn new(context: &Context) -> Self {
        let screen = if context.talk == Talk::Silent {
            Screen::Silent
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            Screen::Bar(bar.with_style(style("{wide_msg}")))
        } else {
            Screen::Lines(Box::new(std::io::stderr()))
        };
        Self::on(screen, context.paint, context.talk == Talk::Verbose)
    }

    fn on(screen: Screen, paint: Paint, verbose: bool) -> Self {
        let (total_steps, validation_nats) = (None, None);
        Self {
            screen,
            paint,
            verbose,
            total_steps,
            validation_nats,
            in_nats: true,
            last_line_s: 0.0,
            now_s: 0.0,
            began: None,
            estimated: false,
            last_sample_s: None,
            held: None,
        }
    }

    /// Sets whether losses are code lengths, in nats; they are unless this says otherwise.
    pub(crate) fn in_nats(&mut self, in_nats: bool) {
        self.in_nats = in_nats;
    }

    /// Sets the steps planned. A fresh run says them in its first event; a resumed one has none.
    pub(crate) fn plan(&mut self, total_steps: Option<u64>) {
        self.total_steps = total_steps;
        if let (Screen::Bar(bar), Some(total)) = (&self.screen, total_steps) {
            let painted = if self.paint.is_on() {
                "{bar:12.cyan/dim} {wide_msg}"
            } else {
                "{bar:12} {wide_msg}"
            };
            bar.set_style(style(painted));
            bar.set_length(total);
        }
    }

    /// Draws one event.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Start(start) => {
                self.plan(start.total_steps);
                self.line(&start_line(start));
            }
            Event::Step(step) => self.step(step),
            Event::Validation(validation) => {
                self.validation_nats = Some(validation.loss_nats);
                self.last_line_s = validation.elapsed_s;
                let line = validation_line(validation, self.in_nats, self.paint);
                self.line(&line);
            }
            Event::Sample(sample) => {
                let text = sample_lines(sample, self.paint);
                if self
                    .last_sample_s
                    .is_none_or(|last| self.now_s - last >= SAMPLE_EVERY_S)
                {
                    self.last_sample_s = Some(self.now_s);
                    self.held = None;
                    self.line(&text);
                } else {
                    self.held = Some(text);
                }
            }
            Event::Save(save) if self.verbose => {
                let line = format!("step {}: saved", save.step);
                self.line(&self.paint.dim(&line));
            }
            Event::End(end) => {
                if let Some(sample) = self.held.take() {
                    self.line(&sample);
                }
                if let Screen::Bar(bar) = &self.screen {
                    bar.finish_and_clear();
                }
                self.line(&end_line(end));
            }
            _ => {}
        }
    }

    /// Says something besides the events: a choice made, a thing left out.
    pub(crate) fn notice(&mut self, text: &str) {
        self.line(&visible(text));
    }

    /// The same, with `--verbose` only.
    pub(crate) fn detail(&mut self, text: &str) {
        if self.verbose {
            self.notice(text);
        }
    }

    /// Leaves the terminal clean; for a run that was interrupted or failed.
    pub(crate) fn finish(&mut self) {
        if let Screen::Bar(bar) = &self.screen {
            bar.finish_and_clear();
        }
    }

    fn step(&mut self, step: &Step) {
        self.now_s = step.elapsed_s;
        self.estimate(step);
        let message = step_message(step, self.total_steps, self.validation_nats);
        match &self.screen {
            Screen::Bar(bar) => {
                bar.set_message(message);
                bar.set_position(step.step);
            }
            Screen::Lines(_) if step.elapsed_s - self.last_line_s >= LINE_EVERY_S => {
                self.last_line_s = step.elapsed_s;
                self.line(&message);
            }
            Screen::Lines(_) | Screen::Silent => {}
        }
    }

    /// Says once how long the rest will take, at the pace of the first steps.
    fn estimate(&mut self, step: &Step) {
        let (first, began_s) = *self.began.get_or_insert((step.step, step.elapsed_s));
        let passed_s = step.elapsed_s - began_s;
        if self.estimated || passed_s < ESTIMATE_AFTER_S {
            return;
        }
        self.estimated = true;
        if let Some(left) = self
            .total_steps
            .and_then(|total| total.checked_sub(step.step))
        {
            let left_s = passed_s / (step.step - first) as f64 * left as f64;
            self.line(&format!("about {} to go", clock(left_s)));
        }
    }

    /// Writes above the bar. That nobody listens is no error.
    fn line(&mut self, text: &str) {
        match &mut self.screen {
            Screen::Bar(bar) if bar.is_finished() => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            Screen::Bar(bar) => bar.println(text),
            Screen::Lines(out) => {
                let _ = writeln!(out, "{text}");
            }
            Screen::Silent => {}
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.map_or_else(
        |_| ProgressStyle::default_bar(),
        |style| style.progress_chars("━╸─"),
    )
}

fn start_line(start: &Start) -> String {
    let Start {
        parameters,
        train_tokens,
        validation_tokens,
        vocabulary_size,
        ..
    } = start;
    let mut line = format!(
        "{}: {parameters} parameters, {vocabulary_size} symbols, {train_tokens} tokens to learn from, \
         {validation_tokens} held back",
        start.task
    );
    if let Some(total) = start.total_steps {
        let steps = if total == 1 { "step" } else { "steps" };
        line += &format!("; {total} {steps}, {} a pass", start.steps_per_epoch);
    }
    line
}

fn step_message(step: &Step, total: Option<u64>, validation_nats: Option<f64>) -> String {
    let mut message = format!("step {}", step.step);
    if let Some(total) = total {
        message += &format!("/{total}");
    }
    message += &format!("  loss {:.4}", step.loss_nats);
    if let Some(nats) = validation_nats {
        message += &format!("  val {nats:.4}");
    }
    message += &match total.filter(|total| *total >= step.step && step.step > 0) {
        Some(total) => {
            let left_s = step.elapsed_s * (total - step.step) as f64 / step.step as f64;
            format!("  eta {}", clock(left_s))
        }
        None => format!("  {}", clock(step.elapsed_s)),
    };
    message + &format!("  {} tokens/s", short(step.tokens_per_s))
}

fn validation_line(validation: &Validation, in_nats: bool, paint: Paint) -> String {
    let mut line = format!(
        "step {}: validation {:.4}{}",
        validation.step,
        validation.loss_nats,
        if in_nats { " nats" } else { "" }
    );
    // Bits are nats in another unit: the report has them.
    for (name, value) in validation
        .metrics
        .iter()
        .filter(|(name, _)| !name.starts_with("bits"))
    {
        line += &format!(", {} {value:.4}", visible(&name.replace('_', " ")));
    }
    if validation.best {
        line += &format!("  {}", paint.good("best"));
    }
    line
}

/// The sample's lines behind a marker, so that they are not taken for talk.
fn sample_lines(sample: &Sample, paint: Paint) -> String {
    let marker = paint.dim("  |");
    let text = visible(&sample.text);
    let lines: Vec<_> = text
        .split('\n')
        .map(|line| format!("{marker} {line}"))
        .collect();
    lines.join("\n")
}

fn end_line(end: &End) -> String {
    let why = match end.reason.as_str() {
        "patience" => "no better score for a while",
        "steps" => "all steps taken",
        "epochs" => "all passes made",
        "minutes" => "time is up",
        other => other,
    };
    format!(
        "done: {} {} in {} ({})",
        end.step,
        if end.step == 1 { "step" } else { "steps" },
        clock(end.elapsed_s),
        visible(why)
    )
}

/// `m:ss` or `h:mm:ss`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Three figures or so: `950`, `52.3k`, `1.2M`.
fn short(number: f64) -> String {
    if number >= 1e6 {
        format!("{:.1}M", number / 1e6)
    } else if number >= 1e3 {
        format!("{:.1}k", number / 1e3)
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use refrain::train::events::Save;

    use super::*;
    use crate::style::Color;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn drawn(color: Color, verbose: bool, events: &[Event]) -> String {
        let shared = Shared::default();
        let screen = Screen::Lines(Box::new(shared.clone()));
        let mut progress = Progress::on(screen, Paint::for_stderr(color), verbose);
        for event in events {
            progress.event(event);
        }
        progress.notice("note\u{7}");
        progress.finish();
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    fn step(step: u64, elapsed_s: f64) -> Event {
        Event::Step(Step {
            step,
            epoch: step as f64 / 40.0,
            tokens: step * 1024,
            loss_nats: 2.5,
            grad_norm: 1.5,
            clipped: true,
            clipped_norm: 1.0,
            learning_rate: 0.003,
            tokens_per_s: 52_345.0,
            elapsed_s,
        })
    }

    fn run() -> Vec<Event> {
        let start = Start {
            task: "lm".into(),
            parameters: 91_234,
            train_tokens: 44_161,
            validation_tokens: 4_907,
            vocabulary_size: 57,
            steps_per_epoch: 43,
            total_steps: Some(100),
        };
        let metrics = BTreeMap::from([
            ("bits_per_char".to_owned(), 3.2),
            ("perplexity".to_owned(), 9.4877),
        ]);
        let validation = Validation {
            step: 2,
            loss_nats: 2.25,
            metrics,
            best: true,
            elapsed_s: 11.0,
        };
        vec![
            Event::Start(start),
            step(1, 1.0),
            step(2, 10.5),
            Event::Validation(validation),
            Event::Sample(Sample {
                step: 2,
                text: "lorem\n\u{1b}[31mipsum".into(),
            }),
            Event::Save(Save {
                step: 2,
                elapsed_s: 11.5,
            }),
            step(3, 12.0),
            step(25, 30.0),
            Event::End(End {
                step: 25,
                reason: "patience".into(),
                elapsed_s: 3_725.0,
            }),
        ]
    }

    #[test]
    fn without_a_terminal_it_is_a_few_plain_lines() {
        insta::assert_snapshot!(drawn(Color::Never, false, &run()), @r#"
        lm: 91234 parameters, 57 symbols, 44161 tokens to learn from, 4907 held back; 100 steps, 43 a pass
        about 15:31 to go
        step 2/100  loss 2.5000  eta 8:34  52.3k tokens/s
        step 2: validation 2.2500 nats, perplexity 9.4877  best
          | lorem
          | \u{1b}[31mipsum
        step 25/100  loss 2.5000  val 2.2500  eta 1:30  52.3k tokens/s
        done: 25 steps in 1:02:05 (no better score for a while)
        note\u{7}
        "#);
    }

    #[test]
    fn colours_mark_the_best_and_the_samples() {
        let text = drawn(Color::Always, true, &run());
        assert!(text.contains("\u{1b}[32mbest\u{1b}[0m"), "{text}");
        assert!(
            text.contains("\u{1b}[2m  |\u{1b}[0m \\u{1b}[31mipsum"),
            "{text}"
        );
        assert!(text.contains("step 2: saved"), "{text}");
    }

    #[test]
    fn time_is_read_as_a_clock_and_numbers_are_short() {
        assert_eq!(
            ["0:00", "0:59", "1:00", "1:00:01"],
            [-1.0, 59.9, 60.0, 3601.0].map(clock)[..]
        );
        assert_eq!(clock(f64::NAN), "0:00");
        assert_eq!(
            ["950", "52.3k", "1.2M"],
            [950.0, 52_345.0, 1.2e6].map(short)[..]
        );
    }
}
