//! resolv.conf and hosts are those of the process that uses the network, in its mount namespace, live and read back; what
//! that process could not read itself is not read for it.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

use presyn::input::host::HostFiles;
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Connects, as after a lookup.
const CONNECT: &str = "python3 -c 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 1))'";

fn skip(why: &str) {
    let said = format!("SKIPPED: no files of another mount namespace: {why}\n");
    // Not eprintln: the test harness swallows what passing tests print.
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The live report of a script, after it was found to be that of the saved case too.
fn report(options: &[&str], script: &str) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let case = folder.path().join("case");
    let output = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_presyn")])
        .args(["run", "--no-capture", "--format", "json", "--save"])
        .arg(&case)
        .arg("--report")
        .arg(folder.path().join("report"))
        .args(options)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let live: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("report")).unwrap()).unwrap();
    let back = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["analyze", "--format", "json"])
        .arg(&case)
        .output()
        .unwrap();
    let back: Value = serde_json::from_slice(&back.stdout).unwrap();
    assert_eq!(servers(&live), servers(&back));
    assert_eq!(live["warnings"], back["warnings"]);
    let trace = std::fs::read_to_string(case.join("trace.jsonl")).unwrap();
    (live, trace)
}

fn servers(report: &Value) -> Value {
    report["resolver_config"]["nameservers"].clone()
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    path.display().to_string()
}

#[test]
fn the_file_of_the_mount_namespace_and_of_the_time_counts() {
    if !is_root() {
        return skip("not root");
    }
    let folder = tempfile::tempdir().unwrap();
    let one = file(folder.path(), "one", "nameserver 10.99.0.1\n");
    let two = file(folder.path(), "two", "nameserver 10.99.0.2\n");
    let mounted = format!(
        "unshare -m sh -c 'mount --bind {one} /etc/resolv.conf; exec {}'",
        quoted(CONNECT)
    );
    let (seen, _) = report(&[], &mounted);
    assert!(servers(&seen).to_string().contains("10.99.0.1"), "{seen}");
    // A second process with another file is named; the report stays about the first.
    let (both, _) = report(&[], &format!("{mounted}; {}", mounted.replace(&one, &two)));
    assert!(servers(&both).to_string().contains("10.99.0.1"));
    assert!(
        both["warnings"]
            .to_string()
            .contains("saw another /etc/resolv.conf than"),
        "{}",
        both["warnings"]
    );
    // The file is replaced between the start and the lookup.
    let (later, _) = report(
        &[],
        &format!(
            "unshare -m sh -c 'mount --bind {one} /etc/resolv.conf; echo nameserver 10.99.0.3 > /etc/resolv.conf; exec {}'",
            quoted(CONNECT)
        ),
    );
    assert!(servers(&later).to_string().contains("10.99.0.3"), "{later}");
}

/// Within single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// A user mounts what it may not read over the files that presyn reads.
#[test]
fn nothing_is_read_that_the_process_may_not_read() {
    if !is_root() {
        return skip("not root");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let secret = file(folder.path(), "secret", "S3CR3T of root\n");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let hidden = folder.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    file(&hidden, "open", "S3CR3T in a closed folder\n");
    std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o700)).unwrap();
    // An /etc of the user's own: a link into a folder that only root may search, a file of root's, a FIFO.
    let etc = format!(
        "mount -t tmpfs none /etc && ln -s {} /etc/resolv.conf && touch /etc/hosts && \
         mount --bind {secret} /etc/hosts && mkfifo /etc/gai.conf",
        hidden.join("open").display()
    );
    let tried = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
            "-Urm",
            "true",
        ])
        .output()
        .unwrap();
    if !tried.status.success() {
        return skip("no user namespaces for users");
    }
    let script = format!("unshare -Urm sh -c '{etc}; exec {}'", quoted(CONNECT));
    let (seen, trace) = report(&["-u", "nobody"], &script);
    let seen = seen.to_string();
    assert!(
        !seen.contains("S3CR3T") && !trace.contains("S3CR3T"),
        "{trace}"
    );
    assert!(
        seen.contains("ermission denied") || seen.contains("EACCES"),
        "{seen}"
    );
    assert!(seen.contains("may not read it"), "{seen}");
    assert!(seen.contains("not a regular file"), "{seen}");

    // And where presyn itself is root.
    let mut user = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
            "-Urm",
            "sh",
            "-c",
        ])
        .arg(format!("{etc}; echo ready; read line"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 5];
    user.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let files = HostFiles::of_process(user.id());
    drop(user.stdin.take());
    user.wait().unwrap();
    assert_eq!(
        (&files.resolv_conf, &files.hosts),
        (&None, &None),
        "{files:?}"
    );
    assert_eq!(files.warnings.len(), 3, "{files:?}");
    assert!(
        std::fs::read_to_string(&secret).is_ok(),
        "root has its rights back"
    );
}
