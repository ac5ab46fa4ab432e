//! From the two stops of a system call to one [`Call`]: what it asked for is read when it begins, what came of
//! it when it ends.

use super::abi::{Abi, Kind, SOCKETCALLS};
use super::arguments::{Buffer, Reader, Set};
use super::memory::Memory;
use super::socket::{Socket, Sockets};
use super::stop::Stopped;
use super::task::Traced;
use super::watch::Service;
use crate::event::{Address, Fd, FdNote, Message, Op, Outcome, SocketFamily, SocketStyle};
use crate::flow::Endpoint;
use crate::time::{Span, Timestamp};
use nix::errno::Errno;
use std::sync::Arc;

/// A call that has begun.
#[derive(Clone, Debug)]
pub struct Pending {
    /// When it began.
    pub at: Timestamp,
    /// Its descriptor, for calls on one.
    pub fd: i32,
    /// What it asks for.
    pub asked: Asked,
    abi: Abi,
    kind: Kind,
    arguments: [u64; 6],
    socket: Option<Socket>,
}

/// What a call asks for, as far as it is known when it begins.
#[derive(Clone, Debug)]
pub enum Asked {
    /// `connect`
    Connect(Address),
    /// `bind`
    Bind(Address),
    /// `send` and its like: the bytes of each message, whether they are not all, its address and its length.
    Send(Vec<Outgoing>),
    /// `recv` and its like: read when they have come.
    Receive,
    /// `poll` and its like.
    Wait {
        /// For which descriptors.
        fds: Vec<i32>,
        /// Where they are written, for reading the result.
        set: Set,
        /// How long.
        timeout: Option<Span>,
    },
    /// `close`
    Close,
    /// `nanosleep`
    Sleep,
    /// `io_uring_setup`
    IoUring,
}

/// One message of a send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    to: Option<Endpoint>,
    bytes: Vec<u8>,
    cut: bool,
    length: u64,
}

/// A call's number and arguments as the stop tells them.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The calling convention.
    pub abi: Abi,
    /// The number.
    pub number: u64,
    /// The arguments.
    pub arguments: [u64; 6],
}

/// What both ends of a call need: the stopped task, what is known about it, and the sockets.
pub struct Scene<'a> {
    /// The stop that is looked at.
    pub stop: &'a Stopped,
    /// Its task.
    pub task: &'a mut Traced,
    /// The sockets.
    pub sockets: &'a mut Sockets,
    /// Ports of resolvers.
    pub ports: &'a [u16],
}

/// The int that the low half of an argument is.
fn int(argument: u64) -> i32 {
    u32::try_from(argument & 0xffff_ffff)
        .unwrap_or(0)
        .cast_signed()
}

impl Scene<'_> {
    fn look(&mut self, fd: i32, peer: bool) -> Option<Socket> {
        self.task.look(self.sockets, fd, peer)
    }

    /// The socket behind `fd` if the task is watched for it.
    fn watched(&mut self, fd: i32) -> Option<Socket> {
        let cookie = self.task.watch.find(fd)?.cookie;
        match self.look(fd, true) {
            Some(socket) if socket.cookie == cookie => Some(socket),
            _ => {
                self.task.watch.end(fd);
                None
            }
        }
    }

    /// Reads a call that begins. `None`: it does not matter, its end need not be seen.
    pub fn enter(&mut self, entry: Entry, at: Timestamp) -> Option<Pending> {
        let memory = self.stop.memory();
        let (abi, mut arguments) = (entry.abi, entry.arguments);
        let mut kind = abi.kind(entry.number)?;
        let reader = Reader {
            memory: &memory,
            abi,
        };
        if kind == Kind::SocketCall {
            kind = SOCKETCALLS
                .iter()
                .find(|(which, _)| u64::from(*which) == arguments[0])?
                .1;
            let plain = matches!(arguments[0], 9 | 10); // send, recv: four arguments
            arguments = reader.words(arguments[1]);
            if plain {
                arguments[4..].fill(0);
            }
        }
        let fd = int(arguments[0]);
        let mut socket = None;
        let asked = match kind {
            Kind::Connect => Asked::Connect(matters(&reader, &arguments)?),
            Kind::Bind => match reader.address(arguments[1], arguments[2])? {
                local @ Address::Inet(_) => Asked::Bind(local),
                _ => return None,
            },
            Kind::SendTo | Kind::SendMsg | Kind::SendMmsg => {
                let (of_interest, seen) = self.sends(&reader, kind, fd, &arguments)?;
                socket = seen;
                Asked::Send(of_interest)
            }
            Kind::IoUringSetup => Asked::IoUring,
            Kind::Restart => return self.task.restarting.take(),
            _ if !self.task.watch.is_open() => return None,
            Kind::Write | Kind::Writev => {
                socket = Some(self.watched(fd)?);
                let buffer = if kind == Kind::Write {
                    Reader::<super::memory::ProcessMemory<'_>>::plain(arguments[1], arguments[2])
                } else {
                    reader.scattered(arguments[1], arguments[2])
                };
                Asked::Send(vec![outgoing(&reader, &buffer)])
            }
            Kind::RecvFrom | Kind::RecvMsg | Kind::RecvMmsg | Kind::Read | Kind::Readv => {
                socket = Some(self.watched(fd)?);
                Asked::Receive
            }
            Kind::Close => {
                socket = Some(self.watched(fd)?);
                Asked::Close
            }
            Kind::Poll
            | Kind::Ppoll
            | Kind::Select
            | Kind::Pselect
            | Kind::Epoll
            | Kind::Epoll2 => wait(&reader, kind, &entry, &arguments),
            Kind::Sleep => Asked::Sleep,
            Kind::SocketCall => return None,
        };
        Some(Pending {
            at,
            fd,
            asked,
            abi,
            kind,
            arguments,
            socket,
        })
    }

    /// The messages of a send, if they may be queries or open a connection.
    fn sends<M: Memory>(
        &mut self,
        reader: &Reader<'_, M>,
        kind: Kind,
        fd: i32,
        arguments: &[u64; 6],
    ) -> Option<(Vec<Outgoing>, Option<Socket>)> {
        let (buffers, flags) = match kind {
            Kind::SendTo => {
                let mut buffer = Reader::<M>::plain(arguments[1], arguments[2]);
                let length = usize::try_from(arguments[5] & 0xffff_ffff).unwrap_or(0);
                buffer.name = (arguments[4], length);
                (vec![buffer], arguments[3])
            }
            Kind::SendMsg => (vec![reader.header(arguments[1])], arguments[2]),
            _ => {
                let headers = reader.headers(arguments[1], arguments[2]);
                (headers.into_iter().map(|h| h.0).collect(), arguments[3])
            }
        };
        let opens = flags & u64::from(libc::MSG_FASTOPEN.unsigned_abs()) != 0;
        let named = |b: &Buffer| reader.address(b.name.0, b.name.1 as u64);
        let to_resolver = |to: &Address| match to {
            Address::Inet(end) => opens || self.ports.contains(&end.port),
            _ => false,
        };
        let addresses: Vec<_> = buffers.iter().map(named).collect();
        let mut socket = None;
        let wanted = if addresses.iter().any(Option::is_some) {
            addresses.iter().flatten().any(to_resolver)
        } else {
            socket = self.look(fd, true);
            let seen = socket?;
            seen.peer.is_some_and(|p| self.ports.contains(&p.port))
                || self
                    .task
                    .watch
                    .find(fd)
                    .is_some_and(|w| w.cookie == seen.cookie)
        };
        wanted.then(|| {
            let messages = buffers.iter().map(|b| outgoing(reader, b)).collect();
            (messages, socket)
        })
    }

    /// Reads a call that has ended.
    pub fn leave(&mut self, pending: Pending, result: i64, now: Timestamp) -> (Outcome, Op) {
        let outcome = outcome(result);
        let memory = self.stop.memory();
        let reader = Reader {
            memory: &memory,
            abi: pending.abi,
        };
        let fd = pending.fd;
        let op = match pending.asked {
            Asked::Connect(to) => {
                let socket = self.look(fd, false);
                let mut note = socket.map(|s| s.note());
                let begun = result == 0 || outcome.is_error("EINPROGRESS");
                if let (true, Some(socket)) = (begun, socket) {
                    if let (Address::Inet(peer), Some(note)) = (&to, &mut note) {
                        note.peer = Some(*peer);
                    }
                    self.connected(fd, &to, &socket, now);
                }
                Op::Connect {
                    fd: with_note(fd, note),
                    to,
                }
            }
            Asked::Bind(local) => {
                let note = self.look(fd, false).map(|s| s.note());
                Op::Bind {
                    fd: with_note(fd, note),
                    local,
                }
            }
            Asked::Send(messages) => {
                // An unconnected socket gets its port with its first send.
                let known = pending.socket.filter(|s| s.local.is_some());
                let socket = known.or_else(|| self.look(fd, true));
                let messages = self.sent(fd, socket, messages, pending.kind, result, now);
                Op::Send {
                    fd: with_note(fd, socket.map(|s| s.note())),
                    messages,
                }
            }
            Asked::Receive => {
                let incoming = incoming(&reader, pending.kind, &pending.arguments, result);
                let peek = peeks(pending.kind, &pending.arguments);
                Op::Receive {
                    fd: with_note(fd, pending.socket.map(|s| s.note())),
                    messages: self.received(fd, incoming, peek, now),
                }
            }
            Asked::Wait { fds, set, timeout } => {
                let ready = if result > 0 {
                    reader.ready(&set, pending.arguments[1])
                } else {
                    Vec::new()
                };
                Op::Wait {
                    fds: fds.into_iter().map(Fd::bare).collect(),
                    ready,
                    timeout,
                }
            }
            Asked::Close => {
                self.task.watch.end(fd);
                Op::Close {
                    fd: with_note(fd, pending.socket.map(|s| s.note())),
                }
            }
            Asked::Sleep => Op::Sleep,
            Asked::IoUring => Op::IoUring,
        };
        (outcome, op)
    }

    /// A connect to a resolver or name service begins a watch: the query may follow with `write`.
    fn connected(&mut self, fd: i32, to: &Address, socket: &Socket, now: Timestamp) {
        let service = match to {
            Address::Inet(end) if self.ports.contains(&end.port) => {
                if socket.is(SocketFamily::Inet, SocketStyle::Stream) {
                    stream()
                } else {
                    Service::Datagrams
                }
            }
            Address::Unix(path) if is_name_service(path) => Service::Local,
            _ => return,
        };
        self.task.watch.begin(fd, socket.cookie, service, now);
    }

    fn sent(
        &mut self,
        fd: i32,
        socket: Option<Socket>,
        messages: Vec<Outgoing>,
        kind: Kind,
        result: i64,
        now: Timestamp,
    ) -> Vec<Message> {
        let is_stream = socket.is_some_and(|s| s.is(SocketFamily::Inet, SocketStyle::Stream));
        let taken = |index: usize| match kind {
            Kind::SendMmsg => i64::try_from(index).is_ok_and(|i| i < result),
            _ => result >= 0,
        };
        let mut told = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let taken = taken(index);
            let watched = match (taken, socket) {
                (true, Some(socket)) => {
                    let service = if is_stream {
                        stream()
                    } else {
                        Service::Datagrams
                    };
                    self.task.watch.begin(fd, socket.cookie, service, now)
                }
                _ => None,
            };
            let dns = match watched {
                Some(watched) => watched.sent(message.to, &message.bytes, message.cut, now),
                None if is_stream => Vec::new(),
                None => super::standin::glimpse(&message.bytes, message.cut)
                    .into_iter()
                    .collect(),
            };
            told.push(Message {
                peer: message.to,
                length: u32::try_from(message.length).unwrap_or(u32::MAX),
                taken,
                dns,
            });
        }
        told
    }

    fn received(
        &mut self,
        fd: i32,
        incoming: Vec<Outgoing>,
        peek: bool,
        now: Timestamp,
    ) -> Vec<Message> {
        let mut over = false;
        let mut told = Vec::with_capacity(incoming.len());
        for message in incoming {
            let mut dns = Vec::new();
            if let Some(watched) = self.task.watch.find(fd) {
                if peek {
                    // The same bytes will be read again.
                    watched.last = now;
                } else {
                    let (said, last) =
                        watched.received(message.to, &message.bytes, message.cut, now);
                    (dns, over) = (said, over || last);
                }
            }
            told.push(Message {
                peer: message.to,
                length: u32::try_from(message.length).unwrap_or(u32::MAX),
                taken: true,
                dns,
            });
        }
        if over {
            self.task.watch.end(fd);
        }
        told
    }
}

fn stream() -> Service {
    Service::Stream {
        sent: Vec::new(),
        received: Vec::new(),
    }
}

/// The address of a connect, if its family matters. One that cannot be read is told too.
fn matters<M: Memory>(reader: &Reader<'_, M>, arguments: &[u64; 6]) -> Option<Address> {
    match reader.address(arguments[1], arguments[2]) {
        Some(Address::Other(_)) => None,
        Some(address) => Some(address),
        None => Some(Address::Other("unreadable".into())),
    }
}

fn outgoing<M: Memory>(reader: &Reader<'_, M>, buffer: &Buffer) -> Outgoing {
    let (bytes, cut) = reader.payload(buffer, u64::MAX);
    Outgoing {
        to: reader.endpoint(buffer.name.0, buffer.name.1 as u64),
        bytes,
        cut,
        length: buffer.length,
    }
}

fn peeks(kind: Kind, arguments: &[u64; 6]) -> bool {
    let flags = match kind {
        Kind::RecvFrom | Kind::RecvMmsg => arguments[3],
        Kind::RecvMsg => arguments[2],
        _ => 0,
    };
    flags & u64::from(libc::MSG_PEEK.unsigned_abs()) != 0
}

/// What a receive has brought.
fn incoming<M: Memory>(
    reader: &Reader<'_, M>,
    kind: Kind,
    arguments: &[u64; 6],
    result: i64,
) -> Vec<Outgoing> {
    let Ok(result) = u64::try_from(result) else {
        return Vec::new();
    };
    let buffers = match kind {
        Kind::RecvFrom => {
            let mut buffer = Reader::<M>::plain(arguments[1], arguments[2]);
            if arguments[4] != 0 {
                // The length is where the last argument points, an int.
                let length = reader.memory.array(arguments[5]).map(u32::from_ne_bytes);
                let length = usize::try_from(length.unwrap_or(0)).unwrap_or(0);
                buffer.name = (arguments[4], length);
            }
            vec![(buffer, result)]
        }
        Kind::RecvMsg => vec![(reader.header(arguments[1]), result)],
        Kind::RecvMmsg => reader.headers(arguments[1], result),
        Kind::Readv => vec![(reader.scattered(arguments[1], arguments[2]), result)],
        _ => vec![(Reader::<M>::plain(arguments[1], arguments[2]), result)],
    };
    buffers
        .into_iter()
        .map(|(buffer, length)| {
            let (bytes, cut) = reader.payload(&buffer, length);
            Outgoing {
                to: reader.endpoint(buffer.name.0, buffer.name.1 as u64),
                bytes,
                cut,
                length,
            }
        })
        .collect()
}

fn wait<M: Memory>(
    reader: &Reader<'_, M>,
    kind: Kind,
    entry: &Entry,
    arguments: &[u64; 6],
) -> Asked {
    let time_word = entry.abi.time_word(entry.number);
    let millis = |n: u64| (int(n) >= 0).then(|| Span::millis(int(n).into()));
    let count = usize::try_from(arguments[0]).unwrap_or(0);
    let select = || Set::Select([arguments[1], arguments[2], arguments[3]], count);
    let (set, timeout) = match kind {
        Kind::Poll => (Set::Poll(arguments[0]), millis(arguments[2])),
        Kind::Ppoll => (
            Set::Poll(arguments[0]),
            reader.time(arguments[2], time_word, 1),
        ),
        Kind::Select => (select(), reader.time(arguments[4], time_word, 1000)),
        Kind::Pselect => (select(), reader.time(arguments[4], time_word, 1)),
        Kind::Epoll2 => (Set::Unnamed, reader.time(arguments[3], 8, 1)),
        _ => (Set::Unnamed, millis(arguments[3])),
    };
    Asked::Wait {
        fds: reader.named(&set, arguments[1]),
        set,
        timeout,
    }
}

fn with_note(number: i32, note: Option<FdNote>) -> Fd {
    Fd {
        number,
        note: note.map(Box::new),
    }
}

impl Pending {
    /// The call as it looks before it returns.
    pub fn unfinished(&self, note: Option<FdNote>) -> Op {
        let fd = with_note(self.fd, note.or_else(|| self.socket.map(|s| s.note())));
        match &self.asked {
            Asked::Connect(to) => Op::Connect { fd, to: to.clone() },
            Asked::Bind(local) => Op::Bind {
                fd,
                local: local.clone(),
            },
            Asked::Send(messages) => Op::Send {
                fd,
                messages: messages
                    .iter()
                    .map(|m| Message {
                        peer: m.to,
                        length: u32::try_from(m.length).unwrap_or(u32::MAX),
                        taken: false,
                        dns: Vec::new(),
                    })
                    .collect(),
            },
            Asked::Receive => Op::Receive {
                fd,
                messages: Vec::new(),
            },
            Asked::Wait { fds, timeout, .. } => Op::Wait {
                fds: fds.iter().copied().map(Fd::bare).collect(),
                ready: Vec::new(),
                timeout: *timeout,
            },
            Asked::Close => Op::Close { fd },
            Asked::Sleep => Op::Sleep,
            Asked::IoUring => Op::IoUring,
        }
    }
}

/// Errors that never reach a program (linux/errno.h): the kernel starts the call again.
const RESTARTS: [(i64, &str); 4] = [
    (-512, "ERESTARTSYS"),
    (-513, "ERESTARTNOINTR"),
    (-514, "ERESTARTNOHAND"),
    (-516, "ERESTART_RESTARTBLOCK"),
];

/// Whether the call was interrupted and goes on by `restart_syscall`.
pub fn goes_on(result: i64) -> bool {
    result == -516
}

/// What a call returned, by the value in its register.
pub fn outcome(result: i64) -> Outcome {
    if !(-4095..0).contains(&result) {
        return Outcome::Returned(result);
    }
    if let Some((_, name)) = RESTARTS.iter().find(|(value, _)| *value == result) {
        return Outcome::Failed(Arc::from(*name));
    }
    let number = i32::try_from(-result).unwrap_or(0);
    Outcome::Failed(match Errno::from_raw(number) {
        Errno::UnknownErrno => format!("E{number}").into(),
        known => format!("{known:?}").into(),
    })
}

/// Unix sockets that answer questions about hosts, by a part of their path: nscd and its rewrites, avahi (mdns4),
/// systemd-resolved (nss-resolve), sssd, nslcd, winbind.
const NAME_SERVICES: [&str; 6] = [
    "nscd",
    "avahi-daemon/socket",
    "io.systemd.Resolve",
    "sss/pipes/",
    "nslcd/",
    "winbindd",
];

fn is_name_service(path: &str) -> bool {
    NAME_SERVICES.iter().any(|part| path.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_names() {
        assert_eq!(outcome(7), Outcome::Returned(7));
        assert!(outcome(-115).is_error("EINPROGRESS"));
        assert!(outcome(-11).is_error("EAGAIN"));
        assert!(outcome(-512).is_error("ERESTARTSYS"));
        assert_eq!(outcome(-5000), Outcome::Returned(-5000));
    }

    #[test]
    fn name_services_are_known_by_their_sockets() {
        for path in [
            "/var/run/nscd/socket",
            "/run/systemd/resolve/io.systemd.Resolve",
        ] {
            assert!(is_name_service(path), "{path}");
        }
        assert!(!is_name_service("/run/user/1000/bus"));
    }
}
