//! One file a command.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod evaluate;
pub(crate) mod hello;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod predict;
pub(crate) mod sample;
pub(crate) mod train;
pub(crate) mod version;
