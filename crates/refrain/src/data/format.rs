use serde::{Deserialize, Serialize};

use super::table::TableFormat;
use crate::names::named;

/// How labelled data is written, where the ending of its name does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Columns with tabs between them.
    Tsv,
    /// Columns with commas between them.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// fastText's lines, `__label__X text`.
    Fasttext,
    /// Lines of a label and a text.
    LabelFirst,
    /// Lines of text alone, or of tokens with spaces between them.
    Lines,
    /// Columns of tokens and labels, a blank line between sentences.
    Conll,
    /// Universal Dependencies' ten columns.
    Conllu,
    /// Arrays of NumPy.
    Npz,
    /// Pictures and labels as MNIST has them.
    Idx,
    /// A folder of pictures for each class.
    Pictures,
}

named!(Format, "format", {
    Tsv => "tsv",
    Csv => "csv",
    Jsonl => "jsonl",
    Fasttext => "fasttext",
    LabelFirst => "label-first",
    Lines => "lines",
    Conll => "conll",
    Conllu => "conllu",
    Npz => "npz",
    Idx => "idx",
    Pictures => "pictures",
});

impl Format {
    /// The table that this is, if it is one.
    #[must_use]
    pub fn table(self) -> Option<TableFormat> {
        match self {
            Self::Tsv => Some(TableFormat::Tsv),
            Self::Csv => Some(TableFormat::Csv),
            Self::Jsonl => Some(TableFormat::Jsonl),
            Self::Fasttext => Some(TableFormat::FastText),
            Self::LabelFirst => Some(TableFormat::LabelFirst),
            Self::Lines => Some(TableFormat::Lines),
            Self::Conll | Self::Conllu | Self::Npz | Self::Idx | Self::Pictures => None,
        }
    }
}
