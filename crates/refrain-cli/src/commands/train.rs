//! `refrain train`.

use crate::args::{Recipe, TrainArgs};
use crate::context::Context;
use crate::errors::{Exit, failure};

pub(crate) fn run(args: &TrainArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if args.resume.is_some() {
        return Err(failure(
            "`refrain train --resume` is not wired yet",
            "wait for a later version",
        ));
    }
    let resolved = args.settings(context.seed)?.resolve()?;
    if args.recipe() == Recipe::Demo {
        context
            .notice("no data was given: learning from the built-in text, by the built-in recipe");
    }
    context.detail(&resolved.to_toml());
    Err(failure(
        "`refrain train` is not wired yet",
        "wait for a later version",
    ))
}
