//! `metrics.jsonl`: the history of a run, one [`Event`] a line.
//!
//! # Order and resuming
//!
//! For a step `s` the trainer appends `Step(s)`, then perhaps `Validation(s)`, `Sample(s)` and `Watch(s)`; where it saves, it calls
//! [`MetricsLog::sync`], writes the state, and appends `Save(s)`. So when a state of step `s` can be read, every line up
//! to `Watch(s)` is on the disk, and only `Save(s)` may be missing.
//!
//! [`MetricsLog::open_at`] therefore keeps all of step `s` that stands, cuts what lies behind it, and remembers which
//! lines of step `s` there are. A trainer that resumes may append the events of step `s` again, and should do so with
//! `Start` and `Save(s)`: [`MetricsLog::append`] writes those that are missing and passes over those that stand. Nothing
//! is lost and nothing stands twice, wherever the run was stopped.
//!
//! # Numbers that are not finite
//!
//! JSON has none: they are written as `null`, and [`read`] gives `null` back as NaN (an infinity loses its sign).

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::train::events::Event;
use crate::{Error, Result};

/// The longest line read, in bytes; a sample of 64 million letters is no sample, and memory is not taken for it.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The file `metrics.jsonl`, open for appending.
///
/// # Examples
///
/// ```
/// use refrain::run::metrics::{self, MetricsLog};
/// use refrain::train::events::{Event, Save};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("metrics.jsonl");
/// let mut log = MetricsLog::create(&path)?;
/// log.append(&Event::Save(Save { step: 0, elapsed_s: 0.0 }))?;
/// log.append(&Event::Save(Save { step: 9, elapsed_s: 1.5 }))?;
/// log.flush()?;
///
/// let mut log = MetricsLog::open_at(&path, 0)?;
/// log.append(&Event::Save(Save { step: 0, elapsed_s: 0.0 }))?; // stands already
/// log.flush()?;
/// assert_eq!(metrics::read(&path)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    out: BufWriter<File>,
    /// One line, reused.
    line: Vec<u8>,
    /// The step at which the file was opened, and the kinds of event that stand there.
    opened_at: u64,
    standing: BTreeSet<String>,
    last_step: Option<u64>,
}

impl MetricsLog {
    /// Begins an empty file; one that exists is emptied.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::create(&path).map_err(io_error("create", &path))?;
        Ok(Self::new(path, file))
    }

    /// Opens the file of a run that goes on from a state of step `step`.
    ///
    /// A torn last line (one without its line break, or a hole that a crash of the machine left), every line past `step`
    /// and every `End` are cut off. A missing file is begun anew, since a lost history should not cost a run;
    /// [`MetricsLog::last_step`] shows it.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] with the line if the part to keep holds something that is not an event, or a step that does not
    /// come after the one before it; [`Error::Io`] if the file cannot be read or cut. The file is unchanged then.
    pub fn open_at(path: impl Into<PathBuf>, step: u64) -> Result<Self> {
        let path = path.into();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let kept = scan(&path, &file, step)?;
        file.set_len(kept.bytes)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(io_error("cut", &path))?;
        Ok(Self {
            opened_at: step,
            standing: kept.standing,
            last_step: kept.last_step,
            ..Self::new(path, file)
        })
    }

    fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            out: BufWriter::new(file),
            line: Vec::new(),
            opened_at: 0,
            standing: BTreeSet::new(),
            last_step: None,
        }
    }

    /// The step of the last `Step` line, or nothing before the first.
    ///
    /// Right after [`MetricsLog::open_at`] it equals the state's step, unless lines were lost from the file.
    #[must_use]
    pub fn last_step(&self) -> Option<u64> {
        self.last_step
    }

    /// Appends one event, or does nothing if it is an event of the step resumed from that stands already.
    ///
    /// The line may wait in a buffer until [`MetricsLog::flush`] or [`MetricsLog::sync`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the line cannot be written.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        let (kind, step) = kind_and_step(event);
        let at_opening = step.is_none_or(|step| step == self.opened_at);
        if at_opening && self.standing.contains(kind) {
            return Ok(());
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)
            .map_err(io::Error::from)
            .map_err(io_error("write", &self.path))?;
        self.line.push(b'\n');
        self.out
            .write_all(&self.line)
            .map_err(io_error("write", &self.path))?;
        if let Event::Step(step) = event {
            self.last_step = Some(step.step);
        }
        Ok(())
    }

    /// Hands buffered lines to the operating system, so that others who read the file see them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if they cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(io_error("write", &self.path))
    }

    /// Flushes, and waits until the disk holds all lines: to be called before a state is written.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if they cannot be written.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.out
            .get_ref()
            .sync_data()
            .map_err(io_error("write", &self.path))
    }
}

/// Reads all events of a file; a torn last line, as a running or stopped run may leave it, is passed over.
///
/// # Errors
///
/// [`Error::Data`] with the line if a whole line is not an event; [`Error::Io`] if the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Event>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(io_error("read", path))?;
    let mut lines = Lines::new(path, &file);
    let mut events = Vec::new();
    while lines.advance()? {
        if lines.torn() {
            break;
        }
        let event = lines.object().and_then(|map| {
            let fields = map.into_iter().map(|(key, value)| (key, OrNan(value)));
            Event::deserialize(MapDeserializer::new(fields))
        });
        events.push(event.map_err(|error| lines.not_an_event(&error))?);
    }
    Ok(events)
}

fn kind_and_step(event: &Event) -> (&'static str, Option<u64>) {
    match event {
        Event::Start(_) => ("start", None),
        Event::Step(event) => ("step", Some(event.step)),
        Event::Validation(event) => ("validation", Some(event.step)),
        Event::Sample(event) => ("sample", Some(event.step)),
        Event::Watch(event) => ("watch", Some(event.step)),
        Event::Save(event) => ("save", Some(event.step)),
        Event::End(event) => ("end", Some(event.step)),
    }
}

/// What of a file stays at resume: the bytes from its beginning.
#[derive(Default)]
struct Kept {
    bytes: u64,
    standing: BTreeSet<String>,
    last_step: Option<u64>,
}

/// What places a line in the history, whatever kind of event it is.
#[derive(Deserialize)]
struct Mark {
    event: String,
    step: Option<u64>,
}

fn scan(path: &Path, file: &File, step: u64) -> Result<Kept> {
    let mut kept = Kept::default();
    let mut lines = Lines::new(path, file);
    let mut cutting = false;
    while lines.advance()? {
        if lines.torn() {
            break;
        }
        let mark = match lines
            .object()
            .and_then(|map| Mark::deserialize(Value::Object(map)))
        {
            Ok(mark) => mark,
            // Whatever follows the first line to cut is cut with it, readable or not.
            Err(_) if cutting || lines.hole() => {
                cutting = true;
                continue;
            }
            Err(error) => return Err(lines.not_an_event(&error)),
        };
        let is_step = mark.event == "step";
        let past = mark.event == "end" || mark.step.is_some_and(|at| at > step);
        if is_step && !past && (cutting || mark.step <= kept.last_step) {
            return Err(lines.out_of_order(mark.step));
        }
        cutting |= past;
        if cutting {
            continue;
        }
        kept.bytes = lines.end;
        if is_step {
            kept.last_step = mark.step;
        }
        if mark.step.is_none_or(|at| at == step) {
            kept.standing.insert(mark.event);
        }
    }
    Ok(kept)
}

/// The lines of a file, one in memory at a time.
struct Lines<'a> {
    path: &'a Path,
    input: BufReader<&'a File>,
    /// The current line with its line break, if it has one.
    line: Vec<u8>,
    /// Its number, from 1, and the offset in the file where it ends.
    number: u64,
    end: u64,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path, file: &'a File) -> Self {
        Self {
            path,
            input: BufReader::new(file),
            line: Vec::new(),
            number: 0,
            end: 0,
        }
    }

    /// Goes to the next line; false at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        let count = (&mut self.input)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.line)
            .map_err(io_error("read", self.path))?;
        self.number += 1;
        self.end += count as u64;
        if self.torn() && count as u64 == MAX_LINE_BYTES {
            return Err(self.wrong(1, format!("a line of more than {MAX_LINE_BYTES} bytes")));
        }
        Ok(count > 0)
    }

    /// The line without its line break.
    fn text(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    fn object(&self) -> serde_json::Result<Map<String, Value>> {
        serde_json::from_slice(self.text())
    }

    /// Whether the line lacks its line break: writing it was cut short.
    fn torn(&self) -> bool {
        self.line.last() != Some(&b'\n')
    }

    /// Whether the line holds a zero byte: JSON never does, a file system may leave them after a loss of power.
    fn hole(&self) -> bool {
        self.line.contains(&0)
    }

    fn wrong(&self, column: u64, found: String) -> Error {
        Error::Data {
            path: self.path.display().to_string(),
            line: self.number,
            column,
            found,
            expected: "one event of a run as a JSON object".into(),
            hint: "mend the line or restore the file from a copy; the model files are not touched by this".into(),
        }
    }

    fn not_an_event(&self, error: &serde_json::Error) -> Error {
        // `serde_json` counts bytes and knows one line only; both are said better here.
        let message = error.to_string();
        let reason = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(reason, _)| reason);
        let before = &self.line[..error.column().saturating_sub(1).min(self.line.len())];
        let column = String::from_utf8_lossy(before).chars().count() as u64 + 1;
        let text = String::from_utf8_lossy(self.text());
        let excerpt: String = text.chars().take(40).collect();
        self.wrong(column, format!("{excerpt:?} ({reason})"))
    }

    fn out_of_order(&self, step: Option<u64>) -> Error {
        let step = step.map_or_else(|| "no step number".into(), |step| format!("step {step}"));
        self.wrong(1, format!("{step} out of order"))
    }
}

/// A JSON value in which `null` stands for NaN: no field of an event is ever written as `null` otherwise. (Inside the
/// lists of a `Watch` it is none.)
struct OrNan(Value);

impl IntoDeserializer<'_, serde_json::Error> for OrNan {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for OrNan {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visitor.visit_f64(f64::NAN),
            value => value.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::train::events::{End, Sample, Save, Start, Step, Validation};

    fn start() -> Event {
        Event::Start(Start {
            task: "lm".into(),
            parameters: 10,
            train_tokens: 100,
            validation_tokens: 10,
            vocabulary_size: 5,
            steps_per_epoch: 3,
            total_steps: None,
        })
    }

    fn step(step: u64) -> Event {
        Event::Step(Step {
            step,
            epoch: step as f64 / 3.0,
            tokens: 32 * step,
            loss_nats: 1.5,
            grad_norm: 0.1,
            clipped: false,
            clipped_norm: 0.1,
            learning_rate: 1e-3,
            tokens_per_s: 1e4,
            elapsed_s: step as f64,
        })
    }

    fn validation(step: u64) -> Event {
        Event::Validation(Validation {
            step,
            loss_nats: 1.25,
            metrics: [("perplexity".to_owned(), 3.5)].into(),
            best: true,
            elapsed_s: 2.0,
        })
    }

    fn sample(step: u64) -> Event {
        let text = "héllo \u{1}\0\u{2028}\n</script>".into();
        Event::Sample(Sample { step, text })
    }

    fn save(step: u64) -> Event {
        Event::Save(Save {
            step,
            elapsed_s: 2.5,
        })
    }

    fn end(step: u64) -> Event {
        let reason = "steps".into();
        Event::End(End {
            step,
            reason,
            elapsed_s: 9.0,
        })
    }

    /// A run of `steps` steps that validates, samples and saves every second step.
    fn history(steps: u64) -> Vec<Event> {
        let mut events = vec![start(), save(0)];
        for at in 1..=steps {
            events.push(step(at));
            if at % 2 == 0 {
                events.extend([validation(at), sample(at), save(at)]);
            }
        }
        events
    }

    fn bytes_of(events: &[Event]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = MetricsLog::create(&path).unwrap();
        for event in events {
            log.append(event).unwrap();
        }
        log.flush().unwrap();
        drop(log);
        fs::read(&path).unwrap()
    }

    fn with_file<T>(bytes: &[u8], check: impl FnOnce(&Path) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, bytes).unwrap();
        check(&path)
    }

    #[test]
    fn events_come_back_as_written() {
        let mut events = history(5);
        events.push(end(5));
        with_file(&bytes_of(&events), |path| {
            assert_eq!(read(path).unwrap(), events);
        });
    }

    #[test]
    fn numbers_that_are_not_finite_come_back_as_nan() {
        let Event::Step(mut wild) = step(1) else {
            unreachable!()
        };
        wild.loss_nats = f64::INFINITY;
        wild.grad_norm = f64::NAN;
        let Event::Validation(mut scored) = validation(1) else {
            unreachable!()
        };
        scored.metrics.insert("accuracy".into(), f64::NAN);
        let bytes = bytes_of(&[Event::Step(wild), Event::Validation(scored)]);
        with_file(&bytes, |path| {
            let events = read(path).unwrap();
            let Event::Step(step) = &events[0] else {
                panic!("{events:?}")
            };
            assert!(step.loss_nats.is_nan() && step.grad_norm.is_nan());
            assert_eq!(step.learning_rate, 1e-3);
            let Event::Validation(validation) = &events[1] else {
                panic!("{events:?}")
            };
            assert!(validation.metrics["accuracy"].is_nan());
            assert_eq!(validation.metrics["perplexity"], 3.5);
            assert_eq!(MetricsLog::open_at(path, 1).unwrap().last_step(), Some(1));
        });
    }

    #[test]
    fn a_line_torn_at_any_byte_is_cut_and_passed_over() {
        for last in [step(3), validation(2), sample(2), save(2), end(3)] {
            let whole = bytes_of(&history(2)[..3]);
            let line = bytes_of(std::slice::from_ref(&last));
            for length in 0..line.len() {
                let torn = [&whole[..], &line[..length]].concat();
                with_file(&torn, |path| {
                    assert_eq!(read(path).unwrap(), history(2)[..3], "{length} bytes");
                    let mut log = MetricsLog::open_at(path, 3).unwrap();
                    log.append(&last).unwrap();
                    log.flush().unwrap();
                    let mended = fs::read(path).unwrap();
                    assert_eq!(mended, [&whole[..], &line].concat(), "{length} bytes");
                });
            }
        }
    }

    #[test]
    fn a_hole_left_by_a_loss_of_power_is_cut() {
        let whole = bytes_of(&history(2));
        for tail in [&b"\0\0\0\0"[..], b"\0\0\0,\"step\":3}\n{\"event\":\"ste"] {
            with_file(&[&whole, tail].concat(), |path| {
                drop(MetricsLog::open_at(path, 2).unwrap());
                assert_eq!(fs::read(path).unwrap(), whole);
            });
        }
    }

    #[test]
    fn a_missing_or_short_file_shows_in_the_last_step() {
        let folder = tempfile::tempdir().unwrap();
        let log = MetricsLog::open_at(folder.path().join("metrics.jsonl"), 4).unwrap();
        assert_eq!(log.last_step(), None);
        with_file(&bytes_of(&history(3)), |path| {
            let log = MetricsLog::open_at(path, 6).unwrap();
            assert_eq!(log.last_step(), Some(3));
        });
    }

    #[test]
    fn a_finished_run_can_go_on() {
        let mut events = history(4);
        events.push(end(4));
        with_file(&bytes_of(&events), |path| {
            let mut log = MetricsLog::open_at(path, 4).unwrap();
            for event in [start(), save(4), step(5), end(5)] {
                log.append(&event).unwrap();
            }
            log.sync().unwrap();
            let mut expected = history(5);
            expected.push(end(5));
            assert_eq!(read(path).unwrap(), expected);
        });
    }

    #[test]
    fn a_corrupt_line_is_named_and_nothing_is_cut() {
        let line =
            |event: &Event| String::from_utf8(bytes_of(std::slice::from_ref(event))).unwrap();
        let good = line(&step(1));
        for (bad, column) in [
            ("{\"event\":\"step\",!}\n", 17),
            ("{\"é\":!}\n", 6),
            ("\n", 1),
            ("{\"event\":\"step\"\n", 15),
            ("[1]\n", 1),
        ] {
            with_file(format!("{good}{bad}{good}").as_bytes(), |path| {
                let before = fs::read(path).unwrap();
                for error in [
                    read(path).unwrap_err(),
                    MetricsLog::open_at(path, 9).unwrap_err(),
                ] {
                    let Error::Data {
                        line, column: at, ..
                    } = error
                    else {
                        panic!("{error}")
                    };
                    assert_eq!((line, at), (2, column), "{bad:?}");
                }
                assert_eq!(fs::read(path).unwrap(), before);
            });
        }
        let unknown = "{\"event\":\"dance\",\"step\":1}\n";
        with_file(unknown.as_bytes(), |path| {
            let message = read(path).unwrap_err().to_string();
            assert!(
                message.contains("line 1") && message.contains("dance"),
                "{message}"
            );
        });
    }

    #[test]
    fn steps_out_of_order_are_refused() {
        for events in [
            [step(1), step(2), step(2)],
            [step(2), step(1), step(3)],
            [step(1), step(9), step(2)],
            [step(1), end(1), step(2)],
        ] {
            with_file(&bytes_of(&events), |path| {
                let message = MetricsLog::open_at(path, 3).unwrap_err().to_string();
                assert!(message.contains("out of order"), "{message}");
            });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Stopped at any byte and resumed from any state that was then on the disk, a run ends with the same file.
        #[test]
        fn stopping_leaves_no_trace(steps in 1_u64..8, cut in 0.0..1.0, fresh in any::<bool>()) {
            let whole = bytes_of(&history(steps));
            let cut = (cut * whole.len() as f64) as usize;
            // The states that can be read when the file holds `cut` bytes: each was written after its lines were synced.
            let saved = |at: &u64| {
                let before = history(*at);
                let lines = if *at == 0 { 0 } else { before.len() - 1 };
                bytes_of(&before[..lines]).len() <= cut
            };
            let states: Vec<u64> = (0..=steps).step_by(2).filter(saved).collect();
            let state = if fresh { *states.last().unwrap() } else { states[0] };
            with_file(&whole[..cut], |path| {
                let mut log = MetricsLog::open_at(path, state).unwrap();
                let again = [start(), save(state)];
                for event in again.iter().chain(&history(steps)[history(state).len()..]) {
                    log.append(event).unwrap();
                }
                log.flush().unwrap();
                assert_eq!(fs::read(path).unwrap(), whole);
            });
        }
    }
}
