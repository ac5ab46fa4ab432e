//! Who the command runs as, and which rights presyn keeps while it runs.

use crate::user::User;
use crate::user::capabilities::{self, Capabilities};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{self, Gid, Uid};
use std::fmt;

/// What presyn needs of its rights once the command is seized and the capture is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: no call is traced.
    Nothing,
    /// To trace what the command's user may trace.
    Trace,
    /// To trace programs that gain rights by their set-user-ID bit or file capabilities. Their tracer must be out of
    /// their user's reach: whoever writes its memory writes theirs.
    TraceGains,
    /// To look at other users' processes: their descriptors and the calls in which their threads wait.
    Watch,
}

/// What presyn kept of its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetainedRights {
    /// It had none to give up.
    NothingToGiveUp,
    /// It has become this user, without any capability.
    BecameUser(String),
    /// Root's user number, `CAP_SYS_PTRACE` and `CAP_SYS_NICE`, because this user runs programs that gain rights.
    Root(String),
    /// Only `CAP_SYS_PTRACE`, to go on reading the command's calls, and `CAP_SYS_NICE`, to share a CPU with it.
    PtraceAndNice,
    /// Only `CAP_SYS_PTRACE` and `CAP_DAC_READ_SEARCH`, to look at the watched processes.
    PtraceAndSearch,
    /// No capability at all.
    None,
}

impl fmt::Display for RetainedRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToGiveUp => f.write_str("ran unprivileged"),
            Self::BecameUser(name) => write!(f, "gave up root and became {name}"),
            Self::Root(name) => write!(
                f,
                "stayed root with CAP_SYS_PTRACE and CAP_SYS_NICE, because --allow-setuid lets {name}'s command gain rights"
            ),
            Self::PtraceAndNice => {
                f.write_str("retained CAP_SYS_PTRACE and CAP_SYS_NICE, gave up everything else")
            }
            Self::PtraceAndSearch => f.write_str(
                "retained CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, gave up everything else",
            ),
            Self::None => f.write_str("gave up all capabilities"),
        }
    }
}

/// `CAP_SYS_PTRACE`, `CAP_SYS_NICE`, `CAP_DAC_READ_SEARCH` and `CAP_NET_RAW` (linux/capability.h).
const SYS_PTRACE: u64 = 1 << 19;
/// Without it nobody may move a task that has more capabilities (`cap_task_setscheduler`), as root's command
/// has once presyn has given up its own: then tracer and task cannot share a CPU, and every stop costs 170 µs.
const SYS_NICE: u64 = 1 << 23;
/// `/proc/PID/fd` is its owner's alone.
const DAC_READ_SEARCH: u64 = 1 << 2;
const NET_RAW: u64 = 1 << 13;

/// Puts presyn out of the reach of other processes of its user: no ptrace(2), no `/proc/PID/mem`, no `pidfd_getfd(2)`
/// (`PR_SET_DUMPABLE` of prctl(2)). presyn holds what that user must not have, a packet socket first of all, and may be
/// the tracer of programs with more rights. A change of user changes this state, so [`give_up`] calls it again.
///
/// What it forks inherits it.
pub fn harden() -> Result<(), Errno> {
    prctl::set_dumpable(false)
}

/// Raises presyn's own soft limit of open descriptors to the hard one: it holds one for each traced thread. The command
/// gets the limit that presyn was started with. Returns the limit now.
pub fn raise_descriptor_limit() -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Gives up what is no longer needed, once the capture is open and the command is seized. Call it before the first packet
/// is read and before any thread is started: the kernel keeps capabilities by thread.
///
/// `command` is who the command runs as, if not presyn's own user.
pub fn give_up(command: Option<&User>, needs: Needs) -> Result<RetainedRights, Errno> {
    harden()?;
    let now = capabilities::capabilities()?;
    if now.permitted == 0 {
        return Ok(RetainedRights::NothingToGiveUp);
    }
    let other = command.filter(|user| user.uid != 0 && unistd::geteuid().is_root());
    if let Some(user) = other
        && needs != Needs::TraceGains
    {
        let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        unistd::setgroups(&groups)?;
        unistd::setresgid(gid, gid, gid)?;
        unistd::setresuid(uid, uid, uid)?;
        // The kernel has set it to fs.suid_dumpable.
        harden()?;
        return Ok(RetainedRights::BecameUser(user.name.clone()));
    }
    let keep = match needs {
        Needs::Nothing => 0,
        Needs::Trace | Needs::TraceGains => now.permitted & (SYS_PTRACE | SYS_NICE),
        Needs::Watch => now.permitted & (SYS_PTRACE | DAC_READ_SEARCH),
    };
    capabilities::set_capabilities(Capabilities {
        effective: keep,
        // An ambient capability is the command's too, and a task with more than its tracer cannot be looked into.
        permitted: keep | now.permitted & capabilities::ambient_capabilities(),
        inheritable: 0,
    })?;
    Ok(match other {
        Some(user) => RetainedRights::Root(user.name.clone()),
        None if keep == 0 => RetainedRights::None,
        None if needs == Needs::Watch => RetainedRights::PtraceAndSearch,
        None => RetainedRights::PtraceAndNice,
    })
}

/// Whether this thread may capture.
pub fn may_capture() -> bool {
    capabilities::capabilities().is_ok_and(|now| now.effective & NET_RAW != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_given_up_are_gone() {
        if capabilities::capabilities().unwrap().permitted & SYS_PTRACE == 0 {
            let said = "SKIPPED: no CAP_SYS_PTRACE to keep\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return;
        }
        // In a thread: the rights are the thread's own.
        let after = std::thread::spawn(|| {
            let kept = give_up(None, Needs::Trace).unwrap();
            (
                kept,
                capabilities::capabilities().unwrap().permitted,
                may_capture(),
            )
        });
        assert_eq!(
            after.join().unwrap(),
            (RetainedRights::PtraceAndNice, SYS_PTRACE | SYS_NICE, false)
        );
    }
}
