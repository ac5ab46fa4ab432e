//! Starting a command: fork, seize, then let the child install the filter and run the program.

use super::child::{Prepared, Report, Step, Tracing};
use super::engine::Tracer;
use super::enter::Entrance;
use super::signals::Guard;
use super::status::{self, Exit, StatusChange};
use super::stop::{Stopped, Until};
use super::substitute::Substitute;
use super::sys;
use super::task;
use super::{Launch, TracerError};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid, pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Options of the seizure (ptrace(2)). No exit events: `waitpid` tells of every thread's end anyway.
const OPTIONS: Options = Options::PTRACE_O_TRACESYSGOOD
    .union(Options::PTRACE_O_TRACESECCOMP)
    .union(Options::PTRACE_O_TRACECLONE)
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACEEXEC)
    .union(Options::PTRACE_O_EXITKILL);

/// How often the tracer wakes without an event, in milliseconds.
pub(super) const TICK: i32 = 100;

fn system(what: &'static str) -> impl Fn(Errno) -> TracerError {
    move |error| TracerError::System { what, error }
}

/// The child of a command that has not begun: it holds what presyn was started with and nothing else, and waits. It
/// is forked before a capture opens, so that neither the packet socket nor its ring was ever in it.
pub struct Forked {
    launch: Launch,
    pid: u32,
    who: Who,
    go: OwnedFd,
    report: OwnedFd,
    /// It was started, or has been reaped.
    done: bool,
}

/// A child that is never started ends.
impl Drop for Forked {
    fn drop(&mut self) {
        if !self.done {
            // Other children of ours may hold the pipe for a moment: closing it is not enough.
            let _ = kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
            reap(self.pid);
        }
    }
}

impl Launch {
    /// Starts the command. It stands at its very beginning until [`Tracer::run`], which must be called in the same
    /// thread.
    pub fn start(self) -> Result<Tracer, TracerError> {
        self.fork()?.start()
    }

    fn tracing(&self) -> Tracing {
        match (self.trace, self.allow_setuid) {
            (false, _) => Tracing::Off,
            (true, false) => Tracing::On,
            (true, true) => Tracing::WithGains,
        }
    }

    /// Forks the child that will run the command.
    pub fn fork(self) -> Result<Forked, TracerError> {
        let own = geteuid().as_raw();
        if self.trace && self.allow_setuid && own != 0 {
            return Err(TracerError::SetUserIdWithoutRoot);
        }
        let program = self
            .command
            .first()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let uid = self.user.as_ref().map_or(own, |user| user.uid);
        let conf = self.resolv_conf.clone();
        let conf_name = conf.as_ref().map_or_else(String::new, |c| c.path.clone());
        let mut prepared = Prepared::new(
            &self.command,
            &self.environment,
            self.user.clone(),
            self.tracing(),
        )
        .ok_or(TracerError::NoCommand)?;
        prepared.substitute = conf.and_then(|conf| Substitute::new(conf.text));
        if let Some(entrance) = &self.enter {
            prepared.begin_in(entrance.clone(), self.tracing());
        }
        let (go_read, go) = pipe2(OFlag::O_CLOEXEC).map_err(system("pipe"))?;
        let (report, report_write) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(system("pipe"))?;
        let pid = prepared
            .fork(go_read.as_fd(), report_write.as_fd())
            .map_err(system("cannot start the command's process: fork"))?;
        let place = self.enter.as_ref().map(ToString::to_string);
        Ok(Forked {
            launch: self,
            pid,
            who: Who {
                program,
                uid,
                conf: conf_name,
                place,
            },
            go,
            report,
            done: false,
        })
    }
}

impl Forked {
    /// Seizes the child and lets it run the command, up to the command's first instruction.
    pub fn start(mut self) -> Result<Tracer, TracerError> {
        let first = self.wait_until_ready();
        let pid = self.pid;
        if first.is_none_or(|first| first.step != Step::Ready) {
            self.done = true;
            let exit = reap(pid);
            return Err(first
                .and_then(|first| explained(first, &self.who))
                .unwrap_or(TracerError::ChildEnded(exit)));
        }
        if self.launch.trace
            && let Err(error) = ptrace::seize(Pid::from_raw(pid.cast_signed()), OPTIONS)
        {
            return Err(match tracer_of(pid) {
                Some(tracer) => TracerError::AlreadyTraced { tracer },
                None => TracerError::NotPermitted(error),
            });
        }
        let guard = Guard::new(TICK).map_err(system("timer"))?;
        write(&self.go, b"!").map_err(system("pipe"))?;
        self.done = true;
        let first = if self.launch.trace {
            match until_exec(pid) {
                Ok(stop) => Some(stop),
                Err(exit) => return Err(failure(self.report.as_fd(), &self.who, exit)),
            }
        } else {
            wait_report(self.report.as_fd(), pid, &self.who)?;
            None
        };
        let no_new_privileges = reports(self.report.as_fd())
            .iter()
            .any(|report| report.step == Step::NoNewPrivileges);
        Ok(Tracer::new(
            &self.launch,
            (pid, first),
            guard,
            no_new_privileges,
        ))
    }
}

impl Forked {
    /// Until the child that will run the command is ready to be seized: its report. `None`: it ended without one. Where a
    /// container is entered, that child is not the one that was forked, and the two report in any order.
    fn wait_until_ready(&mut self) -> Option<Report> {
        let entrance = self.launch.enter.clone();
        let Some(container) = entrance.as_deref().and_then(Entrance::container) else {
            return wait_ready(self.report.as_fd());
        };
        let (mut ready, mut forked) = (None, false);
        while ready.is_none() || !forked {
            let report = wait_ready(self.report.as_fd())?;
            match report.step {
                Step::Ready => ready = Some(report),
                Step::Forked => {
                    let pid = report.number.unsigned_abs();
                    if !forked && container.is_own_child(pid) {
                        // The one that entered the container has ended, or is about to.
                        reap(self.pid);
                        self.pid = pid;
                        forked = true;
                    }
                }
                _ => return Some(report),
            }
        }
        ready
    }
}

/// Follows the child to its exec. It may get signals on the way.
fn until_exec(pid: u32) -> Result<Stopped, Exit> {
    loop {
        let (tid, status) = match sys::wait_traced() {
            Ok(changed) => changed,
            Err(Errno::EINTR) => continue,
            // Somebody else has waited for it.
            Err(_) => return Err(Exit::Code(0)),
        };
        if tid != pid {
            continue;
        }
        let stop = Stopped::new(tid);
        match status::decode(status, true) {
            StatusChange::Ended(exit) => return Err(exit),
            StatusChange::Exec => return Ok(stop),
            StatusChange::GroupStop(_) => stop.listen(Until::Event),
            StatusChange::Signal(signal) => stop.resume(Until::Event, signal),
            _ => stop.resume(Until::Event, 0),
        }
    }
}

/// Until the child is ready to be seized: its first report. `None`: it ended without one.
fn wait_ready(report: BorrowedFd<'_>) -> Option<Report> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(report, PollFlags::POLLIN)];
    while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
    let mut first = [0; Report::BYTES];
    match read(report, &mut first) {
        Ok(Report::BYTES) => Report::read(first),
        _ => None,
    }
}

/// Without tracing: the report pipe closes when the program runs, or tells what failed.
fn wait_report(report: BorrowedFd<'_>, pid: u32, who: &Who) -> Result<(), TracerError> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(report, PollFlags::POLLIN)];
    while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
    let ready = fds[0].revents().unwrap_or(PollFlags::empty());
    if !ready.contains(PollFlags::POLLIN) {
        return Ok(());
    }
    let exit = reap(pid);
    Err(failure(report, who, exit))
}

/// Waits for a child that ends by itself, or was killed.
pub(super) fn reap(pid: u32) -> Exit {
    loop {
        match waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, code)) => return Exit::Code(code),
            _ => {
                return Exit::Signal {
                    number: libc::SIGKILL,
                    core: false,
                };
            }
        }
    }
}

fn reports(pipe: BorrowedFd<'_>) -> Vec<Report> {
    let mut bytes = [0; 64];
    let got = read(pipe, &mut bytes).unwrap_or(0);
    let reports = bytes[..got].chunks_exact(Report::BYTES);
    reports
        .filter_map(|report| Report::read(report.try_into().ok()?))
        .collect()
}

/// What messages about a failed start name.
#[derive(Clone, Debug)]
struct Who {
    program: String,
    uid: u32,
    /// The file for resolv.conf.
    conf: String,
    /// Where the command begins.
    place: Option<String>,
}

fn failure(pipe: BorrowedFd<'_>, who: &Who, exit: Exit) -> TracerError {
    reports(pipe)
        .into_iter()
        .find_map(|report| explained(report, who))
        .unwrap_or(TracerError::ChildEnded(exit))
}

/// A report as an error, if it is one.
fn explained(report: Report, who: &Who) -> Option<TracerError> {
    let Who {
        program,
        uid,
        conf,
        place,
    } = who.clone();
    let error = report.error();
    Some(match report.step {
        Step::Ready | Step::Forked | Step::NoNewPrivileges => return None,
        Step::Restore => TracerError::System {
            what: "restoring the descriptors, signals and limits that presyn was started with",
            error,
        },
        Step::Enter(step) => TracerError::Enter {
            place: place.unwrap_or_default(),
            what: step.what(),
            error,
        },
        Step::Mount => TracerError::Mount { path: conf, error },
        Step::Filter => TracerError::Filter(error),
        Step::User => TracerError::User { uid, error },
        Step::Exec => TracerError::Exec {
            program,
            place,
            error,
        },
    })
}

/// Who traces a process, if anybody does.
pub fn tracer_of(pid: u32) -> Option<u32> {
    task::number(pid, "TracerPid:").filter(|tracer| *tracer != 0)
}

/// Whether a child can be seized: tried with one that only waits.
pub fn try_seize() -> sys::Result<()> {
    let command = ["/nonexistent".into()];
    let prepared = Prepared::new(&command, &[], None, Tracing::Off).ok_or(Errno::EINVAL)?;
    let (go_read, go_write) = pipe2(OFlag::O_CLOEXEC)?;
    let (report_read, report_write) = pipe2(OFlag::O_CLOEXEC)?;
    let pid = prepared.fork(go_read.as_fd(), report_write.as_fd())?;
    drop((go_read, report_write));
    wait_ready(report_read.as_fd());
    let child = Pid::from_raw(pid.cast_signed());
    let seized = ptrace::seize(child, Options::empty());
    // Refused by an other tracer or not: it has served.
    let _ = kill(child, Signal::SIGKILL);
    drop(go_write);
    reap(pid);
    seized
}
