//! An strace log and the capture beside it, too large for memory: the clock is solved from their beginnings, then both are
//! read in order of time, and the report is that of all they hold.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

use flate2::{Compression, write::GzEncoder};
use presyn::explain::assemble::Limits;
use presyn::pipeline::{self, Settings};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const ROUNDS: u32 = 6_000;
/// The log's clock is an hour behind.
const BEHIND: u32 = 3_600;

fn dns(n: u32, answer: bool) -> Vec<u8> {
    let name = format!("host{n}");
    let mut message = u16::try_from(n).unwrap().to_be_bytes().to_vec();
    message.extend(if answer { [0x81, 0x80] } else { [1, 0] });
    message.extend([0, 1, 0, u8::from(answer), 0, 0, 0, 0]);
    message.push(u8::try_from(name.len()).unwrap());
    message.extend(name.bytes());
    message.extend(b"\x07example\x03com\0\0\x01\0\x01");
    if answer {
        message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
        message.extend(server(n));
    }
    message
}

fn server(n: u32) -> [u8; 4] {
    let [_, _, c, d] = n.to_be_bytes();
    [11, 0, c, d]
}

const CLIENT: [u8; 4] = [10, 0, 1, 7];
const RESOLVER: [u8; 4] = [10, 0, 0, 54];

/// An IPv4 packet between two ends; `head` follows the ports.
fn packet(protocol: u8, ends: [([u8; 4], u16); 2], head: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(24 + head.len() + payload.len()).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(ends.iter().flat_map(|(ip, _)| ip));
    bytes.extend(ends.iter().flat_map(|(_, port)| port.to_be_bytes()));
    bytes.extend(head);
    bytes.extend(payload);
    bytes
}

fn udp(ends: [([u8; 4], u16); 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    packet(17, ends, &[length[0], length[1], 0, 0], payload)
}

fn tcp(ends: [([u8; 4], u16); 2], seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    let mut head = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
    head.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    packet(6, ends, &head, &[])
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "\\{b:03o}").unwrap();
        text
    })
}

/// One lookup and one connect, as the log shows them.
fn lines(n: u32, log: &mut String) {
    let port = 20_000 + n;
    let to = Ipv4Addr::from(server(n));
    let udp = format!("5<UDP:[10.0.1.7:{port}->10.0.0.54:53]>");
    let tcp = format!("5<TCP:[10.0.1.7:{port}->{to}:443]>");
    let (query, answer) = (dns(n, false), dns(n, true));
    let (asked, told) = (query.len(), answer.len());
    let resolver = "{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.0.54\")}";
    let address =
        format!("{{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"{to}\")}}");
    let calls = [
        (
            0,
            format!("socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 5<UDP:[{n}]>"),
            9,
        ),
        (20, format!("connect(5<UDP:[{n}]>, {resolver}, 16) = 0"), 9),
        (
            60,
            format!(
                "sendto({udp}, \"{}\", {asked}, 0, NULL, 0) = {asked}",
                octal(&query)
            ),
            12,
        ),
        (
            80,
            format!(
                "poll([{{fd={udp}, events=POLLIN}}], 1, 5000) = 1 ([{{fd=5, revents=POLLIN}}])"
            ),
            500 + n % 97,
        ),
        (
            700,
            format!(
                "recvfrom({udp}, \"{}\", 2048, 0, {resolver}, [28 => 16]) = {told}",
                octal(&answer)
            ),
            9,
        ),
        (720, format!("close({udp}) = 0"), 7),
        (
            800,
            format!("socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 5<TCP:[{n}]>"),
            9,
        ),
        (
            820,
            format!(
                "connect(5<TCP:[{n}]>, {address}, 16) = -1 EINPROGRESS (Operation now in progress)"
            ),
            20,
        ),
        (
            850,
            format!(
                "poll([{{fd={tcp}, events=POLLOUT}}], 1, 5000) = 1 ([{{fd=5, revents=POLLOUT}}])"
            ),
            300 + n % 501,
        ),
        (
            1_800,
            format!("getsockopt({tcp}, SOL_SOCKET, SO_ERROR, [0], [4]) = 0"),
            5,
        ),
        (1_830, format!("close({tcp}) = 0"), 7),
    ];
    for (after, call, lasted) in calls {
        let (seconds, micros) = time(n, after);
        let seconds = seconds - BEHIND;
        writeln!(
            log,
            "{} {seconds}.{micros:06} {call} <0.{lasted:06}>",
            1_000 + n % 8
        )
        .unwrap();
    }
}

/// In seconds and microseconds, so long after the beginning of a round of 20 ms.
fn time(n: u32, after: u32) -> (u32, u32) {
    let micros = n % 50 * 20_000 + after;
    (1_700_000_000 + n / 50, micros)
}

fn frames(n: u32, capture: &mut Vec<u8>) {
    let port = u16::try_from(20_000 + n).unwrap();
    let resolver = [(CLIENT, port), (RESOLVER, 53)];
    let server = [(CLIENT, port), (server(n), 443)];
    let back = |[a, b]: [([u8; 4], u16); 2]| [b, a];
    for (after, bytes) in [
        (68, udp(resolver, &dns(n, false))),
        (560 + n % 97, udp(back(resolver), &dns(n, true))),
        (828, tcp(server, n, 0, 2)),
        (1_100 + n % 501, tcp(back(server), 77, n + 1, 0x12)),
    ] {
        let (seconds, micros) = time(n, after);
        let length = u32::try_from(bytes.len()).unwrap();
        for field in [seconds, micros, length, length] {
            capture.extend(field.to_le_bytes());
        }
        capture.extend(bytes);
    }
}

fn packed(path: &Path, bytes: &[u8]) {
    let mut file = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}

fn report(paths: &[PathBuf], limits: Limits) -> Report {
    let options = InputOptions {
        limits,
        ..InputOptions::default()
    };
    let gathered = inputs::gather(paths, &options).unwrap();
    let retained = gathered.packets.len();
    let bounded = limits.list < usize::MAX;
    assert_eq!(
        retained < 4 * ROUNDS as usize,
        bounded,
        "{retained} packets"
    );
    pipeline::checked_report(gathered, &Settings::default()).unwrap()
}

#[test]
fn a_log_beside_its_capture_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut log, mut capture) = (String::new(), Vec::new());
    for field in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101_u32] {
        capture.extend(field.to_le_bytes());
    }
    for n in 1..=ROUNDS {
        lines(n, &mut log);
        frames(n, &mut capture);
    }
    let paths = [folder.join("run.strace.gz"), folder.join("run.pcap.gz")];
    packed(&paths[0], log.as_bytes());
    packed(&paths[1], &capture);
    let (some, whole) = (report(&paths, Limits::BOUNDED), report(&paths, Limits::ALL));
    let rows = |r: &Report| {
        let rows = r.resolvers.iter();
        rows.map(|r| {
            (
                r.queries,
                r.answered,
                r.never_sent,
                r.transactions,
                r.origin,
            )
        })
        .collect::<Vec<_>>()
    };
    let all = Some(u64::from(ROUNDS));
    assert_eq!(rows(&some)[0].1, all);
    assert_eq!(rows(&some), rows(&whole));
    let counts = |r: &Report| [r.omitted.lookups, r.omitted.connections, r.omitted.delays];
    assert_eq!(counts(&some), counts(&whole));
    assert_eq!(some.summary, whole.summary);
    assert_eq!(some.inputs.clock.offset_s, whole.inputs.clock.offset_s);
    let times = |r: &Report| {
        let delays = r.delays.iter();
        delays
            .map(|d| format!("{:?} {:?}", d.since_start_s, d.after_syn_s))
            .collect::<Vec<_>>()
    };
    assert_eq!(times(&some), times(&whole));
    let called = |r: &Report| {
        r.connections
            .iter()
            .all(|c| c.cause.as_ref().is_some_and(|c| c.call.is_some()))
    };
    assert!(called(&some) && called(&whole));
    // The log comes through a pipe, which can be read once only.
    let pipe = folder.join("pipe");
    nix::unistd::mkfifo(
        &pipe,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    let piped = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut to = fs::File::options().write(true).open(&pipe).unwrap();
            std::io::copy(&mut fs::File::open(&paths[0]).unwrap(), &mut to).unwrap();
        });
        report(&[pipe.clone(), paths[1].clone()], Limits::BOUNDED)
    });
    assert_eq!(rows(&piped), rows(&some));
    assert_eq!(counts(&piped), counts(&some));
    assert_eq!(piped.summary, some.summary);
    assert_eq!(times(&piped), times(&some));
    assert_eq!(piped.inputs.traces[0].path, pipe.display().to_string());
}
