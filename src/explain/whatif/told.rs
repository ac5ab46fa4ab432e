//! Timetables, changes and answers as the report's plain types and in words.

use super::best::{Candidate, about, by_whose_models};
use super::{Change, ChangeError, Estimate, Known, WhatIf};
use crate::explain::assemble::{self, Limits};
use crate::explain::ledger::{Account, Index, Subject};
use crate::explain::schedule::fit::Fit;
use crate::explain::{Case, cite, client, words};
use crate::report::whatif as out;
use crate::report::{BestChange, Timetable, TimetableWait};
use crate::time::Span;
use crate::timetable::{Ending, Stub};
use std::collections::{BTreeMap, BTreeSet};

fn seconds(span: Span) -> f64 {
    cite::seconds(span.as_seconds())
}

/// A lookup's waits beside the timetable of its stub resolver. Of several that the facts allow none is shown.
pub fn timetable(whatif: &WhatIf, known: &Known) -> Option<Timetable> {
    let [fit] = &known.fits[..] else {
        return None;
    };
    if !known.timed_out || known.guess.name == "unknown" || known.untraced && !fit.fits {
        return None;
    }
    let told = whatif.setup().told(fit.stub);
    let patience = fit.stub.patience(&told);
    Some(Timetable {
        model: fit.stub.name().into(),
        name_servers: told.servers,
        timeout: patience.timeout,
        attempts: patience.attempts,
        waits: fit
            .waits
            .iter()
            .map(|w| TimetableWait {
                resolvers: w.servers.iter().map(ToString::to_string).collect(),
                seen_s: seconds(w.seen),
                least_s: seconds(w.least),
                most_s: seconds(w.most),
            })
            .collect(),
        fits: fit.fits,
        whole: fit.whole,
        told: in_words(whatif, fit),
    })
}

/// `5, 3, 6 s is glibc with 3 name servers, timeout 5`, or where the two part.
fn in_words(whatif: &WhatIf, fit: &Fit) -> String {
    let whose = format!(
        "{} with {}",
        fit.stub.spoken(),
        client::terms(fit.stub, whatif.setup())
    );
    let seen = client::waits_of(fit);
    if fit.fits {
        let early = if fit.whole {
            ""
        } else {
            "; the client ended the lookup before the timetable did"
        };
        return format!("{seen} is {whose}{early}");
    }
    let odd = fit.waits.iter().find(|w| !w.fits);
    let where_ = odd.map_or_else(
        || "more waits than it has".to_owned(),
        |w| {
            let names: Vec<String> = w.servers.iter().map(ToString::to_string).collect();
            let (least, most) = (words::rounded(w.least), words::rounded(w.most));
            let range = if least == most {
                least
            } else {
                format!("{least} to {most}")
            };
            format!(
                "{} s for {} where it has {range} s",
                words::rounded(w.seen),
                words::list(&names)
            )
        },
    );
    format!("{seen} does not fit {whose}: {where_}. The program may set options of its own")
}

/// The best single change for an account.
pub fn best(whatif: &WhatIf, account: &Account) -> Option<BestChange> {
    let best = whatif.best(account)?;
    let models = best.models();
    let whose = if models.is_empty() {
        String::new()
    } else {
        format!(" ({})", by_whose_models(&models))
    };
    let change = best.change.words();
    let alone = matches!(account.subject, Subject::Lookup(_));
    let fails = alone && best.estimates.values().all(|e| e.ending == Ending::Failed);
    Some(BestChange {
        without: best
            .change
            .without
            .iter()
            .map(ToString::to_string)
            .collect(),
        options: best.change.options.clone(),
        without_reverse_lookup: best.change.no_reverse,
        least_s: seconds(best.least),
        most_s: seconds(best.most),
        instead_of_s: seconds(account.total()),
        models: models.iter().map(|s| s.name().into()).collect(),
        told: format!(
            "{change}: {} instead of {}{whose}{}.",
            about(best.least, best.most),
            words::took(account.total()),
            if fails {
                "; the lookup would still fail"
            } else {
                ""
            }
        ),
        change,
    })
}

/// Answers a question; without one, tells what each change would do that may help the slowest delay.
pub fn answer(
    case: &Case,
    limits: Limits,
    change: Option<Change>,
) -> Result<out::WhatIf, ChangeError> {
    let whatif = WhatIf::new(case);
    let mut index = Index::new(case);
    let (accounts, _) = assemble::accounts(case, &mut index, limits);
    let answers = match (change, accounts.first()) {
        (Some(change), _) => vec![one(case, &whatif, &accounts, &change)?],
        (None, Some(slowest)) => whatif
            .changes(slowest)
            .iter()
            .map(|change| one(case, &whatif, &accounts, change))
            .collect::<Result<_, _>>()?,
        (None, None) => Vec::new(),
    };
    let setup = whatif.setup();
    Ok(out::WhatIf {
        schema: out::SCHEMA.into(),
        nameservers: setup.servers().iter().map(ToString::to_string).collect(),
        options: [&setup.conf.options[..], &setup.environment].concat(),
        answers,
    })
}

fn one(
    case: &Case,
    whatif: &WhatIf,
    accounts: &[Account],
    change: &Change,
) -> Result<out::Answer, ChangeError> {
    let setup = change.apply(whatif.setup())?;
    let mut delays = Vec::new();
    let mut lookups: BTreeMap<usize, Estimate> = BTreeMap::new();
    for account in accounts {
        let Some(candidate) = whatif.tried(account, change.clone()) else {
            continue;
        };
        delays.push(delay(case, account, &candidate));
        lookups.extend(candidate.estimates);
    }
    Ok(out::Answer {
        change: change.words(),
        nameservers: setup.servers().iter().map(ToString::to_string).collect(),
        options: setup.conf.options.clone(),
        delays,
        guessed: guessed(&lookups),
        assumptions: assumptions(whatif, change, &lookups),
        lookups: lookups
            .iter()
            .map(|(l, estimate)| lookup(case, change, *l, estimate))
            .collect(),
    })
}

fn delay(case: &Case, account: &Account, candidate: &Candidate) -> out::Delay {
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
    out::Delay {
        connection,
        lookup,
        to,
        seen_s: seconds(account.total()),
        least_s: seconds(candidate.least),
        most_s: seconds(candidate.most),
        fails: candidate.estimates.values().any(Estimate::worse),
    }
}

fn lookup(case: &Case, change: &Change, l: usize, estimate: &Estimate) -> out::Lookup {
    let this = &case.joined.lookups[l];
    let not_made = estimate.not_made(change) && this.reverse.is_some();
    out::Lookup {
        id: cite::lookup_id(l),
        name: this.name.to_string(),
        models: estimate.models.iter().map(|s| s.name().into()).collect(),
        seen_s: seconds(estimate.seen),
        least_s: seconds(estimate.least),
        most_s: seconds(estimate.most),
        outcome: match estimate.ending {
            _ if not_made => "not made",
            Ending::Answered => "answered",
            Ending::Denied => "negative",
            Ending::Failed => "failed",
        }
        .into(),
        explained: estimate.explained,
        waits: estimate
            .waits
            .iter()
            .map(|w| out::Wait {
                resolvers: w.servers.iter().map(ToString::to_string).collect(),
                seconds: seconds(w.span()),
            })
            .collect(),
    }
}

/// Name servers of which the case says nothing.
fn guessed(lookups: &BTreeMap<usize, Estimate>) -> Vec<String> {
    let all: BTreeSet<_> = lookups.values().flat_map(|e| &e.guessed).collect();
    all.into_iter().map(ToString::to_string).collect()
}

/// What an answer rests on, in sentences.
fn assumptions(
    whatif: &WhatIf,
    change: &Change,
    lookups: &BTreeMap<usize, Estimate>,
) -> Vec<String> {
    let mut list = vec![
        "Each name server does what it did in the case; one that was silent for as long as it was waited for \
         stays silent."
            .to_owned(),
        "Everything but DNS lookups takes as long as it did.".to_owned(),
    ];
    if !whatif.setup().known {
        list.push(
            "There is no resolv.conf in the case: its name servers are taken to be those asked, in that order, \
             with the default options."
                .into(),
        );
    }
    let guessed = guessed(lookups);
    if !guessed.is_empty() {
        list.push(format!(
            "The case does not say what {} does: taken to answer at once.",
            words::list(&guessed)
        ));
    }
    let ids = |pick: &dyn Fn(&Estimate) -> bool| {
        let picked = lookups.iter().filter(|(_, e)| pick(e));
        picked.map(|(l, _)| cite::lookup_id(*l)).collect::<Vec<_>>()
    };
    let odd = ids(&|e| !e.explained && !e.models.is_empty());
    if !odd.is_empty() {
        list.push(format!(
            "The waits seen in {} do not fit the timetable, so its estimate is rough.",
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
            "No model applies to {}: taken to last as long as it did.",
            words::list(&untouched)
        ));
    }
    if let Some((_, conf)) = &change.conf
        && (conf.search != whatif.setup().conf.search
            || conf.ndots() != whatif.setup().conf.ndots())
    {
        list.push(
            "The names asked are those of the case, although the search list or ndots would change."
                .into(),
        );
    }
    list
}
