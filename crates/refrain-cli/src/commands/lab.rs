//! `refrain lab`: claims about recurrent networks, as experiments.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use refrain::checkpoint::{check_writable, write_atomic};
use refrain::lab::{self, Conditions, Drawing, EXPERIMENTS, Experiment, Figures, Outcome};
use refrain::run::plot::png_of;
use serde_json::{Value, json};

use crate::args::LabArgs;
use crate::commands::letters::{self, Ends};
use crate::context::Context;
use crate::errors::{Exit, failure, usage};
use crate::machine;
use crate::table::{Align, Table};

/// Columns of what is written for a reader.
const WIDTH: usize = 80;

/// What `-o` asks for.
enum Target {
    Page(PathBuf),
    Svg(PathBuf),
    Png(PathBuf),
}

pub(crate) fn run(args: &LabArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let chosen: Vec<&Experiment> = match &args.experiment {
        Some(name) => vec![lab::find(name)?],
        None if args.all => EXPERIMENTS.iter().collect(),
        None => return list(args, context),
    };
    // What cannot be written is told before anything is run.
    let target = args.output.as_deref().map(|path| target(path, args.all));
    let target = target.transpose()?;
    match &target {
        Some(Target::Page(path)) => {
            make_folder(path)?;
            check_writable(path)?;
        }
        Some(Target::Svg(path) | Target::Png(path)) => check_writable(path)?,
        None => {}
    }
    let mut outcomes = Vec::new();
    for experiment in chosen {
        let start = Instant::now();
        let outcome = perform(args, context, experiment)?;
        let seconds = start.elapsed().as_secs_f64();
        if context.json {
            let mut object = outcome.to_json();
            object.insert("seconds".into(), json!(seconds));
            context.out.json(&Value::Object(object))?;
        } else {
            tell(context, &outcome, seconds, args)?;
        }
        outcomes.push(outcome);
    }
    if let Some(target) = target {
        write(&target, &outcomes, args, context)?;
    }
    Ok(Exit::Done)
}

fn list(args: &LabArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if args.output.is_some() || args.plot || args.quick || args.without_cause {
        return Err(usage(
            "no experiment was named",
            "name one, or add `--all`; `refrain lab` alone lists them",
        ));
    }
    if context.json {
        let experiments = EXPERIMENTS.iter().map(|experiment| {
            json!({
                "name": experiment.name,
                "claim": experiment.claim,
                "measures": experiment.measures,
                "cause": experiment.cause,
            })
        });
        let experiments: Vec<_> = experiments.collect();
        context.out.json(&json!({ "experiments": experiments }))?;
        return Ok(Exit::Done);
    }
    for experiment in &EXPERIMENTS {
        writeln!(context.out, "{}", experiment.name)?;
        paragraph(context, experiment.claim, "  ")?;
    }
    context.notice("run one with: refrain lab NAME --quick --plot");
    Ok(Exit::Done)
}

fn perform(args: &LabArgs, context: &Context, experiment: &Experiment) -> anyhow::Result<Outcome> {
    let compute = context.compute();
    let start = Instant::now();
    context.notice(&format!("{} …", experiment.name));
    let conditions = Conditions {
        quick: args.quick,
        seed: context.seed.unwrap_or(0),
        without_cause: args.without_cause,
        compute: &compute,
        clock: &|| start.elapsed().as_secs_f64(),
        peak_memory: &machine::peak_memory_bytes,
        progress: &|what| context.detail(&format!("  {what}")),
    };
    Ok(experiment.run(&conditions)?)
}

/// Where `-o` leads.
fn target(path: &Path, all: bool) -> anyhow::Result<Target> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending {
        _ if path.is_dir() => Ok(Target::Page(path.join("index.html"))),
        Some("html") => Ok(Target::Page(path.to_owned())),
        Some("svg") if !all => Ok(Target::Svg(path.to_owned())),
        Some("png") if !all => Ok(Target::Png(path.to_owned())),
        Some(ending @ ("svg" | "png")) => Err(usage(
            format!("a file that ends in .{ending} has one picture, of one experiment"),
            "name the experiment, or a folder for a page of all",
        )),
        Some(other) => Err(usage(
            format!(
                "`{}` ends in .{other}, which tells nothing that can be written",
                path.display()
            ),
            "name a folder, or a file that ends in .html, .svg or .png",
        )),
        None => Ok(Target::Page(path.join("index.html"))),
    }
}

fn write(
    target: &Target,
    outcomes: &[Outcome],
    args: &LabArgs,
    context: &Context,
) -> anyhow::Result<()> {
    match target {
        Target::Page(path) => {
            let page = lab::page(outcomes, &said(args, context))?;
            write_file(context, path, page.as_bytes())?;
        }
        Target::Svg(path) => {
            for (path, svg) in pictures(path, outcomes)? {
                write_file(context, &path, svg.as_bytes())?;
            }
        }
        Target::Png(path) => {
            for (path, svg) in pictures(path, outcomes)? {
                write_file(context, &path, &png_of(&svg)?)?;
            }
        }
    }
    Ok(())
}

/// The pictures with the names of their files: `flow.svg`, `flow-2.svg`, …
fn pictures(path: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut named = Vec::new();
    for outcome in outcomes {
        for svg in outcome.drawn()? {
            let number = named.len() + 1;
            let own = path
                .file_stem()
                .zip(path.extension())
                .filter(|_| number > 1);
            let own = own
                .map(|(stem, ending)| format!("{}-{number}.{}", stem.display(), ending.display()));
            named.push((
                own.map_or(path.to_owned(), |name| path.with_file_name(name)),
                svg,
            ));
        }
    }
    Ok(named)
}

/// Makes the folder of a page where there is none.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).map_err(|error| {
                failure(
                    format!("cannot make `{}`: {error}", folder.display()),
                    "name a folder that can be written to",
                )
            })
        }
        _ => Ok(()),
    }
}

fn write_file(context: &Context, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, bytes)?;
    context.notice(&format!("written: {}", path.display()));
    Ok(())
}

/// What the page says of how it came about.
fn said(args: &LabArgs, context: &Context) -> String {
    let how = if args.quick {
        ", in their quick form"
    } else {
        ""
    };
    let cause = if args.without_cause {
        ", without what the claims rest on: none is to hold"
    } else {
        ""
    };
    format!(
        "Experiments with seed {}{how}{cause}.",
        context.seed.unwrap_or(0)
    )
}

fn tell(
    context: &mut Context,
    outcome: &Outcome,
    seconds: f64,
    args: &LabArgs,
) -> anyhow::Result<()> {
    let verdict = if outcome.holds {
        "HOLDS"
    } else {
        "DOES NOT HOLD"
    };
    writeln!(
        context.out,
        "{}: {verdict}  ({seconds:.1} s)\n",
        outcome.name
    )?;
    paragraph(context, outcome.claim, "  ")?;
    if args.without_cause {
        let cause = lab::find(outcome.name)?.cause;
        paragraph(context, &format!("Taken away: {cause}."), "  ")?;
    }
    writeln!(context.out)?;
    for said in &outcome.evidence {
        item(context, said)?;
    }
    writeln!(context.out)?;
    paragraph(context, &outcome.seen, "")?;
    if !outcome.beyond.is_empty() {
        writeln!(context.out, "\nWhere the notes are too simple:")?;
        paragraph(context, &outcome.beyond, "")?;
    }
    writeln!(context.out)?;
    figures(context, &outcome.figures)?;
    if args.plot {
        for picture in &outcome.pictures {
            if let Drawing::Chart(chart) = &picture.drawing {
                write!(
                    context.out,
                    "{}",
                    letters::drawn(chart, Ends::Values, WIDTH)
                )?;
                writeln!(context.out)?;
            }
        }
    }
    Ok(())
}

/// The figures as tables.
fn figures(context: &mut Context, figures: &Figures) -> anyhow::Result<()> {
    let mut single = Table::new([Align::Left, Align::Right]);
    for (name, figure) in &figures.single {
        single.row([name.clone(), figure.shown()]);
    }
    write!(context.out, "{single}")?;
    for table in &figures.tables {
        writeln!(context.out, "\n{}", table.name)?;
        let is_number = |at: usize| {
            let mut cells = table.rows.iter().filter_map(|row| row.get(at));
            cells.any(lab::Figure::is_number)
        };
        let aligns = (0..table.columns.len()).map(|at| match is_number(at) {
            true => Align::Right,
            false => Align::Left,
        });
        let aligns: Vec<_> = aligns.collect();
        for (at, part) in narrow(table, &aligns).into_iter().enumerate() {
            let gap = if at > 0 { "\n" } else { "" };
            write!(context.out, "{gap}{part}")?;
        }
    }
    writeln!(context.out)?;
    Ok(())
}

/// A table in as many parts as it takes for none to be wider than the terminal; each begins with the columns that tell the
/// rows apart.
fn narrow(table: &lab::Table, aligns: &[Align]) -> Vec<Table> {
    let mut shown = Table::new(aligns.iter().copied());
    // The names of columns in lines of about nine letters.
    let heads: Vec<_> = table.columns.iter().map(|name| wrapped(name, 9)).collect();
    for line in 0..heads.iter().map(Vec::len).max().unwrap_or(0) {
        let names = heads.iter().map(|head| head.get(line));
        shown.row(names.map(|name| name.cloned().unwrap_or_default()));
    }
    for row in &table.rows {
        shown.row(row.iter().map(lab::Figure::shown));
    }
    let texts = aligns.iter().take_while(|&&align| align == Align::Left);
    let keys: Vec<usize> = (0..texts.count().max(1)).collect();
    let taken: usize = keys.iter().map(|&column| shown.width(column) + 2).sum();
    let keys = if taken > WIDTH / 2 { &keys[..1] } else { &keys };
    shown.parts(WIDTH, keys)
}

fn paragraph(context: &mut Context, text: &str, indent: &str) -> anyhow::Result<()> {
    for line in wrapped(text, WIDTH - indent.len()) {
        writeln!(context.out, "{indent}{line}")?;
    }
    Ok(())
}

/// A piece of evidence, its further lines under its first word.
fn item(context: &mut Context, text: &str) -> anyhow::Result<()> {
    for (at, line) in wrapped(text, WIDTH - 4).into_iter().enumerate() {
        let indent = if at == 0 { "  " } else { "    " };
        writeln!(context.out, "{indent}{line}")?;
    }
    Ok(())
}

/// The words of a text in lines of at most so many columns; a longer word stands alone.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        let needed = line.chars().count() + 1 + word.chars().count();
        if line.is_empty() {
            line.push_str(word);
        } else if needed <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("extraordinary", 5), ["extraordinary"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn a_wide_table_comes_in_parts_that_begin_with_its_first_column() {
        let columns = 9;
        let cell = |column: usize| lab::Figure::Text(format!("{column:012}"));
        let table = lab::Table {
            name: "wide".into(),
            columns: (0..columns).map(|column| format!("c{column}")).collect(),
            rows: vec![(0..columns).map(cell).collect(); 2],
        };
        let parts = narrow(&table, &vec![Align::Left; columns]);
        let parts: Vec<String> = parts.iter().map(Table::to_string).collect();
        assert_eq!(parts.len(), 2, "{parts:?}");
        for part in &parts {
            assert!(
                part.lines().all(|line| line.chars().count() <= WIDTH),
                "{part}"
            );
            assert!(part.starts_with("c0 "), "{part}");
        }
        for column in 1..columns {
            let holds = |part: &&String| part.contains(&format!("c{column}"));
            assert_eq!(parts.iter().filter(holds).count(), 1, "column {column}");
        }
    }
}
