//! The case folder on the disk. It belongs to the user whose run it holds, and everything in it is created through its
//! descriptor, never through a link.

use super::{FILES, TRACE, jsonl};
use crate::user::User;
use crate::user::files::{as_user, as_whom};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a case cannot be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// There is something already.
    #[error("{path} exists; choose another folder, or --force to replace the case in it")]
    Exists {
        /// The folder.
        path: String,
    },
    /// There is something that is not replaced, even with `--force`.
    #[error("{path} {what}; choose another folder")]
    Refused {
        /// The folder or file.
        path: String,
        /// What it is.
        what: String,
    },
    /// It cannot be written.
    #[error("cannot write {path}{user}: {source}")]
    Write {
        /// The file or folder.
        path: String,
        /// ` as NAME`, where that is not the user who runs presyn.
        user: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The folder and its files are for their owner only: traces hold command lines.
const FOLDER_MODE: Mode = Mode::S_IRWXU;
const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An open case folder.
#[derive(Debug)]
pub struct CaseFolder {
    path: PathBuf,
    directory: File,
    user: Option<User>,
}

impl CaseFolder {
    /// Makes the folder with the rights of `user`; `None`: of whoever runs presyn. With `force` a case of this user
    /// is replaced: of an older run nothing stays.
    pub fn create(path: &Path, force: bool, user: Option<&User>) -> Result<Self, SaveError> {
        let made = as_user(user, || Ok(make(path, force, user)));
        let directory = made.unwrap_or_else(|error| Err(failed(path, user, error)))?;
        Ok(Self {
            path: path.to_owned(),
            directory,
            user: user.cloned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file. It can be read back, too.
    pub fn file(&self, name: &str) -> Result<File, SaveError> {
        let user = self.user.as_ref();
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        as_user(user, || {
            Ok(File::from(openat(&self.directory, name, flags, FILE_MODE)?))
        })
        .map_err(|error| self.failed(name, error))
    }

    /// The error of a file in it.
    pub fn failed(&self, name: &str, source: io::Error) -> SaveError {
        failed(&self.path.join(name), self.user.as_ref(), source)
    }
}

/// With the rights of the user.
fn make(path: &Path, force: bool, user: Option<&User>) -> Result<File, SaveError> {
    let io = |error| failed(path, user, error);
    // A slash at the end would make O_NOFOLLOW follow.
    let path = match path.file_name() {
        Some(name) => path.parent().unwrap_or(Path::new("")).join(name),
        None => path.to_owned(),
    };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(io)?;
    }
    let made = DirBuilder::new().mode(FOLDER_MODE.bits()).create(&path);
    let new = match made {
        Ok(()) => true,
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        Err(_) if force => false,
        Err(_) => {
            return Err(SaveError::Exists {
                path: path.display().to_string(),
            });
        }
    };
    let refused = |what: String| SaveError::Refused {
        path: path.display().to_string(),
        what,
    };
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| match path.symlink_metadata() {
            Ok(facts) if !facts.is_dir() => refused(format!("is {}", kind(facts.mode()))),
            _ => io(error),
        })?;
    let owner = directory.metadata().map_err(io)?.uid();
    let expected = owner_of_new_files(user);
    if owner != expected {
        return Err(refused(format!(
            "belongs to another user (uid {owner}, not {expected})"
        )));
    }
    if new || empty_case(&path, &directory, expected, &refused, &io)? {
        // Whatever the umask, and in an old case, too.
        fchmod(&directory, FOLDER_MODE).map_err(|error| io(error.into()))?;
    }
    Ok(directory)
}

fn owner_of_new_files(user: Option<&User>) -> u32 {
    let own = geteuid();
    user.filter(|_| own.is_root())
        .map_or(own.as_raw(), |user| user.uid)
}

/// Removes the files of an older case, through the folder's descriptor. Whether there was one; where there was none,
/// but files of its names, they are somebody's: /etc has a hosts and a resolv.conf, too.
fn empty_case(
    path: &Path,
    directory: &File,
    owner: u32,
    refused: &dyn Fn(String) -> SaveError,
    io: &dyn Fn(io::Error) -> SaveError,
) -> Result<bool, SaveError> {
    let mut there = Vec::new();
    for name in FILES {
        match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(io(error.into())),
            Ok(facts)
                if SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG =>
            {
                return Err(SaveError::Refused {
                    path: path.join(name).display().to_string(),
                    what: format!("is {}", kind(facts.st_mode)),
                });
            }
            Ok(facts) if facts.st_uid != owner => {
                return Err(SaveError::Refused {
                    path: path.join(name).display().to_string(),
                    what: format!("belongs to another user (uid {})", facts.st_uid),
                });
            }
            Ok(_) => there.push(name),
        }
    }
    if !there.contains(&TRACE) || !holds_trace(directory).map_err(io)? {
        if there.is_empty() && fs::read_dir(path).map_err(io)?.next().is_none() {
            return Ok(false);
        }
        return Err(refused(
            "holds files but no trace of presyn's, so it is not a case".into(),
        ));
    }
    for name in there {
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(io(error.into())),
        }
    }
    Ok(true)
}

/// Enough to recognise a trace.
const HEAD: u64 = 1 << 16;

/// Whether the folder's trace is one; an empty one is what a full disk leaves.
fn holds_trace(directory: &File) -> io::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(directory, TRACE, flags, Mode::empty())?);
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(head.is_empty() || jsonl::is_trace(&head))
}

/// What a file is, in words.
fn kind(mode: u32) -> &'static str {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
        SFlag::S_IFDIR => "a folder",
        _ => "a file",
    }
}

fn failed(path: &Path, user: Option<&User>, source: io::Error) -> SaveError {
    SaveError::Write {
        path: path.display().to_string(),
        user: as_whom(user),
        source,
    }
}
