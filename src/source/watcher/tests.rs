//! The sockets of this process and of a child, looked up in the kernel's real tables.

use super::*;
use crate::flow::{Endpoint, Transport};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::SystemTime;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap().as_nanos()).unwrap())
}

fn flow(transport: Transport, src: SocketAddr, dst: SocketAddr) -> FiveTuple {
    let (src, dst) = (Endpoint::from(src), Endpoint::from(dst));
    FiveTuple {
        transport,
        src,
        dst,
    }
}

fn watcher_of(pids: Vec<u32>) -> Watcher {
    Watcher::open(None, Box::new(move || pids.clone())).unwrap()
}

/// What is said in the end of packets that left then.
fn looked(watcher: &mut Watcher, looks: &[Look]) -> Vec<Whose> {
    for look in looks {
        watcher.look(*look, now());
    }
    let mut said = Vec::new();
    while let Some(left) = watcher.settles_in() {
        std::thread::sleep(left);
        watcher.settled(&mut |_, owner| said.push(owner.whose));
    }
    said
}

fn look(flow: FiveTuple) -> Look {
    Look { flow, at: now() }
}

/// A resolver that never answers.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

fn connected(to: SocketAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

#[test]
fn open_sockets_are_given_to_their_process_by_descriptor() {
    let mut watcher = watcher_of(vec![std::process::id()]);
    let (_resolver, to) = silent();
    let (query, from) = connected(to);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // From no particular address, and to nowhere in particular, as musl asks.
    let free = UdpSocket::bind("0.0.0.0:0").unwrap();
    let free_from = SocketAddr::from(([127, 0, 0, 1], free.local_addr().unwrap().port()));
    let looks = [
        look(flow(Transport::Udp, from, to)),
        look(flow(
            Transport::Tcp,
            stream.local_addr().unwrap(),
            listener.local_addr().unwrap(),
        )),
        look(flow(Transport::Udp, free_from, to)),
    ];
    let fds: Vec<Option<(u32, i32)>> = { looked(&mut watcher, &looks).into_iter() }
        .map(|whose| match whose {
            Whose::Watched(socket) => Some((socket.task.pid?, socket.fd)),
            Whose::Others | Whose::Unattributed(_) => None,
        })
        .collect();
    let pid = std::process::id();
    let expected = [query.as_raw_fd(), stream.as_raw_fd(), free.as_raw_fd()];
    assert_eq!(fds, expected.map(|fd| Some((pid, fd))));
}

#[test]
fn what_is_gone_is_nobodys() {
    let mut watcher = watcher_of(vec![std::process::id()]);
    let (_resolver, to) = silent();
    let (query, from) = connected(to);
    let looked_at = look(flow(Transport::Udp, from, to));
    drop(query);
    let said = looked(&mut watcher, &[looked_at]);
    assert_eq!(said, [Whose::Unattributed(Unattributed::Gone)]);
}

/// Two sockets use one port in turn. The packet left by the first; at the look only the second is there.
#[test]
fn a_port_used_in_turn_is_nobodys() {
    let mut watcher = watcher_of(vec![std::process::id()]);
    assert_eq!(watcher.inexact(), None);
    let (_resolver, to) = silent();
    let (first, from) = connected(to);
    let looked_at = look(flow(Transport::Udp, from, to));
    drop(first);
    let second = UdpSocket::bind(from).unwrap();
    second.connect(to).unwrap();
    let said = looked(&mut watcher, &[looked_at]);
    assert_eq!(said, [Whose::Unattributed(Unattributed::Ambiguous)]);
    // What leaves now is the second one's.
    std::thread::sleep(SETTLED);
    let said = looked(&mut watcher, &[look(flow(Transport::Udp, from, to))]);
    assert!(
        matches!(&said[..], [Whose::Watched(socket)] if socket.fd == second.as_raw_fd()),
        "{said:?}"
    );
}

#[test]
fn a_port_shared_by_two_sockets_is_nobodys() {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
    };
    let mut watcher = watcher_of(vec![std::process::id()]);
    let shared = |port| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None).unwrap();
        setsockopt(&fd, sockopt::ReusePort, &true).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
        UdpSocket::from(fd)
    };
    let first = shared(0);
    let from = first.local_addr().unwrap();
    let _second = shared(from.port());
    let (_resolver, to) = silent();
    let said = looked(&mut watcher, &[look(flow(Transport::Udp, from, to))]);
    assert_eq!(said, [Whose::Unattributed(Unattributed::Ambiguous)]);
}

#[test]
fn a_socket_of_a_process_that_is_not_watched_is_others() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut watcher = watcher_of(vec![child.id()]);
    let (_resolver, to) = silent();
    let (_query, from) = connected(to);
    let said = looked(&mut watcher, &[look(flow(Transport::Udp, from, to))]);
    child.stdin.take().unwrap().write_all(b"").unwrap();
    child.wait().unwrap();
    assert_eq!(said, [Whose::Others]);
}

#[test]
fn a_thread_that_waits_for_an_answer_is_found() {
    let mut watcher = watcher_of(vec![std::process::id()]);
    let (resolver, to) = silent();
    let (query, from) = connected(to);
    query
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let said = looked(&mut watcher, &[look(flow(Transport::Udp, from, to))]);
    let [Whose::Watched(socket)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(watcher.wait(socket.cookie), WaitState::Nobody);
    let (tell, told) = std::sync::mpsc::channel();
    let query = std::sync::Arc::new(query);
    let end = query.clone();
    let thread = std::thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = end.recv(&mut [0; 8]);
    });
    let tid = told.recv().unwrap().unsigned_abs();
    let began = Instant::now();
    let found = loop {
        match watcher.wait(socket.cookie) {
            WaitState::By(found) => break found,
            _ => assert!(began.elapsed() < Duration::from_secs(10), "nobody waits"),
        }
    };
    assert_eq!(found.task.tid, Some(tid));
    assert_eq!(found.wait.map(|wait| wait.among), Some(1));
    // An answer ends it.
    resolver.send_to(b"x", from).unwrap();
    thread.join().unwrap();
    drop(query);
    assert_eq!(watcher.wait(socket.cookie), WaitState::Gone);
}
