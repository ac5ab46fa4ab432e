//! System calls, from ptrace or from a strace log.

use super::{Errno, dns};
use crate::flow::Endpoint;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One thread. What a trace cannot tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Task {
    /// Process (thread group).
    pub pid: Option<u32>,
    /// Thread. A strace log without `-f` names none.
    pub tid: Option<u32>,
    /// The thread's name.
    pub comm: Option<Arc<str>>,
}

/// A system call: its entry is the event's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Who called.
    pub task: Task,
    /// When it returned, where known (`-T`, a resumed line, live).
    pub exited: Option<Timestamp>,
    /// What it returned.
    pub outcome: CallOutcome,
    /// What was asked of the kernel.
    pub op: Op,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// A value of 0 or more.
    Returned(i64),
    /// The error by its name, e.g. `EINPROGRESS`.
    Failed(Arc<str>),
    /// Never seen: unfinished at the end, or `?`.
    Unknown,
}

impl CallOutcome {
    /// The value of a call that succeeded.
    pub fn value(&self) -> Option<i64> {
        match self {
            Self::Returned(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether the call failed.
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The error of a call that failed, where something is concluded from it.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Failed(name) => Errno::named(name),
            Self::Returned(_) | Self::Unknown => None,
        }
    }
}

/// A file descriptor of the calling process, with whatever the trace says about its socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fd {
    /// The number; negative numbers appear in hostile or careless programs.
    pub number: i32,
    /// strace's `-y`/`-yy` annotation, or the tracer's own look at the socket. Calls that say the same of one socket
    /// share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<FdNote>>,
}

impl Fd {
    /// A bare number.
    pub fn bare(number: i32) -> Self {
        Self { number, note: None }
    }
}

/// What is known about the object behind a file descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdNote {
    /// The socket's kind; `None` when the object is no socket or its kind is unsaid.
    pub socket: Option<SocketKind>,
    /// The annotation says that this is not a socket at all (a path, a pipe, an epoll).
    pub not_a_socket: bool,
    /// Socket inode (strace) or cookie (live): names one socket for its life.
    pub identity: Option<u64>,
    /// Local end.
    pub local: Option<Endpoint>,
    /// Remote end.
    pub peer: Option<Endpoint>,
    /// Path of a unix socket or file.
    pub path: Option<Box<str>>,
    /// Network namespace cookie (live only).
    pub netns: Option<u64>,
    /// Taken from the kernel at the stop, so never stale; strace's annotations can be.
    pub exact: bool,
}

/// Address family, style and protocol, as `socket(2)` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketKind {
    /// Address family.
    pub family: SocketFamily,
    /// Stream, datagram, …
    pub style: SocketType,
}

/// Address families that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFamily {
    /// `AF_INET` or `AF_INET6`.
    Inet,
    /// `AF_UNIX`.
    Unix,
    /// `AF_NETLINK`.
    Netlink,
    /// Anything else.
    Other,
}

/// Socket types that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketType {
    /// `SOCK_STREAM` (TCP or MPTCP for an Internet family).
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
    /// `SOCK_RAW`, `SOCK_SEQPACKET`, …
    Other,
    /// Not said.
    Unknown,
}

/// A socket address argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// IPv4 or IPv6.
    Inet(Endpoint),
    /// An internet address that was made unreadable before the log was given away (`10.x.x.1`, `<Private IP>`): an endpoint
    /// all the same, which is known by these words.
    Unreadable {
        /// What stands in its place.
        text: Box<str>,
        /// The port, where it can be read.
        port: Option<u16>,
    },
    /// A unix socket's path; abstract names begin with `@`.
    Unix(Box<str>),
    /// `AF_UNSPEC`: dissolves a datagram socket's association.
    Unspecified,
    /// Another family, by name.
    Other(Box<str>),
}

/// One datagram or one run of stream bytes in a send or receive call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The address given with the message (`sendto`, `msg_name`), if any.
    pub peer: Option<Endpoint>,
    /// Bytes handed over, as the call says; 0 when unknown.
    pub length: u32,
    /// Whether the kernel took it (`sendmmsg` may take one of two).
    pub taken: bool,
    /// The DNS messages in it, as far as the payload is visible. A datagram holds one; TCP bytes may
    /// hold several.
    pub dns: Vec<dns::Message>,
    /// What it says to or of a name service on this host, as far as that is understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

/// What was said to a name service over a local socket, or what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Local {
    /// The name or address that it was asked for.
    Asked(Box<str>),
    /// It gave an answer.
    Answered,
    /// There is no such name or record.
    Denied,
    /// It could not tell.
    Failed,
}

/// What was asked of the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// `socket`: the new descriptor is the outcome; its annotation, if any, is `fd.note`.
    Socket {
        /// Family and style.
        kind: SocketKind,
        /// The new descriptor (`-1` when it failed).
        fd: Fd,
    },
    /// `connect`.
    Connect {
        /// Which socket.
        fd: Fd,
        /// Where to.
        to: Address,
    },
    /// `bind`.
    Bind {
        /// Which socket.
        fd: Fd,
        /// The address asked for; port 0 leaves the choice to the kernel.
        local: Address,
    },
    /// `accept`, `accept4`: the new descriptor is a server-side socket.
    Accept {
        /// The listening socket.
        fd: Fd,
        /// The new descriptor (`-1` when it failed).
        new: Fd,
    },
    /// `getsockname` that returned an address.
    LocalName {
        /// Which socket.
        fd: Fd,
        /// Its local end.
        local: Address,
    },
    /// `getpeername` that returned an address.
    PeerName {
        /// Which socket.
        fd: Fd,
        /// Its remote end.
        peer: Address,
    },
    /// `getsockopt(SO_TYPE)`.
    #[serde(rename = "socket_style_is")]
    SocketTypeIs {
        /// Which socket.
        fd: Fd,
        /// Its style.
        style: SocketType,
    },
    /// `getsockopt(SO_ERROR)`: how a non-blocking connect ended; `None` is success.
    SocketError {
        /// Which socket.
        fd: Fd,
        /// The error's name.
        error: Option<Arc<str>>,
    },
    /// `send`, `sendto`, `sendmsg`, `sendmmsg`, `write`, `writev` on a descriptor that may be a socket.
    Send {
        /// Which socket.
        fd: Fd,
        /// What was handed over, in order.
        messages: Vec<Transfer>,
    },
    /// `recv`, `recvfrom`, `recvmsg`, `recvmmsg`, `read`, `readv` likewise.
    Receive {
        /// Which socket.
        fd: Fd,
        /// What came, in order.
        messages: Vec<Transfer>,
    },
    /// `poll`, `ppoll`, `select`, `pselect6`, `epoll_wait`, `epoll_pwait`, …
    Wait {
        /// The descriptors waited for; empty for epoll, whose set the call does not name.
        fds: Vec<Fd>,
        /// Descriptors reported ready to be read, or in error.
        ready: Vec<i32>,
        /// The timeout asked for; `None` is for ever.
        timeout: Option<Span>,
    },
    /// `close`.
    Close {
        /// Which descriptor.
        fd: Fd,
    },
    /// `dup`, `dup2`, `dup3`, `fcntl(F_DUPFD…)`.
    Duplicate {
        /// The old descriptor.
        fd: Fd,
        /// The new one (`-1` when it failed).
        new: i32,
    },
    /// `clone`, `clone3`, `fork`, `vfork`: the child is the outcome.
    Clone {
        /// `CLONE_THREAD`: the child belongs to the same process.
        thread: bool,
        /// `CLONE_FILES`: the child shares the file table.
        files: bool,
    },
    /// `execve`, `execveat`.
    Exec {
        /// The program's path.
        program: Box<str>,
    },
    /// `nanosleep`, `clock_nanosleep`, `pause`: asleep on purpose.
    Sleep,
    /// `io_uring_setup`: later network calls of this process may be invisible.
    IoUring,
    /// Any other call; it matters only for when it ran.
    Other {
        /// Its name.
        name: Arc<str>,
    },
}

impl Op {
    /// Whether the call shows that its thread does something else than wait for a lookup. Reading one answer while another
    /// is due, polling, and the comings and goings of a runtime's scheduler do not.
    pub fn is_move(&self) -> bool {
        matches!(
            self,
            Self::Socket { .. }
                | Self::Connect { .. }
                | Self::Bind { .. }
                | Self::Send { .. }
                | Self::Close { .. }
                | Self::Exec { .. }
        )
    }

    /// The descriptor that the call works on, if it works on one.
    pub fn fd(&self) -> Option<&Fd> {
        match self {
            Self::Connect { fd, .. }
            | Self::Bind { fd, .. }
            | Self::LocalName { fd, .. }
            | Self::PeerName { fd, .. }
            | Self::SocketTypeIs { fd, .. }
            | Self::SocketError { fd, .. }
            | Self::Send { fd, .. }
            | Self::Receive { fd, .. }
            | Self::Close { fd }
            | Self::Accept { fd, .. }
            | Self::Duplicate { fd, .. } => Some(fd),
            _ => None,
        }
    }
}
