//! What is behind a tracee's file descriptor, asked of the kernel at the stop itself. The duplicate that
//! is needed for asking is closed before the look is over, so it never outlives the tracee's own.

use super::sys::{self, End, Result};
use crate::event::{Address, FdNote, SocketFamily, SocketKind, SocketStyle};
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
pub struct Nature {
    /// Family and style; an Internet socket that is neither TCP (or MPTCP) nor UDP has style `Other`.
    pub kind: SocketKind,
    /// Cookie of its network namespace (Linux 5.14).
    pub netns: Option<u64>,
}

/// A socket as it was at the moment of looking.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// `SO_COOKIE`; with [`INODE_MARK`] set an inode number instead.
    pub cookie: u64,
    /// What it is; `None` when only its inode is known.
    pub nature: Option<Nature>,
    /// Its local end, once it has a port.
    pub local: Option<Endpoint>,
    /// Its remote end, when asked for and connected.
    pub peer: Option<Endpoint>,
    /// It has no remote end because its SYN is not answered yet.
    pub connecting: bool,
}

/// Set in an identity that is an inode number, so that it never equals a cookie.
pub const INODE_MARK: u64 = 1 << 63;

impl Socket {
    /// As calls carry it.
    pub fn note(&self) -> FdNote {
        FdNote {
            socket: self.nature.map(|n| n.kind),
            not_a_socket: false,
            identity: Some(self.cookie),
            local: self.local,
            peer: self.peer,
            path: None,
            netns: self.nature.and_then(|n| n.netns),
            exact: true,
        }
    }

    /// Whether it is of this family and style.
    pub fn is(&self, family: SocketFamily, style: SocketStyle) -> bool {
        self.nature.map(|n| n.kind) == Some(SocketKind { family, style })
    }
}

/// How the descriptors of a task are reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// Through a pidfd: of the task itself, or of its leader, which shares its file table.
    Pidfd(Arc<OwnedFd>),
    /// Not at all: a thread with a file table of its own on a kernel before 6.9. `/proc` names the inode.
    Proc,
}

/// What is remembered of the sockets seen.
#[derive(Debug, Default)]
pub struct Sockets {
    /// By cookie.
    natures: HashMap<u64, Nature>,
    /// Descriptors, by process, of streams to others than resolvers: their sends need no second look. Only a connect
    /// makes one a resolver's, and connects are seen.
    plain: HashSet<(u32, i32)>,
    leaders_only: bool,
    /// Looks that failed because presyn had no descriptor left.
    failed: u64,
}

/// More natures than this are forgotten and asked for again: the table must not grow with the run.
const NATURES: usize = 1 << 16;

impl Sockets {
    /// `leaders_only` pretends a kernel before 6.9, which has no pidfds of threads.
    pub fn new(leaders_only: bool) -> Self {
        Self {
            natures: HashMap::new(),
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
    pub fn forget(&mut self, pid: u32) {
        self.plain.retain(|(of, _)| *of != pid);
    }

    /// The best way to the descriptors of a task.
    pub fn way(&self, tid: u32, pid: u32) -> Result<Way> {
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
            Err(Errno::EINVAL) => return Ok(Way::Proc),
            Err(error) => return Err(error),
        };
        Ok(Way::Pidfd(Arc::new(opened)))
    }

    /// Looks at one descriptor. `None`: no socket, or nobody can say.
    pub fn look(&mut self, way: &Way, tid: u32, fd: i32, peer: bool) -> Option<Socket> {
        match way {
            Way::Pidfd(pidfd) => {
                let copy = match sys::pidfd_getfd(pidfd.as_fd(), fd) {
                    Ok(copy) => copy,
                    Err(error) => {
                        self.failed(error);
                        return None;
                    }
                };
                self.ask(copy.as_fd(), peer)
            }
            Way::Proc => {
                let link = std::fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
                let inode = socket_inode(link.to_str()?)?;
                Some(Socket {
                    cookie: inode | INODE_MARK,
                    nature: None,
                    local: None,
                    peer: None,
                    connecting: false,
                })
            }
        }
    }

    /// Every question costs as much as a tenth of a stop, so none is asked twice or in vain.
    fn ask(&mut self, fd: BorrowedFd<'_>, peer: bool) -> Option<Socket> {
        let (family, local) = end(fd, End::Local)?;
        let cookie = sys::socket_option(fd, libc::SO_COOKIE).ok()?;
        let nature = match self.natures.get(&cookie) {
            Some(nature) => *nature,
            None => nature(fd, family)?,
        };
        // Sends come again and again on one socket; connects do not.
        if peer {
            if self.natures.len() >= NATURES {
                self.natures.clear();
            }
            self.natures.insert(cookie, nature);
        }
        let ask_peer = peer && family == SocketFamily::Inet;
        let peer = ask_peer.then(|| end(fd, End::Peer)?.1).flatten();
        let is_stream = nature.kind.style == SocketStyle::Stream;
        let unconnected = ask_peer && peer.is_none() && is_stream;
        Some(Socket {
            cookie,
            nature: Some(nature),
            local,
            peer,
            connecting: unconnected && sys::tcp_state(fd) == Ok(TCP_SYN_SENT),
        })
    }
}

fn nature(fd: BorrowedFd<'_>, family: SocketFamily) -> Option<Nature> {
    let option = |name| sys::socket_option(fd, name).ok();
    let style = if family == SocketFamily::Inet {
        // The protocol alone tells: ping sockets are datagram sockets too, SCTP has streams.
        match option(libc::SO_PROTOCOL)? {
            protocol if TCP_LIKE.contains(&protocol) => SocketStyle::Stream,
            UDP => SocketStyle::Datagram,
            _ => SocketStyle::Other,
        }
    } else {
        match i32::try_from(option(libc::SO_TYPE)?) {
            Ok(libc::SOCK_STREAM) => SocketStyle::Stream,
            Ok(libc::SOCK_DGRAM) => SocketStyle::Datagram,
            _ => SocketStyle::Other,
        }
    };
    Some(Nature {
        kind: SocketKind { family, style },
        netns: option(sys::SO_NETNS_COOKIE),
    })
}

/// The address of one end, when it has a port, and its family.
fn end(fd: BorrowedFd<'_>, which: End) -> Option<(SocketFamily, Option<Endpoint>)> {
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
        let mut sockets = Sockets::default();
        let me = std::process::id();
        let way = sockets.way(me, me).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("[::1]:0").unwrap();
        udp.connect("127.0.0.1:53").unwrap();
        let seen = sockets.look(&way, me, udp.as_raw_fd(), true).unwrap();
        assert!(seen.is(SocketFamily::Inet, SocketStyle::Datagram));
        assert_eq!(seen.local, Some(udp.local_addr().unwrap().into()));
        assert_eq!(seen.peer.map(|p| p.port), Some(53));
        let again = sockets.look(&way, me, udp.as_raw_fd(), false).unwrap();
        assert_eq!((again.cookie, again.peer), (seen.cookie, None));
        let other = sockets.look(&way, me, to.as_raw_fd(), true).unwrap();
        assert_ne!(other.cookie, seen.cookie);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = tcp.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(to).unwrap();
        let stream = sockets.look(&way, me, stream.as_raw_fd(), true).unwrap();
        assert_eq!((stream.peer, stream.connecting), (Some(to.into()), false));
        let tcp = sockets.look(&way, me, tcp.as_raw_fd(), true).unwrap();
        assert!(tcp.is(SocketFamily::Inet, SocketStyle::Stream));
        let (unix, _other) = UnixDatagram::pair().unwrap();
        let unix = sockets.look(&way, me, unix.as_raw_fd(), true).unwrap();
        assert!(unix.is(SocketFamily::Unix, SocketStyle::Datagram));
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(sockets.look(&way, me, file.as_raw_fd(), true).is_none());
        assert!(sockets.look(&way, me, -1, true).is_none());
    }

    #[test]
    fn without_thread_pidfds_the_leaders_serves_its_threads() {
        let mut sockets = Sockets::new(true);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        let me = std::process::id();
        assert_ne!(tid, me, "tests run in threads");
        let way = sockets.way(tid, me).unwrap();
        let seen = sockets.look(&way, tid, udp.as_raw_fd(), false).unwrap();
        assert_eq!(seen.local, Some(udp.local_addr().unwrap().into()));
    }

    #[test]
    fn a_file_table_of_its_own_leaves_the_inode() {
        let done = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut sockets = Sockets::new(true);
            let tid = nix::unistd::gettid().as_raw().unsigned_abs();
            let way = sockets.way(tid, std::process::id()).unwrap();
            assert!(matches!(way, Way::Proc));
            let seen = sockets.look(&way, tid, udp.as_raw_fd(), false).unwrap();
            assert_ne!(seen.cookie & INODE_MARK, 0);
            let mut exact = Sockets::default();
            let way = exact.way(tid, std::process::id()).unwrap();
            let exact = exact.look(&way, tid, udp.as_raw_fd(), false).unwrap();
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
