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

/// So many threads' calls are remembered that are over: what they lasted delays nothing any more.
const MAX_FREE: usize = 1 << 14;

/// The time of every so manyeth line is remembered, and of those before which time passed; of earlier ones fewer where these
/// are more than so many.
const LINES_PER_MARK: u64 = 16;
const MAX_MARKS: usize = 1 << 16;

/// Gives each event a time: the sum of what is known to have passed in its thread, and its place in the log.
pub fn by_durations(events: &mut [Event]) {
    Layout::default().lay(events);
}

/// Gives events such times while a log is read, one part after the other.
#[derive(Debug, Default)]
pub struct Layout {
    /// The time of the last line.
    now: Timestamp,
    /// The last line.
    line: u64,
    /// When a thread's last call was over.
    free: HashMap<Option<u32>, Timestamp>,
    /// Lines and their times, in order.
    marks: Vec<(u64, Timestamp)>,
}

impl Layout {
    /// Lays out the events of the next part. A call whose line was in an earlier part, for it returned late, gets the time of
    /// that line, to some lines.
    pub fn lay(&mut self, events: &mut [Event]) {
        events.sort_by_key(|e| (e.at, e.place.number));
        let laid = self.line;
        for event in events {
            let tid = match &event.what {
                EventKind::Call(call) => call.task.tid,
                EventKind::Life(life) => life.task.tid,
                EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => None,
            };
            let earliest = self.free.get(&tid).copied().unwrap_or_default() + STEP;
            let line = event.place.number;
            let at = if line < laid {
                self.time_of(line).max(earliest)
            } else {
                let next = (self.now + STEP).max(earliest);
                self.mark(line, next);
                next
            };
            let entered = event.at;
            event.at = at;
            if let EventKind::Call(call) = &mut event.what {
                call.exited = duration(call, entered).map(|lasted| at + lasted);
                self.free.insert(tid, call.exited.unwrap_or(at));
            }
        }
        if self.free.len() > MAX_FREE {
            self.free.retain(|_, until| *until > self.now);
        }
    }

    /// Remembers when the next line was.
    fn mark(&mut self, line: u64, at: Timestamp) {
        let passed = at - self.now > STEP;
        self.now = at;
        self.line = self.line.max(line);
        let due =
            |(last, _): &(u64, Timestamp)| line >= last + LINES_PER_MARK || passed && line > *last;
        if self.marks.last().is_none_or(due) {
            self.marks.push((line, at));
        }
        if self.marks.len() > MAX_MARKS {
            let mut nth = 0;
            self.marks.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
    }

    /// When an earlier line was.
    fn time_of(&self, line: u64) -> Timestamp {
        let after = self.marks.partition_point(|(marked, _)| *marked <= line);
        let mark = after.checked_sub(1).and_then(|n| self.marks.get(n));
        mark.map(|(_, at)| *at).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Location, Task};

    /// A line of a thread that waits so many milliseconds for nothing.
    fn wait(line: u64, tid: u32, millis: i64) -> Event {
        let call = Call {
            task: Task {
                tid: Some(tid),
                ..Task::default()
            },
            exited: None,
            outcome: CallOutcome::Returned(0),
            op: Op::Wait {
                fds: Vec::new(),
                ready: Vec::new(),
                timeout: Some(Span::millis(millis)),
            },
        };
        Event {
            at: Timestamp(i64::try_from(line).unwrap_or_default()),
            place: Location {
                input: 0,
                number: line,
            },
            what: EventKind::Call(Box::new(call)),
        }
    }

    fn by_line(mut events: Vec<Event>) -> Vec<(u64, Timestamp)> {
        events.sort_by_key(|e| e.place.number);
        events.iter().map(|e| (e.place.number, e.at)).collect()
    }

    #[test]
    fn a_log_in_parts_gets_the_times_of_the_whole() {
        // Every tenth line is a wait of 1 ms; that of line 45 takes 3 s, and returns when the second part is read.
        let millis = |line| match line {
            45 => 3_000,
            _ => i64::from(line % 10 == 0),
        };
        let tid = |line: u64| match line {
            45 | 150 => 9,
            _ => u32::try_from(line % 2).unwrap_or_default(),
        };
        let event = |line| wait(line, tid(line), millis(line));
        let mut whole: Vec<Event> = (1..200).map(event).collect();
        by_durations(&mut whole);
        let (mut first, mut second): (Vec<Event>, Vec<Event>) = (1..200)
            .map(event)
            .partition(|e| e.place.number < 100 && e.place.number != 45);
        let mut layout = Layout::default();
        layout.lay(&mut first);
        layout.lay(&mut second);
        first.append(&mut second);
        for (whole, part) in by_line(whole).into_iter().zip(by_line(first)) {
            // A line is a nanosecond: the late one is laid out to some lines.
            assert_eq!(whole.0, part.0);
            assert!((whole.1 - part.1).abs() < Span(16), "{whole:?} {part:?}");
        }
    }
}
