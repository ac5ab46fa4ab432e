//! Writes a case folder while the run goes on.

use super::folder::{CaseFolder, SaveError};
use super::jsonl::{self, Footer, Header, Missing, RecordGap};
use super::{PACKETS, SYSCALLS, TRACE};
use crate::append::{Appender, Loss};
use crate::case::strace;
use crate::event::Event;
use crate::input::host::HostFiles;
use crate::time::Timestamp;
use crate::user::User;
use std::fs::File;
use std::io::{self, Write};
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
enum TraceEntry {
    Event(Box<Event>),
    Gap(RecordGap),
}

/// Writes the trace and the strace log of a case, in a thread of its own: whoever has the events must not wait for the
/// disk.
pub struct EventWriter {
    entries: SyncSender<TraceEntry>,
    thread: JoinHandle<(Appender, Appender)>,
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
            trace.write_all(&line)?;
            Ok(line.len() as u64)
        });
        let length = begun.map_err(|source| write_failed(path, source))?;
        let (entries, receiver) = sync_channel(QUEUE);
        let (trace, calls) = (Appender::new(trace, length), Appender::new(calls, 0));
        let thread = std::thread::spawn(move || write_entries(trace, calls, &receiver));
        Ok(Self { entries, thread })
    }

    /// Stores one event.
    pub fn event(&self, event: &Event) {
        // The thread ends early only when it panics, which `end` reports.
        let _ = self
            .entries
            .send(TraceEntry::Event(Box::new(event.clone())));
    }

    /// Stores that something is missing here.
    pub fn gap(&self, gap: RecordGap) {
        let _ = self.entries.send(TraceEntry::Gap(gap));
    }

    /// Writes what is left and, where the run came to its end, the last line. Returns what the case lacks, which its
    /// last line says, too.
    pub fn end(self, footer: Option<&Footer>) -> Vec<Missing> {
        drop(self.entries);
        let mut missing = footer.map_or_else(Vec::new, |footer| footer.missing.clone());
        let unfinished = |problem: String| Missing {
            file: TRACE.into(),
            records: 1,
            from: None,
            problem,
        };
        let Ok((mut trace, calls)) = self.thread.join() else {
            missing.push(unfinished("the writing thread panicked".into()));
            return missing;
        };
        missing.extend(calls.loss().map(|loss| Missing::new(SYSCALLS, loss)));
        let last = |loss: Option<&Loss>| {
            let Some(footer) = footer else {
                return Ok(Vec::new());
            };
            let mut footer = footer.clone();
            footer.missing.clone_from(&missing);
            let lost = loss.map(|loss| Missing::new(TRACE, loss));
            footer.missing.extend(lost);
            let mut line = jsonl::footer_line(&footer)?;
            line.push(b'\n');
            Ok(line)
        };
        let written = trace.last_line(&last, &time);
        missing.extend(trace.loss().map(|loss| Missing::new(TRACE, loss)));
        missing.extend(written.err().map(|error| unfinished(error.to_string())));
        missing
    }
}

/// The time of an event's line.
fn time(line: &[u8]) -> Option<Timestamp> {
    serde_json::from_slice::<Event>(line).ok().map(|e| e.at)
}

fn write_entries(
    mut trace: Appender,
    mut calls: Appender,
    entries: &Receiver<TraceEntry>,
) -> (Appender, Appender) {
    loop {
        match entries.recv_timeout(FLUSH) {
            Ok(TraceEntry::Event(event)) => {
                trace.push(event.at, |out| {
                    add_line(out, &jsonl::line(&event)?);
                    Ok(())
                });
                calls.push(event.at, |out| strace::write(&event, out));
            }
            Ok(TraceEntry::Gap(gap)) => {
                trace.push(gap.from, |out| {
                    add_line(out, &jsonl::gap_line(&gap)?);
                    Ok(())
                });
            }
            Err(RecvTimeoutError::Timeout) => {
                trace.flush();
                calls.flush();
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    trace.flush();
    calls.flush();
    (trace, calls)
}

fn add_line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text);
    out.push(b'\n');
}

fn write_failed(path: String, source: io::Error) -> SaveError {
    SaveError::Write {
        path,
        user: String::new(),
        source,
    }
}
