//! What the delay would have been with other resolvers or options: each lookup is run again under the model of
//! its stub resolver, with every resolver doing what it did in the case, and the account takes the difference.

pub mod answer;
pub mod best;
pub mod services;
pub mod to_report;

use super::client::{self, Guess};
use super::ledger::{Account, Subject};
use super::schedule::match_timetable::{self, TimetableMatch};
use super::schedule::server_behaviour::ServerBehaviour;
use super::schedule::{Predicted, QuestionPlan, Scheduled, Setup};
use super::{Case, words};
use crate::decode::resolv_conf::ResolvConf;
use crate::flow::host;
use crate::join::{LookupId, Origin};
use crate::time::Span;
use crate::timetable::{Edge, LookupResult, Stub};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use thiserror::Error;

/// A lookup that ends so much before its timetable was cut short.
const CUT_SHORT: Span = Span::millis(500);

/// A change to be tried.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Resolvers to leave out.
    pub without: Vec<IpAddr>,
    /// Another resolv.conf, and where it was read.
    pub conf: Option<(String, ResolvConf)>,
    /// Options that win over those of the file and of the environment.
    pub options: Vec<String>,
    /// Without the lookups of addresses that are connected to anyway.
    pub no_reverse: bool,
}

/// Why a change cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Nobody asks it.
    #[error("{0} is not a resolver of this case (it has {1})")]
    NoSuchServer(IpAddr, String),
    /// A stub resolver without resolvers asks 127.0.0.1, which is another story.
    #[error("no resolver would be left")]
    NoneLeft,
    /// Waits over TCP are the kernel's, not a timetable's.
    #[error("'options use-vc' asks over TCP, for which there is no timetable")]
    OverTcp,
}

impl Change {
    /// Nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.without.is_empty()
            && self.conf.is_none()
            && self.options.is_empty()
            && !self.no_reverse
    }

    /// In words, to begin a sentence with: `Without resolver 10.0.1.93`.
    pub fn words(&self) -> String {
        let mut list = Vec::new();
        if let Some((path, _)) = &self.conf {
            list.push(format!("with {path}"));
        }
        if !self.without.is_empty() {
            let names: Vec<String> = self.without.iter().map(|ip| host(*ip)).collect();
            let many = if names.len() > 1 { "s" } else { "" };
            list.push(format!("without resolver{many} {}", words::list(&names)));
        }
        if !self.options.is_empty() {
            list.push(format!("with 'options {}'", self.options.join(" ")));
        }
        if self.no_reverse {
            list.push("without the reverse lookup".into());
        }
        let text = words::list(&list);
        let mut letters = text.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters).collect()
        })
    }

    /// What the client is then told.
    pub fn apply(&self, to: &Setup) -> Result<Setup, ChangeError> {
        let mut setup = to.clone();
        if let Some((_, conf)) = &self.conf {
            setup.conf = conf.clone();
            setup.known = true;
        }
        for address in &self.without {
            let servers = &mut setup.conf.nameservers;
            let before = servers.len();
            servers.retain(|(a, _)| a.to_canonical() != address.to_canonical());
            if servers.len() == before {
                let names: Vec<String> = servers.iter().map(|(a, _)| host(*a)).collect();
                return Err(ChangeError::NoSuchServer(*address, words::list(&names)));
            }
        }
        if setup.conf.nameservers.is_empty() {
            return Err(ChangeError::NoneLeft);
        }
        setup.conf.options.extend(self.options.iter().cloned());
        setup.environment.extend(self.options.iter().cloned());
        let asks_over_tcp =
            setup.conf.has("use-vc") || setup.environment.iter().any(|o| o == "use-vc");
        if asks_over_tcp {
            return Err(ChangeError::OverTcp);
        }
        Ok(setup)
    }
}

/// What is known of one lookup before any change.
pub struct KnownLookup {
    /// Whose it was.
    pub guess: Guess,
    /// Its waits beside the timetable of each model that the facts allow.
    pub fits: Vec<TimetableMatch>,
    /// Some query ran into a timeout.
    pub timed_out: bool,
    /// Some other process's: nobody knows its options.
    pub untraced: bool,
    /// Its resolvers are those of the setup, so that a change touches it.
    pub concerned: bool,
}

impl KnownLookup {
    /// Whether the models explain what was seen: nothing timed out, or every wait fits.
    pub fn explained(&self) -> bool {
        !self.timed_out || !self.fits.is_empty() && self.fits.iter().all(|f| f.fits)
    }
}

/// A case, made ready for questions.
pub struct WhatIfModel<'a> {
    case: &'a Case<'a>,
    behaviour: ServerBehaviour<'a>,
    setup: Setup,
    known: RefCell<HashMap<LookupId, Rc<KnownLookup>>>,
}

/// What a change would make of a lookup.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// As seen.
    pub seen: Span,
    /// At least.
    pub least: Span,
    /// At most.
    pub most: Span,
    /// How the models say it ended as seen.
    pub was: LookupResult,
    /// How it would end.
    pub ending: LookupResult,
    /// Its waits then, shortest course.
    pub waits: Vec<super::schedule::ScheduledWait>,
    /// Resolvers of which the case says nothing.
    pub guessed: BTreeSet<IpAddr>,
    /// Whose models say so; empty when none applies and the lookup is taken to last as long as it did.
    pub models: Vec<Stub>,
    /// The models explain the waits that were seen.
    pub explained: bool,
    /// Nothing timed out, or it is known whose lookup it was.
    pub settled: bool,
}

/// What one model says of a lookup under another setup.
struct Forecast {
    /// Time of the client's own, which no timetable has.
    own: Span,
    /// How the model says it ended as seen.
    was: LookupResult,
    /// Its shortest course.
    least: Predicted,
    /// Its longest.
    most: Predicted,
}

impl<'a> WhatIfModel<'a> {
    /// Reads the resolvers' conduct from the case.
    pub fn new(case: &'a Case<'a>) -> Self {
        Self {
            case,
            behaviour: ServerBehaviour::new(case),
            setup: Setup::recorded(case),
            known: RefCell::default(),
        }
    }

    /// What the clients of the case were told.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Whose lookup it was, and how its waits fit.
    pub fn known(&self, lookup: LookupId) -> Rc<KnownLookup> {
        if let Some(known) = self.known.borrow().get(&lookup) {
            return Rc::clone(known);
        }
        let known = Rc::new(self.find_out(lookup));
        self.known.borrow_mut().insert(lookup, Rc::clone(&known));
        known
    }

    fn find_out(&self, lookup: LookupId) -> KnownLookup {
        let (case, setup) = (self.case, &self.setup);
        let this = &case.joined.lookups[lookup];
        let guess = client::guess(case, &self.behaviour, setup, lookup);
        let timed_out = match_timetable::timed_out(case, this);
        // Waits that were all answered say nothing of a timetable.
        let fits = guess.allowed.iter().filter(|_| timed_out);
        let first = this.queries.first().map(|q| case.joined.queries[*q].origin);
        KnownLookup {
            fits: fits
                .filter_map(|stub| {
                    match_timetable::compare(case, &self.behaviour, lookup, setup, *stub)
                })
                .collect(),
            timed_out,
            untraced: first == Some(Origin::Untraced),
            concerned: match_timetable::concerns(case, this, setup),
            guess,
        }
    }

    /// What a lookup would be under another setup.
    pub fn lookup(&self, lookup: LookupId, known: &KnownLookup, setup: &Setup) -> Estimate {
        let this = &self.case.joined.lookups[lookup];
        let seen = this.ended - this.began;
        let mut estimate = Estimate {
            seen,
            least: seen,
            most: seen,
            was: LookupResult::Answered,
            ending: LookupResult::Answered,
            waits: Vec::new(),
            guessed: BTreeSet::new(),
            models: Vec::new(),
            explained: known.explained(),
            settled: !known.timed_out || known.guess.client.is_some(),
        };
        if !known.concerned {
            return estimate;
        }
        for stub in &known.guess.allowed {
            let Some(plan) = QuestionPlan::of(self.case, this, *stub, &self.setup) else {
                continue;
            };
            let scheduled = Scheduled {
                lookup,
                plan: &plan,
                behaviour: &self.behaviour,
                stub: *stub,
            };
            estimate.add(*stub, self.forecast(&scheduled, setup, seen));
        }
        estimate
    }

    /// What one model says of a lookup that took `seen` under the recorded setup.
    fn forecast(&self, scheduled: &Scheduled, setup: &Setup, seen: Span) -> Forecast {
        let was = scheduled.predict(&self.setup, Edge::Least, true);
        let at_most = scheduled.predict(&self.setup, Edge::Most, true).took;
        // What the model leaves out (milliseconds of the client's own) stays as it was.
        let own = if was.took == at_most {
            seen - was.took
        } else {
            Span::ZERO
        };
        Forecast {
            // One that ended before its timetable (a signal, the end of the inputs) has no milliseconds to spare.
            own: if own < -CUT_SHORT { Span::ZERO } else { own },
            was: was.ending,
            least: scheduled.predict(setup, Edge::Least, false),
            most: scheduled.predict(setup, Edge::Most, false),
        }
    }

    /// The delay of an account under another setup, at least and at most, and the estimates of its lookups.
    pub fn delay(
        &self,
        account: &Account,
        change: &Change,
        setup: &Setup,
    ) -> (Span, Span, BTreeMap<LookupId, Estimate>) {
        let target = match account.subject {
            Subject::Connection(c) => Some(self.case.joined.connections[c].to.ip),
            Subject::Lookup(_) => None,
        };
        let mut estimates = BTreeMap::new();
        let total = account.total();
        let (mut least, mut most) = (total, total);
        for (&l, &owned) in &account.by_lookup {
            let known = self.known(l);
            let mut estimate = self.lookup(l, &known, setup);
            let this = &self.case.joined.lookups[l];
            if change.no_reverse && this.reverse.is_some() && this.reverse == target {
                estimate.left_out();
            }
            // Of a lookup that others overlap only a part counts.
            let part = |then: Span| scaled(owned, then, estimate.seen);
            least = least - owned + part(estimate.least);
            most = most - owned + part(estimate.most);
            estimates.insert(l, estimate);
        }
        if change.no_reverse {
            let spared = services::spared(self.case, account);
            least = least - spared.sure - spared.perhaps;
            most = most - spared.sure;
        }
        (least.max(Span::ZERO), most.max(Span::ZERO), estimates)
    }
}

/// `owned * then / seen`.
fn scaled(owned: Span, then: Span, seen: Span) -> Span {
    if seen.0 <= 0 {
        return then;
    }
    let value = i128::from(owned.0) * i128::from(then.0) / i128::from(seen.0);
    Span(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Estimate {
    fn add(&mut self, stub: Stub, forecast: Forecast) {
        let Forecast {
            own,
            was,
            least,
            most,
        } = forecast;
        let then = |took: Span| (took + own).max(Span::ZERO);
        let worst = least.ending.min(most.ending);
        if self.models.is_empty() {
            (self.least, self.most) = (then(least.took), then(most.took));
            (self.was, self.ending) = (was, worst);
            self.waits = least.waits;
        } else {
            self.least = self.least.min(then(least.took));
            self.most = self.most.max(then(most.took));
            self.ending = self.ending.min(worst);
        }
        self.guessed.extend(least.guessed);
        self.guessed.extend(most.guessed);
        self.models.push(stub);
    }

    /// The lookup is not made at all.
    fn left_out(&mut self) {
        (self.least, self.most) = (Span::ZERO, Span::ZERO);
        self.waits.clear();
        self.guessed.clear();
        self.models.clear();
        self.ending = self.was;
        (self.explained, self.settled) = (true, true);
    }

    /// The change leaves it out.
    pub fn not_made(&self, change: &Change) -> bool {
        change.no_reverse && self.models.is_empty() && self.most == Span::ZERO
    }

    /// It would end worse than it did: no connect might follow.
    pub fn worse(&self) -> bool {
        self.ending < self.was
    }
}

#[cfg(test)]
mod tests;
