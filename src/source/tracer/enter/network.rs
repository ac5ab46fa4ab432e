//! A network namespace, as ip-netns(8) or nsenter(1) would start a command in it.
#![allow(unsafe_code)] // the child's half runs between fork and exec

use super::super::mount::{Descriptor, attach, close, open};
use super::super::sys::Result;
use super::{Done, EnterError, NamespaceStep, step};
use crate::source::capture::Netns;
use nix::errno::Errno;
use nix::unistd::geteuid;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// A network namespace, opened.
#[derive(Debug)]
pub struct NetworkEntrance {
    file: Arc<File>,
    shown: String,
    /// As ip-netns(8) names it.
    named: Option<Named>,
}

/// What `ip netns exec NAME` does beside.
#[derive(Debug)]
struct Named {
    name: CString,
    /// `/etc/netns/NAME/FILE` and `/etc/FILE`.
    files: Vec<(CString, CString)>,
}

/// More files of one namespace are not bound.
const MAX_FILES: usize = 1024;

impl NetworkEntrance {
    /// Opens it.
    pub fn open(netns: &Netns) -> std::result::Result<Self, EnterError> {
        let shown = format!("network namespace {netns}");
        if !geteuid().is_root() {
            return Err(EnterError::NotRoot(shown));
        }
        let unreadable = |what: &str, error| EnterError::Unreadable {
            name: shown.clone(),
            what: what.to_owned(),
            error,
        };
        let file = netns
            .open()
            .map_err(|error| unreadable(&netns.path().display().to_string(), error))?;
        let named = match netns.name() {
            Some(name) => Some(Named::new(name).map_err(|e| unreadable("/etc/netns", e))?),
            None => None,
        };
        Ok(Self {
            file: Arc::new(file),
            shown,
            named,
        })
    }

    /// To capture in.
    pub fn netns(&self) -> Netns {
        Netns::opened(self.file.clone(), self.shown.clone())
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// In the child, while it has the right.
    pub fn join(&self) -> Done {
        // SAFETY: integers only.
        let joined = unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) };
        Errno::result(joined).map_err(step(NamespaceStep::Namespaces))?;
        // SAFETY: its owner is never dropped in this process: it execs or leaves by `_exit`.
        unsafe { libc::close(self.file.as_raw_fd()) };
        match &self.named {
            Some(named) => named.mount().map_err(step(NamespaceStep::Mounts)),
            None => Ok(()),
        }
    }
}

impl Named {
    fn new(name: &str) -> std::io::Result<Self> {
        let text = |text: String| CString::new(text).map_err(std::io::Error::other);
        let folder = format!("/etc/netns/{name}");
        let mut files = Vec::new();
        match std::fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries.take(MAX_FILES) {
                    let Ok(file) = entry?.file_name().into_string() else {
                        continue;
                    };
                    files.push((
                        text(format!("{folder}/{file}"))?,
                        text(format!("/etc/{file}"))?,
                    ));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            name: text(name.to_owned())?,
            files,
        })
    }

    /// A `/sys` of this network namespace, and its files of `/etc`.
    fn mount(&self) -> Result<()> {
        let none = std::ptr::null();
        // SAFETY: no memory is passed; the child has one thread.
        Errno::result(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        attach(none, c"/", none, libc::MS_REC | libc::MS_SLAVE, none)?;
        // SAFETY: the path ends with NUL. What is not mounted need not go.
        unsafe { libc::umount2(c"/sys".as_ptr(), libc::MNT_DETACH) };
        attach(self.name.as_ptr(), c"/sys", c"sysfs".as_ptr(), 0, none)?;
        for (from, to) in &self.files {
            // A file that /etc does not have cannot be bound; ip-netns(8) leaves it out as well.
            let Ok(target) = open(to, libc::O_PATH) else {
                continue;
            };
            let path = Descriptor::of(target);
            attach(from.as_ptr(), path.path(), none, libc::MS_BIND, none)?;
            close(target);
        }
        Ok(())
    }
}
