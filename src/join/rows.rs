//! Cases as rows of text, for tests: what happened, one event a line, and what the join made of it.
//!
//! ```text
//! TIME call FD socket udp|tcp|unix                 TIME packet SRC DST query ID TYPE NAME
//! TIME call FD connect ADDR|PATH [ERROR] [SECONDS] TIME packet SRC DST answer ID TYPE NAME [ADDRESS|RCODE|tc]
//! TIME call FD local ADDR                          TIME packet SRC DST syn|synack|ack|rst|reset SEQ
//! TIME call FD send ID TYPE NAME [ADDR]            TIME icmp SRC DST ID TYPE NAME
//! TIME call FD recv ID TYPE NAME [ADDRESS|RCODE]   TIME call FD wait SECONDS [ready|READY] | close | uring
//! TIME call FD so_error [ERROR]                    TIME life PID exited | forked PARENT | cpu SECONDS
//! conf LINE                                        dropped COUNT [FROM UNTIL]
//! forgotten FIRST FORGOTTEN [UNTIL]                watched exact|inexact
//! TIME owner SRC DST udp|tcp others|gone|ambiguous|unreadable|not_looked_up
//! TIME owner SRC DST udp|tcp PID COMM COOKIE [TID CALL AMONG]
//! ```
//!
//! Times are seconds. `icmp/local` is an error of the client's own host. `call/TID` is another thread's call, `call/PID/TID` another process's. `SEQ` is the SYN's. A wait
//! times out, unless the descriptor was ready then (`ready`, without a timeout), or so many seconds after it began.
//! Several addresses have commas between them. `conf` is a line of resolv.conf(5); without any there is none. The kernel
//! dropped so many packets of the capture, at any time or at that one. A connection attempt was evicted whose first SYN left
//! then; it was forgotten then, and more of it may come until then. Without the last time it was a query. `watched`: processes
//! were, and `owner` is what was found out about whose a packet is.

use super::connect::{Connection, Ending};
use super::owners::Owners;
use super::{Cause, Evidence, Id, Joined, Origin, Query, State, join};
use crate::coverage::Coverage;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::dns::{self, Name, Question, Rcode, RecordType};
use crate::event::{
    Address, Call, CallOutcome, Event, EventKind, Fd, IcmpKind, Lifecycle, LifecycleChange,
    Location, Op, OpenSocket, Owner, Packet, Quote, Service, SocketFamily, SocketKind, SocketType,
    Task, TcpFlags, ThreadWait, Transfer, Unattributed, Whose,
};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::input::drops::{DropSpan, DropTimes};
use crate::input::watched::Watched;
use crate::input::{CaptureFacts, TraceClock, TraceFacts, VisibleSyscalls};
use crate::time::{Span, Timestamp};
use crate::timetable::glibc;
use crate::totals::forgotten::{Forgotten, ForgottenAttempt};
use std::net::{IpAddr, SocketAddr};
use std::ops::Add;
use std::sync::Arc;

/// The inputs of one case.
pub struct Rows {
    pub events: Vec<Event>,
    captures: Vec<CaptureFacts>,
    traces: Vec<TraceFacts>,
    tolerance: Span,
    coverage: Coverage,
    owners: Owners,
    /// resolv.conf, where the case has it.
    pub conf: Option<ResolvConf>,
}

/// Whose capture the packets are from.
#[derive(Clone, Copy, PartialEq)]
enum Taken {
    /// A live run's: it holds all that the client sent from beginning to end.
    ByUs,
    /// Another program's: it shows what happened between its first packet and its last.
    Elsewhere,
}

impl Rows {
    /// Reads rows; blank lines and those after `#` are left out. The packets are a live run's.
    pub fn read(text: &str) -> Self {
        Self::of(text, Taken::ByUs)
    }

    /// The same, of a capture by another program.
    pub fn read_foreign(text: &str) -> Self {
        Self::of(text, Taken::Elsewhere)
    }

    fn of(text: &str, taken: Taken) -> Self {
        let lines = text
            .lines()
            .map(|l| l.split('#').next().unwrap_or("").trim());
        let (conf, rows): (Vec<&str>, Vec<&str>) = lines
            .filter(|l| !l.is_empty())
            .partition(|l| l.starts_with("conf "));
        let (facts, rows): (Vec<&str>, Vec<&str>) =
            rows.into_iter().partition(|l| l.starts_with("dropped "));
        let (evicted, rows): (Vec<&str>, Vec<&str>) =
            rows.into_iter().partition(|l| l.starts_with("forgotten "));
        let (watch, rows): (Vec<&str>, Vec<&str>) =
            rows.into_iter().partition(|l| l.starts_with("watched "));
        let watched = watch.first().map(|l| watched(&l["watched ".len()..]));
        let mut forgotten = Forgotten::default();
        for line in evicted {
            forget(&mut forgotten, line);
        }
        let drops: Vec<(u64, Option<DropSpan>)> = facts.iter().map(|l| drops(l)).collect();
        let mut drop_times = DropTimes::default();
        for span in drops.iter().filter_map(|(_, span)| *span) {
            drop_times.add(span);
        }
        let conf: Vec<&str> = conf.iter().map(|l| &l["conf ".len()..]).collect();
        let mut events: Vec<Event> = rows.into_iter().map(row).collect();
        events.sort_by_key(|e| e.at);
        for (n, event) in events.iter_mut().enumerate() {
            event.place.number = n as u64 + 1;
        }
        let times = |packets: bool| {
            let is_owner = |e: &&Event| matches!(e.what, EventKind::Owner(_));
            let of = events.iter().filter(move |e| !is_owner(e));
            let of = of.filter(move |e| matches!(e.what, EventKind::Packet(_)) == packets);
            of.map(|e| e.at)
        };
        let captures = times(true).next().map(|first| CaptureFacts {
            path: "capture".into(),
            first: Some(first),
            last: times(true).next_back(),
            dropped: drops.iter().map(|(packets, _)| *packets).reduce(Add::add),
            drop_times: drop_times.clone(),
            ..CaptureFacts::default()
        });
        let traces = times(false).next().map(|_| strace());
        let both = captures.is_some() && traces.is_some();
        let captures: Vec<CaptureFacts> = captures.into_iter().collect();
        let traces: Vec<TraceFacts> = traces.into_iter().collect();
        let coverage = Coverage::of(&captures, &traces, &events, (taken == Taken::ByUs, &[53]));
        let owners = Owners::of(&events, watched.as_ref(), &[53]);
        let coverage = coverage.unattributed(owners.unattributed(&events));
        Self {
            coverage: coverage.forgetting(&forgotten),
            owners,
            captures,
            traces,
            tolerance: if both { Span::millis(1) } else { Span::ZERO },
            conf: (!conf.is_empty()).then(|| ResolvConf::parse(&conf.join("\n"))),
            events,
        }
    }

    /// What the join reads: what resolv.conf says, or its defaults.
    pub fn evidence(&self) -> Evidence<'_> {
        let told = self.conf.as_ref();
        let options = told.map_or_else(Default::default, |c| c.options_with(&[]));
        let patience = glibc::patience(&options);
        Evidence {
            events: &self.events,
            captures: &self.captures,
            traces: &self.traces,
            coverage: &self.coverage,
            dns_ports: &[53],
            tolerance: self.tolerance,
            search: told.map_or(&[], |c| &c.search),
            patience: Span::seconds(patience.timeout),
            attempts: patience.attempts,
            evicted: 0,
            owners: &self.owners,
        }
    }

    pub fn join(&self) -> Joined {
        join(&self.evidence())
    }

    /// Every query in a row: `TYPE NAME SENT-UNTIL RESOLVER STATE CAUSE`.
    pub fn queries(&self) -> Vec<String> {
        self.join().queries.iter().map(query).collect()
    }

    /// The cause of every query in a row: `SENT how CALL`, as `FILE:N` counts rows.
    pub fn causes(&self) -> Vec<String> {
        let joined = self.join();
        let queries = joined.queries.iter();
        queries
            .map(|q| {
                format!(
                    "{} {} {}",
                    seconds(q.sent),
                    q.resolver,
                    cause(q.cause, q.origin)
                )
            })
            .collect()
    }

    /// Every connection in a row: `TO BEGAN ENDING SYNS CAUSE`, with the time of the end where it is known, and how many
    /// of the SYNs were sent again.
    pub fn connections(&self) -> Vec<String> {
        self.join().connections.iter().map(connection).collect()
    }

    /// Every lookup in a row: `NAME BEGAN-ENDED OUTCOME QUERIES ADDRESSES`.
    pub fn lookups(&self) -> Vec<String> {
        let joined = self.join();
        let lookups = joined.lookups.iter();
        lookups
            .map(|l| {
                let (from, to) = (seconds(l.began), seconds(l.ended));
                let outcome = format!("{:?}", l.outcome).to_lowercase();
                format!("{} {from}-{to} {outcome} {}", l.name, l.queries.len())
            })
            .collect()
    }
}

/// The facts of a whole log of strace that shows waits.
fn strace() -> TraceFacts {
    TraceFacts {
        writer: crate::report::TraceWriter::Strace,
        path: "trace".into(),
        input: 1,
        style: String::new(),
        calls: 0,
        skipped_lines: 0,
        unread_connects: 0,
        ended_times: false,
        unreadable_addresses: 0,
        from_start: true,
        clock: TraceClock::Epoch {
            resolution: Span(1),
        },
        sees: VisibleSyscalls {
            waits: true,
            ..VisibleSyscalls::default()
        },
        warnings: Vec::new(),
        damaged: false,
    }
}

fn connection(c: &Connection) -> String {
    let ending = match c.outcome {
        Ending::Connected => "connected",
        Ending::Refused => "refused",
        Ending::Unreachable => "unreachable",
        Ending::TimedOut(_) => "timed out",
        Ending::NoSyn(_) => "no SYN left",
        Ending::Open(_) => "open",
    };
    let ended = c
        .ended
        .map_or(String::new(), |at| format!(" at {}", seconds(at)));
    let began = c.began().map_or("-".into(), seconds);
    let (syns, repeats) = (c.syns.len(), c.repeats);
    let cause = cause(c.cause, c.origin);
    format!(
        "{} {began} {ending}{ended}, {syns} SYN {repeats} again, {cause}",
        c.to
    )
}

/// `how CALL`, as calls are rows; whose it is where no call is known.
fn cause(cause: Option<Cause>, origin: Origin) -> String {
    let Some(cause) = cause else {
        return format!("{origin:?}").to_lowercase();
    };
    let call = cause
        .call
        .map_or("-".into(), |c| (c.position() + 1).to_string());
    format!("{:?} {call}", cause.how).to_lowercase()
}

fn query(q: &Query) -> String {
    let state = match &q.state {
        State::Answered(a) if a.late => format!("late at {}", seconds(a.at)),
        State::Answered(a) => format!("answered at {}", seconds(a.at)),
        State::NotReceived(a, _) => format!("not received at {}", seconds(a.at)),
        State::Unanswered(silence) => silence.refusal().map_or("unanswered".into(), |r| {
            format!("refused at {}", seconds(r.at))
        }),
        State::Open(_) => "open".into(),
        State::Unseen => "unseen".into(),
        State::NeverSent(_) => "never sent".into(),
    };
    let (sent, until) = (seconds(q.sent), seconds(q.until));
    format!("{} {sent}-{until} {} {state}", q.question, q.resolver)
}

fn seconds(at: Timestamp) -> String {
    format!("{}", at.0 as f64 / 1e9)
}

/// `dropped COUNT [FROM UNTIL]`.
fn drops(line: &str) -> (u64, Option<DropSpan>) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let packets = words[1].parse().unwrap();
    let time = |word: &str| Timestamp(nanoseconds(word));
    let span = (words.len() == 4).then(|| DropSpan {
        packets,
        from: time(words[2]),
        until: time(words[3]),
    });
    (packets, span)
}

/// `exact` or `inexact`.
fn watched(word: &str) -> Watched {
    Watched {
        target: "process 4711 (java)".into(),
        netns: Some(1),
        inexact: (word == "inexact").then(|| "no destroy events".into()),
        ..Watched::default()
    }
}

/// `SRC DST udp|tcp WHOSE`.
fn owner(words: &[&str]) -> Owner {
    Owner {
        flow: FiveTuple {
            transport: match words[2] {
                "udp" => Transport::Udp,
                _ => Transport::Tcp,
            },
            src: endpoint(words[0]),
            dst: endpoint(words[1]),
        },
        netns: None,
        whose: match words[3..] {
            ["others"] => Whose::Others,
            ["gone"] => Whose::Unattributed(Unattributed::Gone),
            ["ambiguous"] => Whose::Unattributed(Unattributed::Ambiguous),
            ["unreadable"] => Whose::Unattributed(Unattributed::Unreadable),
            ["not_looked_up"] => Whose::Unattributed(Unattributed::NotLookedUp),
            [pid, comm, cookie, ref wait @ ..] => Whose::Watched(OpenSocket {
                task: Task {
                    pid: pid.parse().ok(),
                    tid: wait.first().map(|tid| tid.parse().unwrap()),
                    comm: Some(comm.into()),
                },
                fd: 5,
                cookie: cookie.parse().unwrap(),
                peer: None,
                wait: (wait.len() == 3).then(|| ThreadWait {
                    call: wait[1].into(),
                    among: wait[2].parse().unwrap(),
                }),
            }),
            _ => panic!("{words:?}"),
        },
    }
}

fn forget(all: &mut Forgotten, line: &str) {
    let times = line.split_whitespace().skip(1);
    let times: Vec<Timestamp> = times.map(|t| Timestamp(nanoseconds(t))).collect();
    match times[..] {
        [sent, forgotten] => all.query(sent, forgotten),
        [first, forgotten, until] => all.attempt(ForgottenAttempt {
            first,
            forgotten,
            until,
        }),
        _ => panic!("{line}"),
    }
}

/// Seconds with at most nine decimals, in nanoseconds.
fn nanoseconds(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<9}").parse().unwrap()
}

fn row(line: &str) -> Event {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = Timestamp(nanoseconds(words[0]));
    let mut kind = words[1].split('/');
    let what = match kind.next().unwrap() {
        "packet" => EventKind::Packet(packet(&words[2..])),
        "owner" => EventKind::Owner(Box::new(owner(&words[2..]))),
        "icmp" => EventKind::Packet(icmp(&words[2..], kind.next() == Some("local"))),
        "call" => {
            let ids: Vec<u32> = kind.map(|id| id.parse().unwrap()).collect();
            let (pid, tid) = match ids[..] {
                [] => (100, 100),
                [tid] => (100, tid),
                _ => (ids[0], ids[1]),
            };
            EventKind::Call(Box::new(call(at, pid, tid, &words[2..])))
        }
        "life" => {
            let id = words[2].parse().unwrap();
            EventKind::Life(Box::new(Lifecycle {
                task: task(id, id),
                change: match words[3] {
                    "exited" => LifecycleChange::Exited(0),
                    "cpu" => LifecycleChange::CpuTime(Span(nanoseconds(words[4]))),
                    _ => LifecycleChange::Forked {
                        parent: Some(words[4].parse().unwrap()),
                        thread: Some(false),
                    },
                },
            }))
        }
        other => panic!("{other}: {line}"),
    };
    Event {
        at,
        place: Location::default(),
        what,
    }
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

/// `ID TYPE NAME [ADDRESS|RCODE|tc]`; the type `?` and the name `?` are cut off.
fn message(words: &[&str], response: bool) -> dns::Message {
    let kind = match words[1] {
        "A" => Some(RecordType::A),
        "AAAA" => Some(RecordType::AAAA),
        "PTR" => Some(RecordType::PTR),
        _ => None,
    };
    let result = words.get(3).copied().unwrap_or("");
    let addresses = result.split(',').filter_map(|a| a.parse().ok());
    let addresses: Arc<[IpAddr]> = addresses.collect();
    dns::Message {
        id: words[0].parse().unwrap(),
        response,
        opcode: 0,
        truncated: result == "tc",
        rcode: match result {
            "nxdomain" => Rcode::NXDOMAIN,
            "servfail" => Rcode::SERVFAIL,
            _ => Rcode::NOERROR,
        },
        question: Some(Question {
            name: Name(words[2].into()),
            kind,
            cut: kind.is_none(),
        }),
        answers: addresses.len().try_into().unwrap(),
        addresses,
        edns: false,
        referral: false,
        complete: true,
        bytes: None,
    }
}

fn packet(words: &[&str]) -> Packet {
    let dns = matches!(words[2], "query" | "answer");
    let flow = FiveTuple {
        transport: if dns { Transport::Udp } else { Transport::Tcp },
        src: endpoint(words[0]),
        dst: endpoint(words[1]),
    };
    if dns {
        let unicast = flow.src.port == 53 || flow.dst.port == 53;
        return Packet::Dns {
            flow,
            service: if unicast {
                Service::Unicast
            } else {
                Service::Candidate
            },
            message: Box::new(message(&words[3..], words[2] == "answer")),
        };
    }
    let number: u32 = words[3].parse().unwrap();
    let flags = TcpFlags {
        syn: words[2].starts_with("syn"),
        ack: !["syn", "reset"].contains(&words[2]),
        rst: words[2].starts_with('r'),
        fin: false,
    };
    let next = number + 1;
    let (seq, ack) = match words[2] {
        "syn" => (number, 0),
        // The client acknowledges what the server began with, 0.
        "ack" => (next, 1),
        // The client has no socket for what acknowledged its SYN.
        "reset" => (next, 0),
        _ => (0, next),
    };
    Packet::Tcp {
        flow,
        flags,
        seq,
        ack,
    }
}

/// About a query from `SRC` to `DST`: port unreachable, or what the host of the client sends to itself.
fn icmp(words: &[&str], local: bool) -> Packet {
    let flow = FiveTuple {
        transport: Transport::Udp,
        src: endpoint(words[0]),
        dst: endpoint(words[1]),
    };
    let quoted = message(&words[2..], false);
    Packet::Icmp {
        from: if local { flow.src.ip } else { flow.dst.ip },
        to: flow.src.ip,
        kind: if local {
            IcmpKind::HostUnreachable
        } else {
            IcmpKind::PortUnreachable
        },
        quote: Some(Box::new(Quote {
            flow,
            seq: None,
            dns_id: Some(quoted.id),
            question: quoted.question,
        })),
    }
}

fn task(pid: u32, tid: u32) -> Task {
    Task {
        pid: Some(pid),
        tid: Some(tid),
        comm: None,
    }
}

fn call(at: Timestamp, pid: u32, tid: u32, words: &[&str]) -> Call {
    let (outcome, exited) = result(at, words);
    Call {
        task: task(pid, tid),
        exited: Some(exited),
        outcome,
        op: operation(words),
    }
}

/// What came of a call, and when.
fn result(at: Timestamp, words: &[&str]) -> (CallOutcome, Timestamp) {
    let (mut outcome, mut exited) = (CallOutcome::Returned(0), at);
    match (words[1], &words[2..]) {
        ("connect", [_, rest @ ..]) => {
            for word in rest {
                if word.starts_with('E') {
                    outcome = CallOutcome::Failed((*word).into());
                } else {
                    exited = at + Span(nanoseconds(word));
                }
            }
        }
        ("wait", [timeout, ready @ ..]) => {
            let lasted = match ready {
                [] | ["ready"] => timeout,
                [after, ..] => after,
            };
            exited = at + Span(nanoseconds(lasted));
            outcome = CallOutcome::Returned((!ready.is_empty()).into());
        }
        _ => {}
    }
    (outcome, exited)
}

/// What a call asked for.
fn operation(words: &[&str]) -> Op {
    let fd = Fd::bare(words[0].parse().unwrap());
    let address = |word: &str| {
        if word.starts_with('/') {
            Address::Unix(word.into())
        } else {
            Address::Inet(endpoint(word))
        }
    };
    let rest = &words[2..];
    match words[1] {
        "socket" => Op::Socket {
            kind: SocketKind {
                family: match rest[0] {
                    "unix" => SocketFamily::Unix,
                    _ => SocketFamily::Inet,
                },
                style: match rest[0] {
                    "tcp" | "unix" => SocketType::Stream,
                    _ => SocketType::Datagram,
                },
            },
            fd,
        },
        "connect" => Op::Connect {
            fd,
            to: address(rest[0]),
        },
        "local" => Op::LocalName {
            fd,
            local: address(rest[0]),
        },
        "send" => Op::Send {
            fd,
            messages: datagram(rest, false),
        },
        "recv" => Op::Receive {
            fd,
            messages: datagram(rest, true),
        },
        "wait" => {
            let ready = rest.get(1);
            let without_end = ready == Some(&"ready");
            Op::Wait {
                ready: Vec::from_iter(ready.map(|_| fd.number)),
                fds: vec![fd],
                timeout: (!without_end).then(|| Span(nanoseconds(rest[0]))),
            }
        }
        "so_error" => Op::SocketError {
            fd,
            error: rest.first().map(|error| (*error).into()),
        },
        "close" => Op::Close { fd },
        "uring" => Op::IoUring,
        other => panic!("{other}"),
    }
}

/// One message; a query may name its address at the end.
fn datagram(words: &[&str], response: bool) -> Vec<Transfer> {
    let peer = words.get(3).filter(|w| !response && w.contains(':'));
    let words = &words[..words.len() - usize::from(peer.is_some())];
    vec![Transfer {
        peer: peer.map(|w| endpoint(w)),
        length: 40,
        taken: true,
        dns: vec![message(words, response)],
        local: None,
    }]
}
