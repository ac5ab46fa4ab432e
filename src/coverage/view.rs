//! What one capture shows.

use super::{Blind, ClaimKind, Wanted};
use crate::event::{Address, Call, CallOutcome, Event, EventKind, Op, Packet, Service, SocketType};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::input::drops::DropTimes;
use crate::input::{CaptureFacts, PacketCount};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// How far beyond a capture's first and last packet its silence still says something: the clocks of two inputs differ by
/// what a call takes. A resolver that is absent from the link leaves requests for its hardware address in a capture.
const REACH: Span = Span::millis(20);

/// How many hosts are remembered: what goes beyond is a flood, and nothing is claimed about its directions.
const MAX_HOSTS: usize = 65_536;

/// How many of the things that calls prove are remembered.
const MAX_PROVEN: usize = 1_000;

/// One capture.
#[derive(Clone, Debug)]
pub(super) struct CaptureView {
    /// Its position among the inputs.
    pub input: u16,
    own: bool,
    span: Option<(Timestamp, Timestamp)>,
    filter: Option<String>,
    /// Packets that were dropped at any time.
    dropped: u64,
    drop_times: DropTimes,
    not_kept: Option<PacketCount>,
    cut_off: bool,
    hidden_messages: u64,
    unread: Option<(String, u64)>,
    /// It holds DNS messages.
    any_dns: bool,
    /// Hosts that asked.
    dns: HashSet<IpAddr>,
    /// Hosts that sent SYNs.
    syns: HashSet<IpAddr>,
    loopback: bool,
    /// Hosts that something was sent to.
    reached: HashSet<IpAddr>,
    /// Hosts that acknowledged what is not in the capture.
    unheard: HashSet<IpAddr>,
    /// Addresses that somebody on the link looked for in vain.
    sought: HashSet<IpAddr>,
    /// What calls prove to be missing.
    missing: Vec<Proven>,
    /// Network namespaces of sockets whose packets it holds; empty where no trace tells.
    namespaces: HashSet<u64>,
}

impl CaptureView {
    pub fn new(facts: &CaptureFacts, own: bool) -> Self {
        Self {
            input: facts.input,
            own,
            span: facts.first.zip(facts.last),
            filter: facts.filter.clone(),
            dropped: facts.untimed_drops(),
            drop_times: facts.drop_times.clone(),
            not_kept: facts.omitted.perhaps_own(),
            cut_off: facts.damaged,
            hidden_messages: facts.hidden_messages,
            unread: facts.unread.iter().max_by_key(|(_, n)| *n).cloned(),
            any_dns: false,
            dns: HashSet::new(),
            syns: HashSet::new(),
            loopback: false,
            reached: HashSet::new(),
            unheard: HashSet::new(),
            sought: HashSet::new(),
            missing: Vec::new(),
            namespaces: HashSet::new(),
        }
    }

    /// Why the lack of a packet in this capture proves nothing; `None`: it proves that there was none.
    pub fn blind(&self, wanted: Wanted, from: Timestamp, until: Timestamp) -> Option<Blind> {
        self.hole(from, until)
            .or_else(|| self.other_place(wanted))
            .or_else(|| self.other_kind(wanted))
            .or_else(|| self.other_direction(wanted))
            .or_else(|| self.proven_wrong(wanted, from, until))
    }

    /// Calls prove that the capture lacks packets of this kind: before it began, after it ended, or in between; then
    /// it lacks others too.
    fn proven_wrong(&self, wanted: Wanted, from: Timestamp, until: Timestamp) -> Option<Blind> {
        let (first, last) = self.span?;
        let here = |m: &&Proven| {
            let elsewhere = m.netns.zip(wanted.netns).is_some_and(|(a, b)| a != b);
            m.dns == wanted.kind.is_dns() && !elsewhere
        };
        let mut missing = self.missing.iter().filter(here);
        let wrong = missing.any(|m| {
            if m.at < first {
                from < first
            } else if m.at > last {
                until > last
            } else {
                true
            }
        });
        wrong.then_some(Blind::ProvenWrong)
    }

    /// What may be missing of an interval, whatever it is.
    pub fn hole(&self, from: Timestamp, until: Timestamp) -> Option<Blind> {
        if let Some(filter) = &self.filter {
            return Some(Blind::Filter(filter.clone()));
        }
        if self.dropped > 0 {
            return Some(Blind::Dropped(self.dropped));
        }
        if let Some(packets) = self.drop_times.within(from, until) {
            return Some(Blind::DroppedThen(packets));
        }
        if let Some(lacks) = &self.not_kept
            && from <= lacks.last
            && until >= lacks.first
        {
            return Some(Blind::NotKept(lacks.packets));
        }
        if let Some((kind, n)) = &self.unread {
            return Some(Blind::Unread(kind.clone(), *n));
        }
        if self.hidden_messages > 0 {
            let kind = "DNS messages cut by the snapshot length";
            return Some(Blind::Unread(kind.into(), self.hidden_messages));
        }
        match self.span {
            _ if self.own && !self.cut_off => None,
            None => Some(Blind::OtherTime),
            Some((_, last)) if self.cut_off && until > last => Some(Blind::CutOff),
            Some((first, last)) if from < first - REACH || until > last + REACH => {
                Some(Blind::OtherTime)
            }
            Some(_) => None,
        }
    }

    /// Whether it holds no DNS at all.
    pub fn lacks_dns(&self) -> Option<Blind> {
        (!self.any_dns && !self.own).then_some(Blind::NoDns)
    }

    fn other_place(&self, wanted: Wanted) -> Option<Blind> {
        let elsewhere = |n: u64| !self.namespaces.is_empty() && !self.namespaces.contains(&n);
        if wanted.netns.is_some_and(elsewhere) {
            return Some(Blind::OtherNamespace);
        }
        let mut ends = [wanted.from, wanted.to].into_iter().flatten();
        let inside = ends.any(|ip| ip.is_loopback());
        (inside && !self.loopback && !self.own).then_some(Blind::Loopback)
    }

    fn other_kind(&self, wanted: Wanted) -> Option<Blind> {
        let sought = wanted.to.is_some_and(|ip| self.sought.contains(&ip));
        if self.own || sought {
            return None;
        }
        if wanted.kind == ClaimKind::Reply {
            // Requests go to all hosts of a link, answers to the one that asked: a capture elsewhere lacks them.
            let to = wanted.to.filter(|ip| !self.reached.contains(ip));
            return to.map(Blind::OneDirection);
        }
        let (hosts, lacking) = if wanted.kind.is_dns() {
            (&self.dns, Blind::NoDns)
        } else {
            (&self.syns, Blind::NoSyns)
        };
        // Other hosts' packets say nothing about this client's.
        let seen = match wanted.client() {
            Some(client) => hosts.contains(&client) || hosts.len() >= MAX_HOSTS,
            None => !hosts.is_empty(),
        };
        (!seen).then_some(lacking)
    }

    /// A capture that lacks what a host acknowledged holds one direction only, or is taken behind another path; unless
    /// other packets to that host are in it, nothing to it can be said to be absent.
    fn other_direction(&self, wanted: Wanted) -> Option<Blind> {
        let answer = matches!(wanted.kind, ClaimKind::Response | ClaimKind::SynAnswer);
        let to = wanted.to.filter(|_| answer)?;
        // A host may have several addresses.
        let mut unheard = self.unheard.iter();
        let deaf = !self.reached.contains(&to) && unheard.any(|h| !self.reached.contains(h));
        deaf.then_some(Blind::OneDirection(to))
    }

    fn packet(&mut self, packet: &Packet, dns_ports: &[u16]) {
        match packet {
            Packet::Dns {
                flow,
                service,
                message,
            } => {
                let ports = [flow.src.port, flow.dst.port];
                let dns = ports.iter().any(|port| dns_ports.contains(port));
                self.any_dns |= dns || *service == Service::Unicast;
                if dns && !message.response {
                    remember(&mut self.dns, flow.src.ip);
                }
                self.ends(flow);
            }
            Packet::Tcp { flow, flags, .. } => {
                if flags.syn && !flags.ack {
                    remember(&mut self.syns, flow.src.ip);
                }
                self.ends(flow);
            }
            Packet::QuicInitial { flow } => self.ends(flow),
            // The same segments show nothing else.
            Packet::Opening { .. } => {}
            Packet::Icmp { to, quote, .. } => {
                if let Some(quote) = quote {
                    if dns_ports.contains(&quote.flow.dst.port) {
                        self.any_dns = true;
                        remember(&mut self.dns, quote.flow.src.ip);
                    } else if quote.flow.transport == Transport::Tcp {
                        remember(&mut self.syns, quote.flow.src.ip);
                    }
                    self.loopback |= quote.flow.src.ip.is_loopback();
                }
                remember(&mut self.reached, *to);
            }
            Packet::Neighbour {
                about,
                reply: false,
                ..
            } => remember(&mut self.sought, *about),
            Packet::Neighbour {
                about, reply: true, ..
            } => {
                self.sought.remove(about);
            }
        }
    }

    fn ends(&mut self, flow: &FiveTuple) {
        self.loopback |= flow.src.ip.is_loopback() || flow.dst.ip.is_loopback();
        remember(&mut self.reached, flow.dst.ip);
    }
}

fn remember(set: &mut HashSet<IpAddr>, host: IpAddr) {
    if set.len() < MAX_HOSTS {
        set.insert(host);
    }
}

/// SYNs whose SYN-ACK is still to come, by flow: their sequence numbers.
type OpenSyns = HashMap<(u16, FiveTuple), u32>;

/// What calls prove that no capture holds: when, and of which kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proven {
    at: Timestamp,
    dns: bool,
    netns: Option<u64>,
}

/// What the captures hold, as calls know it.
#[derive(Default)]
struct HeldPackets {
    /// The ids of responses; names may be cut in a trace.
    answers: HashSet<u16>,
    syns: HashSet<Endpoint>,
    ports: HashSet<u16>,
}

impl HeldPackets {
    fn packet(&mut self, packet: &Packet) {
        match packet {
            Packet::Dns { message, .. } if message.response => {
                self.answers.insert(message.id);
            }
            Packet::Tcp { flow, flags, .. } if flags.syn && !flags.ack => {
                if self.syns.len() < MAX_HOSTS {
                    self.syns.insert(flow.dst);
                }
                self.ports.insert(flow.src.port);
            }
            _ => {}
        }
    }

    /// What a call proves to be missing; nothing where so much is held that chance would answer.
    fn lacks(&self, at: Timestamp, call: &Call, dns_ports: &[u16]) -> Option<Proven> {
        let few = self.syns.len() < MAX_HOSTS;
        match &call.op {
            Op::Receive { fd, messages } if call.outcome.value().is_some() => {
                let peer = fd.note.as_ref().and_then(|n| n.peer);
                let missing = messages.iter().any(|m| {
                    let dns = m.peer.or(peer).is_some_and(|p| dns_ports.contains(&p.port));
                    let mut answers = m.dns.iter().filter(|d| d.response);
                    dns && answers.any(|d| !self.answers.contains(&d.id))
                });
                let netns = fd.note.as_ref().and_then(|n| n.netns);
                missing.then_some(Proven {
                    at,
                    dns: true,
                    netns,
                })
            }
            Op::Connect {
                fd,
                to: Address::Inet(to),
            } if few && matches!(call.outcome, CallOutcome::Returned(_)) => {
                let note = fd.note.as_ref()?;
                let stream = note.socket?.style == SocketType::Stream;
                let port = note.local.is_some_and(|l| self.ports.contains(&l.port));
                let missing = stream && !port && !self.syns.contains(to);
                missing.then_some(Proven {
                    at,
                    dns: false,
                    netns: note.netns,
                })
            }
            _ => None,
        }
    }
}

/// The network namespaces of the sockets whose packets are in some capture, by their local ends.
fn namespaces(events: &[Event]) -> HashSet<u64> {
    let mut ends: HashSet<Endpoint> = HashSet::new();
    for event in events {
        if let EventKind::Packet(packet) = &event.what
            && let Some(flow) = packet.flow()
            && ends.len() < MAX_HOSTS
        {
            ends.insert(flow.src);
        }
    }
    let notes = events.iter().filter_map(|event| match &event.what {
        EventKind::Call(call) => call.op.fd()?.note.as_ref(),
        _ => None,
    });
    let held = notes.filter(|n| n.local.is_some_and(|l| ends.contains(&l)));
    held.filter_map(|n| n.netns).collect()
}

/// What the calls prove that no capture holds.
fn proven(events: &[Event], dns_ports: &[u16]) -> Vec<Proven> {
    let mut held = HeldPackets::default();
    for event in events {
        if let EventKind::Packet(packet) = &event.what {
            held.packet(packet);
        }
    }
    let calls = events.iter().filter_map(|event| match &event.what {
        EventKind::Call(call) => held.lacks(event.at, call, dns_ports),
        _ => None,
    });
    calls.take(MAX_PROVEN).collect()
}

/// Reads into the views what the calls of a trace show of the captures.
pub(super) fn hold_against_calls(views: &mut [CaptureView], events: &[Event], dns_ports: &[u16]) {
    let missing = proven(events, dns_ports);
    let namespaces = namespaces(events);
    for view in views {
        view.missing.clone_from(&missing);
        view.namespaces.clone_from(&namespaces);
    }
}

/// Reads all packets into the views of their captures.
pub(super) fn look(views: &mut [CaptureView], events: &[Event], dns_ports: &[u16]) {
    let mut pending = OpenSyns::new();
    for event in events {
        let EventKind::Packet(packet) = &event.what else {
            continue;
        };
        let input = event.place.input;
        let Some(view) = views.iter_mut().find(|v| v.input == input) else {
            continue;
        };
        view.packet(packet, dns_ports);
        if let Some(host) = acknowledges_unseen(&mut pending, input, packet) {
            remember(&mut view.unheard, host);
        }
    }
}

/// The host that acknowledges a SYN-ACK which the capture lacks: the client goes on with SYN + 1 (RFC 9293, section 3.5).
fn acknowledges_unseen(pending: &mut OpenSyns, input: u16, packet: &Packet) -> Option<IpAddr> {
    let Packet::Tcp {
        flow, flags, seq, ..
    } = packet
    else {
        return None;
    };
    match (flags.syn, flags.ack) {
        (true, false) => {
            if pending.len() < MAX_HOSTS {
                pending.insert((input, *flow), *seq);
            }
            None
        }
        (true, true) => {
            pending.remove(&(input, flow.reversed()));
            None
        }
        (false, true) if !flags.rst => {
            let first = pending.remove(&(input, *flow))?;
            (*seq == first.wrapping_add(1)).then_some(flow.src.ip)
        }
        (false, _) => None,
    }
}
