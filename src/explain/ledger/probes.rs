//! What a host asked the network for, as part of an account: no call and no query shows these waits.

use super::claims::Claim;
use super::{ChargedParty, Index, Kind, Subject};
use crate::explain::Case;
use crate::join::ConnectionId;
use crate::join::probe::{Probe, ProbeEnd, Sought};
use crate::time::{Span, Timestamp};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A packet that waited for its neighbour's address leaves at once when that is known (a few µs; a busy host needs more).
const LEAVES: Span = Span::millis(10);
/// A client that has been told an address connects at once.
const THEN_CONNECTS: Span = Span::seconds(1);
/// Shorter waits are the link's normal work.
const WORTH_SAYING: Span = Span::millis(10);
/// So many probes before a connection are looked at.
const MAX_PROBES: usize = 1_000;

/// The probe that gave a connection without a lookup its address, or held its SYN up.
pub fn before<'a>(case: &'a Case, c: ConnectionId) -> Option<&'a Probe> {
    let connection = &case.joined.connections[c];
    let (from, syn) = (connection.from?.ip, connection.first_syn?);
    let probes = &case.joined.probes;
    let end = probes.partition_point(|p| p.began <= syn);
    probes[..end].iter().rev().take(MAX_PROBES).find(|probe| {
        let patience = match probe.what {
            Sought::Neighbour(_) => LEAVES,
            Sought::Name(..) | Sought::Quic(_) => THEN_CONNECTS,
        };
        probe.from == from
            && probe.until <= syn
            && syn - probe.until <= patience
            && probe.gave(connection.to.ip)
    })
}

/// The claims of probes to a subject's window.
pub fn claims(
    case: &Case,
    index: &Index,
    subject: Subject,
    (from, to): (Timestamp, Timestamp),
) -> Vec<Claim> {
    let Some(scope) = Scope::of(case, index, subject) else {
        return Vec::new();
    };
    let probes = &case.joined.probes;
    let end = probes.partition_point(|p| p.began < to);
    let within = probes[..end].iter().filter(|p| p.until > from);
    let own = within.filter(|p| scope.holds_up(p)).take(index.claims_each);
    own.filter_map(claim).collect()
}

/// What belongs to a subject.
struct Scope {
    host: IpAddr,
    /// No trace shows the client: whatever its host did may have been its own.
    untraced: bool,
    /// Where it connected, and whom it asked.
    hosts: BTreeSet<IpAddr>,
    /// When its packets left.
    left: Vec<Timestamp>,
}

impl Scope {
    fn of(case: &Case, index: &Index, subject: Subject) -> Option<Self> {
        let joined = case.joined;
        let lookup = index.own_lookup(case, subject);
        let queries = lookup
            .into_iter()
            .flat_map(|l| joined.lookups[l].queries(joined));
        let (mut hosts, mut left) = (BTreeSet::new(), Vec::new());
        for query in queries {
            hosts.insert(query.resolver.ip);
            left.extend(query.packet.map(|_| query.sent));
        }
        let (host, origin) = match subject {
            Subject::Connection(c) => {
                let connection = &joined.connections[c];
                hosts.insert(connection.to.ip);
                left.extend(connection.first_syn);
                (connection.from?.ip, connection.origin)
            }
            Subject::Lookup(l) => (joined.lookups[l].client?, joined.lookups[l].origin),
        };
        Some(Self {
            host,
            untraced: !origin.is_traced(),
            hosts,
            left,
        })
    }

    /// Whether a client of this host that did this waited for it.
    fn holds_up(&self, probe: &Probe) -> bool {
        if probe.from != self.host || probe.until - probe.began < WORTH_SAYING {
            return false;
        }
        match &probe.what {
            // The next hop is not known: what left as soon as a neighbour was found had waited for it.
            Sought::Neighbour(about) => {
                let until = probe.until;
                let released = |left: &Timestamp| *left >= until && *left - until <= LEAVES;
                let found = matches!(probe.end, ProbeEnd::Answered { .. });
                self.hosts.contains(about) || found && self.left.iter().any(released)
            }
            // A traced client's own calls show how it asks.
            Sought::Name(..) => self.untraced && self.hosts.iter().any(|ip| probe.gave(*ip)),
            Sought::Quic(server) => {
                self.untraced && self.hosts.contains(&server.ip) && probe.is_silent()
            }
        }
    }
}

fn claim(probe: &Probe) -> Option<Claim> {
    let (kind, party) = match &probe.what {
        Sought::Neighbour(about) => (Kind::AddressResolution, ChargedParty::Host(*about)),
        Sought::Name(protocol, _) => (Kind::MulticastName, ChargedParty::Service(protocol.name())),
        Sought::Quic(server) => (Kind::Quic, ChargedParty::Endpoint(*server)),
    };
    // What nobody vouches for is left unexplained.
    if matches!(probe.end, ProbeEnd::Open(_)) {
        return None;
    }
    Some(Claim {
        from: probe.began,
        to: probe.until,
        rank: super::claims::ON_THE_LINK,
        began: probe.began,
        kind,
        party: Some(party),
        with: Vec::new(),
        query: None,
        lookup: None,
        inferred: true,
        unread: None,
        unsent: false,
        calls: Vec::new(),
        packets: probe.packets.clone(),
    })
}
