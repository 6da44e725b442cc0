//! `refrain bench`.

use crate::support::{json_lines, stdout};

#[test]
fn a_training_step_is_told_with_its_parts() {
    let args = [
        "bench",
        "--workload",
        "gru-7-5-9-2-3-4",
        "--seconds",
        "0.01",
        "--threads",
        "2",
        "--json",
    ];
    let found = &json_lines(&args)[0];
    let machine = found["machine"].as_object().unwrap();
    assert_eq!(machine.keys().collect::<Vec<_>>(), ["cores", "cpu", "isa"]);
    let workload = &found["workloads"][0];
    assert_eq!(workload["name"], "gru-7-5-9-2-3-4");
    assert_eq!(workload["threads"], 2);
    let number = |name: &str| workload[name].as_f64().unwrap();
    assert!(number("best_ms") > 0.0 && number("best_ms") <= number("median_ms"));
    assert!(number("gflops") > 0.0 && number("share_of_peak") > 0.0);
    assert!(number("samples") >= 5.0);
    let phases = workload["phases"].as_object().unwrap();
    assert_eq!(
        phases.keys().collect::<Vec<_>>(),
        ["forward_backward", "norm", "update"]
    );
    assert!(workload.get("chars_per_s").is_none());
}

#[test]
fn sampling_is_told_by_characters() {
    let args = [
        "bench",
        "--workload",
        "sample-rnn-7-5-9-1",
        "--seconds",
        "0.01",
        "--json",
    ];
    let workload = &json_lines(&args)[0]["workloads"][0];
    let number = |name: &str| workload[name].as_f64().unwrap();
    assert!(number("best_chars_per_s") >= number("chars_per_s"));
    let by_time = 1000.0 / number("median_ms");
    assert!((number("chars_per_s") / by_time - 1.0).abs() < 1e-9);
    assert_eq!(workload["threads"], 1);
}

#[test]
fn rows_fit_under_their_title() {
    for (name, rows) in [("lstm-7-5-9-1-2-3", 4), ("sample-lstm-7-5-9-1", 4)] {
        let text = stdout(&["bench", "--workload", name, "--seconds", "0.01"]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), rows, "{text}");
        assert_eq!((lines[2].len(), lines[3].len()), (80, 80), "{text}");
        assert!(lines[3].starts_with(name), "{text}");
    }
}
