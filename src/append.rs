//! A file that grows record by record and always ends with a whole one, also on a full disk.

use crate::time::Timestamp;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What a file lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Records that are not in it.
    pub records: u64,
    /// The time of the first of them, where known.
    pub from: Option<Timestamp>,
    /// Why.
    pub problem: String,
}

/// A file being appended to. After a failure nothing more is written: what is missing is its end, and is counted.
#[derive(Debug)]
pub struct Appender {
    file: File,
    /// Bytes of whole records in the file.
    length: u64,
    pending: Vec<u8>,
    /// Where each pending record ends, and its time.
    ends: Vec<(usize, Timestamp)>,
    loss: Option<Loss>,
}

/// More than this does not wait for a flush.
const FULL: usize = 1 << 16;
/// How much of a file's end is given up, step by step, to make room for its last record. Blocks of file systems and
/// pages of tmpfs have 4 KiB, on some machines 64 KiB.
const SACRIFICES: [u64; 3] = [1 << 13, 1 << 17, 1 << 20];

impl Appender {
    /// Appends to a file in which `length` bytes stand.
    pub fn new(file: File, length: u64) -> Self {
        Self {
            file,
            length,
            pending: Vec::new(),
            ends: Vec::new(),
            loss: None,
        }
    }

    /// Adds a record.
    pub fn push(&mut self, at: Timestamp, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let before = self.pending.len();
        if let Some(loss) = &mut self.loss {
            loss.records += 1;
            return;
        }
        if let Err(error) = write(&mut self.pending) {
            self.pending.truncate(before);
            self.ends.push((before, at));
            self.flush();
            self.fail(&error, at);
            return;
        }
        self.ends.push((self.pending.len(), at));
        if self.pending.len() >= FULL {
            self.flush();
        }
    }

    /// Everything that was added is in the file, or is counted as lost.
    pub fn flush(&mut self) {
        let (mut written, mut failure) = (0, None);
        while failure.is_none() && written < self.pending.len() {
            match self.file.write(&self.pending[written..]) {
                Ok(0) => failure = Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failure = Some(error),
            }
        }
        let whole = self.ends.iter().take_while(|(end, _)| *end <= written);
        let whole = whole.count();
        let kept = whole.checked_sub(1).map_or(0, |last| self.ends[last].0);
        self.length += kept as u64;
        if let Some(error) = failure {
            let lost = &self.ends[whole..];
            self.loss = Some(Loss {
                records: lost.len() as u64,
                from: lost.first().map(|(_, at)| *at),
                problem: words(&error),
            });
            // Half a record would be damage. If this fails, it is: readers say so.
            let _ = self.cut_to(self.length);
        }
        self.pending.clear();
        self.ends.clear();
    }

    /// What is missing so far.
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Writes the last line of a file of lines, on a full disk in the place of lines before it: what is missing must
    /// be said. `line` gets what is missing; `time` reads the time of a line.
    pub fn last_line(
        &mut self,
        line: &dyn Fn(Option<&Loss>) -> io::Result<Vec<u8>>,
        time: &dyn Fn(&[u8]) -> Option<Timestamp>,
    ) -> io::Result<()> {
        self.flush();
        let mut sacrifices = SACRIFICES.iter();
        loop {
            let text = line(self.loss.as_ref())?;
            let Err(error) = self.file.write_all(&text) else {
                return Ok(());
            };
            self.cut_to(self.length)?;
            let Some(bytes) = sacrifices.next() else {
                return Err(error);
            };
            let lost = self.take_lines(*bytes)?;
            let records = lost.split(|b| *b == b'\n').filter(|l| !l.is_empty());
            let loss = self.loss.get_or_insert_with(|| Loss {
                records: 0,
                from: None,
                problem: words(&error),
            });
            loss.records += records.clone().count() as u64;
            loss.from = records.clone().find_map(time).or(loss.from);
        }
    }

    /// Removes so many bytes of whole lines from the end, but never the first line.
    fn take_lines(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        let from = self.length.saturating_sub(bytes);
        self.file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        Read::take(&mut self.file, bytes).read_to_end(&mut end)?;
        let line_end = end.iter().position(|b| *b == b'\n');
        let kept = line_end.map_or(end.len(), |at| at + 1);
        self.length = from + kept as u64;
        self.cut_to(self.length)?;
        Ok(end.split_off(kept))
    }

    fn cut_to(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length)).map(drop)
    }

    fn fail(&mut self, error: &io::Error, at: Timestamp) {
        let loss = self.loss.get_or_insert_with(|| Loss {
            records: 0,
            from: Some(at),
            problem: words(error),
        });
        loss.records += 1;
    }
}

/// Without `(os error 28)`, which readers of a case on another system cannot look up.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> impl FnOnce(&mut Vec<u8>) -> io::Result<()> {
        let text = format!("{text}\n");
        move |out| out.write_all(text.as_bytes())
    }

    #[test]
    fn records_arrive_in_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut appender = Appender::new(file.reopen().unwrap(), 0);
        for n in 0..20_000 {
            appender.push(Timestamp(n), line(&n.to_string()));
        }
        appender
            .last_line(&|loss| Ok(format!("{}\n", loss.is_none()).into()), &|_| {
                None
            })
            .unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.lines().count(), 20_001);
        assert!(text.ends_with("19999\ntrue\n"));
    }

    #[test]
    fn a_device_without_space_loses_and_counts() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut appender = Appender::new(full.unwrap(), 0);
        appender.push(Timestamp(5), line("a"));
        appender.push(Timestamp(6), line("b"));
        appender.flush();
        appender.push(Timestamp(7), line("c"));
        let loss = appender.loss().unwrap();
        assert_eq!((loss.records, loss.from), (3, Some(Timestamp(5))));
        assert_eq!(loss.problem, "No space left on device");
    }

    #[test]
    fn lines_make_room_for_the_last() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = (0..3000).map(|n| n.to_string() + "\n").collect();
        std::fs::write(file.path(), &text).unwrap();
        let open = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(file.path());
        let mut appender = Appender::new(open.unwrap(), text.len() as u64);
        let taken = appender.take_lines(1 << 13).unwrap();
        let kept = std::fs::read(file.path()).unwrap();
        assert_eq!([kept, taken].concat(), text.as_bytes());
        // The header stays, whatever is asked.
        appender.take_lines(1 << 20).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"0\n");
    }
}
