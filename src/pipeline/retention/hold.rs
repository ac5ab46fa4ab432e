//! Holds frames back until the calls that explain them would have been reported.
//!
//! Frames leave in the order in which they came, for what reads them puts together fragments and streams, and takes out
//! copies: what stays waits behind what is not decided yet.

use super::{PacketKey, Retention, SAME_TIME};
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;

/// A call is reported when it returns, or as one that has not returned some ten times a second: by then it is known.
pub const HELD: Span = Span::seconds(2);
/// So many frames are held at most, some 10 MB with what is stored of each. A storm of more than 30,000 a second is
/// held for less time: no matter, if all calls of the time were reported, and otherwise counted.
pub(super) const MOST: usize = 60_000;
/// An empty hold gives back the memory of more than so many frames.
const USUAL: usize = 4_096;

/// A frame as it is stored.
#[derive(Debug)]
pub struct Held {
    /// When it was captured.
    pub at: Timestamp,
    /// Its interface.
    pub interface: Option<u32>,
    /// Its length on the wire.
    pub original_length: u32,
    length: u32,
    key: PacketKey,
    /// Further messages in it.
    more: Box<[PacketKey]>,
}

impl Held {
    fn keys(&self) -> Vec<PacketKey> {
        let mut keys = Vec::with_capacity(1 + self.more.len());
        keys.push(self.key);
        keys.extend(&self.more);
        keys
    }
}

/// Frames that wait for their call.
#[derive(Debug, Default)]
pub struct Hold {
    rule: Retention,
    frames: VecDeque<Held>,
    bytes: VecDeque<u8>,
    /// The one that is delivered.
    taken: Vec<u8>,
    /// Every call that began before was reported.
    reported: Timestamp,
    /// Frames from until then are held no longer.
    hurry: Option<Timestamp>,
    /// Dropped before their calls would have been reported.
    hurried: u64,
}

impl Hold {
    /// By this rule.
    pub fn new(rule: Retention) -> Self {
        Self {
            rule,
            ..Self::default()
        }
    }

    /// The rule, to learn from the trace.
    pub fn rule(&mut self) -> &mut Retention {
        &mut self.rule
    }

    /// Every call that began before was reported, as an event or as one that has not returned.
    pub fn reported_until(&mut self, now: Timestamp) {
        self.reported = now;
    }

    /// Frames from until then are held no longer: too much waits for them.
    pub fn hurry_until(&mut self, at: Timestamp) {
        self.hurry = Some(at);
    }

    /// When the first frame that waits was captured.
    pub fn first(&self) -> Option<Timestamp> {
        self.frames.front().map(|frame| frame.at)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What was dropped, and how many packets were dropped before their calls would have been reported.
    pub fn omitted(&self) -> crate::input::LeftOutPackets {
        let mut omitted = self.rule.omitted().clone();
        omitted.hurried = self.hurried;
        omitted
    }

    /// Takes a frame and what is in it ([`super::classify`]).
    pub fn frame(
        &mut self,
        at: Timestamp,
        interface: Option<u32>,
        original_length: u32,
        (data, keys): (&[u8], &[PacketKey]),
    ) {
        // Doubling would cost as much again as the frames.
        if self.frames.len() == self.frames.capacity() {
            self.frames.reserve_exact(64 + self.frames.len() / 4);
        }
        if self.bytes.capacity() - self.bytes.len() < data.len() {
            self.bytes
                .reserve_exact(data.len() + 4_096 + self.bytes.len() / 4);
        }
        self.bytes.extend(data);
        let (first, more) = keys.split_first().unwrap_or((&PacketKey::Other, &[]));
        self.frames.push_back(Held {
            at,
            interface,
            original_length,
            length: u32::try_from(data.len()).unwrap_or(0),
            key: *first,
            more: more.into(),
        });
    }

    /// Delivers what stays of the frames that can be decided: those that are explained, and those whose time is up.
    pub fn release(&mut self, now: Timestamp, keep: &mut dyn FnMut(&Held, &[u8])) {
        while let Some(first) = self.frames.front() {
            let due = now - first.at >= HELD || self.rule.wants_all();
            let hurries = self.hurry.is_some_and(|until| first.at <= until);
            let hurries = hurries || self.frames.len() > MOST;
            if !due && !hurries {
                if !self.rule.explain(&first.keys(), first.at) {
                    return;
                }
                self.take_first(true, keep);
                continue;
            }
            let stays = self.rule.keeps(&first.keys(), first.at);
            let unreported = first.at + SAME_TIME > self.reported;
            self.hurried += u64::from(!due && !stays && unreported);
            self.take_first(stays, keep);
        }
        if self.frames.capacity() > USUAL {
            (self.frames, self.bytes) = (VecDeque::new(), VecDeque::new());
        }
    }

    /// Shows what is explained now of the frames that still wait.
    pub fn look(&mut self, show: &mut dyn FnMut(&Held, &[u8])) {
        let bytes = self.bytes.make_contiguous();
        let mut start = 0;
        for frame in &self.frames {
            let end = start + frame.length as usize;
            if self.rule.explain(&frame.keys(), frame.at) {
                show(frame, &bytes[start..end]);
            }
            start = end;
        }
    }

    /// Delivers or drops everything: nothing will be reported any more.
    pub fn finish(&mut self, keep: &mut dyn FnMut(&Held, &[u8])) {
        while let Some(first) = self.frames.front() {
            let stays = self.rule.keeps(&first.keys(), first.at);
            self.take_first(stays, keep);
        }
    }

    fn take_first(&mut self, stays: bool, keep: &mut dyn FnMut(&Held, &[u8])) {
        let Some(frame) = self.frames.pop_front() else {
            return;
        };
        let bytes = self.bytes.drain(..frame.length as usize);
        if stays {
            self.taken.clear();
            self.taken.extend(bytes);
            keep(&frame, &self.taken);
        }
    }
}
