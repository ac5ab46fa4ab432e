//! The clock between a trace and a capture, solved from pairs of events.
//!
//! Live it is zero. Offline a strace log may be in another time zone, lack the date, be relative, or
//! come from a host whose clock was off. The same action stands in both inputs: a `connect` and its
//! SYN, a send and its query. The offset that most of these pairs agree on is the right one.

mod action;
pub mod belonging;
pub mod untimed;

use crate::event::{Address, Event, EventKind, Op, Packet};
use crate::flow::Endpoint;
use crate::input::TraceClock;
use crate::time::{SECOND, Span, Timestamp};
use action::{ActionKey, Peers};
use belonging::{Belonging, ClockFit, Mismatch, NEAR};
use std::collections::HashMap;

/// How a trace's times become the capture's times.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Add this to the trace's times.
    pub offset: Span,
    /// The offset may be wrong by this much.
    pub uncertainty: Span,
    /// How it was found.
    pub method: ClockMethod,
    /// Whether the date of the times is real; without it only differences mean something.
    pub dated: bool,
    /// Whether trace and capture are of one run.
    pub belonging: Belonging,
    /// Whether calls of the trace were laid on packets of theirs.
    pub paired: bool,
}

/// How the clock of a trace was laid on that of the captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockMethod {
    /// The user gave the offset.
    Given,
    /// It is the captures' clock: so many calls and their packets agree.
    OneClock(usize),
    /// From calls and their packets.
    Solved {
        /// How many of them agree.
        votes: usize,
        /// Of a clock in local time, how far its zone is east of UTC.
        zone: Option<Span>,
    },
    /// No call has a packet, and the clock has dates: it is taken to be the captures'.
    AssumedOne,
    /// There are no packets, and the clock has dates.
    OwnClock,
    /// There are no packets, and the clock has no dates.
    OwnClockUndated,
    /// Local dates, in the zone that the user gave.
    GivenZone,
    /// Local dates, taken as those of UTC.
    UtcTaken,
    /// No call has a packet, and the clock has times of day: by the first times of both.
    FirstTimes,
    /// No call has a packet, and the clock has differences: both are taken to begin together.
    BegunTogether,
    /// There are neither times nor packets.
    NoTimes,
    /// There are no times, and no call has a packet.
    NoTimesNoPacket,
    /// There are no times, and so many calls take those of their packets.
    PacketTimes(usize),
}

/// What the user said about the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given {
    /// `--clock-offset`: seconds to add to the trace's times.
    pub offset: Option<Span>,
    /// `--tz`: the zone's offset from UTC (east positive), for logs in local time.
    pub utc_offset: Option<Span>,
}

/// Pairs of one key are compared all with all; more of them than this add cost, not certainty.
const PAIRS_PER_KEY: usize = 64;
/// Pairs in all, for the same reason.
const PAIRS: usize = 20_000;
/// From entry of a send to its packet: at most 0.43 ms measured; under `strace -yy` the connect itself
/// is delayed by 2-4 ms, so a pair may be this far off and still be the same action.
const CALL_TO_PACKET: Span = Span::millis(20);
/// Most sends reach the wire within this time (0.43 ms measured at most without `-yy`).
const CLOSE: Span = Span::millis(1);
/// Clocks that agree this well are one clock: an offset smaller than a call takes cannot be told from it.
const SAME_CLOCK: Span = Span::millis(15);

/// Solves the offset between a trace (`calls`, events of one trace) and the capture (`packets`).
pub fn solve(
    clock: TraceClock,
    calls: &[Event],
    packets: &[Event],
    dns_ports: &[u16],
    given: Given,
) -> Solution {
    if let Some(offset) = given.offset {
        return Solution {
            offset,
            uncertainty: Span::ZERO,
            method: ClockMethod::Given,
            dated: true,
            belonging: Belonging::Same,
            paired: false,
        };
    }
    let resolution = resolution(clock);
    let all = pairs(calls, packets, dns_ports);
    let differences: Vec<Span> = all.iter().map(|p| p.difference).collect();
    if let Some((offset, width, votes)) = densest(&differences, resolution + CALL_TO_PACKET, clock)
    {
        let near: Vec<Span> = differences
            .iter()
            .copied()
            .filter(|d| *d >= offset && *d - offset <= width)
            .collect();
        // Pairs of different actions may stand in the window too; those of one action stand closest.
        let offset = densest(&near, resolution + CLOSE, clock).map_or(offset, |(low, ..)| low);
        let same =
            matches!(clock, TraceClock::Epoch { .. }) && offset.abs() <= SAME_CLOCK.max(resolution);
        let found = ClockFit {
            actions: actions(&all, offset, resolution + CALL_TO_PACKET),
            near: is_near(clock, offset),
        };
        let belonging = belonging::judge(clock, calls, packets, dns_ports, found);
        let spare = Span((resolution.0 - width.0).max(0)).max(width.min(CALL_TO_PACKET));
        if same && resolution < Span::millis(500) {
            return Solution {
                offset: Span::ZERO,
                uncertainty: offset.abs().max(Span::micros(1)),
                method: ClockMethod::OneClock(votes),
                dated: true,
                belonging,
                paired: true,
            };
        }
        return Solution {
            offset,
            uncertainty: spare,
            method: ClockMethod::Solved {
                votes,
                zone: zone_of(clock, offset),
            },
            dated: true,
            belonging,
            paired: true,
        };
    }
    let found = ClockFit {
        actions: 0,
        near: false,
    };
    Solution {
        belonging: belonging::judge(clock, calls, packets, dns_ports, found),
        ..unpaired(clock, calls, packets, given)
    }
}

/// Calls closer than this are one coincidence: A and AAAA, or one question to several resolvers.
const ONE_ACTION: Span = Span::millis(100);

/// How many moments have a call and its packet at an offset.
fn actions(pairs: &[ActionPair], offset: Span, window: Span) -> usize {
    let agrees = |p: &&ActionPair| p.difference >= offset && p.difference - offset <= window;
    let mut calls: Vec<Timestamp> = pairs.iter().filter(agrees).map(|p| p.call).collect();
    calls.sort_unstable();
    let apart = ONE_ACTION.max(window);
    let gaps = calls.windows(2).filter(|w| w[1] - w[0] > apart).count();
    calls.first().map_or(0, |_| gaps + 1)
}

/// Whether an offset is none at all, or a time zone.
fn is_near(clock: TraceClock, offset: Span) -> bool {
    let step = match clock {
        TraceClock::Epoch { .. } => 3_600 * SECOND,
        TraceClock::TimeOfDay { .. } | TraceClock::LocalDate { .. } => 900 * SECOND,
        TraceClock::Relative { .. } | TraceClock::None => return false,
    };
    let off = offset.0.rem_euclid(step);
    Span(off.min(step - off)) <= resolution(clock).max(SAME_CLOCK)
}

/// A log among others.
pub struct Sibling<'a> {
    /// Its clock.
    pub clock: TraceClock,
    /// From its first event to its last, on that clock.
    pub during: (Timestamp, Timestamp),
    /// What was solved for it alone.
    pub solution: &'a mut Solution,
}

/// Recognises the logs that one host wrote at the same time as another. A log of which a single call has its packet cannot
/// be told to belong to the capture by itself; but when its clock is as far off as that of a log which does, and neither
/// ends long before the other begins, it is the same clock.
pub fn recognise_siblings(logs: &mut [Sibling]) {
    let belongs = |log: &&Sibling| log.solution.belonging == Belonging::Same && log.solution.paired;
    let sure: Vec<_> = { logs.iter().filter(belongs) }
        .map(|log| (log.clock, log.during, log.solution.offset))
        .collect();
    for log in logs {
        let unsure = matches!(
            log.solution.belonging,
            Belonging::Unknown | Belonging::Different(Mismatch::Times(_))
        );
        if !unsure || !log.solution.paired {
            continue;
        }
        let (from, until) = log.during;
        let sibling = sure.iter().find(|(clock, (begin, end), offset)| {
            let step = resolution(*clock).max(resolution(log.clock));
            std::mem::discriminant(clock) == std::mem::discriminant(&log.clock)
                && from <= *end + NEAR
                && *begin <= until + NEAR
                && (log.solution.offset - *offset).abs() <= CLOSE + step
        });
        if let Some((_, _, offset)) = sibling {
            log.solution.offset = *offset;
            log.solution.belonging = Belonging::Same;
        }
    }
}

/// Gives the events of a log without times such as can be known: those of the packets that its calls caused, else those
/// that add up from what its calls lasted.
pub fn lay_out(events: &mut [Event], packets: &[Event], dns_ports: &[u16]) -> Solution {
    untimed::by_durations(events);
    let found = untimed::by_packets(events, packets, dns_ports);
    let actions = ClockFit {
        actions: found,
        near: false,
    };
    let belonging = belonging::judge(TraceClock::None, events, packets, dns_ports, actions);
    let method = match (found, packets.is_empty()) {
        (0, true) => ClockMethod::NoTimes,
        (0, false) => {
            if let (Some(call), Some(packet)) = (events.first(), packets.first()) {
                let offset = packet.at - call.at;
                crate::merge::shift(events, offset);
            }
            ClockMethod::NoTimesNoPacket
        }
        (n, _) => ClockMethod::PacketTimes(n),
    };
    Solution {
        offset: Span::ZERO,
        uncertainty: Span::ZERO,
        method,
        dated: !packets.is_empty(),
        belonging,
        paired: found > 0,
    }
}

/// The least step of a trace's clock.
pub fn resolution(clock: TraceClock) -> Span {
    match clock {
        TraceClock::Epoch { resolution }
        | TraceClock::TimeOfDay { resolution }
        | TraceClock::LocalDate { resolution }
        | TraceClock::Relative { resolution } => resolution,
        TraceClock::None => Span::ZERO,
    }
}

impl Solution {
    /// Of a log without times and without packets beside it, whose events have those that add up from what its calls lasted.
    pub fn laid_out() -> Self {
        Self {
            dated: false,
            ..Self::unproven(Span::ZERO, Span::ZERO, ClockMethod::NoTimes)
        }
    }

    /// An offset that no pair of call and packet shows.
    fn unproven(offset: Span, uncertainty: Span, method: ClockMethod) -> Self {
        Self {
            offset,
            uncertainty,
            method,
            dated: true,
            belonging: Belonging::Unknown,
            paired: false,
        }
    }
}

/// Time zones differ from UTC by quarters of an hour.
const QUARTER: i64 = 900 * SECOND;

/// Without a single pair: believe an epoch clock, place a local one by the given zone or beside the capture.
fn unpaired(clock: TraceClock, calls: &[Event], packets: &[Event], given: Given) -> Solution {
    let call = calls.iter().map(|e| e.at).min();
    let packet = packets.iter().map(|e| e.at).min();
    match (clock, call, packet) {
        (TraceClock::Epoch { resolution }, _, None) => {
            Solution::unproven(Span::ZERO, resolution, ClockMethod::OwnClock)
        }
        (TraceClock::Epoch { .. }, ..) => {
            Solution::unproven(Span::ZERO, Span::seconds(1), ClockMethod::AssumedOne)
        }
        (TraceClock::LocalDate { resolution }, ..) => {
            let (zone, method) = match given.utc_offset {
                Some(zone) => (zone, ClockMethod::GivenZone),
                None => (Span::ZERO, ClockMethod::UtcTaken),
            };
            Solution::unproven(-zone, resolution, method)
        }
        (TraceClock::TimeOfDay { resolution }, Some(call), Some(packet)) => Solution::unproven(
            undated_offset(packet - call, given.utc_offset),
            Span(QUARTER / 2).max(resolution),
            ClockMethod::FirstTimes,
        ),
        (TraceClock::Relative { .. } | TraceClock::None, Some(call), Some(packet)) => {
            Solution::unproven(packet - call, Span::seconds(60), ClockMethod::BegunTogether)
        }
        _ => Solution {
            dated: false,
            ..Solution::unproven(Span::ZERO, Span::ZERO, ClockMethod::OwnClockUndated)
        },
    }
}

/// The offset of a log without dates that lays it on the capture, whose first packet is `raw` after the log's first
/// call: whole days and the given zone, else the nearest that a zone can be. (A wrong hour would lay it beside.)
fn undated_offset(raw: Span, zone: Option<Span>) -> Span {
    if let Some(zone) = zone {
        let day = 86_400 * SECOND;
        let days = (raw + zone + Span(day / 2)).0.div_euclid(day);
        return Span(days.saturating_mul(day)) - zone;
    }
    let up = i64::from(raw.0.rem_euclid(QUARTER) * 2 > QUARTER);
    Span((raw.0.div_euclid(QUARTER) + up).saturating_mul(QUARTER))
}

/// A call and a packet that may be the same action.
struct ActionPair {
    call: Timestamp,
    /// The packet's time minus the call's.
    difference: Span,
}

/// When an action was called for, and when packets passed that may be it.
#[derive(Default)]
struct Occurrences {
    calls: Vec<Timestamp>,
    packets: Vec<Timestamp>,
}

/// Everything that may be the same action.
fn pairs(calls: &[Event], packets: &[Event], dns_ports: &[u16]) -> Vec<ActionPair> {
    let mut seen = called_for(calls, dns_ports);
    add_packets(&mut seen, packets);
    // A query's id names its packet; a connect to a resolver may be laid on any first query to it.
    let exact = |(key, seen): (&ActionKey, &Occurrences)| {
        matches!(key, ActionKey::Query(..)) && !seen.calls.is_empty() && !seen.packets.is_empty()
    };
    if seen.iter().any(exact) {
        seen.retain(|key, _| !matches!(key, ActionKey::Resolver(_)));
    }
    let mut all_seen: Vec<Occurrences> = seen.into_values().collect();
    all_seen.sort_by_key(|seen| (seen.calls.first().copied(), seen.packets.first().copied()));
    let mut all = Vec::new();
    for Occurrences { calls, packets } in all_seen {
        for call in &calls {
            all.extend(packets.iter().map(|packet| ActionPair {
                call: *call,
                difference: *packet - *call,
            }));
        }
        if all.len() > PAIRS {
            break;
        }
    }
    all
}

/// The actions that calls ask for: connects and queries.
fn called_for(calls: &[Event], dns_ports: &[u16]) -> HashMap<ActionKey, Occurrences> {
    let mut seen: HashMap<ActionKey, Occurrences> = HashMap::new();
    let mut add = |key, at| push(&mut seen.entry(key).or_default().calls, at);
    let mut peers = Peers::default();
    for event in calls {
        let EventKind::Call(call) = &event.what else {
            continue;
        };
        peers.follow(call);
        match &call.op {
            Op::Connect {
                to: Address::Inet(to),
                ..
            } if dns_ports.contains(&to.port) => add(ActionKey::Resolver(*to), event.at),
            Op::Connect {
                to: Address::Inet(to),
                ..
            } => add(ActionKey::Syn(*to), event.at),
            Op::Send { messages, .. } => {
                let peer = peers.peer(call);
                for message in messages {
                    if let (Some(to), Some(dns)) = (message.peer.or(peer), message.dns.first()) {
                        add(ActionKey::Query(to, dns.id), event.at);
                    }
                }
            }
            _ => {}
        }
    }
    seen
}

/// Adds the packets that may be an action which calls ask for.
fn add_packets(seen: &mut HashMap<ActionKey, Occurrences>, packets: &[Event]) {
    let mut add = |key, at| {
        if let Some(seen) = seen.get_mut(&key) {
            push(&mut seen.packets, at);
        }
    };
    let mut last_query: HashMap<(Endpoint, Endpoint), Timestamp> = HashMap::new();
    for event in packets {
        match &event.what {
            EventKind::Packet(Packet::Dns { flow, message, .. }) if !message.response => {
                add(ActionKey::Query(flow.dst, message.id), event.at);
                // Only the first query of a socket follows its connect.
                if last_query.insert((flow.src, flow.dst), event.at).is_none() {
                    add(ActionKey::Resolver(flow.dst), event.at);
                }
            }
            EventKind::Packet(Packet::Tcp { flow, flags, .. }) if flags.syn && !flags.ack => {
                add(ActionKey::Syn(flow.dst), event.at);
            }
            _ => {}
        }
    }
}

fn push(list: &mut Vec<Timestamp>, at: Timestamp) {
    if list.len() < PAIRS_PER_KEY {
        list.push(at);
    }
}

/// The offset that most differences agree on within `window`: its least difference (a call comes before
/// its packet), the spread of the agreeing ones, and how many they are. An epoch clock prefers the
/// offset nearest zero among equals, any other the earliest.
fn densest(differences: &[Span], window: Span, clock: TraceClock) -> Option<(Span, Span, usize)> {
    let mut sorted = differences.to_vec();
    sorted.sort_unstable();
    let mut best: Option<(Span, Span, usize)> = None;
    let mut end = 0;
    for (start, low) in sorted.iter().enumerate() {
        while end < sorted.len() && sorted[end] - *low <= window {
            end += 1;
        }
        let votes = end - start;
        let better = best.is_none_or(|(offset, _, most)| {
            votes > most
                || votes == most
                    && matches!(clock, TraceClock::Epoch { .. })
                    && low.abs() < offset.abs()
        });
        if better {
            best = Some((*low, sorted[end - 1] - *low, votes));
        }
    }
    best
}

/// The zone that an offset of a local clock amounts to, to the quarter of an hour: how far it is east of UTC.
fn zone_of(clock: TraceClock, offset: Span) -> Option<Span> {
    if !matches!(
        clock,
        TraceClock::TimeOfDay { .. } | TraceClock::LocalDate { .. }
    ) {
        return None;
    }
    let day = 86_400 * SECOND;
    let east = offset.0.saturating_neg().rem_euclid(day);
    let rounded = (east + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
    Some(Span(if rounded > day / 2 {
        rounded - day
    } else {
        rounded
    }))
}
