//! A live run: the capture, the tracer and the case folder together.
//!
//! Order at start: fork the analysis process and the command's, open the capture while the latter comes as far as its
//! program's first instruction, create the case folder and hand its files over, read the host's files as the command sees
//! them, give up what is no longer needed. Packets are parsed in the analysis process only.

mod analysis;
pub mod attach;
mod confine;
mod forward;
mod header;
mod message;
mod process;
mod remark;
mod sender;
mod waits;
mod watched;

use crate::case::folder::SaveError;
use crate::case::jsonl::{Footer, Header};
use crate::case::writer::CaseWriter;
use crate::event::Event;
use crate::input::host::HostFiles;
use crate::pipeline::{Gathered, Settings};
use crate::source::capture::{CaptureError, CaptureSettings};
use crate::source::privilege::{self, Needs, RetainedRights};
use crate::source::target::TargetError;
use crate::source::tracer::{Ended, Exit, Forked, Launch, Tracer, TracerError, signal_name};
use crate::user::{User, UserError};
use analysis::{Job, Sight};
use forward::{Forwarding, Outbox};
use message::Begin;
use nix::errno::Errno;
use nix::unistd::Pid;
use process::{Analysis, AnalysisError, CaseFiles};
use sender::EventSender;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use watched::WatchedCapture;

/// What to run, capture and save.
pub struct Plan {
    /// The command.
    pub launch: Launch,
    /// The capture; `None` with `--no-capture`.
    pub capture: Option<CaptureSettings>,
    /// The case folder, and whether it may exist.
    pub save: Option<(PathBuf, bool)>,
    /// Keep the packets of all processes, not of the command's alone.
    pub others: bool,
    /// Capture for so long after the command's end.
    pub linger: Duration,
    /// Store the command's arguments and environment as they are, secrets among them.
    pub keep_arguments: bool,
    /// What the report is to be about, and how much it will hold: the rest is counted and not retained.
    pub settings: Settings,
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
    /// The analysis process.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// What is to be watched.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Signals cannot be taken.
    #[error("cannot make a signalfd: {}", .0.desc())]
    Signals(nix::errno::Errno),
    /// The queue to it.
    #[error("cannot make an eventfd: {}", .0.desc())]
    Queue(nix::errno::Errno),
    /// The thread that captures.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// Rights could not be given up.
    #[error("cannot give up privileges: {}", .0.desc())]
    Privileges(nix::errno::Errno),
}

/// Who is told what while the run goes on. It lives in both processes: lines come from either, events and reports from
/// the analysis process.
pub trait Listener {
    /// A line about what is waited for, or about presyn itself.
    fn line(&mut self, line: &str);
    /// A line about what went wrong, whether or not the user wants to read others.
    fn trouble(&mut self, line: &str);
    /// Every event, for `-v`.
    fn event(&mut self, event: &Event);
    /// Time for the report. Returns whether it was written.
    fn report(&mut self, gathered: Gathered) -> bool;
    /// Descriptors that the report goes to, beside standard error.
    fn descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }
    /// Which rights each process has kept, for `-v`.
    fn rights(&mut self, kept: &RetainedRights, analysis: &str);
}

/// A finished run.
#[derive(Debug)]
pub struct RunOutcome {
    /// How the command ended.
    pub exit: Exit,
}

/// Runs the plan to its end.
///
/// Two processes: this one captures and traces, and parses nothing that came from the network; the other, forked first
/// and confined before it reads anything, decodes, stores and reports. It must be called while the process has one
/// thread. The listener works in both.
pub fn run(plan: Plan, listener: &mut dyn Listener) -> Result<RunOutcome, LiveError> {
    let (job, mut header) = (plan.job(), plan.header()?);
    let Plan {
        launch,
        capture,
        save,
        linger,
        ..
    } = plan;
    let (user, traced_user) = (launch.user.clone(), launch.traced_user().cloned());
    let needs = needs(&launch);
    let mut analysis = Analysis::start(&job, listener)?;
    // Before there is anything to protect, and after that process was forked: it raises its /proc/self/oom_score_adj,
    // which is root's from here on, and hardens itself.
    privilege::harden().map_err(LiveError::Privileges)?;
    // Forked before the capture opens: neither its socket nor its ring is ever in the command's process.
    let forked = launch.fork()?;
    let descriptor_limit = privilege::raise_descriptor_limit();
    let (capture, command) = match &capture {
        Some(settings) => open_beside(settings, forked, header.traced)?,
        None => (None, LaunchState::Waits(Box::new(forked))),
    };
    let create =
        |(folder, force): &(PathBuf, bool)| CaseWriter::create(folder, *force, user.as_ref());
    let mut writer = save.as_ref().map(create).transpose()?;
    analysis.hand_over(case_files(writer.as_mut(), capture.is_some())?)?;
    let interface = capture.as_ref().map(|c| c.live.interface().to_owned());
    header.interface = interface.unwrap_or_default();
    let tracer = command.start()?;
    let files = HostFiles::of_process(tracer.root());
    let kept = privilege::give_up(traced_user.as_ref(), needs).map_err(LiveError::Privileges)?;
    if let Some(writer) = &writer {
        writer.host(&files)?;
    }
    listener.rights(&kept, &rights_of(analysis.pid()));
    let link = capture.as_ref().map(|c| c.live.link());
    let outbox = begun(&files, header, link)?;
    let input = u16::from(capture.is_some());
    let pipe = analysis.pipe();
    let forward = |pipe| Forwarding::start(outbox.clone(), capture, pipe);
    let forwarding = pipe.map(forward).transpose().map_err(LiveError::Thread)?;
    let mut sender = EventSender::new(&outbox, &analysis, listener, input);
    let ended = tracer.run(&mut sender);
    std::thread::sleep(linger);
    let (lost, remarks) = (sender.lost(), sender.into_remarks());
    let footer = { ended.as_ref().ok() }.map(|ended| footer(ended, remarks, descriptor_limit));
    let thread = forwarding.map(|forwarding| forwarding.finish(footer));
    if let Some(line) = finish(analysis, thread, &outbox)
        && !lost
    {
        listener.trouble(&line);
    }
    let ended = ended?;
    Ok(RunOutcome { exit: ended.exit })
}

/// The command's process before the run.
enum LaunchState {
    /// It has done nothing yet.
    Waits(Box<Forked>),
    /// It stands at its program's first instruction until the tracer runs.
    Stands(Box<Tracer>),
}

impl LaunchState {
    fn start(self) -> Result<Tracer, TracerError> {
        match self {
            Self::Waits(forked) => forked.start(),
            Self::Stands(tracer) => Ok(*tracer),
        }
    }
}

/// Opens the capture, which waits for the kernel most of the time, while the child comes as far as the command's first
/// instruction. One that is not traced would not stand there, so it waits.
fn open_beside(
    settings: &CaptureSettings,
    forked: Forked,
    traced: bool,
) -> Result<(Option<WatchedCapture>, LaunchState), LiveError> {
    std::thread::scope(|scope| {
        let open = || WatchedCapture::open(settings);
        let thread = std::thread::Builder::new();
        let opening = { traced }.then(|| thread.spawn_scoped(scope, open).ok());
        let Some(opening) = opening.flatten() else {
            return Ok((Some(open()?), LaunchState::Waits(Box::new(forked))));
        };
        let tracer = forked.start();
        let opened = opening.join();
        let capture = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((Some(capture), LaunchState::Stands(Box::new(tracer?))))
    })
}

impl Plan {
    /// What is said about the run before it begins. Interfaces and timers are those of the network namespace that is
    /// captured in, or that the command begins in.
    fn header(&self) -> Result<Header, CaptureError> {
        let launch = &self.launch;
        let facts = || {
            let (command, environment) = (&launch.command, &launch.environment);
            header::header(command, environment, "", self.keep_arguments)
        };
        let captured = self.capture.as_ref().and_then(|c| c.netns.clone());
        let facts = match captured.or_else(|| launch.network()) {
            Some(netns) => netns.within(facts).map_err(|error| netns.error(&error))?,
            None => facts(),
        };
        Ok(Header {
            traced: launch.trace,
            user: Some(launch.uid()),
            ..facts
        })
    }

    /// What the analysis process is to do.
    fn job(&self) -> Job {
        Job {
            folder: self.save.as_ref().map(|(folder, _)| folder.clone()),
            capture: self.capture.is_some(),
            sight: if self.launch.trace {
                Sight::Calls
            } else {
                Sight::Packets
            },
            others: self.others,
            dns_ports: self.launch.dns_ports.clone(),
            settings: self.settings.clone(),
        }
    }
}

/// Which rights the tracer keeps.
fn needs(launch: &Launch) -> Needs {
    match (launch.trace, launch.allow_setuid) {
        (false, _) => Needs::Nothing,
        (true, false) => Needs::Trace,
        (true, true) => Needs::TraceGains,
    }
}

/// Waits for the analysis process. Its process being gone, the forwarding thread only closes the capture.
fn finish(analysis: Analysis, thread: Option<JoinHandle<()>>, outbox: &Outbox) -> Option<String> {
    let trouble = analysis.wait();
    if let Some(thread) = thread.filter(|_| outbox.is_settled()) {
        let _ = thread.join();
    }
    trouble
}

/// A queue that the run begins in: its first records.
fn begun(
    files: &HostFiles,
    mut header: Header,
    link: Option<i32>,
) -> Result<Arc<Outbox>, LiveError> {
    (header.started, header.monotonic) = (header::now(), header::monotonic());
    let outbox = Outbox::new().map_err(LiveError::Queue)?;
    outbox.control(|to| first_records(to, files, &Begin { header, link }));
    Ok(Arc::new(outbox))
}

/// What a run's stream begins with: the files that its resolver reads, then the header.
fn first_records(to: &mut Vec<u8>, files: &HostFiles, begin: &Begin) -> bool {
    let texts = [("resolv.conf", &files.resolv_conf), ("hosts", &files.hosts)];
    for (name, text) in texts {
        if let Some(text) = text {
            message::host_file(to, name, text);
        }
    }
    message::begin(to, begin)
}

/// The last record: how the command ended, and what presyn missed.
fn footer(ended: &Ended, mut remarks: Vec<String>, limit: Result<u64, Errno>) -> Footer {
    remarks.extend(remark::out_of_descriptors(ended.failed_looks, limit));
    Footer {
        remarks,
        dropped: None,
        exit: describe(ended.exit),
        at: ended.at,
        survivors: ended.killed.clone(),
        ..Footer::default()
    }
}

/// What the analysis process writes of a case.
fn case_files(
    writer: Option<&mut CaseWriter>,
    captures: bool,
) -> Result<Option<CaseFiles>, SaveError> {
    let Some(writer) = writer else {
        return Ok(None);
    };
    let packets = captures.then(|| writer.packets()).transpose()?;
    Ok(writer.logs().map(|logs| CaseFiles { packets, logs }))
}

/// What the kernel says about the rights of a process (`proc_pid_status(5)`).
fn rights_of(pid: Pid) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|values| values.split_whitespace().next().map(str::to_owned))
            .unwrap_or_else(|| "unknown".into())
    };
    format!(
        "runs as user {} (CapEff {}, NoNewPrivs {}, Seccomp {})",
        value("Uid:"),
        value("CapEff:"),
        value("NoNewPrivs:"),
        value("Seccomp:")
    )
}

/// `CASE/NAME`, or the bare name where nothing is saved.
fn named(folder: Option<&Path>, name: &str) -> String {
    folder.map_or_else(|| name.to_owned(), |f| f.join(name).display().to_string())
}

fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited {code}"),
        Exit::Signal { number, .. } => format!("was killed by {}", signal_name(number)),
    }
}

/// Who the command runs as: `-u USER`, else whoever typed sudo.
pub fn command_user(
    name: Option<&str>,
    environment: &[(OsString, OsString)],
) -> Result<Option<User>, UserError> {
    match name {
        Some(name) => User::find(name).map(Some),
        None => User::behind_sudo(environment),
    }
}
