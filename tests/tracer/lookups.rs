//! Lookups: queries, waits, answers and closes, and nothing of other calls.

use crate::support::{Run, have, launch, run, try_run};
use presyn::event::{Address, Call, Op, SocketType};
use presyn::source::tracer::Exit;
use std::net::UdpSocket;

/// A query for `a.test`, type A, id 0x1234, as python bytes.
pub const QUERY: &str = r"b'\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1'";

/// A resolver that answers each query with its own bytes and QR set, after a moment.
pub fn resolver(count: usize) -> (u16, std::thread::JoinHandle<usize>) {
    resolver_after(count, 150)
}

/// The same, after so many milliseconds.
pub fn resolver_after(count: usize, millis: u64) -> (u16, std::thread::JoinHandle<usize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let wait = std::time::Duration::from_secs(20);
    socket.set_read_timeout(Some(wait)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut bytes = [0; 512];
        (0..count)
            .filter(|_| {
                let Ok((length, peer)) = socket.recv_from(&mut bytes) else {
                    return false;
                };
                std::thread::sleep(std::time::Duration::from_millis(millis));
                bytes[2] |= 0x80;
                socket.send_to(&bytes[..length], peer).is_ok()
            })
            .count()
    });
    (port, server)
}

pub fn run_with(port: u16, script: &str) -> Run {
    let script = script
        .replace("PORT", &port.to_string())
        .replace("QUERY", QUERY);
    let mut launch = launch(&["python3", "-c", &script]);
    launch.dns_ports.push(port);
    let run = try_run(launch).unwrap();
    assert_eq!(run.ended.exit, Exit::Code(0));
    run
}

pub fn ids(messages: &[presyn::event::Transfer]) -> Vec<u16> {
    messages.iter().flat_map(|m| &m.dns).map(|d| d.id).collect()
}

/// What was done, one word for each call. Connects elsewhere do not count: `python3` may be a shell script whose
/// shell asks nscd who it is.
pub fn story(run: &Run, port: u16) -> Vec<&'static str> {
    run.calls()
        .filter_map(|(_, call)| match &call.op {
            Op::Connect { to, .. } => {
                matches!(to, Address::Inet(to) if to.port == port).then_some("connect")
            }
            Op::Bind { .. } => Some("bind"),
            Op::Send { messages, .. } if ids(messages).is_empty() => Some("elsewhere"),
            Op::Send { messages, .. } => {
                assert_eq!(ids(messages), [0x1234]);
                Some("send")
            }
            Op::Receive { messages, .. } if messages.is_empty() => Some("nothing yet"),
            Op::Receive { messages, .. } => {
                assert!(messages[0].dns[0].response);
                Some("receive")
            }
            Op::Wait { .. } => Some("wait"),
            Op::Close { .. } => Some("close"),
            Op::Sleep => Some("sleep"),
            _ => None,
        })
        .collect()
}

#[test]
fn the_ways_to_ask() {
    let all = "import os, select, socket, time\n\
               to = ('127.0.0.1', PORT)\n\
               s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n";
    for (script, expected) in [
        (
            // glibc: connect, send, poll, receive.
            "s.connect(to); s.send(QUERY); p = select.poll(); p.register(s, 1); p.poll(9000); s.recv(512); s.close()",
            vec!["connect", "send", "wait", "receive", "close"],
        ),
        (
            // Go: connect, write, epoll, read.
            "s.connect(to); os.write(s.fileno(), QUERY); e = select.epoll(); e.register(s, 1); e.poll(9); os.read(s.fileno(), 512); s.close()",
            vec!["connect", "send", "wait", "receive", "close"],
        ),
        (
            // musl: bind, sendto from an unconnected socket, recvfrom.
            "s.bind(('', 0)); s.sendto(QUERY, to); select.select([s], [], [], 9); s.recvfrom(512); s.close()",
            vec!["bind", "send", "wait", "receive", "close"],
        ),
        (
            // dig: sendmsg; here with an early look and a sleep.
            "s.setblocking(False); s.sendmsg([QUERY[:5], QUERY[5:]], [], 0, to)\n\
             try: s.recv(9)\n\
             except BlockingIOError: time.sleep(0.4)\n\
             s.recvmsg(512); s.close()",
            vec!["send", "nothing yet", "sleep", "receive", "close"],
        ),
        (
            // Given up on: the close is told, later calls are not.
            "s.sendto(QUERY, to); select.select([s], [], [], 0.02); s.close(); time.sleep(0.3)\n\
             select.select([], [], [], 0)",
            vec!["send", "wait", "close"],
        ),
    ] {
        let (port, server) = resolver(1);
        let run = run_with(port, &format!("{all}{script}\n"));
        assert_eq!(story(&run, port), expected, "{script}");
        assert_eq!(server.join().unwrap(), 1);
        for (event, call) in run.calls() {
            check(event.at, call, port);
        }
    }
}

/// The sends of a TCP connection are looked at once. Its descriptor may be a resolver's socket later.
#[test]
fn a_descriptor_with_a_new_meaning_is_looked_at_again() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!(
        "import os, socket\n\
         def stream():\n\
         \x20   s = socket.create_connection(('127.0.0.1', {}))\n\
         \x20   [s.send(b'x') for _ in range(9)]\n\
         \x20   return s.fileno(), s.close()\n\
         first, _ = stream()\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); assert s.fileno() == first\n\
         s.connect(('127.0.0.1', PORT)); s.send(QUERY); s.recv(512); s.close()\n\
         again, _ = stream(); assert again == first\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); assert s.fileno() == first\n\
         s.sendto(QUERY, ('127.0.0.1', PORT)); s.recv(512); s.close()\n\
         again, _ = stream(); assert again == first\n\
         if os.fork() == 0:\n\
         \x20   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         \x20   s.connect(('127.0.0.1', PORT)); s.send(QUERY); s.recv(512)\n\
         \x20   os._exit(0)\n\
         os.wait()\n",
        tcp.local_addr().unwrap().port()
    );
    let (port, server) = resolver(3);
    let run = run_with(port, &script);
    assert_eq!(server.join().unwrap(), 3);
    let asked = story(&run, port);
    let count = |what| asked.iter().filter(|word| **word == what).count();
    assert_eq!((count("send"), count("receive")), (3, 3), "{asked:?}");
}

fn check(at: presyn::time::Timestamp, call: &Call, port: u16) {
    assert!(call.exited.is_some_and(|exit| exit >= at));
    let waits = matches!(&call.op, Op::Wait { timeout: Some(t), .. } if t.as_seconds() > 8.0);
    if waits {
        let span = call.exited.unwrap() - at;
        assert!((0.1..5.0).contains(&span.as_seconds()), "{span:?}");
    }
    if let Op::Send { fd, messages } = &call.op {
        let note = fd.note.as_deref().unwrap();
        assert_eq!(note.socket.unwrap().style, SocketType::Datagram);
        assert!(note.local.is_some_and(|l| l.port != 0), "{note:?}");
        let to = messages[0].peer.or(note.peer).unwrap();
        assert_eq!(to.port, port);
        assert!(messages[0].taken);
    }
}

#[test]
fn a_signal_in_a_wait_does_not_lose_it() {
    let (port, server) = resolver(1);
    let run = run_with(
        port,
        "import os, select, signal, socket, threading, time\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', PORT)); s.send(QUERY)\n\
         def stop():\n\
         \x20   pid = os.getpid()\n\
         \x20   if os.fork() == 0:\n\
         \x20       time.sleep(0.03); os.kill(pid, signal.SIGSTOP); time.sleep(0.05); os.kill(pid, signal.SIGCONT); os._exit(0)\n\
         stop(); p = select.poll(); p.register(s, 1); p.poll(9000); s.recv(512); s.close()\n",
    );
    assert_eq!(server.join().unwrap(), 1);
    let told = story(&run, port);
    assert_eq!(told.first(), Some(&"connect"));
    assert!(
        told.contains(&"wait") && told.ends_with(&["receive", "close"]),
        "{told:?}"
    );
    // Stopped and woken, it is still one wait.
    let waits: Vec<_> = run
        .calls()
        .filter(|(_, c)| matches!(c.op, Op::Wait { .. }))
        .collect();
    assert_eq!(waits.len(), 1, "{waits:?}");
}

#[test]
fn a_lookup_over_tcp_is_read_in_pieces() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut bytes = [0; 2 + 24];
        stream.read_exact(&mut bytes).unwrap();
        bytes[4] |= 0x80;
        stream.write_all(&bytes).unwrap();
    });
    // As glibc does: both parts with one writev, then the length, then the rest.
    let run = run_with(
        port,
        "import os, socket\n\
         s = socket.socket(); s.connect(('127.0.0.1', PORT))\n\
         q = QUERY; os.writev(s.fileno(), [len(q).to_bytes(2, 'big'), q])\n\
         n = int.from_bytes(s.recv(2), 'big'); s.recv(n); s.close()\n",
    );
    server.join().unwrap();
    let calls: Vec<_> = run.calls().map(|(_, call)| &call.op).collect();
    let sent = calls.iter().find_map(|op| match op {
        Op::Send { messages, fd } => Some((ids(messages), fd.note.as_deref().unwrap())),
        _ => None,
    });
    let (asked, note) = sent.unwrap();
    assert_eq!(asked, [0x1234]);
    assert_eq!(note.socket.unwrap().style, SocketType::Stream);
    let read: Vec<_> = calls
        .iter()
        .filter_map(|op| match op {
            Op::Receive { messages, .. } => Some(ids(messages)),
            _ => None,
        })
        .collect();
    assert_eq!(read, [vec![], vec![0x1234]]);
}

/// In a network of its own: a resolver that never answers and one that does, and a command.
const LAB: &str = r#"
ip link set lo up
printf 'nameserver 127.0.0.2\nnameserver 127.0.0.3\noptions timeout:1\n' > "$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf || exit 99
printf 'hosts: dns\n' > "$1/nsswitch.conf"
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf || exit 99
python3 -c '
import select, socket
ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab"]
[s.bind(("127.0.0.%d" % n, 53)) for s, n in zip(ends, (2, 3))]
print("ready", flush=True)
while True:
    for s in select.select(ends, [], [])[0]:
        d, peer = s.recvfrom(512)
        if s is ends[0]: continue
        end = d.index(b"\0", 12) + 5
        four = d[end-4:end-2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if four else b""
        s.sendto(d[:2] + b"\x81\x80\0\1" + (b"\0\1" if four else b"\0\0") + b"\0\0\0\0" + d[12:end] + answer, peer)
' > "$1/ready" &
until test -s "$1/ready"; do sleep 0.05; done
"$2" hosts name.test > "$1/out"
status=$?
kill $!
exit $status
"#;

#[test]
fn getent_asks_a_silent_and_a_good_resolver() {
    if !have("unshare", &["-Urnm", "true"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let run = run(&["unshare", "-Urnm", "sh", "-c", LAB, "lab", path, "getent"]);
    assert_eq!(run.ended.exit, Exit::Code(0));
    let out = std::fs::read_to_string(directory.path().join("out")).unwrap();
    assert!(out.starts_with("127.0.0.1 "), "{out}");
    let getent: Vec<_> = run
        .calls()
        .map(|(_, call)| call)
        .filter(|call| call.task.comm.as_deref() == Some("getent"))
        .collect();
    let asked = |server: &str| {
        let to: std::net::SocketAddr = server.parse().unwrap();
        let of = |c: &&&Call| {
            let note = c.op.fd().and_then(|fd| fd.note.as_deref());
            note.and_then(|n| n.peer) == Some(to.into())
        };
        let sends = getent.iter().filter(|c| matches!(c.op, Op::Send { .. }));
        sends.filter(of).count()
    };
    // AAAA first, then A; each first of the silent one.
    assert_eq!((asked("127.0.0.2:53"), asked("127.0.0.3:53")), (2, 2));
    let waited: f64 = run
        .calls()
        .filter(|(_, c)| c.task.comm.as_deref() == Some("getent"))
        .filter(|(_, c)| matches!(c.op, Op::Wait { .. }))
        .map(|(e, c)| (c.exited.unwrap() - e.at).as_seconds())
        .sum();
    assert!((1.9..4.0).contains(&waited), "{waited}");
    let answers = getent.iter().filter(|c| matches!(c.op, Op::Receive { .. }));
    assert_eq!(answers.count(), 2);
}
