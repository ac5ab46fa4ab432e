//! Hosts that ask and connect, as a capture shows them.
//!
//! A client is the source of a lookup or of a SYN. A host that only answers is none, and neither is a resolver, which asks
//! for others, or a stranger that connects to the host whose own lookups the capture shows: that was taken at the server.

use super::Case;
use super::ledger::{Account, Subject};
use crate::join::connect::{Connection, Ending, Role};
use crate::join::lookup::Outcome;
use crate::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What one client did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Client {
    /// Attempts to reach a server.
    pub connects: usize,
    /// Lookups.
    pub lookups: usize,
    /// The longest time before a SYN of it, or of a lookup that no connection used.
    pub slowest: Option<Span>,
    /// Lookups and connects of it that nothing answered.
    pub lost: usize,
}

/// Whether a connection came from outside to the host whose lookups the capture shows.
pub fn is_inbound(case: &Case, x: &Connection) -> bool {
    let Some(from) = x.from.filter(|_| x.process.is_none()) else {
        return false;
    };
    let asks = |ip: IpAddr| case.joined.askers.contains(&ip);
    asks(x.to.ip) && !asks(from.ip)
}

/// The clients of a capture, by address.
pub fn all(case: &Case, accounts: &[Account]) -> BTreeMap<IpAddr, Client> {
    let joined = case.joined;
    let resolvers: BTreeSet<IpAddr> = joined.queries.iter().map(|q| q.resolver.ip).collect();
    let mut list: BTreeMap<IpAddr, Client> = BTreeMap::new();
    for lookup in &joined.lookups {
        if let Some(address) = lookup.client.filter(|a| !resolvers.contains(a)) {
            let client = list.entry(address).or_default();
            client.lookups += 1;
            client.lost += usize::from(lookup.outcome == Outcome::Failed);
        }
    }
    for x in joined.connections.iter().filter(|x| x.role == Role::Server) {
        if let Some(from) = x.from.filter(|_| !is_inbound(case, x)) {
            let client = list.entry(from.ip).or_default();
            client.connects += 1;
            client.lost += usize::from(matches!(x.outcome, Ending::TimedOut));
        }
    }
    for account in accounts {
        let address = match account.subject {
            Subject::Connection(c) => joined.connections[c].from.map(|from| from.ip),
            Subject::Lookup(l) => joined.lookups[l].client,
        };
        if let Some(client) = address.and_then(|a| list.get_mut(&a)) {
            client.slowest = client.slowest.max(Some(account.total()));
        }
    }
    list
}
