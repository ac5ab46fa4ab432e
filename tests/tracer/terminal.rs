//! Ctrl-C and Ctrl-Z in a terminal, where they reach presyn and the command alike.

use crate::support::{have, launch, try_run};
use presyn::source::tracer::Exit;
use std::process::Command;

/// Set for the copy of this test binary that runs in the terminal.
const INSIDE: &str = "PRESYN_TEST_IN_TERMINAL";

/// A terminal with a small shell in it: runs its arguments as the foreground job, types what `KEYS` says whenever the job
/// has printed a line that ends in `:`, wakes it when it has stopped, and tells what became of it.
const TERMINAL: &str = r#"
import os, pty, signal, sys, time
keys = os.environ["KEYS"].encode().decode("unicode_escape").encode()
session, terminal = pty.fork()
if session == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0); os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(sys.argv[1], sys.argv[1:])
    try: os.setpgid(job, job)
    except OSError: pass
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            print("job stopped by", os.WSTOPSIG(status), flush=True)
            time.sleep(0.5)
            os.killpg(job, signal.SIGCONT)
        else:
            print("job ended with", status, flush=True)
            os._exit(0)
signal.alarm(40)
seen = b""
while True:
    try: got = os.read(terminal, 1000)
    except OSError: break
    if not got: break
    seen += got
    if keys and b"ready:" in seen:
        time.sleep(0.2)
        os.write(terminal, keys[:1]); keys = keys[1:]
        seen = seen.replace(b"ready:", b"ready")
sys.stdout.write(seen.decode(errors="replace"))
os.waitpid(session, 0)
"#;

/// Runs the test of this name in a terminal and gives what was seen there.
fn in_terminal(test: &str, keys: &str) -> Option<String> {
    if !have("python3", &["-c", "import pty"]) {
        return None;
    }
    let output = Command::new("timeout")
        .args(["60", "python3", "-c", TERMINAL])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env("KEYS", keys)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(seen + &String::from_utf8_lossy(&output.stderr))
}

fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn ctrl_c_is_the_commands() {
    if inside() {
        let handles = "import signal, sys, time\n\
                       signal.signal(signal.SIGINT, lambda *a: sys.exit(5))\n\
                       print('ready:', flush=True)\n\
                       time.sleep(20)\n";
        let exit = try_run(launch(&["python3", "-c", handles]))
            .unwrap()
            .ended
            .exit;
        assert_eq!(exit, Exit::Code(5));
        println!("it chose its own end");
        let dies = "echo ready:; sleep 20";
        let exit = try_run(launch(&["sh", "-c", dies])).unwrap().ended.exit;
        assert!(matches!(
            exit,
            Exit::Signal {
                number: libc::SIGINT,
                ..
            }
        ));
        println!("it died of it");
        return;
    }
    let Some(seen) = in_terminal("terminal::ctrl_c_is_the_commands", r"\x03\x03") else {
        return;
    };
    assert!(seen.contains("it chose its own end"), "{seen}");
    assert!(seen.contains("it died of it"), "{seen}");
    assert!(seen.contains("job ended with 0"), "{seen}");
}

#[test]
fn ctrl_z_stops_both_and_both_wake() {
    if inside() {
        let counts = "import signal, sys, time\n\
                      woken = []\n\
                      signal.signal(signal.SIGCONT, lambda *a: woken.append(1))\n\
                      print('ready:', flush=True)\n\
                      end = time.time() + 15\n\
                      while not woken and time.time() < end: time.sleep(0.05)\n\
                      sys.exit(7 if woken else 8)\n";
        let exit = try_run(launch(&["python3", "-c", counts]))
            .unwrap()
            .ended
            .exit;
        assert_eq!(exit, Exit::Code(7));
        println!("it was stopped and woken");
        return;
    }
    let Some(seen) = in_terminal("terminal::ctrl_z_stops_both_and_both_wake", r"\x1a") else {
        return;
    };
    assert!(seen.contains("job stopped by 19"), "{seen}");
    assert!(seen.contains("it was stopped and woken"), "{seen}");
    assert!(seen.contains("job ended with 0"), "{seen}");
}

#[test]
fn a_command_that_ignores_ctrl_z_goes_on() {
    if inside() {
        let ignores = "import signal, sys, time\n\
                       signal.signal(signal.SIGTSTP, signal.SIG_IGN)\n\
                       print('ready:', flush=True)\n\
                       time.sleep(1.5); sys.exit(4)\n";
        let exit = try_run(launch(&["python3", "-c", ignores]))
            .unwrap()
            .ended
            .exit;
        assert_eq!(exit, Exit::Code(4));
        println!("it went on");
        return;
    }
    let Some(seen) = in_terminal("terminal::a_command_that_ignores_ctrl_z_goes_on", r"\x1a") else {
        return;
    };
    assert!(!seen.contains("job stopped"), "{seen}");
    assert!(seen.contains("it went on"), "{seen}");
}
