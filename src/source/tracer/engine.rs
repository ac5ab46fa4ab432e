//! The loop: wait for a stop, see what it is, resume.

use super::call::{Entry, Scene, goes_on};
use super::launch::TICK;
use super::pin::Pins;
use super::signals::{self, Guard};
use super::socket::Sockets;
use super::status::{self, Change, Exit};
use super::stop::{Info, Stopped, Until};
use super::task::{self, Traced};
use super::{Ended, Launch, Next, Observer, OpenCall, Seen, Tick, TracerError, sys};
use crate::event::{self, Call, Event, Life, Op, Outcome, Place, Task, What};
use crate::time::{Span, Timestamp};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

/// A launched command and everything it starts.
#[derive(Debug)]
pub struct Tracer {
    root: u32,
    traced: bool,
    ports: Vec<u16>,
    tasks: HashMap<u32, Traced>,
    /// New tasks that stopped before their parent's stop told of them.
    early: HashMap<u32, (Stopped, Timestamp)>,
    /// The command at its beginning.
    first: Option<Stopped>,
    number: u64,
    sockets: Sockets,
    pins: Pins,
    /// What was seen of sockets in calls that have not returned.
    seen: HashMap<u32, Seen>,
    exit: Option<(Exit, Timestamp)>,
    last_tick: Timestamp,
    root_stopped: bool,
    interrupts: u32,
    ends: u32,
    passed_on: bool,
    no_new_privileges: bool,
    _guard: Guard,
}

/// A command that was started and never run must not stand still for ever.
impl Drop for Tracer {
    fn drop(&mut self) {
        if self.first.is_some() {
            let _ = kill(pid(self.root), Signal::SIGKILL);
        }
    }
}

/// A blocked call is worth a look at its socket after so long.
const BLOCKED: Span = Span::millis(200);
/// A new task whose parent does not tell of it (it was killed meanwhile) goes on after so long.
const ORPHAN: Span = Span::millis(300);
/// Killed processes are waited for so long.
const LAST_WAIT: Span = Span::seconds(2);

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
    pub(super) fn new(
        launch: Launch,
        root: u32,
        first: Option<Stopped>,
        guard: Guard,
        no_new_privileges: bool,
    ) -> Self {
        Self {
            root,
            traced: launch.trace,
            ports: launch.dns_ports,
            tasks: HashMap::from([(root, Traced::new(root))]),
            early: HashMap::new(),
            first,
            number: 0,
            sockets: Sockets::new(launch.leader_pidfds_only),
            pins: Pins::new(launch.pin),
            seen: HashMap::new(),
            exit: None,
            last_tick: now(),
            root_stopped: false,
            interrupts: signals::interrupts(),
            ends: signals::ends(),
            passed_on: false,
            no_new_privileges,
            _guard: guard,
        }
    }

    /// The command's process.
    pub fn root(&self) -> u32 {
        self.root
    }

    /// The filter needed `NO_NEW_PRIVS`: set-user-ID programs gain nothing below this command.
    pub fn no_new_privileges(&self) -> bool {
        self.no_new_privileges
    }

    /// Runs the command and everything it starts to the end.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Ended, TracerError> {
        let begin = now();
        self.born(self.root, None, begin, observer);
        if let Some(stop) = self.first.take() {
            self.exec_event(self.root, begin, observer);
            stop.resume(Until::Event, 0);
        }
        let extra = if self.traced { 0 } else { libc::WUNTRACED };
        let mut killed = Vec::new();
        loop {
            let at = match sys::wait_any(extra) {
                Ok((tid, status)) => {
                    let at = now();
                    if self.handle(tid, status, at, observer) == Next::Stop {
                        killed = self.kill_all();
                    }
                    at
                }
                Err(Errno::EINTR) => now(),
                Err(Errno::ECHILD) => break,
                Err(error) => {
                    return Err(TracerError::System {
                        what: "waitpid",
                        error,
                    });
                }
            };
            // The clock may have been set back: then the difference is negative, and large.
            if (at - self.last_tick).abs() >= Span::millis(TICK.into()) {
                self.last_tick = at;
                if self.tick(at, observer) == Next::Stop {
                    killed = self.kill_all();
                }
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
        Ok(Ended { exit, at, killed })
    }

    fn handle(
        &mut self,
        tid: u32,
        status: i32,
        at: Timestamp,
        observer: &mut dyn Observer,
    ) -> Next {
        let change = status::decode(status, self.traced);
        if let Change::Ended(exit) = change {
            return self.ended(tid, exit, at, observer);
        }
        if !self.traced {
            if let Change::GroupStop(_) = change {
                self.root_stopped = true;
            }
            return Next::Continue;
        }
        let stop = Stopped::new(tid);
        if !self.tasks.contains_key(&tid) && change != Change::Exec {
            self.early.insert(tid, (stop, at));
            return Next::Continue;
        }
        match change {
            Change::Seccomp => self.entry(stop, at, observer),
            Change::Syscall => self.syscall(stop, at, observer),
            Change::Cloned => {
                if let Ok(child) = stop.event_message() {
                    self.cloned(tid, u32::try_from(child).unwrap_or(0), at, observer);
                }
                self.go_on(stop, 0);
            }
            Change::Exec => {
                self.exec(&stop, at, observer);
                self.go_on(stop, 0);
            }
            Change::GroupStop(_) => {
                self.root_stopped |= tid == self.root;
                stop.listen();
            }
            Change::Signal(signal) => self.go_on(stop, signal),
            Change::Trap => {
                self.root_stopped &= tid != self.root;
                self.go_on(stop, 0);
            }
            Change::Other(_) | Change::Continued | Change::Ended(_) => self.go_on(stop, 0),
        }
        Next::Continue
    }

    /// Resumes a task as its lookups ask for.
    fn go_on(&self, stop: Stopped, signal: i32) {
        let task = self.tasks.get(&stop.tid());
        let watched = task.is_some_and(|t| t.watch.is_open() || t.pending.is_some());
        let until = if watched {
            Until::Syscall
        } else {
            Until::Event
        };
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
        let Some(task) = self.tasks.get_mut(&tid) else {
            return stop.resume(Until::Event, 0);
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
            let entry = Entry {
                abi,
                number,
                arguments,
            };
            let mut scene = Scene {
                stop: &stop,
                task,
                sockets: &mut self.sockets,
                ports: &self.ports,
            };
            let pending = scene.enter(entry, at);
            task.pending = pending;
            if let Some(interrupted) = task.restarting.take() {
                // A signal's handler runs instead of the rest of the wait.
                let call = Call {
                    task: task.task(at),
                    exited: Some(at),
                    outcome: Outcome::Failed("EINTR".into()),
                    op: interrupted.unfinished(None),
                };
                self.emit(interrupted.at, What::Call(call), observer);
            }
        }
        self.go_on(stop, 0);
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
        let began = pending.at;
        let mut scene = Scene {
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
        self.emit(began, What::Call(call), observer);
    }

    fn emit(&mut self, at: Timestamp, what: What, observer: &mut dyn Observer) {
        self.number += 1;
        let place = Place {
            input: 0,
            number: self.number,
        };
        observer.event(Event { at, place, what });
    }

    fn life(&mut self, task: Task, change: event::Change, at: Timestamp, o: &mut dyn Observer) {
        self.emit(at, What::Life(Life { task, change }), o);
    }

    fn born(&mut self, tid: u32, parent: Option<u32>, at: Timestamp, o: &mut dyn Observer) {
        let Some(task) = self.tasks.get_mut(&tid) else {
            return;
        };
        let change = event::Change::Born {
            parent,
            thread: Some(task.pid != tid),
        };
        let task = task.task(at);
        self.life(task, change, at, o);
    }

    /// A parent tells of its child, which may have stopped before.
    fn cloned(&mut self, parent: u32, child: u32, at: Timestamp, observer: &mut dyn Observer) {
        self.tasks
            .entry(child)
            .or_insert_with(|| Traced::new(child));
        self.pins.inherit(parent, child);
        self.born(child, Some(parent), at, observer);
        if let Some((stop, _)) = self.early.remove(&child) {
            self.go_on(stop, 0);
        }
    }

    /// A new program. Its process has one task now, whose tid is the process's: if another thread ran it, that one's
    /// tid vanishes without a word, and the old leader is gone too.
    fn exec(&mut self, stop: &Stopped, at: Timestamp, observer: &mut dyn Observer) {
        let tid = stop.tid();
        let before = stop.event_message().ok();
        let before = before.and_then(|old| u32::try_from(old).ok());
        if let Some(old) = before.filter(|old| *old != tid) {
            self.forget(tid, None, at, observer);
            self.pins.free(old);
            self.forget(old, Some(event::Change::Exited(0)), at, observer);
        }
        let task = self.tasks.entry(tid).or_insert_with(|| Traced::new(tid));
        task.pending = None;
        task.execs();
        self.exec_event(tid, at, observer);
    }

    fn exec_event(&mut self, tid: u32, at: Timestamp, observer: &mut dyn Observer) {
        let Some(task) = self.tasks.get_mut(&tid) else {
            return;
        };
        let program = std::fs::read_link(format!("/proc/{tid}/exe"));
        let program = program.map_or_else(|_| String::new(), |p| p.to_string_lossy().into_owned());
        let call = Call {
            task: task.task(at),
            exited: Some(at),
            outcome: Outcome::Returned(0),
            op: Op::Exec {
                program: program.into(),
            },
        };
        self.emit(at, What::Call(call), observer);
    }

    /// Takes a task out; a call it was in has no end.
    fn forget(
        &mut self,
        tid: u32,
        change: Option<event::Change>,
        at: Timestamp,
        observer: &mut dyn Observer,
    ) {
        let note = self.seen.remove(&tid).flatten();
        let Some(mut task) = self.tasks.remove(&tid) else {
            return;
        };
        let who = task.last_task();
        if let Some(pending) = task.pending.take() {
            let call = Call {
                task: who.clone(),
                exited: None,
                outcome: Outcome::Unknown,
                op: pending.unfinished(note),
            };
            self.emit(pending.at, What::Call(call), observer);
        }
        if let Some(change) = change {
            self.life(who, change, at, observer);
        }
    }

    fn ended(&mut self, tid: u32, exit: Exit, at: Timestamp, observer: &mut dyn Observer) -> Next {
        self.early.remove(&tid);
        self.pins.free(tid);
        let change = match exit {
            Exit::Code(code) => event::Change::Exited(code),
            Exit::Signal { number, .. } => event::Change::Killed(status::signal_name(number)),
        };
        self.forget(tid, Some(change), at, observer);
        if tid != self.root {
            return Next::Continue;
        }
        self.exit = Some((exit, at));
        // Ctrl-C from now on is for presyn.
        self.interrupts = signals::interrupts();
        let survivors = self.processes();
        observer.root_ended(exit, &survivors)
    }

    /// One task for each process that lives, by process.
    fn processes(&mut self) -> Vec<Task> {
        let mut processes = BTreeMap::new();
        for task in self.tasks.values() {
            if task.tid == task.pid || !processes.contains_key(&task.pid) {
                processes.insert(task.pid, task.last_task());
            }
        }
        processes.into_values().collect()
    }

    fn tick(&mut self, at: Timestamp, observer: &mut dyn Observer) -> Next {
        let orphans: Vec<u32> = self
            .early
            .iter()
            .filter(|(_, (_, since))| (at - *since).abs() > ORPHAN)
            .map(|(tid, _)| *tid)
            .collect();
        for tid in orphans {
            if let Some((stop, _)) = self.early.remove(&tid) {
                self.tasks.insert(tid, Traced::new(tid));
                self.born(tid, task::number(tid, "PPid:"), at, observer);
                self.go_on(stop, 0);
            }
        }
        for tid in self.pins.tasks() {
            if self.tasks.get(&tid).is_none_or(|t| t.pace.is_slow(at)) {
                self.pins.free(tid);
            }
        }
        for task in self.tasks.values_mut() {
            task.watch.expire(at);
        }
        self.signals();
        let ctrl_c = signals::interrupts() != self.interrupts;
        let asked = signals::ends() - self.ends;
        if self.exit.is_some() && (ctrl_c || asked > 0) || asked > 1 {
            return Next::Stop;
        }
        observer.tick(&Tick {
            now: at,
            open: self.open_calls(at),
            interrupts: signals::interrupts(),
        })
    }

    /// What came for presyn itself.
    fn signals(&mut self) {
        if signals::ends() > self.ends && !self.passed_on && self.exit.is_none() {
            // Asked to end: pass it on once; a second time ends presyn.
            self.passed_on = true;
            let _ = kill(pid(self.root), Signal::SIGTERM);
        }
        // Ctrl-Z: stop when the command has stopped by it. One that ignores it keeps both running. The shell's
        // SIGCONT wakes all.
        if signals::suspended() && self.root_stopped {
            signals::take_suspended();
            let _ = raise(Signal::SIGSTOP);
        }
    }

    fn open_calls(&mut self, at: Timestamp) -> Vec<OpenCall> {
        let mut open = Vec::new();
        for task in self.tasks.values_mut() {
            let Some(pending) = task.pending.as_ref().or(task.restarting.as_ref()) else {
                continue;
            };
            let (since, fd) = (pending.at, pending.fd);
            let connects = matches!(pending.asked, super::call::Asked::Connect(_));
            let mut note = self.seen.get(&task.tid).cloned().flatten();
            if connects && note.is_none() && at - since > BLOCKED {
                // The descriptor can be asked although the task runs.
                note = task.look(&mut self.sockets, fd, false).map(|s| s.note());
                self.seen.insert(task.tid, note.clone());
            }
            let pending = task.pending.as_ref().or(task.restarting.as_ref());
            let Some(op) = pending.map(|p| p.unfinished(note)) else {
                continue;
            };
            open.push(OpenCall {
                task: task.last_task(),
                since,
                op,
            });
        }
        open.sort_by_key(|call| call.since);
        open
    }

    /// Ends everything that still runs.
    fn kill_all(&mut self) -> Vec<Task> {
        let processes = self.processes();
        for process in processes.iter().filter_map(|t| t.pid) {
            // Refused for another user's process: EXITKILL ends it when presyn exits.
            let _ = kill(pid(process), Signal::SIGKILL);
        }
        processes
    }

    /// Waits for killed processes, but not for ever.
    fn reap(&mut self, observer: &mut dyn Observer) {
        let begin = now();
        while (now() - begin).abs() < LAST_WAIT {
            match sys::wait_any(0) {
                Ok((tid, status)) => {
                    if let Change::Ended(exit) = status::decode(status, self.traced) {
                        let _ = self.ended(tid, exit, now(), observer);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }
}
