//! `refrain hello`: the smallest example, as the notes draw it.

mod draw;
mod network;

use std::io::Write as _;

use serde_json::json;

use self::network::{LEARNING_RATE, Network};
use crate::args::HelloArgs;
use crate::context::Context;
use crate::errors::Exit;

pub(crate) fn run(args: &HelloArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let seed = context.seed.unwrap_or(0);
    let mut network = Network::new(args.cell, seed)?;
    let before = network.read(context.isa)?;
    let training = network.train(context.isa);
    let after = network.read(context.isa)?;
    let sample = network.sample(context.isa, seed)?;
    let word: String = sample.iter().map(|step| step.drawn).collect();
    if context.json {
        context.out.json(&json!({
            "task": "lm",
            "cell": args.cell,
            "seed": seed,
            "text": network::TEXT,
            "vocabulary": network::VOCABULARY,
            "hidden_size": network::HIDDEN,
            "before": before,
            "training": {
                "optimizer": "adam",
                "learning_rate": LEARNING_RATE,
                "steps": training.len(),
                "loss_nats": training,
            },
            "after": after,
            "sample": { "prompt": "h", "text": word, "steps": sample },
        }))?;
        return Ok(Exit::Done);
    }
    let out = &mut context.out;
    writeln!(out, "{}", draw::introduction(args.cell))?;
    writeln!(
        out,
        "BEFORE TRAINING\n\n{}\n{}",
        draw::figure(&before),
        draw::verdicts(&before)
    )?;
    writeln!(
        out,
        "TRAINING\n\n{}",
        draw::training(&training, after.loss_nats)
    )?;
    writeln!(
        out,
        "AFTER TRAINING\n\n{}\n{}",
        draw::figure(&after),
        draw::verdicts(&after)
    )?;
    write!(out, "SAMPLING\n\n{}", draw::sample(&sample))?;
    Ok(Exit::Done)
}
