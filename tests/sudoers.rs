//! Who may use presyn's rights: what an entry in sudoers gives, and what the file's mode gives.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

fn skip(why: &str) {
    let said = format!("SKIPPED: {why}\n");
    // Not eprintln: the test harness swallows what passing tests print.
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}

/// A copy of the program where every user may reach it.
fn copy() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("presyn");
    std::fs::copy(env!("CARGO_BIN_EXE_presyn"), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (folder, program)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_entry_for_presyn_is_an_entry_for_root() {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root: no sudoers of its own");
    }
    let (_folder, program) = copy();
    // In a mount namespace of its own: the machine's sudoers stays as it is.
    let run = |options: &str| {
        let script = format!(
            "mount -t tmpfs -o mode=0755 none /etc/sudoers.d || exit 90; command -v sudo >/dev/null || exit 91; \
             umask 0337; echo 'nobody ALL=(root) NOPASSWD: {0}' > /etc/sudoers.d/presyn; cd /; \
             exec setpriv --reuid nobody --regid nogroup --clear-groups \
             sudo -n {0} run --no-capture -q {options} -- id -u",
            program.display()
        );
        let mut unshare = Command::new("timeout");
        unshare
            .args(["30", "unshare", "-m", "sh", "-c", &script])
            .output()
            .unwrap()
    };
    let plain = run("");
    if matches!(plain.status.code(), Some(90 | 91)) {
        return skip("no sudo, or no mount namespaces");
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    assert_eq!(text(&plain.stdout).trim(), nobody.to_string(), "{plain:?}");
    // Documented, not prevented: SECURITY.md says that the entry equals root.
    let root = run("-u root");
    assert_eq!(text(&root.stdout).trim(), "0", "{root:?}");
}

#[test]
fn check_warns_of_a_file_that_everybody_may_execute() {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root: no file capabilities");
    }
    let (_folder, program) = copy();
    let set = |command: &str| {
        let status = Command::new("sh").args(["-c", command]).status().unwrap();
        status.success()
    };
    let path = program.display();
    if !set(&format!("setcap cap_net_raw+ep {path}")) {
        return skip("setcap does not work here");
    }
    let check = || -> Output {
        let mut check = Command::new("setpriv");
        check.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
        check.arg(&program).arg("check").output().unwrap()
    };
    let open = text(&check().stdout);
    assert!(open.contains("every local user may execute it"), "{open}");
    assert!(
        open.contains("chmod 0750") && open.contains("\n!! "),
        "{open}"
    );
    // The advice, with a group that is there already.
    assert!(set(&format!(
        "chown root:nogroup {path} && chmod 0750 {path} && setcap cap_net_raw+ep {path}"
    )));
    let closed = text(&check().stdout);
    assert!(
        !closed.contains("!!") && closed.contains("a group may capture with it"),
        "{closed}"
    );
    let others = Command::new(&program).arg("check").uid(1).gid(1).output();
    let refused = others.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(set(&format!("setcap cap_net_raw,cap_sys_ptrace+ep {path}")));
    assert!(text(&check().stdout).contains("more capabilities than cap_net_raw"));
    // An empty network namespace is no way to run a slow client.
    assert!(!closed.contains("unshare -Urn"), "{closed}");
}
