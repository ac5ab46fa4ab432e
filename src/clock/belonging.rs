//! Whether a trace and the captures beside it are of one run.
//!
//! Two files that are laid on each other although they are of two runs give a report that is wrong in every sentence.
//! What ties them: the same action in both, known by its socket's port or its query's id, or by its destination and its
//! time. What parts them: clocks that cannot be laid on each other, or ports and ids that never agree although both
//! files show traffic with the same hosts.

use super::action::Peers;
use crate::event::{Call, Event, EventKind, Op, Packet, SocketType};
use crate::flow::{Endpoint, FiveTuple};
use crate::input::TraceClock;
use crate::time::{SECOND, Span, Timestamp};
use std::collections::{HashMap, HashSet};

/// Whether inputs are of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// They are.
    Same,
    /// They are not.
    Different(Mismatch),
    /// Nobody can tell.
    Unknown,
}

/// What shows that two inputs are of two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Their times are apart by this much, whatever the time zone.
    Times(Span),
    /// Both show traffic with this host, and no port of the one occurs in the other.
    Ports(Endpoint),
    /// Both show queries to this resolver, and no id of the one occurs in the other.
    Ids(Endpoint),
}

/// How many ports or ids are remembered for one host: what is chosen at random agrees by chance in longer lists.
const MAX_OF_A_HOST: usize = 64;

/// Files of one run may miss each other by this much: whoever starts tcpdump after strace loses the first packets.
pub const NEAR: Span = Span::seconds(10);

/// What a solution of the clock found.
#[derive(Clone, Copy, Debug)]
pub struct ClockFit {
    /// How many calls are laid on packets of their own.
    pub actions: usize,
    /// The trace's times need no more than another time zone for it.
    pub near: bool,
}

/// Says whether a trace belongs to the packets; `found` is what its clock was solved from.
pub fn judge(
    clock: TraceClock,
    calls: &[Event],
    packets: &[Event],
    dns_ports: &[u16],
    found: ClockFit,
) -> Belonging {
    let called = Marks::of_calls(calls, dns_ports);
    let seen = Marks::of_packets(packets, dns_ports);
    let ports = agree(&called.ports, &seen.ports);
    let ids = agree(&called.ids, &seen.ids);
    match (ports, ids) {
        (Agreement::Some, _) | (Agreement::None(_) | Agreement::Nothing, Agreement::Some) => {
            Belonging::Same
        }
        (Agreement::None(host), _) => Belonging::Different(Mismatch::Ports(host)),
        (_, Agreement::None(resolver)) => Belonging::Different(Mismatch::Ids(resolver)),
        (Agreement::Nothing, Agreement::Nothing) => by_time(clock, calls, packets, found),
    }
}

fn by_time(clock: TraceClock, calls: &[Event], packets: &[Event], found: ClockFit) -> Belonging {
    let apart = apart(clock, calls, packets).filter(|apart| *apart > NEAR);
    match (found.actions, apart) {
        (1.., _) if found.near => Belonging::Same,
        (2.., None) => Belonging::Same,
        // Two incidents of one client have one timetable: 5 s between two resolvers is no proof.
        (2.., Some(_)) | (0 | 1, None) => Belonging::Unknown,
        (0 | 1, Some(apart)) => Belonging::Different(Mismatch::Times(apart)),
    }
}

/// How far the two spans of time are apart at least, whatever whole hour lies between their clocks; `None` where the
/// trace's clock has no date.
fn apart(clock: TraceClock, calls: &[Event], packets: &[Event]) -> Option<Span> {
    let step = match clock {
        TraceClock::Epoch { .. } => 3_600 * SECOND,
        TraceClock::LocalDate { .. } => 900 * SECOND,
        TraceClock::TimeOfDay { .. } | TraceClock::Relative { .. } | TraceClock::None => {
            return None;
        }
    };
    let span = |events: &[Event]| -> Option<(Timestamp, Timestamp)> {
        let times = || events.iter().map(|e| e.at);
        Some((times().min()?, times().max()?))
    };
    let (calls, packets) = (span(calls)?, span(packets)?);
    // From the end of the one to the beginning of the other, and back again, within one step of the zones.
    let ahead = (packets.0 - calls.1).0.rem_euclid(step);
    let lengths = (calls.1 - calls.0) + (packets.1 - packets.0);
    // Moving the trace on by `ahead` makes them touch; they overlap for as long as both last together.
    let behind = step.saturating_sub(ahead).saturating_sub(lengths.0).max(0);
    Some(Span(ahead.min(behind)))
}

/// What names single sockets and queries, by the host they go to.
#[derive(Default)]
struct Marks {
    ports: HashMap<Endpoint, HashSet<u16>>,
    ids: HashMap<Endpoint, HashSet<u16>>,
}

impl Marks {
    fn of_calls(calls: &[Event], dns_ports: &[u16]) -> Self {
        let mut this = Self::default();
        let mut peers = Peers::default();
        for event in calls {
            if let EventKind::Call(call) = &event.what {
                peers.follow(call);
                this.call(call, &peers, dns_ports);
            }
        }
        this
    }

    fn call(&mut self, call: &Call, peers: &Peers, dns_ports: &[u16]) {
        let peer = peers.peer(call);
        let note = call.op.fd().and_then(|fd| fd.note.as_ref());
        if let Some(note) = note
            && let (Some(local), Some(to)) = (note.local, note.peer.or(peer))
        {
            // getaddrinfo sorts addresses by connecting datagram sockets to the server, which sends nothing (RFC 6724).
            let stream = note.socket.is_some_and(|s| s.style == SocketType::Stream);
            if stream || dns_ports.contains(&to.port) {
                add(&mut self.ports, to, local.port);
            }
        }
        if let Op::Send { messages, .. } = &call.op {
            for message in messages {
                let to = message.peer.or(peer);
                let to = to.filter(|to| dns_ports.contains(&to.port));
                let query = message.dns.iter().find(|m| !m.response);
                if let Some((to, query)) = to.zip(query) {
                    add(&mut self.ids, to, query.id);
                }
            }
        }
    }

    fn of_packets(packets: &[Event], dns_ports: &[u16]) -> Self {
        let mut this = Self::default();
        for event in packets {
            match &event.what {
                EventKind::Packet(Packet::Dns { flow, message, .. })
                    if !message.response && dns_ports.contains(&flow.dst.port) =>
                {
                    this.packet(*flow);
                    add(&mut this.ids, flow.dst, message.id);
                }
                EventKind::Packet(Packet::Tcp { flow, flags, .. }) if flags.syn && !flags.ack => {
                    this.packet(*flow);
                }
                _ => {}
            }
        }
        this
    }

    fn packet(&mut self, flow: FiveTuple) {
        add(&mut self.ports, flow.dst, flow.src.port);
    }
}

fn add(marks: &mut HashMap<Endpoint, HashSet<u16>>, host: Endpoint, mark: u16) {
    let set = marks.entry(host).or_default();
    if mark != 0 && set.len() <= MAX_OF_A_HOST {
        set.insert(mark);
    }
}

/// Whether marks of two inputs agree.
enum Agreement {
    /// Some do.
    Some,
    /// None does, for this host among others.
    None(Endpoint),
    /// They have no host in common, or too many marks for chance to be ruled out.
    Nothing,
}

fn agree(
    called: &HashMap<Endpoint, HashSet<u16>>,
    seen: &HashMap<Endpoint, HashSet<u16>>,
) -> Agreement {
    let mut alone = Agreement::Nothing;
    let mut hosts: Vec<_> = called.iter().collect();
    hosts.sort_by_key(|(host, _)| **host);
    for (host, marks) in hosts {
        let Some(others) = seen.get(host) else {
            continue;
        };
        if marks.is_empty() || others.is_empty() {
            continue;
        }
        if marks.len().max(others.len()) > MAX_OF_A_HOST {
            return Agreement::Nothing;
        }
        if !marks.is_disjoint(others) {
            return Agreement::Some;
        }
        if matches!(alone, Agreement::Nothing) {
            alone = Agreement::None(*host);
        }
    }
    alone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Location;

    fn at(seconds: i64) -> Event {
        Event {
            at: Timestamp::default() + Span::seconds(seconds),
            place: Location::default(),
            what: EventKind::Packet(Packet::Neighbour {
                about: [10, 0, 0, 1].into(),
                reply: false,
                from: None,
            }),
        }
    }

    const EPOCH: TraceClock = TraceClock::Epoch {
        resolution: Span(1),
    };

    #[test]
    fn spans_of_time_are_held_against_each_other_in_any_whole_hour() {
        let gap = |calls: [i64; 2], packets: [i64; 2]| {
            let gap = apart(EPOCH, &calls.map(at), &packets.map(at));
            gap.map(|gap| gap.0 / SECOND)
        };
        assert_eq!(gap([0, 5], [139, 150]), Some(134));
        assert_eq!(gap([139, 150], [0, 5]), Some(134));
        assert_eq!(gap([0, 10], [5, 20]), Some(0));
        assert_eq!(gap([3_600, 3_610], [5, 20]), Some(0), "another zone");
        assert_eq!(gap([0, 10], [5, 9_000]), Some(0), "longer than any step");
    }

    #[test]
    fn a_single_action_ties_only_clocks_that_agree() {
        let judged = |actions, near, packets: [i64; 2]| {
            let found = ClockFit { actions, near };
            by_time(EPOCH, &[0, 5].map(at), &packets.map(at), found)
        };
        assert_eq!(judged(1, true, [0, 5]), Belonging::Same);
        assert_eq!(judged(2, false, [3, 9]), Belonging::Same);
        assert_eq!(judged(2, false, [200, 205]), Belonging::Unknown);
        assert_eq!(judged(1, false, [8, 9]), Belonging::Unknown);
        let apart = Mismatch::Times(Span::seconds(195));
        let different = Belonging::Different(apart);
        assert_eq!(judged(1, false, [200, 205]), different);
        assert_eq!(judged(0, false, [200, 205]), different);
    }
}
