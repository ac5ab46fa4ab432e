//! The DNS messages that calls sent and received.

use super::process::Processes;
use super::socket::Sockets;
use super::{AssociationId, EventId, Evidence, IdVec, ProcessId};
use crate::event::dns;
use crate::event::{Op, SocketStyle, What};
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
}

impl Sent {
    /// What it asks, where its payload shows that.
    pub fn question(&self) -> Option<&dns::Question> {
        self.message.as_ref().and_then(|m| m.question.as_ref())
    }
}

/// Lists the queries that calls sent. In a process of which the log shows no DNS payload at all (an
/// `-e connect` log, or Go's and busybox's `write`), each connect of a datagram socket to a resolver
/// stands for one query of unknown content.
pub fn list(evidence: &Evidence, processes: &Processes, sockets: &Sockets) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut spoken: IdVec<ProcessId, bool> = IdVec::from(vec![false; processes.len().max(1)]);
    for (id, event) in evidence.numbered() {
        let What::Call(call) = &event.what else {
            continue;
        };
        let Op::Send { fd, messages } = &call.op else {
            continue;
        };
        let association = sockets.of(id);
        let known = association.map(|a| &sockets.list[a]);
        let peer = known
            .and_then(|a| a.peer)
            .or_else(|| fd.note.as_ref().and_then(|n| n.peer));
        let stream = known.is_some_and(|a| a.style == SocketStyle::Stream);
        if call.outcome.value().is_none() && !matches!(call.outcome, crate::event::Outcome::Unknown)
        {
            // A send that failed handed nothing over.
            continue;
        }
        for message in messages.iter().filter(|m| m.taken) {
            let Some(resolver) = message
                .peer
                .or(peer)
                .filter(|to| evidence.is_dns_port(to.port))
            else {
                continue;
            };
            for dns in message.dns.iter().filter(|m| !m.response) {
                spoken[processes.of(&call.task)] = true;
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
                });
            }
        }
    }
    for (a, association) in sockets.list.entries() {
        let (Some(call), Some(resolver), false) = (
            association.connect,
            association.peer,
            spoken[association.process],
        ) else {
            continue;
        };
        let failed = evidence
            .call(call)
            .is_some_and(|c| c.outcome.value().is_none());
        if evidence.is_dns_port(resolver.port)
            && association.style != SocketStyle::Stream
            && !failed
        {
            all.push(Sent {
                call,
                at: association.opened,
                association: Some(a),
                process: association.process,
                resolver,
                transport: Transport::Udp,
                message: None,
            });
        }
    }
    all.sort_by_key(|s| (s.at, s.call));
    all
}
