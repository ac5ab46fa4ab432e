//! A task that stands still. Only through [`Stopped`] can a task be read or resumed, and resuming uses it
//! up: no request is ever made of a running task.

use super::abi::Abi;
use super::memory::ProcessMemory;
use super::sys::{self, Result};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// Proof that the tracer was told of a stop of this task and has not resumed it since. (The task can
/// still be killed meanwhile: then everything answers `ESRCH`.)
#[derive(Debug)]
#[must_use = "a stopped task stands still until it is resumed"]
pub struct Stopped {
    tid: u32,
}

/// How a task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until something that the filter or job control reports.
    Event,
    /// Until its next system call begins or ends.
    Syscall,
}

/// What `PTRACE_GET_SYSCALL_INFO` tells at a stop.
#[derive(Clone, Copy, Debug)]
pub enum Info {
    /// A call begins (syscall-entry-stop or seccomp stop).
    Entry {
        /// By which calling convention; `None` when it is a foreign one.
        abi: Option<Abi>,
        /// Its number.
        number: u64,
        /// Its arguments.
        arguments: [u64; 6],
    },
    /// A call ended.
    Exit {
        /// Its result; negative error numbers for errors.
        result: i64,
    },
    /// Neither.
    None,
}

impl Stopped {
    /// Only the wait loop makes these, from a stop that `waitpid` has just reported.
    pub(super) fn new(tid: u32) -> Self {
        Self { tid }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.tid.cast_signed())
    }

    /// Which task.
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// What its system call is or was.
    pub fn info(&self) -> Result<Info> {
        // Values of `op`, from linux/ptrace.h.
        const ENTRY: u64 = 1;
        const EXIT: u64 = 2;
        const SECCOMP: u64 = 3;
        let words = sys::syscall_info(self.tid)?;
        let arch = (words[0] >> 32) & 0xffff_ffff;
        Ok(match words[0] & 0xff {
            ENTRY | SECCOMP => Info::Entry {
                abi: Abi::of(arch, words[3]),
                number: words[3],
                arguments: [words[4], words[5], words[6], words[7], words[8], words[9]],
            },
            EXIT => Info::Exit {
                result: words[3].cast_signed(),
            },
            _ => Info::None,
        })
    }

    /// The message of a ptrace event.
    pub fn event_message(&self) -> Result<u64> {
        ptrace::getevent(self.pid()).map(i64::cast_unsigned)
    }

    /// Its general registers as words of this machine. `None`: it has others (32 bits), or was killed.
    pub fn registers<const N: usize>(&self) -> Option<[u64; N]> {
        let (words, bytes) = sys::registers::<N>(self.tid).ok()?;
        (bytes == size_of_val(&words)).then_some(words)
    }

    /// Its memory, while it stands.
    pub fn memory(&self) -> ProcessMemory<'_> {
        ProcessMemory::new(self)
    }

    /// Lets it go on, delivering a signal (0: none). That it was killed meanwhile is no error: its
    /// end will be reported.
    pub fn resume(self, until: Until, signal: i32) {
        let request = match until {
            Until::Event => libc::PTRACE_CONT,
            Until::Syscall => libc::PTRACE_SYSCALL,
        };
        let result = sys::ptrace(request, self.tid, 0, signal.unsigned_abs() as usize);
        debug_assert!(matches!(result, Ok(()) | Err(Errno::ESRCH)), "{result:?}");
    }

    /// Leaves it in its group-stop, but lets it be woken by `SIGCONT` (`PTRACE_LISTEN`). `otherwise`: how it goes on where
    /// the group-stop has ended meanwhile.
    pub fn listen(self, otherwise: Until) {
        let result = sys::ptrace(libc::PTRACE_LISTEN, self.tid, 0, 0);
        // EIO: the group-stop ended meanwhile; a new stop is reported at once.
        if let Err(Errno::EIO) = result {
            self.resume(otherwise, 0);
        }
    }

    /// Traces it no longer, delivering the signal that it was about to get (0: none). In a group-stop it stays stopped.
    /// Its tracer is gone for good, so nothing more is known of it.
    pub fn detach(self, signal: i32) {
        let result = sys::ptrace(
            libc::PTRACE_DETACH,
            self.tid,
            0,
            signal.unsigned_abs() as usize,
        );
        debug_assert!(matches!(result, Ok(()) | Err(Errno::ESRCH)), "{result:?}");
    }
}
