//! What the tracer shows goes to the analysis process.

use super::forward::Outbox;
use super::message::{self, UnreturnedCalls};
use super::process::Analysis;
use super::{Listener, describe, remark};
use crate::event::{Address, Event, EventKind, Lifecycle, LifecycleChange, Op, Task};
use crate::flow::NAME_SERVICE_PORTS;
use crate::render::safe::escape;
use crate::source::tracer::{Exit, Gains, Next, Observer, Tick};
use crate::time::{SECOND, Span};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::collections::HashMap;

/// A process that connects more often than this is a busy one: its first connects show enough.
const MAX_CPU_TIMES: u32 = 64;
/// More calls than this that have not returned are a crowd; the oldest show enough.
const MAX_WAITING: usize = 256;

/// Sends events on, in the tracer's thread.
pub struct EventSender<'a> {
    outbox: &'a Outbox,
    analysis: &'a Analysis,
    listener: &'a mut dyn Listener,
    /// The trace's place among the inputs: after the capture.
    input: u16,
    /// The command has ended and others run on.
    root_ended: bool,
    /// The loss of the analysis process was reported.
    lost: bool,
    /// How often each process was asked for its CPU time.
    cpu_asked: HashMap<Option<u32>, u32>,
    /// What had to be forbidden.
    remarks: Vec<String>,
}

impl<'a> EventSender<'a> {
    /// Sends to `analysis` through `outbox`.
    pub fn new(
        outbox: &'a Outbox,
        analysis: &'a Analysis,
        listener: &'a mut dyn Listener,
        input: u16,
    ) -> Self {
        Self {
            outbox,
            analysis,
            listener,
            input,
            root_ended: false,
            lost: false,
            cpu_asked: HashMap::new(),
            remarks: Vec::new(),
        }
    }

    /// Whether the user knows that the analysis process is gone.
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// What the report must say of this run.
    pub fn into_remarks(self) -> Vec<String> {
        self.remarks
    }

    fn report_loss(&mut self) {
        if self.lost || !self.outbox.is_broken() {
            return;
        }
        if let Some(line) = self.analysis.trouble() {
            self.lost = true;
            self.listener.trouble(&line);
        }
    }

    /// The CPU time of a process that connects to a server, as an event of its own before the connect.
    fn cpu_time(&mut self, event: &Event) -> Option<Event> {
        let EventKind::Call(call) = &event.what else {
            return None;
        };
        let Op::Connect {
            to: Address::Inet(to),
            ..
        } = &call.op
        else {
            return None;
        };
        let asked = self.cpu_asked.entry(call.task.pid).or_insert(0);
        if NAME_SERVICE_PORTS.contains(&to.port) || *asked >= MAX_CPU_TIMES {
            return None;
        }
        *asked += 1;
        let pid = Pid::from_raw(i32::try_from(call.task.pid?).ok()?);
        let used = clock_gettime(clock_getcpuclockid(pid).ok()?).ok()?;
        let used = Span(
            used.tv_sec()
                .saturating_mul(SECOND)
                .saturating_add(used.tv_nsec()),
        );
        let what = EventKind::Life(Box::new(Lifecycle {
            task: call.task.clone(),
            change: LifecycleChange::CpuTime(used),
        }));
        Some(Event {
            what,
            ..event.clone()
        })
    }
}

impl Observer for EventSender<'_> {
    fn event(&mut self, event: Event) {
        if let Some(used) = self.cpu_time(&event) {
            self.outbox.event(used, self.input);
        }
        self.outbox.event(event, self.input);
    }

    fn withheld(&mut self, task: &Task, gains: Gains) {
        let remark = remark::withheld(task, gains);
        self.listener.line(&remark);
        self.remarks.push(remark);
    }

    fn tick(&mut self, tick: &Tick) -> Next {
        self.report_loss();
        // One without open calls ends the waits of the one before, and says that no call is still to be reported.
        let open = tick.open.iter().take(MAX_WAITING);
        self.outbox.waiting(UnreturnedCalls {
            now: tick.now,
            all: tick.open.len() <= MAX_WAITING,
            open: open
                .map(|c| (c.task.clone(), c.since, c.op.clone()))
                .collect(),
        });
        // The first Ctrl-C is the command's; once that has ended, the next ends the survivors.
        if self.root_ended && tick.interrupts > 0 {
            Next::Stop
        } else {
            Next::Continue
        }
    }

    fn root_ended(&mut self, exit: Exit, survivors: &[Task]) -> Next {
        if survivors.is_empty() {
            return Next::Continue;
        }
        self.listener.line(&format!(
            "the command {}, but {} {} still running and stay{} traced; Ctrl-C ends the run",
            describe(exit),
            names(survivors),
            if survivors.len() == 1 { "is" } else { "are" },
            if survivors.len() == 1 { "s" } else { "" }
        ));
        self.root_ended = true;
        self.outbox.control(message::report);
        Next::Continue
    }
}

fn names(tasks: &[Task]) -> String {
    let list: Vec<String> = tasks
        .iter()
        .take(5)
        .map(|t| {
            format!(
                "{} ({})",
                escape(t.comm.as_deref().unwrap_or("?")),
                t.pid.or(t.tid).unwrap_or(0)
            )
        })
        .collect();
    let more = if tasks.len() > 5 {
        format!(" and {} more", tasks.len() - 5)
    } else {
        String::new()
    };
    format!("{}{more}", list.join(", "))
}
