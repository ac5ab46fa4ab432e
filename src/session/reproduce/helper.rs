//! Processes of a reproduction. They end with the one that made them, however that ends: by a signal at its death, and, since
//! the kernel lets one that gave up its rights send none to those that kept theirs, by the end of a pipe to it.
#![allow(unsafe_code)] // fork has no safe wrapper

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use std::io;
use std::os::unix::net::UnixStream;

/// This process's end of a pipe to a helper, until it has been forked.
pub struct Ours(Option<UnixStream>);

/// A pipe to a helper that is to be forked: this process's end, and its.
pub fn ends() -> io::Result<(Ours, UnixStream)> {
    let (ours, its) = UnixStream::pair()?;
    Ok((Ours(Some(ours)), its))
}

impl Ours {
    /// In the helper: who holds this end open, too, never hears that the other has ended.
    pub fn leave_to_other(&mut self) {
        self.0 = None;
    }

    /// In the process that forked it.
    pub fn ours(self) -> io::Result<UnixStream> {
        self.0.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// In a helper: waits until the other end of its pipe is gone, and returns the status to end with.
pub fn until_left(pipe: &mut UnixStream) -> i32 {
    match io::copy(pipe, &mut io::sink()) {
        Ok(_) => 0,
        Err(_) => 1,
    }
}

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

/// Leaves Ctrl-C to the command.
pub fn leave_interrupts() -> nix::Result<()> {
    let interrupts: SigSet = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP]
        .into_iter()
        .collect();
    interrupts.thread_block()
}
