//! The loop: wait for a stop, see what it is, resume.

pub(super) mod attached;
mod lifecycle;
mod tick;

use super::call::{Pending, SyscallContext, SyscallEntry, goes_on};
use super::launch::{TICK, reap};
use super::pin::Pins;
use super::signals::{self, Guard};
use super::socket::SeenSockets;
use super::stack::StackWalker;
use super::status::{self, Exit, StatusChange};
use super::stop::{Info, Stopped, Until};
use super::task::Traced;
use super::unfollowed::{Sighting, UnfollowedSockets};
use super::{Ended, Launch, Next, Observer, SocketSight, TracerError, sys};
use crate::event::{self, Call, CallOutcome, Event, EventKind, Lifecycle, Location};
use crate::source::host::Views;
use crate::time::{Span, Timestamp};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A launched command, or what already ran, and everything it starts.
#[derive(Debug)]
pub struct Tracer {
    /// The command; `None` where what already ran is traced.
    root: Option<u32>,
    traced: bool,
    /// How tasks run that nothing is awaited of: where a filter reports what matters, to its report; where none does, to
    /// the next call.
    idle: Until,
    ports: Vec<u16>,
    tasks: HashMap<u32, Traced>,
    /// New tasks that stopped before their parent's stop told of them.
    early: HashMap<u32, (Stopped, Timestamp)>,
    /// Tasks that ended before their parent's stop told of them.
    gone: Vec<(u32, event::LifecycleChange)>,
    /// The command at its beginning.
    first: Option<Stopped>,
    number: u64,
    sockets: SeenSockets,
    unfollowed: UnfollowedSockets,
    pins: Pins,
    /// What the processes see of resolv.conf and its like.
    views: Views,
    /// With `--stacks` only.
    stacks: Option<Box<StackWalker>>,
    /// What was seen of sockets in calls that have not returned.
    seen: HashMap<u32, SocketSight>,
    exit: Option<(Exit, Timestamp)>,
    last_tick: Timestamp,
    root_stopped: bool,
    interrupts: u32,
    ends: u32,
    passed_on: bool,
    no_new_privileges: bool,
    /// Gains that were withheld have been reported.
    withheld: bool,
    _guard: Guard,
}

/// A command that was started and never run must not stand still for ever.
impl Drop for Tracer {
    fn drop(&mut self) {
        if let (Some(root), Some(_)) = (self.root, &self.first) {
            let _ = kill(pid(root), Signal::SIGKILL);
            reap(root);
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(Timestamp(0), |d| {
        Timestamp(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    })
}

fn pid(tid: u32) -> Pid {
    Pid::from_raw(tid.cast_signed())
}

impl Tracer {
    /// Of a command that stands at its beginning; `None`: it runs already, untraced.
    pub(super) fn new(
        launch: &Launch,
        (root, first): (u32, Option<Stopped>),
        guard: Guard,
        no_new_privileges: bool,
    ) -> Self {
        let mut tracer = Self::without_tasks(launch, guard);
        tracer.root = Some(root);
        let task = Traced::new(root, &mut tracer.sockets);
        tracer.tasks.insert(root, task);
        (tracer.first, tracer.no_new_privileges) = (first, no_new_privileges);
        tracer
    }

    /// Of what already runs. Its tasks have no filter of presyn's, and their CPUs are their own.
    pub(super) fn of_running(dns_ports: Vec<u16>, guard: Guard) -> Self {
        let mut launch = Launch::new(Vec::new(), Vec::new());
        (launch.dns_ports, launch.pin) = (dns_ports, false);
        let mut tracer = Self::without_tasks(&launch, guard);
        tracer.idle = Until::Syscall;
        tracer
    }

    fn without_tasks(launch: &Launch, guard: Guard) -> Self {
        let sockets = SeenSockets::new(launch.leader_pidfds_only);
        Self {
            root: None,
            traced: launch.trace,
            idle: Until::Event,
            ports: launch.dns_ports.clone(),
            tasks: HashMap::new(),
            early: HashMap::new(),
            gone: Vec::new(),
            first: None,
            number: 0,
            sockets,
            unfollowed: UnfollowedSockets::default(),
            pins: Pins::new(launch.pin),
            views: Views::default(),
            stacks: launch.stacks.then(|| Box::new(StackWalker::new())),
            seen: HashMap::new(),
            exit: None,
            last_tick: now(),
            root_stopped: false,
            interrupts: signals::interrupts(),
            ends: signals::ends(),
            passed_on: false,
            no_new_privileges: false,
            withheld: false,
            _guard: guard,
        }
    }

    /// The command's process; 0 where what already ran is traced.
    pub fn root(&self) -> u32 {
        self.root.unwrap_or_default()
    }

    /// `NO_NEW_PRIVS` is set: set-user-ID programs and those with file capabilities gain nothing below this command.
    pub fn no_new_privileges(&self) -> bool {
        self.no_new_privileges
    }

    /// Runs the command and everything it starts to the end.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Ended, TracerError> {
        let begin = now();
        self.born(self.root(), None, begin, observer);
        if let Some(stop) = self.first.take() {
            self.exec_event(self.root(), begin, observer);
            stop.resume(self.idle, 0);
        }
        let mut killed = Vec::new();
        while let Some(next) = self.advance(observer)? {
            if next == Next::Stop {
                killed = self.kill_all();
            }
            if !killed.is_empty() {
                self.reap(observer);
                break;
            }
        }
        let (exit, at) = self.exit.unwrap_or_else(|| {
            let exit = Exit::Signal {
                number: libc::SIGKILL,
                core: false,
            };
            (exit, now())
        });
        Ok(Ended {
            exit,
            at,
            killed,
            failed_looks: self.sockets.failed_looks(),
        })
    }

    /// Handles the next change of a task, and what is due between changes. `None`: no task is left.
    fn advance(&mut self, observer: &mut dyn Observer) -> Result<Option<Next>, TracerError> {
        let at = match self.wait() {
            Ok((tid, status)) => {
                let at = now();
                if self.handle(tid, status, at, observer) == Next::Stop {
                    return Ok(Some(Next::Stop));
                }
                at
            }
            Err(Errno::EINTR) => now(),
            Err(Errno::ECHILD) => return Ok(None),
            Err(error) => {
                return Err(TracerError::System {
                    what: "waitpid",
                    error,
                });
            }
        };
        // The clock may have been set back: then the difference is negative, and large.
        if (at - self.last_tick).abs() < Span::millis(TICK.into()) {
            return Ok(Some(Next::Continue));
        }
        self.last_tick = at;
        Ok(Some(self.tick(at, observer)))
    }

    /// The next change of a traced task; without tracing, of the command. `ECHILD`: there is none left. Other children
    /// of presyn are not waited for here.
    fn wait(&self) -> sys::Result<(u32, i32)> {
        if self.traced {
            sys::wait_traced()
        } else {
            sys::wait_untraced(self.root())
        }
    }

    fn handle(
        &mut self,
        tid: u32,
        status: i32,
        at: Timestamp,
        observer: &mut dyn Observer,
    ) -> Next {
        let change = status::decode(status, self.traced);
        if let StatusChange::Ended(exit) = change {
            return self.ended(tid, exit, at, observer);
        }
        if !self.traced {
            if let StatusChange::GroupStop(_) = change {
                self.root_stopped = true;
            }
            return Next::Continue;
        }
        let stop = Stopped::new(tid);
        if !self.tasks.contains_key(&tid) && change != StatusChange::Exec {
            self.early.insert(tid, (stop, at));
            return Next::Continue;
        }
        match change {
            StatusChange::Seccomp => self.entry(stop, at, observer),
            StatusChange::Syscall => self.syscall(stop, at, observer),
            StatusChange::Cloned => {
                if let Ok(child) = stop.event_message() {
                    self.cloned(tid, u32::try_from(child).unwrap_or(0), at, observer);
                }
                self.go_on(stop, 0);
            }
            StatusChange::Exec => {
                self.exec(&stop, at, observer);
                self.go_on(stop, 0);
            }
            StatusChange::GroupStop(_) => {
                self.root_stopped |= self.root == Some(tid);
                stop.listen(self.idle);
            }
            StatusChange::Signal(signal) => self.go_on(stop, signal),
            StatusChange::Trap => {
                self.root_stopped &= self.root != Some(tid);
                self.go_on(stop, 0);
            }
            StatusChange::Other(_) | StatusChange::Continued | StatusChange::Ended(_) => {
                self.go_on(stop, 0);
            }
        }
        Next::Continue
    }

    /// Resumes a task as its lookups ask for.
    fn go_on(&self, stop: Stopped, signal: i32) {
        let task = self.tasks.get(&stop.tid());
        let watched = task.is_some_and(|t| t.watch.is_open() || t.pending.is_some());
        let until = if watched { Until::Syscall } else { self.idle };
        stop.resume(until, signal);
    }

    fn syscall(&mut self, stop: Stopped, at: Timestamp, observer: &mut dyn Observer) {
        match stop.info() {
            Ok(Info::Entry { .. }) => self.entry(stop, at, observer),
            Ok(Info::Exit { result }) => {
                self.leave(&stop, result, at, observer);
                self.go_on(stop, 0);
            }
            Ok(Info::None) | Err(_) => self.go_on(stop, 0),
        }
    }

    fn entry(&mut self, stop: Stopped, at: Timestamp, observer: &mut dyn Observer) {
        let tid = stop.tid();
        let sightings = self.count_call(tid);
        let Some(task) = self.tasks.get_mut(&tid) else {
            return stop.resume(self.idle, 0);
        };
        // A watched task stops for the call itself, then for the filter.
        if task.pending.is_none()
            && let Ok(Info::Entry {
                abi: Some(abi),
                number,
                arguments,
            }) = stop.info()
        {
            if task.pace.stops(at) {
                self.pins.pin(tid);
            }
            let entry = SyscallEntry {
                abi,
                number,
                arguments,
            };
            let mut scene = SyscallContext {
                stop: &stop,
                task,
                sockets: &mut self.sockets,
                ports: &self.ports,
            };
            let pending = scene.enter(entry, at);
            if let (Some(stacks), Some(pending)) = (&mut self.stacks, &pending) {
                stacks.begun(&stop, task.pid, &pending.asked, at);
            }
            if pending.as_ref().is_some_and(Pending::leaves_trace) {
                // Who is not traced cannot be given its CPUs back.
                self.pins.free(tid);
            }
            // The resolver has read its files by the time it calls.
            let files = match &pending {
                Some(pending) if pending.uses_network() => self.views.first_call(task.pid),
                _ => None,
            };
            task.pending = pending;
            let files = files.map(|files| Lifecycle {
                task: task.task(at),
                change: event::LifecycleChange::Files(Box::new(files)),
            });
            if let Some(interrupted) = task.restarting.take() {
                // A signal's handler runs instead of the rest of the wait.
                let call = Call {
                    task: task.task(at),
                    exited: Some(at),
                    outcome: CallOutcome::Failed("EINTR".into()),
                    op: interrupted.unfinished(None),
                };
                self.emit(interrupted.at, EventKind::Call(Box::new(call)), observer);
            }
            if let Some(files) = files {
                self.emit(at, EventKind::Life(Box::new(files)), observer);
            }
        }
        self.emit_sightings(sightings, at, observer);
        self.go_on(stop, 0);
    }

    /// A followed task makes another call: of some sockets that may be the last one.
    fn count_call(&mut self, tid: u32) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        if let Some(task) = self.tasks.get_mut(&tid).filter(|t| t.pending.is_none()) {
            for watched in task.watch.count_call() {
                let left =
                    { &mut self.unfollowed }.leave(task, &mut self.sockets, &watched, &self.ports);
                sightings.extend(left);
            }
        }
        sightings
    }

    fn leave(&mut self, stop: &Stopped, result: i64, at: Timestamp, observer: &mut dyn Observer) {
        let Some(task) = self.tasks.get_mut(&stop.tid()) else {
            return;
        };
        let Some(pending) = task.pending.take() else {
            return;
        };
        if goes_on(result) {
            task.restarting = Some(pending);
            return;
        }
        self.seen.remove(&stop.tid());
        let (began, elsewhere) = (pending.at, pending.goes_elsewhere());
        let mut scene = SyscallContext {
            stop,
            task,
            sockets: &mut self.sockets,
            ports: &self.ports,
        };
        let (outcome, op) = scene.leave(pending, result, at);
        let call = Call {
            task: task.task(at),
            exited: Some(at),
            outcome,
            op,
        };
        let pushed_out = { call.op.fd() }
            .filter(|_| elsewhere)
            .and_then(|fd| self.unfollowed.elsewhere(task.pid, fd));
        self.emit(began, EventKind::Call(Box::new(call)), observer);
        self.emit_sightings(pushed_out, at, observer);
        self.emit_stack(stop.tid(), began, observer);
    }

    fn emit_sightings(
        &mut self,
        sightings: impl IntoIterator<Item = Sighting>,
        at: Timestamp,
        observer: &mut dyn Observer,
    ) {
        for (task, look) in sightings {
            let change = event::LifecycleChange::Socket(Box::new(look));
            let life = Lifecycle { task, change };
            self.emit(at, EventKind::Life(Box::new(life)), observer);
        }
    }

    /// The stack of a call that was just told.
    fn emit_stack(&mut self, tid: u32, began: Timestamp, observer: &mut dyn Observer) {
        if let Some(stack) = self.stacks.as_mut().and_then(|s| s.returned(tid)) {
            self.emit(began, EventKind::Stack(stack), observer);
        }
    }

    fn emit(&mut self, at: Timestamp, what: EventKind, observer: &mut dyn Observer) {
        self.number += 1;
        let place = Location {
            input: 0,
            number: self.number,
        };
        observer.event(Event { at, place, what });
    }
}
