//! Answers that a capture holds and that the client did not get: its firewall, its reverse-path filter or a wrong checksum
//! stopped them behind the place where captures are taken, or the way from there to it did.
//!
//! An answer counts as lost, and its query as one without an answer, when
//! 1. the client's own wait for that socket timed out after it had come; or
//! 2. the trace shows what the client receives, nothing of it on that socket, and it asked the same again by its timer; or
//! 3. the client sent the same message again (id and question) by its timer: from the same socket, or to another resolver.
//!
//! The third is what a capture alone can show, and there a stub resolver has other reasons to repeat itself: an answer that
//! sends it on (an error, a referral, a truncated or malformed one), another type of the same name without an answer
//! (glibc asks for both again), an answer that came when it had turned to another resolver (glibc reads it when it turns
//! back). A client that does not choose its ids (one for all names, or one for ever) shows nothing by repeating one.

use super::TOGETHER;
use super::moves::Moves;
use crate::coverage::{Absence, WaitEvidence};
use crate::event::dns::{Rcode, RecordType};
use crate::event::{EventKind, Op, Packet};
use crate::flow::Transport;
use crate::join::response::{Exchange, Reply};
use crate::join::{AssociationId, Evidence, Id, IdVec, QueryId, Received};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;

/// How long before its end a wait must have been passed by an answer: what lies between a packet's stamp and the end of a
/// poll is far less.
const UNHEARD: Span = Span::millis(20);
/// A repetition so soon after an answer is a reaction to it. Timers of stub resolvers run for a second at least (musl with
/// `attempts:5`), and answers come early in them.
const REACTION: Span = Span::millis(300);
/// A repetition so soon after the query is no timer's.
const SHORTEST_TIMER: Span = Span::millis(500);
/// The longest wait of a stub resolver over UDP, as for the end of a lookup.
const LONGEST_TIMER: Span = Span::seconds(16);
/// How many later queries are looked at for a repetition.
const MAX_LATER: usize = 256;
/// A stub resolver sends one message no more often than this: attempts times resolvers.
const MAX_SENDS: usize = 16;

/// Takes the answers that did not reach their clients from their queries.
pub fn mark(evidence: &Evidence, exchanges: &mut IdVec<QueryId, Exchange>, moves: &Moves) {
    if !evidence.has_capture() || !evidence.is_timed() || evidence.coverage.is_assumed() {
        return;
    }
    let finder = Finder {
        evidence,
        exchanges,
        moves,
    };
    for (q, absence) in finder.all() {
        let reply = &mut exchanges[q].reply;
        if let Reply::Received(received) = reply {
            *reply = Reply::Lost(received.clone(), absence);
        }
    }
}

struct Finder<'a> {
    evidence: &'a Evidence<'a>,
    exchanges: &'a IdVec<QueryId, Exchange>,
    moves: &'a Moves<'a>,
}

impl Finder<'_> {
    fn all(&self) -> Vec<(QueryId, Absence)> {
        let mut found = Vec::new();
        for (q, earlier) in self.exchanges.entries() {
            let waited = self.in_vain(q, earlier);
            if let Some(waited) = waited.or_else(|| self.unread(q, earlier)) {
                found.extend(self.vouch(q, waited));
            }
        }
        // Whatever proves it: the later of two repetitions proves nothing that the first did not.
        for (q, waited) in self.repeated() {
            if !found.iter().rev().any(|(other, _)| *other == q) {
                found.extend(self.vouch(q, waited));
            }
        }
        found
    }

    /// The witness that a client waited so long and got nothing.
    fn vouch(&self, q: QueryId, waited: Span) -> Option<(QueryId, Absence)> {
        let patience = WaitEvidence {
            waited,
            gave_up: Some(true),
        };
        let absence = self.evidence.coverage.waited_in_vain(patience);
        absence.ok().map(|absence| (q, absence))
    }

    /// The response to a query of the client's, as it passed the capture on its way between the very two sockets.
    fn passed<'q>(&self, query: &'q Exchange) -> Option<&'q Received> {
        let answer = query.answer()?;
        let EventKind::Packet(Packet::Dns { flow, .. }) = &self.evidence.event(answer.event).what
        else {
            return None;
        };
        let own = query.packet.is_some()
            && query.is_clients()
            && query.transport == Transport::Udp
            && query.client == Some(flow.dst)
            && query.resolver == flow.src;
        own.then_some(answer)
    }

    /// Whether a response is one that a client takes: of one question, the one asked, and whole.
    fn is_acceptable(&self, query: &Exchange, answer: &Received) -> bool {
        let EventKind::Packet(Packet::Dns { message, .. }) =
            &self.evidence.event(answer.event).what
        else {
            return false;
        };
        message.complete && message.question.as_ref() == Some(&query.question)
    }

    /// How long the client waited for a query, where its own wait for that socket timed out after the answer had come. It had
    /// begun before, or it is the first one after the query, nothing was read before it, and all that the socket had asked was
    /// answered before it ended: an answer in the socket would have ended it.
    fn in_vain(&self, q: QueryId, query: &Exchange) -> Option<Span> {
        let own = (
            query.task.as_ref()?.tid,
            self.evidence.call(query.cause?.call?)?.op.fd()?.number,
        );
        let at = self.passed(query)?.at;
        let slack = self.evidence.tolerance;
        let (from, to) = self.moves.timeout_around(own, at)?;
        let over = to - slack.max(UNHEARD);
        let first = || {
            from - query.sent <= UNHEARD
                && !self.moves.waited_between(own, (query.sent, from))
                && !self.was_read(query, from)
                && self.socket_was_answered(q, over)
        };
        let heard = from > at - slack && !first();
        (!heard && over >= at).then_some(to - query.sent)
    }

    /// Whether all queries that left the socket of a query with it were answered by then.
    fn socket_was_answered(&self, q: QueryId, by: Timestamp) -> bool {
        let query = &self.exchanges[q];
        let from = q.position().saturating_sub(MAX_LATER);
        let until = self.exchanges.len().min(q.position() + MAX_LATER);
        let around = self.exchanges.as_slice()[from..until].iter();
        let mut with = around.filter(|o| {
            o.client == query.client
                && o.sent >= query.sent - TOGETHER
                && o.sent <= query.sent + TOGETHER
        });
        with.all(|o| o.answer().is_some_and(|a| a.at <= by))
    }

    /// Whether a call received something on the socket of a query before a moment.
    fn was_read(&self, query: &Exchange, before: Timestamp) -> bool {
        let calls = query.association.map(|a| self.moves.sockets().calls(a));
        let mut calls = calls.into_iter().flatten().filter_map(|id| {
            let at = self.evidence.event(*id).at;
            let call = self.evidence.call(*id)?;
            (at >= query.sent && at <= before).then_some(call)
        });
        calls.any(|call| matches!(call.op, Op::Receive { .. }) && call.outcome.value().is_some())
    }

    /// How long a process waited for an answer of which none of its calls on the socket received anything, before it asked
    /// the same again: runtimes that wait for all their sockets in one place show no wait for one of them.
    fn unread(&self, q: QueryId, query: &Exchange) -> Option<Span> {
        let (socket, process) = (query.association?, query.process?);
        let answer = self.passed(query)?;
        let again = self.later(q).find(|o| {
            o.process == Some(process)
                && o.question == query.question
                && o.sent - query.sent >= SHORTEST_TIMER
        })?;
        let soon = again.sent - answer.at < REACTION || again.association == Some(socket);
        (!soon && self.tried_to_read(socket, again.sent)).then(|| again.sent - query.sent)
    }

    /// Whether the calls on a socket show that it was read until then, and that there was nothing.
    fn tried_to_read(&self, socket: AssociationId, until: Timestamp) -> bool {
        let mut tried = false;
        for id in self.moves.sockets().calls(socket) {
            let Some(call) = self.evidence.call(*id) else {
                continue;
            };
            if self.evidence.event(*id).at >= until || !matches!(call.op, Op::Receive { .. }) {
                continue;
            }
            if call.outcome.value().is_some_and(|n| n > 0) {
                return false;
            }
            tried = true;
        }
        tried
    }

    fn later(&self, q: QueryId) -> impl Iterator<Item = &Exchange> {
        let sent = self.exchanges[q].sent;
        let list = self.exchanges.as_slice()[q.position() + 1..].iter();
        list.take(MAX_LATER)
            .take_while(move |o| o.sent - sent <= LONGEST_TIMER)
    }

    /// The queries that a client sent again although their answers had come, and how long it had waited by then.
    fn repeated(&self) -> Vec<(QueryId, Span)> {
        let mut latest: HashMap<(IpAddr, u16, Option<RecordType>), QueryId> = HashMap::new();
        let mut before: HashMap<QueryId, QueryId> = HashMap::new();
        let mut found = HashMap::new();
        for (q, query) in self.exchanges.entries() {
            let (Some(client), Some(id)) = (query.client, query.id) else {
                continue;
            };
            if query.transport != Transport::Udp || query.question.cut || !query.is_clients() {
                continue;
            }
            let mut earlier = latest.insert((client.ip, id, query.question.kind), q);
            if let Some(earlier) = earlier {
                before.insert(q, earlier);
            }
            let mut steps = 0;
            while let Some(e) = earlier.filter(|_| steps < MAX_SENDS) {
                if query.sent - self.exchanges[e].sent > LONGEST_TIMER {
                    break;
                }
                if self.asked_in_vain(e, q) {
                    let waited = query.sent - self.exchanges[e].sent;
                    found.entry(e).or_insert(waited);
                }
                earlier = before.get(&e).copied();
                steps += 1;
            }
        }
        let mut found: Vec<(QueryId, Span)> = found.into_iter().collect();
        found.sort_unstable_by_key(|(q, _)| *q);
        found
    }

    /// Whether a message was sent again by a timer although it had been answered with what no client asks again for.
    fn asked_in_vain(&self, e: QueryId, again: QueryId) -> bool {
        let (query, f) = (&self.exchanges[e], &self.exchanges[again]);
        let Some(answer) = self.passed(query) else {
            return false;
        };
        let same = f.question.kind == query.question.kind
            && f.question.name.folded() == query.question.name.folded()
            && f.process == query.process
            && (f.client == query.client || f.resolver != query.resolver);
        same && self.is_acceptable(query, answer)
            && f.sent - query.sent >= SHORTEST_TIMER
            && f.sent - answer.at >= REACTION
            && !self
                .moves
                .connected_to(query, &answer.addresses, (answer.at, f.sent))
            && self.chooses_its_ids(e, again)
            && self.all_were_answered(e, again)
    }

    /// Whether a client's ids tell its messages apart.
    fn chooses_its_ids(&self, e: QueryId, again: QueryId) -> bool {
        let query = &self.exchanges[e];
        let ip = query.client.map(|c| c.ip);
        let from = e.position().saturating_sub(MAX_LATER);
        let until = self.exchanges.len().min(again.position() + MAX_LATER);
        let around = self.exchanges.as_slice()[from..until].iter();
        let alike = around.filter(|o| o.id == query.id && o.client.map(|c| c.ip) == ip);
        let name = query.question.name.folded();
        let mut sends = 0;
        for other in alike {
            if other.question.name.folded() != name {
                return false;
            }
            sends += 1;
        }
        sends <= MAX_SENDS
    }

    /// Whether everything that the client had asked about the name was answered, some of it with records, so early that
    /// no answer can be what made it ask again; and whether it asks for nothing else now.
    fn all_were_answered(&self, e: QueryId, again: QueryId) -> bool {
        let (query, f) = (&self.exchanges[e], &self.exchanges[again]);
        let ip = query.client.map(|c| c.ip);
        let name = query.question.name.folded();
        let from = e.position().saturating_sub(MAX_LATER);
        let until = self.exchanges.len().min(again.position() + MAX_LATER);
        let around = self.exchanges.as_slice()[from..until].iter();
        let own = around.filter(|o| {
            o.client.map(|c| c.ip) == ip
                && o.question.name.folded() == name
                && o.sent >= query.sent - TOGETHER
                && o.sent <= f.sent + TOGETHER
        });
        // By type: whether one of them was answered so.
        let mut types: HashMap<Option<RecordType>, bool> = HashMap::new();
        let mut records = false;
        for other in own {
            // What came when the client had turned to another resolver, it may have read when it turned back.
            let between = other.sent - query.sent > TOGETHER && f.sent - other.sent > TOGETHER;
            if between && other.question.kind == query.question.kind {
                return false;
            }
            let answered = other.answer().filter(|a| {
                let code = matches!(a.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
                code && a.usable() && f.sent - a.at >= REACTION
            });
            records |= answered.is_some_and(|a| a.records > 0 && a.rcode == Rcode::NOERROR);
            *types.entry(other.question.kind).or_default() |= answered.is_some();
        }
        records && types.into_values().all(|answered| answered)
    }
}
