//! A name with several addresses, of which the first ones failed.

use super::{Context, Draft, FindingId, Page, Severity, attempt, cost, parties};
use crate::explain::Case;
use crate::explain::ledger::{ChargedParty, Kind, Subject, story, window};
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::ConnectionId;
use crate::join::connect::{Connection, Ending, Role};
use crate::time::Span;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A connection and the attempts that failed before it.
type FailedBefore = (ConnectionId, Vec<ConnectionId>);

/// How many attempts before a connection are looked at; a name seldom has more addresses.
const LOOK_BACK: usize = 30;
/// Attempts further apart are another story.
const ONE_STORY: Span = Span::seconds(300);

/// What `presyn explain address-fallback` shows.
pub const PAGE: Page = Page {
    id: FindingId::AddressFallback,
    rests_on_absence: false,
    in_summary: false,
    text: "The client tried other addresses first, and those failed.

A name can have several addresses. A client tries them in the order of RFC 6724 (IPv6
usually first) and goes to the next when one fails; if an address drops SYNs, it
waits for its own timeout or the kernel's first. Clients with happy eyeballs (RFC
8305) start the next attempt after a quarter of a second and lose little.

presyn groups attempts by the lookup that gave their addresses, or by
the port where no lookup is seen.

What to do: fix the address that failed, or take it out of DNS (an AAAA record for a
host whose IPv6 does not work is the classic). Until then: the address that works in
/etc/hosts, curl -4, 'precedence ::ffff:0:0/96 100' in gai.conf, a shorter connect
timeout in the program.",
};

/// Finds fallbacks, one finding per list of failed addresses.
pub fn find(context: &Context) -> Vec<Draft> {
    let joined = context.case.joined;
    let mut by_process: HashMap<_, Vec<ConnectionId>> = HashMap::new();
    let mut stories: BTreeMap<(Vec<Endpoint>, Endpoint), Vec<FailedBefore>> = BTreeMap::new();
    for (c, x) in joined.connections.entries() {
        if x.role != Role::Server {
            continue;
        }
        let earlier = by_process.entry(x.process).or_default();
        // Where attempts between were evicted, a story is not followed back.
        let failed: Vec<ConnectionId> = earlier
            .iter()
            .rev()
            .take(LOOK_BACK)
            .copied()
            .take_while(|o| {
                let connected = joined.connections[*o].outcome == Ending::Connected;
                !connected && !window::precedes_evicted(context.case, *o)
            })
            .filter(|o| {
                let o = &joined.connections[*o];
                o.to != x.to
                    && gap(o, x).is_some_and(|g| g <= ONE_STORY)
                    && story::same_story(context.case, c, o)
            })
            .collect();
        earlier.push(c);
        if failed.is_empty() {
            continue;
        }
        let mut ends: Vec<Endpoint> = Vec::new();
        for o in failed.iter().rev() {
            let to = joined.connections[*o].to;
            if !ends.contains(&to) {
                ends.push(to);
            }
        }
        stories.entry((ends, x.to)).or_default().push((c, failed));
    }
    // Of a story that goes on over three addresses only the whole is told.
    let subsumed: HashSet<ConnectionId> = stories
        .values()
        .flatten()
        .flat_map(|(_, failed)| failed.iter().copied())
        .collect();
    stories
        .into_iter()
        .filter_map(|((ends, to), list)| {
            let list: Vec<_> = list
                .into_iter()
                .filter(|(c, _)| !subsumed.contains(c))
                .collect();
            draft(context, &ends, to, &list)
        })
        .collect()
}

fn gap(earlier: &Connection, later: &Connection) -> Option<Span> {
    Some(later.reached()? - earlier.reached()?)
}

fn draft(
    context: &Context,
    ends: &[Endpoint],
    to: Endpoint,
    list: &[FailedBefore],
) -> Option<Draft> {
    let case = context.case;
    let joined = case.joined;
    let (c, failed) = list.first()?;
    let x = &joined.connections[*c];
    let in_order = || failed.iter().rev().map(|o| &joined.connections[*o]);
    let span = cost_of(context, *c, ends);
    let names: Vec<String> = ends.iter().map(ToString::to_string).collect();
    let how: Vec<String> = in_order()
        .map(|o| format!("{} {}", o.to, outcome(case, o)))
        .collect();
    let harmless = !attempt::failed(x) && span.is_none_or(|s| s < Span::millis(50));
    let worth_saying = span.filter(|s| *s >= Span::millis(1));
    Some(Draft {
        id: PAGE.id,
        severity: if harmless {
            Severity::Info
        } else {
            cost::severity(span, attempt::failed(x))
        },
        subject: Some(Subject::Connection(*c)),
        parties: parties::servers(ends.iter().copied().chain([to])),
        title: format!(
            "{} failed first{}; then the client {} {to}",
            words::list(&names),
            worth_saying.map_or_else(String::new, |s| format!(" and cost {}", case.took(s))),
            how_it_went_on(x)
        ),
        detail: format!(
            "{}.{}",
            words::list(&how),
            match list.len() {
                1 => String::new(),
                n => format!(" That happened {}.", words::times(n)),
            }
        ),
        cost: span,
        total: None,
        remedy: Some(format!(
            "Make {} reachable or remove it from DNS; until then put the address that works into /etc/hosts, or \
             shorten the program's connect timeout.",
            words::list(&names)
        )),
        evidence: attempt::evidence(in_order().chain([x])),
    })
}

/// What the failed attempts cost the connection after them. An account that has none of it does not say.
fn cost_of(context: &Context, c: ConnectionId, ends: &[Endpoint]) -> Option<Span> {
    let mut accounts = context.accounts.iter();
    let account = accounts.find(|a| a.subject == Subject::Connection(c))?;
    let to_them = account.lines.iter().filter(|l| {
        l.kind == Kind::AttemptFailed
            && matches!(l.party, Some(ChargedParty::Endpoint(e)) if ends.contains(&e))
    });
    Some(to_them.map(|l| l.span).sum()).filter(|s| *s > Span::ZERO)
}

fn how_it_went_on(x: &Connection) -> &'static str {
    match x.outcome {
        Ending::Connected => "connected to",
        _ if attempt::failed(x) => "failed to connect to",
        _ => "went on to",
    }
}

fn outcome(case: &Case, x: &Connection) -> String {
    let time = |word: &str| {
        attempt::lasted(x)
            .and_then(|t| case.evidence.known(t))
            .map_or_else(String::new, |t| format!(" {word} {}", case.took(t)))
    };
    match x.outcome {
        Ending::Refused => format!("refused{}", time("after")),
        Ending::Unreachable => format!("was unreachable{}", time("after")),
        Ending::NoSyn(_) => format!("failed{}: no SYN left this host", time("after")),
        Ending::TimedOut(_) | Ending::Open(_) if x.syns.is_empty() => {
            format!("did not accept a connection{}", time("in"))
        }
        Ending::TimedOut(_) | Ending::Open(_) => format!(
            "answered none of {}{}",
            words::counted((x.repeats + 1).min(x.syns.len()), "SYN", "SYNs"),
            time("in")
        ),
        Ending::Connected => "connected".into(),
    }
}
