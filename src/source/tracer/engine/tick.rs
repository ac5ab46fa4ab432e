//! What is done between stops: lost children, slow tasks, signals to presyn itself, open calls, the end.

use super::{Tracer, now, pid};
use crate::event::Task;
use crate::source::tracer::call::Request;
use crate::source::tracer::signals;
use crate::source::tracer::status::{self, StatusChange};
use crate::source::tracer::task::{self, Traced};
use crate::source::tracer::watch::Watched;
use crate::source::tracer::{Next, Observer, OpenCall, Tick};
use crate::time::{Span, Timestamp};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, raise};
use std::collections::HashSet;

/// A blocked call is worth a look at its socket after so long.
const BLOCKED: Span = Span::millis(200);
/// A new task whose parent does not tell of it (it was killed meanwhile) goes on after so long.
const ORPHAN: Span = Span::millis(300);
/// Killed processes are waited for so long.
const LAST_WAIT: Span = Span::seconds(2);

impl Tracer {
    pub(super) fn tick(&mut self, at: Timestamp, observer: &mut dyn Observer) -> Next {
        let orphans: Vec<u32> = self
            .early
            .iter()
            .filter(|(_, (_, since))| (at - *since).abs() > ORPHAN)
            .map(|(tid, _)| *tid)
            .collect();
        for tid in orphans {
            if let Some((stop, _)) = self.early.remove(&tid) {
                self.tasks.insert(tid, Traced::new(tid, &mut self.sockets));
                self.born(tid, task::number(tid, "PPid:"), at, observer);
                self.go_on(stop, 0);
            }
        }
        for tid in self.pins.tasks() {
            if self.tasks.get(&tid).is_none_or(|t| t.pace.is_slow(at)) {
                self.pins.free(tid);
            }
        }
        self.look_at_sockets(at, observer);
        self.signals();
        if self.is_told_to_end() {
            return Next::Stop;
        }
        observer.tick(&Tick {
            now: at,
            open: self.open_calls(at),
            interrupts: signals::interrupts(),
        })
    }

    /// Sockets whose time is over, that other threads may use, or that no call reports any more.
    fn look_at_sockets(&mut self, at: Timestamp, observer: &mut dyn Observer) {
        let mut sightings = Vec::new();
        let threads: HashSet<u32> = { self.tasks.values() }
            .filter(|task| task.tid != task.pid)
            .map(|task| task.pid)
            .collect();
        for task in self.tasks.values_mut() {
            if threads.contains(&task.pid) {
                let given: Vec<Watched> = task.watch.given_away(at).cloned().collect();
                for watched in given {
                    if !self.unfollowed.has(task.pid, &watched) {
                        let left = { &mut self.unfollowed }.leave(
                            task,
                            &mut self.sockets,
                            &watched,
                            &self.ports,
                        );
                        sightings.extend(left);
                    }
                }
            }
            for watched in task.watch.expire(at) {
                let left =
                    { &mut self.unfollowed }.leave(task, &mut self.sockets, &watched, &self.ports);
                sightings.extend(left);
            }
            for (fd, cookie) in task.watch.old_connects(at) {
                // Closed or used by another thread, which is not watched.
                let seen = task.look(&mut self.sockets, fd, true);
                if seen.is_none_or(|s| s.cookie != cookie || s.peer.is_some()) {
                    task.watch.end(fd);
                }
            }
        }
        let looked = self.unfollowed.look(&mut self.tasks, &mut self.sockets, at);
        sightings.extend(looked);
        self.emit_sightings(sightings, at, observer);
    }

    /// Whether a signal ends the run. While the command runs, Ctrl-C is the command's, and a first `SIGTERM` is passed on
    /// to it. What already ran has nothing to do with presyn's signals: the first one ends the recording.
    pub(super) fn is_told_to_end(&self) -> bool {
        let ctrl_c = signals::interrupts() != self.interrupts;
        let asked = signals::ends() - self.ends;
        let alone = self.root.is_none() || self.exit.is_some();
        alone && (ctrl_c || asked > 0) || asked > 1
    }

    /// What came for presyn itself.
    fn signals(&mut self) {
        let Some(root) = self.root else {
            // A tracer that stands still would stop what it traces at its next call.
            signals::take_suspended();
            return;
        };
        if signals::ends() > self.ends && !self.passed_on && self.exit.is_none() {
            // Asked to end: pass it on once; a second time ends presyn.
            self.passed_on = true;
            let _ = kill(pid(root), Signal::SIGTERM);
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
            let connects = matches!(pending.asked, Request::Connect(_));
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
    pub(super) fn kill_all(&mut self) -> Vec<Task> {
        let processes = self.processes();
        for process in processes.iter().filter_map(|t| t.pid) {
            // Refused for another user's process: EXITKILL ends it when presyn exits.
            let _ = kill(pid(process), Signal::SIGKILL);
        }
        processes
    }

    /// Waits for killed processes, but not for ever.
    pub(super) fn reap(&mut self, observer: &mut dyn Observer) {
        let begin = now();
        while (now() - begin).abs() < LAST_WAIT {
            match self.wait() {
                Ok((tid, status)) => {
                    if let StatusChange::Ended(exit) = status::decode(status, self.traced) {
                        let _ = self.ended(tid, exit, now(), observer);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }
}
