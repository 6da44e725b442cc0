//! What the two columns of a table are.

/// What the two columns are that a table is read for: [`TableColumns::text`](super::TableColumns::text) is the first of them,
/// [`TableColumns::label`](super::TableColumns::label) the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roles {
    /// A text and its label. Where they are not said, they are found by names or by what stands in the columns.
    #[default]
    Labelled,
    /// A sentence and its translation. Where they are not said, they are the columns named `source` and `target`, else the
    /// first two.
    Pairs,
    /// A picture and a sentence about it. Where they are not said, they are the columns named `picture` and `sentence` (or
    /// `image` and `caption`), else the first two.
    Captions,
}

/// Names of columns: those that tell what the column is, and those that often do.
type Names = [&'static [&'static str]; 2];

const TEXT_NAMES: Names = [
    &[
        "text", "sentence", "review", "content", "document", "comment", "message", "body", "tweet",
    ],
    &[
        "title",
        "headline",
        "question",
        "description",
        "phrase",
        "utterance",
        "summary",
        "input",
        "query",
        "post",
        "email",
        "sms",
        "abstract",
        "texts",
        "sentences",
        "reviews",
        "comments",
        "tweets",
        "messages",
    ],
];
const LABEL_NAMES: Names = [
    &["label", "labels", "class", "category", "target"],
    &[
        "sentiment",
        "intent",
        "topic",
        "tag",
        "rating",
        "stars",
        "score",
        "polarity",
        "emotion",
        "type",
        "y",
        "language",
        "lang",
        "genre",
        "spam",
        "toxic",
        "output",
    ],
];
const SOURCE_NAMES: Names = [&["source", "src"], &["input"]];
const TARGET_NAMES: Names = [&["target", "tgt", "trg", "translation"], &["output"]];
const PICTURE_NAMES: Names = [
    &["picture", "image"],
    &["file", "filename", "file_name", "path", "row"],
];
const SENTENCE_NAMES: Names = [
    &["sentence", "caption"],
    &["text", "description", "name", "title"],
];

impl Roles {
    /// The settings that name the columns, without dashes in front.
    #[must_use]
    pub const fn settings(self) -> [&'static str; 2] {
        match self {
            Self::Labelled => ["text-column", "label-column"],
            Self::Pairs | Self::Captions => ["source-column", "target-column"],
        }
    }

    /// What stands in the columns.
    #[must_use]
    pub const fn nouns(self) -> [&'static str; 2] {
        match self {
            Self::Labelled => ["text", "label"],
            Self::Pairs => ["source", "target"],
            Self::Captions => ["picture", "sentence"],
        }
    }

    /// What their names are.
    pub(super) const fn names(self) -> [Names; 2] {
        match self {
            Self::Labelled => [TEXT_NAMES, LABEL_NAMES],
            Self::Pairs => [SOURCE_NAMES, TARGET_NAMES],
            Self::Captions => [PICTURE_NAMES, SENTENCE_NAMES],
        }
    }

    /// Whether what stands in the columns tells which they are.
    pub(super) const fn by_content(self) -> bool {
        matches!(self, Self::Labelled)
    }

    /// What to try where it is not clear which column is which.
    pub(super) fn hint(self) -> String {
        let [first, second] = self.settings();
        format!("say by `--{first}` and `--{second}`: a name, or a number from 1")
    }
}
