//! The protocol of nscd(8), as far as a client of `getaddrinfo` speaks it (glibc, nscd/nscd-client.h).

use std::io::{self, Read};
use std::net::IpAddr;

/// `NSCD_VERSION`.
const VERSION: i32 = 2;
/// `GETAI` of `request_type`: the addresses of a name.
const GETAI: i32 = 14;
/// The longest key: a name with its final zero.
const LONGEST_KEY: usize = 1_025;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
/// So many addresses are given.
const MAX_ADDRESSES: usize = 64;

/// What a client asks: a name. `None`: it asks for something else, the service's memory as a rule, and gets nothing.
pub fn question(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut header = [0; 12];
    stream.read_exact(&mut header)?;
    let [version, kind, length] = [0, 4, 8]
        .map(|at| i32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if version != VERSION || length > LONGEST_KEY {
        return Ok(None);
    }
    let mut key = vec![0; length];
    stream.read_exact(&mut key)?;
    if kind != GETAI {
        return Ok(None);
    }
    let name = key.split(|byte| *byte == 0).next().unwrap_or(&[]);
    Ok(Some(String::from_utf8_lossy(name).into_owned()))
}

/// The answer with these addresses (`ai_response_header` and what follows it); `None` without any.
pub fn answer(addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
    let mut data = Vec::new();
    let mut families = Vec::new();
    for address in addresses {
        match address {
            IpAddr::V4(v4) => {
                data.extend(v4.octets());
                families.push(FAMILIES[0]);
            }
            IpAddr::V6(v6) => {
                data.extend(v6.octets());
                families.push(FAMILIES[1]);
            }
        }
    }
    let count = i32::try_from(families.len()).ok().filter(|n| *n > 0)?;
    let length = i32::try_from(data.len()).ok()?;
    // Version, found, number and length of addresses, length of the canonical name, error.
    let header = [VERSION, 1, count, length, 0, 0];
    let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_ne_bytes()).collect();
    bytes.extend(data);
    bytes.extend(families);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: i32, key: &[u8]) -> Vec<u8> {
        let length = i32::try_from(key.len()).unwrap();
        let header = [VERSION, kind, length];
        let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.extend(key);
        bytes
    }

    #[test]
    fn questions_for_names_are_told_from_others() {
        let asked = |bytes: &[u8]| question(&mut &bytes[..]).ok();
        let name = Some(Some("a.example".to_owned()));
        assert_eq!(asked(&request(GETAI, b"a.example\0")), name);
        assert_eq!(asked(&request(13, b"hosts\0")), Some(None), "its memory");
        assert_eq!(
            asked(&request(GETAI, &[b'a'; 2_000])),
            Some(None),
            "too long"
        );
        assert_eq!(asked(&request(GETAI, b"a")[..10]), None, "cut");
    }

    #[test]
    fn an_answer_counts_what_follows() {
        let list = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let bytes = answer(&list).unwrap();
        assert_eq!(bytes.len(), 24 + 4 + 16 + 2);
        let number = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((number(4), number(8), number(12)), (1, 2, 20));
        assert_eq!(bytes[44..], FAMILIES);
        assert_eq!(answer(&[]), None);
    }
}
