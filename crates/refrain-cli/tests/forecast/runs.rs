//! Runs that are killed, stopped and resumed; on other threads and instructions; the built-in data.

use crate::support::{killed_and_resumed, refrain, same_run, succeed};
use crate::{Kind, PLAIN, Place, ROLLS, SERIES};

fn check(kind: Kind) {
    let place = Place::new();
    let whole = place.path("whole");
    succeed(&mut place.train(kind, "whole", &["--threads=1"]));
    for (name, flag) in [("two", "--threads=2"), ("scalar", "--isa=scalar")] {
        succeed(&mut place.train(kind, name, &[flag]));
        same_run(&place.path(name), &whole);
    }
    succeed(&mut place.train(kind, "short", &["--steps=30"]));
    let end = succeed(place.resume("short").arg("--steps=80"));
    assert_eq!(end["steps"], 80);
    same_run(&place.path("short"), &whole);
    let (run, begin) = (place.path("killed"), place.train(kind, "killed", &[]));
    let kills = killed_and_resumed(&run, &[1, 8, 19, 33, 50, 71], begin, || {
        place.resume("killed")
    });
    assert_eq!(succeed(&mut place.resume("killed"))["steps"], 80);
    assert!(kills >= 1, "the run was over too soon: {kills} kills");
    same_run(&place.path("killed"), &whole);
}

#[test]
fn a_forecaster_of_a_series_is_the_same_however_it_was_run() {
    check(SERIES);
}

#[test]
fn a_forecaster_of_rolls_is_the_same_however_it_was_run() {
    check(ROLLS);
}

#[test]
fn a_plain_forecaster_is_the_same_however_it_was_run() {
    check(PLAIN);
}

/// What the built-in data must reach: far less than the value a season before, and less than a linear model.
#[test]
fn the_built_in_data_is_learnt() {
    let place = Place::new();
    let run = place.name("demo");
    let args = ["train", "forecast", "-o", &run, "--test=0.1", "--json"];
    let end = succeed(&mut refrain(&args));
    let test = |key: &str| end["test"][key].as_f64().unwrap();
    assert!(test("mse") < 0.7 * test("seasonal_mse"), "{end}");
    assert!(test("mse") < test("linear_mse"), "{end}");
    let page = std::fs::read_to_string(place.path("demo/report.html")).unwrap();
    for part in [
        "Forecasts",
        "load, predicted and true",
        "the value 24 steps before",
    ] {
        assert!(page.contains(part), "no {part:?}");
    }
}

#[test]
fn standard_input_is_kept_for_a_resume() {
    let place = Place::new();
    let mut command = refrain(&["train", "forecast", "-", "-o"]);
    command.arg(place.path("piped"));
    command.args([
        "--context=8",
        "--horizon=2",
        "--steps=5",
        "--hidden-size=8",
        "--json",
    ]);
    command.stdin(std::fs::File::open(place.path("series.csv")).unwrap());
    succeed(&mut command);
    let end = succeed(place.resume("piped").arg("--steps=12"));
    assert_eq!(end["steps"], 12);
}
