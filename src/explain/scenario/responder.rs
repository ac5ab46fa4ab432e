//! What a played resolver does with a message: as recorded where that was recorded, and as chosen where it was not.

use super::choice::{Choice, ChosenReply};
use super::message::{self, readdressed};
use super::{Leg, Scenario};
use crate::decode::dns;
use crate::event::dns::{Message, Rcode};
use crate::explain::schedule::server_behaviour::{QuestionTo, RecordedReply};
use crate::flow::Transport;
use crate::time::Span;
use crate::timetable::ServerReply;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// So many different questions are counted; a client of more gets what is usual.
const MAX_QUESTIONS: usize = 100_000;

/// What an unrecorded question gets, as the user wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// What the resolver did otherwise.
    #[default]
    AsUsual,
    /// NXDOMAIN.
    NoSuchName,
    /// Nothing.
    Silent,
    /// An ICMP error.
    Refuse,
}

/// What is done about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What its sender gets.
    pub reply: Reply,
    /// What the resolver, a stub, asks others meanwhile.
    pub legs: Vec<Leg>,
}

/// What the sender of a message gets. Times run from the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// A message.
    Message {
        /// When.
        after: Span,
        /// Its bytes.
        bytes: Vec<u8>,
        /// It is to be lost between the wire and the client.
        lost: bool,
    },
    /// An ICMP error.
    Error(Span),
}

/// The resolvers of a scenario at work: how often each was asked what.
#[derive(Debug)]
pub struct Responder {
    scenario: Arc<Scenario>,
    unknown: Unknown,
    /// Resolvers that are to answer at once.
    mended: BTreeSet<IpAddr>,
    asked: HashMap<QuestionTo, usize>,
    /// What was decided on the way.
    choices: BTreeSet<Choice>,
}

impl Responder {
    /// Resolvers that were not asked anything yet.
    pub fn new(scenario: Arc<Scenario>, unknown: Unknown, mended: BTreeSet<IpAddr>) -> Self {
        Self {
            scenario,
            unknown,
            mended,
            asked: HashMap::new(),
            choices: BTreeSet::new(),
        }
    }

    /// What was decided since the last call.
    pub fn take_choices(&mut self) -> BTreeSet<Choice> {
        std::mem::take(&mut self.choices)
    }

    /// What a resolver does with a message. What is no query gets nothing.
    pub fn act(&mut self, server: IpAddr, transport: Transport, query: &[u8]) -> Act {
        let nothing = Act {
            reply: Reply::Nothing,
            legs: Vec::new(),
        };
        let Ok(Message {
            response: false,
            question: Some(asked),
            ..
        }) = dns::parse(query)
        else {
            return nothing;
        };
        let question = QuestionTo {
            server,
            transport,
            name: asked.name.folded(),
            kind: asked.kind,
            cut: false,
        };
        let recorded = self.scenario.replies.recorded_as(&question).cloned();
        let n = self.count(recorded.as_ref().unwrap_or(&question));
        let legs = self.scenario.legs.nth(server, &asked.name, asked.kind, n);
        let legs = legs.to_vec();
        Act {
            reply: self.reply(&question, recorded.as_ref(), n, query),
            legs,
        }
    }

    /// How often this was asked before.
    fn count(&mut self, question: &QuestionTo) -> usize {
        if self.asked.len() >= MAX_QUESTIONS && !self.asked.contains_key(question) {
            return 0;
        }
        let times = self.asked.entry(question.clone()).or_default();
        *times += 1;
        *times - 1
    }

    fn reply(
        &mut self,
        question: &QuestionTo,
        known: Option<&QuestionTo>,
        n: usize,
        query: &[u8],
    ) -> Reply {
        if self.mended.contains(&question.server) {
            return self.elsewhere(question, query, Span::ZERO).0;
        }
        let scenario = Arc::clone(&self.scenario);
        let recorded = known.and_then(|known| scenario.replies.nth(known, n));
        if let Some(reply) = recorded.and_then(|r| self.as_recorded(question, r, query)) {
            return reply;
        }
        let usual = match self.unknown {
            Unknown::AsUsual => scenario.replies.usually(question),
            Unknown::NoSuchName => Some(ServerReply::Denied(Span::ZERO)),
            Unknown::Silent => Some(ServerReply::Silent),
            Unknown::Refuse => Some(ServerReply::Error(Span::ZERO)),
        };
        let forced = self.unknown == Unknown::NoSuchName;
        let (reply, chosen) = match usual {
            Some(ServerReply::Silent) => (Reply::Nothing, ChosenReply::Silence),
            Some(ServerReply::Error(after)) => (Reply::Error(after), ChosenReply::Refusal),
            Some(ServerReply::Failure(after)) => {
                let failed = composed(query, Rcode::SERVFAIL, after);
                (failed, ChosenReply::Failure)
            }
            Some(ServerReply::Denied(after)) if forced => {
                let denied = composed(query, Rcode::NXDOMAIN, after);
                (denied, ChosenReply::NoSuchName)
            }
            Some(
                ServerReply::Answer(after)
                | ServerReply::Denied(after)
                | ServerReply::Truncated(after, _),
            ) => self.elsewhere(question, query, after),
            None => self.elsewhere(question, query, Span::ZERO),
        };
        let (server, name) = (question.server, question.name.0.as_ref().into());
        self.choices.insert(if recorded.is_some() {
            Choice::Unseen {
                server,
                name,
                reply: chosen,
            }
        } else {
            Choice::Question {
                server,
                name,
                kind: question.kind,
                reply: chosen,
            }
        });
        reply
    }

    /// As it was recorded; `None` when that does not tell.
    fn as_recorded(
        &mut self,
        question: &QuestionTo,
        recorded: &RecordedReply,
        query: &[u8],
    ) -> Option<Reply> {
        let Some(event) = recorded.response else {
            return match recorded.reply? {
                ServerReply::Error(after) => Some(Reply::Error(after)),
                _ => Some(Reply::Nothing),
            };
        };
        let response = self.scenario.responses.get(&event)?;
        let whole = response.bytes.as_deref();
        let bytes = if let Some(bytes) = whole.and_then(|bytes| readdressed(query, bytes)) {
            bytes
        } else {
            self.choices
                .insert(Choice::Composed(question.name.0.as_ref().into()));
            let received = &response.received;
            let addresses = self.scenario.addresses_in(received, &question.name);
            message::response(query, received.rcode, received.truncated, &addresses)?
        };
        Some(Reply::Message {
            after: recorded.after.unwrap_or_default(),
            bytes,
            lost: recorded.lost,
        })
    }

    /// What the case has for this question from whomever, else that there is no such type, else no such name.
    fn elsewhere(&self, question: &QuestionTo, query: &[u8], after: Span) -> (Reply, ChosenReply) {
        let scenario = &self.scenario;
        let same_name = scenario
            .replies
            .questions()
            .filter(|(other, _)| other.name == question.name);
        let mut known = false;
        let mut found: Option<(Vec<u8>, QuestionKey)> = None;
        for (other, list) in same_name {
            for response in list
                .iter()
                .filter_map(|r| scenario.responses.get(&r.response?))
            {
                let received = &response.received;
                let useful = received.usable();
                known |= useful && !received.addresses.is_empty();
                if !useful || other.kind != question.kind {
                    continue;
                }
                let whole = response
                    .bytes
                    .as_deref()
                    .and_then(|b| readdressed(query, b));
                let addresses = || scenario.addresses_in(received, &question.name);
                let again = || message::response(query, received.rcode, false, &addresses());
                let key = QuestionKey::of(other);
                if let Some(bytes) = whole.or_else(again)
                    && found.as_ref().is_none_or(|(_, best)| key < *best)
                {
                    found = Some((bytes, key));
                }
            }
        }
        if let Some((bytes, _)) = found {
            let reply = Reply::Message {
                after,
                bytes,
                lost: false,
            };
            return (reply, ChosenReply::AsElsewhere);
        }
        if known {
            return (
                composed(query, Rcode::NOERROR, after),
                ChosenReply::NoSuchType,
            );
        }
        let denied = composed(query, Rcode::NXDOMAIN, after);
        (denied, ChosenReply::NoSuchName)
    }
}

/// An order among the sources of an answer, so that the same is chosen each time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct QuestionKey(IpAddr, Transport);

impl QuestionKey {
    fn of(question: &QuestionTo) -> Self {
        Self(question.server, question.transport)
    }
}

fn composed(query: &[u8], rcode: Rcode, after: Span) -> Reply {
    message::response(query, rcode, false, &[]).map_or(Reply::Nothing, |bytes| Reply::Message {
        after,
        bytes,
        lost: false,
    })
}
