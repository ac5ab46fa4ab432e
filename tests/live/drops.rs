//! Packets that the kernel drops while presyn captures: they have a time, and excuse nobody at another.

use crate::lab::Lab;
use serde_json::Value;

/// Sixty million bytes to the loopback interface at once, several times what the capture's ring holds. Nothing of it is a
/// DNS message.
const FLOOD: &str = "import socket\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    for _ in range(1000): s.sendto(bytes(60000), ('127.0.0.1', 53))\n";

fn finding<'a>(report: &'a Value, id: &str) -> Option<&'a Value> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|f| f["id"] == id)
}

/// A resolver that did not answer in the first seconds is as silent as without the flood that comes after.
#[test]
fn drops_of_one_second_excuse_no_resolver_of_another() {
    let Some(lab) = Lab::up("first-resolver-silent") else {
        return;
    };
    let lookup = "curl -sS -o /dev/null http://web.example.lab/";
    let script = format!("{lookup}; sleep 2.5; exec /usr/bin/python3 -I -S -c \"$0\"");
    let ran = lab.run_with(&[], &[], &["sh", "-c", &script, FLOOD]);
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_reads_back();
    let capture = &ran.report["inputs"]["captures"][0];
    let dropped = capture["dropped"].as_u64().unwrap();
    assert!(dropped > 0, "{capture}");
    let times = capture["drop_times"].as_array().unwrap();
    let timed: u64 = times.iter().map(|t| t["packets"].as_u64().unwrap()).sum();
    assert_eq!(timed, dropped, "{capture}");
    let first = times[0]["from_s"].as_f64().unwrap();
    assert!(first > 5.5, "the lookup was over by then: {capture}");
    let silent = finding(&ran.report, "resolver-silent").unwrap();
    assert!(
        !silent["detail"].as_str().unwrap().contains("dropped"),
        "{silent}"
    );
    let incomplete = finding(&ran.report, "capture-incomplete").unwrap();
    let detail = incomplete["detail"].as_str().unwrap();
    let said = format!("{dropped} packets were dropped while capturing");
    assert!(
        detail.contains(&said) && detail.contains(&format!("from {first:.1} s to")),
        "{detail}"
    );
}
