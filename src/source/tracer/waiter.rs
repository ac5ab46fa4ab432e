//! Which thread of a process waits for a descriptor, as `/proc/PID/task/TID/syscall` says. Nobody is stopped for it.

use super::abi::Abi;
use super::arguments::{ArgumentReader, Set};
use super::memory::Memory;
use crate::event::{Syscall, WaitSet};
use std::fs;
use std::os::unix::fs::FileExt;

/// More threads than this are not asked.
const THREADS: usize = 256;

/// The one thread that waits for a descriptor and for nothing else; `None` where there is none, or several are.
pub fn of(pid: u32, threads: &[u32], fd: i32) -> Option<u32> {
    if threads.len() > THREADS {
        return None;
    }
    let waiting = |tid: &&u32| {
        let call = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"));
        call.is_ok_and(|call| waits(&call, fd, &RunningMemory { pid, tid: **tid }))
    };
    let mut waiting = threads.iter().filter(waiting);
    let first = waiting.next().copied();
    first.filter(|_| waiting.next().is_none())
}

/// Whether a thread inside this call waits for a descriptor alone: it receives from it, or polls it and no other. An event
/// loop (epoll) waits for many.
fn waits<M: Memory>(call: &str, fd: i32, memory: &M) -> bool {
    let mut words = call.split_whitespace();
    // "running", or "-1" outside of calls. The file does not say by which convention; a number of another one is another
    // call's, whose first argument is this descriptor by chance only.
    let number = words.next().and_then(|word| word.parse::<u32>().ok());
    let number = number.and_then(native);
    let mut arguments =
        words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let arguments: [u64; 6] = std::array::from_fn(|_| arguments.next().unwrap_or(0));
    let own = u64::from(fd.cast_unsigned());
    match number {
        Some(Syscall::Receive(_)) => arguments[0] & 0xffff_ffff == own,
        Some(Syscall::Wait(WaitSet::Poll, _)) => {
            let reader = ArgumentReader {
                memory,
                abi: Abi::native(),
            };
            arguments[1] == 1 && reader.named(&Set::Poll(arguments[0]), 1) == [fd]
        }
        Some(Syscall::Wait(WaitSet::Select, _)) => {
            let reader = ArgumentReader {
                memory,
                abi: Abi::native(),
            };
            let count = usize::try_from(arguments[0]).unwrap_or(0);
            let sets = [arguments[1], arguments[2], arguments[3]];
            reader.named(&Set::Select(sets, count), 0) == [fd]
        }
        _ => false,
    }
}

fn native(number: u32) -> Option<Syscall> {
    Abi::native().syscall(number.into())
}

/// The memory of a thread that runs: what is read may change meanwhile.
struct RunningMemory {
    pid: u32,
    tid: u32,
}

impl Memory for RunningMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let path = format!("/proc/{}/task/{}/mem", self.pid, self.tid);
        let read = fs::File::open(path).and_then(|file| file.read_at(into, address));
        read.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::FakeMemory;
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn who_receives_or_polls_one_descriptor_waits_for_it() {
        let mut bytes = Vec::new();
        for fd in [7i32, 8] {
            bytes.extend(fd.to_ne_bytes());
            bytes.extend([1, 0, 0, 0]);
        }
        // Bit 7 of an fd_set.
        bytes.extend([0x80, 0, 0, 0, 0, 0, 0, 0]);
        let memory = FakeMemory {
            base: 0x1000,
            bytes,
        };
        let waits = |call: &str| waits(call, 7, &memory);
        for (call, expected) in [
            ("running\n", false),
            ("-1 0x7ffd 0x7f00\n", false),
            ("45 0x7 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", true),
            ("45 0x8 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", false),
            ("0 0x7 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", true),
            // poll of one, of two, of another.
            ("7 0x1000 0x1 0x1388 0x0 0x0 0x0 0x7ffd 0x7f00\n", true),
            ("7 0x1000 0x2 0x1388 0x0 0x0 0x0 0x7ffd 0x7f00\n", false),
            ("7 0x1008 0x1 0x1388 0x0 0x0 0x0 0x7ffd 0x7f00\n", false),
            ("23 0x8 0x1010 0x0 0x0 0x0 0x0 0x7ffd 0x7f00\n", true),
            // epoll_wait of descriptor 7, an event loop's.
            (
                "232 0x7 0x5000 0x40 0xffffffff 0x0 0x0 0x7ffd 0x7f00\n",
                false,
            ),
            // write
            ("1 0x7 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", false),
        ] {
            assert_eq!(waits(call), expected, "{call}");
        }
    }

    #[test]
    fn a_thread_that_receives_is_found() {
        use std::net::UdpSocket;
        use std::os::fd::AsRawFd;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (to, fd) = (socket.local_addr().unwrap(), socket.as_raw_fd());
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw().unsigned_abs())
                .unwrap();
            socket.recv(&mut [0; 8]).unwrap();
        });
        let tid = told.recv().unwrap();
        let me = std::process::id();
        let begin = std::time::Instant::now();
        while of(me, &[me, tid], fd) != Some(tid) {
            assert!(begin.elapsed() < std::time::Duration::from_secs(20));
            std::thread::yield_now();
        }
        assert_eq!(of(me, &[me], fd), None);
        UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .send_to(b"x", to)
            .unwrap();
        waiter.join().unwrap();
    }
}
