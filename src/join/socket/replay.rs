//! Calls in order, followed through the file tables of the traced processes.

use super::Association;
use crate::event::{
    Address, Call, Event, Fd, FdNote, Op, SocketFamily, SocketKind, SocketType, Task,
};
use crate::flow::{Endpoint, stand_in};
use crate::join::process::Processes;
use crate::join::{AssociationId, EventId, IdVec, ProcessId};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

pub struct Replay<'a> {
    processes: &'a Processes,
    /// The association behind each descriptor that is open now.
    pub table: HashMap<(ProcessId, i32), AssociationId>,
    /// How many descriptors refer to each association.
    references: IdVec<AssociationId, u32>,
    pub list: IdVec<AssociationId, Association>,
    pub of_event: IdVec<EventId, Option<AssociationId>>,
    /// Waits for a unix socket alone.
    pub unix_waits: HashMap<EventId, AssociationId>,
}

/// The threads of a process that ends are reported within this.
const TOGETHER: Span = Span::millis(100);

impl<'a> Replay<'a> {
    pub fn new(processes: &'a Processes, events: usize) -> Self {
        Self {
            processes,
            table: HashMap::new(),
            references: IdVec::new(),
            list: IdVec::new(),
            of_event: vec![None; events].into(),
            unix_waits: HashMap::new(),
        }
    }

    /// Follows one call.
    pub fn call(&mut self, id: EventId, event: &Event, call: &Call) {
        let process = self.processes.of(&call.task);
        match &call.op {
            Op::Socket { kind, fd } => {
                if fd.number >= 0 {
                    self.close(process, fd.number, event.at);
                    let association = self.open(process, &call.task, fd, event.at);
                    self.list[association].family = Some(kind.family);
                    self.list[association].style = kind.style;
                    self.mark(id, association);
                }
            }
            Op::Accept { new, .. } => {
                if new.number >= 0 {
                    self.close(process, new.number, event.at);
                }
            }
            Op::Close { fd } => {
                if let Some(association) = self.find(process, fd) {
                    self.learn(association, fd, &call.op);
                    self.mark(id, association);
                }
                self.close(process, fd.number, event.at);
            }
            Op::Duplicate { fd, new } => {
                if let Some(association) = self.find(process, fd)
                    && *new >= 0
                {
                    if *new != fd.number {
                        self.close(process, *new, event.at);
                    }
                    self.table.insert((process, *new), association);
                    self.references[association] += 1;
                }
            }
            Op::Wait { fds, .. } => {
                for fd in fds {
                    let Some(association) = self.find(process, fd) else {
                        continue;
                    };
                    if fd.note.is_some() {
                        self.learn(association, fd, &call.op);
                    }
                    // A wait for a connection is that connection's, and one for a single socket is that socket's.
                    let this = &self.list[association];
                    let alone = fds.len() == 1;
                    if (alone || this.style == SocketType::Stream && this.connect.is_some())
                        && this.family != Some(SocketFamily::Unix)
                    {
                        self.mark(id, association);
                    } else if alone {
                        self.unix_waits.insert(id, association);
                    }
                }
            }
            Op::Connect { fd, to } => {
                let to = &readable(to);
                let association = self.connect(process, call, id, event.at, fd, to);
                self.mark(id, association);
            }
            op => {
                let Some(fd) = op.fd() else { return };
                if fd.note.as_ref().is_some_and(|n| n.not_a_socket) {
                    return;
                }
                let known = self.find(process, fd);
                let association = match (known, op) {
                    (Some(association), _) => association,
                    // A send on a descriptor that nobody saw open still shows a socket.
                    (
                        None,
                        Op::Send { .. }
                        | Op::Receive { .. }
                        | Op::Bind { .. }
                        | Op::LocalName { .. }
                        | Op::PeerName { .. },
                    ) => self.open(process, &call.task, fd, event.at),
                    _ => return,
                };
                self.learn(association, fd, op);
                self.fast_open(association, id, event.at, op);
                self.mark(id, association);
            }
        }
    }

    fn mark(&mut self, event: EventId, association: AssociationId) {
        self.of_event[event] = Some(association);
    }

    /// The open association of a descriptor: this process's, or inherited from those that led to it.
    fn find(&mut self, process: ProcessId, fd: &Fd) -> Option<AssociationId> {
        let mut at = Some(process);
        for _ in 0..8 {
            let Some(id) = at else { break };
            if let Some(&association) = self.table.get(&(id, fd.number)) {
                let known = self.list[association].identity;
                let said = fd.note.as_ref().and_then(|n| n.identity);
                let other = known.is_some() && said.is_some() && known != said
                    || is_other_kind(&self.list[association], fd);
                if other {
                    // Another socket has taken the number since: its opening was not traced.
                    if id == process {
                        return None;
                    }
                } else {
                    return Some(association);
                }
            }
            at = self.processes.get(id).and_then(|p| p.parent);
        }
        None
    }

    fn open(&mut self, process: ProcessId, task: &Task, fd: &Fd, at: Timestamp) -> AssociationId {
        let note = fd.note.as_deref();
        let kind = note.and_then(|n| n.socket);
        let association = self.list.push(Association {
            process,
            task: task.clone(),
            fd: fd.number,
            family: kind.map(|k: SocketKind| k.family),
            style: kind.map_or(SocketType::Unknown, |k| k.style),
            identity: note.and_then(|n| n.identity),
            opened: at,
            closed: None,
            peer: note.and_then(|n| n.peer),
            path: None,
            local: note.and_then(|n| n.local).filter(|l| l.port != 0),
            exact: note.and_then(|n| n.local).is_some_and(|l| l.port != 0),
            connect: None,
            reconnected: false,
        });
        self.references.push(1);
        if let Some(before) = self.table.insert((process, fd.number), association) {
            self.references[before] = self.references[before].saturating_sub(1);
        }
        association
    }

    fn connect(
        &mut self,
        process: ProcessId,
        call: &Call,
        id: EventId,
        at: Timestamp,
        fd: &Fd,
        to: &Address,
    ) -> AssociationId {
        let found = self.find(process, fd);
        // A descriptor that led to a unix socket and now to the network is another socket: its opening was not traced.
        let before = found.filter(|a| {
            let unix = self.list[*a].family == Some(SocketFamily::Unix);
            let network = self.list[*a].family == Some(SocketFamily::Inet);
            !(unix && inet(to).is_some() || network && matches!(to, Address::Unix(_)))
        });
        let association = match before {
            // A fresh or merely bound socket: this connect ties it.
            Some(a) if self.list[a].connect.is_none() && self.list[a].peer.is_none() => a,
            // A second connect on a stream socket asks for the result of the first.
            Some(a)
                if self.list[a].style == SocketType::Stream
                    && self.list[a].peer == inet(to)
                    && inet(to).is_some()
                    && !is_elsewhere(&self.list[a], fd) =>
            {
                return a;
            }
            Some(a) => {
                let old = &mut self.list[a];
                old.closed = Some(at);
                old.reconnected = true;
                let (family, style, identity) = (old.family, old.style, old.identity);
                let bare = Fd::bare(fd.number);
                let new = self.open(process, &call.task, &bare, at);
                let next = &mut self.list[new];
                next.family = family;
                next.style = style;
                next.identity = identity;
                new
            }
            None => {
                let bare = Fd {
                    number: fd.number,
                    note: fd.note.clone().map(|n| {
                        Arc::new(FdNote {
                            peer: None,
                            ..(*n).clone()
                        })
                    }),
                };
                self.open(process, &call.task, &bare, at)
            }
        };
        let this = &mut self.list[association];
        this.connect = Some(id);
        this.opened = at;
        this.task = call.task.clone();
        match to {
            Address::Inet(to) => {
                this.peer = Some(*to);
                this.family = Some(SocketFamily::Inet);
            }
            Address::Unix(path) => {
                this.path = Some(path.clone());
                this.family = Some(SocketFamily::Unix);
            }
            Address::Unspecified | Address::Other(_) | Address::Unreadable { .. } => {
                this.connect = None;
            }
        }
        if let Some(note) = &fd.note {
            if let Some(kind) = note.socket
                && this.style == SocketType::Unknown
            {
                this.style = kind.style;
            }
            // An annotation that names this very peer is no older than this call.
            let current = note.exact || note.peer.is_some() && note.peer == inet(to);
            if current && note.local.is_some_and(|l| l.port != 0) {
                this.local = note.local;
                this.exact = true;
            }
            this.identity = this.identity.or(note.identity);
        }
        association
    }

    /// Takes what a later call says about its socket, unless it is a stale annotation.
    fn learn(&mut self, association: AssociationId, fd: &Fd, op: &Op) {
        let this = &mut self.list[association];
        match op {
            Op::Bind {
                local: Address::Inet(local),
                ..
            }
            | Op::LocalName {
                local: Address::Inet(local),
                ..
            } if local.port != 0 => {
                this.local = Some(*local);
                this.exact = true;
            }
            Op::PeerName {
                peer: Address::Inet(peer),
                ..
            } => this.peer = this.peer.or(Some(*peer)),
            Op::SocketTypeIs { style, .. } => this.style = *style,
            _ => {}
        }
        let Some(note) = &fd.note else { return };
        if let Some(kind) = note.socket {
            this.family = this.family.or(Some(kind.family));
            if this.style == SocketType::Unknown {
                this.style = kind.style;
            }
        }
        this.identity = this.identity.or(note.identity);
        let current = note.exact || note.peer == this.peer;
        if let Some(local) = note.local
            && local.port != 0
            && (!this.exact || note.exact)
            && current
        {
            this.local = Some(local);
            this.exact = true;
        }
    }

    /// TCP Fast Open connects with `sendto(…, MSG_FASTOPEN, address)`: no `connect` call is made.
    fn fast_open(&mut self, association: AssociationId, id: EventId, at: Timestamp, op: &Op) {
        let this = &mut self.list[association];
        if let Op::Send { messages, .. } = op
            && this.style == SocketType::Stream
            && this.peer.is_none()
            && this.connect.is_none()
            && let Some(to) = messages.iter().find_map(|m| m.peer)
        {
            this.peer = Some(to);
            this.connect = Some(id);
            this.opened = at;
        }
    }

    fn close(&mut self, process: ProcessId, fd: i32, at: Timestamp) {
        if let Some(association) = self.table.remove(&(process, fd)) {
            // A duplicate keeps the socket alive.
            let left = self.references[association].saturating_sub(1);
            self.references[association] = left;
            if left == 0 {
                self.list[association].closed = Some(at);
            }
        }
    }

    /// A process that ends closes its sockets. In a log without clones the thread taken for the leader may
    /// be any thread: while others of its process live on, nothing is closed.
    pub fn exit(&mut self, task: &Task, at: Timestamp) {
        let id = self.processes.of(task);
        let ends = self.processes.get(id).is_some_and(|p| {
            p.pid == task.tid && p.seen.is_some_and(|(_, last)| last <= at + TOGETHER)
        });
        if !ends {
            return;
        }
        let gone: Vec<i32> = self
            .table
            .keys()
            .filter(|(p, _)| *p == id)
            .map(|(_, fd)| *fd)
            .collect();
        for fd in gone {
            self.close(id, fd, at);
        }
    }
}

/// An address that was made unreadable is an endpoint all the same, known by what stands in its place.
fn readable(to: &Address) -> Address {
    match to {
        Address::Unreadable {
            text,
            port: Some(port),
        } => Address::Inet(Endpoint::new(stand_in(text), *port)),
        other => other.clone(),
    }
}

/// A unix socket never becomes a UDP socket, nor that a TCP socket: the number means another one now.
fn is_other_kind(known: &Association, fd: &Fd) -> bool {
    let Some(said) = fd.note.as_ref().and_then(|n| n.socket) else {
        return false;
    };
    let exact = |style| matches!(style, SocketType::Stream | SocketType::Datagram);
    known.family.is_some_and(|family| family != said.family)
        || exact(known.style) && exact(said.style) && known.style != said.style
}

/// Whether the call's annotation shows another local port than that of the socket known behind the number.
fn is_elsewhere(known: &Association, fd: &Fd) -> bool {
    let said = fd.note.as_ref().and_then(|n| n.local);
    match (known.local, said) {
        (Some(known), Some(said)) => known.port != said.port && said.port != 0,
        _ => false,
    }
}

fn inet(address: &Address) -> Option<Endpoint> {
    match address {
        Address::Inet(endpoint) => Some(*endpoint),
        _ => None,
    }
}
