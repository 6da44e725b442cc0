use super::super::fields::{Split, Splitter};
use super::*;

fn rows(content: &str) -> Vec<Record> {
    let mut splitter = Splitter::new('\t', false);
    let lines = content.lines().zip(1..);
    lines
        .map(|(text, line)| match splitter.push(text, line) {
            Split::Record(record) => record,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn found(content: &str, text: &str, label: &str, labelled: bool) -> Result<Layout> {
    let given = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let columns = TableColumns {
        text: given(text),
        label: given(label),
    };
    layout(&Sample {
        path: "a.tsv",
        rows: &rows(content),
        columns: &columns,
        roles: Roles::Labelled,
        labelled,
        keys: false,
    })
}

/// Header or not, text, label (0: none), numbers from 1.
fn guess(content: &str) -> (bool, usize, usize) {
    let layout =
        found(content, "", "", true).unwrap_or_else(|error| panic!("{content:?}: {error}"));
    let label = layout.label.map_or(0, |label| label + 1);
    (layout.header.is_some(), layout.text + 1, label)
}

fn error(content: &str, text: &str, label: &str) -> String {
    match found(content, text, label, true) {
        Ok(layout) => panic!("{content:?}: {layout:?}"),
        Err(error) => format!("{error} | {}", error.hint().unwrap_or_default()),
    }
}

const FILMS: &str = "a gripping film\t1\nso very dull\t0\nseen it twice\t1\nnever again\t0\n";

#[test]
fn headers_of_known_forms_are_found() {
    assert_eq!(guess(&format!("sentence\tlabel\n{FILMS}")), (true, 1, 2));
    assert_eq!(guess(&format!("review\tsentiment\n{FILMS}")), (true, 1, 2));
    assert_eq!(guess(&format!("Text\tWhatever\n{FILMS}")), (true, 1, 2));
    assert_eq!(guess(&format!("what\tClass\n{FILMS}")), (true, 1, 2));
    assert_eq!(
        guess(&format!("review_text\tclass label\n{FILMS}")),
        (true, 1, 2)
    );
    // Numbers below a word.
    assert_eq!(guess(&format!("film\tgood\n{FILMS}")), (true, 1, 2));
    let numbered = "\ttext\tlabel\n0\tgood film\tpos\n1\tdull\tneg\n";
    assert_eq!(guess(numbered), (true, 2, 3));
    let left_over = "label\tv2\t\t\nham\tgo until then\t\t\nspam\tfree entry for all\t\t\n";
    assert_eq!(guess(left_over), (true, 2, 1));
    let nsmc = "id\tdocument\tlabel\n9971392\t취지는 좋았다만\t0\n7049136\t이런 영화는\t1\n";
    assert_eq!(guess(nsmc), (true, 2, 3));
    let two_forms = "text\tlabel\tlabel_text\nhm\t0\tneg\nah\t1\tpos\n";
    assert_eq!(guess(two_forms), (true, 1, 2));
}

#[test]
fn rows_are_not_taken_for_headers() {
    assert_eq!(guess(FILMS), (false, 1, 2));
    let flipped = "1\ta gripping film\n0\tdull\n1\tseen it\n0\tnever again\n";
    assert_eq!(guess(flipped), (false, 2, 1));
    // A word of a header that comes again is a label.
    let label = "good story\ttext\nbad sound\taudio\nfine words\ttext\npoor sound\taudio\n";
    assert_eq!(guess(label), (false, 1, 2));
    assert_eq!(
        guess("content\tgood film\nangry\tbad film\ncontent\tfine\n"),
        (false, 2, 1)
    );
    let nsmc = "9971392\t0\t취지는 좋았다만 먼가 아쉬운 다큐\n7049136\t0\t진짜 이런 영화는 처음 본다\n\
                6080018\t1\t재미있는데 한번더 보고싶다\n8896740\t1\t주인공의 원맨쇼가 최고입니다\n";
    assert_eq!(guess(nsmc), (false, 3, 2));
    // One row: the label has no blank in it.
    assert_eq!(guess("a gripping film\t1\n"), (false, 1, 2));
    // No blanks in the texts, which are longer.
    assert_eq!(
        guess("1\t재미있는데한번더\n0\t최악의영화입니다\n2\t그럭저럭볼만해요\n"),
        (false, 2, 1)
    );
}

#[test]
fn what_is_not_clear_is_an_error_that_shows_the_columns() {
    // Two columns of labels.
    let rows =
        "a gripping film\ten\t1\nso very dull\ten\t0\nseen it twice\ten\t1\nnever again\tfr\t0\n";
    let message = error(rows, "", "");
    assert!(
        message.starts_with(
            "`a.tsv`: it is not clear which column is the label: 1 `a gripping film`, 2 `en`, 3 `1` | \
             say by `--text-column` and `--label-column`"
        ),
        "{message}"
    );
    let header = "title\tdescription\tclass\nA title\tA description of it\t1\nB title\tAnother one of it\t2\n";
    let message = error(header, "", "");
    assert!(
        message.contains("which column is the text: 1 `title` (as `A title`), 2 `description` (as"),
        "{message}"
    );
    // A header of unknown names, or a rare label.
    let message = error("alpha\tbeta\na b\tx\nc d\tx\ne f\ty\ng h\ty\n", "", "");
    assert!(
        message.contains("line 1 may name the columns or be the first row: 1 `alpha`, 2 `beta`"),
        "{message}"
    );
    let left_over = "v1\tv2\t\t\nham\tgo until then\t\t\nham\tok lar\t\t\nspam\tfree entry\t\t\nspam\twin now\t\t\n";
    assert!(error(left_over, "", "").contains("line 1 may name the columns"));
    let message = error("only this\nand that\n", "", "");
    assert!(message.starts_with("`a.tsv` has one column"), "{message}");
    // Every row with a label of its own.
    let ids: String = (0..40)
        .map(|id| format!("{id}\tsome text of {id}\n"))
        .collect();
    assert!(error(&ids, "", "").contains("which column is the label"));
}

#[test]
fn given_columns_are_taken() {
    let unclear = "alpha\tbeta\na b\tx\nc d\tx\ne f\ty\ng h\ty\n";
    let layout = |text, label| {
        let layout = found(unclear, text, label, true).unwrap();
        (
            layout.header.is_some(),
            layout.text,
            layout.label,
            layout.guesses.len(),
        )
    };
    assert_eq!(layout("alpha", "beta"), (true, 0, Some(1), 1));
    assert_eq!(layout("alpha", ""), (true, 0, Some(1), 2));
    assert_eq!(layout("1", "2"), (false, 0, Some(1), 1));
    let named = found(&format!("sentence\tlabel\n{FILMS}"), "1", "2", true).unwrap();
    assert!(named.header.is_some());
    assert_eq!(named.columns().text.as_deref(), Some("sentence"));

    let message = error(unclear, "alpah", "");
    assert!(
        message.starts_with(
            "`text-column` is `alpah`, expected a number from 1 to 2, or a name in line 1"
        ),
        "{message}"
    );
    assert!(
        error(&format!("sentence\tlabel\n{FILMS}"), "sentense", "")
            .contains("did you mean `sentence`?")
    );
    assert!(error(FILMS, "1", "3").starts_with("`label-column` is `3`, expected"));
    assert!(error(FILMS, "0", "").starts_with("`text-column` is `0`, expected"));
    assert!(error(FILMS, "2", "2").contains("another column of `a.tsv` than the text's"));
}

#[test]
fn labels_may_be_missing_where_none_are_needed() {
    let guess = |content: &str, label: &str| {
        let layout = found(content, "", label, false).unwrap();
        (layout.header.is_some(), layout.text, layout.label)
    };
    assert_eq!(guess("a film\nanother film\n", ""), (false, 0, None));
    assert_eq!(guess("text\na film\nanother film\n", ""), (true, 0, None));
    assert_eq!(guess("a film\nanother film\n", "label"), (false, 0, None));
    assert_eq!(
        guess(
            "17\ta gripping film\n18\tvery dull\n19\tseen it twice\n",
            ""
        ),
        (false, 1, None)
    );
    assert_eq!(guess(FILMS, ""), (false, 0, Some(1)));
    assert_eq!(
        guess(&format!("sentence\tlabel\n{FILMS}"), ""),
        (true, 0, Some(1))
    );
}

#[test]
fn a_column_without_a_name_of_its_own_is_a_number() {
    let layout = Layout {
        header: Some(["a", "", "a", "7", "b"].map(str::to_owned).to_vec()),
        width: 5,
        text: 0,
        label: None,
        guesses: Vec::new(),
    };
    let names: Vec<_> = (0..5).map(|column| layout.name(column)).collect();
    assert_eq!(names, ["1", "2", "3", "4", "b"]);
}

#[test]
fn guesses_are_told() {
    let guesses = found(&format!("sentence\tlabel\n{FILMS}"), "", "", true)
        .unwrap()
        .guesses;
    assert_eq!(
        guesses,
        [
            "`a.tsv`: line 1 names the columns `sentence` and `label`",
            "`a.tsv`: the text is column `sentence`",
            "`a.tsv`: the label is column `label`",
        ]
    );
    let guesses = found(FILMS, "", "", true).unwrap().guesses;
    assert_eq!(guesses[0], "`a.tsv`: 2 columns, no line with their names");
    assert_eq!(guesses[2], "`a.tsv`: the label is column `2`");
}
