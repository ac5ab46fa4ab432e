//! What clients ask name services over local sockets, and whether they are answered: varlink and D-Bus
//! (systemd-resolved), avahi-daemon's lines, nscd's records.

use crate::event::Local;
use serde_json::Value;

/// Whether a service answered, and what it was asked, as far as the bytes of one call tell. `sent` is the direction.
pub fn read(bytes: &[u8], sent: bool) -> Option<Local> {
    if sent {
        let name = varlink_name(bytes)
            .or_else(|| avahi_name(bytes))
            .or_else(|| nscd_name(bytes))
            .or_else(|| dbus_name(bytes))?;
        plausible(&name).then(|| Local::Asked(name.into()))
    } else {
        varlink_reply(bytes).or_else(|| avahi_reply(bytes))
    }
}

/// A name or an address, and nothing else.
fn plausible(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._:%".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(letter)
}

/// The end of a varlink message (<https://varlink.org/>).
const END: char = '\0';

/// `{"method":"io.systemd.Resolve.ResolveHostname","parameters":{"name":"…"}}`, or `ResolveAddress` with the bytes of an
/// address (resolved's `org.varlink.service` description). What strace cut is no JSON: there the member is looked for.
fn varlink_name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.starts_with('{') || !text.contains("io.systemd.Resolve.Resolve") {
        return None;
    }
    let whole: Option<Value> = serde_json::from_str(text.trim_end_matches(END)).ok();
    let Some(value) = whole else {
        let (_, rest) = text.split_once("\"name\":\"")?;
        return rest.split('"').next().map(str::to_owned);
    };
    let parameters = value.get("parameters")?;
    if let Some(name) = parameters.get("name").and_then(Value::as_str) {
        return Some(name.to_owned());
    }
    let numbers = parameters.get("address")?.as_array()?;
    let bytes: Option<Vec<u8>> = numbers
        .iter()
        .map(|n| n.as_u64().and_then(|n| u8::try_from(n).ok()))
        .collect();
    address(&bytes?)
}

fn address(bytes: &[u8]) -> Option<String> {
    let four: Result<[u8; 4], _> = bytes.try_into();
    let sixteen: Result<[u8; 16], _> = bytes.try_into();
    match (four, sixteen) {
        (Ok(v4), _) => Some(std::net::Ipv4Addr::from(v4).to_string()),
        (_, Ok(v6)) => Some(std::net::Ipv6Addr::from(v6).to_string()),
        _ => None,
    }
}

fn varlink_reply(bytes: &[u8]) -> Option<Local> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Some(rest) = text.strip_prefix("{\"error\":\"") {
        let error = rest.split('"').next().unwrap_or_default();
        let none = error.ends_with("NoSuchResourceRecord") || error.ends_with("DNSError");
        return Some(if none { Local::Denied } else { Local::Failed });
    }
    text.starts_with("{\"parameters\":{")
        .then_some(Local::Answered)
}

/// `RESOLVE-HOSTNAME-IPV4 NAME` and its like (nss-mdns `src/avahi.c`).
fn avahi_name(bytes: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(bytes).ok()?.lines().next()?;
    let rest = line
        .strip_prefix("RESOLVE-HOSTNAME")
        .or_else(|| line.strip_prefix("RESOLVE-ADDRESS"))?;
    rest.split_once(' ').map(|(_, name)| name.to_owned())
}

/// `+ 2 0 NAME ADDRESS`, `-15 Timeout reached`.
fn avahi_reply(bytes: &[u8]) -> Option<Local> {
    match bytes {
        [b'+', b' ', ..] => Some(Local::Answered),
        [b'-', digit, ..] if digit.is_ascii_digit() => Some(Local::Denied),
        _ => None,
    }
}

/// glibc's `request_header` (nscd/nscd-client.h): version 2, the kind of request, the length of its key; then the key.
fn nscd_name(bytes: &[u8]) -> Option<String> {
    const GETHOSTBYNAME: i32 = 4;
    const GETHOSTBYNAME_V6: i32 = 5;
    const GETHOSTBYADDR: i32 = 6;
    const GETHOSTBYADDR_V6: i32 = 7;
    const GETAI: i32 = 14;
    let number = |at: usize| -> Option<i32> {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(i32::from_ne_bytes(four))
    };
    let length = usize::try_from(number(8)?).ok()?;
    let key = bytes.get(12..12usize.checked_add(length)?)?;
    match (number(0)?, number(4)?) {
        (2, GETHOSTBYNAME | GETHOSTBYNAME_V6 | GETAI) => {
            let name = key.split(|b| *b == 0).next()?;
            std::str::from_utf8(name).ok().map(str::to_owned)
        }
        (2, GETHOSTBYADDR | GETHOSTBYADDR_V6) => address(key),
        _ => None,
    }
}

/// A call of resolved's `ResolveHostname`: the body is an interface number, then the name as a D-Bus string (D-Bus
/// specification, "Marshaling"; only little-endian hosts).
fn dbus_name(bytes: &[u8]) -> Option<String> {
    let has = |word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
    if bytes.first() != Some(&b'l') || !has("org.freedesktop.resolve1") || !has("ResolveHostname") {
        return None;
    }
    let number = |at: usize| -> Option<usize> {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(four)).ok()
    };
    // The header's fields are an array behind 12 bytes and its length; the body follows at the next multiple of 8.
    let fields = number(12)?;
    let body = 16usize.checked_add(fields)?.checked_next_multiple_of(8)?;
    let length = number(body.checked_add(4)?)?;
    let start = body.checked_add(8)?;
    let name = bytes.get(start..start.checked_add(length)?)?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> Local {
        Local::Asked(name.into())
    }

    #[test]
    fn names_that_services_are_asked_for() {
        let varlink = b"{\"method\":\"io.systemd.Resolve.ResolveHostname\",\"parameters\":{\"name\":\"a.test\",\"flags\":0}}\0";
        assert_eq!(read(varlink, true), Some(asked("a.test")));
        assert_eq!(read(&varlink[..80], true), Some(asked("a.test")), "cut");
        let reverse = b"{\"method\":\"io.systemd.Resolve.ResolveAddress\",\"parameters\":{\"family\":2,\"address\":[192,0,2,7]}}\0";
        assert_eq!(read(reverse, true), Some(asked("192.0.2.7")));
        assert_eq!(
            read(b"RESOLVE-HOSTNAME-IPV4 b.local\n", true),
            Some(asked("b.local"))
        );
        assert_eq!(
            read(b"RESOLVE-ADDRESS 192.0.2.8\n", true),
            Some(asked("192.0.2.8"))
        );
        let mut nscd = Vec::new();
        for number in [2_i32, 14, 7] {
            nscd.extend(number.to_ne_bytes());
        }
        nscd.extend(b"c.test\0");
        assert_eq!(read(&nscd, true), Some(asked("c.test")));
        // A password entry.
        nscd[4] = 0;
        assert_eq!(read(&nscd, true), None);
        assert_eq!(read(b"GET / HTTP/1.1\r\n", true), None);
        assert_eq!(read(b"RESOLVE-HOSTNAME a b\x1b[0m\n", true), None);
    }

    #[test]
    fn a_dbus_call_names_what_it_resolves() {
        let fields = b"\x01\x01o\0\x18\0\0\0/org/freedesktop/resolve1\0\x03\x01s\0\x0f\0\0\0ResolveHostname\0";
        let mut bytes = vec![b'l', 1, 0, 1];
        let mut body = 0_u32.to_le_bytes().to_vec();
        body.extend(6_u32.to_le_bytes());
        body.extend(b"d.test\0");
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        let mut all = fields.to_vec();
        all.extend(b"\x06\x01s\0\x18\0\0\0org.freedesktop.resolve1\0");
        bytes.extend(u32::try_from(all.len()).unwrap().to_le_bytes());
        bytes.extend(all);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(body);
        assert_eq!(read(&bytes, true), Some(asked("d.test")));
        for cut in 0..bytes.len() {
            let _ = read(&bytes[..cut], true);
        }
    }

    #[test]
    fn replies() {
        assert_eq!(
            read(b"{\"parameters\":{\"addresses\":[]}}\0", false),
            Some(Local::Answered)
        );
        assert_eq!(
            read(
                b"{\"error\":\"io.systemd.Resolve.NoSuchResourceRecord\"}\0",
                false
            ),
            Some(Local::Denied)
        );
        assert_eq!(
            read(b"{\"error\":\"io.systemd.Resolve.QueryTimedOut\"}\0", false),
            Some(Local::Failed)
        );
        assert_eq!(
            read(b"+ 2 0 b.local 192.0.2.9\n", false),
            Some(Local::Answered)
        );
        assert_eq!(read(b"-15 Timeout reached\n", false), Some(Local::Denied));
        assert_eq!(read(b"\x02\0\0\0", false), None);
    }
}
