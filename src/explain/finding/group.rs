//! Findings that a reader should not read twice: many of one kind, and several of the same seconds.

use super::{Draft, FindingId, MAX_OF_A_KIND, Party, Severity};
use crate::explain::words;
use crate::time::Span;
use std::collections::BTreeSet;

/// So many findings of one kind are told one by one; the others are one finding.
const TOLD_EACH: usize = 4;

/// How much two costs may differ and still be one wait, cut at other moments.
const SAME: Span = Span::millis(20);

/// Makes one finding of what goes beyond the first few of one kind; the dearest come first.
pub fn fold(mut drafts: Vec<Draft>) -> Vec<Draft> {
    let more = if drafts.len() > MAX_OF_A_KIND {
        " and more"
    } else {
        ""
    };
    drafts.truncate(MAX_OF_A_KIND);
    if drafts.len() <= TOLD_EACH + 1 || !is_foldable(drafts[0].id) {
        return drafts;
    }
    let rest = drafts.split_off(TOLD_EACH);
    let mut whom: Vec<String> = Vec::new();
    for name in rest.iter().flat_map(|d| &d.parties).map(spoken) {
        if !whom.contains(&name) {
            whom.push(name);
        }
    }
    let evidence = rest.iter().flat_map(|d| d.evidence.iter().copied());
    let evidence = evidence.take(super::tally::MAX_EVIDENCE).collect();
    let parties = rest.iter().flat_map(|d| d.parties.iter().cloned());
    let folded = Draft {
        severity: rest
            .iter()
            .map(|d| d.severity)
            .max()
            .unwrap_or(Severity::Info),
        parties: parties.collect(),
        title: format!(
            "The same of {}{more}: {}",
            words::counted(rest.len(), "other", "others"),
            words::list(&whom)
        ),
        detail: format!(
            "See the finding above that begins with \u{201c}{}\u{201d}.",
            drafts[0].title
        ),
        cost: rest.iter().filter_map(|d| d.cost).max(),
        total: None,
        remedy: None,
        evidence,
        ..rest[0].clone()
    };
    drafts.push(folded);
    drafts
}

/// Kinds that come once for each server or name.
fn is_foldable(id: FindingId) -> bool {
    matches!(
        id,
        FindingId::SynUnanswered
            | FindingId::SynAckSlow
            | FindingId::SynAckIgnored
            | FindingId::ChallengeAck
            | FindingId::ConnectRefused
            | FindingId::HostUnreachable
            | FindingId::NeverConnected
            | FindingId::NameNotFound
            | FindingId::ReverseLookup
            | FindingId::ServerReverseLookup
    )
}

fn spoken(party: &Party) -> String {
    let port = party
        .port
        .map_or_else(String::new, |port| format!(" port {port}"));
    let address = party
        .address
        .as_ref()
        .map(|address| format!("{address}{port}"));
    address.or(party.name.clone()).unwrap_or_default()
}

/// For each finding the position of the one before it that has the same seconds, if there is one.
pub fn same_seconds(drafts: &[Draft]) -> Vec<Option<usize>> {
    let mut same: Vec<Option<usize>> = Vec::with_capacity(drafts.len());
    for (n, this) in drafts.iter().enumerate() {
        let cited: BTreeSet<_> = this.evidence.iter().collect();
        // A fallback is told of the attempt that came up; what kept it waiting, of the one that did not.
        let is_part = |d: &Draft| d.evidence.iter().all(|e| cited.contains(e));
        let holds = |d: &Draft| {
            let theirs: BTreeSet<_> = d.evidence.iter().collect();
            theirs.is_superset(&cited)
        };
        let cost = this.cost.filter(|c| *c >= Span::millis(1));
        let is_same = |d: &Draft| {
            matches!((d.cost, cost), (Some(a), Some(b)) if (a - b).abs() <= SAME)
                && (d.subject == this.subject || is_part(d) || holds(d))
                && d.evidence.iter().any(|e| cited.contains(e))
        };
        // What is the same as the second is the same as the first.
        let before = drafts[..n].iter().position(is_same);
        same.push(before.map(|at| same[at].unwrap_or(at)));
    }
    same
}
