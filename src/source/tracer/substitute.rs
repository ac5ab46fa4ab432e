//! A resolv.conf of the command's own, mounted over `/etc/resolv.conf` in a mount namespace that only the command
//! and its children are in (`mount_namespaces(7)`).
//!
//! The text is in a tmpfs that exists in that namespace only: whatever ends presyn, nothing is left behind. Where the
//! file exists (a symbolic link is followed, as every reader does), the copy is bound over it. Where it does not,
//! no mount could carry it without changing the host: a read-only overlay of the tmpfs and `/etc` is mounted on `/etc`
//! instead. Without `CAP_SYS_ADMIN` the namespace belongs to a user namespace in which the command keeps its user and
//! group.
#![allow(unsafe_code)] // the child's half runs between fork and exec

use super::mount::{Descriptor, append, append_number, attach, close, open, put};
use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};
use std::ffi::{CStr, CString};

/// Where stub resolvers look.
const RESOLV_CONF: &CStr = c"/etc/resolv.conf";
/// More than this is no resolv.conf.
pub const LONGEST: usize = 1 << 20;

/// A file that the command is to see as `/etc/resolv.conf`. Whoever makes it has read it with the rights of the run's
/// user.
#[derive(Clone, Debug)]
pub struct SubstituteFile {
    /// What messages call it.
    pub path: String,
    /// What it holds.
    pub text: Vec<u8>,
}

/// Everything the child needs to put the text in place.
#[derive(Debug)]
pub struct Substitute {
    text: Vec<u8>,
    uid_map: CString,
    gid_map: CString,
}

impl Substitute {
    /// Prepares the child's half.
    pub fn new(text: Vec<u8>) -> Option<Self> {
        let map = |id: u32| CString::new(format!("{id} {id} 1")).ok();
        Some(Self {
            text,
            uid_map: map(geteuid().as_raw())?,
            gid_map: map(getegid().as_raw())?,
        })
    }

    /// In the child: makes the namespace and mounts. Async-signal-safe.
    pub fn mount(&self) -> Result<(), Errno> {
        // SAFETY: no memory is passed; the child has one thread.
        match Errno::result(unsafe { libc::unshare(libc::CLONE_NEWNS) }) {
            Ok(_) => {}
            Err(Errno::EPERM) => self.own_users()?,
            Err(error) => return Err(error),
        }
        let none = std::ptr::null();
        // Mounts of the host still arrive here, none of ours leaves.
        attach(none, c"/", none, libc::MS_REC | libc::MS_SLAVE, none)?;
        // What the tmpfs is about to hide stays within reach through descriptors.
        let etc = open(c"/etc", libc::O_PATH | libc::O_DIRECTORY)?;
        let file = match open(RESOLV_CONF, libc::O_PATH) {
            Ok(file) => Some(file),
            // Absent, or a link to what is absent.
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        let kind = c"tmpfs".as_ptr();
        attach(kind, c"/etc", kind, libc::MS_NODEV, c"mode=0755".as_ptr())?;
        put(RESOLV_CONF, &self.text, libc::O_CREAT | libc::O_EXCL)?;
        if let Some(file) = file {
            let target = Descriptor::of(file);
            attach(
                RESOLV_CONF.as_ptr(),
                target.path(),
                none,
                libc::MS_BIND,
                none,
            )?;
            // The bound file keeps the tmpfs.
            // SAFETY: the path ends with NUL.
            Errno::result(unsafe { libc::umount2(c"/etc".as_ptr(), libc::MNT_DETACH) })?;
            close(file);
        } else {
            let upper = open(c"/etc", libc::O_PATH | libc::O_DIRECTORY)?;
            let layers = layers(upper, etc);
            let kind = c"overlay".as_ptr();
            // It covers the tmpfs.
            attach(kind, c"/etc", kind, libc::MS_RDONLY, layers.as_ptr().cast())?;
            close(upper);
        }
        close(etc);
        Ok(())
    }

    /// A user namespace that maps only the user and group that the command runs as (`user_namespaces(7)`).
    fn own_users(&self) -> Result<(), Errno> {
        // SAFETY: as above.
        Errno::result(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
        put(c"/proc/self/setgroups", b"deny", 0)?;
        put(c"/proc/self/uid_map", self.uid_map.to_bytes(), 0)?;
        put(c"/proc/self/gid_map", self.gid_map.to_bytes(), 0)
    }
}

/// The option of an overlay that shows the first directory's files over the second's.
fn layers(upper: i32, lower: i32) -> [u8; 80] {
    let mut text = [0; 80];
    let mut at = 0;
    append(&mut text, &mut at, b"lowerdir=/proc/self/fd/");
    append_number(&mut text, &mut at, upper.unsigned_abs());
    append(&mut text, &mut at, b":/proc/self/fd/");
    append_number(&mut text, &mut at, lower.unsigned_abs());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_descriptors() {
        let text = layers(10, 205);
        let text = CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap();
        assert_eq!(text, "lowerdir=/proc/self/fd/10:/proc/self/fd/205");
        assert!(layers(i32::MAX, i32::MAX).ends_with(&[0]));
    }
}
