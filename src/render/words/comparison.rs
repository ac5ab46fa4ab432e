//! Words of two reports compared.

use super::{known_count, known_seconds, party, seconds, what};
use crate::explain::comparison::{
    Answers, AttemptTimes, Change, ComparedFinding, ComparedResolver, Part, Setting, WaitComparison,
};
use crate::render::safe::escape;
use crate::report::Severity;

/// Seconds, or a dash for what is not there.
pub fn some(value: Option<f64>) -> String {
    value
        .filter(|v| *v != 0.0)
        .map_or_else(|| "-".into(), seconds)
}

/// What was gained; a dash where there is nothing to compare, or two runs may differ by as much for no reason. A
/// loss is negative.
pub fn gained(before: Option<f64>, after: Option<f64>) -> String {
    let both = before.zip(after);
    let changed = both.filter(|(b, a)| Change::of(*b, *a) != Change::Same);
    some(changed.map(|(b, a)| b - a))
}

/// What a part of the time was spent on.
pub fn part(part: &Part) -> String {
    let what = what(part.kind, part.start_up);
    match &part.party {
        Some(name) => format!("{} {what}", party(name)),
        None => what.into(),
    }
}

/// The slowest attempts before and after, in seconds.
pub fn slowest(waited: &WaitComparison) -> (Option<f64>, Option<f64>) {
    let slowest = |times: &Option<AttemptTimes>| times.as_ref().and_then(|t| t.slowest_s);
    (slowest(&waited.before), slowest(&waited.after))
}

/// How many attempts there were, where they were several.
pub fn attempts(waited: &WaitComparison) -> Option<String> {
    let several = |t: &AttemptTimes| t.times > 1;
    let sides = [("before", &waited.before), ("after", &waited.after)];
    sides
        .iter()
        .find(|(_, t)| t.as_ref().is_some_and(several))?;
    let told: Vec<String> = sides
        .iter()
        .filter_map(|(side, times)| {
            let t = times.as_ref()?;
            Some(format!(
                "{side} {} times, median {}",
                t.times,
                known_seconds(t.median_s)
            ))
        })
        .collect();
    Some(format!("The slowest; {}.", told.join(", ")))
}

/// A finding's title and what it cost.
pub fn found(finding: &ComparedFinding) -> String {
    let title = finding.after.as_ref().or(finding.before.as_ref());
    let title = title.map(|t| escape(t).into_owned()).unwrap_or_default();
    match (finding.before_s, finding.after_s) {
        (Some(b), Some(a)) => format!("{title} ({}, before {})", seconds(a), seconds(b)),
        (Some(one), None) | (None, Some(one)) => format!("{title} ({})", seconds(one)),
        (None, None) => title,
    }
}

/// A resolver's name.
pub fn asked(r: &ComparedResolver) -> String {
    super::resolver_name(&r.address, r.port, r.transport)
}

/// A count before and after.
pub fn count(r: &ComparedResolver, of: fn(&Answers) -> Option<u64>) -> String {
    let side = |side: &Option<Answers>| known_count(side.as_ref().and_then(of));
    format!("{} → {}", side(&r.before), side(&r.after))
}

/// A time before and after.
pub fn time(r: &ComparedResolver, of: fn(&Answers) -> Option<f64>) -> String {
    let side = |side: &Option<Answers>| some(side.as_ref().and_then(of));
    format!("{} → {}", side(&r.before), side(&r.after))
}

/// The wait for a resolver before and after; nobody traced waited for one that only others asked.
pub fn waited(r: &ComparedResolver) -> String {
    if r.untraced {
        return "-".into();
    }
    time(r, |a| a.waited_s)
}

/// What waits for a resolver gained.
pub fn resolver_gained(r: &ComparedResolver) -> String {
    let waited = |side: &Option<Answers>| {
        let waited = side.as_ref().map_or(Some(0.0), |a| a.waited_s);
        waited.filter(|_| !r.untraced)
    };
    gained(waited(&r.before), waited(&r.after))
}

/// What to do about a finding that was not told before.
pub fn news(finding: &ComparedFinding) -> Option<&str> {
    let told = finding.change != Change::New || finding.severity == Severity::Info;
    finding.remedy.as_deref().filter(|_| !told)
}

/// A line of resolv.conf that differs.
pub fn setting(setting: &Setting) -> String {
    let list = |values: &[String]| match values {
        [] => "-".into(),
        values => escape(&values.join(" ")).into_owned(),
    };
    let (before, after) = (list(&setting.before), list(&setting.after));
    format!("{}: {before} → {after}", setting.what)
}
