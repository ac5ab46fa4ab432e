//! Which network namespace is captured in.

use super::CaptureError;
use nix::sched::{CloneFlags, setns};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A network namespace to capture in.
#[derive(Clone, Debug)]
pub enum Netns {
    /// That of a process.
    Process(u32),
    /// One that `ip netns add` made.
    Named(String),
    /// By its file.
    Path(PathBuf),
    /// One that is open already.
    Opened {
        /// Its file.
        file: Arc<File>,
        /// For people.
        shown: String,
    },
}

/// Where ip-netns(8) has its files.
const NAMED: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

impl Netns {
    /// As typed: a number is a process, and what has a slash a file.
    pub fn parse(text: &str) -> Self {
        if let Ok(pid) = text.parse() {
            return Self::Process(pid);
        }
        let name = NAMED.iter().find_map(|folder| text.strip_prefix(folder));
        match name.unwrap_or(text) {
            name if !name.contains('/') => Self::Named(name.to_owned()),
            _ => Self::Path(text.into()),
        }
    }

    /// One that is open already, and what people call it.
    pub fn opened(file: Arc<File>, shown: String) -> Self {
        Self::Opened { file, shown }
    }

    /// Where the kernel shows it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Process(pid) => format!("/proc/{pid}/ns/net").into(),
            Self::Named(name) => format!("/run/netns/{name}").into(),
            Self::Path(path) => path.clone(),
            Self::Opened { shown, .. } => shown.into(),
        }
    }

    /// The name that ip-netns(8) gave it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            _ => None,
        }
    }

    /// Opens it.
    pub fn open(&self) -> io::Result<File> {
        match self {
            Self::Opened { file, .. } => file.try_clone(),
            _ => File::open(self.path()),
        }
    }

    /// That it cannot be entered.
    pub fn error(&self, error: &io::Error) -> CaptureError {
        CaptureError::Netns {
            path: self.path(),
            message: error.to_string(),
        }
    }

    /// Does something in it: a namespace belongs to a thread, and this one does nothing else.
    pub fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> io::Result<T> {
        let file = self.open()?;
        let done = std::thread::scope(|scope| {
            let enter = || setns(file, CloneFlags::CLONE_NEWNET).map(|()| what());
            scope.spawn(enter).join()
        });
        let entered = done.map_err(|_| io::Error::other("the thread panicked"))?;
        entered.map_err(|error| io::Error::other(error.desc()))
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "of process {pid}"),
            Self::Named(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Opened { shown, .. } => f.write_str(shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_by_number_name_and_file() {
        for (typed, path) in [
            ("12", "/proc/12/ns/net"),
            ("a", "/run/netns/a"),
            ("/run/netns/a", "/run/netns/a"),
            ("/var/run/netns/a", "/run/netns/a"),
            ("/proc/12/ns/net", "/proc/12/ns/net"),
            ("/run/netns/../x", "/run/netns/../x"),
        ] {
            assert_eq!(Netns::parse(typed).path(), PathBuf::from(path));
        }
        assert_eq!(Netns::parse("/var/run/netns/a").name(), Some("a"));
        assert_eq!(Netns::parse("./a").name(), None);
    }
}
