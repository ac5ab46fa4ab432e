//! Cases of processes that were watched while nothing was traced: a query or SYN is whose its socket is, and what is
//! unattributed is nobody's.
//!
//! The cases are recorded ones (captures/) of which the trace is taken away. In its place stand the events that a look at
//! each packet's socket would have given: whose it was is known from the trace.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use presyn::case::jsonl::{self, Footer, Header, SCHEMA};
use presyn::event::dns::{Message, Name, Question, Rcode, RecordType};
use presyn::event::{
    Event, EventKind, Location, OpenSocket, Owner, Packet, Service, Task, TcpFlags, ThreadWait,
    Unattributed, Whose,
};
use presyn::eviction::{Eviction, EvictionSetup};
use presyn::explain::Case;
use presyn::explain::assemble::Limits;
use presyn::flow::{Endpoint, FiveTuple, Transport};
use presyn::input::CaptureFacts;
use presyn::input::watched::Watched;
use presyn::join::{AssociationId, EventId, Id};
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::{json, jsonl as lines, markdown, text};
use presyn::report::{FindingId, Origin, Report, Role, UnattributedWhy};
use presyn::session::inputs::{self, InputOptions};
use presyn::time::{Span, Timestamp};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A query or SYN of a recorded case, and whose the trace says it is.
#[derive(Clone, Debug)]
struct Sent {
    at: Timestamp,
    flow: FiveTuple,
    /// The process that sent it, with the number of its socket; none: another one.
    by: Option<(Task, u64)>,
}

/// The number of a socket in a trace.
fn number(socket: Option<AssociationId>) -> Option<u64> {
    socket.map(|a| a.position() as u64 + 1)
}

/// The flow of a query or SYN.
fn flow_of(packet: &Packet) -> Option<FiveTuple> {
    match packet {
        Packet::Dns {
            flow,
            service: Service::Unicast,
            message,
        } => (!message.response && flow.dst.port == 53).then_some(*flow),
        Packet::Tcp { flow, flags, .. } => (flags.syn && !flags.ack).then_some(*flow),
        _ => None,
    }
}

/// The query that found no neighbour, as an error quotes it: its socket waits for an answer all the same.
fn unsent(case: &Case, at: Timestamp, packet: &Packet) -> Option<Sent> {
    let Packet::Icmp {
        from,
        to,
        quote: Some(quote),
        ..
    } = packet
    else {
        return None;
    };
    let asked = case.joined.queries.iter().find(|q| {
        let by = q.client.is_none_or(|c| c == quote.flow.src);
        q.packet.is_none() && by && q.resolver == quote.flow.dst
    });
    (from == to).then(|| Sent {
        at,
        flow: quote.flow,
        by: asked.and_then(|q| Some((q.task.clone()?, number(q.association)?))),
    })
}

/// Who sent each packet, as the trace shows.
fn senders(case: &Case) -> HashMap<EventId, (Task, u64)> {
    let mut senders = HashMap::new();
    let mut own = |packet, task: Option<&Task>, socket| {
        if let Some(task) = task {
            senders.insert(packet, (task.clone(), number(socket).unwrap_or(0)));
        }
    };
    for q in &case.joined.queries {
        if let Some(packet) = q.packet {
            own(packet, q.task.as_ref(), q.association);
        }
    }
    for c in &case.joined.connections {
        for syn in &c.syns {
            own(*syn, c.task.as_ref(), c.association);
        }
    }
    senders
}

/// All queries and SYNs of a recorded case, in order of time.
fn sent(case: &str) -> Vec<Sent> {
    let folder = Path::new("captures").join(case);
    let gathered = inputs::gather(&[folder], &InputOptions::default()).unwrap();
    pipeline::with_case(gathered, &Settings::default(), |case, _| {
        let senders = senders(case);
        let packets = case.evidence.numbered().filter_map(|(id, event)| {
            let EventKind::Packet(packet) = &event.what else {
                return None;
            };
            let Some(flow) = flow_of(packet) else {
                return unsent(case, event.at, packet);
            };
            Some(Sent {
                at: event.at,
                flow,
                by: senders.get(&id).cloned(),
            })
        });
        packets.collect()
    })
}

/// What a look at the socket of a packet finds: the process alone.
fn found(sent: &Sent) -> Whose {
    sent.by.as_ref().map_or(Whose::Others, |(task, cookie)| {
        Whose::Watched(OpenSocket {
            task: Task {
                tid: None,
                ..task.clone()
            },
            fd: 5,
            cookie: *cookie,
            peer: None,
            wait: None,
        })
    })
}

/// The same, when a thread was found in a wait later.
fn waiting(sent: &Sent, call: &str, among: u32) -> Option<Whose> {
    let (task, cookie) = sent.by.as_ref()?;
    Some(Whose::Watched(OpenSocket {
        task: task.clone(),
        fd: 5,
        cookie: *cookie,
        peer: None,
        wait: Some(ThreadWait {
            call: call.into(),
            among,
        }),
    }))
}

fn event(sent: &Sent, whose: Whose) -> Event {
    Event {
        at: sent.at,
        place: Location::default(),
        what: EventKind::Owner(Box::new(Owner {
            flow: sent.flow,
            whose,
            netns: Some(1),
        })),
    }
}

fn watch() -> Watched {
    Watched {
        target: "process 4711 (java)".into(),
        netns: Some(1),
        ..Watched::default()
    }
}

/// A folder with a case of watched processes: the packets and files of a recorded one, and these events.
fn folder(case: &str, watched: Watched, events: &[Event]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let recorded = Path::new("captures").join(case);
    for file in ["packets.pcap", "resolv.conf", "hosts", "nsswitch.conf"] {
        if recorded.join(file).exists() {
            fs::copy(recorded.join(file), folder.path().join(file)).unwrap();
        }
    }
    let first = sent(case)[0].at;
    let header = Header {
        schema: SCHEMA.into(),
        host: "web1".into(),
        command: vec!["attach".into(), "4711".into()],
        started: first - Span::seconds(1),
        traced: false,
        watched: Some(watched),
        ..Header::default()
    };
    let mut text = jsonl::header_line(&header).unwrap();
    text.push(b'\n');
    for event in events {
        text.extend(jsonl::line(event).unwrap());
        text.push(b'\n');
    }
    text.extend(jsonl::footer_line(&Footer::default()).unwrap());
    text.push(b'\n');
    fs::write(folder.path().join("trace.jsonl"), text).unwrap();
    folder
}

fn analysed(folder: &Path, settings: &Settings) -> Report {
    let options = InputOptions {
        pids: settings.pids.clone(),
        ..InputOptions::default()
    };
    let gathered = inputs::gather(&[folder.to_owned()], &options).unwrap();
    pipeline::report(gathered, settings)
}

/// The report of a recorded case as a watch would have shown it.
fn watched(case: &str, whose: impl Fn(usize, &Sent) -> Vec<Whose>) -> Report {
    let sent = sent(case);
    let events = sent.iter().enumerate();
    let events = events.flat_map(|(n, sent)| {
        let whose = whose(n, sent).into_iter();
        whose.map(move |whose| event(sent, whose))
    });
    let events: Vec<Event> = events.collect();
    let folder = folder(case, watch(), &events);
    analysed(folder.path(), &Settings::default())
}

/// The cases with packets and a trace.
fn cases() -> Vec<String> {
    let folders = fs::read_dir("captures").unwrap();
    let folders = folders.map(|e| e.unwrap().path());
    let folders = folders.filter(|path| path.join("packets.pcap").exists());
    let mut names: Vec<String> = folders
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 30, "{names:?}");
    names
}

fn report(case: &str) -> Report {
    let folder = PathBuf::from("captures").join(case);
    let gathered = inputs::gather(&[folder], &InputOptions::default()).unwrap();
    pipeline::report(gathered, &Settings::default())
}

/// Everything that a report says of the client: no row, lookup or connection of others, and no sentence.
fn clients(report: &Report) -> Value {
    let own = |origin: Origin| matches!(origin, Origin::Traced | Origin::Watched);
    let rows = report.resolvers.iter().filter(|r| own(r.origin));
    let role = |role: Role| matches!(role, Role::Other | Role::Unattributed);
    let connections = report.connections.iter();
    let connections = connections.filter(|c| !role(c.role) && c.task.is_some());
    let lookups = report.lookups.iter().filter(|l| !l.tasks.is_empty());
    let mut value = serde_json::json!({
        "resolvers": rows.collect::<Vec<_>>(),
        "connections": connections.collect::<Vec<_>>(),
        "lookups": lookups.collect::<Vec<_>>(),
        "delays": report.delays,
        "totals": report.totals,
        "clients": report.clients,
        "findings": report.findings,
    });
    // Elements are numbered over all clients.
    let names = [
        "id",
        "lookup",
        "connection",
        "subject",
        "packet",
        "packets",
        "answer",
    ];
    without(&mut value, &names);
    value
}

fn without(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(fields) => {
            // A finding's id is a name.
            fields
                .retain(|name, v| !names.contains(&name.as_str()) || name == "id" && is_finding(v));
            fields.values_mut().for_each(|v| without(v, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|v| without(v, names)),
        _ => {}
    }
}

fn is_finding(id: &Value) -> bool {
    id.as_str().is_some_and(|id| id.contains('-'))
}

#[test]
fn packets_have_the_processes_that_the_trace_shows() {
    let mut compared = 0;
    for case in cases() {
        let traced = report(&case);
        let watched = watched(&case, |_, sent| vec![found(sent)]);
        assert!(
            watched.inputs.traces.is_empty(),
            "{case}: nothing was traced"
        );
        assert!(
            watched.unattributed.is_empty(),
            "{case}: {:?}",
            watched.unattributed
        );
        let by_syn = |report: &Report| {
            let list = report.connections.iter().filter(|c| !c.packets.is_empty());
            let key = |c: &presyn::report::Connection| (c.from.clone(), c.syns, c.packets.clone());
            let pid = |c: &presyn::report::Connection| c.task.as_ref().and_then(|t| t.pid);
            list.map(|c| (key(c), pid(c))).collect::<HashMap<_, _>>()
        };
        let (theirs, ours) = (by_syn(&traced), by_syn(&watched));
        for ((from, syns, packets), pid) in &ours {
            let key = (from.clone(), *syns, packets.clone());
            // Packets that end an attempt may be cited by one of them alone.
            let Some(traced) = theirs.get(&key) else {
                continue;
            };
            assert_eq!(pid, traced, "{case}: {packets:?}");
            compared += 1;
        }
        for row in &watched.resolvers {
            assert_ne!(row.origin, Origin::Traced, "{case}");
            assert_ne!(row.origin, Origin::Unknown, "{case}");
            let same = traced.resolvers.iter().find(|r| {
                let origin = match r.origin {
                    Origin::Traced => Origin::Watched,
                    other => other,
                };
                (&r.address, r.port, r.transport, origin)
                    == (&row.address, row.port, row.transport, row.origin)
            });
            let same = same.unwrap_or_else(|| panic!("{case}: {row:?}"));
            assert_eq!(
                (row.queries, row.answered),
                (same.queries, same.answered),
                "{case}"
            );
            compared += 1;
        }
        for cause in causes(&watched) {
            assert_eq!(cause.how.to_string(), "socket", "{case}");
            assert!(cause.call.is_none(), "{case}: {cause:?}");
        }
    }
    assert!(compared > 60, "{compared}");
}

fn causes(report: &Report) -> impl Iterator<Item = &presyn::report::Cause> {
    let queries = report.lookups.iter().flat_map(|l| &l.queries);
    let queries = queries.filter_map(|q| q.cause.as_ref());
    let connections = report.connections.iter().filter_map(|c| c.cause.as_ref());
    queries.chain(connections)
}

/// Where one program alone was on the host, a watch of it shows what its packets do.
#[test]
fn a_watched_program_has_the_delays_of_its_capture() {
    let (mut compared, mut all) = (0, 0);
    for case in cases() {
        let sent = sent(&case);
        let pids: HashSet<_> = { sent.iter() }
            .map(|s| s.by.as_ref().and_then(|(task, _)| task.pid))
            .collect();
        if pids.len() != 1 || pids.contains(&None) {
            continue;
        }
        let watched = watched(&case, |_, sent| vec![found(sent)]);
        let folder = tempfile::tempdir().unwrap();
        for file in ["packets.pcap", "resolv.conf", "hosts", "nsswitch.conf"] {
            let recorded = Path::new("captures").join(&case).join(file);
            if recorded.exists() {
                fs::copy(recorded, folder.path().join(file)).unwrap();
            }
        }
        let captured = analysed(folder.path(), &Settings::default());
        let delays = |report: &Report| {
            let mut value = serde_json::to_value(&report.delays).unwrap();
            without(&mut value, &["packets", "calls"]);
            value
        };
        let addresses: HashSet<_> = sent.iter().map(|s| s.flow.src.ip).collect();
        // Packets alone do not show that a host asks from one address and connects from another.
        if addresses.len() == 1 {
            assert_eq!(delays(&watched), delays(&captured), "{case}");
            compared += 1;
        }
        let whole = |report: &Report| report.delays.first().map(|d| d.since_start_s);
        assert_eq!(whole(&watched), whole(&captured), "{case}");
        all += 1;
    }
    assert!(compared >= 5 && all >= 15, "{compared} of {all}");
}

/// What is unattributed is in no figure of the client: the report says of the client what it says when the same packets are
/// known to be another process's.
#[test]
fn no_unattributed_packet_is_in_a_figure_of_the_client() {
    let reasons = [
        Some(Unattributed::Gone),
        Some(Unattributed::Ambiguous),
        Some(Unattributed::Unreadable),
        Some(Unattributed::NotLookedUp),
        None,
    ];
    let mut unattributed = 0;
    for case in cases() {
        for (step, reason) in [2, 3, 5]
            .into_iter()
            .zip(reasons.iter().cycle().skip(case.len()))
        {
            // Of a socket all or nothing, as of an attempt.
            let hidden = |sent: &Sent| {
                let ends = u64::from(sent.flow.src.port) + u64::from(sent.flow.dst.port);
                (ends / 2).is_multiple_of(step)
            };
            let others = watched(&case, |_, sent| {
                vec![if hidden(sent) {
                    Whose::Others
                } else {
                    found(sent)
                }]
            });
            let unknown = watched(&case, |_, sent| match (hidden(sent), reason) {
                (false, _) => vec![found(sent)],
                (true, Some(why)) => vec![Whose::Unattributed(*why)],
                (true, None) => Vec::new(),
            });
            let (mut own, mut same) = (clients(&unknown), clients(&others));
            // A stub's upstream is known to be asked by another process, not where that is unknown.
            for value in [&mut own, &mut same] {
                without(value, &["findings"]);
            }
            assert_eq!(own, same, "{case} {step}");
            let hidden = sent(&case).iter().filter(|s| hidden(s)).count();
            let counted: usize = unknown
                .unattributed
                .iter()
                .map(|row| row.queries + row.connections)
                .sum();
            assert!(
                counted <= hidden && (counted > 0) == (hidden > 0),
                "{case} {step}"
            );
            assert!(unknown.unattributed.iter().all(|row| row.netns == Some(1)));
            unattributed += counted;
        }
    }
    assert!(unattributed > 200, "{unattributed}");
}

/// The case of `ZooKeeper`, watched: a JVM whose thread waits for each resolver in turn.
fn zookeeper() -> tempfile::TempDir {
    let case = "zookeeper-three-silent";
    let named = |sent: &Sent| {
        let mut sent = sent.clone();
        if let Some((task, _)) = &mut sent.by {
            task.comm = Some("java".into());
        }
        sent
    };
    let mut events = Vec::new();
    for sent in sent(case).iter().map(named) {
        events.push(event(&sent, found(&sent)));
        let mut thread = sent.clone();
        if let Some((task, _)) = &mut thread.by {
            task.comm = Some("main-SendThread".into());
        }
        events.extend(waiting(&thread, "poll", 1).map(|whose| event(&sent, whose)));
    }
    folder(case, watch(), &events)
}

#[test]
fn the_words_of_a_watched_case_are_as_the_goldens() {
    let folder = zookeeper();
    let report = analysed(folder.path(), &Settings::default());
    let place = folder.path().display().to_string();
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap().replace(&place, "CASE")
    };
    let brief = text::Look::default();
    let full = text::Look {
        full: true,
        ..brief
    };
    let all = [
        (
            "brief.txt",
            written(&|out| text::write(&report, brief, out).unwrap()),
        ),
        (
            "full.txt",
            written(&|out| text::write(&report, full, out).unwrap()),
        ),
        (
            "report.md",
            written(&|out| markdown::write(&report, out).unwrap()),
        ),
        (
            "report.json",
            written(&|out| json::write(&report, out).unwrap()),
        ),
        (
            "lines.jsonl",
            written(&|out| lines::write("CASE", &report, out).unwrap()),
        ),
    ];
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| !v.is_empty() && v != "0");
    for (name, now) in all {
        let path = Path::new("tests/watched").join(name);
        if update {
            fs::create_dir_all("tests/watched").unwrap();
            fs::write(&path, &now).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap();
        assert_eq!(
            golden, now,
            "{name}; if that is meant: UPDATE_GOLDEN=1 cargo test --test watched"
        );
    }
    let brief = fs::read_to_string("tests/watched/brief.txt").unwrap();
    assert!(brief.lines().count() <= 40, "one screen");
}

#[test]
fn threads_are_named_where_they_wait_for_one_socket() {
    for (call, among, says) in [
        ("recvfrom", 1, " in recvfrom, waited 5.0"),
        (
            "epoll_wait",
            30,
            "watched the socket among 30 descriptors, in epoll_wait",
        ),
    ] {
        let report = watched("first-resolver-silent", |_, sent| {
            [found(sent)]
                .into_iter()
                .chain(waiting(sent, call, among))
                .collect()
        });
        let summary = report.summary.join(" ");
        assert!(summary.contains(says), "{summary}");
        let alone = summary.contains(", thread ");
        assert_eq!(alone, among == 1, "{summary}");
        let wait = causes(&report).find_map(|c| c.wait.as_ref()).unwrap();
        assert_eq!((&*wait.call, wait.among), (call, among));
    }
    let report = watched("first-resolver-silent", |_, sent| vec![found(sent)]);
    assert!(
        !report.summary.join(" ").contains("thread"),
        "{:?}",
        report.summary
    );
}

#[test]
fn what_a_watch_lacks_is_said() {
    let watched = |watched: Watched| {
        let sent = sent("first-resolver-silent");
        let events: Vec<Event> = sent.iter().map(|s| event(s, found(s))).collect();
        let folder = folder("first-resolver-silent", watched, &events);
        analysed(folder.path(), &Settings::default())
    };
    let exact = watched(watch());
    let inexact = watched(Watched {
        inexact: Some("no right to listen for sockets that end".into()),
        no_threads: Some("/proc is not readable".into()),
        ..watch()
    });
    let notes = inexact.warnings.join("\n");
    assert!(
        notes.contains("inferred, not exact: no right to listen"),
        "{notes}"
    );
    assert!(
        notes.contains("threads waited is not known: /proc"),
        "{notes}"
    );
    assert!(notes.contains("no call was traced"), "{notes}");
    assert!(!exact.warnings.join("\n").contains("inferred"));
    for (report, how) in [(&exact, "socket"), (&inexact, "inferred")] {
        assert!(causes(report).all(|c| c.how.to_string() == how), "{how}");
        assert!(causes(report).count() > 0);
    }
    let own = inexact.inputs.watched.unwrap();
    assert_eq!(own.target, "process 4711 (java)");
    assert!(own.inexact.is_some() && own.no_threads.is_some());
}

#[test]
fn other_commands_take_a_watched_case() {
    let folder = zookeeper();
    let gathered = inputs::gather(&[folder.path().to_owned()], &InputOptions::default()).unwrap();
    let played = pipeline::with_case(gathered, &Settings::default(), |case, _| {
        presyn::explain::scenario::Scenario::of(case)
    });
    let played = played.unwrap();
    assert!(played.remote().count() >= 3, "the resolvers are played");
    // A log of the same run beside it says who called; nothing is counted twice.
    let log = Path::new("captures/zookeeper-three-silent/syscalls.strace");
    let both = [folder.path().to_owned(), log.to_owned()];
    let gathered = inputs::gather(&both, &InputOptions::default()).unwrap();
    let both = pipeline::report(gathered, &Settings::default());
    let asked: u64 = both.resolvers.iter().filter_map(|r| r.queries).sum();
    assert_eq!(asked, 12);
    let before = analysed(folder.path(), &Settings::default());
    let compared = presyn::explain::comparison::compare(&before, &report("zookeeper-three-silent"));
    let _ = serde_json::to_value(&compared).unwrap();
    assert!(before.best_change.is_some(), "what-if has its resolv.conf");
}

// --- made cases -----------------------------------------------------------------------------------------------------

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint::new([10, 0, 0, last].into(), port)
}

/// A made case: events in the order in which they are known.
#[derive(Default)]
struct Made {
    events: Vec<Event>,
    packets: u64,
    looks: u64,
}

impl Made {
    fn packet(&mut self, at: Timestamp, packet: Packet) {
        self.packets += 1;
        let place = Location {
            input: 0,
            number: self.packets,
        };
        let what = EventKind::Packet(packet);
        self.events.push(Event { at, place, what });
    }

    fn look(&mut self, at: Timestamp, flow: FiveTuple, whose: Option<Whose>, netns: u64) {
        let Some(whose) = whose else { return };
        self.looks += 1;
        let place = Location {
            input: 1,
            number: self.looks + 1,
        };
        let netns = Some(netns);
        let what = EventKind::Owner(Box::new(Owner { flow, whose, netns }));
        self.events.push(Event { at, place, what });
    }

    fn message(
        &mut self,
        at: Timestamp,
        flow: FiveTuple,
        (id, name): (u16, &str),
        answer: Option<u8>,
    ) {
        let response = answer.is_some();
        let addresses = answer.map(|last| [10, 9, 9, last].into());
        self.packet(
            at,
            Packet::Dns {
                flow,
                service: Service::Unicast,
                message: Box::new(Message {
                    id,
                    response,
                    opcode: 0,
                    truncated: false,
                    rcode: Rcode::NOERROR,
                    question: Some(Question {
                        name: Name(name.into()),
                        kind: Some(RecordType::A),
                        cut: false,
                    }),
                    answers: u16::from(response),
                    addresses: addresses.into_iter().collect(),
                    referral: false,
                    edns: false,
                    complete: true,
                    bytes: None,
                }),
            },
        );
    }

    fn segment(&mut self, at: Timestamp, flow: FiveTuple, (syn, ack): (bool, bool), seq: u32) {
        let flags = TcpFlags {
            syn,
            ack,
            ..TcpFlags::default()
        };
        let (seq, ack) = if ack { (1, seq + 1) } else { (seq, 0) };
        self.packet(
            at,
            Packet::Tcp {
                flow,
                flags,
                seq,
                ack,
            },
        );
    }
}

fn process(pid: u32, cookie: u64) -> Whose {
    Whose::Watched(OpenSocket {
        task: Task {
            pid: Some(pid),
            tid: None,
            comm: Some(format!("worker{pid}").into()),
        },
        fd: 7,
        cookie,
        peer: None,
        wait: None,
    })
}

fn flow(transport: Transport, src: Endpoint, dst: Endpoint) -> FiveTuple {
    FiveTuple {
        transport,
        src,
        dst,
    }
}

/// Three processes that look up and connect all day, one resolver that leaves some unanswered, and packets of which it is
/// unknown whose they are.
fn day(rounds: u32) -> Made {
    let mut made = Made::default();
    let begin = Timestamp::new(1_800_000_000, 0);
    for n in 0..rounds {
        let at = begin + Span::millis(100 * i64::from(n));
        let pid = 100 + n % 3;
        let port = u16::try_from(20_000 + n % 40_000).unwrap();
        let (id, name) = (
            u16::try_from(n % 60_000).unwrap(),
            format!("s{}.example", n % 50),
        );
        let whose = |cookie: u64| match n {
            n if n % 7 == 0 => Some(Whose::Others),
            n if n % 11 == 0 => Some(Whose::Unattributed(Unattributed::Gone)),
            n if n % 13 == 0 => None,
            _ => Some(process(pid, cookie)),
        };
        let netns = 1 + u64::from(n % 2);
        let query = flow(Transport::Udp, end(1, port), end(53, 53));
        made.look(at, query, whose(u64::from(2 * n)), netns);
        made.message(at, query, (id, &name), None);
        let silent = n % 17 == 0;
        let asked = at + Span::millis(5);
        if !silent {
            made.message(
                asked,
                query.reversed(),
                (id, &name),
                Some(u8::try_from(n % 50).unwrap()),
            );
        }
        let server = Endpoint::new([10, 9, 9, u8::try_from(n % 50).unwrap()].into(), 80);
        let tcp = flow(Transport::Tcp, end(1, port), server);
        let syn = asked + Span::millis(1);
        made.look(syn, tcp, whose(u64::from(2 * n) + 1), netns);
        made.segment(syn, tcp, (true, false), n);
        if n % 19 != 0 {
            made.segment(syn + Span::millis(2), tcp.reversed(), (true, true), n);
        }
    }
    made
}

fn setup(limits: Limits) -> EvictionSetup {
    EvictionSetup {
        dns_ports: vec![53],
        limits,
        watched: Some(watch()),
        capture: Some(CaptureFacts::default()),
        whole: true,
        ..EvictionSetup::default()
    }
}

/// The report of made events in memory of this bound, and how many of them were retained at most.
fn explained(made: &Made, limits: Limits) -> (Report, usize) {
    let mut eviction = Eviction::new(setup(limits));
    let mut held = 0;
    for event in &made.events {
        eviction.push(event.clone());
        held = held.max(eviction.retained());
    }
    let times = || {
        let packets = made.events.iter();
        let packets = packets.filter(|e| matches!(e.what, EventKind::Packet(_)));
        packets.map(|e| e.at)
    };
    let mut gathered = Gathered {
        captures: vec![CaptureFacts {
            path: "packets.pcap".into(),
            packets: made.packets,
            first: times().min(),
            last: times().max(),
            ..CaptureFacts::default()
        }],
        started: times().min(),
        one_clock: true,
        watched: Some(watch()),
        ..Gathered::default()
    };
    gathered.retain(eviction.finish());
    (pipeline::report(gathered, &Settings::default()), held)
}

/// The report in bounded memory, which must be that of all events.
fn same_report(made: &Made) -> Report {
    let (whole, all) = explained(made, Limits::ALL);
    let (mut some, held) = explained(made, Limits::BOUNDED);
    assert!(held < 45_000 && all > held, "{held} of {all}");
    assert_eq!(some.unattributed, whole.unattributed);
    for (s, w) in some.resolvers.iter_mut().zip(&whole.resolvers) {
        s.rtt_s = w.rtt_s.clone();
        s.asked_by.clone_from(&w.asked_by);
    }
    let plain = |report: &Report| {
        let mut value = serde_json::json!({
            "resolvers": report.resolvers,
            "clients": report.clients,
            "unattributed": report.unattributed,
            "summary": report.summary,
            "titles": report.findings.iter().map(|f| &f.title).collect::<Vec<_>>(),
            "first": report.delays.iter().take(500).collect::<Vec<_>>(),
        });
        without(&mut value, &["id", "lookup", "connection", "subject"]);
        value
    };
    let (a, b) = (plain(&some), plain(&whole));
    for key in [
        "resolvers",
        "clients",
        "unattributed",
        "summary",
        "titles",
        "first",
    ] {
        assert_eq!(a[key], b[key], "{key}");
    }
    some
}

/// Enough to evict twice.
const ROUNDS: u32 = 9_000;

#[test]
fn a_watched_day_is_explained_in_bounded_memory() {
    let report = same_report(&day(ROUNDS));
    let of = |why: UnattributedWhy| {
        let rows = report.unattributed.iter().filter(|row| row.why == why);
        rows.map(|row| row.queries + row.connections).sum::<usize>()
    };
    // Every round is a query and a connect; every seventh is another process's.
    let rounds =
        |test: &dyn Fn(u32) -> bool| (0..ROUNDS).filter(|n| n % 7 != 0 && test(*n)).count();
    assert_eq!(of(UnattributedWhy::Gone), 2 * rounds(&|n| n % 11 == 0));
    assert_eq!(
        of(UnattributedWhy::NotRecorded),
        2 * rounds(&|n| n % 11 != 0 && n % 13 == 0)
    );
    assert_eq!(report.clients.len(), 3, "{:?}", report.clients);
    let of_clients: u64 = report.clients.iter().map(|c| c.connects.unwrap()).sum();
    let own = rounds(&|n| n % 11 != 0 && n % 13 != 0);
    assert_eq!(of_clients, own as u64);
}

/// What was found out about packets that are not there is evicted like packets.
#[test]
fn events_without_packets_take_bounded_memory() {
    let mut made = day(200);
    let begin = made.events[0].at;
    for n in 0..100_000_u32 {
        let port = u16::try_from(1_000 + n % 60_000).unwrap();
        let query = flow(Transport::Udp, end(2, port), end(53, 53));
        let at = begin + Span::millis(i64::from(n));
        made.look(at, query, Some(process(9, u64::from(n))), 3);
    }
    made.events
        .sort_by_key(|e| (e.at, matches!(e.what, EventKind::Packet(_))));
    let (report, held) = explained(&made, Limits::BOUNDED);
    assert!(held < 60_000, "{held}");
    let (alone, _) = explained(&day(200), Limits::BOUNDED);
    assert_eq!(report.summary, alone.summary);
    assert_eq!(report.unattributed, alone.unattributed);
    assert_eq!(
        report.clients.len(),
        3,
        "a process without packets is no client"
    );
    // All at one moment, and all of one flow.
    let mut made = day(10);
    let query = flow(Transport::Udp, end(2, 4_000), end(53, 53));
    for n in 0..100_000_u32 {
        made.look(begin, query, Some(process(n, u64::from(n))), u64::from(n));
    }
    let (_, held) = explained(&made, Limits::BOUNDED);
    assert!(held < 80_000, "{held}");
}

#[test]
fn a_process_can_be_chosen() {
    let made = day(600);
    let report = |pids: Vec<u32>| {
        let mut gathered = Gathered {
            captures: vec![CaptureFacts::default()],
            one_clock: true,
            watched: Some(watch()),
            ..Gathered::default()
        };
        gathered.packets.clone_from(&made.events);
        let settings = Settings {
            pids,
            ..Settings::default()
        };
        pipeline::report(gathered, &settings)
    };
    let (all, one) = (report(Vec::new()), report(vec![101]));
    assert_eq!(all.clients.len(), 3);
    assert!(one.clients.is_empty(), "one client needs no table");
    let pids: HashSet<_> = { one.connections.iter() }
        .filter_map(|c| c.task.as_ref()?.pid)
        .collect();
    assert_eq!(pids, [101].into());
    assert_eq!(all.unattributed, one.unattributed, "those may be anybody's");
    let none = report(vec![7]);
    let said = none.warnings.join("\n");
    assert!(
        said.contains("--pid 7: no packet is of that process"),
        "{said}"
    );
}

/// What a process calls itself comes from outside.
#[test]
fn hostile_names_reach_no_terminal() {
    let name: String = "\u{1b}]0;x\u{7}\n`rm`|\u{202e}".to_owned() + &"x".repeat(100_000);
    let report = watched("first-resolver-silent", |_, sent| {
        let hostile = |whose: Whose| match whose {
            Whose::Watched(mut socket) => {
                socket.task.comm = Some(name.as_str().into());
                if let Some(wait) = &mut socket.wait {
                    wait.call = name.as_str().into();
                }
                Whose::Watched(socket)
            }
            other => other,
        };
        let all = [found(sent)].into_iter().chain(waiting(sent, "x", 1));
        all.map(hostile).collect()
    });
    let mut out = Vec::new();
    text::write(
        &report,
        text::Look {
            full: true,
            ..text::Look::default()
        },
        &mut out,
    )
    .unwrap();
    let mut marked = Vec::new();
    markdown::write(&report, &mut marked).unwrap();
    for written in [out, marked] {
        let written = String::from_utf8(written).unwrap();
        let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!written.contains(bad), "control characters");
        let longest = written.lines().map(|l| l.chars().count()).max();
        assert!(longest < Some(2_000), "{longest:?}");
    }
}

/// A query that two captures show is one, and the look at either copy is about it.
#[test]
fn a_copy_of_a_packet_has_the_owner_of_the_packet() {
    let begin = Timestamp::new(1_800_000_000, 0);
    let query = flow(Transport::Udp, end(1, 4_000), end(53, 53));
    for looked_at in [0, 20] {
        let mut made = Made::default();
        made.message(begin + Span::micros(20), query, (7, "a.example"), None);
        made.message(begin, query, (7, "a.example"), None);
        made.look(
            begin + Span::micros(looked_at),
            query,
            Some(process(100, 1)),
            1,
        );
        let mut packets = made.events;
        packets[1].place.input = 2;
        let gathered = Gathered {
            captures: [0, 2]
                .map(|input| CaptureFacts {
                    input,
                    ..CaptureFacts::default()
                })
                .into(),
            packets,
            one_clock: true,
            watched: Some(watch()),
            ..Gathered::default()
        };
        let report = pipeline::report(gathered, &Settings::default());
        let [row] = &report.resolvers[..] else {
            panic!("{:?}", report.resolvers)
        };
        assert_eq!(
            (row.origin, row.queries),
            (Origin::Watched, Some(1)),
            "{looked_at}"
        );
        assert!(report.unattributed.is_empty());
    }
}

/// Twenty seconds after its first packet a case has a connect without a delay, perhaps with its lookup; before that another
/// query.
fn quick(before: Option<Whose>, looks_up: bool) -> Report {
    let mut made = Made::default();
    let begin = Timestamp::new(1_800_000_000, 0);
    let at = |millis| begin + Span::millis(millis);
    let early = flow(Transport::Udp, end(1, 4_000), end(53, 53));
    made.look(begin, early, Some(Whose::Others), 1);
    made.message(begin, early, (1, "other.example"), None);
    let doubtful = flow(Transport::Udp, end(1, 4_001), end(53, 53));
    made.look(at(19_000), doubtful, before, 1);
    made.message(at(19_000), doubtful, (2, "cache.example"), None);
    made.message(
        at(19_001),
        doubtful.reversed(),
        (2, "cache.example"),
        Some(3),
    );
    if looks_up {
        let query = flow(Transport::Udp, end(1, 4_002), end(53, 53));
        made.look(at(20_000), query, Some(process(100, 1)), 1);
        made.message(at(20_000), query, (3, "db.example"), None);
        made.message(at(20_001), query.reversed(), (3, "db.example"), Some(1));
    }
    let server = Endpoint::new([10, 9, 9, 1].into(), 80);
    let tcp = flow(Transport::Tcp, end(1, 5_000), server);
    let syn = at(20_002);
    made.look(syn, tcp, Some(process(100, 2)), 1);
    made.segment(syn, tcp, (true, false), 7);
    made.segment(syn + Span::micros(200), tcp.reversed(), (true, true), 7);
    made.look(at(40_000), early, Some(Whose::Others), 1);
    made.message(at(40_000), early, (4, "other.example"), None);
    explained(&made, Limits::ALL).0
}

/// Nothing is vouched for in the time of what is unattributed: it may be the client's lookup.
#[test]
fn no_claim_rests_on_what_is_unattributed() {
    for (before, attributed) in [
        (Some(Whose::Others), true),
        (Some(Whose::Unattributed(Unattributed::Gone)), false),
        (None, false),
    ] {
        let looked_up = quick(before.clone(), true);
        let nothing = { looked_up.findings.iter() }.any(|f| f.id == FindingId::NothingWrong);
        assert_eq!(nothing, attributed, "{before:?}: {:?}", looked_up.summary);
        let said = quick(before.clone(), false).summary.join(" ");
        assert!(
            said.contains("Nothing before the SYN of worker100 (pid 100)"),
            "{said}"
        );
        assert_eq!(
            said.contains("no lookup of it"),
            attributed,
            "{before:?}: {said}"
        );
        assert_eq!(
            said.contains("could not be attributed"),
            !attributed,
            "{said}"
        );
    }
}

/// Numbers that are as good as random (Knuth, MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn whose(&mut self) -> Whose {
        match self.below(6) {
            0 => Whose::Others,
            1 => Whose::Unattributed(Unattributed::Gone),
            2 => Whose::Unattributed(Unattributed::Ambiguous),
            n => {
                let tid = u32::try_from(self.below(3)).unwrap();
                let pid = u32::try_from(n).unwrap();
                Whose::Watched(OpenSocket {
                    task: Task {
                        pid: (self.below(9) > 0).then_some(pid),
                        tid: (tid > 0).then_some(10 + tid),
                        comm: None,
                    },
                    fd: -1,
                    cookie: self.below(3),
                    peer: None,
                    wait: (tid > 0).then(|| ThreadWait {
                        call: "poll".into(),
                        among: u32::try_from(self.below(3)).unwrap(),
                    }),
                })
            }
        }
    }
}

/// Whatever the events say, each query and attempt is counted once: a watched process's, another's, or unattributed.
#[test]
fn each_packet_is_counted_once_whatever_the_events_say() {
    let mut watched = 0;
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut made = Made::default();
        let begin = Timestamp::new(1_800_000_000, 0);
        let (mut queries, mut syns) = (0, 0);
        for step in 0..40 {
            // Some events are far away, and the clock may step back.
            let at = match dice.below(12) {
                0 => Timestamp(i64::MAX),
                1 => Timestamp(i64::MIN),
                2 => begin - Span::seconds(5),
                n => begin + Span::millis(i64::from(step) * 100 + i64::try_from(n % 3).unwrap()),
            };
            let port = 4_000 + u16::try_from(dice.below(3)).unwrap();
            let udp = flow(Transport::Udp, end(1, port), end(53, 53));
            let tcp = flow(Transport::Tcp, end(1, port), end(9, 80));
            let of = if dice.below(2) == 0 { udp } else { tcp };
            for _ in 0..dice.below(4) {
                let whose = dice.whose();
                let of = if dice.below(8) == 0 {
                    of.reversed()
                } else {
                    of
                };
                made.look(at, of, Some(whose), dice.below(2));
            }
            if at < begin || at > begin + Span::seconds(10) {
                continue;
            }
            if of == udp {
                queries += 1;
                made.message(at, udp, (7, "a.example"), None);
            } else {
                syns += 1;
                made.segment(at, tcp, (true, false), step);
            }
        }
        let (report, _) = explained(&made, Limits::ALL);
        let asked: u64 = report.resolvers.iter().filter_map(|r| r.queries).sum();
        assert_eq!(asked, queries, "{seed}");
        assert_eq!(report.connections.len(), syns, "{seed}");
        let of = |origin: Origin| {
            let rows = report.resolvers.iter().filter(|r| r.origin == origin);
            rows.filter_map(|r| r.queries).sum::<u64>()
        };
        let unattributed: usize = report.unattributed.iter().map(|r| r.queries).sum();
        assert_eq!(of(Origin::Unattributed), unattributed as u64, "{seed}");
        assert_eq!(of(Origin::Unknown) + of(Origin::Traced), 0, "{seed}");
        let roles = |role: Role| report.connections.iter().filter(|c| c.role == role).count();
        let unattributed: usize = report.unattributed.iter().map(|r| r.connections).sum();
        assert_eq!(roles(Role::Unattributed), unattributed, "{seed}");
        let named = report
            .connections
            .iter()
            .filter(|c| c.task.is_some())
            .count();
        assert_eq!(roles(Role::Server), named, "{seed}");
        watched += of(Origin::Watched);
    }
    assert!(watched > 500, "{watched}");
}
