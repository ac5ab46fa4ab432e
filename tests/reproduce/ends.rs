//! However a reproduction ends, and whoever began it: a report where there is one to print, and nothing left.

use super::{forbidden, project, say};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, User, geteuid};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A reproduction in a process group of its own, whose command shows that it runs by sleeping for so many seconds.
fn begun(case: &str, seconds: &str, user: Option<&User>) -> Child {
    let mut presyn = Command::new(env!("CARGO_BIN_EXE_presyn"));
    presyn
        .arg("reproduce")
        .arg(project().join("captures").join(case))
        .args([
            "--",
            "sh",
            "-c",
            &format!("setsid sleep {seconds} & sleep {seconds}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    if let Some(user) = user {
        presyn.env("SUDO_UID", user.uid.to_string());
    }
    let child = presyn.spawn().unwrap();
    until(|| programs_with(seconds, "sleep").len() >= 2);
    child
}

/// Waits for something, but not for long.
fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never was");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes of this program, or of any, whose command line has this word.
fn programs_with(word: &str, program: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(word) && line.starts_with(program))
        .collect()
}

fn report_of(mut child: Child) -> (Option<i32>, String) {
    let mut report = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut report)
        .unwrap();
    (child.wait().unwrap().code(), report)
}

fn id(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Somebody who types sudo, where this is root.
fn behind_sudo() -> Option<User> {
    let nobody = User::from_name("nobody").unwrap();
    nobody.filter(|_| geteuid().is_root())
}

#[test]
fn nothing_outlives_presyn() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let user = behind_sudo();
    for (case, seconds, user) in [
        ("nothing-wrong", "7001", None),
        ("stub-upstream-silent-first", "7002", user.as_ref()),
    ] {
        let mut child = begun(case, seconds, user);
        kill(id(&child), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        let ended = Instant::now();
        let left = || programs_with(&format!("sleep {seconds}"), "");
        until(|| left().is_empty() || ended.elapsed() > Duration::from_secs(2));
        assert_eq!(left(), Vec::<String>::new(), "{case}");
    }
}

#[test]
fn who_asks_it_to_end_gets_the_report() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    for (seconds, terminal) in [("7003", true), ("7004", false)] {
        let child = begun("nothing-wrong", seconds, None);
        if terminal {
            killpg(id(&child), Signal::SIGINT).unwrap();
            // What the command left behind does not have the terminal: a second Ctrl-C ends that.
            until(|| programs_with(seconds, "sleep").len() == 1);
            killpg(id(&child), Signal::SIGINT).unwrap();
        } else {
            kill(id(&child), Signal::SIGTERM).unwrap();
        }
        let (status, report) = report_of(child);
        assert_eq!(status, Some(1), "{report}");
        assert!(report.contains("Not as before:"), "{report}");
        assert_eq!(programs_with(seconds, ""), Vec::<String>::new());
    }
}

#[test]
fn behind_sudo_the_command_is_the_users() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let Some(user) = behind_sudo() else {
        return say("SKIPPED: only root is behind sudo\n");
    };
    let done = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_presyn"), "reproduce"])
        .arg(project().join("captures/nothing-wrong"))
        .args(["--", "id", "-u"])
        .env("SUDO_UID", user.uid.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.starts_with(&format!("{}\n", user.uid)), "{said}");
    // And not by the timeout.
    assert_eq!(done.status.code(), Some(1), "{said}");
}
