//! What `waitpid` says about a traced task. Decoded by hand, because nix refuses real-time signals and
//! loses the task with them.

use super::sys::EVENT_STOP;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal {
        /// Its number.
        number: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

impl Exit {
    /// The status a shell would show: 128 + signal for a death by signal.
    pub fn shell_status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal { number, .. } => 128 + number,
        }
    }
}

/// A change of state of a task (ptrace(2), "Stopped states").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// It is gone.
    Ended(Exit),
    /// Syscall-entry-stop or syscall-exit-stop (`PTRACE_O_TRACESYSGOOD`).
    Syscall,
    /// A seccomp filter said `SECCOMP_RET_TRACE`.
    Seccomp,
    /// `clone`, `fork` or `vfork` made a child; the event message is its tid.
    Cloned,
    /// A new program runs; the event message is the tid it had before.
    Exec,
    /// Stopped by job control with this signal; stays stopped until `SIGCONT`.
    GroupStop(i32),
    /// The first stop of an automatically attached task, `PTRACE_INTERRUPT`, or the end of a group-stop.
    Trap,
    /// About to get this signal.
    Signal(i32),
    /// Another ptrace event.
    Other(i32),
    /// An untraced child was continued.
    Continued,
}

/// Decodes the status word of `waitpid(2)`. `traced` tells apart a group-stop of an untraced child.
pub fn decode(status: i32, traced: bool) -> StatusChange {
    if libc::WIFEXITED(status) {
        return StatusChange::Ended(Exit::Code(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        return StatusChange::Ended(Exit::Signal {
            number: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        });
    }
    if libc::WIFCONTINUED(status) {
        return StatusChange::Continued;
    }
    let (signal, event) = (status >> 8 & 0xff, status >> 16);
    if !traced {
        return StatusChange::GroupStop(signal);
    }
    match (event, signal) {
        (0, s) if s == libc::SIGTRAP | 0x80 => StatusChange::Syscall,
        (0, s) => StatusChange::Signal(s),
        (libc::PTRACE_EVENT_SECCOMP, _) => StatusChange::Seccomp,
        (libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK, _) => {
            StatusChange::Cloned
        }
        (libc::PTRACE_EVENT_EXEC, _) => StatusChange::Exec,
        (EVENT_STOP, libc::SIGTRAP) => StatusChange::Trap,
        (EVENT_STOP, s) => StatusChange::GroupStop(s),
        (other, _) => StatusChange::Other(other),
    }
}

/// The name of a signal; real-time signals are counted from `SIGRTMIN` as the kernel does (32).
pub fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if (32..=64).contains(&number) => format!("SIGRT_{}", number - 32),
        Err(_) => format!("SIG{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_stop_is_told_apart() {
        let stopped = |signal: i32, event: i32| 0x7f | signal << 8 | event << 16;
        for (status, expected) in [
            (42 << 8, StatusChange::Ended(Exit::Code(42))),
            (
                libc::SIGSEGV | 0x80,
                StatusChange::Ended(Exit::Signal {
                    number: libc::SIGSEGV,
                    core: true,
                }),
            ),
            (stopped(libc::SIGTRAP | 0x80, 0), StatusChange::Syscall),
            (
                stopped(libc::SIGTRAP, 0),
                StatusChange::Signal(libc::SIGTRAP),
            ),
            (stopped(37, 0), StatusChange::Signal(37)),
            (stopped(libc::SIGTRAP, 7), StatusChange::Seccomp),
            (stopped(libc::SIGTRAP, 3), StatusChange::Cloned),
            (stopped(libc::SIGTRAP, 4), StatusChange::Exec),
            (stopped(libc::SIGTRAP, 128), StatusChange::Trap),
            (
                stopped(libc::SIGSTOP, 128),
                StatusChange::GroupStop(libc::SIGSTOP),
            ),
            (
                stopped(libc::SIGSTOP, 0),
                StatusChange::Signal(libc::SIGSTOP),
            ),
        ] {
            assert_eq!(decode(status, true), expected, "{status:#x}");
        }
        assert_eq!(
            decode(stopped(libc::SIGTSTP, 0), false),
            StatusChange::GroupStop(libc::SIGTSTP)
        );
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(34), "SIGRT_2");
    }
}
