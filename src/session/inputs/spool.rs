//! What can be read once only, kept in a file without a name, so that it can be read beside another input.

use super::InputError;
use super::classify::Stream;
use crate::input::progress::Progress;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// More than this does not go into the directory for temporary files: it is often in memory.
const LIMIT: u64 = 8 << 30;

/// Reads a kept pipe from its beginning, whoever else reads it.
pub(super) struct SpoolReader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A pipe's bytes.
pub(super) struct Spooled {
    /// What messages call it.
    pub(super) name: String,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// The user ended the reading before its end.
    pub(super) interrupted: bool,
    /// All of them; no other program can open it, and it is gone with this process.
    file: File,
}

impl Spooled {
    /// Reads a stream to its end, or until the user ends the reading.
    pub(super) fn of(stream: Stream, progress: &Progress) -> Result<Self, InputError> {
        let Stream {
            name,
            head,
            mut rest,
        } = stream;
        let failed = |source| InputError::NotKept {
            path: name.clone(),
            source,
        };
        let mut file = tempfile::tempfile().map_err(failed)?;
        file.write_all(&head).map_err(failed)?;
        let mut kept = head.len() as u64;
        let mut buffer = vec![0; 1 << 16];
        while !progress.is_stopped() {
            let read = match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let path = name.clone();
                    return Err(InputError::Unreadable { path, source });
                }
            };
            kept += read as u64;
            if kept > LIMIT {
                return Err(InputError::TooLong { path: name });
            }
            file.write_all(&buffer[..read]).map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        Ok(Self {
            name,
            head,
            interrupted: progress.is_stopped(),
            file,
        })
    }

    /// All of it, from the beginning.
    pub(super) fn reader(&self) -> SpoolReader<'_> {
        SpoolReader {
            file: &self.file,
            at: 0,
        }
    }

    /// What is read once more, by one reader alone.
    pub(super) fn into_stream(self) -> Result<Stream, InputError> {
        let Self {
            name,
            head,
            mut file,
            ..
        } = self;
        match file.seek(SeekFrom::Start(head.len() as u64)) {
            Ok(_) => Ok(Stream {
                name,
                head,
                rest: Box::new(file),
            }),
            Err(source) => Err(InputError::NotKept { path: name, source }),
        }
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> Option<u64> {
        self.file.metadata().ok().map(|facts| facts.len())
    }
}
