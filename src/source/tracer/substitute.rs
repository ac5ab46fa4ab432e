//! A resolv.conf of the command's own, mounted over `/etc/resolv.conf` in a mount namespace that only the command
//! and its children are in (`mount_namespaces(7)`).
//!
//! Where the file exists (a symbolic link is followed, as every reader does), a copy is bound over it. Where it does
//! not, nothing could carry the mount without changing the host: a read-only overlay of the copy's folder and `/etc`
//! is mounted on `/etc` instead. Without `CAP_SYS_ADMIN` the namespace belongs to a user namespace in which the
//! command keeps its user and group.
#![allow(unsafe_code)] // the child's half runs between fork and exec

use crate::source::privilege::User;
use nix::errno::Errno;
use nix::unistd::{getegid, geteuid, mkdtemp};
use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Where stub resolvers look.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// More than this is no resolv.conf.
const LONGEST: u64 = 1 << 20;

/// A copy of the file that the command is to see, and everything the child needs to put it in place. The copy goes
/// when this is dropped.
#[derive(Debug)]
pub struct Substitute {
    folder: PathBuf,
    copy: CString,
    /// Options of the overlay where there is no file to bind it over.
    overlay: Option<CString>,
    uid_map: CString,
    gid_map: CString,
}

impl Substitute {
    /// Copies the file, so that any user may read it and pipes are files like others.
    /// `owner`: who presyn becomes and who must be able to remove it.
    pub fn new(file: &Path, owner: Option<&User>) -> io::Result<Self> {
        let mut text = Vec::new();
        io::Read::read_to_end(
            &mut io::Read::take(fs::File::open(file)?, LONGEST + 1),
            &mut text,
        )?;
        if text.len() as u64 > LONGEST {
            return Err(io::Error::other("longer than any resolv.conf"));
        }
        let folder = mkdtemp(&std::env::temp_dir().join("presyn.XXXXXX"))?;
        let copy = folder.join("resolv.conf");
        let text_of = |path: &Path| CString::new(path.as_os_str().as_bytes());
        let this = Self {
            copy: text_of(&copy)?,
            overlay: if Path::new(RESOLV_CONF).is_file() {
                None
            } else {
                let lower = format!("lowerdir={}:/etc", folder.display());
                Some(CString::new(lower)?)
            },
            uid_map: CString::new(format!("{0} {0} 1", geteuid()))?,
            gid_map: CString::new(format!("{0} {0} 1", getegid()))?,
            folder,
        };
        fs::set_permissions(&this.folder, Permissions::from_mode(0o755))?;
        fs::write(&copy, text)?;
        fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
        if let Some(user) = owner {
            for path in [&copy, &this.folder] {
                chown(path, Some(user.uid), Some(user.gid))?;
            }
        }
        Ok(this)
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
        match &self.overlay {
            None => attach(
                self.copy.as_ptr(),
                c"/etc/resolv.conf",
                none,
                libc::MS_BIND,
                none,
            ),
            Some(lower) => {
                let kind = c"overlay".as_ptr();
                attach(kind, c"/etc", kind, libc::MS_RDONLY, lower.as_ptr())
            }
        }
    }

    /// A user namespace that maps only the user and group that the command runs as (`user_namespaces(7)`).
    fn own_users(&self) -> Result<(), Errno> {
        // SAFETY: as above.
        Errno::result(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
        put(c"/proc/self/setgroups", c"deny")?;
        put(c"/proc/self/uid_map", &self.uid_map)?;
        put(c"/proc/self/gid_map", &self.gid_map)
    }
}

impl Drop for Substitute {
    fn drop(&mut self) {
        // What cannot be removed is a small file in a temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn attach(
    source: *const libc::c_char,
    target: &CStr,
    kind: *const libc::c_char,
    flags: libc::c_ulong,
    data: *const libc::c_char,
) -> Result<(), Errno> {
    // SAFETY: every string ends with NUL and lives in `self` or for ever; null stands for "none".
    let result = unsafe { libc::mount(source, target.as_ptr(), kind, flags, data.cast()) };
    Errno::result(result).map(drop)
}

/// Writes a whole small file at once, as the kernel's map files want it.
fn put(path: &CStr, text: &CStr) -> Result<(), Errno> {
    let bytes = text.to_bytes();
    // SAFETY: the path ends with NUL; as many bytes are read as there are; the descriptor is our own.
    unsafe {
        let fd = Errno::result(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        let wrote = Errno::result(libc::write(fd, bytes.as_ptr().cast(), bytes.len()));
        libc::close(fd);
        wrote.map(drop)
    }
}
