//! `--verify` prints commands; here they are run, and must show exactly the evidence that was cited.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use std::process::Command;

/// The commands that `--verify` prints for a case.
fn commands(case: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["analyze", "--verify", case])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let section = text
        .split("To verify")
        .nth(1)
        .expect("a section of commands");
    let commands = section.lines().map(str::trim);
    commands
        .take_while(|l| *l != "Findings")
        .filter(|l| l.starts_with("tshark ") || l.starts_with("sed "))
        .map(str::to_owned)
        .collect()
}

fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|o| o.status.success())
}

/// Runs a command and returns its lines.
fn lines(command: &str) -> usize {
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn every_command_shows_its_evidence() {
    let tshark = installed("tshark");
    if !tshark {
        let said = "SKIPPED: tshark is not installed; only the sed commands are run\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    }
    let (mut packets, mut calls) = (0, 0);
    for case in [
        "captures/zookeeper-three-silent",
        "captures/two-addresses-fallback",
        "captures/search-domains",
        "captures/nscd-in-front",
    ] {
        for command in commands(case) {
            if command.starts_with("sed ") {
                assert_eq!(
                    lines(&command),
                    command.matches("p;").count() + 1,
                    "{command}"
                );
                calls += 1;
            } else if tshark {
                assert_eq!(
                    lines(&command),
                    command.matches("frame.number==").count(),
                    "{command}"
                );
                packets += 1;
            }
        }
    }
    assert!(calls >= 8, "{calls} sed commands");
    assert!(packets >= 8 || !tshark, "{packets} tshark commands");
}
