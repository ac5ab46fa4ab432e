//! Raw socket addresses (`struct sockaddr`, as the kernel takes them) to [`Address`].

use crate::event::Address;
use crate::flow::Endpoint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `AF_UNSPEC`, `AF_UNIX`, `AF_INET`, `AF_INET6` and others by name, from Linux `include/linux/socket.h`.
const FAMILIES: &[(u16, &str)] = &[
    (0, "AF_UNSPEC"),
    (1, "AF_UNIX"),
    (2, "AF_INET"),
    (3, "AF_AX25"),
    (4, "AF_IPX"),
    (10, "AF_INET6"),
    (15, "AF_KEY"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
    (29, "AF_CAN"),
    (31, "AF_BLUETOOTH"),
    (38, "AF_ALG"),
    (40, "AF_VSOCK"),
    (44, "AF_XDP"),
];

/// The name of an address family, e.g. `AF_NETLINK`; its number when it has no name here.
pub fn family_name(family: u16) -> Box<str> {
    match FAMILIES.iter().find(|(number, _)| *number == family) {
        Some((_, name)) => (*name).into(),
        None => family.to_string().into_boxed_str(),
    }
}

/// Reads a raw socket address of this machine's byte order (`sa_family` is in host order, ports and
/// addresses in network order: ip(7), ipv6(7)). Too short an address is [`Address::Other`], never an
/// error: the kernel refuses it too, and the call is worth showing all the same.
pub fn parse(bytes: &[u8]) -> Address {
    let Some((family, data)) = bytes.split_first_chunk::<2>() else {
        return Address::Other("too short".into());
    };
    parse_data(u16::from_ne_bytes(*family), data)
}

/// The same for an address whose family is known already and whose `sa_data` follows.
pub fn parse_data(family: u16, data: &[u8]) -> Address {
    let short = || Address::Other(format!("{} (too short)", family_name(family)).into_boxed_str());
    match family {
        0 => Address::Unspecified,
        1 => Address::Unix(unix_path(data)),
        2 => match data.first_chunk::<6>() {
            Some([high, low, ip @ ..]) => Address::Inet(Endpoint::new(
                IpAddr::V4(Ipv4Addr::from(*ip)),
                u16::from_be_bytes([*high, *low]),
            )),
            None => short(),
        },
        10 => {
            // struct sockaddr_in6: port (2), flow information (4), address (16), scope (4).
            let port = data.first_chunk::<2>();
            let address = data.get(6..).and_then(<[u8]>::first_chunk::<16>);
            match (port, address) {
                (Some(port), Some(address)) => Address::Inet(Endpoint::new(
                    IpAddr::V6(Ipv6Addr::from(*address)),
                    u16::from_be_bytes(*port),
                )),
                _ => short(),
            }
        }
        other => Address::Other(family_name(other)),
    }
}

/// A path ends at its first NUL; an abstract name begins with NUL and is counted, not terminated (unix(7)).
/// NULs at the end of an abstract name are padding of careless callers.
fn unix_path(data: &[u8]) -> Box<str> {
    let data = &data[..data.len().min(108)]; // sizeof(sun_path), unix(7)
    let text = match data.split_first() {
        None => String::new(),
        Some((0, name)) => {
            let end = name.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
            format!("@{}", String::from_utf8_lossy(&name[..end]))
        }
        Some(_) => {
            let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
            String::from_utf8_lossy(&data[..end]).into_owned()
        }
    };
    text.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(family: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = family.to_ne_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn internet_addresses() {
        let v4 = parse(&raw(2, &[0, 53, 10, 0, 1, 93, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(v4, Address::Inet(Endpoint::new([10, 0, 1, 93].into(), 53)));
        let mut v6 = vec![0x23, 0x26, 0, 0, 0, 0];
        v6.extend_from_slice(&"::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend_from_slice(&[0; 4]);
        let mapped = parse(&raw(10, &v6));
        assert_eq!(
            mapped,
            Address::Inet(Endpoint::new([192, 0, 2, 7].into(), 8998))
        );
    }

    #[test]
    fn unix_and_others() {
        assert_eq!(parse(&raw(1, b"/a b\0junk")), Address::Unix("/a b".into()));
        assert_eq!(parse(&raw(1, b"\0name\0")), Address::Unix("@name".into()));
        assert_eq!(parse(&raw(1, b"")), Address::Unix("".into()));
        assert_eq!(parse(&raw(0, &[1; 14])), Address::Unspecified);
        assert_eq!(
            parse(&raw(16, &[0; 10])),
            Address::Other("AF_NETLINK".into())
        );
    }

    #[test]
    fn short_ones_are_data() {
        for family in [2, 10] {
            for length in 0..6 {
                let address = parse(&raw(family, &vec![1; length]));
                assert!(matches!(address, Address::Other(_)), "{address:?}");
            }
        }
        assert_eq!(parse(&[2]), Address::Other("too short".into()));
    }
}
