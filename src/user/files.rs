//! Files opened with the rights of the user that a run belongs to.
//!
//! Under sudo presyn is root, but the folder that `--save` names and the files that `--report` and `--resolv-conf` name
//! are the user's wish. No check by path could hold against a process of that user that renames folders and plants
//! links meanwhile. So the kernel checks: a thread takes the user's file system ids and groups, drops its
//! capabilities and opens the file; the descriptor is used by the rest of presyn.

use super::User;
use super::capabilities::{self, Capabilities};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Calls `work` with the rights of `user` to files; `None`: of whoever runs presyn, without file capabilities.
pub fn as_user<T: Send>(
    user: Option<&User>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let root = geteuid().is_root();
    let other = user.filter(|user| root && user.uid != 0);
    if other.is_none() && (root || capabilities::capabilities()?.effective == 0) {
        return work();
    }
    // These ids belong to a thread; this one does nothing else.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, move || {
            if let Some(user) = other {
                take_ids(user)?;
            }
            capabilities::set_capabilities(Capabilities::default())?;
            work()
        })?;
        let failed = |_| Err(io::Error::other("the thread that opens files panicked"));
        thread.join().unwrap_or_else(failed)
    })
}

/// Only the ids for files: as long as the thread's real and effective user is root, no process of `user` may trace it
/// or send it signals. (It shares its memory with all of presyn.)
fn take_ids(user: &User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    capabilities::set_thread_groups(&user.groups)?;
    setfsgid(gid);
    setfsuid(uid);
    // setfsuid(2) reports no errors: ask again what they are, with ids that are never valid.
    let invalid = u32::MAX;
    let now = (
        setfsuid(Uid::from_raw(invalid)),
        setfsgid(Gid::from_raw(invalid)),
    );
    if now == (uid, gid) {
        Ok(())
    } else {
        Err(Errno::EPERM.into())
    }
}

/// The user whose rights [`as_user`] takes, for messages: ` as NAME`, or nothing.
pub fn as_whom(user: Option<&User>) -> String {
    let other = user.filter(|user| user.uid != geteuid().as_raw());
    other.map_or_else(String::new, |user| format!(" as {}", user.name))
}

/// Opens the file of a report. What it holds stays there until the report is written.
pub fn open_report(path: &Path, user: Option<&User>) -> io::Result<File> {
    let careful = geteuid().is_root() && user.is_none_or(|user| user.uid == 0);
    as_user(user, || {
        // Without waiting: a FIFO that no process reads is an error.
        let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        if careful {
            flags |= link_flag(path)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = match options.custom_flags(flags).open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                return Err(io::Error::other(
                    "a FIFO that no process reads, or a socket",
                ));
            }
            opened => opened?,
        };
        let facts = file.metadata()?;
        if careful && facts.is_file() && facts.nlink() > 1 {
            let reason = "the file has a second name (hard link), which another user may have made";
            return Err(io::Error::other(reason));
        }
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(file)
    })
}

/// Root may write anywhere, so a link that another user made (in /tmp, say) would lead it anywhere. Root's own links,
/// such as /dev/stdout, are followed.
fn link_flag(path: &Path) -> io::Result<i32> {
    match path.symlink_metadata() {
        Ok(facts) if facts.is_symlink() && facts.uid() == 0 => Ok(0),
        Ok(facts) if facts.is_symlink() => Err(io::Error::other(format!(
            "a symbolic link that another user (uid {}) made",
            facts.uid()
        ))),
        _ => Ok(libc::O_NOFOLLOW),
    }
}

/// How long a pipe may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a small file whole; pipes are files like others (`<(…)` of a shell), but none waits without end.
pub fn read_small(path: &Path, user: Option<&User>, longest: usize) -> io::Result<Vec<u8>> {
    as_user(user, || {
        let mut options = OpenOptions::new();
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut file = options.read(true).custom_flags(flags).open(path)?;
        let (mut text, mut piece) = (Vec::new(), [0; 1 << 12]);
        let mut last = Instant::now();
        loop {
            let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, 100u16) {
                Ok(0) | Err(Errno::EINTR) if last.elapsed() > PATIENCE => {
                    let reason = format!("nothing came within {} s", PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
                }
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match file.read(&mut piece) {
                Ok(0) => return Ok(text),
                Ok(got) => text.extend_from_slice(&piece[..got]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if text.len() > longest {
                let reason = format!("longer than {longest} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
            }
            last = Instant::now();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::capabilities::capabilities;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// The user `nobody`, where this process may take other users' ids.
    fn other() -> Option<User> {
        if !geteuid().is_root() {
            let said = "SKIPPED: only root opens files as another user\n";
            // Not eprintln: the test harness swallows what passing tests print.
            io::Write::write_all(&mut io::stderr(), said.as_bytes()).unwrap();
            return None;
        }
        Some(User::find("nobody").unwrap())
    }

    #[test]
    fn the_kernel_checks_as_the_user() {
        let Some(user) = other() else { return };
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let denied = read_small(&secret, Some(&user), 10).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let path = folder.path().join("report");
        let facts = open_report(&path, Some(&user)).unwrap().metadata().unwrap();
        assert_eq!((facts.uid(), facts.gid()), (user.uid, user.gid));
        let link = folder.path().join("link");
        symlink(&secret, &link).unwrap();
        assert!(open_report(&link, Some(&user)).is_err());
        // This thread has its rights as before.
        assert!(capabilities().unwrap().effective != 0);
        assert_eq!(std::fs::read(&secret).unwrap(), b"x");
        let left = as_user(Some(&user), || Ok(capabilities()?.permitted)).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn root_follows_no_links_of_others() {
        let Some(user) = other() else { return };
        let folder = tempfile::tempdir().unwrap();
        let (secret, link) = (folder.path().join("secret"), folder.path().join("link"));
        std::fs::write(&secret, "x").unwrap();
        symlink(&secret, &link).unwrap();
        open_report(&link, None).unwrap();
        std::os::unix::fs::lchown(&link, Some(user.uid), None).unwrap();
        let refused = open_report(&link, None).unwrap_err().to_string();
        assert!(refused.contains("symbolic link"), "{refused}");
        std::fs::hard_link(&secret, folder.path().join("hard")).unwrap();
        let refused = open_report(&folder.path().join("hard"), None).unwrap_err();
        assert!(refused.to_string().contains("hard link"), "{refused}");
    }

    #[test]
    fn small_files_are_bounded_and_pipes_never_wait() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let refused = open_report(&fifo, None).unwrap_err().to_string();
        assert!(refused.contains("FIFO"), "{refused}");
        let long = read_small(Path::new("/dev/zero"), None, 1000).unwrap_err();
        assert!(long.to_string().contains("longer than 1000 bytes"));
        let writer = fifo.clone();
        let write = std::thread::spawn(move || std::fs::write(writer, "nameserver ::1\n"));
        assert_eq!(read_small(&fifo, None, 1000).unwrap(), b"nameserver ::1\n");
        write.join().unwrap().unwrap();
    }
}
