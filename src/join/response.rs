//! What became of each query: answers, ICMP errors, errors that the client's own calls returned.

#[cfg(test)]
mod tests;

use super::connect::refusal;
use super::socket::Sockets;
use super::{
    Asked, AssociationId, Departure, EventId, Evidence, IdVec, QueryId, Received, Refusal, Sending,
    Silence,
};
use crate::coverage::Absence;
use crate::event::dns::{Message, Question};
use crate::event::{CallOutcome, Errno, EventKind, Op, Packet, Service, Transfer};
use crate::flow::{Endpoint, Transport};
use crate::time::Timestamp;
use crate::totals::Unsolicited;
use std::collections::{HashMap, HashSet};
use std::ops::Deref;

/// How many queries of one socket, resolver and id a response is held against, the latest first: nobody repeats a query
/// more often, and a flood of them must not cost its square.
const MAX_WEIGHED: usize = 256;

/// The positions of the queries that a packet showed, in order of a key and then of time. Positions alone: keys
/// beside them would take more memory than the queries do.
fn sorted<K: Ord>(
    queries: &IdVec<QueryId, Exchange>,
    key: impl Fn(&Exchange) -> K,
) -> Vec<QueryId> {
    let known = |i: &QueryId| queries[*i].client.is_some() && queries[*i].id.is_some();
    let mut list: Vec<QueryId> = queries.ids().filter(known).collect();
    list.sort_unstable_by_key(|i| (key(&queries[*i]), *i));
    list
}

/// Those of a sorted list that have this key.
fn with_key<'l, K: Ord>(
    list: &'l [QueryId],
    queries: &IdVec<QueryId, Exchange>,
    key: impl Fn(&Exchange) -> K,
    wanted: &K,
) -> &'l [QueryId] {
    let start = list.partition_point(|i| key(&queries[*i]) < *wanted);
    let rest = &list[start..];
    &rest[..rest.partition_point(|i| key(&queries[*i]) <= *wanted)]
}

fn by_socket(q: &Exchange) -> (Transport, Option<Endpoint>, Endpoint, Option<u16>) {
    (q.transport, q.client, q.resolver, q.id)
}

fn by_flow(q: &Exchange) -> (Transport, Option<Endpoint>, Endpoint) {
    (q.transport, q.client, q.resolver)
}

fn by_port(q: &Exchange) -> (Option<u16>, Option<u16>) {
    (q.client.map(|c| c.port), q.id)
}

/// A query and what came back for it.
#[derive(Debug)]
pub struct Exchange {
    /// As it was asked; read through the exchange itself.
    pub asked: Asked,
    /// Whether it left the host.
    pub departure: Departure,
    /// What came back.
    pub reply: Reply,
    /// A response with its id that answers another question: no client takes it (RFC 5452 section 9.1).
    pub foreign: Option<EventId>,
}

/// What came back for a query.
#[derive(Debug)]
pub enum Reply {
    /// Nothing.
    None,
    /// A response.
    Received(Received),
    /// A response that passed the capture and did not reach the client.
    Lost(Received, Absence),
    /// An ICMP error, or an error that the client's own call returned.
    Refused(Refusal),
}

impl Deref for Exchange {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

impl Exchange {
    fn new(sending: Sending) -> Self {
        let Sending { asked, departure } = sending;
        let reply = match &departure {
            Departure::NeverLeft(Silence::Refused(error)) => Reply::Refused(*error),
            Departure::NeverLeft(Silence::Absent(_)) | Departure::Left => Reply::None,
        };
        Self {
            asked,
            departure,
            reply,
            foreign: None,
        }
    }

    /// The response, if one reached the client.
    pub fn answer(&self) -> Option<&Received> {
        match &self.reply {
            Reply::Received(received) => Some(received),
            Reply::None | Reply::Lost(..) | Reply::Refused(_) => None,
        }
    }

    /// The error that came instead of a response.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.reply {
            Reply::Refused(refusal) => Some(refusal),
            Reply::None | Reply::Lost(..) | Reply::Received(_) => None,
        }
    }
}

/// Finds what came back for each query, and how many responses answer nothing.
///
/// 1. A response by packet answers the latest query by packet before it of its socket, resolver and id whose question
///    may be the same and that has no answer yet; one that an ICMP error ended only if there is no other.
/// 2. Where no query has that socket (NAT), the same among queries of its port and id that a call sent to this resolver.
///    That a packet of it was not seen does not matter: its answer shows that it left.
/// 3. An ICMP error ends the latest such query that it quotes and that nothing else has ended.
/// 4. Of queries for which no packet shows anything, responses and errors are those that calls on their socket returned.
pub fn answer(
    evidence: &Evidence,
    sockets: &Sockets,
    asked: IdVec<QueryId, Sending>,
) -> (IdVec<QueryId, Exchange>, Unsolicited) {
    let mut exchanges: IdVec<QueryId, Exchange> = asked.into_iter().map(Exchange::new).collect();
    let queries = &mut exchanges;
    let own = sorted(queries, by_socket);
    let flows = sorted(queries, by_flow);
    let ports = sorted(queries, by_port);
    let mut unsolicited = Unsolicited::default();
    for (id, event) in evidence.numbered() {
        match &event.what {
            EventKind::Packet(Packet::Dns {
                flow,
                service: Service::Unicast,
                message,
            }) if message.response && evidence.is_dns_port(flow.src.port) => {
                let key = (flow.transport, Some(flow.dst), flow.src, Some(message.id));
                let mut list = with_key(&own, queries, by_socket, &key);
                let exact = !list.is_empty();
                if !exact {
                    let key = (Some(flow.dst.port), Some(message.id));
                    list = with_key(&ports, queries, by_port, &key);
                }
                let response = Response {
                    event: id,
                    at: event.at,
                    message,
                };
                let may_be = |q: &Exchange| exact || q.resolver == flow.src;
                if !settle(queries, list, response, may_be) {
                    from_elsewhere(queries, list, response, flow.dst);
                    unsolicited.add(evidence.coverage.shows_query_of(event.at).is_err());
                }
            }
            EventKind::Packet(Packet::Icmp {
                kind,
                quote: Some(quote),
                ..
            }) if quote.flow.transport == Transport::Udp => {
                let key = (quote.flow.transport, Some(quote.flow.src), quote.flow.dst);
                let list = with_key(&flows, queries, by_flow, &key);
                if let Some(why) = refusal(event.at, id, *kind) {
                    refuse(queries, list, why, quote.dns_id, quote.question.as_ref());
                }
            }
            _ => {}
        }
    }
    if evidence.has_trace() {
        from_calls(evidence, sockets, queries);
    }
    (exchanges, unsolicited)
}

/// A response as it came: in a packet, or in what a call of the client received.
#[derive(Clone, Copy)]
struct Response<'m> {
    event: EventId,
    at: Timestamp,
    message: &'m Message,
}

impl Response<'_> {
    fn received(self) -> Received {
        Received {
            at: self.at,
            event: self.event,
            rcode: self.message.rcode,
            truncated: self.message.truncated,
            records: self.message.answers,
            referral: self.message.referral,
            addresses: self.message.addresses.clone(),
        }
    }
}

/// Gives a response to the latest open query with its question; if there is none, marks the latest whose id it has
/// although it answers another question.
fn settle(
    queries: &mut IdVec<QueryId, Exchange>,
    list: &[QueryId],
    response: Response,
    may_be: impl Fn(&Exchange) -> bool,
) -> bool {
    let question = response.message.question.as_ref();
    if let Some(i) = latest_open(queries, list, response.at, question, &may_be) {
        queries[i].reply = Reply::Received(response.received());
        return true;
    }
    if let Some(i) = latest_open(queries, list, response.at, None, &may_be) {
        queries[i].foreign = Some(response.event);
    }
    false
}

/// Marks the latest query that a response answers in all but its source address: the client does not take it.
fn from_elsewhere(
    queries: &mut IdVec<QueryId, Exchange>,
    list: &[QueryId],
    response: Response,
    to: Endpoint,
) {
    let Response { message, at, .. } = response;
    let may_be = |q: &Exchange| q.client == Some(to) && q.id == Some(message.id);
    if let Some(i) = latest_open(queries, list, at, message.question.as_ref(), may_be) {
        queries[i].foreign = Some(response.event);
    }
}

/// The latest query sent by then that an answer can be for.
fn latest_open(
    queries: &IdVec<QueryId, Exchange>,
    list: &[QueryId],
    at: Timestamp,
    question: Option<&Question>,
    may_be: impl Fn(&Exchange) -> bool,
) -> Option<QueryId> {
    let end = list.partition_point(|i| queries[*i].sent <= at);
    let fits = |refused: bool| {
        let mut latest = list[..end].iter().rev().take(MAX_WEIGHED).copied();
        latest.find(|i| {
            let q = &queries[*i];
            q.answer().is_none()
                && q.refusal().is_some() == refused
                && Question::may_be(Some(&q.question), question)
                && may_be(q)
        })
    };
    // What an ICMP error ended is no longer open, unless nothing else is.
    fits(false).or_else(|| fits(true))
}

/// Marks the latest query that an ICMP error can be about.
fn refuse(
    queries: &mut IdVec<QueryId, Exchange>,
    list: &[QueryId],
    why: Refusal,
    id: Option<u16>,
    question: Option<&Question>,
) {
    let end = list.partition_point(|i| queries[*i].sent <= why.at);
    let found = list[..end]
        .iter()
        .rev()
        .take(MAX_WEIGHED)
        .copied()
        .find(|i| {
            let q = &queries[*i];
            let same = id.is_none_or(|id| q.id == Some(id))
                && Question::may_be(Some(&q.question), question);
            same && matches!(q.reply, Reply::None)
        });
    if let Some(i) = found {
        queries[i].reply = Reply::Refused(why);
    }
}

/// Takes answers and errors from what the client's own calls received, where no packet shows them: the capture may hold
/// one direction only.
fn from_calls(evidence: &Evidence, sockets: &Sockets, queries: &mut IdVec<QueryId, Exchange>) {
    let captured = captured(evidence);
    let mut by_association: HashMap<AssociationId, Vec<QueryId>> = HashMap::new();
    let open = |q: &Exchange| matches!(q.reply, Reply::None);
    for (i, q) in queries.entries().filter(|(_, q)| open(q)) {
        if let Some(a) = q.association {
            by_association.entry(a).or_default().push(i);
        }
    }
    for (id, event) in evidence.numbered() {
        let EventKind::Call(call) = &event.what else {
            continue;
        };
        let Some(list) = sockets.of(id).and_then(|a| by_association.get(&a)) else {
            continue;
        };
        let at = call.exited.unwrap_or(event.at);
        match (&call.op, &call.outcome) {
            (Op::Receive { messages, .. }, outcome) if outcome.value().is_some() => {
                for (from, message) in responses(messages) {
                    // A response that is in the capture has its query already.
                    let unseen = !captured.contains(&message.id);
                    let may_be = |q: &Exchange| {
                        (q.packet.is_none() || unseen)
                            && q.id == Some(message.id)
                            && from.is_none_or(|from| from == q.resolver)
                    };
                    let event = id;
                    settle(queries, list, Response { event, at, message }, may_be);
                }
            }
            (Op::Receive { .. } | Op::Send { .. }, failed @ CallOutcome::Failed(_)) => {
                let refused = match failed.errno() {
                    Some(Errno::ConnectionRefused | Errno::NotPermitted | Errno::Access) => true,
                    Some(Errno::HostUnreachable | Errno::NetworkUnreachable) => false,
                    _ => continue,
                };
                let why = Refusal {
                    at,
                    event: id,
                    refused,
                };
                // Of a query whose packet was captured the ICMP error was, too.
                refuse(queries, &unseen_only(queries, list), why, None, None);
            }
            _ => {}
        }
    }
}

/// The responses that a call received, each with the address it came from, where the call shows that.
fn responses(messages: &[Transfer]) -> impl Iterator<Item = (Option<Endpoint>, &Message)> {
    messages.iter().flat_map(|message| {
        let responses = message.dns.iter().filter(|m| m.response);
        responses.map(|dns| (message.peer, dns))
    })
}

/// Those of some queries whose packets no capture holds.
fn unseen_only(queries: &IdVec<QueryId, Exchange>, list: &[QueryId]) -> Vec<QueryId> {
    let unseen = list
        .iter()
        .copied()
        .filter(|q| queries[*q].packet.is_none());
    unseen.collect()
}

/// The ids of all responses that the captures hold.
fn captured(evidence: &Evidence) -> HashSet<u16> {
    let packets = evidence.events.iter().filter_map(|e| match &e.what {
        EventKind::Packet(Packet::Dns { message, .. }) if message.response => Some(message.id),
        _ => None,
    });
    packets.collect()
}
