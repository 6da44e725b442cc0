//! What a forecaster says and how it is scored, by ways of its own.

use serde_json::Value;

use crate::support::{fail, output, refrain, succeed};
use crate::{PLAIN, Place, ROLLS, SERIES, rows, series};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

fn lines_of(args: &[&str]) -> Vec<Value> {
    let output = output(&mut refrain(args));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The errors of each window's answer, asked for one by one, are those of the score; so are the simple means'.
#[test]
fn a_score_is_what_the_answers_say() {
    let place = Place::new();
    let run = place.trained(SERIES, &["--loss=mse"]);
    let all = rows(70);
    let data = place.write("new.csv", series(&all).as_bytes());
    let plot = place.name("forecast.svg");
    let score = succeed(&mut refrain(&[
        "evaluate", &run, &data, "--json", "--plot", &plot,
    ]));
    let png = place.name("forecast.png");
    succeed(&mut refrain(&[
        "evaluate", &run, &data, "--json", "--plot", &png,
    ]));
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    for (args, said) in [
        (
            &["evaluate", &run, &data, "--plot=forecast.gif"][..],
            ".svg",
        ),
        (&["evaluate", &run, &data, "--beam=3"], "`--beam`"),
        (&["predict", &run, &data, "--beam=3"], "does not search"),
    ] {
        let (code, message, hint) = fail(refrain(args).arg("--json"));
        assert!(code > 0 && (message + &hint).contains(said), "{args:?}");
    }
    let (mut squares, mut last, mut count) = ([0.0; 2], [0.0; 2], 0.0);
    for end in 12..=67 {
        let file = place.write("begun.csv", series(&all[..end]).as_bytes());
        let said = &lines_of(&["predict", &run, &file, "--json"])[0];
        assert_eq!(said["columns"], serde_json::json!(["warm", "load, kW"]));
        for step in 0..3 {
            let values = &said["values"][step];
            let truth = all[end + step];
            let before = all[end - 1];
            for (column, (truth, before)) in [(truth.0, before.0), (truth.1, before.1)]
                .into_iter()
                .enumerate()
            {
                let square = |x: f64| x * x;
                squares[column] += square(number(&values[column]) - truth);
                last[column] += square(before - truth);
            }
            count += 1.0;
        }
    }
    assert_eq!(score["examples"], 56);
    for column in 0..2 {
        let found = number(&score["targets"][column]["original"]["mse"]);
        let expected = squares[column] / count;
        assert!(
            (found - expected).abs() < 1e-3 * expected,
            "{found} {expected}"
        );
    }
    let own = number(&score["original"]["mse"]);
    assert!((own - (squares[0] + squares[1]) / (2.0 * count)).abs() < 1e-3 * own);
    assert_eq!(score["season"], 8);
    // On the scale of deviation 1 each column has a factor of its own.
    let factor = |column: usize| {
        let target = &score["targets"][column];
        number(&target["mse"]) / number(&target["original"]["mse"])
    };
    let expected = 0.5 * (last[0] * factor(0) + last[1] * factor(1)) / count;
    let found = number(&score["baseline"]["mse"]);
    assert!(
        (found - expected).abs() < 1e-3 * expected,
        "{found} {expected}"
    );
    for name in ["last", "seasonal", "linear"] {
        assert!(number(&score["baselines"][name]["mae"]) > 0.0, "{score}");
    }
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("load, kW, predicted and true"));
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
}

#[test]
fn a_normal_distribution_has_deviations() {
    let place = Place::new();
    let run = place.trained(SERIES, &[]);
    let data = place.name("series.csv");
    let said = &lines_of(&["predict", &run, &data, "--json"])[0];
    for step in 0..3 {
        let deviation = number(&said["deviation"][step][0]);
        assert!(deviation > 0.0 && deviation < 50.0, "{said}");
        assert!(
            (number(&said["values"][step][0]) - 22.0).abs() < 10.0,
            "{said}"
        );
    }
    let text = String::from_utf8(output(&mut refrain(&["predict", &run, &data])).stdout).unwrap();
    let head = "warm,\"load, kW\",warm deviation,\"load, kW deviation\"";
    assert_eq!((text.lines().count(), text.lines().next()), (4, Some(head)));
    let info = succeed(&mut refrain(&["info", &run, "--json"]));
    assert_eq!(info["input"]["columns"][1], "load, kW");
    assert_eq!(info["input"]["reads"]["horizon"], 3);
    assert!(number(&info["standardisation"]["std"][0]) > 0.0);
    let text = String::from_utf8(output(&mut refrain(&["info", &run])).stdout).unwrap();
    assert!(
        text.contains("the last 12 steps of 2 numbers") && text.contains("season: 8 steps"),
        "{text}"
    );
    let states = place.name("states.npz");
    succeed(&mut refrain(&[
        "inspect", "states", &run, &data, "-o", &states, "--json",
    ]));
    let (code, _, _) = fail(&mut refrain(&["sample", &run, "--json"]));
    assert_eq!(code, 1);
}

#[test]
fn the_next_step_of_each_roll_is_told_alone_and_together() {
    let place = Place::new();
    let run = place.trained(ROLLS, &["--steps=300", "--dropout=0"]);
    let data = place.name("rolls.npz");
    let said = lines_of(&["predict", &run, &data, "--json"]);
    assert_eq!(said.len(), 40);
    let mut right = 0;
    for (at, said) in said.iter().enumerate() {
        let next = (at + 3 + at % 7) % 4;
        let values: Vec<f64> = said["values"][0]
            .as_array()
            .unwrap()
            .iter()
            .map(number)
            .collect();
        assert!(values.iter().all(|p| (0.0..=1.0).contains(p)));
        right += usize::from((0..4).all(|key| key == next || values[key] < values[next]));
    }
    assert!(right >= 36, "{right} of 40");
    let plot = place.name("roll.svg");
    let score = succeed(&mut refrain(&[
        "evaluate", &run, &data, "--json", "--plot", &plot,
    ]));
    let frequency = number(&score["baseline"]["loss_nats"]);
    assert!(number(&score["loss_nats"]) < 0.5 * frequency, "{score}");
    // Four keys, each there every fourth time.
    assert!((frequency - 2.25).abs() < 0.05, "{frequency}");
    assert!(
        std::fs::read_to_string(plot)
            .unwrap()
            .contains("Probabilities of the next step")
    );
    let config = std::fs::read_to_string(place.path("trained/config.toml")).unwrap();
    assert!(
        config.contains("loss = \"bernoulli\"") && !config.contains("context"),
        "{config}"
    );
}

#[test]
fn windows_of_sequences_and_given_numbers_are_learnt_too() {
    let place = Place::new();
    let more = ["--context=3", "--loss=mse", "--steps=400", "--dropout=0"];
    let run = place.trained(ROLLS, &more);
    let score = succeed(&mut refrain(&[
        "evaluate",
        &run,
        &place.name("rolls.npz"),
        "--json",
    ]));
    assert!(
        number(&score["mse"]) < 0.3 * number(&score["baselines"]["last"]["mse"]),
        "{score}"
    );
    // The sum of the steps of each sequence, and the running sum at each step.
    for per_step in [false, true] {
        let mut npz = refrain::data::NpzWriter::new();
        let inputs: Vec<f32> = (0..60 * 4)
            .map(|at| ((at * 37 + 11) % 17) as f32 - 8.0)
            .collect();
        npz.add_f32("inputs", &[60, 4, 1], &inputs).unwrap();
        let sums = inputs
            .chunks(4)
            .map(|own| (0..4).map(|t| own[..=t].iter().sum()).collect::<Vec<f32>>());
        if per_step {
            let sums: Vec<f32> = sums.flatten().collect();
            npz.add_f32("targets", &[60, 4, 1], &sums).unwrap();
        } else {
            let sums: Vec<f32> = sums.map(|own| own[3]).collect();
            npz.add_f32("targets", &[60], &sums).unwrap();
        }
        let data = place.write("sums.npz", &npz.finish().unwrap());
        let run = place.name(if per_step { "steps" } else { "sums" });
        let args = [
            "train",
            "forecast",
            &data,
            "-o",
            &run,
            "--json",
            "--steps=500",
            "--hidden-size=24",
            "--dropout=0",
        ];
        let end = succeed(refrain(&args).args(["--test=0.2", "--learning-rate=0.01"]));
        assert!(
            number(&end["test"]["mse"]) < 0.2 * number(&end["test"]["mean_mse"]),
            "{end}"
        );
        let said = lines_of(&["predict", &run, &data, "--json"]);
        let steps = said[0]["values"].as_array().unwrap().len();
        assert_eq!((said.len(), steps), (60, if per_step { 4 } else { 1 }));
        let sum = inputs[..4].iter().sum::<f32>();
        assert!(
            (number(&said[0]["values"][steps - 1][0]) - f64::from(sum)).abs() < 4.0,
            "{} {sum}",
            said[0]
        );
    }
}

/// Bidirectional, a target alone, without anchor and shortcut, a constant column: all of it goes through.
#[test]
fn settings_of_every_kind_go_through() {
    let place = Place::new();
    let run = place.trained(
        PLAIN,
        &[
            "--cell=gru",
            "--bidirectional",
            "--anchor=none",
            "--shortcut=false",
            "--loss=mse",
        ],
    );
    let said = &lines_of(&["predict", &run, &place.name("series.csv"), "--json"])[0];
    assert_eq!(said["columns"], serde_json::json!(["warm"]));
    for (run, flags, line) in [
        ("near", &["--window=3"][..], "window = 3\n"),
        ("far", &[], "window = 16\n"),
    ] {
        let flags = [&["--steps=2", "--cell=mlp", "--json"], flags].concat();
        let (data, run) = (place.name("rolls.npz"), place.name(run));
        succeed(refrain(&["train", "forecast", &data, "-o", &run]).args(flags));
        let config = std::fs::read_to_string(format!("{run}/config.toml")).unwrap();
        assert!(config.contains(line), "{config}");
        assert_eq!(
            succeed(&mut refrain(&["train", "--resume", &run, "--json"]))["steps"],
            2
        );
        assert!(number(&lines_of(&["evaluate", &run, &data, "--json"])[0]["mse"]) > 0.0);
    }
    let mut text = "a,b\n".to_owned();
    (0..120).for_each(|at| text += &format!("{},7.5\n", at % 6));
    let data = place.write("constant.csv", text.as_bytes());
    let run = place.name("constant");
    let flags = [
        "--context=12",
        "--horizon=6",
        "--steps=60",
        "--hidden-size=8",
        "--json",
    ];
    let end = succeed(refrain(&["train", "forecast", &data, "-o", &run]).args(flags));
    assert!(
        end["notes"].to_string().contains("`b` never changes"),
        "{end}"
    );
    let said = &lines_of(&["predict", &run, &data, "--json"])[0];
    assert!((number(&said["values"][0][1]) - 7.5).abs() < 1.0, "{said}");
}
