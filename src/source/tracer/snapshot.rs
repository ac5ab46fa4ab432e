//! What presyn itself was started with: open descriptors, ignored signals, the signal mask, resource limits. The command
//! must get exactly that (execve(2) and signal(7) say what an exec passes on), and nothing that presyn or one of its
//! libraries opened or set since.
//!
//! It is taken before `main`: Rust's runtime ignores SIGPIPE and opens `/dev/null` on closed descriptors 0 to 2, and
//! after that nothing shows how presyn was started.
#![allow(unsafe_code)] // a constructor, and calls between fork and exec

use super::sys::Result;
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// `RLIM_NLIMITS` (asm-generic/resource.h).
const LIMITS: usize = 16;
/// Signals 1 to 64 (signal(7)), as bits 0 to 63.
const SIGNALS: u32 = 64;
/// Bytes of a signal set as the kernel has it.
const SIGNAL_SET: usize = size_of::<u64>();
/// Without `/proc` so many descriptors are looked at.
const LOOKED_AT: RawFd = 1 << 16;

/// The kernel's `struct sigaction`: the handler comes first on every machine, and zero is "none" in all the rest.
type RawAction = [usize; 4];
const HANDLER_DEFAULT: usize = libc::SIG_DFL;
const HANDLER_IGNORE: usize = libc::SIG_IGN;

/// The state that an exec passes on.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Open descriptors, ascending.
    descriptors: Vec<RawFd>,
    /// Ignored signals: bit N-1 for signal N.
    ignored: u64,
    /// Blocked signals, likewise.
    blocked: u64,
    /// Soft and hard limits by resource number; `None` where the kernel has no such resource.
    limits: [Option<libc::rlimit>; LIMITS],
    /// The signal that comes when the parent ends (`PR_SET_PDEATHSIG`); 0: none.
    parent_death_signal: i32,
}

static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();

/// Run by the loader before `main`, after the constructors of shared libraries.
// SAFETY: the loader calls every function in this section once, in the only thread there is, when libc is ready.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    SNAPSHOT.get_or_init(Snapshot::take);
}

impl Snapshot {
    /// What presyn was started with.
    pub fn at_start() -> &'static Self {
        SNAPSHOT.get_or_init(Self::take)
    }

    /// The state now.
    fn take() -> Self {
        let mut limits = [None; LIMITS];
        for (resource, limit) in (0..).zip(&mut limits) {
            *limit = get_limit(resource).ok();
        }
        Self {
            descriptors: open_descriptors(),
            ignored: (1..=SIGNALS)
                .filter(|signal| handler(*signal) == Ok(HANDLER_IGNORE))
                .fold(0, |set, signal| set | 1 << (signal - 1)),
            blocked: blocked(),
            limits,
            parent_death_signal: parent_death_signal(),
        }
    }

    /// Whether this descriptor was open.
    pub fn had(&self, descriptor: RawFd) -> bool {
        self.descriptors.binary_search(&descriptor).is_ok()
    }

    /// What a child does between fork and exec to be as presyn was started, but for the descriptors in `spared`. It is
    /// made before the fork, where memory may be allocated.
    pub fn restoration(&'static self, spared: &[RawFd]) -> Restoration {
        self.restoration_keeping(&[self.descriptors.as_slice(), spared].concat())
    }

    /// The same, but of the descriptors that presyn was started with only the standard streams stay.
    pub fn restoration_of_standard_streams(&'static self, spared: &[RawFd]) -> Restoration {
        let standard = self.descriptors.iter().copied().filter(|fd| *fd <= 2);
        let kept: Vec<RawFd> = standard.chain(spared.iter().copied()).collect();
        self.restoration_keeping(&kept)
    }

    fn restoration_keeping(&'static self, kept: &[RawFd]) -> Restoration {
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        kept.dedup();
        Restoration {
            snapshot: self,
            kept,
        }
    }
}

/// See [`Snapshot::restoration`].
#[derive(Debug)]
pub struct Restoration {
    snapshot: &'static Snapshot,
    /// Descriptors that stay open, ascending.
    kept: Vec<RawFd>,
}

impl Restoration {
    /// In the child. Async-signal-safe.
    pub fn apply(&self) -> Result<()> {
        self.close_others()?;
        let snapshot = self.snapshot;
        for signal in 1..=SIGNALS {
            let ignored = snapshot.ignored >> (signal - 1) & 1 == 1;
            let wanted = if ignored {
                HANDLER_IGNORE
            } else {
                HANDLER_DEFAULT
            };
            // Neither can be changed, nor need it.
            if [libc::SIGKILL, libc::SIGSTOP].contains(&signal.cast_signed()) {
                continue;
            }
            set_handler(signal, wanted)?;
        }
        for (resource, limit) in (0..).zip(&snapshot.limits) {
            if let Some(limit) = limit {
                restore_limit(resource, limit)?;
            }
        }
        // Last: what is pending comes now.
        set_blocked(snapshot.blocked)
    }

    /// In the child, right before the exec: a change of user clears it (prctl(2)).
    pub fn apply_parent_death_signal(&self) -> Result<()> {
        match self.snapshot.parent_death_signal {
            0 => Ok(()),
            // SAFETY: integers only.
            signal => {
                Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })
                    .map(drop)
            }
        }
    }

    /// Closes every descriptor but the kept ones.
    fn close_others(&self) -> Result<()> {
        let mut from = 0;
        for kept in &self.kept {
            let kept = kept.unsigned_abs();
            if kept > from && close_range(from, kept - 1).is_err() {
                return self.close_others_one_by_one();
            }
            from = kept + 1;
        }
        match close_range(from, u32::MAX) {
            // ENOSYS before Linux 5.9; EPERM in sandboxes that do not know the call.
            Err(_) => self.close_others_one_by_one(),
            Ok(()) => Ok(()),
        }
    }

    /// The same where `close_range(2)` is not there: by `/proc/self/fd`, or without `/proc` by trying every number.
    fn close_others_one_by_one(&self) -> Result<()> {
        // SAFETY: the path ends with NUL.
        let directory = unsafe {
            libc::open(
                c"/proc/self/fd".as_ptr(),
                libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC,
            )
        };
        if directory < 0 {
            let limit = get_limit(libc::RLIMIT_NOFILE)?.rlim_max;
            let highest = RawFd::try_from(limit).unwrap_or(RawFd::MAX);
            (0..highest).for_each(|fd| self.close_unless_kept(fd));
            return Ok(());
        }
        // Entries are numbers in ascending order; what is closed on the way does not disturb them (fs/proc/fd.c goes by
        // number).
        let mut buffer = [0u64; 512];
        let read = loop {
            // SAFETY: the kernel writes at most as many bytes as the buffer has.
            let got = unsafe {
                libc::syscall(
                    libc::SYS_getdents64,
                    directory,
                    buffer.as_mut_ptr(),
                    size_of_val(&buffer),
                )
            };
            match Errno::result(got) {
                Ok(0) => break Ok(()),
                Ok(length) => {
                    // SAFETY: the kernel has written `length` bytes of the buffer; bytes need no alignment.
                    let bytes = unsafe {
                        std::slice::from_raw_parts(
                            buffer.as_ptr().cast::<u8>(),
                            usize::try_from(length).unwrap_or(0),
                        )
                    };
                    for fd in numbers(bytes).filter(|fd| *fd != directory) {
                        self.close_unless_kept(fd);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        // SAFETY: our own descriptor.
        unsafe { libc::close(directory) };
        read
    }

    fn close_unless_kept(&self, fd: RawFd) {
        if self.kept.binary_search(&fd).is_err() {
            // SAFETY: the child has no owner of it left: nothing of Rust's runs before the exec.
            unsafe { libc::close(fd) };
        }
    }
}

/// The names in directory entries (`struct linux_dirent64`) that are numbers. Allocates nothing.
fn numbers(mut bytes: &[u8]) -> impl Iterator<Item = RawFd> {
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    std::iter::from_fn(move || {
        while let Some([low, high]) = bytes.get(LENGTH..LENGTH + 2) {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            let name = bytes.get(NAME..length)?;
            bytes = bytes.get(length..)?;
            let digits = name.iter().take_while(|b| b.is_ascii_digit());
            let number = digits.fold(None, |so_far: Option<RawFd>, digit| {
                let so_far = so_far.unwrap_or(0).checked_mul(10)?;
                so_far.checked_add(RawFd::from(*digit - b'0'))
            });
            if number.is_some() {
                return number;
            }
        }
        None
    })
}

/// Descriptors that came through an exec: those are never close-on-exec.
fn open_descriptors() -> Vec<RawFd> {
    let listed: Vec<RawFd> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        Err(_) => (0..LOOKED_AT).collect(),
    };
    let mut open: Vec<RawFd> = listed
        .into_iter()
        .filter(|fd| {
            // SAFETY: asks for flags; a number that is no descriptor is an error.
            let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
            flags >= 0 && flags & libc::FD_CLOEXEC == 0 && !is_the_c_librarys(*fd)
        })
        .collect();
    open.sort_unstable();
    open
}

/// Whether the C library opened this descriptor because it was closed: for a program that gained rights by its exec it
/// puts `/dev/full` on a closed 0 and `/dev/null` on a closed 1 or 2 before any constructor runs (glibc,
/// `csu/check_fds.c`). It opens them with `O_NOFOLLOW`, as hardly any caller does.
fn is_the_c_librarys(fd: RawFd) -> bool {
    const NULL: (u32, u32) = (1, 3);
    const FULL: (u32, u32) = (1, 7);
    // SAFETY: reads the auxiliary vector.
    let gained = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if !gained || !(0..=2).contains(&fd) {
        return false;
    }
    // SAFETY: asks for flags.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 || flags & libc::O_NOFOLLOW == 0 {
        return false;
    }
    // SAFETY: all zero bytes are a struct stat; the kernel fills in one.
    let (failed, file) = unsafe {
        let mut file: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut file) < 0, file)
    };
    let device = (libc::major(file.st_rdev), libc::minor(file.st_rdev));
    !failed && file.st_mode & libc::S_IFMT == libc::S_IFCHR && [NULL, FULL].contains(&device)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: integers only. No owner of what is closed is left in the child.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// The raw call: the C library keeps signals 32 and 33 for itself, and they are passed on like others.
fn handler(signal: u32) -> Result<usize> {
    let mut action: RawAction = [0; 4];
    // SAFETY: the kernel writes one struct sigaction, which is at most four words.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<RawAction>(),
            action.as_mut_ptr(),
            SIGNAL_SET,
        )
    };
    Errno::result(result).map(|_| action[0])
}

fn set_handler(signal: u32, handler: usize) -> Result<()> {
    let action: RawAction = [handler, 0, 0, 0];
    // SAFETY: the kernel reads one struct sigaction; the handler is default or ignore, so no code of ours is named.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            std::ptr::null_mut::<RawAction>(),
            SIGNAL_SET,
        )
    };
    Errno::result(result).map(drop)
}

fn blocked() -> u64 {
    let mut set = 0u64;
    // SAFETY: without a new set the kernel only writes the present one, of the size given. It cannot fail then.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            std::ptr::null::<u64>(),
            &raw mut set,
            SIGNAL_SET,
        );
    }
    set
}

fn set_blocked(set: u64) -> Result<()> {
    // SAFETY: the kernel reads a set of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut::<u64>(),
            SIGNAL_SET,
        )
    };
    Errno::result(result).map(drop)
}

fn get_limit(resource: u32) -> Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one struct rlimit. (Its number has another type with each C library.)
    Errno::result(unsafe { libc::getrlimit(resource as _, &raw mut limit) }).map(|_| limit)
}

/// Sets a limit that differs. presyn changes soft limits only, so this takes no right.
fn restore_limit(resource: u32, to: &libc::rlimit) -> Result<()> {
    let now = get_limit(resource)?;
    if (now.rlim_cur, now.rlim_max) == (to.rlim_cur, to.rlim_max) {
        return Ok(());
    }
    // SAFETY: the kernel reads one struct rlimit.
    Errno::result(unsafe { libc::setrlimit(resource as _, to) }).map(drop)
}

fn parent_death_signal() -> i32 {
    let mut signal = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal, 0, 0, 0) };
    signal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tracer::sys;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicI32, Ordering};

    static OPENED: AtomicI32 = AtomicI32::new(-1);
    static RESTORATION: OnceLock<Restoration> = OnceLock::new();

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: asks for flags.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    /// What each way to close leaves open of 1, the two spared ones and a third.
    fn only_the_kept_are_left(close: fn(&Restoration) -> Result<()>) -> bool {
        let opened = OPENED.load(Ordering::Relaxed);
        let Some(restoration) = RESTORATION.get() else {
            return false;
        };
        let before = is_open(opened);
        close(restoration).is_ok()
            && before
            && !is_open(opened)
            && restoration.kept.iter().all(|fd| is_open(*fd))
    }

    #[test]
    fn descriptors_opened_since_are_closed_by_either_way() {
        let opened = std::fs::File::open("/dev/null").unwrap();
        let spared = std::fs::File::open("/dev/zero").unwrap();
        OPENED.store(opened.as_raw_fd(), Ordering::Relaxed);
        RESTORATION.get_or_init(|| Snapshot::at_start().restoration(&[spared.as_raw_fd()]));
        for attempt in [
            || only_the_kept_are_left(Restoration::close_others),
            || only_the_kept_are_left(Restoration::close_others_one_by_one),
            || only_the_kept_are_left(Restoration::apply),
        ] as [fn() -> bool; 3]
        {
            assert_eq!(sys::try_in_child(attempt), Ok(true));
        }
    }

    #[test]
    fn the_runtime_ignores_sigpipe_and_the_child_does_not() {
        let ours = handler(13).unwrap();
        assert_eq!(ours, HANDLER_IGNORE, "Rust's runtime ignores SIGPIPE");
        let started = Snapshot::at_start();
        RESTORATION.get_or_init(|| started.restoration(&[]));
        let same = sys::try_in_child(|| {
            let wanted = Snapshot::at_start().ignored >> 12 & 1 == 1;
            RESTORATION.get().is_some_and(|r| r.apply().is_ok())
                && handler(13).map(|h| h == HANDLER_IGNORE) == Ok(wanted)
        });
        assert_eq!(same, Ok(true));
    }

    #[test]
    fn entries_are_numbers() {
        let entry = |name: &[u8]| {
            let mut bytes = vec![0; 19];
            bytes.extend(name);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let length = u16::try_from(bytes.len()).unwrap();
            bytes[16..18].copy_from_slice(&length.to_ne_bytes());
            bytes
        };
        let bytes = [
            entry(b".\0"),
            entry(b"..\0"),
            entry(b"7\0"),
            entry(b"1024\0"),
        ]
        .concat();
        assert_eq!(numbers(&bytes).collect::<Vec<_>>(), [7, 1024]);
        assert_eq!(numbers(&bytes[..30]).count(), 0);
        assert_eq!(numbers(&[0; 64]).count(), 0);
    }
}
