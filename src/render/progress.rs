//! What a live run waits for, in whole lines, said when a wait has grown to 1, 5, 10, … seconds.
//!
//! Pure: the events and the open calls come in, lines go out.

use super::safe::escape;
use crate::event::dns::Question;
use crate::event::{Address, Event, Op, Task, What};
use crate::flow::Endpoint;
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
pub struct Progress {
    queries: HashMap<Option<u32>, Vec<OpenQuery>>,
    services: HashMap<(Option<u32>, i32), Box<str>>,
    said: HashMap<(Option<u32>, Timestamp), usize>,
}

/// More open queries of one thread than this are a storm; the first ones tell enough.
const MAX_OPEN: usize = 64;

impl Progress {
    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        let What::Call(call) = &event.what else {
            return;
        };
        let tid = call.task.tid;
        match &call.op {
            Op::Send { fd, messages } => {
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
                                sent: event.at,
                            });
                        }
                    }
                }
            }
            Op::Receive { messages, .. } => {
                let answered = messages
                    .iter()
                    .flat_map(|m| &m.dns)
                    .filter(|m| m.response)
                    .map(|m| m.id);
                for id in answered {
                    for list in self.queries.values_mut() {
                        list.retain(|q| q.id != id);
                    }
                }
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
            let key = (task.tid, since);
            alive.push(key);
            let Some((from, what)) = self.waits_for(task, since, op) else {
                continue;
            };
            let waited = now - from;
            let step = step(waited);
            let said = self.said.entry(key).or_insert(0);
            if step > *said {
                *said = step;
                let who = task.comm.as_deref().map_or_else(
                    || format!("tid {}", task.tid.unwrap_or(0)),
                    |c| escape(c).into_owned(),
                );
                lines.push(format!("{:.1} s: {what} ({who})", waited.as_seconds()));
            }
        }
        self.said.retain(|key, _| alive.contains(key));
        lines
    }

    /// What a blocked call waits for, and since when; `None` for waits that are nobody's business.
    fn waits_for(&self, task: &Task, since: Timestamp, op: &Op) -> Option<(Timestamp, String)> {
        match op {
            Op::Connect {
                to: Address::Inet(to),
                ..
            } => Some((since, format!("{to} has not answered the SYN"))),
            Op::Wait { .. } | Op::Receive { .. } => {
                if let Some(query) = self.queries.get(&task.tid).and_then(|list| list.last()) {
                    let resolver = if query.resolver.port == 53 {
                        query.resolver.ip.to_string()
                    } else {
                        query.resolver.to_string()
                    };
                    let question = query
                        .question
                        .as_ref()
                        .map_or_else(|| "a query".into(), ToString::to_string);
                    return Some((
                        query.sent,
                        format!("{resolver} has not answered {question}"),
                    ));
                }
                let path = op
                    .fd()
                    .and_then(|fd| self.services.get(&(task.tid, fd.number)));
                path.map(|p| {
                    (
                        since,
                        format!("the service behind {} has not answered", escape(p)),
                    )
                })
            }
            _ => None,
        }
    }
}

/// How many of the steps a wait has passed.
fn step(waited: Span) -> usize {
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
}
