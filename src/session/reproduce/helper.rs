//! Processes of a reproduction. They end with the one that made them, however that ends.
#![allow(unsafe_code)] // fork has no safe wrapper

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

/// Forks a process that does this and ends with the status that it returns. Call it while this process has one thread.
pub fn start(work: impl FnOnce() -> i32) -> nix::Result<Pid> {
    let parent = getpid();
    // SAFETY: the process has one thread, so the child may do whatever the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = match ends_with(parent) {
                Ok(()) => work(),
                Err(_) => 1,
            };
            std::process::exit(status)
        }
    }
}

/// Lets this process end when its parent does. A change of credentials takes that back (`PR_SET_PDEATHSIG`).
pub fn ends_with(parent: Pid) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may be gone already.
    if getppid() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

/// What a terminal sends.
fn interrupts() -> SigSet {
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP]
        .into_iter()
        .collect()
}

/// Leaves Ctrl-C to the command.
pub fn leave_interrupts() -> nix::Result<()> {
    interrupts().thread_block()
}

/// Takes Ctrl-C back; one that was the command's has been heard.
pub fn take_interrupts_back(before: &SigSet) -> nix::Result<()> {
    let heard = SignalFd::with_flags(
        &interrupts(),
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?;
    while heard.read_signal()?.is_some() {}
    before.thread_set_mask()
}
