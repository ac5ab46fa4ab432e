//! The name resolution settings of a host, as the traced command sees them: its mount namespace and root may be
//! others than presyn's.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The files that decide how names are looked up, as raw text. `None`: not there, or not readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// `/etc/resolv.conf`
    pub resolv_conf: Option<String>,
    /// `/etc/nsswitch.conf`
    pub nsswitch_conf: Option<String>,
    /// `/etc/hosts`
    pub hosts: Option<String>,
    /// `/etc/gai.conf`
    pub gai_conf: Option<String>,
    /// What exists and could not be read, or was longer than [`LONGEST`]: one line each.
    pub warnings: Vec<String>,
}

/// More than this is not read: block lists in `hosts` reach some megabytes.
pub const LONGEST: u64 = 8 << 20;

impl HostFiles {
    /// As a process sees them.
    pub fn of_process(pid: u32) -> Self {
        Self::under(Path::new(&format!("/proc/{pid}/root")))
    }

    /// Below a root directory.
    pub fn under(root: &Path) -> Self {
        let mut files = Self::default();
        let directory = match File::open(root) {
            Ok(directory) => directory,
            Err(error) => {
                files.warnings.push(format!("{}: {error}", root.display()));
                return files;
            }
        };
        let mut get = |name: &str| match read_in(&directory, name) {
            Ok((text, whole)) => {
                if !whole {
                    let cut = format!("/etc/{name}: only its first {LONGEST} bytes were read");
                    files.warnings.push(cut);
                }
                Some(text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                files.warnings.push(format!("/etc/{name}: {error}"));
                None
            }
        };
        let resolv_conf = get("resolv.conf");
        let nsswitch_conf = get("nsswitch.conf");
        let hosts = get("hosts");
        let gai_conf = get("gai.conf");
        Self {
            resolv_conf,
            nsswitch_conf,
            hosts,
            gai_conf,
            ..files
        }
    }
}

/// Reads `etc/NAME` below a directory. Symbolic links (`resolv.conf` is one nearly everywhere) are followed within that
/// root, not ours; FIFOs and devices do not hang.
fn read_in(root: &File, name: &str) -> io::Result<(String, bool)> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = File::from(openat2(root, format!("etc/{name}").as_str(), how)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let longest = usize::try_from(LONGEST).unwrap_or(usize::MAX);
    let whole = bytes.len() <= longest;
    bytes.truncate(longest);
    Ok((String::from_utf8_lossy(&bytes).into_owned(), whole))
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
