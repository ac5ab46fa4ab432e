//! The memory of a tracee. What cannot be read is data, not an error: readers get fewer bytes.

use super::stop::Stopped;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::io::IoSliceMut;

/// Something with addresses that bytes can be read from.
pub trait Memory {
    /// Reads from `address` on and returns how many bytes came, counted from the beginning.
    fn read(&self, address: u64, into: &mut [u8]) -> usize;

    /// Exactly `N` bytes, or nothing.
    fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]>
    where
        Self: Sized,
    {
        let mut bytes = [0; N];
        (self.read(address, &mut bytes) == N).then_some(bytes)
    }

    /// Up to `length` bytes; fewer where memory ends.
    fn bytes(&self, address: u64, length: usize) -> Vec<u8>
    where
        Self: Sized,
    {
        let mut bytes = vec![0; length];
        let got = self.read(address, &mut bytes);
        bytes.truncate(got);
        bytes
    }
}

/// The memory of a stopped task.
pub struct ProcessMemory<'s> {
    stop: &'s Stopped,
}

/// The smallest page of the supported machines: a read is cut at its multiples, so that it ends where memory
/// ends instead of failing as a whole (`process_vm_readv(2)`: no partial transfer of one element).
const PAGE: u64 = 4096;

/// Elements of one `process_vm_readv`: 64 KiB and a bit.
const PIECES: usize = 18;

impl<'s> ProcessMemory<'s> {
    pub(super) fn new(stop: &'s Stopped) -> Self {
        Self { stop }
    }

    /// Word by word, where `process_vm_readv` is not permitted or not there.
    fn peek(&self, address: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let at = address.wrapping_add(done as u64);
            let word_at = at & !7;
            let pointer = usize::try_from(word_at).map(std::ptr::without_provenance_mut);
            let word = pointer.map(|pointer| ptrace::read(self.stop.pid(), pointer));
            let Ok(Ok(word)) = word else { break };
            let word = word.to_ne_bytes();
            let skip = usize::try_from(at - word_at).unwrap_or(0);
            let take = (word.len() - skip).min(into.len() - done);
            into[done..done + take].copy_from_slice(&word[skip..skip + take]);
            done += take;
        }
        done
    }
}

impl Memory for ProcessMemory<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let mut pieces = [RemoteIoVec { base: 0, len: 0 }; PIECES];
        let (mut count, mut at, mut left) = (0, address, into.len());
        while left > 0 && count < PIECES {
            let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(left);
            let len = left.min(to_page_end);
            let Ok(base) = usize::try_from(at) else { break };
            pieces[count] = RemoteIoVec { base, len };
            count += 1;
            left -= len;
            let Some(next) = at.checked_add(len as u64) else {
                break;
            };
            at = next;
        }
        let pid = Pid::from_raw(self.stop.tid().cast_signed());
        let mut local = [IoSliceMut::new(into)];
        match process_vm_readv(pid, &mut local, &pieces[..count]) {
            Ok(read) => read,
            Err(nix::Error::EFAULT | nix::Error::ESRCH) => 0,
            Err(_) => self.peek(address, into),
        }
    }
}

/// Pretended memory for tests: one run of bytes at one address.
#[cfg(test)]
pub struct FakeMemory {
    /// Where the bytes begin.
    pub base: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
impl Memory for FakeMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let Some(skip) = address
            .checked_sub(self.base)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| *skip <= self.bytes.len())
        else {
            return 0;
        };
        let take = into.len().min(self.bytes.len() - skip);
        into[..take].copy_from_slice(&self.bytes[skip..skip + take]);
        take
    }
}
