//! Attempts that belong together: a client that goes from one address of a name to the next.
//!
//! A lookup serves the first story after it. Later connects to its address found it in a cache and waited for nothing.

use crate::explain::Case;
use crate::join::connect::{Connection, Ending, Role};
use crate::join::{ConnectionId, Evidence, Joined, LookupId};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The next address, or the same one again, is tried as soon as an attempt has failed; clients that pause
/// longer begin a story of their own.
pub const NEXT_ATTEMPT: Span = Span::seconds(2);

/// Whether a failed attempt belongs to the story of connection `c`:
///
/// 1. one lookup gave both addresses, or two lookups of one name that followed each other;
/// 2. both go to the same place, one soon after the other;
/// 3. a process whose lookups no input shows goes to the same port of another address: the addresses of one call.
pub fn same_story(case: &Case, c: ConnectionId, other: &Connection) -> bool {
    let joined = case.joined;
    let this = &joined.connections[c];
    // Of an attempt under way whose end no input shows nothing is known.
    let unknown = other.outcome.is_open() && other.outcome.silence().is_none();
    if other.outcome == Ending::Connected || unknown {
        return false;
    }
    let at = |c: &Connection| c.began().or(c.ended);
    let soon = at(this)
        .zip(other.ended.or(at(other)))
        .is_some_and(|(a, b)| a - b <= NEXT_ATTEMPT);
    match (this.lookup, other.lookup) {
        (Some(a), Some(b)) if a == b => return true,
        (Some(a), Some(b)) if soon && same_name(joined, a, b) => return true,
        _ => {}
    }
    // Packets alone may be of several programs.
    let coverage = case.evidence.coverage;
    let unnamed = this.lookup.is_none()
        && other.lookup.is_none()
        && coverage.shows_one_program(this.origin.is_traced());
    soon && (this.to == other.to || unnamed && this.to.port == other.to.port)
}

fn same_name(joined: &Joined, a: LookupId, b: LookupId) -> bool {
    joined.lookups[a].name.folded() == joined.lookups[b].name.folded()
}

/// Until when an attempt lasted: its end, or where packets alone show it the moment when its next SYN was due. Each wait
/// for an answer is about twice the one before it (RFC 6298 section 5.5), and the first is a second.
fn last_moment(evidence: &Evidence, x: &Connection, began: Timestamp) -> Timestamp {
    let unanswered = x.outcome.silence().is_some() && !x.origin.is_traced();
    let last = x.syns.last().filter(|_| unanswered);
    let next_due = |at: Timestamp| at + (at - began) + Span::seconds(1);
    let due = last.map(|syn| next_due(evidence.event(*syn).at));
    x.ended.or(due).unwrap_or(began)
}

/// The attempts so far to reach what one lookup gave.
struct Story {
    /// When the first of them was connected.
    connected: Option<Timestamp>,
    /// When the last of them ended, or began.
    last: Timestamp,
    tried: Vec<IpAddr>,
}

impl Story {
    /// Whether an attempt belongs to it: it began before another one had connected, and tries another address or
    /// tries again at once.
    fn takes(&self, x: &Connection, began: Timestamp) -> bool {
        match self.connected {
            Some(connected) => began < connected,
            None => !self.tried.contains(&x.to.ip) || began - self.last <= NEXT_ATTEMPT,
        }
    }

    fn add(&mut self, evidence: &Evidence, x: &Connection, began: Timestamp) {
        if x.outcome == Ending::Connected {
            self.connected = self.connected.or(x.ended).or(Some(began));
        }
        self.last = self.last.max(last_moment(evidence, x, began));
        if !self.tried.contains(&x.to.ip) {
            self.tried.push(x.to.ip);
        }
    }
}

/// The connections that did not wait for their lookup: it had served an earlier story. Where no trace shows what a host
/// did, one that came long after its lookup used what that host knew already.
pub fn cached(evidence: &Evidence, joined: &Joined) -> HashSet<ConnectionId> {
    let mut stories: HashMap<LookupId, Story> = HashMap::new();
    let mut cached = HashSet::new();
    for (c, x) in joined.connections.entries() {
        let (Some(lookup), Some(began)) = (x.lookup, x.began()) else {
            continue;
        };
        if x.role != Role::Server {
            continue;
        }
        let reached = stories.get(&lookup).map(|story| story.last);
        let since = reached.max(Some(joined.lookups[lookup].ended));
        if !x.origin.is_traced() && since.is_some_and(|since| began - since > NEXT_ATTEMPT) {
            cached.insert(c);
            continue;
        }
        let story = stories.entry(lookup).or_insert_with(|| Story {
            connected: None,
            last: began,
            tried: Vec::new(),
        });
        if story.takes(x, began) {
            story.add(evidence, x, began);
        } else {
            cached.insert(c);
        }
    }
    cached
}
