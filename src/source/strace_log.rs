//! Opens strace logs: plain, gzip, zstd, single or the files of a `-ff` set, and hands their lines to
//! [`crate::decode::strace`].

use crate::bounded;
use crate::decode::strace::{Guise, Reader, guise, looks_like_trace};
use crate::event::Event;
use crate::input::TraceFacts;
use crate::input::progress::Progress;
use crate::source::compression;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;
use utf16::Utf16;

mod utf16;

/// The longest line that is kept. strace's own longest (`-s 1048576` of 1024 buffers) would be longer, but
/// a DNS message never is; the rest of a longer line is passed over.
const MAX_LINE: usize = 1 << 20;

/// Bytes per read. Large enough that system calls do not matter, small enough for hundreds of logs at once.
const BUFFER: usize = 1 << 16;

/// How much is looked at to tell a trace from other files.
const SNIFF: usize = 1 << 16;

/// Why a log cannot be used.
#[derive(Debug, Error)]
pub enum StraceLogError {
    /// It cannot be opened or read at all.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing in it is strace's.
    #[error("{path}: not an strace log: {looks}; {remedy}")]
    NotATrace {
        /// The file.
        path: String,
        /// What it looks like.
        looks: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

fn unreadable(path: &Path, source: io::Error) -> StraceLogError {
    StraceLogError::Unreadable {
        path: path.display().to_string(),
        source,
    }
}

/// Whether the first bytes of a file (unpacked) are those of a strace log.
pub fn sniff(first_bytes: &[u8]) -> bool {
    // Already unpacked bytes pass unchanged.
    let mut start = Vec::new();
    if let Ok(text) = unpacked(first_bytes) {
        // A part of a compressed file ends in an error; what came before it is good.
        let _ = text.take(SNIFF as u64).read_to_end(&mut start);
    }
    looks_like_trace(&start)
}

/// Reads one log. Where there is no such file but there are files of a `strace -ff -o PATH` set, reads those.
pub fn read(
    path: &Path,
    input: u16,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> Result<TraceFacts, StraceLogError> {
    if !path.exists() {
        let set = parts_of(path);
        if !set.is_empty() {
            return read_set(&set, input, progress, sink);
        }
    }
    read_set(&[path.to_owned()], input, progress, sink)
}

/// Reads several files as one trace (`strace -ff`: `base.PID`). Line numbers run on through the files in the
/// order given, as if they were one.
pub fn read_set(
    paths: &[PathBuf],
    input: u16,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> Result<TraceFacts, StraceLogError> {
    let mut reader = Reader::new(input);
    let mut number = 0;
    let mut first = None;
    for path in paths {
        let file = bounded::open_regular(path).map_err(|e| unreadable(path, e))?;
        let mut text = unpacked(progress.count(file)).map_err(|e| unreadable(path, e))?;
        let tid = suffix(path).filter(|_| paths.len() > 1 || is_part(path));
        reader.next_file(tid, sink);
        let start = lines(&mut *text, &mut reader, &mut number, progress, sink)
            .map_err(|e| unreadable(path, e))?;
        if first.is_none() || looks_like_trace(&start) {
            first = Some((path, start));
        }
    }
    let Some((path, start)) = first else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "no file given");
        return Err(unreadable(Path::new("(nothing)"), source));
    };
    let name = match paths {
        [one] => one.display().to_string(),
        _ => format!("{}.*", path.with_extension("").display()),
    };
    conclude(reader, name, &start, sink)
}

/// Reads a log from anything, packed or not; `name` is what messages call it.
pub fn read_from(
    name: &str,
    text: impl Read,
    input: u16,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> Result<TraceFacts, StraceLogError> {
    let mut reader = Reader::new(input);
    let mut text = unpacked(text).map_err(|e| unreadable(Path::new(name), e))?;
    let start = lines(&mut *text, &mut reader, &mut 0, progress, sink)
        .map_err(|e| unreadable(Path::new(name), e))?;
    conclude(reader, name.to_owned(), &start, sink)
}

fn conclude(
    reader: Reader,
    path: String,
    start: &[u8],
    sink: &mut dyn FnMut(Event),
) -> Result<TraceFacts, StraceLogError> {
    if reader.calls() == 0 && !looks_like_trace(start)
        || guise(start) == Guise::Ltrace && !looks_like_trace(start)
    {
        let (looks, remedy) = match guise(start) {
            Guise::Empty => (
                "it is empty",
                "was strace stopped before it wrote, or did -o name another file?",
            ),
            Guise::Ltrace => (
                "it looks like ltrace output",
                "run the program under strace -f -ttt -T -yy instead",
            ),
            Guise::Summary => ("it is the table of strace -c", "run strace without -c"),
            Guise::Capture => ("it is a packet capture", "give it as a capture"),
            Guise::Binary => ("it is binary data", "give the text that strace -o wrote"),
            Guise::Text => (
                "no line of it is a system call",
                "give the text that strace -o wrote",
            ),
        };
        return Err(StraceLogError::NotATrace {
            path,
            looks,
            remedy,
        });
    }
    Ok(reader.finish(&path, sink))
}

/// Feeds every line; returns the beginning of the text.
fn lines(
    text: &mut dyn BufRead,
    reader: &mut Reader,
    number: &mut u64,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> io::Result<Vec<u8>> {
    let (start, mut text) = head(text);
    reader.begin(&start);
    let mut whole = Vec::new();
    loop {
        if progress.is_stopped() {
            return Ok(start);
        }
        let buffer = match text.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What was read is worth reading: a log that was cut while it was packed.
            Err(error) if *number > 0 || !whole.is_empty() => {
                if !whole.is_empty() {
                    *number += 1;
                    reader.line(*number, &whole, sink);
                }
                reader.damaged(*number, format!("cannot be read further: {error}"));
                return Ok(start);
            }
            Err(error) => return Err(error),
        };
        if whole.is_empty() {
            let taken = whole_lines(buffer, reader, number, progress, sink);
            if taken > 0 {
                text.consume(taken);
                continue;
            }
        }
        let end = memchr::memchr(b'\n', buffer);
        let piece = end.map_or(buffer, |end| &buffer[..=end]);
        let taken = piece.len();
        let mut too_long = false;
        if end.is_none() && taken > 0 || !whole.is_empty() {
            let room = MAX_LINE - whole.len();
            too_long = taken > room;
            whole.extend_from_slice(&piece[..taken.min(room)]);
        }
        if end.is_none() && taken > 0 && !too_long {
            text.consume(taken);
            continue;
        }
        let line = if whole.is_empty() { piece } else { &whole };
        if line.is_empty() {
            return Ok(start);
        }
        *number += 1;
        if too_long {
            reader.damaged(
                *number,
                "a line of more than 1 MiB; only its beginning was read",
            );
        }
        reader.line(*number, line, sink);
        text.consume(taken);
        whole.clear();
        if too_long && end.is_none() {
            text.skip_until(b'\n')?;
        }
    }
}

/// Feeds the lines that lie in a buffer as a whole, as nearly all do. Returns how many bytes they take.
fn whole_lines(
    buffer: &[u8],
    reader: &mut Reader,
    number: &mut u64,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> usize {
    let mut taken = 0;
    for end in memchr::memchr_iter(b'\n', buffer) {
        if progress.is_stopped() {
            break;
        }
        *number += 1;
        reader.line(*number, &buffer[taken..=end], sink);
        taken = end + 1;
    }
    taken
}

/// Unpacks by the file's first bytes, and recodes UTF-16.
fn unpacked<'r>(file: impl Read + 'r) -> io::Result<Box<dyn BufRead + 'r>> {
    let mut raw = BufReader::with_capacity(BUFFER, file);
    let packed = compression::sniff(raw.fill_buf()?);
    let mut text = compression::decompress(packed, raw)?;
    // What cannot be unpacked is reported when it is read.
    let order = text.fill_buf().map_or(None, utf16::byte_order);
    Ok(match order {
        Some(order) => Box::new(BufReader::new(Utf16::new(text, order))),
        None => text,
    })
}

/// The beginning of the text, and all of it.
fn head<'r>(text: &'r mut dyn BufRead) -> (Vec<u8>, Box<dyn BufRead + 'r>) {
    let mut start = Vec::new();
    let ended = text.take(SNIFF as u64).read_to_end(&mut start).err();
    let rest = ended.map_or_else(
        || Box::new(text) as Box<dyn BufRead + 'r>,
        |error| Box::new(BufReader::new(Fails(Some(error)))),
    );
    (start.clone(), Box::new(Cursor::new(start).chain(rest)))
}

/// What could not be read.
struct Fails(Option<io::Error>);

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The thread id at the end of `base.1234`, also before `.gz` or `.zst`.
fn suffix(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(name);
    let (_, digits) = name.rsplit_once('.')?;
    digits.parse().ok().filter(|tid| *tid > 0)
}

/// Whether a single file is one of a `-ff` set: it is named so, and has brothers or the name of a trace.
fn is_part(path: &Path) -> bool {
    suffix(path).is_some()
}

/// The files `path.N`, in order of N.
fn parts_of(path: &Path) -> Vec<PathBuf> {
    let Some(base) = path.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    let mut parts: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|part| {
            let name = part.file_name()?.to_str()?;
            let rest = name.strip_prefix(base)?.strip_prefix('.')?;
            let digits = rest.split('.').next()?;
            digits
                .parse()
                .ok()
                .filter(|_| suffix(&part).is_some())
                .map(|tid| (tid, part))
        })
        .collect();
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect()
}
