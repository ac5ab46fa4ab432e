//! Socket addresses as every version of strace wrote them.

use super::descriptor::address as ip_address;
use super::lex;
use crate::decode::sockaddr;
use crate::event::Address;
use crate::flow::Endpoint;
use std::net::{IpAddr, Ipv4Addr};

/// `sizeof(struct sockaddr_storage)`, socket(7).
const MAX_RAW: usize = 128;

/// How much of what stands in place of an address is kept.
const MAX_WORDS: usize = 64;

/// Reads `{sa_family=AF_INET, …}` and its older forms. A pointer (`0x7ffc…`) or `NULL` is no address.
pub fn read(value: &[u8]) -> Option<Address> {
    if let Some((bytes, _)) = lex::string(value, MAX_RAW) {
        return Some(sockaddr::parse(&bytes));
    }
    let inside = value.strip_prefix(b"{")?;
    // `{{sa_family=…}` of some versions.
    let items = lex::list(inside.strip_prefix(b"{").unwrap_or(inside), b'}').items;
    let family = items.iter().find_map(|item| {
        let (name, value) = lex::named(item);
        if name.ends_with(b"_family") || name == b"sa_type" {
            return Some(value);
        }
        (name.is_empty() && (value.starts_with(b"AF_") || value.starts_with(b"PF_")))
            .then_some(value)
    })?;
    let number = lex::number(family).map(|(number, _)| number);
    let end = family
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'));
    let name = &family[..end.unwrap_or(family.len())];
    let bare = name.get(3..).unwrap_or_default();
    let code = match (number, bare) {
        (Some(number), _) => u16::try_from(number).ok(),
        (_, b"UNSPEC") => Some(0),
        (_, b"UNIX" | b"LOCAL" | b"FILE") => Some(1),
        (_, b"INET") => Some(2),
        (_, b"INET6") => Some(10),
        _ => None,
    };
    let Some(code) = code else {
        return Some(Address::Other(String::from_utf8_lossy(name).into()));
    };
    if let Some((data, _)) = lex::field(&items, b"sa_data").and_then(|v| lex::string(v, MAX_RAW)) {
        return Some(sockaddr::parse_data(code, &data));
    }
    let family = || Address::Other(sockaddr::family_name(code));
    Some(match code {
        0 => Address::Unspecified,
        1 => Address::Unix(path(&items)),
        2 | 10 => inet(&items)
            .map(Address::Inet)
            .or_else(|| unreadable(&items))
            .unwrap_or_else(family),
        _ => family(),
    })
}

fn inet(items: &[&[u8]]) -> Option<Endpoint> {
    let port = port(items)?;
    let ip = items.iter().find_map(|item| {
        let (name, value) = lex::named(item);
        (name.is_empty() || name.ends_with(b"_addr"))
            .then(|| host(value))
            .flatten()
    })?;
    Some(Endpoint::new(ip, port))
}

/// An address that somebody replaced by other words.
fn unreadable(items: &[&[u8]]) -> Option<Address> {
    let text = items.iter().find_map(|item| {
        let (name, value) = lex::named(item);
        let is_address = name.ends_with(b"_addr") || value.starts_with(b"inet_");
        is_address.then(|| words(value)).flatten()
    })?;
    Some(Address::Unreadable {
        text,
        port: port(items),
    })
}

/// What stands where an address should: inside the quotes, where there are some.
fn words(value: &[u8]) -> Option<Box<str>> {
    let quote = value.iter().position(|b| *b == b'"');
    let text = if let Some(quote) = quote {
        lex::unescape(&value[quote + 1..], MAX_WORDS)
    } else {
        let inside = value.strip_prefix(b"inet_addr(").unwrap_or(value);
        let inside = inside.strip_suffix(b")").unwrap_or(inside);
        inside[..inside.len().min(MAX_WORDS)].to_vec()
    };
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into())
}

fn port(items: &[&[u8]]) -> Option<u16> {
    items.iter().find_map(|item| {
        let (name, value) = lex::named(item);
        if !name.ends_with(b"_port") {
            return None;
        }
        // `-X raw` shows the bytes in network order.
        if let Some((bytes, _)) = lex::string(value, 2) {
            return bytes.first_chunk().copied().map(u16::from_be_bytes);
        }
        let value = value.strip_prefix(b"htons(").unwrap_or(value);
        u16::try_from(lex::number(value)?.0).ok()
    })
}

/// `inet_addr("…")`, `inet_pton(AF_INET6, "…", &sin6_addr)`, `htonl(INADDR_ANY)`, or a bare address.
/// `-X raw` shows the bytes in network order.
fn host(value: &[u8]) -> Option<IpAddr> {
    if let Some((bytes, _)) = lex::string(value, 16) {
        let v6 = || <[u8; 16]>::try_from(&bytes[..]).ok().map(IpAddr::from);
        return <[u8; 4]>::try_from(&bytes[..])
            .ok()
            .map(IpAddr::from)
            .or_else(v6);
    }
    if let Some(quote) = value.iter().position(|b| *b == b'"') {
        let text = lex::unescape(&value[quote + 1..], 64);
        return ip_address(std::str::from_utf8(&text).ok()?);
    }
    let inside = value.strip_prefix(b"htonl(").unwrap_or(value);
    let word = inside.strip_suffix(b")").unwrap_or(inside);
    match word {
        b"INADDR_ANY" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        b"INADDR_LOOPBACK" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        b"INADDR_BROADCAST" => Some(IpAddr::V4(Ipv4Addr::BROADCAST)),
        _ => match lex::number(word) {
            Some((number, b"")) if value.len() > word.len() || word.starts_with(b"0x") => {
                Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(number).ok()?)))
            }
            _ => ip_address(std::str::from_utf8(word).ok()?),
        },
    }
}

/// `sun_path="/a"`, `sun_path=@"a"`, `path=/a` and a bare string.
fn path(items: &[&[u8]]) -> Box<str> {
    for item in items {
        let (name, value) = lex::named(item);
        if !(name == b"sun_path" || name == b"path" || name.is_empty()) {
            continue;
        }
        let (mark, quoted) = match value.strip_prefix(b"@") {
            Some(rest) => ("@", rest),
            None => ("", value),
        };
        if let Some((bytes, _)) = lex::string(quoted, MAX_RAW) {
            let text = String::from_utf8_lossy(&bytes);
            // An abstract name may be shown with its leading NUL.
            return match text.strip_prefix('\0') {
                Some(rest) => format!("@{rest}").into(),
                None => format!("{mark}{text}").into(),
            };
        }
        if !name.is_empty() {
            return String::from_utf8_lossy(value).into();
        }
    }
    "".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internet_forms() {
        let v4 = [
            r#"{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}"#,
            r#"{sin_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}}"#,
            r#"{{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}"#,
            r#"{sa_family=PF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}"#,
            r#"{sa_family=0x2, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}"#,
            r#"{sa_family=0x2 /* AF_INET */, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}"#,
            r#"{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("\x31\x30\x2e\x30\x2e\x31\x2e\x39\x33")}"#,
            r#"{sa_family=AF_INET, sa_data="\0005\n\0\1]\0\0\0\0\0\0\0\0"}"#,
            r#"{sa_family=0x2, sin_port="\x00\x35", sin_addr="\x0a\x00\x01\x5d"}"#,
            r#"{sa_family=0x2 /* AF_INET */, sin_port="\x00\x35" /* htons(53) */, sin_addr="\x0a\x00\x01\x5d" /* inet_addr("10.0.1.93") */}"#,
            r#"{sa_family=0xa, sin6_port="\x00\x35", sin6_flowinfo="\x00\x00\x00\x00", sin6_addr="\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x01\x5d", sin6_scope_id=0}"#,
            r#"{sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "::ffff:10.0.1.93", &sin6_addr), sin6_flowinfo=0, sin6_scope_id=0}"#,
            r#"{sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:10.0.1.93", &sin6_addr), sin6_scope_id=0}"#,
            r#"{sa_family=AF_INET6, inet_pton(AF_INET6, "::ffff:10.0.1.93", &sin6_addr), sin6_port=htons(53)}"#,
        ];
        for text in v4 {
            let to = Address::Inet(Endpoint::new([10, 0, 1, 93].into(), 53));
            assert_eq!(read(text.as_bytes()), Some(to), "{text}");
        }
        let any = b"{sa_family=AF_INET, sin_port=htons(0), sin_addr=htonl(INADDR_ANY)}";
        assert_eq!(
            read(any),
            Some(Address::Inet(Endpoint::new([0, 0, 0, 0].into(), 0)))
        );
        let scope = br#"{sa_family=AF_INET6, sin6_port=htons(5), inet_pton(AF_INET6, "fe80::1", &sin6_addr), sin6_scope_id=if_nametoindex("eth0")}"#;
        assert!(
            matches!(read(scope), Some(Address::Inet(end)) if end.port == 5 && end.ip.is_ipv6())
        );
    }

    #[test]
    fn unix_forms() {
        for (text, want) in [
            (r#"{sa_family=AF_UNIX, sun_path="/run/x"}"#, "/run/x"),
            (r#"{sa_family=AF_LOCAL, sun_path="/run/x"}"#, "/run/x"),
            (r#"{sa_family=AF_FILE, path="/run/x"}"#, "/run/x"),
            (r#"{sin_family=AF_UNIX, path="/run/x"}"#, "/run/x"),
            (r#"{AF_UNIX, "/run/x"}"#, "/run/x"),
            (r#"{sa_family=AF_UNIX, sun_path=@"abs"}"#, "@abs"),
            (r#"{sa_family=AF_UNIX, sun_path=@"\x61\x62"}"#, "@ab"),
            ("{sa_family=AF_UNIX}", ""),
        ] {
            assert_eq!(
                read(text.as_bytes()),
                Some(Address::Unix(want.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn others() {
        let unspec = br#"{sa_family=AF_UNSPEC, sa_data="\0\0\0\0\0\0\0\0\0\0\0\0\0\0"}"#;
        assert_eq!(read(unspec), Some(Address::Unspecified));
        let netlink = b"{sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}";
        assert_eq!(read(netlink), Some(Address::Other("AF_NETLINK".into())));
        let vm = b"{sa_family=AF_VSOCK, svm_cid=0x2, svm_port=0x400}";
        assert_eq!(read(vm), Some(Address::Other("AF_VSOCK".into())));
        for text in [&b"NULL"[..], b"0x7ffc00", b"", b"{}"] {
            assert_eq!(read(text), None);
        }
        let odd = b"{sa_family=AF_INET, sin_port=htons(53)}";
        assert_eq!(read(odd), Some(Address::Other("AF_INET".into())));
    }

    #[test]
    fn redacted_addresses_are_named_as_they_stand() {
        for (text, words, port) in [
            (
                r#"{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.x.x.1")}"#,
                "10.x.x.1",
                Some(53),
            ),
            (
                r#"{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("XX.XX.XX.XX")}"#,
                "XX.XX.XX.XX",
                Some(53),
            ),
            (
                "{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(<Private IP>)}",
                "<Private IP>",
                Some(443),
            ),
            (
                "{sa_family=AF_INET, sin_port=htons(443), sin_addr=REDACTED}",
                "REDACTED",
                Some(443),
            ),
            (
                r#"{sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "2001:xxxx::1", &sin6_addr)}"#,
                "2001:xxxx::1",
                Some(53),
            ),
            (
                r#"{sa_family=AF_INET, sin_port=htons(99999), sin_addr=inet_addr("x")}"#,
                "x",
                None,
            ),
        ] {
            let want = Address::Unreadable {
                text: words.into(),
                port,
            };
            assert_eq!(read(text.as_bytes()), Some(want), "{text}");
        }
    }
}
