//! How far reading files has come, and whether it is to stop: facts about the process, as its signals are.

use nix::sys::signal::{SigSet, Signal};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static READ: AtomicU64 = AtomicU64::new(0);
static EXPECTED: AtomicU64 = AtomicU64::new(0);
static READING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);

/// What a shell shows for a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// A reader whose bytes are counted.
#[derive(Debug)]
pub struct Counted<R>(pub R);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        READ.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Bytes read so far, as they are on the disk: packed files count packed.
pub fn read() -> u64 {
    READ.load(Ordering::Relaxed)
}

/// Bytes there are to read; 0 while nobody can say.
pub fn expected() -> u64 {
    EXPECTED.load(Ordering::Relaxed)
}

/// Whether files are being read.
pub fn is_reading() -> bool {
    READING.load(Ordering::Relaxed)
}

/// Whether the user has had enough: readers end at the next packet or line as if the file ended there.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

pub(super) fn begin(expected: u64) {
    // One case after the other may be read.
    READ.store(0, Ordering::Relaxed);
    EXPECTED.store(expected, Ordering::Relaxed);
    READING.store(true, Ordering::Relaxed);
}

pub(super) fn end() {
    READING.store(false, Ordering::Relaxed);
}

/// From here on a first Ctrl-C while files are read stops the reading; any other ends the program. To be called
/// before any other thread begins.
pub fn heed_interrupts() -> nix::Result<()> {
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    interrupt.thread_block()?;
    std::thread::spawn(move || {
        while interrupt.wait().is_ok() {
            if !is_reading() || STOPPED.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
        }
    });
    Ok(())
}
