//! The files a user names: which are captures, which are traces, which folder is a case.

mod found;

use crate::bounded::Patient;
use crate::case::jsonl::{self, JsonlError, Trace};
use crate::decode::resolv_conf::ResolvConf;
use crate::event::{Change, Event, What};
use crate::eviction::Eviction;
use crate::explain::assemble::Limits;
use crate::flow::{DNS_PORT, Target};
use crate::input::progress::Progress;
use crate::intern::Interner;
use crate::merge;
use crate::pipeline::Gathered;
use crate::source::capture_file::{self, CaptureFileError, CaptureOptions};
use crate::source::strace_log::{self, StraceLogError};
use crate::time::Timestamp;
use crate::totals::Totals;
use found::{Found, Stream, file, folder, refuse_foreign, text};
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use thiserror::Error;

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
        "{path}: neither a packet capture nor a strace log ({seems}); give a pcap or pcapng file, a strace log, or a case folder"
    )]
    Neither {
        /// Path as given.
        path: String,
        /// What it seems to be.
        seems: &'static str,
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
        "{file} stands beside several folders, which are a case each; name one folder, or folders alone, or files alone"
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

/// Reads everything the user named, as one case.
pub fn gather(paths: &[PathBuf], options: &InputOptions) -> Result<Gathered, InputError> {
    let mut gathered = Gathered::default();
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let stream = Stream::new(
                path,
                Box::new(Patient {
                    file: io::stdin(),
                    progress: options.capture.progress.clone(),
                }),
            )?;
            refuse_foreign("-", &stream.head)?;
            found.push(Found::Stream(stream));
        } else if path.is_dir() {
            folder(path, &mut found, &mut gathered)?;
        } else {
            found.push(file(path, &options.capture.progress)?);
        }
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
    if options.resolv_conf.is_some() {
        // What the user gives goes before what the client saw.
        let is_files = |e: &Event| matches!(&e.what, What::Life(life) if matches!(life.change, Change::Files(_)));
        for (_, events) in &mut gathered.traces {
            events.retain(|e| !is_files(e));
        }
    }
    read.map(|()| gathered)
}

fn read_all(
    found: Vec<Found>,
    options: &InputOptions,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let progress = &options.capture.progress;
    let mut eviction = eviction(&found, options, gathered);
    let mut horizons = horizons(&found).into_iter();
    for (input, found) in found.into_iter().enumerate() {
        if let (Some(eviction), Some(horizon)) = (&mut eviction, horizons.next()) {
            eviction.before(horizon);
        }
        let input = u16::try_from(input).map_err(|_| InputError::TooMany)?;
        let name = found.name();
        if progress.is_stopped() {
            let remark = format!("{name}: not read, for reading was interrupted before");
            gathered.remarks.push(remark);
            continue;
        }
        read(found, input, options, &mut eviction, gathered)?;
        if progress.is_stopped() {
            let remark = format!(
                "{name}: reading was interrupted; the report is about what had been read by then"
            );
            gathered.remarks.push(remark);
        }
    }
    Ok(())
}

fn read(
    found: Found,
    input: u16,
    options: &InputOptions,
    eviction: &mut Option<Eviction>,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let progress = &options.capture.progress;
    let mut shared = Interner::default();
    let mut calls = Vec::new();
    let mut calls_sink = |mut event| {
        shared.event(&mut event);
        calls.push(event);
    };
    match found {
        Found::Capture(path) => {
            let sink = &mut packets_into(eviction, &mut gathered.packets, &mut gathered.totals);
            let facts = capture_file::read(&path, input, &options.capture, sink)?;
            gathered.captures.push(facts);
        }
        Found::Trace(path) => {
            let facts = strace_log::read(&path, input, progress, &mut calls_sink)?;
            gathered.traces.push((facts, calls));
        }
        Found::Own(path) => {
            own(
                jsonl::read(&path, input, progress, &mut calls_sink)?,
                calls,
                gathered,
            );
        }
        Found::Stream(stream) if capture_file::sniff(&stream.head) => {
            let sink = &mut packets_into(eviction, &mut gathered.packets, &mut gathered.totals);
            let name = stream.name.clone();
            let facts = capture_file::read_from(
                all(stream, progress),
                &name,
                input,
                &options.capture,
                sink,
            )?;
            gathered.captures.push(facts);
        }
        Found::Stream(stream) if jsonl::is_trace(&stream.head) => {
            let name = stream.name.clone();
            let trace = jsonl::read_from(
                all(stream, progress),
                &name,
                input,
                progress,
                &mut calls_sink,
            )?;
            own(trace, calls, gathered);
        }
        Found::Stream(stream) => {
            let name = stream.name.clone();
            let facts = strace_log::read_from(
                &name,
                all(stream, progress),
                input,
                progress,
                &mut calls_sink,
            )?;
            gathered.traces.push((facts, calls));
        }
    }
    Ok(())
}

/// What evicts packets while reading: nothing where there is a trace, since calls may refer to any packet.
fn eviction(found: &[Found], options: &InputOptions, gathered: &Gathered) -> Option<Eviction> {
    let conf = gathered.resolv_conf.as_ref();
    let conf = conf.map(|(_, text)| ResolvConf::parse(text));
    let mut ports = vec![DNS_PORT];
    ports.extend(&options.capture.dns_ports);
    found
        .iter()
        .all(Found::is_capture)
        .then(|| Eviction::new(ports, conf.as_ref(), options.limits, options.target))
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

/// Adds what matters of one capture to a list.
fn packets_into(
    eviction: &mut Option<Eviction>,
    packets: &mut Vec<Event>,
    totals: &mut Totals,
) -> impl FnMut(Event) {
    let mut shared = Interner::default();
    move |mut event| {
        shared.event(&mut event);
        merge::keep(packets, event);
        if let Some(eviction) = eviction {
            eviction.evict_finished(packets, totals);
        }
    }
}

/// Adds a trace that presyn took.
fn own(mut trace: Trace, calls: Vec<Event>, gathered: &mut Gathered) {
    let first = calls.iter().chain(&gathered.packets).map(|e| e.at).min();
    let started = trace.started(first);
    gathered.started = gathered.started.or(started);
    gathered.one_clock = true;
    gathered.resolver_options = trace.header.resolver_options();
    // The capture beside it cannot say what was dropped; the trace's last line can.
    let footer = trace.footer.unwrap_or_default();
    if let [capture] = &mut gathered.captures[..] {
        capture.dropped = capture.dropped.or(footer.dropped);
        capture.omit(&footer.omitted);
        capture.damaged |= footer.capture_ended.is_some();
        capture.warnings.extend(footer.capture_ended);
    }
    if trace.header.traced {
        gathered.traces.push((trace.facts, calls));
    }
}

/// All of a stream, of which the beginning has been read.
fn all(stream: Stream, progress: &Progress) -> impl Read + use<> {
    progress.count(Cursor::new(stream.head).chain(stream.rest))
}
