//! Connects: all of them, exactly.

use crate::support::{Run, have, launch, python, run, try_run};
use presyn::event::{
    Address, CallOutcome, FdNote, LifecycleChange, Op, SocketFamily, SocketKind, SocketType,
};
use presyn::flow::Endpoint;
use presyn::source::tracer::Exit;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

const TCP: SocketKind = SocketKind {
    family: SocketFamily::Inet,
    style: SocketType::Stream,
};

fn note(op: &Op) -> &FdNote {
    op.fd()
        .and_then(|fd| fd.note.as_deref())
        .expect("a look at the socket")
}

/// Accepts so many connections and gives their remote ends.
fn accept(
    count: usize,
    answer: &'static [u8],
) -> (SocketAddr, std::thread::JoinHandle<BTreeSet<Endpoint>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut streams = Vec::new();
        let mut peers = BTreeSet::new();
        for _ in 0..count {
            let (mut stream, peer) = listener.accept().unwrap();
            if !answer.is_empty() {
                assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
                stream.write_all(answer).unwrap();
            }
            streams.push(stream);
            peers.insert(peer.into());
        }
        for mut stream in streams {
            // Until the client is gone: it may still send.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        peers
    });
    (address, server)
}

#[test]
fn curl_connects() {
    if !have("curl", &["--version"]) {
        return;
    }
    let (address, server) = accept(1, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let run = run(&[
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-m",
        "20",
        &format!("http://{address}/"),
    ]);
    assert_eq!(run.ended.exit, Exit::Code(0));
    let connects = run.connects(address);
    assert_eq!(connects.len(), 1);
    let seen = note(&connects[0].op);
    assert_eq!(seen.local, server.join().unwrap().first().copied());
    assert_eq!((seen.peer, seen.socket), (Some(address.into()), Some(TCP)));
    assert!(seen.exact && seen.identity.is_some() && seen.netns.is_some());
    assert_eq!(connects[0].task.comm.as_deref(), Some("curl"));
    assert_eq!(
        connects[0].outcome,
        CallOutcome::Failed("EINPROGRESS".into())
    );
    run.assert_lives_are_whole();
}

#[test]
fn sixty_four_threads_connect_at_once() {
    for leader_pidfds_only in [false, true] {
        let (address, server) = accept(64, b"");
        let script = format!(
            "import socket, threading\n\
             wall = threading.Barrier(64)\n\
             def go():\n\
             \x20   s = socket.socket(); wall.wait(); s.connect(('127.0.0.1', {})); keep.append(s)\n\
             keep = []\n\
             threads = [threading.Thread(target=go) for _ in range(64)]\n\
             [t.start() for t in threads]; [t.join() for t in threads]\n",
            address.port()
        );
        let mut launch = launch(&["python3", "-c", &script]);
        launch.leader_pidfds_only = leader_pidfds_only;
        let run = try_run(launch).unwrap();
        assert_eq!(run.ended.exit, Exit::Code(0));
        let connects = run.connects(address);
        assert_eq!(connects.len(), 64);
        let seen: BTreeSet<_> = connects
            .iter()
            .map(|c| note(&c.op).local.unwrap())
            .collect();
        assert_eq!(seen, server.join().unwrap());
        let tasks: BTreeSet<_> = connects.iter().map(|c| c.task.tid).collect();
        assert_eq!(tasks.len(), 64);
        let sockets: BTreeSet<_> = connects.iter().map(|c| note(&c.op).identity).collect();
        assert_eq!(sockets.len(), 64);
        assert!(
            connects
                .iter()
                .all(|c| c.outcome == CallOutcome::Returned(0))
        );
        run.assert_lives_are_whole();
    }
}

#[test]
fn a_program_that_closes_everything_is_seen() {
    let (address, server) = accept(1, b"");
    let run = python(&format!(
        "import os, socket\n\
         os.closerange(0, 4096)\n\
         s = socket.socket(socket.AF_INET6); s.connect(('::ffff:127.0.0.1', {}))\n\
         os._exit(s.fileno())\n",
        address.port()
    ));
    assert_eq!(run.ended.exit, Exit::Code(0));
    let connects = run.connects(address);
    assert_eq!(connects.len(), 1);
    let seen = note(&connects[0].op);
    assert_eq!(seen.local, server.join().unwrap().first().copied());
    assert_eq!(connects[0].op.fd().unwrap().number, 0);
}

#[test]
fn refused_and_unreadable_connects_are_told() {
    let run = python(
        "import ctypes, socket\n\
         libc = ctypes.CDLL(None)\n\
         s = socket.socket()\n\
         libc.connect(s.fileno(), ctypes.c_void_p(1), 16)\n\
         libc.connect(999, b'\\2\\0\\0\\11\\x7f\\0\\0\\1' + b'\\0' * 8, 16)\n\
         libc.connect(s.fileno(), b'\\2\\0\\0\\1\\x7f\\0\\0\\1' + b'\\0' * 8, 16)\n\
         libc.syscall(425, 1, None)\n",
    );
    assert_eq!(run.ended.exit, Exit::Code(0));
    let calls: Vec<_> = run.calls().map(|(_, call)| call).collect();
    let failed = |error: &str| {
        let outcome = CallOutcome::Failed(error.into());
        calls.iter().find(|c| c.outcome == outcome)
    };
    let unreadable = failed("EFAULT").unwrap();
    assert!(matches!(
        &unreadable.op,
        Op::Connect {
            to: Address::Other(_),
            ..
        }
    ));
    assert_eq!(failed("EBADF").unwrap().op.fd().unwrap().note, None);
    let refused = failed("ECONNREFUSED").unwrap();
    assert!(note(&refused.op).local.is_some_and(|l| l.port != 0));
    assert!(calls.iter().any(|c| c.op == Op::IoUring));
}

/// A listener whose queue is full: the third connect waits for ever.
const FULL: &str = "\
import os, signal, socket, sys, time
full = socket.socket(); full.bind(('127.0.0.1', 0)); full.listen(0)
keep = []
for _ in range(4):
    s = socket.socket(); s.setblocking(False); s.connect_ex(full.getsockname()); keep.append(s)
time.sleep(0.2)
pid = os.fork()
if pid == 0:
    socket.socket().connect(full.getsockname())
    os._exit(0)
time.sleep(1)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
";

#[test]
fn killed_in_mid_call() {
    let run = python(FULL);
    assert_eq!(run.ended.exit, Exit::Code(0));
    let (_, unfinished) = run
        .calls()
        .find(|(_, call)| call.outcome == CallOutcome::Unknown)
        .unwrap();
    assert!(matches!(unfinished.op, Op::Connect { .. }) && unfinished.exited.is_none());
    // While it waited it was there to see, with its local end.
    let waiting = run.open.iter().find(|o| o.task == unfinished.task).unwrap();
    assert!(note(&waiting.op).local.is_some_and(|l| l.port != 0));
    assert_eq!(note(&unfinished.op).local, note(&waiting.op).local);
    let death = run.lives().find(|(task, change)| {
        task.tid == unfinished.task.tid && *change == &LifecycleChange::Killed("SIGKILL".to_owned())
    });
    assert!(death.is_some());
}

#[test]
fn sends_on_tcp_are_not_told() {
    let (address, server) = accept(1, b"");
    let run = python(&format!(
        "import socket\n\
         s = socket.socket(); s.connect(('127.0.0.1', {}))\n\
         for _ in range(500): s.send(b'x'); s.sendmsg([b'y'])\n",
        address.port()
    ));
    assert_eq!(run.ended.exit, Exit::Code(0));
    server.join().unwrap();
    let sends = run.calls().filter(|(_, c)| matches!(c.op, Op::Send { .. }));
    assert_eq!(sends.count(), 0);
    assert_eq!(run.connects(address).len(), 1);
}

#[test]
fn a_storm_from_eight_threads_is_seen_whole() {
    for pin in [true, false] {
        let script = "import socket, threading\n\
                      def go():\n\
                      \x20   for _ in range(500):\n\
                      \x20       s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', 1)); s.close()\n\
                      threads = [threading.Thread(target=go) for _ in range(8)]\n\
                      [t.start() for t in threads]; [t.join() for t in threads]\n\
                      import os; os._exit(len(os.sched_getaffinity(0)))\n";
        let mut launch = launch(&["python3", "-c", script]);
        launch.pin = pin;
        let run = try_run(launch).unwrap();
        let connects = run.connects("127.0.0.1:1".parse().unwrap());
        assert_eq!(connects.len(), 4000);
        assert!(connects.iter().all(|c| note(&c.op).local.is_some()));
        let cookies: BTreeSet<_> = connects.iter().map(|c| note(&c.op).identity).collect();
        assert_eq!(cookies.len(), 4000);
        run.assert_lives_are_whole();
    }
}

#[test]
fn namespaces_are_told_apart() {
    if !have("unshare", &["-Urn", "true"]) {
        return;
    }
    let connect = "import socket; s = socket.socket(); s.connect_ex((\"127.0.0.1\", 1))";
    let script = format!("python3 -c '{connect}'; unshare -Urn python3 -c '{connect}'");
    let run = run(&["sh", "-c", &script]);
    let connects = run.connects("127.0.0.1:1".parse().unwrap());
    assert_eq!(connects.len(), 2);
    let netns: Vec<_> = connects
        .iter()
        .map(|c| note(&c.op).netns.unwrap())
        .collect();
    assert_ne!(netns[0], netns[1]);
}

/// Connects by both 32-bit ways: `socketcall` and the newer `connect`; without a C library, which is
/// rarely there for 32 bits.
const THIRTY_TWO: &str = r#"
static int call(int n, int a, int b, int c) {
    int r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory");
    return r;
}
void _start(void) {
#ifdef PROBE
    call(1, 0, 0, 0);
#endif
    static unsigned char address[16] = {2, 0, PORT >> 8, PORT & 255, 127, 0, 0, 1};
    static unsigned arguments[3];
    int one = call(359, 2, 1, 0), two = call(359, 2, 1, 0);
    int result = call(362, one, (int)address, 16);
    arguments[0] = two; arguments[1] = (unsigned)address; arguments[2] = 16;
    result |= call(102, 3, (int)arguments, 0);
    call(1, result ? 1 : 32, 0, 0);
}
"#;

#[test]
fn a_32_bit_program_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
    let (address, server) = accept(2, b"");
    let text = THIRTY_TWO.replace("PORT", &address.port().to_string());
    std::fs::write(&source, text).unwrap();
    let build = |what: &str| {
        let flags = [
            "-m32",
            "-static",
            "-nostdlib",
            "-fno-pic",
            "-fno-stack-protector",
        ];
        let mut gcc = Command::new("gcc");
        gcc.args(flags)
            .arg(what)
            .arg("-o")
            .args([&program, &source]);
        gcc.output().is_ok_and(|b| b.status.success())
    };
    // First one that only ends, to know whether such programs run here at all.
    if !build("-DPROBE") || !have(program.to_str().unwrap(), &[]) {
        let said = "SKIPPED: no 32-bit programs here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    assert!(build("-UPROBE"));
    let run = run(&[program.to_str().unwrap()]);
    assert_eq!(run.ended.exit, Exit::Code(32));
    let connects = run.connects(address);
    assert_eq!(connects.len(), 2);
    let seen: BTreeSet<_> = connects
        .iter()
        .map(|c| note(&c.op).local.unwrap())
        .collect();
    assert_eq!(seen, server.join().unwrap());
}

/// What was done after each connect to `to`, one word for each call that is told, until the next connect.
fn afterwards(run: &Run, to: SocketAddr) -> Vec<String> {
    let mut told = Vec::new();
    let mut follows = false;
    for (_, call) in run.calls() {
        follows |=
            matches!(&call.op, Op::Connect { to: far, .. } if *far == Address::Inet(to.into()));
        let word = match &call.op {
            _ if !follows => continue,
            Op::Connect { .. } => format!("connect {}", errno(&call.outcome)),
            Op::Wait { .. } => format!("wait {}", call.outcome.value().unwrap_or(-1)),
            Op::SocketError { error, .. } => {
                format!("SO_ERROR {}", error.as_deref().unwrap_or("0"))
            }
            Op::PeerName { .. } => "getpeername".into(),
            Op::Send { .. } => "send".into(),
            Op::Close { fd } => {
                let peer = fd.note.as_ref().map(|n| n.peer.is_some());
                format!("close, connected {peer:?}")
            }
            _ => continue,
        };
        told.push(word);
    }
    told
}

fn errno(outcome: &CallOutcome) -> &str {
    match outcome {
        CallOutcome::Failed(error) => error,
        _ => "0",
    }
}

/// The end of a connect in the background is told by the client's own calls, which are seen until it is known and no longer.
#[test]
fn the_end_of_a_connect_in_the_background_is_seen() {
    let background = |to: SocketAddr, then: &str| {
        let run = python(&format!(
            "import select, socket, time\n\
             E = lambda s: s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)\n\
             W = lambda s, t: select.select([], [s], [], t)\n\
             s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', {}))\n\
             {then}\n\
             time.sleep(0.01); select.select([], [], [], 0.01)\n",
            to.port()
        ));
        assert_eq!(run.ended.exit, Exit::Code(0));
        run.assert_lives_are_whole();
        afterwards(&run, to)
    };
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    assert_eq!(
        background(refused, "W(s, 5); E(s)"),
        ["connect EINPROGRESS", "wait 1", "SO_ERROR ECONNREFUSED"]
    );
    assert_eq!(
        background(refused, "W(s, 5); s.close()")[1..],
        ["wait 1", "close, connected None"],
        "it had failed: no wait for an answer was given up"
    );
    let (address, server) = accept(3, b"");
    assert_eq!(
        background(address, "W(s, 5); E(s)")[1..],
        ["wait 1", "SO_ERROR 0"]
    );
    assert_eq!(
        background(address, "W(s, 5); s.send(b'x')")[1..],
        ["wait 1", "send"]
    );
    assert_eq!(
        background(address, "W(s, 5); s.close()")[1..],
        ["wait 1", "close, connected Some(true)"]
    );
    server.join().unwrap();
    // Its queue is full: further SYNs are dropped.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = full.local_addr().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    assert_eq!(
        background(address, "W(s, 0.3); E(s); s.close()"),
        [
            "connect EINPROGRESS",
            "wait 0",
            "close, connected Some(false)"
        ],
        "that SO_ERROR is 0 says nothing yet"
    );
}
