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
