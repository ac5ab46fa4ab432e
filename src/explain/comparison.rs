//! Two reports of one client, before and after a change: what went away, what is new, what is the same, and what
//! that gained, resolver by resolver.
//!
//! Two runs share no process id, no client port and no date. What they share is names and servers, so that is what
//! `subjects` are matched by; `findings` are matched by what they accuse of what.

mod findings;
pub mod reproduced;
mod subjects;

use super::words;
use crate::report::open_enum::open_enum;
use crate::report::{EntryKind, FindingId, Origin, Party, Report, Resolver, Severity, Transport};
use crate::time::Span;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the contract; a change that breaks a reader raises the number.
pub const SCHEMA: &str = "presyn.diff/2";

/// Differences below this are none: two runs never take exactly as long.
const SAME_SECONDS: f64 = 0.1;
/// Nor are those below this share of the longer one.
const SAME_SHARE: f64 = 0.02;

/// What two reports say together. Seconds are durations; what is unknown is `null`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("$id" = "urn:presyn:diff:2"))]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// What came of it, in a few sentences.
    pub summary: Vec<String>,
    /// Something got worse: a finding is new (`info` aside) or costs more, or the client waits longer for a
    /// resolver, a service or a server.
    pub worse: bool,
    /// The first report.
    pub before: Side,
    /// The second.
    pub after: Side,
    /// What differs in resolv.conf, where both reports have it.
    pub configuration: Vec<Setting>,
    /// Servers and names: what is in both first, then what is in one, the slowest first.
    pub delays: Vec<WaitComparison>,
    /// Findings: gone, new, changed, the same.
    pub findings: Vec<ComparedFinding>,
    /// Resolvers in order of the first report, then new ones.
    pub resolvers: Vec<ComparedResolver>,
}

impl Comparison {
    /// How long the server or name took after the change that took longest before it.
    pub fn slowest_after(&self) -> Option<f64> {
        let seconds = |times: &Option<AttemptTimes>| times.as_ref().and_then(|t| t.slowest_s);
        let slowest = self
            .delays
            .iter()
            .filter_map(|wait| Some((seconds(&wait.before)?, &wait.after)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        seconds(slowest?.1)
    }

    /// The server or name to show part by part, and the others. What is in one report only has nothing to be held
    /// against.
    pub fn first_and_others(&self) -> (Option<&WaitComparison>, &[WaitComparison]) {
        match self.delays.split_first() {
            Some((first, others)) if first.gained_s.is_some() => (Some(first), others),
            _ => (None, &self.delays),
        }
    }
}

/// One of the two reports.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Side {
    /// What was read for it.
    pub paths: Vec<String>,
    /// RFC 3339.
    pub started: Option<String>,
}

open_enum! {
    /// What became of something.
    Change {
        /// Only before.
        Gone = "gone",
        /// Only after.
        New = "new",
        /// Costs less.
        Better = "better",
        /// Costs more.
        Worse = "worse",
        /// Costs as much, as far as two runs can.
        Same = "same",
        /// In both, but the cost in one is not known.
        Unknown = "unknown",
    }
}

impl Change {
    /// Of a cost, in seconds.
    pub fn of(before: f64, after: f64) -> Self {
        let (low, high) = (before.min(after), before.max(after));
        if high - low < SAME_SECONDS.max(high * SAME_SHARE) {
            Self::Same
        } else if after < before {
            Self::Better
        } else {
            Self::Worse
        }
    }

    /// Of a cost that may not be known, in seconds.
    pub fn of_known(before: Option<f64>, after: Option<f64>) -> Self {
        match (before, after) {
            (Some(before), Some(after)) => Self::of(before, after),
            _ => Self::Unknown,
        }
    }
}

open_enum! {
    /// A keyword of resolv.conf.
    SettingKind {
        /// `nameserver`.
        Nameserver = "nameserver",
        /// `search`.
        Search = "search",
        /// `options`.
        Options = "options",
    }
}

open_enum! {
    /// What a part of a delay was spent on: a kind of entry as in the report, or the time after the SYN.
    PartKind {
        /// As in the report.
        ResolverSilent = "resolver-silent",
        /// As in the report.
        AnswerNotReceived = "answer-not-received",
        /// As in the report.
        ResolverAnswer = "resolver-answer",
        /// As in the report.
        SearchDomains = "search-domains",
        /// As in the report.
        ResolverRefused = "resolver-refused",
        /// As in the report.
        ResolverUnreachable = "resolver-unreachable",
        /// As in the report.
        ResolverTcp = "resolver-tcp",
        /// As in the report.
        NameService = "name-service",
        /// As in the report.
        SocketWait = "socket-wait",
        /// As in the report.
        AddressResolution = "address-resolution",
        /// As in the report.
        MulticastName = "multicast-name",
        /// As in the report.
        Quic = "quic",
        /// As in the report.
        AttemptFailed = "attempt-failed",
        /// As in the report.
        Running = "running",
        /// As in the report.
        Unexplained = "unexplained",
        /// From the SYN to connected, or given up.
        AfterSyn = "after-syn",
    }
}

impl From<EntryKind> for PartKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::ResolverSilent => Self::ResolverSilent,
            EntryKind::AnswerNotReceived => Self::AnswerNotReceived,
            EntryKind::ResolverAnswer => Self::ResolverAnswer,
            EntryKind::SearchDomains => Self::SearchDomains,
            EntryKind::ResolverRefused => Self::ResolverRefused,
            EntryKind::ResolverUnreachable => Self::ResolverUnreachable,
            EntryKind::ResolverTcp => Self::ResolverTcp,
            EntryKind::NameService => Self::NameService,
            EntryKind::SocketWait => Self::SocketWait,
            EntryKind::AddressResolution => Self::AddressResolution,
            EntryKind::MulticastName => Self::MulticastName,
            EntryKind::Quic => Self::Quic,
            EntryKind::AttemptFailed => Self::AttemptFailed,
            EntryKind::Running => Self::Running,
            EntryKind::Unexplained => Self::Unexplained,
        }
    }
}

impl PartKind {
    /// Whether the client waited for another party.
    pub fn is_wait(self) -> bool {
        !matches!(self, Self::Running | Self::Unexplained)
    }
}

/// A line of resolv.conf that differs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Setting {
    /// Its keyword.
    pub what: SettingKind,
    /// Its values before.
    pub before: Vec<String>,
    /// Its values after.
    pub after: Vec<String>,
}

/// A server, or a name that was looked up for nothing, in both reports.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WaitComparison {
    /// What became of it.
    pub change: Change,
    /// Seconds less for the slowest; `null` unless it is in both.
    pub gained_s: Option<f64>,
    /// Before.
    pub before: Option<AttemptTimes>,
    /// After.
    pub after: Option<AttemptTimes>,
    /// Where the slowest of each went; adds up to `slowest_s`.
    pub parts: Vec<Part>,
}

impl WaitComparison {
    /// Its name, the present one first.
    pub fn what(&self) -> String {
        match (&self.before, &self.after) {
            (Some(b), Some(a)) if a.what != b.what => format!("{} (before: {})", a.what, b.what),
            (_, Some(one)) | (Some(one), None) => one.what.clone(),
            (None, None) => String::new(),
        }
    }
}

/// All attempts for one server or name in one report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AttemptTimes {
    /// `NAME:PORT` where the name is known, `ADDRESS:PORT` where not, the name where nothing was connected.
    pub what: String,
    /// Attempts.
    pub times: usize,
    /// The slowest, from the start of its window to its end: connected, or given up.
    pub slowest_s: Option<f64>,
    /// The median.
    pub median_s: Option<f64>,
}

/// A part of the slowest delay.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Part {
    /// What for.
    pub kind: PartKind,
    /// Whom it was charged to.
    pub party: Option<String>,
    /// It lies before the first name-service activity.
    pub start_up: bool,
    /// Seconds before.
    pub before_s: Option<f64>,
    /// Seconds after.
    pub after_s: Option<f64>,
}

/// A finding in one of the reports, or in both.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ComparedFinding {
    /// What became of it.
    pub change: Change,
    /// Which one.
    pub id: FindingId,
    /// How much it matters; the later one.
    pub severity: Severity,
    /// Whom it is about; the later ones.
    pub parties: Vec<Party>,
    /// Its title before.
    pub before: Option<String>,
    /// Its title after.
    pub after: Option<String>,
    /// Seconds it cost before.
    pub before_s: Option<f64>,
    /// Seconds it costs after.
    pub after_s: Option<f64>,
    /// What to do, unless it is gone.
    pub remedy: Option<String>,
}

/// A resolver in one of the reports, or in both.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ComparedResolver {
    /// What became of the wait for it.
    pub change: Change,
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// What carried the queries.
    pub transport: Transport,
    /// Asked by other processes only, so that no traced process waited for it.
    pub untraced: bool,
    /// Before.
    pub before: Option<Answers>,
    /// After.
    pub after: Option<Answers>,
    /// Seconds that clients wait less for it.
    pub gained_s: Option<f64>,
}

/// What a resolver did in one report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Answers {
    /// Query messages.
    pub queries: Option<u64>,
    /// With an answer.
    pub answered: Option<u64>,
    /// Without one.
    pub unanswered: Option<u64>,
    /// Median response time.
    pub median_s: Option<f64>,
    /// Seconds that clients waited for it.
    pub waited_s: Option<f64>,
}

impl Answers {
    /// Two rows of one resolver together. What is not known of one is not known of both.
    fn and(self, more: &Self) -> Self {
        let plus = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.saturating_add(b));
        Self {
            queries: plus(self.queries, more.queries),
            answered: plus(self.answered, more.answered),
            unanswered: plus(self.unanswered, more.unanswered),
            median_s: self.median_s.or(more.median_s),
            waited_s: self.waited_s.zip(more.waited_s).map(|(a, b)| a + b),
        }
    }
}

/// Compares two reports.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let delays = subjects::compare(before, after);
    let findings = findings::compare(before, after);
    let resolvers = resolvers(before, after);
    let longer = |d: &WaitComparison| {
        let waits = || d.parts.iter().filter(|p| p.kind.is_wait());
        let before: Option<f64> = waits().map(|p| p.before_s).sum();
        let after: Option<f64> = waits().map(|p| p.after_s).sum();
        d.gained_s.is_some() && Change::of_known(before, after) == Change::Worse
    };
    let harm = |f: &ComparedFinding| match f.change {
        Change::New => f.severity != Severity::Info,
        change => change == Change::Worse,
    };
    Comparison {
        schema: SCHEMA.into(),
        summary: summary(&delays, &findings),
        worse: delays.iter().any(longer) || findings.iter().any(harm),
        before: side(before),
        after: side(after),
        configuration: configuration(before, after),
        delays,
        findings,
        resolvers,
    }
}

fn side(report: &Report) -> Side {
    let captures = report.inputs.captures.iter().map(|c| &c.path);
    let traces = report.inputs.traces.iter().map(|t| &t.path);
    Side {
        paths: captures.chain(traces).cloned().collect(),
        started: report.started.clone(),
    }
}

/// The slowest server's gain, and the findings that came and went.
fn summary(delays: &[WaitComparison], findings: &[ComparedFinding]) -> Vec<String> {
    let mut sentences = Vec::new();
    let both = delays.iter().find(|d| d.gained_s.is_some());
    if let Some((d, before, after)) = both.and_then(|d| {
        Some((
            d,
            d.before.as_ref()?.slowest_s?,
            d.after.as_ref()?.slowest_s?,
        ))
    }) {
        let what = d.what();
        let (b, a) = (span(before), span(after));
        let gain = words::took(if a > b { a - b } else { b - a });
        sentences.push(match d.change {
            Change::Same => format!("{what}: {}, as before.", words::took(a)),
            Change::Worse => format!(
                "{what}: {} instead of {}, {gain} lost.",
                words::took(a),
                words::took(b)
            ),
            _ => format!(
                "{what}: {} instead of {}, {gain} gained.",
                words::took(a),
                words::took(b)
            ),
        });
    } else if !delays.is_empty() {
        sentences.push("No server and no name is in both.".into());
    }
    let named = |change: Change| {
        let mut ids: Vec<String> = findings
            .iter()
            .filter(|f| f.change == change && f.severity != Severity::Info)
            .map(|f| f.id.name().to_owned())
            .collect();
        ids.dedup();
        ids
    };
    for (change, word) in [(Change::Gone, "Gone"), (Change::New, "New")] {
        let ids = named(change);
        if !ids.is_empty() {
            sentences.push(format!("{word}: {}.", words::list(&ids)));
        }
    }
    let moved = |f: &ComparedFinding| matches!(f.change, Change::Gone | Change::New);
    if !findings.is_empty() && !findings.iter().any(moved) {
        sentences.push("The findings are the same.".into());
    }
    sentences
}

fn span(seconds: f64) -> Span {
    // A saved report may hold any number; `as` saturates.
    #[allow(clippy::cast_possible_truncation)]
    Span((seconds * 1e9) as i64)
}

fn configuration(before: &Report, after: &Report) -> Vec<Setting> {
    let (Some(before), Some(after)) = (&before.resolver_config, &after.resolver_config) else {
        return Vec::new();
    };
    [
        (
            SettingKind::Nameserver,
            &before.nameservers,
            &after.nameservers,
        ),
        (SettingKind::Search, &before.search, &after.search),
        (SettingKind::Options, &before.options, &after.options),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(what, before, after)| Setting {
        what,
        before: before.clone(),
        after: after.clone(),
    })
    .collect()
}

/// A trace is missing on one side only, sometimes: what is asked by `unknown` there is asked by the client here.
fn resolvers(before: &Report, after: &Report) -> Vec<ComparedResolver> {
    let key = |r: &Resolver| {
        (
            r.address.clone(),
            r.port,
            r.transport,
            r.origin == Origin::Untraced,
        )
    };
    let mut order = Vec::new();
    let mut rows: BTreeMap<_, [Option<Answers>; 2]> = BTreeMap::new();
    for (side, report) in [before, after].into_iter().enumerate() {
        let known = report.resolvers.iter();
        for r in known.filter(|r| r.origin != Origin::Unattributed) {
            let row = rows.entry(key(r)).or_insert_with(|| {
                order.push(key(r));
                [None, None]
            });
            let more = Answers {
                queries: r.queries,
                answered: r.answered,
                unanswered: r.unanswered,
                median_s: r.rtt_s.median,
                waited_s: r.waited_s,
            };
            row[side] = Some(match row[side].take() {
                Some(sum) => sum.and(&more),
                None => more,
            });
        }
    }
    let rows = order
        .into_iter()
        .filter_map(|key| Some((rows.remove(&key)?, key)));
    rows.map(|([before, after], (address, port, transport, untraced))| {
        let waited = |side: &Option<Answers>| side.as_ref().map_or(Some(0.0), |a| a.waited_s);
        let (b, a) = (waited(&before), waited(&after));
        ComparedResolver {
            change: match (&before, &after) {
                (Some(_), None) => Change::Gone,
                (None, _) => Change::New,
                _ => Change::of_known(b, a),
            },
            address,
            port,
            transport,
            untraced,
            before,
            after,
            gained_s: b.zip(a).map(|(b, a)| b - a),
        }
    })
    .collect()
}
