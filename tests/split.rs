//! The two processes of a live run: what the one that parses packets may do, and that the command never feels what
//! happens to it.
#![allow(clippy::unwrap_used)] // tests
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const PRESYN: &str = env!("CARGO_BIN_EXE_presyn");

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn skip(why: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    let said = format!("SKIPPED: {why}\n");
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}

fn may_capture() -> bool {
    presyn::source::privilege::may_capture()
}

/// A running presyn, its analysis process, and the command's standard output.
struct Run {
    presyn: Child,
    analysis: Pid,
    output: BufReader<ChildStdout>,
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn comm(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    text.trim().to_owned()
}

/// Starts `presyn run OPTIONS -- sh -c SCRIPT` and waits until the script prints its first line.
fn start(options: &[&str], script: &str) -> Run {
    let mut presyn = Command::new(PRESYN)
        .arg("run")
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(presyn.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the command did not begin");
    let analysis = children(presyn.id())
        .into_iter()
        .find(|pid| comm(*pid) == "presyn")
        .expect_or("no analysis process");
    Run {
        presyn,
        analysis: Pid::from_raw(i32::try_from(analysis).unwrap()),
        output,
    }
}

/// `expect` for a test, without the lint.
trait ExpectOr<T> {
    fn expect_or(self, why: &str) -> T;
}

impl<T> ExpectOr<T> for Option<T> {
    fn expect_or(self, why: &str) -> T {
        self.unwrap_or_else(|| panic!("{why}"))
    }
}

impl Run {
    /// Exit status, the rest of the command's output, and presyn's.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut errors = self.presyn.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        });
        let mut output = String::new();
        self.output.read_to_string(&mut output).unwrap();
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.presyn.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "presyn hangs");
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code(), output, reader.join().unwrap())
    }
}

fn status_of(pid: Pid) -> impl Fn(&str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    move |name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect_or(name).trim().to_owned()
    }
}

/// What every descriptor of a process is.
fn descriptors(pid: Pid) -> Vec<String> {
    let mut list: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap();
            format!("{} {}", entry.file_name().display(), target.display())
        })
        .collect();
    list.sort();
    list
}

#[test]
fn the_analysis_process_has_no_rights() {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("case");
    let report = folder.path().join("report");
    let mut options = vec![
        "--save",
        case.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ];
    if !may_capture() {
        skip("no right to capture: the analysis process of a run without a capture is looked at");
        options.push("--no-capture");
    }
    let run = start(&options, "echo on; sleep 1");
    let value = status_of(run.analysis);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (value("NoNewPrivs:"), value("Seccomp:")),
        ("1".into(), "2".into())
    );
    if is_root() {
        let uid = value("Uid:");
        let uids: Vec<u32> = uid.split_whitespace().map(|u| u.parse().unwrap()).collect();
        let own = 0x7000_0000 + run.analysis.as_raw().unsigned_abs();
        assert_eq!(uids, [own; 4]);
        assert_eq!(
            value("Gid:").split_whitespace().next(),
            Some(own.to_string().as_str())
        );
        assert_eq!(value("Groups:"), "");
        let maps = fs::read_to_string(format!("/proc/{}/maps", run.analysis)).unwrap();
        assert!(!maps.contains("socket:"), "a packet ring is mapped");
        let held = descriptors(run.analysis);
        let kinds: Vec<&str> = held
            .iter()
            .filter_map(|d| d.split_once(' '))
            .map(|d| d.1)
            .collect();
        assert!(!kinds.iter().any(|d| d.starts_with("socket:")), "{held:?}");
        // Standard error, the stream, the answers; files of its own; nothing else.
        assert_eq!(
            kinds.iter().filter(|d| d.starts_with("pipe:")).count(),
            3,
            "{held:?}"
        );
        assert_eq!(
            kinds.iter().filter(|d| **d == "/dev/null").count(),
            2,
            "{held:?}"
        );
        let files = kinds
            .iter()
            .filter(|d| d.starts_with(folder.path().to_str().unwrap()))
            .count();
        assert_eq!(files, if may_capture() { 4 } else { 3 }, "{held:?}");
        // The report goes here where its own file or standard error does not take it.
        let kept = kinds
            .iter()
            .filter(|d| d.starts_with("/memfd:presyn-report"));
        assert_eq!(kept.count(), 1, "{held:?}");
        assert_eq!(kinds.len(), 3 + 2 + files + 1, "{held:?}");
        let adj = fs::read_to_string(format!("/proc/{}/oom_score_adj", run.analysis)).unwrap();
        assert_eq!(adj.trim(), "1000");
    } else {
        skip("not root: the descriptors and the user of the analysis process are not looked at");
    }
    let (status, _, _) = run.end();
    assert_eq!(status, Some(0));
    assert!(fs::metadata(&report).unwrap().len() > 0);
}

/// Without a right to trace any process, nobody gets at the analysis process: not even as its own user.
#[test]
fn the_analysis_process_is_out_of_reach() {
    if !is_root() {
        return skip("not root: no other user to try it as");
    }
    let run = start(&["--no-capture"], "echo on; sleep 2");
    let uid = nix::unistd::Uid::from_raw(0x7000_0000 + run.analysis.as_raw().unsigned_abs());
    for user in ["65534".to_owned(), uid.to_string()] {
        let script = format!(
            "import ctypes, os, sys\n\
             libc = ctypes.CDLL(None, use_errno=True)\n\
             pid = {}\n\
             assert libc.ptrace(0x4206, pid, 0, 0) == -1, 'seized'\n\
             try: open('/proc/%d/mem' % pid, 'r+b'); sys.exit('opened')\n\
             except PermissionError: pass\n\
             pidfd = os.pidfd_open(pid)\n\
             for fd in range(16):\n\
             \x20   assert libc.syscall(438, pidfd, fd, 0) == -1, 'got %d' % fd\n\
             print('refused')\n",
            run.analysis
        );
        let tried = Command::new("setpriv")
            .args([
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "--inh-caps=-all",
            ])
            .args(["/usr/bin/python3", "-c", &script])
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tried.stdout).into_owned();
        let errors = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert_eq!(said.trim(), "refused", "as {user}: {errors}");
    }
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn the_command_outlives_the_analysis() {
    for options in [
        &["--no-capture"][..],
        &["--no-capture", "-q"],
        &["--no-trace"],
    ] {
        if options.contains(&"--no-trace") && !may_capture() {
            skip("no right to capture");
            continue;
        }
        let run = start(options, "echo on; sleep 0.6; echo still; exit 7");
        kill(run.analysis, Signal::SIGKILL).unwrap();
        let (status, output, errors) = run.end();
        assert_eq!((status, output.as_str()), (Some(7), "still\n"), "{errors}");
        let told = errors
            .matches("the analysis process was killed by SIGKILL")
            .count();
        assert_eq!(told, 1, "{errors}");
    }
}

#[test]
fn a_stopped_analysis_stops_nothing() {
    let run = start(
        &["--no-capture"],
        "echo on; for i in 1 2 3; do bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' 2>/dev/null; done; echo done; exit 5",
    );
    kill(run.analysis, Signal::SIGSTOP).unwrap();
    let mut run = run;
    let mut line = String::new();
    let begin = Instant::now();
    run.output.read_line(&mut line).unwrap();
    assert_eq!(line, "done\n");
    assert!(begin.elapsed() < Duration::from_secs(10));
    std::thread::sleep(Duration::from_millis(500));
    kill(run.analysis, Signal::SIGCONT).unwrap();
    let (status, _, errors) = run.end();
    assert_eq!(status, Some(5));
    assert!(
        errors.contains("127.0.0.1:9"),
        "the report comes late, but whole: {errors}"
    );
}

/// One that never goes on is given up; its loss is reported, and it does not outlive presyn.
#[test]
fn a_hanging_analysis_is_given_up() {
    let run = start(&["--no-capture"], "echo on; sleep 0.5; exit 5");
    let analysis = run.analysis;
    kill(analysis, Signal::SIGSTOP).unwrap();
    let mut run = run;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = run.presyn.try_wait().unwrap() {
            break status;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "presyn hangs too"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(5));
    assert!(
        begin.elapsed() > Duration::from_secs(5),
        "a pause is no hang"
    );
    // It holds standard error as long as it stands.
    kill(analysis, Signal::SIGCONT).unwrap();
    let mut errors = String::new();
    let mut stderr = run.presyn.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert!(errors.contains("hangs"), "{errors}");
    let begin = Instant::now();
    // Where nothing reaps orphans it stays a zombie.
    let runs =
        || fs::read_to_string(format!("/proc/{analysis}/stat")).is_ok_and(|s| !s.contains(") Z "));
    while runs() {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "it outlives presyn"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A burst of forks, and of connects from one thread, is seen whole.
#[test]
fn a_burst_is_seen_whole() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let script = "echo on; exec python3 -c '\n\
                  import socket\n\
                  for i in range(20000):\n\
                  \x20   s = socket.socket(); s.connect_ex((\"127.0.0.1\", 9)); s.close()\n'";
    let path = report.to_str().unwrap();
    let options = ["--no-capture", "--format", "json", "--report", path];
    let (status, _, errors) = start(&options, script).end();
    assert_eq!(status, Some(0), "{errors}");
    let text = fs::read_to_string(&report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let calls = report["inputs"]["traces"][0]["calls"].as_u64().unwrap();
    let lost = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|w| w.as_str().is_some_and(|w| w.contains("not recorded")));
    assert!(
        calls >= 20_000 && !lost,
        "{calls} calls: {}",
        report["warnings"]
    );
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    // A report that standard error does not take is saved in the working directory.
    let folder = tempfile::tempdir().unwrap();
    for redirect in [
        "2>&-",
        "2>/dev/full",
        "2>&1 >/dev/null | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}",
    ] {
        let script =
            format!("{PRESYN} run --no-capture -v -- bash -c 'sleep 0.3; exit 7' {redirect}");
        let mut bash = Command::new("bash");
        let status = bash
            .args(["-c", &script])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7), "{redirect}");
    }
}

/// Ctrl-C is the command's; the analysis process reports what it left.
#[test]
fn signals_to_the_group_do_not_end_the_analysis() {
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTERM,
    ] {
        let run = start(
            &["--no-capture"],
            "trap 'exit 3' INT QUIT HUP TERM; echo on; sleep 2 & wait; exit 4",
        );
        kill(run.analysis, signal).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let (status, _, errors) = run.end();
        assert_eq!(status, Some(4), "{signal}: {errors}");
        assert!(
            errors.contains("presyn: ") || errors.contains("--full has every"),
            "{errors}"
        );
    }
}
