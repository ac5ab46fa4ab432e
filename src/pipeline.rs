//! From events to a report: the pure middle of the house, the same for live and recorded cases.

pub mod files;
pub mod retention;

use crate::clock::belonging::{Belonging, Mismatch};
use crate::clock::{self, Given, Sibling, Solution};
use crate::coverage::{Coverage, Trust};
use crate::decode::hosts::HostsFile;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::{Event, EventKind, Whose};
use crate::explain::Case;
use crate::explain::assemble::{self, Limits};
use crate::explain::stack::Stacks;
use crate::explain::words::{inputs, outside, selection};
use crate::flow::{DNS_PORT, Target};
use crate::input::host::RecordedHost;
use crate::input::watched::Watched;
use crate::input::{CaptureFacts, TraceFacts};
use crate::join::owners::Owners;
use crate::join::{self, Evidence};
use crate::merge;
use crate::report::{Report, Run};
use crate::time::{Span, Timestamp};
use crate::timetable;
use crate::totals::EvictedTotals;
use std::collections::BTreeMap;
use std::convert::Infallible;
use thiserror::Error;

/// What the sources delivered.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Captures.
    pub captures: Vec<CaptureFacts>,
    /// Events of all captures and, where processes were watched, what was found out about whose packets they are.
    pub packets: Vec<Event>,
    /// The clocks of the traces of these inputs, where they were solved while reading: their events are in the capture's time,
    /// or have those of [`clock::untimed`].
    pub solved: BTreeMap<u16, Solution>,
    /// Stacks of calls whose events hold none.
    pub stacks: Stacks,
    /// What was evicted while reading.
    pub totals: EvictedTotals,
    /// Traces, each with its events in its own clock.
    pub traces: Vec<(TraceFacts, Vec<Event>)>,
    /// resolv.conf's path and text.
    pub resolv_conf: Option<(String, String)>,
    /// Words of `RES_OPTIONS` in the client's environment, where the case stores it.
    pub resolver_options: Vec<String>,
    /// Text of the client's `/etc/hosts`.
    pub hosts: Option<String>,
    /// What was watched, where nothing was traced.
    pub watched: Option<Watched>,
    /// What was run, where the case stores it.
    pub run: Option<Run>,
    /// The host that it was run on.
    pub recorded_host: RecordedHost,
    /// The command's start, where the case stores it.
    pub started: Option<Timestamp>,
    /// Trace and capture have one clock by construction (live).
    pub one_clock: bool,
    /// What the reader of the report must know about the gathering.
    pub remarks: Vec<String>,
}

impl Gathered {
    /// Takes what was retained of the captures and traces that it names: packets and the events of each trace, in no
    /// order, the stacks of their calls, and the counts of what was evicted.
    pub fn retain(&mut self, (events, stacks, totals): (Vec<Event>, Stacks, EvictedTotals)) {
        self.stacks = stacks;
        self.totals = totals;
        let traced = |e: &Event| !matches!(e.what, EventKind::Packet(_) | EventKind::Owner(_));
        if !events.iter().any(traced) {
            self.packets = events;
            return;
        }
        for event in events {
            if !traced(&event) {
                self.packets.push(event);
                continue;
            }
            let mut traces = self.traces.iter_mut();
            let own = traces.find(|(facts, _)| facts.input == event.place.input);
            if let Some((_, calls)) = own {
                calls.push(event);
            }
        }
    }

    /// Whether a part of the inputs could not be read.
    pub fn is_damaged(&self) -> bool {
        self.captures.iter().any(|c| c.damaged) || self.traces.iter().any(|(t, _)| t.damaged)
    }
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ports that DNS servers listen on, 53 among them.
    pub dns_ports: Vec<u16>,
    /// What the user said about the clock.
    pub clock: Given,
    /// Only these processes and threads.
    pub pids: Vec<u32>,
    /// Only this server's connections get an account.
    pub target: Option<Target>,
    /// How much the lists hold.
    pub limits: Limits,
    /// Inputs that do not belong together are joined all the same.
    pub force_join: bool,
    /// How far absences are believed; as judged, but in proofs.
    pub trust: Trust,
    /// The inputs are files: of a run that is not saved, evidence is cited by its time.
    pub stored: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dns_ports: vec![DNS_PORT],
            clock: Given::default(),
            pids: Vec::new(),
            target: None,
            limits: Limits::BOUNDED,
            force_join: false,
            trust: Trust::Judged,
            stored: true,
        }
    }
}

/// A trace and a capture that are not of one run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{trace} and {capture} are not of one run: {mismatch}; give the files of one run, or join them all the same with --force-join"
)]
pub struct Different {
    /// The trace's path.
    pub trace: String,
    /// The captures' paths.
    pub capture: String,
    /// What does not match.
    pub mismatch: Mismatch,
}

/// Solves the clock, orders, joins and explains, whether the inputs belong together or not.
pub fn report(gathered: Gathered, settings: &Settings) -> Report {
    let explained = explained(gathered, settings, |_| Ok(()), |_| ());
    let (report, ()) = explained.unwrap_or_else(|never: Infallible| match never {});
    report
}

/// The same, for inputs that belong together.
///
/// # Errors
/// They do not, and the settings do not force it.
pub fn checked_report(gathered: Gathered, settings: &Settings) -> Result<Report, Different> {
    checked_report_and(gathered, settings, |_| ()).map(|(report, ())| report)
}

/// The same, and what somebody else makes of the case.
///
/// # Errors
/// As above.
pub fn checked_report_and<T>(
    gathered: Gathered,
    settings: &Settings,
    also: impl FnOnce(&Case) -> T,
) -> Result<(Report, T), Different> {
    let names = names(&gathered);
    let check = |solutions: &[Solution]| belong(&names, solutions, settings);
    explained(gathered, settings, check, also)
}

/// Hands a case, whose inputs belong together, to whoever explains it.
///
/// # Errors
/// They do not, and the settings do not force it.
pub fn checked_case<T>(
    gathered: Gathered,
    settings: &Settings,
    explain: impl FnOnce(&Case) -> T,
) -> Result<T, Different> {
    let names = names(&gathered);
    with_case(gathered, settings, |case, solutions| {
        belong(&names, solutions, settings).map(|()| explain(case))
    })
}

/// The traces' paths, and all captures'.
fn names(gathered: &Gathered) -> (Vec<String>, String) {
    let traces = gathered.traces.iter().map(|(t, _)| t.path.clone());
    let captures: Vec<&str> = gathered.captures.iter().map(|c| c.path.as_str()).collect();
    (traces.collect(), captures.join(", "))
}

/// Whether the inputs belong together, by what was solved for each trace, in their order.
fn belong(
    (traces, captures): &(Vec<String>, String),
    solutions: &[Solution],
    settings: &Settings,
) -> Result<(), Different> {
    let mut each = traces.iter().zip(solutions);
    let different = each.find_map(|(trace, solution)| match &solution.belonging {
        Belonging::Different(mismatch) => Some(Different {
            trace: trace.clone(),
            capture: captures.clone(),
            mismatch: mismatch.clone(),
        }),
        Belonging::Same | Belonging::Unknown => None,
    });
    match different.filter(|_| !settings.force_join) {
        Some(different) => Err(different),
        None => Ok(()),
    }
}

fn explained<T, E>(
    mut gathered: Gathered,
    settings: &Settings,
    check: impl FnOnce(&[Solution]) -> Result<(), E>,
    also: impl FnOnce(&Case) -> T,
) -> Result<(Report, T), E> {
    files::apply(&mut gathered);
    let mut remarks = std::mem::take(&mut gathered.remarks);
    let run = gathered.run.take();
    remarks.extend(outside::warnings(&gathered.traces));
    remarks.extend(inputs::no_nameserver(gathered.resolv_conf.as_ref()));
    let (mut report, made) = with_case(gathered, settings, |case, solutions| {
        check(solutions)?;
        remarks.extend(selection::nothing_chosen(case, &settings.pids));
        Ok((
            assemble::report(case, solutions, settings.limits),
            also(case),
        ))
    })?;
    report.warnings.splice(..0, remarks);
    report.run = run;
    Ok((report, made))
}

/// Solves the clock, orders and joins, and hands the case to whoever explains it.
pub fn with_case<T>(
    mut gathered: Gathered,
    settings: &Settings,
    explain: impl FnOnce(&Case, &[Solution]) -> T,
) -> T {
    files::apply(&mut gathered);
    let Gathered {
        mut captures,
        mut packets,
        mut solved,
        mut stacks,
        mut totals,
        traces,
        resolv_conf,
        resolver_options,
        hosts,
        started,
        one_clock,
        watched,
        remarks: _,
        run: _,
        recorded_host: _,
    } = gathered;
    let conf = { resolv_conf.as_ref() }.map(|(path, text)| (&**path, ResolvConf::parse(text)));
    narrow(&mut packets, &settings.pids);
    // The clock is solved from the first packets of each kind, whatever capture they are in.
    totals.copies += one_capture(&mut captures, &mut packets);
    let mut logs: Vec<Log> = traces.into_iter().map(Log::new).collect();
    for log in &mut logs {
        stacks.take(&mut log.events);
        if !one_clock || !log.facts.clock.has_times() {
            log.solve(&packets, settings, &mut solved);
        }
    }
    let tolerance = on_one_clock(&mut logs);
    let Merged {
        solutions,
        facts,
        calls,
    } = Merged::of(logs, &settings.pids);
    let began = started.or_else(|| first_moment(&calls, &packets, &captures));
    let started = began.unwrap_or_default();
    let both = !packets.is_empty() && !calls.is_empty();
    let assumed = both && solutions.iter().any(|s| s.belonging != Belonging::Same);
    let (events, hosts) = (merge::one(calls, packets), hosts.map(HostsFile::new));
    let surroundings = Surroundings {
        captures: &captures,
        traces: &facts,
        watched: watched.as_ref(),
        own_capture: one_clock,
        assumed,
        trust: settings.trust,
        dns_ports: &settings.dns_ports,
        tolerance: apart(&facts, &captures, tolerance),
        asking: &Asking::of(conf.as_ref().map(|(_, c)| c), &resolver_options),
        stacks: &stacks,
        started,
        dated: began.is_some() && solutions.iter().all(|s| s.dated),
        config: conf.as_ref().map(|(path, c)| (*path, c)),
        environment: &resolver_options,
        hosts: hosts.as_ref(),
        totals: &totals,
        target: settings.target.as_ref(),
        stored: settings.stored,
    };
    surroundings.with_case(&events, |case| explain(case, &solutions))
}

/// When a case begins of which nothing says when its command was started.
fn first_moment(
    calls: &[Event],
    packets: &[Event],
    captures: &[CaptureFacts],
) -> Option<Timestamp> {
    let first = |events: &[Event]| events.iter().map(|e| e.at).min();
    // The command's start is its first call: a capture usually begins earlier, with others' packets. The last are packets
    // that say nothing here, or cannot be read.
    first(calls)
        .or_else(|| first(packets))
        .or_else(|| captures.iter().filter_map(|c| c.first).min())
}

/// Orders the packets of all captures and removes what a second one shows again. Returns how many went.
fn one_capture(captures: &mut [CaptureFacts], packets: &mut Vec<Event>) -> u64 {
    merge::order(packets);
    if captures.len() < 2 {
        return 0;
    }
    let left_out = merge::align(captures, packets);
    if left_out > 0 {
        merge::order(packets);
    }
    left_out + merge::remove_copies(packets)
}

/// How far calls and packets may be apart: those of one host agree to within what a call takes, beside what the clocks
/// leave open.
fn apart(traces: &[TraceFacts], captures: &[CaptureFacts], clocks: Span) -> Span {
    if traces.is_empty() || captures.is_empty() {
        Span::ZERO
    } else {
        clocks + Span::millis(1)
    }
}

/// The logs of a case as one.
#[derive(Default)]
struct Merged {
    solutions: Vec<Solution>,
    facts: Vec<TraceFacts>,
    calls: Vec<Event>,
}

impl Merged {
    /// `pids` are the only processes and threads that count, if any are named.
    fn of(logs: Vec<Log>, pids: &[u32]) -> Self {
        let mut this = Self::default();
        for mut log in logs {
            this.calls.append(&mut log.events);
            this.solutions.extend(log.solution);
            this.facts.push(log.facts);
        }
        if !pids.is_empty() {
            this.calls.retain(|e| concerns(pids, e));
        }
        this
    }
}

/// A trace on its way into the capture's time.
struct Log {
    facts: TraceFacts,
    events: Vec<Event>,
    /// How its clock becomes the capture's; none where they are one by nature.
    solution: Option<Solution>,
    /// Whether its events are in the capture's time already.
    is_shifted: bool,
}

impl Log {
    fn new((facts, events): (TraceFacts, Vec<Event>)) -> Self {
        Self {
            facts,
            events,
            solution: None,
            is_shifted: false,
        }
    }

    fn solve(
        &mut self,
        packets: &[Event],
        settings: &Settings,
        solved: &mut BTreeMap<u16, Solution>,
    ) {
        let clock = self.facts.clock;
        let ports = &settings.dns_ports;
        if let Some(solution) = solved.remove(&self.facts.input) {
            self.is_shifted = true;
            self.solution = Some(solution);
        } else if !clock.has_times() {
            self.is_shifted = true;
            self.solution = Some(clock::lay_out(&mut self.events, packets, ports));
        } else {
            let solution = clock::solve(clock, &self.events, packets, ports, settings.clock);
            self.solution = Some(solution);
        }
    }

    fn as_sibling(&mut self) -> Option<Sibling<'_>> {
        let times = || self.events.iter().map(|e| e.at);
        Some(Sibling {
            clock: self.facts.clock,
            during: (times().min()?, times().max()?),
            solution: self.solution.as_mut()?,
        })
    }
}

/// Moves the events of all logs into the capture's time, and says how far off the worst of them may be.
fn on_one_clock(logs: &mut [Log]) -> Span {
    if logs.len() > 1 {
        let mut siblings: Vec<_> = logs.iter_mut().filter_map(Log::as_sibling).collect();
        clock::recognise_siblings(&mut siblings);
    }
    let mut tolerance = Span::ZERO;
    for log in logs {
        let Some(solution) = &log.solution else {
            continue;
        };
        if !log.is_shifted {
            merge::shift(&mut log.events, solution.offset);
        }
        if log.facts.clock.has_times() {
            let off = clock::resolution(log.facts.clock) + solution.uncertainty;
            tolerance = tolerance.max(off);
        }
    }
    tolerance
}

/// What is known beside the events themselves.
pub(crate) struct Surroundings<'a> {
    pub captures: &'a [CaptureFacts],
    pub traces: &'a [TraceFacts],
    /// What was watched.
    pub watched: Option<&'a Watched>,
    /// The capture is presyn's own: it shows all that the command's network namespace sent.
    pub own_capture: bool,
    /// Nobody can tell whether trace and capture are of one run.
    pub assumed: bool,
    pub trust: Trust,
    pub dns_ports: &'a [u16],
    pub tolerance: Span,
    pub asking: &'a Asking,
    pub stacks: &'a Stacks,
    pub started: Timestamp,
    pub dated: bool,
    pub config: Option<(&'a str, &'a ResolvConf)>,
    pub environment: &'a [String],
    pub hosts: Option<&'a HostsFile>,
    pub totals: &'a EvictedTotals,
    pub target: Option<&'a Target>,
    pub stored: bool,
}

impl Surroundings<'_> {
    /// Joins events, which are in order, and hands the case to whoever explains it.
    pub fn with_case<T>(&self, events: &[Event], explain: impl FnOnce(&Case) -> T) -> T {
        let (own, ports) = (self.own_capture, self.dns_ports);
        let coverage = Coverage::of(self.captures, self.traces, events, (own, ports));
        let coverage = coverage.trusted(self.trust).assumed(self.assumed);
        let coverage = coverage.forgetting(&self.totals.forgotten);
        let owners = Owners::of(events, self.watched, ports);
        let mut unattributed = owners.unattributed(events);
        for span in self.totals.unattributed.times().iter() {
            unattributed.add(*span);
        }
        let coverage = coverage.unattributed(unattributed);
        let evidence = Evidence {
            events,
            captures: self.captures,
            traces: self.traces,
            coverage: &coverage,
            dns_ports: self.dns_ports,
            tolerance: self.tolerance,
            search: &self.asking.search,
            patience: self.asking.patience,
            attempts: self.asking.attempts,
            evicted: self.totals.events,
            owners: &owners,
        };
        explain(&Case {
            evidence,
            joined: &join::join(&evidence),
            stacks: self.stacks,
            started: self.started,
            dated: self.dated,
            config: self.config,
            environment: self.environment,
            hosts: self.hosts,
            totals: self.totals,
            target: self.target,
            stored: self.stored,
        })
    }
}

/// How the client's stub resolver asks, as far as the join needs it.
#[derive(Debug)]
pub(crate) struct Asking {
    search: Vec<String>,
    patience: Span,
    attempts: usize,
}

impl Asking {
    /// As resolv.conf and the words of `RES_OPTIONS` say.
    pub fn of(conf: Option<&ResolvConf>, resolver_options: &[String]) -> Self {
        let patience = conf.map_or_else(Default::default, |c| {
            timetable::glibc::patience(&c.options_with(resolver_options))
        });
        Self {
            search: conf.map_or_else(Vec::new, |c| c.search.clone()),
            patience: Span::seconds(patience.timeout),
            attempts: patience.attempts,
        }
    }
}

/// Makes what watched processes sent that were not chosen another process's.
pub(crate) fn narrow(events: &mut [Event], pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    for event in events {
        if let EventKind::Owner(owner) = &mut event.what
            && let Whose::Watched(socket) = &owner.whose
            && !socket.task.pid.is_some_and(|pid| pids.contains(&pid))
        {
            owner.whose = Whose::Others;
        }
    }
}

/// Whether an event belongs to one of the chosen processes or threads.
pub(crate) fn concerns(pids: &[u32], event: &Event) -> bool {
    let task = match &event.what {
        EventKind::Call(call) => &call.task,
        EventKind::Life(life) => &life.task,
        EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => return true,
    };
    [task.tid, task.pid]
        .into_iter()
        .flatten()
        .any(|id| pids.contains(&id))
}
