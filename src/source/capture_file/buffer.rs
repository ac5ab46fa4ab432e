//! Big buffered reads, of which the records are looked at in place.

use crate::input::progress::Progress;
use std::io::{ErrorKind, Read};

/// Bytes per read. Large enough that system calls do not matter, small enough for the second-level cache.
const CHUNK: usize = 256 << 10;

/// A reader's bytes, a window at a time.
pub(super) struct ReadWindow<R> {
    reader: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Position of `start` in the (decompressed) file.
    offset: u64,
    ended: bool,
    /// What ended it other than its end.
    failure: Option<std::io::Error>,
    progress: Progress,
}

impl<R: Read> ReadWindow<R> {
    pub fn new(reader: R, progress: Progress) -> Self {
        Self {
            reader,
            bytes: vec![0; CHUNK],
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
            failure: None,
            progress,
        }
    }

    /// The next `length` bytes, or fewer at the end of the file. `length` must be bounded by the caller.
    pub fn peek(&mut self, length: usize) -> &[u8] {
        if self.end - self.start < length {
            self.fill(length);
        }
        let available = length.min(self.end - self.start);
        &self.bytes[self.start..self.start + available]
    }

    #[cold]
    fn fill(&mut self, length: usize) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.bytes.len() < length {
            self.bytes.resize(length.next_multiple_of(CHUNK), 0);
        }
        while self.end < length && !self.ended {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                }
            }
        }
    }

    /// Whether everything was read, and no error ended it; or reading was interrupted.
    pub fn is_at_end(&mut self) -> bool {
        self.progress.is_stopped() || self.peek(1).is_empty() && self.failure.is_none()
    }

    /// Goes past bytes that were peeked at.
    pub fn consume(&mut self, length: usize) {
        let length = length.min(self.end - self.start);
        self.start += length;
        self.offset += length as u64;
    }

    /// Goes past bytes of any number; whether so many were there.
    pub fn skip(&mut self, mut length: u64) -> bool {
        while length > 0 {
            let step = usize::try_from(length).map_or(CHUNK, |length| length.min(CHUNK));
            let there = self.peek(step).len();
            if there == 0 {
                return false;
            }
            self.consume(there);
            length -= there as u64;
        }
        true
    }

    /// Position in the (decompressed) file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The error that ended the file early.
    pub fn failure(&self) -> Option<&std::io::Error> {
        self.failure.as_ref()
    }
}
