//! Whatever happens to presyn's own output, the command runs on to its end and its status is passed on.
#![allow(clippy::unwrap_used)] // tests

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PRESYN: &str = env!("CARGO_BIN_EXE_presyn");

/// Connects, leaves a mark and ends with a status of its own.
const CLIENT: &str = "(exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null; touch mark; exit 7";
/// The same with so many connects that pipes and small disks are full.
const BUSY: &str = "import socket, sys\n\
    for n in range(3000): socket.socket().connect_ex(('127.0.0.1', 9))\n\
    open('mark', 'w'); sys.exit(7)\n";

fn skip(why: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("SKIPPED: {why}\n").as_bytes(),
    )
    .unwrap();
}

/// Where the command runs.
struct Location(TempDir);

impl Location {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["40", program]).current_dir(self.0.path());
        command.env_remove("SUDO_UID").stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str], client: &[&str]) -> Command {
        let mut command = self.command(PRESYN);
        command.args(["run", "--no-capture"]).args(options);
        command.arg("--").args(client);
        command
    }

    /// In a shell, for redirections and limits.
    fn shell(&self, script: &str) -> Output {
        let mut command = self.command("bash");
        command.args(["-c", script]).env("PRESYN", PRESYN);
        command.env("CLIENT", CLIENT).env("BUSY", BUSY);
        command.output().unwrap()
    }

    #[track_caller]
    fn assert_client_ended_well(&self, status: ExitStatus) {
        assert_eq!(status.code(), Some(7), "{status:?}");
        assert!(
            self.0.path().join("mark").exists(),
            "the command was cut short"
        );
    }

    /// The reports that went into files of their own.
    fn reports(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        paths
            .filter(|p| name(p).starts_with("presyn-report-"))
            .collect()
    }

    #[track_caller]
    fn assert_one_report(&self, word: &str) {
        let reports = self.reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let text = fs::read_to_string(&reports[0]).unwrap();
        assert!(text.contains(word), "{text}");
        let mode = fs::metadata(&reports[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A pipe that no process reads any more.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn standard_error_that_takes_nothing() {
    for options in [&[][..], &["-v"], &["--format", "markdown"]] {
        for full in [false, true] {
            let place = Location::new();
            let stderr = if full {
                File::options()
                    .write(true)
                    .open("/dev/full")
                    .unwrap()
                    .into()
            } else {
                broken_pipe()
            };
            let mut run = place.run(options, &["bash", "-c", CLIENT]);
            place.assert_client_ended_well(run.stderr(stderr).status().unwrap());
            place.assert_one_report("127.0.0.1:9");
        }
    }
    // With --quiet no report was wanted.
    let place = Location::new();
    let mut run = place.run(&["-q"], &["bash", "-c", CLIENT]);
    place.assert_client_ended_well(run.stderr(broken_pipe()).status().unwrap());
    assert!(place.reports().is_empty());
}

#[test]
fn standard_error_closed_or_read_for_one_line() {
    for redirection in ["2>&-", "2>&1 | head -c1", "-v 2>&1 | head -1"] {
        let place = Location::new();
        let (before, after) = match redirection.strip_prefix("-v ") {
            Some(rest) => ("-v", rest),
            None => ("", redirection),
        };
        let script = format!(
            "{{ \"$PRESYN\" run --no-capture {before} -- bash -c \"$CLIENT\"; echo $? >status; }} {after}"
        );
        place.shell(&script);
        let status = fs::read_to_string(place.0.path().join("status")).unwrap();
        assert_eq!(status, "7\n", "{redirection}");
        assert!(place.0.path().join("mark").exists(), "{redirection}");
        if redirection == "2>&-" {
            place.assert_one_report("127.0.0.1:9");
        }
    }
    // Who sends it to /dev/null wants none.
    let place = Location::new();
    place.shell("\"$PRESYN\" run --no-capture -- bash -c \"$CLIENT\" 2>/dev/null; true");
    assert!(place.reports().is_empty());
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(25), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reader_that_does_not_read_holds_nothing_up() {
    let place = Location::new();
    let mut run = place.run(&["-v"], &["python3", "-c", BUSY]);
    let mut child: Child = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mark = place.0.path().join("mark");
    wait_for("the command waits for the reader", || mark.exists());
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    place.assert_client_ended_well(child.wait().unwrap());
    assert!(
        said.len() > 1 << 17,
        "no more than a pipe holds: {}",
        said.len()
    );
    assert!(said.contains("127.0.0.1:9 refused"), "the report is there");
}

#[test]
fn a_report_file_that_fails_at_the_end() {
    let place = Location::new();
    let run = |options: &[&str], client: &str, stderr: Stdio| {
        let mut run = place.run(options, &["bash", "-c", client]);
        run.stderr(stderr)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    };
    let removed = format!("rm report; {CLIENT}");
    let output = run(&["--report", "report"], &removed, Stdio::piped());
    place.assert_client_ended_well(output.status);
    let said = text(&output.stderr);
    assert!(said.contains("was removed while the command ran"), "{said}");
    assert!(said.contains("127.0.0.1:9"), "{said}");
    let output = run(&["--report", "/dev/full"], CLIENT, Stdio::piped());
    place.assert_client_ended_well(output.status);
    let said = text(&output.stderr);
    assert!(
        said.contains("No space left on device") && said.contains("127.0.0.1:9"),
        "{said}"
    );
    assert!(place.reports().is_empty());
    let output = run(
        &["--report", "/dev/full", "--format", "json"],
        CLIENT,
        broken_pipe(),
    );
    place.assert_client_ended_well(output.status);
    place.assert_one_report("\"presyn.report/");
    assert_eq!(place.reports()[0].extension().unwrap(), "json");
}

/// What `analyze` says of the case, and its status.
#[track_caller]
fn assert_incomplete(analyzed: &Output, problem: &str) {
    let (report, said) = (text(&analyzed.stdout), text(&analyzed.stderr));
    // Lines are folded.
    let words: Vec<_> = report.split_whitespace().collect();
    let report = words.join(" ");
    assert_eq!(analyzed.status.code(), Some(3), "{report}{said}");
    assert!(
        report.contains("missing") && report.contains(problem),
        "{report}{said}"
    );
    assert!(
        report.contains("127.0.0.1:9"),
        "the rest is reported: {report}"
    );
}

#[test]
fn a_limit_of_file_sizes() {
    let place = Location::new();
    let output = place.shell(
        "ulimit -f 64; exec \"$PRESYN\" run --no-capture --save case -- python3 -c \"$BUSY\"",
    );
    let said = text(&output.stderr);
    place.assert_client_ended_well(output.status);
    assert!(
        said.contains("the saved case is incomplete: trace.jsonl"),
        "{said}"
    );
    assert!(said.contains("127.0.0.1:9 refused"), "{said}");
    let mut analyze = place.command(PRESYN);
    assert_incomplete(
        &analyze.args(["analyze", "case"]).output().unwrap(),
        "File too large",
    );
    // The command's own writes are limited as without presyn, and SIGXFSZ ends it.
    for prefix in ["", "\"$PRESYN\" run --no-capture -q --"] {
        let script = format!("ulimit -f 1; {prefix} head -c 9999 /dev/zero >big; echo $?");
        assert_eq!(text(&place.shell(&script).stdout), "153\n", "{prefix}");
    }
}

#[test]
fn a_full_disk() {
    let place = Location::new();
    let script = "mkdir disk && mount -t tmpfs -o size=96k none disk || exit 99\n\
        \"$PRESYN\" run --no-capture --save disk/case -- python3 -c \"$BUSY\" 2>said\n\
        echo $? >status\n\
        exec \"$PRESYN\" analyze disk/case";
    let mut unshare = place.command("unshare");
    unshare.args(["-rm", "bash", "-c", script]);
    if nix::unistd::geteuid().is_root() {
        unshare = place.command("unshare");
        unshare.args(["-m", "bash", "-c", script]);
    }
    unshare.env("PRESYN", PRESYN).env("BUSY", BUSY);
    let analyzed = unshare.output().unwrap();
    let Ok(status) = fs::read_to_string(place.0.path().join("status")) else {
        return skip(&format!("no tmpfs of our own: {}", text(&analyzed.stderr)));
    };
    let said = fs::read_to_string(place.0.path().join("said")).unwrap();
    assert_eq!(status, "7\n", "{said}");
    assert!(place.0.path().join("mark").exists());
    assert!(
        said.contains("the saved case is incomplete: trace.jsonl"),
        "{said}"
    );
    assert!(said.contains("127.0.0.1:9 refused"), "{said}");
    assert_incomplete(&analyzed, "No space left on device");
}

#[test]
fn a_capture_that_ended_early_is_in_the_case() {
    let place = Location::new();
    let script = "ip link add gone0 type veth peer name gone1 && ip link set gone0 up || exit 99\n\
        \"$PRESYN\" run -i gone0 --save case -- sh -c 'sleep 0.3; ip link del gone0; sleep 0.5; touch mark; exit 7'\n\
        echo $? >status\n\
        exec \"$PRESYN\" analyze case";
    let mut unshare = place.command("unshare");
    unshare
        .args(["-n", "bash", "-c", script])
        .env("PRESYN", PRESYN);
    let analyzed = unshare.output().unwrap();
    let Ok(status) = fs::read_to_string(place.0.path().join("status")) else {
        return skip(&format!("no network namespace: {}", text(&analyzed.stderr)));
    };
    let (live, read) = (text(&analyzed.stderr), text(&analyzed.stdout));
    assert_eq!(status, "7\n", "{live}");
    assert!(live.contains("broke off"), "{live}");
    assert!(read.contains("broke off"), "{read}");
    assert_eq!(analyzed.status.code(), Some(3));
}

#[test]
fn nothing_outlives_a_kill() {
    let place = Location::new();
    let (conf, temporary) = (place.0.path().join("conf"), place.0.path().join("tmp"));
    fs::write(&conf, "nameserver 10.9.8.7\n").unwrap();
    fs::create_dir(&temporary).unwrap();
    let client = "cat /etc/resolv.conf >seen; touch mark; sleep 20";
    let mut run = Command::new(PRESYN);
    run.args([
        "run",
        "--no-capture",
        "-q",
        "--resolv-conf",
        "conf",
        "--",
        "sh",
        "-c",
        client,
    ]);
    run.current_dir(place.0.path())
        .env("TMPDIR", &temporary)
        .env_remove("SUDO_UID");
    let mut child = run.spawn().unwrap();
    let mark = place.0.path().join("mark");
    wait_for("the command does not run", || {
        mark.exists() || child_has_ended(child.id())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    if !mark.exists() {
        return skip("no mount namespace of our own");
    }
    assert_eq!(
        fs::read_to_string(place.0.path().join("seen")).unwrap(),
        "nameserver 10.9.8.7\n"
    );
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

fn child_has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_trace_that_another_tool_wrote_again_is_read() {
    let place = Location::new();
    let mut run = place.run(&["-q", "--save", "case"], &["bash", "-c", CLIENT]);
    place.assert_client_ended_well(run.status().unwrap());
    let analyze = |paths: &[&str]| {
        let mut command = place.command(PRESYN);
        command.args(["analyze", "--format", "json"]).args(paths);
        let output = command.output().unwrap();
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let before = analyze(&["case"]);
    let lone = analyze(&["case/trace.jsonl"]);
    assert_eq!(before.0, Some(0), "{before:?}");
    let path = place.0.path().join("case/trace.jsonl");
    let original = fs::read_to_string(&path).unwrap();
    // Keys in the order of the alphabet, spaces, and a blank line at the end.
    let rewrite = "import json, sys\n\
        for line in open('case/trace.jsonl').read().splitlines():\n\
        \x20print(json.dumps(json.loads(line), sort_keys=True))\nprint()";
    let done = place
        .command("python3")
        .args(["-c", rewrite])
        .output()
        .unwrap();
    let rewritten = text(&done.stdout);
    assert!(rewritten.starts_with("{\"command\": ["), "{rewritten}");
    fs::write(&path, rewritten).unwrap();
    assert_eq!(analyze(&["case"]), before);
    assert_eq!(analyze(&["case/trace.jsonl"]), lone);
    // A start out of all reason.
    let (first, rest) = original.split_once('\n').unwrap();
    let mut header: serde_json::Value = serde_json::from_str(first).unwrap();
    for wrong in [i64::MIN, i64::MAX, -1, 1] {
        header["started"] = wrong.into();
        fs::write(&path, format!("{header}\n{rest}")).unwrap();
        let (status, report) = analyze(&["case"]);
        assert_eq!(status, Some(0), "{report}");
        assert!(report.contains("it is not used"), "{wrong}: {report}");
        assert!(!report.contains("9223372036."), "{wrong}: {report}");
    }
}
