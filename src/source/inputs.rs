//! The files a user names: which are captures, which are traces, which folder is a case.

use super::capture_file::{self, CaptureFileError, CaptureOptions};
use super::headway::{self, Counted};
use super::strace_log::{self, StraceLogError};
use crate::case::jsonl::{self, JsonlError, Trace};
use crate::case::{SYSCALLS, TRACE};
use crate::decode::resolv_conf::ResolvConf;
use crate::event::Event;
use crate::explain::assemble::Limits;
use crate::explain::past::Past;
use crate::merge;
use crate::pipeline::Gathered;
use crate::pipeline::forget::Forget;
use crate::share::Shared;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
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
    /// How much the report will hold: what it will not may be let go.
    pub limits: Limits,
}

/// What a path turned out to be.
enum Found {
    Capture(PathBuf),
    Trace(PathBuf),
    /// A trace that presyn took.
    Own(PathBuf),
    /// Standard input: its kind shows in its first bytes, which are these.
    Stdin(Vec<u8>),
}

/// How many bytes tell what a file is.
const SNIFF: u64 = 1 << 16;

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
            found.push(Found::Stdin(head(Stdin, path)?));
        } else if path.is_dir() {
            folder(path, &mut found, &mut gathered)?;
        } else {
            found.push(file(path)?);
        }
    }
    if let Some(path) = &options.resolv_conf {
        gathered.resolv_conf = Some((path.display().to_string(), text(path)?));
    }
    headway::begin(
        found
            .iter()
            .map(Found::size)
            .sum::<Option<u64>>()
            .unwrap_or(0),
    );
    let read = read_all(found, options, &mut gathered);
    headway::end();
    read.map(|()| gathered)
}

fn read_all(
    found: Vec<Found>,
    options: &InputOptions,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let mut forget = forget(&found, options, gathered);
    for (input, found) in found.into_iter().enumerate() {
        let input = u16::try_from(input).map_err(|_| InputError::TooMany)?;
        let name = found.name();
        if headway::stopped() {
            let remark = format!("{name}: not read, for reading was interrupted before");
            gathered.remarks.push(remark);
            continue;
        }
        read(found, input, options, &mut forget, gathered)?;
        if headway::stopped() {
            let remark = format!(
                "{name}: reading was interrupted; the report is about what had been read by then"
            );
            gathered.remarks.push(remark);
        }
    }
    Ok(())
}

impl Found {
    /// What messages call it.
    fn name(&self) -> String {
        match self {
            Self::Capture(path) | Self::Trace(path) | Self::Own(path) => path.display().to_string(),
            Self::Stdin(_) => "-".into(),
        }
    }

    /// Its size in bytes, where it has one.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Capture(path) | Self::Trace(path) | Self::Own(path) => {
                let facts = fs::metadata(path).ok().filter(fs::Metadata::is_file);
                facts.map(|facts| facts.len())
            }
            Self::Stdin(_) => None,
        }
    }
}

/// Standard input, from which a silent pipe does not keep the user's Ctrl-C.
struct Stdin;

/// How often Ctrl-C is looked for while nothing comes, in milliseconds.
const PATIENCE: u16 = 100;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            if headway::stopped() {
                return Ok(0);
            }
            let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PATIENCE) {
                Ok(0) | Err(Errno::EINTR) => {}
                // Beside the standard library's buffer, which nobody else uses.
                Ok(_) => return Ok(nix::unistd::read(stdin.as_fd(), buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read(
    found: Found,
    input: u16,
    options: &InputOptions,
    forget: &mut Option<Forget>,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let mut shared = Shared::default();
    let mut calls = Vec::new();
    let mut calls_sink = |mut event| {
        shared.event(&mut event);
        calls.push(event);
    };
    match found {
        Found::Capture(path) => {
            let sink = &mut packets_into(forget, &mut gathered.packets, &mut gathered.past);
            let facts = capture_file::read(&path, input, &options.capture, sink)?;
            gathered.captures.push(facts);
        }
        Found::Trace(path) => {
            let facts = strace_log::read(&path, input, &mut calls_sink)?;
            gathered.traces.push((facts, calls));
        }
        Found::Own(path) => {
            own(jsonl::read(&path, input, &mut calls_sink)?, calls, gathered);
        }
        Found::Stdin(head) if capture_file::sniff(&head) => {
            let sink = &mut packets_into(forget, &mut gathered.packets, &mut gathered.past);
            let facts = capture_file::read_from(rest(head), "-", input, &options.capture, sink)?;
            gathered.captures.push(facts);
        }
        Found::Stdin(head) if is_own_trace(&head) => {
            own(
                jsonl::read_from(rest(head), "-", input, &mut calls_sink)?,
                calls,
                gathered,
            );
        }
        Found::Stdin(head) => {
            let facts = strace_log::read_from("-", rest(head), input, &mut calls_sink)?;
            gathered.traces.push((facts, calls));
        }
    }
    Ok(())
}

/// What may be let go while reading: nothing where calls may refer to it, or where another capture may show the rest
/// of it.
fn forget(found: &[Found], options: &InputOptions, gathered: &Gathered) -> Option<Forget> {
    let capture = |f: &Found| match f {
        Found::Capture(_) => true,
        Found::Stdin(head) => capture_file::sniff(head),
        Found::Trace(_) | Found::Own(_) => false,
    };
    let conf = gathered.resolv_conf.as_ref();
    let conf = conf.map(|(_, text)| ResolvConf::parse(text));
    let mut ports = vec![53];
    ports.extend(&options.capture.dns_ports);
    matches!(found, [only] if capture(only))
        .then(|| Forget::new(ports, conf.as_ref(), options.limits))
}

/// Adds what matters of one capture to a list.
fn packets_into(
    forget: &mut Option<Forget>,
    packets: &mut Vec<Event>,
    past: &mut Past,
) -> impl FnMut(Event) {
    let from = packets.len();
    let mut shared = Shared::default();
    move |mut event| {
        shared.event(&mut event);
        merge::keep(packets, from, event);
        if let Some(forget) = forget {
            forget.some(packets, past);
        }
    }
}

/// Adds a trace that presyn took.
fn own(trace: Trace, calls: Vec<Event>, gathered: &mut Gathered) {
    gathered.started = gathered.started.or(Some(trace.header.started));
    gathered.one_clock = true;
    gathered.resolver_options = trace.header.resolver_options();
    // The capture beside it cannot say what was dropped; the trace's last line can.
    let dropped = trace.footer.and_then(|f| f.dropped);
    if let [capture] = &mut gathered.captures[..] {
        capture.dropped = capture.dropped.or(dropped);
    }
    if trace.header.traced {
        gathered.traces.push((trace.facts, calls));
    }
}

/// All of standard input, of which the beginning has been read.
fn rest(head: Vec<u8>) -> impl Read {
    Counted(Cursor::new(head).chain(Stdin))
}

fn file(path: &Path) -> Result<Found, InputError> {
    if !path.exists() && path.symlink_metadata().is_err() {
        // `strace -ff -o base` leaves base.PID files; the reader finds them.
        let facts = strace_log::read(path, 0, &mut |_| ());
        return match facts {
            Ok(_) => Ok(Found::Trace(path.to_owned())),
            Err(_) => Err(unreadable(path, io::Error::from_raw_os_error(libc::ENOENT))),
        };
    }
    let head = head(open(path)?, path)?;
    if capture_file::sniff(&head) {
        Ok(Found::Capture(path.to_owned()))
    } else if is_own_trace(&head) {
        Ok(Found::Own(path.to_owned()))
    } else if strace_log::sniff(&head) || head.len() as u64 == SNIFF {
        Ok(Found::Trace(path.to_owned()))
    } else if is_capture_name(path) {
        // Let the capture reader say what is wrong with it.
        Ok(Found::Capture(path.to_owned()))
    } else {
        Ok(Found::Trace(path.to_owned()))
    }
}

/// A header line names its schema first.
fn is_own_trace(head: &[u8]) -> bool {
    head.starts_with(b"{\"schema\":\"presyn.trace/")
}

fn is_capture_name(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    [
        ".pcap",
        ".pcapng",
        ".cap",
        ".pcap.gz",
        ".pcapng.gz",
        ".pcap.zst",
        ".pcapng.zst",
    ]
    .iter()
    .any(|e| name.ends_with(e))
}

fn open(path: &Path) -> Result<File, InputError> {
    File::open(path).map_err(|e| unreadable(path, e))
}

/// The first bytes of something.
fn head(file: impl Read, path: &Path) -> Result<Vec<u8>, InputError> {
    let mut head = Vec::new();
    file.take(SNIFF)
        .read_to_end(&mut head)
        .map_err(|e| unreadable(path, e))?;
    Ok(head)
}

fn text(path: &Path) -> Result<String, InputError> {
    let bytes = fs::read(path).map_err(|e| unreadable(path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(path: &Path, source: io::Error) -> InputError {
    InputError::Unreadable {
        path: path.display().to_string(),
        source,
    }
}

/// A case folder: one capture, one trace, the host's resolver configuration. A folder made by plain
/// `tcpdump -w` and `strace -o` is one too.
fn folder(path: &Path, found: &mut Vec<Found>, gathered: &mut Gathered) -> Result<(), InputError> {
    let entries = fs::read_dir(path).map_err(|e| unreadable(path, e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    let (mut captures, mut traces) = (Vec::new(), Vec::new());
    // presyn's own trace says more than the strace log that it writes beside it.
    let own = files
        .iter()
        .find(|f| f.file_name().is_some_and(|n| n == TRACE))
        .cloned();
    for file in files {
        match file.file_name().and_then(|n| n.to_str()) {
            Some("resolv.conf") => {
                gathered.resolv_conf = Some((file.display().to_string(), text(&file)?));
            }
            Some("hosts") => gathered.hosts = Some(text(&file)?),
            Some(SYSCALLS | TRACE) if own.is_some() => {}
            _ => {
                let head = head(open(&file)?, &file)?;
                if capture_file::sniff(&head) {
                    captures.push(file);
                } else if strace_log::sniff(&head) {
                    traces.push(file);
                }
            }
        }
    }
    let several = |what, list: &[PathBuf]| InputError::SeveralRuns {
        path: path.display().to_string(),
        what,
        list: list
            .iter()
            .filter_map(|p| p.file_name())
            .map(|n| n.to_string_lossy())
            .collect::<Vec<_>>()
            .join(", "),
    };
    if captures.len() > 1 {
        return Err(several("captures", &captures));
    }
    if traces.len() > 1 {
        return Err(several("traces", &traces));
    }
    if let Some(own) = own {
        if !traces.is_empty() {
            traces.push(own);
            return Err(several("traces", &traces));
        }
        found.extend(captures.drain(..).map(Found::Capture));
        found.push(Found::Own(own));
        return Ok(());
    }
    if captures.is_empty() && traces.is_empty() {
        return Err(InputError::NothingInFolder {
            path: path.display().to_string(),
        });
    }
    found.extend(captures.into_iter().map(Found::Capture));
    found.extend(traces.into_iter().map(Found::Trace));
    Ok(())
}
