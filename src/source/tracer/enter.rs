//! Starting a command where another process is: in a container, with the rights of its first process and never more; or in
//! a network namespace.
//!
//! A container is hostile: whatever it can see of the child before the child has the container's own rights would be its
//! gain. So the child joins the namespaces, lowers its rights to those of the container's first process, and only then
//! forks into the container's pid namespace, where the container first sees it. It holds no descriptor of the host but its
//! standard ones, and its program file is a sealed copy (`sealed`).

mod confinement;
mod join;
mod network;
mod rights;
pub mod sealed;

use super::{sys, task};
use crate::source::capture::Netns;
use crate::source::target::{ProcessIdentity, RunningTarget};
use confinement::Confinement;
pub use join::{Failed, NamespaceStep};
pub use network::NetworkEntrance;
use nix::errno::Errno;
use nix::unistd::geteuid;
use rights::ProcessRights;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a command begins.
#[derive(Debug)]
pub enum Entrance {
    /// In a container.
    Container(Box<ContainerEntrance>),
    /// In a network namespace.
    Network(NetworkEntrance),
}

/// Why a container or a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Only root may.
    #[error("to start a command in {0} takes root: run presyn with sudo")]
    NotRoot(String),
    /// presyn itself is in a container or a user namespace.
    #[error(
        "to start a command in {0} takes root of the host; this root is one of a user namespace only"
    )]
    NotHostRoot(String),
    /// The first process has ended meanwhile.
    #[error("{0} has just ended")]
    Ended(String),
    /// Whatever enters it stands still.
    #[error("{0} is paused; resume it first")]
    Paused(String),
    /// Something about it cannot be read.
    #[error("cannot enter {name}: {what}: {error}")]
    Unreadable {
        /// The container or namespace.
        name: String,
        /// What.
        what: String,
        /// The kernel's words.
        error: io::Error,
    },
    /// It is confined in a way that the command could not be.
    #[error(
        "cannot enter {name}: {why}; the command would have more rights than the container. To watch it from outside: presyn attach"
    )]
    Confined {
        /// The container.
        name: String,
        /// How.
        why: String,
    },
    /// A standard stream is a folder of the host: it would lead out of the container.
    #[error("standard stream {0} is a directory; the command in the container must not get it")]
    DirectoryStream(RawFd),
}

/// Everything that it takes to begin in a container, taken from its first process. Opened once: what happens to that
/// process later changes nothing.
#[derive(Debug)]
pub struct ContainerEntrance {
    name: String,
    first: OwnedFd,
    root: OwnedFd,
    network: Arc<File>,
    pid_namespace: PathBuf,
    /// `CLONE_NEW*` of the namespaces that are not presyn's own.
    namespaces: i32,
    rights: ProcessRights,
    /// The user that it begins as, by the host's numbers.
    host_uid: u32,
    confinement: Confinement,
    environment: Vec<(OsString, OsString)>,
}

/// The environment of a container's first process is not longer (`MAX_ARG_STRLEN` of execve(2) is 128 KiB for one).
const LONGEST_ENVIRONMENT: u64 = 2 << 20;

/// The namespaces of a process: their names in `/proc/PID/ns`, and how setns(2) calls them.
const NAMESPACES: [(&str, i32); 7] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("cgroup", libc::CLONE_NEWCGROUP),
];

impl Entrance {
    /// The network namespace, to capture in.
    pub fn network(&self) -> Netns {
        match self {
            Self::Container(container) => {
                Netns::opened(container.network.clone(), container.name.clone())
            }
            Self::Network(network) => network.netns(),
        }
    }

    /// The user that the command begins as by the host's numbers, where the entrance decides it.
    pub fn host_uid(&self) -> Option<u32> {
        match self {
            Self::Container(container) => Some(container.host_uid),
            Self::Network(_) => None,
        }
    }

    /// The container's environment for the command, with the terminal's kind.
    pub fn environment(&self, from: &[(OsString, OsString)]) -> Option<Vec<(OsString, OsString)>> {
        let Self::Container(container) = self else {
            return None;
        };
        let terminal = from.iter().filter(|(name, _)| name == "TERM").cloned();
        let own = container
            .environment
            .iter()
            .filter(|(name, _)| name != "TERM");
        Some(own.cloned().chain(terminal).collect())
    }

    /// The container, if it is one.
    pub fn container(&self) -> Option<&ContainerEntrance> {
        match self {
            Self::Container(container) => Some(container),
            Self::Network(_) => None,
        }
    }

    /// Descriptors that the child uses and closes.
    pub fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::Container(container) => {
                let mut all = vec![container.first.as_raw_fd(), container.root.as_raw_fd()];
                all.extend(container.confinement.descriptors());
                all
            }
            Self::Network(network) => vec![network.descriptor()],
        }
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(container) => f.write_str(&container.name),
            Self::Network(network) => write!(f, "{}", network.netns()),
        }
    }
}

impl ContainerEntrance {
    /// Whether a process is presyn's own child in the container. A container that may trace can write into the pipe that
    /// the child reports through, and must not name another process.
    pub fn is_own_child(&self, pid: u32) -> bool {
        let parent = task::number(pid, "PPid:");
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        parent == Some(std::process::id()) && namespace.is_ok_and(|its| its == self.pid_namespace)
    }

    /// Reads and opens what it takes to begin in a target's container. Its first process stands still for a moment where
    /// it has a seccomp filter, which is copied.
    pub fn open(target: &RunningTarget) -> Result<Self, EnterError> {
        let name = format!("container {}", target.name);
        if !geteuid().is_root() {
            return Err(EnterError::NotRoot(name));
        }
        if super::child::in_user_namespace() {
            return Err(EnterError::NotHostRoot(name));
        }
        for stream in 0..=2 {
            let path = format!("/proc/self/fd/{stream}");
            if std::fs::metadata(path).is_ok_and(|facts| facts.is_dir()) {
                return Err(EnterError::DirectoryStream(stream));
            }
        }
        let ProcessIdentity { pid, .. } = target.first;
        let failed = |what: &str, error: io::Error| EnterError::Unreadable {
            name: name.clone(),
            what: what.to_owned(),
            error,
        };
        let first = sys::pidfd_open(pid, false).map_err(|e| failed("pidfd_open", e.into()))?;
        let root = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(format!("/proc/{pid}/root"))
            .map_err(|e| failed("its root directory", e))?;
        let network = File::open(format!("/proc/{pid}/ns/net"))
            .map_err(|e| failed("its network namespace", e))?;
        let pid_namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid"))
            .map_err(|e| failed("its pid namespace", e))?;
        let namespaces = foreign_namespaces(pid).map_err(|e| failed("its namespaces", e))?;
        let (rights, host_uid) = ProcessRights::of(pid, namespaces & libc::CLONE_NEWUSER != 0)
            .map_err(|e| failed("its rights", e))?;
        let environment = environment_of(pid).map_err(|e| failed("its environment", e))?;
        let confinement = Confinement::of(pid, rights.seccomp).map_err(|why| match why {
            confinement::Unknown::Unreadable(what, error) => failed(what, error),
            confinement::Unknown::Paused => EnterError::Paused(name.clone()),
            confinement::Unknown::CannotApply(why) => EnterError::Confined {
                name: name.clone(),
                why,
            },
        })?;
        // All of it was that process's: it has been running all the time.
        if !target.first_is_running() {
            return Err(EnterError::Ended(name));
        }
        Ok(Self {
            name,
            first,
            root: root.into(),
            network: Arc::new(network),
            pid_namespace,
            namespaces,
            rights,
            host_uid,
            confinement,
            environment,
        })
    }
}

/// Which namespaces of a process are not presyn's own.
fn foreign_namespaces(pid: u32) -> io::Result<i32> {
    let mut flags = 0;
    for (name, flag) in NAMESPACES {
        let own = Path::new("/proc/self/ns").join(name);
        let its = format!("/proc/{pid}/ns/{name}");
        let its = match std::fs::read_link(its) {
            Ok(its) => its,
            // A kind of namespace that this kernel does not have.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !own.exists() => continue,
            Err(error) => return Err(error),
        };
        if std::fs::read_link(own)? != its {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// The environment of a process, as far as it looks like one: a program may write anything there.
fn environment_of(pid: u32) -> io::Result<Vec<(OsString, OsString)>> {
    let mut file = File::open(format!("/proc/{pid}/environ"))?;
    let (bytes, _) = crate::bounded::read_at_most(&mut file, LONGEST_ENVIRONMENT)?;
    let entry = |entry: &[u8]| {
        let at = entry.iter().position(|b| *b == b'=')?;
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        (!name.is_empty() && name.iter().all(plain)).then(|| {
            (
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.to_vec()),
            )
        })
    };
    Ok(bytes.split(|b| *b == 0).filter_map(entry).collect())
}

/// What a step of the child's returned.
type Done = Result<(), Failed>;

fn step(step: NamespaceStep) -> impl Fn(Errno) -> Failed {
    move |error| Failed { step, error }
}
