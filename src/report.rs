//! The report: plain types, the public JSON contract `presyn.report/2`.
//!
//! `*_s` are seconds from [`Report::started`] unless the name says a duration (`seconds`, `waited_s`,
//! `connect_seconds`). What is unknown is `null`, never 0. Lists are bounded; [`Omitted`] counts what was
//! left out.
//!
//! # What version 2 promises
//!
//! - Fields are added, never renamed and never removed, and their types do not change. A reader ignores fields that it
//!   does not know.
//! - Enumerations may get further values. A reader accepts values that it does not know; the schema lists those of this
//!   version and is open for others.
//! - Any figure that an input might not show may be `null`, whether or not this version ever writes `null` there.
//! - The fields in [`ENGLISH`] are sentences for people, or parts of one. They are reworded from version to version and
//!   are not part of the contract; whatever a program needs is in the fields beside them.
//!
//! A change that breaks this raises the number in [`SCHEMA`].
//!
//! # What changed since version 1
//!
//! Version 1 made no promise. A report of version 1 becomes one of version 2 by this transformation:
//!
//! - `schema`: `presyn.report/1` becomes `presyn.report/2`;
//! - a query's `state` `never sent` becomes `never-sent`;
//! - a lookup's `client` `unknown` and its `name` `?` become `null`, and so does the `question` of a query whose name is
//!   not known;
//! - an entry gets `start_up`, which is `true` where `note` was `starting up`; that note becomes `null`;
//! - a trace gets `writer`, `presyn` where `style` is `presyn`, else `strace`;
//! - a finding gets `parties`.

mod inputs;
pub(crate) mod open_enum;
pub mod subjects;
mod timetable;
mod vocabulary;
pub mod whatif;

pub use inputs::{Capture, Clock, DropTime, Inputs, LeftOut, ResolverConfig, Trace, Watched};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use timetable::{BestChange, Timetable, TimetableWait};
pub use vocabulary::{
    CauseKind, ConnectionOutcome, EntryKind, FindingId, LeftOutWhy, LookupKind, LookupOutcome,
    Model, Origin, PacketKind, PartyRole, QueryState, Role, Severity, StackCut, StubResolver,
    SubjectKind, TraceWriter, Transport, UnattributedWhy,
};

/// Version of the contract; a change that breaks a reader raises the number.
pub const SCHEMA: &str = "presyn.report/2";

/// The fields of a report that are English sentences, or parts of one. They are for people, are reworded from version
/// to version, and are no part of the contract: a program reads the fields beside them.
pub const ENGLISH: [&str; 12] = [
    "summary",
    "warnings",
    "title",
    "detail",
    "remedy",
    "note",
    "client_why",
    "told",
    "change",
    "words",
    "hint",
    "method",
];

/// Everything presyn has to say about a case.
///
/// Fields are added, never renamed or removed, within this version. A reader accepts fields and values that it does not
/// know, and `null` for any figure. `summary`, `warnings`, `title`, `detail`, `remedy`, `note`, `client_why`, `told`,
/// `change`, `words`, `hint` and `method` are English for people and not part of the contract.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("$id" = "urn:presyn:report:2"))]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// RFC 3339; the zero of all `*_s`. `null` when no input has a date.
    pub started: Option<String>,
    /// What was run, where the inputs tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The answer in a few sentences, the first naming the culprit.
    pub summary: Vec<String>,
    /// What was read.
    pub inputs: Inputs,
    /// The resolver configuration, where it is known.
    pub resolver_config: Option<ResolverConfig>,
    /// Per resolver, transport and origin.
    pub resolvers: Vec<Resolver>,
    /// In order of their beginning.
    pub lookups: Vec<Lookup>,
    /// Stream sockets only: a UDP connect is never one.
    pub connections: Vec<Connection>,
    /// The hosts that asked and connected, the slowest first, where there is no trace and more than one of them; of a
    /// case of watched processes these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Client>,
    /// The account before each server connect, slowest first.
    pub delays: Vec<Delay>,
    /// What all delays together lost, each second once. Left out where fewer than two of them waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// Conclusions, in order of the seconds they cost.
    pub findings: Vec<Finding>,
    /// The user-space stacks of calls (`run --stacks`, `strace -k`), each once. Left out where the trace has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<Stack>,
    /// The change that would have shortened the first of `delays` most, where a model explains what was seen.
    pub best_change: Option<BestChange>,
    /// Copies of packets that were removed.
    pub duplicates_removed: u64,
    /// Responses that answer no query of the captures. Left out when 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsolicited_responses: usize,
    /// What may be a part of connection attempts and queries that were dropped from memory. Absent where none was that may
    /// have continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_attributable: Option<NotAttributable>,
    /// Queries and connection attempts that could not be attributed to a process, where processes were watched: they may be
    /// theirs or another's, and are in no figure of either. Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unattributed: Vec<Unattributed>,
    /// What was left out of the lists.
    pub omitted: Omitted,
    /// What the reader should know about the inputs.
    pub warnings: Vec<String>,
}

/// What a live run ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Name of the host.
    pub host: String,
    /// The command and its arguments; what looks like a secret is `<masked>`.
    pub command: Vec<String>,
}

/// One resolver as asked over one transport by one kind of asker. Counts are messages:
/// `answered + unanswered + open = queries`; `refused` is part of `unanswered`, `late` and `not_received` part of
/// `answered`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Resolver {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// What carried the queries.
    pub transport: Transport,
    /// Who asked.
    pub origin: Origin,
    /// Query messages on the wire; without a capture, in the calls.
    pub queries: Option<u64>,
    /// With an answer.
    pub answered: Option<u64>,
    /// Without one, although one was due.
    pub unanswered: Option<u64>,
    /// The inputs do not show whether an answer came.
    pub open: Option<u64>,
    /// Of the unanswered: an ICMP error came instead.
    pub refused: Option<u64>,
    /// Of the answered: after the client had given up.
    pub late: Option<u64>,
    /// Of the answered: the answer is in the capture and did not reach the client.
    #[serde(default)]
    pub not_received: Option<u64>,
    /// A call, no packet; not part of `queries`.
    pub never_sent: Option<u64>,
    /// Socket, id, name and type.
    pub transactions: Option<u64>,
    /// Of these, without any answer.
    pub transactions_unanswered: Option<u64>,
    /// Answers by response code.
    pub rcodes: BTreeMap<String, u64>,
    /// Response times.
    pub rtt_s: Rtt,
    /// Seconds that clients waited for it, overlapping waits counted once.
    pub waited_s: Option<f64>,
    /// Who asked.
    pub asked_by: Vec<Task>,
}

/// Response times in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rtt {
    /// Median.
    pub median: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Process.
    pub pid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// Name.
    pub comm: Option<String>,
}

/// A host that asks and connects.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Its address.
    pub address: String,
    /// The process, where processes were watched. Left out of a host's row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Attempts to reach a server.
    pub connects: Option<u64>,
    /// Lookups.
    pub lookups: Option<u64>,
    /// The longest account of it.
    pub slowest_s: Option<f64>,
    /// Its lookups and connection attempts that nothing answered.
    pub lost: Option<u64>,
}

/// Everything done to resolve one name or address.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lookup {
    /// `L1`, `L2`, …
    pub id: String,
    /// The name asked for; for a reverse lookup the `in-addr.arpa` name. `null`: the inputs do not
    /// show it.
    pub name: Option<String>,
    /// What it asked for.
    pub kind: LookupKind,
    /// Who asked.
    pub tasks: Vec<Task>,
    /// The address that asked, where a packet shows it.
    #[serde(default)]
    pub from: Option<String>,
    /// RFC 3339.
    pub began: Option<String>,
    /// Seconds since the start of the case.
    pub began_s: Option<f64>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// What was found.
    pub addresses: Vec<String>,
    /// How it ended.
    pub outcome: Option<LookupOutcome>,
    /// The stub resolver; `null` where the facts allow several, or none that is known.
    pub client: Option<StubResolver>,
    /// The evidence for it in words, or what the facts allow.
    pub client_why: String,
    /// Its waits beside the stub resolver's timetable; `null` when none timed out or no timetable applies.
    pub timetable: Option<Timetable>,
    /// Names of the search list tried before.
    pub searched: Vec<String>,
    /// Which functions asked, where stacks show it; at most three. Left out where none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<Caller>,
    /// Its queries, in order.
    pub queries: Vec<Query>,
}

/// One query.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// Whom it asked.
    pub resolver: String,
    /// What carried it.
    pub transport: Transport,
    /// Type and name; `null`: the inputs do not show the name.
    pub question: Option<String>,
    /// When it was sent.
    pub sent_s: Option<f64>,
    /// What became of it.
    pub state: QueryState,
    /// Response code of the answer.
    pub rcode: Option<String>,
    /// How long the client waited for it.
    pub waited_s: Option<f64>,
    /// What caused it.
    pub cause: Option<Cause>,
    /// Its packet, `FILE:N`.
    pub packet: Option<String>,
    /// The answer's packet or call, `FILE:N`.
    pub answer: Option<String>,
}

/// The call that caused a packet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// How it is known.
    pub how: CauseKind,
    /// `FILE:N`.
    pub call: Option<String>,
    /// Id of the call's stack. Left out where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// What a thread of a watched process was found doing about the socket. Left out where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<ThreadWait>,
}

/// The system call in which a thread was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadWait {
    /// The thread.
    pub tid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// The call's name.
    pub call: String,
    /// How many descriptors it waits for; 1: this socket alone.
    pub among: u32,
}

/// A connection attempt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// `C1`, `C2`, …
    pub id: String,
    /// Where to, as the call said.
    pub to: String,
    /// Where to, as the packet said.
    pub wire_to: Option<String>,
    /// Local end.
    pub from: Option<String>,
    /// Who connected.
    pub task: Option<Task>,
    /// What it was for.
    pub role: Role,
    /// When `connect` was called.
    pub called_s: Option<f64>,
    /// When the first SYN left.
    pub syn_s: Option<f64>,
    /// Packets that hold its SYNs, retransmissions included.
    pub syns: Option<u64>,
    /// How many SYNs were sent again; a packet that several hooks of a host captured was sent once.
    pub retransmissions: Option<u64>,
    /// How it ended.
    pub outcome: Option<ConnectionOutcome>,
    /// First SYN to connected; where no SYN was captured, from the call.
    pub connect_seconds: Option<f64>,
    /// Connected to the client's first data, where the capture holds data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_data_s: Option<f64>,
    /// Connected to the server's first data, where the capture holds data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_data_s: Option<f64>,
    /// The lookup that gave the address.
    pub lookup: Option<String>,
    /// What caused the SYN.
    pub cause: Option<Cause>,
    /// Its SYNs and what answered them, `FILE:N`.
    pub packets: Vec<String>,
}

/// The account before a server connect, or of a lookup that failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Delay {
    /// What it is about.
    pub subject: SubjectKind,
    /// The connection's id.
    pub connection: Option<String>,
    /// The lookup's id.
    pub lookup: Option<String>,
    /// Length of the window: from the start of the case for its first server connect, from the connect's
    /// own lookup or call for later ones. The entries add up to it.
    pub since_start_s: Option<f64>,
    /// The trace has no times: the seconds of this delay and of its entries add up from what single calls lasted, and the
    /// delay was at least so long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// From the first query in the window by a traced task; one that never left counts.
    pub since_first_query_s: Option<f64>,
    /// From the first name-service activity, unix sockets included.
    pub since_first_lookup_s: Option<f64>,
    /// From the SYN to connected, or to the end of the attempt; where no SYN was captured, from the connect call to its
    /// success.
    pub after_syn_s: Option<f64>,
    /// CPU time that the process had used by the end of the window, all threads; live cases only, and only
    /// where the window begins with the case.
    pub cpu_seconds: Option<f64>,
    /// The account.
    pub entries: Vec<Entry>,
}

/// One line of the account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// What the client was waiting for.
    pub kind: EntryKind,
    /// Whom it was charged to.
    pub party: Option<String>,
    /// The questions, when they are one.
    pub question: Option<String>,
    /// Queries behind it.
    pub queries: Option<u64>,
    /// How long.
    pub seconds: Option<f64>,
    /// No waiting call shows it; packets, order or the timetable do.
    pub inferred: bool,
    /// It lies before the first name-service activity.
    #[serde(default)]
    pub start_up: bool,
    /// What else is to be said.
    pub note: Option<String>,
    /// The calls, `FILE:N`.
    pub calls: Vec<String>,
    /// The packets, `FILE:N`.
    pub packets: Vec<String>,
}

/// A conclusion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which one.
    pub id: FindingId,
    /// How much it matters.
    pub severity: Severity,
    /// The connection or lookup it is about.
    pub subject: Option<String>,
    /// Whom and what it is about: the resolvers, servers, services and names that it accuses or explains.
    #[serde(default)]
    pub parties: Vec<Party>,
    /// One line.
    pub title: String,
    /// Some lines.
    pub detail: String,
    /// What it cost the connection or lookup that it is about.
    pub seconds: Option<f64>,
    /// What it cost all of them together, each second once. Left out where it cost only one of them something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<f64>,
    /// The position, in `findings`, of a finding before it whose seconds these are: they do not add up. Left out where
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_seconds_as: Option<usize>,
    /// What to do.
    pub remedy: Option<String>,
    /// Which functions made the calls, where stacks show it; at most three. Left out where none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<Caller>,
    /// Evidence, `FILE:N`; of a live run that was not saved, the times of the events.
    pub calls: Vec<String>,
    /// Evidence, `FILE:N`; of a live run that was not saved, the times of the events.
    pub packets: Vec<String>,
}

/// What several connections and lookups lost by waiting: a second in which two of them waited counts once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// How many of them waited.
    pub subjects: u64,
    /// Seconds in which at least one of them waited for others.
    pub lost_s: f64,
    /// By resolver, server and name service, the dearest first. Parties that were waited for at once share seconds.
    pub parties: Vec<Lost>,
    /// By name looked up, the dearest first.
    pub names: Vec<Lost>,
    /// More was left out of the delays, so that the figures are lower bounds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
}

/// What one party or name cost.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// `ADDRESS:PORT`, a name service, or a name.
    pub what: String,
    /// Seconds in which at least one connection or lookup waited for it.
    pub lost_s: f64,
    /// How many of them waited for it.
    pub subjects: u64,
}

/// Whom or what a finding is about.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Party {
    /// What it is, and which of the other fields it has.
    pub role: PartyRole,
    /// Its address.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Its name.
    pub name: Option<String>,
}

/// Who made a call, as its stack shows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// `asked by` or `connected by`, the function that the program called, and what called it:
    /// `asked by getnameinfo ← Java_java_net_Inet6AddressImpl_getHostByAddr (libnet.so)`.
    pub words: String,
    /// Id of the stack, where it is listed.
    pub stack: Option<String>,
    /// How to see what the stack cannot show.
    pub hint: Option<String>,
}

/// The functions that a thread was in when it made a call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stack {
    /// `S1`, `S2`, …
    pub id: String,
    /// Innermost first, at most 64.
    pub frames: Vec<Frame>,
    /// Why it ends before the outermost frame. `null`: it does not, or the trace does not say.
    pub cut: Option<StackCut>,
}

/// One frame of a stack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// The function; `null` where the file names none there.
    pub function: Option<String>,
    /// How many bytes into the function.
    pub offset: Option<u64>,
    /// The program or library.
    pub file: String,
    /// Where in that file, in bytes from its beginning.
    pub address: u64,
}

/// So much was in progress at once that some of it was dropped from memory. What came later may belong to that: it is not
/// another process's for certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotAttributable {
    /// Connections without a call whose SYN may be a retransmission.
    pub connections: usize,
    /// Responses that answer no query of the captures.
    pub responses: usize,
}

/// What is unattributed in one network namespace, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unattributed {
    /// Cookie of the network namespace (`SO_NETNS_COOKIE`). `null`: not known.
    pub netns: Option<u64>,
    /// Why.
    pub why: UnattributedWhy,
    /// Query messages.
    pub queries: usize,
    /// Connection attempts.
    pub connections: usize,
}

/// How many elements of each list were left out, those among them that were dropped while a large capture was read.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Omitted {
    /// Of `lookups`.
    pub lookups: usize,
    /// Of `connections`.
    pub connections: usize,
    /// Of `delays`.
    pub delays: usize,
    /// Of `stacks`. Left out when 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stacks: usize,
    /// Of `resolvers`: whoever asks so many is a resolver itself. Absent where none was left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resolvers: usize,
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
