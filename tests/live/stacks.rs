//! `--stacks`: real clients' calls are traced to the functions that made them.

use crate::lab::{Lab, Ran, word};
use serde_json::Value;

/// glibc waits 1 s where it would wait 5 s (resolver(3)).
const SHORT: [(&str, &str); 1] = [("RES_OPTIONS", "timeout:1")];

fn run(case: &str, environment: &[(&str, &str)], client: &[&str]) -> Option<Ran> {
    let lab = Lab::up(case)?;
    let ran = lab.run_with(&["--stacks"], environment, client);
    ran.assert_whole(&lab);
    Some(ran)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// Who asked, of every lookup.
fn asked_by(ran: &Ran) -> Vec<&str> {
    let lookups = list(&ran.report, "lookups").iter();
    let callers = lookups.flat_map(|l| list(l, "callers"));
    callers.map(|c| word(&c["words"])).collect()
}

/// The functions of the stack of each query's and connection's call, innermost first.
fn functions(ran: &Ran) -> Vec<Vec<&str>> {
    let connections = list(&ran.report, "connections").iter();
    let causes = ran.queries().into_iter().chain(connections);
    let stacks = list(&ran.report, "stacks");
    causes
        .filter(|c| !c["cause"].is_null())
        .map(|c| {
            let id = &c["cause"]["stack"];
            let stack = stacks.iter().find(|s| s["id"] == *id);
            let stack = stack.unwrap_or_else(|| panic!("no stack: {c:#}"));
            let frames = list(stack, "frames").iter();
            frames.map(|f| word(&f["function"])).collect()
        })
        .collect()
}

#[test]
fn getent_asks_by_getaddrinfo() {
    let client = ["getent", "ahosts", "web.example.lab"];
    let Some(ran) = run("first-resolver-silent", &SHORT, &client) else {
        return;
    };
    assert_eq!(asked_by(&ran), ["asked by getaddrinfo ← getent"]);
    for functions in functions(&ran) {
        assert!(functions.contains(&"getaddrinfo"), "{functions:?}");
    }
    let findings = list(&ran.report, "findings").iter();
    let mut silent = findings.filter(|f| f["id"] == "resolver-silent");
    let callers = list(silent.next().unwrap(), "callers");
    assert_eq!(callers[0]["words"], "asked by getaddrinfo ← getent");
}

#[test]
fn getent_asks_for_an_address_by_gethostbyaddr() {
    let client = ["getent", "hosts", "192.168.110.231"];
    if let Some(ran) = run("first-resolver-silent", &SHORT, &client) {
        assert_eq!(asked_by(&ran), ["asked by gethostbyaddr ← getent"]);
    }
}

#[test]
fn python_asks_and_connects() {
    let client = [
        "/usr/bin/python3",
        "-I",
        "-S",
        "/run/lab/connect.py",
        "web.example.lab",
        "80",
    ];
    let Some(ran) = run("resolver-refusing", &[], &client) else {
        return;
    };
    let asked = asked_by(&ran);
    assert!(asked[0].starts_with("asked by getaddrinfo ← "), "{asked:?}");
    let last = functions(&ran).pop().unwrap();
    assert_eq!(last.first(), Some(&"connect"), "{last:?}");
}

#[test]
fn go_has_no_c_library() {
    let client = ["/run/bin/connect", "web.example.lab:80"];
    let Some(ran) = run("go-client", &[], &client) else {
        return;
    };
    let asked = asked_by(&ran);
    assert!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|a| a.starts_with("asked by net.(*Resolver)")),
        "{asked:?}"
    );
    let last = functions(&ran).pop().unwrap();
    assert!(last.contains(&"main.main"), "{last:?}");
}

#[test]
fn zookeeper_asks_by_a_native_function_of_java() {
    let client = [
        "/usr/share/zookeeper/bin/zkCli.sh",
        "-server",
        "192.168.110.231:8998",
        "ls",
        "/",
    ];
    let Some(ran) = run("zookeeper-three-silent", &SHORT, &client) else {
        return;
    };
    let findings = list(&ran.report, "findings").iter();
    let mut reverse = findings.filter(|f| f["id"] == "reverse-lookup");
    let caller = &list(reverse.next().unwrap(), "callers")[0];
    let words = word(&caller["words"]);
    assert!(words.starts_with("asked by getnameinfo ← Java_"), "{words}");
    assert!(words.ends_with("_getHostByAddr (libnet.so)"), "{words}");
    // The thread as jstack prints it; the line is said while there is something to ask, too.
    let task = &list(&ran.report, "lookups")[0]["tasks"][0];
    let (pid, tid) = (&task["pid"], task["tid"].as_u64().unwrap());
    let command = format!("jstack {pid} | grep -A20 -E 'nid=(0x{tid:x}|{tid}) '");
    let hint = word(&caller["hint"]);
    assert!(hint.ends_with(&command), "{hint}");
    let stderr = ran.stderr();
    let mut lines = stderr.lines().filter(|l| l.starts_with("presyn: 1."));
    assert!(lines.any(|l| l.ends_with(&command)), "{stderr}");
    let stacks = list(&ran.report, "stacks");
    let stack = stacks.iter().find(|s| s["id"] == caller["stack"]).unwrap();
    assert_eq!(stack["cut"], "generated-code");
}

#[test]
fn without_the_option_nothing_is_said() {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let ran = lab.run_with(&[], &[], &["getent", "ahosts", "web.example.lab"]);
    assert!(!ran.queries().is_empty());
    for word in ["\"stack\"", "\"stacks\"", "\"callers\""] {
        assert!(!ran.json.contains(word), "{word}");
    }
    let trace = std::fs::read_to_string(ran.case.join("trace.jsonl")).unwrap();
    assert!(!trace.contains("\"stack\""));
}
