use std::path::Path;

use super::*;

fn read_with(content: &str, on_bad_row: OnBadRow) -> Result<Series> {
    let options = SeriesOptions {
        on_bad_row,
        ..SeriesOptions::default()
    };
    read_series(Path::new("-"), &options, Some(content.as_bytes()))
}

fn read(content: &str) -> Result<Series> {
    read_with(content, OnBadRow::Error)
}

#[track_caller]
fn refused(content: &str, parts: &[&str]) {
    let error = read(content).expect_err(content);
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert!(
        error.hint().is_some_and(|hint| !hint.is_empty()),
        "{message}"
    );
}

#[test]
fn columns_are_numbers_or_the_time() {
    let series =
        read("date,a,\"b, c\"\r\n2016-07-01 00:00:00,1, -2.5\r\n2016-07-01 01:00:00,1e3,4\r\n\r\n")
            .unwrap();
    assert_eq!(series.columns, ["a", "b, c"]);
    assert_eq!(series.places, [2, 3]);
    assert_eq!(series.time.as_deref(), Some("date"));
    assert_eq!(
        (series.rows(), &series.values[..]),
        (2, &[1.0, -2.5, 1000.0, 4.0][..])
    );
    assert_eq!(
        series.notes,
        ["4 line ends of the form CRLF were read as LF"]
    );
    assert_eq!(series.choose(Some("3,a")).unwrap(), [1, 0]);
    // A number under a name of time rises, and is not read.
    let series = read("x,timestamp\n5,10\n6,20\n").unwrap();
    assert_eq!(
        (series.columns, series.time),
        (vec!["x".to_owned()], Some("timestamp".into()))
    );
    let series = read("x,y\n5,10\n6,3\n").unwrap();
    assert_eq!((series.columns.len(), series.time), (2, None));
}

#[test]
fn what_cannot_be_used_is_named_with_its_place() {
    let rows = |rows: &str| format!("date,a,b\n2020-01-01,1,2\n2020-01-02,3,4\n{rows}");
    for (content, parts) in [
        (
            rows("2020-01-03,,4\n"),
            &["line 4, column 12", "nothing in column `a`"][..],
        ),
        (
            rows("2020-01-03,5,six\n"),
            &["line 4, column 14", "`six` in column `b`", "a number"],
        ),
        (rows("2020-01-03,5,NaN\n"), &["line 4", "`NaN`", "finite"]),
        (rows("2020-01-03,5,1e39\n"), &["line 4", "`1e39`"]),
        (
            rows("2020-01-03,5\n"),
            &["line 4", "2 columns", "3, as in the first line"],
        ),
        (rows("2020-01-03,5,6,7\n"), &["line 4", "4 columns"]),
        (
            rows("2020-01-02,5,6\n"),
            &["line 4, column 1", "the time of line 3 again"],
        ),
        (
            rows("2019-12-31,5,6\n"),
            &["line 4, column 1", "before that of line 3"],
        ),
        (
            rows("tomorrow,5,6\n"),
            &["line 4, column 1", "a date or a time like"],
        ),
        (rows("\n2020-01-03,5,6\n"), &["line 4", "an empty line"]),
        (
            rows("2020-01-03,\"5,6\n"),
            &["line 4, column 12", "a quote that is not closed"],
        ),
        (
            "1,2\n3,4\n".into(),
            &["line 1", "a row of numbers", "the names of the columns"],
        ),
        (
            "a,a\n3,4\n".into(),
            &["line 1, column 3", "`a` a second time"],
        ),
        ("a;b\n3;4\n".into(), &["line 1", "`;`", "between commas"]),
        (
            "a,b\n3,red\n4,blue\n".into(),
            &["line 2, column 3", "`red` in column `b`"],
        ),
        ("date\n2020-01-01\n".into(), &["no column of numbers"]),
        ("a,b\n".into(), &["no row"]),
        (String::new(), &["is empty"]),
        (
            "date,time,a\n2020-01-01,3,1\n".into(),
            &["two columns of time, `date` and `time`"],
        ),
    ] {
        refused(&content, parts);
    }
    let error = read("a\n1\n").unwrap().choose(Some("a,c")).unwrap_err();
    assert!(
        error.to_string().contains("`target-column` is `c`"),
        "{error}"
    );
    let error = read("a\n1\n").unwrap().choose(Some("a,1")).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn bad_rows_can_be_left_out_and_are_counted() {
    let content = "t,a\n2020-01-01,1\n2020-01-02,x\n2020-01-03,\n2020-01-04,4\n2020-01-03,9\n";
    let series = read_with(content, OnBadRow::Skip).unwrap();
    assert_eq!((series.skipped, &series.values[..]), (3, &[1.0, 4.0][..]));
    assert!(
        series.notes[0].starts_with("3 bad rows left out"),
        "{:?}",
        series.notes
    );
    assert!(series.notes[0].contains("no longer even") && series.notes[0].contains("line 3"));
    let error = read_with("a\nx\n1\n2\ny\n", OnBadRow::Skip).unwrap();
    assert_eq!(error.values, [1.0, 2.0]);
    assert!(read_with("a\nx\n", OnBadRow::Skip).is_err());
}

#[test]
fn gaps_in_the_time_are_said() {
    let content = "date,a\n2020-01-01,1\n2020-01-02,2\n2020-01-05,3\n2020-01-06,4\n2020-02-01,5\n";
    let notes = read(content).unwrap().notes;
    assert!(
        notes[0].starts_with("2 gaps in the time `date`, the first before line 4"),
        "{notes:?}"
    );
    // Months are as even as months are.
    let months = "month,a\n1949-02,1\n1949-03,2\n1949-04,3\n";
    let series = read(months).unwrap();
    assert_eq!(
        (series.time.as_deref(), series.notes.len()),
        (Some("month"), 0)
    );
}

#[test]
fn other_columns_are_found_by_name_or_missed() {
    let series = read("a,b,c\n1,2,3\n4,5,6\n").unwrap();
    let names = ["c", "a"].map(str::to_owned);
    let chosen = series.clone().with_columns(&names).unwrap();
    assert_eq!(
        (chosen.values, chosen.places),
        (vec![3.0, 1.0, 6.0, 4.0], vec![3, 1])
    );
    let error = series
        .with_columns(&["d".to_owned()])
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no column `d`"), "{error}");
}

#[test]
fn memory_is_bounded() {
    let options = SeriesOptions {
        max_bytes: 1000,
        ..SeriesOptions::default()
    };
    let content = format!("a\n{}", "1\n".repeat(200));
    let error = read_series(Path::new("-"), &options, Some(content.as_bytes())).unwrap_err();
    assert!(
        error.to_string().contains("the limit of 1000 bytes"),
        "{error}"
    );
}
