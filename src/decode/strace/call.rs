//! One complete call, name, arguments and result, to an [`Op`].

use super::outcome::{self, CallEnd};
use super::{address, descriptor, lex, payload, wait};
use crate::event::{
    Address, CallOutcome, Fd, FdNote, Op, PayloadLayout, SocketFamily, SocketKind, SocketType,
    Syscall, Transfer,
};
use crate::time::Span;
use std::sync::Arc;

/// `CLONE_FILES` and `CLONE_THREAD`, Linux `include/uapi/linux/sched.h`.
const CLONE_FILES: i64 = 0x400;
const CLONE_THREAD: i64 = 0x1_0000;

/// A call that was read to its end, or as far as it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What it asked; `None` when that does not matter, or its arguments were not shown.
    pub op: Option<Op>,
    /// What it returned.
    pub outcome: CallOutcome,
    /// How long it took (`-T`).
    pub lasted: Option<Span>,
}

/// Reads a call from behind its opening bracket; `None` when no result stands there (yet).
pub fn read(syscall: Syscall, args: &[u8]) -> Option<Parsed> {
    let list = lex::list(args, b')');
    let ending = if let Some(rest) = list.rest {
        outcome::read(rest)?
    } else {
        // A bracket or quote too many in what strace copied: the last `) = ` is the result.
        let at = args.windows(4).rposition(|w| w == b") = ")?;
        outcome::read(&args[at + 1..])?
    };
    Some(Parsed {
        op: op(
            syscall,
            Arguments {
                items: &list.items,
                ending: Some(&ending),
            },
        ),
        outcome: ending.outcome,
        lasted: ending.lasted,
    })
}

/// Reads a call whose end was never seen.
pub fn read_open(syscall: Syscall, args: &[u8]) -> Parsed {
    let list = lex::list(args, b')');
    let args = Arguments {
        items: &list.items,
        ending: None,
    };
    Parsed {
        op: op(syscall, args),
        outcome: CallOutcome::Unknown,
        lasted: None,
    }
}

/// The arguments and the result of a call.
#[derive(Clone, Copy)]
struct Arguments<'a> {
    items: &'a [&'a [u8]],
    /// `None` when its end was not seen.
    ending: Option<&'a CallEnd<'a>>,
}

impl<'a> Arguments<'a> {
    /// One argument; empty where there is none.
    fn item(self, at: usize) -> &'a [u8] {
        self.items.get(at).copied().unwrap_or_default()
    }

    /// The first argument, as a descriptor.
    fn fd(self) -> Option<Fd> {
        descriptor::fd(self.item(0))
    }

    /// What a call that did not fail returned.
    fn value(self) -> Option<i64> {
        self.ending?.outcome.value()
    }

    /// What follows the `=`.
    fn result(self) -> &'a [u8] {
        self.ending.map_or(&[], |ending| ending.text)
    }

    /// The result, as a descriptor; -1 where the call made none.
    fn new_fd(self) -> Fd {
        let new = descriptor::fd(self.result()).filter(|_| self.value().is_some());
        new.unwrap_or(Fd::bare(-1))
    }

    /// The second argument, as an address.
    fn address(self) -> Address {
        address::read(self.item(1)).unwrap_or(Address::Other("unknown".into()))
    }
}

fn op(syscall: Syscall, args: Arguments) -> Option<Op> {
    Some(match syscall {
        Syscall::SocketCall => return socketcall(args),
        Syscall::Socket => Op::Socket {
            kind: socket_kind(args.item(0), args.item(1)),
            fd: args.new_fd(),
        },
        Syscall::Connect => Op::Connect {
            fd: args.fd()?,
            to: args.address(),
        },
        Syscall::Bind => Op::Bind {
            fd: args.fd()?,
            local: args.address(),
        },
        Syscall::Accept => Op::Accept {
            fd: args.fd()?,
            new: accepted(args.new_fd(), args.item(1)),
        },
        Syscall::GetSockName => Op::LocalName {
            local: returned_address(args)?,
            fd: args.fd()?,
        },
        Syscall::GetPeerName => Op::PeerName {
            peer: returned_address(args)?,
            fd: args.fd()?,
        },
        Syscall::GetSockOpt => option(args)?,
        Syscall::Send(layout) => send(layout, args)?,
        Syscall::Receive(layout) => receive(layout, args)?,
        Syscall::Wait(set, form) => wait::read(set, form, args.items, args.result()),
        Syscall::Restart => wait::resumed(args.items, args.result())?,
        Syscall::Close => Op::Close { fd: args.fd()? },
        Syscall::Dup => duplicate(args)?,
        Syscall::Fcntl if duplicates(args.item(1)) => duplicate(args)?,
        Syscall::Clone => clone(args.items),
        Syscall::Fork => Op::Clone {
            thread: false,
            files: false,
        },
        Syscall::Exec => exec(args.items),
        Syscall::Sleep => Op::Sleep,
        Syscall::IoUringSetup => Op::IoUring,
        Syscall::Fcntl
        | Syscall::Ptrace
        | Syscall::Prctl
        | Syscall::Seccomp
        | Syscall::OtherNetwork
        | Syscall::Memory
        | Syscall::File
        | Syscall::Other
        | Syscall::Unknown => return None,
    })
}

/// `socketcall(SYS_CONNECT, [3, {…}, 16])`
fn socketcall(args: Arguments) -> Option<Op> {
    let Arguments { items, ending } = args;
    let name = items.first()?.strip_prefix(b"SYS_")?.to_ascii_lowercase();
    let syscall = Syscall::named(&name);
    if syscall == Syscall::SocketCall {
        return None;
    }
    let inside;
    let items = match items.get(1)?.first()? {
        b'[' | b'{' if items.len() == 2 => {
            inside = lex::inside(items[1]);
            &inside[..]
        }
        _ => &items[1..],
    };
    op(syscall, Arguments { items, ending })
}

/// The address that a call returned in its second argument; a call that failed returned none.
fn returned_address(args: Arguments) -> Option<Address> {
    args.value()?;
    address::read(args.item(1))
}

fn duplicate(args: Arguments) -> Option<Op> {
    Some(Op::Duplicate {
        fd: args.fd()?,
        new: args.new_fd().number,
    })
}

/// Whether a command of `fcntl` makes another descriptor: `F_DUPFD` is 0 and `F_DUPFD_CLOEXEC` 1030 in raw output
/// (include/uapi/linux/fcntl.h).
fn duplicates(command: &[u8]) -> bool {
    command.starts_with(b"F_DUPFD") || command == b"0" || command == b"0x406"
}

/// `execve("/usr/bin/curl", …)`, `execveat(AT_FDCWD, "curl", …)`
fn exec(items: &[&[u8]]) -> Op {
    let mut first = items.iter().take(2);
    let path = first.find_map(|item| lex::string(item, 4096));
    let (path, _) = path.unwrap_or_default();
    Op::Exec {
        program: String::from_utf8_lossy(&path).into(),
    }
}

fn socket_kind(family: &[u8], style: &[u8]) -> SocketKind {
    let bare = family.get(3..).unwrap_or_default();
    let family = match (lex::number(family).map(|n| n.0), bare) {
        (Some(2 | 10), _) | (_, b"INET" | b"INET6") => SocketFamily::Inet,
        (Some(1), _) | (_, b"UNIX" | b"LOCAL" | b"FILE") => SocketFamily::Unix,
        (Some(16), _) | (_, b"NETLINK") => SocketFamily::Netlink,
        _ => SocketFamily::Other,
    };
    SocketKind {
        family,
        style: socket_style(style),
    }
}

/// `SOCK_DGRAM|SOCK_CLOEXEC`, or the number: its low four bits are the type (`SOCK_TYPE_MASK`, Linux
/// `include/linux/net.h`).
fn socket_style(text: &[u8]) -> SocketType {
    let first = text.split(|b| *b == b'|').next().unwrap_or_default();
    match (first, lex::number(first).map(|n| n.0 & 15)) {
        (b"SOCK_STREAM", _) | (_, Some(1)) => SocketType::Stream,
        (b"SOCK_DGRAM", _) | (_, Some(2)) => SocketType::Datagram,
        (b"", _) => SocketType::Unknown,
        _ => SocketType::Other,
    }
}

fn option(args: Arguments) -> Option<Op> {
    args.value()?;
    let fd = args.fd()?;
    let (level, name, value) = (args.item(1), args.item(2), args.item(3));
    if !(level.starts_with(b"SOL_SOCKET") || matches!(level, b"1" | b"0x1")) {
        return None;
    }
    let value = value.strip_prefix(b"[").and_then(|v| v.strip_suffix(b"]"));
    match name {
        b"SO_TYPE" | b"3" | b"0x3" => Some(Op::SocketTypeIs {
            fd,
            style: socket_style(value?),
        }),
        b"SO_ERROR" | b"4" | b"0x4" => {
            let value = value?;
            let error = match lex::number(value) {
                Some((0, _)) => None,
                Some((number, _)) => Some(outcome::error_name(number)),
                None => Some(Arc::from(String::from_utf8_lossy(value))),
            };
            Some(Op::SocketError { fd, error })
        }
        _ => None,
    }
}

fn clone(items: &[&[u8]]) -> Op {
    let mut thread = false;
    let mut files = false;
    let fields: Vec<&[u8]> = items.iter().flat_map(|item| lex::inside(item)).collect();
    let flags = lex::field(items, b"flags").or_else(|| lex::field(&fields, b"flags"));
    for word in flags.unwrap_or_default().split(|b| *b == b'|') {
        let number = lex::number(word).map_or(0, |n| n.0);
        thread |= word == b"CLONE_THREAD" || number & CLONE_THREAD != 0;
        files |= word == b"CLONE_FILES" || number & CLONE_FILES != 0;
    }
    Op::Clone { thread, files }
}

/// What the descriptor says about its payload: the socket's style, and whether DNS may be in it.
fn payload_hints(fd: &Fd) -> (SocketType, bool) {
    match fd.note.as_deref() {
        Some(FdNote {
            not_a_socket: true, ..
        }) => (SocketType::Unknown, false),
        Some(FdNote {
            socket: Some(kind), ..
        }) => (kind.style, kind.family == SocketFamily::Inet),
        _ => (SocketType::Unknown, true),
    }
}

/// The new descriptor of an `accept`, with the address that the call returned.
fn accepted(mut new: Fd, address: &[u8]) -> Fd {
    let known = new.note.as_ref().is_some_and(|n| n.peer.is_some());
    if let Some(Address::Inet(peer)) = address::read(address).filter(|_| !known) {
        let note = new.note.as_deref().cloned().unwrap_or_default();
        new.note = Some(Arc::new(FdNote {
            peer: Some(peer),
            ..note
        }));
    }
    new
}

fn send(layout: PayloadLayout, args: Arguments) -> Option<Op> {
    let mut fd = args.fd()?;
    let value = args.value();
    let (style, dns) = payload_hints(&fd);
    let mut names: Option<Address> = None;
    let mut messages = Vec::new();
    if layout == PayloadLayout::Headers {
        for (index, (name, bytes, _)) in payload::headers(args.item(1)).into_iter().enumerate() {
            let taken = value.is_some_and(|count| i64::try_from(index).is_ok_and(|i| i < count));
            messages.push(bytes.message(name.as_ref(), taken, style, dns));
            names = names.or(name);
        }
    } else {
        let (name, bytes) = match layout {
            PayloadLayout::Header => payload::header(args.item(1)),
            PayloadLayout::Vector => (None, payload::vector(args.item(1))),
            _ => {
                let bytes = payload::single(args.item(1), args.items.get(2).copied());
                (address::read(args.item(4)), bytes)
            }
        };
        messages.push(Transfer {
            local: bytes.local(true),
            ..bytes.message(name.as_ref(), value.is_some(), style, dns)
        });
        names = name;
    }
    if fd.note.is_none() {
        fd.note = names.as_ref().and_then(family_note);
    }
    Some(Op::Send { fd, messages })
}

/// An address of another family tells what the socket is, where no annotation does.
fn family_note(address: &Address) -> Option<Arc<FdNote>> {
    let family = match address {
        Address::Unix(_) => SocketFamily::Unix,
        Address::Other(name) if &**name == "AF_NETLINK" => SocketFamily::Netlink,
        Address::Other(_) => SocketFamily::Other,
        Address::Inet(_) | Address::Unreadable { .. } | Address::Unspecified => return None,
    };
    Some(Arc::new(FdNote {
        socket: Some(SocketKind {
            family,
            style: SocketType::Unknown,
        }),
        ..FdNote::default()
    }))
}

fn receive(layout: PayloadLayout, args: Arguments) -> Option<Op> {
    let mut fd = args.fd()?;
    let value = args.value();
    let (style, dns) = payload_hints(&fd);
    let mut messages: Vec<Transfer> = Vec::new();
    let mut names = None;
    // What did not come was not received: failed calls and the end of a stream have no message.
    let count = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    if let Some(count) = count {
        if layout == PayloadLayout::Headers {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            for (name, mut bytes, length) in payload::headers(args.item(1)).into_iter().take(count)
            {
                bytes.set_length(length);
                messages.push(bytes.message(name.as_ref(), true, style, dns));
                names = names.or(name);
            }
        } else {
            let (name, mut bytes) = match layout {
                PayloadLayout::Header => payload::header(args.item(1)),
                PayloadLayout::Vector => (None, payload::vector(args.item(1))),
                _ => (
                    address::read(args.item(4)),
                    payload::single(args.item(1), None),
                ),
            };
            bytes.set_length(Some(count));
            messages.push(Transfer {
                local: bytes.local(false),
                ..bytes.message(name.as_ref(), true, style, dns)
            });
            names = name;
        }
    }
    if fd.note.is_none() {
        fd.note = names.as_ref().and_then(family_note);
    }
    Some(Op::Receive { fd, messages })
}
