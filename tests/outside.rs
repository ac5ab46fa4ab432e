//! What tracing takes from a program is said in the report, live and read back, and nothing is said of other programs.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use std::process::Command;

/// The warnings about a Python program.
fn warnings(program: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("case");
    let report = folder.path().join("report");
    let program =
        format!("import ctypes, os, socket\nlibc = ctypes.CDLL(None, use_errno=True)\n{program}");
    let output = Command::new("timeout")
        .args([
            "40",
            env!("CARGO_BIN_EXE_presyn"),
            "run",
            "--no-capture",
            "--format",
            "json",
        ])
        .arg("--save")
        .arg(&case)
        .arg("--report")
        .arg(&report)
        .args(["--", "python3", "-c", &program])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let live: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let back = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["analyze", "--format", "json"])
        .arg(&case)
        .output()
        .unwrap();
    let back: Value = serde_json::from_slice(&back.stdout).unwrap();
    assert_eq!(live["warnings"], back["warnings"]);
    live["warnings"].to_string()
}

#[test]
fn a_tracer_within_the_run_is_named() {
    // PTRACE_TRACEME, as gdb's child asks for.
    let said = warnings("assert libc.ptrace(0, 0, 0, 0) == -1 and ctypes.get_errno() == 1");
    assert!(said.contains("could not trace (ptrace: EPERM)"), "{said}");
}

#[test]
fn strict_seccomp_is_named() {
    let said = warnings("assert libc.prctl(22, 1, 0, 0, 0) == -1 and ctypes.get_errno() == 22");
    assert!(said.contains("strict mode of seccomp"), "{said}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_child_outside_of_the_trace_is_named() {
    let said = warnings(
        "child = libc.syscall(56, 0x00800000 | 17, 0, 0, 0, 0)\n\
         if child == 0: os._exit(0 if socket.socket().connect_ex(('127.0.0.1', 1)) == 38 else 1)\n\
         assert os.waitpid(child, 0)[1] == 0",
    );
    assert!(said.contains("CLONE_UNTRACED"), "{said}");
}

#[test]
fn ordinary_programs_are_not_named() {
    let said = warnings(
        "libc.prctl(15, b'named', 0, 0, 0)\nif os.fork() == 0: os._exit(0)\nos.wait()\n\
         socket.socket().connect_ex(('127.0.0.1', 1))",
    );
    for word in ["could not trace", "seccomp", "CLONE_UNTRACED"] {
        assert!(!said.contains(word), "{said}");
    }
}
