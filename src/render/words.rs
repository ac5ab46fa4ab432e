//! Words that the formats for people share: durations, parties, tasks, lines of the account. Everything here is
//! [`escape`]d already.

pub mod comparison;

use super::safe::escape;
use crate::explain::comparison::PartKind;
use crate::explain::words::drop_times;
use crate::report::subjects::Subjects;
use crate::report::{
    Caller, Capture, Client, Connection, ConnectionOutcome, Delay, Entry, EntryKind, Finding,
    LeftOutWhy, Lost, Origin, PacketKind, QueryState, Report, Resolver, Task, TraceWriter,
    Transport,
};
use crate::shell;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

/// The sentences of a remedy, and the command on its second line, which must not be wrapped: pasted in two parts, its
/// second part would be a command of its own.
pub fn remedy(remedy: &str) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    match remedy.split_once('\n') {
        Some((sentences, command)) => (escape(sentences), Some(escape(command))),
        None => (escape(remedy), None),
    }
}

/// Seconds as a person reads them, with a unit.
pub fn seconds(value: f64) -> String {
    let size = value.abs();
    if size >= 9.95 {
        format!("{value:.1} s")
    } else if size >= 0.995 {
        format!("{value:.2} s")
    } else if size >= 0.000_999_5 {
        let ms = value * 1e3;
        if size >= 0.0995 {
            format!("{ms:.0} ms")
        } else {
            format!("{ms:.1} ms")
        }
    } else if size > 0.0 {
        format!("{:.0} µs", value * 1e6)
    } else {
        "0 s".into()
    }
}

/// What a finding cost, behind its title: ` (5.00 s)`, or ` (5.00 s, 15.0 s in all)`.
pub fn cost(finding: &Finding) -> String {
    match (finding.seconds, finding.total_seconds) {
        (Some(s), Some(all)) if seconds(all) != seconds(s) => {
            format!(" ({}, {} in all)", seconds(s), seconds(all))
        }
        (Some(s), _) => format!(" ({})", seconds(s)),
        (None, _) => String::new(),
    }
}

/// A finding whose seconds are those of another one.
pub fn same_seconds(finding: &Finding) -> String {
    format!("Same time: {} [{}]", escape(&finding.title), finding.id)
}

/// When and where it was, and what ran; empty where the inputs do not tell.
pub fn heading(report: &Report) -> String {
    let started = report.started.as_deref().and_then(|t| t.get(..19));
    let started = started.map(|t| format!("{} UTC", escape(t).replacen('T', " ", 1)));
    let (host, command) = report.run.as_ref().map_or((None, None), |run| {
        let words = run.command.iter().map(|word| shell::word(word));
        let command = words.collect::<Vec<_>>().join(" ");
        (Some(run.host.clone()), Some(shortened(command)))
    });
    let rest = [host, command].into_iter().flatten();
    let rest = rest.map(|text: String| escape(&text).into_owned());
    started
        .into_iter()
        .chain(rest)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A command that need not fill the screen.
fn shortened(command: String) -> String {
    const MOST: usize = 200;
    match command.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} …", &command[..at]),
        None => command,
    }
}

/// What the brief report leaves out: of lookups and connections the full one shows so many.
pub fn rest(report: &Report, notes: usize, shown: usize) -> String {
    let lookups = report.lookups.len() + report.omitted.lookups;
    let connections = report.connections.len() + report.omitted.connections;
    let some = |all: usize, one: &str, many: &str| {
        if all > shown {
            format!("{shown} of {all} {many}")
        } else {
            format!("every {one}")
        }
    };
    let is_cut = lookups.max(connections) > shown;
    let mut parts = if is_cut {
        vec![
            some(lookups, "lookup", "lookups"),
            some(connections, "connection", "connections"),
            "every input".into(),
        ]
    } else {
        vec!["every lookup, connection and input".into()]
    };
    if report.findings.iter().any(|f| f.same_seconds_as.is_some()) {
        parts.push("all remedies".into());
    }
    let more = report.warnings.len().saturating_sub(notes);
    let more = match more {
        0 => String::new(),
        1 => " and 1 more note".into(),
        n => format!(" and {n} more notes"),
    };
    let all = if is_cut {
        " --format json --all has all of them."
    } else {
        ""
    };
    format!("--full has {}{more}.{all}", parts.join(", "))
}

/// What all subjects together lost, as a heading and rows of seconds and words; nothing where that is too little to matter.
pub fn totals(report: &Report, shown: usize) -> Option<(String, Vec<(String, String)>)> {
    let totals = report.totals.as_ref().filter(|t| t.lost_s >= MATTERS_S)?;
    let least = if totals.at_least { "at least " } else { "" };
    let head = format!(
        "Lost in all: {least}{} in {} connections and lookups, each second once",
        seconds(totals.lost_s),
        totals.subjects
    );
    let row = |lost: &Lost| {
        let what = lost.what.strip_suffix(":53").unwrap_or(&lost.what);
        let of = match lost.subjects {
            n if n == totals.subjects => "in all of them".to_owned(),
            n => format!("in {n} of them"),
        };
        (seconds(lost.lost_s), format!("{}, {of}", escape(what)))
    };
    let parties = totals.parties.iter().take(shown.min(TOTALS_SHOWN));
    let names = totals.names.iter().take(shown.min(TOTALS_SHOWN));
    let rows = parties.chain(names).filter(|l| l.lost_s >= MATTERS_S);
    let rows: Vec<_> = rows.map(row).collect();
    (!rows.is_empty()).then_some((head, rows))
}

/// Less lost time than this is not worth a block of its own.
const MATTERS_S: f64 = 0.1;
/// How many resolvers and names of the totals are shown each.
const TOTALS_SHOWN: usize = 4;

/// Seconds, or a dash where they are not known.
pub fn known_seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), seconds)
}

/// A count, or a dash where it is not known.
pub fn known_count(value: Option<u64>) -> String {
    value.map_or_else(|| "-".into(), |n| n.to_string())
}

/// A party without port 53, which goes without saying.
pub fn party(party: &str) -> String {
    let party = escape(party);
    match party.strip_suffix(":53") {
        // Of an IPv6 address; other brackets are part of a word that stands for one.
        Some(host) if host.contains(':') => host.trim_matches(['[', ']']).to_owned(),
        Some(host) => host.to_owned(),
        None => party.into_owned(),
    }
}

/// A line of the account in words.
pub struct Spent {
    /// Whom it was charged to; empty where it is no party's.
    pub party: String,
    /// What the party did.
    pub what: &'static str,
    /// `4 queries PTR`; empty without queries.
    pub asked: String,
}

/// What an entry of the account was spent on.
pub fn spent(entry: &Entry) -> Spent {
    let count = match entry.queries {
        None | Some(0) => String::new(),
        Some(1) => "1 query".into(),
        Some(n) => format!("{n} queries"),
    };
    let kind = entry
        .question
        .as_deref()
        .and_then(|q| q.split(' ').next())
        .filter(|kind| *kind != "?")
        .map(escape)
        .unwrap_or_default();
    Spent {
        party: entry.party.as_deref().map(party).unwrap_or_default(),
        what: match (entry.kind.into(), entry.start_up) {
            (PartKind::Running, false) => "program busy or sleeping (not waiting for network)",
            (kind, start_up) => what(kind, start_up),
        },
        asked: format!("{count} {kind}").trim().to_owned(),
    }
}

/// A kind of entry in words, short enough for a column.
pub fn what(kind: PartKind, start_up: bool) -> &'static str {
    match kind {
        PartKind::ResolverSilent => "silent",
        PartKind::AnswerNotReceived => "not received",
        PartKind::ResolverAnswer => "answered",
        PartKind::SearchDomains => "no such name",
        PartKind::ResolverRefused => "refused",
        PartKind::ResolverUnreachable => "unreachable",
        PartKind::ResolverTcp => "DNS over TCP",
        PartKind::NameService => "name service",
        PartKind::SocketWait => "waited for (other socket)",
        PartKind::AddressResolution => "waited for ARP or ND",
        PartKind::MulticastName => "asked by multicast",
        PartKind::Quic => "tried QUIC",
        PartKind::AttemptFailed => "not connected",
        PartKind::Running if start_up => "starting up",
        PartKind::Running => "program busy or sleeping",
        PartKind::Unexplained => "not explained",
        PartKind::AfterSyn => "SYN sent, waiting for the server",
    }
}

/// What became of a query, in a word or two.
pub fn state(state: QueryState) -> &'static str {
    match state {
        QueryState::NeverSent => "never sent",
        QueryState::NotReceived => "not received",
        QueryState::Answered
        | QueryState::Late
        | QueryState::Unanswered
        | QueryState::Refused
        | QueryState::Open => state.name(),
    }
}

/// How a connection attempt ended.
pub fn outcome(outcome: Option<ConnectionOutcome>) -> &'static str {
    outcome.map_or("outcome not known", ConnectionOutcome::name)
}

/// The heading of a delay breakdown.
pub fn where_time_went(delay: &Delay) -> String {
    match delay.since_start_s {
        Some(whole) if delay.at_least => format!("Where at least {} went", seconds(whole)),
        Some(whole) => format!("Where the {} went", seconds(whole)),
        None => "Where the time went (its length is not known)".into(),
    }
}

/// What happened after the SYN.
pub fn after(report: &Report, delay: &Delay) -> Option<String> {
    let c = report
        .connections
        .iter()
        .find(|c| Some(&c.id) == delay.connection.as_ref())?;
    let syns = c.syns.unwrap_or(0);
    let repeats = match c.retransmissions.unwrap_or(0) {
        0 => String::new(),
        n => format!(", {n} retransmitted"),
    };
    let outcome = outcome(c.outcome);
    let how = match (syns, delay.after_syn_s) {
        (0, took) => match c.outcome {
            Some(ConnectionOutcome::Connected) => took.map_or_else(
                || "connected".into(),
                |s| format!("connected in {}", seconds(s)),
            ),
            Some(ConnectionOutcome::NoSyn) => "no SYN left the host".into(),
            _ => format!("connect: {outcome}"),
        },
        (_, Some(s)) => format!("SYN{repeats}, {outcome} in {}", seconds(s)),
        (_, None) => format!("SYN{repeats}, {outcome}"),
    };
    Some(match first_data(c) {
        Some(data) => format!("{how}; {data}"),
        None => how,
    })
}

/// Sooner is not worth a word.
const SLOW_DATA: f64 = 0.1;

/// When the first data followed a handshake, where that took long.
fn first_data(c: &Connection) -> Option<String> {
    let (client, server) = (c.client_data_s, c.server_data_s);
    let worth = |s: &f64| *s >= SLOW_DATA;
    match (client, server) {
        // It answers what the client sent.
        (Some(client), Some(server)) if server >= client => {
            let answer = server - client;
            if client < SLOW_DATA && answer < SLOW_DATA {
                return None;
            }
            Some(format!(
                "the client's first data {} later, the server's {} after that",
                seconds(client),
                seconds(answer)
            ))
        }
        (_, Some(server)) if worth(&server) => {
            Some(format!("the server's first data {} later", seconds(server)))
        }
        (Some(client), None) if worth(&client) => {
            Some(format!("the client's first data {} later", seconds(client)))
        }
        _ => None,
    }
}

/// A task as strace users know it.
pub fn task(task: &Task) -> String {
    let mut words = Vec::new();
    if let Some(comm) = &task.comm {
        words.push(escape(comm).into_owned());
    }
    match (task.pid, task.tid) {
        (Some(pid), Some(tid)) if pid != tid => words.push(format!("pid {pid}, tid {tid}")),
        (_, Some(tid)) | (Some(tid), None) => words.push(format!("tid {tid}")),
        (None, None) => {}
    }
    words.join(" ")
}

/// The task whose delay it is; empty where nobody knows.
pub fn who(report: &Report, delay: &Delay) -> String {
    let lookup = || {
        report
            .lookups
            .iter()
            .find(|l| Some(&l.id) == delay.lookup.as_ref())
    };
    let (task, host) = match &delay.connection {
        Some(id) => {
            let connection = report.connections.iter().find(|c| c.id == *id);
            (
                connection.and_then(|c| c.task.as_ref()),
                connection.and_then(|c| c.from.clone()),
            )
        }
        None => (
            lookup().and_then(|l| l.tasks.first()),
            lookup().and_then(|l| l.from.clone()),
        ),
    };
    task.map(self::task).or(host).unwrap_or_default()
}

/// A row of the client table: a process that was watched, else a host.
pub fn client(client: &Client) -> String {
    let process = client
        .task
        .as_ref()
        .and_then(|task| Some((task, task.pid?)));
    match process {
        Some((task, pid)) => match &task.comm {
            Some(comm) => format!("{} (pid {pid})", escape(comm)),
            None => format!("pid {pid}"),
        },
        None => escape(&client.address).into_owned(),
    }
}

/// A resolver's name: address, the port when it is not 53, the transport when it is not UDP.
pub fn resolver(r: &Resolver) -> String {
    resolver_name(&r.address, r.port, r.transport)
}

fn resolver_name(address: &str, port: u16, transport: Transport) -> String {
    let port = if port == 53 {
        String::new()
    } else {
        format!(" port {port}")
    };
    let tcp = over(transport);
    format!("{}{port}{tcp}", escape(address))
}

/// The transport behind a resolver's name: UDP goes without saying.
pub fn over(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => " tcp",
    }
}

/// How long clients waited for a resolver; a dash for one that only other processes asked, for which no traced
/// process waited.
pub fn resolver_waited(r: &Resolver) -> String {
    match r.origin {
        Origin::Untraced | Origin::Unattributed => "-".into(),
        Origin::Traced | Origin::Watched | Origin::Unknown => known_seconds(r.waited_s),
    }
}

/// What the columns of the resolver table do not say.
pub fn resolver_notes(r: &Resolver) -> String {
    let mut notes: Vec<String> = Vec::new();
    let never_sent = match r.origin {
        Origin::Unknown | Origin::Watched | Origin::Unattributed => {
            "known from ICMP errors alone: no packet left"
        }
        Origin::Traced | Origin::Untraced => "sent by calls, but no packet left",
    };
    for (count, what) in [
        (r.never_sent, never_sent),
        (r.refused, "refused"),
        (r.late, "answered too late"),
        (r.not_received, "answered, but not received by the client"),
    ] {
        if let Some(n) = count.filter(|n| *n > 0) {
            notes.push(format!("{n} {what}"));
        }
    }
    let codes = r.rcodes.iter().filter(|(code, _)| *code != "NOERROR");
    notes.extend(codes.map(|(code, n)| format!("{n} {}", escape(code))));
    match r.origin {
        Origin::Untraced => notes.push("asked by other processes".into()),
        Origin::Unattributed => notes.push("unattributed".into()),
        Origin::Traced | Origin::Watched | Origin::Unknown => {}
    }
    notes.join(", ")
}

/// Who made the calls, as a sentence; the hint only where it was not told before.
pub fn caller(caller: &Caller, hint: Option<&str>) -> String {
    let mut text = caller.words.clone();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let sentence = match hint {
        Some(hint) => format!("{text}; {hint}."),
        None => format!("{text}."),
    };
    escape(&sentence).into_owned()
}

/// Accounts of one server or name.
pub struct Others<'a> {
    /// The server or name.
    pub what: String,
    /// The slowest of them.
    pub slowest: &'a Delay,
    /// How many they are.
    pub count: usize,
}

impl Others<'_> {
    /// What the slowest spent most on.
    pub fn why(&self) -> String {
        let entries = self.slowest.entries.iter();
        let known = |e: &Entry| e.seconds.unwrap_or(0.0);
        let Some(worst) = entries.max_by(|a, b| known(a).total_cmp(&known(b))) else {
            return String::new();
        };
        let Spent { party, what, asked } = spent(worst);
        let why = format!("{party} {what} {asked}");
        why.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The accounts beside the first, one group for each server or name, the slowest first.
pub fn others(report: &Report) -> Vec<Others<'_>> {
    let subjects = Subjects::new(report);
    let mut groups: Vec<Others> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    // Where a connect begins its own account, nothing before it is known: the list of connections has it.
    let known = |d: &&Delay| d.since_start_s.is_none_or(|s| s > 0.0);
    let told = report
        .delays
        .first()
        .map(|d| attempts_of(report, &subjects, d));
    let told = told.unwrap_or_default();
    let is_told = |d: &Delay| d.connection.as_deref().is_some_and(|id| told.contains(&id));
    let others = report.delays.iter().skip(1).filter(known);
    for delay in others.filter(|d| !is_told(d)) {
        let what = escape(subjects.name(delay).unwrap_or("a name that is not known")).into_owned();
        if let Some(at) = index.get(&what) {
            let group = &mut groups[*at];
            group.count += 1;
            if is_slower(delay, group.slowest) {
                group.slowest = delay;
            }
        } else {
            index.insert(what.clone(), groups.len());
            groups.push(Others {
                what,
                slowest: delay,
                count: 1,
            });
        }
    }
    // The report's own order counts what came after the SYN as well, which is not shown here.
    groups.sort_by(|a, b| shown_first(a.slowest, b.slowest));
    groups
}

/// Figures of a report are rounded to this, in seconds.
const ROUNDED: f64 = 1e-6;

/// The failed attempts that the account of another holds: they began within it, to the parties of its entries.
fn attempts_of<'r>(report: &'r Report, subjects: &Subjects<'r>, delay: &Delay) -> Vec<&'r str> {
    let began = |c: &Connection| c.called_s.or(c.syn_s);
    let of_account = subjects.connection(delay.connection.as_deref());
    let window = of_account.and_then(|c| c.syn_s.or(c.called_s).zip(delay.since_start_s));
    let Some((until, length)) = window else {
        return Vec::new();
    };
    let failed = delay
        .entries
        .iter()
        .filter(|e| e.kind == EntryKind::AttemptFailed);
    let parties: Vec<&str> = failed.filter_map(|e| e.party.as_deref()).collect();
    let list = report.connections.iter();
    let within = |c: &&'r Connection| {
        began(c).is_some_and(|at| at >= until - length - ROUNDED && at < until)
            && c.outcome != Some(ConnectionOutcome::Connected)
            && parties.contains(&&*c.to)
    };
    list.filter(within).map(|c| &*c.id).collect()
}

/// The order of delays by the figure that is shown, the slowest first and those without one last.
fn shown_first(a: &Delay, b: &Delay) -> Ordering {
    let shown = |d: &Delay| d.since_start_s.unwrap_or(-1.0);
    shown(b).total_cmp(&shown(a))
}

fn is_slower(this: &Delay, that: &Delay) -> bool {
    shown_first(this, that) == Ordering::Less
}

/// More timetables than this are for JSON.
const TIMETABLES: usize = 3;

/// How the waits fit the stub resolver's timetable, and the best single change, a line each.
pub fn what_if(report: &Report) -> Vec<String> {
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for lookup in &report.lookups {
        let Some(timetable) = &lookup.timetable else {
            continue;
        };
        match told.iter_mut().find(|(text, _)| *text == timetable.told) {
            Some((_, ids)) => ids.push(&lookup.id),
            None => told.push((&timetable.told, vec![&lookup.id])),
        }
    }
    let told = told.into_iter().take(TIMETABLES).map(|(text, ids)| {
        let others = ids.len().saturating_sub(4);
        let more = if others > 0 {
            format!(" and {others} more")
        } else {
            String::new()
        };
        let ids = ids[..ids.len().min(4)].join(", ");
        format!("{ids}{more}: {text}.")
    });
    let best = report.best_change.iter().map(|best| best.told.clone());
    told.chain(best)
        .map(|line| escape(&line).into_owned())
        .collect()
}

/// The line about packets that a live run did not keep, for one reason.
fn left_out(capture: &Capture, why: LeftOutWhy, whose: &str) -> Option<String> {
    let rows = || capture.left_out.iter().filter(|row| row.why == why);
    let first = rows().map(|row| row.first_s).reduce(f64::min)?;
    let last = rows().map(|row| row.last_s).reduce(f64::max)?;
    let kinds: Vec<String> = rows()
        .map(|row| {
            let (one, more) = match row.kind {
                PacketKind::Query => ("query", "queries"),
                PacketKind::Response => ("response", "responses"),
                PacketKind::Syn => ("SYN", "SYNs"),
                PacketKind::TcpOther => ("other TCP segment", "other TCP segments"),
                PacketKind::Other => ("other packet", "other packets"),
            };
            let word = if row.packets == 1 { one } else { more };
            format!("{} {word}", row.packets)
        })
        .collect();
    Some(format!(
        "{}: not retained {whose}: {}, from {first:.1} s to {last:.1} s",
        escape(&capture.path),
        kinds.join(", ")
    ))
}

/// What was read and how the clocks were laid together, a line each.
pub fn inputs(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let also = |n: u64, what: &str| match n {
        0 => String::new(),
        n => format!(", {n} {what}"),
    };
    for c in &report.inputs.captures {
        let bad = also(c.undecodable, "undecodable");
        let all = c.dropped.unwrap_or(0);
        let timed: u64 = c.drop_times.iter().map(|span| span.packets).sum();
        let when = match &c.drop_times[..] {
            spans if timed == all && !spans.is_empty() => format!(" ({})", drop_times(spans)),
            _ => String::new(),
        };
        let dropped = also(all, &format!("dropped{when}"));
        lines.push(format!(
            "{}: {} {}{bad}{dropped}",
            escape(&c.path),
            c.packets,
            if c.packets == 1 { "packet" } else { "packets" }
        ));
        lines.extend(left_out(c, LeftOutWhy::OtherProcess, "of other processes"));
        lines.extend(left_out(c, LeftOutWhy::NoRoom, "for lack of space"));
    }
    for t in &report.inputs.traces {
        // presyn's own traces name presyn where a log names strace's options.
        let by = match t.writer {
            TraceWriter::Presyn => "traced by",
            TraceWriter::Strace => "strace",
        };
        let (path, style) = (escape(&t.path), escape(&t.style));
        let skipped = also(t.skipped_lines, "other lines");
        lines.push(format!("{path}: {} calls, {by} {style}{skipped}", t.calls));
    }
    if let Some(watched) = &report.inputs.watched {
        let target = escape(&watched.target);
        lines.push(format!("watched, not traced: {target}"));
    }
    if let Some(config) = &report.resolver_config {
        let servers = escape(&config.nameservers.join(" ")).into_owned();
        lines.push(format!("{}: resolvers {servers}", escape(&config.path)));
    }
    if !report.inputs.captures.is_empty() && !report.inputs.traces.is_empty() {
        let clock = &report.inputs.clock;
        let within = match clock.uncertainty_s {
            Some(s) if s > 0.0 => format!(", within {}", seconds(s)),
            _ => String::new(),
        };
        let method = escape(&clock.method);
        lines.push(match clock.offset_s {
            Some(offset) => format!("clock: {method} (offset {offset:.6} s{within})"),
            None => format!("clock: {method}"),
        });
    }
    lines
}

#[cfg(test)]
mod tests;
