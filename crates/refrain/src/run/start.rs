//! Beginning with what is known already: the weights of another model, vectors of words.

use std::collections::HashMap;
use std::path::Path;

use super::model::model_path;
use super::tasks::RunTask;
use crate::checkpoint::{ModelFile, Vocabularies};
use crate::data::{Embeddings, Vocabulary};
use crate::error::{Error, Result};
use crate::nn::Parameter;

/// Rows of a parameter that stand for the same thing in both models: (in this one, in the other one).
type Rows = Vec<(usize, usize)>;

/// What a parameter's rows stand for.
#[derive(Clone, Copy)]
enum RowsAre {
    /// Tokens of the vocabulary.
    Tokens,
    /// Characters of spellings, after one that stands for the unknown.
    Characters,
    /// Classes.
    Labels,
    /// Nothing that could differ: the shapes must be the same.
    Units,
}

fn meaning(name: &str, labels: &[String]) -> RowsAre {
    match name {
        "embedding.weight" => RowsAre::Tokens,
        "characters.embedding.weight" => RowsAre::Characters,
        "linear.weight" | "linear.bias" if labels.is_empty() => RowsAre::Tokens,
        "linear.weight" | "linear.bias" => RowsAre::Labels,
        _ => RowsAre::Units,
    }
}

/// Puts the weights of another model into a task's: all layers as they are, rows of tokens, characters and classes where both
/// models have them. What is said to the user comes back.
///
/// # Errors
/// [`Error::Model`] where a layer of this model is not in the file, or in another size.
pub(super) fn from_model(
    path: &Path,
    task: &mut dyn RunTask,
    own: &ModelFile,
) -> Result<Vec<String>> {
    let path = model_path(path)?;
    let mut file = ModelFile::load(&path)?;
    let rows = |are: RowsAre| -> Option<Rows> {
        match are {
            RowsAre::Tokens => Some(same_tokens(
                one(&own.vocabularies)?,
                one(&file.vocabularies)?,
            )),
            RowsAre::Characters => {
                let same = same_tokens(own.characters.as_ref()?, file.characters.as_ref()?);
                Some(
                    std::iter::once((0, 0))
                        .chain(same.into_iter().map(|(a, b)| (a + 1, b + 1)))
                        .collect(),
                )
            }
            RowsAre::Labels => {
                let other: HashMap<_, _> = file.labels.iter().zip(0..).collect();
                let mine = own.labels.iter().enumerate();
                Some(
                    mine.filter_map(|(at, label)| Some((at, *other.get(label)?)))
                        .collect(),
                )
            }
            RowsAre::Units => None,
        }
    };
    let same = [
        (RowsAre::Tokens, rows(RowsAre::Tokens)),
        (RowsAre::Characters, rows(RowsAre::Characters)),
        (RowsAre::Labels, rows(RowsAre::Labels)),
    ];
    let shared = |are: RowsAre| {
        let found = same
            .iter()
            .find(|(other, _)| std::mem::discriminant(other) == std::mem::discriminant(&are));
        found.and_then(|(_, rows)| rows.clone())
    };
    let mut notes = Vec::new();
    let mut result = Ok(());
    let mut take = |parameter: &mut Parameter<f32>| {
        if result.is_ok() {
            let are = meaning(&parameter.name, &own.labels);
            result = match are {
                RowsAre::Units => whole(&mut file, parameter),
                are => some_rows(&mut file, parameter, shared(are), &mut notes),
            };
        }
    };
    task.parameters_mut()
        .visit_mut(&mut |parameter| take(parameter));
    task.parameters_mut()
        .visit_buffers_mut(&mut |buffer| take(buffer));
    result?;
    notes.push(format!(
        "the weights begin as those of `{}`",
        path.display()
    ));
    Ok(notes)
}

fn one(vocabularies: &Vocabularies) -> Option<&Vocabulary> {
    match vocabularies {
        Vocabularies::One(vocabulary) => Some(vocabulary),
        Vocabularies::None | Vocabularies::Two { .. } => None,
    }
}

fn same_tokens(mine: &Vocabulary, other: &Vocabulary) -> Rows {
    let ids = |vocabulary: &Vocabulary| 0..vocabulary.len() as u32;
    let places: HashMap<_, _> = ids(other).map(|id| (other.token_bytes(id), id)).collect();
    ids(mine)
        .filter_map(|id| Some((id as usize, *places.get(mine.token_bytes(id))? as usize)))
        .collect()
}

fn whole(file: &mut ModelFile, parameter: &mut Parameter<f32>) -> Result<()> {
    match file.tensors.take(&parameter.name, &parameter.shape) {
        Ok(values) => {
            parameter.value = values;
            Ok(())
        }
        Err(Error::Model { path, problem, .. }) => Err(Error::Model {
            path,
            problem,
            hint: "give the model the sizes, cell and settings that the other one has; `refrain info` tells them".into(),
        }),
        Err(error) => Err(error),
    }
}

/// Takes the rows that both have; the others keep what was drawn.
fn some_rows(
    file: &mut ModelFile,
    parameter: &mut Parameter<f32>,
    rows: Option<Rows>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let (Some(rows), Some(shape)) = (
        rows.filter(|rows| !rows.is_empty()),
        file.tensors.shape(&parameter.name).map(<[usize]>::to_vec),
    ) else {
        notes.push(format!("`{}` begins anew", parameter.name));
        return Ok(());
    };
    // A single number has no rows: then the shape that is wanted is this model's.
    let rows_there = shape.first().copied().unwrap_or(parameter.shape[0]);
    let mut expected = parameter.shape.clone();
    expected[0] = rows_there;
    let values = file.tensors.take(&parameter.name, &expected)?;
    let size: usize = parameter.shape[1..].iter().product();
    for &(mine, other) in rows.iter().filter(|(_, other)| *other < rows_there) {
        parameter.value[mine * size..][..size].copy_from_slice(&values[other * size..][..size]);
    }
    let all = parameter.shape[0];
    if rows.len() < all {
        notes.push(format!(
            "`{}`: {} of {all} rows are the other model's, the rest begins anew",
            parameter.name,
            rows.len()
        ));
    }
    Ok(())
}

/// Puts vectors of words into the rows of an embedding; the other rows keep what was drawn, at the scale of these vectors.
///
/// # Panics
/// If the vectors are not of the embedding's size.
pub(super) fn from_vectors(
    vectors: &Embeddings,
    vocabulary: &Vocabulary,
    embedding: &mut Parameter<f32>,
) -> usize {
    let size = embedding.shape[1];
    assert_eq!(vectors.dimension, size, "features of a vector");
    let all = vectors.vectors.iter().flat_map(|(_, vector)| vector);
    let (mut sum, mut count) = (0.0, 0.0);
    for &x in all {
        sum += f64::from(x) * f64::from(x);
        count += 1.0;
    }
    if count > 0.0 {
        let scale = f64::sqrt(sum / count) as f32;
        embedding.value.iter_mut().for_each(|x| *x *= scale);
    }
    let mut found = 0;
    for (word, vector) in &vectors.vectors {
        let id = vocabulary.word_id(word);
        if Some(id) != vocabulary.unknown_id() {
            embedding.value[id as usize * size..][..size].copy_from_slice(vector);
            found += 1;
        }
    }
    found
}
