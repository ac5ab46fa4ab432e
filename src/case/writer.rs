//! Writes a case folder while the run goes on.

use super::jsonl::{self, Footer, Header};
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
    events: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<io::Result<(File, File)>>>,
    early: Option<(File, File)>,
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
            events: None,
            thread: None,
            early: None,
        };
        this.early = Some((this.file(TRACE)?, this.file(SYSCALLS)?));
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

    /// Writes the header and starts to write events, in a thread of its own: the tracer must not wait for
    /// the disk while a task stands still.
    pub fn begin(&mut self, header: &Header) -> Result<(), SaveError> {
        let path = self.folder.join(TRACE);
        let Some((mut trace, calls)) = self.early.take() else {
            return Ok(());
        };
        let mut line = jsonl::header_line(header).map_err(|e| failed(&path, e))?;
        line.push(b'\n');
        trace.write_all(&line).map_err(|e| failed(&path, e))?;
        let (sender, receiver) = sync_channel(QUEUE);
        self.events = Some(sender);
        self.thread = Some(std::thread::spawn(move || {
            write_events(trace, calls, &receiver)
        }));
        Ok(())
    }

    /// Stores one event.
    pub fn event(&self, event: &Event) {
        if let Some(events) = &self.events {
            // The thread ends early only when the disk failed, which `end` reports.
            let _ = events.send(event.clone());
        }
    }

    /// Writes what is left and the last line.
    pub fn end(mut self, footer: &Footer) -> Result<(), SaveError> {
        drop(self.events.take());
        let path = self.folder.join(TRACE);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let files = thread
            .join()
            .map_err(|_| failed(&path, io::Error::other("the writing thread panicked")))?;
        let (mut trace, _) = files.map_err(|e| failed(&path, e))?;
        let mut line = jsonl::footer_line(footer).map_err(|e| failed(&path, e))?;
        line.push(b'\n');
        trace.write_all(&line).map_err(|e| failed(&path, e))
    }
}

fn write_events(trace: File, calls: File, events: &Receiver<Event>) -> io::Result<(File, File)> {
    let mut trace = BufWriter::with_capacity(1 << 16, trace);
    let mut calls = BufWriter::with_capacity(1 << 16, calls);
    loop {
        match events.recv_timeout(FLUSH) {
            Ok(event) => {
                trace.write_all(&jsonl::line(&event)?)?;
                trace.write_all(b"\n")?;
                strace::write(&event, &mut calls)?;
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
