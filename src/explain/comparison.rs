//! Two reports of one client, before and after a change: what went away, what is new, what is the same, and what
//! that gained, resolver by resolver.
//!
//! Two runs share no process id, no client port and no date. What they share is names and servers, so that is what
//! `subjects` are matched by; `findings` are matched by what they accuse of what.

mod findings;
mod subjects;

use super::words;
use crate::report::{Report, Resolver};
use crate::time::Span;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the contract; a change that breaks a reader raises the number.
pub const SCHEMA: &str = "presyn.diff/1";

/// Differences below this are none: two runs never take exactly as long.
const SAME_SECONDS: f64 = 0.1;
/// Nor are those below this share of the longer one.
const SAME_SHARE: f64 = 0.02;

/// What two reports say together. Seconds are durations; what is unknown is `null`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// `presyn.diff/1`.
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
    pub delays: Vec<Waited>,
    /// Findings: gone, new, changed, the same.
    pub findings: Vec<Found>,
    /// Resolvers in order of the first report, then new ones.
    pub resolvers: Vec<Asked>,
}

impl Comparison {
    /// The server or name to show part by part, and the others. What is in one report only has nothing to be held
    /// against.
    pub fn first_and_others(&self) -> (Option<&Waited>, &[Waited]) {
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

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only before.
    Gone,
    /// Only after.
    New,
    /// Costs less.
    Better,
    /// Costs more.
    Worse,
    /// Costs as much, as far as two runs can.
    Same,
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

    /// As lists say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::New => "new",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
        }
    }
}

/// A line of resolv.conf that differs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Setting {
    /// `nameserver`, `search` or `options`.
    pub what: String,
    /// Its values before.
    pub before: Vec<String>,
    /// Its values after.
    pub after: Vec<String>,
}

/// A server, or a name that was looked up for nothing, in both reports.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Waited {
    /// What became of it.
    pub change: Change,
    /// Seconds less for the slowest; `null` unless it is in both.
    pub gained_s: Option<f64>,
    /// Before.
    pub before: Option<Times>,
    /// After.
    pub after: Option<Times>,
    /// Where the slowest of each went; adds up to `slowest_s`.
    pub parts: Vec<Part>,
}

impl Waited {
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
pub struct Times {
    /// `NAME:PORT` where the name is known, `ADDRESS:PORT` where not, the name where nothing was connected.
    pub what: String,
    /// Attempts.
    pub times: usize,
    /// The slowest, from the start of its window to its end: connected, or given up.
    pub slowest_s: f64,
    /// The median.
    pub median_s: f64,
}

/// A part of the slowest delay.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Part {
    /// A kind of entry as in the report, or `after-syn`.
    pub kind: String,
    /// Whom it was charged to.
    pub party: Option<String>,
    /// `starting up`, where the account says so.
    pub note: Option<String>,
    /// Seconds before.
    pub before_s: f64,
    /// Seconds after.
    pub after_s: f64,
}

/// A finding in one of the reports, or in both.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Found {
    /// What became of it.
    pub change: Change,
    /// Its id.
    pub id: String,
    /// `high`, `medium`, `low` or `info`; the later one.
    pub severity: String,
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
pub struct Asked {
    /// What became of the wait for it.
    pub change: Change,
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Asked by other processes only, so that nobody traced waited for it.
    pub untraced: bool,
    /// Before.
    pub before: Option<Answers>,
    /// After.
    pub after: Option<Answers>,
    /// Seconds that clients wait less for it.
    pub gained_s: f64,
}

/// What a resolver did in one report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Answers {
    /// Query messages.
    pub queries: u64,
    /// With an answer.
    pub answered: u64,
    /// Without one.
    pub unanswered: u64,
    /// Median response time.
    pub median_s: Option<f64>,
    /// Seconds that clients waited for it.
    pub waited_s: f64,
}

/// Compares two reports.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let delays = subjects::compare(before, after);
    let findings = findings::compare(before, after);
    let resolvers = resolvers(before, after);
    let longer = |d: &Waited| {
        let waits = d
            .parts
            .iter()
            .filter(|p| !matches!(&*p.kind, "running" | "unexplained"));
        let (b, a) = waits.fold((0.0, 0.0), |(b, a), p| (b + p.before_s, a + p.after_s));
        d.gained_s.is_some() && Change::of(b, a) == Change::Worse
    };
    let harm = |f: &Found| match f.change {
        Change::New => f.severity != "info",
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
fn summary(delays: &[Waited], findings: &[Found]) -> Vec<String> {
    let mut sentences = Vec::new();
    let both = delays.iter().find(|d| d.gained_s.is_some());
    if let Some((d, before, after)) =
        both.and_then(|d| Some((d, d.before.as_ref()?, d.after.as_ref()?)))
    {
        let what = d.what();
        let (b, a) = (span(before.slowest_s), span(after.slowest_s));
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
            .filter(|f| f.change == change && f.severity != "info")
            .map(|f| f.id.clone())
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
    let moved = |f: &Found| matches!(f.change, Change::Gone | Change::New);
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
        ("nameserver", &before.nameservers, &after.nameservers),
        ("search", &before.search, &after.search),
        ("options", &before.options, &after.options),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(what, before, after)| Setting {
        what: what.into(),
        before: before.clone(),
        after: after.clone(),
    })
    .collect()
}

/// A trace is missing on one side only, sometimes: what is asked by `unknown` there is asked by the client here.
fn resolvers(before: &Report, after: &Report) -> Vec<Asked> {
    let key = |r: &Resolver| {
        (
            r.address.clone(),
            r.port,
            r.transport.clone(),
            r.origin == "untraced",
        )
    };
    let mut order = Vec::new();
    let mut rows: BTreeMap<_, [Option<Answers>; 2]> = BTreeMap::new();
    for (side, report) in [before, after].into_iter().enumerate() {
        for r in &report.resolvers {
            let row = rows.entry(key(r)).or_insert_with(|| {
                order.push(key(r));
                [None, None]
            });
            let sum = row[side].get_or_insert_default();
            sum.queries += r.queries;
            sum.answered += r.answered;
            sum.unanswered += r.unanswered;
            sum.waited_s += r.waited_s;
            sum.median_s = sum.median_s.or(r.rtt_s.median);
        }
    }
    let rows = order
        .into_iter()
        .filter_map(|key| Some((rows.remove(&key)?, key)));
    rows.map(|([before, after], (address, port, transport, untraced))| {
        let waited = |side: &Option<Answers>| side.as_ref().map_or(0.0, |a| a.waited_s);
        let (b, a) = (waited(&before), waited(&after));
        Asked {
            change: match (&before, &after) {
                (Some(_), None) => Change::Gone,
                (None, _) => Change::New,
                _ => Change::of(b, a),
            },
            address,
            port,
            transport,
            untraced,
            before,
            after,
            gained_s: b - a,
        }
    })
    .collect()
}
