//! What-if against the truth: a client is run under one resolv.conf, the delay under another is predicted from that
//! case, then the client is run under the other. Waits are short; `captures/` has the long ones.

use crate::lab::{Lab, PRESYN, Ran, word};
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

/// The prediction may be off by this part of the delay, or by this many seconds.
const PART: f64 = 0.1;
const SECONDS: f64 = 0.3;

/// One client in its lab.
struct Client<'a> {
    lab: Lab,
    files: TempDir,
    command: &'a [&'a str],
    stub: &'a str,
}

impl<'a> Client<'a> {
    fn new(case: &str, stub: &'a str, command: &'a [&'a str]) -> Option<Self> {
        Some(Self {
            lab: Lab::up(case)?,
            files: TempDir::new().unwrap(),
            command,
            stub,
        })
    }

    /// The client under a resolv.conf of its own.
    fn run(&self, conf: &str) -> Ran {
        let file = self.files.path().join("resolv.conf");
        std::fs::write(&file, conf).unwrap();
        let ran = self.lab.run_with(
            &["--resolv-conf", file.to_str().unwrap()],
            &[],
            self.command,
        );
        let saved = std::fs::read_to_string(ran.case.join("resolv.conf")).unwrap();
        assert_eq!(saved, conf, "the case has the file that the client saw");
        ran
    }

    /// A run whose waits fit the client's timetable.
    fn base(&self, conf: &str) -> Ran {
        let ran = self.run(conf);
        let lookup = &ran.report["lookups"][0];
        assert_eq!(lookup["client"], self.stub, "{lookup:#}");
        assert_eq!(lookup["timetable"]["fits"], true, "{lookup:#}");
        ran.assert_reads_back();
        ran
    }

    /// Predicts from `base` what `change` does, and runs the client under `conf`, which is the same change.
    fn holds(&self, base: &Ran, change: &[&str], conf: &str) {
        let told = Command::new(PRESYN)
            .args(["whatif", "--format", "json"])
            .args(change)
            .arg(&base.case)
            .output()
            .unwrap();
        assert!(told.status.success(), "{told:?}");
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let delay = &told["answers"][0]["delays"][0];
        let figure = |name: &str| delay[name].as_f64().unwrap();
        let truth = self.run(conf);
        let truth = truth.report["delays"][0]["since_start_s"].as_f64().unwrap();
        let slack = SECONDS.max(PART * truth);
        assert!(
            figure("least_s") - slack <= truth && truth <= figure("most_s") + slack,
            "{} {change:?}: {truth} s, predicted {delay:#}",
            self.stub
        );
        let said = format!(
            "{} {change:?}: {:.2} s seen, {:.2} s predicted, {truth:.2} s in truth ({})\n",
            self.stub,
            figure("seen_s"),
            figure("most_s"),
            word(&told["answers"][0]["change"])
        );
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    }
}

const BOTH: &str = "nameserver 10.0.1.93\nnameserver 10.0.1.95\n";
const GOOD: &str = "nameserver 10.0.1.95\n";
const SILENT: &str = "nameserver 10.0.1.93\n";

/// A silent name server before a good one: without it, and with shorter waits.
fn silent_before_good(client: &Client) {
    let base = client.base(&format!("{BOTH}options timeout:2\n"));
    client.holds(
        &base,
        &["--without", "10.0.1.93"],
        &format!("{GOOD}options timeout:2\n"),
    );
    client.holds(
        &base,
        &["--options", "timeout:1"],
        &format!("{BOTH}options timeout:1\n"),
    );
}

#[test]
fn glibc() {
    let command = [
        "/usr/bin/python3",
        "-I",
        "-S",
        "/run/lab/connect.py",
        "web.example.lab",
        "80",
    ];
    if let Some(client) = Client::new("first-resolver-silent", "glibc", &command) {
        silent_before_good(&client);
    }
}

#[test]
fn go() {
    let command = ["/run/bin/connect", "web.example.lab:80"];
    if let Some(client) = Client::new("go-client", "go", &command) {
        silent_before_good(&client);
    }
}

/// musl asks all at once, so only a lookup that nobody answers has a delay to shorten.
#[test]
fn musl() {
    let command = ["/run/bin/connect", "web.example.lab", "80"];
    if let Some(client) = Client::new("musl-client", "musl", &command) {
        let base = client.base(&format!("{SILENT}options timeout:2\n"));
        let file = client.files.path().join("other.conf");
        let conf = format!("{SILENT}options timeout:1 attempts:1\n");
        std::fs::write(&file, &conf).unwrap();
        client.holds(&base, &["--resolv-conf", file.to_str().unwrap()], &conf);
    }
}

/// A shell script in the lab, in a mount namespace of its own with an empty `/etc`, that runs `cat /etc/resolv.conf`
/// under `presyn run --resolv-conf`; what it printed.
fn seen_with(lab: &Lab, furnish: &str) -> String {
    let files = TempDir::new().unwrap();
    let file = files.path().join("mine.conf");
    std::fs::write(&file, "nameserver 10.0.1.77\n").unwrap();
    let script = format!(
        "mount --make-rprivate / && mount -t tmpfs none /etc && {furnish} && \
         {PRESYN} run -q --no-capture --resolv-conf {file} -- cat /etc/resolv.conf; \
         echo \"status $?\"; ls -l /etc; cat /etc/resolv.conf",
        file = file.display()
    );
    let output = lab.sh(&["unshare", "-m", "sh", "-c", &script]).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
fn the_command_alone_sees_its_resolv_conf() {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    // Missing, a link to nowhere, a link to a file, a file.
    for (furnish, left) in [
        ("true", ""),
        ("ln -s ../run/nowhere /etc/resolv.conf", ""),
        (
            "echo old >/etc/real && ln -s real /etc/resolv.conf",
            "old\n",
        ),
        ("echo old >/etc/resolv.conf", "old\n"),
    ] {
        let said = seen_with(&lab, furnish);
        assert!(
            said.starts_with("nameserver 10.0.1.77\nstatus 0\n"),
            "{furnish}: {said}"
        );
        assert!(!said[10..].contains("nameserver"), "{furnish}: {said}");
        assert!(said.ends_with(left), "{furnish}: {said}");
    }
    let missing = lab
        .sh(&[
            PRESYN,
            "run",
            "--no-capture",
            "--resolv-conf",
            "/nonexistent",
            "--",
            "true",
        ])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(125));
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(
        said.contains("--resolv-conf /nonexistent: No such file"),
        "{said}"
    );
}
