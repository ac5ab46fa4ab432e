//! The beginning of a call: what it asks for is read from the caller's memory.

use super::{CLONE, Outgoing, Pending, Request, SyscallContext, SyscallEntry, int};
use crate::event::{
    Address, PayloadLayout, SocketFamily, SocketKind, SocketType, Syscall, TimeoutForm, WaitSet,
};
use crate::source::tracer::arguments::{ArgumentReader, Buffer, Set};
use crate::source::tracer::memory::ProcessMemory;
use crate::source::tracer::socket::SocketState;
use crate::time::{Span, Timestamp};

/// Requests of ptrace(2) that ask to trace (linux/ptrace.h).
const TRACEME: u64 = 0;
const ATTACH: u64 = 16;
const SEIZE: u64 = 0x4206;

/// A call that begins: which one, and with which arguments.
struct EnteredCall<'m> {
    reader: ArgumentReader<'m, ProcessMemory<'m>>,
    call: Syscall,
    number: u64,
    arguments: [u64; 6],
    /// The first argument, which is a descriptor in most calls.
    fd: i32,
}

impl SyscallContext<'_> {
    /// Reads a call that begins. `None`: it does not matter, its end need not be seen.
    ///
    /// 1. Connects, binds, the making of datagram sockets, sends that may connect, `io_uring_setup` and what leaves or
    ///    forbids the trace matter in every task, and so do sends that stop for any reason.
    /// 2. Other calls matter in a task that is watched, as long as it is. One that is followed for its sends alone has no
    ///    waits to report.
    pub fn enter(&mut self, entry: SyscallEntry, at: Timestamp) -> Option<Pending> {
        let memory = self.stop.memory();
        let entered = EnteredCall::read(&memory, entry)?;
        let EnteredCall { call, fd, .. } = entered;
        if matches!(call, Syscall::Connect | Syscall::Bind) {
            self.sockets.renew(self.task.pid, fd);
        }
        let (asked, socket) = match call {
            Syscall::Connect => (Request::Connect(entered.remote()?), None),
            Syscall::Bind => (Request::Bind(entered.local()?), None),
            Syscall::Send(
                layout
                @ (PayloadLayout::Addressed | PayloadLayout::Header | PayloadLayout::Headers),
            ) => self.sends(&entered, layout)?,
            Syscall::Socket => (Request::Socket(entered.datagrams()?), None),
            Syscall::IoUringSetup => (Request::IoUring, None),
            Syscall::Ptrace | Syscall::Prctl | Syscall::Seccomp | Syscall::Clone => {
                (Request::Outside(entered.outside()?), None)
            }
            Syscall::Restart => return self.task.restarting.take(),
            _ if self.task.watch.is_open() => self.asked_while_watched(&entered)?,
            _ => return None,
        };
        Some(Pending {
            at,
            fd,
            asked,
            abi: entry.abi,
            call,
            arguments: entered.arguments,
            socket,
        })
    }

    /// What a call of a watched task asks for, and its socket.
    fn asked_while_watched(
        &mut self,
        entered: &EnteredCall<'_>,
    ) -> Option<(Request, Option<SocketState>)> {
        let EnteredCall { call, fd, .. } = *entered;
        Some(match call {
            Syscall::Send(_) => {
                let socket = self.watched(fd)?;
                let message = entered.outgoing(&entered.unaddressed());
                (Request::Send(vec![message]), Some(socket))
            }
            Syscall::Close => {
                let socket = self.watched(fd)?;
                if !self.task.watch.find(fd)?.used_or_due() {
                    // A datagram socket that was made and not used.
                    self.task.watch.end(fd);
                    return None;
                }
                (Request::Close, Some(socket).filter(|s| !has_failed(s)))
            }
            _ if !self.task.watch.waits() => return None,
            Syscall::Receive(_) => (Request::Receive, Some(self.watched(fd)?)),
            Syscall::GetSockOpt | Syscall::GetPeerName => {
                let asked = entered.asks_end()?;
                let connects = self.task.watch.connects_on(fd);
                (asked, Some(self.watched(fd).filter(|_| connects)?))
            }
            Syscall::Wait(set, form) => (entered.wait(set, form), None),
            Syscall::Sleep => (Request::Sleep, None),
            // Read in every task, without a number of their own, or not the tracer's business.
            Syscall::Connect
            | Syscall::Bind
            | Syscall::IoUringSetup
            | Syscall::Ptrace
            | Syscall::Prctl
            | Syscall::Seccomp
            | Syscall::Clone
            | Syscall::Restart
            | Syscall::Socket
            | Syscall::SocketCall
            | Syscall::Accept
            | Syscall::GetSockName
            | Syscall::Dup
            | Syscall::Fcntl
            | Syscall::Fork
            | Syscall::Exec
            | Syscall::OtherNetwork
            | Syscall::Memory
            | Syscall::File
            | Syscall::Other
            | Syscall::Unknown => return None,
        })
    }

    /// The messages of a send, if they may be queries or open a connection; and its socket, where that was looked at.
    fn sends(
        &mut self,
        entered: &EnteredCall<'_>,
        layout: PayloadLayout,
    ) -> Option<(Request, Option<SocketState>)> {
        let (buffers, opens) = entered.addressed(layout);
        let reader = &entered.reader;
        let address = |b: &Buffer| reader.address(b.name.0, b.name.1 as u64);
        let to_resolver = |to: &Address| match to {
            Address::Inet(end) => opens || self.ports.contains(&end.port),
            _ => false,
        };
        let addresses: Vec<_> = buffers.iter().map(address).collect();
        let mut socket = None;
        let named = addresses.iter().any(Option::is_some);
        let wanted = if named {
            addresses.iter().flatten().any(to_resolver)
        } else {
            socket = self.unless_plain(entered.fd);
            self.is_of_interest(entered.fd, &socket?)
        };
        let messages = || buffers.iter().map(|b| entered.outgoing(b)).collect();
        if wanted {
            return Some((Request::Send(messages()), socket));
        }
        let first = self.task.watch.followed_for_sends(entered.fd)?;
        if first.used {
            return None;
        }
        // No resolver's socket: it need not be followed. What it sends later is known by its port.
        self.task.watch.end(entered.fd);
        named.then(|| (Request::SendElsewhere(messages()), None))
    }

    /// The socket of a send that names no address, unless it is known to be of no interest.
    fn unless_plain(&mut self, fd: i32) -> Option<SocketState> {
        if self.sockets.is_plain(self.task.pid, fd) {
            return None;
        }
        self.look(fd, true)
    }

    /// Whether a connected socket leads to a resolver or is watched. One that does not is remembered.
    fn is_of_interest(&mut self, fd: i32, socket: &SocketState) -> bool {
        let watched = self.task.watch.find(fd);
        let wanted = { socket.peer }.is_some_and(|p| self.ports.contains(&p.port))
            || watched.is_some_and(|w| w.cookie == socket.cookie);
        if !wanted && socket.peer.is_some() && socket.is(SocketFamily::Inet, SocketType::Stream) {
            self.sockets.set_plain(self.task.pid, fd);
        }
        wanted
    }
}

impl<'m> EnteredCall<'m> {
    /// Takes a `socketcall` for the call that it stands for.
    fn read(memory: &'m ProcessMemory<'m>, entry: SyscallEntry) -> Option<Self> {
        let reader = ArgumentReader {
            memory,
            abi: entry.abi,
        };
        let mut call = entry.abi.syscall(entry.number)?;
        let mut arguments = entry.arguments;
        if call == Syscall::SocketCall {
            call = Syscall::socketcall(u32::try_from(arguments[0]).ok()?)?;
            let plain = matches!(arguments[0], 9 | 10); // send, recv: four arguments
            arguments = reader.words(arguments[1]);
            if plain {
                arguments[4..].fill(0);
            }
        }
        Some(Self {
            reader,
            call,
            number: entry.number,
            fd: int(arguments[0]),
            arguments,
        })
    }

    /// The kind of a new socket, if it may send DNS messages in datagrams.
    fn datagrams(&self) -> Option<SocketKind> {
        let [family, style, ..] = self.arguments.map(int);
        let internet = matches!(family, libc::AF_INET | libc::AF_INET6);
        // Flags stand above the type's bits.
        (internet && style & 0xf == libc::SOCK_DGRAM).then_some(SocketKind {
            family: SocketFamily::Inet,
            style: SocketType::Datagram,
        })
    }

    /// The address of a connect, if its family matters. One that cannot be read is reported too.
    fn remote(&self) -> Option<Address> {
        match self.reader.address(self.arguments[1], self.arguments[2]) {
            Some(Address::Other(_)) => None,
            Some(address) => Some(address),
            None => Some(Address::Other("unreadable".into())),
        }
    }

    /// The address of a bind, if it is an Internet address.
    fn local(&self) -> Option<Address> {
        let local = self.reader.address(self.arguments[1], self.arguments[2])?;
        matches!(local, Address::Inet(_)).then_some(local)
    }

    /// The name of a call that leaves the trace or that a traced program may be refused.
    fn outside(&self) -> Option<&'static str> {
        let first = self.arguments[0];
        match self.call {
            Syscall::Ptrace if matches!(first, TRACEME | ATTACH | SEIZE) => Some("ptrace"),
            Syscall::Prctl if int(first) == libc::PR_SET_SECCOMP && self.arguments[1] == 1 => {
                Some("seccomp")
            }
            Syscall::Seccomp if first == 0 => Some("seccomp"),
            Syscall::Clone if int(first) & libc::CLONE_UNTRACED != 0 => Some(CLONE),
            _ => None,
        }
    }

    /// The messages of a send that may name addresses, and whether it may open a connection.
    fn addressed(&self, layout: PayloadLayout) -> (Vec<Buffer>, bool) {
        let arguments = &self.arguments;
        let (buffers, flags) = match layout {
            PayloadLayout::Addressed => {
                let mut buffer =
                    ArgumentReader::<ProcessMemory<'_>>::plain(arguments[1], arguments[2]);
                let length = usize::try_from(arguments[5] & 0xffff_ffff).unwrap_or(0);
                buffer.name = (arguments[4], length);
                (vec![buffer], arguments[3])
            }
            PayloadLayout::Header => (vec![self.reader.header(arguments[1])], arguments[2]),
            _ => {
                let headers = self.reader.headers(arguments[1], arguments[2]);
                (headers.into_iter().map(|h| h.0).collect(), arguments[3])
            }
        };
        let opens = flags & u64::from(libc::MSG_FASTOPEN.unsigned_abs()) != 0;
        (buffers, opens)
    }

    /// The message of a `write` or `writev`.
    fn unaddressed(&self) -> Buffer {
        let (at, length) = (self.arguments[1], self.arguments[2]);
        if self.call == Syscall::Send(PayloadLayout::Vector) {
            return self.reader.scattered(at, length);
        }
        ArgumentReader::<ProcessMemory<'_>>::plain(at, length)
    }

    fn outgoing(&self, buffer: &Buffer) -> Outgoing {
        let (bytes, cut) = self.reader.payload(buffer, u64::MAX);
        Outgoing {
            to: self.reader.endpoint(buffer.name.0, buffer.name.1 as u64),
            bytes,
            cut,
            length: buffer.length,
        }
    }

    /// Which question about the end of a connect a `getsockopt` or `getpeername` is, if it is one.
    fn asks_end(&self) -> Option<Request> {
        let option = (int(self.arguments[1]), int(self.arguments[2]));
        match self.call {
            Syscall::GetPeerName => Some(Request::PeerName),
            _ if option == (libc::SOL_SOCKET, libc::SO_ERROR) => Some(Request::SocketError),
            _ => None,
        }
    }

    fn wait(&self, set: WaitSet, form: TimeoutForm) -> Request {
        let arguments = &self.arguments;
        let timeout = arguments[set.timeout_at()];
        let timeout = match form {
            TimeoutForm::Millis => (int(timeout) >= 0).then(|| Span::millis(int(timeout).into())),
            TimeoutForm::Timeval | TimeoutForm::Timespec => {
                let word = self.reader.abi.time_word(self.number);
                self.reader.time(timeout, word, form.fraction())
            }
        };
        let set = match set {
            WaitSet::Poll => Set::Poll(arguments[0]),
            WaitSet::Select => {
                let count = usize::try_from(arguments[0]).unwrap_or(0);
                Set::Select([arguments[1], arguments[2], arguments[3]], count)
            }
            WaitSet::Epoll => Set::Unnamed,
        };
        Request::Wait {
            fds: self.reader.named(&set, arguments[1]),
            set,
            timeout,
        }
    }
}

/// Whether a connect had failed, unnoticed: a socket that has no far end and waits for none was not given up.
fn has_failed(socket: &SocketState) -> bool {
    let stream = socket.is(SocketFamily::Inet, SocketType::Stream);
    stream && socket.peer.is_none() && !socket.connecting
}
