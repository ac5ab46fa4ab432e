//! One ordered stream out of several inputs.

mod several;

use crate::event::{Event, EventKind, Packet, Service};
use crate::flow::FiveTuple;
use crate::time::{Span, Timestamp};
use several::ONE_PLACE;
pub use several::{align, have_two_clocks};
use std::collections::HashMap;

/// Moves the events of a trace into the capture's time.
pub fn shift(events: &mut [Event], offset: Span) {
    for event in events {
        event.at = event.at + offset;
        if let EventKind::Call(call) = &mut event.what {
            call.exited = call.exited.map(|at| at + offset);
        }
    }
}

/// Adds a packet of a capture to a list. One that no later stage reads (the end of a connection, an answer of mDNS)
/// only shows that the capture was running then: it is kept while it is the first or the last of its capture.
pub fn keep(list: &mut Vec<Event>, event: Event) {
    let own = |e: &Event| e.place.input == event.place.input;
    if let [.., before, last] = &list[..]
        && own(before)
        && own(last)
        && is_mute(last)
    {
        list.pop();
    }
    list.push(event);
}

/// Whether nothing can be joined to a packet.
fn is_mute(event: &Event) -> bool {
    match &event.what {
        EventKind::Packet(Packet::Tcp { flags, .. }) => flags.fin && !flags.syn && !flags.rst,
        EventKind::Packet(Packet::Dns {
            service, message, ..
        }) => match service {
            Service::Unicast | Service::Llmnr | Service::NetBios => false,
            Service::Mdns => message.response && message.addresses.is_empty(),
            Service::Candidate => message.response,
        },
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

/// How many packets of one flow are looked at for a copy.
const MAX_LOOKED_AT: usize = 16;

/// A packet that was kept, and the captures that showed it.
type Shown = (usize, Vec<u16>);

/// Removes from an ordered list what another capture shows again: the same traffic captured twice, or on two interfaces
/// of one host. Of each packet that of the first-named capture stays, with what was found out about whose another one is.
/// Returns how many went. Copies within one
/// capture are none of this: there, [`crate::decode::duplicate`] knows the interface.
pub fn remove_copies(list: &mut Vec<Event>) -> u64 {
    let mut gone = vec![false; list.len()];
    let mut flows: HashMap<FiveTuple, Vec<Shown>> = HashMap::new();
    for (i, event) in list.iter().enumerate() {
        let EventKind::Packet(packet) = &event.what else {
            continue;
        };
        let (Some(flow), input) = (packet.flow(), event.place.input) else {
            continue;
        };
        let shown = flows.entry(flow).or_default();
        let copy = shown.iter_mut().rev().take(MAX_LOOKED_AT).find(|(k, by)| {
            // A client that is refused asks again after some hundred microseconds.
            event.at - list[*k].at <= ONE_PLACE
                && !by.contains(&input)
                && list[*k].what == event.what
        });
        let Some((kept, by)) = copy else {
            shown.push((i, vec![input]));
            continue;
        };
        by.push(input);
        if input < list[*kept].place.input {
            gone[*kept] = true;
            *kept = i;
        } else {
            gone[i] = true;
        }
    }
    about_what_stays(list, &gone);
    let mut goes = gone.iter();
    list.retain(|_| !goes.next().copied().unwrap_or(false));
    gone.iter().filter(|goes| **goes).count() as u64
}

/// Gives what was found out about whose a packet is to the copy of the packet that stays, of which it then has the time.
fn about_what_stays(list: &mut [Event], gone: &[bool]) {
    if !list.iter().any(|e| matches!(e.what, EventKind::Owner(_))) {
        return;
    }
    let mut stays: HashMap<FiveTuple, Vec<Timestamp>> = HashMap::new();
    let mut goes: HashMap<FiveTuple, Vec<Timestamp>> = HashMap::new();
    for (event, gone) in list.iter().zip(gone) {
        if let EventKind::Packet(packet) = &event.what
            && let Some(flow) = packet.flow()
        {
            let of = if *gone { &mut goes } else { &mut stays };
            of.entry(flow).or_default().push(event.at);
        }
    }
    for event in list {
        let EventKind::Owner(owner) = &event.what else {
            continue;
        };
        let at = event.at;
        let has = |of: &HashMap<FiveTuple, Vec<Timestamp>>, at: Timestamp| {
            let times = of.get(&owner.flow);
            times.is_some_and(|times| times.binary_search(&at).is_ok())
        };
        let Some(times) = stays.get(&owner.flow) else {
            continue;
        };
        if has(&goes, at) && !has(&stays, at) {
            let next = times.partition_point(|t| *t < at);
            let near = [
                next.checked_sub(1).map(|n| times[n]),
                times.get(next).copied(),
            ];
            let nearest = near.into_iter().flatten().min_by_key(|t| (*t - at).abs());
            event.at = nearest
                .filter(|t| (*t - at).abs() <= ONE_PLACE)
                .unwrap_or(at);
        }
    }
}

/// Orders events by time; at the same time a call comes before a packet, then the order of the inputs
/// holds. The result does not depend on how the inputs were interleaved, because every event has a
/// place of its own and equal places (several messages of one TCP segment) keep their order.
pub fn order(events: &mut [Event]) {
    events.sort_by_key(|event| {
        let packet = matches!(event.what, EventKind::Packet(_));
        (event.at, packet, event.place.input, event.place.number)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Location, TcpFlags};
    use crate::flow::{Endpoint, Transport};
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
            place: Location { input: 0, number },
            what: EventKind::Packet(Packet::Tcp {
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
            keep(&mut list, segment(number, syn));
        }
        let numbers: Vec<u64> = list.iter().map(|e| e.place.number).collect();
        assert_eq!(numbers, [1, 3, 5, 7]);
        for (number, syn) in [(8, false), (9, true), (10, false), (11, false)] {
            let mut event = segment(number, syn);
            event.place.input = 1;
            keep(&mut list, event);
        }
        assert_eq!(list.len(), 7, "another capture's ends are its own");
    }

    #[test]
    fn a_packet_that_two_captures_show_is_one() {
        let shown = |input: u16, number: u64, after: Span| {
            let mut event = segment(number, true);
            event.at = Timestamp::default() + after;
            event.place.input = input;
            event
        };
        let all = || {
            vec![
                shown(1, 1, Span::ZERO),
                shown(0, 1, Span::micros(5)),
                shown(0, 2, Span::micros(300)),
                shown(1, 2, Span::micros(301)),
                // The same again, but later, and of one capture alone.
                shown(1, 3, Span::micros(600)),
                shown(0, 3, Span::micros(900)),
            ]
        };
        let mut list = all();
        assert_eq!(remove_copies(&mut list), 2);
        let places: Vec<(u16, u64)> = list
            .iter()
            .map(|e| (e.place.input, e.place.number))
            .collect();
        assert_eq!(places, [(0, 1), (0, 2), (1, 3), (0, 3)]);
        assert_eq!(remove_copies(&mut list), 0, "what stays is told apart");
        let mut one: Vec<Event> = all().into_iter().filter(|e| e.place.input == 1).collect();
        assert_eq!(
            remove_copies(&mut one),
            0,
            "a capture repeats what was repeated"
        );
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
