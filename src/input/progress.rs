//! How far reading has come, and whether it is to stop: a value that whoever reads is given.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far the reading of one call's inputs has come. Clones share the figures: one is drawn on the terminal, one ends
/// the reading at Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    read: AtomicU64,
    expected: AtomicU64,
    reading: AtomicBool,
    stopped: AtomicBool,
}

impl Progress {
    /// Reading begins, of so many bytes; 0 where their number is unknown. One case after the other may be read.
    pub fn begin(&self, expected: u64) {
        self.0.read.store(0, Ordering::Relaxed);
        self.0.expected.store(expected, Ordering::Relaxed);
        self.0.reading.store(true, Ordering::Relaxed);
    }

    /// Everything has been read.
    pub fn end(&self) {
        self.0.reading.store(false, Ordering::Relaxed);
    }

    /// Bytes read so far, as they are on the disk: packed files count packed.
    pub fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Bytes there are to read; 0 where their number is unknown.
    pub fn expected(&self) -> u64 {
        self.0.expected.load(Ordering::Relaxed)
    }

    /// Whether files are being read.
    pub fn is_reading(&self) -> bool {
        self.0.reading.load(Ordering::Relaxed)
    }

    /// Asks the readers to end at the next packet or line, as if the file ended there. Returns whether they had been
    /// asked before.
    pub fn stop(&self) -> bool {
        self.0.stopped.swap(true, Ordering::Relaxed)
    }

    /// Whether the readers are asked to end.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    /// A reader whose bytes are counted here.
    pub fn count<R>(&self, reader: R) -> CountingReader<R> {
        CountingReader {
            reader,
            progress: self.clone(),
        }
    }
}

/// A reader whose bytes are counted.
#[derive(Debug)]
pub struct CountingReader<R> {
    reader: R,
    progress: Progress,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let figures = &self.progress.0;
        figures.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_figures_and_runs_do_not() {
        let (progress, other) = (Progress::default(), Progress::default());
        progress.begin(10);
        let mut text = String::new();
        let mut reader = progress.clone().count(&b"seven b"[..]);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((progress.read(), progress.expected()), (7, 10));
        assert!(progress.is_reading() && !other.is_reading());
        assert!(!progress.stop() && progress.stop() && progress.clone().is_stopped());
        assert!(!other.is_stopped());
    }
}
