//! Small stand-ins for decoders that are written elsewhere, with their signatures.

use crate::event::{Address, dns};
use crate::flow::Endpoint;
use std::net::{Ipv4Addr, Ipv6Addr};

/// `decode::sockaddr::parse`
pub fn parse(bytes: &[u8]) -> Address {
    let family = bytes
        .get(..2)
        .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
    let port = |b: &[u8]| u16::from_be_bytes([b[2], b[3]]);
    match i32::from(family) {
        libc::AF_UNSPEC => Address::Unspecified,
        libc::AF_INET if bytes.len() >= 8 => {
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Address::Inet(Endpoint::new(ip.into(), port(bytes)))
        }
        libc::AF_INET6 if bytes.len() >= 24 => {
            let ip: [u8; 16] = bytes[8..24].try_into().unwrap_or_default();
            Address::Inet(Endpoint::new(Ipv6Addr::from(ip).into(), port(bytes)))
        }
        libc::AF_UNIX => {
            let path = &bytes[2..];
            let (mark, path) = match path.split_first() {
                Some((0, rest)) => ("@", rest),
                _ => ("", path),
            };
            let end = if mark.is_empty() {
                path.iter().position(|b| *b == 0).unwrap_or(path.len())
            } else {
                path.len()
            };
            Address::Unix(format!("{mark}{}", String::from_utf8_lossy(&path[..end])).into())
        }
        other => Address::Other(format!("AF_{other}").into()),
    }
}

/// `decode::dns::glimpse`
pub fn glimpse(bytes: &[u8], cut: bool) -> Option<dns::Message> {
    let header = bytes.get(..12)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut name = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            break;
        }
        let label = bytes.get(at + 1..at + 1 + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label).escape_default().to_string());
        at += 1 + length;
    }
    let kind = bytes.get(at + 1..at + 3)?;
    Some(dns::Message {
        id: word(0),
        response: header[2] & 0x80 != 0,
        opcode: header[2] >> 3 & 15,
        truncated: header[2] & 2 != 0,
        rcode: dns::Rcode(u16::from(header[3] & 15)),
        question: Some(dns::Question {
            name: dns::Name(name.into()),
            kind: Some(dns::RecordType(u16::from_be_bytes([kind[0], kind[1]]))),
            cut: false,
        }),
        answers: word(6),
        addresses: Vec::new(),
        names: Vec::new(),
        complete: !cut,
    })
}
