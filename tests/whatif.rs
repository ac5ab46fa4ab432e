//! `presyn whatif`, and what reports say of timetables, over the recorded cases.

#![allow(clippy::unwrap_used, reason = "tests")]

use assert_cmd::Command;
use serde_json::Value;

fn presyn(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_presyn"));
    command.args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = presyn(&[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Least and most of the first answer's first delay.
fn then(arguments: &[&str]) -> (f64, f64) {
    let answer = json(&[&["whatif"], arguments].concat());
    let delay = &answer["answers"][0]["delays"][0];
    let figure = |name: &str| delay[name].as_f64().unwrap();
    (figure("least_s"), figure("most_s"))
}

fn near(range: (f64, f64), seconds: f64) {
    let (least, most) = range;
    assert!(
        (least - seconds).abs() < 0.05 && (most - seconds).abs() < 0.05,
        "{range:?}, not {seconds}"
    );
}

/// The incident as first reported: 28 s of glibc's timetable and 5 s of avahi.
#[test]
fn the_incident() {
    let case = "captures/first-reported";
    near(then(&[case, "--without", "10.0.1.93"]), 25.0);
    near(then(&[case, "--without", "10.0.1.92"]), 25.0);
    near(
        then(&[case, "--without", "10.0.1.93", "--without", "10.0.1.95"]),
        15.0,
    );
    near(then(&[case, "--options", "timeout:1 attempts:1"]), 8.0);
    near(then(&[case, "--options", "timeout:1"]), 11.0);
    near(then(&[case, "--options", "attempts:1"]), 19.0);
    let report = json(&["analyze", case]);
    let told = &report["lookups"][0]["timetable"];
    assert_eq!(told["fits"], true, "{told:#}");
    let seen = told["waits"].as_array().unwrap().iter();
    let seen: Vec<f64> = seen.map(|w| w["seen_s"].as_f64().unwrap()).collect();
    assert_eq!(seen, [5.0, 3.0, 6.0, 5.0, 3.0, 6.0]);
}

#[test]
fn with_zookeeper() {
    let case = "captures/zookeeper-three-silent";
    // Twice 5 + 5 + 5 + 5 s instead of twice 28 s, of 57.8 s in all.
    near(then(&[case, "--without", "10.0.1.95"]), 41.76);
    near(then(&[case, "--without-reverse-lookup"]), 1.69);
    let report = json(&["analyze", case]);
    assert_eq!(report["best_change"]["without_reverse_lookup"], true);
}

#[test]
fn a_case_that_does_not_fit_is_not_explained() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("resolv.conf");
    std::fs::write(
        &conf,
        "nameserver 10.0.1.93\nnameserver 10.0.1.95\noptions timeout:2\n",
    )
    .unwrap();
    let report = json(&[
        "analyze",
        "captures/first-resolver-silent",
        "--resolv-conf",
        conf.to_str().unwrap(),
    ]);
    let lookup = &report["lookups"][0];
    assert_eq!(lookup["client"], "glibc");
    assert_eq!(lookup["timetable"]["fits"], false);
    let told = lookup["timetable"]["told"].as_str().unwrap();
    assert!(told.contains("5 s for 10.0.1.93 instead of 2 s"), "{told}");
    assert_eq!(report["best_change"], Value::Null);
}

#[test]
fn a_good_server_is_missed() {
    let answer = json(&[
        "whatif",
        "captures/first-resolver-silent",
        "--without",
        "10.0.1.95",
    ]);
    let delay = &answer["answers"][0]["delays"][0];
    assert_eq!(delay["fails"], true, "{delay:#}");
    assert_eq!(answer["answers"][0]["lookups"][0]["outcome"], "failed");
}

#[test]
fn a_server_that_nobody_knows_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("new.conf");
    std::fs::write(&conf, "nameserver 10.0.1.99\n").unwrap();
    let answer = json(&[
        "whatif",
        "captures/first-resolver-silent",
        "--resolv-conf",
        conf.to_str().unwrap(),
    ]);
    assert_eq!(answer["answers"][0]["guessed"][0], "10.0.1.99");
    // As a mail quotes it.
    std::fs::write(&conf, "> nameserver 10.0.1.99\n").unwrap();
    let conf = conf.to_str().unwrap();
    let quoted = json(&[
        "whatif",
        "captures/first-resolver-silent",
        "--resolv-conf",
        conf,
    ]);
    assert_eq!(
        quoted["answers"][0]["guessed"],
        answer["answers"][0]["guessed"]
    );
}

#[test]
fn c_ares_is_a_range() {
    let (least, most) = then(&["captures/node-c-ares", "--options", "timeout:4"]);
    assert!(least >= 4.0 && most >= least + 0.9, "{least} {most}");
}

#[test]
fn an_answer_to_a_second_try_may_have_been_lost_or_late() {
    // dnsmasq answers when its own resolver has: nobody can say what it does when asked sooner.
    let (least, most) = then(&[
        "captures/stub-upstream-silent-first",
        "--options",
        "timeout:1",
    ]);
    assert!((least - 1.0).abs() < 0.1 && most > 1.9, "{least} {most}");
    let report = json(&["analyze", "captures/stub-upstream-silent-first"]);
    assert_eq!(report["best_change"], Value::Null);
}

#[test]
fn what_cannot_be_changed_is_refused() {
    for (arguments, said) in [
        (["--without", "10.9.9.9"], "is not a resolver of this case"),
        (["--without", "web"], "invalid"),
        (["--options", "use-vc"], "over TCP"),
        (["--resolv-conf", "/nonexistent"], "cannot be read"),
    ] {
        let output = presyn(&[&["whatif", "captures/first-reported"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(said), "{text}");
    }
    let all = ["10.0.1.93", "10.0.1.95", "10.0.1.92"].map(|s| ["--without", s]);
    let output = presyn(&[&["whatif", "captures/first-reported"], &all.concat()[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn without_a_question_it_tells_what_may_help() {
    let answer = json(&["whatif", "captures/first-reported"]);
    let changes = answer["answers"].as_array().unwrap().iter();
    let changes: Vec<&str> = changes.map(|a| a["change"].as_str().unwrap()).collect();
    assert_eq!(
        changes,
        [
            "Without resolver 10.0.1.93",
            "Without resolver 10.0.1.95",
            "Without resolver 10.0.1.92",
            "With 'options timeout:1'",
            "With 'options timeout:1 attempts:1'"
        ]
    );
    let output = presyn(&["whatif", "captures/first-reported"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert!(text.contains("As it was"), "{text}");
}

#[test]
fn the_schema_is_printed() {
    let output = presyn(&["schema", "whatif"]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["answers"].is_object());
}

#[test]
fn a_capture_alone_tells_a_timetable() {
    let case = "captures/zookeeper-three-silent";
    let (packets, conf) = (
        format!("{case}/packets.pcap"),
        format!("{case}/resolv.conf"),
    );
    let report = json(&["analyze", &packets, "--resolv-conf", &conf]);
    for lookup in report["lookups"].as_array().unwrap() {
        assert_eq!(lookup["client"], "glibc", "{lookup:#}");
        assert_eq!(lookup["timetable"]["fits"], true, "{lookup:#}");
    }
    // Nothing timed out and no call is known: several stub resolvers ask like this.
    let report = json(&["analyze", "captures/slow-resolver/packets.pcap"]);
    let lookup = &report["lookups"][0];
    assert_eq!(lookup["client"], Value::Null, "{lookup:#}");
    let why = lookup["client_why"].as_str().unwrap();
    assert!(why.contains("glibc, musl or c-ares"), "{why}");
}

/// The name service that nsswitch.conf names after DNS was asked for the name of the same address: without the reverse
/// lookup nothing of it remains.
#[test]
fn without_the_reverse_lookup_no_name_service_is_asked_for_it() {
    let query =
        r#""\7\7\1\0\0\1\0\0\0\0\0\0\003231\003110\003168\003192\7in-addr\4arpa\0\0\f\0\1""#;
    let inet = |port: u16, ip: &str| {
        format!("{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}, 16")
    };
    let rows = [
        (0.0, r#"execve("/usr/bin/cli", ["cli"], 0x7ffc /* 1 var */) = 0 <0.000100>"#.to_owned()),
        (0.01, "socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = 3 <0.000010>".into()),
        (0.02, format!("connect(3, {}) = 0 <0.000010>", inet(53, "10.0.1.93"))),
        (0.03, format!("sendto(3, {query}, 46, MSG_NOSIGNAL, NULL, 0) = 46 <0.000010>")),
        (0.03, "poll([{fd=3, events=POLLIN}], 1, 5000) = 0 (Timeout) <5.000000>".into()),
        (5.04, format!("sendto(3, {query}, 46, MSG_NOSIGNAL, NULL, 0) = 46 <0.000010>")),
        (5.04, "poll([{fd=3, events=POLLIN}], 1, 5000) = 0 (Timeout) <5.000000>".into()),
        (10.05, "close(3) = 0 <0.000010>".into()),
        (10.06, "socket(AF_UNIX, SOCK_STREAM, 0) = 3 <0.000010>".into()),
        (
            10.07,
            r#"connect(3, {sa_family=AF_UNIX, sun_path="/run/avahi-daemon/socket"}, 110) = 0 <0.000010>"#.into(),
        ),
        (15.07, "close(3) = 0 <0.000010>".into()),
        (15.08, "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3 <0.000010>".into()),
        (15.09, format!("connect(3, {}) = 0 <0.000100>", inet(8998, "192.168.110.231"))),
        (15.10, "+++ exited with 0 +++".into()),
    ];
    let lines = rows.map(|(at, call)| format!("100   {:.6} {call}\n", 1_700_000_000.0 + at));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("cli.strace");
    std::fs::write(&log, lines.concat()).unwrap();
    let (least, most) = then(&[log.to_str().unwrap(), "--without-reverse-lookup"]);
    assert!(least >= 0.0 && most < 0.2, "{least} to {most}");
}
