//! Copies of one packet: on several interfaces, and before and behind a router.
//!
//! On a bridge the copies come 0 to 5 µs apart (measured on Linux 6.18). A router's copy differs in TTL and header
//! checksum only. Who sends a packet again gives it a new identification (RFC 6864 section 4.3), except in
//! packets that may not be fragmented: there 0 stands. The identical packet again with the same TTL on the *same*
//! interface is counted as it was captured: a mirror or a second netfilter hook cannot be told from a sender by its bytes
//! where 0 stands, and queries and answers must be counted alike.

use crate::time::{Span, Timestamp};
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

/// How far apart two copies of one packet may be. Four hundred times what was measured: a busy machine
/// is slower, and no sender repeats itself that fast.
pub const WINDOW: Span = Span::millis(2);

/// How many packets are remembered. A window that holds more than this loses its oldest: copies follow
/// each other within microseconds.
const REMEMBERED: usize = 4096;

/// How far behind a packet a router's copy of it may be: what a queue holds. The identification tells it from a
/// retransmission.
pub const ROUTER: Span = Span::millis(500);

/// Remembers the packets of the last moments.
#[derive(Clone, Debug, Default)]
pub struct Duplicates {
    seen: HashMap<(u64, usize), Sight>,
    order: VecDeque<((u64, usize), Timestamp)>,
}

/// Where and when a packet was kept.
#[derive(Clone, Copy, Debug)]
struct Sight {
    at: Timestamp,
    interface: Option<u32>,
    hops: u8,
}

impl Duplicates {
    /// Whether this network-layer packet is a copy of one that was kept.
    pub fn is_copy(&mut self, at: Timestamp, interface: Option<u32>, packet: &[u8]) -> bool {
        let (hops, numbered) = hops(packet);
        let mut hasher = DefaultHasher::new();
        match packet {
            // Without TTL and header checksum; without the hop limit.
            [0x45..=0x4f, ..] if packet.len() >= 20 => {
                hasher.write(&packet[..8]);
                hasher.write(&packet[9..10]);
                hasher.write(&packet[12..]);
            }
            [0x60..=0x6f, ..] if packet.len() >= 40 => {
                hasher.write(&packet[..7]);
                hasher.write(&packet[8..]);
            }
            _ => hasher.write(packet),
        }
        let key = (hasher.finish(), packet.len());
        if let Some(kept) = self.seen.get(&key) {
            let apart = (at - kept.at).abs();
            let elsewhere = match (kept.interface, interface) {
                (Some(one), Some(other)) => one != other,
                _ => false,
            };
            let routed = kept.hops != hops;
            if apart <= WINDOW && (elsewhere || routed) || apart <= ROUTER && routed && numbered {
                return true;
            }
        }
        while let Some((old, when)) = self.order.front().copied()
            && ((at - when).abs() > ROUTER || self.order.len() >= REMEMBERED)
        {
            self.order.pop_front();
            if self.seen.get(&old).is_some_and(|sight| sight.at == when) {
                self.seen.remove(&old);
            }
        }
        let sight = Sight {
            at,
            interface,
            hops,
        };
        self.seen.insert(key, sight);
        self.order.push_back((key, at));
        false
    }
}

/// A packet's TTL or hop limit, and whether its identification tells it from a retransmission.
fn hops(packet: &[u8]) -> (u8, bool) {
    match packet {
        [0x45..=0x4f, _, _, _, high, low, _, _, ttl, ..] => (*ttl, (*high, *low) != (0, 0)),
        [0x60..=0x6f, _, _, _, _, _, _, limit, ..] => (*limit, false),
        _ => (0, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_packet_soon_and_elsewhere_is_a_copy() {
        let mut duplicates = Duplicates::default();
        let at = |micros| Timestamp(0) + Span::micros(micros);
        assert!(!duplicates.is_copy(at(0), Some(1), b"packet"));
        assert!(duplicates.is_copy(at(5), Some(2), b"packet"));
        assert!(duplicates.is_copy(at(6), Some(3), b"packet"));
        assert!(!duplicates.is_copy(at(7), Some(2), b"other"));
        // The same interface again: a retransmission, and its copy.
        assert!(!duplicates.is_copy(at(1500), Some(1), b"packet"));
        assert!(duplicates.is_copy(at(1501), Some(2), b"packet"));
        assert!(!duplicates.is_copy(at(9000), Some(2), b"packet"));
    }

    #[test]
    fn the_identification_tells_a_copy_from_a_retransmission() {
        let packet = |id: u16, ttl: u8, data: u8| {
            let mut packet = vec![0x45, 0, 0, 21, 0, 0, 0x40, 0, ttl, 17, ttl, 0];
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            packet.extend([10, 0, 0, 1, 10, 0, 0, 2, data]);
            packet
        };
        let at = |micros| Timestamp(0) + Span::micros(micros);
        let mut seen = Duplicates::default();
        assert!(!seen.is_copy(at(0), None, &packet(7, 64, 1)));
        // Behind a router; the same once more; sent again.
        assert!(seen.is_copy(at(90_000), None, &packet(7, 63, 1)));
        assert!(!seen.is_copy(at(5), None, &packet(7, 64, 1)));
        assert!(!seen.is_copy(at(90_000), None, &packet(8, 64, 1)));
        assert!(!seen.is_copy(at(90_100), None, &packet(7, 64, 2)));
        // Without an identification only a neighbouring copy is one.
        assert!(!seen.is_copy(at(100_000), None, &packet(0, 64, 1)));
        assert!(!seen.is_copy(at(100_005), None, &packet(0, 64, 1)));
        assert!(seen.is_copy(at(100_300), None, &packet(0, 63, 1)));
        assert!(!seen.is_copy(at(190_000), None, &packet(0, 63, 1)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut duplicates = Duplicates::default();
        for number in 0..20_000_u32 {
            duplicates.is_copy(Timestamp(0), Some(1), &number.to_be_bytes());
        }
        assert!(duplicates.order.len() <= REMEMBERED && duplicates.seen.len() <= REMEMBERED);
    }
}
