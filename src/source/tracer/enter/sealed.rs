//! presyn as a sealed copy of itself. A container can make a program of its own be "presyn" (`#!/proc/self/exe`), and then
//! reach presyn's file on the host through it, to write it. A copy in memory that nothing can write, and that is nobody's
//! file, gives it nothing.
#![allow(unsafe_code)] // exec of a descriptor has no safe wrapper that keeps the signals

use super::super::snapshot::Snapshot;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

/// Variables that presyn itself reads. Others stay out of the copy's memory: it is the memory of the child that a container
/// sees before its exec.
const OWN_VARIABLES: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "LANG",
    "TZ",
    "TMPDIR",
    "SUDO_UID",
    "SUDO_GID",
    "SUDO_USER",
];

/// linux/memfd.h
const MFD_EXEC: u32 = 0x10;

const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_SEAL);

/// Goes on as the sealed copy: returns where this process is one. Call it before anything else.
pub fn become_sealed() -> io::Result<()> {
    let mut own = File::open("/proc/self/exe")?;
    if is_sealed(&own) {
        return Ok(());
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = memfd_create(c"presyn", flags | MFdFlags::from_bits_retain(MFD_EXEC))
        // Before Linux 6.3 there is no such flag, and every memfd may be executed.
        .or_else(|_| memfd_create(c"presyn", flags))?;
    let mut copy = File::from(copy);
    io::copy(&mut own, &mut copy)?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS))?;
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
    let arguments = std::env::args_os()
        .map(|argument| text(&argument))
        .collect::<io::Result<Vec<_>>>()?;
    let variables = std::env::vars_os()
        .filter(|(name, _)| OWN_VARIABLES.iter().any(|own| name == own))
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(&name)
        })
        .collect::<io::Result<Vec<_>>>()?;
    // As presyn was started: the copy takes its state for that. The copy itself closes at the exec.
    Snapshot::at_start()
        .restoration(&[copy.as_raw_fd()])
        .apply()?;
    Err(match nix::unistd::fexecve(&copy, &arguments, &variables) {
        Err(error) => error,
        Ok(never) => match never {},
    }
    .into())
}

fn is_sealed(file: &File) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS);
    seals.is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}

/// The errors of a system without memfd or where none may be executed.
pub fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => {
            " (vm.memfd_noexec may forbid it, or a mount without exec)"
        }
        _ => "",
    }
}
