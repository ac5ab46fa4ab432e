//! In which call a thread waits (`proc_pid_syscall(5)`), and whether it waits there for one socket.

use super::descriptors::{self, Descriptor};
use crate::event::ThreadWait;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// A thread that waits for a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingThread {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub comm: Option<String>,
    /// What it does.
    pub wait: ThreadWait,
}

/// The calls of threads may not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// More descriptors of one wait than this are not read: an event loop, whatever the number.
const MAX_POLLED: u64 = 4_096;
/// The descriptors that select(2) knows (`FD_SETSIZE`).
const SELECTED: u64 = 1_024;
/// More threads than this are not looked at.
const MAX_THREADS: usize = 8_192;
/// `struct pollfd` (poll(2)): a descriptor, and two half words.
const POLLED: usize = 8;

/// The thread of a process that waits for the socket behind a descriptor: one that waits for it alone, before one that
/// watches it among others. `hint` is the thread that did so last.
pub fn waiting(of: Descriptor, hint: Option<u32>) -> Result<Option<WaitingThread>, Unreadable> {
    let Descriptor { pid, fd } = of;
    let list = fs::read_dir(format!("/proc/{pid}/task"));
    let listed = list.into_iter().flatten().flatten();
    let listed = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut loop_thread = None;
    for tid in hint.into_iter().chain(listed.take(MAX_THREADS)) {
        let text = match fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Unreadable);
            }
            Err(_) => continue,
        };
        let Some(wait) = Blocked::parse(&text).and_then(|call| call.waits_for(pid, fd)) else {
            continue;
        };
        let thread = WaitingThread {
            tid,
            comm: descriptors::comm(&format!("/proc/{pid}/task/{tid}/comm")),
            wait,
        };
        if thread.wait.among == 1 {
            return Ok(Some(thread));
        }
        loop_thread = loop_thread.or(Some(thread));
    }
    Ok(loop_thread)
}

/// A call in which a thread is blocked, with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocked {
    number: i64,
    arguments: [u64; 6],
}

impl Blocked {
    /// `NUMBER ARG1 … ARG6 SP PC`, numbers in hexadecimal but the first. `running`, and -1 for a thread that is blocked
    /// outside of a call, are no call.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let number: i64 = words.next()?.parse().ok().filter(|number| *number >= 0)?;
        let mut value = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = value()?;
        }
        let stack = value()?;
        // A thread of 32-bit code numbers its calls otherwise; its stack is below 4 GiB.
        (stack > u64::from(u32::MAX)).then_some(Self { number, arguments })
    }

    /// What the call waits for, if the descriptor is among it.
    fn waits_for(&self, pid: u32, fd: i32) -> Option<ThreadWait> {
        let [first, second, third, ..] = self.arguments;
        let first_fd = i32::try_from(first).ok();
        let (call, among) = match self.number {
            libc::SYS_connect if first_fd == Some(fd) => ("connect", 1),
            libc::SYS_recvfrom if first_fd == Some(fd) => ("recvfrom", 1),
            libc::SYS_recvmsg if first_fd == Some(fd) => ("recvmsg", 1),
            libc::SYS_recvmmsg if first_fd == Some(fd) => ("recvmmsg", 1),
            libc::SYS_read if first_fd == Some(fd) => ("read", 1),
            libc::SYS_readv if first_fd == Some(fd) => ("readv", 1),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll => ("poll", polled(pid, fd, (first, second))?),
            libc::SYS_ppoll => ("ppoll", polled(pid, fd, (first, second))?),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_select => ("select", selected(pid, fd, first, [second, third])?),
            libc::SYS_pselect6 => ("pselect6", selected(pid, fd, first, [second, third])?),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait => ("epoll_wait", in_epoll(pid, fd, first_fd?)?),
            libc::SYS_epoll_pwait => ("epoll_pwait", in_epoll(pid, fd, first_fd?)?),
            libc::SYS_epoll_pwait2 => ("epoll_pwait2", in_epoll(pid, fd, first_fd?)?),
            _ => return None,
        };
        let call = call.into();
        Some(ThreadWait { call, among })
    }
}

/// How many descriptors a poll(2) waits for, if this one is among them.
fn polled(pid: u32, fd: i32, (address, count): (u64, u64)) -> Option<u32> {
    let count = count.min(MAX_POLLED);
    let mut bytes = vec![0; usize::try_from(count).ok()? * POLLED];
    memory(pid, address, &mut bytes)?;
    let fds = bytes.chunks_exact(POLLED);
    let fds = fds.map(|one| i32::from_ne_bytes([one[0], one[1], one[2], one[3]]));
    // Negative ones are ignored (poll(2)).
    let fds: Vec<i32> = fds.filter(|fd| *fd >= 0).collect();
    fds.contains(&fd).then_some(u32::try_from(fds.len()).ok()?)
}

/// How many descriptors a select(2) waits for, if this one is among them.
fn selected(pid: u32, fd: i32, count: u64, sets: [u64; 2]) -> Option<u32> {
    let count = usize::try_from(count.min(SELECTED)).ok()?;
    let wanted = usize::try_from(fd).ok().filter(|fd| *fd < count)?;
    let mut all = vec![0u8; count.div_ceil(8)];
    for address in sets.into_iter().filter(|address| *address != 0) {
        let mut set = vec![0; all.len()];
        memory(pid, address, &mut set)?;
        all.iter_mut().zip(set).for_each(|(all, one)| *all |= one);
    }
    let is_set = |n: &usize| all[n / 8] & (1 << (n % 8)) != 0;
    is_set(&wanted).then_some(u32::try_from((0..count).filter(is_set).count()).ok()?)
}

/// How many descriptors an epoll instance watches, if this one is among them (`proc_pid_fdinfo(5)`).
fn in_epoll(pid: u32, fd: i32, epoll: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).ok()?;
    let watched = text.lines().filter_map(|line| line.strip_prefix("tfd:"));
    let watched = watched.filter_map(|rest| rest.split_whitespace().next()?.parse::<i32>().ok());
    let fds: Vec<i32> = watched.collect();
    fds.contains(&fd).then_some(u32::try_from(fds.len()).ok()?)
}

/// Reads memory of a process; `None` where not all of it is there.
fn memory(pid: u32, address: u64, into: &mut [u8]) -> Option<()> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(into, address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    #[test]
    fn calls_are_read_as_the_kernel_writes_them() {
        let text = "45 0x5 0x7f01 0x400 0x0 0x0 0x0 0x7ffd10 0x7f00\n";
        assert_eq!(Blocked::parse(text), None, "the stack of 32-bit code");
        let text = "45 0x5 0x7f01 0x400 0x0 0x0 0x0 0x7ffd10aabbcc 0x7f00aabbccdd\n";
        let call = Blocked::parse(text).unwrap();
        assert_eq!((call.number, call.arguments[2]), (45, 0x400));
        for text in [
            "running\n",
            "-1 0x7ffd10aabbcc 0x7f00aabbccdd\n",
            "",
            "45 0x5\n",
        ] {
            assert_eq!(Blocked::parse(text), None, "{text:?}");
        }
    }

    /// Another thread of this process waits in a call; what is seen of it, once it waits.
    fn seen(fd: i32, tid: u32) -> WaitingThread {
        let began = Instant::now();
        let of = Descriptor {
            pid: std::process::id(),
            fd,
        };
        loop {
            let found = waiting(of, Some(tid)).unwrap();
            if let Some(thread) = found {
                return thread;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "nobody waits");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_thread_that_reads_from_one_socket_waits_for_it_alone() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            ours.read(&mut [0]).unwrap()
        });
        let tid = told.recv().unwrap().unsigned_abs();
        let seen = seen(fd, tid);
        assert_eq!((seen.tid, seen.wait.among), (tid, 1));
        assert!(["read", "recvfrom"].contains(&&*seen.wait.call), "{seen:?}");
        drop(theirs);
        assert_eq!(thread.join().unwrap(), 0);
    }

    #[test]
    fn a_thread_that_polls_two_watches_one_among_two() {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let a = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (b, end) = UnixStream::pair().unwrap();
        let (fd, (tell, told)) = (a.as_raw_fd(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let mut fds = [a.as_fd(), b.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            poll(&mut fds, PollTimeout::NONE).unwrap()
        });
        let tid = told.recv().unwrap().unsigned_abs();
        let seen = seen(fd, tid);
        assert_eq!((seen.tid, seen.wait.among), (tid, 2));
        drop(end);
        assert_eq!(thread.join().unwrap(), 1);
    }
}
