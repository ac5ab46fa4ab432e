//! Holds back what no call explains yet.

use super::{Key, Retention};
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;

/// A call is reported when it returns, or as one that has not returned some ten times a second: by then it is known.
pub const HELD: Span = Span::seconds(2);
/// So many packets are held at most, some 50 MB with what is stored of each. A storm of more than 150,000 a second is
/// held for less time, and that is said.
const MOST: usize = 300_000;
/// After news of the trace so few are looked at again at once; others have their turn when their time is up.
const FEW: usize = 4_096;

/// A frame as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// When it was captured.
    pub at: Timestamp,
    /// Its interface.
    pub interface: Option<u32>,
    /// Its length on the wire.
    pub original_length: u32,
    length: u32,
    key: Key,
    /// It was delivered.
    gone: bool,
}

/// Frames that wait for their call.
#[derive(Debug, Default)]
pub struct Hold {
    rule: Retention,
    frames: VecDeque<Held>,
    bytes: VecDeque<u8>,
    news: bool,
    /// Judged before their time.
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
        self.news = true;
        &mut self.rule
    }

    /// What was dropped, the packets that were judged before their time among it.
    pub fn omitted(&self) -> crate::input::Omitted {
        let mut omitted = self.rule.omitted().clone();
        omitted.hurried = self.hurried;
        omitted
    }

    /// Takes a frame. Whether it stays at once; otherwise it is held.
    pub fn frame(
        &mut self,
        at: Timestamp,
        interface: Option<u32>,
        original_length: u32,
        data: &[u8],
        keys: &[Key],
    ) -> bool {
        // A frame with several messages stays for any of them; all are looked at, for each may tell something.
        let explained = keys
            .iter()
            .filter(|key| self.rule.explains(key, at))
            .count();
        if explained > 0 {
            return true;
        }
        self.bytes.extend(data);
        self.frames.push_back(Held {
            at,
            interface,
            original_length,
            length: u32::try_from(data.len()).unwrap_or(0),
            key: keys.first().copied().unwrap_or(Key::Other),
            gone: false,
        });
        false
    }

    /// Delivers what stays of the frames whose time is up, and of the others what new calls explain.
    pub fn release(&mut self, now: Timestamp, keep: &mut dyn FnMut(&Held, &[u8])) {
        while let Some(first) = self.frames.front() {
            let due = now - first.at >= HELD;
            if !due && self.frames.len() <= MOST {
                break;
            }
            self.hurried += u64::from(!due && !first.gone);
            self.judge_first(keep);
        }
        if std::mem::take(&mut self.news) && self.frames.len() <= FEW {
            self.look_again(keep);
        }
    }

    /// Delivers whatever is explained now, however much there is to look at.
    pub fn look_again(&mut self, keep: &mut dyn FnMut(&Held, &[u8])) {
        let mut start = 0;
        for n in 0..self.frames.len() {
            let frame = self.frames[n];
            let end = start + frame.length as usize;
            if !frame.gone && self.rule.explains(&frame.key, frame.at) {
                self.frames[n].gone = true;
                let bytes: Vec<u8> = self.bytes.range(start..end).copied().collect();
                keep(&frame, &bytes);
            }
            start = end;
        }
    }

    /// Delivers or drops everything: the run is over.
    pub fn finish(&mut self, keep: &mut dyn FnMut(&Held, &[u8])) {
        while !self.frames.is_empty() {
            self.judge_first(keep);
        }
    }

    fn judge_first(&mut self, keep: &mut dyn FnMut(&Held, &[u8])) {
        let Some(frame) = self.frames.pop_front() else {
            return;
        };
        let bytes: Vec<u8> = self.bytes.drain(..frame.length as usize).collect();
        if frame.gone {
            return;
        }
        let (key, at) = (&frame.key, frame.at);
        if self.rule.explains(key, at) || self.rule.settle(key, at) {
            keep(&frame, &bytes);
        }
    }
}
