//! The wire between the client and everybody else: a program that sees each frame, and decides as the recording says. It
//! answers for hardware addresses and for resolvers, loses SYNs, delays them or refuses them, and passes on all other
//! TCP to the servers' namespace.

use super::frames::{self, CLIENT, FAR, Frame};
use super::network::ClientSide;
use super::resolvers::Resolvers;
use crate::event::IcmpKind;
use crate::explain::scenario::choice::{Choice, WhoIsThere};
use crate::explain::scenario::responder::Reply;
use crate::explain::scenario::{PlayedHost, Presence, Scenario, SynEnd, SynReply};
use crate::flow::{DNS_PORT, Endpoint, Transport};
use crate::time::Span;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture, Direction};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The wire's own ends.
pub const NEAR: &str = "near";
/// Towards the servers.
pub const FAR_END: &str = "far";

/// Frames are no longer than the links allow: the largest packet, and the Ethernet header.
const SNAPLEN: i32 = 65_535 + 14;
/// Room for frames that were not looked at yet.
const RING: i32 = 4 << 20;
/// So many frames wait for their time; more are lost, as on a wire that is full.
const MAX_WAITING: usize = 10_000;
/// So many connection attempts are told apart.
const MAX_FLOWS: usize = 100_000;
/// A SYN that was answered sooner than this was answered at once: the played network takes as long itself.
const AT_ONCE: Span = Span::millis(1);

/// Where a frame is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Servers,
}

/// A frame that waits for its time: that, its number in the order of sending, where to, and itself.
type WaitingFrame = (Instant, u64, Side, Vec<u8>);

/// An ICMP error: when, what it says, and who says it.
type Complaint = (Span, IcmpKind, IpAddr);

/// The wire.
pub struct Wire {
    near: Capture<Active>,
    far: Capture<Active>,
    scenario: Arc<Scenario>,
    resolvers: Arc<Resolvers>,
    /// How many attempts went to an endpoint.
    attempts: HashMap<Endpoint, usize>,
    /// Which attempt a SYN belongs to, and how many of its SYNs came.
    flows: HashMap<(Endpoint, Endpoint, u32), (usize, usize)>,
    waiting: BinaryHeap<Reverse<WaitingFrame>>,
    sent: u64,
}

fn open(name: &str) -> Result<Capture<Active>, pcap::Error> {
    let capture = Capture::from_device(name)?
        .snaplen(SNAPLEN)
        .buffer_size(RING)
        .immediate_mode(true)
        .promisc(true)
        .open()?;
    capture.direction(Direction::In)?;
    capture.setnonblock()
}

impl Wire {
    /// Opens both ends, which are links of this namespace.
    pub fn open(scenario: Arc<Scenario>, resolvers: Arc<Resolvers>) -> Result<Self, pcap::Error> {
        Ok(Self {
            near: open(NEAR)?,
            far: open(FAR_END)?,
            scenario,
            resolvers,
            attempts: HashMap::new(),
            flows: HashMap::new(),
            waiting: BinaryHeap::new(),
            sent: 0,
        })
    }

    /// Works until the client's side is gone.
    pub fn run(mut self, client: &ClientSide) -> Result<(), pcap::Error> {
        loop {
            if self.wait(client) && !client.goes_on() {
                return Ok(());
            }
            while let Some(frame) = next(&mut self.near)? {
                self.take_from_client(&frame);
            }
            while let Some(frame) = next(&mut self.far)? {
                self.take_from_servers(frame);
            }
            self.send_due();
        }
    }

    /// Until a frame comes, or the next is to go, or something became of the client's side: whether it did.
    fn wait(&self, client: &ClientSide) -> bool {
        let due = self.waiting.peek().map(|Reverse((at, ..))| *at);
        let left = due.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            // A poll waits for whole milliseconds: the last part is spent below, awake.
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [
            PollFd::new(self.near.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.far.as_fd(), PollFlags::POLLIN),
            // Nothing is said any more: they can only end.
            PollFd::new(client.pipe.as_fd(), PollFlags::empty()),
            PollFd::new(client.called.as_fd(), PollFlags::empty()),
        ];
        // What else woke it is seen by reading.
        let _ = poll(&mut fds, timeout);
        fds[2..].iter().any(|fd| fd.any().unwrap_or(false))
    }

    fn send_due(&mut self) {
        let now = Instant::now() + Duration::from_micros(500);
        while let Some(Reverse((at, ..))) = self.waiting.peek()
            && *at <= now
        {
            let Some(Reverse((.., side, frame))) = self.waiting.pop() else {
                return;
            };
            self.send(side, &frame);
        }
    }

    /// Sends a frame. One that the link does not take is lost, as frames are.
    fn send(&mut self, side: Side, frame: &[u8]) {
        let link = match side {
            Side::Client => &mut self.near,
            Side::Servers => &mut self.far,
        };
        let _ = link.sendpacket(frame);
    }

    fn later(&mut self, after: Span, side: Side, frame: Vec<u8>) {
        if after <= AT_ONCE {
            return self.send(side, &frame);
        }
        if self.waiting.len() < MAX_WAITING {
            let nanos = u64::try_from(after.0).unwrap_or(0);
            let at = Instant::now() + Duration::from_nanos(nanos);
            self.sent += 1;
            self.waiting.push(Reverse((at, self.sent, side, frame)));
        }
    }

    fn take_from_client(&mut self, frame: &[u8]) {
        match Frame::read(frame) {
            Frame::WhoHas { asked, by } => self.who_has(asked, by),
            Frame::Udp { from, to, payload } => self.datagram(from, to, payload, frame),
            Frame::Tcp {
                from,
                to,
                syn: true,
                seq,
            } => self.syn(from, to, seq, frame),
            Frame::Tcp { .. } => {
                let mut frame = frame.to_vec();
                frames::complete_checksum(&mut frame);
                self.send(Side::Servers, &frame);
            }
            Frame::Other => {}
        }
    }

    fn take_from_servers(&mut self, mut frame: Vec<u8>) {
        match Frame::read(&frame) {
            // They only look for the client.
            Frame::WhoHas { asked, by } => {
                if let Some(answer) = frames::here_it_is(asked, by, CLIENT, FAR) {
                    self.send(Side::Servers, &answer);
                }
            }
            Frame::Tcp { .. } => {
                frames::complete_checksum(&mut frame);
                self.send(Side::Client, &frame);
            }
            Frame::Udp { .. } | Frame::Other => {}
        }
    }

    fn who_has(&mut self, asked: IpAddr, by: IpAddr) {
        let scenario = Arc::clone(&self.scenario);
        let Some(host) = scenario.hosts.get(&asked) else {
            if !scenario.client.contains(&asked) && !is_link_local(asked) {
                self.resolvers
                    .chose(Choice::There(WhoIsThere::UnknownHost(asked)));
            }
            return;
        };
        if host.presence == Presence::OnLink
            && let Some(answer) = frames::here_it_is(asked, by, FAR, CLIENT)
        {
            self.send(Side::Client, &answer);
        }
    }

    fn datagram(&mut self, from: Endpoint, to: Endpoint, payload: &[u8], frame: &[u8]) {
        let scenario = Arc::clone(&self.scenario);
        let Some(host) = scenario.hosts.get(&to.ip) else {
            return;
        };
        if !host.resolver_ports.contains(&to.port) && to.port != DNS_PORT {
            return self.error(
                (Span::ZERO, IcmpKind::PortUnreachable, to.ip),
                from.ip,
                frame,
            );
        }
        let act = self.resolvers.act(to.ip, Transport::Udp, payload);
        match act.reply {
            Reply::Nothing => {}
            Reply::Message { after, bytes, lost } => {
                if let Some(answer) = frames::udp(to, from, &bytes, lost) {
                    self.later(after, Side::Client, answer);
                }
            }
            Reply::Error(after) => {
                let (kind, by) = host.error.unwrap_or((IcmpKind::PortUnreachable, to.ip));
                self.error((after, kind, by), from.ip, frame);
            }
        }
    }

    fn error(&mut self, (after, kind, by): Complaint, to: IpAddr, about: &[u8]) {
        if let Some(error) = frames::error(kind, by, to, about) {
            self.later(after, Side::Client, error);
        }
    }

    fn syn(&mut self, from: Endpoint, to: Endpoint, seq: u32, frame: &[u8]) {
        let scenario = Arc::clone(&self.scenario);
        let Some(host) = scenario.hosts.get(&to.ip) else {
            return;
        };
        let reply = match self.attempt(host, from, to, seq) {
            Some((reply, before)) if before < reply.lost => return,
            Some((reply, _)) => reply.end,
            // A resolver that was never asked over TCP, and may be now.
            None if to.port == DNS_PORT && !host.resolver_ports.is_empty() => {
                SynEnd::Accepted(Span::ZERO)
            }
            None => {
                self.resolvers.chose(Choice::UnknownPort(to.ip, to.port));
                SynEnd::Refused(Span::ZERO)
            }
        };
        match reply {
            SynEnd::Silent => {}
            SynEnd::Accepted(after) => {
                let mut frame = frame.to_vec();
                frames::complete_checksum(&mut frame);
                self.later(after, Side::Servers, frame);
            }
            SynEnd::Refused(after) => {
                if let Some(reset) = frames::reset(to, from, seq) {
                    self.later(after, Side::Client, reset);
                }
            }
            SynEnd::Unreachable(after, kind, by) => self.error((after, kind, by), from.ip, frame),
        }
    }

    /// What the attempt of a SYN gets, and how many of its SYNs came before; `None`: nobody connected there.
    fn attempt(
        &mut self,
        host: &PlayedHost,
        from: Endpoint,
        to: Endpoint,
        seq: u32,
    ) -> Option<(SynReply, usize)> {
        let recorded = host.ports.get(&to.port)?;
        if self.flows.len() >= MAX_FLOWS {
            return recorded.last().map(|reply| (*reply, 0));
        }
        let attempts = &mut self.attempts;
        let (attempt, syns) = self.flows.entry((from, to, seq)).or_insert_with(|| {
            let attempts = attempts.entry(to).or_default();
            *attempts += 1;
            (*attempts - 1, 0)
        });
        *syns += 1;
        let reply = recorded.get(*attempt).or(recorded.last())?;
        Some((*reply, *syns - 1))
    }
}

/// The next frame that is there; `None`: none for now.
fn next(link: &mut Capture<Active>) -> Result<Option<Vec<u8>>, pcap::Error> {
    match link.next_packet() {
        Ok(packet) => Ok(Some(packet.data.to_vec())),
        Err(pcap::Error::TimeoutExpired) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The host's own chatter on a new link.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
