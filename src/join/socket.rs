//! The sockets of a trace, replayed from its calls.
//!
//! What a packet is joined to is not a socket but an [`Association`]: one socket while it is tied to one
//! remote end. `connect` on a datagram socket starts a new one, `AF_UNSPEC` ends it, and strace's
//! `-yy` annotation of the old one may live on in the log as a lie.

mod replay;

use super::process::Processes;
use super::{AssociationId, EventId, Evidence, IdVec, ProcessId};
use crate::event::{EventKind, LifecycleChange, SocketFamily, SocketType, Task};
use crate::flow::Endpoint;
use crate::time::{Span, Timestamp};
use replay::Replay;
use std::collections::{HashMap, HashSet};

/// One socket while it is tied to one remote end (or to none).
#[derive(Clone, Debug)]
pub struct Association {
    /// The process that owns the socket.
    pub process: ProcessId,
    /// The task that created the association.
    pub task: Task,
    /// The descriptor's number then.
    pub fd: i32,
    /// Socket family, where known.
    pub family: Option<SocketFamily>,
    /// Socket style; `Unknown` in logs without `socket` lines.
    pub style: SocketType,
    /// The kernel's name for the socket: inode or cookie.
    pub identity: Option<u64>,
    /// When it began.
    pub opened: Timestamp,
    /// When it ended, where that was seen.
    pub closed: Option<Timestamp>,
    /// Remote end given to `connect`.
    pub peer: Option<Endpoint>,
    /// Path given to `connect` on a unix socket.
    pub path: Option<Box<str>>,
    /// Local end, where the trace or a matched packet shows it.
    pub local: Option<Endpoint>,
    /// The local end comes from the trace itself, not from a packet.
    pub exact: bool,
    /// The `connect` call.
    pub connect: Option<EventId>,
    /// Another `connect` on the same socket ended this association, so it was a datagram socket's.
    pub reconnected: bool,
}

impl Association {
    /// Whether the association was alive then.
    pub fn alive(&self, at: Timestamp, tolerance: Span) -> bool {
        self.opened - tolerance <= at && self.closed.is_none_or(|closed| at <= closed + tolerance)
    }
}

/// All associations, and which call worked on which.
#[derive(Debug, Default)]
pub struct Sockets {
    /// In order of creation.
    pub list: IdVec<AssociationId, Association>,
    /// For every event: the association that it worked on.
    of_event: IdVec<EventId, Option<AssociationId>>,
    /// For every association: the calls that worked on it after it was opened, in order.
    calls: IdVec<AssociationId, Vec<EventId>>,
    /// Waits for a unix socket alone.
    unix_waits: HashMap<EventId, AssociationId>,
    /// Those that a descriptor still refers to at the end.
    open: HashSet<AssociationId>,
    /// The threads that were seen to wait for those whose sends were not reported, in order of time.
    waiters: HashMap<AssociationId, Vec<(Timestamp, Task)>>,
}

/// A thread that waits for the answer to a query was seen to do so within this: presyn looks ten times a second.
const SEEN_WAITING: Span = Span::millis(400);

impl Sockets {
    /// Replays the calls of all traces.
    pub fn replay(evidence: &Evidence, processes: &Processes) -> Self {
        let mut replay = Replay::new(processes, evidence.events.len());
        for (id, event) in evidence.numbered() {
            match &event.what {
                EventKind::Call(call) => replay.call(id, event, call),
                EventKind::Life(life) => match &life.change {
                    LifecycleChange::Exited(_) | LifecycleChange::Killed(_) => {
                        replay.exit(&life.task, event.at);
                    }
                    LifecycleChange::Socket(look) => replay.look(id, event.at, &life.task, look),
                    _ => {}
                },
                EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => {}
            }
        }
        let mut calls: IdVec<AssociationId, Vec<EventId>> =
            vec![Vec::new(); replay.list.len()].into();
        for (event, association) in replay.of_event.entries() {
            if let Some(association) = association {
                calls[*association].push(event);
            }
        }
        Self {
            list: replay.list,
            of_event: replay.of_event,
            calls,
            unix_waits: replay.unix_waits,
            open: replay.table.into_values().collect(),
            waiters: replay.waiters,
        }
    }

    /// The calls that worked on an association, in order.
    pub fn calls(&self, association: AssociationId) -> &[EventId] {
        self.calls.get(association).map_or(&[], Vec::as_slice)
    }

    /// Whether a descriptor still refers to an association at the end: a later call may work on it.
    pub fn is_open(&self, association: AssociationId) -> bool {
        self.open.contains(&association)
    }

    /// The association that a call waited for or read from, alone.
    pub fn waited_for(&self, event: EventId) -> Option<AssociationId> {
        self.of(event)
            .or_else(|| self.unix_waits.get(&event).copied())
    }

    /// Who sent a packet on an association, where no call shows it:
    ///
    /// 1. the thread that was seen to wait for its answer,
    /// 2. else the only thread that there was, where no other process can have the socket,
    /// 3. else some thread of the process.
    pub fn sender(&self, processes: &Processes, association: AssociationId, at: Timestamp) -> Task {
        let socket = &self.list[association];
        if let Some(waiter) = self.waiter(association, at) {
            return waiter.clone();
        }
        if processes.is_alone(socket.process, socket.opened, at) {
            return socket.task.clone();
        }
        Task {
            pid: processes.get(socket.process).and_then(|p| p.pid),
            tid: None,
            comm: None,
        }
    }

    /// The thread that was seen to wait on an association soon after a moment.
    pub fn waiter(&self, association: AssociationId, at: Timestamp) -> Option<&Task> {
        let seen = self.waiters.get(&association)?;
        let first = seen.iter().find(|(seen, _)| *seen >= at);
        let soon = first.filter(|(seen, _)| *seen - at <= SEEN_WAITING);
        soon.map(|(_, task)| task)
    }

    /// The association that a call worked on.
    pub fn of(&self, event: EventId) -> Option<AssociationId> {
        self.of_event.get(event).copied().flatten()
    }
}
