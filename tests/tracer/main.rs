//! The tracer against real programs. Every run is bounded in time.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod lookups;
mod network;
mod sends;
mod stacks;
mod support;
mod terminal;
mod transparency;
