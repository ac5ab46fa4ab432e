//! What already runs, traced from now on and let go at the end: every thread of it is seized, no filter is installed, and
//! nothing stays in it when presyn is gone, however presyn ends.

use super::{Tracer, now, pid};
use crate::source::tracer::attach::{Attachment, Refusal};
use crate::source::tracer::signals::Guard;
use crate::source::tracer::status::{self, StatusChange};
use crate::source::tracer::stop::Stopped;
use crate::source::tracer::task::Traced;
use crate::source::tracer::{Next, Observer, TICK, TracerError, sys};
use crate::time::{Span, Timestamp};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Options of the seizure (ptrace(2)). Without `PTRACE_O_EXITKILL`: the target outlives presyn.
const OPTIONS: Options = Options::PTRACE_O_TRACESYSGOOD
    .union(Options::PTRACE_O_TRACECLONE)
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACEEXEC);
/// How often it is seen whether processes have joined the target that no traced one started.
const JOINED: Span = Span::seconds(1);
/// Threads are waited for so long at the end. One in an uninterruptible call stops when that returns.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Why the tracing of what already ran has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Ctrl-C, `SIGTERM` or `SIGHUP`.
    Signal,
    /// The observer has seen enough.
    Observer,
    /// No task of it is left.
    TargetEnded,
}

/// How the tracing of what already ran has ended.
#[derive(Debug)]
pub struct Detached {
    /// Why.
    pub why: EndReason,
    /// When: from here on threads ran untraced again, one after the other.
    pub at: Timestamp,
    /// The first process that joined the target later and could not be seized.
    pub refused: Option<Refusal>,
    /// Threads that did not stop in time, and are traced until presyn ends.
    pub left: Vec<u32>,
    /// How often a process or socket could not be looked at because presyn had no file descriptor left.
    pub failed_looks: u64,
}

impl Attachment {
    /// Seizes everything, traces it until a signal, the observer or the target ends that, and lets it go again, also where
    /// something fails.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Detached, TracerError> {
        let guard = Guard::new(TICK).map_err(|error| TracerError::System {
            what: "timer",
            error,
        })?;
        let tracer = Tracer::of_running(self.dns_ports.clone(), guard);
        let mut running = RunningTracer {
            target: self,
            tracer,
            looked: now(),
            refused: None,
            detached: false,
        };
        running.seize_all()?;
        let why = running.follow(observer)?;
        let at = now();
        let left = running.detach_all();
        running.tracer.end_open_calls(at, observer);
        Ok(Detached {
            why,
            at,
            refused: running.refused.take(),
            left,
            failed_looks: running.tracer.sockets.failed_looks(),
        })
    }
}

/// A tracer of what already ran.
struct RunningTracer {
    target: Attachment,
    tracer: Tracer,
    /// When it was last seen whether processes have joined.
    looked: Timestamp,
    refused: Option<Refusal>,
    detached: bool,
}

/// An error on the way, or a panic: what is traced must not stop for ever.
impl Drop for RunningTracer {
    fn drop(&mut self) {
        if !self.detached {
            self.detach_all();
        }
    }
}

impl RunningTracer {
    /// Until no new thread is found: what a seized thread starts is traced from its beginning, what others start is not.
    fn seize_all(&mut self) -> Result<(), Refusal> {
        while self.seize_new()? {}
        Ok(())
    }

    /// Seizes all threads that are not traced yet. Returns whether there were any.
    fn seize_new(&mut self) -> Result<bool, Refusal> {
        let mut any = false;
        for process in self.target.processes() {
            for tid in Attachment::threads(process) {
                if self.tracer.tasks.contains_key(&tid) {
                    continue;
                }
                match ptrace::seize(pid(tid), OPTIONS) {
                    Ok(()) => {
                        let task = Traced::new(tid, &mut self.tracer.sockets);
                        self.tracer.tasks.insert(tid, task);
                        any = true;
                        // It has ended: that will be reported.
                        let _ = ptrace::interrupt(pid(tid));
                    }
                    Err(error) => Attachment::not_seized(process, tid, error)?,
                }
            }
        }
        Ok(any)
    }

    fn follow(&mut self, observer: &mut dyn Observer) -> Result<EndReason, TracerError> {
        while let Some(next) = self.tracer.advance(observer)? {
            if next == Next::Stop {
                return Ok(if self.tracer.is_told_to_end() {
                    EndReason::Signal
                } else {
                    EndReason::Observer
                });
            }
            if self.target.may_grow() && (now() - self.looked).abs() >= JOINED {
                self.looked = now();
                if let Err(refusal) = self.seize_all() {
                    self.refused.get_or_insert(refusal);
                }
            }
        }
        Ok(EndReason::TargetEnded)
    }

    /// Lets everything go on untraced, at whatever stop it comes to next. Returns what came to none.
    ///
    /// New threads of the last moment are traced too, and stop at their beginning: that no traced task is left (`ECHILD`)
    /// is the end, unless what is left has ended and is not to be waited for: a process whose first thread ended before
    /// the others stays a zombie, which cannot be detached from.
    fn detach_all(&mut self) -> Vec<u32> {
        self.detached = true;
        let mut left: HashSet<u32> = self.tracer.tasks.keys().copied().collect();
        for (tid, (stop, _)) in self.tracer.early.drain() {
            left.remove(&tid);
            stop.detach(0);
        }
        for tid in &left {
            // It has ended: that will be reported.
            let _ = ptrace::interrupt(pid(*tid));
        }
        let begin = Instant::now();
        let mut quiet = 0;
        while begin.elapsed() < LAST_WAIT && quiet < 2 {
            match sys::wait_traced() {
                Ok((tid, status)) => {
                    quiet = 0;
                    left.remove(&tid);
                    detach_at(tid, status, &mut left);
                }
                Err(Errno::EINTR) => {
                    let ended = left.iter().all(|tid| Attachment::has_ended(*tid));
                    quiet += u32::from(ended);
                }
                Err(_) => return Vec::new(),
            }
        }
        left.retain(|tid| !Attachment::has_ended(*tid));
        left.into_iter().collect()
    }
}

/// Detaches from a task at its stop, with the signal that it was about to get.
fn detach_at(tid: u32, status: i32, left: &mut HashSet<u32>) {
    let change = status::decode(status, true);
    if let StatusChange::Ended(_) = change {
        return;
    }
    let stop = Stopped::new(tid);
    if change == StatusChange::Exec {
        // The thread that called exec has its process's number now.
        let before = stop.event_message().ok();
        let before = before.and_then(|old| u32::try_from(old).ok());
        left.remove(&before.unwrap_or(tid));
    }
    match change {
        StatusChange::Signal(signal) => stop.detach(signal),
        _ => stop.detach(0),
    }
}
