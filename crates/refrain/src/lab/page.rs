//! One page with what the experiments found. It opens offline: it holds no script and loads nothing.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, escape_formatter};

use super::figures::Table;
use super::{Outcome, find};
use crate::error::{Error, Result};
use crate::run::plot;

/// Makes the page, the experiments in the order in which they are given.
///
/// # Errors
/// [`Error::Unusable`] if it cannot be drawn, which would be a mistake in this library.
///
/// # Examples
///
/// ```
/// let page = refrain::lab::page(&[], "nothing was run")?;
/// assert!(page.starts_with("<!DOCTYPE html>") && page.contains("nothing was run"));
/// # Ok::<(), refrain::Error>(())
/// ```
pub fn page(outcomes: &[Outcome], said: &str) -> Result<String> {
    let mut sections = Vec::new();
    for outcome in outcomes {
        let experiment = find(outcome.name)?;
        let pictures: Vec<_> = outcome
            .drawn()?
            .into_iter()
            .zip(&outcome.pictures)
            .map(|(svg, picture)| context! { svg, caption => picture.caption.as_str() })
            .collect();
        let figures: Vec<_> = outcome
            .figures
            .single
            .iter()
            .map(|(name, figure)| context! { name, value => figure.shown() })
            .collect();
        sections.push(context! {
            name => outcome.name,
            claim => outcome.claim,
            measures => experiment.measures,
            holds => outcome.holds,
            evidence => outcome.evidence.clone(),
            seen => outcome.seen.as_str(),
            beyond => outcome.beyond.as_str(),
            pictures,
            figures,
            tables => outcome.figures.tables.iter().map(table).collect::<Vec<_>>(),
        });
    }
    let held = outcomes.iter().filter(|outcome| outcome.holds).count();
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            escape_formatter(out, state, &Value::from(plot::visible(text).as_ref()))
        }
        _ => escape_formatter(out, state, value),
    });
    environment
        .add_template("page.html", include_str!("page.html"))
        .and_then(|()| environment.get_template("page.html"))
        .and_then(|template| {
            template.render(context! {
                said,
                held,
                count => outcomes.len(),
                plot_style => plot::STYLE,
                sections,
            })
        })
        .map_err(|error| Error::Unusable {
            problem: format!("the page cannot be made: {error:#}"),
            hint: "this is a mistake in Refrain; please report it".into(),
        })
}

fn table(table: &Table) -> Value {
    let is_number = |column: usize| {
        let mut cells = table.rows.iter().filter_map(|row| row.get(column));
        cells.any(super::Figure::is_number)
    };
    let columns: Vec<_> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, name)| context! { name, number => is_number(at) })
        .collect();
    let row = |row: &Vec<super::Figure>| -> Vec<Value> {
        let cells = row.iter().enumerate();
        cells
            .map(|(at, figure)| context! { value => figure.shown(), number => is_number(at) })
            .collect()
    };
    let rows: Vec<_> = table.rows.iter().map(row).collect();
    context! { name => table.name.as_str(), columns, rows }
}
