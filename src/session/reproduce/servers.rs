//! Played TCP servers: the targets of the client, and resolvers over TCP. Each has a thread, and each connection; both are
//! bounded. Whether a SYN gets this far is the wire's decision.

use super::forward;
use super::netlink::LOOPBACK;
use super::resolvers::Resolvers;
use crate::explain::scenario::choice::Choice;
use crate::explain::scenario::responder::Reply;
use crate::explain::scenario::{PlayedHost, SynEnd};
use crate::flow::{DNS_PORT, Transport};
use crate::time::Span;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// So many connections are served at once; what is beyond is closed.
const MAX_CONNECTIONS: usize = 256;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// Threads that do so little need little.
const STACK: usize = 256 << 10;
/// So much is read of a request before it is answered.
const REQUEST: usize = 16 << 10;
/// What a TLS client says first: a handshake record of version 3 (RFC 8446 section 5.1).
const TLS: [u8; 2] = [0x16, 0x03];
/// What an HTTP client gets: the least that is an answer (RFC 9110).
const HTTP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// How HTTP requests begin.
const METHODS: [&[u8]; 7] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
];

/// What a listener serves.
#[derive(Clone)]
pub struct Servers {
    resolvers: Arc<Resolvers>,
    open: Threads,
}

/// A port that is open and not served yet.
pub struct OpenPort {
    listener: TcpListener,
    ip: IpAddr,
    dns: bool,
}

impl Servers {
    /// With these for whoever asks over TCP.
    pub fn new(resolvers: Arc<Resolvers>) -> Self {
        Self {
            resolvers,
            open: Threads::new(MAX_CONNECTIONS),
        }
    }

    /// Serves them, each by a thread.
    pub fn serve(&self, ports: Vec<OpenPort>) -> io::Result<()> {
        for OpenPort { listener, ip, dns } in ports {
            let this = self.clone();
            spawn(move || this.accept(&listener, ip, dns))?;
        }
        Ok(())
    }

    fn accept(self, listener: &TcpListener, ip: IpAddr, dns: bool) {
        for stream in listener.incoming() {
            // One that is gone already is no loss.
            let Ok(stream) = stream else { continue };
            let this = self.clone();
            // Beyond the bound it is closed.
            self.open.start(move || {
                // Connections end as they like.
                let _ = if dns {
                    this.resolver(stream, ip)
                } else {
                    this.server(stream)
                };
            });
        }
    }

    /// Messages with their lengths (RFC 1035 section 4.2.2).
    fn resolver(&self, mut stream: TcpStream, ip: IpAddr) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            let act = self.resolvers.act(ip, Transport::Tcp, &query);
            match act.reply {
                Reply::Message {
                    after,
                    bytes,
                    lost: false,
                } => {
                    pause(after);
                    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                    stream.write_all(&length.to_be_bytes())?;
                    stream.write_all(&bytes)?;
                }
                Reply::Nothing | Reply::Message { .. } => {}
                Reply::Error(after) => {
                    pause(after);
                    return stream.shutdown(Shutdown::Both);
                }
            }
        }
    }

    /// Whatever it may be: data of the recording are not read.
    fn server(&self, mut stream: TcpStream) -> io::Result<()> {
        if let Some(way_out) = self.resolvers.way_out() {
            return forward::pass_on(stream, way_out);
        }
        let local = stream.local_addr()?;
        stream.set_read_timeout(Some(IDLE))?;
        self.resolvers
            .chose(Choice::ServerTalk(local.ip().to_canonical(), local.port()));
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let got = stream.read(&mut piece)?;
            if got == 0 {
                return Ok(());
            }
            if request.len() < REQUEST {
                request.extend_from_slice(&piece[..got]);
            }
            if request.starts_with(&TLS) {
                return Ok(());
            }
            let http = METHODS.iter().any(|method| request.starts_with(method));
            let whole = memchr::memmem::find(&request, b"\r\n\r\n").is_some();
            if http && (whole || request.len() >= REQUEST) {
                stream.write_all(HTTP)?;
                return stream.shutdown(Shutdown::Write);
            }
        }
    }
}

/// Opens every port of these hosts that ever accepted, and those of resolvers; `wired` if a wire decides about each SYN.
pub fn open_ports<'a>(
    hosts: impl Iterator<Item = (IpAddr, &'a PlayedHost)>,
    wired: bool,
) -> io::Result<Vec<OpenPort>> {
    let mut list = Vec::new();
    for (ip, host) in hosts {
        let accepts = |port: &u16| {
            let attempts = host.ports.get(port).into_iter().flatten();
            { attempts }.any(|a| matches!(a.end, SynEnd::Accepted(_)))
        };
        let mut ports: Vec<u16> = host.ports.keys().copied().filter(accepts).collect();
        let resolver = !host.resolver_ports.is_empty() || ports.contains(&DNS_PORT);
        // No wire keeps a SYN from a port that refused in the recording.
        let recorded = !wired && host.ports.contains_key(&DNS_PORT);
        if resolver && !ports.contains(&DNS_PORT) && !recorded {
            ports.push(DNS_PORT);
        }
        for port in ports {
            list.push(OpenPort {
                listener: TcpListener::bind(endpoint(ip, port))?,
                ip,
                dns: resolver && port == DNS_PORT,
            });
        }
    }
    Ok(list)
}

/// An address to bind to. One that is valid on one link only is on the first after loopback.
pub fn endpoint(ip: IpAddr, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, LOOPBACK + 1).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

/// Threads of which so many work at once.
#[derive(Clone)]
pub struct Threads {
    most: usize,
    working: Arc<AtomicUsize>,
}

impl Threads {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            working: Arc::default(),
        }
    }

    /// Does something in a thread; not at all when too many work, or none can be made.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) {
        if self.working.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.working.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let working = Arc::clone(&self.working);
        let started = spawn(move || {
            work();
            working.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            self.working.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Starts a thread that needs little.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .map(drop)
}

/// Waits as long as the recorded one did.
pub fn pause(after: Span) {
    thread::sleep(Duration::from_nanos(u64::try_from(after.0).unwrap_or(0)));
}
