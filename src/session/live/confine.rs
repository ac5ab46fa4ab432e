//! The analysis process is confined before it reads the first byte of a packet: no capability, a user of its own where
//! presyn is root, no privilege to gain by an exec, out of every debugger's reach, no descriptor but those it works
//! with, and a seccomp filter that leaves it reading, writing, memory, time and threads.
#![allow(unsafe_code)] // descriptors are closed by range, and a filter is made for this process; see each block

use crate::source::tracer::sys;
use crate::user::capabilities::{self, Capabilities};
use libc::sock_filter;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{self, Gid, Uid};
use std::os::fd::{AsRawFd, RawFd};

/// Users of its own: above every range that a distribution, a container or systemd gives away
/// (<https://systemd.io/UIDS-GIDS/>), so that no other process has this one, one for each run. The process id fills the
/// lower bits (at most 2^22, proc(5)).
const FIRST_USER: u32 = 0x7000_0000;
/// `nobody`, where the user namespace does not have those.
const NOBODY: u32 = 65_534;

/// Signals that a terminal, a shell or a full disk sends: the process ends when its stream does, and by nothing else.
const IGNORED: [Signal; 11] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGPIPE,
    Signal::SIGXFSZ,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The first half, before any descriptor is handed over. `keep` stay open, everything else is closed; standard input
/// and output become `/dev/null`.
pub fn give_up_rights(keep: &[RawFd]) -> nix::Result<()> {
    // Away from the terminal: its signals and its job control are the command's and presyn's.
    unistd::setsid()?;
    for which in IGNORED {
        // SAFETY: no handler runs for an ignored signal.
        unsafe { signal(which, SigHandler::SigIgn) }?;
    }
    // If memory runs short, this process goes first, and never the command. (`proc_pid_oom_score_adj(5)`; a process may
    // always raise its own.) Where there is no /proc the kernel chooses.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    detach_standard_streams()?;
    close_all_but(keep)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if unistd::geteuid().is_root() {
        become_own_user()?;
    }
    capabilities::set_capabilities(Capabilities::default())?;
    prctl::set_no_new_privs()?;
    // After the change of the user, which sets it.
    prctl::set_dumpable(false)
}

fn detach_standard_streams() -> nix::Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    for standard in [0, 1] {
        // SAFETY: two integers; whatever had this number is not used by this process.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), standard) })?;
    }
    Ok(())
}

/// Closes every descriptor above standard output but these.
fn close_all_but(keep: &[RawFd]) -> nix::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 1).collect();
    keep.sort_unstable();
    let mut next = 2;
    for fd in keep {
        close_range(next, fd - 1)?;
        next = next.max(fd + 1);
    }
    close_range(next, RawFd::MAX)
}

/// Closes the descriptors from `first` to `last`.
fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: integers. Whatever Rust values own these descriptors are never used or dropped in this process: it leaves
    // by `exit`.
    match Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        // Before Linux 5.9.
        Err(Errno::ENOSYS) => close_listed(first, last),
        other => other.map(drop),
    }
}

fn close_listed(first: RawFd, last: RawFd) -> nix::Result<()> {
    let list = std::fs::read_dir("/proc/self/fd").map_err(|_| Errno::ENOSYS)?;
    let open: Vec<RawFd> = list
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| (first..=last).contains(fd))
        .collect();
    for fd in open {
        // SAFETY: as above. The list's own descriptor is closed already: an error says nothing.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// A user that nothing else runs as. In a user namespace there may be none to become: then the process stays what it
/// is there, without a capability.
fn become_own_user() -> nix::Result<()> {
    // Refused where `setgroups` is denied to the namespace (user_namespaces(7)); those groups are the user's own.
    let _ = unistd::setgroups(&[]);
    for id in [FIRST_USER + std::process::id(), NOBODY] {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        match unistd::setresgid(gid, gid, gid).and_then(|()| unistd::setresuid(uid, uid, uid)) {
            // Not mapped.
            Err(Errno::EINVAL) => {}
            other => return other,
        }
    }
    Ok(())
}

/// The second half, once everything has been handed over.
pub fn install_filter() -> nix::Result<()> {
    sys::install_filter(&program())
}

/// The calls that decoding, joining, rendering and writing need. What is not listed fails with `ENOSYS`, which C
/// libraries take for an older kernel: they fall back, where killing the process would lose the report.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls that are allowed by one of their arguments.
const BY_ARGUMENT: &[(libc::c_long, u32, Test)] = &[
    // Threads, but no processes. (clone3 keeps its flags in memory, where a filter does not see them; libraries fall
    // back to clone.)
    (
        libc::SYS_clone,
        0,
        Test::Has(libc::CLONE_THREAD.unsigned_abs()),
    ),
    // Memory, but none that can be run.
    (
        libc::SYS_mmap,
        2,
        Test::Lacks(libc::PROT_EXEC.unsigned_abs()),
    ),
    (
        libc::SYS_mprotect,
        2,
        Test::Lacks(libc::PROT_EXEC.unsigned_abs()),
    ),
    // Whether a descriptor is a terminal, and how wide.
    (libc::SYS_ioctl, 1, Test::Is(TCGETS)),
    (libc::SYS_ioctl, 1, Test::Is(TIOCGWINSZ)),
    (libc::SYS_fcntl, 1, Test::Is(libc::F_GETFD.unsigned_abs())),
    (libc::SYS_fcntl, 1, Test::Is(libc::F_GETFL.unsigned_abs())),
    // The names of threads.
    (
        libc::SYS_prctl,
        0,
        Test::Is(libc::PR_SET_NAME.unsigned_abs()),
    ),
];

// The C library's types for these differ.
const TCGETS: u32 = 0x5401; // asm-generic/ioctls.h
const TIOCGWINSZ: u32 = 0x5413;

/// What an argument's lower half must be.
#[derive(Clone, Copy, Debug)]
enum Test {
    Is(u32),
    Has(u32),
    Lacks(u32),
}

// Operation codes (linux/bpf_common.h): class | size or operation | source.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// The filter. Call numbers of x86-64's x32 have a bit that no listed one has, so they are refused.
fn program() -> Vec<sock_filter> {
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let allow = step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    // Offsets in `struct seccomp_data` (linux/seccomp.h): number 0, architecture 4, arguments from 16.
    let mut code = vec![
        step(LOAD, 4, 0, 0),
        step(JUMP_EQUAL, ARCH, 1, 0),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(LOAD, 0, 0, 0),
    ];
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    for call in ALLOWED {
        code.push(step(JUMP_EQUAL, number(*call), 0, 1));
        code.push(allow);
    }
    for (call, argument, test) in BY_ARGUMENT {
        let (operation, value, jt, jf) = match test {
            Test::Is(value) => (JUMP_EQUAL, *value, 0, 1),
            Test::Has(bits) => (JUMP_SET, *bits, 0, 1),
            Test::Lacks(bits) => (JUMP_SET, *bits, 1, 0),
        };
        code.push(step(JUMP_EQUAL, number(*call), 0, 4));
        code.push(step(LOAD, 16 + 8 * argument, 0, 0));
        code.push(step(operation, value, jt, jf));
        code.push(allow);
        code.push(step(LOAD, 0, 0, 0));
    }
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    code.push(step(RETURN, refuse, 0, 0));
    code
}
