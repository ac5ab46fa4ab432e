//! The process that was called, while the others act: what signals to it mean, which are theirs as much as its own.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

/// What the terminal sends to the whole foreground group: the command decides what it means.
const OF_TERMINAL: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP];
/// What is sent to this process, and is meant for all.
const FOR_ALL: [Signal; 2] = [Signal::SIGTERM, Signal::SIGHUP];

/// A pipe that is read while signals are taken, as long as it lives.
pub struct Waiting {
    pipe: File,
    signals: SignalFd,
    client: Pid,
    before: SigSet,
}

impl Waiting {
    /// For what the process of the client's side tells.
    pub fn new(pipe: OwnedFd, client: Pid) -> nix::Result<Self> {
        let set: SigSet = OF_TERMINAL.into_iter().chain(FOR_ALL).collect();
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        Ok(Self {
            pipe: File::from(pipe),
            signals: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            client,
            before,
        })
    }

    fn take_signals(&self) {
        while let Ok(Some(taken)) = self.signals.read_signal() {
            let number = i32::try_from(taken.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                // Who is gone already has ended.
                Ok(signal) if FOR_ALL.contains(&signal) => drop(kill(self.client, signal)),
                // As the command does.
                Ok(Signal::SIGTSTP) => drop(raise(Signal::SIGSTOP)),
                _ => {}
            }
        }
    }
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut fds = [
                PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let told = fds[0].any().unwrap_or(false);
            self.take_signals();
            if told {
                return self.pipe.read(buffer);
            }
        }
    }
}

impl Drop for Waiting {
    /// What was sent meanwhile was taken; from now on signals are this process's own again.
    fn drop(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        // The mask was valid before.
        let _ = self.before.thread_set_mask();
    }
}
