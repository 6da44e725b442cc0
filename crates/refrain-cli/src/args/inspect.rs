//! The arguments of `inspect`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use refrain::data::{Format, OnBadRow};

use super::{BeamArgs, one_of};

/// Look inside a model.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    pub(crate) what: Inspect,
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum Inspect {
    Gradients(GradientsArgs),
    Spectrum(SpectrumArgs),
    Gates(GatesArgs),
    Attention(AttentionArgs),
    States(StatesArgs),
}

/// What a model is to read.
#[derive(Args, Debug)]
pub(crate) struct MaterialArgs {
    /// Data as `train` takes it.
    #[arg(required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) data: Vec<PathBuf>,

    /// How the data is written, where the ending does not tell.
    #[arg(long, value_parser = one_of::<Format>(Format::NAMES))]
    pub(crate) format: Option<Format>,

    /// The column, by name or number, of the text or token.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text_column: Option<String>,

    /// The column, by name or number, of the label.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label_column: Option<String>,

    /// The column, by name or number, of the source or picture.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) source_column: Option<String>,

    /// The column, by name or number, of the target or sentence.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) target_column: Option<String>,

    /// The folder or the `.npz` with the pictures (caption).
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Option<PathBuf>,

    /// What happens at a row that cannot be used.
    #[arg(long, value_name = "WHAT", value_parser = one_of::<OnBadRow>(OnBadRow::NAMES), default_value_t = OnBadRow::Error)]
    pub(crate) on_bad_row: OnBadRow,
}

/// Measure how far gradients reach: the norm of d loss / d state against the distance between them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain inspect gradients runs/latin text.txt
  refrain inspect gradients runs/latin text.txt --max-distance 200 --plot reach.svg
  refrain inspect gradients runs/latin text.txt --positions 500,800 --plot
  refrain inspect gradients runs/tagger test.conllu --json

The losses of single steps, drawn by --seed, are carried back one at a time, in f64, and the
gradient of every layer's state before them is measured: the whole derivative, through later
steps and higher layers, of the hidden state h and of an LSTM's cell state c. A half-life is the
number of steps from where the median is greatest to where it is half of that. Where a sequence
has one loss, distances are counted from the last step that a layer reads.")]
pub(crate) struct GradientsArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) material: MaterialArgs,

    /// The greatest distance, in steps.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) max_distance: u64,

    /// Losses to draw.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) probes: u64,

    /// Also show on which earlier tokens the prediction of these rests, counted from 0 (lm).
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) positions: Vec<u64>,

    /// Tokens that are read before the first state that is looked at, from state zero (lm).
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) warm_up: u64,

    /// No more than N tokens of a text, or N sequences.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: u64,

    #[command(flatten)]
    pub(crate) plot: PlotArgs,
}

/// Where to draw.
#[derive(Args, Debug)]
pub(crate) struct PlotArgs {
    /// Draw into this file, .svg or .png; without FILE on the terminal.
    #[arg(long, value_name = "FILE", num_args = 0..=1, value_hint = ValueHint::FilePath)]
    #[expect(clippy::option_option, reason = "given or not, with a file or without")]
    pub(crate) plot: Option<Option<PathBuf>>,
}

/// Show the singular values of every recurrent matrix, gate by gate, and its spectral radius.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain inspect spectrum runs/latin
  refrain inspect spectrum runs/latin --json
  refrain inspect spectrum runs/latin --plot spectrum.svg

A gradient passes through the recurrent matrix once a step: along a direction of singular value
1 it stays, below it shrinks, above it grows. The spectral radius, the greatest absolute
eigenvalue, is the growth by step in the long run. The condition is the greatest singular value
divided by the least.")]
pub(crate) struct SpectrumArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) plot: PlotArgs,
}

/// Show how gates stand while a model reads: their means, and how often they are as good as shut or open.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain inspect gates runs/latin text.txt
  refrain inspect gates runs/latin text.txt --plot gates.svg
  refrain inspect gates runs/reviews reviews.tsv --json

A gate is left-saturated below 0.1 and right-saturated above 0.9; what goes through a tanh (g of
an LSTM, n of a GRU, h of the vanilla cell) below -0.9 and above 0.9; a rectifier is
left-saturated at 0. The lifetime is 1 / (1 - mean) of the gate that keeps the state (f of an
LSTM, z of a GRU): so many steps a unit remembers.")]
pub(crate) struct GatesArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) material: MaterialArgs,

    /// No more than N tokens of a text; or the first sequences until they have N steps.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: u64,

    #[command(flatten)]
    pub(crate) plot: PlotArgs,
}

/// Draw which words of a sentence a translator looked at for each word that it wrote.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain inspect attention runs/de-en 'Ein Hund rennt.'
  refrain inspect attention runs/de-en 'Ein Hund rennt.' -o alignment.svg
  echo 'Ein Hund rennt.' | refrain inspect attention runs/de-en --json

Without -o the alignment is drawn on the terminal: a row for each token that was written, a
column for each token of the sentence. With --json it is an object: `source[]`, `target[]`,
`weights[][]` (a row for each token of the target, the end included), `text`, `score`.")]
pub(crate) struct AttentionArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    /// The sentence [default: the first line of standard input].
    #[arg(allow_hyphen_values = true)]
    pub(crate) sentence: Option<String>,

    /// The file to write: .svg, .png or .json.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) beam: BeamArgs,
}

/// Write every layer's hidden states, cell states and gates over some data.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  refrain inspect states runs/latin text.txt -o states.npz
  refrain inspect states runs/tagger test.conllu -o states.npz
  refrain inspect states runs/de-en test.de test.en -o states.npz

The file holds, for each layer k, `h_lk` and `c_lk` of shape (N, T, hidden_size) and one such array
for each gate (`i_lk`, `f_lk`, `g_lk`, `o_lk` of an LSTM; `r_lk`, `z_lk`, `n_lk` of a GRU), with
`_reverse` for what reads backwards, zero past the end of a sequence; and `lengths` (N). A text is
one sequence. Several sequences come in the order of the data; labels are not needed. Of a
translator or captioner all names begin with `encoder.` or `decoder.`; the decoder reads the
targets, from their beginning to the end token that it is to write.")]
pub(crate) struct StatesArgs {
    /// A model file, or a run folder (then its best model).
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) material: MaterialArgs,

    /// The file to write.
    #[arg(short, long, value_name = "FILE.npz", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// No more than N tokens of a text, or N sequences.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: u64,
}
