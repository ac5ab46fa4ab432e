//! Questions of the `NetBIOS` name service: DNS messages with names written in another way (RFC 1001 section 14.1).

use super::HEADER;
use super::name;
use crate::event::dns::{Message, Name, Question};
use std::net::{IpAddr, Ipv4Addr};

/// A first-level encoded name: 16 bytes, each as two letters from A to P.
const ENCODED: usize = 32;
/// The record type NB: the addresses of a name (RFC 1002 section 4.2.1.2).
const NB: u16 = 0x20;
/// Of each address of an NB record: two bytes of flags, four of the address (RFC 1002 section 4.2.1.3).
const NB_ENTRY: usize = 6;

/// Reads a name query or its response; registrations, refreshes and status requests are none.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let (header, mut message) = super::header(bytes).ok()?;
    if message.opcode != 0 {
        return None;
    }
    // A response repeats no question: the name stands in its record (RFC 1002 section 4.2.13).
    if header.questions + header.answers == 0 || message.response && header.questions > 0 {
        return None;
    }
    let label = bytes.get(HEADER..)?;
    let name = decoded(label)?;
    let end = name::skip(bytes, HEADER)?;
    let kind = super::word(bytes, end)?;
    if kind != NB {
        return None;
    }
    message.question = Some(Question {
        name: Name(name.into()),
        kind: None,
        cut: false,
    });
    if message.response {
        // Type, class, time to live and length of the record.
        let data = bytes.get(end + 10..).unwrap_or_default();
        let entries = data.chunks_exact(NB_ENTRY).take(Message::MAX_DATA);
        message.addresses = entries
            .filter_map(|entry| <[u8; 4]>::try_from(&entry[2..]).ok())
            .map(|address| IpAddr::from(Ipv4Addr::from(address)))
            .collect();
    }
    message.complete = true;
    Some(message)
}

/// The name in a label, in small letters as resolvers have it, without padding and the last byte, which says what kind
/// of service is looked for.
fn decoded(label: &[u8]) -> Option<String> {
    let [length, rest @ ..] = label else {
        return None;
    };
    let letters = rest
        .get(..ENCODED)
        .filter(|_| usize::from(*length) == ENCODED)?;
    let half = |letter: u8| letter.checked_sub(b'A').filter(|half| *half < 16);
    let mut text = String::new();
    for pair in letters.chunks_exact(2).take(ENCODED / 2 - 1) {
        let byte = half(pair[0])? << 4 | half(pair[1])?;
        text.push(char::from(byte));
    }
    let text = text.trim_end();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str) -> Vec<u8> {
        let mut bytes = vec![0, 7, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 32];
        for byte in format!("{name:<15}\0").bytes() {
            bytes.extend([b'A' + (byte >> 4), b'A' + (byte & 15)]);
        }
        bytes.extend([0, 0, 0x20, 0, 1]);
        bytes
    }

    #[test]
    fn a_name_is_read_as_it_is_typed() {
        let message = parse(&query("FILESERV")).unwrap();
        assert_eq!(&*message.question.unwrap().name.0, "fileserv");
        assert!(!message.response);
    }

    #[test]
    fn a_response_gives_addresses() {
        let mut bytes = query("FILESERV");
        bytes[2..8].copy_from_slice(&[0x85, 0x80, 0, 0, 0, 1]);
        bytes.extend([0, 0, 0, 60, 0, 6, 0, 0, 10, 0, 0, 80]);
        let message = parse(&bytes).unwrap();
        assert!(message.response);
        assert_eq!(&*message.addresses, [IpAddr::from([10, 0, 0, 80])]);
    }

    #[test]
    fn other_questions_and_damage_are_none() {
        let mut status = query("*");
        status.truncate(46);
        status.extend([0, 0x21, 0, 1]);
        assert_eq!(parse(&status), None);
        let mut registration = query("HOST");
        registration[2] = 0x29;
        assert_eq!(parse(&registration), None);
        let whole = query("HOST");
        for length in 0..whole.len() - 4 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        let mut wrong = query("HOST");
        wrong[14] = b'z';
        assert_eq!(parse(&wrong), None);
    }
}
