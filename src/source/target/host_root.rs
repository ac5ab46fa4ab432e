//! The host's own files, with bounds: whatever stands there, nothing waits, nothing has no end, and only regular files
//! are opened.

use super::processes::ProcessTable;
use crate::bounded;
use crate::source::file_user::FileUser;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More of one file is not read. A `containers.json` of thousands of containers has a few megabytes.
const LONGEST_FILE: u64 = bounded::LONGEST;
/// More entries of a folder are not looked at.
const MAX_ENTRIES: usize = 1 << 14;

/// Where the host's files are: `/`, or a tree that looks like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoot {
    root: PathBuf,
}

impl HostRoot {
    /// This host.
    pub fn host() -> Self {
        Self::at("/")
    }

    /// Below another directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A path of the host, which may begin with `/`.
    pub(super) fn path(&self, of_host: &str) -> PathBuf {
        self.root.join(of_host.trim_start_matches('/'))
    }

    /// A file's text.
    pub(super) fn text(&self, of_host: &str) -> io::Result<String> {
        read_regular(&self.path(of_host))
    }

    /// The text of a file of the kernel's (`proc`, `sys`), which is regular and ends.
    pub(super) fn kernel_text(&self, of_host: &str) -> io::Result<String> {
        whole_text(&mut File::open(self.path(of_host))?)
    }

    /// A link's target.
    pub(super) fn link(&self, of_host: &str) -> io::Result<PathBuf> {
        std::fs::read_link(self.path(of_host))
    }

    /// The folders in a folder, sorted. A link to a folder is none, and names that are no UTF-8 are none of an engine's or
    /// of systemd's.
    pub(super) fn folders(&self, of_host: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(of_host))?.take(MAX_ENTRIES) {
            let entry = entry?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether something has this path.
    pub(super) fn exists(&self, of_host: &str) -> bool {
        self.path(of_host).symlink_metadata().is_ok()
    }

    /// All processes.
    pub(super) fn processes(&self) -> io::Result<ProcessTable> {
        ProcessTable::read(self)
    }
}

/// Reads a regular file: nothing else is even opened.
fn read_regular(path: &Path) -> io::Result<String> {
    let found = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    if !found.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // The very file that was looked at, opened for reading. A lease on it keeps no open waiting (fcntl(2)).
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    whole_text(&mut file)
}

fn whole_text(file: &mut File) -> io::Result<String> {
    let (bytes, whole) = bounded::read_at_most(file, LONGEST_FILE)?;
    if !whole {
        return Err(bounded::too_long(LONGEST_FILE));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What was looked at, and what could not be read: for the message where nothing is found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Places that are there.
    pub looked: Vec<String>,
    /// What takes more rights to read.
    pub denied: Vec<String>,
    /// What is not as it should be.
    pub damaged: Vec<String>,
}

/// So many unreadable files are named.
const MAX_NAMED: usize = 8;

impl Survey {
    /// A JSON file, where it is there and as expected; read with the rights of this user where one is given.
    pub fn json<T: DeserializeOwned>(
        &mut self,
        root: &HostRoot,
        path: &str,
        user: Option<&FileUser>,
    ) -> Option<T> {
        let text = self.text(root, path, user)?;
        match serde_json::from_str(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(
                    root,
                    path,
                    &io::Error::new(io::ErrorKind::InvalidData, error),
                );
                None
            }
        }
    }

    /// A file's text, where it is there.
    pub fn text(&mut self, root: &HostRoot, path: &str, user: Option<&FileUser>) -> Option<String> {
        let read = match user {
            Some(user) => user.act(|| root.text(path)),
            None => root.text(path),
        };
        read.map_err(|error| self.note(root, path, &error)).ok()
    }

    /// The folders of a folder that is one of the places to look at.
    pub fn folders(&mut self, root: &HostRoot, path: &str, user: Option<&FileUser>) -> Vec<String> {
        let read = match user {
            Some(user) => user.act(|| root.folders(path)),
            None => root.folders(path),
        };
        match read {
            Ok(names) => {
                self.looked_at(root, path);
                names
            }
            Err(error) => {
                self.note(root, path, &error);
                Vec::new()
            }
        }
    }

    /// A place that was looked at.
    pub fn looked_at(&mut self, root: &HostRoot, path: &str) {
        let path = root.path(path).display().to_string();
        if !self.looked.contains(&path) {
            self.looked.push(path);
        }
    }

    fn note(&mut self, root: &HostRoot, path: &str, error: &io::Error) {
        let list = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return,
            io::ErrorKind::PermissionDenied => &mut self.denied,
            _ => &mut self.damaged,
        };
        if list.len() < MAX_NAMED {
            let shown = root.path(path).display().to_string();
            list.push(match error.kind() {
                io::ErrorKind::PermissionDenied => shown,
                _ => format!("{shown} ({error})"),
            });
        }
    }
}
