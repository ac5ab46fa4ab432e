use super::*;
use proptest::prelude::*;
use simple_dns::rdata::RData as Oracle;
use simple_dns::{
    CLASS, Name as OracleName, Packet, QTYPE, Question as Asked, ResourceRecord, TYPE,
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A query for this name, as simple-dns writes it.
fn query(name: &str, kind: TYPE) -> Packet<'_> {
    let mut packet = Packet::new_query(0x1234);
    let name = OracleName::new_unchecked(name);
    packet
        .questions
        .push(Asked::new(name, QTYPE::TYPE(kind), CLASS::IN.into(), false));
    packet
}

/// An answer section of an alias, two addresses and a type that dns-parser does not know.
fn response() -> Vec<u8> {
    let mut packet = query("www.example.com", TYPE::A).into_reply();
    let record = |name: &'static str, data| {
        ResourceRecord::new(OracleName::new_unchecked(name), CLASS::IN, 60, data)
    };
    packet.questions = query("www.example.com", TYPE::A).questions;
    packet.answers = vec![
        record(
            "www.example.com",
            Oracle::CNAME(OracleName::new_unchecked("web.example.com").into()),
        ),
        record(
            "web.example.com",
            Oracle::NULL(65, simple_dns::rdata::NULL::new(b"svcb").unwrap()),
        ),
        record(
            "web.example.com",
            Oracle::A(Ipv4Addr::new(192, 0, 2, 1).into()),
        ),
        record("web.example.com", Oracle::AAAA(Ipv6Addr::LOCALHOST.into())),
    ];
    packet.build_bytes_vec_compressed().unwrap()
}

#[test]
fn a_response_keeps_its_addresses_and_names() {
    let message = parse(&response()).unwrap();
    assert!(message.response && message.complete);
    assert_eq!((message.id, message.answers), (0x1234, 4));
    let question = message.question.unwrap();
    assert_eq!(question.to_string(), "A www.example.com");
    let ips: [std::net::IpAddr; 2] = [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    assert_eq!(message.addresses[..], ips);
}

#[test]
fn names_beyond_ascii_in_records_cost_no_address() {
    let name = "\u{fc}ber.local";
    let mut packet = query("_http._tcp.local", TYPE::PTR).into_reply();
    packet.questions = query("_http._tcp.local", TYPE::PTR).questions;
    let record = |name: &'static str, data| {
        ResourceRecord::new(OracleName::new_unchecked(name), CLASS::IN, 60, data)
    };
    packet.answers = vec![
        record(
            "_http._tcp.local",
            Oracle::PTR(OracleName::new_unchecked(name).into()),
        ),
        record("host.local", Oracle::A(Ipv4Addr::new(192, 0, 2, 1).into())),
    ];
    let bytes = packet.build_bytes_vec().unwrap();
    let message = parse(&bytes).unwrap();
    assert!(message.complete);
    assert_eq!(
        message.addresses[..],
        [std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, 1))]
    );
    // The reason why dns-parser does not read such records.
    let data = b"\x05\xc3\xbcber\x05local\0";
    assert!(bytes.windows(data.len()).any(|part| part == data));
    assert!(RData::parse(Type::PTR, data, data).is_err());
}

#[test]
fn a_broken_record_costs_only_what_follows_it() {
    let bytes = response();
    let whole = parse(&bytes).unwrap();
    let cut = parse(&bytes[..bytes.len() - 1]).unwrap();
    assert!(!cut.complete);
    assert_eq!(cut.question, whole.question);
    assert_eq!(cut.addresses[..], whole.addresses[..1]);
}

#[test]
fn flags_and_the_extended_rcode_are_read() {
    // NOTIFY, Z bit set.
    let mut notify = query("example.com", TYPE::SOA).build_bytes_vec().unwrap();
    notify[2] |= 4 << 3;
    notify[3] |= 0x40;
    assert_eq!(parse(&notify).unwrap().opcode, 4);
    // BADVERS is 16: 0 in the header, 1 in the OPT record.
    let mut bytes = query(".", TYPE::A).build_bytes_vec().unwrap();
    bytes[2] |= 0x82;
    bytes[11] = 1;
    bytes.extend([0, 0, 41, 4, 0, 1, 0, 0, 0, 0, 0]);
    let message = parse(&bytes).unwrap();
    assert_eq!(message.rcode.to_string(), "BADVERS");
    assert!(message.response && message.truncated && message.complete);
}

#[test]
fn what_is_no_dns_is_refused() {
    let question = query("example.com", TYPE::A).build_bytes_vec().unwrap();
    assert_eq!(parse(&question[..11]), Err(DnsError::Short));
    assert_eq!(parse(&question[..20]), Err(DnsError::Question));
    assert_eq!(parse(&[0; 40]), Err(DnsError::Counts(0, 40)));
    assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Err(DnsError::Opcode(10)));
    // A response without a question whose records are nonsense.
    assert_eq!(
        parse(b"\0\x01\x80\0\0\0\0\x01\0\0\0\0\0junk"),
        Err(DnsError::Records)
    );
    assert!(!looks_like_dns(b"GET / HTTP/1.1\r\n\r\n"));
    assert!(!looks_like_dns(&[0; 40]));
}

#[test]
fn cut_payloads_show_what_there_is_of_the_question() {
    let bytes = query("a-rather-long-host-name.example.com", TYPE::AAAA)
        .build_bytes_vec()
        .unwrap();
    let question = glimpse(&bytes[..32], true).unwrap().question.unwrap();
    // 32 bytes less the header and the label's length.
    assert_eq!(&*question.name.0, "a-rather-long-host-");
    assert!(question.cut && question.kind.is_none());
    let at_type = glimpse(&bytes[..bytes.len() - 2], true)
        .unwrap()
        .question
        .unwrap();
    assert_eq!(at_type.kind, Some(RecordType::AAAA));
    assert!(!at_type.cut);
    for length in 13..bytes.len() {
        let message = glimpse(&bytes[..length], true).unwrap();
        assert!(!message.complete, "{length}");
        assert!(glimpse(&bytes[..length], false).is_none(), "{length}");
    }
    assert!(glimpse(&bytes, false).unwrap().complete);
    assert!(glimpse(b"GET /index.html HTTP/1.1\r\nHost: e", true).is_none());
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), cut: bool) {
        let _ = parse(&bytes);
        let _ = glimpse(&bytes, cut);
        looks_like_dns(&bytes);
    }

    #[test]
    fn a_damaged_response_never_panics(at in 0_usize..100, byte: u8, length in 0_usize..130) {
        let mut bytes = response();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(length);
        let _ = parse(&bytes);
        let _ = glimpse(&bytes, true);
    }

    #[test]
    fn queries_read_as_another_library_wrote_them(
        labels in prop::collection::vec("[a-zA-Z0-9_-]{1,20}", 1..8),
        id: u16,
    ) {
        let name = labels.join(".");
        let mut packet = query(&name, TYPE::PTR);
        packet.set_id(id);
        let bytes = packet.build_bytes_vec().unwrap();
        prop_assert!(looks_like_dns(&bytes));
        let message = parse(&bytes).unwrap();
        prop_assert_eq!(message.id, id);
        prop_assert!(message.complete && !message.response);
        let question = message.question.unwrap();
        prop_assert_eq!(&*question.name.0, name.as_str());
        prop_assert_eq!(question.kind, Some(RecordType::PTR));
    }
}

#[test]
fn a_referral_names_servers_and_no_soa() {
    // A response with one record in the authority section: its flags and type.
    let message = |flags: u8, low: u8, kind: u8| {
        let mut bytes = vec![0, 1, flags, low, 0, 1, 0, 0, 0, 1, 0, 0];
        bytes.extend([1, b'a', 0, 0, 1, 0, 1]);
        bytes.extend([0, 0, kind, 0, 1, 0, 0, 0, 9, 0, 3, 1, b'n', 0]);
        parse(&bytes).unwrap().referral
    };
    assert!(message(0x80, 0, 2), "NS");
    assert!(!message(0x80, 0, 6), "SOA: a negative response");
    assert!(!message(0x84, 0, 2), "authoritative");
    assert!(!message(0x80, 0x80, 2), "a server that recurses has looked");
    assert!(!message(0x80, 3, 2), "NXDOMAIN");
    assert!(!message(0x00, 0, 2), "a query");
}
