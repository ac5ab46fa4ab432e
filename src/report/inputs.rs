//! What the report says about its inputs.

use super::{LeftOutWhy, PacketKind, TraceWriter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Inputs {
    /// Captures.
    pub captures: Vec<Capture>,
    /// Traces.
    pub traces: Vec<Trace>,
    /// What was watched, where nothing was traced. Left out where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
    /// The clock between them.
    pub clock: Clock,
}

/// A capture that was read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    /// Path as given.
    pub path: String,
    /// Packets read.
    pub packets: u64,
    /// Packets that could not be decoded.
    pub undecodable: u64,
    /// Packets dropped while capturing; `null` when the file does not say.
    pub dropped: Option<u64>,
    /// When they were dropped, as far as that is known. Absent where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_times: Vec<DropTime>,
    /// Packets that the live run captured and did not retain. Absent where it retained all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How many of them were left out sooner than 2 s after they came, for lack of space: the call that sent them may have
    /// been reported later. Absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out_early: Option<u64>,
}

/// A time in which packets were dropped while capturing: between two readings of the counters.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DropTime {
    /// How many.
    pub packets: u64,
    /// When the counters were read before.
    pub from_s: f64,
    /// When they had grown.
    pub until_s: f64,
}

/// Packets of one kind that a live run captured and did not keep.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Why.
    pub why: LeftOutWhy,
    /// Of which kind.
    pub kind: PacketKind,
    /// How many.
    pub packets: u64,
    /// When the first of them came.
    pub first_s: f64,
    /// When the last of them came.
    pub last_s: f64,
}

/// A trace that was read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// Path as given.
    pub path: String,
    /// Which program wrote it.
    pub writer: TraceWriter,
    /// strace's options as far as its output shows.
    pub style: String,
    /// Calls read.
    pub calls: u64,
    /// Lines that are no strace output.
    pub skipped_lines: u64,
}

/// Processes that were watched: their packets were captured and the sockets of these looked up; no call was traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watched {
    /// As it was asked for.
    pub target: String,
    /// Cookie of the network namespace that was captured in. `null`: not known.
    pub netns: Option<u64>,
    /// Why the calls in which threads wait could not be read. Left out where they could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_threads: Option<String>,
    /// Why the owners of packets are inferred. Left out where they are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inexact: Option<String>,
}

/// The clock between trace and capture.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// Seconds added to the trace's times.
    pub offset_s: Option<f64>,
    /// The offset may be wrong by this much.
    pub uncertainty_s: Option<f64>,
    /// How it was found.
    pub method: String,
}

/// resolv.conf(5) as read.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResolverConfig {
    /// Where it was read from.
    pub path: String,
    /// Resolvers in order.
    pub nameservers: Vec<String>,
    /// Search list.
    pub search: Vec<String>,
    /// Options as written.
    pub options: Vec<String>,
}
