//! A network of `scripts/lab` for one test, and `presyn run` inside it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary under test.
pub const PRESYN: &str = env!("CARGO_BIN_EXE_presyn");

/// No client of these tests needs longer, even on a busy machine.
const LIMIT: &str = "100";
/// The lab writes its books twice a second.
const BOOKS: Duration = Duration::from_secs(4);

/// A standing network, taken down when dropped.
pub struct Lab {
    state: TempDir,
}

/// What one `presyn run` left behind.
pub struct Ran {
    pub output: Output,
    pub case: PathBuf,
    /// The live report's text.
    pub json: String,
    pub report: Value,
    _folder: TempDir,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lab")
}

/// Whether namespaces can be made here at all.
fn allowed() -> bool {
    let flags: &[&str] = if nix::unistd::geteuid().is_root() {
        &["--net", "--mount", "true"]
    } else {
        &["--user", "--map-root-user", "--net", "--mount", "true"]
    };
    let made = Command::new("unshare").args(flags).output();
    made.is_ok_and(|o| o.status.success())
}

impl Lab {
    /// Stands up the network of a case. `None`, said loudly, when this machine cannot.
    pub fn up(name: &str) -> Option<Self> {
        if !allowed() {
            let said = format!("SKIPPED: no network namespaces here, so no lab ({name})\n");
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return None;
        }
        let lab = Self {
            state: TempDir::new().unwrap(),
        };
        // A file, not a pipe: the lab keeps it open as long as it stands.
        let log = lab.state.path().join("log");
        let mut up = lab.lab(&["up", name, "--for", "170"]);
        let file = std::fs::File::create(&log).unwrap();
        let status = up.stdout(Stdio::null()).stderr(file).status().unwrap();
        let said = std::fs::read_to_string(&log).unwrap();
        if said.contains("not installed") {
            let said = format!("SKIPPED: {said}\n");
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return None;
        }
        assert!(status.success(), "{said}");
        Some(lab)
    }

    fn lab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(script());
        // The lab keeps its state there, so that several may stand.
        command
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.state.path());
        command
    }

    /// A command where the client is.
    pub fn sh(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab(&["sh", "timeout", LIMIT]);
        command.args(arguments);
        command
    }

    /// `presyn run` with a case folder and a JSON report, further options and environment.
    pub fn run_with(&self, options: &[&str], environment: &[(&str, &str)], client: &[&str]) -> Ran {
        let folder = TempDir::new().unwrap();
        let (case, report) = (folder.path().join("case"), folder.path().join("report"));
        let mut command = self.sh(&[PRESYN, "run", "--all", "--format", "json", "--report"]);
        command.arg(&report).arg("--save").arg(&case).args(options);
        command.envs(environment.iter().copied());
        let output = command.arg("--").args(client).output().unwrap();
        let json = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{output:?}"));
        Ran {
            report: serde_json::from_str(&json).unwrap(),
            output,
            case,
            json,
            _folder: folder,
        }
    }

    /// What the scripted resolvers themselves read: (`address/transport`, queries, answered).
    pub fn asked(&self) -> Vec<(String, u64, u64)> {
        let output = self.lab(&["asked"]).output().unwrap();
        let Ok(Value::Object(books)) = serde_json::from_slice(&output.stdout) else {
            return Vec::new();
        };
        books
            .into_iter()
            .map(|(party, entry)| {
                let count = |key: &str| entry[key].as_u64().unwrap();
                (party, count("queries"), count("answered"))
            })
            .collect()
    }

    /// Queries and answers by resolver are those in the resolvers' own books. A resolver without books had its
    /// queries refused.
    pub fn assert_counts(&self, report: &Value) {
        let mut seen = Vec::new();
        for row in report["resolvers"].as_array().unwrap() {
            let party = format!("{}/{}", word(&row["address"]), word(&row["transport"]));
            let count = |key: &str| row[key].as_u64().unwrap();
            if count("queries") > 0 && count("refused") < count("queries") {
                seen.push((party, count("queries"), count("answered")));
            }
        }
        seen.sort();
        let begin = Instant::now();
        loop {
            let books = self.asked();
            if books == seen {
                return;
            }
            assert!(begin.elapsed() < BOOKS, "seen {seen:?}, asked {books:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.lab(&["down"]).output();
    }
}

/// A JSON string's text.
pub fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// `presyn analyze` of a folder: its output, which must be there.
pub fn analyze(folder: &Path) -> String {
    analyze_to(folder, 0)
}

/// The same, with this exit status.
fn analyze_to(folder: &Path, status: i32) -> String {
    let output = Command::new(PRESYN)
        .args(["analyze", "--all", "--format", "json"])
        .arg(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Ran {
    /// The client's exit status.
    pub fn status(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Every query of the report.
    pub fn queries(&self) -> Vec<&Value> {
        let lookups = self.report["lookups"].as_array().unwrap();
        lookups
            .iter()
            .flat_map(|l| l["queries"].as_array().unwrap())
            .collect()
    }

    /// Every query and every SYN has a cause that is known, not guessed; and there are some.
    pub fn assert_causes(&self) {
        let queries = self.queries();
        assert!(!queries.is_empty(), "{}", self.json);
        let connections = self.report["connections"].as_array().unwrap();
        let attempts = connections.iter().filter(|c| c["syns"] != 0);
        for joined in queries.into_iter().chain(attempts) {
            let how = word(&joined["cause"]["how"]);
            assert!(matches!(how, "call" | "socket"), "{joined:#}");
        }
        for row in self.report["resolvers"].as_array().unwrap() {
            assert_eq!(row["origin"], "traced", "{row:#}");
        }
    }

    /// The saved case gives the live report, to the byte.
    pub fn assert_reads_back(&self) {
        // What came faster than it could be recorded is missing from the case: damage, exit status 3.
        let warnings = self.report["warnings"].as_array().unwrap();
        let missing = |w: &Value| w.as_str().is_some_and(|w| w.contains("not recorded"));
        let damaged = warnings.iter().any(missing);
        let again = analyze_to(&self.case, if damaged { 3 } else { 0 });
        assert!(
            again == self.json,
            "{}",
            crate::same::first_difference(&self.json, &again)
        );
    }

    /// The strace log instead of the trace gives the same report, as far as such logs can say.
    pub fn assert_strace_agrees(&self) {
        let plain = TempDir::new().unwrap();
        for name in ["packets.pcap", "syscalls.strace", "resolv.conf", "hosts"] {
            std::fs::copy(self.case.join(name), plain.path().join(name)).unwrap();
        }
        // A strace log has no environment: whoever mails one says what was in it.
        let trace = std::fs::read_to_string(self.case.join("trace.jsonl")).unwrap();
        let header: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
        if let Some(options) = header["resolver_environment"]["RES_OPTIONS"].as_str() {
            let conf = plain.path().join("resolv.conf");
            let text = std::fs::read_to_string(&conf).unwrap();
            std::fs::write(conf, format!("{text}options {options}\n")).unwrap();
        }
        let told: Value = serde_json::from_str(&analyze(plain.path())).unwrap();
        crate::same::assert_same(&self.report, &told);
    }

    /// Wireshark's reader opens the capture and counts the same packets.
    pub fn assert_tshark_reads(&self) {
        let output = Command::new("timeout")
            .args(["60", "tshark", "-r"])
            .arg(self.case.join("packets.pcap"))
            .args(["-T", "fields", "-e", "frame.number"])
            .output();
        let output = output.unwrap();
        if output.status.code() == Some(127) {
            let said = "SKIPPED: no tshark here\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return;
        }
        let packets = self.report["inputs"]["captures"][0]["packets"].as_u64();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
        assert_eq!(Some(lines), packets);
    }

    /// All of the above.
    pub fn assert_whole(&self, lab: &Lab) {
        self.assert_causes();
        lab.assert_counts(&self.report);
        self.assert_reads_back();
        self.assert_strace_agrees();
        self.assert_tshark_reads();
    }
}
