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
//! | [`source`] | files, libpcap, ptrace, the host's configuration, the live run | yes |
//! | [`case`] | the case folder: its format, reading and writing it | yes |
//! | [`cli`] | what was typed, and what it means | yes |
//! | [`decode`] | bytes or text to values | no |
//! | [`event`], [`input`], [`flow`], [`time`] | types: what happened, what is known about the inputs | no |
//! | [`shell`] | words of the commands that are printed as advice | no |
//! | [`clock`], [`merge`], [`share`] | the trace's times laid on the capture's; one ordered stream; one copy of what repeats | no |
//! | [`join`] | who caused what: processes, sockets, queries, lookups, connection attempts | no |
//! | [`timetable`] | how long stub resolvers wait, by arithmetic | no |
//! | [`explain`] | the account before each connect, the findings, the first sentence; two reports compared | no |
//! | [`report`] | plain types: the public JSON contract | no |
//! | [`render`] | the report as text, Markdown, JSON or lines of it, events as strace lines, waits as progress lines | no |
//! | [`pipeline`] | clock to report, in one call; what a large capture lets go of while it is read | no |
//!
//! # What always holds
//!
//! - Live and offline differ in [`source`] only: a saved case gives the same report as the live run did.
//! - Pure stages see no file, socket, clock or environment; `scripts/check` proves it by reading their text.
//! - Every query ends in exactly one state ([`join::State`]).
//! - The entries of an account do not overlap and add up to its window exactly ([`explain::ledger`]).
//! - Damage is data: counts and warnings that name file and place. Errors are for what stops the work.
//! - Text from packets, tracees and logs is escaped before it is shown ([`render::safe`]).
//! - A live run is two processes: the one with rights traces and captures, and parses nothing from the network; the one
//!   that parses has no right ([`source::live`]).
//! - `unsafe` is in [`source::tracer`], and in [`source::live`] where the second process is made and confined.

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
pub mod share;
pub mod shell;
pub mod source;
pub mod time;
pub mod timetable;
