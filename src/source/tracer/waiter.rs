//! Which descriptor each thread of a process waits for, as `/proc/PID/task/TID/syscall` says. No thread is stopped for it.

use super::abi::Abi;
use super::arguments::{ArgumentReader, Set};
use super::memory::Memory;
use crate::event::{Syscall, WaitSet};
use std::fs;
use std::os::unix::fs::FileExt;

/// More threads than this are not asked: each takes some microseconds.
const THREADS: usize = 128;

/// The threads of a process that wait for one descriptor and for nothing else, and for which.
#[derive(Debug, Default)]
pub struct Waiters(Vec<(u32, i32)>);

impl Waiters {
    /// Asks for each thread.
    pub fn of(pid: u32, threads: &[u32]) -> Self {
        if threads.len() > THREADS {
            return Self::default();
        }
        let waits = |tid: &u32| {
            let call = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
            let memory = RunningMemory { pid, tid: *tid };
            Some((*tid, awaited(&call, &memory)?))
        };
        Self(threads.iter().filter_map(waits).collect())
    }

    /// The one that waits for a descriptor; `None` where there is none, or several do.
    pub fn waiter(&self, fd: i32) -> Option<u32> {
        let mut waiting = self.0.iter().filter(|(_, of)| *of == fd);
        let first = waiting.next().map(|(tid, _)| *tid);
        first.filter(|_| waiting.next().is_none())
    }
}

/// The descriptor that a thread inside this call waits for alone: it receives from it, or polls it and no other. An event
/// loop (epoll) waits for many.
fn awaited<M: Memory>(call: &str, memory: &M) -> Option<i32> {
    let mut words = call.split_whitespace();
    // "running", or "-1" outside of calls. The file does not say by which convention; a number of another one is another
    // call's, whose first argument is some descriptor by chance only.
    let number = words.next()?.parse::<u32>().ok().and_then(native)?;
    let mut arguments =
        words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let arguments: [u64; 6] = std::array::from_fn(|_| arguments.next().unwrap_or(0));
    let reader = ArgumentReader {
        memory,
        abi: Abi::native(),
    };
    let named = match number {
        Syscall::Receive(_) => {
            let fd = u32::try_from(arguments[0] & 0xffff_ffff)
                .ok()?
                .cast_signed();
            return (fd >= 0).then_some(fd);
        }
        Syscall::Wait(WaitSet::Poll, _) if arguments[1] == 1 => {
            reader.named(&Set::Poll(arguments[0]), 1)
        }
        Syscall::Wait(WaitSet::Select, _) => {
            let count = usize::try_from(arguments[0]).unwrap_or(0);
            let sets = [arguments[1], arguments[2], arguments[3]];
            reader.named(&Set::Select(sets, count), 0)
        }
        _ => return None,
    };
    match named[..] {
        [fd] => Some(fd),
        _ => None,
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
    fn who_receives_from_or_polls_one_descriptor_waits_for_it() {
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
        for (call, expected) in [
            ("running\n", None),
            ("-1 0x7ffd 0x7f00\n", None),
            ("45 0x7 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", Some(7)),
            ("0 0x8 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", Some(8)),
            // poll of one, of two, of another.
            ("7 0x1000 0x1 0x1388 0x0 0x0 0x0 0x7ffd 0x7f00\n", Some(7)),
            ("7 0x1000 0x2 0x1388 0x0 0x0 0x0 0x7ffd 0x7f00\n", None),
            ("7 0x1008 0x1 0x1388 0x0 0x0 0x0 0x7ffd 0x7f00\n", Some(8)),
            // select of one, and memory that cannot be read.
            ("23 0x8 0x1010 0x0 0x0 0x0 0x0 0x7ffd 0x7f00\n", Some(7)),
            ("23 0x8 0x9010 0x0 0x0 0x0 0x0 0x7ffd 0x7f00\n", None),
            // epoll_wait of descriptor 7, an event loop's; write; read of a descriptor that is none.
            (
                "232 0x7 0x5000 0x40 0xffffffff 0x0 0x0 0x7ffd 0x7f00\n",
                None,
            ),
            ("1 0x7 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n", None),
            (
                "0 0xffffffffffffffff 0x5000 0x200 0x0 0x0 0x0 0x7ffd 0x7f00\n",
                None,
            ),
        ] {
            assert_eq!(awaited(call, &memory), expected, "{call}");
        }
        let waiters = Waiters(vec![(1, 7), (2, 8), (3, 8)]);
        assert_eq!(
            [7, 8, 9].map(|fd| waiters.waiter(fd)),
            [Some(1), None, None]
        );
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
        while Waiters::of(me, &[me, tid]).waiter(fd) != Some(tid) {
            assert!(begin.elapsed() < std::time::Duration::from_secs(20));
            std::thread::yield_now();
        }
        assert_eq!(Waiters::of(me, &[me]).waiter(fd), None);
        UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .send_to(b"x", to)
            .unwrap();
        waiter.join().unwrap();
    }
}
