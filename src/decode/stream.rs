//! DNS over TCP: length-prefixed messages (RFC 1035 section 4.2.2, RFC 7766) out of segments, within
//! bounds.
//!
//! One direction of a connection is followed by itself. A capture may begin in its middle, lose segments,
//! show them twice or out of order, or cut them short.

use crate::decode::dns::framing;
use crate::flow::FiveTuple;
use std::collections::HashMap;

/// How many directions are followed at once.
const MAX_DIRECTIONS: usize = 4096;

/// How many bytes of incomplete messages and early segments are kept in all.
const MAX_HELD: usize = 16 << 20;

/// How many segments wait behind a hole before it counts as lost to the capture.
const MAX_EARLY: usize = 8;

/// How many messages that are no DNS end the interest in a direction: it is something else on this port.
const MAX_FAILURES: u8 = 3;

/// A sequence number further than this from the expected one belongs to another connection on the same
/// ports: the largest window that TCP can offer without scaling, sixteen times.
const MAX_JUMP: u32 = 1 << 20;

/// A segment, as far as its stream is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sequence number of its first byte (of the SYN, if it has one).
    pub seq: u32,
    /// SYN flag.
    pub syn: bool,
    /// FIN or RST flag: nothing will fill a hole any more.
    pub last: bool,
    /// The captured payload.
    pub data: &'a [u8],
    /// Bytes of payload that were sent but not captured.
    pub missing: usize,
}

/// A message out of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its beginning: the capture cut the segment.
    Cut(&'a [u8]),
}

/// All directions that are followed.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    directions: HashMap<FiveTuple, Direction>,
    held: usize,
    tick: u64,
    given_up: u64,
}

/// One direction of one connection.
#[derive(Clone, Debug, Default)]
struct Direction {
    /// Sequence number of the SYN, where it was captured.
    start: Option<u32>,
    /// Sequence number of the next byte wanted.
    next: u32,
    /// `next` is known, and a message begins where `buffer` begins.
    synced: bool,
    /// The beginning of a message.
    buffer: Vec<u8>,
    /// Segments behind a hole.
    early: Vec<(u32, Vec<u8>)>,
    failures: u8,
    used: u64,
}

impl Streams {
    /// Adds a segment. `read` gets every message that it completes and says whether it is DNS.
    pub fn add(
        &mut self,
        flow: FiveTuple,
        segment: Segment<'_>,
        read: &mut dyn FnMut(StreamMessage<'_>) -> bool,
    ) {
        self.tick += 1;
        if !self.directions.contains_key(&flow) {
            if segment.data.is_empty() && !segment.syn {
                return;
            }
            if self.directions.len() >= MAX_DIRECTIONS {
                self.forget_older_half();
            }
        }
        let direction = self.directions.entry(flow).or_default();
        direction.used = self.tick;
        let before = direction.size();
        self.given_up += u64::from(direction.add(segment, read));
        let after = direction.size();
        self.held = self.held + after - before;
        if self.held > MAX_HELD {
            self.forget_older_half();
        }
    }

    /// How often a hole or a limit made bytes unreadable.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Half at once, so that the cost of choosing is spread over as many additions.
    fn forget_older_half(&mut self) {
        let mut used: Vec<u64> = self.directions.values().map(|d| d.used).collect();
        used.sort_unstable();
        let Some(&middle) = used.get(used.len() / 2) else {
            return;
        };
        let given_up = &mut self.given_up;
        self.directions.retain(|_, d| {
            let keep = d.used > middle;
            *given_up += u64::from(!keep && d.size() > 0);
            keep
        });
        self.held = self.directions.values().map(Direction::size).sum();
    }
}

impl Direction {
    fn size(&self) -> usize {
        self.buffer.len() + self.early.iter().map(|(_, data)| data.len()).sum::<usize>()
    }

    /// Adds a segment; whether bytes had to be given up.
    fn add(
        &mut self,
        segment: Segment<'_>,
        read: &mut dyn FnMut(StreamMessage<'_>) -> bool,
    ) -> bool {
        let mut seq = segment.seq;
        if segment.syn {
            if self.start != Some(seq) {
                *self = Self {
                    start: Some(seq),
                    next: seq.wrapping_add(1),
                    synced: true,
                    used: self.used,
                    ..Self::default()
                };
            }
            seq = seq.wrapping_add(1);
        }
        if self.failures >= MAX_FAILURES {
            return false;
        }
        let mut lost = false;
        if !segment.data.is_empty() {
            let ahead = seq.wrapping_sub(self.next).cast_signed();
            if self.synced && ahead.unsigned_abs() > MAX_JUMP {
                lost = !self.buffer.is_empty();
                self.lose_sync();
            }
            if !self.synced {
                if !starts_message(segment.data) {
                    return lost;
                }
                self.synced = true;
                self.next = seq;
            }
            if seq.wrapping_sub(self.next).cast_signed() > 0 {
                if segment.missing == 0 {
                    self.early.push((seq, segment.data.to_vec()));
                }
            } else {
                lost |= self.take(seq, segment.data, segment.missing, read);
                self.take_early(read);
            }
        }
        if self.early.len() > MAX_EARLY || (segment.last && !self.early.is_empty()) {
            self.jump_hole(read);
            return true;
        }
        lost
    }

    /// Consumes data that begin at or before `next`; whether bytes had to be given up.
    fn take(
        &mut self,
        seq: u32,
        data: &[u8],
        missing: usize,
        read: &mut dyn FnMut(StreamMessage<'_>) -> bool,
    ) -> bool {
        let known = self.next.wrapping_sub(seq) as usize;
        let Some(fresh) = data.get(known..).filter(|fresh| !fresh.is_empty()) else {
            return false;
        };
        self.next = self.next.wrapping_add(length(fresh));
        if self.buffer.is_empty() {
            let consumed = self.read_messages(fresh, read);
            self.buffer = fresh[consumed..].to_vec();
        } else {
            let mut joined = std::mem::take(&mut self.buffer);
            joined.extend_from_slice(fresh);
            let consumed = self.read_messages(&joined, read);
            joined.drain(..consumed);
            self.buffer = joined;
        }
        if self.failures >= MAX_FAILURES {
            self.lose_sync();
            return true;
        }
        if missing > 0 {
            let rest = std::mem::take(&mut self.buffer);
            self.pass_cut(&rest, missing, read);
        }
        missing > 0
    }

    /// Reads the whole messages at the beginning of these bytes; how many bytes they are.
    fn read_messages(
        &mut self,
        bytes: &[u8],
        read: &mut dyn FnMut(StreamMessage<'_>) -> bool,
    ) -> usize {
        let mut rest = bytes;
        while self.failures < MAX_FAILURES
            && let Some((message, after)) = framing::split(rest)
        {
            if !read(StreamMessage::Whole(message)) {
                self.failures += 1;
            }
            rest = after;
        }
        bytes.len() - rest.len()
    }

    /// The segment ends here in the capture, but not on the wire: reads the beginning of the message that
    /// was cut, and goes on behind it if that place is known.
    fn pass_cut(
        &mut self,
        rest: &[u8],
        missing: usize,
        read: &mut dyn FnMut(StreamMessage<'_>) -> bool,
    ) {
        let Some((length, message)) = framing::prefix(rest) else {
            return self.lose_sync();
        };
        read(StreamMessage::Cut(message));
        let absent = length.saturating_sub(message.len());
        if missing > absent {
            return self.lose_sync();
        }
        // `absent` is less than 64 kB.
        self.next = self.next.wrapping_add(u32::try_from(absent).unwrap_or(0));
    }

    /// Consumes early segments that are early no more.
    fn take_early(&mut self, read: &mut dyn FnMut(StreamMessage<'_>) -> bool) {
        while let Some(index) = self
            .early
            .iter()
            .position(|(seq, _)| seq.wrapping_sub(self.next).cast_signed() <= 0)
        {
            let (seq, data) = self.early.swap_remove(index);
            self.take(seq, &data, 0, read);
        }
    }

    /// Gives up what stands before the early segments, and reads those that follow each other from the
    /// beginning of a message on.
    fn jump_hole(&mut self, read: &mut dyn FnMut(StreamMessage<'_>) -> bool) {
        let mut early = std::mem::take(&mut self.early);
        early.sort_by_key(|(seq, _)| seq.wrapping_sub(self.next));
        self.synced = false;
        for (seq, data) in early {
            let follows = self.synced && seq.wrapping_sub(self.next).cast_signed() <= 0;
            if !follows {
                self.synced = starts_message(&data);
                self.buffer.clear();
                self.next = seq;
            }
            if self.synced {
                self.take(seq, &data, 0, read);
            }
        }
    }

    fn lose_sync(&mut self) {
        self.synced = false;
        self.buffer = Vec::new();
        self.early = Vec::new();
    }
}

/// A segment's length as a step of sequence numbers.
fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

/// Whether a length-prefixed DNS message plausibly begins here: used only where no handshake or hole tells.
fn starts_message(bytes: &[u8]) -> bool {
    let Some((length, rest)) = framing::prefix(bytes) else {
        return false;
    };
    // Header and shortest question: 17 bytes. Some senders write the prefix by itself.
    if rest.is_empty() {
        return (17..=4096).contains(&length);
    }
    // One question, an assigned opcode (0 to 2, 4 to 6).
    length >= 17
        && rest.len() >= 12
        && rest[4..6] == [0, 1]
        && matches!(rest[2] >> 3 & 15, 0..=2 | 4..=6)
}

#[cfg(test)]
mod tests;
