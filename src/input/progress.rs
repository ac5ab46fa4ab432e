//! How far reading has come, and whether it is to stop: a value that whoever reads is given.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far the reading of one call's inputs has come. Clones share the figures: one is drawn on the terminal, one ends
/// the reading at Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    figures: Arc<Figures>,
    /// Those of what this is a part of.
    whole: Option<Arc<Figures>>,
}

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
        self.figures.read.store(0, Ordering::Relaxed);
        self.figures.expected.store(expected, Ordering::Relaxed);
        self.figures.reading.store(true, Ordering::Relaxed);
    }

    /// Everything has been read.
    pub fn end(&self) {
        self.figures.reading.store(false, Ordering::Relaxed);
    }

    /// Bytes read so far, as they are on the disk: packed files count packed.
    pub fn read(&self) -> u64 {
        self.figures.read.load(Ordering::Relaxed)
    }

    /// Bytes there are to read; 0 where their number is unknown.
    pub fn expected(&self) -> u64 {
        self.figures.expected.load(Ordering::Relaxed)
    }

    /// Whether files are being read.
    pub fn is_reading(&self) -> bool {
        self.figures.reading.load(Ordering::Relaxed)
    }

    /// Asks the readers to end at the next packet or line, as if the file ended there. Returns whether they had been
    /// asked before.
    pub fn stop(&self) -> bool {
        self.figures.stopped.swap(true, Ordering::Relaxed)
    }

    /// Whether the readers are asked to end.
    pub fn is_stopped(&self) -> bool {
        let stopped = |figures: &Arc<Figures>| figures.stopped.load(Ordering::Relaxed);
        stopped(&self.figures) || self.whole.as_ref().is_some_and(stopped)
    }

    /// The reading of a part, which can be stopped alone, and is when all is. Its bytes count in both.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            figures: Arc::default(),
            whole: Some(self.figures.clone()),
        }
    }

    /// The bytes of this part will be read again.
    pub fn is_read_again(&self) {
        if let Some(whole) = &self.whole {
            whole.read.fetch_sub(self.read(), Ordering::Relaxed);
        }
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
        let Progress { figures, whole } = &self.progress;
        for figures in [Some(figures), whole.as_ref()].into_iter().flatten() {
            figures.read.fetch_add(read as u64, Ordering::Relaxed);
        }
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

    #[test]
    fn a_part_is_stopped_alone_or_with_the_whole() {
        let whole = Progress::default();
        let (first, second) = (whole.part(), whole.part());
        for part in [&first, &second] {
            let mut bytes = Vec::new();
            part.count(&b"some"[..]).read_to_end(&mut bytes).unwrap();
        }
        first.is_read_again();
        assert_eq!((first.read(), whole.read()), (4, 4));
        first.stop();
        assert!(first.is_stopped() && !second.is_stopped() && !whole.is_stopped());
        whole.stop();
        assert!(second.is_stopped());
    }
}
