//! What already runs, found by what a user names: processes, a unit of systemd's, or a container. No daemon is asked: the
//! files and control groups of the host say it.
//!
//! Whatever a container can write is not read here. What a user's own engine or service manager wrote is read with that
//! user's rights, counts only for that user's processes, and never hides what is the system's.

mod cgroup;
mod container;
mod error;
mod host_root;
mod processes;
mod unit;

use cgroup::ControlGroup;
pub use error::{NoContainer, TargetError};
pub use host_root::HostRoot;
pub use processes::ProcessIdentity;
use processes::Stat;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What a user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Processes, by number.
    Processes(Vec<u32>),
    /// A unit of systemd's: `nginx`, `user-1000.slice`, or the path of a control group.
    Unit(String),
    /// A container: its name, its id or the beginning of it, `POD`, `POD/CONTAINER` or `NAMESPACE/POD/CONTAINER`.
    Container(String),
}

/// What kind of target it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Processes and their descendants.
    Processes,
    /// A unit.
    Unit,
    /// A container.
    Container,
}

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningContainer {
    /// Its id.
    pub id: String,
    /// Its name, for people; of Kubernetes' containers NAMESPACE/POD/CONTAINER.
    pub name: String,
    /// Its engine.
    pub runtime: &'static str,
}

/// A target that runs. Names come from others: whoever shows them escapes them.
#[derive(Debug)]
pub struct RunningTarget {
    /// For people.
    pub name: String,
    /// What kind it is.
    pub kind: TargetKind,
    /// The process whose namespaces, root and control group stand for the target: the container's first process, the unit's
    /// oldest, the first that was named.
    pub first: ProcessIdentity,
    /// The container, if it is one.
    pub container: Option<RunningContainer>,
    root: HostRoot,
    members: Members,
}

/// Which processes belong to a target.
#[derive(Debug)]
enum Members {
    /// These and their descendants. What was once seen belongs to it, even after its parent has ended.
    Descendants(Mutex<BTreeSet<ProcessIdentity>>),
    /// All of a control group.
    Group(ControlGroup),
    /// A container without a control group of its own: the processes in its pid namespace, and their descendants.
    PidNamespace {
        namespace: PathBuf,
        known: Mutex<BTreeSet<ProcessIdentity>>,
    },
}

/// So many processes are named.
const MAX_NAMED: usize = 3;

impl RunningTarget {
    /// Finds what was named.
    pub fn find(asked: &Asked, root: &HostRoot) -> Result<Self, TargetError> {
        match asked {
            Asked::Processes(pids) => Self::of_processes(pids, root),
            Asked::Unit(name) => Self::of_unit(name, root),
            Asked::Container(name) => Self::of_container(name, root),
        }
    }

    fn of_processes(pids: &[u32], root: &HostRoot) -> Result<Self, TargetError> {
        let stats: Vec<Stat> = pids
            .iter()
            .map(|pid| named_process(root, *pid))
            .collect::<Result<_, _>>()?;
        let first = stats.first().ok_or(TargetError::NothingNamed)?.identity();
        let mut names: Vec<String> = stats
            .iter()
            .map(|stat| format!("{} (pid {})", stat.comm, stat.pid))
            .collect();
        error::list::shorten(&mut names, MAX_NAMED);
        Ok(Self {
            name: names.join(", "),
            kind: TargetKind::Processes,
            first,
            container: None,
            root: root.clone(),
            members: Members::Descendants(Mutex::new(stats.iter().map(Stat::identity).collect())),
        })
    }

    fn of_unit(asked: &str, root: &HostRoot) -> Result<Self, TargetError> {
        let unit = unit::find(root, asked)?;
        let processes = unit.group.processes(root).into_iter();
        let oldest = processes
            .filter_map(|pid| Stat::read(root, pid).ok())
            .filter(Stat::is_alive)
            .min_by_key(|stat| (stat.started, stat.pid));
        let Some(oldest) = oldest else {
            return Err(TargetError::UnitNotRunning {
                name: unit.name,
                file: root.path(unit.group.folder()).display().to_string(),
            });
        };
        Ok(Self {
            name: unit.name,
            kind: TargetKind::Unit,
            first: oldest.identity(),
            container: None,
            root: root.clone(),
            members: Members::Group(unit.group),
        })
    }

    fn of_container(asked: &str, root: &HostRoot) -> Result<Self, TargetError> {
        let found = container::find(root, asked)?;
        let first = found.first.identity();
        let known = Mutex::new(BTreeSet::from([first]));
        let members = match found.group {
            Some(group) => Members::Group(group),
            None => match own_pid_namespace(root, first.pid) {
                Some(namespace) => Members::PidNamespace { namespace, known },
                None => Members::Descendants(known),
            },
        };
        Ok(Self {
            name: found.name,
            kind: TargetKind::Container,
            first,
            container: Some(found.container),
            root: root.clone(),
            members,
        })
    }

    /// Its processes as they are now, in the order of their numbers. None: it has ended.
    pub fn processes(&self) -> Vec<u32> {
        match &self.members {
            Members::Group(group) => group.processes(&self.root),
            Members::Descendants(known) => self.descendants(known, None),
            Members::PidNamespace { namespace, known } => self.descendants(known, Some(namespace)),
        }
    }

    /// What it is, with its name: `unit nginx.service`.
    pub fn description(&self) -> String {
        let name = &self.name;
        match self.kind {
            TargetKind::Processes => name.clone(),
            TargetKind::Unit => format!("unit {name}"),
            TargetKind::Container => format!("container {name}"),
        }
    }

    /// Whether its first process still runs. Of a unit or of several processes, others may go on without it.
    pub fn first_is_running(&self) -> bool {
        self.first.is_running_at(&self.root)
    }

    fn descendants(
        &self,
        known: &Mutex<BTreeSet<ProcessIdentity>>,
        namespace: Option<&PathBuf>,
    ) -> Vec<u32> {
        let Ok(table) = self.root.processes() else {
            return Vec::new();
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        // A namespace is named by a number that another one may get after its end.
        let of_namespace = namespace.filter(|_| self.first.is_running_at(&self.root));
        if let Some(namespace) = of_namespace {
            let entered = table.processes.iter().filter(|process| {
                pid_namespace(&self.root, process.pid).is_some_and(|other| other == *namespace)
            });
            known.extend(entered.map(Stat::identity));
        }
        *known = table.with_descendants(&known);
        known.iter().map(|process| process.pid).collect()
    }
}

/// A process that was named by its number.
fn named_process(root: &HostRoot, pid: u32) -> Result<Stat, TargetError> {
    let stat = Stat::read(root, pid).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => TargetError::NoProcess { pid },
        _ => TargetError::Unreadable {
            path: root.path(&format!("proc/{pid}/stat")).display().to_string(),
            error,
        },
    })?;
    let status = root
        .kernel_text(&format!("proc/{pid}/status"))
        .unwrap_or_default();
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    if let Some(process) = process.and_then(|text| text.trim().parse().ok())
        && process != pid
    {
        return Err(TargetError::Thread {
            tid: pid,
            pid: process,
        });
    }
    let comm = stat.comm.clone();
    if *root == HostRoot::host() && pid == std::process::id() {
        Err(TargetError::Own { pid })
    } else if stat.is_kernel_thread() {
        Err(TargetError::KernelThread { pid, comm })
    } else if !stat.is_alive() {
        Err(TargetError::Zombie { pid, comm })
    } else {
        Ok(stat)
    }
}

fn pid_namespace(root: &HostRoot, pid: u32) -> Option<PathBuf> {
    root.link(&format!("proc/{pid}/ns/pid")).ok()
}

/// The pid namespace of a process, where it is not presyn's.
fn own_pid_namespace(root: &HostRoot, pid: u32) -> Option<PathBuf> {
    let namespace = pid_namespace(root, pid)?;
    let ours = root.link("proc/self/ns/pid").ok()?;
    (namespace != ours).then_some(namespace)
}
