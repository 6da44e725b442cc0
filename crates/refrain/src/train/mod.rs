//! Training: the loop, its events.

pub mod events;
