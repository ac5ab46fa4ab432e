//! presyn answers one question: *why did my client wait before its SYN?*
//!
//! # The map of the house
//!
//! Data goes one way, and no stage knows a later one:
//!
//! ```text
//! source -> decode -> event -> clock -> merge -> join -> explain -> report -> render
//! ```
//!
//! | room | what is in it | may touch the system |
//! |---|---|---|
//! | [`source`] | files, libpcap, ptrace, the host's configuration | yes, it alone |
//! | [`decode`] | bytes or text to values | no |
//! | [`event`], [`input`], [`flow`], [`time`] | types | no |
//!
//! Live and offline differ in [`source`] only. Pure stages see no file, socket, clock or environment;
//! `scripts/check` proves it by reading their text.

pub mod case;
pub mod cli;
pub mod clock;
pub mod decode;
pub mod event;
pub mod explain;
pub mod flow;
pub mod input;
pub mod join;
pub mod merge;
pub mod pipeline;
pub mod render;
pub mod report;
pub mod source;
pub mod time;
pub mod timetable;
