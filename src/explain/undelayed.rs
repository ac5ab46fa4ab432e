//! Whether the inputs show that nothing delayed a client: the one claim that everything hidden from them could refute.

use super::Case;
use super::ledger::{Account, Kind, Subject, asleep};
pub use crate::coverage::QUICK;
use crate::coverage::{Absence, AccountFacts, Blind};
use crate::event::{Event, EventKind, Op};
use crate::report::TraceWriter;
use crate::time::Span;

/// How long before a lookup a capture must have begun for the lookup to be the whole of it: the longest wait of a stub
/// resolver (c-ares, about 15 s, measured).
const LONGEST_WAIT: Span = Span::seconds(15);

/// The witness that an account is all there was.
///
/// # Errors
/// What may be hidden.
pub fn undelayed(case: &Case, account: &Account) -> Result<Absence, Blind> {
    let story = AccountFacts {
        unexplained: leftover(case, account),
        whole: is_whole(case, account),
        goes_on: match account.subject {
            Subject::Lookup(l) => case.goes_on_after(&case.joined.lookups[l]),
            Subject::Connection(_) => true,
        },
    };
    let coverage = case.evidence.coverage;
    coverage.shows_everything(story, account.from, account.to)
}

/// Time of an account that nothing explains. A trace of presyn's own follows every thread: what it leaves is the
/// program's own time. So is that for which a log shows it asleep.
fn leftover(case: &Case, account: &Account) -> Span {
    let traces = case.evidence.traces;
    let own = !traces.is_empty() && traces.iter().all(|t| t.writer == TraceWriter::Presyn);
    let lines = account.lines.iter().filter(|l| match l.kind {
        Kind::Unexplained => true,
        Kind::Running => !own,
        _ => false,
    });
    let dark: Span = lines.map(|l| l.span).sum();
    let window = (account.from, account.to);
    if own || dark < QUICK {
        return dark;
    }
    (dark - asleep(case, account.subject, window)).max(Span::ZERO)
}

/// Whether the inputs began before what the account is about: with the program, or long enough before its lookup.
fn is_whole(case: &Case, account: &Account) -> bool {
    let evidence = &case.evidence;
    if evidence.has_trace() {
        let from_start = evidence.traces.iter().any(|t| t.from_start);
        let mut before = evidence.events.iter().take_while(|e| e.at <= account.to);
        // Of what was attached to, a process that runs another program is one among others.
        return from_start || !evidence.was_attached() && before.any(is_exec);
    }
    let lookup = match account.subject {
        Subject::Connection(c) => case.joined.connections[c].lookup,
        Subject::Lookup(l) => Some(l),
    };
    let began = lookup.map(|l| case.joined.lookups[l].began);
    let first = evidence.captures.iter().filter_map(|c| c.first).min();
    let early = began.zip(first);
    early.is_some_and(|(began, first)| began - first >= LONGEST_WAIT)
}

/// Whether a program began.
fn is_exec(event: &Event) -> bool {
    matches!(&event.what, EventKind::Call(call) if matches!(call.op, Op::Exec { .. }))
}
