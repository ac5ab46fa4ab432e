//! The end of a call: what came of it, and what it means for the open lookups.

use super::outcome::outcome;
use super::{Outgoing, Pending, Request, SyscallContext, other, with_note};
use crate::event::dns::Message;
use crate::event::{
    Address, CallOutcome, Errno, Fd, Op, PayloadLayout, SocketFamily, SocketKind, SocketType,
    Syscall, Transfer,
};
use crate::source::tracer::arguments::{ArgumentReader, Set};
use crate::source::tracer::memory::Memory;
use crate::source::tracer::socket::SocketState;
use crate::source::tracer::watch::WatchedService;
use crate::time::Timestamp;

/// A call that returned: which one, with which arguments, what and when.
#[derive(Clone, Copy)]
struct ReturnedCall {
    call: Syscall,
    arguments: [u64; 6],
    fd: i32,
    /// Its socket, where that was looked at when the call began.
    socket: Option<SocketState>,
    result: i64,
    at: Timestamp,
}

impl ReturnedCall {
    /// The descriptor with what was seen of its socket.
    fn noted_fd(&self) -> Fd {
        with_note(self.fd, self.socket.map(|s| s.note()))
    }

    /// The far end of its socket.
    fn peer_name(&self) -> Op {
        match self.socket.and_then(|s| s.peer) {
            Some(peer) => Op::PeerName {
                fd: self.noted_fd(),
                peer: Address::Inet(peer),
            },
            None => other("getpeername"),
        }
    }
}

impl SyscallContext<'_> {
    /// Reads a call that has ended.
    pub fn leave(&mut self, pending: Pending, result: i64, now: Timestamp) -> (CallOutcome, Op) {
        let outcome = outcome(result);
        let memory = self.stop.memory();
        let reader = ArgumentReader {
            memory: &memory,
            abi: pending.abi,
        };
        let returned = ReturnedCall {
            call: pending.call,
            arguments: pending.arguments,
            fd: pending.fd,
            socket: pending.socket,
            result,
            at: now,
        };
        let fd = pending.fd;
        let op = match pending.asked {
            Request::Connect(to) => {
                let begun = result == 0 || outcome.errno() == Some(Errno::InProgress);
                self.connect(&returned, to, begun)
            }
            Request::Bind(local) => {
                let note = self.look(fd, false).map(|s| s.note());
                Op::Bind {
                    fd: with_note(fd, note),
                    local,
                }
            }
            Request::Send(messages) => self.send(returned, messages),
            Request::SendElsewhere(messages) => self.send_elsewhere(&returned, &messages),
            Request::Socket(kind) => self.made(&returned, kind),
            Request::Receive => {
                let incoming = incoming(&reader, &returned);
                Op::Receive {
                    fd: returned.noted_fd(),
                    messages: self.received(&returned, incoming),
                }
            }
            Request::Wait { fds, set, timeout } => Op::Wait {
                fds: fds.into_iter().map(Fd::bare).collect(),
                ready: ready(&reader, &returned, &set),
                timeout,
            },
            Request::Close => {
                self.task.watch.end(fd);
                Op::Close {
                    fd: returned.noted_fd(),
                }
            }
            Request::SocketError => {
                let value = memory.array(pending.arguments[3]).map(i32::from_ne_bytes);
                connect_error(&returned, value.filter(|_| result == 0))
            }
            Request::PeerName => returned.peer_name(),
            Request::Sleep => Op::Sleep,
            Request::IoUring => Op::IoUring,
            Request::Outside(name) => other(name),
        };
        self.end_connect(fd, &op, &outcome);
        (outcome, op)
    }

    /// A send to others than resolvers, which has given its socket a port.
    fn send_elsewhere(&mut self, returned: &ReturnedCall, messages: &[Outgoing]) -> Op {
        let taken = returned.result >= 0;
        let note = self.look(returned.fd, false).map(|s| s.note());
        Op::Send {
            fd: with_note(returned.fd, note),
            messages: messages.iter().map(|m| m.transfer(taken)).collect(),
        }
    }

    /// A datagram socket that was made. Its task is followed to the first use of it.
    fn made(&mut self, returned: &ReturnedCall, kind: SocketKind) -> Op {
        let fd = i32::try_from(returned.result).unwrap_or(-1).max(-1);
        let mut socket = None;
        if fd >= 0 {
            self.sockets.renew(self.task.pid, fd);
            socket = self.look(fd, false);
        }
        // Ping sockets are datagram sockets too (icmp(7)).
        if let Some(new) = socket.filter(|s| s.is(SocketFamily::Inet, SocketType::Datagram)) {
            self.task.watch.follow_new(fd, new.cookie, returned.at);
        }
        Op::Socket {
            kind,
            fd: with_note(fd, socket.map(|s| s.note())),
        }
    }

    /// A connect; when it has `begun`, that is succeeded or goes on, its socket has this far end.
    fn connect(&mut self, returned: &ReturnedCall, to: Address, begun: bool) -> Op {
        let socket = self.look(returned.fd, false);
        let mut note = socket.map(|s| s.note());
        if let (true, Some(socket)) = (begun, socket) {
            if let (Address::Inet(peer), Some(note)) = (&to, &mut note) {
                note.peer = Some(*peer);
            }
            self.connected(returned, &to, &socket);
        }
        Op::Connect {
            fd: with_note(returned.fd, note),
            to,
        }
    }

    /// A send. An unconnected socket gets its port with its first one.
    fn send(&mut self, returned: ReturnedCall, messages: Vec<Outgoing>) -> Op {
        let known = returned.socket.filter(|s| s.local.is_some());
        let returned = ReturnedCall {
            socket: known.or_else(|| self.look(returned.fd, true)),
            ..returned
        };
        Op::Send {
            messages: self.sent(&returned, messages),
            fd: returned.noted_fd(),
        }
    }

    /// A connect that was watched is over when its end was asked for, or its socket used.
    fn end_connect(&mut self, fd: i32, op: &Op, outcome: &CallOutcome) {
        let goes_on = matches!(
            outcome.errno(),
            Some(Errno::InProgress | Errno::Already | Errno::Again)
        );
        let over = match op {
            Op::Connect { .. } | Op::Send { .. } | Op::Receive { .. } => !goes_on,
            Op::SocketError { .. } | Op::PeerName { .. } => true,
            _ => false,
        };
        if over && self.task.watch.connects_on(fd) {
            self.task.watch.end(fd);
        }
    }

    /// A connect to a resolver or name service begins a watch: the query may follow with `write`. So does one that goes
    /// on in the background: how it ends, later calls tell.
    fn connected(&mut self, returned: &ReturnedCall, to: &Address, socket: &SocketState) {
        let ReturnedCall { fd, at, .. } = *returned;
        let background = returned.result != 0;
        let service = match to {
            Address::Inet(end) if self.ports.contains(&end.port) => {
                if socket.is(SocketFamily::Inet, SocketType::Stream) {
                    stream()
                } else {
                    WatchedService::Datagrams
                }
            }
            Address::Inet(_) if background && socket.is(SocketFamily::Inet, SocketType::Stream) => {
                return self.task.watch.begin_connect(fd, socket.cookie, at);
            }
            Address::Unix(path) if is_name_service(path) => WatchedService::Local,
            // It has lost its port as well, and may be used for anything.
            Address::Unspecified if socket.is(SocketFamily::Inet, SocketType::Datagram) => {
                return self.task.watch.follow_new(fd, socket.cookie, at);
            }
            _ => {
                // Whatever it sends goes there.
                if self.task.watch.followed_for_sends(fd).is_some() {
                    self.task.watch.end(fd);
                }
                return;
            }
        };
        self.task.watch.begin(fd, socket.cookie, service, at);
    }

    fn sent(&mut self, returned: &ReturnedCall, messages: Vec<Outgoing>) -> Vec<Transfer> {
        let taken = |index: usize| match returned.call {
            Syscall::Send(PayloadLayout::Headers) => {
                i64::try_from(index).is_ok_and(|i| i < returned.result)
            }
            _ => returned.result >= 0,
        };
        let mut told = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let taken = taken(index);
            told.push(Transfer {
                dns: self.dns_sent(returned, &message, taken),
                ..message.transfer(taken)
            });
        }
        told
    }

    /// The DNS messages in one message of a send. One that was taken begins a watch of its socket; what was not is
    /// looked into all the same, unless it is a piece of a stream.
    fn dns_sent(
        &mut self,
        returned: &ReturnedCall,
        message: &Outgoing,
        taken: bool,
    ) -> Vec<Message> {
        let ReturnedCall { fd, at, socket, .. } = *returned;
        let is_stream = socket.is_some_and(|s| s.is(SocketFamily::Inet, SocketType::Stream));
        let watched = socket.filter(|_| taken).and_then(|socket| {
            let service = if is_stream {
                stream()
            } else {
                WatchedService::Datagrams
            };
            self.task.watch.begin(fd, socket.cookie, service, at)
        });
        match watched {
            Some(watched) => watched.sent(message.to, &message.bytes, message.cut, at),
            None if is_stream => Vec::new(),
            None => crate::decode::dns::glimpse(&message.bytes, message.cut)
                .into_iter()
                .collect(),
        }
    }

    fn received(&mut self, returned: &ReturnedCall, incoming: Vec<Outgoing>) -> Vec<Transfer> {
        let ReturnedCall { fd, at, .. } = *returned;
        let peek = peeks(returned.call, &returned.arguments);
        let mut over = false;
        let mut told = Vec::with_capacity(incoming.len());
        for message in incoming {
            let mut dns = Vec::new();
            if let Some(watched) = self.task.watch.find(fd) {
                if peek {
                    // The same bytes will be read again.
                    watched.last = at;
                } else {
                    let (said, last) =
                        watched.received(message.to, &message.bytes, message.cut, at);
                    (dns, over) = (said, over || last);
                }
            }
            told.push(Transfer {
                dns,
                ..message.transfer(true)
            });
        }
        if over {
            self.task.watch.follow_sends(fd);
        }
        told
    }
}

/// What `SO_ERROR` said of a connect. That there is no error says nothing while the connect goes on.
fn connect_error(returned: &ReturnedCall, value: Option<i32>) -> Op {
    let error = match value {
        Some(0) if returned.socket.is_some_and(|s| s.peer.is_some()) => None,
        Some(number) if number > 0 => match super::outcome::outcome(-i64::from(number)) {
            CallOutcome::Failed(name) => Some(name),
            CallOutcome::Returned(_) | CallOutcome::Unknown => return other("getsockopt"),
        },
        _ => return other("getsockopt"),
    };
    Op::SocketError {
        fd: returned.noted_fd(),
        error,
    }
}

fn stream() -> WatchedService {
    WatchedService::Stream {
        sent: Vec::new(),
        received: Vec::new(),
    }
}

fn peeks(call: Syscall, arguments: &[u64; 6]) -> bool {
    let flags = match call {
        Syscall::Receive(PayloadLayout::Addressed | PayloadLayout::Headers) => arguments[3],
        Syscall::Receive(PayloadLayout::Header) => arguments[2],
        _ => 0,
    };
    flags & u64::from(libc::MSG_PEEK.unsigned_abs()) != 0
}

/// The descriptors that a wait found ready; none when it timed out or failed.
fn ready<M: Memory>(
    reader: &ArgumentReader<'_, M>,
    returned: &ReturnedCall,
    set: &Set,
) -> Vec<i32> {
    if returned.result > 0 {
        reader.ready(set, returned.arguments[1])
    } else {
        Vec::new()
    }
}

/// What a receive has brought.
fn incoming<M: Memory>(reader: &ArgumentReader<'_, M>, returned: &ReturnedCall) -> Vec<Outgoing> {
    let arguments = &returned.arguments;
    let Ok(result) = u64::try_from(returned.result) else {
        return Vec::new();
    };
    let buffers = match returned.call {
        Syscall::Receive(PayloadLayout::Addressed) => {
            let mut buffer = ArgumentReader::<M>::plain(arguments[1], arguments[2]);
            if arguments[4] != 0 {
                // The length is where the last argument points, an int.
                let length = reader.memory.array(arguments[5]).map(u32::from_ne_bytes);
                let length = usize::try_from(length.unwrap_or(0)).unwrap_or(0);
                buffer.name = (arguments[4], length);
            }
            vec![(buffer, result)]
        }
        Syscall::Receive(PayloadLayout::Header) => vec![(reader.header(arguments[1]), result)],
        Syscall::Receive(PayloadLayout::Headers) => reader.headers(arguments[1], result),
        Syscall::Receive(PayloadLayout::Vector) => {
            vec![(reader.scattered(arguments[1], arguments[2]), result)]
        }
        _ => vec![(
            ArgumentReader::<M>::plain(arguments[1], arguments[2]),
            result,
        )],
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
