//! The account before a server connect, and of a lookup that no connect followed.
//!
//! A window is cut into entries that do not overlap and add up to it exactly. [`claims`] lists who may
//! own which moments, [`window`] says where an account begins and ends; here each moment is given to the
//! strongest claim on it, and what nobody claims is `running` or `unexplained`.

pub mod claims;
pub mod index;
pub mod other;
pub mod probes;
pub mod story;
pub mod window;

use super::Case;
use crate::event::{EventKind, LifecycleChange, Op, Packet};
use crate::flow::Endpoint;
use crate::join::connect::Connection;
use crate::join::{ConnectionId, EventId, LookupId, QueryId};
pub use crate::report::EntryKind as Kind;
use crate::time::{Span, Timestamp};
use claims::Claim;
pub use index::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A server connection attempt, by its position among the connections.
    Connection(ConnectionId),
    /// A lookup that no connect followed, by its position among the lookups.
    Lookup(LookupId),
}

/// Whom an entry is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChargedParty {
    /// A resolver or a server.
    Endpoint(Endpoint),
    /// A name service on this host, or the protocol by which the network is asked.
    Service(&'static str),
    /// A host, whatever its port.
    Host(IpAddr),
}

impl fmt::Display for ChargedParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Service(name) => f.write_str(name),
            Self::Host(ip) => f.write_str(&crate::flow::host(*ip)),
        }
    }
}

/// One entry of an account.
#[derive(Clone, Debug)]
pub struct AccountEntry {
    /// What for.
    pub kind: Kind,
    /// On whom.
    pub party: Option<ChargedParty>,
    /// Queries behind it, by position.
    pub queries: BTreeSet<QueryId>,
    /// How long in all.
    pub span: Span,
    /// Other resolvers that were asked the same at once and were as silent: the time is theirs, too.
    pub with: Vec<Endpoint>,
    /// No waiting call shows it.
    pub inferred: bool,
    /// An answer lay unread while the client waited here.
    pub unread: Option<Endpoint>,
    /// It is for attempts of which no SYN left.
    pub unsent: bool,
    /// Evidence: calls.
    pub calls: BTreeSet<EventId>,
    /// Evidence: packets.
    pub packets: BTreeSet<EventId>,
    /// It lies before the first name-service activity.
    pub start_up: bool,
}

impl AccountEntry {
    fn new(kind: Kind, party: Option<ChargedParty>) -> Self {
        Self {
            kind,
            party,
            queries: BTreeSet::new(),
            span: Span::ZERO,
            with: Vec::new(),
            inferred: false,
            unread: None,
            unsent: false,
            calls: BTreeSet::new(),
            packets: BTreeSet::new(),
            start_up: false,
        }
    }
}

impl AccountEntry {
    /// Whether the time is charged to one of these, alone or with others.
    pub fn concerns(&self, parties: &[Endpoint]) -> bool {
        let own = matches!(self.party, Some(ChargedParty::Endpoint(e)) if parties.contains(&e));
        own || self.with.iter().any(|e| parties.contains(e))
    }
}

/// The account of one subject.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose.
    pub subject: Subject,
    /// Where the window begins.
    pub from: Timestamp,
    /// Where it ends: first SYN, failure, or the lookup's end.
    pub to: Timestamp,
    /// The first query in the window by a traced task.
    pub first_query: Option<Timestamp>,
    /// The first name-service activity in the window.
    pub first_lookup: Option<Timestamp>,
    /// CPU time that the process had used by then, where the case has it and the window begins with the case.
    pub cpu: Option<Span>,
    /// The entries, in order of their first moment.
    pub lines: Vec<AccountEntry>,
    /// How much of the window each lookup owns.
    pub by_lookup: BTreeMap<LookupId, Span>,
    /// The moments of the entries that somebody owns, in order of time.
    pub moments: Vec<Slice>,
}

/// A part of a window and the entry that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Where it begins.
    pub from: Timestamp,
    /// Where it ends.
    pub to: Timestamp,
    /// The position of its entry among [`Account::lines`].
    pub line: usize,
    /// The lookup that was under way.
    pub lookup: Option<LookupId>,
}

impl Account {
    /// Length of the window.
    pub fn total(&self) -> Span {
        self.to - self.from
    }

    /// How long the client waited for others.
    pub fn waited(&self) -> Span {
        self.lines
            .iter()
            .filter(|l| l.kind.is_wait())
            .map(|l| l.span)
            .sum()
    }
}

/// From the first SYN, or the connect that sent it unseen, to the end of the attempt.
pub fn after_syn(connection: &Connection) -> Option<Span> {
    let ended = connection
        .measured_end()
        .filter(|_| !connection.outcome.is_open())?;
    Some((ended - connection.left()?).max(Span::ZERO))
}

/// Whether what answered a SYN is captured itself: that the client went on shows that there was an answer, not when.
pub fn is_answer_captured(case: &Case, connection: &Connection) -> bool {
    let by = connection.ended_by.map(|id| &case.evidence.event(id).what);
    match by {
        Some(EventKind::Packet(Packet::Tcp { flags, .. })) => flags.syn || flags.rst,
        _ => true,
    }
}

/// Draws up the account of one subject.
pub fn account(case: &Case, index: &Index, subject: Subject) -> Option<Account> {
    let (from, to) = window::bounds(case, index, subject)?;
    let claims = claims::list(case, index, subject, from, to);
    let (first_query, first_lookup) = window::first_activity(case, index, subject, from, to);
    let mut account = Account {
        subject,
        from,
        to,
        first_query,
        first_lookup,
        cpu: cpu_time(case, subject, from, to),
        lines: Vec::new(),
        by_lookup: BTreeMap::new(),
        moments: Vec::new(),
    };
    for piece in sweep(&claims, from, to) {
        match piece.owner {
            Some(owner) => {
                if let Some(lookup) = claims[owner].lookup {
                    let owned = account.by_lookup.entry(lookup).or_default();
                    *owned = *owned + (piece.end - piece.start);
                }
                let i = line(&mut account, &claims[owner]);
                account.lines[i].span = account.lines[i].span + (piece.end - piece.start);
                note_moment(&mut account, &piece, i, claims[owner].lookup);
                for claim in piece.alike {
                    cite(&mut account.lines[i], &claims[claim]);
                }
            }
            None => leftover(case, index, &mut account, (piece.start, piece.end)),
        }
    }
    Some(account)
}

/// Adds a piece to the moments of an account, joined with the one before where both are one wait.
fn note_moment(account: &mut Account, piece: &Piece, line: usize, lookup: Option<LookupId>) {
    match account.moments.last_mut() {
        Some(last) if last.to == piece.start && (last.line, last.lookup) == (line, lookup) => {
            last.to = piece.end;
        }
        _ => account.moments.push(Slice {
            from: piece.start,
            to: piece.end,
            line,
            lookup,
        }),
    }
}

/// How far back from the end of a window its CPU time is looked for: it stands beside the connect.
const CPU_NEARBY: usize = 1_000;

/// The CPU time that the subject's process had used by the end of the window.
fn cpu_time(case: &Case, subject: Subject, from: Timestamp, to: Timestamp) -> Option<Span> {
    let Subject::Connection(c) = subject else {
        return None;
    };
    let pid = case.joined.connections[c].task.as_ref()?.pid?;
    let events = case.evidence.events;
    let end = events.partition_point(|e| e.at <= to);
    let near = events[..end]
        .iter()
        .rev()
        .take(CPU_NEARBY)
        .find_map(|e| match &e.what {
            EventKind::Life(life) if life.task.pid == Some(pid) => match life.change {
                LifecycleChange::CpuTime(used) => Some(used),
                _ => None,
            },
            _ => None,
        });
    near.filter(|_| from <= case.started)
}

/// Gives every moment of the window to the strongest claim on it: the greatest rank, then the one that
/// began last (the client's latest question is what it waits for).
fn sweep(claims: &[Claim], from: Timestamp, to: Timestamp) -> Vec<Piece> {
    let mut edges: Vec<(Timestamp, bool, usize)> = Vec::with_capacity(claims.len() * 2);
    for (i, claim) in claims.iter().enumerate() {
        let (start, end) = (claim.from.max(from), claim.to.min(to));
        if start < end {
            edges.push((start, true, i));
            edges.push((end, false, i));
        }
    }
    edges.sort_unstable_by_key(|(at, begins, i)| (*at, *begins, *i));
    let mut active: BTreeSet<(u8, Timestamp, usize)> = BTreeSet::new();
    let mut pieces = Vec::new();
    let mut at = from;
    for (edge, begins, i) in edges {
        if edge > at {
            pieces.push(piece(claims, &active, at, edge));
            at = edge;
        }
        let key = (claims[i].rank, claims[i].began, i);
        if begins {
            active.insert(key);
        } else {
            active.remove(&key);
        }
    }
    if to > at {
        pieces.push(piece(claims, &active, at, to));
    }
    pieces
}

/// A span of time and the claim that owns it.
struct Piece {
    start: Timestamp,
    end: Timestamp,
    owner: Option<usize>,
    /// The owner and the other claims alike that hold then: A and AAAA asked in one breath.
    alike: Vec<usize>,
}

fn piece(
    claims: &[Claim],
    active: &BTreeSet<(u8, Timestamp, usize)>,
    start: Timestamp,
    end: Timestamp,
) -> Piece {
    let owner = active.last().map(|(_, _, i)| *i);
    let alike = owner.map_or_else(Vec::new, |owner| {
        let same = |i: &usize| claims[*i].is_like(&claims[owner]);
        active
            .iter()
            .rev()
            .take(MAX_ALIKE)
            .map(|(_, _, i)| *i)
            .filter(same)
            .collect()
    });
    Piece {
        start,
        end,
        owner,
        alike,
    }
}

/// How many claims that hold at one moment are looked at for evidence: more are a storm, not a lookup.
const MAX_ALIKE: usize = 32;

/// How many entries of an account name their party: a client that waits for more has met a storm.
const MAX_LINES: usize = 64;

/// The line that a claim is charged to.
fn line(account: &mut Account, claim: &Claim) -> usize {
    let position = |lines: &[AccountEntry], party| {
        lines
            .iter()
            .position(|l| l.kind == claim.kind && l.party == party && l.with == claim.with)
    };
    let found = position(&account.lines, claim.party);
    found.unwrap_or_else(|| {
        // Past the bound all the others of a kind share one line, of nobody by name.
        let party = claim.party.filter(|_| account.lines.len() < MAX_LINES);
        position(&account.lines, party).unwrap_or_else(|| {
            account.lines.push(AccountEntry {
                with: claim.with.clone(),
                ..AccountEntry::new(claim.kind, party)
            });
            account.lines.len() - 1
        })
    })
}

fn cite(line: &mut AccountEntry, claim: &Claim) {
    // Of several attempts all must be.
    let is_first = line.calls.is_empty() && line.packets.is_empty();
    line.unsent = claim.unsent && (is_first || line.unsent);
    line.inferred |= claim.inferred;
    line.unread = line.unread.or(claim.unread);
    line.queries.extend(claim.query);
    line.calls.extend(claim.calls.iter().copied());
    line.packets.extend(claim.packets.iter().copied());
}

/// A program of one thread is rarely busy for so long before it connects.
const WORTH_EXPLAINING: Span = Span::millis(500);

/// Time that nobody claims. With the waiting calls in the trace, or before any name-service activity,
/// the program was running or asleep on its own; else nobody knows. A program with `io_uring` may wait without a call.
fn leftover(
    case: &Case,
    index: &Index,
    account: &mut Account,
    (start, end): (Timestamp, Timestamp),
) {
    let asker = index.asker_of(case, account.subject);
    let waits_hidden = index.io_uring.get(&asker).is_some_and(|at| *at < end);
    // A program that was attached to has started up long ago.
    let before =
        !case.evidence.was_attached() && account.first_lookup.is_none_or(|first| end <= first);
    let traced = case.evidence.has_trace();
    let sends_hidden = case.hides_sends(asker, start, end);
    let waits_seen = case.evidence.sees_waits() && !waits_hidden && !sends_hidden;
    // Of one thread a log cannot show what it waited for others to do; that it slept is shown.
    let alone = end - start >= WORTH_EXPLAINING
        && !case.evidence.follows_threads()
        && end - start - asleep(case, account.subject, (start, end)) >= WORTH_EXPLAINING;
    let kind = if traced && (before || waits_seen) && !alone {
        Kind::Running
    } else {
        Kind::Unexplained
    };
    let found = account
        .lines
        .iter()
        .position(|l| l.kind == kind && l.party.is_none() && l.start_up == before);
    match found {
        Some(i) => account.lines[i].span = account.lines[i].span + (end - start),
        None => account.lines.push(AccountEntry {
            span: end - start,
            start_up: before,
            ..AccountEntry::new(kind, None)
        }),
    }
}

/// How long the subject's thread slept between two moments, as its calls show.
pub fn asleep(case: &Case, subject: Subject, (start, end): (Timestamp, Timestamp)) -> Span {
    let task = match subject {
        Subject::Connection(c) => case.joined.connections[c].task.as_ref(),
        Subject::Lookup(l) => case.joined.lookups[l].tasks.first(),
    };
    let tid = task.and_then(|task| task.tid);
    let events = case.evidence.events;
    let first = events.partition_point(|e| e.at < start);
    let within = events[first..].iter().take_while(|e| e.at < end);
    let slept = within.enumerate().filter_map(|(i, event)| {
        let EventKind::Call(call) = &event.what else {
            return None;
        };
        // Without durations a sleep ends with what comes next.
        let next = || events.get(first + i + 1).map(|next| next.at);
        let until = call.exited.or_else(next)?;
        let sleeps = matches!(call.op, Op::Sleep) && call.task.tid == tid;
        sleeps.then(|| until.min(end) - event.at)
    });
    slept.sum()
}

#[cfg(test)]
mod tests;
