//! Stacks: each follows its call, also over forks, threads and execs; hostile files do not stop the run.

use crate::support::{Run, have, launch, try_run};
use presyn::event::stack::StackEnd;
use presyn::event::{EventKind, Op, Stack};
use presyn::source::tracer::Exit;
use std::path::Path;

fn run(command: &[&str]) -> Run {
    let mut launch = launch(command);
    launch.stacks = true;
    let run = try_run(launch).unwrap();
    assert_eq!(run.ended.exit, Exit::Code(0));
    run
}

/// The stack of each call to connect, which must follow it.
fn connects(run: &Run) -> Vec<(u16, &Stack)> {
    let pairs = run.events.windows(2).filter_map(|pair| {
        let EventKind::Call(call) = &pair[0].what else {
            return None;
        };
        let Op::Connect { to, .. } = &call.op else {
            return None;
        };
        let EventKind::Stack(stack) = &pair[1].what else {
            panic!("no stack follows {:?}", pair[0]);
        };
        assert_eq!(pair[0].at, pair[1].at);
        match to {
            presyn::event::Address::Inet(to) => Some((to.port, &**stack)),
            _ => None,
        }
    });
    pairs.collect()
}

fn innermost(stack: &Stack) -> &str {
    stack.frames[0].function.as_deref().unwrap_or("")
}

#[test]
fn a_stack_follows_each_connect() {
    let script = "import os, socket, sys, threading
def connect(port):
    socket.socket().connect_ex(('127.0.0.1', port))
if len(sys.argv) > 1:
    sys.exit(connect(4))
threads = [threading.Thread(target=connect, args=(port,)) for port in (1, 2)]
[t.start() for t in threads]
[t.join() for t in threads]
if os.fork() == 0:
    connect(3)
    os.execv(sys.executable, [sys.executable, sys.argv[0], 'again'])
os.wait()
";
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("connect.py");
    std::fs::write(&file, script).unwrap();
    let run = run(&["python3", file.to_str().unwrap()]);
    let mut connects = connects(&run);
    connects.sort_by_key(|(port, _)| *port);
    let ports: Vec<u16> = connects.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, [1, 2, 3, 4]);
    for (_, stack) in connects {
        assert_eq!(innermost(stack), "connect");
        assert!(stack.frames.len() > 4, "{stack:#?}");
        assert_eq!(stack.end, StackEnd::Outermost, "{stack:#?}");
    }
}

/// `endless.c` is of x86-64.
#[test]
#[cfg(target_arch = "x86_64")]
fn endless_unwind_information_ends_the_stack() {
    if !have("cc", &["--version"]) {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let program = folder.path().join("endless");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracer/endless.c");
    let mut cc = std::process::Command::new("cc");
    let built = cc.args(["-O1", "-o"]).arg(&program).arg(source).status();
    assert!(built.unwrap().success());
    let run = run(&[program.to_str().unwrap()]);
    let (port, stack) = connects(&run)[0];
    assert_eq!((port, innermost(stack)), (9, "ask"));
    assert_eq!((stack.frames.len(), stack.end), (1, StackEnd::Lost));
}
