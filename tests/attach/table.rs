//! A thousand packets of each kind, of a watched process and of one that is not: how many are attributed, and none wrongly.

use super::{CLIENT, Target, Watch, can_run, folder, say};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

/// So many of each kind. The properties of more are those of these.
const EACH: usize = 1_000;

/// A client that writes down what it sends: kind, protocol, source port, destination, time.
const LEDGER: &str = r"
def ledger(path, count):
    out, silent = open(path, 'w'), []
    def note(kind, s, to):
        protocol = 'tcp' if s.type == socket.SOCK_STREAM else 'udp'
        out.write(f'{kind} {protocol} {s.getsockname()[1]} {to[0]}:{to[1]} {time.time_ns()}\n')
    for n in range(count):
        s = socket.socket()
        s.bind(('127.0.0.1', 0))
        note('refused', s, ('127.0.0.8', 81))
        s.connect_ex(('127.0.0.8', 81))
        s.close()
        s = socket.socket()
        s.bind(('127.0.0.1', 0))
        note('time-wait', s, ('127.0.0.8', 8080))
        s.connect(('127.0.0.8', 8080))
        s.close()
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(('127.0.0.8', 53))
        note('answered', s, ('127.0.0.8', 53))
        s.send(query('a.example'))
        s.recv(512)
        s.close()
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(('127.0.0.9', 53))
        note('silent', s, ('127.0.0.9', 53))
        s.send(query('a.example'))
        silent.append((time.monotonic(), s))
        # One port, used in turn by two processes.
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            s.bind(('127.0.0.1', 5000))
            s.connect(('127.0.0.9', 53))
            note('in-turn', s, ('127.0.0.9', 53))
            s.send(query('a.example'))
        except OSError:
            pass
        s.close()
        while silent and time.monotonic() - silent[0][0] > .5:
            silent.pop(0)[1].close()
        time.sleep(.002)
    time.sleep(.5)
    out.close()
";

#[test]
fn nothing_is_attributed_wrongly() {
    if !can_run() {
        return;
    }
    let case = folder();
    let path = |name: &str| case.path().join(name).to_str().unwrap().to_owned();
    let (watched, other) = (path("watched"), path("other"));
    let mut target = Target::start(&format!("{LEDGER}\nledger('{watched}', {EACH})"));
    let netns = format!("/proc/{}/ns/net", target.pid);
    let program = format!("{CLIENT}\n{LEDGER}\nledger('{other}', {EACH})");
    let watch = Watch::start(&[&target.pid.to_string(), "--save", &path("case")]);
    target.begin();
    let status = Command::new("nsenter")
        .arg(format!("--net={netns}"))
        .args(["python3", "-c", &program])
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    target.done();
    let (_, said, status) = watch.end();
    assert_eq!(status, Some(0), "{said:?}");
    let owners = owners(&path("case"));
    // Who used two ends, one after the other: a port is bound before its use is written down, and sends after that.
    let mut uses: BTreeMap<String, Vec<(i64, String, bool)>> = BTreeMap::new();
    for (ledger, is_watched) in [(&watched, true), (&other, false)] {
        for line in fs::read_to_string(ledger).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, protocol, port, to, at] = words[..] else {
                panic!("{line}");
            };
            let ends = format!("{protocol} {port} {to}");
            let one = (at.parse().unwrap(), kind.to_owned(), is_watched);
            uses.entry(ends).or_default().push(one);
        }
    }
    let mut table: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for (ends, uses) in &mut uses {
        uses.sort_unstable();
        let said = owners.get(ends).map_or(&[][..], Vec::as_slice);
        for (n, (from, kind, is_watched)) in uses.iter().enumerate() {
            let until = uses.get(n + 1).map_or(i64::MAX, |next| next.0);
            let own = said.iter().find(|(at, _)| (*from..until).contains(at));
            let answer = match own.map(|(_, whose)| whose.as_str()) {
                None => "not seen",
                Some("watched") if *is_watched => "attributed",
                Some("others") if !is_watched => "attributed",
                Some("watched" | "others") => "wrong",
                Some(_) => "unattributed",
            };
            *table.entry((kind.clone(), answer)).or_default() += 1;
        }
    }
    let rows: Vec<String> = { table.iter() }
        .map(|((kind, answer), count)| format!("{kind} {answer} {count}"))
        .collect();
    say(&format!("attach, both processes: {}\n", rows.join("; ")));
    let not_seen = table.keys().filter(|(_, answer)| *answer == "not seen");
    assert_eq!(not_seen.count(), 0, "{rows:?}");
    let wrong = table.keys().filter(|(_, answer)| *answer == "wrong");
    assert_eq!(wrong.count(), 0, "{rows:?}");
    let attributed = |kind: &str| table.get(&(kind.to_owned(), "attributed")).copied();
    // Silent queries are what a watch is for. Those of a machine without an idle CPU may be looked at late.
    assert!(attributed("silent") >= Some(EACH), "{rows:?}");
}

/// What was said of each flow, with the packet's time.
fn owners(case: &str) -> BTreeMap<String, Vec<(i64, String)>> {
    let text = fs::read_to_string(format!("{case}/trace.jsonl")).unwrap();
    let mut owners: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let owner = &line["what"]["owner"];
        let whose = match &owner["whose"] {
            Value::String(others) => others.clone(),
            Value::Object(map) if !map.values().any(|v| v.get("wait").is_some()) => {
                map.keys().next().unwrap().clone()
            }
            _ => continue,
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let flow = &owner["flow"];
        let source = text(&flow["src"]);
        let port = source.rsplit(':').next().unwrap();
        let key = format!("{} {port} {}", text(&flow["transport"]), text(&flow["dst"]));
        owners
            .entry(key)
            .or_default()
            .push((line["at"].as_i64().unwrap(), whose));
    }
    owners
}
