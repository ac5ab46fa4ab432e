//! Sends: which of them stop a program, which are reported, and what is known of those that are not.

use crate::lookups::{ids, resolver, resolver_after, run_with, story};
use crate::support::{Run, have, launch, python, run, try_run};
use presyn::event::{FollowState, LifecycleChange, Op, SocketLook, Task};
use presyn::source::tracer::Exit;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

/// More calls than a thread is followed for after its last answer.
const MANY_CALLS: &str = "[os.getppid() for _ in range(60)]";

/// What was seen of sockets without a call.
fn looks(run: &Run) -> Vec<(&Task, &SocketLook)> {
    run.lives()
        .filter_map(|(task, change)| match change {
            LifecycleChange::Socket(look) => Some((task, &**look)),
            _ => None,
        })
        .collect()
}

fn states(run: &Run) -> Vec<FollowState> {
    looks(run).into_iter().map(|(_, look)| look.state).collect()
}

/// The queries that were reported, by the thread that sent them.
fn senders(run: &Run) -> Vec<u32> {
    run.calls()
        .filter(|(_, call)| match &call.op {
            Op::Send { messages, .. } => ids(messages) == [0x1234],
            _ => false,
        })
        .filter_map(|(_, call)| call.task.tid)
        .collect()
}

/// A program that is stopped is switched away from: it counts that itself. Each way to send makes 1,000 calls.
#[test]
fn sends_on_ordinary_sockets_do_not_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let sink = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = datagrams.local_addr().unwrap().port();
    let script = format!(
        "import os, socket\n\
         def switches():\n\
         \x20   lines = open('/proc/self/status').read().splitlines()\n\
         \x20   return next(int(l.split()[1]) for l in lines if l.startswith('voluntary'))\n\
         def stops(send):\n\
         \x20   [send() for _ in range(40)]\n\
         \x20   before = switches()\n\
         \x20   [send() for _ in range(1000)]\n\
         \x20   return switches() - before\n\
         stream = socket.create_connection(('127.0.0.1', {tcp}))\n\
         to = ('127.0.0.1', {udp})\n\
         peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); peer.connect(to)\n\
         def used():\n\
         \x20   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', to)\n\
         \x20   return s\n\
         first, second, third = used(), used(), used()\n\
         ways = {{\n\
         'tcp send': lambda: stream.send(b'x'),\n\
         'tcp sendmsg': lambda: stream.sendmsg([b'x', b'y']),\n\
         'tcp write': lambda: os.write(stream.fileno(), b'x'),\n\
         'udp send': lambda: peer.send(b'x'),\n\
         'udp sendmsg': lambda: peer.sendmsg([b'x']),\n\
         'udp write': lambda: os.write(peer.fileno(), b'x'),\n\
         'udp sendto connected': lambda: peer.sendto(b'x', to),\n\
         'sendto': lambda: first.sendto(b'x', to),\n\
         'sendmsg': lambda: second.sendmsg([b'x'], [], 0, to),\n\
         'sendto of 1200 bytes': lambda: third.sendto(b'x' * 1200, to),\n\
         }}\n\
         stopped = {{name: n for name, n in ((name, stops(way)) for name, way in ways.items()) if n > 200}}\n\
         assert not stopped, stopped\n"
    );
    let run = python(&script);
    assert_eq!(run.ended.exit, Exit::Code(0), "see its standard error");
    assert!(sink.join().unwrap() > 3000);
    // The first use of an unconnected socket alone is reported: it gives the socket its port.
    let told: Vec<_> = run
        .calls()
        .filter_map(|(_, call)| match &call.op {
            Op::Send { fd, messages } => Some((fd, messages)),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    for (fd, messages) in told {
        assert!(fd.note.as_ref().unwrap().local.is_some_and(|l| l.port != 0));
        assert_eq!(messages[0].peer.map(|p| p.port), Some(udp));
        assert!(messages[0].taken && messages[0].dns.is_empty());
    }
}

/// One query, by every way that hides its address from the filter or has none.
#[test]
fn a_query_is_seen_however_it_is_sent() {
    let to = "to = ('127.0.0.1', PORT)\n";
    let make = "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n";
    for (script, expected) in [
        (
            "s.sendmsg([QUERY[:9], QUERY[9:]], [], 0, to); s.recv(512); s.close()",
            vec!["send", "receive", "close"],
        ),
        (
            // With control data, as avahi and resolvers with several addresses send (IP_PKTINFO, IP_TOS).
            "s.sendmsg([QUERY], [(0, 8, bytes(12)), (0, 1, bytes(4))], 0, to); s.recv(512); s.close()",
            vec!["send", "receive", "close"],
        ),
        (
            // By a duplicate of the descriptor.
            "d = s.dup(); d.sendto(QUERY, to); d.recv(512); d.close()",
            vec!["send", "receive", "close"],
        ),
        (
            // Connected, dissolved, and used without a connection.
            "s.connect(to); libc.connect(s.fileno(), bytes(16), 16); s.sendto(QUERY, to); s.recv(512); s.close()",
            vec!["connect", "send", "receive", "close"],
        ),
        (
            // A descriptor that was closed means another socket now.
            "s.sendto(b'x', ('127.0.0.1', 9)); s.close()\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(QUERY, to); s.recv(512); s.close()",
            vec!["elsewhere", "send", "receive", "close"],
        ),
        (
            // Again on one socket, as glibc with single-request: each has its call.
            "s.connect(to)\n\
             for _ in range(3): s.send(QUERY); s.recv(512); os.getppid(); os.getppid()\n\
             s.close()",
            vec![
                "connect", "send", "receive", "send", "receive", "send", "receive", "close",
            ],
        ),
        (
            // What cannot be made is no socket.
            "for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):\n\
             \x20   try: socket.socket(socket.AF_INET, kind, 99)\n\
             \x20   except OSError: pass\n\
             s.sendto(QUERY, to); s.recv(512); s.close()",
            vec!["send", "receive", "close"],
        ),
    ] {
        let queries = script.matches("range(3)").count() * 2 + 1;
        let (port, server) = resolver(queries);
        let begin = "import ctypes, os, socket; libc = ctypes.CDLL(None)\n";
        let run = run_with(port, &format!("{begin}{to}{make}{script}\n"));
        assert_eq!(server.join().unwrap(), queries, "{script}");
        assert_eq!(story(&run, port), expected, "{script}");
    }
}

/// A thread is followed for some calls after the last answer; then its sends are not seen, and the report of that is.
#[test]
fn a_socket_that_is_followed_no_longer_is_reported_to_be() {
    let (port, server) = resolver_after(2, 450);
    let run = run_with(
        port,
        &format!(
            "import os, socket, time\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', PORT))\n\
             s.send(QUERY); s.recv(512); {MANY_CALLS}\n\
             s.send(QUERY); s.recv(512); s.close(); {MANY_CALLS}; time.sleep(0.5)\n"
        ),
    );
    assert_eq!(server.join().unwrap(), 2);
    assert_eq!(story(&run, port), ["connect", "send", "receive"]);
    let states = states(&run);
    assert_eq!(states.first(), Some(&FollowState::Unfollowed));
    assert_eq!(states.last(), Some(&FollowState::Gone), "{states:?}");
    let looks = looks(&run);
    let (_, look) = looks[0];
    let note = look.fd.note.as_ref().unwrap();
    assert!(note.local.is_some_and(|l| l.port != 0));
    assert_eq!(note.peer.map(|p| p.port), Some(port));
    // The second answer took 450 ms: the only thread was seen to wait for it.
    let waits = looks
        .iter()
        .find(|(_, l)| l.state == FollowState::WaitedFor);
    let connects = run.connects(([127, 0, 0, 1], port).into());
    assert_eq!(waits.unwrap().0.tid, connects[0].task.tid);
}

/// Children of a thread with a resolver's socket are followed for it, too.
#[test]
fn an_inherited_socket_is_followed() {
    let begin = "import os, socket, threading, time\n\
                 to = ('127.0.0.1', PORT)\n\
                 s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n";
    for child in [
        // A process, with a socket that was connected and one that was only made.
        "s.connect(to)\n\
         if os.fork() == 0: s.send(QUERY); s.recv(512); os._exit(0)\n\
         os.wait()\n",
        "if os.fork() == 0: s.sendto(QUERY, to); s.recv(512); os._exit(0)\n\
         os.wait()\n",
        // A thread.
        "def ask(): s.sendto(QUERY, to); s.recv(512)\n\
         t = threading.Thread(target=ask); t.start(); t.join()\n",
    ] {
        let (port, server) = resolver(1);
        let run = run_with(port, &format!("{begin}{child}"));
        assert_eq!(server.join().unwrap(), 1, "{child}");
        let asked = senders(&run);
        assert_eq!(asked.len(), 1, "{child}");
        let root = run.calls().next().unwrap().1.task.pid;
        assert_ne!(Some(asked[0]), root, "{child}");
    }
}

/// A thread that was there before the socket was made is not followed for it. That the socket is used is seen.
#[test]
fn a_socket_that_was_given_away_is_seen_to_be_used() {
    let (port, server) = resolver(4);
    let run = run_with(
        port,
        &format!(
            "import os, queue, socket, threading, time\n\
             given, done = queue.Queue(), queue.Queue()\n\
             def ask():\n\
             \x20   s = given.get()\n\
             \x20   for _ in range(4): s.sendto(QUERY, ('127.0.0.1', PORT)); s.recv(512)\n\
             \x20   done.put(1); given.get()\n\
             t = threading.Thread(target=ask); t.start(); time.sleep(0.1)\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); {MANY_CALLS}\n\
             given.put(s); done.get(); time.sleep(0.3); given.put(1); t.join()\n"
        ),
    );
    assert_eq!(server.join().unwrap(), 4);
    assert!(senders(&run).is_empty());
    let looks = looks(&run);
    let bound = looks.iter().find(|(_, l)| l.state == FollowState::Bound);
    let note = bound.unwrap().1.fd.note.as_ref().unwrap();
    assert!(note.local.is_some_and(|l| l.port != 0));
    // The socket is the one that was made.
    let made = run.calls().find_map(|(_, call)| match &call.op {
        Op::Socket { fd, .. } => fd.note.as_ref(),
        _ => None,
    });
    assert_eq!(note.identity, made.unwrap().identity);
    // Its waiter is another thread than its maker.
    let waits = looks
        .iter()
        .find(|(_, l)| l.state == FollowState::WaitedFor);
    let maker = run.calls().find(|(_, c)| matches!(c.op, Op::Socket { .. }));
    assert!(waits.is_some_and(|(task, _)| task.tid != maker.unwrap().1.task.tid));
}

/// A thread that ends leaves its sockets to the others.
#[test]
fn a_thread_that_ends_while_it_is_followed_leaves_its_socket() {
    let (port, server) = resolver(1);
    let run = run_with(
        port,
        "import socket, threading, time\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         def tie(): s.connect(('127.0.0.1', PORT))\n\
         t = threading.Thread(target=tie); t.start(); t.join()\n\
         time.sleep(0.2); s.send(QUERY); s.recv(512); s.close()\n",
    );
    assert_eq!(server.join().unwrap(), 1);
    // Whether or not the maker is still followed, the socket and its port are known.
    let known = run.connects(([127, 0, 0, 1], port).into());
    let local = known[0].op.fd().unwrap().note.as_ref().unwrap().local;
    assert!(local.is_some_and(|l| l.port != 0));
    let seen = states(&run);
    assert!(
        seen.contains(&FollowState::Unfollowed) || !senders(&run).is_empty(),
        "{seen:?}"
    );
}

/// TCP fast open connects without a connect: the send stops, by whatever call.
#[test]
fn a_send_that_may_connect_stops() {
    for send in [
        "s.sendto(b'x', socket.MSG_FASTOPEN, to)",
        "s.sendmsg([b'x'], [], socket.MSG_FASTOPEN, to)",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let run = python(&format!(
            "import socket\n\
             to = ('127.0.0.1', {})\n\
             s = socket.socket(); {send}; s.close()\n",
            to.port()
        ));
        assert_eq!(run.ended.exit, Exit::Code(0));
        let sends: Vec<_> = run
            .calls()
            .filter_map(|(_, call)| match &call.op {
                Op::Send { fd, messages } => Some((fd, messages)),
                _ => None,
            })
            .collect();
        assert_eq!(sends.len(), 1, "{send}");
        assert_eq!(sends[0].1[0].peer, Some(to.into()));
        let note = sends[0].0.note.as_ref().unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(note.local.map(|l| l.port), Some(peer.port()));
    }
}

/// The pieces of a query over TCP, as a program writes them that has its message in several buffers.
#[test]
fn a_query_over_tcp_is_sent_in_pieces() {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        for _ in 0..2 {
            let mut bytes = [0; 2 + 24];
            stream.read_exact(&mut bytes).unwrap();
            bytes[4] |= 0x80;
            stream.write_all(&bytes).unwrap();
        }
    });
    let run = run_with(
        port,
        "import socket, time\n\
         s = socket.socket(); s.connect(('127.0.0.1', PORT))\n\
         s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n\
         q = QUERY\n\
         for _ in range(2):\n\
         \x20   s.send(len(q).to_bytes(2, 'big')); s.send(q[:7]); time.sleep(0.02); s.sendall(q[7:])\n\
         \x20   n = int.from_bytes(s.recv(2), 'big'); s.recv(n)\n\
         s.close()\n",
    );
    server.join().unwrap();
    // The second query is sent after the last answer, by a thread that is followed for its sends.
    assert_eq!(senders(&run).len(), 2);
}

/// All by `int $0x80`: socket, sendto, sendmsg and their `socketcall`s; without a C library, which is rarely there for
/// 32 bits.
const THIRTY_TWO: &str = r#"
static int call(int n, int a, int b, int c, int d, int e, int f) {
    int r;
    static int six;
    six = f;
    __asm__ volatile("push %%ebp; mov %[six], %%ebp; int $0x80; pop %%ebp"
        : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [six] "m"(six) : "memory");
    return r;
}
static unsigned char query[] = {0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1};
static unsigned char address[16] = {2, 0, PORT >> 8, PORT & 255, 127, 0, 0, 1};
static unsigned char room[512];
static int socketcall(int which, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f) {
    static unsigned arguments[6];
    arguments[0] = a; arguments[1] = b; arguments[2] = c; arguments[3] = d; arguments[4] = e; arguments[5] = f;
    return call(102, which, (int)arguments, 0, 0, 0, 0);
}
void _start(void) {
#ifdef PROBE
    call(1, 0, 0, 0, 0, 0, 0);
#endif
    static unsigned piece[2], header[7];
    piece[0] = (unsigned)query; piece[1] = sizeof query;
    header[0] = (unsigned)address; header[1] = 16; header[2] = (unsigned)piece; header[3] = 1;
    int bad = 0;
    /* sendto, by socketcall and by number */
    int one = socketcall(1, 2, 2, 0, 0, 0, 0), two = call(359, 2, 2, 0, 0, 0, 0);
    bad |= socketcall(11, one, (unsigned)query, sizeof query, 0, (unsigned)address, 16) != sizeof query;
    bad |= socketcall(10, one, (unsigned)room, sizeof room, 0, 0, 0) < 12;
    bad |= call(369, two, (int)query, sizeof query, 0, (int)address, 16) != sizeof query;
    bad |= call(371, two, (int)room, sizeof room, 0, 0, 0) < 12;
    /* sendmsg likewise */
    int three = socketcall(1, 2, 2, 0, 0, 0, 0), four = call(359, 2, 2, 0, 0, 0, 0);
    bad |= socketcall(16, three, (unsigned)header, 0, 0, 0, 0) != sizeof query;
    bad |= socketcall(10, three, (unsigned)room, sizeof room, 0, 0, 0) < 12;
    bad |= call(370, four, (int)header, 0, 0, 0, 0) != sizeof query;
    bad |= call(371, four, (int)room, sizeof room, 0, 0, 0) < 12;
    /* send, after a connect */
    int five = socketcall(1, 2, 2, 0, 0, 0, 0);
    bad |= socketcall(3, five, (unsigned)address, 16, 0, 0, 0);
    bad |= socketcall(9, five, (unsigned)query, sizeof query, 0, 0, 0) != sizeof query;
    bad |= socketcall(10, five, (unsigned)room, sizeof room, 0, 0, 0) < 12;
    call(1, bad ? 1 : 32, 0, 0, 0, 0, 0);
}
"#;

#[test]
fn programs_of_32_bits_ask() {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
    let (port, server) = resolver(5);
    std::fs::write(&source, THIRTY_TWO.replace("PORT", &port.to_string())).unwrap();
    let build = |what: &str| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-m32", "-static", "-nostdlib", "-fno-pic", "-no-pie"])
            .args([
                "-fno-stack-protector",
                "-O1",
                "-fno-omit-frame-pointer",
                what,
                "-o",
            ])
            .args([&program, &source]);
        gcc.output().is_ok_and(|b| b.status.success())
    };
    if !build("-DPROBE") || !have(program.to_str().unwrap(), &[]) {
        let said = "SKIPPED: no 32-bit programs here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    assert!(build("-UPROBE"));
    let mut launch = launch(&[program.to_str().unwrap()]);
    launch.dns_ports.push(port);
    let run = try_run(launch).unwrap();
    assert_eq!(run.ended.exit, Exit::Code(32));
    assert_eq!(server.join().unwrap(), 5);
    assert_eq!(senders(&run).len(), 5);
    let made = run
        .calls()
        .filter(|(_, c)| matches!(c.op, Op::Socket { .. }));
    assert_eq!(made.count(), 5);
}

/// A child between vfork and exec has its parent's sockets, and is followed for them.
#[test]
fn a_vfork_child_asks() {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
    std::fs::write(&source, VFORK).unwrap();
    let mut gcc = Command::new("gcc");
    let built = gcc.arg("-o").args([&program, &source]).output();
    if !built.is_ok_and(|b| b.status.success()) {
        let said = "SKIPPED: no C compiler here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    let (port, server) = resolver(1);
    let mut launch = launch(&[program.to_str().unwrap(), &port.to_string()]);
    launch.dns_ports.push(port);
    let run = try_run(launch).unwrap();
    assert_eq!(run.ended.exit, Exit::Code(0));
    assert_eq!(server.join().unwrap(), 1);
    assert_eq!(senders(&run).len(), 1);
}

const VFORK: &str = r#"
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char query[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1", room[512];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET6 - AF_INET6 + AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), status = 1;
    if (vfork() == 0) {
        sendto(fd, query, 24, 0, (struct sockaddr *)&to, sizeof to);
        _exit(recv(fd, room, sizeof room, 0) < 12);
    }
    wait(&status);
    return status != 0;
}
"#;

/// A program that is no longer followed for a socket has gone on to another program, or is a storm of sockets.
#[test]
fn many_sockets_are_bounded() {
    let run = run(&[
        "python3",
        "-c",
        "import os, socket, time\n\
         import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))\n\
         keep = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(900)]\n\
         [s.sendto(b'x', ('127.0.0.1', 9)) for s in keep]\n\
         time.sleep(0.3)\n",
    ]);
    assert_eq!(run.ended.exit, Exit::Code(0));
    let made = run
        .calls()
        .filter(|(_, c)| matches!(c.op, Op::Socket { .. }));
    assert_eq!(made.count(), 900);
    // Some 24 are still followed at their first use; of the others presyn looks at as many as it has room for.
    let states = states(&run);
    let bound = states.iter().filter(|s| **s == FollowState::Bound).count();
    assert!((400..=520).contains(&bound), "{bound}");
}
