//! The beginning of a call: what it asks for is read from the caller's memory.

use super::{CLONE, Outgoing, Pending, Request, SyscallContext, SyscallEntry, int};
use crate::event::{
    Address, PayloadLayout, SocketFamily, SocketType, Syscall, TimeoutForm, WaitSet,
};
use crate::source::tracer::arguments::{ArgumentReader, Buffer, Set};
use crate::source::tracer::memory::{Memory, ProcessMemory};
use crate::source::tracer::socket::SocketState;
use crate::time::{Span, Timestamp};

/// Requests of ptrace(2) that ask to trace (linux/ptrace.h).
const TRACEME: u64 = 0;
const ATTACH: u64 = 16;
const SEIZE: u64 = 0x4206;

impl SyscallContext<'_> {
    /// Reads a call that begins. `None`: it does not matter, its end need not be seen.
    pub fn enter(&mut self, entry: SyscallEntry, at: Timestamp) -> Option<Pending> {
        let memory = self.stop.memory();
        let (abi, mut arguments) = (entry.abi, entry.arguments);
        let mut call = abi.syscall(entry.number)?;
        let reader = ArgumentReader {
            memory: &memory,
            abi,
        };
        if call == Syscall::SocketCall {
            call = Syscall::socketcall(u32::try_from(arguments[0]).ok()?)?;
            let plain = matches!(arguments[0], 9 | 10); // send, recv: four arguments
            arguments = reader.words(arguments[1]);
            if plain {
                arguments[4..].fill(0);
            }
        }
        let fd = int(arguments[0]);
        if matches!(call, Syscall::Connect | Syscall::Bind) {
            self.sockets.renew(self.task.pid, fd);
        }
        let mut socket = None;
        let asked = match call {
            Syscall::Connect => Request::Connect(matters(&reader, &arguments)?),
            Syscall::Bind => match reader.address(arguments[1], arguments[2])? {
                local @ Address::Inet(_) => Request::Bind(local),
                _ => return None,
            },
            Syscall::Send(
                layout
                @ (PayloadLayout::Addressed | PayloadLayout::Header | PayloadLayout::Headers),
            ) => {
                let (of_interest, seen) = self.sends(&reader, layout, fd, &arguments)?;
                socket = seen;
                Request::Send(of_interest)
            }
            Syscall::IoUringSetup => Request::IoUring,
            Syscall::Ptrace if matches!(arguments[0], TRACEME | ATTACH | SEIZE) => {
                Request::Outside("ptrace")
            }
            Syscall::Prctl if int(arguments[0]) == libc::PR_SET_SECCOMP && arguments[1] == 1 => {
                Request::Outside("seccomp")
            }
            Syscall::Seccomp if arguments[0] == 0 => Request::Outside("seccomp"),
            Syscall::Clone if int(arguments[0]) & libc::CLONE_UNTRACED != 0 => {
                Request::Outside(CLONE)
            }
            Syscall::Ptrace | Syscall::Prctl | Syscall::Seccomp | Syscall::Clone => return None,
            Syscall::Restart => return self.task.restarting.take(),
            _ if !self.task.watch.is_open() => return None,
            Syscall::Send(layout @ (PayloadLayout::Plain | PayloadLayout::Vector)) => {
                socket = Some(self.watched(fd)?);
                let buffer = if layout == PayloadLayout::Plain {
                    ArgumentReader::<ProcessMemory<'_>>::plain(arguments[1], arguments[2])
                } else {
                    reader.scattered(arguments[1], arguments[2])
                };
                Request::Send(vec![outgoing(&reader, &buffer)])
            }
            Syscall::Receive(_) => {
                socket = Some(self.watched(fd)?);
                Request::Receive
            }
            Syscall::Close => {
                socket = Some(self.watched(fd)?).filter(|s| !has_failed(s));
                Request::Close
            }
            Syscall::GetSockOpt | Syscall::GetPeerName => {
                let (asked, seen) = self.asks_end(call, fd, &arguments)?;
                socket = Some(seen);
                asked
            }
            Syscall::Wait(set, form) => wait(&reader, (set, form), &entry, &arguments),
            Syscall::Sleep => Request::Sleep,
            // Without a number of their own, or not the tracer's business.
            Syscall::SocketCall
            | Syscall::Socket
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
        };
        Some(Pending {
            at,
            fd,
            asked,
            abi,
            call,
            arguments,
            socket,
        })
    }

    /// A call that asks how a connect ended, if it is one that is watched.
    fn asks_end(
        &mut self,
        call: Syscall,
        fd: i32,
        arguments: &[u64; 6],
    ) -> Option<(Request, SocketState)> {
        let asked = match call {
            Syscall::GetPeerName => Request::PeerName,
            _ if asks_error(arguments) => Request::SocketError,
            _ => return None,
        };
        let connects = self.task.watch.connects_on(fd);
        Some((asked, self.watched(fd).filter(|_| connects)?))
    }

    /// The messages of a send, if they may be queries or open a connection.
    fn sends<M: Memory>(
        &mut self,
        reader: &ArgumentReader<'_, M>,
        layout: PayloadLayout,
        fd: i32,
        arguments: &[u64; 6],
    ) -> Option<(Vec<Outgoing>, Option<SocketState>)> {
        let (buffers, flags) = match layout {
            PayloadLayout::Addressed => {
                let mut buffer = ArgumentReader::<M>::plain(arguments[1], arguments[2]);
                let length = usize::try_from(arguments[5] & 0xffff_ffff).unwrap_or(0);
                buffer.name = (arguments[4], length);
                (vec![buffer], arguments[3])
            }
            PayloadLayout::Header => (vec![reader.header(arguments[1])], arguments[2]),
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
        } else if self.sockets.is_plain(self.task.pid, fd) {
            false
        } else {
            socket = self.look(fd, true);
            let seen = socket?;
            let wanted = seen.peer.is_some_and(|p| self.ports.contains(&p.port))
                || self
                    .task
                    .watch
                    .find(fd)
                    .is_some_and(|w| w.cookie == seen.cookie);
            if !wanted && seen.peer.is_some() && seen.is(SocketFamily::Inet, SocketType::Stream) {
                self.sockets.set_plain(self.task.pid, fd);
            }
            wanted
        };
        wanted.then(|| {
            let messages = buffers.iter().map(|b| outgoing(reader, b)).collect();
            (messages, socket)
        })
    }
}

/// The address of a connect, if its family matters. One that cannot be read is told too.
fn matters<M: Memory>(reader: &ArgumentReader<'_, M>, arguments: &[u64; 6]) -> Option<Address> {
    match reader.address(arguments[1], arguments[2]) {
        Some(Address::Other(_)) => None,
        Some(address) => Some(address),
        None => Some(Address::Other("unreadable".into())),
    }
}

/// Whether a connect had failed, unnoticed: a socket that has no far end and waits for none was not given up.
fn has_failed(socket: &SocketState) -> bool {
    let stream = socket.is(SocketFamily::Inet, SocketType::Stream);
    stream && socket.peer.is_none() && !socket.connecting
}

/// Whether a `getsockopt` asks how a connect ended.
fn asks_error(arguments: &[u64; 6]) -> bool {
    (int(arguments[1]), int(arguments[2])) == (libc::SOL_SOCKET, libc::SO_ERROR)
}

fn outgoing<M: Memory>(reader: &ArgumentReader<'_, M>, buffer: &Buffer) -> Outgoing {
    let (bytes, cut) = reader.payload(buffer, u64::MAX);
    Outgoing {
        to: reader.endpoint(buffer.name.0, buffer.name.1 as u64),
        bytes,
        cut,
        length: buffer.length,
    }
}

fn wait<M: Memory>(
    reader: &ArgumentReader<'_, M>,
    (set, form): (WaitSet, TimeoutForm),
    entry: &SyscallEntry,
    arguments: &[u64; 6],
) -> Request {
    let timeout = arguments[set.timeout_at()];
    let timeout = match form {
        TimeoutForm::Millis => (int(timeout) >= 0).then(|| Span::millis(int(timeout).into())),
        TimeoutForm::Timeval | TimeoutForm::Timespec => {
            reader.time(timeout, entry.abi.time_word(entry.number), form.fraction())
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
        fds: reader.named(&set, arguments[1]),
        set,
        timeout,
    }
}
