//! DNS messages, reduced to what the join needs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A DNS message (RFC 1035 section 4), from a packet or from a call's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Transaction id.
    pub id: u16,
    /// QR: a response.
    pub response: bool,
    /// OPCODE; 0 is a standard query.
    pub opcode: u8,
    /// TC: the answer was cut, ask again over TCP.
    pub truncated: bool,
    /// RCODE, with the extended bits of an OPT record where one was readable.
    pub rcode: Rcode,
    /// The first question; `None` when the message has none or it could not be read.
    pub question: Option<Question>,
    /// Number of answer records claimed by the header.
    pub answers: u16,
    /// Addresses among the answers (A, AAAA), at most [`Self::MAX_DATA`].
    #[serde(default, skip_serializing_if = "is_empty")]
    pub addresses: Arc<[IpAddr]>,
    /// A referral (RFC 9499 section 4): no answer, and the authority section names servers of a zone below, without the SOA
    /// that a negative response carries (RFC 2308 section 2.2), from a server that is no authority and does not recurse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub referral: bool,
    /// It carries an OPT record (EDNS, RFC 6891).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edns: bool,
    /// Whether all of the message was there and could be walked to its end.
    pub complete: bool,
    /// The message as it was sent, where it is complete and somebody wants to send it again
    /// (`decode::packet::DecodeOptions::keep_messages`).
    #[serde(skip)]
    pub bytes: Option<Arc<[u8]>>,
}

fn is_empty(addresses: &Arc<[IpAddr]>) -> bool {
    addresses.is_empty()
}

impl Message {
    /// How many addresses of one answer are kept: more is an oddity that would only cost
    /// memory.
    pub const MAX_DATA: usize = 64;
}

/// A question: what name, what type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Question {
    /// The name asked for.
    pub name: Name,
    /// The record type; `None` when the payload was cut before it.
    pub kind: Option<RecordType>,
    /// The name was cut too (strace shows 32 bytes by default): only a beginning of it is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl Question {
    /// Whether two questions may be the same; either may have been cut short, or not be known at all.
    pub fn may_be(a: Option<&Self>, b: Option<&Self>) -> bool {
        let (Some(a), Some(b)) = (a, b) else {
            return true;
        };
        if a.kind.is_some() && b.kind.is_some() && a.kind != b.kind {
            return false;
        }
        let (x, y) = (&a.name.0, &b.name.0);
        match (a.cut, b.cut) {
            (false, false) => x.eq_ignore_ascii_case(y),
            (true, false) => begins(y, x),
            (false, true) => begins(x, y),
            (true, true) => begins(x, y) || begins(y, x),
        }
    }
}

/// Whether a name begins with another, without regard to case.
fn begins(long: &str, short: &str) -> bool {
    long.as_bytes()
        .get(..short.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(short.as_bytes()))
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{kind} {}", self.name)?,
            None => write!(f, "? {}", self.name)?,
        }
        f.write_str(if self.cut { "…" } else { "" })
    }
}

/// A domain name in presentation form (RFC 1035 section 5.1): no final dot, except the root `.`;
/// dots and backslashes inside labels escaped as `\.` and `\\`, every other byte that is not printable
/// ASCII as `\DDD`. It is therefore safe to print. The case of letters is kept as sent. Query, answer and lookup share
/// one copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(pub Arc<str>);

impl Name {
    /// A name that the inputs do not show. No name in presentation form is empty.
    pub fn unknown() -> Self {
        Self("".into())
    }

    /// The name, unless the inputs do not show it.
    pub fn known(&self) -> Option<&Self> {
        Some(self).filter(|name| !name.0.is_empty())
    }

    /// The name in lower case: DNS compares without regard to case (RFC 4343).
    #[must_use]
    pub fn folded(&self) -> Self {
        if self.0.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Self(self.0.to_ascii_lowercase().into())
        } else {
            self.clone()
        }
    }

    /// The whole of a reverse IPv4 name of which only a beginning is known: after four numbers and a dot
    /// nothing but `in-addr.arpa` can follow in practice. `None` for any other beginning.
    pub fn completed(&self) -> Option<Self> {
        const REST: &str = "in-addr.arpa";
        let mut parts = self.0.splitn(5, '.');
        let octets: Vec<&str> = parts.by_ref().take(4).collect();
        let rest = parts.next()?;
        let numbers = octets.len() == 4 && octets.iter().all(|o| o.parse::<u8>().is_ok());
        (numbers && !rest.is_empty() && REST.starts_with(&rest.to_ascii_lowercase()))
            .then(|| Self(format!("{}.{REST}", octets.join(".")).into()))
    }

    /// The address that a reverse name (`…in-addr.arpa`, `…ip6.arpa`) stands for.
    pub fn reverse_of(&self) -> Option<IpAddr> {
        let name = self.0.to_ascii_lowercase();
        if let Some(v4) = name.strip_suffix(".in-addr.arpa") {
            let bytes: Vec<u8> = v4
                .rsplit('.')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .ok()?;
            return <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        }
        let digits = name.strip_suffix(".ip6.arpa")?;
        let nibbles: Vec<u8> = digits
            .rsplit('.')
            .map(|d| {
                if d.len() == 1 {
                    u8::from_str_radix(d, 16).ok()
                } else {
                    None
                }
            })
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> = nibbles
            .chunks(2)
            .map(|n| n.iter().fold(0, |b, d| b << 4 | d))
            .collect();
        if nibbles.len() != 32 {
            return None;
        }
        <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|b| IpAddr::from(b).to_canonical())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record type by number, shown by its name where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordType(pub u16);

impl RecordType {
    /// IPv4 address (RFC 1035).
    pub const A: Self = Self(1);
    /// Resolver (RFC 1035).
    pub const NS: Self = Self(2);
    /// Canonical name (RFC 1035).
    pub const CNAME: Self = Self(5);
    /// Start of authority (RFC 1035).
    pub const SOA: Self = Self(6);
    /// Pointer, used by reverse lookups (RFC 1035).
    pub const PTR: Self = Self(12);
    /// IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// EDNS pseudo record (RFC 6891).
    pub const OPT: Self = Self(41);
}

/// Names of record types, from the IANA registry "Resource Record (RR) TYPEs".
const RECORD_TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RECORD_TYPES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            // RFC 3597 section 5: how to write a type that has no mnemonic.
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// A response code, shown by its name where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error (RFC 1035).
    pub const NOERROR: Self = Self(0);
    /// The server could not read the query (RFC 1035).
    pub const FORMERR: Self = Self(1);
    /// The server failed (RFC 1035).
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist (RFC 1035).
    pub const NXDOMAIN: Self = Self(3);
    /// The server does not support this kind of query (RFC 1035).
    pub const NOTIMP: Self = Self(4);
    /// The server will not answer this client (RFC 1035).
    pub const REFUSED: Self = Self(5);

    /// Whether the server could not or would not answer. NXDOMAIN is an answer.
    pub fn is_error(self) -> bool {
        [Self::FORMERR, Self::SERVFAIL, Self::NOTIMP, Self::REFUSED].contains(&self)
    }
}

/// Names of response codes, from the IANA registry "DNS RCODEs".
const RCODES: &[(u16, &str)] = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RCODES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}
