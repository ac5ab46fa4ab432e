//! What is behind a tracee's file descriptor, asked of the kernel at the stop itself. The duplicate that
//! is needed for asking is closed before the look is over, so it never outlives the tracee's own.

use super::sys::{self, Result, SocketEnd};
use crate::event::{Address, FdNote, SocketFamily, SocketKind, SocketType};
use crate::flow::Endpoint;
use nix::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// `IPPROTO_TCP`, `IPPROTO_UDP` and `IPPROTO_MPTCP` (linux/in.h).
const TCP_LIKE: [u64; 2] = [6, 262];
const UDP: u64 = 17;
/// `TCP_SYN_SENT` (`net/tcp_states.h`).
const TCP_SYN_SENT: u8 = 2;

/// What never changes in a socket's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIdentity {
    /// Family and style; an Internet socket that is neither TCP (or MPTCP) nor UDP has style `Other`.
    pub kind: SocketKind,
    /// Cookie of its network namespace (Linux 5.14).
    pub netns: Option<u64>,
}

/// A socket as it was at the moment of looking.
#[derive(Clone, Copy, Debug)]
pub struct SocketState {
    /// `SO_COOKIE`; with [`INODE_MARK`] set an inode number instead.
    pub cookie: u64,
    /// What it is; `None` when only its inode is known.
    pub identity: Option<SocketIdentity>,
    /// Its local end, once it has a port.
    pub local: Option<Endpoint>,
    /// Its remote end, when asked for and connected.
    pub peer: Option<Endpoint>,
    /// It has no remote end because its SYN is not answered yet.
    pub connecting: bool,
}

/// Set in an identity that is an inode number, so that it never equals a cookie.
pub const INODE_MARK: u64 = 1 << 63;

impl SocketState {
    /// As calls carry it.
    pub fn note(&self) -> FdNote {
        FdNote {
            socket: self.identity.map(|n| n.kind),
            not_a_socket: false,
            identity: Some(self.cookie),
            local: self.local,
            peer: self.peer,
            path: None,
            netns: self.identity.and_then(|n| n.netns),
            exact: true,
        }
    }

    /// Whether it is of this family and style.
    pub fn is(&self, family: SocketFamily, style: SocketType) -> bool {
        self.identity.map(|n| n.kind) == Some(SocketKind { family, style })
    }
}

/// How the descriptors of a task are reached.
#[derive(Clone, Debug)]
pub enum DescriptorAccess {
    /// Through a pidfd: of the task itself, or of its leader, which shares its file table.
    Pidfd(Arc<OwnedFd>),
    /// Not at all: a thread with a file table of its own on a kernel before 6.9. `/proc` names the inode.
    Proc,
}

/// What is remembered of the sockets seen.
#[derive(Debug, Default)]
pub struct SeenSockets {
    /// By cookie.
    identities: HashMap<u64, SocketIdentity>,
    /// Descriptors, by process, of streams to others than resolvers: their sends need no second look. Only a connect
    /// makes one a resolver's, and connects are seen.
    plain: HashSet<(u32, i32)>,
    leaders_only: bool,
    /// Looks that failed because presyn had no descriptor left.
    failed: u64,
}

/// More natures than this are forgotten and asked for again: the table must not grow with the run.
const NATURES: usize = 1 << 16;

impl SeenSockets {
    /// `leaders_only` pretends a kernel before 6.9, which has no pidfds of threads.
    pub fn new(leaders_only: bool) -> Self {
        Self {
            identities: HashMap::new(),
            plain: HashSet::new(),
            leaders_only,
            failed: 0,
        }
    }

    /// How many looks failed because presyn had no descriptor left.
    pub fn failed_looks(&self) -> u64 {
        self.failed
    }

    /// Counts an error if it says that presyn has no descriptor left.
    pub fn failed(&mut self, error: Errno) {
        self.failed += u64::from(matches!(error, Errno::EMFILE | Errno::ENFILE));
    }

    /// Whether sends on this descriptor of a process need no look.
    pub fn is_plain(&self, pid: u32, fd: i32) -> bool {
        self.plain.contains(&(pid, fd))
    }

    /// Sends on this descriptor need no look until it is connected or bound anew.
    pub fn set_plain(&mut self, pid: u32, fd: i32) {
        if self.plain.len() >= NATURES {
            self.plain.clear();
        }
        self.plain.insert((pid, fd));
    }

    /// A descriptor gets another meaning.
    pub fn renew(&mut self, pid: u32, fd: i32) {
        self.plain.remove(&(pid, fd));
    }

    /// A process runs another program, or a process number is used again.
    pub fn drop_process(&mut self, pid: u32) {
        self.plain.retain(|(of, _)| *of != pid);
    }

    /// The best way to the descriptors of a task.
    pub fn access(&self, tid: u32, pid: u32) -> Result<DescriptorAccess> {
        let own = if self.leaders_only {
            Err(Errno::EINVAL)
        } else {
            sys::pidfd_open(tid, true)
        };
        let opened = match own {
            Ok(fd) => fd,
            // EINVAL: the flag is unknown. kcmp may be missing (CONFIG_KCMP): then suppose what nearly
            // every program does, threads that share their files.
            Err(Errno::EINVAL) if tid == pid || sys::share_files(tid, pid).unwrap_or(true) => {
                sys::pidfd_open(pid, false)?
            }
            Err(Errno::EINVAL) => return Ok(DescriptorAccess::Proc),
            Err(error) => return Err(error),
        };
        Ok(DescriptorAccess::Pidfd(Arc::new(opened)))
    }

    /// Looks at one descriptor. `None`: no socket, or nobody can say.
    pub fn look(
        &mut self,
        access: &DescriptorAccess,
        tid: u32,
        fd: i32,
        peer: bool,
    ) -> Option<SocketState> {
        match access {
            DescriptorAccess::Pidfd(pidfd) => {
                let copy = match sys::pidfd_getfd(pidfd.as_fd(), fd) {
                    Ok(copy) => copy,
                    Err(error) => {
                        self.failed(error);
                        return None;
                    }
                };
                self.ask(copy.as_fd(), peer)
            }
            DescriptorAccess::Proc => {
                let link = std::fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
                let inode = socket_inode(link.to_str()?)?;
                Some(SocketState {
                    cookie: inode | INODE_MARK,
                    identity: None,
                    local: None,
                    peer: None,
                    connecting: false,
                })
            }
        }
    }

    /// Every question costs as much as a tenth of a stop, so none is asked twice or in vain.
    fn ask(&mut self, fd: BorrowedFd<'_>, peer: bool) -> Option<SocketState> {
        let (family, local) = end(fd, SocketEnd::Local)?;
        let cookie = sys::socket_option(fd, libc::SO_COOKIE).ok()?;
        let identity = match self.identities.get(&cookie) {
            Some(identity) => *identity,
            None => identity(fd, family)?,
        };
        // Sends come again and again on one socket; connects do not.
        if peer {
            if self.identities.len() >= NATURES {
                self.identities.clear();
            }
            self.identities.insert(cookie, identity);
        }
        let ask_peer = peer && family == SocketFamily::Inet;
        let peer = ask_peer.then(|| end(fd, SocketEnd::Peer)?.1).flatten();
        let is_stream = identity.kind.style == SocketType::Stream;
        let unconnected = ask_peer && peer.is_none() && is_stream;
        Some(SocketState {
            cookie,
            identity: Some(identity),
            local,
            peer,
            connecting: unconnected && sys::tcp_state(fd) == Ok(TCP_SYN_SENT),
        })
    }
}

fn identity(fd: BorrowedFd<'_>, family: SocketFamily) -> Option<SocketIdentity> {
    let option = |name| sys::socket_option(fd, name).ok();
    let style = if family == SocketFamily::Inet {
        // The protocol alone tells: ping sockets are datagram sockets too, SCTP has streams.
        match option(libc::SO_PROTOCOL)? {
            protocol if TCP_LIKE.contains(&protocol) => SocketType::Stream,
            UDP => SocketType::Datagram,
            _ => SocketType::Other,
        }
    } else {
        match i32::try_from(option(libc::SO_TYPE)?) {
            Ok(libc::SOCK_STREAM) => SocketType::Stream,
            Ok(libc::SOCK_DGRAM) => SocketType::Datagram,
            _ => SocketType::Other,
        }
    };
    Some(SocketIdentity {
        kind: SocketKind { family, style },
        netns: option(sys::SO_NETNS_COOKIE),
    })
}

/// The address of one end, when it has a port, and its family.
fn end(fd: BorrowedFd<'_>, which: SocketEnd) -> Option<(SocketFamily, Option<Endpoint>)> {
    let (bytes, length) = sys::socket_name(fd, which).ok()?;
    let family = match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_INET | libc::AF_INET6 => SocketFamily::Inet,
        libc::AF_UNIX => SocketFamily::Unix,
        libc::AF_NETLINK => SocketFamily::Netlink,
        _ => SocketFamily::Other,
    };
    let end = match crate::decode::sockaddr::parse(&bytes[..length]) {
        Address::Inet(end) if end.port != 0 => Some(end),
        _ => None,
    };
    Some((family, end))
}

/// The inode in `/proc/PID/fd/N`'s `socket:[N]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn our_own_sockets_are_told_apart() {
        let mut sockets = SeenSockets::default();
        let me = std::process::id();
        let access = sockets.access(me, me).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("[::1]:0").unwrap();
        udp.connect("127.0.0.1:53").unwrap();
        let seen = sockets.look(&access, me, udp.as_raw_fd(), true).unwrap();
        assert!(seen.is(SocketFamily::Inet, SocketType::Datagram));
        assert_eq!(seen.local, Some(udp.local_addr().unwrap().into()));
        assert_eq!(seen.peer.map(|p| p.port), Some(53));
        let again = sockets.look(&access, me, udp.as_raw_fd(), false).unwrap();
        assert_eq!((again.cookie, again.peer), (seen.cookie, None));
        let other = sockets.look(&access, me, to.as_raw_fd(), true).unwrap();
        assert_ne!(other.cookie, seen.cookie);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = tcp.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(to).unwrap();
        let stream = sockets.look(&access, me, stream.as_raw_fd(), true).unwrap();
        assert_eq!((stream.peer, stream.connecting), (Some(to.into()), false));
        let tcp = sockets.look(&access, me, tcp.as_raw_fd(), true).unwrap();
        assert!(tcp.is(SocketFamily::Inet, SocketType::Stream));
        let (unix, _other) = UnixDatagram::pair().unwrap();
        let unix = sockets.look(&access, me, unix.as_raw_fd(), true).unwrap();
        assert!(unix.is(SocketFamily::Unix, SocketType::Datagram));
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(sockets.look(&access, me, file.as_raw_fd(), true).is_none());
        assert!(sockets.look(&access, me, -1, true).is_none());
    }

    #[test]
    fn without_thread_pidfds_the_leaders_serves_its_threads() {
        let mut sockets = SeenSockets::new(true);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        let me = std::process::id();
        assert_ne!(tid, me, "tests run in threads");
        let access = sockets.access(tid, me).unwrap();
        let seen = sockets.look(&access, tid, udp.as_raw_fd(), false).unwrap();
        assert_eq!(seen.local, Some(udp.local_addr().unwrap().into()));
    }

    #[test]
    fn a_file_table_of_its_own_leaves_the_inode() {
        let done = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut sockets = SeenSockets::new(true);
            let tid = nix::unistd::gettid().as_raw().unsigned_abs();
            let access = sockets.access(tid, std::process::id()).unwrap();
            assert!(matches!(access, DescriptorAccess::Proc));
            let seen = sockets.look(&access, tid, udp.as_raw_fd(), false).unwrap();
            assert_ne!(seen.cookie & INODE_MARK, 0);
            let mut exact = SeenSockets::default();
            let access = exact.access(tid, std::process::id()).unwrap();
            let exact = exact.look(&access, tid, udp.as_raw_fd(), false).unwrap();
            assert_eq!(exact.local, Some(udp.local_addr().unwrap().into()));
        });
        done.join().unwrap();
    }

    #[test]
    fn inodes_are_read() {
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("anon_inode:[eventpoll]"), None);
    }
}
