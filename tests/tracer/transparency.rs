//! A traced program must not notice, and neither must its parent.

use crate::support::{have, launch, python, run, try_run};
use presyn::event::{LifecycleChange, Op};
use presyn::source::tracer::{Exit, TracerError};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

fn untraced(command: &[&str]) -> Exit {
    let status = Command::new(command[0])
        .args(&command[1..])
        .status()
        .unwrap();
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(number)) => Exit::Signal {
            number,
            core: status.core_dumped(),
        },
        (None, None) => panic!("{status:?}"),
    }
}

#[test]
fn ends_pass_through() {
    for script in [
        "exit 0",
        "exit 42",
        "kill -SEGV $$",
        "kill -TERM $$",
        "kill -KILL $$",
        "kill -INT $$",
        "ulimit -c 0; kill -ABRT $$",
        "kill -37 $$", // a real-time signal
        "trap 'exit 7' USR1; kill -USR1 $$; exit 8",
        "trap '' TERM; kill -TERM $$; exit 9",
        "sh -c 'kill -9 $$'; exit $?",
    ] {
        // No cores: where they go is a matter of the machine.
        let command = ["sh", "-c", &format!("ulimit -c 0; {script}")];
        let traced = run(&command);
        assert_eq!(traced.ended.exit, untraced(&command), "{script}");
        traced.assert_lives_are_whole();
    }
}

#[test]
fn real_time_signals_arrive_in_order() {
    let run = python(
        "import os, signal\n\
         got = []\n\
         for n in (3, 5, 9): signal.signal(signal.SIGRTMIN + n, lambda s, f: got.append(s - signal.SIGRTMIN))\n\
         for n in (5, 3, 9, 3): signal.pthread_kill(__import__('threading').get_ident(), signal.SIGRTMIN + n)\n\
         os._exit(sum(10 ** i * g for i, g in enumerate(got)) % 251)\n",
    );
    // Each is handled before the next is sent.
    assert_eq!(run.ended.exit, Exit::Code((5 + 30 + 900 + 3000) % 251));
}

/// A parent that stops its child, wakes it and ends it, and says what it was told.
const STOPS: &str = "\
import os, signal, sys, time
pid = os.fork()
if pid == 0:
    while True: time.sleep(0.01)
# SIGTSTP does not stop an orphaned process group (setpgid(2)); the group of a test may be one.
os.setpgid(pid, pid)
def told(flags):
    _, status = os.waitpid(pid, flags)
    if os.WIFSTOPPED(status): return 'stopped %d' % os.WSTOPSIG(status)
    if os.WIFCONTINUED(status): return 'continued'
    if os.WIFSIGNALED(status): return 'killed %d' % os.WTERMSIG(status)
    return 'exited'
said = []
for stop in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN):
    os.kill(pid, stop); said.append(told(os.WUNTRACED))
    os.kill(pid, signal.SIGCONT); said.append(told(os.WCONTINUED))
os.kill(pid, signal.SIGSTOP); said.append(told(os.WUNTRACED))
os.kill(pid, signal.SIGTERM); os.kill(pid, signal.SIGCONT)
said.append(told(0))
wanted = 'stopped 19,continued,stopped 20,continued,stopped 21,continued,stopped 19,killed 15'
sys.exit(0 if ','.join(said) == wanted else 1)
";

#[test]
fn stops_and_continues_are_seen_by_the_parent() {
    let command = ["python3", "-c", STOPS];
    assert_eq!(untraced(&command), Exit::Code(0));
    let run = run(&command);
    assert_eq!(run.ended.exit, Exit::Code(0));
    assert!(
        run.lives()
            .any(|(_, change)| *change == LifecycleChange::Killed("SIGTERM".to_owned()))
    );
}

#[test]
fn vfork_and_exec() {
    let run = python(
        "import os\n\
         pid = os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 5'], os.environ)\n\
         os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    );
    assert_eq!(run.ended.exit, Exit::Code(5));
    let execs: Vec<_> = run
        .calls()
        .filter(|(_, call)| matches!(call.op, Op::Exec { .. }))
        .filter_map(|(_, call)| call.task.pid)
        .collect();
    let root = run.lives().next().unwrap().0.pid;
    assert_eq!(execs.first().copied(), root);
    let child = execs.last().unwrap();
    assert_ne!(Some(*child), root);
    let born = run.lives().find(|(task, _)| task.pid == Some(*child));
    let expected = LifecycleChange::Forked {
        parent: root,
        thread: Some(false),
    };
    assert_eq!(born.map(|(_, change)| change), Some(&expected));
    run.assert_lives_are_whole();
}

#[test]
fn exec_from_a_thread() {
    let run = python(
        "import os, threading, time\n\
         threading.Thread(target=lambda: time.sleep(30), daemon=True).start()\n\
         threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'exit 6'])).start()\n\
         time.sleep(30)\n",
    );
    assert_eq!(run.ended.exit, Exit::Code(6));
    run.assert_lives_are_whole();
    let (_, exec) = run
        .calls()
        .filter(|(_, call)| matches!(call.op, Op::Exec { .. }))
        .last()
        .unwrap();
    assert_eq!(exec.task.pid, exec.task.tid);
    assert_eq!(exec.task.comm.as_deref(), Some("sh"));
}

#[test]
fn what_cannot_be_run_is_told_as_env_does() {
    let refused = |program: &str| match try_run(launch(&[program])).err().unwrap() {
        error @ TracerError::Exec { .. } => error.exit_status(),
        other => panic!("{other}"),
    };
    assert_eq!(refused("/nonexistent/program"), 127);
    assert_eq!(refused("no-program-has-this-name"), 127);
    assert_eq!(refused("/etc/passwd"), 126);
    assert!(matches!(try_run(launch(&[])), Err(TracerError::NoCommand)));
}

#[test]
fn a_script_without_an_interpreter_line_runs() {
    let mut file = tempfile::Builder::new().tempfile().unwrap();
    file.write_all(b"exit 11\n").unwrap();
    let path = file.into_temp_path();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run(&[path.to_str().unwrap()]).ended.exit, Exit::Code(11));
}

#[test]
fn without_tracing_only_the_end_is_told() {
    let mut launch_it = launch(&["sh", "-c", "exit 13"]);
    launch_it.trace = false;
    let run = try_run(launch_it).unwrap();
    assert_eq!(run.ended.exit, Exit::Code(13));
    assert_eq!(run.calls().count(), 0);
    let mut absent = launch(&["/nonexistent/program"]);
    absent.trace = false;
    assert_eq!(try_run(absent).err().unwrap().exit_status(), 127);
}

#[test]
fn a_daemon_outlives_its_parent() {
    let run = run(&[
        "sh",
        "-c",
        "(trap '' HUP; sleep 0.7; sh -c 'exit 0') & exit 3",
    ]);
    assert_eq!(run.ended.exit, Exit::Code(3));
    let (exit, survivors, at) = run.root_ended.as_ref().unwrap();
    assert_eq!(*exit, Exit::Code(3));
    assert!(!survivors.is_empty());
    assert!(run.events.len() > at + 2, "its later life is told too");
    run.assert_lives_are_whole();
}

#[test]
fn another_user_and_set_user_id_programs() {
    if !nix::unistd::geteuid().is_root() {
        let said = "SKIPPED: not root, cannot change users\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    let nobody = presyn::user::User::find("nobody").unwrap();
    let mut id = launch(&["sh", "-c", "test $(id -u) = $0 -a $(id -g) = $1"]);
    id.command.push(nobody.uid.to_string().into());
    id.command.push(nobody.gid.to_string().into());
    id.user = Some(nobody.clone());
    assert_eq!(try_run(id).unwrap().ended.exit, Exit::Code(0));
    // A copy of `id` with the set-user-ID bit: its effective user is root only when that was asked for.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    for (allow_setuid, expected) in [(false, nobody.uid), (true, 0)] {
        let mut set_uid = launch(&["sh", "-c", "test $($0 -u) = $1"]);
        set_uid.command.push(program.clone().into());
        set_uid.command.push(expected.to_string().into());
        set_uid.user = Some(nobody.clone());
        set_uid.allow_setuid = allow_setuid;
        let run = try_run(set_uid).unwrap();
        assert_eq!(run.ended.exit, Exit::Code(0), "{allow_setuid}");
        assert_eq!(run.withheld.is_empty(), allow_setuid, "{:?}", run.withheld);
    }
}

/// Set for the copy of this test that runs under strace.
const UNDER_STRACE: &str = "PRESYN_TEST_UNDER_STRACE";

#[test]
fn a_traced_tracer_says_so() {
    if std::env::var_os(UNDER_STRACE).is_some() {
        let error = try_run(launch(&["true"])).err().unwrap();
        assert!(
            matches!(error, TracerError::AlreadyTraced { tracer } if tracer > 1),
            "{error}"
        );
        println!("the traced tracer refused");
        return;
    }
    if !have("strace", &["-V"]) {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new("timeout")
        .args([
            "30",
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=none",
            "-o",
            "/dev/null",
        ])
        .arg(own)
        .args([
            "--exact",
            "--nocapture",
            "transparency::a_traced_tracer_says_so",
        ])
        .env(UNDER_STRACE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("the traced tracer refused"), "{said}");
}
