//! Each query of the case and the call that caused it.
//!
//! Transaction ids are no key: glibc sends the same id to every resolver in every round, and several
//! processes may use one port and one id in turn. What identifies a query is its socket, resolver,
//! question and time.

mod matcher;
#[cfg(test)]
mod tests;

use super::connect::Attempt;
use super::owners::{self, Owned};
use super::process::Processes;
use super::sent::Sent;
use super::socket::Sockets;
use super::unsent;
use super::{
    Asked, AssociationId, Cause, ConnectionId, Departure, EventId, Evidence, How, IdVec, Origin,
    QueryId, Refusal, Sending, Silence,
};
use crate::coverage::{Absence, Blind, ClaimKind, Wanted};
use crate::event::dns::{Message, Name, Question, RecordType};
use crate::event::{EventKind, Op, Packet, Service, Task};
use crate::flow::{Endpoint, FiveTuple};
use crate::time::{Span, Timestamp};
use matcher::{Matcher, Sender};

/// How far beyond the capture's first and last packet its silence still says something. A resolver that
/// is absent from the link leaves the capture empty for as long as the client keeps asking it.
const CAPTURE_REACH: Span = Span::seconds(40);

/// A query packet of the capture.
struct OnWire<'a> {
    event: EventId,
    at: Timestamp,
    flow: FiveTuple,
    message: &'a Message,
    candidate: bool,
}

/// All queries of the case in order of time.
pub fn queries(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
    sent: Vec<Sent>,
    attempts: &IdVec<ConnectionId, Attempt>,
) -> IdVec<QueryId, Sending> {
    // What failed at once has no packet.
    let (failed, sent): (Vec<Sent>, Vec<Sent>) = sent.into_iter().partition(|s| s.failed);
    let matcher = Matcher::new(evidence, sockets, attempts, on_wire(evidence), sent);
    let matches = matcher.run(attempts);
    let mut queries: Vec<Sending> = Vec::with_capacity(matches.packets.len());
    for (packet, sender) in matches.packets {
        // A plausible message between odd ports counts only where a call proves it.
        if !packet.candidate || sender.is_some() {
            queries.push(Sending {
                asked: from_packet(evidence, processes, sockets, &packet, sender),
                departure: Departure::Left,
            });
        }
    }
    for sent in failed {
        queries.push(from_call(evidence, processes, sockets, sent, None));
    }
    for (sent, local) in matches.unseen {
        if sent.message.is_some() || !evidence.has_capture() || captured(evidence, sent.at) {
            queries.push(from_call(evidence, processes, sockets, sent, local));
        }
    }
    if !evidence.has_trace() {
        let unsent = unsent::queries(evidence, processes, &queries);
        queries.extend(unsent);
    }
    queries
        .sort_by_key(|Sending { asked: q, .. }| (q.sent, q.packet, q.cause.and_then(|c| c.call)));
    queries.into()
}

fn on_wire<'a>(evidence: &Evidence<'a>) -> Vec<OnWire<'a>> {
    let mut list = Vec::new();
    for (event, e) in evidence.numbered() {
        let EventKind::Packet(Packet::Dns {
            flow,
            service,
            message,
        }) = &e.what
        else {
            continue;
        };
        let candidate = *service == Service::Candidate;
        let asked =
            candidate || *service == Service::Unicast && evidence.is_dns_port(flow.dst.port);
        if !message.response && asked {
            list.push(OnWire {
                event,
                at: e.at,
                flow: *flow,
                message,
                candidate,
            });
        }
    }
    list
}

fn from_packet(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
    packet: &OnWire,
    sender: Option<Sender>,
) -> Asked {
    let Asker {
        origin,
        cause,
        task,
    } = match sender {
        Some(sender) => Asker {
            origin: Origin::Traced,
            cause: Some(Cause {
                how: sender.how,
                call: sender.call,
            }),
            task: sending_task(evidence, processes, sockets, packet.at, sender),
        },
        None if evidence.coverage.shows_owner(packet.at).is_err() => Asker {
            origin: Origin::NotAttributable,
            ..Asker::UNKNOWN
        },
        None => Asker::of_packet(evidence, packet.event),
    };
    let socket = sender.filter(|s| s.how == How::Socket);
    let process = match socket.and_then(|s| s.association) {
        Some(a) => Some(sockets.list[a].process),
        None => task.as_ref().map(|t| processes.of(t)),
    };
    let question = packet.message.question.clone().unwrap_or_else(no_question);
    Asked {
        question,
        opcode: packet.message.opcode,
        id: Some(packet.message.id),
        edns: packet.message.complete.then_some(packet.message.edns),
        transport: packet.flow.transport,
        client: Some(packet.flow.src),
        resolver: sender.map_or(packet.flow.dst, |s| s.resolver),
        sent: packet.at,
        packet: Some(packet.event),
        cause,
        origin,
        process,
        task: task.map(|t| processes.complete(&t)),
        association: sender.and_then(|s| s.association),
        implied: false,
    }
}

/// The thread that sent a packet of a socket of the trace.
fn sending_task(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
    at: Timestamp,
    sender: Sender,
) -> Option<Task> {
    let task = task_of(evidence, sockets, sender.call, sender.association)?;
    let hidden = sender.how == How::Socket && evidence.lacks_sends();
    Some(match sender.association.filter(|_| hidden) {
        Some(a) => sockets.sender(processes, a, at),
        None => task,
    })
}

/// Who sent a query or SYN.
#[derive(Clone, Debug, PartialEq)]
pub struct Asker {
    /// Whose it is.
    pub origin: Origin,
    /// How that is known.
    pub cause: Option<Cause>,
    /// The thread, or the process alone.
    pub task: Option<Task>,
}

impl Asker {
    /// Nothing is known of it.
    pub const UNKNOWN: Self = Self {
        origin: Origin::Unknown,
        cause: None,
        task: None,
    };

    /// The sender of a packet that no call is known to have sent.
    pub fn of_packet(evidence: &Evidence, packet: EventId) -> Self {
        let nobody = |origin| Self {
            origin,
            ..Self::UNKNOWN
        };
        match evidence.owners.of_packet(packet) {
            Some(Owned::Watched { look, wait }) => {
                let socket = owners::socket_of(evidence.events, wait.unwrap_or(look));
                let watched = evidence.owners.watched();
                let inexact = watched.is_some_and(|w| w.inexact.is_some());
                let how = if inexact { How::Inferred } else { How::Socket };
                Self {
                    origin: Origin::Watched,
                    cause: Some(Cause { how, call: None }),
                    task: socket.map(owners::task_of),
                }
            }
            Some(Owned::Others) => nobody(Origin::Untraced),
            Some(Owned::Unattributed(_)) => nobody(Origin::Unattributed),
            None if evidence.has_trace() => nobody(Origin::Untraced),
            None => nobody(Origin::Unknown),
        }
    }
}

fn from_call(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
    sent: Sent,
    local: Option<Endpoint>,
) -> Sending {
    let task = task_of(evidence, sockets, Some(sent.call), sent.association);
    let implied = sent.message.is_none();
    let error = Refusal {
        at: sent.at,
        event: sent.call,
        refused: false,
    };
    let shown = if implied {
        evidence.coverage.shows_unsent()
    } else {
        Ok(())
    };
    let departure = match shown.and_then(|()| unseen(evidence, &sent, local)) {
        _ if sent.failed => Departure::NeverLeft(Silence::Refused(error)),
        Ok(absence) => Departure::NeverLeft(Silence::Absent(absence)),
        Err(_) => Departure::Left,
    };
    let message = sent.message;
    let asked = Asked {
        opcode: message.as_ref().map_or(0, |m| m.opcode),
        id: message.as_ref().map(|m| m.id),
        edns: message.as_ref().filter(|m| m.complete).map(|m| m.edns),
        question: message
            .and_then(|m| m.question)
            .map_or_else(no_question, whole),
        transport: sent.transport,
        client: local,
        resolver: sent.resolver,
        sent: sent.at,
        packet: None,
        cause: Some(Cause {
            how: if implied { How::Inferred } else { How::Call },
            call: Some(sent.call),
        }),
        origin: Origin::Traced,
        process: task.as_ref().map(|t| processes.of(t)),
        task: task.map(|t| processes.complete(&t)),
        association: sent.association,
        implied,
    };
    Sending { asked, departure }
}

/// A question that a log cut short, completed where only one ending is possible.
fn whole(question: Question) -> Question {
    match question.name.completed().filter(|_| question.cut) {
        Some(name) => Question {
            name,
            kind: question.kind.or(Some(RecordType::PTR)),
            cut: false,
        },
        None => question,
    }
}

/// Whether a capture would have shown the packet that a call sent.
fn unseen(evidence: &Evidence, sent: &Sent, local: Option<Endpoint>) -> Result<Absence, Blind> {
    let note = evidence.call(sent.call).and_then(|call| match &call.op {
        Op::Send { fd, .. } | Op::Connect { fd, .. } => fd.note.as_ref(),
        _ => None,
    });
    let wanted = Wanted {
        kind: ClaimKind::Query,
        from: local.map(|l| l.ip),
        to: Some(sent.resolver.ip),
        netns: note.and_then(|n| n.netns),
    };
    evidence.coverage.would_show(wanted, sent.at, sent.at)
}

/// Whether a capture was running then, as far as its packets tell.
fn captured(evidence: &Evidence, at: Timestamp) -> bool {
    evidence.captures.iter().any(|c| match (c.first, c.last) {
        (Some(first), Some(last)) => at >= first - CAPTURE_REACH && at <= last + CAPTURE_REACH,
        _ => false,
    })
}

fn task_of(
    evidence: &Evidence,
    sockets: &Sockets,
    call: Option<EventId>,
    association: Option<AssociationId>,
) -> Option<crate::event::Task> {
    match call.and_then(|c| evidence.call(c)) {
        Some(call) => Some(call.task.clone()),
        None => association.map(|a| sockets.list[a].task.clone()),
    }
}

fn no_question() -> Question {
    Question {
        name: Name::unknown(),
        kind: None,
        cut: true,
    }
}
