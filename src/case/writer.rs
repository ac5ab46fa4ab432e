//! Writes a case folder while the run goes on.

use super::jsonl::{self, Footer, Gap, Header};
use super::{PACKETS, SYSCALLS, TRACE};
use crate::event::Event;
use crate::render::strace;
use crate::source::host::HostFiles;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// Why a case cannot be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// There is something already.
    #[error("{path} exists; choose another folder, or --force to write into it")]
    Exists {
        /// The folder.
        path: String,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Who should own the files: under sudo the user who typed it.
pub type Owner = Option<(u32, u32)>;

/// A case folder being written.
pub struct CaseWriter {
    folder: PathBuf,
    owner: Owner,
    logs: Option<(File, File)>,
}

/// How many events may wait for the disk before the tracer waits too: seconds of the worst storm.
const QUEUE: usize = 1 << 16;
/// How long an event may stay in memory.
const FLUSH: Duration = Duration::from_millis(100);

impl CaseWriter {
    /// Makes the folder and its empty files. An existing folder is refused without `force`.
    pub fn create(folder: &Path, force: bool, owner: Owner) -> Result<Self, SaveError> {
        if folder.exists() && !force {
            return Err(SaveError::Exists {
                path: folder.display().to_string(),
            });
        }
        fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        own(folder, owner);
        let mut this = Self {
            folder: folder.to_owned(),
            owner,
            logs: None,
        };
        this.logs = Some((this.file(TRACE)?, this.file(SYSCALLS)?));
        Ok(this)
    }

    /// A new file of the folder.
    fn file(&self, name: &str) -> Result<File, SaveError> {
        let path = self.folder.join(name);
        let file = File::create(&path).map_err(|e| failed(&path, e))?;
        own(&path, self.owner);
        Ok(file)
    }

    /// The file for packets.
    pub fn packets(&self) -> Result<File, SaveError> {
        self.file(PACKETS)
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
                let path = self.folder.join(name);
                self.file(name)?
                    .write_all(text.as_bytes())
                    .map_err(|e| failed(&path, e))?;
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
            return Err(SaveError::Write { path, source });
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
        ended.map_err(|source| SaveError::Write {
            path: self.path,
            source,
        })
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

fn own(path: &Path, owner: Owner) {
    if let Some((uid, gid)) = owner {
        // Not being allowed to give a file away is no reason not to record.
        let _ = chown(path, Some(uid), Some(gid));
    }
}

fn failed(path: &Path, source: io::Error) -> SaveError {
    SaveError::Write {
        path: path.display().to_string(),
        source,
    }
}
