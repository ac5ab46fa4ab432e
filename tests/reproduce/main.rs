//! Recorded cases, reproduced with the clients that they were recorded with: the same findings, the same seconds.
//!
//! The quick ones run here, all at once, since they only wait; `scripts/reproduce-all` runs every case. A case whose client
//! is not installed, or a machine that permits no namespaces, is named as skipped.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod ends;
mod hostile;
mod outside;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Cases that take less than ten seconds each, of every kind: silence, refusal, absence, delay, loss, TCP, stubs with their
/// upstream, a name service, IPv6, four stub resolvers.
const QUICK: [&str; 20] = [
    "bridge-duplicates",
    "connect-refused",
    "first-resolver-silent",
    "go-client",
    "hosts-file",
    "ipv6",
    "musl-client",
    "name-not-found",
    "nat-stub",
    "node-c-ares",
    "nothing-wrong",
    "nscd-slow",
    "resolver-absent",
    "resolver-refusing",
    "search-domains-connect",
    "server-absent",
    "servfail",
    "stub-upstream-silent-first",
    "truncated-to-tcp",
    "two-addresses-fallback",
];

/// Cases that no client reproduces: `first-reported` was written down by hand, and is reproduced by a client of its own below.
const BY_HAND: [&str; 1] = ["first-reported"];

pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A line that is seen although the test passes.
pub(crate) fn say(line: &str) {
    // Not eprintln: the test harness swallows what passing tests print.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The programs that cases build, once for all tests.
fn built(go: bool) -> Option<&'static Path> {
    static MUSL: OnceLock<Option<PathBuf>> = OnceLock::new();
    static GO: OnceLock<Option<PathBuf>> = OnceLock::new();
    let clients = project().join("scripts/lab.d/clients");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let build = |program: &str, out: PathBuf, arguments: &[&str], source: &str| {
        let status = Command::new(program)
            .args(arguments)
            .arg(&out)
            .arg(clients.join(source))
            .env("CGO_ENABLED", "0")
            .stdin(Stdio::null())
            .status();
        status.is_ok_and(|s| s.success()).then_some(out)
    };
    let made = if go {
        GO.get_or_init(|| {
            let out = folder.join("reproduce-connect-go");
            build("go", out, &["build", "-trimpath", "-o"], "connect.go")
        })
    } else {
        MUSL.get_or_init(|| {
            let out = folder.join("reproduce-connect-musl");
            build("musl-gcc", out, &["-static", "-O1", "-o"], "connect.c")
        })
    };
    made.as_deref()
}

/// The client that a case was recorded with, as its README says; `None`: it is not on this machine.
fn client(case: &str) -> Option<Vec<String>> {
    let readme = fs::read_to_string(project().join("captures").join(case).join("README")).unwrap();
    let (_, rest) = readme.split_once("client: `").expect(case);
    let (line, _) = rest.split_once('`').expect(case);
    let mut words = shlex::split(line).expect(case);
    let clients = project().join("scripts/lab.d/clients");
    for word in &mut words {
        if let Some(file) = word.strip_prefix("/run/lab/") {
            *word = clients.join(file).display().to_string();
        }
    }
    if words[0] == "/run/bin/connect" {
        let program = built(words[1].contains(':'))?;
        words[0] = program.display().to_string();
    }
    // A shell's own programs count, too.
    let programs = words.iter().flat_map(|w| w.split([' ', ';']));
    let wanted = programs.filter(|w| ["dig", "nscd"].contains(w));
    let all: Vec<&str> = [words[0].as_str()].into_iter().chain(wanted).collect();
    all.iter().all(|program| is_there(program)).then_some(words)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.starts_with('/') && Path::new(program).exists()
        || std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// `presyn reproduce` with options, a case and a command.
pub(crate) fn reproduce(options: &[&str], case: &str, command: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_presyn"))
        .arg("reproduce")
        .args(options)
        .arg(project().join("captures").join(case))
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Why this machine cannot reproduce anything, asked once.
pub(crate) fn forbidden() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY.get_or_init(|| {
        let tried = reproduce(&[], "nothing-wrong", &["true".into()]);
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        let refused = said.contains("does not let you make namespaces");
        refused.then_some(said)
    });
    why.as_deref()
}

/// What came of the reproduction of a case: `None` where it is as before, else what the program said.
fn failure(case: &str, command: &[String]) -> Option<String> {
    let done = reproduce(&[], case, command);
    let report = String::from_utf8_lossy(&done.stdout);
    let same = done.status.code() == Some(0) && report.contains("Reproduced: as before");
    (!same).then(|| {
        format!(
            "{case}: {}\n{report}{}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        )
    })
}

/// Reproduces cases side by side, so many at once, and names those that differ. One that differs is tried once more, alone:
/// side by side, clients wait for the processor as well.
fn all_as_before(cases: &[&str]) {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: no case is reproduced: {why}\n"));
    }
    let mut commands: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in cases {
        match client(case) {
            Some(command) => drop(commands.insert(case, command)),
            None => say(&format!("SKIPPED: the client of {case} is not installed\n")),
        }
    }
    assert!(!commands.is_empty(), "no client at all is installed");
    let list: Vec<_> = commands.iter().collect();
    let mut differ = Vec::new();
    for some in list.chunks(10) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|(case, command)| scope.spawn(move || (*case, failure(case, command))))
                .collect();
            for done in running {
                let (case, failed) = done.join().unwrap();
                if failed.is_some() {
                    differ.push(*case);
                }
            }
        });
    }
    let still: Vec<String> = differ
        .into_iter()
        .filter_map(|case| failure(case, &commands[case]))
        .collect();
    assert!(still.is_empty(), "{}", still.join("\n\n"));
}

#[test]
fn quick_cases_are_as_before() {
    all_as_before(&QUICK);
}

/// Minutes: `scripts/reproduce-all`.
#[test]
#[ignore = "minutes; scripts/reproduce-all runs it"]
fn all_cases_are_as_before() {
    let folders = fs::read_dir(project().join("captures")).unwrap();
    let mut names: Vec<String> = folders
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !BY_HAND.contains(&&**name))
        .collect();
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    all_as_before(&names);
}

/// Six lines of strace, no capture: resolvers that are silent as the calls show.
#[test]
#[ignore = "half a minute; scripts/reproduce-all runs it"]
fn the_incident_as_first_reported() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let client = project().join("scripts/lab.d/clients/reverse_connect.py");
    let client = client.display().to_string();
    let command = ["python3", "-I", "-S", &client, "192.168.110.231", "8998"].map(String::from);
    let done = reproduce(&[], "first-reported", &command);
    let report = String::from_utf8_lossy(&done.stdout);
    // What nobody on this machine asks avahi for is 5 s of the 33.
    assert!(
        report.contains("192.168.110.231:8998") && report.contains("10.0.1.93 silent"),
        "{report}"
    );
    let after = report.lines().find(|l| l.contains("in all")).unwrap();
    let seconds: Vec<&str> = after.split_whitespace().collect();
    let took: f64 = seconds[4].parse().unwrap();
    assert!((27.0..35.0).contains(&took), "{after}");
}

#[test]
fn a_change_is_what_the_client_gets() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let command = client("reverse-lookup").unwrap();
    for (options, most) in [
        (&["--without", "10.0.1.93"][..], 1.0),
        (&["--fix", "10.0.1.93 answers"], 1.0),
        (&["--options", "timeout:1"], 2.0),
    ] {
        let began = std::time::Instant::now();
        let done = reproduce(options, "reverse-lookup", &command);
        let took = began.elapsed().as_secs_f64();
        let report = String::from_utf8_lossy(&done.stdout);
        assert_eq!(
            done.status.code(),
            Some(1),
            "{options:?} is not as before: {report}"
        );
        assert!(report.contains("Not as before:"), "{report}");
        // The recorded run took 5 s, and presyn's own part little.
        assert!(took < most + 2.5, "{options:?}: {took}");
    }
}

#[test]
fn a_client_that_asks_for_nothing_is_not_as_before() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let done = reproduce(&[], "first-resolver-silent", &["true".into()]);
    let report = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{report}");
    let difference = "web.example.lab:80: the client did not connect";
    assert!(report.contains(difference), "{report}");
}

/// A resolver that the case does not know answers at once, as what-if takes it to; one that was not on the link is there
/// once it is mended.
#[test]
fn changed_resolvers_are_there() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("new.conf");
    fs::write(&changed, "nameserver 10.77.77.77\n").unwrap();
    let changed = ["--resolv-conf", changed.to_str().unwrap()];
    for (options, case) in [
        (changed, "first-resolver-silent"),
        (["--fix", "10.0.1.93 answers"], "resolver-absent"),
    ] {
        let done = reproduce(&options, case, &client(case).unwrap());
        let said = String::from_utf8_lossy(&done.stderr);
        let report = String::from_utf8_lossy(&done.stdout);
        assert!(report.contains("new: Nothing is wrong"), "{report}{said}");
        let unknown = "resolver 10.77.77.77 is not in the recording: it answers at once";
        assert_eq!(said.contains(unknown), options == changed, "{said}");
    }
}

#[test]
fn estimates_are_proved() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let done = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args([
            "whatif",
            "captures/reverse-lookup",
            "--options",
            "timeout:1",
            "--prove",
            "--",
        ])
        .args(client("reverse-lookup").unwrap())
        .current_dir(project())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let proved = said
        .lines()
        .filter(|l| l.ends_with("  as predicted"))
        .count();
    assert_eq!((proved, done.status.code()), (2, Some(0)), "{said}");
}

#[test]
fn nothing_of_a_case_is_executed() {
    let done = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["reproduce", "captures/first-resolver-silent"])
        .current_dir(project())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("give the client's command after --"),
        "{said}"
    );
}

#[test]
fn cases_that_cannot_be_reproduced_are_refused_with_the_reason() {
    let empty = tempfile::tempdir().unwrap();
    let log = empty.path().join("trace.log");
    fs::write(&log, "100 1795338751.000000 getpid() = 100 <0.000010>\n100 1795338752.000000 socket(AF_UNIX, SOCK_STREAM, 0) = 3 <0.000010>\n").unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .arg("reproduce")
        .arg(&log)
        .args(["--", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("nothing to reproduce"), "{said}");
}

#[test]
fn the_status_of_the_command_is_passed_where_that_is_wanted() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let command = ["sh", "-c", "exit 7"].map(String::from);
    let done = reproduce(&["--pass-status"], "nothing-wrong", &command);
    assert_eq!(done.status.code(), Some(7));
    let missing = reproduce(&[], "nothing-wrong", &["/no/such/program".into()]);
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains("/no/such/program"), "{said}");
    assert_eq!(missing.status.code(), Some(2), "{said}");
}

#[test]
fn connections_are_passed_on_to_a_real_server_where_the_user_names_one() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let real = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = real.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = real.accept().unwrap();
        let mut request = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut request);
        let answer = b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nit is me";
        stream.write_all(answer).unwrap();
    });
    let command = ["curl", "-sS", "http://web.example.lab/"].map(String::from);
    let done = reproduce(&["--forward", &address], "nothing-wrong", &command);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.starts_with("it is me"), "{said}");
    serving.join().unwrap();
}

#[test]
fn namespaces_stand_until_an_interrupt_where_that_is_wanted() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    // A process group of its own, as a terminal's foreground job: all of it gets the signal.
    let done = Command::new("timeout")
        .args([
            "-s",
            "INT",
            "4",
            env!("CARGO_BIN_EXE_presyn"),
            "reproduce",
            "--keep",
        ])
        .args(["captures/nothing-wrong", "--"])
        .args(client("nothing-wrong").unwrap())
        .current_dir(project())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("to enter: nsenter -t "), "{said}");
    let report = String::from_utf8_lossy(&done.stdout);
    assert!(report.contains("Reproduced: as before"), "{report}");
}

/// A case of presyn's own says what the client's only interface was called.
#[test]
fn the_link_has_its_recorded_name() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("case").display().to_string();
    let done = reproduce(
        &["--save", &case],
        "nothing-wrong",
        &client("nothing-wrong").unwrap(),
    );
    assert_eq!(done.status.code(), Some(0));
    let trace = Path::new(&case).join("trace.jsonl");
    let text = fs::read_to_string(&trace).unwrap();
    let (header, events) = text.split_once('\n').unwrap();
    assert!(header.contains(r#""2":"eth0""#), "{header}");
    let header = header.replace(r#""2":"eth0""#, r#""2":"ens77""#);
    fs::write(&trace, format!("{header}\n{events}")).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["reproduce", &case, "--", "cat", "/proc/net/dev"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("ens77:"), "{said}");
}

/// Standard input can be read once only.
#[test]
fn a_capture_may_come_through_a_pipe() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let capture = project().join("captures/nothing-wrong/packets.pcap");
    let done = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["reproduce", "-", "--"])
        .args(client("nothing-wrong").unwrap())
        .stdin(fs::File::open(capture).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("Reproduced: as before"), "{said}");
}
