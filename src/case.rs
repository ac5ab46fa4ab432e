//! The case folder: what a live run leaves behind, and what `analyze` reads back.
//!
//! ```text
//! packets.pcap      what the filter kept: DNS whole, of everything else the headers only
//! trace.jsonl       every event the tracer saw, one JSON line each, between a header and a last line
//! syscalls.strace   the same calls as an ordinary strace log, for people and other tools
//! resolv.conf nsswitch.conf hosts gai.conf   as the command saw them
//! ```
//!
//! All three grow as events happen: a presyn that is killed leaves a readable case.

pub mod arguments;
pub mod folder;
pub mod jsonl;
pub mod strace;
pub mod writer;

/// Name of the capture in the folder.
pub const PACKETS: &str = "packets.pcap";
/// Name of the trace.
pub const TRACE: &str = "trace.jsonl";
/// Name of the strace log.
pub const SYSCALLS: &str = "syscalls.strace";
/// Every file that a run may leave in the folder.
pub const FILES: [&str; 7] = [
    PACKETS,
    TRACE,
    SYSCALLS,
    "resolv.conf",
    "nsswitch.conf",
    "hosts",
    "gai.conf",
];
