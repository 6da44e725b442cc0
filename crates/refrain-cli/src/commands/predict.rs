//! `refrain predict`: one input, one answer, in order, as soon as there is one.

mod forecast;
mod inputs;
mod writing;

use std::io::Write as _;

use refrain::run::labels::LoadedLabeller;
use refrain::run::model::AnyModel;
use refrain::run::predict::{Prediction, Predictor};
use serde_json::{Map, json};

use self::inputs::Inputs;
use crate::args::PredictArgs;
use crate::context::Context;
use crate::errors::{Exit, failure, usage};
use crate::escape::one_line;
use crate::machine;

pub(crate) fn run(args: &PredictArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let model = AnyModel::open(&args.model)?;
    if args.beam.is_given() && !matches!(model, AnyModel::Writer(_)) {
        return Err(usage(
            format!(
                "a model of the task `{}` does not search",
                model.config().task
            ),
            "leave `--beam`, `--length-penalty` and `--copy-unknown` out",
        ));
    }
    let loaded = match model {
        AnyModel::Labeller(loaded) => loaded,
        AnyModel::Writer(loaded) => return writing::run(args, &loaded, context),
        AnyModel::Forecaster(loaded) => return forecast::run(args, &loaded, context),
        AnyModel::LanguageModel(loaded) => {
            return Err(failure(
                format!(
                    "`{}` is a model of the task `lm`, which predicts a next token, not a label",
                    loaded.path.display()
                ),
                "`refrain sample` lets it write, `refrain evaluate` scores a text",
            ));
        }
    };
    let inputs = Inputs::open(args, &loaded.encoding, machine::available_bytes())?;
    let mut predictor = Predictor::new(&loaded, context.compute());
    let mut failed = false;
    inputs.each_batch(|items, name| {
        let (good, raw) = inputs::joined(items);
        let predictions = match raw {
            Some(raw) => predictor.predict(&raw, name)?,
            None => Vec::new(),
        };
        let mut predictions = predictions.into_iter();
        for item in good {
            match item {
                Ok(tokens) => {
                    let prediction = predictions
                        .next()
                        .ok_or_else(|| anyhow::anyhow!("fewer predictions than inputs"))?;
                    answer(context, &loaded, &prediction, &tokens)?;
                }
                Err(error) => {
                    failed = true;
                    refuse(context, &error)?;
                }
            }
        }
        context.out.finish()
    })?;
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Writes what the model says of an input.
fn answer(
    context: &mut Context,
    loaded: &LoadedLabeller,
    prediction: &Prediction,
    tokens: &[String],
) -> anyhow::Result<()> {
    let labels = &loaded.encoding.labels;
    let label = |class: u32| labels[class as usize].as_str();
    match prediction {
        Prediction::Class(class, probabilities) if context.json => {
            let probabilities: Map<_, _> = labels
                .iter()
                .zip(probabilities)
                .map(|(label, &probability)| (label.clone(), json!(probability)))
                .collect();
            context
                .out
                .json(&json!({"label": label(*class), "probabilities": probabilities}))
        }
        Prediction::Class(class, probabilities) => Ok(writeln!(
            context.out,
            "{}\t{:.4}",
            one_line(label(*class)),
            probabilities[*class as usize]
        )?),
        Prediction::Steps(steps) if context.json => {
            let steps: Vec<_> = steps.iter().map(|&class| label(class)).collect();
            context
                .out
                .json(&json!({"tokens": tokens, "labels": steps}))
        }
        Prediction::Steps(steps) => {
            let steps: Vec<_> = steps.iter().map(|&class| one_line(label(class))).collect();
            Ok(writeln!(context.out, "{}", steps.join(" "))?)
        }
    }
}

/// Writes, in the place of an answer, why there is none.
fn refuse(context: &mut Context, error: &refrain::Error) -> anyhow::Result<()> {
    if context.json {
        return context.out.json(&json!({"error": error.to_string()}));
    }
    Ok(writeln!(
        context.out,
        "error: {}",
        one_line(&error.to_string())
    )?)
}
