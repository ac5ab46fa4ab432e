//! Name services that were asked on behalf of a reverse lookup: without the lookup they are not asked either.

use crate::explain::Case;
use crate::explain::ledger::{Account, Kind, Subject};
use crate::join::LookupId;
use crate::join::lookup::{Lookup, Outcome};
use crate::join::service::{ServiceReply, ServiceWait};
use crate::time::Span;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A stub resolver goes from one source of nsswitch.conf to the next within this.
const NEXT_SOURCE: Span = Span::millis(100);

/// What an account waited for name services that a reverse lookup made it ask.
#[derive(Debug, Default)]
pub struct Spared {
    /// Of services that were asked for this lookup.
    pub sure: Span,
    /// Of services that may have been asked for something else.
    pub perhaps: Span,
    /// Which.
    pub services: BTreeSet<&'static str>,
}

/// How sure it is that a name service was asked for a reverse lookup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bond {
    Sure,
    Perhaps,
}

/// What an account would not wait for without the reverse lookups of the address that it connects to.
pub fn spared(case: &Case, account: &Account) -> Spared {
    let mut spared = Spared::default();
    let Subject::Connection(c) = account.subject else {
        return spared;
    };
    let connection = &case.joined.connections[c];
    let within = case.joined.services.iter().filter(|s| {
        Some(s.process) == connection.process && s.ended > account.from && s.began < account.to
    });
    for wait in within {
        let Some(bond) = bond(case, account, connection.to.ip, wait) else {
            continue;
        };
        let waited = owned(account, wait);
        if waited <= Span::ZERO {
            continue;
        }
        spared.services.insert(wait.service);
        match bond {
            Bond::Sure => spared.sure = spared.sure + waited,
            Bond::Perhaps => spared.perhaps = spared.perhaps + waited,
        }
    }
    spared
}

/// How much of an account is charged to a wait for a name service.
fn owned(account: &Account, wait: &ServiceWait) -> Span {
    let of_services = |line: usize| account.lines[line].kind == Kind::NameService;
    let moments = account.moments.iter().filter(|m| of_services(m.line));
    let part = |from, to| if to > from { to - from } else { Span::ZERO };
    moments
        .map(|m| part(m.from.max(wait.began), m.to.min(wait.ended)))
        .sum()
}

/// Whether a name service was asked for the name of an address:
///
/// 1. its question says so, or says that it was another one;
/// 2. else the thread's lookups around it do: between two lookups of the address, right after one that failed (the next
///    source of nsswitch.conf), or right before one that the service itself did not answer;
/// 3. else nobody can tell, where the thread looked up nothing else.
fn bond(case: &Case, account: &Account, address: IpAddr, wait: &ServiceWait) -> Option<Bond> {
    if let Some(asked) = &wait.asked {
        let asked: IpAddr = asked.parse().ok()?;
        return (asked.to_canonical() == address.to_canonical()).then_some(Bond::Sure);
    }
    let own = |l: &LookupId| -> Option<&Lookup> {
        let lookup = &case.joined.lookups[*l];
        let tasks = || lookup.tasks.iter().any(|t| t.tid == wait.task.tid);
        (lookup.process == Some(wait.process) && tasks()).then_some(lookup)
    };
    let lookups: Vec<&Lookup> = account.by_lookup.keys().filter_map(own).collect();
    let before = lookups.iter().rev().find(|l| l.began <= wait.began);
    let after = lookups.iter().find(|l| l.began > wait.began);
    let same = |l: &&&Lookup| {
        l.reverse
            .is_some_and(|r| r.to_canonical() == address.to_canonical())
    };
    let (same_before, same_after) = (before.filter(same), after.filter(same));
    let follows = same_before
        .is_some_and(|l| l.outcome != Outcome::Answered && wait.began - l.ended <= NEXT_SOURCE);
    let leads = same_after.is_some_and(|l| {
        wait.reply != ServiceReply::Answered && l.began - wait.ended <= NEXT_SOURCE
    });
    let between = same_before.is_some() && same_after.is_some();
    if between || follows || leads {
        Some(Bond::Sure)
    } else if lookups.iter().all(|l| same(&l)) && !lookups.is_empty() {
        Some(Bond::Perhaps)
    } else {
        None
    }
}
