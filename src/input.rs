//! What a source says about its input as a whole, beside the events: counts, style, clock, damage.
//!
//! Types only.

pub mod drops;
pub mod host;
pub mod progress;
pub mod selection;
pub mod watched;

use crate::report::TraceWriter;
use crate::time::{Span, Timestamp};
use drops::DropTimes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A capture, live or a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureFacts {
    /// Path as given, or a live interface's name.
    pub path: String,
    /// Position among the inputs; [`crate::event::Location::input`] refers to it.
    pub input: u16,
    /// Packets read.
    pub packets: u64,
    /// Packets that could not be decoded although they should have been.
    pub undecodable: u64,
    /// Packets the kernel or the interface dropped; `None` when the file does not say.
    pub dropped: Option<u64>,
    /// When they were dropped, as far as that is known.
    #[serde(default)]
    pub drop_times: DropTimes,
    /// Copies of packets seen on another interface and removed.
    pub duplicates: u64,
    /// Time of the first packet.
    pub first: Option<Timestamp>,
    /// Time of the last packet.
    pub last: Option<Timestamp>,
    /// What was wrong, with its place: one line each, bounded by the source.
    pub warnings: Vec<String>,
    /// The file was damaged, so that something in it could not be read (exit status 3).
    pub damaged: bool,
    /// Packets of which the capture holds only the beginning.
    #[serde(default)]
    pub cut_packets: u64,
    /// The longest of them as captured: the snapshot length, unless packets were cut one by one.
    #[serde(default)]
    pub snaplen: Option<u32>,
    /// DNS messages among them.
    #[serde(default)]
    pub cut_messages: u64,
    /// Those of them of which not even the header is there: they hide queries and responses.
    pub hidden_messages: u64,
    /// What presyn does not read, by name, and how many packets: link types and encapsulations.
    #[serde(default)]
    pub unread: Vec<(String, u64)>,
    /// The user's filter: what it hides was not "not sent".
    #[serde(default)]
    pub filter: Option<String>,
    /// Live: packets that were captured and dropped again.
    #[serde(default)]
    pub omitted: LeftOutPackets,
}

impl CaptureFacts {
    /// Takes note of what was dropped. It was seen all the same: the capture reaches from its first packet to its last.
    pub fn omit(&mut self, omitted: &LeftOutPackets) {
        if let Some((first, last)) = omitted.span() {
            self.first = Some(self.first.map_or(first, |own| own.min(first)));
            self.last = Some(self.last.map_or(last, |own| own.max(last)));
        }
        self.omitted = omitted.clone();
    }

    /// How many packets were dropped that have no time.
    pub fn untimed_drops(&self) -> u64 {
        let all = self.dropped.unwrap_or(0);
        all.saturating_sub(self.drop_times.packets())
    }
}

/// A kind of packet, where dropped ones are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DroppedKind {
    /// A DNS query.
    Query,
    /// A DNS response.
    Response,
    /// A SYN.
    Syn,
    /// A TCP segment that answers a SYN or ends a connection.
    Reply,
    /// Anything else.
    Other,
}

/// Packets of one kind: how many, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketCount {
    /// How many.
    pub packets: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// Dropped packets by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kinds(pub BTreeMap<DroppedKind, PacketCount>);

impl Kinds {
    /// Counts one.
    pub fn add(&mut self, kind: DroppedKind, at: Timestamp) {
        let counted = self.0.entry(kind).or_insert(PacketCount {
            packets: 0,
            first: at,
            last: at,
        });
        counted.packets += 1;
        counted.first = Ord::min(counted.first, at);
        counted.last = Ord::max(counted.last, at);
    }

    /// How many in all.
    pub fn packets(&self) -> u64 {
        self.0.values().map(|c| c.packets).sum()
    }
}

/// Packets of a live run that were captured and dropped again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOutPackets {
    /// Those that no socket of a traced process explains.
    pub foreign: Kinds,
    /// Those for which there was no space: they may be the traced processes' own.
    pub beyond: Kinds,
    /// Those of the others that were dropped sooner than a call may be reported, for want of space.
    pub hurried: u64,
}

impl LeftOutPackets {
    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.foreign.0.is_empty() && self.shows_own()
    }

    /// Whether no packet of a traced process can be among what was dropped.
    pub fn shows_own(&self) -> bool {
        self.beyond.0.is_empty() && self.hurried == 0
    }

    /// Those that may be a traced process's. When the hurried ones came is not known but by all of the foreign ones.
    pub fn perhaps_own(&self) -> Option<PacketCount> {
        if self.shows_own() {
            return None;
        }
        let hurried = self.foreign.0.values().filter(|_| self.hurried > 0);
        let counted: Vec<&PacketCount> = self.beyond.0.values().chain(hurried).collect();
        Some(PacketCount {
            packets: self.beyond.packets() + self.hurried,
            first: counted.iter().map(|c| c.first).min()?,
            last: counted.iter().map(|c| c.last).max()?,
        })
    }

    /// From the first of the dropped packets to the last.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let counted = || self.foreign.0.values().chain(self.beyond.0.values());
        let first = counted().map(|c| c.first).min()?;
        Some((first, counted().map(|c| c.last).max()?))
    }
}

/// A trace, live or a strace log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceFacts {
    /// Path as given.
    pub path: String,
    /// Position among the inputs.
    pub input: u16,
    /// Which program wrote it.
    pub writer: TraceWriter,
    /// The options that strace was run with, as far as its output shows, e.g. `-f -ttt -T -yy`.
    pub style: String,
    /// Calls read.
    pub calls: u64,
    /// Lines that are no strace output.
    pub skipped_lines: u64,
    /// Lines among them that hold `connect(`: the log shows more connection attempts than could be read.
    #[serde(default)]
    pub unread_connects: u64,
    /// Connects whose address was made unreadable before the log was given away.
    #[serde(default)]
    pub unreadable_addresses: u64,
    /// It began with the traced program: its exec, or the dynamic loader's work, is among the first calls.
    #[serde(default)]
    pub from_start: bool,
    /// Times are those of the ends of calls, since another program stamped the lines; the beginnings are concluded.
    #[serde(default)]
    pub ended_times: bool,
    /// What its times mean.
    pub clock: TraceClock,
    /// Which calls the log can show, concluded from those it has.
    pub sees: VisibleSyscalls,
    /// What was wrong, with its place: one line each, bounded by the source.
    pub warnings: Vec<String>,
    /// The log was damaged (exit status 3).
    pub damaged: bool,
}

impl TraceFacts {
    /// Whether presyn took it of what already ran. (Of logs it is not always known.)
    pub fn was_attached(&self) -> bool {
        self.writer == TraceWriter::Presyn && !self.from_start
    }

    /// Whether it shows the calls that wait.
    pub fn sees_waits(&self) -> bool {
        self.sees.waits || self.sees.everything
    }
}

/// What the times of a trace mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceClock {
    /// Unix time (`-ttt`, or live).
    Epoch {
        /// The least step: 1 s, 1 µs or 1 ns.
        resolution: Span,
    },
    /// Local time of day without a date (`-t`, `-tt`); event times are on 1970-01-01, and go on past
    /// midnight.
    TimeOfDay {
        /// The least step.
        resolution: Span,
    },
    /// Local time with a date but without a zone (`--absolute-timestamps` with a date).
    LocalDate {
        /// The least step.
        resolution: Span,
    },
    /// From the first line (`-r`); event times begin at 0.
    Relative {
        /// The least step.
        resolution: Span,
    },
    /// No times at all; event times only number the lines, and nothing may be read out of them but the order. The
    /// difference between a call's entry and exit is a duration all the same, where there is an exit (`-T`), and so is the
    /// timeout of a wait that returned nothing.
    None,
}

impl TraceClock {
    /// Whether event times are times.
    pub fn has_times(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Which kinds of call a log shows. An `-e connect` log is silent about sends: their absence in it
/// proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisibleSyscalls {
    /// `socket`.
    pub sockets: bool,
    /// `sendto` and its like.
    pub sends: bool,
    /// Of these only those of threads that were followed for them (presyn, since it lets sends run on).
    #[serde(default)]
    pub followed_sends_only: bool,
    /// `write`.
    pub writes: bool,
    /// `poll`, `select`, `epoll_wait`.
    pub waits: bool,
    /// `close`.
    pub closes: bool,
    /// `clone`, `fork`.
    pub clones: bool,
    /// Every call (`execve`, `mmap`, `brk`, … are there).
    pub everything: bool,
}
