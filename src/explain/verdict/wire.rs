//! The answer where packets are all there is: who asked and connected is a host, and what was before the first packet of
//! a connection is not known.

use super::watched;
use super::{
    Account, Case, Subject, WORTH_SAYING, culprit, nothing_held, other_waits, ranked, share,
    unanswered_since, unexplained,
};
use crate::coverage::{Blind, ClaimKind, Wanted};
use crate::event::dns::Rcode;
use crate::explain::ledger::{AccountEntry, after_syn, is_answer_captured, probes};
use crate::explain::undelayed::undelayed;
use crate::explain::{clients, words};
use crate::join::connect::{Connection, Ending, SynAnswer};
use crate::join::lookup::{Lookup, Outcome};
use crate::join::probe::Sought;
use crate::join::{Origin, Query, State};
use crate::time::{Span, Timestamp};
use std::collections::BTreeSet;

/// The sentences about the worst that the capture shows.
pub fn sentences(case: &Case, account: &Account) -> Vec<String> {
    let mut list = match account.subject {
        Subject::Connection(c) => connection(case, account, &case.joined.connections[c]),
        Subject::Lookup(l) => vec![lookup(case, account, &case.joined.lookups[l])],
    };
    if let Some(waits) = other_waits(case, account) {
        list.insert(1, format!("It also waited {waits}."));
    }
    list.extend(watched::thread(case, account));
    list
}

/// The address that connected or asked, or the process that was watched.
fn client(case: &Case, account: &Account) -> String {
    let (process, address) = match account.subject {
        Subject::Connection(c) => {
            let x = &case.joined.connections[c];
            (x.process, x.from.map(|from| from.ip))
        }
        Subject::Lookup(l) => {
            let lookup = &case.joined.lookups[l];
            (lookup.process, lookup.client)
        }
    };
    match (process, address) {
        (Some(process), _) => words::process_name(case, process),
        (None, Some(address)) => address.to_string(),
        (None, None) => "the client".into(),
    }
}

/// What was waited for longest, and how long in all.
fn longest_wait(case: &Case, account: &Account) -> Option<String> {
    let waits = ranked(account);
    let worst = waits.first()?;
    let same: Vec<&AccountEntry> = account
        .lines
        .iter()
        .filter(|l| l.kind == worst.kind && l.span >= WORTH_SAYING)
        .collect();
    let time: Span = same.iter().map(|l| l.span).sum();
    Some(format!(
        "{} of it waiting {}",
        share(case, time, account.total()),
        culprit(case, &same)
    ))
}

fn connection(case: &Case, account: &Account, x: &Connection) -> Vec<String> {
    let before = before(case, account, x);
    let Some(after) = after(case, x) else {
        return vec![before];
    };
    if is_bad(case, account, x) {
        vec![after, before]
    } else {
        vec![before, after]
    }
}

/// Whether what came after the SYN is the first thing to say: it failed, or took longer than what was before.
fn is_bad(case: &Case, account: &Account, x: &Connection) -> bool {
    let took = after_syn(x).filter(|took| *took >= WORTH_SAYING);
    let before: Span = ranked(account).iter().map(|line| line.span).sum();
    match x.outcome {
        Ending::Connected => took.is_some_and(|took| took > before),
        Ending::Refused | Ending::Unreachable => before < WORTH_SAYING,
        Ending::TimedOut(_) | Ending::Open(_) => {
            let silent = unanswered_since(case, x).is_some() || x.outcome.is_timeout();
            let tried = last_syn(case, x)
                .zip(x.first_syn)
                .map(|(last, first)| last - first);
            (silent || !x.replies.is_empty()) && tried.is_some_and(|tried| tried >= before)
        }
        Ending::NoSyn(_) => true,
    }
}

/// What was before the SYN, as far as the capture shows it.
fn before(case: &Case, account: &Account, x: &Connection) -> String {
    let (who, to) = (client(case, account), x.to);
    let total = words::took(account.total());
    let own = x.lookup.map(|l| &case.joined.lookups[l]);
    let began = own.filter(|l| l.began >= account.from);
    if clients::is_inbound(case, x) {
        return format!(
            "The capture was taken on the side of the server {}: nothing before the SYN of {who} to {to} can be seen.",
            to.ip
        );
    }
    match (own, began) {
        (_, Some(lookup)) => after_lookup(case, account, x, lookup),
        (Some(lookup), None) => {
            let ago = x.first_syn.map_or(Span::ZERO, |at| at - lookup.ended);
            format!(
                "{who} had the address of {to} from its lookup of {}, {} before this SYN.",
                words::spoken_name(lookup),
                words::took(ago)
            )
        }
        (None, None) => match longest_wait(case, account) {
            Some(why) => format!(
                "{who} sent its SYN to {to} {total} after its first {}; {why}.",
                first_step(case, account)
            ),
            None => match undelayed(case, account) {
                Ok(absence) => nothing_held(&who, to, &total, &absence),
                Err(_) => format!(
                    "Nothing before the SYN of {who} to {to} is known: {}.",
                    no_lookup(case, account, x)
                ),
            },
        },
    }
}

/// The lookup that gave the address, and what the client waited for since it began.
fn after_lookup(case: &Case, account: &Account, x: &Connection, lookup: &Lookup) -> String {
    if let Some(waited) = watched::waited(case, account, x) {
        return waited;
    }
    let (who, to) = (client(case, account), x.to);
    let total = words::took(account.total());
    let name = words::spoken_name(lookup);
    let rest = unexplained(account);
    let why = longest_wait(case, account).or_else(|| {
        (rest >= WORTH_SAYING).then(|| {
            format!(
                "the capture does not show what it waited for in {} of that",
                words::took(rest)
            )
        })
    });
    let why = why.map_or_else(String::new, |why| format!("; {why}"));
    let other = lookup
        .client
        .filter(|c| x.process.is_none() && x.from.is_some_and(|from| from.ip != *c));
    match other {
        // Two addresses of one host, as it seems.
        Some(asker) => format!(
            "{who} sent its SYN to {to} {total} after the first query for {name}, which {asker} sent{why}."
        ),
        None => {
            format!("{who} sent its SYN to {to} {total} after its first query for {name}{why}.")
        }
    }
}

/// What an account without a lookup begins with.
fn first_step(case: &Case, account: &Account) -> String {
    let probe = match account.subject {
        Subject::Connection(c) => probes::before(case, c),
        Subject::Lookup(_) => None,
    };
    match probe.map(|probe| &probe.what) {
        Some(Sought::Neighbour(about)) if about.is_ipv4() => format!("ARP request for {about}"),
        Some(Sought::Neighbour(about)) => format!("neighbour solicitation for {about}"),
        Some(Sought::Name(protocol, name)) => format!("{} query for {name}", protocol.name()),
        Some(Sought::Quic(_)) | None => "attempt".into(),
    }
}

/// Why no lookup stands before a connection.
fn no_lookup(case: &Case, account: &Account, x: &Connection) -> String {
    let wanted = Wanted {
        kind: ClaimKind::Query,
        from: x.from.map(|from| from.ip),
        to: None,
        netns: None,
    };
    let since = watched::may_have_asked_since(case, account.from);
    match case.evidence.coverage.would_show(wanted, since, account.to) {
        Ok(_) if x.process.is_some() => {
            "no lookup of it that gave this address is in the capture".into()
        }
        Ok(_) => "the capture holds no lookup that gave this address".into(),
        Err(blind) => blind.to_string(),
    }
}

/// What came after the SYN.
fn after(case: &Case, x: &Connection) -> Option<String> {
    let again = x.repeats;
    let repeats = match again {
        0 => String::new(),
        n => format!(
            ", after {}",
            words::counted(n, "retransmission", "retransmissions")
        ),
    };
    let (to, of) = (x.to, of_client(case, x));
    if let Some(refused) = reply_refused(case, x, &of) {
        return Some(refused);
    }
    match x.outcome {
        Ending::Connected if !is_answer_captured(case, x) => {
            let when = after_syn(x).map_or_else(
                || "after its SYN".into(),
                |took| format!("{} after its SYN", words::took(took)),
            );
            Some(format!(
                "{to} accepted the connection{of}: it went on {when}; no SYN-ACK between them is in the capture."
            ))
        }
        Ending::Connected => {
            let took = words::took(after_syn(x)?);
            Some(format!("{to} answered the SYN{of} in {took}{repeats}."))
        }
        Ending::Refused if again > 0 => Some(format!(
            "{to} refused the connection{of}, at last {} after the first of {}.",
            words::took(after_syn(x)?),
            syns(x)
        )),
        Ending::Refused => Some(format!(
            "{to} refused the connection{of} {} after the SYN.",
            words::took(after_syn(x)?)
        )),
        Ending::Unreachable => Some(format!(
            "The network reported {to} unreachable {} after the SYN{of}{repeats}.",
            words::took(after_syn(x)?)
        )),
        // Only a capture that would have shown an answer can say that there was none.
        Ending::TimedOut(SynAnswer::Absent(_)) | Ending::Open(SynAnswer::Absent(_)) => {
            unanswered(case, x, &of)
        }
        Ending::Open(SynAnswer::Unknown) => ends_soon(case, x, &of),
        Ending::TimedOut(SynAnswer::Unknown) | Ending::NoSyn(_) => None,
    }
}

/// That the capture ends before an answer was due. What else it holds of the attempt is not judged.
fn ends_soon(case: &Case, x: &Connection, of: &str) -> Option<String> {
    let rest = case.evidence.end() - last_syn(case, x)?;
    if rest >= WORTH_SAYING {
        return None;
    }
    let ends = if rest == Span::ZERO {
        "with".to_owned()
    } else {
        format!("{} after", words::took(rest))
    };
    Some(format!("The capture ends {ends} the SYN{of} to {}.", x.to))
}

/// ` of 10.0.0.1`, where the client is known.
fn of_client(case: &Case, x: &Connection) -> String {
    let process = x.process.map(|process| words::process_name(case, process));
    let client = process.or(x.from.map(|from| from.ip.to_string()));
    client.map_or_else(String::new, |client| format!(" of {client}"))
}

fn syns(x: &Connection) -> String {
    words::counted(x.repeats + 1, "SYN", "SYNs")
}

/// What answered the SYN in vain: a SYN-ACK that the client did not take, or an ACK of another connection.
fn reply_refused(case: &Case, x: &Connection, of: &str) -> Option<String> {
    let (to, syns) = (x.to, syns(x));
    if let Some(first) = x.replies.ignored.first() {
        let after = words::took(case.evidence.event(*first).at - x.first_syn?);
        let end = after_syn(x).map_or_else(String::new, |t| {
            format!(
                "; the client went on {} after its first SYN",
                words::took(t)
            )
        });
        return Some(format!(
            "{to} answered the SYN{of} after {after}, but the client sent {syns}: it did not accept the SYN-ACK{end}."
        ));
    }
    if let Some(late) = x.replies.too_late {
        let after = words::took(case.evidence.event(late).at - x.first_syn?);
        return Some(format!(
            "{to} answered the SYN{of} after {after}, when the client had given it up: it reset the connection at once."
        ));
    }
    (!x.replies.foreign.is_empty() && x.outcome != Ending::Connected).then(|| {
        format!(
            "{to} answered {syns}{of} with an ACK of another connection: it, or a NAT before it, still has an older \
             connection with these ports."
        )
    })
}

/// That nothing came back, where the capture went on long enough to show it.
fn unanswered(case: &Case, x: &Connection, of: &str) -> Option<String> {
    let (to, first) = (x.to, x.first_syn?);
    let seen = case.evidence.end() - first;
    if seen < WORTH_SAYING {
        return ends_soon(case, x, of);
    }
    let tried = last_syn(case, x)? - first;
    Some(if x.repeats == 0 {
        format!(
            "Nothing answered the SYN{of} to {to}; the capture goes on for {} after it.",
            words::took(seen)
        )
    } else {
        format!(
            "Nothing answered {}{of} to {to}, sent over {}.",
            syns(x),
            words::took(tried)
        )
    })
}

fn last_syn(case: &Case, x: &Connection) -> Option<Timestamp> {
    x.syns.last().map(|e| case.evidence.event(*e).at)
}

/// A lookup that no connection used.
fn lookup(case: &Case, account: &Account, lookup: &Lookup) -> String {
    let (who, name) = (client(case, account), words::spoken_name(lookup));
    let took = words::took(lookup.ended - lookup.began);
    if let Some(operation) = words::operation(case, lookup) {
        let to = asked_hosts(case, lookup);
        let answer = lookup.queries(case.joined).find_map(Query::answer);
        let end = match answer.map(|a| a.rcode) {
            None => "no response is in the capture".to_owned(),
            Some(Rcode::NOERROR) => format!("the response came after {took}"),
            Some(code) => format!("the response, {code}, came after {took}"),
        };
        return format!("{who} sent {operation} for {name} to {to}; {end}. This is not a lookup.");
    }
    let why = || longest_wait(case, account).map_or_else(String::new, |why| format!("; {why}"));
    if let (Outcome::Open | Outcome::Failed, Some(at)) =
        (lookup.outcome, unattributed_answer(case, lookup))
    {
        return format!(
            "{who}'s lookup of {name} may have ended {} after its first query to {}: a query for that name that cannot be \
             attributed to a process was answered then{}.",
            words::took(at - lookup.began),
            asked(case, lookup),
            why()
        );
    }
    match lookup.outcome {
        Outcome::Answered => {
            format!(
                "{who} looked up {name} and was answered after {took}{}.",
                why()
            )
        }
        Outcome::Negative => format!(
            "{who} looked up {name} and learned after {took} that there is no such name or record{}.",
            why()
        ),
        Outcome::Referred => format!(
            "{who} asked for {name} and was referred to other servers after {took}{}.",
            why()
        ),
        Outcome::Open if lookup.queries(case.joined).any(is_not_repeated) => format!(
            "No answer to {who}'s question for {name} is in the capture, nor was it asked again of {}: {who} may have had an \
             answer that the capture lacks.",
            asked(case, lookup)
        ),
        Outcome::Open if lookup.ended <= lookup.began => format!(
            "{who}'s lookup of {name} was still open when the capture ended with its first query to {}.",
            asked(case, lookup)
        ),
        Outcome::Open => format!(
            "{who}'s lookup of {name} was still open when the capture ended, {took} after its first query to {}.",
            asked(case, lookup)
        ),
        Outcome::Failed => failed(case, lookup, &who, &name),
    }
}

/// When a query for the name of a watched process's lookup was answered, while that lasted, which may have been its own.
fn unattributed_answer(case: &Case, lookup: &Lookup) -> Option<Timestamp> {
    let own = || lookup.queries(case.joined);
    if !own().any(|query| query.origin == Origin::Watched) {
        return None;
    }
    let same = |query: &&Query| {
        let name = query.question.name.folded();
        query.origin == Origin::Unattributed && own().any(|q| q.question.name.folded() == name)
    };
    let answers = { case.joined.queries.iter() }
        .filter(same)
        .filter_map(Query::answer);
    let times = answers.map(|answer| answer.at);
    times
        .filter(|at| (lookup.began..=lookup.ended).contains(at))
        .min()
}

/// Whether nothing shows that a query was left without an answer: who has none asks again.
fn is_not_repeated(query: &Query) -> bool {
    query.state == State::Open(Blind::NotRepeated)
}

/// The resolvers that a lookup asked, with a noun before them.
fn asked(case: &Case, lookup: &Lookup) -> String {
    let resolvers: BTreeSet<_> = lookup.queries(case.joined).map(|q| q.resolver).collect();
    let noun = if resolvers.len() == 1 {
        "resolver"
    } else {
        "resolvers"
    };
    format!("{noun} {}", asked_hosts(case, lookup))
}

/// The resolvers that a lookup asked, in that order.
fn asked_hosts(case: &Case, lookup: &Lookup) -> String {
    let mut names: Vec<String> = Vec::new();
    for query in lookup.queries(case.joined) {
        let name = words::resolver(query.resolver);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    words::list(&names)
}

fn failed(case: &Case, lookup: &Lookup, who: &str, name: &str) -> String {
    let queries: Vec<&Query> = lookup.queries(case.joined).collect();
    let last = queries.last().map_or(lookup.began, |q| q.sent);
    let over = match queries.len() {
        1 => "1 query".into(),
        n => format!("{n} queries over {}", words::took(last - lookup.began)),
    };
    let answered = queries
        .iter()
        .any(|q| matches!(q.state, State::Answered(_)));
    let what = if queries.iter().any(|q| q.is_lost()) {
        "ended without an answer that reached the client".into()
    } else if answered {
        let took = words::took(lookup.ended - lookup.began);
        format!("got no usable answer in {took}")
    } else {
        "was not answered".into()
    };
    format!(
        "{who}'s lookup of {name} {what}: {over} to {}.",
        asked(case, lookup)
    )
}
