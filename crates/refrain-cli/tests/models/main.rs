//! The commands that use a finished model, and those that need none, as a shell sees them.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

mod bench;
mod evaluate;
mod hello;
mod info;
mod sample;
mod support;
