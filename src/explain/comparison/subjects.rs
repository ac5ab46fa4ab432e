//! Servers and names of two reports, matched.
//!
//! A server is known by the name that the client looked up and the port, which outlives a change of address; where
//! no name is known, by address and port. A change often *removes* the lookup (a line in /etc/hosts), or asks for
//! another name (the final dot): what is left unmatched is matched by the addresses that it connected to. A name
//! that was looked up for nothing matches its server of the other report.

use super::{AttemptTimes, Change, Part, PartKind, WaitComparison};
use crate::report::subjects::Subjects;
use crate::report::{Delay, EntryKind, LookupKind, Report};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// All delays of one server or name in one report.
#[derive(Default)]
struct SubjectGroup<'a> {
    /// Name and port, as far as they are known.
    keys: BTreeSet<(String, Option<&'a str>)>,
    /// `ADDRESS:PORT`.
    to: BTreeSet<&'a str>,
    delays: Vec<Timed<'a>>,
}

/// A delay and what followed it.
#[derive(Clone, Copy)]
struct Timed<'a> {
    delay: &'a Delay,
    /// From the SYN to connected or given up, unless a later attempt has it in its own account.
    after_syn: f64,
}

impl Timed<'_> {
    fn whole(self) -> Option<f64> {
        Some(self.delay.since_start_s? + self.after_syn)
    }
}

/// What is in both first, then what is in one, the slowest first.
pub fn compare(before: &Report, after: &Report) -> Vec<WaitComparison> {
    let (mut before, mut after) = (groups(before), groups(after));
    let mut pairs = Vec::new();
    let keys = |g: &SubjectGroup<'_>| g.keys.iter().map(key_word).collect();
    take(&mut before, &mut after, &mut pairs, (&keys, &keys));
    let to = |g: &SubjectGroup<'_>| g.to.iter().map(|to| (*to).to_owned()).collect();
    take(&mut before, &mut after, &mut pairs, (&to, &to));
    // A lookup that no connect followed, and a server.
    let names = |g: &SubjectGroup<'_>, without_server: bool| {
        let names = g.keys.iter().map(|(name, _)| name);
        let word = |name: &String| format!("{without_server} {name}");
        names.map(word).collect()
    };
    let lookup_before = |g: &SubjectGroup<'_>| names(g, g.to.is_empty());
    let lookup_after = |g: &SubjectGroup<'_>| names(g, !g.to.is_empty());
    take(
        &mut before,
        &mut after,
        &mut pairs,
        (&lookup_before, &lookup_after),
    );
    let mut waited: Vec<WaitComparison> = pairs
        .iter()
        .map(|(b, a)| waited(Some(b), Some(a)))
        .collect();
    waited.extend(before.iter().map(|b| self::waited(Some(b), None)));
    waited.extend(after.iter().map(|a| self::waited(None, Some(a))));
    let both = |w: &WaitComparison| w.gained_s.is_some();
    waited.sort_by(|x, y| {
        both(y)
            .cmp(&both(x))
            .then(slowest(y).total_cmp(&slowest(x)))
    });
    waited
}

fn slowest(waited: &WaitComparison) -> f64 {
    let sides = [&waited.before, &waited.after].into_iter().flatten();
    sides.filter_map(|t| t.slowest_s).fold(0.0, f64::max)
}

/// The delays of a report by server or name.
fn groups(report: &Report) -> Vec<SubjectGroup<'_>> {
    let subjects = Subjects::new(report);
    let mut counted: HashSet<(Option<&str>, &str)> = HashSet::new();
    for delay in &report.delays {
        let failed = delay
            .entries
            .iter()
            .filter(|e| e.kind == EntryKind::AttemptFailed);
        counted.extend(failed.filter_map(|e| Some((delay.lookup.as_deref(), e.party.as_deref()?))));
    }
    let mut groups: BTreeMap<(String, Option<&str>), SubjectGroup> = BTreeMap::new();
    for delay in &report.delays {
        let connection = subjects.connection(delay.connection.as_deref());
        let lookup = subjects.lookup(delay.lookup.as_deref());
        let to = connection.map(|c| &*c.to);
        let port = to.and_then(|to| to.rsplit_once(':')).map(|(_, port)| port);
        // A reverse lookup's name is no name of the server.
        let name = lookup
            .filter(|l| l.kind == LookupKind::Forward || connection.is_none())
            .and_then(|l| l.name.as_deref())
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let Some(key) = name
            .map(|n| (n, port))
            .or(to.map(|to| (to.to_owned(), None)))
        else {
            continue;
        };
        let group = groups.entry(key.clone()).or_default();
        group.keys.insert(key);
        group.to.extend(to);
        let told = to.is_some_and(|to| counted.contains(&(delay.lookup.as_deref(), to)));
        let after_syn = delay.after_syn_s.filter(|_| !told).unwrap_or(0.0);
        group.delays.push(Timed { delay, after_syn });
    }
    groups.into_values().collect()
}

/// What groups are matched by: those that share one of these words match.
type Words<'w> = &'w dyn Fn(&SubjectGroup<'_>) -> Vec<String>;

fn key_word((name, port): &(String, Option<&str>)) -> String {
    format!("{} {name}", port.unwrap_or_default())
}

/// Groups of one report that are not matched yet, by their words.
struct Unmatched<'a> {
    groups: Vec<Option<SubjectGroup<'a>>>,
    words: Vec<Vec<String>>,
    with_word: HashMap<String, Vec<usize>>,
}

impl<'a> Unmatched<'a> {
    fn new(groups: Vec<SubjectGroup<'a>>, words: Words<'_>) -> Self {
        let words: Vec<Vec<String>> = groups.iter().map(words).collect();
        let mut with_word: HashMap<String, Vec<usize>> = HashMap::new();
        for (n, words) in words.iter().enumerate() {
            for word in words {
                with_word.entry(word.clone()).or_default().push(n);
            }
        }
        Self {
            groups: groups.into_iter().map(Some).collect(),
            words,
            with_word,
        }
    }

    /// Those that share a word, in order. All of them are taken next, so that no word is looked up twice.
    fn sharing(&mut self, words: &[String]) -> BTreeSet<usize> {
        let found = words.iter().filter_map(|word| self.with_word.remove(word));
        let found: BTreeSet<usize> = found.flatten().collect();
        let groups = &self.groups;
        found.into_iter().filter(|n| groups[*n].is_some()).collect()
    }

    /// The first one that shares a word.
    fn first(&self, words: &[String]) -> Option<usize> {
        let found = words.iter().filter_map(|word| self.with_word.get(word));
        found
            .flatten()
            .copied()
            .filter(|n| self.groups[*n].is_some())
            .min()
    }

    fn rest(self) -> Vec<SubjectGroup<'a>> {
        self.groups.into_iter().flatten().collect()
    }
}

/// Moves what matches out of both lists. Groups that share a partner become one: three names before may be one
/// address after.
fn take<'a>(
    before: &mut Vec<SubjectGroup<'a>>,
    after: &mut Vec<SubjectGroup<'a>>,
    pairs: &mut Vec<(SubjectGroup<'a>, SubjectGroup<'a>)>,
    (before_words, after_words): (Words<'_>, Words<'_>),
) {
    let mut b = Unmatched::new(std::mem::take(before), before_words);
    let mut a = Unmatched::new(std::mem::take(after), after_words);
    for n in 0..b.groups.len() {
        if b.groups[n].is_none() {
            continue;
        }
        let Some(partner) = a.first(&b.words[n]) else {
            continue;
        };
        let mut pair = (SubjectGroup::default(), SubjectGroup::default());
        let mut words = Vec::new();
        for more in b.sharing(&a.words[partner]) {
            words.append(&mut b.words[more]);
            if let Some(group) = b.groups[more].take() {
                merge(&mut pair.0, group);
            }
        }
        for more in a.sharing(&words) {
            if let Some(group) = a.groups[more].take() {
                merge(&mut pair.1, group);
            }
        }
        pairs.push(pair);
    }
    (*before, *after) = (b.rest(), a.rest());
}

fn merge<'a>(into: &mut SubjectGroup<'a>, from: SubjectGroup<'a>) {
    into.keys.extend(from.keys);
    into.to.extend(from.to);
    into.delays.extend(from.delays);
}

fn waited(before: Option<&SubjectGroup>, after: Option<&SubjectGroup>) -> WaitComparison {
    let (b, a) = (before.and_then(worst), after.and_then(worst));
    let (change, gained_s) = match (b, a) {
        (Some(b), Some(a)) => (
            Change::of_known(b.whole(), a.whole()),
            b.whole().zip(a.whole()).map(|(b, a)| b - a),
        ),
        (Some(_), None) => (Change::Gone, None),
        (None, _) => (Change::New, None),
    };
    WaitComparison {
        change,
        gained_s,
        before: before.map(times),
        after: after.map(times),
        parts: parts(b, a),
    }
}

fn worst<'a>(group: &SubjectGroup<'a>) -> Option<Timed<'a>> {
    let delays = group.delays.iter().copied();
    let known = |d: &Timed| d.whole().unwrap_or(f64::NEG_INFINITY);
    delays.max_by(|x, y| known(x).total_cmp(&known(y)))
}

fn times(group: &SubjectGroup) -> AttemptTimes {
    let mut seconds: Vec<f64> = group.delays.iter().filter_map(|d| d.whole()).collect();
    seconds.sort_by(f64::total_cmp);
    let names: Vec<String> = group
        .keys
        .iter()
        .map(|(name, port)| port.map_or_else(|| name.clone(), |port| format!("{name}:{port}")))
        .collect();
    AttemptTimes {
        what: crate::explain::words::list(&names),
        times: group.delays.len(),
        slowest_s: seconds.last().copied(),
        median_s: median(&seconds),
    }
}

/// Of sorted numbers; `None` of none.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Where the slowest of each side went, by kind and party, in order of the account before, then of new ones.
fn parts(before: Option<Timed>, after: Option<Timed>) -> Vec<Part> {
    let mut parts = SubjectParts::default();
    for (side, delay) in [before, after].into_iter().enumerate() {
        for e in delay.iter().flat_map(|d| &d.delay.entries) {
            let what = (e.kind.into(), e.party.as_deref(), e.start_up);
            parts.add(what, side, e.seconds);
        }
    }
    for (side, delay) in [before, after].into_iter().enumerate() {
        if let Some(delay) = delay.filter(|d| d.after_syn > 0.0) {
            parts.add(
                (PartKind::AfterSyn, None, false),
                side,
                Some(delay.after_syn),
            );
        }
    }
    parts.0
}

#[derive(Default)]
struct SubjectParts(Vec<Part>);

impl SubjectParts {
    /// Adds seconds to one side of a part; a part of which some are not known has an unknown sum.
    fn add(
        &mut self,
        (kind, party, start_up): (PartKind, Option<&str>, bool),
        side: usize,
        seconds: Option<f64>,
    ) {
        let known = self
            .0
            .iter()
            .position(|p| p.kind == kind && p.party.as_deref() == party && p.start_up == start_up);
        let at = known.unwrap_or_else(|| {
            self.0.push(Part {
                kind,
                party: party.map(Into::into),
                start_up,
                before_s: Some(0.0),
                after_s: Some(0.0),
            });
            self.0.len() - 1
        });
        let part = &mut self.0[at];
        let sum = if side == 0 {
            &mut part.before_s
        } else {
            &mut part.after_s
        };
        *sum = sum.zip(seconds).map(|(sum, more)| sum + more);
    }
}
