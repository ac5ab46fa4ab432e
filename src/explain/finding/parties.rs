//! Whom findings are about, as values: what compares two reports matches findings by them.

use crate::explain::ledger;
use crate::flow::{Endpoint, host};
use crate::join::lookup::Lookup;
use crate::report::{Party, PartyRole};
use std::collections::HashSet;
use std::net::IpAddr;

/// How many parties one finding names.
const MAX_PARTIES: usize = 50;

/// Resolvers, each once, in the order given.
pub fn resolvers(ends: impl IntoIterator<Item = Endpoint>) -> Vec<Party> {
    endpoints(PartyRole::Resolver, ends)
}

/// Servers, each once, in the order given.
pub fn servers(ends: impl IntoIterator<Item = Endpoint>) -> Vec<Party> {
    endpoints(PartyRole::Server, ends)
}

/// A resolver or a name service on this host.
pub fn of_entry(party: ledger::ChargedParty) -> Party {
    match party {
        ledger::ChargedParty::Endpoint(end) => endpoint(PartyRole::Resolver, end),
        ledger::ChargedParty::Service(name) => named(PartyRole::Service, name),
        ledger::ChargedParty::Host(ip) => of_host(ip),
    }
}

/// A host, whatever its port.
pub fn of_host(ip: IpAddr) -> Party {
    Party {
        role: PartyRole::Server,
        address: Some(host(ip)),
        port: None,
        name: None,
    }
}

/// The names that lookups were for, each once, as far as the inputs show them.
pub fn names<'a>(lookups: impl IntoIterator<Item = &'a Lookup>) -> Vec<Party> {
    let mut seen = HashSet::new();
    let known = lookups.into_iter().filter_map(Lookup::shown_name);
    let each_once = known.filter(|name| seen.insert(name.to_ascii_lowercase()));
    let parties = each_once.map(|name| named(PartyRole::Name, &name));
    parties.take(MAX_PARTIES).collect()
}

/// Names that were asked for otherwise, each once.
pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Party> {
    let parties = names.into_iter().map(|name| named(PartyRole::Name, name));
    parties.take(MAX_PARTIES).collect()
}

fn endpoints(role: PartyRole, ends: impl IntoIterator<Item = Endpoint>) -> Vec<Party> {
    let mut seen = HashSet::new();
    let each_once = ends.into_iter().filter(|end| seen.insert(*end));
    let parties = each_once.map(|end| endpoint(role, end));
    parties.take(MAX_PARTIES).collect()
}

fn endpoint(role: PartyRole, end: Endpoint) -> Party {
    Party {
        role,
        address: Some(host(end.ip)),
        port: Some(end.port),
        name: None,
    }
}

fn named(role: PartyRole, name: &str) -> Party {
    Party {
        role,
        address: None,
        port: None,
        name: Some(name.to_owned()),
    }
}
