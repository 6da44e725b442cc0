//! The commands that the documents show: each is read as it stands, and run with a budget of a moment.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The documents whose commands are run, in the order in which they stand there.
const DOCUMENTS: [&str; 3] = ["README.md", "docs/defaults.md", "CONTRIBUTING.md"];
/// How a command begins in a document.
const PREFIXES: [&str; 2] = ["cargo run --release -- ", "refrain "];
/// What a run is given instead of its own sizes, so that it takes a moment.
const SMALL: [&str; 3] = ["--hidden-size=16", "--batch=4", "--bptt=8"];
const BUDGETS: [&str; 3] = ["--steps", "--epochs", "--minutes"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The arguments of each command in the shell blocks of a document.
fn commands(document: &str) -> Vec<Vec<String>> {
    let path = root().join(document);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut commands = Vec::new();
    let mut shell = false;
    for line in text.lines() {
        if line.starts_with("```") {
            shell = ["```sh", "```console"].contains(&line);
        } else if shell {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let arguments = PREFIXES.iter().find_map(|prefix| line.strip_prefix(prefix));
            commands.extend(arguments.map(words));
        }
    }
    commands
}

/// Splits a command as a shell does, as far as the documents need it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | '<' | '$' | '`' | '\\' | '&' | ';' | '*' | '#' | '~') => {
                panic!("`{c}` needs a shell, which this test is not: {line}")
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "an open quote: {line}");
    words.extend(word);
    words
}

/// Leaves out flags, with their values.
fn without(args: &[String], flags: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if flags.contains(&arg.as_str()) {
            args.next();
        } else if !flags
            .iter()
            .any(|flag| arg.starts_with(&format!("{flag}=")))
        {
            kept.push(arg.clone());
        }
    }
    kept
}

/// The same command with less to do; nothing where even that would take long.
fn quick(args: &[String]) -> Option<Vec<String>> {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    match args[0].as_str() {
        "train" if has("--resume") => {
            let budget = args.iter().any(|arg| BUDGETS.contains(&arg.as_str()));
            let mut quick = without(args, &BUDGETS);
            quick.extend(budget.then(|| "--steps=25".to_owned()));
            Some(quick)
        }
        "train" => {
            // The demo keeps its sizes, which are small: its own recipe is what is to be seen.
            let demo = args.get(2).is_some_and(|arg| arg.starts_with('-'));
            let sizes = match args[1].as_str() {
                _ if demo => &[][..],
                "lm" => &SMALL,
                // Whole sequences have no chunks.
                _ => &SMALL[..2],
            };
            let mut flags = BUDGETS.to_vec();
            flags.extend(sizes.iter().filter_map(|size| size.split('=').next()));
            let mut quick = without(args, &flags);
            quick.push("--steps=20".into());
            quick.extend(sizes.iter().map(|&size| size.to_owned()));
            Some(quick)
        }
        "sample" => {
            let mut quick = without(args, &["--length"]);
            quick.push("--length=20".into());
            Some(quick)
        }
        "bench" => None,
        // Each experiment has a test of its own.
        "lab" if has("--all") => None,
        _ => Some(args.to_owned()),
    }
}

#[track_caller]
fn succeed(folder: &Path, args: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("REFRAIN_ISA")
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`refrain {}`: {error}",
        args.join(" ")
    );
    output
}

/// A folder with the data that the documents name.
fn folder_with_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let text =
        "To be, or not to be, that is the question:\nwhether 'tis nobler in the mind to suffer\n";
    write("input.txt", text.repeat(20).as_bytes());
    write("other.txt", text.as_bytes());
    let reviews = "a warm film\tgood\na cold film\tbad\na warm , warm plot\tgood\nso cold\tbad\n";
    let head = "text\tlabel\n";
    write(
        "reviews.tsv",
        format!("{head}{}", reviews.repeat(8)).as_bytes(),
    );
    write("test.tsv", format!("{head}{reviews}").as_bytes());
    write("new.txt", b"a warm ending\na cold one\n");
    let token = |(at, (form, tag)): (usize, (&str, &str))| {
        format!("{}\t{form}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n", at + 1)
    };
    let sentence = [("the", "DET"), ("dog", "NOUN"), ("barks", "VERB")];
    let sentence: String = sentence.into_iter().enumerate().map(token).collect();
    write(
        "train.conllu",
        format!("{sentence}\n").repeat(12).as_bytes(),
    );
    write("dev.conllu", format!("{sentence}\n").repeat(3).as_bytes());
    // Twelve pictures of 4 x 4 pixels, as IDX has them, dark ones and bright ones.
    let head = |kind: u8, sizes: &[u32]| {
        let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, kind]
            .into_iter()
            .chain(sizes)
            .collect::<Vec<u8>>()
    };
    let labels: Vec<u8> = (0..12).map(|at| at % 2).collect();
    let pixels = labels.iter().flat_map(|label| [200 * label + 9; 16]);
    let pictures: Vec<u8> = head(3, &[12, 4, 4]).into_iter().chain(pixels).collect();
    write("train-images-idx3-ubyte", &pictures);
    write(
        "train-labels-idx1-ubyte",
        &[head(1, &[12]), labels].concat(),
    );
    // Eight clips of three frames of 8 x 8 pixels.
    let shape = [8, 3, 8, 8, 1];
    let pixels: Vec<f32> = (0..shape.iter().product())
        .map(|at| (at % 7) as f32)
        .collect();
    let labels: Vec<i64> = (0..24).map(|at| at % 3).collect();
    let mut video = refrain::data::NpzWriter::new();
    video.add_f32("inputs", &shape, &pixels).unwrap();
    video.add_i64("labels", &shape[..2], &labels).unwrap();
    write("video.npz", &video.finish().unwrap());
    write_pairs(&write);
    folder
}

/// Sentences with translations, pictures with captions, a series.
fn write_pairs(write: &dyn Fn(&str, &[u8])) {
    for (part, times) in [("train", 12), ("val", 3), ("test", 3)] {
        let german = "Ein Hund rennt.\nZwei Hunde rennen schnell.\n".repeat(times);
        let english = "A dog runs.\nTwo dogs run fast.\n".repeat(times);
        write(&format!("{part}.de"), german.as_bytes());
        write(&format!("{part}.en"), english.as_bytes());
    }
    let captions: String = (0..12)
        .map(|at| {
            let (name, colour) = (format!("{at}.png"), ["black", "white"][at % 2]);
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="{colour}"/></svg>"#
            );
            let picture = refrain::run::plot::png_of(&svg).unwrap();
            write(&format!("pictures/{name}"), &picture);
            format!("{name}\ta {colour} square\n")
        })
        .collect();
    write("captions.tsv", captions.as_bytes());
    let rows = (0..400).map(|at| format!("{},{}\n", at % 24, (at * 7) % 13));
    let series = format!("load,wind\n{}", rows.collect::<String>());
    write("load.csv", series.as_bytes());
}

#[test]
fn every_command_of_the_documents_runs() {
    for document in DOCUMENTS {
        let folder = folder_with_data();
        for args in commands(document) {
            // As it stands: whatever is wrong with it is told before the help is.
            let mut help = args.clone();
            help.push("--help".into());
            succeed(folder.path(), &help);
            if let Some(args) = quick(&args) {
                let output = succeed(folder.path(), &args);
                assert!(
                    !output.stdout.is_empty(),
                    "{document}: `refrain {}` gave nothing",
                    args.join(" ")
                );
            }
        }
        if document == "README.md" {
            for file in [
                "best.safetensors",
                "last.safetensors",
                "report.html",
                "metrics.jsonl",
            ] {
                assert!(
                    folder.path().join("runs/latin").join(file).is_file(),
                    "no {file}"
                );
            }
        }
    }
}

#[test]
fn the_readme_shows_every_command() {
    let shown = commands("README.md");
    for command in [
        "train", "sample", "predict", "evaluate", "inspect", "info", "lab", "hello",
    ] {
        assert!(
            shown.iter().any(|args| args[0] == command),
            "README.md shows no `{command}`"
        );
    }
    let first = ["train", "lm", "-o", "runs/latin"];
    assert_eq!(shown[0], first, "the first command is the demo");
    assert!(shown.iter().flatten().any(|arg| arg == "--resume"));
}

/// What a link calls a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().replace(' ', "-")
}

/// Every document at the root and in `docs/`.
fn documents() -> Vec<String> {
    let mut documents = Vec::new();
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                documents.push(format!("{folder}{name}"));
            }
        }
    }
    documents.sort();
    documents
}

#[test]
fn the_guide_has_a_link_to_each_of_its_pages() {
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for document in documents() {
        if let Some(page) = document.strip_prefix("docs/")
            && page != "SUMMARY.md"
        {
            let link = format!("]({page})");
            assert_eq!(
                contents.matches(&link).count(),
                1,
                "{page} in docs/SUMMARY.md"
            );
        }
    }
}

#[test]
fn what_a_document_links_to_is_there() {
    for document in documents() {
        let path = root().join(&document);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{document} links to {}", target.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line) == heading),
                    "{document} links to the heading {link}"
                );
            }
        }
    }
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(
        words("sample runs/a --prompt 'a b'  --x=\"c\"d ''"),
        ["sample", "runs/a", "--prompt", "a b", "--x=cd", ""]
    );
    let args = words("train lm a.txt --steps 3 --batch=7 -o r");
    assert_eq!(
        without(&args, &["--steps", "--batch"]),
        ["train", "lm", "a.txt", "-o", "r"]
    );
}
