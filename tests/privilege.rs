//! Rights are given up before anything is read, and tracing goes on without them.
#![allow(clippy::unwrap_used)] // tests

use presyn::event::{Event, EventKind, Op};
use presyn::source::privilege::{Needs, RetainedRights, give_up, may_capture};
use presyn::source::tracer::{Exit, Launch, Observer};
use presyn::user::User;
use std::process::Command;

/// Set for the copy of this test binary that gives its rights up: they are the whole process's.
const INSIDE: &str = "PRESYN_TEST_GIVES_UP";

#[derive(Default)]
struct Connects {
    exact: usize,
}

impl Observer for Connects {
    fn event(&mut self, event: Event) {
        if let EventKind::Call(call) = event.what
            && let Op::Connect { fd, .. } = call.op
            && fd.note.is_some_and(|n| n.exact && n.local.is_some())
        {
            self.exact += 1;
        }
    }
}

#[test]
fn tracing_goes_on_without_the_rights() {
    let root = nix::unistd::geteuid().is_root();
    let Ok(how) = std::env::var(INSIDE) else {
        if !root {
            let said = "SKIPPED: not root, nothing to give up\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return;
        }
        for how in ["user", "root"] {
            let output = Command::new("timeout")
                .args(["30"])
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "--nocapture",
                    "tracing_goes_on_without_the_rights",
                ])
                .env(INSIDE, how)
                .output()
                .unwrap();
            let seen = String::from_utf8_lossy(&output.stdout);
            assert!(seen.contains("seen without rights"), "{how}: {seen}");
        }
        return;
    };
    let user = (how == "user").then(|| User::find("nobody").unwrap());
    // Threads, and a child that is handed over to init: Yama's and the kernel's rules differ for those.
    let script = "import os, socket, threading\n\
                  def go(): socket.socket().connect_ex(('127.0.0.1', 1))\n\
                  t = threading.Thread(target=go); t.start(); t.join()\n\
                  if os.fork() == 0: go(); os._exit(0)\n\
                  os.wait(); go()\n";
    let command = ["python3", "-c", script].map(Into::into);
    let mut launch = Launch::new(command.into(), Vec::new());
    launch.user.clone_from(&user);
    let tracer = launch.start().unwrap();
    let kept = give_up(user.as_ref(), Needs::Trace).unwrap();
    match how.as_str() {
        "user" => {
            assert_eq!(kept, RetainedRights::BecameUser("nobody".to_owned()));
            assert!(!nix::unistd::geteuid().is_root());
        }
        _ => assert_eq!(kept, RetainedRights::PtraceAndNice),
    }
    assert!(!may_capture());
    let mut connects = Connects::default();
    let ended = tracer.run(&mut connects).unwrap();
    assert_eq!((ended.exit, connects.exact), (Exit::Code(0), 3));
    println!("seen without rights");
}

/// An ordinary user runs a presyn that has `cap_net_raw+ep`, as `presyn check` advises.
#[test]
fn an_ordinary_user_traces_with_file_capabilities() {
    use std::os::unix::fs::PermissionsExt;
    let skip = |why: &str| {
        let said = format!("SKIPPED: no run with file capabilities: {why}\n");
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    };
    if !nix::unistd::geteuid().is_root() {
        return skip("not root");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("presyn");
    std::fs::copy(env!("CARGO_BIN_EXE_presyn"), &program).unwrap();
    let granted = Command::new("setcap")
        .arg("cap_net_raw+ep")
        .arg(&program)
        .output();
    match granted {
        Ok(done) if done.status.success() => {}
        Ok(done) => return skip(&String::from_utf8_lossy(&done.stderr)),
        Err(error) => return skip(&format!("setcap: {error}")),
    }
    let output = Command::new("setpriv")
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
        .args(["timeout", "30"])
        .arg(&program)
        .args([
            "run",
            "--full",
            "--",
            "bash",
            "-c",
            "exec 3<>/dev/tcp/127.0.0.1/9",
        ])
        .current_dir("/")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(
        report.contains("refused the connection") && report.contains("by call"),
        "{report}"
    );
    assert!(
        report.contains("SYN, refused in") && report.contains("[connect-refused] at "),
        "{report}"
    );
}
