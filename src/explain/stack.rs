//! Who made a call: the stacks of a case, in words.

use super::Case;
use crate::event::stack::{Frame, Stack, StackEnd};
use crate::event::{Address, Call, Event, EventKind, Location, Op, Task};
use crate::join::EventId;
use crate::report::{self, StackCut};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// So many different stacks are kept, though no retained call has them: a report counts them.
const MAX_DISTINCT: usize = 5_000;

/// The stacks of a case, each kept once.
#[derive(Debug, Default)]
pub struct Stacks {
    distinct: Vec<Arc<Stack>>,
    index: HashMap<Arc<Stack>, usize>,
    of_call: HashMap<Location, usize>,
}

impl Stacks {
    /// Takes the stacks out of a trace's events, which are in the trace's own order: each follows its call.
    pub fn take(&mut self, events: &mut Vec<Event>) {
        let mut call = None;
        events.retain(|event| match &event.what {
            EventKind::Call(_) => {
                call = Some(event.place);
                true
            }
            EventKind::Stack(stack) => {
                if let Some(call) = call {
                    self.add(call, stack.clone());
                }
                false
            }
            _ => true,
        });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.distinct.is_empty()
    }

    /// Adds the stack of a call.
    pub fn add(&mut self, call: Location, stack: Arc<Stack>) {
        let next = self.distinct.len();
        let n = *self.index.entry(stack).or_insert_with_key(|stack| {
            self.distinct.push(stack.clone());
            next
        });
        self.of_call.insert(call, n);
    }

    /// Drops what is known of other calls than these; of stacks only those beyond what a report holds.
    pub fn retain(&mut self, calls: &HashSet<Location>) {
        self.of_call.retain(|call, _| calls.contains(call));
        if self.distinct.len() <= MAX_DISTINCT {
            return;
        }
        let old = std::mem::take(self);
        let mut calls: Vec<(Location, usize)> = old.of_call.into_iter().collect();
        calls.sort_unstable_by_key(|(call, n)| (*n, *call));
        for (call, n) in calls {
            if let Some(stack) = old.distinct.get(n) {
                self.add(call, stack.clone());
            }
        }
    }

    fn of(&self, case: &Case, event: EventId) -> Option<(usize, &Stack)> {
        if self.distinct.is_empty() {
            return None;
        }
        let n = *self.of_call.get(&case.evidence.event(event).place)?;
        Some((n, self.distinct.get(n)?))
    }
}

fn id(n: usize) -> String {
    format!("S{}", n + 1)
}

/// Id of the stack of a call, if it has one.
pub fn of_call(case: &Case, event: EventId) -> Option<String> {
    case.stacks.of(case, event).map(|(n, _)| id(n))
}

/// Lists the stacks of a report: so many, those that it refers to first. References to others are taken out.
pub fn list(case: &Case, report: &mut report::Report, most: usize) {
    let all = &case.stacks.distinct;
    let mut ids: Vec<String> = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    references(report, &mut |stack| {
        if let Some(id) = stack.as_ref().filter(|id| seen.insert((*id).clone())) {
            ids.push(id.clone());
        }
    });
    let others = (0..all.len()).map(id).filter(|id| !seen.contains(id));
    let listed: HashSet<String> = ids.into_iter().chain(others).take(most).collect();
    references(report, &mut |stack| {
        stack.take_if(|id| !listed.contains(id));
    });
    let shown = all.iter().enumerate().map(|(n, stack)| (id(n), stack));
    let shown = shown.filter(|(id, _)| listed.contains(id));
    report.stacks = shown.map(|(id, stack)| written(id, stack)).collect();
    report.omitted.stacks = all.len() - report.stacks.len();
}

/// Every place of a report that names a stack, findings first.
fn references(report: &mut report::Report, visit: &mut dyn FnMut(&mut Option<String>)) {
    let findings = report.findings.iter_mut().flat_map(|f| &mut f.callers);
    findings.for_each(|caller| visit(&mut caller.stack));
    for lookup in &mut report.lookups {
        for caller in &mut lookup.callers {
            visit(&mut caller.stack);
        }
        let causes = lookup.queries.iter_mut().filter_map(|q| q.cause.as_mut());
        causes.for_each(|cause| visit(&mut cause.stack));
    }
    let causes = report
        .connections
        .iter_mut()
        .filter_map(|c| c.cause.as_mut());
    causes.for_each(|cause| visit(&mut cause.stack));
}

fn written(id: String, stack: &Stack) -> report::Stack {
    let frames = stack.frames.iter().map(|f| report::Frame {
        function: f.function.as_deref().map(str::to_owned),
        offset: f.function.as_ref().map(|_| f.offset),
        file: f.module.to_string(),
        address: f.address,
    });
    report::Stack {
        id,
        frames: frames.collect(),
        cut: cut(stack.end),
    }
}

fn cut(end: StackEnd) -> Option<StackCut> {
    match end {
        StackEnd::Outermost | StackEnd::Unsaid => None,
        StackEnd::Limit => Some(StackCut::Limit),
        StackEnd::Generated { .. } => Some(StackCut::GeneratedCode),
        StackEnd::Lost => Some(StackCut::NoUnwindInformation),
    }
}

/// So many different callers are told of one finding.
const MAX_CALLERS: usize = 3;

/// Who made these calls. Where some of them asked for names, only those count: a finding about a lookup cites the
/// connect as well.
pub fn callers(case: &Case, calls: impl IntoIterator<Item = EventId>) -> Vec<report::Caller> {
    let mut asked: Vec<report::Caller> = Vec::new();
    let mut connected: Vec<report::Caller> = Vec::new();
    for event in calls {
        let (Some((n, stack)), EventKind::Call(call)) = (
            case.stacks.of(case, event),
            &case.evidence.event(event).what,
        ) else {
            continue;
        };
        let asks = asks(case, call);
        let list = if asks { &mut asked } else { &mut connected };
        let Some(said) = words(stack) else {
            continue;
        };
        let words = format!("{} {said}", if asks { "asked by" } else { "connected by" });
        if list.len() < MAX_CALLERS && !list.iter().any(|c| c.words == words) {
            let (stack, hint) = (Some(id(n)), hint(&call.task, stack));
            list.push(report::Caller { words, stack, hint });
        }
    }
    if asked.is_empty() { connected } else { asked }
}

/// Whether a call asks a resolver or a name service, rather than connecting to a server.
fn asks(case: &Case, call: &Call) -> bool {
    match &call.op {
        Op::Connect {
            to: Address::Inet(to),
            ..
        } => case.evidence.dns_ports.contains(&to.port),
        _ => true,
    }
}

/// The frames in which the C library's or Go's own way down to the call ends are among the first so many.
const NEAR: usize = 24;
/// In a log of strace's a name so far before the address is that of a neighbour whose own name the file does not
/// have.
const FAR: u64 = 0x200;

/// `getnameinfo ← Java_java_net_Inet6AddressImpl_getHostByAddr (libnet.so)`: the function that the program called, and
/// who called it.
pub fn words(stack: &Stack) -> Option<String> {
    let frames = &stack.frames;
    let first = frames.first()?;
    let inner = inner(frames);
    let called = frames[..inner].iter().rev().find_map(public);
    // Standard libraries of Rust stand between.
    let outer = frames[inner..]
        .iter()
        .take(NEAR)
        .find(|f| !name(f).is_some_and(is_rust_library));
    let caller = outer
        .or_else(|| frames.get(inner))
        .filter(|f| !is_go_root(f));
    Some(match (called, caller) {
        (Some(called), Some(caller)) => format!("{called} ← {}", place(caller, stack.end)),
        (Some(called), None) => format!("{called} ({})", first.file()),
        (None, Some(caller)) => place(caller, stack.end),
        (None, None) => first.file().to_owned(),
    })
}

/// A frame as `function (file)`, or the file alone.
fn place(frame: &Frame, end: StackEnd) -> String {
    let doubtful = end_is_straces(end) && frame.offset > FAR;
    match name(frame).filter(|_| !doubtful) {
        Some(name) => format!("{name} ({})", frame.file()),
        None => frame.file().to_owned(),
    }
}

/// strace names the nearest function before an address, whatever its size. Its logs do not say how a stack ends.
fn end_is_straces(end: StackEnd) -> bool {
    matches!(end, StackEnd::Unsaid | StackEnd::Generated { .. })
}

fn name(frame: &Frame) -> Option<&str> {
    frame.function.as_deref()
}

/// How many of the innermost frames are the way down from a public function to the call: those of the C library and
/// its modules, of Go's packages, or, in a program linked statically, up to a public function of the C library.
fn inner(frames: &[Frame]) -> usize {
    let run = frames
        .iter()
        .take_while(|f| is_c_library(f.file()) || name(f).is_some_and(is_go_library))
        .count();
    let near = frames.iter().take(NEAR);
    let asked = near
        .enumerate()
        .filter(|(_, f)| name(f).is_some_and(is_public))
        .map(|(i, _)| i + 1)
        .next_back();
    if run > 0 { run } else { asked.unwrap_or(0) }
}

/// The frame's function, if it is one that programs call.
fn public(frame: &Frame) -> Option<&str> {
    name(frame).filter(|name| !name.starts_with("runtime."))
}

/// Files of glibc and musl, and the modules that glibc loads for name services.
fn is_c_library(file: &str) -> bool {
    [
        "libc.",
        "libc-",
        "libresolv",
        "libnss_",
        "libpthread",
        "libanl",
        "ld-",
        "[vdso]",
    ]
    .iter()
    .any(|beginning| file.starts_with(beginning))
}

/// Functions of the C library that lead to a query or a connection (resolver(3), getaddrinfo(3), connect(2), …).
fn is_public(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    name.starts_with("gethostby")
        || name.starts_with("res_")
        || matches!(
            name,
            "getaddrinfo"
                | "getnameinfo"
                | "getaddrinfo_a"
                | "connect"
                | "send"
                | "sendto"
                | "sendmsg"
                | "sendmmsg"
                | "write"
                | "writev"
        )
}

/// Packages of Go's standard library below those that programs use to connect.
fn is_go_library(name: &str) -> bool {
    let package = name.split('.').next().unwrap_or("");
    name.contains('.')
        && (matches!(package, "runtime" | "syscall" | "net" | "os" | "context")
            || package.starts_with("internal/")
            || package.starts_with("runtime/"))
}

/// Where every goroutine begins.
fn is_go_root(frame: &Frame) -> bool {
    name(frame).is_some_and(|name| name.starts_with("runtime.goexit"))
}

fn is_rust_library(name: &str) -> bool {
    ["std::", "core::", "<std::", "<core::", "<&"]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// How to see what the stack cannot show: Java's own frames are in code made at run time. jstack(1) prints them while the
/// thread waits; it tells threads by their ids, since JDK 19 in decimal.
pub fn hint(task: &Task, stack: &Stack) -> Option<String> {
    let java = |f: &Frame| {
        f.file() == "libjvm.so" || name(f).is_some_and(|name| name.starts_with("Java_"))
    };
    if !matches!(stack.end, StackEnd::Generated { .. }) || !stack.frames.iter().any(java) {
        return None;
    }
    let tid = task.tid?;
    let process = task
        .pid
        .map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
    Some(format!(
        "for the Java frames, while it waits: jstack {process} | grep -A20 -E 'nid=(0x{tid:x}|{tid}) '"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(frames: &[(&str, &str)], end: StackEnd) -> Stack {
        let frames = frames.iter().map(|(function, module)| Frame {
            function: (!function.is_empty()).then(|| (*function).into()),
            offset: 0x10,
            module: format!("/usr/lib/{module}").into(),
            address: 0x1234,
        });
        let frames = frames.collect();
        Stack { frames, end }
    }

    fn said(frames: &[(&str, &str)]) -> String {
        words(&stack(frames, StackEnd::Outermost)).unwrap()
    }

    #[test]
    fn the_public_function_and_its_caller_are_named() {
        let libc = "libc.so.6";
        assert_eq!(
            said(&[
                ("send", libc),
                ("", libc),
                ("__res_context_send", libc),
                ("gethostbyaddr_r", libc),
                ("getnameinfo", libc),
                ("Java_java_net_Inet6AddressImpl_getHostByAddr", "libnet.so"),
            ]),
            "getnameinfo ← Java_java_net_Inet6AddressImpl_getHostByAddr (libnet.so)"
        );
        let getent = [
            ("connect", libc),
            ("getaddrinfo", libc),
            ("", "getent"),
            ("__libc_start_main", libc),
        ];
        assert_eq!(said(&getent), "getaddrinfo ← getent");
        assert_eq!(
            said(&[
                ("connect", libc),
                ("std::net::connect", "app"),
                ("app::main", "app")
            ]),
            "connect ← app::main (app)"
        );
    }

    #[test]
    fn programs_in_one_file_are_understood() {
        assert_eq!(
            said(&[
                ("syscall.write", "app"),
                ("internal/poll.(*FD).Write", "app"),
                ("net.(*Resolver).lookupIPAddr", "app"),
                ("main.main", "app"),
                ("runtime.main", "app"),
            ]),
            "net.(*Resolver).lookupIPAddr ← main.main (app)"
        );
        assert_eq!(
            said(&[
                ("net.(*Resolver).goLookup.func1", "app"),
                ("runtime.goexit.abi0", "app")
            ]),
            "net.(*Resolver).goLookup.func1 (app)"
        );
        assert_eq!(
            said(&[
                ("sendto", "app"),
                ("__res_msend_rc", "app"),
                ("name_from_dns", "app"),
                ("getaddrinfo", "app"),
                ("main", "app")
            ]),
            "getaddrinfo ← main (app)"
        );
        assert_eq!(said(&[("", "app")]), "app");
    }

    #[test]
    fn a_far_name_of_straces_is_not_believed() {
        let mut log = stack(
            &[("getaddrinfo", "libc.so.6"), ("neighbour", "app")],
            StackEnd::Unsaid,
        );
        assert_eq!(words(&log).unwrap(), "getaddrinfo ← neighbour (app)");
        log.frames[1].offset = 0x9999;
        assert_eq!(words(&log).unwrap(), "getaddrinfo ← app");
    }

    #[test]
    fn the_hint_is_for_java_only() {
        let task = Task {
            pid: Some(17_740),
            tid: Some(17_743),
            comm: None,
        };
        let frames = [
            ("getnameinfo", "libc.so.6"),
            ("Java_java_net_Inet6AddressImpl_getHostByAddr", "libnet.so"),
        ];
        let end = StackEnd::Generated { address: 0x7f00 };
        let said = hint(&task, &stack(&frames, end)).unwrap();
        assert!(said.ends_with("jstack 17740 | grep -A20 -E 'nid=(0x454f|17743) '"));
        assert_eq!(hint(&task, &stack(&frames, StackEnd::Outermost)), None);
        assert_eq!(hint(&task, &stack(&frames[..1], end)), None, "node");
    }
}
