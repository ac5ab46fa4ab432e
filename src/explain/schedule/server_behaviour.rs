//! What each resolver did with what it was asked.

use crate::event::dns::{Name, Rcode, RecordType};
use crate::explain::Case;
use crate::flow::Transport;
use crate::join::lookup::Lookup;
use crate::join::{LookupId, Query, Silence, State};
use crate::time::{Span, Timestamp};
use crate::timetable::{Edge, ServedQuery, ServerReply};
use std::collections::HashMap;
use std::net::IpAddr;

/// The resolvers of a case.
pub struct ServerBehaviour<'a> {
    case: &'a Case<'a>,
    usual: HashMap<(IpAddr, Option<RecordType>), ServerReply>,
    usual_of_any: HashMap<IpAddr, ServerReply>,
}

impl<'a> ServerBehaviour<'a> {
    /// From every query of the case whose fate is known, whoever asked.
    pub fn new(case: &'a Case<'a>) -> Self {
        let mut by_type: HashMap<(IpAddr, Option<RecordType>), Vec<ServerReply>> = HashMap::new();
        let mut by_server: HashMap<IpAddr, Vec<ServerReply>> = HashMap::new();
        for query in &case.joined.queries {
            if let Some(reply) = reply_to(query, None) {
                let server = query.resolver.ip.to_canonical();
                let kind = query.question.kind;
                by_type.entry((server, kind)).or_default().push(reply);
                by_server.entry(server).or_default().push(reply);
            }
        }
        Self {
            case,
            usual: by_type.into_iter().map(|(k, l)| (k, usual(l))).collect(),
            usual_of_any: by_server.into_iter().map(|(k, l)| (k, usual(l))).collect(),
        }
    }

    /// What a server usually does, whatever it is asked.
    pub fn usually(&self, server: IpAddr) -> Option<ServerReply> {
        self.usual_of_any.get(&server).copied()
    }

    /// What a server usually does when it is asked for this type.
    fn usually_of_type(&self, question: &QuestionTo) -> Option<ServerReply> {
        self.usual.get(&(question.server, question.kind)).copied()
    }

    /// The replies that one lookup got, and what the servers usually do for all that it did not ask.
    pub fn of_lookup(&self, lookup: LookupId) -> LookupReplies<'_> {
        let lookup = &self.case.joined.lookups[lookup];
        let mut own: HashMap<_, Vec<Own>> = HashMap::new();
        for q in &lookup.queries {
            let query = &self.case.joined.queries[*q];
            let question = QuestionTo {
                server: query.resolver.ip.to_canonical(),
                name: query.question.name.folded(),
                kind: query.question.kind,
            };
            own.entry(question).or_default().push(Own {
                sent: query.sent,
                reply: reply_to(query, Some((self.case, lookup))),
            });
        }
        LookupReplies {
            behaviour: self,
            own,
        }
    }
}

/// A question, and the server that is asked it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuestionTo {
    /// Whom.
    pub server: IpAddr,
    /// The name, in lower case.
    pub name: Name,
    /// The record type, where it is known.
    pub kind: Option<RecordType>,
}

/// What one lookup got for one query.
struct Own {
    sent: Timestamp,
    reply: Option<ServerReply>,
}

/// The replies that one lookup got.
pub struct LookupReplies<'a> {
    behaviour: &'a ServerBehaviour<'a>,
    own: HashMap<QuestionTo, Vec<Own>>,
}

impl LookupReplies<'_> {
    /// The reply of a server to a query. The n-th time it is asked a question it gives the n-th reply that it gave,
    /// after these its last, without any what it usually does.
    ///
    /// A server that was silent to a query and answered a later one for the same question has lost the first, or
    /// was not ready before: nobody can say. [`Edge::Least`] takes it for lost, [`Edge::Most`] for not ready.
    pub fn reply(
        &self,
        question: &QuestionTo,
        asked: &ServedQuery,
        edge: Edge,
    ) -> Option<ServerReply> {
        let own = self.own.get(question);
        let own = own.map_or(&[][..], Vec::as_slice);
        let reply = own.get(asked.before).or(own.last()).and_then(|o| o.reply);
        if edge == Edge::Most
            && own
                .first()
                .is_some_and(|o| o.reply == Some(ServerReply::Silent))
            && let Some((ready, answer)) = ready(own)
        {
            let wait = (ready - asked.since_first).max(Span::ZERO);
            return Some(match answer {
                ServerReply::Answer(after) => ServerReply::Answer(after.max(wait)),
                ServerReply::Denied(after) => ServerReply::Denied(after.max(wait)),
                other => other,
            });
        }
        reply
            .or_else(|| self.behaviour.usually_of_type(question))
            .or_else(|| self.behaviour.usually(question.server))
    }
}

/// When the first answer to a question left, from the first query on, and the answer.
fn ready(own: &[Own]) -> Option<(Span, ServerReply)> {
    let first = own.first()?.sent;
    own.iter().find_map(|o| match o.reply? {
        answer @ (ServerReply::Answer(after) | ServerReply::Denied(after)) => {
            Some((o.sent - first + after, answer))
        }
        _ => None,
    })
}

/// What became of a query, as a reply; `None` when nobody can say. The lookup tells how long the repetition over
/// TCP took.
fn reply_to(query: &Query, within: Option<(&Case, &Lookup)>) -> Option<ServerReply> {
    if query.transport != Transport::Udp {
        return None;
    }
    let after = |at: Timestamp| (at - query.sent).max(Span::ZERO);
    Some(match &query.state {
        State::Answered(answer) if answer.truncated => {
            let over_tcp = within.map_or(Span::ZERO, |(case, lookup)| {
                let queries = lookup.queries(case.joined);
                let tcp = queries.filter(|q| q.transport == Transport::Tcp);
                let answered = tcp.filter_map(|q| q.answer()).map(|a| a.at).max();
                (answered.unwrap_or(lookup.ended) - answer.at).max(Span::ZERO)
            });
            ServerReply::Truncated(after(answer.at), over_tcp)
        }
        State::Answered(answer) if answer.negative() => ServerReply::Denied(after(answer.at)),
        State::Answered(answer) if answer.rcode == Rcode::NOERROR => {
            ServerReply::Answer(after(answer.at))
        }
        State::Answered(answer) => ServerReply::Failure(after(answer.at)),
        // For the client an answer that it does not get is silence.
        State::Unanswered(Silence::Absent(_))
        | State::NeverSent(Silence::Absent(_))
        | State::NotReceived(..) => ServerReply::Silent,
        State::Unanswered(Silence::Refused(why)) | State::NeverSent(Silence::Refused(why)) => {
            ServerReply::Error(after(why.at))
        }
        State::Open(_) | State::Unseen => return None,
    })
}

/// What a server usually does: the median answer when it answers at least every second time, else silence or an
/// error, whichever is more frequent. The list is not empty.
fn usual(replies: Vec<ServerReply>) -> ServerReply {
    let time = |reply: &ServerReply| match reply {
        ServerReply::Answer(t) | ServerReply::Denied(t) | ServerReply::Truncated(t, _) => Some(*t),
        _ => None,
    };
    let all = replies.len();
    let silent = replies
        .iter()
        .filter(|r| **r == ServerReply::Silent)
        .count();
    let (mut answers, errors): (Vec<ServerReply>, Vec<ServerReply>) =
        replies.into_iter().partition(|r| time(r).is_some());
    if answers.len() * 2 >= all {
        answers.sort_by_key(time);
        return answers[answers.len() / 2];
    }
    match errors.into_iter().find(|r| *r != ServerReply::Silent) {
        Some(error) if silent * 2 < all => error,
        _ => ServerReply::Silent,
    }
}
