//! Timetables and the best change as the report's plain types and in words.

use super::best::{about, by_whose_models};
use super::{KnownLookup, WhatIfModel};
use crate::explain::ledger::{Account, Subject};
use crate::explain::schedule::match_timetable::TimetableMatch;
use crate::explain::{cite, client, words};
use crate::flow::host;
use crate::report::{BestChange, Timetable, TimetableWait};
use crate::time::Span;
use crate::timetable::{LookupResult, Stub};

/// Seconds as reports have them: to the microsecond.
pub fn seconds(span: Span) -> f64 {
    cite::seconds(span.as_seconds())
}

/// A lookup's waits beside the timetable of its stub resolver. Of several that the facts allow none is shown.
pub fn timetable(whatif: &WhatIfModel, known: &KnownLookup) -> Option<Timetable> {
    let [fit] = &known.fits[..] else {
        return None;
    };
    if !known.timed_out || known.guess.client.is_none() || known.untraced && !fit.fits {
        return None;
    }
    let told = whatif.setup().options_for(fit.stub);
    let patience = fit.stub.patience(&told);
    Some(Timetable {
        model: fit.stub.model(),
        name_servers: told.servers,
        timeout: patience.timeout,
        attempts: patience.attempts,
        waits: fit
            .waits
            .iter()
            .map(|w| TimetableWait {
                resolvers: w.servers.iter().map(|ip| host(*ip)).collect(),
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

/// `5, 3, 6 s is glibc with 3 resolvers, timeout 5`, or where the two part.
fn in_words(whatif: &WhatIfModel, fit: &TimetableMatch) -> String {
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
        return format!("waits of {seen} match {whose}{early}");
    }
    let odd = fit.waits.iter().find(|w| !w.fits);
    let where_ = odd.map_or_else(
        || "there are more waits than it makes".to_owned(),
        |w| {
            let names: Vec<String> = w.servers.iter().map(|ip| host(*ip)).collect();
            let (least, most) = (words::rounded(w.least), words::rounded(w.most));
            let range = if least == most {
                least
            } else {
                format!("{least} to {most}")
            };
            format!(
                "{} s for {} instead of {range} s",
                words::rounded(w.seen),
                words::list(&names)
            )
        },
    );
    format!(
        "waits of {seen} do not match {whose}: {where_}. The program may set options of its own"
    )
}

/// The best single change for an account.
pub fn best(whatif: &WhatIfModel, account: &Account) -> Option<BestChange> {
    let best = whatif.best(account)?;
    // What is left after a change must be known, too.
    whatif.case.evidence.known(best.most)?;
    let models = best.models();
    let whose = if models.is_empty() {
        String::new()
    } else {
        format!(" ({})", by_whose_models(&models))
    };
    let change = best.change.words();
    let alone = matches!(account.subject, Subject::Lookup(_));
    let fails = alone
        && best
            .estimates
            .values()
            .all(|e| e.ending == LookupResult::Failed);
    Some(BestChange {
        without: best.change.without.iter().map(|ip| host(*ip)).collect(),
        options: best.change.options.clone(),
        without_reverse_lookup: best.change.no_reverse,
        least_s: seconds(best.least),
        most_s: seconds(best.most),
        instead_of_s: seconds(account.total()),
        models: models.iter().copied().map(Stub::model).collect(),
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
