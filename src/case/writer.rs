//! Writes a case folder while the run goes on.

use super::folder::{CaseFolder, SaveError};
use super::jsonl::{self, Footer, Gap, Header};
use super::{PACKETS, SYSCALLS, TRACE};
use crate::case::strace;
use crate::event::Event;
use crate::input::host::HostFiles;
use crate::user::User;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A case folder being written.
pub struct CaseWriter {
    folder: CaseFolder,
    logs: Option<(File, File)>,
}

/// How many events may wait for the disk before the tracer waits too: seconds of the worst storm.
const QUEUE: usize = 1 << 16;
/// How long an event may stay in memory.
const FLUSH: Duration = Duration::from_millis(100);

impl CaseWriter {
    /// Makes the folder and its empty files. An existing folder is refused without `force`.
    pub fn create(path: &Path, force: bool, user: Option<&User>) -> Result<Self, SaveError> {
        let folder = CaseFolder::create(path, force, user)?;
        let logs = Some((folder.file(TRACE)?, folder.file(SYSCALLS)?));
        Ok(Self { folder, logs })
    }

    /// The file for packets.
    pub fn packets(&self) -> Result<File, SaveError> {
        self.folder.file(PACKETS)
    }

    /// Stores the host's files.
    pub fn host(&self, files: &HostFiles) -> Result<(), SaveError> {
        let all = [
            ("resolv.conf", &files.resolv_conf),
            ("nsswitch.conf", &files.nsswitch_conf),
            ("hosts", &files.hosts),
            ("gai.conf", &files.gai_conf),
        ];
        for (name, text) in all {
            if let Some(text) = text {
                self.folder
                    .file(name)?
                    .write_all(text.as_bytes())
                    .map_err(|e| self.folder.failed(name, e))?;
            }
        }
        Ok(())
    }

    /// The trace and the strace log, empty, for [`EventWriter`]; once.
    pub fn logs(&mut self) -> Option<(File, File)> {
        self.logs.take()
    }
}

/// What goes into the trace between its header and its last line.
enum Entry {
    Event(Box<Event>),
    Gap(Gap),
}

/// Writes the trace and the strace log of a case, in a thread of its own: whoever has the events must not wait for the
/// disk.
pub struct EventWriter {
    /// The trace's path, for messages.
    path: String,
    entries: SyncSender<Entry>,
    thread: JoinHandle<io::Result<(File, File)>>,
}

impl EventWriter {
    /// Writes the header. `path` is how messages call the trace.
    pub fn begin(
        (mut trace, calls): (File, File),
        header: &Header,
        path: String,
    ) -> Result<Self, SaveError> {
        let begun = jsonl::header_line(header).and_then(|mut line| {
            line.push(b'\n');
            trace.write_all(&line)
        });
        if let Err(source) = begun {
            return Err(write_failed(path, source));
        }
        let (entries, receiver) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || write_entries(trace, calls, &receiver));
        Ok(Self {
            path,
            entries,
            thread,
        })
    }

    /// Stores one event.
    pub fn event(&self, event: &Event) {
        // The thread ends early only when the disk failed, which `end` reports.
        let _ = self.entries.send(Entry::Event(Box::new(event.clone())));
    }

    /// Stores that something is missing here.
    pub fn gap(&self, gap: Gap) {
        let _ = self.entries.send(Entry::Gap(gap));
    }

    /// Writes what is left and, where the run came to its end, the last line.
    pub fn end(self, footer: Option<&Footer>) -> Result<(), SaveError> {
        drop(self.entries);
        let ended = self
            .thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
            .and_then(|(mut trace, _)| {
                let Some(footer) = footer else {
                    return Ok(());
                };
                let mut line = jsonl::footer_line(footer)?;
                line.push(b'\n');
                trace.write_all(&line)
            });
        ended.map_err(|source| write_failed(self.path, source))
    }
}

fn write_entries(trace: File, calls: File, entries: &Receiver<Entry>) -> io::Result<(File, File)> {
    let mut trace = BufWriter::with_capacity(1 << 16, trace);
    let mut calls = BufWriter::with_capacity(1 << 16, calls);
    loop {
        match entries.recv_timeout(FLUSH) {
            Ok(Entry::Event(event)) => {
                trace.write_all(&jsonl::line(&event)?)?;
                trace.write_all(b"\n")?;
                strace::write(&event, &mut calls)?;
            }
            Ok(Entry::Gap(gap)) => {
                trace.write_all(&jsonl::gap_line(&gap)?)?;
                trace.write_all(b"\n")?;
            }
            Err(RecvTimeoutError::Timeout) => {
                trace.flush()?;
                calls.flush()?;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let trace = trace.into_inner().map_err(io::IntoInnerError::into_error)?;
    let calls = calls.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((trace, calls))
}

fn write_failed(path: String, source: io::Error) -> SaveError {
    SaveError::Write {
        path,
        user: String::new(),
        source,
    }
}
