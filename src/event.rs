//! What sources deliver and the join reads: packets, system calls and the lives of tasks.
//!
//! Types only. Times of a trace are in the trace's own clock until [`crate::clock`] has moved them
//! to the capture's.

pub mod call;
pub mod dns;
pub mod errno;
pub mod files;
pub mod owner;
pub mod packet;
pub mod stack;
pub mod syscall;

use crate::time::{Span, Timestamp};
pub use call::{
    Address, Call, CallOutcome, Fd, FdNote, Local, Op, SocketFamily, SocketKind, SocketType, Task,
    Transfer,
};
pub use errno::Errno;
pub use files::ResolverFiles;
pub use owner::{OpenSocket, Owner, ThreadWait, Unattributed, Whose};
pub use packet::{IcmpKind, OpeningStep, Packet, Quote, Service, TcpFlags};
use serde::{Deserialize, Serialize};
pub use stack::Stack;
use std::sync::Arc;
pub use syscall::{PayloadLayout, Syscall, TimeoutForm, WaitSet};

/// One thing that happened, when, and where the reader finds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When: a packet's time of capture; a call's time of *entry*.
    pub at: Timestamp,
    /// The evidence: `FILE:N`.
    pub place: Location,
    /// What.
    pub what: EventKind,
}

/// Where an event stands in its input, so that a reader can look it up.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Location {
    /// Index of the input among all inputs of the case, captures and traces counted together.
    pub input: u16,
    /// Packet number in a capture (Wireshark's frame number) or line number in a log, from 1.
    pub number: u64,
}

/// The kinds of event. A case may hold millions, most of them SYNs and their answers: whatever is larger than those is
/// boxed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A packet of the capture.
    Packet(Packet),
    /// A system call of the trace, entry and exit together.
    Call(Box<Call>),
    /// A task began, became another program, got a signal or ended.
    Life(Box<Lifecycle>),
    /// The user-space stack of the call before it. [`crate::pipeline`] takes these out before anything is joined.
    Stack(Arc<Stack>),
    /// Whose a packet was, where processes were watched and nothing was traced.
    Owner(Box<Owner>),
}

/// Events in the life of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Whose.
    pub task: Task,
    /// What happened.
    pub change: LifecycleChange,
}

/// What may happen to a task apart from its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleChange {
    /// First seen (attached, or reported by its parent's clone).
    #[serde(rename = "born")]
    Forked {
        /// The thread that cloned it, where known.
        parent: Option<u32>,
        /// Whether it shares its parent's process, where known.
        thread: Option<bool>,
    },
    /// It ended by itself with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(String),
    /// It was told (`SIGCHLD`) that this *process* ended: proof that the pid is a process.
    ChildDied(u32),
    /// The CPU time that its process, all threads together, had used so far. Live only, at connects: it
    /// tells a program that was busy from one that was asleep.
    CpuTime(Span),
    /// It got some other signal.
    Signal(String),
    /// Before its first network call: the configuration of name resolution in its mount namespace, where no process
    /// before it saw the same. Live only; [`crate::pipeline`] takes these out before anything is joined.
    Files(Box<ResolverFiles>),
    /// What presyn itself saw of one of its sockets, without a call. Live only.
    Socket(Box<SocketLook>),
}

/// A look at a datagram socket, or at a resolver's stream, of which not every send is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketLook {
    /// Its descriptor, as it is now; once that is gone, as it was.
    pub fd: Fd,
    /// What was seen.
    pub state: FollowState,
}

/// How a socket of which not every send is reported goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowState {
    /// It leads to a resolver, and not all sends on it are reported any more: only packets show the others.
    Unfollowed,
    /// It has a local end now: by a bind, or by a send that was not reported.
    Bound,
    /// This thread waits for it alone (`/proc/PID/task/TID/syscall`).
    WaitedFor,
    /// The descriptor refers to it no longer, or presyn looks no longer.
    Gone,
    /// The descriptor refers to it no longer, and whether it had a local end by then is not known.
    Vanished,
}
