//! `predict`, `evaluate` and `inspect states` with models of labels.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use refrain::data::labelled::{Raw, RawOptions, read_raw};
use refrain::data::table::TableColumns;
use refrain::data::{NpzWriter, OnBadRow};
use refrain::models::{LabellerSpace, SequenceBatch};
use refrain::run::labels::LoadedLabeller;
use refrain::run::look::{Material, Reading};
use refrain::run::model::AnyModel;
use refrain::run::states::states;
use refrain::{Compute, Isa};
use serde_json::Value;

use crate::npz::{array, lengths};
use crate::support::{fail, output, refrain, succeed};
use crate::{CLIPS, Kind, Place, REVIEWS, TAGS, TEXT};

/// Only an answer that never comes takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// `predict` at the other end of two pipes.
struct Partner {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Partner {
    fn of(model: &str) -> Self {
        let mut child = refrain(&["predict", model, "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                sender.send(line.unwrap()).unwrap();
            }
        });
        Self {
            input: child.stdin.take().unwrap(),
            child,
            answers,
        }
    }

    /// The answer to a line, waited for before the next one is sent.
    fn ask(&mut self, line: &str) -> Value {
        self.input
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
        self.input.flush().unwrap();
        let answer = self.answers.recv_timeout(PATIENCE);
        serde_json::from_str(&answer.unwrap_or_else(|_| panic!("no answer to {line:?}"))).unwrap()
    }

    fn end(mut self) -> Option<i32> {
        drop(self.input);
        assert!(
            self.answers.recv_timeout(PATIENCE).is_err(),
            "one more answer"
        );
        self.child.wait().unwrap().code()
    }
}

/// The answers to all of a file, and the exit code.
fn answers(model: &str, file: &str) -> (Vec<Value>, i32) {
    let output = output(&mut refrain(&["predict", model, file, "--json"]));
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (answers.collect(), output.status.code().unwrap())
}

#[test]
fn a_classifier_answers_line_by_line_and_a_batch_alike() {
    let place = Place::new();
    let model = place.trained(REVIEWS);
    let lines = [
        "the film was lovely",
        "bad",
        "",
        "never heard of it \"quoted\"",
        "the plot and the film and the plot was poor and dull and bad",
    ];
    let mut partner = Partner::of(&model);
    let alone: Vec<Value> = lines.iter().map(|line| partner.ask(line)).collect();
    assert_eq!(partner.end(), Some(1), "one line was empty");
    for (line, answer) in lines.iter().zip(&alone) {
        if line.is_empty() {
            let error = answer["error"].as_str().unwrap();
            assert!(error.contains("line 3"), "{error}");
            continue;
        }
        let probabilities = answer["probabilities"].as_object().unwrap();
        assert_eq!(probabilities.keys().collect::<Vec<_>>(), ["down", "up"]);
        let of = |label: &str| probabilities[label].as_f64().unwrap();
        assert!((of("up") + of("down") - 1.0).abs() < 1e-9, "{answer}");
        let best = if of("up") > of("down") { "up" } else { "down" };
        assert_eq!(answer["label"], best);
    }
    assert_eq!(
        (&alone[0]["label"], &alone[1]["label"]),
        (&"up".into(), &"down".into())
    );
    let file = place.write("lines.txt", format!("{}\n", lines.join("\n")).as_bytes());
    let (mut together, code) = answers(&model, &file);
    assert_eq!(code, 1);
    // The one names the file, the other standard input.
    assert!(together[2]["error"].as_str().unwrap().contains("lines.txt"));
    together[2] = alone[2].clone();
    assert_eq!(together, alone);
    // Of a table the text's column; without labels, or with.
    let (rows, code) = answers(&model, &place.name("reviews.tsv"));
    assert_eq!((rows.len(), code), (160, 0));
}

#[test]
fn a_tagger_answers_line_by_line_and_a_batch_alike() {
    let place = Place::new();
    let model = place.trained(TAGS);
    let lines = [
        "boing kaness",
        "zorply",
        "",
        "dan danly mitu selness tuing tuing",
    ];
    let mut partner = Partner::of(&model);
    let alone: Vec<Value> = lines.iter().map(|line| partner.ask(line)).collect();
    assert_eq!(partner.end(), Some(1), "one line was empty");
    for (line, answer) in lines.iter().zip(&alone) {
        if line.is_empty() {
            assert!(
                answer["error"].as_str().unwrap().contains("line 3"),
                "{answer}"
            );
            continue;
        }
        let tokens: Vec<&str> = line.split(' ').collect();
        assert_eq!(answer["tokens"], Value::from(tokens.clone()));
        assert_eq!(answer["labels"].as_array().unwrap().len(), tokens.len());
    }
    assert_eq!(alone[0]["labels"], Value::from(vec!["VERB", "NOUN"]));
    // Never seen, but spelt like what was seen.
    assert_eq!(alone[1]["labels"], Value::from(vec!["ADV"]));
    let file = place.write("lines.txt", format!("{}\n", lines.join("\n")).as_bytes());
    let (mut together, code) = answers(&model, &file);
    assert_eq!(code, 1);
    together[2] = alone[2].clone();
    assert_eq!(together, alone);
    let (sentences, code) = answers(&model, &place.name("tags.conllu"));
    assert_eq!((sentences.len(), code), (100, 0));
}

#[test]
fn a_tagger_of_video_answers_for_each_real_frame() {
    let place = Place::new();
    let model = place.trained(CLIPS);
    let (clips, code) = answers(&model, &place.name("clips.npz"));
    assert_eq!((clips.len(), code), (40, 0));
    let lengths: Vec<usize> = clips
        .iter()
        .map(|clip| clip["labels"].as_array().unwrap().len())
        .collect();
    assert!(lengths.iter().all(|length| (1..=6).contains(length)));
    let score = succeed(&mut refrain(&[
        "evaluate",
        &model,
        &place.name("clips.npz"),
        "--json",
    ]));
    assert_eq!(score["tokens"], lengths.iter().sum::<usize>());
    // Lines are no clips.
    let (code, message, hint) = fail(&mut refrain(&["predict", &model, "--json"]));
    assert!(
        code == 1 && message.contains("no file of arrays"),
        "{message}"
    );
    assert!(hint.contains(".npz"), "{hint}");
}

/// A label for each clip: its frames are read as a tagger reads them.
#[test]
fn a_classifier_of_video_is_trained_and_read_back() {
    let place = Place::new();
    let mut npz = NpzWriter::new();
    let frame = |bright: bool| vec![if bright { 200 } else { 30 }; 20];
    let pixels: Vec<u8> = (0..24 * 3).flat_map(|at| frame(at / 3 % 2 == 1)).collect();
    npz.add_u8("inputs", &[24, 3, 5, 4, 1], &pixels).unwrap();
    npz.add_i64("labels", &[24], &[0, 1].repeat(12)).unwrap();
    let data = place.write("videos.npz", &npz.finish().unwrap());
    let run = place.name("run");
    let args = ["train", "classify", &data, "-o", &run, "--hidden-size=8"];
    succeed(refrain(&args).args(["--embedding-size=8", "--steps=60", "--json"]));
    let (videos, code) = answers(&run, &data);
    let labels: Vec<&str> = videos
        .iter()
        .map(|answer| answer["label"].as_str().unwrap())
        .collect();
    assert_eq!((labels, code), (["0", "1"].repeat(12), 0));
}

#[test]
fn an_evaluation_says_what_the_contract_promises() {
    let place = Place::new();
    for (kind, examples, classes) in [(REVIEWS, 160, 2), (TAGS, 100, 3), (CLIPS, 40, 3)] {
        let place_of = Place::new();
        let model = place_of.trained(kind);
        let data = place.name(kind.data);
        let score = succeed(&mut refrain(&["evaluate", &model, &data, "--json"]));
        assert_eq!(score["task"], kind.task);
        assert_eq!(score["examples"], examples);
        assert_eq!(score["unknown"], 0, "{score}");
        for field in ["tokens", "loss_nats", "accuracy", "macro_f1"] {
            assert!(score[field].is_number(), "no `{field}` in {score}");
        }
        assert!(score["accuracy"].as_f64().unwrap() > 0.5, "{score}");
        let confusion = score["confusion"].as_array().unwrap();
        assert_eq!(confusion.len(), classes);
        let rows = confusion.iter().map(|row| row.as_array().unwrap());
        let counts: Vec<u64> = rows
            .inspect(|row| assert_eq!(row.len(), classes))
            .flatten()
            .map(|count| count.as_u64().unwrap())
            .collect();
        let expected = if kind.task == "tag" {
            &score["tokens"]
        } else {
            &score["examples"]
        };
        assert_eq!(counts.iter().sum::<u64>(), *expected);
        let scalar = [
            "evaluate",
            &model,
            &data,
            "--json",
            "--isa=scalar",
            "--threads=1",
        ];
        assert_eq!(succeed(&mut refrain(&scalar)), score);
    }
}

#[test]
fn a_model_of_another_task_is_refused() {
    let place = Place::new();
    let models = [REVIEWS, TAGS, TEXT].map(|kind: Kind| {
        let run = format!("model-{}", kind.task);
        succeed(&mut place.train(kind, &run, &["--steps=2"]));
        place.name(&run)
    });
    let [classifier, tagger, language] = &models;
    let (reviews, tags) = (place.name("reviews.tsv"), place.name("tags.conllu"));
    let (clips, out) = (place.name("clips.npz"), place.name("states.npz"));
    for (args, expected) in [
        (vec!["predict", language], "task `lm`"),
        (vec!["sample", classifier], "task `classify`"),
        (vec!["sample", tagger], "task `tag`"),
        (vec!["evaluate", classifier, &clips], "clips.npz"),
        (vec!["evaluate", tagger, &clips], "arrays"),
        (vec!["evaluate", classifier, &tags], "tags.conllu"),
        (vec!["evaluate", tagger, &reviews], "reviews.tsv"),
        (
            vec!["evaluate", classifier, &reviews, "--streams=2"],
            "`--streams`",
        ),
        (
            vec!["evaluate", tagger, &tags, "--max-tokens=2"],
            "`--max-tokens`",
        ),
        (
            vec!["inspect", "states", language, &reviews, "-o", &out],
            "`cell mlp`",
        ),
        (
            vec!["inspect", "states", tagger, &clips, "-o", &out],
            "arrays",
        ),
    ] {
        let (code, message, hint) = fail(refrain(&args).arg("--json"));
        // A flag that does not apply is wrong usage.
        let is_flag = expected.starts_with("`--");
        assert_eq!(code, if is_flag { 2 } else { 1 }, "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(!hint.is_empty(), "{args:?}: {message}");
    }
    assert!(!place.path("states.npz").exists());
}

/// What the library reads of a file.
fn raw_of(loaded: &LoadedLabeller, file: &str) -> Raw {
    let options = RawOptions {
        per_step: loaded.encoding.per_step,
        labelled: false,
        format: None,
        columns: TableColumns::default(),
        on_bad_row: OnBadRow::Error,
        max_bytes: 1 << 30,
    };
    read_raw(&[file.into()], &options, None).unwrap().raw
}

#[test]
fn states_are_those_that_the_encoder_gives() {
    for kind in [REVIEWS, TAGS, CLIPS] {
        let place = Place::new();
        let model = place.trained(kind);
        let (data, out) = (place.name(kind.data), place.name("states.npz"));
        succeed(&mut refrain(&[
            "inspect", "states", &model, &data, "-o", &out, "--json",
        ]));
        let npz = std::fs::read(&out).unwrap();
        let loaded = LoadedLabeller::open(model.as_ref()).unwrap();
        let raw = raw_of(&loaded, &data);
        let examples = loaded.encoding.encode(&raw, &data, false).unwrap().examples;
        let top = loaded.config.model.num_layers - 1;
        let units = loaded.config.model.hidden_size;
        let (shape, forward) = array(&npz, &format!("h_l{top}"));
        let (_, reverse) = array(&npz, &format!("h_l{top}_reverse"));
        let longest = examples.lengths().iter().copied().max().unwrap();
        assert_eq!(shape, [examples.len(), longest, units]);
        assert_eq!(lengths(&npz, "lengths"), examples.lengths());
        for gate in ["c", "i", "f", "g", "o"] {
            assert_eq!(array(&npz, &format!("{gate}_l0")).0, shape);
        }
        let compute = Compute::single(Isa::detect());
        let mut any = AnyModel::open(model.as_ref()).unwrap();
        let material = Material::Sequences(raw, data.clone());
        let reading = Reading::new(&any, material, false).unwrap();
        let refused = states(&mut any, &compute, &reading, 1000, Some(1000)).unwrap_err();
        assert!(
            matches!(refused, refrain::Error::Memory { .. }),
            "{refused}"
        );
        let (mut space, mut batch) = (LabellerSpace::default(), SequenceBatch::default());
        loaded.model.pack(&mut space, false);
        let starts = examples.starts();
        for (at, &length) in examples.lengths().iter().enumerate() {
            examples.fill(&[at], &starts, &mut batch);
            loaded.model.scores(&compute, &mut space, &batch, None);
            let output = loaded.model.encoder.output(&space.encoder);
            for t in 0..longest {
                let here = (at * longest + t) * units..(at * longest + t + 1) * units;
                let expected = if t < length {
                    output.to_rows(t, 1)
                } else {
                    vec![0.0; 2 * units]
                };
                assert_eq!(
                    forward[here.clone()],
                    expected[..units],
                    "{kind:?} {at} {t}"
                );
                assert_eq!(reverse[here], expected[units..], "{kind:?} {at} {t}");
            }
        }
    }
}
