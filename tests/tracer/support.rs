//! Running commands under the tracer, with a limit on time.

use presyn::event::{Call, Event, EventKind, LifecycleChange, Op, Task};
use presyn::source::tracer::{
    Ended, Exit, Gains, Launch, Next, Observer, OpenCall, Tick, TracerError,
};
use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

/// No test needs longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

/// Everything that a run told.
pub struct Run {
    pub events: Vec<Event>,
    pub root_ended: Option<(Exit, Vec<Task>, usize)>,
    /// Every different open call that was seen at a tick, as last seen.
    pub open: Vec<OpenCall>,
    /// Rights that programs did not get.
    pub withheld: Vec<(Task, Gains)>,
    pub ended: Ended,
}

struct Recorder {
    events: Vec<Event>,
    root_ended: Option<(Exit, Vec<Task>, usize)>,
    open: Vec<OpenCall>,
    withheld: Vec<(Task, Gains)>,
    begin: Instant,
}

impl Observer for Recorder {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn withheld(&mut self, task: &Task, gains: Gains) {
        self.withheld.push((task.clone(), gains));
    }

    fn tick(&mut self, tick: &Tick) -> Next {
        for call in &tick.open {
            self.open
                .retain(|o| (o.since, o.task.tid) != (call.since, call.task.tid));
            self.open.push(call.clone());
        }
        if self.begin.elapsed() > LIMIT {
            Next::Stop
        } else {
            Next::Continue
        }
    }

    fn root_ended(&mut self, exit: Exit, survivors: &[Task]) -> Next {
        self.root_ended = Some((exit, survivors.to_vec(), self.events.len()));
        Next::Continue
    }
}

pub fn launch(command: &[&str]) -> Launch {
    let command = command.iter().map(OsString::from).collect();
    Launch::new(command, std::env::vars_os().collect())
}

pub fn try_run(launch: Launch) -> Result<Run, TracerError> {
    let mut recorder = Recorder {
        events: Vec::new(),
        root_ended: None,
        open: Vec::new(),
        withheld: Vec::new(),
        begin: Instant::now(),
    };
    let tracer = launch.start()?;
    let ended = tracer.run(&mut recorder)?;
    assert!(
        recorder.begin.elapsed() < LIMIT,
        "it hangs: {:#?}",
        recorder.events
    );
    assert!(ended.killed.is_empty());
    let numbers = recorder.events.iter().map(|e| e.place.number);
    assert!(numbers.eq(1..=recorder.events.len() as u64));
    Ok(Run {
        events: recorder.events,
        root_ended: recorder.root_ended,
        open: recorder.open,
        withheld: recorder.withheld,
        ended,
    })
}

pub fn run(command: &[&str]) -> Run {
    try_run(launch(command)).unwrap()
}

pub fn python(script: &str) -> Run {
    run(&["python3", "-c", script])
}

impl Run {
    pub fn calls(&self) -> impl Iterator<Item = (&Event, &Call)> {
        self.events.iter().filter_map(|event| match &event.what {
            EventKind::Call(call) => Some((event, &**call)),
            _ => None,
        })
    }

    pub fn lives(&self) -> impl Iterator<Item = (&Task, &LifecycleChange)> {
        self.events.iter().filter_map(|event| match &event.what {
            EventKind::Life(life) => Some((&life.task, &life.change)),
            _ => None,
        })
    }

    /// Connects to this address.
    pub fn connects(&self, to: std::net::SocketAddr) -> Vec<&Call> {
        let wanted = presyn::event::Address::Inet(to.into());
        self.calls()
            .map(|(_, call)| call)
            .filter(|call| matches!(&call.op, Op::Connect { to, .. } if *to == wanted))
            .collect()
    }

    /// Every task that was born ended, and nothing happened to it after that.
    pub fn assert_lives_are_whole(&self) {
        for (task, change) in self.lives() {
            if matches!(change, LifecycleChange::Forked { .. }) {
                let ends = self.lives().filter(|(other, change)| {
                    other.tid == task.tid
                        && matches!(
                            change,
                            LifecycleChange::Exited(_) | LifecycleChange::Killed(_)
                        )
                });
                assert!(ends.count() >= 1, "{task:?} was never told to end");
            }
        }
    }
}

/// Whether a program can be run here; says so loudly when not.
pub fn have(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        let said = format!(
            "SKIPPED: `{program} {}` does not work here\n",
            arguments.join(" ")
        );
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    }
    found
}
