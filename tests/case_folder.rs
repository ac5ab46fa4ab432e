//! The files that a run creates and reads by name: with the rights of the run's user, and through no link that another
//! process plants.
//!
//! sudo is imitated: presyn is root, and `SUDO_UID` says whose run it is. Without root the tests say loudly that they
//! are skipped.
#![allow(clippy::unwrap_used)] // tests

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PRESYN: &str = env!("CARGO_BIN_EXE_presyn");
const NOBODY: u32 = 65534;
const SECRET: &str = "root's\n";
const HEADER: &str = "{\"schema\":\"presyn.trace/1\"}\n";

/// A folder of `nobody`, and beside it a file of root's.
struct Location {
    root: TempDir,
}

impl Location {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            let said = "SKIPPED: not root, so no other user's rights can be lost\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return None;
        }
        let root = TempDir::new().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let this = Self { root };
        fs::create_dir(this.home()).unwrap();
        chown(this.home(), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::write(this.secret(), SECRET).unwrap();
        fs::set_permissions(this.secret(), Permissions::from_mode(0o600)).unwrap();
        Some(this)
    }

    /// The user's.
    fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    fn secret(&self) -> PathBuf {
        self.root.path().join("secret")
    }

    /// A file or folder of the user's.
    fn own(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        for path in [&path, path.parent().unwrap()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    fn assert_untouched(&self) {
        let facts = fs::metadata(self.secret()).unwrap();
        assert_eq!(fs::read_to_string(self.secret()).unwrap(), SECRET);
        assert_eq!((facts.uid(), facts.mode() & 0o777), (0, 0o600));
    }

    /// Under sudo; the command leaves a mark in the user's folder.
    fn sudo(&self, options: &[&str]) -> Ran {
        self.run(options, true)
    }

    fn run(&self, options: &[&str], sudo: bool) -> Ran {
        let _ = fs::remove_file(self.home().join("mark"));
        let mut command = Command::new("timeout");
        command.args(["30", PRESYN, "run", "--no-capture"]);
        command.args(options).args(["--", "touch", "mark"]);
        command.current_dir(self.home()).env_remove("SUDO_UID");
        if sudo {
            command.env("SUDO_UID", NOBODY.to_string());
        }
        let output = command.output().unwrap();
        Ran {
            output,
            began: self.home().join("mark").exists(),
        }
    }
}

struct Ran {
    output: Output,
    began: bool,
}

impl Ran {
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Before the command began, at once, with this word.
    fn assert_refused(&self, word: &str) {
        let said = self.said();
        assert_eq!(self.output.status.code(), Some(125), "{said}");
        assert!(said.contains(word), "{word}: {said}");
        assert!(!self.began, "the command ran: {said}");
    }

    fn assert_ran(&self) {
        assert_eq!(self.output.status.code(), Some(0), "{}", self.said());
        assert!(self.began);
    }
}

fn mode(path: &Path) -> (u32, u32) {
    let facts = fs::symlink_metadata(path).unwrap();
    (facts.uid(), facts.mode() & 0o7777)
}

#[test]
fn a_case_is_its_users_alone() {
    let Some(place) = Location::new() else { return };
    place.sudo(&["--save", "new/case/"]).assert_ran();
    let case = place.home().join("new/case");
    assert_eq!(mode(&case), (NOBODY, 0o700));
    assert_eq!(mode(&place.home().join("new")).0, NOBODY);
    let files: Vec<_> = fs::read_dir(&case).unwrap().flatten().collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file.path()), (NOBODY, 0o600), "{file:?}");
    }
    // Where the user may not write, root does not write for them.
    let refused = place.sudo(&["--save", place.root.path().join("case").to_str().unwrap()]);
    refused.assert_refused("as nobody: Permission denied");
    assert!(!place.root.path().join("case").exists());
}

#[test]
fn forced_into_planted_links_nothing_is_written() {
    let Some(place) = Location::new() else { return };
    for name in ["trace.jsonl", "syscalls.strace", "packets.pcap", "hosts"] {
        let case = place.home().join(format!("case-{name}"));
        fs::create_dir(&case).unwrap();
        fs::write(case.join("trace.jsonl"), HEADER).unwrap();
        let _ = fs::remove_file(case.join(name));
        symlink(place.secret(), case.join(name)).unwrap();
        for path in [&case, &case.join("trace.jsonl"), &case.join(name)] {
            std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let ran = place.sudo(&["--force", "--save", case.to_str().unwrap()]);
        ran.assert_refused(&format!("{name} is a symbolic link"));
        place.assert_untouched();
    }
    let hard = place.home().join("hard");
    fs::create_dir(&hard).unwrap();
    chown(&hard, Some(NOBODY), None).unwrap();
    fs::hard_link(place.secret(), hard.join("trace.jsonl")).unwrap();
    let ran = place.sudo(&["--force", "--save", "hard"]);
    ran.assert_refused("trace.jsonl belongs to another user");
    place.assert_untouched();
}

#[test]
fn the_folder_itself_is_no_link_and_no_other_users() {
    let Some(place) = Location::new() else { return };
    let target = place.root.path().join("roots");
    fs::create_dir(&target).unwrap();
    let before = mode(&target);
    symlink(&target, place.home().join("link")).unwrap();
    for path in ["link", "link/", "link/."] {
        let ran = place.sudo(&["--force", "--save", path]);
        ran.assert_refused("is a symbolic link");
    }
    place
        .sudo(&["--force", "--save", target.to_str().unwrap()])
        .assert_refused("belongs to another user (uid 0, not 65534)");
    // Nor does root write into a case of the user's.
    place.own("case/trace.jsonl", HEADER);
    place
        .run(&["--force", "--save", "case"], false)
        .assert_refused("belongs to another user");
    assert_eq!(mode(&target), before);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    place.own("file", "x");
    let ran = place.sudo(&["--force", "--save", "file"]);
    ran.assert_refused("is a file");
}

#[test]
fn fifos_and_devices_do_not_hang() {
    let Some(place) = Location::new() else { return };
    place.own("case/trace.jsonl", HEADER);
    let fifo = place.home().join("case/syscalls.strace");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    chown(&fifo, Some(NOBODY), None).unwrap();
    let begin = Instant::now();
    let ran = place.sudo(&["--force", "--save", "case"]);
    ran.assert_refused("syscalls.strace is a FIFO");
    let ran = place.sudo(&["--report", "case/syscalls.strace"]);
    ran.assert_refused("a FIFO that no process reads");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn force_replaces_a_case_and_nothing_else() {
    let Some(place) = Location::new() else { return };
    place.own("etc/hosts", "127.0.0.1 localhost\n");
    let ran = place.sudo(&["--force", "--save", "etc"]);
    ran.assert_refused("holds files but no trace of presyn's");
    assert!(place.home().join("etc/hosts").exists());
    place.own("notes/todo.txt", "x");
    let ran = place.sudo(&["--force", "--save", "notes"]);
    ran.assert_refused("holds files but no trace of presyn's");
    // Of an older run nothing stays: its packets would be joined to the new calls.
    for name in [
        "trace.jsonl",
        "packets.pcap",
        "hosts",
        "gai.conf",
        "notes.txt",
    ] {
        place.own(&format!("old/{name}"), HEADER);
    }
    place.sudo(&["--force", "--save", "old"]).assert_ran();
    let old = place.home().join("old");
    assert!(!old.join("packets.pcap").exists());
    assert_eq!(fs::read_to_string(old.join("notes.txt")).unwrap(), HEADER);
    let trace = fs::read_to_string(old.join("trace.jsonl")).unwrap();
    assert!(
        trace.starts_with("{\"schema\":\"presyn.trace/1\",\"presyn\":"),
        "{trace}"
    );
    assert_eq!(mode(&old), (NOBODY, 0o700));
}

/// As one of the user's programs that waits for `sudo presyn run --save`: 1 of 25 runs was won.
#[test]
fn a_race_for_links_is_not_won() {
    let Some(place) = Location::new() else { return };
    let script = "import os, sys\n\
        os.setgid(65534); os.setuid(65534)\n\
        secret, home = sys.argv[1:]\n\
        parent = os.getppid()\n\
        names = ['trace.jsonl', 'syscalls.strace', 'packets.pcap', 'hosts', 'resolv.conf']\n\
        while os.getppid() == parent:\n\
        \x20for name in names:\n\
        \x20 try: os.symlink(secret, f'{home}/case/{name}')\n\
        \x20 except OSError: pass\n\
        \x20try: os.symlink(os.path.dirname(secret), f'{home}/moved')\n\
        \x20except OSError: pass\n\
        \x20try: os.rename(f'{home}/moved', f'{home}/case')\n\
        \x20except OSError: pass\n";
    let mut spinner = Command::new("timeout")
        .args(["60", "python3", "-c", script])
        .args([place.secret(), place.home()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let root = place.root.path();
    let entries = || fs::read_dir(root).unwrap().count();
    let before = entries();
    let mut ran = 0;
    for _ in 0..25 {
        let case = place.home().join("case");
        let _ = fs::remove_file(&case);
        let _ = fs::remove_dir_all(&case);
        ran += u32::from(place.sudo(&["-q", "--save", "case"]).began);
        place.assert_untouched();
        assert_eq!(
            entries(),
            before,
            "something was created where the link leads"
        );
        assert_eq!(mode(root), (0, 0o755));
    }
    assert!(
        spinner.try_wait().unwrap().is_none(),
        "the spinner ended early"
    );
    spinner.kill().unwrap();
    spinner.wait().unwrap();
    let said = format!("{ran} of 25 runs went through, 25 left root's file alone\n");
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}

#[test]
fn reports_are_opened_as_the_user_before_the_command() {
    let Some(place) = Location::new() else { return };
    let secret = place.secret();
    place
        .sudo(&["--report", secret.to_str().unwrap()])
        .assert_refused("as nobody: Permission denied");
    symlink(&secret, place.home().join("link")).unwrap();
    place
        .sudo(&["--report", "link"])
        .assert_refused("Permission denied");
    place.assert_untouched();
    for sudo in [true, false] {
        let ran = place.run(&["--report", "/nonexistent/x"], sudo);
        ran.assert_refused("/nonexistent/x");
        let ran = place.run(&["--format", "json"], sudo);
        ran.assert_refused("--report");
        place
            .run(&["--no-such-option"], sudo)
            .assert_refused("--no-such-option");
        // The rest of a longer report of an earlier run does not stay.
        let path = place.own("report", &"old ".repeat(5000));
        place.run(&["--report", "report"], sudo).assert_ran();
        let report = fs::read_to_string(&path).unwrap();
        assert!(!report.is_empty() && !report.contains("old"), "{report}");
        assert_eq!(mode(&path).0, NOBODY);
    }
    // Plain root writes where it is told to: into a user's folder, but through no link of that user.
    place.run(&["--report", "roots"], false).assert_ran();
    assert!(fs::metadata(place.home().join("roots")).unwrap().len() > 0);
    std::os::unix::fs::lchown(place.home().join("link"), Some(NOBODY), None).unwrap();
    place
        .run(&["--report", "link"], false)
        .assert_refused("a symbolic link that another user");
    place.assert_untouched();
    // Links of the system work.
    let ran = place.run(&["--report", "/dev/stdout"], false);
    ran.assert_ran();
    assert!(!ran.output.stdout.is_empty());
}

#[test]
fn a_resolv_conf_is_read_as_the_user() {
    let Some(place) = Location::new() else { return };
    let secret = place.secret();
    place
        .sudo(&["--resolv-conf", secret.to_str().unwrap()])
        .assert_refused("as nobody: Permission denied");
    place
        .sudo(&["--resolv-conf", "/dev/zero"])
        .assert_refused("longer than 1048576 bytes");
    place
        .sudo(&["--resolv-conf", "/proc/1/maps"])
        .assert_refused("denied");
}
