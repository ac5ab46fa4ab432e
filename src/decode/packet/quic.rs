//! QUIC, as far as it shows that a client connects without a SYN.

use crate::flow::HTTPS_PORT;

/// The versions of QUIC whose long headers are known: 1 (RFC 9000) and 2 (RFC 9369).
const VERSIONS: [[u8; 4]; 2] = [[0, 0, 0, 1], [0x6b, 0x33, 0x43, 0xcf]];

/// Connection ids are no longer than this in both versions (RFC 9000 section 17.2).
const MAX_ID: u8 = 20;

/// Whether a datagram may begin with an Initial packet, by its first byte: short headers are nearly all that is sent.
pub(super) fn may_be_initial(src: u16, dst: u16, payload: Option<&[u8]>) -> bool {
    (src == HTTPS_PORT || dst == HTTPS_PORT)
        && payload
            .and_then(<[u8]>::first)
            .is_some_and(|first| first & 0xc0 == 0xc0)
}

/// Whether a datagram begins with an Initial packet. The header form and the version are not encrypted (RFC 9000 section
/// 17.2.2, RFC 9369 section 3.2); the port is that of HTTP/3, for other protocols cannot be told from chance.
pub(super) fn is_initial(src: u16, dst: u16, payload: &[u8]) -> bool {
    let &[first, a, b, c, d, id_length, ..] = payload else {
        return false;
    };
    let version = [a, b, c, d];
    let kind = (first & 0x30) >> 4;
    let initial = u8::from(version != VERSIONS[0]);
    may_be_initial(src, dst, Some(payload))
        && VERSIONS.contains(&version)
        && kind == initial
        && id_length <= MAX_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_initial_packets_of_known_versions_count() {
        let of = |first: u8, version: [u8; 4]| [&[first][..], &version, &[8], &[7; 40]].concat();
        let [v1, v2] = VERSIONS;
        assert!(is_initial(50_000, 443, &of(0xc3, v1)));
        assert!(is_initial(443, 50_000, &of(0xc0, v1)), "the server's");
        assert!(is_initial(50_000, 443, &of(0xd1, v2)));
        assert!(!is_initial(50_000, 443, &of(0xe3, v1)), "Handshake");
        assert!(
            !is_initial(50_000, 443, &of(0xc3, v2)),
            "Retry of version 2"
        );
        assert!(!is_initial(50_000, 443, &of(0x43, v1)), "short header");
        assert!(
            !is_initial(50_000, 443, &of(0xc3, [0, 0, 0, 0])),
            "version negotiation"
        );
        assert!(!is_initial(50_000, 8443, &of(0xc3, v1)));
        assert!(!is_initial(50_000, 443, &[0xc3, 0, 0, 0, 1]));
    }
}
