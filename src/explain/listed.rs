//! Which lookups and connections a bounded report lists.
//!
//! Whatever it refers to is listed: the subjects of its findings and accounts, and the lookups of listed connections. What
//! is left of the bound goes to the first ones, the client's own before others.

use super::Case;
use super::finding::Finding;
use super::ledger::{Account, Subject};
use crate::join::{ConnectionId, IdVec, LookupId};
use std::collections::BTreeSet;

/// What is listed, in the order of the case.
#[derive(Debug, Default, PartialEq)]
pub struct Listed {
    /// Lookups.
    pub lookups: BTreeSet<LookupId>,
    /// Connections.
    pub connections: BTreeSet<ConnectionId>,
}

impl Listed {
    /// Chooses so many of each, and more only where findings refer to more.
    pub fn choose(case: &Case, accounts: &[Account], findings: &[Finding], most: usize) -> Self {
        let joined = case.joined;
        let mut this = Self::default();
        let subjects = accounts.iter().map(|a| a.subject);
        for subject in subjects.chain(findings.iter().filter_map(|f| f.draft.subject)) {
            this.add(case, subject);
        }
        let connections = own_first(&joined.connections, |x| x.is_clients());
        for c in connections {
            let lookup = joined.connections[c].lookup;
            let room =
                this.lookups.len() < most || lookup.is_none_or(|l| this.lookups.contains(&l));
            if this.connections.len() >= most {
                break;
            }
            if room {
                this.add(case, Subject::Connection(c));
            }
        }
        for l in own_first(&joined.lookups, |l| l.is_clients(joined)) {
            if this.lookups.len() >= most {
                break;
            }
            this.lookups.insert(l);
        }
        this
    }

    fn add(&mut self, case: &Case, subject: Subject) {
        match subject {
            Subject::Connection(c) => {
                self.connections.insert(c);
                self.lookups.extend(case.joined.connections[c].lookup);
            }
            Subject::Lookup(l) => {
                self.lookups.insert(l);
            }
        }
    }
}

/// The positions of the client's own elements, then of the others.
fn own_first<K: crate::join::Id, T>(
    list: &IdVec<K, T>,
    is_own: impl Fn(&T) -> bool,
) -> impl Iterator<Item = K> {
    let (own, others): (Vec<K>, Vec<K>) = list.ids().partition(|id| is_own(&list[*id]));
    own.into_iter().chain(others)
}
