//! What tracing took from a program, and what left the trace: warnings, since either changes what the report can show.

use crate::event::{CallOutcome, Errno, Event, EventKind, Op, Task};
use crate::input::TraceFacts;
use std::collections::BTreeMap;

/// So many processes are named in one warning.
const MAX_NAMED: usize = 3;

/// The warnings about a trace that presyn itself took.
pub fn warnings(traces: &[(TraceFacts, Vec<Event>)]) -> Vec<String> {
    let mut found: BTreeMap<&str, BTreeMap<Option<u32>, &Task>> = BTreeMap::new();
    let own = traces.iter().filter(|(facts, _)| facts.style == "presyn");
    for event in own.flat_map(|(_, events)| events) {
        let EventKind::Call(call) = &event.what else {
            continue;
        };
        let Op::Other { name } = &call.op else {
            continue;
        };
        let told = match (&**name, &call.outcome) {
            ("ptrace", outcome) if outcome.errno() == Some(Errno::NotPermitted) => {
                "could not trace (ptrace: EPERM): a process has one tracer, which is presyn"
            }
            ("seccomp", outcome) if outcome.errno() == Some(Errno::Invalid) => {
                "could not enter the strict mode of seccomp (EINVAL): it is traced by means of a filter"
            }
            ("clone", CallOutcome::Returned(_)) => {
                "started a child with CLONE_UNTRACED, which is not in the trace and whose connects, binds and datagram \
                 sockets fail with ENOSYS"
            }
            _ => continue,
        };
        found
            .entry(told)
            .or_default()
            .entry(call.task.pid)
            .or_insert(&call.task);
    }
    let said = found.into_iter().map(|(told, tasks)| {
        let names: Vec<String> = tasks
            .values()
            .take(MAX_NAMED)
            .map(|t| super::task_name(t))
            .collect();
        match tasks.len().saturating_sub(MAX_NAMED) {
            0 => format!("{} {told}", names.join(", ")),
            more => format!("{} and {more} more {told}", names.join(", ")),
        }
    });
    said.collect()
}
