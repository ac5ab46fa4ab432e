//! Nothing leaves the namespaces: no packet, no lookup through a socket of the host's.

use super::{forbidden, reproduce, say};
use nix::unistd::geteuid;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Asks all whom a client could ask: resolvers by UDP and TCP, name services by the host's sockets.
const ASKS_ALL: &str = "
import socket
for path in ('/run/nscd/socket', '/run/systemd/resolve/io.systemd.Resolve', '/run/dbus/system_bus_socket', '/run/avahi-daemon/socket'):
    try:
        s = socket.socket(socket.AF_UNIX); s.settimeout(0.5); s.connect(path); s.sendall(b'web.example.lab\\n'); s.recv(1); print('reached', path)
    except OSError: pass
for address in ('192.0.2.77', '127.0.0.53'):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.2)
    try: s.sendto(b'presyn-canary-' * 4, (address, 53)); s.recv(1)
    except OSError: pass
for name in ('web.example.lab', 'canary.example.lab'):
    try: socket.getaddrinfo(name, 80)
    except OSError: pass
";

/// A stand-in for a name service of the host, which counts who asks it for one of our names.
fn stand_in(path: &str) -> Option<(UnixListener, Arc<AtomicUsize>)> {
    let folder = Path::new(path).parent()?;
    if Path::new(path).exists() {
        return None;
    }
    fs::create_dir_all(folder).ok()?;
    let listener = UnixListener::bind(path).ok()?;
    let count = Arc::new(AtomicUsize::new(0));
    let (own, counted) = (listener.try_clone().ok()?, Arc::clone(&count));
    std::thread::spawn(move || {
        // Other programs of the host may ask for other things.
        for stream in own.incoming().map_while(Result::ok) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let mut said = Vec::new();
            let _ = stream.take(512).read_to_end(&mut said);
            let canary = memchr::memmem::find(&said, b"example.lab");
            counted.fetch_add(usize::from(canary.is_some()), Ordering::SeqCst);
        }
    });
    Some((listener, count))
}

#[test]
fn no_packet_and_no_lookup_leaves_the_namespaces() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    if !geteuid().is_root() {
        return say("SKIPPED: only root captures on the host and makes /run/nscd\n");
    }
    let services = [
        "/run/nscd/socket",
        "/run/systemd/resolve/io.systemd.Resolve",
    ];
    let stand_ins: Vec<_> = services.iter().filter_map(|path| stand_in(path)).collect();
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("host.pcap");
    // Everything that the host's links carry meanwhile, loopback included.
    let mut tcpdump = Command::new("tcpdump")
        .args([
            "-i",
            "any",
            "-n",
            "--immediate-mode",
            "-U",
            "-Z",
            "root",
            "-w",
        ])
        .arg(&seen)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let command = ["python3", "-I", "-S", "-c", ASKS_ALL].map(String::from);
    let done = reproduce(&[], "nothing-wrong", &command);
    std::thread::sleep(Duration::from_millis(300));
    tcpdump.kill().unwrap();
    tcpdump.wait().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(!said.contains("reached"), "{said}");
    let connected: usize = stand_ins
        .iter()
        .map(|(_, n)| n.load(Ordering::SeqCst))
        .sum();
    drop(stand_ins);
    for path in services {
        let _ = fs::remove_file(path);
    }
    assert_eq!(connected, 0, "a name service of the host was asked");
    let packets = fs::read(&seen).unwrap();
    assert!(!packets.is_empty(), "the host's capture did not begin");
    for canary in [
        &b"presyn-canary-"[..],
        b"canary\x07example",
        b"\x03web\x07example\x03lab",
    ] {
        let found = memchr::memmem::find(&packets, canary);
        assert_eq!(found, None, "{}", String::from_utf8_lossy(canary));
    }
}

#[test]
fn nothing_is_left_behind() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let before = mounts_and_links();
    let done = reproduce(&[], "nothing-wrong", &["true".into()]);
    assert!(done.status.code().is_some());
    assert_eq!(before, mounts_and_links());
}

/// The host's mounts and links, as this process sees them.
fn mounts_and_links() -> (usize, Vec<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let links = fs::read_dir("/sys/class/net").unwrap();
    let mut links: Vec<String> = links
        .map(|l| l.unwrap().file_name().into_string().unwrap())
        .collect();
    links.sort();
    (mounts.lines().count(), links)
}
