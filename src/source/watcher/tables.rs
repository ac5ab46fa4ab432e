//! The kernel's tables of Internet sockets in one network namespace (`sock_diag(7)`), and what it reports of sockets that
//! end.

use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::source::tracer::sys;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A socket as the tables show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSocket {
    /// The kernel's name for it, which no other socket has (`SO_COOKIE`, socket(7)).
    pub cookie: u64,
    /// The number behind its descriptors; `None`: no descriptor refers to it any more.
    pub inode: Option<u32>,
    /// Its local end; the address may be the wildcard.
    pub local: Endpoint,
    /// What it is connected to.
    pub peer: Option<Endpoint>,
    /// It sends no IPv4 packets (`IPV6_V6ONLY`, ipv6(7)).
    v6_only: bool,
}

/// What a look into the tables found of the socket that a packet left by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The only socket that it can have left by, of those that exist now.
    One(KernelSocket),
    /// Several sockets share its port (`SO_REUSEPORT`, `SO_REUSEADDR`).
    Several,
    /// None that exists now.
    None,
}

/// A socket that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    port: u16,
    cookie: u64,
    /// When that was read: it ended before.
    read: Instant,
}

/// The multicast groups of sockets that end: `SKNLGRP_INET_TCP_DESTROY` to `SKNLGRP_INET6_UDP_DESTROY`
/// (`linux/sock_diag.h`, Linux 4.3).
const GROUPS: std::ops::RangeInclusive<u32> = 1..=4;
/// So many bytes of reports may wait to be read: those of some 20,000 sockets.
const REPORTS_BUFFER: usize = 8 << 20;
/// A dump comes in answers of at most 32 KiB (`netlink_dump`, `net/netlink/af_netlink.c`).
const LONGEST_ANSWER: usize = 64 << 10;
/// What ended so long ago no look asks for.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// Of more sockets than this that ended the first are forgotten, and looks at older packets are then inexact.
const MAX_ENDED: usize = 1 << 16;
/// More sockets than this are not listed.
const MAX_LISTED: usize = 1 << 18;
/// `INET_DIAG_REQ_BYTECODE` (`linux/inet_diag.h`): the attribute that holds a filter.
const REQUEST_FILTER: u16 = 1;
/// `INET_DIAG_BC_S_GE` and `INET_DIAG_BC_S_LE`: the local port is at least, or at most, what the next operation holds.
const PORT_AT_LEAST: u8 = 2;
const PORT_AT_MOST: u8 = 3;
/// `AF_INET` and `AF_INET6`. The sockets of either may send IPv4 packets.
const FAMILIES: [u8; 2] = [2, 10];

/// The tables of a network namespace.
pub struct SocketTables {
    questions: Socket,
    reports: Option<Socket>,
    ended: VecDeque<Ended>,
    /// Until then something may have ended unseen.
    blind_until: Option<Instant>,
    sequence: u32,
    answer: Vec<u8>,
}

impl SocketTables {
    /// Opens them in the namespace of the calling thread. The second value says why the ends of sockets are not reported,
    /// if they are not.
    pub fn open() -> io::Result<(Self, Option<String>)> {
        let questions = Socket::new(NETLINK_SOCK_DIAG)?;
        questions.connect(&SocketAddr::new(0, 0))?;
        questions.set_non_blocking(true)?;
        let (reports, problem) = match listen() {
            Ok(reports) => (Some(reports), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let tables = Self {
            questions,
            reports,
            ended: VecDeque::new(),
            blind_until: None,
            sequence: 0,
            answer: vec![0; LONGEST_ANSWER],
        };
        Ok((tables, problem))
    }

    /// The cookie of the namespace (Linux 5.14).
    pub fn netns(&self) -> Option<u64> {
        sys::socket_option(self.questions.as_fd(), sys::SO_NETNS_COOKIE).ok()
    }

    /// What can be read when sockets have ended.
    pub fn reports(&self) -> Option<BorrowedFd<'_>> {
        self.reports.as_ref().map(Socket::as_fd)
    }

    /// The socket that a packet left by, of those that exist now.
    ///
    /// A TCP segment leaves by the one socket with its two ends. A datagram leaves by whichever socket is bound to its
    /// source port: NAT on this host may have changed where it goes, but not whence it came before that.
    pub fn find(&mut self, flow: &FiveTuple) -> io::Result<Found> {
        match flow.transport {
            Transport::Tcp => self.with_ends(flow),
            Transport::Udp => self.with_port(flow),
        }
    }

    fn with_ends(&mut self, flow: &FiveTuple) -> io::Result<Found> {
        let family = if flow.src.ip.is_ipv4() {
            FAMILIES[0]
        } else {
            FAMILIES[1]
        };
        let request = request(family, flow.transport, Some(flow));
        let mut found = Found::None;
        self.ask(&request, None, &mut |socket| {
            // Whatever the kernel answers, only this is the socket that was asked for.
            if socket.local == flow.src && socket.peer == Some(flow.dst) {
                found = Found::One(socket);
            }
        })?;
        Ok(found)
    }

    fn with_port(&mut self, flow: &FiveTuple) -> io::Result<Found> {
        let mut found = Found::None;
        for family in FAMILIES {
            if family == FAMILIES[0] && flow.src.ip.is_ipv6() {
                continue;
            }
            let request = request(family, flow.transport, None);
            self.ask(&request, Some(flow.src.port), &mut |socket| {
                let from_it = socket.local.ip == flow.src.ip || socket.local.ip.is_unspecified();
                let no_ipv4 = socket.v6_only && flow.src.ip.is_ipv4();
                if socket.local.port != flow.src.port || !from_it || no_ipv4 {
                    return;
                }
                found = match found {
                    Found::None => Found::One(socket),
                    _ => Found::Several,
                };
            })?;
        }
        Ok(found)
    }

    /// All TCP and UDP sockets that a descriptor refers to.
    pub fn list(&mut self, each: &mut dyn FnMut(KernelSocket)) -> io::Result<()> {
        for family in FAMILIES {
            for transport in [Transport::Tcp, Transport::Udp] {
                self.ask(&request(family, transport, None), Some(0), each)?;
            }
        }
        Ok(())
    }

    /// Sends a request, and reads its answers: of one socket without `port`, else of all with that local port (0: all).
    fn ask(
        &mut self,
        request: &InetRequest,
        port: Option<u16>,
        each: &mut dyn FnMut(KernelSocket),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request.clone()));
        message.header.flags = NLM_F_REQUEST | port.map_or(0, |_| NLM_F_DUMP);
        message.header.sequence_number = self.sequence;
        message.finalize();
        let filter = port.filter(|port| *port != 0).map_or_else(Vec::new, filter);
        let length = message.buffer_len();
        let mut bytes = vec![0; length];
        message.serialize(&mut bytes);
        bytes.extend(&filter);
        let whole = u32::try_from(bytes.len()).unwrap_or_default();
        bytes[..4].copy_from_slice(&whole.to_ne_bytes());
        self.questions.send(&bytes, 0)?;
        for _ in 0..MAX_LISTED {
            // The kernel answers while it takes the request: nothing is waited for.
            let got = self.questions.recv(&mut &mut self.answer[..], 0)?;
            let mut at = 0;
            while let Some(answer) = next_message(&self.answer[at..got]) {
                let (length, sequence, payload) = answer?;
                at += length;
                if sequence != self.sequence {
                    continue;
                }
                match payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        each(socket(&response));
                        if port.is_none() {
                            return Ok(());
                        }
                    }
                    NetlinkPayload::Error(error) => match error.to_io() {
                        error if error.raw_os_error() == Some(libc::ENOENT) => {
                            // Without a dump: there is no such socket. With one: the kernel has no module for these.
                            return if port.is_none() { Ok(()) } else { Err(error) };
                        }
                        error => return Err(error),
                    },
                    NetlinkPayload::Done(_) => return Ok(()),
                    _ => {}
                }
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Whether a socket other than this one, with the packet's local port, may have ended since then. The kernel reports the
    /// end from a work queue, some time after it.
    pub fn another_ended(&self, port: u16, cookie: u64, since: Instant) -> bool {
        let blind = self.blind_until.is_some_and(|until| since <= until);
        let recent = { self.ended.iter().rev() }.take_while(|ended| ended.read >= since);
        blind || { recent }.any(|ended| ended.port == port && ended.cookie != cookie)
    }

    /// Reads which sockets have ended, and shows their cookies.
    pub fn read_reports(&mut self, each: &mut dyn FnMut(u64)) -> io::Result<()> {
        let now = Instant::now();
        while let Some(reports) = &self.reports {
            let got = match reports.recv(&mut &mut self.answer[..], 0) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.blind_until = Some(now);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut at = 0;
            while let Some(message) = next_message(&self.answer[at..got]) {
                let (length, _, payload) = message?;
                at += length;
                if let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) =
                    payload
                {
                    let socket = socket(&response);
                    each(socket.cookie);
                    self.ended.push_back(Ended {
                        port: socket.local.port,
                        cookie: socket.cookie,
                        read: now,
                    });
                }
            }
        }
        while let Some(first) = self.ended.front().map(|ended| ended.read) {
            let crowded = self.ended.len() > MAX_ENDED;
            if !crowded && now - first <= FORGOTTEN {
                break;
            }
            if crowded {
                self.blind_until = self.blind_until.max(Some(first));
            }
            self.ended.pop_front();
        }
        Ok(())
    }
}

fn listen() -> io::Result<Socket> {
    let mut reports = Socket::new(NETLINK_SOCK_DIAG)?;
    reports.bind_auto()?;
    for group in GROUPS {
        reports.add_membership(group)?;
    }
    // Without the right to more, what the system permits (`net.core.rmem_max`).
    if setsockopt(&reports, sockopt::RcvBufForce, &REPORTS_BUFFER).is_err() {
        reports.set_rx_buf_sz(i32::try_from(REPORTS_BUFFER).unwrap_or(i32::MAX))?;
    }
    reports.set_non_blocking(true)?;
    Ok(reports)
}

fn request(family: u8, transport: Transport, of: Option<&FiveTuple>) -> InetRequest {
    let mut socket_id = if family == FAMILIES[0] {
        SocketId::new_v4()
    } else {
        SocketId::new_v6()
    };
    if let Some(flow) = of {
        (socket_id.source_address, socket_id.source_port) = (flow.src.ip, flow.src.port);
        (socket_id.destination_address, socket_id.destination_port) = (flow.dst.ip, flow.dst.port);
        // Any: which one the tables say.
        socket_id.cookie = [0xff; 8];
    }
    let (protocol, states) = match transport {
        Transport::Tcp => (libc::IPPROTO_TCP, StateFlags::all() - StateFlags::LISTEN),
        Transport::Udp => (libc::IPPROTO_UDP, StateFlags::all()),
    };
    InetRequest {
        family,
        protocol: u8::try_from(protocol).unwrap_or_default(),
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}

/// The attribute that asks for one local port alone (`struct inet_diag_bc_op`: code, where to go on if so, where if not;
/// the next operation's last field is the port. To go on beyond the end is to refuse).
fn filter(port: u16) -> Vec<u8> {
    const OPERATION: u16 = 4;
    /// Over the operation and the one that holds its port.
    const NEXT: u8 = 8;
    let both = [
        (PORT_AT_LEAST, 5 * OPERATION),
        (PORT_AT_MOST, 3 * OPERATION),
    ];
    let mut bytes = Vec::new();
    let length = OPERATION + 4 * OPERATION;
    for half in [length, REQUEST_FILTER] {
        bytes.extend(half.to_ne_bytes());
    }
    for (code, refused) in both {
        bytes.extend([code, NEXT]);
        bytes.extend(refused.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(port.to_ne_bytes());
    }
    bytes
}

type Message = (usize, u32, NetlinkPayload<SockDiagMessage>);

/// The first message of an answer: its length with its padding, its sequence number, and what it says.
fn next_message(bytes: &[u8]) -> Option<io::Result<Message>> {
    if bytes.is_empty() {
        return None;
    }
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let message = match NetlinkMessage::<SockDiagMessage>::deserialize(bytes) {
        Ok(message) => message,
        Err(error) => return Some(Err(invalid(error.to_string()))),
    };
    // Messages begin at multiples of four bytes (`NLMSG_ALIGN`, linux/netlink.h).
    let length = (message.header.length as usize)
        .next_multiple_of(4)
        .min(bytes.len());
    let sequence = message.header.sequence_number;
    Some(Ok((length.max(1), sequence, message.payload)))
}

fn socket(response: &InetResponse) -> KernelSocket {
    let header = &response.header;
    let id = &header.socket_id;
    let peer = Endpoint::new(id.destination_address, id.destination_port);
    KernelSocket {
        cookie: u64::from_ne_bytes(id.cookie),
        inode: Some(header.inode).filter(|inode| *inode != 0),
        local: Endpoint::new(id.source_address, id.source_port),
        peer: Some(peer).filter(|peer| peer.port != 0),
        v6_only: response.nlas.contains(&Nla::SkV6Only(true)),
    }
}
