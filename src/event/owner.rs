//! Whose socket a packet left by, where nothing was traced: looked up in the kernel's tables while the socket existed.

use super::Task;
use crate::flow::{Endpoint, FiveTuple};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Whose packet it was: a query or a SYN, or the query that an ICMP error quotes which the host sent itself. The event's time
/// is the packet's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The packet, from its sender's end.
    pub flow: FiveTuple,
    /// Whose socket it is.
    pub whose: Whose,
    /// The cookie of its network namespace (`SO_NETNS_COOKIE`, socket(7)), where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
}

impl Owner {
    /// Whether it shows a thread that waits: a look of its own, some time after the packet left.
    pub fn shows_wait(&self) -> bool {
        matches!(&self.whose, Whose::Watched(socket) if socket.wait.is_some())
    }
}

/// What the look at a packet's socket found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// A process that is watched has it open. Of several that have, the one that was found first.
    Watched(OpenSocket),
    /// No process that is watched has it: another one of the host has, or it is no socket of the host (a SYN or query that
    /// came in).
    Others,
    /// Nobody can say.
    Unattributed(Unattributed),
}

/// A socket that a watched process has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSocket {
    /// The process, and the thread where one was seen to wait for this socket.
    pub task: Task,
    /// The descriptor's number in it.
    pub fd: i32,
    /// The kernel's name for the socket, which no other socket of this system has (`SO_COOKIE`, socket(7)).
    pub cookie: u64,
    /// What it is connected to; `None`: to nothing. NAT on this host may have sent the packet elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Endpoint>,
    /// What a thread was found doing about the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<ThreadWait>,
}

/// The system call in which a thread was found (`proc_pid_syscall(5)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadWait {
    /// Its name.
    pub call: Arc<str>,
    /// How many descriptors it waits for; 1: this socket alone.
    pub among: u32,
}

/// Why nobody can say whose packet it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unattributed {
    /// The socket was gone when it was looked up.
    Gone,
    /// Another socket with the same two ends existed since the packet left.
    Ambiguous,
    /// The kernel's tables could not be read.
    Unreadable,
    /// It was not looked up: too many packets came.
    NotLookedUp,
}
