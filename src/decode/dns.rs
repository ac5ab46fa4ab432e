//! DNS messages (RFC 1035) from the bytes of a packet or of a system call.
//!
//! The header and the addresses are read by dns-parser. Its `Packet::parse` is not used: it refuses a
//! whole message for one record type that it does not know (HTTPS, SVCB, RRSIG, …), and names need more
//! bounds than it has (see `dns/name.rs`). Nor is its `RData::parse` for the records that hold names (CNAME, PTR,
//! SRV, SOA): it refuses bytes beyond ASCII, which names of mDNS have, and the records behind such a one would be lost
//! with it. Nothing needs these names; they are stepped over.

pub mod framing;
mod name;
pub mod netbios;

use crate::event::dns::{Message, Question, Rcode, RecordType};
use dns_parser::{Header, RData, Type};
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// Length of the fixed header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// The shortest question: root name, type, class.
const SHORTEST_QUESTION: usize = 5;

/// The bit of byte 3 that RFC 1035 calls Z and nobody may set; some do. dns-parser would refuse them.
const Z_BIT: u8 = 0x40;

/// Why some bytes are no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    /// Fewer bytes than a header has.
    #[error("shorter than the 12 bytes of a DNS header")]
    Short,
    /// Flags that no DNS message has.
    #[error("no DNS header: opcode {0} is not assigned")]
    Opcode(u8),
    /// The header claims nothing at all, or more than the bytes could hold.
    #[error("no DNS message: {0} questions in {1} bytes")]
    Counts(u16, usize),
    /// Without a question the records are all there is, and they cannot be walked.
    #[error("no DNS message: no question and unreadable records")]
    Records,
    /// The first question cannot be read.
    #[error("the DNS question cannot be read")]
    Question,
}

/// Reads a whole message, strictly enough to recognise one.
///
/// The header must make sense and the first question must be readable. A message whose records are broken
/// keeps what was read before the damage and is not `complete`.
pub fn parse(bytes: &[u8]) -> Result<Message, DnsError> {
    let (header, mut message) = header(bytes)?;
    let claimed = usize::from(header.questions) * SHORTEST_QUESTION;
    let records = header.answers > 0 || header.nameservers > 0 || header.additional > 0;
    let empty = header.questions == 0 && !records;
    // A server that cannot read a query may answer with a bare header (RFC 1035 section 4.1.1, FORMERR).
    if claimed > bytes.len() - HEADER || (empty && (header.query || bytes.len() > HEADER)) {
        return Err(DnsError::Counts(header.questions, bytes.len()));
    }
    let mut at = HEADER;
    if header.questions > 0 {
        let (question, end) = question(bytes, at).ok_or(DnsError::Question)?;
        message.question = Some(question);
        at = end;
    }
    message.complete = rest(bytes, &header, at, &mut message);
    if message.question.is_none() && !message.complete {
        return Err(DnsError::Records);
    }
    Ok(message)
}

/// Reads a payload that may have been cut short (strace shows the first 32 bytes by default), strictly
/// enough to recognise DNS. A cut name gives a question marked `cut` without a type.
pub fn glimpse(bytes: &[u8], cut: bool) -> Option<Message> {
    if let Ok(message) = parse(bytes)
        && (message.complete || !cut)
    {
        return Some(Message {
            complete: !cut,
            ..message
        });
    }
    if !cut {
        return None;
    }
    let (header, mut message) = header(bytes).ok()?;
    // Only the usual message is recognised by so little: one question, and in a query nothing that only
    // responses have.
    if header.questions != 1
        || (header.query && (header.answers > 0 || bytes[3] & 0x8f != 0))
        || bytes.len() <= HEADER
    {
        return None;
    }
    let (name, end) = name::read_cut(bytes, HEADER)?;
    let kind = end.and_then(|end| word(bytes, end)).map(RecordType);
    if kind == Some(RecordType(0)) {
        return None;
    }
    message.question = Some(Question {
        name,
        kind,
        cut: end.is_none(),
    });
    if let Some(end) = end
        && bytes.len() >= end + 4
    {
        question(bytes, HEADER)?;
        // What there is of the answers helps; that they are cut is known.
        rest(bytes, &header, end + 4, &mut message);
    }
    Some(message)
}

/// Whether bytes on some other UDP port are plausibly a DNS query or response: a standard query with
/// exactly one question that can be walked, and no flag out of place.
pub fn looks_like_dns(bytes: &[u8]) -> bool {
    let &[_, _, high, low, 0, 1, an0, an1, ns0, ns1, ar0, ar1, ..] = bytes else {
        return false;
    };
    let response = high & 0x80 != 0;
    let records = [an0, an1, ns0, ns1].iter().any(|byte| *byte != 0);
    // A query has neither AA, TC, RA nor an RCODE; opcode 0 and Z 0 in both (RFC 1035 section 4.1.1).
    // Additional: OPT, TSIG and little else.
    let flags = if response {
        high & 0x78 == 0 && low & 0x0f <= 10
    } else {
        high & 0x7e == 0 && low & 0x8f == 0 && !records && ar0 == 0 && ar1 <= 2
    };
    if !flags || low & Z_BIT != 0 {
        return false;
    }
    let Some(end) = name::skip(bytes, HEADER) else {
        return false;
    };
    // A first question cannot be compressed: nothing stands before it.
    let compressed = end < 2 || bytes[end - 2] >= 0xc0 && bytes[end - 1] != 0;
    let class = word(bytes, end + 2);
    !compressed
        && word(bytes, end).is_some_and(|kind| (1..=260).contains(&kind))
        && class == Some(1)
        && (records || ar0 != 0 || ar1 != 0 || bytes.len() == end + 4)
}

/// The header as dns-parser reads it, and a message with nothing but the header's values.
fn header(bytes: &[u8]) -> Result<(Header, Message), DnsError> {
    let mut fixed = *bytes.first_chunk::<HEADER>().ok_or(DnsError::Short)?;
    fixed[3] &= !Z_BIT;
    let header = Header::parse(&fixed).map_err(|_| DnsError::Short)?;
    let opcode = fixed[2] >> 3 & 0x0f;
    // IANA registry "DNS OpCodes": 3 and 7 to 15 are not assigned.
    if opcode == 3 || opcode > 6 {
        return Err(DnsError::Opcode(opcode));
    }
    let message = Message {
        id: header.id,
        response: !header.query,
        opcode,
        truncated: header.truncated,
        rcode: Rcode(u16::from(fixed[3] & 0x0f)),
        question: None,
        answers: header.answers,
        addresses: Arc::default(),
        referral: false,
        edns: false,
        complete: false,
        bytes: None,
    };
    Ok((header, message))
}

/// The question at `at` and the offset after it.
fn question(bytes: &[u8], at: usize) -> Option<(Question, usize)> {
    let (name, end) = name::read(bytes, at)?;
    let kind = word(bytes, end)?;
    // mDNS uses the top bit of the class for "unicast response wanted" (RFC 6762 section 5.4).
    let class = word(bytes, end + 2)? & 0x7fff;
    // IN, CH, HS, NONE, ANY (IANA registry "DNS CLASSes").
    matches!(class, 1 | 3 | 4 | 254 | 255).then_some(())?;
    let question = Question {
        name,
        kind: Some(RecordType(kind)),
        cut: false,
    };
    Some((question, end + 4))
}

/// Walks everything after the first question, keeping what the join needs; whether it came to the end. If not, it is
/// broken somewhere, and what stood before that was kept.
fn rest(bytes: &[u8], header: &Header, at: usize, message: &mut Message) -> bool {
    let mut addresses = Vec::new();
    let complete = walk(bytes, header, at, message, &mut addresses).is_some();
    message.referral &= complete
        && message.response
        && message.rcode == Rcode::NOERROR
        && header.answers == 0
        && !header.authoritative
        && !header.recursion_available;
    if !addresses.is_empty() {
        message.addresses = addresses.into();
    }
    complete
}

fn walk(
    bytes: &[u8],
    header: &Header,
    mut at: usize,
    message: &mut Message,
    addresses: &mut Vec<IpAddr>,
) -> Option<()> {
    for _ in 1..header.questions {
        at = name::skip(bytes, at)? + 4;
    }
    // Records of no name at all still have 10 bytes: what is claimed beyond that ends the walk soon.
    let answers = usize::from(header.answers);
    let authority = answers..answers + usize::from(header.nameservers);
    let all = authority.end + usize::from(header.additional);
    let (mut servers, mut soa) = (false, false);
    for index in 0..all {
        let addresses = (index < answers).then_some(&mut *addresses);
        let (kind, end) = record(bytes, at, message, addresses)?;
        if authority.contains(&index) {
            servers |= kind == RecordType::NS;
            soa |= kind == RecordType::SOA;
        }
        at = end;
    }
    message.referral = servers && !soa;
    (at <= bytes.len()).then_some(())
}

/// Reads the resource record at `at` (RFC 1035 section 4.1.3); its type and the offset after it. An address in an answer is added to
/// the list.
fn record(
    bytes: &[u8],
    at: usize,
    message: &mut Message,
    answer: Option<&mut Vec<IpAddr>>,
) -> Option<(RecordType, usize)> {
    let fixed = name::skip(bytes, at)?;
    let kind = RecordType(word(bytes, fixed)?);
    let start = fixed + 10;
    let end = start + usize::from(word(bytes, fixed + 8)?);
    let data = bytes.get(start..end)?;
    match (kind, answer) {
        (RecordType::OPT, _) => {
            // The upper eight bits of the RCODE are the first byte of the TTL (RFC 6891 section 6.1.3).
            message.rcode.0 |= u16::from(bytes[fixed + 4]) << 4;
            message.edns = true;
        }
        (RecordType::A | RecordType::AAAA, Some(addresses))
            if addresses.len() < Message::MAX_DATA =>
        {
            let known = if kind == RecordType::A {
                Type::A
            } else {
                Type::AAAA
            };
            match RData::parse(known, data, bytes).ok()? {
                RData::A(a) => addresses.push(a.0.into()),
                RData::AAAA(aaaa) => addresses.push(aaaa.0.into()),
                _ => {}
            }
        }
        // Nobody reads these names, and written out they would be a hundred times the bytes of the packet.
        (RecordType::CNAME | RecordType::PTR, Some(_)) if name::skip(bytes, start)? != end => {
            return None;
        }
        _ => {}
    }
    Some((kind, end))
}

/// The big-endian 16-bit word at `at`.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
