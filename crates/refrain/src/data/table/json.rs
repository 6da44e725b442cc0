//! A JSON object a line.

use serde_json::{Map, Value};

use super::super::rows::{Problem, column_of, shown};
use super::TableOptions;
use super::columns::{Layout, Sample, layout};
use super::fields::{Field, Record};
use crate::Result;

/// The keys of text and label.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) text: String,
    pub(super) label: Option<String>,
}

/// A line as an object.
pub(super) fn object(text: &str, line: u64) -> Result<Map<String, Value>, Problem> {
    let problem = |column| Problem::at(line, column).expected("a JSON object");
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            let found = format!("{} {}", kind(&other), shown(text));
            let problem = problem(1).found(found);
            Err(match other {
                Value::Array(_) => problem.hint("write an object a line, not an array of them"),
                _ => problem,
            })
        }
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let column = column_of(text, error.column().saturating_sub(1));
            let found = format!("something that is not JSON ({message})");
            Err(problem(column).found(found))
        }
    }
}

/// Finds the keys by the first object, whose keys are columns and their values a row.
pub(super) fn keys(
    object: &Map<String, Value>,
    line: u64,
    path: &str,
    options: &TableOptions,
) -> Result<(Keys, Vec<String>)> {
    let field = |text: String| Field {
        text,
        line,
        column: 1,
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (key, value) in object {
        names.push(field(key.clone()));
        values.push(field(scalar(value).unwrap_or_default()));
    }
    let rows = [names, values].map(|fields| Record { line, fields });
    let Layout {
        text,
        label,
        guesses,
        ..
    } = layout(&Sample {
        path,
        rows: &rows,
        columns: &options.columns,
        roles: options.roles,
        labelled: options.labelled,
        keys: true,
    })?;
    let key = |column: usize| rows[0].text(column).to_owned();
    let keys = Keys {
        text: key(text),
        label: label.map(key),
    };
    Ok((keys, guesses))
}

/// A value as a field, and the key in front of it for messages.
pub(super) fn value(
    object: &mut Map<String, Value>,
    key: &str,
    line: u64,
    needed: bool,
) -> Result<Option<String>, Problem> {
    let problem = || Problem::at(line, 1).expected(format!("a text under the key {}", shown(key)));
    match object.remove(key) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => match scalar(&value) {
            Some(text) => Ok(Some(text)),
            None if matches!(value, Value::Null) && !needed => Ok(None),
            None => Err(problem().found(format!("{} there", kind(&value)))),
        },
        None if !needed => Ok(None),
        None => {
            let keys: Vec<_> = object.keys().take(8).map(|key| shown(key)).collect();
            let found = match keys.is_empty() {
                true => "an empty object".to_owned(),
                false => format!("an object with the keys {}", keys.join(", ")),
            };
            Err(problem().found(found))
        }
    }
}

/// A text, number or truth value as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "the truth value",
        Value::Number(_) => "the number",
        Value::String(_) => "the text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
