//! Live tracing: launches a command under ptrace and a seccomp filter, or attaches to what already runs, and turns its
//! network calls into events.
//!
//! The rules of ptrace(2) that shape it: a task is seized, so that group-stops are told apart from signals; only the
//! thread that seized it may make requests, so a [`Tracer`] stays in one thread; only a stopped task can be asked
//! (`stop::Stopped`). A command lives and dies with its tracer (`PTRACE_O_EXITKILL`): without one, its filter would fail
//! every connect with `ENOSYS`. What already ran ([`Attachment`]) has no filter and outlives its tracer; so each of its
//! calls stops.

mod abi;
mod arguments;
mod attach;
mod call;
mod child;
mod engine;
mod enter;
mod file_rights;
mod filter;
mod gains;
mod launch;
mod memory;
mod mount;
mod pin;
mod signals;
mod snapshot;
mod socket;
mod stack;
mod status;
mod stop;
mod substitute;
pub(crate) mod sys;
mod task;
mod unfollowed;
mod waiter;
mod watch;

use crate::event::{Event, FdNote, Op, Task};
use crate::flow::NAME_SERVICE_PORTS;
use crate::source::capture::Netns;
use crate::time::Timestamp;
use crate::user::User;
pub use attach::{Attachment, Named, Obstacle, Refusal};
pub use engine::Tracer;
pub use engine::attached::{Detached, EndReason};
pub use enter::sealed::{advice as sealed_advice, become_sealed};
pub use enter::{ContainerEntrance, EnterError, Entrance, NetworkEntrance};
pub(in crate::source) use file_rights::file_capabilities;
pub use gains::Gains;
use launch::TICK;
pub use launch::{Forked, tracer_of, try_seize};
use nix::errno::Errno;
pub use signals::{end_like, survive_file_size_limit};
pub use status::{Exit, signal_name};
use std::ffi::OsString;
use std::sync::Arc;
pub use substitute::{LONGEST as LONGEST_RESOLV_CONF, SubstituteFile};

/// Whether presyn was started with this descriptor open: Rust's runtime opens `/dev/null` on closed ones.
pub fn started_with(descriptor: std::os::fd::RawFd) -> bool {
    snapshot::Snapshot::at_start().had(descriptor)
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program and its arguments; the program is looked for in `PATH`.
    pub command: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Who it runs as; `None`: as presyn does.
    pub user: Option<User>,
    /// Trace it. Without, only its end is told.
    pub trace: bool,
    /// Set-user-ID programs and those with file capabilities gain rights below the command, although it is traced and
    /// its user is not root: the tracer has to stay root ([`privilege::Needs`]).
    ///
    /// [`privilege::Needs`]: crate::source::privilege::Needs
    pub allow_setuid: bool,
    /// A file that the command is to see as `/etc/resolv.conf`.
    pub resolv_conf: Option<SubstituteFile>,
    /// Where the command begins, if not where presyn is: in a container, whose user it has then, or in a network
    /// namespace.
    pub enter: Option<Arc<Entrance>>,
    /// Put fast-stopping tasks on the tracer's CPU.
    pub pin: bool,
    /// Ports whose UDP and TCP sockets carry DNS.
    pub dns_ports: Vec<u16>,
    /// Tell the user-space stacks of calls that ask or connect.
    pub stacks: bool,
    /// Do as on kernels before 6.9, which have no pidfds of threads.
    pub leader_pidfds_only: bool,
}

impl Launch {
    /// The usual way to run a command.
    pub fn new(command: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> Self {
        Self {
            command,
            environment,
            user: None,
            trace: true,
            allow_setuid: false,
            resolv_conf: None,
            enter: None,
            pin: true,
            dns_ports: NAME_SERVICE_PORTS.to_vec(),
            stacks: false,
            leader_pidfds_only: false,
        }
    }

    /// The command begins elsewhere; in a container with that container's environment.
    pub fn begin_in(&mut self, entrance: Option<Arc<Entrance>>) {
        let inside = entrance
            .as_ref()
            .and_then(|e| e.environment(&self.environment));
        if let Some(environment) = inside {
            self.environment = environment;
        }
        self.enter = entrance;
    }

    /// The network namespace that it begins in, where it is another than presyn's.
    pub fn network(&self) -> Option<Netns> {
        self.enter.as_ref().map(|entrance| entrance.network())
    }

    /// The user that presyn may become as well, while it traces: the command's, but no user of a container's.
    pub fn traced_user(&self) -> Option<&User> {
        let in_container = self.enter.as_ref().is_some_and(|e| e.host_uid().is_some());
        self.user.as_ref().filter(|_| !in_container)
    }

    /// The number of the user that the command begins as.
    pub fn uid(&self) -> u32 {
        let entered = self.enter.as_ref().and_then(|e| e.host_uid());
        let user = self.user.as_ref().map(|user| user.uid);
        entered
            .or(user)
            .unwrap_or_else(|| nix::unistd::geteuid().as_raw())
    }
}

/// Who listens to a tracer. All methods are called in the tracer's thread, while tasks may wait: be quick.
pub trait Observer {
    /// Something happened: a call that returned, a task that was born or died. In the order in which they were
    /// *complete*; `at` of a call is when it began.
    fn event(&mut self, event: Event);

    /// A program was executed that did not get the rights which its file grants, because of
    /// [`Tracer::no_new_privileges`]. Reported once.
    fn withheld(&mut self, _task: &Task, _gains: Gains) {}

    /// Some ten times a second: time to tell what is waited for.
    fn tick(&mut self, _tick: &Tick) -> Next {
        Next::Continue
    }

    /// The command itself has ended. Others that it started may live on and stay traced.
    fn root_ended(&mut self, _exit: Exit, _survivors: &[Task]) -> Next {
        Next::Continue
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Continue,
    /// Kill what still runs and end.
    Stop,
}

/// The state of the run between events.
#[derive(Debug)]
pub struct Tick {
    /// When.
    pub now: Timestamp,
    /// Calls that have begun and not returned, oldest first.
    pub open: Vec<OpenCall>,
    /// How often Ctrl-C came so far. The command got it too, if it is in the foreground group.
    pub interrupts: u32,
}

/// A call that has not returned.
#[derive(Clone, Debug)]
pub struct OpenCall {
    /// Who waits.
    pub task: Task,
    /// Since when.
    pub since: Timestamp,
    /// For what. The descriptor's note has the local end where the kernel could be asked.
    pub op: Op,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// How the command itself ended.
    pub exit: Exit,
    /// When.
    pub at: Timestamp,
    /// Processes that still ran when presyn stopped, and were killed.
    pub killed: Vec<Task>,
    /// How often a process or socket could not be looked at because presyn had no file descriptor left (`EMFILE`,
    /// `ENFILE`).
    pub failed_looks: u64,
}

/// Why a command could not be run or traced.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// Nothing to run.
    #[error("no command given (or one with a NUL byte in it)")]
    NoCommand,
    /// The program is not there, or may not be run.
    #[error("cannot run '{program}'{}: {}", within(.place.as_deref()), .error.desc())]
    Exec {
        /// Its name as given.
        program: String,
        /// The container or the namespace that it was to begin in.
        place: Option<String>,
        /// What the kernel said.
        error: Errno,
    },
    /// presyn is traced itself, and its tracer has the child already.
    #[error(
        "presyn is itself traced, by process {tracer}, and a process can have only one tracer; run it untraced, or use --no-trace"
    )]
    AlreadyTraced {
        /// The other tracer.
        tracer: u32,
    },
    /// ptrace is not permitted.
    #[error("not permitted to trace: {}; `presyn check` shows why", .0.desc())]
    NotPermitted(Errno),
    /// `--allow-setuid` by an ordinary user.
    #[error(
        "--allow-setuid takes root: only root may trace a program that gains rights; use sudo, or --no-trace, which leaves such programs alone"
    )]
    SetUserIdWithoutRoot,
    /// The seccomp filter was refused.
    #[error("cannot install the seccomp filter: {}; `presyn check` shows why", .0.desc())]
    Filter(Errno),
    /// The user could not be changed.
    #[error("cannot become user {uid}: {}", .error.desc())]
    User {
        /// The user's number.
        uid: u32,
        /// What the kernel said.
        error: Errno,
    },
    /// The file that is to stand for resolv.conf cannot be put in place.
    #[error(
        "cannot put {path} in the place of /etc/resolv.conf: {}; that takes root (CAP_SYS_ADMIN) or user namespaces", .error.desc()
    )]
    Mount {
        /// The file.
        path: String,
        /// What the kernel said.
        error: Errno,
    },
    /// The container or the namespace cannot be entered.
    #[error("cannot start the command in {place}: {what}: {}", .error.desc())]
    Enter {
        /// Which.
        place: String,
        /// What could not be done.
        what: &'static str,
        /// What the kernel said.
        error: Errno,
    },
    /// The child ended before it ran the command.
    #[error("the child process ended before it ran the command ({0:?})")]
    ChildEnded(Exit),
    /// What already runs may not be traced.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A system call failed that should not.
    #[error("{what}: {}", .error.desc())]
    System {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        error: Errno,
    },
}

impl TracerError {
    /// The exit status that env(1) has for this: 127 not found, 126 not runnable, else 125.
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::Exec {
                error: Errno::ENOENT | Errno::ENOTDIR,
                ..
            } => 127,
            Self::Exec { .. } => 126,
            _ => 125,
        }
    }
}

fn within(place: Option<&str>) -> String {
    place.map_or_else(String::new, |place| format!(" in {place}"))
}

/// What a look at a running task's socket gave; kept until its call returns.
type SocketSight = Option<FdNote>;
