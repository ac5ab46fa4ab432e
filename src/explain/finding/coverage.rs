//! What the inputs could not show, said beside every claim.

use super::{Draft, Severity, page, tally};
use crate::explain::Case;
use crate::explain::{left_out, unattributed, words};
use crate::input::CaptureFacts;
use crate::input::drops::DropTimes;
use crate::input::watched::Watched;
use crate::join::{EventId, How, Query};
use crate::time::Span;

/// Remarks for the reader: what a missing capture or trace would have added, and what is inferred.
pub fn remarks(case: &Case) -> Vec<String> {
    let evidence = &case.evidence;
    let mut list = Vec::new();
    list.extend(unattributed::remark(case));
    let watched = evidence.owners.watched();
    list.extend(watched.into_iter().flat_map(unseen_by_watching));
    match (evidence.has_capture(), evidence.has_trace()) {
        (true, false) if watched.is_some() => {}
        (true, false) => list.push(
            "no trace: packets are not tied to processes; a strace log (strace -f -ttt -T -yy) would show who \
             asked, and what the client waited for"
                .into(),
        ),
        (false, true) => list.push(
            "no capture: answers, SYNs and what left the host are known only from the calls; a capture \
             (tcpdump -i any -w) would show them"
                .into(),
        ),
        _ => {}
    }
    for trace in evidence.traces.iter().filter(|t| !t.clock.has_times()) {
        let known = if evidence.has_capture() {
            "its calls have the times of their packets, and only what packets show was measured"
        } else {
            "durations are those of single calls, so the client waited at least so long; everything else took an \
             unknown time"
        };
        list.push(format!(
            "{} has no times: {known} (record it with strace -f -ttt -T -yy; -tt alone shows when, -T how long)",
            trace.path
        ));
    }
    for filter in evidence.captures.iter().filter_map(|c| c.filter.as_ref()) {
        list.push(format!(
            "only packets that the filter '{filter}' keeps were read: what it hides may well have been sent"
        ));
    }
    let implied = case.joined.queries.iter().filter(|q| q.implied).count();
    if implied > 0 {
        list.push(format!(
            "the trace shows connects to resolvers but not what was sent: {implied} {} inferred from them",
            if implied == 1 { "query is" } else { "queries are" }
        ));
    }
    let inferred = case
        .joined
        .queries
        .iter()
        .filter(|q| !q.implied && q.origin.is_traced())
        .filter(|q| q.cause.is_some_and(|c| c.how == How::Inferred))
        .count();
    if inferred > 0 {
        list.push(format!(
            "{inferred} {} joined to calls by destination, order and time only (strace -yy would show the sockets)",
            if inferred == 1 { "query is" } else { "queries are" }
        ));
    }
    list
}

/// What nobody sees who watches processes and traces none of their calls.
fn unseen_by_watching(watched: &Watched) -> Vec<String> {
    let mut list = vec![
        "no call was traced: not visible are what a process did before its SYN or query, lookups that asked no resolver \
         (a cache, /etc/hosts), name services over unix sockets (nscd, systemd-resolved, avahi) and what they were \
         asked, which thread waited for an answer that came within some 20 ms, and what began before the watch \
         (presyn run, or attach --calls, records calls)"
            .to_owned(),
    ];
    if let Some(why) = &watched.no_threads {
        list.push(format!("which threads waited is not known: {why}"));
    }
    if let Some(why) = &watched.inexact {
        list.push(format!("whose packets are is inferred, not exact: {why}"));
    }
    list
}

/// Something that the capture lacks.
pub struct Gap {
    /// In words, as part of a sentence.
    pub words: String,
    /// What shows it.
    pub evidence: Vec<EventId>,
    /// When packets are missing; `None` where it may be at any time.
    pub during: Option<DropTimes>,
}

impl Gap {
    /// Something that may be missing at any time.
    fn throughout(words: String) -> Self {
        Self {
            words,
            evidence: Vec::new(),
            during: None,
        }
    }

    /// Whether a conclusion rests on packets of the time in which some are missing.
    fn concerns(&self, case: &Case, draft: &Draft) -> bool {
        let Some(during) = &self.during else {
            return true;
        };
        let times = draft.evidence.iter().map(|id| case.evidence.event(*id).at);
        let (first, last) = (times.clone().min(), times.max());
        let span = first.zip(last);
        span.is_some_and(|(first, last)| during.within(first, last).is_some())
    }
}

/// What the captures lack, as far as they and the trace show.
pub fn gaps(case: &Case) -> Vec<Gap> {
    let mut list = Vec::new();
    for capture in case.evidence.captures {
        if let Some(dropped) = capture.dropped.filter(|d| *d > 0) {
            list.push(dropped_packets(case, capture, dropped));
        }
        let beyond = capture.omitted.beyond.packets();
        if beyond > 0 {
            list.push(Gap::throughout(format!(
                "{} of {} were not retained for lack of space, and some of them may be the client's",
                words::counted(
                    usize::try_from(beyond).unwrap_or(usize::MAX),
                    "packet",
                    "packets"
                ),
                capture.path
            )));
        }
        let hurried = capture.omitted.hurried;
        if hurried > 0 {
            list.push(Gap::throughout(format!(
                "so many packets came to {} that {hurried} were dropped before the call that sent them could be reported",
                capture.path
            )));
        }
        if capture.damaged {
            list.push(Gap::throughout(format!(
                "{} is damaged or cut off",
                capture.path
            )));
        }
    }
    list.extend(unseen(case));
    list
}

/// Packets that kernel or interface dropped.
fn dropped_packets(case: &Case, capture: &CaptureFacts, dropped: u64) -> Gap {
    let times = left_out::drop_times(case, capture);
    let timed = capture.untimed_drops() == 0;
    let when = if timed {
        format!(", {}", words::drop_times(&times))
    } else {
        String::new()
    };
    let path = &capture.path;
    let packets = match dropped {
        1 => "1 packet was".to_owned(),
        n => format!("{n} packets were"),
    };
    Gap {
        during: timed.then(|| capture.drop_times.clone()),
        ..Gap::throughout(format!("{packets} dropped while capturing {path}{when}"))
    }
}

/// Answers that calls received while no packet shows the exchange: the capture began late, ended early,
/// or a filter hid it.
fn unseen(case: &Case) -> Option<Gap> {
    let evidence = &case.evidence;
    if !evidence.has_capture() || !evidence.has_trace() {
        return None;
    }
    let hidden: Vec<&Query> = case
        .joined
        .queries
        .iter()
        .filter(|q| {
            let received = q.answer().is_some_and(|a| evidence.call(a.event).is_some());
            q.packet.is_none() && received
        })
        .collect();
    let first = hidden.first()?;
    let began = evidence.captures.iter().filter_map(|c| c.first).min();
    let ended = evidence.captures.iter().filter_map(|c| c.last).max();
    let why = match (began, ended) {
        (Some(began), _) if began - first.sent > Span::seconds(1) => {
            "; the capture began later than they were sent"
        }
        (_, Some(ended)) if first.sent - ended > Span::seconds(1) => {
            "; the capture had ended before"
        }
        _ => "; a filter or another interface hid them",
    };
    Some(Gap {
        words: format!(
            "calls received {} whose packets are not in the capture{why}",
            words::counted(hidden.len(), "answer", "answers")
        ),
        evidence: tally::evidence(hidden),
        during: None,
    })
}

/// Lowers findings that rest on missing packets by one step where the capture lacks some of that time, and says why.
pub fn hedge(case: &Case, drafts: &mut [Draft]) {
    let gaps = gaps(case);
    for draft in drafts {
        if !page(draft.id).rests_on_absence {
            continue;
        }
        let Some(gap) = gaps.iter().find(|gap| gap.concerns(case, draft)) else {
            continue;
        };
        draft.severity = match draft.severity {
            Severity::High => Severity::Medium,
            Severity::Medium => Severity::Low,
            Severity::Low | Severity::Info => Severity::Info,
        };
        draft.detail.push_str(" With care: ");
        draft.detail.push_str(&gap.words);
        draft.detail.push('.');
    }
}
