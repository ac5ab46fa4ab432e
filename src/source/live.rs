//! A live run: the capture, the tracer and the case folder together.
//!
//! Order at start: open the capture and the case folder, launch (the child stands still), read the host's
//! files as the command sees them, give up what is no longer needed; only then is a packet parsed.

mod beginning;
mod capturing;

use super::capture::{CaptureError, Live, Settings as CaptureSettings};
use super::host::HostFiles;
use super::privilege::{self, Kept, User};
use super::tracer::{Ended, Exit, Launch, Next, Observer, Tick, TracerError, signal_name};
use crate::case::jsonl::{self, Footer, Header};
use crate::case::writer::{CaseWriter, SaveError};
use crate::case::{PACKETS, TRACE};
use crate::event::{Address, Change, Event, Life, Op, Task, What};
use crate::explain::past::Past;
use crate::flow::NAME_SERVICE_PORTS;
use crate::input::CaptureFacts;
use crate::pipeline::Gathered;
use crate::render::progress::Progress;
use crate::render::safe::escape;
use crate::time::{SECOND, Span, Timestamp};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// What to run, capture and save.
pub struct Plan {
    /// The command.
    pub launch: Launch,
    /// The capture; `None` with `--no-capture`.
    pub capture: Option<CaptureSettings>,
    /// The case folder, and whether it may exist.
    pub save: Option<(PathBuf, bool)>,
}

/// Why a live run cannot begin or end.
#[derive(Debug, Error)]
pub enum LiveError {
    /// The capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The tracer.
    #[error(transparent)]
    Tracer(#[from] TracerError),
    /// The case folder.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// Rights could not be given up.
    #[error("cannot give up privileges: {}", .0.desc())]
    Privileges(nix::errno::Errno),
}

/// Who is told what while the run goes on.
pub trait Listener {
    /// A line about what is waited for, or about presyn itself.
    fn line(&mut self, line: &str);
    /// Every event, for `-v`.
    fn event(&mut self, event: &Event);
    /// The command has ended but others live on: time for the report.
    fn report(&mut self, gathered: Gathered);
}

/// A finished run.
#[derive(Debug)]
pub struct Outcome {
    /// How the command ended.
    pub exit: Exit,
    /// What was seen.
    pub gathered: Gathered,
    /// The report has been given already, when the command itself ended.
    pub reported: bool,
    /// Rights that presyn kept while it ran.
    pub kept: Kept,
}

/// Runs the plan to its end.
pub fn run(plan: Plan, listener: &mut dyn Listener) -> Result<Outcome, LiveError> {
    let Plan {
        launch,
        capture,
        save,
    } = plan;
    let live = capture.as_ref().map(Live::open).transpose()?;
    let owner = launch.user.as_ref().map(|u| (u.uid, u.gid));
    let mut writer = save
        .as_ref()
        .map(|(folder, force)| CaseWriter::create(folder, *force, owner))
        .transpose()?;
    let ports = launch.dns_ports.clone();
    let packets = match (&writer, &live) {
        (Some(writer), Some(live)) => Some((writer.packets()?, live.link())),
        _ => None,
    };
    let (user, traced) = (launch.user.clone(), launch.trace);
    let mut header = Header {
        traced,
        ..beginning::header(
            &launch.command,
            &launch.environment,
            live.as_ref().map_or("", Live::interface),
        )
    };
    let tracer = launch.start()?;
    let files = HostFiles::of_process(tracer.root());
    if tracer.no_new_privileges() {
        listener.line("set-user-ID programs gain no privileges in this run (no_new_privs)");
    }
    let kept = privilege::give_up(user.as_ref(), traced).map_err(LiveError::Privileges)?;
    if let Some(writer) = &writer {
        writer.host(&files)?;
    }
    header.started = beginning::now();
    header.monotonic = beginning::monotonic();
    if let Some(writer) = &mut writer {
        writer.begin(&header)?;
    }
    let folder = save.as_ref().map(|(folder, _)| folder.as_path());
    let capturing = live.map(|live| capturing::start(live, packets, named(folder, PACKETS), ports));
    let mut recorder = Recorder {
        events: Vec::new(),
        calls: 0,
        writer,
        progress: Progress::default(),
        listener,
        capturing: capturing
            .as_ref()
            .map(|c| (c.events.clone(), c.path.clone())),
        trace: traced.then(|| named(folder, TRACE)),
        started: header.started,
        resolver_options: header.resolver_options(),
        files: &files,
        folder,
        reported: false,
        cpu_asked: HashMap::new(),
    };
    let ended = tracer.run(&mut recorder)?;
    let captured = capturing.map(capturing::finish);
    recorder.end(&ended, captured, kept)
}

/// `CASE/NAME`, or the bare name where nothing is saved.
fn named(folder: Option<&Path>, name: &str) -> String {
    folder.map_or_else(|| name.to_owned(), |f| f.join(name).display().to_string())
}

/// Keeps events, stores them, and tells the listener.
struct Recorder<'a> {
    events: Vec<Event>,
    calls: u64,
    writer: Option<CaseWriter>,
    progress: Progress,
    listener: &'a mut dyn Listener,
    capturing: Option<(capturing::Shared, String)>,
    /// The trace's path; `None` without a trace.
    trace: Option<String>,
    started: Timestamp,
    resolver_options: Vec<String>,
    files: &'a HostFiles,
    folder: Option<&'a Path>,
    reported: bool,
    /// How often each process was asked for its CPU time.
    cpu_asked: HashMap<Option<u32>, u32>,
}

/// A process that connects more often than this is a busy one: its first connects tell enough.
const MAX_CPU_TIMES: u32 = 64;

/// How long the capture may be behind the tracer: two of its timeouts.
const CAPTURE_BEHIND: Duration = Duration::from_millis(30);

impl Observer for Recorder<'_> {
    fn event(&mut self, event: Event) {
        if let Some(used) = self.cpu_time(&event) {
            self.record(used);
        }
        self.record(event);
    }

    fn tick(&mut self, tick: &Tick) -> Next {
        let open = tick.open.iter().map(|c| (&c.task, c.since, &c.op));
        for line in self.progress.tick(tick.now, open) {
            self.listener.line(&line);
        }
        // The first Ctrl-C is the command's; once that has ended, the next ends the survivors.
        if self.reported && tick.interrupts > 0 {
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
            "the command {}, but {} live on and stay traced until they end or Ctrl-C",
            describe(exit),
            names(survivors)
        ));
        std::thread::sleep(CAPTURE_BEHIND);
        let (captures, packets) = match &self.capturing {
            Some((events, path)) => {
                let events = capturing::lock(events).clone();
                (
                    vec![CaptureFacts {
                        path: path.clone(),
                        ..capturing::seen(&events)
                    }],
                    events,
                )
            }
            None => (Vec::new(), Vec::new()),
        };
        let gathered = self.gathered(captures, packets, self.events.clone());
        self.listener.report(gathered);
        self.reported = true;
        Next::Continue
    }
}

impl Recorder<'_> {
    fn record(&mut self, mut event: Event) {
        event.place.input = u16::from(self.capturing.is_some());
        // The header is line 1 of the trace.
        event.place.number = self.events.len() as u64 + 2;
        self.calls += u64::from(matches!(event.what, What::Call(_)));
        if let Some(writer) = &self.writer {
            writer.event(&event);
        }
        if let Some(line) = self.progress.event(&event) {
            self.listener.line(&line);
        }
        self.listener.event(&event);
        self.events.push(event);
    }

    /// The CPU time of a process that connects to a server, as an event of its own before the connect.
    fn cpu_time(&mut self, event: &Event) -> Option<Event> {
        let What::Call(call) = &event.what else {
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
        let what = What::Life(Box::new(Life {
            task: call.task.clone(),
            change: Change::CpuTime(used),
        }));
        Some(Event {
            what,
            ..event.clone()
        })
    }

    fn gathered(
        &self,
        captures: Vec<CaptureFacts>,
        packets: Vec<Event>,
        events: Vec<Event>,
    ) -> Gathered {
        let input = u16::try_from(captures.len()).unwrap_or(1);
        let trace = self
            .trace
            .as_ref()
            .map(|path| jsonl::facts(path, input, self.calls));
        let conf = self.files.resolv_conf.clone();
        Gathered {
            captures,
            packets,
            past: Past::default(),
            traces: trace.map(|facts| (facts, events)).into_iter().collect(),
            resolv_conf: conf.map(|text| (named(self.folder, "resolv.conf"), text)),
            resolver_options: self.resolver_options.clone(),
            hosts: self.files.hosts.clone(),
            started: Some(self.started),
            one_clock: true,
            remarks: Vec::new(),
        }
    }

    fn end(
        mut self,
        ended: &Ended,
        captured: Option<(CaptureFacts, Vec<Event>)>,
        kept: Kept,
    ) -> Result<Outcome, LiveError> {
        let (captures, packets) = captured.map_or((Vec::new(), Vec::new()), |(facts, events)| {
            (vec![facts], events)
        });
        if let Some(writer) = self.writer.take() {
            writer.end(&Footer {
                dropped: captures.first().and_then(|c| c.dropped),
                exit: describe(ended.exit),
                at: ended.at,
                survivors: ended.killed.clone(),
            })?;
        }
        let events = std::mem::take(&mut self.events);
        let gathered = self.gathered(captures, packets, events);
        Ok(Outcome {
            exit: ended.exit,
            gathered,
            reported: self.reported,
            kept,
        })
    }
}

fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited {code}"),
        Exit::Signal { number, .. } => format!("was killed by {}", signal_name(number)),
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

/// Who the command runs as: `-u USER`, else whoever typed sudo.
pub fn command_user(
    name: Option<&str>,
    environment: &[(OsString, OsString)],
) -> Result<Option<User>, privilege::UserError> {
    match name {
        Some(name) => User::find(name).map(Some),
        None => User::behind_sudo(environment),
    }
}
