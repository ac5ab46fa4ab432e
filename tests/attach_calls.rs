//! `presyn attach --calls`: what already runs is traced and let go again, whatever ends presyn, and nothing in it fails for
//! that.
#![allow(clippy::unwrap_used)] // tests

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use presyn::event::Event;
use presyn::source::target::{Asked, HostRoot, RunningTarget};
use presyn::source::tracer::{
    Attachment, Detached, EndReason, Next, Observer, Refusal, Tick, TracerError,
};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn skip(why: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    let said = format!("SKIPPED: {why}; what it would show is NOT checked\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

fn permitted() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("attaching needs root here");
    }
    root
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(
            begin.elapsed() < PATIENCE,
            "still so after {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A field of the status of every thread.
fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let status = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    status
        .map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            line.unwrap().trim().to_owned()
        })
        .collect()
}

fn all_traced_by(pid: u32, tracer: u32) -> bool {
    let tracers = of_threads(pid, "TracerPid:");
    !tracers.is_empty() && tracers.iter().all(|t| *t == tracer.to_string())
}

/// The server of `attach_calls/server.c`.
struct Server {
    child: Running,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("server");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attach_calls/server.c");
        let built = Command::new("cc")
            .args(["-O1", "-pthread", "-o"])
            .args([&program, &source])
            .status();
        assert!(built.unwrap().success());
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self {
            child: Running(child),
            asks,
            answers,
            folder,
        };
        server.goes_on();
        server
    }

    fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// How many `SIGRTMIN` came, and how far each thread has come. Nothing may have failed.
    fn state(&mut self) -> (u64, Vec<u64>) {
        self.asks.write_all(b"?").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        assert_eq!(numbers[..2], [0, 0], "failures of the server, last errno");
        (numbers[2], numbers[3..].to_vec())
    }

    /// Every thread still comes on.
    fn goes_on(&mut self) {
        let (_, before) = self.state();
        until("a thread of the server does not come on", || {
            let (_, now) = self.state();
            now.iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    fn is_free(&mut self) {
        let pid = self.pid();
        until("a thread is still traced", || all_traced_by(pid, 0));
        self.goes_on();
    }

    fn attach(&self, more: &[&str]) -> Running {
        let pid = self.pid().to_string();
        let words = [&["attach", "--calls", "-q"], more, &[&pid]].concat();
        // What the tests were started with does not matter: nohup(1) ignores SIGHUP, a shell's background job SIGINT.
        let presyn = Command::new("env")
            .arg("--default-signal=HUP,INT,TERM")
            .arg(env!("CARGO_BIN_EXE_presyn"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(presyn.unwrap())
    }

    /// Attaches, and waits until all threads are traced.
    fn traced(&self, more: &[&str]) -> Running {
        let presyn = self.attach(more);
        let (pid, tracer) = (self.pid(), presyn.pid());
        until("not all threads are traced", || all_traced_by(pid, tracer));
        presyn
    }
}

fn output(mut presyn: Running) -> Output {
    let (pid, begin) = (presyn.pid(), Instant::now());
    while presyn.0.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "presyn {pid} does not end");
        // The report fits into the pipe.
        std::thread::sleep(Duration::from_millis(10));
    }
    let read = |from: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let stdout = read(presyn.0.stdout.as_mut().unwrap());
    let stderr = read(presyn.0.stderr.as_mut().unwrap());
    Output {
        status: presyn.0.wait().unwrap(),
        stdout,
        stderr,
    }
}

/// The lines of a case's trace.
fn trace(case: &Path) -> Vec<Value> {
    let text = fs::read_to_string(case.join("trace.jsonl")).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn nothing_is_left_behind_by_a_killed_presyn() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    for round in 0..30u64 {
        let mut presyn = server.traced(&[]);
        std::thread::sleep(Duration::from_millis(7 * round));
        presyn.0.kill().unwrap();
        presyn.0.wait().unwrap();
        server.is_free();
    }
}

#[test]
fn every_end_lets_the_target_go() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    let end = |presyn: &Running, how: &str| match how {
        "SIGINT" => presyn.signal(Signal::SIGINT),
        "SIGTERM" => presyn.signal(Signal::SIGTERM),
        "SIGHUP" => presyn.signal(Signal::SIGHUP),
        _ => {}
    };
    for (how, words) in [
        ("SIGINT", "was ended by the user"),
        ("SIGTERM", "was ended by the user"),
        ("SIGHUP", "was ended by the user"),
        ("time", "ended after its time"),
    ] {
        let case = server.folder.path().join(how);
        let mut options = vec!["--save", case.to_str().unwrap()];
        if how == "time" {
            options.extend(["--for", "1"]);
        }
        let presyn = server.traced(&options);
        server.goes_on();
        end(&presyn, how);
        server.is_free();
        let output = output(presyn);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), ""),
            "{how}"
        );
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.contains("server"), "{how}: {report}");
        let trace = trace(&case);
        let (first, last) = (&trace[0], &trace[trace.len() - 1]);
        assert_eq!(first["traced"], true, "{how}");
        let command = first["command"][0].as_str().unwrap();
        assert!(command.ends_with("/server"), "{how}: {command}");
        let target = first["watched"]["target"].as_str().unwrap();
        assert!(target.starts_with("server (pid "), "{how}: {target}");
        assert_eq!(last["end"]["exit"], words, "{how}");
        assert_eq!(last["end"]["remarks"], Value::Null, "{how}");
    }
}

#[test]
fn a_lost_analysis_process_lets_the_target_go() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    let presyn = server.traced(&[]);
    let children = format!("/proc/{0}/task/{0}/children", presyn.pid());
    let child = fs::read_to_string(children).unwrap();
    let child: i32 = child.trim().parse().unwrap();
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    server.is_free();
    let output = output(presyn);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("analysis process"), "{said}");
}

#[test]
fn the_end_of_the_target_ends_the_recording() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    let case = server.folder.path().join("case");
    let presyn = server.traced(&["--save", case.to_str().unwrap()]);
    server.goes_on();
    server.child.0.kill().unwrap();
    server.child.0.wait().unwrap();
    let output = output(presyn);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let trace = trace(&case);
    assert_eq!(
        trace[trace.len() - 1]["end"]["exit"],
        "ended with its target"
    );
}

#[test]
fn what_job_control_has_stopped_stays_stopped() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    let pid = server.pid();
    let stopped = || {
        let states = of_threads(pid, "State:");
        !states.is_empty() && states.iter().all(|s| s.starts_with('T'))
    };
    // Stopped before the recording.
    server.child.signal(Signal::SIGSTOP);
    until("the server does not stop", stopped);
    let presyn = server.traced(&[]);
    presyn.signal(Signal::SIGINT);
    assert_eq!(output(presyn).status.code(), Some(0));
    assert!(all_traced_by(pid, 0));
    assert!(stopped(), "{:?}", of_threads(pid, "State:"));
    server.child.signal(Signal::SIGCONT);
    server.is_free();
    // Stopped and woken meanwhile, and stopped when the recording ends.
    let presyn = server.traced(&[]);
    for _ in 0..3 {
        server.child.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(50));
        server.child.signal(Signal::SIGCONT);
        server.goes_on();
    }
    server.child.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(300));
    presyn.signal(Signal::SIGINT);
    assert_eq!(output(presyn).status.code(), Some(0));
    assert!(all_traced_by(pid, 0));
    until("the server does not stay stopped", stopped);
    server.child.signal(Signal::SIGCONT);
    server.is_free();
}

/// Counts events, and has seen enough at the first tick.
struct OneTick(usize);

impl Observer for OneTick {
    fn event(&mut self, _: Event) {
        self.0 += 1;
    }

    fn tick(&mut self, _: &Tick) -> Next {
        Next::Stop
    }
}

/// Traces processes from this one, which lives on: what it leaves traced stays so.
fn trace_for_a_tick(pids: Vec<u32>) -> (Result<Detached, TracerError>, usize) {
    let target = RunningTarget::find(&Asked::Processes(pids), &HostRoot::host()).unwrap();
    let attachment = Attachment {
        target: Arc::new(target),
        dns_ports: vec![53],
    };
    let mut observer = OneTick(0);
    (attachment.run(&mut observer), observer.0)
}

#[test]
fn detaching_loses_no_signal() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    let pid = server.pid().cast_signed();
    let done = std::sync::atomic::AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // Real-time signals are queued, each of them is delivered.
                // SAFETY: takes integers only.
                #[allow(unsafe_code)] // nix knows no real-time signals
                let result = unsafe { libc::kill(pid, libc::SIGRTMIN()) };
                assert_eq!(result, 0);
                sent += 1;
                std::thread::sleep(Duration::from_micros(300));
            }
            sent
        });
        for _ in 0..20 {
            let (detached, events) = trace_for_a_tick(vec![pid.cast_unsigned()]);
            let detached = detached.unwrap();
            assert_eq!((detached.why, detached.left), (EndReason::Observer, vec![]));
            assert!(events > 0);
            assert!(all_traced_by(pid.cast_unsigned(), 0));
            server.goes_on();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        sender.join().unwrap()
    });
    until("signals were lost", || server.state().0 == sent);
}

#[test]
fn an_error_on_the_way_lets_go_what_was_seized() {
    if !permitted() {
        return;
    }
    let (mut seized, other) = (Server::start(), Server::start());
    let tracer = other.traced(&[]);
    let (outcome, _) = trace_for_a_tick(vec![seized.pid(), other.pid()]);
    match outcome {
        Err(TracerError::Refused(Refusal::AlreadyTraced {
            process,
            tracer: by,
        })) => {
            assert_eq!((process.pid, by.pid), (other.pid(), tracer.pid()));
        }
        outcome => panic!("{outcome:?}"),
    }
    assert!(all_traced_by(seized.pid(), 0));
    seized.goes_on();
}

/// A copy of presyn that every user may execute.
fn copy(folder: &Path) -> PathBuf {
    let copy = folder.join("presyn");
    fs::copy(env!("CARGO_BIN_EXE_presyn"), &copy).unwrap();
    for path in [folder, &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}

#[test]
fn what_cannot_be_traced_is_refused_before_anything_stops() {
    if !permitted() {
        return;
    }
    let mut server = Server::start();
    let refused = |command: &mut Command, pid: u32| {
        let output = command
            .args(["attach", "--calls", "--for", "1", &pid.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    };
    let presyn = || Command::new(env!("CARGO_BIN_EXE_presyn"));
    // Already traced: by another presyn.
    let tracer = server.traced(&[]);
    let said = refused(&mut presyn(), server.pid());
    let by = format!("already traced, by process {} (presyn)", tracer.pid());
    assert!(said.contains(&by), "{said}");
    server.goes_on();
    tracer.signal(Signal::SIGINT);
    server.is_free();
    // Its own ancestor.
    let said = refused(&mut presyn(), std::process::id());
    assert!(said.contains("one that started it"), "{said}");
    assert!(all_traced_by(std::process::id(), 0));
    // Ended, and not waited for.
    let mut ended = Running(Command::new("true").spawn().unwrap());
    let state = format!("/proc/{}/status", ended.pid());
    until("true does not end", || {
        fs::read_to_string(&state).unwrap().contains("State:\tZ")
    });
    let said = refused(&mut presyn(), ended.pid());
    assert!(said.contains("has ended"), "{said}");
    ended.0.wait().unwrap();
    // The kernel's own.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n") {
        let said = refused(&mut presyn(), 2);
        assert!(said.contains("kernel thread"), "{said}");
    } else {
        skip("process 2 is no kernel thread here");
    }
    // Another user's.
    let mut user = Command::new(copy(server.folder.path()));
    let said = refused(user.uid(65_534).gid(65_534), server.pid());
    assert!(said.contains("not permitted to trace process"), "{said}");
    assert!(said.contains("it belongs to user 0: use sudo"), "{said}");
    // Root without the capability.
    let mut bounded = Command::new("setpriv");
    bounded
        .args(["--bounding-set=-sys_ptrace", "--"])
        .arg(env!("CARGO_BIN_EXE_presyn"));
    let mut nobody = Command::new("sleep");
    let nobody = nobody.arg("60").uid(65_534).gid(65_534).spawn();
    let nobody = Running(nobody.unwrap());
    let said = refused(&mut bounded, nobody.pid());
    assert!(said.contains("--cap-add SYS_PTRACE"), "{said}");
    assert!(all_traced_by(nobody.pid(), 0));
    server.goes_on();
}

/// Opens and connects a socket to a resolver before it is attached to; then asks on it, connects, and starts a process and
/// a thread that connect.
const CLIENT: &str = r#"
import os, socket, sys, threading
def connect(port):
    s = socket.socket()
    try:
        s.connect(("127.0.0.1", port))
    except ConnectionRefusedError:
        pass
    s.close()
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asks.connect(("127.0.0.1", 53))
connect(5)
print("ready", flush=True)
sys.stdin.readline()
query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x07example\x00\x00\x01\x00\x01"
asks.send(query)
connect(6)
if os.fork() == 0:
    connect(7)
    os._exit(0)
os.wait()
thread = threading.Thread(target=connect, args=(9,))
thread.start()
thread.join()
print("done", flush=True)
sys.stdin.readline()
"#;

/// presyn records a client into a case, and reports in JSON.
fn json(case: &Path, client: &Running) -> Running {
    let presyn = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["attach", "--calls", "-q", "--format", "json", "--save"])
        .arg(case)
        .arg(client.pid().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Running(presyn.unwrap())
}

#[test]
fn calls_are_recorded_from_the_middle_on() {
    if !permitted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("case");
    let client = Command::new("python3")
        .args(["-c", CLIENT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut client = Running(client.unwrap());
    let mut go = client.0.stdin.take().unwrap();
    let mut lines = BufReader::new(client.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let presyn = json(&case, &client);
    until("the client is not traced", || {
        all_traced_by(client.pid(), presyn.pid())
    });
    go.write_all(b"go\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    presyn.signal(Signal::SIGINT);
    let output = output(presyn);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(all_traced_by(client.pid(), 0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["inputs"]["watched"], Value::Null);
    let text = fs::read_to_string(case.join("syscalls.strace")).unwrap();
    let line = |what: &str| {
        let line = text.lines().find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no {what} in:\n{text}"))
            .to_owned()
    };
    let by = |line: &str| line.split_once('<').unwrap().0.to_owned();
    let own = client.pid().to_string();
    assert_eq!(by(&line("sin_port=htons(6)")), own);
    assert_ne!(by(&line("sin_port=htons(7)")), own);
    assert_ne!(by(&line("sin_port=htons(9)")), own);
    assert!(!text.contains("sin_port=htons(5)"), "before:\n{text}");
    let asked = line("->127.0.0.1:53]>, ");
    assert!(asked.contains("sendto") && by(&asked) == own, "{asked}");
    let starting_up = "\"start_up\": true";
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("127.0.0.1"), "{printed}");
    assert!(
        !printed.contains(starting_up),
        "it had started before: {printed}"
    );
    // The case gives the same report.
    let analysed = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["analyze", "--format", "json"])
        .arg(&case)
        .output()
        .unwrap();
    let again: Value = serde_json::from_slice(&analysed.stdout).unwrap();
    assert_eq!(again["findings"], report["findings"]);
    assert_eq!(again["connections"], report["connections"]);
}
