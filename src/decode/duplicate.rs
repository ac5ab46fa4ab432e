//! Copies of one packet that a capture on `any` shows on several interfaces.
//!
//! On a bridge the copies come 0 to 5 µs apart (measured on Linux 6.18). The identical packet again on
//! the *same* interface is a retransmission and stays; where the interface is not known nothing is removed.

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

/// Remembers the packets of the last moments.
#[derive(Debug, Default)]
pub struct Duplicates {
    seen: HashMap<(u64, usize), Sight>,
    order: VecDeque<((u64, usize), Timestamp)>,
}

/// Where and when a packet was kept.
#[derive(Clone, Copy, Debug)]
struct Sight {
    at: Timestamp,
    interface: u32,
}

impl Duplicates {
    /// Whether this network-layer packet is a copy of one that was kept on another interface.
    pub fn is_copy(&mut self, at: Timestamp, interface: u32, packet: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(packet);
        let key = (hasher.finish(), packet.len());
        if let Some(kept) = self.seen.get(&key)
            && (at - kept.at).abs() <= WINDOW
            && kept.interface != interface
        {
            return true;
        }
        while let Some((old, when)) = self.order.front().copied()
            && ((at - when).abs() > WINDOW || self.order.len() >= REMEMBERED)
        {
            self.order.pop_front();
            if self.seen.get(&old).is_some_and(|sight| sight.at == when) {
                self.seen.remove(&old);
            }
        }
        self.seen.insert(key, Sight { at, interface });
        self.order.push_back((key, at));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_packet_soon_and_elsewhere_is_a_copy() {
        let mut duplicates = Duplicates::default();
        let at = |micros| Timestamp(0) + Span::micros(micros);
        assert!(!duplicates.is_copy(at(0), 1, b"packet"));
        assert!(duplicates.is_copy(at(5), 2, b"packet"));
        assert!(duplicates.is_copy(at(6), 3, b"packet"));
        assert!(!duplicates.is_copy(at(7), 2, b"other"));
        // The same interface again: a retransmission, and its copy.
        assert!(!duplicates.is_copy(at(1500), 1, b"packet"));
        assert!(duplicates.is_copy(at(1501), 2, b"packet"));
        assert!(!duplicates.is_copy(at(9000), 2, b"packet"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut duplicates = Duplicates::default();
        for number in 0..20_000_u32 {
            duplicates.is_copy(Timestamp(0), 1, &number.to_be_bytes());
        }
        assert!(duplicates.order.len() <= REMEMBERED && duplicates.seen.len() <= REMEMBERED);
    }
}
