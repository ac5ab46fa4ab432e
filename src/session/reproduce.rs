//! A case acted again: its resolvers and servers in namespaces of their own, and a real client between them, under
//! presyn's tracer and capture.
//!
//! Processes, each ending with the one before it:
//!
//! 1. the one that was called; it waits and compares;
//! 2. the client's side: network and mount namespace with the recorded addresses and configuration, in which the command
//!    runs ([`crate::session::live`]);
//! 3. the far side: `wire`, which decides about each frame, and `servers` in a namespace behind it;
//! 4. the client's own host: `local` stubs and name services.
//!
//! Where presyn has no right to make namespaces, a user namespace gives it (`user_namespaces(7)`): the user keeps user and
//! group id in it. No packet and no lookup leaves: the namespaces have links to each other only, and the sockets of
//! the host's name services are hidden (`places`).

mod forward;
mod frames;
mod helper;
mod local;
mod namespaces;
mod netlink;
mod network;
mod nscd;
mod places;
mod resolvers;
mod servers;
mod teller;
mod waiting;
mod wire;

use super::live::{self, Listener, Plan};
use crate::explain::scenario::Scenario;
use crate::explain::scenario::responder::{Responder, Unknown};
use crate::source::privilege;
use crate::source::tracer::Exit;
use forward::Forwarder;
use local::Local;
use network::ClientSide;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{getpid, getppid, pipe2, sethostname};
pub use places::Configuration;
use resolvers::Resolvers;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use teller::{Teller, Told};
use thiserror::Error;
use waiting::Waiting;

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
    /// The name of the client's link.
    pub link: String,
    /// The recorded client was root; it is again, in a user namespace.
    pub as_root: bool,
    /// The directory of the user's own sockets, `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// A real server that the client's connections are passed on to, `HOST:PORT`.
    pub forward: Option<String>,
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
    #[error(
        "this host does not let you make namespaces: {0}; run presyn reproduce as root, or allow them"
    )]
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
    let (hear, tell) = pipe2(OFlag::O_CLOEXEC).map_err(step("pipe"))?;
    let (mapper, mut mapped) = namespaces::pair(stage.as_root).map_err(step("socketpair"))?;
    let teller = Teller::new(tell);
    let forwarder = stage.forward.as_deref().map(Forwarder::new).transpose();
    let mut forwarder = forwarder.map_err(step("cannot make a socket in TMPDIR"))?;
    let way_out = forwarder.as_ref().map(Forwarder::path);
    let (mut called, called_end) = helper::ends().map_err(step("socketpair"))?;
    let client = helper::start(|| {
        called.leave_to_other();
        let begun = Begun {
            stage,
            called: &called_end,
            teller: &teller,
            way_out,
        };
        match begun.client_side(plan, listener, &mut mapped) {
            Ok(()) => 0,
            Err(error) => {
                teller.failure(&error.to_string());
                1
            }
        }
    })
    .map_err(step("fork"))?;
    // Theirs: only then do we hear when they have ended.
    drop((teller, mapped));
    let mut waiting = Waiting::new(hear, client).map_err(step("signalfd"))?;
    mapper.map(client)?;
    if let Some(forwarder) = &mut forwarder {
        forwarder.begin();
    }
    let mut exit = None;
    let mut failure = None;
    let mut choices = Vec::new();
    teller::listen(&mut waiting, |told| match told {
        Told::Choice(text) => choices.push(text),
        Told::Failure(text) => failure = failure.take().or(Some(text)),
        Told::Exit(how) => exit = Some(how),
    })
    .map_err(step("cannot read what happens"))?;
    waitpid(client, None).map_err(step("wait"))?;
    drop((waiting, called));
    match (exit, failure) {
        (Some(exit), _) => Ok(Acted { exit, choices }),
        (None, Some(failure)) => Err(ReproduceError::Told(failure)),
        (None, None) => Err(ReproduceError::Vanished),
    }
}

/// A reproduction that has begun: what is acted, and the process that was called.
struct Begun<'a> {
    stage: Stage,
    /// A pipe that ends with it.
    called: &'a UnixStream,
    /// Where it hears.
    teller: &'a Teller,
    /// The socket that leads to a real server, if one was given.
    way_out: Option<PathBuf>,
}

impl Begun<'_> {
    /// The client's side: makes the namespaces, starts the others, runs the command.
    fn client_side(
        self,
        plan: Plan,
        listener: &mut dyn Listener,
        parent: &mut namespaces::Mapped,
    ) -> Result<(), ReproduceError> {
        parent.enter()?;
        let Self {
            stage,
            called,
            teller,
            way_out,
        } = self;
        let Stage {
            scenario,
            configuration,
            link,
            as_root: _,
            unknown,
            mended,
            runtime,
            forward: _,
            stay,
        } = stage;
        sethostname(&configuration.hostname).map_err(step("sethostname"))?;
        let scenario = Arc::new(scenario);
        let resolvers = || {
            let responder = Responder::new(Arc::clone(&scenario), unknown, mended.clone());
            Arc::new(Resolvers::new(responder, teller.clone(), way_out.clone()))
        };
        for choice in &scenario.choices {
            teller.choice(choice.clone());
        }
        let mut far = far_side(&scenario, &resolvers(), teller, called)?;
        network::of_client(&scenario, &link, &mut far)
            .map_err(step("cannot set up the client's network"))?;
        let services = scenario.services.keys().map(String::as_str);
        places::arrange(&configuration, services, runtime.as_deref())
            .map_err(step("cannot put the recorded configuration in place"))?;
        let _local = local_side(&scenario, resolvers(), teller)?;
        let outcome =
            live::run(plan, listener).map_err(|error| ReproduceError::Told(error.to_string()))?;
        teller.exit(outcome.exit);
        if stay {
            hold(listener, parent.has_own_users())?;
        }
        Ok(())
    }
}

/// Starts the far side.
fn far_side(
    scenario: &Arc<Scenario>,
    resolvers: &Arc<Resolvers>,
    teller: &Teller,
    called: &UnixStream,
) -> Result<network::FarSide, ReproduceError> {
    let (mut pair, mut its) = helper::ends().map_err(step("socketpair"))?;
    let process = helper::start(|| {
        pair.leave_to_other();
        let mut client = ClientSide {
            pipe: &mut its,
            called,
            process: getppid(),
        };
        match network::far_side(scenario, resolvers, &mut client) {
            Ok(()) => 0,
            Err(error) => {
                teller.failure(&format!("the far side: {error}"));
                1
            }
        }
    })
    .map_err(step("fork"))?;
    Ok(network::FarSide {
        process,
        pipe: pair.ours().map_err(step("socketpair"))?,
    })
}

/// Starts the client's own host, if it has anything to say. It ends with the pipe that this returns.
fn local_side(
    scenario: &Arc<Scenario>,
    resolvers: Arc<Resolvers>,
    teller: &Teller,
) -> Result<Option<UnixStream>, ReproduceError> {
    if scenario.local().next().is_none() && scenario.services.is_empty() {
        return Ok(None);
    }
    let failed = || step::<io::Error>("cannot play the client's own host");
    let (mut pair, mut its) = helper::ends().map_err(failed())?;
    helper::start(|| {
        pair.leave_to_other();
        // It has a descriptor for each port.
        let begun = helper::leave_interrupts().and_then(|()| privilege::raise_descriptor_limit());
        let begun = begun.map(drop).map_err(io::Error::from);
        let begun = begun.and_then(|()| Local::start(scenario, resolvers));
        match begun.and_then(|()| its.write_all(b"!")) {
            Ok(()) => helper::until_left(&mut its),
            Err(error) => {
                teller.failure(&format!("cannot play the client's own host: {error}"));
                1
            }
        }
    })
    .map_err(step("fork"))?;
    drop(its);
    let mut ready = pair.ours().map_err(failed())?;
    ready.read_exact(&mut [0]).map_err(failed())?;
    Ok(Some(ready))
}

/// Leaves everything standing until Ctrl-C.
fn hold(listener: &mut dyn Listener, own_users: bool) -> Result<(), ReproduceError> {
    let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    set.thread_block().map_err(step("sigprocmask"))?;
    let users = if own_users {
        " -U --preserve-credentials"
    } else {
        ""
    };
    listener.trouble(&format!(
        "the namespaces stand until Ctrl-C; to enter: nsenter -t {}{users} -n -m -u",
        getpid()
    ));
    set.wait().map(drop).map_err(step("sigwait"))
}
