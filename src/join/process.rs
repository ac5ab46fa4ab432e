//! Which threads belong to one process.
//!
//! A strace log rarely says so (no `clone` lines), yet file descriptors and lookups belong to processes:
//! curl, node, the JVM and Go resolve in one thread and connect in another.

use super::owners::{Owned, Owners, socket_of, task_of};
use super::{Id, IdVec, ProcessId};
use crate::event::{Event, EventKind, LifecycleChange, Op, Task};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A process and what is known about it.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its pid; `None` when the trace does not tell.
    pub pid: Option<u32>,
    /// The pid was concluded from order and exits rather than read.
    pub concluded: bool,
    /// The process that started it.
    pub parent: Option<ProcessId>,
    /// First and last sign of life.
    pub seen: Option<(Timestamp, Timestamp)>,
    /// When it ended, if that was seen.
    pub ended: Option<Timestamp>,
    /// It had other threads than its leader.
    threads: bool,
    /// The last name of a process that was watched.
    pub comm: Option<Arc<str>>,
}

impl Process {
    /// Takes the signs of one of its threads: it lived as long as any of them, and ended with its leader.
    fn saw(&mut self, tid: Option<u32>, sign: &ThreadSigns) {
        let (first, last) = self.seen.unwrap_or((sign.first, sign.last));
        self.seen = Some((first.min(sign.first), last.max(sign.last)));
        self.threads |= self.pid != tid;
        if self.pid == tid {
            self.ended = sign.ended;
        }
    }
}

/// All processes of a trace.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    list: IdVec<ProcessId, Process>,
    by_thread: HashMap<Option<u32>, ProcessId>,
    /// Processes that were watched, by pid: of their threads only some are known.
    watched: HashMap<u32, ProcessId>,
    comms: Comms,
}

/// The last name of each thread.
type Comms = HashMap<Option<u32>, Arc<str>>;

/// The processes by the thread that leads each.
type Leaders = BTreeMap<u32, ProcessId>;

/// What the trace says about one thread, collected in one pass.
#[derive(Default)]
struct ThreadSigns {
    first: Timestamp,
    last: Timestamp,
    pid: Option<u32>,
    leader: bool,
    parent: Option<u32>,
    thread: bool,
    ended: Option<Timestamp>,
}

impl ThreadSigns {
    fn since(first: Timestamp) -> Self {
        Self {
            first,
            last: first,
            ..Self::default()
        }
    }

    /// Takes a change in the thread's life.
    fn changed(&mut self, change: &LifecycleChange, at: Timestamp) {
        match change {
            LifecycleChange::Exited(_) | LifecycleChange::Killed(_) => self.ended = Some(at),
            LifecycleChange::Forked { parent, thread } => {
                self.parent = self.parent.or(*parent);
                self.thread |= *thread == Some(true);
                self.leader |= *thread == Some(false);
            }
            LifecycleChange::ChildDied(_)
            | LifecycleChange::Signal(_)
            | LifecycleChange::CpuTime(_)
            | LifecycleChange::Files(_)
            | LifecycleChange::Socket(_) => {}
        }
    }
}

impl Processes {
    /// Concludes the processes from everything the trace says, in order of the threads' first signs of life:
    ///
    /// 1. A process has a leader: a thread that a `fork`, an exec or a `SIGCHLD` names (a `SIGCHLD` names processes,
    ///    never threads), whose own pid is its id, or the root of what was traced.
    /// 2. Any other thread belongs to the process whose pid its lines show; else to that of the thread that made it;
    ///    where the trace says nothing, to the nearest leader with a smaller id.
    /// 3. A process that was watched is known by its pid.
    pub fn conclude(events: &[Event], owners: &Owners) -> Self {
        let (signs, comms) = collect(events);
        let mut order: Vec<(Option<u32>, &ThreadSigns)> =
            signs.iter().map(|(tid, signs)| (*tid, signs)).collect();
        order.sort_by_key(|(tid, signs)| (signs.first, *tid));
        let mut this = Self {
            comms,
            ..Self::default()
        };
        let leaders = this.add_leaders(&order);
        for (tid, sign) in order {
            let id = match this.by_thread.get(&tid) {
                Some(id) => *id,
                None => this.add_member(&leaders, tid, sign),
            };
            this.list[id].saw(tid, sign);
        }
        this.watch(events, owners);
        this
    }

    /// Adds the processes whose packets were found to be theirs.
    fn watch(&mut self, events: &[Event], owners: &Owners) {
        for (look, packet) in owners.packets() {
            let Some(Owned::Watched { .. }) = owners.of_packet(*packet) else {
                continue;
            };
            let Some(socket) = socket_of(events, *look) else {
                continue;
            };
            let Some(pid) = socket.task.pid.or(socket.task.tid) else {
                continue;
            };
            let at = events[look.position()].at;
            let known = self.watched.get(&pid);
            let known = known.or_else(|| self.by_thread.get(&Some(pid))).copied();
            let id = known.unwrap_or_else(|| {
                self.list.push(Process {
                    pid: Some(pid),
                    ..Process::default()
                })
            });
            self.watched.insert(pid, id);
            let process = &mut self.list[id];
            let (first, last) = process.seen.unwrap_or((at, at));
            process.seen = Some((first.min(at), last.max(at)));
            // A thread may have a name of its own.
            let leads = socket.task.tid.is_none_or(|tid| tid == pid);
            if leads && socket.task.comm.is_some() {
                process.comm = task_of(socket).comm;
            }
        }
    }

    /// Adds a process for each leader.
    fn add_leaders(&mut self, order: &[(Option<u32>, &ThreadSigns)]) -> Leaders {
        let mut leaders = Leaders::new();
        // The root of what was traced has the smallest id, also when a thread of it is seen first.
        let root = order.iter().map(|(tid, _)| *tid).min();
        for &(tid, sign) in order {
            let leads = sign.leader || root == Some(tid) || sign.pid.is_some() && sign.pid == tid;
            if !leads || sign.thread {
                continue;
            }
            let parent = sign.parent.or_else(|| nearest(&leaders, tid));
            let parent = parent.and_then(|p| self.by_thread.get(&Some(p)).copied());
            let id = self.list.push(Process {
                pid: tid,
                concluded: sign.pid.is_none(),
                parent,
                ..Process::default()
            });
            self.by_thread.insert(tid, id);
            if let Some(tid) = tid {
                leaders.insert(tid, id);
            }
        }
        leaders
    }

    /// Adds a thread that leads nothing to its process; to one of its own where none is known.
    fn add_member(&mut self, leaders: &Leaders, tid: Option<u32>, sign: &ThreadSigns) -> ProcessId {
        let explicit = sign.pid.or(if sign.thread { sign.parent } else { None });
        let known = explicit
            .and_then(|pid| self.by_thread.get(&Some(pid)).copied())
            .or_else(|| nearest(leaders, tid).and_then(|pid| leaders.get(&pid).copied()));
        let id = known.unwrap_or_else(|| {
            self.list.push(Process {
                pid: sign.pid,
                ..Process::default()
            })
        });
        self.by_thread.insert(tid, id);
        id
    }

    /// The process of a task.
    pub fn of(&self, task: &Task) -> ProcessId {
        let thread = task.tid.and_then(|tid| self.by_thread.get(&Some(tid)));
        let process = || self.watched.get(&task.pid.or(task.tid)?);
        let unnamed = || self.by_thread.get(&task.tid);
        { thread.or_else(process).or_else(unnamed).copied() }.unwrap_or(ProcessId::at(0))
    }

    /// One process.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.list.get(id)
    }

    /// Whether a process has one thread, and has made no other process between two moments: whatever was done on its
    /// descriptors since, that thread did.
    pub fn is_alone(&self, id: ProcessId, since: Timestamp, until: Timestamp) -> bool {
        let forked = |other: &Process| {
            let first = other.seen.map(|(first, _)| first);
            other.parent == Some(id) && first.is_some_and(|at| at >= since && at <= until)
        };
        self.get(id).is_some_and(|p| !p.threads) && !self.list.iter().any(forked)
    }

    /// The process with this pid, if it was watched.
    pub fn watched(&self, pid: u32) -> Option<&Process> {
        self.get(*self.watched.get(&pid)?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the trace has no task at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The task with everything that is known by the end: its process and the last name it had.
    pub fn complete(&self, task: &Task) -> Task {
        let process = self.get(self.of(task));
        Task {
            pid: task.pid.or_else(|| process.and_then(|p| p.pid)),
            tid: task.tid,
            comm: task
                .comm
                .clone()
                .or_else(|| self.comms.get(&task.tid).cloned()),
        }
    }
}

/// The greatest leader below a thread id.
fn nearest(leaders: &Leaders, tid: Option<u32>) -> Option<u32> {
    leaders.range(..tid?).next_back().map(|(pid, _)| *pid)
}

fn collect(events: &[Event]) -> (HashMap<Option<u32>, ThreadSigns>, Comms) {
    let mut signs: HashMap<Option<u32>, ThreadSigns> = HashMap::new();
    let mut comms = HashMap::new();
    let mut dead: Vec<u32> = Vec::new();
    for event in events {
        let (task, end) = match &event.what {
            EventKind::Call(call) => (&call.task, call.exited.unwrap_or(event.at)),
            EventKind::Life(life) => (&life.task, event.at),
            EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => continue,
        };
        if let Some(comm) = &task.comm {
            comms.insert(task.tid, comm.clone());
        }
        let sign = signs.entry(task.tid);
        let sign = sign.or_insert_with(|| ThreadSigns::since(event.at));
        sign.last = sign.last.max(end);
        sign.pid = sign.pid.or(task.pid);
        match &event.what {
            EventKind::Call(call) => match call.op {
                Op::Exec { .. } if call.outcome.value() == Some(0) => {
                    sign.leader |= task.pid.is_none();
                }
                Op::Clone { thread, .. } => {
                    let child = call.outcome.value().and_then(|v| u32::try_from(v).ok());
                    if let Some(child) = child.filter(|c| *c > 0) {
                        let child = signs.entry(Some(child));
                        let child = child.or_insert_with(|| ThreadSigns::since(event.at));
                        child.parent = task.tid;
                        child.thread = thread;
                        child.leader |= !thread;
                    }
                }
                _ => {}
            },
            EventKind::Life(life) => {
                if let LifecycleChange::ChildDied(pid) = life.change {
                    dead.push(pid);
                }
                sign.changed(&life.change, event.at);
            }
            EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => {}
        }
    }
    for pid in dead {
        if let Some(sign) = signs.get_mut(&Some(pid)) {
            sign.leader = true;
        }
    }
    (signs, comms)
}
