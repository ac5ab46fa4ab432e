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
        op: op(syscall, &list.items, Some(&ending)),
        outcome: ending.outcome,
        lasted: ending.lasted,
    })
}

/// Reads a call whose end was never seen.
pub fn read_open(syscall: Syscall, args: &[u8]) -> Parsed {
    let list = lex::list(args, b')');
    Parsed {
        op: op(syscall, &list.items, None),
        outcome: CallOutcome::Unknown,
        lasted: None,
    }
}

fn op(syscall: Syscall, items: &[&[u8]], ending: Option<&CallEnd>) -> Option<Op> {
    let item = |at: usize| items.get(at).copied().unwrap_or_default();
    let value = ending.and_then(|e| e.outcome.value());
    let result = ending.map_or(&b""[..], |e| e.text);
    let new_fd = || {
        descriptor::fd(result)
            .filter(|_| value.is_some())
            .unwrap_or(Fd::bare(-1))
    };
    let fd = || descriptor::fd(item(0));
    Some(match syscall {
        Syscall::SocketCall => return socketcall(items, ending),
        Syscall::Socket => Op::Socket {
            kind: socket_kind(item(0), item(1)),
            fd: new_fd(),
        },
        Syscall::Connect => Op::Connect {
            fd: fd()?,
            to: address::read(item(1)).unwrap_or(Address::Other("unknown".into())),
        },
        Syscall::Bind => Op::Bind {
            fd: fd()?,
            local: address::read(item(1)).unwrap_or(Address::Other("unknown".into())),
        },
        Syscall::Accept => Op::Accept {
            fd: fd()?,
            new: accepted(new_fd(), item(1)),
        },
        Syscall::GetSockName | Syscall::GetPeerName => {
            value?;
            let (fd, address) = (fd()?, address::read(item(1))?);
            if syscall == Syscall::GetSockName {
                Op::LocalName { fd, local: address }
            } else {
                Op::PeerName { fd, peer: address }
            }
        }
        Syscall::GetSockOpt => {
            value?;
            option(fd()?, item(1), item(2), item(3))?
        }
        Syscall::Send(layout) => send(layout, items, fd()?, ending),
        Syscall::Receive(layout) => receive(layout, items, fd()?, value),
        Syscall::Wait(set, form) => wait::read(set, form, items, result),
        Syscall::Restart => wait::resumed(items, result)?,
        Syscall::Close => Op::Close { fd: fd()? },
        Syscall::Dup => Op::Duplicate {
            fd: fd()?,
            new: new_fd().number,
        },
        Syscall::Fcntl => {
            // F_DUPFD is 0 and F_DUPFD_CLOEXEC 1030 in raw output (include/uapi/linux/fcntl.h).
            if !(item(1).starts_with(b"F_DUPFD") || item(1) == b"0" || item(1) == b"0x406") {
                return None;
            }
            Op::Duplicate {
                fd: fd()?,
                new: new_fd().number,
            }
        }
        Syscall::Clone => clone(items),
        Syscall::Fork => Op::Clone {
            thread: false,
            files: false,
        },
        Syscall::Exec => {
            let path = items
                .iter()
                .take(2)
                .find_map(|item| lex::string(item, 4096));
            let (path, _) = path.unwrap_or_default();
            Op::Exec {
                program: String::from_utf8_lossy(&path).into(),
            }
        }
        Syscall::Sleep => Op::Sleep,
        Syscall::IoUringSetup => Op::IoUring,
        Syscall::Ptrace
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
fn socketcall(items: &[&[u8]], ending: Option<&CallEnd>) -> Option<Op> {
    let name = items.first()?.strip_prefix(b"SYS_")?.to_ascii_lowercase();
    let syscall = Syscall::named(&name);
    if syscall == Syscall::SocketCall {
        return None;
    }
    match items.get(1)?.first()? {
        b'[' | b'{' if items.len() == 2 => op(syscall, &lex::inside(items[1]), ending),
        _ => op(syscall, &items[1..], ending),
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

fn option(fd: Fd, level: &[u8], name: &[u8], value: &[u8]) -> Option<Op> {
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

fn send(layout: PayloadLayout, items: &[&[u8]], mut fd: Fd, ending: Option<&CallEnd>) -> Op {
    let item = |at: usize| items.get(at).copied().unwrap_or_default();
    let value = ending.and_then(|e| e.outcome.value());
    let (style, dns) = payload_hints(&fd);
    let mut names: Option<Address> = None;
    let mut messages = Vec::new();
    if layout == PayloadLayout::Headers {
        for (index, (name, bytes, _)) in payload::headers(item(1)).into_iter().enumerate() {
            let taken = value.is_some_and(|count| i64::try_from(index).is_ok_and(|i| i < count));
            messages.push(bytes.message(name.as_ref(), taken, style, dns));
            names = names.or(name);
        }
    } else {
        let (name, bytes) = match layout {
            PayloadLayout::Header => payload::header(item(1)),
            PayloadLayout::Vector => (None, payload::vector(item(1))),
            _ => {
                let bytes = payload::single(item(1), items.get(2).copied());
                (address::read(item(4)), bytes)
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
    Op::Send { fd, messages }
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

fn receive(layout: PayloadLayout, items: &[&[u8]], mut fd: Fd, value: Option<i64>) -> Op {
    let item = |at: usize| items.get(at).copied().unwrap_or_default();
    let (style, dns) = payload_hints(&fd);
    let mut messages: Vec<Transfer> = Vec::new();
    let mut names = None;
    // What did not come was not received: failed calls and the end of a stream have no message.
    let count = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    if let Some(count) = count {
        if layout == PayloadLayout::Headers {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            for (name, mut bytes, length) in payload::headers(item(1)).into_iter().take(count) {
                bytes.set_length(length);
                messages.push(bytes.message(name.as_ref(), true, style, dns));
                names = names.or(name);
            }
        } else {
            let (name, mut bytes) = match layout {
                PayloadLayout::Header => payload::header(item(1)),
                PayloadLayout::Vector => (None, payload::vector(item(1))),
                _ => (address::read(item(4)), payload::single(item(1), None)),
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
    Op::Receive { fd, messages }
}
