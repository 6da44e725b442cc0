use std::fs;

use super::*;
use crate::metrics::Confusion;
use crate::models::{LanguageModel, ModelConfig};
use crate::train::events::{End, Save, Start, Step, Validation};

/// A run of `steps` steps as a small language model makes it: noise, warm-up, a cosine, clipping, overfitting.
fn history(steps: u64) -> Vec<Event> {
    let mut events = vec![Event::Start(Start {
        task: "lm".into(),
        parameters: 826_433,
        train_tokens: 1_003_854,
        validation_tokens: 111_540,
        vocabulary_size: 65,
        steps_per_epoch: 490,
        total_steps: Some(steps),
    })];
    let mut state = 1_u64;
    let mut noise = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1_u64 << 24) as f64 - 0.5
    };
    for step in 1..=steps {
        let at = step as f64 / steps as f64;
        let base = 1.18 + 3.0 * libm::exp(-14.0 * at);
        let norm = (0.6 + 4.0 * libm::exp(-30.0 * at)) * libm::exp(1.4 * noise());
        let elapsed_s = step as f64 * 0.013;
        events.push(Event::Step(Step {
            step,
            epoch: step as f64 / 490.0,
            tokens: step * 2048,
            loss_nats: base + 0.25 * noise(),
            grad_norm: norm,
            clipped: norm > 1.0,
            clipped_norm: norm.min(1.0),
            learning_rate: 0.002 * f64::min(step as f64 / 200.0, 0.55 + 0.45 * libm::cos(3.1 * at)),
            tokens_per_s: 152_000.0
                * (1.0 + 0.08 * noise())
                * if step % 97 == 0 { 0.6 } else { 1.0 },
            elapsed_s,
        }));
        if step % (steps / 24).max(1) == 0 {
            let loss_nats = base + 0.2 + 0.25 * at * at + 0.02 * noise();
            let perplexity = libm::exp(loss_nats);
            events.push(Event::Validation(Validation {
                step,
                loss_nats,
                metrics: [("perplexity".to_owned(), perplexity)].into(),
                best: true,
                elapsed_s,
            }));
            let text = "ROMEO:\nWhat light is this, that\tstands so still?\n\nJULIET:\nO gentle Ḟoe, I know thee not.";
            events.push(Event::Sample(Sample {
                step,
                text: text.into(),
            }));
            events.push(Event::Save(Save { step, elapsed_s }));
        }
    }
    events.push(Event::End(End {
        step: steps,
        reason: "steps".into(),
        elapsed_s: steps as f64 * 0.013,
    }));
    events
}

/// The same with the scores that a classifier has at its validations.
fn classifying(steps: u64) -> Vec<Event> {
    let mut events = history(steps);
    for event in &mut events {
        if let Event::Validation(validation) = event {
            let accuracy = 1.1 - 0.25 * validation.loss_nats;
            let metrics = [("accuracy", accuracy), ("macro_f1", accuracy - 0.03)];
            validation.metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
        }
    }
    events
}

/// Every class is found nine times in ten, and taken for its neighbours else; the last one is never seen.
fn labelled<S: Into<String>>(labels: impl IntoIterator<Item = S>) -> ClassReport {
    let labels: Vec<String> = labels.into_iter().map(Into::into).collect();
    let classes = labels.len() as u32;
    let mut confusion = Confusion::new(labels.len());
    for truth in 0..classes.max(2) - 1 {
        let prediction = |at| match at % 20 {
            0 => (truth + 1) % classes,
            1 => truth.saturating_sub(1),
            _ => truth,
        };
        confusion.extend((0..400 / (truth + 1)).map(|at| (truth, prediction(at))));
    }
    ClassReport::new(labels, confusion)
}

const CONFIG: &str = "task = \"lm\"\ncell = \"lstm\"\nhidden_size = 256\nlearning_rate = 0.002\ndata = [\"a.txt\"]\n\
    [extra]\nnote = \"x\"\n";

fn page(task: &str, events: &[Event]) -> String {
    let page = render(&Report {
        title: "run7",
        task,
        config_toml: CONFIG,
        events,
        summary: vec![("Bits per character on the test part".into(), "2.101".into())],
        notes: vec!["CRLF line ends were read as LF.".into()],
        ..Report::default()
    })
    .unwrap();
    check_form(&page);
    page
}

/// Every element that opens closes, in order; nothing runs and nothing is loaded.
fn check_form(page: &str) {
    const VOID: [&str; 1] = ["meta"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(from) = rest.find('<') {
        rest = &rest[from + 1..];
        let to = rest.find('>').expect("a tag ends");
        let tag = &rest[..to];
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "…{}", &rest[..to.min(80)]);
        } else if !tag.starts_with('!') && !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        rest = &rest[to + 1..];
        assert!(!rest.starts_with("<<"));
    }
    assert!(open.is_empty(), "{open:?}");
    let plain = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for loads in [
        "http://", "https://", "<script", "<link", "<img", "<iframe", "src=", "url(", "@import",
        "NaN",
    ] {
        assert!(!plain.contains(loads), "{loads}");
    }
    assert_eq!(
        page.matches("<svg role=\"img\"").count(),
        page.matches("<svg").count()
    );
    assert_eq!(
        page.matches("<th").count(),
        page.matches("<th scope").count() + page.matches("<thead").count()
    );
}

#[test]
fn a_full_run_shows_everything() {
    let page = page("lm", &history(2000));
    for part in [
        "<h1>run7</h1>",
        "of 2,000 planned",
        "until all steps were taken",
        "id=\"loss\"",
        "id=\"gradient\"",
        "id=\"learning-rate\"",
        "id=\"speed\"",
        "best: ",
        "bits a token",
        "Guessing evenly among the 65 symbols would cost 4.174 nats a token.",
        "were clipped, to a norm of 1.000.",
        "The learning rate rises from 1e-5 to ",
        "Training runs at a median of ",
        "<th scope=\"row\">hidden_size</th><td>256</td>",
        "<th scope=\"row\">extra.note</th><td>x</td>",
        "<th scope=\"col\">perplexity</th>",
        "<article class=\"card sample\"><h3>Step 1,992</h3><pre dir=\"auto\">\nROMEO:\nWhat",
        "Bits per character on the test part",
        "CRLF line ends were read as LF.",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("class=\"warning\""));
    assert_eq!(page.matches("<svg").count(), 5);
    assert_eq!(page.matches("(best)").count(), 1);
}

#[test]
fn the_same_history_gives_the_same_page() {
    assert_eq!(page("lm", &history(100)), page("lm", &history(100)));
}

#[test]
fn a_long_run_stays_small() {
    let page = page("lm", &history(60_000));
    assert!(page.len() < 400_000, "{} bytes", page.len());
    for points in page.split("points=\"").skip(1) {
        let points = points.split('"').next().unwrap();
        assert!(points.split_whitespace().count() <= 1500);
    }
}

#[test]
fn hostile_texts_are_escaped_and_seen() {
    let hostile =
        "</pre><script>alert(1)</script>\u{0}\u{1b}[2J\u{202e}&amp;\"'\u{85}\r\n{{ 7*7 }}";
    let mut events = history(50);
    events.push(Event::Sample(Sample {
        step: 50,
        text: hostile.into(),
    }));
    events.push(Event::Validation(Validation {
        step: 51,
        loss_nats: 1.0,
        metrics: [(hostile.to_owned(), 1.0)].into(),
        best: false,
        elapsed_s: 1.0,
    }));
    events.push(Event::End(End {
        step: 51,
        reason: hostile.into(),
        elapsed_s: 1.0,
    }));
    let mut table = toml::Table::new();
    table.insert(hostile.into(), toml::Value::String(hostile.into()));
    let config = table.to_string();
    for config_toml in [config.as_str(), hostile] {
        let model = LanguageModel::zeros(&ModelConfig::default(), 65);
        let graph = Graph::of_language_model(&model);
        let page = render(&Report {
            title: hostile,
            task: hostile,
            config_toml,
            events: &events,
            summary: vec![(hostile.into(), hostile.into())],
            notes: vec![hostile.into()],
            graph: Some(&graph),
            classes: Some(&labelled([hostile, "b"])),
            scored_part: hostile,
            forecast: None,
        })
        .unwrap();
        check_form(&page);
        let seen = "&lt;&#x2f;pre&gt;&lt;script&gt;alert(1)&lt;&#x2f;script&gt;␀␛[2J⟨U+202E⟩&amp;amp;&quot;&#x27;⟨U+0085⟩␍\n{{ 7*7 }}";
        // Title, head, task, end, note, label, value, column, sample, the settings in one or two cells, and of the
        // classes the part, the baseline and the table.
        assert!(
            page.matches(seen).count() >= 13,
            "{}",
            page.matches(seen).count()
        );
        assert!(!page.contains(|c: char| c.is_control() && !"\n\t".contains(c)));
        assert!(!page.contains('\u{202e}'));
    }
}

#[test]
fn poor_histories_still_make_a_page() {
    let full = history(40);
    let is = |kind: &'static str| {
        move |event: &&Event| match event {
            Event::Start(_) => kind.contains("start"),
            Event::Step(_) => kind.contains("step"),
            Event::Validation(_) => kind.contains("validation"),
            Event::Sample(_) => kind.contains("sample"),
            _ => false,
        }
    };
    let only = |kind| full.iter().filter(is(kind)).cloned().collect::<Vec<_>>();

    let empty = page("lm", &[]);
    assert!(empty.contains("No step has been taken yet.") && !empty.contains("<svg"));
    let begun = page("lm", &only("start"));
    assert!(begun.contains("826,433") && begun.contains("No step has been taken yet."));
    let one = page("lm", &only("start step")[..2]);
    assert!(one.contains("The training loss of the one step is"));
    assert!(one.contains("Nothing was validated.") && one.contains("No end is recorded"));
    assert!(one.contains("<circle") && !one.contains("Samples"));
    page("lm", &only("step"));
    page("lm", &only("validation"));
    assert!(
        page("lm", &only("sample"))
            .contains("40 texts drawn from step 1 to step 40, the newest first. 30 of them")
    );
    page("", &full);
}

#[test]
fn losses_that_are_not_finite_are_said_and_skipped() {
    let mut events = history(40);
    for (index, event) in events.iter_mut().enumerate() {
        match event {
            Event::Step(step) if step.step > 30 => {
                step.loss_nats = f64::NAN;
                step.grad_norm = f64::INFINITY;
                step.clipped_norm = f64::NAN;
                step.learning_rate = f64::NAN;
                step.tokens_per_s = f64::INFINITY;
            }
            Event::Validation(validation) if index % 2 == 0 => validation.loss_nats = f64::NAN,
            _ => {}
        }
    }
    let some = page("lm", &events);
    assert!(some.contains("The loss was not finite at 10 steps, first at step 31."));
    assert!(some.contains("The gradient was not finite at 10 steps"));
    for event in &mut events {
        match event {
            Event::Step(step) => step.loss_nats = f64::NEG_INFINITY,
            Event::Validation(validation) => validation.loss_nats = f64::NAN,
            _ => {}
        }
    }
    let none = page("lm", &events);
    assert!(none.contains("The training loss was never finite. "));
    assert!(none.contains("The validation loss was never finite."));
    assert!(none.contains("nothing to draw"));
}

#[test]
fn extreme_numbers_are_drawn_or_left_out() {
    for wild in [0.0, -3.0, 1e-320, 1e308, -1e308, 1e30, f64::MIN_POSITIVE] {
        for every in [1, 3] {
            let mut events = history(12);
            for event in &mut events {
                if let Event::Step(step) = event
                    && step.step % every == 0
                {
                    step.loss_nats = wild;
                    step.grad_norm = wild;
                    step.clipped_norm = wild;
                    step.learning_rate = wild;
                    step.tokens_per_s = wild;
                    step.epoch = wild;
                    step.elapsed_s = wild;
                    step.tokens = u64::MAX;
                }
            }
            page("lm", &events);
        }
    }
    let mut events = history(3);
    for event in &mut events {
        if let Event::Step(step) = event {
            step.step += u64::MAX - 3;
        }
    }
    page("lm", &events);
}

#[test]
fn a_loss_that_is_no_code_length_has_no_bits() {
    let squared = page("forecast", &history(20));
    assert!(
        !squared.contains("nats") && !squared.contains("Perplexity") && !squared.contains("bits a")
    );
    let config_toml = "loss = \"gaussian\"";
    let report = Report {
        task: "forecast",
        config_toml,
        events: &history(20),
        ..Report::default()
    };
    assert!(render(&report).unwrap().contains("nats a step"));
    assert!(page("classify", &history(20)).contains("nats an example"));
}

#[test]
fn a_classifier_shows_accuracy_and_its_classes() {
    let classes = labelled(["sun", "rain", "snow"]);
    let events = classifying(240);
    let report = Report {
        task: "classify",
        events: &events,
        classes: Some(&classes),
        scored_part: "test",
        ..Report::default()
    };
    let page = render(&report).unwrap();
    check_form(&page);
    for part in [
        "id=\"accuracy\"",
        "Validation accuracy",
        "The highest macro F1 is 0.",
        "Guessing evenly among the 3 classes would cost 1.099 nats an example.",
        "560 of 600 labels of the test part are right: 93.3%. Saying “sun” to everything would reach 66.7%.",
        "takes “sun” for “rain”: 20 times, 5.0% of that class.",
        "<title>Confusion of classes</title>",
        "<tr><th scope=\"row\">snow</th><td class=\"number\">0.000</td><td class=\"number\">–</td>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Without counts there is nothing to show, and a language model has no accuracy.
    let nothing = ClassReport::new(["a"], Confusion::new(1));
    let report = Report {
        classes: Some(&nothing),
        ..report
    };
    assert!(!render(&report).unwrap().contains("id=\"confusion\""));
    let page = render(&Report {
        events: &history(20),
        ..Report::default()
    });
    assert!(!page.unwrap().contains("ccuracy"));
}

#[test]
fn many_classes_stay_readable_and_small() {
    let classes = labelled((0..5000).map(|class| format!("class {class}")));
    let report = Report {
        classes: Some(&classes),
        ..Report::default()
    };
    let page = render(&report).unwrap();
    check_form(&page);
    assert!(page.contains("The 60 most frequent of 5,000 classes are shown."));
    assert!(page.contains("The 200 most frequent of 5,000 classes"));
    assert!(page.len() < 400_000, "{} bytes", page.len());
}

#[test]
fn a_report_is_put_in_place_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let events = history(10);
    let report = Report {
        title: "a",
        events: &events,
        ..Report::default()
    };
    write(&path, &report).unwrap();
    write(&path, &report).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), render(&report).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // A folder stands where the file should go: nothing is left behind.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(
        write(&taken, &report),
        Err(Error::Io {
            action: "write",
            ..
        })
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn chosen_indices_reach_both_ends() {
    assert_eq!(choose(3, 30, 5), [0, 1, 2]);
    let chosen = choose(1000, 30, 5);
    assert_eq!(chosen.len(), 30);
    assert_eq!(chosen[..5], [0, 1, 2, 3, 4]);
    assert_eq!(chosen.last(), Some(&999));
    assert!(chosen.is_sorted_by(|a, b| a < b));
}
