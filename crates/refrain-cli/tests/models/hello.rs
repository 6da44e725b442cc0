//! `refrain hello`.

use insta::assert_snapshot;

use crate::support::{json_lines, stdout};

#[test]
fn the_example_is_drawn_for_every_cell() {
    for cell in ["rnn", "gru", "lstm"] {
        let text = stdout(&["hello", "--cell", cell]);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_eq!(
            text,
            stdout(&["hello", "--cell", cell, "--isa", "scalar", "--threads", "1"])
        );
        assert_snapshot!(format!("hello_{cell}"), text);
    }
    assert_eq!(
        stdout(&["hello"]),
        stdout(&["hello", "--cell", "rnn", "--seed", "0"])
    );
    assert_ne!(stdout(&["hello"]), stdout(&["hello", "--seed", "1"]));
}

#[test]
fn the_numbers_are_there_for_programs() {
    for cell in ["rnn", "gru", "lstm"] {
        let found = &json_lines(&["hello", "--cell", cell, "--json"])[0];
        assert_eq!(found["cell"], cell);
        assert_eq!(found["vocabulary"].to_string(), r#"["h","e","l","o"]"#);
        let right = |when: &str| {
            let steps = found[when]["steps"].as_array().unwrap();
            assert_eq!(steps.len(), 4);
            let losses = steps.iter().map(|step| step["loss_nats"].as_f64().unwrap());
            assert_eq!(
                losses.sum::<f64>(),
                found[when]["loss_nats"].as_f64().unwrap()
            );
            for step in steps {
                assert_eq!(step["hidden"].as_array().unwrap().len(), 3);
                assert_eq!(step["scores"].as_array().unwrap().len(), 4);
            }
            steps.iter().filter(|step| step["right"] == true).count()
        };
        assert!(right("before") < 4);
        assert_eq!(right("after"), 4);
        let losses = found["training"]["loss_nats"].as_array().unwrap();
        assert_eq!(found["training"]["steps"], losses.len());
        let steps = found["sample"]["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 4);
        let sum: f64 = steps[0]["probabilities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
