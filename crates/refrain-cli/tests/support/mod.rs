//! What the tests of whole runs share.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for any of these runs on a busy machine; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn refrain(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
    command
        .args(args)
        .env_remove("REFRAIN_ISA")
        .stdin(Stdio::null());
    command
}

pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Value {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// The exit code, message and hint of a command that fails.
#[track_caller]
pub(crate) fn fail(command: &mut Command) -> (i32, String, String) {
    let output = output(command);
    let code = output.status.code().unwrap();
    assert_ne!(code, 0, "{command:?}");
    assert_ne!(
        code,
        101,
        "a panic: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let error: Value = serde_json::from_slice(&output.stderr)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let part = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
    (code, part("message"), part("hint"))
}

/// The line of every step and of every score, and that each stands once.
#[track_caller]
fn measured(run: &Path) -> BTreeMap<(String, u64), Value> {
    let mut measured = BTreeMap::new();
    for line in fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
    {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["event"] == "step" || event["event"] == "validation" {
            for of_the_clock in ["elapsed_s", "tokens_per_s"] {
                event.as_object_mut().unwrap().remove(of_the_clock);
            }
            let kind = event["event"].as_str().unwrap().to_owned();
            let key = (kind, event["step"].as_u64().unwrap());
            assert!(
                measured.insert(key.clone(), event).is_none(),
                "{key:?} stands twice"
            );
        }
    }
    measured
}

#[track_caller]
pub(crate) fn same_run(found: &Path, expected: &Path) {
    for name in ["last.safetensors", "best.safetensors"] {
        assert!(
            fs::read(found.join(name)).unwrap() == fs::read(expected.join(name)).unwrap(),
            "{name} of {} differs",
            found.display()
        );
    }
    assert_eq!(measured(found), measured(expected));
}

pub(crate) fn wait_until(child: &mut Child, what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| {
        bytes.iter().filter(|&&byte| byte == b'\n').count()
    })
}

/// Kills a run at moments spread over it, as soon as its settings stand and then again and again, and lets it go on each time;
/// gives how often it was really killed. A moment is a number of lines of the metrics: it can be waited for; what the process
/// does just then is left to chance.
pub(crate) fn killed_and_resumed(
    run: &Path,
    moments: &[usize],
    mut begin: Command,
    resume: impl Fn() -> Command,
) -> usize {
    let quiet = |command: &mut Command| {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    // Before the first save.
    let mut child = quiet(&mut begin);
    wait_until(&mut child, "config.toml", || {
        run.join("config.toml").exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let mut kills = 0;
    for &moment in moments {
        let mut child = quiet(&mut resume());
        wait_until(&mut child, "a line", || {
            lines(&run.join("metrics.jsonl")) > moment
        });
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    kills
}
