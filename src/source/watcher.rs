//! Watches processes without touching them: whose socket a packet left by, and which thread waits for it.
//!
//! Nothing is stopped, changed or sent. A packet's ends lead to its socket in the kernel's tables, the socket's inode to
//! the descriptor of a process, and `/proc/PID/task/TID/syscall` to the thread that waits. What is gone by then is said to be
//! unattributed; it is never given to anybody.
//!
//! Why a look is exact: the socket that a packet left by existed when it left. If it has not ended since, it is among
//! those that exist at the look; if it has, the kernel reports its end. So where one socket fits at the look, and no other
//! with its port ended since the packet left, it is the one.

mod descriptors;
mod tables;
mod threads;

use crate::event::{OpenSocket, Owner, Task, ThreadWait, Unattributed, Whose};
use crate::flow::FiveTuple;
use crate::source::capture::{CaptureError, Netns};
use crate::time::{Span, Timestamp};
use descriptors::{Descriptor, Descriptors};
use nix::sched::{CloneFlags, setns};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use tables::{Found, KernelSocket, SocketTables};

/// The kernel reports the end of a socket from a work queue: within a millisecond on an idle machine. A look is final so
/// long after it was made.
const SETTLED: Duration = Duration::from_millis(50);
/// How much earlier a packet may have left than its time says: the clocks of the capture and of this process are one, but
/// for rounding.
const EARLIER: Duration = Duration::from_millis(1);
/// A packet that is older than this, or younger than now, has a time of another clock.
const OLDEST: Span = Span::seconds(4);
/// A socket of other processes is not looked for among the watched ones again for so long.
const OTHERS_FOR: Duration = Duration::from_secs(1);
/// More sockets than this are not remembered.
const MAX_KNOWN: usize = 1 << 16;
/// So much of each second may go into looking through descriptors …
const SHARE: f64 = 0.02;
/// … and so much at once.
const MOST_AT_ONCE: Duration = Duration::from_millis(500);

/// Shows the processes that are watched, as they are now.
pub type Members = Box<dyn Fn() -> Vec<u32>>;

/// A packet whose socket is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// From its sender's end.
    pub flow: FiveTuple,
    /// When it left.
    pub at: Timestamp,
}

/// What is known of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitState {
    /// The socket is gone, or no watched process has it any more.
    Gone,
    /// The calls of its process's threads may not be looked at.
    Unreadable,
    /// A thread waits for it.
    By(OpenSocket),
    /// No thread is in a call that waits for it.
    Nobody,
}

/// A look that is not final yet.
struct Pending {
    look: Look,
    whose: Whose,
    /// The socket that was found.
    cookie: Option<u64>,
    /// The packet had not left before.
    since: Instant,
    due: Instant,
}

/// Who has a socket that was found before.
#[derive(Clone, Copy)]
struct Holder {
    descriptor: Descriptor,
    inode: u32,
    /// The thread that waited for it last.
    thread: Option<u32>,
}

/// Looks up whose sockets packets left by.
pub struct Watcher {
    tables: SocketTables,
    members: Members,
    pids: Vec<u32>,
    /// The latest process or thread of the system when they were listed, where known.
    latest_pid: Option<u32>,
    descriptors: Descriptors,
    known: HashMap<u64, Holder>,
    others: HashMap<u64, Instant>,
    pending: VecDeque<Pending>,
    budget: Budget,
    netns: Option<u64>,
    inexact: Option<String>,
}

impl Watcher {
    /// Opens the tables of a network namespace (`None`: this one's), and lists the sockets that the processes have open.
    pub fn open(netns: Option<&Netns>, members: Members) -> Result<Self, CaptureError> {
        let (tables, inexact) = in_namespace(netns)?;
        let mut watcher = Self {
            netns: tables.netns(),
            tables,
            pids: members(),
            members,
            latest_pid: None,
            descriptors: Descriptors::default(),
            known: HashMap::new(),
            others: HashMap::new(),
            pending: VecDeque::new(),
            budget: Budget::new(Instant::now()),
            inexact,
        };
        watcher.list();
        Ok(watcher)
    }

    /// The cookie of the namespace, where the kernel tells it.
    pub fn netns(&self) -> Option<u64> {
        self.netns
    }

    /// Why looks are not exact, if they are not: the kernel does not report sockets that end.
    pub fn inexact(&self) -> Option<&str> {
        self.inexact.as_deref()
    }

    /// Why the calls of the watched processes' threads cannot be read, if they cannot.
    pub fn no_threads(&self) -> Option<String> {
        let first = self.pids.first()?;
        let error = std::fs::read_to_string(format!("/proc/{first}/syscall")).err()?;
        (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| error.to_string())
    }

    /// What can be read when [`Self::settled`] has more to learn.
    pub fn reports(&self) -> Option<BorrowedFd<'_>> {
        self.tables.reports()
    }

    /// Takes note of the sockets that are open now.
    fn list(&mut self) {
        let open = Descriptors::sockets(&self.pids);
        let known = &mut self.known;
        let mut note = |socket: KernelSocket| {
            if let Some(inode) = socket.inode
                && let Some(descriptor) = open.get(&inode)
                && known.len() < MAX_KNOWN
            {
                let descriptor = *descriptor;
                let thread = None;
                known.insert(
                    socket.cookie,
                    Holder {
                        descriptor,
                        inode,
                        thread,
                    },
                );
            }
        };
        // Without it each is looked for when its first packet comes.
        let _ = self.tables.list(&mut note);
    }

    /// Looks up a packet's socket now. The answer comes from [`Self::settled`].
    pub fn look(&mut self, look: Look, now: Timestamp) {
        let asked = Instant::now();
        let age = now - look.at;
        let found = if age.abs() > OLDEST {
            Err(Unattributed::NotLookedUp)
        } else {
            self.socket(&look.flow)
        };
        let cookie = found.ok().map(|socket| socket.cookie);
        let whose = found.map_or_else(Whose::Unattributed, |socket| {
            self.holder(&look.flow, &socket, asked)
        });
        let age = Duration::from_nanos(u64::try_from(age.0).unwrap_or(0));
        self.pending.push_back(Pending {
            look,
            whose,
            cookie,
            since: asked.checked_sub(age + EARLIER).unwrap_or(asked),
            due: asked + SETTLED,
        });
    }

    fn socket(&mut self, flow: &FiveTuple) -> Result<KernelSocket, Unattributed> {
        match self.tables.find(flow) {
            Ok(Found::One(socket)) => Ok(socket),
            Ok(Found::Several) => Err(Unattributed::Ambiguous),
            Ok(Found::None) => Err(Unattributed::Gone),
            Err(_) => Err(Unattributed::Unreadable),
        }
    }

    /// Who has a socket open.
    fn holder(&mut self, flow: &FiveTuple, socket: &KernelSocket, now: Instant) -> Whose {
        let known = self
            .known
            .get(&socket.cookie)
            .map(|holder| holder.descriptor);
        let Some(inode) = socket.inode else {
            // Closed by its process, and not yet by TCP.
            return known.map_or(Whose::Unattributed(Unattributed::Gone), |descriptor| {
                self.watched(descriptor, socket)
            });
        };
        let found = known.filter(|descriptor| Descriptors::is_open(*descriptor, inode));
        if let Some(descriptor) = found.or_else(|| self.descriptors.again(inode)) {
            return self.found(descriptor, socket, inode);
        }
        let is_others = self.others.get(&socket.cookie);
        if is_others.is_some_and(|at| now - *at < OTHERS_FOR) {
            return Whose::Others;
        }
        self.search(flow, socket, inode, now)
    }

    /// Looks through the descriptors of all watched processes, those that are new among them.
    fn search(
        &mut self,
        flow: &FiveTuple,
        socket: &KernelSocket,
        inode: u32,
        now: Instant,
    ) -> Whose {
        if !self.budget.is_left(now) {
            return Whose::Unattributed(Unattributed::NotLookedUp);
        }
        let began = Instant::now();
        let mut found = self.descriptors.search(inode, &self.pids);
        if found == Ok(None) && self.may_have_new_processes() {
            let pids = (self.members)();
            let new: Vec<u32> = { pids.iter().copied() }
                .filter(|pid| !self.pids.contains(pid))
                .collect();
            found = self.descriptors.search(inode, &new);
            self.pids = pids;
        }
        self.budget.take(began.elapsed());
        match found {
            Ok(Some(descriptor)) => self.found(descriptor, socket, inode),
            Err(descriptors::Unreadable) => Whose::Unattributed(Unattributed::Unreadable),
            // A watched process may have closed it meanwhile.
            Ok(None) if self.tables.find(flow).ok() == Some(Found::One(*socket)) => {
                if self.others.len() >= MAX_KNOWN {
                    self.others.clear();
                }
                self.others.insert(socket.cookie, now);
                Whose::Others
            }
            Ok(None) => Whose::Unattributed(Unattributed::Gone),
        }
    }

    /// Whether a process was made since the processes were listed last: the kernel shows the latest number that it gave
    /// (`/proc/loadavg`, proc(5)), which is much cheaper to read than a list.
    fn may_have_new_processes(&mut self) -> bool {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let latest = text
            .split_whitespace()
            .last()
            .and_then(|word| word.parse().ok());
        let before = std::mem::replace(&mut self.latest_pid, latest);
        latest.is_none() || latest != before
    }

    fn found(&mut self, descriptor: Descriptor, socket: &KernelSocket, inode: u32) -> Whose {
        let known = self.known.len() < MAX_KNOWN || self.known.contains_key(&socket.cookie);
        if known {
            let thread = self
                .known
                .get(&socket.cookie)
                .and_then(|holder| holder.thread);
            self.known.insert(
                socket.cookie,
                Holder {
                    descriptor,
                    inode,
                    thread,
                },
            );
        }
        self.watched(descriptor, socket)
    }

    fn watched(&mut self, descriptor: Descriptor, socket: &KernelSocket) -> Whose {
        Whose::Watched(OpenSocket {
            task: Task {
                pid: Some(descriptor.pid),
                tid: None,
                comm: self.descriptors.name(descriptor.pid),
            },
            fd: descriptor.fd,
            cookie: socket.cookie,
            peer: socket.peer,
            wait: None,
        })
    }

    /// The looks that are final by now, each with its packet's time.
    pub fn settled(&mut self, each: &mut dyn FnMut(Timestamp, Owner)) {
        let (known, others) = (&mut self.known, &mut self.others);
        let read = self.tables.read_reports(&mut |cookie| {
            known.remove(&cookie);
            others.remove(&cookie);
        });
        let now = Instant::now();
        while self.pending.front().is_some_and(|first| first.due <= now) {
            let Some(Pending {
                look,
                whose,
                cookie,
                since,
                ..
            }) = self.pending.pop_front()
            else {
                break;
            };
            let port = look.flow.src.port;
            let whose = match (whose, cookie) {
                (unknown @ Whose::Unattributed(_), _) => unknown,
                (_, Some(_)) if read.is_err() => Whose::Unattributed(Unattributed::Unreadable),
                (_, Some(cookie)) if self.tables.another_ended(port, cookie, since) => {
                    Whose::Unattributed(Unattributed::Ambiguous)
                }
                (whose, _) => whose,
            };
            let owner = Owner {
                flow: look.flow,
                whose,
                netns: self.netns,
            };
            each(look.at, owner);
        }
    }

    /// How long nothing settles, if nothing is asked meanwhile; `None`: nothing is to settle.
    pub fn settles_in(&self) -> Option<Duration> {
        let first = self.pending.front()?;
        Some(first.due.saturating_duration_since(Instant::now()))
    }

    /// Who waits for a socket that was found before.
    pub fn wait(&mut self, cookie: u64) -> WaitState {
        let Some(holder) = self.known.get(&cookie).copied() else {
            return WaitState::Gone;
        };
        if !Descriptors::is_open(holder.descriptor, holder.inode) {
            return WaitState::Gone;
        }
        let Descriptor { pid, fd } = holder.descriptor;
        match threads::waiting(holder.descriptor, holder.thread) {
            Err(threads::Unreadable) => WaitState::Unreadable,
            Ok(None) => WaitState::Nobody,
            Ok(Some(thread)) => {
                if let Some(holder) = self.known.get_mut(&cookie) {
                    holder.thread = Some(thread.tid);
                }
                let ThreadWait { call, among } = thread.wait;
                WaitState::By(OpenSocket {
                    task: Task {
                        pid: Some(pid),
                        tid: Some(thread.tid),
                        comm: thread.comm.map(Into::into),
                    },
                    fd,
                    cookie,
                    peer: None,
                    wait: Some(ThreadWait { call, among }),
                })
            }
        }
    }

    /// Forgets what may have changed: call it once in a while. Returns how many processes are watched.
    pub fn refresh(&mut self) -> usize {
        self.descriptors.forget_names();
        self.pids = (self.members)();
        self.pids.len()
    }
}

fn in_namespace(netns: Option<&Netns>) -> Result<(SocketTables, Option<String>), CaptureError> {
    let Some(netns) = netns else {
        return SocketTables::open().map_err(CaptureError::SocketTables);
    };
    let path = netns.path();
    let failed = |message: String| CaptureError::Netns {
        path: path.clone(),
        message,
    };
    let file = File::open(&path).map_err(|e| failed(e.to_string()))?;
    // A namespace belongs to a thread: this one does nothing else.
    let opened = std::thread::scope(|scope| {
        let open = || match setns(file, CloneFlags::CLONE_NEWNET) {
            Ok(()) => SocketTables::open().map_err(CaptureError::SocketTables),
            Err(error) => Err(failed(error.desc().to_owned())),
        };
        scope.spawn(open).join()
    });
    opened.unwrap_or_else(|_| Err(failed("the thread panicked".to_owned())))
}

/// How much time may go into looking through descriptors.
struct Budget {
    left: Duration,
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: MOST_AT_ONCE,
            at: now,
        }
    }

    fn is_left(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).mul_f64(SHARE);
        self.left = (self.left + earned).min(MOST_AT_ONCE);
        self.at = now;
        !self.left.is_zero()
    }

    fn take(&mut self, used: Duration) {
        self.left = self.left.saturating_sub(used);
    }
}

#[cfg(test)]
mod tests;
