//! Threads that connect fast share one CPU with the tracer for a while. Nothing that they start is left there, nor are they
//! when they slow down or become another program.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// Bursts in eight threads, as a JVM that opens its pools, with new threads and processes in between.
const BURST: &str = r"
import os, socket, subprocess, sys, threading, time
cpus = lambda: len(os.sched_getaffinity(0))
whole, wrong = cpus(), []
count = 'import os; print(len(os.sched_getaffinity(0)))'
def burst():
    for _ in range(300):
        s = socket.socket(); s.connect_ex(('127.0.0.1', 1)); s.close()
def check(what, now=None):
    if (now or cpus()) != whole: wrong.append(what)
def worker():
    burst()
    thread = threading.Thread(target=check, args=('a thread',)); thread.start(); thread.join()
workers = [threading.Thread(target=worker) for _ in range(8)]
for w in workers: w.start()
for w in workers: w.join()
burst()
child = os.fork()
if child == 0: os._exit(cpus() != whole)
check('a fork', whole if os.waitpid(child, 0)[1] == 0 else 1)
burst()
check('a program', int(subprocess.run([sys.executable, '-c', count], capture_output=True).stdout))
burst()
time.sleep(0.5)
check('the slowed thread')
burst()
print(cpus() < whole, whole, wrong, flush=True)
os.execvp('nproc', ['nproc'])
";

#[test]
fn nothing_is_left_on_one_cpu() {
    let run = || {
        let mut presyn = Command::new("timeout");
        presyn.args([
            "50",
            env!("CARGO_BIN_EXE_presyn"),
            "run",
            "--no-capture",
            "-q",
            "--",
        ]);
        let output = presyn.args(["python3", "-c", BURST]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let (bursts, exec) = said.trim().split_once('\n').unwrap();
        // Whether the thread that becomes nproc is pinned.
        let (pinned, rest) = bursts.split_once(' ').unwrap();
        let (whole, wrong) = rest.split_once(' ').unwrap();
        assert_eq!(wrong, "[]", "{said}");
        assert_eq!(exec, whole, "after an exec: {said}");
        (pinned == "True", whole == "1")
    };
    // Whether threads get pinned at all depends on how fast the machine is just now.
    for _ in 0..5 {
        let (pinned, single) = run();
        if pinned || single {
            return;
        }
    }
    let said = "SKIPPED: no thread was fast enough to be pinned\n";
    // Not eprintln: the test harness swallows what passing tests print.
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}
