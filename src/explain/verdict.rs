//! The answer in a few sentences: what a colleague would say who has read both logs.

mod silence;
mod watched;
mod wire;

use super::Case;
use super::finding::{Finding, Severity, attempt, page};
use super::ledger::after_syn;
use super::ledger::{Account, AccountEntry, ChargedParty, Kind, Subject};
use super::undelayed::undelayed;
use super::{unattributed, words};
use crate::coverage::Absence;
use crate::event::dns::RecordType;
use crate::event::{CallOutcome, Event, EventKind, LifecycleChange, Op, Packet};
use crate::flow::Endpoint;
use crate::join::EventId;
use crate::join::connect::{Connection, Ending, SynAnswer};
use crate::join::lookup::{Lookup, Outcome, Stop};
use crate::join::service::ServiceWait;
use crate::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// Shorter waits are not worth a sentence.
const WORTH_SAYING: Span = Span::millis(100);

/// The sentences; the first names the culprit.
pub fn sentences(case: &Case, accounts: &[Account], findings: &[Finding]) -> Vec<String> {
    let Some(account) = accounts.first() else {
        return vec![nothing(case)];
    };
    let mut list = if case.evidence.has_trace() {
        let answer = first(case, account);
        let answer = if case.evidence.coverage.is_assumed() {
            format!("Assuming these files are of one run, {answer}")
        } else {
            capitalized(&answer)
        };
        let mut list = vec![answer];
        list.extend(second(case, account));
        // A failure is the news where nothing was waited for.
        if is_refused_at_once(case, account) && list.len() > 1 {
            list.swap(0, 1);
        }
        list
    } else {
        wire::sentences(case, account)
    };
    // What a table cannot say, right behind the first sentence.
    let matters = |f: &&Finding| f.draft.severity > Severity::Info || case.evidence.has_trace();
    let said = findings.iter().filter(|f| page(f.draft.id).in_summary);
    let said = said.filter(matters);
    let titles = said.map(|f| format!("{}.", f.draft.title));
    list.splice(1..1, titles);
    list
}

/// Whether the server refused, or could not be reached, and nothing before was waited for.
fn is_refused_at_once(case: &Case, account: &Account) -> bool {
    let Subject::Connection(c) = account.subject else {
        return false;
    };
    let failed = matches!(
        case.joined.connections[c].outcome,
        Ending::Refused | Ending::Unreachable
    );
    failed && ranked(account).is_empty() && !case.evidence.coverage.is_assumed()
}

fn capitalized(sentence: &str) -> String {
    // A program's name is left as it is written.
    for (word, capital) in [("the ", "The "), ("at least ", "At least ")] {
        if let Some(rest) = sentence.strip_prefix(word) {
            return format!("{capital}{rest}");
        }
    }
    sentence.to_owned()
}

fn nothing(case: &Case) -> String {
    let (queries, connections) = (case.joined.queries.len(), case.joined.connections.len());
    let captures = case.evidence.captures.iter();
    let unread: Vec<String> = captures
        .flat_map(|c| &c.unread)
        .map(|(what, count)| {
            let packets = words::counted(
                usize::try_from(*count).unwrap_or(usize::MAX),
                "packet",
                "packets",
            );
            format!("{packets} ({what})")
        })
        .collect();
    let undecodable: u64 = case.evidence.captures.iter().map(|c| c.undecodable).sum();
    if queries + connections == 0 && (!unread.is_empty() || undecodable > 0) {
        let damaged = (undecodable > 0).then(|| {
            let count = usize::try_from(undecodable).unwrap_or(usize::MAX);
            format!(
                "{} (damaged or cut)",
                words::counted(count, "packet", "packets")
            )
        });
        let all: Vec<String> = unread.into_iter().chain(damaged).collect();
        return format!(
            "{} could not be read: whether there was a DNS query or a connection attempt is not known.",
            words::list(&all)
        );
    }
    if queries + connections == 0
        && let Some(waits) = service_waits(case)
    {
        return format!(
            "There is no DNS query and no connection attempt in these inputs, but the client waited {waits}."
        );
    }
    if queries + connections > 0 {
        let whose = match case.evidence.owners.watched() {
            Some(watched) => watched.target.chars().take(100).collect(),
            None => "the traced program".to_owned(),
        };
        return format!(
            "No connection to a server and no lookup of {whose} is in these inputs{}.",
            unattributed::beside(case)
        );
    }
    if case.evidence.captures.is_empty() && has_io_uring(case) {
        return "No DNS query and no connection attempt shows in these inputs, but the program uses io_uring, which may \
                hide them."
            .into();
    }
    let lacking = answers_alone(case);
    if lacking.is_empty() {
        return "There is no DNS query and no connection attempt in these inputs.".into();
    }
    format!(
        "There is no DNS query and no connection attempt in these inputs, but {}.",
        words::list(&lacking)
    )
}

/// What answers queries and SYNs that the inputs lack: such a capture holds one direction, or begins too late.
fn answers_alone(case: &Case) -> Vec<String> {
    let is_syn_ack = |event: &&Event| matches!(&event.what, EventKind::Packet(Packet::Tcp { flags, .. }) if flags.syn && flags.ack);
    let syn_acks = case.evidence.events.iter().filter(is_syn_ack).count();
    let counted = [
        (
            case.joined.unsolicited.responses,
            "response to queries",
            "responses to queries",
        ),
        (syn_acks, "SYN-ACK for SYNs", "SYN-ACKs for SYNs"),
    ];
    let seen = counted.into_iter().filter(|(n, ..)| *n > 0);
    seen.map(|(n, one, many)| format!("{} that they lack", words::counted(n, one, many)))
        .collect()
}

fn has_io_uring(case: &Case) -> bool {
    case.evidence
        .events
        .iter()
        .any(|event| matches!(&event.what, EventKind::Call(call) if matches!(call.op, Op::IoUring)))
}

/// How long the client waited for name services, where that is worth a word. What it asked them may have been about users.
fn service_waits(case: &Case) -> Option<String> {
    let mut services: BTreeMap<&str, Span> = BTreeMap::new();
    for wait in &case.joined.services {
        let time = services.entry(wait.service).or_default();
        *time = *time + waited_on(case, wait);
    }
    services.retain(|_, time| *time >= WORTH_SAYING);
    let waits = services
        .iter()
        .map(|(service, time)| format!("{} for the name service {service}", case.took(*time)));
    let waits: Vec<String> = waits.collect();
    (!waits.is_empty()).then(|| words::list(&waits))
}

/// How long a thread waited for the socket of a name service: a daemon keeps it and asks again over it.
fn waited_on(case: &Case, wait: &ServiceWait) -> Span {
    let connect = wait.calls.first().and_then(|id| case.evidence.call(*id));
    let Some(socket) = connect.and_then(|call| Some(call.op.fd()?.number)) else {
        return Span::ZERO;
    };
    let events = case.evidence.events;
    let from = events.partition_point(|e| e.at < wait.began);
    let during = events[from..].iter().take_while(|e| e.at <= wait.ended);
    let lasted = during.filter_map(|event| {
        let EventKind::Call(call) = &event.what else {
            return None;
        };
        let on_it = match &call.op {
            Op::Wait { fds, .. } => fds.iter().any(|fd| fd.number == socket),
            Op::Receive { fd, .. } => fd.number == socket,
            _ => false,
        };
        let lasted = call.exited? - event.at;
        (on_it && call.task.tid == wait.task.tid).then_some(lasted)
    });
    lasted.sum()
}

/// The first sentence: who was waited for, for how long, before what.
fn first(case: &Case, account: &Account) -> String {
    let waits = ranked(account);
    let total = case.took(account.total());
    let who = subject_name(case, account);
    let Some(worst) = waits.first() else {
        return at_once(case, account, &who);
    };
    // In the order of the account, which is the order of time.
    let same: Vec<&AccountEntry> = account
        .lines
        .iter()
        .filter(|l| l.kind == worst.kind && l.span >= WORTH_SAYING)
        .collect();
    let time: Span = same.iter().map(|l| l.span).sum();
    let culprit = culprit(case, &same);
    match account.subject {
        Subject::Connection(c) => {
            let x = &case.joined.connections[c];
            if x.outcome.lacks_syn() && worst.party == Some(ChargedParty::Endpoint(x.to)) {
                return no_syn(case, worst, x, &who);
            }
            let what = match x.first_syn {
                Some(_) => format!("{total} passed before {who} sent its SYN to {}", x.to),
                None if x.outcome.lacks_syn() => format!(
                    "{who} never sent a SYN to {}; its attempt ended after {total}",
                    x.to
                ),
                // Without a packet the account ends with the attempt, not with the call.
                None if account.lines.iter().any(|line| is_own(line, x)) => {
                    format!(
                        "{total} passed before the connect of {who} to {} ended",
                        x.to
                    )
                }
                None => format!("{total} passed before {who} called connect to {}", x.to),
            };
            format!(
                "{what}; {} of it waiting {culprit}.",
                share(case, time, account.total())
            )
        }
        Subject::Lookup(l) => {
            let lookup = &case.joined.lookups[l];
            // What the program did before it asked is not part of the lookup.
            let asked = account.first_lookup.unwrap_or(account.from);
            let before = asked - account.from;
            let lasted = if before < WORTH_SAYING {
                account.total()
            } else {
                account.to - asked
            };
            format!(
                "{who} looked up {} and {} after {}; {} of it waiting {culprit}.",
                words::spoken_name(lookup),
                end_of_lookup(case, lookup),
                case.took(lasted),
                share(case, time, lasted)
            )
        }
    }
}

/// Whether an entry is the time that an attempt itself took.
fn is_own(line: &AccountEntry, x: &Connection) -> bool {
    line.kind == Kind::AttemptFailed && line.party == Some(ChargedParty::Endpoint(x.to))
}

/// An attempt that itself took the time and sent nothing: the error is the answer.
fn no_syn(case: &Case, line: &AccountEntry, x: &Connection, who: &str) -> String {
    let error = attempt::error(case, x).map_or_else(String::new, |e| format!(" with {e}"));
    format!(
        "{who} never sent a SYN to {}: the attempt failed{error} after {}.",
        x.to,
        case.took(line.span)
    )
}

/// How a lookup ended, to be followed by the time it took.
fn end_of_lookup(case: &Case, lookup: &Lookup) -> String {
    match (lookup.outcome, lookup.stop) {
        (Outcome::Answered, _) => "got its answer".into(),
        (Outcome::Negative, _) => "learned that there is no such name".into(),
        (Outcome::Referred, _) => "was referred to other servers".into(),
        (_, Stop::Signal(by)) => format!("was ended by {}", signal(case, by)),
        (_, Stop::Trace) => "still had no answer when the trace ended,".into(),
        // Of a name service only.
        (Outcome::Open, Stop::Client) if lookup.queries.is_empty() => {
            "ended the lookup (the trace does not show the answer)".into()
        }
        (Outcome::Failed | Outcome::Open, Stop::Client) if case.evidence.has_trace() => {
            "gave up".into()
        }
        (Outcome::Failed | Outcome::Open, Stop::Client) => "had no answer".into(),
    }
}

/// The signal that ended a client.
fn signal(case: &Case, event: EventId) -> String {
    match &case.evidence.event(event).what {
        EventKind::Life(life) => match &life.change {
            LifecycleChange::Killed(name) | LifecycleChange::Signal(name) => name.clone(),
            _ => "a signal".into(),
        },
        _ => "a signal".into(),
    }
}

fn share(case: &Case, time: Span, total: Span) -> String {
    // A log without times does not show the whole.
    if total - time < WORTH_SAYING && !case.evidence.only_lower_bounds() {
        "nearly all".into()
    } else {
        case.took(time)
    }
}

/// Waits worth saying, longest first.
fn ranked(account: &Account) -> Vec<&AccountEntry> {
    let mut list: Vec<&AccountEntry> = account
        .lines
        .iter()
        .filter(|l| l.kind.is_wait() && l.span >= WORTH_SAYING)
        .collect();
    list.sort_by_key(|l| std::cmp::Reverse(l.span));
    list
}

/// Whom the client waited for, in words.
fn culprit(case: &Case, lines: &[&AccountEntry]) -> String {
    let parties: Vec<String> = lines.iter().filter_map(|l| l.party).map(party).collect();
    let names = words::list(&parties);
    let many = parties.len() > 1;
    let kind = lines.first().map_or(Kind::Unexplained, |l| l.kind);
    let resolver = if many {
        format!("the {} resolvers {names}", count(parties.len()))
    } else {
        format!("resolver {names}")
    };
    match kind {
        Kind::ResolverSilent => silence::silence(case, lines),
        Kind::AnswerNotReceived => {
            format!("for answers of {resolver} that are in the capture but did not reach it")
        }
        Kind::ResolverAnswer => format!("for slow answers of {resolver}"),
        Kind::SearchDomains => {
            format!("for {resolver}, asked for names of the search list that do not exist")
        }
        Kind::ResolverRefused => format!("for {resolver}, which refused the query"),
        Kind::ResolverUnreachable => {
            format!("for {resolver}, to which no packet could be delivered")
        }
        Kind::ResolverTcp => format!("for DNS over TCP to {names}"),
        Kind::NameService => format!("for the name service {names} on this host"),
        Kind::SocketWait => format!("for {}", words::sockets(lines)),
        Kind::AddressResolution => format!("for {names} to answer ARP or ND"),
        Kind::MulticastName => format!("for answers to {names}"),
        Kind::Quic => format!("for {names} to answer QUIC"),
        Kind::AttemptFailed => format!("for {names}, to which no connection was established"),
        Kind::Running | Kind::Unexplained => "for nothing that the inputs show".into(),
    }
}

/// The waits of other kinds than the longest one, if any are worth saying.
fn other_waits(case: &Case, account: &Account) -> Option<String> {
    let waits = ranked(account);
    let worst = waits.first()?;
    let others: Vec<String> = waits
        .iter()
        .filter(|l| l.kind != worst.kind)
        .take(3)
        .map(|l| format!("{} {}", case.took(l.span), culprit(case, &[l])))
        .collect();
    // A clause ends with a comma.
    let clauses = others.iter().any(|o| o.contains(", which "));
    (!others.is_empty()).then(|| {
        if clauses {
            others.join(", and ")
        } else {
            words::list(&others)
        }
    })
}

/// What to say about the rest of the time.
fn second(case: &Case, account: &Account) -> Vec<String> {
    let mut list = Vec::new();
    list.extend(other_waits(case, account).map(|waits| format!("It also waited {waits}.")));
    list.extend(under_way(case, account));
    if let Subject::Connection(c) = account.subject {
        list.extend(after(case, &case.joined.connections[c]));
    }
    list
}

/// The attempts before this one whose end no input shows, where they took a time worth saying.
fn under_way(case: &Case, account: &Account) -> Option<String> {
    let attempts = account.lines.iter();
    let attempts: Vec<&AccountEntry> = attempts
        .filter(|l| l.kind == Kind::Unexplained && l.party.is_some())
        .collect();
    let time: Span = attempts.iter().map(|l| l.span).sum();
    let to: Vec<String> = attempts
        .iter()
        .filter_map(|l| l.party)
        .map(|p| p.to_string())
        .collect();
    (time >= WORTH_SAYING).then(|| {
        format!(
            "For {} it had called connect to {}; the log does not show whether that succeeded.",
            case.took(time),
            words::list(&to)
        )
    })
}

/// After the SYN.
fn after(case: &Case, x: &Connection) -> Option<String> {
    let again = x.repeats;
    let repeats = match again {
        0 => String::new(),
        1 => ", after one retransmission".into(),
        n => format!(", after {n} retransmissions"),
    };
    let took = after_syn(x);
    match (&x.outcome, took) {
        (Ending::Connected, Some(took)) if x.first_syn.is_none() => case
            .evidence
            .known(took)
            .map(|_| format!("The connect took {}.", case.took(took))),
        (Ending::Connected, Some(took)) if took >= WORTH_SAYING => Some(format!(
            "The server {} answered the SYN only {} later{repeats}.",
            x.to,
            case.took(took)
        )),
        (Ending::Connected, Some(took)) => Some(format!(
            "The server answered the SYN in {}.",
            case.took(took)
        )),
        (Ending::Refused, Some(took)) => Some(format!(
            "The server {} refused the connection {} after the SYN.",
            x.to,
            case.took(took)
        )),
        (Ending::Refused, None) => Some(format!("The server {} refused the connection.", x.to)),
        (Ending::TimedOut(SynAnswer::Absent(_)), _) if x.first_syn.is_some() => {
            Some(format!("Nothing answered {} to {}.", syns(x), x.to))
        }
        (Ending::TimedOut(_), _) if x.first_syn.is_none() => {
            let lasted = case.evidence.known(x.measured_end()? - x.began()?)?;
            Some(format!(
                "Its connect to {} timed out after {}.",
                x.to,
                case.took(lasted)
            ))
        }
        (Ending::Open(_), _) => unanswered_since(case, x).map(|waited| {
            let waited = case.took(waited);
            let end = killed(case, x).map_or_else(
                || format!("when the inputs ended, {waited} later"),
                |signal| format!("when {signal} ended it {waited} later"),
            );
            if x.syns.is_empty() {
                format!("Its connect to {} had not completed {end}.", x.to)
            } else {
                format!("Nothing had answered {} to {} {end}.", syns(x), x.to)
            }
        }),
        (Ending::Unreachable, _) => Some(format!("The network reported {} unreachable.", x.to)),
        _ => None,
    }
}

fn syns(x: &Connection) -> String {
    match x.syns.len() {
        1 => "its SYN".into(),
        n => format!("its {n} SYNs"),
    }
}

/// The signal that ended the process of an attempt.
fn killed(case: &Case, x: &Connection) -> Option<String> {
    let task = x.task.as_ref()?;
    let process = x.process?;
    let began = x.began()?;
    let later = case.evidence.events.iter().rev();
    later
        .take_while(|e| e.at >= began)
        .find_map(|e| match &e.what {
            EventKind::Life(life) => match &life.change {
                LifecycleChange::Killed(signal)
                    if life.task.tid == task.tid
                        || case.joined.processes.of(&life.task) == process =>
                {
                    Some(signal.clone())
                }
                _ => None,
            },
            _ => None,
        })
}

/// How long an attempt that was never concluded had waited when the inputs ended, if that is worth saying.
pub fn unanswered_since(case: &Case, x: &Connection) -> Option<Span> {
    let end = x.ended.unwrap_or_else(|| case.evidence.end());
    let pending = x.is_pending(&case.evidence) && x.outcome.silence().is_some();
    let waited = end - x.left().filter(|_| pending)?;
    (waited >= WORTH_SAYING).then_some(waited)
}

/// Time that the inputs do not explain.
fn unexplained(account: &Account) -> Span {
    let lines = account.lines.iter().filter(|l| l.kind == Kind::Unexplained);
    lines.map(|l| l.span).sum()
}

/// Nothing was waited for: say so, and what came of the attempt.
fn at_once(case: &Case, account: &Account, who: &str) -> String {
    match account.subject {
        Subject::Connection(c) => {
            connected_at_once(case, account, &case.joined.connections[c], who)
        }
        Subject::Lookup(l) => looked_up_at_once(case, &case.joined.lookups[l], who),
    }
}

fn connected_at_once(case: &Case, account: &Account, x: &Connection, who: &str) -> String {
    let (to, total) = (x.to, case.took(account.total()));
    let slow = after_syn(x).is_some_and(|took| took >= WORTH_SAYING)
        || x.outcome.is_timeout()
        || unanswered_since(case, x).is_some();
    let server = if x.outcome == Ending::Connected {
        "was slow to answer"
    } else {
        "did not answer"
    };
    if x.first_syn.is_some() && slow {
        format!(
            "The delay came after the SYN: {who} sent it to {to} after {total}, and the server {server}."
        )
    } else if x.first_syn.is_some() {
        match undelayed(case, account) {
            Ok(absence) => nothing_held(who, to, &total, &absence),
            Err(blind) => format!(
                "{who} sent its SYN to {to} after {total}; whether it waited for something is not known: {blind}."
            ),
        }
    } else if x.left().is_some() && slow {
        format!(
            "The delay came after the connect to {to}, which {who} called after {total}: the server {server}."
        )
    } else if x.outcome.lacks_syn() {
        format!("{who} tried to connect to {to}, but no SYN left this host.")
    } else {
        called_at_once(case, account, to, who)
    }
}

/// The same where the call is all that the inputs show of a connect.
fn called_at_once(case: &Case, account: &Account, to: Endpoint, who: &str) -> String {
    let total = case.took(account.total());
    if case.evidence.only_lower_bounds() {
        return format!(
            "{who} called connect to {to}; how long it waited before is not known, since the log has no times."
        );
    }
    if unexplained(account) >= WORTH_SAYING {
        return format!(
            "{who} called connect to {to} after {total}; {} of that the log does not explain{}.",
            case.took(unexplained(account)),
            words::what_would_show(case)
        );
    }
    match undelayed(case, account) {
        Ok(absence) => {
            let longest = longest_wait(account).map(|wait| case.took(wait));
            no_wait((who, to), &total, longest.as_deref(), &absence)
        }
        Err(blind) if case.joined.lookups.is_empty() && account.total() == Span::ZERO => {
            format!(
                "{who} called connect to {to}; whether it waited for something before is not known: {blind}."
            )
        }
        Err(blind) => format!(
            "{who} called connect to {to} after {total}; whether it waited for something is not known: {blind}."
        ),
    }
}

fn looked_up_at_once(case: &Case, lookup: &Lookup, who: &str) -> String {
    let how = match (lookup.outcome, lookup.stop) {
        (Outcome::Answered, _) => "was answered".into(),
        (Outcome::Negative, _) => "ended with \"no such name\"".into(),
        (Outcome::Referred, _) => "was referred to other servers".into(),
        (Outcome::Failed, _) if never_left(case, lookup) => format!(
            "failed, since no query could leave this host ({}),",
            reasons(case, lookup)
        ),
        (Outcome::Failed, _) => "failed".into(),
        (Outcome::Open, Stop::Signal(by)) => {
            format!("was ended by {}", signal(case, by))
        }
        (Outcome::Open, _) => match refusers(case, lookup) {
            Some(who) => format!("had been refused by {who} and was still open at the end"),
            None => "was still open at the end".into(),
        },
    };
    format!(
        "{who}'s lookup of {} {how} after {}; {}.",
        words::spoken_name(lookup),
        case.took(lookup.ended - lookup.began),
        if case.goes_on_after(lookup) {
            "no connection followed"
        } else {
            "the trace ends there"
        }
    )
}

/// The resolvers that refused all queries of a lookup.
fn refusers(case: &Case, lookup: &Lookup) -> Option<String> {
    let refused = lookup.queries(case.joined).all(|q| q.refusal().is_some());
    let resolvers: BTreeSet<Endpoint> = lookup.queries(case.joined).map(|q| q.resolver).collect();
    let names: Vec<String> = resolvers.into_iter().map(words::resolver).collect();
    (refused && !names.is_empty()).then(|| words::list(&names))
}

/// Whether the calls that were to send the queries of a lookup all failed.
fn never_left(case: &Case, lookup: &Lookup) -> bool {
    let mut queries = lookup.queries(case.joined);
    queries.all(|q| {
        !q.on_wire()
            && q.refusal()
                .is_some_and(|r| !case.evidence.is_packet(r.event))
    })
}

/// The errors of those calls, each once.
fn reasons(case: &Case, lookup: &Lookup) -> String {
    let queries = lookup.queries(case.joined);
    let calls = queries.filter_map(|q| case.evidence.call(q.refusal()?.event));
    let errors: BTreeSet<String> = calls
        .filter_map(|call| match &call.outcome {
            CallOutcome::Failed(error) => Some(error.to_string()),
            _ => None,
        })
        .collect();
    words::list(&Vec::from_iter(errors))
}

/// The same of a call.
fn no_wait((who, to): (&str, Endpoint), total: &str, longest: Option<&str>, _: &Absence) -> String {
    let longer = longest.map_or_else(String::new, |longest| format!(" longer than {longest}"));
    format!(
        "{who} called connect to {to} after {total}; no wait for a name service{longer} is in the trace."
    )
}

/// The longest wait of an account, however short.
fn longest_wait(account: &Account) -> Option<Span> {
    let waits = account.lines.iter().filter(|l| l.kind.is_wait());
    waits.map(|l| l.span).filter(|s| *s > Span::ZERO).max()
}

/// Says that nothing delayed a SYN; its witness is that the inputs would have shown what did.
fn nothing_held(who: &str, to: Endpoint, total: &str, _: &Absence) -> String {
    format!("Nothing delayed {who}: its SYN to {to} left after {total}.")
}

/// The task that connected or asked, or "the client".
fn subject_name(case: &Case, account: &Account) -> String {
    let task = match account.subject {
        Subject::Connection(c) => case.joined.connections[c].task.as_ref(),
        Subject::Lookup(l) => case.joined.lookups[l].tasks.first(),
    };
    task.and_then(|t| t.comm.as_deref())
        .unwrap_or("the client")
        .to_owned()
}

/// The question behind a line, when its queries ask only one.
pub fn one_question(case: &Case, line: &AccountEntry) -> Option<String> {
    let questions: BTreeSet<String> = line
        .queries
        .iter()
        .map(|q| &case.joined.queries[*q])
        .filter(|q| q.question.name.known().is_some())
        .map(|q| q.question.to_string())
        .collect();
    match questions.len() {
        1 => questions.into_iter().next(),
        _ => None,
    }
}

fn one_type(case: &Case, line: &AccountEntry) -> Option<RecordType> {
    let kinds: BTreeSet<_> = line
        .queries
        .iter()
        .filter_map(|q| case.joined.queries[*q].question.kind)
        .collect();
    if kinds.len() == 1 {
        kinds.into_iter().next()
    } else {
        None
    }
}

fn party(party: ChargedParty) -> String {
    match party {
        ChargedParty::Endpoint(e) if e.port == 53 => crate::flow::host(e.ip),
        other => other.to_string(),
    }
}

fn count(n: usize) -> String {
    ["no", "one", "two", "three", "four", "five", "six"]
        .get(n)
        .map_or_else(|| n.to_string(), |w| (*w).to_string())
}

#[cfg(test)]
mod tests;
