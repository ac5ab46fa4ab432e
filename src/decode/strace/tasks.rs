//! Which process a thread belongs to, as far as the log itself says.

use super::lex;
use crate::event::Task;
use std::collections::HashMap;
use std::sync::Arc;

/// How many threads are remembered: the kernel has no more ids (`PID_MAX_LIMIT`, 2^22), but a hostile log
/// has; beyond this nothing new is learned.
const MAX_TASKS: usize = 1 << 16;

/// What is known about the threads of a log.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Thread to process.
    processes: HashMap<u32, u32>,
    /// The latest name of a thread.
    names: HashMap<u32, Arc<str>>,
}

impl Tasks {
    /// The task of a line.
    pub fn task(&mut self, tid: Option<u32>, comm: Option<&[u8]>) -> Task {
        Task {
            pid: tid.and_then(|tid| self.processes.get(&tid).copied()),
            tid,
            comm: match (tid, comm) {
                (Some(tid), Some(comm)) => Some(self.name(tid, comm)),
                (Some(tid), None) => self.names.get(&tid).cloned(),
                _ => None,
            },
        }
    }

    fn name(&mut self, tid: u32, comm: &[u8]) -> Arc<str> {
        if let Some(known) = self.names.get(&tid)
            && known.as_bytes() == comm
        {
            return known.clone();
        }
        let text = lex::unescape(comm, 64);
        let name: Arc<str> = Arc::from(String::from_utf8_lossy(&text));
        if self.names.len() < MAX_TASKS {
            self.names.insert(tid, name.clone());
        }
        name
    }

    /// `clone` returned a child.
    pub fn cloned(&mut self, parent: Option<u32>, child: u32, thread: bool) {
        let process = if thread {
            parent.and_then(|tid| self.processes.get(&tid).copied())
        } else {
            Some(child)
        };
        if let Some(process) = process.filter(|_| self.processes.len() < MAX_TASKS) {
            self.processes.insert(child, process);
        }
    }

    /// A successful `execve` leaves a process of one thread, whose id is the process's (execve(2)).
    pub fn executed(&mut self, tid: u32) {
        if self.processes.len() < MAX_TASKS {
            self.processes.insert(tid, tid);
        }
    }

    /// The thread is gone; its id may come again.
    pub fn ended(&mut self, tid: u32) {
        self.processes.remove(&tid);
        self.names.remove(&tid);
    }
}
