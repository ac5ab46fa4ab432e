//! What the paths that a user names turn out to be.

use super::spool::Spooled;
use super::{InputError, resolver_file};
use crate::bounded::{self, OpenedFile};
use crate::case::{SYSCALLS, TRACE, jsonl};
use crate::decode::foreign::{Foreign, foreign};
use crate::input::progress::Progress;
use crate::input::watched::Watched;
use crate::pipeline::Gathered;
use crate::source::capture_file::{self, CaptureOptions};
use crate::source::compression;
use crate::source::strace_log;
use crate::time::Timestamp;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a path turned out to be.
pub(super) enum Found {
    Capture(PathBuf),
    Trace(PathBuf),
    /// A trace that presyn took.
    Own(PathBuf),
    /// The client's resolv.conf: where it was read, and its text.
    ResolverFile(String, String),
    /// Standard input or a pipe: its kind shows in its first bytes.
    Stream(Stream),
    /// The same, where another input is read beside it.
    Spooled(Spooled),
}

/// What an input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Packets.
    Capture,
    /// An strace log.
    Log,
    /// A trace that presyn took.
    Own,
}

/// What can be read once only.
pub(super) struct Stream {
    /// What messages call it.
    pub(super) name: String,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// What follows them.
    pub(super) rest: Box<dyn Read>,
}

impl Stream {
    /// Reads the beginning.
    pub(super) fn new(path: &Path, mut reader: Box<dyn Read>) -> Result<Self, InputError> {
        Ok(Self {
            name: path.display().to_string(),
            head: head(&mut reader, path)?,
            rest: reader,
        })
    }
}

/// How many bytes tell what a file is.
const SNIFF: u64 = 1 << 16;

impl Found {
    /// What messages call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Capture(path) | Self::Trace(path) | Self::Own(path) => path.display().to_string(),
            Self::Stream(stream) => stream.name.clone(),
            Self::Spooled(spooled) => spooled.name.clone(),
            Self::ResolverFile(path, _) => path.clone(),
        }
    }

    /// What it holds, where that is known before it is read.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Capture(_) => Some(Kind::Capture),
            Self::Trace(_) => Some(Kind::Log),
            Self::Own(_) => Some(Kind::Own),
            // What there is of it is all that is read.
            Self::Spooled(spooled) if spooled.interrupted => None,
            Self::Spooled(spooled) if capture_file::sniff(&spooled.head) => Some(Kind::Capture),
            Self::Spooled(spooled) if jsonl::is_trace(&spooled.head) => Some(Kind::Own),
            Self::Spooled(spooled) if strace_log::sniff(&spooled.head) => Some(Kind::Log),
            Self::Spooled(_) | Self::Stream(_) | Self::ResolverFile(..) => None,
        }
    }

    /// Whether it holds packets.
    pub(super) fn is_capture(&self) -> bool {
        match self {
            Self::Capture(_) => true,
            Self::Stream(stream) => capture_file::sniff(&stream.head),
            Self::Spooled(spooled) => capture_file::sniff(&spooled.head),
            Self::Trace(_) | Self::Own(_) | Self::ResolverFile(..) => false,
        }
    }

    /// The time of a capture's first packet, where its first bytes tell.
    pub(super) fn begins(&self) -> Option<Timestamp> {
        let bytes = match self {
            Self::Capture(path) => head(open(path).ok()?, path).ok()?,
            Self::Stream(stream) => stream.head.clone(),
            Self::Spooled(spooled) => spooled.head.clone(),
            Self::Trace(_) | Self::Own(_) | Self::ResolverFile(..) => return None,
        };
        let options = CaptureOptions::default();
        let facts = capture_file::read_from(&bytes[..], "", 0, &options, &mut |_| ());
        facts.ok()?.first
    }

    /// What was watched, if it is a case's of processes that were.
    pub(super) fn watched(&self) -> Option<Watched> {
        let header = match self {
            Self::Own(path) => jsonl::header(open(path).ok()?),
            Self::Spooled(spooled) if jsonl::is_trace(&spooled.head) => {
                jsonl::header(spooled.reader())
            }
            Self::Stream(stream) => jsonl::header(&stream.head[..]),
            Self::Capture(_) | Self::Trace(_) | Self::Spooled(_) | Self::ResolverFile(..) => None,
        };
        header?.watched()
    }

    /// Its size in bytes, where it has one.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Capture(path) | Self::Trace(path) | Self::Own(path) => {
                let facts = fs::metadata(path).ok().filter(fs::Metadata::is_file);
                facts.map(|facts| facts.len())
            }
            Self::Stream(_) => None,
            Self::Spooled(spooled) => spooled.size(),
            // Read already.
            Self::ResolverFile(..) => Some(0),
        }
    }
}

pub(super) fn file(path: &Path, progress: &Progress) -> Result<Found, InputError> {
    if !path.exists() && path.symlink_metadata().is_err() {
        // `strace -ff -o base` leaves base.PID files; the reader finds them.
        let facts = strace_log::read(path, 0, progress, &mut |_| ());
        return match facts {
            Ok(_) => Ok(Found::Trace(path.to_owned())),
            Err(_) => Err(unreadable(path, io::Error::from_raw_os_error(libc::ENOENT))),
        };
    }
    let name = path.display().to_string();
    let head = match bounded::open(path, progress).map_err(|e| unreadable(path, e))? {
        OpenedFile::Regular(file) => head(file, path)?,
        OpenedFile::Pipe(pipe) => {
            return stream(Stream::new(path, pipe)?);
        }
    };
    refuse_foreign(&name, &head)?;
    if capture_file::sniff(&head) {
        Ok(Found::Capture(path.to_owned()))
    } else if jsonl::is_trace(&head) {
        Ok(Found::Own(path.to_owned()))
    } else if strace_log::sniff(&head) {
        Ok(Found::Trace(path.to_owned()))
    } else if is_capture_name(path) || head.contains(&0) {
        // Let the capture reader say what is wrong with it.
        Ok(Found::Capture(path.to_owned()))
    } else if resolver_file::recognised(path, &head) {
        Ok(Found::ResolverFile(name, text(path)?))
    } else {
        Ok(Found::Trace(path.to_owned()))
    }
}

/// What standard input or a pipe holds.
pub(super) fn stream(mut stream: Stream) -> Result<Found, InputError> {
    refuse_foreign(&stream.name, &stream.head)?;
    let head = &stream.head;
    let is_other = capture_file::sniff(head) || jsonl::is_trace(head) || strace_log::sniff(head);
    // A longer one than what is read to recognise it would be cut silently.
    let whole = (head.len() as u64) < SNIFF;
    if is_other || !whole || !resolver_file::recognised(Path::new(&stream.name), head) {
        return Ok(Found::Stream(stream));
    }
    let text = String::from_utf8_lossy(&std::mem::take(&mut stream.head)).into_owned();
    let text = resolver_file::unquoted(&text).into_owned();
    Ok(Found::ResolverFile(stream.name, text))
}

/// Refuses what is of another program's making, by its contents.
pub(super) fn refuse_foreign(name: &str, head: &[u8]) -> Result<(), InputError> {
    let unpacked = compression::unpacked_head(head, head.len());
    match foreign(&unpacked) {
        Some(Foreign { seems, remedy }) => Err(InputError::Foreign {
            path: name.to_owned(),
            seems,
            remedy,
        }),
        None => Ok(()),
    }
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
    bounded::open_regular(path).map_err(|e| unreadable(path, e))
}

/// The first bytes of something.
pub(super) fn head(file: impl Read, path: &Path) -> Result<Vec<u8>, InputError> {
    let mut head = Vec::new();
    file.take(SNIFF)
        .read_to_end(&mut head)
        .map_err(|e| unreadable(path, e))?;
    Ok(head)
}

/// A file that the user named as resolv.conf: it is that, or an error.
pub(super) fn text(path: &Path) -> Result<String, InputError> {
    super::resolver_text(path).map_err(|e| unreadable(path, e))
}

/// A file of a case, as much of it as is read; a remark says where that is not all.
fn part_of_case(path: &Path, gathered: &mut Gathered) -> Result<String, InputError> {
    let read = bounded::text(path).map_err(|e| unreadable(path, e))?;
    if !read.whole {
        gathered.remarks.push(format!(
            "{}: only its first {} MiB were read",
            path.display(),
            bounded::LONGEST >> 20
        ));
    }
    Ok(read.text)
}

fn unreadable(path: &Path, source: io::Error) -> InputError {
    InputError::Unreadable {
        path: path.display().to_string(),
        source,
    }
}

/// So many subfolders are looked into before a folder is said to hold no case.
const MOST_SUBFOLDERS: usize = 100;

/// Whether subfolders of a folder are cases.
fn holds_cases(path: &Path) -> bool {
    let entries = fs::read_dir(path).into_iter().flatten();
    let folders = { entries.filter_map(Result::ok) }
        .filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()))
        .take(MOST_SUBFOLDERS);
    folders.map(|e| e.path()).any(|sub| {
        let files = fs::read_dir(sub).into_iter().flatten();
        { files.filter_map(Result::ok) }
            .map(|e| e.path())
            .any(|file| {
                let head = bounded::open_regular(&file)
                    .ok()
                    .and_then(|f| head(f, &file).ok());
                head.is_some_and(|head| {
                    capture_file::sniff(&head) || jsonl::is_trace(&head) || strace_log::sniff(&head)
                })
            })
    })
}

/// The captures and traces in a folder.
struct FolderFiles {
    captures: Vec<PathBuf>,
    /// Logs of strace; of a case that presyn took, others than its own.
    traces: Vec<PathBuf>,
    /// presyn's own trace, which shows more than the strace log that it writes beside it.
    own: Option<PathBuf>,
}

impl FolderFiles {
    /// Looks into every file of a folder; the resolver's configuration is read at once.
    fn read(path: &Path, gathered: &mut Gathered) -> Result<Self, InputError> {
        let entries = fs::read_dir(path).map_err(|e| unreadable(path, e))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|e| e.path())
            .filter(|p| p.is_file())
            .collect();
        files.sort();
        let is_own = |file: &&PathBuf| file.file_name().is_some_and(|n| n == TRACE);
        let mut this = Self {
            captures: Vec::new(),
            traces: Vec::new(),
            own: files.iter().find(is_own).cloned(),
        };
        for file in files {
            match file.file_name().and_then(|n| n.to_str()) {
                Some("resolv.conf") => {
                    let text = part_of_case(&file, gathered)?;
                    gathered.resolv_conf = Some((file.display().to_string(), text));
                }
                Some("hosts") => gathered.hosts = Some(part_of_case(&file, gathered)?),
                Some(SYSCALLS | TRACE) if this.own.is_some() => {}
                _ => this.add(file, gathered)?,
            }
        }
        Ok(this)
    }

    /// Adds a file by its first bytes; one that is neither a capture nor a log is left out, and a remark says so where its name
    /// promises a capture.
    fn add(&mut self, file: PathBuf, gathered: &mut Gathered) -> Result<(), InputError> {
        let opened = match bounded::open_regular(&file) {
            Ok(opened) => opened,
            // A file of the kernel's is as little of a case as a FIFO is.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(()),
            Err(e) => return Err(unreadable(&file, e)),
        };
        let head = head(opened, &file)?;
        if capture_file::sniff(&head) {
            self.captures.push(file);
        } else if strace_log::sniff(&head) {
            self.traces.push(file);
        } else if is_capture_name(&file) {
            let why = if head.is_empty() {
                "it is empty (tcpdump writes when it ends, or with -U at each packet)"
            } else {
                "it is no packet capture"
            };
            let name = file.display();
            gathered.remarks.push(format!("{name} was not read: {why}"));
        }
        Ok(())
    }
}

/// A case folder: one capture, one trace, the host's resolver configuration. A folder made by plain
/// `tcpdump -w` and `strace -o` is one too.
pub(super) fn folder(
    path: &Path,
    found: &mut Vec<Found>,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let FolderFiles {
        captures,
        mut traces,
        own,
    } = FolderFiles::read(path, gathered)?;
    if captures.len() > 1 {
        return Err(several_runs(path, "captures", &captures));
    }
    if traces.len() > 1 {
        return Err(several_runs(path, "traces", &traces));
    }
    if let Some(own) = own {
        if !traces.is_empty() {
            traces.push(own);
            return Err(several_runs(path, "traces", &traces));
        }
        found.extend(captures.into_iter().map(Found::Capture));
        found.push(Found::Own(own));
        return Ok(());
    }
    if captures.is_empty() && traces.is_empty() {
        return Err(nothing_found(path));
    }
    found.extend(captures.into_iter().map(Found::Capture));
    found.extend(traces.into_iter().map(Found::Trace));
    Ok(())
}

fn several_runs(path: &Path, what: &'static str, list: &[PathBuf]) -> InputError {
    let names = list.iter().filter_map(|p| p.file_name());
    let names: Vec<_> = names.map(|n| n.to_string_lossy()).collect();
    InputError::SeveralRuns {
        path: path.display().to_string(),
        what,
        list: names.join(", "),
    }
}

/// A folder without captures and logs: perhaps its subfolders are what was meant.
fn nothing_found(path: &Path) -> InputError {
    let shown = path.display().to_string();
    if !holds_cases(path) {
        return InputError::NothingInFolder { path: shown };
    }
    InputError::FolderOfCases {
        // As it is typed, with one slash.
        below: format!("{}/*/", shown.trim_end_matches('/')),
        path: shown,
    }
}
