//! System calls by name: which ones matter, and how their arguments are laid out.

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `socket`.
    Socket,
    /// `connect`.
    Connect,
    /// `bind`.
    Bind,
    /// `accept`, `accept4`.
    Accept,
    /// `getsockname`.
    LocalName,
    /// `getpeername`.
    PeerName,
    /// `getsockopt`.
    GetOption,
    /// `setsockopt`, `listen`, `shutdown`, `socketpair`: part of `-e trace=network`, no event.
    OtherNetwork,
    /// `sendto`, `send`: one buffer.
    Send,
    /// `sendmsg`: one `msghdr`.
    SendMsg,
    /// `sendmmsg`: an array of them.
    SendMany,
    /// `write`.
    Write,
    /// `writev`: an array of buffers.
    WriteVector,
    /// `recvfrom`, `recv`.
    Receive,
    /// `recvmsg`.
    ReceiveMsg,
    /// `recvmmsg`.
    ReceiveMany,
    /// `read`.
    Read,
    /// `readv`.
    ReadVector,
    /// `poll`.
    Poll,
    /// `ppoll`.
    PollSpec,
    /// `select`.
    Select,
    /// `pselect6`.
    SelectSpec,
    /// `epoll_wait`, `epoll_pwait`.
    Epoll,
    /// `epoll_pwait2`.
    EpollSpec,
    /// `restart_syscall`.
    Restart,
    /// `close`.
    Close,
    /// `dup`, `dup2`, `dup3`.
    Duplicate,
    /// `fcntl`, `fcntl64`.
    Control,
    /// `clone`, `clone3`, `__clone2`.
    Clone,
    /// `fork`, `vfork`.
    Fork,
    /// `execve`, `execveat`.
    Exec,
    /// `nanosleep`, `clock_nanosleep`, `pause`.
    Sleep,
    /// `io_uring_setup`.
    IoUring,
    /// `socketcall`: i386 and others, one number for all of them.
    SocketCall,
    /// A call that handles memory: only a log of every call has them.
    Memory,
    /// A call that handles files.
    File,
    /// Any other known call.
    Other,
    /// Perhaps a call.
    Unknown,
}

/// Looks a name up. The common ones of no interest are named too, so that a line which begins with one
/// needs no second look.
pub fn kind(name: &[u8]) -> Kind {
    match name {
        b"read" | b"pread64" => Kind::Read,
        b"write" | b"pwrite64" => Kind::Write,
        b"close" => Kind::Close,
        b"mmap" | b"mmap2" | b"munmap" | b"mprotect" | b"brk" | b"madvise" | b"mremap" => {
            Kind::Memory
        }
        b"open" | b"openat" | b"fstat" | b"fstat64" | b"newfstatat" | b"stat" | b"stat64"
        | b"lstat" | b"access" | b"lseek" | b"_llseek" | b"statx" | b"getdents64" | b"readlink" => {
            Kind::File
        }
        b"futex" | b"rt_sigaction" | b"rt_sigprocmask" | b"rt_sigreturn" | b"ioctl" | b"getpid"
        | b"gettid" | b"clock_gettime" | b"gettimeofday" | b"sched_yield" | b"epoll_ctl"
        | b"epoll_create1" | b"wait4" | b"exit_group" | b"exit" | b"set_robust_list" | b"prctl"
        | b"arch_prctl" | b"getrandom" | b"uname" | b"time" | b"kill" | b"tgkill" | b"pipe"
        | b"pipe2" | b"eventfd2" | b"set_tid_address" | b"prlimit64" | b"rseq" | b"getuid"
        | b"geteuid" | b"times" | b"getppid" | b"getcwd" | b"sigaltstack" | b"waitid" => {
            Kind::Other
        }
        b"socket" => Kind::Socket,
        b"connect" => Kind::Connect,
        b"bind" => Kind::Bind,
        b"accept" | b"accept4" => Kind::Accept,
        b"getsockname" => Kind::LocalName,
        b"getpeername" => Kind::PeerName,
        b"getsockopt" => Kind::GetOption,
        b"setsockopt" | b"listen" | b"shutdown" | b"socketpair" => Kind::OtherNetwork,
        b"sendto" | b"send" => Kind::Send,
        b"sendmsg" => Kind::SendMsg,
        b"sendmmsg" => Kind::SendMany,
        b"writev" => Kind::WriteVector,
        b"recvfrom" | b"recv" => Kind::Receive,
        b"recvmsg" => Kind::ReceiveMsg,
        b"recvmmsg" | b"recvmmsg_time64" | b"recvmmsg_time32" => Kind::ReceiveMany,
        b"readv" => Kind::ReadVector,
        b"poll" => Kind::Poll,
        b"ppoll" | b"ppoll_time64" | b"ppoll_time32" => Kind::PollSpec,
        b"select" | b"_newselect" => Kind::Select,
        b"pselect6" | b"pselect6_time64" | b"pselect6_time32" => Kind::SelectSpec,
        b"epoll_wait" | b"epoll_pwait" => Kind::Epoll,
        b"epoll_pwait2" => Kind::EpollSpec,
        b"restart_syscall" => Kind::Restart,
        b"dup" | b"dup2" | b"dup3" => Kind::Duplicate,
        b"fcntl" | b"fcntl64" => Kind::Control,
        b"clone" | b"clone3" | b"__clone2" | b"clone2" => Kind::Clone,
        b"fork" | b"vfork" => Kind::Fork,
        b"execve" | b"execveat" => Kind::Exec,
        b"nanosleep" | b"clock_nanosleep" | b"clock_nanosleep_time64" | b"pause" => Kind::Sleep,
        b"io_uring_setup" => Kind::IoUring,
        b"socketcall" => Kind::SocketCall,
        _ => Kind::Unknown,
    }
}

impl Kind {
    /// Whether a call of this kind may wait for something.
    pub fn may_wait(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Accept
                | Self::Receive
                | Self::ReceiveMsg
                | Self::ReceiveMany
                | Self::Read
                | Self::ReadVector
                | Self::Poll
                | Self::PollSpec
                | Self::Select
                | Self::SelectSpec
                | Self::Epoll
                | Self::EpollSpec
                | Self::Restart
                | Self::Sleep
        )
    }

    /// Whether a call of this kind never becomes an event by itself.
    pub fn is_boring(self) -> bool {
        matches!(
            self,
            Self::OtherNetwork | Self::Memory | Self::File | Self::Other | Self::Unknown
        )
    }

    /// Whether the call works on a descriptor that is often no socket, so that the descriptor decides.
    pub fn is_general(self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Write
                | Self::ReadVector
                | Self::WriteVector
                | Self::Close
                | Self::Duplicate
                | Self::Control
        )
    }
}
