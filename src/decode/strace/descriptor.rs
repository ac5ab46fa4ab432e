//! File descriptors and their annotations (`-y`, `-yy`).

use super::lex;
use crate::event::{Fd, FdNote, SocketFamily, SocketKind, SocketType};
use crate::flow::Endpoint;
use std::net::IpAddr;
use std::sync::Arc;

/// How long a path in an annotation may be: `PATH_MAX` (Linux `include/uapi/linux/limits.h`).
const MAX_PATH: usize = 4096;

/// Reads `3`, `3<socket:[7]>`, `-1`; `None` for anything else. What follows is ignored.
pub fn fd(text: &[u8]) -> Option<Fd> {
    let (number, rest) = lex::number(text)?;
    let number = i32::try_from(number)
        // -1 and AT_FDCWD are printed unsigned by some versions.
        .or_else(|_| u32::try_from(number).map(u32::cast_signed))
        .ok()?;
    let note = annotation(rest).map(|text| Arc::new(note(text)));
    Some(Fd { number, note })
}

/// The annotation's inside, if one follows.
fn annotation(rest: &[u8]) -> Option<&[u8]> {
    if rest.first() != Some(&b'<') {
        return None;
    }
    let end = lex::annotation_end(rest, 0).unwrap_or(rest.len());
    rest.get(1..end.saturating_sub(1))
}

/// Whether the annotation says at first sight that the descriptor is no socket.
pub fn is_plainly_no_socket(args: &[u8]) -> bool {
    let digits = args.iter().take_while(|b| b.is_ascii_digit()).count();
    match args[digits..].strip_prefix(b"<") {
        Some(note) => {
            note.starts_with(b"/") || note.starts_with(b"pipe:") || note.starts_with(b"anon_inode:")
        }
        None => false,
    }
}

/// What the kernel calls objects that are no sockets, before `:[…]`.
const NO_SOCKETS: [&[u8]; 10] = [
    b"pipe",
    b"anon_inode",
    b"net",
    b"mnt",
    b"user",
    b"pid",
    b"uts",
    b"ipc",
    b"cgroup",
    b"time",
];

fn note(text: &[u8]) -> FdNote {
    let decoded;
    let text = if text.starts_with(b"\\") {
        decoded = lex::unescape(text, MAX_PATH);
        &decoded[..]
    } else {
        text
    };
    match name_and_inside(text) {
        Some((name, inside)) if !NO_SOCKETS.contains(&name) => socket_note(kind(name), inside),
        _ => FdNote {
            not_a_socket: true,
            path: Some(lossy(text)),
            ..FdNote::default()
        },
    }
}

/// Splits `name:[inside]`; a path has no such form.
fn name_and_inside(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|b| *b == b':')?;
    let inside = text[colon + 1..].strip_prefix(b"[")?;
    Some((&text[..colon], inside.strip_suffix(b"]").unwrap_or(inside)))
}

/// `TCP:[local->peer]`, `UDP:[local]`, `UNIX-STREAM:[inode->peer,"path"]`, `socket:[inode]`.
fn socket_note(kind: Option<SocketKind>, inside: &[u8]) -> FdNote {
    let mut note = FdNote {
        socket: kind,
        ..FdNote::default()
    };
    match kind.map(|kind| kind.family) {
        Some(SocketFamily::Inet) => match (arrow(inside), integer(inside)) {
            (Some((local, peer)), _) => {
                note.local = endpoint(local);
                note.peer = endpoint(peer);
            }
            (None, Some(inode)) => note.identity = Some(inode),
            (None, None) => note.local = endpoint(inside),
        },
        Some(SocketFamily::Unix) => {
            note.identity = lex::number(inside).and_then(|(inode, _)| u64::try_from(inode).ok());
            note.path = unix_path(inside);
        }
        _ => note.identity = integer(inside),
    }
    note
}

/// The quoted path of a unix socket; `@` before the quote marks an abstract name (unix(7)).
fn unix_path(inside: &[u8]) -> Option<Box<str>> {
    let at = inside.iter().position(|b| *b == b'"')?;
    let path = lossy(&lex::unescape(&inside[at + 1..], MAX_PATH));
    if inside[..at].ends_with(b"@") {
        return Some(format!("@{path}").into());
    }
    Some(path)
}

/// The socket kind that strace's protocol names stand for (its `socketutils.c`); `socket` says nothing.
fn kind(name: &[u8]) -> Option<SocketKind> {
    use SocketFamily::{Inet, Netlink, Other as OtherFamily, Unix};
    use SocketType::{Datagram, Other, Stream, Unknown};
    let (family, style) = match name {
        b"socket" => return None,
        b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" | b"SMC" => (Inet, Stream),
        b"UDP" | b"UDPv6" | b"UDPLITE" | b"UDPLITEv6" => (Inet, Datagram),
        b"RAW" | b"RAWv6" | b"PING" | b"PINGv6" | b"DCCP" | b"DCCPv6" | b"SCTP" | b"SCTPv6"
        | b"ICMP" | b"ICMPv6" => (Inet, Other),
        b"UNIX" => (Unix, Unknown),
        b"UNIX-STREAM" | b"UNIX STREAM" => (Unix, Stream),
        b"UNIX-DGRAM" | b"UNIX DGRAM" => (Unix, Datagram),
        _ if name.starts_with(b"UNIX") => (Unix, Other),
        _ if name.starts_with(b"NETLINK") => (Netlink, Other),
        _ => (OtherFamily, Unknown),
    };
    Some(SocketKind { family, style })
}

fn arrow(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = lex::find(text, b"->")?;
    Some((&text[..at], &text[at + 2..]))
}

/// `10.0.1.93:53`, `[::1]:53`, and without brackets `:::21`, `::ffff:1.2.3.4:21`; scope ids are dropped.
fn endpoint(text: &[u8]) -> Option<Endpoint> {
    let text = std::str::from_utf8(text).ok()?;
    let (ip, port) = text.rsplit_once(':')?;
    let ip = ip.strip_prefix('[').unwrap_or(ip);
    let ip = ip.strip_suffix(']').unwrap_or(ip);
    Some(Endpoint::new(address(ip)?, port.parse().ok()?))
}

/// An address without its scope (`fe80::1%eth0`).
pub fn address(text: &str) -> Option<IpAddr> {
    let bare = text.split_once('%').map_or(text, |(bare, _)| bare);
    bare.parse().ok()
}

fn integer(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn lossy(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&text[..text.len().min(MAX_PATH)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(text: &str) -> FdNote {
        fd(text.as_bytes()).unwrap().note.unwrap().as_ref().clone()
    }

    fn end(text: &str) -> Option<Endpoint> {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(Endpoint::from)
    }

    #[test]
    fn numbers() {
        assert_eq!(fd(b"3, x"), Some(Fd::bare(3)));
        assert_eq!(fd(b"-1"), Some(Fd::bare(-1)));
        assert_eq!(fd(b"4294967196"), Some(Fd::bare(-100)));
        assert_eq!(fd(b"AT_FDCWD"), None);
    }

    #[test]
    fn internet_sockets() {
        let udp = noted("7<UDP:[10.0.1.10:39114->10.0.1.93:53]>");
        assert_eq!(
            (udp.local, udp.peer),
            (end("10.0.1.10:39114"), end("10.0.1.93:53"))
        );
        assert_eq!(udp.socket.unwrap().style, SocketType::Datagram);
        assert_eq!(noted("3<UDP:[6406476]>").identity, Some(6_406_476));
        assert_eq!(noted("3<UDP:[0.0.0.0:53]>").local, end("0.0.0.0:53"));
        let v6 = noted("1<TCPv6:[[::ffff:1.2.3.4]:5->[::ffff:6.7.8.9]:10]>");
        assert_eq!((v6.local, v6.peer), (end("1.2.3.4:5"), end("6.7.8.9:10")));
        let old = noted("1<TCPv6:[::ffff:1.2.3.4:21->2001:db8::7:63703]>");
        assert_eq!(
            (old.local, old.peer),
            (end("1.2.3.4:21"), end("[2001:db8::7]:63703"))
        );
        assert_eq!(noted("0<TCPv6:[:::21]>").local, end("[::]:21"));
        assert_eq!(
            noted("0<UDPv6:[[fe80::1%eth0]:5]>").local,
            end("[fe80::1]:5")
        );
        let hex = noted(r"4<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x37\x5d>");
        assert_eq!(
            (hex.identity, hex.socket, hex.not_a_socket),
            (Some(7), None, false)
        );
    }

    #[test]
    fn other_objects() {
        let unix = noted(r#"7<UNIX-STREAM:[10->12,@"a>b"]>"#);
        assert_eq!(
            (unix.identity, unix.path.as_deref()),
            (Some(10), Some("@a>b"))
        );
        assert_eq!(
            noted("4<NETLINK:[ROUTE:1234]>").socket.unwrap().family,
            SocketFamily::Netlink
        );
        for text in [
            "0</dev/null<char 1:3>>",
            "5<pipe:[17]>",
            "5<anon_inode:[eventpoll]>",
            "5</a: [b]>",
        ] {
            assert!(noted(text).not_a_socket, "{text}");
        }
        assert!(is_plainly_no_socket(b"3</etc/hosts>, "));
        assert!(!is_plainly_no_socket(b"3<socket:[7]>, "));
        assert!(!is_plainly_no_socket(b"3, "));
    }
}
