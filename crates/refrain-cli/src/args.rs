//! The command line.

mod inspect;
mod train;
mod workload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, ValueHint,
};
use refrain::Isa;
use refrain::data::{Format, OnBadRow};
use refrain::generate::Beam;
use refrain::nn::CellKind;
use refrain::run::writers::DEFAULT_BEAM;

use crate::isa;
use crate::style::Color;
pub(crate) use inspect::{
    AttentionArgs, GatesArgs, GradientsArgs, Inspect, InspectArgs, MaterialArgs, SpectrumArgs,
    StatesArgs,
};
pub(crate) use train::{Recipe, TrainArgs};
pub(crate) use workload::{Kind, Workload};

const EXAMPLES: &str = "\
Examples:
  refrain hello                                  the smallest network, drawn
  refrain train lm -o runs/latin                 learn from the built-in text
  refrain train lm input.txt -o runs/mine        learn from yours
  refrain train --resume runs/mine               go on where it stopped
  refrain sample runs/mine --prompt 'Once '      let it write
  refrain evaluate runs/mine other.txt           how well does it know this text?
  refrain lab                                    claims about recurrent networks, to be run

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// Recurrent networks: train, sample and look inside them on an ordinary CPU.
#[derive(Debug, Parser)]
#[command(
    name = "refrain",
    after_help = EXAMPLES,
    arg_required_else_help = true,
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Print the version and the instruction set chosen.
    #[arg(short = 'V', long)]
    pub(crate) version: bool,

    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags that every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Write results as JSON on stdout, errors as JSON on stderr, and nothing else.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The seed of everything random [default: 0; sample draws one and prints it].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,

    /// Threads to compute with; the results do not depend on it [default: all cores].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Instructions to compute with; the results do not depend on it.
    #[arg(
        long, global = true, value_name = "ISA", default_value = "auto", value_parser = isa::parser(),
        env = "REFRAIN_ISA", hide_env_values = true
    )]
    pub(crate) isa: Isa,

    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[arg(help = "Colours on stderr: auto, always or never; NO_COLOR is heeded too")]
    pub(crate) color: Color,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Train(Box<TrainArgs>),
    Sample(SampleArgs),
    Predict(PredictArgs),
    Evaluate(EvaluateArgs),
    Inspect(InspectArgs),
    Info(InfoArgs),
    Lab(LabArgs),
    Hello(HelloArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
}

/// Generate from a model, one step at a time: scores, softmax, a draw, fed back.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain sample runs/latin
  refrain sample runs/latin --prompt 'Quid ' --length 200 --temperature 0.7
  refrain sample runs/latin --greedy --explain --length 20
  refrain sample runs/latin --count 5 --stop '.' --seed 1 --json

The text comes as it is drawn: the prompt, then what the model makes of it. Several samples are
divided by lines `---`; one of them is the same whatever --count. With --json each sample is an
object on a line: `text` is what was drawn, without the prompt; `tokens` and `logprobs` (natural
logarithms of the model's own probabilities, at temperature 1) are the same token by token.")]
pub(crate) struct SampleArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    /// Text to go on from [default: a line break, or else the training text's first token].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,

    /// Tokens to draw.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 500,
        allow_negative_numbers = true
    )]
    pub(crate) length: u64,

    /// Below 1 more of the likely, above 1 more of the unlikely; 0 is --greedy.
    #[arg(long, value_name = "X", default_value_t = 0.8, value_parser = zero_or_more, allow_negative_numbers = true)]
    pub(crate) temperature: f64,

    /// Draw among the N likeliest tokens only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) top_k: Option<u64>,

    /// Draw among the likeliest tokens that together have probability P.
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,

    /// Always take the likeliest token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    pub(crate) greedy: bool,

    /// Samples to draw.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,

    /// End a sample before this text.
    #[arg(long, value_name = "TEXT", value_parser = not_empty, allow_hyphen_values = true)]
    pub(crate) stop: Option<String>,

    /// Symbols of the prompt that the model does not know: skip and count them (words are read as
    /// `<unk>`), or refuse the prompt.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnUnknown::Skip)]
    pub(crate) on_unknown: OnUnknown,

    /// Show each step's five best guesses with their probabilities, before the text.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// `--on-unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnUnknown {
    // Refuse the prompt. (No doc comments here: they would make the help a page longer.)
    Error,
    // Leave them out, and say how many.
    Skip,
}

/// How a translator or captioner searches for what to write.
#[derive(Args, Debug)]
pub(crate) struct BeamArgs {
    /// Beginnings that the search keeps; 1 takes the likeliest token each time (translate, caption) [default: 5].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) beam: Option<u16>,

    /// The sum of the tokens' logarithms is divided by length^X: greater is for longer (translate, caption) [default: 1].
    #[arg(long, value_name = "X", value_parser = zero_or_more, allow_negative_numbers = true)]
    pub(crate) length_penalty: Option<f64>,

    /// Write, for `<unk>`, the source's word that attention points at (translate).
    #[arg(long)]
    pub(crate) copy_unknown: bool,
}

impl BeamArgs {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.beam.is_some() || self.length_penalty.is_some() || self.copy_unknown
    }

    /// The search.
    pub(crate) fn search(&self) -> Beam {
        Beam {
            width: self.beam.map_or(DEFAULT_BEAM.width, usize::from),
            length_penalty: self.length_penalty.unwrap_or(DEFAULT_BEAM.length_penalty),
            ..DEFAULT_BEAM
        }
    }
}

/// Answer inputs one by one, in order: a label, labels for its steps, what is written of it, or the next numbers.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  echo 'a warm and funny film' | refrain predict runs/reviews
  refrain predict runs/reviews new.tsv --json
  refrain predict runs/tagger <<< 'the dog barks'
  ls *.png | refrain predict runs/digits
  refrain predict runs/clips new.npz
  refrain predict runs/load load.csv --json
  echo 'Ein Hund rennt.' | refrain predict runs/de-en --beam 10

An input is a line: a text, or tokens between spaces, or the path of a picture, as the model
reads; or FILE is one as `train` takes, without labels. A line of output is a label and its
probability, the labels of a sequence, or what is written. An answer is written as soon as no
further input is there. With --json a line is an object: `label` and `probabilities`, or
`tokens` and `labels`, or `text` and `score` (the logarithm of its probability over
length^length-penalty); `error` where there is no answer, and then the exit code is 1. Of a
series the steps after its last row are predicted: a row of numbers each, or with --json
`values`, and `deviation` where the model knows it.")]
pub(crate) struct PredictArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    /// The inputs [default: standard input].
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) file: Option<PathBuf>,

    /// How the inputs are written, where the ending does not tell.
    #[arg(long, value_parser = one_of::<Format>(Format::NAMES))]
    pub(crate) format: Option<Format>,

    /// The column, by name or number, of the text, token or source.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text_column: Option<String>,

    #[command(flatten)]
    pub(crate) beam: BeamArgs,
}

/// Score a model on data: nats and bits per token, accuracy and macro F1, BLEU and chrF, or the errors of
/// numbers beside those of simple means.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain evaluate runs/latin other.txt
  zcat big.txt.gz | refrain evaluate runs/latin - --max-tokens 1000000
  refrain evaluate runs/latin other.txt --streams 16 --json
  refrain evaluate runs/reviews test.tsv
  refrain evaluate runs/tagger test.conllu --plot confusion.svg
  refrain evaluate runs/de-en test.de test.en
  refrain evaluate runs/captions test.tsv --images pictures/
  refrain evaluate runs/load load.csv --plot forecast.svg

Of a language model every token but the first is scored by those before it, with the state carried
from the first to the last, in constant memory. --streams reads the whole text into memory first,
4 bytes a token. Labelled data is read as `train` reads it.")]
pub(crate) struct EvaluateArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    /// Data to score, one file after the other; `-` is standard input.
    #[arg(required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) data: Vec<PathBuf>,

    /// Cut a text into N pieces that are read side by side: faster, but each begins without memory (lm).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) streams: Option<u16>,

    /// Score no more than N tokens (lm).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,

    /// How the data is written, where the ending does not tell (not lm).
    #[arg(long, value_parser = one_of::<Format>(Format::NAMES))]
    pub(crate) format: Option<Format>,

    /// The column, by name or number, of the text or token (classify, tag).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text_column: Option<String>,

    /// The column, by name or number, of the label (classify, tag).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label_column: Option<String>,

    /// What to do with a row that cannot be used (not lm) [default: error].
    #[arg(long, value_parser = one_of::<OnBadRow>(OnBadRow::NAMES))]
    pub(crate) on_bad_row: Option<OnBadRow>,

    /// The column, by name or number, of the source or the picture (translate, caption).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) source_column: Option<String>,

    /// The column, by name or number, of the target or the sentence (translate, caption).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) target_column: Option<String>,

    /// The pictures: a folder or an .npz, as for `train` (caption).
    #[arg(long, value_name = "FOLDER|FILE.npz", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) beam: BeamArgs,

    /// Draw into this file, .svg or .png: the confusion matrix (classify, tag), answers beside the truth (forecast).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plot: Option<PathBuf>,
}

/// Show what is inside a model and how it was trained.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain info runs/latin
  refrain info runs/latin --plot model.svg
  refrain info runs/latin/last.safetensors --json

First comes the model unrolled over time: inputs below, outputs above, time to the right; of the
steps of a sequence the first, the second and the last. With --json it is `graph`: `shape`,
`boxes[]` (each `name symbol sizes[] row column kind part`) and `arrows[]` (each `from to kind
label weights[]`; `from` and `to` count boxes from 0).")]
pub(crate) struct InfoArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    /// Draw the model unrolled over time into this file, .svg or .png.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plot: Option<PathBuf>,
}

/// Run the claims that are made of recurrent networks as experiments: each says whether it holds.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain lab                                    the claims
  refrain lab vanishing --quick --plot
  refrain lab gradient-flow -o flow.svg
  refrain lab clipping --without-cause --quick   the claim without what it rests on
  refrain lab --all --quick -o claims/           all of them on one page

A verdict is computed from the figures, by thresholds that stand in the evidence; the exit code is 0
whether a claim holds or not. With --json an experiment is an object on a line: `name`, `claim`,
`holds`, `evidence[]`, `figures{}`, `seen`, `beyond`, `seconds`.")]
pub(crate) struct LabArgs {
    /// The experiment; without, they are listed.
    #[arg(value_parser = PossibleValuesParser::new(refrain::lab::NAMES), hide_possible_values = true)]
    pub(crate) experiment: Option<String>,

    /// Run all of them.
    #[arg(long, conflicts_with = "experiment")]
    pub(crate) all: bool,

    /// Smaller models and fewer steps: minutes for all.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Take away what the claim rests on: it must not hold then.
    #[arg(long)]
    pub(crate) without_cause: bool,

    /// Draw the pictures on the terminal.
    #[arg(long)]
    pub(crate) plot: bool,

    /// Write a page: FILE.html, or FOLDER/index.html; of one experiment also its pictures, .svg or .png.
    #[arg(short, long, value_name = "FILE|FOLDER", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
}

/// Watch the smallest example learn: h, e, l, o and three hidden units.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain hello
  refrain hello --cell gru --seed 3")]
pub(crate) struct HelloArgs {
    /// The recurrent cell.
    #[arg(long, default_value = "rnn", value_parser = one_of::<CellKind>(&["rnn", "gru", "lstm"]))]
    pub(crate) cell: CellKind,
}

/// Measure this machine's speed on the standard workloads.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain bench
  refrain bench --workload lstm-65-64-256-2-64-64 --threads 2 --json
  refrain bench --workload sample-lstm-65-64-256-2

A workload is a training step, CELL-V-E-H-L-B-T (cell, vocabulary, embedding, hidden size, layers,
batch, steps): forward, backward, gradient norm, clipping, Adam. Or it is drawing one stream on one
thread, sample-CELL-V-E-H-L. GFLOP/s are nominal: a step counts 3 times the multiply-adds of a plain
forward pass, each as 2, whatever is really computed; the peak is that of a matrix product whose
numbers stay in the cache, on the same threads.")]
pub(crate) struct BenchArgs {
    /// Run this one only: CELL-V-E-H-L-B-T or sample-CELL-V-E-H-L.
    #[arg(long, value_name = "NAME")]
    pub(crate) workload: Option<Workload>,

    /// Measure each for so long, after a warm-up.
    #[arg(long, value_name = "X", default_value_t = 4.0, value_parser = above_zero, allow_negative_numbers = true)]
    pub(crate) seconds: f64,
}

/// Print a script that completes this command in a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain completions bash > ~/.local/share/bash-completion/completions/refrain
  refrain completions fish > ~/.config/fish/completions/refrain.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// The whole command line, with what cannot be said in attributes.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_subcommand("train", train::finish)
}

/// Reads the command line.
pub(crate) fn parse(args: Vec<OsString>, early: &Early) -> Result<Cli, clap::Error> {
    let mut command = command().color(early.color.into());
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// What must be known to tell of a command line that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Early {
    pub(crate) json: bool,
    pub(crate) color: Color,
}

impl Early {
    /// Looks for `--json` and `--color` before `--`.
    pub(crate) fn scan(args: &[OsString]) -> Self {
        let mut early = Self::default();
        let mut args = args.iter().skip(1).map_while(|arg| match arg.to_str() {
            Some("--") => None,
            other => Some(other.unwrap_or_default()),
        });
        while let Some(arg) = args.next() {
            let color = match arg {
                "--json" => {
                    early.json = true;
                    None
                }
                "--color" => args.next(),
                _ => arg.strip_prefix("--color="),
            };
            if let Some(color) = color.and_then(|color| Color::from_str(color, true).ok()) {
                early.color = color;
            }
        }
        early
    }
}

/// Reads one of a list of names, which help and completions show.
fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = refrain::Error> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

fn zero_or_more(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| *number >= 0.0 && number.is_finite());
    number.ok_or_else(|| "expected a number of 0 or more".into())
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "expected a number above 0".into())
}

fn probability(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| *number > 0.0 && *number <= 1.0);
    number.ok_or_else(|| "expected a number above 0 and up to 1".into())
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected a text".into())
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn json_and_color_are_seen_before_the_command_line_is_read() {
        let early = Early::scan(&os(&["refrain", "x", "--json", "--color", "never"]));
        assert_eq!(
            early,
            Early {
                json: true,
                color: Color::Never
            }
        );
        let early = Early::scan(&os(&["refrain", "--color=always", "--", "--json"]));
        assert_eq!(
            early,
            Early {
                json: false,
                color: Color::Always
            }
        );
        assert_eq!(Early::scan(&os(&["refrain", "--color"])), Early::default());
    }
}
