//! A case acted again: its resolvers and servers in namespaces of their own, and a real client between them, under
//! presyn's tracer and capture.
//!
//! Processes, each ending with the one before it:
//!
//! 1. the one that was called; it waits and compares;
//! 2. the client's side: network and mount namespace with the recorded addresses and configuration, in which the command
//!    runs ([`crate::session::live`]);
//! 3. the far side: [`wire`], which decides about each frame, and [`servers`] in a namespace behind it;
//! 4. the client's own host: [`local`] stubs and name services.
//!
//! Where presyn has no right to make namespaces, a user namespace gives it (`user_namespaces(7)`): the user keeps user and
//! group id in it. No packet and no lookup leaves: the namespaces have links to each other only, and the sockets of
//! the host's name services are hidden ([`places`]).

mod frames;
mod helper;
mod local;
mod netlink;
mod nscd;
mod places;
mod servers;
mod teller;
mod wire;

use super::live::{self, Listener, Plan};
use crate::explain::scenario::responder::{Responder, Unknown};
use crate::explain::scenario::{Presence, Scenario};
use crate::source::tracer::Exit;
use crate::user::capabilities;
use frames::{CLIENT, FAR};
use local::Local;
use netlink::{LOOPBACK, LinkEnd, Netlink, PeerNamespace, Way};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, getpid, getppid, pipe2, sethostname};
pub use places::Configuration;
use servers::Servers;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use teller::{Teller, Told};
use thiserror::Error;
use wire::Wire;

/// Name of the client's link where the case tells none.
const LINK: &str = "eth0";
/// `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` (linux/capability.h): with both, namespaces need no user namespace.
const MAKES_NAMESPACES: u64 = 1 << 21 | 1 << 12;
/// The other ends of the wire have addresses too; nobody uses them.
const WIRE_NEAR: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];
const WIRE_FAR: [u8; 6] = [0x02, 0, 0, 0, 0, 0x12];

/// What is acted.
pub struct Stage {
    /// Who does what.
    pub scenario: Scenario,
    /// What the client's /etc says.
    pub configuration: Configuration,
    /// What is done about questions that the case does not know.
    pub unknown: Unknown,
    /// Resolvers that are to answer at once.
    pub mended: BTreeSet<IpAddr>,
    /// The directory of the user's own sockets, `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// Leave the namespaces standing until Ctrl-C.
    pub stay: bool,
}

/// How it went.
#[derive(Debug)]
pub struct Acted {
    /// How the command ended.
    pub exit: Exit,
    /// What had to be chosen on the way.
    pub choices: Vec<String>,
}

/// Why a case could not be acted.
#[derive(Debug, Error)]
pub enum ReproduceError {
    /// A step failed.
    #[error("{what}: {source}")]
    Step {
        /// Which.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// No namespaces for this user.
    #[error("this host does not let you make namespaces: {0}; run presyn reproduce as root, or allow them")]
    Forbidden(String),
    /// A process of the reproduction says what failed.
    #[error("{0}")]
    Told(String),
    /// It ended without a word.
    #[error("the process of the client's side ended without a result")]
    Vanished,
}

fn step<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> ReproduceError {
    move |error| ReproduceError::Step {
        what,
        source: error.into(),
    }
}

/// Acts a case, with a command for its client. It must be called while this process has one thread.
pub fn run(stage: Stage, plan: Plan, listener: &mut dyn Listener) -> Result<Acted, ReproduceError> {
    let own_users = !may_make_namespaces();
    let (hear, tell) = pipe2(OFlag::O_CLOEXEC).map_err(step("pipe"))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(step("socketpair"))?;
    let teller = Teller::new(tell);
    let (mine, hear_too) = (teller.clone(), hear.try_clone().map_err(step("dup"))?);
    let client = helper::start(move || {
        drop(hear_too);
        let told = mine.clone();
        match client_side(stage, plan, listener, own_users, theirs, mine) {
            Ok(()) => 0,
            Err(error) => {
                told.failure(&error.to_string());
                1
            }
        }
    })
    .map_err(step("fork"))?;
    drop(teller);
    helper::leave_interrupts().map_err(step("sigprocmask"))?;
    if own_users {
        map_users(client, &mut ours)?;
    }
    let mut exit = None;
    let mut failure = None;
    let mut choices = Vec::new();
    teller::listen(hear, |told| match told {
        Told::Choice(text) => choices.push(text),
        Told::Failure(text) => failure = failure.take().or(Some(text)),
        Told::Exit(how) => exit = Some(how),
    })
    .map_err(step("cannot read what happens"))?;
    waitpid(client, None).map_err(step("wait"))?;
    match (exit, failure) {
        (Some(exit), _) => Ok(Acted { exit, choices }),
        (None, Some(failure)) => Err(ReproduceError::Told(failure)),
        (None, None) => Err(ReproduceError::Vanished),
    }
}

/// Whether namespaces can be made without a user namespace.
fn may_make_namespaces() -> bool {
    capabilities::capabilities()
        .is_ok_and(|now| now.effective & MAKES_NAMESPACES == MAKES_NAMESPACES)
}

/// Maps the user and group of a process that waits in its new user namespace to themselves. It cannot do that itself: it
/// may have to be one that nobody may look into.
fn map_users(client: Pid, ours: &mut UnixStream) -> Result<(), ReproduceError> {
    let mut ready = [0];
    if ours.read_exact(&mut ready).is_err() {
        // It has told why.
        return Ok(());
    }
    let write = |file: &str, text: &str| {
        fs::write(format!("/proc/{client}/{file}"), text).map_err(step("cannot map the user"))
    };
    let (user, group) = (geteuid(), getegid());
    write("setgroups", "deny")?;
    write("uid_map", &format!("{user} {user} 1"))?;
    write("gid_map", &format!("{group} {group} 1"))?;
    ours.write_all(b"!").map_err(step("cannot map the user"))
}

/// The client's side: makes the namespaces, starts the others, runs the command.
fn client_side(
    stage: Stage,
    plan: Plan,
    listener: &mut dyn Listener,
    own_users: bool,
    mut parent: UnixStream,
    teller: Teller,
) -> Result<(), ReproduceError> {
    // A process that nobody may look into cannot be mapped, nor look into its own namespaces.
    prctl::set_dumpable(true).map_err(step("prctl"))?;
    if own_users {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(forbidden)?;
        prctl::set_dumpable(true).map_err(step("prctl"))?;
        parent.write_all(b"?").map_err(step("cannot map the user"))?;
        parent
            .read_exact(&mut [0])
            .map_err(step("cannot map the user"))?;
    }
    let apart = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    unshare(apart).map_err(forbidden)?;
    sethostname(&stage.configuration.hostname).map_err(step("sethostname"))?;
    helper::ends_with(getppid()).map_err(step("prctl"))?;
    let Stage {
        scenario,
        configuration,
        unknown,
        mended,
        runtime,
        stay,
    } = stage;
    let scenario = Arc::new(scenario);
    let responder = || Responder::new(Arc::clone(&scenario), unknown, mended.clone());
    scenario
        .choices
        .iter()
        .for_each(|choice| teller.choice(choice.clone()));

    let (mut wire, its) = UnixStream::pair().map_err(step("socketpair"))?;
    let far = {
        let (scenario, responder, teller) = (Arc::clone(&scenario), responder(), teller.clone());
        let end = wire.try_clone().map_err(step("dup"))?;
        helper::start(move || {
            drop(end);
            let told = teller.clone();
            match far_side(&scenario, responder, teller, its) {
                Ok(()) => 0,
                Err(error) => {
                    told.failure(&error.to_string());
                    1
                }
            }
        })
        .map_err(step("fork"))?
    };
    link_up(&scenario, far, &mut wire)?;
    let services = scenario.services.keys().map(String::as_str);
    places::arrange(&configuration, services, runtime.as_deref())
        .map_err(step("cannot put the recorded configuration in place"))?;
    local_side(&scenario, responder(), &teller)?;
    let outcome = live::run(plan, listener).map_err(|error| ReproduceError::Told(error.to_string()))?;
    teller.exit(outcome.exit);
    if stay {
        hold(listener)?;
    }
    Ok(())
}

/// Why the kernel does not let this user make namespaces.
fn forbidden(error: Errno) -> ReproduceError {
    let setting = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let why = if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "AppArmor restricts user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for presyn \
         with the rule 'userns,')"
            .to_owned()
    } else if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        "sysctl kernel.unprivileged_userns_clone is 0".to_owned()
    } else if setting("/proc/sys/user/max_user_namespaces") == "0" {
        "sysctl user.max_user_namespaces is 0".to_owned()
    } else {
        error.desc().to_owned()
    };
    ReproduceError::Forbidden(why)
}

/// The client's links, addresses and routes.
fn link_up(scenario: &Scenario, far: Pid, wire: &mut UnixStream) -> Result<(), ReproduceError> {
    let failed = || step::<io::Error>("cannot set up the client's network");
    // The far side has its namespace.
    let mut ready = [0];
    wire.read_exact(&mut ready).map_err(failed())?;
    quiet_ipv6(scenario.ipv6 || scenario.speaks_ipv6());
    // Who the command is may use ping sockets (icmp(7)); where the kernel does not let us, ping fails as it would.
    let group = getegid();
    let _ = fs::write(
        "/proc/sys/net/ipv4/ping_group_range",
        format!("{group} {group}"),
    );
    let mut net = Netlink::open().map_err(failed())?;
    net.up(LOOPBACK).map_err(failed())?;
    let here = LinkEnd {
        name: LINK.to_owned(),
        hardware: CLIENT,
    };
    let there = LinkEnd {
        name: wire::NEAR.to_owned(),
        hardware: WIRE_NEAR,
    };
    let pid = far.as_raw().unsigned_abs();
    net.pair(&here, &there, PeerNamespace::Process(pid))
        .map_err(failed())?;
    let link = index_of(LINK)?;
    net.up(link).map_err(failed())?;
    for address in &scenario.client {
        net.address(link, *address).map_err(failed())?;
    }
    wire.write_all(b"!").map_err(failed())?;
    wire.read_exact(&mut ready).map_err(failed())?;
    for v6 in [false, true] {
        if let Some(source) = scenario.client.iter().find(|ip| ip.is_ipv6() == v6) {
            net.default_route(v6, Way::Link(link, Some(*source)))
                .map_err(failed())?;
        }
    }
    for (ip, host) in scenario.remote() {
        let source = scenario.sources.get(&ip).copied();
        let way = match host.presence {
            Presence::NoRoute => Way::None,
            Presence::OnLink | Presence::Absent if source.is_some() => Way::Link(link, source),
            Presence::OnLink | Presence::Absent => continue,
        };
        net.route(ip, way).map_err(failed())?;
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

fn index_of(name: &str) -> Result<u32, ReproduceError> {
    nix::net::if_::if_nametoindex(name).map_err(step("no such link"))
}

/// The far side: the servers' namespace, then the wire's.
fn far_side(
    scenario: &Arc<Scenario>,
    responder: Responder,
    teller: Teller,
    mut client: UnixStream,
) -> Result<(), ReproduceError> {
    helper::leave_interrupts().map_err(step("sigprocmask"))?;
    let failed = || step::<io::Error>("cannot set up the far side");
    let responder = Arc::new(Mutex::new(responder));
    unshare(CloneFlags::CLONE_NEWNET).map_err(forbidden)?;
    quiet_ipv6(scenario.speaks_ipv6());
    let servers: OwnedFd = File::open("/proc/self/ns/net").map_err(failed())?.into();
    let mut net = Netlink::open().map_err(failed())?;
    net.up(LOOPBACK).map_err(failed())?;
    let there = scenario.remote();
    let there: Vec<_> = there.filter(|(_, host)| host.presence == Presence::OnLink).collect();
    for (ip, _) in &there {
        net.address(LOOPBACK, *ip).map_err(failed())?;
    }
    // Threads start in this namespace; their sockets stay in it.
    let sockets = Servers::new(Arc::clone(&responder), teller.clone());
    let listeners = sockets.bind(there.into_iter()).map_err(failed())?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(forbidden)?;
    quiet_ipv6(false);
    let mut own = Netlink::open().map_err(failed())?;
    let here = LinkEnd {
        name: wire::FAR_END.to_owned(),
        hardware: WIRE_FAR,
    };
    let behind = LinkEnd {
        name: LINK.to_owned(),
        hardware: FAR,
    };
    own.pair(&here, &behind, PeerNamespace::Descriptor(servers.as_fd()))
        .map_err(failed())?;
    // The index in the other namespace: the first link after loopback.
    let link = LOOPBACK + 1;
    net.up(link).map_err(failed())?;
    for v6 in [false, true] {
        if scenario.client.iter().any(|ip| ip.is_ipv6() == v6) {
            net.default_route(v6, Way::Link(link, None))
                .map_err(failed())?;
        }
    }
    own.up(index_of(wire::FAR_END)?).map_err(failed())?;
    client.write_all(b"!").map_err(failed())?;
    client.read_exact(&mut [0]).map_err(failed())?;
    own.up(index_of(wire::NEAR)?).map_err(failed())?;
    let wire = Wire::open(Arc::clone(scenario), responder, teller)
        .map_err(|error| ReproduceError::Told(format!("cannot open the wire: {error}")))?;
    sockets.serve(listeners).map_err(failed())?;
    client.write_all(b"!").map_err(failed())?;
    wire.run()
        .map_err(|error| ReproduceError::Told(format!("the wire broke: {error}")))
}

/// Starts the client's own host, if it has anything to say.
fn local_side(
    scenario: &Arc<Scenario>,
    responder: Responder,
    teller: &Teller,
) -> Result<(), ReproduceError> {
    if scenario.local().next().is_none() && scenario.services.is_empty() {
        return Ok(());
    }
    let failed = || step::<io::Error>("cannot play the client's own host");
    let (mut ready, its) = UnixStream::pair().map_err(failed())?;
    let (scenario, teller) = (Arc::clone(scenario), teller.clone());
    helper::start(move || {
        let mut its = its;
        let begun = helper::leave_interrupts().map_err(io::Error::from).and_then(|()| {
            Local::start(&scenario, Arc::new(Mutex::new(responder)), &teller)
        });
        match begun.and_then(|()| its.write_all(b"!")) {
            Ok(()) => loop {
                std::thread::park();
            },
            Err(error) => {
                teller.failure(&format!("cannot play the client's own host: {error}"));
                1
            }
        }
    })
    .map_err(step("fork"))?;
    ready.read_exact(&mut [0]).map_err(failed())
}

/// Leaves everything standing until Ctrl-C.
fn hold(listener: &mut dyn Listener) -> Result<(), ReproduceError> {
    let mut set = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .iter()
        .for_each(|signal| set.add(*signal));
    set.thread_block().map_err(step("sigprocmask"))?;
    listener.trouble(&format!(
        "the namespaces stand until Ctrl-C; to enter: nsenter -t {} -U --preserve-credentials -n -m",
        getpid()
    ));
    set.wait().map(drop).map_err(step("sigwait"))
}
