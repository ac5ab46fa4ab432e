//! What each resolver did with what it was asked.

use crate::event::dns::{Name, Rcode, RecordType};
use crate::explain::Case;
use crate::flow::Transport;
use crate::join::lookup::Lookup;
use crate::join::{LookupId, Query, Silence, State};
use crate::time::{Span, Timestamp};
use crate::timetable::{Asked, Edge, Reply};
use std::collections::HashMap;
use std::net::IpAddr;

/// The resolvers of a case.
pub struct Conduct<'a> {
    case: &'a Case<'a>,
    usual: HashMap<(IpAddr, Option<RecordType>), Reply>,
    usual_of_any: HashMap<IpAddr, Reply>,
}

impl<'a> Conduct<'a> {
    /// From every query of the case whose fate is known, whoever asked.
    pub fn new(case: &'a Case<'a>) -> Self {
        let mut by_type: HashMap<(IpAddr, Option<RecordType>), Vec<Reply>> = HashMap::new();
        let mut by_server: HashMap<IpAddr, Vec<Reply>> = HashMap::new();
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
    pub fn usually(&self, server: IpAddr) -> Option<Reply> {
        self.usual_of_any.get(&server).copied()
    }

    /// The replies that one lookup got, and what the servers usually do for all that it did not ask.
    pub fn of_lookup(&self, lookup: LookupId) -> Replies<'_> {
        let lookup = &self.case.joined.lookups[lookup];
        let mut own: HashMap<_, Vec<Own>> = HashMap::new();
        for q in &lookup.queries {
            let query = &self.case.joined.queries[*q];
            let server = query.resolver.ip.to_canonical();
            let question = (server, query.question.name.folded(), query.question.kind);
            own.entry(question).or_default().push(Own {
                sent: query.sent,
                reply: reply_to(query, Some((self.case, lookup))),
            });
        }
        Replies { conduct: self, own }
    }
}

/// What one lookup got for one query.
struct Own {
    sent: Timestamp,
    reply: Option<Reply>,
}

/// The replies that one lookup got.
pub struct Replies<'a> {
    conduct: &'a Conduct<'a>,
    own: HashMap<(IpAddr, Name, Option<RecordType>), Vec<Own>>,
}

impl Replies<'_> {
    /// The reply of a server to a query. The n-th time it is asked a question it gives the n-th reply that it gave,
    /// after these its last, without any what it usually does.
    ///
    /// A server that was silent to a query and answered a later one for the same question has lost the first, or
    /// was not ready before: nobody can say. [`Edge::Least`] takes it for lost, [`Edge::Most`] for not ready.
    pub fn reply(
        &self,
        server: IpAddr,
        name: &Name,
        kind: Option<RecordType>,
        asked: &Asked,
        edge: Edge,
    ) -> Option<Reply> {
        let own = self.own.get(&(server, name.clone(), kind));
        let own = own.map_or(&[][..], Vec::as_slice);
        let reply = own.get(asked.before).or(own.last()).and_then(|o| o.reply);
        if edge == Edge::Most
            && own.first().is_some_and(|o| o.reply == Some(Reply::Silent))
            && let Some((ready, answer)) = ready(own)
        {
            let wait = (ready - asked.since_first).max(Span::ZERO);
            return Some(match answer {
                Reply::Answer(after) => Reply::Answer(after.max(wait)),
                Reply::Denied(after) => Reply::Denied(after.max(wait)),
                other => other,
            });
        }
        reply
            .or_else(|| self.conduct.usual.get(&(server, kind)).copied())
            .or_else(|| self.conduct.usual_of_any.get(&server).copied())
    }
}

/// When the first answer to a question left, from the first query on, and the answer.
fn ready(own: &[Own]) -> Option<(Span, Reply)> {
    let first = own.first()?.sent;
    own.iter().find_map(|o| match o.reply? {
        answer @ (Reply::Answer(after) | Reply::Denied(after)) => {
            Some((o.sent - first + after, answer))
        }
        _ => None,
    })
}

/// What became of a query, as a reply; `None` when nobody can say. The lookup tells how long the repetition over
/// TCP took.
fn reply_to(query: &Query, within: Option<(&Case, &Lookup)>) -> Option<Reply> {
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
            Reply::Truncated(after(answer.at), over_tcp)
        }
        State::Answered(answer) if answer.negative() => Reply::Denied(after(answer.at)),
        State::Answered(answer) if answer.rcode == Rcode::NOERROR => {
            Reply::Answer(after(answer.at))
        }
        State::Answered(answer) => Reply::Failure(after(answer.at)),
        // For the client an answer that it does not get is silence.
        State::Unanswered(Silence::Absent(_))
        | State::NeverSent(Silence::Absent(_))
        | State::NotReceived(..) => Reply::Silent,
        State::Unanswered(Silence::Refused(why)) | State::NeverSent(Silence::Refused(why)) => {
            Reply::Error(after(why.at))
        }
        State::Open(_) | State::Unseen => return None,
    })
}

/// What a server usually does: the median answer when it answers at least every second time, else silence or an
/// error, whichever is more frequent. The list is not empty.
fn usual(replies: Vec<Reply>) -> Reply {
    let time = |reply: &Reply| match reply {
        Reply::Answer(t) | Reply::Denied(t) | Reply::Truncated(t, _) => Some(*t),
        _ => None,
    };
    let all = replies.len();
    let silent = replies.iter().filter(|r| **r == Reply::Silent).count();
    let (mut answers, errors): (Vec<Reply>, Vec<Reply>) =
        replies.into_iter().partition(|r| time(r).is_some());
    if answers.len() * 2 >= all {
        answers.sort_by_key(time);
        return answers[answers.len() / 2];
    }
    match errors.into_iter().find(|r| *r != Reply::Silent) {
        Some(error) if silent * 2 < all => error,
        _ => Reply::Silent,
    }
}
