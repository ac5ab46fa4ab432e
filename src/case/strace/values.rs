//! Values as strace writes them: payloads, descriptors, addresses, bytes.

use crate::decode::dns::framing;
use crate::event::dns::Message as Dns;
use crate::event::{Address, Fd, SocketFamily, SocketType, Transfer};
use crate::flow::Endpoint;

/// The DNS messages of a payload, built again from what is kept of them: header and question; over TCP each with
/// its length before it (RFC 1035 section 4.2.2).
pub(super) fn payload(fd: &Fd, message: &Transfer) -> String {
    let kind = fd.note.as_ref().and_then(|n| n.socket);
    let is_stream = kind.is_some_and(|k| k.style == SocketType::Stream);
    let mut bytes = Vec::new();
    for dns in &message.dns {
        let whole = wire(dns);
        if !is_stream {
            bytes = whole;
            break;
        }
        bytes.extend(framing::write(&whole));
    }
    format!("\"{}\"...", escaped(&bytes))
}

/// Header and question of a DNS message on the wire (RFC 1035 section 4.1).
fn wire(dns: &Dns) -> Vec<u8> {
    let flags = u16::from(dns.response) << 15
        | u16::from(dns.opcode & 15) << 11
        | u16::from(dns.truncated) << 9
        | 1 << 8
        | dns.rcode.0 & 15;
    let mut bytes = Vec::new();
    let asked = u16::from(dns.question.is_some());
    for word in [dns.id, flags, asked, dns.answers, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    if let Some(question) = &dns.question {
        for label in labels(&question.name.0) {
            bytes.push(u8::try_from(label.len()).unwrap_or(63));
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(question.kind.map_or(0, |k| k.0).to_be_bytes());
        bytes.extend(1u16.to_be_bytes());
    }
    bytes
}

/// The labels of a name in presentation form, unescaped.
fn labels(name: &str) -> Vec<Vec<u8>> {
    let mut list = vec![Vec::new()];
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let last = list.len() - 1;
        match bytes[at] {
            b'.' => list.push(Vec::new()),
            b'\\' => {
                let digits = bytes
                    .get(at + 1..at + 4)
                    .and_then(|d| std::str::from_utf8(d).ok()?.parse::<u8>().ok());
                if let Some(byte) = digits {
                    list[last].push(byte);
                    at += 3;
                } else {
                    list[last].extend(bytes.get(at + 1));
                    at += 1;
                }
            }
            byte => list[last].push(byte),
        }
        at += 1;
    }
    list.retain(|label| !label.is_empty());
    list
}

pub(super) fn descriptor(fd: &Fd) -> String {
    let Some(note) = &fd.note else {
        return fd.number.to_string();
    };
    let v6 = [note.local, note.peer]
        .into_iter()
        .flatten()
        .any(|e| e.ip.is_ipv6());
    let kind = match note.socket.map(|k| (k.family, k.style)) {
        Some((SocketFamily::Inet, SocketType::Stream)) => {
            if v6 {
                "TCPv6"
            } else {
                "TCP"
            }
        }
        Some((SocketFamily::Inet, SocketType::Datagram)) => {
            if v6 {
                "UDPv6"
            } else {
                "UDP"
            }
        }
        Some((SocketFamily::Unix, _)) => "UNIX-STREAM",
        Some((SocketFamily::Netlink, _)) => "NETLINK",
        _ => return fd.number.to_string(),
    };
    match (note.local, note.peer, note.identity) {
        (Some(local), Some(peer), _) => format!("{}<{kind}:[{local}->{peer}]>", fd.number),
        (Some(local), None, _) => format!("{}<{kind}:[{local}]>", fd.number),
        (None, _, Some(identity)) => format!("{}<{kind}:[{identity}]>", fd.number),
        (None, _, None) => fd.number.to_string(),
    }
}

pub(super) fn family(family: SocketFamily) -> &'static str {
    match family {
        SocketFamily::Inet => "AF_INET",
        SocketFamily::Unix => "AF_UNIX",
        SocketFamily::Netlink => "AF_NETLINK",
        SocketFamily::Other => "AF_PACKET",
    }
}

pub(super) fn style(style: SocketType) -> &'static str {
    match style {
        SocketType::Stream => "SOCK_STREAM",
        SocketType::Datagram => "SOCK_DGRAM",
        SocketType::Other | SocketType::Unknown => "SOCK_RAW",
    }
}

pub(super) fn address(address: &Address) -> String {
    match address {
        Address::Inet(e) => endpoint(*e),
        Address::Unix(path) => match path.strip_prefix('@') {
            Some(name) => format!(
                "{{sa_family=AF_UNIX, sun_path=@\"{}\"}}",
                quoted(name.as_bytes())
            ),
            None => format!(
                "{{sa_family=AF_UNIX, sun_path=\"{}\"}}",
                quoted(path.as_bytes())
            ),
        },
        Address::Unspecified => {
            "{sa_family=AF_UNSPEC, sa_data=\"\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\"}".into()
        }
        Address::Unreadable { text, port } => format!(
            "{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr(\"{}\")}}",
            port.unwrap_or(0),
            escaped(text.as_bytes())
        ),
        Address::Other(name) => format!("{{sa_family={}, sa_data=\"\"}}", quoted(name.as_bytes())),
    }
}

pub(super) fn endpoint(e: Endpoint) -> String {
    if e.ip.is_ipv4() {
        return format!(
            "{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr(\"{}\")}}",
            e.port, e.ip
        );
    }
    format!(
        "{{sa_family=AF_INET6, sin6_port=htons({}), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"{}\", &sin6_addr), \
         sin6_scope_id=0}}",
        e.port, e.ip
    )
}

pub(super) fn address_length(address: &Address) -> u32 {
    match address {
        Address::Inet(e) => endpoint_length(*e),
        Address::Unix(_) => 110,
        Address::Unspecified | Address::Other(_) | Address::Unreadable { .. } => 16,
    }
}

pub(super) fn endpoint_length(e: Endpoint) -> u32 {
    if e.ip.is_ipv4() { 16 } else { 28 }
}

/// Bytes as strace quotes them: octal, three digits where a digit follows.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => {
                text.push('\\');
                let padded = bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
                // The three octal digits, without leading zeros where no digit follows.
                for (at, shift) in [(0, 6), (1, 3), (2, 0)] {
                    if padded || at == 2 || byte >> shift != 0 {
                        text.push(char::from(b'0' + (byte >> shift & 7)));
                    }
                }
            }
        }
    }
    text
}

pub(super) fn quoted(bytes: &[u8]) -> String {
    escaped(bytes)
}
