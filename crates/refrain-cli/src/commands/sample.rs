//! `refrain sample`.

mod show;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use refrain::data::Vocabulary;
use refrain::generate::{Draw, Generator, Sampler, StopText};
use refrain::run::model::LoadedModel;
use refrain::train::{Purpose, keyed_rng};

use self::show::{Show, Text, WithBest, WithJson};
use crate::args::{OnUnknown, SampleArgs};
use crate::context::Context;
use crate::errors::Exit;

/// Guesses that `--explain` shows.
const BEST: usize = 5;

pub(crate) fn run(args: &SampleArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let mut loaded = LoadedModel::open(&args.model)?;
    let seed = context.seed.unwrap_or_else(random_seed);
    let (first, vocabulary) = (loaded.first_token(), loaded.vocabulary.clone());
    let mut generator = Generator::new(&mut loaded.model, &vocabulary, context.isa);
    let prompt = Prompt::new(args, &vocabulary, context, || {
        generator.default_prompt(first)
    })?;
    if context.seed.is_none() {
        context.notice(&format!("seed {seed}; the same again with `--seed {seed}`"));
    }
    if let Some(stop) = &args.stop
        && vocabulary.unknown_id().is_none()
        && vocabulary.encode(stop).unknown > 0
    {
        context.notice("`--stop` has symbols that the model does not know: it never comes");
    }
    let mut show: Box<dyn Show> = match (context.json, args.explain) {
        (true, explain) => Box::new(WithJson::new(&vocabulary, explain, seed, &prompt)),
        (false, true) => Box::new(WithBest::new(&vocabulary, &prompt)),
        (false, false) => Box::new(Text::new(&prompt)),
    };
    let mut sampler = sampler(args);
    for number in 0..args.count {
        show.begin(number, &mut context.out)?;
        generator.start(&prompt.ids);
        let mut rng = keyed_rng(seed, Purpose::Sample, number);
        let mut drawing = Drawing::new(&vocabulary, args.stop.as_deref(), &prompt.ids);
        for step in 0..args.length {
            let best = match args.explain {
                true => Sampler::best(generator.scores(), BEST)?,
                false => Vec::new(),
            };
            let draw = sampler.draw(generator.scores(), &mut rng)?;
            drawing.push(draw);
            let shown = Step {
                number: step + 1,
                draw,
                best,
                text: &drawing.text,
            };
            show.step(shown, &mut context.out)?;
            if drawing.stopped {
                break;
            }
            generator.read(draw.id);
        }
        let end = drawing.finish();
        show.end(end, &mut context.out)?;
    }
    Ok(Exit::Done)
}

fn sampler(args: &SampleArgs) -> Sampler {
    let top_k = args.top_k.map(|k| usize::try_from(k).unwrap_or(usize::MAX));
    Sampler::new()
        .temperature(args.temperature)
        .top_k(top_k)
        .top_p(args.top_p)
        .greedy(args.greedy)
}

/// A seed that is short enough to be typed again, from the randomness that the standard library takes of the system.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

/// What the model reads before it draws.
struct Prompt {
    ids: Vec<u32>,
    /// The same as text.
    text: String,
    /// Whether it is a line break that nobody asked for.
    hidden: bool,
    /// Symbols that the model does not know: left out, or words read as `<unk>`.
    unknown: u64,
}

impl Prompt {
    fn new(
        args: &SampleArgs,
        vocabulary: &Vocabulary,
        context: &Context,
        default: impl FnOnce() -> Vec<u32>,
    ) -> anyhow::Result<Self> {
        let given = args.prompt.as_deref().unwrap_or_default();
        let encoded = match args.on_unknown {
            OnUnknown::Error => refrain::data::Encoded {
                ids: vocabulary.try_encode(given)?,
                unknown: 0,
            },
            OnUnknown::Skip => vocabulary.encode(given),
        };
        if encoded.unknown > 0 && vocabulary.unknown_id().is_some() {
            context.notice(&format!(
                "read {} of the prompt that the model does not know as `<unk>`",
                counted(encoded.unknown, "word")
            ));
        } else if encoded.unknown > 0 {
            context.notice(&format!(
                "left out {} of the prompt that the model does not know",
                counted(encoded.unknown, "symbol")
            ));
        }
        let mut prompt = Self {
            text: vocabulary.decode(&encoded.ids),
            ids: encoded.ids,
            hidden: false,
            unknown: encoded.unknown,
        };
        if prompt.ids.is_empty() {
            prompt.ids = default();
            prompt.text = vocabulary.decode(&prompt.ids);
            prompt.hidden = prompt.text == "\n";
        }
        Ok(prompt)
    }
}

/// `1 symbol`, `3 symbols`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// One step of a sample.
struct Step<'a> {
    /// From 1.
    number: u64,
    draw: Draw,
    /// The best guesses with `--explain`, and none without.
    best: Vec<(u32, f64)>,
    /// The text that is now certain: it may lack what could begin the stop text, or the rest of a
    /// character.
    text: &'a str,
}

/// How a sample ended.
struct End {
    /// The text that no step has shown.
    text: String,
    /// Tokens at the end that belong to the stop text.
    cut: usize,
    stopped: bool,
}

/// Turns draws into text, up to `--stop`.
struct Drawing {
    decoder: refrain::data::Decoder,
    stop: StopText,
    /// Where each token begins in the decoded text, in bytes, and how many of them are decoded and shown.
    starts: Vec<usize>,
    decoded_bytes: usize,
    shown_bytes: usize,
    decoded: String,
    /// What the last step added to the text.
    text: String,
    stopped: bool,
}

impl Drawing {
    fn new(vocabulary: &Vocabulary, stop: Option<&str>, prompt: &[u32]) -> Self {
        Self {
            decoder: vocabulary.decoder_after(prompt),
            stop: StopText::new(stop.unwrap_or_default()),
            starts: Vec::new(),
            decoded_bytes: 0,
            shown_bytes: 0,
            decoded: String::new(),
            text: String::new(),
            stopped: false,
        }
    }

    fn push(&mut self, draw: Draw) {
        self.decoded.clear();
        self.text.clear();
        self.starts.push(self.decoded_bytes);
        self.decoder.push(draw.id, &mut self.decoded);
        self.stopped = self.stop.push(&self.decoded, &mut self.text);
        self.decoded_bytes += self.decoded.len();
        self.shown_bytes += self.text.len();
    }

    fn finish(mut self) -> End {
        self.decoded.clear();
        self.text.clear();
        if !self.stopped {
            self.decoder.finish(&mut self.decoded);
            // The last character, cut off, may still be what the stop text waits for.
            self.stopped = self.stop.push(&self.decoded, &mut self.text);
            if !self.stopped {
                self.stop.finish(&mut self.text);
            }
        }
        // The shown text ends where the stop text begins.
        let end = self.shown_bytes + self.text.len();
        let is_cut = |&&start: &&usize| self.stopped && start >= end;
        End {
            cut: self.starts.iter().rev().take_while(is_cut).count(),
            text: self.text,
            stopped: self.stopped,
        }
    }
}
