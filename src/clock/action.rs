//! By what the same action is known in a trace and in a capture.

use crate::event::{Address, Call, Op, SocketType};
use crate::flow::Endpoint;
use std::collections::HashMap;

/// The same action, as either input shows it.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
pub enum ActionKey {
    /// A query to a resolver with an id.
    Query(Endpoint, u16),
    /// A response of a resolver with an id.
    Answer(Endpoint, u16),
    /// A connection attempt.
    Syn(Endpoint),
    /// A connect to a resolver and the first query to it: weaker, for logs without sends.
    Resolver(Endpoint),
}

/// Where the descriptors of a trace lead: without `-yy` a send does not say whereto, but the last connect of its
/// descriptor does.
#[derive(Default)]
pub struct Peers {
    peers: HashMap<(Option<u32>, i32), Endpoint>,
    datagrams: HashMap<(Option<u32>, i32), bool>,
}

impl Peers {
    /// Follows a call.
    pub fn follow(&mut self, call: &Call) {
        let owner = owner(call);
        match &call.op {
            Op::Connect {
                fd,
                to: Address::Inet(to),
            } => {
                self.peers.insert((owner, fd.number), *to);
            }
            Op::Socket { kind, fd } => {
                let datagram = kind.style == SocketType::Datagram;
                self.datagrams.insert((owner, fd.number), datagram);
                self.peers.remove(&(owner, fd.number));
            }
            _ => {}
        }
    }

    /// The remote end of a call's descriptor.
    pub fn peer(&self, call: &Call) -> Option<Endpoint> {
        let fd = call.op.fd()?;
        let noted = fd.note.as_ref().and_then(|n| n.peer);
        noted.or_else(|| self.peers.get(&(owner(call), fd.number)).copied())
    }

    /// What the packet of a call is known by, for calls that certainly have one.
    pub fn key_of(&self, call: &Call, dns_ports: &[u16]) -> Option<ActionKey> {
        match &call.op {
            Op::Connect {
                fd,
                to: Address::Inet(to),
            } if !dns_ports.contains(&to.port) => {
                // getaddrinfo sorts addresses by connecting datagram sockets (RFC 6724).
                let noted = fd.note.as_ref().and_then(|n| n.socket);
                let datagram = noted.map_or_else(
                    || self.datagrams.get(&(owner(call), fd.number)) == Some(&true),
                    |kind| kind.style == SocketType::Datagram,
                );
                (!datagram).then_some(ActionKey::Syn(*to))
            }
            Op::Send { messages, .. } => {
                let (message, dns) = messages.iter().find_map(|m| Some((m, m.dns.first()?)))?;
                let to = message.peer.or_else(|| self.peer(call))?;
                (!dns.response).then_some(ActionKey::Query(to, dns.id))
            }
            Op::Receive { messages, .. } => {
                let (message, dns) = messages.iter().find_map(|m| Some((m, m.dns.first()?)))?;
                let from = message.peer.or_else(|| self.peer(call))?;
                dns.response.then_some(ActionKey::Answer(from, dns.id))
            }
            _ => None,
        }
    }
}

fn owner(call: &Call) -> Option<u32> {
    call.task.pid.or(call.task.tid)
}
