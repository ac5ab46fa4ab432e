//! Packets and calls of one run in the order in which they were known, whether they are read from a case or come from a
//! run that goes on: then what is evicted, and with it the report, is the same.

use crate::event::{Event, EventKind, LifecycleChange};
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;

/// Captures of several queues step back by microseconds; so far a frame may be older than the one before it.
const STEP_BACK: Span = Span::millis(1);
/// So many events wait for the other kind at most, some 10 MB. A clock that was set back may keep one kind waiting for ever.
const MOST: usize = 1 << 15;
/// Calls that wait while a frame is held back for its own call are too many when they are more than this.
const CROWD: usize = 1 << 13;

/// When an event was known: a call, when it returned.
pub(super) fn known(event: &Event) -> Timestamp {
    let exited = match &event.what {
        EventKind::Call(call) => call.exited,
        EventKind::Packet(_) | EventKind::Life(_) | EventKind::Stack(_) | EventKind::Owner(_) => {
            None
        }
    };
    exited.unwrap_or(event.at)
}

/// When the first of these events of one input was known, as far as they tell. The CPU time of a process stands before the
/// call at whose end it was asked for.
pub(super) fn next_known(events: &VecDeque<Event>) -> Option<Timestamp> {
    let is_cpu_time = |event: &Event| matches!(&event.what, EventKind::Life(life) if matches!(life.change, LifecycleChange::CpuTime(_)));
    events.iter().find(|event| !is_cpu_time(event)).map(known)
}

/// Whether a call goes before a packet: it is reported when it returns, and comes before its packet nevertheless.
pub(super) fn call_goes_first(call: Timestamp, packet: Timestamp) -> bool {
    call <= packet
}

/// Events of a run that goes on. One leaves when it is sure that none of the other kind will come that goes before it.
#[derive(Debug)]
pub(super) struct InOrder {
    packets: VecDeque<Event>,
    calls: VecDeque<Event>,
    /// No packet from before this will come.
    packets_from: Timestamp,
    /// No call that was known before this will come.
    calls_from: Timestamp,
}

impl InOrder {
    /// Of a run with a capture, with a trace, or both.
    pub fn new(capture: bool, trace: bool) -> Self {
        let from = |comes: bool| Timestamp(if comes { i64::MIN } else { i64::MAX });
        Self {
            packets: VecDeque::new(),
            calls: VecDeque::new(),
            packets_from: from(capture),
            calls_from: from(trace),
        }
    }

    /// Takes a packet.
    pub fn packet(&mut self, event: Event) {
        self.packets.push_back(event);
    }

    /// Takes an event of the trace.
    pub fn call(&mut self, event: Event) {
        self.calls.push_back(event);
    }

    /// Frames from before this have all been read; what they hold was taken here, but for what is held back from then on.
    pub fn captured_before(&mut self, at: Timestamp, held: Option<Timestamp>) {
        let at = held.map_or(at, |held| held.min(at));
        self.packets_from = Timestamp(at.0.saturating_sub(STEP_BACK.0));
    }

    /// The tracer has reported everything that it knew before this.
    pub fn traced_before(&mut self, at: Timestamp) {
        self.calls_from = at;
    }

    /// Frames until then are to be held back no longer: too many calls wait for them.
    pub fn crowded(&self) -> Option<Timestamp> {
        let half = self.calls.get(CROWD / 2)?;
        (self.calls.len() > CROWD).then(|| known(half))
    }

    /// The next event.
    pub fn next(&mut self) -> Option<Event> {
        let packet = self.packets.front().map(|event| event.at);
        let call = next_known(&self.calls);
        let full = self.packets.len() + self.calls.len() > MOST;
        match (packet, call) {
            (Some(packet), Some(call)) if call_goes_first(call, packet) => self.calls.pop_front(),
            (Some(_), Some(_)) => self.packets.pop_front(),
            (Some(at), None) if self.calls_from > at || full => self.packets.pop_front(),
            (None, Some(at)) if self.packets_from >= at || full => self.calls.pop_front(),
            _ => None,
        }
    }

    /// The next event, when none will come any more.
    pub fn last(&mut self) -> Option<Event> {
        (self.packets_from, self.calls_from) = (Timestamp(i64::MAX), Timestamp(i64::MAX));
        self.next()
            .or_else(|| self.packets.pop_front())
            .or_else(|| self.calls.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Call, CallOutcome, IcmpKind, Lifecycle, Location, Op, Packet, Task};

    fn event(at: i64, what: EventKind) -> Event {
        Event {
            at: Timestamp(Span::millis(at).0),
            place: Location::default(),
            what,
        }
    }

    fn packet(at: i64) -> Event {
        let (kind, from) = (IcmpKind::TooBig, [0; 4].into());
        event(
            at,
            EventKind::Packet(Packet::Icmp {
                from,
                to: from,
                kind,
                quote: None,
            }),
        )
    }

    fn call(at: i64, exited: i64) -> Event {
        let call = Call {
            task: Task::default(),
            exited: Some(Timestamp(Span::millis(exited).0)),
            outcome: CallOutcome::Returned(0),
            op: Op::Sleep,
        };
        event(at, EventKind::Call(Box::new(call)))
    }

    fn cpu_time(at: i64) -> Event {
        let life = Lifecycle {
            task: Task::default(),
            change: LifecycleChange::CpuTime(Span::ZERO),
        };
        event(at, EventKind::Life(Box::new(life)))
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp(Span::millis(millis).0)
    }

    /// What leaves: times in milliseconds, those of packets negative.
    fn leave(order: &mut InOrder) -> Vec<i64> {
        let next = std::iter::from_fn(|| order.next());
        let time = |e: Event| {
            let millis = e.at.0 / Span::millis(1).0;
            if matches!(e.what, EventKind::Packet(_)) {
                -millis
            } else {
                millis
            }
        };
        next.map(time).collect()
    }

    #[test]
    fn each_waits_for_the_other_and_a_call_goes_when_it_returned() {
        let mut order = InOrder::new(true, true);
        order.packet(packet(10));
        order.packet(packet(30));
        assert_eq!(leave(&mut order), [0; 0], "a call may have returned before");
        order.call(call(5, 20));
        assert_eq!(leave(&mut order), [-10, 5]);
        order.traced_before(at(30));
        assert_eq!(
            leave(&mut order),
            [0; 0],
            "a call that returned then goes before"
        );
        order.traced_before(at(31));
        assert_eq!(leave(&mut order), [-30]);
        order.call(call(35, 40));
        order.captured_before(at(60), Some(at(40)));
        assert_eq!(
            leave(&mut order),
            [0; 0],
            "a frame of that time is held back"
        );
        order.captured_before(at(60), None);
        assert_eq!(leave(&mut order), [35]);
        order.call(cpu_time(45));
        order.packet(packet(50));
        assert_eq!(leave(&mut order), [0; 0], "its call is still to come");
        order.call(call(45, 55));
        assert_eq!(leave(&mut order), [-50, 45, 45]);
        order.call(call(90, 100));
        assert_eq!(leave(&mut order), [0; 0]);
        assert!(order.last().is_some() && order.last().is_none());
    }

    #[test]
    fn without_one_kind_the_other_does_not_wait() {
        let mut calls = InOrder::new(false, true);
        calls.call(call(1, 2));
        assert_eq!(leave(&mut calls), [1]);
        let mut packets = InOrder::new(true, false);
        packets.packet(packet(1));
        assert_eq!(leave(&mut packets), [-1]);
    }

    #[test]
    fn only_so_many_wait() {
        let mut order = InOrder::new(true, true);
        for n in 0..40_000 {
            order.call(call(n, n));
            assert_eq!(order.crowded().is_some(), n >= 8_192, "{n}");
        }
        assert_eq!(order.crowded(), Some(at(4_096)));
        assert_eq!(leave(&mut order).len(), 40_000 - MOST);
    }
}
