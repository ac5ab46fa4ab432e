//! The system calls that presyn knows, one row each: what the call does and how its arguments are laid out, its names,
//! and its numbers. The tracer and its seccomp filter, the reader of strace logs and the writer of strace syntax all
//! take them from here.
//!
//! Numbers are from the kernel's `arch/x86/entry/syscalls/syscall_{64,32}.tbl`, `scripts/syscall.tbl` and, for
//! `socketcall(2)`, `linux/net.h`.

use super::Op;

/// What a call does, and how its arguments are laid out. Calls that differ in neither are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// `socket(family, type, protocol)`
    Socket,
    /// `connect(fd, address, length)`
    Connect,
    /// `bind(fd, address, length)`
    Bind,
    /// `accept(fd, address, length, …)`
    Accept,
    /// `getsockname(fd, address, length)`
    GetSockName,
    /// `getpeername(fd, address, length)`
    GetPeerName,
    /// `getsockopt(fd, level, name, value, length)`
    GetSockOpt,
    /// Hands bytes over.
    Send(PayloadLayout),
    /// Takes bytes.
    Receive(PayloadLayout),
    /// Waits for descriptors.
    Wait(WaitSet, TimeoutForm),
    /// `restart_syscall()`: an interrupted wait goes on.
    Restart,
    /// `close(fd)`
    Close,
    /// `dup(fd, …)`
    Dup,
    /// `fcntl(fd, command, …)`
    Fcntl,
    /// `clone(flags, …)`; strace prints the flags of `clone3` too, but they are in memory, where no filter sees them.
    Clone,
    /// `fork()`
    Fork,
    /// `execve(path, …)`, `execveat(fd, path, …)`
    Exec,
    /// Asleep on purpose.
    Sleep,
    /// `io_uring_setup`
    IoUringSetup,
    /// `socketcall(which, arguments)`: i386's older way to all socket calls.
    SocketCall,
    /// `ptrace(request, pid, …)`: refused where the task has this tracer.
    Ptrace,
    /// `prctl(option, …)`
    Prctl,
    /// `seccomp(operation, …)`
    Seccomp,
    /// Part of strace's `-e trace=network`, no event.
    OtherNetwork,
    /// Handles memory: only a log of every call has it.
    Memory,
    /// Handles files.
    File,
    /// Any other known call.
    Other,
    /// Perhaps a call.
    Unknown,
}

/// How a call names the bytes that it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadLayout {
    /// `(fd, bytes, length)`
    Plain,
    /// `(fd, bytes, length, flags, address, length)`
    Addressed,
    /// `(fd, msghdr, flags)`
    Header,
    /// `(fd, mmsghdr[], count, flags, …)`
    Headers,
    /// `(fd, iovec[], count)`
    Vector,
}

/// How a call names the descriptors that it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitSet {
    /// `(pollfd[], count, timeout, …)`
    Poll,
    /// `(count, read, write, except, timeout, …)`
    Select,
    /// `(epfd, events, count, timeout, …)`: not at all.
    Epoll,
}

impl WaitSet {
    /// Which argument the timeout is.
    pub fn timeout_at(self) -> usize {
        match self {
            Self::Poll => 2,
            Self::Epoll => 3,
            Self::Select => 4,
        }
    }
}

/// How a call takes its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutForm {
    /// An int; a negative one is for ever.
    Millis,
    /// `struct timeval`, by reference.
    Timeval,
    /// `struct timespec`, by reference.
    Timespec,
}

impl TimeoutForm {
    /// Nanoseconds in one of the smaller units, where there are two.
    pub fn fraction(self) -> i64 {
        match self {
            Self::Timeval => 1_000,
            Self::Millis | Self::Timespec => 1,
        }
    }
}

/// A call's row.
#[derive(Debug)]
pub struct SyscallRow {
    /// What the call does.
    pub call: Syscall,
    /// Its names, the one that presyn writes first.
    pub names: &'static [&'static [u8]],
    /// Its numbers on 64-bit x86.
    pub x86_64: &'static [u32],
    /// Its own numbers on x32, which shares the others with 64-bit x86.
    pub x32: &'static [u32],
    /// On 32-bit x86.
    pub i386: &'static [u32],
    /// On 64-bit ARM.
    pub aarch64: &'static [u32],
    /// As the first argument of `socketcall`.
    pub socketcall: &'static [u32],
}

/// The table, and searches in it: as `match`, because logs have millions of names and a stop of a tracee costs enough.
macro_rules! syscalls {
    ($(
        $call:expr => [$($name:literal)+]
        $(, x86_64: [$($x86_64:literal)+])?
        $(, x32: [$($x32:literal)+])?
        $(, i386: [$($i386:literal)+])?
        $(, aarch64: [$($aarch64:literal)+])?
        $(, socketcall: [$($socketcall:literal)+])?;
    )+) => {
        /// Every call.
        pub const SYSCALLS: &[SyscallRow] = &[$(SyscallRow {
            call: $call,
            names: &[$($name),+],
            x86_64: &[$($($x86_64),+)?],
            x32: &[$($($x32),+)?],
            i386: &[$($($i386),+)?],
            aarch64: &[$($($aarch64),+)?],
            socketcall: &[$($($socketcall),+)?],
        }),+];

        impl Syscall {
            /// By its name, as strace prints it.
            pub fn named(name: &[u8]) -> Self {
                match name {
                    $($($name)|+ => $call,)+
                    _ => Self::Unknown,
                }
            }

            /// By its number on 64-bit x86.
            pub fn x86_64(number: u32) -> Option<Self> {
                match number {
                    $($($($x86_64)|+ => Some($call),)?)+
                    _ => None,
                }
            }

            /// By its own number on x32.
            pub fn x32(number: u32) -> Option<Self> {
                match number {
                    $($($($x32)|+ => Some($call),)?)+
                    _ => None,
                }
            }

            /// By its number on 32-bit x86.
            pub fn i386(number: u32) -> Option<Self> {
                match number {
                    $($($($i386)|+ => Some($call),)?)+
                    _ => None,
                }
            }

            /// By its number on 64-bit ARM.
            pub fn aarch64(number: u32) -> Option<Self> {
                match number {
                    $($($($aarch64)|+ => Some($call),)?)+
                    _ => None,
                }
            }

            /// By the first argument of `socketcall`.
            pub fn socketcall(which: u32) -> Option<Self> {
                match which {
                    $($($($socketcall)|+ => Some($call),)?)+
                    _ => None,
                }
            }
        }
    };
}

syscalls! {
    // The common ones first, those of no interest too: a line that begins with one needs no second look.
    Syscall::Receive(PayloadLayout::Plain) => [b"read" b"pread64"],
        x86_64: [0], i386: [3], aarch64: [63];
    Syscall::Send(PayloadLayout::Plain) => [b"write" b"pwrite64"],
        x86_64: [1], i386: [4], aarch64: [64];
    Syscall::Close => [b"close"],
        x86_64: [3], i386: [6], aarch64: [57];
    Syscall::Memory => [b"mmap" b"mmap2" b"munmap" b"mprotect" b"brk" b"madvise" b"mremap"];
    Syscall::File => [
        b"open" b"openat" b"fstat" b"fstat64" b"newfstatat" b"stat" b"stat64" b"lstat" b"access" b"lseek" b"_llseek"
        b"statx" b"getdents64" b"readlink"
    ];
    Syscall::Other => [
        b"futex" b"rt_sigaction" b"rt_sigprocmask" b"rt_sigreturn" b"ioctl" b"getpid" b"gettid" b"clock_gettime"
        b"gettimeofday" b"sched_yield" b"epoll_ctl" b"epoll_create1" b"wait4" b"exit_group" b"exit"
        b"set_robust_list" b"arch_prctl" b"getrandom" b"uname" b"time" b"kill" b"tgkill" b"pipe" b"pipe2" b"eventfd2"
        b"set_tid_address" b"prlimit64" b"rseq" b"getuid" b"geteuid" b"times" b"getppid" b"getcwd" b"sigaltstack"
        b"waitid"
    ];
    Syscall::Socket => [b"socket"],
        x86_64: [41], i386: [359], aarch64: [198], socketcall: [1];
    Syscall::Connect => [b"connect"],
        x86_64: [42], i386: [362], aarch64: [203], socketcall: [3];
    Syscall::Bind => [b"bind"],
        x86_64: [49], i386: [361], aarch64: [200], socketcall: [2];
    Syscall::Accept => [b"accept" b"accept4"];
    Syscall::GetSockName => [b"getsockname"];
    Syscall::GetPeerName => [b"getpeername"],
        x86_64: [52], i386: [368], aarch64: [205], socketcall: [7];
    Syscall::GetSockOpt => [b"getsockopt"],
        x86_64: [55], x32: [542], i386: [365], aarch64: [209], socketcall: [15];
    Syscall::OtherNetwork => [b"setsockopt" b"listen" b"shutdown" b"socketpair"];
    Syscall::Send(PayloadLayout::Addressed) => [b"sendto" b"send"],
        x86_64: [44], i386: [369], aarch64: [206], socketcall: [9 11];
    Syscall::Send(PayloadLayout::Header) => [b"sendmsg"],
        x86_64: [46], x32: [518], i386: [370], aarch64: [211], socketcall: [16];
    Syscall::Send(PayloadLayout::Headers) => [b"sendmmsg"],
        x86_64: [307], x32: [538], i386: [345], aarch64: [269], socketcall: [20];
    Syscall::Send(PayloadLayout::Vector) => [b"writev"],
        x86_64: [20], x32: [516], i386: [146], aarch64: [66];
    Syscall::Receive(PayloadLayout::Addressed) => [b"recvfrom" b"recv"],
        x86_64: [45], x32: [517], i386: [371], aarch64: [207], socketcall: [10 12];
    Syscall::Receive(PayloadLayout::Header) => [b"recvmsg"],
        x86_64: [47], x32: [519], i386: [372], aarch64: [212], socketcall: [17];
    Syscall::Receive(PayloadLayout::Headers) => [b"recvmmsg" b"recvmmsg_time64" b"recvmmsg_time32"],
        x86_64: [299], x32: [537], i386: [337 417], aarch64: [243], socketcall: [19];
    Syscall::Receive(PayloadLayout::Vector) => [b"readv"],
        x86_64: [19], x32: [515], i386: [145], aarch64: [65];
    Syscall::Wait(WaitSet::Poll, TimeoutForm::Millis) => [b"poll"],
        x86_64: [7], i386: [168];
    Syscall::Wait(WaitSet::Poll, TimeoutForm::Timespec) => [b"ppoll" b"ppoll_time64" b"ppoll_time32"],
        x86_64: [271], i386: [309 414], aarch64: [73];
    Syscall::Wait(WaitSet::Select, TimeoutForm::Timeval) => [b"select" b"_newselect"],
        x86_64: [23], i386: [142];
    Syscall::Wait(WaitSet::Select, TimeoutForm::Timespec) => [b"pselect6" b"pselect6_time64" b"pselect6_time32"],
        x86_64: [270], i386: [308 413], aarch64: [72];
    Syscall::Wait(WaitSet::Epoll, TimeoutForm::Millis) => [b"epoll_wait" b"epoll_pwait"],
        x86_64: [232 281], i386: [256 319], aarch64: [22];
    Syscall::Wait(WaitSet::Epoll, TimeoutForm::Timespec) => [b"epoll_pwait2"],
        x86_64: [441], i386: [441], aarch64: [441];
    Syscall::Restart => [b"restart_syscall"],
        x86_64: [219], i386: [0], aarch64: [128];
    Syscall::Dup => [b"dup" b"dup2" b"dup3"];
    Syscall::Fcntl => [b"fcntl" b"fcntl64"];
    Syscall::Clone => [b"clone" b"clone3" b"__clone2" b"clone2"],
        x86_64: [56], i386: [120], aarch64: [220];
    Syscall::Fork => [b"fork" b"vfork"];
    Syscall::Exec => [b"execve" b"execveat"];
    Syscall::Sleep => [b"nanosleep" b"clock_nanosleep" b"clock_nanosleep_time64" b"pause"],
        x86_64: [35 230], i386: [162 267 407], aarch64: [101 115];
    Syscall::IoUringSetup => [b"io_uring_setup"],
        x86_64: [425], i386: [425], aarch64: [425];
    Syscall::SocketCall => [b"socketcall"],
        i386: [102];
    Syscall::Ptrace => [b"ptrace"],
        x86_64: [101], x32: [521], i386: [26], aarch64: [117];
    Syscall::Prctl => [b"prctl"],
        x86_64: [157], i386: [172], aarch64: [167];
    Syscall::Seccomp => [b"seccomp"],
        x86_64: [317], i386: [354], aarch64: [277];
}

impl Syscall {
    /// The calls that the seccomp filter always reports. Everything else runs unstopped, except in a task with an open
    /// lookup; what the filter stops by an argument stands in the filter.
    pub const TRAPPED: [Self; 4] = [
        Self::Connect,
        Self::Bind,
        Self::Send(PayloadLayout::Headers),
        Self::IoUringSetup,
    ];

    /// The name in strace's syntax; empty for what has no row.
    pub fn name(self) -> &'static str {
        let row = SYSCALLS.iter().find(|row| row.call == self);
        let name = row.and_then(|row| row.names.first());
        name.and_then(|name| str::from_utf8(name).ok())
            .unwrap_or_default()
    }

    /// Whether it may wait for something.
    pub fn may_wait(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Accept
                | Self::Receive(_)
                | Self::Wait(..)
                | Self::Restart
                | Self::Sleep
        )
    }

    /// Whether it never becomes an event by itself.
    pub fn is_boring(self) -> bool {
        matches!(
            self,
            Self::OtherNetwork
                | Self::Ptrace
                | Self::Prctl
                | Self::Seccomp
                | Self::Memory
                | Self::File
                | Self::Other
                | Self::Unknown
        )
    }

    /// Whether it is a network call that nobody traces by its name, so that a log which has it is one of
    /// `-e trace=network`, or of everything.
    pub fn is_traced_as_network(self) -> bool {
        matches!(
            self,
            Self::OtherNetwork | Self::GetSockOpt | Self::GetPeerName
        )
    }

    /// Whether it works on a descriptor that is often no socket, so that the descriptor decides.
    pub fn is_general(self) -> bool {
        matches!(
            self,
            Self::Send(PayloadLayout::Plain | PayloadLayout::Vector)
                | Self::Receive(PayloadLayout::Plain | PayloadLayout::Vector)
                | Self::Close
                | Self::Dup
                | Self::Fcntl
        )
    }
}

impl Op {
    /// The call that does this, of several the plainest; `None` for one that is known by its name alone.
    pub fn syscall(&self) -> Option<Syscall> {
        let payload = |messages: usize| {
            if messages > 1 {
                PayloadLayout::Headers
            } else {
                PayloadLayout::Addressed
            }
        };
        Some(match self {
            Self::Socket { .. } => Syscall::Socket,
            Self::Connect { .. } => Syscall::Connect,
            Self::Bind { .. } => Syscall::Bind,
            Self::Accept { .. } => Syscall::Accept,
            Self::LocalName { .. } => Syscall::GetSockName,
            Self::PeerName { .. } => Syscall::GetPeerName,
            Self::SocketTypeIs { .. } | Self::SocketError { .. } => Syscall::GetSockOpt,
            Self::Send { messages, .. } => Syscall::Send(payload(messages.len())),
            Self::Receive { messages, .. } => Syscall::Receive(payload(messages.len())),
            Self::Wait { fds, .. } if fds.is_empty() => {
                Syscall::Wait(WaitSet::Epoll, TimeoutForm::Millis)
            }
            Self::Wait { .. } => Syscall::Wait(WaitSet::Poll, TimeoutForm::Millis),
            Self::Close { .. } => Syscall::Close,
            Self::Duplicate { .. } => Syscall::Dup,
            Self::Clone { .. } => Syscall::Clone,
            Self::Exec { .. } => Syscall::Exec,
            Self::Sleep => Syscall::Sleep,
            Self::IoUring => Syscall::IoUringSetup,
            Self::Other { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_one_row_and_is_found_by_all_that_stands_in_it() {
        for (at, row) in SYSCALLS.iter().enumerate() {
            assert!(
                SYSCALLS[..at]
                    .iter()
                    .all(|earlier| earlier.call != row.call),
                "{:?}",
                row.call
            );
            for name in row.names {
                assert_eq!(Syscall::named(name), row.call);
            }
            assert_eq!(row.call.name().as_bytes(), row.names[0]);
            let found = |numbers: &[u32], find: fn(u32) -> Option<Syscall>| {
                for number in numbers {
                    assert_eq!(find(*number), Some(row.call), "{number}");
                }
            };
            found(row.x86_64, Syscall::x86_64);
            found(row.x32, Syscall::x32);
            found(row.i386, Syscall::i386);
            found(row.aarch64, Syscall::aarch64);
            found(row.socketcall, Syscall::socketcall);
        }
        assert_eq!(Syscall::named(b"connec"), Syscall::Unknown);
        assert_eq!(Syscall::named(b""), Syscall::Unknown);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_are_those_of_this_machine() {
        for (number, name) in [
            (libc::SYS_read, "read"),
            (libc::SYS_pselect6, "pselect6"),
            (libc::SYS_connect, "connect"),
            (libc::SYS_sendmmsg, "sendmmsg"),
            (libc::SYS_recvmmsg, "recvmmsg"),
            (libc::SYS_ppoll, "ppoll"),
            (libc::SYS_epoll_pwait2, "epoll_pwait2"),
            (libc::SYS_io_uring_setup, "io_uring_setup"),
            (libc::SYS_clock_nanosleep, "clock_nanosleep"),
            (libc::SYS_restart_syscall, "restart_syscall"),
            (libc::SYS_ptrace, "ptrace"),
            (libc::SYS_seccomp, "seccomp"),
        ] {
            let found = u32::try_from(number).ok().and_then(Syscall::x86_64);
            assert_eq!(found, Some(Syscall::named(name.as_bytes())), "{name}");
        }
    }
}
