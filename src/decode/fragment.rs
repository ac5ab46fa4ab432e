//! IPv4 and IPv6 fragments put together again, within bounds.
//!
//! One datagram is etherparse's `IpDefragBuf`. Its pool of them is not used: it grows without a bound.

use crate::time::{Span, Timestamp};
use etherparse::defrag::IpDefragBuf;
use etherparse::{IpFragOffset, IpNumber};
use std::collections::HashMap;
use std::net::IpAddr;

/// How long a datagram waits for its fragments: what Linux waits (`ipfrag_time`, ip(7)).
const PATIENCE: Span = Span::seconds(30);

/// How many holes one datagram may have: 64 kB in pieces of the least MTU (RFC 791: 68 bytes carry 48)
/// are more, but nobody sends DNS so.
const MAX_PIECES: usize = 256;

/// How many incomplete datagrams are kept.
const MAX_DATAGRAMS: usize = 256;

/// How many bytes of incomplete datagrams are kept.
const MAX_HELD: usize = 4 << 20;

/// What the fragments of one datagram have in common (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatagramKey {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Identification.
    pub id: u32,
    /// Protocol of what was fragmented.
    pub protocol: u8,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Its datagram.
    pub key: DatagramKey,
    /// Where its data begin in the datagram.
    pub offset: IpFragOffset,
    /// More fragments follow.
    pub more: bool,
    /// Its data.
    pub data: &'a [u8],
}

/// The datagrams that are not whole yet.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    waiting: HashMap<DatagramKey, Datagram>,
    held: usize,
    given_up: u64,
}

#[derive(Clone, Debug)]
struct Datagram {
    since: Timestamp,
    buffer: IpDefragBuf,
}

impl Datagram {
    /// The memory that it takes: an early part makes room for what comes before it.
    fn bytes(&self) -> usize {
        self.buffer.data().len()
    }
}

impl Fragments {
    /// Adds a fragment; the datagram's payload when this one completed it. Where fragments overlap the later one wins.
    pub fn add(&mut self, at: Timestamp, fragment: Fragment<'_>) -> Option<Vec<u8>> {
        let Fragment {
            key, offset, data, ..
        } = fragment;
        if data.is_empty() {
            self.given_up += 1;
            return None;
        }
        if self
            .waiting
            .get(&key)
            .is_some_and(|d| (at - d.since).abs() > PATIENCE)
        {
            self.give_up(key);
        }
        if !self.waiting.contains_key(&key) && self.waiting.len() >= MAX_DATAGRAMS {
            self.give_up_oldest();
        }
        let datagram = self.waiting.entry(key).or_insert_with(|| Datagram {
            since: at,
            buffer: IpDefragBuf::new(IpNumber(key.protocol), Vec::new(), Vec::new()),
        });
        let before = datagram.bytes();
        let added = datagram.buffer.add(offset, fragment.more, data);
        self.held = (self.held + datagram.bytes()).saturating_sub(before);
        if added.is_err() || datagram.buffer.sections().len() > MAX_PIECES {
            self.give_up(key);
        } else if datagram.buffer.is_complete() {
            let whole = self.waiting.remove(&key)?;
            self.held = self.held.saturating_sub(whole.bytes());
            return Some(whole.buffer.take_bufs().0);
        }
        while self.held > MAX_HELD {
            self.give_up_oldest();
        }
        None
    }

    /// Datagrams dropped because they were damaged or too many.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Datagrams of which a part never came.
    pub fn incomplete(&self) -> usize {
        self.waiting.len()
    }

    fn give_up_oldest(&mut self) {
        let oldest = self.waiting.iter().min_by_key(|(key, d)| (d.since, key.id));
        match oldest.map(|(key, _)| *key) {
            Some(key) => self.give_up(key),
            None => self.held = 0,
        }
    }

    fn give_up(&mut self, key: DatagramKey) {
        if let Some(datagram) = self.waiting.remove(&key) {
            self.held = self.held.saturating_sub(datagram.bytes());
            self.given_up += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn fragment(id: u32, offset: usize, more: bool, data: &[u8]) -> Fragment<'_> {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let key = DatagramKey {
            src: ip,
            dst: ip,
            id,
            protocol: 17,
        };
        Fragment {
            key,
            offset: IpFragOffset::try_new(u16::try_from(offset / 8).unwrap()).unwrap(),
            more,
            data,
        }
    }

    #[test]
    fn fragments_in_any_order_make_the_whole() {
        let mut fragments = Fragments::default();
        let at = Timestamp(0);
        assert!(fragments.add(at, fragment(1, 16, false, b"end")).is_none());
        assert!(
            fragments
                .add(at, fragment(2, 0, true, b"xxxxxxxx"))
                .is_none()
        );
        assert!(
            fragments
                .add(at, fragment(1, 8, true, b"23456789"))
                .is_none()
        );
        assert!(
            fragments
                .add(at, fragment(1, 8, true, b"23456789"))
                .is_none()
        );
        let whole = fragments
            .add(at, fragment(1, 0, true, b"01234567"))
            .unwrap();
        assert_eq!(whole, b"0123456723456789end");
        assert_eq!((fragments.incomplete(), fragments.held), (1, 8));
    }

    #[test]
    fn what_came_too_late_is_another_datagram() {
        let mut fragments = Fragments::default();
        fragments.add(Timestamp(0), fragment(1, 0, true, b"01234567"));
        let late = Timestamp(0) + Span::seconds(31);
        assert!(fragments.add(late, fragment(1, 8, false, b"end")).is_none());
        assert_eq!(fragments.given_up(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut fragments = Fragments::default();
        let big = vec![0; 60_000];
        for id in 0..2000 {
            fragments.add(Timestamp(0), fragment(id, 0, true, &big));
        }
        assert!(fragments.held <= MAX_HELD && fragments.waiting.len() <= MAX_DATAGRAMS);
        for offset in 0..2000 {
            fragments.add(Timestamp(0), fragment(5000, offset * 16, true, b"01234567"));
        }
        assert!(fragments.held <= MAX_HELD);
        let holes = |d: &Datagram| d.buffer.sections().len();
        assert!(fragments.waiting.values().all(|d| holes(d) <= MAX_PIECES));
        let held: usize = fragments.waiting.values().map(Datagram::bytes).sum();
        assert_eq!(held, fragments.held);
    }
}
