//! From the two stops of a system call to one [`Call`](crate::event::Call): what it asked for is read when it begins, what came of
//! it when it ends.

mod outcome;
mod syscall_entry;
mod syscall_exit;

use super::abi::Abi;
use super::arguments::Set;
use super::socket::{SeenSockets, SocketState};
use super::stop::Stopped;
use super::task::Traced;
use crate::event::{Address, Fd, FdNote, Op, SocketKind, Syscall, Transfer};
use crate::flow::Endpoint;
use crate::time::{Span, Timestamp};
pub use outcome::goes_on;
use std::sync::Arc;

/// A call that has begun.
#[derive(Clone, Debug)]
pub struct Pending {
    /// When it began.
    pub at: Timestamp,
    /// Its descriptor, for calls on one.
    pub fd: i32,
    /// What it asks for.
    pub asked: Request,
    abi: Abi,
    call: Syscall,
    arguments: [u64; 6],
    socket: Option<SocketState>,
}

/// What a call asks for, as far as it is known when it begins.
#[derive(Clone, Debug)]
pub enum Request {
    /// `connect`
    Connect(Address),
    /// `bind`
    Bind(Address),
    /// `send` and its like: the bytes of each message, whether they are not all, its address and its length.
    Send(Vec<Outgoing>),
    /// The same to others than resolvers, as the first use of a socket: it gives the socket its port.
    SendElsewhere(Vec<Outgoing>),
    /// `socket`, of this kind as the arguments say.
    Socket(SocketKind),
    /// `recv` and its like: read when they have come.
    Receive,
    /// `poll` and its like.
    Wait {
        /// For which descriptors.
        fds: Vec<i32>,
        /// Where they are written, for reading the result.
        set: Set,
        /// How long.
        timeout: Option<Span>,
    },
    /// `close`
    Close,
    /// `getsockopt(SO_ERROR)`
    SocketError,
    /// `getpeername`
    PeerName,
    /// `nanosleep`
    Sleep,
    /// `io_uring_setup`
    IoUring,
    /// What a traced program may be refused, or what leaves the trace, by its name.
    Outside(&'static str),
}

/// A child with `CLONE_UNTRACED`; clones in the trace are no calls but events.
const CLONE: &str = "clone";

/// One message of a send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    to: Option<Endpoint>,
    bytes: Vec<u8>,
    cut: bool,
    length: u64,
}

impl Outgoing {
    /// As calls carry it, without what it says.
    fn transfer(&self, taken: bool) -> Transfer {
        Transfer {
            peer: self.to,
            length: u32::try_from(self.length).unwrap_or(u32::MAX),
            taken,
            dns: Vec::new(),
            local: None,
        }
    }
}

/// A call's number and arguments as the stop tells them.
#[derive(Clone, Copy, Debug)]
pub struct SyscallEntry {
    /// The calling convention.
    pub abi: Abi,
    /// The number.
    pub number: u64,
    /// The arguments.
    pub arguments: [u64; 6],
}

/// What both ends of a call need: the stopped task, what is known about it, and the sockets.
pub struct SyscallContext<'a> {
    /// The stop that is looked at.
    pub stop: &'a Stopped,
    /// Its task.
    pub task: &'a mut Traced,
    /// The sockets.
    pub sockets: &'a mut SeenSockets,
    /// Ports of resolvers.
    pub ports: &'a [u16],
}

/// The int that the low half of an argument is.
fn int(argument: u64) -> i32 {
    u32::try_from(argument & 0xffff_ffff)
        .unwrap_or(0)
        .cast_signed()
}
impl SyscallContext<'_> {
    fn look(&mut self, fd: i32, peer: bool) -> Option<SocketState> {
        self.task.look(self.sockets, fd, peer)
    }

    /// The socket behind `fd` if the task is watched for it.
    fn watched(&mut self, fd: i32) -> Option<SocketState> {
        let cookie = self.task.watch.find(fd)?.cookie;
        match self.look(fd, true) {
            Some(socket) if socket.cookie == cookie => Some(socket),
            _ => {
                self.task.watch.end(fd);
                None
            }
        }
    }
}

/// A call of which no more is known than its name.
fn other(name: &str) -> Op {
    Op::Other {
        name: Arc::from(name),
    }
}

fn with_note(number: i32, note: Option<FdNote>) -> Fd {
    Fd {
        number,
        note: note.map(Arc::new),
    }
}

impl Pending {
    /// Whether it makes a child that is not traced.
    pub fn leaves_trace(&self) -> bool {
        matches!(self.asked, Request::Outside(CLONE))
    }

    /// Whether it is the first use of a socket, and goes to no resolver.
    pub fn goes_elsewhere(&self) -> bool {
        matches!(self.asked, Request::SendElsewhere(_))
    }

    /// Whether it connects or sends.
    pub fn uses_network(&self) -> bool {
        matches!(self.asked, Request::Connect(_) | Request::Send(_))
    }

    /// The call as it looks before it returns.
    pub fn unfinished(&self, note: Option<FdNote>) -> Op {
        let fd = with_note(self.fd, note.or_else(|| self.socket.map(|s| s.note())));
        match &self.asked {
            Request::Connect(to) => Op::Connect { fd, to: to.clone() },
            Request::Bind(local) => Op::Bind {
                fd,
                local: local.clone(),
            },
            Request::Send(messages) | Request::SendElsewhere(messages) => Op::Send {
                fd,
                messages: messages.iter().map(|m| m.transfer(false)).collect(),
            },
            Request::Receive => Op::Receive {
                fd,
                messages: Vec::new(),
            },
            Request::Wait { fds, timeout, .. } => Op::Wait {
                fds: fds.iter().copied().map(Fd::bare).collect(),
                ready: Vec::new(),
                timeout: *timeout,
            },
            Request::Socket(kind) => Op::Socket {
                kind: *kind,
                fd: Fd::bare(-1),
            },
            Request::Close => Op::Close { fd },
            Request::SocketError => other("getsockopt"),
            Request::PeerName => other("getpeername"),
            Request::Sleep => Op::Sleep,
            Request::IoUring => Op::IoUring,
            Request::Outside(name) => other(name),
        }
    }
}
