//! Who answers on the client's own host: stubs on loopback, with the queries that they send to their resolvers, and name
//! services on unix sockets. A process of its own in the client's namespaces, with a thread for each socket.

use super::nscd;
use super::resolvers::Resolvers;
use super::servers::{Servers, Threads, endpoint, open_ports, pause, spawn};
use crate::explain::scenario::choice::Choice;
use crate::explain::scenario::responder::Reply;
use crate::explain::scenario::{Leg, PlayedHost, PlayedWait, Scenario, message};
use crate::flow::Transport;
use crate::time::Span;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// So many replies wait for their time.
const MAX_WAITING: usize = 1_000;
/// A datagram is not longer.
const LONGEST: usize = 65_535;
/// How long a stub hears what its resolvers answer; nothing is done about it.
const HEARS: Duration = Duration::from_secs(30);

/// The stubs and services of a scenario.
#[derive(Clone)]
pub struct Local {
    scenario: Arc<Scenario>,
    resolvers: Arc<Resolvers>,
    threads: Threads,
}

impl Local {
    /// Opens all sockets; they are served by threads of this process.
    pub fn start(scenario: &Arc<Scenario>, resolvers: Arc<Resolvers>) -> io::Result<()> {
        let servers = Servers::new(Arc::clone(&resolvers));
        servers.serve(open_ports(scenario.local(), false)?)?;
        let this = Self {
            scenario: Arc::clone(scenario),
            resolvers,
            threads: Threads::new(MAX_WAITING),
        };
        for (ip, host) in scenario.local() {
            for port in host
                .resolver_ports
                .iter()
                .filter(|_| listens(scenario, ip, host))
            {
                let socket = UdpSocket::bind(endpoint(ip, *port))?;
                let this = this.clone();
                spawn(move || this.stub(&Arc::new(socket), ip))?;
            }
        }
        for (path, waits) in &scenario.services {
            let listener = match UnixListener::bind(path) {
                // The same place by another name, as /var/run is that of /run: it is served.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                other => other?,
            };
            let (this, path) = (this.clone(), path.clone());
            let waits: Arc<[PlayedWait]> = waits.as_slice().into();
            spawn(move || this.service(&listener, &path, &waits))?;
        }
        Ok(())
    }

    fn stub(&self, socket: &Arc<UdpSocket>, ip: IpAddr) {
        let mut message = vec![0; LONGEST];
        // An error is that of an earlier answer, which was refused.
        loop {
            let Ok((got, from)) = socket.recv_from(&mut message) else {
                continue;
            };
            let act = self.resolvers.act(ip, Transport::Udp, &message[..got]);
            self.ask(act.legs);
            if let Reply::Message { after, bytes, lost } = act.reply
                && !lost
            {
                let socket = Arc::clone(socket);
                self.threads.start(move || {
                    pause(after);
                    // Who asked may be gone.
                    let _ = socket.send_to(&bytes, from);
                });
            }
        }
    }

    /// Sends what a stub asks its own resolvers, each in its time.
    fn ask(&self, legs: Vec<Leg>) {
        if legs.is_empty() {
            return;
        }
        self.threads.start(move || {
            let mut now = Span::ZERO;
            let mut sockets = Vec::new();
            for (n, leg) in (0_u16..).zip(&legs) {
                pause(leg.after - now);
                now = now.max(leg.after);
                let any: IpAddr = if leg.to.ip.is_ipv4() {
                    [0; 4].into()
                } else {
                    [0_u16; 8].into()
                };
                // A query that cannot be sent is one that nobody answers.
                if let (Some(query), Ok(socket)) = (
                    message::query(n.wrapping_mul(40_503), &leg.name, leg.kind),
                    UdpSocket::bind((any, 0)),
                ) {
                    let _ = socket.send_to(&query, SocketAddr::from(leg.to));
                    sockets.push(socket);
                }
            }
            // Answers that come late find somebody, as they did.
            std::thread::sleep(HEARS);
        });
    }

    fn service(&self, listener: &UnixListener, path: &str, waits: &[PlayedWait]) {
        let asked = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            // Who is gone already asks nothing.
            let Ok(stream) = stream else { continue };
            let (this, path) = (self.clone(), path.to_owned());
            let (waits, asked): (Arc<[PlayedWait]>, _) = (waits.into(), Arc::clone(&asked));
            self.threads.start(move || {
                // A client that breaks off ends its own connection.
                let _ = this.serve(stream, &path, &waits, &asked);
            });
        }
    }

    /// One client of a name service, which gets the wait that the n-th question got.
    fn serve(
        &self,
        mut stream: UnixStream,
        path: &str,
        waits: &[PlayedWait],
        asked: &AtomicUsize,
    ) -> io::Result<()> {
        let question = if path.ends_with("/nscd/socket") {
            match nscd::question(&mut stream)? {
                Some(question) => Some(question),
                // It wants to read the service's memory: then it asks.
                None => return Ok(()),
            }
        } else {
            None
        };
        let n = asked.fetch_add(1, Ordering::Relaxed);
        let Some(wait) = waits.get(n).or(waits.last()) else {
            return Ok(());
        };
        self.ask(wait.legs.clone());
        if !wait.answered {
            // It says nothing until its client leaves.
            return io::copy(&mut stream, &mut io::sink()).map(drop);
        }
        pause(wait.after);
        let answer = question.and_then(|name| nscd::answer(&self.scenario.addresses_of(&name)));
        if let Some(answer) = answer {
            return stream.write_all(&answer);
        }
        self.resolvers.chose(Choice::ServiceAnswer(path.into()));
        Ok(())
    }
}

/// Whether anybody listens: a stub whose queries were all refused is not there.
fn listens(scenario: &Scenario, ip: IpAddr, host: &PlayedHost) -> bool {
    host.error.is_none() || scenario.replies.has_answered(ip)
}
