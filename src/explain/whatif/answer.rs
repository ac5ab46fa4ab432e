//! Answers to questions about a case, in the plain types of `presyn whatif`.

use super::best::Candidate;
use super::to_report::seconds;
use super::{Change, ChangeError, Estimate, WhatIfModel, services};
use crate::decode::resolv_conf::ResolvConf;
use crate::explain::assemble::{self, Limits};
use crate::explain::ledger::{Account, Index, Subject};
use crate::explain::{Case, cite, words};
use crate::flow::host;
use crate::join::LookupId;
use crate::report::whatif as out;
use crate::time::Span;
use crate::timetable::{LookupResult, Stub};
use std::collections::{BTreeMap, BTreeSet};

/// Answers a question; without one, tells what each change would do that may help the slowest delay.
pub fn answer(
    case: &Case,
    limits: Limits,
    change: Option<Change>,
) -> Result<out::WhatIf, ChangeError> {
    let whatif = WhatIfModel::new(case);
    let mut index = Index::new(case);
    let (accounts, _) = assemble::accounts(case, &mut index, limits);
    let answers = match (change, accounts.first()) {
        (Some(change), _) => vec![one(case, &whatif, &accounts, &change)?],
        (None, Some(slowest)) => whatif
            .changes(slowest)
            .into_iter()
            .filter_map(|change| whatif.tried(slowest, change))
            .filter(Candidate::matters)
            .map(|candidate| one(case, &whatif, &accounts, &candidate.change))
            .collect::<Result<_, _>>()?,
        (None, None) => Vec::new(),
    };
    let setup = whatif.setup();
    Ok(out::WhatIf {
        schema: out::SCHEMA.into(),
        nameservers: setup.servers().iter().map(|ip| host(*ip)).collect(),
        options: [&setup.conf.options[..], &setup.environment].concat(),
        answers,
    })
}

fn one(
    case: &Case,
    whatif: &WhatIfModel,
    accounts: &[Account],
    change: &Change,
) -> Result<out::ChangeAnswer, ChangeError> {
    let setup = change.apply(whatif.setup())?;
    let mut delays = Vec::new();
    let mut services: BTreeSet<&str> = BTreeSet::new();
    let mut unsure = false;
    let mut lookups: BTreeMap<LookupId, Estimate> = BTreeMap::new();
    for account in accounts {
        let Some(candidate) = whatif.tried(account, change.clone()) else {
            continue;
        };
        delays.push(delay(case, account, &candidate));
        if change.no_reverse {
            let spared = services::spared(case, account);
            unsure |= spared.perhaps > Span::ZERO;
            services.extend(spared.services);
        }
        lookups.extend(candidate.estimates);
    }
    let mut assumed = assumptions(whatif, change, &lookups);
    if !services.is_empty() {
        let names: Vec<String> = services.iter().map(ToString::to_string).collect();
        let asked = if unsure {
            "may have been asked for the same name, or for another one: the range has both"
        } else {
            "is taken to have been asked for the same name, and not to be asked either"
        };
        assumed.push(format!("{} {asked}.", words::list(&names)));
    }
    Ok(out::ChangeAnswer {
        change: change.words(),
        nameservers: setup.servers().iter().map(|ip| host(*ip)).collect(),
        options: setup.conf.options.clone(),
        delays,
        guessed: guessed(&lookups),
        assumptions: assumed,
        lookups: lookups
            .iter()
            .map(|(l, estimate)| lookup(case, change, *l, estimate))
            .collect(),
    })
}

fn delay(case: &Case, account: &Account, candidate: &Candidate) -> out::PredictedDelay {
    let (connection, lookup, to) = match account.subject {
        Subject::Connection(c) => (
            Some(cite::connection_id(c)),
            None,
            case.joined.connections[c].to.to_string(),
        ),
        Subject::Lookup(l) => (
            None,
            Some(cite::lookup_id(l)),
            words::spoken_name(&case.joined.lookups[l]),
        ),
    };
    out::PredictedDelay {
        connection,
        lookup,
        to,
        seen_s: seconds(account.total()),
        least_s: seconds(candidate.least),
        most_s: seconds(candidate.most),
        fails: candidate.estimates.values().any(Estimate::worse),
    }
}

fn lookup(case: &Case, change: &Change, l: LookupId, estimate: &Estimate) -> out::PredictedLookup {
    let this = &case.joined.lookups[l];
    let not_made = estimate.not_made(change) && this.reverse.is_some();
    out::PredictedLookup {
        id: cite::lookup_id(l),
        name: this.shown_name(),
        models: estimate.models.iter().copied().map(Stub::model).collect(),
        seen_s: seconds(estimate.seen),
        least_s: seconds(estimate.least),
        most_s: seconds(estimate.most),
        outcome: match estimate.ending {
            _ if not_made => out::EstimatedOutcome::NotMade,
            LookupResult::Answered => out::EstimatedOutcome::Answered,
            LookupResult::Denied => out::EstimatedOutcome::Negative,
            LookupResult::Failed => out::EstimatedOutcome::Failed,
        },
        explained: estimate.explained,
        waits: estimate
            .waits
            .iter()
            .map(|w| out::PredictedWait {
                resolvers: w.servers.iter().map(|ip| host(*ip)).collect(),
                seconds: seconds(w.span()),
            })
            .collect(),
    }
}

/// Resolvers of which the case says nothing.
fn guessed(lookups: &BTreeMap<LookupId, Estimate>) -> Vec<String> {
    let all: BTreeSet<_> = lookups.values().flat_map(|e| &e.guessed).collect();
    all.into_iter().map(|ip| host(*ip)).collect()
}

/// What an answer rests on, in sentences.
fn assumptions(
    whatif: &WhatIfModel,
    change: &Change,
    lookups: &BTreeMap<LookupId, Estimate>,
) -> Vec<String> {
    let mut list = vec![
        "Each resolver behaves as it did in the case; one that did not answer while the client waited stays silent."
            .to_owned(),
        "Everything but DNS lookups takes as long as it did.".to_owned(),
    ];
    if !whatif.setup().known {
        list.push(
            "There is no resolv.conf in the case: the resolvers are assumed to be those asked, in that order, with \
             the default options."
                .into(),
        );
    }
    let guessed = guessed(lookups);
    if !guessed.is_empty() {
        list.push(format!(
            "The case does not show how {} behaves: assumed to answer at once.",
            words::list(&guessed)
        ));
    }
    list.extend(doubts(change, lookups));
    if changes_names(change, &whatif.setup().conf) {
        list.push(
            "The names asked are those of the case, although the search list or ndots would change."
                .into(),
        );
    }
    list
}

/// The lookups whose estimates are rough, or no estimates at all.
fn doubts(change: &Change, lookups: &BTreeMap<LookupId, Estimate>) -> Vec<String> {
    let mut list = Vec::new();
    let ids = |pick: &dyn Fn(&Estimate) -> bool| {
        let picked = lookups.iter().filter(|(_, e)| pick(e));
        picked.map(|(l, _)| cite::lookup_id(*l)).collect::<Vec<_>>()
    };
    let odd = ids(&|e| !e.explained && !e.models.is_empty());
    if !odd.is_empty() {
        list.push(format!(
            "The waits seen in {} do not match the timetable, so its estimate is rough.",
            words::list(&odd)
        ));
    }
    let several = ids(&|e| e.models.len() > 1);
    if !several.is_empty() {
        let most = lookups.values().map(|e| &e.models).max_by_key(|m| m.len());
        let names: Vec<String> = most.map_or_else(Vec::new, |m| {
            m.iter().map(|s: &Stub| s.spoken().to_owned()).collect()
        });
        list.push(format!(
            "{} may have been asked by {}.",
            words::list(&several),
            words::either(&names)
        ));
    }
    let untouched = ids(&|e| e.models.is_empty() && !e.not_made(change));
    if !untouched.is_empty() {
        list.push(format!(
            "No model applies to {}: assumed to take as long as it did.",
            words::list(&untouched)
        ));
    }
    list
}

/// Whether clients would ask for other names than they did.
fn changes_names(change: &Change, seen: &ResolvConf) -> bool {
    let by_file = change
        .conf
        .as_ref()
        .is_some_and(|(_, conf)| conf.search != seen.search || conf.ndots() != seen.ndots());
    by_file || change.options.iter().any(|o| o.starts_with("ndots:"))
}
