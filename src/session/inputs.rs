//! The files a user names: which are captures, which are traces, which folder is a case.

mod classify;
mod resolver_file;
mod spool;
mod together;

use crate::bounded::{self, Patient};
use crate::case::jsonl::{self, JsonlError, TraceFile};
use crate::clock::{Given, Solution};
use crate::decode::resolv_conf::ResolvConf;
use crate::event::{Event, EventKind, LifecycleChange};
use crate::eviction::{Eviction, EvictionSetup};
use crate::explain::assemble::Limits;
use crate::flow::{DNS_PORT, Target};
use crate::input::progress::Progress;
use crate::input::{CaptureFacts, TraceFacts};
use crate::intern::Interner;
use crate::pipeline::Gathered;
use crate::source::capture_file::{self, CaptureFileError, CaptureOptions};
use crate::source::strace_log::{self, StraceLogError};
use crate::time::Timestamp;
use classify::{Found, Stream, file, folder, stream, text};
use spool::Spooled;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;
use together::Together;

/// Why a case cannot be read.
#[derive(Debug, Error)]
pub enum InputError {
    /// A file cannot be opened or read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Path as given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file is neither capture nor trace.
    #[error(
        "{path}: neither a packet capture nor a strace log ({seems}); give a pcap or pcapng file, a strace log, or a \
         case folder"
    )]
    Neither {
        /// Path as given.
        path: String,
        /// What it seems to be.
        seems: &'static str,
    },
    /// What comes through a pipe cannot be kept until another input is read.
    #[error(
        "{path}: what came through this pipe could not be stored in the directory for temporary files (TMPDIR)"
    )]
    NotKept {
        /// Path as given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// More comes through a pipe than is kept.
    #[error("{path}: more than 8 GiB came through this pipe; save it to a file, and name that")]
    TooLong {
        /// Path as given.
        path: String,
    },
    /// A file of another program's making.
    #[error("{path} {seems}: {remedy}")]
    Foreign {
        /// Path as given.
        path: String,
        /// What it is.
        seems: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A folder without anything to read.
    #[error("{path}: the folder holds no packet capture and no strace log")]
    NothingInFolder {
        /// Path as given.
        path: String,
    },
    /// A folder of case folders.
    #[error(
        "{path}: the folder holds no packet capture and no strace log, but its subfolders do; name them: {below}"
    )]
    FolderOfCases {
        /// Path as given.
        path: String,
        /// The subfolders, as a shell lists them.
        below: String,
    },
    /// Two files that both look like the client's resolv.conf.
    #[error("{first} and {second} both look like a resolv.conf; name one of them")]
    TwoResolverFiles {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// A resolv.conf, and nothing that it belongs to.
    #[error(
        "{path} is a resolv.conf; name the packet capture or the strace log of the run as well"
    )]
    OnlyResolverFile {
        /// Its path.
        path: String,
    },
    /// A folder with more than one run.
    #[error("{path}: the folder holds several {what}: {list}; name the files of one run instead")]
    SeveralRuns {
        /// Path as given.
        path: String,
        /// `captures` or `traces`.
        what: &'static str,
        /// Their names.
        list: String,
    },
    /// Several folders, each a case, and files of who knows which.
    #[error(
        "{file} was given together with several folders, each of them a case; name one folder, or only folders, or \
         only files"
    )]
    Mixed {
        /// The first file.
        file: String,
    },
    /// More files than can be numbered.
    #[error("too many input files")]
    TooMany,
    /// A capture.
    #[error(transparent)]
    Capture(#[from] CaptureFileError),
    /// A trace.
    #[error(transparent)]
    Trace(#[from] StraceLogError),
    /// A trace of presyn's own.
    #[error(transparent)]
    Own(#[from] JsonlError),
}

/// What the user said about reading.
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// For captures.
    pub capture: CaptureOptions,
    /// `--resolv-conf`.
    pub resolv_conf: Option<PathBuf>,
    /// How much the report will hold: what it will not may be evicted.
    pub limits: Limits,
    /// The only server that the report will be about.
    pub target: Option<Target>,
    /// The only processes and threads that it will be about; all, if none is named.
    pub pids: Vec<u32>,
    /// What the user said about the clock.
    pub clock: Given,
}

/// Which of the paths are one case. Several folders are a case each; anything else is one case, since the files of
/// one run are named together, and so is a folder with files that it lacks.
pub fn cases(paths: &[PathBuf]) -> Result<Vec<&[PathBuf]>, InputError> {
    let folders = paths.iter().filter(|p| p.is_dir()).count();
    if folders < 2 {
        return Ok(vec![paths]);
    }
    match paths.iter().find(|p| !p.is_dir()) {
        Some(file) => Err(InputError::Mixed {
            file: file.display().to_string(),
        }),
        None => Ok(paths.chunks(1).collect()),
    }
}

/// The text of a resolv.conf that the user names as a file, without the marks of a mail that quotes it.
pub fn resolver_text(path: &Path) -> io::Result<String> {
    let text = bounded::whole_text(path)?;
    Ok(resolver_file::unquoted(&text).into_owned())
}

/// Reads everything the user named, as one case.
pub fn gather(paths: &[PathBuf], options: &InputOptions) -> Result<Gathered, InputError> {
    let mut gathered = Gathered::default();
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let stdin = Patient {
                file: io::stdin(),
                progress: options.capture.progress.clone(),
            };
            found.push(stream(Stream::new(path, Box::new(stdin))?)?);
        } else if path.is_dir() {
            folder(path, &mut found, &mut gathered)?;
        } else {
            found.push(file(path, &options.capture.progress)?);
        }
    }
    let named = take_resolver_file(&mut found)?;
    let given = named.is_some() || options.resolv_conf.is_some();
    if named.is_some() {
        // In a case folder it stands for the one that the folder lacks, or has wrong.
        gathered.resolv_conf = named;
    }
    if let Some(path) = &options.resolv_conf {
        gathered.resolv_conf = Some((path.display().to_string(), text(path)?));
    }
    let progress = &options.capture.progress;
    progress.begin(
        found
            .iter()
            .map(Found::size)
            .sum::<Option<u64>>()
            .unwrap_or(0),
    );
    let read = read_all(found, options, &mut gathered);
    progress.end();
    if given {
        // What the user gives goes before what the client saw.
        let is_files = |e: &Event| matches!(&e.what, EventKind::Life(life) if matches!(life.change, LifecycleChange::Files(_)));
        for (_, events) in &mut gathered.traces {
            events.retain(|e| !is_files(e));
        }
    }
    read.map(|()| gathered)
}

/// Takes the client's resolv.conf out of the files that were named.
fn take_resolver_file(found: &mut Vec<Found>) -> Result<Option<(String, String)>, InputError> {
    let mut named = None;
    let mut others = Vec::new();
    for one in found.drain(..) {
        match (one, &named) {
            (Found::ResolverFile(path, text), None) => named = Some((path, text)),
            (Found::ResolverFile(second, _), Some((first, _))) => {
                let first = first.clone();
                return Err(InputError::TwoResolverFiles { first, second });
            }
            (other, _) => others.push(other),
        }
    }
    *found = others;
    match &named {
        Some((path, _)) if found.is_empty() => {
            let path = path.clone();
            Err(InputError::OnlyResolverFile { path })
        }
        _ => Ok(named),
    }
}

fn read_all(
    found: Vec<Found>,
    options: &InputOptions,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let progress = &options.capture.progress;
    let found = spooled(found, progress)?;
    gathered.watched = found.iter().find_map(Found::watched);
    let found = match Together::of(found, options) {
        Ok(together) => {
            let setup = EvictionSetup {
                limits: options.limits,
                ..setup(&[], options, gathered)
            };
            let mut eviction = Eviction::new(together.setup(options, setup));
            let result = together.read(options, &mut eviction, gathered);
            keep(eviction, gathered);
            return result;
        }
        Err(found) => found,
    };
    let mut eviction = Eviction::new(setup(&found, options, gathered));
    let mut facts = Vec::new();
    let mut horizons = horizons(&found).into_iter();
    for (input, found) in found.into_iter().enumerate() {
        if let Some(horizon) = horizons.next() {
            eviction.before(horizon);
        }
        let input = u16::try_from(input).map_err(|_| InputError::TooMany)?;
        let name = found.name();
        let begun = matches!(&found, Found::Spooled(spooled) if spooled.interrupted);
        if progress.is_stopped() && !begun {
            let remark = format!("{name}: not read: reading was interrupted before it");
            gathered.remarks.push(remark);
            continue;
        }
        let mut options = options.clone();
        if begun {
            options.capture.progress = Progress::default();
        }
        facts.extend(read(found, input, &options, &mut eviction)?);
        if progress.is_stopped() {
            let remark = format!(
                "{name}: reading was interrupted; the report is about what had been read by then"
            );
            gathered.remarks.push(remark);
        }
    }
    take_facts(facts, eviction.first(), gathered);
    keep(eviction, gathered);
    Ok(())
}

/// What an input says of itself, once it is read.
enum InputFacts {
    Capture(CaptureFacts),
    Log(TraceFacts),
    Own(Box<TraceFile>),
}

/// Takes what the inputs, of which the first event was at `first`, say of themselves. Their events come later.
fn take_facts(facts: Vec<InputFacts>, first: Option<Timestamp>, gathered: &mut Gathered) {
    let is_capture = |facts: &InputFacts| matches!(facts, InputFacts::Capture(_));
    // A trace of presyn's says something about the capture beside it.
    let (captures, traces): (Vec<_>, Vec<_>) = facts.into_iter().partition(is_capture);
    for facts in captures.into_iter().chain(traces) {
        match facts {
            InputFacts::Capture(facts) => gathered.captures.push(facts),
            InputFacts::Log(facts) => gathered.traces.push((facts, Vec::new())),
            InputFacts::Own(trace) => own(*trace, first, gathered),
        }
    }
}

/// The same inputs; of several, a pipe is kept in a file, for it is read beside another one, and perhaps twice.
fn spooled(found: Vec<Found>, progress: &Progress) -> Result<Vec<Found>, InputError> {
    let several = found.len() > 1;
    let kept = found.into_iter().map(|one| match one {
        Found::Stream(stream) if several => Spooled::of(stream, progress).map(Found::Spooled),
        other => Ok(other),
    });
    kept.collect()
}

fn read(
    found: Found,
    input: u16,
    options: &InputOptions,
    eviction: &mut Eviction,
) -> Result<Option<InputFacts>, InputError> {
    let progress = &options.capture.progress;
    let mut shared = Interner::default();
    let sink = &mut |mut event| {
        shared.event(&mut event);
        eviction.push(event);
    };
    let found = match found {
        Found::Spooled(spooled) => Found::Stream(spooled.into_stream()?),
        other => other,
    };
    Ok(Some(match found {
        Found::Capture(path) => {
            InputFacts::Capture(capture_file::read(&path, input, &options.capture, sink)?)
        }
        Found::Trace(path) => InputFacts::Log(strace_log::read(&path, input, progress, sink)?),
        Found::Own(path) => InputFacts::Own(Box::new(jsonl::read(&path, input, progress, sink)?)),
        Found::Stream(stream) => {
            let name = stream.name.clone();
            let (capture, trace) = (
                capture_file::sniff(&stream.head),
                jsonl::is_trace(&stream.head),
            );
            let bytes = all(stream, progress);
            if capture {
                let options = &options.capture;
                let facts = capture_file::read_from(bytes, &name, input, options, sink)?;
                InputFacts::Capture(facts)
            } else if trace {
                let trace = jsonl::read_from(bytes, &name, input, progress, sink)?;
                InputFacts::Own(Box::new(trace))
            } else {
                let facts = strace_log::read_from(&name, bytes, input, progress, sink)?;
                InputFacts::Log(facts)
            }
        }
        // Taken out before.
        Found::ResolverFile(..) | Found::Spooled(_) => return Ok(None),
    }))
}

/// What is known of the case before it is read, and whether anything of it may be evicted: of captures alone, and of one
/// trace alone. Of other inputs a later one may refer to anything, unless they can be read together.
fn setup(found: &[Found], options: &InputOptions, gathered: &Gathered) -> EvictionSetup {
    let conf = gathered.resolv_conf.as_ref();
    let captures = found.iter().filter(|f| f.is_capture()).count();
    let bounded = captures == found.len() || found.len() == 1;
    EvictionSetup {
        dns_ports: dns_ports(options),
        resolv_conf: conf.map(|(_, text)| ResolvConf::parse(text)),
        limits: if bounded { options.limits } else { Limits::ALL },
        target: options.target.clone(),
        pids: options.pids.clone(),
        watched: gathered.watched.clone(),
        capture: (captures > 0).then(|| CaptureFacts {
            filter: options.capture.filter.clone(),
            ..CaptureFacts::default()
        }),
        whole: true,
        ..EvictionSetup::default()
    }
}

fn dns_ports(options: &InputOptions) -> Vec<u16> {
    let mut ports = vec![DNS_PORT];
    ports.extend(&options.capture.dns_ports);
    ports
}

/// Hands over what was retained, and for which logs that have no times it was given some.
fn keep(mut eviction: Eviction, gathered: &mut Gathered) {
    for input in eviction.laid_out() {
        gathered.solved.insert(input, Solution::laid_out());
    }
    gathered.retain(eviction.finish());
}

/// For each of several captures the time at which a later one begins, which may show the rest of what went on then:
/// rotated files (`tcpdump -C`) follow each other, those of two interfaces lie side by side. Where a later one does
/// not tell, the beginning of time.
fn horizons(found: &[Found]) -> Vec<Timestamp> {
    let mut earliest = Timestamp(i64::MAX);
    let mut list: Vec<Timestamp> = Vec::with_capacity(found.len());
    for one in found.iter().rev() {
        list.push(earliest);
        if list.len() < found.len() {
            earliest = earliest.min(one.begins().unwrap_or(Timestamp(i64::MIN)));
        }
    }
    list.reverse();
    list
}

/// Adds a trace that presyn took.
fn own(mut trace: TraceFile, first: Option<Timestamp>, gathered: &mut Gathered) {
    let started = trace.started(first);
    gathered.started = gathered.started.or(started);
    gathered.one_clock = true;
    gathered.resolver_options = trace.header.resolver_options();
    gathered.run = Some(trace.header.run());
    gathered.recorded_host = trace.header.recorded_host();
    // The capture beside it cannot say what was dropped; the trace's last line can.
    let footer = trace.footer.take().unwrap_or_default();
    if let [capture] = &mut gathered.captures[..] {
        if capture.dropped.is_none() {
            (capture.dropped, capture.drop_times) = (footer.dropped, footer.drop_times);
        }
        capture.omit(&footer.omitted);
        capture.damaged |= footer.capture_ended.is_some();
        capture.warnings.extend(footer.capture_ended);
    }
    gathered.watched = trace.header.watched();
    if trace.header.traced {
        gathered.traces.push((trace.facts, Vec::new()));
    } else {
        gathered.remarks.extend(trace.facts.warnings);
    }
}

/// All of a stream, of which the beginning has been read.
fn all(stream: Stream, progress: &Progress) -> impl Read + use<> {
    progress.count(Cursor::new(stream.head).chain(stream.rest))
}
