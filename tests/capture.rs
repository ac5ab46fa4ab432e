//! Live capture on loopback. Needs the right to capture; says loudly when it is not there.
#![allow(clippy::unwrap_used)] // tests

use presyn::source::capture::pcap_writer::PcapWriter;
use presyn::source::capture::{Batch, CaptureCounts, CaptureError, CaptureSettings, Live, Netns};
use presyn::source::privilege::may_capture;
use presyn::time::Timestamp;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

fn permitted() -> bool {
    if !may_capture() {
        let said = "SKIPPED: no CAP_NET_RAW here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    }
    may_capture()
}

/// Captures while `act` runs: time, length, original length of each frame.
fn capture(
    settings: &CaptureSettings,
    act: impl FnOnce(),
) -> (Vec<(Timestamp, Vec<u8>, u32)>, CaptureCounts) {
    let live = Live::open(settings).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut frames = Vec::new();
            let counts = live.run(&stop, &mut |batch| {
                if let Batch::Frame(f) = batch {
                    frames.push((f.at, f.data.to_vec(), f.original_length));
                }
            });
            (frames, counts.unwrap())
        });
        act();
        stop.store(true, Ordering::Release);
        reader.join().unwrap()
    })
}

#[test]
fn syns_and_dns_are_captured_and_the_rest_is_not() {
    if !permitted() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp, udp) = (
        listener.local_addr().unwrap(),
        resolver.local_addr().unwrap(),
    );
    let settings = CaptureSettings {
        filter: Some(format!("port {} or port {}", tcp.port(), udp.port())),
        dns_ports: vec![53, udp.port()],
        ..CaptureSettings::default()
    };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (frames, counts) = capture(&settings, || {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"query", udp).unwrap();
        other
            .send_to(b"elsewhere", other.local_addr().unwrap())
            .unwrap();
        let mut stream = TcpStream::connect(tcp).unwrap();
        let mut accepted = listener.accept().unwrap().0;
        stream.write_all(b"payload").unwrap();
        accepted.write_all(b"payload").unwrap();
    });
    // On "any" with SLL2: 20 bytes, then IPv4.
    let flags = |frame: &[u8]| (frame[29] == 6).then(|| frame[20 + 20 + 13] & 0x17);
    let seen: Vec<_> = frames.iter().map(|(_, data, _)| flags(data)).collect();
    assert_eq!(
        seen[..3],
        [None, Some(0x02), Some(0x12)],
        "query, SYN, SYN-ACK"
    );
    assert!(
        seen[3..].iter().all(|f| f.is_some_and(|f| f & 0x05 != 0)),
        "FINs and RSTs"
    );
    assert!(frames[0].1.ends_with(b"query"));
    assert_eq!(counts.delivered, frames.len() as u64);
    assert_eq!((counts.kernel_dropped, counts.interface_dropped), (0, 0));
    let begin = i64::try_from(since_epoch.as_nanos()).unwrap();
    assert!(
        (0..5_000_000_000).contains(&(frames[0].0.0 - begin)),
        "nanoseconds since the epoch"
    );
}

#[test]
fn a_storm_of_syns_is_not_dropped() {
    if !permitted() {
        return;
    }
    // Nobody listens on a port that was just closed.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = CaptureSettings {
        filter: Some(format!("dst port {}", closed.port())),
        ..CaptureSettings::default()
    };
    let (frames, counts) = capture(&settings, || {
        for _ in 0..20_000 {
            assert!(TcpStream::connect(closed).is_err());
        }
    });
    assert_eq!((frames.len(), counts.kernel_dropped), (20_000, 0));
}

#[test]
fn another_namespace_is_captured_in() {
    if !permitted() {
        return;
    }
    let script = "ip link set lo up; echo ready; read go; python3 -c '\nimport socket\n\
                  for _ in range(3): socket.socket().connect_ex((\"127.0.0.1\", 9))\n'; echo done; read end";
    let mut inside = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(inside.stdout.take().unwrap()).lines();
    let mut input = inside.stdin.take().unwrap();
    let Some(Ok(ready)) = lines.next() else {
        let said = "SKIPPED: no network namespaces here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        inside.wait().unwrap();
        return;
    };
    assert_eq!(ready, "ready");
    let settings = CaptureSettings {
        netns: Some(Netns::Process(inside.id())),
        filter: Some("dst port 9".to_owned()),
        ..CaptureSettings::default()
    };
    let (frames, _) = capture(&settings, || {
        input.write_all(b"go\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "done");
    });
    assert_eq!(frames.len(), 3);
    drop(input);
    inside.wait().unwrap();
}

#[test]
fn what_is_stored_can_be_read_while_it_grows() {
    if !permitted() {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let settings = CaptureSettings {
        filter: Some(format!("port {}", to.port())),
        ..CaptureSettings::default()
    };
    let live = Live::open(&settings).unwrap();
    let mut writer = PcapWriter::new(file.reopen().unwrap(), live.link());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            live.run(&stop, &mut |batch| match batch {
                Batch::Frame(frame) => writer.write(&frame),
                Batch::End => writer.flush(),
            })
        });
        let _stream = TcpStream::connect(to).unwrap();
        let begin = std::time::Instant::now();
        // SYN and SYN-ACK: 24 + 2 × (16 + 20 + 20 + 40) bytes.
        while file.as_file().metadata().unwrap().len() < 24 + 2 * 96 {
            assert!(begin.elapsed().as_secs() < 10, "nothing arrives");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        stop.store(true, Ordering::Release);
        reader.join().unwrap().unwrap();
    });
    let mut read = pcap::Capture::from_file(file.path()).unwrap();
    assert_eq!(read.get_datalink().0, 276);
    assert!(read.next_packet().is_ok() && read.next_packet().is_ok());
}

#[test]
fn refusals_have_their_reasons() {
    if !permitted() {
        return;
    }
    let open = |settings: CaptureSettings| Live::open(&settings).err().unwrap();
    let interface = CaptureSettings {
        interface: "nope0".to_owned(),
        ..CaptureSettings::default()
    };
    assert!(matches!(open(interface), CaptureError::Open { .. }));
    for filter in ["port http https", "port 1) or (port 2"] {
        let filter = CaptureSettings {
            filter: Some(filter.to_owned()),
            ..CaptureSettings::default()
        };
        assert!(matches!(open(filter), CaptureError::Filter { .. }));
    }
    let netns = CaptureSettings {
        netns: Some(Netns::Named("nope".to_owned())),
        ..CaptureSettings::default()
    };
    assert!(matches!(open(netns), CaptureError::Netns { .. }));
}
