//! The processes of the host, each with the moment it began: a number alone may be another process by now.

use super::host_root::HostRoot;
use std::collections::{BTreeSet, HashMap};
use std::io;

/// A kernel thread (`PF_KTHREAD`, include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process that keeps its identity when its number is given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since the host's start (`starttime`, proc(5)).
    pub started: u64,
}

impl ProcessIdentity {
    /// Of a process that is there now.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Stat::read(&HostRoot::host(), pid)?.identity())
    }

    /// Whether it is still there, and no other process with its number.
    pub fn is_running(self) -> bool {
        self.is_running_at(&HostRoot::host())
    }

    /// Whether a process is a thread of the kernel's.
    pub fn is_kernel_thread(pid: u32) -> bool {
        Stat::read(&HostRoot::host(), pid).is_ok_and(|stat| stat.is_kernel_thread())
    }

    /// Whether a thread is there and has not ended; that of a process whose first thread has ended has.
    pub fn has_running_thread(tid: u32) -> bool {
        Stat::read(&HostRoot::host(), tid).is_ok_and(|stat| !matches!(stat.state, 'X' | 'x' | 'Z'))
    }

    pub(super) fn is_running_at(self, root: &HostRoot) -> bool {
        Stat::read(root, self.pid).is_ok_and(|s| s.started == self.started && s.is_alive())
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: u32,
    /// Its name; whatever the process chose.
    pub comm: String,
    pub state: char,
    pub parent: u32,
    pub threads: u64,
    pub started: u64,
    flags: u64,
}

impl Stat {
    pub fn read(root: &HostRoot, pid: u32) -> io::Result<Self> {
        let text = root.kernel_text(&format!("proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other("its stat is not understood"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(' ')?;
        // The name may hold parentheses, spaces and line ends; what follows it does not.
        let (comm, rest) = rest.strip_prefix('(')?.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Fields are counted from 1 in proc(5), and the state is the third.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            pid: pid.parse().ok()?,
            comm: comm.to_owned(),
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
        })
    }

    pub fn identity(&self) -> ProcessIdentity {
        ProcessIdentity {
            pid: self.pid,
            started: self.started,
        }
    }

    pub fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// A process whose first thread has ended is a zombie, and its other threads go on.
    pub fn is_alive(&self) -> bool {
        match self.state {
            'X' | 'x' => false,
            'Z' => self.threads > 1,
            _ => true,
        }
    }
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub struct ProcessTable {
    /// In the order of their numbers.
    pub processes: Vec<Stat>,
}

impl ProcessTable {
    pub fn read(root: &HostRoot) -> io::Result<Self> {
        let mut pids: Vec<u32> = std::fs::read_dir(root.path("proc"))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        // Whoever has ended meanwhile is none.
        let processes = pids
            .into_iter()
            .filter_map(|pid| Stat::read(root, pid).ok());
        Ok(Self {
            processes: processes.filter(Stat::is_alive).collect(),
        })
    }

    /// Those of `known` that still run, and their descendants.
    pub fn with_descendants(&self, known: &BTreeSet<ProcessIdentity>) -> BTreeSet<ProcessIdentity> {
        let mut children: HashMap<u32, Vec<ProcessIdentity>> = HashMap::new();
        let mut found = BTreeSet::new();
        let mut open = Vec::new();
        for process in &self.processes {
            let identity = process.identity();
            children.entry(process.parent).or_default().push(identity);
            if known.contains(&identity) {
                open.push(identity);
            }
        }
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(children.get(&next.pid).into_iter().flatten());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_counterfeit_the_fields_after_it() {
        let text =
            "12 (a) S 1 (b)\n) R 7 12 12 0 -1 4194304 9 0 0 0 0 0 0 0 20 0 3 0 2470122 313 37";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.pid, stat.state, stat.parent), (12, 'R', 7));
        assert_eq!((stat.threads, stat.started), (3, 2_470_122));
        assert_eq!(stat.comm, "a) S 1 (b)\n");
        assert!(!stat.is_kernel_thread());
        assert_eq!(Stat::parse("12 (a) R 7"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn descendants_are_those_of_the_same_process() {
        let process = |pid, parent, started| Stat {
            pid,
            comm: "x".to_owned(),
            state: 'S',
            parent,
            threads: 1,
            started,
            flags: 0,
        };
        let table = ProcessTable {
            processes: vec![
                process(10, 1, 5),
                process(11, 10, 6),
                process(12, 11, 7),
                process(13, 1, 8),
            ],
        };
        let of = |pid, started| {
            let known = BTreeSet::from([ProcessIdentity { pid, started }]);
            let found = table.with_descendants(&known);
            found.into_iter().map(|p| p.pid).collect::<Vec<_>>()
        };
        assert_eq!(of(10, 5), [10, 11, 12]);
        assert_eq!(of(11, 6), [11, 12]);
        assert!(of(10, 4).is_empty(), "another process had this number");
    }

    #[test]
    fn this_process_runs() {
        let own = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(own.is_running());
        let earlier = ProcessIdentity {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.is_running());
    }
}
