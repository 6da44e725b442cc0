use super::*;

fn read_bytes(content: &[u8], wanted: &[&str]) -> Result<Embeddings> {
    let lines = Lines::new(Box::new(content), "a.vec", Tally::new(u64::MAX));
    read(lines, wanted)
}

fn error(content: impl AsRef<[u8]>) -> String {
    let wanted = ["a", "b", "c", "é"];
    match read_bytes(content.as_ref(), &wanted) {
        Ok(found) => panic!("{found:?}"),
        Err(error) => format!("{error} | {}", error.hint().unwrap_or_default()),
    }
}

fn vector(word: &str, numbers: &[f32]) -> (String, Vec<f32>) {
    (word.into(), numbers.to_owned())
}

#[test]
fn gloves_and_fasttexts_forms_are_read() {
    let expected = [vector("b", &[0.5, -1e-3]), vector("a", &[1.0, 2.0])];
    for content in [
        "a 1 2\nx 3 4\nb 0.5 -0.001\n",
        "\u{FEFF}3 2\r\na 1 2 \r\nx 3 4 \r\nb .5 -1e-3 \r\n\r\n",
        "a\t1.0\t+2\nx\t3\t4\nb\t0.5\t-0.001",
    ] {
        let found = read_bytes(content.as_bytes(), &["b", "none", "a", "b"]).unwrap();
        assert_eq!(found.vectors, expected, "{content:?}");
        assert_eq!((found.dimension, found.read, found.lower_cased), (2, 3, 0));
    }
}

#[test]
fn words_may_hold_spaces_or_be_no_text() {
    let content = b"a 1 2\n. . . 3 4\nat b@c.com 5 6\n\xFF\xFE 7 8\n 9 9\n\xC2\xA0 1 1\nb 7 8\n";
    let found = read_bytes(content, &["a", "b", "\u{a0}", ". . ."]).unwrap();
    assert_eq!(
        found.vectors,
        [
            vector("a", &[1.0, 2.0]),
            vector("b", &[7.0, 8.0]),
            vector("\u{a0}", &[1.0, 1.0]),
            vector(". . .", &[3.0, 4.0])
        ]
    );
    assert_eq!(found.read, 7);
}

#[test]
fn the_first_vector_counts_and_the_exact_word_before_the_lower_cased() {
    let content = "apple 1 1\nApple 2 2\napple 3 3\nPEAR 4 4\nÉTÉ 5 5\nété 6 6\n";
    let found = read_bytes(
        content.as_bytes(),
        &["Apple", "APPLE", "apple", "pear", "Été"],
    )
    .unwrap();
    assert_eq!(
        found.vectors,
        [
            vector("Apple", &[2.0, 2.0]),
            vector("APPLE", &[1.0, 1.0]),
            vector("apple", &[1.0, 1.0]),
            vector("Été", &[6.0, 6.0]),
        ]
    );
    assert_eq!(found.lower_cased, 2);
}

#[test]
fn hostile_files_are_named() {
    for (content, expected) in [
        ("", "`a.vec` holds no vector"),
        ("\n\n", "`a.vec` holds no vector"),
        (
            "3 2\na 1 2\nb 3 4\n",
            "`a.vec` ends after 2 vectors, its first line says 3 | the file was cut off",
        ),
        (
            "1 2\na 1 2\nb 3 4\n",
            "line 3, column 1: found vector 2, expected 1, as line 1 says",
        ),
        (
            "2 3\na 1 2\n",
            "line 2, column 2: found 2 numbers, expected a word and 3 numbers",
        ),
        (
            "2 1\na 1 2\n",
            "line 2, column 6: found 2 numbers, expected a word and 1 number",
        ),
        (
            "a 1 2\nx 1 2 3\n",
            "line 2, column 8: found 3 numbers, expected a word and 2 numbers",
        ),
        (
            "a 1 2\nx 1\n",
            "line 2, column 2: found 1 number, expected a word and 2 numbers",
        ),
        ("a 1 2\nx\n", "line 2, column 2: found 0 numbers"),
        ("a 1 2\n1 2\n", "line 2, column 2: found 1 number"),
        ("a 1 2\n\nb 1 2\n", "line 2, column 1: found an empty line"),
        (
            "a 1 2\né 1 nan\n",
            "line 2, column 5: found `nan`, expected a finite number, one of 2",
        ),
        (
            "a 1 2\nb -inf 1\n",
            "line 2, column 3: found `-inf`, expected a finite number",
        ),
        (
            "a 1 2\nb 1e99 1\n",
            "line 2, column 3: found `1e99`, expected a finite number",
        ),
        ("a 1 2\nb 1.2.3 1\n", "line 2, column 3: found `1.2.3`"),
        ("a 1 2\nx 1 NaN\n", "line 2, column 5: found `NaN`"),
        ("a 1 2\nx inf 1\n", "line 2, column 3: found `inf`"),
        (
            "once upon a time\n",
            "line 1, column 1: found `once upon a time`, which ends in no number",
        ),
        ("3 0\n", "expected a dimension from 1 to 10000"),
        (
            "3 99999999999\n",
            "found `3` vectors of `99999999999` numbers, expected a dimension",
        ),
        ("99999999999999999999999 3\n", "expected a dimension"),
        ("a\0 1 2\n", "line 1, column 2: found the byte 00"),
    ] {
        let message = error(content);
        assert!(message.contains(expected), "{content:?}: {message}");
    }
    let numbers = " 1".repeat(MAX_DIMENSION + 1);
    assert!(error(format!("a{numbers}\n")).contains("found 10001 numbers"));
    let long = format!("a 1 2\nx{} 1 2\n", "x".repeat(2 << 20));
    assert!(error(long).contains("line 2, column 1048577: found a line of more than 1 MiB"));
    let binary: Vec<u8> = (0..=255u8).cycle().skip(1).take(4000).collect();
    assert!(error(binary).contains("line 1"));
}

#[test]
fn a_header_promises_nothing() {
    // No memory is taken for what a first line says.
    let message = error(format!("{} 10000\n", u64::MAX));
    assert!(
        message.contains("ends after 0 vectors, its first line says 18446744073709551615"),
        "{message}"
    );
}
