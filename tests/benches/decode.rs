//! What one frame, one line and one case cost: `cargo bench`. The ratios to other tools are in scripts/bench-offline.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where a test would")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use presyn::decode::packet::{DecodeOptions, Decoder, RawFrame};
use presyn::decode::strace::Reader;
use presyn::pipeline;
use presyn::render::json;
use presyn::session::inputs;
use presyn::time::Timestamp;
use std::hint::black_box;
use std::path::Path;

/// Ethernet and IPv4 before a transport header: 10.0.1.10 to 10.0.1.93.
fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + transport.len()).unwrap().to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([
        0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0,
    ]);
    frame.extend([10, 0, 1, 10, 10, 0, 1, 93]);
    frame.extend(transport);
    frame
}

/// A query for `web.example.lab`, type A, over UDP.
fn query() -> Vec<u8> {
    let dns = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07example\x03lab\x00\x00\x01\x00\x01";
    let length = u16::try_from(8 + dns.len()).unwrap().to_be_bytes();
    let mut udp = vec![0x9c, 0x40, 0, 53, length[0], length[1], 0, 0];
    udp.extend(dns);
    ipv4(17, &udp)
}

/// A segment of bulk data, which nobody reads: flags ACK alone.
fn bulk() -> Vec<u8> {
    let mut tcp = vec![
        0x9c, 0x40, 1, 187, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ];
    tcp.resize(1400, 0x61);
    ipv4(6, &tcp)
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    for (name, data) in [("query", query()), ("bulk", bulk())] {
        let mut decoder = Decoder::new(DecodeOptions::default());
        // A little later each time: no copy of the one before.
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at += 5_000_000;
                let frame = RawFrame {
                    at: Timestamp(at),
                    link: 1,
                    interface: None,
                    data: &data,
                    original_length: u32::try_from(data.len()).unwrap(),
                };
                decoder.decode(frame, &mut |event| drop(black_box(event)));
            });
        });
    }
    group.finish();
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("line");
    let connect: &[u8] =
        b"4711 1700000000.000123 connect(7<UDP:[10.0.1.10:40000]>, {sa_family=AF_INET, \
        sin_port=htons(53), sin_addr=inet_addr(\"10.0.1.93\")}, 16) = 0 <0.000021>";
    let read: &[u8] =
        b"4711 1700000000.000123 read(9</srv/data/part-0001>, \"\"..., 65536) = 65536 <0.000011>";
    for (name, line) in [("connect", connect), ("read", read)] {
        let mut reader = Reader::new(0);
        let mut number = 0;
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 1;
                reader.line(number, line, &mut |event| drop(black_box(event)));
            });
        });
    }
    group.finish();
}

fn cases(c: &mut Criterion) {
    let mut group = c.benchmark_group("case");
    for name in ["nothing-wrong", "zookeeper-three-silent"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("captures")
            .join(name);
        group.bench_function(name, |b| {
            b.iter(|| {
                let options = inputs::InputOptions::default();
                let gathered = inputs::gather(std::slice::from_ref(&folder), &options).unwrap();
                let report = pipeline::report(gathered, &pipeline::Settings::default());
                json::write(&report, &mut std::io::sink()).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames, lines, cases);
criterion_main!(benches);
