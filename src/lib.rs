//! presyn answers one question: *why did my client wait before its SYN?*
//!
//! # The modules
//!
//! Data goes one way, and no stage knows a later one:
//!
//! ```text
//! source -> decode -> event -> clock -> merge -> join -> explain -> report -> render
//! ```
//!
//! | module | what it holds | may touch the system |
//! |---|---|---|
//! | [`source`] | files, libpcap, ptrace, the host's configuration; sees [`decode`] and [`event`], nothing later | yes |
//! | [`user`] | the user that a run belongs to, and files opened with that user's rights | yes |
//! | [`append`] | files that grow record by record and end with a whole one | yes |
//! | [`bounded`] | the one way to open and read what a user or a case names | yes |
//! | [`session`] | one run from inputs to report: which files belong together, the live run, saved reports | yes |
//! | [`case`] | the case folder: its format, reading and writing it, the writer of strace syntax | yes |
//! | [`cli`] | what was typed, and what it means | yes |
//! | [`decode`] | bytes or text to values | no |
//! | [`event`], [`input`], [`flow`], [`time`] | types: what happened, what is known about the inputs | no |
//! | [`shell`] | words of the commands that are printed as advice | no |
//! | [`clock`], [`merge`], [`intern`] | the trace's times laid on the capture's; one ordered stream; one copy of what repeats | no |
//! | [`coverage`] | what each input could have shown; the witness of every negative claim | no |
//! | [`join`] | who caused what: processes, sockets, queries, lookups, connection attempts | no |
//! | [`timetable`] | one profile per stub resolver: how long it waits, by arithmetic, and how its queries are recognised | no |
//! | [`explain`] | the account before each connect, the findings, the first sentence; two reports compared | no |
//! | [`report`] | plain types: the public JSON contract | no |
//! | [`render`] | the report as text, Markdown, JSON or lines of it | no |
//! | [`pipeline`] | clock to report, in one call | no |
//! | [`eviction`] | what a large input drops while it is read | no |
//! | [`totals`] | what was counted of that | no |
//!
//! # What always holds
//!
//! - Live and offline differ in [`source`] and [`session`] only: a saved case gives the same report as the live run did.
//! - Pure modules name no file, socket, clock or environment, and no module imports a higher layer;
//!   `tests/architecture.rs` proves both by parsing the sources.
//! - Every query ends in exactly one state ([`join::State`]).
//! - The entries of an account do not overlap and add up to its window exactly ([`explain::ledger`]).
//! - Damage is data: counts and warnings that name file and place. Errors are for what stops the work.
//! - Text from packets, tracees and logs is escaped before it is shown ([`render::safe`]).
//! - A live run is two processes: the one with rights traces and captures, and parses nothing from the network; the one
//!   that parses has no right ([`session::live`]).
//! - `unsafe` is in [`source::tracer`], in [`user::capabilities`], in [`session::live`] where the second process is made and
//!   confined, and where [`session::reproduce`] forks.

pub mod append;
pub mod bounded;
pub mod case;
pub mod cli;
pub mod clock;
pub mod coverage;
pub mod decode;
pub mod event;
pub mod eviction;
pub mod explain;
pub mod flow;
pub mod input;
pub mod intern;
pub mod join;
pub mod merge;
pub mod pipeline;
pub mod render;
pub mod report;
pub mod session;
pub mod shell;
pub mod source;
pub mod time;
pub mod timetable;
pub mod totals;
pub mod user;
