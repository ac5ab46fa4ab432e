//! How the command's end, its output and its children pass through `presyn run`.

use crate::lab::PRESYN;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run(options: &[&str], command: &[&str]) -> Output {
    let mut presyn = Command::new("timeout");
    presyn.args(["60", PRESYN, "run"]).args(options).arg("--");
    presyn.args(command).output().unwrap()
}

/// Traced only: no right to capture is needed.
fn trace(command: &[&str]) -> Output {
    run(&["--no-capture"], command)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_statuses_pass_through() {
    let ends = |script: &str, status: i32| {
        let output = trace(&["sh", "-c", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {output:?}");
    };
    ends("exit 0", 0);
    ends("exit 42", 42);
    // As the shell reports a death by SIGSEGV.
    ends("sh -c 'kill -SEGV $$'; exit $?", 139);
    assert_eq!(trace(&["no-such-program"]).status.code(), Some(127));
    assert_eq!(trace(&["/etc/passwd"]).status.code(), Some(126));
}

/// What presyn cannot begin leaves the command alone.
#[test]
fn a_command_is_not_run_where_the_case_cannot_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let case = env!("CARGO_MANIFEST_DIR");
    for option in ["--no-capture", "--no-trace", "-q"] {
        let command = ["touch", mark.to_str().unwrap()];
        let output = run(&[option, "--save", case], &command);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(!mark.exists(), "{option}");
    }
}

#[test]
fn a_death_by_signal_passes_through() {
    use std::os::unix::process::ExitStatusExt;
    for signal in [11, 15] {
        let status = Command::new(PRESYN)
            .args(["run", "--no-capture", "-q", "--", "sh", "-c"])
            .arg(format!("kill -{signal} $$"))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(signal), "{status:?}");
    }
}

#[test]
fn standard_output_is_the_commands() {
    for options in [&["--no-capture"][..], &["--no-capture", "-v"]] {
        let output = run(options, &["printf", "a\\0b\\n"]);
        assert_eq!(output.stdout, b"a\0b\n");
        assert!(!output.stderr.is_empty(), "the report");
    }
    let quiet = run(&["--no-capture", "-q"], &["sh", "-c", "echo mine >&2"]);
    assert_eq!(text(&quiet.stderr), "mine\n");
}

#[test]
fn json_needs_a_file() {
    let output = run(&["--no-capture", "--format", "json"], &["echo", "ran"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("--report"), "{output:?}");
    assert!(output.stdout.is_empty(), "the command did not run");
}

#[test]
fn a_traced_presyn_says_why_it_refuses() {
    let strace = |options: &[&str]| {
        let mut strace = Command::new("timeout");
        strace.args([
            "60",
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=none",
            PRESYN,
        ]);
        strace.args(["run", "--no-capture"]).args(options);
        strace.args(["--", "sh", "-c", "exit 9"]).output().unwrap()
    };
    let refused = strace(&[]);
    if refused.status.code() == Some(127) {
        let said = "SKIPPED: no strace here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125), "{said}");
    assert!(
        said.contains("itself traced") && said.contains("--no-trace"),
        "{said}"
    );
}

/// Where a process or a thread of presyn's cannot be made, the command does not run, and presyn says why.
#[test]
fn a_limit_of_processes_is_an_error_and_no_panic() {
    if !nix::unistd::geteuid().is_root() {
        let said = "SKIPPED: root alone can become another user\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    let folder = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let presyn = folder.path().join("presyn");
    std::fs::copy(PRESYN, &presyn).unwrap();
    let mut statuses = Vec::new();
    for limit in 1..12 {
        // A user of its own: the limit counts all that a user runs.
        let user = (3_000_000 + 16 * std::process::id() + limit).to_string();
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nproc={limit}"));
        limited.args(["setpriv", "--clear-groups", "--reuid", &user]);
        limited.args(["--regid", &user]).arg(&presyn);
        limited.args(["run", "-q", "--no-capture", "--", "sh", "-c", "exit 5"]);
        let output = limited.output().unwrap();
        let said = text(&output.stderr);
        match output.status.code() {
            Some(125) => assert!(said.contains("presyn: cannot start"), "{limit}: {said}"),
            status => assert_eq!(status, Some(5), "{limit}: {said}"),
        }
        statuses.push(output.status.code());
    }
    assert!(statuses.contains(&Some(125)) && statuses.ends_with(&[Some(5)]));
}

#[test]
fn daemons_are_named_when_their_parent_ends() {
    let script = "sleep 3 >/dev/null 2>&1 & sleep 0.3; exit 4";
    let mut child = Command::new(PRESYN)
        .args(["run", "--no-capture", "--", "sh", "-c", script])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let mut stderr = child.stderr.take().unwrap();
    let mut said = String::new();
    let mut byte = [0; 512];
    let mut reported = None;
    while let Ok(got @ 1..) = stderr.read(&mut byte) {
        said.push_str(&text(&byte[..got]));
        if reported.is_none() && said.contains("\n\n") {
            reported = Some(begin.elapsed());
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(4));
    assert!(said.contains("exited 4, but sleep ("), "{said}");
    assert!(
        begin.elapsed() > Duration::from_millis(2500),
        "it was traced on"
    );
    let reported = reported.unwrap_or_else(|| panic!("no report: {said}"));
    assert!(reported < Duration::from_secs(2), "{reported:?}");
}

/// Ctrl-C reaches the whole foreground group; what it means is for the command to decide.
#[test]
fn an_interrupt_is_the_commands_to_handle() {
    let script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.1; done";
    // Who runs the tests may ignore it, and a shell cannot trap what it was started to ignore.
    let mut child = Command::new("env")
        .args([
            "--default-signal=INT",
            "setsid",
            PRESYN,
            "run",
            "--no-capture",
            "-q",
            "--",
            "bash",
            "-c",
            script,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(7));
}
