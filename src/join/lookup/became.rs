//! What became of each query, once it is known how long the client waited for it.

use super::giveup::{Wait, Why};
use crate::coverage::{Absence, Blind, ClaimKind, WaitEnd, WaitEvidence, Wanted};
use crate::join::response::{Exchange, Reply};
use crate::join::{Answer, Asked, Departure, Evidence, Query, Silence, State};
use crate::time::Span;

/// A query with all that is now known of it.
pub fn query(evidence: &Evidence, exchange: Exchange, wait: Wait) -> Query {
    let Exchange {
        asked,
        departure,
        reply,
        foreign,
    } = exchange;
    let traced = asked.origin.is_traced();
    let assumed = wait.why == Why::Over && !traced && matches!(reply, Reply::None);
    let state = match (reply, departure) {
        // The answer's packet and the call that ends the wait may be on two clocks.
        (Reply::Received(received), _) => State::Answered(Answer {
            // The loser of a race, and what comes when another answer was used, are not late.
            late: evidence
                .coverage
                .shows_end(!matches!(wait.why, Why::Elsewhere | Why::Used))
                && received.at - wait.until > clock_slack(evidence),
            received,
        }),
        (Reply::Lost(received, absence), _) => State::NotReceived(received, absence),
        (Reply::Refused(error), Departure::Left) => State::Unanswered(Silence::Refused(error)),
        (Reply::Refused(error), Departure::NeverLeft(_)) => {
            State::NeverSent(Silence::Refused(error))
        }
        (Reply::None, Departure::NeverLeft(silence)) => State::NeverSent(silence),
        (Reply::None, Departure::Left) => match unanswered(evidence, &asked, wait) {
            Ok(absence) => State::Unanswered(Silence::Absent(absence)),
            Err(_) if wait.why == Why::Unseen => State::Unseen,
            Err(blind) => State::Open(blind),
        },
    };
    // Nobody knows how long it waited for what it may have had.
    let until = if assumed && state == State::Open(Blind::NotRepeated) {
        asked.sent
    } else {
        wait.until
    };
    Query {
        asked,
        state,
        until,
        assumed,
        foreign,
    }
}

/// Whether the inputs show that a query got no answer: a capture that would hold it, else the client's own waiting.
fn unanswered(evidence: &Evidence, asked: &Asked, wait: Wait) -> Result<Absence, Blind> {
    if asked.implied && asked.packet.is_none() {
        evidence.coverage.shows_unsent()?;
    }
    let waited = wait.until - asked.sent;
    let shown = asked.packet.map(|_| {
        let wanted = Wanted {
            kind: ClaimKind::Response,
            from: Some(asked.resolver.ip),
            to: asked.client.map(|c| c.ip),
            netns: None,
        };
        evidence.coverage.would_show(wanted, asked.sent, wait.until)
    });
    let end = wait_end(evidence, asked, wait);
    if let Err(blind) = evidence.coverage.was_due(waited, end, evidence.patience) {
        let hidden = shown.and_then(Result::err).filter(Blind::hides_packets);
        return Err(hidden.unwrap_or(blind));
    }
    let by_calls = || {
        // Whoever goes on to something else without asking again may have its answer.
        let moved_on = wait.why == Why::MovedOn && asked.implied;
        let gave_up = wait.why == Why::GaveUp || moved_on;
        let gave_up = gave_up.then_some(true).or(wait.timed_out);
        let patience = WaitEvidence { waited, gave_up };
        let traced = asked.origin.is_traced() || asked.packet.is_none();
        let traced = traced.then(|| evidence.coverage.waited_in_vain(patience));
        traced.unwrap_or(Err(Blind::NoWaits))
    };
    match shown {
        Some(shown) => shown.or_else(|blind| by_calls().map_err(|_| blind)),
        None => by_calls(),
    }
}

/// How the wait for a query ended, as far as the inputs show.
fn wait_end(evidence: &Evidence, asked: &Asked, wait: Wait) -> WaitEnd {
    let why = wait.why;
    match why {
        Why::Elsewhere | Why::Unseen => WaitEnd::Elsewhere,
        Why::CutShort => WaitEnd::Unseen,
        // It may have been answered: only a turn to another resolver shows that it was not, or a whole timeout.
        _ if asked.implied && why != Why::GaveUp => WaitEnd::Unseen,
        // The inputs end when it may still have waited.
        Why::Over if !evidence.has_trace() && wait.until >= evidence.end() => WaitEnd::Unseen,
        Why::MovedOn | Why::Over | Why::Used if !evidence.has_trace() && !wait.repeated => {
            WaitEnd::NotRepeated
        }
        Why::MovedOn | Why::Over | Why::Used if !evidence.has_trace() => WaitEnd::Unseen,
        Why::MovedOn | Why::Over | Why::Used | Why::GaveUp | Why::Told => WaitEnd::Seen,
    }
}

/// An answer is late only if the clocks can tell; coarse ones (`-t`) are trusted to this much, since their
/// waits end with packets too.
fn clock_slack(evidence: &Evidence) -> Span {
    evidence.tolerance.min(Span::millis(20))
}
