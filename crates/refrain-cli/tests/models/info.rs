//! `refrain info`.

use insta::assert_snapshot;
use refrain::data::TokenKind;
use refrain::nn::CellKind;

use crate::support::{json_error, json_lines, refrain, show, stdout, taught};

#[test]
fn layers_vocabulary_settings_and_training_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    taught(
        folder.path(),
        "hello world, hello\n",
        TokenKind::Char,
        CellKind::Lstm,
    );
    let mut command = refrain(&["info", "taught.safetensors"]);
    command.current_dir(folder.path());
    assert_snapshot!("info", show(command));
}

#[test]
fn a_run_folder_means_its_best_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = taught(folder.path(), "hello", TokenKind::Byte, CellKind::Rnn);
    std::fs::rename(path, folder.path().join("best.safetensors")).unwrap();
    let text = stdout(&["info", folder.path().to_str().unwrap()]);
    assert!(
        text.contains("best.safetensors") && text.contains("the 256 bytes"),
        "{text}"
    );
}

#[test]
fn programs_get_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = taught(folder.path(), "hello", TokenKind::Char, CellKind::Gru);
    let found = &json_lines(&["info", path.to_str().unwrap(), "--json"])[0];
    assert_eq!(
        (&found["task"], &found["cell"]),
        (&"lm".into(), &"gru".into())
    );
    assert_eq!(found["vocabulary_size"], 4);
    assert_eq!(found["parameters"]["rnn.weight_ih_l0"], 3 * 12 * 5);
    assert_eq!(found["shapes"]["rnn.weight_ih_l0"].to_string(), "[36,5]");
    let parameters = found["parameters"].as_object().unwrap();
    let sum: u64 = parameters
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(found["parameters"]["total"].as_u64().unwrap() * 2, sum);
    assert_eq!(found["config"]["hidden_size"], 12);
    assert_eq!(found["trained"]["steps"], 150);
    assert_eq!(
        found["vocabulary"]["tokens"].to_string(),
        r#"["e","h","l","o"]"#
    );
}

#[test]
fn the_model_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = taught(folder.path(), "hello", TokenKind::Char, CellKind::Gru);
    let path = path.to_str().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (svg, png) = (place("model.svg"), place("model.png"));
    let found = &json_lines(&["info", path, "--plot", &svg, "--json"])[0]["graph"];
    assert_eq!(found["shape"], "many to many, aligned");
    let arrows = found["arrows"].as_array().unwrap();
    assert!(
        arrows
            .iter()
            .any(|arrow| arrow["label"] == "weight_hh_l0 36x12"),
        "{found}"
    );
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(drawn.contains("<title>The model, unrolled</title>") && drawn.contains("36×12"));
    stdout(&["info", path, "--plot", &png]);
    assert!(std::fs::read(png).unwrap().starts_with(b"\x89PNG"));
    let error = json_error(&["info", path, "--plot", &place("model.gif"), "--json"], 1);
    assert!(error["hint"].as_str().unwrap().contains(".png"), "{error}");
}

#[test]
fn what_is_no_model_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    std::fs::write(&path, "to be or not to be").unwrap();
    let error = json_error(&["info", path.to_str().unwrap(), "--json"], 1);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("not a usable model file"),
        "{error}"
    );
}
