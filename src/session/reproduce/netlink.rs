//! Links, addresses and routes of the network namespace that a socket was opened in (rtnetlink(7)).

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Loopback is interface 1 of every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
pub const LOOPBACK: u32 = 1;
/// The largest of a veth link, and of an IP packet: whatever datagram was recorded, nothing has to be fragmented.
const MTU: u32 = 65_535;
/// The longest answer to one request that changes something: an error with the request in it.
const LONGEST_ANSWER: usize = 16 << 10;

/// One end of a veth pair.
#[derive(Clone, Debug)]
pub struct LinkEnd {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub hardware: [u8; 6],
}

/// Where the other end of a new pair is to be.
#[derive(Clone, Copy, Debug)]
pub enum PeerNamespace<'a> {
    /// The namespace of this process.
    Process(u32),
    /// The namespace behind this descriptor.
    Descriptor(BorrowedFd<'a>),
}

/// A way that is no way through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through a link, from this address where it is given.
    Link(u32, Option<IpAddr>),
    /// `ENETUNREACH`, as without any route.
    None,
}

/// A socket to the kernel's routing tables of one network namespace.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens it in the namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Makes a pair of links, the first here.
    pub fn pair(&mut self, here: &LinkEnd, there: &LinkEnd, peer: PeerNamespace) -> io::Result<()> {
        let end = |end: &LinkEnd| {
            let mut link = LinkMessage::default();
            link.attributes = vec![
                LinkAttribute::IfName(end.name.clone()),
                LinkAttribute::Address(end.hardware.to_vec()),
                // Packets as they would be on a wire: whoever passes them on cannot pass on more than one wire packet.
                LinkAttribute::GsoMaxSegs(1),
                LinkAttribute::Mtu(MTU),
            ];
            link
        };
        let mut other = end(there);
        other.attributes.push(match peer {
            PeerNamespace::Process(pid) => LinkAttribute::NetNsPid(pid),
            PeerNamespace::Descriptor(fd) => LinkAttribute::NetNsFd(fd.as_raw_fd()),
        });
        let mut link = end(here);
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(link))
    }

    /// Turns a link on.
    pub fn up(&mut self, link: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives a link an address of its own, without a network around it.
    pub fn address(&mut self, link: u32, ip: IpAddr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(ip);
        message.header.prefix_len = whole(ip);
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.scope = AddressScope::Universe;
        message.header.index = link;
        message.attributes = vec![
            AddressAttribute::Local(ip),
            AddressAttribute::Address(ip),
            // Nobody else can have it: no detection of duplicates, which takes a second (RFC 4862 section 5.4).
            AddressAttribute::Flags(AddressFlags::Nodad),
        ];
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    /// The way to a host.
    pub fn route(&mut self, to: IpAddr, way: Way) -> io::Result<()> {
        let destination = RouteAttribute::Destination(to.into());
        self.add_route(family(to), Some((destination, whole(to))), way)
    }

    /// The way to all other hosts of a family.
    pub fn default_route(&mut self, ipv6: bool, way: Way) -> io::Result<()> {
        let family = if ipv6 {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        };
        self.add_route(family, None, way)
    }

    fn add_route(
        &mut self,
        family: AddressFamily,
        to: Option<(RouteAttribute, u8)>,
        way: Way,
    ) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        if let Some((destination, length)) = to {
            message.header.destination_prefix_length = length;
            message.attributes.push(destination);
        }
        match way {
            Way::Link(link, source) => {
                message.header.kind = RouteType::Unicast;
                // Everybody is a neighbour: there is no router. (IPv6 routes have no scope.)
                message.header.scope = RouteScope::Link;
                message.attributes.push(RouteAttribute::Oif(link));
                let source = source.map(|s| RouteAttribute::PrefSource(s.into()));
                message.attributes.extend(source);
            }
            // The lookup goes on in no further table: "Network is unreachable" (ip-route(8)).
            Way::None => message.header.kind = RouteType::Throw,
        }
        self.create(RouteNetlinkMessage::NewRoute(message))
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.request(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sends a request and waits for what the kernel says of it.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let mut answer = Vec::with_capacity(LONGEST_ANSWER);
            self.socket.recv(&mut answer, 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                _ => Ok(()),
            };
        }
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

/// The prefix that is the address alone.
fn whole(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}
