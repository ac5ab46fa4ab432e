//! What each resolver did with what it was asked.

use crate::event::dns::{Name, Rcode, RecordType};
use crate::explain::Case;
use crate::flow::Transport;
use crate::join::lookup::Lookup;
use crate::join::{EventId, LookupId, Query, Silence, State};
use crate::time::{Span, Timestamp};
use crate::timetable::{Edge, ServedQuery, ServerReply};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The resolvers of a case.
pub struct ServerBehaviour<'a> {
    case: &'a Case<'a>,
    usual: Arc<UsualReplies>,
}

/// What each resolver usually does.
#[derive(Debug, Default)]
struct UsualReplies {
    of_type: HashMap<(IpAddr, Option<RecordType>), ServerReply>,
    of_any: HashMap<IpAddr, ServerReply>,
}

impl UsualReplies {
    /// From every query of the case whose fate is known, whoever asked.
    fn of(case: &Case) -> Self {
        let mut by_type: HashMap<(IpAddr, Option<RecordType>), Vec<ServerReply>> = HashMap::new();
        let mut by_server: HashMap<IpAddr, Vec<ServerReply>> = HashMap::new();
        for query in &case.joined.queries {
            if query.transport == Transport::Udp
                && let Some(reply) = reply_to(query, None)
            {
                let server = query.resolver.ip.to_canonical();
                let kind = query.question.kind;
                by_type.entry((server, kind)).or_default().push(reply);
                by_server.entry(server).or_default().push(reply);
            }
        }
        Self {
            of_type: by_type.into_iter().map(|(k, l)| (k, usual(l))).collect(),
            of_any: by_server.into_iter().map(|(k, l)| (k, usual(l))).collect(),
        }
    }
}

impl<'a> ServerBehaviour<'a> {
    /// From every query of the case whose fate is known, whoever asked.
    pub fn new(case: &'a Case<'a>) -> Self {
        Self {
            case,
            usual: Arc::new(UsualReplies::of(case)),
        }
    }

    /// What a server usually does, whatever it is asked.
    pub fn usually(&self, server: IpAddr) -> Option<ServerReply> {
        self.usual.of_any.get(&server).copied()
    }

    /// The replies that one lookup got, and what the servers usually do for all that it did not ask.
    pub fn of_lookup(&self, lookup: LookupId) -> RecordedReplies {
        let lookup = &self.case.joined.lookups[lookup];
        let queries = lookup.queries(self.case.joined);
        self.of_queries(queries, Some(lookup))
    }

    /// The replies to all queries of the case, whoever asked.
    pub fn of_case(&self) -> RecordedReplies {
        self.of_queries(self.case.joined.queries.iter(), None)
    }

    fn of_queries<'q>(
        &self,
        queries: impl Iterator<Item = &'q Query>,
        lookup: Option<&Lookup>,
    ) -> RecordedReplies {
        let mut own: HashMap<_, Vec<RecordedReply>> = HashMap::new();
        for query in queries {
            own.entry(QuestionTo::of(query))
                .or_default()
                .push(RecordedReply {
                    sent: query.sent,
                    reply: reply_to(query, lookup.map(|l| (self.case, l))),
                    response: query.response().map(|r| r.event),
                    after: query
                        .response()
                        .map(|r| (r.at - query.sent).max(Span::ZERO)),
                    lost: query.is_lost(),
                });
        }
        RecordedReplies {
            usual: Arc::clone(&self.usual),
            own,
        }
    }
}

/// A question, and the server that is asked it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuestionTo {
    /// Whom.
    pub server: IpAddr,
    /// Over what.
    pub transport: Transport,
    /// The name, in lower case.
    pub name: Name,
    /// The record type, where it is known.
    pub kind: Option<RecordType>,
    /// Only the beginning of the name is known (strace shows 32 bytes by default).
    pub cut: bool,
}

impl QuestionTo {
    /// Of a query.
    fn of(query: &Query) -> Self {
        Self {
            server: query.resolver.ip.to_canonical(),
            transport: query.transport,
            name: query.question.name.folded(),
            kind: query.question.kind,
            cut: query.question.cut,
        }
    }

    /// Whether a whole question may be this one, of which less may be known.
    fn may_be(&self, whole: &Self) -> bool {
        let same_name = if self.cut {
            whole.name.0.starts_with(&*self.name.0)
        } else {
            whole.name == self.name
        };
        let known = self.kind.is_none_or(|kind| Some(kind) == whole.kind);
        (self.server, self.transport) == (whole.server, whole.transport) && same_name && known
    }
}

/// What one query got.
#[derive(Clone, Debug)]
pub struct RecordedReply {
    /// When the query was sent.
    pub sent: Timestamp,
    /// What came of it, for the client; `None`: nobody can say.
    pub reply: Option<ServerReply>,
    /// The response on the wire.
    pub response: Option<EventId>,
    /// When that came, from the query on.
    pub after: Option<Span>,
    /// The response did not get to the client.
    pub lost: bool,
}

/// The replies that queries got: what each server did with the n-th query for a question, and what it usually does. What-if
/// runs models of stub resolvers against it, and a reproduction real clients.
#[derive(Clone, Debug)]
pub struct RecordedReplies {
    usual: Arc<UsualReplies>,
    own: HashMap<QuestionTo, Vec<RecordedReply>>,
}

impl RecordedReplies {
    /// All that was asked, in no order.
    pub fn questions(&self) -> impl Iterator<Item = (&QuestionTo, &[RecordedReply])> {
        self.own.iter().map(|(question, list)| (question, &**list))
    }

    /// Whether a server ever answered anybody, on the wire.
    pub fn has_answered(&self, server: IpAddr) -> bool {
        let asked = self
            .own
            .iter()
            .filter(|(question, _)| question.server == server);
        { asked }.any(|(_, list)| list.iter().any(|r| r.response.is_some()))
    }

    /// The recorded question that a whole one is: the same, or one that was cut.
    pub fn recorded_as(&self, whole: &QuestionTo) -> Option<&QuestionTo> {
        if let Some((same, _)) = self.own.get_key_value(whole) {
            return Some(same);
        }
        let cut = self.own.keys().filter(|q| q.cut && q.may_be(whole));
        // The most that is known.
        cut.max_by_key(|q| (q.name.0.len(), q.kind))
    }

    /// The n-th time a server is asked a question it gives the n-th reply that it gave, after these its last. `None`: it
    /// never was asked that.
    pub fn nth(&self, question: &QuestionTo, n: usize) -> Option<&RecordedReply> {
        let own = self.own.get(question)?;
        own.get(n).or(own.last())
    }

    /// What a server usually does with what it was never asked.
    pub fn usually(&self, question: &QuestionTo) -> Option<ServerReply> {
        let of_type = self.usual.of_type.get(&(question.server, question.kind));
        of_type
            .or_else(|| self.usual.of_any.get(&question.server))
            .copied()
    }

    /// The reply of a server to a query: its n-th, or what it usually does.
    ///
    /// A server that was silent to a query and answered a later one for the same question has lost the first, or
    /// was not ready before: nobody can say. [`Edge::Least`] takes it for lost, [`Edge::Most`] for not ready.
    pub fn reply(
        &self,
        question: &QuestionTo,
        asked: &ServedQuery,
        edge: Edge,
    ) -> Option<ServerReply> {
        let own = self.own.get(question).map_or(&[][..], Vec::as_slice);
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
        let nth = self.nth(question, asked.before);
        nth.and_then(|o| o.reply).or_else(|| self.usually(question))
    }
}

/// When the first answer to a question left, from the first query on, and the answer.
fn ready(own: &[RecordedReply]) -> Option<(Span, ServerReply)> {
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
