//! A watch: packets of what already runs are captured in its network namespace, and each query and SYN is given to the
//! process that has its socket. Nothing is stopped or changed.
//!
//! Two processes, as in a run: this one captures and looks up sockets, and parses nothing that came from the network; the
//! other decodes the packets, asks whose they are (`ask`), and reports.

pub(super) mod ask;
pub(super) mod asking;
mod calls;
pub(super) mod long_waits;

use super::analysis::{Job, Sight};
use super::forward::{Forwarding, Outbox};
use super::header;
use super::message::{self, Begin, StillOpen};
use super::process::Analysis;
use super::watched::WatchedCapture;
use super::{Listener, LiveError, case_files, finish, first_records, rights_of};
use crate::case::jsonl::{Footer, Header};
use crate::case::writer::CaseWriter;
use crate::event::{Event, EventKind, Location, Owner, Whose};
use crate::input::host::HostFiles;
use crate::input::watched::Watched;
use crate::pipeline::Settings;
use crate::source::capture::{CaptureSettings, Netns};
use crate::source::privilege::{self, Needs};
use crate::source::target::{Asked, HostRoot, RunningTarget};
use crate::source::watcher::{WaitState, Watcher};
use crate::time::{Span, Timestamp};
use crate::user::User;
use ask::Ask;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to watch, capture and save.
pub struct AttachPlan {
    /// What runs.
    pub asked: Asked,
    /// The capture; its namespace is the target's.
    pub capture: CaptureSettings,
    /// The case folder, and whether it may exist.
    pub save: Option<(PathBuf, bool)>,
    /// Whose the case is.
    pub user: Option<User>,
    /// Trace every call instead of watching sockets: each stops the thread that makes it.
    pub calls: bool,
    /// For so long; `None`: until the user or the target ends it.
    pub duration: Option<Duration>,
    /// Until a process has waited for so long.
    pub until_delay: Option<Span>,
    /// Store the target's arguments as they are, secrets among them.
    pub keep_arguments: bool,
    /// What the report is to be about.
    pub settings: Settings,
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The user or a signal ended it.
    Told,
    /// Its time was over.
    Time,
    /// A process had waited for as long as was to be seen.
    Delay,
    /// The target has no process any more.
    TargetEnded,
    /// The analysis process is gone.
    Lost,
}

impl WatchEnd {
    /// For the case and the report.
    fn words(self) -> &'static str {
        match self {
            Self::Told => "was ended by the user",
            Self::Time => "ended after its time",
            Self::Delay => "ended when a wait was long enough",
            Self::TargetEnded => "ended with its target",
            Self::Lost => "broke off",
        }
    }
}

/// How often it is seen whether the target still runs.
const TARGET_LOOK: Duration = Duration::from_millis(250);
/// What was captured before the end has been asked about when nothing was asked for so long: the kernel hands packets over
/// within milliseconds, later on a busy machine …
const HANDED_OVER: Duration = Duration::from_millis(150);
/// … and a busy target never pauses.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);
/// How often that is looked at, in milliseconds.
const DRAIN_LOOK: u16 = 10;
/// So many questions are read at once.
const QUESTIONS: usize = 256;
/// Signals that end a watch.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Watches, or with `calls` traces, until the user, a limit or the target ends it. It must be called while the process has
/// one thread. The listener works in both processes.
pub fn attach(plan: &AttachPlan, listener: &mut dyn Listener) -> Result<WatchEnd, LiveError> {
    if plan.calls {
        return calls::attach(plan, listener);
    }
    let target = Arc::new(RunningTarget::find(&plan.asked, &HostRoot::host())?);
    let mut analysis = Analysis::start(&plan.job(plan.sight()), listener)?;
    privilege::harden().map_err(LiveError::Privileges)?;
    privilege::raise_descriptor_limit().map_err(LiveError::Privileges)?;
    let opened = plan.open(&target, &mut analysis)?;
    let members = target.clone();
    let netns = namespace(target.first.pid);
    let watcher = Watcher::open(netns.as_ref(), Box::new(move || members.processes()))?;
    let watched = Watched {
        target: target.description(),
        netns: watcher.netns(),
        no_threads: watcher.no_threads(),
        inexact: watcher.inexact().map(str::to_owned),
    };
    let (begin, OpenedCase { capture, files }) = (plan.begin(&target, &opened, watched), opened);
    let signals = take_signals().map_err(LiveError::Signals)?;
    let kept = privilege::give_up(None, Needs::Watch).map_err(LiveError::Privileges)?;
    listener.rights(&kept, &rights_of(analysis.pid()));
    let outbox = Arc::new(Outbox::new().map_err(LiveError::Queue)?);
    outbox.control(|to| first_records(to, &files, &begin));
    let (asks, pipe) = (analysis.asks(), analysis.pipe());
    let forward = |pipe| Forwarding::start(outbox.clone(), Some(capture), pipe);
    let forwarding = pipe.map(forward).transpose().map_err(LiveError::Thread)?;
    let mut session = WatchSession {
        outbox: &outbox,
        watcher,
        threads: HashMap::new(),
        ends: plan.duration.map(|duration| Instant::now() + duration),
    };
    listener.line(&format!(
        "watching {}; Ctrl-C ends it",
        begin.header.target()
    ));
    let end = asks.map_or(WatchEnd::Lost, |mut asks| {
        let end = session.run(&mut asks, &signals);
        session.drain(&mut asks);
        end
    });
    let footer = Footer {
        exit: end.words().into(),
        at: header::now(),
        ..Footer::default()
    };
    let thread = forwarding.map(|forwarding| forwarding.finish(Some(footer)));
    if let Some(line) = finish(analysis, thread, &outbox) {
        listener.trouble(&line);
    }
    Ok(end)
}

/// What is open before anything is watched or traced.
struct OpenedCase {
    capture: WatchedCapture,
    /// Files of the target's, which the case has too.
    files: HostFiles,
}

impl AttachPlan {
    /// Opens the capture in the target's network namespace and the case folder, and gives the analysis process its files.
    fn open(
        &self,
        target: &RunningTarget,
        analysis: &mut Analysis,
    ) -> Result<OpenedCase, LiveError> {
        let capture = WatchedCapture::open(&CaptureSettings {
            netns: namespace(target.first.pid),
            ..self.capture.clone()
        })?;
        let user = self.user.as_ref();
        let create = |(folder, force): &(PathBuf, bool)| CaseWriter::create(folder, *force, user);
        let mut writer = self.save.as_ref().map(create).transpose()?;
        analysis.hand_over(case_files(writer.as_mut(), true)?)?;
        let files = HostFiles::of_process(target.first.pid);
        if let Some(writer) = &writer {
            writer.host(&files)?;
        }
        Ok(OpenedCase { capture, files })
    }

    /// The first record: of a watch where nothing is traced.
    fn begin(&self, target: &RunningTarget, opened: &OpenedCase, watched: Watched) -> Begin {
        Begin {
            header: Header {
                traced: self.calls,
                watched: Some(watched),
                ..self.header(target, opened.capture.live.interface())
            },
            link: Some(opened.capture.live.link()),
        }
    }

    /// What a watch sees.
    fn sight(&self) -> Sight {
        Sight::Sockets {
            until_delay: self.until_delay,
        }
    }

    fn job(&self, sight: Sight) -> Job {
        Job {
            folder: self.save.as_ref().map(|(folder, _)| folder.clone()),
            capture: true,
            sight,
            others: false,
            dns_ports: self.capture.dns_ports.clone(),
            settings: self.settings.clone(),
        }
    }

    /// What is said about the target's first process.
    fn header(&self, target: &RunningTarget, interface: &str) -> Header {
        let process = target.first.pid;
        let words = |name: &str| {
            let bytes = fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
            let words = bytes
                .split(|byte| *byte == 0)
                .filter(|word| !word.is_empty());
            let words = words.map(|word| OsString::from_vec(word.to_vec()));
            words.collect::<Vec<_>>()
        };
        let environment: Vec<(OsString, OsString)> = { words("environ").into_iter() }
            .filter_map(|word| {
                let bytes = word.into_vec();
                let equals = bytes.iter().position(|byte| *byte == b'=')?;
                let (name, value) = (bytes[..equals].to_vec(), bytes[equals + 1..].to_vec());
                Some((OsString::from_vec(name), OsString::from_vec(value)))
            })
            .collect();
        let kept = self.keep_arguments;
        let (started, monotonic) = (header::now(), header::monotonic());
        let user = fs::metadata(format!("/proc/{process}"))
            .ok()
            .map(|of| of.uid());
        Header {
            user,
            started,
            monotonic,
            ..header::header(&words("cmdline"), &environment, interface, kept)
        }
    }
}

/// The network namespace of a process, where it is not this one's.
fn namespace(pid: u32) -> Option<Netns> {
    let of = |path: String| fs::metadata(path).map(|of| (of.dev(), of.ino())).ok();
    let same = of(format!("/proc/{pid}/ns/net")) == of("/proc/self/ns/net".into());
    (!same).then_some(Netns::Process(pid))
}

/// Takes the signals that end a watch. The thread that forwards inherits that it takes none.
fn take_signals() -> nix::Result<SignalFd> {
    let set: SigSet = ENDING.into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// A watch that goes on.
struct WatchSession<'a> {
    outbox: &'a Outbox,
    watcher: Watcher,
    /// The thread that was last told to wait for a socket.
    threads: HashMap<u64, Option<u32>>,
    ends: Option<Instant>,
}

/// The threads of more sockets than this are told again.
const MAX_THREADS: usize = 1 << 14;
/// The watch's events are the second input, after the capture.
const INPUT: u16 = 1;

impl WatchSession<'_> {
    /// Answers questions until the watch ends.
    fn run(&mut self, asks: &mut File, signals: &SignalFd) -> WatchEnd {
        let mut look = Instant::now();
        loop {
            let timeout = self.timeout(look);
            let mut fds = vec![
                PollFd::new(asks.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(
                { self.watcher.reports() }.map(|reports| PollFd::new(reports, PollFlags::POLLIN)),
            );
            // Interrupted or not: everything is tried next.
            let _ = poll(&mut fds, timeout);
            if fds[1].any().unwrap_or(false) {
                return WatchEnd::Told;
            }
            match self.answer(asks) {
                Some(end) => return end,
                None => self.send_settled(),
            }
            let now = Instant::now();
            if self.ends.is_some_and(|end| now >= end) {
                return WatchEnd::Time;
            }
            if now >= look {
                look = now + TARGET_LOOK;
                if self.watcher.refresh() == 0 {
                    return WatchEnd::TargetEnded;
                }
            }
        }
    }

    fn timeout(&self, look: Instant) -> PollTimeout {
        let now = Instant::now();
        let until = [Some(look), self.ends].into_iter().flatten();
        let until = until.map(|at| at.saturating_duration_since(now));
        let shortest = until.chain(self.watcher.settles_in()).min();
        // Rounded up: what is due must be due then.
        let millis = shortest.unwrap_or(TARGET_LOOK).as_micros().div_ceil(1_000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::ZERO)
    }

    /// Answers the questions that are there.
    fn answer(&mut self, asks: &mut File) -> Option<WatchEnd> {
        let mut records = [0; QUESTIONS * ask::LENGTH];
        let got = match asks.read(&mut records) {
            Ok(0) => return Some(WatchEnd::Lost),
            Ok(got) => got,
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                return None;
            }
            Err(_) => return Some(WatchEnd::Lost),
        };
        let (records, _) = records[..got].as_chunks::<{ ask::LENGTH }>();
        for record in records {
            match Ask::decode(record) {
                Some(Ask::Whose(look)) => self.watcher.look(look, header::now()),
                Some(Ask::Waits { cookie, look }) => self.wait(cookie, look.flow),
                Some(Ask::Enough) => return Some(WatchEnd::Delay),
                // No presyn asks this: it is not answered.
                None => {}
            }
        }
        None
    }

    fn send_settled(&mut self) {
        let outbox = self.outbox;
        self.watcher.settled(&mut |at, owner| {
            outbox.event(event(at, owner), INPUT);
        });
    }

    /// Looks who waits for a socket, and tells it where that is another thread than before.
    fn wait(&mut self, cookie: u64, flow: crate::flow::FiveTuple) {
        let state = self.watcher.wait(cookie);
        let at = header::now();
        let still = StillOpen {
            cookie,
            open: state != WaitState::Gone,
            waited_for: match state {
                WaitState::By(_) => Some(true),
                WaitState::Nobody | WaitState::Gone => Some(false),
                WaitState::Unreadable => None,
            },
            at,
        };
        match state {
            WaitState::By(socket) => {
                if self.threads.len() >= MAX_THREADS {
                    self.threads.clear();
                }
                let tid = socket.task.tid;
                if self.threads.insert(cookie, tid) != Some(tid) {
                    let owner = Owner {
                        flow,
                        whose: Whose::Watched(socket),
                        netns: self.watcher.netns(),
                    };
                    self.outbox.event(event(at, owner), INPUT);
                }
            }
            WaitState::Gone => drop(self.threads.remove(&cookie)),
            WaitState::Nobody | WaitState::Unreadable => {}
        }
        self.outbox.control(|to| message::still_open(to, &still));
    }

    /// Answers what is asked about packets that were captured before the end, and waits until all looks are final.
    fn drain(&mut self, asks: &mut File) {
        let began = Instant::now();
        let mut quiet = began;
        while quiet.elapsed() < HANDED_OVER && began.elapsed() < LONGEST_DRAIN {
            let mut fds = [PollFd::new(asks.as_fd(), PollFlags::POLLIN)];
            let some = poll(&mut fds, DRAIN_LOOK) == Ok(1);
            match self.answer(asks) {
                Some(WatchEnd::Lost) => break,
                _ if some => quiet = Instant::now(),
                _ => {}
            }
            self.send_settled();
        }
        while let Some(left) = self.watcher.settles_in() {
            std::thread::sleep(left);
            self.send_settled();
        }
    }
}

fn event(at: Timestamp, owner: Owner) -> Event {
    Event {
        at,
        place: Location::default(),
        what: EventKind::Owner(Box::new(owner)),
    }
}
