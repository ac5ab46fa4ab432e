//! What a watch finds, how it ends, and that its target notices nothing.

use super::{Target, Watch, can_run, folder, say};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Eight threads that ask a silent resolver for 1.5 s each, one after the other for the others, then connect.
const POOL: &str = r"
def work(n):
    ask('127.0.0.9', f'db{n}.example.net', 1.5)
    socket.create_connection(('127.0.0.8', 8080)).close()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The owners in a case: what was looked up, without those that show a wait, and those.
fn owners(case: &Path) -> (Vec<Value>, Vec<Value>) {
    let text = fs::read_to_string(case.join("trace.jsonl")).unwrap();
    let all = text.lines().map(json).filter_map(|line| {
        let owner = line.get("what")?.get("owner")?;
        Some(owner.clone())
    });
    all.partition(|owner| owner["whose"]["watched"]["wait"].is_null())
}

#[test]
fn silent_queries_are_attributed_down_to_the_thread() {
    if !can_run() {
        return;
    }
    let mut target = Target::start(POOL);
    let case = folder();
    let case = case.path().join("case");
    let pid = target.pid.to_string();
    let watch = Watch::start(&[&pid, "--save", case.to_str().unwrap()]);
    target.begin();
    target.done();
    let (report, said, status) = watch.end();
    assert_eq!(status, Some(0), "{said:?}");
    let (owners, waits) = owners(&case);
    let silent: Vec<&Value> = { owners.iter() }
        .filter(|owner| owner["flow"]["dst"] == "127.0.0.9:53")
        .collect();
    assert_eq!(silent.len(), 8);
    for owner in silent {
        assert_eq!(
            owner["whose"]["watched"]["task"]["pid"], target.pid,
            "{owner}"
        );
    }
    let mut threads: Vec<u64> = { waits.iter() }
        .map(|owner| owner["whose"]["watched"]["task"]["tid"].as_u64().unwrap())
        .collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 8, "{waits:?}");
    assert!(
        waits
            .iter()
            .all(|owner| owner["whose"]["watched"]["wait"]["among"] == 1)
    );
    let lines: Vec<&String> = said
        .iter()
        .filter(|line| line.contains("has waited 1."))
        .collect();
    assert_eq!(lines.len(), 8, "{said:?}");
    assert!(
        lines[0].contains(" s for resolver 127.0.0.9, A db"),
        "{said:?}"
    );
    // The case read back gives the same report.
    let again = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .arg("analyze")
        .arg(&case)
        .output()
        .unwrap();
    assert_eq!(report, String::from_utf8(again.stdout).unwrap());
    assert!(report.contains("127.0.0.9"), "{report}");
}

/// A loop of calls that return EINTR when their thread is stopped (`epoll_wait`, recv with `SO_RCVTIMEO`; signal(7)): it counts
/// them, and looks who traces it.
const EINTR: &str = r"
import ctypes, select, struct
libc = ctypes.CDLL(None, use_errno=True)
epoll = select.epoll()
a, b = socket.socketpair()
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 50_000))
buffer = ctypes.create_string_buffer(512)
interrupted, tracers = 0, set()
def count(result):
    global interrupted
    interrupted += result < 0 and ctypes.get_errno() == 4
threading.Thread(target=lambda: ask('127.0.0.9', 'db.example.net', 3), daemon=True).start()
end = time.monotonic() + 3
while time.monotonic() < end:
    count(libc.epoll_wait(epoll.fileno(), buffer, 8, 50))
    count(libc.recv(a.fileno(), buffer, 8, 0))
    tracers |= {l for l in open('/proc/self/status') if l.startswith('TracerPid')}
print(interrupted, *sorted(tracers), flush=True)
";

#[test]
fn no_thread_is_stopped() {
    if !can_run() {
        return;
    }
    let mut target = Target::start(EINTR);
    let watch = Watch::start(&[&target.pid.to_string()]);
    target.begin();
    let printed = target.done();
    let (_, said, _) = watch.end();
    assert_eq!(
        printed[0].split_whitespace().collect::<Vec<_>>(),
        ["0", "TracerPid:", "0"]
    );
    assert!(
        said.iter().any(|line| line.contains("has waited")),
        "{said:?}"
    );
}

#[test]
fn a_watch_ends_as_it_is_told_to() {
    if !can_run() {
        return;
    }
    let mut target = Target::start(
        "ask('127.0.0.9', 'db.example.net', 2)\nask('127.0.0.9', 'db.example.net', .5)\n\
         socket.create_connection(('127.0.0.8', 8080)).close()\ntime.sleep(3)",
    );
    let pid = target.pid.to_string();
    // After its time.
    let began = Instant::now();
    let (_, said, status) = Watch::start(&[&pid, "--for", "1"]).ended();
    assert_eq!((status, said.len()), (Some(0), 0), "{said:?}");
    assert!((1..5).contains(&began.elapsed().as_secs()));
    // When a wait that was long enough is over; what a condition asks for is the exit status.
    let mut arguments = vec![&*pid, "--until-delay", "1.5", "--for", "30"];
    arguments.extend(["--fail-on", "unanswered>0"]);
    let watch = Watch::start(&arguments);
    let began = Instant::now();
    target.begin();
    let (report, said, status) = watch.ended();
    assert_eq!(status, Some(1), "{said:?} {report}");
    assert!((2..5).contains(&began.elapsed().as_secs()), "{began:?}");
    assert!(
        said.iter()
            .any(|line| line.contains("--fail-on unanswered>0 holds"))
    );
    // With its target.
    let watch = Watch::start(&[&pid, "--for", "30"]);
    target.done();
    drop(target);
    let (_, _, status) = watch.ended();
    assert_eq!(status, Some(0));
}

#[test]
fn a_watch_that_is_killed_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    let mut target = Target::start("for n in range(20): ask('127.0.0.9', 'db.example.net', .2)");
    let case = folder();
    let folder = case.path().join("case");
    let watch = Watch::start(&[&target.pid.to_string(), "--save", folder.to_str().unwrap()]);
    let pid = watch.pid();
    target.begin();
    std::thread::sleep(Duration::from_secs(1));
    let descendants = children(pid);
    assert_eq!(descendants.len(), 1, "the analysis process");
    let kill = nix::sys::signal::kill;
    kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::SIGKILL,
    )
    .unwrap();
    watch.ended();
    target.done();
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
    let began = Instant::now();
    while !descendants.iter().all(gone) {
        assert!(began.elapsed() < Duration::from_secs(10), "{descendants:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What was seen until then can be read.
    let (owners, _) = owners(&folder);
    assert!(!owners.is_empty());
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[test]
fn both_processes_have_few_rights() {
    if !can_run() {
        return;
    }
    let target = Target::start("pass");
    let watch = Watch::start(&[&target.pid.to_string()]);
    let rights = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("CapPrm:"))
            .unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE (linux/capability.h).
    assert_eq!(rights(watch.pid()), 1 << 2 | 1 << 19);
    let analysis = children(watch.pid());
    assert_eq!(analysis.len(), 1);
    assert_eq!(rights(analysis[0]), 0);
    watch.end();
}

#[test]
fn what_cannot_be_watched_is_named() {
    let presyn = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_presyn"));
        let output = command.arg("attach").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (arguments, words) in [
        (&["--unit", "no-such-unit-here"][..], "no-such-unit-here"),
        (&["--container", "no-such-container"], "no-such-container"),
        (&["1", "--for", "0"], "a number of seconds, more than 0"),
        (&[], "PID"),
    ] {
        let (status, said) = presyn(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    say("");
}
