//! The calling conventions of the supported kernels: which number is which call, and how wide a word is.
//!
//! Numbers are from the kernel's `arch/x86/entry/syscalls/syscall_{64,32}.tbl` and `scripts/syscall.tbl`.

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
pub const ARCH_X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`.
pub const ARCH_I386: u32 = 0x4000_0003;
/// `AUDIT_ARCH_AARCH64`.
pub const ARCH_AARCH64: u32 = 0xc000_00b7;
/// `__X32_SYSCALL_BIT` (asm/unistd.h): x32 calls come with `AUDIT_ARCH_X86_64` and this bit.
pub const X32_BIT: u32 = 0x4000_0000;

/// A calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit x86.
    X86_64,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 32-bit x86.
    I386,
    /// 64-bit ARM.
    Aarch64,
}

/// The calls that the tracer understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `connect(fd, address, length)`
    Connect,
    /// `bind(fd, address, length)`
    Bind,
    /// `sendto(fd, bytes, length, flags, address, length)`, `send`
    SendTo,
    /// `sendmsg(fd, header, flags)`
    SendMsg,
    /// `sendmmsg(fd, headers, count, flags)`
    SendMmsg,
    /// `write(fd, bytes, length)`
    Write,
    /// `writev(fd, pieces, count)`
    Writev,
    /// `recvfrom(fd, bytes, length, flags, address, length)`, `recv`
    RecvFrom,
    /// `recvmsg(fd, header, flags)`
    RecvMsg,
    /// `recvmmsg(fd, headers, count, flags, timeout)`
    RecvMmsg,
    /// `read(fd, bytes, length)`
    Read,
    /// `readv(fd, pieces, count)`
    Readv,
    /// `poll(fds, count, milliseconds)`
    Poll,
    /// `ppoll(fds, count, timespec, …)`
    Ppoll,
    /// `select(count, read, write, except, timeval)`
    Select,
    /// `pselect6(count, read, write, except, timespec, …)`
    Pselect,
    /// `epoll_wait`, `epoll_pwait(epfd, events, count, milliseconds, …)`
    Epoll,
    /// `epoll_pwait2(epfd, events, count, timespec, …)`
    Epoll2,
    /// `close(fd)`
    Close,
    /// `nanosleep`, `clock_nanosleep`
    Sleep,
    /// `restart_syscall()`: an interrupted wait goes on.
    Restart,
    /// `io_uring_setup`
    IoUringSetup,
    /// `ptrace(request, pid, …)`: refused where the task has this tracer.
    Ptrace,
    /// `prctl(option, …)`
    Prctl,
    /// `seccomp(operation, …)`
    Seccomp,
    /// `clone(flags, …)`; the flags of `clone3` are in memory, where no filter sees them.
    Clone,
    /// `socketcall(which, arguments)`: i386's older way to all socket calls.
    SocketCall,
}

impl Kind {
    /// The kinds that the seccomp filter reports. Everything else runs unstopped, except in a task with an open
    /// lookup.
    pub const TRAPPED: [Self; 6] = [
        Self::Connect,
        Self::Bind,
        Self::SendTo,
        Self::SendMsg,
        Self::SendMmsg,
        Self::IoUringSetup,
    ];
}

/// `socketcall(2)` numbers (linux/net.h).
pub const SOCKETCALLS: &[(u32, Kind)] = &[
    (2, Kind::Bind),
    (3, Kind::Connect),
    (9, Kind::SendTo),
    (10, Kind::RecvFrom),
    (11, Kind::SendTo),
    (12, Kind::RecvFrom),
    (16, Kind::SendMsg),
    (17, Kind::RecvMsg),
    (19, Kind::RecvMmsg),
    (20, Kind::SendMmsg),
];

const X86_64: &[(u32, Kind)] = &[
    (0, Kind::Read),
    (1, Kind::Write),
    (3, Kind::Close),
    (7, Kind::Poll),
    (19, Kind::Readv),
    (20, Kind::Writev),
    (23, Kind::Select),
    (35, Kind::Sleep),
    (42, Kind::Connect),
    (44, Kind::SendTo),
    (45, Kind::RecvFrom),
    (46, Kind::SendMsg),
    (47, Kind::RecvMsg),
    (49, Kind::Bind),
    (219, Kind::Restart),
    (230, Kind::Sleep),
    (232, Kind::Epoll),
    (270, Kind::Pselect),
    (271, Kind::Ppoll),
    (281, Kind::Epoll),
    (299, Kind::RecvMmsg),
    (307, Kind::SendMmsg),
    (425, Kind::IoUringSetup),
    (441, Kind::Epoll2),
    (56, Kind::Clone),
    (101, Kind::Ptrace),
    (157, Kind::Prctl),
    (317, Kind::Seccomp),
];

/// x32 shares most numbers with x86-64; these have their own.
const X32_OWN: &[(u32, Kind)] = &[
    (515, Kind::Readv),
    (516, Kind::Writev),
    (517, Kind::RecvFrom),
    (518, Kind::SendMsg),
    (519, Kind::RecvMsg),
    (537, Kind::RecvMmsg),
    (538, Kind::SendMmsg),
    (521, Kind::Ptrace),
];

const I386: &[(u32, Kind)] = &[
    (0, Kind::Restart),
    (3, Kind::Read),
    (4, Kind::Write),
    (6, Kind::Close),
    (102, Kind::SocketCall),
    (142, Kind::Select),
    (145, Kind::Readv),
    (146, Kind::Writev),
    (162, Kind::Sleep),
    (168, Kind::Poll),
    (256, Kind::Epoll),
    (267, Kind::Sleep),
    (308, Kind::Pselect),
    (309, Kind::Ppoll),
    (319, Kind::Epoll),
    (337, Kind::RecvMmsg),
    (345, Kind::SendMmsg),
    (361, Kind::Bind),
    (362, Kind::Connect),
    (369, Kind::SendTo),
    (370, Kind::SendMsg),
    (371, Kind::RecvFrom),
    (372, Kind::RecvMsg),
    (407, Kind::Sleep),
    (413, Kind::Pselect),
    (414, Kind::Ppoll),
    (417, Kind::RecvMmsg),
    (425, Kind::IoUringSetup),
    (441, Kind::Epoll2),
    (26, Kind::Ptrace),
    (120, Kind::Clone),
    (172, Kind::Prctl),
    (354, Kind::Seccomp),
];

const AARCH64: &[(u32, Kind)] = &[
    (22, Kind::Epoll),
    (57, Kind::Close),
    (63, Kind::Read),
    (64, Kind::Write),
    (65, Kind::Readv),
    (66, Kind::Writev),
    (72, Kind::Pselect),
    (73, Kind::Ppoll),
    (101, Kind::Sleep),
    (115, Kind::Sleep),
    (128, Kind::Restart),
    (200, Kind::Bind),
    (203, Kind::Connect),
    (206, Kind::SendTo),
    (207, Kind::RecvFrom),
    (211, Kind::SendMsg),
    (212, Kind::RecvMsg),
    (243, Kind::RecvMmsg),
    (269, Kind::SendMmsg),
    (425, Kind::IoUringSetup),
    (441, Kind::Epoll2),
    (117, Kind::Ptrace),
    (167, Kind::Prctl),
    (220, Kind::Clone),
    (277, Kind::Seccomp),
];

/// i386 calls above this number take 64-bit times (Linux 5.1, year 2038).
const I386_TIME64: u64 = 403;

impl Abi {
    /// The convention of a call, from its `AUDIT_ARCH_*` and number.
    pub fn of(arch: u64, number: u64) -> Option<Self> {
        match u32::try_from(arch).ok()? {
            ARCH_X86_64 if number & u64::from(X32_BIT) != 0 => Some(Self::X32),
            ARCH_X86_64 => Some(Self::X86_64),
            ARCH_I386 => Some(Self::I386),
            ARCH_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Which call a number is, if it is one that the tracer understands.
    pub fn kind(self, number: u64) -> Option<Kind> {
        let number = u32::try_from(number).ok()?;
        let find = |table: &[(u32, Kind)], number: u32| {
            let found = table.iter().find(|(n, _)| *n == number);
            found.map(|(_, kind)| *kind)
        };
        match self {
            Self::X86_64 => find(X86_64, number),
            Self::X32 => {
                let number = number & !X32_BIT;
                // The 64-bit forms of calls with their own x32 number are not x32 calls.
                find(X32_OWN, number).or_else(|| find(X86_64, number))
            }
            Self::I386 => find(I386, number),
            Self::Aarch64 => find(AARCH64, number),
        }
    }

    /// Numbers of the calls of one kind, for the filter.
    pub fn numbers(self, kind: Kind) -> Vec<u32> {
        let of = |table: &[(u32, Kind)]| -> Vec<u32> {
            let found = table.iter().filter(|(_, k)| *k == kind);
            found.map(|(n, _)| *n).collect()
        };
        match self {
            Self::X86_64 => of(X86_64),
            Self::X32 => {
                let own = of(X32_OWN);
                let all = if own.is_empty() { of(X86_64) } else { own };
                all.into_iter().map(|n| n | X32_BIT).collect()
            }
            Self::I386 => of(I386),
            Self::Aarch64 => of(AARCH64),
        }
    }

    /// Bytes in a pointer or a `size_t`.
    pub fn word(self) -> usize {
        match self {
            Self::X86_64 | Self::Aarch64 => 8,
            Self::X32 | Self::I386 => 4,
        }
    }

    /// Bytes in each half of the `timespec` that this call takes.
    pub fn time_word(self, number: u64) -> usize {
        if self == Self::I386 && number < I386_TIME64 {
            4
        } else {
            8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_kinds_agree() {
        for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64] {
            for kind in Kind::TRAPPED {
                let numbers = abi.numbers(kind);
                assert!(!numbers.is_empty(), "{abi:?} {kind:?}");
                for number in numbers {
                    assert_eq!(abi.kind(number.into()), Some(kind), "{abi:?} {number}");
                }
            }
        }
        assert_eq!(Abi::of(ARCH_X86_64.into(), 42), Some(Abi::X86_64));
        assert_eq!(Abi::of(ARCH_X86_64.into(), 0x4000_002a), Some(Abi::X32));
        assert_eq!(Abi::of(7, 42), None);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_are_those_of_this_machine() {
        for (number, kind) in [
            (libc::SYS_connect, Kind::Connect),
            (libc::SYS_sendmmsg, Kind::SendMmsg),
            (libc::SYS_ppoll, Kind::Ppoll),
            (libc::SYS_epoll_pwait2, Kind::Epoll2),
            (libc::SYS_io_uring_setup, Kind::IoUringSetup),
            (libc::SYS_clock_nanosleep, Kind::Sleep),
        ] {
            assert_eq!(Abi::X86_64.kind(number.unsigned_abs()), Some(kind));
        }
    }
}
