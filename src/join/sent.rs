//! The DNS messages that calls sent and received.

use super::process::Processes;
use super::socket::{Association, Sockets};
use super::{AssociationId, EventId, Evidence, IdVec, ProcessId};
use crate::event::dns;
use crate::event::{CallOutcome, Errno, EventKind, Op, SocketType};
use crate::flow::{Endpoint, Transport};
use crate::time::Timestamp;

/// A DNS query in the payload of a call.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The sending call.
    pub call: EventId,
    /// When it was entered.
    pub at: Timestamp,
    /// Its socket.
    pub association: Option<AssociationId>,
    /// Its process.
    pub process: ProcessId,
    /// Where it went.
    pub resolver: Endpoint,
    /// UDP or TCP.
    pub transport: Transport,
    /// The message; `None` for a connect that stands for the query of a log without sends.
    pub message: Option<dns::Message>,
    /// The call failed: the message did not leave this host.
    pub failed: bool,
}

impl Sent {
    /// What it asks, where its payload shows that.
    pub fn question(&self) -> Option<&dns::Question> {
        self.message.as_ref().and_then(|m| m.question.as_ref())
    }
}

/// Whether a call failed because what it was to send cannot leave this host.
fn cannot_leave(outcome: &CallOutcome) -> bool {
    outcome.errno().is_some_and(Errno::cannot_leave)
}

/// Who answered on a socket after a call: best to the message with this id.
fn answering(
    evidence: &Evidence,
    sockets: &Sockets,
    socket: AssociationId,
    call: EventId,
    id: u16,
) -> Option<Endpoint> {
    let later = sockets.calls(socket).iter().filter(|c| **c > call);
    let received = later.filter_map(|c| match &evidence.call(*c)?.op {
        Op::Receive { messages, .. } => Some(messages),
        _ => None,
    });
    let mut anyone = None;
    for message in received.flatten() {
        let own = message.dns.iter().any(|m| m.response && m.id == id);
        if own && message.peer.is_some() {
            return message.peer;
        }
        anyone = anyone.or(message.peer);
    }
    anyone
}

/// Lists the queries that calls sent. In a process of which the log shows no DNS payload at all (an
/// `-e connect` log, or Go's and busybox's `write`), each connect of a datagram socket to a resolver
/// stands for one query of unknown content.
pub fn list(evidence: &Evidence, processes: &Processes, sockets: &Sockets) -> Vec<Sent> {
    let mut all = payloads(evidence, processes, sockets);
    let mut spoken: IdVec<ProcessId, bool> = IdVec::from(vec![false; processes.len().max(1)]);
    for sent in &all {
        spoken[sent.process] = true;
    }
    let connects = { sockets.list.entries() }
        .filter_map(|(a, socket)| connect_alone(evidence, a, socket, spoken[socket.process]));
    all.extend(connects);
    all.sort_by_key(|s| (s.at, s.call));
    all
}

/// The queries in the payloads of calls.
fn payloads(evidence: &Evidence, processes: &Processes, sockets: &Sockets) -> Vec<Sent> {
    let mut all = Vec::new();
    for (id, event) in evidence.numbered() {
        let EventKind::Call(call) = &event.what else {
            continue;
        };
        let Op::Send { fd, messages } = &call.op else {
            continue;
        };
        let failed = cannot_leave(&call.outcome);
        if matches!(call.outcome, CallOutcome::Failed(_)) && !failed {
            // It handed nothing over, and will be called again.
            continue;
        }
        let association = sockets.of(id);
        let known = association.map(|a| &sockets.list[a]);
        let peer = known
            .and_then(|a| a.peer)
            .or_else(|| fd.note.as_ref().and_then(|n| n.peer));
        let stream = known.is_some_and(|a| a.style == SocketType::Stream);
        for message in messages.iter().filter(|m| m.taken || failed) {
            for dns in message.dns.iter().filter(|m| !m.response) {
                // A socket that was connected before the trace began is known by who answers on it.
                let answered = || answering(evidence, sockets, association?, id, dns.id);
                let to = message.peer.or(peer).or_else(answered);
                let Some(resolver) = to.filter(|to| evidence.is_dns_port(to.port)) else {
                    continue;
                };
                all.push(Sent {
                    call: id,
                    at: event.at,
                    association,
                    process: processes.of(&call.task),
                    resolver,
                    transport: if stream {
                        Transport::Tcp
                    } else {
                        Transport::Udp
                    },
                    message: Some(dns.clone()),
                    failed,
                });
            }
        }
    }
    all
}

/// The query that the connect of a socket stands for:
///
/// 1. it is no stream socket's, and goes to a resolver,
/// 2. and it failed because nothing can leave this host; or it succeeded, in a process that has not `spoken`: no
///    payload of it is visible. (After a connect that succeeded, sends show more.)
fn connect_alone(
    evidence: &Evidence,
    a: AssociationId,
    socket: &Association,
    spoken: bool,
) -> Option<Sent> {
    let (call, resolver) = (socket.connect?, socket.peer?);
    let outcome = evidence.call(call).map(|c| &c.outcome);
    let failed = outcome.is_some_and(cannot_leave);
    let stands = failed || !spoken && outcome.is_some_and(|o| o.value().is_some());
    let asks = evidence.is_dns_port(resolver.port) && socket.style != SocketType::Stream;
    (asks && stands).then_some(Sent {
        call,
        at: socket.opened,
        association: Some(a),
        process: socket.process,
        resolver,
        transport: Transport::Udp,
        message: None,
        failed,
    })
}
