//! Connection attempts: `connect` calls of stream sockets and the SYNs they caused.

mod calls;
mod syn;
#[cfg(test)]
mod tests;

use super::process::Processes;
use super::query::Asker;
use super::socket::{Association, Sockets};
use super::unsent;
use super::{
    AssociationId, Cause, ClientId, ConnectionId, EventId, Evidence, How, Id, IdVec, LookupId,
    Origin, ProcessId, Refusal,
};
use crate::coverage::{Absence, Blind, ClaimKind, WaitEvidence, Wanted};
use crate::event::{CallOutcome, Errno, Quote, SocketFamily, SocketType, Task};
use crate::flow::{Endpoint, Transport};
use crate::time::{Span, Timestamp};
use std::ops::Deref;
use syn::SynMatcher;
pub use syn::{LONGEST_GAP, Opening, Replies, SynFlow};

/// One connection attempt of a stream socket.
#[derive(Debug)]
pub struct Attempt {
    /// Where to, as the call says; without a trace, as the SYN says.
    pub to: Endpoint,
    /// Where the SYN went, if one was seen: NAT may have changed it.
    pub wire_to: Option<Endpoint>,
    /// The local end.
    pub from: Option<Endpoint>,
    /// The task that connected.
    pub task: Option<Task>,
    /// Its process.
    pub process: Option<ProcessId>,
    /// Its socket.
    pub association: Option<AssociationId>,
    /// Whose it is.
    pub origin: Origin,
    /// What it is for.
    pub role: Role,
    /// When `connect` was called.
    pub called: Option<Timestamp>,
    /// The SYNs, first and retransmitted.
    pub syns: Vec<EventId>,
    /// How many of them were sent again, rather than captured twice.
    pub repeats: usize,
    /// Time of the first SYN.
    pub first_syn: Option<Timestamp>,
    /// How it ended.
    pub outcome: Ending,
    /// When that was known.
    pub ended: Option<Timestamp>,
    /// The packet or call that ended it; of an open one the last wait for it that timed out.
    pub ended_by: Option<EventId>,
    /// What caused the SYN.
    pub cause: Option<Cause>,
    /// What came back for its SYNs without completing the connection.
    pub replies: Replies,
    /// What followed the handshake.
    pub opening: Opening,
}

/// A connection attempt and the lookup that it belongs to.
#[derive(Debug)]
pub struct Connection {
    /// The attempt; read through the connection itself.
    pub attempt: Attempt,
    /// The lookup that gave its address, or that went over to it from UDP.
    pub lookup: Option<LookupId>,
}

impl Deref for Connection {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server the client wants.
    Server,
    /// DNS over TCP or TLS.
    Resolver,
    /// Another process's, where a trace or a look at its socket tells.
    Other,
    /// Nobody can tell: it may be a part of an attempt that was evicted and is forgotten.
    NotAttributable,
    /// Nobody can tell: processes were watched, and it may be one of theirs or another's.
    Unattributed,
}

/// How a connection attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// SYN-ACK, or the call said so.
    Connected,
    /// RST, or `ECONNREFUSED`.
    Refused,
    /// ICMP, or `EHOSTUNREACH`/`ENETUNREACH`, after a SYN had left.
    Unreachable,
    /// The client gave up.
    TimedOut(SynAnswer),
    /// The call failed and no SYN ever left: the witness of that.
    NoSyn(Absence),
    /// It was under way when the inputs ended.
    Open(SynAnswer),
}

/// Whether anything answered an attempt that did not come to an end of its own.
#[derive(Debug, PartialEq, Eq)]
pub enum SynAnswer {
    /// Nothing did, as an input vouches.
    Absent(Absence),
    /// Nobody can say, or something came that did not complete the connection ([`Replies`]).
    Unknown,
}

impl Ending {
    /// The witness of what did not happen: that no SYN left, or that nothing answered it.
    pub fn silence(&self) -> Option<&Absence> {
        match self {
            Self::NoSyn(absence)
            | Self::TimedOut(SynAnswer::Absent(absence))
            | Self::Open(SynAnswer::Absent(absence)) => Some(absence),
            Self::TimedOut(SynAnswer::Unknown)
            | Self::Open(SynAnswer::Unknown)
            | Self::Connected
            | Self::Refused
            | Self::Unreachable => None,
        }
    }

    /// Whether the client gave up.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// Whether it was under way when the inputs ended.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Whether no SYN left.
    pub fn lacks_syn(&self) -> bool {
        matches!(self, Self::NoSyn(_))
    }
}

impl Attempt {
    /// Who connects.
    pub fn asker(&self) -> ClientId {
        ClientId::of(self.process, self.from)
    }

    /// When it began: its call, without one its first SYN.
    pub fn began(&self) -> Option<Timestamp> {
        self.called.or(self.first_syn)
    }

    /// Whether it counts as the client's own: only a trace shows that another process made it.
    pub fn is_clients(&self) -> bool {
        self.origin.is_clients()
    }

    /// Whether it may be a part of an attempt that was evicted and is forgotten.
    pub fn may_be_forgotten(&self, evidence: &Evidence) -> bool {
        let alone = self.first_syn.filter(|_| self.called.is_none());
        alone.is_some_and(|at| evidence.coverage.shows_attempt(at).is_err())
    }

    /// The moment the account before this attempt ends: its first SYN, else its failure, else its call.
    /// An attempt that did not fail and whose SYN nobody captured left with its call.
    pub fn reached(&self) -> Option<Timestamp> {
        let failed = match self.outcome {
            Ending::Connected | Ending::Open(_) => None,
            _ => self.ended,
        };
        self.first_syn.or(failed).or(self.called).or(self.ended)
    }

    /// When it was known to have ended. An attempt that only packets show has no such moment when nothing answered it:
    /// that no further SYN came when one was due shows that the client gave up, not when.
    pub fn measured_end(&self) -> Option<Timestamp> {
        let assumed = self.outcome.is_timeout() && self.ended_by.is_none();
        self.ended.filter(|_| !assumed || self.origin.is_traced())
    }

    /// When its SYN left: where nobody captured that, with its call, unless it failed.
    pub fn left(&self) -> Option<Timestamp> {
        let unseen = matches!(
            self.outcome,
            Ending::Connected | Ending::Open(_) | Ending::TimedOut(_)
        );
        self.first_syn.or(self.called.filter(|_| unseen))
    }

    /// Whether nothing had answered it when the inputs ended: its SYN is captured, its call did not return, or a wait
    /// for it timed out.
    pub fn is_pending(&self, evidence: &Evidence) -> bool {
        let call = self.cause.and_then(|c| evidence.call(c.call?));
        let hangs = call.is_some_and(|c| match &c.outcome {
            CallOutcome::Unknown => true,
            CallOutcome::Failed(_) => c.outcome.errno() == Some(Errno::Restart),
            CallOutcome::Returned(_) => false,
        });
        let waited = self.ended_by.is_some();
        self.outcome.is_open() && (self.first_syn.is_some() || hangs || waited)
    }
}

/// A neighbour search delays a SYN by up to three seconds, one ARP request each (`ucast_solicit`,
/// `mcast_solicit` = 3, `retrans_time` = 1 s; arp(7)), a little more before the error.
const NEIGHBOUR_SEARCH: Span = Span::millis(3_500);

/// DNS over TLS (RFC 7858).
const DNS_OVER_TLS: u16 = 853;

/// Builds the connection attempts of a case.
pub fn attempts(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
) -> IdVec<ConnectionId, Attempt> {
    let order = candidates(sockets);
    let mut flows = SynMatcher::new(syn::flows(evidence));
    flows.give(evidence, sockets, &surest_first(evidence, sockets, &order));
    let told: Vec<(EventId, &Quote)> = unsent::errors(evidence)
        .filter(|(_, quote)| quote.flow.transport == Transport::Tcp)
        .take(MAX_ERRORS)
        .collect();
    // What is left over is little beside a list that grew by doubling.
    let mut list = Vec::with_capacity(order.len() + flows.left());
    for a in order {
        if !is_stream(evidence, sockets, a, flows.has(a)) {
            flows.release(a);
            continue;
        }
        let mut attempt = of_call(evidence, processes, sockets, a, flows.of(a));
        told_itself(evidence, &told, &mut attempt);
        list.push(attempt);
    }
    list.extend({ flows.into_left() }.map(|flow| of_wire(evidence, processes, flow)));
    list.sort_by_key(|c| (c.began(), c.syns.first().copied()));
    list.into()
}

/// The order in which sockets look for their SYNs: exact ends first, so that a guess never takes a SYN that belongs to
/// another; then sockets that are certainly streams; last those that may be the datagram sockets of `getaddrinfo`'s
/// sorting, the latest first: the real connect comes after the sorting.
fn surest_first(
    evidence: &Evidence,
    sockets: &Sockets,
    order: &[AssociationId],
) -> Vec<AssociationId> {
    let socket = |a: &AssociationId| &sockets.list[*a];
    let (mut all, inexact): (Vec<_>, Vec<_>) = order.iter().partition(|a| socket(a).exact);
    let (streams, unsure): (Vec<AssociationId>, Vec<_>) = inexact
        .into_iter()
        .partition(|a| socket(a).style == SocketType::Stream || in_progress(evidence, socket(a)));
    all.extend(streams);
    all.extend(unsure.into_iter().rev());
    all
}

/// Associations that may be connection attempts, in order of their calls.
fn candidates(sockets: &Sockets) -> Vec<AssociationId> {
    let mut order: Vec<AssociationId> = sockets
        .list
        .ids()
        .filter(|a| {
            let s = &sockets.list[*a];
            s.connect.is_some()
                && s.peer.is_some()
                && s.family != Some(SocketFamily::Unix)
                && matches!(s.style, SocketType::Stream | SocketType::Unknown)
        })
        .collect();
    order.sort_by_key(|a| (sockets.list[*a].opened, sockets.list[*a].connect));
    order
}

/// Whether an association of unknown style is a stream socket's. `getaddrinfo` sorts addresses by
/// connecting a *datagram* socket to the real target (RFC 6724), which a connect-only log shows like
/// the real thing; only result and sequence differ.
fn is_stream(evidence: &Evidence, sockets: &Sockets, a: AssociationId, has_syn: bool) -> bool {
    let this = &sockets.list[a];
    if this.style != SocketType::Unknown {
        return this.style == SocketType::Stream;
    }
    let (Some(peer), Some(call)) = (this.peer, this.connect.and_then(|c| evidence.call(c))) else {
        return false;
    };
    match &call.outcome {
        failed @ CallOutcome::Failed(_) => {
            failed.errno().is_some_and(Errno::proves_stream)
                || has_syn
                || !evidence.is_dns_port(peer.port) && !this.reconnected
        }
        _ if evidence.is_dns_port(peer.port) => false,
        _ if has_syn => true,
        _ if this.reconnected || peer.port == 0 => false,
        // It succeeded, and the capture would have shown its SYN.
        _ if syn_would_show(evidence, this, peer) => false,
        _ => {
            let later = &sockets.list.as_slice()[a.position() + 1..];
            !later
                .iter()
                .take(64)
                .any(|s| s.process == this.process && s.peer == Some(peer))
        }
    }
}

/// Whether a capture would hold the SYN that a call of this socket sends.
fn syn_would_show(evidence: &Evidence, this: &Association, peer: Endpoint) -> bool {
    let wanted = Wanted {
        kind: ClaimKind::Syn,
        from: this.local.map(|l| l.ip),
        to: Some(peer.ip),
        netns: None,
    };
    let shown = evidence
        .coverage
        .would_show(wanted, this.opened, this.opened);
    shown.is_ok()
}

/// Whether the call's own result proves a stream socket.
fn in_progress(evidence: &Evidence, association: &Association) -> bool {
    let call = association.connect.and_then(|c| evidence.call(c));
    let error = call.and_then(|c| c.outcome.errno());
    error.is_some_and(Errno::proves_stream)
}

/// The attempt that a `connect` call began.
fn of_call(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
    a: AssociationId,
    flow: Option<(&mut SynFlow, How)>,
) -> Attempt {
    let this = &sockets.list[a];
    let to = this.peer.unwrap_or(Endpoint::new([0, 0, 0, 0].into(), 0));
    let mut connection = Attempt {
        to,
        wire_to: None,
        from: this.local,
        task: Some(processes.complete(&this.task)),
        process: Some(this.process),
        association: Some(a),
        origin: Origin::Traced,
        role: role(evidence, to, Origin::Traced),
        called: Some(this.opened),
        syns: Vec::new(),
        repeats: 0,
        first_syn: None,
        outcome: Ending::Open(SynAnswer::Unknown),
        ended: None,
        ended_by: None,
        cause: Some(Cause {
            how: How::Call,
            call: this.connect,
        }),
        replies: Replies::default(),
        opening: Opening::default(),
    };
    if let Some((flow, how)) = flow {
        connection.replies = std::mem::take(&mut flow.replies);
        connection.opening = flow.opening;
        connection.wire_to = Some(flow.server);
        connection.from = Some(flow.client);
        connection.cause = Some(Cause {
            how,
            call: this.connect,
        });
        connection.first_syn = Some(flow.first);
        connection.syns = std::mem::take(&mut flow.syns);
        connection.repeats = flow.repeats;
        (connection.outcome, connection.ended, connection.ended_by) =
            (flow.take_ending(), flow.ended, flow.ended_by);
    }
    if connection.outcome.is_open() {
        calls::conclude(evidence, this, sockets.calls(a), &mut connection);
    }
    if let Some(absence) = silence(evidence, &connection) {
        match &mut connection.outcome {
            Ending::Open(answer) | Ending::TimedOut(answer) => *answer = SynAnswer::Absent(absence),
            Ending::Connected | Ending::Refused | Ending::Unreachable | Ending::NoSyn(_) => {}
        }
    }
    connection
}

/// How many errors that a host sent to itself are held against its attempts.
const MAX_ERRORS: usize = 1_000;

/// Ends an attempt without a SYN at the error that the host sent to itself about it: nobody answered its search for the
/// neighbour. The call of a socket that does not block had returned long before.
fn told_itself(evidence: &Evidence, told: &[(EventId, &Quote)], attempt: &mut Attempt) {
    let pending = attempt.outcome.lacks_syn() || attempt.outcome.is_open();
    let (Some(called), None, None) = (attempt.called, attempt.first_syn, attempt.ended) else {
        return;
    };
    let about = |(event, quote): &&(EventId, &Quote)| {
        let at = evidence.event(*event).at;
        let port = attempt.from.map_or(quote.flow.src.port, |from| from.port);
        quote.flow.dst == attempt.to
            && quote.flow.src.port == port
            && at >= called - evidence.tolerance
            && at <= called + NEIGHBOUR_SEARCH + evidence.tolerance
    };
    if let Some((event, _)) = told.iter().find(about).filter(|_| pending) {
        if attempt.outcome.is_open() {
            attempt.outcome = Ending::Unreachable;
        }
        (attempt.ended, attempt.ended_by) = (Some(evidence.event(*event).at), Some(*event));
    }
}

/// An attempt that no call shows.
fn of_wire(evidence: &Evidence, processes: &Processes, flow: SynFlow) -> Attempt {
    let asker = { flow.syns.first() }.map(|syn| Asker::of_packet(evidence, *syn));
    let Asker {
        origin,
        cause,
        task,
    } = asker.unwrap_or(Asker::UNKNOWN);
    let forgotten = evidence.coverage.shows_attempt(flow.first).is_err();
    let origin = match origin {
        Origin::Untraced if forgotten && evidence.has_trace() => Origin::NotAttributable,
        origin => origin,
    };
    // Nobody answered, and no further SYN came when it was due: the client gave up before. Older systems wait 3 s
    // before the second one (RFC 1122), and a capture's end may hide one.
    let due = flow.due;
    let latest = due.max(flow.last + Span::seconds(4));
    let given_up = evidence.coverage.shows_giving_up(latest, evidence.end());
    let mut attempt = Attempt {
        to: flow.server,
        wire_to: Some(flow.server),
        from: Some(flow.client),
        process: task.as_ref().map(|t| processes.of(t)),
        task: task.map(|t| processes.complete(&t)),
        association: None,
        origin,
        role: role(evidence, flow.server, origin),
        called: None,
        first_syn: Some(flow.first),
        outcome: flow.ending,
        ended: flow.ended,
        ended_by: flow.ended_by,
        syns: flow.syns,
        repeats: flow.repeats,
        cause,
        replies: flow.replies,
        opening: flow.opening,
    };
    if let Some(absence) = silence(evidence, &attempt) {
        let answer = SynAnswer::Absent(absence);
        if given_up {
            (attempt.outcome, attempt.ended) = (Ending::TimedOut(answer), Some(due));
        } else {
            attempt.outcome = Ending::Open(answer);
        }
    }
    attempt
}

/// The witness that nothing answered an attempt whose end is not known, or that the client gave up.
fn silence(evidence: &Evidence, attempt: &Attempt) -> Option<Absence> {
    let unanswered = attempt.outcome.is_open() || attempt.outcome.is_timeout();
    let coverage = evidence.coverage;
    if unanswered && coverage.shows_no_reply(attempt.replies.is_empty()) {
        no_answer(evidence, attempt).ok()
    } else {
        None
    }
}

/// Whether the inputs show that nothing answered an attempt: a capture that would hold the answer, else the client's
/// own waiting.
fn no_answer(evidence: &Evidence, attempt: &Attempt) -> Result<Absence, Blind> {
    let end = attempt.ended.unwrap_or(evidence.end());
    let by_calls = || {
        let waited = attempt.called.map_or(Span::ZERO, |at| end - at);
        let gave_up = attempt.is_pending(evidence) || attempt.outcome.is_timeout();
        // A client that never waited for its connect has not shown that nothing came.
        let never_waited = !gave_up && attempt.first_syn.is_none();
        let gave_up = gave_up.then_some(true).or(never_waited.then_some(false));
        let patience = WaitEvidence { waited, gave_up };
        evidence.coverage.waited_in_vain(patience)
    };
    let Some(first) = attempt.first_syn else {
        return by_calls();
    };
    let wanted = Wanted {
        kind: ClaimKind::SynAnswer,
        from: Some(attempt.wire_to.unwrap_or(attempt.to).ip),
        to: attempt.from.map(|f| f.ip),
        netns: None,
    };
    let shown = evidence.coverage.would_show(wanted, first, end);
    let own = attempt.called.is_some();
    shown.or_else(|blind| if own { by_calls() } else { Err(blind) })
}

fn role(evidence: &Evidence, to: Endpoint, origin: Origin) -> Role {
    if evidence.is_dns_port(to.port) || to.port == DNS_OVER_TLS {
        Role::Resolver
    } else if origin == Origin::Untraced {
        Role::Other
    } else if origin == Origin::NotAttributable {
        Role::NotAttributable
    } else if origin == Origin::Unattributed {
        Role::Unattributed
    } else {
        Role::Server
    }
}

/// What an ICMP error about a packet says.
pub(super) fn refusal(
    at: Timestamp,
    event: EventId,
    kind: crate::event::IcmpKind,
) -> Option<Refusal> {
    is_refusal(kind).map(|refused| Refusal { at, event, refused })
}

/// Whether an ICMP error means that the far end refused, rather than that it cannot be reached; `None`: neither.
pub fn is_refusal(kind: crate::event::IcmpKind) -> Option<bool> {
    use crate::event::IcmpKind::{
        HostUnreachable, NetUnreachable, Other, PortUnreachable, Prohibited, TimeExceeded, TooBig,
    };
    match kind {
        PortUnreachable | Prohibited => Some(true),
        HostUnreachable | NetUnreachable | TimeExceeded | Other(_) => Some(false),
        TooBig => None,
    }
}

/// How long after its call a SYN may still leave.
pub fn departure_limit(call_lasted: Option<Span>) -> Span {
    call_lasted.unwrap_or_default().max(NEIGHBOUR_SEARCH)
}
