//! Eviction of what is over, so that an input of any size is explained in bounded memory.
//!
//! Packets and calls are joined as they are read: whenever more of them are retained than `MOST`, they are joined, and
//! lookups with their connections are evicted, the oldest first, until `LEAST` events are left. What they counted goes
//! to [`EvictedTotals`]. Retained are the first ones, the client's own before others, the slowest ones with all that lies within
//! their accounts, some of every kind, and what is not over; of calls also what later ones need: sockets through which
//! a resolver may be asked again, the tree of processes, and what shows when a retained lookup was over.
//!
//! A log without times gets those that add up from what its calls lasted, turn by turn ([`Layout`]). What is over in it, only
//! the order of its calls shows: the client did something else, or closed the socket.
//!
//! The rest is joined again in the next turn. What is evicted leaves a tombstone, and what comes later and belongs to it is
//! counted to it (`eviction::tombstones`). Nothing else carries over: a report of what is retained and of the totals is that of all
//! events.

mod selection;
mod tombstones;
mod units;

use crate::clock::untimed::Layout;
use crate::coverage::Trust;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::{Call, CallOutcome, Event, EventKind, Fd, Location, Op};
use crate::explain::assemble::Limits;
use crate::explain::ledger::{Index, Subject};
use crate::explain::stack::Stacks;
use crate::explain::{Case, evicted};
use crate::flow::Target;
use crate::input::watched::Watched;
use crate::input::{CaptureFacts, TraceClock, TraceFacts, VisibleSyscalls};
use crate::join::lookup::Lookup;
use crate::merge;
use crate::pipeline::{Asking, Surroundings, concerns, narrow};
use crate::time::{SECOND, Span, Timestamp};
use crate::totals::EvictedTotals;
use selection::{Evicted, Fate};
use std::collections::{BTreeMap, HashSet};
use tombstones::{Belongs, Tombstones};
use units::Units;

/// So many retained events are joined at the latest: with what the join makes of them some 40 MiB at most.
const MOST: usize = 40_000;
/// So many are left then, unless more of them must stay.
const LEAST: usize = 24_000;

/// What must be known of a case before it is read.
#[derive(Debug, Default)]
pub struct EvictionSetup {
    /// Ports that DNS servers listen on.
    pub dns_ports: Vec<u16>,
    /// The client's resolv.conf, where it is known.
    pub resolv_conf: Option<ResolvConf>,
    /// How much the report will hold; without a bound nothing is evicted.
    pub limits: Limits,
    /// The only server that the report will be about.
    pub target: Option<Target>,
    /// The only processes and threads that it will be about; all, if none is named.
    pub pids: Vec<u32>,
    /// What was watched, where nothing was traced.
    pub watched: Option<Watched>,
    /// Some input is a capture, kept whole or by this filter.
    pub capture: Option<CaptureFacts>,
    /// The capture shows all that the client sent, whatever of it is still retained.
    pub whole: bool,
    /// How far calls and packets may be apart.
    pub tolerance: Span,
    /// The least step of the trace's clock; where it is not known, the events show it.
    pub resolution: Option<Span>,
}

/// Events as they are read, and the counts of those that went.
#[derive(Debug)]
pub struct Eviction {
    setup: EvictionSetup,
    asking: Asking,
    /// How many events are too many.
    most: usize,
    /// What happened at or after this may be shown by another input.
    horizon: Timestamp,
    /// The traces, each as far as its events show it.
    traces: Vec<TraceFacts>,
    /// What is known of their calls, by input.
    calls: BTreeMap<u16, TraceCalls>,
    /// So many of the first events have the times that they will have.
    laid: usize,
    first: Option<Timestamp>,
    tombstones: Tombstones,
    stacks: Stacks,
    events: Vec<Event>,
    totals: EvictedTotals,
}

/// What is known of the calls of a trace.
#[derive(Debug)]
struct TraceCalls {
    /// No call has a time.
    untimed: bool,
    /// The times that they get instead.
    layout: Layout,
    /// The call that a stack follows.
    last: Option<Location>,
}

impl Default for TraceCalls {
    fn default() -> Self {
        Self {
            untimed: true,
            layout: Layout::default(),
            last: None,
        }
    }
}

impl Eviction {
    /// For a case that is about to be read.
    pub fn new(setup: EvictionSetup) -> Self {
        Self {
            asking: Asking::of(setup.resolv_conf.as_ref(), &[]),
            setup,
            most: MOST,
            horizon: Timestamp(i64::MAX),
            traces: Vec::new(),
            calls: BTreeMap::new(),
            laid: 0,
            first: None,
            tombstones: Tombstones::default(),
            stacks: Stacks::default(),
            events: Vec::new(),
            totals: EvictedTotals::default(),
        }
    }

    /// From here on only what was over before this may go.
    pub fn before(&mut self, horizon: Timestamp) {
        self.horizon = horizon;
    }

    /// What is retained, in no order, with the stacks of its calls, and the counts of what was evicted.
    pub fn finish(self) -> (Vec<Event>, Stacks, EvictedTotals) {
        (self.events, self.stacks, self.totals)
    }

    /// The time of the earliest event of all.
    pub fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// How many events are retained now.
    pub fn retained(&self) -> usize {
        self.events.len()
    }

    /// Takes the next event of an input, and evicts what is over if there are too many.
    pub fn push(&mut self, event: Event) {
        self.first = Some(self.first.map_or(event.at, |at| at.min(event.at)));
        match &event.what {
            EventKind::Packet(_) => {
                if let Some(capture) = &mut self.setup.capture {
                    capture.first = Some(capture.first.map_or(event.at, |at| at.min(event.at)));
                    capture.last = Some(capture.last.map_or(event.at, |at| at.max(event.at)));
                }
                if self.belongs_to_evicted(&event) {
                    return;
                }
                merge::keep(&mut self.events, event);
            }
            // With the packet that it is about.
            EventKind::Owner(_) => {
                let mut event = [event];
                narrow(&mut event, &self.setup.pids);
                self.events.extend(event);
            }
            EventKind::Stack(stack) => {
                let calls = self.calls.get(&event.place.input);
                if let Some(call) = calls.and_then(|calls| calls.last) {
                    self.stacks.add(call, stack.clone());
                }
                return;
            }
            EventKind::Call(_) | EventKind::Life(_) => {
                if !self.setup.pids.is_empty() && !concerns(&self.setup.pids, &event) {
                    return;
                }
                self.note(&event);
                if self.belongs_to_evicted(&event) {
                    return;
                }
                self.events.push(event);
            }
        }
        if self.events.len() >= self.most && self.setup.limits.list != usize::MAX {
            self.evict_finished();
        }
    }

    /// Whether an event was counted to something that is evicted. If that comes back, it is retained from here on.
    fn belongs_to_evicted(&mut self, event: &Event) -> bool {
        let tolerance = self.setup.tolerance;
        match self.tombstones.belongs(event, tolerance, &mut self.totals) {
            Belongs::Elsewhere => false,
            Belongs::Counted => true,
            Belongs::Revives(packets) => {
                self.events.extend(packets);
                false
            }
        }
    }

    /// Learns from an event of a trace what the trace can show.
    fn note(&mut self, event: &Event) {
        let input = event.place.input;
        let calls = self.calls.entry(input).or_default();
        let known = self.traces.iter().position(|t| t.input == input);
        let known = known.unwrap_or_else(|| {
            self.traces.push(TraceFacts {
                clock: TraceClock::Epoch {
                    resolution: self.setup.resolution.unwrap_or(Span(SECOND)),
                },
                ..unknown_trace(input)
            });
            self.traces.len() - 1
        });
        let trace = &mut self.traces[known];
        if self.setup.resolution.is_none() && event.at.0 % SECOND != 0 {
            trace.clock = TraceClock::Epoch {
                resolution: Span::micros(1),
            };
        }
        if let EventKind::Call(call) = &event.what {
            // Without times calls are numbered as their lines are (see the input's clock).
            calls.untimed &= u64::try_from(event.at.0) == Ok(event.place.number);
            calls.last = Some(event.place);
            trace.sees.waits |= matches!(call.op, Op::Wait { .. });
        }
    }

    /// Gives times to the events of logs without any, as far as they have none yet.
    fn lay_out(&mut self) {
        let laid = self.laid.min(self.events.len());
        let untimed = |calls: &TraceCalls| calls.untimed && calls.last.is_some();
        if self.calls.values().any(untimed) {
            let new = &mut self.events[laid..];
            new.sort_by_key(|e| e.place.input);
            for events in new.chunk_by_mut(|a, b| a.place.input == b.place.input) {
                let input = events.first().map(|e| e.place.input);
                let calls = input.and_then(|input| self.calls.get_mut(&input));
                if let Some(calls) = calls.filter(|calls| untimed(calls)) {
                    calls.layout.lay(events);
                }
            }
            for trace in &mut self.traces {
                if self.calls.get(&trace.input).is_some_and(untimed) {
                    trace.clock = TraceClock::None;
                }
            }
        }
        self.laid = self.events.len();
    }

    /// The inputs of logs without times whose events have got some: all of their events have then. Others get theirs when
    /// all is read.
    pub fn laid_out(&mut self) -> Vec<u16> {
        if self.laid > 0 {
            self.lay_out();
        }
        let logs = self.traces.iter().filter(|t| !t.clock.has_times());
        logs.map(|log| log.input).collect()
    }

    /// Joins what is retained, counts what is over, and drops it.
    fn evict_finished(&mut self) {
        self.lay_out();
        // What is later than the event just read may be shown again by the rest of its input.
        let read = self.events.last().map(|e| e.at).unwrap_or_default();
        let latest = self.events.iter().map(|e| e.at).max().unwrap_or_default();
        let read = if self.traces.is_empty() { read } else { latest };
        let horizon = (self.horizon - Span(1)).min(read);
        merge::order(&mut self.events);
        self.totals.copies += merge::remove_copies(&mut self.events);
        let known = self.totals.for_next_turn();
        let surroundings = Surroundings {
            own_capture: self.setup.whole,
            assumed: false,
            trust: Trust::Judged,
            captures: self.setup.capture.as_slice(),
            traces: &self.traces,
            watched: self.setup.watched.as_ref(),
            dns_ports: &self.setup.dns_ports,
            tolerance: self.setup.tolerance,
            asking: &self.asking,
            stacks: &self.stacks,
            started: self.events.first().map(|e| e.at).unwrap_or_default(),
            dated: true,
            config: None,
            environment: &[],
            hosts: None,
            totals: &known,
            target: self.setup.target.as_ref(),
            stored: true,
        };
        let limits = self.setup.limits;
        let (totals, tombstones) = (&mut self.totals, &mut self.tombstones);
        let fates = surroundings.with_case(&self.events, |case| {
            let index = Index::new(case);
            let mut units = Units::new(case);
            let subjects = units.protect(&index, limits);
            let evicted = selection::choose(&units, &index, LEAST, horizon);
            count(case, &subjects, &evicted, totals);
            for lookup in case.joined.lookups.ids() {
                if evicted.units[units::of_lookup(lookup)] {
                    tombstones.lookup(case, lookup, totals);
                }
            }
            for attempt in evicted.attempts(&units, &index, &subjects) {
                tombstones.attempt(case, attempt, totals);
            }
            totals.cut = evicted.cut;
            evicted.events
        });
        self.drop_events(&fates);
        self.laid = self.events.len();
        // Where little could go, the next turn waits, lest every few events cost a join.
        let spare = MOST - LEAST;
        self.most = MOST.max(self.events.len() + spare.max(self.events.len() / 4));
        // A list that grows by doubling may be twice as long as what it holds.
        self.events.shrink_to(self.most);
        self.events
            .reserve_exact(self.most.saturating_sub(self.events.len()));
    }

    fn drop_events(&mut self, fates: &[Fate]) {
        let mut next = fates.iter().copied();
        self.events.retain_mut(|event| {
            let fate = next.next().unwrap_or(Fate::Stays);
            if fate == Fate::Marks {
                mark(event);
            }
            fate != Fate::Goes
        });
        self.totals.events += fates.len() - self.events.len();
        if !self.stacks.is_empty() {
            let calls: HashSet<Location> = self.events.iter().map(|e| e.place).collect();
            self.stacks.retain(&calls);
        }
    }
}

/// Leaves of a call that its thread did something then: it closed nothing.
fn mark(event: &mut Event) {
    if let EventKind::Call(call) = &event.what {
        event.what = EventKind::Call(Box::new(Call {
            task: call.task.clone(),
            exited: None,
            outcome: CallOutcome::Unknown,
            op: Op::Close { fd: Fd::bare(-1) },
        }));
    }
}

/// A trace of which nothing is known yet.
fn unknown_trace(input: u16) -> TraceFacts {
    TraceFacts {
        path: String::new(),
        input,
        writer: crate::report::TraceWriter::Strace,
        style: String::new(),
        calls: 0,
        skipped_lines: 0,
        unread_connects: 0,
        unreadable_addresses: 0,
        from_start: true,
        ended_times: false,
        clock: TraceClock::None,
        sees: VisibleSyscalls::default(),
        warnings: Vec::new(),
        damaged: false,
    }
}

/// Counts what goes.
fn count(case: &Case, subjects: &[Subject], gone: &Evicted, totals: &mut EvictedTotals) {
    let joined = case.joined;
    let goes = |subject: &Subject| gone.units[units::of_subject(joined, *subject)];
    let lookups: Vec<&Lookup> = joined
        .lookups
        .entries()
        .filter(|(l, _)| goes(&Subject::Lookup(*l)))
        .map(|(_, lookup)| lookup)
        .collect();
    evicted::count_lookups(totals, case, &lookups);
    for c in joined.connections.ids() {
        if goes(&Subject::Connection(c)) {
            totals.add_attempt(&evicted::attempt_count(case, c));
        }
    }
    totals.subjects += subjects.iter().filter(|s| goes(s)).count();
    totals.unfinished += gone.unfinished.len();
    totals.repeated += gone.repeated;
    totals.unsolicited.responses += gone.unsolicited.responses;
    totals.unsolicited.not_attributable += gone.unsolicited.not_attributable;
    for wait in &joined.services {
        let socket = wait.calls.first().and_then(|e| joined.sockets.of(*e));
        if socket.is_some_and(|a| gone.sockets.contains(&a)) {
            *totals.services.entry(wait.service).or_default() += 1;
        }
    }
}
