//! What a live run waits for, in whole lines, said when a wait has grown to 1, 5, 10, … seconds.
//!
//! Pure: the events and the open calls come in, lines go out.

use crate::event::dns::Question;
use crate::event::{Address, Call, Event, EventKind, Fd, LifecycleChange, Op, Task, Transfer};
use crate::explain::stack;
use crate::flow::Endpoint;
use crate::render::safe::escape;
use crate::time::{Span, Timestamp};
use std::collections::HashMap;

/// Waits that are worth a line, in seconds; after the last one every 30 s.
const STEPS: [i64; 6] = [1, 5, 10, 20, 30, 60];

/// A call that has not returned: who, since when, for what.
pub type Waiting<'a> = (&'a Task, Timestamp, &'a Op);

/// A query without an answer.
struct OpenQuery {
    resolver: Endpoint,
    id: u16,
    question: Option<Question>,
    sent: Timestamp,
}

/// What was asked and not answered, by thread, and what has been said about it.
#[derive(Default)]
pub struct WaitProgress {
    queries: HashMap<Option<u32>, Vec<OpenQuery>>,
    services: HashMap<(Option<u32>, i32), Box<str>>,
    /// How many steps have been said of the wait of this thread that began then.
    said: HashMap<(Option<u32>, Timestamp), usize>,
    /// Which thread said a step of a wait for a party last, and when.
    said_of: HashMap<(String, usize), (Option<u32>, Timestamp)>,
    /// Whose call was the latest: a stack that follows is his.
    latest: Task,
    /// How to see more of a thread, said with its first line.
    hints: HashMap<Option<u32>, String>,
}

/// More open queries of one thread than this are a storm; the first ones tell enough.
const MAX_OPEN: usize = 64;
/// More threads than this need no hints.
const MAX_HINTS: usize = 1_024;
/// What was said of a party so long ago is forgotten.
const SAID_LONG_AGO: Span = Span::seconds(120);
/// More parties than this are told of by every thread.
const MAX_PARTIES: usize = 1_024;

/// What a thread waits for.
struct Awaited {
    /// Since when.
    from: Timestamp,
    /// The party or parties: threads that wait for the same one need one line.
    party: String,
    what: String,
}

impl WaitProgress {
    /// Takes note of an event; gives the line to say at once, where a wait just ended on a step: the next tick
    /// may come too late to say it.
    pub fn event(&mut self, event: &Event) -> Option<String> {
        match &event.what {
            EventKind::Call(call) => return self.call(event.at, call),
            EventKind::Stack(stack) => {
                if let Some(hint) = stack::hint(&self.latest, stack)
                    && self.hints.len() < MAX_HINTS
                {
                    self.hints.insert(self.latest.tid, hint);
                }
            }
            EventKind::Life(life) => {
                if let LifecycleChange::Exited(_) | LifecycleChange::Killed(_) = life.change {
                    self.ended(life.task.tid);
                }
            }
            EventKind::Packet(_) | EventKind::Owner(_) => {}
        }
        None
    }

    fn call(&mut self, at: Timestamp, call: &Call) -> Option<String> {
        let tid = call.task.tid;
        (self.latest.pid, self.latest.tid) = (call.task.pid, tid);
        match &call.op {
            Op::Send { fd, messages } => self.sent(at, tid, fd, messages),
            Op::Receive { messages, .. } => self.received(messages),
            // A poll that ends in vain ends at 5.0 s sharp, before any tick would see these 5 s.
            Op::Wait { .. } if call.outcome.value() == Some(0) => {
                let line = call
                    .exited
                    .and_then(|now| self.line(&call.task, at, &call.op, now));
                return line;
            }
            Op::Connect {
                to: Address::Inet(to),
                ..
            } if to.port != 53 => {
                // The thread has what it wanted, or has given up on it.
                self.queries.remove(&tid);
            }
            Op::Connect {
                fd,
                to: Address::Unix(path),
            } if call.outcome.value().is_some() => {
                self.services.insert((tid, fd.number), path.clone());
            }
            Op::Close { fd } => {
                self.services.remove(&(tid, fd.number));
            }
            _ => {}
        }
        None
    }

    /// Queries that a thread sent, and that are not answered yet.
    fn sent(&mut self, at: Timestamp, tid: Option<u32>, fd: &Fd, messages: &[Transfer]) {
        let peer = fd.note.as_ref().and_then(|n| n.peer);
        let list = self.queries.entry(tid).or_default();
        for message in messages.iter().filter(|m| m.taken) {
            let Some(resolver) = message.peer.or(peer) else {
                continue;
            };
            for dns in message.dns.iter().filter(|m| !m.response) {
                if list.len() < MAX_OPEN {
                    list.push(OpenQuery {
                        resolver,
                        id: dns.id,
                        question: dns.question.clone(),
                        sent: at,
                    });
                }
            }
        }
    }

    /// Answers, whichever thread takes them.
    fn received(&mut self, messages: &[Transfer]) {
        let responses = messages.iter().flat_map(|m| &m.dns).filter(|m| m.response);
        for id in responses.map(|m| m.id) {
            for list in self.queries.values_mut() {
                list.retain(|q| q.id != id);
            }
        }
    }

    /// A thread waits for nothing any more.
    fn ended(&mut self, tid: Option<u32>) {
        self.queries.remove(&tid);
        self.services.retain(|(of, _), _| *of != tid);
        self.hints.remove(&tid);
    }

    /// The lines to say now. `waiting` are the calls that have not returned.
    pub fn tick<'a>(
        &mut self,
        now: Timestamp,
        waiting: impl Iterator<Item = Waiting<'a>>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let mut alive = Vec::new();
        for (task, since, op) in waiting {
            alive.push((task.tid, since));
            lines.extend(self.line(task, since, op, now));
        }
        let queries = &self.queries;
        self.said.retain(|key, _| {
            let open = queries.get(&key.0);
            alive.contains(key) || open.is_some_and(|list| list.iter().any(|q| q.sent == key.1))
        });
        lines
    }

    /// The line about a wait, when it has passed another step.
    fn line(&mut self, task: &Task, since: Timestamp, op: &Op, now: Timestamp) -> Option<String> {
        let Awaited { from, party, what } = self.waits_for(task, since, op)?;
        let waited = now - from;
        let step = step(waited);
        let said = self.said.entry((task.tid, from)).or_insert(0);
        if step <= *said {
            return None;
        }
        let first = *said == 0;
        *said = step;
        if self.another_said(task.tid, from, (party, step), now) {
            return None;
        }
        let who = task.comm.as_deref().map_or_else(
            || format!("tid {}", task.tid.unwrap_or(0)),
            |c| escape(c).into_owned(),
        );
        let hint = self.hints.get(&task.tid).filter(|_| first);
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        Some(format!(
            "{:.1} s: {what} ({who}){hint}",
            waited.as_seconds()
        ))
    }

    /// Whether another thread has said as much of a party since this one waits for it; else this one is taken to say it now.
    fn another_said(
        &mut self,
        tid: Option<u32>,
        from: Timestamp,
        key: (String, usize),
        now: Timestamp,
    ) -> bool {
        self.said_of.retain(|_, (_, at)| now - *at < SAID_LONG_AGO);
        let said = self.said_of.get(&key);
        let another = said.is_some_and(|(by, at)| *by != tid && from <= *at);
        if !another && self.said_of.len() < MAX_PARTIES {
            self.said_of.insert(key, (tid, now));
        }
        another
    }

    /// What a blocked call waits for, and since when; `None` for waits that are nobody's business.
    fn waits_for(&self, task: &Task, since: Timestamp, op: &Op) -> Option<Awaited> {
        match op {
            Op::Connect {
                to: Address::Inet(to),
                ..
            } => Some(Awaited {
                from: since,
                party: to.to_string(),
                what: format!("{to} has not answered the SYN"),
            }),
            Op::Wait { .. } | Op::Receive { .. } => {
                if let Some(unanswered) = self.unanswered(task.tid) {
                    return Some(unanswered);
                }
                let path = op
                    .fd()
                    .and_then(|fd| self.services.get(&(task.tid, fd.number)));
                path.map(|p| Awaited {
                    from: since,
                    party: p.to_string(),
                    what: format!("the service behind {} has not answered", escape(p)),
                })
            }
            _ => None,
        }
    }
}

impl WaitProgress {
    /// The question that a thread asked last and how long it has been asking: of one resolver after the other,
    /// round after round.
    fn unanswered(&self, tid: Option<u32>) -> Option<Awaited> {
        let list = self.queries.get(&tid)?;
        let question = &list.last()?.question;
        let same: Vec<&OpenQuery> = list.iter().filter(|q| q.question == *question).collect();
        let mut resolvers: Vec<Endpoint> = Vec::new();
        for query in &same {
            if !resolvers.contains(&query.resolver) {
                resolvers.push(query.resolver);
            }
        }
        let names: Vec<String> = resolvers.iter().map(name).collect();
        let (who, have) = match &names[..] {
            [one] => (one.clone(), "has"),
            [most @ .., last] => (format!("{} and {last}", most.join(", ")), "have"),
            [] => return None,
        };
        let asked = question
            .as_ref()
            .map_or_else(|| "a query".into(), ToString::to_string);
        let from = same.first()?.sent;
        Some(Awaited {
            from,
            what: format!("{who} {have} not answered {asked}"),
            party: who,
        })
    }
}

/// A resolver as people know it: without the usual port.
pub(super) fn name(resolver: &Endpoint) -> String {
    if resolver.port == 53 {
        resolver.ip.to_string()
    } else {
        resolver.to_string()
    }
}

/// How many of the steps a wait has passed.
pub(super) fn step(waited: Span) -> usize {
    let passed = STEPS
        .iter()
        .filter(|s| waited >= Span::seconds(**s))
        .count();
    let beyond = (waited - Span::seconds(STEPS[STEPS.len() - 1])).0.max(0) / Span::seconds(30).0;
    passed + usize::try_from(beyond).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_slower_than_waits() {
        let steps: Vec<usize> = [0, 1, 4, 5, 12, 61, 91, 125]
            .map(|s| step(Span::seconds(s)))
            .into();
        assert_eq!(steps, [0, 1, 1, 2, 3, 6, 7, 8]);
    }

    /// Two resolvers asked in turn, each silent for 3 s: one wait that grows.
    #[test]
    fn a_wait_grows_over_all_resolvers() {
        use crate::event::{Call, CallOutcome, Fd, Location, Transfer};
        let at = |s: i64| Timestamp(Span::seconds(1_000_000 + s).0);
        let task = Task {
            tid: Some(7),
            ..Task::default()
        };
        let event = |began: i64, ended: i64, value: i64, op: Op| Event {
            at: at(began),
            place: Location::default(),
            what: EventKind::Call(Box::new(Call {
                task: task.clone(),
                exited: Some(at(ended)),
                outcome: CallOutcome::Returned(value),
                op,
            })),
        };
        let send = |began: i64, resolver: &str| {
            let query = b"\0\x05\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
            let dns = crate::decode::dns::glimpse(query, false).unwrap();
            let message = Transfer {
                peer: Some(resolver.parse::<std::net::SocketAddr>().unwrap().into()),
                length: 30,
                taken: true,
                dns: vec![dns],
                local: None,
            };
            let (fd, messages) = (Fd::bare(3), vec![message]);
            event(began, began, 30, Op::Send { fd, messages })
        };
        let wait = Op::Wait {
            fds: vec![],
            ready: vec![],
            timeout: None,
        };
        let mut progress = WaitProgress::default();
        assert_eq!(progress.event(&send(0, "10.0.1.93:53")), None);
        let mut said = Vec::new();
        let mut tick = |progress: &mut WaitProgress, now, since: Option<i64>| {
            let waiting = since.map(|since| (&task, at(since), &wait));
            said.extend(progress.tick(at(now), waiting.into_iter()));
        };
        tick(&mut progress, 1, Some(0));
        tick(&mut progress, 2, Some(0));
        progress.event(&event(0, 3, 0, wait.clone()));
        progress.event(&send(3, "10.0.1.95:53"));
        tick(&mut progress, 4, Some(3));
        // The second wait ends exactly when a step is passed, and no tick sees it.
        let at_once = progress.event(&event(3, 5, 0, wait.clone()));
        tick(&mut progress, 6, None);
        said.extend(at_once);
        assert_eq!(
            said,
            [
                "1.0 s: 10.0.1.93 has not answered A a.example (tid 7)",
                "5.0 s: 10.0.1.93 and 10.0.1.95 have not answered A a.example (tid 7)"
            ]
        );
    }

    #[test]
    fn threads_that_wait_for_one_party_need_one_line() {
        let at = |s: i64| Timestamp(Span::seconds(1_000_000 + s).0);
        let tasks: Vec<Task> = (1..=50)
            .map(|tid| Task {
                tid: Some(tid),
                ..Task::default()
            })
            .collect();
        let connect = |to: &str| Op::Connect {
            fd: crate::event::Fd::bare(3),
            to: Address::Inet(to.parse::<std::net::SocketAddr>().unwrap().into()),
        };
        let (one, other) = (connect("192.0.2.1:80"), connect("192.0.2.2:80"));
        let mut progress = WaitProgress::default();
        let mut said = Vec::new();
        for now in [1, 2, 5] {
            let last = tasks.len() - 1;
            let waiting = tasks.iter().enumerate();
            let waiting = waiting.map(|(n, t)| (t, at(0), if n == last { &other } else { &one }));
            said.extend(progress.tick(at(now), waiting));
        }
        let expected = [
            "1.0 s: 192.0.2.1:80 has not answered the SYN (tid 1)",
            "1.0 s: 192.0.2.2:80 has not answered the SYN (tid 50)",
            "5.0 s: 192.0.2.1:80 has not answered the SYN (tid 1)",
            "5.0 s: 192.0.2.2:80 has not answered the SYN (tid 50)",
        ];
        assert_eq!(said, expected);
        // Who waits since then says so anew.
        let next = Task {
            tid: Some(51),
            ..Task::default()
        };
        let said = progress.tick(at(7), [(&next, at(6), &one)].into_iter());
        assert_eq!(
            said,
            ["1.0 s: 192.0.2.1:80 has not answered the SYN (tid 51)"]
        );
    }
}
