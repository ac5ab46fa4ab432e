//! What is known about each traced task.

use super::call::Pending;
use super::pin::StopRate;
use super::socket::{DescriptorAccess, SeenSockets, SocketState};
use super::watch::Watch;
use crate::event::Task;
use crate::time::{Span, Timestamp};
use nix::errno::Errno;
use std::sync::Arc;

/// One traced task.
#[derive(Debug)]
pub struct Traced {
    /// Its thread id.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// The call it is in, if that is to be told.
    pub pending: Option<Pending>,
    /// A wait that was interrupted and may go on.
    pub restarting: Option<Pending>,
    /// Its open lookups.
    pub watch: Watch,
    /// How fast it stops.
    pub pace: StopRate,
    comm: Arc<str>,
    comm_read: Option<Timestamp>,
    access: Option<DescriptorAccess>,
}

/// A thread's name is read again when it was last read longer ago than this: threads rename themselves and each
/// other without a call that is trapped, and reading costs as much as a stop.
const COMM_AGE: Span = Span::millis(20);

impl Traced {
    /// A new task; who it belongs to is asked of `/proc`.
    pub fn new(tid: u32, sockets: &mut SeenSockets) -> Self {
        let pid = number_or_error(tid, "Tgid:").unwrap_or_else(|error| {
            sockets.failed(error);
            None
        });
        Self {
            tid,
            pid: pid.unwrap_or(tid),
            pending: None,
            restarting: None,
            watch: Watch::default(),
            pace: StopRate::default(),
            comm: "".into(),
            comm_read: None,
            access: None,
        }
    }

    /// Its name for events.
    pub fn task(&mut self, now: Timestamp) -> Task {
        if self.comm_read.is_none_or(|read| now - read > COMM_AGE) {
            self.comm_read = Some(now);
            if let Ok(comm) = std::fs::read(format!("/proc/{}/comm", self.tid)) {
                let comm = String::from_utf8_lossy(comm.trim_ascii_end());
                if *comm != *self.comm {
                    self.comm = comm.as_ref().into();
                }
            }
        }
        self.last_task()
    }

    /// Its name as last read, for when it is gone.
    pub fn last_task(&self) -> Task {
        Task {
            pid: Some(self.pid),
            tid: Some(self.tid),
            comm: (!self.comm.is_empty()).then(|| self.comm.clone()),
        }
    }

    /// It runs another program now, and is the leader of its process.
    pub fn execs(&mut self) {
        self.pid = self.tid;
        self.comm_read = None;
        self.access = None;
        self.restarting = None;
    }

    /// One of its sockets. Also while it runs.
    pub fn look(&mut self, sockets: &mut SeenSockets, fd: i32, peer: bool) -> Option<SocketState> {
        let access = match &self.access {
            Some(access) => access,
            None => match sockets.access(self.tid, self.pid) {
                Ok(access) => self.access.insert(access),
                Err(error) => {
                    sockets.failed(error);
                    return None;
                }
            },
        };
        sockets.look(access, self.tid, fd, peer)
    }
}

/// A number in `/proc/TID/status`.
pub fn number(tid: u32, field: &str) -> Option<u32> {
    number_or_error(tid, field).ok().flatten()
}

/// The same, with the reason why the file cannot be read. A task that is gone has no number.
fn number_or_error(tid: u32, field: &str) -> Result<Option<u32>, Errno> {
    let status = match std::fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(status) => status,
        Err(error) => return Err(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
    };
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    Ok(line.and_then(|line| line.trim().parse().ok()))
}
