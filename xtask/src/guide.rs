//! The guide in `docs/`: its commands are run, and what they give stands below them.
//!
//! A block of a page that is fenced `sh` is run by the shell, in a folder that the page's blocks share. The block after it, if it
//! is fenced `text`, holds what it printed; fenced `text,measured`, what it printed of this machine, where every number may be
//! another one. Pictures that it writes into `pictures/` and the page shows stand in `docs/pictures/`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use regex::Regex;

use crate::stages::{LIBRARY, cargo, root, target};

/// Where pictures are, beside the pages and in the folder in which a page's commands run.
const PICTURES: &str = "pictures";
/// The pages whose commands name a reader's own files: the command's tests run those, on files made for it.
const ELSEWHERE: [&str; 1] = ["defaults.md"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing: a page or picture that the commands no longer give is an error
    #[arg(long)]
    check: bool,
    /// The pages, such as `clipping.md`; all of them when none is named
    pages: Vec<String>,
}

/// Whether the guide shows what its commands give.
pub(crate) fn check() -> Result<()> {
    run(&Arguments {
        check: true,
        pages: Vec::new(),
    })
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let docs = root().join("docs");
    let all = pages(&docs)?;
    for page in &arguments.pages {
        ensure!(
            all.contains(page),
            "the guide has no page `{page}`; it has {}",
            all.join(", ")
        );
    }
    build_command()?;
    let guide = Guide {
        folder: docs,
        programs: target().join("debug"),
        masks: Masks::new()?,
    };
    let mut drifts = Vec::new();
    let mut drawn = BTreeSet::new();
    let chosen = |page: &&String| arguments.pages.is_empty() || arguments.pages.contains(page);
    for name in all.iter().filter(chosen) {
        println!("{name}");
        let page = guide.perform(name)?;
        drifts.extend(page.drifts.iter().map(|drift| format!("{name}: {drift}")));
        drawn.extend(page.pictures.keys().cloned());
        if !arguments.check {
            guide.write(name, &page)?;
        }
    }
    if arguments.pages.is_empty() {
        drifts.extend(guide.leftover(&drawn)?);
    }
    if arguments.check && !drifts.is_empty() {
        bail!(
            "the guide shows what its commands no longer give; `cargo xtask docs` writes it anew\n{}",
            drifts.join("\n")
        );
    }
    for drift in &drifts {
        println!("changed: {drift}");
    }
    if !arguments.check {
        build(&guide.folder)?;
    }
    Ok(())
}

/// Builds `refrain` as the tests build it: with other features its dependencies would be compiled once more.
fn build_command() -> Result<()> {
    let mut build = cargo([
        "test",
        "--quiet",
        "--workspace",
        LIBRARY,
        "--test",
        "readme",
        "--no-run",
    ]);
    ensure!(build.status()?.success(), "the command could not be built");
    Ok(())
}

/// Makes the pages that a browser reads, where mdBook is there.
fn build(docs: &Path) -> Result<()> {
    let book = Command::new("mdbook").arg("build").arg(docs).status();
    match book {
        Ok(status) => {
            ensure!(
                status.success(),
                "mdbook could not build `{}`",
                docs.display()
            );
            println!("the guide: {}", target().join("guide/index.html").display());
        }
        Err(_) => println!("to read it in a browser: cargo install mdbook; mdbook serve docs"),
    }
    Ok(())
}

/// The pages of which the table of contents has a link, in its order, but for those that are run elsewhere.
fn pages(docs: &Path) -> Result<Vec<String>> {
    let path = docs.join("SUMMARY.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let links = text.split("](").skip(1);
    let links = links.filter_map(|link| link.split(')').next());
    Ok(links
        .filter(|link| !ELSEWHERE.contains(link))
        .map(str::to_owned)
        .collect())
}

struct Guide {
    folder: PathBuf,
    /// Where `refrain` is.
    programs: PathBuf,
    masks: Masks,
}

/// What the commands of a page gave.
#[derive(Default)]
struct Performed {
    /// The page with its outputs made anew.
    text: String,
    /// The pictures that it draws; one that is not as the guide has it with its bytes.
    pictures: BTreeMap<String, Option<Vec<u8>>>,
    /// What is not as the page has it.
    drifts: Vec<String>,
}

impl Guide {
    fn perform(&self, name: &str) -> Result<Performed> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join(PICTURES))?;
        let mut lines: Vec<&str> = text.lines().collect();
        let blocks = blocks(&lines);
        let mut performed = Performed::default();
        let shown_pictures: BTreeSet<_> = linked_pictures(&text).collect();
        let mut outputs = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            if block.info != "sh" {
                continue;
            }
            let line = block.body.start;
            let output = self
                .shell(folder.path(), &lines[block.body.clone()].join("\n"))
                .with_context(|| format!("{name}, line {line}"))?;
            let shown = blocks.get(at + 1).filter(|next| {
                let between = block.body.end + 1..next.body.start - 1;
                next.is_output() && lines[between].iter().all(|line| line.is_empty())
            });
            let measured = shown.is_some_and(|block| block.info == "text,measured");
            if let Some(shown) = shown {
                let old = lines[shown.body.clone()].join("\n");
                if let Some(difference) = self.masks.difference(&old, &output, measured) {
                    let line = shown.body.start;
                    performed.drifts.push(format!("line {line}: {difference}"));
                    outputs.push((shown.body.clone(), output));
                }
            }
            self.pictures(folder.path(), (&shown_pictures, measured), &mut performed)?;
        }
        for (place, output) in outputs.iter().rev() {
            lines.splice(place.clone(), output.lines());
        }
        for picture in shown_pictures {
            if !performed.pictures.contains_key(picture) {
                performed
                    .drifts
                    .push(format!("no command draws `{picture}`"));
            }
        }
        performed.text = lines.join("\n") + "\n";
        Ok(performed)
    }

    /// What commands print, without spaces at the ends of lines.
    fn shell(&self, folder: &Path, commands: &str) -> Result<String> {
        let mut path = OsString::from(&self.programs);
        if let Some(others) = env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        let output = Command::new("sh")
            .args(["-eu", "-c", commands])
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("REFRAIN_ISA")
            .stdin(Stdio::null())
            .output()
            .context("cannot start `sh`")?;
        ensure!(
            output.status.success(),
            "`{commands}` failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).context("what was printed is not UTF-8")?;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        Ok(lines.join("\n").trim_end().to_owned())
    }

    /// Takes the pictures that were drawn since the last time.
    fn pictures(
        &self,
        folder: &Path,
        (shown, measured): (&BTreeSet<&str>, bool),
        performed: &mut Performed,
    ) -> Result<()> {
        for (name, picture) in files(&folder.join(PICTURES))? {
            if performed.pictures.contains_key(&name) || !shown.contains(&*name) {
                continue;
            }
            let old = fs::read(self.folder.join(PICTURES).join(&name)).ok();
            let drift = match old {
                None => Some("is new"),
                // One of measured times is another one each time.
                Some(old) if measured || old == picture => None,
                Some(_) => Some("is another picture now"),
            };
            let drift = drift.map(|what| format!("`{PICTURES}/{name}` {what}"));
            let changed = drift.is_some().then_some(picture);
            performed.drifts.extend(drift);
            performed.pictures.insert(name, changed);
        }
        Ok(())
    }

    fn write(&self, name: &str, page: &Performed) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, &page.text).with_context(|| path.display().to_string())?;
        let folder = self.folder.join(PICTURES);
        fs::create_dir_all(&folder)?;
        for (name, picture) in &page.pictures {
            if let Some(picture) = picture {
                fs::write(folder.join(name), picture)?;
            }
        }
        Ok(())
    }

    /// Pictures that no page draws.
    fn leftover(&self, drawn: &BTreeSet<String>) -> Result<Vec<String>> {
        let kept = files(&self.folder.join(PICTURES))?;
        let left = kept.into_keys().filter(|name| !drawn.contains(name));
        Ok(left
            .map(|name| format!("`{PICTURES}/{name}` is drawn by no page"))
            .collect())
    }
}

/// A fenced block of a page.
struct Block {
    info: String,
    /// The lines within, counted from 0.
    body: Range<usize>,
}

impl Block {
    fn is_output(&self) -> bool {
        ["text", "text,measured"].contains(&&*self.info)
    }
}

fn blocks(lines: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    for (at, line) in lines.iter().enumerate() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        match open.take() {
            None => open = Some((at + 1, info)),
            Some((start, info)) => blocks.push(Block {
                info: info.to_owned(),
                body: start..at,
            }),
        }
    }
    blocks
}

/// The pictures that a page shows.
fn linked_pictures(text: &str) -> impl Iterator<Item = &str> {
    let links = text
        .split(&*format!("]({PICTURES}/"))
        .skip(1)
        .collect::<Vec<_>>();
    links.into_iter().filter_map(|link| link.split(')').next())
}

/// The files of a folder, if it is there.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read(entry.path())?);
    }
    Ok(files)
}

/// What two runs of the same command may differ in.
struct Masks {
    time: Regex,
    number: Regex,
    gap: Regex,
}

impl Masks {
    fn new() -> Result<Self> {
        Ok(Self {
            time: Regex::new(r"\d[\d.,:]* ?(µs|ms|s|min|minutes?|seconds?|tokens/s)\b")?,
            number: Regex::new(r"\d[\d.,]*")?,
            gap: Regex::new(r"[ ─-]{2,}")?,
        })
    }

    fn masked(&self, line: &str, measured: bool) -> String {
        let line = self.time.replace_all(line.trim_end(), "# $1");
        if !measured {
            return line.into_owned();
        }
        let line = self.number.replace_all(&line, "#");
        // A column is as wide as its widest number.
        self.gap.replace_all(&line, " ").trim().to_owned()
    }

    /// Where two outputs first differ.
    fn difference(&self, old: &str, new: &str, measured: bool) -> Option<String> {
        let (mut old, mut new) = (old.lines(), new.lines());
        loop {
            let (a, b) = (old.next(), new.next());
            let same = match (a, b) {
                (None, None) => return None,
                (Some(a), Some(b)) => self.masked(a, measured) == self.masked(b, measured),
                _ => false,
            };
            if !same {
                let line =
                    |line: Option<&str>| line.map_or("nothing".into(), |line| format!("`{line}`"));
                return Some(format!("{}, now {}", line(a), line(b)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page

```sh
printf 'loss 1.5, took 3.2 s\\n\\n'
printf '<svg/>' > pictures/a.svg
```

```text
loss 1.5, took 8.125 s
```

![a](pictures/a.svg)

```sh
printf 'length  memory\\n%s\\n' '   100  12 MB'
```

```text,measured
length  memory
 10000     9 MB
```

```text
an equation, which no command gives
```
";

    fn guide(page: &str) -> (tempfile::TempDir, Guide) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("page.md"), page).unwrap();
        fs::create_dir(folder.path().join(PICTURES)).unwrap();
        fs::write(folder.path().join("pictures/a.svg"), "<svg/>").unwrap();
        let guide = Guide {
            folder: folder.path().to_owned(),
            programs: folder.path().to_owned(),
            masks: Masks::new().unwrap(),
        };
        (folder, guide)
    }

    #[track_caller]
    fn drifts(page: &str) -> Vec<String> {
        let (_folder, guide) = guide(page);
        guide.perform("page.md").unwrap().drifts
    }

    #[test]
    fn a_page_that_shows_what_its_commands_give_stays_as_it_is() {
        let (_folder, guide) = guide(PAGE);
        let page = guide.perform("page.md").unwrap();
        assert_eq!(page.drifts, <[String; 0]>::default());
        assert_eq!(page.text, PAGE);
        assert_eq!(page.pictures, BTreeMap::from([("a.svg".to_owned(), None)]));
    }

    #[test]
    fn what_a_command_no_longer_gives_is_told_and_written_anew() {
        let page = PAGE.replace("```text\nloss 1.5", "```text\nloss 1.4");
        let (folder, guide) = guide(&page);
        let performed = guide.perform("page.md").unwrap();
        let told = "line 8: `loss 1.4, took 8.125 s`, now `loss 1.5, took 3.2 s`";
        assert_eq!(performed.drifts, [told]);
        guide.write("page.md", &performed).unwrap();
        let written = fs::read_to_string(folder.path().join("page.md")).unwrap();
        assert_eq!(written, PAGE.replace("8.125 s", "3.2 s"));
    }

    #[test]
    fn a_picture_that_changes_or_is_drawn_by_nothing_is_told() {
        assert_eq!(
            drifts(&PAGE.replace("<svg/>", "<svg></svg>")),
            ["`pictures/a.svg` is another picture now"]
        );
        assert_eq!(
            drifts(&PAGE.replace("> pictures/a.svg", "| tee pictures/b.svg > pictures/a.svg")),
            <[String; 0]>::default(),
            "a picture that no page shows is none of the guide"
        );
        let missing = "![b](pictures/b.svg)";
        assert_eq!(
            drifts(&format!("{PAGE}{missing}\n")),
            ["no command draws `b.svg`"]
        );
        let (folder, guide) = guide(PAGE);
        fs::write(folder.path().join("pictures/old.svg"), "").unwrap();
        let left = guide.leftover(&BTreeSet::from(["a.svg".to_owned()]));
        assert_eq!(left.unwrap(), ["`pictures/old.svg` is drawn by no page"]);
    }

    #[test]
    fn measured_numbers_may_be_others_but_not_words_or_lines() {
        assert_eq!(drifts(&PAGE.replace("9 MB", "9 KB")).len(), 1);
        assert_eq!(drifts(&PAGE.replace(" 10000     9 MB\n", "")).len(), 1);
    }

    #[test]
    fn a_command_that_fails_is_an_error_that_names_its_line() {
        let (_folder, guide) = guide("# A\n\n```sh\necho why >&2; false\n```\n");
        let error = format!("{:#}", guide.perform("page.md").err().unwrap());
        assert!(
            error.contains("page.md, line 3") && error.contains("why"),
            "{error}"
        );
    }
}
