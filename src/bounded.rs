//! The one way to open and read what a user or a case names: nothing waits for a writer that never comes, nothing is
//! read without a bound, and the kernel's own files are not taken for recordings.
//!
//! Captures and logs may have any size and are read as they come. Everything else (resolv.conf, hosts, a saved report)
//! is read whole, up to [`LONGEST`] bytes or a bound of its own.

use crate::input::progress::Progress;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::statfs::{self, FsType};
use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// More than this is not read: block lists in `hosts` reach some megabytes.
pub const LONGEST: u64 = 8 << 20;

/// How often Ctrl-C is looked for while nothing comes, in milliseconds.
const PATIENCE: u16 = 100;

/// A FIFO that no program has opened for writing by then is refused. A shell opens both ends of `<(command)` at once.
const NO_WRITER: Duration = Duration::from_secs(3);

/// `procfs`, `sysfs`, `tracefs`, `debugfs`, `cgroup2` (linux/magic.h): their files look regular, and some wait for ever or
/// have no end.
const KERNEL: [i64; 5] = [0x9fa0, 0x6265_6572, 0x7472_6163, 0x6462_6720, 0x6367_7270];

/// What was opened.
pub enum OpenedFile {
    /// A regular file: it may be opened again.
    Regular(File),
    /// A pipe: what is read is gone.
    Pipe(Box<dyn Read>),
}

/// A pipe or standard input, whose silence does not keep the user's Ctrl-C from being noticed.
#[derive(Debug)]
pub struct Patient<F> {
    /// What is read.
    pub file: F,
    /// What says when to stop.
    pub progress: Progress,
}

impl<F: AsFd> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.progress.is_stopped() {
                return Ok(0);
            }
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PATIENCE) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match nix::unistd::read(self.file.as_fd(), buffer) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                read => return Ok(read?),
            }
        }
    }
}

/// Opens a capture, a log or a trace: a regular file, or a pipe with a writer. Anything else is refused by name.
pub fn open(path: &Path, progress: &Progress) -> io::Result<OpenedFile> {
    // Without O_NONBLOCK the open of a FIFO waits for a writer, and so do reads of some files of the kernel.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)?;
    let kind = file.metadata()?.file_type();
    let refused = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if kind.is_fifo() {
        let pipe = OwnedFd::from(file);
        let first = wait_for_writer(&pipe, progress)?;
        Ok(OpenedFile::Pipe(Box::new(Cursor::new(first).chain(
            Patient {
                file: pipe,
                progress: progress.clone(),
            },
        ))))
    } else if kind.is_char_device() || kind.is_block_device() {
        refused("it is a device, not a file")
    } else if kind.is_dir() {
        Err(Errno::EISDIR.into())
    } else if is_kernels(statfs::fstatfs(&file)?.filesystem_type()) {
        refused("it is a file of the kernel's, not a recording")
    } else {
        Ok(OpenedFile::Regular(file))
    }
}

/// The same, for what must be a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    match open(path, &Progress::default())? {
        OpenedFile::Regular(file) => Ok(file),
        OpenedFile::Pipe(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a pipe, not a file",
        )),
    }
}

// The type is i64 on some architectures and u32 or i32 on others.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn is_kernels(kind: FsType) -> bool {
    KERNEL.contains(&(kind.0 as i64))
}

/// Waits until a pipe has data, or a writer that may still write. Returns what had to be read to find out.
fn wait_for_writer(pipe: &OwnedFd, progress: &Progress) -> io::Result<Vec<u8>> {
    let since = Instant::now();
    loop {
        let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PATIENCE) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        // An empty pipe with a writer says EAGAIN, one that never had a writer the end of the file (fifo(7)).
        let mut byte = [0];
        match nix::unistd::read(pipe, &mut byte) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(byte.into()),
            Err(Errno::EAGAIN) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        if progress.is_stopped() || since.elapsed() >= NO_WRITER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a FIFO, and no program has it open for writing",
            ));
        }
    }
}

/// The text of a small file, or of its beginning.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    /// What was read. Bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Whether that is all.
    pub whole: bool,
}

/// Reads a small file, [`LONGEST`] bytes at most. Devices are read as well (`/dev/null` is an empty resolv.conf), but a
/// device that would wait is an error.
pub fn text(path: &Path) -> io::Result<Text> {
    let (bytes, whole) = bytes(path, LONGEST)?;
    Ok(Text {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        whole,
    })
}

/// Reads a small file that must be read whole to be understood.
pub fn whole_text(path: &Path) -> io::Result<String> {
    let Text { text, whole } = text(path)?;
    if whole {
        Ok(text)
    } else {
        Err(too_long(LONGEST))
    }
}

/// Says that something is longer than what is read.
pub fn too_long(bound: u64) -> io::Error {
    let what = format!(
        "it is longer than {} MiB, which is the most that is read",
        bound >> 20
    );
    io::Error::new(io::ErrorKind::FileTooLarge, what)
}

/// The first bytes of a file, so many at most, and whether that is all.
pub fn bytes(path: &Path, most: u64) -> io::Result<(Vec<u8>, bool)> {
    let is_device = std::fs::metadata(path)?.file_type().is_char_device();
    let mut reader: Box<dyn Read> = if is_device {
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        Box::new(
            OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(path)?,
        )
    } else {
        match open(path, &Progress::default())? {
            OpenedFile::Regular(file) => Box::new(file),
            OpenedFile::Pipe(pipe) => pipe,
        }
    };
    read_at_most(&mut reader, most)
}

/// Reads so many bytes at most, and says whether that is all.
pub fn read_at_most(reader: &mut dyn Read, most: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    reader.take(most + 1).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 <= most;
    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok((bytes, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::Write;

    #[test]
    fn a_fifo_needs_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        let error = open(&path, &Progress::default()).err().unwrap();
        assert!(
            error.to_string().contains("no program has it open"),
            "{error}"
        );
        // A writer that is silent at first is waited for.
        let writer = path.clone();
        let writing = std::thread::spawn(move || {
            let mut file = OpenOptions::new().write(true).open(writer).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            file.write_all(b"nameserver 10.0.0.1\n").unwrap();
        });
        assert_eq!(whole_text(&path).unwrap(), "nameserver 10.0.0.1\n");
        writing.join().unwrap();
    }

    #[test]
    fn devices_and_files_of_the_kernel_have_bounds() {
        assert_eq!(whole_text(Path::new("/dev/null")).unwrap(), "");
        let error = whole_text(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("longer than 8 MiB"), "{error}");
        assert!(open(Path::new("/dev/zero"), &Progress::default()).is_err());
        assert!(open(Path::new("/proc/self/status"), &Progress::default()).is_err());
        assert!(open(Path::new("/"), &Progress::default()).is_err());
    }

    #[test]
    fn what_is_longer_is_cut_and_said() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LONGEST + 1).unwrap();
        let read = text(file.path()).unwrap();
        assert_eq!((read.text.len() as u64, read.whole), (LONGEST, false));
        assert!(whole_text(file.path()).is_err());
        file.as_file().set_len(3).unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(whole_text(file.path()).unwrap(), "abc");
    }
}
