//! Adaptive pinning: a stop costs some 170 µs when tracer and task run on different CPUs and 2 µs when they
//! share one (measured on two CPUs). A task that stops fast is put on the tracer's CPU until it slows
//! down. Programs can see it (`sched_getaffinity`), so there is an opt-out.

use crate::time::{Span, Timestamp};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::HashMap;

/// So many stops are looked at together.
const STOPS: u32 = 64;
/// Faster than this on average: pin.
const FAST: Span = Span::micros(250);
/// No stop for so long: it has slowed down.
const SLOW: Span = Span::millis(50);

/// How fast one task stops.
#[derive(Debug, Default)]
pub struct StopRate {
    since: Timestamp,
    last: Timestamp,
    stops: u32,
}

impl StopRate {
    /// Counts a stop; true when the last ones came fast.
    pub fn stops(&mut self, now: Timestamp) -> bool {
        if now - self.last > SLOW {
            (self.since, self.stops) = (now, 0);
        }
        self.last = now;
        self.stops += 1;
        if self.stops < STOPS {
            return false;
        }
        let fast = (now - self.since).0 < FAST.0 * i64::from(STOPS);
        (self.since, self.stops) = (now, 0);
        fast
    }

    /// Whether it has not stopped for a while.
    pub fn is_slow(&self, now: Timestamp) -> bool {
        now - self.last > SLOW
    }
}

/// Which tasks are pinned, and what their CPUs were before.
#[derive(Debug)]
pub struct Pins {
    enabled: bool,
    pinned: HashMap<u32, CpuSet>,
    /// The tracer's own CPUs before, and the one CPU that all share.
    tracer: Option<(CpuSet, usize)>,
}

const SELF: Pid = Pid::from_raw(0);

fn pid(tid: u32) -> Pid {
    Pid::from_raw(tid.cast_signed())
}

fn only(cpu: usize) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu).ok()?;
    Some(set)
}

impl Pins {
    /// Pins nothing unless `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            pinned: HashMap::new(),
            tracer: None,
        }
    }

    /// Puts a task on the tracer's CPU. What is not permitted is left alone.
    pub fn pin(&mut self, tid: u32) {
        if !self.enabled || self.pinned.contains_key(&tid) {
            return;
        }
        let Ok(before) = sched_getaffinity(pid(tid)) else {
            return;
        };
        let Some(cpu) = self.own_cpu(&before) else {
            return;
        };
        let placed = only(cpu).is_some_and(|set| sched_setaffinity(pid(tid), &set).is_ok());
        if placed {
            self.pinned.insert(tid, before);
        } else if self.pinned.is_empty() {
            self.free_tracer();
        }
    }

    /// The CPU that the tracer is pinned to, pinning it first if need be. It must suit the task.
    fn own_cpu(&mut self, wanted: &CpuSet) -> Option<usize> {
        if let Some((_, cpu)) = self.tracer {
            return wanted.is_set(cpu).ok()?.then_some(cpu);
        }
        let before = sched_getaffinity(SELF).ok()?;
        let now_on = nix::sched::sched_getcpu().ok()?;
        let suits =
            |cpu: usize| before.is_set(cpu).unwrap_or(false) && wanted.is_set(cpu).unwrap_or(false);
        let cpu = suits(now_on)
            .then_some(now_on)
            .or_else(|| (0..CpuSet::count()).find(|cpu| suits(*cpu)))?;
        sched_setaffinity(SELF, &only(cpu)?).ok()?;
        self.tracer = Some((before, cpu));
        Some(cpu)
    }

    fn free_tracer(&mut self) {
        if let Some((before, _)) = self.tracer.take() {
            // Fails only if those CPUs are gone; then the kernel has moved the tracer already.
            let _ = sched_setaffinity(SELF, &before);
        }
    }

    /// Gives a task its CPUs back, unless it has chosen others itself meanwhile.
    pub fn free(&mut self, tid: u32) {
        if let Some(before) = self.pinned.remove(&tid) {
            self.restore(tid, &before);
        }
        if self.pinned.is_empty() {
            self.free_tracer();
        }
    }

    fn restore(&self, tid: u32, before: &CpuSet) {
        let ours = self.tracer.and_then(|(_, cpu)| only(cpu));
        // A task that is gone needs nothing back.
        if sched_getaffinity(pid(tid)).ok() == ours {
            let _ = sched_setaffinity(pid(tid), before);
        }
    }

    /// A new task inherits its parent's CPUs; it shall inherit those of before.
    pub fn inherit(&self, parent: u32, child: u32) {
        if let Some(before) = self.pinned.get(&parent) {
            self.restore(child, before);
        }
    }

    /// A thread has run another program and has its leader's tid now; its CPUs go with it.
    pub fn renamed(&mut self, old: u32, new: u32) {
        self.pinned.remove(&new);
        if let Some(before) = self.pinned.remove(&old) {
            self.pinned.insert(new, before);
        }
    }

    /// The pinned tasks.
    pub fn tasks(&self) -> Vec<u32> {
        self.pinned.keys().copied().collect()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for tid in self.tasks() {
            self.free(tid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fast_stops_pin() {
        let mut pace = StopRate::default();
        let mut now = Timestamp(1_000_000_000_000);
        let mut run = |step: Span, stops: u32| {
            (0..stops)
                .filter(|_| {
                    now = now + step;
                    pace.stops(now)
                })
                .count()
        };
        assert_eq!(run(Span::micros(10), 63), 0);
        assert_eq!(run(Span::micros(10), 1), 1);
        assert_eq!(run(Span::micros(300), 640), 0);
        assert_eq!(run(Span::millis(60), 200), 0);
    }

    #[test]
    fn cpus_come_back() {
        let before = sched_getaffinity(SELF).unwrap();
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        let mut pins = Pins::new(true);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw().unsigned_abs())
                .unwrap();
            stopped.recv().unwrap();
        });
        let task = told.recv().unwrap();
        pins.pin(task);
        let count = |tid| {
            let set = sched_getaffinity(pid(tid)).unwrap();
            (0..CpuSet::count())
                .filter(|c| set.is_set(*c).unwrap())
                .count()
        };
        assert_eq!((count(tid), count(task)), (1, 1));
        pins.free(task);
        assert_eq!(sched_getaffinity(pid(task)).unwrap(), before);
        assert_eq!(sched_getaffinity(SELF).unwrap(), before);
        stop.send(()).unwrap();
        other.join().unwrap();
        let mut off = Pins::new(false);
        off.pin(tid);
        assert_eq!(sched_getaffinity(SELF).unwrap(), before);
    }
}
