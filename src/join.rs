//! Who caused what: packets, calls and tasks joined into queries, lookups and connection attempts.
//!
//! Pure. The whole case is in memory, ordered by [`crate::merge`], so every rule may look back and
//! ahead; memory grows with the packets and calls that matter, not with the size of the files.
//!
//! Order of work: [`process`] says which threads belong together, [`socket`] replays the calls into
//! sockets, [`sent`] lists the DNS messages that calls sent, [`connect`] builds connection attempts,
//! [`query`] lists the queries, each with the call that sent it, [`response`] says what came back for each,
//! [`lookup`] groups them by the name they serve and says how long the client waited for each,
//! [`service`] lists waits for unix-socket name services.
//!
//! A step changes nothing that an earlier one made. Where it adds to a value it makes a new one around it: an
//! [`Asked`] becomes a [`Query`], a [`Received`] response an [`Answer`], a [`connect::Attempt`] a
//! [`connect::Connection`].

pub mod connect;
pub mod id;
pub mod lookup;
pub mod owners;
pub mod probe;
pub mod process;
pub mod query;
pub mod response;
#[cfg(test)]
pub(crate) mod rows;
pub mod sent;
pub mod service;
pub mod socket;
pub mod unsent;

use crate::coverage::{Absence, Blind, Coverage};
use crate::event::dns::{Question, Rcode};
use crate::event::{Call, CallOutcome, Event, EventKind, LifecycleChange, Op, Task};
use crate::flow::{Endpoint, Transport};
use crate::input::{CaptureFacts, TraceFacts};
use crate::time::{Span, Timestamp};
use crate::totals::Unsolicited;
pub use id::{AssociationId, ConnectionId, EventId, Id, IdVec, LookupId, ProcessId, QueryId};
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

/// Everything the join reads.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// All events, ordered by [`crate::merge::order`].
    pub events: &'a [Event],
    /// The captures.
    pub captures: &'a [CaptureFacts],
    /// The traces.
    pub traces: &'a [TraceFacts],
    /// What both could have shown.
    pub coverage: &'a Coverage,
    /// Ports that DNS servers listen on: 53 and what `--dns-port` adds.
    pub dns_ports: &'a [u16],
    /// How far a call's time may be off from a packet's: clock resolution and uncertainty together.
    pub tolerance: Span,
    /// The search list of resolv.conf, where it is known.
    pub search: &'a [String],
    /// How long the stub resolver waits for a first answer (resolv.conf's `timeout`).
    pub patience: Span,
    /// How many rounds over all resolvers it makes (resolv.conf's `attempts`).
    pub attempts: usize,
    /// How many events of the inputs were evicted before.
    pub evicted: usize,
    /// Whose packets are, where processes were watched and nothing was traced.
    pub owners: &'a owners::Owners,
}

impl<'a> Evidence<'a> {
    /// One event.
    pub fn event(&self, id: EventId) -> &'a Event {
        &self.events[id.position()]
    }

    /// The call that an event is.
    pub fn call(&self, id: EventId) -> Option<&'a Call> {
        match &self.event(id).what {
            EventKind::Call(call) => Some(call),
            EventKind::Packet(_)
            | EventKind::Life(_)
            | EventKind::Stack(_)
            | EventKind::Owner(_) => None,
        }
    }

    /// Whether an event is a packet.
    pub fn is_packet(&self, id: EventId) -> bool {
        matches!(self.event(id).what, EventKind::Packet(_))
    }

    /// All events with their ids, in order.
    pub fn numbered(&self) -> impl DoubleEndedIterator<Item = (EventId, &'a Event)> + use<'a> {
        let events = self.events.iter().enumerate();
        events.map(|(n, event)| (EventId::at(n), event))
    }

    /// Whether there is a capture at all.
    pub fn has_capture(&self) -> bool {
        !self.captures.is_empty()
    }

    /// Whether there is a trace at all.
    pub fn has_trace(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Whether a trace was taken of what already ran, so that the beginning of its program is not in it.
    pub fn was_attached(&self) -> bool {
        self.traces.iter().any(TraceFacts::was_attached)
    }

    /// Whether some trace shows the calls that wait (`poll` and its like): only then is a gap between calls known
    /// to be no wait.
    pub fn sees_waits(&self) -> bool {
        self.traces.iter().any(TraceFacts::sees_waits)
    }

    /// Whether a trace shows sends of those threads alone that were followed for them.
    pub fn lacks_sends(&self) -> bool {
        self.traces.iter().any(|t| t.sees.followed_sends_only)
    }

    /// Whether the traces name the threads of their calls: a log of strace without `-f` shows one thread alone, and names
    /// none.
    pub fn follows_threads(&self) -> bool {
        self.events.iter().any(|e| match &e.what {
            EventKind::Call(call) => call.task.tid.is_some(),
            EventKind::Life(life) => life.task.tid.is_some(),
            EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => false,
        })
    }

    /// Whether this is a DNS server's port.
    pub fn is_dns_port(&self, port: u16) -> bool {
        self.dns_ports.contains(&port)
    }

    /// The least step of the coarsest trace's clock; zero without a trace.
    pub fn resolution(&self) -> Span {
        let steps = self.traces.iter();
        steps
            .map(|t| crate::clock::resolution(t.clock))
            .max()
            .unwrap_or_default()
    }

    /// Whether the times of all traces are times: one without any has only its order, and durations that some calls show.
    pub fn is_timed(&self) -> bool {
        self.traces.iter().all(|t| t.clock.has_times())
    }

    /// Whether spans of time are sums of what single calls lasted, and the whole was longer: neither the trace nor packets
    /// have times.
    pub fn only_lower_bounds(&self) -> bool {
        !self.is_timed() && !self.has_capture()
    }

    /// A span of time as far as it was measured. Beside a trace without times it is the sum of the durations that are
    /// known in it, so a lower bound; `None` where none is.
    pub fn known(&self, span: Span) -> Option<Span> {
        if self.is_timed() {
            // Without packets a clock of whole seconds shows nothing that is shorter.
            let step = self.resolution();
            let short = !self.has_capture() && step >= Span::millis(1) && span < step;
            return (!short).then_some(span);
        }
        // Lines are laid a nanosecond apart, to keep their order.
        let lines = i64::try_from(self.events.len() + self.evicted).unwrap_or(i64::MAX);
        let least = Span(lines).max(Span::micros(1));
        (span >= least).then(|| Span(span.0 - span.0 % least.0))
    }

    /// Time of the last event, when one of the last calls was over, or of the last packet of a capture, which may be none
    /// that matters.
    pub fn end(&self) -> Timestamp {
        let last = self.events.iter().rev();
        // What is said of packets that a selection leaves out is no part of the inputs.
        let last = last.filter(|e| !matches!(e.what, EventKind::Owner(_)));
        let last = last.take(LAST_CALLS);
        let packet = self.captures.iter().filter_map(|c| c.last).max();
        last.map(over).max().max(packet).unwrap_or_default()
    }
}

/// How many events at the end of the inputs may be calls that were still to return: one of each thread.
const LAST_CALLS: usize = 64;

/// When an event was over, as far as it tells.
fn over(event: &Event) -> Timestamp {
    let EventKind::Call(call) = &event.what else {
        return event.at;
    };
    let timed_out = match (&call.op, &call.outcome) {
        (Op::Wait { timeout, .. }, CallOutcome::Returned(0)) => *timeout,
        _ => None,
    };
    let exited = call.exited.or(timed_out.map(|t| event.at + t));
    exited.map_or(event.at, |exited| exited.max(event.at))
}

/// How many events after a call are looked at for the next one of its thread.
const MAX_AHEAD: usize = 10_000;

/// What a thread did next after a call, or what became of it.
pub(crate) fn next_of_thread(evidence: &Evidence, call: EventId) -> Option<EventId> {
    let tid = evidence.call(call)?.task.tid;
    let later = evidence.events.get(call.position() + 1..)?;
    let mine = |e: &Event| match &e.what {
        EventKind::Call(call) => call.task.tid == tid,
        EventKind::Life(life) => {
            life.task.tid == tid && !matches!(life.change, LifecycleChange::Socket(_))
        }
        EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => false,
    };
    let next = later.iter().take(MAX_AHEAD).position(mine)?;
    Some(EventId::at(call.position() + 1 + next))
}

/// How the cause of a packet is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The sending call itself, by its socket or its very payload.
    Call,
    /// The packet's socket is known exactly; its sending call was not traced.
    Socket,
    /// Concluded from destination, order and time.
    Inferred,
}

/// The system call that caused a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How we know.
    pub how: How,
    /// The call: for [`How::Call`] the sending one, else the connect or bind of the socket.
    pub call: Option<EventId>,
}

/// Whose packet it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A traced task's.
    Traced,
    /// A watched process's: its socket is known, and none of its calls.
    Watched,
    /// Some other process's.
    Untraced,
    /// Nobody can say: it may be a part of something that was evicted and is forgotten.
    NotAttributable,
    /// Nobody can say whose socket it left by, where processes were watched: it may be theirs.
    Unattributed,
    /// Nobody can say: there is no trace.
    Unknown,
}

impl Origin {
    /// Whether it counts as the client's own: only a trace, or a look at its socket, shows that it is not.
    pub fn is_clients(self) -> bool {
        matches!(self, Self::Traced | Self::Watched | Self::Unknown)
    }

    /// Whether it may be another process's: a stub's on the client's host, for one.
    pub fn may_be_others(self) -> bool {
        matches!(self, Self::Untraced | Self::NotAttributable | Self::Unknown)
    }

    /// Whether its process is one whose calls are traced: what those do not show, it did not do.
    pub fn is_traced(self) -> bool {
        self == Self::Traced
    }
}

/// Who asks and connects: a process that was traced or watched, or a host where nothing tells processes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// A traced or watched process.
    Process(ProcessId),
    /// A host's address, where a packet shows it.
    Host(Option<IpAddr>),
}

impl ClientId {
    fn of(process: Option<ProcessId>, local: Option<Endpoint>) -> Self {
        process.map_or(Self::Host(local.map(|l| l.ip)), Self::Process)
    }
}

/// One DNS query message sent to one resolver, as it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it asks.
    pub question: Question,
    /// OPCODE; anything but 0 is no question about a name (NOTIFY, UPDATE).
    pub opcode: u8,
    /// Transaction id, where a packet or payload shows it.
    pub id: Option<u16>,
    /// Whether it carries an OPT record, where all of it is visible.
    pub edns: Option<bool>,
    /// UDP or TCP.
    pub transport: Transport,
    /// The asking socket's end on the wire, where a packet shows it.
    pub client: Option<Endpoint>,
    /// Who was asked, as the call says.
    pub resolver: Endpoint,
    /// The packet's time, or the call's where no packet left.
    pub sent: Timestamp,
    /// The query's packet.
    pub packet: Option<EventId>,
    /// What caused it.
    pub cause: Option<Cause>,
    /// Whose it is.
    pub origin: Origin,
    /// The task that asked.
    pub task: Option<Task>,
    /// Its process.
    pub process: Option<ProcessId>,
    /// Its socket.
    pub association: Option<AssociationId>,
    /// No message was seen at all: a connect to a resolver in a log without sends stands for it.
    pub implied: bool,
}

impl Asked {
    /// Who asked.
    pub fn asker(&self) -> ClientId {
        ClientId::of(self.process, self.client)
    }

    /// Whether it counts as the client's own: only a trace shows that another process sent it.
    pub fn is_clients(&self) -> bool {
        self.origin.is_clients()
    }

    /// The thread that made its calls. That of a watched process is not known of each of its queries, and tells none of them
    /// apart.
    pub fn calling_task(&self) -> Option<&Task> {
        self.task.as_ref().filter(|_| self.origin.is_traced())
    }
}

/// A query and whether it left the host.
#[derive(Debug)]
pub struct Sending {
    /// As it was asked.
    pub asked: Asked,
    /// Whether it left.
    pub departure: Departure,
}

/// Whether a query left the host.
#[derive(Debug, PartialEq, Eq)]
pub enum Departure {
    /// A packet went out, or may have: no capture would show it.
    Left,
    /// A call sent it, but a capture that would show its packet has none; or the host sent itself an error instead.
    NeverLeft(Silence),
}

/// Why something is known not to have come, or not to have left.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// An error came instead: ICMP, or what the client's call returned.
    Refused(Refusal),
    /// An input that would have shown it does not.
    Absent(Absence),
}

impl Silence {
    /// The error that came instead.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(*refusal),
            Self::Absent(_) => None,
        }
    }
}

/// A query and what became of it.
#[derive(Debug)]
pub struct Query {
    /// As it was asked; read through the query itself.
    pub asked: Asked,
    /// What became of it.
    pub state: State,
    /// When the client stopped waiting for it.
    pub until: Timestamp,
    /// Nothing that the client did shows that moment: it is what a stub resolver waits.
    pub assumed: bool,
    /// A response with its id that answers another question.
    pub foreign: Option<EventId>,
}

impl Deref for Query {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

/// What became of a query.
#[derive(Debug, PartialEq)]
pub enum State {
    /// Answered.
    Answered(Answer),
    /// No answer, and one was due; perhaps an error said why.
    Unanswered(Silence),
    /// Nobody can say: the answer came from elsewhere, or no input would show it.
    Open(Blind),
    /// Answered on the wire, as a capture shows; the client did not get it.
    NotReceived(Received, Absence),
    /// Its socket became readable, so that an answer or an error had come; no call of the trace shows which.
    Unseen,
    /// A call sent it, but no packet left the host.
    NeverSent(Silence),
}

/// A response to a query, as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// When it arrived.
    pub at: Timestamp,
    /// Its packet or the call that received it.
    pub event: EventId,
    /// Response code.
    pub rcode: Rcode,
    /// It was cut; the client has to ask again over TCP.
    pub truncated: bool,
    /// Number of answer records.
    pub records: u16,
    /// It names other servers to ask instead of an answer.
    pub referral: bool,
    /// Addresses in it.
    pub addresses: Arc<[IpAddr]>,
}

impl Received {
    /// The client needs to ask nobody else: not cut, no error that sends it to the next resolver, and no referral.
    pub fn usable(&self) -> bool {
        !self.truncated && !self.referral && [Rcode::NOERROR, Rcode::NXDOMAIN].contains(&self.rcode)
    }

    /// The name or type does not exist.
    pub fn negative(&self) -> bool {
        self.rcode == Rcode::NXDOMAIN
            || self.rcode == Rcode::NOERROR
                && self.records == 0
                && !self.truncated
                && !self.referral
    }
}

/// An answer to a query, and whether it was in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// As it arrived; read through the answer itself.
    pub received: Received,
    /// It came after the client had given up on the query.
    pub late: bool,
}

impl Deref for Answer {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

/// An error that says why a query or SYN cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it came.
    pub at: Timestamp,
    /// The ICMP packet, or the call that returned the error.
    pub event: EventId,
    /// The far end refused (port unreachable, prohibited), rather than not being reachable.
    pub refused: bool,
}

impl Query {
    /// The answer that the client got, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.state {
            State::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// The response that a resolver sent, whether or not the client got it.
    pub fn response(&self) -> Option<&Received> {
        match &self.state {
            State::Answered(answer) => Some(&answer.received),
            State::NotReceived(received, _) => Some(received),
            _ => None,
        }
    }

    /// Whether it was answered on the wire and the client did not get the answer.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::NotReceived(..))
    }

    /// Whether the inputs do not show what came of it.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Unseen)
    }

    /// The error that came instead of an answer.
    pub fn refusal(&self) -> Option<Refusal> {
        match &self.state {
            State::Unanswered(silence) | State::NeverSent(silence) => silence.refusal(),
            _ => None,
        }
    }

    /// Whether nothing at all came back although an answer was due.
    pub fn is_silent(&self) -> bool {
        matches!(self.state, State::Unanswered(Silence::Absent(_)))
    }

    /// Whether a packet went out, or must have (no capture to tell).
    pub fn on_wire(&self) -> bool {
        !matches!(self.state, State::NeverSent(_))
    }

    /// How long the client waited for it.
    pub fn waited(&self) -> Span {
        (self.until - self.sent).max(Span::ZERO)
    }
}

/// Everything the join found.
#[derive(Debug)]
pub struct Joined {
    /// Which threads belong together.
    pub processes: process::Processes,
    /// The sockets of the trace.
    pub sockets: socket::Sockets,
    /// Every query, in order of time.
    pub queries: IdVec<QueryId, Query>,
    /// Every lookup, in order of its beginning.
    pub lookups: IdVec<LookupId, lookup::Lookup>,
    /// Every connection attempt of a stream socket, in order of time.
    pub connections: IdVec<ConnectionId, connect::Connection>,
    /// Waits for unix-socket name services, in order of time.
    pub services: Vec<service::ServiceWait>,
    /// What hosts asked the network for beside DNS and connections, in order of time.
    pub probes: Vec<probe::Probe>,
    /// Responses that answer no query of the case.
    pub unsolicited: Unsolicited,
    /// The hosts that no trace shows and that looked something up.
    pub askers: HashSet<IpAddr>,
}

/// Joins a case.
pub fn join(evidence: &Evidence) -> Joined {
    let processes = process::Processes::conclude(evidence.events, evidence.owners);
    let sockets = socket::Sockets::replay(evidence, &processes);
    let sent = sent::list(evidence, &processes, &sockets);
    let attempts = connect::attempts(evidence, &processes, &sockets);
    let asked = query::queries(evidence, &processes, &sockets, sent, &attempts);
    let (exchanges, unsolicited) = response::answer(evidence, &sockets, asked);
    let services = service::waits(evidence, &processes, &sockets);
    let lookup::ResolvedLookups {
        mut queries,
        lookups,
        mut connections,
    } = lookup::find(evidence, &sockets, &services, exchanges, attempts);
    if evidence.coverage.is_assumed() {
        let asked = queries.iter_mut().filter(|q| q.packet.is_some());
        let asked = asked.filter_map(|q| q.asked.cause.as_mut());
        let made = connections.iter_mut().filter(|c| c.first_syn.is_some());
        let made = made.filter_map(|c| c.attempt.cause.as_mut());
        asked
            .chain(made)
            .for_each(|cause| cause.how = How::Inferred);
    }
    let hosts = lookups.iter().filter(|l| !l.origin.is_traced());
    let askers = hosts.filter_map(|l| l.client).collect();
    Joined {
        processes,
        sockets,
        queries,
        lookups,
        connections,
        services,
        probes: probe::list(evidence),
        unsolicited,
        askers,
    }
}
