//! `presyn run` from end to end: real clients in the lab's network namespaces, and what a case folder keeps of them.
//!
//! Runs as root, or rootless where user namespaces are allowed; says loudly when neither is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "tests: a story in one piece"
)]

mod clients;
mod command;
mod drops;
mod ending;
mod folder;
mod foreign;
mod lab;
mod same;
mod sends;
mod stacks;
mod storm;
mod whatif;
