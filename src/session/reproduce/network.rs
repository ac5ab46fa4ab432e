//! The links between the client, the wire and the servers, each in a network namespace of its own.

use super::frames::{CLIENT, FAR, Hardware};
use super::helper;
use super::netlink::{LOOPBACK, LinkEnd, Netlink, PeerNamespace, Way};
use super::resolvers::Resolvers;
use super::servers::{Servers, open_ports};
use super::wire::{self, Wire};
use crate::explain::scenario::{Presence, Scenario};
use crate::source::privilege;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getegid, getppid};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Name of the servers' link.
const LINK: &str = "eth0";
/// The wire's own ends have addresses, too; nobody uses them.
const WIRE_NEAR: Hardware = [0x02, 0, 0, 0, 0, 0x11];
const WIRE_FAR: Hardware = [0x02, 0, 0, 0, 0, 0x12];

/// The process of the far side, and a pipe on which both say how far they are.
pub struct FarSide {
    /// The process.
    pub process: Pid,
    /// The pipe.
    pub pipe: UnixStream,
}

/// The process of the client's side, as the far side sees it.
pub struct ClientSide<'a> {
    /// A pipe on which both say how far they are.
    pub pipe: &'a mut UnixStream,
    /// A pipe that ends with the process that was called.
    pub called: &'a UnixStream,
    /// The process.
    pub process: Pid,
}

impl ClientSide<'_> {
    /// Whether it is to go on, when one of the pipes has ended. It may have become a user since, and then does not end with
    /// the process that was called (`PR_SET_PDEATHSIG(2const)`): it is ended here.
    pub fn goes_on(&self) -> bool {
        let ended = |pipe: &UnixStream| {
            let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
            poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].any().unwrap_or(false)
        };
        if ended(self.called) && getppid() == self.process {
            // Who is gone already has ended.
            let _ = kill(self.process, Signal::SIGKILL);
            return false;
        }
        !ended(self.pipe)
    }
}

/// Gives this namespace the client's links, addresses and routes.
pub fn of_client(scenario: &Scenario, name: &str, far: &mut FarSide) -> io::Result<()> {
    let FarSide { process, pipe } = far;
    // The far side has its namespace.
    let mut ready = [0];
    pipe.read_exact(&mut ready)?;
    quiet_ipv6(scenario.ipv6 || scenario.speaks_ipv6());
    // Who the command is may use ping sockets (icmp(7)); where the kernel does not let us, ping fails as it would.
    let group = getegid();
    let _ = fs::write(
        "/proc/sys/net/ipv4/ping_group_range",
        format!("{group} {group}"),
    );
    let mut net = Netlink::open()?;
    net.up(LOOPBACK)?;
    let here = LinkEnd {
        name: name.to_owned(),
        hardware: CLIENT,
    };
    let there = LinkEnd {
        name: wire::NEAR.to_owned(),
        hardware: WIRE_NEAR,
    };
    let pid = process.as_raw().unsigned_abs();
    net.pair(&here, &there, PeerNamespace::Process(pid))?;
    let link = index_of(name)?;
    net.up(link)?;
    for address in &scenario.client {
        net.address(link, *address)?;
    }
    pipe.write_all(b"!")?;
    pipe.read_exact(&mut ready)?;
    for v6 in [false, true] {
        if let Some(source) = scenario.client.iter().find(|ip| ip.is_ipv6() == v6) {
            net.default_route(v6, Way::Link(link, Some(*source)))?;
        }
    }
    for (ip, host) in scenario.remote() {
        let source = scenario.sources.get(&ip).copied();
        let way = match host.presence {
            Presence::NoRoute => Way::None,
            Presence::OnLink | Presence::Absent if source.is_some() => Way::Link(link, source),
            Presence::OnLink | Presence::Absent => continue,
        };
        net.route(ip, way)?;
    }
    Ok(())
}

/// What IPv6 does of its own accord on a new link would be in the capture: none of it, or no IPv6 at all. A container may
/// hold these settings read-only; then the capture has a few packets more.
fn quiet_ipv6(wanted: bool) {
    let set = |name: &str, value: &str| {
        for scope in ["all", "default"] {
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), value);
        }
    };
    set("accept_ra", "0");
    set("accept_dad", "0");
    set("router_solicitations", "0");
    if !wanted {
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    }
}

/// Whether an address is valid on one link only (RFC 4007 section 4).
fn has_scope(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn index_of(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name).map_err(io::Error::from)
}

/// The far side: the servers' namespace, then the wire's.
pub fn far_side(
    scenario: &Arc<Scenario>,
    resolvers: &Arc<Resolvers>,
    client: &mut ClientSide,
) -> io::Result<()> {
    helper::leave_interrupts()?;
    // It has one for each port.
    privilege::raise_descriptor_limit()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    quiet_ipv6(scenario.speaks_ipv6());
    let servers: OwnedFd = File::open("/proc/self/ns/net")?.into();
    let mut net = Netlink::open()?;
    net.up(LOOPBACK)?;
    let there = scenario.remote();
    let there: Vec<_> = there
        .filter(|(_, host)| host.presence == Presence::OnLink)
        .collect();
    for (ip, _) in there.iter().filter(|(ip, _)| !has_scope(*ip)) {
        net.address(LOOPBACK, *ip)?;
    }
    // Threads start in this namespace; their sockets stay in it.
    let (scoped, others): (Vec<_>, Vec<_>) = there.into_iter().partition(|(ip, _)| has_scope(*ip));
    let mut listeners = open_ports(others.into_iter(), true)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    quiet_ipv6(false);
    let mut own = Netlink::open()?;
    let here = LinkEnd {
        name: wire::FAR_END.to_owned(),
        hardware: WIRE_FAR,
    };
    let behind = LinkEnd {
        name: LINK.to_owned(),
        hardware: FAR,
    };
    own.pair(&here, &behind, PeerNamespace::Descriptor(servers.as_fd()))?;
    // The index in the other namespace: the first link after loopback.
    let link = LOOPBACK + 1;
    net.up(link)?;
    for v6 in [false, true] {
        if scenario.client.iter().any(|ip| ip.is_ipv6() == v6) {
            net.default_route(v6, Way::Link(link, None))?;
        }
    }
    own.up(index_of(wire::FAR_END)?)?;
    // What is valid on one link only must be that link's, which is in the servers' namespace by now.
    for (ip, _) in &scoped {
        net.address(link, *ip)?;
    }
    let wires: OwnedFd = File::open("/proc/self/ns/net")?.into();
    setns(&servers, CloneFlags::CLONE_NEWNET)?;
    listeners.extend(open_ports(scoped.into_iter(), true)?);
    setns(&wires, CloneFlags::CLONE_NEWNET)?;
    client.pipe.write_all(b"!")?;
    client.pipe.read_exact(&mut [0])?;
    own.up(index_of(wire::NEAR)?)?;
    let wire = Wire::open(Arc::clone(scenario), Arc::clone(resolvers)).map_err(io::Error::other)?;
    let servers = Servers::new(Arc::clone(resolvers));
    servers.serve(listeners)?;
    client.pipe.write_all(b"!")?;
    wire.run(client).map_err(io::Error::other)
}
