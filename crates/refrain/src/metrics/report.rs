use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{ClassScores, Confused, Confusion};

/// With more classes than this, JSON has the most confused pairs and no matrix.
const MOST_CLASSES_OF_A_MATRIX: usize = 1000;
/// Pairs in JSON.
const CONFUSED: usize = 50;

/// All scores of a classifier on one part of the data, with the names of the classes.
///
/// As JSON: `scored accuracy macro_f1 balanced_accuracy baseline{label accuracy}`, `classes[]` each
/// `label precision recall f1 support predicted`, `confusion[][]` (rows truth, columns prediction, in the order of `classes`; absent
/// beyond a thousand classes) and `confused[]`, the fifty most frequent mistakes, each `truth prediction count`.
///
/// # Examples
///
/// ```
/// use refrain::metrics::{ClassReport, Confusion};
///
/// let mut confusion = Confusion::new(2);
/// confusion.extend([(0, 0), (0, 0), (0, 1), (1, 1)]);
/// let report = ClassReport::new(["good", "bad"], confusion);
/// assert_eq!(report.accuracy, 0.75);
/// assert_eq!(report.classes[1].label, "bad");
/// let json = serde_json::to_value(&report)?;
/// assert_eq!(json["confusion"], serde_json::json!([[2, 1], [0, 1]]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassReport {
    /// The predictions that the scores are of.
    pub scored: u64,
    /// The share of them that is right.
    pub accuracy: f64,
    /// [`Confusion::macro_f1`].
    pub macro_f1: f64,
    /// [`Confusion::balanced_accuracy`].
    pub balanced_accuracy: f64,
    /// What guessing would reach; none where nothing was scored.
    pub baseline: Option<Baseline>,
    /// The scores of each class, in the order of the classes.
    pub classes: Vec<NamedScores>,
    /// What was taken for what.
    pub confusion: Confusion,
}

/// A guesser that says the most frequent class of this very data to everything: no constant answer does better.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Baseline {
    /// The class.
    pub label: String,
    /// The share of the examples that are of it.
    pub accuracy: f64,
}

/// The scores of a class and its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedScores {
    /// The name.
    pub label: String,
    /// The scores.
    #[serde(flatten)]
    pub scores: ClassScores,
}

impl ClassReport {
    /// The scores that follow from counts; `labels` are the names of the classes, in their order.
    ///
    /// # Panics
    /// If there are not as many labels as classes.
    pub fn new<S: Into<String>>(labels: impl IntoIterator<Item = S>, confusion: Confusion) -> Self {
        let labels: Vec<String> = labels.into_iter().map(Into::into).collect();
        assert_eq!(labels.len(), confusion.classes(), "labels and classes");
        let baseline = confusion.most_frequent().map(|class| Baseline {
            label: labels[class as usize].clone(),
            accuracy: confusion.accuracy_of_always(class),
        });
        let scores = confusion.scores();
        Self {
            scored: confusion.total(),
            accuracy: confusion.accuracy(),
            macro_f1: confusion.macro_f1(),
            balanced_accuracy: confusion.balanced_accuracy(),
            baseline,
            classes: labels
                .into_iter()
                .zip(scores)
                .map(|(label, scores)| NamedScores { label, scores })
                .collect(),
            confusion,
        }
    }

    /// The name of a class.
    ///
    /// # Panics
    /// If it is no class.
    #[must_use]
    pub fn label(&self, class: u32) -> &str {
        &self.classes[class as usize].label
    }
}

impl Serialize for ClassReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let confused: Vec<NamedPair<'_>> = self
            .confusion
            .confused(CONFUSED)
            .into_iter()
            .map(|pair| NamedPair::new(self, pair))
            .collect();
        let mut object = serializer.serialize_struct("ClassReport", 8)?;
        object.serialize_field("scored", &self.scored)?;
        object.serialize_field("accuracy", &self.accuracy)?;
        object.serialize_field("macro_f1", &self.macro_f1)?;
        object.serialize_field("balanced_accuracy", &self.balanced_accuracy)?;
        object.serialize_field("baseline", &self.baseline)?;
        object.serialize_field("classes", &self.classes)?;
        if self.classes.len() <= MOST_CLASSES_OF_A_MATRIX {
            object.serialize_field("confusion", &Matrix(&self.confusion))?;
        } else {
            object.skip_field("confusion")?;
        }
        object.serialize_field("confused", &confused)?;
        object.end()
    }
}

/// A mistake with the names of its classes.
#[derive(Serialize)]
struct NamedPair<'a> {
    truth: &'a str,
    prediction: &'a str,
    count: u64,
}

impl<'a> NamedPair<'a> {
    fn new(report: &'a ClassReport, pair: Confused) -> Self {
        Self {
            truth: report.label(pair.truth),
            prediction: report.label(pair.prediction),
            count: pair.count,
        }
    }
}

/// Counts as rows of the truth, zeros among them.
struct Matrix<'a>(&'a Confusion);

impl Serialize for Matrix<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let classes = 0..self.0.classes() as u32;
        let row = |truth| classes.clone().map(move |p| self.0.count(truth, p));
        serializer.collect_seq(classes.clone().map(|truth| row(truth).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_has_the_fields_of_the_contract() {
        let mut confusion = Confusion::new(3);
        confusion.extend([(0, 0), (0, 2), (0, 2), (2, 2)]);
        let json = serde_json::to_value(ClassReport::new(["a\tb", "\"", "c"], confusion)).unwrap();
        assert_eq!(json["scored"], 4);
        assert_eq!(json["accuracy"], 0.5);
        assert_eq!(json["macro_f1"], 0.5);
        assert_eq!(json["baseline"], json!({"label": "a\tb", "accuracy": 0.75}));
        assert_eq!(json["confusion"], json!([[1, 0, 2], [0, 0, 0], [0, 0, 1]]));
        assert_eq!(
            json["confused"],
            json!([{"truth": "a\tb", "prediction": "c", "count": 2}])
        );
        assert_eq!(json["classes"][1]["label"], "\"");
        assert_eq!(json["classes"][0]["support"], 3);
        assert_eq!(json["classes"][0]["predicted"], 1);
    }

    /// A label for every line of a file must not become the square of it.
    #[test]
    fn many_classes_have_no_matrix() {
        let classes = 100_000;
        let mut confusion = Confusion::new(classes);
        confusion.extend((0..classes as u32 - 1).map(|class| (class, class + 1)));
        let report = ClassReport::new((0..classes).map(|class| class.to_string()), confusion);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.len() < 200 * classes, "{} bytes", text.len());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json.get("confusion").is_none());
        assert_eq!(json["confused"].as_array().map(Vec::len), Some(CONFUSED));
    }

    #[test]
    #[should_panic(expected = "labels and classes")]
    fn each_class_has_a_name() {
        let _ = ClassReport::new(["a"], Confusion::new(2));
    }
}
