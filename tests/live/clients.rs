//! One test per client: who asked whom is known of every packet, and the counts are the resolvers' own.

use crate::lab::{Lab, Ran, word};

const PYTHON: [&str; 3] = ["/usr/bin/python3", "-I", "-S"];
/// glibc waits 1 s where it would wait 5 s (resolver(3)).
const SHORT: [(&str, &str); 1] = [("RES_OPTIONS", "timeout:1")];

/// Runs a client and checks what must hold of every run.
fn whole(case: &str, environment: &[(&str, &str)], client: &[&str]) -> Option<Ran> {
    let lab = Lab::up(case)?;
    let ran = lab.run_with(&[], environment, client);
    ran.assert_whole(&lab);
    Some(ran)
}

fn finding(ran: &Ran, id: &str) -> bool {
    let findings = ran.report["findings"].as_array().unwrap();
    findings.iter().any(|f| f["id"] == id)
}

/// Seconds before the first server connect's SYN that this kind of party took.
fn waited(ran: &Ran, kind: &str) -> f64 {
    let delays = ran.report["delays"].as_array().unwrap();
    let entries = delays.iter().flat_map(|d| d["entries"].as_array().unwrap());
    let of_kind = entries.filter(|e| e["kind"] == kind);
    of_kind.map(|e| e["seconds"].as_f64().unwrap()).sum()
}

#[test]
fn curl_waits_for_a_silent_resolver() {
    let curl = [
        "curl",
        "-sS",
        "-w",
        "%{http_code}",
        "http://web.example.lab/",
    ];
    let Some(ran) = whole("first-resolver-silent", &[], &curl) else {
        return;
    };
    assert_eq!(ran.status(), Some(0));
    assert_eq!(ran.output.stdout, b"200", "only the command writes there");
    assert!(finding(&ran, "resolver-silent"));
    let silent = waited(&ran, "resolver-silent");
    assert!((4.9..5.5).contains(&silent), "{silent}");
    // A line when the wait has grown to 1 s, and to 5 s.
    let progress = ran.stderr();
    for seconds in ["presyn: 1.", "presyn: 5."] {
        let told = progress
            .lines()
            .find(|line| line.starts_with(seconds) && line.ends_with("web.example.lab (curl)"));
        assert!(told.is_some(), "{progress}");
    }
}

#[test]
fn python_is_refused() {
    let client = [
        &PYTHON[..],
        &["/run/lab/connect.py", "web.example.lab", "80"],
    ]
    .concat();
    if let Some(ran) = whole("resolver-refusing", &[], &client) {
        assert_eq!(ran.output.stdout, b"connected to 192.168.110.231\n");
        assert!(finding(&ran, "resolver-refused"));
    }
}

#[test]
fn python_goes_on_over_tcp() {
    let client = [
        &PYTHON[..],
        &["/run/lab/connect.py", "web.example.lab", "80"],
    ]
    .concat();
    if let Some(ran) = whole("truncated-to-tcp", &[], &client) {
        let transports = ran
            .queries()
            .iter()
            .map(|q| word(&q["transport"]))
            .collect::<Vec<_>>();
        assert!(
            transports.contains(&"udp") && transports.contains(&"tcp"),
            "{transports:?}"
        );
        assert!(finding(&ran, "truncated-to-tcp"));
    }
}

#[test]
fn musl_asks_all_at_once() {
    if let Some(ran) = whole(
        "musl-client",
        &[],
        &["/run/bin/connect", "web.example.lab", "80"],
    ) {
        assert_eq!(ran.report["lookups"][0]["client"], "musl");
        assert_eq!(ran.report["resolvers"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn go_asks_with_write() {
    if let Some(ran) = whole(
        "go-client",
        &[],
        &["/run/bin/connect", "web.example.lab:80"],
    ) {
        assert!(finding(&ran, "resolver-silent"));
    }
}

#[test]
fn node_asks_through_c_ares() {
    let client = ["node", "/run/lab/cares_connect.js", "web.example.lab", "80"];
    if let Some(ran) = whole("node-c-ares", &[], &client) {
        assert!(finding(&ran, "resolver-silent"));
    }
}

#[test]
fn node_asks_through_getaddrinfo() {
    let script = "require('net').connect(80, 'web.example.lab', () => process.exit(3))";
    if let Some(ran) = whole("node-c-ares", &SHORT, &["node", "-e", script]) {
        assert_eq!(ran.status(), Some(3));
        assert_eq!(ran.report["lookups"][0]["client"], "glibc");
    }
}

#[test]
fn zookeeper_looks_up_the_name_of_an_address() {
    let client = [
        "/usr/share/zookeeper/bin/zkCli.sh",
        "-server",
        "192.168.110.231:8998",
        "ls",
        "/",
    ];
    if let Some(ran) = whole("zookeeper-three-silent", &SHORT, &client) {
        // Twice (getHostName, getCanonicalHostName) two rounds over three resolvers.
        assert_eq!(ran.queries().len(), 12);
        assert!(ran.queries().iter().all(|q| q["state"] == "unanswered"));
        assert!(finding(&ran, "reverse-lookup"));
    }
}

#[test]
fn getent_asks_for_one_type_after_the_other() {
    let client = ["getent", "hosts", "web.example.lab"];
    if let Some(ran) = whole("resolver-refusing", &[], &client) {
        assert!(ran.output.stdout.starts_with(b"192.168.110.231"));
    }
}

#[test]
fn threads_look_up_at_once() {
    let client = [
        &PYTHON[..],
        &[
            "/run/lab/connect_threads.py",
            "80",
            "web.example.lab",
            "api.example.lab",
            "log.example.lab",
        ],
    ]
    .concat();
    if let Some(ran) = whole("overlapping-threads", &SHORT, &client) {
        let lookups = ran.report["lookups"].as_array().unwrap();
        assert_eq!(lookups.len(), 3);
        let mut tids: Vec<_> = lookups
            .iter()
            .map(|l| l["tasks"][0]["tid"].as_u64())
            .collect();
        tids.sort_unstable();
        tids.dedup();
        assert_eq!(tids.len(), 3);
    }
}

#[test]
fn a_lossy_resolver_costs_rounds() {
    let client = [
        &PYTHON[..],
        &[
            "/run/lab/connect_many.py",
            "80",
            "web.example.lab",
            "api.example.lab",
            "log.example.lab",
        ],
    ]
    .concat();
    if let Some(ran) = whole("lossy-resolver", &SHORT, &client) {
        assert!(finding(&ran, "resolver-lossy"));
    }
}

#[test]
fn a_slow_resolver_costs_its_answers() {
    let curl = ["curl", "-sS", "http://web.example.lab/"];
    if let Some(ran) = whole("slow-resolver", &[], &curl) {
        let waited = waited(&ran, "resolver-answer");
        assert!((2.4..3.5).contains(&waited), "{waited}");
    }
}
