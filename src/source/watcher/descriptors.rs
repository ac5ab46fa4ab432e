//! Which process has a socket open: the links of `/proc/PID/fd` name it by its inode.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The process.
    pub pid: u32,
    /// The number.
    pub fd: i32,
}

/// A process opens the lowest free number, so that a new socket often has that of one before it: so many are tried first.
const RECENT: usize = 16;
/// The names of more processes than this are read again.
const MAX_NAMES: usize = 4_096;
/// The longest link that names a socket: `socket:[4294967295]`.
const LONGEST_NAME: usize = 19;

/// Where sockets were found before.
#[derive(Debug, Default)]
pub struct Descriptors {
    recent: VecDeque<Descriptor>,
    names: HashMap<u32, Arc<str>>,
}

impl Descriptors {
    /// Whether a descriptor is open for a socket.
    pub fn is_open(descriptor: Descriptor, inode: u32) -> bool {
        let Descriptor { pid, fd } = descriptor;
        socket_of(Path::new(&format!("/proc/{pid}/fd/{fd}"))) == Some(inode)
    }

    /// Where it was found last among these processes, if it is there.
    pub fn again(&mut self, inode: u32) -> Option<Descriptor> {
        let found = self.recent.iter().position(|d| Self::is_open(*d, inode))?;
        let descriptor = self.recent.remove(found)?;
        self.recent.push_front(descriptor);
        Some(descriptor)
    }

    /// Looks through all descriptors of these processes. `Err`: some could not be looked through.
    pub fn search(&mut self, inode: u32, pids: &[u32]) -> Result<Option<Descriptor>, Unreadable> {
        let mut unreadable = None;
        for pid in pids {
            match descriptors(*pid) {
                Ok(list) => {
                    for descriptor in list {
                        if Self::is_open(descriptor, inode) {
                            self.recent.push_front(descriptor);
                            self.recent.truncate(RECENT);
                            return Ok(Some(descriptor));
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    unreadable = Some(Unreadable);
                }
                // It has ended.
                Err(_) => {}
            }
        }
        unreadable.map_or(Ok(None), Err)
    }

    /// The sockets that these processes have open, by inode.
    pub fn sockets(pids: &[u32]) -> HashMap<u32, Descriptor> {
        let lists = pids.iter().filter_map(|pid| descriptors(*pid).ok());
        let mut sockets = HashMap::new();
        for descriptor in lists.flatten() {
            let Descriptor { pid, fd } = descriptor;
            if let Some(inode) = socket_of(Path::new(&format!("/proc/{pid}/fd/{fd}"))) {
                sockets.insert(inode, descriptor);
            }
        }
        sockets
    }

    /// A process's name.
    pub fn name(&mut self, pid: u32) -> Option<Arc<str>> {
        if let Some(name) = self.names.get(&pid) {
            return Some(name.clone());
        }
        let name: Arc<str> = comm(&format!("/proc/{pid}/comm"))?.into();
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(pid, name.clone());
        Some(name)
    }

    /// Forgets names: a number may have become another process, a process another program.
    pub fn forget_names(&mut self) {
        self.names.clear();
    }
}

/// The name of a task (at most 15 bytes, `proc_pid_comm(5)`).
pub fn comm(path: &str) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_end_matches('\n').to_owned())
}

/// The descriptors of a process may not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

fn descriptors(pid: u32) -> std::io::Result<impl Iterator<Item = Descriptor>> {
    let list = fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(list.flatten().filter_map(move |entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        Some(Descriptor { pid, fd })
    }))
}

/// The inode of the socket that a link names.
fn socket_of(link: &Path) -> Option<u32> {
    let target = fs::read_link(link).ok()?;
    let text = target.to_str().filter(|text| text.len() <= LONGEST_NAME)?;
    text.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_socket_of_this_process_is_found_and_one_that_is_gone_is_not() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (pid, fd) = (std::process::id(), socket.as_raw_fd());
        let inode = socket_of(Path::new(&format!("/proc/self/fd/{fd}"))).unwrap();
        let mut descriptors = Descriptors::default();
        let expected = Some(Descriptor { pid, fd });
        assert_eq!(descriptors.again(inode), None);
        assert_eq!(descriptors.search(inode, &[pid]), Ok(expected));
        assert_eq!(descriptors.again(inode), expected);
        assert_eq!(Descriptors::sockets(&[pid]).get(&inode).copied(), expected);
        drop(socket);
        assert_eq!(descriptors.again(inode), None);
        assert_eq!(descriptors.search(inode, &[pid]), Ok(None));
    }
}
