//! Times for a log that has none: from what its calls lasted, or from the packets that they caused.
//!
//! The order of the lines is known, and some durations: those that `-T` printed, and the timeout of a wait that returned
//! nothing. Everything else takes no time here. What is measured with such times is a lower bound, or unknown.

use super::action::{ActionKey, Peers};
use crate::event::{Call, CallOutcome, Event, EventKind, Op, Packet};
use crate::flow::FiveTuple;
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet, VecDeque};

/// Between two lines: only the order is known.
const STEP: Span = Span(1);

/// How many packets of one key are weighed; a log without times that shows more is none of a single incident.
const PACKETS_PER_KEY: usize = 4_096;

/// Gives each event a time: the sum of what is known to have passed in its thread, and its place in the log.
pub fn by_durations(events: &mut [Event]) {
    events.sort_by_key(|e| (e.at, e.place.number));
    let mut now = Timestamp::default();
    // When a thread's last call was over.
    let mut free: HashMap<Option<u32>, Timestamp> = HashMap::new();
    for event in events {
        let tid = match &event.what {
            EventKind::Call(call) => call.task.tid,
            EventKind::Life(life) => life.task.tid,
            EventKind::Packet(_) | EventKind::Stack(_) => None,
        };
        let earliest = free.get(&tid).copied().unwrap_or_default();
        now = (now + STEP).max(earliest + STEP);
        let entered = event.at;
        event.at = now;
        if let EventKind::Call(call) = &mut event.what {
            call.exited = duration(call, entered).map(|lasted| now + lasted);
            free.insert(tid, call.exited.unwrap_or(now));
        }
    }
}

/// How long a call lasted, as far as its line tells.
fn duration(call: &Call, entered: Timestamp) -> Option<Span> {
    let measured = call.exited.map(|exited| exited - entered);
    measured.or(match (&call.op, &call.outcome) {
        (
            Op::Wait {
                timeout: Some(timeout),
                ..
            },
            CallOutcome::Returned(0),
        ) => Some(*timeout),
        _ => None,
    })
}

/// Moves the calls to the packets that they caused or received, in order; what lies between follows the one before it.
/// The events have times [`by_durations`]. Returns how many calls found a packet; with none, nothing is moved.
pub fn by_packets(events: &mut [Event], packets: &[Event], dns_ports: &[u16]) -> usize {
    let anchors = anchors(events, packets, dns_ports);
    let (Some(&first), Some(&last)) = (anchors.first(), anchors.last()) else {
        return 0;
    };
    let laid: Vec<Timestamp> = events.iter().map(|e| e.at).collect();
    let mut next = 0;
    for (i, event) in events.iter_mut().enumerate() {
        while anchors.get(next).is_some_and(|(at, _)| *at <= i) {
            next += 1;
        }
        let (from, packet) = next.checked_sub(1).map_or(first, |n| anchors[n]);
        let moved = packet - laid[from];
        let limit = anchors.get(next).map(|(to, packet)| {
            let lines = i64::try_from(to - i).unwrap_or(i64::MAX);
            *packet - Span(lines)
        });
        let limited = |at: Timestamp| limit.filter(|_| i > first.0).map_or(at, |l| at.min(l));
        event.at = limited(event.at + moved);
        if let EventKind::Call(call) = &mut event.what {
            call.exited = call
                .exited
                .map(|exited| limited(exited + moved).max(event.at));
        }
    }
    debug_assert!(first.0 <= last.0);
    anchors.len()
}

/// Which events have a packet, and its time: both in order.
fn anchors(events: &[Event], packets: &[Event], dns_ports: &[u16]) -> Vec<(usize, Timestamp)> {
    let mut waiting = in_capture(packets);
    let mut peers = Peers::default();
    let mut list: Vec<(usize, Timestamp)> = Vec::new();
    for (i, event) in events.iter().enumerate() {
        let EventKind::Call(call) = &event.what else {
            continue;
        };
        peers.follow(call);
        let Some(key) = peers.key_of(call, dns_ports) else {
            continue;
        };
        let Some(queue) = waiting.get_mut(&key) else {
            continue;
        };
        let since = list.last().map(|(_, at)| *at);
        while let Some(at) = queue.pop_front() {
            if since.is_none_or(|since| at >= since) {
                list.push((i, at));
                break;
            }
        }
    }
    list
}

/// The packets that a call may have caused or received, by what it would be known by, in order of time.
fn in_capture(packets: &[Event]) -> HashMap<ActionKey, VecDeque<Timestamp>> {
    let mut seen: HashMap<ActionKey, VecDeque<Timestamp>> = HashMap::new();
    let mut flows: HashSet<FiveTuple> = HashSet::new();
    for event in packets {
        let key = match &event.what {
            EventKind::Packet(Packet::Dns { flow, message, .. }) if message.response => {
                ActionKey::Answer(flow.src, message.id)
            }
            EventKind::Packet(Packet::Dns { flow, message, .. }) => {
                ActionKey::Query(flow.dst, message.id)
            }
            EventKind::Packet(Packet::Tcp { flow, flags, .. })
                if flags.syn && !flags.ack && flows.insert(*flow) =>
            {
                ActionKey::Syn(flow.dst)
            }
            _ => continue,
        };
        let queue = seen.entry(key).or_default();
        if queue.len() < PACKETS_PER_KEY {
            queue.push_back(event.at);
        }
    }
    seen
}
