//! Capabilities and groups of the calling thread.
#![allow(unsafe_code)] // capget, capset and a thread's own setgroups have no safe wrapper
#![allow(clippy::cast_possible_truncation)] // 64 bits are halves of 32 to the kernel

use nix::errno::Errno;

/// What the kernel says, or its error.
pub type Result<T> = std::result::Result<T, Errno>;

/// Version 3 of the capability interface (linux/capability.h): 64 bits in two halves.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// The capability sets of a thread, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over an exec.
    pub inheritable: u64,
}

/// The capabilities of the calling thread.
pub fn capabilities() -> Result<Capabilities> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut halves = [[0u32; 3]; 2];
    // SAFETY: version 3 writes two structs of three u32 to `halves`.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) };
    let join = |i: usize| u64::from(halves[0][i]) | u64::from(halves[1][i]) << 32;
    Errno::result(result).map(|_| Capabilities {
        effective: join(0),
        permitted: join(1),
        inheritable: join(2),
    })
}

/// The ambient capabilities of the calling thread: those that an exec passes on without a file's help.
pub fn ambient_capabilities() -> u64 {
    (0..u64::BITS)
        .filter(|capability| {
            // SAFETY: integers only. A capability that the kernel does not know is an error, and not set.
            let set = unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_IS_SET,
                    *capability,
                    0,
                    0,
                )
            };
            set == 1
        })
        .fold(0, |set, capability| set | 1 << capability)
}

/// Sets the capabilities of the calling thread; threads that it starts later inherit them.
pub fn set_capabilities(to: Capabilities) -> Result<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let half =
        |shift: u32| [to.effective, to.permitted, to.inheritable].map(|set| (set >> shift) as u32);
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads two structs of three u32 from `halves`.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Sets the supplementary groups of the calling thread alone (`setgroups(2)`): the C library's function changes those
/// of every thread.
pub fn set_thread_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads as many entries as the list says it has.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    Errno::result(result).map(drop)
}
