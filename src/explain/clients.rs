//! Hosts that ask and connect, as a capture shows them.
//!
//! A client is the source of a lookup or of a SYN. A host that only answers is none, and neither is a resolver, which asks
//! for others, or a stranger that connects to the host whose own lookups the capture shows: that was taken at the server.

use super::Case;
use super::ledger::{Account, Subject};
use crate::join::connect::{Connection, Role};
use crate::join::lookup::{Lookup, Outcome};
use crate::time::Span;
use crate::totals::Acts;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What one client did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientTally {
    /// How much of it.
    pub acts: Acts,
    /// The longest time before a SYN of it, or of a lookup that no connection used.
    pub slowest: Option<Span>,
}

/// Whether a connection came from outside to the host at which the capture was taken: it shows that host's lookups, or the
/// times of the handshake say so.
pub fn is_inbound(case: &Case, x: &Connection) -> bool {
    let Some(from) = x.from.filter(|_| x.process.is_none()) else {
        return false;
    };
    let asks = |ip: IpAddr| case.joined.askers.contains(&ip);
    let near_server = x.opening.near_server && from.ip != x.to.ip;
    (asks(x.to.ip) || near_server) && !asks(from.ip)
}

/// Whose lookup it was, and what it counts as.
pub fn of_lookup(lookup: &Lookup) -> Option<(IpAddr, Acts)> {
    let acts = Acts {
        lookups: 1,
        lost: usize::from(lookup.outcome == Outcome::Failed),
        ..Acts::default()
    };
    Some((lookup.client?, acts))
}

/// Whose attempt to reach a server it was, and whether nothing answered it.
pub fn of_connection(case: &Case, x: &Connection) -> Option<(IpAddr, bool)> {
    let from = { x.from }.filter(|_| x.role == Role::Server && !is_inbound(case, x))?;
    Some((source(case, x).unwrap_or(from.ip), x.outcome.is_timeout()))
}

/// The address that a host is listed by: the one that it asked from, where it connected from another one of its own.
fn source(case: &Case, x: &Connection) -> Option<IpAddr> {
    let asked = x.lookup.and_then(|l| case.joined.lookups[l].client);
    asked.or(x.from.map(|from| from.ip))
}

/// The clients of a capture, by address.
pub fn all(case: &Case, accounts: &[Account]) -> BTreeMap<IpAddr, ClientTally> {
    let joined = case.joined;
    let asked = joined.queries.iter().map(|q| q.resolver);
    let evicted = case.totals.rows().map(|(_, resolver, _)| resolver);
    let resolvers: BTreeSet<IpAddr> = asked.chain(evicted).map(|r| r.ip).collect();
    let mut list: BTreeMap<IpAddr, ClientTally> = BTreeMap::new();
    let lookups = joined.lookups.iter().filter_map(of_lookup);
    let connections = joined.connections.iter();
    let connections = connections.filter_map(|x| of_connection(case, x));
    let connections = connections.map(|(client, lost)| (client, Acts::connect(lost)));
    for (address, acts) in lookups.chain(connections).chain(case.totals.clients()) {
        // A resolver asks for others.
        let lookups = acts.lookups * usize::from(!resolvers.contains(&address));
        if acts.connects + lookups > 0 {
            let acts = Acts { lookups, ..acts };
            list.entry(address).or_default().acts.add(&acts);
        }
    }
    for account in accounts {
        let address = match account.subject {
            Subject::Connection(c) => source(case, &joined.connections[c]),
            Subject::Lookup(l) => joined.lookups[l].client,
        };
        // What was before a SYN without a lookup is not known.
        let known = Some(account.total()).filter(|t| *t > Span::ZERO);
        if let Some(client) = address.and_then(|a| list.get_mut(&a)) {
            client.slowest = client.slowest.max(known);
        }
    }
    list
}
