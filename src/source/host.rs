//! The name resolution settings of a host, as the traced command sees them: its mount namespace and root may be
//! others than presyn's.

use crate::bounded::{self, LONGEST};
use crate::event::ResolverFiles;
use crate::input::host::HostFiles;
use crate::source::file_user::FileUser;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The files, in the order of [`HostFiles`]' fields.
const NAMES: [&str; 4] = ["resolv.conf", "nsswitch.conf", "hosts", "gai.conf"];

/// Of `hosts` no more is stored in an event: the line that holds it must stay readable.
const LONGEST_STORED: usize = 512 << 10;
/// So many versions are told apart: a run of more is a test of name resolution, not a slow client.
const MAX_VERSIONS: usize = 16;
/// So many processes are remembered as looked at; then all are looked at again, which costs time only.
const MAX_PROCESSES: usize = 1 << 16;

impl HostFiles {
    /// As a process sees them, read with no more rights than it has.
    pub fn of_process(pid: u32) -> Self {
        let mut files = Self::default();
        match View::of_process(pid) {
            Ok(view) => files.read(&view),
            Err(error) => files.warnings.push(format!("/proc/{pid}/root: {error}")),
        }
        files
    }

    /// Below a root directory.
    pub fn under(root: &Path) -> Self {
        let mut files = Self::default();
        match File::open(root) {
            Ok(root) => files.read(&View { root, reader: None }),
            Err(error) => files.warnings.push(format!("{}: {error}", root.display())),
        }
        files
    }

    fn read(&mut self, view: &View) {
        let mut get = |name: &str| match view.text(name) {
            Ok((text, whole)) => {
                if !whole {
                    let cut = format!("/etc/{name}: only its first {LONGEST} bytes were read");
                    self.warnings.push(cut);
                }
                Some(text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.warnings.push(format!("/etc/{name}: {error}"));
                None
            }
        };
        let [resolv_conf, nsswitch_conf, hosts, gai_conf] = NAMES.map(&mut get);
        self.resolv_conf = resolv_conf;
        self.nsswitch_conf = nsswitch_conf;
        self.hosts = hosts;
        self.gai_conf = gai_conf;
    }

    /// As an event stores them.
    fn stored(self) -> ResolverFiles {
        let mut warnings = self.warnings;
        let mut bounded = |name: &str, text: Option<String>| {
            let text = text?;
            if text.len() <= LONGEST_STORED {
                return Some(text.into());
            }
            warnings.push(format!(
                "/etc/{name}: its {} bytes are not stored",
                text.len()
            ));
            None
        };
        ResolverFiles {
            resolv_conf: bounded("resolv.conf", self.resolv_conf),
            nsswitch_conf: bounded("nsswitch.conf", self.nsswitch_conf),
            hosts: bounded("hosts", self.hosts),
            gai_conf: bounded("gai.conf", self.gai_conf),
            warnings,
        }
    }
}

/// What the processes of a run see of these files. Each process is looked at before its first network call; the texts are
/// read again only where the files are others or were changed.
#[derive(Debug, Default)]
pub struct Views {
    looked: HashSet<u32>,
    seen: HashSet<[Option<FileVersion>; 4]>,
    versions: Vec<ResolverFiles>,
}

/// Which version of which file: device, inode, size, and when it was changed.
type FileVersion = (u64, u64, u64, i64, i64);

impl Views {
    /// The files of a process that begins to use the network, where no process before it saw the same.
    pub fn first_call(&mut self, pid: u32) -> Option<ResolverFiles> {
        if self.versions.len() >= MAX_VERSIONS || self.looked.contains(&pid) {
            return None;
        }
        if self.looked.len() >= MAX_PROCESSES {
            self.looked.clear();
        }
        self.looked.insert(pid);
        // Whoever has ended by now makes no call.
        let view = View::of_process(pid).ok()?;
        let marks = NAMES.map(|name| view.mark(name).ok());
        if self.seen.len() >= MAX_PROCESSES || !self.seen.insert(marks) {
            return None;
        }
        let mut files = HostFiles::default();
        files.read(&view);
        let files = files.stored();
        if self.versions.contains(&files) {
            return None;
        }
        self.versions.push(files.clone());
        Some(files)
    }

    /// The process runs another program, or has ended and its number may come again.
    pub fn clear_cache(&mut self, pid: u32) {
        self.looked.remove(&pid);
    }
}

/// A root directory, and who looks: whatever it names is read with that user's rights at most.
struct View {
    root: File,
    reader: Option<FileUser>,
}

impl View {
    fn of_process(pid: u32) -> io::Result<Self> {
        let root = File::open(format!("/proc/{pid}/root"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let reader =
            FileUser::parse(&status).ok_or_else(|| io::Error::other("no user in its status"))?;
        Ok(Self {
            root,
            reader: Some(reader),
        })
    }

    /// `etc/NAME` without opening it: links (`resolv.conf` is one nearly everywhere) are followed within the root, not
    /// within ours. FIFOs, devices, and files that the process itself may not read are refused: in a mount namespace of
    /// its own a user may put any file in the place of resolv.conf.
    fn find(&self, name: &str) -> io::Result<(File, Metadata)> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let file = File::from(openat2(&self.root, format!("etc/{name}").as_str(), how)?);
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if let Some(reader) = &self.reader
            && !reader.may_read(facts.uid(), facts.gid(), facts.mode())
        {
            return Err(io::Error::other("the process may not read it"));
        }
        Ok((file, facts))
    }

    fn mark(&self, name: &str) -> io::Result<FileVersion> {
        self.as_reader(|| {
            let (_, facts) = self.find(name)?;
            Ok((
                facts.dev(),
                facts.ino(),
                facts.size(),
                facts.mtime() * 1_000_000_000 + facts.mtime_nsec(),
                facts.ctime() * 1_000_000_000 + facts.ctime_nsec(),
            ))
        })
    }

    /// The text, and whether it is all of it.
    fn text(&self, name: &str) -> io::Result<(String, bool)> {
        self.as_reader(|| {
            let (found, _) = self.find(name)?;
            // The very file that was looked at, opened for reading.
            let mut file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
            let (bytes, whole) = bounded::read_at_most(&mut file, LONGEST)?;
            Ok((String::from_utf8_lossy(&bytes).into_owned(), whole))
        })
    }

    /// With the process's rights, where they are not our own.
    fn as_reader<T>(&self, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match &self.reader {
            Some(reader) => reader.act(what),
            None => what(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_within_the_root() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        std::fs::write(root.path().join("run/resolv.conf"), "nameserver 10.0.0.9\n").unwrap();
        symlink("/run/resolv.conf", etc.join("resolv.conf")).unwrap();
        symlink("hosts", etc.join("hosts")).unwrap();
        std::fs::create_dir(etc.join("gai.conf")).unwrap();
        let files = HostFiles::under(root.path());
        assert_eq!(files.resolv_conf.as_deref(), Some("nameserver 10.0.0.9\n"));
        assert_eq!(files.nsswitch_conf, None);
        assert_eq!((files.hosts, files.gai_conf), (None, None));
        assert_eq!(files.warnings.len(), 2, "{:?}", files.warnings);
    }

    #[test]
    fn a_process_has_files() {
        let files = HostFiles::of_process(std::process::id());
        let ours = std::fs::read_to_string("/etc/nsswitch.conf").ok();
        assert_eq!(files.nsswitch_conf, ours);
        assert!(!HostFiles::of_process(u32::MAX).warnings.is_empty());
    }
}
