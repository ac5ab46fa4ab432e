//! The analysis process's side of a watch: it asks whose each query and SYN was, and knows which answers are due.

use super::ask::{Ask, LENGTH, Record};
use crate::event::{Event, EventKind};
use crate::flow::FiveTuple;
use crate::pipeline::retention::PacketKey;
use crate::source::capture::{CapturedFrame, SLL2};
use crate::source::watcher::Look;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};

/// So many questions wait for the pipe. What comes then is not asked: those packets stay without an owner.
const BACKLOG: usize = 1 << 14;
/// Loopback is interface 1 of every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;
/// Where an SLL2 header has the packet's type, and that of packets that leave (`LINKTYPE_LINUX_SLL2`; `PACKET_OUTGOING`,
/// packet(7)).
const SLL2_TYPE: usize = 10;
const OUTGOING: u8 = 4;

/// Asks, in the order in which packets came; the answers come in that order.
#[derive(Debug)]
pub struct Asker {
    pipe: File,
    backlog: VecDeque<Record>,
    /// The times of packets that were asked about, whose answer is to come.
    open: VecDeque<Timestamp>,
    /// Packets that were not asked about: too many came.
    pub not_asked: u64,
    /// The other process takes no questions any more.
    broken: bool,
}

impl Asker {
    /// Asks through a pipe that does not block.
    pub fn new(pipe: File) -> Self {
        Self {
            pipe,
            backlog: VecDeque::new(),
            open: VecDeque::new(),
            not_asked: 0,
            broken: false,
        }
    }

    /// Asks about what a frame begins, if it leaves this host.
    pub fn frame(&mut self, frame: &CapturedFrame<'_>, keys: &[PacketKey]) {
        if !leaves(frame) {
            return;
        }
        for flow in keys.iter().filter_map(beginning) {
            let look = Look { flow, at: frame.at };
            if self.ask(&Ask::Whose(look)) {
                self.open.push_back(frame.at);
            } else {
                self.not_asked += 1;
            }
        }
    }

    /// Asks; false, if that is not possible.
    pub fn ask(&mut self, ask: &Ask) -> bool {
        if self.broken || self.backlog.len() >= BACKLOG {
            return false;
        }
        self.backlog.push_back(ask.encode());
        self.send();
        true
    }

    /// Sends what the pipe takes.
    pub fn send(&mut self) {
        while let Some(record) = self.backlog.front() {
            match self.pipe.write(record) {
                Ok(LENGTH) => drop(self.backlog.pop_front()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Its reader is gone, and with it whoever waits for answers.
                Ok(_) | Err(_) => {
                    self.broken = true;
                    self.backlog.clear();
                    self.open.clear();
                }
            }
        }
    }

    /// Takes note of an answer.
    pub fn answered(&mut self, event: &Event) {
        if let EventKind::Owner(owner) = &event.what
            && !owner.shows_wait()
        {
            self.open.pop_front();
        }
    }

    /// Answers up to a packet of this time were lost.
    pub fn lost(&mut self, until: Timestamp) {
        while self.open.front().is_some_and(|at| *at <= until) {
            self.open.pop_front();
        }
    }

    /// The time of the first packet whose answer is to come.
    pub fn first_open(&self) -> Option<Timestamp> {
        self.open.front().copied()
    }
}

/// Whether a frame leaves the host, or is on loopback. Where its link does not tell, it may.
fn leaves(frame: &CapturedFrame<'_>) -> bool {
    frame.link != SLL2
        || frame.interface == Some(LOOPBACK)
        || frame.data.get(SLL2_TYPE) == Some(&OUTGOING)
}

/// The flow that a SYN or a query belongs to.
fn beginning(key: &PacketKey) -> Option<FiveTuple> {
    match key {
        PacketKey::Tcp {
            flow, syn: true, ..
        }
        | PacketKey::Dns {
            flow,
            response: false,
            ..
        } => Some(*flow),
        _ => None,
    }
}
