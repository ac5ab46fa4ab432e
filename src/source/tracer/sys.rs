//! The system calls that neither std nor nix offers, or offers in a way that loses something. Every function here is
//! safe to call; what the kernel refuses comes back as an [`Errno`].
//!
//! nix's ptrace, prctl, poll and unshare are used where they serve. What stays: nix resumes a task with a `Signal` and
//! decodes a wait into one, and neither knows real-time signals; it has no `PTRACE_LISTEN`, pidfd, kcmp, seccomp and
//! `SO_NETNS_COOKIE`; its `syscall_info` is a union and for glibc alone, and its `getregset` hides how many bytes came.
#![allow(unsafe_code)] // ptrace, pidfd, seccomp, timers and capabilities have no safe wrapper
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)] // system call arguments change their signs and widths by convention

use nix::errno::Errno;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the kernel says, or its error.
pub type Result<T> = std::result::Result<T, Errno>;

/// `PTRACE_EVENT_STOP` (linux/ptrace.h): group-stops, and the first stop of a new task.
pub const EVENT_STOP: i32 = 128;

/// One ptrace request that returns nothing: to go on with any signal, or to listen.
pub fn ptrace(request: libc::c_uint, tid: u32, address: usize, data: usize) -> Result<()> {
    // SAFETY: none of the requests that this crate makes through here writes to our memory; `address` and
    // `data` are numbers (options, a signal).
    let result = unsafe { libc::ptrace(request as _, tid as libc::pid_t, address, data) };
    Errno::result(result).map(drop)
}

/// Raw `struct ptrace_syscall_info` (linux/ptrace.h) as words: op and arch, instruction pointer, stack
/// pointer, then number and six arguments, or the result and whether it is an error.
pub fn syscall_info(tid: u32) -> Result<[u64; 11]> {
    let mut words = [0u64; 11];
    // SAFETY: the kernel writes at most `size_of_val(&words)` bytes to `words`.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GET_SYSCALL_INFO as _,
            tid as libc::pid_t,
            size_of_val(&words),
            words.as_mut_ptr(),
        )
    };
    Errno::result(result).map(|_| words)
}

/// The general registers of a stopped tracee (`PTRACE_GETREGSET`, `NT_PRSTATUS`) as words, and how many bytes came: a
/// 32-bit program has fewer.
pub fn registers<const N: usize>(tid: u32) -> Result<([u64; N], usize)> {
    let mut words = [0u64; N];
    let mut vector = libc::iovec {
        iov_base: words.as_mut_ptr().cast(),
        iov_len: size_of_val(&words),
    };
    // SAFETY: the kernel writes at most `iov_len` bytes to `words` and the new length to `vector`; both outlive the call.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGSET,
            tid as libc::pid_t,
            libc::NT_PRSTATUS as usize,
            &raw mut vector,
        )
    };
    Errno::result(result).map(|_| (words, vector.iov_len))
}

/// Waits for a tracee of the calling thread: its tid and the raw status. Interrupted by signals (`EINTR`); `ECHILD`
/// says that no traced task is left.
///
/// `__WCLONE` passes over every ordinary child, so that another child of presyn neither shows up here nor keeps the
/// loop from its end; traced tasks are waited for whatever their flags are (Linux 4.7, `eligible_child` in
/// kernel/exit.c).
pub fn wait_traced() -> Result<(u32, i32)> {
    wait(-1, libc::__WCLONE | libc::__WNOTHREAD)
}

/// Waits for one child that is not traced, until it stops or ends. Interrupted by signals (`EINTR`); `ECHILD` once it
/// has been waited for.
pub fn wait_untraced(pid: u32) -> Result<(u32, i32)> {
    wait(pid as libc::pid_t, libc::WUNTRACED)
}

fn wait(pid: libc::pid_t, flags: i32) -> Result<(u32, i32)> {
    let mut status = 0;
    // SAFETY: the kernel writes one int to `status`.
    let tid = unsafe { libc::waitpid(pid, &raw mut status, flags) };
    Errno::result(tid).map(|tid| (tid as u32, status))
}

/// `pidfd_open(2)`; `thread` asks for `PIDFD_THREAD` (Linux 6.9).
pub fn pidfd_open(tid: u32, thread: bool) -> Result<OwnedFd> {
    // PIDFD_THREAD is O_EXCL (linux/pidfd.h).
    let flags = if thread { libc::O_EXCL } else { 0 };
    // SAFETY: takes two integers, returns a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, flags) };
    // SAFETY: a fresh descriptor that nobody else knows.
    Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `pidfd_getfd(2)`: our own duplicate of another task's descriptor (close-on-exec).
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    // SAFETY: takes three integers, returns a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    // SAFETY: a fresh descriptor that nobody else knows.
    Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether two tasks share one file table (`kcmp(2)`, `KCMP_FILES`).
pub fn share_files(one: u32, other: u32) -> Result<bool> {
    const KCMP_FILES: i32 = 2; // linux/kcmp.h
    // SAFETY: takes integers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    Errno::result(order).map(|order| order == 0)
}

/// The longest socket address the kernel gives (`struct sockaddr_storage`).
pub const ADDRESS_BYTES: usize = 128;

/// Which end of a socket to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SocketEnd {
    /// `getsockname`.
    Local,
    /// `getpeername`.
    Peer,
}

/// The raw address of one end of a socket, and its length.
pub fn socket_name(fd: BorrowedFd<'_>, end: SocketEnd) -> Result<([u8; ADDRESS_BYTES], usize)> {
    let mut bytes = [0u8; ADDRESS_BYTES];
    let mut length = ADDRESS_BYTES as libc::socklen_t;
    let (fd, address) = (fd.as_raw_fd(), bytes.as_mut_ptr().cast());
    // SAFETY: `bytes` has the room that `length` says; both outlive the call.
    let result = unsafe {
        match end {
            SocketEnd::Local => libc::getsockname(fd, address, &raw mut length),
            SocketEnd::Peer => libc::getpeername(fd, address, &raw mut length),
        }
    };
    Errno::result(result).map(|_| (bytes, (length as usize).min(ADDRESS_BYTES)))
}

/// A socket option of the `SOL_SOCKET` level with a value of at most 8 bytes.
pub fn socket_option(fd: BorrowedFd<'_>, name: i32) -> Result<u64> {
    let mut value = 0u64;
    let mut length: libc::socklen_t = if matches!(name, libc::SO_COOKIE | SO_NETNS_COOKIE) {
        8
    } else {
        4
    };
    // SAFETY: `value` has 8 bytes, `length` says at most that; both outlive the call. An int lands in the low
    // half because every supported machine is little-endian.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| value)
}

/// The state of a TCP socket (`TCP_INFO`). Unlike `SO_ERROR` it is not consumed by asking.
pub fn tcp_state(fd: BorrowedFd<'_>) -> Result<u8> {
    let mut state = 0u8;
    let mut length: libc::socklen_t = 1;
    // SAFETY: `state`, the first byte of `struct tcp_info`, has the one byte that `length` says; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| state)
}

/// `SO_NETNS_COOKIE` (asm-generic/socket.h, Linux 5.14).
pub const SO_NETNS_COOKIE: i32 = 71;

/// Makes an `io_uring` hold a file. When the ring is closed, a worker of the kernel's lets the file go: what closing it
/// takes is nobody's time. The ring is disabled (Linux 5.10): nothing can be asked of it. Many hosts forbid rings
/// (`kernel.io_uring_disabled`, containers' filters).
pub fn hold_in_ring(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    // linux/io_uring.h
    const IORING_SETUP_R_DISABLED: u32 = 1 << 6;
    const IORING_REGISTER_FILES: u32 = 2;
    // `struct io_uring_params`: its third word is the flags.
    let mut parameters = [0u32; 30];
    parameters[2] = IORING_SETUP_R_DISABLED;
    // SAFETY: the kernel reads and writes the 120 bytes of `struct io_uring_params`.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1u32, parameters.as_mut_ptr()) };
    // SAFETY: a fresh descriptor that nobody else knows.
    let ring = Errno::result(ring).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })?;
    let files = [file.as_raw_fd()];
    // SAFETY: the kernel reads one int from `files`.
    let registered = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            IORING_REGISTER_FILES,
            files.as_ptr(),
            1u32,
        )
    };
    Errno::result(registered).map(|_| ring)
}

/// Installs a seccomp filter on the calling thread. Async-signal-safe.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which outlives the call, and never writes to it. The flag
    // keeps kernels before 5.16 from slowing the program down against speculation: the filter guards nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    Errno::result(result).map(drop)
}

/// Whether the kernel knows `SECCOMP_RET_TRACE`.
pub fn seccomp_can_trace() -> Result<()> {
    let action: u32 = libc::SECCOMP_RET_TRACE;
    // SAFETY: the kernel reads one u32 from `action`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    Errno::result(result).map(drop)
}

/// Runs `attempt` in a forked child and says whether it succeeded there: for trying what cannot be undone.
/// `attempt` must be async-signal-safe: no allocation, no locks.
pub fn try_in_child(attempt: fn() -> bool) -> Result<bool> {
    // SAFETY: the child only runs `attempt`, which is async-signal-safe by contract, and leaves by `_exit`.
    let pid = Errno::result(unsafe { libc::fork() })?;
    if pid == 0 {
        let status = i32::from(!attempt());
        // SAFETY: ends the child.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    loop {
        // SAFETY: waits for our own child; one int is written.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) }) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(status == 0),
        }
    }
}

unsafe extern "C" {
    /// Of libpcap, which the `pcap` crate links (pcap/pcap.h).
    safe fn pcap_lib_version() -> *const libc::c_char;
}

/// libpcap's name and version.
pub fn libpcap_version() -> String {
    let text = pcap_lib_version();
    // SAFETY: libpcap returns a constant string with a NUL at its end.
    unsafe { std::ffi::CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
