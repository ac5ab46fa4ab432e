//! Calls in order, followed through the file tables of the traced processes.

use super::Association;
use crate::event::{
    Address, Call, Event, Fd, FdNote, FollowState, Op, SocketFamily, SocketKind, SocketLook,
    SocketType, Task,
};
use crate::flow::{Endpoint, stand_in};
use crate::join::process::Processes;
use crate::join::{AssociationId, EventId, IdVec, ProcessId};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// A call that is being followed: which one, when, and whose.
#[derive(Clone, Copy)]
struct FollowedCall<'c> {
    id: EventId,
    at: Timestamp,
    process: ProcessId,
    call: &'c Call,
}

/// The file tables and sockets as they are after the calls so far.
pub struct Replay<'a> {
    processes: &'a Processes,
    /// The association behind each descriptor that is open now.
    pub table: HashMap<(ProcessId, i32), AssociationId>,
    /// The association that each process closed last under a number: processes that it forked may have it still.
    closed: HashMap<(ProcessId, i32), AssociationId>,
    /// How many descriptors refer to each association.
    references: IdVec<AssociationId, u32>,
    pub list: IdVec<AssociationId, Association>,
    pub of_event: IdVec<EventId, Option<AssociationId>>,
    /// Waits for a unix socket alone.
    pub unix_waits: HashMap<EventId, AssociationId>,
    /// The threads that were seen to wait on an association.
    pub waiters: HashMap<AssociationId, Vec<(Timestamp, Task)>>,
}

/// How many generations of processes a socket is looked for in.
const MAX_ANCESTORS: usize = 8;

/// The threads of a process that ends are reported within this.
const TOGETHER: Span = Span::millis(100);

impl<'a> Replay<'a> {
    pub fn new(processes: &'a Processes, events: usize) -> Self {
        Self {
            processes,
            table: HashMap::new(),
            closed: HashMap::new(),
            references: IdVec::new(),
            list: IdVec::new(),
            of_event: vec![None; events].into(),
            unix_waits: HashMap::new(),
            waiters: HashMap::new(),
        }
    }

    /// Follows one call.
    pub fn call(&mut self, id: EventId, event: &Event, call: &Call) {
        let followed = FollowedCall {
            id,
            at: event.at,
            process: self.processes.of(&call.task),
            call,
        };
        match &call.op {
            Op::Socket { kind, fd } => self.socket(followed, *kind, fd),
            Op::Accept { new, .. } => {
                if new.number >= 0 {
                    self.close(followed.process, new.number, followed.at);
                }
            }
            Op::Close { fd } => {
                if let Some(association) = self.find(followed.process, fd) {
                    self.learn(association, fd, &call.op);
                    self.mark(id, association);
                }
                self.close(followed.process, fd.number, followed.at);
            }
            Op::Duplicate { fd, new } => self.duplicate(followed, fd, *new),
            Op::Wait { fds, .. } => self.wait(followed, fds),
            Op::Connect { fd, to } => {
                let association = self.connect(followed, fd, &readable(to));
                self.mark(id, association);
            }
            op => {
                if let Some(fd) = op.fd() {
                    self.used(followed, fd);
                }
            }
        }
    }

    /// Takes what presyn saw of a socket by itself. What it says of another socket than the one known behind the number
    /// comes too late.
    pub fn look(&mut self, id: EventId, at: Timestamp, task: &Task, look: &SocketLook) {
        let process = self.processes.of(task);
        let Some(association) = self.find(process, &look.fd) else {
            return;
        };
        self.mark(id, association);
        let key = (process, look.fd.number);
        let gone = matches!(look.state, FollowState::Gone | FollowState::Vanished);
        if !gone && self.table.get(&key) != Some(&association) {
            // It has the socket of a process that it was forked from, whatever that one does with it.
            self.table.insert(key, association);
            self.references[association] += 1;
        }
        match look.state {
            FollowState::Gone | FollowState::Vanished => self.close(process, look.fd.number, at),
            FollowState::WaitedFor => {
                let seen = self.waiters.entry(association).or_default();
                seen.push((at, task.clone()));
            }
            FollowState::Unfollowed | FollowState::Bound => {
                let this = &mut self.list[association];
                let local = look.fd.note.as_ref().and_then(|note| note.local);
                if this.local.is_none() && local.is_some() {
                    (this.local, this.exact) = (local, true);
                }
            }
        }
    }

    /// A socket that was made. A call that failed made none.
    fn socket(&mut self, followed: FollowedCall, kind: SocketKind, fd: &Fd) {
        if fd.number < 0 {
            return;
        }
        self.close(followed.process, fd.number, followed.at);
        let association = self.open(followed, fd);
        self.list[association].family = Some(kind.family);
        self.list[association].style = kind.style;
        self.mark(followed.id, association);
    }

    /// Another descriptor for the same socket.
    fn duplicate(&mut self, followed: FollowedCall, fd: &Fd, new: i32) {
        if let Some(association) = self.find(followed.process, fd)
            && new >= 0
        {
            if new != fd.number {
                self.close(followed.process, new, followed.at);
            }
            self.table.insert((followed.process, new), association);
            self.references[association] += 1;
        }
    }

    /// A wait for a connection is that connection's, and one for a single socket is that socket's.
    fn wait(&mut self, followed: FollowedCall, fds: &[Fd]) {
        for fd in fds {
            let Some(association) = self.find(followed.process, fd) else {
                continue;
            };
            if fd.note.is_some() {
                self.learn(association, fd, &followed.call.op);
            }
            let this = &self.list[association];
            let alone = fds.len() == 1;
            let connects = this.style == SocketType::Stream && this.connect.is_some();
            if (alone || connects) && this.family != Some(SocketFamily::Unix) {
                self.mark(followed.id, association);
            } else if alone {
                self.unix_waits.insert(followed.id, association);
            }
        }
    }

    /// Any other call on a descriptor: it shows more of its socket.
    fn used(&mut self, followed: FollowedCall, fd: &Fd) {
        if fd.note.as_ref().is_some_and(|n| n.not_a_socket) {
            return;
        }
        let op = &followed.call.op;
        let association = match (self.find(followed.process, fd), op) {
            (Some(association), _) => association,
            // A send on a descriptor that nobody saw open still shows a socket.
            (
                None,
                Op::Send { .. }
                | Op::Receive { .. }
                | Op::Bind { .. }
                | Op::LocalName { .. }
                | Op::PeerName { .. },
            ) => self.open(followed, fd),
            _ => return,
        };
        self.learn(association, fd, op);
        self.fast_open(association, followed);
        self.mark(followed.id, association);
    }

    fn mark(&mut self, event: EventId, association: AssociationId) {
        self.of_event[event] = Some(association);
    }

    /// The association that a call on a descriptor is about.
    fn find(&mut self, process: ProcessId, fd: &Fd) -> Option<AssociationId> {
        let open = self.find_open(process, fd);
        if open.is_some() || self.table.contains_key(&(process, fd.number)) {
            return open;
        }
        self.find_inherited(process, fd)
    }

    /// The open association of a descriptor: this process's, or inherited from those that led to it.
    fn find_open(&self, process: ProcessId, fd: &Fd) -> Option<AssociationId> {
        let mut at = Some(process);
        for _ in 0..MAX_ANCESTORS {
            let id = at?;
            if let Some(&association) = self.table.get(&(id, fd.number)) {
                if !is_another(&self.list[association], fd) {
                    return Some(association);
                }
                // Another socket has taken the number since: its opening was not traced.
                if id == process {
                    return None;
                }
            }
            at = self.parent(id);
        }
        None
    }

    /// A socket that was open when a process was forked is open in it also after its parent closed it (fork(2)). From
    /// now on it is the process's own.
    fn find_inherited(&mut self, process: ProcessId, fd: &Fd) -> Option<AssociationId> {
        let (forked, _) = self.processes.get(process)?.seen?;
        let mut at = self.parent(process);
        for _ in 0..MAX_ANCESTORS {
            let id = at?;
            if let Some(&association) = self.closed.get(&(id, fd.number)) {
                let this = &mut self.list[association];
                let open = this.opened <= forked && this.closed.is_some_and(|at| forked <= at);
                if open && !is_another(this, fd) {
                    this.closed = None;
                    self.table.insert((process, fd.number), association);
                    self.references[association] += 1;
                    return Some(association);
                }
            }
            at = self.parent(id);
        }
        None
    }

    fn parent(&self, process: ProcessId) -> Option<ProcessId> {
        self.processes.get(process).and_then(|p| p.parent)
    }

    fn open(&mut self, followed: FollowedCall, fd: &Fd) -> AssociationId {
        let note = fd.note.as_deref();
        let kind = note.and_then(|n| n.socket);
        let association = self.list.push(Association {
            process: followed.process,
            task: followed.call.task.clone(),
            fd: fd.number,
            family: kind.map(|k: SocketKind| k.family),
            style: kind.map_or(SocketType::Unknown, |k| k.style),
            identity: note.and_then(|n| n.identity),
            opened: followed.at,
            closed: None,
            peer: note.and_then(|n| n.peer),
            path: None,
            local: note.and_then(|n| n.local).filter(|l| l.port != 0),
            exact: note.and_then(|n| n.local).is_some_and(|l| l.port != 0),
            connect: None,
            reconnected: false,
        });
        self.references.push(1);
        let key = (followed.process, fd.number);
        if let Some(before) = self.table.insert(key, association) {
            self.references[before] = self.references[before].saturating_sub(1);
        }
        association
    }

    /// A connect ties a socket to a remote end. The association is
    ///
    /// 1. that of the descriptor, when it is a fresh or merely bound socket;
    /// 2. that of the descriptor, when it is a stream socket connecting to this very address: a second connect asks
    ///    for the result of the first (connect(2));
    /// 3. a new one of the same socket, when it was tied to another end: the old one ends here;
    /// 4. a new one, when the descriptor is not known, or was a unix socket and now leads to the network (or the
    ///    other way round): another socket has the number, and its opening was not traced.
    fn connect(&mut self, followed: FollowedCall, fd: &Fd, to: &Address) -> AssociationId {
        let before = self.find_open(followed.process, fd).filter(|a| {
            let unix = self.list[*a].family == Some(SocketFamily::Unix);
            let network = self.list[*a].family == Some(SocketFamily::Inet);
            !(unix && inet(to).is_some() || network && matches!(to, Address::Unix(_)))
        });
        let association = match before {
            Some(a) if self.list[a].connect.is_none() && self.list[a].peer.is_none() => a,
            Some(a)
                if self.list[a].style == SocketType::Stream
                    && self.list[a].peer == inet(to)
                    && inet(to).is_some()
                    && !is_elsewhere(&self.list[a], fd) =>
            {
                return a;
            }
            Some(a) => self.reconnect(followed, a, fd.number),
            None => {
                // Its annotation may name an earlier remote end; the connect names the one that counts.
                let unconnected = |note: &FdNote| FdNote {
                    peer: None,
                    ..note.clone()
                };
                let bare = Fd {
                    number: fd.number,
                    note: fd.note.as_deref().map(unconnected).map(Arc::new),
                };
                self.open(followed, &bare)
            }
        };
        let this = &mut self.list[association];
        this.connect = Some(followed.id);
        this.opened = followed.at;
        this.task = followed.call.task.clone();
        this.tie(to);
        if let Some(note) = &fd.note {
            this.annotated_at_connect(note, inet(to));
        }
        association
    }

    /// Ends an association whose socket is connected elsewhere, and begins the next of that socket.
    fn reconnect(&mut self, followed: FollowedCall, a: AssociationId, fd: i32) -> AssociationId {
        let old = &mut self.list[a];
        old.closed = Some(followed.at);
        old.reconnected = true;
        let (family, style, identity) = (old.family, old.style, old.identity);
        let new = self.open(followed, &Fd::bare(fd));
        let next = &mut self.list[new];
        next.family = family;
        next.style = style;
        next.identity = identity;
        new
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
    fn fast_open(&mut self, association: AssociationId, followed: FollowedCall) {
        let this = &mut self.list[association];
        if let Op::Send { messages, .. } = &followed.call.op
            && this.style == SocketType::Stream
            && this.connect.is_none()
            && let Some(to) = messages.iter().find_map(|m| m.peer)
            // The tracer looks when the send has connected the socket already.
            && (this.peer.is_none() || this.peer == Some(to) && this.opened == followed.at)
        {
            this.peer = Some(to);
            this.connect = Some(followed.id);
            this.opened = followed.at;
        }
    }

    fn close(&mut self, process: ProcessId, fd: i32, at: Timestamp) {
        if let Some(association) = self.table.remove(&(process, fd)) {
            // A duplicate keeps the socket alive.
            let left = self.references[association].saturating_sub(1);
            self.references[association] = left;
            if left == 0 {
                self.list[association].closed = Some(at);
                self.closed.insert((process, fd), association);
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

impl Association {
    /// Takes the remote end that a connect names; no end (`AF_UNSPEC`) dissolves the tie.
    fn tie(&mut self, to: &Address) {
        match to {
            Address::Inet(to) => {
                self.peer = Some(*to);
                self.family = Some(SocketFamily::Inet);
            }
            Address::Unix(path) => {
                self.path = Some(path.clone());
                self.family = Some(SocketFamily::Unix);
            }
            Address::Unspecified | Address::Other(_) | Address::Unreadable { .. } => {
                self.connect = None;
            }
        }
    }

    /// Takes what a connect's annotation says about its socket. The local end in it is that of this connect when the
    /// tracer looked for itself, or when the annotation names this very peer: then it is no older than the call.
    fn annotated_at_connect(&mut self, note: &FdNote, to: Option<Endpoint>) {
        if let Some(kind) = note.socket
            && self.style == SocketType::Unknown
        {
            self.style = kind.style;
        }
        let current = note.exact || note.peer.is_some() && note.peer == to;
        if current && note.local.is_some_and(|l| l.port != 0) {
            self.local = note.local;
            self.exact = true;
        }
        self.identity = self.identity.or(note.identity);
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

/// Whether a descriptor shows that it is another socket than the one known behind its number.
fn is_another(known: &Association, fd: &Fd) -> bool {
    let said = fd.note.as_ref().and_then(|n| n.identity);
    known.identity.is_some() && said.is_some() && known.identity != said || is_other_kind(known, fd)
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
