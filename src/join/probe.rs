//! What a host asks the network for beside DNS and connections: the hardware address of a neighbour (ARP, ND), a name
//! by multicast or broadcast (mDNS, LLMNR, `NetBIOS`), a server by QUIC. No system call of a client says so, and each of them may
//! hold a client up.
//!
//! A probe is all requests of one host for one thing that follow each other within `PAUSE`, until an answer:
//!
//! 1. a neighbour answers for its address; whoever then sends it a packet of its own has found it, too;
//! 2. a name is answered by a response with addresses to the host, or to all by multicast;
//! 3. a server answers QUIC with an Initial packet of its own.

use super::{EventId, Evidence};
use crate::coverage::{Absence, Blind, ClaimKind, Wanted};
use crate::event::dns::{Message, Name, RecordType};
use crate::event::{EventKind, Packet, Service};
use crate::flow::{Endpoint, FiveTuple, HTTPS_PORT};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;

/// Requests farther apart are two probes. QUIC doubles its first second twice (RFC 9002 section 6.2.2), mDNS too
/// (RFC 6762 section 5.2).
const PAUSE: Span = Span::millis(4_500);
/// So many requests of one probe are evidence.
const MAX_EVIDENCE: usize = 8;
/// So many probes are followed at once: a scan of a network asks for each of its addresses.
const MAX_PROBES: usize = 10_000;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sought {
    /// The hardware address of a host on the link (RFC 826, RFC 4861).
    Neighbour(IpAddr),
    /// The address of a name.
    Name(NameProtocol, Name),
    /// A server that speaks QUIC (RFC 9000).
    Quic(Endpoint),
}

/// How a name is asked for on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameProtocol {
    /// RFC 6762.
    Mdns,
    /// RFC 4795.
    Llmnr,
    /// RFC 1002.
    NetBios,
}

impl NameProtocol {
    fn of(service: Service) -> Option<Self> {
        match service {
            Service::Mdns => Some(Self::Mdns),
            Service::Llmnr => Some(Self::Llmnr),
            Service::NetBios => Some(Self::NetBios),
            Service::Unicast | Service::Candidate => None,
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mdns => "mDNS",
            Self::Llmnr => "LLMNR",
            Self::NetBios => "NetBIOS",
        }
    }
}

impl Sought {
    /// How long after a request its sender waits for an answer, before it asks again or gives up.
    fn patience(&self) -> Span {
        match self {
            // ARP and ND: RETRANS_TIMER (RFC 4861 section 10), arp(7) retrans_time. mDNS: the first two transmissions are a
            // second apart (RFC 6762 section 5.2). QUIC: three times its first round-trip time (RFC 9002 section 6.2.2).
            Self::Neighbour(_) | Self::Name(NameProtocol::Mdns, _) | Self::Quic(_) => {
                Span::seconds(1)
            }
            // What Windows waits; RFC 4795 section 7 allows up to a second.
            Self::Name(NameProtocol::Llmnr, _) => Span::millis(410),
            // What Windows waits; BCAST_REQ_RETRY_TIMEOUT is 250 ms (RFC 1002 section 6).
            Self::Name(NameProtocol::NetBios, _) => Span::millis(750),
        }
    }
}

/// Requests of one host for one thing, and what came of them.
#[derive(Debug)]
pub struct Probe {
    /// Who asked.
    pub from: IpAddr,
    /// For what.
    pub what: Sought,
    /// The first request.
    pub began: Timestamp,
    /// The last one.
    pub last: Timestamp,
    /// How many there were.
    pub requests: usize,
    /// The first of them, and the answer.
    pub packets: Vec<EventId>,
    /// When its sender stopped waiting, as far as the packets show.
    pub until: Timestamp,
    /// What came of it.
    pub end: ProbeEnd,
}

/// What came of a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum ProbeEnd {
    /// Somebody answered, or the host went on as if.
    Answered {
        /// The addresses of a name.
        addresses: Vec<IpAddr>,
    },
    /// Nobody did.
    Silent(Absence),
    /// Nobody can say.
    Open(Blind),
}

impl Probe {
    /// Whether nobody answered.
    pub fn is_silent(&self) -> bool {
        matches!(self.end, ProbeEnd::Silent(_))
    }

    /// Whether its answer gave an address.
    pub fn gave(&self, address: IpAddr) -> bool {
        match (&self.end, &self.what) {
            (ProbeEnd::Answered { .. }, Sought::Neighbour(about)) => *about == address,
            (ProbeEnd::Answered { addresses, .. }, Sought::Name(..)) => {
                addresses.contains(&address)
            }
            _ => false,
        }
    }
}

/// A probe that is followed.
struct Following {
    probe: Probe,
    answered: Option<(Timestamp, Vec<IpAddr>)>,
    /// When its sender turned to TCP instead.
    turned: Option<Timestamp>,
}

/// All probes, in order of their beginning.
pub fn list(evidence: &Evidence) -> Vec<Probe> {
    let mut followed = Followed::default();
    for (id, event) in evidence.numbered() {
        if let EventKind::Packet(packet) = &event.what {
            followed.packet(Arrival { id, at: event.at }, packet);
        }
    }
    let mut list: Vec<Probe> = { followed.list.into_iter() }
        .map(|following| settled(evidence, following))
        .collect();
    list.sort_by_key(|probe| probe.began);
    list
}

/// Which packet it is, and when it passed.
#[derive(Clone, Copy)]
struct Arrival {
    id: EventId,
    at: Timestamp,
}

#[derive(Default)]
struct Followed {
    list: Vec<Following>,
    latest: HashMap<(IpAddr, Sought), usize>,
    /// Who looks for something, so that an answer to all finds them.
    seekers: HashMap<Sought, Vec<usize>>,
}

impl Followed {
    fn packet(&mut self, arrival: Arrival, packet: &Packet) {
        match packet {
            Packet::Neighbour {
                about,
                reply: false,
                from: Some(from),
            } => self.request(arrival, *from, Sought::Neighbour(*about)),
            Packet::Neighbour {
                about, reply: true, ..
            } => self.answer_all(arrival, &Sought::Neighbour(*about), &[]),
            Packet::QuicInitial { flow } if flow.dst.port == HTTPS_PORT => {
                self.request(arrival, flow.src.ip, Sought::Quic(flow.dst));
            }
            Packet::QuicInitial { flow } => {
                self.answer(arrival, flow.dst.ip, &Sought::Quic(flow.src), &[]);
            }
            Packet::Dns {
                flow,
                service,
                message,
            } => match NameProtocol::of(*service) {
                Some(protocol) => self.name(arrival, flow, protocol, message),
                None => self.found(arrival.at, flow),
            },
            Packet::Tcp { flow, .. } => {
                self.found(arrival.at, flow);
                self.turn(arrival.at, flow);
            }
            Packet::Neighbour { .. } | Packet::Icmp { .. } | Packet::Opening { .. } => {}
        }
    }

    /// A request for the address of a name, or a response; questions for services are none of a client's waits.
    fn name(
        &mut self,
        arrival: Arrival,
        flow: &FiveTuple,
        protocol: NameProtocol,
        message: &Message,
    ) {
        let Some(question) = &message.question else {
            return;
        };
        let kinds = [None, Some(RecordType::A), Some(RecordType::AAAA)];
        let what = Sought::Name(protocol, question.name.folded());
        if message.response {
            if protocol == NameProtocol::Mdns {
                self.answer_all(arrival, &what, &message.addresses);
            } else {
                self.answer(arrival, flow.dst.ip, &what, &message.addresses);
            }
        } else if kinds.contains(&question.kind) && !question.cut {
            self.request(arrival, flow.src.ip, what);
        }
    }

    fn request(&mut self, arrival: Arrival, from: IpAddr, what: Sought) {
        let Arrival { id, at } = arrival;
        let key = (from, what);
        if let Some(&known) = self.latest.get(&key) {
            let Following {
                probe, answered, ..
            } = &mut self.list[known];
            if answered.is_none() && at - probe.last <= PAUSE {
                probe.last = at;
                probe.requests += 1;
                if probe.packets.len() < MAX_EVIDENCE {
                    probe.packets.push(id);
                }
                return;
            }
        }
        if self.list.len() >= MAX_PROBES {
            return;
        }
        let (from, what) = key.clone();
        let new = self.list.len();
        self.seekers.entry(what.clone()).or_default().push(new);
        self.latest.insert(key, new);
        self.list.push(Following {
            probe: Probe {
                from,
                what,
                began: at,
                last: at,
                requests: 1,
                packets: vec![id],
                until: at,
                end: ProbeEnd::Open(Blind::After),
            },
            answered: None,
            turned: None,
        });
    }

    fn answer(&mut self, arrival: Arrival, to: IpAddr, what: &Sought, addresses: &[IpAddr]) {
        if let Some(&known) = self.latest.get(&(to, what.clone())) {
            self.settle(known, Some(arrival.id), arrival.at, addresses);
        }
    }

    fn answer_all(&mut self, arrival: Arrival, what: &Sought, addresses: &[IpAddr]) {
        for known in self.seekers.remove(what).unwrap_or_default() {
            self.settle(known, Some(arrival.id), arrival.at, addresses);
        }
    }

    /// Who sends a packet to a neighbour knows where it is, whatever the capture lacks.
    fn found(&mut self, at: Timestamp, flow: &FiveTuple) {
        if !self.latest.is_empty() {
            let key = (flow.src.ip, Sought::Neighbour(flow.dst.ip));
            if let Some(&known) = self.latest.get(&key) {
                self.settle(known, None, at, &[]);
            }
        }
    }

    /// Who sends a SYN to a server of which QUIC got no answer waits no longer for it.
    fn turn(&mut self, at: Timestamp, flow: &FiveTuple) {
        if flow.dst.port == HTTPS_PORT && !self.latest.is_empty() {
            let key = (flow.src.ip, Sought::Quic(flow.dst));
            if let Some(&known) = self.latest.get(&key) {
                self.list[known].turned.get_or_insert(at);
            }
        }
    }

    fn settle(&mut self, known: usize, by: Option<EventId>, at: Timestamp, addresses: &[IpAddr]) {
        let Following {
            probe, answered, ..
        } = &mut self.list[known];
        if answered.is_none() && at - probe.last <= PAUSE {
            *answered = Some((at, addresses.to_vec()));
            probe.packets.extend(by);
        }
    }
}

fn settled(evidence: &Evidence, following: Following) -> Probe {
    let Following {
        mut probe,
        answered,
        turned,
    } = following;
    let patience = probe.last + probe.what.patience();
    if let Some((at, addresses)) = answered {
        (probe.until, probe.end) = (at, ProbeEnd::Answered { addresses });
    } else {
        probe.until = turned.map_or(patience, |at| at.max(probe.last));
        probe.end = unanswered(evidence, &probe);
    }
    probe
}

fn unanswered(evidence: &Evidence, probe: &Probe) -> ProbeEnd {
    let wanted = Wanted {
        kind: ClaimKind::Reply,
        from: None,
        to: Some(probe.from),
        netns: None,
    };
    match evidence
        .coverage
        .would_show(wanted, probe.began, probe.until)
    {
        Ok(absence) => ProbeEnd::Silent(absence),
        Err(blind) => ProbeEnd::Open(blind),
    }
}
