//! DNS messages that are sent: queries of a stub, and responses of which no bytes are recorded (RFC 1035 section 4).
//!
//! Written by hand: a dozen lines, where dns-parser writes queries only, and for names without escapes.

use crate::event::dns::{Name, Rcode, RecordType};
use std::net::IpAddr;

/// Length of the fixed header.
pub const HEADER: usize = 12;
/// QR, and RA of a resolver that recurses (RFC 1035 section 4.1.1).
const RESPONSE: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
/// What a client may keep of an answer: nothing. Each lookup asks anew.
const TTL: u32 = 0;
/// Class IN.
const IN: u16 = 1;
/// The longest label and name.
const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 255;

/// A query; `None` when the name is none.
pub fn query(id: u16, name: &Name, kind: RecordType) -> Option<Vec<u8>> {
    let mut bytes = Vec::from(id.to_be_bytes());
    bytes.extend([RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    wire_name(name, &mut bytes)?;
    bytes.extend(kind.0.to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    Some(bytes)
}

/// A name as it is sent: labels with their lengths. It is in presentation form ([`Name`]).
fn wire_name(name: &Name, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut label: Vec<u8> = Vec::new();
    let mut end = |label: &mut Vec<u8>| {
        let length = u8::try_from(label.len()).ok()?;
        (1..=LONGEST_LABEL).contains(&label.len()).then_some(())?;
        out.push(length);
        out.append(label);
        Some(())
    };
    let mut bytes = name.known()?.0.bytes().peekable();
    let root = &*name.0 == ".";
    while let Some(byte) = bytes.next().filter(|_| !root) {
        match byte {
            b'.' => end(&mut label)?,
            b'\\' => {
                let first = bytes.next()?;
                if first.is_ascii_digit() {
                    let digits = [first, bytes.next()?, bytes.next()?];
                    let number = std::str::from_utf8(&digits).ok()?.parse().ok()?;
                    label.push(number);
                } else {
                    label.push(first);
                }
            }
            other => label.push(other),
        }
    }
    if !label.is_empty() {
        end(&mut label)?;
    }
    out.push(0);
    (out.len() - start <= LONGEST_NAME).then_some(())
}

/// Where the first question of a message ends; `None`: it has none, or it is compressed or cut.
pub fn question_end(message: &[u8]) -> Option<usize> {
    (message.get(4..6)? != [0, 0]).then_some(())?;
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => break,
            length if usize::from(length) <= LONGEST_LABEL => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    (message.len() >= at + 5).then_some(at + 5)
}

/// A response to a query: its own header and question, and these addresses as far as they are of the type that it asks for.
/// `None` when the query cannot be read.
pub fn response(
    query: &[u8],
    rcode: Rcode,
    truncated: bool,
    addresses: &[IpAddr],
) -> Option<Vec<u8>> {
    let end = question_end(query)?;
    let mut bytes = query[..end].to_vec();
    let kind = RecordType(u16::from_be_bytes([query[end - 4], query[end - 3]]));
    bytes[2] =
        RESPONSE | query[2] & (0x78 | RECURSION_DESIRED) | if truncated { TRUNCATED } else { 0 };
    bytes[3] = RECURSION_AVAILABLE | u8::try_from(rcode.0 & 0x0f).ok()?;
    bytes[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    let mut count: u16 = 0;
    for address in addresses.iter().filter(|_| !truncated) {
        let data = match (address, kind) {
            (IpAddr::V4(v4), RecordType::A) => v4.octets().to_vec(),
            (IpAddr::V6(v6), RecordType::AAAA) => v6.octets().to_vec(),
            _ => continue,
        };
        // A pointer to the question's name (RFC 1035 section 4.1.4).
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.0.to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes.extend(TTL.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        bytes.extend(data);
        count += 1;
    }
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    Some(bytes)
}

/// A recorded response as the response to this query: with its id, and its name as it spells it. `None` when the two do not
/// ask the same.
pub fn readdressed(query: &[u8], recorded: &[u8]) -> Option<Vec<u8>> {
    let end = question_end(query)?;
    let (asked, answered) = (query.get(HEADER..end)?, recorded.get(HEADER..end)?);
    if question_end(recorded) != Some(end) || !asked.eq_ignore_ascii_case(answered) {
        return None;
    }
    let mut bytes = recorded.to_vec();
    bytes[..2].copy_from_slice(&query[..2]);
    bytes[HEADER..end].copy_from_slice(asked);
    Some(bytes)
}
