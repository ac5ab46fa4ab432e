//! Choices of the user (`--pid`, `--target`) that the inputs hold nothing of.

use crate::event::{Event, EventKind, Whose};
use crate::explain::Case;
use crate::flow::TargetHost;
use std::collections::BTreeSet;

/// So many names are listed as a help.
const LISTED: usize = 5;

/// Says which choices match nothing, with what would match.
pub fn nothing_chosen(case: &Case, pids: &[u32]) -> Vec<String> {
    let mut said = Vec::new();
    // What was evicted may have been theirs.
    if !pids.is_empty() && case.totals.is_empty() && !case.evidence.events.iter().any(is_traced) {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        said.push(format!(
            "--pid {}: {}",
            pids.join(" --pid "),
            if case.evidence.owners.watched().is_some() {
                "no packet is of that process"
            } else {
                "no traced call is of that process or thread"
            }
        ));
    }
    if let Some(TargetHost::Name(name)) = case.target.map(|target| &target.host)
        && case.addresses_of(name).next().is_none()
    {
        let lookups = case.joined.lookups.iter();
        let resolved = lookups.filter(|l| !l.addresses.is_empty());
        let known: BTreeSet<&str> = resolved.filter_map(|l| Some(&*l.name.known()?.0)).collect();
        let known: Vec<&str> = known.into_iter().take(LISTED).collect();
        let known = if known.is_empty() {
            "no lookup of these inputs has an address; choose by ADDRESS:PORT or :PORT".to_owned()
        } else {
            format!("names with an address: {}", known.join(", "))
        };
        said.push(format!(
            "--target {name}: no lookup of these inputs gave an address for that name; {known}"
        ));
    }
    said
}

fn is_traced(event: &Event) -> bool {
    match &event.what {
        EventKind::Call(_) | EventKind::Life(_) => true,
        EventKind::Owner(owner) => matches!(owner.whose, Whose::Watched(_)),
        EventKind::Packet(_) | EventKind::Stack(_) => false,
    }
}
