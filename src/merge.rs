//! One ordered stream out of several inputs.

use crate::event::{Event, Packet, Service, What};
use crate::time::Span;

/// Moves the events of a trace into the capture's time.
pub fn shift(events: &mut [Event], offset: Span) {
    for event in events {
        event.at = event.at + offset;
        if let What::Call(call) = &mut event.what {
            call.exited = call.exited.map(|at| at + offset);
        }
    }
}

/// Adds a packet to a capture's list, which begins at `from`. One that no later stage reads (the end of a
/// connection, an answer of mDNS) only shows that the capture was running then: it is kept while it is
/// the first or the last.
pub fn keep(list: &mut Vec<Event>, from: usize, event: Event) {
    if list.len() > from + 1 && list.last().is_some_and(is_mute) {
        list.pop();
    }
    list.push(event);
}

/// Whether nothing can be joined to a packet.
fn is_mute(event: &Event) -> bool {
    match &event.what {
        What::Packet(Packet::Tcp { flags, .. }) => !flags.syn && !flags.rst,
        What::Packet(Packet::Dns {
            service, message, ..
        }) => message.response && *service != Service::Unicast,
        _ => false,
    }
}

/// Makes one ordered list of two. The longer one is kept where it is: a second copy of a million packets would
/// be most of the memory that a run takes.
pub fn one(calls: Vec<Event>, packets: Vec<Event>) -> Vec<Event> {
    let (mut all, mut fewer) = if calls.len() < packets.len() {
        (packets, calls)
    } else {
        (calls, packets)
    };
    all.append(&mut fewer);
    drop(fewer);
    order(&mut all);
    all
}

/// Orders events by time; at the same time a call comes before a packet, then the order of the inputs
/// holds. The result does not depend on how the inputs were interleaved, because every event has a
/// place of its own and equal places (several messages of one TCP segment) keep their order.
pub fn order(events: &mut [Event]) {
    events.sort_by_key(|event| {
        let packet = matches!(event.what, What::Packet(_));
        (event.at, packet, event.place.input, event.place.number)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Place, TcpFlags};
    use crate::flow::{Endpoint, FiveTuple, Transport};
    use crate::time::Timestamp;

    fn segment(number: u64, syn: bool) -> Event {
        let end = Endpoint::new([10, 0, 0, 1].into(), 80);
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: end,
            dst: end,
        };
        let flags = TcpFlags {
            syn,
            fin: !syn,
            ..TcpFlags::default()
        };
        Event {
            at: Timestamp(i64::try_from(number).unwrap_or(0)),
            place: Place { input: 0, number },
            what: What::Packet(Packet::Tcp {
                flow,
                flags,
                seq: 0,
                ack: 0,
            }),
        }
    }

    #[test]
    fn ends_of_connections_stay_only_at_both_ends() {
        let mut list = Vec::new();
        for (number, syn) in [
            (1, false),
            (2, false),
            (3, true),
            (4, false),
            (5, true),
            (6, false),
            (7, false),
        ] {
            keep(&mut list, 0, segment(number, syn));
        }
        let numbers: Vec<u64> = list.iter().map(|e| e.place.number).collect();
        assert_eq!(numbers, [1, 3, 5, 7]);
        keep(&mut list, 4, segment(8, false));
        keep(&mut list, 4, segment(9, true));
        assert_eq!(list.len(), 6, "another capture's ends are its own");
    }

    #[test]
    fn one_list_is_ordered_whichever_is_longer() {
        for (calls, packets) in [
            ([1, 5].as_slice(), [2, 3, 4].as_slice()),
            (&[4, 2, 3], &[5, 1]),
        ] {
            let list = |numbers: &[u64]| numbers.iter().map(|n| segment(*n, true)).collect();
            let all = one(list(calls), list(packets));
            assert!(all.iter().map(|e| e.place.number).eq(1..=5));
        }
    }
}
