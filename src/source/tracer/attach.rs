//! Which processes that already run may be traced, and why not.

use super::launch::tracer_of;
use crate::source::target::{ProcessIdentity, RunningTarget, TargetKind};
use nix::errno::Errno;
use nix::unistd::{geteuid, gettid};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// What already runs and is to be traced.
#[derive(Debug)]
pub struct Attachment {
    /// The target, whose processes may come and go.
    pub target: Arc<RunningTarget>,
    /// Ports whose UDP and TCP sockets carry DNS.
    pub dns_ports: Vec<u16>,
}

/// A process for messages. Its name is whatever it chose: whoever shows it escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

impl Named {
    fn of(pid: u32) -> Self {
        let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        let comm = String::from_utf8_lossy(comm.trim_ascii_end()).into_owned();
        Self { pid, comm }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.pid, self.comm)
    }
}

/// Why a process cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has a tracer already.
    #[error(
        "process {process} is already traced, by process {tracer}, and a process can have only one tracer; end that tracer, \
         or attach without --calls"
    )]
    AlreadyTraced {
        /// The process.
        process: Named,
        /// Its tracer.
        tracer: Named,
    },
    /// The kernel does not permit it.
    #[error("not permitted to trace process {process}: {}; {}", .error.desc(), .why.remedy())]
    NotPermitted {
        /// The process.
        process: Named,
        /// What the kernel said.
        error: Errno,
        /// What is in the way.
        why: Obstacle,
    },
    /// presyn, or a process that started it.
    #[error(
        "process {process} is presyn itself or one that started it: presyn would stop what it waits for; attach without \
         --calls, or from elsewhere"
    )]
    Ancestor {
        /// The process.
        process: Named,
    },
    /// A thread of the kernel's.
    #[error("process {process} is a kernel thread, which has no calls to trace")]
    KernelThread {
        /// The process.
        process: Named,
    },
    /// Nothing that runs.
    #[error("the target has no process that could be traced")]
    NothingRuns,
}

/// What is in the way of tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The Yama module's `ptrace_scope` (admin-guide/LSM/Yama).
    Yama(u8),
    /// The process is another user's.
    OtherUser(u32),
    /// presyn is root without `CAP_SYS_PTRACE`.
    NoCapability,
    /// It is the same user's, and has more rights than presyn or keeps others out (`PR_SET_DUMPABLE`).
    MoreRights,
}

impl Obstacle {
    fn of(process: u32) -> Self {
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        let scope = scope.and_then(|text| text.trim().parse().ok());
        let own = geteuid().as_raw();
        let owner = fs::metadata(format!("/proc/{process}")).map(|of| of.uid());
        match (scope, owner) {
            (Some(3), _) => Self::Yama(3),
            _ if own == 0 => Self::NoCapability,
            (_, Ok(owner)) if owner != own => Self::OtherUser(owner),
            (Some(scope @ 1..), _) => Self::Yama(scope),
            _ => Self::MoreRights,
        }
    }

    fn remedy(self) -> String {
        match self {
            Self::Yama(3) => "kernel.yama.ptrace_scope is 3, which forbids all tracing: set \
                              kernel.yama.ptrace_scope=1 in /etc/sysctl.d and reboot, or attach without --calls"
                .into(),
            Self::Yama(scope) => format!(
                "kernel.yama.ptrace_scope is {scope}: use sudo, or `sudo sysctl kernel.yama.ptrace_scope=0`"
            ),
            Self::OtherUser(owner) => format!("it belongs to user {owner}: use sudo"),
            Self::NoCapability => {
                "CAP_SYS_PTRACE is missing; in a container: --cap-add SYS_PTRACE".into()
            }
            Self::MoreRights => {
                "it has rights that presyn lacks, or keeps its user out (PR_SET_DUMPABLE): use sudo"
                    .into()
            }
        }
    }
}

impl Attachment {
    /// Whether all processes of the target may be traced: nothing is stopped for that.
    pub fn check(&self) -> Result<(), Refusal> {
        let processes = self.processes();
        let starters = starters();
        for process in &processes {
            let named = || Named::of(*process);
            if starters.contains(process) {
                return Err(Refusal::Ancestor { process: named() });
            }
            if ProcessIdentity::is_kernel_thread(*process) {
                return Err(Refusal::KernelThread { process: named() });
            }
            for tid in Self::threads(*process) {
                not_traced(*process, tid)?;
            }
            may_attach(*process)?;
        }
        if processes.is_empty() {
            return Err(Refusal::NothingRuns);
        }
        Ok(())
    }

    /// The target's processes as they are now.
    pub(super) fn processes(&self) -> Vec<u32> {
        self.target.processes()
    }

    /// Whether processes may join it that none of its own starts. (To look through all of `/proc` takes milliseconds, in
    /// which nobody is resumed.)
    pub(super) fn may_grow(&self) -> bool {
        self.target.kind != TargetKind::Processes
    }

    /// The threads of a process that runs.
    pub(super) fn threads(process: u32) -> Vec<u32> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
            return Vec::new();
        };
        tasks
            .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// Whether a thread has ended, waited for or not.
    pub(super) fn has_ended(tid: u32) -> bool {
        !ProcessIdentity::has_running_thread(tid)
    }

    /// What a refused seizure means: a thread that has ended, or that the kernel has given to this tracer with its
    /// parent's call, is none.
    pub(super) fn not_seized(process: u32, tid: u32, error: Errno) -> Result<(), Refusal> {
        if error == Errno::ESRCH
            || Self::has_ended(tid)
            || tracer_of(tid) == Some(gettid().as_raw().unsigned_abs())
        {
            return Ok(());
        }
        not_traced(process, tid)?;
        Err(Refusal::NotPermitted {
            process: Named::of(process),
            error,
            why: Obstacle::of(process),
        })
    }
}

fn not_traced(process: u32, tid: u32) -> Result<(), Refusal> {
    match tracer_of(tid) {
        Some(tracer) => Err(Refusal::AlreadyTraced {
            process: Named::of(process),
            tracer: Named::of(tracer),
        }),
        None => Ok(()),
    }
}

/// Asks whether ptrace(2) would be permitted, without it: to open a process's memory takes the same right
/// (`PTRACE_MODE_ATTACH`), Yama's and the capabilities' part of it included.
fn may_attach(process: u32) -> Result<(), Refusal> {
    let error = match fs::File::open(format!("/proc/{process}/mem")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        // It has ended meanwhile, or has no memory any more.
        Ok(_) | Err(_) => return Ok(()),
    };
    Err(Refusal::NotPermitted {
        process: Named::of(process),
        error: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        why: Obstacle::of(process),
    })
}

/// presyn and the processes that started it, from the nearest on.
fn starters() -> Vec<u32> {
    let mut starters = vec![std::process::id()];
    while let Some(parent) = starters
        .last()
        .and_then(|last| super::task::number(*last, "PPid:"))
        .filter(|parent| *parent != 0 && !starters.contains(parent))
    {
        starters.push(parent);
    }
    starters
}
