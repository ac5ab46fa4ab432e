//! The analysis process, as the tracing process sees it: made before anything else, given its files once they are
//! open, fed through a pipe, and waited for at the end. Nothing that it does or fails to do reaches the command.
#![allow(unsafe_code)] // fork, and descriptors that come by message; see each block

use super::analysis::{self, Job};
use super::{Listener, confine};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The files of a case, as far as the analysis process writes them.
#[derive(Debug)]
pub struct CaseFiles {
    /// The capture; `None` without one.
    pub packets: Option<File>,
    /// The trace and the strace log.
    pub logs: (File, File),
}

/// What the process says when it is confined and ready.
const READY: u8 = b'R';
/// Its exit status when something failed that it has reported itself.
pub const REPORTED: u8 = 1;
/// A pipe this large takes a burst without a wait (the default limit of pipe-max-size, pipe(7)).
const PIPE: i32 = 1 << 20;
/// At its end the process may be idle for so long while its output would be taken: then it hangs.
const IDLE: Duration = Duration::from_secs(10);
/// And it may take so long altogether, as long as it is busy.
const LONGEST: Duration = Duration::from_secs(600);
/// How often it is looked at, in milliseconds.
const LOOK: u16 = 50;

/// The process.
#[derive(Debug)]
pub struct Analysis {
    pid: Pid,
    /// Records go in here; the descriptor does not block.
    pipe: Option<File>,
    /// [`READY`] or what failed comes out here; its end is the process's.
    answers: File,
    /// Descriptors go in here.
    files: Option<OwnedFd>,
    /// What it asks comes out here, where processes are watched; reading it does not block.
    asks: Option<File>,
}

/// Why it could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// A system call failed.
    #[error("cannot start the analysis process: {what}: {}", .error.desc())]
    System {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        error: Errno,
    },
    /// It could not be confined.
    #[error("the analysis process cannot be confined: {0}")]
    Confine(String),
}

fn system(what: &'static str) -> impl Fn(Errno) -> AnalysisError {
    move |error| AnalysisError::System { what, error }
}

impl Analysis {
    /// Starts it. Call it before the capture is opened, while this process has one thread and no descriptor that the
    /// other must not have: it closes what it need not have, but what is mapped stays mapped.
    pub fn start(job: &Job, listener: &mut dyn Listener) -> Result<Self, AnalysisError> {
        let (records, pipe) = pipe2(OFlag::O_CLOEXEC).map_err(system("pipe"))?;
        let (answers, answer) = pipe2(OFlag::O_CLOEXEC).map_err(system("pipe"))?;
        let (files, its_files) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(system("socketpair"))?;
        let asks = job
            .watches()
            .then(|| pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK));
        let (asked, asks) = asks.transpose().map_err(system("pipe"))?.unzip();
        // A smaller pipe is slower, no more.
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE));
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() }.map_err(system("fork"))? {
            ForkResult::Child => {
                drop((pipe, answers, files, asked));
                let ends = Ends {
                    records,
                    answer: File::from(answer),
                    files: its_files,
                    asks,
                };
                child(ends, job, listener)
            }
            ForkResult::Parent { child } => {
                fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(system("fcntl"))?;
                Ok(Self {
                    pid: child,
                    pipe: Some(File::from(pipe)),
                    answers: File::from(answers),
                    files: Some(files),
                    asks: asked.map(File::from),
                })
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Gives it its files, and waits until it is confined. Until then it reads nothing.
    pub fn hand_over(&mut self, files: Option<CaseFiles>) -> Result<(), AnalysisError> {
        let Some(socket) = self.files.take() else {
            return Ok(());
        };
        let packets = files.as_ref().and_then(|f| f.packets.as_ref());
        let logs = files
            .as_ref()
            .map(|f| [f.logs.0.as_raw_fd(), f.logs.1.as_raw_fd()]);
        let descriptors: Vec<RawFd> = logs
            .into_iter()
            .flatten()
            .chain(packets.map(AsRawFd::as_raw_fd))
            .collect();
        let what = [u8::from(logs.is_some()), u8::from(packets.is_some())];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if descriptors.is_empty() {
            &[][..]
        } else {
            &rights[..]
        };
        // A reader that is gone shows below.
        let _ = sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&what)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        drop((socket, files));
        let mut answer = [0];
        // The tracer's timer interrupts a plain read.
        if self.answers.read_exact(&mut answer).is_ok() && answer[0] == READY {
            return Ok(());
        }
        let mut why = String::new();
        // What it did not say stays unsaid.
        let _ = Read::take(&mut self.answers, 1 << 10).read_to_string(&mut why);
        if why.is_empty() {
            "it ended".clone_into(&mut why);
        }
        Err(AnalysisError::Confine(why))
    }

    /// What it asks comes out here.
    pub fn asks(&mut self) -> Option<File> {
        self.asks.take()
    }

    /// Where its records go in.
    pub fn pipe(&mut self) -> Option<File> {
        self.pipe.take()
    }

    /// How it ended, if that is over and was not as it should: a line for the user.
    pub fn trouble(&self) -> Option<String> {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => None,
            Ok(status) => trouble(status),
            Err(_) => Some("the analysis process is gone".into()),
        }
    }

    /// Waits for its end, as long as it is busy or its output is not taken. Returns what the user must know.
    pub fn wait(mut self) -> Option<String> {
        drop((self.pipe.take(), self.files.take()));
        let begin = Instant::now();
        let mut busy = (begin, None);
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                Ok(status) => return trouble(status),
                // Reported before.
                Err(_) => return None,
            }
            // Its end closes the pipe that its answers come through.
            let mut fds = [PollFd::new(self.answers.as_fd(), PollFlags::empty())];
            if poll(&mut fds, PollTimeout::from(LOOK)) == Ok(1) {
                // It is all but gone.
                std::thread::sleep(Duration::from_micros(100));
            }
            let used = clock_getcpuclockid(self.pid).and_then(clock_gettime).ok();
            if used != busy.1 || output_is_full() {
                busy = (Instant::now(), used);
            }
            if busy.0.elapsed() >= IDLE || begin.elapsed() >= LONGEST {
                // Not permitted where it is another user's: it ends when it sees that this process is gone.
                let _ = kill(self.pid, Signal::SIGKILL);
                return Some("the analysis process hangs; its report is lost".into());
            }
        }
    }
}

/// Whether standard error takes nothing at the moment: a pager waits for its user.
fn output_is_full() -> bool {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(0)
}

fn trouble(status: WaitStatus) -> Option<String> {
    let how = match status {
        WaitStatus::Exited(_, code) if code == 0 || code == i32::from(REPORTED) => return None,
        WaitStatus::Exited(_, code) => format!("ended with status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
        _ => return None,
    };
    Some(format!(
        "the analysis process {how}: nothing of this run is saved or reported any more; the command is not affected"
    ))
}

/// The child's ends.
struct Ends {
    records: OwnedFd,
    answer: File,
    files: OwnedFd,
    asks: Option<OwnedFd>,
}

fn child(ends: Ends, job: &Job, listener: &mut dyn Listener) -> ! {
    // An unwinding panic must not reach the caller's frames: they are the tracing process's.
    let work = std::panic::AssertUnwindSafe(|| confined(ends, job, listener));
    let status = std::panic::catch_unwind(work).unwrap_or(101);
    std::process::exit(status.into())
}

fn confined(ends: Ends, job: &Job, listener: &mut dyn Listener) -> u8 {
    let Ends {
        records,
        mut answer,
        files,
        asks,
    } = ends;
    super::forward::leave_the_tracers_cpu();
    let mut keep = vec![
        2,
        records.as_raw_fd(),
        answer.as_raw_fd(),
        files.as_raw_fd(),
    ];
    keep.extend(asks.iter().map(AsRawFd::as_raw_fd));
    keep.extend(listener.descriptors());
    let confined = confine::give_up_rights(&keep)
        .map_err(Some)
        .and_then(|()| receive(files))
        .and_then(|files| confine::install_filter().map(|()| files).map_err(Some));
    let files = match confined {
        Ok(files) => files,
        // The tracing process could not start, and has said why.
        Err(None) => return 0,
        Err(Some(error)) => {
            let _ = answer.write_all(format!("E{}", error.desc()).as_bytes());
            return REPORTED;
        }
    };
    if answer.write_all(&[READY]).is_err() {
        return 0;
    }
    watch(answer);
    analysis::run(
        File::from(records),
        files,
        asks.map(File::from),
        job,
        listener,
    )
}

/// The files, as they come by message; `Err(None)`: none will come.
fn receive(socket: OwnedFd) -> Result<Option<CaseFiles>, Option<Errno>> {
    let mut what = [0; 2];
    let mut space = cmsg_space!([RawFd; 3]);
    let mut parts = [IoSliceMut::new(&mut what)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    if message.bytes == 0 {
        return Err(None);
    }
    let mut files = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just made these descriptors, and only this list names them.
            files.extend(
                descriptors
                    .into_iter()
                    .map(|fd| unsafe { File::from_raw_fd(fd) }),
            );
        }
    }
    drop(socket);
    let mut files = files.into_iter();
    let logs = files.next().zip(files.next());
    let packets = files.next();
    Ok(logs.map(|logs| CaseFiles { packets, logs }))
}

/// This process must not outlive the tracing one, even if it hangs: when the reader of its answers is gone, it has a
/// moment to write what it has.
fn watch(answer: File) {
    const LAST: Duration = Duration::from_secs(5);
    let watch = move || {
        loop {
            let mut fds = [PollFd::new(answer.as_fd(), PollFlags::empty())];
            if poll(&mut fds, PollTimeout::NONE) == Ok(1) {
                break;
            }
        }
        std::thread::sleep(LAST);
        std::process::exit(REPORTED.into())
    };
    // Without it the process ends with its stream, as it should anyway.
    let _ = std::thread::Builder::new().spawn(watch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};

    extern "C" fn interrupt(_: libc::c_int) {}

    /// The tracer's timer runs by then, and its handler does not restart calls.
    #[test]
    fn an_interrupted_wait_for_the_answer_goes_on() {
        let (answers, answer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (files, _its_files) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let mut analysis = Analysis {
            pid: Pid::this(),
            pipe: None,
            answers: File::from(answers),
            files: Some(files),
            asks: None,
        };
        let handler = SigHandler::Handler(interrupt);
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGUSR2, &action) }.unwrap();
        // SAFETY: returns a number.
        let waiting = unsafe { libc::pthread_self() };
        let answering = std::thread::spawn(move || {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(10));
                // SAFETY: that thread waits for this one.
                unsafe { libc::pthread_kill(waiting, libc::SIGUSR2) };
            }
            File::from(answer).write_all(&[READY]).unwrap();
        });
        let handed = analysis.hand_over(None);
        answering.join().unwrap();
        assert!(handed.is_ok(), "{handed:?}");
    }
}
