//! The network around the client of a case, as something that can be acted again: who answered what after how long, who was
//! silent, who was not there.
//!
//! Pure: a scenario is read out of a case here, and [`responder`] says what a resolver of it does with a message. Sockets
//! and namespaces are `session::reproduce`'s.

pub mod choice;
mod legs;
pub mod message;
pub mod responder;
#[cfg(test)]
mod tests;

use super::Case;
use super::schedule::server_behaviour::{RecordedReplies, ServerBehaviour};
use crate::event::dns::{Name, RecordType};
use crate::event::{Errno, EventKind, IcmpKind, Packet};
use crate::flow::{DNS_PORT, Endpoint, Transport};
use crate::join::connect::{Connection, Ending, Role, SynAnswer};
use crate::join::probe::Sought;
use crate::join::service::{ServiceReply, ServiceWait};
use crate::join::{EventId, Query, Received, Silence, State};
use crate::time::{Span, Timestamp};
use choice::{Choice, WhoIsThere};
pub use legs::Leg;
use legs::Legs;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// So many addresses of one client are given to the one that plays it.
const MAX_CLIENT_ADDRESSES: usize = 16;
/// So many remote hosts are played; a case of more is somebody's scan.
const MAX_HOSTS: usize = 1_000;
/// So many connection attempts to one port are remembered; the last stands for all that follow.
const MAX_ATTEMPTS: usize = 1_000;
/// A response that came so long after the client's end is not waited for.
const LONGEST_LINGER: Span = Span::seconds(10);
/// The longest path of a unix socket (`sun_path`, unix(7)).
const LONGEST_PATH: usize = 107;
/// How long a client of nscd waits for it: 5 s (`wait_on_socket` of glibc's `nscd_helper.c`), less what that may be off.
const NSCD_PATIENCE: Span = Span::millis(4_900);
/// Directories that name services have their sockets in.
const SERVICE_PLACES: [&str; 3] = ["/run/", "/var/run/", "/var/lib/sss/"];

/// Why a case cannot be acted again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// Nothing in it waits for anybody.
    #[error(
        "the case holds no DNS query, no connection attempt and no question to a name service: there is nothing to reproduce"
    )]
    Empty,
    /// It shows several hosts, and no trace says which of them is meant.
    #[error("the case has several clients ({0}); choose one with --client ADDRESS")]
    SeveralClients(String),
}

/// What is played.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The addresses that the client used, loopback aside.
    pub client: BTreeSet<IpAddr>,
    /// From which of them it spoke to whom.
    pub sources: BTreeMap<IpAddr, IpAddr>,
    /// All whom it spoke to, or tried to: on its links and on loopback.
    pub hosts: BTreeMap<IpAddr, PlayedHost>,
    /// What the resolvers among them do.
    pub replies: RecordedReplies,
    /// The responses, by the event that shows them.
    pub responses: HashMap<EventId, RecordedResponse>,
    /// What stubs on this host ask their own resolvers.
    pub legs: Legs,
    /// The addresses that the client connected to once it had looked up a name, in order.
    pub connected: HashMap<Name, Vec<IpAddr>>,
    /// Name services that the client asked over a unix socket.
    pub services: BTreeMap<String, Vec<PlayedWait>>,
    /// The client has IPv6: it asked for such addresses, or used one.
    pub ipv6: bool,
    /// When the client asked a resolver first.
    pub first_query: Option<Timestamp>,
    /// For how long after the client's end an answer still came.
    pub linger: Span,
    /// What the case does not tell, and what is done about it.
    pub choices: BTreeSet<Choice>,
}

/// A response as it can be given again.
#[derive(Clone, Debug)]
pub struct RecordedResponse {
    /// The message, where the capture holds all of it.
    pub bytes: Option<Arc<[u8]>>,
    /// What is known of it in any case.
    pub received: Received,
}

/// Somebody whom the client spoke to.
#[derive(Clone, Debug, Default)]
pub struct PlayedHost {
    /// Whether it can be reached at all.
    pub presence: Presence,
    /// Its UDP ports that DNS queries went to.
    pub resolver_ports: BTreeSet<u16>,
    /// How it says that it does not answer queries: the error, and who sends it.
    pub error: Option<(IcmpKind, IpAddr)>,
    /// What it does with the connection attempts to each port, in order.
    pub ports: BTreeMap<u16, Vec<SynReply>>,
}

/// Whether a host can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    #[default]
    OnLink,
    /// Nobody answers the search for its hardware address.
    Absent,
    /// The client's host has no way to it, and says so at once.
    NoRoute,
}

/// What becomes of one connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynReply {
    /// How many of its SYNs are lost first.
    pub lost: usize,
    /// What the next gets.
    pub end: SynEnd,
}

/// What a SYN gets. Times run from that SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynEnd {
    /// SYN-ACK.
    Accepted(Span),
    /// RST.
    Refused(Span),
    /// An ICMP error, and who sends it.
    Unreachable(Span, IcmpKind, IpAddr),
    /// Nothing.
    Silent,
}

/// One wait for a name service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayedWait {
    /// When it began.
    pub began: Timestamp,
    /// How long it said nothing.
    pub after: Span,
    /// It then said something.
    pub answered: bool,
    /// What it asked its own resolvers meanwhile.
    pub legs: Vec<Leg>,
}

impl Scenario {
    /// Reads it out of a case.
    pub fn of(case: &Case) -> Result<Self, ScenarioError> {
        let joined = case.joined;
        let mut this = Self {
            client: BTreeSet::new(),
            sources: BTreeMap::new(),
            hosts: BTreeMap::new(),
            replies: ServerBehaviour::new(case).of_case(),
            responses: HashMap::new(),
            legs: Legs::default(),
            connected: HashMap::new(),
            services: BTreeMap::new(),
            ipv6: false,
            first_query: first_query(case),
            linger: linger(case),
            choices: BTreeSet::new(),
        };
        for query in &joined.queries {
            this.query(case, query);
        }
        for connection in joined.connections.iter().filter(|c| c.is_clients()) {
            this.connection(case, connection);
        }
        this.absences(case);
        this.legs = Legs::of(case);
        this.services(case);
        if this.hosts.is_empty() && this.services.is_empty() {
            return Err(ScenarioError::Empty);
        }
        this.one_client(case)?;
        Ok(this)
    }

    /// Whether somebody other than loopback is spoken to over IPv6.
    pub fn speaks_ipv6(&self) -> bool {
        let all = self.client.iter().chain(self.hosts.keys());
        { all }.any(|ip| ip.is_ipv6() && !ip.is_loopback())
    }

    /// The addresses in a response for a name: of one that was cut, those that the client then connected to.
    pub fn addresses_in(&self, received: &Received, name: &Name) -> Vec<IpAddr> {
        let hidden = received.addresses.is_empty() && received.records > 0;
        match self.connected.get(name).filter(|_| hidden) {
            Some(connected) => connected.clone(),
            None => received.addresses.to_vec(),
        }
    }

    /// The addresses that anybody of the case was given for a name.
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let asked = self.replies.questions();
        let same = asked.filter(|(question, _)| question.name.0.eq_ignore_ascii_case(name));
        let events = same.flat_map(|(_, list)| list.iter().filter_map(|r| r.response));
        let given = events.filter_map(|event| self.responses.get(&event));
        let given = given.flat_map(|response| response.received.addresses.iter().copied());
        let connected = self.connected.get(&Name(name.into()).folded());
        let all: BTreeSet<IpAddr> = given
            .chain(connected.into_iter().flatten().copied())
            .collect();
        all.into_iter().collect()
    }

    /// The hosts on the client's links.
    pub fn remote(&self) -> impl Iterator<Item = (IpAddr, &PlayedHost)> {
        let all = self.hosts.iter().map(|(ip, host)| (*ip, host));
        all.filter(|(ip, _)| !self.is_local(*ip))
    }

    /// Whether this is the client's own host: loopback, or one of its addresses.
    fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.client.contains(&ip)
    }

    /// Takes from a resolver what kept it from serving: it is there, and refuses nobody.
    pub fn mend(&mut self, resolver: IpAddr) {
        if let Some(host) = self.host(resolver) {
            host.presence = Presence::OnLink;
            host.error = None;
            host.ports.remove(&DNS_PORT);
            host.resolver_ports.insert(DNS_PORT);
        }
    }

    /// Plays a resolver that the case may not know, as what-if takes it to be: it answers at once what others answered. The
    /// client gets an address of its family where it is `wanted`; without one it is not played.
    pub fn play_resolver(&mut self, resolver: IpAddr, wanted: bool) {
        let resolver = resolver.to_canonical();
        let asked = { self.hosts.get(&resolver) }.is_some_and(|h| !h.resolver_ports.is_empty());
        let same_family = { self.client.iter() }.any(|ip| ip.is_ipv6() == resolver.is_ipv6());
        if asked || !(wanted || same_family || resolver.is_loopback()) {
            return;
        }
        self.mend(resolver);
        self.address_for_each_family();
        if wanted && self.hosts.contains_key(&resolver) {
            self.choices
                .insert(Choice::There(WhoIsThere::UnknownResolver(resolver)));
        }
    }

    /// The stubs and servers on the client's own host.
    pub fn local(&self) -> impl Iterator<Item = (IpAddr, &PlayedHost)> {
        let all = self.hosts.iter().map(|(ip, host)| (*ip, host));
        all.filter(|(ip, _)| self.is_local(*ip))
    }

    fn host(&mut self, ip: IpAddr) -> Option<&mut PlayedHost> {
        if !is_one_hosts(ip) {
            return None;
        }
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(&ip) {
            self.choices
                .insert(Choice::There(WhoIsThere::TooManyHosts(MAX_HOSTS)));
            return None;
        }
        Some(self.hosts.entry(ip).or_default())
    }

    /// The client spoke from one address to another.
    fn spoke(&mut self, from: Option<IpAddr>, to: IpAddr) {
        let from = from.map(|ip| ip.to_canonical());
        if let Some(from) = from.filter(|ip| !ip.is_loopback() && is_one_hosts(*ip)) {
            self.client.insert(from);
            if !to.is_loopback() {
                self.sources.entry(to).or_insert(from);
            }
        }
    }

    fn query(&mut self, case: &Case, query: &Query) {
        let (ip, port) = (query.resolver.ip.to_canonical(), query.resolver.port);
        if query.is_clients() || !ip.is_loopback() {
            self.spoke(query.client.map(|c| c.ip), ip);
        }
        self.ipv6 |= query.question.kind == Some(RecordType::AAAA);
        if let Some(received) = query.response() {
            let bytes = match &case.evidence.event(received.event).what {
                EventKind::Packet(Packet::Dns { message, .. }) => message.bytes.clone(),
                _ => None,
            };
            let received = received.clone();
            self.responses
                .insert(received.event, RecordedResponse { bytes, received });
        }
        let error = refusal_of(case, query);
        let Some(host) = self.host(ip) else {
            return;
        };
        if query.transport == Transport::Udp {
            host.resolver_ports.insert(port);
        }
        match error {
            Some(Told::Icmp(kind, from)) => host.error = Some((kind, from)),
            Some(Told::Presence(presence)) => host.presence = presence,
            Some(Told::Firewall) => {
                self.choices.insert(Choice::LocalFirewall(ip));
            }
            None => {}
        }
    }

    fn connection(&mut self, case: &Case, connection: &Connection) {
        if connection.role == Role::Other {
            return;
        }
        let to = Endpoint::new(connection.to.ip.to_canonical(), connection.to.port);
        if let Some(lookup) = connection.lookup {
            let name = case.joined.lookups[lookup].name.folded();
            let list = self.connected.entry(name).or_default();
            if list.len() < MAX_CLIENT_ADDRESSES && !list.contains(&to.ip) {
                list.push(to.ip);
            }
        }
        self.spoke(connection.from.map(|f| f.ip), to.ip);
        let told = connection
            .ended_by
            .and_then(|by| told(case, by, connection.from.map(|f| f.ip)));
        let Some(host) = self.host(to.ip) else {
            return;
        };
        let last = { connection.syns.last() }.map(|syn| case.evidence.event(*syn).at);
        let began = last.or(connection.began());
        let after = { connection.ended.zip(began) }.map_or(Span::ZERO, |(end, began)| end - began);
        let after = after.max(Span::ZERO);
        // It went on when the trace ended.
        let unknown = connection.outcome == Ending::Open(SynAnswer::Unknown)
            && connection.replies.is_empty()
            && connection.ended_by.is_none();
        let end = match (&connection.outcome, told) {
            (Ending::Connected, _) => SynEnd::Accepted(after),
            (_, Some(Told::Icmp(kind, from))) => SynEnd::Unreachable(after, kind, from),
            (Ending::NoSyn(_) | Ending::Unreachable, Some(Told::Presence(presence))) => {
                host.presence = presence;
                SynEnd::Silent
            }
            (_, Some(Told::Firewall)) => {
                self.choices.insert(Choice::LocalFirewall(to.ip));
                return;
            }
            (Ending::Refused, _) => SynEnd::Refused(after),
            (Ending::NoSyn(_), _) => {
                host.presence = Presence::Absent;
                SynEnd::Silent
            }
            _ if unknown => SynEnd::Accepted(Span::ZERO),
            (Ending::Unreachable | Ending::TimedOut(_) | Ending::Open(_), _) => SynEnd::Silent,
        };
        let list = host.ports.entry(to.port).or_default();
        if list.len() < MAX_ATTEMPTS {
            let lost = if end == SynEnd::Silent {
                0
            } else {
                connection.repeats
            };
            list.push(SynReply { lost, end });
        }
        if unknown {
            self.choices.insert(Choice::Outcome(to.ip, to.port));
        }
    }

    /// Hosts whose hardware address was looked for in vain, and that never said anything. Who ever said something is there.
    fn absences(&mut self, case: &Case) {
        for probe in case.joined.probes.iter().filter(|p| p.is_silent()) {
            let Sought::Neighbour(ip) = probe.what else {
                continue;
            };
            if let Some(host) = self.hosts.get_mut(&ip.to_canonical())
                && !host
                    .ports
                    .values()
                    .flatten()
                    .any(|s| s.end != SynEnd::Silent)
                && !self.replies.has_answered(ip.to_canonical())
            {
                host.presence = Presence::Absent;
            }
        }
        for (ip, host) in &mut self.hosts {
            let connected = { host.ports.values().flatten() }
                .any(|s| matches!(s.end, SynEnd::Accepted(_) | SynEnd::Refused(_)));
            let spoke = connected || self.replies.has_answered(*ip);
            if host.presence != Presence::OnLink && spoke {
                host.presence = Presence::OnLink;
                self.choices
                    .insert(Choice::There(WhoIsThere::ReachedAtTimes(*ip)));
            }
        }
    }

    fn services(&mut self, case: &Case) {
        let waits = &case.joined.services;
        // A client of nscd asks it for its memory first, and for users: only names are played.
        let named = waits
            .iter()
            .any(|w| w.service == "nscd" && w.asked.is_some());
        let plays = |w: &&ServiceWait| w.service != "nscd" || !named || w.asked.is_some();
        for wait in waits.iter().filter(plays) {
            let path = &*wait.path;
            if !is_service_path(path) {
                self.choices.insert(Choice::ServicePath(path.into()));
                continue;
            }
            let end = wait.replied.unwrap_or(wait.ended);
            let after = (end - wait.began).max(Span::ZERO);
            // Its client reads the answer by a call that few traces show, and gives up at a known time.
            let in_time = wait.service == "nscd" && after < NSCD_PATIENCE;
            let answered = in_time || wait.replied.is_some() || wait.reply != ServiceReply::Unseen;
            let waits = self.services.entry(path.to_owned()).or_default();
            if waits.len() < MAX_ATTEMPTS {
                waits.push(PlayedWait {
                    began: wait.began,
                    after,
                    answered,
                    legs: legs::within(case, wait.began, wait.ended),
                });
            }
        }
    }

    /// One client, with an address of each family that it needs.
    fn one_client(&mut self, case: &Case) -> Result<(), ScenarioError> {
        let several = !case.evidence.has_trace() && !may_be_one_host(case);
        if several || self.client.len() > MAX_CLIENT_ADDRESSES {
            let list = self.client.iter().map(ToString::to_string);
            let list: Vec<String> = list.take(MAX_CLIENT_ADDRESSES).collect();
            return Err(ScenarioError::SeveralClients(list.join(", ")));
        }
        self.address_for_each_family();
        Ok(())
    }

    /// The client gets an address of each family that somebody whom it speaks to has.
    fn address_for_each_family(&mut self) {
        for (v6, address) in [
            (false, IpAddr::from([192, 0, 2, 10])),
            (true, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10])),
        ] {
            let needs = self.remote().any(|(ip, _)| ip.is_ipv6() == v6);
            if needs && !self.client.iter().any(|ip| ip.is_ipv6() == v6) {
                self.client.insert(address);
                self.choices.insert(Choice::ClientAddress(address));
            }
        }
    }
}

/// Whether the addresses may be one host's: it looks up from one, and connects from one.
fn may_be_one_host(case: &Case) -> bool {
    let own = case.joined.queries.iter().filter(|q| q.is_clients());
    let asks = own.filter_map(|q| q.client.map(|c| c.ip));
    let connects = case
        .joined
        .connections
        .iter()
        .filter(|c| c.role == Role::Server);
    let connects = connects.filter_map(|c| c.from.map(|f| f.ip));
    let distant = |ip: &IpAddr| !ip.is_loopback();
    is_one(&asks.filter(distant).collect()) && is_one(&connects.filter(distant).collect())
}

/// At most one address of each family.
fn is_one(addresses: &BTreeSet<IpAddr>) -> bool {
    let v4 = addresses.iter().filter(|ip| ip.is_ipv4()).count();
    v4 <= 1 && addresses.len() - v4 <= 1
}

fn first_query(case: &Case) -> Option<Timestamp> {
    let own = case.joined.queries.iter().filter(|q| q.is_clients());
    own.map(|q| q.sent).min()
}

/// How long after the last thing that the trace shows a response still came.
fn linger(case: &Case) -> Span {
    let events = case.evidence.events.iter();
    let last = { events }
        .filter(|e| matches!(e.what, EventKind::Call(_) | EventKind::Life(_)))
        .map(|e| e.at)
        .max();
    let responses = case.joined.queries.iter().filter_map(Query::response);
    match (last, responses.map(|r| r.at).max()) {
        (Some(end), Some(response)) => (response - end).clamp(Span::ZERO, LONGEST_LINGER),
        _ => Span::ZERO,
    }
}

/// Whether an address can be that of one host.
fn is_one_hosts(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// A path that a socket may be made at, in a namespace of its own: nothing that a case says is taken for more.
fn is_service_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    path.len() <= LONGEST_PATH
        && path.chars().all(plain)
        && !path.split('/').any(|part| part == "..")
        && SERVICE_PLACES.iter().any(|place| path.starts_with(place))
}

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// A packet said it.
    Icmp(IcmpKind, IpAddr),
    /// The client's own host did.
    Presence(Presence),
    /// A rule of the client's own host did.
    Firewall,
}

fn refusal_of(case: &Case, query: &Query) -> Option<Told> {
    match &query.state {
        State::NeverSent(Silence::Absent(_)) => Some(Told::Presence(Presence::Absent)),
        State::Unanswered(silence) | State::NeverSent(silence) => {
            let refusal = silence.refusal()?;
            let call = match &case.evidence.event(refusal.event).what {
                EventKind::Call(call) => call.outcome.errno(),
                _ => None,
            };
            if call == Some(Errno::ConnectionRefused) {
                // The packet that said it is not in a trace.
                let resolver = query.resolver.ip.to_canonical();
                return Some(Told::Icmp(IcmpKind::PortUnreachable, resolver));
            }
            told(case, refusal.event, query.client.map(|c| c.ip))
        }
        _ => None,
    }
}

/// What an event says about why somebody cannot be reached.
fn told(case: &Case, event: EventId, own: Option<IpAddr>) -> Option<Told> {
    match &case.evidence.event(event).what {
        EventKind::Packet(Packet::Icmp { from, to, kind, .. }) => {
            let itself = from == to || Some(*from) == own;
            Some(match kind {
                IcmpKind::HostUnreachable if itself => Told::Presence(Presence::Absent),
                _ => Told::Icmp(*kind, *from),
            })
        }
        EventKind::Call(call) => match call.outcome.errno()? {
            Errno::NetworkUnreachable | Errno::NetworkDown => {
                Some(Told::Presence(Presence::NoRoute))
            }
            Errno::HostUnreachable => Some(Told::Presence(Presence::Absent)),
            Errno::NotPermitted | Errno::Access => Some(Told::Firewall),
            _ => None,
        },
        _ => None,
    }
}
