//! What the tests of the command share.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use refrain::data::{TokenKind, Vocabulary, WordCounts, WordOptions};
use refrain::models::{LanguageModel, LanguageModelSpace, TokenBatch};
use refrain::nn::CellKind;
use refrain::optim::{Optimizer, gradient_norm};
use refrain::run::model::model_file;
use refrain::run::settings::Settings;
use refrain::train::{Purpose, keyed_rng};
use refrain::{Compute, Isa};
use serde_json::{Value, json};

/// The command, its surroundings not the tester's.
pub(crate) fn refrain(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
    command.args(args).stdin(Stdio::null());
    for name in [
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "REFRAIN_ISA",
    ] {
        command.env_remove(name);
    }
    command
}

/// All that a command shows, in one text.
pub(crate) fn show(mut command: Command) -> String {
    let output = command.output().unwrap();
    let code = output
        .status
        .code()
        .map_or("none".into(), |code| code.to_string());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    format!("exit: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// The standard output of a command that must succeed.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = refrain(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The objects on standard output, one a line, of a command that must succeed and say nothing else.
pub(crate) fn json_lines(args: &[&str]) -> Vec<Value> {
    let output = refrain(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The object on stderr of a command that failed with `code`.
pub(crate) fn json_error(args: &[&str], code: i32) -> Value {
    let output = refrain(args).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = value["error"].as_object().unwrap();
    assert_eq!(
        error.keys().collect::<Vec<_>>(),
        ["causes", "hint", "message"]
    );
    value["error"].clone()
}

/// Steps for which a model is taught.
const STEPS: u64 = 150;

/// A model file in `folder`, of a small model that was taught `text` for some steps.
pub(crate) fn taught(folder: &Path, text: &str, tokens: TokenKind, cell: CellKind) -> PathBuf {
    let settings = Settings {
        cell: Some(cell),
        tokens: Some(tokens),
        hidden_size: Some(12),
        num_layers: Some(1),
        embedding_size: Some(5),
        batch: Some(1),
        steps: Some(STEPS),
        learning_rate: Some(0.03),
        ..Settings::default()
    };
    let config = settings.resolve().unwrap();
    let vocabulary = match tokens {
        TokenKind::Char => Vocabulary::from_text(text).unwrap(),
        TokenKind::Byte => Vocabulary::bytes(),
        TokenKind::Bpe(size) => Vocabulary::from_text_bpe(text, size).unwrap(),
        TokenKind::Word => {
            let mut counts = WordCounts::new(WordOptions::default()).with_line_breaks();
            counts.add_text(text);
            counts.finish().unwrap().0
        }
    };
    let ids = vocabulary.encode(text).ids;
    let mut rng = keyed_rng(1, Purpose::Weights, 0);
    let mut model = LanguageModel::<f32>::new(&config.model, vocabulary.len(), &mut rng);
    let (compute, mut space) = (
        Compute::single(Isa::detect()),
        LanguageModelSpace::default(),
    );
    let mut optimizer = Optimizer::new(&config.optimizer, &model);
    let mut loss = f64::NAN;
    for step in 1..=STEPS {
        let mut state = model.zero_state(1);
        let tokens = TokenBatch {
            inputs: &ids[..ids.len() - 1],
            targets: &ids[1..],
            batch: 1,
        };
        loss = model.loss_and_gradients(&compute, &mut space, tokens, &mut state, None);
        let update = optimizer.clip(gradient_norm(&compute, &model));
        optimizer.update(&compute, &mut model, step, 0.03, update);
    }
    let trained = json!({
        "steps": STEPS,
        "tokens": STEPS * (ids.len() as u64 - 1),
        "train_loss_nats": loss,
        "first_token": ids[0],
    });
    let Value::Object(trained) = trained else {
        unreachable!()
    };
    let path = folder.join("taught.safetensors");
    let file = model_file(&model, &vocabulary, &config, trained);
    file.save(&path).unwrap();
    path
}
