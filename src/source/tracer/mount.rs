//! Mounting and writing between fork and exec: nothing allocates.
#![allow(unsafe_code)] // calls between fork and exec

use nix::errno::Errno;
use std::ffi::CStr;

/// `/proc/self/fd/N`, without allocating.
pub struct Descriptor([u8; 32]);

impl Descriptor {
    pub fn of(fd: i32) -> Self {
        let mut text = [0; 32];
        let mut at = 0;
        append(&mut text, &mut at, b"/proc/self/fd/");
        append_number(&mut text, &mut at, fd.unsigned_abs());
        Self(text)
    }

    pub fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// The callers' arrays have room for the longest, and a NUL after it.
pub fn append(text: &mut [u8], at: &mut usize, piece: &[u8]) {
    text[*at..*at + piece.len()].copy_from_slice(piece);
    *at += piece.len();
}

pub fn append_number(text: &mut [u8], at: &mut usize, number: u32) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    let mut rest = number;
    for place in (0..digits as usize).rev() {
        text[*at + place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    *at += digits as usize;
}

pub fn attach(
    source: *const libc::c_char,
    target: &CStr,
    kind: *const libc::c_char,
    flags: libc::c_ulong,
    data: *const libc::c_char,
) -> Result<(), Errno> {
    // SAFETY: every string ends with NUL and outlives the call; null stands for "none".
    let result = unsafe { libc::mount(source, target.as_ptr(), kind, flags, data.cast()) };
    Errno::result(result).map(drop)
}

pub fn open(path: &CStr, flags: i32) -> Result<i32, Errno> {
    // SAFETY: the path ends with NUL.
    Errno::result(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) })
}

pub fn close(fd: i32) {
    // SAFETY: the descriptor is our own.
    unsafe { libc::close(fd) };
}

/// Writes a whole file that every user may read. (The kernel's map files want one write, and get one.)
pub fn put(path: &CStr, mut text: &[u8], flags: i32) -> Result<(), Errno> {
    let fd = open(path, libc::O_WRONLY | flags)?;
    while !text.is_empty() {
        // SAFETY: as many bytes are read as there are.
        let wrote = Errno::result(unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) });
        match wrote {
            Ok(wrote) => text = &text[wrote.unsigned_abs().min(text.len())..],
            Err(Errno::EINTR) => {}
            Err(error) => {
                close(fd);
                return Err(error);
            }
        }
    }
    if flags & libc::O_CREAT != 0 {
        // Whatever the umask.
        // SAFETY: the descriptor is our own.
        unsafe { libc::fchmod(fd, 0o644) };
    }
    close(fd);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_descriptors() {
        let path = |fd| Descriptor::of(fd).path().to_str().unwrap().to_owned();
        assert_eq!(path(0), "/proc/self/fd/0");
        assert_eq!(path(i32::MAX), "/proc/self/fd/2147483647");
    }
}
