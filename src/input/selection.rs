//! Which packets of a capture the user wants to hear about: of one client, about one name, of a part of the time.
//!
//! What is left out is read as if it had not been captured.

use crate::event::Packet;
use crate::event::dns::{Message, Name};
use crate::time::{Span, Timestamp};
use std::collections::HashSet;
use std::net::IpAddr;

/// A moment in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// By the clock of the capture.
    At(Timestamp),
    /// So long after its first packet.
    After(Span),
}

/// What is wanted; nothing said means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only packets from or to this host.
    pub client: Option<IpAddr>,
    /// Only lookups of this name (with whatever search domain), and connections to addresses that they gave.
    pub name: Option<Name>,
    /// Nothing before this.
    pub since: Option<Moment>,
    /// Nothing after this.
    pub until: Option<Moment>,
}

/// How many addresses of a name are remembered: a name seldom has more than a dozen at a time.
const MAX_ADDRESSES: usize = 65_536;

/// A selection at work on one capture.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    wanted: Selection,
    first: Option<Timestamp>,
    addresses: HashSet<IpAddr>,
}

impl Selector {
    /// One that has seen nothing.
    pub fn new(wanted: Selection) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Whether a packet of this time is wanted. Asked for every packet, in order.
    pub fn is_time(&mut self, at: Timestamp) -> bool {
        let first = *self.first.get_or_insert(at);
        let moment = |moment: Moment| match moment {
            Moment::At(at) => at,
            Moment::After(span) => first + span,
        };
        let (since, until) = (self.wanted.since.map(moment), self.wanted.until.map(moment));
        since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until)
    }

    /// Whether a packet is wanted for its parties and its name.
    pub fn keeps(&mut self, packet: &Packet) -> bool {
        self.is_clients(packet) && self.is_named(packet)
    }

    fn is_clients(&self, packet: &Packet) -> bool {
        let Some(client) = self.wanted.client else {
            return true;
        };
        match packet {
            Packet::Dns { flow, .. }
            | Packet::Tcp { flow, .. }
            | Packet::Opening { flow, .. }
            | Packet::QuicInitial { flow } => flow.src.ip == client || flow.dst.ip == client,
            Packet::Icmp { to, quote, .. } => {
                *to == client || quote.as_ref().is_some_and(|q| q.flow.src.ip == client)
            }
            Packet::Neighbour { .. } => true,
        }
    }

    fn is_named(&mut self, packet: &Packet) -> bool {
        let Some(wanted) = self.wanted.name.clone() else {
            return true;
        };
        match packet {
            Packet::Dns { message, .. } => self.asks_for(&wanted, message),
            Packet::Tcp { flow, .. }
            | Packet::Opening { flow, .. }
            | Packet::QuicInitial { flow } => [flow.src.ip, flow.dst.ip]
                .iter()
                .any(|ip| self.addresses.contains(ip)),
            Packet::Icmp { quote, .. } => quote.as_ref().is_some_and(|q| {
                let asks = q
                    .question
                    .as_ref()
                    .is_some_and(|q| is_under(&q.name, &wanted));
                asks || self.addresses.contains(&q.flow.dst.ip)
            }),
            Packet::Neighbour { about, .. } => self.addresses.contains(about),
        }
    }

    /// Whether a message is about the name, or asks for the name of an address that it has.
    fn asks_for(&mut self, wanted: &Name, message: &Message) -> bool {
        let Some(question) = &message.question else {
            return false;
        };
        if !is_under(&question.name, wanted) {
            let reverse = question.name.reverse_of();
            return reverse.is_some_and(|address| self.addresses.contains(&address));
        }
        for address in message.addresses.iter() {
            if self.addresses.len() < MAX_ADDRESSES {
                self.addresses.insert(*address);
            }
        }
        true
    }
}

/// Whether a name is the wanted one, perhaps with a search domain.
fn is_under(name: &Name, wanted: &Name) -> bool {
    let (name, wanted) = (name.folded(), wanted.folded());
    let rest = name.0.strip_prefix(&*wanted.0);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::dns::{Question, Rcode, RecordType};
    use crate::event::{Service, TcpFlags};
    use crate::flow::{Endpoint, FiveTuple, Transport};

    fn flow(from: u8, to: u8, transport: Transport) -> FiveTuple {
        let end = |last| Endpoint::new([10, 0, 0, last].into(), 1000);
        FiveTuple {
            transport,
            src: end(from),
            dst: end(to),
        }
    }

    fn answer(to: u8, name: &str, address: u8) -> Packet {
        Packet::Dns {
            flow: flow(53, to, Transport::Udp),
            service: Service::Unicast,
            message: Box::new(Message {
                id: 1,
                response: true,
                opcode: 0,
                truncated: false,
                rcode: Rcode::NOERROR,
                question: Some(Question {
                    name: Name(name.into()),
                    kind: Some(RecordType::A),
                    cut: false,
                }),
                answers: 1,
                addresses: [IpAddr::from([10, 0, 0, address])].into(),
                referral: false,
                edns: false,
                complete: true,
                bytes: None,
            }),
        }
    }

    fn syn(from: u8, to: u8) -> Packet {
        Packet::Tcp {
            flow: flow(from, to, Transport::Tcp),
            flags: TcpFlags {
                syn: true,
                ..TcpFlags::default()
            },
            seq: 1,
            ack: 0,
        }
    }

    #[test]
    fn a_name_selects_its_lookups_and_what_they_gave() {
        let mut this = Selector::new(Selection {
            name: Some(Name("Web.example".into())),
            ..Selection::default()
        });
        assert!(!this.keeps(&syn(1, 99)), "nothing gave this address yet");
        assert!(this.keeps(&answer(1, "web.example.corp", 99)));
        assert!(this.keeps(&syn(1, 99)) && this.keeps(&syn(99, 1)));
        assert!(!this.keeps(&answer(1, "webs.example", 98)));
        assert!(!this.keeps(&syn(1, 98)));
    }

    #[test]
    fn a_client_and_a_time_select_too() {
        let mut this = Selector::new(Selection {
            client: Some([10, 0, 0, 1].into()),
            since: Some(Moment::After(Span::seconds(2))),
            until: Some(Moment::At(Timestamp::new(105, 0))),
            ..Selection::default()
        });
        assert!(this.keeps(&syn(1, 9)) && this.keeps(&answer(1, "a.example", 9)));
        assert!(!this.keeps(&syn(2, 9)));
        let times = [100, 101, 102, 105, 106].map(|s| this.is_time(Timestamp::new(s, 0)));
        assert_eq!(times, [false, false, true, true, false]);
    }
}
