//! Hosts that ask and connect, as a capture shows them; of a case of watched processes these.
//!
//! A client is the source of a lookup or of a SYN. A host that only answers is none, and neither is a resolver, which asks
//! for others, or a stranger that connects to the host whose own lookups the capture shows: that was taken at the server.

use super::Case;
use super::ledger::{Account, Subject};
use crate::join::connect::{Connection, Role};
use crate::join::lookup::{Lookup, Outcome};
use crate::join::{Origin, ProcessId};
use crate::time::Span;
use crate::totals::{Acts, ClientKey};
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
pub fn of_lookup(case: &Case, lookup: &Lookup) -> Option<(ClientKey, Acts)> {
    let acts = Acts {
        lookups: 1,
        lost: usize::from(lookup.outcome == Outcome::Failed),
        ..Acts::default()
    };
    let address = lookup.client.filter(|_| lookup.origin.is_clients())?;
    let pid = pid(case, lookup.origin, lookup.process);
    Some((ClientKey { address, pid }, acts))
}

/// The pid of a process that was watched.
fn pid(case: &Case, origin: Origin, process: Option<ProcessId>) -> Option<u32> {
    let process = process.filter(|_| origin == Origin::Watched)?;
    case.joined.processes.get(process)?.pid
}

/// Whose attempt to reach a server it was, and whether nothing answered it.
pub fn of_connection(case: &Case, x: &Connection) -> Option<(ClientKey, bool)> {
    let from = { x.from }.filter(|_| x.role == Role::Server && !is_inbound(case, x))?;
    let client = ClientKey {
        address: source(case, x).unwrap_or(from.ip),
        pid: pid(case, x.origin, x.process),
    };
    Some((client, x.outcome.is_timeout()))
}

/// The address that a host is listed by: the one that it asked from, where it connected from another one of its own.
fn source(case: &Case, x: &Connection) -> Option<IpAddr> {
    let asked = x.lookup.and_then(|l| case.joined.lookups[l].client);
    asked.or(x.from.map(|from| from.ip))
}

/// The clients of a capture, by address; processes by the first of their addresses.
pub fn all(case: &Case, accounts: &[Account]) -> BTreeMap<ClientKey, ClientTally> {
    let joined = case.joined;
    let mut firsts: BTreeMap<u32, ClientKey> = BTreeMap::new();
    let asked = joined.queries.iter().map(|q| q.resolver);
    let evicted = case.totals.rows().map(|(_, resolver, _)| resolver);
    let resolvers: BTreeSet<IpAddr> = asked.chain(evicted).map(|r| r.ip).collect();
    let mut list: BTreeMap<ClientKey, ClientTally> = BTreeMap::new();
    let lookups = { joined.lookups.iter() }.filter_map(|l| of_lookup(case, l));
    let connections = joined.connections.iter();
    let connections = connections.filter_map(|x| of_connection(case, x));
    let connections = connections.map(|(client, lost)| (client, Acts::connect(lost)));
    for (client, acts) in lookups.chain(connections).chain(case.totals.clients()) {
        // A resolver asks for others.
        let asks_for_others = client.pid.is_none() && resolvers.contains(&client.address);
        let lookups = acts.lookups * usize::from(!asks_for_others);
        let first = client.pid.map(|pid| *firsts.entry(pid).or_insert(client));
        if acts.connects + lookups > 0 {
            let acts = Acts { lookups, ..acts };
            let client = first.unwrap_or(client);
            list.entry(client).or_default().acts.add(&acts);
        }
    }
    for account in accounts {
        let (address, pid) = match account.subject {
            Subject::Connection(c) => {
                let x = &joined.connections[c];
                (source(case, x), pid(case, x.origin, x.process))
            }
            Subject::Lookup(l) => {
                let lookup = &joined.lookups[l];
                (lookup.client, pid(case, lookup.origin, lookup.process))
            }
        };
        let first = pid.and_then(|pid| firsts.get(&pid).copied());
        let client = first.or(address.map(ClientKey::from));
        // What was before a SYN without a lookup is not known.
        let known = Some(account.total()).filter(|t| *t > Span::ZERO);
        if let Some(client) = client.and_then(|c| list.get_mut(&c)) {
            client.slowest = client.slowest.max(known);
        }
    }
    list
}
