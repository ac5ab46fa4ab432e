//! `presyn attach` from end to end: what runs in a network namespace of its own is watched, and nothing is done to it.
//!
//! Needs root (a namespace, and its capture), python3 and unshare; says loudly where something is missing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod table;
mod untouched;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// A line that is seen although the test passes.
pub(crate) fn say(line: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether these tests can run here.
pub(crate) fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let namespace = Command::new("unshare").args(["-n", "true"]).status();
    let python = Command::new("python3").arg("--version").output();
    let fits = root && namespace.is_ok_and(|status| status.success()) && python.is_ok();
    if !fits {
        say("SKIPPED: attach needs root, unshare -n and python3\n");
    }
    fits
}

/// Resolvers and a server in Python. 127.0.0.9 never answers, 127.0.0.8 answers at once (no such name), 127.0.0.7 after
/// 300 ms; 127.0.0.8:8080 accepts.
pub(crate) const SERVERS: &str = r"
import socket, threading, time
def udp(ip):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((ip, 53))
    return s
silent = udp('127.0.0.9')
listener = socket.create_server(('127.0.0.8', 8080), backlog=512)
def accept():
    while True:
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()
def answer(s, delay):
    while True:
        query, client = s.recvfrom(2048)
        time.sleep(delay)
        s.sendto(query[:2] + b'\x81\x83' + query[4:], client)
threading.Thread(target=accept, daemon=True).start()
threading.Thread(target=answer, args=(udp('127.0.0.7'), 0.3), daemon=True).start()
threading.Thread(target=answer, args=(udp('127.0.0.8'), 0), daemon=True).start()
";

/// What clients in Python have in common.
pub(crate) const CLIENT: &str = r"
import os, socket, threading, time
def query(name):
    labels = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.'))
    return os.urandom(2) + b'\1\0\0\1\0\0\0\0\0\0' + labels + b'\0\0\1\0\1'
def ask(resolver, name, seconds):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(seconds)
        s.connect((resolver, 53))
        s.send(query(name))
        try:
            return s.recv(512)
        except TimeoutError:
            return None
";

/// A Python program in a network namespace of its own, which has said that it is ready and waits to be told to begin.
pub(crate) struct Target {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The process of the program.
    pub pid: u32,
}

impl Target {
    /// Servers and this client, in one process.
    pub fn start(client: &str) -> Self {
        let program = format!(
            "{SERVERS}\n{CLIENT}\nimport sys\nprint(os.getpid(), flush=True)\nsys.stdin.readline()\n{client}\n\
             print('done', flush=True)\nsys.stdin.readline()"
        );
        let mut child = Command::new("unshare")
            .args([
                "-n",
                "sh",
                "-c",
                "ip link set lo up && exec python3 -c \"$0\"",
            ])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        Self { child, output, pid }
    }

    /// Lets it begin.
    pub fn begin(&mut self) {
        self.line("begin");
    }

    fn line(&mut self, text: &str) {
        let mut input = self.child.stdin.as_ref().unwrap();
        writeln!(input, "{text}").unwrap();
    }

    /// Waits until it has done what it was to do. Returns what it printed before.
    pub fn done(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended");
            match line.trim() {
                "done" => return lines,
                other => lines.push(other.to_owned()),
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that goes with its test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// `presyn attach`, watching.
pub(crate) struct Watch {
    child: Child,
    /// What it says while it runs, a line each.
    said: BufReader<std::process::ChildStderr>,
}

impl Watch {
    /// Begins, and returns when everything from now on is seen.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_presyn"))
            .arg("attach")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("presyn: watching "), "{line}");
        Self { child, said }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as Ctrl-C does, and waits: its standard output, what it said, and its status.
    pub fn end(self) -> (String, Vec<String>, Option<i32>) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> (String, Vec<String>, Option<i32>) {
        let said = std::thread::spawn(move || {
            let lines = self.said.lines().map_while(Result::ok);
            lines.collect::<Vec<String>>()
        });
        let Output { stdout, status, .. } = {
            let child = std::mem::replace(&mut self.child, Command::new("true").spawn().unwrap());
            child.wait_with_output().unwrap()
        };
        let _ = self.child.wait();
        let report = String::from_utf8(stdout).unwrap();
        (report, said.join().unwrap(), status.code())
    }
}
