//! Inputs that take their time: standard input as it comes, Ctrl-C, the bar on a terminal.

#![allow(clippy::unwrap_used, reason = "tests")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CAPTURE: &str = "captures/first-resolver-silent/packets.pcap";
const TRACE: &str = "captures/first-resolver-silent/syscalls.strace";

/// `presyn analyze ARGS`, its standard input open.
fn analyze(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_presyn"))
        .arg("analyze")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the program has read what it was given, and a little longer.
fn settle(child: &Child) {
    let path = format!("/proc/{}/wchan", child.id());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(300));
        if fs::read_to_string(&path).is_ok_and(|what| what.contains("poll") || what == "0") {
            return;
        }
    }
}

fn interrupt(child: &Child) {
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the program says after Ctrl-C, when its standard input had these bytes and then nothing more.
fn interrupted_after(bytes: &[u8], args: &[&str]) -> Output {
    let mut child = analyze(args);
    let mut input = child.stdin.take().unwrap();
    input.write_all(bytes).unwrap();
    settle(&child);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    drop(input);
    output
}

#[test]
fn ctrl_c_reports_what_had_been_read() {
    // The clients' whole story and then a long silence of the pipe; the first 64 KiB are awaited before anything is read.
    let log = fs::read(TRACE).unwrap();
    let mut bytes = log.clone();
    while bytes.len() < 80_000 {
        bytes.extend_from_slice(b"999 1700009999.000001 getpid() = 999 <0.000002>\n");
    }
    let output = interrupted_after(&bytes, &["-", CAPTURE]);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("-: reading was interrupted"), "{shown}");
    let unread = format!("{CAPTURE}: not read");
    assert!(shown.replace("\n  ", " ").contains(&unread), "{shown}");
    let whole = analyze(&[TRACE]).wait_with_output().unwrap();
    let first = |report: &str| report.lines().next().unwrap().to_owned();
    assert_eq!(first(&shown), first(&text(&whole.stdout)));
}

#[test]
fn ctrl_c_before_anything_is_known_only_ends_presyn() {
    let output = interrupted_after(b"", &["-"]);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        (String::new(), String::new())
    );
}

/// Standard input is as long as it likes: 300 MB of a log in little memory.
#[test]
fn standard_input_is_not_kept() {
    let mut child = analyze(&["-"]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(&fs::read(TRACE).unwrap()).unwrap();
    let line = b"999 1700009999.000001 lseek(12, 17, SEEK_SET) = 17 <0.000002>\n";
    let chunk: Vec<u8> = line
        .iter()
        .copied()
        .cycle()
        .take(line.len() * 10_000)
        .collect();
    for _ in 0..300_000_000 / chunk.len() {
        input.write_all(&chunk).unwrap();
    }
    // It is still waiting for more: what it took until now is its peak.
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(input);
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(kib < 64 << 10, "{kib} KiB");
}

/// On a terminal (of script(1)) a wait of more than a second shows a bar, and leaves nothing of it behind.
#[test]
fn a_terminal_shows_how_far_reading_is() {
    if Command::new("script").arg("--version").output().is_err() {
        writeln!(
            std::io::stderr(),
            "SKIPPED: no bar is tried: script(1) is not installed"
        )
        .unwrap();
        return;
    }
    // A pipe that stays silent for two seconds in the middle of the log.
    let presyn = format!(
        "{{ cat {TRACE}; sleep 2.5; }} | {} analyze - >/dev/null",
        env!("CARGO_BIN_EXE_presyn")
    );
    let run = |shell: &str| {
        let mut child = Command::new("script")
            .args(["-qec", shell, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut shown = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut shown)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{shown}");
        shown
    };
    let shown = run(&presyn);
    assert!(shown.contains("presyn: read "), "{shown:?}");
    assert!(
        shown.trim_end().ends_with("\x1b[2K"),
        "the bar is wiped away: {shown:?}"
    );
    let quick = run(&format!(
        "{} analyze {TRACE} >/dev/null",
        env!("CARGO_BIN_EXE_presyn")
    ));
    assert_eq!(quick, "", "no bar for what is done at once");
}
