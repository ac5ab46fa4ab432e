//! Several captures of one run: taken on one host, or at several places with clocks of their own.

use crate::event::{Event, EventKind, Packet};
use crate::flow::{FiveTuple, Transport};
use crate::input::CaptureFacts;
use crate::time::Span;
use std::collections::{HashMap, HashSet};

/// Two captures show one packet at one place this far apart at most: ten times what was measured between interfaces of
/// one host (0 to 5 µs).
pub const ONE_PLACE: Span = Span::micros(50);

/// How many packets of a capture are compared with those of the first.
const MAX_COMPARED: usize = 100_000;

/// Moves the packets of later captures onto the clock of the first, where both show the same packets, and takes each
/// flow that two places show from the first-named place alone: what the second place received need not have reached the
/// first. Says so in the capture's warnings, and how many packets it left out.
pub fn align(captures: &mut [CaptureFacts], packets: &mut Vec<Event>) -> u64 {
    let Some((first, others)) = captures.split_first_mut() else {
        return 0;
    };
    let known = by_mark(of(packets, first.input));
    let mut moved: HashMap<u16, Span> = HashMap::new();
    for capture in others {
        let Some(apart) = apart(&known, packets, (&*first, &*capture)) else {
            continue;
        };
        if apart.abs() <= ONE_PLACE {
            continue;
        }
        moved.insert(capture.input, apart);
        capture.first = capture.first.map(|at| at - apart);
        capture.last = capture.last.map(|at| at - apart);
        capture.drop_times.move_back(apart);
        capture.warnings.push(format!(
            "{} shows packets of {} {:.6} s {}: its times are shifted by that much, and packets in both are reported as \
             {} has them",
            capture.path,
            first.path,
            apart.abs().as_seconds(),
            if apart > Span::ZERO { "later" } else { "earlier" },
            first.path,
        ));
    }
    if moved.is_empty() {
        return 0;
    }
    let held: HashSet<FiveTuple> = packets
        .iter()
        .filter(|e| e.place.input == first.input)
        .filter_map(flow)
        .collect();
    let before = packets.len();
    packets.retain_mut(|event| {
        let Some(apart) = moved.get(&event.place.input) else {
            return true;
        };
        event.at = event.at - *apart;
        !flow(event).is_some_and(|f| held.contains(&f) || held.contains(&f.reversed()))
    });
    (before - packets.len()) as u64
}

fn flow(event: &Event) -> Option<FiveTuple> {
    match &event.what {
        EventKind::Packet(packet) => packet.flow(),
        EventKind::Call(_) | EventKind::Life(_) | EventKind::Stack(_) | EventKind::Owner(_) => None,
    }
}

/// What one packet is known by wherever it is captured: a SYN by its sequence number, a DNS message by its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Mark {
    flow: FiveTuple,
    number: u32,
    answer: bool,
}

fn mark(event: &Event) -> Option<Mark> {
    match &event.what {
        EventKind::Packet(Packet::Tcp {
            flow, flags, seq, ..
        }) if flags.syn => Some(Mark {
            flow: *flow,
            number: *seq,
            answer: flags.ack,
        }),
        EventKind::Packet(Packet::Dns { flow, message, .. }) => Some(Mark {
            flow: *flow,
            number: message.id.into(),
            answer: message.response,
        }),
        _ => None,
    }
}

/// The packets of a capture, each by its first occurrence.
fn by_mark<'e>(packets: impl Iterator<Item = &'e Event>) -> HashMap<Mark, &'e Event> {
    let mut known = HashMap::new();
    for event in packets {
        if let Some(mark) = mark(event) {
            known.entry(mark).or_insert(event);
        }
    }
    known
}

fn of(packets: &[Event], input: u16) -> impl Iterator<Item = &Event> {
    let own = packets.iter().filter(move |e| e.place.input == input);
    own.take(MAX_COMPARED)
}

/// Packets that two captures share are this near to one distance in time: what a path may add to some of them.
const ONE_DISTANCE: Span = Span::millis(20);

/// How much later a capture shows what the first shows; `None` where that is not certain. Of captures that follow each other
/// (one that was rotated) most of what either holds must be in both.
fn apart(
    known: &HashMap<Mark, &Event>,
    packets: &[Event],
    (first, other): (&CaptureFacts, &CaptureFacts),
) -> Option<Span> {
    let mut shared = SharedPackets::of(known, of(packets, other.input));
    let apart = shared.apart()?;
    let overlap = first.first <= other.last && other.first <= first.last;
    let most = 2 * shared.distances.len() >= known.len().min(shared.seen);
    (overlap || most).then_some(apart)
}

/// Whether two captures show the same packets at different times, as far as these packets of theirs show.
pub fn have_two_clocks(first: &[Event], other: &[Event]) -> bool {
    let mut shared = SharedPackets::of(&by_mark(first.iter()), other.iter());
    shared.apart().is_some_and(|apart| apart.abs() > ONE_PLACE)
}

/// The packets that two captures share.
struct SharedPackets {
    marks: HashSet<Mark>,
    /// How much later the second one shows each.
    distances: Vec<Span>,
    /// How many the second one has.
    seen: usize,
}

impl SharedPackets {
    fn of<'e>(known: &HashMap<Mark, &Event>, packets: impl Iterator<Item = &'e Event>) -> Self {
        let mut seen = HashSet::new();
        let mut this = Self {
            marks: HashSet::new(),
            distances: Vec::new(),
            seen: 0,
        };
        for event in packets {
            let Some(mark) = mark(event).filter(|m| seen.insert(*m)) else {
                continue;
            };
            if let Some(same) = known.get(&mark) {
                this.distances.push(event.at - same.at);
                this.marks.insert(mark);
            }
        }
        this.seen = seen.len();
        this
    }

    /// How much later they are shown, by the packet in the middle; `None` where that is not certain.
    ///
    /// What was sent again looks like the first one, and its late answer like the answer to the second: one exchange of
    /// DNS, or answers alone, are no proof. Proof is a TCP handshake or two questions, each with its answer, that both
    /// hold, all at one distance.
    fn apart(&mut self) -> Option<Span> {
        if !proven(&self.marks) {
            return None;
        }
        let middle = self.distances.len() / 2;
        let apart = *self.distances.select_nth_unstable(middle).1;
        let near = |distance: &Span| (*distance - apart).abs() <= ONE_DISTANCE;
        self.distances.iter().all(near).then_some(apart)
    }
}

/// Whether the packets that two captures share hold one handshake of TCP or two exchanges of DNS.
fn proven(shared: &HashSet<Mark>) -> bool {
    // The numbers of a SYN and of its SYN-ACK have nothing to do with each other.
    let exchange = |mark: &Mark, flow: FiveTuple| match flow.transport {
        Transport::Tcp => (flow, None),
        Transport::Udp => (flow, Some(mark.number)),
    };
    let asked = shared.iter().filter(|m| !m.answer);
    let asked: HashSet<_> = asked.map(|m| exchange(m, m.flow)).collect();
    let answers = shared.iter().filter(|m| m.answer);
    let whole = answers.filter(|m| asked.contains(&exchange(m, m.flow.reversed())));
    let weight = whole.map(|m| match m.flow.transport {
        Transport::Tcp => 2,
        Transport::Udp => 1,
    });
    weight.sum::<u32>() >= 2
}
