//! The best single change, of a small set that anybody can make.

use super::{Change, Estimate, WhatIfModel};
use crate::explain::ledger::{Account, Subject};
use crate::explain::words;
use crate::join::LookupId;
use crate::join::connect::Role;
use crate::time::Span;
use crate::timetable::{ServerReply, Stub};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A smaller gain is not worth a change.
const WORTH: Span = Span::seconds(1);

/// A delay made of more lookups than this has no single cause.
const MAX_LOOKUPS: usize = 100;

/// A change, and what it would make of the slowest account.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What to change.
    pub change: Change,
    /// The delay then, at least and at most.
    pub least: Span,
    /// See [`Candidate::least`].
    pub most: Span,
    /// Lookups of the account under the change.
    pub estimates: BTreeMap<LookupId, Estimate>,
}

impl Candidate {
    /// Whether there is a lookup that the change could do anything about: one with a model, or one left out.
    pub fn matters(&self) -> bool {
        let mut lookups = self.estimates.values();
        lookups.any(|e| !e.models.is_empty() || e.not_made(&self.change))
    }

    /// Whether every lookup ends as well as it did, on grounds that the case gives.
    fn sound(&self) -> bool {
        self.estimates
            .values()
            .all(|e| !e.worse() && e.guessed.is_empty() && e.explained && e.settled)
    }

    /// Whose models it rests on.
    pub fn models(&self) -> BTreeSet<Stub> {
        let all = self.estimates.values().flat_map(|e| e.models.iter());
        all.copied().collect()
    }
}

impl WhatIfModel<'_> {
    /// Changes that may help: leaving out a resolver that did not answer, or all of them, shorter waits, no
    /// reverse lookup.
    pub fn changes(&self, account: &Account) -> Vec<Change> {
        let mut list = Vec::new();
        let servers = self.setup().servers();
        let useless = |server: &IpAddr| {
            let usual = self.behaviour.usually(*server);
            matches!(usual, Some(ServerReply::Silent | ServerReply::Error(_)))
        };
        let dead: Vec<IpAddr> = servers.iter().copied().filter(useless).collect();
        if servers.len() > 1 {
            list.extend(dead.iter().map(|server| Change {
                without: vec![*server],
                ..Change::default()
            }));
        }
        if dead.len() > 1 && dead.len() < servers.len() {
            list.push(Change {
                without: dead,
                ..Change::default()
            });
        }
        if self.asks_for_its_target(account) {
            list.push(Change {
                no_reverse: true,
                ..Change::default()
            });
        }
        for options in ["timeout:1", "timeout:1 attempts:1"] {
            list.push(Change {
                options: options.split(' ').map(str::to_owned).collect(),
                ..Change::default()
            });
        }
        list
    }

    /// Whether a lookup of the account asks for the name of the very address that is connected to.
    fn asks_for_its_target(&self, account: &Account) -> bool {
        let Subject::Connection(c) = account.subject else {
            return false;
        };
        let to = &self.case.joined.connections[c];
        let asked = |l: &LookupId| self.case.joined.lookups[*l].reverse == Some(to.to.ip);
        to.role == Role::Server && account.by_lookup.keys().any(asked)
    }

    /// Tries a change on an account. `None`: it cannot be made.
    pub fn tried(&self, account: &Account, change: Change) -> Option<Candidate> {
        let setup = change.apply(self.setup()).ok()?;
        let (least, most, estimates) = self.delay(account, &change, &setup);
        Some(Candidate {
            change,
            least,
            most,
            estimates,
        })
    }

    /// The change that helps an account most, where the models explain what was seen and no lookup would end
    /// worse. Of changes that help alike (within a tenth) the first one stays.
    pub fn best(&self, account: &Account) -> Option<Candidate> {
        if account.by_lookup.len() > MAX_LOOKUPS {
            return None;
        }
        let mut best: Option<Candidate> = None;
        for change in self.changes(account) {
            let Some(candidate) = self.tried(account, change).filter(Candidate::sound) else {
                continue;
            };
            let bar = best.as_ref().map_or(account.total(), |b| b.most);
            let gain = bar - candidate.most;
            if gain >= WORTH && gain.0 >= bar.0 / 10 {
                best = Some(candidate);
            }
        }
        best
    }
}

/// `about 25.0 s`, or `about 4.00 s to 6.00 s` where the model is a range.
pub fn about(least: Span, most: Span) -> String {
    let (from, to) = (words::took(least), words::took(most));
    if (most - least) < Span::millis(300) || from == to {
        format!("about {to}")
    } else {
        format!("about {from} to {to}")
    }
}

/// The models in words: `glibc's timetable`.
pub fn by_whose_models(models: &BTreeSet<Stub>) -> String {
    let possessive = |stub: &Stub| match stub.spoken() {
        name if name.ends_with('s') => format!("{name}'"),
        name => format!("{name}'s"),
    };
    let names: Vec<String> = models.iter().map(possessive).collect();
    format!("{} timetable", words::either(&names))
}
