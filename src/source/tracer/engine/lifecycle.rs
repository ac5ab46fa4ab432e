//! Births, execs and ends of tasks.

use super::Tracer;
use crate::event::{self, Call, CallOutcome, EventKind, Lifecycle, Op, Task};
use crate::source::tracer::gains::Gains;
use crate::source::tracer::signals;
use crate::source::tracer::status::{self, Exit};
use crate::source::tracer::stop::Stopped;
use crate::source::tracer::task::Traced;
use crate::source::tracer::watch::Watched;
use crate::source::tracer::{Next, Observer};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// So many ends are kept of tasks that nobody has told of yet.
const GONE: usize = 256;

impl Tracer {
    fn life(
        &mut self,
        task: Task,
        change: event::LifecycleChange,
        at: Timestamp,
        o: &mut dyn Observer,
    ) {
        self.emit(at, EventKind::Life(Box::new(Lifecycle { task, change })), o);
    }

    pub(super) fn born(
        &mut self,
        tid: u32,
        parent: Option<u32>,
        at: Timestamp,
        o: &mut dyn Observer,
    ) {
        let Some(task) = self.tasks.get_mut(&tid) else {
            return;
        };
        if task.pid == tid {
            self.sockets.drop_process(tid);
        }
        let change = event::LifecycleChange::Forked {
            parent,
            thread: Some(task.pid != tid),
        };
        let task = task.task(at);
        self.life(task, change, at, o);
    }

    /// A parent tells of its child, which may have stopped before.
    pub(super) fn cloned(
        &mut self,
        parent: u32,
        child: u32,
        at: Timestamp,
        observer: &mut dyn Observer,
    ) {
        self.tasks
            .entry(child)
            .or_insert_with(|| Traced::new(child, &mut self.sockets));
        let inherited = self.tasks.get(&parent).map(|task| task.watch.inherited());
        if let (Some(task), Some(inherited)) = (self.tasks.get_mut(&child), inherited) {
            task.watch = inherited;
        }
        self.pins.inherit(parent, child);
        self.born(child, Some(parent), at, observer);
        if let Some((stop, _)) = self.early.remove(&child) {
            self.go_on(stop, 0);
        }
        if let Some(end) = self.gone.iter().position(|(tid, _)| *tid == child) {
            // Killed before its parent could tell of it.
            let (_, change) = self.gone.swap_remove(end);
            self.drop_task(child, Some(change), at, observer);
        }
    }

    /// A new program. Its process has one task now, whose tid is the process's: if another thread ran it, that one's
    /// tid vanishes without a word, and the old leader is gone too.
    pub(super) fn exec(&mut self, stop: &Stopped, at: Timestamp, observer: &mut dyn Observer) {
        let tid = stop.tid();
        let before = stop.event_message().ok();
        let before = before.and_then(|old| u32::try_from(old).ok());
        if let Some(old) = before.filter(|old| *old != tid) {
            self.drop_task(tid, None, at, observer);
            self.pins.renamed(old, tid);
            self.drop_task(old, Some(event::LifecycleChange::Exited(0)), at, observer);
        }
        // A program may count its CPUs when it starts, as the JVM does, and go by that for ever.
        self.pins.free(tid);
        let task = self
            .tasks
            .entry(tid)
            .or_insert_with(|| Traced::new(tid, &mut self.sockets));
        task.pending = None;
        let watched = task.watch.take_all();
        task.execs();
        self.sockets.drop_process(tid);
        self.end_following(tid, &watched, at, observer);
        self.views.clear_cache(tid);
        if let Some(stacks) = &mut self.stacks {
            stacks.drop_task(tid);
        }
        self.exec_event(tid, at, observer);
    }

    pub(super) fn exec_event(&mut self, tid: u32, at: Timestamp, observer: &mut dyn Observer) {
        let Some(task) = self.tasks.get_mut(&tid) else {
            return;
        };
        let program = std::fs::read_link(format!("/proc/{tid}/exe"));
        let program = program.map_or_else(|_| String::new(), |p| p.to_string_lossy().into_owned());
        let call = Call {
            task: task.task(at),
            exited: Some(at),
            outcome: CallOutcome::Returned(0),
            op: Op::Exec {
                program: program.into(),
            },
        };
        let who = call.task.clone();
        self.emit(at, EventKind::Call(Box::new(call)), observer);
        if self.no_new_privileges
            && !self.withheld
            && let Some(gains) = Gains::of_task(tid)
        {
            self.withheld = true;
            observer.withheld(&who, gains);
        }
    }

    /// Takes a task out; a call it was in has no end.
    fn drop_task(
        &mut self,
        tid: u32,
        change: Option<event::LifecycleChange>,
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
                outcome: CallOutcome::Unknown,
                op: pending.unfinished(note),
            };
            self.emit(pending.at, EventKind::Call(Box::new(call)), observer);
            self.emit_stack(tid, pending.at, observer);
        }
        if let Some(stacks) = &mut self.stacks {
            stacks.drop_task(tid);
        }
        let (pid, watched) = (task.pid, task.watch.take_all());
        if let Some(change) = change {
            self.life(who, change, at, observer);
        }
        // Other threads may use what it was followed for.
        let other = self.tasks.values().find(|task| task.pid == pid);
        if let Some(other) = other.map(|task| task.tid) {
            self.end_following(other, &watched, at, observer);
        }
    }

    /// Everything is detached from: calls that had not returned have no end.
    pub(super) fn end_open_calls(&mut self, at: Timestamp, observer: &mut dyn Observer) {
        let tasks: Vec<u32> = self.tasks.keys().copied().collect();
        for tid in tasks {
            self.drop_task(tid, None, at, observer);
        }
    }

    /// A task is followed no longer for these sockets, which it has in common with another one that was.
    fn end_following(
        &mut self,
        tid: u32,
        watched: &[Watched],
        at: Timestamp,
        observer: &mut dyn Observer,
    ) {
        let Some(task) = self.tasks.get_mut(&tid) else {
            return;
        };
        let mut sightings = Vec::new();
        for watched in watched {
            let left =
                { &mut self.unfollowed }.leave(task, &mut self.sockets, watched, &self.ports);
            sightings.extend(left);
        }
        self.emit_sightings(sightings, at, observer);
    }

    pub(super) fn ended(
        &mut self,
        tid: u32,
        exit: Exit,
        at: Timestamp,
        observer: &mut dyn Observer,
    ) -> Next {
        self.early.remove(&tid);
        self.pins.free(tid);
        self.views.clear_cache(tid);
        let change = match exit {
            Exit::Code(code) => event::LifecycleChange::Exited(code),
            Exit::Signal { number, .. } => {
                event::LifecycleChange::Killed(status::signal_name(number))
            }
        };
        if !self.tasks.contains_key(&tid) {
            if self.gone.len() >= GONE {
                self.gone.remove(0);
            }
            self.gone.push((tid, change));
            return Next::Continue;
        }
        self.drop_task(tid, Some(change), at, observer);
        if self.root != Some(tid) {
            return Next::Continue;
        }
        self.exit = Some((exit, at));
        // Ctrl-C from now on is for presyn.
        self.interrupts = signals::interrupts();
        let survivors = self.processes();
        observer.root_ended(exit, &survivors)
    }

    /// One task for each process that lives, by process.
    pub(super) fn processes(&mut self) -> Vec<Task> {
        let mut processes = BTreeMap::new();
        for task in self.tasks.values() {
            if task.tid == task.pid || !processes.contains_key(&task.pid) {
                processes.insert(task.pid, task.last_task());
            }
        }
        processes.into_values().collect()
    }
}
